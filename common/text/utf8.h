/// UTF-8, byte by byte, and growing buffers of bytes and ids, which the tokenizer and its callers
/// share.
#ifndef TR_TEXT_UTF8_H
#define TR_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// A string that grows. {0} is empty; release frees it. data is NUL terminated once anything was
/// appended.
typedef struct tr_bytes {
    char *data;
    size_t length; ///< without the NUL
    size_t capacity;
} tr_bytes_t;

void tr_bytes_append(tr_bytes_t *bytes, const char *data, size_t length);
/// Room for so many bytes in all, without a change of what is there.
void tr_bytes_reserve(tr_bytes_t *bytes, size_t length);
void tr_bytes_release(tr_bytes_t *bytes);

/// Token ids that grow. {0} is empty; release frees it.
typedef struct tr_ids {
    int32_t *data; // [count]
    size_t count;
    size_t capacity;
} tr_ids_t;

void tr_ids_append(tr_ids_t *ids, int32_t id);
/// more: [count].
void tr_ids_extend(tr_ids_t *ids, const int32_t *more, size_t count);
void tr_ids_release(tr_ids_t *ids);

/// Length (1..4) of the well-formed character at text, and its code point; 0 if the first of
/// `length` bytes starts none (or length is 0). point may be NULL.
size_t tr_utf8_next(uint32_t *point, const char *text, size_t length);

/// Writes the character's UTF-8 and returns its length (1..4). text: room for four bytes.
size_t tr_utf8_put(char *text, uint32_t point);

/// How many leading bytes are well-formed UTF-8: `length` if all are.
size_t tr_utf8_valid(const char *text, size_t length);

/// Where the character starts that ends at text[at], at >= 1.
size_t tr_utf8_before(const char *text, size_t at);

/// Where the white space that ends text[from .. to) starts; `to` if there is none.
size_t tr_utf8_space_before(const char *text, size_t from, size_t to);

/// Where the white space that text[from .. to) starts with ends; `from` if there is none.
size_t tr_utf8_space_after(const char *text, size_t from, size_t to);

/// Unicode's White_Space property.
bool tr_utf8_is_space(uint32_t point);

/// Moves bytes from the front of pending to out as text, each maximal ill-formed part as U+FFFD
/// ("U+FFFD substitution of maximal subparts", section 3.9 of Unicode). The start of a character
/// that later bytes may complete stays in pending, unless `end`.
void tr_utf8_drain(tr_bytes_t *out, tr_bytes_t *pending, bool end);

#endif
