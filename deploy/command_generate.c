#include <stdio.h>
#include <stdlib.h>

#include "common/text/tokenizer.h"
#include "deploy/command.h"
#include "deploy/loaded_model.h"
#include "rollout/decoder.h"

typedef struct arguments {
    const char *model, *prompt;
    rollout_options_t options;
    uint64_t samples;
    tr_device_options_t device;
} arguments_t;

static error_t take_option(int key, char *value, struct argp_state *state)
{
    arguments_t *arguments = state->input;
    rollout_options_t *options = &arguments->options;
    tr_sampling_t *sampling = &options->sampling;
    switch (key) {
    case 'm': arguments->model = value; return 0;
    case 'p': arguments->prompt = value; return 0;
    case 't':
        sampling->temperature = (float)command_parse_real("--temperature", value, 0.0, 1e6, state);
        return 0;
    case 'k':
        sampling->top_k = (int32_t)command_parse_whole("--top-k", value, 0, INT32_MAX, state);
        return 0;
    case 'P':
        sampling->top_p = (float)command_parse_real("--top-p", value, 1e-6, 1.0, state);
        return 0;
    case 'n':
        options->max_new_tokens =
            command_parse_whole("--max-new-tokens", value, 1, INT32_MAX, state);
        return 0;
    case 's': options->seed = command_parse_whole("--seed", value, 0, INT64_MAX, state); return 0;
    case 'c':
        arguments->samples = command_parse_whole("--samples", value, 1, UINT32_MAX, state);
        return 0;
    case 'g': sampling->temperature = 0.0f; return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not understood (a prompt is given with --prompt)", value);
        return 0;
    case ARGP_KEY_END:
        if (arguments->model == NULL || arguments->prompt == NULL) {
            argp_error(state, "--model and --prompt are needed");
        }
        return 0;
    default:
        return command_parse_device(&arguments->device, key, value, state) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

/// Text goes out as soon as it is certain; false when nobody reads it.
static bool print_token(void *context, size_t index, int32_t id)
{
    (void)index;
    size_t length;
    const char *text = tr_text_stream_push(&length, context, id);
    fwrite(text, 1, length, stdout);
    return fflush(stdout) == 0;
}

static tr_status generate_one(rollout_decoder_t *decoder, const loaded_model_t *loaded,
                              const arguments_t *arguments, const rollout_request_t *request,
                              tr_error_t *err)
{
    rollout_response_t response = {0};
    size_t length;
    tr_text_stream_t *stream =
        tr_text_stream_new(loaded->tokenizer, TR_DECODE_SKIP_SPECIAL | TR_DECODE_CONTINUES);
    tr_status status = rollout_decode(decoder, &response, request, 1, &arguments->options,
                                      print_token, stream, err);
    const char *rest = tr_text_stream_flush(&length, stream);
    fwrite(rest, 1, length, stdout);
    putchar('\n');
    tr_text_stream_destroy(&stream);
    rollout_response_release(&response);
    if (fflush(stdout) != 0) {
        return tr_fail(err, TR_ERR_IO, "standard output takes no more text");
    }
    return status;
}

static tr_status generate(const arguments_t *arguments, tr_error_t *err)
{
    loaded_model_t loaded = {0};
    int32_t *ids = NULL;
    size_t length;
    rollout_decoder_t *decoder = NULL;
    tr_status status;
    TR_TRY_GOTO(loaded_model_open(&loaded, arguments->model, &arguments->device, err), done);
    TR_TRY_GOTO(loaded_model_encode(&ids, &length, &loaded, arguments->prompt, "the prompt",
                                    TR_ENCODE_SPECIAL, err),
                done);
    decoder = rollout_decoder_new(loaded.model, 1);
    for (uint64_t i = 0; i < arguments->samples; i++) {
        const rollout_request_t request = {.prompt = ids, .length = length, .sample = (uint32_t)i};
        if (arguments->samples > 1) {
            printf("== sample %llu\n", (unsigned long long)i + 1);
        }
        TR_TRY_GOTO(generate_one(decoder, &loaded, arguments, &request, err), done);
    }
done:
    rollout_decoder_destroy(&decoder);
    free(ids);
    loaded_model_release(&loaded);
    return status;
}

int command_generate(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"model", 'm', "DIR", 0, "Hugging Face directory", 0},
        {"prompt", 'p', "TEXT", 0, "What the model goes on from", 0},
        {"temperature", 't', "NUMBER", 0, "Divides the logits; 0: greedy (default 0.7)", 0},
        {"top-k", 'k', "N", 0, "Draw among the N likeliest tokens; 0: among all (default 0)", 0},
        {"top-p", 'P', "NUMBER", 0, "Draw among the likeliest tokens of this mass (default 1)", 0},
        {"max-new-tokens", 'n', "N", 0, "At most so many tokens (default 64)", 0},
        {"seed", 's', "N", 0, "The same seed gives the same text (default 1)", 0},
        {"samples", 'c', "N", 0, "So many responses, each after a line '== sample N' (default 1)",
         0},
        {"greedy", 'g', NULL, 0, "Always the likeliest token", 0},
        COMMAND_DEVICE_OPTIONS,
        {0},
    };
    const struct argp parser = {
        .options = table,
        .parser = take_option,
        .doc = "Generate from a prompt: the response goes to standard output."};
    arguments_t arguments = {
        .options = {.sampling = {.temperature = 0.7f, .top_p = 1.0f},
                    .max_new_tokens = 64,
                    .seed = 1},
        .samples = 1,
        .device = {.precision = TR_BF16},
    };
    tr_error_t err = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    return command_exit(generate(&arguments, &err), &err);
}
