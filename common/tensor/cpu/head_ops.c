/// The heads: log-probabilities of given tokens and their gradient, and the scalar head.
///
/// A model's logits are its largest activation (rows x vocabulary), so they are computed a tile at
/// a time, here and again in the gradient, unless the caller has room to keep them. A row's
/// arithmetic (cpu_row_softmax) is shared with sampling (sample_ops.c): a token's log-probability
/// has the same bits when it is sampled and when it is trained on.
#include <math.h>
#include <string.h>

#include "common/base/real.h"
#include "common/tensor/cpu/cpu.h"

enum {
    TILE_FLOATS = 8 << 20, // of a tile of logits: 32 MiB
    LEAST_ROWS = 256,      // of a tile, even so: fewer would not repay the packing of the head
    ROW_GRAIN = 8192       // logits below which waking another thread costs more than it saves
};

/// Rows of logits, and their cap.
typedef struct capped {
    const cpu_kernels_t *kernels;
    float *logits, cap;
    size_t vocabulary;
} capped_t;

static void cap_rows(void *context, size_t first, size_t count, size_t thread)
{
    const capped_t *c = context;
    (void)thread;
    c->kernels->cap(c->logits + first * c->vocabulary, c->cap, count * c->vocabulary);
}

void cpu_make_logits(cpu_backend_t *backend, float *logits, tr_tensor_t hidden, tr_head_t head,
                     size_t vocabulary, size_t first, size_t rows)
{
    const size_t width = hidden.columns;
    cpu_matmul_run(backend, logits, vocabulary, cpu_f32(hidden) + first * width, width, head.weight,
                   rows, vocabulary, width, CPU_WRITE);
    if (head.cap > 0.0f) {
        capped_t c = {backend->kernels, logits, head.cap, vocabulary};
        cpu_for(backend, rows, cpu_row_grain(vocabulary), cap_rows, &c);
    }
}

size_t cpu_tile_logits(cpu_backend_t *backend, float **logits, tr_tensor_t hidden, tr_head_t head,
                       size_t vocabulary, size_t first)
{
    // Whole blocks of pairs of rows, as many as fill TILE_FLOATS: then no bit of a gradient depends
    // on which rows share a tile.
    const size_t left = hidden.rows - first;
    size_t tile = TILE_FLOATS / vocabulary;
    tile = tile < LEAST_ROWS ? LEAST_ROWS : tile / (2 * CPU_PAIR_BLOCK) * (2 * CPU_PAIR_BLOCK);
    size_t rows = tile < left ? tile : left;
    *logits = cpu_scratch(backend, CPU_SLOT_LOGITS, rows * vocabulary * sizeof(float));
    cpu_make_logits(backend, *logits, hidden, head, vocabulary, first, rows);
    return rows;
}

size_t cpu_row_grain(size_t vocabulary)
{
    return 1 + ROW_GRAIN / vocabulary;
}

cpu_softmax_t cpu_row_softmax(const cpu_kernels_t *kernels, float *z, float *e, size_t vocabulary,
                              const int32_t *ids, size_t count, float temperature)
{
    for (size_t i = 0; i < count; i++) {
        z[i] = z[ids[i]]; // ids ascend, so ids[i] >= i
    }
    size_t n = count == 0 ? vocabulary : count;
    if (temperature != 1.0f) {
        kernels->divide(z, temperature, n);
    }
    return kernels->softmax(e, z, n);
}

/// log p = (z - max) - log sum. The difference comes first: both z and max may be large.
float cpu_row_logprob(const float *z, size_t index, const cpu_softmax_t *softmax)
{
    return (z[index] - softmax->max) - softmax->log_sum;
}

/// The place of target in the row's ascending list; count when it is not there.
static size_t find(const int32_t *ids, size_t count, int32_t target)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ids[middle] < target) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && ids[low] == target ? low : count;
}

/// One call's arguments, and the current tile.
typedef struct head_args {
    const cpu_kernels_t *kernels;
    size_t vocabulary;
    size_t first;                  // number of the tile's first row
    float *logits;                 // [tile, vocabulary]
    size_t known;                  // rows whose logits the forward pass left, ready for the softmax
    const int32_t *targets;        // [R]
    const int32_t *offsets, *kept; // [R + 1] and the lists; NULL: nothing was truncated
    float temperature, cap;
    float *logprob;          // [R]
    tr_token_facts_t *facts; // [R]
    const float *dlogprob;   // [R]
    const float *dmean;      // [R]; NULL: 0
    float *scratch;          // [threads, vocabulary]
} head_args_t;

