/// From blocks and scales to floats, without a copy between.
#include "common/hf/mxfp4.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SHARE = 32, BIAS = 127 }; // numbers of one scale; of exponents

bool tr_mxfp4_find(const tr_safetensors_info_t *found[2], const tr_safetensors_t *file,
                   const char *name)
{
    static const char *const parts[] = {"blocks", "scales"};
    for (size_t i = 0; i < 2; i++) {
        char *part = tr_format("%s_%s", name, parts[i]);
        found[i] = tr_safetensors_find(file, part);
        free(part);
    }
    return found[0] != NULL || found[1] != NULL;
}

static tr_status check(const tr_safetensors_t *file, const char *name,
                       const tr_safetensors_info_t *const found[2], const size_t shape[3],
                       tr_error_t *err)
{
    const size_t expected[] = {shape[0], shape[2], shape[1] / SHARE, SHARE / 2};
    bool right = shape[1] % SHARE == 0;
    for (size_t i = 0; i < 2; i++) {
        const size_t rank = i == 0 ? 4 : 3;
        right = right && found[i] != NULL && found[i]->dtype == TR_U8 && found[i]->rank == rank &&
                memcmp(found[i]->shape, expected, rank * sizeof *expected) == 0;
    }
    return right
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT,
                         "%s: tensor '%s' in MXFP4: expected %s_blocks, U8 [%zu, %zu, %zu/32, "
                         "16], and %s_scales without the last dimension",
                         tr_safetensors_path(file), name, name, shape[0], shape[2], shape[1], name);
}

static float number_of(unsigned code)
{
    static const float sizes[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    return (code & 8) != 0 ? -sizes[code & 7] : sizes[code & 7];
}

/// A column of an expert's matrix, which is a row of the blocks. out: [K], `step` apart.
static void read_column(float *out, size_t step, const uint8_t *blocks, const uint8_t *scales,
                        size_t k)
{
    for (size_t i = 0; i < k; i++) {
        const unsigned pair = blocks[i / 2], code = i % 2 == 0 ? pair & 15 : pair >> 4;
        out[i * step] = ldexpf(number_of(code), scales[i / SHARE] - BIAS);
    }
}

tr_status tr_mxfp4_read(const tr_safetensors_t *file, const char *name, const size_t shape[3],
                        float *out, size_t first, size_t count, tr_error_t *err)
{
    const size_t k = shape[1], n = shape[2], columns = count / k; // of all experts that are read
    const tr_safetensors_info_t *found[2];
    tr_mxfp4_find(found, file, name);
    TR_TRY(check(file, name, found, shape, err));
    TR_ASSERT(first % (k * n) == 0 && count % (k * n) == 0, "%zu numbers from %zu", count, first);
    const uint8_t *blocks = (const uint8_t *)found[0]->data + first / 2;
    const uint8_t *scales = (const uint8_t *)found[1]->data + first / SHARE;
    for (size_t i = 0; out != NULL && i < columns; i++) {
        read_column(out + i / n * k * n + i % n, n, blocks + i * k / 2, scales + i * (k / SHARE),
                    k);
    }
    tr_safetensors_forget(found[0], first / 2, count / 2);
    tr_safetensors_forget(found[1], first / SHARE, count / SHARE);
    return TR_OK;
}
