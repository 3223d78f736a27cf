/// Kernels of the gated delta net (Yang et al. 2025): the short causal convolution, the gates, the
/// recurrence and its gradient.
///
/// The recurrence goes token by token, whether they come one by one or a prompt at a time: that is
/// what makes a rollout's bits the trainer's. Lanes are columns of the state, which do not meet;
/// sums over its rows are chains in ascending order, sums over its columns have the shape of
/// cpu_dot.
#include <string.h>

#include "common/base/real.h"
#include "common/tensor/cpu/kernels.h"
#include "common/tensor/cpu/simd.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

// The convolution

/// The weights of some channels, tap by tap: [taps][LANES].
static void take_taps(float *taps, const float *weight, size_t count, size_t lanes)
{
    for (size_t j = 0; j < count; j++) {
        for (size_t i = 0; i < LANES; i++) {
            taps[j * LANES + i] = i < lanes ? weight[i * count + j] : 0.0f;
        }
    }
}

/// Up to 16 inputs of the row `back` before row r; zeros before the sequence.
SIMD v16 input_at(const cpu_convolution_t *c, size_t channel, size_t r, size_t back, size_t lanes)
{
    if (r >= back) {
        return v_load_n(c->x + (r - back) * c->x_stride + channel, lanes);
    }
    return c->fresh ? v_zero()
                    : v_load_n(c->kept + (c->taps - 1 + r - back) * c->channels + channel, lanes);
}

/// The sums of row r, the oldest input first.
SIMD v16 convolve(const cpu_convolution_t *c, const float *taps, size_t channel, size_t r,
                  size_t lanes)
{
    v16 sum = v_zero();
    for (size_t j = 0; j < c->taps; j++) {
        v16 x = input_at(c, channel, r, c->taps - 1 - j, lanes);
        sum = v_fma(v_load(taps + j * LANES), x, sum);
    }
    return sum;
}

/// The last inputs, for the tokens to come. Ascending: where the rows are few, older ones move up.
static void keep_inputs(const cpu_convolution_t *c, size_t first, size_t count)
{
    for (size_t k = 0; k + 1 < c->taps; k++) {
        const size_t back = c->taps - 1 - k; // before the next row
        float *to = c->kept + k * c->channels + first;
        if (c->rows >= back) {
            memcpy(to, c->x + (c->rows - back) * c->x_stride + first, count * sizeof *to);
        } else if (c->fresh) {
            memset(to, 0, count * sizeof *to);
        } else {
            memcpy(to, to + c->rows * c->channels, count * sizeof *to);
        }
    }
}

void CPU_NAME(cpu_convolution)(const cpu_convolution_t *c, size_t first, size_t count)
{
    float taps[TR_TAPS * LANES];
    for (size_t i = 0; i < count; i += LANES) {
        const size_t channel = first + i, lanes = least(count - i, LANES);
        take_taps(taps, c->weight + channel * c->taps, c->taps, lanes);
        for (size_t r = 0; r < c->rows; r++) {
            v16 u = convolve(c, taps, channel, r, lanes);
            v_store_n(c->y + r * c->channels + channel, v_mul(u, v_sigmoid(u)), lanes);
        }
    }
    if (c->kept != NULL) {
        keep_inputs(c, first, count);
    }
}

/// d becomes the gradient of the sums, before SiLU.
static void convolution_slopes(const cpu_convolution_t *c, const float *taps, size_t channel,
                               size_t lanes)
{
    const v16 one = v_set1(1.0f);
    for (size_t r = 0; r < c->rows; r++) {
        float *d = c->y + r * c->channels + channel;
        v16 u = convolve(c, taps, channel, r, lanes), s = v_sigmoid(u);
        v16 slope = v_mul(s, v_fma(u, v_sub(one, s), one));
        v_store_n(d, v_mul(v_load_n(d, lanes), slope), lanes);
    }
}

/// dx_r = sum of weight[taps - 1 - back] d_(r + back), back ascending.
static void convolution_dx(const cpu_convolution_t *c, const float *taps, size_t channel,
                           size_t lanes)
{
    for (size_t r = 0; r < c->rows; r++) {
        v16 sum = v_zero();
        for (size_t back = 0; back < c->taps && r + back < c->rows; back++) {
            v16 d = v_load_n(c->y + (r + back) * c->channels + channel, lanes);
            sum = v_fma(v_load(taps + (c->taps - 1 - back) * LANES), d, sum);
        }
        v_store_n(c->dx + r * c->dx_stride + channel, sum, lanes);
    }
}