/// The list of tokens that truncation kept in a row; *count is 0 for the whole vocabulary.
static const int32_t *row_kept(const head_args_t *h, size_t row, size_t *count)
{
    *count = 0;
    if (h->offsets == NULL) {
        return NULL;
    }
    *count = (size_t)(h->offsets[row + 1] - h->offsets[row]);
    return h->kept + h->offsets[row];
}

/// Log-probability and facts (tr_token_facts_t) of rows of the tile.
static void logprob_rows(void *context, size_t first, size_t count, size_t thread)
{
    const head_args_t *h = context;
    (void)thread;
    for (size_t i = first; i < first + count; i++) {
        size_t row = h->first + i, kept;
        const int32_t *ids = row_kept(h, row, &kept);
        float *z = h->logits + i * h->vocabulary;
        size_t target = kept == 0 ? (size_t)h->targets[row] : find(ids, kept, h->targets[row]);
        size_t n = kept == 0 ? h->vocabulary : kept;
        cpu_softmax_t softmax =
            cpu_row_softmax(h->kernels, z, NULL, h->vocabulary, ids, kept, h->temperature);
        // `target` is the place in the kept list, where z was gathered; kept when it is not there.
        // A token that truncation cut has probability 0.
        h->logprob[row] =
            kept > 0 && target == kept ? -INFINITY : cpu_row_logprob(z, target, &softmax);
        h->facts[row] = (tr_token_facts_t){
            .entropy = softmax.entropy,
            .collision = (float)tr_real_log((double)softmax.squares) - 2.0f * softmax.log_sum,
            .logit = softmax.mean,
            .greedy = target < n && z[target] == softmax.max ? 1.0f : 0.0f,
            .mean = (softmax.mean - softmax.max) - softmax.log_sum,
        };
    }
}

/// z += addend
static void add_scalar(float *z, float addend, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        z[i] += addend;
    }
}

/// The gradient of a row's logits, in place of e: [n] = e^(z - max), over the n kept tokens:
///
///     d logprob / d z = (onehot - p) / temperature, times dlogprob
///     d mean / d z    = (1/n - p) / temperature, times dmean
///
/// Without dmean only the first is computed, whose bits must not depend on the second.
static void row_gradient(const head_args_t *h, size_t row, float *e, size_t n, float sum,
                         size_t target)
{
    float factor = h->dlogprob[row] / h->temperature;
    if (h->dmean == NULL) {
        h->kernels->scale(e, e, -factor / sum, n);
    } else {
        float even = h->dmean[row] / h->temperature;
        h->kernels->scale(e, e, -(factor + even) / sum, n);
        add_scalar(e, even / (float)n, n);
    }
    if (target < n) {
        e[target] += factor;
    }
}

/// e^(z - max) of a row's tokens, and their sum. The forward pass gathered and divided logits that
/// it left.
static float exponentials(const head_args_t *h, size_t row, float *z, float *e, const int32_t *ids,
                          size_t kept)
{
    cpu_softmax_t softmax =
        row < h->known
            ? h->kernels->softmax(e, z, kept == 0 ? h->vocabulary : kept)
            : cpu_row_softmax(h->kernels, z, e, h->vocabulary, ids, kept, h->temperature);
    return softmax.sum;
}

/// d: [n], the gradient of a row's capped logits, becomes that of the logits before: times the
/// derivative 1 - tanh^2, which is 1 - (logit / cap)^2. z: [n], capped and divided.
static void uncap(const head_args_t *h, float *d, const float *z, size_t n)
{
    for (size_t i = 0; i < n && h->cap > 0.0f; i++) {
        float bent = z[i] * h->temperature / h->cap;
        d[i] *= 1.0f - bent * bent;
    }
}

