/// Matrix products: packing of weights, and how a product is split over the team. The kernels are
/// gemm.c and, of bf16, gemm_pairs.c.
///
/// The three products are one: y: [rows, columns] from a: [rows, k] and b: [k, columns], where b is
/// read in panels of 32 columns.
///
///     forward          y  = x W^T    a = x       b = W, its rows as columns   k: inputs
///     input gradient   dx = dy W     a = dy      b = W as it is stored        k: outputs
///     weight gradient  dw += dy^T x  a = dy^T    b = x                        k: tokens
///
/// With weights in bf16 both operands are pairs of bf16 along the chain (kernels.h, `pairs`). What
/// is f32 (x, dy) is rounded to nearest even on the way into the product, y and dw stay f32; an odd
/// chain ends with a zero. A pair is as large as a float, so all else is the same.
///
/// Each element is one chain over k. Work is split by rows and by panels, never within a chain;
/// where k is cut into pieces for the cache, at a block of pairs, a piece continues the sums that
/// the one before left in y. So no split and no number of threads changes a bit. The sizes below
/// were measured (bench/matmul.c) and decide speed only.
#include <string.h>

#include "common/tensor/cpu/cpu.h"

enum {
    SMALL_WORK = 1 << 18,    // multiply-adds below which waking the team costs more than it saves
    ROWS_BYTES = 384 << 10,  // of a, that stay in the second-level cache beside a panel
    WIDE_PANELS = 4,         // panels that the widest tile of few rows takes at once: 8 vectors
    CHAIN = 2048,            // k of a piece: a panel of it is 256 KiB and stays in the second level
    WAY_BYTES = 4096,        // rows of a that lie a multiple of this apart evict one another
    GRADIENT_TOKENS = 512,   // k of a piece of a weight gradient
    GRADIENT_OUTPUTS = 1024, // rows of a weight gradient at a time: 2 MiB of dy
    SHORT_ROW = 512,         // floats of a row up to which packing costs more than it saves
    PACK_CHAIN = 16,         // k packed at a time: 2 KiB of panel stay in the first-level cache
    PANELS_BYTES = 256 << 10, // of panels that a thread packs for a task
    MANY_ROWS = 512,          // rows for which packing a panel costs little
    GATHERED = 4,             // blocks that are gathered side by side
};

/// Elements of a chain as products count them: floats, or pairs of bf16.
static size_t chain_of(tr_dtype_t dtype, size_t k)
{
    return dtype == TR_BF16 ? (k + 1) / 2 : k;
}

/// Whole panels, the last one filled up with zeros, of whole pairs.
size_t cpu_packed_count(tr_dtype_t dtype, size_t n, size_t k)
{
    return cpu_round_up(n, CPU_PANEL) * chain_of(dtype, k) * (dtype == TR_BF16 ? 2 : 1);
}

/// A [n, k] weight as b of the forward product, and of the input gradient.
static cpu_stored_t rows_of(tr_tensor_t weight)
{
    return (cpu_stored_t){cpu_weight(weight), weight.columns, 1,
                          weight.dtype == TR_BF16 ? weight.columns : 0};
}

static cpu_stored_t columns_of(tr_tensor_t weight)
{
    return (cpu_stored_t){cpu_weight(weight), 1, weight.columns,
                          weight.dtype == TR_BF16 ? weight.rows : 0};
}

/// The part that begins at this output and this place of the chain.
static cpu_stored_t stored_from(const cpu_stored_t *from, size_t output, size_t chain)
{
    cpu_stored_t part = *from;
    if (from->bf16 == 0) {
        part.data =
            (const float *)from->data + output * from->output_step + chain * from->chain_step;
    } else {
        part.data = (const uint16_t *)from->data + output * from->output_step +
                    2 * chain * from->chain_step;
        part.bf16 = from->bf16 - 2 * chain;
    }
    return part;
}

/// The place of element k of a panel's column, whose first is given.
static inline void put(float *to, size_t k, uint32_t pair)
{
    memcpy(to + k * CPU_PANEL, &pair, sizeof pair);
}

