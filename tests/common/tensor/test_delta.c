/// The gated delta net: convolution, gates and recurrence by their formulas in double, gradients by
/// differences, equal bits for every instruction set, number of threads and way to cut sequences
/// into spans; gates of rows and pieces of them.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/tensors.h"

enum { S = 3, T = 1 + 9 + 22, MOST = 128 };

static const size_t lengths[S] = {1, 9, 22};
/// 70 columns are four vectors and a part of one.
static const tr_delta_t shapes[] = {{2, 4, 5, 19, 4}, {1, 1, 3, 70, 2}};
static const tr_recurrent_t nothing_kept = {0};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/// Random numbers that the operators start from, and where their results stand in one list.
typedef struct numbers {
    tr_delta_t d;
    size_t channels, width, heads;
    float *x;             // [T, width] = [channels | b | a]
    float *weight;        // [channels, taps]
    float *scale, *shift; // [heads]
    float *dout;          // [T, heads * V]
} numbers_t;

static numbers_t numbers_of(rig_t *rig, tr_delta_t d)
{
    numbers_t n = {.d = d, .channels = tr_delta_channels(d), .heads = d.value_heads};
    n.width = n.channels + 2 * n.heads;
    n.x = rig_random(rig, T * n.width, 1);
    n.weight = rig_random(rig, n.channels * d.taps, 2);
    n.scale = rig_random(rig, n.heads, 3);
    n.shift = rig_random(rig, n.heads, 4);
    n.dout = rig_random(rig, T * n.heads * d.value_dim, 5);
    return n;
}

/// Spans of the three sequences from `first` to `end` tokens, or to where they end.
static tr_ragged_t spans(rig_t *rig, size_t first, size_t end, int32_t *rows)
{
    int32_t starts[S + 1] = {0}, positions[T], slots[S] = {2, 0, 1};
    size_t tokens = 0, row = 0;
    for (size_t s = 0; s < S; row += lengths[s++]) {
        for (size_t i = first; i < end && i < lengths[s]; i++) {
            rows[tokens] = (int32_t)(row + i);
            positions[tokens++] = (int32_t)i;
        }
        starts[s + 1] = (int32_t)tokens;
    }
    return (tr_ragged_t){.tokens = tokens,
                         .sequences = S,
                         .longest = end < 22 ? end : 22,
                         .starts = rig_indices(rig, 1, S + 1, starts),
                         .positions = rig_indices(rig, 1, tokens, positions),
                         .slots = rig_indices(rig, 1, S, slots)};
}

/// What the forward pass wrote: u = [conv channels], gates, out, of all rows.
typedef struct written {
    tr_tensor_t x, weight, scale, shift, qkv, gates, out;
} written_t;

static written_t forward(rig_t *rig, const numbers_t *n, const tr_ragged_t *batch, tr_tensor_t x,
                         tr_recurrent_t kept)
{
    written_t w = {x,
                   rig_tensor(rig, n->channels, n->d.taps, n->weight),
                   rig_tensor(rig, 1, n->heads, n->scale),
                   rig_tensor(rig, 1, n->heads, n->shift),
                   rig_zeros(rig, batch->tokens, n->channels),
                   rig_zeros(rig, batch->tokens, 2 * n->heads),
                   rig_zeros(rig, batch->tokens, n->heads * n->d.value_dim)};
    rig->ops->convolution(rig->queue, w.qkv, x, w.weight, kept, batch);
    rig->ops->delta_gates(rig->queue, w.gates, x, n->channels, w.scale, w.shift);
    rig->ops->delta(rig->queue, w.out, w.qkv, w.gates, kept, batch, n->d);
    return w;
}

static float *out_of_whole(rig_t *rig, tr_delta_t d)
{
    const numbers_t n = numbers_of(rig, d);
    int32_t rows[T];
    const tr_ragged_t batch = spans(rig, 0, T, rows);
    return rig_read(rig,
                    forward(rig, &n, &batch, rig_tensor(rig, T, n.width, n.x), nothing_kept).out);
}

