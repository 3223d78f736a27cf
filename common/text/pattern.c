// Matches in texts, by PCRE2 with JIT or, for a plain text, by memmem, and the pieces that they cut
// a text into. Each walk has match data of its own, so that threads may share a pattern.
//
// The `tokenizers` library has Oniguruma, whose Unicode tables are others than PCRE2's: the few
// characters that the two class differently are looked at as stand-ins of the same length
// (unicode.h), in a copy of the text.
#define PCRE2_CODE_UNIT_WIDTH 8

#include "common/text/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/unicode.h"

struct tr_pattern {
    pcre2_code *code;   // NULL: the pattern is the literal
    tr_bytes_t literal; // looked for byte by byte
    bool stand_ins;
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

/// *code: NULL on failure. text: the expression as its file has it, or, with `own`, as PCRE2 does.
static tr_status compile(pcre2_code **code, const char *text, size_t length, bool own,
                         tr_error_t *err)
{
    tr_bytes_t translated = {0};
    tr_status status = TR_OK;
    if (own) {
        tr_bytes_append(&translated, text, length);
    } else {
        TR_TRY_GOTO(tr_pattern_translate(&translated, text, length, err), done);
    }
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    TR_ASSERT(context != NULL, "out of memory");
    // Oniguruma's: . stops at a line feed alone, and ^ and $ are about lines. The text is checked
    // once by the caller.
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int reason = 0;
    PCRE2_SIZE offset = 0;
    *code = pcre2_compile((PCRE2_SPTR)translated.data, translated.length,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_MULTILINE, &reason,
                          &offset, context);
    pcre2_compile_context_free(context);
    if (*code == NULL) {
        status = tr_fail(err, TR_ERR_UNSUPPORTED, "regular expression '%s' is not understood: %s",
                         text, reason_of(reason).text);
        goto done;
    }
    pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE); // without JIT the interpreter matches the same
done:
    tr_bytes_release(&translated);
    return status;
}

tr_status tr_pattern_new(tr_pattern_t **pattern, const char *text, size_t length,
                         tr_pattern_kind_t kind, tr_error_t *err)
{
    *pattern = NULL;
    tr_pattern_t *made = tr_calloc(1, sizeof *made);
    tr_status status = TR_OK;
    made->stand_ins = kind == TR_PATTERN_REGEX;
    if (kind == TR_PATTERN_TEXT) {
        tr_bytes_append(&made->literal, text, length);
    } else {
        TR_TRY_GOTO(compile(&made->code, text, length, kind == TR_PATTERN_PCRE2, err), done);
    }
    *pattern = made;
    made = NULL;
done:
    tr_pattern_destroy(&made);
    return status;
}

void tr_pattern_destroy(tr_pattern_t **pattern)
{
    if (*pattern == NULL) {
        return;
    }
    pcre2_code_free((*pattern)->code);
    tr_bytes_release(&(*pattern)->literal);
    free(*pattern);
    *pattern = NULL;
}

// Matches

/// A walk over the matches of a text.
typedef struct walk {
    const tr_pattern_t *pattern;
    const char *text; // [length], with stand-ins
    size_t length;
    pcre2_match_data *match; // only of an expression, as what follows
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
    size_t start, end; // the match that was found
} walk_t;

/// Long runs of one class, such as a page of spaces, need more than JIT's own 32 KiB of stack.
static int match_at(walk_t *walk, size_t at)
{
    const tr_pattern_t *pattern = walk->pattern;
    PCRE2_SPTR text = (PCRE2_SPTR)walk->text;
    int count = pcre2_match(pattern->code, text, walk->length, at, PCRE2_NO_UTF_CHECK, walk->match,
                            walk->limits);
    if (count != PCRE2_ERROR_JIT_STACKLIMIT || walk->stack != NULL) {
        return count;
    }
    walk->limits = pcre2_match_context_create(NULL);
    walk->stack = pcre2_jit_stack_create(32 * 1024, 64 * 1024 * 1024, NULL);
    TR_ASSERT(walk->limits != NULL && walk->stack != NULL, "out of memory");
    pcre2_jit_stack_assign(walk->limits, NULL, walk->stack);
    return pcre2_match(pattern->code, text, walk->length, at, PCRE2_NO_UTF_CHECK, walk->match,
                       walk->limits);
}

