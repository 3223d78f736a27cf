// The regular expressions of pre-tokenizers, by PCRE2. Oniguruma, which the `tokenizers` library
// uses, and PCRE2 agree on what tokenizer files write: classes, possessive quantifiers and
// look-aheads. Each run has match data of its own, so that threads may share a split.
#define PCRE2_CODE_UNIT_WIDTH 8

#include "common/text/split.h"

#include <pcre2.h>
#include <stdlib.h>

// Radford et al. 2019: contractions, words with the space before them, numbers, other characters,
// white space that leaves its last character to the next word, and the rest.
const char *const TR_SPLIT_GPT2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct tr_split {
    pcre2_code *code;
};

/// PCRE2's sentence for an error code.
typedef struct reason {
    char text[128];
} reason_t;

static reason_t reason_of(int code)
{
    reason_t reason;
    pcre2_get_error_message(code, (PCRE2_UCHAR *)reason.text, sizeof reason.text);
    return reason;
}

tr_status tr_split_new(tr_split_t **split, const char *pattern, size_t length, bool literal,
                       tr_error_t *err)
{
    *split = NULL;
    int code = 0;
    PCRE2_SIZE offset = 0;
    // The text is checked once by the caller, and \p, \s and \w are Unicode's, as in Oniguruma.
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK | (literal ? PCRE2_LITERAL : PCRE2_UCP);
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, length, options, &code, &offset, NULL);
    if (compiled == NULL) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "regular expression '%s' is not understood at byte %zu: %s", pattern,
                       (size_t)offset, reason_of(code).text);
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); // without JIT the interpreter matches the same
    *split = tr_calloc(1, sizeof **split);
    (*split)->code = compiled;
    return TR_OK;
}

void tr_split_destroy(tr_split_t **split)
{
    if (*split == NULL) {
        return;
    }
    pcre2_code_free((*split)->code);
    free(*split);
    *split = NULL;
}

tr_status tr_split_run(const tr_split_t *split, const char *text, size_t length, tr_piece_fn take,
                       void *context, tr_error_t *err)
{
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(split->code, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    TR_ASSERT(match != NULL && limits != NULL, "out of memory");
    // Long runs of one class, such as a page of spaces, need more than JIT's own 32 KiB. NULL,
    // which is no stack of our own, where PCRE2 was built without JIT.
    pcre2_jit_stack *stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, NULL);
    pcre2_jit_stack_assign(limits, NULL, stack);
    tr_status status = TR_OK;
    for (size_t at = 0; at < length && status == TR_OK;) {
        // All of the text is given, not what begins at `at`: expressions may look behind. An empty
        // match would be a piece without text.
        int count = pcre2_match(split->code, (PCRE2_SPTR)text, length, at,
                                PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match, limits);
        const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(match);
        size_t start = count > 0 ? ends[0] : length, end = count > 0 ? ends[1] : length;
        if (count < 0 && count != PCRE2_ERROR_NOMATCH) {
            status = tr_fail(err, TR_ERR_ARGUMENT, "cannot split the text at byte %zu: %s", at,
                             reason_of(count).text);
            break;
        }
        if (start > at) { // what lies before the match
            status = take(context, at, start - at);
        }
        if (status == TR_OK && end > start) {
            status = take(context, start, end - start);
        }
        at = end;
    }
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(limits);
    pcre2_match_data_free(match);
    return status;
}
