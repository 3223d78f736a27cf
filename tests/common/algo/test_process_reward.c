// The loss over labelled steps against the cross-entropy of TRL's two logits
// (tests/golden/process_reward.json).
#include <criterion/criterion.h>
#include <string.h>

#include "common/algo/process_reward.h"
#include "tests/support/golden.h"

enum { MOST = 32 };

Test(process_reward, loss_and_gradient_are_the_cross_entropy_of_two_logits)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/process_reward.json");
    tr_process_reward_sums_t sums = {0};
    float gradient[MOST], steps[MOST];
    size_t n, count = 0;
    const float *logits = golden_floats(golden, "logits", &n);
    const int32_t *labels = golden_ints(golden, "labels", NULL);
    for (size_t i = 0; i < n; i++) {
        if (labels[i] != TR_STEP_NONE) {
            steps[count++] = logits[i];
        }
    }
    tr_process_reward_loss(gradient, &sums, logits, labels, 4, count); // in two chunks
    tr_process_reward_loss(gradient + 4, &sums, logits + 4, labels + 4, n - 4, count);
    cr_expect_eq(sums.steps, count);
    golden_expect_number(golden, "loss", sums.loss / (double)count, 1e-6, 0);
    golden_expect_number(golden, "accuracy", sums.accuracies / (double)count, 1e-6, 0);
    golden_expect(golden, "gradient", gradient, n, 1e-6, 1e-9);
    const float scores[] = {(float)tr_step_score(steps, count, TR_STEP_SCORE_MIN),
                            (float)tr_step_score(steps, count, TR_STEP_SCORE_MEAN),
                            (float)tr_step_score(steps, count, TR_STEP_SCORE_LAST),
                            (float)tr_step_score(steps, count, TR_STEP_SCORE_PRODUCT)};
    golden_expect(golden, "scores", scores, 4, 1e-6, 0);
    golden_close(&golden);
}
