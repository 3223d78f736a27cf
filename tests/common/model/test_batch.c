/// Tables of ragged batches, against what their spans say.
#include "common/model/batch.h"

#include <criterion/criterion.h>

#include "tests/support/tensors.h"

Test(batch, rows_stand_one_sequence_after_another_with_their_positions)
{
    static const int32_t first[] = {7, 8, 9}, second[] = {4, 5};
    static const tr_span_t spans[] = {{.ids = first, .length = 3}, {.ids = second, .length = 2}};
    rig_t rig;
    tr_batch_t batch;
    cr_assert(rig_open(&rig, NULL, 1));
    tr_arena_t *arena = tr_arena_new(rig.backend);
    tr_batch_init(&batch, arena, rig.queue, spans, 2);
    cr_expect(batch.ragged.tokens == 5 && batch.ragged.sequences == 2 && batch.ragged.longest == 3);
    cr_expect_arr_eq(rig_read_indices(&rig, batch.ids), ((int32_t[]){7, 8, 9, 4, 5}), 20);
    cr_expect_arr_eq(rig_read_indices(&rig, batch.ragged.positions), ((int32_t[]){0, 1, 2, 0, 1}),
                     20);
    cr_expect_arr_eq(rig_read_indices(&rig, batch.ragged.starts), ((int32_t[]){0, 3, 5}), 12);
    cr_expect_null(batch.noise.buffer);
    tr_arena_destroy(&arena);
    rig_close(&rig);
}

Test(batch, fresh_pages_are_numbered_and_a_cache_s_pages_are_taken)
{
    static const int32_t ids[2 * TR_PAGE] = {0}, pages[] = {5, 9};
    static const tr_span_t fresh[] = {{.ids = ids, .length = TR_PAGE + 1},
                                      {.ids = ids, .length = 1}};
    static const tr_span_t cached[] = {
        {.ids = ids, .length = 2, .position = TR_PAGE, .pages = pages}};
    rig_t rig;
    tr_batch_t batch;
    cr_assert(rig_open(&rig, NULL, 1));
    tr_arena_t *arena = tr_arena_new(rig.backend);
    tr_batch_init(&batch, arena, rig.queue, fresh, 2);
    const size_t columns = batch.ragged.max_pages;
    const int32_t *table = rig_read_indices(&rig, batch.ragged.pages);
    cr_expect_eq(batch.fresh_pages, 3);
    cr_expect(table[0] == 0 && table[1] == 1 && table[2] == -1);
    cr_expect(table[columns] == 2 && table[columns + 1] == -1);
    tr_batch_init(&batch, arena, rig.queue, cached, 1);
    table = rig_read_indices(&rig, batch.ragged.pages);
    cr_expect(batch.fresh_pages == 0 && batch.ragged.longest == TR_PAGE + 2);
    cr_expect(table[0] == 5 && table[1] == 9 && table[2] == -1);
    cr_expect_arr_eq(rig_read_indices(&rig, batch.ragged.positions),
                     ((int32_t[]){TR_PAGE, TR_PAGE + 1}), 8);
    tr_arena_destroy(&arena);
    rig_close(&rig);
}
