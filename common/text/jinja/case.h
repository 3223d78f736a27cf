/// Capital and small letters as Python's texts have them (of one character several may become), and
/// classes of characters.
#ifndef TR_TEXT_JINJA_CASE_H
#define TR_TEXT_JINJA_CASE_H

#include <stdbool.h>

#include "common/text/jinja/value.h"

typedef enum jinja_case {
    JINJA_LOWER,
    JINJA_UPPER,
    JINJA_TITLE ///< of a word's first letter
} jinja_case_t;

enum { JINJA_CASE_BYTES = 8 }; ///< that one character becomes at most

/// The character at text[at] in another case: bytes [JINJA_CASE_BYTES], written; their number.
size_t jinja_change_case(char *bytes, jinja_case_t to, jinja_text_t text, size_t at);

/// Unicode's Cased, Lowercase and Uppercase; a title letter is neither of the last two.
bool jinja_is_cased(uint32_t point);
bool jinja_is_lower(uint32_t point);
bool jinja_is_upper(uint32_t point);
bool jinja_is_title(uint32_t point);
bool jinja_is_alpha(uint32_t point);
/// Whether repr writes it as it is: no control character, no separator but the space.
bool jinja_is_printable(uint32_t point);

#endif
