// Requests to a rollout: takes the weights that a request names, generates, and replies.
//
// Weights come by three ways: shared memory, the network, or the memory of the actor's GPU.
// Separate from decoder.c, which knows no messages; the command `troupe generate` uses that one
// alone.
#include "rollout/service.h"

#include <stdlib.h>
#include <string.h>

#include "common/model/generation.h"
#include "proto/adapter.h"
#include "proto/body.h"
#include "proto/device.h"
#include "proto/responses.h"
#include "proto/weights/weights.h"
#include "proto/weights/weights_gpu.h"
#include "proto/weights/weights_server.h"
#include "rollout/decoder.h"

struct rollout_service {
    const tr_service_options_t *options;
    tr_backend_t *backend;
    tr_model_t *model;
    rollout_decoder_t *decoder;
    tr_weights_reader_t *reader;
    tr_weights_fetcher_t *fetcher;
    char *directory;           ///< of the welcome
    tr_tokenizer_t *tokenizer; ///< NULL before the first request with stop strings
    char checksum[24];         ///< of the weights in the model; empty: none, or half a copy
};

rollout_service_t *rollout_service_new(const tr_service_options_t *options)
{
    // Everything else comes with the welcome: a service without one answers no request.
    rollout_service_t *service = tr_calloc(1, sizeof *service);
    service->options = options;
    return service;
}

/// Back to the state before the first welcome; the model goes before its backend.
static void unload(rollout_service_t *service)
{
    // The decoder borrows the model, and the model the backend.
    rollout_decoder_destroy(&service->decoder);
    tr_model_destroy(&service->model);
    tr_backend_close(&service->backend);
    tr_weights_reader_destroy(&service->reader);
    tr_weights_fetcher_destroy(&service->fetcher);
    tr_tokenizer_destroy(&service->tokenizer);
    free(service->directory);
    service->directory = NULL;
    // No weights are held any more, so the next request must bring some.
    service->checksum[0] = '\0';
}

void rollout_service_destroy(rollout_service_t **self)
{
    if (*self != NULL) {
        unload(*self);
        free(*self);
        *self = NULL;
    }
}

/// The model of an adapter, whose weights come with the requests: those of the directory, and room
/// for the adapter's; or of none (r 0), room for all weights.
static tr_status open_followed(rollout_service_t *service, const tr_model_config_t *shape,
                               const char *directory, const tr_lora_t *lora, tr_error_t *err)
{
    const tr_model_options_t options = {.use = TR_MODEL_DECODES, .lora = lora};
    TR_TRY(tr_model_new_with(&service->model, shape, service->backend, &options, err));
    return lora->r > 0 ? tr_model_load(service->model, directory, 0, err) : TR_OK;
}

/// The model, with the directory's weights, which are then never replaced, or with none until the
/// first request names some.
static tr_status open_model(rollout_service_t *service, const char *directory, bool frozen,
                            const json_t *config, tr_error_t *err)
{
    tr_model_config_t shape;
    tr_lora_t lora;
    const char *adapter;
    TR_TRY(tr_model_config_load_language(&shape, directory, err));
    tr_status status = tr_adapter_read(&lora, &adapter, config, err);
    // The checksum never changes: requests of a run that trains nothing name it too.
    if (status == TR_OK && frozen) {
        snprintf(service->checksum, sizeof service->checksum, "%s", TR_WEIGHTS_FROZEN);
        status = tr_model_open(&service->model, directory, adapter, service->backend,
                               TR_MODEL_DECODES, err);
    } else if (status == TR_OK) {
        status = open_followed(service, &shape, directory, &lora, err);
    }
    tr_lora_release(&lora);
    return status;
}

