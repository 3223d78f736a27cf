// Scores of a step's responses: requests to every judge, their results, the weighted sum, and the
// judges' metrics.
//
// Apart from generation.c because what a judge returns (scores and named extras) is its own matter.
// A judge here is a group of workers; how one scores is common/judge, and the message is
// proto/score.h.
#include "controller/judges.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/estimators.h"
#include "common/algo/statistics.h"
#include "proto/score.h"

// Requests are small enough to be spread over a judge's workers, and bounded in bytes.
enum { SAMPLES_A_REQUEST = 16, BYTES_A_REQUEST = 256 << 10 };

/// A named number that a judge returns besides its scores.
typedef struct extra {
    char *name;
    double *values; // [count]
    bool *given;    // [count] a judge may leave it out for some responses
} extra_t;

/// One judge's results for the step's responses.
typedef struct result {
    const tr_judge_t *judge;
    float *scores;   // [count]
    extra_t *extras; // [extra_count], by name
    size_t extra_count;
} result_t;

/// One request: responses first..first + count - 1, to one judge.
typedef struct request {
    result_t *result;
    size_t first;
    size_t count;
} request_t;

/// Judges of the recipe, and the step's results and requests.
struct controller_judges {
    const tr_rows_t *rows; // of the step's prompts
    const tr_tokenizer_t *tokenizer;
    controller_calls_t *calls;
    result_t *results; // [judges]
    size_t judges;
    size_t count; // responses of the step
    int64_t first_id;
    request_t *requests; // [request_count] of the step; a call has the index of its own
    size_t request_count;
};

controller_judges_t *controller_judges_new(const tr_judges_t *judges,
                                           const tr_tokenizer_t *tokenizer,
                                           controller_calls_t *calls)
{
    controller_judges_t *self = tr_calloc(1, sizeof *self);
    self->tokenizer = tokenizer;
    self->calls = calls;
    // One result a judge, in the order of the recipe: it decides the order of sums and metrics.
    self->judges = judges->count;
    self->results = tr_calloc(judges->count + 1, sizeof *self->results);
    for (size_t j = 0; j < judges->count; j++) {
        self->results[j].judge = &judges->items[j];
    }
    return self;
}

/// Forgets the step: scores, extras and requests.
static void clear(controller_judges_t *self)
{
    for (size_t j = 0; j < self->judges; j++) {
        result_t *result = &self->results[j];
        for (size_t x = 0; x < result->extra_count; x++) {
            // Extras are forgotten too: a judge may give other names in the next step.
            free(result->extras[x].name);
            free(result->extras[x].values);
            free(result->extras[x].given);
        }
        free(result->extras);
        free(result->scores);
        *result = (result_t){.judge = result->judge};
    }
    // The array stays, at its size, for the next step.
    self->request_count = 0;
}

void controller_judges_destroy(controller_judges_t **self)
{
    if (*self != NULL) {
        clear(*self);
        free((*self)->requests);
        free((*self)->results);
        free(*self);
        *self = NULL;
    }
}

void controller_judges_begin(controller_judges_t *self, const tr_rows_t *rows, size_t count,
                             int64_t first_id)
{
    clear(self);
    self->rows = rows;
    self->count = count;
    self->first_id = first_id;
    for (size_t j = 0; j < self->judges; j++) {
        self->results[j].scores = tr_calloc(count, sizeof(float));
    }
}

// Replies

/// The extra of that name. A new one is inserted in the order of names, so that the order of
/// answers does not change the order of metrics.
static extra_t *extra_named(result_t *result, const char *name, size_t count)
{
    // A judge gives a handful of names, so the place is found by walking.
    size_t at = 0;
    while (at < result->extra_count && strcmp(result->extras[at].name, name) < 0) {
        at++;
    }
    if (at < result->extra_count && strcmp(result->extras[at].name, name) == 0) {
        return &result->extras[at];
    }
    result->extras = tr_realloc(result->extras, (result->extra_count + 1) * sizeof *result->extras);
    memmove(result->extras + at + 1, result->extras + at,
            (result->extra_count - at) * sizeof *result->extras);
    result->extra_count++;
    result->extras[at] = (extra_t){
        .name = tr_strdup(name),
        .values = tr_calloc(count, sizeof(double)),
        .given = tr_calloc(count, sizeof(bool)),
    };
    return &result->extras[at];
}

