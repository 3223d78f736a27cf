/// An item of a recipe's list of data files: a path, or a map of a path and how its rows are taken.
///
///     data: {train: [{path: a.jsonl, weight: 2, columns: {prompt: question}}, b.jsonl]}
///     data: {train: [{dataset_info: data, name: alpaca_demo}]}
///
/// The second is a data set of LLaMA-Factory: its dataset_info.json says which files it has, and
/// what their columns and roles are called. Recipes keep a map as the text of its JSON
/// (common/recipe/value.c), and so does whoever gives files to dataset.h.
#ifndef TR_DATA_SOURCE_H
#define TR_DATA_SOURCE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/data/columns.h"

/// {0} is empty; release frees it.
typedef struct tr_source {
    char **paths; ///< [count], owned
    size_t count;
    double weight;            ///< 0: none is given
    tr_columns_given_t given; ///< names: its own of data.columns. Its objects are owned
    size_t samples;           ///< rows of its files that are taken; 0: each once
    uint64_t checksum;        ///< of what a dataset_info.json says; 0: there is none
} tr_source_t;

/// The map of an item; NULL: it is a path. A new reference.
json_t *tr_source_map(const char *item);

/// Whether a map says what it may, each in its type; a path is needed. TR_ERR_ARGUMENT.
tr_status tr_source_check(const json_t *map, tr_error_t *err);

/// The key of a sound map that names a file on the disk; *path: that file. Owned by the caller
/// (free).
const char *tr_source_path(char **path, const json_t *map);

/// Reads an item. *source: after a failure too the caller releases it. TR_ERR_ARGUMENT for a map
/// that tr_source_check refuses, and what dataset_info.h says.
tr_status tr_source_open(tr_source_t *source, const char *item, tr_error_t *err);
void tr_source_release(tr_source_t *source);

/// Adds a file.
void tr_source_add(tr_source_t *source, const char *path);

#endif
