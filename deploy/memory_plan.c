#include "deploy/memory_plan.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/pool.h"
#include "common/tensor/device.h"
#include "controller/rows.h"
#include "rollout/decoder.h"

/// Sequences of a pass that learns nothing (controller/ppo_step.c, actor/preference.c), tokens of a judge's
/// (reward/model_judge.c).
enum { INFERRED = 16, JUDGED_TOKENS = 4096 };

/// What the sizes of passes follow from.
typedef struct plan {
    const tr_recipe_t *recipe;
    tr_model_config_t policy;
    size_t longest; // of a sequence
    size_t answers; // of a sequence, at most
    needs_t *needs;
} plan_t;

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool learns_pairs(const tr_recipe_t *recipe)
{
    return tr_recipe_algorithm(recipe)->group == 2;
}

// Lengths

/// Tokens of the longest row that the recipe lets through.
static size_t row_limit(const tr_recipe_t *recipe, const tr_model_config_t *config)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    uint64_t limit = algorithm->max_length_key != NULL
                         ? *(const uint64_t *)((const char *)recipe + algorithm->max_length_offset)
                         : config->max_positions;
    return least((size_t)limit, config->max_positions);
}

static size_t prompt_limit(const tr_recipe_t *recipe, const tr_model_config_t *config)
{
    size_t given = (size_t)recipe->data.max_prompt_length;
    return given > 0 ? least(given, config->max_positions - 1) : config->max_positions - 1;
}

static size_t longest_item(const tr_rows_t *rows)
{
    size_t longest = 1;
    for (size_t i = 0; i < rows->starts[rows->count]; i++) {
        size_t length = least(rows->sequences[i].length, rows->limit);
        longest = length > longest ? length : longest;
    }
    return longest;
}

static tr_status measure_rows(size_t *longest, const plan_t *plan, tr_error_t *err)
{
    const tr_recipe_t *recipe = plan->recipe;
    const size_t positions = plan->policy.max_positions;
    tr_rows_t rows = {0};
    tr_tokenizer_t *tokenizer = NULL;
    TR_TRY(tr_tokenizer_new(&tokenizer, recipe->model, err));
    tr_status status = controller_rows_load(&rows, recipe, tokenizer, positions, err);
    if (status == TR_OK) {
        *longest = longest_item(&rows);
    }
    tr_rows_release(&rows);
    tr_tokenizer_destroy(&tokenizer);
    return status;
}

static tr_status find_lengths(plan_t *plan, bool measure, tr_error_t *err)
{
    const tr_recipe_t *recipe = plan->recipe;
    bool generates = tr_algorithm_generates(tr_recipe_algorithm(recipe));
    size_t found =
        generates ? prompt_limit(recipe, &plan->policy) : row_limit(recipe, &plan->policy);
    bool packs = recipe->sft.packing;
    if (measure && !packs) {
        TR_TRY(measure_rows(&found, plan, err));
    }
    plan->needs->longest = found;
    plan->longest = generates ? least(found + (size_t)recipe->generation.max_new_tokens,
                                      plan->policy.max_positions)
                              : found;
    plan->answers =
        generates ? least((size_t)recipe->generation.max_new_tokens, plan->longest) : plan->longest;
    return TR_OK;
}

// Passes

/// Ids that truncation may keep for a token.
static size_t kept_of(const plan_t *plan)
{
    const tr_generation_options_t *g = &plan->recipe->generation;
    size_t all = plan->policy.vocabulary;
    return g->top_k > 0 ? least((size_t)g->top_k, all) : g->top_p < 1.0 ? all : 0;
}

/// Of `sequences` that are each as long as may be. scores: a head reads one row of each.
static tr_memory_pass_t pass_of(const plan_t *plan, size_t sequences, bool scores)
{
    bool sampled = tr_algorithm_has_critic(tr_recipe_algorithm(plan->recipe)) && !scores;
    return (tr_memory_pass_t){.sequences = sequences,
                              .tokens = sequences * plan->longest,
                              .longest = plan->longest,
                              .answers = sequences * (scores ? 1 : plan->answers),
                              .kept = sampled ? kept_of(plan) : 0};
}

