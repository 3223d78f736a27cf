// What a run shows: the texts, then a pipe and a pseudo-terminal at the other end.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "controller/progress.h"

typedef struct metric {
    const char *name;
    double value;
} metric_t;

/// A record of these metrics: [count].
static controller_record_t record_of(uint64_t step, const metric_t *metrics, size_t count)
{
    controller_record_t record;
    controller_record_init(&record, step);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(controller_record_set(&record, metrics[i].name, metrics[i].value, NULL),
                     TR_OK);
    }
    return record;
}

static void expect_text(char *text, const char *expected)
{
    cr_assert_str_eq(text, expected);
    free(text);
}

static void expect_line(uint64_t step, const metric_t *metrics, size_t count, double left,
                        const char *expected)
{
    controller_record_t record = record_of(step, metrics, count);
    expect_text(controller_progress_line(&record, 60, left), expected);
    controller_record_release(&record);
}

Test(duration, has_two_units_at_most)
{
    static const struct {
        double seconds;
        const char *text;
    } TABLE[] = {{0, "0s"},          {45, "45s"},
                 {59.4, "59s"},      {59.6, "1m00s"},
                 {100, "1m40s"},     {3599.4, "59m59s"},
                 {3599.6, "1h00m"},  {7500, "2h05m"},
                 {86399, "23h59m"},  {86400, "1d00h"},
                 {273600, "3d04h"},  {-1, "?"},
                 {(double)NAN, "?"}, {(double)INFINITY, "?"}};
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++) {
        expect_text(controller_progress_duration(TABLE[i].seconds), TABLE[i].text);
    }
}

Test(duration, of_any_finite_number_ends)
{
    expect_text(controller_progress_duration(1e300), "11574074074d01h");
}

Test(rate, has_two_digits_or_all_before_the_point)
{
    static const struct {
        double rate;
        const char *text;
    } TABLE[] = {{0, "0.0"},     {0.4, "0.4"},     {9.94, "9.9"},     {9.96, "10"},
                 {37, "37"},     {999.4, "999"},   {999.6, "1.0k"},   {5100, "5.1k"},
                 {51234, "51k"}, {999600, "1.0M"}, {2300000, "2.3M"}, {4e9, "4.0G"}};
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++) {
        expect_text(controller_progress_rate(TABLE[i].rate), TABLE[i].text);
    }
}

Test(line, shows_the_metrics_by_trls_names)
{
    static const metric_t METRICS[] = {
        {"tokens_per_second/rollout", 5123}, {"policy/clipfrac_avg", 0.042},
        {"objective/entropy", 33.21},        {"objective/kl", 0.031},
        {"objective/scores", 1.25},          {"episode", 768},
        {"exact/logprob_mismatch", 0},
    };
    expect_line(12, METRICS, sizeof METRICS / sizeof *METRICS, 100,
                "step  12/60  score 1.25  kl 0.031  entropy 33.2  clip 4.2%  rollout 5.1k tok/s  "
                "left 1m40s");
}

Test(line, shows_what_is_learnt_of_preferences)
{
    static const metric_t METRICS[] = {{"rewards/margins", 0.21},
                                       {"rewards/accuracies", 0.875},
                                       {"loss", 0.61},
                                       {"logps/chosen", -200}};
    expect_line(3, METRICS, 4, 2, "step   3/60  loss 0.61  accuracy 0.875  margin 0.21  left 2s");
}

Test(line, leaves_out_what_the_record_lacks)
{
    static const metric_t METRICS[] = {{"loss", 2.3456}};
    expect_line(3, METRICS, 1, -1, "step   3/60  loss 2.35  left ?");
    expect_line(60, NULL, 0, 0, "step  60/60  left 0s");
}

Test(line, shows_every_phase_that_has_a_rate)
{
    static const metric_t METRICS[] = {{"tokens_per_second/rollout", 50},
                                       {"tokens_per_second/actor", 700}};
    expect_line(1, METRICS, 2, 1, "step   1/60  rollout 50 tok/s  actor 700 tok/s  left 1s");
}

Test(line, large_numbers_have_no_exponent)
{
    static const metric_t METRICS[] = {{"objective/scores", -1234.5}, {"objective/kl", 999.7}};
    expect_line(1, METRICS, 2, 1, "step   1/60  score -1234  kl 1000  left 1s");
}

