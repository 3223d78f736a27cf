/// Causal grouped-query attention over the paged cache: the kernel for one slice of queries of one
/// sequence and key-value head.
///
///     s(t, j) = q_t . k_j / sqrt(D),   out_t = sum over j <= t of softmax(s(t, .))_j v_j
///
/// Two passes over the keys: all scores of positions 0..t, their exact maximum and exponentials;
/// then the chain over keys 0..t. That costs memory for the scores, but no partial sum is ever
/// rescaled. The same code serves whole prompts, chunks and single decoded tokens, which is why a
/// rollout's bits are the trainer's.
///
/// A tile is up to 12 or 6 rows, a row being a (position, head of the group) pair, in ascending
/// order. Scores run keys across lanes (a page of keys is [D][16]), outputs run the head dimension
/// across lanes (a page of values is [16][D]), so both load whole vectors. Keys past a row's
/// position never reach its output, so the unwritten rest of a page may hold anything.
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#include <math.h>

#include "common/base/real.h"

#if defined(__AVX512F__)
/// As in gemm.c: rows x vectors of sums that fit the registers.
enum { TILE_ROWS = 12 };
#else
enum { TILE_ROWS = 6 };
#endif
enum { PAGE = 16 }; // TR_PAGE, which is LANES: a page of scores is a vector

typedef struct tile {
    const cpu_attention_t *job;
    size_t rows;
    float *query;  // [TILE_ROWS, D]
    float *scores; // [TILE_ROWS, stride]: first scores, then exponentials
    size_t stride;
    float *sum; // [TILE_ROWS, D]: outputs before the division
    size_t position[TILE_ROWS];
    float *out[TILE_ROWS];
    float *lse[TILE_ROWS];
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

/// Tables of the instances, by the number of rows: `wide` takes several pages or vectors at once,
/// `one` a single one, `partial` the rest of a head.
typedef void scores_fn(const tile_t *t, size_t page, float scale);
typedef void values_fn(const tile_t *t, size_t row, size_t first, size_t end, size_t column);
typedef void partial_fn(const tile_t *t, size_t row, size_t first, size_t end, size_t column,
                        size_t lanes);

#define SCORES(R, C)                                                        \
    static void scores_##R##x##C(const tile_t *t, size_t page, float scale) \
    {                                                                       \
        scores_run(t, page, scale, R, C);                                   \
    }
#define VALUES(R, C)                                                                    \
    static void values_##R##x##C(const tile_t *t, size_t row, size_t first, size_t end, \
                                 size_t column)                                         \
    {                                                                                   \
        values_run(t, row, first, end, column, LANES, R, C);                            \
    }
#define PARTIAL(R)                                                                                \
    static void partial_##R(const tile_t *t, size_t row, size_t first, size_t end, size_t column, \
                            size_t n)                                                             \
    {                                                                                             \
        values_run(t, row, first, end, column, n, R, 1);                                          \
    }
#define ROWS(R, C) SCORES(R, 1) SCORES(R, C) VALUES(R, 1) VALUES(R, C) PARTIAL(R)

#if defined(__AVX512F__)
ROWS(1, 4)
ROWS(2, 4)
ROWS(3, 4)
ROWS(4, 4)
ROWS(5, 4)
ROWS(6, 4)
ROWS(7, 2)
ROWS(8, 2)
ROWS(9, 2)
ROWS(10, 2)
ROWS(11, 2)
ROWS(12, 2)
static const size_t wide_columns[] = {0, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2};
#define EACH_WIDE(f)                                                                           \
    {                                                                                          \
        NULL, f##_1x4, f##_2x4, f##_3x4, f##_4x4, f##_5x4, f##_6x4, f##_7x2, f##_8x2, f##_9x2, \
            f##_10x2, f##_11x2, f##_12x2                                                       \
    }
#define EACH_ONE(f)                                                                            \
    {                                                                                          \
        NULL, f##_1x1, f##_2x1, f##_3x1, f##_4x1, f##_5x1, f##_6x1, f##_7x1, f##_8x1, f##_9x1, \
            f##_10x1, f##_11x1, f##_12x1                                                       \
    }
static partial_fn *const partial[] = {NULL,       partial_1,  partial_2, partial_3, partial_4,
                                      partial_5,  partial_6,  partial_7, partial_8, partial_9,
                                      partial_10, partial_11, partial_12};
