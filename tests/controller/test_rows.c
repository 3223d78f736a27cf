/// Rows as token ids: one begin token, one end token, what is learnt, what is cut, and bad rows by file and line.
#include "controller/rows.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/chat.h"
#include "proto/sequences.h"
#include "tests/support/fields.h"
#include "tests/support/scratch.h"

static char *folder;
static tr_tokenizer_t *tokenizer;
static int32_t bos, eos;
static char *path;
static char separator[] = "\n";
static tr_recipe_t recipe;

static void setup(void)
{
    tr_error_t err = {0};
    folder = scratch_open();
    cr_assert_eq(tr_tokenizer_new(&tokenizer, TEST_SOURCE_DIR "/examples/models/stories", &err),
                 TR_OK, "%s", err.text);
    bos = tr_tokenizer_bos(tokenizer);
    eos = tr_tokenizer_eos(tokenizer);
    recipe = (tr_recipe_t){
        .data = {.prompts = {&path, 1}, .train = {&path, 1}},
        .algorithm = fields_algorithm("sft"),
        .sft = {.max_length = 1024, .completion_only_loss = true},
        .reward = {.max_length = 1024, .step_separator = separator},
        .dpo = {.max_length = 1024},
        .kto = {.max_length = 1024},
    };
    recipe.data.prompt_column = tr_strdup("prompt");
    recipe.data.text_column = tr_strdup("text");
}

static void teardown(void)
{
    free(recipe.data.prompt_column);
    free(recipe.data.text_column);
    free(path);
    tr_tokenizer_destroy(&tokenizer);
    scratch_close(&folder);
}

TestSuite(rows, .init = setup, .fini = teardown);

static void write_rows(const char *text)
{
    free(path);
    path = scratch_write(folder, "rows.jsonl", text, strlen(text));
}

static void load_prompts(controller_rows_t *rows, size_t limit)
{
    tr_error_t err = {0};
    cr_assert_eq(controller_rows_load_prompts(rows, &recipe, tokenizer, limit, &err), TR_OK, "%s",
                 err.text);
}

static void load_texts(controller_rows_t *rows, size_t limit)
{
    tr_error_t err = {0};
    tr_status status =
        controller_rows_load(rows, &recipe.data.train, &recipe, tokenizer, limit, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
}

/// The text of ids from..to-1 of a row is `expected`.
static void expect_text(const controller_row_t *row, size_t from, size_t to, const char *expected)
{
    char *text = tr_tokenizer_decode(NULL, tokenizer, row->ids + from, to - from,
                                     TR_DECODE_SKIP_SPECIAL |
                                         (from > 0 ? (unsigned)TR_DECODE_CONTINUES : 0u));
    cr_expect_str_eq(text, expected);
    free(text);
}

static void expect_same_row(const controller_row_t *a, const controller_row_t *b)
{
    cr_assert_eq(a->length, b->length);
    cr_expect_eq(a->prompt, b->prompt);
    cr_expect_arr_eq(a->ids, b->ids, a->length * sizeof *a->ids);
}

static size_t occurrences(const controller_row_t *row, int32_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < row->length; i++) {
        n += row->ids[i] == id;
    }
    return n;
}

/// The failure names the line, and says `part`.
static void expect_bad(tr_status status, const tr_error_t *err, int line, const char *part)
{
    char *place = tr_format("%s:%d: ", path, line);
    cr_expect_neq(status, TR_OK);
    cr_expect_eq(strncmp(err->text, place, strlen(place)), 0, "'%s' does not begin with '%s'",
                 err->text, place);
    cr_expect_not_null(strstr(err->text, part), "'%s' lacks '%s'", err->text, part);
    free(place);
}

Test(rows, a_prompt_gets_one_begin_token_whether_its_text_has_one_or_not)
{
    controller_rows_t rows;
    write_rows("{\"prompt\": \"One day a cat\"}\n{\"prompt\": \"<|endoftext|>One day a cat\"}\n");
    load_prompts(&rows, 100);
    cr_assert_eq(rows.count, 2);
    cr_expect_eq(rows.items[0].ids[0], bos);
    cr_expect_eq(occurrences(&rows.items[0], bos), 1);
    cr_expect_eq(rows.items[0].prompt, rows.items[0].length);
    expect_text(&rows.items[0], 0, rows.items[0].length, "One day a cat");
    expect_same_row(&rows.items[0], &rows.items[1]);
    controller_rows_release(&rows);
}

