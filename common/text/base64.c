// Base64, three bytes to four characters.
#include "common/text/base64.h"

#include <stdint.h>
#include <string.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool tr_base64_decode(tr_bytes_t *out, const char *text, size_t length)
{
    while (length > 0 && length % 4 == 0 && text[length - 1] == '=' &&
           (text[length - 2] != '=' || text[length - 3] != '=')) {
        length--; // at most two, which leaves 2 or 3 of the last four
        if (text[length - 1] == '=') {
            length--;
        }
    }
    uint32_t bits = 0;
    for (size_t i = 0; i < length; i++) {
        const char *at = text[i] == '\0' ? NULL : strchr(ALPHABET, text[i]);
        if (at == NULL) {
            return false;
        }
        bits = bits << 6 | (uint32_t)(at - ALPHABET);
        if (i % 4 > 0) { // a byte is whole with the second, third and fourth character
            char byte = (char)(bits >> (6 - 2 * (i % 4)));
            tr_bytes_append(out, &byte, 1);
        }
    }
    return length % 4 != 1;
}

char *tr_base64_encode(const char *bytes, size_t length)
{
    tr_bytes_t out = {0};
    tr_bytes_reserve(&out, length / 3 * 4 + 4);
    for (size_t i = 0; i < length; i += 3) {
        uint32_t bits = 0;
        for (size_t n = 0; n < 3; n++) {
            bits = bits << 8 | (i + n < length ? (unsigned char)bytes[i + n] : 0U);
        }
        for (size_t n = 0; n < 4; n++) {
            bool there = i + n <= length;
            tr_bytes_append(&out, there ? &ALPHABET[bits >> (18 - 6 * n) & 63] : "=", 1);
        }
    }
    tr_bytes_append(&out, "", 0);
    return out.data;
}
