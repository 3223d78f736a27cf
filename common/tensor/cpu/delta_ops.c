/// The gated delta net: shapes, and the split over the team. Kernels are in delta.c, contracts in
/// backend.h.
///
/// The convolution and the gates are split by columns, since their weights' gradients are chains
/// over rows; the recurrence by sequences and value heads.
#include "common/tensor/cpu/cpu.h"

// Tasks have the arguments that cpu_for gives; not all need the number of their thread.
#pragma GCC diagnostic ignored "-Wunused-parameter"

enum { CHANNEL_GRAIN = 64 }; // least channels of a task

static bool is_fresh(const int32_t *positions, size_t row)
{
    return positions[row] == 0;
}

// The convolution

/// Arguments of a task.
typedef struct convolution_args {
    cpu_backend_t *backend;
    cpu_convolution_t all; // of the whole batch: rows and what a sequence keeps are each one's own
    const int32_t *starts, *positions, *slots;
    size_t sequences;
} convolution_args_t;

static convolution_args_t prepare_convolution(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x,
                                              tr_tensor_t weight, const tr_ragged_t *batch)
{
    TR_ASSERT(weight.columns >= 1 && weight.columns <= TR_TAPS, "%zu taps", weight.columns);
    TR_ASSERT_SHAPE(y, batch->tokens, weight.rows);
    TR_ASSERT_ROWS(x, batch->tokens);
    TR_ASSERT(x.columns >= weight.rows, "%zu columns of %zu channels", x.columns, weight.rows);
    return (convolution_args_t){
        .backend = queue->backend,
        .all = {.y = cpu_f32(y),
                .x = cpu_f32(x),
                .weight = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight),
                .x_stride = x.columns,
                .channels = weight.rows,
                .taps = weight.columns},
        .starts = cpu_i32(batch->starts),
        .positions = cpu_i32(batch->positions),
        .sequences = batch->sequences};
}

/// The rows of one sequence.
static cpu_convolution_t sequence_of(const convolution_args_t *a, size_t s)
{
    cpu_convolution_t c = a->all;
    const size_t row = (size_t)a->starts[s];
    c.rows = (size_t)a->starts[s + 1] - row;
    c.y += row * c.channels;
    c.x += row * c.x_stride;
    c.fresh = c.rows > 0 && is_fresh(a->positions, row);
    if (c.kept != NULL) {
        c.kept += (size_t)a->slots[s] * (c.taps - 1) * c.channels;
    }
    TR_ASSERT(c.rows == 0 || c.fresh || c.kept != NULL, "sequence %zu goes on from nothing", s);
    return c;
}

static void convolve_channels(void *context, size_t first, size_t count, size_t thread)
{
    const convolution_args_t *a = context;
    for (size_t s = 0; s < a->sequences; s++) {
        const cpu_convolution_t c = sequence_of(a, s);
        if (c.rows > 0) {
            a->backend->kernels->convolution(&c, first, count);
        }
    }
}

void cpu_convolution(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                     tr_recurrent_t kept, const tr_ragged_t *batch)
{
    convolution_args_t a = prepare_convolution(queue, y, x, weight, batch);
    if (kept.inputs.buffer != NULL) {
        a.all.kept = cpu_f32(kept.inputs);
        a.slots = cpu_i32(batch->slots);
        TR_ASSERT_COLUMNS(kept.inputs, (weight.columns - 1) * weight.rows);
    }
    cpu_for(queue->backend, weight.rows, CHANNEL_GRAIN, convolve_channels, &a);
}

static void convolve_gradient_channels(void *context, size_t first, size_t count, size_t thread)
{
    const convolution_args_t *a = context;
    // One sequence after another: a weight's chain goes through all of them.
    for (size_t s = 0; s < a->sequences; s++) {
        cpu_convolution_t c = sequence_of(a, s);
        c.dx += (size_t)a->starts[s] * c.dx_stride;
        a->backend->kernels->convolution_gradient(&c, first, count);
    }
}

void cpu_convolution_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dweight, tr_tensor_t d,
                              tr_tensor_t x, tr_tensor_t weight, const tr_ragged_t *batch)
{
    convolution_args_t a = prepare_convolution(queue, d, x, weight, batch);
    a.all.dx = cpu_f32(dx);
    a.all.dx_stride = dx.columns;
    a.all.dweight = cpu_f32(dweight);
    TR_ASSERT_ROWS(dx, batch->tokens);
    TR_ASSERT_COUNT(dweight, weight.rows * weight.columns);
    cpu_for(queue->backend, weight.rows, CHANNEL_GRAIN, convolve_gradient_channels, &a);
}

// The gates

typedef struct gates_args {
    const cpu_kernels_t *kernels;
    float *gates, *dx, *dscale, *dshift;
    const float *dgates, *x, *scale, *shift;
    size_t rows, heads, width, dx_width;
} gates_args_t;

