/// Embedding, norms, rotary positions, elementwise operators and the optimizer: shapes, and the
/// split over the team. Kernels are in norm.c and elementwise.c; contracts in backend.h.
///
/// Operators whose rows are independent are split by rows. Sums over rows (gradients of weights)
/// are split by columns instead, so that each column stays one chain in ascending order of rows.
#include <math.h>
#include <string.h>

#include "common/base/real.h"
#include "common/base/rng.h"
#include "common/tensor/cpu/cpu.h"

// Tasks have the arguments that cpu_for gives; none here needs the number of its thread.
#pragma GCC diagnostic ignored "-Wunused-parameter"

enum {
    GRAIN = 16384,    // elements below which waking another thread costs more than it saves
    COLUMN_GRAIN = 64 // least columns of a task of a sum over rows: some cache lines a row
};

/// Arguments of a task, for all operators here; each uses the fields that it needs.
typedef struct layer {
    const cpu_kernels_t *kernels;
    float *y, *y2, *y3;         // outputs
    const float *a, *b, *c, *d; // inputs
    const uint16_t *rounded;    // an input in bf16
    const int32_t *ids;
    size_t rows, n;
    size_t first, groups, width; // of the operators on groups: their column, how many; columns
    size_t rotary;
    float factor;
    tr_heads_t heads;
    tr_norm_t norm;
    bool flag;
    const tr_adamw_scalars_t *adamw;
} layer_t;

/// Rows that have about GRAIN elements.
static size_t row_grain(size_t columns)
{
    return 1 + GRAIN / (columns + 1);
}

/// Ids come from files and peers but were checked on the way; a wrong one here is our own mistake.
static void check_ids(const tr_queue_t *queue, const int32_t *ids, size_t count, size_t limit,
                      const char *what)
{
    for (size_t i = 0; i < count && !queue->backend->base.dry; i++) {
        TR_ASSERT(ids[i] >= 0 && (size_t)ids[i] < limit, "%s %d of row %zu is outside 0..%zu", what,
                  ids[i], i, limit);
    }
}

/// y[r] = a[ids[r]]
static void take_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    for (size_t r = first; r < first + count; r++) {
        memcpy(l->y + r * l->n, l->a + (size_t)l->ids[r] * l->n, l->n * sizeof(float));
    }
}

/// The same of a table in bf16.
static void take_rounded_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    for (size_t r = first; r < first + count; r++) {
        l->kernels->widen(l->y + r * l->n, l->rounded + (size_t)l->ids[r] * l->n, l->n);
    }
}

/// Also the embedding of a batch: rows of the table by token.
void cpu_gather_rows(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t rows)
{
    const bool rounded = x.dtype == TR_BF16;
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(y),
                 .a = rounded ? NULL : cpu_f32(x),
                 .rounded = rounded ? cpu_weight(x) : NULL,
                 .ids = cpu_i32(rows),
                 .n = y.columns};
    TR_ASSERT_SHAPE(y, tr_tensor_count(rows), x.columns);
    check_ids(queue, l.ids, y.rows, x.rows, "row");
    cpu_for(queue->backend, y.rows, row_grain(y.columns), rounded ? take_rounded_rows : take_rows,
            &l);
}

/// y[ids[r]] += a[r], columns first..first+count-1; ids NULL: y[0]. Rows in order by one thread:
/// ids may repeat, and a token's gradient is then one chain.
static void add_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    // Columns first..first+count-1 belong to this task alone.
    for (size_t r = 0; r < l->rows; r++) {
        float *y = l->y + (l->ids != NULL ? (size_t)l->ids[r] * l->n : 0) + first;
        l->kernels->add(y, y, l->a + r * l->n + first, count);
    }
}

/// Rows are distinct for callers of this operator, but the embedding's gradient below, which is the
/// same sum, has tokens that repeat.
void cpu_scatter_rows_add(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t rows)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(dx),
                 .a = cpu_f32(dy),
                 .ids = cpu_i32(rows),
                 .rows = dy.rows,
                 .n = dy.columns};
    TR_ASSERT_SHAPE(dy, tr_tensor_count(rows), dx.columns);
    check_ids(queue, l.ids, l.rows, dx.rows, "row");
    // A small sum stays on one thread: all columns in one piece.
    size_t grain = l.rows * l.n < GRAIN ? l.n : COLUMN_GRAIN;
    cpu_for(queue->backend, l.n, grain, add_rows, &l);
}

