/// Reading message bodies: typed getters with bounds, and sentences that name the key.
///
/// `where` begins the sentence and says whose body it is: "request score", "reply of 'judge-1'".
/// All failures are TR_ERR_PROTOCOL. Objects and arrays that are returned are borrowed from
/// `object`.
#ifndef TR_PROTO_BODY_H
#define TR_PROTO_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

tr_status tr_body_string(const char **value, const json_t *object, const char *key,
                         const char *where, tr_error_t *err);
tr_status tr_body_integer(int64_t *value, const json_t *object, const char *key, int64_t lowest,
                          int64_t highest, const char *where, tr_error_t *err);
/// Integers are taken too; the value is finite.
tr_status tr_body_real(double *value, const json_t *object, const char *key, const char *where,
                       tr_error_t *err);
tr_status tr_body_bool(bool *value, const json_t *object, const char *key, const char *where,
                       tr_error_t *err);
tr_status tr_body_object(json_t **value, const json_t *object, const char *key, const char *where,
                         tr_error_t *err);
/// An array of at most `most` elements.
tr_status tr_body_array(json_t **value, const json_t *object, const char *key, size_t most,
                        const char *where, tr_error_t *err);

/// values: [count], written: an array of exactly count numbers that are finite as float.
tr_status tr_body_floats(float *values, size_t count, const json_t *object, const char *key,
                         const char *where, tr_error_t *err);
/// The same, but an element may be null, which is NaN in values.
tr_status tr_body_floats_or_null(float *values, size_t count, const json_t *object, const char *key,
                                 const char *where, tr_error_t *err);
/// values: [count], written: an array of exactly count integers in 0..INT32_MAX, such as token ids.
tr_status tr_body_ids(int32_t *values, size_t count, const json_t *object, const char *key,
                      const char *where, tr_error_t *err);
/// values: [count], as an array of numbers; a new reference. NULL when one of them is not finite.
json_t *tr_body_from_floats(const float *values, size_t count);
/// The same, but a NaN becomes null. NULL when one of them is infinite.
json_t *tr_body_from_floats_or_null(const float *values, size_t count);
/// values: [count], as an array of integers; a new reference.
json_t *tr_body_from_ids(const int32_t *values, size_t count);

#endif
