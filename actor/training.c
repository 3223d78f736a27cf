// Serves training requests: what comes before and after every algorithm's own file.
//
// Apart from main.c, which has the methods that do not train. A request is checked in full
// before the learner is marked as stale, so a bad one leaves it as it was. Next: ppo.c, or the file
// of another algorithm.
#include "actor/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/body.h"

/// A new algorithm is a file, a row here and a method in main.c.
static const actor_algorithm_t *const algorithms[] = {
    &actor_ppo, &actor_grpo, &actor_sft, &actor_dpo, &actor_kto, &actor_reward, &actor_steps};

/// The algorithm that serves the method.
static tr_status find(const actor_algorithm_t **algorithm, const char *method, tr_error_t *err)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        if (strcmp(algorithms[i]->method, method) == 0) {
            *algorithm = algorithms[i];
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_UNSUPPORTED, "method '%.100s' trains nothing", method);
}

/// Reads what all algorithms need. After a failure there is nothing to release.
static tr_status open_training(actor_training_t *t, tr_learner_t *learner,
                               const tr_message_t *request, bool scalar, tr_error_t *err)
{
    *t = (actor_training_t){.learner = learner, .request = request};
    // A restore that failed leaves no model: the controller goes back to its checkpoint.
    TR_TRY(tr_learner_holds(learner, err));
    const tr_model_t *model = tr_trainer_model(learner->trainer);
    // A language model has no scores, a reward model no log-probs.
    if (tr_model_config(model)->scalar_head != scalar) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "this actor learns a %s",
                       scalar ? "policy, not scores" : "reward model, not a policy");
    }
    // Fails with TR_ERR_VERSION when the request is not for this learner's next step.
    TR_TRY(tr_learner_read_train_pass(&t->pass, learner, tr_message_body(request), err));
    if (t->pass.epochs > 0) {
        tr_status status = tr_learner_take(&t->sequences, &t->owned, model, request, err);
        if (status != TR_OK) {
            free(t->owned);
            return status;
        }
        // The last start is the number of response tokens: what every tensor of numbers must have.
        t->tokens = (size_t)t->sequences.response_starts[t->sequences.count];
    }
    t->metrics = json_object();
    return TR_OK;
}

/// Reads the algorithm's options by their table and trains.
static tr_status train(actor_training_t *t, const actor_algorithm_t *algorithm, tr_error_t *err)
{
    // Process reward models have no options beside the pass.
    const tr_fields_t *fields = algorithm->options;
    if (fields == NULL) {
        return algorithm->train(t, NULL, err);
    }
    // The struct's type is the algorithm's own matter: its table says how large it is.
    void *options = tr_calloc(1, fields->size);
    tr_status status =
        tr_fields_from_json(options, fields, tr_message_body(t->request), algorithm->method, err);
    if (status == TR_OK) {
        status = algorithm->train(t, options, err);
    }
    tr_fields_release(options, fields);
    free(options);
    return status;
}

tr_status actor_train(tr_learner_t *learner, const tr_message_t *request, tr_message_t *reply,
                      tr_error_t *err)
{
    const actor_algorithm_t *algorithm = NULL;
    actor_training_t t;
    TR_TRY(find(&algorithm, tr_message_method(request), err));
    TR_TRY(open_training(&t, learner, request, algorithm->scalar, err));
    // Without an epoch there are no sequences, and no loss to report.
    tr_status status = t.pass.epochs > 0 ? train(&t, algorithm, err) : TR_OK;
    if (status == TR_OK) {
        // Only here is the learner's state known again; training had marked it as stale.
        if (!t.pass.evaluate) {
            learner->step = t.pass.step;
        }
        // A new reference: t.metrics is released below either way.
        json_object_set(tr_message_body(reply), "metrics", t.metrics);
    }
    json_decref(t.metrics);
    free(t.owned);
    return status;
}

// For the files of the algorithms

void actor_training_begins(actor_training_t *t)
{
    // An evaluation changes no weight, so nothing can be left half done.
    if (!t->pass.evaluate) {
        t->learner->step = TR_LEARNER_STALE;
    }
}

tr_status actor_training_take(const float **values, const actor_training_t *t, const char *name,
                              tr_error_t *err)
{
    tr_view_t view;
    TR_TRY(tr_message_expect_tensor(&view, t->request, name, TR_F32, t->tokens, err));
    *values = view.data;
    return TR_OK;
}

float actor_largest_difference(const float *a, const float *b, size_t n)
{
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float difference = fabsf(a[i] - b[i]);
        if (isnan(difference)) {
            return INFINITY;
        }
        largest = difference > largest ? difference : largest;
    }
    return largest;
}
