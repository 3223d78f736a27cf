// The stages of a tokenizer.json that stand around its model: normalizer, pre-tokenizer,
// post-processor and decoder. Each is one step or a Sequence of steps, so one function walks all of
// them and calls a function for each step. tokenizer_load.c reads the rest of the file;
// tokenizer_encode.c and text_stream.c do what is read here.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

/// Reads one step of a chain into the tokenizer. type: the step's.
typedef tr_status (*step_t)(tr_tokenizer_t *tokenizer, const json_t *node, const char *type,
                            tr_error_t *err);

/// A part of tokenizer.json that is one step, or a Sequence of steps.
typedef struct chain {
    const char *name;
    const char *members; // the name of a Sequence's list
    step_t step;
} chain_t;

/// Calls the chain's step for a node: not at all for null, for each member of a Sequence, else for
/// the node itself.
static tr_status parse_chain(tr_tokenizer_t *tokenizer, const json_t *node, const chain_t *chain,
                             tr_error_t *err)
{
    if (node == NULL || json_is_null(node)) {
        return TR_OK;
    }
    const char *type = tr_json_string(node, "type", NULL);
    if (type == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected an object with a type", chain->name);
    }
    // Sequences may hold Sequences: this function calls itself for each member.
    const json_t *list = json_object_get(node, chain->members);
    if (strcmp(type, "Sequence") != 0) {
        tr_status status = chain->step(tokenizer, node, type, err);
        return status == TR_OK ? TR_OK : tr_error_prefix(err, "%s", chain->name);
    }
    if (!json_is_array(list)) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: a Sequence needs a list '%s'", chain->name,
                       chain->members);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        TR_TRY(parse_chain(tokenizer, json_array_get(list, i), chain, err));
    }
    return TR_OK;
}

/// known: what is supported instead.
static tr_status refuse(const char *type, const char *known, tr_error_t *err)
{
    return tr_fail(err, TR_ERR_UNSUPPORTED, "'%s' is not supported; %s", type, known);
}

static void append(tr_bytes_t *bytes, const json_t *text)
{
    tr_bytes_append(bytes, json_string_value(text), json_string_length(text));
}

/// from: NULL for a prefix.
static void add_rule(tr_text_rules_t *rules, const json_t *from, const json_t *to)
{
    rules->items = tr_realloc(rules->items, (rules->count + 1) * sizeof *rules->items);
    tr_text_rule_t *rule = &rules->items[rules->count++];
    *rule = (tr_text_rule_t){0};
    append(&rule->to, to);
    append(&rule->from, from); // Jansson gives NULL and 0 for NULL
}

/// A rewriting of one text by another, of a normalizer or a decoder.
static tr_status parse_replace(tr_text_rules_t *rules, const json_t *node, tr_error_t *err)
{
    const json_t *from = json_object_get(json_object_get(node, "pattern"), "String");
    const json_t *to = json_object_get(node, "content");
    // Rules are found by memmem.
    if (json_object_get(json_object_get(node, "pattern"), "Regex") != NULL) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "Replace by a regular expression is not supported");
    }
    if (!json_is_string(from) || json_string_length(from) == 0 || !json_is_string(to)) {
        return tr_fail(err, TR_ERR_FORMAT, "Replace needs a pattern and content");
    }
    add_rule(rules, from, to);
    return TR_OK;
}

// Normalizer

/// Case folding, Unicode normal forms and the like are refused: leaving them out would give other
/// ids.
static tr_status normalizer_step(tr_tokenizer_t *tokenizer, const json_t *node, const char *type,
                                 tr_error_t *err)
{
    // SentencePiece's normalizer, as files have it: "▁" before the text and for each space.
    if (strcmp(type, "Replace") == 0) {
        return parse_replace(&tokenizer->rules, node, err);
    }
    if (strcmp(type, "Prepend") != 0) {
        return refuse(type, "Prepend and Replace are", err);
    }
    const json_t *prefix = json_object_get(node, "prepend");
    if (!json_is_string(prefix)) {
        return tr_fail(err, TR_ERR_FORMAT, "Prepend needs a text 'prepend'");
    }
    add_rule(&tokenizer->rules, NULL, prefix);
    return TR_OK;
}

// Pre-tokenizer

enum { STAGE_LIMIT = 16 }; // each is a level of recursion in the encoder

