/// Sampling tokens: temperature, then top-k, top-p and min-p (the order of transformers' warpers),
/// then the inverse of the cumulative distribution in ascending token id. Ties go to the lower id
/// everywhere.
///
/// A row is sampled by one thread. The order of tokens is that of 64-bit keys, logit above id, so
/// that sorting, top-k and top-p agree about ties. Sums of probabilities are doubles. The
/// log-probability is computed by cpu_row_softmax on the kept set, as the trainer will compute it.
/// common/tensor/cuda/sample_ops.cu gives the same tokens without sorting the vocabulary.
#include <string.h>

#include "common/base/real.h"
#include "common/tensor/cpu/cpu.h"

enum {
    BUCKETS = 2048,  // of 11 bits of a key
    CDF_BLOCK = 256, // probabilities that are summed before their sum is compared
    CDF_CHAINS = 8   // blocks that are summed at a time: one chain would wait for each addition
};

/// One call's arguments, and the current tile.
typedef struct sample_args {
    const cpu_kernels_t *kernels;
    size_t vocabulary;
    size_t first;  // number of the tile's first row
    float *logits; // [tile, vocabulary]
    tr_sampling_t sampling;
    int32_t *tokens, *kept_count; // [R], written
    int32_t *kept_ids;            // [R, kept_columns], written; NULL when nothing can be cut
    size_t kept_columns;
    float *logprob, *raw; // [R], written
    const float *uniform; // [R]
    char *scratch;        // [threads, scratch_share]
    size_t scratch_share; // bytes a thread
} sample_args_t;

/// One thread's working memory.
typedef struct workspace {
    float *z;             // [vocabulary]: tempered logits
    float *e;             // [vocabulary]
    double *sums;         // [vocabulary / CDF_BLOCK + 1]
    uint64_t *keys;       // [vocabulary]: see key_of; ascending is most likely first
    uint64_t *keys_other; // [vocabulary]: the other array of a sorting pass
    int32_t *ids;         // [vocabulary]: the kept set
    uint8_t *mark;        // [vocabulary]
} workspace_t;

/// Divides a thread's share of the scratch memory, the types with the strictest alignment first.
static workspace_t lay_out(char *scratch, size_t vocabulary)
{
    size_t n = cpu_round_up(vocabulary, 16);
    workspace_t b;
    b.keys = (uint64_t *)(void *)scratch;
    b.keys_other = b.keys + n;
    b.sums = (double *)(void *)(b.keys_other + n);
    b.z = (float *)(void *)(b.sums + n / CDF_BLOCK + 1);
    b.e = b.z + n;
    b.ids = (int32_t *)(void *)(b.e + n);
    b.mark = (uint8_t *)(void *)(b.ids + n);
    return b;
}

/// Bytes of such a share.
static size_t share_bytes(size_t vocabulary)
{
    size_t n = cpu_round_up(vocabulary, 16);
    size_t each = 2 * sizeof(uint64_t) + 2 * sizeof(float) + sizeof(int32_t) + 1;
    return cpu_round_up(n * each + (n / CDF_BLOCK + 1) * sizeof(double), 64);
}

/// Ascending keys are descending logits (-0 counts as 0), then ascending ids. A float's bits order
/// like integers once negative numbers are inverted and positive ones get the sign bit; the
/// complement makes the order descending.
static uint64_t key_of(float z, size_t id)
{
    uint32_t bits;
    z = z + 0.0f;
    memcpy(&bits, &z, sizeof bits);
    uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (uint64_t)(~ascending) << 32 | (uint64_t)id;
}

static size_t key_id(uint64_t key)
{
    return (size_t)(key & 0xffffffffu);
}

