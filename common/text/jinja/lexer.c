// Source to tokens, as Jinja's lexer has it with trim_blocks and lstrip_blocks: a line's end right
// after a tag of a block or a comment is dropped, and so is the white space before one that begins
// its line. `-` takes all white space, `+` keeps it. The very last line's end is dropped.
#include "common/text/jinja/lexer.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/jinja/strings.h"

enum { NESTING_LIMIT = 200 };

typedef struct lexer {
    jinja_memory_t *memory;
    tr_error_t *err;
    const char *at, *end; // what is left of the source
    int line;
    bool line_starting; // what was read last ends a line, or nothing was read yet
    char brackets[NESTING_LIMIT];
    size_t bracket_count;
    jinja_token_t *tokens;
    size_t count, capacity;
} lexer_t;

static tr_status fail(const lexer_t *lexer, const char *sentence)
{
    return tr_fail(lexer->err, TR_ERR_FORMAT, "line %d: %s", lexer->line, sentence);
}

static jinja_token_t *add(lexer_t *lexer, jinja_token_kind_t kind, const char *text, size_t length)
{
    lexer->tokens = jinja_grow(lexer->memory, lexer->tokens, lexer->count, &lexer->capacity,
                               sizeof *lexer->tokens);
    jinja_token_t *token = &lexer->tokens[lexer->count++];
    *token = (jinja_token_t){.kind = kind, .line = lexer->line, .text = {text, length}};
    return token;
}

/// Moves on to a place further on and counts the lines on the way.
static void move(lexer_t *lexer, const char *to)
{
    if (to == lexer->at) {
        return;
    }
    lexer->line_starting = to[-1] == '\n';
    for (; lexer->at < to; lexer->at++) {
        lexer->line += *lexer->at == '\n';
    }
}

static bool begins(const lexer_t *lexer, const char *at, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(lexer->end - at) >= length && memcmp(at, text, length) == 0;
}

static const char *skip_space(const lexer_t *lexer, const char *at)
{
    return at + jinja_leading_space(at, (size_t)(lexer->end - at));
}

// Outside tags

/// The end of a tag that may be written with a sign: after `-` and all white space, after one
/// line's end where trimmed. NULL: there is none here.
static const char *tag_end(const lexer_t *lexer, const char *at, const char *close, bool trims)
{
    char signs[4] = {'-', close[0], close[1], '\0'};
    if (begins(lexer, at, signs)) {
        return skip_space(lexer, at + 3);
    }
    signs[0] = '+';
    if (trims && begins(lexer, at, signs)) {
        return at + 3;
    }
    if (!begins(lexer, at, close)) {
        return NULL;
    }
    return at + 2 + (trims && begins(lexer, at + 2, "\n"));
}

/// Adds the text up to a tag whose sign is `sign`; white space before it goes as the sign says.
static void add_data(lexer_t *lexer, const char *tag, char sign, bool variable)
{
    const char *stop = tag;
    if (sign == '-') {
        stop -= jinja_trailing_space(lexer->at, (size_t)(tag - lexer->at));
    } else if (sign != '+' && !variable) {
        const char *line = tag;
        while (line > lexer->at && line[-1] != '\n') {
            line--;
        }
        // The text before the tag is white space from the line's start on.
        if ((line > lexer->at || lexer->line_starting) && skip_space(lexer, line) >= tag) {
            stop = line;
        }
    }
    if (stop > lexer->at) {
        add(lexer, TOKEN_DATA, lexer->at, (size_t)(stop - lexer->at));
    }
    move(lexer, tag);
}

/// opening: bytes of `{#` and its sign.
static tr_status skip_comment(lexer_t *lexer, size_t opening)
{
    for (const char *at = lexer->at + opening; at < lexer->end; at++) {
        const char *end = tag_end(lexer, at, "#}", true);
        if (end != NULL) {
            move(lexer, end);
            return TR_OK;
        }
    }
    return fail(lexer, "the comment has no end");
}

/// After `{% raw`: the text to `{% endraw %}`. name: what must stand in the tag. NULL, or the end
/// of the tag at `at`, whose sign is written.
static const char *raw_tag(const lexer_t *lexer, const char *at, const char *name, char *sign,
                           bool trims)
{
    if (!begins(lexer, at, "{%")) {
        return NULL;
    }
    at += 2;
    *sign = begins(lexer, at, "-") || begins(lexer, at, "+") ? *at : '\0';
    at = skip_space(lexer, at + (*sign != '\0'));
    if (!begins(lexer, at, name)) {
        return NULL;
    }
    at = skip_space(lexer, at + strlen(name));
    const char *end = tag_end(lexer, at, "%}", true);
    // `{% raw %}` drops no line's end of its own.
    bool dropped = end != NULL && !trims && begins(lexer, at, "%}");
    return dropped ? at + 2 : end;
}

static tr_status lex_raw(lexer_t *lexer, const char *end)
{
    move(lexer, end);
    for (const char *at = lexer->at; at < lexer->end; at++) {
        char sign;
        end = raw_tag(lexer, at, "endraw", &sign, true);
        if (end != NULL) {
            add_data(lexer, at, sign, false);
            move(lexer, end);
            return TR_OK;
        }
    }
    return fail(lexer, "the raw block has no end");
}

