/// From files to token sequences: which rows stay, in which order, and what is said of bad ones.
#include "common/data/rows.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

#define TAKES(kind) (1u << TR_KIND_##kind)

static char *folder;
static char *path;
static tr_tokenizer_t *tokenizer;
static tr_rows_options_t options;
static bool drop;

static void setup(void)
{
    tr_error_t err = {0};
    folder = scratch_open();
    cr_assert_eq(tr_tokenizer_new(&tokenizer, TEST_SOURCE_DIR "/examples/models/stories", &err),
                 TR_OK, "%s", err.text);
    options = (tr_rows_options_t){.limit = 100,
                                  .limit_key = "most",
                                  .completion_only = true,
                                  .prompt_column = "prompt",
                                  .text_column = "text",
                                  .step_separator = "\n"};
}

static void teardown(void)
{
    free(path);
    tr_tokenizer_destroy(&tokenizer);
    scratch_close(&folder);
}

TestSuite(rows, .init = setup, .fini = teardown);

static tr_status try_load(tr_rows_t *rows, tr_kind_t kind, const char *text, tr_error_t *err)
{
    tr_dataset_t *dataset;
    *rows = (tr_rows_t){0};
    free(path);
    path = scratch_write(folder, "rows.jsonl", text, strlen(text));
    TR_TRY(tr_dataset_new(&dataset, (const char *const[]){path}, 1, drop, err));
    tr_status status = tr_rows_init(rows, &dataset, kind, tokenizer, &options, err);
    cr_expect_null(dataset, "it was taken");
    return status;
}

static tr_rows_t load(tr_kind_t kind, const char *text)
{
    tr_rows_t rows;
    tr_error_t err = {0};
    cr_assert_eq(try_load(&rows, kind, text, &err), TR_OK, "%s", err.text);
    return rows;
}

/// The failure names the line, and then is `sentence`.
static void expect_bad(tr_kind_t kind, const char *text, int line, const char *sentence)
{
    tr_rows_t rows;
    tr_error_t err = {0};
    cr_expect_neq(try_load(&rows, kind, text, &err), TR_OK);
    char *expected = tr_format("%s:%d: %s", path, line, sentence);
    cr_expect_str_eq(err.text, expected);
    free(expected);
    tr_rows_release(&rows);
}

/// The text of a sequence is `expected`.
static void expect_text(const tr_sequence_t *s, const char *expected)
{
    char *text = tr_tokenizer_decode(NULL, tokenizer, s->ids, s->length, TR_DECODE_SKIP_SPECIAL);
    cr_expect_str_eq(text, expected);
    free(text);
}

Test(rows, a_row_owns_one_sequence_or_the_two_of_a_pair)
{
    tr_rows_t rows = load(TR_KIND_TEXT, "{\"text\": \"A cat.\"}\n{\"text\": \"A dog.\"}\n");
    cr_assert(rows.count == 2 && rows.starts[0] == 0 && rows.starts[1] == 1 && rows.starts[2] == 2);
    cr_expect(!rows.masked && !rows.margins && !rows.steps && rows.limit == 100);
    expect_text(&rows.sequences[1], "A dog.");
    tr_rows_release(&rows);
    cr_expect(rows.dataset == NULL && rows.sequences == NULL);
    rows =
        load(TR_KIND_PAIRS, "{\"prompt\": \"A\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n"
                            "{\"prompt\": \"A\", \"chosen\": \" sea\", \"rejected\": \" no\"}\n");
    cr_assert(rows.count == 2 && rows.starts[1] == 2 && rows.starts[2] == 4);
    expect_text(&rows.sequences[2], "A sea");
    tr_rows_release(&rows);
}

Test(rows, margins_and_steps_are_noted)
{
    tr_rows_t rows = load(TR_KIND_WHOLE_PAIRS, "{\"prompt\": \"One\", \"chosen\": \" day\", "
                                               "\"rejected\": \" way\", \"margin\": 0.5}\n");
    cr_assert(rows.count == 1 && rows.margins && !rows.masked && !rows.labelled);
    expect_text(&rows.sequences[0], "One day");
    expect_text(&rows.sequences[1], "One way");
    cr_expect_eq(rows.sequences[0].margin, 0.5f);
    tr_rows_release(&rows);
    rows = load(TR_KIND_STEPWISE, "{\"prompt\": \"Once.\", \"completions\": [\"It was happy.\", "
                                  "\"No.\"], \"labels\": [true, false]}\n");
    cr_assert(rows.steps && rows.masked && rows.count == 1 && rows.starts[1] == 1);
    tr_rows_release(&rows);
    rows =
        load(TR_KIND_LABELLED, "{\"prompt\": \"A\", \"completion\": \" cat\", \"label\": true}\n");
    cr_expect(rows.labelled && !rows.masked && rows.sequences[0].label);
    tr_rows_release(&rows);
}

