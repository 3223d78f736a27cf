// What must agree among the keys of a recipe.
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"
#include "common/base/recipe_parts.h"

typedef struct whole {
    recipe_reader_t *reader;
    const tr_recipe_t *recipe;
    const recipe_found_t *found; // [recipe_keys.count]
    const recipe_node_t *root;
} whole_t;

static const recipe_found_t *found_of(const whole_t *whole, const char *name)
{
    const recipe_key_t *key = recipe_key_find(&recipe_keys, name);
    TR_ASSERT(key != NULL, "no key '%s'", name);
    return &whole->found[key - recipe_keys.keys];
}

/// Whether its value can be judged: it was not refused already.
static bool is_sound(const whole_t *whole, const char *name)
{
    return !found_of(whole, name)->failed;
}

/// Where the key is given, else where `otherwise` is, else the top.
static size_t line_of(const whole_t *whole, const char *name, const char *otherwise)
{
    const recipe_node_t *node = found_of(whole, name)->node;
    if (node == NULL) {
        node = found_of(whole, otherwise)->node;
    }
    return node != NULL ? node->line : whole->root->line;
}

static void check_required(const whole_t *whole)
{
    for (size_t i = 0; i < recipe_keys.count; i++) {
        const recipe_key_t *key = &recipe_keys.keys[i];
        if (key->initial == NULL && whole->found[i].node == NULL) {
            char *expected = recipe_expected(key);
            recipe_problem(whole->reader, whole->root->line, key->name, "missing; expected %s",
                           expected);
            free(expected);
        }
    }
}

/// The name becomes a directory.
static void check_name(const whole_t *whole)
{
    enum { NAME_LIMIT = 200 };
    const char *name = whole->recipe->name;
    if (name == NULL) {
        return;
    }
    bool usable = strlen(name) <= NAME_LIMIT && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    for (const char *byte = name; *byte != '\0'; byte++) {
        usable = usable && *byte != '/' && (unsigned char)*byte >= 0x20 && *byte != 0x7F;
    }
    if (!usable) {
        char *found = recipe_quote(name);
        recipe_problem(whole->reader, line_of(whole, "name", "name"), "name",
                       "expected a plain file name, without '/', found %s", found);
        free(found);
    }
}

static void check_train(const whole_t *whole)
{
    if (whole->recipe->data.train.count == 0 && is_sound(whole, "data.train")) {
        recipe_problem(whole->reader, line_of(whole, "data.train", "algorithm"), "data.train",
                       "expected at least one file for algorithm '%s', found none",
                       tr_algorithm_name(whole->recipe->algorithm));
    }
}

/// Fresh weights learn texts; preferences are learnt by a model that speaks.
static void check_not_from_scratch(const whole_t *whole)
{
    if (whole->recipe->from_scratch) {
        recipe_problem(whole->reader, line_of(whole, "from_scratch", "algorithm"), "from_scratch",
                       "expected false for algorithm '%s', found true: train with 'sft' first",
                       tr_algorithm_name(whole->recipe->algorithm));
    }
}

static void check_mini_batches(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    uint64_t responses = recipe->data.batch * recipe->generation.samples;
    bool sound = is_sound(whole, "data.batch") && is_sound(whole, "generation.samples") &&
                 is_sound(whole, "ppo.num_mini_batches");
    if (sound && responses % recipe->ppo.num_mini_batches != 0) {
        recipe_problem(whole->reader, line_of(whole, "ppo.num_mini_batches", "data.batch"),
                       "ppo.num_mini_batches",
                       "expected a divisor of the %llu responses of a step (data.batch x "
                       "generation.samples), found %llu",
                       (unsigned long long)responses,
                       (unsigned long long)recipe->ppo.num_mini_batches);
    }
}

static bool is_gpu(const tr_recipe_strings_t *devices, size_t i)
{
    return tr_device_is_gpu(devices->items[i]);
}

