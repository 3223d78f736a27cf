/// Attention over the paged cache against the plain formula in double, and laws about bits: chunks,
/// single tokens, page tables, the rest of the batch, threads and instruction sets change none.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/tensors.h"

enum { MOST_SEQUENCES = 8 };

typedef struct geometry {
    tr_heads_t heads;
    size_t sequences;
    size_t lengths[MOST_SEQUENCES];
} geometry_t;

#define H(hq, hk, d)                                 \
    {                                                \
        .query = (hq), .key_value = (hk), .dim = (d) \
    }

static const geometry_t geometries[] = {
    {H(8, 4, 8), 3, {1, 17, 40}},
    {H(6, 6, 48), 2, {33, 5}},
    {H(2, 1, 16), 2, {64, 65}},
    {H(12, 4, 64), 2, {30, 50}},
    {H(4, 2, 128), 2, {20, 3}},
    {H(16, 1, 10), 2, {18, 2}},
    {{.query = 4, .key_value = 2, .dim = 12, .window = 7}, 3, {1, 17, 40}},
    {{.query = 3, .key_value = 1, .dim = 20, .window = 33, .scale = 0.4f}, 2, {100, 33}},
    {{.query = 2, .key_value = 2, .dim = 18, .window = 16, .scale = 0.7f, .cap = 2.0f},
     2,
     {64, 49}},
    {{.query = 6, .key_value = 2, .dim = 8, .window = 1, .cap = 0.5f}, 2, {20, 3}},
    {H(3, 3, 32), 1, {100}},
    {H(2, 2, 2), 3, {16, 15, 1}},
};
enum { GEOMETRIES = sizeof geometries / sizeof geometries[0] };

static size_t width_of(tr_heads_t h)
{
    return (h.query + 2 * h.key_value) * h.dim;
}

static size_t tokens_of(const geometry_t *g)
{
    size_t tokens = 0;
    for (size_t s = 0; s < g->sequences; s++) {
        tokens += g->lengths[s];
    }
    return tokens;
}

/// Sequences' pages: identity, or shuffled over a cache filled with NaN.
typedef struct cache {
    tr_kv_t kv;
    int32_t pages[MOST_SEQUENCES * 16];
    size_t max_pages;
} cache_t;

static cache_t cache_new(rig_t *rig, const geometry_t *g, bool shuffled)
{
    cache_t c = {.max_pages = 16};
    size_t count = MOST_SEQUENCES * 16, row = g->heads.key_value * g->heads.dim * TR_PAGE;
    float *junk = rig_memory(rig, count * row * sizeof *junk);
    for (size_t i = 0; i < count * row; i++) {
        junk[i] = NAN;
    }
    c.kv.keys = rig_tensor(rig, count, row, junk);
    c.kv.values = rig_tensor(rig, count, row, junk);
    for (size_t i = 0; i < count; i++) {
        c.pages[i] = (int32_t)(shuffled ? (i * 37 + 11) % count : i);
    }
    return c;
}

/// A batch of positions first[s]..first[s]+counts[s]-1 of each sequence.
static tr_ragged_t batch_of(rig_t *rig, const cache_t *c, size_t sequences, const size_t *first,
                            const size_t *counts)
{
    int32_t starts[MOST_SEQUENCES + 1] = {0},
                                    *positions = rig_memory(rig, 4096 * sizeof *positions);
    tr_ragged_t b = {.sequences = sequences, .max_pages = c->max_pages};
    for (size_t s = 0; s < sequences; s++) {
        for (size_t i = 0; i < counts[s]; i++) {
            positions[b.tokens++] = (int32_t)(first[s] + i);
        }
        starts[s + 1] = (int32_t)b.tokens;
        b.longest = first[s] + counts[s] > b.longest ? first[s] + counts[s] : b.longest;
    }
    b.starts = rig_indices(rig, 1, sequences + 1, starts);
    b.positions = rig_indices(rig, 1, b.tokens, positions);
    b.pages = rig_indices(rig, sequences, c->max_pages, c->pages);
    return b;
}

typedef struct result {
    float *out, *lse;
} result_t;

/// Stores and attends to the given rows of qkv.
static result_t attend(rig_t *rig, const cache_t *c, const tr_ragged_t *b, const float *qkv,
                       tr_heads_t heads)
{
    tr_tensor_t rows = rig_tensor(rig, b->tokens, width_of(heads), qkv);
    tr_tensor_t out = rig_zeros(rig, b->tokens, heads.query * heads.dim),
                lse = rig_zeros(rig, b->tokens, heads.query);
    rig->ops->kv_store(rig->queue, c->kv, rows, b, heads);
    rig->ops->attention(rig->queue, out, lse, rows, c->kv, b, heads);
    return (result_t){rig_read(rig, out), rig_read(rig, lse)};
}

