/// Matrix products: packing, and how the work is split over threads. No split cuts a chain.
#include <string.h>

#include "common/tensor/cpu/cpu.h"

enum {
    SMALL_WORK = 1 << 18,   // multiply-adds below which waking the team costs more than it saves
    ROWS_BYTES = 384 << 10, // of x that stay in the second-level cache beside a panel
    WIDE_PANELS = 4,        // panels that few rows take at once
    CHAIN = 2048,     // k that many rows do at a time: a panel then stays in the second-level cache
    WAY_BYTES = 4096, // rows of a that are a multiple of this apart evict one another
    GRADIENT_TOKENS = 512, // tokens of a weight gradient that are worked on at a time
    SHORT_ROW = 512,       // floats of a row up to which packing costs more than it saves
};

size_t cpu_packed_count(size_t n, size_t k, bool transposed)
{
    return transposed ? cpu_round_up(k, CPU_PANEL) * n : cpu_round_up(n, CPU_PANEL) * k;
}

typedef struct packing {
    float *packed;
    const float *weight;
    size_t n, k;
} packing_t;

/// Panels of 32 rows of the weight: [panel][k][32].
static void pack_rows(void *context, size_t first, size_t count, size_t thread)
{
    const packing_t *p = context;
    (void)thread;
    for (size_t panel = first; panel < first + count; panel++) {
        float *to = p->packed + panel * p->k * CPU_PANEL;
        for (size_t i = 0; i < CPU_PANEL; i++) {
            size_t row = panel * CPU_PANEL + i;
            for (size_t k = 0; k < p->k; k++) {
                to[k * CPU_PANEL + i] = row < p->n ? p->weight[row * p->k + k] : 0.0f;
            }
        }
    }
}

/// Panels of 32 columns of the weight: [panel][n][32].
static void pack_columns(void *context, size_t first, size_t count, size_t thread)
{
    const packing_t *p = context;
    (void)thread;
    for (size_t panel = first; panel < first + count; panel++) {
        size_t left = p->k - panel * CPU_PANEL;
        size_t columns = left < CPU_PANEL ? left : CPU_PANEL;
        for (size_t row = 0; row < p->n; row++) {
            float *to = p->packed + (panel * p->n + row) * CPU_PANEL;
            memcpy(to, p->weight + row * p->k + panel * CPU_PANEL, columns * sizeof(float));
            memset(to + columns, 0, (CPU_PANEL - columns) * sizeof(float));
        }
    }
}

void cpu_pack(tr_queue_t *queue, tr_tensor_t packed, tr_tensor_t weight, bool transposed)
{
    packing_t p = {cpu_f32(packed), cpu_f32(weight), weight.rows, weight.columns};
    size_t expected = cpu_packed_count(p.n, p.k, transposed);
    TR_ASSERT(tr_tensor_count(packed) == expected, "packed has %zu elements, needs %zu",
              tr_tensor_count(packed), expected);
    size_t panels = ((transposed ? p.k : p.n) + CPU_PANEL - 1) / CPU_PANEL;
    cpu_for(queue->backend, panels, 1 + 32768 / (1 + expected / panels),
            transposed ? pack_columns : pack_rows, &p);
}

typedef struct product {
    const cpu_kernels_t *kernels;
    cpu_gemm_t gemm;
    size_t chunk_rows;   // of a task
    size_t group_panels; // of a task
    size_t groups;
} product_t;

static void run_product(void *context, size_t i, size_t thread)
{
    const product_t *p = context;
    cpu_gemm_t g = p->gemm;
    (void)thread;
    size_t row = i / p->groups * p->chunk_rows, panel = i % p->groups * p->group_panels;
    size_t rows = g.rows - row, columns = g.columns - panel * CPU_PANEL;
    g.rows = rows < p->chunk_rows ? rows : p->chunk_rows;
    g.columns = columns < p->group_panels * CPU_PANEL ? columns : p->group_panels * CPU_PANEL;
    g.y += row * g.y_stride + panel * CPU_PANEL;
    g.a += g.a_block != 0 ? row / p->kernels->block_rows * g.a_block : row * g.a_row;
    g.b += panel * g.b_panel;
    p->kernels->gemm(&g);
}

