// The judge `model`: a Hugging Face directory with a scalar head.
//
// The score is what AutoModelForSequenceClassification gives for prompt and response, encoded as
// one by the directory's own tokenizer and by the function that encodes the rows of `algorithm:
// reward` (common/data/sequence.h): a finished response has the tokenizer's end token, or its
// template's end of turn, and a cut one has neither. It is the head's value at the last token.
// Where its config.json has score_mean and score_std (reward.normalize), less the mean, over the
// deviation. With `steps` it is a process reward model: the response is split at each
// step_separator, and the chances that the steps are right, the sigmoid of the head's value at the
// end of each, become one score in [0, 1].
#include <stdlib.h>
#include <string.h>

#include "common/algo/process_reward.h"
#include "common/base/log.h"
#include "common/data/kinds.h"
#include "common/data/sequence.h"
#include "common/judge/judge.h"
#include "common/model/response.h"
#include "common/tensor/device.h"
#include "common/text/finish.h"
#include "common/text/steps.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"

#define FIELD(...) TR_FIELD(tr_model_judge_t, __VA_ARGS__)

static const tr_field_t fields[] = {
    FIELD(workers, TR_FIELD_WHOLE, "1", .range = &tr_range_to_thousand, .local = true,
          .help = "Processes."),
    FIELD(device, TR_FIELD_TEXT, "cpu", .names = TR_NAMES_DEVICE, .help = "Where it computes."),
    FIELD(memory, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_gibibytes,
          .when = "device", .is = "cuda", .help = TR_GPU_MEMORY_HELP),
    FIELD(threads, TR_FIELD_WHOLE, "0", .range = &tr_range_0_to_thousand,
          .help = "0: one for each processor."),
    FIELD(precision, TR_FIELD_CHOICE, "auto", .choices = tr_precision_names, .message_only = true,
          .help = "The run's."),
    FIELD(model, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_MODEL,
          .help = "A model with a scalar head."),
    FIELD(adapter, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_DIRECTORY,
          .help = "An adapter of it, a directory as PEFT saves it, which may have the scalar head; "
                  "null: none."),
    FIELD(chat_template, TR_FIELD_TEXT, "null", .nullable = true, .names = TR_NAMES_TEMPLATE,
          .when = "steps", .is = "null",
          .help = "How it reads conversations, as `data.chat_template`; null: by the model's own "
                  "template, and without one as the policy's template writes them."),
    FIELD(steps, TR_FIELD_CHOICE, "null", .choices = tr_step_score_names,
          .help = "For a process reward model: the score is the minimum, the mean, the last or the "
                  "product of the probabilities that each step of a response is correct; null: the "
                  "model scores whole responses."),
    FIELD(step_separator, TR_FIELD_TEXT, "\"\\n\"", .when = "steps", .is = "min|mean|last|product",
          .help = "The text that ends a step of a response."),
};
static const tr_fields_t table = TR_FIELDS(tr_model_judge_t, fields);

/// The option is nullable only so that an entry without it is refused here, with a sentence.
static char *check(const char **key, const void *options)
{
    *key = "model";
    return ((const tr_model_judge_t *)options)->model != NULL
               ? NULL
               : tr_strdup("expected a Hugging Face directory, found none");
}

typedef struct state {
    const tr_model_judge_t *options; // borrowed
    const tr_judge_host_t *host;     // borrowed
    tr_backend_t *backend;
    tr_tokenizer_t *tokenizer;
    tr_encoder_t encoder;
    tr_model_t *model;
    tr_response_pass_t *pass;
} state_t;

/// Every sample's tokens, one sample after another.
typedef struct encoded {
    tr_ids_t ids;
    int32_t *starts; // [count + 1]
} encoded_t;

/// Also after load failed half way: each part copes with NULL.
static void model_close(void *state)
{
    state_t *judge = state;
    tr_response_pass_destroy(&judge->pass);
    tr_model_destroy(&judge->model);
    tr_encoder_release(&judge->encoder);
    tr_tokenizer_destroy(&judge->tokenizer);
    tr_backend_close(&judge->backend);
    free(judge);
}

