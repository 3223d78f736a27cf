// The rows of the table of algorithms, and what a recipe's algorithm says of its reference.
//
// The table is the one place that knows what sets PPO, SFT or DPO apart. The controller, the actor,
// the checks of a recipe and `troupe check` ask a row (has it a critic, does it need a reference)
// and never compare names. Next: algorithms.h for the columns, controller/run.c for the caller.
#include "common/recipe/algorithms.h"

#include <string.h>

#include "common/data/kinds.h"
#include "common/recipe/recipe.h"

/// The macros keep a row free of offsets: LOSS names the table of a method's options and where
/// their struct lies in the recipe, MAX_LENGTH the key that bounds its rows.
#define LOSS(table, member) .loss = &(table), .loss_offset = offsetof(tr_recipe_t, member)
#define MAX_LENGTH(key) .max_length_key = #key, .max_length_offset = offsetof(tr_recipe_t, key)

/// `cpo`, `simpo` and `orpo` compare with no reference: no process, no memory and no file for one.
static bool dpo_needs_reference(const tr_recipe_t *recipe)
{
    return tr_dpo_needs_reference(&recipe->dpo.loss);
}

/// GRPO and its kin generate, have no critic, and differ in their estimators alone.
#define GROUP (TR_READS_PROMPTS | TR_READS_REFERENCE | TR_READS_OPTIMIZER | TR_READS_GROUP)
#define GROUP_LOSS                                                                          \
    .group = 1, .rows = TR_ROWS_OF(PROMPTS), .learning_rate = 1e-6, .method = "train_grpo", \
    LOSS(tr_policy_fields, grpo.loss), .needs_reference = has_kl

tr_policy_options_t tr_recipe_policy(const tr_recipe_t *recipe)
{
    tr_policy_options_t options = recipe->grpo.loss;
    tr_policy_resolve(&options, &tr_recipe_algorithm(recipe)->estimator->defaults);
    options.max_completion_length = recipe->generation.max_new_tokens;
    return options;
}

/// Without a KL penalty there is no process, no memory and no file for a reference.
static bool has_kl(const tr_recipe_t *recipe)
{
    return tr_recipe_policy(recipe).beta > 0.0;
}

