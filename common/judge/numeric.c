// The judge `numeric`: whether the number in a response is the one in its row, within a tolerance.
//
// |number - right| <= tolerance + relative * |right|, as numpy.isclose. A number may have a sign,
// commas between thousands, a fraction (1.5), an exponent (2e-3), and be a ratio: 3/4 or
// \frac{3}{4}. Around it $, \$, %, \%, spaces, \!, a unit in \text{} or \mathrm{}, a full stop and
// whatever comes before an `=` are left out.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/answer.h"
#include "common/judge/judge.h"

typedef struct options {
    char *column;
    int extract; // a tr_answer_place_t
    double tolerance;
    double relative;
    double score;
} options_t;

static const char *const places[] = {"whole", "tag", "fence", "boxed", "hash", "last", NULL};

static const tr_field_t fields[] = {
    TR_FIELD_AS("numeric.column", options_t, column, TR_FIELD_TEXT, "answer", .brief = true,
                .help = "The column with the right number, or with a solution that ends with it. "
                        "`numeric: COLUMN` is short for it."),
    TR_FIELD_AS("numeric.extract", options_t, extract, TR_FIELD_CHOICE, "last", .choices = places,
                .help = "Which part of a response is its number: the `last` number, or all of the "
                        "last `boxed{}`, `<answer>` `tag`, block in a `fence`, line after `####` "
                        "(`hash`), or of the `whole` response."),
    TR_FIELD_AS("numeric.tolerance", options_t, tolerance, TR_FIELD_REAL, "1e-6",
                .range = &tr_range_not_negative, .help = "How far a right number may be off."),
    TR_FIELD_AS("numeric.relative", options_t, relative, TR_FIELD_REAL, "0.0",
                .range = &tr_range_not_negative,
                .help = "Added to the tolerance, times the right number."),
    TR_FIELD_AS("numeric.score", options_t, score, TR_FIELD_REAL, "1.0", .range = &tr_range_any,
                .help = "Score of a right number; any other response has 0."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits_at(const char *text)
{
    return strspn(text, "0123456789");
}

/// The bytes of the digits before the point, with commas between groups of three where there are
/// any.
static size_t whole_part(const char *text)
{
    size_t n = digits_at(text);
    while (n > 0 && text[n] == ',' && digits_at(text + n + 1) == 3) {
        n += 4;
    }
    return n;
}

/// The bytes of ".5" and "e-3" behind the whole part, each where digits follow.
static size_t fraction_part(const char *text, bool whole)
{
    size_t digits = text[0] == '.' ? digits_at(text + 1) : 0;
    size_t n = digits > 0 ? 1 + digits : 0;
    if ((whole || n > 0) && (text[n] == 'e' || text[n] == 'E')) {
        size_t sign = text[n + 1] == '-' || text[n + 1] == '+';
        size_t exponent = digits_at(text + n + 1 + sign);
        n += exponent > 0 ? 1 + sign + exponent : 0;
    }
    return n;
}

/// A number without sign at text. The bytes that it takes; 0: there is none.
static size_t magnitude_at(double *value, const char *text)
{
    size_t n = whole_part(text);
    n += fraction_part(text + n, n > 0);
    char *digits = tr_calloc(n + 1, 1), *to = digits;
    for (size_t i = 0; i < n; i++) {
        *to = text[i];
        to += text[i] != ',';
    }
    *to = '\0';
    // digits and a point alone, so nothing that only strtod takes; no locale is ever set
    *value = n > 0 ? strtod(digits, NULL) : 0.0;
    free(digits);
    return n;
}

static size_t sign_at(double *sign, const char *text)
{
    *sign = text[0] == '-' ? -1.0 : 1.0;
    return text[0] == '-' || text[0] == '+';
}

/// "\frac{3}{4}" at text, also of \dfrac and \tfrac.
static size_t latex_ratio_at(double *value, const char *text)
{
    static const char *const names[] = {"\\frac{", "\\dfrac{", "\\tfrac{"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t at = strlen(names[i]), n;
        double above, below, sign, other;
        if (strncmp(text, names[i], at) != 0) {
            continue;
        }
        at += sign_at(&sign, text + at);
        at += n = magnitude_at(&above, text + at);
        if (n == 0 || strncmp(text + at, "}{", 2) != 0) {
            return 0;
        }
        at += 2;
        at += sign_at(&other, text + at);
        at += n = magnitude_at(&below, text + at);
        *value = sign * other * above / below;
        return n > 0 && text[at] == '}' && below != 0.0 ? at + 1 : 0;
    }
    return 0;
}

/// A number or ratio at text, with its sign.
static size_t number_at(double *value, const char *text)
{
    double sign, below = 0.0;
    size_t at = sign_at(&sign, text), n = latex_ratio_at(value, text + at);
    if (n == 0) {
        n = magnitude_at(value, text + at);
        size_t under = n > 0 && text[at + n] == '/' ? magnitude_at(&below, text + at + n + 1) : 0;
        if (under > 0 && below != 0.0) {
            *value /= below;
            n += 1 + under;
        }
    }
    *value *= sign;
    return n > 0 ? at + n : 0;
}

/// Every number is looked for from left to right; a sign behind a letter or a digit is a hyphen.
static bool last_number(double *value, const char *text)
{
    bool found = false;
    for (size_t at = 0, n; text[at] != '\0'; at += n > 0 ? n : 1) {
        double one;
        bool hyphen = (text[at] == '-' || text[at] == '+') && at > 0 &&
                      (is_digit(text[at - 1]) || (text[at - 1] | 0x20) >= 'a');
        n = hyphen ? 0 : number_at(&one, text + at);
        *value = n > 0 ? one : *value;
        found = found || n > 0;
    }
    return found;
}

/// Leaves out what may stand around a number.
static void clean(char *text)
{
    static const char *const idle[] = {"\\$", "\\%", "\\!", "$", "%", " ", "\t", "\n"};
    char *unit = strstr(text, "\\text{"), *to = text;
    unit = unit != NULL ? unit : strstr(text, "\\mathrm{");
    if (unit != NULL) {
        *unit = '\0';
    }
    const char *sign = strrchr(text, '=');
    for (const char *from = sign != NULL ? sign + 1 : text; *from != '\0';) {
        size_t skipped = 0;
        for (size_t i = 0; i < sizeof idle / sizeof idle[0] && skipped == 0; i++) {
            skipped = strncmp(from, idle[i], strlen(idle[i])) == 0 ? strlen(idle[i]) : 0;
        }
        if (skipped == 0) {
            *to++ = *from;
        }
        from += skipped > 0 ? skipped : 1;
    }
    *to = '\0';
    if (to > text && to[-1] == '.') {
        to[-1] = '\0';
    }
}

/// The text is a number and nothing else.
static bool whole_number(double *value, const char *text)
{
    char *own = tr_strdup(text);
    clean(own);
    size_t n = number_at(value, own);
    bool is_number = n > 0 && own[n] == '\0';
    free(own);
    return is_number;
}

/// The column may hold a solution that ends with the number, as those of GSM8K and MATH.
static bool right_number(double *value, const char *gold)
{
    static const tr_answer_place_t ends[] = {TR_ANSWER_WHOLE, TR_ANSWER_HASH, TR_ANSWER_BOXED};
    bool found = false;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0] && !found; i++) {
        char *part = tr_answer_extract(ends[i], gold);
        found = part != NULL && whole_number(value, part);
        free(part);
    }
    return found;
}

static bool number_in(double *value, tr_answer_place_t place, const char *response)
{
    if (place == TR_ANSWER_LAST) {
        return last_number(value, response);
    }
    char *part = tr_answer_extract(place, response);
    bool found = part != NULL && whole_number(value, part);
    free(part);
    return found;
}

static tr_status numeric_rule(double *score, void *state, const tr_sample_t *sample,
                              tr_error_t *err)
{
    const options_t *options = state;
    double right, number = 0.0;
    char *gold;
    *score = NAN; // also where the row's answer is no number: nothing can equal it
    TR_TRY(tr_sample_text(&gold, sample, options->column, err));
    if (gold != NULL && right_number(&right, gold)) {
        bool found = number_in(&number, (tr_answer_place_t)options->extract, sample->response);
        *score =
            found && fabs(number - right) <= options->tolerance + options->relative * fabs(right)
                ? options->score
                : 0.0;
    }
    free(gold);
    return TR_OK;
}

const tr_judge_kind_t tr_judge_numeric = {
    .name = "numeric",
    .fields = &table,
    .started = true,
    .may_be_null = true,
    .rule = numeric_rule,
};
