/// The key-value cache and attention over a ragged batch: checks, tasks and threads. The kernels
/// are attention.c and attention_gradient.c; shapes are in backend.h.
///
/// A task of the forward pass is a slice of one sequence's queries and one key-value head; a task
/// of the gradient is a whole sequence and one key-value head, because dk and dv are chains over
/// all its queries. Tasks write to disjoint rows and columns, so threads need no locks.
#include <string.h>

#include "common/tensor/cpu/cpu.h"

enum { SLICE = 48 }; // query rows (position, head) of a task, about: some tiles of attention.c

/// One call's arguments as plain pointers. The gradient uses the last group, the forward pass the
/// others.
typedef struct attention_args {
    cpu_backend_t *backend;
    const tr_ragged_t *batch;
    tr_heads_t heads;
    const int32_t *starts, *positions, *pages; // [S + 1], [T], [S, max_pages]
    float *keys, *values; // the cache's: [pages, Hk, D, 16], [pages, Hk, 16, D]
    const float *qkv;     // [T, width]
    size_t width;         // (Hq + 2 Hk) D
    float *out, *lse;     // [T, Hq, D], [T, Hq]
    const int32_t *tasks; // [tasks, 3]: sequence, first row, rows
    float *scratch;       // [threads, scratch_share]
    size_t scratch_share;
    const float *const_out, *const_lse, *dout; // of the gradient: inputs, shaped as out and lse
    float *dqkv;                               // [T, width]
} attention_args_t;

/// The tables of a batch are made by our own code (common/model/batch.c), so a wrong one is
/// asserted, in time linear in the batch and before a kernel follows a wrong index.
static void check_batch(const attention_args_t *a, tr_tensor_t qkv)
{
    const tr_ragged_t *b = a->batch;
    TR_ASSERT(a->heads.key_value > 0 && a->heads.query % a->heads.key_value == 0,
              "%zu query heads over %zu", a->heads.query, a->heads.key_value);
    TR_ASSERT_SHAPE(qkv, b->tokens, a->width);
    TR_ASSERT_ROOM(b->starts, b->sequences + 1);
    TR_ASSERT_ROOM(b->positions, b->tokens);
    if (a->backend->base.dry) {
        return;
    }
    TR_ASSERT(a->starts[0] == 0 && (size_t)a->starts[b->sequences] == b->tokens,
              "starts run %d..%d for %zu tokens", a->starts[0], a->starts[b->sequences], b->tokens);
    for (size_t s = 0; s < b->sequences; s++) {
        TR_ASSERT(a->starts[s] <= a->starts[s + 1], "sequence %zu starts at %d, ends at %d", s,
                  a->starts[s], a->starts[s + 1]);
        if (a->starts[s] < a->starts[s + 1]) {
            size_t last = (size_t)a->positions[a->starts[s + 1] - 1];
            TR_ASSERT(last < b->longest, "position %zu of sequence %zu: longest %zu", last, s,
                      b->longest);
        }
    }
}

/// The arguments and checks that all operators here have in common.
static attention_args_t prepare(tr_queue_t *queue, tr_tensor_t qkv, const tr_ragged_t *batch,
                                tr_heads_t heads)
{
    attention_args_t a = {.backend = queue->backend, .batch = batch, .heads = heads};
    // Pointers of a dry backend are CPU_NOWHERE: checks that read through them are left out below.
    a.starts = cpu_i32(batch->starts);
    a.positions = cpu_i32(batch->positions);
    a.qkv = cpu_f32(qkv);
    a.width = tr_heads_width(heads);
    check_batch(&a, qkv);
    return a;
}

/// Every page up to each sequence's last position must exist.
static void check_pages(const attention_args_t *a, size_t pages)
{
    const tr_ragged_t *b = a->batch;
    TR_ASSERT_ROOM(b->pages, b->sequences * b->max_pages);
    for (size_t s = 0; s < b->sequences && !a->backend->base.dry; s++) {
        if (a->starts[s] == a->starts[s + 1]) {
            continue;
        }
        // Positions ascend, so the last one needs the most pages.
        size_t last = (size_t)a->positions[a->starts[s + 1] - 1];
        TR_ASSERT(last / TR_PAGE < b->max_pages, "position %zu of sequence %zu: %zu pages", last, s,
                  b->max_pages);
        for (size_t j = 0; j <= last / TR_PAGE; j++) {
            int32_t page = a->pages[s * b->max_pages + j];
            TR_ASSERT(page >= 0 && (size_t)page < pages,
                      "page %d of sequence %zu is outside 0..%zu", page, s, pages);
        }
    }
}