void cpu_embedding_gradient(tr_queue_t *queue, tr_tensor_t dtable, tr_tensor_t dy, tr_tensor_t ids)
{
    cpu_scatter_rows_add(queue, dtable, dy, ids);
}

/// y: [rows, n], y2: rstd, a: x, b: weight.
static void norm_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    l->kernels->rmsnorm(l->y + first * l->n, l->y2 + first, l->a + first * l->n, l->b, count, l->n,
                        l->norm.epsilon, l->norm.offset);
}

/// rstd is written for the gradient; a decoding pass does not read it.
void cpu_rmsnorm(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t rstd, tr_tensor_t x,
                 tr_tensor_t weight, tr_norm_t norm)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(y),
                 .y2 = cpu_f32(rstd),
                 .a = cpu_f32(x),
                 .b = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight),
                 .n = x.columns,
                 .norm = norm};
    TR_ASSERT_SHAPE(y, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, x.columns);
    TR_ASSERT_ROOM(rstd, x.rows);
    cpu_for(queue->backend, x.rows, row_grain(l.n), norm_rows, &l);
}

/// y: dx, a: dy, b: x, c: rstd, d: weight; rows are independent.
static void norm_dx(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    size_t at = first * l->n;
    // weight is one row for all, so it does not move with the rows.
    l->kernels->rmsnorm_dx(l->y + at, l->a + at, l->b + at, l->c + first, l->d, count, l->n,
                           l->norm.offset, false);
}

/// y2: dweight; columns first..first+count-1 over all rows.
static void norm_dweight(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    // The kernel adds first and n itself; dy, x and rstd are whole.
    l->kernels->rmsnorm_dweight(l->y2, l->a, l->b, l->c, l->rows, l->n, first, count);
}

void cpu_rmsnorm_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                          tr_tensor_t x, tr_tensor_t rstd, tr_tensor_t weight, tr_norm_t norm)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(dx),
                 .y2 = cpu_f32(dweight),
                 .a = cpu_f32(dy),
                 .b = cpu_f32(x),
                 .c = cpu_f32(rstd),
                 .d = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight),
                 .rows = x.rows,
                 .n = x.columns,
                 .norm = norm};
    TR_ASSERT_SHAPE(dx, x.rows, x.columns);
    TR_ASSERT_SHAPE(dy, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, x.columns);
    TR_ASSERT_COUNT(dweight, x.columns);
    TR_ASSERT_ROOM(rstd, x.rows);
    // The residual stream's gradient is already in dx, so both loops add.
    // Two loops, as dx is split by rows and dweight by columns.
    cpu_for(queue->backend, l.rows, row_grain(l.n), norm_dx, &l);
    cpu_for(queue->backend, l.n, l.rows * l.n < GRAIN ? l.n : COLUMN_GRAIN, norm_dweight, &l);
}

/// y: [rows, n], y2, y3: mean and rstd, a: x, b: weight and bias.
static void layernorm_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    l->kernels->layernorm(l->y + first * l->n, l->y2 + first, l->y3 + first, l->a + first * l->n,
                          l->b, count, l->n, l->norm.epsilon);
}

void cpu_layernorm(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t moments, tr_tensor_t x,
                   tr_tensor_t weight, tr_norm_t norm)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(y),
                 .y2 = cpu_f32(moments),
                 .y3 = cpu_f32(moments) + x.rows,
                 .a = cpu_f32(x),
                 .b = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight),
                 .n = x.columns,
                 .norm = norm};
    TR_ASSERT_SHAPE(y, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, 2 * x.columns);
    TR_ASSERT_ROOM(moments, 2 * x.rows);
    cpu_for(queue->backend, x.rows, row_grain(l.n), layernorm_rows, &l);
}

/// y: dx, a: dy, b: x, c: mean and rstd of all rows, d: weight and bias.
static void layernorm_dx(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    size_t at = first * l->n;
    l->kernels->layernorm_dx(l->y + at, l->a + at, l->b + at, l->c + first, l->c + l->rows + first,
                             l->d, count, l->n);
}

/// y2: dweight.
static void layernorm_dweight(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    l->kernels->layernorm_dweight(l->y2, l->a, l->b, l->c, l->c + l->rows, l->rows, l->n, first,
                                  count);
}