// Inside tags

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/// Appends the character of an escape of `digits` hexadecimal digits.
static tr_status escape_hex(lexer_t *lexer, tr_bytes_t *out, const char **at, const char *end,
                            int digits)
{
    uint32_t point = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (*at == end || !isxdigit((unsigned char)**at)) {
            return fail(lexer, "an escape in a string has too few hexadecimal digits");
        }
        char digit[2] = {**at, '\0'};
        point = point * 16 + (uint32_t)strtoul(digit, NULL, 16);
    }
    char bytes[4];
    size_t length = jinja_utf8_put(bytes, point);
    if (length == 0) {
        return fail(lexer, "an escape in a string is no character");
    }
    tr_bytes_append(out, bytes, length);
    return TR_OK;
}

/// One escape, after its backslash: Python's "unicode-escape".
static tr_status escape(lexer_t *lexer, tr_bytes_t *out, const char **at, const char *end)
{
    static const char from[] = "ntr\\'\"abfv\n", to[] = "\n\t\r\\'\"\a\b\f\v";
    char c = *(*at)++;
    const char *known = c == '\0' ? NULL : strchr(from, c);
    if (c == 'x' || c == 'u' || c == 'U') {
        return escape_hex(lexer, out, at, end, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    }
    if (c == 'N') {
        return fail(lexer, "a character's name in a string is not understood");
    }
    if (c >= '0' && c <= '7') { // up to three octal digits
        uint32_t point = (uint32_t)(c - '0');
        for (int i = 0; i < 2 && *at < end && **at >= '0' && **at <= '7'; i++, (*at)++) {
            point = point * 8 + (uint32_t)(**at - '0');
        }
        char bytes[4];
        tr_bytes_append(out, bytes, jinja_utf8_put(bytes, point));
    } else if (known == NULL) { // what is no escape stays as it is
        (*at)--;
        tr_bytes_append(out, "\\", 1);
    } else if (c != '\n') { // a line's end is left out with its backslash
        tr_bytes_append(out, &to[known - from], 1);
    }
    return TR_OK;
}

static tr_status lex_string(lexer_t *lexer)
{
    char quote = *lexer->at;
    const char *end = lexer->at + 1;
    while (end < lexer->end && *end != quote) {
        end += *end == '\\' ? 2 : 1;
    }
    if (end >= lexer->end) {
        return fail(lexer, "the string has no end");
    }
    tr_bytes_t text = {0};
    tr_status status = TR_OK;
    for (const char *at = lexer->at + 1; at < end && status == TR_OK;) {
        if (*at == '\\') {
            at++;
            status = escape(lexer, &text, &at, end);
        } else {
            tr_bytes_append(&text, at++, 1);
        }
    }
    if (status == TR_OK) {
        char *copy = jinja_alloc(lexer->memory, text.length + 1);
        memcpy(copy, text.length > 0 ? text.data : "", text.length);
        add(lexer, TOKEN_STRING, copy, text.length);
        move(lexer, end + 1);
    }
    tr_bytes_release(&text);
    return status;
}

static const char *skip_digits(const lexer_t *lexer, const char *at)
{
    while (at < lexer->end && (isdigit((unsigned char)*at) || *at == '_')) {
        at++;
    }
    return at;
}

/// A whole number or a real one; `_` may stand between digits. The source ends with a NUL, so
/// looking one byte ahead is safe.
static tr_status lex_number(lexer_t *lexer)
{
    enum { DIGITS = 64 };
    const char *end = skip_digits(lexer, lexer->at), *mantissa = end;
    if (*end == '.' && isdigit((unsigned char)end[1])) {
        end = mantissa = skip_digits(lexer, end + 1);
    }
    bool signs = end < lexer->end && (end[1] == '+' || end[1] == '-');
    if ((*end == 'e' || *end == 'E') && isdigit((unsigned char)end[1 + signs])) {
        end = skip_digits(lexer, end + 1 + signs);
    }
    char digits[DIGITS];
    size_t n = 0;
    bool real = memchr(lexer->at, '.', (size_t)(end - lexer->at)) != NULL || end != mantissa;
    for (const char *at = lexer->at; at < end; at++) {
        if (n + 1 == DIGITS) {
            return fail(lexer, "a number is too long");
        }
        digits[n] = *at;
        n += *at != '_';
    }
    digits[n] = '\0';
    if (is_word(*end)) {
        return fail(lexer, "a number ends with a letter");
    }
    jinja_token_t *token = add(lexer, real ? TOKEN_REAL : TOKEN_INTEGER, lexer->at, n);
    errno = 0;
    token->real = strtod(digits, NULL);
    token->integer = strtoll(digits, NULL, 10);
    if (!real && errno != 0) {
        return fail(lexer, "a whole number has more than 64 bits");
    }
    move(lexer, end);
    return TR_OK;
}

/// Brackets must close in their order; `}}` ends a tag only where none is open.
static tr_status count_bracket(lexer_t *lexer, char c)
{
    const char *opening = strchr("([{", c), *closing = strchr(")]}", c);
    if (opening != NULL) {
        if (lexer->bracket_count == NESTING_LIMIT) {
            return fail(lexer, "brackets are nested too deeply");
        }
        lexer->brackets[lexer->bracket_count++] = ")]}"[opening - "([{"];
    } else if (closing != NULL &&
               (lexer->bracket_count == 0 || lexer->brackets[--lexer->bracket_count] != c)) {
        return fail(lexer, "a bracket closes that was not opened");
    }
    return TR_OK;
}

static tr_status lex_operator(lexer_t *lexer)
{
    // Longer ones first: `//` is not two of `/`.
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        size_t length = strlen(operators[i]);
        if (begins(lexer, lexer->at, operators[i])) {
            add(lexer, TOKEN_OPERATOR, operators[i], length);
            move(lexer, lexer->at + length);
            return length == 1 ? count_bracket(lexer, *operators[i]) : TR_OK;
        }
    }
    return tr_fail(lexer->err, TR_ERR_FORMAT, "line %d: '%c' has no meaning here", lexer->line,
                   isprint((unsigned char)*lexer->at) ? *lexer->at : '?');
}

