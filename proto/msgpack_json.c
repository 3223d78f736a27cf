// The reader of msgpack: a recursive descent over untrusted bytes, within bounds.
//
// msgpack-c has an unpacker, but it allocates memory as headers announce it (an array of 5 bytes
// may claim 268 million elements), so it never sees bytes from the network. The format:
// https://github.com/msgpack/msgpack/blob/master/spec.md. The writer is msgpack_json_write.c.
#include "proto/msgpack_json.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"

/// One step of the path from the root to a value, for sentences such as "body.scores[3]: ...".
typedef struct step {
    const char *key; ///< NULL: an array's element
    size_t key_length;
    size_t index;
} step_t;

/// Where reading is, and what it may still take. Every function takes the cursor by pointer and
/// either moves it behind a whole value or fails.
typedef struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    step_t path[TR_ENVELOPE_DEPTH];
    size_t depth;         ///< steps in path
    size_t nodes;         ///< maps and arrays so far
    const char *tolerant; ///< key of the root map whose contents may be bad
    bool inside;          ///< reading that key's value now
    tr_error_t *fault;    ///< the first bad content inside it; TR_OK until then
    tr_error_t *err;
} cursor_t;

static tr_status read_value(json_t **value, cursor_t *c);

/// Bytes that have not been read.
static size_t remaining(const cursor_t *c)
{
    return (size_t)(c->end - c->at);
}

/// A key as text that is safe to log and to send: printable ASCII, other bytes as '?', cut after
/// 40 and where the buffer ends. Returns its length.
static size_t write_key(char *text, size_t size, const char *key, size_t length)
{
    size_t n = 0;
    for (; n < length && n < 40 && n + 1 < size; n++) {
        text[n] = key[n] >= ' ' && key[n] <= '~' ? key[n] : '?';
    }
    text[n] = '\0';
    return n;
}

/// "body.scores[3]", cut where the buffer ends; "envelope" for the root.
static void write_path(char *text, size_t size, const cursor_t *c)
{
    size_t used = 0;
    snprintf(text, size, "%s", c->depth == 0 ? "envelope" : "");
    for (size_t i = 0; i < c->depth && used + 1 < size; i++) {
        const step_t *s = &c->path[i];
        if (s->key == NULL) {
            // may return more than fits; the loop then ends
            used += (size_t)snprintf(text + used, size - used, "[%zu]", s->index);
            continue;
        }
        if (i > 0) {
            text[used++] = '.';
        }
        used += write_key(text + used, size - used, s->key, s->key_length);
    }
}

/// The path is written only when something failed: reading keeps track of it, without making texts.
static tr_status fail_here(tr_error_t *err, const cursor_t *c, const char *what)
{
    char path[256];
    write_path(path, sizeof path, c);
    return tr_fail(err, TR_ERR_PROTOCOL, "%s: %s", path, what);
}

/// The bytes are not msgpack, or break a bound: nothing after them can be trusted, so reading ends.
static tr_status bad_form(cursor_t *c, const char *what)
{
    return fail_here(c->err, c, what);
}

/// A well-formed value that the protocol does not allow. Outside the tolerant entry it ends
/// reading; inside it is noted, once, and null takes its place, because the bytes that follow are
/// still good.
static tr_status bad_content(json_t **value, cursor_t *c, const char *what)
{
    if (!c->inside) {
        return bad_form(c, what);
    }
    if (c->fault->status == TR_OK) {
        fail_here(c->fault, c, what);
    }
    *value = json_null();
    return TR_OK;
}

/// All numbers and lengths of msgpack are big-endian.
static tr_status read_big_endian(uint64_t *number, cursor_t *c, size_t bytes)
{
    // A cut message ends here or in take_bytes, never behind its last byte.
    if (remaining(c) < bytes) {
        return bad_form(c, "the message ends inside a value");
    }
    *number = 0;
    for (size_t i = 0; i < bytes; i++) {
        *number = *number << 8 | *c->at++;
    }
    return TR_OK;
}

/// *bytes: inside the message.
static tr_status take_bytes(const char **bytes, cursor_t *c, uint64_t length)
{
    if (length > remaining(c)) {
        return bad_form(c, "a length is larger than the message");
    }
    *bytes = (const char *)c->at;
    c->at += length;
    return TR_OK;
}

// Readers of one value. number: what its head says, a length, a count or the value itself; bytes:
// in how many bytes the head said it.

/// jansson checks the UTF-8.
static tr_status read_string(json_t **value, cursor_t *c, uint64_t length, size_t bytes)
{
    const char *content = NULL;
    (void)bytes;
    TR_TRY(take_bytes(&content, c, length));
    *value = json_stringn(content, (size_t)length);
    return *value != NULL ? TR_OK : bad_content(value, c, "the string is not UTF-8");
}

/// Well-formed, so the reader knows where the next value begins; but JSON has no such type.
static tr_status skip_binary(json_t **value, cursor_t *c, uint64_t length, size_t bytes)
{
    const char *content = NULL;
    (void)bytes;
    TR_TRY(take_bytes(&content, c, length));
    return bad_content(value, c, "binary and extension values are not allowed (send a tensor)");
}