/// Sorts keys by their upper half: radix sort, three passes of 11 bits, each stable, so ids stay
/// ascending among equal logits. The result is in keys (the arrays change places).
static void sort_keys(workspace_t *b, size_t n)
{
    for (unsigned shift = 32; shift < 64; shift += 11) {
        size_t count[BUCKETS + 1] = {0};
        for (size_t i = 0; i < n; i++) {
            count[(b->keys[i] >> shift & (BUCKETS - 1)) + 1]++;
        }
        for (size_t i = 0; i < BUCKETS; i++) {
            count[i + 1] += count[i];
        }
        for (size_t i = 0; i < n; i++) {
            b->keys_other[count[b->keys[i] >> shift & (BUCKETS - 1)]++] = b->keys[i];
        }
        uint64_t *swap = b->keys;
        b->keys = b->keys_other;
        b->keys_other = swap;
    }
}

/// The k most likely tokens first in keys, sorted. Only tokens in the buckets of the highest 11
/// bits that can hold one of them are sorted, which are few unless the logits are nearly equal.
static void take_top_k(workspace_t *b, size_t vocabulary, size_t k)
{
    size_t count[BUCKETS] = {0};
    for (size_t i = 0; i < vocabulary; i++) {
        b->keys_other[i] = key_of(b->z[i], i);
        count[b->keys_other[i] >> 53]++;
    }
    size_t last = 0, total = count[0];
    while (total < k) {
        total += count[++last];
    }
    size_t n = 0;
    for (size_t i = 0; i < vocabulary; i++) {
        if (b->keys_other[i] >> 53 <= last) {
            b->keys[n++] = b->keys_other[i];
        }
    }
    sort_keys(b, n);
}

/// Tokens that top-p may keep, sorted, in keys; returns their number. e: exponentials of all
/// tokens. A token below half of (1 - top_p) / V of the mass is left out: all V such tokens
/// together have less than half of the mass that may be cut, so the kept set never reaches them.
/// All are sorted when 1 - top_p is as small as the rounding of the sums.
static size_t take_likely(workspace_t *b, size_t vocabulary, float top_p, float sum)
{
    float rest = 1.0f - top_p;
    float least = rest > 1e-4f ? 0.5f * rest * sum / (float)vocabulary : -1.0f;
    size_t n = 0;
    for (size_t i = 0; i < vocabulary; i++) {
        if (b->e[i] >= least) {
            b->keys[n++] = key_of(b->z[i], i);
        }
    }
    sort_keys(b, n);
    return n;
}

/// The number of the n sorted keys that the mass top_p * total needs; e by id. One chain, the
/// likeliest first.
static size_t cut_mass(const workspace_t *b, size_t n, float top_p, double total)
{
    double wanted = (double)top_p * total, mass = 0.0;
    for (size_t i = 0; i < n; i++) {
        mass += (double)b->e[key_id(b->keys[i])];
        if (mass >= wanted) {
            return i + 1;
        }
    }
    return n;
}

/// The number of the `kept` tokens that are at least min_p times as likely as the likeliest. By
/// logits, whose order is the keys': e^(z - max) >= min_p. After another truncation the kept tokens
/// are sorted; otherwise those that stay are gathered in keys, in no order.
static size_t cut_unlikely(workspace_t *b, size_t vocabulary, size_t kept, float min_p)
{
    const float least = (float)tr_real_log((double)min_p);
    if (kept < vocabulary) {
        const float max = b->z[key_id(b->keys[0])];
        while (kept > 1 && b->z[key_id(b->keys[kept - 1])] - max < least) {
            kept--;
        }
        return kept;
    }
    float max = b->z[0];
    for (size_t i = 1; i < vocabulary; i++) {
        max = b->z[i] > max ? b->z[i] : max;
    }
    kept = 0;
    for (size_t i = 0; i < vocabulary; i++) {
        if (b->z[i] - max >= least) {
            b->keys[kept++] = key_of(b->z[i], i);
        }
    }
    return kept;
}

