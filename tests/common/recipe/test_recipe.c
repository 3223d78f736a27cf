/// What a recipe that loads means, and how it is written again.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/recipe/recipe.h"
#include "tests/support/fields.h"
#include "tests/support/golden.h"
#include "tests/support/scratch.h"

/// The least that algorithm ppo asks for.
static const char least[] = "name: a\n"
                            "algorithm: ppo\n"
                            "steps: 10\n"
                            "model: m\n"
                            "data: {prompts: [p.jsonl]}\n"
                            "roles: {reward: [{words: {good: 1}}]}\n";

/// A recipe of the text and one override (NULL: none), which must be good.
static tr_recipe_t *good(const char *text, const char *override)
{
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    tr_status status = tr_recipe_parse(&recipe, text, strlen(text), "r.yaml", &override,
                                       override != NULL, &problems);
    cr_assert_eq(status, TR_OK, "%s: %s", override != NULL ? override : "",
                 problems.count > 0 ? problems.texts[0] : "no problem is told");
    cr_assert_eq(problems.count, 0U);
    return recipe;
}

/// The YAML block of docs/recipe.md. Owned by the caller.
static char *example(void)
{
    char *page = scratch_read(TEST_SOURCE_DIR "/docs/recipe.md", NULL);
    char *start = strstr(page, "```yaml\n");
    cr_assert_not_null(start);
    start += strlen("```yaml\n");
    char *text = tr_format("%.*s", (int)(strstr(start, "```") - start), start);
    free(page);
    return text;
}

/// An option of the judge's kind.
static const void *option_of(const tr_judge_t *judge, const char *name)
{
    const tr_field_t *field = tr_fields_find(judge->kind->fields, name);
    cr_assert_not_null(field, "%s has no option '%s'", judge->kind->name, name);
    return tr_field_of_const(judge->options, field);
}

Test(recipe, example_of_the_reference_means_what_it_says)
{
    char *text = example();
    tr_recipe_t *r = good(text, NULL);
    cr_assert_str_eq(r->name, "happy-stories");
    cr_assert_str_eq(tr_recipe_algorithm(r)->name, "ppo");
    cr_assert_eq(r->steps, 60U);
    cr_assert_str_eq(r->model, "path/to/huggingface/dir");
    cr_assert_null(r->reference);
    cr_assert_eq(r->data.prompts.count, 1U);
    cr_assert_str_eq(r->data.prompts.items[0], "examples/data/openings.jsonl");
    cr_assert_eq(r->generation.max_new_tokens, 64U);
    cr_assert_eq(r->optimizer.learning_rate, 3e-6);
    cr_assert_eq(r->optimizer.schedule, TR_SCHEDULE_CONSTANT);
    cr_assert_eq(r->roles.rollout.threads, 2U);
    cr_assert_null(r->roles.critic.model);
    cr_assert_eq(r->roles.reward.count, 3U);
    const tr_judge_t *judges = r->roles.reward.items;
    const tr_texts_t *exec = option_of(&judges[0], "exec");
    cr_assert_eq(judges[0].kind, &tr_judge_exec);
    cr_assert_eq(exec->count, 2U);
    cr_assert_str_eq(exec->items[1], "examples/rewards/happy_words.py");
    cr_assert_eq(judges[1].kind, &tr_judge_model);
    cr_assert_str_eq(*(char *const *)option_of(&judges[1], "model"), "path/to/reward/dir");
    cr_assert_eq(judges[1].weight, 0.5);
    const tr_words_t *words = option_of(&judges[2], "words");
    cr_assert_eq(judges[2].kind, tr_judge_kind_find("words"));
    cr_assert_str_eq(words->items[1].word, "sad");
    cr_assert_eq(words->items[1].weight, -1.0);
    tr_recipe_destroy(&r);
    tr_recipe_destroy(&r);
    free(text);
}

/// The section's record in the recipe has the defaults of the module's table.
static void expect_defaults(const void *record, const tr_fields_t *fields)
{
    void *defaults = tr_calloc(1, fields->size);
    tr_fields_init(defaults, fields);
    for (size_t i = 0; i < fields->count; i++) {
        cr_expect(tr_field_equal(record, defaults, &fields->items[i]), "%s", fields->items[i].name);
    }
    tr_fields_release(defaults, fields);
    free(defaults);
}

