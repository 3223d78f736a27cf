// Envelopes: a message as a msgpack map, and back, with every check that PROTOCOL.md promises.
//
// Separate from the object (message.c) because only this half reads untrusted bytes. msgpack_json.c
// below it knows bytes and values; here they get the meaning of type, id, body and tensors.
#include <stdlib.h>
#include <string.h>

#include "proto/message_parts.h"
#include "proto/msgpack_json.h"

/// The dtypes of PROTOCOL.md.
static bool dtype_parse(tr_dtype_t *dtype, const char *name)
{
    static const tr_dtype_t known[] = {TR_F32, TR_I32, TR_BF16, TR_F16, TR_F64, TR_I64, TR_U8};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(tr_dtype_name(known[i]), name) == 0) {
            *dtype = known[i];
            return true;
        }
    }
    return false;
}

/// The key `tensors`: name, dtype and shape of each frame that follows the envelope.
static json_t *tensor_entries(const tr_message_t *message)
{
    json_t *tensors = json_array();
    for (size_t i = 0; i < message->count; i++) {
        const tr_view_t *view = &message->parts[i]->view;
        json_t *shape = json_array();
        for (size_t d = 0; d < view->dims; d++) {
            json_array_append_new(shape, json_integer((json_int_t)view->shape[d]));
        }
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:o}", "name", view->name, "dtype",
                                                 tr_dtype_name(view->dtype), "shape", shape));
    }
    return tensors;
}

/// Called for every sending; also, with the bytes thrown away, to learn whether a message can be
/// sent at all (dispatch.c, service_jobs.c).
tr_status tr_message_pack(char **bytes, size_t *length, const tr_message_t *message,
                          tr_error_t *err)
{
    if (message->broken) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "body could not be built: a number is not finite or a string not UTF-8");
    }
    // The copy is shallow, and an empty body is left out: PROTOCOL.md reads a missing one so.
    // Made anew each time, since the caller may change the body between two sendings.
    json_t *envelope = json_copy(message->fields);
    if (json_object_size(message->body) > 0) {
        json_object_set(envelope, "body", message->body);
    }
    if (message->count > 0) {
        json_object_set_new(envelope, "tensors", tensor_entries(message));
    }
    tr_status status = tr_msgpack_from_json(bytes, length, envelope, TR_ENVELOPE_MAX, err);
    json_decref(envelope);
    return status;
}

/// Reads tensors[index] of the envelope. view->name: borrowed from the entry.
static tr_status read_tensor(tr_view_t *view, const json_t *entry, size_t index, tr_error_t *err)
{
    // Of an entry that is no map every look-up gives NULL, so one check below serves all cases.
    const char *name = json_string_value(json_object_get(entry, "name"));
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    *view = (tr_view_t){.name = name, .dims = json_array_size(shape), .shape = {1, 1, 1, 1}};
    if (name == NULL || strlen(name) > TR_MESSAGE_NAME || dtype == NULL ||
        !dtype_parse(&view->dtype, dtype)) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "tensors[%zu]: expected name (at most %d bytes) and a known dtype", index,
                       (int)TR_MESSAGE_NAME);
    }
    // A shape that is no array has no dimensions, and is refused here too.
    if (view->dims < 1 || view->dims > TR_MESSAGE_DIMS) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensors[%zu]: shape: expected 1 to %d integers",
                       index, (int)TR_MESSAGE_DIMS);
    }
    for (size_t d = 0; d < view->dims; d++) {
        const json_t *extent = json_array_get(shape, d);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0) {
            return tr_fail(err, TR_ERR_PROTOCOL,
                           "tensors[%zu]: shape[%zu]: expected an integer from 0", index, d);
        }
        // 0 is allowed: a batch may have no kept ids.
        view->shape[d] = (size_t)json_integer_value(extent);
    }
    if (!message_view_bytes(&view->bytes, view)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensors[%zu]: the shape is larger than memory",
                       index);
    }
    return TR_OK;
}

