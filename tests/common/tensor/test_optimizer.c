/// AdamW against PyTorch's formula in double, and the sum of squares by blocks.
#include <criterion/criterion.h>
#include <math.h>

#include "tests/support/tensors.h"

enum { N = 20011, STEPS = 5 };

typedef struct state {
    float *weight, *m, *v;
} state_t;

static const tr_adamw_t options = {.learning_rate = 1e-2,
                                   .beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .epsilon = 1e-8,
                                   .weight_decay = 0.1,
                                   .scale = 0.5f};

static state_t train(rig_t *rig)
{
    tr_tensor_t weight = rig_tensor(rig, 1, N, rig_random(rig, N, 1));
    tr_tensor_t m = rig_zeros(rig, 1, N), v = rig_zeros(rig, 1, N);
    tr_adamw_t step = options;
    for (step.step = 1; step.step <= STEPS; step.step++) {
        rig->ops->adamw(rig->queue, weight, m, v,
                        rig_tensor(rig, 1, N, rig_random(rig, N, 10 + step.step)), step);
    }
    return (state_t){rig_read(rig, weight), rig_read(rig, m), rig_read(rig, v)};
}

Test(adamw, equals_the_paper)
{
    rig_t rig;
    rig_open(&rig, NULL, 2);
    state_t got = train(&rig);
    double *w = rig_memory(&rig, N * sizeof *w), *m = rig_memory(&rig, N * sizeof *m),
           *v = rig_memory(&rig, N * sizeof *v);
    float *start = rig_random(&rig, N, 1);
    for (size_t i = 0; i < N; i++) {
        w[i] = (double)start[i];
    }
    for (size_t step = 1; step <= STEPS; step++) {
        float *gradient = rig_random(&rig, N, 10 + step);
        for (size_t i = 0; i < N; i++) {
            double g = 0.5 * (double)gradient[i];
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            double mean = m[i] / (1.0 - pow(0.9, (double)step)),
                   square = v[i] / (1.0 - pow(0.999, (double)step));
            w[i] = w[i] - 1e-2 * 0.1 * w[i] - 1e-2 * mean / (sqrt(square) + 1e-8);
        }
    }
    check_close(got.m, m, N, 1e-6, "m");
    check_close(got.v, v, N, 1e-6, "v");
    check_close(got.weight, w, N, 1e-6, "weight");
    rig_close(&rig);
}

Test(adamw, threads_and_instruction_sets_give_the_same_bits)
{
    rig_t plain;
    rig_open(&plain, "generic", 1);
    state_t want = train(&plain);
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (rig_open(&rig, rig_isas[i], 2)) {
            state_t got = train(&rig);
            check_same(got.weight, want.weight, N, rig_isas[i]);
            check_same(got.m, want.m, N, rig_isas[i]);
            check_same(got.v, want.v, N, rig_isas[i]);
            rig_close(&rig);
        }
    }
    rig_close(&plain);
}

Test(sum_squares, equals_the_formula_with_the_same_bits_everywhere)
{
    const size_t counts[] = {1, 15, 4096, 4097, 300001};
    for (size_t j = 0; j < sizeof counts / sizeof counts[0]; j++) {
        float first = 0.0f;
        for (size_t i = 0; i < RIG_ISAS; i++) {
            rig_t rig;
            if (!rig_open(&rig, rig_isas[i], i + 1)) {
                continue;
            }
            float *x = rig_random(&rig, counts[j], 7);
            double want = 0.0;
            for (size_t k = 0; k < counts[j]; k++) {
                want += (double)x[k] * (double)x[k];
            }
            size_t blocks = TR_SUM_BLOCKS(counts[j]);
            tr_tensor_t sums = rig_zeros(&rig, 1, blocks);
            rig.ops->sum_squares(rig.queue, sums, rig_tensor(&rig, 1, counts[j], x));
            const float *parts = rig_read(&rig, sums);
            double total = 0.0;
            for (size_t b = 0; b < blocks; b++) {
                total += (double)parts[b];
            }
            const float got = (float)total;
            check_close(&got, &want, 1, 1e-6, "sum");
            first = i == 0 ? got : first;
            check_same(&got, &first, 1, rig_isas[i]);
            rig_close(&rig);
        }
    }
}