/// One output's pairs. Rows begin at any multiple of two bytes.
static void pack_row_of_pairs(float *to, const uint16_t *row, size_t chain, size_t bf16)
{
    for (size_t k = 0; k < chain; k++) {
        uint32_t pair = 0;
        memcpy(&pair, row + 2 * k, bf16 - 2 * k > 1 ? 2 * sizeof *row : sizeof *row);
        put(to, k, pair);
    }
}

/// For a forward product: rows of the weight become the columns of a panel [chain][32]. Reads along
/// the rows, so each cache line of the weight is fetched once.
static void pack_rows(float *to, const cpu_stored_t *from, size_t outputs, size_t chain)
{
    for (size_t i = 0; i < outputs; i++) {
        if (from->bf16 != 0) {
            pack_row_of_pairs(to + i, (const uint16_t *)from->data + i * from->output_step, chain,
                              from->bf16);
            continue;
        }
        const float *row = (const float *)from->data + i * from->output_step;
        for (size_t k = 0; k < chain; k++) {
            to[k * CPU_PANEL + i] = row[k];
        }
    }
    for (size_t k = 0; outputs < CPU_PANEL && k < chain; k++) {
        memset(to + k * CPU_PANEL + outputs, 0, (CPU_PANEL - outputs) * sizeof(float));
    }
}

/// Two rows, whose elements become pairs; b NULL: zeros.
static void zip(float *to, const uint16_t *a, const uint16_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t pair = (uint32_t)a[i] | (b != NULL ? (uint32_t)b[i] << 16 : 0);
        memcpy(&to[i], &pair, sizeof pair);
    }
}

/// For an input gradient: 32 neighbours of each row of the weight, or of two, become a row of the
/// panel.
static void pack_columns(float *to, const cpu_stored_t *from, size_t outputs, size_t chain)
{
    for (size_t k = 0; k < chain; k++, to += CPU_PANEL) {
        const cpu_stored_t at = stored_from(from, 0, k);
        if (from->bf16 != 0) {
            const uint16_t *row = at.data;
            zip(to, row, at.bf16 > 1 ? row + at.chain_step : NULL, outputs);
        } else {
            memcpy(to, at.data, outputs * sizeof(float));
        }
        memset(to + outputs, 0, (CPU_PANEL - outputs) * sizeof(float));
    }
}

/// A short piece of the chain at a time.
void cpu_pack_panels(float *to, const cpu_stored_t *from, size_t outputs, size_t chain)
{
    for (size_t first = 0; first < outputs; first += CPU_PANEL, to += chain * CPU_PANEL) {
        size_t columns = outputs - first < CPU_PANEL ? outputs - first : CPU_PANEL;
        for (size_t k = 0; k < chain; k += PACK_CHAIN) {
            size_t length = chain - k < PACK_CHAIN ? chain - k : PACK_CHAIN;
            const cpu_stored_t part = stored_from(from, first, k);
            if (from->output_step == 1) {
                pack_columns(to + k * CPU_PANEL, &part, columns, length);
            } else {
                pack_rows(to + k * CPU_PANEL, &part, columns, length);
            }
        }
    }
}

/// The operator pack: all panels of a weight, for a weight that is used more often than it changes.
typedef struct pack_args {
    float *packed;
    cpu_stored_t weight;
    size_t outputs, chain;
} pack_args_t;

static void pack_share(void *context, size_t first, size_t count, size_t thread)
{
    const pack_args_t *p = context;
    const cpu_stored_t from = stored_from(&p->weight, first * CPU_PANEL, 0);
    size_t left = p->outputs - first * CPU_PANEL;
    (void)thread;
    cpu_pack_panels(p->packed + first * CPU_PANEL * p->chain, &from,
                    left < count * CPU_PANEL ? left : count * CPU_PANEL, p->chain);
}

