// Only the calls that name the backend are replaced; all others go by buffer or queue, which are the
// inner backend's own.
#include "tests/support/counting.h"

#include "common/tensor/cpu/cpu.h"

static struct {
    tr_backend_t base;
    tr_ops_t ops;
    tr_backend_t *inner;
    size_t now, peak;
    const tr_buffer_t *host; // an optimizer's moments, which are not counted
} counting;

static tr_status buffer_new(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                            tr_error_t *err)
{
    (void)backend;
    TR_TRY(counting.inner->ops->buffer_new(counting.inner, buffer, bytes, err));
    counting.now += bytes;
    counting.peak = counting.now > counting.peak ? counting.now : counting.peak;
    return TR_OK;
}

static tr_status buffer_new_host(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                                 tr_error_t *err)
{
    (void)backend;
    TR_TRY(counting.inner->ops->buffer_new_host(counting.inner, buffer, bytes, err));
    counting.host = *buffer;
    return TR_OK;
}

static void buffer_destroy(tr_buffer_t **buffer)
{
    if (*buffer != NULL && *buffer != counting.host) {
        counting.now -= counting.inner->ops->buffer_bytes(*buffer);
    }
    counting.inner->ops->buffer_destroy(buffer);
}

static tr_status queue_new(tr_backend_t *backend, tr_queue_t **queue, tr_error_t *err)
{
    (void)backend;
    return counting.inner->ops->queue_new(counting.inner, queue, err);
}

tr_backend_t *counting_open(const rig_t *rig)
{
    counting.inner = rig->backend;
    counting.ops = *rig->ops;
    counting.ops.buffer_new = buffer_new;
    counting.ops.buffer_new_host = rig->ops->buffer_new_host != NULL ? buffer_new_host : NULL;
    counting.ops.buffer_destroy = buffer_destroy;
    counting.ops.queue_new = queue_new;
    counting.base = *rig->backend;
    counting.base.ops = &counting.ops;
    counting.now = counting.peak = 0;
    counting.host = NULL;
    return &counting.base;
}

size_t counting_now(void)
{
    return counting.now;
}

size_t counting_peak(void)
{
    return counting.peak;
}

size_t counting_scratch(const rig_t *rig)
{
    const cpu_backend_t *cpu = (const cpu_backend_t *)rig->backend;
    size_t bytes = 0;
    for (size_t i = 0; i < CPU_SLOT_COUNT; i++) {
        bytes += cpu->scratch_bytes[i];
    }
    return bytes;
}
