// A step's record, its line of JSON, and the file of lines that a resumed run cuts and goes on
// with.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "controller/lines.h"
#include "controller/metrics.h"
#include "tests/support/fields.h"
#include "tests/support/scratch.h"

static tr_error_t err;
static char *folder;
static char *path;

static void open_folder(void)
{
    folder = scratch_open();
    path = tr_format("%s/metrics.jsonl", folder);
}

static void close_folder(void)
{
    free(path);
    scratch_close(&folder);
}

/// The record's line in a file of its own, without the newline; owned by the caller.
static char *print(const controller_record_t *record)
{
    char *directory = scratch_open(), *file = tr_format("%s/lines", directory);
    controller_appender_t *lines;
    cr_assert_eq(controller_lines_open(&lines, file, 0, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_metrics_append(lines, record, &err), TR_OK, "%s", err.text);
    controller_appender_destroy(&lines);
    char *line = scratch_read(file, NULL);
    line[strlen(line) - 1] = '\0';
    free(file);
    scratch_close(&directory);
    return line;
}

/// The line of a record with one metric; owned by the caller.
static char *line_of(const char *name, double value)
{
    controller_record_t record;
    controller_record_init(&record, 12);
    cr_assert_eq(controller_record_set(&record, name, value, &err), TR_OK, "%s", err.text);
    char *line = print(&record);
    controller_record_release(&record);
    return line;
}

static void expect_line(const char *name, double value, const char *expected)
{
    char *line = line_of(name, value);
    cr_assert_str_eq(line, expected);
    free(line);
}

/// Opens the file with `last`, appends one line a step from..to, and closes it.
static void write_steps(uint64_t last, uint64_t from, uint64_t to)
{
    controller_appender_t *metrics;
    cr_assert_eq(controller_lines_open(&metrics, path, last, &err), TR_OK, "%s", err.text);
    for (uint64_t step = from; step <= to; step++) {
        controller_record_t record;
        controller_record_init(&record, step);
        cr_assert_eq(controller_record_set(&record, "loss", 1.0 / (double)step, &err), TR_OK);
        cr_assert_eq(controller_metrics_append(metrics, &record, &err), TR_OK, "%s", err.text);
        controller_record_release(&record);
    }
    cr_assert_eq(controller_appender_sync(metrics, &err), TR_OK, "%s", err.text);
    controller_appender_destroy(&metrics);
    controller_appender_destroy(&metrics);
}

static void expect_file(const char *expected)
{
    char *text = scratch_read(path, NULL);
    cr_assert_str_eq(text, expected);
    free(text);
}

/// Opening a file with this text fails with the sentence path + rest, and leaves the file alone.
static void expect_refused(const char *text, const char *rest)
{
    controller_appender_t *metrics;
    free(scratch_write(folder, "metrics.jsonl", text, strlen(text)));
    cr_assert_eq(controller_lines_open(&metrics, path, 1, &err), TR_ERR_FORMAT);
    cr_assert_null(metrics);
    cr_assert_eq(strncmp(err.text, path, strlen(path)), 0, "%s", err.text);
    cr_assert_eq(strncmp(err.text + strlen(path), rest, strlen(rest)), 0, "%s", err.text);
    expect_file(text);
}

Test(record, is_a_line_with_the_step_first_and_metrics_in_the_order_they_were_set)
{
    controller_record_t record;
    controller_record_init(&record, 12);
    cr_assert_eq(controller_record_set(&record, "objective/kl", 7, &err), TR_OK);
    cr_assert_eq(controller_record_set(&record, "objective/scores", 1.5, &err), TR_OK);
    cr_assert_eq(controller_record_set(&record, "a \"b\"", -3, &err), TR_OK);
    cr_assert_eq(controller_record_set(&record, "objective/kl", 0.25, &err), TR_OK);
    char *line = print(&record);
    cr_assert_str_eq(line, "{\"step\": 12, \"objective/kl\": 0.25, \"objective/scores\": 1.5, "
                           "\"a \\\"b\\\"\": -3}");
    cr_assert_float_eq(*controller_record_find(&record, "objective/scores"), 1.5, 0);
    cr_assert_null(controller_record_find(&record, "objective"));
    free(line);
    controller_record_release(&record);
}

Test(record, holds_more_metrics_than_it_started_with)
{
    controller_record_t record;
    controller_record_init(&record, 1);
    for (int i = 0; i < 500; i++) {
        char *name = tr_format("m%d", i);
        cr_assert_eq(controller_record_set(&record, name, i, &err), TR_OK);
        free(name);
    }
    cr_assert_eq(record.count, 500U);
    cr_assert_float_eq(*controller_record_find(&record, "m0"), 0, 0);
    cr_assert_float_eq(*controller_record_find(&record, "m499"), 499, 0);
    controller_record_release(&record);
}

Test(record, numbers_have_the_fewest_digits)
{
    expect_line("x", 0.1, "{\"step\": 12, \"x\": 0.1}");
    expect_line("x", 0.1 + 0.2, "{\"step\": 12, \"x\": 0.30000000000000004}");
    expect_line("x", 1.0 / 3.0, "{\"step\": 12, \"x\": 0.3333333333333333}");
    expect_line("x", 100, "{\"step\": 12, \"x\": 100}");
    expect_line("x", 3e-6, "{\"step\": 12, \"x\": 3e-06}");
    expect_line("x", 1e300, "{\"step\": 12, \"x\": 1e+300}");
    expect_line("x", 5e-324, "{\"step\": 12, \"x\": 5e-324}");
}

/// A finite double from all over the range: multiples of 2^64 / golden ratio, as bits.
static bool nth_double(double *value, uint64_t i)
{
    uint64_t bits = (i + 1) * 0x9E3779B97F4A7C15u;
    memcpy(value, &bits, sizeof *value);
    return isfinite(*value);
}

Test(record, any_finite_double_reads_back_with_the_same_bits, .init = open_folder,
     .fini = close_folder)
{
    enum { TRIED = 20000 };
    controller_appender_t *file;
    controller_record_t record;
    double value;
    int tried = 0;
    controller_record_init(&record, 1);
    cr_assert_eq(controller_lines_open(&file, path, 0, &err), TR_OK, "%s", err.text);
    for (uint64_t i = 0; i < TRIED; i++) {
        if (nth_double(&value, i)) {
            cr_assert_eq(controller_record_set(&record, "x", value, &err), TR_OK, "%s", err.text);
            cr_assert_eq(controller_metrics_append(file, &record, &err), TR_OK, "%s", err.text);
        }
    }
    char *text = scratch_read(path, NULL), *at = text;
    for (uint64_t i = 0; i < TRIED; i++) {
        if (nth_double(&value, i)) {
            at = strstr(at, "\"x\": ") + 5;
            double back = strtod(at, NULL);
            cr_assert_eq(memcmp(&back, &value, sizeof value), 0, "%a is printed as %.30s", value,
                         at);
            tried++;
        }
    }
    cr_assert_gt(tried, 19000);
    free(text);
    controller_appender_destroy(&file);
    controller_record_release(&record);
}

Test(record, a_value_that_is_not_finite_is_refused_by_the_metrics_name)
{
    controller_record_t record;
    controller_record_init(&record, 1);
    cr_assert_eq(controller_record_set(&record, "val/loss", (double)NAN, &err), TR_ERR_NUMERIC);
    cr_assert_not_null(strstr(err.text, "'val/loss'"));
    cr_assert_eq(controller_record_set(&record, "val/loss", -(double)INFINITY, &err),
                 TR_ERR_NUMERIC);
    cr_assert_eq(record.count, 0U);
    controller_record_release(&record);
}

Test(record, a_name_is_not_empty_not_step_and_utf8)
{
    static const char *const BAD[] = {"", "step", "caf\xE9"};
    controller_record_t record;
    controller_record_init(&record, 1);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        cr_assert_eq(controller_record_set(&record, BAD[i], 1, &err), TR_ERR_ARGUMENT);
    }
    cr_assert_eq(controller_record_set(&record, "caf\xC3\xA9", 1, &err), TR_OK);
    controller_record_release(&record);
}