const tr_algorithm_t tr_algorithms[] = {
    {
        .name = "ppo",
        .reads = TR_READS_PROMPTS | TR_READS_REFERENCE | TR_READS_CRITIC | TR_READS_OPTIMIZER |
                 TR_READS_PPO,
        .group = 1,
        .rows = TR_ROWS_OF(PROMPTS),
        .learning_rate = 3e-6,
        .method = "train",
        LOSS(tr_ppo_fields, ppo),
    },
    {
        .name = "sft",
        .reads = TR_READS_ROWS | TR_READS_OPTIMIZER | TR_READS_SFT | TR_READS_SFT_ROWS,
        .group = 1,
        .rows = TR_ROWS_OF(PROMPT_COMPLETION) | TR_ROWS_OF(MESSAGES) | TR_ROWS_OF(TEXT),
        .learning_rate = 2e-5,
        .method = "train_sft",
        LOSS(tr_sft_fields, sft.loss),
        MAX_LENGTH(sft.max_length),
    },
    {
        .name = "reward", // a reward model from pairs, or a process reward model from steps
        .reads = TR_READS_ROWS | TR_READS_OPTIMIZER | TR_READS_REWARD,
        // reward has pairs: both sides of one must be in the same chunk of a batch
        .group = 2,
        .rows = TR_ROWS_OF(STEPWISE) | TR_ROWS_OF(WHOLE_PAIRS),
        // one number a token instead of a distribution over the vocabulary
        .scalar = true,
        .learning_rate = 1e-4,
        .method = "train_reward",
        LOSS(tr_reward_fields, reward.loss),
        MAX_LENGTH(reward.max_length),
    },
    {
        .name = "dpo",
        .reads = TR_READS_ROWS | TR_READS_REFERENCE | TR_READS_OPTIMIZER | TR_READS_DPO |
                 TR_READS_DPO_ROWS,
        .group = 2,
        .rows = TR_ROWS_OF(PAIRS),
        .learning_rate = 1e-6,
        .method = "train_dpo",
        LOSS(tr_dpo_fields, dpo.loss),
        MAX_LENGTH(dpo.max_length),
        .needs_reference = dpo_needs_reference,
        // only dpo and kto can ask the reference before the first step: their rows are known by
        // then
        .precompute_offset = offsetof(tr_recipe_t, dpo.precompute_ref_log_probs),
    },
    {
        .name = "kto",
        .reads = TR_READS_ROWS | TR_READS_REFERENCE | TR_READS_OPTIMIZER | TR_READS_KTO,
        .group = 1,
        .rows = TR_ROWS_OF(UNPAIRED) | TR_ROWS_OF(LABELLED),
        .learning_rate = 1e-6,
        .method = "train_kto",
        LOSS(tr_kto_fields, kto.loss),
        MAX_LENGTH(kto.max_length),
        .precompute_offset = offsetof(tr_recipe_t, kto.precompute_ref_log_probs),
    },
    {
        .name = "online_dpo", // DPO on the best and the worst of a prompt's own responses
        .reads = TR_READS_PROMPTS | TR_READS_REFERENCE | TR_READS_OPTIMIZER | TR_READS_DPO,
        .compares = true,
        .group = 2,
        .rows = TR_ROWS_OF(PROMPTS),
        .learning_rate = 5e-7,
        .method = "train_dpo",
        LOSS(tr_dpo_fields, dpo.loss),
        .needs_reference = dpo_needs_reference,
    },
    {
        .name = "rejection_sampling", // SFT on the best of a prompt's own responses
        .reads = TR_READS_PROMPTS | TR_READS_OPTIMIZER | TR_READS_SFT,
        .compares = true,
        .group = 1,
        .rows = TR_ROWS_OF(PROMPTS),
        .learning_rate = 2e-5,
        .method = "train_sft",
        LOSS(tr_sft_fields, sft.loss),
    },
    {
        .name = "grpo", // against the mean of the prompt's responses, by their deviation
        .reads = GROUP | TR_READS_GRPO,
        .compares = true,
        .estimator = &tr_estimator_grpo,
        GROUP_LOSS,
    },
    {
        .name = "rloo", // against the mean of the prompt's other responses
        .reads = GROUP | TR_READS_RLOO,
        .compares = true,
        .estimator = &tr_estimator_rloo,
        GROUP_LOSS,
    },
    {
        .name = "reinforce_plus_plus", // discounted returns, whitened over the step's tokens
        .reads = GROUP | TR_READS_RETURNS,
        .estimator = &tr_estimator_reinforce_plus_plus,
        GROUP_LOSS,
    },
    {
        .name = "reinforce_plus_plus_baseline", // against the prompt's mean, then whitened
        .reads = GROUP,
        .compares = true,
        .estimator = &tr_estimator_reinforce_plus_plus_baseline,
        GROUP_LOSS,
    },
    {
        .name = "opo", // against the mean of the prompt's responses, weighted by their lengths
        .reads = GROUP,
        .compares = true,
        .estimator = &tr_estimator_opo,
        GROUP_LOSS,
    },
    {
        .name = "flash_reinforce", // against the mean of the step's responses
        .reads = GROUP,
        .estimator = &tr_estimator_flash_reinforce,
        GROUP_LOSS,
    },
    {
        .name = "remax", // against the score of the prompt's likeliest response
        .reads = GROUP,
        .estimator = &tr_estimator_remax,
        GROUP_LOSS,
    },
    {
        // no method and no loss: neither an actor nor a critic is started
        .name = "sample", // nothing is trained: responses and their scores alone
        .reads = TR_READS_PROMPTS,
        .group = 1,
        .rows = TR_ROWS_OF(PROMPTS),
    },
    {.name = NULL},
};
const size_t tr_algorithm_count = sizeof tr_algorithms / sizeof tr_algorithms[0] - 1;

