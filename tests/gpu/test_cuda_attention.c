/// Attention on the GPU. In f32 it has the CPU's bits. In bf16 it is near the CPU's numbers, and a
/// row's bits are the same in a whole prompt, in a chunk, as one decoded token, and whatever else
/// is in the batch. The GPU is the emulated one unless TROUPE_CUDA_MODULE names a real one's
/// module.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/support/tensors.h"

enum { MOST_SEQUENCES = 8, MOST_PAGES = 20, WHOLE = 1000 };

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
    {H(2, 1, 16), 3, {1, 64, 65}},
    {H(7, 1, 10), 4, {1, 0, 18, 2}},
    {H(3, 3, 34), 2, {33, 5}},
    {H(7, 1, 64), 2, {1, 37}},
    {H(4, 2, 128), 2, {20, 3}},
    {H(16, 1, 2), 3, {16, 15, 9}},
    {H(1, 1, 256), 2, {17, 2}},
    {H(2, 1, 8), 2, {300, 20}},
    {H(3, 1, 20), 3, {40, 1, 70}},
    {{.query = 4, .key_value = 2, .dim = 12, .window = 7}, 3, {1, 17, 40}},
    {{.query = 2, .key_value = 1, .dim = 8, .window = 20, .scale = 0.4f}, 2, {310, 33}},
    {{.query = 3, .key_value = 1, .dim = 20, .window = 16, .cap = 2.0f}, 2, {300, 49}},
    {H(2, 1, 200), 2, {1, 6}},
};
enum { GEOMETRIES = sizeof geometries / sizeof geometries[0] };

/// A number of least..most, the same for the same seed and index.
static size_t number(uint64_t seed, uint32_t index, size_t least, size_t most)
{
    float u = tr_rng_uniform(seed, TR_RNG_INIT, 1, 0, index);
    return least + (size_t)(u * (float)(most - least + 1));
}

static geometry_t random_geometry(uint64_t seed)
{
    geometry_t g = {.sequences = number(seed, 0, 1, 6)};
    g.heads.key_value = number(seed, 1, 1, 3);
    g.heads.query = g.heads.key_value * number(seed, 2, 1, 6);
    g.heads.dim = 2 * number(seed, 3, 1, 40);
    g.heads.window = number(seed, 90, 0, 1) * number(seed, 91, 1, 30);
    g.heads.cap = 3.0f * (float)number(seed, 92, 0, 1);
    for (size_t s = 0; s < g.sequences; s++) {
        g.lengths[s] = number(seed, (uint32_t)(4 + s), s == 0, 40);
    }
    return g;
}

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

/// A cache of NaN and a table of its pages in no order.
typedef struct cache {
    tr_kv_t kv;
    int32_t pages[MOST_SEQUENCES * MOST_PAGES];
} cache_t;

static cache_t cache_new(rig_t *rig, tr_heads_t h)
{
    enum { COUNT = MOST_SEQUENCES * MOST_PAGES };
    cache_t c;
    size_t row = h.key_value * h.dim * TR_PAGE;
    float *junk = rig_memory(rig, COUNT * row * sizeof *junk);
    for (size_t i = 0; i < COUNT * row; i++) {
        junk[i] = NAN;
    }
    c.kv.keys = rig_real(rig, COUNT, row, junk);
    c.kv.values = rig_real(rig, COUNT, row, junk);
    for (size_t i = 0; i < COUNT; i++) {
        c.pages[i] = (int32_t)((i * 37 + 11) % COUNT);
    }
    return c;
}

/// Positions first.. of each sequence, `piece` of them or as many as are left.
static tr_ragged_t batch_of(rig_t *rig, const cache_t *c, const geometry_t *g, size_t first,
                            size_t piece)
{
    int32_t starts[MOST_SEQUENCES + 1] = {0};
    int32_t *positions = rig_memory(rig, (tokens_of(g) + 1) * sizeof *positions);
    tr_ragged_t b = {.sequences = g->sequences, .max_pages = MOST_PAGES};
    for (size_t s = 0; s < g->sequences; s++) {
        size_t p = first;
        for (; p < g->lengths[s] && p < first + piece; p++) {
            positions[b.tokens++] = (int32_t)p;
        }
        starts[s + 1] = (int32_t)b.tokens;
        b.longest = p > b.longest ? p : b.longest;
    }
    b.starts = rig_indices(rig, 1, g->sequences + 1, starts);
    b.positions = rig_indices(rig, 1, b.tokens, positions);
    b.pages = rig_indices(rig, g->sequences, MOST_PAGES, c->pages);
    return b;
}

/// Copies `columns` of each row between the whole batch (whole) and the batch of positions first..
/// (part).
static void copy_rows(float *whole, float *part, bool to_part, const geometry_t *g, size_t first,
                      size_t piece, size_t columns)
{
    for (size_t s = 0, row = 0; s < g->sequences; row += g->lengths[s], s++) {
        for (size_t p = first; p < g->lengths[s] && p < first + piece; p++, part += columns) {
            float *w = whole + (row + p) * columns;
            memcpy(to_part ? part : w, to_part ? w : part, columns * sizeof *w);
        }
    }
}

