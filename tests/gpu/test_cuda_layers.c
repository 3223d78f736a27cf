/// Products, layers and the optimizer on a GPU against the plain C form: in f32 to the bit, in bf16
/// within the 8 bits of its mantissa. The GPU is the emulated one unless TROUPE_CUDA_MODULE names a
/// real one's module.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/tensor/device.h"
#include "tests/support/tensors.h"

enum { OUTPUTS = 8 };

/// The tensors that one operator wrote.
typedef struct outputs {
    float *values[OUTPUTS];
    size_t counts[OUTPUTS];
    size_t count;
} outputs_t;

static void put(outputs_t *outputs, rig_t *rig, tr_tensor_t tensor)
{
    outputs->values[outputs->count] = rig_read(rig, tensor);
    outputs->counts[outputs->count++] = tr_tensor_count(tensor);
}

/// Shapes of one run: rows, columns, and a third size.
typedef struct shape {
    size_t t, n, k;
} shape_t;

typedef void run_fn(rig_t *rig, shape_t s, outputs_t *outputs);

/// Numbers that bf16 holds exactly, so that both devices are given the same.
static float *numbers(rig_t *rig, size_t count, uint64_t seed)
{
    float *values = rig_random(rig, count, seed);
    rig_round(values, count);
    return values;
}

static tr_tensor_t matrix(rig_t *rig, size_t rows, size_t columns, uint64_t seed)
{
    return rig_real(rig, rows, columns, numbers(rig, rows * columns, seed));
}

static tr_tensor_t floats(rig_t *rig, size_t rows, size_t columns, uint64_t seed)
{
    return rig_tensor(rig, rows, columns, numbers(rig, rows * columns, seed));
}

/// Tolerance: 1 % of the largest element, some roundings to 8 bits.
static void check_bf16(const outputs_t *want, const outputs_t *got, const char *what)
{
    for (size_t i = 0; i < want->count; i++) {
        double *exact = calloc(want->counts[i] + 1, sizeof *exact);
        double largest = 0.0;
        for (size_t j = 0; j < want->counts[i]; j++) {
            exact[j] = (double)want->values[i][j];
            largest = fmax(largest, fabs(exact[j]));
        }
        check_close(got->values[i], exact, want->counts[i], 1e-2 * fmax(1.0, largest), what);
        free(exact);
    }
}

/// Runs an operator on the CPU and, with both types, on the GPU, from the same inputs.
static void check_everywhere(run_fn *run, const shape_t *shapes, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        rig_t cpu, gpu;
        outputs_t want = {0}, same = {0}, close = {0};
        rig_open_gpu(&gpu, TR_F32);
        cr_assert(rig_open(&cpu, NULL, 1));
        run(&cpu, shapes[i], &want);
        run(&gpu, shapes[i], &same);
        for (size_t j = 0; j < want.count; j++) {
            check_same(same.values[j], want.values[j], want.counts[j], what);
        }
        rig_close(&gpu);
        rig_open_gpu(&gpu, TR_BF16);
        run(&gpu, shapes[i], &close);
        check_bf16(&want, &close, what);
        rig_close(&gpu);
        rig_close(&cpu);
    }
}

static const tr_norm_t rms = {.epsilon = 1e-5f};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const shape_t products[] = {{1, 1, 2},     {1, 96, 64},  {3, 65, 40},
                                   {70, 33, 130}, {64, 64, 64}, {17, 200, 8}};
static const shape_t layers[] = {{1, 8, 1}, {5, 64, 2}, {33, 172, 3}, {19, 600, 1}, {150, 40, 2}};

static void product(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t y = matrix(rig, s.t, s.n, 1), x = matrix(rig, s.t, s.k, 2),
                w = matrix(rig, s.n, s.k, 3);
    rig->ops->matmul(rig->queue, y, x, w, true);
    put(outputs, rig, y);
    rig->ops->matmul(rig->queue, y, x, w, false);
    put(outputs, rig, y);
}

