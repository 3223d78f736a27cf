// Rows to train on, made from judged responses: all of them, the best of each prompt, or pairs.
//
// It reads the run's samples.jsonl, where the responses to a prompt follow each other, and gathers
// the files in memory: they appear whole or not at all. The columns are those that `algorithm: sft`
// and `dpo` read.
#include "deploy/sample_rows.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/statistics.h"
#include "common/base/file.h"

/// A file in the making.
typedef struct sheet {
    const char *path; // NULL: nobody wants it
    FILE *file;
    char *text;
    size_t length;
} sheet_t;

typedef struct writing {
    sheet_t all, best, pairs;
    sample_rows_count_t count;
} writing_t;

/// A file that nobody asked for is gathered too, and dropped when it is closed.
static void sheet_open(sheet_t *sheet, const char *path)
{
    *sheet = (sheet_t){.path = path};
    // in memory: a file appears when all of it is known to be right
    sheet->file = open_memstream(&sheet->text, &sheet->length);
    TR_ASSERT(sheet->file != NULL, "no memory for %s", path != NULL ? path : "rows");
}

/// Takes row.
static void sheet_add(sheet_t *sheet, json_t *row)
{
    // nine digits give back every float
    json_dumpf(row, sheet->file, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', sheet->file);
    json_decref(row);
}

/// write: else what was gathered is dropped.
static tr_status sheet_close(sheet_t *sheet, bool write, tr_error_t *err)
{
    fclose(sheet->file);
    tr_status status = write && sheet->path != NULL
                           ? tr_file_write_atomic(sheet->path, sheet->text, sheet->length, err)
                           : TR_OK;
    free(sheet->text);
    return status;
}

/// The judges' weighted sum, as the controller compares it; NaN where no judge could score the
/// response. parse_line has checked that it is a number or null.
static float score_of(const json_t *sample)
{
    const json_t *score = json_object_get(sample, "score");
    return json_is_null(score) ? NAN : (float)json_number_value(score);
}

/// A row that begins with the sample's prompt: a text, or the messages before the response.
static json_t *row_of(const json_t *sample)
{
    json_t *messages = json_copy(json_object_get(sample, "messages"));
    if (messages == NULL) {
        return json_pack("{s:O}", "prompt", json_object_get(sample, "prompt"));
    }
    json_array_remove(messages, json_array_size(messages) - 1);
    return json_pack("{s:o}", "prompt", messages);
}

/// As the prompt is: a text, or a list of one message. A new reference.
static json_t *response_of(const json_t *sample)
{
    const json_t *messages = json_object_get(sample, "messages");
    return messages == NULL
               ? json_incref(json_object_get(sample, "response"))
               : json_pack("[O]", json_array_get(messages, json_array_size(messages) - 1));
}

/// A response under `column`, its score under `score`, and how it ended under `finish`.
static void put_response(json_t *row, const char *column, const json_t *sample, const char *score,
                         const char *finish)
{
    json_object_set_new(row, column, response_of(sample));
    json_object_set(row, score, json_object_get(sample, "score"));
    json_object_set(row, finish, json_object_get(sample, "finish"));
}

/// Writes a prompt's rows to all three sheets. group: [n], its samples, whose references are taken.
static void add_group(writing_t *w, json_t *const *group, size_t n)
{
    float *scores = tr_calloc(n, sizeof *scores);
    size_t highest, lowest;
    for (size_t i = 0; i < n; i++) {
        json_t *row = row_of(group[i]);
        put_response(row, "completion", group[i], "score", "finish");
        sheet_add(&w->all, row);
        scores[i] = score_of(group[i]);
    }
    // the same choice as online_dpo's: the first of equal best, the last of equal worst
    bool scored = tr_best_and_worst(&highest, &lowest, scores, n);
    const json_t *best = group[highest], *worst = group[lowest];
    free(scores);
    if (scored) {
        json_t *row = row_of(best);
        put_response(row, "completion", best, "score", "finish");
        sheet_add(&w->best, row);
    }
    // equal scores tell nothing about preference, nor does none
    if (scored && score_of(best) > score_of(worst)) {
        json_t *row = row_of(best);
        put_response(row, "chosen", best, "score_chosen", "finish_chosen");
        put_response(row, "rejected", worst, "score_rejected", "finish_rejected");
        sheet_add(&w->pairs, row);
        w->count.pairs++;
    }
    w->count.prompts++;
    w->count.responses += n;
    for (size_t i = 0; i < n; i++) {
        json_decref(group[i]);
    }
}

/// All four members must be there, with these types; others are passed over.
static tr_status parse_line(json_t **sample, const char *line, size_t length, size_t number,
                            const char *path, tr_error_t *err)
{
    const char *prompt, *response, *finish;
    json_t *score;
    // NULL for what is no JSON; json_unpack fails then too.
    *sample = json_loadb(line, length, JSON_ALLOW_NUL, NULL);
    if (json_unpack(*sample, "{s:s, s:s, s:o, s:s}", "prompt", &prompt, "response", &response,
                    "score", &score, "finish", &finish) != 0 ||
        !(json_is_number(score) || json_is_null(score))) {
        json_decref(*sample);
        return tr_fail(err, TR_ERR_FORMAT, "%s:%zu: this is no sample", path, number);
    }
    return TR_OK;
}

/// group: [samples], filled again and again.
static tr_status read_lines(writing_t *w, FILE *file, json_t **group, size_t samples,
                            const char *path, tr_error_t *err)
{
    char *line = NULL;
    size_t capacity = 0, number = 0, filled = 0;
    tr_status status = TR_OK;
    for (ssize_t n; status == TR_OK && (n = getline(&line, &capacity, file)) > 0;) {
        status = parse_line(&group[filled], line, (size_t)n, ++number, path, err);
        // a line that failed is not in the group, which cannot be full then
        filled += status == TR_OK;
        if (filled == samples) {
            add_group(w, group, samples);
            filled = 0;
        }
    }
    free(line);
    // The run writes a prompt's responses together, so an incomplete group is a damaged file.
    if (status == TR_OK && filled > 0) {
        status = tr_fail(err, TR_ERR_FORMAT, "'%s' ends within the responses to a prompt", path);
    }
    while (filled > 0) {
        json_decref(group[--filled]);
    }
    return status;
}

/// All three kinds are gathered in one pass, since they come from the same groups.
tr_status sample_rows_write(sample_rows_count_t *count, const sample_rows_t *rows,
                            const char *samples_path, size_t samples, tr_error_t *err)
{
    writing_t w = {0};
    FILE *file = fopen(samples_path, "re");
    if (file == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", samples_path, strerror(errno));
    }
    sheet_open(&w.all, rows->all);
    sheet_open(&w.best, rows->best);
    sheet_open(&w.pairs, rows->pairs);
    // Filled again for each prompt.
    json_t **group = tr_calloc(samples, sizeof(json_t *));
    tr_status status = read_lines(&w, file, group, samples, samples_path, err);
    free(group);
    fclose(file);
    // each is closed in any case; after a failure nothing is written
    sheet_t *const sheets[] = {&w.all, &w.best, &w.pairs};
    for (size_t i = 0; i < sizeof sheets / sizeof(sheet_t *); i++) {
        tr_status closed = sheet_close(sheets[i], status == TR_OK, err);
        status = status == TR_OK ? closed : status;
    }
    *count = w.count;
    return status;
}
