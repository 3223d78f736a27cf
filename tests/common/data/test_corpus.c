/// From files to token sequences: which rows stay, in which order, and what is said of bad ones.
#include "common/data/corpus.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

#define TAKES(kind) (1u << TR_KIND_##kind)

static char *folder;
static char *path;
static tr_tokenizer_t *tokenizer;
static tr_rows_options_t options;

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

TestSuite(corpus, .init = setup, .fini = teardown);

/// Opens rows.jsonl of the folder, anew, and has every row looked at.
static tr_status try_open(tr_corpus_t *corpus, tr_kind_t kind, const char *text, tr_error_t *err)
{
    free(path);
    path = scratch_write(folder, "rows.jsonl", text, strlen(text));
    options.kinds = 1u << kind;
    *corpus = (tr_corpus_t){0};
    TR_TRY(tr_corpus_open(corpus, (const char *const[]){path}, 1, tokenizer, &options, err));
    return tr_corpus_survey(corpus, true, err);
}

/// A corpus with all of its rows.
typedef struct loaded {
    tr_corpus_t corpus;
    tr_rows_t rows;
} loaded_t;

static void load(loaded_t *loaded, tr_kind_t kind, const char *text)
{
    tr_error_t err = {0};
    cr_assert_eq(try_open(&loaded->corpus, kind, text, &err), TR_OK, "%s", err.text);
    uint32_t *all = tr_calloc(loaded->corpus.count, sizeof *all);
    for (size_t i = 0; i < loaded->corpus.count; i++) {
        all[i] = (uint32_t)i;
    }
    cr_assert_eq(tr_corpus_read(&loaded->rows, &loaded->corpus, all, loaded->corpus.count, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(loaded->rows.count, loaded->corpus.count);
    free(all);
}

static void release(loaded_t *loaded)
{
    tr_rows_release(&loaded->rows);
    tr_corpus_release(&loaded->corpus);
}

/// The failure names the line, and then is `sentence`.
static void expect_bad(tr_kind_t kind, const char *text, int line, const char *sentence)
{
    tr_corpus_t corpus;
    tr_error_t err = {0};
    cr_expect_neq(try_open(&corpus, kind, text, &err), TR_OK);
    char *expected = tr_format("%s:%d: %s", path, line, sentence);
    cr_expect_str_eq(err.text, expected);
    free(expected);
    tr_corpus_release(&corpus);
}

/// The text of a sequence is `expected`.
static void expect_text(const tr_sequence_t *s, const char *expected)
{
    char *text = tr_tokenizer_decode(NULL, tokenizer, s->ids, s->length, TR_DECODE_SKIP_SPECIAL);
    cr_expect_str_eq(text, expected);
    free(text);
}

Test(corpus, a_row_owns_one_sequence_or_the_two_of_a_pair)
{
    loaded_t l;
    load(&l, TR_KIND_TEXT, "{\"text\": \"A cat.\"}\n{\"text\": \"A dog.\"}\n");
    cr_assert(l.rows.count == 2 && l.rows.starts[0] == 0 && l.rows.starts[1] == 1 &&
              l.rows.starts[2] == 2);
    cr_expect(!l.rows.masked && !l.rows.margins && !l.rows.steps && l.rows.limit == 100);
    expect_text(&l.rows.sequences[1], "A dog.");
    release(&l);
    cr_expect(l.corpus.dataset == NULL && l.rows.sequences == NULL);
    load(&l, TR_KIND_PAIRS,
         "{\"prompt\": \"A\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n"
         "{\"prompt\": \"A\", \"chosen\": \" sea\", \"rejected\": \" no\"}\n");
    cr_assert(l.rows.count == 2 && l.rows.starts[1] == 2 && l.rows.starts[2] == 4);
    expect_text(&l.rows.sequences[2], "A sea");
    release(&l);
}

Test(corpus, margins_and_steps_are_noted)
{
    loaded_t l;
    load(&l, TR_KIND_WHOLE_PAIRS,
         "{\"prompt\": \"One\", \"chosen\": \" day\", "
         "\"rejected\": \" way\", \"margin\": 0.5}\n");
    cr_assert(l.rows.count == 1 && l.rows.margins && !l.rows.masked && !l.rows.labelled);
    expect_text(&l.rows.sequences[0], "One day");
    expect_text(&l.rows.sequences[1], "One way");
    cr_expect_eq(l.rows.sequences[0].margin, 0.5f);
    release(&l);
    load(&l, TR_KIND_STEPWISE,
         "{\"prompt\": \"Once.\", \"completions\": [\"It was happy.\", "
         "\"No.\"], \"labels\": [true, false]}\n");
    cr_assert(l.rows.steps && l.rows.masked && l.rows.count == 1 && l.rows.starts[1] == 1);
    release(&l);
    load(&l, TR_KIND_LABELLED, "{\"prompt\": \"A\", \"completion\": \" cat\", \"label\": true}\n");
    cr_expect(l.rows.labelled && !l.rows.masked && l.rows.sequences[0].label);
    release(&l);
}

Test(corpus, conversations_have_masks_where_assistants_alone_are_learnt)
{
    options.chat_template = "plain";
    options.assistant_only = "assistants";
    loaded_t l;
    load(&l, TR_KIND_MESSAGES,
         "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi.\"}, "
         "{\"role\": \"assistant\", \"content\": \"Yes.\"}]}\n");
    const tr_sequence_t *s = &l.rows.sequences[0];
    cr_assert(l.rows.masked && s->mask != NULL);
    cr_expect(!s->mask[0] && s->mask[s->length - 1]);
    release(&l);
}

Test(corpus, unpaired_sides_come_in_blocks_first_the_chosen_ones)
{
    loaded_t l;
    load(&l, TR_KIND_UNPAIRED,
         "{\"prompt\": \"One\", \"chosen\": \" day\", \"rejected\": \" way\"}\n"
         "{\"prompt\": \"The\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n");
    static const char *const expected[4] = {"One day", "The cat", "One way", "The dog"};
    cr_assert(l.rows.count == 4 && l.rows.starts[4] == 4 && l.rows.labelled);
    for (size_t i = 0; i < 4; i++) {
        expect_text(&l.rows.sequences[i], expected[i]);
        cr_expect_eq(l.rows.sequences[i].label, i < 2);
    }
    release(&l);
}

Test(corpus, a_block_of_unpaired_sides_has_a_thousand_pairs)
{
    tr_bytes_t text = {0};
    for (int i = 0; i < 1002; i++) {
        char *row =
            tr_format("{\"prompt\": \"%d\", \"chosen\": \" cat\", \"rejected\": \" dog\"}\n", i);
        tr_bytes_append(&text, row, strlen(row));
        free(row);
    }
    loaded_t l;
    load(&l, TR_KIND_UNPAIRED, text.data);
    static const struct {
        size_t row;
        const char *text;
    } cases[] = {{0, "0 cat"},       {999, "999 cat"},   {1000, "0 dog"},    {1999, "999 dog"},
                 {2000, "1000 cat"}, {2001, "1001 cat"}, {2002, "1000 dog"}, {2003, "1001 dog"}};
    cr_assert_eq(l.rows.count, 2004);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_text(&l.rows.sequences[cases[i].row], cases[i].text);
    }
    release(&l);
    tr_bytes_release(&text);
}

static const char FOUR_TEXTS[] =
    "{\"text\": \"The cat slept. The dog ran. They slept.\"}\n{\"text\": \"A dog.\"}\n"
    "{\"text\": \"The cat slept and the dog ran.\"}\n{\"text\": \"A cat.\"}\n";

Test(corpus, packs_hold_texts_up_to_the_limit)
{
    options.packing = true;
    options.limit = 16;
    loaded_t l;
    load(&l, TR_KIND_TEXT, FOUR_TEXTS);
    cr_assert_lt(l.rows.count, 4);
    cr_assert_eq(l.rows.starts[l.rows.count], 4);
    for (size_t i = 0; i < l.rows.count; i++) {
        size_t tokens = 0;
        for (size_t k = l.rows.starts[i]; k < l.rows.starts[i + 1]; k++) {
            size_t length = l.rows.sequences[k].length; // a batch cuts it to the limit
            tokens += length < 16 ? length : 16;
        }
        cr_expect_leq(tokens, 16, "pack %zu", i);
    }
    release(&l);
}

Test(corpus, a_text_longer_than_a_pack_fills_one)
{
    options.packing = true;
    options.limit = 5;
    loaded_t l;
    load(&l, TR_KIND_TEXT, FOUR_TEXTS);
    cr_expect_eq(l.rows.starts[1], 1);
    expect_text(&l.rows.sequences[0],
                "The cat slept. The dog ran. They slept."); // cut by the batch
    release(&l);
}

Test(corpus, bad_rows_are_named_by_their_line)
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

Test(corpus, bad_rows_are_dropped_where_asked)
{
    options.drop = true;
    options.limit = 6;
    loaded_t l;
    load(&l, TR_KIND_PAIRS, PARTLY_BAD);
    cr_assert_eq(l.rows.count, 1);
    cr_expect_eq(tr_survey_wait(l.corpus.survey)->bad, 2);
    cr_expect_eq(tr_dataset_size(l.corpus.dataset), 1);
    expect_text(&l.rows.sequences[0], "The cat slept");
    release(&l);
}

Test(corpus, that_no_row_is_left_is_an_error)
{
    options.drop = true;
    options.limit = 2;
    expect_bad(TR_KIND_PAIRS, PARTLY_BAD, 1, "all 3 rows are bad and were dropped");
}

Test(corpus, every_mistake_is_listed_to_a_bound_and_all_are_counted)
{
    // every row but the first is bad, in one of two ways
    tr_bytes_t text = {0};
    tr_corpus_t corpus;
    const char *const *mistakes;
    tr_error_t err = {0};
    tr_bytes_append(&text, "{\"text\": \"a\"}\n", 14);
    for (int i = 1; i < 24; i++) {
        const char *row = i % 2 ? "{\"txt\": \"b\"}\n" : "[]\n";
        tr_bytes_append(&text, row, strlen(row));
    }
    tr_bytes_append(&text, "", 1);
    cr_assert_eq(try_open(&corpus, TR_KIND_TEXT, text.data, &err), TR_ERR_FORMAT);
    cr_assert_eq(tr_survey_mistakes(&mistakes, corpus.survey), TR_SURVEY_MISTAKES);
    for (size_t i = 0; i < TR_SURVEY_MISTAKES; i++) { // in the file's order
        char *begin = tr_format("%s:%zu: ", path, i + 2);
        cr_expect_eq(strncmp(mistakes[i], begin, strlen(begin)), 0, "%s", mistakes[i]);
        free(begin);
    }
    char *expected = tr_format("%s:2: text: the column is missing (and 22 more bad rows)", path);
    cr_expect_str_eq(err.text, expected);
    free(expected);
    tr_corpus_release(&corpus);
    tr_bytes_release(&text);
}

/// A corpus of that many short texts, opened but not looked at.
static void open_many(tr_corpus_t *corpus, size_t count, const char *last)
{
    tr_error_t err = {0};
    free(path);
    path = tr_format("%s/rows.jsonl", folder);
    FILE *out = fopen(path, "w");
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "{\"text\": \"%zu\", \"more\": \"%0200d\"}\n", i, 0);
    }
    fputs(last, out);
    fclose(out);
    options.kinds = TAKES(TEXT);
    cr_assert_eq(tr_corpus_open(corpus, (const char *const[]){path}, 1, tokenizer, &options, &err),
                 TR_OK, "%s", err.text);
}

