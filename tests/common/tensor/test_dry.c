/// The dry backend counts buffers and scratch memory, holds neither, and computes nothing.
#include "common/tensor/dry.h"

#include <criterion/criterion.h>

static tr_backend_t *open_dry(const char *device)
{
    const tr_device_options_t options = {.device = device, .precision = TR_BF16, .threads = 3};
    tr_backend_t *backend;
    tr_error_t err = {0};
    cr_assert_eq(tr_backend_open_dry(&backend, &options, &err), TR_OK, "%s", err.text);
    cr_assert(tr_backend_is_dry(backend));
    return backend;
}

Test(dry, counts_buffers_that_no_machine_holds)
{
    tr_backend_t *backend = open_dry("cuda:7");
    const tr_ops_t *ops = backend->ops;
    tr_buffer_t *large, *small, *host;
    tr_error_t err = {0};
    cr_expect_eq(backend->real, TR_BF16);
    cr_assert_eq(ops->buffer_new(backend, &large, (size_t)1 << 50, &err), TR_OK);
    cr_assert_eq(ops->buffer_new(backend, &small, 10, &err), TR_OK);
    cr_assert_eq(ops->buffer_new_host(backend, &host, 7, &err), TR_OK);
    cr_expect_eq(tr_dry_bytes(backend).host, 7);
    ops->buffer_destroy(&large);
    cr_expect_eq(tr_dry_bytes(backend).now, 10);
    cr_expect_eq(tr_dry_bytes(backend).peak, ((size_t)1 << 50) + 10);
    ops->buffer_destroy(&small);
    ops->buffer_destroy(&host);
    cr_expect_eq(tr_dry_bytes(backend).now + tr_dry_bytes(backend).host, 0);
    tr_backend_close(&backend);
}

/// A workspace for products in bf16, and on a CPU the panels of a weight too large for one thread.
Test(dry, counts_what_operators_keep)
{
    static const char *const devices[] = {"cpu", "cuda"};
    for (size_t i = 0; i < 2; i++) {
        tr_backend_t *backend = open_dry(devices[i]);
        const tr_ops_t *ops = backend->ops;
        const size_t n = 1000, bytes = n * n * tr_dtype_size(backend->real);
        tr_tensor_t matrix = {NULL, 0, backend->real, n, n};
        tr_queue_t *queue;
        tr_error_t err = {0};
        cr_assert_eq(ops->buffer_new(backend, &matrix.buffer, bytes, &err), TR_OK);
        cr_assert_eq(ops->queue_new(backend, &queue, &err), TR_OK);
        ops->matmul(queue, matrix, matrix, matrix, false);
        cr_expect_eq(tr_dry_bytes(backend).now, bytes);
        cr_expect_gt(tr_dry_bytes(backend).scratch, (size_t)3 * 128 << 10, "%s", devices[i]);
        ops->queue_destroy(&queue);
        ops->buffer_destroy(&matrix.buffer);
        tr_backend_close(&backend);
    }
}
