/// Matrix products: packing, and how the work is split over threads. No split cuts a chain.
#include <string.h>

#include "common/tensor/cpu/cpu.h"

enum {
    SMALL_WORK = 1 << 18,   // multiply-adds below which waking the team costs more than it saves
    ROWS_BYTES = 384 << 10, // of x that stay in the second-level cache beside a panel
    WIDE_PANELS = 4,        // panels that few rows take at once
    CHAIN = 2048,     // k that many rows do at a time: a panel then stays in the second-level cache
    WAY_BYTES = 4096, // rows of a that are a multiple of this apart evict one another
    GRADIENT_TOKENS = 512,    // tokens of a weight gradient that are worked on at a time
    SHORT_ROW = 512,          // floats of a row up to which packing costs more than it saves
    PACK_CHAIN = 16,          // k packed at a time: what they become stays in the first-level cache
    PANELS_BYTES = 256 << 10, // of panels that a thread packs for a task
    MANY_ROWS = 512,          // for which packing costs little
};

size_t cpu_packed_count(size_t n, size_t k)
{
    return cpu_round_up(n, CPU_PANEL) * k;
}

/// A weight as it is stored; where the next output of a product stands, and the next of its chain.
typedef struct stored {
    const float *weight; // NULL: the product has its panels already
    size_t output_step, chain_step;
} stored_t;

/// Rows of the weight become the 32 columns of a panel: [chain][32].
static void pack_rows(float *to, const stored_t *from, size_t outputs, size_t chain)
{
    for (size_t i = 0; i < outputs; i++) {
        const float *row = from->weight + i * from->output_step;
        for (size_t k = 0; k < chain; k++) {
            to[k * CPU_PANEL + i] = row[k];
        }
    }
    for (size_t k = 0; outputs < CPU_PANEL && k < chain; k++) {
        memset(to + k * CPU_PANEL + outputs, 0, (CPU_PANEL - outputs) * sizeof(float));
    }
}

/// Columns of the weight do.
static void pack_columns(float *to, const stored_t *from, size_t outputs, size_t chain)
{
    for (size_t k = 0; k < chain; k++, to += CPU_PANEL) {
        memcpy(to, from->weight + k * from->chain_step, outputs * sizeof(float));
        memset(to + outputs, 0, (CPU_PANEL - outputs) * sizeof(float));
    }
}

/// Panels of 32 outputs: [panel][chain][32].
static void pack_panels(float *to, const stored_t *from, size_t outputs, size_t chain)
{
    for (size_t first = 0; first < outputs; first += CPU_PANEL, to += chain * CPU_PANEL) {
        size_t columns = outputs - first < CPU_PANEL ? outputs - first : CPU_PANEL;
        for (size_t k = 0; k < chain; k += PACK_CHAIN) {
            size_t length = chain - k < PACK_CHAIN ? chain - k : PACK_CHAIN;
            stored_t part = *from;
            part.weight += first * from->output_step + k * from->chain_step;
            if (from->output_step == 1) {
                pack_columns(to + k * CPU_PANEL, &part, columns, length);
            } else {
                pack_rows(to + k * CPU_PANEL, &part, columns, length);
            }
        }
    }
}

typedef struct packing {
    float *packed;
    tr_tensor_t weight;
} packing_t;

static void pack_share(void *context, size_t first, size_t count, size_t thread)
{
    const packing_t *p = context;
    const size_t n = p->weight.rows, k = p->weight.columns;
    size_t left = n - first * CPU_PANEL;
    (void)thread;
    pack_panels(p->packed + first * CPU_PANEL * k,
                &(stored_t){cpu_f32(p->weight) + first * CPU_PANEL * k, k, 1},
                left < count * CPU_PANEL ? left : count * CPU_PANEL, k);
}

void cpu_pack(tr_queue_t *queue, tr_tensor_t packed, tr_tensor_t weight)
{
    packing_t p = {cpu_f32(packed), weight};
    size_t panels = (weight.rows + CPU_PANEL - 1) / CPU_PANEL;
    size_t expected = cpu_packed_count(weight.rows, weight.columns);
    TR_ASSERT(packed.rows == 1 && packed.columns == expected,
              "packed is [%zu, %zu], must be [1, %zu]", packed.rows, packed.columns, expected);
    cpu_for(queue->backend, panels, 1 + 32768 / (1 + expected / panels), pack_share, &p);
}

typedef struct product {
    const cpu_kernels_t *kernels;
    cpu_gemm_t gemm;
    size_t chunk_rows;   // of a task
    size_t group_panels; // of a task
    size_t chunks, groups;
    stored_t from;  // what a task packs first; weight NULL: nothing, gemm has the panels
    float *scratch; // [threads, share] a task's panels
    size_t share;
} product_t;

