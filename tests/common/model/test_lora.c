/// Adapters against PEFT: tests/golden/lora, made by tests/golden/lora.py. What is saved here loads
/// in PEFT too (not part of the test run, which has no Python with peft):
///
///     mkdir /tmp/saved
///     TROUPE_SAVED=/tmp/saved build/tests/common_model_test_lora --filter 'lora/what_is_saved*'
///     python tests/golden/lora.py /tmp/saved
#include "common/model/lora.h"

#include <criterion/criterion.h>
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/model/trainer.h"
#include "tests/support/learning.h"
#include "tests/support/models.h"
#include "tests/support/scratch.h"
#include "tests/support/subject.h"

#define LORA TEST_SOURCE_DIR "/tests/golden/lora/"
#define MODELS TEST_SOURCE_DIR "/tests/golden/models/"

/// The model of a golden adapter, as its file names it; the caller's.
static char *base_of(const char *adapter)
{
    char *path = tr_format("%s/adapter_config.json", adapter);
    json_t *config = json_load_file(path, 0, NULL);
    char *base = tr_format(TEST_SOURCE_DIR "/%s",
                           json_string_value(json_object_get(config, "base_model_name_or_path")));
    json_decref(config);
    free(path);
    return base;
}

/// Calls check for each golden adapter with, or without, a scalar head.
static void for_each_adapter(void (*check)(subject_t *subject, const char *adapter))
{
    glob_t found;
    cr_assert_eq(glob(LORA "*", 0, NULL, &found), 0);
    cr_assert_geq(found.gl_pathc, 12);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *base = base_of(found.gl_pathv[i]);
        subject_t subject;
        subject_open(&subject, base, found.gl_pathv[i]);
        check(&subject, found.gl_pathv[i]);
        subject_close(&subject);
        free(base);
    }
    globfree(&found);
}

static void check_rows(subject_t *subject, const char *adapter)
{
    if (subject->small.config->scalar_head) {
        subject_check_values(subject, adapter);
    } else {
        subject_check_logits(subject, adapter);
    }
}

Test(lora, logits_and_values_are_pefts)
{
    for_each_adapter(check_rows);
}

/// Numbers of the trained vector against the golden ones of that name.
static void check_trained(subject_t *subject, const tr_layout_t *layout, const char *adapter,
                          const char *prefix, const float *trained, double relative)
{
    size_t checked = 0, count;
    for (size_t p = 0; p < layout->count; p++) {
        tr_parameter_t parameter = layout->parameters[p];
        if (!parameter.weight->trained) {
            continue;
        }
        char *name = tr_format("%s.%s", prefix, parameter.name);
        char *what = tr_format("%s %s", adapter, name);
        const float *expected = subject_reals(subject, name, &count);
        parameter.offset = parameter.place; // of the trained vector alone
        cr_assert_eq(count, parameter.rows * parameter.columns, "%s", what);
        expect_relative(what, subject_stored(&subject->small, &parameter, trained), expected, count,
                        relative);
        checked += count;
        free(what);
        free(name);
    }
    cr_expect_eq(checked, layout->flat[TR_TRAINED].total);
}

static void check_gradients(subject_t *subject, const char *adapter)
{
    size_t count;
    const float *weights =
        subject_before_response(subject, subject_reals(subject, "weights", &count));
    const float *gradient = small_gradient(&subject->small, &subject->sequences, weights, 1.0f);
    check_trained(subject, tr_model_layout(subject->small.model), adapter, "grad", gradient, 1e-4);
}

Test(lora, gradients_are_pefts_and_of_the_adapter_alone)
{
    for_each_adapter(check_gradients);
}

static void check_merged(subject_t *subject, const char *adapter)
{
    tr_error_t err = {0};
    tr_model_t *merged;
    cr_assert_eq(tr_model_merge(&merged, subject->small.model, &err), TR_OK, "%s", err.text);
    tr_model_destroy(&subject->small.model);
    subject->small.model = merged;
    subject->small.config = tr_model_config(merged);
    cr_expect_null(tr_model_lora(merged));
    subject->tolerance = 1e-4; // other sums; delta nets make more of them
    check_rows(subject, adapter);
}

Test(lora, a_merged_model_computes_what_peft_does_with_the_adapter)
{
    for_each_adapter(check_merged);
}

// Three steps

