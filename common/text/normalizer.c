// Normalizers: what a tokenizer does to a text before it is cut. A row of the table at the end is a
// type that tokenizer.json may name; a new one is its row and its function.
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"
#include "common/text/unicode.h"

/// What begins the text now has not begun it: the first character is gone. Nothing is put before a
/// first word then, as the library goes by where a piece lay.
static void leave_start(tr_text_place_t *place, bool moved)
{
    *place = moved && *place == TR_TEXT_BEGINS ? TR_TEXT_INSIDE : *place;
}

// Normal forms

/// Whether no normal form changes the text: all of it is ASCII, or, for the composed canonical one,
/// below the first combining mark.
static bool is_plain(const tr_bytes_t *text, bool composed)
{
    for (size_t i = 0; i < text->length; i++) {
        if ((unsigned char)text->data[i] >= (composed ? 0xCC : 0x80)) {
            return false;
        }
    }
    return true;
}

/// Appends the normal form of text without characters that tr_unicode_is_later.
static tr_status append_form(tr_bytes_t *out, const char *text, size_t length, int options,
                             tr_error_t *err)
{
    utf8proc_uint8_t *form = NULL;
    utf8proc_ssize_t count = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length,
                                          &form, (utf8proc_option_t)options);
    if (count < 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "cannot normalize text: %s", utf8proc_errmsg(count));
    }
    tr_bytes_append(out, (const char *)form, (size_t)count);
    free(form);
    return TR_OK;
}

/// Later characters have no form, and nothing is composed across them, so the text is cut there.
static tr_status form(tr_bytes_t *text, int options, tr_error_t *err)
{
    if (is_plain(text, options == (UTF8PROC_STABLE | UTF8PROC_COMPOSE))) {
        return TR_OK;
    }
    tr_bytes_t out = {0};
    size_t done = 0;
    tr_status status = TR_OK;
    for (size_t at = 0, n; status == TR_OK && at < text->length; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text->data + at, text->length - at);
        if (point >= 0x300 && tr_unicode_is_later(point)) {
            status = append_form(&out, text->data + done, at - done, options, err);
            tr_bytes_append(&out, text->data + at, n);
            done = at + n;
        }
    }
    if (status == TR_OK) {
        status = append_form(&out, text->data + done, text->length - done, options, err);
    }
    if (status != TR_OK) {
        tr_bytes_release(&out);
        return status;
    }
    tr_bytes_release(text);
    *text = out;
    return TR_OK;
}

static tr_status nfc(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                     tr_error_t *err)
{
    (void)stage, (void)place;
    return form(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE, err);
}

static tr_status nfd(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                     tr_error_t *err)
{
    (void)stage, (void)place;
    return form(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, err);
}

static tr_status nfkc(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                      tr_error_t *err)
{
    (void)stage, (void)place;
    return form(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, err);
}

static tr_status nfkd(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                      tr_error_t *err)
{
    (void)stage, (void)place;
    return form(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, err);
}

// Characters

/// Character by character, as the library does it: a sigma at a word's end is no other sigma.
static tr_status lowercase(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                           tr_error_t *err)
{
    (void)stage, (void)place, (void)err;
    tr_bytes_t out = {0};
    for (size_t at = 0, n; at < text->length; at += n) {
        uint32_t point = 0;
        char small[4];
        n = tr_utf8_next(&point, text->data + at, text->length - at);
        tr_bytes_append(&out, small, tr_utf8_put(small, tr_unicode_lower(point)));
        if (point == 0x130) { // the one letter whose small form is two characters: i and a dot
            tr_bytes_append(&out, "\xCC\x87", 2);
        }
    }
    tr_bytes_release(text);
    *text = out;
    return TR_OK;
}

/// Marks that Unicode 9 has, and two that were marks then.
static tr_status parse_strip_accents(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    (void)node;
    static const char marks[] =
        "(?![\\x{7FD}\\x{897}-\\x{89F}\\x{8CA}-\\x{8D3}\\x{9FE}\\x{AFA}-\\x{AFF}\\x{B55}\\x{C04}"
        "\\x{C3C}\\x{CF3}\\x{D00}\\x{D3B}\\x{D3C}\\x{D81}\\x{EBA}\\x{ECE}\\x{1715}\\x{180F}"
        "\\x{1ABF}-\\x{1ACE}\\x{1CF7}\\x{1DF6}-\\x{1DFA}\\x{A82C}\\x{A8FF}\\x{10D24}-\\x{10D27}"
        "\\x{10D69}-\\x{10D6D}\\x{10EAB}\\x{10EAC}\\x{10EFC}-\\x{10EFF}\\x{10F46}-\\x{10F50}"
        "\\x{10F82}-\\x{10F85}\\x{11070}\\x{11073}\\x{11074}\\x{110C2}\\x{11145}\\x{11146}"
        "\\x{111C9}\\x{111CE}\\x{111CF}\\x{11241}\\x{1133B}\\x{113B8}-\\x{113E2}\\x{1145E}"
        "\\x{1182C}-\\x{1183A}\\x{11930}-\\x{11943}\\x{119D1}-\\x{119E4}\\x{11A01}-\\x{11A0A}"
        "\\x{11A33}-\\x{11A39}\\x{11A3B}-\\x{11A3E}\\x{11A47}\\x{11A51}-\\x{11A5B}"
        "\\x{11A8A}-\\x{11A99}\\x{11D31}-\\x{11D45}\\x{11D47}\\x{11D8A}-\\x{11D97}"
        "\\x{11EF3}-\\x{11EF6}\\x{11F00}-\\x{11F03}\\x{11F34}-\\x{11F42}\\x{11F5A}\\x{13440}"
        "\\x{13447}-\\x{13455}\\x{1611E}-\\x{1612F}\\x{16F4F}\\x{16F7F}-\\x{16F87}\\x{16FE4}"
        "\\x{16FF0}\\x{16FF1}\\x{1CF00}-\\x{1CF2D}\\x{1CF30}-\\x{1CF46}\\x{1E08F}"
        "\\x{1E130}-\\x{1E136}\\x{1E2AE}\\x{1E2EC}-\\x{1E2EF}\\x{1E4EC}-\\x{1E4EF}\\x{1E5EE}"
        "\\x{1E5EF}])[\\p{M}\\x{1CF2}\\x{1CF3}]";
    return tr_text_stage_look_for(stage, marks, TR_PATTERN_PCRE2, TR_CUT_REMOVED, err);
}

