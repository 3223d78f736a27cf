// troupe-actor: trains the policy, publishes its weights, and computes the log-probs of the frozen
// reference; with --role reference, computes these and nothing else.
//
// Training is training.c; what actor and critic share is proto/learner. The reference is a second
// model beside the policy, or in a process of its own with --role reference. With several ranks
// each gets every request; rank 0 writes, and the others only take part where parameters are
// sharded.
#include <stdlib.h>

#include "actor/training.h"
#include "proto/body.h"
#include "proto/device.h"
#include "proto/weights/weights.h"
#include "proto/weights/weights_gpu.h"
#include "proto/weights/weights_server.h"

/// Role actor: a learner and the publisher of its weights. Both roles: the reference.
typedef struct actor_service {
    const tr_service_options_t *options;
    tr_learner_t learner;            // role actor
    tr_weights_publisher_t *weights; // role actor
    tr_weights_server_t *server;     // serves weights to other machines; NULL: does not
    char *segment;
    char *endpoint;        // of the server; NULL: none
    bool stays_on_gpu;     // rollouts read the weights where they are
    tr_backend_t *backend; // role reference; else the reference shares the learner's
    tr_model_t *reference; // NULL until it is first used
    tr_response_pass_t *reference_pass;
    char *reference_source;  // its directory; NULL: it is never used
    char *reference_adapter; // a directory of PEFT; NULL: none
    bool shares_reference;   // it is the policy without its adapter
} actor_service_t;

/// Releases the reference; open_reference opens it again.
static void close_reference(actor_service_t *service)
{
    tr_response_pass_destroy(&service->reference_pass);
    tr_model_destroy(&service->reference);
}

/// Releases everything that a config has opened.
static void unload(actor_service_t *service)
{
    // The server reads the publisher's segments, and the models need their device: in this order.
    tr_weights_server_destroy(&service->server);
    tr_weights_publisher_destroy(&service->weights);
    close_reference(service);
    tr_backend_close(&service->backend);
    tr_learner_close(&service->learner);
    free(service->reference_source);
    free(service->reference_adapter);
    free(service->segment);
    free(service->endpoint);
    service->endpoint = NULL;
    service->reference_source = service->reference_adapter = NULL;
    service->segment = NULL;
}

/// Whether the config is for a reward model.
static bool is_scalar(const json_t *config)
{
    return json_is_true(json_object_get(config, "scalar"));
}

/// Role actor: reads how weights are published and opens the learner.
static tr_status open_learner(actor_service_t *service, const json_t *config, tr_error_t *err)
{
    const char *segment;
    TR_TRY(tr_body_string(&segment, config, "segment", "welcome", err));
    // The config is the message's, which ends with this call.
    service->segment = tr_strdup(segment);
    const char *endpoint = json_string_value(json_object_get(config, "weights_endpoint"));
    service->endpoint = endpoint != NULL ? tr_strdup(endpoint) : NULL;
    service->stays_on_gpu = json_is_true(json_object_get(config, "weights_stay"));
    return tr_learner_open(&service->learner, config, is_scalar(config), service->options, err);
}

/// Remembers the reference that the config names; it is opened when it is first used.
static void name_reference(actor_service_t *service, const json_t *config)
{
    const char *reference = json_string_value(json_object_get(config, "reference"));
    const char *adapter = json_string_value(json_object_get(config, "reference_adapter"));
    close_reference(service);
    free(service->reference_source);
    free(service->reference_adapter);
    service->reference_source = reference != NULL ? tr_strdup(reference) : NULL;
    service->reference_adapter = adapter != NULL ? tr_strdup(adapter) : NULL;
    service->shares_reference = json_is_true(json_object_get(config, "reference_shared"));
}

