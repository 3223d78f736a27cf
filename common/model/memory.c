#include "common/model/memory.h"

#include "common/collective/shards.h"

/// Of a CPU's operators, in floats and rows (common/tensor/cpu/*_ops.c); of arenas and GPUs.
enum {
    PANEL = 32,
    PANELS = 64 << 10,          // that a thread packs of a weight
    GRADIENT_TOKENS = 512,      // of a weight gradient at a time
    WAY = 1024,                 // floats: rows a multiple of it apart are copied first
    CHAIN = 2048,               // of a row that is copied where rows would evict one another
    LOGITS_TILE = 8 << 20,      // logits at a time
    LOGITS_ROWS = 256,          // at least
    SORTING = 8,                // a token of the vocabulary, of a thread that samples
    SCORE_ROWS = 64,            // of attention, of a thread
    PAGES_UNIT = 8,             // columns of a batch's table of pages (batch.c)
    ALIGNMENT = 64,             // bytes
    ARENA_LEAST = 1 << 20,      // bytes of its first buffer
    GPU_LOGITS_TILE = 64 << 20, // floats (common/tensor/cuda/head.h)
    GPU_LOGITS_ROWS = 512,
    GPU_TRIAL_ROWS = 512,    // of a product that is tried (matmul_ops.cu)
    GPU_SEGMENT = 128,       // rows of a partial sum
    GPU_WORKSPACE = 32 << 20 // bytes, of products
};

/// Sizes as the transformer names them.
typedef struct shape {
    size_t H, F, Q, W, V, L, heads; // hidden, intermediate, query width, qkv width, vocabulary
    size_t kv;                      // floats a token of keys
    size_t real;                    // bytes
} shape_t;

static shape_t shape_of(const tr_model_config_t *c, tr_dtype_t real)
{
    return (shape_t){
        .H = c->hidden,
        .F = c->intermediate,
        .Q = c->heads * c->head_dim,
        .W = (c->heads + 2 * c->key_value_heads) * c->head_dim,
        .V = c->scalar_head ? 1 : c->vocabulary,
        .L = c->layers,
        .heads = c->heads,
        .kv = c->key_value_heads * c->head_dim,
        .real = tr_dtype_size(real),
    };
}