void cpu_layernorm_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t dy,
                            tr_tensor_t x, tr_tensor_t moments, tr_tensor_t weight)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(dx),
                 .y2 = cpu_f32(dweight),
                 .a = cpu_f32(dy),
                 .b = cpu_f32(x),
                 .c = cpu_f32(moments),
                 .d = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight),
                 .rows = x.rows,
                 .n = x.columns};
    TR_ASSERT_SHAPE(dx, x.rows, x.columns);
    TR_ASSERT_SHAPE(dy, x.rows, x.columns);
    TR_ASSERT_COUNT(weight, 2 * x.columns);
    TR_ASSERT_COUNT(dweight, 2 * x.columns);
    TR_ASSERT_ROOM(moments, 2 * x.rows);
    cpu_for(queue->backend, l.rows, row_grain(l.n), layernorm_dx, &l);
    cpu_for(queue->backend, l.n, l.rows * l.n < GRAIN ? l.n : COLUMN_GRAIN, layernorm_dweight, &l);
}

/// y: [rows, width], y2: rstd [rows, groups], a: x, b: weight. The groups of a row lie side by
/// side, as rows do.
static void group_norm_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    for (size_t r = first; r < first + count; r++) {
        const size_t at = r * l->width + l->first;
        l->kernels->rmsnorm(l->y + at, l->y2 + r * l->groups, l->a + at, l->b, l->groups, l->n,
                            l->norm.epsilon, l->norm.offset);
    }
}

void cpu_group_norm(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t rstd, tr_tensor_t x,
                    tr_tensor_t weight, size_t first, size_t groups, tr_norm_t norm)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(y),
                 .y2 = cpu_f32(rstd),
                 .a = cpu_f32(x),
                 .b = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight),
                 .n = tr_tensor_count(weight),
                 .first = first,
                 .groups = groups,
                 .width = x.columns,
                 .norm = norm};
    TR_ASSERT_SHAPE(y, x.rows, x.columns);
    TR_ASSERT_COUNT(rstd, x.rows * groups);
    TR_ASSERT(first + groups * l.n <= x.columns, "%zu groups of %zu from %zu", groups, l.n, first);
    cpu_for(queue->backend, x.rows, row_grain(groups * l.n), group_norm_rows, &l);
}

/// y: d, b: x, c: rstd, d: weight.
static void group_norm_dx(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    for (size_t r = first; r < first + count; r++) {
        float *d = l->y + r * l->width + l->first;
        l->kernels->rmsnorm_dx(d, d, l->b + r * l->width + l->first, l->c + r * l->groups, l->d,
                               l->groups, l->n, l->norm.offset, true);
    }
}

/// y2: dweight; columns first..first+count-1 of the groups, a chain over rows and their groups.
static void group_norm_dweight(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    for (size_t r = 0; r < l->rows; r++) {
        const size_t at = r * l->width + l->first;
        l->kernels->rmsnorm_dweight(l->y2, l->y + at, l->b + at, l->c + r * l->groups, l->groups,
                                    l->n, first, count);
    }
}

void cpu_group_norm_gradient(tr_queue_t *queue, tr_tensor_t d, tr_tensor_t dweight, tr_tensor_t x,
                             tr_tensor_t rstd, tr_tensor_t weight, size_t first, size_t groups,
                             tr_norm_t norm)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(d),
                 .y2 = cpu_f32(dweight),
                 .b = cpu_f32(x),
                 .c = cpu_f32(rstd),
                 .d = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight),
                 .rows = x.rows,
                 .n = tr_tensor_count(weight),
                 .first = first,
                 .groups = groups,
                 .width = x.columns,
                 .norm = norm};
    TR_ASSERT_SHAPE(d, x.rows, x.columns);
    TR_ASSERT_COUNT(dweight, l.n);
    TR_ASSERT_COUNT(rstd, x.rows * groups);
    TR_ASSERT(first + groups * l.n <= x.columns, "%zu groups of %zu from %zu", groups, l.n, first);
    // The weight's gradient first: it reads dy, which the other loop replaces.
    const size_t grain = l.rows * groups * l.n < GRAIN ? l.n : COLUMN_GRAIN;
    cpu_for(queue->backend, l.n, grain, group_norm_dweight, &l);
    cpu_for(queue->backend, l.rows, row_grain(groups * l.n), group_norm_dx, &l);
}