Test(cuda_matmul, equals_the_cpu)
{
    check_everywhere(product, products, COUNT(products), "matmul");
}

static void product_gradients(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t dy = matrix(rig, s.t, s.n, 1), x = matrix(rig, s.t, s.k, 2),
                w = matrix(rig, s.n, s.k, 3);
    tr_tensor_t dx = matrix(rig, s.t, s.k, 4), dw = floats(rig, s.n, s.k, 5);
    rig->ops->matmul_input_gradient(rig->queue, dx, dy, w);
    rig->ops->matmul_weight_gradient(rig->queue, dw, dy, x);
    put(outputs, rig, dx);
    put(outputs, rig, dw);
}

Test(cuda_matmul, gradients_equal_the_cpu_s)
{
    check_everywhere(product_gradients, products, COUNT(products), "gradients of matmul");
}

/// The emulated library ranks an algorithm first that adds in another order for fewer than 16 rows,
/// so this also tests that such an algorithm is refused. Sums cancel here, so that the order shows.
Test(cuda_matmul, a_row_has_the_same_bits_among_few_rows_and_many)
{
    enum { T = 40, N = 72, K = 300 };
    const tr_dtype_t precisions[] = {TR_F32, TR_BF16};
    for (size_t p = 0; p < 2; p++) {
        rig_t rig;
        rig_open_gpu(&rig, precisions[p]);
        float *left = numbers(&rig, T * K, 1), *right = numbers(&rig, N * K, 2);
        for (size_t i = 0; i < T * K; i++) {
            left[i] = i % K < K / 2 ? left[i] : left[i - K / 2];
        }
        for (size_t i = 0; i < N * K; i++) {
            right[i] = i % K < K / 2 ? right[i] : -right[i - K / 2];
        }
        tr_tensor_t x = rig_real(&rig, T, K, left), w = rig_real(&rig, N, K, right),
                    all = rig_real(&rig, T, N, NULL);
        rig.ops->matmul(rig.queue, all, x, w, false);
        float *want = rig_read(&rig, all);
        for (size_t rows = 1; rows < T; rows += 6) {
            tr_tensor_t y = rig_real(&rig, rows, N, NULL);
            rig.ops->matmul(rig.queue, y, tr_tensor_rows(x, T - rows, rows), w, false);
            check_same(rig_read(&rig, y), want + (T - rows) * N, rows * N, "rows");
        }
        rig_close(&rig);
    }
}

static void norm(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t x = matrix(rig, s.t, s.n, 1), w = matrix(rig, 1, s.n, 2),
                dy = matrix(rig, s.t, s.n, 3);
    tr_tensor_t y = rig_real(rig, s.t, s.n, NULL), rstd = rig_zeros(rig, 1, s.t);
    tr_tensor_t dx = matrix(rig, s.t, s.n, 4), dw = floats(rig, 1, s.n, 5);
    rig->ops->rmsnorm(rig->queue, y, rstd, x, w, rms);
    rig->ops->rmsnorm_gradient(rig->queue, dx, dw, dy, x, rstd, w, rms);
    put(outputs, rig, y);
    put(outputs, rig, rstd);
    put(outputs, rig, dx);
    put(outputs, rig, dw);
}

Test(cuda_rmsnorm, equals_the_cpu)
{
    check_everywhere(norm, layers, COUNT(layers), "rmsnorm");
}

static void layernorm(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t x = matrix(rig, s.t, s.n, 1), w = matrix(rig, 1, 2 * s.n, 2),
                dy = matrix(rig, s.t, s.n, 3);
    tr_tensor_t y = rig_real(rig, s.t, s.n, NULL), moments = rig_zeros(rig, 2, s.t);
    tr_tensor_t dx = matrix(rig, s.t, s.n, 4), dw = floats(rig, 1, 2 * s.n, 5);
    rig->ops->layernorm(rig->queue, y, moments, x, w, rms);
    rig->ops->layernorm_gradient(rig->queue, dx, dw, dy, x, moments, w);
    put(outputs, rig, y);
    put(outputs, rig, moments);
    put(outputs, rig, dx);
    put(outputs, rig, dw);
}

