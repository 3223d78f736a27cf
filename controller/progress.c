// The terminal output of a run: texts first, then the object that draws them.
//
// The texts are functions of their arguments, so tests compare them without a terminal. Which
// metrics are shown, and under which label, is metric_table.c.
#include "controller/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/text/utf8.h"
#include "controller/metric_table.h"

static const char MISMATCH[] = "exact/logprob_mismatch";

// Formatting

static void put(tr_bytes_t *out, const char *text)
{
    tr_bytes_append(out, text, strlen(text));
}

/// Appends two spaces, a label and the text (taken).
static void put_item(tr_bytes_t *out, const char *label, char *text)
{
    put(out, "  ");
    put(out, label);
    put(out, " ");
    put(out, text);
    free(text);
}

char *controller_progress_duration(double seconds)
{
    if (!isfinite(seconds) || seconds < 0) {
        return tr_strdup("?");
    }
    // Rounded before it is divided: 59.7 seconds are 1m00s, not 60s.
    unsigned long long whole = (unsigned long long)llround(fmin(seconds, 1e15));
    unsigned long long minutes = whole / 60;
    unsigned long long hours = minutes / 60;
    // Two units at most: the third one would change with every step.
    if (whole < 60) {
        return tr_format("%llus", whole);
    }
    if (minutes < 60) {
        return tr_format("%llum%02llus", minutes, whole % 60);
    }
    if (hours < 24) {
        return tr_format("%lluh%02llum", hours, minutes % 60);
    }
    return tr_format("%llud%02lluh", hours / 24, hours % 24);
}

char *controller_progress_rate(double per_second)
{
    static const char *const UNITS[] = {"", "k", "M", "G", "T"};
    size_t unit = 0;
    // 999.5 is where rounding would give four digits.
    while (unit + 1 < sizeof UNITS / sizeof *UNITS && per_second >= 999.5) {
        per_second /= 1000;
        unit++;
    }
    int digits = per_second < 9.95 ? 1 : 0; // 9.95 would be rounded to 10.0
    return tr_format("%.*f%s", digits, per_second, UNITS[unit]);
}

/// Three significant digits, or all that stand before the point.
static char *number(double value)
{
    // %.3g would print 1235 as 1.23e+03.
    return fabs(value) >= 999.5 && fabs(value) < 1e9 ? tr_format("%.0f", value)
                                                     : tr_format("%.3g", value);
}

/// Appends a metric of the table, if it has a label and the record a value.
static void put_row(tr_bytes_t *out, const controller_record_t *record,
                    const controller_metric_row_t *row)
{
    // A name with a star is no metric's own, and its row has no label.
    const double *value = row->label != NULL ? controller_record_find(record, row->name) : NULL;
    if (value != NULL) {
        put_item(out, row->label,
                 row->percent ? tr_format("%.1f%%", 100 * *value) : number(*value));
    }
}

/// Appends the rate of each phase, under the phase's name.
static void put_rates(tr_bytes_t *out, const controller_record_t *record)
{
    static const char START[] = "tokens_per_second/";
    for (size_t i = 0; i < record->count; i++) {
        const char *name = record->items[i].name;
        // Not by the table: which phases an algorithm has is its own matter.
        if (strncmp(name, START, strlen(START)) == 0) {
            put_item(out, name + strlen(START), controller_progress_rate(record->items[i].value));
            put(out, " tok/s");
        }
    }
}

/// Whether log-probabilities of rollout and actor differ: everything else rests on their equality.
static bool is_inexact(const controller_record_t *record)
{
    const double *mismatch = controller_record_find(record, MISMATCH);
    // Only PPO compares them; other algorithms have no such metric.
    return mismatch != NULL && *mismatch != 0;
}

