// What must agree among the keys of a recipe, and whether each key that was set is read at all.
//
// value.c has judged each value alone; here are the rules between keys, and between a key and the
// algorithm. A check looks only at keys that were read well, so that a refused value makes no
// second problem. Next: sections.c for the keys, algorithms.h for what an algorithm reads.
#include <stdlib.h>
#include <string.h>

#include "common/base/device_name.h"
#include "common/recipe/parts.h"

/// Everything that a check may look at: values, and the nodes of the tree, which know the lines.
typedef struct whole {
    recipe_reader_t *reader;
    const tr_recipe_t *recipe;
    const recipe_keys_t *keys;
    const recipe_node_t *root;
    const tr_algorithm_t *algorithm; // NULL: not known
} whole_t;

/// The names are literals of this file; an unknown one is our own mistake.
static const recipe_key_t *key_of(const whole_t *whole, const char *name)
{
    const recipe_key_t *key = recipe_key_find(whole->keys, name);
    TR_ASSERT(key != NULL, "no key '%s'", name);
    return key;
}

/// Whether its value can be judged: it was not refused already.
static bool is_sound(const whole_t *whole, const char *name)
{
    return !key_of(whole, name)->failed;
}

/// Where the key is given, else where `otherwise` is, else the top.
static size_t line_of(const whole_t *whole, const char *name, const char *otherwise)
{
    const recipe_node_t *node = key_of(whole, name)->node;
    // a default takes part too: then the line of the key that clashes with it helps most
    if (node == NULL) {
        node = key_of(whole, otherwise)->node;
    }
    return node != NULL ? node->line : whole->root->line;
}

/// Reports a problem of the key, on its line or that of `otherwise`.
#define REPORT(whole, key, otherwise, ...) \
    recipe_problem((whole)->reader, line_of(whole, key, otherwise), key, __VA_ARGS__)

/// Only to be called once the algorithm is known.
static bool reads(const whole_t *whole, unsigned readers)
{
    return (whole->algorithm->reads & readers) != 0;
}

/// A list of which the algorithm needs an item. what: "file", "judge".
static void check_some(const whole_t *whole, const char *key, size_t count, const char *what)
{
    if (count == 0 && is_sound(whole, key)) {
        REPORT(whole, key, "algorithm", "expected at least one %s for algorithm '%s', found none",
               what, whole->algorithm->name);
    }
}

/// A field without a default must be given.
static void check_required(const whole_t *whole)
{
    for (size_t i = 0; i < whole->keys->count; i++) {
        const recipe_key_t *key = &whole->keys->items[i];
        // a key that was given and refused has a problem already
        if (key->field->initial == NULL && key->node == NULL) {
            char *expected = tr_field_expected(key->field);
            recipe_problem(whole->reader, whole->root->line, key->name, "missing; expected %s",
                           expected);
            free(expected);
        }
    }
}