static void run_product(void *context, size_t i, size_t thread)
{
    const product_t *p = context;
    cpu_gemm_t g = p->gemm;
    size_t row = i / p->groups * p->chunk_rows, panel = i % p->groups * p->group_panels;
    size_t rows = g.rows - row, columns = g.columns - panel * CPU_PANEL;
    g.rows = rows < p->chunk_rows ? rows : p->chunk_rows;
    g.columns = columns < p->group_panels * CPU_PANEL ? columns : p->group_panels * CPU_PANEL;
    g.y += row * g.y_stride + panel * CPU_PANEL;
    g.a += g.a_block != 0 ? row / p->kernels->block_rows * g.a_block : row * g.a_row;
    if (p->from.weight == NULL) {
        g.b += panel * g.b_panel;
    } else {
        stored_t from = p->from;
        float *panels = p->scratch + thread * p->share;
        from.weight += panel * CPU_PANEL * from.output_step;
        pack_panels(panels, &from, g.columns, g.k);
        g.b = panels;
        g.b_panel = g.k * CPU_PANEL; // of a piece of the chain, where the product is a piece
    }
    p->kernels->gemm(&g);
}

/// Chunks of rows that fit the cache, then groups of panels until every thread has some tasks.
static void split_packed(const cpu_backend_t *backend, product_t *p, size_t panels, bool small)
{
    const cpu_gemm_t *gemm = &p->gemm;
    const size_t block = backend->kernels->block_rows;
    size_t fit = cpu_round_up(ROWS_BYTES / (sizeof(float) * (gemm->k + 1)) + 1, block);
    size_t chunks = (gemm->rows + fit - 1) / fit;
    if (!small && gemm->rows >= 2 * block * backend->threads) {
        chunks = cpu_round_up(chunks, backend->threads); // equal shares
    }
    p->chunk_rows =
        cpu_round_up((gemm->rows + chunks - 1) / chunks, gemm->a_block != 0 ? block : 1);
    p->chunks = (gemm->rows + p->chunk_rows - 1) / p->chunk_rows;
    size_t groups = small ? 1 : (4 * backend->threads + p->chunks - 1) / p->chunks;
    p->group_panels = (panels + groups - 1) / groups;
    if (gemm->rows <= block / 2 && p->group_panels < panels) {
        p->group_panels = cpu_round_up(p->group_panels, WIDE_PANELS);
    }
    p->groups = (panels + p->group_panels - 1) / p->group_panels;
}

/// Groups of panels that fit the cache, whose packing all rows share; then chunks of rows likewise.
static void split_stored(cpu_backend_t *backend, product_t *p, size_t panels)
{
    const cpu_gemm_t *gemm = &p->gemm;
    size_t fit = 1 + PANELS_BYTES / (sizeof(float) * CPU_PANEL * (gemm->k + 1));
    size_t groups = (panels + fit - 1) / fit;
    p->group_panels = (panels + groups - 1) / groups;
    p->groups = (panels + p->group_panels - 1) / p->group_panels;
    size_t chunks = (4 * backend->threads + p->groups - 1) / p->groups;
    size_t most = 1 + gemm->rows / MANY_ROWS;
    chunks = chunks < most ? chunks : most;
    p->chunk_rows = cpu_round_up((gemm->rows + chunks - 1) / chunks, backend->kernels->block_rows);
    p->chunks = (gemm->rows + p->chunk_rows - 1) / p->chunk_rows;
    p->share = p->group_panels * CPU_PANEL * gemm->k;
    p->scratch = cpu_scratch(backend, CPU_SLOT_WEIGHT, backend->threads * p->share * sizeof(float));
}

/// Splits one product over the team.
static void run_split(cpu_backend_t *backend, const cpu_gemm_t *gemm, const stored_t *from)
{
    product_t p = {.kernels = backend->kernels, .gemm = *gemm, .from = *from};
    size_t panels = (gemm->columns + CPU_PANEL - 1) / CPU_PANEL;
    if (gemm->rows == 0 || panels == 0) {
        return;
    }
    bool small = backend->threads == 1 || gemm->rows * gemm->columns * (gemm->k + 1) < SMALL_WORK;
    if (from->weight == NULL) {
        split_packed(backend, &p, panels, small);
    } else {
        split_stored(backend, &p, panels);
    }
    if (small) {
        for (size_t i = 0; i < p.chunks * p.groups; i++) {
            run_product(&p, i, 0);
        }
        return;
    }
    tr_pool_run(backend->pool, p.chunks * p.groups, run_product, &p);
}

typedef struct spreading {
    float *to;
    size_t to_stride;
    const float *from;
    size_t from_stride;
    size_t columns;
} spreading_t;