Test(rows, a_text_gets_one_end_token_whether_it_has_one_or_not)
{
    controller_rows_t rows;
    write_rows("{\"text\": \"The cat slept.\"}\n{\"text\": \"The cat slept.<|endoftext|>\"}\n");
    load_texts(&rows, 100);
    const controller_row_t *row = &rows.items[0];
    cr_expect_eq(row->ids[row->length - 1], eos);
    cr_expect_neq(row->ids[row->length - 2], eos);
    cr_expect_eq(row->ids[0], bos);
    cr_expect_eq(row->prompt, 1, "all but the first token of a text is learnt");
    expect_text(row, 0, row->length, "The cat slept.");
    expect_same_row(row, &rows.items[1]);
    controller_rows_release(&rows);
}

Test(rows, of_prompt_and_completion_the_completion_with_its_end_token_is_learnt)
{
    controller_rows_t prompts, pairs;
    write_rows("{\"prompt\": \"The cat\", \"completion\": \" slept well.\"}\n");
    load_prompts(&prompts, 100);
    load_texts(&pairs, 100);
    const controller_row_t *row = &pairs.items[0];
    cr_assert_eq(row->prompt, prompts.items[0].length);
    cr_expect_arr_eq(row->ids, prompts.items[0].ids, row->prompt * sizeof *row->ids);
    expect_text(row, row->prompt, row->length, " slept well.");
    cr_expect_eq(row->ids[row->length - 1], eos);
    cr_expect_eq(occurrences(row, eos), bos == eos ? 2 : 1);
    controller_rows_release(&prompts);
    controller_rows_release(&pairs);
}

Test(rows, a_long_text_is_cut_to_the_smaller_of_both_limits)
{
    controller_rows_t whole, cut;
    controller_batch_t batch;
    const uint32_t first = 0;
    write_rows("{\"text\": \"The cat and the dog went to the sea and slept there.\"}\n");
    load_texts(&whole, 100);
    const size_t limits[][2] = {{5, 100}, {100, 5}};
    for (size_t i = 0; i < 2; i++) {
        recipe.sft.max_length = limits[i][0];
        load_texts(&cut, limits[i][1]);
        controller_batch_init(&batch, &cut, &first, 1, false);
        cr_expect_eq(batch.tokens, 5);
        cr_expect_eq(batch.learnt, 4);
        cr_expect_arr_eq(batch.ids, whole.items[0].ids, 5 * sizeof(int32_t));
        controller_batch_release(&batch);
        controller_rows_release(&cut);
    }
    recipe.sft.max_length = whole.items[0].length; // just fits, with its end
    load_texts(&cut, 100);
    expect_same_row(&cut.items[0], &whole.items[0]);
    controller_rows_release(&cut);
    controller_rows_release(&whole);
}

Test(rows, a_prompt_that_just_fits_is_taken_and_one_token_more_refused_by_its_line)
{
    controller_rows_t rows;
    tr_error_t err = {0};
    write_rows("{\"prompt\": \"One\"}\n\n{\"prompt\": \"One day a cat went to the sea\"}\n");
    load_prompts(&rows, 100);
    size_t length = rows.items[1].length;
    cr_assert_gt(length, rows.items[0].length);
    controller_rows_release(&rows);
    load_prompts(&rows, length);
    controller_rows_release(&rows);

    tr_status status = controller_rows_load_prompts(&rows, &recipe, tokenizer, length - 1, &err);
    expect_bad(status, &err, 3, "tokens");
    controller_rows_release(&rows);

    recipe.data.max_prompt_length = length - 1;
    err = (tr_error_t){0};
    status = controller_rows_load_prompts(&rows, &recipe, tokenizer, 100, &err);
    expect_bad(status, &err, 3, "data.max_prompt_length");
    controller_rows_release(&rows);
    recipe.data.max_prompt_length = length;
    load_prompts(&rows, 100);
    controller_rows_release(&rows);
}