Test(cuda_layernorm, equals_the_cpu)
{
    check_everywhere(layernorm, layers, COUNT(layers), "layernorm");
}

/// k + 1 groups of columns, after as many that are none.
static void group_norm(rig_t *rig, shape_t s, outputs_t *outputs)
{
    const size_t width = (2 * s.k + 3) * s.n;
    const tr_norm_t plus_one = {.epsilon = 1e-5f, .offset = 1.0f};
    tr_tensor_t x = matrix(rig, s.t, width, 1), w = matrix(rig, 1, s.n, 2);
    tr_tensor_t y = matrix(rig, s.t, width, 3), rstd = rig_zeros(rig, s.t, s.k + 1);
    tr_tensor_t d = matrix(rig, s.t, width, 4), dw = floats(rig, 1, s.n, 5);
    rig->ops->group_norm(rig->queue, y, rstd, x, w, (s.k + 1) * s.n, s.k + 1, plus_one);
    rig->ops->group_norm_gradient(rig->queue, d, dw, x, rstd, w, (s.k + 1) * s.n, s.k + 1,
                                  plus_one);
    put(outputs, rig, y);
    put(outputs, rig, rstd);
    put(outputs, rig, d);
    put(outputs, rig, dw);
}

Test(cuda_group_norm, equals_the_cpu)
{
    check_everywhere(group_norm, layers, COUNT(layers), "group_norm");
}

/// Two sequences of s.t rows and one of one; s.n columns of values.
static void delta(rig_t *rig, shape_t s, outputs_t *outputs)
{
    const tr_delta_t d = {s.k, 2 * s.k, 6, s.n, 4};
    const size_t tokens = 2 * s.t + 1, channels = tr_delta_channels(d), heads = d.value_heads;
    const size_t width = channels + 2 * heads, wide = heads * s.n;
    const int32_t starts[] = {0, (int32_t)s.t, (int32_t)s.t + 1, (int32_t)tokens};
    const int32_t slots[] = {2, 1, 0};
    int32_t *positions = rig_memory(rig, tokens * sizeof *positions);
    for (size_t i = 0; i < tokens; i++) {
        positions[i] = (int32_t)(i < s.t ? i : i == s.t ? 0 : i - s.t - 1);
    }
    const tr_ragged_t batch = {.tokens = tokens,
                               .sequences = 3,
                               .longest = s.t,
                               .starts = rig_indices(rig, 1, 4, starts),
                               .positions = rig_indices(rig, 1, tokens, positions),
                               .slots = rig_indices(rig, 1, 3, slots)};
    const tr_recurrent_t kept = {matrix(rig, 3, 3 * channels, 8),
                                 floats(rig, 3, tr_delta_state(d), 9)};
    tr_tensor_t x = matrix(rig, tokens, width, 1), weight = matrix(rig, channels, d.taps, 2);
    tr_tensor_t scale = matrix(rig, 1, heads, 3), shift = matrix(rig, 1, heads, 4);
    tr_tensor_t qkv = matrix(rig, tokens, channels, 5), out = matrix(rig, tokens, wide, 6);
    tr_tensor_t gates = floats(rig, tokens, 2 * heads, 7);
    rig->ops->delta_gates(rig->queue, gates, x, channels, scale, shift);
    rig->ops->delta(rig->queue, out, qkv, gates, kept, &batch, d);
    put(outputs, rig, out);
    tr_tensor_t dx = matrix(rig, tokens, width, 10), dgates = floats(rig, tokens, 2 * heads, 11);
    tr_tensor_t dqkv = matrix(rig, tokens, channels, 12), dweight = floats(rig, channels, 4, 13);
    tr_tensor_t dscale = floats(rig, 1, heads, 14), dshift = floats(rig, 1, heads, 15);
    rig->ops->delta_gradient(rig->queue, dqkv, dgates, matrix(rig, tokens, wide, 16), qkv, gates,
                             &batch, d);
    put(outputs, rig, dqkv);
    rig->ops->delta_gates_gradient(rig->queue, dx, dscale, dshift, dgates, x, channels, scale,
                                   shift);
    put(outputs, rig, dscale);
    put(outputs, rig, kept.states);
    rig->ops->convolution(rig->queue, qkv, x, weight, kept, &batch);
    rig->ops->convolution_gradient(rig->queue, dx, dweight, dqkv, x, weight, &batch);
    put(outputs, rig, qkv);
    put(outputs, rig, kept.inputs);
    put(outputs, rig, dx);
    put(outputs, rig, dweight);
}

