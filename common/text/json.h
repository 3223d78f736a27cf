/// JSON as Python's json writes it: the files of a tokenizer's directory, and rows of data.
///
/// Jansson refuses some of that: numbers too large for 64 bits or for a real, NaN, Infinity, halves
/// of surrogate pairs. They become something near them: a real, null, +-1e308, U+FFFD.
#ifndef TR_TEXT_JSON_H
#define TR_TEXT_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"

/// Parses a file that holds an object. *root: owned by the caller (json_decref); NULL on failure,
/// and if `optional` and there is no such file. TR_ERR_IO; TR_ERR_FORMAT with file and line.
tr_status tr_json_read(json_t **root, const char *path, bool optional, tr_error_t *err);

/// The same of a text that was read from path: [length], NUL terminated.
tr_status tr_json_parse(json_t **root, const char *text, size_t length, const char *path,
                        tr_error_t *err);

/// Where a row keeps what is wrong with single columns: an object, column -> what was found.
#define TR_JSON_FLAWS "\001flaws"

/// Parses an object of named columns. text: [length], valid UTF-8. What JSON or this program has
/// no value for (see above; NUL characters, and keys that come twice, of which the last counts)
/// makes its column flawed and no other. *row: owned by the caller; NULL on failure. TR_ERR_FORMAT.
tr_status tr_json_row(json_t **row, const char *text, size_t length, tr_error_t *err);

/// What a column of a row held that it cannot be read for: "a NUL character"; NULL: nothing.
const char *tr_json_flaw(const json_t *row, const char *column);

/// The string or truth value at a key of an object; the fallback where there is none.
const char *tr_json_string(const json_t *object, const char *key, const char *fallback);
bool tr_json_flag(const json_t *object, const char *key, bool fallback);

#endif
