// The message as an object: fields, body and tensors, and who owns their bytes.
//
// Tensors can be gigabytes, so their bytes are ZeroMQ's frames, whose references are counted:
// copies of a message share them, and sending takes one more reference. The envelope's bytes are
// made in message_codec.c, frames are sent in message_socket.c.
#include "proto/message.h"

#include <stdlib.h>
#include <string.h>

#include "proto/message_parts.h"

/// Called by ZeroMQ, mostly on a thread of its own.
void tr_message_free(void *data, void *hint)
{
    (void)hint;
    free(data);
}

/// The only place where parts are made, so that a name is always a copy of ours.
message_part_t *message_part_add(tr_message_t *message, const tr_view_t *view)
{
    message_part_t *part = tr_calloc(1, sizeof *part);
    part->view = *view;
    part->view.name = tr_strdup(view->name);
    // One pointer more each time: messages have few tensors.
    message->parts = tr_realloc(message->parts, (message->count + 1) * sizeof(message_part_t *));
    message->parts[message->count++] = part;
    return part;
}

/// ZeroMQ calls release when nobody holds the frame any more: neither this message, nor a copy, nor
/// a socket that still sends.
void message_part_lend(message_part_t *part, void *data, tr_release_fn release, void *hint)
{
    part->view.data = data;
    TR_ASSERT(data != NULL, "tensor '%s' has no address", part->view.name);
    TR_ASSERT(zmq_msg_init_data(&part->frame, data, part->view.bytes, release, hint) == 0,
              "out of memory");
}

/// For bytes that their owner will change or free, and for frames that lie badly in memory.
void message_part_copy(message_part_t *part, const void *data)
{
    size_t bytes = part->view.bytes;
    void *copy = NULL;
    // Aligned to a cache line: vector code reads tensors where they are. Zero bytes, too, need an
    // address.
    TR_ASSERT(posix_memalign(&copy, 64, bytes > 0 ? bytes : 1) == 0, "cannot allocate %zu bytes",
              bytes);
    if (bytes > 0) {
        memcpy(copy, data, bytes);
    }
    message_part_lend(part, copy, tr_message_free, NULL);
}

/// Also used by the reader of envelopes, which has all fields already.
tr_message_t *message_new(json_t *fields, json_t *body)
{
    tr_message_t *message = tr_calloc(1, sizeof *message);
    message->fields = fields;
    message->body = body;
    return message;
}

/// Without an id or a method: most types have neither.
tr_message_t *tr_message_new(const char *type)
{
    json_t *fields = json_object();
    json_object_set_new(fields, "type", json_string(type));
    return message_new(fields, json_object());
}

/// Acknowledgements, answers and errors name the request that they are about.
tr_message_t *tr_message_about(const char *type, int64_t id)
{
    tr_message_t *message = tr_message_new(type);
    if (id > 0) {
        tr_message_set_id(message, id);
    }
    return message;
}

/// Bytes that were lent live on while ZeroMQ sends them.
void tr_message_destroy(tr_message_t **message)
{
    tr_message_t *m = *message;
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->count; i++) {
        message_part_t *part = m->parts[i];
        if (part->view.data != NULL) {
            zmq_msg_close(&part->frame);
        }
        free((char *)(uintptr_t)part->view.name);
        free(part);
    }
    free(m->parts);
    free(m->fault);
    json_decref(m->body);
    json_decref(m->fields);
    free(m);
    *message = NULL;
}

/// The body is shared too: a request that may be sent again costs no second one. Neither the copy
/// nor the original may change it from then on.
tr_message_t *tr_message_copy(const tr_message_t *message)
{
    tr_message_t *copy = message_new(json_copy(message->fields), json_incref(message->body));
    copy->broken = message->broken;
    copy->fault = message->fault != NULL ? tr_strdup(message->fault) : NULL;
    for (size_t i = 0; i < message->count; i++) {
        message_part_t *part = message_part_add(copy, &message->parts[i]->view);
        // The bytes are shared, so view.data holds for the copy too: ZeroMQ would copy only short
        // frames that it keeps inside zmq_msg_t, and a part never has such a frame.
        zmq_msg_init(&part->frame);
        zmq_msg_copy(&part->frame, &message->parts[i]->frame);
    }
    return copy;
}

