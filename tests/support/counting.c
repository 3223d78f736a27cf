// A backend that counts the bytes of its buffers: the CPU's operators with three replaced.
//
// It measures what a model really takes, for tests that compare the estimate of
// common/model/memory.h with it.
#include "tests/support/counting.h"

#include "common/tensor/cpu/cpu.h"

/// One at a time: buffers hold no pointer to their backend, so the counters are the file's.
static struct {
    tr_backend_t base;
    tr_ops_t ops;
    tr_backend_t *inner;
    size_t now, peak;
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

static void buffer_destroy(tr_buffer_t **buffer)
{
    if (*buffer != NULL) {
        // before the buffer is gone, as its size is asked of it
        counting.now -= counting.inner->ops->buffer_bytes(*buffer);
    }
    counting.inner->ops->buffer_destroy(buffer);
}

/// The inner backend makes its own queues: they know the real backend's threads.
static tr_status queue_new(tr_backend_t *backend, tr_queue_t **queue, tr_error_t *err)
{
    (void)backend;
    return counting.inner->ops->queue_new(counting.inner, queue, err);
}

tr_backend_t *counting_open(const rig_t *rig)
{
    counting.inner = rig->backend;
    // a copy of the table, so that the rig itself stays as it is
    counting.ops = *rig->ops;
    counting.ops.buffer_new = buffer_new;
    counting.ops.buffer_destroy = buffer_destroy;
    counting.ops.queue_new = queue_new;
    counting.base = *rig->backend;
    counting.base.ops = &counting.ops;
    counting.now = counting.peak = 0;
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

/// Slots of scratch memory grow and never shrink, so their sum is the peak.
size_t counting_scratch(const rig_t *rig)
{
    const cpu_backend_t *cpu = (const cpu_backend_t *)rig->backend;
    size_t bytes = 0;
    for (size_t i = 0; i < CPU_SLOT_COUNT; i++) {
        bytes += cpu->scratch_bytes[i];
    }
    return bytes;
}