/// A new stage behind the others, empty: the text stays in one piece.
static tr_text_stage_t *add_stage(tr_tokenizer_t *tokenizer)
{
    tokenizer->stages =
        tr_realloc(tokenizer->stages, (tokenizer->stage_count + 1) * sizeof *tokenizer->stages);
    // In the tokenizer before it is filled: what a failure leaves is freed with it.
    tr_text_stage_t *stage = &tokenizer->stages[tokenizer->stage_count++];
    *stage = (tr_text_stage_t){0};
    return stage;
}

/// Cuts text by an expression, as Llama 3 and Qwen do before ByteLevel.
static tr_status parse_split(tr_tokenizer_t *tokenizer, const json_t *node, tr_error_t *err)
{
    // The others remove a match, or join it to a neighbour.
    const char *behavior = tr_json_string(node, "behavior", "");
    if (strcmp(behavior, "Isolated") != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "Split behavior '%s' is not supported; Isolated is",
                       behavior);
    }
    const json_t *pattern = json_object_get(node, "pattern");
    const json_t *literal = json_object_get(pattern, "String");
    const json_t *text = literal != NULL ? literal : json_object_get(pattern, "Regex");
    if (!json_is_string(text) || json_string_length(text) == 0) {
        return tr_fail(err, TR_ERR_FORMAT, "Split needs a pattern");
    }
    // "invert" exchanges the matches with what lies between them. Isolated makes pieces of both, so
    // it changes nothing.
    tr_text_stage_t *stage = add_stage(tokenizer);
    return tr_split_new(&stage->split, json_string_value(text), json_string_length(text),
                        literal != NULL, err);
}

static tr_status pre_tokenizer_step(tr_tokenizer_t *tokenizer, const json_t *node, const char *type,
                                    tr_error_t *err)
{
    if (tokenizer->stage_count == STAGE_LIMIT) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "more than %d steps are not supported",
                       STAGE_LIMIT);
    }
    if (strcmp(type, "Split") == 0) {
        return parse_split(tokenizer, node, err);
    }
    if (strcmp(type, "ByteLevel") != 0) {
        return refuse(type, "Split and ByteLevel are", err);
    }
    tr_text_stage_t *stage = add_stage(tokenizer);
    stage->bytes = true;
    // The tokenizers library's defaults, both of them.
    stage->prefix_space = tr_json_flag(node, "add_prefix_space", true);
    if (!tr_json_flag(node, "use_regex", true)) { // the text stays in one piece
        return TR_OK;
    }
    return tr_split_new(&stage->split, TR_SPLIT_GPT2, strlen(TR_SPLIT_GPT2), false, err);
}

// Post-processor

/// Appends the ids of a special token of the template.
/// Most have one id; a special token of a template may stand for several.
static tr_status append_template_ids(tr_ids_t *ids, const json_t *template, const char *name,
                                     tr_error_t *err)
{
    const json_t *special = json_object_get(json_object_get(template, "special_tokens"), name);
    const json_t *list = json_object_get(special, "ids");
    if (!json_is_array(list)) {
        return tr_fail(err, TR_ERR_FORMAT, "special_tokens has no ids for '%s'", name);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        // The template has its ids itself: they need not be in the vocabulary.
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || id < 0 || id >= TR_VOCAB_LIMIT) {
            return tr_fail(err, TR_ERR_FORMAT, "special_tokens: bad id for '%s'", name);
        }
        tr_ids_append(ids, (int32_t)id);
    }
    return TR_OK;
}

/// The template of a single text: special tokens before and after it. Pairs of texts are never
/// encoded.
static tr_status parse_template(tr_tokenizer_t *tokenizer, const json_t *node, tr_error_t *err)
{
    const json_t *single = json_object_get(node, "single");
    if (!json_is_array(single)) {
        return tr_fail(err, TR_ERR_FORMAT, "expected a list 'single'");
    }
    size_t texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        if (special == NULL) {
            texts += json_object_get(piece, "Sequence") != NULL;
            continue;
        }
        // Before the text and behind it, by whether the Sequence has come yet.
        tr_ids_t *ids = texts == 0 ? &tokenizer->template_before : &tokenizer->template_after;
        TR_TRY(append_template_ids(ids, node, tr_json_string(special, "id", ""), err));
    }
    return texts == 1
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "expected one Sequence in 'single', found %zu", texts);
}