/// At least one, and all of a kind: the ranks of a learner, and the workers that rollouts are dealt to, say the same.
static bool check_device_list(const whole_t *whole, const char *key,
                              const tr_recipe_strings_t *devices)
{
    if (!is_sound(whole, key)) {
        return false;
    }
    if (devices->count == 0) {
        recipe_problem(whole->reader, line_of(whole, key, key), key,
                       "expected at least one device, found none");
        return false;
    }
    for (size_t i = 1; i < devices->count; i++) {
        if (is_gpu(devices, i) != is_gpu(devices, 0)) {
            recipe_problem(whole->reader, line_of(whole, key, key), key,
                           "expected devices of one kind, found '%s' and '%s': a CPU and a GPU "
                           "need not agree bit for bit; put all on the CPU, or all on GPUs",
                           devices->items[0], devices->items[i]);
            return false;
        }
    }
    return true;
}

/// Ranks on GPUs have one each (NCCL takes no two on one). ranks_key: "roles.actor.ranks".
static void check_one_gpu_each(const whole_t *whole, const char *key, const char *ranks_key,
                               const tr_recipe_strings_t *devices, uint64_t ranks)
{
    for (uint64_t i = 1; i < ranks && is_gpu(devices, 0); i++) {
        for (uint64_t j = 0; j < i; j++) {
            const char *name = devices->items[i % devices->count];
            if (tr_device_is_same(name, devices->items[j % devices->count])) {
                recipe_problem(whole->reader, line_of(whole, key, ranks_key), key,
                               "expected %llu different GPUs, one for each rank of %s, found '%s' "
                               "for two of them",
                               (unsigned long long)ranks, ranks_key, name);
                return;
            }
        }
    }
}

/// Parameters in bf16 alone are for learners on GPUs that compute in it, and whose ranks hold all of them.
static void check_rounding(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    const tr_recipe_roles_t *roles = &recipe->roles;
    bool ppo = recipe->algorithm == TR_ALGORITHM_PPO;
    bool gpus = is_gpu(&roles->actor.device, 0) && (!ppo || is_gpu(&roles->critic.device, 0));
    bool sharded = (roles->actor.ranks > 1 && roles->actor.zero_stage == 3) ||
                   (ppo && roles->critic.ranks > 1 && roles->critic.zero_stage == 3);
    if (recipe->optimizer.rounding == TR_ROUNDING_STOCHASTIC &&
        (!gpus || sharded || recipe->precision != TR_PRECISION_BF16)) {
        recipe_problem(whole->reader, line_of(whole, "optimizer.rounding", "optimizer.rounding"),
                       "optimizer.rounding",
                       "'stochastic' is for learners on GPUs with 'precision: bf16' and a "
                       "zero_stage below 3; say 'nearest', or put actor and critic there");
    }
}

/// What rollouts say is proved by the actor's log-probs, bit for bit: both must compute alike.
static void check_devices(const whole_t *whole)
{
    const tr_recipe_roles_t *roles = &whole->recipe->roles;
    bool actor = check_device_list(whole, "roles.actor.device", &roles->actor.device);
    bool rollout = check_device_list(whole, "roles.rollout.device", &roles->rollout.device);
    bool critic = check_device_list(whole, "roles.critic.device", &roles->critic.device);
    if (actor && is_sound(whole, "roles.actor.ranks")) {
        check_one_gpu_each(whole, "roles.actor.device", "roles.actor.ranks", &roles->actor.device,
                           roles->actor.ranks);
    }
    if (critic && is_sound(whole, "roles.critic.ranks")) {
        check_one_gpu_each(whole, "roles.critic.device", "roles.critic.ranks",
                           &roles->critic.device, roles->critic.ranks);
    }
    if (actor && critic) {
        check_rounding(whole);
    }
    if (actor && rollout && tr_algorithm_generates(whole->recipe->algorithm) &&
        tr_algorithm_learns(whole->recipe->algorithm) &&
        is_gpu(&roles->actor.device, 0) != is_gpu(&roles->rollout.device, 0)) {
        recipe_problem(
            whole->reader, line_of(whole, "roles.rollout.device", "roles.actor.device"),
            "roles.rollout.device",
            "expected a device of one kind with '%s' of roles.actor.device, found '%s': "
            "a CPU and a GPU need not agree bit for bit, so exact/logprob_mismatch would "
            "not be 0; put both on the CPU, or both on GPUs",
            roles->actor.device.items[0], roles->rollout.device.items[0]);
    }
}

