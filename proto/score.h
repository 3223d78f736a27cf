/// The bodies of the method `score`, as PROTOCOL.md describes them: the controller's request to a
/// judge and the judge's reply.
#ifndef TR_PROTO_SCORE_H
#define TR_PROTO_SCORE_H

#include "common/judge/judge.h"

/// A sample as the map that travels; a new reference.
json_t *tr_score_sample(const tr_sample_t *sample);

/// Reads a judge's reply body. scores: [count], written. *extras: a new reference to an object of
/// arrays of count finite numbers (empty when the judge gave none). A missing list, one of another
/// length, or a number that is not finite is TR_ERR_PROTOCOL, in a sentence that begins with the
/// judge's name.
tr_status tr_score_reply_read(float *scores, json_t **extras, size_t count, const json_t *body,
                              const char *judge, tr_error_t *err);

/// A judge's reply body. scores: [count]; extras: object of arrays or NULL, taken. NULL when a
/// score is not finite.
json_t *tr_score_reply_body(const float *scores, size_t count, json_t *extras);

#endif
