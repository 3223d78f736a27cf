// Where a template's text comes from: Troupe's own by name, a file, or the model's directory; and
// the special tokens that templates ask a tokenizer for.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/text/chat_parts.h"
#include "common/text/json.h"

enum { TEMPLATE_LIMIT = 1 << 20 };

// Templates

/// The template of a tokenizer_config.json: of several, the default one. NULL if it has none.
/// Borrowed.
static const json_t *default_template(const json_t *config)
{
    const json_t *found = json_object_get(config, "chat_template");
    if (!json_is_array(found)) {
        return json_is_null(found) ? NULL : found;
    }
    for (size_t i = 0; i < json_array_size(found); i++) {
        const json_t *item = json_array_get(found, i);
        if (strcmp(tr_json_string(item, "name", ""), "default") == 0) {
            return json_object_get(item, "template");
        }
    }
    return NULL;
}

/// Looks into tokenizer_config.json, if there is one.
static tr_status find_in_config(char **text, size_t *length, const char *directory, tr_error_t *err)
{
    json_t *config = NULL;
    char *path = tr_format("%s/tokenizer_config.json", directory);
    tr_status status = TR_OK;
    TR_TRY_GOTO(tr_json_read(&config, path, true, err), done);
    const json_t *template = default_template(config);
    if (template != NULL && !json_is_string(template)) {
        status =
            tr_fail(err, TR_ERR_FORMAT,
                    "%s: chat_template: expected a string, or a list of names and templates", path);
    } else if (template != NULL) {
        *text = tr_strdup(json_string_value(template));
        *length = strlen(*text);
    }
done:
    json_decref(config);
    free(path);
    return status;
}

static tr_status find_in_model(char **text, size_t *length, const char *directory, tr_error_t *err)
{
    char *path = tr_format("%s/chat_template.jinja", directory);
    tr_status status = access(path, F_OK) == 0
                           ? tr_file_read(text, length, path, TEMPLATE_LIMIT, err)
                           : find_in_config(text, length, directory, err);
    free(path);
    return status;
}

tr_status tr_chat_find(char **text, size_t *length, const tr_chat_source_t *source, tr_error_t *err)
{
    *text = NULL;
    if (source->name == NULL) {
        return find_in_model(text, length, source->model, err);
    }
    const char *own = tr_chat_template(source->name);
    if (own == NULL) {
        return tr_file_read(text, length, source->name, TEMPLATE_LIMIT, err);
    }
    *text = tr_strdup(own);
    *length = strlen(own);
    return TR_OK;
}

// Special tokens

/// A token of tokenizer_config.json: its text, or an object with its content. NULL: none.
static const char *token_text(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/// Where the file does not say, what the tokenizer found in the model's other files.
static void add_token(json_t *tokens, const json_t *config, const char *key,
                      const tr_tokenizer_t *tokenizer, int32_t id)
{
    const char *text = json_object_get(config, key) != NULL ? token_text(config, key)
                                                            : tr_tokenizer_token(tokenizer, id);
    if (text != NULL) {
        json_object_set_new(tokens, key, json_string(text));
    }
}

tr_status tr_chat_tokens(json_t **tokens, const char *model, const tr_tokenizer_t *tokenizer,
                         tr_error_t *err)
{
    static const char *const others[] = {"unk_token", "sep_token", "pad_token", "cls_token",
                                         "mask_token"};
    json_t *config = NULL;
    char *path = tr_format("%s/tokenizer_config.json", model);
    tr_status status = tr_json_read(&config, path, true, err);
    free(path);
    *tokens = json_object();
    add_token(*tokens, config, "bos_token", tokenizer, tr_tokenizer_bos(tokenizer));
    add_token(*tokens, config, "eos_token", tokenizer, tr_tokenizer_eos(tokenizer));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        add_token(*tokens, config, others[i], tokenizer, -1);
    }
    json_decref(config);
    return status;
}