Test(cuda_delta, equals_the_cpu)
{
    static const shape_t shapes[] = {{1, 8, 1}, {9, 35, 2}, {33, 70, 1}};
    check_everywhere(delta, shapes, COUNT(shapes), "delta");
}

static void gate(rig_t *rig, shape_t s, outputs_t *outputs)
{
    const tr_pieces_t from = {3, s.n + 2, s.n}, dense = {1, s.n, s.n};
    const size_t wide = 3 + s.k * (s.n + 2);
    tr_tensor_t gates = matrix(rig, s.t, wide, 1), x = matrix(rig, s.t, s.k * s.n, 2);
    tr_tensor_t y = matrix(rig, s.t, s.k * s.n, 3), dgates = matrix(rig, s.t, wide, 4);
    tr_tensor_t moved = matrix(rig, s.t, s.k * s.n + 2, 5);
    rig->ops->gate(rig->queue, y, x, gates, from, TR_GATE_SIGMOID);
    rig->ops->gate_gradient(rig->queue, y, dgates, y, x, gates, from, TR_GATE_SILU);
    rig->ops->copy_pieces(rig->queue, moved, dense, gates, from, s.k);
    rig->ops->sum_pieces(rig->queue, moved, 2, gates, from, s.k);
    put(outputs, rig, y);
    put(outputs, rig, dgates);
    put(outputs, rig, moved);
}

Test(cuda_gate, equals_the_cpu)
{
    check_everywhere(gate, layers, COUNT(layers), "gate");
}

static void bias(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t y = matrix(rig, s.t, s.n, 1), d = floats(rig, 1, s.n, 2);
    rig->ops->add_bias(rig->queue, y, matrix(rig, 1, s.n, 3));
    rig->ops->bias_gradient(rig->queue, d, matrix(rig, s.t, s.n, 4));
    put(outputs, rig, y);
    put(outputs, rig, d);
}

Test(cuda_bias, equals_the_cpu)
{
    check_everywhere(bias, layers, COUNT(layers), "bias");
}

static void swiglu(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t gate_up = matrix(rig, s.t, 2 * s.n, 1), dy = matrix(rig, s.t, s.n, 2);
    tr_tensor_t y = rig_real(rig, s.t, s.n, NULL), dgate_up = rig_real(rig, s.t, 2 * s.n, NULL);
    rig->ops->swiglu(rig->queue, y, gate_up);
    rig->ops->swiglu_gradient(rig->queue, dgate_up, dy, gate_up);
    put(outputs, rig, y);
    put(outputs, rig, dgate_up);
}

Test(cuda_swiglu, equals_the_cpu)
{
    check_everywhere(swiglu, layers, COUNT(layers), "swiglu");
}

static void geglu(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t gate_up = matrix(rig, s.t, 2 * s.n, 1), dy = matrix(rig, s.t, s.n, 2);
    tr_tensor_t y = rig_real(rig, s.t, s.n, NULL), dgate_up = rig_real(rig, s.t, 2 * s.n, NULL);
    rig->ops->geglu(rig->queue, y, gate_up);
    rig->ops->geglu_gradient(rig->queue, dgate_up, dy, gate_up);
    rig->ops->scale(rig->queue, y, y, 0.3f);
    put(outputs, rig, y);
    put(outputs, rig, dgate_up);
}

