// `troupe judge`: a judge of a recipe, tried without a run.
//
// It is asked for the scores of rows, then of texts that a policy may write sooner or later, and
// what is wrong is said in a sentence. Next: judge_trial.c for the processes.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/statistics.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "deploy/command.h"
#include "deploy/judge_trial.h"
#include "deploy/judges_check.h"
#include "proto/score.h"

/// As the controller cuts a step's samples; and how many are enough to see how fast a judge is.
enum { A_REQUEST = 16, MANY = 1024, HUGE_TEXT = 200000 };

/// Rows to begin with, for those who have none yet.
static const char EXAMPLES[] =
    "[{\"prompt\": \"What is 2 + 3?\", \"completion\": \"2 + 3 = 5\\n#### 5\", \"answer\": \"5\"},"
    " {\"prompt\": \"What is 2 + 3?\", \"completion\": \"The answer is \\\\boxed{5}.\", "
    "\"answer\": "
    "\"5\"},"
    " {\"prompt\": \"What is 2 + 3?\", \"completion\": \"<think>\\nTwo and three.\\n</think>\\n"
    "<answer>\\n6\\n</answer>\", \"answer\": \"5\"},"
    " {\"prompt\": \"What is 2 + 3?\", \"completion\": \"I do not know.\", \"answer\": \"5\"}]";

typedef struct work {
    judge_trial_t *trial;
    const tr_tokenizer_t *tokenizer; // NULL: a token is a character
    json_t *rows;
    const char *out; // NULL: none
    size_t problems;
} work_t;

// Samples

/// The ids of a text: the tokenizer's, or the numbers of its characters. Owned by the caller.
static tr_status ids_of(int32_t **ids, size_t *count, const work_t *w, const char *text,
                        tr_error_t *err)
{
    size_t length = strlen(text);
    if (w->tokenizer != NULL) {
        return tr_tokenizer_encode(ids, count, w->tokenizer, text, length, TR_ENCODE_CONTINUES,
                                   err);
    }
    *ids = tr_calloc(length + 1, sizeof **ids);
    *count = 0;
    for (size_t at = 0, n; at < length; at += n) {
        uint32_t point;
        n = tr_utf8_next(&point, text + at, length - at);
        (*ids)[(*count)++] = (int32_t)point;
    }
    return TR_OK;
}

/// The text of a prompt or completion: itself, or the contents of its messages. Owned by the
/// caller.
static char *text_of(const json_t *value)
{
    tr_bytes_t text = {0};
    tr_bytes_append(&text, "", 0);
    if (json_is_string(value)) {
        tr_bytes_append(&text, json_string_value(value), json_string_length(value));
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *content =
            json_string_value(json_object_get(json_array_get(value, i), "content"));
        tr_bytes_append(&text, i > 0 ? "\n" : "", i > 0);
        tr_bytes_append(&text, content != NULL ? content : "", content ? strlen(content) : 0);
    }
    return text.data;
}

static json_t *columns_of(const json_t *row)
{
    json_t *columns = json_copy((json_t *)(uintptr_t)row);
    json_object_del(columns, "prompt");
    json_object_del(columns, "completion");
    return columns;
}

/// The conversation with the response at its end; NULL where the prompt is a text.
static json_t *messages_of(const json_t *row, const char *response)
{
    const json_t *prompt = json_object_get(row, "prompt");
    json_t *messages = json_is_array(prompt) ? json_copy((json_t *)(uintptr_t)prompt) : NULL;
    if (messages != NULL) {
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", "assistant", "content", response));
    }
    return messages;
}

