/// The dry backend: the CPU's table over buffers that are counted, and for a GPU other operators where
/// it takes other scratch memory than a CPU. Apart from cpu/ because it knows cuda/ too.
#include "common/tensor/dry.h"

#include <stdlib.h>

#include "common/tensor/cpu/cpu.h"
#include "common/tensor/cuda/scratch.h"

// Operators have the arguments that the table demands, and most are not looked at here.
#pragma GCC diagnostic ignored "-Wunused-parameter"

typedef struct dry_backend {
    cpu_backend_t cpu; // a dry one, whose operators ask for its scratch memory
    tr_ops_t ops;
    tr_dry_bytes_t bytes;        // but for scratch
    size_t gpu[CUDA_SLOT_COUNT]; // bytes of each slot
} dry_backend_t;

// Buffers

/// An address that no memory has, so that the processor stops whoever follows it.
static void *nowhere(void)
{
    return (void *)((uintptr_t)1 << 54);
}

static void take(tr_dry_bytes_t *bytes, size_t size)
{
    bytes->now += size;
    bytes->peak = bytes->now > bytes->peak ? bytes->now : bytes->peak;
}

static tr_buffer_t *make_buffer(tr_backend_t *backend, size_t bytes, bool host)
{
    tr_buffer_t *buffer = tr_alloc(sizeof *buffer);
    *buffer = (tr_buffer_t){nowhere(), bytes, host, (cpu_backend_t *)backend};
    return buffer;
}

static tr_status buffer_new(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                            tr_error_t *err)
{
    *buffer = make_buffer(backend, bytes, false);
    take(&((dry_backend_t *)backend)->bytes, bytes);
    return TR_OK;
}

static tr_status buffer_new_host(tr_backend_t *backend, tr_buffer_t **buffer, size_t bytes,
                                 tr_error_t *err)
{
    *buffer = make_buffer(backend, bytes, true);
    ((dry_backend_t *)backend)->bytes.host += bytes;
    return TR_OK;
}

/// `mapped` says that it is the host's.
static void buffer_destroy(tr_buffer_t **buffer)
{
    if (*buffer != NULL) {
        tr_dry_bytes_t *bytes = &((dry_backend_t *)(*buffer)->dry)->bytes;
        *((*buffer)->mapped ? &bytes->host : &bytes->now) -= (*buffer)->bytes;
        free(*buffer);
        *buffer = NULL;
    }
}

static void write_nothing(tr_queue_t *queue, tr_tensor_t destination, const void *source)
{
}

static void read_nothing(tr_queue_t *queue, void *destination, tr_tensor_t source)
{
}

static void copy_nothing(tr_queue_t *queue, tr_tensor_t destination, tr_tensor_t source)
{
}

static void zero_nothing(tr_queue_t *queue, tr_tensor_t destination)
{
}

// A GPU's operators

static void need(tr_queue_t *queue, cuda_slot_t slot, size_t bytes)
{
    size_t *slots = ((dry_backend_t *)queue->backend)->gpu, size = cuda_scratch_size(bytes);
    slots[slot] = size > slots[slot] ? size : slots[slot];
}

/// A product that writes m numbers a row, from k: while an algorithm is chosen, it has buffers.
static void product(tr_queue_t *queue, size_t m, size_t k, tr_dtype_t dtype)
{
    const cuda_trial_bytes_t trial = cuda_trial_bytes(m, k, tr_dtype_size(dtype));
    if (queue->backend->base.real == TR_BF16) {
        tr_dry_bytes_t *bytes = &((dry_backend_t *)queue->backend)->bytes;
        size_t before = bytes->now;
        take(bytes, trial.weight + trial.rows + 2 * trial.result);
        bytes->now = before;
        need(queue, CUDA_SLOT_PRODUCT, CUDA_WORKSPACE);
    }
}

static void matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                   bool accumulate)
{
    product(queue, weight.rows, weight.columns, y.dtype);
}

static void input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t weight)
{
    product(queue, weight.columns, weight.rows, dx.dtype);
}

static void weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x)
{
    product(queue, 0, 0, dw.dtype); // needs no trial
}