static gates_args_t prepare_gates(tr_queue_t *queue, tr_tensor_t x, size_t first, tr_tensor_t scale,
                                  tr_tensor_t shift)
{
    const size_t heads = tr_tensor_count(scale);
    TR_ASSERT_COUNT(shift, heads);
    TR_ASSERT(first + 2 * heads <= x.columns, "%zu heads from column %zu of %zu", heads, first,
              x.columns);
    return (gates_args_t){.kernels = queue->backend->kernels,
                          .x = cpu_f32(x) + first,
                          .scale = cpu_widened(queue->backend, CPU_SLOT_VECTOR, scale),
                          .shift = cpu_widened(queue->backend, CPU_SLOT_VECTOR_TWO, shift),
                          .rows = x.rows,
                          .heads = heads,
                          .width = x.columns};
}

static void gates_rows(void *context, size_t first, size_t count, size_t thread)
{
    const gates_args_t *g = context;
    for (size_t r = first; r < first + count; r++) {
        float *gates = g->gates + r * 2 * g->heads;
        const float *x = g->x + r * g->width;
        g->kernels->delta_gates(gates, gates + g->heads, x + g->heads, x, g->scale, g->shift,
                                g->heads);
    }
}

void cpu_delta_gates(tr_queue_t *queue, tr_tensor_t gates, tr_tensor_t x, size_t first,
                     tr_tensor_t scale, tr_tensor_t shift)
{
    gates_args_t g = prepare_gates(queue, x, first, scale, shift);
    g.gates = cpu_f32(gates);
    TR_ASSERT_SHAPE(gates, x.rows, 2 * g.heads);
    // A logarithm and three exponentials count as some hundred plain elements.
    cpu_for(queue->backend, x.rows, 1 + 128 / g.heads, gates_rows, &g);
}

/// Heads first..first+count-1, row by row: dscale and dshift are chains.
static void gates_gradient_heads(void *context, size_t first, size_t count, size_t thread)
{
    const gates_args_t *g = context;
    for (size_t r = 0; r < g->rows; r++) {
        const float *dgates = g->dgates + r * 2 * g->heads + first;
        const float *x = g->x + r * g->width + first;
        float *dx = g->dx + r * g->dx_width + first;
        g->kernels->delta_gates_gradient(dx + g->heads, dx, g->dscale + first, g->dshift + first,
                                         dgates, dgates + g->heads, x + g->heads, x,
                                         g->scale + first, g->shift + first, count);
    }
}

void cpu_delta_gates_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dscale,
                              tr_tensor_t dshift, tr_tensor_t dgates, tr_tensor_t x, size_t first,
                              tr_tensor_t scale, tr_tensor_t shift)
{
    gates_args_t g = prepare_gates(queue, x, first, scale, shift);
    g.dx = cpu_f32(dx) + first;
    g.dx_width = dx.columns;
    g.dscale = cpu_f32(dscale);
    g.dshift = cpu_f32(dshift);
    g.dgates = cpu_f32(dgates);
    TR_ASSERT_SHAPE(dgates, x.rows, 2 * g.heads);
    TR_ASSERT_ROWS(dx, x.rows);
    TR_ASSERT_COUNT(dscale, g.heads);
    TR_ASSERT_COUNT(dshift, g.heads);
    cpu_for(queue->backend, g.heads, 16, gates_gradient_heads, &g);
}

// The recurrence

typedef struct delta_args {
    cpu_backend_t *backend;
    const tr_ragged_t *batch;
    tr_delta_t delta;
    float *out, *states, *dqkv, *dgates, *scratch;
    const float *qkv, *gates, *dout;
    const int32_t *starts, *positions, *slots;
    size_t channels, scratch_share;
} delta_args_t;

static delta_args_t prepare_delta(tr_queue_t *queue, tr_tensor_t qkv, tr_tensor_t gates,
                                  const tr_ragged_t *batch, tr_delta_t delta, size_t scratch)
{
    delta_args_t a = {.backend = queue->backend,
                      .batch = batch,
                      .delta = delta,
                      .qkv = cpu_f32(qkv),
                      .gates = cpu_f32(gates),
                      .starts = cpu_i32(batch->starts),
                      .positions = cpu_i32(batch->positions),
                      .channels = tr_delta_channels(delta),
                      .scratch_share = cpu_round_up(scratch, 16)};
    TR_ASSERT_SHAPE(qkv, batch->tokens, a.channels);
    TR_ASSERT_SHAPE(gates, batch->tokens, 2 * delta.value_heads);
    a.scratch = cpu_scratch(a.backend, CPU_SLOT_THREAD,
                            a.backend->threads * a.scratch_share * sizeof(float));
    return a;
}

/// Columns of a row of qkv: the queries of key head h, then its keys; and the values of value head
/// h.
static size_t key_column(tr_delta_t d, bool key, size_t h)
{
    return ((key ? d.key_heads : 0) + h) * d.key_dim;
}

static size_t value_column(tr_delta_t d, size_t h)
{
    return 2 * d.key_heads * d.key_dim + h * d.value_dim;
}