/// ids: positions; queries and keys lie side by side at the row's start, values after them stay as
/// they are.
static void rope_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    for (size_t r = first; r < first + count; r++) {
        l->kernels->rope(l->y + r * l->n, l->a + (size_t)l->ids[r] * l->rotary,
                         l->heads.query + l->heads.key_value, l->heads.dim, l->rotary, l->flag);
    }
}

/// Positions are checked against the table, which has a row for each position of the model.
void cpu_rope(tr_queue_t *queue, tr_tensor_t qkv, tr_tensor_t positions, tr_tensor_t table,
              tr_heads_t heads, bool inverse)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(qkv),
                 .a = cpu_f32(table),
                 .ids = cpu_i32(positions),
                 .n = qkv.columns,
                 .rotary = table.columns,
                 .heads = heads,
                 .flag = inverse};
    TR_ASSERT(l.rotary % 2 == 0 && l.rotary <= heads.dim, "%zu of %zu elements are rotated",
              l.rotary, heads.dim);
    TR_ASSERT_SHAPE(qkv, tr_tensor_count(positions), tr_heads_width(heads));
    check_ids(queue, l.ids, qkv.rows, table.rows, "position");
    cpu_for(queue->backend, qkv.rows, row_grain(l.n), rope_rows, &l);
}

/// kernels->swiglu or geglu, which differ in the gate alone.
typedef struct gated {
    layer_t layer;
    void (*forward)(float *y, const float *gate_up, size_t rows, size_t n);
    void (*backward)(float *dgate_up, const float *dy, const float *gate_up, size_t rows, size_t n);
} gated_t;

static void gated_rows(void *context, size_t first, size_t count, size_t thread)
{
    const gated_t *g = context;
    const layer_t *l = &g->layer;
    // gate_up has two elements for each of y, side by side in a row: [gate | up].
    g->forward(l->y + first * l->n, l->a + first * 2 * l->n, count, l->n);
}

static void run_gated(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up, gated_t g)
{
    g.layer = (layer_t){.y = cpu_f32(y), .a = cpu_f32(gate_up), .n = y.columns};
    TR_ASSERT_SHAPE(gate_up, y.rows, 2 * y.columns);
    // An exponential and a division count as about four plain elements.
    cpu_for(queue->backend, y.rows, row_grain(4 * y.columns), gated_rows, &g);
}

static void gated_gradient_rows(void *context, size_t first, size_t count, size_t thread)
{
    const gated_t *g = context;
    const layer_t *l = &g->layer;
    g->backward(l->y + first * 2 * l->n, l->a + first * l->n, l->b + first * 2 * l->n, count, l->n);
}

static void run_gated_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                               tr_tensor_t gate_up, gated_t g)
{
    g.layer =
        (layer_t){.y = cpu_f32(dgate_up), .a = cpu_f32(dy), .b = cpu_f32(gate_up), .n = dy.columns};
    TR_ASSERT_SHAPE(gate_up, dy.rows, 2 * dy.columns);
    TR_ASSERT_SHAPE(dgate_up, dy.rows, 2 * dy.columns);
    cpu_for(queue->backend, dy.rows, row_grain(4 * dy.columns), gated_gradient_rows, &g);
}

void cpu_swiglu(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up)
{
    run_gated(queue, y, gate_up, (gated_t){.forward = queue->backend->kernels->swiglu});
}

void cpu_swiglu_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                         tr_tensor_t gate_up)
{
    run_gated_gradient(queue, dgate_up, dy, gate_up,
                       (gated_t){.backward = queue->backend->kernels->swiglu_gradient});
}

void cpu_geglu(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gate_up)
{
    run_gated(queue, y, gate_up, (gated_t){.forward = queue->backend->kernels->geglu});
}

void cpu_geglu_gradient(tr_queue_t *queue, tr_tensor_t dgate_up, tr_tensor_t dy,
                        tr_tensor_t gate_up)
{
    run_gated_gradient(queue, dgate_up, dy, gate_up,
                       (gated_t){.backward = queue->backend->kernels->geglu_gradient});
}

static void gelu_range(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    l->kernels->gelu(l->y + first, l->a + first, count, l->flag);
}