/// A controller_take_fn: index is the request's. Malformed scores are the judge's failure, and the
/// request is sent again.
static tr_status take_scores(void *context, size_t index, const tr_message_t *reply,
                             tr_error_t *err)
{
    controller_judges_t *self = context;
    const request_t *request = &self->requests[index];
    result_t *result = request->result;
    // Scores go straight to their place; they count only when all of them have come.
    json_t *extras, *array;
    const char *name;
    TR_TRY(tr_score_reply_read(result->scores + request->first, &extras, request->count,
                               tr_message_body(reply), result->judge->name, err));
    // The reply has been checked: one number for each response of the request.
    json_object_foreach(extras, name, array)
    {
        extra_t *extra = extra_named(result, name, self->count);
        for (size_t i = 0; i < request->count; i++) {
            const json_t *value = json_array_get(array, i);
            extra->values[request->first + i] = json_number_value(value);
            // A judge may say null; and other requests may lack the name.
            extra->given[request->first + i] = !json_is_null(value);
        }
    }
    json_decref(extras);
    return TR_OK;
}

// Requests

/// The response as a text for judges. A NUL would end the text for many of them, so it becomes a
/// space.
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

/// One response as proto/score.h sends it. *bytes: about its size in a message.
static json_t *sample_of(const controller_judges_t *self, size_t index,
                         const tr_responses_t *responses, size_t r, uint32_t row, size_t *bytes)
{
    const tr_sequence_t *prompt = &self->rows->sequences[row];
    const int32_t *ids = responses->ids + responses->starts[r];
    size_t count = (size_t)(responses->starts[r + 1] - responses->starts[r]);
    char *response = text_of(self, ids, count);
    // Reference answers and the like, without the prompt, which travels as such.
    json_t *columns = tr_rows_others(self->rows, row);
    json_t *messages = tr_rows_conversation(self->rows, row, response, strlen(response));
    // Texts for judges that read, ids for judges that count or have the policy's tokenizer.
    const tr_sample_t sample = {
        .id = self->first_id + (int64_t)index,
        .prompt = tr_rows_prompt(self->rows, row),
        .response = response,
        .prompt_ids = prompt->ids,
        .response_ids = ids,
        .prompt_count = prompt->prompt,
        .response_count = count,
        .columns = columns,
        .messages = messages,
        .finish = tr_finish_name((tr_finish_t)responses->finish[r]),
    };
    json_t *map = tr_score_sample(&sample);
    // Printed only to be measured: messages are MessagePack, which is shorter, as a rule.
    char *printed = json_dumps(map, JSON_COMPACT);
    *bytes = strlen(printed);
    free(printed);
    json_decref(messages);
    json_decref(columns);
    free(response);
    return map;
}

/// Sends samples (taken) to every judge, one request each.
static void send_request(controller_judges_t *self, size_t first, json_t *samples)
{
    size_t count = json_array_size(samples);
    for (size_t j = 0; j < self->judges && count > 0; j++) {
        const tr_judge_t *judge = self->results[j].judge;
        self->requests =
            tr_realloc(self->requests, (self->request_count + 1) * sizeof *self->requests);
        self->requests[self->request_count] = (request_t){&self->results[j], first, count};
        tr_message_t *message = tr_message_new("request");
        // Shared by all judges' requests: nobody changes it any more.
        tr_message_set_body(message, json_pack("{s:O}", "samples", samples));
        const controller_call_t call = {
            .role = TR_ROLE_REWARD,
            .group = tr_judge_group(judge),
            .method = "score",
            // Judges are the only ones with a timeout: they may be scripts of the user.
            .timeout_s = judge->timeout_s,
            // on_failure decides what follows the last retry: wait for the judge, or end the run.
            .retries = judge->retries,
            .persists = judge->on_failure == TR_ON_FAILURE_WAIT,
            .take = take_scores,
            .context = self,
            .index = self->request_count++,
        };
        controller_calls_ask(self->calls, &call, &message);
    }
    json_decref(samples);
}