Test(line, a_broken_promise_of_exactness_comes_first)
{
    static const metric_t METRICS[] = {{"objective/scores", 1},
                                       {"exact/logprob_mismatch", 0.000123}};
    expect_line(12, METRICS, 2, 1,
                "step  12/60  NOT EXACT! logprob mismatch 0.000123  score 1  left 1s");
}

Test(live, has_a_bar_and_the_phase_before_the_line)
{
    expect_text(controller_progress_live("step  15/60  score 1", 15, 60, "rollout", 200),
                "[#####...............] rollout  step  15/60  score 1");
    expect_text(controller_progress_live("step  15/60  score 1", 60, 60, NULL, 200),
                "[####################]  step  15/60  score 1");
}

Test(live, is_cut_between_characters)
{
    expect_text(controller_progress_live("", 0, 60, "caf\xC3\xA9s", 27),
                "[....................] caf\xC3\xA9");
    expect_text(controller_progress_live("", 0, 60, "caf\xC3\xA9s", 26),
                "[....................] caf");
    expect_text(controller_progress_live("", 0, 60, NULL, 0), "");
}

/// All that is written to `out`, whose other end is descriptor: [size] of text, NUL terminated.
static void read_all(char *text, size_t size, int descriptor)
{
    size_t used = 0;
    ssize_t count;
    while (used + 1 < size && (count = read(descriptor, text + used, size - 1 - used)) > 0) {
        used += (size_t)count;
    }
    text[used] = '\0';
}

static void step(controller_progress_t *progress, uint64_t number, double mismatch, double now)
{
    const metric_t metrics[] = {{"loss", 2}, {"exact/logprob_mismatch", mismatch}};
    controller_record_t record = record_of(number, metrics, 2);
    controller_progress_step(progress, &record, now);
    controller_record_release(&record);
}

Test(progress, a_pipe_gets_one_line_a_step)
{
    int ends[2];
    char text[1000];
    cr_assert_eq(pipe(ends), 0);
    FILE *out = fdopen(ends[1], "w");
    controller_progress_t *progress = controller_progress_new(out, 40, 60);
    controller_progress_phase(progress, "rollout", 100);
    step(progress, 41, 0, 110);
    controller_progress_phase(progress, "rollout", 111);
    step(progress, 42, 0, 130);
    controller_progress_destroy(&progress);
    controller_progress_destroy(&progress);
    fclose(out);
    read_all(text, sizeof text, ends[0]);
    cr_assert_str_eq(text, "step  41/60  loss 2  left 3m10s\n"   // 19 steps of 10 s
                           "step  42/60  loss 2  left 4m30s\n"); // 18 of 15 s on average
    close(ends[0]);
}

Test(progress, the_time_left_follows_the_last_twenty_steps)
{
    int ends[2];
    char text[8000];
    cr_assert_eq(pipe(ends), 0);
    FILE *out = fdopen(ends[1], "w");
    controller_progress_t *progress = controller_progress_new(out, 0, 60);
    double now = 0;
    controller_progress_phase(progress, "rollout", now);
    for (uint64_t i = 1; i <= 50; i++) {
        now += i <= 30 ? 1000 : 3;
        step(progress, i, 0, now);
    }
    controller_progress_destroy(&progress);
    fclose(out);
    read_all(text, sizeof text, ends[0]);
    cr_assert_not_null(strstr(text, "step  50/60  loss 2  left 30s\n"), "%s", text);
    close(ends[0]);
}

/// A pseudo-terminal of so many columns. Returns the end that reads; *out: the terminal.
static int open_terminal(FILE **out, unsigned short columns)
{
    char name[64];
    int reader = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    cr_assert_geq(reader, 0);
    cr_assert_eq(grantpt(reader), 0);
    cr_assert_eq(unlockpt(reader), 0);
    cr_assert_eq(ptsname_r(reader, name, sizeof name), 0);
    int terminal = open(name, O_RDWR | O_NOCTTY);
    cr_assert_geq(terminal, 0);
    struct winsize size = {.ws_col = columns, .ws_row = 24};
    cr_assert_eq(ioctl(terminal, TIOCSWINSZ, &size), 0);
    *out = fdopen(terminal, "w");
    return reader;
}