Test(cuda_geglu, and_scaling_equal_the_cpu)
{
    check_everywhere(geglu, layers, COUNT(layers), "geglu");
}

static void dropout(rig_t *rig, shape_t s, outputs_t *outputs)
{
    int32_t *addresses = rig_memory(rig, s.t * sizeof *addresses);
    for (size_t t = 0; t < s.t; t++) {
        addresses[t] = (int32_t)(7 * t + 3);
    }
    tr_tensor_t x = matrix(rig, s.t, s.n, 1), y = rig_real(rig, s.t, s.n, NULL);
    rig->ops->dropout(rig->queue, y, x, rig_indices(rig, 1, s.t, addresses),
                      (tr_dropout_t){0.25f, 1u << 30, 5});
    put(outputs, rig, y);
}

Test(cuda_dropout, equals_the_cpu)
{
    check_everywhere(dropout, layers, COUNT(layers), "dropout");
}

static void gelu(rig_t *rig, shape_t s, outputs_t *outputs)
{
    for (size_t exact = 0; exact < 2; exact++) {
        tr_tensor_t x = matrix(rig, s.t, s.n, 1), y = rig_real(rig, s.t, s.n, NULL),
                    d = matrix(rig, s.t, s.n, 2);
        rig->ops->gelu(rig->queue, y, x, exact == 1);
        rig->ops->gelu_gradient(rig->queue, d, d, x, exact == 1);
        put(outputs, rig, y);
        put(outputs, rig, d);
    }
}

Test(cuda_gelu, equals_the_cpu_in_both_forms)
{
    check_everywhere(gelu, layers, COUNT(layers), "gelu");
}

static int32_t *ids(rig_t *rig, size_t count, size_t limit)
{
    int32_t *values = rig_memory(rig, count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = (int32_t)(i * 7 % limit);
    }
    return values;
}

/// k key-value heads with two queries each.
static void rope(rig_t *rig, shape_t s, outputs_t *outputs)
{
    const tr_heads_t heads = {.query = 2 * s.k, .key_value = s.k, .dim = s.n};
    tr_tensor_t qkv = matrix(rig, s.t, 4 * s.k * s.n, 1), table = floats(rig, 11, s.n, 2);
    tr_tensor_t positions = rig_indices(rig, 1, s.t, ids(rig, s.t, 11));
    rig->ops->rope(rig->queue, qkv, positions, table, heads, false);
    put(outputs, rig, qkv);
    rig->ops->rope(rig->queue, qkv, positions, table, heads, true);
    put(outputs, rig, qkv);
}

Test(cuda_rope, equals_the_cpu)
{
    check_everywhere(rope, layers, COUNT(layers), "rope");
}

/// Tokens repeat, and their rows' gradients add up in order.
static void rows(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t table = matrix(rig, 13, s.n, 1), y = rig_real(rig, s.t, s.n, NULL),
                dtable = floats(rig, 13, s.n, 2);
    tr_tensor_t chosen = rig_indices(rig, 1, s.t, ids(rig, s.t, 13)),
                few = rig_indices(rig, 1, 3, (int32_t[]){2, 12, 0});
    tr_tensor_t dx = matrix(rig, 13, s.n, 3);
    rig->ops->gather_rows(rig->queue, y, table, chosen);
    rig->ops->embedding_gradient(rig->queue, dtable, y, chosen);
    rig->ops->scatter_rows_add(rig->queue, dx, matrix(rig, 3, s.n, 4), few);
    rig->ops->add(rig->queue, y, y, matrix(rig, s.t, s.n, 5));
    put(outputs, rig, y);
    put(outputs, rig, dtable);
    put(outputs, rig, dx);
}

