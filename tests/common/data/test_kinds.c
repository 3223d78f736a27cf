/// Which kind of rows a data set has, the columns that it needs, and what a row is read into.
#include "common/data/kinds.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

#define TAKES(kind) (1u << TR_KIND_##kind)

static char *folder;
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
                                  .step_separator = "\n",
                                  .chat_template = "plain"};
}

static void teardown(void)
{
    tr_tokenizer_destroy(&tokenizer);
    scratch_close(&folder);
}

TestSuite(kinds, .init = setup, .fini = teardown);

static tr_dataset_t *open_rows(const char *text)
{
    tr_dataset_t *dataset;
    tr_error_t err = {0};
    char *path = scratch_write(folder, "rows.jsonl", text, strlen(text));
    cr_assert_eq(tr_dataset_new(&dataset, (const char *const[]){path}, 1, &err), TR_OK, "%s",
                 err.text);
    free(path);
    return dataset;
}

Test(kinds, the_first_row_tells_the_kind_among_those_that_are_taken)
{
    static const unsigned sft = TAKES(PROMPT_COMPLETION) | TAKES(MESSAGES) | TAKES(TEXT);
    static const struct {
        const char *row;
        unsigned taken;
        tr_kind_t kind;
    } cases[] = {
        {"{\"text\": 1}", sft, TR_KIND_TEXT},
        {"{\"messages\": 1, \"text\": 1}", sft, TR_KIND_MESSAGES},
        {"{\"text\": 1, \"messages\": 1, \"completion\": 1}", sft, TR_KIND_PROMPT_COMPLETION},
        {"{\"other\": 1}", sft, TR_KIND_TEXT},
        {"{\"chosen\": 1}", TAKES(PAIRS), TR_KIND_PAIRS},
        {"{\"completion\": 1}", TAKES(PAIRS), TR_KIND_PAIRS},
        {"{\"chosen\": 1}", TAKES(STEPWISE) | TAKES(WHOLE_PAIRS), TR_KIND_WHOLE_PAIRS},
        {"{\"completions\": 1}", TAKES(STEPWISE) | TAKES(WHOLE_PAIRS), TR_KIND_STEPWISE},
        {"{\"chosen\": 1, \"label\": 1}", TAKES(UNPAIRED) | TAKES(LABELLED), TR_KIND_UNPAIRED},
        {"{\"completion\": 1}", TAKES(UNPAIRED) | TAKES(LABELLED), TR_KIND_LABELLED},
        {"{\"label\": 1, \"completion\": 1}", TAKES(LABELLED) | TAKES(PROMPT_COMPLETION),
         TR_KIND_LABELLED},
        {"{\"text\": 1}", TAKES(PROMPTS), TR_KIND_PROMPTS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_dataset_t *dataset = open_rows(cases[i].row);
        options.kinds = cases[i].taken;
        cr_expect_eq(tr_kind_of(dataset, &options), cases[i].kind, "%s", cases[i].row);
        tr_dataset_destroy(&dataset);
    }
}

/// Reads a row; sequences: [2], the caller's.
static tr_status read_of(tr_sequence_t *sequences, tr_kind_t kind, const tr_dataset_t *dataset,
                         size_t row, tr_error_t *err)
{
    tr_encoder_t encoder = {.tokenizer = tokenizer,
                            .source.name = options.chat_template,
                            .masks = options.assistant_only != NULL};
    json_t *columns;
    TR_TRY(tr_dataset_read(&columns, dataset, row, err));
    tr_status status = tr_kind_read(sequences, &encoder, kind, dataset, columns, &options, err);
    tr_encoder_release(&encoder);
    json_decref(columns);
    return status;
}

/// The first row is read; sequences: [2], the caller's.
static tr_status read_row(tr_sequence_t *sequences, tr_kind_t kind, const char *row,
                          tr_error_t *err)
{
    tr_dataset_t *dataset = open_rows(row);
    tr_status status = read_of(sequences, kind, dataset, 0, err);
    tr_dataset_destroy(&dataset);
    return status;
}

#define PAIR "\"chosen\": \"a\", \"rejected\": \"b\""

Test(kinds, columns_that_are_needed_are_demanded_of_every_row)
{
    // The first row is good, and says of columns that may be absent whether all have them.
    static const struct {
        tr_kind_t kind;
        const char *rows, *sentence;
    } cases[] = {
        {TR_KIND_TEXT, "{\"text\": \"a\"}\n{}\n", "text: the column is missing"},
        {TR_KIND_MESSAGES, "{\"messages\": [1]}\n{\"messages\": []}\n",
         "messages: the list is empty"},
        {TR_KIND_PROMPTS, "{\"prompt\": \"a\"}\n{}\n", "prompt: the column is missing"},
        {TR_KIND_PROMPTS, "{\"prompt\": \"a\"}\n{\"prompt\": \"\"}\n", "prompt: the text is empty"},
        {TR_KIND_PROMPTS, "{\"prompt\": \"a\"}\n{\"prompt\": 7}\n",
         "prompt: expected a text or a list of messages, found a number"},
        {TR_KIND_PROMPTS, "{\"prompt\": \"a\"}\n{\"prompt\": null}\n",
         "prompt: expected a text or a list of messages, found null"},
        {TR_KIND_PROMPTS, "{\"prompt\": \"a\"}\n{\"prompt\": {\"role\": \"user\"}}\n",
         "prompt: expected a text or a list of messages, found an object"},
        {TR_KIND_PROMPT_COMPLETION,
         "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n",
         "completion: the column is missing"},
        {TR_KIND_PAIRS, "{" PAIR ", \"prompt\": \"c\"}\n{" PAIR "}\n",
         "prompt: the column is missing"},
        {TR_KIND_UNPAIRED, "{" PAIR "}\n{\"chosen\": \"a\"}\n", "rejected: the column is missing"},
        {TR_KIND_WHOLE_PAIRS, "{" PAIR ", \"margin\": 1}\n{" PAIR "}\n",
         "margin: expected a number"},
        {TR_KIND_STEPWISE, "{}\n{\"prompt\": \"a\", \"completions\": [1], \"labels\": 7}\n",
         "labels: expected a text or a list of messages, found a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_sequence_t s[2] = {{0}};
        tr_error_t err = {0};
        tr_dataset_t *dataset = open_rows(cases[i].rows);
        cr_expect_eq(read_of(s, cases[i].kind, dataset, 1, &err), TR_ERR_FORMAT);
        cr_expect_str_eq(err.text, cases[i].sentence);
        tr_dataset_destroy(&dataset);
        tr_sequence_release(&s[0]);
        tr_sequence_release(&s[1]);
    }
}

Test(kinds, what_a_column_cannot_hold_matters_where_the_column_is_read)
{
    static const char good[] = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    static const struct {
        const char *row, *sentence; // NULL: it is taken
    } cases[] = {
        {"{\"prompt\": \"a\", \"completion\": \"b\", \"id\": 18446744073709551615, \"score\": "
         "[NaN, Infinity, 1e400], \"raw\": \"\\u0000 \\ud800\", \"raw\": {\"b\": 1, \"b\": 2}}",
         NULL},
        {"{\"prompt\": \"a\", \"completion\": \"b\", \"finish\": NaN}", "finish: found NaN"},
        {"{\"prompt\": \"a\\u0000\", \"completion\": \"b\"}", "prompt: found a NUL character"},
        {"{\"prompt\": \"a\", \"completion\": \"\\udc00\"}",
         "completion: found half of a surrogate pair, which is no character"},
        {"{\"prompt\": \"a\", \"completion\": NaN}", "completion: found NaN"},
        {"{\"prompt\": \"a\", \"prompt\": \"c\", \"completion\": \"b\"}",
         "prompt: found the column twice"},
        {"{\"prompt\": [{\"role\": \"user\", \"content\": \"a\", \"content\": \"b\"}], "
         "\"completion\": \"b\"}",
         "prompt: found a key twice"},
        {"{\"prompt\": null, \"completion\": 3}", "prompt: expected a text or a list of messages, "
                                                  "found null; completion: expected a text or "
                                                  "a list of messages, found a number"},
        {"{\"prompt\": [{\"role\": \"user\"}], \"completion\": [{\"role\": \"assistant\", "
         "\"content\": null}]}",
         "prompt[0]: content: missing; completion[0]: content: expected a text or a list of parts"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_sequence_t s = {0};
        tr_error_t err = {0};
        char *rows = tr_format("%s%s\n", good, cases[i].row);
        tr_dataset_t *dataset = open_rows(rows);
        tr_status status = read_of(&s, TR_KIND_PROMPT_COMPLETION, dataset, 1, &err);
        cr_expect_eq(status, cases[i].sentence == NULL ? TR_OK : TR_ERR_FORMAT, "%s", cases[i].row);
        cr_expect_str_eq(err.text, cases[i].sentence == NULL ? "" : cases[i].sentence);
        tr_sequence_release(&s);
        tr_dataset_destroy(&dataset);
        free(rows);
    }
}

Test(kinds, prompt_and_text_may_have_other_names)
{
    static const char row[] = "{\"question\": \"a\", \"story\": \"b\"}\n";
    tr_error_t err = {0};
    tr_sequence_t s = {0};
    options.prompt_column = "question";
    options.text_column = "story";
    cr_expect_eq(read_row(&s, TR_KIND_PROMPTS, row, &err), TR_OK, "%s", err.text);
    tr_sequence_release(&s);
    cr_expect_eq(read_row(&s, TR_KIND_TEXT, row, &err), TR_OK, "%s", err.text);
    tr_sequence_release(&s);
    tr_dataset_t *dataset = open_rows(row);
    options.kinds = TAKES(TEXT) | TAKES(PROMPTS);
    cr_expect_eq(tr_kind_of(dataset, &options), TR_KIND_TEXT);
    options.prompt_column = "prompt";
    cr_expect_eq(read_of(&s, TR_KIND_PROMPTS, dataset, 0, &err), TR_ERR_FORMAT);
    tr_dataset_destroy(&dataset);
}

Test(kinds, margins_come_with_whole_pairs)
{
    tr_dataset_t *with = open_rows("{" PAIR ", \"margin\": 1}\n"),
                 *without = open_rows("{" PAIR "}");
    cr_expect(tr_kind_has_margins(TR_KIND_WHOLE_PAIRS, with));
    cr_expect_not(tr_kind_has_margins(TR_KIND_WHOLE_PAIRS, without));
    cr_expect_not(tr_kind_has_margins(TR_KIND_PAIRS, with));
    tr_dataset_destroy(&with);
    tr_dataset_destroy(&without);
}

static void expect_sequence(const tr_sequence_t *s, const char *prompt, const char *rest)
{
    char *a = tr_tokenizer_decode(NULL, tokenizer, s->ids, s->prompt, TR_DECODE_SKIP_SPECIAL);
    char *b = tr_tokenizer_decode(NULL, tokenizer, s->ids + s->prompt, s->length - s->prompt,
                                  TR_DECODE_SKIP_SPECIAL | TR_DECODE_CONTINUES);
    cr_expect_str_eq(a, prompt);
    cr_expect_str_eq(b, rest);
    free(a);
    free(b);
}

#define USER(text) "[{\"role\": \"user\", \"content\": \"" text "\"}]"
#define ANSWER(text) "[{\"role\": \"assistant\", \"content\": \"" text "\"}]"

#define HI "{\"role\": \"user\", \"content\": \"Hi.\"}"
#define WITHIN                                              \
    "{\"prompt\": \"Hi.\", \"chosen\": [" HI                \
    ", {\"role\": \"assistant\", \"content\": \"Yes.\"}], " \
    "\"rejected\": [" HI ", {\"role\": \"assistant\", \"content\": \"No.\"}]}"
#define HUMAN "\n\nHuman: Hi.\n\nAssistant:"

Test(kinds, each_reads_its_row_into_prompts_and_what_follows)
{
    static const struct {
        tr_kind_t kind;
        const char *row;
        struct {
            const char *prompt, *rest;
        } sequences[2];
    } cases[] = {
        {TR_KIND_TEXT, "{\"text\": \"A cat.\"}", {{"", "A cat."}}},
        {TR_KIND_MESSAGES, "{\"messages\": " USER("Hi.") "}", {{"\n", "\nHuman: Hi."}}},
        {TR_KIND_PROMPTS, "{\"prompt\": \"A cat\"}", {{"A cat", ""}}},
        {TR_KIND_PROMPT_COMPLETION,
         "{\"prompt\": \"A cat\", \"completion\": \" ran.\"}",
         {{"A cat", " ran."}}},
        {TR_KIND_LABELLED,
         "{\"prompt\": \"A cat\", \"completion\": \" ran.\", \"label\": true}",
         {{"A cat", " ran."}}},
        {TR_KIND_PAIRS,
         "{\"prompt\": \"A cat\", \"chosen\": \" ran.\", \"rejected\": \" no.\"}",
         {{"A cat", " ran."}, {"A cat", " no."}}},
        {TR_KIND_PAIRS,
         "{\"chosen\": \"A cat ran.\", \"rejected\": \"A cat slept.\"}",
         {{"A cat", " ran."}, {"A cat", " slept."}}},
        {TR_KIND_UNPAIRED,
         "{\"prompt\": " USER("Hi.") ", \"chosen\": " ANSWER("Yes.") ", \"rejected\": " ANSWER(
             "No.") "}",
         {{"\n\nHuman: Hi.\n\nAssistant:", " Yes."}, {"\n\nHuman: Hi.\n\nAssistant:", " No."}}},
        {TR_KIND_WHOLE_PAIRS,
         "{\"prompt\": \"A cat\", \"chosen\": \" ran.\", \"rejected\": \" no.\"}",
         {{"", "A cat ran."}, {"", "A cat no."}}},
        // as TRL's maybe_extract_prompt
        {TR_KIND_PAIRS, WITHIN, {{HUMAN, " Yes."}, {HUMAN, " No."}}},
        {TR_KIND_WHOLE_PAIRS,
         WITHIN,
         {{"\n", "\nHuman: Hi.\n\nAssistant: Yes."}, {"\n", "\nHuman: Hi.\n\nAssistant: No."}}},
        {TR_KIND_STEPWISE,
         "{\"prompt\": \"A cat\", \"completions\": [\"It ran.\"], \"labels\": [true]}",
         {{"A cat", "It ran.\n\n"}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_sequence_t sequences[2] = {{0}};
        tr_error_t err = {0};
        size_t n = cases[i].sequences[1].prompt == NULL ? 1 : 2;
        cr_assert_eq(tr_kind_sequences(cases[i].kind), n, "%s", cases[i].row);
        cr_assert_eq(read_row(sequences, cases[i].kind, cases[i].row, &err), TR_OK, "%s: %s",
                     cases[i].row, err.text);
        for (size_t k = 0; k < n; k++) {
            expect_sequence(&sequences[k], cases[i].sequences[k].prompt,
                            cases[i].sequences[k].rest);
            tr_sequence_release(&sequences[k]);
        }
    }
}

/// Whether the row's sequences end with the end token; ends: [2].
static void expect_ends(tr_kind_t kind, const char *row, const bool ends[2])
{
    tr_sequence_t s[2] = {{0}};
    tr_error_t err = {0};
    cr_assert_eq(read_row(s, kind, row, &err), TR_OK, "%s: %s", row, err.text);
    for (size_t i = 0; i < tr_kind_sequences(kind); i++) {
        cr_expect_eq(s[i].ids[s[i].length - 1] == tr_tokenizer_eos(tokenizer), ends[i], "%s", row);
        tr_sequence_release(&s[i]);
    }
}

Test(kinds, a_response_that_was_cut_has_no_end)
{
    static const struct {
        tr_kind_t kind;
        const char *row;
        bool ends[2];
    } cases[] = {
        {TR_KIND_TEXT, "{\"text\": \"A\", \"finish\": \"length\"}", {false}},
        {TR_KIND_TEXT, "{\"text\": \"A\", \"finish\": \"stop\"}", {true}},
        {TR_KIND_TEXT, "{\"text\": \"A\", \"finish\": \"eos\"}", {true}},
        {TR_KIND_TEXT, "{\"text\": \"A\", \"finish\": null}", {true}},
        {TR_KIND_TEXT, "{\"text\": \"A\"}", {true}},
        {TR_KIND_MESSAGES, "{\"messages\": " ANSWER("A") ", \"finish\": \"length\"}", {false}},
        {TR_KIND_PROMPT_COMPLETION,
         "{\"prompt\": \"A\", \"completion\": \" b\", \"finish\": \"length\"}",
         {false}},
        {TR_KIND_LABELLED,
         "{\"prompt\": \"A\", \"completion\": \" b\", \"label\": true, \"finish\": \"length\"}",
         {false}},
        {TR_KIND_PAIRS, "{" PAIR ", \"finish_chosen\": \"length\"}", {false, true}},
        {TR_KIND_UNPAIRED, "{" PAIR ", \"finish_rejected\": \"length\"}", {true, false}},
        {TR_KIND_WHOLE_PAIRS,
         "{" PAIR ", \"finish_chosen\": \"stop\", \"finish_rejected\": \"length\"}",
         {true, false}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_ends(cases[i].kind, cases[i].row, cases[i].ends);
    }
}

Test(kinds, labels_are_the_rows_or_the_chosen_sides)
{
    tr_sequence_t s[2] = {{0}};
    tr_error_t err = {0};
    read_row(s, TR_KIND_PAIRS, "{\"prompt\": \"A\", \"chosen\": \" b\", \"rejected\": \" c\"}",
             &err);
    cr_expect(s[0].label && !s[1].label);
    tr_sequence_release(&s[0]);
    tr_sequence_release(&s[1]);
    read_row(s, TR_KIND_LABELLED, "{\"prompt\": \"A\", \"completion\": \" b\", \"label\": false}",
             &err);
    cr_expect_not(s[0].label);
    tr_sequence_release(&s[0]);
}

Test(kinds, a_prompt_is_learnt_too_where_the_completion_is_not_all)
{
    static const char *const rows[] = {
        "{\"prompt\": \"A cat\", \"completion\": \" ran.\"}",
        "{\"prompt\": " USER("Hi.") ", \"completion\": " ANSWER("Yes.") "}"};
    options.completion_only = false;
    for (size_t i = 0; i < 2; i++) {
        tr_sequence_t s = {0};
        tr_error_t err = {0};
        cr_assert_eq(read_row(&s, TR_KIND_PROMPT_COMPLETION, rows[i], &err), TR_OK, "%s", err.text);
        cr_expect_eq(s.prompt, 1);
        tr_sequence_release(&s);
    }
}

static void expect_bad(tr_kind_t kind, const char *row, const char *sentence)
{
    tr_sequence_t s[2] = {{0}};
    tr_error_t err = {0};
    cr_expect_neq(read_row(s, kind, row, &err), TR_OK, "%s", row);
    cr_expect_str_eq(err.text, sentence);
    tr_sequence_release(&s[0]);
    tr_sequence_release(&s[1]);
}

#define TALK "\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}]"

Test(kinds, what_goes_to_the_chat_template_is_of_its_type_where_there_is_a_conversation)
{
    tr_sequence_t s[2] = {{0}};
    tr_error_t err = {0};
    expect_bad(TR_KIND_PROMPTS, "{" TALK ", \"tools\": 3}", "tools: expected a list of functions");
    expect_bad(TR_KIND_PROMPTS, "{" TALK ", \"tools\": \"[\"}",
               "tools: expected a list of functions");
    expect_bad(TR_KIND_PROMPTS, "{" TALK ", \"chat_template_kwargs\": []}",
               "chat_template_kwargs: expected an object");
    cr_expect_eq(read_row(s, TR_KIND_PROMPTS,
                          "{\"prompt\": \"a\", \"tools\": 3, \"chat_template_kwargs\": []}", &err),
                 TR_OK, "%s", err.text);
    tr_sequence_release(&s[0]);
    cr_expect_eq(read_row(s, TR_KIND_PROMPTS, "{" TALK ", \"tools\": \"[]\"}", &err), TR_OK, "%s",
                 err.text);
    tr_sequence_release(&s[0]);
}

Test(kinds, what_is_wrong_with_a_row_is_said_of_its_column)
{
    expect_bad(TR_KIND_TEXT, "{\"text\": [\"a\"]}",
               "text: expected a text, found a list (of messages? they stand in the column "
               "`messages`)");
    expect_bad(TR_KIND_MESSAGES, "{\"messages\": [\"a\"]}",
               "messages: expected a list of messages");
    expect_bad(TR_KIND_PROMPTS, "{\"prompt\": [\"a\"]}",
               "prompt: expected a text or a list of messages");
    expect_bad(TR_KIND_PROMPT_COMPLETION, "{\"prompt\": \"a\", \"completion\": [\"b\"]}",
               "completion: expected a text or a list of messages");
    expect_bad(TR_KIND_WHOLE_PAIRS, "{\"chosen\": [\"a\"], \"rejected\": \"b\"}",
               "chosen: expected a text or a list of messages");
    expect_bad(TR_KIND_PROMPT_COMPLETION, "{\"prompt\": \"a\", \"completion\": " ANSWER("b") "}",
               "prompt is a text and completion a list of messages: make them one kind");
    static const tr_kind_t pairs[] = {TR_KIND_PAIRS, TR_KIND_WHOLE_PAIRS};
    for (size_t i = 0; i < 2; i++) { // the prompt is no message of both
        expect_bad(
            pairs[i],
            "{\"prompt\": \"b\", \"chosen\": " ANSWER("b") ", \"rejected\": " ANSWER("c") "}",
            "prompt is a text and chosen a list of messages: make them one kind");
        expect_bad(pairs[i], "{\"chosen\": \"a\", \"rejected\": " ANSWER("b") "}",
                   "chosen is a text and rejected a list of messages: make them one kind");
    }
    expect_bad(TR_KIND_LABELLED, "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": 1}",
               "label: expected true or false, found a number");
    expect_bad(TR_KIND_TEXT, "{\"text\": \"a\", \"finish\": \"tired\"}",
               "finish: expected \"stop\", \"eos\" or \"length\"");
    expect_bad(TR_KIND_PAIRS, "{" PAIR ", \"finish_rejected\": 1}",
               "finish_rejected: expected \"stop\", \"eos\" or \"length\"");
    expect_bad(TR_KIND_WHOLE_PAIRS, "{" PAIR ", \"margin\": \"big\"}", "margin: expected a number");
    expect_bad(TR_KIND_WHOLE_PAIRS, "{" PAIR ", \"margin\": 1e39}", "margin: expected a number");
    expect_bad(TR_KIND_STEPWISE,
               "{\"prompt\": \"a\", \"completions\": [\"b\"], \"labels\": [true, true]}",
               "completions, labels: expected lists of one length, found 1 and 2 items");
    expect_bad(TR_KIND_STEPWISE, "{\"prompt\": \"a\", \"completions\": [\"b\"], \"labels\": [1]}",
               "completions, labels: item 0: expected a text, and true or false");
    expect_bad(TR_KIND_STEPWISE,
               "{\"prompt\": " USER("a") ", \"completions\": [\"b\"], \"labels\": [true]}",
               "prompt: expected a text");
}

Test(kinds, all_that_is_wrong_with_a_row_is_said)
{
    expect_bad(TR_KIND_LABELLED,
               "{\"prompt\": 1, \"completion\": \"\", \"label\": 1, \"finish\": 2}",
               "prompt: expected a text or a list of messages, found a number; completion: the "
               "text is empty; label: expected true or false, found a number; finish: expected "
               "\"stop\", \"eos\" or \"length\"");
    expect_bad(TR_KIND_MESSAGES,
               "{\"messages\": [{\"role\": \"user\", \"content\": 1}, {\"role\": 2}, 3, {\"role\": "
               "\"user\", \"content\": [{\"type\": \"image\"}, {}]}], \"tools\": 3, "
               "\"chat_template_kwargs\": 4, \"finish\": 5}",
               "messages[0]: content: expected a text or a list of parts; messages[1]: role: "
               "expected a string; content: missing; messages[2]: expected an object with role and "
               "content; messages[3]: content: a part of the type 'image' is not understood; texts "
               "are; content: expected parts with a type; finish: expected \"stop\", \"eos\" or "
               "\"length\"; tools: expected a list of functions; chat_template_kwargs: expected an "
               "object");
    expect_bad(TR_KIND_WHOLE_PAIRS,
               "{\"chosen\": [\"a\"], \"rejected\": \"b\", \"margin\": \"big\", "
               "\"finish_chosen\": 1, \"finish_rejected\": 2}",
               "margin: expected a number; chosen: expected a text or a list of messages; "
               "finish_chosen: expected \"stop\", \"eos\" or \"length\"; finish_rejected: expected "
               "\"stop\", \"eos\" or \"length\"");
    expect_bad(TR_KIND_STEPWISE,
               "{\"prompt\": [\"a\"], \"completions\": [\"b\", 1], \"labels\": [1, true]}",
               "prompt: expected a text; completions, labels: item 0: expected a text, and true or "
               "false; completions, labels: item 1: expected a text, and true or false");
}

Test(kinds, what_does_not_fit_is_said_with_the_limit_and_its_key)
{
    options.limit = 3;
    expect_bad(TR_KIND_PROMPTS, "{\"prompt\": \"a cat and a dog\"}",
               "prompt: the prompt has 6 tokens; at most 3 fit (most): shorten it or take the row "
               "out");
    expect_bad(TR_KIND_PROMPT_COMPLETION,
               "{\"prompt\": \"a cat and a dog\", \"completion\": \" ran\"}",
               "nothing is left to learn within 3 tokens (most): shorten the prompt or take the "
               "row out");
    expect_bad(
        TR_KIND_PAIRS,
        "{\"prompt\": \"a cat and a dog\", \"chosen\": \" ran\", \"rejected\": \" no\"}",
        "chosen: nothing is left to learn within 3 tokens (most): shorten the prompt or take "
        "the row out; rejected: nothing is left to learn within 3 tokens (most): shorten the "
        "prompt or take the row out");
    expect_bad(TR_KIND_WHOLE_PAIRS, "{\"chosen\": \"a cat and a dog\", \"rejected\": \"b\"}",
               "chosen: 7 tokens, where 1 to 3 fit (most): shorten it or take the row out");
    expect_bad(TR_KIND_STEPWISE,
               "{\"prompt\": \"a cat\", \"completions\": [\"b\"], \"labels\": [true]}",
               "no step ends within 3 tokens (most): shorten the prompt or take the row out");
    options.assistant_only = "assistants";
    expect_bad(TR_KIND_TEXT, "{\"text\": \"a\"}", "assistants needs messages, found a text");
    expect_bad(TR_KIND_MESSAGES, "{\"messages\": " USER("a cat and a dog") "}",
               "no assistant speaks within 3 tokens (most), and assistants learns nothing else");
    expect_bad(TR_KIND_MESSAGES, // one says something, but later
               "{\"messages\": [{\"role\": \"user\", \"content\": \"a cat and a dog\"}, "
               "{\"role\": \"assistant\", \"content\": \"Yes.\"}]}",
               "no assistant speaks within 3 tokens (most), and assistants learns nothing else");
    options.assistant_only = NULL;
    options.keep_end = true; // then a prompt may be as long as it likes
    tr_sequence_t s = {0};
    tr_error_t err = {0};
    cr_expect_eq(read_row(&s, TR_KIND_PROMPT_COMPLETION,
                          "{\"prompt\": \"a cat and a dog\", \"completion\": \" ran\"}", &err),
                 TR_OK, "%s", err.text);
    tr_sequence_release(&s);
}
