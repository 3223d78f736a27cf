/// Sampling tokens as cpu/sample_ops.c does: temperature, then top-k, top-p and min-p, then the
/// inverse of the cumulative distribution in ascending token id; ties go to the lower id
/// everywhere.
///
/// A block samples one row's token, without sorting the vocabulary. The k-th likeliest logit is
/// found by its digits (a radix select), and the probabilities of the likeliest tokens are added a
/// sorted piece at a time, in the order in which a sort would have put them. So sums have the CPU's
/// bits. Tokens of equal logits have equal probabilities, so their order is of no matter to a sum.
#include "common/tensor/cuda/head.h"

enum {
    DIGIT = 11,           // bits of a key that one pass looks at: 11 + 11 + 10 are 32
    BUCKETS = 1 << DIGIT, // counters of a pass: 8 KiB of shared memory
    PIECE = 2048,         // keys that are sorted at a time
    CDF_BLOCK = 256, // probabilities that are summed before their sum is compared, as on the CPU
    WARPS = CUDA_BLOCK / 32
};
static_assert(+CDF_BLOCK == +CUDA_BLOCK, "a thread for each probability of a block");

/// One call's arguments.
typedef struct sample_args {
    size_t vocabulary;
    tr_sampling_t sampling;
    int32_t *tokens, *kept_count; // [R], written
    int32_t *kept_ids;            // [R, kept_columns], written; NULL when nothing can be cut
    size_t kept_columns;
    float *logprob, *raw; // [R], written
    const float *uniform; // [R]
} sample_args_t;

/// The key at some rank in the ascending order of a row's keys.
typedef struct place {
    unsigned key;
    size_t before, same; // how many keys are less, and equal
} place_t;

/// A block's shared memory. Scalars are written by one thread and read by all after a barrier.
typedef struct workspace {
    unsigned words[PIECE > BUCKETS ? PIECE : BUCKETS]; // counts of buckets, or keys, or masses
    unsigned long long best[CUDA_BLOCK];               // argmax: each thread's best
    float lanes[CUDA_BLOCK];                           // reductions, or a block's probabilities
    unsigned warps[WARPS];                             // sum_before: each warp's sum
    unsigned gathered;                                 // keys in words
    place_t place;
    size_t taken;  // number of the likeliest tokens added so far
    double mass;   // the sum of their probabilities
    size_t block;  // the block of the cumulative distribution that holds the token
    double before; // the sum of the blocks before it
    double wanted; // the sum that the running sum must pass
    size_t index;  // the sampled place
} workspace_t;

