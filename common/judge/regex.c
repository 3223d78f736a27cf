// The judge `regex`: `score` where the expression matches anywhere in the response, else 0.
//
// PCRE2 with UTF; (*UCP) at an expression's start makes \w and \b know all scripts, (?i) ignores
// case.
#include <stdlib.h>
#include <string.h>

#include "common/judge/judge.h"
#include "common/judge/matcher.h"

typedef struct options {
    char *pattern;
    double score;
} options_t;

static const tr_field_t fields[] = {
    TR_FIELD_AS("regex.pattern", options_t, pattern, TR_FIELD_TEXT, "null", .nullable = true,
                .brief = true,
                .help = "A regular expression (PCRE2, UTF-8). `regex: PATTERN` is short for it."),
    TR_FIELD_AS("regex.score", options_t, score, TR_FIELD_REAL, "1.0", .range = &tr_range_any,
                .help = "Score of a response in which the pattern matches; any other has 0."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

/// Compiled here once, so that a mistake is found before the run.
static char *check(const char **key, const void *options)
{
    const char *pattern = ((const options_t *)options)->pattern;
    tr_error_t err = {0};
    *key = "regex.pattern";
    if (pattern == NULL) {
        return tr_strdup("expected a regular expression, found none");
    }
    // compiled as for scoring, so that what is accepted here opens there
    tr_matcher_t *matcher = tr_matcher_new();
    tr_status status = tr_matcher_add(matcher, pattern, strlen(pattern), &err);
    tr_matcher_destroy(&matcher);
    // the sentence says where in the expression, so that the recipe can be mended
    return status == TR_OK ? NULL : tr_strdup(err.text);
}

/// Not the options themselves: the expression is compiled once, not for each response.
typedef struct regex {
    tr_matcher_t *matcher; // one expression
    double score;
} regex_t;

/// Also of one that was opened in part.
static void regex_close(void *state)
{
    regex_t *regex = state;
    tr_matcher_destroy(&regex->matcher);
    free(regex);
}

/// The pattern was checked with the recipe, but by the controller, whose PCRE2 may be another
/// version.
static tr_status regex_open(void **state, const void *options, const tr_judge_host_t *host,
                            tr_error_t *err)
{
    const options_t *own = options;
    regex_t *regex = tr_calloc(1, sizeof *regex);
    (void)host;
    // owned by the state from here on, also when the expression is refused
    regex->matcher = tr_matcher_new();
    regex->score = own->score;
    tr_status status = tr_matcher_add(regex->matcher, own->pattern, strlen(own->pattern), err);
    if (status != TR_OK) {
        regex_close(regex);
        return status;
    }
    *state = regex;
    return TR_OK;
}

/// One match decides: where it is does not matter.
static tr_status regex_rule(double *score, void *state, const tr_sample_t *sample, tr_error_t *err)
{
    const regex_t *regex = state;
    // from the start: `^` and look-behind see the whole response
    size_t at = 0;
    bool found;
    TR_TRY(tr_matcher_next(&found, &at, regex->matcher, 0, sample->response,
                           strlen(sample->response), err));
    *score = found ? regex->score : 0.0;
    return TR_OK;
}

const tr_judge_kind_t tr_judge_regex = {
    .name = "regex",
    .fields = &table,
    .started = true,
    .check = check,
    .open = regex_open,
    .rule = regex_rule,
    .close = regex_close,
};
