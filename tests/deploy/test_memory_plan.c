// Which processes a recipe needs memory for, on which device, what they run, and the sentence when
// a budget does not hold them.
#include "deploy/memory_plan.h"

#include <criterion/criterion.h>
#include <stddef.h>
#include <string.h>

#define STORIES TEST_SOURCE_DIR "/examples/models/stories"

static const char PPO[] = "name: a\nalgorithm: ppo\nsteps: 1\nmodel: " STORIES "\n"
                          "data: {prompts: [p.jsonl], max_prompt_length: 100, batch: 64}\n"
                          "generation: {max_new_tokens: 50}\n"
                          "roles:\n"
                          "  actor: {ranks: 2, device: [cuda:0, cuda:1]}\n"
                          "  rollout: {workers: 5, device: [cuda:1, cuda:0], max_batch: 16}\n"
                          "  critic: {device: cuda:1}\n"
                          "  reward: [{words: {a: 1}}, {model: " STORIES ", workers: 2}]\n";

static tr_recipe_t *recipe_of(const char *text, const char *override)
{
    tr_recipe_t *recipe;
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_parse(&recipe, text, strlen(text), "text", &override, override != NULL,
                                 &problems),
                 TR_OK, "%s", problems.count == 0 ? "" : problems.texts[0]);
    tr_recipe_problems_release(&problems);
    return recipe;
}

static void open_plan(memory_plan_t *plan, const tr_recipe_t *recipe)
{
    tr_error_t err = {0};
    cr_assert_eq(memory_plan_init(plan, recipe, NULL, &err), TR_OK, "%s", err.text);
}

static size_t rollouts_on(const memory_plan_t *plan, const char *device)
{
    size_t processes = 0;
    for (size_t i = 0; i < plan->count; i++) {
        bool there = strcmp(plan->lines[i].device, device) == 0;
        processes +=
            strcmp(plan->lines[i].name, "rollout") == 0 && there ? plan->lines[i].processes : 0;
    }
    return processes;
}

Test(memory_plan, rollouts_on_other_machines_need_nothing_here)
{
    tr_recipe_t *some = recipe_of(PPO, "roles.rollout.external=2");
    tr_recipe_t *all = recipe_of(PPO, "roles.rollout.external=5");
    memory_plan_t plan;
    open_plan(&plan, some);
    cr_expect_eq(rollouts_on(&plan, "cuda:1"), 2);
    cr_expect_eq(rollouts_on(&plan, "cuda:0"), 1);
    memory_plan_release(&plan);
    open_plan(&plan, all);
    cr_expect_eq(rollouts_on(&plan, "cuda:1") + rollouts_on(&plan, "cuda:0"), 0);
    memory_plan_release(&plan);
    tr_recipe_destroy(&all);
    tr_recipe_destroy(&some);
}

Test(memory_plan, processes_are_dealt_to_devices)
{
    static const struct {
        const char *name, *device;
        size_t processes;
        bool within;
    } wanted[] = {
        {"actor", "cuda:0", 1, false},   {"reference (in actor)", "cuda:0", 1, true},
        {"actor", "cuda:1", 1, false},   {"reference (in actor)", "cuda:1", 1, true},
        {"critic", "cuda:1", 1, false},  {"rollout", "cuda:1", 3, false},
        {"rollout", "cuda:0", 2, false}, {"model", "cpu", 2, false},
    };
    tr_recipe_t *recipe = recipe_of(PPO, NULL);
    memory_plan_t plan;
    open_plan(&plan, recipe);
    cr_assert_eq(plan.count, sizeof wanted / sizeof wanted[0]);
    for (size_t i = 0; i < plan.count; i++) {
        cr_expect_str_eq(plan.lines[i].name, wanted[i].name);
        cr_expect_str_eq(plan.lines[i].device, wanted[i].device, "%s", wanted[i].name);
        cr_expect_eq(plan.lines[i].processes, wanted[i].processes, "%s", wanted[i].name);
        cr_expect_eq(plan.lines[i].within, wanted[i].within, "%s", wanted[i].name);
    }
    cr_expect_eq(plan.longest, 100);
    memory_plan_release(&plan);
    tr_recipe_destroy(&recipe);
}

/// Keys and values of 6 layers, 16 sequences of 150 tokens in pages of 16, and a spare page, in
/// bf16.
Test(memory_plan, a_cache_holds_the_longest_responses_that_run_at_once)
{
    tr_recipe_t *recipe = recipe_of(PPO, NULL);
    tr_model_config_t config;
    tr_error_t err = {0};
    memory_plan_t plan;
    cr_assert_eq(tr_model_config_load(&config, STORIES, &err), TR_OK, "%s", err.text);
    open_plan(&plan, recipe);
    size_t row = config.key_value_heads * config.head_dim * 2;
    cr_expect_eq(plan.lines[5].memory.cache, 2 * config.layers * (16 * 10 + 1) * 16 * row);
    cr_expect_eq(plan.lines[0].memory.cache, 0);
    memory_plan_release(&plan);
    tr_recipe_destroy(&recipe);
}

