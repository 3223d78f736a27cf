// From the files of a Hugging Face directory to a tokenizer: tokenizer.json, whose model, pipeline
// and added tokens have a file each (tokenizer_*.c), then the special ids of the other files.
// Whatever would give other ids than the `tokenizers` library is refused by name.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

// tokenizer.json

static tr_status parse(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                       tr_error_t *err)
{
    const json_t *root = source->root;
    // "truncation" and "padding" are what a padded call left there: they would cut or fill every
    // text, but batches here are ragged, and cut by the recipe's limits.
    TR_TRY(tr_tokenizer_parse_model(tokenizer, source, err));
    TR_TRY(tr_tokenizer_parse_pipeline(tokenizer, root, err));
    return tr_tokenizer_parse_added(tokenizer, json_object_get(root, "added_tokens"), err);
}

// Special ids

/// The id of a token that tokenizer_config.json names: "text", or {"content": "text"}.
static int32_t named_id(const tr_tokenizer_t *tokenizer, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    const char *text =
        // An AddedToken, or its text alone.
        json_is_object(value) ? tr_json_string(value, "content", NULL) : json_string_value(value);
    return text == NULL ? -1 : tr_tokenizer_id(tokenizer, text);
}

/// The first id at a key: a number, or a list of numbers.
static int32_t numbered_id(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    // Of a list the first: Llama 3's begins with <|end_of_text|>.
    return tr_tokenizer_parse_id(json_is_array(value) ? json_array_get(value, 0) : value);
}

/// The begin and end tokens, each from the first of the files that says it. transformers names them
/// in tokenizer_config.json; the others have their numbers.
static tr_status read_specials(tr_tokenizer_t *tokenizer, const char *directory, tr_error_t *err)
{
    static const char *const names[] = {"tokenizer_config.json", "generation_config.json",
                                        "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *file;
        char *path = tr_format("%s/%s", directory, names[i]);
        tr_status status = tr_json_read(&file, path, true, err);
        free(path);
        TR_TRY(status);
        if (i == 0) {
            tokenizer->bos = named_id(tokenizer, file, "bos_token");
            tokenizer->eos = named_id(tokenizer, file, "eos_token");
        }
        if (tokenizer->bos < 0) {
            tokenizer->bos = numbered_id(file, "bos_token_id");
        }
        if (tokenizer->eos < 0) {
            tokenizer->eos = numbered_id(file, "eos_token_id");
        }
        json_decref(file);
    }
    return TR_OK;
}

// Both

tr_status tr_tokenizer_new(tr_tokenizer_t **tokenizer, const char *model_directory, tr_error_t *err)
{
    *tokenizer = NULL;
    char *path = tr_format("%s/tokenizer.json", model_directory);
    tr_tokenizer_source_t source = {0};
    tr_tokenizer_t *made = NULL;
    tr_status status = TR_OK;
    TR_TRY_GOTO(tr_tokenizer_source_read_json(&source, path, err), done);
    TR_TRY_GOTO(tr_tokenizer_apply_class(source.root, model_directory, err), done);
    made = tr_tokenizer_empty();
    // Sentences of the parts name a key; the file is named here, for all of them.
    status = parse(made, &source, err);
    if (status != TR_OK) {
        tr_error_prefix(err, "%s", path);
        goto done;
    }
    TR_TRY_GOTO(read_specials(made, model_directory, err), done);
    *tokenizer = made;
    made = NULL;
done:
    tr_tokenizer_destroy(&made);
    tr_tokenizer_source_release(&source);
    free(path);
    return status;
}
