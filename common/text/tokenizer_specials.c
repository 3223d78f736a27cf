// Added tokens as transformers completes them: those of tokenizer.json, if it is taken as it is,
// then those that tokenizer_config.json, special_tokens_map.json and added_tokens.json have, then
// the special tokens that are named somewhere and still have no id. A new token gets the id of the
// model's token of that text, else the next one that is free, whatever number a file gives it.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

/// The names of special tokens that every tokenizer may have, in transformers' order.
static const char *const NAMES[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};

/// The list as it grows.
typedef struct added {
    json_t *list;       // of tokenizer.json's form
    tr_vocab_t *places; // text -> place in it
    const tr_vocab_t *vocab;
    json_int_t model_size, largest; // of the ids; -1: none
} added_t;

/// A token as tokenizer.json has it, of a text or an AddedToken. special: it is, whatever it says.
static json_t *token_of(const json_t *value, bool special)
{
    const char *text =
        json_is_object(value) ? tr_json_string(value, "content", "") : json_string_value(value);
    bool said = json_is_object(value) ? tr_json_flag(value, "special", false) : special;
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", text == NULL ? "" : text,
                     "special", said || special, "lstrip", tr_json_flag(value, "lstrip", false),
                     "rstrip", tr_json_flag(value, "rstrip", false), "single_word",
                     tr_json_flag(value, "single_word", false), "normalized",
                     tr_json_flag(value, "normalized", !said));
}

static const char *content_of(const json_t *token)
{
    return json_string_value(json_object_get(token, "content"));
}

static bool has(const added_t *added, const char *text)
{
    return tr_vocab_find(added->places, text, strlen(text)) >= 0;
}

/// Adds a token (which it takes), as the library does: one that is there gets the new flags, and
/// stays special.
static void add(added_t *added, json_t *token)
{
    const char *text = content_of(token);
    size_t length = strlen(text);
    int32_t at = tr_vocab_find(added->places, text, length);
    if (at >= 0) {
        json_t *old = json_array_get(added->list, (size_t)at);
        if (tr_json_flag(old, "special", false)) {
            json_object_set_new(token, "special", json_true());
        }
        json_object_update(old, token);
        json_decref(token);
        return;
    }
    json_int_t id = tr_vocab_find(added->vocab, text, length);
    if (id < 0) {
        id = added->largest >= added->model_size ? added->largest + 1 : added->model_size;
    }
    added->largest = id > added->largest ? id : added->largest;
    json_object_set_new(token, "id", json_integer(id));
    if (length > 0) {
        tr_vocab_add(added->places, text, length, (int32_t)json_array_size(added->list));
        json_array_append(added->list, token);
    }
    json_decref(token);
}

// What the files say

/// A token with the id that a file gives it, which decides the order alone.
typedef struct numbered {
    json_int_t id;
    size_t order;
    json_t *token;
} numbered_t;

static int by_id(const void *a, const void *b)
{
    const numbered_t *left = a, *right = b;
    if (left->id != right->id) {
        return left->id < right->id ? -1 : 1;
    }
    return left->order < right->order ? -1 : 1;
}

typedef struct numbered_list {
    numbered_t *items;
    size_t count;
} numbered_list_t;

static void append(numbered_list_t *list, json_int_t id, json_t *token)
{
    list->items = tr_realloc(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count] = (numbered_t){id, list->count, token};
    list->count++;
}

/// The tokens that are named, each by the first of the places that names it: a legacy
/// special_tokens_map.json, tokenizer_config.json, the vocabulary's file, the class. null names
/// none.
static json_t *named_tokens(const tr_tokenizer_source_t *source, bool legacy)
{
    json_t *names = json_object(), *value, *class = tr_tokenizer_class_names(source->class);
    const json_t *places[] = {class, source->names, source->tokenizer_config,
                              legacy ? source->special_tokens_map : NULL};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        for (size_t n = 0; n < sizeof NAMES / sizeof *NAMES; n++) {
            if ((value = json_object_get(places[i], NAMES[n])) != NULL) {
                json_object_set(names, NAMES[n], value);
            }
        }
    }
    json_decref(class);
    // Names of a model's own, as image_token.
    const char *key;
    json_t *own = json_object_get(source->tokenizer_config, "extra_special_tokens");
    for (size_t i = sizeof places / sizeof *places; i-- > 2;) { // the old file's come first
        json_object_foreach((json_t *)places[i], key, value)
        {
            const char *end = strrchr(key, '_');
            if (end != NULL && strcmp(end, "_token") == 0 &&
                (json_is_string(value) || json_object_get(value, "content") != NULL)) {
                json_object_set(names, key, value);
            }
        }
    }
    if (json_is_object(own)) {
        json_object_update(names, own);
    }
    return names;
}

