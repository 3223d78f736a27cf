// The dry backend. A CPU's operators take their scratch memory as on a real one; a GPU's are the
// same but for those here, where it takes other scratch memory (cuda/scratch.h).
//
// Apart from cpu/ because it knows cuda/ too. Next: cpu/backend.h, for what `dry` leaves out.
#include "common/tensor/device.h"

#include <stdlib.h>

#include "common/tensor/cpu/cpu.h"
#include "common/tensor/cuda/scratch.h"

// Operators have the arguments that the table demands, and most are not looked at here.
#pragma GCC diagnostic ignored "-Wunused-parameter"

/// A dry CPU with a table of its own, which starts as a copy of the CPU's.
typedef struct dry_gpu {
    cpu_backend_t cpu; // whose scratch_bytes are by cuda_slot_t
    tr_ops_t ops;
} dry_gpu_t;

_Static_assert((size_t)CUDA_SLOT_COUNT <= (size_t)CPU_SLOT_COUNT, "slots of either device");

/// Counted apart: it takes nothing of the GPU.
static tr_status buffer_new_host(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                                 tr_error_t *err)
{
    // Of no bytes, so that it adds nothing to the device's sum; what it is said to have is set
    // after.
    TR_TRY(cpu_buffer_new(backend, buffer, 0, err));
    (*buffer)->bytes = bytes;
    (*buffer)->sum = &backend->memory.host;
    backend->memory.host += bytes;
    return TR_OK;
}

/// As cuda_scratch: a slot grows, never shrinks. The old memory goes before the new one comes, so
/// the peak is that of the new one.
static void need(tr_queue_t *queue, cuda_slot_t slot, size_t bytes)
{
    size_t *held = &queue->backend->scratch_bytes[slot], size = cuda_scratch_size(bytes);
    if (*held < size) {
        queue->backend->base.memory.scratch += size - *held;
        *held = size;
    }
}

/// A product that writes m numbers a row, from k: while an algorithm is chosen, it has buffers.
static void product(tr_queue_t *queue, size_t m, size_t k, tr_dtype_t dtype)
{
    const cuda_trial_t trial = cuda_trial_bytes(m, k, tr_dtype_size(dtype));
    const size_t bytes = trial.weight + trial.rows + 2 * trial.result;
    tr_backend_t *backend = &queue->backend->base;
    // In f32 our own kernel runs, which needs nothing beside its operands. The trial's buffers go
    // again before the next operator, so they count in the peak alone.
    if (backend->real == TR_BF16) {
        tr_memory_take(&backend->memory, bytes);
        backend->memory.now -= bytes;
        need(queue, CUDA_SLOT_PRODUCT, CUDA_WORKSPACE);
    }
}

// The shapes are the weight's: y = x W^T writes `outputs` numbers a row from `inputs`, dx = dy W
// the other way round.
static void matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                   bool accumulate)
{
    product(queue, weight.rows, weight.columns, y.dtype);
}

static void matmul_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                                  tr_tensor_t weight)
{
    product(queue, weight.columns, weight.rows, dx.dtype);
}

static void matmul_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x)
{
    product(queue, 0, 0, dw.dtype); // needs no trial
}

/// In f32 the sum over rows is one chain, in place (cuda/norm_ops.cu).
static void rmsnorm_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                             tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight, tr_norm_t norm)
{
    if (x.dtype == TR_BF16) {
        need(queue, CUDA_SLOT_PARTIAL, cuda_norm_gradient_bytes(x.rows, x.columns));
    }
}

static void group_norm_gradient(tr_queue_t *queue, tr_tensor_t d, tr_tensor_t dweight,
                                tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight, size_t first,
                                size_t groups, tr_norm_t norm)
{
    if (x.dtype == TR_BF16) {
        need(queue, CUDA_SLOT_PARTIAL,
             cuda_norm_gradient_bytes(x.rows * groups, tr_tensor_count(weight)));
    }
}

static void attention(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv,
                      tr_kv_t kv, const tr_ragged_t *batch, tr_heads_t heads)
{
    if (qkv.dtype == TR_BF16) { // a GPU with room for tiles of 64 rows may need less
        need(queue, CUDA_SLOT_PARTIAL, cuda_attention_bytes(batch, heads));
    }
}

static void attention_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dout,
                               tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv,
                               const tr_ragged_t *batch, tr_heads_t heads)
{
    // delta, a number for each token and head, in either precision.
    need(queue, CUDA_SLOT_ROWS, cuda_attention_gradient_bytes(batch, heads));
}

static void delta(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t qkv, tr_tensor_t gates,
                  tr_recurrent_t kept, const tr_ragged_t *batch, tr_delta_t geometry)
{
}

