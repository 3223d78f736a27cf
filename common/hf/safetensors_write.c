// The writer of safetensors: a deterministic header, then the tensors streamed, under another name
// until all of it is on the disk.
//
// Same tensors, same bytes, whatever their order: runs are compared by the hashes of these files.
// Tensors may come from a source block by block, so that saving needs no copy of the weights.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/real.h"
#include "common/hf/safetensors_parts.h"

enum { BLOCK = 1 << 16 }; // elements of a piece

/// The file under its temporary name.
typedef struct output {
    const char *path;
    int descriptor;
    tr_error_t *err;
} output_t;

/// All of it, however often write is interrupted or takes a part only.
static tr_status put(const output_t *output, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t written = write(output->descriptor, at, length);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return tr_fail(output->err, TR_ERR_IO, "cannot write '%s': %s", output->path,
                           strerror(errno));
        }
        at += written;
        length -= (size_t)written;
    }
    return TR_OK;
}

/// A finite float beyond bfloat16's range rounds to infinity; an infinity stays one.
static bool became_infinite(float value, uint16_t half)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (half & 0x7fff) == 0x7f80 && (bits & 0x7fffffff) != 0x7f800000;
}

/// Elements first..first+n-1 of a tensor, rounded.
static tr_status put_rounded(const output_t *output, const char *name, const float *values,
                             size_t first, size_t n)
{
    uint16_t *block = tr_alloc(n * sizeof *block);
    tr_status status = TR_OK;
    for (size_t i = 0; i < n && status == TR_OK; i++) {
        block[i] = tr_real_to_bf16(values[i]);
        if (became_infinite(values[i], block[i])) {
            status = tr_fail(output->err, TR_ERR_NUMERIC,
                             "%s: tensor '%s': bfloat16 cannot hold %g (element %zu)", output->path,
                             name, (double)values[i], first + i);
        }
    }
    if (status == TR_OK) {
        status = put(output, block, n * sizeof *block);
    }
    free(block);
    return status;
}

/// 1 for a tensor without dimensions.
static size_t count_of(const tr_safetensors_entry_t *entry)
{
    size_t count = 1;
    for (size_t i = 0; i < entry->rank; i++) {
        count *= entry->shape[i];
    }
    return count;
}

/// Elements first..first+n-1, from memory or by way of block.
static tr_status put_piece(const output_t *output, const tr_safetensors_entry_t *entry, void *block,
                           size_t first, size_t n)
{
    // for bfloat16 the values at hand are floats; they are rounded on the way
    size_t size = entry->dtype == TR_BF16 ? sizeof(float) : tr_dtype_size(entry->dtype);
    const void *values = block;
    if (entry->source == NULL) {
        values = (const char *)entry->data + first * size;
    } else {
        TR_TRY(entry->source->read(entry->source->context, block, first, n, output->err));
    }
    return entry->dtype == TR_BF16 ? put_rounded(output, entry->name, values, first, n)
                                   : put(output, values, n * size);
}

/// In pieces of BLOCK elements: memory does not grow with the tensor.
static tr_status put_tensor(const output_t *output, const tr_safetensors_entry_t *entry)
{
    size_t count = count_of(entry);
    void *block = tr_alloc(BLOCK * sizeof(double)); // no element is larger
    tr_status status = TR_OK;
    for (size_t first = 0; first < count && status == TR_OK; first += BLOCK) {
        size_t n = count - first < BLOCK ? count - first : BLOCK;
        status = put_piece(output, entry, block, first, n);
    }
    free(block);
    return status;
}

/// Large elements first: each tensor then begins at a multiple of its element's size.
static int by_size_and_name(const void *a, const void *b)
{
    const tr_safetensors_entry_t *x = *(const tr_safetensors_entry_t *const *)a;
    const tr_safetensors_entry_t *y = *(const tr_safetensors_entry_t *const *)b;
    size_t n = tr_dtype_size(x->dtype), m = tr_dtype_size(y->dtype);
    return n != m ? (n > m ? -1 : 1) : strcmp(x->name, y->name);
}

/// Keys of __metadata__.
static int by_key(const void *a, const void *b)
{
    const tr_safetensors_pair_t *x = *(const tr_safetensors_pair_t *const *)a;
    const tr_safetensors_pair_t *y = *(const tr_safetensors_pair_t *const *)b;
    return strcmp(x->key, y->key);
}

/// order: [count] pointers to the elements of base, sorted; owned by the caller.
static const void **sorted(const void *base, size_t count, size_t size,
                           int (*compare)(const void *, const void *))
{
    const void **order = tr_calloc(count + 1, sizeof *order);
    for (size_t i = 0; i < count; i++) {
        order[i] = (const char *)base + i * size;
    }
    qsort(order, count, sizeof *order, compare);
    return order;
}

/// TR_F16 is refused because nothing in Troupe writes it; reading it is supported.
static tr_status check_entry(const tr_safetensors_entry_t *entry, tr_error_t *err)
{
    if (safetensors_dtype_name(entry->dtype) == NULL || entry->dtype == TR_F16) {
        return tr_fail(err, TR_ERR_ARGUMENT, "tensor '%s': cannot be written as %s", entry->name,
                       tr_dtype_name(entry->dtype));
    }
    if (entry->rank > TR_SAFETENSORS_RANK || strcmp(entry->name, "__metadata__") == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "tensor '%s': cannot be written with this name and %zu dimensions",
                       entry->name, entry->rank);
    }
    return TR_OK;
}

