// A learner: opened from the controller's config, asked to train, infer, save and restore.
//
// Apart from actor and critic, which share all of it but their losses. Every method checks the step
// first, so that a learner which missed something says so before it does anything. Next:
// common/model/trainer.h, which takes the updates.
#include "proto/learner/learner.h"

#include <stdlib.h>
#include <string.h>

#include "common/text/chat.h"
#include "proto/adapter.h"
#include "proto/body.h"
#include "proto/device.h"
#include "proto/learner/tally.h"

/// Reads the optimizer's options and how the ranks share its work. The seed of stochastic rounding
/// is the run's.
static tr_status read_options(tr_optimizer_options_t *options, tr_ranks_t *ranks,
                              const json_t *config, tr_collective_t *collective, tr_error_t *err)
{
    json_t *object;
    int64_t seed;
    tr_sharing_options_t sharing;
    TR_TRY(tr_body_integer(&seed, config, "seed", 0, INT64_MAX, "welcome", err));
    TR_TRY(tr_body_object(&object, config, "optimizer", "welcome", err));
    options->seed = (uint64_t)seed;
    TR_TRY(tr_fields_from_json(options, &tr_optimizer_fields, object, "welcome optimizer", err));
    TR_TRY(tr_fields_from_json(&sharing, &tr_sharing_fields, config, "welcome", err));
    *ranks = (tr_ranks_t){.collective = collective,
                          .zero_stage = (unsigned)sharing.zero_stage,
                          .gradient_sum = (tr_gradient_sum_t)sharing.gradient_sum};
    return TR_OK;
}

/// Which parameters the model keeps: with stochastic rounding those in bf16 alone.
static tr_status choose_use(tr_model_use_t *use, const tr_learner_t *learner,
                            const tr_optimizer_options_t *options, const tr_ranks_t *ranks,
                            tr_error_t *err)
{
    // Rounding up or down by chance replaces the f32 copy of the parameters, so it needs bf16 ones.
    bool rounds = options->rounding == TR_ROUNDING_STOCHASTIC;
    *use = rounds ? TR_MODEL_LEARNS_ROUNDED : TR_MODEL_LEARNS;
    if (rounds && (learner->backend->real != TR_BF16 || ranks->zero_stage == 3)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "stochastic rounding is for a GPU in bf16 whose ranks hold all parameters: "
                       "say 'optimizer.rounding: nearest', or 'precision: bf16' and a 'zero_stage' "
                       "below 3");
    }
    return TR_OK;
}

/// The source's weights, with the adapter of the directory, or a fresh one (NULL).
static tr_status load_adapted(tr_model_t *model, const char *source, const char *directory,
                              uint64_t seed, tr_error_t *err)
{
    TR_TRY(tr_model_load(model, source, seed, err));
    return directory != NULL ? tr_model_load_adapter(model, directory, err) : TR_OK;
}

/// The model of the checkpoint, else of the config's source. *model: NULL after a failure.
static tr_status open_model(tr_model_t **model, const tr_learner_t *learner, const json_t *config,
                            const char *checkpoint, const char *source, bool scalar,
                            const tr_optimizer_options_t *options, const tr_ranks_t *ranks,
                            const tr_lora_t *lora, const char *adapter, tr_error_t *err)
{
    tr_model_config_t shape;
    tr_model_options_t model_options = {.lora = lora}; // of none, all parameters are trained
    // Everything that training changes is in the checkpoint; tokenizer files are in the source, and
    // so is the model of an adapter.
    const char *directory = checkpoint != NULL && lora->r == 0 ? checkpoint : source;
    TR_TRY(choose_use(&model_options.use, learner, options, ranks, err));
    // With zero_stage 3 the parameters themselves are sharded, so the model must know the ranks.
    if (ranks->zero_stage == 3 && tr_collective_size(ranks->collective) > 1) {
        model_options.collective = ranks->collective;
    }
    // A reward model or a critic: the head has one output instead of the vocabulary.
    if (scalar) {
        TR_TRY(tr_model_config_load(&shape, directory, err));
        tr_model_config_make_scalar(&shape);
    } else {
        TR_TRY(tr_model_config_load_language(&shape, directory, err));
    }
    TR_TRY(tr_model_new_with(model, &shape, learner->backend, &model_options, err));
    // A checkpoint has the run's own weights, and a scalar model is never trained from scratch.
    if (!scalar && checkpoint == NULL && json_is_true(json_object_get(config, "from_scratch"))) {
        tr_model_randomize(*model, options->seed);
        return TR_OK;
    }
    tr_status status = lora->r > 0
                           ? load_adapted(*model, source, checkpoint != NULL ? checkpoint : adapter,
                                          options->seed, err)
                           : tr_model_load(*model, directory, options->seed, err);
    if (status != TR_OK) {
        tr_model_destroy(model);
    }
    return status;
}