static void check_external(const whole_t *whole)
{
    const tr_recipe_rollout_t *rollout = &whole->recipe->roles.rollout;
    if (rollout->external > rollout->workers && is_sound(whole, "roles.rollout.external") &&
        is_sound(whole, "roles.rollout.workers")) {
        recipe_problem(whole->reader,
                       line_of(whole, "roles.rollout.external", "roles.rollout.workers"),
                       "roles.rollout.external",
                       "expected at most the %llu of roles.rollout.workers, which counts them too, "
                       "found %llu",
                       (unsigned long long)rollout->workers, (unsigned long long)rollout->external);
    }
}

/// What generates: prompts for the rollouts, judges for their responses.
static void check_generation(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    const char *algorithm = tr_algorithm_name(recipe->algorithm);
    check_not_from_scratch(whole);
    check_external(whole);
    if (recipe->data.prompts.count == 0 && is_sound(whole, "data.prompts")) {
        recipe_problem(whole->reader, line_of(whole, "data.prompts", "algorithm"), "data.prompts",
                       "expected at least one file for algorithm '%s', found none", algorithm);
    }
    if (recipe->roles.reward.count == 0 && is_sound(whole, "roles.reward")) {
        recipe_problem(whole->reader, line_of(whole, "roles.reward", "algorithm"), "roles.reward",
                       "expected at least one judge for algorithm '%s', found none", algorithm);
    }
    if (recipe->generation.temperature <= 0 && tr_algorithm_learns(recipe->algorithm) &&
        is_sound(whole, "generation.temperature")) {
        recipe_problem(whole->reader, line_of(whole, "generation.temperature", "algorithm"),
                       "generation.temperature",
                       "expected a positive number for algorithm '%s', found 0", algorithm);
    }
}

/// Who chooses among a prompt's responses needs some to choose from.
static void check_choice(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    if (recipe->generation.samples < 2 && is_sound(whole, "generation.samples")) {
        recipe_problem(
            whole->reader, line_of(whole, "generation.samples", "algorithm"), "generation.samples",
            "expected at least 2 for algorithm '%s', which chooses among a prompt's "
            "responses, found %llu",
            tr_algorithm_name(recipe->algorithm), (unsigned long long)recipe->generation.samples);
    }
}

static void check_preferences(const whole_t *whole)
{
    check_train(whole);
    check_not_from_scratch(whole);
}

/// The word that a key with choices has.
static const char *choice_of(const char *name, int index)
{
    const recipe_key_t *key = recipe_key_find(&recipe_keys, name);
    TR_ASSERT(key != NULL && key->choices != NULL, "'%s' has no choices", name);
    return key->choices[index];
}

static void check_smoothing(const whole_t *whole)
{
    const tr_recipe_sft_t *sft = &whole->recipe->sft;
    bool sound = is_sound(whole, "sft.loss_type") && is_sound(whole, "sft.label_smoothing_factor");
    if (sound && sft->label_smoothing_factor > 0 &&
        strcmp(choice_of("sft.loss_type", sft->loss_type), "dft") == 0) {
        recipe_problem(whole->reader, line_of(whole, "sft.label_smoothing_factor", "sft.loss_type"),
                       "sft.label_smoothing_factor", "expected 0 for loss_type dft, found %g",
                       sft->label_smoothing_factor);
    }
}

