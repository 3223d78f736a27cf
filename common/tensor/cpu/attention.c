/// Causal grouped-query attention over the paged cache: the kernel for one slice of queries of one
/// sequence and key-value head.
///
///     s(t, j) = scale q_t . k_j,   out_t = sum over j <= t of softmax(s(t, .))_j v_j
///
/// where a window leaves out all but the last keys, and a cap bends the scores. Two passes over the
/// keys: all scores of positions 0..t, their exact maximum and exponentials; then the chain over
/// keys 0..t. That costs memory for the scores, but no partial sum is ever rescaled. The same code
/// serves whole prompts, chunks and single decoded tokens, which is why a rollout's bits are the
/// trainer's.
///
/// A tile is up to 12 or 6 rows, a row being a (position, head of the group) pair, in ascending
/// order. Scores run keys across lanes (a page of keys is [D][16]), outputs run the head dimension
/// across lanes (a page of values is [16][D]), so both load whole vectors. Keys past a row's
/// position never reach its output, so the unwritten rest of a page may hold anything.
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#include <math.h>

#include "common/base/real.h"

enum { PAGE = 16 }; // TR_PAGE, which is LANES: a page of scores is a vector

typedef struct tile {
    const cpu_attention_t *job;
    size_t rows;
    float *query;  // [CPU_BLOCK_ROWS, D]
    float *scores; // [CPU_BLOCK_ROWS, stride]: first scores, then exponentials
    size_t stride;
    float *sum; // [CPU_BLOCK_ROWS, D]: outputs before the division
    size_t position[CPU_BLOCK_ROWS];
    float *out[CPU_BLOCK_ROWS];
    float *lse[CPU_BLOCK_ROWS];
} tile_t;

/// Scaled scores of R rows with the C pages from `page` on: one chain over d for each (row, key).
/// Pages are looked up in the sequence's table.
SIMD void scores_run(const tile_t *t, size_t page, float scale, const size_t R, const size_t C)
{
    const cpu_attention_t *job = t->job;
    const size_t dim = job->dim;
    const float *key[4];
    v16 sum[12][4];
#pragma GCC unroll 4
    for (size_t c = 0; c < C; c++) {
        key[c] = job->keys + (size_t)job->pages[page + c] * job->page_stride;
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++) {
            sum[r][c] = v_zero();
        }
    }
    const float *query = t->query;
    for (size_t d = 0; d < dim; d++) {
        v16 right[4];
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++) {
            right[c] = v_load(key[c] + d * PAGE);
        }
#pragma GCC unroll 12
        for (size_t r = 0; r < R; r++) {
            v16 left = v_set1(query[r * dim + d]);
#pragma GCC unroll 4
            for (size_t c = 0; c < C; c++) {
                sum[r][c] = v_fma(left, right[c], sum[r][c]);
            }
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++) {
            v_store(t->scores + r * t->stride + (page + c) * PAGE, v_mul(sum[r][c], v_set1(scale)));
        }
    }
}

/// Continues the sums of R rows, from row `row` on, over keys first..end-1, for vectors
/// column..column+C-1 of the head. `lanes` is less than 16 only for the last, partial vector of a
/// head dimension that is no multiple of 16; C is 1 then.
SIMD void values_run(const tile_t *t, size_t row, size_t first, size_t end, size_t column,
                     size_t lanes, const size_t R, const size_t C)
{
    const cpu_attention_t *job = t->job;
    const size_t dim = job->dim, stride = t->stride;
    float *out = t->sum + row * dim + column * LANES;
    v16 sum[12][4];
#pragma GCC unroll 12
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++) {
            float *p = out + r * dim + c * LANES;
            sum[r][c] = lanes < LANES ? v_load_n(p, lanes) : v_load(p);
        }
    }
    // Page by page: keys of a page lie side by side.
    for (size_t key = first; key < end;) {
        size_t stop = (key / PAGE + 1) * PAGE;
        stop = stop < end ? stop : end;
        const float *value =
            job->values + (size_t)job->pages[key / PAGE] * job->page_stride + column * LANES;
        const float *weight = t->scores + row * stride;
        for (; key < stop; key++) {
            const float *v = value + (key % PAGE) * dim;
            v16 right[4];
#pragma GCC unroll 4
            for (size_t c = 0; c < C; c++) {
                right[c] = lanes < LANES ? v_load_n(v, lanes) : v_load(v + c * LANES);
            }
#pragma GCC unroll 12
            for (size_t r = 0; r < R; r++) {
                v16 left = v_set1(weight[r * stride + key]);
#pragma GCC unroll 4
                for (size_t c = 0; c < C; c++) {
                    sum[r][c] = v_fma(left, right[c], sum[r][c]);
                }
            }
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < R; r++) {
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++) {
            float *p = out + r * dim + c * LANES;
            if (lanes < LANES) {
                v_store_n(p, sum[r][c], lanes);
            } else {
                v_store(p, sum[r][c]);
            }
        }
    }
}

