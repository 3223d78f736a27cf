// What a peer sends as sequences is used as offsets into memory: everything that does not fit
// together is refused.
#include <criterion/criterion.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "proto/sequences.h"

static tr_error_t err;

/// Two sequences: a prompt of 2 with a response of 1, and a prompt of 1 with a response of 2; with
/// kept sets.
static const int32_t ids[] = {10, 11, 12, 20, 21, 22};
static const int32_t starts[] = {0, 3, 6};
static const int32_t prompt_lengths[] = {2, 1};
static const int32_t response_starts[] = {0, 1, 3};
static const int32_t kept_offsets[] = {0, 2, 2, 5};
static const int32_t kept_ids[] = {12, 13, 21, 22, 23};

static tr_sequences_t two(void)
{
    return (tr_sequences_t){.count = 2,
                            .ids = ids,
                            .starts = starts,
                            .prompt_lengths = prompt_lengths,
                            .response_starts = response_starts,
                            .kept_offsets = kept_offsets,
                            .kept_ids = kept_ids};
}

Test(sequences, what_was_put_is_taken)
{
    tr_sequences_t given = two(), taken;
    int32_t *owned;
    for (int round = 0; round < 2; round++) {
        tr_message_t *message = tr_message_new("request");
        tr_sequences_put(message, &given);
        cr_assert_eq(tr_sequences_take(&taken, &owned, message, &err), TR_OK, "%s", err.text);
        cr_assert_eq(taken.count, 2);
        cr_expect_arr_eq(taken.ids, ids, sizeof ids);
        cr_expect_arr_eq(taken.starts, starts, sizeof starts);
        cr_expect_arr_eq(taken.prompt_lengths, prompt_lengths, sizeof prompt_lengths);
        cr_expect_arr_eq(taken.response_starts, response_starts, sizeof response_starts);
        if (round == 0) {
            cr_expect_arr_eq(taken.kept_offsets, kept_offsets, sizeof kept_offsets);
            cr_expect_arr_eq(taken.kept_ids, kept_ids, sizeof kept_ids);
        } else {
            cr_expect_null(taken.kept_offsets);
        }
        free(owned);
        tr_message_destroy(&message);
        given.kept_offsets = NULL; // the second round goes without
    }
}

typedef struct vector {
    const char *name;
    size_t count;
    int32_t values[6];
} vector_t;

static const vector_t good[] = {{"ids", 6, {10, 11, 12, 20, 21, 22}},
                                {"starts", 3, {0, 3, 6}},
                                {"prompt_lengths", 2, {2, 1}},
                                {"kept_offsets", 4, {0, 2, 2, 5}},
                                {"kept_ids", 5, {12, 13, 21, 22, 23}}};

/// Takes the good tensors but the one that `bad` replaces; count SIZE_MAX: it is left out.
static tr_status take_with(const vector_t *bad)
{
    tr_message_t *message = tr_message_new("request");
    for (size_t i = 0; i < 5; i++) {
        const vector_t *v = strcmp(good[i].name, bad->name) == 0 ? bad : &good[i];
        if (v->count != SIZE_MAX) {
            tr_message_add_vector(message, v->name, TR_I32, v->count, v->values);
        }
    }
    tr_sequences_t taken;
    int32_t *owned;
    tr_status status = tr_sequences_take(&taken, &owned, message, &err);
    cr_expect(status == TR_OK || owned == NULL);
    free(owned);
    tr_message_destroy(&message);
    return status;
}

Test(sequences, offsets_that_do_not_fit_together_are_refused)
{
    static const vector_t rows[] = {
        {"ids", SIZE_MAX, {0}},
        {"ids", 5, {10, 11, 12, 20, 21}}, // fewer than starts say
        {"ids", 0, {0}},
        {"starts", SIZE_MAX, {0}},
        {"starts", 2, {0, 6}},       // of another count than the prompts
        {"starts", 4, {0, 3, 6, 6}}, // likewise
        {"starts", 3, {1, 3, 6}},    // begins late
        {"starts", 3, {0, 3, 5}},    // ends early
        {"starts", 3, {0, 3, 7}},    // ends late
        {"starts", 3, {0, 7, 6}},    // falls
        {"starts", 3, {0, -1, 6}},   // falls
        {"starts", 3, {0, INT_MIN, 6}},
        {"starts", 3, {0, INT_MAX, 6}},
        {"starts", 3, {0, 3, -6}},
        {"starts", 3, {0, 0, 6}}, // a sequence without a prompt
        {"prompt_lengths", SIZE_MAX, {0}},
        {"prompt_lengths", 0, {0}},
        {"prompt_lengths", 2, {0, 1}},
        {"prompt_lengths", 2, {4, 1}}, // longer than its sequence
        {"prompt_lengths", 2, {2, -1}},
        {"prompt_lengths", 2, {2, INT_MAX}},
        {"prompt_lengths", 2, {INT_MIN, 1}},
        {"kept_offsets", 3, {0, 2, 5}},
        {"kept_offsets", 5, {0, 2, 2, 5, 5}},
        {"kept_offsets", 4, {0, 3, 2, 5}},
        {"kept_offsets", 4, {0, 2, 2, 6}},
        {"kept_offsets", 4, {0, INT_MIN, 2, 5}},
        {"kept_offsets", 4, {-1, 2, 2, 5}},
        {"kept_ids", SIZE_MAX, {0}},
        {"kept_ids", 4, {12, 13, 21, 22}},
    };
    cr_assert_eq(take_with(&(const vector_t){.name = ""}), TR_OK, "%s", err.text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        err = (tr_error_t){0};
        cr_expect_eq(take_with(&rows[i]), TR_ERR_PROTOCOL, "row %zu", i);
        cr_expect_str_neq(err.text, "", "row %zu", i);
    }
}

Test(sequences, a_tensor_of_another_type_is_refused)
{
    tr_sequences_t taken;
    int32_t *owned;
    tr_message_t *message = tr_message_new("request");
    const float wrong[] = {2.0f, 1.0f};
    tr_message_add_vector(message, "ids", TR_I32, 6, ids);
    tr_message_add_vector(message, "starts", TR_I32, 3, starts);
    tr_message_add_vector(message, "prompt_lengths", TR_F32, 2, wrong);
    cr_expect_eq(tr_sequences_take(&taken, &owned, message, &err), TR_ERR_PROTOCOL);
    cr_expect_null(owned);
    tr_message_destroy(&message);
}

Test(sequences, ids_outside_the_vocabulary_and_sequences_too_long_are_refused)
{
    tr_sequences_t given = two();
    cr_expect_eq(tr_sequences_check(&given, 24, 3, &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_sequences_check(&given, 24, 2, &err), TR_ERR_ARGUMENT, "three tokens in two");
    cr_expect_eq(tr_sequences_check(&given, 23, 3, &err), TR_ERR_ARGUMENT, "kept id 23 of 23");
    given.kept_offsets = NULL;
    cr_expect_eq(tr_sequences_check(&given, 23, 3, &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_sequences_check(&given, 22, 3, &err), TR_ERR_ARGUMENT, "id 22 of 22");
    const int32_t negative[] = {10, 11, 12, 20, -1, 22};
    given.ids = negative;
    cr_expect_eq(tr_sequences_check(&given, 23, 3, &err), TR_ERR_ARGUMENT);
}
