/// Every mistake has a place, the key, what was expected and what was found; and all come at once.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/recipe/recipe.h"
#include "tests/support/scratch.h"

static const char least[] = "name: a\n"
                            "algorithm: ppo\n"
                            "steps: 10\n"
                            "model: m\n"
                            "data: {prompts: [p.jsonl]}\n"
                            "roles: {reward: [{words: {good: 1}}]}\n";

/// The problems of the text and overrides are these, ended by NULL.
static void expect_problems(const char *text, const char *const *overrides, size_t count,
                            tr_status status, const char *const *expected)
{
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    tr_status found =
        tr_recipe_parse(&recipe, text, strlen(text), "r.yaml", overrides, count, &problems);
    cr_expect_null(recipe);
    size_t i = 0;
    for (; i < problems.count && expected[i] != NULL; i++) {
        cr_expect_str_eq(problems.texts[i], expected[i]);
    }
    cr_expect(i == problems.count, "unexpected: %s", i < problems.count ? problems.texts[i] : "");
    cr_expect_null(expected[i]);
    cr_expect_eq(found, status);
    tr_recipe_problems_release(&problems);
}

typedef struct mistake {
    const char *override;
    const char *problem;
} mistake_t;

/// Each override, put over a good recipe, makes one problem.
static void expect_each(const mistake_t *mistakes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *problem = tr_format("command line: %s", mistakes[i].problem);
        expect_problems(least, &mistakes[i].override, 1, TR_ERR_ARGUMENT,
                        (const char *const[]){problem, NULL});
        free(problem);
    }
}

#define EXPECT_EACH(mistakes) expect_each(mistakes, sizeof(mistakes) / sizeof(mistakes)[0])

Test(recipe_mistakes, all_come_at_once_in_the_order_of_the_file)
{
    const char *text = "seed: -1\n"
                       "name: a/b\n"
                       "optimizer:\n"
                       "  learning_rate: fast\n"
                       "  warmup: 1.5\n"
                       "algorithm: ppo\n"
                       "seed: 2\n"
                       "steps: 0\n"
                       "data:\n"
                       "  prompts: []\n"
                       "  epochs: 3\n"
                       "roles:\n"
                       "  reward:\n"
                       "    - {words: {a: x}, weight: y}\n";
    const char *const overrides[] = {"optimizer.lr=1", "steps"};
    expect_problems(
        text, overrides, 2, TR_ERR_ARGUMENT,
        (const char *const[]){
            "r.yaml:1: seed: expected a whole number from 0 to 2^63 - 1, found '-1'",
            "r.yaml:1: model: missing; expected a Hugging Face directory",
            "r.yaml:2: name: expected a plain file name, without '/', found 'a/b'",
            "r.yaml:4: optimizer.learning_rate: expected a positive number, or null, found 'fast'",
            "r.yaml:5: optimizer.warmup: expected a whole number of at least 0, found '1.5'",
            "r.yaml:7: seed: the key is given twice, first on line 1: keep one",
            "r.yaml:8: steps: expected a whole number of at least 1, found '0'",
            "r.yaml:10: data.prompts: expected at least one file for algorithm 'ppo', found none",
            ("r.yaml:11: data.epochs: unknown key; docs/recipe.md lists them, docs/from-trl.md "
             "those of TRL"),
            "r.yaml:14: roles.reward.0.words.a: expected a number, found 'x'",
            "r.yaml:14: roles.reward.0.weight: expected a number, found 'y'",
            "command line: expected dotted.key=value, found 'steps'",
            "command line: optimizer.lr: unknown key; did you mean 'optimizer.learning_rate'?",
            NULL});
}

Test(recipe_mistakes, unknown_keys_are_told_what_was_meant)
{
    EXPECT_EACH(((const mistake_t[]){
        {"optimizer.lr=1", "optimizer.lr: unknown key; did you mean 'optimizer.learning_rate'?"},
        {"learning_rate=1", "learning_rate: unknown key; did you mean 'optimizer.learning_rate'?"},
        {"optimiser.clip=1", "optimiser: unknown key; did you mean 'optimizer'?"},
        {"data.batch_size=1", "data.batch_size: unknown key; did you mean 'data.batch'?"},
        {"generation.temprature=1",
         "generation.temprature: unknown key; did you mean 'generation.temperature'?"},
        {"generation.max_tokens=1",
         "generation.max_tokens: unknown key; did you mean 'generation.max_new_tokens'?"},
        {"roles.reward.0.wieght=1",
         "roles.reward.0.wieght: unknown key; did you mean 'roles.reward.0.weight'?"},
        {"zebra=1", "zebra: unknown key; docs/recipe.md lists them, docs/from-trl.md those of TRL"},
    }));
}