typedef struct result {
    float *out, *lse;
} result_t;

/// Stores and attends to `piece` tokens of each sequence at a time; rows come back in the whole
/// batch's order.
static result_t attend(rig_t *rig, const geometry_t *g, float *qkv, size_t piece)
{
    tr_heads_t h = g->heads;
    cache_t c = cache_new(rig, h);
    size_t tokens = tokens_of(g), width = width_of(h), longest = 0, n = h.query * h.dim;
    float *rows = rig_memory(rig, tokens * width * sizeof *rows);
    result_t r = {rig_memory(rig, tokens * n * sizeof(float)),
                  rig_memory(rig, tokens * h.query * sizeof(float))};
    for (size_t s = 0; s < g->sequences; s++) {
        longest = g->lengths[s] > longest ? g->lengths[s] : longest;
    }
    for (size_t first = 0; first < longest; first += piece) {
        tr_ragged_t b = batch_of(rig, &c, g, first, piece);
        copy_rows(qkv, rows, true, g, first, piece, width);
        tr_tensor_t x = rig_real(rig, b.tokens, width, rows),
                    out = rig_real(rig, b.tokens, n, NULL), lse = rig_zeros(rig, b.tokens, h.query);
        rig->ops->kv_store(rig->queue, c.kv, x, &b, h);
        rig->ops->attention(rig->queue, out, lse, x, c.kv, &b, h);
        copy_rows(r.out, rig_read(rig, out), false, g, first, piece, n);
        copy_rows(r.lse, rig_read(rig, lse), false, g, first, piece, h.query);
    }
    return r;
}

static float *gradient(rig_t *rig, const geometry_t *g, const float *qkv, result_t forward,
                       const float *dout)
{
    tr_heads_t h = g->heads;
    cache_t c = cache_new(rig, h);
    tr_ragged_t b = batch_of(rig, &c, g, 0, WHOLE);
    size_t n = h.query * h.dim;
    float *junk = rig_memory(rig, b.tokens * width_of(h) * sizeof *junk);
    memset(junk, 0x7f, b.tokens * width_of(h) * sizeof *junk); // it is written, not added to
    tr_tensor_t dqkv = rig_real(rig, b.tokens, width_of(h), junk);
    rig->ops->attention_gradient(rig->queue, dqkv, rig_real(rig, b.tokens, n, dout),
                                 rig_real(rig, b.tokens, n, forward.out),
                                 rig_tensor(rig, b.tokens, h.query, forward.lse),
                                 rig_real(rig, b.tokens, width_of(h), qkv), &b, h);
    return rig_read(rig, dqkv);
}

static void check_result(const geometry_t *g, result_t got, result_t want, const char *what)
{
    check_same(got.out, want.out, tokens_of(g) * g->heads.query * g->heads.dim, what);
    check_same(got.lse, want.lse, tokens_of(g) * g->heads.query, what);
}

/// A CPU, a GPU, and inputs that both can hold.
typedef struct pair {
    rig_t cpu, gpu;
    float *qkv, *dout;
} pair_t;

static void pair_open(pair_t *p, const geometry_t *g, tr_dtype_t precision)
{
    size_t tokens = tokens_of(g);
    rig_open_gpu(&p->gpu, precision);
    rig_open(&p->cpu, NULL, 1);
    p->qkv = rig_random(&p->cpu, tokens * width_of(g->heads), 1);
    p->dout = rig_random(&p->cpu, tokens * g->heads.query * g->heads.dim, 2);
    for (size_t i = 0; i < tokens * width_of(g->heads); i++) {
        p->qkv[i] *= 2.0f; // so that the softmax is not flat
    }
    if (precision == TR_BF16) {
        rig_round(p->qkv, tokens * width_of(g->heads));
        rig_round(p->dout, tokens * g->heads.query * g->heads.dim);
    }
}

static void pair_close(pair_t *p)
{
    rig_close(&p->cpu);
    rig_close(&p->gpu);
}

/// All passes in f32: a whole prompt, chunks of 23, single tokens, and the gradient.
static void check_f32(const geometry_t *g)
{
    static pair_t p;
    pair_open(&p, g, TR_F32);
    result_t want = attend(&p.cpu, g, p.qkv, WHOLE);
    check_result(g, attend(&p.gpu, g, p.qkv, WHOLE), want, "whole");
    check_result(g, attend(&p.gpu, g, p.qkv, 23), want, "chunks");
    check_result(g, attend(&p.gpu, g, p.qkv, 1), want, "decoded");
    check_same(gradient(&p.gpu, g, p.qkv, want, p.dout), gradient(&p.cpu, g, p.qkv, want, p.dout),
               tokens_of(g) * width_of(g->heads), "dqkv");
    pair_close(&p);
}