/// A sample as `score` has it: the row's prompt and columns, and a response. *sample: a new
/// reference.
static tr_status sample_of(json_t **sample, const work_t *w, const json_t *row,
                           const char *response, size_t id, tr_error_t *err)
{
    char *prompt = text_of(json_object_get(row, "prompt"));
    json_t *columns = columns_of(row), *messages = messages_of(row, response);
    tr_sample_t made = {.id = (int64_t)id,
                        .prompt = prompt,
                        .response = response,
                        .columns = columns,
                        .messages = messages,
                        .finish = "eos"};
    int32_t *ids = NULL, *prompt_ids = NULL;
    tr_status status;
    TR_TRY_GOTO(ids_of(&prompt_ids, &made.prompt_count, w, prompt, err), done);
    TR_TRY_GOTO(ids_of(&ids, &made.response_count, w, response, err), done);
    made.prompt_ids = prompt_ids;
    made.response_ids = ids;
    *sample = tr_score_sample(&made);
done:
    free(ids);
    free(prompt_ids);
    json_decref(messages);
    json_decref(columns);
    free(prompt);
    return status;
}

/// One response to the first row's prompt, in an array. A new reference.
static tr_status one_sample(json_t **samples, const work_t *w, const char *response,
                            tr_error_t *err)
{
    json_t *sample;
    TR_TRY(sample_of(&sample, w, json_array_get(w->rows, 0), response, 0, err));
    *samples = json_pack("[o]", sample);
    return TR_OK;
}

// What is said

static char *score_text(float score)
{
    return isnan(score) ? tr_strdup("null") : tr_format("%.6g", (double)score);
}

/// "ok  WHAT: how it went", or the problem. A signal ends all.
static tr_status report(work_t *w, const char *what, tr_status status, const tr_error_t *err,
                        const char *fine)
{
    if (status == TR_OK) {
        printf("ok       %s: %s\n", what, fine);
    } else {
        printf("PROBLEM  %s: %s\n", what, err->text);
        w->problems++;
    }
    fflush(stdout);
    return status == TR_ERR_INTERRUPTED ? status : TR_OK;
}

// The rows

static void print_line(const char *text)
{
    enum { SHOWN = 48 };
    size_t length = strlen(text), shown = 0;
    while (shown < length && shown < SHOWN) {
        size_t n = tr_utf8_next(NULL, text + shown, length - shown);
        fwrite(text[shown] == '\n' || text[shown] == '\t' ? " " : text + shown, 1, n, stdout);
        shown += n;
    }
    printf("%s", shown < length ? "..." : "");
}

/// A line for each row: its score, and the prompt and completion.
static void print_scores(const work_t *w, const float *scores, const json_t *extras)
{
    size_t count = json_array_size(w->rows);
    const char *name;
    json_t *values;
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(w->rows, i);
        char *prompt = text_of(json_object_get(row, "prompt")), *score = score_text(scores[i]);
        char *completion = text_of(json_object_get(row, "completion"));
        printf("%10s  ", score);
        print_line(prompt);
        printf(" > ");
        print_line(completion);
        putchar('\n');
        free(completion);
        free(score);
        free(prompt);
    }
    const tr_statistics_t s = tr_statistics_scored(scores, count);
    printf("mean %.6g, std %.6g, null %zu of %zu\n", s.mean, s.deviation,
           count - tr_count_scored(scores, count), count);
    json_object_foreach((json_t *)(uintptr_t)extras, name, values)
    {
        char *text = json_dumps(values, JSON_REAL_PRECISION(6));
        printf("%s: %s\n", name, text);
        free(text);
    }
}

/// The rows with a key `score`, as JSON lines.
static tr_status write_scores(const work_t *w, const float *scores, tr_error_t *err)
{
    FILE *file = fopen(w->out, "w");
    if (file == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot write '%s'", w->out);
    }
    for (size_t i = 0; i < json_array_size(w->rows); i++) {
        json_t *row = json_copy(json_array_get(w->rows, i));
        json_object_set_new(row, "score",
                            isnan(scores[i]) ? json_null() : json_real((double)scores[i]));
        json_dumpf(row, file, JSON_COMPACT | JSON_REAL_PRECISION(9));
        fputc('\n', file);
        json_decref(row);
    }
    return fclose(file) == 0 ? TR_OK : tr_fail(err, TR_ERR_IO, "cannot write '%s'", w->out);
}