char *controller_progress_line(const controller_record_t *record, uint64_t steps, double left)
{
    tr_bytes_t out = {0};
    // Padded to the width of the last step, so that columns stay where they are.
    int width = snprintf(NULL, 0, "%llu", (unsigned long long)steps);
    char *step = tr_format("step  %*llu/%llu", width, (unsigned long long)record->step,
                           (unsigned long long)steps);
    put(&out, step);
    free(step);
    if (is_inexact(record)) {
        put_item(&out, "NOT EXACT! logprob mismatch",
                 number(*controller_record_find(record, MISMATCH)));
    }
    // In the table's order, whatever the record's.
    for (size_t i = 0; i < controller_metric_count; i++) {
        put_row(&out, record, &controller_metric_rows[i]);
    }
    put_rates(&out, record);
    put_item(&out, "left", controller_progress_duration(left));
    return out.data;
}

/// Appends the bar of the steps done.
static void put_bar(tr_bytes_t *out, uint64_t done, uint64_t steps)
{
    enum { WIDTH = 20 };
    // A record of a run whose recipe has fewer steps now must not overflow the bar.
    double part = steps == 0 ? 0 : fmin((double)done / (double)steps, 1);
    int full = (int)(part * WIDTH);
    put(out, "[");
    for (int i = 0; i < WIDTH; i++) {
        put(out, i < full ? "#" : ".");
    }
    put(out, "]");
}

/// Ends the text after `columns` characters, which may be longer than bytes.
static void cut(char *text, size_t columns)
{
    size_t at = 0;
    size_t length = strlen(text);
    // Cut between characters: half of one would show as garbage.
    for (size_t i = 0; i < columns && at < length; i++) {
        // A byte that begins no character counts as one.
        size_t bytes = tr_utf8_next(NULL, text + at, length - at);
        at += bytes == 0 ? 1 : bytes;
    }
    text[at] = '\0';
}

char *controller_progress_live(const char *line, uint64_t done, uint64_t steps, const char *phase,
                               size_t columns)
{
    tr_bytes_t out = {0};
    put_bar(&out, done, steps);
    if (phase != NULL) {
        put(&out, " ");
        put(&out, phase);
    }
    put(&out, "  ");
    put(&out, line);
    cut(out.data, columns);
    return out.data;
}

// The terminal

/// Steps whose mean time gives the time left.
enum { WINDOW = 20 };

/// The live line is drawn again at every phase and step, with the last step's numbers.
struct controller_progress {
    FILE *out;
    bool live;
    bool drawn; ///< a live line is on the terminal
    uint64_t done;
    uint64_t steps;
    char *line;  ///< controller_progress_line of the last step
    char *phase; ///< NULL between phases
    char *wait;  ///< NULL: nobody is waited for
    /// [count], oldest first: the start of the first phase, then ends of steps
    double ends[WINDOW + 1];
    size_t count;
};

controller_progress_t *controller_progress_new(FILE *out, uint64_t done, uint64_t steps)
{
    const controller_record_t none = {.step = done};
    controller_progress_t *progress = tr_calloc(1, sizeof *progress);
    progress->out = out;
    // In a file or a pipe carriage returns would pile up the lines.
    progress->live = isatty(fileno(out));
    progress->done = done;
    progress->steps = steps;
    progress->line = controller_progress_line(&none, steps, -1);
    return progress;
}

/// The terminal's width now: it may be resized during a run.
static size_t terminal_columns(FILE *out)
{
    struct winsize size = {0};
    // 80 where nobody says: the width of a terminal since the VT100.
    bool known = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return (known ? size.ws_col : 80U) - 1; // a full line would wrap on some terminals
}

/// Seconds to go; negative while no step was timed.
static double time_left(const controller_progress_t *progress)
{
    if (progress->count < 2) {
        return -1;
    }
    double mean =
        (progress->ends[progress->count - 1] - progress->ends[0]) / (double)(progress->count - 1);
    // A resumed run may have finished more steps than its recipe asks for.
    uint64_t done = progress->done < progress->steps ? progress->done : progress->steps;
    return mean * (double)(progress->steps - done);
}