/// For operators that read or write the cache.
static attention_args_t prepare_cached(tr_queue_t *queue, tr_tensor_t qkv, tr_kv_t kv,
                                       const tr_ragged_t *batch, tr_heads_t heads)
{
    attention_args_t a = prepare(queue, qkv, batch, heads);
    a.pages = cpu_i32(batch->pages);
    a.keys = cpu_f32(kv.keys);
    a.values = cpu_f32(kv.values);
    size_t page = heads.key_value * heads.dim * TR_PAGE;
    TR_ASSERT_SHAPE(kv.keys, kv.keys.rows, page);
    TR_ASSERT_SHAPE(kv.values, kv.keys.rows, page);
    check_pages(&a, kv.keys.rows);
    return a;
}

/// Copies key-value heads first..first+count-1 of all rows into their pages. Split by heads,
/// because heads lie in different cache lines and neighbouring positions of a head do not: threads
/// would write to the same lines.
static void store_heads(void *context, size_t first, size_t count, size_t thread)
{
    const attention_args_t *a = context;
    const size_t dim = a->heads.dim, page_stride = a->heads.key_value * dim * TR_PAGE;
    (void)thread;
    for (size_t s = 0; s < a->batch->sequences; s++) {
        const int32_t *pages = a->pages + s * a->batch->max_pages;
        for (size_t row = (size_t)a->starts[s]; row < (size_t)a->starts[s + 1]; row++) {
            size_t position = (size_t)a->positions[row], slot = position % TR_PAGE;
            size_t page = (size_t)pages[position / TR_PAGE] * page_stride;
            for (size_t h = first; h < first + count; h++) {
                const float *key = a->qkv + row * a->width + (a->heads.query + h) * dim;
                // Keys are transposed in a page, [D][16], so that attention.c loads 16 keys at
                // once.
                float *keys = a->keys + page + h * dim * TR_PAGE + slot;
                for (size_t d = 0; d < dim; d++) {
                    keys[d * TR_PAGE] = key[d];
                }
                memcpy(a->values + page + (h * TR_PAGE + slot) * dim,
                       key + a->heads.key_value * dim, dim * sizeof(float));
            }
        }
    }
}

void cpu_kv_store(tr_queue_t *queue, tr_kv_t kv, tr_tensor_t qkv, const tr_ragged_t *batch,
                  tr_heads_t heads)
{
    attention_args_t a = prepare_cached(queue, qkv, kv, batch, heads);
    size_t grain = 1 + 16384 / (1 + batch->tokens * heads.dim);
    // A task copies 16384 elements at least, so a decoding step's few stay on one thread.
    cpu_for(queue->backend, heads.key_value, grain, store_heads, &a);
}

/// Writes the slices of all sequences into scratch memory; returns their number.
static size_t list_tasks(attention_args_t *a, size_t slice)
{
    // A list, because sequences have different numbers of slices and cpu_for hands out numbers.
    // Each sequence has at most one slice that is not full.
    size_t most = a->batch->sequences + a->batch->tokens / slice;
    int32_t *tasks = cpu_scratch(a->backend, CPU_SLOT_TASKS, 3 * most * sizeof *tasks);
    size_t count = 0;
    for (size_t s = 0; s < a->batch->sequences && !a->backend->base.dry; s++) {
        for (size_t row = (size_t)a->starts[s]; row < (size_t)a->starts[s + 1]; row += slice) {
            size_t left = (size_t)a->starts[s + 1] - row;
            tasks[3 * count] = (int32_t)s;
            tasks[3 * count + 1] = (int32_t)row;
            tasks[3 * count + 2] = (int32_t)(left < slice ? left : slice);
            count++;
        }
    }
    a->tasks = tasks;
    return count;
}

