/// Responses on the wire: what is put is what is taken, and every corrupted field is refused.
#include "proto/responses.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 3, TOKENS = 6, KEPT = 7, VOCABULARY = 20 };

/// Good responses, to be corrupted field by field.
typedef struct fields {
    int32_t ids[TOKENS], starts[COUNT + 1], finish[COUNT];
    float logprobs[TOKENS], raw[TOKENS];
    int32_t kept_offsets[TOKENS + 1], kept_ids[KEPT];
} fields_t;

static const fields_t good = {
    .ids = {3, 19, 0, 7, 7, 2},
    .starts = {0, 2, 3, 6},
    .finish = {TR_FINISH_EOS, TR_FINISH_STOP, TR_FINISH_LENGTH},
    .logprobs = {-0.5f, -1.0f, -2.0f, -0.25f, -3.0f, 0.0f},
    .raw = {-0.75f, -1.5f, -2.5f, -0.5f, -4.0f, -0.125f},
    .kept_offsets = {0, 2, 3, 3, 5, 6, 7},
    .kept_ids = {1, 3, 19, 7, 9, 7, 2},
};

static tr_message_t *message_of(const fields_t *f, bool truncated)
{
    const tr_responses_t responses = {
        .count = COUNT,
        .ids = f->ids,
        .starts = f->starts,
        .finish = f->finish,
        .logprobs = f->logprobs,
        .raw = f->raw,
        .kept_offsets = truncated ? f->kept_offsets : NULL,
        .kept_ids = f->kept_ids,
    };
    tr_message_t *message = tr_message_new("reply");
    tr_responses_put(message, &responses);
    return message;
}

/// As message_of, but with the true sizes, whatever the corrupted offsets say. `without`: a tensor
/// left out; `shorter`: one that lacks its last element; `wrong`: one of the other type.
static tr_message_t *raw_message(const fields_t *f, const char *without, const char *shorter,
                                 const char *wrong)
{
    const struct {
        const char *name;
        tr_dtype_t dtype;
        size_t count;
        const void *data;
    } tensors[] = {
        {"responses", TR_I32, TOKENS, f->ids},
        {"response_starts", TR_I32, COUNT + 1, f->starts},
        {"finish", TR_I32, COUNT, f->finish},
        {"logprobs", TR_F32, TOKENS, f->logprobs},
        {"raw", TR_F32, TOKENS, f->raw},
        {"kept_offsets", TR_I32, TOKENS + 1, f->kept_offsets},
        {"kept_ids", TR_I32, KEPT, f->kept_ids},
    };
    tr_message_t *message = tr_message_new("reply");
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const char *name = tensors[i].name;
        bool other = strcmp(name, wrong) == 0;
        tr_dtype_t dtype = !other ? tensors[i].dtype : tensors[i].dtype == TR_I32 ? TR_F32 : TR_I32;
        if (strcmp(name, without) != 0) {
            tr_message_add_vector(message, name, dtype,
                                  tensors[i].count - (strcmp(name, shorter) == 0), tensors[i].data);
        }
    }
    return message;
}

static void expect_refused(tr_message_t *message, tr_status expected, const char *part)
{
    tr_responses_t taken;
    tr_error_t err = {0};
    tr_status status = tr_responses_take(&taken, COUNT, VOCABULARY, true, message, &err);
    cr_expect_eq(status, expected, "'%s': status %d for '%s'", err.text, status, part);
    cr_expect_not_null(strstr(err.text, part), "'%s' lacks '%s'", err.text, part);
    tr_message_destroy(&message);
}

Test(responses, what_is_put_is_what_is_taken)
{
    for (int truncated = 0; truncated < 2; truncated++) {
        tr_message_t *message = message_of(&good, truncated);
        tr_responses_t taken;
        tr_error_t err = {0};
        cr_assert_eq(tr_responses_take(&taken, COUNT, VOCABULARY, truncated, message, &err), TR_OK,
                     "%s", err.text);
        cr_expect_eq(taken.count, COUNT);
        cr_expect_arr_eq(taken.ids, good.ids, sizeof good.ids);
        cr_expect_arr_eq(taken.starts, good.starts, sizeof good.starts);
        cr_expect_arr_eq(taken.finish, good.finish, sizeof good.finish);
        cr_expect_arr_eq(taken.logprobs, good.logprobs, sizeof good.logprobs);
        cr_expect_arr_eq(taken.raw, good.raw, sizeof good.raw);
        cr_expect_eq(taken.kept_offsets != NULL, truncated != 0);
        if (truncated) {
            cr_expect_arr_eq(taken.kept_offsets, good.kept_offsets, sizeof good.kept_offsets);
            cr_expect_arr_eq(taken.kept_ids, good.kept_ids, sizeof good.kept_ids);
        }
        tr_message_destroy(&message);
    }
}

Test(responses, every_tensor_must_be_there_of_its_type_and_length)
{
    static const char *const names[] = {"responses", "response_starts", "finish",  "logprobs",
                                        "raw",       "kept_offsets",    "kept_ids"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        expect_refused(raw_message(&good, names[i], "", ""), TR_ERR_PROTOCOL, names[i]);
        expect_refused(raw_message(&good, "", "", names[i]), TR_ERR_PROTOCOL, names[i]);
        expect_refused(raw_message(&good, "", names[i], ""), TR_ERR_PROTOCOL, "tensor");
    }
}

