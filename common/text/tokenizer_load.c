// From the files of a Hugging Face directory to a tokenizer: whichever file has the vocabulary is
// read (tokenizer_source.c, sentencepiece.c, tiktoken.c) and completed as transformers does it
// (tokenizer_class.c, tokenizer_specials.c); then its model, pipeline and added tokens are built, a
// file each. Whatever would give other ids than transformers is refused by name.
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

// The vocabulary's file

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/// SentencePiece's and tiktoken's files may have the same name.
static tr_status read_model(tr_tokenizer_source_t *source, const char *path, tr_error_t *err)
{
    bool is_model = false;
    TR_TRY(tr_tokenizer_source_read_sentencepiece(source, path, &is_model, err));
    return is_model ? TR_OK : tr_tokenizer_source_read_tiktoken(source, path, err);
}

static tr_status read_pair(tr_tokenizer_source_t *source, const char *vocab, const char *merges,
                           tr_error_t *err)
{
    source->root = json_object();
    if (!tr_tokenizer_class_reads_pairs(source->class)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "%s: without a tokenizer.json, tokenizer_config.json or config.json must "
                       "name a class of byte-level BPE: GPT2Tokenizer, GPTNeoXTokenizer, "
                       "CodeGenTokenizer or Qwen2Tokenizer",
                       vocab);
    }
    TR_TRY(tr_tokenizer_source_read_vocab(source, vocab, err));
    return tr_tokenizer_source_read_merges(source, merges, err);
}

/// A file that only code of the model's own reads (Qwen 1's qwen.tiktoken); false if there is none.
static bool foreign_file(char *name, size_t size, const char *directory)
{
    DIR *files = opendir(directory);
    bool found = false;
    for (struct dirent *file; !found && files != NULL && (file = readdir(files)) != NULL;) {
        size_t length = strlen(file->d_name);
        found = length > 9 && length < size && strcmp(file->d_name + length - 9, ".tiktoken") == 0;
        memcpy(name, file->d_name, found ? length + 1 : 0);
    }
    if (files != NULL) {
        closedir(files);
    }
    return found;
}

/// Without a tokenizer.json.
static tr_status read_other(tr_tokenizer_source_t *source, const char *directory, tr_error_t *err)
{
    static const char *const names[] = {"tokenizer.model", "tiktoken.model", "tekken.json",
                                        "vocab.json",      "merges.txt",     "tokenizer.json"};
    enum { MODEL, TIKTOKEN, TEKKEN, VOCAB, MERGES, JSON, FILES };
    char *paths[FILES], name[256];
    tr_status status;
    for (size_t i = 0; i < FILES; i++) {
        paths[i] = tr_format("%s/%s", directory, names[i]);
    }
    TR_TRY_GOTO(tr_tokenizer_source_find_class(source, err), done);
    if (exists(paths[MODEL]) + exists(paths[TIKTOKEN]) + exists(paths[TEKKEN]) > 1) {
        status = tr_fail(err, TR_ERR_UNSUPPORTED,
                         "%s: more than one of tokenizer.model, tiktoken.model and tekken.json",
                         directory);
    } else if (exists(paths[MODEL])) {
        status = read_model(source, paths[MODEL], err);
    } else if (exists(paths[TIKTOKEN])) {
        status = tr_tokenizer_source_read_tiktoken(source, paths[TIKTOKEN], err);
    } else if (exists(paths[TEKKEN])) {
        status = tr_tokenizer_source_read_tekken(source, paths[TEKKEN], err);
    } else if (exists(paths[VOCAB]) && exists(paths[MERGES])) {
        status = read_pair(source, paths[VOCAB], paths[MERGES], err);
    } else if (foreign_file(name, sizeof name, directory)) {
        status = tr_fail(err, TR_ERR_UNSUPPORTED,
                         "%s/%s is not supported: only code that comes with the model reads it; "
                         "load it in transformers and save a tokenizer.json",
                         directory, name);
    } else {
        status = tr_tokenizer_source_read_json(source, paths[JSON], err); // says that it is missing
    }
done:
    for (size_t i = 0; i < FILES; i++) {
        free(paths[i]);
    }
    return status;
}