void cpu_gelu(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, bool exact)
{
    layer_t l = {
        .kernels = queue->backend->kernels, .y = cpu_f32(y), .a = cpu_f32(x), .flag = exact};
    TR_ASSERT_COUNT(x, tr_tensor_count(y));
    cpu_for(queue->backend, tr_tensor_count(y), GRAIN / 4, gelu_range, &l);
}

static void gelu_gradient_range(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    l->kernels->gelu_gradient(l->y + first, l->a + first, l->b + first, count, l->flag);
}

void cpu_gelu_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy, tr_tensor_t x, bool exact)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(dx),
                 .a = cpu_f32(dy),
                 .b = cpu_f32(x),
                 .flag = exact};
    TR_ASSERT_COUNT(dy, tr_tensor_count(dx));
    TR_ASSERT_COUNT(x, tr_tensor_count(dx));
    cpu_for(queue->backend, tr_tensor_count(dx), GRAIN / 4, gelu_gradient_range, &l);
}

static void scale_range(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    l->kernels->scale(l->y + first, l->a + first, l->factor, count);
}

void cpu_scale(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, float factor)
{
    layer_t l = {
        .kernels = queue->backend->kernels, .y = cpu_f32(y), .a = cpu_f32(x), .factor = factor};
    TR_ASSERT_COUNT(x, tr_tensor_count(y));
    cpu_for(queue->backend, tr_tensor_count(y), 4 * GRAIN, scale_range, &l);
}

/// What a range of rows reads.
typedef struct dropped {
    float *y;
    const float *x;
    const int32_t *addresses;
    size_t n;
    tr_dropout_t dropout;
} dropped_t;

/// A row is first its numbers, then what they let through.
static void dropout_rows(void *context, size_t first, size_t count, size_t thread)
{
    const dropped_t *d = context;
    const float factor = 1.0f / (1.0f - d->dropout.chance);
    for (size_t r = first; r < first + count; r++) {
        float *y = d->y + r * d->n;
        const float *x = d->x + r * d->n;
        tr_rng_uniforms(y, d->n, d->dropout.seed, TR_RNG_DROPOUT, d->dropout.a,
                        (uint32_t)d->addresses[r]);
        for (size_t i = 0; i < d->n; i++) {
            y[i] = y[i] < d->dropout.chance ? 0.0f : x[i] * factor;
        }
    }
}

void cpu_dropout(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t addresses,
                 tr_dropout_t dropout)
{
    dropped_t d = {cpu_f32(y), cpu_f32(x), cpu_i32(addresses), y.columns, dropout};
    TR_ASSERT_SHAPE(x, y.rows, y.columns);
    TR_ASSERT_COUNT(addresses, y.rows);
    cpu_for(queue->backend, y.rows, row_grain(d.n), dropout_rows, &d);
}

static void add_range(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    l->kernels->add(l->y + first, l->a + first, l->b + first, count);
}

/// Element by element, so y may be an operand. Memory is the bound: hence the larger grain.
void cpu_add(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t a, tr_tensor_t b)
{
    layer_t l = {
        .kernels = queue->backend->kernels, .y = cpu_f32(y), .a = cpu_f32(a), .b = cpu_f32(b)};
    TR_ASSERT_COUNT(a, tr_tensor_count(y));
    TR_ASSERT_COUNT(b, tr_tensor_count(y));
    cpu_for(queue->backend, tr_tensor_count(y), 4 * GRAIN, add_range, &l);
}

/// y: [rows, n] += b: [n].
static void add_bias_rows(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    for (size_t r = first; r < first + count; r++) {
        l->kernels->add(l->y + r * l->n, l->y + r * l->n, l->b, l->n);
    }
}

void cpu_add_bias(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t bias)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(y),
                 .b = cpu_widened(queue->backend, CPU_SLOT_VECTOR, bias),
                 .n = y.columns};
    TR_ASSERT_COUNT(bias, y.columns);
    cpu_for(queue->backend, y.rows, row_grain(l.n), add_bias_rows, &l);
}

void cpu_bias_gradient(tr_queue_t *queue, tr_tensor_t dbias, tr_tensor_t dy)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(dbias),
                 .a = cpu_f32(dy),
                 .rows = dy.rows,
                 .n = dy.columns};
    TR_ASSERT_COUNT(dbias, l.n);
    // Every row is added to the same one: add_rows without ids.
    cpu_for(queue->backend, l.n, l.rows * l.n < GRAIN ? l.n : COLUMN_GRAIN, add_rows, &l);
}

