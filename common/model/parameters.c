/// Memory of the flat vectors. Apart from model.c so that one file knows the forms in which a
/// parameter exists (f32, rounded to bf16, sharded); linear.c, which multiplies by them, and
/// trainer_save.c, which writes them to files, ask here.
#include "common/model/parameters.h"

#include <stdlib.h>

#include "common/base/real.h"

static const tr_ops_t *ops_of(const parameters_t *parameters)
{
    return parameters->backend->ops;
}

/// Memory of vector k (TR_FROZEN or TR_TRAINED), whose values have this dtype: all of it, or where
/// ranks share it this rank's shard and windows for what the others hold.
static tr_status allocate(parameters_t *self, size_t k, tr_dtype_t dtype,
                          tr_collective_t *collective, tr_error_t *err)
{
    const tr_flat_t *flat = &self->layout->flat[k];
    const tr_dtype_t read = self->backend->weights;
    flat_memory_t *memory = &self->flat[k];
    size_t n = flat->total;
    if (collective != NULL) {
        TR_TRY(sharding_new(&memory->sharding, flat->segments, self->layout->segment_count,
                            self->backend, self->queue, collective, err));
        // The end of the last own part: the size of this rank's shard.
        n = memory->sharding->shards.local[self->layout->segment_count];
    }
    TR_TRY(ops_of(self)->buffer_new(self->backend, &memory->buffer, n * tr_dtype_size(dtype), err));
    memory->values = (tr_tensor_t){memory->buffer, 0, dtype, 1, n};
    // The usual case, where passes read what the optimizer updates.
    memory->weights = memory->values;
    if (collective != NULL) {
        // A sharded vector has no rounded copy: sharding_gather casts the own part on the way to
        // the window.
        memory->sharding->own = memory->values; // passes read its windows
    } else if (dtype != read) {
        TR_TRY(
            ops_of(self)->buffer_new(self->backend, &memory->copy, n * tr_dtype_size(read), err));
        memory->weights = (tr_tensor_t){memory->copy, 0, read, 1, n};
    }
    return TR_OK;
}

/// Frozen parameters are kept as passes read them: nobody adds small updates to them.
tr_status parameters_init(parameters_t *self, const tr_layout_t *layout, tr_backend_t *backend,
                          tr_queue_t *queue, tr_dtype_t dtype, tr_collective_t *collective,
                          tr_error_t *err)
{
    *self = (parameters_t){.layout = layout, .backend = backend, .queue = queue};
    for (size_t k = 0; k < TR_FLATS; k++) {
        // A model of which all is trained has no frozen vector, and no memory for one.
        if (layout->flat[k].total > 0) {
            TR_TRY(allocate(self, k, k == TR_TRAINED ? dtype : backend->weights, collective, err));
        }
    }
    return TR_OK;
}

void parameters_release(parameters_t *self)
{
    // backend NULL: parameters_init was never reached.
    for (size_t k = 0; k < TR_FLATS && self->backend != NULL; k++) {
        ops_of(self)->buffer_destroy(&self->flat[k].buffer);
        ops_of(self)->buffer_destroy(&self->flat[k].copy);
        sharding_destroy(&self->flat[k].sharding);
    }
}

/// Either vector tells: with zero_stage 3 every one that is not empty is sharded.
bool parameters_are_sharded(const parameters_t *self)
{
    return self->flat[TR_TRAINED].sharding != NULL || self->flat[TR_FROZEN].sharding != NULL;
}

tr_tensor_t parameters_view(const parameters_t *self, const tr_weight_t *weight)
{
    // trained is 0 or 1: the index of the vector.
    const flat_memory_t *memory = &self->flat[weight->trained];
    // Of a sharded vector the view is of the segment's window, shifted so that places count from
    // the vector's start, as everywhere.
    tr_tensor_t flat = memory->sharding == NULL ? memory->weights
                                                : sharding_view(memory->sharding, weight->segment);
    return tr_tensor_slice(flat, weight->place, weight->rows, weight->columns);
}