/// Gradients of the tile's logits, in place of the logits.
static void gradient_rows(void *context, size_t first, size_t count, size_t thread)
{
    const head_args_t *h = context;
    float *e = h->scratch + thread * h->vocabulary;
    for (size_t i = first; i < first + count; i++) {
        size_t row = h->first + i, kept;
        // Without a list the gradient takes the place of the logits, and no scratch is needed.
        const int32_t *ids = row_kept(h, row, &kept);
        float *z = h->logits + i * h->vocabulary;
        if (kept == 0 && h->cap == 0.0f) {
            float sum = exponentials(h, row, z, z, NULL, 0);
            row_gradient(h, row, z, h->vocabulary, sum, (size_t)h->targets[row]);
            continue;
        }
        float sum = exponentials(h, row, z, e, ids, kept);
        if (kept == 0) {
            row_gradient(h, row, e, h->vocabulary, sum, (size_t)h->targets[row]);
            uncap(h, e, z, h->vocabulary);
            memcpy(z, e, h->vocabulary * sizeof *z);
            continue;
        }
        row_gradient(h, row, e, kept, sum, find(ids, kept, h->targets[row]));
        uncap(h, e, z, kept);
        // Truncated: kept tokens were gathered to the front of z; scatter their gradients, 0
        // elsewhere.
        memset(z, 0, h->vocabulary * sizeof *z);
        for (size_t j = 0; j < kept; j++) {
            z[ids[j]] = e[j];
        }
    }
}

static head_args_t prepare(tr_queue_t *queue, tr_tensor_t hidden, size_t vocabulary,
                           tr_tensor_t targets, float temperature, tr_kept_t kept)
{
    head_args_t h = {
        .kernels = queue->backend->kernels, .vocabulary = vocabulary, .temperature = temperature};
    TR_ASSERT(temperature > 0.0f, "temperature %g", (double)temperature);
    TR_ASSERT_COUNT(targets, hidden.rows);
    // Rollouts and batches made these lists, so a wrong id is our own mistake.
    h.targets = cpu_i32(targets);
    if (queue->backend->base.dry) {
        return h;
    }
    for (size_t i = 0; i < hidden.rows; i++) {
        TR_ASSERT(h.targets[i] >= 0 && (size_t)h.targets[i] < vocabulary, "target %d of row %zu",
                  h.targets[i], i);
    }
    if (kept.offsets.buffer != NULL) {
        TR_ASSERT_ROOM(kept.offsets, hidden.rows + 1);
        h.offsets = cpu_i32(kept.offsets);
        TR_ASSERT_ROOM(kept.ids, (size_t)h.offsets[hidden.rows]);
        h.kept = h.offsets[hidden.rows] > 0 ? cpu_i32(kept.ids) : NULL;
        for (int32_t i = 0; i < h.offsets[hidden.rows]; i++) {
            TR_ASSERT(h.kept[i] >= 0 && (size_t)h.kept[i] < vocabulary, "kept id %d", h.kept[i]);
        }
    }
    return h;
}

/// The next tile of logits, of the returned number of rows. Rows whose logits are kept are one
/// tile: the head is packed once for all of them, and its gradient read and written fewer times.
static size_t next_tile(cpu_backend_t *backend, head_args_t *h, tr_tensor_t logits,
                        tr_tensor_t hidden, tr_head_t head)
{
    if (logits.buffer == NULL || h->first >= logits.rows) {
        return cpu_tile_logits(backend, &h->logits, hidden, head, h->vocabulary, h->first);
    }
    TR_ASSERT(logits.rows <= hidden.rows, "logits of %zu rows, of %zu", logits.rows, hidden.rows);
    TR_ASSERT_COLUMNS(logits, h->vocabulary);
    h->logits = cpu_f32(logits);
    if (h->known == 0) {
        cpu_make_logits(backend, h->logits, hidden, head, h->vocabulary, 0, logits.rows);
    }
    return logits.rows;
}

void cpu_logprob(tr_queue_t *queue, tr_tensor_t logprob, tr_tensor_t facts, tr_tensor_t logits,
                 tr_tensor_t hidden, tr_head_t head, size_t vocabulary, tr_tensor_t targets,
                 float temperature, tr_kept_t kept)
{
    cpu_backend_t *backend = queue->backend;
    if (hidden.rows == 0) {
        return;
    }
    head_args_t h = prepare(queue, hidden, vocabulary, targets, temperature, kept);
    TR_ASSERT_COUNT(logprob, hidden.rows);
    TR_ASSERT_COUNT(facts, hidden.rows * TR_FACTS);
    h.logprob = cpu_f32(logprob);
    // A row of facts is the struct, member by member (TR_FACTS).
    h.facts = (tr_token_facts_t *)cpu_f32(facts);
    for (size_t rows; h.first < hidden.rows; h.first += rows) {
        rows = next_tile(backend, &h, logits, hidden, head);
        cpu_for(backend, rows, cpu_row_grain(vocabulary), logprob_rows, &h);
    }
}

