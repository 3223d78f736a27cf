/// The experience of a step does not depend on how its responses were divided among the rollouts.
#include "controller/experience.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS = 3, SAMPLES = 2, RESPONSES = 6, TOKENS = 13 };
#include <stdint.h>

// Three prompts, two responses each. Numbers are made up so that each differs.
static int32_t prompt_0[] = {1, 2}, prompt_1[] = {3}, prompt_2[] = {4, 5, 6};
static tr_sequence_t items[PROMPTS] = {{.ids = prompt_2, .prompt = 3, .length = 3},
                                       {.ids = prompt_0, .prompt = 2, .length = 2},
                                       {.ids = prompt_1, .prompt = 1, .length = 1}};
static const tr_rows_t data = {.sequences = items, .count = PROMPTS};

static const int32_t response_ids[TOKENS] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};
static const int32_t response_starts[RESPONSES + 1] = {0, 3, 4, 6, 9, 12, 13};
static const int32_t finish[RESPONSES] = {0, 1, 2, 0, 2, 1};
static const float logprobs[TOKENS] = {-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12, -13};
// Lists of 0 to 3 kept ids: a cut token keeps at least itself, an empty list is a token that
// nothing was cut from.
static const int32_t kept_offsets[TOKENS + 1] = {0, 2, 2, 3, 6, 7, 7, 9, 10, 13, 13, 13, 15, 16};
static const int32_t kept_ids[16] = {10, 99, 12, 13, 50, 51, 14, 8, 16, 17, 1, 18, 30, 2, 21, 22};

/// The responses first..end-1, with offsets from 0. Arrays are the caller's: see free_part.
static tr_responses_t part_of(size_t first, size_t end, bool truncated)
{
    int32_t token = response_starts[first], last = response_starts[end];
    int32_t *starts = tr_calloc(end - first + 1, sizeof *starts);
    int32_t *offsets = truncated ? tr_calloc((size_t)(last - token) + 1, sizeof *offsets) : NULL;
    for (size_t i = first; i <= end; i++) {
        starts[i - first] = response_starts[i] - token;
    }
    for (int32_t t = token; truncated && t <= last; t++) {
        offsets[t - token] = kept_offsets[t] - kept_offsets[token];
    }
    return (tr_responses_t){
        .count = end - first,
        .ids = response_ids + token,
        .starts = starts,
        .finish = finish + first,
        .logprobs = logprobs + token,
        .raw = logprobs + token,
        .kept_offsets = offsets,
        .kept_ids = truncated ? kept_ids + kept_offsets[token] : NULL,
    };
}

/// Joins parts that end where `division` has a bit: response i is the last of its part when bit i
/// is set.
static void join(controller_experience_t *e, unsigned division, bool truncated)
{
    tr_responses_t parts[RESPONSES];
    size_t count = 0, first = 0;
    tr_error_t err = {0};
    for (size_t i = 0; i < RESPONSES; i++) {
        if (i + 1 == RESPONSES || (division >> i & 1) != 0) {
            parts[count++] = part_of(first, i + 1, truncated);
            first = i + 1;
        }
    }
    cr_assert_eq(controller_experience_init(e, &data, SAMPLES, parts, count, &err), TR_OK, "%s",
                 err.text);
    for (size_t p = 0; p < count; p++) {
        free((int32_t *)(uintptr_t)parts[p].starts);
        free((int32_t *)(uintptr_t)parts[p].kept_offsets);
    }
}

static void expect_ids(const int32_t *got, const int32_t *expected, size_t count, const char *what,
                       unsigned division)
{
    cr_expect_eq(memcmp(got, expected, count * sizeof *got), 0, "%s of division %#x", what,
                 division);
}

