// The stages of a tokenizer.json that stand around its model: normalizer, pre-tokenizer,
// post-processor and decoder. Each is one step or a Sequence of steps, so one function walks all of
// them and calls a function for each step. The steps themselves are rows of the tables in
// normalizer.c, pre_tokenizer.c and decoder.c; the post-processor's template is read here.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

/// A part of tokenizer.json that is one step, or a Sequence of steps.
typedef struct chain {
    const char *name;
    const char *members;              // the name of a Sequence's list
    const tr_component_t *components; // the steps that there are; NULL: the post-processor's
    tr_text_stages_t *stages;         // where they go
    tr_tokenizer_t *tokenizer;
} chain_t;

static tr_status add_step(const chain_t *chain, const json_t *node, const char *type,
                          tr_error_t *err);

/// Adds the steps of a node: none for null, each member of a Sequence, else the node itself.
static tr_status parse_chain(const chain_t *chain, const json_t *node, tr_error_t *err)
{
    if (node == NULL || json_is_null(node)) {
        return TR_OK;
    }
    const char *type = tr_json_string(node, "type", NULL);
    if (type == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected an object with a type", chain->name);
    }
    if (strcmp(type, "Sequence") != 0) {
        tr_status status = add_step(chain, node, type, err);
        return status == TR_OK ? TR_OK : tr_error_prefix(err, "%s", chain->name);
    }
    const json_t *list = json_object_get(node, chain->members);
    if (!json_is_array(list)) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: a Sequence needs a list '%s'", chain->name,
                       chain->members);
    }
    // Sequences may hold Sequences.
    for (size_t i = 0; i < json_array_size(list); i++) {
        TR_TRY(parse_chain(chain, json_array_get(list, i), err));
    }
    return TR_OK;
}

// What the steps' members have in common

tr_status tr_text_stage_look_for(tr_text_stage_t *stage, const char *expression,
                                 tr_pattern_kind_t kind, tr_cut_t cut, tr_error_t *err)
{
    stage->cut = cut;
    return tr_pattern_new(&stage->pattern, expression, strlen(expression), kind, err);
}

tr_status tr_text_stage_parse_pattern(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    const json_t *pattern = json_object_get(node, "pattern");
    const json_t *literal = json_object_get(pattern, "String");
    const json_t *text = literal != NULL ? literal : json_object_get(pattern, "Regex");
    if (!json_is_string(text) || json_string_length(text) == 0) {
        return tr_fail(err, TR_ERR_FORMAT, "expected a pattern that is a String or a Regex");
    }
    return tr_pattern_new(&stage->pattern, json_string_value(text), json_string_length(text),
                          literal != NULL ? TR_PATTERN_TEXT : TR_PATTERN_REGEX, err);
}

tr_status tr_text_stage_parse_character(uint32_t *point, const json_t *node, const char *key,
                                        tr_error_t *err)
{
    const json_t *text = json_object_get(node, key);
    size_t length = json_string_length(text);
    return length > 0 && tr_utf8_next(point, json_string_value(text), length) == length
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "expected one character '%s'", key);
}

tr_status tr_text_stage_parse_prepend(tr_prepend_t *prepend, const json_t *node, tr_error_t *err)
{
    static const char *const names[] = {"never", "first", "always"};
    const char *name = tr_json_string(node, "prepend_scheme", "always");
    // Older files have the flag alone.
    if (!tr_json_flag(node, "add_prefix_space", true)) {
        name = "never";
    }
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *prepend = (tr_prepend_t)i;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_FORMAT, "prepend_scheme '%s': expected always, first or never",
                   name);
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
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "'%s' is not supported; TemplateProcessing and ByteLevel are", type);
    }
    // Llama 3 has ByteLevel and one TemplateProcessing in a Sequence; two would nest.
    if (tokenizer->template_before.count + tokenizer->template_after.count > 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "a second TemplateProcessing is not supported");
    }
    tr_status status = parse_template(tokenizer, node, err);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "TemplateProcessing");
}

// Steps

enum { STAGE_LIMIT = 16 }; // each of a pre-tokenizer is a level of recursion in the encoder

/// What a decoder does behind one that joins all tokens: Strip alone makes sense of a text that
/// arrives in parts.
static tr_status join(tr_text_stages_t *stages, tr_error_t *err)
{
    const char *last = stages->items[stages->count - 1].component->name;
    for (size_t i = 0; i + 1 < stages->count; i++) {
        const char *name = stages->items[i].component->name;
        if (strcmp(name, "Fuse") == 0 || strcmp(name, "ByteLevel") == 0) {
            stages->items[stages->count - 1].joined = true;
        }
    }
    return !stages->items[stages->count - 1].joined || strcmp(last, "Strip") == 0 ||
                   strcmp(last, "Fuse") == 0
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED,
                         "'%s' is not supported behind a step that joins all tokens", last);
}

/// The step of a type, from its table.
static tr_status add_stage(const chain_t *chain, const json_t *node, const char *type,
                           tr_error_t *err)
{
    const tr_component_t *component = chain->components;
    while (component->name != NULL && strcmp(component->name, type) != 0) {
        component++;
    }
    if (component->name == NULL) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "'%s' is not supported", type);
    }
    tr_text_stages_t *stages = chain->stages;
    if (stages->count == STAGE_LIMIT) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "more than %d steps are not supported",
                       STAGE_LIMIT);
    }
    // In the tokenizer before it is filled: what a failure leaves is freed with it.
    stages->items = tr_realloc(stages->items, (stages->count + 1) * sizeof *stages->items);
    tr_text_stage_t *stage = &stages->items[stages->count++];
    *stage = (tr_text_stage_t){.component = component};
    tr_status status = component->parse == NULL ? TR_OK : component->parse(stage, node, err);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "%s", type);
}

static tr_status add_step(const chain_t *chain, const json_t *node, const char *type,
                          tr_error_t *err)
{
    if (chain->components == NULL) {
        return post_processor_step(chain->tokenizer, node, type, err);
    }
    TR_TRY(add_stage(chain, node, type, err));
    return chain->components == TR_DECODERS ? join(chain->stages, err) : TR_OK;
}

tr_status tr_tokenizer_parse_pipeline(tr_tokenizer_t *tokenizer, const json_t *root,
                                      tr_error_t *err)
{
    const chain_t chains[] = {
        {"normalizer", "normalizers", TR_NORMALIZERS, &tokenizer->normalizer, tokenizer},
        {"pre_tokenizer", "pretokenizers", TR_PRE_TOKENIZERS, &tokenizer->pre_tokenizer, tokenizer},
        {"post_processor", "processors", NULL, NULL, tokenizer},
        {"decoder", "decoders", TR_DECODERS, &tokenizer->decoder, tokenizer},
    };
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
        TR_TRY(parse_chain(&chains[i], json_object_get(root, chains[i].name), err));
    }
    // Without a decoder the texts of tokens would be joined by spaces.
    return tokenizer->decoder.count > 0
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED,
                         "decoder: a tokenizer without one is not supported");
}