Test(progress, a_terminal_gets_one_line_that_is_drawn_again_and_stays_at_the_end)
{
    FILE *out;
    char text[2000];
    int reader = open_terminal(&out, 100);
    controller_progress_t *progress = controller_progress_new(out, 0, 2);
    controller_progress_phase(progress, "rollout", 100);
    step(progress, 1, 0, 110);
    controller_progress_destroy(&progress);
    read_all(text, sizeof text, reader);
    cr_assert_str_eq(text, "\r[....................] rollout  step  0/2  left ?\x1b[K"
                           "\r[##########..........]  step  1/2  loss 2  left 10s\x1b[K"
                           "\r[##########..........]  step  1/2  loss 2  left 10s\x1b[K\r\n");
    fclose(out);
    close(reader);
}

/// What a terminal of so many columns shows of a run of 60 steps in a phase, after `done` of them.
static void expect_drawn(unsigned short columns, uint64_t done, const char *phase,
                         const char *expected)
{
    FILE *out;
    char text[2000];
    int reader = open_terminal(&out, columns);
    controller_progress_t *progress = controller_progress_new(out, done, 60);
    controller_progress_phase(progress, phase, 100);
    read_all(text, sizeof text, reader);
    cr_assert_str_eq(text, expected);
    controller_progress_destroy(&progress);
    fclose(out);
    close(reader);
}

Test(progress, a_run_that_goes_on_shows_where_before_its_first_step)
{
    expect_drawn(100, 40, "actor", "\r[#############.......] actor  step  40/60  left ?\x1b[K");
}

Test(progress, who_is_waited_for_stands_on_the_line_and_a_note_above_it)
{
    FILE *out;
    char text[2000];
    int reader = open_terminal(&out, 100);
    controller_progress_t *progress = controller_progress_new(out, 0, 9);
    controller_progress_wait(progress, NULL, 0);
    controller_progress_phase(progress, "rollout", 100);
    controller_progress_wait(progress, "judge-0: score", 7.1);
    controller_progress_wait(progress, "judge-0: score", 7.2); // shows nothing else
    controller_progress_note(progress, "it failed");
    controller_progress_wait(progress, NULL, 0);
    read_all(text, sizeof text, reader);
    static const char LINE[] = "\r[....................] rollout%s  step  0/9  left ?\x1b[K";
    char *plain = tr_format(LINE, ""), *waiting = tr_format(LINE, ", waits 7s for judge-0: score");
    char *expected = tr_format("%s%s\rit failed\x1b[K\r\n%s%s", plain, waiting, waiting, plain);
    cr_assert_str_eq(text, expected);
    free(expected);
    free(waiting);
    free(plain);
    controller_progress_destroy(&progress);
    fclose(out);
    close(reader);
}

Test(progress, a_narrow_terminal_never_wraps)
{
    // 30 characters would fill the line
    expect_drawn(30, 0, "rollout", "\r[....................] rollou\x1b[K");
}

Test(progress, on_a_terminal_a_step_that_is_not_exact_leaves_its_line)
{
    FILE *out;
    char text[2000];
    int reader = open_terminal(&out, 100);
    controller_progress_t *progress = controller_progress_new(out, 0, 9);
    controller_progress_phase(progress, "actor", 100);
    step(progress, 1, 0.5, 110);
    step(progress, 2, 0, 120);
    read_all(text, sizeof text, reader);
    const char *line = strstr(text, "\rstep  1/9  NOT EXACT!");
    cr_assert_not_null(line, "%s", text);
    cr_assert_not_null(strstr(line, "\r\n"));
    cr_assert_null(strstr(line + 1, "\rstep  2/9"));
    controller_progress_destroy(&progress);
    fclose(out);
    close(reader);
}

Test(progress, that_never_drew_leaves_a_terminal_alone)
{
    FILE *out;
    char text[100];
    int reader = open_terminal(&out, 100);
    controller_progress_t *progress = controller_progress_new(out, 0, 9);
    controller_progress_destroy(&progress);
    read_all(text, sizeof text, reader);
    cr_assert_str_eq(text, "");
    fclose(out);
    close(reader);
}
