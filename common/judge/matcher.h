/// Regular expressions over responses: PCRE2 with UTF, compiled to machine code where the CPU
/// allows, and a limit on the work that one match may take, so that no expression and no response
/// can hold up a run.
#ifndef TR_JUDGE_MATCHER_H
#define TR_JUDGE_MATCHER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

typedef struct tr_matcher tr_matcher_t;

/// Without expressions.
tr_matcher_t *tr_matcher_new(void);
void tr_matcher_destroy(tr_matcher_t **matcher);

/// Compiles pattern: [length]; the first one added is number 0. TR_ERR_ARGUMENT with the byte where
/// it goes wrong.
tr_status tr_matcher_add(tr_matcher_t *matcher, const char *pattern, size_t length,
                         tr_error_t *err);

/// Looks for the expression in text: [length], from byte *at on. Where it is *found, *at becomes
/// the end of the match. TR_ERR_ARGUMENT when the text is not UTF-8 or the limit is reached.
tr_status tr_matcher_next(bool *found, size_t *at, tr_matcher_t *matcher, size_t expression,
                          const char *text, size_t length, tr_error_t *err);

#endif
