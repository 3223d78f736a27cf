/// What tells one family of models from another: names, keys of config.json, tensors.
///
/// One table (families.c), with a page a family (llama.c). config.c and config_json.c read and
/// write by the keys, layout.c lays the tensors out, and the passes (transformer.c) ask the layout
/// for weights by their kind. Nothing else may depend on the family. For common/model alone;
/// everyone else sees a tr_model_config_t.
#ifndef TR_MODEL_FAMILY_H
#define TR_MODEL_FAMILY_H

#include "common/model/layout.h"

/// How the value of a key is read and written.
typedef enum family_key_kind {
    FAMILY_SIZE,  ///< size_t, from 1 to `highest`
    FAMILY_REAL,  ///< double, from `lowest` to `highest`
    FAMILY_FLOAT, ///< the same as a float
    FAMILY_BOOL,  ///< bool
    FAMILY_TOKEN, ///< int32_t, an id below the vocabulary; null is -1
    FAMILY_EOS,   ///< the config's eos and eos_count: an id, a list of ids, or null
    FAMILY_ROPE,  ///< an object about the rotation: double, its rope_theta; null: none
    FAMILY_ONLY   ///< not stored: what it may say is `only` or nothing
} family_key_kind_t;

/// When a config.json of ours has the key.
typedef enum family_written {
    FAMILY_ALWAYS,
    FAMILY_NEVER,      ///< it says nothing that others do not
    FAMILY_WITH_SCORES ///< where a reward model's scores are normalized
} family_written_t;

/// A key of config.json.
typedef struct family_key {
    const char *name;
    family_key_kind_t kind;
    size_t offset;   ///< of its field in tr_model_config_t
    bool needed;     ///< a size that must be there
    double fallback; ///< when the key is missing; a size of 0 follows from others (config.c)
    double lowest, highest;
    const char *only;     ///< JSON text
    const char *expected; ///< what a sentence says that it may be; NULL: `only`
    family_written_t written;
} family_key_t;

/// A table of keys.
typedef struct family_keys {
    const family_key_t *items; ///< [count]
    size_t count;
} family_keys_t;

/// Rows or columns of a tensor.
typedef enum family_extent {
    FAMILY_VECTOR, ///< of rows: one dimension, a norm or a bias, which weight decay spares
    FAMILY_ONE,
    FAMILY_HIDDEN,
    FAMILY_INTERMEDIATE,
    FAMILY_QUERIES, ///< heads * head_dim
    FAMILY_KEYS,    ///< key_value_heads * head_dim
    FAMILY_VOCABULARY
} family_extent_t;

/// A tensor. A layer's has a * in its name, for the number of the layer; such rows follow each
/// other. Rows of one kind that follow each other are one matrix.
typedef struct family_tensor {
    const char *name;
    tr_weight_kind_t kind;
    family_extent_t rows, columns;
} family_tensor_t;

typedef struct family {
    const char *model_type;
    const char *causal, *scalar; ///< architectures: a language model; sequence classification
    family_keys_t keys;
    const family_tensor_t *tensors; ///< in the order of the flat vectors
    size_t tensor_count;
    const char *unread; ///< how names end of tensors that a file may hold and no model reads
} family_t;

/// The table; a config's `family` is a row of it.
const family_t *family_at(size_t row);
size_t family_count(void);

/// Keys that every family has besides its own.
extern const family_keys_t family_shared_keys;

/// The name of the only tensor of a kind.
const char *family_tensor_name(const family_t *family, tr_weight_kind_t kind);

extern const family_t family_llama;

#endif