/// {dtype, shape, data_offsets: [begin, end]}, in this order: the bytes of the header are compared
/// too.
static json_t *entry_json(const tr_safetensors_entry_t *entry, size_t begin, size_t end)
{
    json_t *shape = json_array();
    for (size_t i = 0; i < entry->rank; i++) {
        json_array_append_new(shape, json_integer((json_int_t)entry->shape[i]));
    }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", safetensors_dtype_name(entry->dtype), "shape",
                     shape, "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/// Adds a pair that must be new. Takes value.
static tr_status add(json_t *object, const char *what, const char *key, json_t *value,
                     tr_error_t *err)
{
    if (json_object_get(object, key) != NULL) {
        json_decref(value);
        return tr_fail(err, TR_ERR_ARGUMENT, "%s '%s' comes twice", what, key);
    }
    if (json_object_set_new(object, key, value) != 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%s '%s' is no UTF-8", what, key);
    }
    return TR_OK;
}

/// No object at all without pairs.
static tr_status add_metadata(json_t *header, const tr_safetensors_pair_t *metadata, size_t pairs,
                              tr_error_t *err)
{
    if (pairs == 0) {
        return TR_OK;
    }
    tr_status status = TR_OK;
    json_t *object = json_object();
    const void **order = sorted(metadata, pairs, sizeof *metadata, by_key);
    for (size_t i = 0; i < pairs && status == TR_OK; i++) {
        const tr_safetensors_pair_t *pair = order[i];
        status = add(object, "metadata key", pair->key, json_string(pair->value), err);
    }
    free(order);
    json_object_set_new(header, "__metadata__", object);
    return status;
}

/// Offsets follow from the order, so the header is complete before any data is written.
static tr_status add_tensors(json_t *header, const void *const *order, size_t count,
                             tr_error_t *err)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const tr_safetensors_entry_t *entry = order[i];
        TR_TRY(check_entry(entry, err));
        size_t end = at + count_of(entry) * tr_dtype_size(entry->dtype);
        TR_TRY(add(header, "tensor", entry->name, entry_json(entry, at, end), err));
        at = end;
    }
    return TR_OK;
}

/// *text: the header's length and the header, padded with spaces to a multiple of eight; owned by
/// the caller.
static void finish_header(char **text, size_t *length, const json_t *header)
{
    char *json = json_dumps(header, JSON_COMPACT | JSON_PRESERVE_ORDER);
    TR_ASSERT(json != NULL, "a header of checked strings has a text");
    size_t n = strlen(json);
    // the data then begin at a multiple of eight
    uint64_t padded = (n + 7) / 8 * 8;
    *length = sizeof padded + padded;
    *text = tr_alloc(*length);
    memset(*text, ' ', *length);
    memcpy(*text, &padded, sizeof padded);
    memcpy(*text + sizeof padded, json, n);
    free(json);
}

/// Header, data, sync.
static tr_status put_all(const output_t *output, const char *header, size_t length,
                         const void *const *order, size_t count)
{
    TR_TRY(put(output, header, length));
    for (size_t i = 0; i < count; i++) {
        TR_TRY(put_tensor(output, order[i]));
    }
    // before the rename: a name must not come to the disk before its data
    if (fsync(output->descriptor) != 0) {
        return tr_fail(output->err, TR_ERR_IO, "cannot sync '%s': %s", output->path,
                       strerror(errno));
    }
    return TR_OK;
}

/// The rename itself is on the disk when the folder is.
static tr_status sync_parent(const char *path, tr_error_t *err)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash == NULL ? tr_strdup(".") : tr_format("%.*s/", (int)(slash - path), path);
    tr_status status = tr_directory_sync(parent, err);
    free(parent);
    return status;
}

/// All of the file under its temporary name, then the rename; on failure nothing stays.
static tr_status put_file(const char *path, const char *header, size_t length,
                          const void *const *order, size_t count, tr_error_t *err)
{
    char *temporary = tr_format("%s.tmp", path);
    output_t output = {temporary, -1, err};
    tr_status status;
    output.descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (output.descriptor < 0) {
        // nothing to remove: the file was not made
        status = tr_fail(err, TR_ERR_IO, "cannot write '%s': %s", temporary, strerror(errno));
        free(temporary);
        return status;
    }
    status = put_all(&output, header, length, order, count);
    // some file systems report a full disk only here
    if (close(output.descriptor) != 0 && status == TR_OK) {
        status = tr_fail(err, TR_ERR_IO, "cannot close '%s': %s", temporary, strerror(errno));
    }
    if (status == TR_OK && rename(temporary, path) != 0) {
        status = tr_fail(err, TR_ERR_IO, "cannot rename '%s' to '%s': %s", temporary, path,
                         strerror(errno));
    }
    if (status != TR_OK) {
        unlink(temporary);
    }
    free(temporary);
    return status == TR_OK ? sync_parent(path, err) : status;
}

/// Names and dtypes are checked while the header is made: nothing is written for a mistake.
tr_status tr_safetensors_write(const char *path, const tr_safetensors_entry_t *entries,
                               size_t count, const tr_safetensors_pair_t *metadata, size_t pairs,
                               tr_error_t *err)
{
    char *text = NULL;
    size_t length;
    json_t *header = json_object();
    const void **order = sorted(entries, count, sizeof *entries, by_size_and_name);
    tr_status status;
    TR_TRY_GOTO(add_metadata(header, metadata, pairs, err), done);
    TR_TRY_GOTO(add_tensors(header, order, count, err), done);
    finish_header(&text, &length, header);
    TR_TRY_GOTO(put_file(path, text, length, order, count, err), done);
done:
    free(text);
    free(order);
    json_decref(header);
    return status;
}