// The instances for R rows: X(R, W), where W is the pages or vectors of the widest one. The sums
// are limited as in gemm.c.
// clang-format off
#if defined(__AVX512F__)
#define TILES(X)                                                                                   \
    X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 4) X(6, 4)                                                \
    X(7, 2) X(8, 2) X(9, 2) X(10, 2) X(11, 2) X(12, 2)
#else
#define TILES(X) X(1, 4) X(2, 2) X(3, 2) X(4, 1) X(5, 1) X(6, 1)
#endif
// clang-format on

typedef void scores_fn(const tile_t *t, size_t page, float scale);
typedef void values_fn(const tile_t *t, size_t row, size_t first, size_t end, size_t column);
typedef void rest_fn(const tile_t *t, size_t row, size_t first, size_t end, size_t column,
                     size_t lanes);

#define SCORES(name, R, C)                                            \
    static void name##_##R(const tile_t *t, size_t page, float scale) \
    {                                                                 \
        scores_run(t, page, scale, R, C);                             \
    }
#define VALUES(name, R, C)                                                                       \
    static void name##_##R(const tile_t *t, size_t row, size_t first, size_t end, size_t column) \
    {                                                                                            \
        values_run(t, row, first, end, column, LANES, R, C);                                     \
    }
#define REST(R)                                                                                \
    static void rest_##R(const tile_t *t, size_t row, size_t first, size_t end, size_t column, \
                         size_t lanes)                                                         \
    {                                                                                          \
        values_run(t, row, first, end, column, lanes, R, 1);                                   \
    }
#define DEFINE(R, W)          \
    SCORES(scores_wide, R, W) \
    SCORES(scores_one, R, 1) VALUES(values_wide, R, W) VALUES(values_one, R, 1) REST(R)
TILES(DEFINE)