/// Tasks first..first+count-1; neighbouring tasks are heads of one slice.
static void attend(void *context, size_t first, size_t count, size_t thread)
{
    const attention_args_t *a = context;
    const size_t group = a->heads.query / a->heads.key_value, dim = a->heads.dim;
    for (size_t i = first; i < first + count; i++) {
        // Heads of a slice read the same pages, so one thread takes them one after another.
        const int32_t *task = a->tasks + 3 * (i / a->heads.key_value);
        size_t h = i % a->heads.key_value, row = (size_t)task[1];
        const cpu_attention_t job = {
            .out = a->out + (row * a->heads.query + h * group) * dim,
            .lse = a->lse + row * a->heads.query + h * group,
            .query = a->qkv + row * a->width + h * group * dim,
            .out_stride = a->heads.query * dim,
            .lse_stride = a->heads.query,
            .query_stride = a->width,
            .positions = a->positions + row,
            .rows = (size_t)task[2],
            .group = group,
            .dim = dim,
            .window = a->heads.window,
            .scale = tr_heads_scale(&a->heads),
            .cap = a->heads.cap,
            .pages = a->pages + (size_t)task[0] * a->batch->max_pages,
            // Head h of page 0; the kernel adds page * page_stride.
            .keys = a->keys + h * dim * TR_PAGE,
            .values = a->values + h * dim * TR_PAGE,
            .page_stride = a->heads.key_value * dim * TR_PAGE,
            .longest = a->batch->longest,
            .scratch = a->scratch + thread * a->scratch_share,
        };
        a->backend->kernels->attention(&job);
    }
}

/// Scratch memory for each thread, in whole vectors.
static void share_scratch(attention_args_t *a, size_t floats)
{
    a->scratch_share = cpu_round_up(floats, 16);
    a->scratch = cpu_scratch(a->backend, CPU_SLOT_THREAD,
                             a->backend->threads * a->scratch_share * sizeof(float));
}

void cpu_attention(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t qkv, tr_kv_t kv,
                   const tr_ragged_t *batch, tr_heads_t heads)
{
    attention_args_t a = prepare_cached(queue, qkv, kv, batch, heads);
    a.out = cpu_f32(out);
    a.lse = cpu_f32(lse);
    TR_ASSERT_COUNT(out, batch->tokens * heads.query * heads.dim);
    TR_ASSERT_COUNT(lse, batch->tokens * heads.query);
    // For the longest sequence of the batch, so that any thread can take any task.
    share_scratch(&a, queue->backend->kernels->attention_scratch(batch->longest, heads.dim));
    size_t group = heads.query / heads.key_value;
    size_t tasks =
        list_tasks(&a, group < SLICE ? cpu_round_up(SLICE / group, 12) : 1) * heads.key_value;
    // A long sequence is worth a task of its own; short ones go several at a time.
    size_t work = 1 + batch->longest * group * heads.dim;
    cpu_for(queue->backend, tasks, 1 + 65536 / work, attend, &a);
}

/// Task i: sequence i / Hk, key-value head i % Hk.
static void attend_gradient(void *context, size_t i, size_t thread)
{
    const attention_args_t *a = context;
    const size_t group = a->heads.query / a->heads.key_value, dim = a->heads.dim;
    size_t s = i / a->heads.key_value, h = i % a->heads.key_value;
    size_t row = (size_t)a->starts[s], rows = (size_t)a->starts[s + 1] - row;
    // Places in a row of qkv, [Hq queries | Hk keys | Hk values]; those of dqkv are the same.
    size_t query = row * a->width + h * group * dim;
    size_t key = row * a->width + (a->heads.query + h) * dim;
    size_t value = key + a->heads.key_value * dim;
    const cpu_attention_gradient_t job = {
        .dquery = a->dqkv + query,
        .dkey = a->dqkv + key,
        .dvalue = a->dqkv + value,
        .query = a->qkv + query,
        .key = a->qkv + key,
        .value = a->qkv + value,
        .stride = a->width,
        .out = a->const_out + (row * a->heads.query + h * group) * dim,
        .dout = a->dout + (row * a->heads.query + h * group) * dim,
        .out_stride = a->heads.query * dim,
        .lse = a->const_lse + row * a->heads.query + h * group,
        .lse_stride = a->heads.query,
        .rows = rows,
        .group = group,
        .dim = dim,
        .window = a->heads.window,
        .scale = tr_heads_scale(&a->heads),
        .cap = a->heads.cap,
        .scratch = a->scratch + thread * a->scratch_share,
    };
    // A sequence without tokens in the batch has a task too, and nothing to do.
    if (rows > 0) {
        a->backend->kernels->attention_gradient(&job);
    }
}

