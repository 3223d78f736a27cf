/// Strings and ids of a vocabulary, both ways.
#include "common/text/vocab.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"

static tr_vocab_t *vocab;

static void setup(void)
{
    vocab = tr_vocab_new(5000);
}

static void teardown(void)
{
    tr_vocab_destroy(&vocab);
    tr_vocab_destroy(&vocab);
}

TestSuite(vocab, .init = setup, .fini = teardown);

Test(vocab, many_strings_are_found_by_text_and_by_id)
{
    for (int32_t i = 0; i < 5000; i++) {
        char *text = tr_format("token %d", i);
        tr_vocab_add(vocab, text, strlen(text), 3 * i);
        free(text);
    }
    cr_expect_eq(tr_vocab_size(vocab), 3 * 4999 + 1);
    for (int32_t i = 0; i < 5000; i++) {
        char *text = tr_format("token %d", i);
        size_t length = 0;
        cr_assert_eq(tr_vocab_find(vocab, text, strlen(text)), 3 * i);
        cr_assert_str_eq(tr_vocab_text(&length, vocab, 3 * i), text);
        cr_assert_eq(length, strlen(text));
        free(text);
    }
    cr_expect_eq(tr_vocab_find(vocab, "token", 5), -1);
    cr_expect_null(tr_vocab_text(NULL, vocab, 1));
    cr_expect_null(tr_vocab_text(NULL, vocab, -1));
    cr_expect_null(tr_vocab_text(NULL, vocab, 3 * 4999 + 1));
}

Test(vocab, texts_may_hold_nul_and_be_empty)
{
    tr_vocab_add(vocab, "a\0b", 3, 1);
    tr_vocab_add(vocab, "a", 1, 2);
    tr_vocab_add(vocab, "", 0, 0);
    cr_expect_eq(tr_vocab_find(vocab, "a\0b", 3), 1);
    cr_expect_eq(tr_vocab_find(vocab, "a\0c", 3), -1);
    cr_expect_eq(tr_vocab_find(vocab, "a\0b", 1), 2);
    cr_expect_eq(tr_vocab_find(vocab, "", 0), 0);
}

Test(vocab, the_last_of_equal_texts_or_ids_stays)
{
    size_t length = 0;
    tr_vocab_add(vocab, "a", 1, 1);
    tr_vocab_add(vocab, "a", 1, 2);
    cr_expect_eq(tr_vocab_find(vocab, "a", 1), 2);
    tr_vocab_add(vocab, "b", 1, 2);
    cr_expect_str_eq(tr_vocab_text(&length, vocab, 2), "b");
}