/// Task i: sequence i / Hv, value head i % Hv.
static void recur(void *context, size_t i, size_t thread)
{
    const delta_args_t *a = context;
    const tr_delta_t d = a->delta;
    const size_t s = i / d.value_heads, h = i % d.value_heads;
    const size_t row = (size_t)a->starts[s], rows = (size_t)a->starts[s + 1] - row;
    const size_t key_head = h / (d.value_heads / d.key_heads);
    if (rows == 0) {
        return;
    }
    const float *qkv = a->qkv + row * a->channels;
    const float *gates = a->gates + row * 2 * d.value_heads + h;
    const cpu_delta_t job = {
        .out = a->out + (row * d.value_heads + h) * d.value_dim,
        .query = qkv + key_column(d, false, key_head),
        .key = qkv + key_column(d, true, key_head),
        .value = qkv + value_column(d, h),
        .decay = gates,
        .beta = gates + d.value_heads,
        .state = a->states == NULL ? NULL
                                   : a->states + ((size_t)a->slots[s] * d.value_heads + h) *
                                                     d.key_dim * d.value_dim,
        .out_stride = d.value_heads * d.value_dim,
        .stride = a->channels,
        .gate_stride = 2 * d.value_heads,
        .rows = rows,
        .key_dim = d.key_dim,
        .value_dim = d.value_dim,
        .fresh = is_fresh(a->positions, row),
        .scratch = a->scratch + thread * a->scratch_share,
    };
    TR_ASSERT(job.fresh || job.state != NULL, "sequence %zu goes on from nothing", s);
    a->backend->kernels->delta(&job);
}

void cpu_delta(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t qkv, tr_tensor_t gates,
               tr_recurrent_t kept, const tr_ragged_t *batch, tr_delta_t delta)
{
    delta_args_t a = prepare_delta(queue, qkv, gates, batch, delta,
                                   queue->backend->kernels->delta_scratch(delta.key_dim));
    a.out = cpu_f32(out);
    TR_ASSERT_SHAPE(out, batch->tokens, delta.value_heads * delta.value_dim);
    if (kept.states.buffer != NULL) {
        a.states = cpu_f32(kept.states);
        a.slots = cpu_i32(batch->slots);
        TR_ASSERT_COLUMNS(kept.states, tr_delta_state(delta));
    }
    if (!queue->backend->base.dry) {
        // Not cpu_for: sequences differ in length, so the pool hands out single tasks.
        tr_pool_run(queue->backend->pool, batch->sequences * delta.value_heads, recur, &a);
    }
}

/// Task i: sequence i / Hq, query and key head i % Hq, whose gradient is a chain over its value
/// heads.
static void recur_gradient(void *context, size_t i, size_t thread)
{
    const delta_args_t *a = context;
    const tr_delta_t d = a->delta;
    const size_t s = i / d.key_heads, h = i % d.key_heads, group = d.value_heads / d.key_heads;
    const size_t row = (size_t)a->starts[s], first = row * a->channels;
    cpu_delta_gradient_t job = {
        .dquery = a->dqkv + first + key_column(d, false, h),
        .dkey = a->dqkv + first + key_column(d, true, h),
        .query = a->qkv + first + key_column(d, false, h),
        .key = a->qkv + first + key_column(d, true, h),
        .out_stride = d.value_heads * d.value_dim,
        .stride = a->channels,
        .gate_stride = 2 * d.value_heads,
        .rows = (size_t)a->starts[s + 1] - row,
        .key_dim = d.key_dim,
        .value_dim = d.value_dim,
        .scratch = a->scratch + thread * a->scratch_share,
    };
    for (size_t v = h * group; v < (h + 1) * group && job.rows > 0; v++) {
        const size_t gate = row * job.gate_stride + v;
        job.continues = v > h * group;
        job.dvalue = a->dqkv + first + value_column(d, v);
        job.value = a->qkv + first + value_column(d, v);
        job.ddecay = a->dgates + gate;
        job.dbeta = job.ddecay + d.value_heads;
        job.decay = a->gates + gate;
        job.beta = job.decay + d.value_heads;
        job.dout = a->dout + row * job.out_stride + v * d.value_dim;
        a->backend->kernels->delta_gradient(&job);
    }
}

void cpu_delta_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dgates, tr_tensor_t dout,
                        tr_tensor_t qkv, tr_tensor_t gates, const tr_ragged_t *batch,
                        tr_delta_t delta)
{
    delta_args_t a = prepare_delta(queue, qkv, gates, batch, delta,
                                   queue->backend->kernels->delta_gradient_scratch(
                                       batch->longest, delta.key_dim, delta.value_dim));
    a.dqkv = cpu_f32(dqkv);
    a.dgates = cpu_f32(dgates);
    a.dout = cpu_f32(dout);
    TR_ASSERT_SHAPE(dqkv, batch->tokens, a.channels);
    TR_ASSERT_SHAPE(dgates, batch->tokens, 2 * delta.value_heads);
    TR_ASSERT_SHAPE(dout, batch->tokens, delta.value_heads * delta.value_dim);
    if (!queue->backend->base.dry) {
        tr_pool_run(queue->backend->pool, batch->sequences * delta.key_heads, recur_gradient, &a);
    }
}
