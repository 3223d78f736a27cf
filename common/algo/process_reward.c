// Process reward models: the loss over labelled steps, and one score from the probabilities of a
// response's steps.
//
// A step's logit is the scalar head's output where the step ends. The same head serves training
// (actor/steps.c) and judging (common/judge/model.c).
#include "common/algo/process_reward.h"

#include "common/algo/logistic.h"
#include "common/base/status.h"

void tr_process_reward_loss(float *dlogits, tr_process_reward_sums_t *sums, const float *logits,
                            const int32_t *labels, size_t n, size_t normalizer)
{
    TR_ASSERT(normalizer > 0, "a mean over no steps");
    for (size_t i = 0; i < n; i++) {
        double z = (double)logits[i];
        dlogits[i] = 0.0f;
        if (labels[i] == TR_STEP_NONE) {
            continue;
        }
        // z for a right step, -z for a wrong one: one formula for both.
        double side = labels[i] == TR_STEP_RIGHT ? 1.0 : -1.0;
        dlogits[i] = (float)(-side * sigmoid(-side * z) / (double)normalizer);
        sums->loss -= log_sigmoid(side * z);
        sums->accuracies += side * z > 0.0;
        sums->chances += sigmoid(z);
        sums->steps++;
    }
}

const char *const tr_step_score_names[] = {"null", "min", "mean", "last", "product", NULL};

double tr_step_score(const float *logits, size_t n, tr_step_score_t kind)
{
    // A sigmoid of the logit is the chance that the step is right.
    // All scores in one pass; steps are few.
    double least = 1.0, sum = 0.0, product = 1.0, last = 0.0;
    for (size_t i = 0; i < n; i++) {
        last = sigmoid((double)logits[i]);
        least = last < least ? last : least;
        sum += last;
        product *= last;
    }
    switch (kind) {
    case TR_STEP_SCORE_MIN: return least;
    case TR_STEP_SCORE_MEAN: return sum / (double)n;
    case TR_STEP_SCORE_PRODUCT: return product;
    // Without steps the model gives one score, and common/judge/model.c does not come here.
    case TR_STEP_SCORE_LAST:
    case TR_STEP_SCORE_NONE: break;
    }
    return last;
}