void cpu_attention_gradient(tr_queue_t *queue, tr_tensor_t dqkv, tr_tensor_t dout, tr_tensor_t out,
                            tr_tensor_t lse, tr_tensor_t qkv, const tr_ragged_t *batch,
                            tr_heads_t heads)
{
    attention_args_t a = prepare(queue, qkv, batch, heads);
    a.dqkv = cpu_f32(dqkv);
    a.dout = cpu_f32(dout);
    a.const_out = cpu_f32(out);
    a.const_lse = cpu_f32(lse);
    TR_ASSERT_COUNT(dqkv, batch->tokens * a.width);
    TR_ASSERT_COUNT(dout, batch->tokens * heads.query * heads.dim);
    TR_ASSERT_COUNT(out, batch->tokens * heads.query * heads.dim);
    TR_ASSERT_COUNT(lse, batch->tokens * heads.query);
    size_t group = heads.query / heads.key_value;
    share_scratch(
        &a, queue->backend->kernels->attention_gradient_scratch(batch->longest, group, heads.dim));
    if (queue->backend->base.dry) {
        return;
    }
    // The gradient reads keys and values from qkv, so all positions from 0 must be in the batch.
    for (size_t s = 0; s < batch->sequences; s++) {
        for (int32_t row = a.starts[s]; row < a.starts[s + 1]; row++) {
            TR_ASSERT(a.positions[row] == row - a.starts[s],
                      "sequence %zu is not whole: row %d has position %d", s, row,
                      a.positions[row]);
        }
    }
    // Not cpu_for: sequences differ in length, so the pool hands out single tasks.
    tr_pool_run(queue->backend->pool, batch->sequences * heads.key_value, attend_gradient, &a);
}

// Sinks

typedef struct sinks {
    const cpu_kernels_t *kernels;
    float *out, *lse, *dsinks;
    const float *dout, *sinks;
    size_t tokens, heads, dim;
} sinks_t;

static sinks_t sinks_of(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t sinks)
{
    const size_t heads = tr_tensor_count(sinks);
    TR_ASSERT_SHAPE(lse, out.rows, heads);
    TR_ASSERT(out.columns % heads == 0, "%zu columns of %zu heads", out.columns, heads);
    return (sinks_t){.kernels = queue->backend->kernels,
                     .out = cpu_f32(out),
                     .lse = cpu_f32(lse),
                     .sinks = cpu_widened(queue->backend, CPU_SLOT_VECTOR, sinks),
                     .tokens = out.rows,
                     .heads = heads,
                     .dim = out.columns / heads};
}

static void sink_rows(void *context, size_t first, size_t count, size_t thread)
{
    const sinks_t *s = context;
    (void)thread;
    for (size_t t = first; t < first + count; t++) {
        s->kernels->sink(s->out + t * s->heads * s->dim, s->lse + t * s->heads, s->sinks, s->heads,
                         s->dim);
    }
}

void cpu_sink(tr_queue_t *queue, tr_tensor_t out, tr_tensor_t lse, tr_tensor_t sinks)
{
    sinks_t s = sinks_of(queue, out, lse, sinks);
    cpu_for(queue->backend, s.tokens, 1 + 16384 / (1 + out.columns), sink_rows, &s);
}

/// Heads first..first+count-1, each a chain over tokens.
static void sink_slopes(void *context, size_t first, size_t count, size_t thread)
{
    const sinks_t *s = context;
    (void)thread;
    for (size_t t = 0; t < s->tokens; t++) {
        const size_t head = t * s->heads + first;
        s->kernels->sink_gradient(s->dsinks + first, s->dout + head * s->dim,
                                  s->out + head * s->dim, s->lse + head, s->sinks + first, count,
                                  s->dim);
    }
}

void cpu_sink_gradient(tr_queue_t *queue, tr_tensor_t dsinks, tr_tensor_t dout, tr_tensor_t out,
                       tr_tensor_t lse, tr_tensor_t sinks)
{
    sinks_t s = sinks_of(queue, out, lse, sinks);
    s.dout = cpu_f32(dout);
    s.dsinks = cpu_f32(dsinks);
    TR_ASSERT_SHAPE(dout, out.rows, out.columns);
    TR_ASSERT_COUNT(dsinks, s.heads);
    cpu_for(queue->backend, s.heads, 1 + 16384 / (1 + s.tokens * s.dim), sink_slopes, &s);
}
