/// Tensors that live for one step: they do not overlap, survive growth, and get the same places
/// after a reset.
#include "common/tensor/arena.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/support/tensors.h"

enum { TENSORS = 40 };

/// Sizes from nothing to more than a first buffer of 1 MiB holds.
static size_t columns_of(size_t i)
{
    return i % 8 == 7 ? 70000 : 17 * i;
}

/// Hands out TENSORS tensors of three rows, each filled with its own number.
static void fill(rig_t *rig, tr_arena_t *arena, tr_tensor_t *tensors)
{
    for (size_t i = 0; i < TENSORS; i++) {
        size_t count = 3 * columns_of(i);
        float *values = rig_memory(rig, count * sizeof *values);
        for (size_t j = 0; j < count; j++) {
            values[j] = (float)i;
        }
        tensors[i] = tr_arena_tensor(arena, TR_F32, 3, columns_of(i));
        rig->ops->write(rig->queue, tensors[i], values);
    }
}

static void check(rig_t *rig, const tr_tensor_t *tensors)
{
    for (size_t i = 0; i < TENSORS; i++) {
        cr_assert_eq(tensors[i].rows, 3);
        cr_assert_eq(tensors[i].columns, columns_of(i));
        cr_assert_eq(tensors[i].dtype, TR_F32);
        cr_assert_eq(tensors[i].offset % 64, 0, "tensor %zu", i);
        float *values = rig_read(rig, tensors[i]);
        for (size_t j = 0; j < 3 * columns_of(i); j++) {
            cr_assert_eq(values[j], (float)i, "tensor %zu was written over", i);
        }
    }
}

Test(arena, tensors_are_aligned_and_apart_while_it_grows)
{
    rig_t rig;
    tr_tensor_t tensors[TENSORS];
    rig_open(&rig, NULL, 1);
    tr_arena_t *arena = tr_arena_new(rig.backend);
    for (size_t round = 0; round < 3; round++) {
        tr_arena_reset(arena);
        fill(&rig, arena, tensors);
        check(&rig, tensors);
    }
    tr_arena_destroy(&arena);
    rig_close(&rig);
}

Test(arena, after_a_reset_one_buffer_holds_it_all)
{
    rig_t rig;
    tr_tensor_t first[TENSORS], second[TENSORS], third[TENSORS];
    rig_open(&rig, NULL, 1);
    tr_arena_t *arena = tr_arena_new(rig.backend);
    fill(&rig, arena, first);
    cr_assert_neq(first[0].buffer, first[TENSORS - 1].buffer, "no growth: nothing is tested");
    tr_arena_reset(arena);
    fill(&rig, arena, second);
    tr_arena_reset(arena);
    fill(&rig, arena, third);
    for (size_t i = 0; i < TENSORS; i++) {
        cr_assert_eq(second[i].buffer, second[0].buffer);
        cr_assert_eq(third[i].buffer, second[i].buffer);
        cr_assert_eq(third[i].offset, second[i].offset);
    }
    tr_arena_destroy(&arena);
    rig_close(&rig);
}

Test(arena, indices_and_reals_hold_what_was_given)
{
    rig_t rig;
    const int32_t indices[] = {7, -1, 2000000000};
    rig_open(&rig, NULL, 1);
    const float *reals = rig_random(&rig, 1000, 1);
    tr_arena_t *arena = tr_arena_new(rig.backend);
    tr_tensor_t i = tr_arena_indices(arena, rig.queue, indices, 3);
    tr_tensor_t r = tr_arena_reals(arena, rig.queue, reals, 1000);
    tr_tensor_t none = tr_arena_reals(arena, rig.queue, NULL, 0);
    cr_assert(i.dtype == TR_I32 && i.rows == 1 && i.columns == 3);
    cr_assert(r.dtype == TR_F32 && r.rows == 1 && r.columns == 1000);
    cr_assert(none.rows == 1 && none.columns == 0);
    const int32_t *got = rig_read_indices(&rig, i);
    for (size_t j = 0; j < 3; j++) {
        cr_assert_eq(got[j], indices[j]);
    }
    check_same(rig_read(&rig, r), reals, 1000, "reals");
    tr_arena_destroy(&arena);
    rig_close(&rig);
}

Test(arena, tensors_take_whole_lines_of_64_bytes_from_the_start_after_a_reset)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    tr_arena_t *arena = tr_arena_new(rig.backend);
    cr_assert_eq(tr_arena_tensor(arena, TR_F32, 2, 16).offset, 0);  // 128 bytes
    cr_assert_eq(tr_arena_tensor(arena, TR_I32, 1, 1).offset, 128); // 4, rounded up to 64
    cr_assert_eq(tr_arena_tensor(arena, TR_I32, 1, 1).offset, 192);
    tr_arena_reset(arena);
    cr_assert_eq(tr_arena_tensor(arena, TR_F32, 1, 16).offset, 0);
    tr_arena_destroy(&arena);
    cr_assert_null(arena);
    tr_arena_destroy(&arena);
    rig_close(&rig);
}
