// The judge `repetition`: what a response loses by saying the same again (Yeo et al. 2025, arXiv
// 2502.03373; get_repetition_penalty_reward of Open-R1 over words, of TRL over tokens).
//
// A response's words are its parts between white space, in lower case (ASCII letters alone change).
// With n of its runs of `ngram_size` words or tokens, d of them distinct, the score is (1 - d/n) *
// max_penalty: 0 where nothing is said twice, or where there is no such run.
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/judge/judge.h"
#include "common/text/utf8.h"

typedef struct options {
    uint64_t ngram_size;
    double max_penalty;
    int unit; // a unit_t
} options_t;

typedef enum unit { WORDS, TOKENS } unit_t;
static const char *const units[] = {"words", "tokens", NULL}; // unit_t

static const tr_range_t not_positive = {"a number of at most 0", -1e300, 0, false, false};

static const tr_field_t fields[] = {
    TR_FIELD_AS("repetition.ngram_size", options_t, ngram_size, TR_FIELD_WHOLE, "3",
                .range = &tr_range_to_thousand, .brief = true,
                .help = "Number of words or tokens of a run. `repetition: N` is short for it."),
    TR_FIELD_AS("repetition.max_penalty", options_t, max_penalty, TR_FIELD_REAL, "-1.0",
                .range = &not_positive,
                .help = "The score of a response that repeats one run throughout."),
    TR_FIELD_AS("repetition.unit", options_t, unit, TR_FIELD_CHOICE, "words", .choices = units,
                .help = "What a run is made of: `words` as in Open-R1, `tokens` of the policy as "
                        "in TRL."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

/// The hashes of the text's words: [*count], owned by the caller.
static uint64_t *hash_words(size_t *count, const char *text)
{
    size_t length = strlen(text), start = 0, words = 0;
    uint64_t *hashes =
        tr_calloc(length / 2 + 1, sizeof *hashes); // a word and a space are two bytes
    // ASCII letters alone: Python's lower(), which Open-R1 calls, changes those of other scripts
    // too
    char *lower = tr_strdup(text);
    for (size_t at = 0; at <= length;) {
        uint32_t point = ' '; // the end closes the last word
        size_t n = at < length ? tr_utf8_next(&point, text + at, length - at) : 1;
        n = n > 0 ? n : 1;
        if (tr_utf8_is_space(point)) {
            if (at > start) {
                // 64 bits: among a thousand words a collision has a chance of about 1e-14
                hashes[words++] = XXH3_64bits(lower + start, at - start);
            }
            start = at + n;
        } else if (text[at] >= 'A' && text[at] <= 'Z') {
            lower[at] = (char)(text[at] + ('a' - 'A'));
        }
        at += n;
    }
    free(lower);
    *count = words;
    return hashes;
}

/// The same of the policy's tokens.
static uint64_t *hash_tokens(size_t *count, const tr_sample_t *sample)
{
    uint64_t *hashes = tr_calloc(sample->response_count + 1, sizeof *hashes);
    *count = sample->response_count;
    for (size_t i = 0; i < *count; i++) {
        hashes[i] = XXH3_64bits(&sample->response_ids[i], sizeof *sample->response_ids);
    }
    return hashes;
}

/// Hashes have no order that means anything: equal ones must only become neighbours.
static int ascending(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/// The share of runs of n words that stand there already; 0 where there is no run. words:
/// overwritten.
static double repeated_share(uint64_t *words, size_t count, size_t n)
{
    // fewer words than a run has: nothing can be repeated
    if (count < n) {
        return 0.0;
    }
    size_t runs = count - n + 1, distinct = 0;
    for (size_t i = 0; i < runs;
         i++) { // in place: run i begins at word i, which no later run reads
        words[i] = XXH3_64bits(words + i, n * sizeof *words);
    }
    qsort(words, runs, sizeof *words, ascending);
    for (size_t i = 0; i < runs; i++) {
        // equal runs are neighbours now
        distinct += i == 0 || words[i] != words[i - 1];
    }
    return 1.0 - (double)distinct / (double)runs;
}

static tr_status repetition_rule(double *score, void *state, const tr_sample_t *sample,
                                 tr_error_t *err)
{
    const options_t *options = state;
    size_t count;
    uint64_t *runs = options->unit == TOKENS ? hash_tokens(&count, sample)
                                             : hash_words(&count, sample->response);
    (void)err;
    *score = repeated_share(runs, count, (size_t)options->ngram_size) * options->max_penalty;
    *score += 0.0; // not -0
    free(runs);
    return TR_OK;
}

const tr_judge_kind_t tr_judge_repetition = {
    .name = "repetition",
    .fields = &table,
    .started = true,
    .rule = repetition_rule,
};
