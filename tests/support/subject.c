// Golden numbers are copied into the rig's memory, which lives as long as the subject.
#include "tests/support/subject.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/golden.h"

/// A golden tensor, of either dtype, in the rig's memory.
static void *golden_tensor(subject_t *subject, const char *name, tr_dtype_t dtype, size_t *count)
{
    tr_error_t err = {0};
    const tr_safetensors_info_t *info = tr_safetensors_find(subject->golden, name);
    cr_assert_not_null(info, "no golden '%s'", name);
    void *data = rig_memory(&subject->small.rig, info->count * tr_dtype_size(dtype));
    tr_status status = tr_safetensors_copy(subject->golden, name, dtype, data, info->count, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    *count = info->count;
    return data;
}

float *subject_reals(subject_t *subject, const char *name, size_t *count)
{
    return golden_tensor(subject, name, TR_F32, count);
}

void subject_open(subject_t *subject, const char *directory, const char *adapter)
{
    tr_error_t err = {0};
    size_t starts;
    char *path = tr_format("%s/golden.safetensors", adapter != NULL ? adapter : directory);
    small_open_adapted(&subject->small, directory, adapter, NULL, 2, true);
    cr_assert_eq(tr_safetensors_open(&subject->golden, path, &err), TR_OK, "%s", err.text);
    free(path);
    tr_sequences_t *sequences = &subject->sequences;
    *sequences = (tr_sequences_t){0};
    subject->tolerance = 1e-5;
    sequences->ids = golden_tensor(subject, "ids", TR_I32, &subject->tokens);
    sequences->starts = golden_tensor(subject, "starts", TR_I32, &starts);
    sequences->count = starts - 1;
    int32_t *prompts = rig_memory(&subject->small.rig, sequences->count * sizeof *prompts);
    int32_t *responses = rig_memory(&subject->small.rig, starts * sizeof *responses);
    for (size_t s = 0; s < sequences->count; s++) {
        prompts[s] = 1;
        responses[s + 1] = sequences->starts[s + 1] - (int32_t)(s + 1);
    }
    sequences->prompt_lengths = prompts;
    sequences->response_starts = responses;
}

void subject_close(subject_t *subject)
{
    tr_safetensors_close(&subject->golden);
    small_close(&subject->small);
}

/// Of a golden array over all tokens, what stands before each response token: all but each
/// sequence's last.
float *subject_before_response(subject_t *subject, const float *values)
{
    const tr_sequences_t *sequences = &subject->sequences;
    float *out = rig_memory(&subject->small.rig, subject->tokens * sizeof *out);
    size_t n = 0;
    for (size_t s = 0; s < sequences->count; s++) {
        size_t length = (size_t)(sequences->starts[s + 1] - sequences->starts[s]) - 1;
        memcpy(out + n, values + sequences->starts[s], length * sizeof *out);
        n += length;
    }
    return out;
}

/// Within `relative` of the largest of the expected numbers.
void expect_relative(const char *what, const float *actual, const float *expected, size_t count,
                     double relative)
{
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
    }
    expect_near(what, actual, expected, count, 0.0, relative * largest);
}

/// hidden: [tokens, H] of all golden sequences in one ragged batch, in an arena of the caller.
static tr_tensor_t hidden_of(subject_t *subject, tr_arena_t *arena)
{
    const tr_sequences_t *sequences = &subject->sequences;
    tr_span_t *spans = rig_memory(&subject->small.rig, sequences->count * sizeof *spans);
    for (size_t s = 0; s < sequences->count; s++) {
        spans[s].ids = sequences->ids + sequences->starts[s];
        spans[s].length = (size_t)(sequences->starts[s + 1] - sequences->starts[s]);
    }
    tr_batch_t batch;
    tr_batch_init(&batch, arena, subject->small.rig.queue, spans, sequences->count);
    return tr_model_forward(subject->small.model, &batch, arena, NULL);
}

void subject_check_logits(subject_t *subject, const char *directory)
{
    size_t count;
    rig_t *rig = &subject->small.rig;
    float *expected = subject_reals(subject, "logits", &count);
    tr_arena_t *arena = tr_arena_new(rig->backend);
    tr_tensor_t logits = rig_zeros(rig, subject->tokens, subject->small.config->vocabulary);
    rig->ops->matmul(rig->queue, logits, hidden_of(subject, arena),
                     tr_model_head(subject->small.model).weight, false);
    cr_assert_eq(count, tr_tensor_count(logits));
    float *got = rig_read(rig, logits);
    const double cap = (double)subject->small.config->logit_cap;
    for (size_t i = 0; i < count && cap > 0.0; i++) {
        got[i] = (float)(cap * tanh((double)got[i] / cap));
    }
    expect_relative(directory, got, expected, count, subject->tolerance);
    tr_arena_destroy(&arena);
}

void subject_check_values(subject_t *subject, const char *directory)
{
    size_t count;
    rig_t *rig = &subject->small.rig;
    float *expected = subject_reals(subject, "values", &count);
    tr_arena_t *arena = tr_arena_new(rig->backend);
    tr_tensor_t values = rig_zeros(rig, 1, subject->tokens);
    rig->ops->scalar_head(rig->queue, values, hidden_of(subject, arena),
                          tr_model_head(subject->small.model).weight);
    expect_relative(directory, rig_read(rig, values), expected, count, subject->tolerance);
    expect_relative(directory, small_response(&subject->small, &subject->sequences, 3, 1.0f),
                    subject_before_response(subject, expected), count - subject->sequences.count,
                    subject->tolerance);
    tr_arena_destroy(&arena);
}

/// A parameter's gradient as the file has it, the rig's.
float *subject_stored(small_t *small, const tr_parameter_t *parameter, const float *gradient)
{
    const size_t count = parameter->rows * parameter->columns;
    float *stored = rig_memory(&small->rig, count * sizeof *stored);
    for (size_t i = 0; i < count; i++) {
        stored[tr_parameter_stored(parameter, i)] = gradient[parameter->offset + i];
    }
    return stored;
}