/// Writes the kept set of the tempered logits z into ids, ascending; returns its size, 0 when
/// nothing was cut.
static size_t truncate_row(const sample_args_t *d, workspace_t *b)
{
    const size_t vocabulary = d->vocabulary;
    const float top_p = d->sampling.top_p;
    size_t kept = vocabulary;
    bool by_count = d->sampling.top_k > 0 && (size_t)d->sampling.top_k < vocabulary;
    if (by_count) {
        kept = (size_t)d->sampling.top_k;
        take_top_k(b, vocabulary, kept);
    }
    if (top_p < 1.0f) {
        cpu_softmax_t softmax = d->kernels->softmax(b->e, b->z, vocabulary);
        // After top-k, the mass is that of the k tokens: transformers renormalises between the
        // warpers.
        double total = (double)softmax.sum;
        if (by_count) {
            total = 0.0;
            for (size_t i = 0; i < kept; i++) {
                total += (double)b->e[key_id(b->keys[i])];
            }
        } else {
            kept = take_likely(b, vocabulary, top_p, softmax.sum);
        }
        kept = cut_mass(b, kept, top_p, total);
    }
    if (d->sampling.min_p > 0.0f) {
        kept = cut_unlikely(b, vocabulary, kept, d->sampling.min_p);
    }
    if (kept == vocabulary) {
        return 0;
    }
    // Marks and a scan instead of sorting the ids.
    memset(b->mark, 0, vocabulary);
    for (size_t i = 0; i < kept; i++) {
        b->mark[key_id(b->keys[i])] = 1;
    }
    size_t n = 0;
    for (size_t i = 0; i < vocabulary; i++) {
        if (b->mark[i]) {
            b->ids[n++] = (int32_t)i;
        }
    }
    return n;
}

/// The sum of a block: one chain in double, from its first element.
static double block_sum(const float *e, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)e[i];
    }
    return sum;
}

/// sums: [ceil(n / CDF_BLOCK)], each one chain over its block; returns their sum, a chain too.
/// Eight blocks at a time, because the chains are independent.
static double block_sums(double *sums, const float *e, size_t n)
{
    size_t block = 0;
    for (; (block + CDF_CHAINS) * CDF_BLOCK <= n; block += CDF_CHAINS) {
        double chain[CDF_CHAINS] = {0.0};
        for (size_t i = 0; i < CDF_BLOCK; i++) {
            for (size_t j = 0; j < CDF_CHAINS; j++) {
                chain[j] += (double)e[(block + j) * CDF_BLOCK + i];
            }
        }
        memcpy(sums + block, chain, sizeof chain);
    }
    for (; block * CDF_BLOCK < n; block++) {
        size_t left = n - block * CDF_BLOCK;
        sums[block] = block_sum(e + block * CDF_BLOCK, left < CDF_BLOCK ? left : CDF_BLOCK);
    }
    double total = 0.0;
    for (size_t i = 0; i < block; i++) {
        total += sums[i];
    }
    return total;
}

/// The first index at which the running sum of e passes uniform times the whole sum. Blocks are
/// skipped by their sums; only the block that crosses is walked. sums: scratch. Never returns a
/// token of probability 0.
static size_t invert(const float *e, size_t n, float uniform, double *sums)
{
    double wanted = (double)uniform * block_sums(sums, e, n), before = 0.0;
    size_t chosen = 0;
    for (size_t i = 0; i < n; i += CDF_BLOCK) {
        size_t count = n - i < CDF_BLOCK ? n - i : CDF_BLOCK;
        double after = before + sums[i / CDF_BLOCK];
        for (size_t j = i; after > wanted && j < i + count; j++) {
            before += (double)e[j];
            chosen = e[j] > 0.0f ? j : chosen;
            if (before > wanted) {
                return j;
            }
        }
        if (after > wanted) {
            return chosen; // by rounding, the running sum stayed below: the block's last token
        }
        before = after;
    }
    return chosen;
}

/// The lowest id on a tie.
static size_t argmax(const float *z, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (z[i] > z[best]) {
            best = i;
        }
    }
    return best;
}