static void delta_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dgates,
                           tr_tensor_t dout, tr_tensor_t qkv, tr_tensor_t gates,
                           const tr_ragged_t *batch, tr_delta_t geometry)
{
    need(queue, CUDA_SLOT_PARTIAL, cuda_delta_gradient_bytes(batch, geometry));
}

/// A tile of logits, in scratch memory unless all are kept, and the product that gives it; returns
/// its elements.
static size_t logits_tile(tr_queue_t *queue, tr_tensor_t kept, tr_tensor_t hidden, tr_tensor_t head)
{
    // Logits are f32 whatever the precision.
    size_t count = cuda_logits_tile(hidden.rows, head.rows) * head.rows;
    if (!cuda_keeps_logits(kept, 0, hidden.rows)) {
        need(queue, CUDA_SLOT_LOGITS, count * sizeof(float));
    }
    product(queue, head.rows, head.columns, TR_F32);
    return count;
}

static void logprob(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t facts, tr_tensor_t logits,
                    tr_tensor_t hidden, tr_head_t head, size_t vocabulary, tr_tensor_t targets,
                    float temperature, tr_kept_t kept)
{
    logits_tile(queue, logits, hidden, head.weight);
}

static void logprob_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dhead,
                             tr_tensor_t dlogprob, tr_tensor_t dmean, tr_tensor_t logits,
                             tr_tensor_t hidden, tr_head_t head, tr_tensor_t targets,
                             float temperature, tr_kept_t kept)
{
    // The gradient of a tile, then the product with the head that makes dhidden of it. That of
    // dhead needs no trial.
    size_t count = logits_tile(queue, logits, hidden, head.weight);
    need(queue, CUDA_SLOT_GRADIENT, count * tr_dtype_size(hidden.dtype));
    matmul_input_gradient(queue, dhidden, hidden, head.weight);
}

static void sample(tr_queue_t *queue, tr_tensor_t tokens, tr_tensor_t out, tr_tensor_t raw,
                   tr_tensor_t kept_count, tr_tensor_t kept_ids, tr_tensor_t hidden, tr_head_t head,
                   size_t vocabulary, tr_tensor_t uniform, tr_sampling_t sampling)
{
    logits_tile(queue, (tr_tensor_t){0}, hidden, head.weight);
}

// Those of mixtures of experts need nothing beside their operands.

static void route(tr_queue_t *queue, const tr_routes_t *routes, tr_tensor_t logits,
                  tr_router_t router)
{
}

static void route_gradient(tr_queue_t *queue, tr_tensor_t dlogits, tr_tensor_t dweights,
                           tr_tensor_t pull, tr_tensor_t logits, const tr_routes_t *routes,
                           tr_router_t router)
{
}

static void expert_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                          tr_tensor_t starts)
{
}

static void expert_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                                  tr_tensor_t weight, tr_tensor_t starts)
{
}

static void expert_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x,
                                   tr_tensor_t starts)
{
}

/// Nothing to count, of tensors that the CPU's may not know.
static void cast(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source)
{
}

static void make_gpu(dry_gpu_t *gpu)
{
    gpu->ops = *gpu->cpu.base.ops;
    gpu->cpu.base.ops = &gpu->ops;
    gpu->cpu.base.real = gpu->cpu.base.weights;
    gpu->ops.name = "cuda";
    gpu->ops.buffer_new_host = buffer_new_host;
    // As in cuda/backend.cu: weights are used as they are stored.
    gpu->ops.pack = NULL;
    gpu->ops.packed_count = NULL;
#define REPLACE(name) gpu->ops.name = name;
    REPLACE(cast)
    REPLACE(matmul)
    REPLACE(matmul_input_gradient)
    REPLACE(matmul_weight_gradient)
    REPLACE(rmsnorm_gradient)
    REPLACE(group_norm_gradient)
    REPLACE(route)
    REPLACE(route_gradient)
    REPLACE(expert_matmul)
    REPLACE(expert_input_gradient)
    REPLACE(expert_weight_gradient)
    REPLACE(attention)
    REPLACE(attention_gradient)
    REPLACE(delta)
    REPLACE(delta_gradient)
    REPLACE(logprob)
    REPLACE(logprob_gradient)
    REPLACE(sample)
#undef REPLACE
}

tr_status tr_backend_open_dry(tr_backend_t **backend, const tr_device_options_t *options,
                              tr_error_t *err)
{
    dry_gpu_t *gpu = tr_calloc(1, sizeof *gpu);
    const bool is_gpu = options->device != NULL && tr_device_is_gpu(options->device);
    tr_status status = cpu_backend_init(&gpu->cpu, tr_precision_type(options->precision, is_gpu),
                                        options->threads, true, err);
    *backend = NULL;
    if (status != TR_OK) {
        free(gpu);
        return status;
    }
    // The first member is the CPU's backend, so cpu_close frees the whole.
    if (is_gpu) {
        make_gpu(gpu);
    }
    *backend = &gpu->cpu.base;
    return TR_OK;
}