static bool has_loss(const tr_recipe_dpo_t *dpo, const char *name)
{
    for (size_t i = 0; i < dpo->loss_type.count; i++) {
        if (strcmp(dpo->loss_type.items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void check_dpo(const whole_t *whole)
{
    const tr_recipe_dpo_t *dpo = &whole->recipe->dpo;
    size_t line = line_of(whole, "dpo.loss_type", "algorithm");
    if (dpo->loss_type.count == 0 && is_sound(whole, "dpo.loss_type")) {
        recipe_problem(whole->reader, line, "dpo.loss_type",
                       "expected at least one loss, found none");
    }
    for (size_t i = 1; i < dpo->loss_type.count; i++) {
        const tr_recipe_dpo_t before = {.loss_type = {dpo->loss_type.items, i}};
        if (has_loss(&before, dpo->loss_type.items[i])) {
            recipe_problem(whole->reader, line, "dpo.loss_type",
                           "expected each loss once, found '%s' twice", dpo->loss_type.items[i]);
        }
    }
    if (dpo->loss_weights.count > 0 && dpo->loss_weights.count != dpo->loss_type.count &&
        is_sound(whole, "dpo.loss_type")) {
        recipe_problem(whole->reader, line_of(whole, "dpo.loss_weights", "dpo.loss_type"),
                       "dpo.loss_weights",
                       "expected a weight for each of the %zu losses, found %zu",
                       dpo->loss_type.count, dpo->loss_weights.count);
    }
    if (has_loss(dpo, "exo_pair") && dpo->label_smoothing == 0) {
        recipe_problem(whole->reader, line_of(whole, "dpo.label_smoothing", "dpo.loss_type"),
                       "dpo.label_smoothing",
                       "expected a number above 0 for exo_pair, such as 0.001, found 0");
    }
    if (has_loss(dpo, "sft") && dpo->use_weighting) {
        recipe_problem(whole->reader, line_of(whole, "dpo.use_weighting", "dpo.loss_type"),
                       "dpo.use_weighting",
                       "expected false with loss_type sft, which is no loss of pairs, found true");
    }
}

static void check_reward(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    if (recipe->reward.normalize && recipe->data.eval.count == 0 && is_sound(whole, "data.eval")) {
        recipe_problem(whole->reader, line_of(whole, "data.eval", "reward.normalize"), "data.eval",
                       "expected at least one file for reward.normalize, found none");
    }
}

static void check_sync(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    if (recipe->dpo.sync_ref_model &&
        (recipe->dpo.precompute_ref_log_probs || recipe->roles.reference.separate)) {
        recipe_problem(whole->reader, line_of(whole, "dpo.sync_ref_model", "algorithm"),
                       "dpo.sync_ref_model",
                       "expected false with %s, found true: only the actor's own copy can follow "
                       "the policy",
                       recipe->dpo.precompute_ref_log_probs ? "dpo.precompute_ref_log_probs"
                                                            : "roles.reference.separate");
    }
}

static void check_online_dpo(const whole_t *whole)
{
    if (whole->recipe->dpo.precompute_ref_log_probs) {
        recipe_problem(whole->reader, line_of(whole, "dpo.precompute_ref_log_probs", "algorithm"),
                       "dpo.precompute_ref_log_probs",
                       "expected false for algorithm 'online_dpo', whose responses are not known "
                       "beforehand, found true");
    }
}

static void check_warmup(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    bool sound = found_of(whole, "steps")->node != NULL && is_sound(whole, "steps") &&
                 is_sound(whole, "optimizer.warmup");
    if (sound && recipe->optimizer.warmup > recipe->steps) {
        recipe_problem(whole->reader, line_of(whole, "optimizer.warmup", "steps"),
                       "optimizer.warmup", "expected at most the %llu steps, found %llu",
                       (unsigned long long)recipe->steps,
                       (unsigned long long)recipe->optimizer.warmup);
    }
}

void recipe_check(recipe_reader_t *reader, const tr_recipe_t *recipe, const recipe_found_t *found,
                  const recipe_node_t *root)
{
    whole_t whole = {reader, recipe, found, root};
    check_required(&whole);
    check_name(&whole);
    check_warmup(&whole);
    if (found_of(&whole, "algorithm")->node == NULL || !is_sound(&whole, "algorithm")) {
        return;
    }
    check_devices(&whole);
    switch (recipe->algorithm) {
    case TR_ALGORITHM_PPO:
        check_generation(&whole);
        check_mini_batches(&whole);
        break;
    case TR_ALGORITHM_SFT:
        check_train(&whole);
        check_smoothing(&whole);
        break;
    case TR_ALGORITHM_DPO:
        check_dpo(&whole);
        check_sync(&whole);
        check_preferences(&whole);
        break;
    case TR_ALGORITHM_REWARD:
        check_reward(&whole);
        check_preferences(&whole);
        break;
    case TR_ALGORITHM_KTO: check_preferences(&whole); break;
    case TR_ALGORITHM_ONLINE_DPO:
        check_dpo(&whole);
        check_sync(&whole);
        check_online_dpo(&whole);
        check_generation(&whole);
        check_choice(&whole);
        break;
    case TR_ALGORITHM_REJECTION_SAMPLING:
        check_smoothing(&whole);
        check_generation(&whole);
        check_choice(&whole);
        break;
    case TR_ALGORITHM_SAMPLE: check_generation(&whole); break;
    }
}
