/// A model against transformers and PyTorch: tests/golden/models, made by
/// tests/golden/make_llama.py.
#include "common/model/model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/hf/directory.h"
#include "common/hf/fp8.h"
#include "common/model/trainer.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/scratch.h"
#include "tests/support/small.h"
#include "tests/support/subject.h"

#define MODELS TEST_SOURCE_DIR "/tests/golden/models/"

static const char *const CAUSAL[] = {MODELS "tied", MODELS "untied_bf16", MODELS "sharded_f16"};
enum { CAUSALS = 3 };

/// Calls check for each golden model with, or without, a scalar head.
static void for_each_model(bool scalar, void (*check)(subject_t *subject, const char *directory))
{
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        subject_t subject;
        if (models_is_scalar(models.gl_pathv[i]) == scalar) {
            subject_open(&subject, models.gl_pathv[i], NULL);
            cr_assert_eq(subject.small.config->scalar_head, scalar);
            check(&subject, models.gl_pathv[i]);
            subject_close(&subject);
        }
    }
    globfree(&models);
}

Test(model, logits_are_those_of_transformers)
{
    for_each_model(false, subject_check_logits);
}

/// What is saved of a model that is published otherwise.
static void check_published(const char *name, const char *type, const char *architecture)
{
    char *directory = tr_format(TEST_SOURCE_DIR "/tests/golden/%s", name);
    char *folder = scratch_open(), *saved = tr_format("%s/saved", folder);
    char *config = tr_format("%s/config.json", saved), *text;
    size_t length;
    tr_error_t err = {0};
    subject_t subject;
    small_t again;
    subject_open(&subject, directory, NULL);
    subject_check_logits(&subject, directory);
    const tr_save_options_t options = {.source = directory};
    cr_assert_eq(tr_trainer_save_model(subject.small.model, saved, &options, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(tr_file_read(&text, &length, config, 1 << 20, &err), TR_OK, "%s", err.text);
    cr_expect_not_null(strstr(text, type), "%s", text);
    cr_expect_not_null(strstr(text, architecture), "%s", text);
    cr_expect_null(strstr(text, "quantization_config"), "%s", text);
    small_open_directory(&again, saved, NULL, 2, true);
    check_same(small_response(&again, &subject.sequences, 2, 1.0f),
               small_response(&subject.small, &subject.sequences, 2, 1.0f),
               subject.tokens - subject.sequences.count, "what was saved");
    small_close(&again);
    subject_close(&subject);
    free(text);
    free(config);
    free(saved);
    free(directory);
    scratch_close(&folder);
}

/// As Qwen 3.5 is published: transformers' AutoModelForCausalLM reads the text model alone, and so
/// is that what is saved.
Test(model, a_text_model_within_one_of_pictures_is_read_and_saved_alone)
{
    check_published("wrapped/qwen3_5", "\"model_type\": \"qwen3_5_text\"",
                    "\"Qwen3_5ForCausalLM\"");
    // All experts of a layer are in one tensor of the file.
    check_published("wrapped/qwen3_5_moe", "\"model_type\": \"qwen3_5_moe_text\"",
                    "\"Qwen3_5MoeForCausalLM\"");
}

/// Every tensor of `want` stands in `got` with the same values; routers' biases in F32.
static void expect_tensors(const char *got, const char *want)
{
    tr_error_t err = {0};
    tr_safetensors_t *files[2] = {NULL, NULL};
    cr_assert_eq(tr_safetensors_open(&files[0], got, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_safetensors_open(&files[1], want, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_safetensors_count(files[0]), tr_safetensors_count(files[1]));
    for (size_t i = 0; i < tr_safetensors_count(files[1]); i++) {
        const tr_safetensors_info_t *info = tr_safetensors_at(files[1], i);
        const tr_safetensors_info_t *other = tr_safetensors_find(files[0], info->name);
        const size_t rows = info->rank == 1 ? 0 : info->shape[0],
                     last = info->shape[info->rank - 1];
        float *values[2];
        cr_assert_not_null(other, "%s is not saved", info->name);
        for (size_t f = 0; f < 2; f++) {
            values[f] = tr_calloc(info->count, sizeof(float));
            cr_assert_eq(tr_safetensors_read(files[f], info->name, values[f], rows, last, &err),
                         TR_OK, "%s", err.text);
        }
        check_same(values[0], values[1], info->count, info->name);
        cr_expect(strstr(info->name, "correction_bias") == NULL || other->dtype == TR_F32);
        free(values[0]);
        free(values[1]);
    }
    tr_safetensors_close(&files[0]);
    tr_safetensors_close(&files[1]);
}

Test(model, what_is_saved_has_every_tensor_of_the_file)
{
    static const char *const names[] = {"deepseek_v3", "deepseek_v3_plain", "qwen3_next"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        small_t small;
        tr_error_t err = {0};
        char *folder = scratch_open(), *saved = tr_format("%s/saved", folder);
        char *directory = tr_format(MODELS "%s", names[i]);
        small_open_directory(&small, directory, NULL, 2, true);
        const tr_save_options_t options = {.dtype = TR_BF16, .source = directory};
        cr_assert_eq(tr_trainer_save_model(small.model, saved, &options, &err), TR_OK, "%s",
                     err.text);
        expect_tensors(saved, directory);
        small_close(&small);
        free(directory);
        free(saved);
        scratch_close(&folder);
    }
}

/// As DeepSeek V3 is published; in blocks of 128, of which the last of rows and columns are cut.
Test(model, fp8_is_read_as_torch_dequantizes_it)
{
    check_published("fp8/deepseek_v3", "\"model_type\": \"deepseek_v3\"",
                    "\"DeepseekV3ForCausalLM\"");
}

Test(model, fp8_has_the_scale_of_its_block_where_a_block_is_cut)
{
    const char *name = "model.layers.0.self_attn.q_proj.weight";
    subject_t subject;
    tr_error_t err = {0};
    tr_safetensors_t *file = NULL;
    subject_open(&subject, TEST_SOURCE_DIR "/tests/golden/fp8/deepseek_v3", NULL);
    cr_assert_eq(tr_safetensors_open(&file, TEST_SOURCE_DIR "/tests/golden/fp8/deepseek_v3", &err),
                 TR_OK, "%s", err.text);
    const tr_safetensors_info_t *info = tr_safetensors_find(file, name);
    const size_t rows = info->shape[0], columns = info->shape[1];
    cr_assert(rows > 128 && rows < 256 && columns > 128 && columns < 256);
    char *golden = tr_format("read.%s", name);
    const tr_safetensors_info_t *stored = tr_safetensors_find(subject.golden, golden);
    float *expected = rig_memory(&subject.small.rig, stored->count * sizeof *expected);
    float *got = rig_memory(&subject.small.rig, rows * columns * sizeof *got);
    cr_assert_eq(tr_safetensors_read(subject.golden, golden, expected, rows, columns, &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(tr_fp8_read(file, info, rows, columns, got, 0, rows * columns, &err), TR_OK, "%s",
                 err.text);
    check_same(got, expected, rows * columns, name);
    free(golden);
    tr_safetensors_close(&file);
    subject_close(&subject);
}

static void check_logprobs(subject_t *subject, const char *directory)
{
    size_t count;
    float *expected = subject_before_response(subject, subject_reals(subject, "logprobs", &count));
    float *logprobs = small_response(&subject->small, &subject->sequences, 2, 1.0f);
    expect_relative(directory, logprobs, expected, count - subject->sequences.count, 1e-5);
}

Test(model, logprobs_are_those_of_transformers)
{
    for_each_model(false, check_logprobs);
}

Test(model, values_of_a_scalar_head_are_those_of_transformers)
{
    for_each_model(true, subject_check_values);
}

Test(model, a_score_is_the_value_at_the_last_token)
{
    subject_t subject;
    tr_error_t err = {0};
    size_t count;
    subject_open(&subject, MODELS "scalar", NULL);
    const float *values = subject_reals(&subject, "values", &count);
    const uint32_t chosen[] = {4, 0, 2};
    float scores[3], expected[3];
    for (size_t i = 0; i < 3; i++) {
        expected[i] = values[subject.sequences.starts[chosen[i] + 1] - 1];
    }
    tr_response_pass_t *pass = tr_response_pass_new(subject.small.model);
    tr_status status = tr_response_scores(pass, &subject.sequences, chosen, 3, false, scores, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    expect_relative("scores", scores, expected, 3, 1e-5);
    tr_response_pass_destroy(&pass);
    subject_close(&subject);
}

/// PyTorch's embedding gives the padding id no gradient; batches here have no padding, so that the
/// id is a token like any other.
static void forget_padding(float *gradient, const tr_model_config_t *config)
{
    if (config->pad >= 0) {
        memset(gradient + (size_t)config->pad * config->hidden, 0,
               config->hidden * sizeof *gradient);
    }
}

static void check_gradients(subject_t *subject, const char *directory)
{
    size_t count;
    float *weights = subject_before_response(subject, subject_reals(subject, "weights", &count));
    float *gradient = small_gradient(&subject->small, &subject->sequences, weights, 1.0f);
    const tr_layout_t *layout = tr_model_layout(subject->small.model);
    // Those whose config.json names a padding id, of which the GPTs' embeddings know nothing.
    if (subject->small.config->scalar_head && !subject->small.config->layer_norm) {
        forget_padding(gradient, subject->small.config);
    }
    for (size_t p = 0; p < layout->count; p++) {
        const tr_parameter_t *parameter = &layout->parameters[p];
        char *name = tr_format("grad.%s", parameter->name);
        float *expected = subject_reals(subject, name, &count);
        cr_assert_eq(count, parameter->rows * parameter->columns, "%s", name);
        char *what = tr_format("%s %s", directory, name);
        expect_relative(what, subject_stored(&subject->small, parameter, gradient), expected, count,
                        1e-4);
        free(what);
        free(name);
    }
}

Test(model, every_gradient_is_pytorchs)
{
    for_each_model(false, check_gradients);
    for_each_model(true, check_gradients);
}

/// Of golden models that have it: the loss, and its gradients alone, for that of the outputs is 0.
static void check_balance(subject_t *subject, const char *directory)
{
    small_t *small = &subject->small;
    tr_error_t err = {0};
    tr_balance_t balance;
    size_t count;
    const float *loss = subject_reals(subject, "aux", &count);
    const uint32_t all[] = {0, 1, 2, 3, 4};
    float *out = rig_memory(&small->rig, subject->tokens * sizeof *out);
    tr_response_pass_t *pass = tr_response_pass_new(small->model);
    tr_tensor_t gradient = rig_zeros(&small->rig, 1, small->total);
    tr_gradient_t sink = tr_gradient_whole(gradient);
    cr_assert_eq(
        tr_response_forward(pass, &subject->sequences, all, 5, 1.0f, true, out, NULL, &err), TR_OK,
        "%s", err.text);
    cr_assert_eq(tr_response_balance(pass, 1.0, &balance, &err), TR_OK, "%s", err.text);
    const float measured = (float)balance.loss;
    expect_relative(directory, &measured, loss, 1, 1e-5);
    memset(out, 0, subject->tokens * sizeof *out);
    tr_response_backward(pass, out, NULL, &sink);
    const float *got = rig_read(&small->rig, gradient);
    const tr_layout_t *layout = tr_model_layout(small->model);
    for (size_t p = 0; p < layout->count; p++) {
        const tr_parameter_t *parameter = &layout->parameters[p];
        char *name = tr_format("aux.grad.%s", parameter->name);
        const float *expected = subject_reals(subject, name, &count);
        expect_relative(name, subject_stored(small, parameter, got), expected, count, 1e-4);
        free(name);
    }
    tr_response_pass_destroy(&pass);
}

Test(model, the_auxiliary_loss_of_routers_is_that_of_transformers)
{
    static const char *const directories[] = {MODELS "qwen3_moe", MODELS "mixtral",
                                              MODELS "gpt_oss"};
    for (size_t i = 0; i < 3; i++) {
        for (size_t recompute = 0; recompute < 2; recompute++) {
            subject_t subject;
            subject_open(&subject, directories[i], NULL);
            tr_model_recompute(subject.small.model, recompute != 0);
            check_balance(&subject, directories[i]);
            subject_close(&subject);
        }
    }
}

Test(model, parameters_come_back_as_they_were_written)
{
    tr_error_t err = {0};
    small_t small;
    tr_model_config_t config = small_config();
    small_open(&small, &config, NULL, 1, false);
    float *values = rig_random(&small.rig, small.total, 3);
    float *got = rig_memory(&small.rig, small.total * sizeof *got);
    tr_model_write_parameters(small.model, values);
    cr_assert_eq(tr_model_read_parameters(small.model, got, &err), TR_OK, "%s", err.text);
    check_same(got, values, small.total, "parameters");
    small_close(&small);
}

Test(model, parameters_changed_in_place_count_after_repacking)
{
    small_t small;
    tr_model_config_t config = small_config();
    small_open(&small, &config, NULL, 1, false);
    const int32_t *ids = small_ids(&small, 20, 1);
    size_t count = 20 * config.hidden;
    float *values = rig_random(&small.rig, small.total, 3);
    float *before = small_hidden(&small, ids, 20);
    small.rig.ops->write(small.rig.queue, tr_model_trained(small.model), values);
    tr_model_repack(small.model);
    float *after = small_hidden(&small, ids, 20);
    tr_model_write_parameters(small.model, values);
    check_same(after, small_hidden(&small, ids, 20), count, "repacked");
    cr_assert_neq(memcmp(before, after, count * sizeof *after), 0);
    small_close(&small);
}

/// Mean and standard deviation of a parameter of the layout.
static void moments(const float *flat, const tr_parameter_t *parameter, double *mean,
                    double *deviation)
{
    size_t n = parameter->rows * parameter->columns;
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)flat[parameter->offset + i];
        sum += x;
        squares += x * x;
    }
    *mean = sum / (double)n;
    *deviation = sqrt(squares / (double)n - *mean * *mean);
}

Test(model, fresh_weights_are_normal_and_those_of_their_seed)
{
    tr_error_t err = {0};
    small_t small;
    tr_model_config_t config = small_config();
    small_open(&small, &config, NULL, 1, false);
    float *flat[3];
    for (size_t i = 0; i < 3; i++) {
        flat[i] = rig_memory(&small.rig, small.total * sizeof **flat);
        tr_model_randomize(small.model, i == 1 ? 6 : 5);
        cr_assert_eq(tr_model_read_parameters(small.model, flat[i], &err), TR_OK);
    }
    check_same(flat[2], flat[0], small.total, "the same seed");
    const tr_layout_t *layout = tr_model_layout(small.model);
    for (size_t p = 0; p < layout->count; p++) {
        const tr_parameter_t *parameter = &layout->parameters[p];
        bool residual = strstr(parameter->name, "o_proj") || strstr(parameter->name, "down_proj");
        double mean, deviation, expected = residual ? 0.01 : 0.02; // 0.02 / sqrt(2 * 2 layers)
        moments(flat[0], parameter, &mean, &deviation);
        if (parameter->rank == 1) {
            cr_expect(mean == 1.0 && deviation == 0.0, "%s", parameter->name);
            continue;
        }
        cr_expect(fabs(mean) < 0.1 * expected && fabs(deviation / expected - 1.0) < 0.1,
                  "%s: mean %g, deviation %g", parameter->name, mean, deviation);
        cr_expect_neq(flat[0][parameter->offset], flat[1][parameter->offset], "another seed");
    }
    small_close(&small);
}

/// The parameters of a directory opened with a scalar head, in the rig's memory.
static float *scalar_parameters(rig_t *rig, const char *directory, uint64_t seed,
                                tr_layout_t *layout)
{
    tr_error_t err = {0};
    tr_model_t *model = NULL;
    tr_model_config_t config;
    cr_assert_eq(tr_model_config_load(&config, directory, &err), TR_OK, "%s", err.text);
    tr_model_config_make_scalar(&config);
    tr_status status = tr_model_new(&model, &config, rig->backend, TR_MODEL_DECODES, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    cr_assert_eq(tr_model_load(model, directory, seed, &err), TR_OK, "%s", err.text);
    cr_assert(tr_model_config(model)->scalar_head && !tr_model_config(model)->tied_embeddings);
    tr_layout_init(layout, tr_model_config(model));
    float *flat = rig_memory(rig, layout->total * sizeof *flat);
    cr_assert_eq(tr_model_read_parameters(model, flat, &err), TR_OK);
    tr_model_destroy(&model);
    return flat;
}

Test(model, a_critic_is_the_trunk_of_its_policy_with_a_head_of_its_seed)
{
    for (size_t i = 0; i < CAUSALS; i++) {
        subject_t subject;
        tr_error_t err = {0};
        tr_layout_t layout, again;
        subject_open(&subject, CAUSAL[i], NULL);
        rig_t *rig = &subject.small.rig;
        float *policy = rig_memory(rig, subject.small.total * sizeof *policy);
        cr_assert_eq(tr_model_read_parameters(subject.small.model, policy, &err), TR_OK);
        float *one = scalar_parameters(rig, CAUSAL[i], 1, &layout);
        float *two = scalar_parameters(rig, CAUSAL[i], 2, &again);
        tr_layout_release(&again);
        float *same = scalar_parameters(rig, CAUSAL[i], 1, &again);
        const size_t head = layout.head->place;
        cr_assert_eq(layout.total, head + subject.small.config->hidden);
        check_same(one, policy, head, "trunk");
        check_same(two, policy, head, "trunk");
        check_same(same, one, layout.total, "the same seed");
        cr_assert_neq(one[head], two[head]);
        tr_layout_release(&again);
        tr_layout_release(&layout);
        subject_close(&subject);
    }
}

Test(model, a_stored_scalar_head_is_not_drawn_anew)
{
    subject_t subject;
    tr_error_t err = {0};
    tr_layout_t layout;
    subject_open(&subject, MODELS "scalar", NULL);
    rig_t *rig = &subject.small.rig;
    float *stored = rig_memory(rig, subject.small.total * sizeof *stored);
    cr_assert_eq(tr_model_read_parameters(subject.small.model, stored, &err), TR_OK);
    float *opened = scalar_parameters(rig, MODELS "scalar", 1, &layout);
    check_same(opened, stored, subject.small.total, "parameters");
    tr_layout_release(&layout);
    subject_close(&subject);
}

/// Saves the tied model's tensors but `without`, and `added` if not NULL, and opens what was
/// written.
static tr_status open_altered(const char *without, const char *added, tr_error_t *err)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    char *folder = scratch_open();
    tr_model_config_t config;
    tr_safetensors_t *file = NULL;
    tr_safetensors_entry_t entries[32];
    size_t count = 0;
    const float extra = 0.0f;
    cr_assert_eq(tr_model_config_load(&config, CAUSAL[0], err), TR_OK);
    cr_assert_eq(tr_safetensors_open(&file, CAUSAL[0], err), TR_OK);
    for (size_t i = 0; i < tr_safetensors_count(file); i++) {
        const tr_safetensors_info_t *info = tr_safetensors_at(file, i);
        if (without == NULL || strcmp(info->name, without) != 0) {
            void *data = rig_memory(&rig, info->count * sizeof(float));
            memcpy(data, info->data, info->count * sizeof(float));
            tr_safetensors_entry_t *entry = &entries[count++];
            *entry = (tr_safetensors_entry_t){.name = info->name, .rank = info->rank, .data = data};
            memcpy(entry->shape, info->shape, sizeof entry->shape);
        }
    }
    if (added != NULL && strcmp(added, "lm_head.weight") == 0) { // the embedding again
        entries[count] = entries[0];
        entries[count++].name = added;
    } else if (added != NULL) {
        entries[count++] =
            (tr_safetensors_entry_t){.name = added, .rank = 1, .shape = {1}, .data = &extra};
    }
    char *text;
    cr_assert_eq(tr_model_config_json(&text, &config, TR_F32, NULL, err), TR_OK);
    free(scratch_write(folder, "config.json", text, strlen(text)));
    free(text);
    char *path = tr_format("%s/model.safetensors", folder);
    cr_assert_eq(tr_safetensors_write(path, entries, count, NULL, err), TR_OK, "%s", err->text);
    free(path);
    tr_model_t *model = NULL;
    tr_status status = tr_model_open(&model, folder, NULL, rig.backend, TR_MODEL_DECODES, err);
    cr_assert_eq(model == NULL, status != TR_OK);
    tr_model_destroy(&model);
    tr_safetensors_close(&file);
    scratch_close(&folder);
    rig_close(&rig);
    return status;
}

Test(model, a_tensor_without_a_place_is_refused_by_name)
{
    tr_error_t err = {0};
    const char *name = "model.layers.0.self_attn.q_proj.bias";
    cr_assert_eq(open_altered(NULL, name, &err), TR_ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(err.text, name), "%s", err.text);
}

Test(model, what_transformers_leaves_unread_is_allowed)
{
    tr_error_t err = {0};
    cr_assert_eq(open_altered(NULL, NULL, &err), TR_OK, "%s", err.text);
    cr_assert_eq(open_altered(NULL, "lm_head.weight", &err), TR_OK, "%s", err.text);
    const char *table = "model.layers.0.self_attn.rotary_emb.inv_freq";
    cr_assert_eq(open_altered(NULL, table, &err), TR_OK, "%s", err.text);
}

Test(model, a_missing_tensor_is_named)
{
    tr_error_t err = {0};
    const char *name = "model.layers.1.mlp.down_proj.weight";
    cr_assert_eq(open_altered(name, NULL, &err), TR_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, name), "%s", err.text);
}

/// Root of the mean square.
static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += pow((double)a[i] - (double)b[i], 2.0);
    }
    return sqrt(sum / (double)n);
}

/// PyTorch rounds every activation too; here a CPU rounds weights and what products read.
Test(model, logits_in_bf16_are_nearer_to_fp32_than_those_of_pytorch)
{
    static const char *const names[] = {"tied", "gemma2", "granite", "qwen3"};
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/bf16_logits.json");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        small_t small;
        char path[64];
        size_t length, n;
        char *directory = tr_format(MODELS "%s", names[i]);
        small_open_directory(&small, directory, SMALL_BF16, 2, false);
        snprintf(path, sizeof path, "%s/ids", names[i]);
        const int32_t *ids = golden_ints(golden, path, &length);
        snprintf(path, sizeof path, "%s/fp32", names[i]);
        const float *full = golden_floats(golden, path, &n);
        snprintf(path, sizeof path, "%s/bf16", names[i]);
        const float *half = golden_floats(golden, path, &n);
        // The head's cap and divisor are not in these rows.
        float *got = small_logits(&small, ids, length);
        const float cap = small.config->logit_cap;
        for (size_t j = 0; j < n; j++) {
            got[j] = cap > 0.0f ? cap * tanhf(got[j] / cap) : got[j];
        }
        const double ours = distance(got, full, n), theirs = distance(half, full, n);
        cr_expect_lt(ours, theirs, "%s: %g from fp32, PyTorch %g", names[i], ours, theirs);
        cr_expect_lt(distance(got, half, n), 2.0 * theirs, "%s: far from PyTorch", names[i]);
        cr_expect_gt(ours, 1e-4, "%s: nothing is rounded", names[i]);
        small_close(&small);
        free(directory);
    }
    golden_close(&golden);
}