/// The first match from `at` on, in *found whether there is one.
static tr_status next_match(bool *found, walk_t *walk, size_t at, tr_error_t *err)
{
    const tr_bytes_t *literal = &walk->pattern->literal;
    if (walk->pattern->code == NULL) {
        const char *rest = walk->text + at;
        const char *place = memmem(rest, walk->length - at, literal->data, literal->length);
        *found = place != NULL;
        walk->start = place == NULL ? 0 : (size_t)(place - walk->text);
        walk->end = walk->start + literal->length;
        return TR_OK;
    }
    // All of the text is given, not what begins at `at`: expressions may look behind.
    int count = match_at(walk, at);
    if (count < 0 && count != PCRE2_ERROR_NOMATCH) {
        return tr_fail(err, TR_ERR_ARGUMENT, "cannot split the text at byte %zu: %s", at,
                       reason_of(count).text);
    }
    *found = count >= 0; // 0: the expression has groups, whose places nobody asks for
    walk->start = pcre2_get_ovector_pointer(walk->match)[0];
    walk->end = pcre2_get_ovector_pointer(walk->match)[1];
    return TR_OK;
}

/// An empty match right behind a match is none, as Oniguruma's binding has it, and the search goes
/// on a character further.
static tr_status walk_matches(walk_t *walk, tr_segment_fn take, void *context, tr_error_t *err)
{
    size_t done = 0, last = SIZE_MAX; // where what was taken ends, and where the last match ended
    for (size_t at = 0; at <= walk->length;) {
        bool found = false;
        TR_TRY(next_match(&found, walk, at, err));
        if (!found) {
            break;
        }
        if (walk->start == walk->end && walk->end == last) {
            size_t step = tr_utf8_next(NULL, walk->text + at, walk->length - at);
            at += step > 0 ? step : 1;
            continue;
        }
        if (walk->start > done) {
            TR_TRY(take(context, done, walk->start, false));
        }
        TR_TRY(take(context, walk->start, walk->end, true));
        done = at = last = walk->end;
    }
    return done < walk->length ? take(context, done, walk->length, false) : TR_OK;
}

/// Puts stand-ins into a copy of the text, if it needs any: text is otherwise given back.
static const char *stand_in(tr_bytes_t *copy, const char *text, size_t length)
{
    uint32_t point = 0;
    for (size_t at = 0, n; at < length; at += n) {
        // None of them has a first byte below E0, and E4 .. E9 are Chinese.
        n = 1;
        if ((unsigned char)text[at] < 0xE0) {
            continue;
        }
        n = tr_utf8_next(&point, text + at, length - at);
        uint32_t other = tr_unicode_stand_in(point);
        if (other != point && copy->data == NULL) {
            tr_bytes_append(copy, text, length);
        }
        if (other != point) {
            tr_utf8_put(copy->data + at, other);
        }
    }
    return copy->data == NULL ? text : copy->data;
}

tr_status tr_pattern_find(const tr_pattern_t *pattern, const char *text, size_t length,
                          tr_segment_fn take, void *context, tr_error_t *err)
{
    if (length == 0) {
        return TR_OK;
    }
    walk_t walk = {.pattern = pattern, .text = text, .length = length};
    tr_bytes_t copy = {0};
    if (pattern->code != NULL) {
        walk.text = pattern->stand_ins ? stand_in(&copy, text, length) : text;
        walk.match = pcre2_match_data_create(1, NULL);
        TR_ASSERT(walk.match != NULL, "out of memory");
    }
    tr_status status = walk_matches(&walk, take, context, err);
    pcre2_jit_stack_free(walk.stack);
    pcre2_match_context_free(walk.limits);
    pcre2_match_data_free(walk.match);
    tr_bytes_release(&copy);
    return status;
}