Test(recipe, defaults_are_those_of_algo_optim_and_generation)
{
    tr_recipe_t *r = good(least, NULL);
    expect_defaults(&r->ppo, &tr_ppo_fields);
    expect_defaults(&r->sft.loss, &tr_sft_fields);
    expect_defaults(&r->reward.loss, &tr_reward_fields);
    expect_defaults(&r->dpo.loss, &tr_dpo_fields);
    expect_defaults(&r->kto.loss, &tr_kto_fields);
    r->optimizer.learning_rate = 0; // the algorithm's: below
    expect_defaults(&r->optimizer, &tr_optimizer_fields);
    expect_defaults(&r->generation, &tr_generation_fields);
    cr_expect_str_eq(r->reward.step_separator, "\n");
    tr_recipe_destroy(&r);
}

Test(recipe, the_learning_rate_of_each_algorithm_is_that_of_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/learning_rates.json");
    for (size_t i = 0; i < tr_algorithm_count; i++) {
        const tr_algorithm_t *algorithm = &tr_algorithms[i];
        if (!tr_algorithm_learns(algorithm)) {
            continue;
        }
        const char *data = tr_algorithm_generates(algorithm)
                               ? "{prompts: p}\nroles: {reward: [{words: {a: 1}}]}"
                               : "{train: t}";
        char *text =
            tr_format("name: a\nalgorithm: %s\nsteps: 1\nmodel: m\ndata: %s\n%s", algorithm->name,
                      data, algorithm->compares ? "generation: {samples: 2}\n" : "");
        tr_recipe_t *r = good(text, NULL);
        cr_expect_eq(r->optimizer.learning_rate, golden_number(golden, algorithm->name), "%s",
                     algorithm->name);
        tr_recipe_destroy(&r);
        r = good(text, "optimizer.learning_rate=0.25");
        cr_expect_eq(r->optimizer.learning_rate, 0.25);
        tr_recipe_destroy(&r);
        free(text);
    }
    golden_close(&golden);
}

Test(recipe, names_of_estimators_and_schedules_are_those_of_algo_and_optim)
{
    for (int i = TR_KL_K1; i <= TR_KL_K3; i++) {
        char *given =
            tr_format("ppo.kl_estimator=%s", fields_choice(&tr_ppo_fields, "kl_estimator", i));
        tr_recipe_t *r = good(least, given);
        cr_assert_eq(r->ppo.kl_estimator, i);
        tr_recipe_destroy(&r);
        free(given);
    }
    for (int i = TR_SCHEDULE_CONSTANT; i <= TR_SCHEDULE_COSINE; i++) {
        char *given =
            tr_format("optimizer.schedule=%s", fields_choice(&tr_optimizer_fields, "schedule", i));
        tr_recipe_t *r = good(least, given);
        cr_assert_eq(r->optimizer.schedule, i);
        tr_recipe_destroy(&r);
        free(given);
    }
}

Test(recipe, null_is_absence)
{
    const char *text = "name: a\nalgorithm: sft\nsteps: 1\nmodel: m\nreference:\noutput: runs\n"
                       "data: {train: t.jsonl, eval: null, max_prompt_length: ~}\n"
                       "ppo: {missing_eos_penalty: null}\noptimizer: {clip: null}\nsamples:\n"
                       "generation: {stop_ids: null}\n"
                       "roles: {critic: {model: null, learning_rate: null}, reward: null}\n";
    tr_recipe_t *r = good(text, NULL);
    cr_assert_null(r->reference);
    cr_assert_eq(r->data.train.count, 1U);
    cr_assert_eq(r->data.eval.count, 0U);
    cr_assert_eq(r->data.max_prompt_length, 0U);
    cr_assert_eq(r->ppo.missing_eos_penalty, 0.0);
    cr_assert_eq(r->optimizer.clip, 0.0);
    cr_assert_eq(r->roles.critic.learning_rate, 0.0);
    tr_recipe_destroy(&r);
    r = good(least, "generation.stop_token=null");
    cr_assert_eq(r->generation.stop_token, TR_STOP_TOKEN_NONE);
    tr_recipe_destroy(&r);
}

Test(recipe, quotes_make_a_text_of_anything)
{
    tr_recipe_t *r = good(least, "model=\"null\"");
    cr_assert_str_eq(r->model, "null");
    tr_recipe_destroy(&r);
    r = good(least, "name=17");
    cr_assert_str_eq(r->name, "17");
    tr_recipe_destroy(&r);
}

