// Opening safetensors: which files a path means, mapping them, looking tensors up.
//
// A large model is cut into several files that an index lists; they become one list of tensors
// here. The header of a file is safetensors_header.c, values are safetensors_read.c, writing is
// safetensors_write.c.
#include "common/hf/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hf/advice.h"
#include "common/hf/json_file.h"
#include "common/hf/safetensors_parts.h"

/// an index has about 100 bytes a tensor
enum { INDEX_LIMIT = 64 << 20 };

// The names that transformers' save_pretrained gives its files.
static const char SINGLE[] = "model.safetensors";
static const char INDEX[] = "model.safetensors.index.json";

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tr_safetensors_info_t *)a)->name,
                  ((const tr_safetensors_info_t *)b)->name);
}

/// For qsort of an array of strings.
static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/// The descriptor is closed at once: a mapping outlives it.
static tr_status map_file(shard_t *shard, tr_error_t *err)
{
    struct stat info;
    // O_CLOEXEC: a judge's program must not inherit it
    int descriptor = open(shard->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", shard->path, strerror(errno));
    }
    if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(descriptor);
        return tr_fail(err, TR_ERR_IO, "cannot read '%s': not a regular file", shard->path);
    }
    // mmap refuses 0 bytes; the header's check reports an empty file
    size_t bytes = (size_t)info.st_size;
    void *map = bytes == 0 ? NULL : mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    // close may set errno too
    int code = errno;
    close(descriptor);
    if (map == MAP_FAILED) {
        return tr_fail(err, TR_ERR_IO, "cannot map '%s': %s", shard->path, strerror(code));
    }
    shard->map = map;
    shard->bytes = bytes;
    return TR_OK;
}

/// Maps a file and reads its header. The path is taken; what fails is freed by
/// tr_safetensors_close.
/// A file that fails stays in the list: it is freed with the others.
static tr_status add_shard(tr_safetensors_t *file, char *path, tr_error_t *err)
{
    // Counted before it is mapped, so that tr_safetensors_close frees what a failure leaves.
    file->shards = tr_realloc(file->shards, (file->shard_count + 1) * sizeof *file->shards);
    shard_t *shard = &file->shards[file->shard_count++];
    *shard = (shard_t){.path = path};
    TR_TRY(map_file(shard, err));
    return safetensors_read_header(file, shard, err);
}

/// The shards that an index names, each once, in order of name. *names: [*count], borrowed from
/// map.
static tr_status list_shards(const char ***names, size_t *count, const char *path, json_t *map,
                             tr_error_t *err)
{
    const char *tensor;
    json_t *value;
    size_t n = 0;
    // one entry a tensor at first; doubles go once the names are sorted
    const char **list = tr_calloc(json_object_size(map) + 1, sizeof *list);
    *names = list;
    *count = 0;
    json_object_foreach(map, tensor, value)
    {
        // The index may come from a stranger, as all of a downloaded directory.
        const char *name = json_string_value(value);
        // a slash could lead out of the model's directory
        if (name == NULL || *name == '\0' || strchr(name, '/') != NULL) {
            char found[80];
            return tr_fail(err, TR_ERR_FORMAT,
                           "%s: weight_map: '%s': expected the name of a file beside it, found %s",
                           path, tensor, tr_json_describe(found, sizeof found, value));
        }
        // Each shard as often as it has tensors; doubles are taken out below.
        list[n++] = name;
    }
    if (n > 0) {
        qsort(list, n, sizeof *list, by_text);
    }
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(list[i], list[*count - 1]) != 0) {
            list[(*count)++] = list[i];
        }
    }
    return TR_OK;
}

/// The tensors of a shard, infos[first..], are those that the index looks for there.
static tr_status check_shard(const tr_safetensors_t *file, size_t first, const char *name,
                             const json_t *map, tr_error_t *err)
{
    for (size_t i = first; i < file->count; i++) {
        const char *tensor = file->infos[i].name;
        // A stale index is the usual cause: shards were replaced and the index was not.
        const char *place = json_string_value(json_object_get(map, tensor));
        if (place == NULL || strcmp(place, name) != 0) {
            return tr_fail(err, TR_ERR_FORMAT,
                           "%s: weight_map: tensor '%s' is in '%s', not in '%s'", file->path,
                           tensor, name, place == NULL ? "(nothing)" : place);
        }
    }
    return TR_OK;
}

/// Once infos are in order of name.
/// check_shard has seen that what is there is in its place; this sees that nothing is missing.
static tr_status check_all_there(const tr_safetensors_t *file, json_t *map, tr_error_t *err)
{
    const char *tensor;
    json_t *place;
    json_object_foreach(map, tensor, place)
    {
        if (tr_safetensors_find(file, tensor) == NULL) {
            return tr_fail(err, TR_ERR_FORMAT, "%s: weight_map: '%s' lacks tensor '%s'", file->path,
                           json_string_value(place), tensor);
        }
    }
    return TR_OK;
}

/// In order of name, for bsearch.
static void sort(tr_safetensors_t *file)
{
    // qsort must not be given a null pointer, even for nothing.
    if (file->count > 0) {
        qsort(file->infos, file->count, sizeof *file->infos, by_name);
    }
}