/// Ascending keys are descending logits; -0 counts as 0. See key_of in cpu/sample_ops.c.
static __device__ __forceinline__ unsigned key_of(float z)
{
    unsigned bits = __float_as_uint(z + 0.0f);
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

/// The logit of a key.
static __device__ __forceinline__ float value_of(unsigned key)
{
    return __uint_as_float((key & 0x80000000u) != 0 ? key : ~key & 0x7fffffffu);
}

/// The sum of x over the threads before this one; *total: over all. A prefix sum within each warp,
/// then over the warps' sums.
static __device__ unsigned sum_before(unsigned x, workspace_t *b, unsigned *total)
{
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned sum = x;
    for (unsigned distance = 1; distance < 32; distance *= 2) {
        unsigned lower = __shfl_up_sync(0xffffffffu, sum, distance);
        sum += lane >= distance ? lower : 0;
    }
    if (lane == 31) {
        b->warps[warp] = sum;
    }
    __syncthreads();
    unsigned before = sum - x;
    *total = 0;
    for (unsigned w = 0; w < WARPS; w++) {
        before += w < warp ? b->warps[w] : 0;
        *total += b->warps[w];
    }
    __syncthreads();
    return before;
}

/// Finds the bucket with the left-th of the counted keys (from 0), which is the next digit of
/// b->place.
static __device__ void take_digit(size_t left, workspace_t *b)
{
    enum { EACH = BUCKETS / CUDA_BLOCK };
    const place_t place = b->place;
    unsigned mine = 0, bucket = threadIdx.x * EACH, all;
    for (unsigned i = 0; i < EACH; i++) {
        mine += b->words[bucket + i];
    }
    unsigned before = sum_before(mine, b, &all);
    if (before <= left && left < before + mine) { // true in exactly one thread
        while (left >= before + b->words[bucket]) {
            before += b->words[bucket++];
        }
        b->place = {place.key << DIGIT | bucket, place.before + before, b->words[bucket]};
    }
    __syncthreads();
}

/// The place of the rank-th key (from 0), found digit by digit: each pass counts the keys that
/// share the digits known so far, by their next digit. The first digit has the 10 bits that remain.
/// The atomics count integers, so their order is of no matter.
static __device__ place_t place_of(const cuda_row_t &row, size_t rank, workspace_t *b)
{
    // No barrier yet: the one after the counters are cleared also shows this to all.
    if (threadIdx.x == 0) {
        b->place = {0, 0, 0};
    }
    for (int shift = 2 * DIGIT; shift >= 0; shift -= DIGIT) {
        for (unsigned i = threadIdx.x; i < BUCKETS; i += CUDA_BLOCK) {
            b->words[i] = 0;
        }
        __syncthreads();
        const unsigned prefix = b->place.key;
        for (size_t i = threadIdx.x; i < row.n; i += CUDA_BLOCK) {
            unsigned key = key_of(row.at(i)) >> shift;
            if (key >> DIGIT == prefix) {
                atomicAdd(&b->words[key & (BUCKETS - 1)], 1u);
            }
        }
        __syncthreads();
        take_digit(rank - b->place.before, b);
    }
    return b->place;
}

/// Sorts words: [count], ascending (bitonic sort). Words from count up to the next power of two
/// must be the greatest possible.
static __device__ void sort_words(unsigned *words, unsigned count)
{
    unsigned room = 2;
    while (room < count) {
        room *= 2;
    }
    for (unsigned size = 2; size <= room; size *= 2) {
        for (unsigned gap = size / 2; gap > 0; gap /= 2) {
            for (unsigned i = threadIdx.x; i < room / 2; i += CUDA_BLOCK) {
                unsigned low = i / gap * 2 * gap + i % gap, high = low + gap;
                unsigned x = words[low], y = words[high];
                if ((x > y) == ((low & size) == 0)) {
                    words[low] = y;
                    words[high] = x;
                }
            }
            __syncthreads();
        }
    }
}

/// Gathers the row's keys in from..end-1, fewer than PIECE, into words, sorted; returns their
/// number. The order in which threads gather does not matter after the sort.
static __device__ unsigned likely_keys(const cuda_row_t &row, unsigned from, unsigned end,
                                       workspace_t *b)
{
    for (unsigned i = threadIdx.x; i < PIECE; i += CUDA_BLOCK) {
        b->words[i] = 0xffffffffu;
    }
    if (threadIdx.x == 0) {
        b->gathered = 0;
    }
    __syncthreads();
    for (size_t i = threadIdx.x; i < row.n; i += CUDA_BLOCK) {
        unsigned key = key_of(row.at(i));
        if (key >= from && key < end) {
            b->words[atomicAdd(&b->gathered, 1u)] = key;
        }
    }
    __syncthreads();
    const unsigned count = b->gathered;
    sort_words(b->words, count);
    return count;
}

/// Adds probabilities to b->mass, one chain, until it reaches `wanted`: `count` of them from words,
/// then up to `same` times `mass`. By one thread, since the order of additions is the CPU's.
static __device__ void add_masses(workspace_t *b, unsigned count, float mass, size_t same,
                                  double wanted)
{
    double sum = b->mass;
    size_t taken = 0;
    // Written as !(sum >= wanted) so that a NaN ends too, at the last token.
    while (taken < count + same && !(sum >= wanted)) {
        sum += static_cast<double>(taken < count ? __uint_as_float(b->words[taken]) : mass);
        taken++;
    }
    b->mass = sum;
    b->taken += taken;
}

/// The number of the row's `limit` likeliest tokens that the wanted mass needs, all of them where
/// they have less. b->mass: theirs. Pieces of at most PIECE keys, from the likeliest down: the
/// place of the piece's last key tells which keys it has.
static __device__ size_t cut_mass(const cuda_row_t &row, float max, size_t limit, double wanted,
                                  workspace_t *b)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        b->taken = 0;
        b->mass = 0.0;
    }
    __syncthreads();
    unsigned from = 0;
    while (b->taken < limit && !(b->mass >= wanted)) {
        size_t rank = b->taken + PIECE < limit ? b->taken + PIECE : limit;
        place_t last = place_of(row, rank - 1, b);
        unsigned count = likely_keys(row, from, last.key, b);
        for (unsigned i = threadIdx.x; i < count; i += CUDA_BLOCK) {
            b->words[i] = __float_as_uint(cuda_exp(value_of(b->words[i]) - max));
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            size_t left = limit - last.before;
            add_masses(b, count, cuda_exp(value_of(last.key) - max),
                       last.same < left ? last.same : left, wanted);
        }
        __syncthreads();
        from = last.key + 1;
    }
    return b->taken;
}

