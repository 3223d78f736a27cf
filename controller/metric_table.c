// The table of metrics, from which tests/controller/test_metric_table.c makes docs/metrics.md.
//
// A new metric is a row here and a call where it is computed. The order of rows is that of the page
// and of the terminal's line.
#include "controller/metric_table.h"

#include <string.h>

#define NEITHER CONTROLLER_BETTER_NEITHER
#define GREATER CONTROLLER_BETTER_GREATER
#define LESS CONTROLLER_BETTER_LESS

const controller_metric_row_t controller_metric_rows[] = {
    // objective/: TRL's names for what is known before the update.
    // Responses and their scores
    {"objective/scores", "score", "responses", "score, after `missing_eos_penalty`", "score", false,
     GREATER},
    // Of grpo and its kin
    {"reward", "score", "responses", "score of a response", "reward", false, GREATER},
    {"reward_greedy", "score", "prompts",
     "score of the likeliest response, the baseline of `remax`", NULL, false, GREATER},
    {"frac_reward_zero_std", "share", "prompts",
     "the rewards of its responses are all the same, so nothing is learnt of them", NULL, false,
     LESS},
    {"objective/kl", "nats", "responses",
     "KL of a response against the reference, by `kl_estimator`, summed over its tokens", "kl",
     false, LESS},
    {"objective/entropy", "nats", "responses", "−log-probability summed over a response", "entropy",
     false, NEITHER},
    {"objective/non_score_reward", "score", "responses", "−`kl_coef` · KL", NULL, false, NEITHER},
    {"objective/rlhf_reward", "score", "responses", "`non_score_reward` + `scores`", NULL, false,
     GREATER},
    {"objective/scores_std", "score", "the step's responses", "standard deviation of the scores",
     NULL, false, NEITHER},
    {"objective/scores_margin", "score", "prompts",
     "score of a prompt's best response less that of its worst", NULL, false, NEITHER},
    {"objective/ties", "prompts", "the step, a sum",
     "prompts whose scored responses all have the same score: no pair is learnt of them", NULL,
     false, NEITHER},
    // The judges of the recipe, by their names there; extras by the names that they give.
    {"rewards/*/mean", "score", "responses", "what one judge of the recipe said, before its weight",
     NULL, false, GREATER},
    {"rewards/*/std", "score", "the step's responses", "standard deviation of it", NULL, false,
     NEITHER},
    {"rewards/*/unscored", "responses", "the step, a sum",
     "responses that the judge could not score (it said null); missing where there is none", NULL,
     false, NEITHER},
    {"judge/*/*", "the judge's", "responses for which it was given",
     "a number that the judge gave by name", NULL, false, GREATER},
    {"completions/mean_length", "tokens", "responses", "length of a response", NULL, false,
     NEITHER},
    {"completions/min_length", "tokens", "the least", "that of the shortest", NULL, false, NEITHER},
    {"completions/max_length", "tokens", "the greatest", "that of the longest", NULL, false,
     NEITHER},
    {"completions/clipped_ratio", "share", "responses", "nothing ended it: it was cut", NULL, false,
     LESS},
    {"completions/mean_terminated_length", "tokens", "responses that something ended",
     "length of a response; 0 where there is none", NULL, false, NEITHER},
    {"completions/min_terminated_length", "tokens", "the least of them", "that of the shortest",
     NULL, false, NEITHER},
    {"completions/max_terminated_length", "tokens", "the greatest of them", "that of the longest",
     NULL, false, NEITHER},
    {"response_length", "tokens", "responses", "length of a response", NULL, false, NEITHER},
    {"val/kept_tokens", "tokens", "response tokens",
     "tokens that `top_k`, `top_p` and `min_p` left to sample from", NULL, false, NEITHER},
    {"val/num_eos_tokens", "tokens", "the step, a sum", "end-of-sequence tokens in the responses",
     NULL, false, NEITHER},
    // TRL counts a response as an episode, whatever becomes of it.
    {"episode", "responses", "the run so far, a sum", "responses", NULL, false, NEITHER},

    // Of algorithms on rows and of online_dpo and rejection_sampling, by TRL's names. Two
    // algorithms may share one.
    // Training
    {"loss", "nats", "tokens, pairs or completions", "the loss that is minimised", "loss", false,
     LESS},
    {"accuracy", "share", "pairs or steps",
     "the chosen side has the higher score; the step's logit is on the right side", "accuracy",
     false, GREATER},
    // DPO's implicit rewards: beta times the log ratio of policy to reference.
    {"rewards/accuracies", "share", "pairs", "the chosen completion has the higher reward",
     "accuracy", false, GREATER},
    {"rewards/margins", "nats", "pairs; `kto`: difference of the two means",
     "reward of the chosen less that of the rejected", "margin", false, GREATER},
    {"rewards/chosen", "nats", "completions", "β (log-prob less the reference's) of chosen ones",
     NULL, false, NEITHER},
    {"rewards/rejected", "nats", "completions", "the same of rejected ones", NULL, false, NEITHER},
    {"logps/chosen", "nats", "completions", "log-prob of a chosen completion, summed", NULL, false,
     NEITHER},
    {"logps/rejected", "nats", "completions", "the same of rejected ones", NULL, false, NEITHER},
    {"logits/chosen", "logits", "tokens", "mean logit over the vocabulary, chosen completions",
     NULL, false, NEITHER},
    {"logits/rejected", "logits", "tokens", "the same of rejected ones", NULL, false, NEITHER},
    // Only where sft is one of the losses; it is a part of `loss` then.
    {"nll_loss", "nats", "tokens", "negative log-likelihood of chosen completions (loss `sft`)",
     NULL, false, LESS},
    {"kl", "nats", "tokens; in `kto` completions",
     "KL against the reference, by `kl_estimator`; the estimate of `kto`, from mismatched "
     "completions",
     NULL, false, NEITHER},
    {"entropy", "nats", "tokens", "entropy of the distribution, from the logits", NULL, false,
     NEITHER},
    {"mean_token_accuracy", "share", "tokens", "the likeliest token is the one that stands there",
     NULL, false, GREATER},
    // Of reward models. The deviation comes from the mean of squares (metrics.c).
    {"mean_reward", "score", "both sides of pairs", "score of a reward model", NULL, false,
     NEITHER},
    {"reward_std", "score", "both sides of pairs; in `grpo` the step's responses",
     "standard deviation of the score", NULL, false, NEITHER},
    {"min_reward", "score", "the least; of held-out batches the mean", "lowest score", NULL, false,
     NEITHER},
    {"max_reward", "score", "the greatest; of held-out batches the mean", "highest score", NULL,
     false, NEITHER},
    {"margin", "score", "pairs", "score of the chosen side less that of the rejected", NULL, false,
     GREATER},
    {"mean_step_score", "share", "steps", "chance that a step is right, as the model has it", NULL,
     false, NEITHER},
    // Of all algorithms that train on rows.
    {"grad_norm", "1", "updates", "global norm of the gradient, before clipping", NULL, false,
     NEITHER},
    {"learning_rate", "1", "the step's", "learning rate", NULL, false, NEITHER},
    // Of models with experts, while they learn; of the policy in PPO.
    {"aux_loss", "1", "sequences",
     "load-balancing loss of the routers, before its coefficient; 1 "
     "for each expert that a token has if all are used alike",
     NULL, false, LESS},
    {"router/entropy", "nats", "sequences", "entropy of the routers' distributions", NULL, false,
     NEITHER},
    {"router/max_load", "1", "sequences and layers",
     "choices of the busiest expert by those that it would have if all were used alike", NULL,
     false, LESS},
    {"num_tokens", "tokens", "the run so far, a sum", "tokens of the rows seen, prompts included",
     NULL, false, NEITHER},
    {"epoch", "passes", "the run so far", "passes over the rows: steps by the steps of a pass",
     NULL, false, NEITHER},

    // Of the policy losses of grpo and its kin. A ratio is of a token or, where one is of a whole
    // response, of that.
    {"clip_ratio/low_mean", "share", "ratios of all updates", "the ratio was clipped from below",
     NULL, false, NEITHER},
    {"clip_ratio/low_min", "share", "the least over responses", "tokens clipped from below", NULL,
     false, NEITHER},
    {"clip_ratio/high_mean", "share", "ratios of all updates", "the ratio was clipped from above",
     NULL, false, NEITHER},
    {"clip_ratio/high_max", "share", "the greatest over responses", "tokens clipped from above",
     NULL, false, NEITHER},
    {"clip_ratio/region_mean", "share", "ratios of all updates", "either of them", "clip", true,
     NEITHER},
    {"cispo_clip_ratio", "share", "ratios of all updates",
     "the ratio was capped where the advantage is positive (loss `cispo`)", NULL, false, NEITHER},
    {"vespo/phi_seq_mean", "1", "responses of all updates", "the weight of loss `vespo`", NULL,
     false, NEITHER},
    // Two learners, so two gradient norms. A mean is over all tokens of all epochs.
    // PPO
    {"policy/clipfrac_avg", "share", "tokens of all updates",
     "the clipped policy loss was the larger", "clip", true, NEITHER},
    {"policy/approxkl_avg", "nats", "tokens of all updates", "½ (new − old log-prob)²", NULL, false,
     NEITHER},
    {"policy/entropy_avg", "nats", "tokens of all updates",
     "entropy of the distribution, from the logits", NULL, false, NEITHER},
    {"policy/epochs", "epochs", "the step's", "epochs that the actor took (`ppo.target_kl`)", NULL,
     false, NEITHER},
    {"loss/policy_avg", "1", "tokens of all updates", "the policy's loss", NULL, false, NEITHER},
    {"loss/value_avg", "score²", "tokens of all updates", "the value loss, without `vf_coef`", NULL,
     false, NEITHER},
    {"val/clipfrac_avg", "share", "tokens of all updates", "the clipped value loss was the larger",
     NULL, false, NEITHER},
    {"val/ratio", "1", "tokens of all updates", "ratio of new to old probability", NULL, false,
     NEITHER},
    {"val/ratio_var", "1", "minibatches", "variance of their mean ratios", NULL, false, NEITHER},
    {"val/explained_var", "1", "the step's tokens",
     "1 − var(return − value) / var(return): 1 a perfect critic, 0 one no better than a constant",
     NULL, false, NEITHER},
    {"grad_norm/actor", "1", "updates", "global norm of the actor's gradient, before clipping",
     NULL, false, NEITHER},
    {"grad_norm/critic", "1", "updates", "the same of the critic's", NULL, false, NEITHER},
    {"lr", "1", "the step's", "learning rate of the actor", NULL, false, NEITHER},
    // Troupe's own: the promise that a rollout and the actor compute the same bits.
    {"exact/logprob_mismatch", "nats", "the greatest over the step's tokens",
     "difference between a rollout's log-prob and the actor's before the first update; must be 0",
     NULL, false, NEITHER},

    // Not the same in two runs: what compares runs leaves these out.
    // Time
    {"eps", "responses/s", "the step", "responses a second", NULL, false, NEITHER},
    {"time/*", "s", "the step", "seconds of a phase, or of the whole `step`", NULL, false, NEITHER},
    {"tokens_per_second/*", "tokens/s", "the step", "tokens a second of a phase", NULL, false,
     NEITHER},
    {"idle/*", "share", "the step", "time that a role waited", NULL, false, NEITHER},
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