Test(recipe_mistakes, kinds_and_ranges)
{
    EXPECT_EACH(((const mistake_t[]){
        {"steps=1e3", "steps: expected a whole number of at least 1, found '1e3'"},
        {"seed=9223372036854775808",
         "seed: expected a whole number from 0 to 2^63 - 1, found '9223372036854775808'"},
        {"algorithm=remix",
         "algorithm: expected 'ppo', 'sft', 'reward', 'dpo', 'kto', 'online_dpo', "
         "'rejection_sampling', 'grpo', 'rloo', 'reinforce_plus_plus', "
         "'reinforce_plus_plus_baseline', 'opo', 'flash_reinforce', 'remax' or 'sample', found "
         "'remix'"},
        {"algorithm=", "algorithm: expected 'ppo', 'sft', 'reward', 'dpo', 'kto', 'online_dpo', "
                       "'rejection_sampling', 'grpo', 'rloo', 'reinforce_plus_plus', "
                       "'reinforce_plus_plus_baseline', 'opo', 'flash_reinforce', 'remax' or "
                       "'sample', found nothing"},
        {"dpo.loss_weights=[1.0, x]", "dpo.loss_weights.1: expected a number, found 'x'"},
        {"dpo.label_smoothing=0.5",
         "dpo.label_smoothing: expected a number of at least 0 and below 0.5, found '0.5'"},
        {"name=", "name: expected a text, found nothing"},
        {"name=''", "name: expected a text, found ''"},
        {"name=..", "name: expected a plain file name, without '/', found '..'"},
        {"name=[a]", "name: expected a text, found a list"},
        {"samples=5", "samples: expected a section of keys, found '5'"},
        {"data.shuffle=yes", "data.shuffle: expected true or false, found 'yes'"},
        {"data.eval=[a, [b]]", "data.eval.1: expected a text, found a list"},
        {"optimizer.learning_rate=0",
         "optimizer.learning_rate: expected a positive number, or null, found '0'"},
        {"optimizer.learning_rate=\"1\"",
         "optimizer.learning_rate: expected a positive number, or null, found '1'"},
        {"optimizer.learning_rate=0x1p3",
         "optimizer.learning_rate: expected a positive number, or null, found '0x1p3'"},
        {"optimizer.learning_rate=inf",
         "optimizer.learning_rate: expected a positive number, or null, found 'inf'"},
        {"optimizer.learning_rate=1e999",
         "optimizer.learning_rate: expected a positive number, or null, found '1e999'"},
        {"optimizer.learning_rate=1e",
         "optimizer.learning_rate: expected a positive number, or null, "
         "found '1e'"},
        {"optimizer.beta2=1", "optimizer.beta2: expected a number of at least 0 and below 1, "
                              "found '1'"},
        {"generation.top_p=0",
         "generation.top_p: expected a number above 0 and at most 1, found '0'"},
        {"generation.stop_ids=[1, -2]", "generation.stop_ids.1: expected a token id, found '-2'"},
        {"generation.stop_ids=[2147483648]",
         "generation.stop_ids.0: expected a token id, found '2147483648'"},
        {"roles.actor.device=gpu",
         "roles.actor.device: expected 'cpu', 'cuda' or 'cuda:N', found 'gpu'"},
        {"roles.critic.device=cuda:01",
         "roles.critic.device: expected 'cpu', 'cuda' or 'cuda:N', found 'cuda:01'"},
        {"roles.rollout.device='cuda:'",
         "roles.rollout.device: expected 'cpu', 'cuda' or 'cuda:N', found 'cuda:'"},
        {"roles.rollout.device=[cpu, cuda0]",
         "roles.rollout.device.1: expected 'cpu', 'cuda' or 'cuda:N', found 'cuda0'"},
        {"roles.rollout.device={}", "roles.rollout.device: expected 'cpu', 'cuda' or 'cuda:N', or "
                                    "a list of them, found a section of keys"},
        {"roles.actor.memory=-1",
         "roles.actor.memory: expected a number from 0 to 1048576, or null, found '-1'"},
        {"precision=fp16", "precision: expected 'auto', 'bf16' or 'fp32', found 'fp16'"},
        {"roles.critic.learning_rate=-1",
         "roles.critic.learning_rate: expected a positive number, or null, found '-1'"},
        {"optimizer.schedule=step",
         "optimizer.schedule: expected 'constant', 'linear' or 'cosine', found 'step'"},
    }));
}

