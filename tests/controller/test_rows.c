/// What each algorithm wants of its rows, and the rows of a recipe's files.
#include "controller/rows.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

static char prompt_column[] = "question", zephyr[] = "zephyr", text_column[] = "story",
            separator[] = "\n\n", model[] = TEST_SOURCE_DIR "/examples/models/stories";
static char *folder, *paths[3];
static tr_tokenizer_t *tokenizer;
static tr_recipe_t recipe;

static void setup(void)
{
    recipe = (tr_recipe_t){
        .model = model,
        .data = {.prompt_column = prompt_column,
                 .text_column = text_column,
                 .chat_template = zephyr},
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
        {"sft", TR_ROWS_OF(PROMPT_COMPLETION) | TR_ROWS_OF(MESSAGES) | TR_ROWS_OF(TEXT), 101,
         "sft.max_length"},
        {"reward", TR_ROWS_OF(STEPWISE) | TR_ROWS_OF(WHOLE_PAIRS), 102, "reward.max_length"},
        {"dpo", TR_ROWS_OF(PAIRS), 103, "dpo.max_length"},
        {"kto", TR_ROWS_OF(UNPAIRED) | TR_ROWS_OF(LABELLED), 104, "kto.max_length"},
        {"ppo", TR_ROWS_OF(PROMPTS), 999, prompts},
        {"online_dpo", TR_ROWS_OF(PROMPTS), 999, prompts},
        {"rejection_sampling", TR_ROWS_OF(PROMPTS), 999, prompts},
        {"sample", TR_ROWS_OF(PROMPTS), 999, prompts},
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
        cr_expect_str_eq(o.chat_template, "zephyr");
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

/// The text of the first row.
static void expect_first(const tr_texts_t *files, const char *text)
{
    tr_corpus_t corpus;
    tr_rows_t rows;
    tr_error_t err = {0};
    cr_assert_eq(controller_rows_open(&corpus, files, &recipe, tokenizer, 100, true, &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(tr_corpus_read(&rows, &corpus, (const uint32_t[]){0}, 1, &err), TR_OK, "%s",
                 err.text);
    const tr_sequence_t *s = &rows.sequences[0];
    char *read = tr_tokenizer_decode(NULL, tokenizer, s->ids, s->length, TR_DECODE_SKIP_SPECIAL);
    cr_expect_str_eq(read, text);
    free(read);
    tr_rows_release(&rows);
    tr_corpus_release(&corpus);
}

Test(rows_of_files, prompts_train_and_eval_are_read_as_the_algorithm_wants)
{
    choose("ppo");
    cr_expect_eq(controller_rows_files(&recipe), &recipe.data.prompts);
    expect_first(&recipe.data.prompts, "One day");
    choose("sft");
    cr_expect_eq(controller_rows_files(&recipe), &recipe.data.train);
    expect_first(&recipe.data.eval, "A sea.");
}

Test(rows_of_files, a_bad_row_ends_the_run_or_is_dropped)
{
    tr_corpus_t rows;
    tr_error_t err = {0};
    choose("sft");
    cr_expect_eq(
        controller_rows_open(&rows, &recipe.data.train, &recipe, tokenizer, 100, true, &err),
        TR_ERR_FORMAT);
    char *expected = tr_format(
        "%s:3: story: the column is missing; data.on_bad_row: drop leaves such rows out", paths[1]);
    cr_expect_str_eq(err.text, expected);
    tr_corpus_release(&rows);
    recipe.data.on_bad_row = TR_ON_BAD_ROW_DROP;
    cr_assert_eq(
        controller_rows_open(&rows, &recipe.data.train, &recipe, tokenizer, 100, true, &err), TR_OK,
        "%s", err.text);
    cr_expect_eq(rows.count, 2);
    tr_corpus_release(&rows);
    free(expected);
}

Test(rows_of_files, what_cannot_be_opened_leaves_nothing_behind)
{
    tr_corpus_t rows;
    tr_error_t err = {0};
    char missing[] = "/no/such.jsonl", *path = missing;
    choose("dpo");
    recipe.data.train = (tr_texts_t){&path, 1};
    cr_expect_eq(
        controller_rows_open(&rows, &recipe.data.train, &recipe, tokenizer, 100, true, &err),
        TR_ERR_IO);
    cr_expect_null(rows.dataset);
    tr_corpus_release(&rows);
}

/// A recipe whose keys about rows have their defaults, and whose files are this one.
static void take_rows(const char *algorithm, const char *text)
{
    static char defaults[3][8] = {"prompt", "text", "\n"};
    free(paths[0]);
    paths[0] = scratch_write(folder, "taken.jsonl", text, strlen(text));
    choose(algorithm);
    recipe.generation.stop_ids = (tr_token_ids_t){0};
    recipe.data = (tr_recipe_data_t){.prompts = {&paths[0], 1},
                                     .train = {&paths[0], 1},
                                     .batch = 1,
                                     .prompt_column = defaults[0],
                                     .text_column = defaults[1]};
    recipe.reward = (tr_recipe_reward_t){.max_length = 100, .step_separator = defaults[2]};
}

/// Loads the data of the recipe; the key that is refused, NULL where none is.
static void expect_key(const char *key)
{
    controller_data_t data;
    tr_error_t err = {0};
    tr_status status = controller_data_load(&data, &recipe, true, &err);
    if (key == NULL) {
        cr_expect_eq(status, TR_OK, "%s", err.text);
    } else {
        char *expected = tr_format("%s: no row of the data files is of the kind that has this key "
                                   "read: leave it out",
                                   key);
        cr_expect_eq(status, TR_ERR_ARGUMENT);
        cr_expect_str_eq(err.text, expected);
        free(expected);
    }
    controller_data_release(&data);
}

static const char steps[] =
    "{\"prompt\": \"Once.\", \"completions\": [\"It.\"], \"labels\": [true]}\n",
                  pairs[] =
                      "{\"prompt\": \"Once.\", \"chosen\": \" It.\", \"rejected\": \" A.\"}\n",
                  bare_pairs[] = "{\"chosen\": \"Once. It.\", \"rejected\": \"Once. A.\"}\n",
                  texts[] = "{\"text\": \"Once.\"}\n",
                  completions[] = "{\"prompt\": \"Once.\", \"completion\": \" It.\"}\n",
                  messages[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi.\"}]}\n";

Test(rows_of_files, options_of_pairs_are_refused_for_steps_and_those_of_steps_for_pairs)
{
    take_rows("reward", steps);
    expect_key(NULL);
    recipe.reward.normalize = true;
    expect_key("reward.normalize");
    recipe.reward.normalize = false;
    recipe.reward.loss.center_rewards_coefficient = 1.0;
    expect_key("reward.center_rewards_coefficient");
    take_rows("reward", pairs);
    recipe.reward.loss.center_rewards_coefficient = 1.0;
    recipe.reward.normalize = true;
    expect_key(NULL);
    recipe.reward.step_separator = separator;
    expect_key("reward.step_separator");
}

Test(rows_of_files, a_column_or_template_that_no_row_has_read_is_refused)
{
    take_rows("sft", texts);
    recipe.data.prompt_column = prompt_column;
    expect_key("data.prompt_column");
    take_rows("sft", texts);
    recipe.data.chat_template = zephyr;
    expect_key("data.chat_template");
    take_rows("sft", texts);
    recipe.sft.completion_only_loss = false;
    expect_key("sft.completion_only_loss");
    take_rows("sft", completions);
    expect_key(NULL);
    recipe.sft.completion_only_loss = true;
    recipe.data.text_column = text_column;
    expect_key("data.text_column");
    take_rows("sft", messages);
    recipe.data.chat_template = zephyr;
    expect_key(NULL);
    take_rows("dpo", bare_pairs); // what both sides begin with is the prompt
    recipe.data.prompt_column = prompt_column;
    expect_key("data.prompt_column");
}

Test(rows_of_files, rows_that_are_evaluated_read_keys_too)
{
    take_rows("sft", completions);
    char *eval = scratch_write(folder, "eval.jsonl", "{\"story\": \"A sea.\"}\n", 20);
    recipe.data.text_column = text_column;
    recipe.data.eval = (tr_texts_t){&eval, 1};
    expect_key(NULL);
    free(eval);
}

Test(rows_of_files, stop_ids_are_tokens_of_the_policy)
{
    static int32_t last[] = {1023}, beyond[] = {3, 1024}; // the model has 1024
    controller_data_t data;
    tr_error_t err = {0};
    take_rows("ppo", "{\"prompt\": \"Once.\"}\n");
    recipe.generation.stop_ids = (tr_token_ids_t){last, 1};
    cr_expect_eq(controller_data_load(&data, &recipe, true, &err), TR_OK, "%s", err.text);
    controller_data_release(&data);
    recipe.generation.stop_ids = (tr_token_ids_t){beyond, 2};
    cr_expect_eq(controller_data_load(&data, &recipe, true, &err), TR_ERR_ARGUMENT);
    cr_expect(strstr(err.text, "generation.stop_ids: expected ids below 1024") == err.text, "%s",
              err.text);
    controller_data_release(&data);
}

Test(rows_of_files, a_batch_is_no_larger_than_the_files)
{
    controller_data_t data;
    tr_error_t err = {0};
    take_rows("dpo", pairs);
    recipe.data.batch = 2;
    cr_expect_eq(controller_data_load(&data, &recipe, true, &err), TR_ERR_ARGUMENT);
    cr_expect_str_eq(err.text, "data.batch is 2 and the files hold 1 rows: lower it");
    controller_data_release(&data);
}

Test(rows_of_files, sampling_takes_each_prompt_once)
{
    controller_data_t data;
    tr_error_t err = {0};
    take_rows("sample", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n"
                        "{\"prompt\": \"d\"}\n{\"prompt\": \"e\"}\n");
    recipe.data.batch = 2;
    recipe.steps = 3;
    cr_expect_eq(controller_data_load(&data, &recipe, true, &err), TR_OK, "%s", err.text);
    controller_data_release(&data);
    recipe.steps = 4;
    cr_expect_eq(controller_data_load(&data, &recipe, true, &err), TR_ERR_ARGUMENT);
    cr_expect_str_eq(err.text, "steps is 4, and 3 take all 5 prompts: lower it");
    controller_data_release(&data);
}