/// Reads the controller's config. Role actor: what tr_learner_open reads; scalar: true for a reward
/// model; segment: prefix of the names of shared memory; weights_stay: true if rollouts read the
/// weights on the GPU; weights_endpoint: where to serve them to other machines, or null. Both
/// roles: reference: directory of the frozen model, or null if it is never used; optional
/// reference_adapter: a directory of PEFT that goes with it; what proto/device.h reads. Role actor,
/// optional: reference_shared: true if the reference is the policy without its adapter.
static tr_status welcome(void *context, const json_t *config, tr_error_t *err)
{
    actor_service_t *service = context;
    size_t threads = service->options->threads;
    // A new session may bring another model: everything is opened anew.
    unload(service);
    name_reference(service, config);
    return service->options->role == TR_ROLE_ACTOR
               ? open_learner(service, config, err)
               : tr_device_open(&service->backend, config, threads, 0, err);
}

/// Fails unless this process trains and has a model.
static tr_status expect_learner(const actor_service_t *service, tr_error_t *err)
{
    if (service->options->role != TR_ROLE_ACTOR) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "this process serves the reference only");
    }
    return tr_learner_holds(&service->learner, err);
}

/// Opens the reference, unless it is open.
static tr_status open_reference(actor_service_t *service, tr_error_t *err)
{
    if (service->reference_pass != NULL) {
        return TR_OK;
    }
    if (service->shares_reference) {
        service->reference_pass = tr_response_pass_new(tr_trainer_model(service->learner.trainer));
        tr_response_share(service->reference_pass, service->options->collective);
        return TR_OK;
    }
    if (service->reference_source == NULL) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "this process was given no reference model");
    }
    // An actor's reference lives on the actor's device; another process has its own.
    tr_backend_t *backend = service->backend != NULL ? service->backend : service->learner.backend;
    TR_TRY(tr_model_open(&service->reference, service->reference_source, service->reference_adapter,
                         backend, TR_MODEL_READS, err));
    service->reference_pass = tr_response_pass_new(service->reference);
    // Ranks share the sequences of a request among them.
    tr_response_share(service->reference_pass, service->options->collective);
    tr_log(TR_LOG_INFO, "reference", "model=%s \"ready\"", service->reference_source);
    return TR_OK;
}

/// `logprobs`: {temperature, chunk}, sequences as tensors (proto/sequences.h) -> tensor logprobs
/// f32 [response tokens] of the reference.
static tr_status logprobs(void *context, const tr_message_t *request, tr_message_t *reply,
                          tr_error_t *err)
{
    actor_service_t *service = context;
    if (service->shares_reference) {
        TR_TRY(tr_learner_holds(&service->learner, err));
    }
    TR_TRY(open_reference(service, err));
    if (!service->shares_reference) {
        return tr_learner_infer(service->reference_pass, service->reference, "logprobs", request,
                                reply, err);
    }
    // No second copy: the model without what is trained is what it was before.
    tr_model_t *policy = tr_trainer_model(service->learner.trainer);
    tr_model_leave_adapter(policy, true);
    tr_status status =
        tr_learner_infer(service->reference_pass, policy, "logprobs", request, reply, err);
    tr_model_leave_adapter(policy, false);
    return status;
}

/// `forget`: {}, no tensors: releases the reference; the next `logprobs` opens it again.
static tr_status forget(void *context, const tr_message_t *request, tr_message_t *reply,
                        tr_error_t *err)
{
    (void)request, (void)reply, (void)err;
    close_reference(context);
    return TR_OK;
}

/// Checks that the learner has finished the step that the request names.
static tr_status expect_step(int64_t *step, const actor_service_t *service,
                             const tr_message_t *request, const char *method, tr_error_t *err)
{
    TR_TRY(expect_learner(service, err));
    TR_TRY(tr_body_integer(step, tr_message_body(request), "step", 0, INT64_MAX, method, err));
    return tr_learner_expect(&service->learner, *step, err);
}

