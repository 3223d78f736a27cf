/// Statuses and sentences: names and exit codes are unique, and no prefix breaks a text.
#include "common/base/status.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

Test(status, fail_returns_the_status_and_writes_the_sentence)
{
    tr_error_t err = {0};
    cr_assert_eq(tr_fail(&err, TR_ERR_IO, "cannot open '%s'", "x"), TR_ERR_IO);
    cr_assert_eq(err.status, TR_ERR_IO);
    cr_assert_str_eq(err.text, "cannot open 'x'");
    cr_assert_eq(tr_fail(NULL, TR_ERR_FORMAT, "nobody listens"), TR_ERR_FORMAT);
}

Test(status, prefix_stands_before_the_sentence)
{
    tr_error_t err = {0};
    tr_fail(&err, TR_ERR_FORMAT, "no number");
    cr_assert_eq(tr_error_prefix(&err, "%s:%d", "recipe.yaml", 14), TR_ERR_FORMAT);
    cr_assert_str_eq(err.text, "recipe.yaml:14: no number");
}

Test(status, prefix_of_any_length_keeps_the_text_terminated)
{
    char *blanks = tr_calloc(2 * sizeof((tr_error_t *)0)->text, 1);
    for (size_t length = 0; length < 2 * sizeof((tr_error_t *)0)->text - 1; length++) {
        tr_error_t err = {0};
        tr_fail(&err, TR_ERR_IO, "the cause");
        tr_error_prefix(&err, "%s", blanks);
        cr_assert_lt(strlen(err.text), sizeof err.text, "prefix of %zu characters", length);
        cr_assert_eq(
            strncmp(err.text, blanks, strlen(err.text) < length ? strlen(err.text) : length), 0);
        blanks[length] = '-';
    }
    free(blanks);
}

Test(status, each_status_has_a_name_and_an_exit_code_of_its_own)
{
    for (int a = TR_ERR_INTERRUPTED; a <= TR_OK; a++) {
        cr_assert_str_neq(tr_status_name((tr_status)a), "unknown");
        cr_assert_eq(tr_status_exit_code((tr_status)a) == 0, a == TR_OK);
        for (int b = TR_ERR_INTERRUPTED; b < a; b++) {
            cr_assert_str_neq(tr_status_name((tr_status)a), tr_status_name((tr_status)b));
            cr_assert_neq(tr_status_exit_code((tr_status)a), tr_status_exit_code((tr_status)b));
        }
    }
    cr_assert_str_eq(tr_status_name((tr_status)7), "unknown");
}

Test(status, failed_assertion_aborts, .signal = SIGABRT)
{
    TR_ASSERT(1 + 1 == 3, "%d", 1 + 1);
}
