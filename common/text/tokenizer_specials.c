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

static bool is_common(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        found = found || strcmp(name, NAMES[i]) == 0;
    }
    return found;
}

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
    json_t *token;
} numbered_t;

typedef struct numbered_list {
    numbered_t *items; // [count]
    size_t count;
} numbered_list_t;

static int by_id(const void *a, const void *b)
{
    const numbered_t *left = a, *right = b;
    return left->id < right->id ? -1 : left->id > right->id;
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
            if (end != NULL && strcmp(end, "_token") == 0 && !is_common(key) &&
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
    if (json_array_size(extra) + json_object_size(extra) == 0 && old != NULL) {
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
    json_t *mapped = json_object_get(map, "additional_special_tokens");
    return json_copy(source->extra != NULL ? source->extra : mapped != NULL ? mapped : old);
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

/// A token without an id, an AddedToken or a text, which is special: added if it is not one of the
/// first `known` of the list; `again`: as a plain special one.
static void add_special(added_t *added, const json_t *value, bool special, size_t known, bool again)
{
    json_t *token = token_of(value, special || json_is_string(value));
    if (again) {
        json_t *text = json_string(content_of(token));
        json_decref(token);
        token = token_of(text, true);
        json_decref(text);
    }
    const char *text = content_of(token);
    int32_t at = tr_vocab_find(added->places, text, strlen(text));
    if (text[0] != '\0' && (at < 0 || (size_t)at >= known)) {
        add(added, token);
    } else {
        json_decref(token);
    }
}

json_t *tr_tokenizer_source_numbered(const tr_tokenizer_source_t *source)
{
    json_t *decoder = json_object_get(source->tokenizer_config, "added_tokens_decoder"), *value;
    json_t *list = json_object();
    const char *key;
    size_t i;
    json_object_foreach(decoder, key, value)
    {
        json_object_set_new(list, key, token_of(value, false));
    }
    if (decoder != NULL) {
        return list;
    }
    json_t *names = named_tokens(source, true), *extra = extra_tokens(source, true);
    json_object_foreach(source->added_tokens, key, value)
    {
        char *id = tr_format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        json_t *text = json_string(key);
        json_object_set_new(list, id, token_of(text, is_special(names, extra, key)));
        json_decref(text);
        free(id);
    }
    json_array_foreach(json_object_get(source->root, "added_tokens"), i, value)
    {
        char *id =
            tr_format("%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(value, "id")));
        json_object_set_new(list, id, token_of(value, false));
        free(id);
    }
    json_decref(names);
    json_decref(extra);
    return list;
}

/// In the order of their ids. The tokens are the object's.
static numbered_list_t sorted(const json_t *numbered)
{
    numbered_list_t list = {tr_calloc(json_object_size(numbered) + 1, sizeof(numbered_t)), 0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)numbered, key, value)
    {
        list.items[list.count++] = (numbered_t){strtoll(key, NULL, 10), value};
    }
    qsort(list.items, list.count, sizeof *list.items, by_id);
    return list;
}

/// How many ids from `first` on reach to the largest in the list: each becomes a token. *count is
/// written on success only.
static tr_status count_reserved(size_t *count, const numbered_list_t *list, size_t first,
                                tr_error_t *err)
{
    enum { RESERVED_LIMIT = 1 << 16 };
    const json_int_t last = list->count == 0 ? -1 : list->items[list->count - 1].id;
    const size_t past = last < (json_int_t)first ? 0 : (size_t)last - first + 1;
    if (past > RESERVED_LIMIT) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "tokenizer_config.json: added_tokens_decoder: expected ids below %zu, of a "
                       "vocabulary of %zu tokens, found %" JSON_INTEGER_FORMAT,
                       first + RESERVED_LIMIT, first, last);
    }
    *count = past;
    return TR_OK;
}

/// What tiktoken's reader adds first: of `count` ids past the vocabulary the token that has it, or
/// one in its place, then the special tokens without a name.
static void add_reserved(added_t *added, size_t count, const json_t *numbered, const json_t *extra)
{
    json_t *value;
    size_t i;
    for (i = 0; i < count; i++) {
        char *number = tr_format("%" JSON_INTEGER_FORMAT, added->model_size + (json_int_t)i);
        char *reserved = tr_format("<|reserved_token_%s|>", number);
        const json_t *token = json_object_get(numbered, number);
        json_t *text = json_string(token == NULL ? reserved : content_of(token));
        add(added, token_of(text, true));
        json_decref(text);
        free(reserved);
        free(number);
    }
    json_array_foreach((json_t *)extra, i, value)
    {
        add_special(added, value, true, 0, false);
    }
}

/// Adds the numbered tokens; those that are named are special.
static void add_numbered(added_t *added, const numbered_list_t *list, const json_t *names, bool raw)
{
    for (size_t i = 0; i < list->count; i++) {
        json_t *token = json_copy(list->items[i].token);
        if (is_special(names, NULL, content_of(token))) {
            json_object_set_new(token, "special", json_true());
        }
        if (raw) {
            json_object_set_new(token, "normalized", json_false());
        }
        add(added, token);
    }
}

static void add_specials(added_t *added, const json_t *names, const json_t *extra, bool again)
{
    const char *key;
    json_t *value;
    size_t i, known = again ? 0 : json_array_size(added->list);
    for (i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        add_special(added, json_object_get(names, NAMES[i]), true, known, again);
    }
    json_object_foreach((json_t *)names, key, value)
    {
        if (!is_common(key)) {
            add_special(added, value, true, known, again);
        }
    }
    json_array_foreach(extra, i, value)
    {
        const char *text = json_is_object(value) ? content_of(value) : NULL;
        bool named = text != NULL && is_special(names, NULL, text);
        add_special(added, value, named, known, again);
    }
}

/// What the library has before anything is added: the file's list, of which a class that is built
/// anew has nothing.
static tr_status begin(added_t *added, const tr_tokenizer_source_t *source, tr_error_t *err)
{
    size_t i;
    json_t *value;
    json_array_foreach(json_object_get(source->root, "added_tokens"), i, value)
    {
        const json_t *id = json_object_get(value, "id");
        // Only tiktoken's names have no id.
        if (content_of(value) == NULL || (id != NULL && tr_tokenizer_parse_id(id) < 0)) {
            return tr_fail(err, TR_ERR_FORMAT, "added_tokens[%zu]: expected content and id", i);
        }
        if (source->class == NULL || source->whole) {
            add(added, json_copy(value));
        }
    }
    return TR_OK;
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

/// What changes ids, and is not done. The second gives the files of some models of Mistral's
/// another expression.
static tr_status refuse_options(const tr_tokenizer_source_t *source, tr_error_t *err)
{
    static const char *const refused[] = {"split_special_tokens", "fix_mistral_regex"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (tr_json_flag(source->tokenizer_config, refused[i], false)) {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "tokenizer_config.json: %s is not supported",
                           refused[i]);
        }
    }
    return TR_OK;
}

tr_status tr_tokenizer_source_complete(tr_tokenizer_source_t *source, const tr_vocab_t *vocab,
                                       tr_error_t *err)
{
    TR_TRY(refuse_options(source, err));
    bool legacy = json_object_get(source->tokenizer_config, "added_tokens_decoder") == NULL;
    json_t *names = named_tokens(source, legacy);
    json_t *extra = extra_tokens(source, legacy);
    json_t *numbered = tr_tokenizer_source_numbered(source);
    numbered_list_t list = sorted(numbered);
    size_t reserved = 0;
    tr_status status =
        source->reserves ? count_reserved(&reserved, &list, source->token_count, err) : TR_OK;
    size_t room = json_array_size(json_object_get(source->root, "added_tokens")) + list.count +
                  json_object_size(names) + json_array_size(extra) + reserved;
    added_t added = {json_array(), tr_vocab_new(room), vocab, (json_int_t)source->token_count, -1};
    TR_TRY_GOTO(status, done);
    TR_TRY_GOTO(begin(&added, source, err), done);
    if (source->reserves) {
        add_reserved(&added, reserved, numbered, extra);
    }
    add_numbered(&added, &list, names, source->raw_added);
    add_specials(&added, names, extra, false);
    if (tr_tokenizer_class_adds_specials(source->class)) {
        add_specials(&added, names, extra, true);
    }
    if (!source->from_json) {
        build_template(source, names, &added);
    } else if (tr_tokenizer_class_drops_template(source->class)) {
        json_object_set_new(source->root, "post_processor", json_null());
    }
    json_object_set(source->root, "added_tokens", added.list);
done:
    json_decref(added.list);
    tr_vocab_destroy(&added.places);
    free(list.items);
    json_decref(numbered);
    json_decref(extra);
    json_decref(source->names);
    source->names = names;
    return status;
}
