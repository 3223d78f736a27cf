/// The order of a pass over epochs, minibatches and chunks; checkpoints that lose nothing; what is
/// refused.
#include "common/model/trainer.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/sft.h"
#include "common/base/real.h"
#include "common/hf/safetensors.h"
#include "tests/support/golden.h"
#include "tests/support/learning.h"
#include "tests/support/scratch.h"

static const char SOURCE[] = TEST_SOURCE_DIR "/examples/models/stories";

static tr_status sft(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    tr_sft_sums_t *sums = context;
    (void)err;
    const tr_sft_options_t options = {.loss_type = TR_SFT_NLL};
    tr_sft_loss(dout, NULL, sums, chunk->out, NULL, chunk->n, chunk->normalizer, &options);
    return TR_OK;
}

static double train(learning_t *learning, const tr_sequences_t *sequences, const tr_train_pass_t *w)
{
    tr_sft_sums_t sums = {0};
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    tr_status status =
        tr_trainer_run_pass(learning->trainer, sequences, w, sft, &sums, &result, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    cr_assert_eq(result.updates, w->epochs * w->minibatches);
    cr_expect_eq(sums.tokens, w->epochs * (size_t)sequences->response_starts[sequences->count]);
    return result.norm_sum;
}

/// Three epochs of two minibatches with AdamW's own step size in effect.
static tr_train_pass_t lively(size_t chunk, uint32_t step)
{
    tr_train_pass_t w = learning_walk(chunk, 0.3 * LEARNING_PLAIN);
    w.epochs = 3;
    w.minibatches = 2;
    w.step = step;
    return w;
}

// Gradients

Test(trainer, the_gradient_is_that_of_the_mean_over_tokens_whatever_the_chunk)
{
    static const size_t chunks[] = {1, 2, 3, LEARNING_SEQUENCES, 100};
    const tr_model_config_t config = learning_config(false);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        learning_t learning;
        small_t whole;
        learning_open(&learning, &config, 1);
        cr_assert(small_open(&whole, &config, NULL, 1, true));
        tr_sequences_t sequences = learning_sequences(&whole);
        size_t tokens = (size_t)sequences.response_starts[LEARNING_SEQUENCES];
        float *factors = rig_memory(&whole.rig, tokens * sizeof *factors);
        for (size_t i = 0; i < tokens; i++) {
            factors[i] = -1.0f / (float)tokens;
        }
        const float *gradient = small_gradient(&whole, &sequences, factors, 1.0f);
        float *expected = learning_parameters(&learning);
        double squares = 0.0;
        for (size_t i = 0; i < learning.total; i++) {
            expected[i] -= gradient[i];
            squares += (double)gradient[i] * (double)gradient[i];
        }
        const tr_train_pass_t w = learning_walk(chunks[c], LEARNING_PLAIN);
        double norm = train(&learning, &sequences, &w);
        cr_expect_float_eq(norm, sqrt(squares), 1e-5 * norm, "chunk %zu", chunks[c]);
        expect_near("parameters", learning_parameters(&learning), expected, learning.total, 1e-6,
                    1e-6 * norm);
        small_close(&whole);
        learning_close(&learning);
    }
}

Test(trainer, threads_change_no_bit)
{
    const tr_model_config_t config = small_config();
    float *first = NULL;
    for (size_t threads = 1; threads <= 3; threads++) {
        learning_t learning;
        learning_open(&learning, &config, threads);
        tr_sequences_t sequences = learning_sequences(&learning.small);
        const tr_train_pass_t w = lively(2, 1);
        train(&learning, &sequences, &w);
        float *parameters = learning_parameters(&learning);
        if (first == NULL) {
            first = tr_calloc(learning.total, sizeof *first);
            memcpy(first, parameters, learning.total * sizeof *first);
        }
        check_same(parameters, first, learning.total, "parameters");
        learning_close(&learning);
    }
    free(first);
}

