/// What Unicode says of a character, in the versions that the `tokenizers` library has, whatever
/// versions the distribution's PCRE2 and utf8proc have: ids must not depend on those.
#ifndef TR_TEXT_UNICODE_H
#define TR_TEXT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/// The character that a regular expression must see in place of this one, as many bytes long: the
/// same one, but where PCRE2's classes differ from Oniguruma's.
uint32_t tr_unicode_stand_in(uint32_t point);

/// Whether normal forms leave the character alone, and what stands on its two sides apart.
bool tr_unicode_is_later(uint32_t point);

/// The small letter of a capital one, else the character itself. (U+0130 becomes two characters,
/// and is left to the caller.)
uint32_t tr_unicode_lower(uint32_t point);

#endif
