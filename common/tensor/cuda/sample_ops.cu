/// Drawing tokens as cpu/sample_ops.c does: temperature, then top-k, then top-p, then the inverse of the cumulative
/// distribution in ascending token id; ties go to the lower id everywhere. A block draws one row's token, without sorting the
/// vocabulary: the k-th likeliest logit is found by its digits, and the mass of the likeliest is added a sorted piece at a time,
/// in the order in which a sort would have put them. Tokens of one logit have one mass, so the order among them is no matter.
#include "common/tensor/cuda/head.h"

enum {
    DIGIT = 11, // bits of a key that are looked at at a time
    BUCKETS = 1 << DIGIT,
    PIECE = 2048,    // keys that are sorted at a time
    CDF_BLOCK = 256, // probabilities that are summed before their sum is compared, as on the CPU
    WARPS = CUDA_BLOCK / 32
};
static_assert(+CDF_BLOCK == +CUDA_BLOCK, "a thread a probability of a block");

typedef struct drawing {
    size_t vocabulary;
    tr_sampling_t sampling;
    int32_t *tokens, *kept_count, *kept_ids;
    size_t kept_columns;
    float *logprob, *raw;
    const float *uniform;
} drawing_t;

/// Where the order of a row's keys reaches a rank.
typedef struct place {
    unsigned key;
    size_t before, same; // keys that are less, and equal
} place_t;

/// A block's working memory, shared by its threads.
typedef struct bench {
    unsigned words[PIECE > BUCKETS ? PIECE : BUCKETS]; // counts of buckets, or keys, or masses
    unsigned long long best[CUDA_BLOCK];
    float lanes[CUDA_BLOCK];
    unsigned warps[WARPS];
    unsigned gathered;
    place_t place;
    size_t taken;  // of the likeliest tokens
    double mass;   // theirs
    size_t block;  // of the cumulative distribution
    double before; // the sum of the blocks before it
    double wanted; // that the running sum must pass
    size_t index;  // that was drawn
} bench_t;

/// Ascending keys are descending logits; -0 counts as 0.
static __device__ __forceinline__ unsigned key_of(float z)
{
    unsigned bits = __float_as_uint(z + 0.0f);
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

static __device__ __forceinline__ float value_of(unsigned key)
{
    return __uint_as_float((key & 0x80000000u) != 0 ? key : ~key & 0x7fffffffu);
}

/// The sum of x over the threads before this one, and over all.
static __device__ unsigned sum_before(unsigned x, bench_t *b, unsigned *total)
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

/// The bucket that holds the left-th of the counted keys (from 0) becomes the next digit of b->place.
static __device__ void take_digit(size_t left, bench_t *b)
{
    enum { EACH = BUCKETS / CUDA_BLOCK };
    const place_t place = b->place;
    unsigned mine = 0, bucket = threadIdx.x * EACH, all;
    for (unsigned i = 0; i < EACH; i++) {
        mine += b->words[bucket + i];
    }
    unsigned before = sum_before(mine, b, &all);
    if (before <= left && left < before + mine) { // in one thread
        while (left >= before + b->words[bucket]) {
            before += b->words[bucket++];
        }
        b->place = {place.key << DIGIT | bucket, place.before + before, b->words[bucket]};
    }
    __syncthreads();
}

/// The place of the rank-th key (from 0), a digit after the other: the first has the 10 bits that remain.
static __device__ place_t place_of(const cuda_row_t &row, size_t rank, bench_t *b)
{
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

/// Sorts words: [count], ascending, bitonic; what follows up to a power of two must be greatest.
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

/// The row's keys from..end-1, fewer than PIECE, into words, sorted. Returns how many.
static __device__ unsigned likely_keys(const cuda_row_t &row, unsigned from, unsigned end,
                                       bench_t *b)
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

/// Adds masses to b->mass, one chain, until it reaches what is wanted: count of them from words, then up to `same` times
/// `mass`.
static __device__ void add_masses(bench_t *b, unsigned count, float mass, size_t same,
                                  double wanted)
{
    double sum = b->mass;
    size_t taken = 0;
    while (taken < count + same && !(sum >= wanted)) {
        sum += static_cast<double>(taken < count ? __uint_as_float(b->words[taken]) : mass);
        taken++;
    }
    b->mass = sum;
    b->taken += taken;
}

/// How many of the row's `limit` likeliest tokens the wanted mass needs, all of them where they have less; b->mass is theirs.
static __device__ size_t cut_mass(const cuda_row_t &row, float max, size_t limit, double wanted,
                                  bench_t *b)
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

/// How many of the likeliest tokens of tempered logits are kept.
template <int L>
static __device__ size_t count_kept(const cuda_row_t &row, tr_sampling_t sampling, bench_t *b)
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
            cut_mass(row, softmax.max, kept, INFINITY, b);
            total = b->mass;
        }
        kept = cut_mass(row, softmax.max, kept, static_cast<double>(sampling.top_p) * total, b);
    }
    return kept;
}

