#include "controller/judges.h"

#include <stdlib.h>
#include <string.h>

#include "common/algo/statistics.h"
#include "proto/score.h"

enum { SAMPLES_A_REQUEST = 16, BYTES_A_REQUEST = 256 << 10 };

/// A named number that a judge gives besides its scores.
typedef struct extra {
    char *name;
    double *values; // [count]
    bool *given;    // [count]
} extra_t;

/// What one judge said of the step's responses.
typedef struct verdict {
    const tr_judge_t *judge;
    float *scores;   // [count]
    extra_t *extras; // [extra_count], by name
    size_t extra_count;
} verdict_t;

/// One request: responses first..first + count - 1 go to a judge.
typedef struct errand {
    verdict_t *verdict;
    size_t first;
    size_t count;
} errand_t;

struct controller_judges {
    const tr_rows_t *rows;
    const tr_tokenizer_t *tokenizer;
    controller_calls_t *calls;
    verdict_t *verdicts; // [judges]
    size_t judges;
    size_t count; // responses of the step
    int64_t first_id;
    errand_t **errands; // [errand_count] of the step
    size_t errand_count;
};

controller_judges_t *controller_judges_new(const tr_judges_t *judges, const tr_rows_t *rows,
                                           const tr_tokenizer_t *tokenizer,
                                           controller_calls_t *calls)
{
    controller_judges_t *self = tr_calloc(1, sizeof *self);
    self->rows = rows;
    self->tokenizer = tokenizer;
    self->calls = calls;
    self->judges = judges->count;
    self->verdicts = tr_calloc(judges->count + 1, sizeof *self->verdicts);
    for (size_t j = 0; j < judges->count; j++) {
        self->verdicts[j].judge = &judges->items[j];
    }
    return self;
}

static void clear(controller_judges_t *self)
{
    for (size_t j = 0; j < self->judges; j++) {
        verdict_t *verdict = &self->verdicts[j];
        for (size_t x = 0; x < verdict->extra_count; x++) {
            free(verdict->extras[x].name);
            free(verdict->extras[x].values);
            free(verdict->extras[x].given);
        }
        free(verdict->extras);
        free(verdict->scores);
        *verdict = (verdict_t){.judge = verdict->judge};
    }
    for (size_t i = 0; i < self->errand_count; i++) {
        free(self->errands[i]);
    }
    self->errand_count = 0;
}

void controller_judges_destroy(controller_judges_t **self)
{
    if (*self != NULL) {
        clear(*self);
        free((*self)->errands);
        free((*self)->verdicts);
        free(*self);
        *self = NULL;
    }
}

void controller_judges_begin(controller_judges_t *self, size_t count, int64_t first_id)
{
    clear(self);
    self->count = count;
    self->first_id = first_id;
    for (size_t j = 0; j < self->judges; j++) {
        self->verdicts[j].scores = tr_calloc(count, sizeof(float));
    }
}

// Answers

/// The extra of that name; a new one is put in its place by name.
static extra_t *extra_named(verdict_t *verdict, const char *name, size_t count)
{
    size_t at = 0;
    while (at < verdict->extra_count && strcmp(verdict->extras[at].name, name) < 0) {
        at++;
    }
    if (at < verdict->extra_count && strcmp(verdict->extras[at].name, name) == 0) {
        return &verdict->extras[at];
    }
    verdict->extras =
        tr_realloc(verdict->extras, (verdict->extra_count + 1) * sizeof *verdict->extras);
    memmove(verdict->extras + at + 1, verdict->extras + at,
            (verdict->extra_count - at) * sizeof *verdict->extras);
    verdict->extra_count++;
    verdict->extras[at] = (extra_t){
        .name = tr_strdup(name),
        .values = tr_calloc(count, sizeof(double)),
        .given = tr_calloc(count, sizeof(bool)),
    };
    return &verdict->extras[at];
}

static tr_status take_scores(void *context, size_t index, const tr_message_t *reply,
                             tr_error_t *err)
{
    controller_judges_t *self = context;
    const errand_t *errand = self->errands[index];
    verdict_t *verdict = errand->verdict;
    json_t *extras, *array;
    const char *name;
    TR_TRY(tr_score_reply_read(verdict->scores + errand->first, &extras, errand->count,
                               tr_message_body(reply), verdict->judge->name, err));
    json_object_foreach(extras, name, array)
    {
        extra_t *extra = extra_named(verdict, name, self->count);
        for (size_t i = 0; i < errand->count; i++) {
            extra->values[errand->first + i] = json_number_value(json_array_get(array, i));
            extra->given[errand->first + i] = true;
        }
    }
    json_decref(extras);
    return TR_OK;
}

// Questions

/// The text as judges get it: a NUL, which would end it for many of them, becomes a space.
static char *text_of(const controller_judges_t *self, const int32_t *ids, size_t count)
{
    size_t length;
    char *text = tr_tokenizer_decode(&length, self->tokenizer, ids, count,
                                     TR_DECODE_SKIP_SPECIAL | TR_DECODE_CONTINUES);
    for (size_t i = 0; i < length; i++) {
        text[i] = text[i] == '\0' ? ' ' : text[i];
    }
    return text;
}