Test(cuda_rows, equal_the_cpu_s)
{
    check_everywhere(rows, layers, COUNT(layers), "rows");
}

/// Ids beyond one block of threads, many of them the same.
Test(cuda_rows, gradients_of_many_tokens_add_up_in_order)
{
    const shape_t many[] = {{1000, 3, 1}};
    check_everywhere(rows, many, 1, "rows of many tokens");
}

/// Tokens, a width, and how many experts each has, of k + 4.
static void experts(rig_t *rig, shape_t s, outputs_t *outputs)
{
    const size_t count = s.k + 4, rows = s.t * s.k, width = s.n + 3;
    const tr_router_t router = {.experts = count, .chosen = s.k, .normalized = s.n % 16 == 0};
    const tr_tensor_t none = {0};
    const tr_routes_t routes = {.experts = rig_indices(rig, s.t, s.k, ids(rig, rows, 1)),
                                .weights = rig_zeros(rig, s.t, s.k),
                                .starts = rig_indices(rig, 1, count + 1, ids(rig, count + 1, 1)),
                                .tokens = rig_indices(rig, 1, rows, ids(rig, rows, 1)),
                                .places = rig_indices(rig, s.t, s.k, ids(rig, rows, 1))};
    tr_tensor_t logits = floats(rig, s.t, count, 1), dlogits = rig_zeros(rig, s.t, count),
                dweights = rig_zeros(rig, s.t, s.k), pull = floats(rig, 1, count, 2);
    tr_tensor_t x = matrix(rig, s.t, s.n, 3), w = matrix(rig, count * width, s.n, 4),
                dw = floats(rig, count * width, s.n, 5), rows_x = rig_real(rig, rows, s.n, NULL),
                y = rig_real(rig, rows, width, NULL), sum = rig_real(rig, s.t, width, NULL),
                dbias = floats(rig, count, width, 8);
    rig->ops->route(rig->queue, &routes, logits, router);
    rig->ops->gather_rows(rig->queue, rows_x, x, routes.tokens);
    rig->ops->expert_matmul(rig->queue, y, rows_x, w, routes.starts);
    rig->ops->expert_bias(rig->queue, y, matrix(rig, count, width, 7), routes.starts);
    rig->ops->combine(rig->queue, sum, y, routes.weights, routes.places);
    put(outputs, rig, sum);
    rig->ops->combine_gradient(rig->queue, y, dweights, matrix(rig, s.t, width, 6), y,
                               routes.weights, routes.places);
    rig->ops->expert_weight_gradient(rig->queue, dw, y, rows_x, routes.starts);
    rig->ops->expert_bias_gradient(rig->queue, dbias, y, routes.starts);
    put(outputs, rig, dbias);
    rig->ops->expert_input_gradient(rig->queue, rows_x, y, w, routes.starts);
    rig->ops->combine(rig->queue, x, rows_x, none, routes.places);
    rig->ops->route_gradient(rig->queue, dlogits, dweights, s.n % 16 == 0 ? none : pull, logits,
                             &routes, router);
    put(outputs, rig, dw);
    put(outputs, rig, x);
    put(outputs, rig, dlogits);
}

static void swiglu_clamped(rig_t *rig, shape_t s, outputs_t *outputs)
{
    const tr_swiglu_t options = {1.702f, 0.75f};
    tr_tensor_t gate_up = matrix(rig, s.t, 2 * s.n, 1), dy = matrix(rig, s.t, s.n, 2),
                y = rig_real(rig, s.t, s.n, NULL), d = rig_real(rig, s.t, 2 * s.n, NULL);
    rig->ops->swiglu_clamped(rig->queue, y, gate_up, options);
    rig->ops->swiglu_clamped_gradient(rig->queue, d, dy, gate_up, options);
    put(outputs, rig, y);
    put(outputs, rig, d);
}

Test(cuda_swiglu_clamped, equals_the_cpu_s)
{
    check_everywhere(swiglu_clamped, layers, COUNT(layers), "swiglu with bounds");
}