/// A key that is set and never read is a mistake: the user expects an effect of it.
static void check_read(const whole_t *whole)
{
    for (size_t i = 0; i < whole->keys->count; i++) {
        recipe_check_read(whole->reader, &whole->keys->items[i], whole->recipe);
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
    // NAME_LIMIT leaves room for suffixes such as ".run" below the 255 bytes of a file name
    bool usable = strlen(name) <= NAME_LIMIT && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    // bytes above 0x7F belong to characters of UTF-8, which may stand in a file name
    for (const char *byte = name; *byte != '\0'; byte++) {
        usable = usable && *byte != '/' && (unsigned char)*byte >= 0x20 && *byte != 0x7F;
    }
    if (!usable) {
        char *found = recipe_quote(name);
        REPORT(whole, "name", "name", "expected a plain file name, without '/', found %s", found);
        free(found);
    }
}

/// Algorithms that train on rows need some; data.eval may be empty.
static void check_train(const whole_t *whole)
{
    check_some(whole, "data.train", whole->recipe->data.train.count, "file");
}

/// Minibatches of one size: the last would else weigh more than the others.
static void check_mini_batches(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    const char *key =
        reads(whole, TR_READS_PPO) ? "ppo.num_mini_batches" : "grpo.steps_per_generation";
    // below 2^63: each factor is at most a million
    uint64_t responses = recipe->data.batch * recipe->generation.samples;
    uint64_t minibatches = tr_recipe_minibatches(recipe);
    bool sound = is_sound(whole, "data.batch") && is_sound(whole, "generation.samples") &&
                 is_sound(whole, key);
    if (sound && responses % minibatches != 0) {
        REPORT(whole, key, "data.batch",
               "expected a divisor of the %llu responses of a step (data.batch x "
               "generation.samples), found %llu",
               (unsigned long long)responses, (unsigned long long)minibatches);
    }
}

/// One device tells the kind of all: check_device_list refuses mixed lists.
static bool is_gpu(const tr_texts_t *devices, size_t i)
{
    return tr_device_is_gpu(devices->items[i]);
}

/// At least one, and all of a kind: the ranks of a learner, and the workers that rollouts are dealt
/// to, say the same.
/// False: the list cannot be used by further checks.
static bool check_device_list(const whole_t *whole, const char *key, const tr_texts_t *devices)
{
    if (!is_sound(whole, key)) {
        return false;
    }
    // `device: []` is a list of texts, so only this check can refuse it
    if (devices->count == 0) {
        REPORT(whole, key, key, "expected at least one device, found none");
        return false;
    }
    // one kind is enough: two GPUs of one machine give the same bits
    for (size_t i = 1; i < devices->count; i++) {
        if (is_gpu(devices, i) != is_gpu(devices, 0)) {
            REPORT(whole, key, key,
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
                               const tr_texts_t *devices, uint64_t ranks)
{
    // quadratic, over at most a thousand ranks; CPUs may be shared, so they are not looked at
    for (uint64_t i = 1; i < ranks && is_gpu(devices, 0); i++) {
        for (uint64_t j = 0; j < i; j++) {
            // rank i has entry i mod count: a list that is shorter than the ranks repeats
            const char *name = devices->items[i % devices->count];
            if (tr_device_is_same(name, devices->items[j % devices->count])) {
                REPORT(whole, key, ranks_key,
                       "expected %llu different GPUs, one for each rank of %s, found '%s' "
                       "for two of them",
                       (unsigned long long)ranks, ranks_key, name);
                return;
            }
        }
    }
}

/// Parameters in bf16 alone are for learners on GPUs that compute in it, and whose ranks hold all
/// of them.
static void check_rounding(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    const tr_recipe_roles_t *roles = &recipe->roles;
    // without a critic its options are defaults, which say nothing
    bool critic = tr_algorithm_has_critic(whole->algorithm);
    bool gpus = is_gpu(&roles->actor.device, 0) && (!critic || is_gpu(&roles->critic.device, 0));
    // with stage 3 no rank holds all parameters, so there is none to round
    bool sharded = (roles->actor.ranks > 1 && roles->actor.sharing.zero_stage == 3) ||
                   (critic && roles->critic.ranks > 1 && roles->critic.sharing.zero_stage == 3);
    if (recipe->optimizer.rounding == TR_ROUNDING_STOCHASTIC &&
        (!gpus || sharded || recipe->precision == TR_PRECISION_FP32)) {
        REPORT(whole, "optimizer.rounding", "optimizer.rounding",
               "'stochastic' is for learners on GPUs with 'precision: bf16' and a "
               "zero_stage below 3; say 'nearest', or put actor and critic there");
    }
}

/// Only a GPU's memory has moments that can be elsewhere.
static void check_offload(const whole_t *whole)
{
    const tr_recipe_roles_t *roles = &whole->recipe->roles;
    bool critic = tr_algorithm_has_critic(whole->algorithm);
    if (whole->recipe->optimizer.offload && !is_gpu(&roles->actor.device, 0) &&
        !(critic && is_gpu(&roles->critic.device, 0))) {
        REPORT(whole, "optimizer.offload", "optimizer.offload",
               "read only where %s on a GPU: leave it out",
               critic ? "actor or critic is" : "the actor is");
    }
}

/// What rollouts say is proved by the actor's log-probs, bit for bit: both must compute alike.
static void check_devices(const whole_t *whole)
{
    const tr_recipe_roles_t *roles = &whole->recipe->roles;
    bool actor = check_device_list(whole, "roles.actor.device", &roles->actor.device);
    bool rollout = check_device_list(whole, "roles.rollout.device", &roles->rollout.device);
    bool critic = check_device_list(whole, "roles.critic.device", &roles->critic.device);
    // each of the following needs lists that were read well; a refused one was reported already
    if (actor && is_sound(whole, "roles.actor.ranks")) {
        check_one_gpu_each(whole, "roles.actor.device", "roles.actor.ranks", &roles->actor.device,
                           roles->actor.ranks);
    }
    if (critic && is_sound(whole, "roles.critic.ranks")) {
        check_one_gpu_each(whole, "roles.critic.device", "roles.critic.ranks",
                           &roles->critic.device, roles->critic.ranks);
    }
    if (actor && critic && tr_algorithm_learns(whole->algorithm)) {
        check_rounding(whole);
        check_offload(whole);
    }
    // `sample` generates without an actor: nothing to agree with
    if (actor && rollout && tr_algorithm_generates(whole->algorithm) &&
        tr_algorithm_learns(whole->algorithm) &&
        is_gpu(&roles->actor.device, 0) != is_gpu(&roles->rollout.device, 0)) {
        REPORT(whole, "roles.rollout.device", "roles.actor.device",
               "expected a device of one kind with '%s' of roles.actor.device, found '%s': "
               "a CPU and a GPU need not agree bit for bit, so exact/logprob_mismatch would "
               "not be 0; put both on the CPU, or both on GPUs",
               roles->actor.device.items[0], roles->rollout.device.items[0]);
    }
}

/// External workers are among the workers, since names and shares of a step are by number.
static void check_external(const whole_t *whole)
{
    const tr_recipe_rollout_t *rollout = &whole->recipe->roles.rollout;
    if (rollout->external > rollout->workers && is_sound(whole, "roles.rollout.external") &&
        is_sound(whole, "roles.rollout.workers")) {
        REPORT(whole, "roles.rollout.external", "roles.rollout.workers",
               "expected at most the %llu of roles.rollout.workers, which counts them too, "
               "found %llu",
               (unsigned long long)rollout->workers, (unsigned long long)rollout->external);
    }
    if (whole->recipe->network.weights_port > 0 && rollout->external == 0) {
        REPORT(whole, "network.weights_port", "network.weights_port",
               "read only where roles.rollout.external is above 0: leave it out");
    }
}

/// What generates: prompts for the rollouts, judges for their responses.
static void check_generation(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    check_external(whole);
    if (recipe->ppo.target_kl > 0 && recipe->ppo.num_ppo_epochs == 1) {
        REPORT(whole, "ppo.target_kl", "ppo.num_ppo_epochs",
               "ends epochs early, and ppo.num_ppo_epochs is 1: leave it out");
    }
    check_some(whole, "data.prompts", recipe->data.prompts.count, "file");
    check_some(whole, "roles.reward", recipe->roles.reward.count, "judge");
    // the losses divide logits by the temperature; `sample` may be greedy
    if (recipe->generation.temperature <= 0 && tr_algorithm_learns(whole->algorithm) &&
        is_sound(whole, "generation.temperature")) {
        REPORT(whole, "generation.temperature", "algorithm",
               "expected a positive number for algorithm '%s', found 0", whole->algorithm->name);
    }
}

/// Who compares a prompt's responses needs some to compare: the only one would be both the best and
/// the worst, and its own mean.
static void check_samples(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    if (recipe->generation.samples < 2 && is_sound(whole, "generation.samples")) {
        REPORT(whole, "generation.samples", "algorithm",
               "expected at least 2 for algorithm '%s', which compares a prompt's "
               "responses, found %llu",
               whole->algorithm->name, (unsigned long long)recipe->generation.samples);
    }
}

/// Losses of dpo that exclude or need another option; common/algo/dpo.h has the reasons.
static void check_dpo(const whole_t *whole)
{
    const tr_dpo_options_t *dpo = &whole->recipe->dpo.loss;
    // no weights are weights of 1, however many losses there are
    if (dpo->loss_weights.count > 0 && dpo->loss_weights.count != dpo->loss_type.count &&
        is_sound(whole, "dpo.loss_type")) {
        REPORT(whole, "dpo.loss_weights", "dpo.loss_type",
               "expected a weight for each of the %zu losses, found %zu", dpo->loss_type.count,
               dpo->loss_weights.count);
    }
    size_t zeros = 0;
    while (zeros < dpo->loss_weights.count && dpo->loss_weights.items[zeros] == 0.0) {
        zeros++;
    }
    if (zeros > 0 && zeros == dpo->loss_weights.count) {
        REPORT(whole, "dpo.loss_weights", "dpo.loss_weights",
               "expected a weight other than 0: nothing would be learnt");
    }
    // its loss has the logarithm of the smoothing
    if (tr_dpo_uses(dpo, TR_DPO_EXO_PAIR) && dpo->label_smoothing == 0) {
        REPORT(whole, "dpo.label_smoothing", "dpo.loss_type",
               "expected a number above 0 for exo_pair, such as 0.001, found 0");
    }
    if (tr_dpo_uses(dpo, TR_DPO_SFT) && dpo->use_weighting) {
        REPORT(whole, "dpo.use_weighting", "dpo.loss_type",
               "expected false with loss_type sft, which is no loss of pairs, found true");
    }
}

/// A key that is set though nothing reads it. where: the condition, as a recipe says it.
static void check_idle(const whole_t *whole, const char *key, const char *where)
{
    if (recipe_key_is_set(key_of(whole, key))) {
        REPORT(whole, key, key, "read only where %s: leave it out", where);
    }
}

/// What depends on values that null stands for, and on numbers, which no table says.
static void check_group(const whole_t *whole)
{
    static const char *const of_kl[] = {"grpo.kl_in", "grpo.kl_estimator",
                                        "grpo.use_bias_correction_kl"};
    const tr_policy_options_t o = tr_recipe_policy(whole->recipe);
    for (size_t i = 0; i < sizeof of_kl / sizeof *of_kl && o.beta == 0.0; i++) {
        check_idle(whole, of_kl[i], "grpo.beta is above 0");
    }
    if (o.beta > 0.0 && o.kl_in == TR_KL_IN_REWARD) {
        check_idle(whole, "grpo.use_bias_correction_kl", "grpo.kl_in is loss");
    }
    if (o.loss_type == TR_LOSS_CISPO && whole->recipe->grpo.loss.epsilon_high == 0.0) {
        REPORT(whole, "grpo.epsilon_high", "grpo.loss_type",
               "expected a number for cispo, the cap of its ratios, such as 5, found null");
    }
    if (o.delta > 0.0 && o.delta <= 1.0 + o.epsilon_high) {
        REPORT(whole, "grpo.delta", "grpo.delta",
               "expected more than 1 + epsilon_high, where ratios are clipped already, found %g",
               o.delta);
    }
}

/// A row alone would meet its own completion: no divergence, and a loss of 0.5 for ever.
static void check_kto(const whole_t *whole)
{
    if (whole->recipe->data.batch < 2 && tr_recipe_mismatches(whole->recipe) &&
        is_sound(whole, "data.batch")) {
        REPORT(whole, "data.batch", "kto.loss_type",
               "expected at least 2 for kto, which estimates the KL divergence from the "
               "completions of other rows of the batch, found 1");
    }
}

/// Mean and deviation of the scores are taken over data.eval.
static void check_reward(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    if (recipe->reward.normalize && recipe->data.eval.count == 0 && is_sound(whole, "data.eval")) {
        REPORT(whole, "data.eval", "reward.normalize",
               "expected at least one file for reward.normalize, found none");
    }
}

/// What is about evaluations needs something to evaluate, and what is about the best one its name.
static void check_evaluation(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    const tr_recipe_evaluation_t *evaluation = &recipe->evaluation;
    const struct {
        const char *key;
        bool set, of_best;
    } keys[] = {
        {"checkpoint.best", recipe->checkpoint.best != NULL, false},
        {"evaluation.every", evaluation->every > 0, false},
        {"evaluation.patience", evaluation->patience > 0, true},
        {"evaluation.target", evaluation->target != TR_NO_TARGET, true},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].set && recipe->data.eval.count == 0 && is_sound(whole, "data.eval")) {
            REPORT(whole, "data.eval", keys[i].key, "expected at least one file for %s, found none",
                   keys[i].key);
        }
        if (keys[i].set && keys[i].of_best && recipe->checkpoint.best == NULL) {
            REPORT(whole, "checkpoint.best", keys[i].key, "expected a metric for %s, found null",
                   keys[i].key);
        }
    }
}

/// The reference changes while the run goes on: log-probs asked beforehand, or a process that never
/// sees the policy, cannot follow.
static void check_sync(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    if (recipe->dpo.sync_ref_model &&
        (recipe->dpo.precompute_ref_log_probs || recipe->roles.reference.separate)) {
        REPORT(whole, "dpo.sync_ref_model", "algorithm",
               "expected false with %s, found true: only the actor's own copy can follow "
               "the policy",
               recipe->dpo.precompute_ref_log_probs ? "dpo.precompute_ref_log_probs"
                                                    : "roles.reference.separate");
    }
}

/// What changes or writes a whole model has none where an adapter is trained.
static void check_adapter(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    const char *key = recipe->adapter != NULL ? "adapter" : "lora.r";
    const struct {
        const char *key;
        bool set;
    } keys[] = {{"from_scratch", recipe->from_scratch},
                {"dpo.sync_ref_model", recipe->dpo.sync_ref_model},
                {"reward.normalize", recipe->reward.normalize}};
    if (recipe->lora.lora_dropout > 0.0 && recipe->lora.r == 0 && reads(whole, TR_READS_SFT)) {
        REPORT(whole, "lora.lora_dropout", "lora.lora_dropout",
               "read only where lora.r is given: leave it out");
    }
    if (!tr_recipe_adapts(recipe)) {
        return;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].set) {
            REPORT(whole, keys[i].key, key,
                   "expected false with %s, which trains no whole model, "
                   "found true",
                   key);
        }
    }
    if (recipe->adapter != NULL && recipe->lora.r > 0) {
        REPORT(whole, "lora.r", "adapter",
               "expected null with adapter, which has a rank, found %llu",
               (unsigned long long)recipe->lora.r);
    }
}

