/// Inside of the CPU backend: its state, and the functions that operator files share.
#ifndef TR_TENSOR_CPU_CPU_H
#define TR_TENSOR_CPU_CPU_H

#include "common/base/pool.h"
#include "common/tensor/backend.h"
#include "common/tensor/cpu/kernels.h"

/// The address of a dry backend's memory (common/tensor/device.h): there is none, and the processor
/// stops whoever follows it. Operators of such a backend check shapes and take scratch memory as
/// always, and then do nothing.
#define CPU_NOWHERE ((void *)((uintptr_t)1 << 54))

struct tr_buffer {
    void *data;
    size_t bytes;
    size_t mapped; ///< bytes of the mapping, or 0 when data came from the heap
    size_t *sum;   ///< of the backend's memory, in which the bytes are
};

/// Scratch memory by use, so that an operator can call another one that has its own.
typedef enum cpu_slot {
    CPU_SLOT_LEFT,        ///< a of a product: packed dy, spread x
    CPU_SLOT_RIGHT,       ///< b of a weight gradient: packed x
    CPU_SLOT_WEIGHT,      ///< packed weight
    CPU_SLOT_PAIRS_LEFT,  ///< a of a product, rounded to pairs of bf16
    CPU_SLOT_PAIRS_RIGHT, ///< x of a weight gradient, likewise
    CPU_SLOT_VECTOR,      ///< weights that a layer reads in f32
    CPU_SLOT_VECTOR_TWO,  ///< likewise, where it reads two
    CPU_SLOT_LOGITS,      ///< a tile of logits
    CPU_SLOT_THREAD,      ///< one share for each thread
    CPU_SLOT_TASKS,       ///< lists of tasks
    CPU_SLOT_COUNT
} cpu_slot_t;

typedef struct cpu_backend {
    tr_backend_t base;
    const cpu_kernels_t *kernels;
    tr_pool_t *pool;
    size_t threads;
    void *scratch[CPU_SLOT_COUNT];
    size_t scratch_bytes[CPU_SLOT_COUNT];
} cpu_backend_t;

struct tr_queue {
    cpu_backend_t *backend;
};

/// Chooses kernels, and sets all but the pool. weights: their type, f32 or bf16. dry: as
/// CPU_NOWHERE says. Fails as tr_backend_open_cpu does.
tr_status cpu_backend_init(cpu_backend_t *backend, tr_dtype_t weights, size_t threads, bool dry,
                           tr_error_t *err);

/// Whether a form's products of bf16 have the bits of the plain form in hard cases: ties, sums that
/// cancel, the edge of the denormals, infinities (bf16_check.c).
bool cpu_same_pairs(const cpu_kernels_t *kernels);
/// Whether a form's products of bf16 take less time than another's, here and now.
bool cpu_pairs_are_faster(const cpu_kernels_t *kernels, const cpu_kernels_t *other);

/// At least `bytes` of 64-byte aligned memory that keeps its place until the slot is asked for
/// more.
void *cpu_scratch(cpu_backend_t *backend, cpu_slot_t slot, size_t bytes);

/// fn(context, first, count, thread) over 0..n-1 in pieces of at least `grain`; on the caller alone
/// when one piece is enough.
typedef void cpu_range_fn(void *context, size_t first, size_t count, size_t thread);
void cpu_for(cpu_backend_t *backend, size_t n, size_t grain, cpu_range_fn *fn, void *context);

/// The tensor's first element; its type and place are checked.
float *cpu_f32(tr_tensor_t tensor);
int32_t *cpu_i32(tr_tensor_t tensor);
/// Likewise of a weight's product, f32 or bf16.
void *cpu_weight(tr_tensor_t tensor);
/// Weights in f32, few of them: where they are, or widened into this slot of scratch memory.
const float *cpu_widened(cpu_backend_t *backend, cpu_slot_t slot, tr_tensor_t weights);

/// y: [rows, columns] from x: [rows, k] and a weight of `columns` rows, packed or not, by the whole
/// team.
void cpu_matmul_run(cpu_backend_t *backend, float *y, size_t y_stride, const float *x,
                    size_t x_stride, tr_tensor_t weight, size_t rows, size_t columns, size_t k,
                    cpu_gemm_mode_t mode);

/// dx: [rows, weight.columns] from dy: [rows, weight.rows].
void cpu_input_gradient_run(cpu_backend_t *backend, float *dx, const float *dy, size_t dy_stride,
                            tr_tensor_t weight, size_t rows);

/// dw: [n, k] continued with dy^T x over rows; dy's rows are dy_stride apart.
void cpu_weight_gradient_run(cpu_backend_t *backend, float *dw, const float *dy, size_t dy_stride,
                             const float *x, size_t rows, size_t n, size_t k);

/// The next tile of logits: *logits: [returned number, vocabulary], of the rows of hidden from
/// `first` on, in scratch memory. head: packed or not.
size_t cpu_tile_logits(cpu_backend_t *backend, float **logits, tr_tensor_t hidden, tr_head_t head,
                       size_t vocabulary, size_t first);
/// logits: [rows, vocabulary], written, of rows of hidden from `first` on.
void cpu_make_logits(cpu_backend_t *backend, float *logits, tr_tensor_t hidden, tr_head_t head,
                     size_t vocabulary, size_t first, size_t rows);

// One row of logits: the arithmetic that log-probabilities and sampling share, so that both give
// the same bits.

/// z: [vocabulary] logits. Gathers the `count` kept ids (0: all) to z's front, divides by the
/// temperature there, and returns the statistics. e: [kept or vocabulary], written with e^(z - max)
/// unless NULL; may be z.
cpu_softmax_t cpu_row_softmax(const cpu_kernels_t *kernels, float *z, float *e, size_t vocabulary,
                              const int32_t *ids, size_t count, float temperature);

/// Log-probability of z[index] after cpu_row_softmax.
float cpu_row_logprob(const float *z, size_t index, const cpu_softmax_t *softmax);

/// Rows of logits below which a thread works alone.
size_t cpu_row_grain(size_t vocabulary);

// The operators; contracts and types in backend.h.
#define CPU_DECLARE(name) __typeof__(*((tr_ops_t *)0)->name) cpu_##name;
TR_OPERATORS(CPU_DECLARE)
CPU_DECLARE(pack)
CPU_DECLARE(packed_count)
#undef CPU_DECLARE

#endif
