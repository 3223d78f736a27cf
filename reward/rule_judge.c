// Judges that need no model: words, regex, length.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/recipe.h"
#include "common/text/utf8.h"
#include "proto/body.h"
#include "reward/judge.h"
#include "reward/matcher.h"

static tr_status blame(const tr_sample_t *sample, tr_error_t *err)
{
    return tr_error_prefix(err, "sample %lld", (long long)sample->id);
}

// Words

typedef struct words {
    double *weights; // [count]
    size_t count;
    reward_matcher_t *matcher; // expression i finds word i
} words_t;

/// What continues a word: then the word is not whole.
#define WORD_CHARACTER "[\\p{L}\\p{M}\\p{N}_]"
/// Holds where a word's first or last character, when it is such a one, has none beside it.
#define WORD_START "(?:(?<!" WORD_CHARACTER ")|(?!" WORD_CHARACTER "))"
#define WORD_END "(?:(?!" WORD_CHARACTER ")|(?<!" WORD_CHARACTER "))"

/// The expression for a word: each ASCII letter in both cases, everything else as it is.
static tr_bytes_t word_pattern(const char *word, size_t length)
{
    tr_bytes_t pattern = {0};
    tr_bytes_append(&pattern, WORD_START, strlen(WORD_START));
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)word[i];
        unsigned char lower = byte | 0x20;
        char text[8];
        int n = 0;
        if (lower >= 'a' && lower <= 'z') {
            n = snprintf(text, sizeof text, "[%c%c]", lower - 0x20, lower);
        } else if (byte < 0x80) {
            n = snprintf(text, sizeof text, "\\x{%02x}", byte);
        } else {
            n = snprintf(text, sizeof text, "%c", byte);
        }
        tr_bytes_append(&pattern, text, (size_t)n);
    }
    tr_bytes_append(&pattern, WORD_END, strlen(WORD_END));
    return pattern;
}

static tr_status add_word(words_t *words, const json_t *pair, tr_error_t *err)
{
    const json_t *word = json_array_get(pair, 0);
    const json_t *weight = json_array_get(pair, 1);
    if (json_string_length(word) == 0 || !json_is_number(weight)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "config: words[%zu]: expected [word, weight]",
                       words->count);
    }
    tr_bytes_t pattern = word_pattern(json_string_value(word), json_string_length(word));
    tr_status status = reward_matcher_add(words->matcher, pattern.data, pattern.length, err);
    tr_bytes_release(&pattern);
    words->weights[words->count++] = json_number_value(weight);
    return status;
}

static void words_close(void *state)
{
    words_t *words = state;
    reward_matcher_destroy(&words->matcher);
    free(words->weights);
    free(words);
}

static tr_status words_open(void **state, const json_t *config, size_t threads, tr_error_t *err)
{
    json_t *list;
    (void)threads;
    TR_TRY(tr_body_array(&list, config, "words", SIZE_MAX, "config", err));
    words_t *words = tr_calloc(1, sizeof *words);
    words->weights = tr_calloc(json_array_size(list) + 1, sizeof *words->weights);
    words->matcher = reward_matcher_new();
    for (size_t i = 0; i < json_array_size(list); i++) {
        tr_status status = add_word(words, json_array_get(list, i), err);
        if (status != TR_OK) {
            words_close(words);
            return status;
        }
    }
    *state = words;
    return TR_OK;
}

static tr_status words_sum(double *sum, const words_t *words, const char *text, tr_error_t *err)
{
    size_t length = strlen(text);
    *sum = 0;
    for (size_t i = 0; i < words->count; i++) {
        size_t at = 0;
        bool found = true;
        while (found) {
            TR_TRY(reward_matcher_next(&found, &at, words->matcher, i, text, length, err));
            *sum += found ? words->weights[i] : 0;
        }
    }
    return TR_OK;
}

static tr_status words_score(void *state, float *scores, const tr_sample_t *samples, size_t count,
                             tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        double sum;
        if (words_sum(&sum, state, samples[i].response, err) != TR_OK) {
            return blame(&samples[i], err);
        }
        scores[i] = (float)sum;
    }
    return TR_OK;
}

const reward_kind_t reward_kind_words = {"words", words_open, words_score, words_close};

// Regex

typedef struct regex {
    reward_matcher_t *matcher; // one expression
    double score;
} regex_t;

static void regex_close(void *state)
{
    regex_t *regex = state;
    reward_matcher_destroy(&regex->matcher);
    free(regex);
}