/// All files that the index names. Each is checked against the index as soon as its header is read;
/// that nothing is missing can be seen only at the end.
static tr_status open_shards(tr_safetensors_t *file, json_t *map, tr_error_t *err)
{
    const char **names;
    size_t count;
    const char *slash = strrchr(file->path, '/');
    // shards lie beside the index
    int folder = slash == NULL ? 0 : (int)(slash + 1 - file->path);
    // names are the index's own strings: they live as long as `map`
    tr_status status = list_shards(&names, &count, file->path, map, err);
    for (size_t i = 0; i < count && status == TR_OK; i++) {
        // infos is one list for all shards; bsearch needs no more.
        size_t first = file->count;
        // infos of this shard are the ones from `first` on
        TR_TRY_GOTO(add_shard(file, tr_format("%.*s%s", folder, file->path, names[i]), err), done);
        TR_TRY_GOTO(check_shard(file, first, names[i], map, err), done);
    }
    if (status == TR_OK) {
        sort(file);
        status = check_all_there(file, map, err);
    }
done:
    free(names);
    return status;
}

/// weight_map gives each tensor's file.
/// Its "metadata" (total_size) is not read: files tell their sizes themselves.
static tr_status open_index(tr_safetensors_t *file, tr_error_t *err)
{
    json_t *index;
    TR_TRY(tr_json_file_read(&index, file->path, INDEX_LIMIT, err));
    json_t *map = json_object_get(index, "weight_map");
    tr_status status =
        json_is_object(map)
            ? open_shards(file, map, err)
            : tr_fail(err, TR_ERR_FORMAT, "%s: weight_map: expected an object", file->path);
    json_decref(index);
    return status;
}

/// One file is a list of one shard.
static tr_status open_single(tr_safetensors_t *file, tr_error_t *err)
{
    TR_TRY(add_shard(file, tr_strdup(file->path), err));
    sort(file);
    return TR_OK;
}

/// The file that path means, owned by the caller: of a model's directory, as transformers'
/// from_pretrained takes it, or path itself.
static tr_status resolve(char **found, const char *path, tr_error_t *err)
{
    struct stat info;
    const char *const names[] = {SINGLE, INDEX};
    // Before anything is joined to it, so that a path that does not exist is named as it was given.
    if (stat(path, &info) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    // A file's name is not looked at yet: a cache may give it any.
    if (!S_ISDIR(info.st_mode)) {
        *found = tr_strdup(path);
        return TR_OK;
    }
    // a single file goes before an index, as in transformers
    for (size_t i = 0; i < 2; i++) {
        *found = tr_format("%s/%s", path, names[i]);
        if (access(*found, F_OK) == 0) {
            return TR_OK;
        }
        free(*found);
    }
    (void)tr_hf_refuse(path, "model.safetensors and no model.safetensors.index.json", err);
    return TR_ERR_IO; // which the analyzer would not know of tr_hf_refuse
}

/// Only headers are read here; data comes page by page when somebody reads it.
tr_status tr_safetensors_open(tr_safetensors_t **self, const char *path, tr_error_t *err)
{
    char *found = NULL;
    TR_TRY(resolve(&found, path, err));
    tr_safetensors_t *file = tr_calloc(1, sizeof *file);
    file->path = found;
    size_t length = strlen(found);
    // the name decides, as the path may be any file
    bool index = length > 5 && strcmp(found + length - 5, ".json") == 0;
    tr_status status = index ? open_index(file, err) : open_single(file, err);
    if (status != TR_OK) {
        tr_safetensors_close(&file);
        return status;
    }
    *self = file;
    return TR_OK;
}

/// Also of a file that was opened in part.
void tr_safetensors_close(tr_safetensors_t **self)
{
    tr_safetensors_t *file = *self;
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < file->count; i++) {
        // const for callers; this list owns them
        free((char *)file->infos[i].name);
    }
    for (size_t i = 0; i < file->shard_count; i++) {
        shard_t *shard = &file->shards[i];
        json_decref(shard->metadata);
        if (shard->map != NULL) {
            // After this no info's data may be read; whoever kept one has kept it too long.
            munmap(shard->map, shard->bytes);
        }
        free(shard->path);
    }
    free(file->infos);
    free(file->shards);
    free(file->path);
    free(file);
    *self = NULL;
}

const char *tr_safetensors_path(const tr_safetensors_t *file)
{
    return file->path;
}

size_t tr_safetensors_count(const tr_safetensors_t *file)
{
    return file->count;
}

const tr_safetensors_info_t *tr_safetensors_at(const tr_safetensors_t *file, size_t index)
{
    TR_ASSERT(index < file->count, "tensor %zu of %zu", index, file->count);
    return &file->infos[index];
}

/// By bisection: infos are in order of name once a file is open.
const tr_safetensors_info_t *tr_safetensors_find(const tr_safetensors_t *file, const char *name)
{
    const tr_safetensors_info_t key = {.name = name};
    return file->count == 0 ? NULL : bsearch(&key, file->infos, file->count, sizeof key, by_name);
}

void tr_safetensors_rename(tr_safetensors_t *file, const char *prefix, const char *to)
{
    const size_t old = strlen(prefix), length = strlen(to);
    TR_ASSERT(length <= old, "'%s' is longer than '%s'", to, prefix);
    for (size_t i = 0; i < file->count; i++) {
        char *name = (char *)file->infos[i].name; // this list owns it
        if (strncmp(name, prefix, old) == 0) {
            memcpy(name, to, length);
            memmove(name + length, name + old, strlen(name + old) + 1);
        }
    }
    qsort(file->infos, file->count, sizeof *file->infos, by_name);
}

const char *tr_safetensors_metadata(const tr_safetensors_t *file, const char *key)
{
    // shards agree in practice; the first that has the key decides
    for (size_t i = 0; i < file->shard_count; i++) {
        const char *value = json_string_value(json_object_get(file->shards[i].metadata, key));
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}