Test(trainer, activations_kept_or_computed_again_end_with_the_same_bits)
{
    for (size_t scalar = 0; scalar < 2; scalar++) {
        const tr_model_config_t config = learning_config(scalar == 1);
        learning_t kept, again;
        learning_open(&kept, &config, 2);
        learning_open(&again, &config, 2);
        tr_model_recompute(tr_trainer_model(again.trainer), true);
        tr_sequences_t sequences = learning_sequences(&kept.small);
        const tr_train_pass_t w = lively(2, 1);
        cr_expect_eq(train(&again, &sequences, &w), train(&kept, &sequences, &w));
        check_same(learning_parameters(&again), learning_parameters(&kept), kept.total,
                   "parameters");
        learning_close(&again);
        learning_close(&kept);
    }
}

Test(trainer, a_learning_rate_of_zero_changes_no_bit)
{
    const tr_model_config_t config = learning_config(false);
    learning_t learning;
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    const float *before = learning_parameters(&learning);
    tr_train_pass_t w = lively(2, 1);
    w.learning_rate = 0.0;
    train(&learning, &sequences, &w);
    check_same(learning_parameters(&learning), before, learning.total, "parameters");
    learning_close(&learning);
}

// The order of a pass

enum { EPOCHS = 4, VISITS = EPOCHS * LEARNING_SEQUENCES };

/// What a loss saw.
typedef struct diary {
    uint32_t order[VISITS];
    size_t normalizers[VISITS]; // of the sequence's minibatch
    bool first[VISITS];
    size_t count;
    size_t fail_at; // 0: never; the loss of the chunk with this visit fails
} diary_t;

static tr_status note(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *err)
{
    diary_t *diary = context;
    size_t n = 0;
    for (size_t i = 0; i < chunk->count; i++, diary->count++) {
        diary->order[diary->count] = chunk->chosen[i];
        diary->normalizers[diary->count] = chunk->normalizer;
        diary->first[diary->count] = chunk->first;
        n += (size_t)(chunk->sequences->response_starts[chunk->chosen[i] + 1] -
                      chunk->sequences->response_starts[chunk->chosen[i]]);
    }
    cr_expect_eq(chunk->n, n);
    for (size_t i = 0; i < chunk->n; i++) {
        dout[i] = -1.0f / (float)chunk->normalizer;
    }
    return diary->fail_at > 0 && diary->count >= diary->fail_at
               ? tr_fail(err, TR_ERR_NUMERIC, "the loss fails")
               : TR_OK;
}

static void keep_diary(diary_t *diary, size_t chunk, uint64_t seed)
{
    const tr_model_config_t config = learning_config(false);
    tr_train_pass_t w = learning_walk(chunk, 0.0);
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    learning_t learning;
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    w.epochs = EPOCHS;
    w.minibatches = 2;
    w.seed = seed;
    *diary = (diary_t){0};
    cr_assert_eq(tr_trainer_run_pass(learning.trainer, &sequences, &w, note, diary, &result, &err),
                 TR_OK);
    cr_assert_eq(diary->count, VISITS);
    learning_close(&learning);
}

Test(trainer, every_epoch_visits_every_sequence_once_in_an_order_of_its_own)
{
    diary_t diary;
    bool differs = false;
    keep_diary(&diary, 2, 3);
    for (size_t e = 0; e < EPOCHS; e++) {
        unsigned seen = 0;
        for (size_t i = 0; i < LEARNING_SEQUENCES; i++) {
            seen |= 1u << diary.order[e * LEARNING_SEQUENCES + i];
        }
        cr_expect_eq(seen, (1u << LEARNING_SEQUENCES) - 1, "epoch %zu", e);
        differs |= memcmp(diary.order, diary.order + e * LEARNING_SEQUENCES,
                          LEARNING_SEQUENCES * sizeof *diary.order) != 0;
    }
    cr_expect(differs);
}

static bool after_two_epochs(void *context)
{
    return ((diary_t *)context)->count == 2 * LEARNING_SEQUENCES;
}