Test(rows, a_row_of_which_nothing_is_left_to_learn_is_refused_by_its_line)
{
    controller_rows_t rows;
    tr_error_t err = {0};
    write_rows("{\"prompt\": \"A\", \"completion\": \"b\"}\n"
               "{\"prompt\": \"The cat and the dog went to the sea\", \"completion\": \"b\"}\n");
    tr_status status = controller_rows_load(&rows, &recipe.data.train, &recipe, tokenizer, 6, &err);
    cr_expect_eq(status, TR_ERR_ARGUMENT);
    expect_bad(status, &err, 2, "nothing is left to learn within 6 tokens");
    controller_rows_release(&rows);
}

Test(rows, rows_without_their_column_are_refused_by_their_line)
{
    static const struct {
        const char *rows;
        int line;
        const char *part;
    } bad[] = {
        {"{\"text\": \"a\"}\n{\"txt\": \"b\"}\n", 2, "text"},
        {"{\"text\": \"a\"}\n{\"text\": 7}\n", 2, "text"},
        {"{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n", 2, "completion"},
        {"{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"completion\": \"a\"}\n", 2, "prompt"},
        {"{\"text\": \"a\"}\n{\"text\": \n", 2, ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        controller_rows_t rows;
        tr_error_t err = {0};
        write_rows(bad[i].rows);
        tr_status status =
            controller_rows_load(&rows, &recipe.data.train, &recipe, tokenizer, 100, &err);
        expect_bad(status, &err, bad[i].line, bad[i].part);
        controller_rows_release(&rows);
    }
}

Test(rows, chosen_rows_travel_as_sequences_in_their_order)
{
    static const uint32_t chosen[] = {2, 0};
    controller_rows_t rows;
    controller_batch_t batch;
    tr_sequences_t sequences;
    int32_t *owned;
    tr_error_t err = {0};
    write_rows(
        "{\"text\": \"The cat.\"}\n{\"text\": \"A dog ran.\"}\n{\"text\": \"They slept.\"}\n");
    load_texts(&rows, 100);
    tr_message_t *message = tr_message_new("request");
    controller_batch_init(&batch, &rows, chosen, 2, false);
    tr_sequences_put(message, &batch.sequences);
    cr_assert_eq(tr_sequences_take(&sequences, &owned, message, &err), TR_OK, "%s", err.text);
    cr_assert_eq(sequences.count, 2);
    for (size_t i = 0; i < 2; i++) {
        const controller_row_t *row = &rows.items[chosen[i]];
        cr_assert_eq((size_t)(sequences.starts[i + 1] - sequences.starts[i]), row->length);
        cr_expect_arr_eq(sequences.ids + sequences.starts[i], row->ids,
                         row->length * sizeof *row->ids);
        cr_expect_eq((size_t)sequences.prompt_lengths[i], row->prompt);
    }
    cr_expect_eq(batch.learnt, rows.items[2].length + rows.items[0].length - 2);
    cr_expect_eq(batch.tokens, rows.items[2].length + rows.items[0].length);
    free(owned);
    controller_batch_release(&batch);
    tr_message_destroy(&message);
    controller_rows_release(&rows);
}

// Preferences

static void load(controller_rows_t *rows, const char *algorithm, size_t limit)
{
    recipe.algorithm = fields_algorithm(algorithm);
    load_texts(rows, limit);
}

static void expect_failure(const char *algorithm, size_t limit, int line, const char *part)
{
    controller_rows_t rows;
    tr_error_t err = {0};
    recipe.algorithm = fields_algorithm(algorithm);
    tr_status status =
        controller_rows_load(&rows, &recipe.data.train, &recipe, tokenizer, limit, &err);
    expect_bad(status, &err, line, part);
    controller_rows_release(&rows);
}

Test(rows, a_pair_shares_its_prompt_and_ends_each_side)
{
    controller_rows_t rows;
    write_rows("{\"prompt\": \"One day\", \"chosen\": \" a cat slept.\", \"rejected\": \" no\"}\n");
    load(&rows, "dpo", 100);
    cr_assert(rows.count == 1);
    for (int side = 0; side < 2; side++) {
        const controller_row_t *item = &rows.items[side];
        expect_text(item, 0, item->prompt, "One day");
        expect_text(item, item->prompt, item->length, side == 0 ? " a cat slept." : " no");
        cr_expect_eq(item->ids[item->length - 1], eos);
        cr_expect_eq(occurrences(item, bos), bos == eos ? 2 : 1);
    }
    controller_rows_release(&rows);
}

// As TRL's extract_prompt: the space before the difference belongs to the completions, and where one side begins with the whole
// other, its last character does.
Test(rows, without_a_prompt_it_is_what_both_sides_begin_with)
{
    controller_rows_t rows;
    write_rows("{\"chosen\": \"One day a cat.\", \"rejected\": \"One day a dog.\"}\n"
               "{\"chosen\": \"One day a cat.\", \"rejected\": \"One day a cat. A dog.\"}\n"
               "{\"chosen\": \"abc\\u00e9\", \"rejected\": \"abc\\u00e8\"}\n");
    load(&rows, "dpo", 100);
    cr_assert_eq(rows.count, 3);
    expect_text(&rows.items[0], 0, rows.items[0].prompt, "One day a");
    expect_text(&rows.items[0], rows.items[0].prompt, rows.items[0].length, " cat.");
    expect_text(&rows.items[2], 0, rows.items[2].prompt, "One day a cat");
    expect_text(&rows.items[4], 0, rows.items[4].prompt, "abc");
    controller_rows_release(&rows);
}

Test(rows, the_sides_of_a_reward_pair_are_whole_and_have_its_margin)
{
    controller_rows_t rows;
    write_rows(
        "{\"prompt\": \"One\", \"chosen\": \" day\", \"rejected\": \" way\", \"margin\": 0.5}\n");
    load(&rows, "reward", 100);
    cr_assert(rows.count == 1 && rows.margins);
    expect_text(&rows.items[0], 0, rows.items[0].length, "One day");
    expect_text(&rows.items[1], 0, rows.items[1].length, "One way");
    cr_expect_eq(rows.items[0].margin, 0.5f);
    controller_rows_release(&rows);
}

Test(rows, mismatched_completions_come_from_the_row_before)
{
    controller_rows_t rows;
    controller_batch_t batch;
    const uint32_t chosen[3] = {2, 0, 1};
    write_rows("{\"prompt\": \"One\", \"completion\": \" day\", \"label\": true}\n"
               "{\"prompt\": \"The\", \"completion\": \" cat slept\", \"label\": false}\n"
               "{\"prompt\": \"A dog\", \"completion\": \" ran\", \"label\": true}\n");
    load(&rows, "kto", 100);
    cr_assert(rows.items[0].desirable && !rows.items[1].desirable && rows.items[2].desirable);
    controller_batch_init(&batch, &rows, chosen, 3, true);
    cr_assert_eq(batch.sequences.count, 6);
    static const char *const expected[6] = {"A dog ran",       "One day", "The cat slept",
                                            "A dog cat slept", "One ran", "The day"};
    for (size_t i = 0; i < 6; i++) {
        const tr_sequences_t *s = &batch.sequences;
        size_t length = (size_t)(s->starts[i + 1] - s->starts[i]);
        char *text = tr_tokenizer_decode(NULL, tokenizer, s->ids + s->starts[i], length,
                                         TR_DECODE_SKIP_SPECIAL);
        cr_expect_str_eq(text, expected[i]);
        cr_expect_eq((size_t)s->prompt_lengths[i], rows.items[chosen[i % 3]].prompt);
        free(text);
    }
    controller_batch_release(&batch);
    controller_rows_release(&rows);
}

Test(rows, pairs_become_labelled_rows_first_the_chosen_ones)
{
    controller_rows_t rows;
    write_rows("{\"prompt\": \"One\", \"chosen\": \" day\", \"rejected\": \" way\"}\n"
               "{\"prompt\": \"The\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n");
    load(&rows, "kto", 100);
    cr_assert(rows.count == 4);
    static const char *const expected[4] = {"One day", "The cat", "One way", "The dog"};
    for (size_t i = 0; i < 4; i++) {
        expect_text(&rows.items[i], 0, rows.items[i].length, expected[i]);
        cr_expect_eq(rows.items[i].desirable, i < 2);
    }
    controller_rows_release(&rows);
}

Test(rows, bad_preferences_are_named)
{
    write_rows("{\"prompt\": \"One\", \"chosen\": \" day\", \"rejected\": \" way\"}\n"
               "{\"prompt\": \"One\", \"chosen\": \" day\"}\n");
    expect_failure("dpo", 100, 2, "rejected: the column is missing");
    expect_failure("reward", 100, 2, "rejected: the column is missing");
    write_rows("{\"prompt\": \"One\", \"completion\": \" day\", \"label\": 1}\n");
    expect_failure("kto", 100, 1, "label: expected true or false");
    write_rows("{\"chosen\": \" day\", \"rejected\": \" way\", \"margin\": \"big\"}\n");
    expect_failure("reward", 100, 1, "margin: expected a number");
    write_rows("{\"chosen\": \"a cat and a dog slept\", \"rejected\": \"a cat\"}\n");
    expect_failure("reward", 3, 1, "reward.max_length");
    write_rows(
        "{\"prompt\": \"a cat and a dog\", \"chosen\": \" slept\", \"rejected\": \" ran\"}\n");
    expect_failure("dpo", 3, 1, "dpo.max_length");
}

Test(rows, bad_preferences_are_dropped_where_asked)
{
    controller_rows_t rows;
    recipe.data.on_bad_row = TR_ON_BAD_ROW_DROP;
    write_rows("{\"prompt\": \"a cat and a dog and a cat\", \"chosen\": \" slept\", \"rejected\": "
               "\" ran\"}\n"
               "{\"prompt\": \"The cat\", \"chosen\": \" slept\", \"rejected\": \" ran\"}\n"
               "{\"prompt\": \"The cat\", \"chosen\": \" slept\"}\n");
    load(&rows, "dpo", 6);
    cr_assert_eq(rows.count, 1);
    cr_expect_eq(tr_dataset_dropped(rows.dataset), 2);
    expect_text(&rows.items[0], 0, rows.items[0].prompt, "The cat");
    controller_rows_release(&rows);
}

Test(rows, packs_hold_texts_up_to_the_limit)
{
    controller_rows_t rows;
    controller_batch_t batch;
    recipe.sft.packing = true;
    write_rows("{\"text\": \"The cat slept. The dog ran. They slept.\"}\n{\"text\": \"A dog.\"}\n"
               "{\"text\": \"The cat slept and the dog ran.\"}\n{\"text\": \"A cat.\"}\n");
    load(&rows, "sft", 16);
    cr_assert_lt(rows.count, 4);
    cr_assert_eq(rows.starts[rows.count], 4);
    for (uint32_t i = 0; i < rows.count; i++) {
        controller_batch_init(&batch, &rows, &i, 1, false);
        cr_expect_leq(batch.tokens, 16);
        cr_expect_eq(batch.sequences.count, rows.starts[i + 1] - rows.starts[i]);
        cr_expect_eq(batch.learnt,
                     batch.tokens - batch.sequences.count); // none learns its first token
        controller_batch_release(&batch);
    }
    controller_rows_release(&rows);
}

// Conversations

#define USER(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ASSISTANT(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

/// The item's tokens from `first` on, cut to what is learnt, as text.
static char *said(const controller_row_t *item, size_t first, bool marked)
{
    int32_t *ids = tr_calloc(item->length, sizeof *ids);
    size_t n = 0;
    for (size_t t = first; t < item->length; t++) {
        if (!marked || item->mask[t]) {
            ids[n++] = item->ids[t];
        }
    }
    char *text = tr_tokenizer_decode(NULL, tokenizer, ids, n, TR_DECODE_CONTINUES);
    free(ids);
    return text;
}

static void expect_said(const controller_row_t *item, size_t first, bool marked, const char *wanted)
{
    char *text = said(item, first, marked);
    cr_expect_str_eq(text, wanted);
    free(text);
}

Test(rows, a_conversation_is_learnt_whole_or_what_its_assistant_says)
{
    controller_rows_t rows;
    controller_batch_t batch;
    const uint32_t first[] = {0};
    recipe.data.chat_template = TR_CHAT_PLAIN;
    write_rows("{\"messages\": [" USER("Hi.") ", " ASSISTANT("Yes.") ", " USER(
        "Go.") ", " ASSISTANT("No.") "]}\n");
    load(&rows, "sft", 100);
    cr_expect_eq(rows.items[0].prompt, 1);
    cr_expect_null(rows.items[0].mask);
    expect_said(&rows.items[0], 0, false,
                "\n\nHuman: Hi.\n\nAssistant: Yes.<|endoftext|>\n\nHuman: Go.\n\nAssistant: "
                "No.<|endoftext|>");
    controller_rows_release(&rows);
    recipe.sft.assistant_only_loss = true;
    load(&rows, "sft", 100);
    expect_said(&rows.items[0], 0, true, " Yes.<|endoftext|> No.<|endoftext|>");
    controller_batch_init(&batch, &rows, first, 1, false);
    cr_assert_eq(batch.learnt, rows.items[0].length - 1);
    for (size_t t = 0; t < batch.learnt; t++) {
        cr_expect_eq(batch.mask[t] != 0.0f, rows.items[0].mask[t + 1] != 0);
    }
    controller_batch_release(&batch);
    controller_rows_release(&rows);
    expect_failure("sft", 5, 1, "no assistant speaks within 5 tokens");
}

Test(rows, conversations_have_prompts_and_completions_too)
{
    controller_rows_t rows;
    recipe.data.chat_template = TR_CHAT_PLAIN;
    recipe.sft.completion_only_loss = true;
    write_rows("{\"prompt\": [" USER("Hi.") "], \"completion\": [" ASSISTANT("Yes.") "]}\n");
    load(&rows, "sft", 100);
    expect_said(&rows.items[0], rows.items[0].prompt, false, " Yes.<|endoftext|>");
    controller_rows_release(&rows);
    recipe.sft.completion_only_loss = false;
    load(&rows, "sft", 100);
    cr_expect_eq(rows.items[0].prompt, 1);
    controller_rows_release(&rows);
    write_rows("{\"prompt\": [" USER("Hi.") "], \"completion\": \" Yes.\"}\n");
    expect_failure("sft", 100, 1, "make them one kind");
}

Test(rows, pairs_of_conversations_part_where_their_messages_do)
{
    controller_rows_t rows;
    recipe.data.chat_template = TR_CHAT_PLAIN;
    write_rows("{\"chosen\": [" USER("Hi.") ", " ASSISTANT("Yes.") "], \"rejected\": [" USER("Hi.") ", " ASSISTANT(
        "No.") "]}\n{\"prompt\": [" USER("Hi.") "], \"chosen\": [" ASSISTANT("Yes.") "], "
                                                                                     "\"rejected\":"
                                                                                     " [" ASSISTANT(
                                                                                         "No.") "]}"
                                                                                                "\n");
    recipe.algorithm = fields_algorithm("dpo");
    free(recipe.data.prompt_column);
    recipe.data.prompt_column = tr_strdup("prompt");
    load(&rows, "reward", 100);
    expect_said(&rows.items[1], 0, false, "\n\nHuman: Hi.\n\nAssistant: No.<|endoftext|>");
    controller_rows_release(&rows);
    write_rows("{\"chosen\": [" USER("Hi.") ", " ASSISTANT("Yes.") "], \"rejected\": [" USER(
        "Hi.") ", " ASSISTANT("No.") "]}\n");
    load(&rows, "dpo", 100);
    expect_said(&rows.items[0], rows.items[0].prompt, false, " Yes.<|endoftext|>");
    expect_said(&rows.items[1], rows.items[1].prompt, false, " No.<|endoftext|>");
    controller_rows_release(&rows);
}

Test(rows, a_prompt_of_messages_ends_where_the_assistant_begins)
{
    controller_rows_t rows;
    recipe.data.chat_template = TR_CHAT_PLAIN;
    write_rows("{\"prompt\": [" USER("Hi.") "]}\n");
    load_prompts(&rows, 100);
    expect_said(&rows.items[0], 0, false, "\n\nHuman: Hi.\n\nAssistant:");
    cr_expect_str_eq(controller_rows_prompt(&rows, 0), "\n\nHuman: Hi.\n\nAssistant:");
    controller_rows_release(&rows);
    recipe.data.chat_template = TR_CHAT_NONE;
    recipe.model = TEST_SOURCE_DIR "/examples/models/stories";
    tr_error_t err = {0};
    cr_expect_eq(controller_rows_load_prompts(&rows, &recipe, tokenizer, 100, &err),
                 TR_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "has no chat template") != NULL, "%s", err.text);
    controller_rows_release(&rows);
}

