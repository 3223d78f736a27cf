// A Hugging Face directory grows beside its name and takes it at the end, so that a reader finds
// all of it or nothing.
//
// Nothing here knows models: the text of config.json and the tensors come from the caller
// (common/model/trainer_save.c). Checkpoints of a run rely on it: a process killed while saving
// leaves a `.tmp` and no half checkpoint.
#include "common/hf/directory.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

enum { COPY_LIMIT = 256 << 20 };

/// What a tokenizer of transformers may consist of; files that source lacks are left out.
static const char *const COPIED[] = {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "tiktoken.model",
    "tekken.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
};

/// directory without slashes at its end, then suffix; owned by the caller.
static char *named(const char *directory, const char *suffix)
{
    size_t length = strlen(directory);
    // "runs/x/" and "runs/x" must have the same staging name
    while (length > 1 && directory[length - 1] == '/') {
        length--;
    }
    return tr_format("%.*s%s", (int)length, directory, suffix);
}

/// Nothing is there, or an empty directory.
static tr_status check_free(const char *directory, tr_error_t *err)
{
    DIR *listing = opendir(directory);
    if (listing == NULL && errno == ENOENT) {
        return TR_OK;
    }
    if (listing == NULL) {
        return tr_fail(err, TR_ERR_ARGUMENT, "cannot save to '%s': %s", directory, strerror(errno));
    }
    size_t entries = 0;
    while (readdir(listing) != NULL) {
        entries++;
    }
    closedir(listing);
    // readdir also gives "." and ".."
    return entries <= 2 ? TR_OK // . and ..
                        : tr_fail(err, TR_ERR_ARGUMENT,
                                  "cannot save to '%s': it is not empty; remove it or name another",
                                  directory);
}

/// Copies a file of source into staging; one that source lacks is passed over.
static tr_status copy_file(const char *staging, const char *source, const char *name,
                           tr_error_t *err)
{
    char *from = tr_format("%s/%s", source, name);
    char *to = tr_format("%s/%s", staging, name);
    char *data = NULL;
    size_t length;
    tr_status status = TR_OK;
    if (access(from, F_OK) == 0) {
        TR_TRY_GOTO(tr_file_read(&data, &length, from, COPY_LIMIT, err), done);
        TR_TRY_GOTO(tr_file_write_atomic(to, data, length, err), done);
    }
done:
    free(data);
    free(to);
    free(from);
    return status;
}

/// The caller's text, byte for byte: runs are compared by the hashes of these files.
static tr_status write_text(const char *staging, const char *name, const char *text,
                            tr_error_t *err)
{
    char *path = tr_format("%s/%s", staging, name);
    tr_status status = tr_file_write_atomic(path, text, strlen(text), err);
    free(path);
    return status;
}

/// A file of tensors, whatever its size: shards are only read.
static tr_status write_tensors(const char *staging, const char *name,
                               const tr_safetensors_entry_t *entries, size_t count,
                               const tr_safetensors_pair_t *metadata, tr_error_t *err)
{
    char *path = tr_format("%s/%s", staging, name);
    tr_status status = tr_safetensors_write(path, entries, count, metadata, err);
    free(path);
    return status;
}

static tr_status write_files(const char *staging, const tr_hf_model_t *model, tr_error_t *err)
{
    // transformers refuses a model's file without it
    static const tr_safetensors_pair_t format = {"format", "pt"};
    const bool adapter = model->adapter;
    TR_TRY(
        write_text(staging, adapter ? "adapter_config.json" : "config.json", model->config, err));
    for (size_t i = 0; model->source != NULL && i < sizeof COPIED / sizeof *COPIED; i++) {
        TR_TRY(copy_file(staging, model->source, COPIED[i], err));
    }
    if (model->generation != NULL) {
        TR_TRY(write_text(staging, "generation_config.json", model->generation, err));
    }
    // transformers looks there before it looks into tokenizer_config.json
    if (model->chat_template != NULL) {
        TR_TRY(write_text(staging, "chat_template.jinja", model->chat_template, err));
    }
    // the weights come late: they are the longest to write and the likeliest to fail
    TR_TRY(write_tensors(staging, adapter ? "adapter_model.safetensors" : "model.safetensors",
                         model->entries, model->count, &format, err));
    return model->state_count == 0 ? TR_OK
                                   : write_tensors(staging, "optimizer.safetensors", model->state,
                                                   model->state_count, NULL, err);
}

/// The order makes it safe: the data to the disk, then the name, then the folder that holds the
/// name.
static tr_status publish(const char *staging, const char *directory, tr_error_t *err)
{
    TR_TRY(tr_directory_sync_tree(staging, err));
    // replaces an empty directory, as POSIX allows
    if (rename(staging, directory) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot rename '%s' to '%s': %s", staging, directory,
                       strerror(errno));
    }
    return tr_directory_sync_parent(directory, err);
}

tr_status tr_hf_save(const char *directory, const tr_hf_model_t *model, tr_error_t *err)
{
    TR_TRY(check_free(directory, err));
    char *final = named(directory, ""), *staging = named(directory, ".tmp");
    tr_status status;
    // a process that was killed while saving has left this
    TR_TRY_GOTO(tr_directory_remove(staging, err), done);
    // With the folders above it: a checkpoint's directory is named before a run has written
    // anything.
    TR_TRY_GOTO(tr_directory_make(staging, err), done);
    TR_TRY_GOTO(write_files(staging, model, err), done);
    TR_TRY_GOTO(publish(staging, final, err), done);
done:
    if (status != TR_OK) {
        tr_directory_remove(staging, NULL); // what stays is removed by the next save
    }
    free(staging);
    free(final);
    return status;
}