Test(recipe_mistakes, what_must_agree)
{
    EXPECT_EACH(((const mistake_t[]){
        {"generation.temperature=0",
         "generation.temperature: expected a positive number for algorithm 'ppo', found 0"},
        {"ppo.num_mini_batches=3",
         "ppo.num_mini_batches: expected a divisor of the 64 responses of a step (data.batch x "
         "generation.samples), found 3"},
        {"roles.rollout.device=[]",
         "roles.rollout.device: expected at least one device, found none"},
        {"roles.actor.device=[]", "roles.actor.device: expected at least one device, found none"},
        {"roles.rollout.device=cuda:1",
         "roles.rollout.device: expected a device of one kind with 'cpu' of roles.actor.device, "
         "found 'cuda:1': a CPU and a GPU need not agree bit for bit, so exact/logprob_mismatch "
         "would not be 0; put both on the CPU, or both on GPUs"},
        {"roles.actor.device=[cuda:1, cuda:0]",
         "roles.rollout.device: expected a device of one kind with 'cuda:1' of "
         "roles.actor.device, found 'cpu': a CPU and a GPU need not agree bit for bit, so "
         "exact/logprob_mismatch would not be 0; put both on the CPU, or both on GPUs"},
        {"roles.critic.device=[cpu, cuda]",
         "roles.critic.device: expected devices of one kind, found 'cpu' and 'cuda': a CPU and a "
         "GPU need not agree bit for bit; put all on the CPU, or all on GPUs"},
        {"roles.critic={ranks: 3, device: [cuda:1, 'cuda', cuda:0]}",
         "roles.critic.device: expected 3 different GPUs, one for each rank of "
         "roles.critic.ranks, found 'cuda:0' for two of them"},
        {"roles.critic={ranks: 2, device: cuda}",
         "roles.critic.device: expected 2 different GPUs, one for each rank of "
         "roles.critic.ranks, found 'cuda' for two of them"},
        {"optimizer.warmup=11", "optimizer.warmup: expected at most the 10 steps, found 11"},
        {"roles.reward=[]",
         "roles.reward: expected at least one judge for algorithm 'ppo', found none"},
        {"sft.label_smoothing_factor=1",
         "sft.label_smoothing_factor: expected a number of at least 0 and below 1, found '1'"},
        {"sft.neftune_noise_alpha=0",
         "sft.neftune_noise_alpha: expected a positive number, or null, found '0'"},
        {"generation={response_length: 1, max_new_tokens: 2}",
         "generation.max_new_tokens: 'generation.max_new_tokens' and 'generation.response_length' "
         "are the same key, and both are given: keep one"},
        {"from_scratch=true", "from_scratch: algorithm 'ppo' does not read this key: leave it out"},
    }));
}

Test(recipe_mistakes, kto_needs_another_row_in_a_batch)
{
    const char *kto = "name: a\nalgorithm: kto\nsteps: 10\nmodel: m\n"
                      "data: {train: [p.jsonl], batch: 1}\n";
    expect_problems(kto, NULL, 0, TR_ERR_ARGUMENT,
                    (const char *const[]){"r.yaml:5: data.batch: expected at least 2 for kto, "
                                          "which estimates the KL divergence from the completions "
                                          "of other rows of the batch, found 1",
                                          NULL});
}