void cpu_pack(tr_queue_t *queue, tr_tensor_t packed, tr_tensor_t weight)
{
    pack_args_t p = {cpu_weight(packed), rows_of(weight), weight.rows,
                     chain_of(weight.dtype, weight.columns)};
    size_t panels = (weight.rows + CPU_PANEL - 1) / CPU_PANEL;
    TR_ASSERT_SHAPE(packed, 1, cpu_packed_count(weight.dtype, weight.rows, weight.columns));
    TR_ASSERT(packed.dtype == weight.dtype, "%s packed as %s", tr_dtype_name(weight.dtype),
              tr_dtype_name(packed.dtype));
    // A piece has at least 32768 elements.
    cpu_for(queue->backend, panels, 1 + 32768 / (1 + CPU_PANEL * p.chain), pack_share, &p);
}

/// A product cut into chunks x groups tasks: a chunk of rows by a group of panels.
typedef struct product {
    const cpu_kernels_t *kernels;
    cpu_gemm_t gemm;
    size_t chunk_rows;   // of a task
    size_t group_panels; // of a task
    size_t chunks, groups;
    cpu_stored_t from; // what a task packs first; data NULL: nothing, gemm has the panels
    float *scratch;    // [threads, share] a task's panels
    size_t share;
} product_t;

/// Task i: the kernel on one chunk and one group. Groups run fastest, so that threads share the
/// rows of a.
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
    if (p->from.data == NULL) {
        g.b += panel * g.b_panel;
    } else {
        const cpu_stored_t from = stored_from(&p->from, panel * CPU_PANEL, 0);
        float *panels = p->scratch + thread * p->share;
        cpu_pack_panels(panels, &from, g.columns, g.k);
        g.b = panels;
        g.b_panel = g.k * CPU_PANEL; // shorter than the weight's where this is a piece of the chain
    }
    (g.pairs ? p->kernels->gemm_pairs : p->kernels->gemm)(&g);
}

/// For packed weights: chunks of rows that fit the cache, then groups of panels until each thread
/// has about four tasks.
static void split_packed(const cpu_backend_t *backend, product_t *p, size_t panels, bool small)
{
    const cpu_gemm_t *gemm = &p->gemm;
    const size_t block = backend->kernels->block_rows;
    size_t fit = cpu_round_up(ROWS_BYTES / (sizeof(float) * (gemm->k + 1)) + 1, block);
    size_t chunks = (gemm->rows + fit - 1) / fit;
    // Enough rows for two blocks a thread: a multiple of the team, so that shares are equal.
    if (!small && gemm->rows >= 2 * block * backend->threads) {
        chunks = cpu_round_up(chunks, backend->threads); // equal shares
    }
    // Rows that are packed in blocks (a_block) are cut at blocks.
    p->chunk_rows =
        cpu_round_up((gemm->rows + chunks - 1) / chunks, gemm->a_block != 0 ? block : 1);
    p->chunks = (gemm->rows + p->chunk_rows - 1) / p->chunk_rows;
    size_t groups = small ? 1 : (4 * backend->threads + p->chunks - 1) / p->chunks;
    p->group_panels = (panels + groups - 1) / groups;
    // Few rows (a decoding step): whole sets of panels for the widest tile.
    if (gemm->rows <= block / 2 && p->group_panels < panels) {
        p->group_panels = cpu_round_up(p->group_panels, WIDE_PANELS);
    }
    p->groups = (panels + p->group_panels - 1) / p->group_panels;
}

/// For weights that each task packs itself: groups of panels that fit the cache, so that packing is
/// paid once a group for all its rows; then chunks of rows, but only where they are so many that
/// packing again costs little.
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

/// Splits one product and runs it, by the caller alone where that is faster.
static void run_split(cpu_backend_t *backend, const cpu_gemm_t *gemm, const cpu_stored_t *from)
{
    product_t p = {.kernels = backend->kernels, .gemm = *gemm, .from = *from};
    size_t panels = (gemm->columns + CPU_PANEL - 1) / CPU_PANEL;
    if (gemm->rows == 0 || panels == 0) {
        return;
    }
    bool small = backend->threads == 1 || gemm->rows * gemm->columns * (gemm->k + 1) < SMALL_WORK;
    if (from->data == NULL) {
        split_packed(backend, &p, panels, small);
    } else {
        split_stored(backend, &p, panels);
    }
    if (backend->base.dry) {
        return;
    }
    if (small) {
        for (size_t i = 0; i < p.chunks * p.groups; i++) {
            run_product(&p, i, 0);
        }
        return;
    }
    tr_pool_run(backend->pool, p.chunks * p.groups, run_product, &p);
}

