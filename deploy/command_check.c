/// `troupe check`: what is wrong with a recipe, or what it would run and how much memory that
/// takes.
#include <stdio.h>
#include <stdlib.h>

#include "common/model/layout.h"
#include "common/tensor/backend.h"
#include "controller/losses.h"
#include "deploy/command.h"
#include "deploy/company.h"

typedef struct words {
    char **items; // [count]
    size_t count;
} words_t;

static error_t take_word(int key, char *value, struct argp_state *state)
{
    words_t *words = state->input;
    switch (key) {
    case ARGP_KEY_ARG: words->items[words->count++] = value; return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "the recipe is missing"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

// Memory

typedef struct memory {
    double weights, gradients, moments, cache; ///< bytes
} memory_t;

/// What a process needs at least. The weights count twice, for the kernels read a packed copy, and
/// a learner three times, for the backward pass reads a transposed one; gradients are one vector (a
/// tree over more than one chunk takes some more); AdamW keeps two moments; cached_tokens keys and
/// values stand in the cache. Activations come on top.
static memory_t memory_of(const tr_model_config_t *config, size_t parameters, bool learns,
                          size_t cached_tokens)
{
    double vector = (double)parameters * sizeof(float);
    double token =
        2.0 * (double)(config->layers * config->key_value_heads * config->head_dim) * sizeof(float);
    return (memory_t){
        .weights = vector * (learns ? 3.0 : 2.0),
        .gradients = learns ? vector : 0.0,
        .moments = learns ? 2.0 * vector : 0.0,
        .cache = token * (double)cached_tokens,
    };
}

/// Tokens in the pages of all sequences that a rollout decodes at once, each as long as it may get.
static size_t cached_tokens(const tr_recipe_t *recipe, const tr_model_config_t *config)
{
    size_t prompt =
        recipe->data.max_prompt_length > 0 ? recipe->data.max_prompt_length : config->max_positions;
    size_t longest = prompt + recipe->generation.max_new_tokens;
    longest = longest < config->max_positions ? longest : config->max_positions;
    size_t sequences = recipe->data.batch * recipe->generation.samples;
    size_t running =
        sequences < recipe->roles.rollout.max_batch ? sequences : recipe->roles.rollout.max_batch;
    return running * ((longest + TR_PAGE - 1) / TR_PAGE * TR_PAGE);
}

// Showing

static void print_size(double bytes)
{
    if (bytes >= 1e9) {
        printf("  %7.2f GB", bytes / 1e9);
    } else {
        printf("  %7.2f MB", bytes / 1e6);
    }
}

static void print_role(const char *name, uint64_t processes, memory_t memory)
{
    printf("  %-20s %3llu", name, (unsigned long long)processes);
    print_size(memory.weights);
    print_size(memory.gradients);
    print_size(memory.moments);
    print_size(memory.cache);
    print_size(memory.weights + memory.gradients + memory.moments + memory.cache);
    printf("\n");
}

/// A line for a role that has the model of `directory`. scalar: with a scalar head, whatever is
/// stored there.
static tr_status print_model_role(const char *name, uint64_t processes, const char *directory,
                                  bool scalar, bool learns, const tr_recipe_t *caches,
                                  tr_error_t *err)
{
    tr_model_config_t config;
    tr_layout_t layout;
    TR_TRY(tr_model_config_load(&config, directory, err));
    config.scalar_head = scalar;
    config.tied_embeddings = config.tied_embeddings && !scalar;
    tr_layout_init(&layout, &config);
    print_role(name, processes,
               memory_of(&config, layout.total, learns,
                         caches != NULL ? cached_tokens(caches, &config) : 0));
    tr_layout_release(&layout);
    return TR_OK;
}

static tr_status print_judge(const tr_judge_t *judge, tr_error_t *err)
{
    if (judge->kind == TR_JUDGE_MODEL) {
        return print_model_role(judge->name, judge->workers, judge->model, true, false, NULL, err);
    }
    uint64_t processes = judge->kind == TR_JUDGE_EXEC       ? judge->workers
                         : judge->kind == TR_JUDGE_EXTERNAL ? 0
                                                            : 1;
    printf("  %-20s %3llu  %s, weight %g\n", judge->name, (unsigned long long)processes,
           tr_judge_kind_name(judge->kind), judge->weight);
    return TR_OK;
}

static tr_status print_reference(const tr_recipe_t *recipe, tr_error_t *err)
{
    const char *reference = recipe->reference != NULL ? recipe->reference : recipe->model;
    bool separate = recipe->roles.reference.separate;
    return !controller_losses_read_reference(recipe)
               ? TR_OK
               : print_model_role(separate ? "reference" : "reference (in actor)", separate ? 1 : 0,
                                  reference, false, false, NULL, err);
}

/// Whoever speaks, judges, and predicts the judges.
static tr_status print_speaking_roles(const tr_recipe_t *recipe, tr_error_t *err)
{
    const tr_recipe_roles_t *roles = &recipe->roles;
    const char *critic = roles->critic.model != NULL ? roles->critic.model : recipe->model;
    if (recipe->algorithm == TR_ALGORITHM_PPO) {
        TR_TRY(print_model_role("critic", 1, critic, true, true, NULL, err));
    }
    TR_TRY(print_model_role("rollout", roles->rollout.workers, recipe->model, false, false, recipe,
                            err));
    for (size_t i = 0; i < roles->reward.count; i++) {
        TR_TRY(print_judge(&roles->reward.items[i], err));
    }
    return TR_OK;
}

static tr_status print_model(const char *directory, tr_error_t *err)
{
    tr_model_config_t config;
    tr_layout_t layout;
    TR_TRY(tr_model_config_load(&config, directory, err));
    tr_layout_init(&layout, &config);
    printf("model      %s: %zu parameters, %zu layers, hidden size %zu, vocabulary %zu, %zu "
           "positions\n",
           directory, layout.total, config.layers, config.hidden, config.vocabulary,
           config.max_positions);
    tr_layout_release(&layout);
    return TR_OK;
}

static void print_work(const tr_recipe_t *recipe)
{
    printf("run        %s/%s, seed %llu\n", recipe->output, recipe->name,
           (unsigned long long)recipe->seed);
    printf("algorithm  %s, %llu steps, each of %llu %s", tr_algorithm_name(recipe->algorithm),
           (unsigned long long)recipe->steps, (unsigned long long)recipe->data.batch,
           tr_algorithm_generates(recipe->algorithm) ? "prompts" : "rows");
    if (tr_algorithm_generates(recipe->algorithm)) {
        printf(" x %llu samples of at most %llu tokens",
               (unsigned long long)recipe->generation.samples,
               (unsigned long long)recipe->generation.max_new_tokens);
    }
    printf("\n");
}

static tr_status print_summary(const tr_recipe_t *recipe, tr_error_t *err)
{
    print_work(recipe);
    TR_TRY(print_model(recipe->model, err));
    printf("\n  %-20s %3s  %10s  %10s  %10s  %10s  %10s\n", "role", "no.", "weights", "gradients",
           "moments", "KV cache", "each");
    if (tr_algorithm_learns(recipe->algorithm)) {
        TR_TRY(print_model_role("actor", 1, recipe->model, recipe->algorithm == TR_ALGORITHM_REWARD,
                                true, NULL, err));
    }
    TR_TRY(print_reference(recipe, err));
    return tr_algorithm_generates(recipe->algorithm) ? print_speaking_roles(recipe, err) : TR_OK;
}

/// What `run` would refuse, though the recipe alone is right.
static tr_status check_company(const tr_recipe_t *recipe, tr_error_t *err)
{
    company_t company;
    tr_status status = company_init(&company, recipe, recipe->output, false, err);
    company_release(&company);
    return status;
}

int command_check(int argc, char **argv)
{
    const struct argp parser = {
        .parser = take_word,
        .args_doc = "RECIPE [KEY=VALUE ...]",
        .doc = "Say what is wrong with a recipe, all of it, or what it would run and how much "
               "memory each role needs at least."};
    words_t words = {tr_calloc((size_t)argc, sizeof(char *)), 0};
    tr_recipe_t *recipe = NULL;
    tr_error_t err = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &words);
    tr_status status = command_load_recipe(&recipe, words.items, words.count);
    int exit_code = tr_status_exit_code(status);
    if (status == TR_OK) {
        status = check_company(recipe, &err);
        status = status == TR_OK ? print_summary(recipe, &err) : status;
        exit_code = command_exit(status, &err);
    }
    tr_recipe_destroy(&recipe);
    free(words.items);
    return exit_code;
}
