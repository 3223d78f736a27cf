/// The gradient of attention for one whole sequence and one key-value head, from the log-sum-exp
/// that the forward pass kept (Dao et al. 2022, algorithm 4):
///
///     p = exp(s - lse)        dp = dout . v          delta = dout . out
///     ds = p (dp - delta) scale, and where scores were capped times (1 - (s / cap)^2)
///     dq += ds k              dk += ds q             dv += p dout
///
/// Queries go in blocks of positions from 0, so that p and ds exist for a block only. All products
/// are calls of the matrix kernel (gemm.c) on copies in panels. Chains: dq over keys ascending; dk
/// and dv over (position, head of the group) ascending, continued from block to block. Where a key
/// is past the query, or before its window, the factor is an exact 0.
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

#include <math.h>

/// (position, head) rows in a block, about. The same in every form, unlike the tiles of gemm.c: a
/// chain over keys runs to the end of its block, so the block's size is part of the bits
/// (common/tensor/cuda/attention_gradient.cu uses the same).
enum { BLOCK_ROWS = 32 };

/// Scratch memory of one call. Panels are blocks of 32 columns, as gemm.c reads them.
typedef struct work {
    const cpu_attention_gradient_t *job;
    size_t block;         // positions in a block
    size_t score_width;   // floats from one row of scores to the next
    float *key_columns;   // panels over keys of [D]: for scores
    float *value_columns; // likewise: for dp
    float *key_rows;      // panels over D of [rows]: for dq
    float *dkey;          // [rows, D]
    float *dvalue;        // [rows, D]
    float *query;         // [block * group, D]
    float *dout;          // likewise
    float *query_panels;  // panels over D of [block * group]: for dk
    float *dout_panels;   // likewise: for dv
    float *probability;   // [block * group, score_width]
    float *dscore;        // likewise
    float *dquery;        // [block * group, D]
} work_t;

/// The next `count` floats of the scratch memory, in whole vectors.
static float *take(float *base, size_t *used, size_t count)
{
    float *result = base == NULL ? NULL : base + *used;
    *used += cpu_round_up(count, LANES);
    return result;
}

/// Divides the scratch memory; returns its size in floats. With a NULL base only the size is of
/// interest.
static size_t lay_out(work_t *w, float *base, size_t rows, size_t group, size_t dim)
{
    size_t used = 0;
    size_t columns = cpu_round_up(dim, CPU_PANEL), keys = cpu_round_up(rows, CPU_PANEL);
    // Positions of a block: 32 rows, or 8 positions where the group has four heads or more.
    w->block = group < BLOCK_ROWS / 8 ? BLOCK_ROWS / group : 8;
    // A vector more than the keys, so that rows of scores do not lie a multiple of 4096 bytes
    // apart.
    w->score_width = keys + LANES;
    size_t count = w->block * group;
    w->key_columns = take(base, &used, keys * dim);
    w->value_columns = take(base, &used, keys * dim);
    w->key_rows = take(base, &used, rows * columns);
    w->dkey = take(base, &used, rows * dim);
    w->dvalue = take(base, &used, rows * dim);
    w->query = take(base, &used, count * dim);
    w->dout = take(base, &used, count * dim);
    w->query_panels = take(base, &used, count * columns);
    w->dout_panels = take(base, &used, count * columns);
    w->probability = take(base, &used, count * w->score_width);
    w->dscore = take(base, &used, count * w->score_width);
    w->dquery = take(base, &used, count * dim);
    return used;
}

/// p and ds of one row at position t, in place of s and dp; zeros for keys that it does not see up
/// to `width`.
static void row_gradient(float *score, float *dscore, size_t t, size_t width,
                         const cpu_attention_gradient_t *job, float lse, float delta)
{
    const v16 zero = v_zero(), one = v_set1(1.0f), scale = v_set1(job->scale),
              cap = v_set1(job->cap);
    const size_t first = cpu_first_key(t, job->window);
    for (size_t i = 0; i < width; i += LANES) {
        v16 s = v_mul(v_load(score + i), scale), slope = scale;
        if (job->cap > 0.0f) {
            const v16 bent = v_tanh(v_div(s, cap));
            s = v_mul(cap, bent);
            slope = v_mul(scale, v_sub(one, v_mul(bent, bent)));
        }
        v16 p = v_exp(v_sub(s, v_set1(lse)));
        v16 ds = v_mul(v_mul(p, v_sub(v_load(dscore + i), v_set1(delta))), slope);
        size_t left = t + 1 > i ? t + 1 - i : 0, before = first > i ? first - i : 0;
        if (left < LANES) {
            p = v_keep_n(p, left, zero);
            ds = v_keep_n(ds, left, zero);
        }
        if (before > 0) {
            before = before < LANES ? before : LANES;
            p = v_keep_n(zero, before, p);
            ds = v_keep_n(zero, before, ds);
        }
        v_store(score + i, p);
        v_store(dscore + i, ds);
    }
}

