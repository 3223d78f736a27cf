// The dry backend counts buffers and scratch memory, holds neither, and computes nothing.
#include "common/tensor/device.h"

#include <criterion/criterion.h>

/// A product of matrices that no machine holds; in bf16 and on a CPU it takes scratch memory.
Test(dry, counts_memory_that_is_not_there)
{
    static const char *const devices[] = {"cpu", "cuda:7"};
    for (size_t i = 0; i < 2; i++) {
        const tr_device_options_t options = {.device = devices[i], .precision = TR_PRECISION_BF16};
        tr_backend_t *backend;
        tr_error_t err = {0};
        cr_assert_eq(tr_backend_open_dry(&backend, &options, &err), TR_OK, "%s", err.text);
        const tr_ops_t *ops = backend->ops;
        const tr_memory_use_t *memory = &backend->memory;
        const size_t n = 1 << 22, bytes = n * n * tr_dtype_size(backend->real);
        tr_tensor_t matrix = {NULL, 0, backend->real, n, n};
        tr_buffer_t *other;
        tr_queue_t *queue;
        cr_expect(backend->dry);
        cr_expect_eq(backend->real, i == 0 ? TR_F32 : TR_BF16);
        cr_assert_eq(ops->buffer_new(backend, &matrix.buffer, bytes, &err), TR_OK);
        cr_assert_eq(ops->buffer_new(backend, &other, 10, &err), TR_OK);
        cr_assert_eq(ops->queue_new(backend, &queue, &err), TR_OK);
        ops->matmul(queue, matrix, matrix, matrix, false);
        cr_expect_eq(memory->now, bytes + 10);
        cr_expect_geq(memory->peak, bytes + 10);
        cr_expect_gt(memory->scratch, 0, "%s", devices[i]);
        ops->buffer_destroy(&matrix.buffer);
        cr_expect_eq(memory->now, 10);
        ops->buffer_destroy(&other);
        ops->queue_destroy(&queue);
        tr_backend_close(&backend);
    }
}