Test(rows, conversations_have_masks_where_assistants_alone_are_learnt)
{
    options.chat_template = TR_CHAT_PLAIN;
    options.assistant_only = "assistants";
    tr_rows_t rows =
        load(TR_KIND_MESSAGES, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi.\"}, "
                               "{\"role\": \"assistant\", \"content\": \"Yes.\"}]}\n");
    const tr_sequence_t *s = &rows.sequences[0];
    cr_assert(rows.masked && s->mask != NULL);
    cr_expect(!s->mask[0] && s->mask[s->length - 1]);
    tr_rows_release(&rows);
}

Test(rows, unpaired_sides_come_in_blocks_first_the_chosen_ones)
{
    tr_rows_t rows = load(TR_KIND_UNPAIRED,
                          "{\"prompt\": \"One\", \"chosen\": \" day\", \"rejected\": \" way\"}\n"
                          "{\"prompt\": \"The\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n");
    static const char *const expected[4] = {"One day", "The cat", "One way", "The dog"};
    cr_assert(rows.count == 4 && rows.starts[4] == 4 && rows.labelled);
    for (size_t i = 0; i < 4; i++) {
        expect_text(&rows.sequences[i], expected[i]);
        cr_expect_eq(rows.sequences[i].label, i < 2);
    }
    tr_rows_release(&rows);
}

Test(rows, a_block_of_unpaired_sides_has_a_thousand_pairs)
{
    tr_bytes_t text = {0};
    for (int i = 0; i < 1002; i++) {
        char *row =
            tr_format("{\"prompt\": \"%d\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n", i);
        tr_bytes_append(&text, row, strlen(row));
        free(row);
    }
    tr_rows_t rows = load(TR_KIND_UNPAIRED, text.data);
    static const struct {
        size_t row;
        const char *text;
    } cases[] = {{0, "0 cat"},       {999, "999 cat"},   {1000, "0 dog"},    {1999, "999 dog"},
                 {2000, "1000 cat"}, {2001, "1001 cat"}, {2002, "1000 dog"}, {2003, "1001 dog"}};
    cr_assert_eq(rows.count, 2004);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_text(&rows.sequences[cases[i].row], cases[i].text);
    }
    tr_rows_release(&rows);
    tr_bytes_release(&text);
}

static const char FOUR_TEXTS[] =
    "{\"text\": \"The cat slept. The dog ran. They slept.\"}\n{\"text\": \"A dog.\"}\n"
    "{\"text\": \"The cat slept and the dog ran.\"}\n{\"text\": \"A cat.\"}\n";

Test(rows, packs_hold_texts_up_to_the_limit)
{
    options.packing = true;
    options.limit = 16;
    tr_rows_t rows = load(TR_KIND_TEXT, FOUR_TEXTS);
    cr_assert_lt(rows.count, 4);
    cr_assert_eq(rows.starts[rows.count], 4);
    for (size_t i = 0; i < rows.count; i++) {
        size_t tokens = 0;
        for (size_t k = rows.starts[i]; k < rows.starts[i + 1]; k++) {
            size_t length = rows.sequences[k].length; // a batch cuts it to the limit
            tokens += length < 16 ? length : 16;
        }
        cr_expect_leq(tokens, 16, "pack %zu", i);
    }
    tr_rows_release(&rows);
}

Test(rows, a_text_longer_than_a_pack_fills_one)
{
    options.packing = true;
    options.limit = 5;
    tr_rows_t rows = load(TR_KIND_TEXT, FOUR_TEXTS);
    cr_expect_eq(rows.starts[1], 1);
    expect_text(&rows.sequences[0], "The cat slept. The dog ran. They slept."); // cut by the batch
    tr_rows_release(&rows);
}