/// `mix_reference`: {step, alpha}, no tensors: the reference becomes alpha of the policy and 1 -
/// alpha of itself (TR-DPO, Gorbatovski et al. 2024).
static tr_status mix_reference(void *context, const tr_message_t *request, tr_message_t *reply,
                               tr_error_t *err)
{
    actor_service_t *service = context;
    int64_t step;
    double alpha;
    (void)reply;
    TR_TRY(expect_step(&step, service, request, "mix_reference", err));
    TR_TRY(open_reference(service, err));
    TR_TRY(tr_body_real(&alpha, tr_message_body(request), "alpha", "mix_reference", err));
    const tr_model_t *policy = tr_trainer_model(service->learner.trainer);
    // Parameters are compared by number: two models of one shape have one layout.
    size_t n = tr_model_layout(policy)->total;
    // A reference of another architecture can be compared with, but not mixed.
    if (tr_model_layout(service->reference)->total != n) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "'%s' has another shape than the policy: only a "
                       "reference of its shape can follow it",
                       service->reference_source);
    }
    float *mixed = tr_calloc(2 * n, sizeof *mixed), *policy_parameters = mixed + n;
    tr_status status;
    TR_TRY_GOTO(tr_model_read_parameters(service->reference, mixed, err), done);
    // Ranks may hold a shard each: this gathers the whole vector on all of them.
    TR_TRY_GOTO(tr_trainer_read_everywhere(service->learner.trainer, policy_parameters, err), done);
    for (size_t i = 0; i < n; i++) {
        // In double, one rounding: every rank gets the same bits.
        mixed[i] = (float)((1.0 - alpha) * (double)mixed[i] + alpha * (double)policy_parameters[i]);
    }
    // Only now, since a failure above must leave the reference as it was.
    tr_model_write_parameters(service->reference, mixed);
    tr_log(TR_LOG_INFO, "reference", "alpha=%g \"followed the policy\"", alpha);
done:
    free(mixed);
    return status;
}

/// `save_reference`: {step, directory}, no tensors: the reference as a Hugging Face directory.
static tr_status save_reference(void *context, const tr_message_t *request, tr_message_t *reply,
                                tr_error_t *err)
{
    actor_service_t *service = context;
    int64_t step;
    const char *directory;
    (void)reply;
    TR_TRY(expect_step(&step, service, request, "save_reference", err));
    TR_TRY(open_reference(service, err));
    TR_TRY(
        tr_body_string(&directory, tr_message_body(request), "directory", "save_reference", err));
    const tr_trainer_t *trainer = service->learner.trainer;
    // Rank 0 writes alone, and asks the others for the parameters that they hold.
    if (tr_collective_rank(service->options->collective) > 0) {
        return tr_trainer_attend(trainer, err);
    }
    const tr_save_options_t options = {.source = service->learner.source};
    return tr_trainer_dismiss(trainer,
                              tr_trainer_save_model(service->reference, directory, &options, err));
}

/// `train`, `train_sft`, ...: updates of the policy or the reward model, one method for each
/// algorithm (actor/training.h).
static tr_status train(void *context, const tr_message_t *request, tr_message_t *reply,
                       tr_error_t *err)
{
    actor_service_t *service = context;
    TR_TRY(expect_learner(service, err));
    return actor_train(&service->learner, request, reply, err);
}

/// Writes the weights to shared memory: called by the publisher, which then computes the checksum.
static tr_status fill_segment(void *context, void *data, size_t bytes, tr_error_t *err)
{
    const tr_trainer_t *trainer = context;
    size_t expected = tr_model_weight_bytes(tr_trainer_model(trainer));
    // A restore with another model would need other segments; the run's model never changes.
    if (bytes != expected) {
        return tr_fail(err, TR_ERR_VERSION, "a model of %zu bytes for segments of %zu", expected,
                       bytes);
    }
    return tr_trainer_read_weights(trainer, data, err);
}

/// Publishes weights that rollouts read on the actor's GPU: only their address travels.
static tr_status publish_on_gpu(const actor_service_t *service, int64_t step, tr_message_t *reply,
                                tr_error_t *err)
{
    tr_device_memory_t memory;
    const tr_model_t *model = tr_trainer_model(service->learner.trainer);
    TR_TRY(tr_model_export_weights(model, &memory, err));
    json_t *weights =
        tr_weights_gpu_describe(&memory, (uint64_t)step, tr_model_weight_bytes(model));
    tr_log(TR_LOG_INFO, "weights", "version=%lld place=%s \"published\"", (long long)step,
           memory.place);
    json_object_set_new(tr_message_body(reply), "weights", weights);
    return TR_OK;
}

