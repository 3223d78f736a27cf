/// Byte pair encoding by hand: the order of merges, characters without a token, and long pieces.
#include "common/text/bpe.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"

static tr_vocab_t *vocab;
static tr_bpe_work_t *work;

enum { A, B, C, AB, BC, ABC, UNK, FIRST, SECOND };

static void setup(void)
{
    static const char *const texts[] = {"a", "b", "c", "ab", "bc", "abc", "?", "<0xC3>", "<0xA9>"};
    vocab = tr_vocab_new(SECOND + 1);
    work = tr_bpe_work_new();
    for (int32_t id = A; id <= SECOND; id++) {
        tr_vocab_add(vocab, texts[id], strlen(texts[id]), id);
    }
}

static void teardown(void)
{
    tr_bpe_work_destroy(&work);
    tr_vocab_destroy(&vocab);
}

TestSuite(bpe, .init = setup, .fini = teardown);

/// ids: [count], of a piece by a bpe with the merges ab, bc and ab c, in this order or bc first.
static void expect_ids(const tr_bpe_options_t *options, bool bc_first, const char *piece,
                       const int32_t *ids, size_t count)
{
    tr_ids_t found = {0};
    tr_bpe_t *bpe = tr_bpe_new(vocab, options, 3);
    tr_bpe_add_merge(bpe, A, B, AB, bc_first ? 1 : 0);
    tr_bpe_add_merge(bpe, B, C, BC, bc_first ? 0 : 1);
    tr_bpe_add_merge(bpe, AB, C, ABC, 2);
    tr_bpe_encode(&found, bpe, work, piece, strlen(piece));
    cr_assert_eq(found.count, count, "%s", piece);
    if (count > 0) {
        cr_expect_arr_eq(found.data, ids, count * sizeof *ids, "%s", piece);
    }
    tr_ids_release(&found);
    tr_bpe_destroy(&bpe);
}

static const tr_bpe_options_t plain = {.unk = -1};

Test(bpe, the_pair_that_was_learned_first_is_merged_first)
{
    expect_ids(&plain, false, "abc", (const int32_t[]){ABC}, 1);
    expect_ids(&plain, true, "abc", (const int32_t[]){A, BC}, 2);
    expect_ids(&plain, false, "cab", (const int32_t[]){C, AB}, 2);
    expect_ids(&plain, false, "", NULL, 0);
}

Test(bpe, of_equal_pairs_the_left_one_is_merged_first)
{
    expect_ids(&plain, false, "abab", (const int32_t[]){AB, AB}, 2);
    expect_ids(&plain, true, "bcbc", (const int32_t[]){BC, BC}, 2);
}

Test(bpe, a_piece_that_is_a_token_is_taken_whole_where_asked)
{
    const tr_bpe_options_t whole = {.unk = -1, .ignore_merges = true};
    expect_ids(&whole, true, "abc", (const int32_t[]){ABC}, 1);
    expect_ids(&whole, true, "abcc", (const int32_t[]){A, BC, C}, 3);
}

Test(bpe, characters_without_a_token_vanish_or_become_unk_or_bytes)
{
    const tr_bpe_options_t unk = {.unk = UNK}, fused = {.unk = UNK, .fuse_unk = true},
                           bytes = {.unk = UNK, .byte_fallback = true};
    expect_ids(&plain, false, "axyb", (const int32_t[]){AB}, 1);
    expect_ids(&unk, false, "axyb", (const int32_t[]){A, UNK, UNK, B}, 4);
    expect_ids(&fused, false, "axybx", (const int32_t[]){A, UNK, B, UNK}, 4);
    expect_ids(&bytes, false, "a\xC3\xA9", (const int32_t[]){A, FIRST, SECOND}, 3);
    expect_ids(&bytes, false, "a\xC3\xA8", (const int32_t[]){A, UNK}, 2); // one byte has no token
}

Test(bpe, a_long_piece_is_merged_as_its_parts_are)
{
    enum { TIMES = 5000 };
    char *piece = tr_calloc(3 * TIMES + 1, 1);
    int32_t *ids = tr_calloc(TIMES, sizeof *ids);
    for (int i = 0; i < TIMES; i++) {
        for (int k = 0; k < 3; k++) {
            piece[3 * i + k] = (char)('a' + k);
        }
        ids[i] = ABC;
    }
    expect_ids(&plain, false, piece, ids, TIMES);
    free(ids);
    free(piece);
}
