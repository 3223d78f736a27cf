/// Packs are those of TRL, which tests/golden/pack.py asked for.
#include <criterion/criterion.h>
#include <stdio.h>

#include "common/data/pack.h"
#include "tests/support/golden.h"

enum { MOST = 200 };

static const char *path_of(const char *name, const char *key)
{
    static char path[64];
    snprintf(path, sizeof path, "%s/%s", name, key);
    return path;
}

static void expect_packs(golden_t *golden, const char *name)
{
    uint32_t order[MOST];
    size_t starts[MOST + 1], count, packs;
    size_t capacity = (size_t)golden_number(golden, path_of(name, "capacity"));
    const size_t *lengths = golden_sizes(golden, path_of(name, "lengths"), &count);
    const size_t *expected = golden_sizes(golden, path_of(name, "order"), NULL);
    const size_t *sizes = golden_sizes(golden, path_of(name, "sizes"), &packs);
    cr_assert(count <= MOST);
    cr_assert_eq(tr_pack(order, starts, lengths, count, capacity), packs, "%s", name);
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(order[i], expected[i], "%s: text %zu", name, i);
    }
    for (size_t p = 0; p < packs; p++) {
        cr_expect_eq(starts[p + 1] - starts[p], sizes[p], "%s: pack %zu", name, p);
    }
}

Test(pack, packs_are_those_of_trl)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/pack.json");
    expect_packs(golden, "small");
    expect_packs(golden, "large");
    expect_packs(golden, "whole");
    golden_close(&golden);
}

Test(pack, nothing_makes_no_packs)
{
    uint32_t order[1];
    size_t starts[1];
    cr_assert_eq(tr_pack(order, starts, NULL, 0, 8), 0);
    cr_assert_eq(starts[0], 0);
}
