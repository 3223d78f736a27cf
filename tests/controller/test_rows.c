/// What each algorithm wants of its rows, and the rows of a recipe's files.
#include "controller/rows.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

#define TAKES(kind) (1u << TR_KIND_##kind)

static char prompt_column[] = "question", text_column[] = "story", separator[] = "\n\n",
            model[] = TEST_SOURCE_DIR "/examples/models/stories";
static char *folder, *paths[3];
static tr_tokenizer_t *tokenizer;
static tr_recipe_t recipe;

static void setup(void)
{
    recipe = (tr_recipe_t){
        .model = model,
        .data = {.prompt_column = prompt_column,
                 .text_column = text_column,
                 .chat_template = TR_CHAT_ZEPHYR},
        .sft = {.max_length = 101, .completion_only_loss = true},
        .reward = {.max_length = 102, .step_separator = separator},
        .dpo = {.max_length = 103},
        .kto = {.max_length = 104},
    };
}

static void choose(const char *algorithm)
{
    recipe.algorithm = 0;
    while (strcmp(tr_algorithms[recipe.algorithm].name, algorithm) != 0) {
        recipe.algorithm++;
    }
}

TestSuite(rows_of_recipe, .init = setup);

Test(rows_of_recipe, each_algorithm_takes_its_kinds_up_to_its_length)
{
    static const char prompts[] = "data.max_prompt_length, or the model's positions";
    static const struct {
        const char *algorithm;
        unsigned kinds;
        size_t limit; // of a model with 1000 positions
        const char *key;
    } cases[] = {
        {"sft", TAKES(PROMPT_COMPLETION) | TAKES(MESSAGES) | TAKES(TEXT), 101, "sft.max_length"},
        {"reward", TAKES(STEPWISE) | TAKES(WHOLE_PAIRS), 102, "reward.max_length"},
        {"dpo", TAKES(PAIRS), 103, "dpo.max_length"},
        {"kto", TAKES(UNPAIRED) | TAKES(LABELLED), 104, "kto.max_length"},
        {"ppo", TAKES(PROMPTS), 999, prompts},
        {"online_dpo", TAKES(PROMPTS), 999, prompts},
        {"rejection_sampling", TAKES(PROMPTS), 999, prompts},
        {"sample", TAKES(PROMPTS), 999, prompts},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_rows_options_t o;
        choose(cases[i].algorithm);
        controller_rows_options(&o, &recipe, 1000);
        cr_expect_eq(o.kinds, cases[i].kinds, "algorithm %zu", i);
        cr_expect_eq(o.limit, cases[i].limit, "algorithm %zu", i);
        cr_expect_str_eq(o.limit_key, cases[i].key);
        cr_expect(!o.keep_end && !o.packing && o.completion_only && o.assistant_only == NULL);
        cr_expect_str_eq(o.prompt_column, "question");
        cr_expect_str_eq(o.text_column, "story");
        cr_expect_str_eq(o.step_separator, "\n\n");
        cr_expect_str_eq(o.model, model);
        cr_expect_eq(o.chat_template, TR_CHAT_ZEPHYR);
    }
}

Test(rows_of_recipe, the_smaller_of_the_models_and_the_recipes_length_counts)
{
    tr_rows_options_t o;
    choose("sft");
    controller_rows_options(&o, &recipe, 100);
    cr_expect_eq(o.limit, 100);
    choose("ppo");
    recipe.data.max_prompt_length = 7;
    controller_rows_options(&o, &recipe, 100);
    cr_expect_eq(o.limit, 7);
    controller_rows_options(&o, &recipe, 7);
    cr_expect_eq(o.limit, 6, "a token must be left for the response");
}

Test(rows_of_recipe, options_of_rows_are_the_recipes)
{
    tr_rows_options_t o;
    choose("sft");
    recipe.sft = (tr_recipe_sft_t){.max_length = 10, .packing = true, .assistant_only_loss = true};
    controller_rows_options(&o, &recipe, 1000);
    cr_expect(o.packing && !o.completion_only && !o.keep_end);
    cr_expect_str_eq(o.assistant_only, "sft.assistant_only_loss");
    choose("dpo");
    recipe.dpo.truncation_mode = TR_TRUNCATION_KEEP_END;
    controller_rows_options(&o, &recipe, 1000);
    cr_expect(o.keep_end);
}

// Files