/// How many tokens have a logit of at least max + least. The atomics count integers, so their order
/// is of no matter.
static __device__ size_t count_likely(const cuda_row_t &row, float max, float least, workspace_t *b)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        b->gathered = 0;
    }
    __syncthreads();
    for (size_t i = threadIdx.x; i < row.n; i += CUDA_BLOCK) {
        if (row.at(i) - max >= least) {
            atomicAdd(&b->gathered, 1u);
        }
    }
    __syncthreads();
    return b->gathered;
}

/// The number of likeliest tokens that top-k, top-p and min-p keep of tempered logits.
template <int L>
static __device__ size_t count_kept(const cuda_row_t &row, tr_sampling_t sampling, workspace_t *b)
{
    size_t kept = row.n;
    const bool by_count = sampling.top_k > 0 && static_cast<size_t>(sampling.top_k) < kept;
    if (by_count) {
        kept = static_cast<size_t>(sampling.top_k);
    }
    if (sampling.top_p < 1.0f) {
        cuda_softmax_t softmax = cuda_row_softmax<L>(row, b->lanes);
        double total = static_cast<double>(softmax.sum);
        if (by_count) {
            // The mass of all k tokens: transformers renormalises after top-k.
            cut_mass(row, softmax.max, kept, INFINITY, b);
            total = b->mass;
        }
        kept = cut_mass(row, softmax.max, kept, static_cast<double>(sampling.top_p) * total, b);
    }
    if (sampling.min_p > 0.0f) {
        const float least = static_cast<float>(cuda_log(static_cast<double>(sampling.min_p)));
        float max = value_of(place_of(row, 0, b).key);
        size_t likely = count_likely(row, max, least, b);
        kept = likely < kept ? likely : kept;
    }
    return kept;
}

/// ids: written with the `kept` likeliest tokens, ascending. A token is kept if its key is less
/// than the last kept key, or equal to it and among the first `ties` in order of ids. 256 tokens at
/// a time, with both counts in one prefix sum: 16 bits each.
static __device__ void write_kept(const cuda_row_t &row, size_t kept, int32_t *ids, workspace_t *b)
{
    const place_t last = place_of(row, kept - 1, b);
    const size_t ties = kept - last.before; // how many tokens with the key last.key are kept
    size_t likelier = 0, tied = 0;          // tokens of either kind before the current 256
    for (size_t first = 0; first < row.n; first += CUDA_BLOCK) {
        const size_t i = first + threadIdx.x;
        unsigned key = i < row.n ? key_of(row.at(i)) : 0, all;
        bool above = i < row.n && key < last.key, same = i < row.n && key == last.key;
        unsigned before = sum_before((above ? 1u : 0u) | (same ? 1u << 16 : 0u), b, &all);
        size_t tied_before = tied + (before >> 16);
        if (above || (same && tied_before < ties)) {
            size_t taken = tied_before < ties ? tied_before : ties;
            ids[likelier + (before & 0xffffu) + taken] = static_cast<int32_t>(i);
        }
        likelier += all & 0xffffu;
        tied += all >> 16;
    }
    __syncthreads();
}

