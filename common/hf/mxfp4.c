/// From blocks and scales to floats, without a copy between.
#include "common/hf/mxfp4.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHARE = 32, // numbers of one scale
    BIAS = 127, // of the scales, which are exponents
    SCALES = 256,
    CODES = 16
};

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

/// Every number that a scale and a code stand for.
typedef struct number_table {
    float of[SCALES][CODES];
} number_table_t;

static void fill_table(number_table_t *table)
{
    for (size_t scale = 0; scale < SCALES; scale++) {
        for (size_t code = 0; code < CODES; code++) {
            table->of[scale][code] = ldexpf(number_of((unsigned)code), (int)scale - BIAS);
        }
    }
}

/// A share of one column of an expert's matrix. out: [32], `step` apart.
static void read_share(float *out, size_t step, const uint8_t *blocks, const float table[CODES])
{
    for (size_t i = 0; i < SHARE; i += 2) {
        const unsigned pair = blocks[i / 2];
        out[i * step] = table[pair & 15];
        out[(i + 1) * step] = table[pair >> 4];
    }
}

/// An expert's matrix: [k, n] from n columns of blocks. A share of all columns at a time, so that
/// cache lines of out are written whole.
static void read_expert(float *out, size_t k, size_t n, const uint8_t *blocks,
                        const uint8_t *scales, const number_table_t *table)
{
    for (size_t i = 0; i < k / SHARE; i++) {
        for (size_t column = 0; column < n; column++) {
            read_share(out + i * SHARE * n + column, n, blocks + (column * k + i * SHARE) / 2,
                       table->of[scales[column * (k / SHARE) + i]]);
        }
    }
}

tr_status tr_mxfp4_read(const tr_safetensors_t *file, const char *name, const size_t shape[3],
                        float *out, size_t first, size_t count, tr_error_t *err)
{
    const size_t k = shape[1], n = shape[2];
    number_table_t table;
    const tr_safetensors_info_t *found[2];
    tr_mxfp4_find(found, file, name);
    TR_TRY(check(file, name, found, shape, err));
    TR_ASSERT(first % (k * n) == 0 && count % (k * n) == 0, "%zu numbers from %zu", count, first);
    const uint8_t *blocks = (const uint8_t *)found[0]->data + first / 2;
    const uint8_t *scales = (const uint8_t *)found[1]->data + first / SHARE;
    fill_table(&table);
    for (size_t at = 0; out != NULL && at < count; at += k * n) {
        read_expert(out + at, k, n, blocks + at / 2, scales + at / SHARE, &table);
    }
    tr_safetensors_forget(found[0], first / 2, count / 2);
    tr_safetensors_forget(found[1], first / SHARE, count / SHARE);
    return TR_OK;
}