/// Asked before the weights are loaded: config.json is small.
static tr_status require_scalar_head(const char *directory, const char *adapter, tr_error_t *err)
{
    tr_model_config_t config;
    TR_TRY(tr_model_config_load_adapted(&config, directory, adapter, err));
    if (!config.scalar_head) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "'%s' has no scalar head (a reward model's config.json has the architecture "
                       "of sequence classification with one label)",
                       directory);
    }
    return TR_OK;
}

static tr_status load(state_t *judge, tr_error_t *err)
{
    const tr_model_judge_t *options = judge->options;
    const tr_device_options_t device = {
        .device = options->device,
        .precision = (tr_precision_t)options->precision,
        // `--threads` of the process goes before the recipe's
        .threads = judge->host->threads > 0 ? judge->host->threads : options->threads,
        // GiB to bytes; 0 stays 0, all that is free
        .memory = (size_t)(options->memory * 0x1p30),
    };
    TR_TRY(require_scalar_head(options->model, options->adapter, err));
    // the judge's own tokenizer: the policy's ids mean nothing to another model
    TR_TRY(tr_tokenizer_new(&judge->tokenizer, options->model, err));
    judge->encoder =
        (tr_encoder_t){.tokenizer = judge->tokenizer,
                       .source = {.name = options->chat_template, .model = options->model}};
    TR_TRY(tr_backend_open(&judge->backend, &device, err));
    TR_TRY(tr_model_open(&judge->model, options->model, options->adapter, judge->backend,
                         TR_MODEL_DECODES, err));
    // reads the head's value at the last token of a sequence
    judge->pass = tr_response_pass_new(judge->model);
    return TR_OK;
}

/// options and host are borrowed: the caller keeps them until close.
static tr_status model_open(void **state, const void *options, const tr_judge_host_t *host,
                            tr_error_t *err)
{
    // zeroed, so that model_close copes with what was not opened
    state_t *judge = tr_calloc(1, sizeof *judge);
    judge->options = options;
    judge->host = host;
    tr_status status = load(judge, err);
    if (status != TR_OK) {
        model_close(judge);
        return status;
    }
    tr_log(TR_LOG_INFO, "judge", "model=%s device=%s form=%s \"ready\"", judge->options->model,
           judge->backend->ops->name, judge->backend->form);
    *state = judge;
    return TR_OK;
}

/// Between passes: a judge that was asked to leave does not finish a long request.
static bool stopping(const state_t *judge)
{
    return judge->host->stopping != NULL && judge->host->stopping();
}

/// A last token there is, all have a row in the embedding, and each a position.
static tr_status check_ids(const state_t *judge, const int32_t *ids, size_t count, tr_error_t *err)
{
    const tr_model_config_t *config = tr_model_config(judge->model);
    if (count == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "prompt and response together have no tokens");
    }
    // cutting would score another text than the one that was generated
    if (count > config->max_positions) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "prompt and response have %zu tokens, the model takes %zu; "
                       "shorten data.max_prompt_length or generation.max_new_tokens",
                       count, config->max_positions);
    }
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= config->vocabulary) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "the tokenizer gives token %d, the model's vocabulary has %zu", ids[i],
                           config->vocabulary);
        }
    }
    return TR_OK;
}

/// The sample as a row of `algorithm: reward` has it: one text, or the conversation that ends with
/// the response, with what the row's columns tell the template. *value: a new reference.
static tr_status read_sample(json_t **value, state_t *judge, const tr_sample_t *sample,
                             tr_error_t *err)
{
    if (sample->messages != NULL) {
        TR_TRY(tr_encoder_find_chat(&judge->encoder, err));
    }
    if (sample->messages == NULL || judge->encoder.chat == NULL) {
        // as one text: a token may reach over the border between the two
        char *text = tr_format("%s%s", sample->prompt, sample->response);
        *value = json_string(text);
        free(text);
    } else {
        TR_TRY(tr_row_extras(&judge->encoder, sample->columns, err));
        *value = json_incref((json_t *)sample->messages);
    }
    TR_ASSERT(*value != NULL, "a sample that is no text");
    return TR_OK;
}

