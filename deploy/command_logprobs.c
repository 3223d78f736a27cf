// `troupe logprobs`: the log-probability of each token of a given response.
//
// The same forward pass as in a run, so the numbers are the ones that rollout and actor compute:
// for comparing with another program, and for finding out why a response is unlikely.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/response.h"
#include "deploy/command.h"
#include "deploy/loaded_model.h"

typedef struct arguments {
    const char *model, *adapter, *prompt, *response;
    float temperature;
    tr_device_options_t device;
} arguments_t;

/// All three texts are needed: an empty response has no log-probability.
static error_t take_option(int key, char *value, struct argp_state *state)
{
    arguments_t *arguments = state->input;
    switch (key) {
    case 'm': arguments->model = value; return 0;
    case 'a': arguments->adapter = value; return 0;
    case 'p': arguments->prompt = value; return 0;
    case 'r': arguments->response = value; return 0;
    case 't':
        arguments->temperature =
            (float)command_parse_real("--temperature", value, 1e-6, 1e6, state);
        return 0;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not understood (options only)", value); return 0;
    case ARGP_KEY_END:
        if (arguments->model == NULL || arguments->prompt == NULL || arguments->response == NULL) {
            argp_error(state, "--model, --prompt and --response are needed");
        }
        return 0;
    default:
        return command_parse_device(&arguments->device, key, value, state) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

/// Prompt and response as one sequence.
typedef struct pair {
    int32_t *ids; ///< [prompt + response]
    size_t prompt, response;
} pair_t;

/// The response is encoded as a continuation: no special tokens, and no space added before it.
static tr_status encode(pair_t *pair, const loaded_model_t *loaded, const arguments_t *arguments,
                        tr_error_t *err)
{
    int32_t *response;
    // the prompt with its begin token
    TR_TRY(loaded_model_encode(&pair->ids, &pair->prompt, loaded, arguments->prompt, "the prompt",
                               TR_ENCODE_SPECIAL, err));
    TR_TRY(loaded_model_encode(&response, &pair->response, loaded, arguments->response,
                               "the response", TR_ENCODE_CONTINUES, err));
    // Joined behind the prompt: a pass takes a sequence, and is told where its response begins.
    pair->ids = tr_realloc(pair->ids, (pair->prompt + pair->response) * sizeof *pair->ids);
    memcpy(pair->ids + pair->prompt, response, pair->response * sizeof *response);
    free(response);
    return TR_OK;
}

/// logprobs: [pair->response], written.
static tr_status measure(float *logprobs, const loaded_model_t *loaded, const pair_t *pair,
                         float temperature, tr_error_t *err)
{
    // one sequence, as the actor's batches are laid out (proto/sequences.h)
    const int32_t starts[] = {0, (int32_t)(pair->prompt + pair->response)};
    const int32_t prompt_lengths[] = {(int32_t)pair->prompt};
    const int32_t response_starts[] = {0, (int32_t)pair->response};
    const tr_sequences_t sequences = {.count = 1,
                                      .ids = pair->ids,
                                      .starts = starts,
                                      .prompt_lengths = prompt_lengths,
                                      .response_starts = response_starts};
    // the only sequence
    const uint32_t chosen[] = {0};
    tr_response_pass_t *pass = tr_response_pass_new(loaded->model);
    tr_status status =
        // one pass, no gradient
        tr_response_forward(pass, &sequences, chosen, 1, temperature, false, logprobs, NULL, err);
    tr_response_pass_destroy(&pass);
    return status;
}

/// One object a call, on one line, for programs that read it.
static tr_status print(const loaded_model_t *loaded, const pair_t *pair, const float *logprobs,
                       tr_error_t *err)
{
    json_t *ids = json_array(), *tokens = json_array(), *numbers = json_array();
    for (size_t i = 0; i < pair->response; i++) {
        int32_t id = pair->ids[pair->prompt + i];
        const char *token = tr_tokenizer_token(loaded->tokenizer, id);
        json_array_append_new(ids, json_integer(id));
        // a byte token is no UTF-8: jansson gives NULL, and the list would be short; the ids are
        // complete in any case
        json_array_append_new(tokens, json_string(token != NULL ? token : ""));
        // A float becomes a double without loss.
        json_array_append_new(numbers, json_real((double)logprobs[i]));
    }
    // ids, tokens and logprobs have one entry for each token of the response
    json_t *object =
        json_pack("{s:o, s:o, s:o}", "ids", ids, "tokens", tokens, "logprobs", numbers);
    tr_status status = TR_OK;
    if (json_array_size(numbers) == pair->response) {
        json_dumpf(object, stdout, JSON_REAL_PRECISION(9)); // enough for the bits of a float
        putchar('\n');
    } else { // jansson takes no infinities and no NaN
        status = tr_fail(err, TR_ERR_NUMERIC,
                         "a log-probability is not finite: the model's weights are broken");
    }
    json_decref(object);
    return status;
}

/// Loads, encodes, measures, prints.
static tr_status logprobs_of(const arguments_t *arguments, tr_error_t *err)
{
    loaded_model_t loaded = {0};
    pair_t pair = {0};
    float *logprobs = NULL;
    tr_status status;
    TR_TRY_GOTO(
        loaded_model_open(&loaded, arguments->model, arguments->adapter, &arguments->device, err),
        done);
    TR_TRY_GOTO(encode(&pair, &loaded, arguments, err), done);
    logprobs = tr_calloc(pair.response, sizeof *logprobs);
    TR_TRY_GOTO(measure(logprobs, &loaded, &pair, arguments->temperature, err), done);
    status = print(&loaded, &pair, logprobs, err);
done:
    free(logprobs);
    free(pair.ids);
    loaded_model_release(&loaded);
    return status;
}

/// Temperature 1 is the model as it is.
int command_logprobs(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"model", 'm', "DIR", 0, "Hugging Face directory", 0},
        {"adapter", 'a', "DIR", 0, "An adapter of it, as PEFT saves them", 0},
        {"prompt", 'p', "TEXT", 0, "The text before the response", 0},
        {"response", 'r', "TEXT", 0, "The text whose tokens are scored", 0},
        {"temperature", 't', "NUMBER", 0, "Divides the logits (default 1)", 0},
        COMMAND_DEVICE_OPTIONS,
        {0},
    };
    const struct argp parser = {
        .options = table,
        .parser = take_option,
        .doc = "Print the log-probability of each token of a response as one JSON object: "
               "{\"ids\", \"tokens\", \"logprobs\"}."};
    arguments_t arguments = {.temperature = 1.0f};
    tr_error_t err = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    return tr_status_report(logprobs_of(&arguments, &err), &err);
}
