// Cases of letters: the C library's table of Unicode says what one letter becomes, and a table here
// what becomes several, or has a title form of its own (Unicode's SpecialCasing, as str.upper and
// str.title of Python 3.11 have it). Classes are PCRE2's.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/text/jinja/case.h"

#include <locale.h>
#include <pcre2.h>
#include <pthread.h>
#include <stdlib.h>
#include <wctype.h>

#include "common/text/jinja/strings.h"

static const struct special {
    uint32_t point;
    const char *upper, *title;
} SPECIALS[] = {
    {0xDF, "SS", "Ss"},
    {0x149, "\xCA\xBCN", "\xCA\xBCN"},
    {0x1C4, "\xC7\x84", "\xC7\x85"},
    {0x1C5, "\xC7\x84", "\xC7\x85"},
    {0x1C6, "\xC7\x84", "\xC7\x85"},
    {0x1C7, "\xC7\x87", "\xC7\x88"},
    {0x1C8, "\xC7\x87", "\xC7\x88"},
    {0x1C9, "\xC7\x87", "\xC7\x88"},
    {0x1CA, "\xC7\x8A", "\xC7\x8B"},
    {0x1CB, "\xC7\x8A", "\xC7\x8B"},
    {0x1CC, "\xC7\x8A", "\xC7\x8B"},
    {0x1F0, "J\xCC\x8C", "J\xCC\x8C"},
    {0x1F1, "\xC7\xB1", "\xC7\xB2"},
    {0x1F2, "\xC7\xB1", "\xC7\xB2"},
    {0x1F3, "\xC7\xB1", "\xC7\xB2"},
    {0x390, "\xCE\x99\xCC\x88\xCC\x81", "\xCE\x99\xCC\x88\xCC\x81"},
    {0x3B0, "\xCE\xA5\xCC\x88\xCC\x81", "\xCE\xA5\xCC\x88\xCC\x81"},
    {0x587, "\xD4\xB5\xD5\x92", "\xD4\xB5\xD6\x82"},
    {0x1E96, "H\xCC\xB1", "H\xCC\xB1"},
    {0x1E97, "T\xCC\x88", "T\xCC\x88"},
    {0x1E98, "W\xCC\x8A", "W\xCC\x8A"},
    {0x1E99, "Y\xCC\x8A", "Y\xCC\x8A"},
    {0x1E9A, "A\xCA\xBE", "A\xCA\xBE"},
    {0x1F50, "\xCE\xA5\xCC\x93", "\xCE\xA5\xCC\x93"},
    {0x1F52, "\xCE\xA5\xCC\x93\xCC\x80", "\xCE\xA5\xCC\x93\xCC\x80"},
    {0x1F54, "\xCE\xA5\xCC\x93\xCC\x81", "\xCE\xA5\xCC\x93\xCC\x81"},
    {0x1F56, "\xCE\xA5\xCC\x93\xCD\x82", "\xCE\xA5\xCC\x93\xCD\x82"},
    {0x1F80, "\xE1\xBC\x88\xCE\x99", "\xE1\xBE\x88"},
    {0x1F81, "\xE1\xBC\x89\xCE\x99", "\xE1\xBE\x89"},
    {0x1F82, "\xE1\xBC\x8A\xCE\x99", "\xE1\xBE\x8A"},
    {0x1F83, "\xE1\xBC\x8B\xCE\x99", "\xE1\xBE\x8B"},
    {0x1F84, "\xE1\xBC\x8C\xCE\x99", "\xE1\xBE\x8C"},
    {0x1F85, "\xE1\xBC\x8D\xCE\x99", "\xE1\xBE\x8D"},
    {0x1F86, "\xE1\xBC\x8E\xCE\x99", "\xE1\xBE\x8E"},
    {0x1F87, "\xE1\xBC\x8F\xCE\x99", "\xE1\xBE\x8F"},
    {0x1F88, "\xE1\xBC\x88\xCE\x99", "\xE1\xBE\x88"},
    {0x1F89, "\xE1\xBC\x89\xCE\x99", "\xE1\xBE\x89"},
    {0x1F8A, "\xE1\xBC\x8A\xCE\x99", "\xE1\xBE\x8A"},
    {0x1F8B, "\xE1\xBC\x8B\xCE\x99", "\xE1\xBE\x8B"},
    {0x1F8C, "\xE1\xBC\x8C\xCE\x99", "\xE1\xBE\x8C"},
    {0x1F8D, "\xE1\xBC\x8D\xCE\x99", "\xE1\xBE\x8D"},
    {0x1F8E, "\xE1\xBC\x8E\xCE\x99", "\xE1\xBE\x8E"},
    {0x1F8F, "\xE1\xBC\x8F\xCE\x99", "\xE1\xBE\x8F"},
    {0x1F90, "\xE1\xBC\xA8\xCE\x99", "\xE1\xBE\x98"},
    {0x1F91, "\xE1\xBC\xA9\xCE\x99", "\xE1\xBE\x99"},
    {0x1F92, "\xE1\xBC\xAA\xCE\x99", "\xE1\xBE\x9A"},
    {0x1F93, "\xE1\xBC\xAB\xCE\x99", "\xE1\xBE\x9B"},
    {0x1F94, "\xE1\xBC\xAC\xCE\x99", "\xE1\xBE\x9C"},
    {0x1F95, "\xE1\xBC\xAD\xCE\x99", "\xE1\xBE\x9D"},
    {0x1F96, "\xE1\xBC\xAE\xCE\x99", "\xE1\xBE\x9E"},
    {0x1F97, "\xE1\xBC\xAF\xCE\x99", "\xE1\xBE\x9F"},
    {0x1F98, "\xE1\xBC\xA8\xCE\x99", "\xE1\xBE\x98"},
    {0x1F99, "\xE1\xBC\xA9\xCE\x99", "\xE1\xBE\x99"},
    {0x1F9A, "\xE1\xBC\xAA\xCE\x99", "\xE1\xBE\x9A"},
    {0x1F9B, "\xE1\xBC\xAB\xCE\x99", "\xE1\xBE\x9B"},
    {0x1F9C, "\xE1\xBC\xAC\xCE\x99", "\xE1\xBE\x9C"},
    {0x1F9D, "\xE1\xBC\xAD\xCE\x99", "\xE1\xBE\x9D"},
    {0x1F9E, "\xE1\xBC\xAE\xCE\x99", "\xE1\xBE\x9E"},
    {0x1F9F, "\xE1\xBC\xAF\xCE\x99", "\xE1\xBE\x9F"},
    {0x1FA0, "\xE1\xBD\xA8\xCE\x99", "\xE1\xBE\xA8"},
    {0x1FA1, "\xE1\xBD\xA9\xCE\x99", "\xE1\xBE\xA9"},
    {0x1FA2, "\xE1\xBD\xAA\xCE\x99", "\xE1\xBE\xAA"},
    {0x1FA3, "\xE1\xBD\xAB\xCE\x99", "\xE1\xBE\xAB"},
    {0x1FA4, "\xE1\xBD\xAC\xCE\x99", "\xE1\xBE\xAC"},
    {0x1FA5, "\xE1\xBD\xAD\xCE\x99", "\xE1\xBE\xAD"},
    {0x1FA6, "\xE1\xBD\xAE\xCE\x99", "\xE1\xBE\xAE"},
    {0x1FA7, "\xE1\xBD\xAF\xCE\x99", "\xE1\xBE\xAF"},
    {0x1FA8, "\xE1\xBD\xA8\xCE\x99", "\xE1\xBE\xA8"},
    {0x1FA9, "\xE1\xBD\xA9\xCE\x99", "\xE1\xBE\xA9"},
    {0x1FAA, "\xE1\xBD\xAA\xCE\x99", "\xE1\xBE\xAA"},
    {0x1FAB, "\xE1\xBD\xAB\xCE\x99", "\xE1\xBE\xAB"},
    {0x1FAC, "\xE1\xBD\xAC\xCE\x99", "\xE1\xBE\xAC"},
    {0x1FAD, "\xE1\xBD\xAD\xCE\x99", "\xE1\xBE\xAD"},
    {0x1FAE, "\xE1\xBD\xAE\xCE\x99", "\xE1\xBE\xAE"},
    {0x1FAF, "\xE1\xBD\xAF\xCE\x99", "\xE1\xBE\xAF"},
    {0x1FB2, "\xE1\xBE\xBA\xCE\x99", "\xE1\xBE\xBA\xCD\x85"},
    {0x1FB3, "\xCE\x91\xCE\x99", "\xE1\xBE\xBC"},
    {0x1FB4, "\xCE\x86\xCE\x99", "\xCE\x86\xCD\x85"},
    {0x1FB6, "\xCE\x91\xCD\x82", "\xCE\x91\xCD\x82"},
    {0x1FB7, "\xCE\x91\xCD\x82\xCE\x99", "\xCE\x91\xCD\x82\xCD\x85"},
    {0x1FBC, "\xCE\x91\xCE\x99", "\xE1\xBE\xBC"},
    {0x1FC2, "\xE1\xBF\x8A\xCE\x99", "\xE1\xBF\x8A\xCD\x85"},
    {0x1FC3, "\xCE\x97\xCE\x99", "\xE1\xBF\x8C"},
    {0x1FC4, "\xCE\x89\xCE\x99", "\xCE\x89\xCD\x85"},
    {0x1FC6, "\xCE\x97\xCD\x82", "\xCE\x97\xCD\x82"},
    {0x1FC7, "\xCE\x97\xCD\x82\xCE\x99", "\xCE\x97\xCD\x82\xCD\x85"},
    {0x1FCC, "\xCE\x97\xCE\x99", "\xE1\xBF\x8C"},
    {0x1FD2, "\xCE\x99\xCC\x88\xCC\x80", "\xCE\x99\xCC\x88\xCC\x80"},
    {0x1FD3, "\xCE\x99\xCC\x88\xCC\x81", "\xCE\x99\xCC\x88\xCC\x81"},
    {0x1FD6, "\xCE\x99\xCD\x82", "\xCE\x99\xCD\x82"},
    {0x1FD7, "\xCE\x99\xCC\x88\xCD\x82", "\xCE\x99\xCC\x88\xCD\x82"},
    {0x1FE2, "\xCE\xA5\xCC\x88\xCC\x80", "\xCE\xA5\xCC\x88\xCC\x80"},
    {0x1FE3, "\xCE\xA5\xCC\x88\xCC\x81", "\xCE\xA5\xCC\x88\xCC\x81"},
    {0x1FE4, "\xCE\xA1\xCC\x93", "\xCE\xA1\xCC\x93"},
    {0x1FE6, "\xCE\xA5\xCD\x82", "\xCE\xA5\xCD\x82"},
    {0x1FE7, "\xCE\xA5\xCC\x88\xCD\x82", "\xCE\xA5\xCC\x88\xCD\x82"},
    {0x1FF2, "\xE1\xBF\xBA\xCE\x99", "\xE1\xBF\xBA\xCD\x85"},
    {0x1FF3, "\xCE\xA9\xCE\x99", "\xE1\xBF\xBC"},
    {0x1FF4, "\xCE\x8F\xCE\x99", "\xCE\x8F\xCD\x85"},
    {0x1FF6, "\xCE\xA9\xCD\x82", "\xCE\xA9\xCD\x82"},
    {0x1FF7, "\xCE\xA9\xCD\x82\xCE\x99", "\xCE\xA9\xCD\x82\xCD\x85"},
    {0x1FFC, "\xCE\xA9\xCE\x99", "\xE1\xBF\xBC"},
    {0xFB00, "FF", "Ff"},
    {0xFB01, "FI", "Fi"},
    {0xFB02, "FL", "Fl"},
    {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"},
    {0xFB05, "ST", "St"},
    {0xFB06, "ST", "St"},
    {0xFB13, "\xD5\x84\xD5\x86", "\xD5\x84\xD5\xB6"},
    {0xFB14, "\xD5\x84\xD4\xB5", "\xD5\x84\xD5\xA5"},
    {0xFB15, "\xD5\x84\xD4\xBB", "\xD5\x84\xD5\xAB"},
    {0xFB16, "\xD5\x8E\xD5\x86", "\xD5\x8E\xD5\xB6"},
    {0xFB17, "\xD5\x84\xD4\xBD", "\xD5\x84\xD5\xAD"},
};

enum { SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, DOTTED_I = 0x130 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t unicode; // never freed: the process's
static pcre2_code *cased, *ignorable, *lower, *upper, *title, *alphabetic, *unprintable;

static pcre2_code *compiled(const char *class)
{
    int error;
    PCRE2_SIZE place;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR) class, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &error, &place, NULL);
    TR_ASSERT(code != NULL, "PCRE2 has no %s", class);
    return code;
}