/// Finds the block of the cumulative distribution in which the running sum passes uniform times the
/// whole; `blocks` where none does. By one thread: the sums are chains in the CPU's order.
static __device__ void find_block(const double *sums, size_t blocks, float uniform, workspace_t *b)
{
    double total = 0.0;
    for (size_t i = 0; i < blocks; i++) {
        total += sums[i];
    }
    b->wanted = static_cast<double>(uniform) * total;
    b->before = 0.0;
    for (b->block = 0; b->block < blocks; b->block++) {
        double after = b->before + sums[b->block];
        if (after > b->wanted) {
            return;
        }
        b->before = after;
    }
}

/// The place within that block, whose probabilities are in lanes. Where the running sum stays below
/// by rounding, the last place with a probability above 0.
static __device__ size_t find_in_block(const workspace_t *b, size_t n)
{
    const size_t first = b->block * CDF_BLOCK;
    double sum = b->before;
    size_t chosen = 0;
    for (size_t i = first; i < n && i < first + CDF_BLOCK; i++) {
        float mass = b->lanes[i - first];
        sum += static_cast<double>(mass);
        chosen = mass > 0.0f ? i : chosen;
        if (sum > b->wanted) {
            return i;
        }
    }
    return chosen;
}

/// The first place at which the running sum of e^(at - max) passes uniform times the whole. sums:
/// one for each block, each one chain in double by one thread.
static __device__ size_t invert(const cuda_row_t &row, float max, float uniform, double *sums,
                                workspace_t *b)
{
    const size_t blocks = (row.n + CDF_BLOCK - 1) / CDF_BLOCK;
    for (size_t block = threadIdx.x; block < blocks; block += CUDA_BLOCK) {
        double sum = 0.0;
        for (size_t i = block * CDF_BLOCK; i < row.n && i < (block + 1) * CDF_BLOCK; i++) {
            sum += static_cast<double>(cuda_exp(row.at(i) - max));
        }
        sums[block] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        find_block(sums, blocks, uniform, b);
    }
    __syncthreads();
    const size_t mine = b->block * CDF_BLOCK + threadIdx.x;
    b->lanes[threadIdx.x] = mine < row.n ? cuda_exp(row.at(mine) - max) : 0.0f;
    __syncthreads();
    if (threadIdx.x == 0) {
        b->index = find_in_block(b, row.n);
    }
    __syncthreads();
    return b->index;
}

/// The greatest logit, the lowest id on a tie: the least (key, id) over all threads, by a tree.
static __device__ size_t argmax(const cuda_row_t &row, workspace_t *b)
{
    unsigned long long best = ~0ull; // key, then id
    for (size_t i = threadIdx.x; i < row.n; i += CUDA_BLOCK) {
        unsigned long long key = static_cast<unsigned long long>(key_of(row.at(i))) << 32 | i;
        best = key < best ? key : best;
    }
    // The tree's order is of no matter: keys with ids are all different, so there is one least.
    b->best[threadIdx.x] = best;
    __syncthreads();
    for (unsigned half = CUDA_BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half && b->best[threadIdx.x + half] < b->best[threadIdx.x]) {
            b->best[threadIdx.x] = b->best[threadIdx.x + half];
        }
        __syncthreads();
    }
    return static_cast<size_t>(b->best[0] & 0xffffffffu);
}

/// Truncates a tempered row: writes the ids of the kept tokens to the row's place in kept_ids.
/// Returns their number, 0 when nothing was cut.
template <int L>
static __device__ size_t cut_row(cuda_row_t *row, const sample_args_t &d, size_t at, workspace_t *b)
{
    size_t kept = count_kept<L>(*row, d.sampling, b);
    if (kept == row->n) {
        return 0;
    }
    int32_t *ids = d.kept_ids + at * d.kept_columns;
    write_kept(*row, kept, ids, b);
    row->ids = ids;
    row->n = kept;
    return kept;
}

