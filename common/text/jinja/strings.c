// Python's texts on UTF-8.
#include "common/text/jinja/strings.h"

#include <string.h>

size_t jinja_utf8_put(char *bytes, uint32_t point)
{
    if (point < 0x80) {
        bytes[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        bytes[0] = (char)(0xC0 | point >> 6);
        bytes[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point >= 0x110000 || (point >= 0xD800 && point < 0xE000)) {
        return 0;
    }
    size_t length = point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, point >>= 6) {
        bytes[i] = (char)(0x80 | (point & 0x3F));
    }
    bytes[0] = (char)((length == 3 ? 0xE0 : 0xF0) | point);
    return length;
}

// White space

/// Python's: Unicode's White_Space and four control characters.
static bool is_space(uint32_t point)
{
    return tr_utf8_is_space(point) || (point >= 0x1C && point <= 0x1F);
}

static bool is_one_of(uint32_t point, const jinja_text_t *set)
{
    for (size_t at = 0, n; set != NULL && at < set->length; at += n) {
        uint32_t other = 0;
        n = tr_utf8_next(&other, set->data + at, set->length - at);
        if (other == point) {
            return true;
        }
    }
    return set == NULL && is_space(point);
}

jinja_text_t jinja_strip(jinja_text_t text, const jinja_text_t *set, bool start, bool end)
{
    size_t from = 0, to = text.length;
    uint32_t point = 0;
    while (start && from < to) {
        size_t n = tr_utf8_next(&point, text.data + from, to - from);
        if (!is_one_of(point, set)) {
            break;
        }
        from += n;
    }
    while (end && from < to) {
        size_t last = to - 1;
        while ((text.data[last] & 0xC0) == 0x80) { // inside a character
            last--;
        }
        tr_utf8_next(&point, text.data + last, to - last);
        if (!is_one_of(point, set)) {
            break;
        }
        to = last;
    }
    return (jinja_text_t){text.data + from, to - from};
}

size_t jinja_leading_space(const char *text, size_t length)
{
    return length - jinja_strip((jinja_text_t){text, length}, NULL, true, false).length;
}

size_t jinja_trailing_space(const char *text, size_t length)
{
    return length - jinja_strip((jinja_text_t){text, length}, NULL, false, true).length;
}

// Places

size_t jinja_count(jinja_text_t text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++) {
        count += (text.data[i] & 0xC0) != 0x80;
    }
    return count;
}

size_t jinja_offset(jinja_text_t text, size_t index)
{
    size_t at = 0;
    while (at < text.length && ((text.data[at] & 0xC0) == 0x80 || index-- > 0)) {
        at++;
    }
    return at;
}

size_t jinja_find(jinja_text_t text, jinja_text_t part, size_t from)
{
    if (part.length == 0) {
        return from <= text.length ? from : SIZE_MAX;
    }
    const char *found = from >= text.length
                            ? NULL
                            : memmem(text.data + from, text.length - from, part.data, part.length);
    return found == NULL ? SIZE_MAX : (size_t)(found - text.data);
}

size_t jinja_rfind(jinja_text_t text, jinja_text_t part)
{
    for (size_t at = text.length + 1; at-- > 0;) {
        jinja_text_t rest = {text.data + at, text.length - at};
        if (jinja_starts(rest, part)) {
            return at;
        }
    }
    return SIZE_MAX;
}

bool jinja_starts(jinja_text_t text, jinja_text_t part)
{
    return part.length <= text.length &&
           (part.length == 0 || memcmp(text.data, part.data, part.length) == 0);
}

bool jinja_ends(jinja_text_t text, jinja_text_t part)
{
    return part.length <= text.length &&
           jinja_starts((jinja_text_t){text.data + text.length - part.length, part.length}, part);
}

bool jinja_text_equal(jinja_text_t a, jinja_text_t b)
{
    return a.length == b.length && jinja_starts(a, b);
}

/// UTF-8's order of bytes is that of code points.
int jinja_text_compare(jinja_text_t a, jinja_text_t b)
{
    size_t both = a.length < b.length ? a.length : b.length;
    int order = both == 0 ? 0 : memcmp(a.data, b.data, both);
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static bool ends_line(uint32_t point)
{
    return (point >= 0x0A && point <= 0x0D) || (point >= 0x1C && point <= 0x1E) || point == 0x85 ||
           point == 0x2028 || point == 0x2029;
}

size_t jinja_line(size_t *ending, jinja_text_t text)
{
    for (size_t at = 0, n; at < text.length; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text.data + at, text.length - at);
        if (ends_line(point)) {
            bool pair = point == '\r' && at + 1 < text.length && text.data[at + 1] == '\n';
            *ending = pair ? 2 : n;
            return at;
        }
    }
    *ending = 0;
    return text.length;
}