/// Special tokens without a name: a new list.
static json_t *extra_tokens(const tr_tokenizer_source_t *source, bool legacy)
{
    const json_t *map = legacy ? source->special_tokens_map : NULL;
    json_t *extra = json_object_get(source->tokenizer_config, "extra_special_tokens");
    json_t *old = json_object_get(source->tokenizer_config, "additional_special_tokens");
    json_t *more = json_object_get(map, "extra_special_tokens");
    if (json_array_size(extra) == 0 && old != NULL) {
        extra = old;
    }
    json_t *list = json_is_array(extra) ? json_copy(extra) : NULL;
    if (json_is_array(more)) {
        list = list == NULL ? json_array() : list;
        json_array_extend(list, more);
    }
    if (list != NULL) { // an empty list too hides those of the other files
        return list;
    }
    old = json_object_get(map, "additional_special_tokens");
    return json_copy(old != NULL ? old : source->extra);
}

/// Whether a token is named, or one without a name.
static bool is_special(const json_t *names, const json_t *extra, const char *text)
{
    const char *key;
    json_t *value;
    size_t i;
    bool found = false;
    json_object_foreach((json_t *)names, key, value)
    {
        const char *name = json_is_object(value) ? content_of(value) : json_string_value(value);
        found = found || (name != NULL && strcmp(name, text) == 0);
    }
    json_array_foreach(extra, i, value)
    {
        const char *name = json_is_object(value) ? content_of(value) : json_string_value(value);
        found = found || (name != NULL && strcmp(name, text) == 0);
    }
    return found;
}

/// The tokens with ids: "added_tokens_decoder", else those of added_tokens.json and tokenizer.json.
static numbered_list_t numbered_tokens(const tr_tokenizer_source_t *source, const json_t *names,
                                       const json_t *extra)
{
    numbered_list_t list = {0};
    const char *key;
    size_t i;
    json_t *value, *decoder = json_object_get(source->tokenizer_config, "added_tokens_decoder");
    json_object_foreach(decoder, key, value)
    {
        append(&list, strtoll(key, NULL, 10), token_of(value, false));
    }
    if (decoder != NULL) {
        return list;
    }
    json_object_foreach(source->added_tokens, key, value)
    {
        json_t *text = json_string(key);
        append(&list, json_integer_value(value), token_of(text, is_special(names, extra, key)));
        json_decref(text);
    }
    json_array_foreach(json_object_get(source->root, "added_tokens"), i, value)
    {
        append(&list, json_integer_value(json_object_get(value, "id")), token_of(value, false));
    }
    return list;
}

/// Adds the numbered tokens in the order of their ids, of one id the last; they are freed.
static void add_numbered(added_t *added, numbered_list_t *list, const json_t *names, bool raw)
{
    if (list->count > 0) {
        qsort(list->items, list->count, sizeof *list->items, by_id);
    }
    for (size_t i = 0; i < list->count; i++) {
        json_t *token = list->items[i].token;
        if (i + 1 < list->count && list->items[i + 1].id == list->items[i].id) {
            json_decref(token);
            continue;
        }
        if (is_special(names, NULL, content_of(token))) {
            json_object_set_new(token, "special", json_true());
        }
        if (raw) {
            json_object_set_new(token, "normalized", json_false());
        }
        add(added, token);
    }
    free(list->items);
}

/// A special token that is named: added if it is not there, or, again, as a plain one.
static void add_special(added_t *added, const json_t *value, bool again)
{
    json_t *token = token_of(value, true);
    if (again) {
        json_t *text = json_string(content_of(token));
        json_decref(token);
        token = token_of(text, true);
        json_decref(text);
    }
    if (content_of(token)[0] != '\0' && (again || !has(added, content_of(token)))) {
        add(added, token);
    } else {
        json_decref(token);
    }
}

