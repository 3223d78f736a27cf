/// Rows as a ragged batch: their order, what is cut, masks, and the mismatched completions of KTO.
#include "controller/batch.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

// Three rows of one sequence each, then a pair. Every id is another number.
static int32_t ids_0[] = {1, 2, 3, 4, 5}, ids_1[] = {11, 12, 13}, ids_2[] = {21, 22, 23, 24},
               ids_3[] = {31, 32, 33}, ids_4[] = {41, 42, 43, 44};
static uint8_t mask_0[] = {0, 1, 0, 2, 1}, mask_1[] = {0, 0, 1}, mask_2[] = {9, 9, 1, 0},
               mask_3[] = {0, 1, 1}, mask_4[] = {0, 1, 0, 0};
static tr_sequence_t sequences[] = {
    {.ids = ids_0, .prompt = 2, .length = 5, .mask = mask_0},
    {.ids = ids_1, .prompt = 1, .length = 3, .mask = mask_1},
    {.ids = ids_2, .prompt = 3, .length = 4, .mask = mask_2},
    {.ids = ids_3, .prompt = 1, .length = 3, .mask = mask_3},
    {.ids = ids_4, .prompt = 1, .length = 4, .mask = mask_4},
};
static size_t starts[] = {0, 1, 2, 3, 5};

static tr_rows_t rows_of(size_t limit, bool keep_end)
{
    return (tr_rows_t){
        .sequences = sequences, .starts = starts, .count = 4, .limit = limit, .keep_end = keep_end};
}

/// Rows indices: [count] of `rows`. chosen: [5], picked: [6], written: what the result points to.
static tr_rows_t pick(tr_sequence_t *chosen, size_t *picked, const tr_rows_t *rows,
                      const uint32_t *indices, size_t count)
{
    tr_rows_t result = *rows;
    picked[0] = 0;
    for (size_t i = 0; i < count; i++) {
        size_t first = starts[indices[i]], n = starts[indices[i] + 1] - first;
        memcpy(chosen + picked[i], sequences + first, n * sizeof *chosen);
        picked[i + 1] = picked[i] + n;
    }
    result.sequences = chosen;
    result.starts = picked;
    result.count = count;
    return result;
}

/// A sequence of a batch: its ids, of which the first `prompt` are the prompt.
typedef struct expected {
    size_t prompt, length;
    int32_t ids[8];
} expected_t;

static void expect_batch(const controller_batch_t *batch, const expected_t *expected, size_t count)
{
    const tr_sequences_t *s = &batch->sequences;
    size_t tokens = 0, trained = 0, longest = 0;
    cr_assert_eq(s->count, count);
    for (size_t i = 0; i < count; i++) {
        const expected_t *e = &expected[i];
        cr_assert_eq((size_t)s->starts[i], tokens, "sequence %zu", i);
        cr_assert_eq((size_t)s->response_starts[i], trained, "sequence %zu", i);
        cr_expect_eq((size_t)s->prompt_lengths[i], e->prompt, "sequence %zu", i);
        cr_expect_arr_eq(s->ids + tokens, e->ids, e->length * sizeof *e->ids, "sequence %zu", i);
        tokens += e->length;
        trained += e->length - e->prompt;
        longest = e->length > longest ? e->length : longest;
    }
    cr_expect_eq((size_t)s->starts[count], tokens);
    cr_expect_eq((size_t)s->response_starts[count], trained);
    cr_expect_eq(batch->tokens, tokens);
    cr_expect_eq(batch->trained, trained);
    cr_expect_eq(batch->longest, longest);
}

static void expect_rows(const tr_rows_t *rows, const uint32_t *indices, size_t count,
                        bool mismatched, const expected_t *expected, size_t n)
{
    controller_batch_t batch;
    tr_sequence_t chosen[5];
    size_t picked[6];
    const tr_rows_t some = pick(chosen, picked, rows, indices, count);
    controller_batch_init(&batch, &some, mismatched);
    expect_batch(&batch, expected, n);
    cr_expect_eq(batch.matched, mismatched ? n / 2 : n);
    cr_expect_null(batch.mask);
    controller_batch_release(&batch);
}

