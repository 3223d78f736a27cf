// Data files as recipes name them. A file of its own, since the recipe checks what dataset.c reads.
#include "common/data/source.h"

#include <stdlib.h>
#include <string.h>

json_t *tr_source_map(const char *item)
{
    json_t *map = item[0] == '{' ? json_loads(item, 0, NULL) : NULL;
    if (map != NULL && !json_is_object(map)) {
        json_decref(map);
        return NULL;
    }
    return map;
}

tr_status tr_source_check(const json_t *map, tr_error_t *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value)
    {
        if (strcmp(key, "path") == 0     ? !json_is_string(value)
            : strcmp(key, "weight") == 0 ? !json_is_number(value) || !(json_number_value(value) > 0)
                                         : strcmp(key, "columns") != 0 || !json_is_object(value)) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "expected a path, a weight above 0 and a map of columns, found '%s'",
                           key);
        }
    }
    return json_object_get(map, "path") != NULL
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT, "the path is missing");
}

void tr_source_init(tr_source_t *source, const char *item)
{
    json_t *map = tr_source_map(item);
    const char *path = json_string_value(json_object_get(map, "path"));
    *source = (tr_source_t){.path = tr_strdup(path != NULL ? path : item),
                            .weight = json_number_value(json_object_get(map, "weight")),
                            .columns = json_incref(json_object_get(map, "columns"))};
    json_decref(map);
}

void tr_source_release(tr_source_t *source)
{
    free(source->path);
    json_decref(source->columns);
    *source = (tr_source_t){0};
}