/// Samples one row a block. logits: [tile, vocabulary] of rows from `first`.
template <int L>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    sample_rows(sample_args_t d, const float *logits, size_t first)
{
    __shared__ workspace_t workspace;
    CUDA_DYNAMIC_SHARED(double, sums); // [ceil(vocabulary / CDF_BLOCK)]
    const size_t at = first + blockIdx.x;
    const cuda_row_t plain = {logits + blockIdx.x * d.vocabulary, NULL, d.vocabulary, d.vocabulary,
                              1.0f};
    // All branches below are the same for the whole block, as the barriers inside need.
    const bool greedy = d.sampling.temperature <= 0.0f;
    cuda_row_t row = plain;
    cuda_softmax_t softmax;
    size_t token, kept = 0;
    float logprob = 0.0f;
    if (greedy) {
        token = argmax(plain, &workspace);
    } else {
        row.temperature = d.sampling.temperature;
        kept = cut_row<L>(&row, d, at, &workspace);
        softmax = cuda_row_softmax<L>(row, workspace.lanes);
        // An index among the kept tokens, which row.id turns into a token.
        size_t index = invert(row, softmax.max, d.uniform[at], sums, &workspace);
        token = row.id(index);
        logprob = cuda_row_logprob(row, index, softmax);
    }
    // `raw` is under softmax(logits), which differs from the distribution drawn from in these
    // cases; else the statistics above are the same.
    if (greedy || row.temperature != 1.0f || kept > 0) {
        softmax = cuda_row_softmax<L>(plain, workspace.lanes);
    }
    if (threadIdx.x == 0) {
        d.tokens[at] = static_cast<int32_t>(token);
        d.logprob[at] = logprob;
        d.raw[at] = cuda_row_logprob(plain, token, softmax);
        d.kept_count[at] = static_cast<int32_t>(kept);
    }
}

void cuda_sample(tr_queue_t *queue, tr_tensor_t tokens, tr_tensor_t logprob, tr_tensor_t raw,
                 tr_tensor_t kept_count, tr_tensor_t kept_ids, tr_tensor_t hidden, tr_head_t head,
                 size_t vocabulary, tr_tensor_t uniform, tr_sampling_t sampling)
{
    const size_t rows = hidden.rows, most = tr_sampling_most_kept(&sampling, vocabulary);
    if (rows == 0) {
        return;
    }
    TR_ASSERT_SHAPE(head.weight, vocabulary, hidden.columns);
    TR_ASSERT_COUNT(tokens, rows);
    TR_ASSERT_COUNT(logprob, rows);
    TR_ASSERT_COUNT(raw, rows);
    TR_ASSERT_COUNT(kept_count, rows);
    TR_ASSERT_COUNT(uniform, rows);
    TR_ASSERT(sampling.top_p > 0.0f && sampling.top_k >= 0, "top_p %g, top_k %d",
              static_cast<double>(sampling.top_p), sampling.top_k);
    TR_ASSERT(most == 0 ||
                  (kept_ids.buffer != NULL && kept_ids.rows >= rows && kept_ids.columns >= most),
              "kept_ids [%zu, %zu] for %zu rows of up to %zu", kept_ids.rows, kept_ids.columns,
              rows, most);
    const sample_args_t d = {vocabulary,
                             sampling,
                             cuda_i32(tokens),
                             cuda_i32(kept_count),
                             most > 0 ? cuda_i32(kept_ids) : NULL,
                             kept_ids.columns,
                             cuda_f32(logprob),
                             cuda_f32(raw),
                             cuda_f32(uniform)};
    const size_t shared = (vocabulary + CDF_BLOCK - 1) / CDF_BLOCK * sizeof(double);
    cuda_with_type(queue->backend->base.real, [&](auto zero) {
        typedef decltype(zero) T;
        cuda_over_logits(queue, {}, false, hidden, head,
                         [&](const float *logits, size_t first, size_t count) {
                             cuda_launch(queue, static_cast<unsigned>(count), CUDA_BLOCK, shared,
                                         sample_rows<cuda_lanes<T>::count>, d, logits, first);
                         });
    });
}
