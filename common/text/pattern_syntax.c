// Oniguruma's regular expressions (its Ruby syntax, which the `tokenizers` library has) as PCRE2
// reads them. Most of an expression is the same in both and is copied; what reads otherwise is
// rewritten, and what cannot be is refused by name, so that no expression means something else
// here.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/pattern.h"

/// \w in a class: Unicode's Alphabetic, marks, decimal digits and connectors. Outside of a class
/// Oniguruma's \w has Latin-1's superscripts and fractions too.
#define WORD                                                                    \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}" \
    "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
#define LATIN "\\xB2\\xB3\\xB9\\xBC-\\xBE"
#define WORD_ALONE "[" WORD LATIN "]"

/// An escape that PCRE2 reads otherwise.
typedef struct escape {
    char letter;
    const char *alone;  // what it becomes outside of a class
    const char *inside; // and in one; NULL: refused there
} escape_t;

static const escape_t ESCAPES[] = {
    {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"}, // a hexadecimal digit; PCRE2's is horizontal space
    {'H', "[^0-9A-Fa-f]", NULL},
    {'w', WORD_ALONE, WORD},
    {'W', "[^" WORD LATIN "]", NULL},
    {'b', "(?:(?<=" WORD_ALONE ")(?!" WORD_ALONE ")|(?<!" WORD_ALONE ")(?=" WORD_ALONE "))",
     "\\x08"},
    {'B', "(?:(?<=" WORD_ALONE ")(?=" WORD_ALONE ")|(?<!" WORD_ALONE ")(?!" WORD_ALONE "))", NULL},
    {'v', "\\x0B", "\\x0B"}, // vertical tab; PCRE2's is vertical space
};

/// Letters behind a backslash that mean the same in both, outside of a class. In a class those that
/// stand for a place mean nothing.
static const char SAME[] = "sSdDtnrfaepPxAzZGKR";
static const char SAME_INSIDE[] = "sSdDtnrfaepPx";

/// Scripts whose characters tr_unicode_stand_in sets right.
static const char *const SCRIPTS[] = {"Han",   "Hiragana", "Katakana", "Hangul",
                                      "Latin", "Greek",    "Hebrew",   "Thai"};

/// A translation on its way. Everything before `at` is in out.
typedef struct translation {
    const char *text;
    size_t length;
    size_t at;
    bool in_class;
    tr_bytes_t *out;
    tr_error_t *err;
} translation_t;

static void put(translation_t *t, const char *text)
{
    tr_bytes_append(t->out, text, strlen(text));
}

/// Copies `count` bytes.
static void copy(translation_t *t, size_t count)
{
    tr_bytes_append(t->out, t->text + t->at, count);
    t->at += count;
}

/// The byte at a distance from where the translation is; 0 past the end.
static char peek(const translation_t *t, size_t distance)
{
    return t->at + distance < t->length ? t->text[t->at + distance] : '\0';
}

static tr_status refuse(const translation_t *t, const char *what)
{
    return tr_fail(t->err, TR_ERR_UNSUPPORTED,
                   "regular expression '%s' is not supported: %s at byte %zu", t->text, what,
                   t->at);
}

/// \p{Name}: a general category of one or two letters is the same in both; a script means its own
/// characters, without those that PCRE2 adds as used with it.
static tr_status property(translation_t *t)
{
    const char *open = t->text + t->at + 3, *end = memchr(open, '}', t->length - t->at - 3);
    bool negated = peek(t, 1) == 'P';
    if (end == NULL) {
        return refuse(t, "a property without its end");
    }
    if (*open == '^') {
        negated = !negated;
        open++;
    }
    size_t length = (size_t)(end - open);
    const char *kind = NULL;
    for (size_t i = 0; i < sizeof SCRIPTS / sizeof *SCRIPTS; i++) {
        if (length == strlen(SCRIPTS[i]) && memcmp(open, SCRIPTS[i], length) == 0) {
            kind = "sc:";
        }
    }
    if (length <= 2 && length > 0) {
        kind = "";
    }
    if (kind == NULL) {
        return refuse(t, "a property that is neither a category of one or two letters nor a "
                         "known script,");
    }
    put(t, negated ? "\\P{" : "\\p{");
    put(t, kind);
    tr_bytes_append(t->out, open, length);
    put(t, "}");
    t->at = (size_t)(end - t->text) + 1;
    return TR_OK;
}

static tr_status escape(translation_t *t)
{
    char letter = peek(t, 1);
    for (size_t i = 0; i < sizeof ESCAPES / sizeof *ESCAPES; i++) {
        const char *is = t->in_class ? ESCAPES[i].inside : ESCAPES[i].alone;
        if (ESCAPES[i].letter == letter && is != NULL) {
            put(t, is);
            t->at += 2;
            return TR_OK;
        }
    }
    if ((letter == 'p' || letter == 'P') && peek(t, 2) == '{') {
        return property(t);
    }
    if (letter == 'u' && t->at + 6 <= t->length) { // four hexadecimal digits
        put(t, "\\x{");
        t->at += 2;
        copy(t, 4);
        put(t, "}");
        return TR_OK;
    }
    if (isalpha((unsigned char)letter) &&
        strchr(t->in_class ? SAME_INSIDE : SAME, letter) == NULL) {
        return refuse(t, "an escape that is read otherwise here");
    }
    if (letter == '\0') {
        return refuse(t, "a backslash at the end");
    }
    copy(t, 2); // the rest of a character of several bytes follows as it is
    return TR_OK;
}

/// Inside of [...], behind the bracket.
static tr_status in_class(translation_t *t)
{
    static const char *const same[] = {"[:space:]", "[:digit:]", "[:cntrl:]", "[:blank:]",
                                       "[:xdigit:]"};
    char c = peek(t, 0);
    if (c == '[') {
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
            if (strncmp(t->text + t->at, same[i], strlen(same[i])) == 0) {
                copy(t, strlen(same[i]));
                return TR_OK;
            }
        }
        return refuse(t, "a class within a class");
    }
    if (c == '&' && peek(t, 1) == '&') {
        return refuse(t, "an intersection of classes");
    }
    t->in_class = c != ']';
    copy(t, 1);
    return TR_OK;
}