static void rmsnorm_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                             tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight)
{
    if (x.dtype == TR_BF16) {
        need(queue, CUDA_SLOT_PARTIAL, cuda_norm_gradient_bytes(x.rows, x.columns));
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
    need(queue, CUDA_SLOT_ROWS, cuda_attention_gradient_bytes(batch, heads));
}

/// A tile of logits, and the product that gives it; returns its elements.
static size_t logits_tile(tr_queue_t *queue, tr_tensor_t hidden, tr_tensor_t head)
{
    size_t count = cuda_logits_tile(hidden.rows, head.rows) * head.rows;
    need(queue, CUDA_SLOT_LOGITS, count * sizeof(float));
    product(queue, head.rows, head.columns, TR_F32);
    return count;
}

static void logprob(tr_queue_t *queue, tr_tensor_t logprob, tr_tensor_t facts, tr_tensor_t hidden,
                    tr_tensor_t head, size_t vocabulary, tr_tensor_t targets, float temperature,
                    tr_kept_t kept)
{
    logits_tile(queue, hidden, head);
}

static void logprob_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dhead,
                             tr_tensor_t dlogprob, tr_tensor_t dmean, tr_tensor_t hidden,
                             tr_tensor_t head, tr_tensor_t targets, float temperature,
                             tr_kept_t kept)
{
    size_t count = logits_tile(queue, hidden, head);
    need(queue, CUDA_SLOT_GRADIENT, count * tr_dtype_size(hidden.dtype));
    input_gradient(queue, dhidden, hidden, head);
}

static void sample(tr_queue_t *queue, tr_tensor_t tokens, tr_tensor_t logprob, tr_tensor_t raw,
                   tr_tensor_t kept_count, tr_tensor_t kept_ids, tr_tensor_t hidden,
                   tr_tensor_t head, size_t vocabulary, tr_tensor_t uniform, tr_sampling_t sampling)
{
    logits_tile(queue, hidden, head);
}

static void make_gpu(tr_ops_t *ops)
{
    ops->name = "cuda";
    ops->buffer_new_host = buffer_new_host;
    ops->packed_count = NULL;
    ops->pack = NULL;
    ops->matmul = matmul;
    ops->matmul_input_gradient = input_gradient;
    ops->matmul_weight_gradient = weight_gradient;
    ops->rmsnorm_gradient = rmsnorm_gradient;
    ops->attention = attention;
    ops->attention_gradient = attention_gradient;
    ops->logprob = logprob;
    ops->logprob_gradient = logprob_gradient;
    ops->sample = sample;
}

// Opening, and what was counted

static void dry_close(tr_backend_t *backend)
{
    free(backend);
}

bool tr_backend_is_dry(const tr_backend_t *backend)
{
    return backend->ops->close == dry_close;
}

tr_status tr_backend_open_dry(tr_backend_t **backend, const tr_device_options_t *options,
                              tr_error_t *err)
{
    dry_backend_t *dry = tr_calloc(1, sizeof *dry);
    tr_ops_t *ops = &dry->ops;
    *backend = NULL;
    tr_status status = cpu_backend_init(&dry->cpu, err);
    if (status != TR_OK) {
        free(dry);
        return status;
    }
    dry->cpu.dry = true;
    dry->cpu.threads = options->threads > 0 ? options->threads : tr_pool_processors();
    for (size_t i = 0; i < CPU_SLOT_COUNT; i++) {
        dry->cpu.scratch[i] = nowhere();
    }
    *ops = *dry->cpu.base.ops;
    ops->close = dry_close;
    ops->buffer_new = buffer_new;
    ops->buffer_destroy = buffer_destroy;
    ops->write = write_nothing;
    ops->read = read_nothing;
    ops->copy = copy_nothing;
    ops->zero = zero_nothing;
    ops->cast = copy_nothing;
    if (options->device != NULL && tr_device_is_gpu(options->device)) {
        make_gpu(ops);
        dry->cpu.base.real = options->precision;
    }
    dry->cpu.base.ops = ops;
    *backend = &dry->cpu.base;
    return TR_OK;
}

tr_dry_bytes_t tr_dry_bytes(const tr_backend_t *backend)
{
    const dry_backend_t *dry = (const dry_backend_t *)backend;
    tr_dry_bytes_t bytes = dry->bytes;
    TR_ASSERT(tr_backend_is_dry(backend), "bytes of a backend that computes");
    for (size_t i = 0; i < CPU_SLOT_COUNT; i++) {
        bytes.scratch += dry->cpu.scratch_bytes[i];
    }
    for (size_t i = 0; i < CUDA_SLOT_COUNT; i++) {
        bytes.scratch += dry->gpu[i];
    }
    return bytes;
}