static tr_status weighted(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    (void)err;
    tr_response_select(dout, context, chunk->sequences, chunk->chosen, chunk->count);
    return TR_OK;
}

static void take_steps(tr_trainer_t *trainer, const tr_sequences_t *sequences, float *weights,
                       size_t steps)
{
    tr_train_pass_t pass = learning_walk(2, 0.01);
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    pass.epochs = steps;
    tr_status status =
        tr_trainer_run_pass(trainer, sequences, &pass, weighted, weights, &result, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
}

static const tr_optimizer_options_t adamw = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-6};

static void check_steps(subject_t *subject, const char *adapter)
{
    size_t count;
    tr_error_t err = {0};
    tr_trainer_t *trainer;
    float *weights = subject_before_response(subject, subject_reals(subject, "weights", &count));
    const size_t total = subject->small.total;
    float *before = rig_memory(&subject->small.rig, 2 * total * sizeof *before);
    cr_assert_eq(tr_model_read_parameters(subject->small.model, before, &err), TR_OK);
    cr_assert_eq(tr_trainer_new(&trainer, &subject->small.model, &adamw, NULL, &err), TR_OK, "%s",
                 err.text);
    take_steps(trainer, &subject->sequences, weights, 3);
    const tr_model_t *model = tr_trainer_model(trainer);
    const tr_layout_t *layout = tr_model_layout(model);
    float *trained = rig_memory(&subject->small.rig, tr_model_weight_bytes(model));
    cr_assert_eq(tr_model_read_weights(model, trained, &err), TR_OK);
    check_trained(subject, layout, adapter, "after", trained, 5e-4);
    float *after = before + total;
    cr_assert_eq(tr_model_read_parameters(model, after, &err), TR_OK);
    for (size_t p = 0; p < layout->count; p++) {
        const tr_parameter_t *parameter = &layout->parameters[p];
        if (!parameter->weight->trained) {
            check_same(after + parameter->offset, before + parameter->offset,
                       parameter->rows * parameter->columns, parameter->name);
        }
    }
    tr_trainer_destroy(&trainer);
}

Test(lora, three_steps_of_adamw_are_pefts_and_leave_the_model_as_it_was)
{
    for_each_adapter(check_steps);
}

// Files

/// Where what is saved stays, for PEFT to load.
static char *saved_of(const char *folder, const char *adapter)
{
    const char *kept = getenv("TROUPE_SAVED");
    return tr_format("%s/%s", kept != NULL ? kept : folder, strrchr(adapter, '/') + 1);
}

static void check_saved(subject_t *subject, const char *adapter)
{
    char *folder = scratch_open(), *saved = saved_of(folder, adapter), *base = base_of(adapter);
    tr_error_t err = {0};
    tr_safetensors_t *files[2] = {NULL, NULL};
    const tr_save_options_t options = {.source = base};
    cr_assert_eq(tr_trainer_save_model(subject->small.model, saved, &options, &err), TR_OK, "%s",
                 err.text);
    char *paths[] = {tr_format("%s/adapter_model.safetensors", saved),
                     tr_format("%s/adapter_model.safetensors", adapter)};
    for (size_t f = 0; f < 2; f++) {
        cr_assert_eq(tr_safetensors_open(&files[f], paths[f], &err), TR_OK, "%s", err.text);
    }
    cr_assert_eq(tr_safetensors_count(files[0]), tr_safetensors_count(files[1]), "%s", adapter);
    for (size_t i = 0; i < tr_safetensors_count(files[0]); i++) {
        const tr_safetensors_info_t *got = tr_safetensors_at(files[0], i),
                                    *want = tr_safetensors_at(files[1], i);
        cr_assert_str_eq(got->name, want->name);
        cr_assert_eq(got->rank, want->rank, "%s", got->name);
        cr_assert_eq(memcmp(got->shape, want->shape, got->rank * sizeof *got->shape), 0, "%s",
                     got->name);
        cr_expect_eq(memcmp(got->data, want->data, got->count * tr_dtype_size(got->dtype)), 0,
                     "%s: %s", adapter, got->name);
    }
    tr_safetensors_close(&files[0]);
    tr_safetensors_close(&files[1]);
    small_t again;
    small_open_adapted(&again, base, saved, NULL, 2, false);
    check_same(small_response(&again, &subject->sequences, 2, 1.0f),
               small_response(&subject->small, &subject->sequences, 2, 1.0f),
               subject->tokens - subject->sequences.count, adapter);
    small_close(&again);
    free(paths[0]);
    free(paths[1]);
    free(base);
    free(saved);
    scratch_close(&folder);
}