tr_status rollout_service_welcome(void *context, const json_t *config, tr_error_t *err)
{
    rollout_service_t *service = context;
    const char *directory;
    int64_t max_batch, eos;
    bool frozen;
    // A new session: another controller, perhaps with another model.
    unload(service);
    TR_TRY(tr_body_string(&directory, config, "model", "welcome", err));
    // The bound is a sanity check: each running sequence needs pages of the cache.
    TR_TRY(tr_body_integer(&max_batch, config, "max_batch", 1, 65536, "welcome", err));
    TR_TRY(tr_body_bool(&frozen, config, "frozen", "welcome", err));
    TR_TRY(tr_body_integer(&eos, config, "eos", -1, INT32_MAX, "welcome", err));
    // Of a list of devices, the worker takes the one of its number.
    TR_TRY(tr_device_open(&service->backend, config, service->options->threads,
                          tr_device_worker_number(service->options->name), err));
    TR_TRY(open_model(service, directory, frozen, config, err));
    // the end token that rows are learnt with ends responses too
    TR_TRY(tr_model_align(service->model, (int32_t)eos, err));
    service->directory = tr_strdup(directory);
    // The readers of weights are made anew as well: those of the last session may map its segments.
    service->decoder = rollout_decoder_new(service->model, (size_t)max_batch);
    service->reader = tr_weights_reader_new();
    service->fetcher = tr_weights_fetcher_new(service->options->endpoint, service->options->keys);
    tr_log(TR_LOG_INFO, "rollout", "model=%s device=%s form=%s \"ready\"", directory,
           service->backend->ops->name, service->backend->form);
    return TR_OK;
}

/// From shared memory: checked before the copy, and after it that nothing changed meanwhile.
static tr_status copy_weights(rollout_service_t *service, const json_t *description,
                              tr_error_t *err)
{
    const void *data;
    // The version, the checksum and the size that are mapped are compared with the description
    // there.
    TR_TRY(tr_weights_map(&data, tr_model_weight_bytes(service->model), service->reader,
                          description, err));
    // Copied while the actor may begin the next version: tr_weights_check tells if it did.
    tr_model_write_weights(service->model, data);
    return tr_weights_check(service->reader, err);
}

/// From the actor's machine, over the network. May take long, so it looks whether we shall leave.
static tr_status fetch_weights(rollout_service_t *service, const json_t *description,
                               tr_error_t *err)
{
    const void *data;
    // The checksum of what came is checked there, before the model is touched.
    TR_TRY(tr_weights_fetch(&data, tr_model_weight_bytes(service->model), service->fetcher,
                            description, tr_service_stopping, err));
    tr_model_write_weights(service->model, data);
    return TR_OK;
}

/// In the memory of the actor's GPU: read where they are, without a copy.
static tr_status borrow_weights(rollout_service_t *service, const json_t *description,
                                tr_error_t *err)
{
    tr_device_memory_t memory;
    bool moved;
    // The description has an address that only processes of this machine can map.
    TR_TRY(tr_weights_gpu_read(&memory, description, tr_model_weight_bytes(service->model), err));
    if (service->backend->ops->buffer_import == NULL) {
        return tr_fail(
            err, TR_ERR_UNSUPPORTED,
            "weights on a GPU for a rollout on a CPU: say 'roles.rollout.weights: host'");
    }
    TR_TRY(tr_model_import_weights(service->model, &memory, &moved, err));
    // Graphs have recorded the addresses of the weights.
    if (moved) {
        rollout_decoder_weights_moved(service->decoder);
    }
    return TR_OK;
}

/// Takes the weights that the description names, unless the model has them already. The reply says
/// which they are: the controller compares, so that no response of other weights is learned from.
static tr_status take_weights(rollout_service_t *service, const json_t *body, tr_message_t *reply,
                              tr_error_t *err)
{
    json_t *description;
    // The protocol has the welcome first; a peer that breaks it must not crash us.
    if (service->decoder == NULL) {
        return tr_fail(err, TR_ERR_PROTOCOL, "a request came before the welcome");
    }
    int64_t version;
    const char *checksum;
    TR_TRY(tr_body_object(&description, body, "weights", "generate", err));
    TR_TRY(
        tr_body_integer(&version, description, "version", 0, INT64_MAX, "generate weights", err));
    TR_TRY(tr_body_string(&checksum, description, "checksum", "generate weights", err));
    // Set before the weights are there: a failure discards the reply anyway.
    json_object_set_new(tr_message_body(reply), "version", json_integer(version));
    json_object_set_new(tr_message_body(reply), "checksum", json_string(checksum));
    // By checksum and not by version: a run that went back publishes a version again.
    if (service->checksum[0] != '\0' && strcmp(service->checksum, checksum) == 0) {
        return TR_OK;
    }
    service->checksum[0] = '\0'; // a copy that fails half way leaves weights of no version
    // The actor describes where they are; a rollout that does not share its memory fetches them.
    TR_TRY(tr_weights_gpu_is(description) ? borrow_weights(service, description, err)
           : tr_weights_here(description) ? copy_weights(service, description, err)
                                          : fetch_weights(service, description, err));
    snprintf(service->checksum, sizeof service->checksum, "%s", checksum);
    tr_log(TR_LOG_INFO, "weights", "version=%lld checksum=%s \"taken\"", (long long)version,
           checksum);
    return TR_OK;
}

