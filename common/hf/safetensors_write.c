// The writer of safetensors: a deterministic header, then the tensors streamed, under another name
// until all of it is on the disk.
//
// Same tensors, same bytes, whatever their order: runs are compared by the hashes of these files.
// Tensors may come from a source block by block, so that saving needs no copy of the weights.
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/hf/safetensors_parts.h"

enum { BLOCK = 1 << 16 }; // elements of a piece

/// The file under its temporary name.
typedef struct output {
    const char *path;
    int descriptor;
    tr_error_t *err;
} output_t;

/// All of data: [length] to the file.
static tr_status put(const output_t *output, const void *data, size_t length)
{
    return tr_file_write_all(output->descriptor, data, length)
               ? TR_OK
               : tr_fail(output->err, TR_ERR_IO, "cannot write '%s': %s", output->path,
                         strerror(errno));
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

/// A tensor's elements: at once from memory, or from its source in pieces of BLOCK elements, so
/// that memory does not grow with the tensor.
static tr_status put_tensor(const output_t *output, const tr_safetensors_entry_t *entry)
{
    size_t count = count_of(entry), size = tr_dtype_size(entry->dtype);
    if (entry->source == NULL) {
        return put(output, entry->data, count * size);
    }
    // A source reads a device, or the shards of other ranks: host memory holds one block of them.
    void *block = tr_alloc(BLOCK * size);
    tr_status status = TR_OK;
    for (size_t first = 0; first < count && status == TR_OK; first += BLOCK) {
        size_t n = count - first < BLOCK ? count - first : BLOCK;
        TR_TRY_GOTO(entry->source->read(entry->source->context, block, first, n, output->err),
                    done);
        status = put(output, block, n * size);
    }
done:
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

static tr_status check_entry(const tr_safetensors_entry_t *entry, tr_error_t *err)
{
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
    // Jansson checks the key's UTF-8 and fails for a value that is NULL, which json_string gives
    // for text that is none.
    if (json_object_set_new(object, key, value) != 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%s '%s' is no UTF-8", what, key);
    }
    return TR_OK;
}

/// Offsets follow from the order, so the header is complete before any data is written.
static tr_status add_tensors(json_t *header, const tr_safetensors_entry_t *const *order,
                             size_t count, tr_error_t *err)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const tr_safetensors_entry_t *entry = order[i];
        TR_TRY(check_entry(entry, err));
        // data_offsets count from the end of the header, which is why they do not depend on its
        // length.
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
    // Spaces after the object are JSON still, and the format allows them.
    memset(*text, ' ', *length);
    memcpy(*text, &padded, sizeof padded);
    memcpy(*text + sizeof padded, json, n);
    free(json);
}

/// A file that is being written: [count] tensors after the header.
typedef struct document {
    const char *header; // [length]
    size_t length;
    const tr_safetensors_entry_t **order;
    size_t count;
} document_t;

/// Header, data, sync.
static tr_status put_all(const void *context, int descriptor, const char *temporary,
                         tr_error_t *err)
{
    const document_t *document = context;
    const output_t output = {temporary, descriptor, err};
    TR_TRY(put(&output, document->header, document->length));
    for (size_t i = 0; i < document->count; i++) {
        TR_TRY(put_tensor(&output, document->order[i]));
    }
    // before the rename: a name must not come to the disk before its data
    if (fsync(descriptor) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot sync '%s': %s", temporary, strerror(errno));
    }
    return TR_OK;
}

/// Names and dtypes are checked while the header is made: nothing is written for a mistake.
tr_status tr_safetensors_write(const char *path, const tr_safetensors_entry_t *entries,
                               size_t count, const tr_safetensors_pair_t *metadata, tr_error_t *err)
{
    char *text = NULL;
    document_t document = {.order = tr_calloc(count + 1, sizeof *document.order), .count = count};
    json_t *header = json_object();
    tr_status status = TR_OK;
    for (size_t i = 0; i < count; i++) {
        document.order[i] = &entries[i];
    }
    qsort(document.order, count, sizeof *document.order, by_size_and_name);
    if (metadata != NULL) {
        json_t *object = json_object();
        // First, where the reference implementation writes it.
        json_object_set_new(header, "__metadata__", object);
        TR_TRY_GOTO(add(object, "metadata key", metadata->key, json_string(metadata->value), err),
                    done);
    }
    // JSON_PRESERVE_ORDER keeps the order of adding: the order of the data.
    TR_TRY_GOTO(add_tensors(header, document.order, count, err), done);
    finish_header(&text, &document.length, header);
    document.header = text;
    TR_TRY_GOTO(tr_file_replace(path, put_all, &document, err), done);
done:
    free(text);
    free(document.order);
    json_decref(header);
    return status;
}