/// Samples of all rows, in requests as a run sends them. scores: [rows].
static tr_status ask_rows(work_t *w, float *scores, json_t **extras, double *seconds,
                          tr_error_t *err)
{
    size_t count = json_array_size(w->rows);
    *seconds = 0.0;
    *extras = json_object();
    for (size_t first = 0; first < count; first += A_REQUEST) {
        json_t *samples = json_array(), *some = NULL, *sample, *values;
        double part = 0.0;
        const char *name;
        tr_status status = TR_OK;
        for (size_t i = first; status == TR_OK && i < count && i < first + A_REQUEST; i++) {
            const json_t *row = json_array_get(w->rows, i);
            char *response = text_of(json_object_get(row, "completion"));
            status = sample_of(&sample, w, row, response, i, err);
            free(response);
            if (status == TR_OK) {
                json_array_append_new(samples, sample);
            }
        }
        if (status == TR_OK) {
            status = judge_trial_ask(w->trial, scores + first, &some, &part, samples, err);
        }
        json_object_foreach(some, name, values)
        {
            if (json_object_get(*extras, name) == NULL) {
                json_object_set_new(*extras, name, json_array());
            }
            json_array_extend(json_object_get(*extras, name), values);
        }
        *seconds += part;
        json_decref(some);
        json_decref(samples);
        TR_TRY(status);
    }
    return TR_OK;
}

/// The scores of the rows. Without them nothing else is worth asking.
static tr_status try_rows(work_t *w, float *scores, tr_error_t *err)
{
    json_t *extras;
    double seconds;
    tr_status status = ask_rows(w, scores, &extras, &seconds, err);
    if (status == TR_OK) {
        print_scores(w, scores, extras);
        printf("%zu samples in %.1f ms, the start included\n", json_array_size(w->rows),
               1000 * seconds);
        status = w->out != NULL ? write_scores(w, scores, err) : TR_OK;
    }
    json_decref(extras);
    return status;
}

// Hostile cases

/// Each row alone, the last first: a judge must be a function of the sample.
static tr_status try_again(work_t *w, const float *scores, tr_error_t *err)
{
    for (size_t i = json_array_size(w->rows); i-- > 0;) {
        const json_t *row = json_array_get(w->rows, i);
        char *response = text_of(json_object_get(row, "completion"));
        json_t *sample, *extras = NULL;
        double seconds;
        float score = NAN;
        TR_TRY(sample_of(&sample, w, row, response, i, err));
        json_t *samples = json_pack("[o]", sample);
        tr_status status = judge_trial_ask(w->trial, &score, &extras, &seconds, samples, err);
        json_decref(extras);
        json_decref(samples);
        free(response);
        TR_TRY(status);
        if (!(score == scores[i] || (isnan(score) && isnan(scores[i])))) {
            char *first = score_text(scores[i]), *second = score_text(score);
            status = tr_fail(err, TR_ERR_ARGUMENT,
                             "row %zu has the score %s among others and %s alone: a run with this "
                             "judge cannot be repeated",
                             i + 1, first, second);
            free(first);
            free(second);
            return status;
        }
    }
    return TR_OK;
}

/// Owned by the caller.
static char *repeated(const char *piece, size_t length)
{
    tr_bytes_t text = {0};
    while (text.length < length) {
        tr_bytes_append(&text, piece, strlen(piece));
    }
    return text.data;
}

