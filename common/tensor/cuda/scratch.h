/// How much device memory operators ask for beside their tensors, as functions of shapes, in bytes.
/// The operators call these, and so does the dry backend (common/tensor/device.h) on machines
/// without toolkit or driver: plain C of the host.
#ifndef TR_TENSOR_CUDA_SCRATCH_H
#define TR_TENSOR_CUDA_SCRATCH_H

#include "common/tensor/backend.h"

/// Scratch memory of a queue by use, so that an operator can call another one that has its own.
/// Operators of a queue run one after another, so reusing a slot is no race.
typedef enum cuda_slot {
    CUDA_SLOT_LOGITS,   ///< a tile of logits
    CUDA_SLOT_GRADIENT, ///< a tile of their gradients, [real]
    CUDA_SLOT_ROWS,     ///< numbers that an operator keeps for each row
    CUDA_SLOT_PARTIAL,  ///< sums of parts, before they are added in order
    CUDA_SLOT_PRODUCT,  ///< cuBLASLt's workspace
    CUDA_SLOT_COUNT
} cuda_slot_t;

enum {
    CUDA_WORKSPACE = 32 << 20, ///< bytes of CUDA_SLOT_PRODUCT; NVIDIA recommends 32 MiB for sm_90
    CUDA_TRIAL_ROWS = 512,     ///< for which cuBLASLt's algorithms are ranked and tried
    CUDA_NORM_ROWS = 128,      ///< of a part of the sum for a norm's weight, in bf16
    CUDA_DELTA_BLOCKS = 128,   ///< most blocks of the gradient of a gated delta net
    CUDA_SEGMENT = 256         ///< keys of a segment of attention, in bf16
};

/// What a slot takes that is asked for so many.
static inline size_t cuda_scratch_size(size_t bytes)
{
    return bytes + bytes / 4;
}

/// Rows of logits that exist at a time: 64 Mi floats (256 MiB) or 512 rows, so that reading the
/// head and adding to its gradient pay off.
static inline size_t cuda_logits_tile(size_t rows, size_t vocabulary)
{
    const size_t floats = (size_t)64 << 20, least = 512, step = 128;
    size_t tile = floats / vocabulary / step * step;
    tile = tile < least ? least : tile;
    return tile < rows ? tile : rows;
}

/// Whether a tile's logits are among those that are kept: f32 [K, V], or a NULL buffer.
static inline bool cuda_keeps_logits(tr_tensor_t kept, size_t first, size_t count)
{
    return kept.buffer != NULL && first + count <= kept.rows;
}

static inline size_t cuda_norm_gradient_bytes(size_t rows, size_t n)
{
    return (rows + CUDA_NORM_ROWS - 1) / CUDA_NORM_ROWS * n * sizeof(float);
}

/// The number of blocks that is enough for all tiles of M rows of one key-value head, `each` rows a
/// token. Sequence s owns the blocks from floor(starts[s] * each / M) + s on, which is always
/// enough, since floor(x) + 1 >= ceil(x). So the host need not know the lengths, and a captured
/// graph serves batches of other lengths; a few blocks find nothing to do.
static inline unsigned cuda_tiles(size_t tokens, size_t sequences, size_t each, size_t m)
{
    return tokens > 0 ? (unsigned)(tokens * each / m + sequences) : 0;
}

/// Of attention in bf16 by tiles of 16 rows, where each segment of keys gets a block of its own; 0:
/// there are enough blocks to keep a GPU busy (512, about four a multiprocessor), and one takes
/// all.
static inline size_t cuda_attention_bytes(const tr_ragged_t *batch, tr_heads_t heads)
{
    size_t segments = (batch->max_pages * TR_PAGE + CUDA_SEGMENT - 1) / CUDA_SEGMENT;
    size_t group = heads.query / heads.key_value;
    size_t blocks = cuda_tiles(batch->tokens, batch->sequences, group, 16) * heads.key_value;
    size_t rows = batch->tokens * heads.query;
    return blocks >= 512 || segments <= 1 ? 0 : rows * segments * (heads.dim + 2) * sizeof(float);
}

static inline size_t cuda_attention_gradient_bytes(const tr_ragged_t *batch, tr_heads_t heads)
{
    return (batch->tokens * heads.query + 1) * sizeof(float);
}

/// The kept states of the gradient of a gated delta net: for each block, in floats.
static inline size_t cuda_delta_share(size_t rows, tr_delta_t delta)
{
    const size_t interval = tr_delta_interval(rows), state = delta.key_dim * delta.value_dim;
    return (2 * interval + 2) * state + interval * delta.value_dim;
}

/// Blocks that share the work, each on one sequence and key head at a time: enough for a GPU, and
/// each has its states.
static inline size_t cuda_delta_blocks(const tr_ragged_t *batch, tr_delta_t delta)
{
    const size_t tasks = batch->sequences * delta.key_heads;
    return tasks < CUDA_DELTA_BLOCKS ? tasks : (size_t)CUDA_DELTA_BLOCKS;
}

static inline size_t cuda_delta_gradient_bytes(const tr_ragged_t *batch, tr_delta_t delta)
{
    return cuda_delta_blocks(batch, delta) * cuda_delta_share(batch->longest, delta) *
           sizeof(float);
}

/// The buffers of the choice of an algorithm, which go again. result: of both, each.
typedef struct cuda_trial {
    size_t weight, rows, result;
} cuda_trial_t;

/// For products of a bf16 weight that write m numbers a row, `element` bytes each, from k.
static inline cuda_trial_t cuda_trial_bytes(size_t m, size_t k, size_t element)
{
    const size_t rows = CUDA_TRIAL_ROWS, bf16 = tr_dtype_size(TR_BF16);
    cuda_trial_t bytes = {m * k * bf16, rows * k * bf16, rows * m * element};
    return bytes;
}

#endif