/// The config is read before the model is made, which takes longest.
tr_status tr_learner_open(tr_learner_t *learner, const json_t *config, bool scalar,
                          const tr_service_options_t *options, tr_error_t *err)
{
    const char *source;
    int64_t step, eos;
    tr_optimizer_options_t optimizer;
    tr_ranks_t ranks;
    tr_model_t *model = NULL;
    tr_lora_t lora;
    const char *adapter;
    const char *checkpoint = json_string_value(json_object_get(config, "checkpoint"));
    TR_TRY(tr_body_string(&source, config, "model", "welcome", err));
    TR_TRY(tr_body_integer(&step, config, "step", 0, INT64_MAX, "welcome", err));
    TR_TRY(tr_body_integer(&eos, config, "eos", -1, INT32_MAX, "welcome", err));
    TR_TRY(read_options(&optimizer, &ranks, config, options->collective, err));
    // A restore keeps the device: only the model and its state are made anew.
    if (learner->backend == NULL) {
        // Of a list of devices the rank's own.
        TR_TRY(tr_device_open(&learner->backend, config, options->threads,
                              tr_collective_rank(options->collective), err));
        // The collective must be able to move this device's vectors.
        TR_TRY(tr_collective_check(options->collective, learner->backend, err));
    }
    tr_status status = tr_adapter_read(&lora, &adapter, config, err);
    if (status == TR_OK) {
        status = open_model(&model, learner, config, checkpoint, source, scalar, &optimizer, &ranks,
                            &lora, adapter, err);
    }
    tr_lora_release(&lora);
    TR_TRY(status);
    // gradient_checkpointing: the same bytes with less memory.
    tr_model_recompute(model, optimizer.gradient_checkpointing);
    // Takes the model; one that a failure has left is destroyed.
    tr_dtype_t dtype;
    status = tr_model_align(model, (int32_t)eos, err);
    if (status == TR_OK) {
        status = tr_model_stored_dtype(&dtype, source, err);
        // As PEFT, which trains adapters in fp32 whatever their model is in.
        dtype = tr_model_lora(model) != NULL ? TR_F32 : dtype;
    }
    if (status == TR_OK) {
        status = tr_trainer_new(&learner->trainer, &model, &optimizer, &ranks, err);
    }
    tr_model_destroy(&model);
    TR_TRY(status);
    if (checkpoint != NULL) {
        TR_TRY(tr_trainer_restore(learner->trainer, checkpoint, err));
    } else {
        tr_model_set_scores(tr_trainer_model(learner->trainer), 0.0,
                            0.0); // not those of the model before training
    }
    // Only now: a learner that failed above must not look like one that is ready.
    learner->step = (uint64_t)step;
    learner->source = tr_strdup(source);
    learner->dtype = dtype;
    tr_log(TR_LOG_INFO, "learner", "model=%s step=%lld device=%s form=%s \"ready\"",
           checkpoint != NULL ? checkpoint : source, (long long)step, learner->backend->ops->name,
           learner->backend->form);
    return TR_OK;
}

/// Releases everything but the device.
static void unload(tr_learner_t *learner)
{
    tr_trainer_destroy(&learner->trainer);
    free(learner->source);
    // The device stays open: a restore needs it again.
    *learner = (tr_learner_t){.backend = learner->backend};
}

/// The model first, since it lies in the backend's memory.
void tr_learner_close(tr_learner_t *learner)
{
    unload(learner);
    tr_backend_close(&learner->backend);
}

