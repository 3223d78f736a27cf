// The judge `cosine`: a right answer is worth more the shorter the response, a wrong one less (Yeo
// et al. 2025, arXiv 2502.03373, appendix C.1; get_cosine_scaled_reward of TRL and Open-R1).
//
// With n of at most max_len tokens (longer ones count as max_len), the score is low + (high - low)
// * (1 + cos(pi * n / max_len)) / 2, where (low, high) are the values of a long and of a short
// response.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/answer.h"
#include "common/judge/judge.h"
#include "common/text/utf8.h"

typedef enum unit { TOKENS, CHARACTERS } unit_t;

typedef struct options {
    char *column;
    int form; // a tr_answer_form_t
    uint64_t max_len;
    int unit; // a unit_t
    double min_value_wrong, max_value_wrong, min_value_correct, max_value_correct;
} options_t;

static const char *const units[] = {"tokens", "characters", NULL}; // unit_t

#define FIELD(name, ...) TR_FIELD_AS("cosine." #name, options_t, name, __VA_ARGS__)

static const tr_field_t fields[] = {
    FIELD(column, TR_FIELD_TEXT, "answer", .help = "As `exact_answer.column`."),
    FIELD(form, TR_FIELD_CHOICE, "boxed", .choices = tr_answer_forms,
          .help = "As `exact_answer.form`: which answer is right."),
    FIELD(max_len, TR_FIELD_WHOLE, "null", .nullable = true, .range = &tr_range_whole,
          .brief = true,
          .help = "The length of the longest response that is told from longer ones. `cosine: N` "
                  "is short for it."),
    FIELD(unit, TR_FIELD_CHOICE, "tokens", .choices = units,
          .help = "What is counted: `tokens` as in TRL, `characters` as in Open-R1."),
    FIELD(min_value_wrong, TR_FIELD_REAL, "-1.0", .range = &tr_range_any,
          .help = "Score of the shortest wrong response."),
    FIELD(max_value_wrong, TR_FIELD_REAL, "-0.5", .range = &tr_range_any,
          .help = "Score of the longest wrong response."),
    FIELD(min_value_correct, TR_FIELD_REAL, "0.5", .range = &tr_range_any,
          .help = "Score of the longest right response."),
    FIELD(max_value_correct, TR_FIELD_REAL, "1.0", .range = &tr_range_any,
          .help = "Score of the shortest right response."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

static char *check(const char **key, const void *options)
{
    *key = "cosine.max_len";
    return ((const options_t *)options)->max_len > 0
               ? NULL
               : tr_strdup("expected a length above 0, found none");
}

static size_t length_of(const tr_sample_t *sample, unit_t unit)
{
    const char *text = sample->response;
    size_t characters = 0, length = strlen(text);
    if (unit == TOKENS) {
        return sample->response_count;
    }
    for (size_t at = 0, n; at<length; at += n> 0 ? n : 1) {
        n = tr_utf8_next(NULL, text + at, length - at);
        characters++;
    }
    return characters;
}

static double scaled(const options_t *o, size_t length, bool right)
{
    static const double PI = 3.14159265358979323846;
    // past max_len the cosine would rise again
    double progress = fmin((double)length / (double)o->max_len, 1.0);
    double low = right ? o->min_value_correct : o->max_value_wrong;
    double high = right ? o->max_value_correct : o->min_value_wrong;
    return low + 0.5 * (high - low) * (1.0 + cos(progress * PI));
}

static tr_status cosine_rule(double *score, void *state, const tr_sample_t *sample, tr_error_t *err)
{
    const options_t *options = state;
    char *gold;
    *score = NAN;
    TR_TRY(tr_sample_text(&gold, sample, options->column, err));
    if (gold != NULL) {
        bool right = tr_answer_judge((tr_answer_form_t)options->form, sample->response, gold) ==
                     TR_VERDICT_RIGHT;
        *score = scaled(options, length_of(sample, (unit_t)options->unit), right);
    }
    free(gold);
    return TR_OK;
}

const tr_judge_kind_t tr_judge_cosine = {
    .name = "cosine",
    .fields = &table,
    .started = true,
    .check = check,
    .may_be_null = true,
    .rule = cosine_rule,
};