Test(responses, corrupted_integers_are_refused_by_their_tensors_name)
{
    static const struct {
        size_t offset; // of the integer in fields_t
        int32_t value;
        const char *part;
    } corrupted[] = {
        {offsetof(fields_t, ids[0]), -1, "'responses'"},
        {offsetof(fields_t, ids[5]), VOCABULARY, "'responses'"},
        {offsetof(fields_t, ids[2]), INT32_MIN, "'responses'"},
        {offsetof(fields_t, starts[0]), 1, "'response_starts'"},
        {offsetof(fields_t, starts[0]), -1, "'response_starts'"},
        {offsetof(fields_t, starts[1]), 3, "'response_starts'"}, // an empty response follows
        {offsetof(fields_t, starts[1]), 0, "'response_starts'"},
        {offsetof(fields_t, starts[2]), INT32_MAX, "'response_starts'"},
        {offsetof(fields_t, starts[2]), INT32_MIN, "'response_starts'"},
        {offsetof(fields_t, starts[3]), TOKENS + 1, "'response_starts'"},
        {offsetof(fields_t, starts[3]), TOKENS - 1, "'response_starts'"},
        {offsetof(fields_t, starts[3]), -1, "'response_starts'"},
        {offsetof(fields_t, finish[0]), -1, "'finish'"},
        {offsetof(fields_t, finish[2]), TR_FINISH_LENGTH + 1, "'finish'"},
        {offsetof(fields_t, kept_offsets[0]), 1, "'kept_offsets'"},
        {offsetof(fields_t, kept_offsets[1]), 4, "'kept_offsets'"},
        {offsetof(fields_t, kept_offsets[3]), -5, "'kept_offsets'"},
        {offsetof(fields_t, kept_offsets[3]), INT32_MAX, "'kept_offsets'"},
        {offsetof(fields_t, kept_offsets[6]), KEPT + 1, "'kept_offsets'"},
        {offsetof(fields_t, kept_offsets[6]), INT32_MIN, "'kept_offsets'"},
        {offsetof(fields_t, kept_ids[0]), -1, "'kept_ids'"},
        {offsetof(fields_t, kept_ids[6]), VOCABULARY, "'kept_ids'"},
        {offsetof(fields_t, kept_ids[0]), 4, "token 0 do not ascend"},
        {offsetof(fields_t, kept_ids[0]), 3, "token 0 do not ascend"},
        {offsetof(fields_t, kept_ids[2]), 18, "token 1 lack the token"},
        {offsetof(fields_t, kept_ids[3]), 8, "token 3 lack the token"},
    };
    for (size_t i = 0; i < sizeof corrupted / sizeof *corrupted; i++) {
        fields_t fields = good;
        memcpy((char *)&fields + corrupted[i].offset, &corrupted[i].value, sizeof(int32_t));
        expect_refused(raw_message(&fields, "", "", ""), TR_ERR_PROTOCOL, corrupted[i].part);
    }
}

Test(responses, a_number_that_is_not_finite_is_refused)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fields_t fields = good;
        fields.logprobs[TOKENS - 1] = bad[i];
        expect_refused(message_of(&fields, true), TR_ERR_NUMERIC, "'logprobs'");
        fields = good;
        fields.raw[0] = bad[i];
        expect_refused(message_of(&fields, true), TR_ERR_NUMERIC, "'raw'");
    }
}

Test(responses, kept_sets_come_when_and_only_when_sampling_truncates)
{
    tr_responses_t taken;
    tr_error_t err = {0};
    tr_message_t *with = message_of(&good, true), *without = message_of(&good, false);
    cr_expect_eq(tr_responses_take(&taken, COUNT, VOCABULARY, true, without, &err),
                 TR_ERR_PROTOCOL);
    cr_expect_eq(tr_responses_take(&taken, COUNT, VOCABULARY, false, with, &err), TR_ERR_PROTOCOL);
    tr_message_destroy(&with);
    tr_message_destroy(&without);
}

Test(responses, another_number_of_responses_than_asked_for_is_refused)
{
    tr_message_t *message = message_of(&good, false);
    for (size_t count = 1; count < 6; count++) {
        tr_responses_t taken;
        tr_error_t err = {0};
        tr_status status = tr_responses_take(&taken, count, VOCABULARY, false, message, &err);
        cr_expect_eq(status, count == COUNT ? TR_OK : TR_ERR_PROTOCOL, "%zu: %s", count, err.text);
    }
    tr_message_destroy(&message);
}

Test(responses, finishes_have_the_names_that_judges_read)
{
    cr_expect_str_eq(tr_finish_name(TR_FINISH_EOS), "eos");
    cr_expect_str_eq(tr_finish_name(TR_FINISH_STOP), "stop");
    cr_expect_str_eq(tr_finish_name(TR_FINISH_LENGTH), "length");
}