/// Arguments of a task on pieces of rows.
typedef struct pieced {
    const cpu_kernels_t *kernels;
    float *y, *y2;
    const float *a, *b, *c;
    tr_pieces_t to, from;
    size_t y_width, width; // columns of y or y2, and of the tensor that `from` stands in
    size_t count;
    bool silu;
} pieced_t;

/// Pieces fit into their row.
static void check_pieces(tr_pieces_t pieces, size_t count, size_t columns)
{
    TR_ASSERT(pieces.first + (count - 1) * pieces.step + pieces.width <= columns,
              "%zu pieces of %zu of %zu columns", count, pieces.width, columns);
}

static void copy_piece_rows(void *context, size_t first, size_t count, size_t thread)
{
    const pieced_t *p = context;
    for (size_t r = first; r < first + count; r++) {
        for (size_t i = 0; i < p->count; i++) {
            memcpy(p->y + r * p->y_width + p->to.first + i * p->to.step,
                   p->a + r * p->width + p->from.first + i * p->from.step,
                   p->to.width * sizeof(float));
        }
    }
}

void cpu_copy_pieces(tr_queue_t *queue, tr_tensor_t y, tr_pieces_t to, tr_tensor_t x,
                     tr_pieces_t from, size_t count)
{
    pieced_t p = {.y = cpu_f32(y),
                  .a = cpu_f32(x),
                  .to = to,
                  .from = from,
                  .y_width = y.columns,
                  .width = x.columns,
                  .count = count};
    TR_ASSERT(to.width == from.width, "pieces of %zu and %zu", to.width, from.width);
    TR_ASSERT_ROWS(x, y.rows);
    check_pieces(to, count, y.columns);
    check_pieces(from, count, x.columns);
    cpu_for(queue->backend, y.rows, row_grain(count * to.width), copy_piece_rows, &p);
}

static void sum_piece_rows(void *context, size_t first, size_t count, size_t thread)
{
    const pieced_t *p = context;
    for (size_t r = first; r < first + count; r++) {
        float *y = p->y + r * p->y_width + p->to.first;
        const float *x = p->a + r * p->width + p->from.first;
        memcpy(y, x, p->from.width * sizeof *y);
        for (size_t i = 1; i < p->count; i++) {
            p->kernels->add(y, y, x + i * p->from.step, p->from.width);
        }
    }
}

void cpu_sum_pieces(tr_queue_t *queue, tr_tensor_t y, size_t first, tr_tensor_t x, tr_pieces_t from,
                    size_t count)
{
    pieced_t p = {.kernels = queue->backend->kernels,
                  .y = cpu_f32(y),
                  .a = cpu_f32(x),
                  .to = {first, 0, from.width},
                  .from = from,
                  .y_width = y.columns,
                  .width = x.columns,
                  .count = count};
    TR_ASSERT_ROWS(x, y.rows);
    check_pieces(p.to, 1, y.columns);
    check_pieces(from, count, x.columns);
    cpu_for(queue->backend, y.rows, row_grain(count * from.width), sum_piece_rows, &p);
}

/// y: [rows, count * width], a: x, b: gates.
static void gate_rows(void *context, size_t first, size_t count, size_t thread)
{
    const pieced_t *p = context;
    for (size_t r = first; r < first + count; r++) {
        for (size_t i = 0; i < p->count; i++) {
            const size_t at = (r * p->count + i) * p->from.width;
            p->kernels->gate(p->y + at, p->a + at,
                             p->b + r * p->width + p->from.first + i * p->from.step, p->from.width,
                             p->silu);
        }
    }
}

/// y: dx, y2: dgates, a: dy, b: gates, c: x.
static void gate_gradient_rows(void *context, size_t first, size_t count, size_t thread)
{
    const pieced_t *p = context;
    for (size_t r = first; r < first + count; r++) {
        for (size_t i = 0; i < p->count; i++) {
            const size_t at = (r * p->count + i) * p->from.width;
            const size_t gate = p->from.first + i * p->from.step;
            p->kernels->gate_gradient(p->y + at, p->y2 + r * p->y_width + gate, p->a + at,
                                      p->c + at, p->b + r * p->width + gate, p->from.width,
                                      p->silu);
        }
    }
}