/// A string of the envelope; "" when it is absent or of another type.
static const char *text_of(const tr_message_t *message, const char *key)
{
    const char *text = json_string_value(json_object_get(message->fields, key));
    return text != NULL ? text : "";
}

/// Checked to be a string when the message was read.
const char *tr_message_type(const tr_message_t *message)
{
    return text_of(message, "type");
}

int64_t tr_message_id(const tr_message_t *message)
{
    return json_integer_value(json_object_get(message->fields, "id"));
}

/// Ids are above 0 (PROTOCOL.md); that is the caller's to keep.
void tr_message_set_id(tr_message_t *message, int64_t id)
{
    json_object_set_new(message->fields, "id", json_integer(id));
}

/// Only requests have one; a missing one is treated like an unknown one.
const char *tr_message_method(const tr_message_t *message)
{
    return text_of(message, "method");
}

/// Always an object, so that callers can look up keys without a check.
json_t *tr_message_body(const tr_message_t *message)
{
    return message->body;
}

/// Takes the reference also where the body cannot be used.
void tr_message_set_body(tr_message_t *message, json_t *body)
{
    json_decref(message->body);
    // Building a body fails in the middle of an expression (json_pack), where no handler checks.
    // The failure is noted here and reported when the message is packed, with its sentence.
    message->broken = !json_is_object(body);
    // An empty body instead, so that readers never see NULL.
    if (message->broken) {
        json_decref(body);
        body = json_object();
    }
    message->body = body;
}

/// In the form that PROTOCOL.md gives to errors and refusals.
void tr_message_set_error(tr_message_t *message, const char *code, const char *text)
{
    // Sentences may quote bytes of a peer or of a file. An error must be sendable whatever they
    // are.
    json_t *sentence = json_string(text);
    if (sentence == NULL) {
        char *ascii = tr_strdup(text);
        for (char *p = ascii; *p != '\0'; p++) {
            *p = (unsigned char)*p < 0x80 ? *p : '?';
        }
        sentence = json_string(ascii);
        free(ascii);
    }
    tr_message_set_body(message, json_pack("{s:s, s:o}", "code", code, "text", sentence));
}

/// Whoever reads the body looks here first: with a fault the body is empty, which might pass for a
/// request without options.
const char *tr_message_fault(const tr_message_t *message)
{
    return message->fault;
}

/// For `method`, and for tests that write what no program of ours does.
void tr_message_set_field(tr_message_t *message, const char *key, json_t *value)
{
    TR_ASSERT(strcmp(key, "body") != 0 && strcmp(key, "tensors") != 0,
              "field '%s' is set by its own function", key);
    json_object_set_new(message->fields, key, value);
}

size_t tr_message_tensors(const tr_message_t *message)
{
    return message->count;
}

/// By position, where all tensors are treated alike; readers of a certain one ask by name.
tr_view_t tr_message_tensor_at(const tr_message_t *message, size_t index)
{
    TR_ASSERT(index < message->count, "tensor %zu of %zu", index, message->count);
    return message->parts[index]->view;
}

/// A search from the front: messages have a handful of tensors.
bool tr_message_tensor(tr_view_t *view, const tr_message_t *message, const char *name)
{
    for (size_t i = 0; i < message->count; i++) {
        if (strcmp(message->parts[i]->view.name, name) == 0) {
            *view = message->parts[i]->view;
            return true;
        }
    }
    return false;
}

