/// Models of which a part is trained: frozen parameters keep their bits, trained ones get the bits
/// of an update of the whole model, and gradients, moments, checkpoints and what is published are
/// of the trained ones alone.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/sft.h"
#include "common/hf/safetensors.h"
#include "common/model/trainer.h"
#include "tests/support/learning.h"
#include "tests/support/scratch.h"

// Selections

static bool trains_norms(void *context, const tr_weight_t *weight)
{
    (void)context;
    return weight->kind == TR_WEIGHT_INPUT_NORM || weight->kind == TR_WEIGHT_POST_NORM ||
           weight->kind == TR_WEIGHT_FINAL_NORM;
}

/// What LoRA trains beside: nothing but matrices of layers.
static bool trains_projections(void *context, const tr_weight_t *weight)
{
    (void)context;
    return weight->kind == TR_WEIGHT_QKV || weight->kind == TR_WEIGHT_DOWN;
}

/// context: the config.
static bool trains_last_layer(void *context, const tr_weight_t *weight)
{
    return weight->segment == ((const tr_model_config_t *)context)->layers;
}

static bool trains_head(void *context, const tr_weight_t *weight)
{
    (void)context;
    return weight->kind == TR_WEIGHT_HEAD || weight->kind == TR_WEIGHT_SCORE;
}

static bool trains_embedding(void *context, const tr_weight_t *weight)
{
    (void)context;
    return weight->kind == TR_WEIGHT_EMBEDDING;
}

static bool trains_nothing(void *context, const tr_weight_t *weight)
{
    (void)context, (void)weight;
    return false;
}

typedef bool trains_fn(void *context, const tr_weight_t *weight);
static trains_fn *const SELECTIONS[] = {trains_norms, trains_projections, trains_last_layer,
                                        trains_head, trains_embedding};
enum { SELECTIONS_COUNT = sizeof SELECTIONS / sizeof *SELECTIONS };

// Trainers of a part

static tr_status open_model(small_t *small, const tr_model_config_t *config, tr_model_use_t use,
                            trains_fn *trains, tr_error_t *err)
{
    const tr_selection_t selection = {trains, (void *)config};
    const tr_model_options_t options = {.use = use, .trained = trains != NULL ? &selection : NULL};
    cr_assert(rig_open(&small->rig, NULL, 2));
    TR_TRY(tr_model_new_with(&small->model, config, small->rig.backend, &options, err));
    small->config = tr_model_config(small->model);
    small->total = tr_model_layout(small->model)->total;
    tr_model_write_parameters(small->model,
                              small_weights(&small->rig, tr_model_layout(small->model)));
    return TR_OK;
}

/// trains NULL: all.
static tr_status open_learning(learning_t *learning, const tr_model_config_t *config,
                               trains_fn *trains, tr_error_t *err)
{
    const tr_optimizer_options_t adamw = {
        .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.1};
    *learning = (learning_t){0};
    TR_TRY(open_model(&learning->small, config, TR_MODEL_LEARNS, trains, err));
    learning->total = learning->small.total;
    return tr_trainer_new(&learning->trainer, &learning->small.model, &adamw, NULL, err);
}

static void open_ok(learning_t *learning, const tr_model_config_t *config, trains_fn *trains)
{
    tr_error_t err = {0};
    cr_assert_eq(open_learning(learning, config, trains, &err), TR_OK, "%s", err.text);
}

static tr_status sft(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)context, (void)err;
    for (size_t i = 0; i < chunk->n; i++) { // of a value model too: any loss does
        dout[i] = -(1.0f + 0.1f * (float)i) / (float)chunk->normalizer;
    }
    return TR_OK;
}