Test(lora, what_is_saved_is_pefts_file_and_loads_to_the_same_bits)
{
    for_each_adapter(check_saved);
}

/// directory: gets an adapter_config.json in which the key has another value, as JSON.
static tr_status read_with(tr_lora_t *lora, const char *key, const char *value, tr_error_t *err)
{
    char *folder = scratch_open(), *path = tr_format("%s/adapter_config.json", folder);
    json_t *config = json_load_file(LORA "tied/adapter_config.json", 0, NULL);
    json_object_set_new(config, key, json_loads(value, JSON_DECODE_ANY, NULL));
    cr_assert_eq(json_dump_file(config, path, 0), 0);
    tr_status status = tr_lora_read(lora, folder, err);
    json_decref(config);
    free(path);
    scratch_close(&folder);
    return status;
}

Test(lora, a_key_that_is_not_understood_and_not_at_its_default_is_refused_by_name)
{
    static const char *const refused[][2] = {
        {"use_dora", "true"},
        {"bias", "\"all\""},
        {"rank_pattern", "{\"q_proj\": 4}"},
        {"alpha_pattern", "{\"q_proj\": 4}"},
        {"layers_to_transform", "[0]"},
        {"exclude_modules", "[\"q_proj\"]"},
        {"target_parameters", "[\"experts.down_proj\"]"},
        {"lora_bias", "true"},
        {"loftq_config", "{\"loftq_bits\": 4}"},
        {"init_lora_weights", "\"pissa\""},
        {"peft_type", "\"IA3\""},
        {"task_type", "\"SEQ_2_SEQ_LM\""},
        {"trainable_token_indices", "[1]"},
        {"use_what_comes_next", "7"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        tr_lora_t lora;
        tr_error_t err = {0};
        cr_expect_eq(read_with(&lora, refused[i][0], refused[i][1], &err), TR_ERR_UNSUPPORTED, "%s",
                     refused[i][0]);
        cr_expect_not_null(strstr(err.text, refused[i][0]), "%s", err.text);
        tr_lora_release(&lora);
    }
}

Test(lora, keys_at_their_defaults_and_of_training_alone_are_taken)
{
    static const char *const taken[][2] = {
        {"use_what_comes_next", "null"}, {"use_dora", "false"},    {"lora_dropout", "0.05"},
        {"fan_in_fan_out", "true"},      {"revision", "\"main\""}, {"inference_mode", "false"}};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        tr_lora_t lora;
        tr_error_t err = {0};
        cr_expect_eq(read_with(&lora, taken[i][0], taken[i][1], &err), TR_OK, "%s", err.text);
        cr_expect_eq(lora.r, 3);
        cr_expect_eq(lora.target_modules.count, 14);
        tr_lora_release(&lora);
    }
}

// Options

/// What the layout of a golden model says of an adapter of these modules; texts: one each.
static tr_status adapt(tr_layout_t *layout, const char *model, const char *target,
                       const char *saved, tr_error_t *err)
{
    tr_model_config_t config;
    tr_lora_t lora;
    char *directory = tr_format(MODELS "%s", model);
    cr_assert_eq(tr_model_config_load(&config, directory, err), TR_OK, "%s", err->text);
    tr_fields_init(&lora, &tr_lora_fields);
    cr_assert(tr_field_parse(&lora, tr_fields_find(&tr_lora_fields, "r"), "4", false));
    cr_assert(
        tr_field_parse(&lora, tr_fields_find(&tr_lora_fields, "target_modules"), target, true));
    if (saved != NULL) {
        cr_assert(
            tr_field_parse(&lora, tr_fields_find(&tr_lora_fields, "modules_to_save"), saved, true));
    }
    tr_layout_init(layout, &config);
    tr_status status = tr_layout_adapt(layout, &lora, err);
    tr_lora_release(&lora);
    free(directory);
    return status;
}