Test(cuda_attention, in_f32_has_the_bits_of_the_cpu_whole_in_chunks_decoded_and_backwards)
{
    for (size_t i = 0; i < GEOMETRIES; i++) {
        check_f32(&geometries[i]);
    }
}

Test(cuda_attention, in_f32_has_the_bits_of_the_cpu_in_any_shape)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        const geometry_t g = random_geometry(seed);
        check_f32(&g);
    }
}

/// Keys so small that products with them underflow, to a 0 or a -0. A chain that runs on over zeros
/// may turn one into the other, so chains must end where the CPU's do.
Test(cuda_attention, in_f32_zeros_have_the_signs_of_the_cpus)
{
    static pair_t p;
    const geometry_t *g = &geometries[8];
    tr_heads_t h = g->heads;
    size_t tokens = tokens_of(g), width = width_of(h);
    pair_open(&p, g, TR_F32);
    for (size_t i = 0; i < tokens * width; i++) {
        bool key = i % width / h.dim >= h.query && i % width / h.dim < h.query + h.key_value;
        p.qkv[i] *= key ? 1e-42f : 1.0f;
    }
    for (size_t i = 0; i < tokens * h.query * h.dim; i++) {
        p.dout[i] *= 1e-5f;
    }
    result_t forward = attend(&p.cpu, g, p.qkv, WHOLE);
    check_same(gradient(&p.gpu, g, p.qkv, forward, p.dout),
               gradient(&p.cpu, g, p.qkv, forward, p.dout), tokens * width, "dqkv");
    pair_close(&p);
}

/// |got - want| <= tolerance * the greatest |want|, everywhere.
static void check_near(const float *got, const float *want, size_t count, float tolerance,
                       const char *what)
{
    float scale = 0.0f;
    for (size_t i = 0; i < count; i++) {
        scale = fmaxf(scale, fabsf(want[i]));
    }
    for (size_t i = 0; i < count; i++) {
        cr_assert(fabsf(got[i] - want[i]) <= tolerance * scale,
                  "%s: [%zu of %zu] is %g, expected %g; the greatest is %g", what, i, count,
                  (double)got[i], (double)want[i], (double)scale);
    }
}

Test(cuda_attention, in_bf16_is_near_the_cpu)
{
    static pair_t p;
    for (size_t i = 0; i < GEOMETRIES; i++) {
        const geometry_t *g = &geometries[i];
        pair_open(&p, g, TR_BF16);
        size_t tokens = tokens_of(g);
        result_t got = attend(&p.gpu, g, p.qkv, WHOLE), want = attend(&p.cpu, g, p.qkv, WHOLE);
        check_near(got.out, want.out, tokens * g->heads.query * g->heads.dim, 5e-3f, "out");
        check_near(got.lse, want.lse, tokens * g->heads.query, 1e-6f, "lse");
        check_near(gradient(&p.gpu, g, p.qkv, got, p.dout),
                   gradient(&p.cpu, g, p.qkv, want, p.dout), tokens * width_of(g->heads), 1e-2f,
                   "dqkv");
        pair_close(&p);
    }
}

/// Prompts take tiles of 64 rows and decoded tokens tiles of 16. Chunks of 23 begin anywhere, so
/// that rows of their tiles go through blocks of keys that they see nothing of.
Test(cuda_attention, in_bf16_a_row_has_the_same_bits_whole_in_chunks_and_decoded)
{
    static pair_t p;
    for (size_t i = 0; i < GEOMETRIES; i++) {
        const geometry_t *g = &geometries[i];
        pair_open(&p, g, TR_BF16);
        result_t whole = attend(&p.gpu, g, p.qkv, WHOLE);
        check_result(g, attend(&p.gpu, g, p.qkv, 23), whole, "chunks");
        check_result(g, attend(&p.gpu, g, p.qkv, 1), whole, "decoded");
        pair_close(&p);
    }
}

Test(cuda_attention, in_bf16_a_sequence_does_not_depend_on_the_batch)
{
    static pair_t p;
    for (size_t i = 0; i < GEOMETRIES; i++) {
        const geometry_t *g = &geometries[i];
        pair_open(&p, g, TR_BF16);
        size_t width = width_of(g->heads), n = g->heads.query * g->heads.dim;
        result_t all = attend(&p.gpu, g, p.qkv, WHOLE);
        float *slope = gradient(&p.gpu, g, p.qkv, all, p.dout);
        for (size_t s = 0, row = 0; s < g->sequences; row += g->lengths[s], s++) {
            const geometry_t one = {g->heads, 1, {g->lengths[s]}};
            const result_t part = {all.out + row * n, all.lse + row * g->heads.query};
            check_result(&one, attend(&p.gpu, &one, p.qkv + row * width, WHOLE), part, "alone");
            check_same(gradient(&p.gpu, &one, p.qkv + row * width, part, p.dout + row * n),
                       slope + row * width, g->lengths[s] * width, "dqkv alone");
        }
        pair_close(&p);
    }
}