/// generation: from the body, by its table; the caller releases it, after a failure too. options
/// borrows its ids.
static tr_status read_options(rollout_options_t *options, tr_generation_options_t *generation,
                              const json_t *body, tr_error_t *err)
{
    // What decides the random numbers travels with every request: a worker has no state of its own.
    int64_t seed;
    bool ignore_eos;
    TR_TRY(tr_fields_from_json(generation, &tr_generation_fields, body, "generate", err));
    TR_TRY(tr_body_integer(&seed, body, "seed", 0, INT64_MAX, "generate", err));
    TR_TRY(tr_body_bool(&ignore_eos, body, "ignore_eos", "generate", err));
    *options = (rollout_options_t){
        // The same function as the controller's, so both agree on whether sampling truncates.
        .sampling = tr_generation_sampling(generation),
        .max_new_tokens = (size_t)generation->max_new_tokens,
        .seed = (uint64_t)seed,
        .ignore_eos = ignore_eos,
        .stop_ids = generation->stop_ids.items,
        .stop_count = generation->stop_ids.count,
        .stop = generation->stop,
    };
    return TR_OK;
}

/// Stop strings are found in text: only then a rollout needs the tokenizer.
static tr_status take_tokenizer(rollout_service_t *service, rollout_options_t *options,
                                tr_error_t *err)
{
    if (options->stop.count > 0 && service->tokenizer == NULL) {
        TR_TRY(tr_tokenizer_new(&service->tokenizer, service->directory, err));
    }
    options->tokenizer = service->tokenizer;
    return TR_OK;
}

/// One request for each row of the tensors. *requests: owned by the caller; the prompts stay in the
/// message.
static tr_status read_requests(rollout_request_t **requests, size_t *count,
                               const tr_message_t *message, tr_error_t *err)
{
    tr_view_t ids, numbers, samples;
    const int32_t *starts;
    TR_TRY(tr_message_expect_tensor(&numbers, message, "prompt_numbers", TR_I32, SIZE_MAX, err));
    // One prompt number a response: it says how many responses there are.
    *count = numbers.bytes / sizeof(int32_t);
    TR_TRY(tr_message_expect_tensor(&samples, message, "samples", TR_I32, *count, err));
    TR_TRY(tr_message_expect_tensor(&ids, message, "ids", TR_I32, SIZE_MAX, err));
    // Prompts may be empty here: the decoder refuses them by their number.
    TR_TRY(tr_message_expect_offsets(&starts, message, "starts", *count,
                                     ids.bytes / sizeof(int32_t), 0, err));
    *requests = tr_calloc(*count + 1, sizeof **requests);
    for (size_t i = 0; i < *count; i++) {
        (*requests)[i] = (rollout_request_t){
            .prompt = (const int32_t *)ids.data + starts[i],
            .length = (size_t)(starts[i + 1] - starts[i]),
            .prompt_number = (uint32_t)((const int32_t *)numbers.data)[i],
            .sample = (uint32_t)((const int32_t *)samples.data)[i],
        };
    }
    return TR_OK;
}

/// The arrays of a tr_responses_t while they are filled.
typedef struct flat {
    int32_t *ids, *starts, *finish, *kept_offsets, *kept_ids;
    float *logprobs, *raw;
} flat_t;