Test(rows, bad_rows_are_named_by_their_line)
{
    expect_bad(TR_KIND_TEXT, "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n", 2,
               "text: the column is missing");
    expect_bad(TR_KIND_TEXT, "{\"text\": \"a\"}\n{\"text\": 7}\n", 2,
               "text: expected a text or a list of messages, found a number");
    expect_bad(TR_KIND_PROMPTS, "{\"prompt\": \"a\"}\n\n{\"prompt\": [\"b\"]}\n", 3,
               "prompt: expected a text or a list of messages");
    options.limit = 6;
    expect_bad(TR_KIND_PROMPT_COMPLETION,
               "{\"prompt\": \"A\", \"completion\": \"b\"}\n"
               "{\"prompt\": \"The cat and the dog went to the sea\", \"completion\": \"b\"}\n",
               2,
               "nothing is left to learn within 6 tokens (most): shorten the prompt or take the "
               "row out");
}

static const char PARTLY_BAD[] =
    "{\"prompt\": \"a cat and a dog and a cat\", \"chosen\": \" slept\", \"rejected\": \" ran\"}\n"
    "{\"prompt\": \"The cat\", \"chosen\": \" slept\", \"rejected\": \" ran\"}\n"
    "{\"prompt\": \"The cat\", \"chosen\": \" slept\"}\n";

Test(rows, bad_rows_are_dropped_where_asked)
{
    drop = true;
    options.limit = 6;
    tr_rows_t rows = load(TR_KIND_PAIRS, PARTLY_BAD);
    cr_assert_eq(rows.count, 1);
    cr_expect_eq(tr_dataset_dropped(rows.dataset), 2);
    cr_expect_eq(tr_dataset_size(rows.dataset), 1);
    expect_text(&rows.sequences[0], "The cat slept");
    tr_rows_release(&rows);
}

Test(rows, that_no_row_is_left_is_an_error)
{
    tr_rows_t rows;
    tr_error_t err = {0};
    drop = true;
    options.limit = 2;
    cr_expect_eq(try_load(&rows, TR_KIND_PAIRS, PARTLY_BAD, &err), TR_ERR_FORMAT);
    char *expected = tr_format("%s: all 3 rows are bad and were dropped", path);
    cr_expect_str_eq(err.text, expected);
    free(expected);
    tr_rows_release(&rows);
}

Test(rows, a_prompt_says_its_column_or_its_conversation)
{
    options.chat_template = TR_CHAT_PLAIN;
    tr_rows_t rows =
        load(TR_KIND_PROMPTS, "{\"prompt\": \"One day\"}\n"
                              "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hi.\"}]}\n");
    cr_expect_str_eq(tr_rows_prompt(&rows, 0), "One day");
    cr_expect_str_eq(tr_rows_prompt(&rows, 1), "\n\nHuman: Hi.\n\nAssistant:");
    tr_rows_release(&rows);
}

Test(rows, a_conversation_goes_on_with_the_response_as_its_last_message)
{
    options.chat_template = TR_CHAT_PLAIN;
    tr_rows_t rows =
        load(TR_KIND_PROMPTS, "{\"prompt\": \"One day\"}\n"
                              "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hi.\"}]}\n");
    // the template's own space before an answer is none of its content
    json_t *all = tr_rows_conversation(&rows, 1, " Yes. No", 5);
    json_t *expected = json_loads("[{\"role\": \"user\", \"content\": \"Hi.\"}, {\"role\": "
                                  "\"assistant\", \"content\": \"Yes.\"}]",
                                  0, NULL);
    cr_expect(json_equal(all, expected));
    cr_expect_null(tr_rows_conversation(&rows, 0, " Yes.", 5));
    json_decref(expected);
    json_decref(all);
    tr_rows_release(&rows);
}

Test(rows, a_prompt_that_just_fits_is_taken_and_one_token_more_refused)
{
    static const char text[] =
        "{\"prompt\": \"One\"}\n\n{\"prompt\": \"One day a cat went to sea\"}\n";
    tr_rows_t rows = load(TR_KIND_PROMPTS, text);
    size_t length = rows.sequences[1].length;
    tr_rows_release(&rows);
    options.limit = length;
    rows = load(TR_KIND_PROMPTS, text);
    tr_rows_release(&rows);
    options.limit = length - 1;
    char *sentence = tr_format("prompt: the prompt has %zu tokens; at most %zu fit (most): shorten "
                               "it or take the row out",
                               length, length - 1);
    expect_bad(TR_KIND_PROMPTS, text, 3, sentence);
    free(sentence);
}
