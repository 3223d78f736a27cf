#include "proto/message.h"

#include <czmq.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/msgpack_json.h"

/// Bytes of one tensor, shared by copies of a message and by ZeroMQ while it sends.
typedef struct blob {
    atomic_size_t references;
    void *data;
    tr_release_fn release;
    void *hint;
    bool received; ///< frame holds the bytes
    zmq_msg_t frame;
} blob_t;

typedef struct part {
    tr_view_t view; ///< name is owned by the part
    blob_t *blob;   ///< NULL while a received frame is awaited
} part_t;

struct tr_message {
    json_t *fields; ///< the envelope but body and tensors
    json_t *body;
    bool broken; ///< set_body got NULL: the caller could not build it
    char *fault;
    part_t *parts;
    size_t count;
};

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

static void free_data(void *data, void *hint)
{
    (void)hint;
    free(data);
}

static blob_t *blob_new(void *data, tr_release_fn release, void *hint)
{
    blob_t *blob = tr_calloc(1, sizeof *blob);
    atomic_init(&blob->references, 1);
    blob->data = data;
    blob->release = release;
    blob->hint = hint;
    return blob;
}

static void blob_drop(blob_t *blob)
{
    if (blob == NULL || atomic_fetch_sub(&blob->references, 1) > 1) {
        return;
    }
    if (blob->received) {
        zmq_msg_close(&blob->frame);
    } else if (blob->release != NULL) {
        blob->release(blob->data, blob->hint);
    }
    free(blob);
}

static blob_t *blob_keep(blob_t *blob)
{
    atomic_fetch_add(&blob->references, 1);
    return blob;
}

static void *aligned_copy(const void *data, size_t bytes)
{
    void *copy = NULL;
    TR_ASSERT(posix_memalign(&copy, 64, bytes > 0 ? bytes : 1) == 0, "%zu bytes could not be had",
              bytes);
    if (bytes > 0) {
        memcpy(copy, data, bytes);
    }
    return copy;
}

/// Takes the frame's bytes where they lie when they are aligned, else copies them.
static blob_t *blob_from_frame(zmq_msg_t *frame)
{
    void *data = zmq_msg_data(frame);
    size_t bytes = zmq_msg_size(frame);
    if (bytes < 64 || (uintptr_t)data % 16 != 0) { // short ones live inside the zmq_msg_t itself
        return blob_new(aligned_copy(data, bytes), free_data, NULL);
    }
    blob_t *blob = blob_new(NULL, NULL, NULL);
    zmq_msg_init(&blob->frame);
    zmq_msg_move(&blob->frame, frame);
    blob->received = true;
    blob->data = zmq_msg_data(&blob->frame);
    return blob;
}

static tr_message_t *message_new(json_t *fields, json_t *body)
{
    tr_message_t *message = tr_calloc(1, sizeof *message);
    message->fields = fields;
    message->body = body;
    return message;
}

tr_message_t *tr_message_new(const char *type)
{
    json_t *fields = json_object();
    json_object_set_new(fields, "type", json_string(type));
    return message_new(fields, json_object());
}

void tr_message_destroy(tr_message_t **message)
{
    tr_message_t *m = *message;
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->count; i++) {
        free((char *)(uintptr_t)m->parts[i].view.name);
        blob_drop(m->parts[i].blob);
    }
    free(m->parts);
    free(m->fault);
    json_decref(m->body);
    json_decref(m->fields);
    free(m);
    *message = NULL;
}

tr_message_t *tr_message_copy(const tr_message_t *message)
{
    tr_message_t *copy = message_new(json_copy(message->fields), json_incref(message->body));
    copy->broken = message->broken;
    copy->fault = message->fault != NULL ? tr_strdup(message->fault) : NULL;
    copy->count = message->count;
    copy->parts = tr_calloc(message->count + 1, sizeof *copy->parts);
    for (size_t i = 0; i < message->count; i++) {
        copy->parts[i] = message->parts[i];
        copy->parts[i].view.name = tr_strdup(message->parts[i].view.name);
        blob_keep(copy->parts[i].blob);
    }
    return copy;
}

const char *tr_message_type(const tr_message_t *message)
{
    return tr_message_text(message, "type", "");
}

int64_t tr_message_id(const tr_message_t *message)
{
    return json_integer_value(json_object_get(message->fields, "id"));
}

void tr_message_set_id(tr_message_t *message, int64_t id)
{
    json_object_set_new(message->fields, "id", json_integer(id));
}

const char *tr_message_method(const tr_message_t *message)
{
    return tr_message_text(message, "method", "");
}

json_t *tr_message_body(const tr_message_t *message)
{
    return message->body;
}

void tr_message_set_body(tr_message_t *message, json_t *body)
{
    json_decref(message->body);
    message->broken = !json_is_object(body);
    if (message->broken) {
        json_decref(body);
        body = json_object();
    }
    message->body = body;
}

