/// A judge of common/judge at work, opened by options as a message brings them.
///
///     judging_t judge;
///     judging_open(&judge, tr_judge_kind_find("regex"), json_pack("{s:s}", "pattern", "a+"));
///     cr_expect_eq(judging_score(&judge, "aaa", 0), 1.0f);
///     judging_close(&judge);
///
/// JSON arguments are options that differ from the kind's defaults (json_object(): none do); their
/// references are taken.
#ifndef TESTS_SUPPORT_JUDGING_H
#define TESTS_SUPPORT_JUDGING_H

#include "common/judge/judge.h"

typedef struct judging {
    tr_judge_t entry;
    tr_judge_host_t host;
    void *state;
} judging_t;

/// Every option of the kind as a message has it: the defaults, and `options` over them.
json_t *judging_options(const tr_judge_kind_t *kind, json_t *options);

/// Reads, checks and opens; on failure there is nothing to close. The judge must stay where it is.
tr_status judging_try(judging_t *judge, const tr_judge_kind_t *kind, json_t *options,
                      tr_error_t *err);
void judging_open(judging_t *judge, const tr_judge_kind_t *kind, json_t *options);
void judging_close(judging_t *judge);

/// The sample is number 41, of prompt "happy "; tokens: how many the response has.
tr_status judging_text(float *score, judging_t *judge, const char *response, size_t tokens,
                       tr_error_t *err);
float judging_score(judging_t *judge, const char *response, size_t tokens);
/// A new judge for one response.
float judging_once(const tr_judge_kind_t *kind, json_t *options, const char *response,
                   size_t tokens);

/// It does not open: status, and a sentence that has `part`. Status is TR_ERR_PROTOCOL where the
/// table of options refuses, TR_ERR_ARGUMENT where the kind's check does.
void judging_expect_refused(const tr_judge_kind_t *kind, json_t *options, tr_status status,
                            const char *part);

#endif
