// UTF-8 by Unicode's table of well-formed byte sequences (3-7): the second byte's range depends on
// the first, which rules out overlong forms, surrogates and points past U+10FFFF. Everything here
// is built on one function that measures the longest good start of a character (subpart).
#include "common/text/utf8.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"

// Buffers

void tr_bytes_reserve(tr_bytes_t *bytes, size_t length)
{
    if (bytes->data == NULL || length + 1 > bytes->capacity) {
        // Twice what is needed: appending byte by byte costs constant time each.
        bytes->capacity = (length + 1) * 2;
        bytes->data = tr_realloc(bytes->data, bytes->capacity);
    }
}

void tr_bytes_append(tr_bytes_t *bytes, const char *data, size_t length)
{
    tr_bytes_reserve(bytes, bytes->length + length);
    // memcpy must not be given a null pointer, even for nothing.
    if (length > 0) {
        memcpy(bytes->data + bytes->length, data, length);
    }
    bytes->length += length;
    bytes->data[bytes->length] = '\0';
}

void tr_bytes_release(tr_bytes_t *bytes)
{
    free(bytes->data);
    *bytes = (tr_bytes_t){0};
}

void tr_ids_append(tr_ids_t *ids, int32_t id)
{
    if (ids->count == ids->capacity) {
        ids->capacity = ids->capacity == 0 ? 64 : ids->capacity * 2;
        ids->data = tr_realloc(ids->data, ids->capacity * sizeof *ids->data);
    }
    ids->data[ids->count++] = id;
}

void tr_ids_extend(tr_ids_t *ids, const int32_t *more, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tr_ids_append(ids, more[i]);
    }
}

void tr_ids_release(tr_ids_t *ids)
{
    free(ids->data);
    *ids = (tr_ids_t){0};
}

// Characters

/// What follows from a first byte: the number of bytes, and the range of the second.
typedef struct shape {
    size_t length; ///< 0: no first byte
    unsigned char low;
    unsigned char high;
} shape_t;

/// Table 3-7 of the Unicode standard, row by row.
static shape_t shape_of(unsigned char first)
{
    if (first < 0x80) {
        return (shape_t){1, 0, 0};
    }
    // C0 and C1 would be overlong forms of ASCII.
    if (first >= 0xC2 && first <= 0xDF) {
        return (shape_t){2, 0x80, 0xBF};
    }
    if (first >= 0xE0 && first <= 0xEF) {
        // E0: below A0 are overlong forms. ED: from A0 on are surrogates, which UTF-16 alone has.
        return (shape_t){3, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF};
    }
    if (first >= 0xF0 && first <= 0xF4) {
        // F0: below 90 are overlong forms. F4: from 90 on lies past U+10FFFF.
        return (shape_t){4, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF};
    }
    return (shape_t){0, 0, 0};
}

/// How many bytes at text, of `length`, go together as one character or the start of one; at least
/// 1.
static size_t subpart(const unsigned char *text, size_t length, size_t *expected)
{
    shape_t shape = shape_of(text[0]);
    *expected = shape.length;
    size_t n = 1;
    while (n < shape.length && n < length) {
        // Only the second byte's range depends on the first; the others are 80..BF.
        unsigned char low = n == 1 ? shape.low : 0x80;
        unsigned char high = n == 1 ? shape.high : 0xBF;
        if (text[n] < low || text[n] > high) {
            break;
        }
        n++;
    }
    return n;
}

size_t tr_utf8_next(uint32_t *point, const char *text, size_t length)
{
    // by length: the bits of the first byte that belong to the code point
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t expected = 0;
    // expected is 0 for a byte that begins no character, and the subpart at least 1: they differ.
    if (length == 0 || subpart(bytes, length, &expected) != expected) {
        return 0;
    }
    uint32_t value = bytes[0] & mask[expected];
    for (size_t i = 1; i < expected; i++) {
        value = (value << 6) | (bytes[i] & 0x3FU);
    }
    if (point != NULL) {
        *point = value;
    }
    return expected;
}

size_t tr_utf8_put(char *text, uint32_t point)
{
    size_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    // by length: what marks the first byte
    static const unsigned char mark[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length - 1; i > 0; i--) {
        text[i] = (char)(0x80U | (point & 0x3FU));
        point >>= 6;
    }
    text[0] = (char)(mark[length] | point);
    return length;
}

size_t tr_utf8_valid(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        size_t n = tr_utf8_next(NULL, text + at, length - at);
        if (n == 0) {
            break;
        }
        at += n;
    }
    return at;
}

bool tr_utf8_is_space(uint32_t point)
{
    // A fixed list of 25 (PropList.txt): a library's tables would change with its version, and ids
    // with them.
    return (point >= 0x09 && point <= 0x0D) || point == 0x20 || point == 0x85 || point == 0xA0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 ||
           point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}

size_t tr_utf8_before(const char *text, size_t at)
{
    // Back over the bytes that continue a character, to where it begins.
    do {
        at--;
    } while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

size_t tr_utf8_space_before(const char *text, size_t from, size_t to)
{
    while (to > from) {
        size_t at = tr_utf8_before(text, to);
        uint32_t point = 0;
        if (tr_utf8_next(&point, text + at, to - at) == 0 || !tr_utf8_is_space(point)) {
            break;
        }
        to = at;
    }
    return to;
}

size_t tr_utf8_space_after(const char *text, size_t from, size_t to)
{
    uint32_t point = 0;
    for (size_t n;
         (n = tr_utf8_next(&point, text + from, to - from)) > 0 && tr_utf8_is_space(point);) {
        from += n;
    }
    return from;
}

void tr_utf8_drain(tr_bytes_t *out, tr_bytes_t *pending, bool end)
{
    size_t at = 0;
    // Well-formed stretches go as they are, one copy each; what lies between is looked at by
    // subparts.
    while (at < pending->length) {
        size_t valid = tr_utf8_valid(pending->data + at, pending->length - at);
        if (valid > 0) {
            tr_bytes_append(out, pending->data + at, valid);
            at += valid;
            continue;
        }
        size_t expected = 0;
        size_t left = pending->length - at;
        size_t n = subpart((const unsigned char *)pending->data + at, left, &expected);
        // The last bytes are the beginning of a character, and nothing says yet that it stays
        // incomplete.
        if (!end && n == left && n < expected) {
            break; // the start of a character whose rest may come
        }
        // One U+FFFD a subpart, as Python's and the WHATWG's decoders have it.
        tr_bytes_append(out, "\xEF\xBF\xBD", 3);
        at += n;
    }
    if (at > 0) {
        // At most three bytes are left: the start of one character.
        memmove(pending->data, pending->data + at, pending->length - at);
        pending->length -= at;
    }
}