/// y: [rows, columns] from a and panels of `panel_rows` steps each, of which the chain takes the
/// first k.
static void product(cpu_gemm_mode_t mode, float *y, size_t y_stride, const float *a, size_t a_row,
                    size_t a_k, const float *panels, size_t rows, size_t columns, size_t k,
                    size_t panel_rows)
{
    const cpu_gemm_t gemm = {
        .y = y,
        .y_stride = y_stride,
        .a = a,
        .a_row = a_row,
        .a_k = a_k,
        .b = panels,
        .b_k = CPU_PANEL,
        .b_panel = panel_rows * CPU_PANEL,
        .rows = rows,
        .columns = columns,
        .k = k,
        .mode = mode,
    };
    CPU_NAME(cpu_gemm)(&gemm);
}

/// Copies the block's queries and output gradients together, row (position, head), and packs both
/// for dk and dv.
static void gather(const work_t *w, size_t first, size_t positions)
{
    const cpu_attention_gradient_t *job = w->job;
    size_t bytes = job->group * job->dim * sizeof(float); // the heads of a group are neighbours
    for (size_t i = 0; i < positions; i++) {
        memcpy(w->query + i * job->group * job->dim, job->query + (first + i) * job->stride, bytes);
        memcpy(w->dout + i * job->group * job->dim, job->dout + (first + i) * job->out_stride,
               bytes);
    }
    const size_t rows = positions * job->group;
    cpu_pack_panels(w->query_panels, &(cpu_stored_t){w->query, 1, job->dim, 0}, job->dim, rows);
    cpu_pack_panels(w->dout_panels, &(cpu_stored_t){w->dout, 1, job->dim, 0}, job->dim, rows);
}

/// The block's dq, and what it adds to dk and dv. Keys after the block's last position are not
/// touched.
static void block_gradient(const work_t *w, size_t first, size_t positions)
{
    const cpu_attention_gradient_t *job = w->job;
    const size_t dim = job->dim, group = job->group, n = positions * group,
                 keys = first + positions;
    const size_t width = w->score_width;
    // s and dp: rows against all keys so far.
    gather(w, first, positions);
    product(CPU_WRITE, w->probability, width, w->query, dim, 1, w->key_columns, n, keys, dim, dim);
    product(CPU_WRITE, w->dscore, width, w->dout, dim, 1, w->value_columns, n, keys, dim, dim);
    // s and dp become p and ds, a row after another.
    for (size_t r = 0; r < n; r++) {
        size_t row = first + r / group, head = r % group;
        float delta = CPU_NAME(cpu_dot)(w->dout + r * dim,
                                        job->out + row * job->out_stride + head * dim, dim);
        row_gradient(w->probability + r * width, w->dscore + r * width, row,
                     cpu_round_up(keys, LANES), job, job->lse[row * job->lse_stride + head], delta);
    }
    // dq: the chain over the block's keys.
    product(CPU_WRITE, w->dquery, dim, w->dscore, width, 1, w->key_rows, n, dim, keys, job->rows);
    // dv and dk: p and ds are read transposed (steps 1 and width change places), a chain over the
    // block's rows, which continues from the blocks before.
    product(CPU_CONTINUE, w->dvalue, dim, w->probability, 1, width, w->dout_panels, keys, dim, n,
            n);
    product(CPU_CONTINUE, w->dkey, dim, w->dscore, 1, width, w->query_panels, keys, dim, n, n);
    for (size_t i = 0; i < positions; i++) {
        memcpy(job->dquery + (first + i) * job->stride, w->dquery + i * group * dim,
               group * dim * sizeof(float));
    }
}

void CPU_NAME(cpu_attention_gradient)(const cpu_attention_gradient_t *job)
{
    work_t w = {.job = job};
    lay_out(&w, job->scratch, job->rows, job->group, job->dim);
    // Keys and values as columns, for scores and dp; keys as rows too, for dq.
    const size_t rows = job->rows, dim = job->dim, stride = job->stride;
    cpu_pack_panels(w.key_columns, &(cpu_stored_t){job->key, stride, 1, 0}, rows, dim);
    cpu_pack_panels(w.value_columns, &(cpu_stored_t){job->value, stride, 1, 0}, rows, dim);
    cpu_pack_panels(w.key_rows, &(cpu_stored_t){job->key, 1, stride, 0}, dim, rows);
    memset(w.dkey, 0, job->rows * job->dim * sizeof(float));
    memset(w.dvalue, 0, job->rows * job->dim * sizeof(float));
    for (size_t first = 0; first < job->rows; first += w.block) {
        size_t left = job->rows - first;
        block_gradient(&w, first, left < w.block ? left : w.block);
    }
    // dk and dv were summed in compact rows; qkv's rows have all heads.
    for (size_t i = 0; i < job->rows; i++) {
        memcpy(job->dkey + i * job->stride, w.dkey + i * job->dim, job->dim * sizeof(float));
        memcpy(job->dvalue + i * job->stride, w.dvalue + i * job->dim, job->dim * sizeof(float));
    }
}

size_t CPU_NAME(cpu_attention_gradient_scratch)(size_t rows, size_t group, size_t dim)
{
    work_t w = {0};
    return lay_out(&w, NULL, rows, group, dim);
}