/// One page or vector at a time where fewer than `width` are left, and the rest of a head that is
/// no whole vector.
#define TILE(R, W) \
    [R] = {W, scores_wide_##R, scores_one_##R, values_wide_##R, values_one_##R, rest_##R},
static const struct {
    size_t width; // of the wide ones
    scores_fn *scores_wide, *scores_one;
    values_fn *values_wide, *values_one;
    rest_fn *rest;
} tiles[] = {TILES(TILE)};

/// s = cap tanh(s / cap), for all scores of the tile from `page` on.
static void cap_scores(const tile_t *t, size_t page, size_t pages)
{
    const v16 cap = v_set1(t->job->cap);
    for (size_t r = 0; r < t->rows; r++) {
        for (float *s = t->scores + r * t->stride + page * PAGE;
             s < t->scores + r * t->stride + pages * PAGE; s += LANES) {
            v_store(s, v_mul(cap, v_tanh(v_div(v_load(s), cap))));
        }
    }
}

/// Scores of all rows with the keys from the first that the first row sees up to the last row's
/// position. Rows get scores of keys that they do not see too, which `exponentials` masks.
static void score(const tile_t *t)
{
    const size_t first = cpu_first_key(t->position[0], t->job->window) / PAGE;
    const size_t pages = t->position[t->rows - 1] / PAGE + 1;
    const float scale = t->job->scale;
    size_t page = first, width = tiles[t->rows].width;
    for (; page + width <= pages; page += width) {
        tiles[t->rows].scores_wide(t, page, scale);
    }
    for (; page < pages; page++) {
        tiles[t->rows].scores_one(t, page, scale);
    }
    if (t->job->cap > 0.0f) {
        cap_scores(t, first, pages);
    }
}

/// Turns a row's scores of keys first..n-1 into e^(s - max), and those from `from` on before them
/// into 0; returns their sum and gives the maximum. 16 lanes from the page of `first`, then the
/// tree: the shape depends on the position alone.
static float exponentials(float *score, size_t from, size_t first, size_t n, float *greatest)
{
    const size_t page = first / LANES * LANES;
    memset(score + from, 0, (page > from ? page - from : 0) * sizeof *score);
    for (size_t i = page; i < first; i++) {
        score[i] = -INFINITY; // whose exponential is 0
    }
    const v16 lowest = v_set1(-INFINITY);
    size_t whole = n / LANES * LANES, rest = n - whole;
    // A maximum has no order, so masked lanes need only be the lowest number.
    v16 most = lowest;
    for (size_t i = page; i < whole; i += LANES) {
        most = v_max(most, v_load(score + i));
    }
    if (rest > 0) {
        most = v_max(most, v_keep_n(v_load(score + whole), rest, lowest));
    }
    float max = v_greatest(most);
    v16 sum = v_zero();
    // e^(s - max) is at most 1, so the sum is at least 1 and cannot overflow.
    for (size_t i = page; i < whole; i += LANES) {
        v16 e = v_exp(v_sub(v_load(score + i), v_set1(max)));
        v_store(score + i, e);
        sum = v_add(sum, e);
    }
    if (rest > 0) {
        v16 e = v_exp(v_sub(v_load(score + whole), v_set1(max)));
        e = v_keep_n(e, rest, v_zero());
        v_store(score + whole, e);
        sum = v_add(sum, e);
    }
    *greatest = max;
    return v_sum(sum);
}

/// Adds the values of keys first..end-1 to rows from..rows-1.
static void add_values(const tile_t *t, size_t from, size_t first, size_t end)
{
    size_t rows = t->rows - from, vectors = t->job->dim / LANES, rest = t->job->dim % LANES;
    size_t column = 0, width = tiles[rows].width;
    for (; column + width <= vectors; column += width) {
        tiles[rows].values_wide(t, from, first, end, column);
    }
    for (; column < vectors; column++) {
        tiles[rows].values_one(t, from, first, end, column);
    }
    if (rest > 0) {
        tiles[rows].rest(t, from, first, end, vectors, rest);
    }
}

/// The chains over keys of all rows. Row r sees keys 0..position[r], and positions ascend: all rows
/// together take the keys up to the first row's position, then the rows after it those up to the
/// second's, and so on. Every row's chain still ascends. Keys before a row's window have weight 0,
/// and adding that to a sum of 0 changes nothing.
static void add_all_values(const tile_t *t)
{
    size_t done = cpu_first_key(t->position[0], t->job->window);
    for (size_t r = 0; r < t->rows; r++) {
        if (t->position[r] + 1 > done) {
            add_values(t, r, done, t->position[r] + 1);
            done = t->position[r] + 1;
        }
    }
}

/// One tile: scores, softmax statistics, weighted values, and the division at the end, once for
/// each output.
static void attend(tile_t *t)
{
    const size_t dim = t->job->dim;
    const size_t window = t->job->window, from = cpu_first_key(t->position[0], window);
    score(t);
    float sums[CPU_BLOCK_ROWS];
    for (size_t r = 0; r < t->rows; r++) {
        float max;
        sums[r] = exponentials(t->scores + r * t->stride, from,
                               cpu_first_key(t->position[r], window), t->position[r] + 1, &max);
        *t->lse[r] = max + (float)tr_real_log((double)sums[r]);
    }
    // The division by the sum comes last, one for each output instead of one for each weight.
    memset(t->sum, 0, t->rows * dim * sizeof *t->sum);
    add_all_values(t);
    for (size_t r = 0; r < t->rows; r++) {
        // NOLINTNEXTLINE(*UndefinedBinaryOperatorResult): t->rows is the same as in the loop above
        float factor = 1.0f / sums[r];
        for (size_t d = 0; d < dim; d++) {
            t->out[r][d] = t->sum[r * dim + d] * factor;
        }
    }
}

/// Cuts the slice into tiles. The heads of a group share their keys, so they are rows of the same
/// tile: one decoded token fills as many rows as its group has heads. Queries are copied together,
/// which makes them rows of stride D.
void CPU_NAME(cpu_attention)(const cpu_attention_t *job)
{
    tile_t t = {.job = job, .stride = cpu_round_up(job->longest, PAGE) + PAGE};
    t.query = job->scratch;
    t.sum = t.query + CPU_BLOCK_ROWS * job->dim;
    t.scores = t.sum + CPU_BLOCK_ROWS * job->dim;
    size_t all = job->rows * job->group;
    for (size_t i = 0; i < all;) {
        t.rows = all - i < CPU_BLOCK_ROWS ? all - i : CPU_BLOCK_ROWS;
        for (size_t r = 0; r < t.rows; r++, i++) {
            size_t row = i / job->group, head = i % job->group;
            memcpy(t.query + r * job->dim, job->query + row * job->query_stride + head * job->dim,
                   job->dim * sizeof(float));
            t.position[r] = (size_t)job->positions[row];
            t.out[r] = job->out + row * job->out_stride + head * job->dim;
            t.lse[r] = job->lse + row * job->lse_stride + head;
        }
        attend(&t);
    }
}

/// Scores have a page more than the longest sequence: whole vectors are stored past the last key.
size_t CPU_NAME(cpu_attention_scratch)(size_t longest, size_t dim)
{
    return CPU_BLOCK_ROWS * (2 * dim + cpu_round_up(longest, PAGE) + PAGE);
}
