/// From bytes and scales to floats, a row at a time.
#include "common/hf/fp8.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/real.h"

enum { BLOCK = 128 };

const tr_safetensors_info_t *tr_fp8_scales(const tr_safetensors_t *file,
                                           const tr_safetensors_info_t *info)
{
    if (info == NULL || info->dtype != TR_F8) {
        return NULL;
    }
    char *name = tr_format("%s_scale_inv", info->name);
    const tr_safetensors_info_t *scales = tr_safetensors_find(file, name);
    free(name);
    return scales;
}

/// [info->shape / 128], rounded up.
static bool fits(const tr_safetensors_info_t *scales, const tr_safetensors_info_t *info)
{
    bool right = scales->rank == 2 && scales->dtype == TR_F32;
    for (size_t i = 0; i < 2 && right; i++) {
        right = scales->shape[i] == (info->shape[i] + BLOCK - 1) / BLOCK;
    }
    return right;
}

/// E4M3: a sign, four bits of exponent, three of mantissa; the last number has no infinity beside
/// it.
static float number_of(unsigned code)
{
    const unsigned exponent = code >> 3 & 15, mantissa = code & 7;
    const float size = (code & 127) == 127 ? NAN
                       : exponent == 0     ? ldexpf((float)mantissa, -9)
                                           : ldexpf((float)(8 + mantissa), (int)exponent - 10);
    return (code & 128) != 0 ? -size : size;
}

tr_status tr_fp8_read(const tr_safetensors_t *file, const tr_safetensors_info_t *info, size_t rows,
                      size_t columns, float *out, size_t first, size_t count, tr_error_t *err)
{
    const tr_safetensors_info_t *scales = tr_fp8_scales(file, info);
    const size_t across = (columns + BLOCK - 1) / BLOCK;
    float numbers[256];
    if (info->rank != 2 || info->shape[0] != rows || info->shape[1] != columns || scales == NULL ||
        !fits(scales, info)) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s: tensor '%s' in F8_E4M3: expected shape [%zu, %zu], and "
                       "%s_scale_inv, F32, with a number for each block of 128 by 128",
                       tr_safetensors_path(file), info->name, rows, columns, info->name);
    }
    for (unsigned code = 0; code < 256; code++) {
        numbers[code] = number_of(code);
    }
    const uint8_t *codes = info->data;
    float *grid = tr_calloc(scales->count, sizeof *grid);
    tr_status status = tr_safetensors_copy(file, scales->name, TR_F32, grid, scales->count, err);
    for (size_t i = first; out != NULL && status == TR_OK && i < first + count; i++) {
        const float scale = grid[i / columns / BLOCK * across + i % columns / BLOCK];
        out[i - first] = tr_real_from_bf16(tr_real_to_bf16(numbers[codes[i]] * scale));
    }
    tr_safetensors_forget(info, first, count);
    free(grid);
    return status;
}