static result_t attend_whole(rig_t *rig, const geometry_t *g, const float *qkv, bool shuffled)
{
    static const size_t none[MOST_SEQUENCES];
    cache_t c = cache_new(rig, g, shuffled);
    tr_ragged_t b = batch_of(rig, &c, g->sequences, none, g->lengths);
    return attend(rig, &c, &b, qkv, g->heads);
}

static size_t first_key(size_t t, tr_heads_t h)
{
    return h.window > 0 && t + 1 > h.window ? t + 1 - h.window : 0;
}

static double scale_of(tr_heads_t h)
{
    return h.scale > 0.0f ? (double)h.scale : 1.0 / sqrt((double)h.dim);
}

/// One (row, head) in double; p: [t + 1] is written with the probabilities. Returns the
/// log-sum-exp.
static double reference_row(double *out, double *p, const float *sequence, size_t t, size_t head,
                            tr_heads_t h)
{
    size_t width = width_of(h), kv = head / (h.query / h.key_value);
    const float *q = sequence + t * width + head * h.dim;
    double sum = 0.0, max = -INFINITY;
    for (size_t j = first_key(t, h); j <= t; j++) {
        const float *k = sequence + j * width + (h.query + kv) * h.dim;
        p[j] = 0.0;
        for (size_t d = 0; d < h.dim; d++) {
            p[j] += (double)q[d] * (double)k[d] * scale_of(h);
        }
        p[j] = h.cap > 0.0f ? (double)h.cap * tanh(p[j] / (double)h.cap) : p[j];
        max = p[j] > max ? p[j] : max;
    }
    for (size_t j = first_key(t, h); j <= t; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
    }
    memset(out, 0, h.dim * sizeof *out);
    for (size_t j = first_key(t, h); j <= t; j++) {
        p[j] /= sum;
        for (size_t d = 0; d < h.dim; d++) {
            out[d] += p[j] * (double)sequence[j * width + (h.query + h.key_value + kv) * h.dim + d];
        }
    }
    return max + log(sum);
}

Test(attention, equals_the_formula)
{
    for (size_t i = 0; i < GEOMETRIES; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        const geometry_t *g = &geometries[i];
        tr_heads_t h = g->heads;
        float *qkv = rig_random(&rig, tokens_of(g) * width_of(h), 1);
        result_t got = attend_whole(&rig, g, qkv, true);
        double out[128], p[256];
        for (size_t s = 0, row = 0; s < g->sequences; s++) {
            const float *sequence = qkv + row * width_of(h);
            for (size_t t = 0; t < g->lengths[s]; t++, row++) {
                for (size_t head = 0; head < h.query; head++) {
                    double lse = reference_row(out, p, sequence, t, head, h);
                    check_close(got.out + (row * h.query + head) * h.dim, out, h.dim, 1e-6, "out");
                    check_close(got.lse + row * h.query + head, &lse, 1, 1e-6, "lse");
                }
            }
        }
        rig_close(&rig);
    }
}

static void check_result(const geometry_t *g, result_t got, result_t want, const char *what)
{
    check_same(got.out, want.out, tokens_of(g) * g->heads.query * g->heads.dim, what);
    check_same(got.lse, want.lse, tokens_of(g) * g->heads.query, what);
}

Test(attention, page_tables_threads_and_instruction_sets_change_no_bit)
{
    for (size_t j = 0; j < GEOMETRIES; j++) {
        const geometry_t *g = &geometries[j];
        rig_t plain;
        rig_open(&plain, "generic", 1);
        float *qkv = rig_random(&plain, tokens_of(g) * width_of(g->heads), 1);
        result_t want = attend_whole(&plain, g, qkv, false);
        check_result(g, attend_whole(&plain, g, qkv, true), want, "shuffled pages");
        for (size_t i = 0; i < RIG_ISAS; i++) {
            for (size_t threads = 1; threads <= 2; threads++) {
                rig_t rig;
                if (rig_open(&rig, rig_isas[i], threads)) {
                    check_result(g, attend_whole(&rig, g, qkv, true), want, rig_isas[i]);
                    rig_close(&rig);
                }
            }
        }
        rig_close(&plain);
    }
}