static void spread_rows(void *context, size_t first, size_t count, size_t thread)
{
    const spreading_t *s = context;
    (void)thread;
    for (size_t r = first; r < first + count; r++) {
        memcpy(s->to + r * s->to_stride, s->from + r * s->from_stride, s->columns * sizeof(float));
    }
}

/// Copies a's rows to where they do not evict one another.
static void spread(cpu_backend_t *backend, cpu_gemm_t *g)
{
    spreading_t s = {NULL, g->k + 16, g->a, g->a_row, g->k};
    s.to = cpu_scratch(backend, CPU_SLOT_LEFT, g->rows * s.to_stride * sizeof(float));
    cpu_for(backend, g->rows, 1 + 32768 / g->k, spread_rows, &s);
    g->a = s.to;
    g->a_row = s.to_stride;
}

/// Many rows: k in pieces, each of which goes on with the chains that the one before left in y.
static void run_pieces(cpu_backend_t *backend, cpu_gemm_t gemm, const stored_t *from)
{
    size_t pieces = gemm.mode == CPU_ADD || gemm.k == 0 ? 1 : (gemm.k + CHAIN - 1) / CHAIN;
    size_t length = (gemm.k + pieces - 1) / pieces;
    for (size_t first = 0; first < gemm.k; first += length) {
        cpu_gemm_t piece = gemm;
        stored_t stored = *from;
        piece.a += first;
        if (from->weight == NULL) {
            piece.b += first * CPU_PANEL;
        } else {
            stored.weight += first * from->chain_step;
        }
        piece.k = gemm.k - first < length ? gemm.k - first : length;
        piece.mode = first == 0 ? gemm.mode : CPU_CONTINUE;
        if (gemm.a_row * sizeof(float) % WAY_BYTES == 0) {
            spread(backend, &piece);
        }
        run_split(backend, &piece, &stored);
    }
}

static void run_gemm(cpu_backend_t *backend, const cpu_gemm_t *gemm, const stored_t *from)
{
    if (gemm->rows > 2 * backend->kernels->block_rows) {
        run_pieces(backend, *gemm, from);
    } else {
        run_split(backend, gemm, from);
    }
}

static const stored_t packed_already = {NULL, 0, 0};

/// A weight that one thread's cache holds is packed once for all; of a larger one each task packs its part.
static void run_stored(cpu_backend_t *backend, cpu_gemm_t *gemm, const stored_t *from)
{
    size_t floats = cpu_packed_count(gemm->columns, gemm->k);
    if (floats * sizeof(float) > PANELS_BYTES) {
        run_gemm(backend, gemm, from);
        return;
    }
    float *panels = cpu_scratch(backend, CPU_SLOT_WEIGHT, floats * sizeof(float));
    pack_panels(panels, from, gemm->columns, gemm->k);
    gemm->b = panels;
    run_gemm(backend, gemm, &packed_already);
}

/// All but what the weight says.
static cpu_gemm_t gemm_of(float *y, size_t y_stride, const float *x, size_t x_stride, size_t rows,
                          size_t columns, size_t k)
{
    return (cpu_gemm_t){
        .y = y,
        .y_stride = y_stride,
        .a = x,
        .a_row = x_stride,
        .a_k = 1,
        .b_k = CPU_PANEL,
        .b_panel = k * CPU_PANEL,
        .rows = rows,
        .columns = columns,
        .k = k,
    };
}

void cpu_matmul_run(cpu_backend_t *backend, float *y, size_t y_stride, const float *x,
                    size_t x_stride, tr_tensor_t weight, size_t rows, size_t columns, size_t k,
                    cpu_gemm_mode_t mode)
{
    cpu_gemm_t gemm = gemm_of(y, y_stride, x, x_stride, rows, columns, k);
    gemm.mode = mode;
    if (weight.rows == 1 && weight.columns == cpu_packed_count(columns, k)) {
        gemm.b = cpu_f32(weight);
        run_gemm(backend, &gemm, &packed_already);
        return;
    }
    TR_ASSERT(weight.rows == columns && weight.columns == k,
              "weight [%zu, %zu]; %zu outputs of %zu need it so, or [1, %zu] packed", weight.rows,
              weight.columns, columns, k, cpu_packed_count(columns, k));
    run_stored(backend, &gemm, &(stored_t){cpu_f32(weight), k, 1});
}

void cpu_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                bool accumulate)
{
    TR_ASSERT(y.rows == x.rows, "y has %zu rows, x %zu", y.rows, x.rows);
    cpu_matmul_run(queue->backend, cpu_f32(y), y.columns, cpu_f32(x), x.columns, weight, y.rows,
                   y.columns, x.columns, accumulate ? CPU_ADD : CPU_WRITE);
}