/// Rows of a, copied to another stride.
typedef struct spread_args {
    float *to;
    size_t to_stride;
    const float *from;
    size_t from_stride;
    size_t columns;
} spread_args_t;

static void spread_rows(void *context, size_t first, size_t count, size_t thread)
{
    const spread_args_t *s = context;
    (void)thread;
    for (size_t r = first; r < first + count; r++) {
        memcpy(s->to + r * s->to_stride, s->from + r * s->from_stride, s->columns * sizeof(float));
    }
}

/// Copies a's rows 64 bytes further apart than they are long. Rows whose distance is a multiple of
/// 4096 bytes fall into the same cache sets, and a tile of 12 of them evicts itself (many hidden
/// sizes are such multiples).
static void spread(cpu_backend_t *backend, cpu_gemm_t *g)
{
    spread_args_t s = {NULL, g->k + 16, g->a, g->a_row, g->k};
    s.to = cpu_scratch(backend, CPU_SLOT_LEFT, g->rows * s.to_stride * sizeof(float));
    cpu_for(backend, g->rows, 1 + 32768 / (g->k + 1), spread_rows, &s);
    g->a = s.to;
    g->a_row = s.to_stride;
}

/// Many rows: k in pieces of nearly equal length, so that a panel of a piece stays in the cache
/// while all rows pass. In mode CPU_ADD the product must be complete before it is added, so it
/// stays whole.
static void run_pieces(cpu_backend_t *backend, cpu_gemm_t gemm, const cpu_stored_t *from)
{
    size_t pieces = gemm.mode == CPU_ADD || gemm.k == 0 ? 1 : (gemm.k + CHAIN - 1) / CHAIN;
    size_t length = cpu_round_up((gemm.k + pieces - 1) / pieces, CPU_PAIR_BLOCK);
    for (size_t first = 0; first < gemm.k; first += length) {
        cpu_gemm_t piece = gemm;
        cpu_stored_t stored = *from;
        piece.a += first;
        if (from->data == NULL) {
            piece.b += first * CPU_PANEL;
        } else {
            stored = stored_from(from, 0, first);
        }
        piece.k = gemm.k - first < length ? gemm.k - first : length;
        piece.mode = first == 0 ? gemm.mode : CPU_CONTINUE;
        if (gemm.a_row * sizeof(float) % WAY_BYTES == 0) {
            spread(backend, &piece);
        }
        run_split(backend, &piece, &stored);
    }
}

/// Few rows pass a panel once or twice, so cutting k would only cost loads and stores of y.
static void run_gemm(cpu_backend_t *backend, const cpu_gemm_t *gemm, const cpu_stored_t *from)
{
    if (gemm->rows > 2 * backend->kernels->block_rows) {
        run_pieces(backend, *gemm, from);
    } else {
        run_split(backend, gemm, from);
    }
}

static const cpu_stored_t packed_already = {NULL, 0, 0, 0};

/// A weight small enough for one cache is packed once, by the caller, for all tasks; of a larger
/// one each task packs its part.
static void run_stored(cpu_backend_t *backend, cpu_gemm_t *gemm, const cpu_stored_t *from)
{
    size_t floats = cpu_packed_count(TR_F32, gemm->columns, gemm->k);
    if (floats * sizeof(float) > PANELS_BYTES) {
        run_gemm(backend, gemm, from);
        return;
    }
    float *panels = cpu_scratch(backend, CPU_SLOT_WEIGHT, floats * sizeof(float));
    if (!backend->base.dry) {
        cpu_pack_panels(panels, from, gemm->columns, gemm->k);
    }
    gemm->b = panels;
    run_gemm(backend, gemm, &packed_already);
}

/// The fields that do not depend on how the weight is laid out.
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