/// dweight[j] continues with d_r x_(r - taps + 1 + j), r ascending.
static void convolution_dweight(const cpu_convolution_t *c, size_t channel, size_t lanes)
{
    float sums[TR_TAPS * LANES];
    float *dweight = c->dweight + channel * c->taps;
    take_taps(sums, dweight, c->taps, lanes);
    for (size_t j = 0; j < c->taps; j++) {
        v16 sum = v_load(sums + j * LANES);
        for (size_t r = 0; r < c->rows; r++) {
            v16 d = v_load_n(c->y + r * c->channels + channel, lanes);
            sum = v_fma(d, input_at(c, channel, r, c->taps - 1 - j, lanes), sum);
        }
        v_store(sums + j * LANES, sum);
        for (size_t i = 0; i < lanes; i++) {
            dweight[i * c->taps + j] = sums[j * LANES + i];
        }
    }
}

void CPU_NAME(cpu_convolution_gradient)(const cpu_convolution_t *c, size_t first, size_t count)
{
    float taps[TR_TAPS * LANES];
    for (size_t i = 0; i < count; i += LANES) {
        const size_t channel = first + i, lanes = least(count - i, LANES);
        take_taps(taps, c->weight + channel * c->taps, c->taps, lanes);
        convolution_slopes(c, taps, channel, lanes);
        convolution_dx(c, taps, channel, lanes);
        convolution_dweight(c, channel, lanes);
    }
}

// The gates

/// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), the logarithm in double: in float a small e^x is
/// lost beside 1.
SIMD v16 softplus(v16 x)
{
    const v16 zero = v_zero();
    float small[LANES];
    v_store(small, v_exp(v_min(x, v_sub(zero, x))));
    for (size_t i = 0; i < LANES; i++) {
        small[i] = (float)tr_real_log(1.0 + (double)small[i]);
    }
    return v_add(v_max(x, zero), v_load(small));
}

void CPU_NAME(cpu_delta_gates)(float *decay, float *beta, const float *a, const float *b,
                               const float *scale, const float *shift, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const size_t lanes = least(n - i, LANES);
        v16 soft = softplus(v_add(v_load_n(a + i, lanes), v_load_n(shift + i, lanes)));
        v16 g = v_mul(v_exp(v_load_n(scale + i, lanes)), soft);
        v_store_n(decay + i, v_exp(v_sub(v_zero(), g)), lanes);
        v_store_n(beta + i, v_sigmoid(v_load_n(b + i, lanes)), lanes);
    }
}

void CPU_NAME(cpu_delta_gates_gradient)(float *da, float *db, float *dscale, float *dshift,
                                        const float *ddecay, const float *dbeta, const float *a,
                                        const float *b, const float *scale, const float *shift,
                                        size_t n)
{
    const v16 zero = v_zero(), one = v_set1(1.0f);
    for (size_t i = 0; i < n; i += LANES) {
        const size_t lanes = least(n - i, LANES);
        v16 x = v_add(v_load_n(a + i, lanes), v_load_n(shift + i, lanes));
        v16 rate = v_exp(v_load_n(scale + i, lanes)), g = v_mul(rate, softplus(x));
        // decay = e^-g, so the gradient of -g is ddecay decay.
        v16 dg = v_mul(v_load_n(ddecay + i, lanes), v_exp(v_sub(zero, g)));
        v16 d = v_mul(v_sub(zero, v_mul(dg, rate)), v_sigmoid(x));
        v16 s = v_sigmoid(v_load_n(b + i, lanes));
        v_store_n(da + i, d, lanes);
        v_store_n(db + i, v_mul(v_load_n(dbeta + i, lanes), v_mul(s, v_sub(one, s))), lanes);
        v_store_n(dshift + i, v_add(v_load_n(dshift + i, lanes), d), lanes);
        v_store_n(dscale + i, v_sub(v_load_n(dscale + i, lanes), v_mul(dg, g)), lanes);
    }
}

// The recurrence

enum { TILE = 4 }; // vectors of columns that go together: their chains overlap

/// A token: what it does to columns of the state, and what is read from them.
typedef struct token {
    const float *query, *key, *value; // value, error and out: of these columns
    float decay, beta;
    size_t key_dim;
    float *error; // e = v - decay S^T k; NULL: not wanted
    float *out;   // NULL: not wanted, and neither is query
} token_t;