/// k heads of n elements, and logits of a router with a bias, which are f32 in either precision.
static void sinks(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t out = matrix(rig, s.t, s.k * s.n, 1), dout = matrix(rig, s.t, s.k * s.n, 2),
                sink = matrix(rig, 1, s.k, 3), lse = floats(rig, s.t, s.k, 4),
                dsink = floats(rig, 1, s.k, 5), logits = floats(rig, s.t, s.k, 6);
    rig->ops->sink(rig->queue, out, lse, sink);
    rig->ops->sink_gradient(rig->queue, dsink, dout, out, lse, sink);
    rig->ops->add_bias(rig->queue, logits, sink);
    put(outputs, rig, out);
    put(outputs, rig, lse);
    put(outputs, rig, dsink);
    put(outputs, rig, logits);
}

Test(cuda_sinks, equal_the_cpu_s)
{
    const shape_t heads[] = {{1, 8, 1}, {37, 6, 4}, {16, 64, 3}, {5, 33, 19}};
    check_everywhere(sinks, heads, COUNT(heads), "sinks");
}

static void router_facts(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t facts = rig_zeros(rig, s.t, s.n + 1);
    rig->ops->router_facts(rig->queue, facts, floats(rig, s.t, s.n, 1));
    put(outputs, rig, facts);
}

Test(cuda_router_facts, equal_the_cpu_s)
{
    check_everywhere(router_facts, layers, COUNT(layers), "facts of routers");
}

static void row_gates(rig_t *rig, shape_t s, outputs_t *outputs)
{
    tr_tensor_t x = matrix(rig, s.t, s.n, 1), gates = matrix(rig, s.t, 1, 2),
                dy = matrix(rig, s.t, s.n, 3), y = rig_real(rig, s.t, s.n, NULL),
                dgates = rig_real(rig, s.t, 1, NULL);
    rig->ops->gate_rows(rig->queue, y, x, gates);
    rig->ops->gate_rows_gradient(rig->queue, x, dgates, dy, x, gates);
    put(outputs, rig, y);
    put(outputs, rig, x);
    put(outputs, rig, dgates);
}

Test(cuda_row_gates, equal_the_cpu_s)
{
    check_everywhere(row_gates, layers, COUNT(layers), "gates of rows");
}

Test(cuda_experts, equal_the_cpu_s)
{
    // Experts of more than one tile of rows, and more choices than a block has threads.
    const shape_t many[] = {{1, 8, 1}, {5, 64, 2}, {33, 40, 3}, {19, 170, 1}, {400, 16, 2}};
    check_everywhere(experts, many, COUNT(many), "experts");
}

static void optimizer(rig_t *rig, shape_t s, outputs_t *outputs)
{
    const size_t n = s.t * s.n * 37;
    tr_tensor_t weight = floats(rig, 1, n, 1), m = floats(rig, 1, n, 2), v = rig_zeros(rig, 1, n),
                gradient = floats(rig, 1, n, 4);
    tr_tensor_t sums = rig_zeros(rig, 1, TR_SUM_BLOCKS(n));
    const tr_adamw_t options = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0.7f, 3, 0, 0};
    rig->ops->sum_squares(rig->queue, sums, gradient);
    rig->ops->adamw(rig->queue, weight, m, v, gradient, options);
    put(outputs, rig, weight);
    put(outputs, rig, m);
    put(outputs, rig, v);
    put(outputs, rig, sums);
}

Test(cuda_optimizer, equals_the_cpu)
{
    check_everywhere(optimizer, layers, COUNT(layers), "optimizer");
}

