/// A small JSON file with an object at the top, as Hugging Face directories have them.
#ifndef TR_HF_JSON_FILE_H
#define TR_HF_JSON_FILE_H

#include <jansson.h>

#include "common/base/status.h"

/// Reads a file of at most `limit` bytes. *object: owned by the caller (json_decref). A key that
/// comes twice is refused. Fails with TR_ERR_IO or TR_ERR_FORMAT; the sentence names file and line.
tr_status tr_json_file_read(json_t **object, const char *path, size_t limit, tr_error_t *err);

/// A value as JSON text for an error's sentence, cut to fit. Returns out: [size].
const char *tr_json_describe(char *out, size_t size, const json_t *value);

#endif