void parameters_gather(parameters_t *self, size_t segment)
{
    for (size_t k = 0; k < TR_FLATS; k++) {
        if (self->flat[k].sharding != NULL) {
            // Both vectors: a layer may have frozen and trained weights.
            sharding_gather(self->flat[k].sharding, segment);
        }
    }
}

void parameters_changed(parameters_t *self)
{
    for (size_t k = 0; k < TR_FLATS; k++) {
        const flat_memory_t *memory = &self->flat[k];
        if (memory->copy != NULL) {
            // Rounded once an update, not in every pass.
            ops_of(self)->cast(self->queue, memory->weights, memory->values);
        }
        if (memory->sharding != NULL) {
            // What was gathered is of the parameters before the update.
            sharding_forget(memory->sharding);
        }
    }
}

/// values: as many as `to` has, rounded to its type.
static void write_floats(const parameters_t *self, tr_tensor_t to, const float *values)
{
    const size_t count = tr_tensor_count(to);
    if (to.dtype == TR_F32) {
        // write has read `values` when it returns, so the caller may free them.
        ops_of(self)->write(self->queue, to, values);
        return;
    }
    uint16_t *rounded = tr_calloc(count + 1, sizeof *rounded);
    for (size_t i = 0; i < count; i++) {
        rounded[i] = tr_real_to_bf16(values[i]);
    }
    ops_of(self)->write(self->queue, to, rounded);
    free(rounded);
}

/// A rank writes what it holds of the range, and passes over what others hold.
void parameters_write(parameters_t *self, size_t flat, const float *values, size_t first,
                      size_t count)
{
    const flat_memory_t *memory = &self->flat[flat];
    if (memory->sharding == NULL) {
        write_floats(self, tr_tensor_slice(memory->values, first, 1, count), values);
        return;
    }
    const tr_shards_t *shards = &memory->sharding->shards;
    while (count > 0) { // a run of elements that one rank holds together at a time
        size_t rank, local, n = tr_shards_find(&rank, &local, shards, first);
        n = n < count ? n : count;
        if (rank == shards->rank) {
            write_floats(self, tr_tensor_slice(memory->values, local, 1, n), values);
        }
        values += n;
        first += n;
        count -= n;
    }
}

tr_status parameters_read(const parameters_t *self, size_t flat, float *values, size_t first,
                          size_t count, tr_error_t *err)
{
    const flat_memory_t *memory = &self->flat[flat];
    // Only the trainer can ask the other ranks, which must be waiting for that (tr_trainer_attend).
    TR_ASSERT(memory->sharding == NULL, "parameters that ranks share are read by the trainer");
    return parameters_read_floats(self, values, tr_tensor_slice(memory->values, first, 1, count),
                                  err);
}

/// Host memory gets floats whatever the device keeps: files and messages are written from them.
tr_status parameters_read_floats(const parameters_t *self, float *values, tr_tensor_t from,
                                 tr_error_t *err)
{
    const tr_ops_t *ops = ops_of(self);
    const size_t count = tr_tensor_count(from);
    TR_ASSERT(from.dtype == TR_F32 || from.dtype == TR_BF16, "floats from %s",
              tr_dtype_name(from.dtype));
    if (from.dtype == TR_F32) {
        // Valid after the wait: a read is enqueued as any other operator.
        ops->read(self->queue, values, from);
        return ops->queue_wait(self->queue, err);
    }
    uint16_t *rounded = tr_calloc(count + 1, sizeof *rounded);
    ops->read(self->queue, rounded, from);
    tr_status status = ops->queue_wait(self->queue, err);
    for (size_t i = 0; i < count; i++) {
        // Exact: every bf16 is a float.
        values[i] = tr_real_from_bf16(rounded[i]);
    }
    free(rounded);
    return status;
}
