// The table of judges, and what entries of all kinds have in common: name, weight, deadline,
// retries.
//
// A kind is a file of its own in this folder; its name in the list here is all that the rest of the
// program needs. Next: judge.h, then words.c as the simplest kind.
#include "common/judge/judge.h"

#include <stdlib.h>
#include <string.h>

/// Every kind of judge, each a file of this folder, in the order of docs/recipe.md.
#define ANSWERS(X) X(exact_answer) X(numeric) X(choice) X(countdown) X(format) X(json)
#define TEXTS(X) X(cosine) X(overlong) X(length) X(repetition) X(words) X(regex)
#define KINDS(X) X(exec) X(model) ANSWERS(X) TEXTS(X) X(external)

#define DECLARE(name) extern const tr_judge_kind_t tr_judge_##name;
#define ADDRESS(name) &tr_judge_##name,
KINDS(DECLARE)
const tr_judge_kind_t *const tr_judge_kinds[] = {KINDS(ADDRESS)};
const size_t tr_judge_kind_count = sizeof tr_judge_kinds / sizeof tr_judge_kinds[0];

const tr_judge_kind_t *tr_judge_kind_find(const char *name)
{
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        if (strcmp(tr_judge_kinds[i]->name, name) == 0) {
            return tr_judge_kinds[i];
        }
    }
    return NULL;
}

// Scores

bool tr_judge_kind_scores(const tr_judge_kind_t *kind)
{
    return kind->rule != NULL || kind->score != NULL;
}

tr_status tr_judge_kind_score(const tr_judge_kind_t *kind, void *state, float *scores,
                              const tr_sample_t *samples, size_t count, tr_error_t *err)
{
    if (kind->score != NULL) {
        return kind->score(state, scores, samples, count, err);
    }
    for (size_t i = 0; i < count; i++) {
        double score;
        if (kind->rule(&score, state, &samples[i], err) != TR_OK) {
            return tr_error_prefix(err, "sample %lld", (long long)samples[i].id);
        }
        scores[i] = (float)score;
    }
    return TR_OK;
}

// Columns

/// A typing error in the recipe, and a file that lacks the column, look alike: the names help.
static tr_status no_column(const tr_sample_t *sample, const char *name, tr_error_t *err)
{
    char *names = tr_strdup("");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)sample->columns, key, value)
    {
        char *longer = tr_format("%s%s'%s'", names, names[0] != '\0' ? ", " : "", key);
        free(names);
        names = longer;
    }
    tr_fail(err, TR_ERR_ARGUMENT,
            "the row has no column '%s' (it has: %s); null says that a row has no answer", name,
            names[0] != '\0' ? names : "none besides the prompt");
    free(names);
    return TR_ERR_ARGUMENT;
}

tr_status tr_sample_column(const json_t **value, const tr_sample_t *sample, const char *name,
                           tr_error_t *err)
{
    *value = json_object_get(sample->columns, name);
    return *value != NULL ? TR_OK : no_column(sample, name, err);
}

/// With the fewest of 15 to 17 digits that give the number back: 0.1 is "0.1".
static char *print_number(const json_t *number)
{
    char *text = NULL;
    for (size_t digits = 15; digits <= 17; digits++) {
        free(text);
        text = json_dumps(number, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (strtod(text, NULL) == json_number_value(number)) {
            break;
        }
    }
    return text;
}

tr_status tr_sample_text(char **text, const tr_sample_t *sample, const char *name, tr_error_t *err)
{
    const json_t *value;
    *text = NULL;
    TR_TRY(tr_sample_column(&value, sample, name, err));
    if (json_is_object(value) || json_is_array(value)) {
        return tr_fail(err, TR_ERR_ARGUMENT, "the column '%s' is a %s: expected a text or a number",
                       name, json_is_object(value) ? "map" : "list");
    }
    *text = json_is_string(value)    ? tr_strdup(json_string_value(value))
            : json_is_number(value)  ? print_number(value)
            : json_is_boolean(value) ? tr_strdup(json_is_true(value) ? "true" : "false")
                                     : NULL;
    return TR_OK;
}

// Entries

static const char *const failures[] = {"fail", "wait", NULL}; // tr_on_failure_t

#define FIELD(...) TR_FIELD(tr_judge_t, __VA_ARGS__)

static const tr_field_t fields[] = {
    FIELD(name, TR_FIELD_TEXT, "null", .nullable = true,
          .help = "Its name in metrics and as a group of workers; null: its kind (`exec`, then "
                  "`exec-2`), or the group of `external`."),
    FIELD(weight, TR_FIELD_REAL, "1.0", .range = &tr_range_any,
          .help = "Factor of its score in the sum."),
    FIELD(timeout_s, TR_FIELD_REAL, "60.0", .range = &tr_range_positive,
          .help =
              "Deadline of a request in seconds, from when a worker has it or none is registered."),
    FIELD(retries, TR_FIELD_WHOLE, "3", .range = &tr_range_0_to_thousand,
          .help = "After a failure or a timeout."),
    FIELD(on_failure, TR_FIELD_CHOICE, "fail", .choices = failures,
          .help = "When the retries are used up: `fail`, or `wait` for a judge that answers."),
};
const tr_fields_t tr_judge_fields = TR_FIELDS(tr_judge_t, fields);

/// Two records: the entry's, and the kind's options, whose size only the kind's table knows.
void tr_judge_init(tr_judge_t *judge, const tr_judge_kind_t *kind)
{
    *judge = (tr_judge_t){.kind = kind, .options = tr_calloc(1, kind->fields->size)};
    tr_fields_init(judge, &tr_judge_fields);
    tr_fields_init(judge->options, kind->fields);
}

void tr_judge_release(tr_judge_t *judge)
{
    tr_fields_release(judge, &tr_judge_fields);
    // an entry may be released before its kind is known
    if (judge->kind != NULL) {
        tr_fields_release(judge->options, judge->kind->fields);
    }
    free(judge->options);
    *judge = (tr_judge_t){0};
}

/// A kind without a field `workers` has one process: it needs no more.
uint64_t tr_judge_workers(const tr_judge_t *judge)
{
    const tr_field_t *field = tr_fields_find(judge->kind->fields, "workers");
    // programs that somebody else starts are not counted: how many come is open
    if (!judge->kind->started) {
        return 0;
    }
    return field != NULL ? *(const uint64_t *)tr_field_of_const(judge->options, field) : 1;
}

/// Troupe's own workers register under the judge's name; a program that somebody starts by hand,
/// under the group that the recipe names.
const char *tr_judge_group(const tr_judge_t *judge)
{
    return judge->kind == &tr_judge_external
               ? ((const tr_external_judge_t *)judge->options)->external
               : judge->name;
}