/// [x | weight | scale | shift], the point at which gradients are taken.
static size_t point_of(double *point, const numbers_t *n)
{
    const float *parts[] = {n->x, n->weight, n->scale, n->shift};
    const size_t counts[] = {T * n->width, n->channels * n->d.taps, n->heads, n->heads};
    size_t at = 0;
    for (size_t p = 0; p < 4; p++) {
        for (size_t i = 0; i < counts[p]; i++) {
            point[at++] = (double)parts[p][i];
        }
    }
    return at;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/// One value head of one sequence whose first row is `row`; u: its convolved rows. out: [T, heads *
/// V].
static void recur(double *out, const numbers_t *n, const double *x, const double *scale,
                  const double *shift, const double *u, size_t row, size_t length, size_t h)
{
    const size_t K = n->d.key_dim, V = n->d.value_dim;
    const size_t key = h / (n->d.value_heads / n->d.key_heads) * K;
    double state[MOST][MOST] = {{0}};
    for (size_t t = 0; t < length; t++) {
        const double *r = u + t * n->channels, *q = r + key, *k = q + n->d.key_heads * K;
        const double *v = r + 2 * n->d.key_heads * K + h * V;
        const double *gates = x + (row + t) * n->width + n->channels;
        double decay = exp(-exp(scale[h]) * log1p(exp(gates[n->heads + h] + shift[h])));
        for (size_t j = 0; j < V; j++) {
            double e = v[j], sum = 0.0;
            for (size_t i = 0; i < K; i++) {
                e -= decay * state[i][j] * k[i];
            }
            for (size_t i = 0; i < K; i++) {
                state[i][j] = decay * state[i][j] + k[i] * sigmoid(gates[h]) * e;
                sum += state[i][j] * q[i];
            }
            out[((row + t) * n->heads + h) * V + j] = sum;
        }
    }
}

/// The formulas of backend.h.
static void formula(double *out, const numbers_t *n, const double *point)
{
    static double u[T * MOST * 4];
    const double *x = point, *weight = x + T * n->width;
    const double *scale = weight + n->channels * n->d.taps;
    for (size_t s = 0, row = 0; s < S; row += lengths[s++]) {
        for (size_t t = 0; t < lengths[s]; t++) {
            for (size_t c = 0; c < n->channels; c++) {
                double sum = 0.0;
                for (size_t back = 0; back < n->d.taps && back <= t; back++) {
                    sum += weight[c * n->d.taps + n->d.taps - 1 - back] *
                           x[(row + t - back) * n->width + c];
                }
                u[t * n->channels + c] = sum * sigmoid(sum);
            }
        }
        for (size_t h = 0; h < n->heads; h++) {
            recur(out, n, x, scale, scale + n->heads, u, row, lengths[s], h);
        }
    }
}

Test(delta, equals_the_formula)
{
    for (size_t i = 0; i < SHAPES; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        const numbers_t n = numbers_of(&rig, shapes[i]);
        const size_t count = T * n.heads * n.d.value_dim;
        double *point = rig_memory(&rig, 2 * T * n.width * sizeof *point);
        double *want = rig_memory(&rig, count * sizeof *want);
        point_of(point, &n);
        formula(want, &n, point);
        check_close(out_of_whole(&rig, shapes[i]), want, count, 2e-6, "out");
        rig_close(&rig);
    }
}

/// [dx | dweight | dscale | dshift], with 1 there before where chains continue.
static float *gradients(rig_t *rig, const numbers_t *n)
{
    int32_t rows[T];
    const tr_ragged_t batch = spans(rig, 0, T, rows);
    const written_t w = forward(rig, n, &batch, rig_tensor(rig, T, n->width, n->x), nothing_kept);
    const size_t inputs = T * n->width, weights = n->channels * n->d.taps;
    float *ones = rig_memory(rig, (weights + n->heads) * sizeof *ones);
    for (size_t i = 0; i < weights + n->heads; i++) {
        ones[i] = 1.0f;
    }
    tr_tensor_t dqkv = rig_zeros(rig, T, n->channels), dgates = rig_zeros(rig, T, 2 * n->heads);
    tr_tensor_t dx = rig_zeros(rig, T, n->width);
    tr_tensor_t dweight = rig_tensor(rig, n->channels, n->d.taps, ones);
    tr_tensor_t dscale = rig_tensor(rig, 1, n->heads, ones);
    tr_tensor_t dshift = rig_tensor(rig, 1, n->heads, ones);
    rig->ops->delta_gradient(rig->queue, dqkv, dgates,
                             rig_tensor(rig, T, n->heads * n->d.value_dim, n->dout), w.qkv, w.gates,
                             &batch, n->d);
    rig->ops->convolution_gradient(rig->queue, dx, dweight, dqkv, w.x, w.weight, &batch);
    rig->ops->delta_gates_gradient(rig->queue, dx, dscale, dshift, dgates, w.x, n->channels,
                                   w.scale, w.shift);
    float *all = rig_memory(rig, (inputs + weights + 2 * n->heads) * sizeof *all);
    memcpy(all, rig_read(rig, dx), inputs * sizeof *all);
    memcpy(all + inputs, rig_read(rig, dweight), weights * sizeof *all);
    memcpy(all + inputs + weights, rig_read(rig, dscale), n->heads * sizeof *all);
    memcpy(all + inputs + weights + n->heads, rig_read(rig, dshift), n->heads * sizeof *all);
    return all;
}

static double loss(rig_t *rig, const numbers_t *n, const double *point)
{
    const size_t count = T * n->heads * n->d.value_dim;
    double *out = rig_memory(rig, count * sizeof *out), sum = 0.0;
    formula(out, n, point);
    for (size_t i = 0; i < count; i++) {
        sum += out[i] * (double)n->dout[i];
    }
    return sum;
}

Test(delta, gradients_equal_finite_differences_and_continue_their_chains)
{
    for (size_t i = 0; i < SHAPES; i++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        const numbers_t n = numbers_of(&rig, shapes[i]);
        const float *got = gradients(&rig, &n);
        double *point = rig_memory(&rig, 2 * T * n.width * sizeof *point);
        const size_t count = point_of(point, &n);
        // All of what is behind the rows' channels, and some of these.
        for (size_t at = 0; at < count; at += at < T * n.width - 61 ? 61 : 1) {
            const double keep = point[at], h = 1e-5;
            point[at] = keep + h;
            double want = loss(&rig, &n, point);
            point[at] = keep - h;
            want = (want - loss(&rig, &n, point)) / (2.0 * h) + (at < T * n.width ? 0.0 : 1.0);
            point[at] = keep;
            check_close(got + at, &want, 1, 2e-5, "dx, dweight, dscale, dshift");
        }
        rig_close(&rig);
    }
}

Test(delta, every_form_gives_the_same_bits)
{
    for (size_t i = 0; i < SHAPES; i++) {
        rig_t plain;
        rig_open(&plain, "generic", 1);
        const numbers_t n = numbers_of(&plain, shapes[i]);
        const float *out = out_of_whole(&plain, shapes[i]), *d = gradients(&plain, &n);
        const size_t parameters = n.channels * n.d.taps + 2 * n.heads;
        for (size_t f = 0; f < 6; f++) {
            rig_t rig;
            if (rig_open(&rig, rig_isas[f / 2], f % 2 == 0 ? 1 : 3)) {
                check_same(out_of_whole(&rig, shapes[i]), out, T * n.heads * n.d.value_dim, "out");
                check_same(gradients(&rig, &n), d, T * n.width + parameters, "gradients");
                rig_close(&rig);
            }
        }
        rig_close(&plain);
    }
}

/// A prompt in one piece, token by token, or in pieces that are shorter or longer than the
/// convolution.
Test(delta, spans_give_the_bits_of_whole_sequences)
{
    for (size_t i = 0; i < SHAPES; i++) {
        for (size_t step = 1; step < 8; step += 2) {
            rig_t rig;
            rig_open(&rig, NULL, 2);
            const numbers_t n = numbers_of(&rig, shapes[i]);
            const size_t wide = n.heads * n.d.value_dim;
            const float *want = out_of_whole(&rig, shapes[i]);
            // Not zeros: what a slot held of another sequence is not read.
            const tr_recurrent_t kept = {rig_tensor(&rig, S, (n.d.taps - 1) * n.channels,
                                                    rig_random(&rig, S * n.d.taps * n.channels, 6)),
                                         rig_tensor(&rig, S, tr_delta_state(n.d),
                                                    rig_random(&rig, S * tr_delta_state(n.d), 7))};
            for (size_t first = 0; first < 22; first += step) {
                int32_t rows[T];
                const tr_ragged_t batch = spans(&rig, first, first + step, rows);
                tr_tensor_t x = rig_zeros(&rig, batch.tokens, n.width);
                rig.ops->gather_rows(rig.queue, x, rig_tensor(&rig, T, n.width, n.x),
                                     rig_indices(&rig, 1, batch.tokens, rows));
                const float *got = rig_read(&rig, forward(&rig, &n, &batch, x, kept).out);
                for (size_t t = 0; t < batch.tokens; t++) {
                    check_same(got + t * wide, want + (size_t)rows[t] * wide, wide, "a span's row");
                }
            }
            rig_close(&rig);
        }
    }
}

enum { ROWS = 7, PIECES = 3, PIECE = 21 };

static const tr_pieces_t apart = {.first = 5, .step = 40, .width = PIECE};

/// y, dx, dgates.
static float *gate(rig_t *rig, tr_gate_t f)
{
    const size_t n = PIECES * PIECE, wide = 130;
    tr_tensor_t x = rig_tensor(rig, ROWS, n, rig_random(rig, ROWS * n, 1));
    tr_tensor_t gates = rig_tensor(rig, ROWS, wide, rig_random(rig, ROWS * wide, 2));
    tr_tensor_t d = rig_tensor(rig, ROWS, n, rig_random(rig, ROWS * n, 3));
    tr_tensor_t y = rig_zeros(rig, ROWS, n), dgates = rig_zeros(rig, ROWS, wide);
    rig->ops->gate(rig->queue, y, x, gates, apart, f);
    rig->ops->gate_gradient(rig->queue, d, dgates, d, x, gates, apart, f);
    float *all = rig_memory(rig, ROWS * (2 * n + wide) * sizeof *all);
    memcpy(all, rig_read(rig, y), ROWS * n * sizeof *all);
    memcpy(all + ROWS * n, rig_read(rig, d), ROWS * n * sizeof *all);
    memcpy(all + 2 * ROWS * n, rig_read(rig, dgates), ROWS * wide * sizeof *all);
    return all;
}

Test(gate, equals_the_formula_on_pieces_alone)
{
    const size_t n = PIECES * PIECE, wide = 130;
    for (tr_gate_t f = TR_GATE_SIGMOID; f <= TR_GATE_SILU; f++) {
        rig_t rig;
        rig_open(&rig, NULL, 2);
        const float *x = rig_random(&rig, ROWS * n, 1), *g = rig_random(&rig, ROWS * wide, 2),
                    *dy = rig_random(&rig, ROWS * n, 3);
        double *want = rig_memory(&rig, ROWS * (2 * n + wide) * sizeof *want);
        memset(want, 0, ROWS * (2 * n + wide) * sizeof *want);
        for (size_t i = 0; i < ROWS * n; i++) {
            const size_t at = i / n * wide + apart.first + i % n / PIECE * apart.step + i % PIECE;
            const double s = sigmoid((double)g[at]), slope = s * (1.0 - s);
            const bool silu = f == TR_GATE_SILU;
            const double value = silu ? (double)g[at] * s : s;
            want[i] = (double)x[i] * value;
            want[ROWS * n + i] = (double)dy[i] * value;
            want[2 * ROWS * n + at] =
                (double)dy[i] * (double)x[i] * (silu ? s + (double)g[at] * slope : slope);
        }
        float *got = gate(&rig, f);
        check_close(got, want, ROWS * (2 * n + wide), 1e-6, "y, dx, dgates");
        for (size_t i = 0; i < RIG_ISAS; i++) {
            rig_t other;
            if (rig_open(&other, rig_isas[i], 3)) {
                check_same(gate(&other, f), got, ROWS * (2 * n + wide), "gate");
                rig_close(&other);
            }
        }
        rig_close(&rig);
    }
}

Test(copy_pieces, moves_pieces_and_leaves_the_rest)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    const tr_pieces_t dense = {2, PIECE, PIECE};
    const float *x = rig_random(&rig, ROWS * 130, 1);
    tr_tensor_t y = rig_zeros(&rig, ROWS, 70);
    rig.ops->copy_pieces(rig.queue, y, dense, rig_tensor(&rig, ROWS, 130, x), apart, PIECES);
    const float *got = rig_read(&rig, y);
    for (size_t i = 0; i < ROWS * 70; i++) {
        const size_t column = i % 70 - 2;
        const bool moved = column < (size_t)PIECES * PIECE;
        const size_t at = i / 70 * 130 + apart.first + column / PIECE * apart.step + column % PIECE;
        cr_assert_eq(got[i], moved ? x[at] : 0.0f, "element %zu", i);
    }
    rig_close(&rig);
}

Test(sum_pieces, adds_pieces_in_their_order_and_leaves_the_rest)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    const float *x = rig_random(&rig, ROWS * 130, 1);
    tr_tensor_t y = rig_zeros(&rig, ROWS, 70);
    rig.ops->sum_pieces(rig.queue, y, 2, rig_tensor(&rig, ROWS, 130, x), apart, PIECES);
    const float *got = rig_read(&rig, y);
    for (size_t i = 0; i < ROWS * 70; i++) {
        const size_t column = i % 70 - 2;
        float want = 0.0f;
        for (size_t k = 0; k < PIECES && column < (size_t)PIECE; k++) {
            want += x[i / 70 * 130 + apart.first + k * apart.step + column];
        }
        cr_assert_eq(got[i], want, "element %zu", i);
    }
    rig_close(&rig);
}
