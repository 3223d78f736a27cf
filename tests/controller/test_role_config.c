/// What the roles are told: threads are dealt out so that processes that work at the same time
/// share the processors.
#include "controller/role_config.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/pool.h"

static const controller_start_t start = {.run = "/tmp/run"};

static tr_recipe_t *recipe_of(const char *text)
{
    tr_recipe_t *recipe;
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_parse(&recipe, text, strlen(text), "text", NULL, 0, &problems), TR_OK,
                 "%s", problems.count == 0 ? "" : problems.texts[0]);
    tr_recipe_problems_release(&problems);
    return recipe;
}

static void expect_threads(json_t *welcome, size_t expected)
{
    cr_expect_eq((size_t)json_integer_value(json_object_get(welcome, "threads")), expected);
    json_decref(welcome);
}

static size_t half(void)
{
    return tr_pool_processors() > 1 ? tr_pool_processors() / 2 : 1;
}

static const char PPO[] =
    "name: a\nalgorithm: ppo\nsteps: 1\nmodel: /m\ndata: {prompts: [p.jsonl]}\n"
    "roles: {actor: {threads: 0}, reward: [{words: {a: 1}}]}\n";
static const char SFT[] =
    "name: a\nalgorithm: sft\nsteps: 1\nmodel: /m\ndata: {train: [p.jsonl]}\n";
static const char ASKED[] =
    "name: a\nalgorithm: ppo\nsteps: 1\nmodel: /m\ndata: {prompts: [p.jsonl]}\n"
    "roles: {actor: {threads: 7}, critic: {threads: 5}, reward: [{words: {a: 1}}]}\n";

Test(welcome, actor_and_critic_share_the_processors)
{
    tr_recipe_t *recipe = recipe_of(PPO);
    expect_threads(controller_role_config_actor(recipe, &start), half());
    expect_threads(controller_role_config_critic(recipe, &start), half());
    tr_recipe_destroy(&recipe);
}

Test(welcome, an_actor_that_learns_alone_has_all_processors)
{
    tr_recipe_t *recipe = recipe_of(SFT);
    expect_threads(controller_role_config_actor(recipe, &start), tr_pool_processors());
    tr_recipe_destroy(&recipe);
}

Test(welcome, the_recipe_has_the_last_word)
{
    tr_recipe_t *recipe = recipe_of(ASKED);
    expect_threads(controller_role_config_actor(recipe, &start), 7);
    expect_threads(controller_role_config_critic(recipe, &start), 5);
    tr_recipe_destroy(&recipe);
}

static void expect_weights(const char *first, const char *second, const char *third,
                           const char *endpoint, bool stay)
{
    tr_recipe_t *recipe;
    tr_recipe_problems_t problems = {0};
    const char *const overrides[] = {"roles.actor.device=cuda", "roles.rollout.device=cuda", first,
                                     second, third};
    cr_assert_eq(tr_recipe_parse(&recipe, PPO, strlen(PPO), "text", overrides, 5, &problems), TR_OK,
                 "%s", problems.count == 0 ? "" : problems.texts[0]);
    json_t *welcome = controller_role_config_actor(recipe, &start);
    const char *found = json_string_value(json_object_get(welcome, "weights_endpoint"));
    cr_expect_str_eq(found != NULL ? found : "none", endpoint, "%s %s %s", first, second, third);
    cr_expect_eq(json_is_true(json_object_get(welcome, "weights_stay")), stay);
    json_decref(welcome);
    tr_recipe_destroy(&recipe);
}

Test(welcome, weights_are_served_where_rollouts_may_be_elsewhere)
{
    expect_weights("roles.rollout.external=1", "network.bind=tcp://0.0.0.0:5555", "seed=1",
                   "tcp://0.0.0.0:*", false);
    expect_weights("roles.rollout.external=1", "network.bind=tcp://[::1]:*",
                   "network.weights_port=5556", "tcp://[::1]:5556", false);
    expect_weights("roles.rollout.external=0", "network.bind=tcp://0.0.0.0:5555", "seed=1", "none",
                   true);
    expect_weights("roles.rollout.external=1", "network.bind=ipc:///tmp/a", "seed=1", "none", true);
}

/// Takes the welcome; devices: JSON.
static void expect_device(json_t *welcome, const char *devices, const char *precision,
                          double memory)
{
    json_t *wanted = json_loads(devices, JSON_DECODE_ANY, NULL);
    cr_expect(json_equal(json_object_get(welcome, "device"), wanted));
    cr_expect_str_eq(json_string_value(json_object_get(welcome, "precision")), precision);
    cr_expect_float_eq(json_real_value(json_object_get(welcome, "memory")), memory, 0.0);
    json_decref(wanted);
    json_decref(welcome);
}

Test(welcome, roles_are_told_their_devices)
{
    char *text = tr_format("%sprecision: fp32\n", PPO);
    const char *const overrides[] = {"roles.actor.device=cuda:1", "roles.actor.memory=40",
                                     "roles.critic.device=cpu", "roles.rollout.device=cuda"};
    tr_recipe_problems_t problems = {0};
    tr_recipe_t *recipe;
    cr_assert_eq(tr_recipe_parse(&recipe, text, strlen(text), "text", overrides, 4, &problems),
                 TR_OK, "%s", problems.count == 0 ? "" : problems.texts[0]);
    expect_device(controller_role_config_actor(recipe, &start), "[\"cuda:1\"]", "fp32", 40.0);
    expect_device(controller_role_config_critic(recipe, &start), "[\"cpu\"]", "fp32", 0.0);
    tr_recipe_destroy(&recipe);
    free(text);
}

Test(welcome, learners_are_told_to_compute_activations_again)
{
    char *text = tr_format("%soptimizer: {gradient_checkpointing: true}\n", ASKED);
    const char *texts[] = {ASKED, text};
    for (size_t i = 0; i < 2; i++) {
        tr_recipe_t *recipe = recipe_of(texts[i]);
        json_t *welcomes[] = {controller_role_config_actor(recipe, &start),
                              controller_role_config_critic(recipe, &start)};
        for (size_t k = 0; k < 2; k++) {
            const json_t *optimizer = json_object_get(welcomes[k], "optimizer");
            const json_t *told = json_object_get(optimizer, "gradient_checkpointing");
            cr_expect(json_is_boolean(told) && json_is_true(told) == (i == 1));
            json_decref(welcomes[k]);
        }
        tr_recipe_destroy(&recipe);
    }
    free(text);
}