/// Splits one product: chunks of rows that fit the cache, then groups of panels until every thread has some tasks.
static void run_split(cpu_backend_t *backend, const cpu_gemm_t *gemm)
{
    product_t p = {.kernels = backend->kernels, .gemm = *gemm};
    const size_t block = backend->kernels->block_rows;
    size_t panels = (gemm->columns + CPU_PANEL - 1) / CPU_PANEL;
    if (gemm->rows == 0 || panels == 0) {
        return;
    }
    bool small = backend->threads == 1 || gemm->rows * gemm->columns * (gemm->k + 1) < SMALL_WORK;
    size_t fit = cpu_round_up(ROWS_BYTES / (sizeof(float) * (gemm->k + 1)) + 1, block);
    size_t chunks = (gemm->rows + fit - 1) / fit;
    if (!small && gemm->rows >= 2 * block * backend->threads) {
        chunks = cpu_round_up(chunks, backend->threads); // equal shares
    }
    p.chunk_rows = cpu_round_up((gemm->rows + chunks - 1) / chunks, gemm->a_block != 0 ? block : 1);
    chunks = (gemm->rows + p.chunk_rows - 1) / p.chunk_rows;
    size_t groups = small ? 1 : (4 * backend->threads + chunks - 1) / chunks;
    p.group_panels = (panels + groups - 1) / groups;
    if (gemm->rows <= block / 2 && p.group_panels < panels) {
        p.group_panels = cpu_round_up(p.group_panels, WIDE_PANELS);
    }
    p.groups = (panels + p.group_panels - 1) / p.group_panels;
    if (small) {
        for (size_t i = 0; i < chunks; i++) {
            run_product(&p, i, 0);
        }
        return;
    }
    tr_pool_run(backend->pool, chunks * p.groups, run_product, &p);
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
static void run_pieces(cpu_backend_t *backend, cpu_gemm_t gemm)
{
    size_t pieces = gemm.mode == CPU_ADD ? 1 : (gemm.k + CHAIN - 1) / CHAIN;
    size_t length = (gemm.k + pieces - 1) / pieces;
    for (size_t first = 0; first < gemm.k; first += length) {
        cpu_gemm_t piece = gemm;
        piece.a += first;
        piece.b += first * CPU_PANEL;
        piece.k = gemm.k - first < length ? gemm.k - first : length;
        piece.mode = first == 0 ? gemm.mode : CPU_CONTINUE;
        if (gemm.a_row * sizeof(float) % WAY_BYTES == 0) {
            spread(backend, &piece);
        }
        run_split(backend, &piece);
    }
}

void cpu_matmul_run(cpu_backend_t *backend, float *y, size_t y_stride, const float *x,
                    size_t x_stride, const float *packed, size_t rows, size_t columns, size_t k,
                    cpu_gemm_mode_t mode)
{
    const cpu_gemm_t gemm = {
        .y = y,
        .y_stride = y_stride,
        .a = x,
        .a_row = x_stride,
        .a_k = 1,
        .b = packed,
        .b_k = CPU_PANEL,
        .b_panel = k * CPU_PANEL,
        .rows = rows,
        .columns = columns,
        .k = k,
        .mode = mode,
    };
    if (rows > 2 * backend->kernels->block_rows) {
        run_pieces(backend, gemm);
    } else {
        run_split(backend, &gemm);
    }
}

void cpu_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t packed,
                bool accumulate)
{
    size_t expected = cpu_round_up(y.columns, CPU_PANEL) * x.columns;
    TR_ASSERT(y.rows == x.rows, "y has %zu rows, x %zu", y.rows, x.rows);
    TR_ASSERT(tr_tensor_count(packed) == expected,
              "packed has %zu elements; %zu outputs of %zu need %zu", tr_tensor_count(packed),
              y.columns, x.columns, expected);
    cpu_matmul_run(queue->backend, cpu_f32(y), y.columns, cpu_f32(x), x.columns, cpu_f32(packed),
                   y.rows, y.columns, x.columns, accumulate ? CPU_ADD : CPU_WRITE);
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
        run_split(backend, &gemm);
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