static void open_files(void)
{
    static const char *const texts[3] = {"{\"question\": \"One day\"}\n",
                                         "{\"story\": \"A cat.\"}\n{\"story\": \"A dog.\"}\n{}\n",
                                         "{\"story\": \"A sea.\"}\n"};
    tr_error_t err = {0};
    setup();
    folder = scratch_open();
    cr_assert_eq(tr_tokenizer_new(&tokenizer, model, &err), TR_OK, "%s", err.text);
    for (int i = 0; i < 3; i++) {
        char *name = tr_format("%d.jsonl", i);
        paths[i] = scratch_write(folder, name, texts[i], strlen(texts[i]));
        free(name);
    }
    recipe.data.prompts = (tr_texts_t){&paths[0], 1};
    recipe.data.train = (tr_texts_t){&paths[1], 1};
    recipe.data.eval = (tr_texts_t){&paths[2], 1};
}

static void close_files(void)
{
    for (int i = 0; i < 3; i++) {
        free(paths[i]);
    }
    tr_tokenizer_destroy(&tokenizer);
    scratch_close(&folder);
}

TestSuite(rows_of_files, .init = open_files, .fini = close_files);

Test(rows_of_files, prompts_train_and_eval_are_read_as_the_algorithm_wants)
{
    tr_rows_t rows;
    tr_error_t err = {0};
    choose("ppo");
    cr_assert_eq(controller_rows_load(&rows, &recipe, tokenizer, 100, &err), TR_OK, "%s", err.text);
    cr_expect_str_eq(tr_rows_prompt(&rows, 0), "One day");
    tr_rows_release(&rows);
    choose("sft");
    cr_assert_eq(controller_rows_read(&rows, &recipe.data.eval, &recipe, tokenizer, 100, &err),
                 TR_OK, "%s", err.text);
    cr_expect_str_eq(json_string_value(tr_dataset_value(rows.dataset, 0, "story")), "A sea.");
    tr_rows_release(&rows);
}

Test(rows_of_files, a_bad_row_ends_the_run_or_is_dropped)
{
    tr_rows_t rows;
    tr_error_t err = {0};
    choose("sft");
    cr_expect_eq(controller_rows_load(&rows, &recipe, tokenizer, 100, &err), TR_ERR_FORMAT);
    char *expected = tr_format("%s:3: story: the column is missing", paths[1]);
    cr_expect_str_eq(err.text, expected);
    tr_rows_release(&rows);
    recipe.data.on_bad_row = TR_ON_BAD_ROW_DROP;
    cr_assert_eq(controller_rows_load(&rows, &recipe, tokenizer, 100, &err), TR_OK, "%s", err.text);
    cr_expect_eq(rows.count, 2);
    tr_rows_release(&rows);
    free(expected);
}

Test(rows_of_files, what_cannot_be_opened_leaves_nothing_behind)
{
    tr_rows_t rows;
    tr_error_t err = {0};
    char missing[] = "/no/such.jsonl", *path = missing;
    choose("dpo");
    recipe.data.train = (tr_texts_t){&path, 1};
    cr_expect_eq(controller_rows_load(&rows, &recipe, tokenizer, 100, &err), TR_ERR_IO);
    cr_expect_null(rows.dataset);
    tr_rows_release(&rows);
}

Test(rows_of_files, options_of_pairs_are_refused_for_steps)
{
    static const char text[] = "{\"question\": \"Once.\", \"completions\": [\"It.\"], \"labels\": "
                               "[true]}\n";
    tr_rows_t rows;
    tr_error_t err = {0};
    char *path = scratch_write(folder, "steps.jsonl", text, strlen(text));
    choose("reward");
    recipe.data.train = (tr_texts_t){&path, 1};
    cr_expect_eq(controller_rows_load(&rows, &recipe, tokenizer, 100, &err), TR_OK, "%s", err.text);
    tr_rows_release(&rows);
    recipe.reward.normalize = true;
    cr_expect_eq(controller_rows_load(&rows, &recipe, tokenizer, 100, &err), TR_ERR_ARGUMENT);
    cr_expect_str_eq(err.text,
                     "reward.normalize is about pairs, and the rows of data.train are steps "
                     "(completions): leave it out");
    recipe.reward = (tr_recipe_reward_t){
        .max_length = 100, .step_separator = separator, .loss.center_rewards_coefficient = 1.0};
    cr_expect_eq(controller_rows_load(&rows, &recipe, tokenizer, 100, &err), TR_ERR_ARGUMENT);
    cr_expect_eq(strncmp(err.text, "reward.center_rewards_coefficient is about pairs", 48), 0, "%s",
                 err.text);
    tr_rows_release(&rows);
    free(path);
}