void tr_message_set_error(tr_message_t *message, const char *code, const char *text)
{
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

const char *tr_message_fault(const tr_message_t *message)
{
    return message->fault;
}

json_t *tr_message_field(const tr_message_t *message, const char *key)
{
    return json_object_get(message->fields, key);
}

void tr_message_set_field(tr_message_t *message, const char *key, json_t *value)
{
    TR_ASSERT(strcmp(key, "body") != 0 && strcmp(key, "tensors") != 0,
              "field '%s' is set by its own function", key);
    json_object_set_new(message->fields, key, value);
}

const char *tr_message_text(const tr_message_t *message, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(message->fields, key));
    return text != NULL ? text : otherwise;
}

size_t tr_message_tensors(const tr_message_t *message)
{
    return message->count;
}

tr_view_t tr_message_tensor_at(const tr_message_t *message, size_t index)
{
    TR_ASSERT(index < message->count, "tensor %zu of %zu", index, message->count);
    return message->parts[index].view;
}

bool tr_message_tensor(tr_view_t *view, const tr_message_t *message, const char *name)
{
    for (size_t i = 0; i < message->count; i++) {
        if (strcmp(message->parts[i].view.name, name) == 0) {
            *view = message->parts[i].view;
            return true;
        }
    }
    return false;
}

tr_status tr_message_expect_tensor(tr_view_t *view, const tr_message_t *message, const char *name,
                                   tr_dtype_t dtype, size_t count, tr_error_t *err)
{
    if (!tr_message_tensor(view, message, name)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "%s '%s': tensor '%s' is missing",
                       tr_message_type(message), tr_message_method(message), name);
    }
    size_t found = view->bytes / tr_dtype_size(view->dtype);
    if (view->dtype != dtype || (count != SIZE_MAX && found != count)) {
        return tr_fail(err, TR_ERR_PROTOCOL,
                       "%s '%s': tensor '%s': expected %s[%zd], found %s[%zu]",
                       tr_message_type(message), tr_message_method(message), name,
                       tr_dtype_name(dtype), (ssize_t)count, tr_dtype_name(view->dtype), found);
    }
    return TR_OK;
}

/// Bytes of a tensor; false when they do not fit a size_t.
static bool view_bytes(size_t *bytes, const tr_view_t *view)
{
    *bytes = tr_dtype_size(view->dtype);
    bool fits = true;
    for (size_t i = 0; i < view->dims; i++) {
        fits = fits && !__builtin_mul_overflow(*bytes, view->shape[i], bytes);
    }
    return fits;
}

void tr_message_add_tensor(tr_message_t *message, const char *name, tr_dtype_t dtype, size_t dims,
                           const size_t *shape, const void *data, tr_release_fn release, void *hint)
{
    tr_view_t view = {.dtype = dtype, .dims = dims, .shape = {1, 1, 1, 1}};
    TR_ASSERT(dims >= 1 && dims <= TR_MESSAGE_DIMS, "tensor '%s' has %zu dimensions", name, dims);
    TR_ASSERT(message->count < TR_MESSAGE_TENSORS && strlen(name) <= TR_MESSAGE_NAME, "tensor '%s'",
              name);
    tr_view_t other;
    TR_ASSERT(!tr_message_tensor(&other, message, name), "tensor '%s' comes twice", name);
    memcpy(view.shape, shape, dims * sizeof *shape);
    TR_ASSERT(view_bytes(&view.bytes, &view), "tensor '%s' is larger than memory", name);
    void *bytes = release != NULL ? (void *)(uintptr_t)data : aligned_copy(data, view.bytes);
    message->parts = tr_realloc(message->parts, (message->count + 1) * sizeof *message->parts);
    view.name = tr_strdup(name);
    view.data = bytes;
    message->parts[message->count++] = (part_t){
        .view = view, .blob = blob_new(bytes, release != NULL ? release : free_data, hint)};
}

void tr_message_add_vector(tr_message_t *message, const char *name, tr_dtype_t dtype, size_t count,
                           const void *data)
{
    tr_message_add_tensor(message, name, dtype, 1, &count, data, NULL, NULL);
}

static json_t *tensor_entries(const tr_message_t *message)
{
    json_t *tensors = json_array();
    for (size_t i = 0; i < message->count; i++) {
        const tr_view_t *view = &message->parts[i].view;
        json_t *shape = json_array();
        for (size_t d = 0; d < view->dims; d++) {
            json_array_append_new(shape, json_integer((json_int_t)view->shape[d]));
        }
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:o}", "name", view->name, "dtype",
                                                 tr_dtype_name(view->dtype), "shape", shape));
    }
    return tensors;
}