/// What a policy may write. A run replaces bytes that are no UTF-8 by U+FFFD, and NUL by a space.
static const struct {
    const char *what, *piece;
    size_t length; // bytes, of piece again and again; 0: once
} hostile[] = {
    {"an empty response", "", 0},
    {"white space alone", " \n\t", 0},
    {"bytes that were no UTF-8 (U+FFFD)", "\xef\xbf\xbd\xef\xbf\xbd 5 \xef\xbf\xbd", 0},
    {"control characters", "\x01\x02\x1b[31m\x7f 5\r\n\x0b\x0c", 0},
    {"letters of many scripts",
     "\xd9\xa5 \xe4\xba\x94 \xe0\xa5\xab e\xcc\x81 \xd7\xa9\xd7\x9c"
     "5",
     0},
    {"joined emoji", "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7\xf0\x9f\x87\xab\xf0\x9f\x87\xb7",
     0},
    {"quotes, braces and backslashes", "\"'`{}[]()\\\\ %s %n ${x} $(x) <answer>{\"a\":", 0},
    {"200,000 bytes of words", "word ", HUGE_TEXT},
    {"200,000 bytes without a space", "x", HUGE_TEXT},
    {"200,000 bytes of brackets", "([{", HUGE_TEXT},
};

static tr_status try_text(work_t *w, size_t which)
{
    const char *piece = hostile[which].piece;
    char *response =
        hostile[which].length > 0 ? repeated(piece, hostile[which].length) : tr_strdup(piece);
    tr_error_t err = {0};
    json_t *samples = NULL, *extras = NULL;
    double seconds = 0.0;
    float score = NAN;
    tr_status status = one_sample(&samples, w, response, &err);
    if (status == TR_OK) {
        status = judge_trial_ask(w->trial, &score, &extras, &seconds, samples, &err);
    }
    char *number = score_text(score);
    char *fine = tr_format("%s, %.1f ms", number, 1000 * seconds);
    free(response);
    json_decref(samples);
    json_decref(extras);
    status = report(w, hostile[which].what, status, &err, fine);
    free(fine);
    free(number);
    return status;
}

/// The rows again and again, as a run sends them.
static tr_status try_many(work_t *w)
{
    size_t count = json_array_size(w->rows), done = 0;
    float *scores = tr_calloc(count, sizeof *scores);
    double total = 0.0;
    tr_error_t err = {0};
    tr_status status = TR_OK;
    for (; done < MANY && status == TR_OK; done += count) {
        json_t *extras;
        double seconds;
        status = ask_rows(w, scores, &extras, &seconds, &err);
        total += seconds;
        json_decref(extras);
    }
    free(scores);
    char *what = tr_format("%zu samples", done);
    char *fine = tr_format("%.0f ms, %.0f a second", 1000 * total, (double)done / total);
    status = report(w, what, status, &err, fine);
    free(fine);
    free(what);
    return status;
}

static tr_status try_hostile(work_t *w, const float *scores)
{
    tr_error_t err = {0};
    tr_status status = try_again(w, scores, &err);
    TR_TRY(report(w, "each row again, alone", status, &err, "the same scores"));
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        TR_TRY(try_text(w, i));
    }
    return try_many(w);
}

// The command

/// JSON lines with `prompt` and `completion`, each a text or a list of messages.
static tr_status read_rows(json_t **rows, const char *path, tr_error_t *err)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0, number = 0;
    tr_status status = TR_OK;
    *rows = json_array();
    if (file == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s'", path);
    }
    while (status == TR_OK && getline(&line, &capacity, file) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        number++;
        if (json_object_get(row, "prompt") == NULL || json_object_get(row, "completion") == NULL) {
            json_decref(row);
            status = tr_fail(err, TR_ERR_FORMAT,
                             "%s:%zu: expected a JSON object with 'prompt' and 'completion'", path,
                             number);
        } else {
            json_array_append_new(*rows, row);
        }
    }
    free(line);
    fclose(file);
    return status == TR_OK && number == 0 ? tr_fail(err, TR_ERR_FORMAT, "'%s' has no row", path)
                                          : status;
}

