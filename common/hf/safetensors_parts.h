/// What the files of the safetensors reader share.
#ifndef TR_HF_SAFETENSORS_PARTS_H
#define TR_HF_SAFETENSORS_PARTS_H

#include <jansson.h>

#include "common/hf/safetensors.h"

/// One mapped file.
typedef struct shard {
    char *path;
    void *map; ///< [bytes]
    size_t bytes;
    json_t *metadata; ///< its __metadata__, or NULL
} shard_t;

struct tr_safetensors {
    char *path;
    shard_t *shards; // [shard_count]
    size_t shard_count;
    tr_safetensors_info_t *infos; // [count], in order of name once opened; the names are owned
    size_t count;
};

/// "F32", ...
const char *safetensors_dtype_name(tr_dtype_t dtype);

/// Checks the shard's header and appends its tensors to file->infos.
tr_status safetensors_read_header(tr_safetensors_t *file, shard_t *shard, tr_error_t *err);

#endif
