/// Between msgpack bytes and jansson values: the only place that reads msgpack from the network.
///
/// Reading checks each count against the bytes that remain (an element takes at least one), the
/// depth against TR_ENVELOPE_DEPTH and the number of maps and arrays against TR_ENVELOPE_NODES
/// before memory is allocated, so a frame of n bytes never makes more than n values. Refused with a
/// path ("body.scores[3]: NaN is not allowed"): NaN and infinities, binary and extension types,
/// strings that are not UTF-8, map keys that are not strings or come twice, integers outside int64.
#ifndef TR_PROTO_MSGPACK_JSON_H
#define TR_PROTO_MSGPACK_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "common/base/status.h"

/// Reads one value that fills `length` bytes exactly. *value: a new reference. Failures:
/// TR_ERR_PROTOCOL. If tolerant is not NULL, forbidden content (not malformed bytes) inside the
/// entry of that key of the root map is not a failure: the entry is left out, and *fault (then not
/// NULL, and {0} before the call) gets the sentence.
tr_status tr_msgpack_to_json(json_t **value, const void *bytes, size_t length, const char *tolerant,
                             tr_error_t *fault, tr_error_t *err);

/// Writes a value. *bytes: owned by the caller (free). Failures: TR_ERR_ARGUMENT for what the
/// reader would refuse (depth, number of maps and arrays) and for more than `most` bytes.
tr_status tr_msgpack_from_json(char **bytes, size_t *length, const json_t *value, size_t most,
                               tr_error_t *err);

#endif