static void learn(learning_t *learning, uint32_t step)
{
    tr_train_pass_t pass = learning_walk(2, 1e-2);
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    pass.step = step;
    tr_sequences_t sequences = learning_sequences(&learning->small);
    tr_status status =
        tr_trainer_run_pass(learning->trainer, &sequences, &pass, sft, NULL, &result, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
}

/// The kinds of heads: a tied embedding, a head of its own, a scalar.
static tr_model_config_t kind_of(size_t kind)
{
    tr_model_config_t config = learning_config(kind == 2);
    config.layers = 3;
    config.tied_embeddings = kind == 0;
    return config;
}

// Laws

/// The gradient of a parameter does not depend on whether others are trained, and without clipping
/// nor does its first update.
static void check_first_update(size_t kind, trains_fn *trains, bool recompute)
{
    const tr_model_config_t config = kind_of(kind);
    learning_t all, part;
    open_ok(&all, &config, NULL);
    const float *before = learning_parameters(&all);
    learn(&all, 1);
    const float *expected = learning_parameters(&all);
    open_ok(&part, &config, trains);
    tr_model_recompute(tr_trainer_model(part.trainer), recompute);
    learn(&part, 1);
    const float *got = learning_parameters(&part);
    const tr_layout_t *layout = tr_model_layout(tr_trainer_model(part.trainer));
    for (size_t i = 0; i < layout->count; i++) {
        const tr_parameter_t *parameter = &layout->parameters[i];
        const size_t at = parameter->offset, count = parameter->rows * parameter->columns;
        check_same(got + at, (parameter->weight->trained ? expected : before) + at, count,
                   parameter->name);
        cr_expect(memcmp(expected + at, before + at, count * sizeof *before) != 0,
                  "%s does not move: the test shows nothing", parameter->name);
    }
    learning_close(&part);
    learning_close(&all);
}

Test(frozen, frozen_parameters_keep_their_bits_and_trained_ones_move_as_in_a_full_update)
{
    for (size_t i = 0; i < SELECTIONS_COUNT; i++) {
        for (size_t kind = 0; kind < 3; kind++) {
            if (kind != 0 || SELECTIONS[i] != trains_head) { // a tied head is the embedding
                check_first_update(kind, SELECTIONS[i], i % 2 == 1);
            }
        }
    }
}

Test(frozen, a_model_without_a_trained_parameter_is_refused_by_the_trainer)
{
    const tr_model_config_t config = kind_of(1);
    learning_t learning;
    tr_error_t err = {0};
    cr_expect_eq(open_learning(&learning, &config, trains_nothing, &err), TR_ERR_ARGUMENT);
    cr_expect_not_null(strstr(err.text, "frozen"), "%s", err.text);
    small_close(&learning.small);
}

Test(frozen, gradients_and_moments_take_memory_for_trained_parameters_alone)
{
    const tr_model_config_t config = kind_of(1);
    size_t peaks[2], trained[2];
    for (size_t i = 0; i < 2; i++) {
        learning_t learning;
        open_ok(&learning, &config, i == 0 ? NULL : trains_last_layer);
        trained[i] = tr_model_layout(tr_trainer_model(learning.trainer))->flat[TR_TRAINED].total;
        const tr_memory_use_t *memory = &learning.small.rig.backend->memory;
        const size_t moments = memory->now;
        learn(&learning, 1);
        peaks[i] = memory->peak;
        cr_expect_geq(moments, (learning.total + 2 * trained[i]) * sizeof(float));
        learning_close(&learning);
    }
    // Two moments, and for three chunks two levels of the tree.
    const size_t saved = (trained[0] - trained[1]) * sizeof(float) * (2 + 2);
    cr_expect_leq(peaks[1], peaks[0] - saved);
}

static float *moments_of(const char *directory, size_t *count)
{
    tr_error_t err = {0};
    tr_safetensors_t *file = NULL;
    char *path = tr_format("%s/optimizer.safetensors", directory);
    cr_assert_eq(tr_safetensors_open(&file, path, &err), TR_OK, "%s", err.text);
    *count = tr_safetensors_find(file, "exp_avg")->count;
    float *values = tr_calloc(*count, sizeof *values);
    cr_assert_eq(tr_safetensors_copy(file, "exp_avg", TR_F32, values, *count, &err), TR_OK);
    tr_safetensors_close(&file);
    free(path);
    return values;
}

Test(frozen, a_checkpoint_holds_all_parameters_and_the_trained_ones_moments_and_goes_on)
{
    const tr_model_config_t config = kind_of(0);
    char *folder = scratch_open();
    char *directory = tr_format("%s/saved", folder);
    learning_t on, back;
    tr_error_t err = {0};
    size_t count;
    open_ok(&on, &config, trains_last_layer);
    learn(&on, 1);
    cr_assert_eq(
        tr_trainer_save(on.trainer, directory, &(tr_save_options_t){.optimizer = true}, &err),
        TR_OK, "%s", err.text);
    free(moments_of(directory, &count));
    cr_expect_eq(count, tr_model_layout(tr_trainer_model(on.trainer))->flat[TR_TRAINED].total);
    const float *saved = learning_parameters(&on);
    learn(&on, 2);

    open_ok(&back, &config, trains_last_layer);
    tr_model_t *model = tr_trainer_model(back.trainer);
    cr_assert_eq(tr_model_load(model, directory, 1, &err), TR_OK, "%s", err.text);
    check_same(learning_parameters(&back), saved, back.total, "from the directory");
    cr_assert_eq(tr_trainer_restore(back.trainer, directory, &err), TR_OK, "%s", err.text);
    learn(&back, 2);
    check_same(learning_parameters(&back), learning_parameters(&on), on.total, "parameters");
    learning_close(&back);

    open_ok(&back, &config, trains_norms); // another selection is another optimizer
    cr_expect_neq(tr_trainer_restore(back.trainer, directory, &err), TR_OK);
    cr_expect_not_null(strstr(err.text, "exp_avg"), "%s", err.text);
    learning_close(&back);
    learning_close(&on);
    free(directory);
    scratch_close(&folder);
}

Test(frozen, what_is_published_is_trained_and_makes_a_follower_the_same_model)
{
    const tr_model_config_t config = kind_of(1);
    learning_t learning;
    small_t follower;
    tr_error_t err = {0};
    open_ok(&learning, &config, trains_projections);
    cr_assert_eq(open_model(&follower, &config, TR_MODEL_DECODES, trains_projections, &err), TR_OK);
    learn(&learning, 1);
    const tr_model_t *model = tr_trainer_model(learning.trainer);
    const size_t bytes = tr_model_weight_bytes(model);
    cr_expect_eq(bytes, tr_model_layout(model)->flat[TR_TRAINED].total * sizeof(float));
    void *weights = rig_memory(&follower.rig, bytes);
    cr_assert_eq(tr_trainer_read_weights(learning.trainer, weights, &err), TR_OK);
    tr_model_write_weights(follower.model, weights);
    float *got = rig_memory(&follower.rig, follower.total * sizeof *got);
    cr_assert_eq(tr_model_read_parameters(follower.model, got, &err), TR_OK);
    check_same(got, learning_parameters(&learning), follower.total, "parameters");
    tr_sequences_t sequences = learning_sequences(&follower);
    const float *expected;
    small_t whole;
    cr_assert_eq(open_model(&whole, &config, TR_MODEL_READS, NULL, &err), TR_OK);
    tr_model_write_parameters(whole.model, got);
    expected = small_response(&whole, &sequences, 2, 1.0f);
    check_same(small_response(&follower, &sequences, 2, 1.0f), expected,
               (size_t)sequences.response_starts[sequences.count], "log-probs");
    small_close(&whole);
    small_close(&follower);
    learning_close(&learning);
}