Test(recipe, a_role_has_one_device_or_a_list)
{
    static const char gpus[] =
        "name: a\nalgorithm: ppo\nsteps: 1\nmodel: m\ndata: {prompts: [p]}\nprecision: fp32\n"
        "roles: {actor: {ranks: 2, device: [cuda:1, cuda:2], memory: 40}, rollout: {workers: 3, "
        "device: [cuda:0, "
        "cuda:1]},\n"
        "        reward: [{words: {a: 1}}, {model: m, device: cuda, memory: 2.5}]}\n";
    tr_recipe_t *recipe = good(gpus, NULL);
    cr_expect_eq(recipe->precision, TR_PRECISION_FP32);
    cr_assert_eq(recipe->roles.actor.device.count, 2U);
    cr_expect_str_eq(recipe->roles.actor.device.items[1], "cuda:2");
    cr_expect_float_eq(recipe->roles.actor.memory, 40.0, 0.0);
    cr_assert_eq(recipe->roles.rollout.device.count, 2U);
    cr_expect_str_eq(recipe->roles.rollout.device.items[1], "cuda:1");
    cr_assert_eq(recipe->roles.critic.device.count, 1U);
    cr_expect_str_eq(recipe->roles.critic.device.items[0], "cpu");
    const tr_model_judge_t *judge = recipe->roles.reward.items[1].options;
    cr_expect_str_eq(judge->device, "cuda");
    cr_expect_float_eq(judge->memory, 2.5, 0.0);
    tr_recipe_destroy(&recipe);
    recipe = good(gpus, "roles.rollout.device=cuda");
    cr_assert_eq(recipe->roles.rollout.device.count, 1U);
    cr_expect_str_eq(recipe->roles.rollout.device.items[0], "cuda");
    tr_recipe_destroy(&recipe);
}

Test(recipe, trl_s_response_length_is_max_new_tokens)
{
    char *text = tr_format("%sgeneration: {response_length: 7}\n", least);
    tr_recipe_t *r = good(text, NULL);
    cr_assert_eq(r->generation.max_new_tokens, 7U);
    tr_recipe_destroy(&r);
    r = good(text, "generation.max_new_tokens=8"); // replaces the file's, by whichever name
    cr_assert_eq(r->generation.max_new_tokens, 8U);
    tr_recipe_destroy(&r);
    free(text);
}

Test(recipe, overrides_apply_in_order_and_reach_into_lists_and_missing_sections)
{
    const char *const overrides[] = {"steps=3",
                                     "steps=4",
                                     "roles.rollout.workers=2",
                                     "data.prompts=[b.jsonl, c.jsonl]",
                                     "roles.reward.0.weight=2.5",
                                     "generation={temperature: 1.5}",
                                     "generation.top_k=5",
                                     "network.bind=tcp://127.0.0.1:5555",
                                     "reference="};
    tr_recipe_t *r = NULL;
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_parse(&r, least, strlen(least), "r.yaml", overrides,
                                 sizeof overrides / sizeof overrides[0], &problems),
                 TR_OK);
    cr_assert_eq(r->steps, 4U);
    cr_assert_eq(r->roles.rollout.workers, 2U);
    cr_assert_eq(r->data.prompts.count, 2U);
    cr_assert_str_eq(r->data.prompts.items[1], "c.jsonl");
    cr_assert_eq(r->roles.reward.items[0].weight, 2.5);
    cr_assert_eq(r->generation.temperature, 1.5);
    cr_assert_eq(r->generation.top_k, 5U);
    cr_assert_str_eq(r->network.bind, "tcp://127.0.0.1:5555");
    cr_assert_null(r->reference);
    tr_recipe_destroy(&r);
}

