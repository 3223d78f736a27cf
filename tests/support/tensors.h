/// A backend, a queue and tensors for tests of operators. Everything made through a rig is freed by
/// rig_close.
#ifndef TEST_SUPPORT_TENSORS_H
#define TEST_SUPPORT_TENSORS_H

#include "common/tensor/backend.h"

enum { RIG_LIMIT = 4096 };

typedef struct rig {
    tr_backend_t *backend;
    tr_queue_t *queue;
    const tr_ops_t *ops;
    tr_buffer_t *buffers[RIG_LIMIT];
    size_t buffer_count;
    void *memory[RIG_LIMIT];
    size_t memory_count;
} rig_t;

/// The instruction sets of tr_backend_open_cpu, the plainest first.
enum { RIG_ISAS = 5 };
extern const char *const rig_isas[RIG_ISAS];

/// Opens the CPU with TROUPE_CPU = isa (NULL: the widest); false when this CPU lacks it. Anything
/// else fails the test.
bool rig_open(rig_t *rig, const char *isa, size_t threads);
/// The same with weights in bf16.
bool rig_open_bf16(rig_t *rig, const char *isa, size_t threads);
/// Skips the test unless TROUPE_CUDA_MODULE names a module or this build emulates a GPU, whose
/// module is then named.
void need_gpu(void);
/// Opens that module's first GPU; skips the test where there is none to name, before anything is
/// allocated. precision: TR_F32 or TR_BF16, of what is marked [real].
void rig_open_gpu(rig_t *rig, tr_dtype_t precision);
void rig_close(rig_t *rig);

tr_tensor_t rig_zeros(rig_t *rig, size_t rows, size_t columns);
tr_tensor_t rig_tensor(rig_t *rig, size_t rows, size_t columns, const float *data);
/// Of the backend's real type, or that of its weights, rounded from f32; NULL: zeros.
tr_tensor_t rig_real(rig_t *rig, size_t rows, size_t columns, const float *data);
tr_tensor_t rig_weight(rig_t *rig, size_t rows, size_t columns, const float *data);
tr_tensor_t rig_indices(rig_t *rig, size_t rows, size_t columns, const int32_t *data);

/// Host copies, owned by the rig; a bf16 tensor comes back as floats.
float *rig_read(rig_t *rig, tr_tensor_t tensor);
int32_t *rig_read_indices(rig_t *rig, tr_tensor_t tensor);

/// Memory that lives as long as the rig.
void *rig_memory(rig_t *rig, size_t bytes);

/// Uniform in [-1, 1), the same for the same seed.
float *rig_random(rig_t *rig, size_t count, uint64_t seed);

/// Rounds to bf16 in place, so that a CPU can be given what a GPU in bf16 is given.
void rig_round(float *data, size_t count);

/// Packs a weight: [n, k].
tr_tensor_t rig_pack(rig_t *rig, tr_tensor_t weight);

/// |got - want| <= tolerance * (1 + |want|) everywhere; names the worst index.
void check_close(const float *got, const double *want, size_t count, double tolerance,
                 const char *what);

/// Every bit; names the first difference.
void check_same(const float *got, const float *want, size_t count, const char *what);

#endif