/// Only the template adds ids; offsets, which the others correct, are not kept here.
static tr_status post_processor_step(tr_tokenizer_t *tokenizer, const json_t *node,
                                     const char *type, tr_error_t *err)
{
    if (strcmp(type, "ByteLevel") == 0) {
        return TR_OK; // trims offsets, which we do not have
    }
    if (strcmp(type, "TemplateProcessing") != 0) {
        return refuse(type, "TemplateProcessing and ByteLevel are", err);
    }
    // Llama 3 has ByteLevel and one TemplateProcessing in a Sequence; two would nest.
    if (tokenizer->template_before.count + tokenizer->template_after.count > 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "a second TemplateProcessing is not supported");
    }
    tr_status status = parse_template(tokenizer, node, err);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "TemplateProcessing");
}

// Decoder

/// The steps of a decoder of pieces. text_stream.c does them in this order, so files must have them
/// so.
enum { REPLACE, BYTE_FALLBACK, FUSE, STRIP, PIECES_STEPS };

static const char *const PIECES_NAMES[] = {"Replace", "ByteFallback", "Fuse", "Strip"};

/// Takes a character off the start of the text, at most `start` times: the space that Prepend put
/// there.
static tr_status parse_strip(tr_tokenizer_t *tokenizer, const json_t *node, tr_error_t *err)
{
    const json_t *content = json_object_get(node, "content");
    json_int_t start = json_integer_value(json_object_get(node, "start"));
    // A stream cannot take back what it has given out.
    if (json_integer_value(json_object_get(node, "stop")) != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "Strip from the end (stop) is not supported");
    }
    size_t length = json_string_length(content);
    if (!json_is_string(content) || length == 0 || start < 0 || start > 1024 ||
        tr_utf8_next(&tokenizer->strip, json_string_value(content), length) != length) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "Strip needs one character 'content' and a count 'start'");
    }
    tokenizer->strip_count = (size_t)start;
    return TR_OK;
}

static tr_status parse_pieces_step(tr_tokenizer_t *tokenizer, const json_t *node, int step,
                                   tr_error_t *err)
{
    switch (step) {
    case REPLACE: return parse_replace(&tokenizer->decoder_rules, node, err);
    case STRIP: return parse_strip(tokenizer, node, err);
    case BYTE_FALLBACK: tokenizer->decoder_byte_fallback = true; return TR_OK;
    default: return TR_OK; // Fuse: a stream joins pieces anyway
    }
}

/// ByteLevel alone, or a Sequence for pieces. Unlike the other parts it must be there: without a
/// decoder ids have no text.
static tr_status parse_decoder(tr_tokenizer_t *tokenizer, const json_t *node, tr_error_t *err)
{
    const char *type = tr_json_string(node, "type", NULL);
    if (type == NULL) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "decoder: a tokenizer without one is not supported");
    }
    if (strcmp(type, "ByteLevel") == 0) {
        tokenizer->decoder = TR_DECODER_BYTE_LEVEL;
        return TR_OK;
    }
    if (strcmp(type, "Sequence") != 0) {
        refuse(type, "ByteLevel and Sequence are", err);
        return tr_error_prefix(err, "decoder");
    }
    // SentencePiece's: Replace "▁" by a space, bytes to characters, all to one text, and the first
    // space off.
    tokenizer->decoder = TR_DECODER_PIECES;
    const json_t *list = json_object_get(node, "decoders");
    int last = REPLACE;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = tr_json_string(json_array_get(list, i), "type", "");
        int step = 0;
        while (step < PIECES_STEPS && strcmp(name, PIECES_NAMES[step]) != 0) {
            step++;
        }
        // Strip takes characters from the start of the whole text, so it must come after Fuse.
        if (step == PIECES_STEPS || step < last || (step == STRIP && last != FUSE)) {
            return tr_fail(err, TR_ERR_UNSUPPORTED,
                           "decoder: '%s' is not supported here; Replace, ByteFallback, Fuse, "
                           "Strip in this order are",
                           name);
        }
        tr_status status = parse_pieces_step(tokenizer, json_array_get(list, i), step, err);
        if (status != TR_OK) {
            return tr_error_prefix(err, "decoder");
        }
        last = step;
    }
    return TR_OK;
}

tr_status tr_tokenizer_parse_pipeline(tr_tokenizer_t *tokenizer, const json_t *root,
                                      tr_error_t *err)
{
    static const chain_t chains[] = {
        {"normalizer", "normalizers", normalizer_step},
        {"pre_tokenizer", "pretokenizers", pre_tokenizer_step},
        {"post_processor", "processors", post_processor_step},
    };
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
        TR_TRY(parse_chain(tokenizer, json_object_get(root, chains[i].name), &chains[i], err));
    }
    return parse_decoder(tokenizer, json_object_get(root, "decoder"), err);
}