static json_t *columns_of(const controller_judges_t *self, uint32_t row)
{
    char *text = tr_dataset_extras(self->rows->dataset, row, self->rows->prompt_column);
    json_t *columns = json_loads(text, JSON_ALLOW_NUL, NULL);
    free(text);
    TR_ASSERT(columns != NULL, "row %u's columns are no JSON", row);
    return columns;
}

/// *bytes: roughly the size of the sample in a message.
static json_t *sample_of(const controller_judges_t *self, size_t index, const tr_responses_t *part,
                         size_t r, uint32_t row, size_t *bytes)
{
    const tr_sequence_t *prompt = &self->rows->sequences[row];
    const int32_t *ids = part->ids + part->starts[r];
    size_t count = (size_t)(part->starts[r + 1] - part->starts[r]);
    char *response = text_of(self, ids, count);
    json_t *columns = columns_of(self, row);
    const tr_sample_t sample = {
        .id = self->first_id + (int64_t)index,
        .prompt = tr_rows_prompt(self->rows, row),
        .response = response,
        .prompt_ids = prompt->ids,
        .response_ids = ids,
        .prompt_count = prompt->prompt,
        .response_count = count,
        .columns = columns,
        .finish = tr_finish_name((tr_finish_t)part->finish[r]),
    };
    json_t *map = tr_score_sample(&sample);
    char *printed = json_dumps(columns, JSON_COMPACT);
    *bytes = strlen(sample.prompt) + strlen(response) + strlen(printed) +
             5 * (count + prompt->prompt) + 128;
    free(printed);
    json_decref(columns);
    free(response);
    return map;
}

/// Sends samples (taken) to every judge.
static void send_errand(controller_judges_t *self, size_t first, json_t *samples)
{
    size_t count = json_array_size(samples);
    for (size_t j = 0; j < self->judges && count > 0; j++) {
        const tr_judge_t *judge = self->verdicts[j].judge;
        errand_t *errand = tr_alloc(sizeof *errand);
        *errand = (errand_t){&self->verdicts[j], first, count};
        self->errands = tr_realloc(self->errands, (self->errand_count + 1) * sizeof *self->errands);
        self->errands[self->errand_count] = errand;
        tr_message_t *message = tr_message_new("request");
        tr_message_set_body(message, json_pack("{s:O}", "samples", samples));
        const controller_call_t call = {
            .role = TR_ROLE_REWARD,
            .group = tr_judge_group(judge),
            .method = "score",
            .timeout_s = judge->timeout_s,
            .retries = judge->retries,
            .persists = judge->on_failure == TR_ON_FAILURE_WAIT,
            .take = take_scores,
            .context = self,
            .index = self->errand_count++,
        };
        controller_calls_ask(self->calls, &call, &message);
    }
    json_decref(samples);
}

void controller_judges_ask(controller_judges_t *self, size_t first, const tr_responses_t *part,
                           const uint32_t *rows)
{
    json_t *samples = json_array();
    size_t filled = 0, begin = first;
    for (size_t r = 0; r < part->count; r++) {
        size_t bytes;
        json_t *sample = sample_of(self, first + r, part, r, rows[r], &bytes);
        bool full = json_array_size(samples) == SAMPLES_A_REQUEST ||
                    (filled > 0 && filled + bytes > BYTES_A_REQUEST);
        if (full) {
            send_errand(self, begin, samples);
            samples = json_array();
            filled = 0;
            begin = first + r;
        }
        json_array_append_new(samples, sample);
        filled += bytes;
    }
    send_errand(self, begin, samples);
}

// What came of it

void controller_judges_scores(const controller_judges_t *self, float *scores)
{
    for (size_t i = 0; i < self->count; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < self->judges; j++) {
            sum += self->verdicts[j].judge->weight * (double)self->verdicts[j].scores[i];
        }
        scores[i] = (float)sum;
    }
}

static tr_status set(controller_record_t *record, char *name, double value, tr_error_t *err)
{
    tr_status status = controller_record_set(record, name, value, err);
    free(name);
    return status;
}

static tr_status report_extra(const controller_judges_t *self, const verdict_t *verdict,
                              const extra_t *extra, controller_record_t *record, tr_error_t *err)
{
    double sum = 0.0, given = 0.0;
    for (size_t i = 0; i < self->count; i++) {
        sum += extra->given[i] ? extra->values[i] : 0.0;
        given += extra->given[i] ? 1.0 : 0.0;
    }
    return set(record, tr_format("judge/%s/%s", verdict->judge->name, extra->name), sum / given,
               err);
}

tr_status controller_judges_report(const controller_judges_t *self, controller_record_t *record,
                                   tr_error_t *err)
{
    for (size_t j = 0; j < self->judges; j++) {
        const verdict_t *verdict = &self->verdicts[j];
        tr_statistics_t s;
        tr_statistics(&s, verdict->scores, self->count);
        TR_TRY(set(record, tr_format("rewards/%s/mean", verdict->judge->name), s.mean, err));
        TR_TRY(set(record, tr_format("rewards/%s/std", verdict->judge->name), s.deviation, err));
        for (size_t x = 0; x < verdict->extra_count; x++) {
            TR_TRY(report_extra(self, verdict, &verdict->extras[x], record, err));
        }
    }
    return TR_OK;
}
