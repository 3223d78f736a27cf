/// Process reward models: whether each step of a response is right (Uesato et al. 2022, arXiv
/// 2211.14275; Lightman et al. 2023, arXiv 2305.20050).
#ifndef TR_ALGO_PROCESS_REWARD_H
#define TR_ALGO_PROCESS_REWARD_H

#include <stddef.h>
#include <stdint.h>

enum {
    TR_STEP_NONE = -1,
    TR_STEP_WRONG = 0,
    TR_STEP_RIGHT = 1
}; ///< labels; none: no step ends here

/// Sums over the labelled steps of a batch. Start from all zeros ({0}).
typedef struct tr_process_reward_sums {
    size_t steps;
    double loss;       ///< divide by steps, as the others
    double accuracies; ///< steps whose logit has the sign of their label
    double chances;    ///< sum of the probabilities that a step is right
} tr_process_reward_sums_t;

/// Binary cross-entropy: -log s(z) for a right step, -log s(-z) for a wrong one; what TRL's two
/// logits z0, z1 give for z = z1 - z0. dlogits: [n], written: d (sum / normalizer) / dz, 0 where no
/// step ends. logits: [n]. labels: [n]. normalizer: steps of the whole batch. sums: continued.
void tr_process_reward_loss(float *dlogits, tr_process_reward_sums_t *sums, const float *logits,
                            const int32_t *labels, size_t n, size_t normalizer);

/// How the probabilities of a response's steps become one score.
typedef enum tr_step_score {
    TR_STEP_SCORE_NONE, ///< "null": the model judges no steps
    TR_STEP_SCORE_MIN,
    TR_STEP_SCORE_MEAN,
    TR_STEP_SCORE_LAST,
    TR_STEP_SCORE_PRODUCT
} tr_step_score_t;

/// "null", "min", ..., NULL.
extern const char *const tr_step_score_names[];

/// One score in [0, 1] from the steps' logits: [n], n >= 1, by their sigmoids.
double tr_step_score(const float *logits, size_t n, tr_step_score_t kind);

#endif
