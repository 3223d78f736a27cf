// Regular expressions by PCRE2, with limits: the only file that knows how a match is run.
//
// Two judges use it: `regex` with one expression, `words` with one for each word. An expression
// comes from a recipe and the text from a model, so a match that backtracks without end must be
// given up.
#define PCRE2_CODE_UNIT_WIDTH 8

#include "common/judge/matcher.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>

/// Backtracks that a match may take, about a hundredth of a second of them; sane expressions stay
/// far below.
static const uint32_t MATCH_LIMIT = 1000000;

struct tr_matcher {
    pcre2_code **codes; // [count]
    size_t count;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

tr_matcher_t *tr_matcher_new(void)
{
    tr_matcher_t *matcher = tr_calloc(1, sizeof *matcher);
    // pairs of offsets: one is enough, for the whole match
    matcher->match = pcre2_match_data_create(1, NULL); // where it matches, but no groups
    matcher->context = pcre2_match_context_create(NULL);
    TR_ASSERT(matcher->match != NULL && matcher->context != NULL, "out of memory");
    pcre2_set_match_limit(matcher->context, MATCH_LIMIT);
    // from 32 KiB to 8 MiB: the default of 32 KiB is too small for long responses
    matcher->stack = pcre2_jit_stack_create((size_t)32 * 1024, (size_t)8 * 1024 * 1024, NULL);
    if (matcher->stack != NULL) { // it is NULL where there is no JIT
        pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    }
    return matcher;
}

/// PCRE2's free functions accept NULL.
void tr_matcher_destroy(tr_matcher_t **self)
{
    tr_matcher_t *matcher = *self;
    if (matcher == NULL) {
        return;
    }
    for (size_t i = 0; i < matcher->count; i++) {
        pcre2_code_free(matcher->codes[i]);
    }
    pcre2_jit_stack_free(matcher->stack);
    pcre2_match_context_free(matcher->context);
    pcre2_match_data_free(matcher->match);
    free(matcher->codes);
    free(matcher);
    *self = NULL;
}

/// PCRE2_UTF: patterns and texts are UTF-8, and offsets fall between characters.
tr_status tr_matcher_add(tr_matcher_t *matcher, const char *pattern, size_t length, tr_error_t *err)
{
    int cause = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, length, PCRE2_UTF, &cause, &offset, NULL);
    if (code == NULL) {
        PCRE2_UCHAR text[160];
        pcre2_get_error_message(cause, text, sizeof text);
        // the pattern is cut: it may be long, and the offset says where to look
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "expected a regular expression, found '%.60s': %s at byte %zu", pattern,
                       (const char *)text, (size_t)offset);
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // without JIT the interpreter matches the same
    matcher->codes = tr_realloc(matcher->codes, (matcher->count + 1) * sizeof(pcre2_code *));
    matcher->codes[matcher->count++] = code;
    return TR_OK;
}

tr_status tr_matcher_next(bool *found, size_t *at, tr_matcher_t *matcher, size_t expression,
                          const char *text, size_t length, tr_error_t *err)
{
    TR_ASSERT(expression < matcher->count, "expression %zu of %zu", expression, matcher->count);
    // only *at moves, so that a match may look behind it: \b and (?<!...) see the text before
    int result = pcre2_match(matcher->codes[expression], (PCRE2_SPTR)text, length, *at, 0,
                             matcher->match, matcher->context);
    *found = result >= 0;
    if (*found) {
        *at = pcre2_get_ovector_pointer(matcher->match)[1];
    } else if (result != PCRE2_ERROR_NOMATCH) {
        PCRE2_UCHAR cause[128];
        pcre2_get_error_message(result, cause, sizeof cause);
        return tr_fail(err, TR_ERR_ARGUMENT, "matching was given up: %s; simplify the pattern",
                       (const char *)cause);
    }
    return TR_OK;
}
