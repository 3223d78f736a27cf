/// The table of metrics: its page, and which names it knows.
#include "controller/metric_table.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "tests/support/scratch.h"

/// docs/metrics.md; owned by the caller.
static char *markdown(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    TR_ASSERT(out != NULL, "out of memory");
    fputs("# Metrics\n"
          "\n"
          "A run writes one JSON object a step to `metrics.jsonl`, and the same numbers for "
          "TensorBoard. Names are TRL's where "
          "TRL has\n"
          "the metric. A value is a mean over what the third column says, unless that says "
          "otherwise. Where the recipe names "
          "`data.eval`,\n"
          "the line of a step that is evaluated also has the metrics of the held-out rows or "
          "prompts, each after `eval_`, as means over all "
          "of them.\n"
          "\n"
          "This page is written by the program, from the table that the terminal's line also "
          "follows. `*` stands for a name: "
          "a judge, a\n"
          "phase, a role.\n"
          "\n"
          "| name | unit | mean over | meaning |\n"
          "|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < controller_metric_count; i++) {
        const controller_metric_row_t *row = &controller_metric_rows[i];
        fprintf(out, "| `%s` | %s | %s | %s |\n", row->name, row->unit, row->over, row->meaning);
    }
    TR_ASSERT(fclose(out) == 0, "out of memory");
    return text;
}

Test(metric_table, the_page_in_docs_is_what_the_table_says)
{
    char *page = markdown();
    char *file = scratch_read(TEST_SOURCE_DIR "/docs/metrics.md", NULL);
    if (strcmp(page, file) != 0) {
        tr_error_t err = {0};
        cr_assert_eq(tr_file_write_atomic(TEST_BINARY_DIR "/metrics.md", page, strlen(page), &err),
                     TR_OK, "%s", err.text);
        cr_assert_fail("docs/metrics.md is old: copy " TEST_BINARY_DIR "/metrics.md over it");
    }
    free(file);
    free(page);
}

Test(metric_table, a_star_stands_for_a_part_and_at_the_end_for_everything)
{
    static const char *const known[] = {"loss",
                                        "eval_loss",
                                        "rewards/happy-2/mean",
                                        "eval_rewards/chosen",
                                        "judge/happy/any thing/of its own",
                                        "tokens_per_second/rollout",
                                        "exact/logprob_mismatch"};
    static const char *const unknown[] = {"losses",        "los",    "rewards/a/b/mean",
                                          "rewards//mean", "judge/", "judge/a",
                                          "time/",         "eval_"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        cr_expect_not_null(controller_metric_row(known[i]), "%s", known[i]);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        cr_expect_null(controller_metric_row(unknown[i]), "%s", unknown[i]);
    }
}

Test(metric_table, every_row_says_what_it_is_and_stands_once)
{
    for (size_t i = 0; i < controller_metric_count; i++) {
        const controller_metric_row_t *row = &controller_metric_rows[i];
        cr_expect(row->unit[0] != '\0' && row->over[0] != '\0' && row->meaning[0] != '\0', "%s",
                  row->name);
        cr_expect_eq(controller_metric_row(row->name), row, "%s stands twice", row->name);
    }
}