tr_status tr_message_pack(char **bytes, size_t *length, const tr_message_t *message,
                          tr_error_t *err)
{
    if (message->broken) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "body could not be built: a number is not finite or a string not UTF-8");
    }
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

/// Reads shape and dtype of tensors[index] into view; name is borrowed from the entry.
static tr_status read_tensor(tr_view_t *view, const json_t *entry, size_t index, tr_error_t *err)
{
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
        view->shape[d] = (size_t)json_integer_value(extent);
    }
    if (!view_bytes(&view->bytes, view)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensors[%zu]: the shape is larger than memory",
                       index);
    }
    return TR_OK;
}

static tr_status read_tensors(tr_message_t *message, const json_t *tensors, tr_error_t *err)
{
    if (tensors == NULL) {
        return TR_OK;
    }
    if (!json_is_array(tensors) || json_array_size(tensors) > TR_MESSAGE_TENSORS) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensors: expected an array of at most %d",
                       (int)TR_MESSAGE_TENSORS);
    }
    message->parts = tr_calloc(json_array_size(tensors) + 1, sizeof *message->parts);
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        tr_view_t view, other;
        TR_TRY(read_tensor(&view, json_array_get(tensors, i), i, err));
        if (tr_message_tensor(&other, message, view.name)) {
            return tr_fail(err, TR_ERR_PROTOCOL, "tensors[%zu]: name '%s' comes twice", i,
                           view.name);
        }
        view.name = tr_strdup(view.name);
        message->parts[message->count++].view = view;
    }
    return TR_OK;
}

static tr_status check_fields(const json_t *fields, tr_error_t *err)
{
    const json_t *id = json_object_get(fields, "id");
    if (!json_is_string(json_object_get(fields, "type"))) {
        return tr_fail(err, TR_ERR_PROTOCOL, "type: expected a string");
    }
    if (id != NULL && (!json_is_integer(id) || json_integer_value(id) <= 0)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "id: expected an integer from 1 to 2^63 - 1");
    }
    return TR_OK;
}

tr_status tr_message_unpack(tr_message_t **message, const void *bytes, size_t length,
                            tr_error_t *err)
{
    json_t *fields;
    char fault[256];
    *message = NULL;
    if (length > TR_ENVELOPE_MAX) {
        return tr_fail(err, TR_ERR_PROTOCOL, "envelope: %zu bytes, more than %d", length,
                       (int)TR_ENVELOPE_MAX);
    }
    TR_TRY(tr_msgpack_to_json(&fields, bytes, length, "body", fault, sizeof fault, err));
    if (!json_is_object(fields)) {
        json_decref(fields);
        return tr_fail(err, TR_ERR_PROTOCOL, "envelope: expected a map");
    }
    json_t *body = json_incref(json_object_get(fields, "body"));
    if (body != NULL && !json_is_object(body)) {
        snprintf(fault, sizeof fault, "body: expected a map");
        json_decref(body);
        body = NULL;
    }
    json_object_del(fields, "body");
    tr_message_t *m = message_new(fields, body != NULL ? body : json_object());
    m->fault = fault[0] != '\0' ? tr_strdup(fault) : NULL;
    tr_status status = check_fields(fields, err);
    if (status == TR_OK) {
        status = read_tensors(m, json_object_get(fields, "tensors"), err);
    }
    if (status != TR_OK) {
        tr_message_destroy(&m);
        return status;
    }
    json_object_del(fields, "tensors");
    *message = m;
    return TR_OK;
}

static tr_status check_frame(const tr_message_t *message, size_t index, size_t bytes,
                             tr_error_t *err)
{
    if (index >= message->count) {
        return tr_fail(err, TR_ERR_PROTOCOL, "more frames than the %zu tensors of the envelope",
                       message->count);
    }
    const tr_view_t *view = &message->parts[index].view;
    if (view->bytes != bytes) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensor '%s': frame of %zu bytes, the shape says %zu",
                       view->name, bytes, view->bytes);
    }
    return TR_OK;
}

tr_status tr_message_unpack_frame(tr_message_t *message, size_t index, const void *data,
                                  size_t bytes, tr_error_t *err)
{
    TR_TRY(check_frame(message, index, bytes, err));
    part_t *part = &message->parts[index];
    TR_ASSERT(part->blob == NULL, "frame %zu given twice", index);
    part->blob = blob_new(aligned_copy(data, bytes), free_data, NULL);
    part->view.data = part->blob->data;
    return TR_OK;
}

// Sockets

static void release_sent(void *data, void *blob)
{
    (void)data;
    blob_drop(blob);
}