#else
ROWS(1, 4)
ROWS(2, 2)
ROWS(3, 2)
SCORES(4, 1)
SCORES(5, 1)
SCORES(6, 1)
VALUES(4, 1)
VALUES(5, 1)
VALUES(6, 1)
PARTIAL(4)
PARTIAL(5)
PARTIAL(6)
static const size_t wide_columns[] = {0, 4, 2, 2, 1, 1, 1};
#define EACH_WIDE(f)                                               \
    {                                                              \
        NULL, f##_1x4, f##_2x2, f##_3x2, f##_4x1, f##_5x1, f##_6x1 \
    }
#define EACH_ONE(f)                                                \
    {                                                              \
        NULL, f##_1x1, f##_2x1, f##_3x1, f##_4x1, f##_5x1, f##_6x1 \
    }
static partial_fn *const partial[] = {NULL,      partial_1, partial_2, partial_3,
                                      partial_4, partial_5, partial_6};
#endif
static scores_fn *const scores_wide[] = EACH_WIDE(scores);
static scores_fn *const scores_one[] = EACH_ONE(scores);
static values_fn *const values_wide[] = EACH_WIDE(values);
static values_fn *const values_one[] = EACH_ONE(values);

/// Scores of all rows with all keys up to the last row's position. Earlier rows get scores past
/// their own position, which `exponentials` masks.
static void score(const tile_t *t, float scale)
{
    size_t pages = t->position[t->rows - 1] / PAGE + 1;
    size_t page = 0;
    for (; page + wide_columns[t->rows] <= pages; page += wide_columns[t->rows]) {
        scores_wide[t->rows](t, page, scale);
    }
    for (; page < pages; page++) {
        scores_one[t->rows](t, page, scale);
    }
}

/// Turns a row's scores of keys 0..n-1 into e^(s - max); returns their sum and gives the maximum.
/// 16 lanes from key 0, then the tree: the shape depends on n alone.
static float exponentials(float *score, size_t n, float *greatest)
{
    const v16 lowest = v_set1(-INFINITY);
    size_t whole = n / LANES * LANES, rest = n - whole;
    v16 most = lowest;
    for (size_t i = 0; i < whole; i += LANES) {
        most = v_max(most, v_load(score + i));
    }
    if (rest > 0) {
        most = v_max(most, v_keep_n(v_load(score + whole), rest, lowest));
    }
    float max = v_greatest(most);
    v16 sum = v_zero();
    for (size_t i = 0; i < whole; i += LANES) {
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
    size_t column = 0;
    for (; column + wide_columns[rows] <= vectors; column += wide_columns[rows]) {
        values_wide[rows](t, from, first, end, column);
    }
    for (; column < vectors; column++) {
        values_one[rows](t, from, first, end, column);
    }
    if (rest > 0) {
        partial[rows](t, from, first, end, vectors, rest);
    }
}

/// The chains over keys of all rows. Row r sees keys 0..position[r], and positions ascend: all rows
/// together take the keys up to the first row's position, then the rows after it those up to the
/// second's, and so on. Every row's chain still ascends.
static void add_all_values(const tile_t *t)
{
    size_t done = 0;
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
    score(t, 1.0f / sqrtf((float)dim));
    float sums[TILE_ROWS];
    for (size_t r = 0; r < t->rows; r++) {
        float max;
        sums[r] = exponentials(t->scores + r * t->stride, t->position[r] + 1, &max);
        *t->lse[r] = max + (float)tr_real_log((double)sums[r]);
    }
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
void CPU_NAME(cpu_attention)(const cpu_attention_t *job);

void CPU_NAME(cpu_attention)(const cpu_attention_t *job)
{
    tile_t t = {.job = job, .stride = cpu_round_up(job->longest, PAGE) + PAGE};
    t.query = job->scratch;
    t.sum = t.query + TILE_ROWS * job->dim;
    t.scores = t.sum + TILE_ROWS * job->dim;
    size_t all = job->rows * job->group;
    for (size_t i = 0; i < all;) {
        t.rows = all - i < TILE_ROWS ? all - i : TILE_ROWS;
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
size_t CPU_NAME(cpu_attention_scratch)(size_t longest, size_t dim);

size_t CPU_NAME(cpu_attention_scratch)(size_t longest, size_t dim)
{
    return TILE_ROWS * (2 * dim + cpu_round_up(longest, PAGE) + PAGE);
}