Test(rows, what_is_too_long_may_lose_its_beginning)
{
    controller_rows_t whole, rows;
    controller_batch_t batch;
    const uint32_t first[] = {0};
    recipe.dpo.truncation_mode = TR_TRUNCATION_KEEP_END;
    write_rows("{\"prompt\": \"Once upon a time\", \"chosen\": \" there was a cat. The end.\", "
               "\"rejected\": \" no.\"}\n");
    load(&whole, "dpo", 1000);
    const controller_row_t *item = &whole.items[0];
    size_t prompt = item->prompt, n = item->length;
    cr_assert_gt(prompt, 3);
    // The cut falls into the prompt, to its end, and into the completion.
    for (size_t cut = 1; cut <= prompt + 2; cut++) {
        load(&rows, "dpo", n - cut);
        controller_batch_init(&batch, &rows, first, 1, false);
        const tr_sequences_t *s = &batch.sequences;
        size_t left = cut < prompt ? prompt - cut : 1;
        cr_assert_eq((size_t)s->starts[1], n - cut);
        cr_expect_eq((size_t)s->prompt_lengths[0], left, "cut %zu", cut);
        cr_expect_eq((size_t)s->response_starts[1], n - cut - left, "cut %zu", cut);
        cr_expect_eq(controller_row_learnt(&rows, &rows.items[0]), n - cut - left);
        cr_expect_eq(memcmp(s->ids, item->ids + cut, (n - cut) * sizeof *item->ids), 0, "cut %zu",
                     cut);
        controller_batch_release(&batch);
        controller_rows_release(&rows);
    }
    controller_rows_release(&whole);
}

