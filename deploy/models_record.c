// The record of a run's model directories: made before the run, compared before it is resumed.
//
// A run is a function of its models too, and their directories are not the run's: somebody may
// train in them again, or edit a config. Checkpoints have checksums of their own
// (controller/checksums.h). Next: deploy/models_check.h for whether a directory can be used at all.
#include "deploy/models_record.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/hf/json_file.h"
#include "controller/checksums.h"

enum { RECORD_LIMIT = 1 << 24 }; // bytes of models.json

// What a directory holds

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);
    return length > strlen(end) && strcmp(name + length - strlen(end), end) == 0;
}

/// Whether a model is loaded from it: configs, tokenizer, chat template, weights.
static bool is_read(const char *name)
{
    return ends_with(name, ".json") || ends_with(name, ".jinja") ||
           ((strncmp(name, "model", 5) == 0 || strncmp(name, "adapter_model", 13) == 0) &&
            ends_with(name, ".safetensors"));
}

/// Adds one file. before: what the record has of it, or NULL.
static tr_status look_at(json_t *files, const char *directory, const char *name,
                         const json_t *before, tr_error_t *err)
{
    char *path = tr_format("%s/%s", directory, name);
    char sum[CONTROLLER_CHECKSUM_DIGITS + 1];
    struct stat found;
    tr_status status = TR_OK;
    if (stat(path, &found) != 0) {
        status = tr_fail(err, TR_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
    } else if (S_ISREG(found.st_mode)) {
        json_int_t size = found.st_size;
        json_int_t mtime = (json_int_t)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec;
        const char *known = json_string_value(json_object_get(before, "checksum"));
        bool same = known != NULL && json_integer_value(json_object_get(before, "size")) == size &&
                    json_integer_value(json_object_get(before, "mtime")) == mtime;
        status = same ? TR_OK : controller_checksum(sum, path, err);
        if (status == TR_OK) {
            json_object_set_new(files, name,
                                json_pack("{s:I, s:I, s:s}", "size", size, "mtime", mtime,
                                          "checksum", same ? known : sum));
        }
    }
    free(path);
    return status;
}

/// Adds every file that a model is loaded from. before: the record's.
static tr_status look_at_all(json_t *files, const char *directory, const json_t *before,
                             tr_error_t *err)
{
    DIR *listing = opendir(directory);
    if (listing == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot read '%s': %s", directory, strerror(errno));
    }
    tr_status status = TR_OK;
    for (struct dirent *entry; status == TR_OK && (entry = readdir(listing)) != NULL;) {
        if (is_read(entry->d_name)) {
            status = look_at(files, directory, entry->d_name,
                             json_object_get(before, entry->d_name), err);
        }
    }
    closedir(listing);
    return status;
}

// Comparison

/// The first file of a that is missing in b, or another there. NULL: there is none.
static const char *different(json_t *a, const json_t *b)
{
    const char *name;
    json_t *file;
    json_object_foreach(a, name, file)
    {
        if (!json_equal(json_object_get(file, "checksum"),
                        json_object_get(json_object_get(b, name), "checksum"))) {
            return name;
        }
    }
    return NULL;
}

static tr_status compare(const char *key, const char *directory, json_t *before, json_t *now,
                         tr_error_t *err)
{
    const char *name = different(before, now);
    name = name != NULL ? name : different(now, before);
    // judges may change, so theirs may be another directory
    const char *judge = strncmp(key, "roles.reward", 12) == 0 ? key : NULL;
    return name == NULL
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT,
                         "%s: '%s/%s' is another file than when the run began: put it "
                         "back, or %s%s%s",
                         key, directory, name, judge != NULL ? "name another model (" : "",
                         judge != NULL ? judge : "start a new run", judge != NULL ? "=DIR)" : "");
}

/// Adds a key's directory to the record. directory: NULL: it names none. old: the run's record.
static tr_status add(json_t *record, const char *key, const char *directory, const json_t *old,
                     tr_error_t *err)
{
    if (directory == NULL) {
        return TR_OK;
    }
    json_t *known = json_object_get(old, key), *files = json_object();
    const char *place = json_string_value(json_object_get(known, "directory"));
    json_t *before =
        place != NULL && strcmp(place, directory) == 0 ? json_object_get(known, "files") : NULL;
    tr_status status = look_at_all(files, directory, before, err);
    if (status == TR_OK && before != NULL) {
        status = compare(key, directory, before, files, err);
    }
    json_object_set_new(record, key,
                        json_pack("{s:s, s:o}", "directory", directory, "files", files));
    return status;
}

static tr_status add_judges(json_t *record, const tr_judges_t *judges, const json_t *old,
                            tr_error_t *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < judges->count && status == TR_OK; i++) {
        if (judges->items[i].kind == &tr_judge_model) {
            const tr_model_judge_t *options = judges->items[i].options;
            char *model = tr_format("roles.reward.%zu.model", i);
            char *adapter = tr_format("roles.reward.%zu.adapter", i);
            status = add(record, model, options->model, old, err);
            if (status == TR_OK) {
                status = add(record, adapter, options->adapter, old, err);
            }
            free(adapter);
            free(model);
        }
    }
    return status;
}

tr_status models_record_take(json_t **record, const tr_recipe_t *recipe, const char *run_directory,
                             tr_error_t *err)
{
    char *path = tr_format("%s/models.json", run_directory);
    json_t *old = NULL;
    tr_status status =
        access(path, F_OK) == 0 ? tr_json_file_read(&old, path, RECORD_LIMIT, err) : TR_OK;
    free(path);
    *record = json_object();
    // keys that the algorithm does not read are null
    TR_TRY_GOTO(status, done);
    TR_TRY_GOTO(add(*record, "model", recipe->model, old, err), done);
    TR_TRY_GOTO(add(*record, "reference", recipe->reference, old, err), done);
    TR_TRY_GOTO(add(*record, "roles.critic.model", recipe->roles.critic.model, old, err), done);
    TR_TRY_GOTO(add(*record, "adapter", recipe->adapter, old, err), done);
    TR_TRY_GOTO(add(*record, "roles.critic.adapter", recipe->roles.critic.adapter, old, err), done);
    status = add_judges(*record, &recipe->roles.reward, old, err);
done:
    if (status != TR_OK) {
        json_decref(*record);
        *record = NULL;
    }
    json_decref(old);
    return status;
}

tr_status models_record_write(const json_t *record, const char *run_directory, tr_error_t *err)
{
    char *path = tr_format("%s/models.json", run_directory);
    char *text = json_dumps(record, JSON_INDENT(2) | JSON_SORT_KEYS);
    tr_status status = tr_file_write_atomic(path, text, strlen(text), err);
    free(text);
    free(path);
    return status;
}