void cpu_logprob_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dhead,
                          tr_tensor_t dlogprob, tr_tensor_t dmean, tr_tensor_t logits,
                          tr_tensor_t hidden, tr_head_t head, tr_tensor_t targets,
                          float temperature, tr_kept_t kept)
{
    cpu_backend_t *backend = queue->backend;
    const size_t vocabulary = dhead.rows, width = hidden.columns;
    if (hidden.rows == 0) {
        return;
    }
    head_args_t h = prepare(queue, hidden, vocabulary, targets, temperature, kept);
    h.cap = head.cap;
    TR_ASSERT_SHAPE(head.weight, vocabulary, width);
    TR_ASSERT_SHAPE(dhead, vocabulary, width);
    TR_ASSERT_SHAPE(dhidden, hidden.rows, width);
    TR_ASSERT_COUNT(dlogprob, hidden.rows);
    h.known = logits.buffer != NULL ? logits.rows : 0;
    h.dlogprob = cpu_f32(dlogprob);
    if (dmean.buffer != NULL) {
        TR_ASSERT_COUNT(dmean, hidden.rows);
        h.dmean = cpu_f32(dmean);
    }
    h.scratch =
        cpu_scratch(backend, CPU_SLOT_THREAD, backend->threads * vocabulary * sizeof(float));
    for (size_t rows; h.first < hidden.rows; h.first += rows) {
        rows = next_tile(backend, &h, logits, hidden, head);
        // The tile's gradient goes on at once: dhidden of its rows, and dhead, whose chain over
        // tokens continues from tile to tile.
        cpu_for(backend, rows, cpu_row_grain(vocabulary), gradient_rows, &h);
        cpu_input_gradient_run(backend, cpu_f32(dhidden) + h.first * width, h.logits, vocabulary,
                               head.weight, rows);
        if (dhead.buffer != NULL) { // else the head is frozen
            cpu_weight_gradient_run(backend, cpu_f32(dhead), h.logits, vocabulary,
                                    cpu_f32(hidden) + h.first * width, rows, vocabulary, width);
        }
    }
}

/// A dot product a row. One thread: there is one row for each token and little work in it.
void cpu_scalar_head(tr_queue_t *queue, tr_tensor_t values, tr_tensor_t hidden, tr_tensor_t weight)
{
    const float *x = cpu_f32(hidden), *w = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight);
    float *y = cpu_f32(values);
    TR_ASSERT_COUNT(weight, hidden.columns);
    TR_ASSERT_COUNT(values, hidden.rows);
    for (size_t r = 0; r < hidden.rows && !queue->backend->base.dry; r++) {
        y[r] = queue->backend->kernels->dot(x + r * hidden.columns, w, hidden.columns);
    }
}

/// dhidden = dvalues weight, dweight += dvalues hidden (a chain over rows).
void cpu_scalar_head_gradient(tr_queue_t *queue, tr_tensor_t dhidden, tr_tensor_t dweight,
                              tr_tensor_t dvalues, tr_tensor_t hidden, tr_tensor_t weight)
{
    const cpu_kernels_t *kernels = queue->backend->kernels;
    const size_t width = hidden.columns;
    const float *dy = cpu_f32(dvalues), *x = cpu_f32(hidden);
    const float *w = cpu_widened(queue->backend, CPU_SLOT_VECTOR, weight);
    float *dx = cpu_f32(dhidden);
    TR_ASSERT_SHAPE(dhidden, hidden.rows, width);
    TR_ASSERT_COUNT(weight, width);
    TR_ASSERT_COUNT(dweight, width);
    TR_ASSERT_COUNT(dvalues, hidden.rows);
    if (queue->backend->base.dry) {
        return;
    }
    for (size_t r = 0; r < hidden.rows; r++) {
        kernels->scale(dx + r * width, w, dy[r], width);
    }
    kernels->weighted_rows(cpu_f32(dweight), dy, x, width, hidden.rows, width);
}