Test(trainer, a_pass_may_end_after_an_epoch_and_has_then_done_the_same)
{
    const tr_model_config_t config = learning_config(false);
    tr_train_pass_t w = learning_walk(2, 0.0);
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    diary_t whole, ended = {0};
    learning_t learning;
    keep_diary(&whole, 2, 3);
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    w.epochs = EPOCHS;
    w.minibatches = 2;
    w.ends = after_two_epochs;
    cr_assert_eq(tr_trainer_run_pass(learning.trainer, &sequences, &w, note, &ended, &result, &err),
                 TR_OK);
    cr_expect_eq(result.epochs, 2);
    cr_expect_eq(result.updates, 4);
    cr_expect_eq(ended.count, 2 * LEARNING_SEQUENCES);
    cr_expect_arr_eq(ended.order, whole.order, ended.count * sizeof *ended.order);
    learning_close(&learning);
}

Test(trainer, the_order_depends_on_the_seed_and_not_on_the_chunk)
{
    diary_t diary, same, other;
    keep_diary(&diary, 2, 3);
    keep_diary(&same, 1, 3);
    keep_diary(&other, 2, 4);
    cr_expect_arr_eq(diary.order, same.order, sizeof diary.order);
    cr_expect_arr_eq(diary.normalizers, same.normalizers, sizeof diary.normalizers);
    cr_expect_neq(memcmp(diary.order, other.order, sizeof diary.order), 0);
}

Test(trainer, means_are_over_the_minibatch_and_minibatches_are_as_even_as_they_can_be)
{
    static const size_t tokens[LEARNING_SEQUENCES] = {5, 2, 14, 1, 10};
    diary_t diary;
    keep_diary(&diary, 1, 3);
    for (size_t e = 0; e < EPOCHS; e++) {
        const uint32_t *order = diary.order + e * LEARNING_SEQUENCES;
        const size_t *normalizers = diary.normalizers + e * LEARNING_SEQUENCES;
        size_t two = tokens[order[0]] + tokens[order[1]];
        for (size_t i = 0; i < LEARNING_SEQUENCES; i++) {
            cr_expect_eq(normalizers[i], i < 2 ? two : 32 - two);
            cr_expect_eq(diary.first[e * LEARNING_SEQUENCES + i], e == 0 && i < 2);
        }
    }
}

// Of five sequences three minibatches have 1, 2 and 2, as numpy's array_split but for their order.
Test(trainer, no_minibatch_is_two_larger_than_another)
{
    static const size_t tokens[LEARNING_SEQUENCES] = {5, 2, 14, 1, 10};
    static const size_t first[LEARNING_SEQUENCES] = {0, 1, 1, 3, 3};
    const tr_model_config_t config = learning_config(false);
    tr_train_pass_t w = learning_walk(2, 0.0);
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    diary_t diary = {0};
    learning_t learning;
    learning_open(&learning, &config, 1);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    w.minibatches = 3;
    cr_assert_eq(tr_trainer_run_pass(learning.trainer, &sequences, &w, note, &diary, &result, &err),
                 TR_OK);
    for (size_t i = 0; i < LEARNING_SEQUENCES; i++) {
        size_t own = tokens[diary.order[first[i]]];
        own += first[i] > 0 ? tokens[diary.order[first[i] + 1]] : 0;
        cr_expect_eq(diary.normalizers[i], own);
    }
    learning_close(&learning);
}

Test(trainer, a_loss_that_fails_leaves_nothing_for_the_next_pass)
{
    const tr_model_config_t config = learning_config(false);
    const tr_train_pass_t w = learning_walk(1, LEARNING_PLAIN);
    learning_t clean, failed;
    diary_t diary = {.fail_at = 3};
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    learning_open(&clean, &config, 1);
    learning_open(&failed, &config, 1);
    tr_sequences_t sequences = learning_sequences(&clean.small);
    cr_expect_eq(tr_trainer_run_pass(failed.trainer, &sequences, &w, note, &diary, &result, &err),
                 TR_ERR_NUMERIC);
    train(&failed, &sequences, &w);
    train(&clean, &sequences, &w);
    check_same(learning_parameters(&failed), learning_parameters(&clean), clean.total,
               "parameters");
    learning_close(&failed);
    learning_close(&clean);
}

