/// Texts and conversations as tokens: begin and end tokens, where the prompt ends, and masks. The
/// tokenizer that ships here has one token for both begin and end, 0.
#include "common/data/sequence.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define MODEL TEST_SOURCE_DIR "/examples/models/stories"
#define SAY(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"

static tr_tokenizer_t *tokenizer;
static tr_encoder_t encoder;
static int32_t bos, eos;

static void setup(void)
{
    tr_error_t err = {0};
    cr_assert_eq(tr_tokenizer_new(&tokenizer, MODEL, &err), TR_OK, "%s", err.text);
    bos = tr_tokenizer_bos(tokenizer);
    eos = tr_tokenizer_eos(tokenizer);
    encoder = (tr_encoder_t){.tokenizer = tokenizer, .source.model = MODEL};
}

static void teardown(void)
{
    tr_encoder_release(&encoder);
    tr_tokenizer_destroy(&tokenizer);
}

TestSuite(sequence, .init = setup, .fini = teardown);

static json_t *value_of(const char *json)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    cr_assert_not_null(value, "%s", json);
    return value;
}

/// The text of tokens from..to-1, special ones too.
static void expect_tokens(const tr_sequence_t *s, size_t from, size_t to, const char *expected)
{
    char *text =
        tr_tokenizer_decode(NULL, tokenizer, s->ids + from, to - from, TR_DECODE_CONTINUES);
    cr_expect_str_eq(text, expected);
    free(text);
}

static tr_sequence_t whole(const char *json)
{
    tr_sequence_t s = {0};
    tr_error_t err = {0};
    json_t *value = value_of(json);
    cr_assert_eq(tr_encode_whole(&s, &encoder, value, false, &err), TR_OK, "%s", err.text);
    json_decref(value);
    return s;
}

static tr_sequence_t completion(const char *prompt, const char *rest)
{
    tr_sequence_t s = {0};
    tr_error_t err = {0};
    json_t *a = value_of(prompt), *b = value_of(rest);
    cr_assert_eq(tr_encode_completion(&s, &encoder, a, b, false, &err), TR_OK, "%s", err.text);
    json_decref(a);
    json_decref(b);
    return s;
}

static tr_sequence_t prompt(const char *json)
{
    tr_sequence_t s = {0};
    tr_error_t err = {0};
    json_t *value = value_of(json);
    cr_assert_eq(tr_encode_prompt(&s, &encoder, value, &err), TR_OK, "%s", err.text);
    json_decref(value);
    return s;
}

Test(sequence, a_text_begins_and_ends_once_whatever_it_brought)
{
    static const char *const texts[] = {"\"A cat.\"", "\"<|endoftext|>A cat.\"",
                                        "\"A cat.<|endoftext|>\""};
    for (size_t i = 0; i < 3; i++) {
        tr_sequence_t s = whole(texts[i]);
        expect_tokens(&s, 0, s.length, "<|endoftext|>A cat.<|endoftext|>");
        cr_expect_eq(s.prompt, 1);
        cr_expect_null(s.mask);
        tr_sequence_release(&s);
        cr_expect(s.ids == NULL && s.length == 0);
    }
}

Test(sequence, what_was_cut_has_no_end)
{
    encoder.source.name = "plain";
    const struct {
        const char *prompt, *rest, *expected;
    } cases[] = {
        {"\"A cat\"", "\" ran\"", "<|endoftext|>A cat ran"},
        {"[" SAY("user", "Hi.") "]", "[" SAY("assistant", "I") "]",
         "\n\nHuman: Hi.\n\nAssistant: I"},
    };
    for (size_t i = 0; i < 2; i++) {
        tr_sequence_t s = {0}, ended = completion(cases[i].prompt, cases[i].rest);
        tr_error_t err = {0};
        json_t *a = value_of(cases[i].prompt), *b = value_of(cases[i].rest);
        cr_assert_eq(tr_encode_completion(&s, &encoder, a, b, true, &err), TR_OK, "%s", err.text);
        expect_tokens(&s, 0, s.length, cases[i].expected);
        // the end is all that is missing
        cr_expect_eq(ended.length, s.length + 1);
        cr_expect_eq(ended.ids[s.length], eos);
        cr_expect_arr_eq(s.ids, ended.ids, s.length * sizeof *s.ids);
        json_decref(a);
        json_decref(b);
        tr_sequence_release(&s);
        tr_sequence_release(&ended);
    }
}

Test(sequence, a_prompt_has_no_end_and_a_text_keeps_its_own_words)
{
    tr_sequence_t s = prompt("\"A cat\"");
    expect_tokens(&s, 0, s.length, "<|endoftext|>A cat");
    cr_expect_eq(s.prompt, s.length);
    cr_expect_null(s.text);
    tr_sequence_release(&s);
}

Test(sequence, a_completion_follows_its_prompts_own_tokens)
{
    tr_sequence_t alone = prompt("\"The cat\""), s = completion("\"The cat\"", "\" slept.\"");
    cr_assert_eq(s.prompt, alone.length);
    cr_expect_arr_eq(s.ids, alone.ids, alone.length * sizeof *alone.ids);
    expect_tokens(&s, s.prompt, s.length, " slept.<|endoftext|>");
    cr_expect_eq(encoder.mismatches, 0);
    tr_sequence_release(&alone);
    tr_sequence_release(&s);
}