Test(recipe_mistakes, keys_that_are_set_and_never_read)
{
    const char *dpo = "name: a\nalgorithm: dpo\nsteps: 10\nmodel: m\ndata: {train: [p.jsonl]}\n"
                      "ppo: {kl_coef: 0.1, gamma: 1.0}\n" // gamma: the default
                      "dpo:\n  simpo_gamma: 1.0\n  discopop_tau: 0.05\n"
                      "  f_alpha_divergence_coef: 0.7\n"
                      "roles: {critic: {device: cuda}, actor: {threads: 2}}\n";
    expect_problems(
        dpo, NULL, 0, TR_ERR_ARGUMENT,
        (const char *const[]){
            "r.yaml:6: ppo.kl_coef: algorithm 'dpo' does not read this key: leave it out",
            "r.yaml:8: dpo.simpo_gamma: read only where loss_type is simpo: leave it out",
            ("r.yaml:10: dpo.f_alpha_divergence_coef: read only where f_divergence_type is "
             "alpha_divergence: leave it out"),
            "r.yaml:11: roles.critic.device: algorithm 'dpo' does not read this key: leave it out",
            NULL});
    const char *const overrides[] = {"algorithm=rejection_sampling", "generation.samples=2",
                                     "sft.max_length=5", "reference=r", "sft.loss_type=dft"};
    expect_problems(least, overrides, 5, TR_ERR_ARGUMENT,
                    (const char *const[]){"command line: reference: algorithm 'rejection_sampling' "
                                          "does not read this key: leave it out",
                                          "command line: sft.max_length: algorithm "
                                          "'rejection_sampling' does not read this key: leave it "
                                          "out",
                                          NULL});
}

Test(recipe_mistakes, judges)
{
    EXPECT_EACH(((const mistake_t[]){
        {"roles.reward=x", "roles.reward: expected a list of at most 100 judges ('- {model: DIR}'),"
                           " found 'x'"},
        {"roles.reward=[5]", "roles.reward.0: expected a judge such as {exec: [PROGRAM]} or "
                             "{model: DIR}, found '5'"},
        {"roles.reward=[{exec: []}]", "roles.reward.0.exec: expected a program, found none"},
        {"roles.reward=[{exec: a b}]", "roles.reward.0.exec: expected a list of a program and its "
                                       "arguments, found 'a b'"},
        {"roles.reward=[{words: {}}]", "roles.reward.0.words: expected at least one word, found "
                                       "none"},
        {"roles.reward=[{words: {a: 1, a: 2}}]",
         "roles.reward.0.words.a: the key is given twice: keep one"},
        {"roles.reward=[{words: {'': 1}}]",
         "roles.reward.0.words.: expected a word of 1 to 200 bytes, found one of 0"},
        {"roles.reward=[{regex: '(a'}]",
         "roles.reward.0.regex.pattern: expected a regular expression, found '(a': missing closing "
         "parenthesis at byte 2"},
        {"roles.reward=[{regex: {score: 1}}]",
         "roles.reward.0.regex.pattern: expected a regular expression, found none"},
        {"roles.reward=[{length: {}}]", "roles.reward.0.length: expected a target, a min or a max "
                                        "above 0, found none"},
        {"roles.reward=[{length: {target: 2, max: 3}}]",
         "roles.reward.0.length: expected target, or min and max, found both kinds"},
        {"roles.reward=[{length: {min: 3, max: 2}}]", "roles.reward.0.length: min is above max"},
        {"roles.reward.0.device=cpu", "roles.reward.0.device: the key means nothing for a judge of "
                                      "kind 'words': leave it out"},
        {"roles.reward=[{model: m, step_separator: x}]",
         "roles.reward.0.step_separator: read only where steps is min|mean|last|product: leave it "
         "out"},
        {"roles.reward.0.name=a/b", "roles.reward.0.name: expected at most 64 letters, digits, "
                                    "'_', '-' and '.', found 'a/b'"},
        {"roles.reward=[{external: a}, {external: a}]",
         "roles.reward: entry 1 has the name 'a' of an earlier one"},
        {"roles.rollout.external=2", "roles.rollout.external: expected at most the 1 of "
                                     "roles.rollout.workers, which counts them too, found 2"},
        {"roles.reward.1.weight=2",
         "roles.reward.1.weight: '1' is no entry of a list of 1; entries count from 0"},
    }));
}