static tr_status read_files(tr_tokenizer_source_t *source, const char *directory, tr_error_t *err)
{
    TR_TRY(tr_tokenizer_source_open(source, directory, err));
    char *path = tr_format("%s/tokenizer.json", directory);
    tr_status status = TR_OK;
    source->from_json = exists(path);
    if (source->from_json) {
        status = tr_tokenizer_source_read_json(source, path, err);
    }
    free(path);
    TR_TRY(status);
    TR_TRY(source->from_json ? tr_tokenizer_source_find_class(source, err)
                             : read_other(source, directory, err));
    tr_tokenizer_source_build_class(source);
    return TR_OK;
}

// Special ids

/// The id of a token that is named: "text", or {"content": "text"}.
static int32_t named_id(const tr_tokenizer_t *tokenizer, const json_t *names, const char *key)
{
    const json_t *value = json_object_get(names, key);
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

/// The token of a name, from the first of the files that says it. transformers names it in
/// tokenizer_config.json; the models' files have its number; what the class or the vocabulary's
/// file would call it comes last.
static int32_t special_id(const tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                          const json_t *generation, const char *name)
{
    char *number = tr_format("%s_id", name);
    int32_t id = named_id(tokenizer, source->tokenizer_config, name);
    const json_t *files[] = {source->tokenizer_config, generation, source->config};
    for (size_t i = 0; i < sizeof files / sizeof *files && id < 0; i++) {
        id = numbered_id(files[i], number);
    }
    free(number);
    return id >= 0 ? id : named_id(tokenizer, source->names, name);
}

static tr_status read_specials(tr_tokenizer_t *tokenizer, const tr_tokenizer_source_t *source,
                               const char *directory, tr_error_t *err)
{
    json_t *generation = NULL;
    char *path = tr_format("%s/generation_config.json", directory);
    tr_status status = tr_json_read(&generation, path, true, err);
    free(path);
    TR_TRY(status);
    tokenizer->bos = special_id(tokenizer, source, generation, "bos_token");
    tokenizer->eos = special_id(tokenizer, source, generation, "eos_token");
    json_decref(generation);
    return TR_OK;
}

// All of it

static tr_status parse(tr_tokenizer_t *tokenizer, tr_tokenizer_source_t *source, tr_error_t *err)
{
    // "truncation" and "padding" are what a padded call left there: they would cut or fill every
    // text, but batches here are ragged, and cut by the recipe's limits.
    TR_TRY(tr_tokenizer_parse_model(tokenizer, source, err));
    TR_TRY(tr_tokenizer_source_complete(source, tokenizer->vocab, err));
    TR_TRY(tr_tokenizer_parse_pipeline(tokenizer, source->root, err));
    return tr_tokenizer_parse_added(tokenizer, json_object_get(source->root, "added_tokens"), err);
}

tr_status tr_tokenizer_new(tr_tokenizer_t **tokenizer, const char *model_directory, tr_error_t *err)
{
    *tokenizer = NULL;
    tr_tokenizer_source_t source = {0};
    tr_tokenizer_t *made = NULL;
    tr_status status = TR_OK;
    TR_TRY_GOTO(read_files(&source, model_directory, err), done);
    made = tr_tokenizer_empty();
    // Sentences of the parts name a key of tokenizer.json; the file is named here, for all of them.
    status = parse(made, &source, err);
    if (status != TR_OK) {
        tr_error_prefix(err, "%s%s", model_directory, source.from_json ? "/tokenizer.json" : "");
        goto done;
    }
    TR_TRY_GOTO(read_specials(made, &source, model_directory, err), done);
    *tokenizer = made;
    made = NULL;
done:
    tr_tokenizer_destroy(&made);
    tr_tokenizer_source_release(&source);
    return status;
}