void controller_judges_ask(controller_judges_t *self, size_t first, const tr_responses_t *responses,
                           const uint32_t *rows)
{
    json_t *samples = json_array();
    size_t filled = 0, begin = first;
    for (size_t r = 0; r < responses->count; r++) {
        size_t bytes;
        json_t *sample = sample_of(self, first + r, responses, r, rows[r], &bytes);
        // A sample larger than the bound travels alone.
        bool full = json_array_size(samples) == SAMPLES_A_REQUEST ||
                    (filled > 0 && filled + bytes > BYTES_A_REQUEST);
        if (full) {
            send_request(self, begin, samples);
            samples = json_array();
            filled = 0;
            begin = first + r;
        }
        json_array_append_new(samples, sample);
        filled += bytes;
    }
    send_request(self, begin, samples);
}

// Scores and metrics

/// The weighted sums of judged: [judges][count].
static void add_up(float *scores, const controller_judges_t *self, const float *judged)
{
    for (size_t i = 0; i < self->count; i++) {
        // In double and in the order of the recipe, whatever the order of answers.
        double sum = 0.0;
        bool scored = false;
        for (size_t j = 0; j < self->judges; j++) {
            double score = (double)judged[j * self->count + i];
            // A judge that said null is left out of this response's sum, as in TRL.
            sum += isnan(score) ? 0.0 : self->results[j].judge->weight * score;
            scored = scored || !isnan(score);
        }
        scores[i] = scored ? (float)sum : NAN;
    }
}

/// All judges' scores, one judge after another. Owned by the caller.
static float *copy_scores(const controller_judges_t *self)
{
    float *judged = tr_calloc(self->judges * self->count + 1, sizeof *judged);
    for (size_t j = 0; j < self->judges; j++) {
        memcpy(judged + j * self->count, self->results[j].scores, self->count * sizeof *judged);
    }
    return judged;
}

void controller_judges_scores(const controller_judges_t *self, float *scores)
{
    float *judged = copy_scores(self);
    add_up(scores, self, judged);
    free(judged);
}

void controller_judges_normalized(const controller_judges_t *self, float *scores, size_t samples)
{
    float *judged = copy_scores(self);
    for (size_t j = 0; j < self->judges; j++) {
        tr_group_normalize(judged + j * self->count, self->count, samples);
    }
    add_up(scores, self, judged);
    free(judged);
}

/// controller_record_set with a name that is taken.
static tr_status set(controller_record_t *record, char *name, double value, tr_error_t *err)
{
    tr_status status = controller_record_set(record, name, value, err);
    free(name);
    return status;
}

/// The mean over the responses for which the extra was given; no metric where there is none.
static tr_status report_extra(const controller_judges_t *self, const result_t *result,
                              const extra_t *extra, controller_record_t *record, tr_error_t *err)
{
    // In the order of responses, so that the order of answers changes no bit.
    double sum = 0.0, given = 0.0;
    for (size_t i = 0; i < self->count; i++) {
        sum += extra->given[i] ? extra->values[i] : 0.0;
        given += extra->given[i] ? 1.0 : 0.0;
    }
    return given == 0.0 ? TR_OK
                        : set(record, tr_format("judge/%s/%s", result->judge->name, extra->name),
                              sum / given, err);
}

/// Before the judge's weight: its own scale, as the judge said it. Responses for which it said null
/// are counted, and left out of mean and deviation.
static tr_status report_scores(const controller_judges_t *self, const result_t *result,
                               controller_record_t *record, tr_error_t *err)
{
    const char *name = result->judge->name;
    const tr_statistics_t s = tr_statistics_scored(result->scores, self->count);
    size_t scored = tr_count_scored(result->scores, self->count);
    if (scored > 0) {
        TR_TRY(set(record, tr_format("rewards/%s/mean", name), s.mean, err));
        TR_TRY(set(record, tr_format("rewards/%s/std", name), s.deviation, err));
    }
    return scored == self->count ? TR_OK
                                 : set(record, tr_format("rewards/%s/unscored", name),
                                       (double)(self->count - scored), err);
}

tr_status controller_judges_report(const controller_judges_t *self, controller_record_t *record,
                                   tr_error_t *err)
{
    for (size_t j = 0; j < self->judges; j++) {
        const result_t *result = &self->results[j];
        TR_TRY(report_scores(self, result, record, err));
        for (size_t x = 0; x < result->extra_count; x++) {
            TR_TRY(report_extra(self, result, &result->extras[x], record, err));
        }
    }
    return TR_OK;
}
