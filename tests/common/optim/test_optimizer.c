/// The shape in which gradients add up; AdamW and clipping against PyTorch (tests/golden/adamw.py).
#include "common/optim/optimizer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/golden.h"
#include "tests/support/tensors.h"

enum { N = 1003 };

typedef struct bench {
    rig_t rig;
    tr_tensor_t parameters;
    tr_shards_t shards; // one segment, one rank
    tr_optimizer_t *optimizer;
    size_t n;
} bench_t;

static tr_optimizer_options_t defaults(void)
{
    return (tr_optimizer_options_t){.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
}

static void bench_open_sparing(bench_t *bench, const float *start, size_t n,
                               const tr_parts_t *spared, const tr_optimizer_options_t *options)
{
    tr_error_t err = {0};
    rig_open(&bench->rig, NULL, 2);
    bench->n = n;
    bench->parameters =
        rig_tensor(&bench->rig, 1, n, start == NULL ? rig_random(&bench->rig, n, 1) : start);
    const size_t starts[] = {0, n};
    const tr_ranks_t alone = {0};
    tr_shards_init(&bench->shards, starts, 1, 1, 0);
    tr_status status =
        tr_optimizer_new(&bench->optimizer, bench->rig.backend, bench->rig.queue, bench->parameters,
                         spared, &bench->shards, options, &alone, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
}

static void bench_open(bench_t *bench, const float *start, size_t n,
                       const tr_optimizer_options_t *options)
{
    bench_open_sparing(bench, start, n, NULL, options);
}

static void bench_close(bench_t *bench)
{
    tr_optimizer_destroy(&bench->optimizer);
    tr_shards_release(&bench->shards);
    rig_close(&bench->rig);
}

/// Adds one chunk: [n].
static void add_chunk(bench_t *bench, const float *values)
{
    tr_error_t err = {0};
    tr_gradient_t *into;
    tr_status status = tr_optimizer_round(bench->optimizer, &into, 1, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    tr_tensor_t gradient = into->rest;
    cr_assert_eq(tr_tensor_count(gradient), bench->n);
    float *zeros = rig_memory(&bench->rig, bench->n * sizeof *zeros);
    check_same(rig_read(&bench->rig, gradient), zeros, bench->n, "a new chunk");
    bench->rig.ops->write(bench->rig.queue, gradient, values);
    tr_optimizer_round_end(bench->optimizer);
}

static double step(bench_t *bench, double learning_rate)
{
    tr_error_t err = {0};
    double norm = -1.0;
    tr_status status = tr_optimizer_step(bench->optimizer, learning_rate, &norm, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    return norm;
}

typedef struct state {
    float *parameters, *m, *v;
    uint64_t steps;
} state_t;

static state_t state_of(bench_t *bench)
{
    return (state_t){rig_read(&bench->rig, bench->parameters),
                     rig_read(&bench->rig, tr_optimizer_first_moment(bench->optimizer)),
                     rig_read(&bench->rig, tr_optimizer_second_moment(bench->optimizer)),
                     tr_optimizer_steps(bench->optimizer)};
}

static void check_same_state(const state_t *got, const state_t *want, size_t n)
{
    cr_assert_eq(got->steps, want->steps);
    check_same(got->parameters, want->parameters, n, "parameters");
    check_same(got->m, want->m, n, "m");
    check_same(got->v, want->v, n, "v");
}

/// The documented tree over chunks first..first+count-1 of element i: the largest power of two
/// below count stands left.
static float tree(float *const *chunks, size_t first, size_t count, size_t i)
{
    if (count == 1) {
        return chunks[first][i];
    }
    size_t left = 1;
    while (2 * left < count) {
        left *= 2;
    }
    return tree(chunks, first, left, i) + tree(chunks, first + left, count - left, i);
}

Test(optimizer, chunks_add_up_as_the_documented_tree)
{
    const tr_optimizer_options_t options = {.beta1 = 0.0, .beta2 = 0.9, .epsilon = 1e-8};
    bench_t bench;
    bench_open(&bench, NULL, N, &options);
    float *chunks[17], *expected = rig_memory(&bench.rig, N * sizeof *expected);
    size_t differs = 0;
    for (size_t j = 0; j < 17; j++) {
        chunks[j] = rig_random(&bench.rig, N, 50 + j);
    }
    for (size_t count = 1; count <= 17; count++) {
        for (size_t j = 0; j < count; j++) {
            add_chunk(&bench, chunks[j]);
        }
        step(&bench, 0.0);
        for (size_t i = 0; i < N; i++) {
            float chain = 0.0f;
            for (size_t j = 0; j < count; j++) {
                chain += chunks[j][i];
            }
            expected[i] = tree(chunks, 0, count, i);
            differs += chain != expected[i];
        }
        check_same(state_of(&bench).m, expected, N, "m is the gradient, for beta1 is 0");
    }
    cr_assert_gt(differs, N, "a chain would have passed too");
    bench_close(&bench);
}

Test(optimizer, five_chunks_are_two_pairs_and_one)
{
    const tr_optimizer_options_t options = {.beta1 = 0.0, .beta2 = 0.9, .epsilon = 1e-8};
    const float values[5] = {1e8f, 3.0f, -1e8f, 5.0f, 0.25f};
    bench_t bench;
    bench_open(&bench, NULL, 1, &options);
    for (size_t j = 0; j < 5; j++) {
        add_chunk(&bench, &values[j]);
    }
    step(&bench, 0.0);
    const float expected = ((1e8f + 3.0f) + (-1e8f + 5.0f)) + 0.25f;
    cr_assert_eq(state_of(&bench).m[0], expected);
    bench_close(&bench);
}

static void check_golden(const char *name, const tr_parts_t *spared)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/adamw.json");
    char path[64];
#define PATH(key) (snprintf(path, sizeof path, "%s/" key, name), path)
    const tr_optimizer_options_t options = {
        .beta1 = golden_number(golden, PATH("beta1")),
        .beta2 = golden_number(golden, PATH("beta2")),
        .epsilon = golden_number(golden, PATH("epsilon")),
        .weight_decay = golden_number(golden, PATH("weight_decay")),
        .clip = golden_number(golden, PATH("clip")),
    };
    double learning_rate = golden_number(golden, PATH("learning_rate"));
    size_t n, steps;
    const float *start = golden_floats(golden, PATH("start"), &n);
    const double *norms = golden_doubles(golden, PATH("norms"), &steps);
    const float *gradients = golden_floats(golden, PATH("gradients"), NULL);
    const float *weights = golden_floats(golden, PATH("weights"), NULL);
    bench_t bench;
    bench_open_sparing(&bench, start, n, spared, &options);
    for (size_t i = 0; i < steps; i++) {
        add_chunk(&bench, gradients + i * n);
        double norm = step(&bench, learning_rate);
        cr_assert_float_eq(norm, norms[i], 1e-6 * norms[i]);
        expect_near(name, state_of(&bench).parameters, weights + i * n, n, 1e-6, 1e-7);
        cr_assert_eq(state_of(&bench).steps, i + 1);
    }
    golden_expect(golden, PATH("m"), state_of(&bench).m, n, 1e-5, 1e-7);
    golden_expect(golden, PATH("v"), state_of(&bench).v, n, 1e-5, 1e-7);
    bench_close(&bench);
    golden_close(&golden);
}

Test(optimizer, steps_are_those_of_pytorch)
{
    tr_part_t parts[] = {{4, 5}, {30, 7}}; // of the script
    const tr_parts_t spared = {parts, 2};
    check_golden("defaults", NULL);
    check_golden("decay", NULL);
    check_golden("clipped", NULL);
    check_golden("spared", &spared);
}

static void check_poison(float poison)
{
    bench_t bench;
    tr_error_t err = {0};
    tr_optimizer_options_t options = defaults();
    options.clip = 1.0;
    bench_open(&bench, NULL, N, &options);
    float *good = rig_random(&bench.rig, N, 2), *bad = rig_random(&bench.rig, N, 3);
    add_chunk(&bench, good);
    double good_norm = step(&bench, 1e-2);
    state_t before = state_of(&bench);
    bad[N / 2] = poison;
    add_chunk(&bench, good);
    add_chunk(&bench, bad);
    double norm;
    cr_assert_eq(tr_optimizer_step(bench.optimizer, 1e-2, &norm, &err), TR_ERR_NUMERIC);
    cr_assert_not_null(strstr(err.text, "update 2"), "%s", err.text);
    state_t after = state_of(&bench);
    check_same_state(&after, &before, N);
    add_chunk(&bench, good);
    norm = step(&bench, 1e-2);
    cr_assert_float_eq(norm, good_norm, 1e-9, "the bad chunk is forgotten");
    bench_close(&bench);
}

Test(optimizer, a_gradient_that_is_not_finite_changes_nothing)
{
    check_poison(NAN);
    check_poison(INFINITY);
    check_poison(-INFINITY);
}

/// Two steps; between them chunks that are discarded, if asked for.
static state_t two_steps(bench_t *bench, bool discards)
{
    tr_optimizer_options_t options = defaults();
    bench_open(bench, NULL, N, &options);
    for (uint64_t i = 0; i < 2; i++) {
        add_chunk(bench, rig_random(&bench->rig, N, 10 + i));
        step(bench, 1e-2);
        for (uint64_t j = 0; discards && j < 3; j++) {
            add_chunk(bench, rig_random(&bench->rig, N, 20 + j));
        }
        if (discards) {
            tr_optimizer_discard(bench->optimizer);
        }
    }
    return state_of(bench);
}

Test(optimizer, discarded_chunks_leave_no_trace)
{
    bench_t plain, discarding;
    state_t want = two_steps(&plain, false), got = two_steps(&discarding, true);
    check_same_state(&got, &want, N);
    bench_close(&discarding);
    bench_close(&plain);
}

Test(optimizer, restored_moments_go_on_with_the_same_bits)
{
    bench_t first, second;
    tr_optimizer_options_t options = defaults();
    options.weight_decay = 0.1;
    bench_open(&first, NULL, N, &options);
    for (uint64_t i = 0; i < 3; i++) {
        add_chunk(&first, rig_random(&first.rig, N, 10 + i));
        step(&first, 1e-2);
    }
    state_t saved = state_of(&first);
    bench_open(&second, saved.parameters, N, &options);
    const rig_t *rig = &second.rig;
    rig->ops->write(rig->queue, tr_optimizer_first_moment(second.optimizer), saved.m);
    rig->ops->write(rig->queue, tr_optimizer_second_moment(second.optimizer), saved.v);
    tr_optimizer_resume(second.optimizer, saved.steps);
    for (uint64_t i = 3; i < 5; i++) {
        add_chunk(&first, rig_random(&first.rig, N, 10 + i));
        add_chunk(&second, rig_random(&first.rig, N, 10 + i));
        double norm = step(&first, 1e-2), again = step(&second, 1e-2);
        cr_assert_eq(norm, again);
    }
    state_t want = state_of(&first), got = state_of(&second);
    cr_assert_eq(want.steps, 5);
    check_same_state(&got, &want, N);
    bench_close(&second);
    bench_close(&first);
}
