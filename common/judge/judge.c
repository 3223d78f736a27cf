// The table of judges, and what entries of all kinds have in common: name, weight, deadline,
// retries.
//
// A kind is a file of its own in this folder; its name in the list here is all that the rest of the
// program needs. Next: judge.h, then words.c as the simplest kind.
#include "common/judge/judge.h"

#include <stdlib.h>
#include <string.h>

/// Every kind of judge, each a file of this folder, in the order of docs/recipe.md.
#define KINDS(X) X(exec) X(model) X(words) X(regex) X(length) X(repetition) X(external)

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
