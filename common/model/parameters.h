/// A model's parameters in the memory of its device: both flat vectors of the layout. For
/// common/model alone.
///
/// What an optimizer updates and what passes read are the same memory, but where a model learns on
/// a device that computes in bf16: there the parameters are f32 and passes read a rounded copy.
/// Where ranks share the parameters, each holds its shard, and passes read what is gathered
/// (sharding.h).
#ifndef TR_MODEL_PARAMETERS_H
#define TR_MODEL_PARAMETERS_H

#include "common/model/sharding.h"

/// One of the vectors.
typedef struct flat_memory {
    /// What an optimizer updates: f32 or [real]; of a sharded vector, this rank's shard.
    tr_tensor_t values;
    /// [real] what passes read: values or their copy; undefined of a sharded vector.
    tr_tensor_t weights;
    tr_buffer_t *buffer;  ///< of values
    tr_buffer_t *copy;    ///< of weights, where these are not values; else NULL
    sharding_t *sharding; ///< NULL: values are all of them
} flat_memory_t;

typedef struct parameters {
    const tr_layout_t *layout;
    tr_backend_t *backend;
    tr_queue_t *queue;
    flat_memory_t flat[TR_FLATS];
} parameters_t;

/// Zeros. dtype: of the trained vector's values (TR_F32 or the backend's real; the frozen are
/// real). collective: whose ranks hold a shard each; NULL: no. After a failure parameters_release
/// is still to be called.
tr_status parameters_init(parameters_t *parameters, const tr_layout_t *layout,
                          tr_backend_t *backend, tr_queue_t *queue, tr_dtype_t dtype,
                          tr_collective_t *collective, tr_error_t *err);
void parameters_release(parameters_t *parameters);
bool parameters_are_sharded(const parameters_t *parameters);

/// A weight as it is stored and passes read it: [rows, columns] [real]. Of sharded parameters, once
/// its segment is gathered.
tr_tensor_t parameters_view(const parameters_t *parameters, const tr_weight_t *weight);
/// With all ranks: the segment is there. Nothing to do for parameters that are not sharded.
void parameters_gather(parameters_t *parameters, size_t segment);

/// Values were changed in place: what passes read is made anew.
void parameters_changed(parameters_t *parameters);

/// Elements first.. of a vector (TR_TRAINED or TR_FROZEN) from host memory: values: [count]; of
/// sharded ones, as far as this rank holds them. parameters_changed must follow.
void parameters_write(parameters_t *parameters, size_t flat, const float *values, size_t first,
                      size_t count);
/// The reverse, of parameters that are not sharded.
tr_status parameters_read(const parameters_t *parameters, size_t flat, float *values, size_t first,
                          size_t count, tr_error_t *err);

/// Any f32 or bf16 tensor of the device as floats on the host: values: [its count].
tr_status parameters_read_floats(const parameters_t *parameters, float *values, tr_tensor_t from,
                                 tr_error_t *err);

#endif
