/// Which processes a recipe needs memory for, on which device, and what is said when a budget does not hold them.
#include "deploy/memory_plan.h"

#include <criterion/criterion.h>
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

static void open_needs(needs_t *needs, const tr_recipe_t *recipe)
{
    tr_error_t err = {0};
    cr_assert_eq(needs_init(needs, recipe, false, &err), TR_OK, "%s", err.text);
}

static size_t rollouts_on(const needs_t *needs, const char *device)
{
    size_t processes = 0;
    for (size_t i = 0; i < needs->count; i++) {
        bool there = strcmp(needs->roles[i].device, device) == 0;
        processes +=
            strcmp(needs->roles[i].name, "rollout") == 0 && there ? needs->roles[i].processes : 0;
    }
    return processes;
}

Test(needs, rollouts_on_other_machines_need_nothing_here)
{
    tr_recipe_t *some = recipe_of(PPO, "roles.rollout.external=2");
    tr_recipe_t *all = recipe_of(PPO, "roles.rollout.external=5");
    needs_t needs;
    open_needs(&needs, some);
    cr_expect_eq(rollouts_on(&needs, "cuda:1"), 2);
    cr_expect_eq(rollouts_on(&needs, "cuda:0"), 1);
    needs_release(&needs);
    open_needs(&needs, all);
    cr_expect_eq(rollouts_on(&needs, "cuda:1") + rollouts_on(&needs, "cuda:0"), 0);
    needs_release(&needs);
    tr_recipe_destroy(&all);
    tr_recipe_destroy(&some);
}

Test(needs, processes_are_dealt_to_devices)
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
    needs_t needs;
    open_needs(&needs, recipe);
    cr_assert_eq(needs.count, sizeof wanted / sizeof wanted[0]);
    for (size_t i = 0; i < needs.count; i++) {
        cr_expect_str_eq(needs.roles[i].name, wanted[i].name);
        cr_expect_str_eq(needs.roles[i].device, wanted[i].device, "%s", wanted[i].name);
        cr_expect_eq(needs.roles[i].processes, wanted[i].processes, "%s", wanted[i].name);
        cr_expect_eq(needs.roles[i].within, wanted[i].within, "%s", wanted[i].name);
    }
    cr_expect_eq(needs.longest, 100);
    needs_release(&needs);
    tr_recipe_destroy(&recipe);
}

/// Keys and values of 6 layers, 16 sequences of 150 tokens in pages of 16, and a spare page, in bf16.
Test(needs, a_cache_holds_the_longest_responses_that_run_at_once)
{
    tr_recipe_t *recipe = recipe_of(PPO, NULL);
    tr_model_config_t config;
    tr_error_t err = {0};
    needs_t needs;
    cr_assert_eq(tr_model_config_load(&config, STORIES, &err), TR_OK, "%s", err.text);
    open_needs(&needs, recipe);
    size_t row = config.key_value_heads * config.head_dim * 2;
    cr_expect_eq(needs.roles[5].memory.cache, 2 * config.layers * (16 * 10 + 1) * 16 * row);
    cr_expect_eq(needs.roles[0].memory.cache, 0);
    needs_release(&needs);
    tr_recipe_destroy(&recipe);
}

Test(needs, a_budget_that_is_too_small_is_refused_with_the_sum)
{
    tr_recipe_t *recipe = recipe_of(PPO, "roles.critic.memory=0.01");
    tr_error_t err = {0};
    needs_t needs;
    open_needs(&needs, recipe);
    cr_assert_eq(needs_check_memory(&needs, &err), TR_ERR_MEMORY);
    cr_expect(strncmp(err.text, "critic needs ", 13) == 0, "%s", err.text);
    cr_expect(strstr(err.text, " of cuda:1 (weights ") != NULL, "%s", err.text);
    cr_expect(strstr(err.text, "its `memory` is 10.2 MiB: raise it") != NULL, "%s", err.text);
    needs_release(&needs);
    tr_recipe_destroy(&recipe);
}

/// Two chunks of a DPO batch of 16 pairs, 8 pairs each.
Test(needs, a_learner_s_pass_is_a_chunk)
{
    static const char DPO[] = "name: a\nalgorithm: dpo\nsteps: 1\nmodel: " STORIES "\n"
                              "data: {train: [p.jsonl], batch: 16}\n"
                              "dpo: {max_length: 100, reference_free: true, loss_type: simpo}\n"
                              "roles: {actor: {threads: 2}}\n";
    tr_recipe_t *recipe = recipe_of(DPO, NULL);
    tr_model_config_t config;
    tr_error_t err = {0};
    needs_t needs;
    const tr_memory_plan_t plan = {
        .use = TR_MODEL_LEARNS,
        .real = TR_F32,
        .threads = 2,
        .chunks = 2,
        .pass = {.sequences = 16, .tokens = 1600, .longest = 100, .answers = 1600, .learns = true}};
    cr_assert_eq(tr_model_config_load(&config, STORIES, &err), TR_OK, "%s", err.text);
    open_needs(&needs, recipe);
    cr_assert_eq(needs.count, 1U);
    tr_memory_t wanted = tr_memory_of(&config, &plan);
    cr_expect_eq(tr_memory_sum(&needs.roles[0].memory), tr_memory_sum(&wanted));
    needs_release(&needs);
    tr_recipe_destroy(&recipe);
}

/// Two moments of each actor rank and of the critic, and the squares' blocks stay where they are.
Test(needs, moments_that_are_taken_off_a_gpu_are_the_host_s)
{
    tr_recipe_t *recipes[] = {recipe_of(PPO, NULL), recipe_of(PPO, "optimizer.offload=true")};
    needs_t needs[2];
    size_t optimizer[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        open_needs(&needs[i], recipes[i]);
        for (size_t k = 0; k < needs[i].count; k++) {
            optimizer[i] += needs[i].roles[k].memory.optimizer * needs[i].roles[k].processes;
        }
    }
    cr_expect_lt(optimizer[1], optimizer[0] / 100);
    cr_expect_eq(optimizer[1] + needs[1].host, optimizer[0] + needs[0].host);
    for (size_t i = 0; i < 2; i++) {
        needs_release(&needs[i]);
        tr_recipe_destroy(&recipes[i]);
    }
}