// The rows are 9 MB, more than is looked at before the first batch.
Test(corpus, rows_of_large_files_are_looked_at_beside_the_reading)
{
    enum { MANY = 40000 };
    tr_corpus_t corpus;
    tr_rows_t rows;
    tr_error_t err = {0};
    open_many(&corpus, MANY, "{\"text\": 7}\n");
    cr_assert_eq(tr_corpus_survey(&corpus, false, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_corpus_read(&rows, &corpus, (const uint32_t[]){MANY - 1, 12}, 2, &err), TR_OK,
                 "%s", err.text);
    expect_text(&rows.sequences[0], "39999");
    expect_text(&rows.sequences[1], "12");
    tr_rows_release(&rows);
    cr_expect_eq(tr_corpus_settle(&corpus, &err), TR_ERR_FORMAT);
    char *expected = tr_format("%s:%d: text: expected a text or a list of messages, found a number",
                               path, MANY + 1);
    cr_expect_str_eq(err.text, expected);
    cr_expect(tr_corpus_surveyed(&corpus));
    free(expected);
    tr_corpus_release(&corpus);
}

Test(corpus, a_survey_ends_early_with_its_corpus)
{
    tr_corpus_t corpus;
    tr_error_t err = {0};
    open_many(&corpus, 100000, "");
    cr_assert_eq(tr_corpus_survey(&corpus, false, &err), TR_OK, "%s", err.text);
    tr_corpus_release(&corpus);
}

Test(corpus, rows_that_training_needs_to_know_are_looked_at_first)
{
    tr_corpus_t corpus;
    tr_error_t err = {0};
    options.drop = true;
    open_many(&corpus, 40000, "{\"text\": 7}\n");
    cr_assert_eq(corpus.count, 40001);
    cr_assert_eq(tr_corpus_survey(&corpus, false, &err), TR_OK, "%s", err.text);
    cr_expect(tr_corpus_surveyed(&corpus));
    cr_expect_eq(corpus.count, 40000);
    tr_corpus_release(&corpus);
}

Test(corpus, labels_are_counted_as_often_as_weights_have_them_taken)
{
    static const char good[] = "{\"prompt\": \"A\", \"completion\": \" b\", \"label\": true}\n";
    static const char bad[] = "{\"prompt\": \"A\", \"completion\": \" c\", \"label\": false}\n"
                              "{\"prompt\": \"A\", \"completion\": \" d\", \"label\": false}\n";
    tr_corpus_t corpus = {0};
    tr_error_t err = {0};
    char *paths[2] = {scratch_write(folder, "good", good, sizeof good - 1),
                      scratch_write(folder, "bad", bad, sizeof bad - 1)};
    char *weighted = tr_format("{\"path\": \"%s\", \"weight\": 3}", paths[0]);
    options.kinds = TAKES(LABELLED);
    cr_assert_eq(tr_corpus_open(&corpus, (const char *const[]){weighted, paths[1]}, 2, tokenizer,
                                &options, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(tr_corpus_survey(&corpus, true, &err), TR_OK, "%s", err.text);
    cr_expect_eq(corpus.count, 8); // two rows for one share, six for three
    cr_expect_eq(tr_corpus_desirable(&corpus), 6);
    tr_corpus_release(&corpus);
    free(weighted);
    free(paths[0]);
    free(paths[1]);
}

Test(corpus, a_survey_measures_rows_as_batches_cut_them)
{
    tr_corpus_t corpus;
    tr_error_t err = {0};
    options.limit = 4;
    options.room = 3;
    cr_assert_eq(try_open(&corpus, TR_KIND_LABELLED,
                          "{\"prompt\": \"A\", \"completion\": \" cat ran.\", \"label\": true}\n"
                          "{\"prompt\": \"A\", \"completion\": \" b\", \"label\": false}\n",
                          &err),
                 TR_OK, "%s", err.text);
    const tr_found_t *found = tr_survey_wait(corpus.survey);
    cr_expect_eq(found->bad, 0);
    cr_expect_eq(found->longest, 4);
    cr_expect_eq(found->longest_prompt, 2); // with the begin token
    cr_expect_eq(found->crowded, 0);
    cr_expect_eq(tr_corpus_desirable(&corpus), 1);
    tr_corpus_release(&corpus);
    options.room = 1;
    cr_assert_eq(try_open(&corpus, TR_KIND_PROMPT_COMPLETION,
                          "{\"prompt\": \"A\", \"completion\": \" b\"}\n", &err),
                 TR_OK, "%s", err.text);
    cr_expect_eq(tr_survey_wait(corpus.survey)->crowded, 1);
    tr_corpus_release(&corpus);
}

Test(corpus, a_prompt_says_its_column_or_its_conversation)
{
    options.chat_template = "plain";
    loaded_t l;
    load(&l, TR_KIND_PROMPTS,
         "{\"prompt\": \"One day\"}\n"
         "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hi.\"}]}\n");
    cr_expect_str_eq(tr_rows_prompt(&l.rows, 0), "One day");
    cr_expect_str_eq(tr_rows_prompt(&l.rows, 1), "\n\nHuman: Hi.\n\nAssistant:");
    release(&l);
}

Test(corpus, a_conversation_goes_on_with_the_response_as_its_last_message)
{
    options.chat_template = "plain";
    loaded_t l;
    load(&l, TR_KIND_PROMPTS,
         "{\"prompt\": \"One day\"}\n"
         "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hi.\"}]}\n");
    // the template's own space before an answer is none of its content
    json_t *all = tr_rows_conversation(&l.rows, 1, " Yes. No", 5);
    json_t *expected = json_loads("[{\"role\": \"user\", \"content\": \"Hi.\"}, {\"role\": "
                                  "\"assistant\", \"content\": \"Yes.\"}]",
                                  0, NULL);
    cr_expect(json_equal(all, expected));
    cr_expect_null(tr_rows_conversation(&l.rows, 0, " Yes.", 5));
    json_decref(expected);
    json_decref(all);
    release(&l);
}

Test(corpus, a_response_continues_an_answer_that_ends_the_prompt)
{
    options.chat_template = "plain";
    loaded_t l;
    load(&l, TR_KIND_PROMPTS,
         "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hi.\"}, {\"role\": "
         "\"assistant\", \"content\": \"Yes\"}]}\n");
    cr_expect_str_eq(tr_rows_prompt(&l.rows, 0), "\n\nHuman: Hi.\n\nAssistant: Yes");
    json_t *all = tr_rows_conversation(&l.rows, 0, ", no. And", 5);
    json_t *expected = json_loads("[{\"role\": \"user\", \"content\": \"Hi.\"}, {\"role\": "
                                  "\"assistant\", \"content\": \"Yes, no.\"}]",
                                  0, NULL);
    cr_expect(json_equal(all, expected));
    json_decref(expected);
    json_decref(all);
    release(&l);
}

Test(corpus, a_prompt_that_just_fits_is_taken_and_one_token_more_refused)
{
    static const char text[] =
        "{\"prompt\": \"One\"}\n\n{\"prompt\": \"One day a cat went to sea\"}\n";
    loaded_t l;
    load(&l, TR_KIND_PROMPTS, text);
    size_t length = l.rows.sequences[1].length;
    release(&l);
    options.limit = length;
    load(&l, TR_KIND_PROMPTS, text);
    release(&l);
    options.limit = length - 1;
    char *sentence = tr_format("prompt: the prompt has %zu tokens; at most %zu fit (most): shorten "
                               "it or take the row out",
                               length, length - 1);
    expect_bad(TR_KIND_PROMPTS, text, 3, sentence);
    free(sentence);
}