Test(recipe_mistakes, an_entry_is_a_judge_of_one_kind)
{
    char *kinds = tr_strdup("");
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        const char *separator = i == 0 ? "" : i + 1 < tr_judge_kind_count ? ", " : " or ";
        char *longer = tr_format("%s%s%s", kinds, separator, tr_judge_kinds[i]->name);
        free(kinds);
        kinds = longer;
    }
    char *none = tr_format("roles.reward.0: expected one of %s, found none", kinds);
    char *several = tr_format("roles.reward.0: expected one of %s, found several", kinds);
    EXPECT_EACH(((const mistake_t[]){
        {"roles.reward=[{weight: 1}]", none},
        {"roles.reward=[{regex: a, external: b}]", several},
    }));
    free(several);
    free(none);
    free(kinds);
}

Test(recipe_mistakes, the_command_line)
{
    EXPECT_EACH(((const mistake_t[]){
        {"steps", "expected dotted.key=value, found 'steps'"},
        {"=3", "expected dotted.key=value, found '=3'"},
        {"data..batch=3", "expected dotted.key=value, found 'data..batch=3'"},
        {"da\nta=3", "expected dotted.key=value, found 'da ta=3'"},
        {"steps.x=3", "steps.x: unknown key: it would lie within a single value"},
        {"name=*a", "name: aliases have no use here: write the value out"},
        {"name=&a b", "name: anchors (&a) have no use here: write each value out"},
        {"name=!!str b", "name: tags (tag:yaml.org,2002:str) have no use here: leave it out"},
        {"name=\"a\\0b\"", "name: a text cannot hold a NUL character"},
        {"name=[[[[[[[[[[[[[a]]]]]]]]]]]]]", "name.0.0.0.0.0.0.0.0.0.0.0.0: the nesting is deeper "
                                             "than any recipe's"},
    }));
}

Test(recipe_mistakes, a_key_of_two_names_is_not_sought_in_a_list)
{
    char *text = tr_format("%sgeneration: [a]\n", least);
    const char *const overrides[] = {"generation.response_length=3"};
    expect_problems(text, overrides, 1, TR_ERR_ARGUMENT,
                    (const char *const[]){
                        "r.yaml:7: generation: expected a section of keys, found a list",
                        "command line: generation.max_new_tokens: 'max_new_tokens' is no entry of "
                        "a list of 1; entries count from 0",
                        NULL});
    free(text);
}