static bool is_learner(const tr_memory_plan_t *plan)
{
    return plan->use == TR_MODEL_LEARNS || plan->use == TR_MODEL_LEARNS_ROUNDED;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

size_t tr_memory_pages(size_t sequences, size_t longest)
{
    return sequences * ((longest + TR_PAGE - 1) / TR_PAGE);
}

size_t tr_memory_sum(const tr_memory_t *m)
{
    return m->weights + m->optimizer + m->gradient + m->activations + m->cache;
}

// Weights and what learns them

/// Elements of a model's vectors.
typedef struct vectors {
    size_t whole;
    size_t shard;    // a rank's, at most; with one process the whole
    size_t blocks;   // of squares in a shard
    size_t segments; // the embedding's and the largest of the others: what exists at a time
    size_t windows;  // the embedding, a layer, what follows the layers
    size_t arrived;  // parts of a segment from all ranks
} vectors_t;

static void measure_shard(vectors_t *v, const tr_layout_t *layout, size_t ranks, size_t rank)
{
    tr_shards_t shards;
    size_t blocks = 0;
    tr_shards_init(&shards, layout->flat[TR_TRAINED].segments, layout->segment_count, ranks, rank);
    for (size_t i = 0; i < shards.segments; i++) {
        blocks += TR_SUM_BLOCKS(tr_shards_part(&shards, i, rank).count);
    }
    v->shard = most(v->shard, shards.local[shards.segments]);
    v->blocks = most(v->blocks, blocks);
    v->arrived = ranks * shards.largest;
    tr_shards_release(&shards);
}

static vectors_t vectors_of(const tr_model_config_t *config, size_t ranks)
{
    tr_layout_t layout;
    tr_layout_init(&layout, config);
    const size_t *starts = layout.flat[TR_TRAINED].segments, last = layout.segment_count - 1;
    size_t rest = starts[last + 1] - starts[last], layer = last > 1 ? starts[2] - starts[1] : 0;
    vectors_t v = {.whole = layout.total,
                   .segments = starts[1] + most(layer, rest),
                   .windows = starts[1] + layer + rest};
    for (size_t rank = 0; rank < ranks; rank++) {
        measure_shard(&v, &layout, ranks, rank);
    }
    tr_layout_release(&layout);
    return v;
}

/// Floats of the packed copy: outputs come in panels.
static size_t packed_of(const shape_t *s, bool head)
{
    size_t layer = round_up(s->W, PANEL) * s->H + round_up(s->H, PANEL) * (s->Q + s->F) +
                   round_up(2 * s->F, PANEL) * s->H + 4 * ALIGNMENT;
    return s->L * layer + (head ? round_up(s->V, PANEL) * s->H : 0);
}

static size_t weights_of(const tr_model_config_t *config, const shape_t *s,
                         const tr_memory_plan_t *plan, const vectors_t *v)
{
    bool learns = is_learner(plan);
    bool packs = plan->use == TR_MODEL_DECODES && plan->threads > 0;
    size_t floats =
        (packs ? packed_of(s, !config->scalar_head) : 0) + config->max_positions * config->head_dim;
    if (learns && plan->ranks > 1 && plan->zero_stage == 3) {
        size_t each = plan->use == TR_MODEL_LEARNS ? sizeof(float) : s->real;
        return floats * sizeof(float) + v->shard * each + v->windows * s->real;
    }
    floats += plan->use == TR_MODEL_LEARNS && plan->real != TR_F32 ? v->whole : 0; // masters
    return floats * sizeof(float) + v->whole * s->real;
}

/// The tree over n chunks holds floor(log2 n) + 1 vectors at most.
static size_t levels_of(size_t chunks)
{
    size_t levels = 1;
    while (chunks > 1) {
        chunks /= 2;
        levels++;
    }
    return levels;
}

/// The tree's, and with ranks the own chunk's gradient and what arrives of the others'.
static size_t gradient_bytes(const tr_memory_plan_t *plan, const vectors_t *v)
{
    size_t floats = levels_of(plan->chunks) * v->shard;
    if (plan->ranks > 1) {
        floats += (plan->zero_stage == 1 ? v->whole : v->segments) + v->arrived;
    }
    return floats * sizeof(float);
}

// Activations: what a pass takes from its arena

/// Bytes of a layer's tensors (layer_tensors in transformer.c).
static size_t layer_bytes(const shape_t *s, size_t tokens)
{
    return tokens * ((s->W + s->Q + s->H + 2 * s->F) * s->real + (s->heads + 2) * sizeof(float));
}

static size_t forward_bytes(const shape_t *s, const tr_memory_plan_t *plan)
{
    const tr_memory_pass_t *p = &plan->pass;
    size_t rows = p->tokens * s->real;
    size_t kept = p->learns && !plan->recompute ? s->L : 1; // layers whose tensors stay
    size_t streams = p->learns ? s->L + 1 : 2;              // of the residual
    size_t fresh = plan->pages > 0 ? 0 : tr_memory_pages(p->sequences, p->longest);
    size_t bytes = rows * (s->H + s->F) + rows * s->H * streams + kept * layer_bytes(s, p->tokens) +
                   2 * fresh * TR_PAGE * s->kv * s->real + p->tokens * sizeof(float);
    return bytes + (p->noise ? p->tokens * s->H * (s->real + sizeof(float)) : 0);
}

/// The batch's indices, and what the head reads and says.
static size_t head_bytes(const shape_t *s, const tr_memory_plan_t *plan)
{
    const tr_memory_pass_t *p = &plan->pass;
    size_t pages = round_up(tr_memory_pages(1, p->longest), PAGES_UNIT);
    size_t indices = 2 * p->tokens + p->sequences * (2 + pages);
    size_t answer = (6 + TR_FACTS + p->kept) * sizeof(float) + s->H * s->real;
    return indices * sizeof(int32_t) + p->answers * answer;
}

/// The scratch that layers share, the stream's gradient and the head's (transformer.c, response.c).
static size_t backward_bytes(const shape_t *s, const tr_memory_plan_t *plan)
{
    const tr_memory_pass_t *p = &plan->pass;
    size_t row = (4 * s->H + 4 * s->F + s->Q + s->W) * s->real + sizeof(float);
    return p->tokens * row + p->answers * (s->H * s->real + 2 * sizeof(float));
}

/// An arena grows by quarters, and leaves gaps where a tensor did not fit: two of the largest, about.
static size_t arena_bytes(const shape_t *s, const tr_memory_plan_t *plan)
{
    size_t bytes = forward_bytes(s, plan) + head_bytes(s, plan) + 16 * (s->L + 4) * ALIGNMENT;
    bytes += plan->pass.learns ? backward_bytes(s, plan) : 0;
    size_t gaps = 2 * plan->pass.tokens * most(2 * s->F, s->W) * s->real;
    return bytes + most(bytes / 4, ARENA_LEAST) + gaps;
}

// What operators keep for themselves

/// Rows of a tile of logits, which has about `floats`, and `least` rows at least.
static size_t tile_rows(const shape_t *s, size_t answers, size_t floats, size_t least)
{
    size_t tile = most(least, floats / s->V);
    return answers < tile ? answers : tile;
}

/// Floats of a product's rows of k that are copied where they would evict one another.
static size_t spread_floats(size_t rows, size_t k)
{
    return k % WAY != 0 ? 0 : rows * ((k < CHAIN ? k : CHAIN) + 16);
}

/// Floats that products need: rows of x copied, and for weight gradients some tokens of dy and x.
static size_t product_floats(const shape_t *s, const tr_memory_pass_t *p, size_t logits)
{
    const size_t chains[] = {s->H, s->Q, s->F, s->W, 2 * s->F}; // the last two backwards
    const size_t count = p->learns ? 5 : 3;
    size_t left = p->learns ? spread_floats(logits, s->V) : 0, right = 0;
    for (size_t i = 0; i < count; i++) {
        left = most(left, spread_floats(p->tokens, chains[i]));
    }
    if (p->learns) {
        size_t some = p->tokens < GRADIENT_TOKENS ? p->tokens : GRADIENT_TOKENS;
        left = most(left, some * most(most(2 * s->F, s->W), s->H));
        left = most(left, (logits < some ? logits : some) * s->V);
        right = some * most(s->F, most(s->H, s->Q));
    }
    return left + right;
}

/// Floats that a thread needs: panels of a weight; and a row of logits, or the scores of a block of queries with the keys,
/// values and gradients of one head.
static size_t thread_floats(const shape_t *s, const tr_memory_plan_t *plan)
{
    const size_t longest = plan->pass.longest, dim = s->Q / s->heads;
    size_t chain = most(most(2 * s->F, s->W), most(s->H, s->V));
    size_t panels = PANELS + PANEL * (chain < CHAIN ? chain : CHAIN);
    size_t attention = SCORE_ROWS * (longest + 4 * dim + PANEL) +
                       (plan->pass.learns ? 5 * (longest + PANEL) * round_up(dim, PANEL) : 0);
    size_t row = plan->pages > 0 ? SORTING * s->V : s->V;
    return panels + most(row, attention);
}

/// Of a CPU: what is kept for each use is a quarter more than the largest demand (cpu_scratch).
static size_t scratch_bytes(const shape_t *s, const tr_memory_plan_t *plan)
{
    size_t logits = tile_rows(s, plan->pass.answers, LOGITS_TILE, LOGITS_ROWS);
    size_t floats = logits * s->V + product_floats(s, &plan->pass, logits) +
                    plan->threads * thread_floats(s, plan);
    return floats * sizeof(float) * 5 / 4;
}

/// What products of bf16 take: a workspace, and while an algorithm is chosen a weight, rows for it, and two results.
static size_t gpu_product_bytes(const shape_t *s)
{
    size_t widest = most(most(2 * s->F, s->W), s->V);
    size_t narrow = most(s->H, most(s->F, s->Q));
    size_t results = GPU_TRIAL_ROWS * (widest + narrow) * 2 * sizeof(float);
    return s->real == sizeof(float) ? 0
                                    : GPU_WORKSPACE * 5 / 4 + widest * narrow * s->real + results;
}

/// Of a GPU: a tile of logits and of their gradient, numbers a row, sums of blocks of rows.
static size_t gpu_scratch_bytes(const shape_t *s, const tr_memory_plan_t *plan)
{
    const tr_memory_pass_t *p = &plan->pass;
    size_t logits = tile_rows(s, p->answers, GPU_LOGITS_TILE, GPU_LOGITS_ROWS) * s->V;
    size_t rows = p->learns ? p->tokens * s->heads + p->tokens / GPU_SEGMENT * s->H : 0;
    size_t bytes = logits * (sizeof(float) + (p->learns ? s->real : 0)) + rows * sizeof(float);
    return bytes * 5 / 4 + gpu_product_bytes(s);
}

tr_memory_t tr_memory_of(const tr_model_config_t *config, const tr_memory_plan_t *plan)
{
    const shape_t s = shape_of(config, plan->real);
    const vectors_t v = vectors_of(config, plan->ranks > 1 ? plan->ranks : 1);
    const bool learns = is_learner(plan);
    const size_t moments = plan->host_moments && plan->threads == 0 ? 0 : 2 * v.shard;
    const size_t scratch =
        plan->threads > 0 ? scratch_bytes(&s, plan) : gpu_scratch_bytes(&s, plan);
    return (tr_memory_t){
        .weights = weights_of(config, &s, plan, &v),
        .optimizer = learns ? (moments + v.blocks) * sizeof(float) : 0,
        .gradient = learns ? gradient_bytes(plan, &v) : 0,
        .activations = arena_bytes(&s, plan) + scratch,
        .cache = plan->pages == 0 ? 0 : 2 * s.L * (plan->pages + 1) * TR_PAGE * s.kv * s.real,
    };
}