/// What both operators on gates know: y, or dx, has as many elements as there are gates.
static pieced_t prepare_gate(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t gates, tr_pieces_t from,
                             tr_gate_t f)
{
    const size_t count = y.columns / from.width;
    TR_ASSERT(count * from.width == y.columns, "pieces of %zu for %zu columns", from.width,
              y.columns);
    TR_ASSERT_ROWS(gates, y.rows);
    check_pieces(from, count, gates.columns);
    return (pieced_t){.kernels = queue->backend->kernels,
                      .y = cpu_f32(y),
                      .b = cpu_f32(gates),
                      .from = from,
                      .width = gates.columns,
                      .count = count,
                      .silu = f == TR_GATE_SILU};
}

void cpu_gate(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t gates, tr_pieces_t from,
              tr_gate_t f)
{
    pieced_t p = prepare_gate(queue, y, gates, from, f);
    p.a = cpu_f32(x);
    TR_ASSERT_SHAPE(x, y.rows, y.columns);
    cpu_for(queue->backend, y.rows, row_grain(4 * y.columns), gate_rows, &p);
}

void cpu_gate_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dgates, tr_tensor_t dy,
                       tr_tensor_t x, tr_tensor_t gates, tr_pieces_t from, tr_gate_t f)
{
    pieced_t p = prepare_gate(queue, dx, gates, from, f);
    p.y2 = cpu_f32(dgates);
    p.y_width = dgates.columns;
    p.a = cpu_f32(dy);
    p.c = cpu_f32(x);
    TR_ASSERT_SHAPE(x, dx.rows, dx.columns);
    TR_ASSERT_SHAPE(dy, dx.rows, dx.columns);
    TR_ASSERT_SHAPE(dgates, gates.rows, gates.columns);
    cpu_for(queue->backend, dx.rows, row_grain(4 * dx.columns), gate_gradient_rows, &p);
}

/// The last block may be short.
static void square_blocks(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    // Blocks begin at multiples of TR_SUM_BLOCK of the vector that is given; shards are cut there
    // (common/collective/shards.c), so a block's sum does not depend on who has it.
    for (size_t i = first; i < first + count; i++) {
        size_t left = l->n - i * TR_SUM_BLOCK;
        const float *x = l->a + i * TR_SUM_BLOCK;
        l->y[i] = l->kernels->dot(x, x, left < TR_SUM_BLOCK ? left : TR_SUM_BLOCK);
    }
}

void cpu_sum_squares(tr_queue_t *queue, tr_tensor_t sums, tr_tensor_t x)
{
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(sums),
                 .a = cpu_f32(x),
                 .n = tr_tensor_count(x)};
    TR_ASSERT_COUNT(sums, TR_SUM_BLOCKS(l.n));
    // 16 blocks are 65536 elements.
    cpu_for(queue->backend, TR_SUM_BLOCKS(l.n), 16, square_blocks, &l);
}

static void adamw_range(void *context, size_t first, size_t count, size_t thread)
{
    const layer_t *l = context;
    // Elements do not meet, so pieces may begin anywhere.
    l->kernels->adamw(l->y + first, l->y2 + first, l->y3 + first, l->a + first, count, l->adamw);
}

/// Weights are f32 here, so `seed` and `first`, which are for stochastic rounding, are not read.
void cpu_adamw(tr_queue_t *queue, tr_tensor_t weight, tr_tensor_t m, tr_tensor_t v,
               tr_tensor_t gradient, tr_adamw_t options)
{
    const tr_adamw_scalars_t scalars = tr_adamw_scalars_of(&options);
    layer_t l = {.kernels = queue->backend->kernels,
                 .y = cpu_f32(weight),
                 .y2 = cpu_f32(m),
                 .y3 = cpu_f32(v),
                 .a = cpu_f32(gradient),
                 .n = tr_tensor_count(weight),
                 .adamw = &scalars};
    TR_ASSERT_COUNT(m, l.n);
    TR_ASSERT_COUNT(v, l.n);
    TR_ASSERT_COUNT(gradient, l.n);
    cpu_for(queue->backend, l.n, GRAIN, adamw_range, &l);
}
