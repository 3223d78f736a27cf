/// safetensors: named tensors in a mapped file, read in place; and the writer of such files.
///
/// A file is: eight bytes, the header's length, little-endian; the header, a JSON object that gives
/// each name its dtype, shape and place; the data. Files come from strangers: all of the header is
/// checked when a file is opened (its length, dtypes, size against shape, places that lie in the
/// file and neither overlap nor leave gaps, names that come twice), so that later calls can only
/// fail for a wrong name, dtype or shape. Nothing here knows models.
///
/// A file must not be cut short while it is open (that is a SIGBUS); writers that rename, as ours,
/// are safe.
#ifndef TR_HF_SAFETENSORS_H
#define TR_HF_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"
#include "common/tensor/tensor.h"

enum { TR_SAFETENSORS_RANK = 8 }; ///< dimensions at most

typedef struct tr_safetensors tr_safetensors_t;

/// A tensor of an open file. name and data live until the file is closed.
typedef struct tr_safetensors_info {
    const char *name;
    tr_dtype_t dtype;
    size_t rank; ///< 0: one number
    size_t shape[TR_SAFETENSORS_RANK];
    size_t count;     ///< elements
    const void *data; ///< [count], little-endian, maybe not aligned: memcpy, or read and copy below
} tr_safetensors_info_t;

/// path: a .safetensors file, a model.safetensors.index.json (its shards lie beside it), or a
/// directory that holds model.safetensors or else model.safetensors.index.json. Maps it; reads only
/// headers. dtypes: those of tr_dtype_t. Fails with TR_ERR_IO, TR_ERR_FORMAT or TR_ERR_UNSUPPORTED
/// (another dtype); the sentence names the file and the tensor.
tr_status tr_safetensors_open(tr_safetensors_t **file, const char *path, tr_error_t *err);
/// Idempotent; *file may be NULL.
void tr_safetensors_close(tr_safetensors_t **file);

/// What was opened: the path of the .safetensors file, or of the index.
const char *tr_safetensors_path(const tr_safetensors_t *file);

/// All tensors, in order of name.
size_t tr_safetensors_count(const tr_safetensors_t *file);
const tr_safetensors_info_t *tr_safetensors_at(const tr_safetensors_t *file, size_t index);

/// NULL when there is no such tensor.
const tr_safetensors_info_t *tr_safetensors_find(const tr_safetensors_t *file, const char *name);

/// From now on tensors whose names begin with `prefix` are known by `to` in its place, which is no
/// longer than it.
void tr_safetensors_rename(tr_safetensors_t *file, const char *prefix, const char *to);

/// The value of a key of __metadata__ (of the first shard that has it); NULL when there is none.
/// Lives until the file is closed.
const char *tr_safetensors_metadata(const tr_safetensors_t *file, const char *key);

/// Writes a tensor that must have shape [rows, columns] (or [rows, 1, columns], a convolution's),
/// or [columns] when rows is 0, to out: [rows * columns], or [columns]. F32, BF16 and F16 become
/// floats, exactly. Fails with TR_ERR_FORMAT (no such tensor, another dtype or shape), naming the
/// tensor and what was found.
tr_status tr_safetensors_read(const tr_safetensors_t *file, const char *name, float *out,
                              size_t rows, size_t columns, tr_error_t *err);

/// As tr_safetensors_read, elements first..first+count-1 of a tensor of this shape: [rank]. out:
/// [count], or NULL: it is only checked whether that would succeed.
tr_status tr_safetensors_read_part(const tr_safetensors_t *file, const char *name,
                                   const size_t *shape, size_t rank, float *out, size_t first,
                                   size_t count, tr_error_t *err);

/// Whether tr_safetensors_read would succeed, by the header alone: no value is read.
tr_status tr_safetensors_check(const tr_safetensors_t *file, const char *name, size_t rows,
                               size_t columns, tr_error_t *err);

/// Copies a tensor of exactly this dtype and this many elements, whatever its rank, to out:
/// [count].
tr_status tr_safetensors_copy(const tr_safetensors_t *file, const char *name, tr_dtype_t dtype,
                              void *out, size_t count, tr_error_t *err);

/// Checks that a tensor has exactly this dtype and this many elements, whatever its rank, and gives
/// it as tr_safetensors_find does: for callers that read it a part at a time, and let go of each
/// part by tr_safetensors_forget.
tr_status tr_safetensors_expect(const tr_safetensors_info_t **info, const tr_safetensors_t *file,
                                const char *name, tr_dtype_t dtype, size_t count, tr_error_t *err);

/// Gives back the memory that reading elements first..first+count-1 took. They can be read again.
/// The functions above do so with what they copied.
void tr_safetensors_forget(const tr_safetensors_info_t *info, size_t first, size_t count);

/// Values of a tensor that is written block by block: `read` writes elements first..first+count-1
/// to out.
typedef struct tr_safetensors_source {
    tr_status (*read)(const void *context, void *out, size_t first, size_t count, tr_error_t *err);
    const void *context;
} tr_safetensors_source_t;

/// A tensor to write. All pointers are borrowed.
typedef struct tr_safetensors_entry {
    const char *name;
    tr_dtype_t dtype;
    size_t rank; ///< at most TR_SAFETENSORS_RANK
    size_t shape[TR_SAFETENSORS_RANK];
    const void *data;                      ///< of dtype
    const tr_safetensors_source_t *source; ///< of the same; NULL: data
} tr_safetensors_entry_t;

/// One pair of __metadata__.
typedef struct tr_safetensors_pair {
    const char *key;
    const char *value;
} tr_safetensors_pair_t;

/// Writes path.tmp, syncs it, renames it to path, syncs the folder: a reader sees the old file or
/// the new. Data is streamed, in blocks of 2^16 elements where it has a source. The same entries,
/// in any order, give the same bytes: tensors stand by element size, largest first, then by name,
/// so that all are aligned. metadata: __metadata__; NULL: there is none. Fails with TR_ERR_IO (with
/// the system's reason), TR_ERR_ARGUMENT (a name that comes twice or is no UTF-8; a rank)
/// or as a source fails; then path is as it was, and path.tmp is gone.
tr_status tr_safetensors_write(const char *path, const tr_safetensors_entry_t *entries,
                               size_t count, const tr_safetensors_pair_t *metadata,
                               tr_error_t *err);

#endif
