// The judge `countdown`: whether an equation of the given numbers gives the target, as in TinyZero
// (Pan et al. 2025; verl/utils/reward_score/countdown.py there).
//
// The equation is what the last <answer>...</answer> of the response's last line holds. It must use
// each number once; + - * / // ** ( ) mean what they do in Python. `score` where it gives the
// target to 1e-5, `format_score` where it does not, or is none, and 0 without such a tag.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/judge.h"

typedef struct options {
    char *target;
    char *numbers;
    double score;
    double format_score;
} options_t;

static const tr_field_t fields[] = {
    TR_FIELD_AS("countdown.target", options_t, target, TR_FIELD_TEXT, "target",
                .help = "The column with the target, a number."),
    TR_FIELD_AS("countdown.numbers", options_t, numbers, TR_FIELD_TEXT, "nums",
                .help = "The column with the numbers, a list."),
    TR_FIELD_AS("countdown.score", options_t, score, TR_FIELD_REAL, "1.0", .range = &tr_range_any,
                .help = "Score of an equation that gives the target."),
    TR_FIELD_AS("countdown.format_score", options_t, format_score, TR_FIELD_REAL, "0.1",
                .range = &tr_range_any, .help = "Score of another text in `<answer>`."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

// Equations

/// A text that is evaluated while it is read. After a mistake `fine` is false, and nothing else
/// counts.
typedef struct reader {
    const char *at;
    size_t depth;
    bool fine;
} reader_t;

enum { DEPTH = 200 }; // of brackets, as in Python

static void skip_spaces(reader_t *reader)
{
    reader->at += strspn(reader->at, " \t\f");
}

/// Takes the token if it is next.
static bool take(reader_t *reader, const char *token)
{
    skip_spaces(reader);
    size_t n = strlen(token);
    bool there = strncmp(reader->at, token, n) == 0;
    reader->at += there ? n : 0;
    return there;
}

static double sum_of(reader_t *reader);

/// Digits with at most one point. Python has no whole number with a leading zero but zeros alone.
static double number_of(reader_t *reader)
{
    const char *start = reader->at;
    size_t whole = strspn(start, "0123456789");
    size_t point = start[whole] == '.';
    size_t part = point ? strspn(start + whole + 1, "0123456789") : 0;
    bool zeros = strspn(start, "0") == whole;
    reader->fine = reader->fine && whole + part > 0 && (start[0] != '0' || zeros || point);
    reader->at += whole + point + part;
    return reader->fine ? strtod(start, NULL) : 0.0;
}

static double atom_of(reader_t *reader)
{
    if (!take(reader, "(")) {
        return number_of(reader);
    }
    reader->fine = reader->fine && ++reader->depth < DEPTH;
    double value = reader->fine ? sum_of(reader) : 0.0;
    reader->fine = reader->fine && take(reader, ")");
    reader->depth--;
    return value;
}

static double signed_of(reader_t *reader);

/// ** binds more tightly than a sign before it, less than one behind it: -2**-1 is -(2**(-1)).
static double power_of(reader_t *reader)
{
    double base = atom_of(reader);
    return reader->fine && take(reader, "**") ? pow(base, signed_of(reader)) : base;
}

static double signed_of(reader_t *reader)
{
    double sign = 1.0;
    for (bool more = true; more;) {
        more = take(reader, "+");
        if (!more && take(reader, "-")) {
            sign = -sign;
            more = true;
        }
    }
    return sign * power_of(reader);
}

static double product_of(reader_t *reader)
{
    double value = signed_of(reader);
    while (reader->fine) {
        if (take(reader, "//")) {
            value = floor(value / signed_of(reader));
        } else if (take(reader, "*")) {
            value *= signed_of(reader);
        } else if (take(reader, "/")) {
            value /= signed_of(reader);
        } else {
            break;
        }
    }
    return value;
}

static double sum_of(reader_t *reader)
{
    double value = product_of(reader);
    while (reader->fine) {
        if (take(reader, "+")) {
            value += product_of(reader);
        } else if (take(reader, "-")) {
            value -= product_of(reader);
        } else {
            break;
        }
    }
    return value;
}

/// Not finite where it is no equation, or divides by 0.
static double evaluate(const char *text)
{
    reader_t reader = {text, 0, true};
    double value = sum_of(&reader);
    skip_spaces(&reader);
    return reader.fine && *reader.at == '\0' ? value : (double)NAN;
}

// Numbers

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

/// Whether the runs of digits in text are the given numbers in some order. given: [count], sorted.
static bool uses_numbers(const char *text, const double *given, size_t count)
{
    double *found = tr_calloc(count + 1, sizeof *found);
    size_t n = 0;
    for (const char *at = text; n <= count && *(at += strcspn(at, "0123456789")) != '\0';) {
        char *end;
        // one more than there may be is enough to know
        found[n++] = (double)strtoull(at, &end, 10);
        at = end;
    }
    bool same = n == count;
    if (same) {
        qsort(found, n, sizeof *found, ascending);
        same = memcmp(found, given, n * sizeof *found) == 0;
    }
    free(found);
    return same;
}

/// The columns' values. *numbers: [*count], sorted, owned by the caller; NULL where a column is
/// null.
static tr_status read_columns(double *target, double **numbers, size_t *count,
                              const options_t *options, const tr_sample_t *sample, tr_error_t *err)
{
    const json_t *goal, *list;
    *numbers = NULL;
    TR_TRY(tr_sample_column(&goal, sample, options->target, err));
    TR_TRY(tr_sample_column(&list, sample, options->numbers, err));
    if (json_is_null(goal) || json_is_null(list)) {
        return TR_OK;
    }
    if (!json_is_number(goal) || !json_is_array(list)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "expected a number in the column '%s' and a list in '%s'", options->target,
                       options->numbers);
    }
    *target = json_number_value(goal);
    *count = json_array_size(list);
    *numbers = tr_calloc(*count + 1, sizeof **numbers);
    for (size_t i = 0; i < *count; i++) {
        (*numbers)[i] = json_number_value(json_array_get(list, i));
    }
    qsort(*numbers, *count, sizeof **numbers, ascending);
    return TR_OK;
}

// The rule

/// The text in the last <answer> of the last line, without white space at its ends; NULL: none.
static char *equation_of(const char *response)
{
    static const char OPEN[] = "<answer>", CLOSE[] = "</answer>";
    const char *line = strrchr(response, '\n'), *begin = NULL, *end = NULL;
    // from left to right, each tag up to the next end
    for (const char *at = line != NULL ? line + 1 : response; (at = strstr(at, OPEN)) != NULL;) {
        const char *close = strstr(at, CLOSE);
        if (close == NULL) {
            break;
        }
        begin = at + strlen(OPEN);
        end = close;
        at = close + strlen(CLOSE);
    }
    if (begin == NULL) {
        return NULL;
    }
    begin += strspn(begin, " \t\r\f\v");
    while (end > begin && strchr(" \t\r\f\v", end[-1]) != NULL) {
        end--;
    }
    return begin <= end ? tr_format("%.*s", (int)(end - begin), begin) : tr_strdup("");
}

static tr_status countdown_rule(double *score, void *state, const tr_sample_t *sample,
                                tr_error_t *err)
{
    const options_t *options = state;
    double target = 0.0, *numbers;
    size_t count = 0;
    *score = NAN;
    TR_TRY(read_columns(&target, &numbers, &count, options, sample, err));
    if (numbers == NULL) {
        return TR_OK;
    }
    char *equation = equation_of(sample->response);
    bool right = equation != NULL && uses_numbers(equation, numbers, count) &&
                 fabs(evaluate(equation) - target) < 1e-5;
    *score = equation == NULL ? 0.0 : right ? options->score : options->format_score;
    free(equation);
    free(numbers);
    return TR_OK;
}

const tr_judge_kind_t tr_judge_countdown = {
    .name = "countdown",
    .fields = &table,
    .started = true,
    .may_be_null = true,
    .rule = countdown_rule,
};