static void prepare(void)
{
    unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    TR_ASSERT(unicode != (locale_t)0, "the C library has no Unicode");
    cased = compiled("\\p{Cased}");
    ignorable = compiled("\\p{Case_Ignorable}");
    lower = compiled("\\p{Lowercase}");
    upper = compiled("\\p{Uppercase}");
    title = compiled("\\p{Lt}");
    alphabetic = compiled("\\p{L}");
    unprintable = compiled("[\\p{C}\\p{Z}]");
}

static bool matches(pcre2_code *const *class, uint32_t point)
{
    pthread_once(&once, prepare);
    char bytes[4];
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    int found =
        pcre2_match(*class, (PCRE2_SPTR)bytes, jinja_utf8_put(bytes, point), 0, 0, data, NULL);
    pcre2_match_data_free(data);
    return found > 0;
}

bool jinja_is_alpha(uint32_t point)
{
    return matches(&alphabetic, point);
}

bool jinja_is_printable(uint32_t point)
{
    return point == ' ' || (point > ' ' && point < 0x7F) ||
           (point >= 0x80 && !matches(&unprintable, point));
}

bool jinja_is_cased(uint32_t point)
{
    return matches(&cased, point);
}

bool jinja_is_lower(uint32_t point)
{
    return matches(&lower, point);
}