Test(trainer, a_minibatch_without_response_tokens_is_refused)
{
    static const size_t lengths[] = {3, 4}, prompts[] = {3, 4};
    const tr_model_config_t config = learning_config(false);
    tr_train_pass_t w = learning_walk(1, 1.0);
    tr_train_pass_result_t result;
    tr_error_t err = {0};
    diary_t diary = {0};
    learning_t learning;
    learning_open(&learning, &config, 1);
    tr_sequences_t silent = small_sequences(&learning.small, lengths, prompts, 2, 1);
    cr_expect_eq(tr_trainer_run_pass(learning.trainer, &silent, &w, note, &diary, &result, &err),
                 TR_ERR_ARGUMENT);
    tr_sequences_t sequences = learning_sequences(&learning.small);
    w.minibatches = LEARNING_SEQUENCES + 1; // some get no sequence
    cr_expect_eq(tr_trainer_run_pass(learning.trainer, &sequences, &w, note, &diary, &result, &err),
                 TR_ERR_ARGUMENT);
    cr_expect_eq(diary.count, 0);
    learning_close(&learning);
}

// Checkpoints

static void save(const learning_t *learning, const char *directory, bool optimizer)
{
    tr_error_t err = {0};
    const tr_save_options_t options = {.source = SOURCE, .optimizer = optimizer};
    tr_status status = tr_trainer_save(learning->trainer, directory, &options, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
}

static void check_resuming(bool scalar)
{
    const tr_model_config_t config = learning_config(scalar);
    const tr_train_pass_t w1 = lively(2, 1), w2 = lively(2, 2);
    char *folder = scratch_open();
    char *begin = tr_format("%s/begin", folder), *middle = tr_format("%s/middle", folder);
    char *end = tr_format("%s/end", folder), *resumed = tr_format("%s/resumed", folder);
    tr_error_t err = {0};
    learning_t fresh, on, back;
    learning_open(&fresh, &config, 1);
    save(&fresh, begin, false);
    learning_close(&fresh);
    learning_open_directory(&on, begin, 1);
    tr_sequences_t sequences = learning_sequences(&on.small);
    train(&on, &sequences, &w1);
    save(&on, middle, true);
    train(&on, &sequences, &w2);
    save(&on, end, true);

    learning_open_directory(&back, middle, 2);
    cr_assert_eq(tr_trainer_restore(back.trainer, middle, &err), TR_OK, "%s", err.text);
    train(&back, &sequences, &w2);
    save(&back, resumed, true);
    scratch_expect_same(end, resumed, "model.safetensors");
    scratch_expect_same(end, resumed, "optimizer.safetensors");
    scratch_expect_same(end, resumed, "config.json");
    learning_close(&back);
    learning_close(&on);
    free(resumed);
    free(end);
    free(middle);
    free(begin);
    scratch_close(&folder);
}

/// A parameter as the directory has it, which must be stored in the dtype.
static void read_stored(float *values, const char *directory, tr_dtype_t dtype, size_t *count)
{
    tr_error_t err = {0};
    tr_safetensors_t *file;
    cr_assert_eq(tr_safetensors_open(&file, directory, &err), TR_OK, "%s", err.text);
    const tr_safetensors_info_t *info = tr_safetensors_find(file, "model.embed_tokens.weight");
    cr_assert_eq(info->dtype, dtype);
    *count = info->count;
    cr_assert_eq(
        tr_safetensors_read(file, info->name, values, info->shape[0], info->shape[1], &err), TR_OK,
        "%s", err.text);
    tr_safetensors_close(&file);
}

Test(trainer, weights_are_saved_rounded_to_the_dtype_asked_for)
{
    static const tr_dtype_t dtypes[] = {TR_F32, TR_BF16, TR_F16};
    static const char *const names[] = {"float32", "bfloat16", "float16"};
    const tr_model_config_t config = learning_config(false);
    learning_t learning;
    learning_open(&learning, &config, 1);
    size_t n = tr_model_layout(tr_trainer_model(learning.trainer))->total, count = 0;
    float *own = tr_calloc(n, sizeof *own), *back = tr_calloc(n, sizeof *back);
    char *folder = scratch_open();
    for (size_t i = 0; i < 3; i++) {
        tr_error_t err = {0};
        tr_dtype_t stored;
        char *directory = tr_format("%s/%s", folder, names[i]);
        const tr_save_options_t options = {.dtype = dtypes[i], .chat_template = "{{ hello }}"};
        cr_assert_eq(tr_trainer_save(learning.trainer, directory, &options, &err), TR_OK, "%s",
                     err.text);
        read_stored(i == 0 ? own : back, directory, dtypes[i], &count);
        for (size_t k = 0; i > 0 && k < count; k++) {
            cr_assert_eq(back[k], i == 1 ? tr_real_from_bf16(tr_real_to_bf16(own[k]))
                                         : tr_real_from_f16(tr_real_to_f16(own[k])));
        }
        cr_expect_eq(tr_model_stored_dtype(&stored, directory, &err), TR_OK, "%s", err.text);
        cr_expect_eq(stored, dtypes[i]);
        char *path = tr_format("%s/config.json", directory), *text = scratch_read(path, NULL);
        char *line = tr_format("\"torch_dtype\": \"%s\"", names[i]);
        cr_expect_not_null(strstr(text, line), "%s", text);
        free(line);
        free(text);
        free(path);
        path = tr_format("%s/chat_template.jinja", directory);
        text = scratch_read(path, NULL);
        cr_expect_str_eq(text, "{{ hello }}");
        free(text);
        free(path);
        free(directory);
    }
    free(own);
    free(back);
    scratch_close(&folder);
    learning_close(&learning);
}

Test(trainer, a_restored_policy_ends_with_the_bytes_of_one_that_went_on)
{
    check_resuming(false);
}

Test(trainer, a_restored_value_model_ends_with_the_bytes_of_one_that_went_on)
{
    check_resuming(true);
}

Test(trainer, what_is_no_checkpoint_is_not_restored)
{
    tr_model_config_t config = learning_config(false);
    char *folder = scratch_open();
    char *model = tr_format("%s/model", folder), *other = tr_format("%s/other", folder);
    tr_error_t err = {0};
    learning_t learning, larger;
    learning_open(&learning, &config, 1);
    save(&learning, model, false);
    cr_expect_neq(tr_trainer_restore(learning.trainer, model, &err), TR_OK);
    cr_expect_not_null(strstr(err.text, "optimizer.safetensors"), "%s", err.text);

    config.intermediate++;
    learning_open(&larger, &config, 1);
    save(&larger, other, true);
    err = (tr_error_t){0};
    cr_expect_neq(tr_trainer_restore(learning.trainer, other, &err), TR_OK);
    cr_expect_not_null(strstr(err.text, "exp_avg"), "%s", err.text);
    learning_close(&larger);
    learning_close(&learning);
    free(other);
    free(model);
    scratch_close(&folder);
}

Test(trainer, a_folder_with_files_is_not_overwritten)
{
    const tr_model_config_t config = learning_config(false);
    char *folder = scratch_open();
    char *path = scratch_write(folder, "mine.txt", "x", 1);
    tr_error_t err = {0};
    learning_t learning;
    learning_open(&learning, &config, 1);
    cr_expect_neq(
        tr_trainer_save(learning.trainer, folder, &(tr_save_options_t){.source = SOURCE}, &err),
        TR_OK);
    cr_expect_eq(scratch_count(folder), 1);
    learning_close(&learning);
    free(path);
    scratch_close(&folder);
}
