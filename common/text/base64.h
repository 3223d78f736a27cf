/// Base64 (RFC 4648, section 4), as vocabularies and character maps are written.
#ifndef TR_TEXT_BASE64_H
#define TR_TEXT_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "common/text/utf8.h"

/// Appends what `length` characters of base64 stand for. False where they are none.
bool tr_base64_decode(tr_bytes_t *out, const char *text, size_t length);

/// The base64 of `length` bytes. Owned by the caller (free), NUL terminated.
char *tr_base64_encode(const char *bytes, size_t length);

#endif