Test(recipe_mistakes, what_is_no_yaml_is_a_format_error_with_its_line)
{
    static const struct {
        const char *text;
        const char *problem;
    } cases[] = {
        {"a: 1\n b: 2\n",
         "r.yaml:2: malformed YAML: mapping values are not allowed in this context"},
        {"a: \"\n", "r.yaml:2: malformed YAML: found unexpected end of stream while scanning a "
                    "quoted scalar"},
        {"name: a\nmodel: \xFF\n", "r.yaml:1: malformed YAML: invalid leading UTF-8 octet"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_problems(cases[i].text, NULL, 0, TR_ERR_FORMAT,
                        (const char *const[]){cases[i].problem, NULL});
    }
}

Test(recipe_mistakes, what_is_yaml_but_no_recipe)
{
    static const struct {
        const char *text;
        const char *problem;
    } cases[] = {
        {"", "r.yaml:1: expected a recipe of keys and values, found nothing"},
        {"- a\n", "r.yaml:1: expected a recipe of keys and values, found a list"},
        {"a: 1\n---\nb: 1\n", "r.yaml:2: a second document ('---') begins where one is expected"},
        {"? [a]\n: b\n", "r.yaml:1: a key must be a short text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_problems(cases[i].text, NULL, 0, TR_ERR_ARGUMENT,
                        (const char *const[]){cases[i].problem, NULL});
    }
}

// The disk

typedef struct world {
    char *folder;
    char *recipe; // a file
    char *model;  // a directory with config.json
    char *prompts;
} world_t;

static world_t world_open(void)
{
    world_t world = {.folder = scratch_open()};
    char *config = scratch_write(world.folder, "config.json", "{}", 2);
    free(config);
    world.recipe = scratch_write(world.folder, "r.yaml", least, strlen(least));
    world.prompts = scratch_write(world.folder, "p.jsonl", "{}", 2);
    world.model = tr_strdup(world.folder);
    return world;
}

static void world_close(world_t *world)
{
    free(world->recipe);
    free(world->prompts);
    free(world->model);
    scratch_close(&world->folder);
}

/// Loads the world's recipe with model, prompts and one more override; the only problem, or NULL
/// for none.
static char *load(const world_t *world, const char *override)
{
    char *model = tr_format("model=%s", world->model);
    char *prompts = tr_format("data.prompts=%s", world->prompts);
    const char *const overrides[] = {model, prompts, override};
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    tr_status status = tr_recipe_load(&recipe, world->recipe, overrides, 3, &problems);
    cr_assert_leq(problems.count, 1U);
    cr_assert_eq(status, problems.count == 0 ? TR_OK : TR_ERR_ARGUMENT);
    char *problem = problems.count == 1 ? tr_strdup(problems.texts[0]) : NULL;
    tr_recipe_problems_release(&problems);
    tr_recipe_destroy(&recipe);
    free(prompts);
    free(model);
    return problem;
}

static void expect_load(const world_t *world, const char *override, const char *expected)
{
    char *problem = load(world, override);
    if (expected == NULL) {
        cr_expect_null(problem, "%s", problem);
    } else {
        cr_expect_str_eq(problem, expected);
    }
    free(problem);
}

Test(recipe_mistakes, what_a_loaded_recipe_names_must_be_there)
{
    world_t world = world_open();
    expect_load(&world, "seed=2", NULL);
    expect_load(&world, "roles.reward=[{exec: [sh, no-such-argument]}]", NULL);
    expect_load(&world, "roles.reward=[{exec: [/bin/sh]}]", NULL);
    expect_load(&world, "data.eval=/no/such.jsonl",
                "command line: data.eval: there is no file '/no/such.jsonl'");
    expect_load(
        &world, "data.eval=/",
        "command line: data.eval: expected a file on a disk, found another kind of file '/'");
    expect_load(&world, "reference=/no/such",
                "command line: reference: there is no model directory '/no/such'; of the Hub's, hf "
                "download NAME --local-dir DIR makes one");
    expect_load(&world, "roles.critic.model=/",
                "command line: roles.critic.model: '/' holds no config.json: expected what "
                "save_pretrained of transformers writes");
    expect_load(&world, "network.keys=/no/such",
                "command line: network.keys: there is no directory '/no/such'");
    expect_load(&world, "roles.reward=[{exec: [no-such-program]}]",
                "command line: roles.reward.0.exec.0: no folder of PATH has the program "
                "'no-such-program'");
    expect_load(&world, "roles.reward=[{exec: [/no/such]}]",
                "command line: roles.reward.0.exec.0: there is no file that can be run at "
                "'/no/such'");
    world_close(&world);
}

Test(recipe_mistakes, a_recipe_file_that_cannot_be_read_is_an_io_error)
{
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_load(&recipe, "/no/such.yaml", NULL, 0, &problems), TR_ERR_IO);
    cr_assert_null(recipe);
    cr_assert_eq(problems.count, 1U);
    cr_assert_str_eq(problems.texts[0], "cannot open '/no/such.yaml': No such file or directory");
    tr_recipe_problems_release(&problems);
}

Test(recipe_mistakes, what_learns_from_rows_needs_some)
{
    expect_problems("name: a\nalgorithm: sft\nsteps: 10\nmodel: m\n", NULL, 0, TR_ERR_ARGUMENT,
                    (const char *const[]){"r.yaml:2: data.train: expected at least one file for "
                                          "algorithm 'sft', found none",
                                          NULL});
}

Test(recipe_mistakes, dft_smooths_no_labels)
{
    const char *text = "name: a\nalgorithm: sft\nsteps: 10\nmodel: m\ndata: {train: [p.jsonl]}\n"
                       "sft:\n  loss_type: dft\n  label_smoothing_factor: 0.1\n";
    expect_problems(text, NULL, 0, TR_ERR_ARGUMENT,
                    (const char *const[]){"r.yaml:8: sft.label_smoothing_factor: read only where "
                                          "loss_type is nll: leave it out",
                                          NULL});
}