/// A recipe of which the judge alone counts. Prints what is wrong with the entry.
static tr_status read_entry(tr_recipe_t **recipe, const char *entry)
{
    bool braced = entry[strspn(entry, " \n")] == '{';
    char *judge = tr_format("roles.reward=[%s%s%s]", braced ? "" : "{", entry, braced ? "" : "}");
    // what a recipe must have besides: nothing of it is read
    static const char REST[] = "{algorithm: sample, name: judge, steps: 1, model: none, "
                               "data: {prompts: [none]}}";
    tr_recipe_problems_t problems = {0};
    tr_status status = tr_recipe_parse(recipe, REST, strlen(REST), "the entry",
                                       (const char *const[]){judge}, 1, &problems);
    for (size_t i = 0; i < problems.count; i++) {
        fprintf(stderr, "%s\n", problems.texts[i]);
    }
    tr_recipe_problems_release(&problems);
    free(judge);
    return status;
}

static tr_status try_judge(work_t *w, tr_recipe_t *recipe, bool brief, tr_error_t *err)
{
    float *scores = tr_calloc(json_array_size(w->rows), sizeof *scores);
    tr_status status;
    TR_TRY_GOTO(judges_check(recipe, err), done);
    TR_TRY_GOTO(judge_trial_new(&w->trial, recipe, err), done);
    TR_TRY_GOTO(try_rows(w, scores, err), done);
    if (!brief) {
        TR_TRY_GOTO(try_hostile(w, scores), done);
        printf("%zu problem%s\n", w->problems, w->problems == 1 ? "" : "s");
    }
    if (w->problems > 0) {
        status = tr_fail(err, TR_ERR_ARGUMENT, "the judge has %zu problem%s", w->problems,
                         w->problems == 1 ? "" : "s");
    }
done:
    free(scores);
    judge_trial_destroy(&w->trial);
    return status;
}

static tr_status work_through(const command_line_t *line, tr_recipe_t *recipe, tr_error_t *err)
{
    work_t w = {.out = line->values['o']};
    tr_tokenizer_t *tokenizer = NULL;
    const char *rows = line->values['r'], *model = line->values['m'];
    tr_status status;
    if (recipe->roles.reward.count != 1) {
        return tr_fail(err, TR_ERR_ARGUMENT, "expected one entry, found %zu",
                       recipe->roles.reward.count);
    }
    if (model != NULL) {
        TR_TRY(tr_tokenizer_new(&tokenizer, model, err));
    }
    w.tokenizer = tokenizer;
    if (rows == NULL) {
        w.rows = json_loads(EXAMPLES, 0, NULL);
    } else {
        TR_TRY_GOTO(read_rows(&w.rows, rows, err), done);
    }
    status = try_judge(&w, recipe, line->values['b'] != NULL, err);
done:
    json_decref(w.rows);
    tr_tokenizer_destroy(&tokenizer);
    return status;
}

int command_judge(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"rows", 'r', "FILE", 0,
         "JSON lines with prompt, completion (texts, or lists of messages) and the columns that "
         "the judge reads; without it, four sums with the column answer",
         0},
        {"model", 'm', "DIR", 0, "Whose tokens the judge counts; without it, characters", 0},
        {"out", 'o', "FILE", 0, "The rows, each with its score, as JSON lines", 0},
        {"brief", 'b', NULL, 0, "Ask for the scores of the rows alone", 0},
        {0},
    };
    command_line_t line = {
        .options = table,
        .words_doc = "ENTRY",
        .doc = "Try a judge without a run. ENTRY is an entry of roles.reward, such as "
               "'exact_answer: answer' or 'exec: [python3, judge.py]'. The judge is asked for "
               "the scores of rows, then of texts that a policy may write: empty, huge, in any "
               "script, a thousand of them. What is wrong is said, and the exit code is not 0.",
        .missing = "an entry of roles.reward is missing",
        .most = 1,
    };
    tr_error_t err = {0};
    tr_recipe_t *recipe;
    command_parse(&line, argc, argv);
    tr_status status = read_entry(&recipe, line.words[0]);
    if (status != TR_OK) {
        return tr_status_exit_code(status);
    }
    status = work_through(&line, recipe, &err);
    tr_recipe_destroy(&recipe);
    return tr_status_report(status, &err);
}