/// Makes a part for each entry. The bytes come later, in frames of their own.
static tr_status read_tensors(tr_message_t *message, const json_t *tensors, tr_error_t *err)
{
    if (tensors == NULL) {
        return TR_OK;
    }
    if (!json_is_array(tensors) || json_array_size(tensors) > TR_MESSAGE_TENSORS) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensors: expected an array of at most %d",
                       (int)TR_MESSAGE_TENSORS);
    }
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        tr_view_t view, other;
        TR_TRY(read_tensor(&view, json_array_get(tensors, i), i, err));
        // Two tensors of a name would make a message mean different things to different readers.
        if (tr_message_tensor(&other, message, view.name)) {
            return tr_fail(err, TR_ERR_PROTOCOL, "tensors[%zu]: name '%s' comes twice", i,
                           view.name);
        }
        message_part_add(message, &view);
    }
    return TR_OK;
}

/// Type and id must be right in every message; other keys are read where they are needed.
static tr_status check_fields(const json_t *fields, tr_error_t *err)
{
    // Absent in messages that are about no request.
    const json_t *id = json_object_get(fields, "id");
    if (!json_is_string(json_object_get(fields, "type"))) {
        return tr_fail(err, TR_ERR_PROTOCOL, "type: expected a string");
    }
    if (id != NULL && (!json_is_integer(id) || json_integer_value(id) <= 0)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "id: expected an integer from 1 to 2^63 - 1");
    }
    return TR_OK;
}

/// The order matters: first the size, then the msgpack with its bounds, then the types of the keys,
/// then the tensors. Each step relies on the one before.
tr_status tr_message_unpack(tr_message_t **message, const void *bytes, size_t length,
                            tr_error_t *err)
{
    json_t *fields;
    tr_error_t fault = {0};
    *message = NULL;
    // Before a single byte is read. ZeroMQ has a limit of its own, but on frames, which may hold
    // tensors.
    if (length > TR_ENVELOPE_MAX) {
        return tr_fail(err, TR_ERR_PROTOCOL, "envelope: %zu bytes, more than %d", length,
                       (int)TR_ENVELOPE_MAX);
    }
    // "body" may hold what the protocol forbids without making the message malformed: the fault is
    // kept, and becomes an error of this request, not of the connection.
    TR_TRY(tr_msgpack_to_json(&fields, bytes, length, "body", &fault, err));
    if (!json_is_object(fields)) {
        json_decref(fields);
        return tr_fail(err, TR_ERR_PROTOCOL, "envelope: expected a map");
    }
    json_t *body = json_incref(json_object_get(fields, "body"));
    // A fault of the body, like those that the reader below has found.
    if (body != NULL && !json_is_object(body)) {
        // Not the case of a fault inside: the reader left such a body out.
        tr_fail(&fault, TR_ERR_PROTOCOL, "body: expected a map");
        json_decref(body);
        body = NULL;
    }
    // Fields keep neither body nor tensors: both are written from where they are kept.
    json_object_del(fields, "body");
    // From here on the message owns fields and body, also after a failure.
    tr_message_t *m = message_new(fields, body != NULL ? body : json_object());
    m->fault = fault.status != TR_OK ? tr_strdup(fault.text) : NULL;
    tr_status status = check_fields(fields, err);
    if (status == TR_OK) {
        status = read_tensors(m, json_object_get(fields, "tensors"), err);
    }
    if (status != TR_OK) {
        tr_message_destroy(&m);
        return status;
    }
    // The parts have everything that the list said.
    json_object_del(fields, "tensors");
    *message = m;
    return TR_OK;
}

/// For frames of a socket and for those that rank 0 forwards.
tr_status message_check_frame(const tr_message_t *message, size_t index, size_t bytes,
                              tr_error_t *err)
{
    if (index >= message->count) {
        return tr_fail(err, TR_ERR_PROTOCOL, "more frames than the %zu tensors of the envelope",
                       message->count);
    }
    // The size follows from dtype and shape, so no kernel ever reads past a frame.
    const tr_view_t *view = &message->parts[index]->view;
    if (view->bytes != bytes) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensor '%s': frame of %zu bytes, the shape says %zu",
                       view->name, bytes, view->bytes);
    }
    return TR_OK;
}

/// Ranks get all tensors of a message in one broadcast and cut it up here.
tr_status tr_message_unpack_frame(tr_message_t *message, size_t index, const void *data,
                                  size_t bytes, tr_error_t *err)
{
    TR_TRY(message_check_frame(message, index, bytes, err));
    // Only our own tests and ranks give frames by hand.
    TR_ASSERT(message->parts[index]->view.data == NULL, "frame %zu given twice", index);
    message_part_copy(message->parts[index], data);
    return TR_OK;
}
