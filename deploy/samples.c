// Samples of the first and the last step, printed at the end of `troupe run`: what the training
// changed.
//
// It reads samples.jsonl once and keeps the first step's samples and the latest step's. A missing
// or damaged file is no failure: the run has succeeded without it.
#include "deploy/samples.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"

enum { SHOWN = 3, WIDTH = 300 }; ///< samples a step; bytes of a text

typedef struct samples {
    json_int_t step;
    json_t *items[SHOWN];
    size_t count;
} samples_t;

/// Drops the references.
static void clear(samples_t *samples)
{
    for (size_t i = 0; i < samples->count; i++) {
        json_decref(samples->items[i]);
    }
    samples->count = 0;
}

/// Adds one of the same step while there is room.
static void add(samples_t *samples, json_t *sample, json_int_t step)
{
    if (samples->count == 0) {
        samples->step = step;
    }
    if (samples->step == step && samples->count < SHOWN) {
        samples->items[samples->count++] = json_incref(sample);
    }
}

/// A new step replaces what was kept as the last one.
static void take_line(samples_t *first, samples_t *last, const char *line, size_t length)
{
    json_int_t step;
    // NULL for a malformed line; jansson's calls below accept that
    json_t *sample = json_loadb(line, length, JSON_ALLOW_NUL, NULL);
    if (json_unpack(sample, "{s:I}", "step", &step) == 0) {
        add(first, sample, step);
        if (last->count > 0 && last->step != step) {
            clear(last);
        }
        add(last, sample, step);
    }
    json_decref(sample);
}

/// One line of at most WIDTH bytes; nothing that a terminal would obey.
static void print_text(FILE *out, const json_t *text)
{
    const char *bytes = json_string_value(text);
    size_t length = bytes != NULL ? json_string_length(text) : 0;
    size_t shown = length < WIDTH ? length : WIDTH;
    // bytes 10xxxxxx continue a character
    while (shown < length && shown > 0 && ((unsigned char)bytes[shown] & 0xc0) == 0x80) {
        shown--; // not within a character
    }
    for (size_t i = 0; i < shown; i++) {
        // control characters could move the cursor or change colours
        putc((unsigned char)bytes[i] < ' ' || bytes[i] == 0x7f ? ' ' : bytes[i], out);
    }
    fputs(shown < length ? "..." : "", out);
}

/// when: "before" or "after".
static void print(FILE *out, const char *when, const samples_t *samples)
{
    fprintf(out, "%s (step %lld):\n", when, (long long)samples->step);
    for (size_t i = 0; i < samples->count; i++) {
        const json_t *sample = samples->items[i];
        const json_t *score = json_object_get(sample, "score");
        if (json_is_null(score)) {
            fputs("     null  ", out);
        } else {
            fprintf(out, "  %7.2f  ", json_number_value(score));
        }
        print_text(out, json_object_get(sample, "prompt"));
        fputs(" >", out);
        print_text(out, json_object_get(sample, "response"));
        fputc('\n', out);
    }
}

/// Steps are in order in the file, so the first line has the first step and the last line the last.
void samples_print(FILE *out, const char *run_directory)
{
    samples_t first = {0}, last = {0};
    char *path = tr_format("%s/samples.jsonl", run_directory);
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = fopen(path, "r");
    // a file that is missing is read as an empty one
    for (ssize_t n; file != NULL && (n = getline(&line, &capacity, file)) > 0;) {
        take_line(&first, &last, line, (size_t)n);
    }
    if (first.count > 0) {
        fputs("score, prompt > response\n", out);
        print(out, "before", &first);
    }
    // a run with samples of one step only has no "after"
    if (last.count > 0 && last.step != first.step) {
        print(out, "after", &last);
    }
    clear(&first);
    clear(&last);
    if (file != NULL) {
        fclose(file);
    }
    free(line);
    free(path);
}