Test(record, a_tally_gives_means_under_their_names_behind_a_prefix)
{
    controller_record_t record;
    json_t *tally = fields_json("{'loss': [6.0, 4.0], 'logps/chosen': [-3.0, 2.0],"
                                " 'mean_reward': [4.0, 4.0], 'mean_squared_reward': [20.0, 4.0]}");
    controller_record_init(&record, 3);
    cr_assert_eq(controller_record_add_tally(&record, tally, "eval_", &err), TR_OK, "%s", err.text);
    char *line = print(&record);
    cr_expect_str_eq(line, "{\"step\": 3, \"eval_loss\": 1.5, \"eval_logps/chosen\": -1.5, "
                           "\"eval_mean_reward\": 1, \"eval_reward_std\": 2}"); // 5 - 1 squared
    free(line);
    controller_record_release(&record);
    json_decref(tally);
}

Test(metrics, lines_are_whole_for_a_reader_as_soon_as_they_are_appended, .init = open_folder,
     .fini = close_folder)
{
    controller_appender_t *metrics;
    controller_record_t record;
    controller_record_init(&record, 1);
    cr_assert_eq(controller_lines_open(&metrics, path, 0, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_metrics_append(metrics, &record, &err), TR_OK);
    expect_file("{\"step\": 1}\n");
    controller_appender_destroy(&metrics);
    controller_record_release(&record);
}

Test(metrics, a_run_that_goes_on_leaves_the_lines_of_one_that_never_stopped, .init = open_folder,
     .fini = close_folder)
{
    write_steps(0, 1, 9);
    char *whole = scratch_read(path, NULL);
    cr_assert_eq(remove(path), 0);
    write_steps(0, 1, 6);
    write_steps(4, 5, 7);
    write_steps(7, 8, 8);
    write_steps(2, 3, 9);
    expect_file(whole);
    free(whole);
}

Test(metrics, a_torn_last_line_is_cut, .init = open_folder, .fini = close_folder)
{
    static const char TEXT[] = "{\"step\": 1}\n{\"step\": 2}\n{\"step\": 3, \"lo";
    free(scratch_write(folder, "metrics.jsonl", TEXT, strlen(TEXT)));
    write_steps(5, 1, 0);
    expect_file("{\"step\": 1}\n{\"step\": 2}\n");
}

Test(metrics, a_last_line_that_lacks_only_its_newline_is_torn, .init = open_folder,
     .fini = close_folder)
{
    static const char TEXT[] = "{\"step\": 1}\n{\"step\": 2}";
    free(scratch_write(folder, "metrics.jsonl", TEXT, strlen(TEXT)));
    write_steps(2, 2, 2);
    expect_file("{\"step\": 1}\n{\"step\": 2, \"loss\": 0.5}\n");
}

Test(metrics, a_new_run_starts_with_an_empty_file, .init = open_folder, .fini = close_folder)
{
    write_steps(0, 1, 3);
    write_steps(0, 1, 0);
    expect_file("");
}

Test(metrics, malformed_lines_are_refused_with_their_number, .init = open_folder,
     .fini = close_folder)
{
    expect_refused("{\"step\": 1}\n{\"step\": \n", ":2: malformed JSON");
    expect_refused("{\"step\": 1}\n\n", ":2: malformed JSON");
    expect_refused("[1]\n", ":1: step: expected");
    expect_refused("{\"loss\": 1}\n", ":1: step: expected");
    expect_refused("{\"step\": -1}\n", ":1: step: expected");
    expect_refused("{\"step\": 1.0}\n", ":1: step: expected");
}

Test(metrics, a_line_that_does_not_fit_on_the_disk_leaves_nothing_of_itself, .init = open_folder,
     .fini = close_folder)
{
    controller_appender_t *metrics;
    controller_record_t record;
    controller_record_init(&record, 1);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(controller_lines_open(&metrics, path, 0, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_metrics_append(metrics, &record, &err), TR_OK);
    struct rlimit before;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 20, .rlim_max = before.rlim_max}; // a line and a half
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    tr_status status = controller_metrics_append(metrics, &record, &err);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    cr_assert_eq(status, TR_ERR_IO);
    cr_assert_not_null(strstr(err.text, path));
    expect_file("{\"step\": 1}\n");
    cr_assert_eq(controller_metrics_append(metrics, &record, &err), TR_OK, "%s", err.text);
    expect_file("{\"step\": 1}\n{\"step\": 1}\n");
    controller_appender_destroy(&metrics);
    controller_record_release(&record);
}

Test(metrics, a_path_that_cannot_be_opened_is_an_error_that_names_it)
{
    controller_appender_t *metrics;
    cr_assert_eq(controller_lines_open(&metrics, "/no/such/folder/m.jsonl", 0, &err), TR_ERR_IO);
    cr_assert_null(metrics);
    cr_assert_not_null(strstr(err.text, "'/no/such/folder/m.jsonl'"));
}