/// The distance of rows of pairs: further apart than they are long where `spread` would have to
/// copy them.
static size_t row_stride(size_t pairs)
{
    return pairs + (pairs * sizeof(float) % WAY_BYTES == 0 ? 16 : 0);
}

/// Rows of f32, rounded to pairs: within a row, or of two rows.
typedef struct narrow_args {
    const cpu_kernels_t *kernels;
    uint32_t *to;
    size_t to_stride;
    const float *from;
    size_t stride;
    size_t rows, columns; // of from
} narrow_args_t;

static void narrow_rows(void *context, size_t first, size_t count, size_t thread)
{
    const narrow_args_t *n = context;
    (void)thread;
    for (size_t r = first; r < first + count; r++) {
        uint16_t *to = (uint16_t *)(n->to + r * n->to_stride);
        n->kernels->narrow(to, n->from + r * n->stride, n->columns);
        if (n->columns % 2 == 1) {
            to[n->columns] = 0;
        }
    }
}

static void narrow_two_rows(void *context, size_t first, size_t count, size_t thread)
{
    const narrow_args_t *n = context;
    (void)thread;
    for (size_t r = first; r < first + count; r++) {
        const float *a = n->from + 2 * r * n->stride;
        const float *b = 2 * r + 1 < n->rows ? a + n->stride : NULL;
        n->kernels->narrow_pairs(n->to + r * n->to_stride, a, b, n->columns);
    }
}

/// The a of a product with a weight in bf16: g->k still counts elements.
static void narrow_left(cpu_backend_t *backend, cpu_gemm_t *g)
{
    narrow_args_t n = {.kernels = backend->kernels,
                       .from = g->a,
                       .stride = g->a_row,
                       .rows = g->rows,
                       .columns = g->k};
    g->k = chain_of(TR_BF16, g->k);
    n.to_stride = row_stride(g->k);
    n.to = cpu_scratch(backend, CPU_SLOT_PAIRS_LEFT, g->rows * n.to_stride * sizeof *n.to);
    cpu_for(backend, g->rows, 1 + 32768 / (g->k + 1), narrow_rows, &n);
    g->a = (const void *)n.to;
    g->a_row = n.to_stride;
    g->b_panel = g->k * CPU_PANEL;
    g->pairs = true;
}

/// Pairs of tokens: [ceil(rows / 2), columns].
static const float *narrow_tokens(cpu_backend_t *backend, cpu_slot_t slot, const float *x,
                                  size_t stride, size_t rows, size_t columns)
{
    const size_t pairs = chain_of(TR_BF16, rows);
    narrow_args_t n = {.kernels = backend->kernels,
                       .to_stride = columns,
                       .from = x,
                       .stride = stride,
                       .rows = rows,
                       .columns = columns};
    n.to = cpu_scratch(backend, slot, pairs * columns * sizeof *n.to);
    cpu_for(backend, pairs, 1 + 16384 / (columns + 1), narrow_two_rows, &n);
    return (const void *)n.to;
}

void cpu_matmul_run(cpu_backend_t *backend, float *y, size_t y_stride, const float *x,
                    size_t x_stride, tr_tensor_t weight, size_t rows, size_t columns, size_t k,
                    cpu_gemm_mode_t mode)
{
    const size_t packed = cpu_packed_count(weight.dtype, columns, k);
    cpu_gemm_t gemm = gemm_of(y, y_stride, x, x_stride, rows, columns, k);
    gemm.mode = mode;
    if (weight.dtype == TR_BF16) {
        narrow_left(backend, &gemm);
    }
    // A packed weight is told by its shape, [1, whole panels x K], which no stored weight of these
    // sizes has.
    if (weight.rows == 1 && weight.columns == packed) {
        gemm.b = cpu_weight(weight);
        run_gemm(backend, &gemm, &packed_already);
        return;
    }
    TR_ASSERT(weight.rows == columns && weight.columns == k,
              "weight [%zu, %zu]; %zu outputs of %zu need it so, or [1, %zu] packed", weight.rows,
              weight.columns, columns, k, packed);
    const cpu_stored_t from = rows_of(weight);
    run_stored(backend, &gemm, &from);
}

