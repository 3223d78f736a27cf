// The header of a safetensors file: from bytes of unknown origin to checked records.
//
// Apart because it is the only code that reads what it cannot trust: each size, offset and name is
// checked here, so that safetensors_read.c can use them without a further look. The format:
// huggingface.co/docs/safetensors.
#include <stdlib.h>
#include <string.h>

#include "common/hf/json_file.h"
#include "common/hf/safetensors_parts.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place");

enum { PREFIX = 8, HEADER_LIMIT = 100000000 }; // the limit is the reference implementation's

/// The format's names of dtypes, by tr_dtype_t.
static const char *const DTYPES[] = {
    [TR_F32] = "F32", [TR_I32] = "I32", [TR_BF16] = "BF16", [TR_F16] = "F16",
    [TR_F64] = "F64", [TR_I64] = "I64", [TR_U8] = "U8",     [TR_F8] = "F8_E4M3",
};

const char *safetensors_dtype_name(tr_dtype_t dtype)
{
    return DTYPES[dtype];
}

/// A tensor's entry in the header, while it is read.
typedef struct entry {
    const char *path;
    const char *name;
    const json_t *value;
    tr_error_t *err;
} entry_t;

/// "FILE: tensor NAME: KEY: expected ..., found ...".
static tr_status refuse_as(tr_status status, const entry_t *entry, const char *key,
                           const char *expected)
{
    char found[80];
    const json_t *value = json_object_get(entry->value, key);
    return tr_fail(entry->err, status, "%s: tensor '%s': %s: expected %s, found %s", entry->path,
                   entry->name, key, expected, tr_json_describe(found, sizeof found, value));
}

/// The common case: a malformed entry.
static tr_status refuse(const entry_t *entry, const char *key, const char *expected)
{
    return refuse_as(TR_ERR_FORMAT, entry, key, expected);
}

/// Dtypes of the format that Troupe lacks (F8, BOOL, ...) are well-formed: they are unsupported,
/// not wrong.
static tr_status read_dtype(tr_dtype_t *dtype, const entry_t *entry)
{
    const json_t *value = json_object_get(entry->value, "dtype");
    if (!json_is_string(value)) {
        return refuse(entry, "dtype", "a name");
    }
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++) {
        if (strcmp(DTYPES[i], json_string_value(value)) == 0) {
            *dtype = (tr_dtype_t)i;
            return TR_OK;
        }
    }
    // well-formed, but of a dtype that is not known here (F8, BOOL, ...)
    return refuse_as(TR_ERR_UNSUPPORTED, entry, "dtype", "F32, BF16, F16, F64, I32, I64 or U8");
}

/// Sizes and their product; a product past 2^64 cannot be the size of a file.
static tr_status read_shape(tr_safetensors_info_t *info, const entry_t *entry)
{
    const json_t *shape = json_object_get(entry->value, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > TR_SAFETENSORS_RANK) {
        return refuse(entry, "shape", "a list of at most 8 sizes");
    }
    info->rank = json_array_size(shape);
    // no dimension: one number
    info->count = 1;
    for (size_t i = 0; i < info->rank; i++) {
        const json_t *size = json_array_get(shape, i);
        if (!json_is_integer(size) || json_integer_value(size) < 0) {
            return refuse(entry, "shape", "a list of at most 8 sizes");
        }
        info->shape[i] = (size_t)json_integer_value(size);
        // Else [2^32, 2^32, 4] would count 0 elements, and fit any file.
        if (__builtin_mul_overflow(info->count, info->shape[i], &info->count)) {
            return refuse(entry, "shape", "fewer than 2^64 elements");
        }
    }
    return TR_OK;
}

/// Where the tensor lies in the data, checked against its shape and the data's size.
static tr_status read_place(tr_safetensors_info_t *info, const entry_t *entry, const char *data,
                            size_t data_bytes)
{
    const json_t *place = json_object_get(entry->value, "data_offsets");
    // NULL where place is no array: the checks below refuse it
    const json_t *first = json_array_get(place, 0);
    const json_t *last = json_array_get(place, 1);
    // Compared as signed numbers before they become sizes: a negative offset would be a huge one.
    if (json_array_size(place) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
        json_integer_value(first) < 0 || json_integer_value(last) < json_integer_value(first)) {
        return refuse(entry, "data_offsets", "[begin, end]");
    }
    // offsets count from the end of the header
    size_t begin = (size_t)json_integer_value(first);
    size_t end = (size_t)json_integer_value(last);
    size_t bytes;
    if (end > data_bytes) {
        return refuse(entry, "data_offsets", "a place within the file (is it cut short?)");
    }
    // the tensor's bytes must be exactly those of its elements
    if (__builtin_mul_overflow(info->count, tr_dtype_size(info->dtype), &bytes) ||
        bytes != end - begin) {
        return refuse(entry, "data_offsets", "as many bytes as dtype and shape say");
    }
    info->data = data + begin;
    return TR_OK;
}

