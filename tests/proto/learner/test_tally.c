// Tallies of metrics: sums and weights add up to the mean over all batches, and a sum that is no
// finite number is refused by name.
#include <criterion/criterion.h>
#include <math.h>

#include "proto/learner/tally.h"

static tr_error_t err;

Test(tally, batches_add_up_to_the_mean_over_all)
{
    json_t *whole = json_object(), *one = json_object(), *two = json_object();
    cr_assert_eq(tr_tally_put(one, "loss", 3.0, 2.0, &err), TR_OK);
    cr_assert_eq(tr_tally_put(one, "only", 7.0, 1.0, &err), TR_OK);
    cr_assert_eq(tr_tally_put(one, "absent", 7.0, 0.0, &err), TR_OK);
    cr_assert_eq(tr_tally_put(two, "loss", 1.0, 6.0, &err), TR_OK);
    cr_assert_eq(tr_tally_add(whole, one, "reply", &err), TR_OK);
    cr_assert_eq(tr_tally_add(whole, two, "reply", &err), TR_OK);
    cr_expect_eq(tr_tally_mean(json_object_get(whole, "loss")), 0.5);
    cr_expect_eq(tr_tally_mean(json_object_get(whole, "only")), 7.0);
    cr_expect_null(json_object_get(whole, "absent"));
    json_decref(whole);
    json_decref(one);
    json_decref(two);
}

Test(tally, what_is_no_number_is_refused_by_name)
{
    static const char *const bad[] = {"[]",
                                      "{\"x\": 1}",
                                      "{\"x\": [1]}",
                                      "{\"x\": [1, 0]}",
                                      "{\"x\": [1, -1]}",
                                      "{\"x\": [\"a\", 1]}",
                                      "{\"x\": [1, 1, 1]}"};
    json_t *tally = json_object();
    cr_expect_eq(tr_tally_put(tally, "loss", NAN, 1.0, &err), TR_ERR_NUMERIC);
    cr_expect_str_eq(err.text, "loss is not a finite number");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *other = json_loads(bad[i], 0, NULL);
        err = (tr_error_t){0};
        cr_expect_eq(tr_tally_add(tally, other, "reply", &err), TR_ERR_PROTOCOL, "%s", bad[i]);
        json_decref(other);
    }
    cr_expect_eq(json_object_size(tally), 0);
    json_decref(tally);
}