/// (?imx-imx) and (?imx-imx:...): Ruby's m lets the point match line feeds, which PCRE2 calls s.
static void group(translation_t *t)
{
    copy(t, 2);
    while (strchr("imx-", peek(t, 0)) != NULL && peek(t, 0) != '\0') {
        put(t, (char[]){peek(t, 0) == 'm' ? 's' : peek(t, 0), '\0'});
        t->at++;
    }
}

/// {n,m}: {,m} begins at 0 in Oniguruma, and what follows an interval does not make it possessive
/// or lazy in the way that it does in PCRE2.
static tr_status interval(translation_t *t)
{
    size_t end = t->at + 1;
    while (end < t->length && (isdigit((unsigned char)t->text[end]) || t->text[end] == ',')) {
        end++;
    }
    if (end == t->length || t->text[end] != '}' || end == t->at + 1) {
        copy(t, 1); // a brace
        return TR_OK;
    }
    bool range = memchr(t->text + t->at, ',', end - t->at) != NULL;
    char next = end + 1 < t->length ? t->text[end + 1] : '\0';
    if (next == '+' || (next == '?' && !range)) {
        return refuse(t, "a quantifier behind {n}");
    }
    copy(t, 1);
    if (peek(t, 0) == ',') {
        put(t, "0");
    }
    copy(t, end - t->at + 1);
    return TR_OK;
}

static tr_status step(translation_t *t)
{
    char c = peek(t, 0);
    if (c == '\\') {
        return escape(t);
    }
    if (t->in_class) {
        return in_class(t);
    }
    if (c == '[') {
        t->in_class = true;
        copy(t, peek(t, 1) == '^' ? 2 : 1);
        return peek(t, 0) == ']' ? refuse(t, "an empty class") : TR_OK;
    }
    if (c == '(' && peek(t, 1) == '?' && peek(t, 2) != '\0' && strchr("imx-", peek(t, 2))) {
        group(t);
        return TR_OK;
    }
    if (c == '{') {
        return interval(t);
    }
    copy(t, 1);
    return TR_OK;
}

tr_status tr_pattern_translate(tr_bytes_t *out, const char *text, size_t length, tr_error_t *err)
{
    translation_t translation = {.text = text, .length = length, .out = out, .err = err};
    while (translation.at < length) {
        TR_TRY(step(&translation));
    }
    return TR_OK;
}