/// Sequences of an update.
static size_t update_size(const tr_recipe_t *recipe)
{
    size_t batch = (size_t)recipe->data.batch;
    return tr_algorithm_has_critic(tr_recipe_algorithm(recipe))
               ? batch * (size_t)recipe->generation.samples / (size_t)recipe->ppo.num_mini_batches
               : batch * (learns_pairs(recipe) ? 2 : 1);
}

static size_t chunk_size(const tr_recipe_t *recipe)
{
    return (size_t)recipe->optimizer.chunk * (learns_pairs(recipe) ? 2 : 1);
}

static tr_memory_plan_t memory_plan(const plan_t *plan, const char *device, uint64_t threads,
                                    tr_model_use_t use)
{
    bool gpu = tr_device_is_gpu(device), bf16 = plan->recipe->precision == TR_PRECISION_BF16;
    return (tr_memory_plan_t){
        .use = use,
        .real = gpu && bf16 ? TR_BF16 : TR_F32,
        .threads = gpu           ? 0
                   : threads > 0 ? (size_t)threads
                                 : tr_pool_processors(),
    };
}

/// Threads of a process that says nothing of them: a share of the processors (controller/role_config.c).
static uint64_t threads_of(uint64_t wanted, uint64_t sharers)
{
    uint64_t share = tr_pool_processors() / (sharers > 0 ? sharers : 1);
    return wanted > 0 ? wanted : share > 0 ? share : 1;
}

/// What actor and critic say of their processes.
typedef struct learner {
    const char *name;
    const tr_texts_t *devices;
    double memory;
    uint64_t threads, ranks, zero_stage;
} learner_t;

/// The larger of its passes that learn and of those that do not.
static tr_memory_t learner_memory(const plan_t *plan, const tr_model_config_t *config,
                                  const learner_t *learner, const char *device)
{
    const tr_recipe_t *recipe = plan->recipe;
    bool scores = tr_recipe_algorithm(recipe)->scalar;
    size_t update = update_size(recipe), chunk = least(chunk_size(recipe), update);
    bool rounds = recipe->optimizer.rounding == TR_ROUNDING_STOCHASTIC;
    tr_memory_plan_t m = memory_plan(plan, device, learner->threads,
                                     rounds ? TR_MODEL_LEARNS_ROUNDED : TR_MODEL_LEARNS);
    m.host_moments = recipe->optimizer.offload;
    m.ranks = (size_t)learner->ranks;
    m.zero_stage = (size_t)learner->zero_stage;
    m.recompute = recipe->optimizer.gradient_checkpointing;
    m.chunks = (update + chunk - 1) / chunk;
    m.pass = pass_of(plan, least(INFERRED, update), scores);
    size_t inferred = tr_memory_of(config, &m).activations;
    m.pass = pass_of(plan, chunk, scores);
    m.pass.learns = true;
    m.pass.noise = recipe->sft.loss.neftune_noise_alpha > 0;
    tr_memory_t memory = tr_memory_of(config, &m);
    memory.activations = memory.activations > inferred ? memory.activations : inferred;
    return memory;
}

// Roles

static needs_role_t *add(needs_t *needs, const char *name, size_t processes, const char *device,
                         double gibibytes)
{
    needs->roles = tr_realloc(needs->roles, (needs->count + 1) * sizeof *needs->roles);
    needs_role_t *role = &needs->roles[needs->count++];
    *role = (needs_role_t){.name = tr_strdup(name),
                           .processes = processes,
                           .device = device,
                           .budget = tr_device_is_gpu(device) ? (size_t)(gibibytes * 0x1p30) : 0};
    return role;
}

static tr_status load_config(tr_model_config_t *config, const char *directory, bool scalar,
                             tr_error_t *err)
{
    TR_TRY(tr_model_config_load(config, directory, err));
    config->scalar_head = scalar;
    config->tied_embeddings = config->tied_embeddings && !scalar;
    return TR_OK;
}