static tr_status lex_word(lexer_t *lexer)
{
    const char *end = lexer->at;
    if (*end == '\'' || *end == '"') {
        return lex_string(lexer);
    }
    if (isdigit((unsigned char)*end)) {
        return lex_number(lexer);
    }
    while (end < lexer->end && is_word(*end)) {
        end++;
    }
    if (end == lexer->at) {
        return lex_operator(lexer);
    }
    add(lexer, TOKEN_NAME, lexer->at, (size_t)(end - lexer->at));
    move(lexer, end);
    return TR_OK;
}

/// A tag from its first bracket to its last.
static tr_status lex_tag(lexer_t *lexer, bool variable, size_t opening)
{
    add(lexer, variable ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN, lexer->at, 2);
    move(lexer, lexer->at + opening);
    while (lexer->at < lexer->end) {
        const char *end = lexer->bracket_count > 0
                              ? NULL
                              : tag_end(lexer, lexer->at, variable ? "}}" : "%}", !variable);
        const char *space = skip_space(lexer, lexer->at);
        if (end != NULL) {
            add(lexer, variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END, lexer->at, 2);
            move(lexer, end);
            return TR_OK;
        }
        if (space > lexer->at) {
            move(lexer, space);
        } else {
            TR_TRY(lex_word(lexer));
        }
    }
    return fail(lexer, "a tag has no end");
}

/// The next `{%`, `{{` or `{#`; NULL: there is none.
static const char *next_tag(const lexer_t *lexer)
{
    for (const char *at = lexer->at; at + 1 < lexer->end; at++) {
        if (*at == '{' && at[1] != '\0' && strchr("%{#", at[1]) != NULL) {
            return at;
        }
    }
    return NULL;
}

static tr_status lex_part(lexer_t *lexer)
{
    const char *tag = next_tag(lexer);
    if (tag == NULL) {
        add(lexer, TOKEN_DATA, lexer->at, (size_t)(lexer->end - lexer->at));
        move(lexer, lexer->end);
        return TR_OK;
    }
    char sign = begins(lexer, tag + 2, "-") || begins(lexer, tag + 2, "+") ? tag[2] : '\0', unused;
    const char *raw = raw_tag(lexer, tag, "raw", &unused, false);
    add_data(lexer, tag, sign, tag[1] == '{');
    size_t opening = sign == '\0' ? 2 : 3;
    return raw != NULL     ? lex_raw(lexer, raw)
           : tag[1] == '#' ? skip_comment(lexer, opening)
                           : lex_tag(lexer, tag[1] == '{', opening);
}

/// A copy whose lines end with \n, without the last one's end.
static char *normalized(jinja_memory_t *memory, const char *source, size_t length, size_t *kept)
{
    char *copy = jinja_alloc(memory, length + 1);
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        bool pair = source[i] == '\r' && i + 1 < length && source[i + 1] == '\n';
        copy[n] = source[i] == '\r' ? '\n' : source[i];
        n += !pair;
    }
    *kept = n > 0 && copy[n - 1] == '\n' ? n - 1 : n;
    copy[*kept] = '\0';
    return copy;
}

tr_status jinja_lex(jinja_token_t **tokens, size_t *count, jinja_memory_t *memory,
                    const char *source, size_t length, tr_error_t *err)
{
    lexer_t lexer = {.memory = memory, .err = err, .line = 1, .line_starting = true};
    if (tr_utf8_valid(source, length) < length) {
        return tr_fail(err, TR_ERR_FORMAT, "the template is not UTF-8");
    }
    lexer.at = normalized(memory, source, length, &length);
    lexer.end = lexer.at + length;
    while (lexer.at < lexer.end) {
        TR_TRY(lex_part(&lexer));
    }
    add(&lexer, TOKEN_END, "", 0);
    *tokens = lexer.tokens;
    *count = lexer.count;
    return TR_OK;
}