Test(sequence, a_token_across_the_prompts_end_is_counted_and_gives_way_to_the_prompts)
{
    tr_sequence_t alone = prompt("\"Once upon a ti\""), both = whole("\"Once upon a time\""),
                  s = completion("\"Once upon a ti\"", "\"me\"");
    cr_assert_neq(memcmp(alone.ids, both.ids, alone.length * sizeof *alone.ids), 0,
                  "this tokenizer splits here: take another example");
    size_t n = alone.length < both.length ? alone.length : both.length;
    cr_expect_eq(encoder.mismatches, 1);
    cr_expect_eq(s.length, both.length);
    cr_expect_eq(s.prompt, n);
    cr_expect_arr_eq(s.ids, alone.ids, n * sizeof *s.ids);
    cr_expect_arr_eq(s.ids + n, both.ids + n, (s.length - n) * sizeof *s.ids);
    tr_sequence_release(&alone);
    tr_sequence_release(&both);
    tr_sequence_release(&s);
}

static const char CONVERSATION[] = "[" SAY("user", "Hi.") ", " SAY("assistant", "Yes.") ", " SAY(
    "user", "Go.") ", " SAY("assistant", "No.") "]";

Test(sequence, masks_are_of_what_assistants_say)
{
    encoder.source.name = "plain";
    encoder.masks = true;
    tr_sequence_t s = whole(CONVERSATION);
    int32_t *said = tr_calloc(s.length, sizeof *said);
    size_t n = 0;
    for (size_t t = 0; t < s.length; t++) {
        if (s.mask[t]) {
            said[n++] = s.ids[t];
        }
    }
    expect_tokens(&(tr_sequence_t){.ids = said}, 0, n, " Yes.<|endoftext|> No.<|endoftext|>");
    free(said);
    tr_sequence_release(&s);
    encoder.masks = false;
    s = whole(CONVERSATION);
    cr_expect_null(s.mask);
    expect_tokens(&s, 0, s.length,
                  "\n\nHuman: Hi.\n\nAssistant: Yes.<|endoftext|>\n\nHuman: Go.\n\nAssistant: "
                  "No.<|endoftext|>");
    tr_sequence_release(&s);
}

Test(sequence, a_conversations_prompt_ends_where_the_assistant_begins)
{
    encoder.source.name = "plain";
    tr_sequence_t s = prompt("[" SAY("user", "Hi.") "]");
    expect_tokens(&s, 0, s.length, "\n\nHuman: Hi.\n\nAssistant:");
    cr_expect_str_eq(s.text, "\n\nHuman: Hi.\n\nAssistant:");
    tr_sequence_release(&s);
    s = completion("[" SAY("user", "Hi.") "]", "[" SAY("assistant", "Yes.") "]");
    expect_tokens(&s, s.prompt, s.length, " Yes.<|endoftext|>");
    tr_sequence_release(&s);
}

Test(sequence, a_model_without_a_template_takes_texts_only)
{
    tr_sequence_t s = {0};
    tr_error_t err = {0};
    json_t *value = value_of(CONVERSATION);
    cr_expect_eq(tr_encode_whole(&s, &encoder, value, false, &err), TR_ERR_UNSUPPORTED);
    cr_expect_str_eq(err.text, "'" MODEL "' has no chat template: data.chat_template (of a judge "
                               "chat_template) takes a file, or a name such as chatml or plain");
    json_decref(value);
    tr_sequence_release(&s);
}

Test(sequence, steps_are_marked_at_the_token_after_each)
{
    static const char *const texts[] = {"It was happy.", "No."};
    static const bool right[] = {true, false};
    tr_sequence_t s = {0};
    tr_error_t err = {0};
    cr_assert_eq(tr_encode_steps(&s, &encoder, "Once.", texts, right, 2, "\n", &err), TR_OK, "%s",
                 err.text);
    size_t seen = 0;
    for (size_t t = 0; t < s.length; t++) {
        if (s.mask[t] != 0) {
            cr_expect_eq(s.mask[t], seen == 0 ? TR_MASK_RIGHT_STEP : TR_MASK_WRONG_STEP);
            cr_expect_eq(s.ids[t - 1], s.ids[s.length - 1], "the separator ends a step");
            seen++;
        }
    }
    cr_expect_eq(seen, 2);
    cr_expect_eq(s.mask[s.length - 1], TR_MASK_WRONG_STEP);
    expect_tokens(&s, 0, s.prompt, "<|endoftext|>Once.");
    tr_sequence_release(&s);
    cr_expect_eq(tr_encode_steps(&s, &encoder, "Once.", texts, right, 2, "", &err),
                 TR_ERR_ARGUMENT);
}

Test(sequence, values_join_as_texts_or_as_conversations)
{
    static const char *const joins[][3] = {{"\"a\"", "\" b\"", "\"a b\""},
                                           {NULL, "\"b\"", "\"b\""},
                                           {"[1, 2]", "[3]", "[1, 2, 3]"},
                                           {NULL, "[3]", "[3]"}};
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        json_t *a = joins[i][0] != NULL ? value_of(joins[i][0]) : NULL, *b = value_of(joins[i][1]),
               *expected = value_of(joins[i][2]), *joined = tr_value_join(a, b);
        cr_expect(json_equal(joined, expected), "%s", joins[i][2]);
        json_decref(a);
        json_decref(b);
        json_decref(expected);
        json_decref(joined);
    }
}
