// From a recipe to the table's lines: which groups of processes it starts, on which devices, and
// what each of them runs at most.
//
// Apart from memory.c, which measures a process and knows no recipe, and from memory_plan_check.c,
// which compares the plan with this machine.
#include "deploy/memory_plan.h"

#include <stdlib.h>

#include "controller/role_config.h"
#include "controller/rows.h"

typedef enum kind { ACTOR, CRITIC, REFERENCE, ROLLOUT, JUDGE } kind_t;

/// Processes that run the same.
typedef struct group {
    kind_t kind;
    char key[32]; // roles.KEY
    const char *name, *model;
    const char *adapter; // of the model; NULL: none
    tr_texts_t devices;  // process i has entry i mod count; borrowed
    size_t processes;
    uint64_t threads; // of each on a CPU; 0: one a processor
    double gibibytes;
    bool within;                        // the processes of the group before
    const tr_recipe_learner_t *learner; // ACTOR, CRITIC
} group_t;

enum { FIXED_GROUPS = 4 }; // at most, besides judges

/// What the sizes of passes follow from.
typedef struct facts {
    const tr_recipe_t *recipe;
    const tr_algorithm_t *algorithm;
    bool generates, has_ratios;
    tr_model_config_t policy;
    tr_sampling_t sampling;
    size_t prompt;  // tokens of the longest prompt, or row
    size_t longest; // tokens of a sequence
    size_t update;  // sequences
} facts_t;

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Groups

/// Actor or critic. learners: how many roles share the processors; with ranks, each rank has its
/// part.
static group_t learner_group(kind_t kind, const char *name, const tr_recipe_learner_t *learner,
                             const char *model, uint64_t learners)
{
    group_t group = {.kind = kind,
                     .name = name,
                     .model = learner->model != NULL ? learner->model : model,
                     .adapter = learner->adapter,
                     .devices = learner->device,
                     .processes = (size_t)learner->ranks,
                     .threads =
                         controller_role_threads(learner->threads, learners * learner->ranks),
                     .gibibytes = learner->memory,
                     .learner = learner};
    snprintf(group.key, sizeof group.key, "%s", name);
    return group;
}

/// In a process of its own, or in each of the actor's.
static group_t reference_group(const tr_recipe_t *recipe, const group_t *actor, uint64_t learners)
{
    const tr_recipe_reference_t *reference = &recipe->roles.reference;
    group_t group = {.kind = REFERENCE,
                     .key = "reference",
                     .model = recipe->reference != NULL ? recipe->reference : recipe->model,
                     .adapter = recipe->reference != NULL ? NULL : recipe->adapter};
    if (reference->separate) {
        group.name = "reference";
        group.devices = (tr_texts_t){(char **)&reference->device, 1};
        group.processes = tr_recipe_reads_reference(recipe) ? 1 : 0;
        group.threads = controller_role_threads(reference->threads, learners);
        group.gibibytes = reference->memory;
    } else {
        group.name = "reference (in actor)";
        group.within = true;
        group.threads = actor->threads;
    }
    return group;
}

/// Without those that are started elsewhere.
static group_t rollout_group(const tr_recipe_t *recipe)
{
    const tr_recipe_rollout_t *rollout = &recipe->roles.rollout;
    // External rollouts compute on machines that we cannot see.
    const uint64_t here = rollout->workers - rollout->external;
    return (group_t){.kind = ROLLOUT,
                     .key = "rollout",
                     .name = "rollout",
                     .model = recipe->model,
                     .adapter = recipe->adapter,
                     .devices = here > 0 ? rollout->device : (tr_texts_t){0},
                     .processes = (size_t)here,
                     .threads = controller_role_threads(rollout->threads, here),
                     .gibibytes = rollout->memory};
}

/// A judge that is a model. Others take no memory that is counted here.
static group_t judge_group(const tr_judge_t *judge, size_t number)
{
    const tr_model_judge_t *options = judge->options;
    group_t group = {.kind = JUDGE,
                     .name = judge->name,
                     .model = options->model,
                     .adapter = options->adapter,
                     .devices = {(char **)&options->device, 1},
                     .processes = (size_t)options->workers,
                     .threads = options->threads,
                     .gibibytes = options->memory};
    snprintf(group.key, sizeof group.key, "reward.%zu", number);
    return group;
}

