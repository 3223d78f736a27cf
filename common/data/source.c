// Data files as recipes name them. A file of its own, since the recipe checks what dataset.c reads.
#include "common/data/source.h"

#include <stdlib.h>
#include <string.h>

#include "common/data/dataset_info.h"
#include "common/data/turns.h"
#include "common/text/json.h"

json_t *tr_source_map(const char *item)
{
    json_t *map = item[0] == '{' ? json_loads(item, 0, NULL) : NULL;
    if (map != NULL && !json_is_object(map)) {
        json_decref(map);
        return NULL;
    }
    return map;
}

static bool is_sound(const char *key, const json_t *value)
{
    if (strcmp(key, "path") == 0 || strcmp(key, "dataset_info") == 0 || strcmp(key, "name") == 0) {
        return json_string_length(value) > 0;
    }
    if (strcmp(key, "weight") == 0) {
        return json_is_number(value) && json_number_value(value) > 0;
    }
    return (strcmp(key, "columns") == 0 || strcmp(key, "tags") == 0) && json_is_object(value);
}

tr_status tr_source_check(const json_t *map, tr_error_t *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value)
    {
        if (!is_sound(key, value)) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "expected a path, or dataset_info and name, a weight above 0, and maps "
                           "of columns and tags, found '%s'",
                           key);
        }
    }
    bool info = json_object_get(map, "dataset_info") != NULL;
    if (info != (json_object_get(map, "name") != NULL)) {
        return tr_fail(err, TR_ERR_ARGUMENT, "expected dataset_info and name together");
    }
    if (info == (json_object_get(map, "path") != NULL)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       info ? "expected a path or dataset_info, not both" : "the path is missing");
    }
    if (info && json_object_get(map, "tags") != NULL) {
        return tr_fail(err, TR_ERR_ARGUMENT, "tags: the dataset_info.json has them");
    }
    return tr_tags_check(json_object_get(map, "tags"), err);
}

const char *tr_source_path(char **path, const json_t *map)
{
    const char *info = tr_json_string(map, "dataset_info", NULL);
    *path = info != NULL ? tr_dataset_info_path(info) : tr_strdup(tr_json_string(map, "path", ""));
    return info != NULL ? "dataset_info" : "path";
}

void tr_source_add(tr_source_t *source, const char *path)
{
    source->paths = tr_realloc(source->paths, (source->count + 1) * sizeof *source->paths);
    source->paths[source->count++] = tr_strdup(path);
}

static tr_status open_map(tr_source_t *source, const json_t *map, tr_error_t *err)
{
    char *path;
    TR_TRY(tr_source_check(map, err));
    source->weight = json_number_value(json_object_get(map, "weight"));
    source->given.names = json_copy(json_object_get(map, "columns"));
    source->given.tags = json_incref(json_object_get(map, "tags"));
    bool info = strcmp(tr_source_path(&path, map), "dataset_info") == 0;
    tr_status status = TR_OK;
    if (info) {
        status = tr_dataset_info_read(source, path, tr_json_string(map, "name", ""), err);
    } else {
        tr_source_add(source, path);
    }
    free(path);
    return status;
}

tr_status tr_source_open(tr_source_t *source, const char *item, tr_error_t *err)
{
    *source = (tr_source_t){0};
    json_t *map = tr_source_map(item);
    tr_status status = TR_OK;
    if (map != NULL) {
        status = open_map(source, map, err);
    } else {
        tr_source_add(source, item);
    }
    json_decref(map);
    return status;
}

void tr_source_release(tr_source_t *source)
{
    for (size_t i = 0; i < source->count; i++) {
        free(source->paths[i]);
    }
    free(source->paths);
    json_decref(source->given.names);
    json_decref(source->given.tags);
    *source = (tr_source_t){0};
}