/// What a reference needs of its process.
static tr_status reference_memory(tr_memory_t *memory, const plan_t *plan, const char *device,
                                  uint64_t threads, tr_error_t *err)
{
    const tr_recipe_t *recipe = plan->recipe;
    bool ppo = tr_algorithm_has_critic(tr_recipe_algorithm(recipe));
    size_t asked = ppo ? INFERRED : (size_t)recipe->optimizer.chunk;
    tr_model_config_t config;
    TR_TRY(load_config(&config, recipe->reference != NULL ? recipe->reference : recipe->model,
                       false, err));
    tr_memory_plan_t m = memory_plan(plan, device, threads, TR_MODEL_READS);
    m.pass = pass_of(plan, ppo ? least(asked, update_size(recipe)) : asked, false);
    *memory = tr_memory_of(&config, &m);
    return TR_OK;
}

/// Bytes of the host that the moments of a process on that device take.
static size_t offloaded(const plan_t *plan, const tr_model_config_t *config,
                        const learner_t *learner, const char *device)
{
    tr_memory_plan_t m = memory_plan(plan, device, learner->threads, TR_MODEL_LEARNS);
    m.ranks = (size_t)learner->ranks;
    size_t here = tr_memory_of(config, &m).optimizer;
    m.host_moments = plan->recipe->optimizer.offload;
    return here - tr_memory_of(config, &m).optimizer;
}

/// The processes of a learner, by device: rank i has entry i mod count. reference: each holds one too.
static tr_status add_learner(const plan_t *plan, const tr_model_config_t *config,
                             const learner_t *learner, bool reference, tr_error_t *err)
{
    const size_t ranks = (size_t)learner->ranks, count = learner->devices->count;
    for (size_t d = 0; d < least(count, ranks); d++) {
        const char *device = learner->devices->items[d];
        size_t dealt = (ranks - d + count - 1) / count;
        add(plan->needs, learner->name, dealt, device, learner->memory)->memory =
            learner_memory(plan, config, learner, device);
        plan->needs->host += dealt * offloaded(plan, config, learner, device);
        if (reference) {
            needs_role_t *role = add(plan->needs, "reference (in actor)", dealt, device, 0.0);
            role->within = true;
            TR_TRY(reference_memory(&role->memory, plan, device, learner->threads, err));
        }
    }
    return TR_OK;
}

/// The actor, and its weights in shared memory where rollouts read them: two segments.
static tr_status add_actor(const plan_t *plan, tr_error_t *err)
{
    const tr_recipe_t *recipe = plan->recipe;
    const tr_recipe_learner_t *actor = &recipe->roles.actor;
    bool ppo = tr_algorithm_has_critic(tr_recipe_algorithm(recipe));
    bool reference = tr_recipe_reads_reference(recipe) && !recipe->roles.reference.separate;
    const learner_t learner = {
        "actor",       &actor->device,
        actor->memory, threads_of(actor->threads, (ppo ? 2 : 1) * actor->ranks),
        actor->ranks,  actor->sharing.zero_stage};
    tr_model_config_t config = plan->policy;
    config.scalar_head = tr_recipe_algorithm(recipe)->scalar;
    config.tied_embeddings = config.tied_embeddings && !config.scalar_head;
    if (tr_algorithm_generates(tr_recipe_algorithm(recipe))) {
        tr_memory_plan_t m =
            memory_plan(plan, actor->device.items[0], learner.threads, TR_MODEL_READS);
        plan->needs->host += 2 * tr_memory_of(&config, &m).weights;
    }
    return add_learner(plan, &config, &learner, reference, err);
}

static tr_status add_reference(const plan_t *plan, tr_error_t *err)
{
    const tr_recipe_reference_t *reference = &plan->recipe->roles.reference;
    bool ppo = tr_algorithm_has_critic(tr_recipe_algorithm(plan->recipe));
    if (!reference->separate || !tr_recipe_reads_reference(plan->recipe)) {
        return TR_OK;
    }
    needs_role_t *role = add(plan->needs, "reference", 1, reference->device, reference->memory);
    return reference_memory(&role->memory, plan, reference->device,
                            threads_of(reference->threads, ppo ? 2 : 1), err);
}

