/// The JSON files of a tokenizer's directory.
#ifndef TR_TEXT_JSON_H
#define TR_TEXT_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"

/// Parses a file that holds an object, whatever Python's json has written into it: numbers too
/// large for 64 bits or for a real, NaN, Infinity and halves of surrogate pairs become something
/// near them. *root: owned by the caller (json_decref); NULL on failure, and if `optional` and
/// there is no such file. TR_ERR_IO; TR_ERR_FORMAT with file and line.
tr_status tr_json_read(json_t **root, const char *path, bool optional, tr_error_t *err);

/// The same of a text that was read from path: [length], NUL terminated; it is changed.
tr_status tr_json_parse(json_t **root, char *text, size_t length, const char *path,
                        tr_error_t *err);

/// The string or truth value at a key of an object; the fallback where there is none.
const char *tr_json_string(const json_t *object, const char *key, const char *fallback);
bool tr_json_flag(const json_t *object, const char *key, bool fallback);

#endif