void cpu_input_gradient_run(cpu_backend_t *backend, float *dx, const float *dy, size_t dy_stride,
                            tr_tensor_t weight, size_t rows)
{
    const size_t n = weight.rows, k = weight.columns;
    cpu_gemm_t gemm = gemm_of(dx, k, dy, dy_stride, rows, k, n);
    run_stored(backend, &gemm, &(stored_t){cpu_f32(weight), 1, k});
}

void cpu_matmul_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                               tr_tensor_t weight)
{
    TR_ASSERT(dx.rows == dy.rows && dx.columns == weight.columns && dy.columns == weight.rows,
              "dx [%zu, %zu], dy [%zu, %zu], weight [%zu, %zu]", dx.rows, dx.columns, dy.rows,
              dy.columns, weight.rows, weight.columns);
    cpu_input_gradient_run(queue->backend, cpu_f32(dx), cpu_f32(dy), dy.columns, weight, dx.rows);
}

typedef struct gathering {
    float *to;
    const float *from;
    size_t stride; // of from's rows
    size_t rows;
    size_t columns;
    size_t width; // columns of a block
} gathering_t;

/// Blocks of `width` columns, one after another: [block][row][width]; the last is filled up with zeros.
static void gather_blocks(void *context, size_t first, size_t count, size_t thread)
{
    const gathering_t *g = context;
    (void)thread;
    for (size_t block = first; block < first + count; block++) {
        size_t left = g->columns - block * g->width;
        size_t width = left < g->width ? left : g->width;
        float *to = g->to + block * g->rows * g->width;
        const float *from = g->from + block * g->width;
        for (size_t r = 0; r < g->rows; r++, to += g->width, from += g->stride) {
            memcpy(to, from, width * sizeof(float));
            memset(to + width, 0, (g->width - width) * sizeof(float));
        }
    }
}

static const float *gather(cpu_backend_t *backend, cpu_slot_t slot, const float *from,
                           size_t stride, size_t rows, size_t columns, size_t width)
{
    size_t blocks = (columns + width - 1) / width;
    gathering_t g = {
        .from = from, .stride = stride, .rows = rows, .columns = columns, .width = width};
    g.to = cpu_scratch(backend, slot, blocks * rows * width * sizeof(float));
    cpu_for(backend, blocks, 1 + 32768 / (rows * width), gather_blocks, &g);
    return g.to;
}

/// What dw's rows are made of: dy as it is where its rows are short, else packed.
static void take_left(cpu_backend_t *backend, cpu_gemm_t *g, const float *dy, size_t stride)
{
    const size_t block = backend->kernels->block_rows;
    g->a_row = 1;
    if (stride <= SHORT_ROW) {
        g->a = dy;
        g->a_k = stride;
    } else {
        g->a = gather(backend, CPU_SLOT_LEFT, dy, stride, g->k, g->rows, block);
        g->a_k = block;
        g->a_block = g->k * block;
    }
}

/// What dw's columns are made of: likewise x, whose rows must be whole panels.
static void take_right(cpu_backend_t *backend, cpu_gemm_t *g, const float *x)
{
    if (g->columns <= SHORT_ROW && g->columns % CPU_PANEL == 0) {
        g->b = x;
        g->b_k = g->columns;
        g->b_panel = CPU_PANEL;
    } else {
        g->b = gather(backend, CPU_SLOT_RIGHT, x, g->columns, g->k, g->columns, CPU_PANEL);
        g->b_k = CPU_PANEL;
        g->b_panel = g->k * CPU_PANEL;
    }
}

/// The roles turn: dw's rows are columns of dy, the chain runs over tokens, some at a time; it goes on from what the
/// tokens before left in dw.
void cpu_weight_gradient_run(cpu_backend_t *backend, float *dw, const float *dy, size_t dy_stride,
                             const float *x, size_t rows, size_t n, size_t k)
{
    for (size_t first = 0; first < rows; first += GRADIENT_TOKENS) {
        cpu_gemm_t gemm = {
            .y = dw,
            .y_stride = k,
            .rows = n,
            .columns = k,
            .k = rows - first < GRADIENT_TOKENS ? rows - first : GRADIENT_TOKENS,
            .mode = CPU_CONTINUE,
        };
        take_left(backend, &gemm, dy + first * dy_stride, dy_stride);
        take_right(backend, &gemm, x + first * k);
        run_split(backend, &gemm, &packed_already);
    }
}

void cpu_matmul_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x)
{
    TR_ASSERT(dw.rows == dy.columns && dw.columns == x.columns && dy.rows == x.rows,
              "dw [%zu, %zu], dy [%zu, %zu], x [%zu, %zu]", dw.rows, dw.columns, dy.rows,
              dy.columns, x.rows, x.columns);
    cpu_weight_gradient_run(queue->backend, cpu_f32(dw), cpu_f32(dy), dy.columns, cpu_f32(x),
                            x.rows, dw.rows, dw.columns);
}
