// The regular expressions of pre-tokenizers, by PCRE2. Oniguruma, which the `tokenizers` library
// uses, and PCRE2 agree on what tokenizer files write: classes, possessive quantifiers and
// look-aheads. A cursor has match data of its own, so that threads may share a split.
#define PCRE2_CODE_UNIT_WIDTH 8

#include "common/text/split.h"

#include <pcre2.h>
#include <stdlib.h>

const char *const TR_SPLIT_GPT2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct tr_split {
    pcre2_code *code;
};

struct tr_split_cursor {
    const tr_split_t *split;
    const char *text;
    size_t length;
    size_t at;          // everything before was given out
    size_t match_start; // the match found beyond `at`, not given out yet
    size_t match_end;   // 0 if there is none
    bool finished;      // no match from `at` on
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

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
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "regular expression '%s' is not understood at byte %zu: %s", pattern,
                       (size_t)offset, (const char *)text);
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

tr_split_cursor_t *tr_split_cursor_new(const tr_split_t *split, const char *text, size_t length)
{
    tr_split_cursor_t *cursor = tr_calloc(1, sizeof *cursor);
    cursor->split = split;
    cursor->text = text;
    cursor->length = length;
    cursor->match = pcre2_match_data_create_from_pattern(split->code, NULL);
    cursor->context = pcre2_match_context_create(NULL);
    // Long runs of one class, such as a page of spaces, need more than JIT's own 32 KiB.
    cursor->stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, NULL);
    TR_ASSERT(cursor->match != NULL && cursor->context != NULL, "out of memory");
    if (cursor->stack != NULL) {
        pcre2_jit_stack_assign(cursor->context, NULL, cursor->stack);
    }
    return cursor;
}

void tr_split_cursor_destroy(tr_split_cursor_t **cursor)
{
    if (*cursor == NULL) {
        return;
    }
    pcre2_match_data_free((*cursor)->match);
    pcre2_match_context_free((*cursor)->context);
    pcre2_jit_stack_free((*cursor)->stack);
    free(*cursor);
    *cursor = NULL;
}

/// Looks for the next match that is not empty, from `at` on.
static tr_status find(tr_split_cursor_t *cursor, tr_error_t *err)
{
    int count =
        pcre2_match(cursor->split->code, (PCRE2_SPTR)cursor->text, cursor->length, cursor->at,
                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, cursor->match, cursor->context);
    if (count == PCRE2_ERROR_NOMATCH) {
        cursor->finished = true;
        return TR_OK;
    }
    if (count < 0) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(count, text, sizeof text);
        return tr_fail(err, TR_ERR_ARGUMENT, "cannot split the text at byte %zu: %s", cursor->at,
                       (const char *)text);
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(cursor->match);
    cursor->match_start = ends[0];
    cursor->match_end = ends[1];
    return TR_OK;
}

tr_status tr_split_cursor_next(size_t *start, size_t *length, tr_split_cursor_t *cursor,
                               tr_error_t *err)
{
    *start = cursor->at;
    *length = 0;
    if (cursor->at < cursor->length && cursor->match_end == 0 && !cursor->finished) {
        TR_TRY(find(cursor, err));
    }
    size_t end = cursor->length;
    if (cursor->match_end != 0) { // first what lies before the match, then the match
        bool between = cursor->match_start > cursor->at;
        end = between ? cursor->match_start : cursor->match_end;
        cursor->match_end = between ? cursor->match_end : 0;
    }
    *length = end - cursor->at;
    cursor->at = end;
    return TR_OK;
}