/// to = decay from + key (beta e)^T, on 16 times `vectors` columns, or `lanes` in one; `to` may be
/// `from`.
SIMD void advance(const token_t *t, float *to, size_t to_stride, const float *from,
                  size_t from_stride, size_t vectors, size_t lanes)
{
    const v16 decay = v_set1(t->decay), beta = v_set1(t->beta);
    v16 e[TILE], out[TILE];
    for (size_t w = 0; w < vectors; w++) {
        e[w] = out[w] = v_zero();
    }
    for (size_t i = 0; i < t->key_dim; i++) {
        const v16 k = v_set1(t->key[i]);
        for (size_t w = 0; w < vectors; w++) {
            e[w] = v_fma(k, v_load_n(from + i * from_stride + w * LANES, lanes), e[w]);
        }
    }
    for (size_t w = 0; w < vectors; w++) {
        e[w] = v_sub(v_load_n(t->value + w * LANES, lanes), v_mul(decay, e[w]));
        if (t->error != NULL) {
            v_store_n(t->error + w * LANES, e[w], lanes);
        }
        e[w] = v_mul(beta, e[w]);
    }
    for (size_t i = 0; i < t->key_dim; i++) {
        const v16 k = v_set1(t->key[i]), q = v_set1(t->out != NULL ? t->query[i] : 0.0f);
        for (size_t w = 0; w < vectors; w++) {
            v16 s = v_load_n(from + i * from_stride + w * LANES, lanes);
            s = v_fma(k, e[w], v_mul(decay, s));
            v_store_n(to + i * to_stride + w * LANES, s, lanes);
            out[w] = v_fma(q, s, out[w]);
        }
    }
    for (size_t w = 0; w < vectors && t->out != NULL; w++) {
        v_store_n(t->out + w * LANES, out[w], lanes);
    }
}

size_t CPU_NAME(cpu_delta_scratch)(size_t key_dim)
{
    return key_dim * TILE * LANES;
}

/// All rows on some columns, whose part of the state stays in the first-level cache.
SIMD void delta_columns(const cpu_delta_t *d, size_t first, size_t vectors, size_t lanes)
{
    const size_t stride = d->state != NULL ? d->value_dim : (size_t)TILE * LANES;
    float *state = d->state != NULL ? d->state + first : d->scratch;
    for (size_t i = 0; i < d->key_dim && d->fresh; i++) {
        memset(state + i * stride, 0, ((vectors - 1) * LANES + lanes) * sizeof *state);
    }
    for (size_t r = 0; r < d->rows; r++) {
        const token_t token = {.query = d->query + r * d->stride,
                               .key = d->key + r * d->stride,
                               .value = d->value + r * d->stride + first,
                               .decay = d->decay[r * d->gate_stride],
                               .beta = d->beta[r * d->gate_stride],
                               .key_dim = d->key_dim,
                               .out = d->out + r * d->out_stride + first};
        advance(&token, state, stride, state, stride, vectors, lanes);
    }
}

void CPU_NAME(cpu_delta)(const cpu_delta_t *d)
{
    size_t j = 0;
    for (; j + (size_t)TILE * LANES <= d->value_dim; j += (size_t)TILE * LANES) {
        delta_columns(d, j, TILE, LANES);
    }
    for (; j < d->value_dim; j += LANES) {
        delta_columns(d, j, 1, least(d->value_dim - j, LANES));
    }
}

/// Parts of the scratch memory of a gradient.
typedef struct delta_work {
    size_t interval;
    float *kept;    // [ceil(rows / interval)][K, V] states before the first token of an interval
    float *states;  // [interval + 1][K, V] before and after each token of one
    float *errors;  // [interval][V]
    float *dstate;  // [K, V]
    float *dchange; // [V] of beta e
    float *change;  // [V] beta e
    float *dread;   // [V] of decay S^T k
} delta_work_t;

size_t CPU_NAME(cpu_delta_gradient_scratch)(size_t rows, size_t key_dim, size_t value_dim)
{
    const size_t interval = tr_delta_interval(rows);
    return (2 * interval + 2) * key_dim * value_dim + (interval + 3) * value_dim;
}

static delta_work_t work_of(const cpu_delta_gradient_t *g)
{
    const size_t state = g->key_dim * g->value_dim, interval = tr_delta_interval(g->rows);
    delta_work_t work = {.interval = interval, .kept = g->scratch};
    work.states = work.kept + interval * state;
    work.dstate = work.states + (interval + 1) * state;
    work.errors = work.dstate + state;
    work.dchange = work.errors + interval * g->value_dim;
    work.change = work.dchange + g->value_dim;
    work.dread = work.change + g->value_dim;
    return work;
}