/// Neural machine translation's: controls vanish, and what is white to a reader is a space.
static tr_status parse_nmt(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    (void)node;
    tr_bytes_append(&stage->text, " ", 1);
    return tr_text_stage_look_for(stage,
                                  "[\\t\\n\\x0C\\r\\x{1680}\\x{200B}-\\x{200F}\\x{2028}\\x{2029}"
                                  "\\x{2581}\\x{FEFF}\\x{FFFD}]",
                                  TR_PATTERN_PCRE2, TR_CUT_REMOVED, err);
}

static tr_status nmt(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                     tr_error_t *err)
{
    size_t kept = 0;
    for (size_t at = 0, n; at < text->length; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text->data + at, text->length - at);
        bool control = (point >= 1 && point <= 8) || point == 0x0B ||
                       (point >= 0x0E && point <= 0x1F) || point == 0x7F || point == 0x8F ||
                       point == 0x9F;
        leave_start(place, control && at == 0);
        memmove(text->data + kept, text->data + at, control ? 0 : n);
        kept += control ? 0 : n;
    }
    text->length = kept;
    return tr_pattern_replace(text, stage->pattern, &stage->text, NULL, err);
}

// Texts

static tr_status parse_replace(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    const json_t *content = json_object_get(node, "content");
    if (!json_is_string(content)) {
        return tr_fail(err, TR_ERR_FORMAT, "Replace needs a text 'content'");
    }
    tr_bytes_append(&stage->text, json_string_value(content), json_string_length(content));
    return tr_text_stage_parse_pattern(stage, node, err);
}

/// Replace, and StripAccents, which replaces marks by nothing.
static tr_status replace(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                         tr_error_t *err)
{
    bool moved = false;
    TR_TRY(tr_pattern_replace(text, stage->pattern, &stage->text, &moved, err));
    leave_start(place, moved);
    return TR_OK;
}

static tr_status parse_prepend(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    const json_t *prefix = json_object_get(node, "prepend");
    if (!json_is_string(prefix)) {
        return tr_fail(err, TR_ERR_FORMAT, "Prepend needs a text 'prepend'");
    }
    tr_bytes_append(&stage->text, json_string_value(prefix), json_string_length(prefix));
    return TR_OK;
}

/// SentencePiece's "▁" before the first word; an empty text has no word.
static tr_status prepend(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                         tr_error_t *err)
{
    (void)err;
    if (*place != TR_TEXT_CONTINUES && text->length > 0) {
        tr_bytes_t out = {0};
        tr_bytes_append(&out, stage->text.data, stage->text.length);
        tr_bytes_append(&out, text->data, text->length);
        tr_bytes_release(text);
        *text = out;
    }
    return TR_OK;
}

/// White space at the start and at the end.
static tr_status parse_strip(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    (void)err;
    stage->left = tr_json_flag(node, "strip_left", false);
    stage->right = tr_json_flag(node, "strip_right", false);
    return TR_OK;
}

static tr_status strip(tr_bytes_t *text, const tr_text_stage_t *stage, tr_text_place_t *place,
                       tr_error_t *err)
{
    (void)err;
    size_t start = stage->left > 0 ? tr_utf8_space_after(text->data, 0, text->length) : 0;
    size_t end =
        stage->right > 0 ? tr_utf8_space_before(text->data, start, text->length) : text->length;
    leave_start(place, start > 0);
    memmove(text->data, text->data + start, end - start);
    text->length = end - start;
    return TR_OK;
}

const tr_component_t TR_NORMALIZERS[] = {
    {.name = "NFC", .normalize = nfc},
    {.name = "NFD", .normalize = nfd},
    {.name = "NFKC", .normalize = nfkc},
    {.name = "NFKD", .normalize = nfkd},
    {.name = "Lowercase", .normalize = lowercase},
    {.name = "StripAccents", .parse = parse_strip_accents, .normalize = replace},
    {.name = "Nmt", .parse = parse_nmt, .normalize = nmt},
    {.name = "Replace", .parse = parse_replace, .normalize = replace},
    {.name = "Prepend", .parse = parse_prepend, .normalize = prepend},
    {.name = "Strip", .parse = parse_strip, .normalize = strip},
    {.name = "Precompiled", .parse = tr_precompiled_parse, .normalize = tr_precompiled_normalize},
    {.name = NULL},
};

tr_status tr_tokenizer_normalize(tr_bytes_t *text, const tr_tokenizer_t *tokenizer,
                                 tr_text_place_t *place, tr_error_t *err)
{
    for (size_t i = 0; i < tokenizer->normalizer.count; i++) {
        const tr_text_stage_t *stage = &tokenizer->normalizer.items[i];
        TR_TRY(stage->component->normalize(text, stage, place, err));
    }
    return TR_OK;
}