/// After a restore that failed, until one succeeds.
tr_status tr_learner_holds(const tr_learner_t *learner, tr_error_t *err)
{
    if (learner->trainer == NULL) {
        return tr_fail(err, TR_ERR_VERSION,
                       "this learner holds no model; it must be restored first");
    }
    return TR_OK;
}

/// Steps are counted at both ends, so that a learner that was restarted or a request that came
/// twice cannot train a step twice or skip one.
tr_status tr_learner_expect(const tr_learner_t *learner, int64_t step, tr_error_t *err)
{
    TR_TRY(tr_learner_holds(learner, err));
    if (step < 0 || (uint64_t)step != learner->step) {
        return tr_fail(err, TR_ERR_VERSION, "asked at step %lld; this learner has finished %llu",
                       (long long)step, (unsigned long long)learner->step);
    }
    return TR_OK;
}

/// The same body for all algorithms; what a loss needs besides is read by its own page.
tr_status tr_learner_read_train_pass(tr_train_pass_t *pass, const tr_learner_t *learner,
                                     const json_t *body, tr_error_t *err)
{
    int64_t step, chunk, seed, epochs, minibatches;
    double rate, temperature;
    // An evaluation belongs to the finished step, training to the one after it.
    bool evaluate = json_is_true(json_object_get(body, "evaluate"));
    TR_TRY(tr_body_integer(&step, body, "step", evaluate ? 0 : 1, UINT32_MAX, "train", err));
    TR_TRY(tr_learner_expect(learner, evaluate ? step : step - 1, err));
    // All fields are required: a default here would be a second one beside the recipe's.
    TR_TRY(tr_body_integer(&chunk, body, "chunk", 1, INT32_MAX, "train", err));
    TR_TRY(tr_body_integer(&seed, body, "seed", 0, INT64_MAX, "train", err));
    TR_TRY(tr_body_integer(&epochs, body, "epochs", 0, INT32_MAX, "train", err));
    TR_TRY(tr_body_integer(&minibatches, body, "minibatches", 1, INT32_MAX, "train", err));
    TR_TRY(tr_body_real(&rate, body, "learning_rate", "train", err));
    TR_TRY(tr_body_real(&temperature, body, "temperature", "train", err));
    *pass = (tr_train_pass_t){
        .epochs = (size_t)epochs,
        .minibatches = (size_t)minibatches,
        .chunk = (size_t)chunk,
        .seed = (uint64_t)seed,
        .step = (uint32_t)step,
        .temperature = (float)temperature,
        .evaluate = evaluate,
        .learning_rate = rate,
    };
    return TR_OK;
}

/// Reads the body's scores, if it has any, into the model's config.
static tr_status take_scores(const tr_learner_t *learner, const json_t *body, tr_error_t *err)
{
    json_t *scores;
    double mean, deviation;
    // Optional: only reward.normalize sends it.
    if (json_object_get(body, "scores") == NULL) {
        return TR_OK;
    }
    TR_TRY(tr_body_object(&scores, body, "scores", "save", err));
    TR_TRY(tr_body_real(&mean, scores, "mean", "save: scores", err));
    TR_TRY(tr_body_real(&deviation, scores, "std", "save: scores", err));
    // Written so that a NaN fails too.
    if (!(deviation > 0.0)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "the scores' standard deviation is %g: they cannot be normalized",
                       deviation);
    }
    // Kept in the model, so later saves write them too.
    tr_model_set_scores(tr_trainer_model(learner->trainer), mean, deviation);
    return TR_OK;
}

/// The index of the body's text among the names; the last of them is NULL.
static tr_status read_choice(size_t *index, const json_t *body, const char *key,
                             const char *const *names, tr_error_t *err)
{
    const char *name;
    TR_TRY(tr_body_string(&name, body, key, "save", err));
    for (*index = 0; names[*index] != NULL; (*index)++) {
        if (strcmp(names[*index], name) == 0) {
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_PROTOCOL, "save: %s: '%s' is none that there is", key, name);
}

/// The options but the step's and the directory's.
static tr_status read_save(tr_save_options_t *options, const tr_learner_t *learner,
                           const json_t *body, tr_error_t *err)
{
    const tr_dtype_t dtypes[] = {learner->dtype, TR_F32, TR_BF16, TR_F16}; // by tr_save_dtype_t
    size_t dtype;
    const json_t *chat = json_object_get(body, "chat_template");
    *options = (tr_save_options_t){.source = learner->source};
    TR_TRY(tr_body_bool(&options->optimizer, body, "optimizer", "save", err));
    TR_TRY(read_choice(&dtype, body, "dtype", tr_save_dtype_names, err));
    if (!json_is_string(chat) && !json_is_null(chat)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "save: chat_template: expected a text or null");
    }
    options->dtype = dtypes[dtype];
    options->chat_template = json_string_value(chat); // the body's
    return TR_OK;
}

