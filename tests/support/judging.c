// A judge of common/judge opened as `troupe-reward` opens it, for tests of kinds without a process.
//
// Options come as JSON, as they do in a message, so that tests go through the kind's table and its
// check.
#include "tests/support/judging.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *judging_options(const tr_judge_kind_t *kind, json_t *options)
{
    tr_judge_t entry;
    json_t *body = json_object();
    cr_assert_not_null(options);
    tr_judge_init(&entry, kind);
    // a message has every option, as the controller sends it
    tr_fields_to_json(body, entry.options, kind->fields);
    tr_judge_release(&entry);
    // defaults first, then what the test changes
    json_object_update(body, options);
    json_decref(options);
    return body;
}

/// The same steps as reward/judge.c's open_judge.
static tr_status read_options(judging_t *judge, const json_t *options, tr_error_t *err)
{
    const tr_judge_kind_t *kind = judge->entry.kind;
    const char *key;
    tr_fields_release(judge->entry.options, kind->fields); // the defaults: the message has all
    TR_TRY(tr_fields_from_json(judge->entry.options, kind->fields, options, "config", err));
    char *sentence = kind->check != NULL ? kind->check(&key, judge->entry.options) : NULL;
    if (sentence != NULL) {
        tr_fail(err, TR_ERR_ARGUMENT, "%s: %s", key, sentence);
        free(sentence);
        return TR_ERR_ARGUMENT;
    }
    return TR_OK;
}

tr_status judging_try(judging_t *judge, const tr_judge_kind_t *kind, json_t *options,
                      tr_error_t *err)
{
    json_t *body = judging_options(kind, options);
    // no host: no threads, and nothing that stops it
    *judge = (judging_t){0};
    tr_judge_init(&judge->entry, kind);
    tr_status status = read_options(judge, body, err);
    if (status == TR_OK && kind->open == NULL) {
        judge->state = judge->entry.options;
    } else if (status == TR_OK) {
        status = kind->open(&judge->state, judge->entry.options, &judge->host, err);
    }
    if (status != TR_OK) {
        // a failed open leaves nothing to close
        cr_assert_null(judge->state);
        tr_judge_release(&judge->entry);
    }
    json_decref(body);
    return status;
}

void judging_open(judging_t *judge, const tr_judge_kind_t *kind, json_t *options)
{
    tr_error_t err = {0};
    cr_assert_eq(judging_try(judge, kind, options, &err), TR_OK, "%s", err.text);
}

void judging_close(judging_t *judge)
{
    if (judge->entry.kind->close != NULL) {
        judge->entry.kind->close(judge->state);
    }
    tr_judge_release(&judge->entry);
}

/// One sample; what a judge does not read (ids, columns) is absent.
tr_status judging_text(float *score, judging_t *judge, const char *response, size_t tokens,
                       tr_error_t *err)
{
    const tr_sample_t sample = {
        .id = 41, .prompt = "happy ", .response = response, .response_count = tokens};
    // a judge that writes no score must not pass by luck
    *score = NAN;
    return tr_judge_kind_score(judge->entry.kind, judge->state, score, &sample, 1, err);
}

float judging_score(judging_t *judge, const char *response, size_t tokens)
{
    tr_error_t err = {0};
    float score;
    cr_assert_eq(judging_text(&score, judge, response, tokens, &err), TR_OK, "'%s': %s", response,
                 err.text);
    return score;
}

float judging_once(const tr_judge_kind_t *kind, json_t *options, const char *response,
                   size_t tokens)
{
    judging_t judge;
    judging_open(&judge, kind, options);
    float score = judging_score(&judge, response, tokens);
    judging_close(&judge);
    return score;
}

void judging_expect_refused(const tr_judge_kind_t *kind, json_t *options, tr_status status,
                            const char *part)
{
    tr_error_t err = {0};
    judging_t judge;
    cr_assert_eq(judging_try(&judge, kind, options, &err), status, "%s", err.text);
    cr_assert_not_null(strstr(err.text, part), "'%s' lacks '%s'", err.text, part);
}
