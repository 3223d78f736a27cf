/// The judge `model`: a reward model's scores against PyTorch's (tests/golden/make_llama.py),
/// through text: the tokenizer made here has one printable character for each id, so a golden
/// sequence can be written down.
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/process_reward.h"
#include "common/hf/safetensors.h"
#include "tests/support/golden.h"
#include "tests/support/judging.h"
#include "tests/support/scratch.h"

#define MODELS TEST_SOURCE_DIR "/tests/golden/models"

enum { VOCABULARY = 61, TOKENS = 96, SEQUENCES = 5, POSITIONS = 64 };

static const char FIRST = 'A'; // the character of id 0; one more than the model knows: id 61, '~'

static char *directory;
static int32_t ids[TOKENS], starts[SEQUENCES + 1];
static float values[TOKENS];

static void copy_file(const char *name)
{
    char *source = tr_format(MODELS "/scalar/%s", name);
    size_t length;
    char *data = scratch_read(source, &length);
    char *path = scratch_write(directory, name, data, length);
    free(path);
    free(data);
    free(source);
}

/// template_id: what the tokenizer puts before every text; -1: nothing.
static void write_tokenizer(int template_id)
{
    json_t *vocabulary = json_object();
    for (int i = 0; i <= VOCABULARY; i++) {
        const char character[2] = {(char)(FIRST + i), '\0'};
        json_object_set_new(vocabulary, character, json_integer(i));
    }
    json_t *template =
        template_id < 0
            ? json_null()
            : json_pack("{s:s, s:[{s:{s:s}}, {s:{s:s}}], s:{s:{s:[i]}}}", "type",
                        "TemplateProcessing", "single", "SpecialToken", "id", "<s>", "Sequence",
                        "id", "A", "special_tokens", "<s>", "ids", template_id);
    json_t *decoder = json_pack("{s:s, s:[{s:s}]}", "type", "Sequence", "decoders", "type", "Fuse");
    json_t *model = json_pack("{s:s, s:o, s:[]}", "type", "BPE", "vocab", vocabulary, "merges");
    json_t *root =
        json_pack("{s:n, s:n, s:o, s:o, s:[], s:o}", "normalizer", "pre_tokenizer",
                  "post_processor", template, "decoder", decoder, "added_tokens", "model", model);
    char *text = json_dumps(root, 0);
    free(scratch_write(directory, "tokenizer.json", text, strlen(text)));
    free(text);
    json_decref(root);
}

