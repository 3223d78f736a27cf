/// Reading config.json key by key, for the files that share it: config.c (the whole),
/// config_keys.c (a key by its row of the table) and config_rope.c (the record about RoPE).
#ifndef TR_MODEL_CONFIG_SOURCE_H
#define TR_MODEL_CONFIG_SOURCE_H

#include <jansson.h>

#include "common/model/families/family.h"

/// A JSON object and its error sink.
typedef struct source {
    const json_t *object;
    const char *path;
    const char *prefix; ///< of its keys in sentences: "" or "rope_parameters."
    tr_error_t *err;
} source_t;

enum { CONFIG_FILE_LIMIT = 16 << 20 }; ///< bytes of a file of JSON

/// *object: what is in config.json, the caller's; of a model that wraps a text model
/// (family_wrapped_t), the text model's. Fails as tr_model_config_load.
tr_status config_open(json_t **object, const char *path, tr_error_t *err);

/// A key's value; NULL when it is missing or null.
const json_t *config_value(const source_t *source, const char *key);
bool config_is_text(const json_t *value, const char *text);

/// "FILE: KEY: expected ..., found ...": what the file has is shown, whatever its type.
tr_status config_refuse(const source_t *source, tr_status status, const char *key,
                        const char *expected);
/// The same of what is well-formed, but a model that the passes would compute wrongly:
/// TR_ERR_UNSUPPORTED.
tr_status config_unsupported(const source_t *source, const char *key, const char *expected);

// Each reads a key into the config, or the place given; the key's row has its bounds and its
// default. Fail as tr_model_config_load.

tr_status config_read_number(double *out, const source_t *source, const family_key_t *key);
/// A token id below vocabulary; null and -1 are -1. *out keeps its value when the key is missing.
tr_status config_read_token(int32_t *out, const source_t *source, const char *key,
                            size_t vocabulary);
/// An id, a list of ids, or null; replaces the config's unless the key is missing.
tr_status config_read_eos(tr_model_config_t *config, const source_t *source);
/// A feature that is there in one form: the value is that form or missing.
tr_status config_check_only(const source_t *source, const family_key_t *key);
/// rope_scaling of transformers 4 and rope_parameters of 5.
tr_status config_read_rope(tr_model_config_t *config, const source_t *source,
                           const family_key_t *key);
tr_status config_read_key(tr_model_config_t *config, const source_t *source,
                          const family_key_t *key);
/// In the table's order, which is one of dependence: token ids are checked against vocab_size,
/// which stands above them.
tr_status config_read_keys(tr_model_config_t *config, const source_t *source,
                           const family_keys_t *keys);

/// What follows of RoPE when all keys are read: how much of a head is rotated, and sizes of the
/// record that follow from others.
tr_status config_finish_rope(tr_model_config_t *config, const source_t *source);

#endif