// Pieces

bool tr_cut_find(tr_cut_t *cut, const char *name)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *cut = (tr_cut_t)i;
            return true;
        }
    }
    return false;
}

/// A text that is being cut. The last piece waits, as what follows may belong to it.
typedef struct cutting {
    tr_cut_t cut;
    bool invert;
    bool match;        // what came last was a match
    size_t start, end; // of the piece that waits; empty: none does
    tr_piece_fn take;
    void *context;
} cutting_t;

/// Whether a segment belongs to the piece that waits. The first one belongs to none, but for what
/// the library does: it takes a text to begin behind something that is no match.
static bool joins(const cutting_t *c, bool match)
{
    switch (c->cut) {
    case TR_CUT_PREVIOUS: return match && !c->match;
    case TR_CUT_NEXT: return c->match && !match;
    case TR_CUT_CONTIGUOUS: return match == c->match;
    default: return false;
    }
}

static tr_status give(cutting_t *c)
{
    size_t length = c->end - c->start;
    return length == 0 ? TR_OK : c->take(c->context, c->start, length);
}

/// A tr_segment_fn.
static tr_status take_segment(void *context, size_t start, size_t end, bool match)
{
    cutting_t *c = context;
    match = match != c->invert;
    if (!joins(c, match)) {
        TR_TRY(give(c));
        c->start = start;
    }
    c->end = c->cut == TR_CUT_REMOVED && match ? c->start : end;
    c->match = match;
    return TR_OK;
}

tr_status tr_pattern_cut(const tr_pattern_t *pattern, tr_cut_t cut, bool invert, const char *text,
                         size_t length, tr_piece_fn take, void *context, tr_error_t *err)
{
    cutting_t cutting = {.cut = cut, .invert = invert, .take = take, .context = context};
    TR_TRY(tr_pattern_find(pattern, text, length, take_segment, &cutting, err));
    return give(&cutting);
}

// Replacing

enum { REPLACED_SLACK = 1 << 22 }; ///< bytes that a text may have more, before 16 times are allowed

typedef struct replacing {
    const tr_bytes_t *from, *to;
    tr_bytes_t out;
    bool moved;
    tr_error_t *err;
} replacing_t;

/// A tr_segment_fn.
static tr_status put_segment(void *context, size_t start, size_t end, bool match)
{
    replacing_t *r = context;
    if (match) {
        const char *text = r->from->data + start;
        bool many = end > start && tr_utf8_next(NULL, text, end - start) < end - start;
        r->moved = r->moved || (start == 0 && end > 0 && (many || r->to->length == 0));
        tr_bytes_append(&r->out, r->to->data, r->to->length);
    } else {
        tr_bytes_append(&r->out, r->from->data + start, end - start);
    }
    // A stranger's file may say that each character becomes a thousand, and each of these again.
    return r->out.length / 16 > r->from->length + REPLACED_SLACK
               ? tr_fail(r->err, TR_ERR_ARGUMENT,
                         "a replacement makes more than %zu bytes of a text of %zu", r->out.length,
                         r->from->length)
               : TR_OK;
}

tr_status tr_pattern_replace(tr_bytes_t *text, const tr_pattern_t *pattern, const tr_bytes_t *to,
                             bool *moved, tr_error_t *err)
{
    replacing_t replacing = {.from = text, .to = to, .err = err};
    tr_status status =
        tr_pattern_find(pattern, text->data, text->length, put_segment, &replacing, err);
    if (status != TR_OK) {
        tr_bytes_release(&replacing.out);
        return status;
    }
    tr_bytes_append(&replacing.out, "", 0);
    tr_bytes_release(text);
    *text = replacing.out;
    if (moved != NULL) {
        *moved = replacing.moved;
    }
    return TR_OK;
}