/// A warm-up past the end would never reach the learning rate that was asked for.
static void check_warmup(const whole_t *whole)
{
    const tr_recipe_t *recipe = whole->recipe;
    // steps has no default: when it is missing, that is the problem to report
    bool sound = key_of(whole, "steps")->node != NULL && is_sound(whole, "steps") &&
                 is_sound(whole, "optimizer.warmup");
    if (sound && recipe->optimizer.warmup > recipe->steps) {
        REPORT(whole, "optimizer.warmup", "steps", "expected at most the %llu steps, found %llu",
               (unsigned long long)recipe->steps, (unsigned long long)recipe->optimizer.warmup);
    }
}

void recipe_check(recipe_reader_t *reader, const tr_recipe_t *recipe, const recipe_keys_t *keys,
                  const recipe_node_t *root)
{
    // Which checks an algorithm gets, by what it reads. check_read comes first: a key that is not
    // read needs no further advice.
    static const struct {
        unsigned readers;
        void (*check)(const whole_t *whole);
    } checks[] = {
        // every algorithm reads prompts or rows
        {TR_READS_PROMPTS | TR_READS_ROWS, check_read},
        {TR_READS_PROMPTS | TR_READS_ROWS, check_devices},
        {TR_READS_ROWS, check_train},
        {TR_READS_PROMPTS, check_generation},
        {TR_READS_PPO | TR_READS_GROUP, check_mini_batches},
        {TR_READS_GROUP, check_group},
        {TR_READS_DPO, check_dpo},
        {TR_READS_DPO, check_sync},
        {TR_READS_REWARD, check_reward},
        {TR_READS_KTO, check_kto},
        {TR_READS_OPTIMIZER, check_evaluation},
        {TR_READS_OPTIMIZER, check_adapter},
    };
    whole_t whole = {reader, recipe, keys, root, NULL};
    // these hold whatever the algorithm
    check_required(&whole);
    check_name(&whole);
    check_warmup(&whole);
    // without a known algorithm nothing can be said about what it reads
    if (key_of(&whole, "algorithm")->node == NULL || !is_sound(&whole, "algorithm")) {
        return;
    }
    whole.algorithm = tr_recipe_algorithm(recipe);
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        if (reads(&whole, checks[i].readers)) {
            checks[i].check(&whole);
        }
    }
    // no bit of what is read: algorithms that compare read the same keys as others
    if (whole.algorithm->compares) {
        check_samples(&whole);
    }
}
