// The judge `words`: the sum of the weights of the words that occur in a response, once for each
// occurrence.
//
// An occurrence is a place where the word stands as it is written, except that the ASCII letters
// a-z and A-Z are taken as equal ('happy' in "Happy!"; other letters must be the same), and where
// it is a whole word: no letter, combining mark, digit or '_' of any script continues it on either
// side ('happy' is not in "unhappy" or "happy2", but in "happy-go-lucky" and "happy's"). An end of
// the word that is none of these itself, as in ":)", may stand next to anything. Words may contain
// spaces and count apart from each other, each from left to right without overlap. Scripts that put
// no space between words need the kind regex.
#include <stdlib.h>
#include <string.h>

#include "common/judge/judge.h"
#include "common/judge/matcher.h"
#include "common/text/utf8.h"

typedef struct options {
    tr_words_t words;
} options_t;

static const tr_field_t fields[] = {
    TR_FIELD(options_t, words, TR_FIELD_WORDS, "{}", .help = "Words with the weight of each."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

static char *check(const char **key, const void *options)
{
    *key = "words";
    return ((const options_t *)options)->words.count > 0
               ? NULL
               : tr_strdup("expected at least one word, found none");
}

typedef struct state {
    double *weights; // [count]
    size_t count;
    tr_matcher_t *matcher; // expression i finds word i
} state_t;

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
        // sets the bit that tells a lower-case ASCII letter from its upper-case one
        unsigned char lower = byte | 0x20;
        char text[8];
        int n = 0;
        // other ASCII characters are escaped: none has a meaning in the expression; bytes of longer
        // characters stand for themselves
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

static tr_status add_word(state_t *words, const tr_word_weight_t *word, tr_error_t *err)
{
    tr_bytes_t pattern = word_pattern(word->word, strlen(word->word));
    tr_status status = tr_matcher_add(words->matcher, pattern.data, pattern.length, err);
    tr_bytes_release(&pattern);
    // in step with the expressions: number i of the matcher is weight i
    words->weights[words->count++] = word->weight;
    return status;
}

/// Also of one that was opened in part.
static void words_close(void *state)
{
    state_t *words = state;
    tr_matcher_destroy(&words->matcher);
    free(words->weights);
    free(words);
}

static tr_status words_open(void **state, const void *options, const tr_judge_host_t *host,
                            tr_error_t *err)
{
    const tr_words_t *list = &((const options_t *)options)->words;
    state_t *words = tr_calloc(1, sizeof *words);
    (void)host;
    // one more, so that an empty list has an address
    words->weights = tr_calloc(list->count + 1, sizeof *words->weights);
    words->matcher = tr_matcher_new();
    for (size_t i = 0; i < list->count; i++) {
        tr_status status = add_word(words, &list->items[i], err);
        if (status != TR_OK) {
            words_close(words);
            return status;
        }
    }
    *state = words;
    return TR_OK;
}

/// Matches of one word do not overlap: each search begins where the match before ended. The sum is
/// taken in double, so that many small weights add up, and rounded once.
static tr_status words_rule(double *sum, void *state, const tr_sample_t *sample, tr_error_t *err)
{
    const state_t *words = state;
    const char *text = sample->response;
    size_t length = strlen(text);
    *sum = 0;
    for (size_t i = 0; i < words->count; i++) {
        size_t at = 0;
        // until a search finds no more; none finds an empty match, for which *at would stand still,
        // because the pattern spells the word and no word is empty
        bool found = true;
        while (found) {
            TR_TRY(tr_matcher_next(&found, &at, words->matcher, i, text, length, err));
            *sum += found ? words->weights[i] : 0;
        }
    }
    return TR_OK;
}

const tr_judge_kind_t tr_judge_words = {
    .name = "words",
    .fields = &table,
    .started = true,
    .check = check,
    .open = words_open,
    .rule = words_rule,
    .close = words_close,
};
