// Typed getters over a message's body, each with the sentence for a value that does not fit.
//
// Every handler of a request and every reader of a reply goes through these: bodies come from other
// processes, in any language, and nothing in them is taken on trust. Used with message.h.
#include "proto/body.h"

#include <float.h>
#include <math.h>

/// In the order of json_type; the words are those of PROTOCOL.md.
static const char *type_name(const json_t *value)
{
    static const char *const names[] = {"a map",    "an array", "a string", "an integer",
                                        "a number", "true",     "false",    "null"};
    return value == NULL ? "nothing" : names[json_typeof(value)];
}

/// The sentence for a value of another type; NULL: the key is absent.
/// A missing key and a value of another type read alike to a peer's author: both name the key, what
/// was expected and what is there.
static tr_status unexpected(const json_t *value, const char *key, const char *where,
                            const char *wanted, tr_error_t *err)
{
    return tr_fail(err, TR_ERR_PROTOCOL, "%s: %s: expected %s, found %s", where, key, wanted,
                   type_name(value));
}

/// The text is valid UTF-8, which was checked when the message was read.
tr_status tr_body_string(const char **value, const json_t *object, const char *key,
                         const char *where, tr_error_t *err)
{
    const json_t *found = json_object_get(object, key);
    if (!json_is_string(found)) {
        return unexpected(found, key, where, "a string", err);
    }
    *value = json_string_value(found);
    return TR_OK;
}

/// A real number is refused even where it is whole: 3.0 as a count is a mistake of the peer, and
/// larger ones would lose digits.
tr_status tr_body_integer(int64_t *value, const json_t *object, const char *key, int64_t lowest,
                          int64_t highest, const char *where, tr_error_t *err)
{
    const json_t *found = json_object_get(object, key);
    if (!json_is_integer(found)) {
        return unexpected(found, key, where, "an integer", err);
    }
    // msgpack has one integer type for all sizes; the bounds are what the caller can use.
    *value = json_integer_value(found);
    if (*value < lowest || *value > highest) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "%s: %s: expected an integer from %lld to %lld, found %lld", where, key,
                       (long long)lowest, (long long)highest, (long long)*value);
    }
    return TR_OK;
}

/// Other languages pack whole numbers as integers.
tr_status tr_body_real(double *value, const json_t *object, const char *key, const char *where,
                       tr_error_t *err)
{
    const json_t *found = json_object_get(object, key);
    if (!json_is_number(found)) {
        return unexpected(found, key, where, "a number", err);
    }
    // jansson converts an integer to the nearest double. NaN and infinities were refused when the
    // message was read.
    *value = json_number_value(found);
    return TR_OK;
}

/// 0 and 1 are no truth values here: msgpack has a type of its own for them.
tr_status tr_body_bool(bool *value, const json_t *object, const char *key, const char *where,
                       tr_error_t *err)
{
    const json_t *found = json_object_get(object, key);
    if (!json_is_boolean(found)) {
        return unexpected(found, key, where, "true or false", err);
    }
    *value = json_is_true(found);
    return TR_OK;
}

tr_status tr_body_object(json_t **value, const json_t *object, const char *key, const char *where,
                         tr_error_t *err)
{
    *value = json_object_get(object, key);
    return json_is_object(*value) ? TR_OK : unexpected(*value, key, where, "a map", err);
}

tr_status tr_body_array(json_t **value, const json_t *object, const char *key, size_t most,
                        const char *where, tr_error_t *err)
{
    *value = json_object_get(object, key);
    if (!json_is_array(*value)) {
        return unexpected(*value, key, where, "an array", err);
    }
    // A bound for callers that allocate by the number of elements.
    if (json_array_size(*value) > most) {
        return tr_fail(err, TR_ERR_PROTOCOL, "%s: %s: expected at most %zu elements, found %zu",
                       where, key, most, json_array_size(*value));
    }
    return TR_OK;
}

/// An array of exactly count elements.
static tr_status exact_array(json_t **array, size_t count, const json_t *object, const char *key,
                             const char *where, tr_error_t *err)
{
    // No bound of its own: the exact number is compared below, and an envelope has at most a
    // million elements in any case.
    TR_TRY(tr_body_array(array, object, key, SIZE_MAX, where, err));
    if (json_array_size(*array) != count) {
        return tr_fail(err, TR_ERR_PROTOCOL, "%s: %s: expected %zu elements, found %zu", where, key,
                       count, json_array_size(*array));
    }
    return TR_OK;
}

/// The length is known to the caller, who has allocated the memory: a reply with fewer or more
/// numbers is refused whole, since nobody could tell which rows they belong to.
static tr_status read_floats(float *values, size_t count, bool or_null, const json_t *object,
                             const char *key, const char *where, tr_error_t *err)
{
    json_t *array;
    TR_TRY(exact_array(&array, count, object, key, where, err));
    for (size_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(array, i);
        double value = json_number_value(element);
        if (or_null && json_is_null(element)) {
            values[i] = NAN;
            continue;
        }
        // The comparison also refuses a NaN. A double that no float can hold is refused here,
        // before the conversion, whose result would be undefined.
        if (!json_is_number(element) || !(fabs(value) <= (double)FLT_MAX)) {
            return tr_fail(
                err, TR_ERR_PROTOCOL, "%s: %s[%zu]: expected a finite number, found %s", where, key,
                i, json_is_number(element) ? "one that no float holds" : type_name(element));
        }
        values[i] = (float)value;
    }
    return TR_OK;
}

tr_status tr_body_floats(float *values, size_t count, const json_t *object, const char *key,
                         const char *where, tr_error_t *err)
{
    return read_floats(values, count, false, object, key, where, err);
}

tr_status tr_body_floats_or_null(float *values, size_t count, const json_t *object, const char *key,
                                 const char *where, tr_error_t *err)
{
    return read_floats(values, count, true, object, key, where, err);
}

/// The same for ids. A real number that happens to be whole is refused too.
tr_status tr_body_ids(int32_t *values, size_t count, const json_t *object, const char *key,
                      const char *where, tr_error_t *err)
{
    json_t *array;
    TR_TRY(exact_array(&array, count, object, key, where, err));
    for (size_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(array, i);
        // Token ids: 32 bits in every kernel, and never negative.
        json_int_t value = json_integer_value(element);
        if (!json_is_integer(element) || value < 0 || value > INT32_MAX) {
            return tr_fail(err, TR_ERR_PROTOCOL,
                           "%s: %s[%zu]: expected an integer from 0 to 2^31 - 1", where, key, i);
        }
        values[i] = (int32_t)value;
    }
    return TR_OK;
}

/// A float becomes a double without loss, so reading it back gives the same bits.
static json_t *from_floats(const float *values, size_t count, bool or_null)
{
    json_t *array = json_array();
    // jansson has no NaN or infinity: json_real gives NULL, which append refuses.
    for (size_t i = 0; i < count; i++) {
        bool null = or_null && isnan(values[i]);
        if (json_array_append_new(array, null ? json_null() : json_real((double)values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *tr_body_from_floats(const float *values, size_t count)
{
    return from_floats(values, count, false);
}

json_t *tr_body_from_floats_or_null(const float *values, size_t count)
{
    return from_floats(values, count, true);
}

/// Needs no check: an int32 is always an integer that jansson can hold.
json_t *tr_body_from_ids(const int32_t *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(array, json_integer(values[i]));
    }
    return array;
}