/// The state after row r from the one before it.
static void advance_whole(const cpu_delta_gradient_t *g, size_t r, float *to, const float *from,
                          float *errors)
{
    token_t token = {.key = g->key + r * g->stride,
                     .decay = g->decay[r * g->gate_stride],
                     .beta = g->beta[r * g->gate_stride],
                     .key_dim = g->key_dim};
    const size_t n = g->value_dim;
    for (size_t j = 0; j < n;) {
        const bool wide = j + (size_t)TILE * LANES <= n;
        token.value = g->value + r * g->stride + j;
        token.error = errors + j;
        if (wide) {
            advance(&token, to + j, n, from + j, n, TILE, LANES);
        } else {
            advance(&token, to + j, n, from + j, n, 1, least(n - j, LANES));
        }
        j += wide ? (size_t)TILE * LANES : (size_t)LANES;
    }
}

/// y += factor x
static void add_scaled(float *y, float factor, const float *x, size_t n)
{
    for (size_t j = 0; j < n; j += LANES) {
        const size_t lanes = least(n - j, LANES);
        v_store_n(y + j, v_fma(v_set1(factor), v_load_n(x + j, lanes), v_load_n(y + j, lanes)),
                  lanes);
    }
}

static void scale_row(float *y, float factor, size_t n)
{
    CPU_NAME(cpu_scale)(y, y, factor, n);
}

static void put(float *place, float value, bool continues)
{
    *place = continues ? *place + value : value;
}

/// Row r, given the gradient of the state after it in work->dstate, which becomes that of the state
/// before it. before, after: these states.
static void delta_back(const cpu_delta_gradient_t *g, const delta_work_t *work, size_t r,
                       const float *before, const float *after, const float *errors)
{
    const size_t n = g->value_dim;
    const float *q = g->query + r * g->stride, *k = g->key + r * g->stride;
    const float *dout = g->dout + r * g->out_stride;
    float *dq = g->dquery + r * g->stride, *dk = g->dkey + r * g->stride;
    const float decay = g->decay[r * g->gate_stride], beta = g->beta[r * g->gate_stride];
    float ddecay = 0.0f;
    memset(work->dchange, 0, n * sizeof(float));
    CPU_NAME(cpu_scale)(work->change, errors, beta, n);
    // out = S^T q, and S = decay S + k change^T.
    for (size_t i = 0; i < g->key_dim; i++) {
        float *row = work->dstate + i * n;
        add_scaled(row, q[i], dout, n);
        add_scaled(work->dchange, k[i], row, n);
        put(&dq[i], CPU_NAME(cpu_dot)(after + i * n, dout, n), g->continues);
        put(&dk[i], CPU_NAME(cpu_dot)(row, work->change, n), g->continues);
    }
    // change = beta e, e = v - decay S^T k.
    g->dbeta[r * g->gate_stride] = CPU_NAME(cpu_dot)(work->dchange, errors, n);
    CPU_NAME(cpu_scale)(g->dvalue + r * g->stride, work->dchange, beta, n);
    CPU_NAME(cpu_scale)(work->dread, work->dchange, -beta, n);
    for (size_t i = 0; i < g->key_dim; i++) {
        float *row = work->dstate + i * n;
        const float *state = before + i * n;
        dk[i] = dk[i] + decay * CPU_NAME(cpu_dot)(state, work->dread, n);
        add_scaled(row, k[i], work->dread, n);
        ddecay = ddecay + CPU_NAME(cpu_dot)(row, state, n);
        scale_row(row, decay, n);
    }
    g->ddecay[r * g->gate_stride] = ddecay;
}

void CPU_NAME(cpu_delta_gradient)(const cpu_delta_gradient_t *g)
{
    const delta_work_t work = work_of(g);
    const size_t size = g->key_dim * g->value_dim, n = g->value_dim;
    float *state = work.states;
    memset(state, 0, size * sizeof *state);
    for (size_t r = 0; r < g->rows; r++) {
        if (r % work.interval == 0) {
            memcpy(work.kept + r / work.interval * size, state, size * sizeof *state);
        }
        advance_whole(g, r, state, state, work.errors);
    }
    memset(work.dstate, 0, size * sizeof *work.dstate);
    for (size_t part = (g->rows - 1) / work.interval + 1; part-- > 0;) {
        const size_t first = part * work.interval, count = least(g->rows - first, work.interval);
        memcpy(work.states, work.kept + part * size, size * sizeof *state);
        for (size_t i = 0; i < count; i++) {
            advance_whole(g, first + i, work.states + (i + 1) * size, work.states + i * size,
                          work.errors + i * n);
        }
        for (size_t i = count; i-- > 0;) {
            delta_back(g, &work, first + i, work.states + i * size, work.states + (i + 1) * size,
                       work.errors + i * n);
        }
    }
}