/// Feeds each sequence alone, `piece` tokens at a time, and compares every row with the whole
/// batch's.
static void check_pieces(const geometry_t *g, size_t piece, const char *isa)
{
    rig_t rig;
    if (!rig_open(&rig, isa, 2)) {
        return;
    }
    tr_heads_t h = g->heads;
    float *qkv = rig_random(&rig, tokens_of(g) * width_of(h), 1);
    result_t whole = attend_whole(&rig, g, qkv, false);
    for (size_t s = 0, row = 0; s < g->sequences; row += g->lengths[s], s++) {
        cache_t c = cache_new(&rig, g, true);
        for (size_t first = 0; first < g->lengths[s]; first += piece) {
            size_t count = g->lengths[s] - first < piece ? g->lengths[s] - first : piece;
            tr_ragged_t b = batch_of(&rig, &c, 1, &first, &count);
            result_t got = attend(&rig, &c, &b, qkv + (row + first) * width_of(h), h);
            check_same(got.out, whole.out + (row + first) * h.query * h.dim,
                       count * h.query * h.dim, "out");
            check_same(got.lse, whole.lse + (row + first) * h.query, count * h.query, "lse");
        }
    }
    rig_close(&rig);
}

Test(attention, chunks_of_a_prompt_equal_the_whole)
{
    for (size_t j = 0; j < GEOMETRIES; j++) {
        check_pieces(&geometries[j], 7, NULL);
        check_pieces(&geometries[j], 16, NULL);
        check_pieces(&geometries[j], 7, "avx2");
    }
}

Test(attention, decoding_from_the_cache_equals_one_full_pass)
{
    for (size_t j = 0; j < GEOMETRIES; j++) {
        check_pieces(&geometries[j], 1, NULL);
    }
}

static float *gradient(rig_t *rig, const geometry_t *g, const float *qkv, const float *dout)
{
    static const size_t none[MOST_SEQUENCES];
    tr_heads_t h = g->heads;
    cache_t c = cache_new(rig, g, false);
    tr_ragged_t b = batch_of(rig, &c, g->sequences, none, g->lengths);
    tr_tensor_t rows = rig_tensor(rig, b.tokens, width_of(h), qkv),
                dqkv = rig_zeros(rig, b.tokens, width_of(h));
    tr_tensor_t out = rig_zeros(rig, b.tokens, h.query * h.dim),
                lse = rig_zeros(rig, b.tokens, h.query);
    rig->ops->kv_store(rig->queue, c.kv, rows, &b, h);
    rig->ops->attention(rig->queue, out, lse, rows, c.kv, &b, h);
    tr_tensor_t d = rig_tensor(rig, b.tokens, h.query * h.dim, dout);
    rig->ops->attention_gradient(rig->queue, dqkv, d, out, lse, rows, &b, h);
    return rig_read(rig, dqkv);
}

/// The derivative of a capped score by the dot product of query and key.
static double slope_of(const float *q, const float *k, tr_heads_t h)
{
    double s = 0.0;
    for (size_t d = 0; d < h.dim; d++) {
        s += (double)q[d] * (double)k[d] * scale_of(h);
    }
    double bent = h.cap > 0.0f ? tanh(s / (double)h.cap) : 0.0;
    return scale_of(h) * (1.0 - bent * bent);
}

/// Adds one (row, head)'s part of the gradient: ds = p (dp - delta) slope.
static void reference_gradient(double *dsequence, const float *sequence, const float *dout,
                               size_t t, size_t head, tr_heads_t h)
{
    double out[128], p[256], delta = 0.0;
    size_t width = width_of(h), kv = head / (h.query / h.key_value);
    size_t key = (h.query + kv) * h.dim, value = key + h.key_value * h.dim,
           query = t * width + head * h.dim;
    reference_row(out, p, sequence, t, head, h);
    for (size_t d = 0; d < h.dim; d++) {
        delta += (double)dout[d] * out[d];
    }
    for (size_t j = first_key(t, h); j <= t; j++) {
        double dp = 0.0;
        for (size_t d = 0; d < h.dim; d++) {
            dp += (double)dout[d] * (double)sequence[j * width + value + d];
            dsequence[j * width + value + d] += p[j] * (double)dout[d];
        }
        double ds = p[j] * (dp - delta) * slope_of(sequence + query, sequence + j * width + key, h);
        for (size_t d = 0; d < h.dim; d++) {
            dsequence[query + d] += ds * (double)sequence[j * width + key + d];
            dsequence[j * width + key + d] += ds * (double)sequence[query + d];
        }
    }
}