/// *groups: [the result], owned by the caller (free).
static size_t list_groups(group_t **groups, const tr_recipe_t *recipe)
{
    const tr_recipe_roles_t *roles = &recipe->roles;
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    const uint64_t learners = tr_algorithm_has_critic(algorithm) ? 2 : 1;
    group_t *all = *groups = tr_calloc(FIXED_GROUPS + roles->reward.count, sizeof *all);
    size_t count = 0;
    if (tr_algorithm_learns(algorithm)) {
        all[count] = learner_group(ACTOR, "actor", &roles->actor, recipe->model, learners);
        all[count++].adapter = recipe->adapter;
    }
    if (roles->reference.separate ||
        (tr_recipe_reads_reference(recipe) && !tr_recipe_shares_reference(recipe))) {
        all[count] = reference_group(recipe, all, learners);
        count++;
    }
    if (learners == 2) {
        all[count++] = learner_group(CRITIC, "critic", &roles->critic, recipe->model, learners);
    }
    if (!tr_algorithm_generates(algorithm)) {
        return count;
    }
    all[count++] = rollout_group(recipe);
    for (size_t i = 0; i < roles->reward.count; i++) {
        if (roles->reward.items[i].kind == &tr_judge_model) {
            all[count++] = judge_group(&roles->reward.items[i], i);
        }
    }
    return count;
}

// Lengths

/// rows: whose lengths count; NULL: those that the recipe allows.
static tr_status facts_init(facts_t *f, const tr_recipe_t *recipe, const tr_corpus_t *rows,
                            tr_error_t *err)
{
    const tr_algorithm_t *a = tr_recipe_algorithm(recipe);
    const tr_generation_options_t *g = &recipe->generation;
    // Sequences of an update of the optimizer. PPO and GRPO cut the responses of a step into
    // minibatches; the others take all rows of a batch, a pair as two.
    uint64_t update = tr_algorithm_has_ratios(a)
                          ? recipe->data.batch * g->samples / tr_recipe_minibatches(recipe)
                          // KTO's last row, if alone, joins the batch before.
                          : recipe->data.batch * a->group + tr_recipe_mismatches(recipe);
    *f = (facts_t){.recipe = recipe,
                   .algorithm = a,
                   .generates = tr_algorithm_generates(a),
                   .has_ratios = tr_algorithm_has_ratios(a),
                   .sampling = tr_generation_sampling(g),
                   .update = (size_t)update};
    TR_TRY(a->scalar ? tr_model_config_load(&f->policy, recipe->model, err)
                     : tr_model_config_load_language(&f->policy, recipe->model, err));
    f->prompt = tr_recipe_row_limit(recipe, f->policy.max_positions);
    // With packing, rows are filled up to the limit, so the data's own lengths say nothing.
    if (rows != NULL && !recipe->sft.packing) {
        f->prompt = tr_survey_wait(rows->survey)->longest;
    }
    // a row has a token to learn behind another; shorter limits are the rows' mistake (rows.c)
    f->prompt = f->generates || f->prompt >= 2 ? f->prompt : 2;
    // Rows are whole already; prompts get a response behind them.
    size_t response = f->generates ? (size_t)g->max_new_tokens : 0;
    // A response ends at the model's last position, whatever the recipe allows.
    f->longest = least(f->prompt + response, f->policy.max_positions);
    return TR_OK;
}

// What a process does

/// As many of the longest sequences, at least one. Learners are told of kept ids where responses
/// come with the log-probs that they were sampled with.
static memory_batch_t batch_of(const facts_t *f, size_t sequences, bool scores)
{
    return (memory_batch_t){
        .sequences = sequences > 0 ? sequences : 1,
        .length = f->longest,
        .answers = f->generates ? (size_t)f->recipe->generation.max_new_tokens : f->longest,
        .kept = f->has_ratios ? tr_sampling_most_kept(&f->sampling, f->policy.vocabulary) : 0,
        .scores = scores};
}