/// Appends response i: its tokens, and its lists of kept ids behind those of the responses before
/// it.
static void append_response(flat_t *flat, const rollout_response_t *r, size_t i)
{
    // The offsets so far are the counters: both begin with the 0 of a fresh block.
    int32_t at = flat->starts[i], kept = flat->kept_offsets[at];
    memcpy(flat->ids + at, r->ids, r->length * sizeof *r->ids);
    memcpy(flat->logprobs + at, r->logprobs, r->length * sizeof *r->logprobs);
    memcpy(flat->raw + at, r->raw, r->length * sizeof *r->raw);
    for (size_t t = 0; t < r->length; t++) {
        flat->kept_offsets[(size_t)at + t + 1] = kept + r->kept_ends[t];
    }
    if (r->kept > 0) {
        memcpy(flat->kept_ids + kept, r->kept_ids, r->kept * sizeof *r->kept_ids);
    }
    flat->starts[i + 1] = at + (int32_t)r->length;
    // tr_finish_t: the numbers travel, not the names.
    flat->finish[i] = (int32_t)r->finish;
}

/// The responses as the reply's tensors, whose offsets are integers of 32 bits.
static tr_status put_responses(tr_message_t *reply, const rollout_response_t *responses,
                               size_t count, bool truncates, tr_error_t *err)
{
    size_t tokens = 0, kept = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += responses[i].length;
        kept += responses[i].kept;
    }
    if (tokens > INT32_MAX || kept > INT32_MAX) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "%zu tokens with %zu kept ids are too many for one answer: lower data.batch "
                       "or generation.top_p, or set top_k",
                       tokens, kept);
    }
    // One block for all integers: ids, starts (+ 1), finish, kept offsets (+ 1), kept ids.
    int32_t *ids = tr_calloc(2 * tokens + 2 * count + kept + 2, sizeof *ids);
    int32_t *starts = ids + tokens, *finish = starts + count + 1, *offsets = finish + count;
    float *logprobs = tr_calloc(2 * tokens + 1, sizeof *logprobs), *raw = logprobs + tokens;
    flat_t flat = {ids, starts, finish, offsets, offsets + tokens + 1, logprobs, raw};
    for (size_t i = 0; i < count; i++) {
        append_response(&flat, &responses[i], i);
    }
    // Kept sets travel exactly where sampling truncates, even if every list is empty.
    const tr_responses_t all = {
        .count = count,
        .ids = ids,
        .starts = starts,
        .finish = finish,
        .logprobs = logprobs,
        .raw = raw,
        .kept_offsets = truncates ? offsets : NULL,
        .kept_ids = flat.kept_ids,
    };
    tr_responses_put(reply, &all);
    free(logprobs);
    free(ids);
    return TR_OK;
}

/// A controller that left needs no responses: stop early.
static bool keep_going(void *context, size_t index, int32_t id)
{
    (void)context, (void)index, (void)id;
    // A request that ends here is answered by another rollout, with the same bits.
    return !tr_service_stopping();
}

tr_status rollout_service_generate(void *context, const tr_message_t *request, tr_message_t *reply,
                                   tr_error_t *err)
{
    rollout_service_t *service = context;
    rollout_options_t options;
    rollout_request_t *requests = NULL;
    rollout_response_t *responses = NULL;
    tr_generation_options_t generation = {0};
    size_t count = 0;
    tr_status status;
    // The weights first: a request that cannot have them fails before anything is allocated.
    TR_TRY(take_weights(service, tr_message_body(request), reply, err));
    TR_TRY_GOTO(read_options(&options, &generation, tr_message_body(request), err), done);
    TR_TRY_GOTO(take_tokenizer(service, &options, err), done);
    TR_TRY_GOTO(read_requests(&requests, &count, request, err), done);
    // + 1: no allocation is empty, even where no prompt came.
    responses = tr_calloc(count + 1, sizeof *responses);
    TR_TRY_GOTO(rollout_decode(service->decoder, responses, requests, count, &options, keep_going,
                               NULL, err),
                done);
    // As the controller decides it from the recipe: it expects kept sets exactly then.
    bool truncates = tr_sampling_truncates(&options.sampling);
    // The responses are copied into the message, so they are released here in any case.
    status = put_responses(reply, responses, count, truncates, err);
    for (size_t i = 0; i < count; i++) {
        rollout_response_release(&responses[i]);
    }
// Responses of a failed decode are released already (rollout_decode).
done:
    free(responses);
    free(requests);
    tr_fields_release(&generation, &tr_generation_fields);
    return status;
}