/// ids: the `kept` likeliest tokens, ascending.
static __device__ void write_kept(const cuda_row_t &row, size_t kept, int32_t *ids, bench_t *b)
{
    const place_t last = place_of(row, kept - 1, b);
    const size_t ties = kept - last.before; // of last.key, the lowest ids
    size_t likelier = 0, tied = 0;          // among the tokens before the block's
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

/// The block of the cumulative distribution where its running sum passes uniform times the whole; `blocks` where none does.
static __device__ void find_block(const double *sums, size_t blocks, float uniform, bench_t *b)
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

/// Which of the block's masses, in lanes; the last that is not 0 where the running sum falls short of the block's by rounding.
static __device__ size_t find_in_block(const bench_t *b, size_t n)
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

/// The first index at which the running sum of e^(at - max) passes uniform times the whole. sums: a block's each.
static __device__ size_t invert(const cuda_row_t &row, float max, float uniform, double *sums,
                                bench_t *b)
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

static __device__ size_t argmax(const cuda_row_t &row, bench_t *b)
{
    unsigned long long best = ~0ull; // key, then id
    for (size_t i = threadIdx.x; i < row.n; i += CUDA_BLOCK) {
        unsigned long long key = static_cast<unsigned long long>(key_of(row.at(i))) << 32 | i;
        best = key < best ? key : best;
    }
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

/// Cuts the tempered row to what is kept, the ids of which go to the row's place in kept_ids; returns how many, 0 when nothing
/// was cut.
template <int L>
static __device__ size_t cut_row(cuda_row_t *row, const drawing_t &d, size_t at, bench_t *b)
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

/// logits: [tile, vocabulary] of rows from `first`.
template <int L>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    draw_rows(drawing_t d, const float *logits, size_t first)
{
    __shared__ bench_t bench;
    CUDA_DYNAMIC_SHARED(double, sums); // [ceil(vocabulary / CDF_BLOCK)]
    const size_t at = first + blockIdx.x;
    const cuda_row_t plain = {logits + blockIdx.x * d.vocabulary, NULL, d.vocabulary, d.vocabulary,
                              1.0f};
    const bool greedy = d.sampling.temperature <= 0.0f;
    cuda_row_t row = plain;
    cuda_softmax_t softmax;
    size_t token, kept = 0;
    float logprob = 0.0f;
    if (greedy) {
        token = argmax(plain, &bench);
    } else {
        row.temperature = d.sampling.temperature;
        kept = cut_row<L>(&row, d, at, &bench);
        softmax = cuda_row_softmax<L>(row, bench.lanes);
        size_t index = invert(row, softmax.max, d.uniform[at], sums, &bench);
        token = row.id(index);
        logprob = cuda_row_logprob(row, index, softmax);
    }
    if (greedy || row.temperature != 1.0f || kept > 0) {
        softmax = cuda_row_softmax<L>(plain, bench.lanes);
    }
    if (threadIdx.x == 0) {
        d.tokens[at] = static_cast<int32_t>(token);
        d.logprob[at] = logprob;
        d.raw[at] = cuda_row_logprob(plain, token, softmax);
        d.kept_count[at] = static_cast<int32_t>(kept);
    }
}

/// The most tokens that a row can keep after something was cut; 0 when nothing ever is.
static size_t most_kept(tr_sampling_t sampling, size_t vocabulary)
{
    if (sampling.temperature <= 0.0f) {
        return 0;
    }
    if (sampling.top_k > 0 && static_cast<size_t>(sampling.top_k) < vocabulary) {
        return static_cast<size_t>(sampling.top_k);
    }
    return sampling.top_p < 1.0f ? vocabulary : 0;
}

void cuda_sample(tr_queue_t *queue, tr_tensor_t tokens, tr_tensor_t logprob, tr_tensor_t raw,
                 tr_tensor_t kept_count, tr_tensor_t kept_ids, tr_tensor_t hidden, tr_tensor_t head,
                 size_t vocabulary, tr_tensor_t uniform, tr_sampling_t sampling)
{
    const size_t rows = hidden.rows, most = most_kept(sampling, vocabulary);
    if (rows == 0) {
        return;
    }
    TR_ASSERT(tr_tensor_count(tokens) == rows && tr_tensor_count(logprob) == rows &&
                  tr_tensor_count(raw) == rows && tr_tensor_count(kept_count) == rows &&
                  tr_tensor_count(uniform) == rows && head.rows == vocabulary,
              "tokens %zu, logprob %zu, raw %zu, kept_count %zu, uniform %zu for %zu rows; head "
              "[%zu, %zu] of %zu tokens",
              tr_tensor_count(tokens), tr_tensor_count(logprob), tr_tensor_count(raw),
              tr_tensor_count(kept_count), tr_tensor_count(uniform), rows, head.rows, head.columns,
              vocabulary);
    TR_ASSERT(sampling.top_p > 0.0f && sampling.top_k >= 0, "top_p %g, top_k %d",
              static_cast<double>(sampling.top_p), sampling.top_k);
    TR_ASSERT(most == 0 ||
                  (kept_ids.buffer != NULL && kept_ids.rows >= rows && kept_ids.columns >= most),
              "kept_ids [%zu, %zu] for %zu rows of up to %zu", kept_ids.rows, kept_ids.columns,
              rows, most);
    const drawing_t d = {vocabulary,
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
        cuda_over_logits(queue, hidden, head, [&](const float *logits, size_t first, size_t count) {
            cuda_launch(queue, static_cast<unsigned>(count), CUDA_BLOCK, shared,
                        draw_rows<cuda_lanes<T>::count>, d, logits, first);
        });
    });
}