/// An update is cut into chunks, each of which is one pass forward and back. Before it, rows are
/// read without gradient in batches of TR_INFER_CHUNK.
static memory_work_t learner_work(const facts_t *f, const group_t *group)
{
    const tr_optimizer_options_t *o = &f->recipe->optimizer;
    const tr_sharing_options_t *sharing = &group->learner->sharing;
    // Counted in rows in a recipe, in sequences here: a pair is two.
    const size_t chunk = least((size_t)o->chunk * f->algorithm->group, f->update);
    const bool rounds = o->rounding == TR_ROUNDING_STOCHASTIC, scores = f->algorithm->scalar;
    return (memory_work_t){
        .use = rounds ? TR_MODEL_LEARNS_ROUNDED : TR_MODEL_LEARNS,
        .batch = batch_of(f, least(TR_INFER_CHUNK, f->update), scores),
        .chunks = (f->update + chunk - 1) / chunk,
        .chunk = batch_of(f, chunk, scores),
        .noise = f->recipe->sft.loss.neftune_noise_alpha > 0,
        .options = o,
        .ranks = group->processes,
        .sharing = {NULL, (unsigned)sharing->zero_stage, (tr_gradient_sum_t)sharing->gradient_sum}};
}

/// The largest that a process of the group does at once.
static memory_work_t work_of(const facts_t *f, const group_t *group)
{
    const tr_recipe_t *recipe = f->recipe;
    const size_t asked = f->has_ratios ? TR_INFER_CHUNK : (size_t)recipe->optimizer.chunk;
    // No more are decoded at once than a step has.
    const uint64_t responses = recipe->data.batch * recipe->generation.samples;
    const size_t running = least((size_t)responses, (size_t)recipe->roles.rollout.max_batch);
    switch (group->kind) {
    case REFERENCE:
        return (memory_work_t){.use = TR_MODEL_READS,
                               .batch = batch_of(f, least(asked, f->update), false)};
    case ROLLOUT:
        return (memory_work_t){.use = TR_MODEL_DECODES,
                               .batch = batch_of(f, running, false),
                               .sampling = &f->sampling};
    // A judge packs as many sequences into a pass as fit TR_JUDGE_PASS_TOKENS.
    case JUDGE:
        return (memory_work_t){.use = TR_MODEL_DECODES,
                               .batch = batch_of(f, TR_JUDGE_PASS_TOKENS / f->longest, true)};
    case ACTOR:
    case CRITIC: break;
    }
    return learner_work(f, group);
}

/// The group's adapter. *lora: the caller's to release, after a failure too; of r 0: there is none.
static tr_status adapter_of(tr_lora_t *lora, const tr_recipe_t *recipe, const group_t *group,
                            tr_error_t *err)
{
    *lora = (tr_lora_t){0};
    if (group->adapter != NULL) {
        return tr_lora_read(lora, group->adapter, err);
    }
    if (group->kind == ACTOR || group->kind == ROLLOUT) {
        tr_lora_copy(lora, &recipe->lora);
    }
    return TR_OK;
}

/// What each process of the group takes of that device.
static tr_status measure(memory_t *memory, const facts_t *f, const group_t *group,
                         const char *device, tr_error_t *err)
{
    const tr_device_options_t options = {.device = device,
                                         .precision = (tr_precision_t)f->recipe->precision,
                                         .threads = (size_t)group->threads};
    memory_work_t work = work_of(f, group);
    tr_model_config_t config;
    // Each role may have a model of its own shape; a critic or judge has a scalar head besides.
    TR_TRY(tr_model_config_load(&config, group->model, err));
    if (group->kind == CRITIC || group->kind == JUDGE ||
        (group->kind == ACTOR && f->algorithm->scalar)) {
        tr_model_config_make_scalar(&config);
    }
    tr_lora_t lora;
    tr_status status = adapter_of(&lora, f->recipe, group, err);
    work.lora = &lora;
    if (status == TR_OK) {
        status = memory_of(memory, &options, &config, &work, err);
    }
    tr_lora_release(&lora);
    return status;
}

// The plan

/// Runs the group's process dry on this device, and adds the result.
static tr_status add_line(memory_plan_t *plan, const facts_t *f, const group_t *group,
                          const char *device, size_t processes, tr_error_t *err)
{
    memory_t memory;
    TR_TRY(measure(&memory, f, group, device, err));
    plan->lines = tr_realloc(plan->lines, (plan->count + 1) * sizeof *plan->lines);
    plan->lines[plan->count++] = (memory_plan_line_t){
        .name = group->name,
        .processes = processes,
        .within = group->within,
        .device = device,
        .budget = tr_device_is_gpu(device) ? (size_t)(group->gibibytes * 0x1p30) : 0,
        .memory = memory};
    plan->host += processes * memory.host;
    return TR_OK;
}