Test(lora, modules_that_are_not_adapted_are_refused_by_name)
{
    static const char *const refused[][4] = {
        {"tied", "q_prj", NULL, "q_prj"},
        {"tied", "embed_tokens", NULL, "model.embed_tokens"},
        {"tied", "lm_head", NULL, "lm_head"},
        {"tied", "q_proj", "embed_tokens", "tied"},
        {"tied", "q_proj", "v_proj", "model.layers.0.self_attn"},
        {"tied", "q_proj", "lm_head", "lm_head"},
        {"untied_bf16", "lm_head", NULL, "lm_head"},
        {"untied_bf16", "o_proj", "o_proj", "o_proj"},
        {"mixtral", "all-linear", NULL, "q_proj, k_proj, v_proj, o_proj"},
        {"qwen2_moe", "gate_proj", NULL, "gate_proj"},
        {"tied", "(q_proj", NULL, "(q_proj"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        tr_layout_t layout;
        tr_error_t err = {0};
        cr_expect_neq(adapt(&layout, refused[i][0], refused[i][1], refused[i][2], &err), TR_OK,
                      "%s", refused[i][1]);
        cr_expect_not_null(strstr(err.text, refused[i][3]), "%s", err.text);
        tr_layout_release(&layout);
    }
}

Test(lora, a_fresh_adapter_adds_nothing_and_begins_as_pefts_does)
{
    static const char *const inits[] = {"kaiming_uniform", "gaussian"};
    for (size_t kind = 0; kind < 2; kind++) {
        small_t base, fresh;
        tr_error_t err = {0};
        tr_lora_t lora;
        small_open_directory(&base, MODELS "qwen3", NULL, 2, false);
        cr_assert(rig_open(&fresh.rig, NULL, 2));
        tr_fields_init(&lora, &tr_lora_fields);
        lora.r = 8;
        cr_assert(tr_field_parse(&lora, tr_fields_find(&tr_lora_fields, "init_lora_weights"),
                                 inits[kind], false));
        const tr_model_options_t options = {.use = TR_MODEL_READS, .lora = &lora};
        cr_assert_eq(
            tr_model_new_with(&fresh.model, base.config, fresh.rig.backend, &options, &err), TR_OK,
            "%s", err.text);
        cr_assert_eq(tr_model_load(fresh.model, MODELS "qwen3", 7, &err), TR_OK, "%s", err.text);
        fresh.config = tr_model_config(fresh.model);
        const tr_layout_t *layout = tr_model_layout(fresh.model);
        fresh.total = layout->total;
        int32_t *ids = small_ids(&base, 20, 4);
        check_same(small_hidden(&fresh, ids, 20), small_hidden(&base, ids, 20),
                   20 * base.config->hidden, "hidden");
        float *values = rig_memory(&fresh.rig, fresh.total * sizeof *values);
        cr_assert_eq(tr_model_read_parameters(fresh.model, values, &err), TR_OK);
        double sum = 0.0, squares = 0.0, count = 0.0;
        for (size_t i = 0; i < layout->adapter_count; i++) {
            const tr_adapter_t *adapter = &layout->adapters[i];
            // Uniform within 1/sqrt(columns), or normal with deviation 1/r.
            const double unit =
                kind == 0 ? sqrt(3.0 * (double)adapter->a.columns) : (double)adapter->a.rows;
            for (size_t p = 0; p < layout->count; p++) {
                const tr_parameter_t *parameter = &layout->parameters[p];
                for (size_t e = 0; e < parameter->rows * parameter->columns; e++) {
                    const double value = (double)values[parameter->offset + e];
                    if (parameter->weight == &adapter->a) {
                        sum += value * unit;
                        squares += value * value * unit * unit;
                        count += 1.0;
                        cr_expect(kind == 1 || fabs(value) * unit <= sqrt(3.0) + 1e-6);
                    }
                    cr_expect(parameter->weight != &adapter->b || value == 0.0);
                }
            }
        }
        // 2,400 numbers: five deviations of their mean and of their variance.
        cr_expect_lt(fabs(sum / count), 5.0 / sqrt(count));
        cr_expect_lt(fabs(squares / count - 1.0), 5.0 * sqrt(2.0 / count));
        tr_lora_release(&lora);
        small_close(&fresh);
        small_close(&base);
    }
}

// Dropout

/// sum(factors * log-prob) of a learning pass with dropout over all five sequences.
static double dropped_loss(small_t *small, const tr_sequences_t *sequences, const float *factors,
                           uint32_t step, float *out, tr_gradient_t *gradient)
{
    const uint32_t all[] = {0, 1, 2, 3, 4};
    const tr_noise_t noise = {.seed = 3, .step = step, .dropout = true};
    tr_error_t err = {0};
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    tr_response_noise(pass, &noise);
    cr_assert_eq(tr_response_forward(pass, sequences, all, 5, 1.0f, true, out, NULL, &err), TR_OK);
    if (gradient != NULL) {
        tr_response_backward(pass, factors, NULL, gradient);
    }
    tr_response_pass_destroy(&pass);
    double sum = 0.0;
    for (int32_t i = 0; i < sequences->response_starts[5]; i++) {
        sum += (double)out[i] * (double)factors[i];
    }
    return sum;
}

/// A golden adapter with dropout.
static void open_dropping(small_t *small)
{
    tr_error_t err = {0};
    tr_lora_t lora;
    tr_model_config_t config;
    cr_assert(rig_open(&small->rig, NULL, 2));
    cr_assert_eq(read_with(&lora, "lora_dropout", "0.4", &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_model_config_load(&config, MODELS "tied", &err), TR_OK);
    const tr_model_options_t options = {.use = TR_MODEL_LEARNS, .lora = &lora};
    cr_assert_eq(tr_model_new_with(&small->model, &config, small->rig.backend, &options, &err),
                 TR_OK, "%s", err.text);
    tr_lora_release(&lora);
    cr_assert_eq(tr_model_load(small->model, MODELS "tied", 1, &err), TR_OK);
    cr_assert_eq(tr_model_load_adapter(small->model, LORA "tied", &err), TR_OK);
    small->config = tr_model_config(small->model);
    small->total = tr_model_layout(small->model)->total;
}

static tr_sequences_t five_sequences(small_t *small)
{
    static const size_t lengths[] = {9, 3, 17, 6, 12}, prompts[] = {4, 1, 3, 5, 2};
    return small_sequences(small, lengths, prompts, 5, 5);
}

Test(lora, dropout_is_a_steps_own_and_of_learning_passes_alone)
{
    small_t small;
    float first[64], again[64], other[64];
    open_dropping(&small);
    const tr_sequences_t sequences = five_sequences(&small);
    const float *factors = small_factors(&small, &sequences);
    const size_t n = (size_t)sequences.response_starts[5];
    dropped_loss(&small, &sequences, factors, 1, first, NULL);
    dropped_loss(&small, &sequences, factors, 1, again, NULL);
    dropped_loss(&small, &sequences, factors, 2, other, NULL);
    check_same(again, first, n, "the same step");
    cr_expect_neq(memcmp(other, first, n * sizeof *first), 0, "another step");
    const float *plain = small_response(&small, &sequences, 2, 1.0f);
    cr_expect_neq(memcmp(plain, first, n * sizeof *first), 0, "no dropout");
    small_t without;
    small_open_adapted(&without, MODELS "tied", LORA "tied", NULL, 2, false);
    check_same(plain, small_response(&without, &sequences, 2, 1.0f), n, "passes that do not learn");
    small_close(&without);
    small_close(&small);
}

Test(lora, gradients_are_the_slopes_of_what_dropout_lets_through)
{
    small_t small;
    tr_error_t err = {0};
    float out[64];
    open_dropping(&small);
    const tr_sequences_t sequences = five_sequences(&small);
    const float *factors = small_factors(&small, &sequences);
    tr_tensor_t gradient = rig_zeros(&small.rig, 1, small.total);
    tr_gradient_t sink = tr_gradient_whole(gradient);
    dropped_loss(&small, &sequences, factors, 1, out, &sink);
    const float *slopes = rig_read(&small.rig, gradient);
    const tr_layout_t *layout = tr_model_layout(small.model);
    float *values = rig_memory(&small.rig, small.total * sizeof *values);
    cr_assert_eq(tr_model_read_parameters(small.model, values, &err), TR_OK);
    double largest = 0.0;
    for (size_t i = 0; i < layout->flat[TR_TRAINED].total; i++) {
        largest = fmax(largest, fabs((double)slopes[i]));
    }
    for (size_t p = 0; p < layout->count; p++) {
        const tr_parameter_t *parameter = &layout->parameters[p];
        for (size_t e = 0; parameter->weight->trained && e < 2; e++) {
            float *value = &values[parameter->offset + 7 * e];
            const float middle = *value, h = 1.0f / 128.0f;
            double sides[2];
            for (size_t side = 0; side < 2; side++) {
                *value = side == 0 ? middle - h : middle + h;
                tr_model_write_parameters(small.model, values);
                sides[side] = dropped_loss(&small, &sequences, factors, 1, out, NULL);
            }
            *value = middle;
            const double slope = (sides[1] - sides[0]) / (2.0 * (double)h);
            const double found = (double)slopes[parameter->place + 7 * e];
            cr_expect_float_eq(slope, found, 5e-3 * largest, "%s: %g, %g", parameter->name, slope,
                               found);
        }
    }
    small_close(&small);
}

Test(lora, dropout_of_a_sequence_is_the_same_in_whatever_chunk_it_comes)
{
    small_t small;
    tr_error_t err = {0};
    float all[64], one[64];
    open_dropping(&small);
    const tr_sequences_t sequences = five_sequences(&small);
    dropped_loss(&small, &sequences, small_factors(&small, &sequences), 1, all, NULL);
    const tr_noise_t noise = {.seed = 3, .step = 1, .dropout = true};
    tr_response_pass_t *pass = tr_response_pass_new(small.model);
    tr_response_noise(pass, &noise);
    for (uint32_t s = 0; s < 5; s++) {
        const int32_t *starts = sequences.response_starts + s;
        cr_assert_eq(tr_response_forward(pass, &sequences, &s, 1, 1.0f, true, one, NULL, &err),
                     TR_OK);
        check_same(one, all + starts[0], (size_t)(starts[1] - starts[0]), "alone");
    }
    tr_response_pass_destroy(&pass);
    small_close(&small);
}

Test(lora, passes_that_leave_it_out_are_the_models_own)
{
    subject_t subject;
    small_t base;
    subject_open(&subject, MODELS "tied", LORA "tied");
    small_open_directory(&base, MODELS "tied", NULL, 2, false);
    const size_t n = subject.tokens - subject.sequences.count;
    const float *adapted = small_response(&subject.small, &subject.sequences, 2, 1.0f);
    const float *expected = small_response(&base, &subject.sequences, 2, 1.0f);
    tr_model_leave_adapter(subject.small.model, true);
    check_same(small_response(&subject.small, &subject.sequences, 2, 1.0f), expected, n, "left");
    cr_expect_neq(memcmp(adapted, expected, n * sizeof *adapted), 0, "the adapter does something");
    tr_model_leave_adapter(subject.small.model, false);
    check_same(small_response(&subject.small, &subject.sequences, 2, 1.0f), adapted, n, "again");
    small_close(&base);
    subject_close(&subject);
}

Test(lora, what_is_published_is_the_adapter_alone_and_makes_a_rollout_the_same_model)
{
    subject_t subject;
    small_t follower;
    tr_error_t err = {0};
    tr_lora_t lora;
    subject_open(&subject, MODELS "tied", LORA "tied");
    const tr_model_t *model = subject.small.model;
    cr_assert(rig_open(&follower.rig, NULL, 2));
    cr_assert_eq(tr_lora_read(&lora, LORA "tied", &err), TR_OK);
    const tr_model_options_t options = {.use = TR_MODEL_DECODES, .lora = &lora};
    cr_assert_eq(tr_model_new_with(&follower.model, subject.small.config, follower.rig.backend,
                                   &options, &err),
                 TR_OK);
    tr_lora_release(&lora);
    cr_assert_eq(tr_model_load(follower.model, MODELS "tied", 1, &err), TR_OK);
    follower.config = tr_model_config(follower.model);
    // A and B of two layers: queries, keys, values, output, gate, up, down.
    const size_t H = 32, K = 16, F = 44, r = 3;
    const size_t layer = (H + H) + 2 * (H + K) + (H + H) + 2 * (H + F) + (F + H);
    cr_expect_eq(tr_model_weight_bytes(model), 2 * r * layer * sizeof(float));
    void *weights = rig_memory(&follower.rig, tr_model_weight_bytes(model));
    cr_assert_eq(tr_model_read_weights(model, weights, &err), TR_OK);
    tr_model_write_weights(follower.model, weights);
    check_same(small_response(&follower, &subject.sequences, 2, 1.0f),
               small_response(&subject.small, &subject.sequences, 2, 1.0f),
               subject.tokens - subject.sequences.count, "log-probs");
    small_close(&follower);
    subject_close(&subject);
}