Test(memory_plan, a_budget_that_is_too_small_is_refused_with_the_sum)
{
    tr_recipe_t *recipe = recipe_of(PPO, "roles.critic.memory=0.01");
    tr_error_t err = {0};
    memory_plan_t plan;
    open_plan(&plan, recipe);
    cr_assert_eq(memory_plan_check_memory(&plan, &err), TR_ERR_MEMORY);
    cr_expect(strncmp(err.text, "critic needs ", 13) == 0, "%s", err.text);
    cr_expect(strstr(err.text, " of cuda:1 (weights ") != NULL, "%s", err.text);
    cr_expect(strstr(err.text, "its `memory` is 10.2 MiB: raise it") != NULL, "%s", err.text);
    memory_plan_release(&plan);
    tr_recipe_destroy(&recipe);
}

static memory_t first_line(const char *text, const char *override)
{
    tr_recipe_t *recipe = recipe_of(text, override);
    memory_plan_t plan;
    open_plan(&plan, recipe);
    memory_t memory = plan.lines[0].memory;
    memory_plan_release(&plan);
    tr_recipe_destroy(&recipe);
    return memory;
}

/// Two chunks of a DPO batch of 16 pairs, 8 pairs each.
Test(memory_plan, a_learner_s_pass_is_a_chunk)
{
    static const char DPO[] = "name: a\nalgorithm: dpo\nsteps: 1\nmodel: " STORIES "\n"
                              "data: {train: [p.jsonl], batch: 16}\n"
                              "dpo: {max_length: 100, loss_type: simpo}\n"
                              "roles: {actor: {threads: 2}}\n";
    static const tr_optimizer_options_t options = {0};
    const tr_device_options_t cpu = {.device = "cpu", .threads = 2};
    const memory_batch_t chunk = {.sequences = 16, .length = 100, .answers = 99};
    const memory_work_t learner = {.use = TR_MODEL_LEARNS,
                                   .batch = chunk,
                                   .chunks = 2,
                                   .chunk = chunk,
                                   .options = &options,
                                   .ranks = 1};
    const memory_t memory = first_line(DPO, NULL);
    tr_model_config_t config;
    memory_t wanted;
    tr_error_t err = {0};
    cr_assert_eq(tr_model_config_load(&config, STORIES, &err), TR_OK, "%s", err.text);
    cr_assert_eq(memory_of(&wanted, &cpu, &config, &learner, &err), TR_OK);
    cr_expect_eq(memory_sum(&memory), memory_sum(&wanted));
}

/// Each key that says how a learner learns, and the column that it makes larger or smaller.
Test(memory_plan, a_learner_learns_as_the_recipe_says)
{
    static const char SFT[] = "name: a\nalgorithm: sft\nsteps: 1\nmodel: " STORIES "\n"
                              "data: {train: [p.jsonl], batch: 64}\n"
                              "roles: {actor: {ranks: 2, device: [cuda:0, cuda:1]}}\n";
    static const struct {
        const char *override;
        size_t column;
        bool more;
    } effects[] = {
        {"optimizer.gradient_checkpointing=true", offsetof(memory_t, activations), false},
        {"optimizer.chunk=4", offsetof(memory_t, activations), false},
        {"optimizer.chunk=4", offsetof(memory_t, gradient), true},
        {"optimizer.rounding=stochastic", offsetof(memory_t, weights), false},
        {"optimizer.offload=true", offsetof(memory_t, optimizer), false},
        {"roles.actor.zero_stage=1", offsetof(memory_t, gradient), true},
        {"roles.actor.zero_stage=3", offsetof(memory_t, weights), false},
        {"roles.actor.gradient_sum=all_reduce", offsetof(memory_t, gradient), false},
        {"roles.actor.ranks=1", offsetof(memory_t, optimizer), true},
        {"sft.neftune_noise_alpha=5", offsetof(memory_t, activations), true},
        {"sft.max_length=100", offsetof(memory_t, activations), false},
    };
    const memory_t was = first_line(SFT, NULL);
    for (size_t i = 0; i < sizeof effects / sizeof effects[0]; i++) {
        const memory_t is = first_line(SFT, effects[i].override);
        const size_t *before = (const void *)((const char *)&was + effects[i].column);
        const size_t *after = (const void *)((const char *)&is + effects[i].column);
        cr_expect(effects[i].more ? *after > *before : *after < *before, "%s: %zu, and %zu before",
                  effects[i].override, *after, *before);
    }
}

/// Two moments of each actor rank and of the critic, and the squares' blocks stay where they are.
Test(memory_plan, moments_that_are_taken_off_a_gpu_are_the_host_s)
{
    tr_recipe_t *recipes[] = {recipe_of(PPO, NULL), recipe_of(PPO, "optimizer.offload=true")};
    memory_plan_t plans[2];
    size_t optimizer[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        open_plan(&plans[i], recipes[i]);
        for (size_t k = 0; k < plans[i].count; k++) {
            optimizer[i] += plans[i].lines[k].memory.optimizer * plans[i].lines[k].processes;
        }
    }
    cr_expect_lt(optimizer[1], optimizer[0] / 100);
    cr_expect_eq(optimizer[1] + plans[1].host, optimizer[0] + plans[0].host);
    for (size_t i = 0; i < 2; i++) {
        memory_plan_release(&plans[i]);
        tr_recipe_destroy(&recipes[i]);
    }
}
