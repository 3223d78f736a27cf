/// Inside of the CPU backend: its state, and the functions that operator files share.
#ifndef TR_TENSOR_CPU_CPU_H
#define TR_TENSOR_CPU_CPU_H

#include "common/base/pool.h"
#include "common/tensor/backend.h"
#include "common/tensor/cpu/kernels.h"

typedef struct cpu_backend cpu_backend_t;

struct tr_buffer {
    void *data;
    size_t bytes;
    size_t mapped;      ///< bytes of the mapping, or 0 when data came from the heap
    cpu_backend_t *dry; ///< of a dry backend, which counts it; else NULL
};

/// Scratch memory by use, so that an operator can call another one that has its own.
typedef enum cpu_slot {
    CPU_SLOT_LEFT,   ///< a of a product: packed dy, spread x
    CPU_SLOT_RIGHT,  ///< b of a weight gradient: packed x
    CPU_SLOT_WEIGHT, ///< packed weight
    CPU_SLOT_LOGITS, ///< a tile of logits
    CPU_SLOT_THREAD, ///< one share for each thread
    CPU_SLOT_TASKS,  ///< lists of tasks
    CPU_SLOT_COUNT
} cpu_slot_t;

struct cpu_backend {
    tr_backend_t base;
    const cpu_kernels_t *kernels;
    tr_pool_t *pool;
    size_t threads;
    /// No memory and no pool (common/tensor/dry.h): operators check shapes and ask for scratch
    /// memory as always, and follow no pointer.
    bool dry;
    void *scratch[CPU_SLOT_COUNT];
    size_t scratch_bytes[CPU_SLOT_COUNT];
};

struct tr_queue {
    cpu_backend_t *backend;
};

/// The table, and kernels of the widest instruction set or of what TROUPE_CPU says.
tr_status cpu_backend_init(cpu_backend_t *backend, tr_error_t *err);

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

/// Rows of logits that exist at a time.
size_t cpu_logits_tile(size_t rows, size_t vocabulary);

size_t cpu_packed_count(size_t n, size_t k);

// The operators, by file; contracts in backend.h.
tr_status cpu_buffer_new(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                         tr_error_t *err);
void cpu_buffer_destroy(tr_buffer_t **buffer);
size_t cpu_buffer_bytes(const tr_buffer_t *buffer);
tr_status cpu_queue_new(tr_backend_t *backend, tr_queue_t **queue, tr_error_t *err);
void cpu_queue_destroy(tr_queue_t **queue);
tr_status cpu_queue_wait(tr_queue_t *queue, tr_error_t *err);
void cpu_write(tr_queue_t *queue, tr_tensor_t destination, const void *source);
void cpu_read(tr_queue_t *queue, void *destination, tr_tensor_t source);
void cpu_copy(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source);
void cpu_zero(tr_queue_t *queue, tr_tensor_t destination);
void cpu_cast(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source);
void *cpu_address(tr_tensor_t tensor);

void cpu_pack(tr_queue_t *queue, tr_tensor_t packed, tr_tensor_t weight);
void cpu_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                bool accumulate);
void cpu_matmul_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                               tr_tensor_t weight);
void cpu_matmul_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x);

void cpu_embedding(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t table, tr_tensor_t ids);
void cpu_embedding_gradient(tr_queue_t *queue, tr_tensor_t dtable, tr_tensor_t dy, tr_tensor_t ids);
void cpu_rmsnorm(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t rstd, tr_tensor_t x,
                 tr_tensor_t weight, float epsilon);
void cpu_rmsnorm_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                          tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight);
void cpu_rope(tr_queue_t *queue, tr_tensor_t qkv, tr_tensor_t positions, tr_tensor_t table,
              tr_heads_t heads, bool inverse);
void cpu_swiglu(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up);
void cpu_swiglu_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                         tr_tensor_t gate_up);
void cpu_add(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t a, tr_tensor_t b);
void cpu_gather_rows(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t rows);
void cpu_scatter_rows_add(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t rows);
void cpu_sum_squares(tr_queue_t *queue, tr_tensor_t sums, tr_tensor_t x);
void cpu_adamw(tr_queue_t *queue, tr_tensor_t weight, tr_tensor_t m, tr_tensor_t v,
               tr_tensor_t gradient, tr_adamw_t options);

void cpu_kv_store(tr_queue_t *queue, tr_kv_t kv, tr_tensor_t qkv, const tr_ragged_t *batch,
                  tr_heads_t heads);
void cpu_attention(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv, tr_kv_t kv,
                   const tr_ragged_t *batch, tr_heads_t heads);
void cpu_attention_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dout, tr_tensor_t out,
                            tr_tensor_t lse, tr_tensor_t qkv, const tr_ragged_t *batch,
                            tr_heads_t heads);

void cpu_logprob(tr_queue_t *queue, tr_tensor_t logprob, tr_tensor_t facts, tr_tensor_t hidden,
                 tr_tensor_t head, size_t vocabulary, tr_tensor_t targets, float temperature,
                 tr_kept_t kept);
void cpu_logprob_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dhead,
                          tr_tensor_t dlogprob, tr_tensor_t dmean, tr_tensor_t hidden,
                          tr_tensor_t head, tr_tensor_t targets, float temperature, tr_kept_t kept);
void cpu_sample(tr_queue_t *queue, tr_tensor_t tokens, tr_tensor_t logprob, tr_tensor_t raw,
                tr_tensor_t kept_count, tr_tensor_t kept_ids, tr_tensor_t hidden, tr_tensor_t head,
                size_t vocabulary, tr_tensor_t uniform, tr_sampling_t sampling);
void cpu_logits(tr_queue_t *queue, tr_tensor_t logits, tr_tensor_t hidden, tr_tensor_t head);
void cpu_scalar_head(tr_queue_t *queue, tr_tensor_t values, tr_tensor_t hidden, tr_tensor_t weight);
void cpu_scalar_head_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dweight,
                              tr_tensor_t dvalues, tr_tensor_t hidden, tr_tensor_t weight);

#endif