Test(experience, each_response_follows_its_prompt_however_the_responses_were_divided)
{
    static const int32_t ids[] = {4,  5, 6, 10, 11, 12, 4, 5,  6,  13, 1, 2, 14,
                                  15, 1, 2, 16, 17, 18, 3, 19, 20, 21, 3, 22};
    static const int32_t starts[RESPONSES + 1] = {0, 6, 10, 14, 19, 23, 25};
    static const int32_t prompt_lengths[RESPONSES] = {3, 3, 2, 2, 1, 1};
    for (unsigned division = 0; division < 1u << (RESPONSES - 1); division++) {
        controller_experience_t e;
        join(&e, division, false);
        cr_assert_eq(e.count, RESPONSES);
        cr_assert_eq(e.tokens, TOKENS);
        expect_ids(e.ids, ids, 25, "ids", division);
        expect_ids(e.starts, starts, RESPONSES + 1, "starts", division);
        expect_ids(e.prompt_lengths, prompt_lengths, RESPONSES, "prompt_lengths", division);
        expect_ids(e.response_starts, response_starts, RESPONSES + 1, "response_starts", division);
        expect_ids(e.finish, finish, RESPONSES, "finish", division);
        cr_expect_arr_eq(e.logprobs, logprobs, sizeof logprobs);
        for (size_t i = 0; i < RESPONSES; i++) {
            size_t n;
            const int32_t *response = controller_experience_response(&e, i, &n);
            cr_assert_eq(n, (size_t)(response_starts[i + 1] - response_starts[i]));
            expect_ids(response, response_ids + response_starts[i], n, "response", division);
        }
        cr_expect_null(e.sequences.kept_offsets);
        controller_experience_release(&e);
    }
}

Test(experience, kept_sets_are_joined_whatever_the_division)
{
    for (unsigned division = 0; division < 1u << (RESPONSES - 1); division++) {
        controller_experience_t e;
        join(&e, division, true);
        expect_ids(e.kept_offsets, kept_offsets, TOKENS + 1, "kept_offsets", division);
        expect_ids(e.kept_ids, kept_ids, 16, "kept_ids", division);
        cr_expect_eq(e.sequences.kept_offsets, e.kept_offsets);
        cr_expect_eq(e.sequences.kept_ids, e.kept_ids);
        controller_experience_release(&e);
    }
}

Test(experience, what_travels_to_the_learners_is_what_they_take)
{
    controller_experience_t e;
    tr_sequences_t taken;
    int32_t *owned;
    tr_error_t err = {0};
    join(&e, 0x12, true);
    tr_message_t *message = tr_message_new("request");
    tr_sequences_put(message, &e.sequences);
    cr_assert_eq(tr_sequences_take(&taken, &owned, message, &err), TR_OK, "%s", err.text);
    cr_expect_eq(taken.count, e.count);
    cr_expect_arr_eq(taken.response_starts, response_starts, sizeof response_starts);
    cr_expect_arr_eq(taken.kept_ids, kept_ids, sizeof kept_ids);
    free(owned);
    tr_message_destroy(&message);
    controller_experience_release(&e);
}

/// By how much the reference is below the policy in each of the responses' first tokens. Their
/// mean m and standard error e decide.
static char *doubt_of(const float *differences)
{
    controller_experience_t e;
    join(&e, 0, false);
    memcpy(e.reference, logprobs, sizeof logprobs);
    for (size_t i = 0; i < RESPONSES; i++) {
        e.reference[response_starts[i]] -= differences[i];
    }
    char *doubt = controller_experience_doubt(&e);
    controller_experience_release(&e);
    return doubt;
}

Test(experience, a_mean_kl_far_below_zero_is_doubted)
{
    // m = -2 and e = 0.632, -3.2 errors; m = -1.5 and the same e, -2.4 errors.
    char *far = doubt_of((const float[]){-1, -1, -1, -1, -4, -4});
    char *near = doubt_of((const float[]){-0.5f, -0.5f, -0.5f, -0.5f, -3.5f, -3.5f});
    char *none = doubt_of((const float[]){0, 0, 0, 0, 0, 0});
    char *above = doubt_of((const float[]){3, 3, 3, 3, 3, 3});
    cr_expect_null(near);
    cr_expect_null(none);
    cr_expect_null(above);
    cr_assert_not_null(far);
    cr_expect_not_null(strstr(far, "-2 nats"), "%s", far);
    cr_expect_not_null(strstr(far, "error of 0.63"), "%s", far);
    free(far);
}

Test(experience, more_kept_ids_than_an_int32_counts_are_refused)
{
    static const int32_t starts[] = {0, 1}, offsets[] = {0, INT32_MAX};
    const tr_responses_t part = {.count = 1,
                                 .ids = response_ids,
                                 .starts = starts,
                                 .finish = finish,
                                 .logprobs = logprobs,
                                 .kept_offsets = offsets};
    const tr_responses_t parts[] = {part, part};
    controller_experience_t e;
    tr_error_t err = {0};
    cr_expect_eq(controller_experience_init(&e, &data, 1, parts, 2, &err), TR_ERR_ARGUMENT);
    cr_expect_not_null(strstr(err.text, "kept ids"), "%s", err.text);
    cr_expect_null(e.ids);
}