/// In the order of the data; of two that begin at one place the empty one comes first, as it
/// overlaps nothing.
static int by_place(const void *a, const void *b)
{
    const tr_safetensors_info_t *x = a, *y = b;
    if (x->data != y->data) {
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    }
    return (x->count > 0) - (y->count > 0); // the empty first
}

/// No overlaps, and no bytes that belong to nobody.
static tr_status check_places(const shard_t *shard, tr_safetensors_info_t *infos, size_t count,
                              const char *data, tr_error_t *err)
{
    const char *at = data;
    const char *end = (const char *)shard->map + shard->bytes;
    if (count > 0) {
        qsort(infos, count, sizeof *infos, by_place);
    }
    for (size_t i = 0; i < count; i++) {
        // `at` is where the tensors so far end
        const char *begin = infos[i].data;
        if (begin != at) {
            return tr_fail(err, TR_ERR_FORMAT, "%s: tensor '%s' %s", shard->path, infos[i].name,
                           begin < at ? "overlaps another" : "follows bytes that belong to none");
        }
        // It cannot overflow: read_place has found the product to be within the file.
        at += infos[i].count * tr_dtype_size(infos[i].dtype);
    }
    if (at != end) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: the last %zu bytes belong to no tensor",
                       shard->path, (size_t)(end - at));
    }
    return TR_OK;
}

/// __metadata__ is an object of strings; the format allows nothing else.
static tr_status keep_metadata(shard_t *shard, json_t *value, tr_error_t *err)
{
    const char *key;
    json_t *text;
    bool right = json_is_object(value);
    json_object_foreach(value, key, text)
    {
        right = right && json_is_string(text);
    }
    if (!right) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: __metadata__: expected an object of strings",
                       shard->path);
    }
    // The header itself is freed after reading; what a caller may ask for later is kept.
    shard->metadata = json_incref(value);
    return TR_OK;
}

/// All entries of the header, appended; check_places comes after.
static tr_status read_entries(tr_safetensors_t *file, shard_t *shard, json_t *header,
                              const char *data, tr_error_t *err)
{
    const char *name;
    json_t *value;
    // room for all entries at once: names are kept in file->infos from here on
    size_t bytes = shard->bytes - (size_t)(data - (const char *)shard->map);
    // names stay valid: they are strings of their own, not part of the array
    file->infos =
        tr_realloc(file->infos, (file->count + json_object_size(header) + 1) * sizeof *file->infos);
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            TR_TRY(keep_metadata(shard, value, err));
            continue;
        }
        entry_t entry = {shard->path, name, value, err};
        tr_safetensors_info_t info = {0};
        TR_TRY(read_dtype(&info.dtype, &entry));
        TR_TRY(read_shape(&info, &entry));
        TR_TRY(read_place(&info, &entry, data, bytes));
        // appended when all of it is right: tr_safetensors_close frees names of complete entries
        info.name = tr_strdup(name);
        file->infos[file->count++] = info;
    }
    return TR_OK;
}

/// The first eight bytes, checked against the file: a file of another kind is refused here.
static tr_status header_length(size_t *length, const shard_t *shard, tr_error_t *err)
{
    uint64_t n;
    if (shard->bytes < PREFIX) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a safetensors file, found %zu bytes",
                       shard->path, shard->bytes);
    }
    // the prefix is not aligned by contract, and little-endian
    memcpy(&n, shard->map, sizeof n);
    // Compared with what is left of the file, not added to the prefix: a claim near 2^64 would
    // wrap.
    if (n > HEADER_LIMIT || n > shard->bytes - PREFIX) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s: its header claims %llu bytes, of %zu in the file (no safetensors file, "
                       "or cut short)",
                       shard->path, (unsigned long long)n, shard->bytes);
    }
    *length = (size_t)n;
    return TR_OK;
}

tr_status safetensors_read_header(tr_safetensors_t *file, shard_t *shard, tr_error_t *err)
{
    size_t length = 0;
    json_error_t detail;
    TR_TRY(header_length(&length, shard, err));
    const char *text = (const char *)shard->map + PREFIX;
    // doubled names are refused by the parser
    json_t *header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &detail);
    if (!json_is_object(header)) {
        json_decref(header);
        return tr_fail(err, TR_ERR_FORMAT, "%s: its header is no JSON object: %s", shard->path,
                       header == NULL ? detail.text : "another value");
    }
    size_t before = file->count;
    // infos of earlier shards are already checked
    tr_status status = read_entries(file, shard, header, text + length, err);
    if (status == TR_OK) {
        status =
            // only this shard's tensors: those of earlier shards lie in other files
            check_places(shard, file->infos + before, file->count - before, text + length, err);
    }
    json_decref(header);
    return status;
}