void cpu_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                bool accumulate)
{
    TR_ASSERT_ROWS(y, x.rows);
    cpu_matmul_run(queue->backend, cpu_f32(y), y.columns, cpu_f32(x), x.columns, weight, y.rows,
                   y.columns, x.columns, accumulate ? CPU_ADD : CPU_WRITE);
}

/// dy W: outputs of the product are the weight's columns, and the chain runs over its rows.
void cpu_input_gradient_run(cpu_backend_t *backend, float *dx, const float *dy, size_t dy_stride,
                            tr_tensor_t weight, size_t rows)
{
    cpu_gemm_t gemm = gemm_of(dx, weight.columns, dy, dy_stride, rows, weight.columns, weight.rows);
    const cpu_stored_t from = columns_of(weight);
    if (weight.dtype == TR_BF16) {
        narrow_left(backend, &gemm);
    }
    run_stored(backend, &gemm, &from);
}

void cpu_matmul_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                               tr_tensor_t weight)
{
    TR_ASSERT_SHAPE(weight, dy.columns, dx.columns);
    TR_ASSERT_ROWS(dx, dy.rows);
    cpu_input_gradient_run(queue->backend, cpu_f32(dx), cpu_f32(dy), dy.columns, weight, dx.rows);
}

/// Columns of a row-major matrix, copied together in blocks.
typedef struct gather_args {
    float *to;
    const float *from;
    size_t stride; // of from's rows
    size_t rows;
    size_t columns;
    size_t width; // columns of a block
} gather_args_t;

/// Whole blocks, W columns each, where W is a constant of the caller: copies are a few instructions
/// and no calls. A row's part of all of them is copied before the next row's, so that each of its
/// cache lines is read once.
static inline void gather_whole(const gather_args_t *g, size_t first, size_t count, const size_t W)
{
    const size_t apart = g->rows * W;
    for (size_t r = 0; r < g->rows; r++) {
        const float *from = g->from + r * g->stride + first * W;
        float *to = g->to + first * apart + r * W;
        for (size_t block = 0; block < count; block++, from += W, to += apart) {
            memcpy(to, from, W * sizeof(float));
        }
    }
}

/// The last block, filled up with zeros.
static void gather_last(const gather_args_t *g, size_t block)
{
    const size_t width = g->columns - block * g->width;
    float *to = g->to + block * g->rows * g->width;
    const float *from = g->from + block * g->width;
    for (size_t r = 0; r < g->rows; r++, to += g->width, from += g->stride) {
        memcpy(to, from, width * sizeof(float));
        memset(to + width, 0, (g->width - width) * sizeof(float));
    }
}

/// Blocks of `width` columns, one after another: [block][row][width].
static void gather_blocks(void *context, size_t first, size_t count, size_t thread)
{
    const gather_args_t *g = context;
    const size_t whole = g->columns / g->width, end = first + count;
    (void)thread;
    for (size_t block = first; block < end && block < whole; block += GATHERED) {
        const size_t left = (end < whole ? end : whole) - block;
        const size_t n = left < GATHERED ? left : GATHERED;
        switch (g->width) {
        case CPU_PANEL: gather_whole(g, block, n, CPU_PANEL); break;
        case 12: // rows of a tile, as gemm.c has them
            gather_whole(g, block, n, 12);
            break;
        case 6: gather_whole(g, block, n, 6); break;
        default: gather_whole(g, block, n, g->width);
        }
    }
    if (end > whole) {
        gather_last(g, whole);
    }
}

/// Gathers into a slot of scratch memory.
static const float *gather(cpu_backend_t *backend, cpu_slot_t slot, const float *from,
                           size_t stride, size_t rows, size_t columns, size_t width)
{
    size_t blocks = (columns + width - 1) / width;
    gather_args_t g = {
        .from = from, .stride = stride, .rows = rows, .columns = columns, .width = width};
    g.to = cpu_scratch(backend, slot, blocks * rows * width * sizeof(float));
    cpu_for(backend, blocks, 1 + 32768 / (rows * width), gather_blocks, &g);
    return g.to;
}