/// Floats of 32 or 64 bits; the head has said which.
static tr_status read_real(json_t **value, cursor_t *c, uint64_t bits, size_t bytes)
{
    double number;
    // A 32-bit float is widened, which is exact.
    if (bytes == 4) {
        uint32_t half = (uint32_t)bits;
        float narrow;
        memcpy(&narrow, &half, sizeof narrow);
        number = (double)narrow;
    } else {
        memcpy(&number, &bits, sizeof number);
    }
    // JSON cannot hold these, and no metric, score or option may be one.
    if (!isfinite(number)) {
        return bad_content(value, c,
                           isnan(number) ? "NaN is not allowed" : "infinity is not allowed");
    }
    *value = json_real(number);
    return TR_OK;
}

/// jansson has signed integers alone, as PROTOCOL.md has.
static tr_status read_unsigned(json_t **value, cursor_t *c, uint64_t number, size_t bytes)
{
    (void)bytes;
    if (number > INT64_MAX) {
        return bad_content(value, c, "the integer is larger than 2^63 - 1");
    }
    *value = json_integer((json_int_t)number);
    return TR_OK;
}

/// Two's complement in 1, 2, 4 or 8 bytes.
static tr_status read_signed(json_t **value, cursor_t *c, uint64_t number, size_t bytes)
{
    (void)c;
    // Moves the sign bit to the top and back, which copies it over the upper bits.
    unsigned shift = (unsigned)(64 - 8 * bytes);
    *value = json_integer((json_int_t)((int64_t)(number << shift) >> shift));
    return TR_OK;
}

/// Before a map or an array is allocated. A byte of msgpack can make one that takes a hundred in
/// memory, hence the limit on their number beside that on bytes.
static tr_status check_bounds(cursor_t *c)
{
    if (c->depth == TR_ENVELOPE_DEPTH) {
        return bad_form(c, "values nest too deep");
    }
    if (++c->nodes > TR_ENVELOPE_NODES) {
        return bad_form(c, "too many maps and arrays");
    }
    return TR_OK;
}

/// Elements are appended as they are read: memory grows with the bytes that were really there.
static tr_status read_array(json_t **value, cursor_t *c, uint64_t count, size_t bytes)
{
    (void)bytes;
    // Before anything is allocated.
    if (count > remaining(c)) {
        return bad_form(c, "an array claims more elements than the message has bytes");
    }
    TR_TRY(check_bounds(c));
    json_t *array = json_array();
    step_t *step = &c->path[c->depth++];
    for (uint64_t i = 0; i < count; i++) {
        json_t *element = NULL;
        // Elements are read into the path that was entered above: sentences name the element.
        *step = (step_t){.index = (size_t)i};
        tr_status status = read_value(&element, c);
        if (status != TR_OK) {
            // The message is refused whole, so nothing of it is kept.
            json_decref(array);
            return status;
        }
        json_array_append_new(array, element);
    }
    c->depth--;
    *value = array;
    return TR_OK;
}

/// Reads the key of an entry, which must be a string. One of another type inside the tolerant entry
/// is noted as a fault and becomes "", so that the value that follows can be read. *key: in the
/// message.
static tr_status read_key(const char **key, size_t *length, cursor_t *c)
{
    json_t *ignored = NULL;
    uint64_t size = 0;
    *key = "";
    *length = 0;
    if (remaining(c) == 0) {
        return bad_form(c, "the message ends inside a value");
    }
    // Looked at and not taken: a key that is no string is read as a value below.
    uint8_t head = *c->at;
    if ((head & 0xe0) == 0xa0) {
        c->at++;
        size = head & 0x1f;
    } else if (head >= 0xd9 && head <= 0xdb) {
        c->at++;
        TR_TRY(read_big_endian(&size, c, (size_t)1 << (head - 0xd9)));
    } else {
        // A key of another type may be an array or a map: reading it finds where the value begins.
        TR_TRY(read_value(&ignored, c));
        json_decref(ignored);
        return bad_content(&ignored, c, "a key is not a string");
    }
    TR_TRY(take_bytes(key, c, size));
    *length = (size_t)size;
    if (memchr(*key, '\0', *length) != NULL) {
        return bad_content(&ignored, c, "a key holds a zero byte");
    }
    return TR_OK;
}

/// Takes entry.
static tr_status put_entry(json_t *map, cursor_t *c, const char *key, size_t length, json_t *entry)
{
    json_t *ignored = NULL;
    // jansson would let the later entry replace the earlier; two readers of one message might
    // differ.
    if (json_object_getn(map, key, length) != NULL) {
        json_decref(entry);
        return bad_content(&ignored, c, "the key comes twice");
    }
    if (json_object_setn_new(map, key, length, entry) != 0) {
        return bad_content(&ignored, c, "the key is not UTF-8");
    }
    return TR_OK;
}