/// One row: its token, log-probabilities and kept set.
static void sample_row(const sample_args_t *d, size_t row, const float *logits, workspace_t b)
{
    const size_t vocabulary = d->vocabulary;
    const float temperature = d->sampling.temperature;
    cpu_softmax_t softmax;
    size_t token, kept = 0;
    d->logprob[row] = 0.0f;
    if (temperature <= 0.0f) {
        token = argmax(logits, vocabulary);
    } else {
        memcpy(b.z, logits, vocabulary * sizeof *logits);
        if (temperature != 1.0f) {
            d->kernels->divide(b.z, temperature, vocabulary);
        }
        kept = truncate_row(d, &b);
        softmax = cpu_row_softmax(d->kernels, b.z, b.e, vocabulary, b.ids, kept, 1.0f);
        size_t index = invert(b.e, kept == 0 ? vocabulary : kept, d->uniform[row], b.sums);
        token = kept == 0 ? index : (size_t)b.ids[index];
        d->logprob[row] = cpu_row_logprob(b.z, index, &softmax);
    }
    // `raw` is under softmax(logits), which differs from the distribution drawn from in these
    // cases; else the statistics above are the same.
    if (temperature != 1.0f || kept > 0) {
        softmax = d->kernels->softmax(NULL, logits, vocabulary);
    }
    d->tokens[row] = (int32_t)token;
    d->raw[row] = cpu_row_logprob(logits, token, &softmax);
    d->kept_count[row] = (int32_t)kept;
    if (kept > 0) {
        TR_ASSERT(d->kept_ids != NULL && kept <= d->kept_columns, "%zu kept ids for %zu columns",
                  kept, d->kept_columns);
        memcpy(d->kept_ids + row * d->kept_columns, b.ids, kept * sizeof(int32_t));
    }
}

static void sample_rows(void *context, size_t first, size_t count, size_t thread)
{
    const sample_args_t *d = context;
    workspace_t b = lay_out(d->scratch + thread * d->scratch_share, d->vocabulary);
    for (size_t i = first; i < first + count; i++) {
        sample_row(d, d->first + i, d->logits + i * d->vocabulary, b);
    }
}

void cpu_sample(tr_queue_t *queue, tr_tensor_t tokens, tr_tensor_t logprob, tr_tensor_t raw,
                tr_tensor_t kept_count, tr_tensor_t kept_ids, tr_tensor_t hidden, tr_head_t head,
                size_t vocabulary, tr_tensor_t uniform, tr_sampling_t sampling)
{
    cpu_backend_t *backend = queue->backend;
    const size_t rows = hidden.rows;
    if (rows == 0) {
        return;
    }
    sample_args_t d = {.kernels = backend->kernels, .vocabulary = vocabulary, .sampling = sampling};
    TR_ASSERT_COUNT(tokens, rows);
    TR_ASSERT_COUNT(logprob, rows);
    TR_ASSERT_COUNT(raw, rows);
    TR_ASSERT_COUNT(kept_count, rows);
    TR_ASSERT_COUNT(uniform, rows);
    TR_ASSERT(sampling.top_p > 0.0f && sampling.top_k >= 0, "top_p %g, top_k %d",
              (double)sampling.top_p, sampling.top_k);
    d.tokens = cpu_i32(tokens);
    d.kept_count = cpu_i32(kept_count);
    d.kept_ids = kept_ids.buffer == NULL ? NULL : cpu_i32(kept_ids);
    d.kept_columns = kept_ids.columns;
    TR_ASSERT(d.kept_ids == NULL || kept_ids.rows >= rows, "%zu rows of kept ids for %zu",
              kept_ids.rows, rows);
    d.logprob = cpu_f32(logprob);
    d.raw = cpu_f32(raw);
    d.uniform = cpu_f32(uniform);
    d.scratch_share = share_bytes(vocabulary);
    d.scratch = cpu_scratch(backend, CPU_SLOT_THREAD, backend->threads * d.scratch_share);
    for (size_t count; d.first < rows; d.first += count) {
        count = cpu_tile_logits(backend, &d.logits, hidden, head, vocabulary, d.first);
        cpu_for(backend, count, cpu_row_grain(vocabulary), sample_rows, &d);
    }
}