static tr_status encode_sample(tr_ids_t *all, state_t *judge, const tr_sample_t *sample,
                               tr_error_t *err)
{
    json_t *value;
    tr_sequence_t sequence = {0};
    bool cut = strcmp(sample->finish, tr_finish_name(TR_FINISH_LENGTH)) == 0;
    TR_TRY(read_sample(&value, judge, sample, err));
    tr_status status = tr_encode_whole(&sequence, &judge->encoder, value, cut, err);
    json_decref(value);
    if (status == TR_OK) {
        status = check_ids(judge, sequence.ids, sequence.length, err);
    }
    if (status == TR_OK) {
        tr_ids_extend(all, sequence.ids, sequence.length);
    }
    tr_sequence_release(&sequence);
    return status;
}

static tr_status encode_all(encoded_t *encoded, state_t *judge, const tr_sample_t *samples,
                            size_t count, tr_error_t *err)
{
    encoded->starts = tr_calloc(count + 1, sizeof *encoded->starts);
    for (size_t i = 0; i < count; i++) {
        if (encode_sample(&encoded->ids, judge, &samples[i], err) != TR_OK) {
            // one bad sample refuses the request: a score of 0 in its place would train on a
            // mistake
            return tr_error_prefix(err, "sample %lld", (long long)samples[i].id);
        }
        encoded->starts[i + 1] = (int32_t)encoded->ids.count;
    }
    return TR_OK;
}

/// How many samples from `first` on go through the model at once; at least 1.
/// Greedy, in the order of the request: scores do not depend on who shares a pass.
static size_t pass_size(const encoded_t *encoded, size_t first, size_t count)
{
    // a sample longer than the bound has a pass alone
    size_t n = 1;
    while (first + n < count &&
           encoded->starts[first + n + 1] - encoded->starts[first] <= TR_JUDGE_PASS_TOKENS) {
        n++;
    }
    return n;
}

static tr_status score_all(state_t *judge, float *scores, const encoded_t *encoded, size_t count,
                           tr_error_t *err)
{
    const tr_sequences_t sequences = {
        .count = count, .ids = encoded->ids.data, .starts = encoded->starts};
    // one more: a request may hold no sample
    uint32_t *chosen = tr_calloc(count + 1, sizeof *chosen);
    tr_status status = TR_OK;
    for (size_t i = 0; i < count; i++) {
        // a pass takes an index of sequences: here a run of neighbours
        chosen[i] = (uint32_t)i;
    }
    // as many responses a pass as PASS_TOKENS allows
    for (size_t i = 0, n = 0; i < count && status == TR_OK; i += n) {
        n = pass_size(encoded, i, count);
        status = stopping(judge) ? tr_fail(err, TR_ERR_INTERRUPTED, "asked to leave")
                                 : tr_response_scores(judge->pass, &sequences, chosen + i, n, false,
                                                      scores + i, err);
    }
    free(chosen);
    return status;
}

/// As the model's own config.json normalizes them.
static void normalize(const state_t *judge, float *scores, size_t count)
{
    const tr_model_config_t *config = tr_model_config(judge->model);
    // a model without score_std is read as 0 here: its scores stay as they are
    for (size_t i = 0; config->score_std > 0.0 && i < count; i++) {
        // in double, and rounded once
        scores[i] = (float)(((double)scores[i] - config->score_mean) / config->score_std);
    }
}

// Process reward models

/// The parts of a response between separators: [*count], at least one, which point into *copy; both
/// the caller's. An empty part after the last separator is none.
/// `separator` is not empty: the table refuses that.
static const char **split(char **copy, size_t *count, const char *response, const char *separator)
{
    // more parts than bytes there cannot be, since each but the last has a separator behind it
    const char **parts = tr_calloc(strlen(response) + 1, sizeof(char *));
    size_t width = strlen(separator);
    char *at = *copy = tr_strdup(response), *end;
    *count = 0;
    // PRMTrainer joins steps with the separator behind each; this undoes it
    while ((end = strstr(at, separator)) != NULL) {
        *end = '\0';
        parts[(*count)++] = at;
        at = end + width;
    }
    if (*at != '\0' || *count == 0) {
        parts[(*count)++] = at;
    }
    return parts;
}