/// The a of a weight gradient, dy^T: elements of successive k are a row of dy apart. Long rows are
/// gathered into blocks as wide as a tile has rows, in which successive k lie side by side.
static void set_left(cpu_backend_t *backend, cpu_gemm_t *g, const float *dy, size_t stride)
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

/// The b of a weight gradient, x: its rows are panels already where they are short and whole
/// multiples of 32; else gathered.
static void set_right(cpu_backend_t *backend, cpu_gemm_t *g, const float *x)
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

/// Columns first..first+count-1 of pairs of tokens become rows.
typedef struct turn_args {
    const cpu_kernels_t *kernels;
    uint32_t *to;
    size_t to_stride;
    const uint32_t *from;
    size_t stride;
    size_t rows;
} turn_args_t;

static void turn_columns(void *context, size_t first, size_t count, size_t thread)
{
    const turn_args_t *t = context;
    (void)thread;
    t->kernels->turn_pairs(t->to + first * t->to_stride, t->to_stride, t->from + first, t->stride,
                           t->rows, count);
}

/// The a of a weight gradient of pairs: a row for each column of dy.
static void set_left_pairs(cpu_backend_t *backend, cpu_gemm_t *g, const float *dy, size_t stride)
{
    turn_args_t t = {.kernels = backend->kernels,
                     .to_stride = row_stride(g->k),
                     .from = (const void *)dy,
                     .stride = stride,
                     .rows = g->k};
    t.to = cpu_scratch(backend, CPU_SLOT_LEFT, g->rows * t.to_stride * sizeof *t.to);
    cpu_for(backend, g->rows, 1 + 32768 / (g->k + 1), turn_columns, &t);
    g->a = (const void *)t.to;
    g->a_row = t.to_stride;
    g->a_k = 1;
}

/// dw += dy^T x: rows are outputs, columns are inputs, and the chain runs over tokens,
/// GRADIENT_TOKENS at a time, for as many outputs as stay in the cache when they are gathered.
/// Every piece continues from dw (CPU_CONTINUE), as do later calls: a batch in parts has the bits
/// of the whole batch; in pairs, where the parts are whole blocks of pairs.
void cpu_weight_gradient_run(cpu_backend_t *backend, float *dw, const float *dy, size_t dy_stride,
                             const float *x, size_t rows, size_t n, size_t k)
{
    const bool pairs = backend->base.weights == TR_BF16;
    if (pairs) {
        dy = narrow_tokens(backend, CPU_SLOT_PAIRS_LEFT, dy, dy_stride, rows, n);
        x = narrow_tokens(backend, CPU_SLOT_PAIRS_RIGHT, x, k, rows, k);
        dy_stride = n;
        rows = chain_of(TR_BF16, rows);
    }
    const size_t block = backend->kernels->block_rows, outputs = GRADIENT_OUTPUTS / block * block;
    for (size_t first = 0; first < rows; first += GRADIENT_TOKENS) {
        cpu_gemm_t gemm = {
            .y_stride = k,
            .columns = k,
            .k = rows - first < GRADIENT_TOKENS ? rows - first : GRADIENT_TOKENS,
            .mode = CPU_CONTINUE,
            .pairs = pairs,
        };
        set_right(backend, &gemm, x + first * k);
        for (size_t output = 0; output < n; output += outputs) {
            gemm.y = dw + output * k;
            gemm.rows = n - output < outputs ? n - output : outputs;
            (pairs ? set_left_pairs : set_left)(backend, &gemm, dy + first * dy_stride + output,
                                                dy_stride);
            run_split(backend, &gemm, &packed_already);
        }
    }
}

void cpu_matmul_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x)
{
    TR_ASSERT_SHAPE(dw, dy.columns, x.columns);
    TR_ASSERT_ROWS(dy, x.rows);
    cpu_weight_gradient_run(queue->backend, cpu_f32(dw), cpu_f32(dy), dy.columns, cpu_f32(x),
                            x.rows, dw.rows, dw.columns);
}
