// From a mapped tensor to aligned memory, converted where floats are asked for.
//
// The mapping is private and read once: each function gives the pages back that it has copied
// (tr_safetensors_forget), so that loading a model does not take its size twice.
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/real.h"
#include "common/hf/safetensors_parts.h"

/// "[3, 4]" into out: [size].
static const char *shape_text(char *out, size_t size, const size_t *shape, size_t rank)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (size_t i = 0; i < rank && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, i == 0 ? "%zu" : ", %zu", shape[i]);
    }
    if (used < size) {
        snprintf(out + used, size - used, "]");
    }
    return out;
}

/// A missing tensor is a malformed file, not a wrong call: names come from the architecture.
static tr_status find(const tr_safetensors_info_t **info, const tr_safetensors_t *file,
                      const char *name, tr_error_t *err)
{
    *info = tr_safetensors_find(file, name);
    return *info == NULL
               ? tr_fail(err, TR_ERR_FORMAT, "%s: there is no tensor '%s'", file->path, name)
               : TR_OK;
}

static tr_status check_shape(const tr_safetensors_t *file, const tr_safetensors_info_t *info,
                             const size_t *shape, size_t rank, tr_error_t *err)
{
    char found[200], expected[64];
    // A transposed matrix has the same number of elements: only the whole shape tells it.
    if (info->rank == rank && memcmp(info->shape, shape, rank * sizeof *shape) == 0) {
        return TR_OK;
    }
    return tr_fail(err, TR_ERR_FORMAT, "%s: tensor '%s': expected shape %s, found %s", file->path,
                   info->name, shape_text(expected, sizeof expected, shape, rank),
                   shape_text(found, sizeof found, info->shape, info->rank));
}

/// The usual way to reinterpret without undefined behaviour.
/// Elements are copied first: the data may not be aligned.
static void widen(float *out, const char *data, size_t count, float (*convert)(uint16_t half))
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, data + i * sizeof half, sizeof half);
        out[i] = convert(half);
    }
}

/// Whether convert takes it.
static tr_status check_real(const tr_safetensors_t *file, const tr_safetensors_info_t *info,
                            tr_error_t *err)
{
    const tr_dtype_t dtype = info->dtype;
    return dtype == TR_F32 || dtype == TR_BF16 || dtype == TR_F16
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "%s: tensor '%s': expected F32, BF16 or F16, found %s",
                         file->path, info->name, safetensors_dtype_name(dtype));
}

/// A tensor that convert takes, of that shape.
static tr_status find_real(const tr_safetensors_info_t **info, const tr_safetensors_t *file,
                           const char *name, size_t rows, size_t columns, tr_error_t *err)
{
    const size_t shape[2] = {rows, columns};
    TR_TRY(find(info, file, name, err));
    const size_t between[3] = {rows, 1, columns};
    // rows 0: a vector, whose shape has one entry
    TR_TRY((*info)->rank == 3 && (*info)->shape[1] == 1 && rows > 0
               ? check_shape(file, *info, between, 3, err)
               : check_shape(file, *info, rows == 0 ? shape + 1 : shape, rows == 0 ? 1 : 2, err));
    return check_real(file, *info, err);
}

/// Elements of the tensor as floats.
static void convert(float *out, const tr_safetensors_info_t *info, size_t first, size_t count)
{
    const char *from = (const char *)info->data + first * tr_dtype_size(info->dtype);
    switch (info->dtype) {
    // Places in a file are not aligned by contract, so nothing is read in place as floats.
    case TR_BF16: widen(out, from, count, tr_real_from_bf16); break;
    case TR_F16: widen(out, from, count, tr_real_from_f16); break;
    default: memcpy(out, from, count * sizeof *out); break;
    }
    tr_safetensors_forget(info, first, count);
}

tr_status tr_safetensors_check(const tr_safetensors_t *file, const char *name, size_t rows,
                               size_t columns, tr_error_t *err)
{
    const tr_safetensors_info_t *info;
    return find_real(&info, file, name, rows, columns, err);
}

/// Any of the three dtypes in which models are published; half precision widens to floats exactly.
tr_status tr_safetensors_read(const tr_safetensors_t *file, const char *name, float *out,
                              size_t rows, size_t columns, tr_error_t *err)
{
    const tr_safetensors_info_t *info;
    TR_TRY(find_real(&info, file, name, rows, columns, err));
    convert(out, info, 0, info->count);
    return TR_OK;
}

tr_status tr_safetensors_read_part(const tr_safetensors_t *file, const char *name,
                                   const size_t *shape, size_t rank, float *out, size_t first,
                                   size_t count, tr_error_t *err)
{
    const tr_safetensors_info_t *info;
    TR_TRY(find(&info, file, name, err));
    TR_TRY(check_shape(file, info, shape, rank, err));
    TR_TRY(check_real(file, info, err));
    TR_ASSERT(first + count <= info->count, "%zu elements from %zu", count, first);
    if (out != NULL) {
        convert(out, info, first, count);
    }
    return TR_OK;
}

/// Optimizer state and the like: a flat array whose length is known, whatever its shape.
tr_status tr_safetensors_expect(const tr_safetensors_info_t **info, const tr_safetensors_t *file,
                                const char *name, tr_dtype_t dtype, size_t count, tr_error_t *err)
{
    TR_TRY(find(info, file, name, err));
    if ((*info)->dtype != dtype || (*info)->count != count) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s: tensor '%s': expected %zu elements of %s, found %zu of %s", file->path,
                       name, count, safetensors_dtype_name(dtype), (*info)->count,
                       safetensors_dtype_name((*info)->dtype));
    }
    return TR_OK;
}

/// Whole pages only: those at the ends may hold neighbours.
void tr_safetensors_forget(const tr_safetensors_info_t *info, size_t first, size_t count)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = tr_dtype_size(info->dtype);
    char *begin = (char *)info->data + first * size, *end = begin + count * size;
    // inwards, to whole pages: neighbours share the pages at both ends
    begin += (page - (uintptr_t)begin % page) % page;
    end -= (uintptr_t)end % page;
    if (begin < end) {
        (void)madvise(begin, (size_t)(end - begin), MADV_DONTNEED); // refusal costs memory only
    }
}

tr_status tr_safetensors_copy(const tr_safetensors_t *file, const char *name, tr_dtype_t dtype,
                              void *out, size_t count, tr_error_t *err)
{
    const tr_safetensors_info_t *info;
    // Whatever the shape: a number may stand in a file as [] or as [1].
    TR_TRY(tr_safetensors_expect(&info, file, name, dtype, count, err));
    // memcpy must not be given a null pointer, even for nothing
    if (count > 0) {
        memcpy(out, info->data, count * tr_dtype_size(dtype));
    }
    tr_safetensors_forget(info, 0, count);
    return TR_OK;
}
