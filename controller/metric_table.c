// The table of metrics, from which tests/controller/test_metric_table.c makes docs/metrics.md.
//
// A new metric is a row here and a call where it is computed. The order of rows is that of the page
// and of the terminal's line.
#include "controller/metric_table.h"

#include <string.h>

const controller_metric_row_t controller_metric_rows[] = {
    // objective/: TRL's names for what is known before the update.
    // Responses and their scores
    {"objective/scores", "score", "responses", "score, after `missing_eos_penalty`", "score",
     false},
    {"objective/kl", "nats", "responses",
     "KL of a response against the reference, by `kl_estimator`, summed over its tokens", "kl",
     false},
    {"objective/entropy", "nats", "responses", "−log-probability summed over a response", "entropy",
     false},
    {"objective/non_score_reward", "score", "responses", "−`kl_coef` · KL", NULL, false},
    {"objective/rlhf_reward", "score", "responses", "`non_score_reward` + `scores`", NULL, false},
    {"objective/scores_std", "score", "the step's responses", "standard deviation of the scores",
     NULL, false},
    {"objective/scores_margin", "score", "prompts",
     "score of a prompt's best response less that of its worst", NULL, false},
    {"objective/ties", "prompts", "the step, a sum",
     "prompts whose responses all have the same score: no pair is learnt of them", NULL, false},
    // The judges of the recipe, by their names there; extras by the names that they give.
    {"rewards/*/mean", "score", "responses", "what one judge of the recipe said, before its weight",
     NULL, false},
    {"rewards/*/std", "score", "the step's responses", "standard deviation of it", NULL, false},
    {"judge/*/*", "the judge's", "responses for which it was given",
     "a number that the judge gave by name", NULL, false},
    {"response_length", "tokens", "responses", "length of a response", NULL, false},
    {"val/kept_tokens", "tokens", "response tokens",
     "tokens that `top_k`, `top_p` and `min_p` left to sample from", NULL, false},
    {"val/num_eos_tokens", "tokens", "the step, a sum", "end-of-sequence tokens in the responses",
     NULL, false},
    // TRL counts a response as an episode, whatever becomes of it.
    {"episode", "responses", "the run so far, a sum", "responses", NULL, false},

    // Of algorithms on rows and of online_dpo and rejection_sampling, by TRL's names. Two
    // algorithms may share one.
    // Training
    {"loss", "nats", "tokens, pairs or completions", "the loss that is minimised", "loss", false},
    {"accuracy", "share", "pairs or steps",
     "the chosen side has the higher score; the step's logit is on the right side", "accuracy",
     false},
    // DPO's implicit rewards: beta times the log ratio of policy to reference.
    {"rewards/accuracies", "share", "pairs", "the chosen completion has the higher reward",
     "accuracy", false},
    {"rewards/margins", "nats", "pairs; `kto`: difference of the two means",
     "reward of the chosen less that of the rejected", "margin", false},
    {"rewards/chosen", "nats", "completions", "β (log-prob less the reference's) of chosen ones",
     NULL, false},
    {"rewards/rejected", "nats", "completions", "the same of rejected ones", NULL, false},
    {"logps/chosen", "nats", "completions", "log-prob of a chosen completion, summed", NULL, false},
    {"logps/rejected", "nats", "completions", "the same of rejected ones", NULL, false},
    {"logits/chosen", "logits", "tokens", "mean logit over the vocabulary, chosen completions",
     NULL, false},
    {"logits/rejected", "logits", "tokens", "the same of rejected ones", NULL, false},
    // Only where sft is one of the losses; it is a part of `loss` then.
    {"nll_loss", "nats", "tokens", "negative log-likelihood of chosen completions (loss `sft`)",
     NULL, false},
    {"kl", "nats", "completions", "the KL estimate of `kto`, from mismatched completions", NULL,
     false},
    {"entropy", "nats", "tokens", "entropy of the distribution, from the logits", NULL, false},
    {"mean_token_accuracy", "share", "tokens", "the likeliest token is the one that stands there",
     NULL, false},
    // Of reward models. The deviation comes from the mean of squares (metrics.c).
    {"mean_reward", "score", "both sides of pairs", "score of a reward model", NULL, false},
    {"reward_std", "score", "both sides of pairs", "standard deviation of it", NULL, false},
    {"min_reward", "score", "the least; of held-out batches the mean", "lowest score", NULL, false},
    {"max_reward", "score", "the greatest; of held-out batches the mean", "highest score", NULL,
     false},
    {"margin", "score", "pairs", "score of the chosen side less that of the rejected", NULL, false},
    {"mean_step_score", "share", "steps", "chance that a step is right, as the model has it", NULL,
     false},
    // Of all algorithms that train on rows.
    {"grad_norm", "1", "updates", "global norm of the gradient, before clipping", NULL, false},
    {"learning_rate", "1", "the step's", "learning rate", NULL, false},
    {"num_tokens", "tokens", "the run so far, a sum", "tokens of the rows seen, prompts included",
     NULL, false},
    {"epoch", "passes", "the run so far", "passes over the rows: steps by the steps of a pass",
     NULL, false},

    // Two learners, so two gradient norms. A mean is over all tokens of all epochs.
    // PPO
    {"policy/clipfrac_avg", "share", "tokens of all updates",
     "the clipped policy loss was the larger", "clip", true},
    {"policy/approxkl_avg", "nats", "tokens of all updates", "½ (new − old log-prob)²", NULL,
     false},
    {"policy/entropy_avg", "nats", "tokens of all updates",
     "entropy of the distribution, from the logits", NULL, false},
    {"policy/epochs", "epochs", "the step's", "epochs that the actor took (`ppo.target_kl`)", NULL,
     false},
    {"loss/policy_avg", "1", "tokens of all updates", "the policy's loss", NULL, false},
    {"loss/value_avg", "score²", "tokens of all updates", "the value loss, without `vf_coef`", NULL,
     false},
    {"val/clipfrac_avg", "share", "tokens of all updates", "the clipped value loss was the larger",
     NULL, false},
    {"val/ratio", "1", "tokens of all updates", "ratio of new to old probability", NULL, false},
    {"val/ratio_var", "1", "minibatches", "variance of their mean ratios", NULL, false},
    {"val/explained_var", "1", "the step's tokens",
     "1 − var(return − value) / var(return): 1 a perfect critic, 0 one no better than a constant",
     NULL, false},
    {"grad_norm/actor", "1", "updates", "global norm of the actor's gradient, before clipping",
     NULL, false},
    {"grad_norm/critic", "1", "updates", "the same of the critic's", NULL, false},
    {"lr", "1", "the step's", "learning rate of the actor", NULL, false},
    // Troupe's own: the promise that a rollout and the actor compute the same bits.
    {"exact/logprob_mismatch", "nats", "the greatest over the step's tokens",
     "difference between a rollout's log-prob and the actor's before the first update; must be 0",
     NULL, false},

    // Not the same in two runs: what compares runs leaves these out.
    // Time
    {"eps", "responses/s", "the step", "responses a second", NULL, false},
    {"time/*", "s", "the step", "seconds of a phase, or of the whole `step`", NULL, false},
    {"tokens_per_second/*", "tokens/s", "the step", "tokens a second of a phase", NULL, false},
    {"idle/*", "share", "the step", "time that a role waited", NULL, false},
};
const size_t controller_metric_count =
    sizeof controller_metric_rows / sizeof controller_metric_rows[0];

/// Whether the name fits the pattern: '*' takes everything up to the next slash, and at the end of
/// a pattern everything, since a judge may give its numbers any names.
static bool matches(const char *pattern, const char *name)
{
    while (*pattern != '\0') {
        // No backtracking: what a star takes is known at once.
        if (*pattern == '*') {
            size_t part = *++pattern == '\0' ? strlen(name) : strcspn(name, "/");
            if (part == 0) {
                return false;
            }
            name += part;
        } else if (*pattern++ != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

const controller_metric_row_t *controller_metric_row(const char *name)
{
    // A metric of held-out rows is documented by the one it is named after.
    const char *bare = strncmp(name, "eval_", 5) == 0 ? name + 5 : name;
    for (size_t i = 0; i < controller_metric_count; i++) {
        if (matches(controller_metric_rows[i].name, bare)) {
            return &controller_metric_rows[i];
        }
    }
    return NULL;
}
