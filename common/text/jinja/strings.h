/// Texts as Python has them: characters are code points, and white space is Unicode's.
#ifndef TR_TEXT_JINJA_STRINGS_H
#define TR_TEXT_JINJA_STRINGS_H

#include <stdbool.h>

#include "common/text/jinja/value.h"
#include "common/text/utf8.h"

/// The character as UTF-8: bytes [4], written; its length, 0 for what is no character.
size_t jinja_utf8_put(char *bytes, uint32_t point);

/// Bytes of white space at the start and at the end of a text.
size_t jinja_leading_space(const char *text, size_t length);
size_t jinja_trailing_space(const char *text, size_t length);

/// Without the characters of `set` (NULL: white space) at the start, the end.
jinja_text_t jinja_strip(jinja_text_t text, const jinja_text_t *set, bool start, bool end);

/// Characters of a text, and the byte at which the index-th begins (its length past the end).
size_t jinja_count(jinja_text_t text);
size_t jinja_offset(jinja_text_t text, size_t index);

/// Where `part` stands in text, from byte `from` on (find) or last (rfind); SIZE_MAX: nowhere.
size_t jinja_find(jinja_text_t text, jinja_text_t part, size_t from);
size_t jinja_rfind(jinja_text_t text, jinja_text_t part);
bool jinja_starts(jinja_text_t text, jinja_text_t part);
bool jinja_ends(jinja_text_t text, jinja_text_t part);
bool jinja_text_equal(jinja_text_t a, jinja_text_t b);
/// Less than, equal to or greater than 0, by code points.
int jinja_text_compare(jinja_text_t a, jinja_text_t b);

/// Bytes of the first line, and of its end in *ending (0 at the text's end), as str.splitlines.
size_t jinja_line(size_t *ending, jinja_text_t text);

#endif
