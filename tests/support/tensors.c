// A backend with a queue and tensors, for tests of operators; everything made through it is freed
// at once.
//
// Tests of an operator run it on each instruction set and, where a GPU or its emulator is there, on
// that too: rig_open and rig_open_gpu are the only difference.
#include "tests/support/tensors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/tensor/device.h"

const char *const rig_isas[RIG_ISAS] = {"generic", "avx2", "avx512", "avx512bf16", "amx"};

static void start(rig_t *rig)
{
    tr_error_t err = {0};
    rig->ops = rig->backend->ops;
    cr_assert_eq(rig->ops->queue_new(rig->backend, &rig->queue, &err), TR_OK, "%s", err.text);
}

static bool open_cpu(rig_t *rig, const char *isa, tr_dtype_t weights, size_t threads)
{
    tr_error_t err = {0};
    memset(rig, 0, sizeof *rig);
    if (isa != NULL) {
        // the backend reads it when it is opened, and the test's own environment must not decide
        setenv("TROUPE_CPU", isa, 1);
    } else {
        // NULL: the widest that this CPU has
        unsetenv("TROUPE_CPU");
    }
    tr_status status = tr_backend_open_cpu(&rig->backend, weights, threads, &err);
    unsetenv("TROUPE_CPU");
    // this CPU has not these instructions: the caller goes on to the next
    if (status == TR_ERR_UNSUPPORTED) {
        return false;
    }
    cr_assert_eq(status, TR_OK, "%s", err.text);
    start(rig);
    return true;
}

bool rig_open(rig_t *rig, const char *isa, size_t threads)
{
    return open_cpu(rig, isa, TR_F32, threads);
}

bool rig_open_bf16(rig_t *rig, const char *isa, size_t threads)
{
    return open_cpu(rig, isa, TR_BF16, threads);
}

void need_gpu(void)
{
    if (TEST_EMULATES_GPU) {
        // 0: a module that is named from outside goes before the emulator
        setenv("TROUPE_CUDA_MODULE", TEST_BINARY_DIR "/troupe-cuda-emulated.so", 0);
    }
    if (getenv("TROUPE_CUDA_MODULE") == NULL) {
        cr_skip_test("this build emulates no GPU");
    }
}

void rig_open_gpu(rig_t *rig, tr_dtype_t precision)
{
    const tr_device_options_t options = {.device = "cuda:0",
                                         .precision = precision == TR_BF16 ? TR_PRECISION_BF16
                                                                           : TR_PRECISION_FP32};
    tr_error_t err = {0};
    need_gpu();
    memset(rig, 0, sizeof *rig);
    cr_assert_eq(tr_backend_open(&rig->backend, &options, &err), TR_OK, "%s", err.text);
    start(rig);
}

/// Buffers before the backend that made them.
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
    // zeroed, and never empty
    return rig->memory[rig->memory_count++] = tr_calloc(1, bytes + 1);
}

/// data NULL: the buffer is as the backend makes it, zeros.
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

/// In fp32, whatever the backend's precision.
tr_tensor_t rig_zeros(rig_t *rig, size_t rows, size_t columns)
{
    return make(rig, TR_F32, rows, columns, NULL);
}

/// The same with values.
tr_tensor_t rig_tensor(rig_t *rig, size_t rows, size_t columns, const float *data)
{
    return make(rig, TR_F32, rows, columns, data);
}

/// Ids and offsets.
tr_tensor_t rig_indices(rig_t *rig, size_t rows, size_t columns, const int32_t *data)
{
    return make(rig, TR_I32, rows, columns, data);
}

/// To nearest even; NaN stays one.
static uint16_t to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    // ties to even: the lowest bit that stays decides
    return isnan(x) ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

void rig_round(float *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        data[i] = from_bf16(to_bf16(data[i]));
    }
}

/// bf16 is rounded here as the device would, so that all sides begin with the same numbers.
static tr_tensor_t make_rounded(rig_t *rig, tr_dtype_t dtype, size_t rows, size_t columns,
                                const float *data)
{
    if (dtype == TR_F32 || data == NULL) {
        return make(rig, dtype, rows, columns, data);
    }
    uint16_t *rounded = rig_memory(rig, rows * columns * sizeof *rounded);
    for (size_t i = 0; i < rows * columns; i++) {
        rounded[i] = to_bf16(data[i]);
    }
    return make(rig, TR_BF16, rows, columns, rounded);
}

/// Activations: bf16 on a GPU in that precision.
tr_tensor_t rig_real(rig_t *rig, size_t rows, size_t columns, const float *data)
{
    return make_rounded(rig, rig->backend->real, rows, columns, data);
}

tr_tensor_t rig_weight(rig_t *rig, size_t rows, size_t columns, const float *data)
{
    return make_rounded(rig, rig->backend->weights, rows, columns, data);
}

static void *read_back(rig_t *rig, tr_tensor_t tensor)
{
    tr_error_t err = {0};
    void *data = rig_memory(rig, tr_tensor_bytes(tensor));
    rig->ops->read(rig->queue, data, tensor);
    cr_assert_eq(rig->ops->queue_wait(rig->queue, &err), TR_OK, "%s", err.text);
    return data;
}

/// As floats, whatever the tensor's type: comparisons are in fp32.
float *rig_read(rig_t *rig, tr_tensor_t tensor)
{
    void *data = read_back(rig, tensor);
    if (tensor.dtype == TR_F32) {
        return data;
    }
    float *floats = rig_memory(rig, tr_tensor_count(tensor) * sizeof *floats);
    cr_assert_eq(tensor.dtype, TR_BF16);
    for (size_t i = 0; i < tr_tensor_count(tensor); i++) {
        floats[i] = from_bf16(((uint16_t *)data)[i]);
    }
    return floats;
}

/// No conversion: the type is the caller's to know.
int32_t *rig_read_indices(rig_t *rig, tr_tensor_t tensor)
{
    return read_back(rig, tensor);
}

/// Random by place and seed: the same on every backend.
float *rig_random(rig_t *rig, size_t count, uint64_t seed)
{
    float *data = rig_memory(rig, count * sizeof *data);
    for (size_t i = 0; i < count; i++) {
        data[i] = 2.0f * tr_rng_uniform(seed, TR_RNG_INIT, 0, 0, (uint32_t)i) - 1.0f;
    }
    return data;
}

/// A packed weight has a size of its own, which the backend tells.
tr_tensor_t rig_pack(rig_t *rig, tr_tensor_t weight)
{
    const size_t count = rig->ops->packed_count(weight.dtype, weight.rows, weight.columns);
    tr_tensor_t packed = make(rig, weight.dtype, 1, count, NULL);
    rig->ops->pack(rig->queue, packed, weight);
    return packed;
}

void check_close(const float *got, const double *want, size_t count, double tolerance,
                 const char *what)
{
    size_t worst = 0;
    double distance = -1.0;
    for (size_t i = 0; i < count; i++) {
        // relative for large numbers, absolute for small ones
        double d = fabs((double)got[i] - want[i]) / (1.0 + fabs(want[i]));
        // written so that a NaN is the worst
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

/// Bits, not values: -0 and 0 differ, and so do two NaNs.
void check_same(const float *got, const float *want, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        cr_assert(memcmp(&got[i], &want[i], sizeof *got) == 0,
                  "%s: [%zu of %zu] is %.9g, expected the bits of %.9g", what, i, count,
                  (double)got[i], (double)want[i]);
    }
}