/// values: [steps->length - steps->prompt], of the tokens after the prompt.
static tr_status read_values(const state_t *judge, float *values, const tr_steps_t *steps,
                             tr_error_t *err)
{
    // one sequence whose response is everything after the prompt, so that its values come back
    // [2] each: where the only sequence, and its response, begins and ends
    const int32_t starts[] = {0, (int32_t)steps->length}, prompt = (int32_t)steps->prompt;
    const int32_t responses[] = {0, (int32_t)(steps->length - steps->prompt)};
    const uint32_t chosen = 0;
    const tr_sequences_t sequences = {.count = 1,
                                      .ids = steps->ids,
                                      .starts = starts,
                                      .prompt_lengths = &prompt,
                                      .response_starts = responses};
    // separators and special tokens are counted too
    TR_TRY(check_ids(judge, steps->ids, steps->length, err));
    // 1.0 is a temperature, which a scalar head does not use
    return tr_response_forward(judge->pass, &sequences, &chosen, 1, 1.0f, false, values, NULL, err);
}

static tr_status score_steps(const state_t *judge, float *score, const tr_sample_t *sample,
                             tr_error_t *err)
{
    tr_steps_t steps = {0};
    float *values = NULL;
    char *copy;
    size_t count;
    const char **parts = split(&copy, &count, sample->response, judge->options->step_separator);
    tr_status status;
    TR_TRY_GOTO(tr_steps_encode(&steps, judge->tokenizer, sample->prompt, parts, count,
                                judge->options->step_separator, err),
                done);
    values = tr_calloc(steps.length, sizeof *values);
    TR_TRY_GOTO(read_values(judge, values, &steps, err), done);
    for (size_t i = 0; i < count; i++) { // forwards: what is read lies at or behind what is written
        // the value at the last token of step i
        values[i] = values[steps.ends[i] - steps.prompt];
    }
    // the count of steps is that of the parts: tr_steps_encode has put an end to each
    *score = (float)tr_step_score(values, count, (tr_step_score_t)judge->options->steps);
done:
    free(values);
    tr_steps_release(&steps);
    free(parts);
    free(copy);
    return status;
}

/// One response at a time: responses with several steps are long enough to fill a pass.
static tr_status score_all_steps(const state_t *judge, float *scores, const tr_sample_t *samples,
                                 size_t count, tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        // as in score_all: the process leaves without a reply to the request
        if (stopping(judge)) {
            return tr_fail(err, TR_ERR_INTERRUPTED, "asked to leave");
        }
        if (score_steps(judge, &scores[i], &samples[i], err) != TR_OK) {
            return tr_error_prefix(err, "sample %lld", (long long)samples[i].id);
        }
    }
    return TR_OK;
}

/// Whole responses share passes; with `steps` each response has one of its own.
static tr_status model_score(void *state, float *scores, const tr_sample_t *samples, size_t count,
                             tr_error_t *err)
{
    const state_t *judge = state;
    encoded_t encoded = {0};
    // a process reward model is read at the end of every step instead of once
    if (judge->options->steps != TR_STEP_SCORE_NONE) {
        return score_all_steps(judge, scores, samples, count, err);
    }
    // all are encoded before the first pass: a bad sample is found before the costly work
    tr_status status = encode_all(&encoded, state, samples, count, err);
    if (status == TR_OK) {
        status = score_all(state, scores, &encoded, count, err);
    }
    if (status == TR_OK) {
        normalize(state, scores, count);
    }
    tr_ids_release(&encoded.ids);
    free(encoded.starts);
    return status;
}

const tr_judge_kind_t tr_judge_model = {
    .name = "model",
    .fields = &table,
    .started = true,
    .check = check,
    .open = model_open,
    .score = model_score,
    .close = model_close,
};
