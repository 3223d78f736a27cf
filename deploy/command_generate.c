// `troupe generate`: responses to one prompt, printed token by token as they are generated.
//
// The rollout's decoder in this process: no controller, no messages. The same seed gives the same
// text as a run would.
#include <stdio.h>
#include <stdlib.h>

#include "common/model/generation.h"
#include "common/text/tokenizer.h"
#include "deploy/command.h"
#include "deploy/command_fields.h"
#include "deploy/loaded_model.h"
#include "rollout/decoder.h"

typedef struct arguments {
    const char *model, *adapter, *prompt;
    tr_generation_options_t generation;
    uint64_t seed;
    tr_device_options_t device;
} arguments_t;

static void add_stop(arguments_t *arguments, const char *text, const struct argp_state *state)
{
    tr_texts_t *stop = &arguments->generation.stop;
    if (text[0] == '\0') {
        argp_error(state, "--stop: expected a text");
    }
    stop->items = tr_realloc(stop->items, (stop->count + 1) * sizeof *stop->items);
    stop->items[stop->count++] = tr_strdup(text);
}

/// Own options first, then generation's and the device's by their letters.
static error_t take_option(int key, char *value, struct argp_state *state)
{
    arguments_t *arguments = state->input;
    switch (key) {
    case 'm': arguments->model = value; return 0;
    case 'a': arguments->adapter = value; return 0;
    case 'p': arguments->prompt = value; return 0;
    case 's': arguments->seed = command_parse_whole("--seed", value, 0, INT64_MAX, state); return 0;
    // temperature 0 is the decoder's word for greedy
    case 'g': arguments->generation.temperature = 0.0; return 0;
    case 'S': add_stop(arguments, value, state); return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not understood (a prompt is given with --prompt)", value);
        return 0;
    case ARGP_KEY_END:
        if (arguments->model == NULL || arguments->prompt == NULL) {
            argp_error(state, "--model and --prompt are needed");
        }
        return 0;
    default:
        return command_fields_parse(&arguments->generation, &tr_generation_fields, key, value,
                                    state) ||
                       command_parse_device(&arguments->device, key, value, state)
                   ? 0
                   : ARGP_ERR_UNKNOWN;
    }
}

/// Streams the response as its tokens come.
static bool print_token(void *context, size_t index, int32_t id)
{
    (void)index;
    size_t length;
    const char *text = tr_text_stream_push(&length, context, id);
    fwrite(text, 1, length, stdout);
    // false ends the decoding: nobody reads any more
    return fflush(stdout) == 0;
}

/// One response, streamed. The decoder is used again for the next one.
static tr_status generate_one(rollout_decoder_t *decoder, const loaded_model_t *loaded,
                              const arguments_t *arguments, const rollout_request_t *request,
                              tr_error_t *err)
{
    rollout_response_t response = {0};
    size_t length;
    tr_text_stream_t *stream =
        tr_text_stream_new(loaded->tokenizer, TR_DECODE_SKIP_SPECIAL | TR_DECODE_CONTINUES);
    // one request a call: its index among the samples is part of its random numbers
    const rollout_options_t options = {
        .sampling = tr_generation_sampling(&arguments->generation),
        .max_new_tokens = (size_t)arguments->generation.max_new_tokens,
        .seed = arguments->seed,
        .stop = arguments->generation.stop,
        .tokenizer = loaded->tokenizer,
    };
    tr_status status =
        rollout_decode(decoder, &response, request, 1, &options, print_token, stream, err);
    // bytes of a character that the last token left incomplete
    const char *rest = tr_text_stream_flush(&length, stream);
    fwrite(rest, 1, length, stdout);
    putchar('\n');
    tr_text_stream_destroy(&stream);
    rollout_response_release(&response);
    if (fflush(stdout) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot write to standard output");
    }
    return status;
}

/// Says where the model's positions cut a response: not on standard output, which has the response.
static void note_room(const arguments_t *arguments, size_t positions, size_t prompt)
{
    const uint64_t most = arguments->generation.max_new_tokens;
    // A prompt that leaves no room at all is refused by the decoder.
    if (prompt < positions && most > positions - prompt) {
        fprintf(stderr,
                "%llu new tokens are more than the model's %zu positions leave behind the "
                "prompt: a response is cut after %zu\n",
                (unsigned long long)most, positions, positions - prompt);
    }
}

/// Loads, encodes, and generates the samples one after another.
static tr_status generate(const arguments_t *arguments, tr_error_t *err)
{
    loaded_model_t loaded = {0};
    int32_t *ids = NULL;
    size_t length;
    rollout_decoder_t *decoder = NULL;
    tr_status status;
    TR_TRY_GOTO(
        loaded_model_open(&loaded, arguments->model, arguments->adapter, &arguments->device, err),
        done);
    TR_TRY_GOTO(loaded_model_encode(&ids, &length, &loaded, arguments->prompt, "the prompt",
                                    TR_ENCODE_SPECIAL, err),
                done);
    note_room(arguments, tr_model_config(loaded.model)->max_positions, length);
    // one sequence at a time, since each is printed as it comes
    decoder = rollout_decoder_new(loaded.model, 1);
    for (uint64_t i = 0; i < arguments->generation.samples; i++) {
        const rollout_request_t request = {.prompt = ids, .length = length, .sample = (uint32_t)i};
        // A single response is printed alone, for pipes.
        if (arguments->generation.samples > 1) {
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

/// Own options, then those of generation and of the device.
int command_generate(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"model", 'm', "DIR", 0, "Hugging Face directory", 0},
        {"adapter", 'a', "DIR", 0, "An adapter of it, as PEFT saves them", 0},
        {"prompt", 'p', "TEXT", 0, "The text that the model continues", 0},
        {"seed", 's', "N", 0, "The same seed gives the same text (default 1)", 0},
        {"stop", 'S', "TEXT", 0,
         "A text that ends the response when the response holds it; may be given again", 0},
        {"greedy", 'g', NULL, 0, "Always take the most likely token", 0},
        COMMAND_DEVICE_OPTIONS,
        {0},
    };
    // A fixed seed: the command given again says the same.
    arguments_t arguments = {.seed = 1};
    tr_error_t err = {0};
    tr_fields_init(&arguments.generation, &tr_generation_fields);
    // a terminal wants less than the recipe's default
    arguments.generation.max_new_tokens = 64;
    // made after the defaults are set: the help shows them
    struct argp_option *options =
        command_fields_options(table, &tr_generation_fields, &arguments.generation);
    const struct argp parser = {
        .options = options,
        .parser = take_option,
        .doc = "Generate from a prompt: the response goes to standard output."};
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    // Values point into argv, so the texts of the options are not needed any more.
    command_fields_free(&options);
    // argp has ended the process for a wrong option: the values are in their ranges
    tr_status status = generate(&arguments, &err);
    tr_fields_release(&arguments.generation, &tr_generation_fields);
    return tr_status_report(status, &err);
}