/// One key with its value. step: the last one of the path, which names the key meanwhile.
static tr_status read_entry(json_t *map, cursor_t *c, step_t *step)
{
    const char *key;
    size_t length;
    json_t *entry = NULL;
    // Faults of the key itself are reported under this name.
    *step = (step_t){.key = "(key)", .key_length = 5};
    TR_TRY(read_key(&key, &length, c));
    *step = (step_t){.key = key, .key_length = length};
    // Only in the root map: a key of that name further down is like any other.
    bool tolerant = c->depth == 1 && c->tolerant != NULL && strlen(c->tolerant) == length &&
                    memcmp(c->tolerant, key, length) == 0;
    if (tolerant) {
        c->inside = true;
    }
    TR_TRY(read_value(&entry, c));
    if (tolerant) {
        c->inside = false;
        // The value has nulls in place of what was refused: it is dropped.
        if (c->fault->status != TR_OK) {
            json_decref(entry);
            return TR_OK;
        }
    }
    return put_entry(map, c, key, length, entry);
}

static tr_status read_map(json_t **value, cursor_t *c, uint64_t count, size_t bytes)
{
    (void)bytes;
    // An entry takes two bytes at least, one for the key and one for the value.
    if (count > remaining(c) / 2) {
        return bad_form(c, "a map claims more entries than the message has bytes");
    }
    TR_TRY(check_bounds(c));
    json_t *map = json_object();
    step_t *step = &c->path[c->depth++];
    for (uint64_t i = 0; i < count; i++) {
        tr_status status = read_entry(map, c, step);
        if (status != TR_OK) {
            json_decref(map);
            return status;
        }
    }
    c->depth--;
    *value = map;
    return TR_OK;
}

/// Types of value, by the first byte. Of the heads first..last, the k-th is followed by a
/// big-endian number in bytes << k bytes; with bytes 0 the head itself has the number: k.
static const struct {
    uint8_t first, last, bytes;
    uint8_t extra; ///< bytes of content beside the number's: the type of an extension
    tr_status (*read)(json_t **value, cursor_t *c, uint64_t number, size_t bytes);
} forms[] = {
    {0x00, 0x7f, 0, 0, read_unsigned}, {0x80, 0x8f, 0, 0, read_map},
    {0x90, 0x9f, 0, 0, read_array},    {0xa0, 0xbf, 0, 0, read_string},
    {0xc4, 0xc6, 1, 0, skip_binary},   {0xc7, 0xc9, 1, 1, skip_binary},
    {0xca, 0xcb, 4, 0, read_real},     {0xcc, 0xcf, 1, 0, read_unsigned},
    {0xd0, 0xd3, 1, 0, read_signed},   {0xd9, 0xdb, 1, 0, read_string},
    {0xdc, 0xdd, 2, 0, read_array},    {0xde, 0xdf, 2, 0, read_map},
};

/// Values that are a head and nothing else, and extensions of 1, 2, 4, 8 or 16 bytes.
static tr_status read_short(json_t **value, cursor_t *c, uint8_t head)
{
    switch (head) {
    case 0xc0: *value = json_null(); return TR_OK;
    case 0xc1: return bad_form(c, "byte 0xc1 begins no msgpack value");
    case 0xc2: *value = json_false(); return TR_OK;
    case 0xc3: *value = json_true(); return TR_OK;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: return skip_binary(value, c, ((uint64_t)1 << (head - 0xd4)) + 1, 0);
    default: *value = json_integer((json_int_t)head - 256); return TR_OK; // 0xe0 to 0xff
    }
}

static tr_status read_value(json_t **value, cursor_t *c)
{
    if (remaining(c) == 0) {
        return bad_form(c, "the message ends inside a value");
    }
    uint8_t head = *c->at++;
    // Twelve rows, of which a map of short strings needs the first four.
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (head >= forms[i].first && head <= forms[i].last) {
            uint8_t k = (uint8_t)(head - forms[i].first);
            uint64_t number = k;
            size_t bytes = forms[i].bytes > 0 ? (size_t)forms[i].bytes << k : 0;
            TR_TRY(bytes > 0 ? read_big_endian(&number, c, bytes) : TR_OK);
            return forms[i].read(value, c, number + forms[i].extra, bytes);
        }
    }
    return read_short(value, c, head);
}

/// Written for one caller, the reader of envelopes, for which "tolerant" is "body".
tr_status tr_msgpack_to_json(json_t **value, const void *bytes, size_t length, const char *tolerant,
                             tr_error_t *fault, tr_error_t *err)
{
    cursor_t c = {.at = bytes,
                  .end = (const uint8_t *)bytes + length,
                  .tolerant = tolerant,
                  .fault = fault,
                  .err = err};
    *value = NULL;
    TR_TRY(read_value(value, &c));
    // Other readers might take bytes behind the value for a second one.
    if (remaining(&c) > 0) {
        json_decref(*value);
        *value = NULL;
        return tr_fail(err, TR_ERR_PROTOCOL, "envelope: %zu bytes follow the end of the value",
                       remaining(&c));
    }
    return TR_OK;
}