static void add_specials(added_t *added, const json_t *names, const json_t *extra, bool again)
{
    const char *key;
    json_t *value;
    size_t i;
    for (i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        add_special(added, json_object_get(names, NAMES[i]), again);
    }
    json_object_foreach((json_t *)names, key, value)
    {
        add_special(added, value, again);
    }
    json_array_foreach(extra, i, value)
    {
        add_special(added, value, again);
    }
}

/// What the library has before anything is added: the file's list, of which a class that is built
/// anew has nothing. Tokens without an id get one.
static void begin(added_t *added, const tr_tokenizer_source_t *source)
{
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(source->root, "added_tokens"), i, value)
    {
        const char *text = source->class == NULL || source->whole ? content_of(value) : NULL;
        if (text != NULL && json_object_get(value, "id") == NULL) {
            add(added, token_of(value, false));
        } else if (text != NULL) {
            json_int_t id = tr_tokenizer_parse_id(json_object_get(value, "id"));
            tr_vocab_add(added->places, text, strlen(text), (int32_t)json_array_size(added->list));
            json_array_append(added->list, value);
            added->largest = id > added->largest ? id : added->largest;
        }
    }
}

// The template

/// A piece of a template: a special token, by its name.
static void add_piece(json_t *single, json_t *specials, const json_t *names, const char *key,
                      const added_t *added)
{
    json_t *token = token_of(json_object_get(names, key), true);
    const char *text = content_of(token);
    int32_t at = tr_vocab_find(added->places, text, strlen(text));
    const json_t *id = json_object_get(json_array_get(added->list, (size_t)at), "id");
    if (at >= 0) {
        json_array_append_new(
            single, json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", text, "type_id", 0));
        json_object_set_new(specials, text, json_pack("{s:s, s:[O]}", "id", text, "ids", id));
    }
    json_decref(token);
}

static void build_template(tr_tokenizer_source_t *source, const json_t *names, const added_t *added)
{
    const json_t *config = source->tokenizer_config;
    json_t *single = json_array(), *specials = json_object();
    if (tr_json_flag(config, "add_bos_token", false)) {
        add_piece(single, specials, names, "bos_token", added);
    }
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    if (tr_json_flag(config, "add_eos_token", false)) {
        add_piece(single, specials, names, "eos_token", added);
    }
    json_object_set_new(source->root, "post_processor",
                        json_pack("{s:s, s:o, s:o}", "type", "TemplateProcessing", "single", single,
                                  "special_tokens", specials));
}

tr_status tr_tokenizer_source_complete(tr_tokenizer_source_t *source, const tr_vocab_t *vocab,
                                       tr_error_t *err)
{
    // The second gives the files of some models of Mistral's another expression.
    static const char *const refused[] = {"split_special_tokens", "fix_mistral_regex"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (tr_json_flag(source->tokenizer_config, refused[i], false)) {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "tokenizer_config.json: %s is not supported",
                           refused[i]);
        }
    }
    bool legacy = json_object_get(source->tokenizer_config, "added_tokens_decoder") == NULL;
    json_t *names = named_tokens(source, legacy);
    json_t *extra = extra_tokens(source, legacy);
    numbered_list_t numbered = numbered_tokens(source, names, extra);
    size_t room = json_array_size(json_object_get(source->root, "added_tokens")) + numbered.count +
                  json_object_size(names) + json_array_size(extra);
    added_t added = {json_array(), tr_vocab_new(room), vocab, (json_int_t)source->token_count, -1};
    begin(&added, source);
    add_numbered(&added, &numbered, names, source->raw_added);
    add_specials(&added, names, extra, false);
    if (tr_tokenizer_class_adds_specials(source->class)) {
        add_specials(&added, names, extra, true);
    }
    if (!source->from_json) {
        build_template(source, names, &added);
    } else if (tr_tokenizer_class_drops_template(source->class)) {
        json_object_set_new(source->root, "post_processor", json_null());
    }
    json_object_set_new(source->root, "added_tokens", added.list);
    tr_vocab_destroy(&added.places);
    json_decref(extra);
    json_decref(source->names);
    source->names = names;
    return TR_OK;
}