bool jinja_is_upper(uint32_t point)
{
    return matches(&upper, point);
}

bool jinja_is_title(uint32_t point)
{
    return matches(&title, point);
}

/// Copies a text of a table. Returns its bytes.
static size_t put(char *bytes, const char *becomes)
{
    size_t length = 0;
    for (; becomes[length] != '\0'; length++) {
        bytes[length] = becomes[length];
    }
    return length;
}

/// Whether a sigma at text[at] ends a word: a letter stands before it and none behind it, but for
/// characters that such a look passes over (Unicode's Final_Sigma).
static bool ends_word(jinja_text_t text, size_t at)
{
    uint32_t point = 0;
    size_t before = at, behind = at + 2;
    do {
        if (before == 0) {
            return false;
        }
        before = tr_utf8_before(text.data, before);
        tr_utf8_next(&point, text.data + before, at - before);
    } while (matches(&ignorable, point));
    if (!jinja_is_cased(point)) {
        return false;
    }
    do {
        if (behind >= text.length) {
            return true;
        }
        behind += tr_utf8_next(&point, text.data + behind, text.length - behind);
    } while (matches(&ignorable, point));
    return !jinja_is_cased(point);
}

static size_t put_lower(char *bytes, jinja_text_t text, size_t at, uint32_t point)
{
    if (point == DOTTED_I) { // i and a dot
        return put(bytes, "i\xCC\x87");
    }
    bool final = point == SIGMA && ends_word(text, at);
    return jinja_utf8_put(bytes,
                          final ? FINAL_SIGMA : (uint32_t)towlower_l((wint_t)point, unicode));
}

static int by_point(const void *key, const void *row)
{
    uint32_t point = *(const uint32_t *)key, other = ((const struct special *)row)->point;
    return point < other ? -1 : point > other;
}

size_t jinja_change_case(char *bytes, jinja_case_t to, jinja_text_t text, size_t at)
{
    pthread_once(&once, prepare);
    uint32_t point = 0;
    tr_utf8_next(&point, text.data + at, text.length - at);
    if (to == JINJA_LOWER) {
        return put_lower(bytes, text, at, point);
    }
    const struct special *special =
        bsearch(&point, SPECIALS, sizeof SPECIALS / sizeof *SPECIALS, sizeof *SPECIALS, by_point);
    if (special != NULL) {
        return put(bytes, to == JINJA_UPPER ? special->upper : special->title);
    }
    // Georgian's capital letters are for whole words alone.
    bool georgian = to == JINJA_TITLE && point >= 0x10D0 && point <= 0x10FF;
    return jinja_utf8_put(bytes, georgian ? point : (uint32_t)towupper_l((wint_t)point, unicode));
}
