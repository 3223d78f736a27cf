/// An item of a recipe's list of data files: a path, or a map of a path and how its rows are taken.
///
///     data: {train: [{path: a.jsonl, weight: 2, columns: {prompt: question}}, b.jsonl]}
///
/// Recipes keep a map as the text of its JSON (common/recipe/value.c), and so does whoever gives
/// files to dataset.h.
#ifndef TR_DATA_SOURCE_H
#define TR_DATA_SOURCE_H

#include <jansson.h>

#include "common/base/status.h"

/// Release frees it.
typedef struct tr_source {
    char *path;
    double weight;   ///< 0: none is given
    json_t *columns; ///< its own of data.columns (columns.h); NULL: none
} tr_source_t;

/// The map of an item; NULL: it is a path. A new reference.
json_t *tr_source_map(const char *item);

/// Whether a map says what it may, each in its type; a path is needed. TR_ERR_ARGUMENT.
tr_status tr_source_check(const json_t *map, tr_error_t *err);

/// Of an item that is sound.
void tr_source_init(tr_source_t *source, const char *item);
void tr_source_release(tr_source_t *source);

#endif