static tr_status add_critic(const plan_t *plan, tr_error_t *err)
{
    const tr_recipe_learner_t *critic = &plan->recipe->roles.critic;
    const learner_t learner = {"critic",       &critic->device,
                               critic->memory, threads_of(critic->threads, 2 * critic->ranks),
                               critic->ranks,  critic->sharing.zero_stage};
    tr_model_config_t config;
    TR_TRY(load_config(&config, critic->model != NULL ? critic->model : plan->recipe->model, true,
                       err));
    return add_learner(plan, &config, &learner, false, err);
}

/// What a rollout on that device needs: as many of the longest responses as may run at once.
static tr_memory_t rollout_memory(const plan_t *plan, const char *device)
{
    const tr_recipe_t *recipe = plan->recipe;
    const tr_recipe_rollout_t *rollout = &recipe->roles.rollout;
    size_t asked = (size_t)(recipe->data.batch * recipe->generation.samples);
    size_t running = least(asked, (size_t)rollout->max_batch);
    uint64_t threads = threads_of(rollout->threads, rollout->workers - rollout->external);
    tr_memory_plan_t m = memory_plan(plan, device, threads, TR_MODEL_DECODES);
    m.pages = tr_memory_pages(running, plan->longest);
    m.pass = pass_of(plan, running, false);
    m.pass.tokens = ROLLOUT_PASS_TOKENS + running;
    m.pass.answers = running;
    m.pass.kept = kept_of(plan);
    return tr_memory_of(&plan->policy, &m);
}

/// Worker i has entry i mod count; those that are started elsewhere are the last.
static void add_rollouts(const plan_t *plan)
{
    const tr_recipe_rollout_t *rollout = &plan->recipe->roles.rollout;
    const size_t workers = (size_t)(rollout->workers - rollout->external),
                 count = rollout->device.count;
    for (size_t d = 0; d < least(count, workers); d++) {
        const char *device = rollout->device.items[d];
        size_t dealt = (workers - d + count - 1) / count;
        needs_role_t *role = add(plan->needs, "rollout", dealt, device, rollout->memory);
        role->memory = rollout_memory(plan, device);
    }
}

static tr_status add_judges(const plan_t *plan, tr_error_t *err)
{
    const tr_judges_t *judges = &plan->recipe->roles.reward;
    for (size_t i = 0; i < judges->count; i++) {
        const tr_judge_t *judge = &judges->items[i];
        tr_model_config_t config;
        if (judge->kind != &tr_judge_model) {
            continue;
        }
        const tr_model_judge_t *options = judge->options;
        TR_TRY(load_config(&config, options->model, true, err));
        tr_memory_plan_t m = memory_plan(plan, options->device, options->threads, TR_MODEL_DECODES);
        size_t sequences = plan->longest < JUDGED_TOKENS ? JUDGED_TOKENS / plan->longest : 1;
        m.pass = pass_of(plan, sequences, true);
        needs_role_t *role = add(plan->needs, judge->name, (size_t)options->workers,
                                 options->device, options->memory);
        role->memory = tr_memory_of(&config, &m);
    }
    return TR_OK;
}

tr_status needs_init(needs_t *needs, const tr_recipe_t *recipe, bool measure, tr_error_t *err)
{
    plan_t plan = {.recipe = recipe, .needs = needs};
    *needs = (needs_t){0};
    TR_TRY(tr_model_config_load(&plan.policy, recipe->model, err));
    TR_TRY(find_lengths(&plan, measure, err));
    if (tr_algorithm_learns(tr_recipe_algorithm(recipe))) {
        TR_TRY(add_actor(&plan, err));
    }
    TR_TRY(add_reference(&plan, err));
    if (tr_algorithm_has_critic(tr_recipe_algorithm(recipe))) {
        TR_TRY(add_critic(&plan, err));
    }
    if (tr_algorithm_generates(tr_recipe_algorithm(recipe))) {
        add_rollouts(&plan);
        TR_TRY(add_judges(&plan, err));
    }
    return TR_OK;
}

void needs_release(needs_t *needs)
{
    for (size_t i = 0; i < needs->count; i++) {
        free(needs->roles[i].name);
    }
    free(needs->roles);
    *needs = (needs_t){0};
}
