// The judge `choice`: whether the response names the letter of the right option.
//
// The letter is the one after "answer is" (a bracket may open before it), else the one after
// "answer:" on the same line, else the last capital of the options that is a word of its own: the
// three patterns by which MMLU-Pro evaluates (Wang et al. 2024, arXiv 2406.01574).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/judge.h"
#include "common/judge/matcher.h"

typedef struct options {
    char *column;
    uint64_t options;
    double score;
} options_t;

static const tr_range_t letters = {"a whole number from 2 to 26", 2, 26, false, false};

static const tr_field_t fields[] = {
    TR_FIELD_AS("choice.column", options_t, column, TR_FIELD_TEXT, "answer", .brief = true,
                .help = "The column with the letter of the right option (A is the first), or its "
                        "number (0 is the first). `choice: COLUMN` is short for it."),
    TR_FIELD_AS("choice.options", options_t, options, TR_FIELD_WHOLE, "10", .range = &letters,
                .help = "How many options there are at most: later letters are no answers."),
    TR_FIELD_AS("choice.score", options_t, score, TR_FIELD_REAL, "1.0", .range = &tr_range_any,
                .help = "Score of the right letter; any other response has 0."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

enum { NAMED, LABELLED, ALONE, PATTERNS };

typedef struct state {
    const options_t *options;
    tr_matcher_t *matcher; // [PATTERNS]; each match ends with the letter
} state_t;

static void choice_close(void *state)
{
    state_t *choice = state;
    tr_matcher_destroy(&choice->matcher);
    free(choice);
}

static tr_status choice_open(void **state, const void *options, const tr_judge_host_t *host,
                             tr_error_t *err)
{
    // (*UCP): letters of all scripts are parts of words, as in Python
    static const char *const patterns[PATTERNS] = {
        [NAMED] = "(*UCP)answer is \\(?[A-%c]",
        [LABELLED] = "(*UCP).*[aA]nswer:\\s*[A-%c]",
        [ALONE] = "(*UCP)\\b[A-%c]\\b",
    };
    state_t *choice = tr_calloc(1, sizeof *choice);
    (void)host;
    choice->options = options;
    choice->matcher = tr_matcher_new();
    for (size_t i = 0; i < PATTERNS; i++) {
        char text[64];
        snprintf(text, sizeof text, patterns[i], (int)('A' + choice->options->options - 1));
        tr_status status = tr_matcher_add(choice->matcher, text, strlen(text), err);
        if (status != TR_OK) {
            choice_close(choice);
            return status;
        }
    }
    *state = choice;
    return TR_OK;
}

/// The letter that the response names; 0: none.
static tr_status letter_of(char *letter, const state_t *choice, const char *text, tr_error_t *err)
{
    size_t length = strlen(text), at = 0;
    bool found = false;
    *letter = 0;
    for (size_t i = NAMED; i < ALONE && !found; i++) {
        at = 0;
        TR_TRY(tr_matcher_next(&found, &at, choice->matcher, i, text, length, err));
    }
    *letter = found ? text[at - 1] : 0;
    // the last one that stands alone
    for (at = 0, found = !found; found;) {
        TR_TRY(tr_matcher_next(&found, &at, choice->matcher, ALONE, text, length, err));
        *letter = found ? text[at - 1] : *letter;
    }
    return TR_OK;
}

/// The letter of the column's value; 0: it names no option.
static char right_letter(const json_t *value, uint64_t options)
{
    const char *text = json_string_value(value);
    json_int_t number = -1;
    if (json_is_integer(value)) {
        number = json_integer_value(value);
    } else if (text != NULL && text[0] != '\0' && text[1] == '\0') {
        number = text[0] - 'A';
    }
    return number >= 0 && (uint64_t)number < options ? (char)('A' + number) : 0;
}

static tr_status choice_rule(double *score, void *state, const tr_sample_t *sample, tr_error_t *err)
{
    const state_t *choice = state;
    const options_t *options = choice->options;
    const json_t *value;
    char letter;
    TR_TRY(tr_sample_column(&value, sample, options->column, err));
    char right = right_letter(value, options->options);
    if (right == 0 && !json_is_null(value)) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "the column '%s' names none of %d options: expected a letter from A on, or a "
            "number from 0 on",
            options->column, (int)options->options);
    }
    TR_TRY(letter_of(&letter, choice, sample->response, err));
    *score = right == 0 ? (double)NAN : letter == right ? options->score : 0.0;
    return TR_OK;
}

const tr_judge_kind_t tr_judge_choice = {
    .name = "choice",
    .fields = &table,
    .started = true,
    .may_be_null = true,
    .open = choice_open,
    .rule = choice_rule,
    .close = choice_close,
};