static void open_directory(int template_id)
{
    tr_error_t err = {0};
    tr_safetensors_t *golden;
    directory = scratch_open();
    copy_file("config.json");
    copy_file("model.safetensors");
    write_tokenizer(template_id);
    cr_assert_eq(tr_safetensors_open(&golden, MODELS "/scalar/golden.safetensors", &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(tr_safetensors_copy(golden, "ids", TR_I32, ids, TOKENS, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_safetensors_copy(golden, "starts", TR_I32, starts, SEQUENCES + 1, &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(tr_safetensors_copy(golden, "values", TR_F32, values, TOKENS, &err), TR_OK, "%s",
                 err.text);
    tr_safetensors_close(&golden);
}

static json_t *options_of(const char *model, int threads)
{
    return json_pack("{s:s, s:i}", "model", model, "threads", threads);
}

/// The characters of count golden tokens from `first` on; owned by the caller.
static char *text_of(int32_t first, int32_t count)
{
    char *text = tr_calloc((size_t)count + 1, 1);
    for (int32_t i = 0; i < count; i++) {
        text[i] = (char)(FIRST + ids[first + i]);
    }
    return text;
}

/// Every beginning of every golden sequence, cut into prompt and response after `part` of it:
/// sample t ends at token t.
static void every_prefix(tr_sample_t *samples, double part)
{
    for (int32_t s = 0; s < SEQUENCES; s++) {
        for (int32_t t = starts[s]; t < starts[s + 1]; t++) {
            int32_t length = t + 1 - starts[s];
            int32_t prompt = (int32_t)(part * length);
            samples[t] = (tr_sample_t){.id = t,
                                       .prompt = text_of(starts[s], prompt),
                                       .response = text_of(starts[s] + prompt, length - prompt),
                                       .finish = "length"};
        }
    }
}

static void free_texts(tr_sample_t *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((char *)samples[i].prompt);
        free((char *)samples[i].response);
    }
}

static void score(judging_t *judge, float *scores, const tr_sample_t *samples, size_t count)
{
    tr_error_t err = {0};
    cr_assert_eq(tr_judge_model.score(judge->state, scores, samples, count, &err), TR_OK, "%s",
                 err.text);
}

static float score_text(judging_t *judge, const char *prompt, const char *response)
{
    const tr_sample_t sample = {
        .id = 7, .prompt = prompt, .response = response, .finish = "length"};
    float value;
    score(judge, &value, &sample, 1);
    return value;
}

static void expect_blamed(judging_t *judge, const char *response, const char *part)
{
    const tr_sample_t sample = {.id = 7, .prompt = "", .response = response, .finish = "length"};
    tr_error_t err = {0};
    float value;
    cr_assert_eq(tr_judge_model.score(judge->state, &value, &sample, 1, &err), TR_ERR_ARGUMENT,
                 "%s", err.text);
    cr_assert_eq(strncmp(err.text, "sample 7: ", 10), 0, "%s", err.text);
    cr_assert_not_null(strstr(err.text, part), "%s", err.text);
}

Test(model, the_score_is_the_heads_value_at_the_last_token)
{
    open_directory(-1);
    judging_t judge;
    judging_open(&judge, &tr_judge_model, options_of(directory, 2));
    tr_sample_t samples[TOKENS];
    float scores[TOKENS];
    every_prefix(samples, 0.5);
    score(&judge, scores, samples, TOKENS);
    expect_near("scores", scores, values, TOKENS, 2e-5, 2e-5);
    free_texts(samples, TOKENS);
    judging_close(&judge);
    scratch_close(&directory);
}

/// Makes the token of that id the tokenizer's end.
static void name_end(int32_t id)
{
    char *text = tr_format("{\"eos_token\": {\"content\": \"%s%c\"}}",
                           strchr("\\\"", FIRST + id) != NULL ? "\\" : "", FIRST + id);
    free(scratch_write(directory, "tokenizer_config.json", text, strlen(text)));
    free(text);
}

Test(model, a_finished_response_is_scored_at_its_end_token)
{
    open_directory(-1);
    tr_sample_t samples[TOKENS];
    every_prefix(samples, 0.5);
    // PyTorch's value one token later is the score of a prefix whose end is the token that follows.
    for (int32_t s = 0; s < SEQUENCES; s++) {
        for (int32_t t = starts[s]; t + 1 < starts[s + 1]; t++) {
            judging_t judge;
            float ended[2];
            tr_sample_t pair[] = {samples[t], samples[t]};
            pair[0].finish = t % 2 == 0 ? "eos" : "stop";
            name_end(ids[t + 1]);
            judging_open(&judge, &tr_judge_model, options_of(directory, 1));
            score(&judge, ended, pair, 2);
            // an end that stands there already is not added again
            const float expected[] = {values[ids[t] == ids[t + 1] ? t : t + 1], values[t]};
            expect_near("scores", ended, expected, 2, 2e-5, 2e-5);
            judging_close(&judge);
        }
    }
    free_texts(samples, TOKENS);
    scratch_close(&directory);
}

Test(model, columns_of_the_row_reach_the_judges_template)
{
    open_directory(-1);
    static const char template[] = "{% for t in tools or [] %}{{ t.name }}{% endfor %}{{ mark }}"
                                   "{% for m in messages %}{{ m.content }}{% endfor %}";
    free(scratch_write(directory, "chat_template.jinja", template, strlen(template)));
    char *name = text_of(starts[2], 1), *mark = text_of(starts[2] + 1, 1);
    char *said = text_of(starts[2] + 2, 1);
    judging_t judge;
    judging_open(&judge, &tr_judge_model, options_of(directory, 1));
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", "", "role",
                                 "assistant", "content", said);
    char *tools = tr_format("[{\"name\": \"%s\"}]", name);
    // The template writes the first three tokens of a golden sequence; without columns the third.
    json_t *columns =
        json_pack("{s:s, s:{s:s}}", "tools", tools, "chat_template_kwargs", "mark", mark);
    json_t *wrong = json_pack("{s:i}", "tools", 3);
    tr_sample_t sample = {.id = 7,
                          .prompt = "",
                          .response = said,
                          .finish = "length",
                          .messages = messages,
                          .columns = columns};
    tr_error_t err = {0};
    float found = 0.0f;
    score(&judge, &found, &sample, 1);
    expect_near("score", &found, &values[starts[2] + 2], 1, 2e-5, 2e-5);
    sample.columns = NULL;
    float bare = score_text(&judge, "", said);
    score(&judge, &found, &sample, 1);
    cr_expect_eq(found, bare);
    sample.columns = wrong;
    cr_expect_eq(tr_judge_model.score(judge.state, &found, &sample, 1, &err), TR_ERR_FORMAT);
    cr_expect_str_eq(err.text, "sample 7: tools: expected a list of functions");
    json_decref(wrong);
    json_decref(columns);
    json_decref(messages);
    free(tools);
    free(said);
    free(mark);
    free(name);
    judging_close(&judge);
    scratch_close(&directory);
}

/// Puts a line into the directory's config.json.
static void add_to_config(const char *line)
{
    char *path = tr_format("%s/config.json", directory);
    char *text = scratch_read(path, NULL);
    char *more = tr_format("{%s, %s", line, strchr(text, '{') + 1);
    free(scratch_write(directory, "config.json", more, strlen(more)));
    free(more);
    free(text);
    free(path);
}

Test(model, scores_are_normalized_as_the_model_says)
{
    open_directory(-1);
    add_to_config("\"score_mean\": 0.25, \"score_std\": 0.5");
    judging_t judge;
    judging_open(&judge, &tr_judge_model, options_of(directory, 1));
    tr_sample_t samples[TOKENS];
    float scores[TOKENS], expected[TOKENS];
    every_prefix(samples, 0.5);
    score(&judge, scores, samples, TOKENS);
    for (size_t i = 0; i < TOKENS; i++) {
        expected[i] = (values[i] - 0.25f) / 0.5f;
    }
    expect_near("scores", scores, expected, TOKENS, 4e-5, 4e-5);
    free_texts(samples, TOKENS);
    judging_close(&judge);
    scratch_close(&directory);
}

Test(model, neither_neighbours_nor_threads_nor_where_the_response_begins_change_a_bit)
{
    enum { COPIES = 3 }; // more tokens than go through the model at once
    open_directory(-1);
    judging_t one, three;
    judging_open(&one, &tr_judge_model, options_of(directory, 1));
    judging_open(&three, &tr_judge_model, options_of(directory, 3));
    tr_sample_t samples[COPIES * TOKENS], others[TOKENS];
    float together[COPIES * TOKENS], alone;
    every_prefix(samples, 0.3);
    every_prefix(others, 0.9);
    for (size_t copy = 1; copy < COPIES; copy++) {
        memcpy(samples + copy * TOKENS, samples, TOKENS * sizeof *samples);
    }
    score(&three, together, samples, (size_t)COPIES * TOKENS);
    for (size_t i = 0; i < (size_t)COPIES * TOKENS; i++) {
        score(&one, &alone, &others[i % TOKENS], 1);
        cr_assert_eq(memcmp(&alone, &together[i], sizeof alone), 0, "sample %zu: %a, not %a", i,
                     (double)alone, (double)together[i]);
    }
    free_texts(samples, TOKENS);
    free_texts(others, TOKENS);
    judging_close(&one);
    judging_close(&three);
    scratch_close(&directory);
}

Test(model, special_tokens_are_added_once)
{
    enum { WHICH = 4 };
    open_directory(-1);
    int32_t first = starts[WHICH], length = starts[WHICH + 1] - first;
    cr_assert_neq(ids[first], ids[first + 1]);
    write_tokenizer(ids[first]);
    judging_t judge;
    judging_open(&judge, &tr_judge_model, options_of(directory, 1));
    char *whole = text_of(first, length), *rest = text_of(first + 1, length - 1);
    float expected = values[first + length - 1];
    float added = score_text(&judge, rest, "");
    expect_near("added", &added, &expected, 1, 2e-5, 2e-5);
    cr_assert_eq(score_text(&judge, "", rest), added);
    cr_assert_eq(score_text(&judge, whole, ""), added);
    free(whole);
    free(rest);
    judging_close(&judge);
    scratch_close(&directory);
}

Test(model, a_directory_without_a_scalar_head_is_refused)
{
    judging_expect_refused(&tr_judge_model, options_of(MODELS "/tied", 1), TR_ERR_UNSUPPORTED,
                           "'" MODELS "/tied' has no scalar head");
}

Test(model, a_directory_without_a_tokenizer_is_refused)
{
    judging_expect_refused(&tr_judge_model, options_of(MODELS "/scalar", 1), TR_ERR_IO,
                           "tokenizer.json");
}

Test(model, a_sample_that_the_model_cannot_read_is_named)
{
    open_directory(-1);
    judging_t judge;
    judging_open(&judge, &tr_judge_model, options_of(directory, 1));
    char text[POSITIONS + 2] = {0};
    memset(text, 'B', POSITIONS);
    score_text(&judge, "", text); // as long as the model's positions
    text[POSITIONS] = 'B';
    expect_blamed(&judge, text, "65 tokens, the model takes 64");
    expect_blamed(&judge, "", "no tokens");
    expect_blamed(&judge, "A~", "token 61, the model's vocabulary has 61");
    judging_close(&judge);
    scratch_close(&directory);
}

/// The judge of steps that are single characters, of one kind of score.
static float score_of_steps(tr_step_score_t kind, const char *prompt, const char *response,
                            const char *separator)
{
    judging_t judge;
    judging_open(&judge, &tr_judge_model,
                 json_pack("{s:s, s:i, s:s, s:s}", "model", directory, "threads", 1, "steps",
                           tr_step_score_names[kind], "step_separator", separator));
    float value = score_text(&judge, prompt, response);
    judging_close(&judge);
    return value;
}

/// The golden sequences have no begin token.
static void forget_begin_token(void)
{
    static const char given[] = "\"bos_token_id\": 1";
    char *path = tr_format("%s/config.json", directory);
    char *text = scratch_read(path, NULL), *at = strstr(text, given);
    cr_assert_not_null(at, "%s", text);
    char *other =
        tr_format("%.*s\"bos_token_id\": null%s", (int)(at - text), text, at + strlen(given));
    free(scratch_write(directory, "config.json", other, strlen(other)));
    free(other);
    free(text);
    free(path);
}

/// Where a golden sequence of three tokens or more begins, whose third token does not occur before.
static int32_t long_sequence(void)
{
    for (int32_t s = 0; s < SEQUENCES; s++) {
        const int32_t *at = ids + starts[s];
        if (starts[s + 1] - starts[s] >= 3 && at[2] != at[1] && at[2] != at[0]) {
            return starts[s];
        }
    }
    cr_assert_fail("no golden sequence serves");
    return 0;
}

/// A response whose steps end at the third token of a golden sequence: the head's value there is
/// known.
Test(model, a_process_reward_model_reads_the_head_at_the_end_of_each_step)
{
    open_directory(-1);
    int32_t first = long_sequence();
    forget_begin_token();
    char *prompt = text_of(first, 1), *step = text_of(first + 1, 1);
    char *separator = text_of(first + 2, 1);
    char *ended = tr_format("%s%s", step, separator);
    char *twice = tr_format("%s%s", ended, ended);
    float chance = 1.0f / (1.0f + expf(-values[first + 2]));
    for (tr_step_score_t kind = TR_STEP_SCORE_MIN; kind <= TR_STEP_SCORE_PRODUCT; kind++) {
        cr_expect_float_eq(score_of_steps(kind, prompt, step, separator), chance, 2e-5f);
        cr_expect_float_eq(score_of_steps(kind, prompt, ended, separator), chance, 2e-5f);
    }
    float last = score_of_steps(TR_STEP_SCORE_LAST, prompt, twice, separator);
    float least = last < chance ? last : chance;
    cr_expect_float_eq(score_of_steps(TR_STEP_SCORE_MIN, prompt, twice, separator), least, 2e-5f);
    cr_expect_float_eq(score_of_steps(TR_STEP_SCORE_MEAN, prompt, twice, separator),
                       (chance + last) / 2.0f, 2e-5f);
    cr_expect_float_eq(score_of_steps(TR_STEP_SCORE_PRODUCT, prompt, twice, separator),
                       chance * last, 2e-5f);
    free(twice);
    free(ended);
    free(separator);
    free(step);
    free(prompt);
    scratch_close(&directory);
}

Test(model, a_step_ends_with_a_line_unless_said)
{
    tr_judge_t judge;
    tr_judge_init(&judge, &tr_judge_model);
    const tr_model_judge_t *options = judge.options;
    cr_expect_str_eq(options->step_separator, "\n");
    cr_expect_eq(options->steps, TR_STEP_SCORE_NONE);
    tr_judge_release(&judge);
}

Test(model, a_directory_and_an_end_of_steps_are_needed)
{
    judging_expect_refused(&tr_judge_model, json_object(), TR_ERR_ARGUMENT,
                           "model: expected a Hugging Face directory, found none");
    judging_expect_refused(&tr_judge_model, json_pack("{s:s}", "step_separator", ""),
                           TR_ERR_PROTOCOL, "step_separator: expected a text, found \"\"");
}
