// The judge `overlong`: what a response loses by its last tokens before the limit (DAPO, Yu et al.
// 2025, arXiv 2503.14476, equation 13; TRL's get_soft_overlong_punishment).
//
// Of n tokens: 0 up to max_completion_len - soft_punish_cache, from there down in a line to -1 at
// max_completion_len, and -1 beyond it.
#include "common/judge/judge.h"

typedef struct options {
    uint64_t max_completion_len;
    uint64_t soft_punish_cache;
} options_t;

static const tr_field_t fields[] = {
    TR_FIELD_AS("overlong.max_completion_len", options_t, max_completion_len, TR_FIELD_WHOLE,
                "null", .nullable = true, .range = &tr_range_whole,
                .help = "Tokens from which on the score is -1."),
    TR_FIELD_AS("overlong.soft_punish_cache", options_t, soft_punish_cache, TR_FIELD_WHOLE, "null",
                .nullable = true, .range = &tr_range_whole,
                .help = "Tokens before that in which the score falls from 0 to -1; null or 0: it "
                        "falls at once."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

static char *check(const char **key, const void *options)
{
    const options_t *own = options;
    *key = "overlong.max_completion_len";
    if (own->max_completion_len == 0) {
        return tr_strdup("expected a length above 0, found none");
    }
    return own->soft_punish_cache > own->max_completion_len
               ? tr_strdup("soft_punish_cache is above max_completion_len")
               : NULL;
}

static tr_status overlong_rule(double *score, void *state, const tr_sample_t *sample,
                               tr_error_t *err)
{
    const options_t *options = state;
    double n = (double)sample->response_count;
    double limit = (double)options->max_completion_len, cache = (double)options->soft_punish_cache;
    (void)err;
    *score = n <= limit - cache ? 0.0 : n <= limit ? (limit - cache - n) / cache : -1.0;
    return TR_OK;
}

const tr_judge_kind_t tr_judge_overlong = {
    .name = "overlong",
    .fields = &table,
    .started = true,
    .check = check,
    .rule = overlong_rule,
};
