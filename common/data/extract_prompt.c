// Implicit prompts of pairs: a rule of TRL's with corners (a space, a shared character's bytes, one
// side that begins with the other), so it has a file and a test of its own. kinds.c calls it.
#include "common/data/extract_prompt.h"

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

/// Whether a byte of UTF-8 continues a character.
static bool continues(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/// Bytes of the prompt of two texts.
static size_t common_text(const char *a, const char *b)
{
    // Bytes are compared, not characters: of two characters that differ, the first bytes may be
    // equal.
    size_t n = 0, last = 0;
    while (a[n] != '\0' && a[n] == b[n]) {
        if (!continues(a[n])) {
            last = n; // where the last common character begins
        }
        n++;
    }
    if (a[n] == '\0' || b[n] == '\0') {
        return last; // one text begins with the whole other
    }
    while (n > 0 && continues(a[n])) {
        n--; // the texts part within a character
    }
    return n > 0 && a[n - 1] == ' ' ? n - 1 : n;
}

/// Messages of the prompt of two conversations.
static size_t common_messages(const json_t *a, const json_t *b)
{
    size_t n = 0, sizes[2] = {json_array_size(a), json_array_size(b)};
    size_t shorter = sizes[0] < sizes[1] ? sizes[0] : sizes[1];
    while (n < shorter && json_equal(json_array_get(a, n), json_array_get(b, n))) {
        n++;
    }
    // A side that is the beginning of the other keeps its last message as its completion.
    return n == shorter && n > 0 ? n - 1 : n;
}

/// The part first..end-1 of a text (bytes) or a conversation (messages); a new reference.
static json_t *slice(const json_t *value, size_t first, size_t end)
{
    if (json_is_string(value)) {
        json_t *text = json_stringn(json_string_value(value) + first, end - first);
        TR_ASSERT(text != NULL, "bytes %zu to %zu are no text", first, end);
        return text;
    }
    json_t *messages = json_array();
    for (size_t i = first; i < end; i++) {
        json_array_append(messages, json_array_get(value, i));
    }
    return messages;
}

static size_t size_of(const json_t *value)
{
    return json_is_string(value) ? json_string_length(value) : json_array_size(value);
}

void tr_extract_prompt(json_t **prompt, json_t *completions[2], const json_t *const sides[2])
{
    // Both sides are of one type: kinds.c has checked that.
    size_t n = json_is_string(sides[0])
                   ? common_text(json_string_value(sides[0]), json_string_value(sides[1]))
                   : common_messages(sides[0], sides[1]);
    *prompt = slice(sides[0], 0, n);
    for (int side = 0; side < 2; side++) {
        completions[side] = slice(sides[side], n, size_of(sides[side]));
    }
}