const tr_algorithm_t *tr_recipe_algorithm(const tr_recipe_t *recipe)
{
    // the key has the table as its choices, so its value is an index of it
    return &tr_algorithms[recipe->algorithm];
}

/// Two questions: may the algorithm have a reference at all (`reads`), and do the options at hand
/// use it.
bool tr_recipe_reads_reference(const tr_recipe_t *recipe)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    return (algorithm->reads & TR_READS_REFERENCE) != 0 &&
           (algorithm->needs_reference == NULL || algorithm->needs_reference(recipe));
}

unsigned tr_recipe_reads(const tr_recipe_t *recipe)
{
    unsigned reads = tr_recipe_algorithm(recipe)->reads;
    return tr_recipe_reads_reference(recipe) ? reads : reads & ~(unsigned)TR_READS_REFERENCE;
}

bool tr_recipe_precomputes_reference(const tr_recipe_t *recipe)
{
    // 0 is the offset of `name`, which is no bool, so it can stand for "this algorithm cannot"
    size_t offset = tr_recipe_algorithm(recipe)->precompute_offset;
    return offset > 0 && *(const bool *)((const char *)recipe + offset) &&
           tr_recipe_reads_reference(recipe);
}

uint64_t tr_recipe_minibatches(const tr_recipe_t *recipe)
{
    unsigned reads = tr_recipe_algorithm(recipe)->reads;
    return reads & TR_READS_PPO     ? recipe->ppo.num_mini_batches
           : reads & TR_READS_GROUP ? recipe->grpo.loss.steps_per_generation
                                    : 1;
}

/// apo_zero_unpaired reads no KL, so it needs no mismatched completions.
bool tr_recipe_mismatches(const tr_recipe_t *recipe)
{
    return (tr_recipe_algorithm(recipe)->reads & TR_READS_KTO) != 0 &&
           recipe->kto.loss.loss_type == TR_KTO_KTO;
}

/// online_dpo reads dpo's options too, so the bit of its loss decides, not the name.
bool tr_recipe_syncs_reference(const tr_recipe_t *recipe)
{
    return (tr_recipe_algorithm(recipe)->reads & TR_READS_DPO) != 0 && recipe->dpo.sync_ref_model;
}

bool tr_recipe_adapts(const tr_recipe_t *recipe)
{
    return recipe->adapter != NULL || recipe->lora.r > 0;
}

/// A fresh adapter adds nothing, so that without it the model is what it was before training;
/// unless something of it is trained too.
bool tr_recipe_shares_reference(const tr_recipe_t *recipe)
{
    return recipe->lora.r > 0 && recipe->lora.modules_to_save.count == 0 &&
           recipe->adapter == NULL && recipe->reference == NULL &&
           !recipe->roles.reference.separate;
}

/// A Unix socket says that external rollouts run on this machine, where shared memory reaches them.
bool tr_recipe_serves_weights(const tr_recipe_t *recipe)
{
    return recipe->roles.rollout.external > 0 && recipe->network.bind != NULL &&
           strncmp(recipe->network.bind, "tcp://", 6) == 0;
}

size_t tr_recipe_row_limit(const tr_recipe_t *recipe, size_t positions)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    // after a prompt that fills the model nothing could be generated
    size_t limit = tr_algorithm_generates(algorithm) ? positions - 1 : positions;
    // algorithms on rows name a limit of their own, such as sft.max_length; others limit prompts
    uint64_t most = algorithm->max_length_key == NULL
                        ? recipe->data.max_prompt_length
                        : *(const uint64_t *)((const char *)recipe + algorithm->max_length_offset);
    // 0 is no bound of the recipe; the model's positions always are one
    return most > 0 && most < limit ? (size_t)most : limit;
}

size_t tr_recipe_sequence_limit(const tr_recipe_t *recipe, size_t positions)
{
    size_t row = tr_recipe_row_limit(recipe, positions);
    bool generates = tr_algorithm_generates(tr_recipe_algorithm(recipe));
    // rows are whole already; a response ends at the model's last position
    uint64_t longest = row + (generates ? recipe->generation.max_new_tokens : 0);
    return longest < positions ? (size_t)longest : positions;
}
