// The judge `exact_answer`: whether the response ends with the answer that its row names.
//
// `score` for the right answer, `format_score` for another one in the same form, 0 where there is
// none: verl's compute_score of GSM8K and MATH. How answers are found and compared: answer.h.
#include <math.h>
#include <stdlib.h>

#include "common/judge/answer.h"
#include "common/judge/judge.h"

typedef struct options {
    char *column;
    int form; // a tr_answer_form_t
    double score;
    double format_score;
} options_t;

static const tr_field_t fields[] = {
    TR_FIELD_AS("exact_answer.column", options_t, column, TR_FIELD_TEXT, "answer", .brief = true,
                .help = "The column with the right answer, or with a solution that ends with it. "
                        "`exact_answer: COLUMN` is short for it."),
    TR_FIELD_AS(
        "exact_answer.form", options_t, form, TR_FIELD_CHOICE, "strict", .choices = tr_answer_forms,
        .help = "`strict`: the number after `####`, as in GSM8K; `flexible`: the last "
                "number; `boxed`: the last `\\boxed{}`, as in MATH, whatever its notation."),
    TR_FIELD_AS("exact_answer.score", options_t, score, TR_FIELD_REAL, "1.0",
                .range = &tr_range_any, .help = "Score of the right answer."),
    TR_FIELD_AS("exact_answer.format_score", options_t, format_score, TR_FIELD_REAL, "0.0",
                .range = &tr_range_any,
                .help = "Score of a wrong answer in this form; a response without one has 0."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

static tr_status exact_answer_rule(double *score, void *state, const tr_sample_t *sample,
                                   tr_error_t *err)
{
    const options_t *options = state;
    const double scores[] = {
        [TR_VERDICT_NONE] = 0.0,
        [TR_VERDICT_WRONG] = options->format_score,
        [TR_VERDICT_RIGHT] = options->score,
    };
    char *gold;
    TR_TRY(tr_sample_text(&gold, sample, options->column, err));
    *score = gold == NULL
                 ? NAN
                 : scores[tr_answer_judge((tr_answer_form_t)options->form, sample->response, gold)];
    free(gold);
    return TR_OK;
}

const tr_judge_kind_t tr_judge_exact_answer = {
    .name = "exact_answer",
    .fields = &table,
    .started = true,
    .may_be_null = true,
    .rule = exact_answer_rule,
};
