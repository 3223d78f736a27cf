// Numbers and texts as a recipe writes them: the same bytes for the same value.
//
// recipe.yaml of a run is compared byte for byte (`troupe sample` does, and so do tests), and must
// load back to the same values. print.c calls this.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"
#include "common/text/utf8.h"

/// As few digits as read back, in the form "3e-06"; *digits: how many, *power: of ten.
static void shortest(char *text, size_t size, int *digits, int *power, double value)
{
    enum { ENOUGH = 17 }; // to tell any two doubles apart
    // the fewest digits are found by trying: printing is rare and this is exact
    for (*digits = 1; *digits <= ENOUGH; ++*digits) {
        snprintf(text, size, "%.*e", *digits - 1, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    // %e always writes an exponent
    *power = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
}

char *recipe_real_format(double value)
{
    char text[40];
    int digits;
    int power;
    shortest(text, sizeof text, &digits, &power, value);
    // plain notation where it is short; the same bounds as Python's repr
    if (power >= -4 && power < 15) {
        int decimals = digits - 1 - power;
        return tr_format("%.*f", decimals < 1 ? 1 : decimals, value);
    }
    // the exponent is written without leading zeros: "3.0e-6"
    int mantissa = (int)strcspn(text, "e");
    const char *point = digits == 1 ? ".0" : ""; // YAML 1.1 knows no number without
    return tr_format("%.*s%se%+d", mantissa, text, point, power);
}

/// A letter or slash, then letters, digits and what has no meaning in YAML.
static bool has_plain_form(const char *text)
{
    // no digit first: 1.5 and 0x10 would be numbers
    size_t head = strspn(text, RECIPE_LETTERS "/");
    // anything else is quoted, though YAML would take much of it unquoted
    size_t good = strspn(text, RECIPE_LETTERS "0123456789_./-");
    return head > 0 && text[good] == '\0';
}

/// Whether some YAML reads the word as a truth value or null. YAML 1.1 has more truth values than
/// YAML 1.2; both must read the text as a text.
static bool is_reserved(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(words[i], text) == 0) {
            return true;
        }
    }
    return false;
}

/// Control characters, line breaks and what a YAML stream must not hold.
static bool needs_escape(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code <= 0xA0) || code == 0x2028 || code == 0x2029 ||
           code == 0xFEFF || code == 0xFFFE || code == 0xFFFF;
}

/// In double quotes, where YAML and JSON know the same escapes.
static void write_quoted(FILE *out, const char *text)
{
    size_t length;
    fputc('"', out);
    for (; *text != '\0'; text += length) {
        // YAML brings UTF-8 only; a byte that is none would be written as it is
        uint32_t code = 0xFFFD;
        length = tr_utf8_next(&code, text, strlen(text));
        length += length == 0;
        // the characters that would end the text or begin an escape
        if (code == '"' || code == '\\') {
            fprintf(out, "\\%c", (int)code);
        } else if (code == '\n') {
            fputs("\\n", out);
        } else if (code == '\t') {
            fputs("\\t", out);
        } else if (needs_escape(code)) {
            fprintf(out, code < 0x100 ? "\\x%02X" : "\\u%04X", code);
        } else {
            fwrite(text, 1, length, out);
        }
    }
    fputc('"', out);
}

/// Plain where every YAML reads the same text, else quoted.
char *recipe_text_format(const char *text)
{
    if (has_plain_form(text) && !is_reserved(text)) {
        return tr_strdup(text);
    }
    char *quoted = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&quoted, &size);
    TR_ASSERT(out != NULL, "out of memory");
    write_quoted(out, text);
    TR_ASSERT(fclose(out) == 0, "out of memory");
    return quoted;
}