/// Draws the live line over the one before.
static void draw(controller_progress_t *progress)
{
    char *state =
        progress->wait == NULL
            ? NULL
            : tr_format("%s, %s", progress->phase != NULL ? progress->phase : "", progress->wait);
    char *live = controller_progress_live(progress->line, progress->done, progress->steps,
                                          state != NULL ? state : progress->phase,
                                          terminal_columns(progress->out));
    // The escape sequence clears what is left of a longer line.
    fprintf(progress->out, "\r%s\x1b[K", live);
    fflush(progress->out);
    free(live);
    free(state);
    progress->drawn = true;
}

/// Replaces a text by a copy of another; NULL: by none.
static void set_text(char **text, const char *other)
{
    free(*text);
    *text = other == NULL ? NULL : tr_strdup(other);
}

void controller_progress_destroy(controller_progress_t **progress)
{
    if (*progress == NULL) {
        return;
    }
    set_text(&(*progress)->phase, NULL);
    set_text(&(*progress)->wait, NULL);
    // A last time without a phase, so that the line which stays shows the end.
    if ((*progress)->drawn) {
        draw(*progress);
        fputs("\n", (*progress)->out);
        fflush((*progress)->out);
    }
    free((*progress)->line);
    free(*progress);
    *progress = NULL;
}

/// Remembers a time, and forgets the oldest when the window is full.
static void note_time(controller_progress_t *progress, double now)
{
    // WINDOW steps have WINDOW + 1 edges.
    if (progress->count == WINDOW + 1) {
        // A step takes seconds: moving 20 numbers costs nothing.
        memmove(progress->ends, progress->ends + 1, WINDOW * sizeof *progress->ends);
        progress->count--;
    }
    progress->ends[progress->count++] = now;
}

void controller_progress_phase(controller_progress_t *progress, const char *phase, double now)
{
    // The clock starts here and not with the program: workers take their time to join.
    if (progress->count == 0) {
        note_time(progress, now);
    }
    // Elsewhere a line a phase would drown the steps.
    if (progress->live) {
        set_text(&progress->phase, phase);
        draw(progress);
    }
}

void controller_progress_wait(controller_progress_t *progress, const char *text, double seconds)
{
    if (!progress->live || (text == NULL && progress->wait == NULL)) {
        return;
    }
    char *duration = controller_progress_duration(seconds);
    char *wait = text == NULL ? NULL : tr_format("waits %s for %s", duration, text);
    // Drawn once a second, though asked for more often.
    if (wait == NULL || progress->wait == NULL || strcmp(wait, progress->wait) != 0) {
        set_text(&progress->wait, wait);
        draw(progress);
    }
    free(wait);
    free(duration);
}

void controller_progress_note(controller_progress_t *progress, const char *sentence)
{
    // In place of the live line, which then stands below.
    fprintf(progress->out, progress->drawn ? "\r%s\x1b[K\n" : "%s\n", sentence);
    fflush(progress->out);
    if (progress->drawn) {
        draw(progress);
    }
}

void controller_progress_step(controller_progress_t *progress, const controller_record_t *record,
                              double now)
{
    note_time(progress, now);
    // The record's step and not one more: a run that went back counts again from there.
    progress->done = record->step;
    // time_left reads `done`, so the line is made after it is set.
    free(progress->line);
    progress->line = controller_progress_line(record, progress->steps, time_left(progress));
    // Between steps there is no phase: the next one begins with the next step.
    set_text(&progress->phase, NULL);
    // On a terminal the live line shows the step; only a broken promise must not scroll by unseen.
    if (!progress->live || is_inexact(record)) {
        fprintf(progress->out, progress->live ? "\r%s\x1b[K\n" : "%s\n", progress->line);
        fflush(progress->out);
    }
    if (progress->live) {
        draw(progress);
    }
}