Test(recipe, judges_without_a_name_are_numbered_by_kind)
{
    tr_recipe_t *r = good(least, "roles.reward=[{regex: a}, {regex: {pattern: b, score: 2}}, "
                                 "{length: {target: 5, unit: words}, name: regex-2}, "
                                 "{external: judge}, {length: {min: 1, max: 2}}]");
    const tr_judge_t *judges = r->roles.reward.items;
    const char *const names[] = {"regex", "regex-3", "regex-2", "judge", "length"};
    for (size_t i = 0; i < 5; i++) {
        cr_assert_str_eq(judges[i].name, names[i]);
    }
    cr_assert_str_eq(*(char *const *)option_of(&judges[0], "regex.pattern"), "a");
    cr_assert_eq(*(const double *)option_of(&judges[0], "regex.score"), 1.0);
    cr_assert_eq(*(const double *)option_of(&judges[1], "regex.score"), 2.0);
    cr_assert_eq(*(const uint64_t *)option_of(&judges[2], "length.target"), 5U);
    cr_assert_str_eq(fields_choice(judges[2].kind->fields, "length.unit",
                                   *(const int *)option_of(&judges[2], "length.unit")),
                     "words");
    cr_assert_str_eq(*(char *const *)option_of(&judges[3], "external"), "judge");
    cr_assert_eq(*(const uint64_t *)option_of(&judges[4], "length.max"), 2U);
    cr_assert_eq(judges[4].weight, 1.0);
    cr_assert_eq(judges[4].timeout_s, 60.0);
    cr_assert_eq(judges[4].retries, 3U);
    tr_recipe_destroy(&r);
}

// Writing

/// The print of a recipe, which must load to the same print. Owned by the caller.
static char *printed_twice(const tr_recipe_t *recipe)
{
    char *text = tr_recipe_print(recipe);
    tr_recipe_t *again = good(text, NULL);
    char *second = tr_recipe_print(again);
    cr_assert_str_eq(text, second);
    free(second);
    tr_recipe_destroy(&again);
    return text;
}

Test(recipe, what_is_printed_loads_to_the_same_bytes)
{
    const char *const overrides[] = {
        "seed=9223372036854775807",
        "name='true'",
        "model='a: b # c'",
        "model=\"\\x01\\n\\t\\\\\\\"\\u2028\\uFEFF\\U0001F600 \\xE9\"",
        "generation.stop_ids=[0, 2147483647]",
        "generation.stop_token=eos",
        "data.shuffle=false",
        "roles.reward=[{words: {no: 1, 'x y': -2e-7, \"\\x85\": 3, 12: 4, null: 5}}]",
        "roles.reward=[{regex: '^[a-z]{2,}: \"$'}, {exec: [a, '', '-b', ~]}, {external: y}]",
        "roles.reward=[{length: {min: 3}, on_failure: fail}, {model: m, threads: 4}]",
        "ppo.missing_eos_penalty=-0.0",
    };
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
        tr_recipe_t *r = good(least, overrides[i]);
        free(printed_twice(r));
        tr_recipe_destroy(&r);
    }
}

Test(recipe, texts_survive_printing)
{
    tr_recipe_t *r = good(least, "model=\"\\x01\\n\\t\\\\\\\"\\u2028\\U0001F600 \\xE9: - #\"");
    char *text = printed_twice(r);
    tr_recipe_t *again = good(text, NULL);
    cr_assert_str_eq(again->model, "\x01\n\t\\\"\xE2\x80\xA8\xF0\x9F\x98\x80 \xC3\xA9: - #");
    cr_assert_str_eq(again->model, r->model);
    free(text);
    tr_recipe_destroy(&again);
    tr_recipe_destroy(&r);
}

static void expect_printed(const char *value, const char *printed)
{
    char *override = tr_format("roles.reward.0.weight=%s", value);
    char *line = tr_format(" weight: %s\n", printed);
    tr_recipe_t *r = good(least, override);
    char *text = tr_recipe_print(r);
    cr_assert_not_null(strstr(text, line), "%s is not printed as %s", value, printed);
    free(text);
    tr_recipe_destroy(&r);
    free(line);
    free(override);
}

Test(recipe, variables_of_a_template_are_a_map_and_are_kept_as_json)
{
    static const char json[] =
        "{\"thinks\": false, \"a\": [1, \"x\", {\"b\": null}], \"c\": \"1\"}";
    tr_recipe_t *r =
        good(least, "data.chat_template_kwargs={thinks: false, a: [1, x, {b: null}], c: '1'}");
    char *text = printed_twice(r);
    tr_recipe_t *again = good(text, NULL);
    cr_expect_str_eq(r->data.chat_template_kwargs, json);
    cr_expect_str_eq(again->data.chat_template_kwargs, json);
    free(text);
    tr_recipe_destroy(&again);
    tr_recipe_destroy(&r);
}