Test(attention, gradient_equals_the_formula)
{
    for (size_t i = 0; i < GEOMETRIES; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        const geometry_t *g = &geometries[i];
        tr_heads_t h = g->heads;
        size_t tokens = tokens_of(g), width = width_of(h);
        float *qkv = rig_random(&rig, tokens * width, 1),
              *dout = rig_random(&rig, tokens * h.query * h.dim, 2);
        double *want = rig_memory(&rig, tokens * width * sizeof *want);
        for (size_t s = 0, row = 0; s < g->sequences; row += g->lengths[s], s++) {
            for (size_t t = 0; t < g->lengths[s]; t++) {
                for (size_t head = 0; head < h.query; head++) {
                    reference_gradient(want + row * width, qkv + row * width,
                                       dout + ((row + t) * h.query + head) * h.dim, t, head, h);
                }
            }
        }
        check_close(gradient(&rig, g, qkv, dout), want, tokens * width, 3e-6, "dqkv");
        rig_close(&rig);
    }
}

Test(attention, gradient_has_the_same_bits_for_any_threads_and_instruction_set)
{
    for (size_t j = 0; j < GEOMETRIES; j++) {
        const geometry_t *g = &geometries[j];
        rig_t plain;
        rig_open(&plain, "generic", 1);
        size_t count = tokens_of(g) * width_of(g->heads);
        float *qkv = rig_random(&plain, count, 1), *dout = rig_random(&plain, count, 2);
        float *want = gradient(&plain, g, qkv, dout);
        for (size_t i = 0; i < RIG_ISAS; i++) {
            for (size_t threads = 1; threads <= 2; threads++) {
                rig_t rig;
                if (rig_open(&rig, rig_isas[i], threads)) {
                    check_same(gradient(&rig, g, qkv, dout), want, count, rig_isas[i]);
                    rig_close(&rig);
                }
            }
        }
        rig_close(&plain);
    }
}

Test(attention, a_sequence_does_not_depend_on_the_batch)
{
    const geometry_t *g = &geometries[0];
    const geometry_t alone = {g->heads, 1, {g->lengths[2]}};
    rig_t rig;
    rig_open(&rig, NULL, 2);
    size_t row = g->lengths[0] + g->lengths[1], width = width_of(g->heads),
           out = g->heads.query * g->heads.dim;
    float *qkv = rig_random(&rig, tokens_of(g) * width, 1),
          *dout = rig_random(&rig, tokens_of(g) * out, 2);
    check_same(attend_whole(&rig, &alone, qkv + row * width, false).out,
               attend_whole(&rig, g, qkv, false).out + row * out, g->lengths[2] * out, "out");
    check_same(gradient(&rig, &alone, qkv + row * width, dout + row * out),
               gradient(&rig, g, qkv, dout) + row * width, g->lengths[2] * width, "dqkv");
    rig_close(&rig);
}

/// A sink joins the sum of a head's softmax: what the head read and its log-sum-exp, and the slope
/// of sum(dout out), which falls as e^(sink - lse) grows.
Test(sink, and_its_gradient_equal_the_formula)
{
    enum { T = 21, HEADS = 19, DIM = 10, ALL = T * HEADS * DIM };
    rig_t rig;
    rig_open(&rig, NULL, 2);
    const float *x = rig_random(&rig, ALL, 1), *dy = rig_random(&rig, ALL, 2),
                *sinks = rig_random(&rig, HEADS, 3), *before = rig_random(&rig, HEADS, 4);
    float *logs = rig_random(&rig, T * HEADS, 5);
    for (size_t i = 0; i < T * HEADS; i++) {
        logs[i] *= i % 5 == 0 ? 90.0f : 4.0f; // also where either is nothing beside the other
    }
    tr_tensor_t out = rig_tensor(&rig, T, HEADS * DIM, x), lse = rig_tensor(&rig, T, HEADS, logs),
                sink = rig_tensor(&rig, 1, HEADS, sinks),
                dsink = rig_tensor(&rig, 1, HEADS, before);
    rig.ops->sink(rig.queue, out, lse, sink);
    rig.ops->sink_gradient(rig.queue, dsink, rig_tensor(&rig, T, HEADS * DIM, dy), out, lse, sink);
    const float *y = rig_read(&rig, out), *l = rig_read(&rig, lse), *d = rig_read(&rig, dsink);
    for (size_t h = 0; h < HEADS; h++) {
        double slope = (double)before[h];
        for (size_t i = h; i < T * HEADS; i += HEADS) {
            const double s = (double)sinks[h], own = (double)logs[i], most = fmax(s, own);
            const double joined = most + log(exp(own - most) + exp(s - most));
            check_close(l + i, &joined, 1, 1e-6, "lse");
            for (size_t j = i * DIM; j < (i + 1) * DIM; j++) {
                const double want = (double)x[j] * exp(own - joined);
                check_close(y + j, &want, 1, 1e-6, "out");
                slope -= exp(s - joined) * (double)dy[j] * want;
            }
        }
        check_close(d + h, &slope, 1, 1e-5, "dsink");
    }
    rig_close(&rig);
}
