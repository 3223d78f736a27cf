// By the names of the files there, apart from who looks for a file: those of a configuration and
// of weights (common/model/config.c, safetensors.c) say the same.
#include "common/hf/advice.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

/// The first whose pattern a file has counts: what is most of a model comes first.
static const struct {
    const char *pattern, *advice;
} KNOWN[] = {
    {"model-*-of-*.safetensors", "its shards lack their list, model.safetensors.index.json: fetch "
                                 "that too"},
    {"pytorch_model_fsdp*", "weights of FSDP: accelerate merge-weights makes model.safetensors of "
                            "them"},
    {"pytorch_model*.bin*", "a pickle can run any program, so pytorch_model.bin is not read: load "
                            "it in transformers and save it (save_pretrained), which writes "
                            "model.safetensors"},
    {"global_step*", "weights of DeepSpeed: its zero_to_fp32.py makes model.safetensors of them "
                     "(--safe_serialization)"},
    {"consolidated*", "consolidated files have their maker's own names of tensors: fetch the "
                      "files for transformers (model*.safetensors, config.json)"},
    {"*.gguf", "GGUF is llama.cpp's: fetch the model that it was made of, or load it in "
               "transformers (gguf_file=) and save it"},
    {"snapshots", "it is of the Hub's cache: name the folder of a revision in its snapshots/"},
    {"models--*", "it is the Hub's cache: name the folder of a revision, "
                  "models--OWNER--NAME/snapshots/REVISION"},
    {"final", "it is the directory of a run: name its final/"},
    {"checkpoint-*", "it holds checkpoints: name one"},
};
enum { KNOWN_COUNT = sizeof KNOWN / sizeof *KNOWN };

/// The row of a file's name; KNOWN_COUNT: it has none.
static size_t row_of(const char *name)
{
    size_t row = 0;
    while (row < KNOWN_COUNT && fnmatch(KNOWN[row].pattern, name, 0) != 0) {
        row++;
    }
    return row;
}

/// The first row that a file of the directory has.
static size_t first_row(const char *directory)
{
    size_t first = KNOWN_COUNT;
    DIR *listing = opendir(directory);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        const size_t row = row_of(entry->d_name);
        first = row < first ? row : first;
    }
    if (listing != NULL) {
        closedir(listing);
    }
    return first;
}

tr_status tr_hf_refuse(const char *path, const char *lacks, tr_error_t *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return tr_fail(err, TR_ERR_IO,
                       "there is no model directory '%s'; of the Hub's, hf download NAME "
                       "--local-dir DIR makes one",
                       path);
    }
    const char *slash = strrchr(path, '/');
    const bool is_directory = S_ISDIR(info.st_mode);
    const size_t row = is_directory ? first_row(path) : row_of(slash != NULL ? slash + 1 : path);
    const char *advice = row < KNOWN_COUNT ? KNOWN[row].advice
                                           : "expected what save_pretrained of transformers writes";
    return is_directory ? tr_fail(err, TR_ERR_IO, "'%s' holds no %s: %s", path, lacks, advice)
                        : tr_fail(err, TR_ERR_IO, "'%s' is a file, not a model's directory: %s",
                                  path, advice);
}
