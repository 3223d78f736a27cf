#include "tests/support/tensors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"

const char *const rig_isas[3] = {"generic", "avx2", "avx512"};

bool rig_open(rig_t *rig, const char *isa, size_t threads)
{
    tr_error_t err = {0};
    memset(rig, 0, sizeof *rig);
    if (isa != NULL) {
        setenv("TROUPE_CPU", isa, 1);
    } else {
        unsetenv("TROUPE_CPU");
    }
    tr_status status = tr_backend_open_cpu(&rig->backend, threads, &err);
    unsetenv("TROUPE_CPU");
    if (status == TR_ERR_UNSUPPORTED) {
        return false;
    }
    cr_assert_eq(status, TR_OK, "%s", err.text);
    rig->ops = rig->backend->ops;
    cr_assert_eq(rig->ops->queue_new(rig->backend, &rig->queue, &err), TR_OK, "%s", err.text);
    return true;
}

void rig_close(rig_t *rig)
{
    for (size_t i = 0; i < rig->buffer_count; i++) {
        rig->ops->buffer_destroy(&rig->buffers[i]);
    }
    for (size_t i = 0; i < rig->memory_count; i++) {
        free(rig->memory[i]);
    }
    rig->ops->queue_destroy(&rig->queue);
    tr_backend_close(&rig->backend);
}

void *rig_memory(rig_t *rig, size_t bytes)
{
    cr_assert_lt(rig->memory_count, (size_t)RIG_LIMIT);
    return rig->memory[rig->memory_count++] = tr_calloc(1, bytes + 1);
}

static tr_tensor_t make(rig_t *rig, tr_dtype_t dtype, size_t rows, size_t columns, const void *data)
{
    tr_error_t err = {0};
    tr_tensor_t tensor = {.dtype = dtype, .rows = rows, .columns = columns};
    cr_assert_lt(rig->buffer_count, (size_t)RIG_LIMIT);
    tr_status status =
        rig->ops->buffer_new(rig->backend, &tensor.buffer, tr_tensor_bytes(tensor), &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    rig->buffers[rig->buffer_count++] = tensor.buffer;
    if (data != NULL) {
        rig->ops->write(rig->queue, tensor, data);
    }
    return tensor;
}

tr_tensor_t rig_zeros(rig_t *rig, size_t rows, size_t columns)
{
    return make(rig, TR_F32, rows, columns, NULL);
}

tr_tensor_t rig_tensor(rig_t *rig, size_t rows, size_t columns, const float *data)
{
    return make(rig, TR_F32, rows, columns, data);
}

tr_tensor_t rig_indices(rig_t *rig, size_t rows, size_t columns, const int32_t *data)
{
    return make(rig, TR_I32, rows, columns, data);
}

static void *read_back(rig_t *rig, tr_tensor_t tensor)
{
    tr_error_t err = {0};
    void *data = rig_memory(rig, tr_tensor_bytes(tensor));
    rig->ops->read(rig->queue, data, tensor);
    cr_assert_eq(rig->ops->queue_wait(rig->queue, &err), TR_OK, "%s", err.text);
    return data;
}

float *rig_read(rig_t *rig, tr_tensor_t tensor)
{
    return read_back(rig, tensor);
}

int32_t *rig_read_indices(rig_t *rig, tr_tensor_t tensor)
{
    return read_back(rig, tensor);
}

float *rig_random(rig_t *rig, size_t count, uint64_t seed)
{
    float *data = rig_memory(rig, count * sizeof *data);
    for (size_t i = 0; i < count; i++) {
        data[i] = 2.0f * tr_rng_uniform(seed, TR_RNG_INIT, 0, 0, (uint32_t)i) - 1.0f;
    }
    return data;
}

tr_tensor_t rig_pack(rig_t *rig, tr_tensor_t weight)
{
    tr_tensor_t packed = rig_zeros(rig, 1, rig->ops->packed_count(weight.rows, weight.columns));
    rig->ops->pack(rig->queue, packed, weight);
    return packed;
}

void check_close(const float *got, const double *want, size_t count, double tolerance,
                 const char *what)
{
    size_t worst = 0;
    double distance = -1.0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - want[i]) / (1.0 + fabs(want[i]));
        if (!(d <= distance)) {
            distance = d;
            worst = i;
        }
        if (isnan(d)) {
            break;
        }
    }
    cr_assert(count == 0 || distance <= tolerance, "%s: [%zu of %zu] is %.9g, expected %.9g", what,
              worst, count, count == 0 ? 0.0 : (double)got[worst], count == 0 ? 0.0 : want[worst]);
}

void check_same(const float *got, const float *want, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        cr_assert(memcmp(&got[i], &want[i], sizeof *got) == 0,
                  "%s: [%zu of %zu] is %.9g, expected the bits of %.9g", what, i, count,
                  (double)got[i], (double)want[i]);
    }
}
