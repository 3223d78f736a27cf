// Learning rates against transformers' get_scheduler (tests/golden/optim.json), and the ends of a
// run.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "common/optim/options.h"
#include "tests/support/fields.h"
#include "tests/support/golden.h"

static void equals_transformers(golden_t *golden, const char *name, tr_schedule_kind_t kind)
{
    char path[64];
#define AT(key) (snprintf(path, sizeof path, "%s/" key, name), path)
    const double peak = golden_number(golden, AT("learning_rate"));
    const uint64_t steps = (uint64_t)golden_number(golden, AT("total"));
    const tr_optimizer_options_t options = {
        .schedule = (int)kind, .warmup = (uint64_t)golden_number(golden, AT("warmup"))};
    size_t n;
    const double *rates = golden_doubles(golden, AT("rates"), &n);
#undef AT
    for (size_t step = 0; step < n; step++) {
        double rate = tr_schedule_rate(&options, peak, steps, step);
        cr_assert(fabs(rate - rates[step]) <= 1e-14 * peak, "%s, step %zu: %.17g, expected %.17g",
                  name, step, rate, rates[step]);
    }
}

Test(schedule, equals_get_scheduler_of_transformers)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/optim.json");
    equals_transformers(golden, "constant", TR_SCHEDULE_CONSTANT);
    equals_transformers(golden, "constant_warmup", TR_SCHEDULE_CONSTANT);
    equals_transformers(golden, "linear", TR_SCHEDULE_LINEAR);
    equals_transformers(golden, "linear_warmup", TR_SCHEDULE_LINEAR);
    equals_transformers(golden, "cosine", TR_SCHEDULE_COSINE);
    equals_transformers(golden, "cosine_warmup", TR_SCHEDULE_COSINE);
    golden_close(&golden);
}

Test(schedule, ends_at_zero_and_stays_there)
{
    for (int kind = TR_SCHEDULE_LINEAR; kind <= TR_SCHEDULE_COSINE; kind++) {
        const tr_optimizer_options_t options = {.schedule = kind, .warmup = 2};
        cr_assert(tr_schedule_rate(&options, 1e-3, 10, 9) > 0.0);
        for (uint64_t step = 10; step < 40; step++) {
            cr_assert(tr_schedule_rate(&options, 1e-3, 10, step) == 0.0);
        }
    }
}

Test(schedule, a_run_that_is_all_warmup_rises_to_its_end)
{
    const tr_optimizer_options_t options = {.schedule = TR_SCHEDULE_COSINE, .warmup = 8};
    for (uint64_t step = 0; step < 8; step++) {
        cr_assert(tr_schedule_rate(&options, 8.0, 4, step) == (double)step);
    }
    cr_assert(tr_schedule_rate(&options, 8.0, 4, 8) == 0.0);
}

Test(schedule, is_found_by_name_and_another_word_changes_nothing)
{
    static const char *const names[] = {[TR_SCHEDULE_CONSTANT] = "constant",
                                        [TR_SCHEDULE_LINEAR] = "linear",
                                        [TR_SCHEDULE_COSINE] = "cosine",
                                        NULL};
    fields_check_choices(&tr_optimizer_fields, "schedule", names);
}
