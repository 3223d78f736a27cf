// Two answers in LaTeX that mean the same: is_equiv and strip_string of Hendrycks et al. 2021
// (MATH, arXiv 2103.03874), as verl's math_reward.py has them.
//
// A chain of replacements on texts, in the original's order; what looks arbitrary ("0.5", roots of
// one character, a `=` after at most two) is the original's. Where Python raises an exception, the
// two texts are compared as they are: a step that fails returns false here.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"
#include "common/judge/answer.h"
#include "common/text/utf8.h"

static void put(tr_bytes_t *out, const char *text)
{
    tr_bytes_append(out, text, strlen(text));
}

/// Each `from` becomes `to`.
static void replace(char **text, const char *from, const char *to)
{
    tr_bytes_t out = {0};
    const char *rest = *text;
    for (const char *at = strstr(rest, from); at != NULL; at = strstr(rest, from)) {
        tr_bytes_append(&out, rest, (size_t)(at - rest));
        put(&out, to);
        rest = at + strlen(from);
    }
    put(&out, rest);
    free(*text);
    *text = out.data;
}

/// The bytes of the character at text.
static size_t character(const char *text)
{
    size_t n = tr_utf8_next(NULL, text, strlen(text));
    return n > 0 ? n : 1;
}

/// "\text{ " begins a unit; two of them are an error.
static bool remove_unit(char *text)
{
    char *unit = strstr(text, "\\text{ ");
    if (unit == NULL) {
        return true;
    }
    if (strstr(unit + 1, "\\text{ ") != NULL) {
        return false;
    }
    *unit = '\0';
    return true;
}

/// "x=5" becomes "5": one `=`, at most two characters before it.
static void remove_name(char *text)
{
    char *sign = strchr(text, '=');
    if (sign == NULL || strchr(sign + 1, '=') != NULL) {
        return;
    }
    size_t characters = 0;
    for (const char *at = text; at < sign; at += character(at)) {
        characters++;
    }
    if (characters <= 2) {
        memmove(text, sign + 1, strlen(sign + 1) + 1);
    }
}

/// Writes a character in braces, and moves past it.
static void put_braced(tr_bytes_t *out, const char **at)
{
    size_t n = character(*at);
    put(out, "{");
    tr_bytes_append(out, *at, n);
    put(out, "}");
    *at += n;
}

/// "\sqrt3" becomes "\sqrt{3}". A root at the end is an error.
static bool fix_roots(char **text)
{
    tr_bytes_t out = {0};
    const char *rest = *text;
    bool fine = true;
    for (const char *at = strstr(rest, "\\sqrt"); at != NULL && fine; at = strstr(rest, "\\sqrt")) {
        at += strlen("\\sqrt");
        tr_bytes_append(&out, rest, (size_t)(at - rest));
        rest = at;
        // what follows, up to the next root, must not be empty
        fine = *at != '\0' && strncmp(at, "\\sqrt", 5) != 0;
        if (fine && *at != '{') {
            put_braced(&out, &rest);
        }
    }
    put(&out, rest);
    free(*text);
    *text = out.data;
    return fine;
}

/// What stands between a "\frac" and the next, or the end.
static size_t fraction_length(const char *text)
{
    const char *next = strstr(text, "\\frac");
    return next != NULL ? (size_t)(next - text) : strlen(text);
}

/// "\frac12" becomes "\frac{1}{2}", "\frac1{72}" "\frac{1}{72}". One with a single character leaves
/// the whole text as it is; one with none is an error.
static bool fix_fractions(char **text)
{
    tr_bytes_t out = {0};
    const char *rest = strstr(*text, "\\frac");
    if (rest == NULL) {
        return true;
    }
    tr_bytes_append(&out, *text, (size_t)(rest - *text));
    while (*rest != '\0') { // at a "\frac"
        rest += strlen("\\frac");
        const char *end = rest + fraction_length(rest);
        put(&out, "\\frac");
        if (rest == end || (*rest != '{' && rest + character(rest) == end)) {
            bool fine = rest != end;
            tr_bytes_release(&out);
            return fine;
        }
        if (*rest != '{') {
            put_braced(&out, &rest);
            if (*rest != '{') {
                put_braced(&out, &rest);
            }
        }
        tr_bytes_append(&out, rest, (size_t)(end - rest));
        rest = end;
    }
    free(*text);
    *text = out.data;
    return true;
}

/// As Python prints it: no sign but '-', no zero before the first digit, and not "-0".
static bool is_whole(const char *text, size_t length)
{
    size_t sign = length > 0 && text[0] == '-';
    size_t digits = strspn(text + sign, "0123456789");
    return length > sign && digits >= length - sign &&
           (text[sign] != '0' || (length == 1 && sign == 0));
}

/// "3/4" becomes "\frac{3}{4}".
static void fix_slash(char **text)
{
    const char *slash = strchr(*text, '/');
    if (slash == NULL || !is_whole(*text, (size_t)(slash - *text)) ||
        !is_whole(slash + 1, strlen(slash + 1))) {
        return;
    }
    char *made = tr_format("\\frac{%.*s}{%s}", (int)(slash - *text), *text, slash + 1);
    free(*text);
    *text = made;
}

/// What is left of an answer when notation is gone. false: Python's would raise an exception.
static bool strip(char **text)
{
    static const char *const early[][2] = {
        {"\n", ""},     {"\\!", ""},     {"\\\\", "\\"},    {"tfrac", "frac"}, {"dfrac", "frac"},
        {"\\left", ""}, {"\\right", ""}, {"^{\\circ}", ""}, {"^\\circ", ""},   {"\\$", ""},
    };
    static const char *const late[][2] = {{"\\\\%", ""}, {"\\%", ""}, {" .", " 0."}, {"{.", "{0."}};
    for (size_t i = 0; i < sizeof early / sizeof early[0]; i++) {
        replace(text, early[i][0], early[i][1]);
    }
    if (!remove_unit(*text)) {
        return false;
    }
    for (size_t i = 0; i < sizeof late / sizeof late[0]; i++) {
        replace(text, late[i][0], late[i][1]);
    }
    if ((*text)[0] == '.') {
        char *longer = tr_format("0%s", *text);
        free(*text);
        *text = longer;
    }
    remove_name(*text);
    if (!fix_roots(text)) {
        return false;
    }
    replace(text, " ", "");
    if (!fix_fractions(text)) {
        return false;
    }
    if (strcmp(*text, "0.5") == 0) {
        replace(text, "0.5", "\\frac{1}{2}");
    }
    fix_slash(text);
    return true;
}

bool tr_answer_equivalent(const char *a, const char *b)
{
    char *left = tr_strdup(a), *right = tr_strdup(b);
    // an exception in either: the texts as they were
    bool fine = strip(&left) && strip(&right);
    bool same = fine ? strcmp(left, right) == 0 : strcmp(a, b) == 0;
    free(left);
    free(right);
    return same;
}