/// Opens the segments, and the server for other machines, when the first weights are published.
static tr_status open_publisher(actor_service_t *service, tr_error_t *err)
{
    size_t bytes = tr_model_weight_bytes(tr_trainer_model(service->learner.trainer));
    if (service->weights == NULL) {
        TR_TRY(tr_weights_publisher_new(&service->weights, bytes, service->segment, err));
    }
    return service->endpoint == NULL || service->server != NULL
               ? TR_OK
               : tr_weights_server_new(&service->server, service->weights, service->endpoint,
                                       service->options->keys, err);
}

/// Publishes the weights; rank 0 alone.
static tr_status publish_here(actor_service_t *service, int64_t step, tr_message_t *reply,
                              tr_error_t *err)
{
    // Rollouts on this GPU map the weights where they are: nothing is copied or served.
    if (service->stays_on_gpu) {
        return publish_on_gpu(service, step, reply, err);
    }
    uint64_t checksum;
    tr_trainer_t *trainer = service->learner.trainer;
    TR_TRY(open_publisher(service, err));
    TR_TRY(tr_weights_publish(&checksum, service->weights, (uint64_t)step, fill_segment, trainer,
                              err));
    tr_log(TR_LOG_INFO, "weights", "version=%lld checksum=%016llx \"published\"", (long long)step,
           (unsigned long long)checksum);
    json_t *weights = tr_weights_describe(service->weights);
    if (service->server != NULL) {
        tr_weights_server_describe(weights, service->server);
    }
    json_object_set_new(tr_message_body(reply), "weights", weights);
    return TR_OK;
}

/// `publish`: {step}, no tensors -> {weights: a description (proto/weights/weights.h)}; the version
/// is the step.
static tr_status publish(void *context, const tr_message_t *request, tr_message_t *reply,
                         tr_error_t *err)
{
    actor_service_t *service = context;
    int64_t step;
    TR_TRY(expect_step(&step, service, request, "publish", err));
    if (tr_collective_rank(service->options->collective) > 0) {
        return tr_trainer_attend(service->learner.trainer, err);
    }
    return tr_trainer_dismiss(service->learner.trainer, publish_here(service, step, reply, err));
}

/// `save`: see proto/learner/learner.h; no tensors.
static tr_status save(void *context, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err)
{
    actor_service_t *service = context;
    (void)reply;
    TR_TRY(expect_learner(service, err));
    return tr_learner_save(&service->learner, request, err);
}

/// `restore`: likewise. The body is a config: it names the reference too.
static tr_status restore(void *context, const tr_message_t *request, tr_message_t *reply,
                         tr_error_t *err)
{
    actor_service_t *service = context;
    (void)reply;
    if (service->options->role != TR_ROLE_ACTOR) {
        return expect_learner(service, err);
    }
    // A reference that follows the policy is rolled back too: its directory is the checkpoint's.
    const json_t *config = tr_message_body(request);
    name_reference(service, config);
    return tr_learner_restore(&service->learner, config, is_scalar(config), service->options, err);
}

int main(int argc, char **argv)
{
    static const tr_method_t methods[] = {
        {"logprobs", logprobs},
        {"forget", forget},
        {"mix_reference", mix_reference},
        {"save_reference", save_reference},
        // One handler for all: training.c finds the algorithm by the method.
        {"train", train},
        {"train_grpo", train},
        {"train_sft", train},
        {"train_dpo", train},
        {"train_kto", train},
        {"train_reward", train},
        {"train_steps", train},
        {"publish", publish},
        {"save", save},
        {"restore", restore},
    };
    tr_service_options_t options;
    tr_error_t err = {0};
    tr_service_options_init(&options, TR_ROLE_ACTOR);
    tr_service_parse(&options, argc, argv, "learns the policy of a Troupe run");
    actor_service_t service = {.options = &options};
    options.welcome = welcome;
    tr_status status = tr_service_join(&options, &err);
    if (status == TR_OK) {
        status =
            tr_service_run(&options, methods, sizeof methods / sizeof *methods, &service, &err);
    }
    unload(&service);
    tr_service_options_release(&options);
    return tr_status_report(status, &err);
}
