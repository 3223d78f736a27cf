// Pre-tokenizers: where a text is cut before the model sees it. Each is a pattern and a way to cut
// at its matches; Metaspace and ByteLevel also rewrite the text. A row of the table at the end is a
// type that tokenizer.json may name. tokenizer_encode.c does them, one inside the other.
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

/// Radford et al. 2019: contractions, words with the space before them, numbers, other characters,
/// white space that leaves its last character to the next word, and the rest.
static const char GPT2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/// Numbers as Rust has them: Unicode 17's.
static const char DIGIT[] = "[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]";

/// ASCII's punctuation and symbols, and the punctuation of Unicode 8.
static const char PUNCTUATION[] =
    "(?![\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B4E}\\x{1B4F}\\x{1B7D}-\\x{1B7F}"
    "\\x{2E43}-\\x{2E4F}\\x{2E52}-\\x{2E5D}\\x{10D6E}\\x{10EAD}\\x{10F55}-\\x{10F59}"
    "\\x{10F86}-\\x{10F89}\\x{113D4}\\x{113D5}\\x{113D7}\\x{113D8}\\x{1144B}-\\x{1144F}"
    "\\x{1145A}\\x{1145B}\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}"
    "\\x{11944}-\\x{11946}\\x{119E2}\\x{11A3F}-\\x{11A46}\\x{11A9A}-\\x{11A9C}"
    "\\x{11A9E}-\\x{11AA2}\\x{11B00}-\\x{11B09}\\x{11BE1}\\x{11C41}-\\x{11C45}\\x{11C70}"
    "\\x{11C71}\\x{11EF7}\\x{11EF8}\\x{11F43}-\\x{11F4F}\\x{11FFF}\\x{12FF1}\\x{12FF2}"
    "\\x{16D6D}-\\x{16D6F}\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E5FF}\\x{1E95E}\\x{1E95F}])"
    "[!-/:-@\\[-`{-~\\p{P}\\x{166D}\\x{111C9}]";

static tr_status parse_cut(tr_cut_t *cut, const json_t *node, const char *fallback, tr_error_t *err)
{
    const char *name = tr_json_string(node, "behavior", fallback);
    return tr_cut_find(cut, name)
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "behavior '%s' is none of tokenizer.json's", name);
}

static tr_status parse_split(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    stage->invert = tr_json_flag(node, "invert", false);
    TR_TRY(parse_cut(&stage->cut, node, "", err));
    return tr_text_stage_parse_pattern(stage, node, err);
}

static tr_status parse_digits(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    bool each = tr_json_flag(node, "individual_digits", false);
    return tr_text_stage_look_for(stage, DIGIT, TR_PATTERN_REGEX,
                                  each ? TR_CUT_ISOLATED : TR_CUT_CONTIGUOUS, err);
}

static tr_status parse_punctuation(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    tr_cut_t cut = TR_CUT_ISOLATED;
    TR_TRY(parse_cut(&cut, node, "Isolated", err));
    return tr_text_stage_look_for(stage, PUNCTUATION, TR_PATTERN_PCRE2, cut, err);
}

/// Words, and what is neither word nor space; Rust's \w has the two joiners.
static tr_status parse_whitespace(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    (void)node;
    stage->invert = true;
    return tr_text_stage_look_for(stage, "[\\w\\x{200C}\\x{200D}]+|[^\\w\\s\\x{200C}\\x{200D}]+",
                                  TR_PATTERN_REGEX, TR_CUT_REMOVED, err);
}

static tr_status parse_whitespace_split(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    (void)node;
    return tr_text_stage_look_for(stage, "\\s", TR_PATTERN_REGEX, TR_CUT_REMOVED, err);
}

static tr_status parse_delimiter(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    uint32_t point;
    char text[4];
    TR_TRY(tr_text_stage_parse_character(&point, node, "delimiter", err));
    return tr_pattern_new(&stage->pattern, text, tr_utf8_put(text, point), TR_PATTERN_TEXT, err);
}

// Metaspace

static tr_status parse_metaspace(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    char text[4];
    TR_TRY(tr_text_stage_parse_character(&stage->character, node, "replacement", err));
    TR_TRY(tr_text_stage_parse_prepend(&stage->prepend, node, err));
    tr_bytes_append(&stage->text, text, tr_utf8_put(text, stage->character));
    stage->cut = TR_CUT_NEXT;
    return !tr_json_flag(node, "split", true)
               ? TR_OK
               : tr_pattern_new(&stage->pattern, stage->text.data, stage->text.length,
                                TR_PATTERN_TEXT, err);
}

/// A mark for each space, and one before the text, if it has none there.
static bool metaspace(tr_bytes_t *out, const tr_text_stage_t *stage, const char *text,
                      size_t length, tr_text_place_t place)
{
    const tr_bytes_t *mark = &stage->text;
    bool marked =
        length > 0 &&
        (text[0] == ' ' || (length >= mark->length && memcmp(text, mark->data, mark->length) == 0));
    if (!marked && place != TR_TEXT_CONTINUES &&
        (stage->prepend == TR_PREPEND_ALWAYS ||
         (stage->prepend == TR_PREPEND_FIRST && place == TR_TEXT_BEGINS))) {
        tr_bytes_append(out, mark->data, mark->length);
    }
    for (size_t at = 0; at < length;) {
        const char *space = memchr(text + at, ' ', length - at);
        size_t kept = space == NULL ? length - at : (size_t)(space - text) - at;
        tr_bytes_append(out, text + at, kept);
        at += kept;
        if (space != NULL) {
            tr_bytes_append(out, mark->data, mark->length);
            at++;
        }
    }
    return true;
}

// ByteLevel

static tr_status parse_byte_level(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    stage->bytes = true;
    // The library's defaults, both of them.
    bool prefix = tr_json_flag(node, "add_prefix_space", true);
    stage->prepend = prefix ? TR_PREPEND_ALWAYS : TR_PREPEND_NEVER;
    if (!tr_json_flag(node, "use_regex", true)) { // the text stays in one piece
        return TR_OK;
    }
    return tr_text_stage_look_for(stage, GPT2, TR_PATTERN_REGEX, TR_CUT_ISOLATED, err);
}

/// As a word in the middle of a text begins with a space, the first one gets one too.
static bool byte_level(tr_bytes_t *out, const tr_text_stage_t *stage, const char *text,
                       size_t length, tr_text_place_t place)
{
    if (stage->prepend == TR_PREPEND_NEVER || place == TR_TEXT_CONTINUES || text[0] == ' ') {
        return false;
    }
    tr_bytes_append(out, " ", 1);
    tr_bytes_append(out, text, length);
    return true;
}

const tr_component_t TR_PRE_TOKENIZERS[] = {
    {.name = "ByteLevel", .parse = parse_byte_level, .prepare = byte_level},
    {.name = "Metaspace", .parse = parse_metaspace, .prepare = metaspace},
    {.name = "Split", .parse = parse_split},
    {.name = "Digits", .parse = parse_digits},
    {.name = "Punctuation", .parse = parse_punctuation},
    {.name = "Whitespace", .parse = parse_whitespace},
    {.name = "WhitespaceSplit", .parse = parse_whitespace_split},
    {.name = "CharDelimiterSplit", .parse = parse_delimiter},
    {.name = NULL},
};