tr_status tr_learner_put_balance(json_t *tally, const tr_train_pass_result_t *result,
                                 tr_error_t *err)
{
    const tr_balance_t *sums = &result->balance;
    TR_TRY(tr_tally_put(tally, "aux_loss", sums->loss, result->balance_weight, err));
    TR_TRY(tr_tally_put(tally, "router/entropy", sums->entropy, result->balance_weight, err));
    return tr_tally_put(tally, "router/max_load", sums->load, result->balance_weight, err);
}

/// Only the state after whole steps is saved: the request names the step that it believes finished.
tr_status tr_learner_save(const tr_learner_t *learner, const tr_message_t *request, tr_error_t *err)
{
    const json_t *body = tr_message_body(request);
    const char *directory;
    tr_save_options_t options;
    int64_t step;
    TR_TRY(tr_body_integer(&step, body, "step", 0, INT64_MAX, "save", err));
    TR_TRY(tr_learner_expect(learner, step, err));
    TR_TRY(tr_body_string(&directory, body, "directory", "save", err));
    TR_TRY(read_save(&options, learner, body, err));
    // Before saving, since they are part of config.json.
    TR_TRY(take_scores(learner, body, err));
    TR_TRY(tr_trainer_save(learner->trainer, directory, &options, err));
    tr_log(TR_LOG_INFO, "learner", "step=%lld directory=%s \"saved\"", (long long)step, directory);
    return TR_OK;
}

/// Learners that live on go back too, so that all of a run are at the checkpoint's step.
tr_status tr_learner_restore(tr_learner_t *learner, const json_t *config, bool scalar,
                             const tr_service_options_t *options, tr_error_t *err)
{
    unload(learner);
    tr_status status = tr_learner_open(learner, config, scalar, options, err);
    if (status != TR_OK) {
        unload(learner);
    }
    return status;
}

/// *owned may be there after a failure of the second check too: the caller frees it in any case.
tr_status tr_learner_take(tr_sequences_t *sequences, int32_t **owned, const tr_model_t *model,
                          const tr_message_t *request, tr_error_t *err)
{
    const tr_model_config_t *config = tr_model_config(model);
    TR_TRY(tr_sequences_take(sequences, owned, request, err));
    // Ids index the embedding: a bad one must not reach the model.
    return tr_sequences_check(sequences, config->vocabulary, config->max_positions, err);
}

/// For log-probs and values alike: `name` is the tensor's, and begins the sentences of errors.
tr_status tr_learner_infer(tr_response_pass_t *pass, const tr_model_t *model, const char *name,
                           const tr_message_t *request, tr_message_t *reply, tr_error_t *err)
{
    tr_sequences_t sequences;
    double temperature;
    int64_t chunk;
    int32_t *owned = NULL;
    float *out = NULL;
    tr_status status;
    TR_TRY(tr_body_real(&temperature, tr_message_body(request), "temperature", name, err));
    TR_TRY(tr_body_integer(&chunk, tr_message_body(request), "chunk", 1, INT32_MAX, name, err));
    TR_TRY_GOTO(tr_learner_take(&sequences, &owned, model, request, err), done);
    size_t tokens = (size_t)sequences.response_starts[sequences.count];
    // One more, so that no response tokens at all are no special case.
    out = tr_calloc(tokens + 1, sizeof *out);
    TR_TRY_GOTO(tr_response_forward_all(pass, &sequences, (size_t)chunk, (float)temperature, out,
                                        NULL, err),
                done);
    tr_message_add_vector(reply, name, TR_F32, tokens, out);
done:
    free(out);
    free(owned);
    return status;
}