static tr_status send_frame(void *socket, zmq_msg_t *frame, bool more, tr_error_t *err)
{
    while (zmq_msg_send(frame, socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0) {
        if (zmq_errno() != EINTR) {
            int code = zmq_errno();
            zmq_msg_close(frame);
            return tr_fail(err, TR_ERR_PEER, "message was not sent: %s", zmq_strerror(code));
        }
    }
    return TR_OK;
}

static tr_status send_copy(void *socket, const void *data, size_t bytes, bool more, tr_error_t *err)
{
    zmq_msg_t frame;
    zmq_msg_init_size(&frame, bytes);
    memcpy(zmq_msg_data(&frame), data, bytes);
    return send_frame(socket, &frame, more, err);
}

static tr_status send_tensor(void *socket, const part_t *part, bool more, tr_error_t *err)
{
    zmq_msg_t frame;
    if (part->view.bytes == 0) {
        zmq_msg_init(&frame);
    } else {
        zmq_msg_init_data(&frame, part->blob->data, part->view.bytes, release_sent,
                          blob_keep(part->blob));
    }
    return send_frame(socket, &frame, more, err);
}

tr_status tr_message_send(void *socket, const tr_peer_t *peer, const tr_message_t *message,
                          tr_error_t *err)
{
    char *bytes;
    size_t length;
    void *handle = zsock_resolve(socket);
    TR_TRY(tr_message_pack(&bytes, &length, message, err));
    tr_status status = peer != NULL ? send_copy(handle, peer->bytes, peer->size, true, err) : TR_OK;
    if (status == TR_OK) {
        status = send_copy(handle, bytes, length, message->count > 0, err);
    }
    for (size_t i = 0; status == TR_OK && i < message->count; i++) {
        status = send_tensor(handle, &message->parts[i], i + 1 < message->count, err);
    }
    free(bytes);
    return status;
}

/// The next frame of a message whose earlier frames have been read.
static tr_status receive_frame(zmq_msg_t *frame, void *socket, tr_error_t *err)
{
    zmq_msg_init(frame);
    while (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
        int code = zmq_errno();
        if (code != EINTR) {
            zmq_msg_close(frame);
            return tr_fail(err, code == EAGAIN ? TR_ERR_TIMEOUT : TR_ERR_IO, "receiving: %s",
                           zmq_strerror(code));
        }
    }
    return TR_OK;
}

static void skip_rest(void *socket, bool more)
{
    zmq_msg_t frame;
    while (more && receive_frame(&frame, socket, NULL) == TR_OK) {
        more = zmq_msg_more(&frame) != 0;
        zmq_msg_close(&frame);
    }
}

/// Reads the tensors' frames; *more says whether frames of this message are still unread afterwards.
static tr_status receive_tensors(tr_message_t *message, void *socket, bool *more, tr_error_t *err)
{
    size_t index = 0;
    while (*more) {
        zmq_msg_t frame;
        TR_TRY(receive_frame(&frame, socket, err));
        *more = zmq_msg_more(&frame) != 0;
        tr_status status = check_frame(message, index, zmq_msg_size(&frame), err);
        if (status == TR_OK) {
            part_t *part = &message->parts[index++];
            part->blob = blob_from_frame(&frame);
            part->view.data = part->blob->data;
        }
        zmq_msg_close(&frame);
        TR_TRY(status);
    }
    if (index < message->count) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensor '%s': its frame is missing",
                       message->parts[index].view.name);
    }
    return TR_OK;
}

static tr_status receive_peer(tr_peer_t *peer, void *socket, bool *more, tr_error_t *err)
{
    zmq_msg_t frame;
    TR_TRY(receive_frame(&frame, socket, err));
    size_t size = zmq_msg_size(&frame);
    TR_ASSERT(size <= TR_PEER_MAX, "a routing id of %zu bytes", size);
    peer->size = (uint8_t)size;
    memcpy(peer->bytes, zmq_msg_data(&frame), size);
    *more = zmq_msg_more(&frame) != 0;
    zmq_msg_close(&frame);
    return *more ? TR_OK : tr_fail(err, TR_ERR_PROTOCOL, "envelope: the message is empty");
}

tr_status tr_message_receive(tr_message_t **message, tr_peer_t *peer, void *socket, tr_error_t *err)
{
    void *handle = zsock_resolve(socket);
    zmq_msg_t envelope;
    bool more = false;
    *message = NULL;
    if (peer != NULL) {
        TR_TRY(receive_peer(peer, handle, &more, err));
    }
    TR_TRY(receive_frame(&envelope, handle, err));
    more = zmq_msg_more(&envelope) != 0;
    tr_status status =
        tr_message_unpack(message, zmq_msg_data(&envelope), zmq_msg_size(&envelope), err);
    zmq_msg_close(&envelope);
    if (status == TR_OK) {
        status = receive_tensors(*message, handle, &more, err);
    }
    skip_rest(handle, more);
    if (status != TR_OK) {
        tr_message_destroy(message);
        status = status == TR_ERR_TIMEOUT ? TR_ERR_PROTOCOL : status;
    }
    return status;
}
