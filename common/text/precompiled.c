// The normalizer Precompiled: SentencePiece's character map, a double array (Aoe 1989, as Darts has
// it) from UTF-8 to places in a buffer of NUL terminated texts. What the `tokenizers` library does
// with it, it does to whole characters of a reader (grapheme clusters): of one below six bytes the
// shortest prefix that the map has replaces all of it.
#include <string.h>

#include "common/text/base64.h"
#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

enum { SHORT = 6 }; // bytes of a cluster from which on it is replaced code point by code point

static uint32_t little_endian(const char *bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/// stage->text: the map as SentencePiece has it: the array's bytes, the array, the texts.
tr_status tr_precompiled_parse(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    const json_t *map = json_object_get(node, "precompiled_charsmap");
    tr_bytes_t *text = &stage->text;
    if (!json_is_string(map) ||
        !tr_base64_decode(text, json_string_value(map), json_string_length(map)) ||
        text->length < 4 || little_endian(text->data) > text->length - 4 ||
        little_endian(text->data) % 4 != 0) {
        return tr_fail(err, TR_ERR_FORMAT, "expected a precompiled_charsmap in base64");
    }
    // Marks that Unicode has since PCRE2's.
    return tr_text_stage_look_for(stage, "\\X(?:[\\x{897}\\x{CF3}\\x{ECE}]\\p{M}*)*",
                                  TR_PATTERN_PCRE2, TR_CUT_ISOLATED, err);
}

/// Where the text begins that replaces the shortest prefix in the map; 0 if there is none.
static size_t find(const tr_bytes_t *map, const char *text, size_t length)
{
    size_t units = little_endian(map->data) / 4, node = 0;
    const char *array = map->data + 4;
    for (size_t i = 0; node < units; i++) {
        uint32_t unit = little_endian(array + 4 * node);
        uint32_t offset = unit >> 10 << ((unit & 1U << 9) >> 6);
        node ^= offset;
        if (i > 0 && (unit >> 8 & 1) != 0) { // a text ends here, and its place is in the next unit
            size_t at =
                node >= units ? 0 : 4 + 4 * units + (little_endian(array + 4 * node) & 0x7FFFFFFFU);
            return at < map->length ? at : 0;
        }
        if (i == length || text[i] == '\0') {
            return 0;
        }
        node ^= (unsigned char)text[i];
        if (node >= units ||
            (little_endian(array + 4 * node) & 0x800000FFU) != (unsigned char)text[i]) {
            return 0;
        }
    }
    return 0;
}

/// A text on its way through the map.
typedef struct rewriting {
    const tr_bytes_t *map;
    const char *text;
    tr_bytes_t out;
} rewriting_t;

/// Appends what replaces a text, if anything does.
static bool replace(rewriting_t *r, const char *text, size_t length)
{
    size_t at = find(r->map, text, length);
    if (at == 0) {
        return false;
    }
    // The map's bytes end with a NUL of their own (tr_bytes_t).
    tr_bytes_append(&r->out, r->map->data + at, strlen(r->map->data + at));
    return true;
}

/// A cluster, or what is none.
static tr_status rewrite(void *context, size_t start, size_t end, bool match)
{
    rewriting_t *r = context;
    if (match && end - start < SHORT && replace(r, r->text + start, end - start)) {
        return TR_OK;
    }
    for (size_t at = start, n; at < end; at += n) {
        n = tr_utf8_next(NULL, r->text + at, end - at);
        if (!replace(r, r->text + at, n)) {
            tr_bytes_append(&r->out, r->text + at, n);
        }
    }
    return TR_OK;
}

tr_status tr_precompiled_normalize(tr_bytes_t *text, const tr_text_stage_t *stage,
                                   tr_text_place_t *place, tr_error_t *err)
{
    (void)place;
    rewriting_t r = {.map = &stage->text, .text = text->data};
    tr_bytes_reserve(&r.out, text->length);
    tr_status status = tr_pattern_find(stage->pattern, text->data, text->length, rewrite, &r, err);
    if (status != TR_OK) {
        tr_bytes_release(&r.out);
        return status;
    }
    tr_bytes_release(text);
    *text = r.out;
    return TR_OK;
}