Test(batch, rows_come_in_the_order_of_their_indices_and_pairs_as_two)
{
    static const uint32_t indices[] = {2, 3, 0};
    static const expected_t expected[] = {{3, 4, {21, 22, 23, 24}},
                                          {1, 3, {31, 32, 33}},
                                          {1, 4, {41, 42, 43, 44}},
                                          {2, 5, {1, 2, 3, 4, 5}}};
    const tr_rows_t rows = rows_of(100, false);
    expect_rows(&rows, indices, 3, false, expected, 4);
}

Test(batch, what_is_longer_than_the_limit_loses_its_end)
{
    static const uint32_t indices[] = {0, 1};
    static const expected_t expected[] = {{2, 3, {1, 2, 3}}, {1, 3, {11, 12, 13}}};
    const tr_rows_t rows = rows_of(3, false);
    expect_rows(&rows, indices, 2, false, expected, 2);
    cr_expect_eq(controller_batch_trained(&rows, &sequences[0]), 1);
    cr_expect_eq(controller_batch_trained(&rows, &sequences[1]), 2);
}

// The cut falls into the prompt, to its end, and into the completion, whose first token then counts
// as the prompt.
Test(batch, or_its_beginning_where_the_end_is_kept)
{
    static const uint32_t indices[] = {2};
    static const expected_t expected[] = {
        {3, 4, {21, 22, 23, 24}}, {2, 3, {22, 23, 24}}, {1, 2, {23, 24}}};
    for (size_t i = 0; i < 3; i++) {
        const tr_rows_t rows = rows_of(4 - i, true);
        expect_rows(&rows, indices, 1, false, &expected[i], 1);
        cr_expect_eq(controller_batch_trained(&rows, &sequences[2]), 1);
    }
    static const uint32_t first[] = {0};
    static const expected_t without_prompt = {1, 3, {3, 4, 5}};
    const tr_rows_t rows = rows_of(3, true);
    expect_rows(&rows, first, 1, false, &without_prompt, 1);
}

Test(batch, mismatched_completions_come_from_the_row_before)
{
    static const uint32_t indices[] = {2, 0, 1};
    static const expected_t expected[] = {{3, 4, {21, 22, 23, 24}}, {2, 5, {1, 2, 3, 4, 5}},
                                          {1, 3, {11, 12, 13}},     {3, 5, {21, 22, 23, 12, 13}},
                                          {2, 3, {1, 2, 24}},       {1, 4, {11, 3, 4, 5}}};
    const tr_rows_t rows = rows_of(100, false);
    expect_rows(&rows, indices, 3, true, expected, 6);
}

Test(batch, mismatched_ones_are_cut_like_the_others)
{
    static const uint32_t indices[] = {2, 0, 1};
    static const expected_t expected[] = {{3, 4, {21, 22, 23, 24}}, {2, 4, {1, 2, 3, 4}},
                                          {1, 3, {11, 12, 13}},     {3, 4, {21, 22, 23, 12}},
                                          {2, 3, {1, 2, 24}},       {1, 4, {11, 3, 4, 5}}};
    const tr_rows_t rows = rows_of(4, false);
    expect_rows(&rows, indices, 3, true, expected, 6);
}

Test(batch, masks_are_of_the_tokens_that_are_learnt)
{
    static const uint32_t indices[] = {3, 2, 0};
    // Of the pair 2 and 3 tokens, of row 2 its last one, of row 0, cut to 4 tokens, 2.
    static const float expected[] = {1, 1, 1, 0, 0, 0, 0, 2};
    controller_batch_t batch;
    tr_rows_t rows = rows_of(4, false);
    rows.masked = true;
    tr_sequence_t chosen[5];
    size_t picked[6];
    const tr_rows_t some = pick(chosen, picked, &rows, indices, 3);
    controller_batch_init(&batch, &some, false);
    cr_assert_eq(batch.trained, 8);
    cr_expect_arr_eq(batch.mask, expected, sizeof expected);
    controller_batch_release(&batch);
}