/// A line a device, and with each the line of the group that is within, or NULL.
static tr_status add_lines(memory_plan_t *plan, const facts_t *f, const group_t *group,
                           const group_t *within, tr_error_t *err)
{
    const size_t count = group->devices.count;
    for (size_t d = 0; d < least(count, group->processes); d++) {
        const char *device = group->devices.items[d];
        // Processes d, d + count, d + 2 count ... are on device d (proto/device.c deals them so).
        size_t dealt = (group->processes - d + count - 1) / count;
        TR_TRY(add_line(plan, f, group, device, dealt, err));
        if (within != NULL) {
            TR_TRY(add_line(plan, f, within, device, dealt, err));
        }
    }
    return TR_OK;
}

/// The actor's weights as rollouts read them: two segments of shared memory.
static size_t published(const facts_t *f)
{
    // In the type that passes read.
    bool gpu = tr_device_is_gpu(f->recipe->roles.actor.device.items[0]);
    const tr_dtype_t dtype = tr_precision_type((tr_precision_t)f->recipe->precision, gpu);
    tr_layout_t layout;
    // The number of parameters, by the layout that the actor publishes in.
    tr_layout_init(&layout, &f->policy);
    size_t bytes = layout.total * tr_dtype_size(dtype);
    tr_layout_release(&layout);
    return f->generates && tr_algorithm_learns(f->algorithm) ? 2 * bytes : 0;
}

/// Lengths, then groups, then a line for each group and device.
tr_status memory_plan_init(memory_plan_t *plan, const tr_recipe_t *recipe, const tr_corpus_t *rows,
                           tr_error_t *err)
{
    facts_t f;
    group_t *groups;
    tr_status status = TR_OK;
    *plan = (memory_plan_t){0};
    TR_TRY(facts_init(&f, recipe, rows, err));
    plan->longest = f.prompt;
    // Added to by lines whose optimizers keep their moments on the host (add_line).
    plan->host = published(&f);
    // actors on GPUs publish in place, unless the recipe says otherwise
    bool in_place = tr_device_is_gpu(recipe->roles.actor.device.items[0]) &&
                    recipe->roles.rollout.weights == TR_WEIGHTS_AUTO;
    plan->shared = in_place ? 0 : plan->host;
    size_t count = list_groups(&groups, recipe);
    for (size_t i = 0; i < count && status == TR_OK; i++) {
        // A group that is within the one before is added with it; by itself it has no devices.
        bool followed = i + 1 < count && groups[i + 1].within;
        status = add_lines(plan, &f, &groups[i], followed ? &groups[i + 1] : NULL, err);
    }
    free(groups);
    return status;
}

/// Names and devices are the recipe's or constants.
void memory_plan_release(memory_plan_t *plan)
{
    free(plan->lines);
    *plan = (memory_plan_t){0};
}

// Devices

/// With the memory that the recipe grants, as the process itself will open it.
static tr_status open_device(const group_t *group, const char *name, int precision, tr_error_t *err)
{
    const tr_device_options_t options = {.device = name,
                                         .precision = (tr_precision_t)precision,
                                         .memory = (size_t)(group->gibibytes * 0x1p30)};
    tr_backend_t *backend = NULL;
    if (tr_device_is_gpu(name) && tr_backend_open(&backend, &options, err) != TR_OK) {
        return tr_error_prefix(err, "roles.%s.device", group->key);
    }
    tr_backend_close(&backend);
    return TR_OK;
}

/// Before sums are made: what cannot be opened needs no estimate.
tr_status memory_plan_check_devices(const tr_recipe_t *recipe, tr_error_t *err)
{
    group_t *groups;
    tr_status status = TR_OK;
    size_t count = list_groups(&groups, recipe);
    for (size_t i = 0; i < count; i++) {
        for (size_t d = 0; d < groups[i].devices.count && status == TR_OK; d++) {
            status = open_device(&groups[i], groups[i].devices.items[d], recipe->precision, err);
        }
    }
    free(groups);
    return status;
}
