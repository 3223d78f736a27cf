// The judge `length`: how long a response is, against a target or bounds.
//
// n = the response's tokens (those of the policy, an end token included), words (separated by
// Unicode white space) or characters (code points). With a target: 1 - |n - target| / target, not
// below 0. Else 1 where min <= n <= max, 0 outside.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/judge.h"
#include "common/text/utf8.h"

/// n is counted in one of these.
typedef enum unit { TOKENS, WORDS, CHARACTERS } unit_t;

typedef struct options {
    uint64_t target; // 0: none
    uint64_t min;
    uint64_t max; // 0: no upper bound
    int unit;     // a unit_t
} options_t;

static const char *const units[] = {"tokens", "words", "characters", NULL}; // unit_t

static const tr_field_t fields[] = {
    TR_FIELD_AS("length.target", options_t, target, TR_FIELD_WHOLE, "null", .nullable = true,
                .range = &tr_range_whole,
                .help =
                    "A response of n units has the score 1 − |n − target| / target, not below 0."),
    TR_FIELD_AS("length.min", options_t, min, TR_FIELD_WHOLE, "0", .range = &tr_range_whole,
                .help = "With `max`, instead of `target`: the score is 1 within, 0 outside."),
    TR_FIELD_AS("length.max", options_t, max, TR_FIELD_WHOLE, "null", .nullable = true,
                .range = &tr_range_whole, .help = "null: no upper bound."),
    TR_FIELD_AS("length.unit", options_t, unit, TR_FIELD_CHOICE, "tokens", .choices = units,
                .help = "The unit that is counted."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

/// Exactly one of the two rules: a target, or bounds.
static char *check(const char **key, const void *options)
{
    const options_t *rule = options;
    bool bounds = rule->min > 0 || rule->max > 0;
    *key = "length";
    if ((rule->target > 0) == bounds) {
        return tr_strdup(bounds ? "expected target, or min and max, found both kinds"
                                : "expected a target, a min or a max above 0, found none");
    }
    return rule->max > 0 && rule->min > rule->max ? tr_strdup("min is above max") : NULL;
}

/// Characters of the text, and words: how often a character that is no space follows a space or the
/// start.
static void count_text(size_t *characters, size_t *words, const char *text)
{
    size_t length = strlen(text);
    bool between = true;
    *characters = *words = 0;
    for (size_t at = 0; at < length;) {
        uint32_t point = 0;
        // a byte that is not UTF-8 counts as a character
        size_t n = tr_utf8_next(&point, text + at, length - at);
        at += n > 0 ? n : 1;
        // a word begins where a character that is no space follows a space
        bool space = tr_utf8_is_space(point);
        *words += between && !space;
        *characters += 1;
        between = space;
    }
}

static uint64_t measure(const tr_sample_t *sample, unit_t unit)
{
    size_t characters, words;
    // the policy's own tokens come with the sample: nothing is encoded again
    if (unit == TOKENS) {
        return sample->response_count;
    }
    count_text(&characters, &words, sample->response);
    return unit == WORDS ? words : characters;
}

static double score_of(const options_t *rule, uint64_t n)
{
    // both are converted before they are subtracted: unsigned numbers would wrap below 0
    if (rule->target > 0) {
        return fmax(0.0, 1.0 - fabs((double)n - (double)rule->target) / (double)rule->target);
    }
    // max 0: no upper bound
    return n >= rule->min && (rule->max == 0 || n <= rule->max) ? 1.0 : 0.0;
}

static tr_status length_rule(double *score, void *state, const tr_sample_t *sample, tr_error_t *err)
{
    const options_t *options = state;
    (void)err;
    *score = score_of(options, measure(sample, (unit_t)options->unit));
    return TR_OK;
}

const tr_judge_kind_t tr_judge_length = {
    .name = "length",
    .fields = &table,
    .started = true,
    .check = check,
    .rule = length_rule,
};