/// An update far below a step of bf16: rounding to nearest would lose it each time; stochastic
/// rounding keeps it on average.
Test(cuda_optimizer, stochastic_rounding_keeps_small_updates_on_average)
{
    enum { N = 40000, FIRST = 10000 };
    rig_t rig;
    rig_open_gpu(&rig, TR_BF16);
    float *ones = rig_memory(&rig, N * sizeof *ones);
    for (size_t i = 0; i < N; i++) {
        ones[i] = 1.0f;
    }
    tr_tensor_t weight = rig_real(&rig, 1, N, ones), gradient = rig_tensor(&rig, 1, N, ones);
    tr_tensor_t m = rig_zeros(&rig, 1, N), v = rig_zeros(&rig, 1, N);
    // The first step of AdamW is the learning rate: a tenth of the step of bf16 below 1, which is
    // 2^-8.
    tr_adamw_t options = {0.1 / 256.0, 0.9, 0.999, 1e-12, 0.0, 1.0f, 1, 7, 0};
    rig.ops->adamw(rig.queue, weight, m, v, gradient, options);
    float *updated = rig_read(&rig, weight);
    double mean = 0.0;
    for (size_t i = 0; i < N; i++) {
        cr_assert(updated[i] == 1.0f || updated[i] == 1.0f - 1.0f / 256.0f, "%zu: %g", i,
                  (double)updated[i]);
        mean += (double)updated[i] / N;
    }
    // The standard deviation of the mean is sqrt(0.1 * 0.9 / N) steps: 0.0015. Five of them.
    cr_expect_float_eq((1.0 - mean) * 256.0, 0.1, 0.0075, "moved by %g steps",
                       (1.0 - mean) * 256.0);
    // An element's number is its address, not its place in the call.
    tr_tensor_t part = rig_real(&rig, 1, N - FIRST, ones), zero = rig_zeros(&rig, 1, N - FIRST);
    options.first = FIRST;
    rig.ops->adamw(rig.queue, part, zero, rig_zeros(&rig, 1, N - FIRST),
                   rig_tensor(&rig, 1, N - FIRST, ones), options);
    check_same(rig_read(&rig, part), updated + FIRST, N - FIRST, "a part");
    rig_close(&rig);
}

Test(cuda_memory, a_budget_is_kept_and_the_sentence_has_the_arithmetic)
{
    rig_t rig;
    tr_backend_t *small;
    tr_buffer_t *first, *second;
    tr_error_t err = {0};
    rig_open_gpu(&rig, TR_F32);
    const tr_device_options_t options = {
        .device = "cuda:0", .precision = TR_PRECISION_FP32, .memory = 3 << 20};
    cr_assert_eq(tr_backend_open(&small, &options, &err), TR_OK, "%s", err.text);
    cr_assert_eq(small->ops->buffer_new(small, &first, 2 << 20, &err), TR_OK, "%s", err.text);
    cr_assert_eq(small->ops->buffer_new(small, &second, 2 << 20, &err), TR_ERR_MEMORY);
    cr_expect(strstr(err.text, "cannot allocate 2 MiB") != NULL &&
                  strstr(err.text, "2 MiB are in use") != NULL &&
                  strstr(err.text, "budget is 3 MiB") != NULL,
              "%s", err.text);
    small->ops->buffer_destroy(&first);
    cr_assert_eq(small->ops->buffer_new(small, &second, 2 << 20, &err), TR_OK, "%s", err.text);
    small->ops->buffer_destroy(&second);
    tr_backend_close(&small);
    rig_close(&rig);
}

Test(cuda_device, a_missing_device_gets_a_sentence)
{
    rig_t rig;
    tr_backend_t *backend;
    tr_error_t err = {0};
    rig_open_gpu(&rig, TR_F32);
    const tr_device_options_t beyond = {.device = "cuda:999"}, odd = {.device = "cuda:01"};
    cr_assert_eq(tr_backend_open(&backend, &beyond, &err), TR_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "no cuda:999") != NULL, "%s", err.text);
    cr_assert_eq(tr_backend_open(&backend, &odd, &err), TR_ERR_ARGUMENT);
    cr_expect(strstr(err.text, "'cuda:01'") != NULL, "%s", err.text);
    rig_close(&rig);
}