Test(recipe, numbers_are_printed_with_the_fewest_digits)
{
    expect_printed("1e-5", "1.0e-5");
    expect_printed("0.000003", "3.0e-6");
    expect_printed("60", "60.0");
    expect_printed("+.5", "0.5");
    expect_printed("5.", "5.0");
    expect_printed("0.30000000000000004", "0.30000000000000004");
    expect_printed("0.1000000000000000055511151231257827", "0.1");
    expect_printed("123456789012345678", "1.2345678901234568e+17");
    expect_printed("5e-324", "5.0e-324");
    expect_printed("-0.0", "0.0");
    expect_printed("1E22", "1.0e+22");
    expect_printed("-1234.5", "-1234.5");
}

Test(recipe, the_number_that_null_stands_for_is_printed_as_null)
{
    static const char dpo[] =
        "name: a\nalgorithm: dpo\nsteps: 1\nmodel: m\ndata: {train: [t.jsonl]}\n";
    static const char *const overrides[][2] = {
        {"ppo.missing_eos_penalty=-0.0", "  missing_eos_penalty: null\n"},
        {"optimizer.clip=0", "  clip: null\n"},
        {"data.max_prompt_length=0", "  max_prompt_length: null\n"},
        {"dpo.ld_alpha=1.0", "  ld_alpha: null\n"},
        {"ppo.missing_eos_penalty=0.5", "  missing_eos_penalty: 0.5\n"},
        {"optimizer.clip=null", "  clip: null\n"},
    };
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
        bool of_dpo = strncmp(overrides[i][0], "dpo.", 4) == 0;
        tr_recipe_t *r = good(of_dpo ? dpo : least, overrides[i][0]);
        char *text = printed_twice(r);
        cr_expect_not_null(strstr(text, overrides[i][1]), "%s", overrides[i][0]);
        free(text);
        tr_recipe_destroy(&r);
    }
}

Test(recipe, any_number_reads_back)
{
    for (uint32_t i = 0; i < 2000; i++) {
        double mantissa = 2.0 * (double)tr_rng_uniform(1, TR_RNG_INIT, i, 0, 0) - 1.0;
        mantissa += (double)tr_rng_uniform(1, TR_RNG_INIT, i, 0, 1) * 0x1p-24;
        double value = ldexp(mantissa, (int)(i % 250) - 123); // what a float holds
        char *override = tr_format("roles.reward.0.weight=%.17g", value);
        tr_recipe_t *r = good(least, override);
        char *text = tr_recipe_print(r);
        tr_recipe_t *again = good(text, NULL);
        cr_assert_eq(again->roles.reward.items[0].weight, value, "%.17g", value);
        tr_recipe_destroy(&again);
        tr_recipe_destroy(&r);
        free(text);
        free(override);
    }
}

Test(recipe, written_file_holds_the_print)
{
    char *folder = scratch_open();
    char *path = tr_format("%s/recipe.yaml", folder);
    tr_recipe_t *r = good(least, NULL);
    tr_error_t err = {0};
    cr_assert_eq(tr_recipe_write(r, path, &err), TR_OK, "%s", err.text);
    char *written = scratch_read(path, NULL);
    char *printed = tr_recipe_print(r);
    cr_assert_str_eq(written, printed);
    free(printed);
    free(written);
    tr_recipe_destroy(&r);
    free(path);
    scratch_close(&folder);
}

// The reference

Test(recipe, page_has_a_row_for_every_key_that_is_printed)
{
    char *page = scratch_read(TEST_SOURCE_DIR "/docs/recipe.md", NULL);
    tr_recipe_t *r = good(least, NULL);
    char *text = tr_recipe_print(r);
    char section[2][64] = {"", ""};
    size_t rows = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && line[0] != '\0';) {
        size_t depth = strspn(line, " ") / 2;
        char *word = line + 2 * depth;
        if (word[0] == '-' || depth > 2 || (depth == 1 && strncmp(word, "reward", 6) == 0)) {
            section[0][0] = '\0'; // judges have a table of their own
            continue;
        }
        char *end = strchr(word, ':');
        cr_assert_not_null(end);
        if (end[1] == '\0') {
            snprintf(section[depth], sizeof section[depth], "%.*s.", (int)(end - word), word);
            continue;
        }
        char *row = tr_format("\n| `%s%s%.*s` |", depth > 0 ? section[0] : "",
                              depth > 1 ? section[1] : "", (int)(end - word), word);
        if (depth == 0 || section[0][0] != '\0') {
            cr_assert_not_null(strstr(page, row), "the page lacks %s", row);
            rows++;
        }
        free(row);
    }
    cr_assert_gt(rows, 50U);
    free(text);
    tr_recipe_destroy(&r);
    free(page);
}