Test(rows, steps_are_labelled_at_the_token_after_each)
{
    controller_rows_t rows;
    write_rows("{\"prompt\": \"Once.\", \"completions\": [\"It was happy.\", \"No.\"], "
               "\"labels\": [true, false]}\n");
    load(&rows, "reward", 100);
    const controller_row_t *item = &rows.items[0];
    cr_assert(rows.steps && rows.count == 1 && rows.starts[1] == 1);
    size_t seen = 0;
    for (size_t t = 0; t < item->length; t++) {
        if (item->mask[t] != 0) {
            cr_expect_eq(item->mask[t], seen == 0 ? 2 : 1);
            cr_expect_eq(item->ids[t - 1], item->ids[item->length - 1]); // the separator
            seen++;
        }
    }
    cr_expect_eq(seen, 2);
    cr_expect_eq(item->mask[item->length - 1], 1);
    controller_rows_release(&rows);
    expect_failure("reward", 4, 1, "no step ends within 4 tokens (reward.max_length)");
    write_rows("{\"prompt\": \"Once.\", \"completions\": [\"It.\"], \"labels\": [true, false]}\n");
    expect_failure("reward", 100, 1, "found 1 and 2 items");
    write_rows("{\"prompt\": \"Once.\", \"completions\": [\"It.\"], \"labels\": [1]}\n");
    expect_failure("reward", 100, 1, "item 0: expected a text, and true or false");
    recipe.algorithm = fields_algorithm("reward");
    recipe.reward.normalize = true;
    tr_error_t err = {0};
    cr_expect_eq(controller_rows_load(&rows, &recipe.data.train, &recipe, tokenizer, 100, &err),
                 TR_ERR_ARGUMENT);
    cr_expect(strstr(err.text, "reward.normalize is of pairs") != NULL, "%s", err.text);
    controller_rows_release(&rows);
}