static tr_status regex_open(void **state, const json_t *config, size_t threads, tr_error_t *err)
{
    const char *pattern;
    double score;
    (void)threads;
    TR_TRY(tr_body_string(&pattern, config, "pattern", "config", err));
    TR_TRY(tr_body_real(&score, config, "score", "config", err));
    regex_t *regex = tr_calloc(1, sizeof *regex);
    regex->matcher = reward_matcher_new();
    regex->score = score;
    tr_status status = reward_matcher_add(regex->matcher, pattern, strlen(pattern), err);
    if (status != TR_OK) {
        regex_close(regex);
        return status;
    }
    *state = regex;
    return TR_OK;
}

static tr_status regex_score(void *state, float *scores, const tr_sample_t *samples, size_t count,
                             tr_error_t *err)
{
    const regex_t *regex = state;
    for (size_t i = 0; i < count; i++) {
        const char *text = samples[i].response;
        size_t at = 0;
        bool found;
        if (reward_matcher_next(&found, &at, regex->matcher, 0, text, strlen(text), err) != TR_OK) {
            return blame(&samples[i], err);
        }
        scores[i] = found ? (float)regex->score : 0.0f;
    }
    return TR_OK;
}

const reward_kind_t reward_kind_regex = {"regex", regex_open, regex_score, regex_close};

// Length

static tr_status read_unit(tr_length_unit_t *unit, const json_t *config, tr_error_t *err)
{
    static const tr_length_unit_t units[] = {TR_LENGTH_TOKENS, TR_LENGTH_WORDS,
                                             TR_LENGTH_CHARACTERS};
    const char *name;
    TR_TRY(tr_body_string(&name, config, "unit", "config", err));
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(tr_length_unit_name(units[i]), name) == 0) {
            *unit = units[i];
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_ARGUMENT,
                   "config: unit: expected tokens, words or characters, found '%s'", name);
}

static tr_status read_length(tr_length_rule_t *rule, const json_t *config, tr_error_t *err)
{
    int64_t target, min, max;
    TR_TRY(tr_body_integer(&target, config, "target", 0, INT64_MAX, "config", err));
    TR_TRY(tr_body_integer(&min, config, "min", 0, INT64_MAX, "config", err));
    TR_TRY(tr_body_integer(&max, config, "max", 0, INT64_MAX, "config", err));
    rule->target = (uint64_t)target;
    rule->min = (uint64_t)min;
    rule->max = (uint64_t)max;
    return read_unit(&rule->unit, config, err);
}

static tr_status length_open(void **state, const json_t *config, size_t threads, tr_error_t *err)
{
    tr_length_rule_t rule;
    (void)threads;
    TR_TRY(read_length(&rule, config, err));
    tr_length_rule_t *kept = tr_alloc(sizeof *kept);
    *kept = rule;
    *state = kept;
    return TR_OK;
}

/// Characters of the text, and words: how often a character that is no space follows a space or the start.
static void count_text(size_t *characters, size_t *words, const char *text)
{
    size_t length = strlen(text);
    bool between = true;
    *characters = *words = 0;
    for (size_t at = 0; at < length;) {
        uint32_t point = 0;
        size_t n = tr_utf8_next(&point, text + at, length - at);
        at += n > 0 ? n : 1;
        bool space = tr_utf8_is_space(point);
        *words += between && !space;
        *characters += 1;
        between = space;
    }
}

static uint64_t measure(const tr_sample_t *sample, tr_length_unit_t unit)
{
    size_t characters, words;
    if (unit == TR_LENGTH_TOKENS) {
        return sample->response_count;
    }
    count_text(&characters, &words, sample->response);
    return unit == TR_LENGTH_WORDS ? words : characters;
}

static double length_rule(const tr_length_rule_t *rule, uint64_t n)
{
    if (rule->target > 0) {
        return fmax(0.0, 1.0 - fabs((double)n - (double)rule->target) / (double)rule->target);
    }
    return n >= rule->min && (rule->max == 0 || n <= rule->max) ? 1.0 : 0.0;
}

static tr_status length_score(void *state, float *scores, const tr_sample_t *samples, size_t count,
                              tr_error_t *err)
{
    const tr_length_rule_t *rule = state;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        scores[i] = (float)length_rule(rule, measure(&samples[i], rule->unit));
    }
    return TR_OK;
}

const reward_kind_t reward_kind_length = {"length", length_open, length_score, free};