/// The sentence says what was expected and what came, as dtype[elements]; -1 elements: any number.
tr_status tr_message_expect_tensor(tr_view_t *view, const tr_message_t *message, const char *name,
                                   tr_dtype_t dtype, size_t count, tr_error_t *err)
{
    if (!tr_message_tensor(view, message, name)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "%s '%s': tensor '%s' is missing",
                       tr_message_type(message), tr_message_method(message), name);
    }
    // The shape does not matter, only the number of elements: callers know their dimensions.
    size_t found = view->bytes / tr_dtype_size(view->dtype);
    // No conversion: a peer that sends another dtype computes with another, and should say so.
    if (view->dtype != dtype || (count != SIZE_MAX && found != count)) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "%s '%s': tensor '%s': expected %s[%zd], found %s[%zu]",
                       tr_message_type(message), tr_message_method(message), name,
                       tr_dtype_name(dtype), (ssize_t)count, tr_dtype_name(view->dtype), found);
    }
    return TR_OK;
}

/// These numbers become indices into other arrays, so each one is checked, not only the ends.
tr_status tr_message_expect_offsets(const int32_t **offsets, const tr_message_t *message,
                                    const char *name, size_t count, size_t end, int32_t least,
                                    tr_error_t *err)
{
    tr_view_t view;
    TR_TRY(tr_message_expect_tensor(&view, message, name, TR_I32, count + 1, err));
    // First both ends, so that a fall anywhere between them is found by comparing neighbours.
    const int32_t *o = *offsets = view.data;
    if (o[0] != 0 || o[count] < 0 || (size_t)o[count] != end) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensor '%s' spans %d to %d; expected 0 to %zu", name,
                       o[0], o[count], end);
    }
    for (size_t i = 0; i < count; i++) {
        if ((int64_t)o[i + 1] - o[i] < least) {
            return tr_fail(err, TR_ERR_PROTOCOL,
                           "tensor '%s' goes from %d to %d at %zu; expected a rise of at least %d",
                           name, o[i], o[i + 1], i + 1, least);
        }
    }
    return TR_OK;
}

/// For our own tensors and for those of a peer alike.
bool message_view_bytes(size_t *bytes, const tr_view_t *view)
{
    *bytes = tr_dtype_size(view->dtype);
    // A peer chooses the shape: the product may be larger than any memory.
    bool fits = true;
    for (size_t i = 0; i < view->dims; i++) {
        fits = fits && !__builtin_mul_overflow(*bytes, view->shape[i], bytes);
    }
    return fits;
}

/// Tensors keep their order: the frames follow the envelope as its list names them.
void tr_message_add_tensor(tr_message_t *message, const char *name, tr_dtype_t dtype, size_t dims,
                           const size_t *shape, const void *data, tr_release_fn release, void *hint)
{
    tr_view_t view = {.name = name, .dtype = dtype, .dims = dims, .shape = {1, 1, 1, 1}};
    TR_ASSERT(dims >= 1 && dims <= TR_MESSAGE_DIMS, "tensor '%s' has %zu dimensions", name, dims);
    // The limits of PROTOCOL.md, which we keep ourselves: a receiver would refuse the message.
    TR_ASSERT(message->count < TR_MESSAGE_TENSORS && strlen(name) <= TR_MESSAGE_NAME, "tensor '%s'",
              name);
    tr_view_t other;
    TR_ASSERT(!tr_message_tensor(&other, message, name), "tensor '%s' comes twice", name);
    memcpy(view.shape, shape, dims * sizeof *shape);
    TR_ASSERT(message_view_bytes(&view.bytes, &view), "tensor '%s' is larger than memory", name);
    message_part_t *part = message_part_add(message, &view);
    if (release != NULL) {
        // Lent bytes are never written: the cast away from const is for release, which frees them.
        message_part_lend(part, (void *)(uintptr_t)data, release, hint);
    } else {
        message_part_copy(part, data);
    }
}

/// Most tensors are short vectors, where a copy costs nothing that could be measured.
void tr_message_add_vector(tr_message_t *message, const char *name, tr_dtype_t dtype, size_t count,
                           const void *data)
{
    tr_message_add_tensor(message, name, dtype, 1, &count, data, NULL, NULL);
}
