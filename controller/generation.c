// Generation: requests to the rollouts, a shard of the responses each, and what is read from them.
//
// Apart from the steps because PPO and the online algorithms generate in the same way. A response
// is a function of weights, seed, prompt number and sample number, so neither the number of
// rollouts nor the order of their answers changes a byte. Next: rollout/decoder.c, which generates;
// experience.c, which joins the shards.
#include "controller/generation.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "controller/samples.h"

/// Responses on their way from the rollouts.
typedef struct generation {
    controller_run_t *run;
    const controller_prompts_t *prompts;
    const tr_generation_options_t *options;
    size_t responses;
    /// [shard_count] of the rollouts, NULL until one arrives; shards point into them
    tr_message_t **answers;
    tr_responses_t *shards; // [shard_count]
    size_t shard_size;      // responses of each shard but the last, which may be smaller
    size_t shard_count;
} generation_t;

/// Whether the rollouts truncate the distribution and so send kept sets. They decide it in the same
/// way, from the same numbers.
static bool truncates(const tr_generation_options_t *generation)
{
    const tr_sampling_t sampling = tr_generation_sampling(generation);
    return tr_sampling_truncates(&sampling);
}

/// The row of the prompt that response i answers.
static size_t row_of(const generation_t *g, size_t i)
{
    return i / g->options->samples;
}

/// Refuses responses that were generated with other weights than the published ones: PPO's ratio
/// would be wrong without notice.
static tr_status check_weights(const generation_t *g, const tr_message_t *reply, tr_error_t *err)
{
    // A rollout that was lost and came back may have taken others in between.
    const json_t *wanted = g->run->weights;
    const json_t *body = tr_message_body(reply);
    if (json_equal(json_object_get(wanted, "version"), json_object_get(body, "version")) &&
        json_equal(json_object_get(wanted, "checksum"), json_object_get(body, "checksum"))) {
        return TR_OK;
    }
    return tr_fail(err, TR_ERR_VERSION,
                   "responses were made with other weights than version %" PRId64,
                   (int64_t)json_integer_value(json_object_get(wanted, "version")));
}

/// A controller_take_fn: keeps the shard and requests its scores at once, while other rollouts
/// still generate.
static tr_status take_shard(void *context, size_t index, const tr_message_t *reply, tr_error_t *err)
{
    generation_t *g = context;
    // index is the shard's, whichever rollout generated it.
    size_t first = index * g->shard_size;
    size_t count = g->responses - first < g->shard_size ? g->responses - first : g->shard_size;
    // A copy that shares the tensors' bytes: the reply itself ends with this call.
    tr_message_t *answer = tr_message_copy(reply);
    tr_status status = check_weights(g, reply, err);
    if (status == TR_OK) {
        status = tr_responses_take(&g->shards[index], count, g->run->data.model.vocabulary,
                                   truncates(g->options), answer, err);
    }
    if (status != TR_OK) {
        tr_message_destroy(&answer);
        return status;
    }
    // Its shard points into it, so it stays until the experience is joined.
    g->answers[index] = answer;
    // Judges read prompts by row, and several responses share one.
    uint32_t *rows = tr_calloc(count, sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        rows[i] = (uint32_t)row_of(g, first + i);
    }
    controller_judges_ask(g->run->judges, first, &g->shards[index], rows);
    free(rows);
    return TR_OK;
}

/// The body of every rollout's request: weights, seed and sampling options.
static json_t *generate_body(const generation_t *g)
{
    json_t *body = json_pack("{s:O, s:I, s:b}", "weights", g->run->weights, "seed",
                             (json_int_t)g->prompts->seed, "ignore_eos",
                             (int)(g->options->stop_token == TR_STOP_TOKEN_NONE));
    tr_fields_to_json(body, g->options, &tr_generation_fields);
    return body;
}

/// Adds the prompts of responses first..first + count - 1, and the random address of each: number
/// of the prompt in the run, number of the sample.
static void put_prompts(const generation_t *g, size_t first, size_t count, tr_message_t *message)
{
    const tr_sequence_t *sequences = g->prompts->rows->sequences;
    size_t samples = g->options->samples, tokens = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += sequences[row_of(g, first + i)].prompt;
    }
    // One block for all four vectors.
    // Two samples of a prompt carry it twice: the rollout then needs no table of prompts.
    int32_t *ids = tr_calloc(tokens + 3 * count + 1, sizeof *ids);
    int32_t *starts = ids + tokens, *numbers = starts + count + 1, *sample = numbers + count;
    for (size_t i = 0; i < count; i++) {
        const tr_sequence_t *row = &sequences[row_of(g, first + i)];
        memcpy(ids + at, row->ids, row->prompt * sizeof *ids);
        at += row->prompt;
        starts[i + 1] = (int32_t)at;
        numbers[i] = (int32_t)(g->prompts->number + (first + i) / samples);
        sample[i] = (int32_t)((first + i) % samples);
    }
    tr_message_add_vector(message, "ids", TR_I32, tokens, ids);
    tr_message_add_vector(message, "starts", TR_I32, count + 1, starts);
    tr_message_add_vector(message, "prompt_numbers", TR_I32, count, numbers);
    tr_message_add_vector(message, "samples", TR_I32, count, sample);
    free(ids);
}

/// Divides the responses among the rollouts in equal shards.
static void ask_rollouts(generation_t *g)
{
    // As many as the recipe promises, registered or not: a shard waits for the next one that is
    // free.
    size_t workers = g->run->recipe->roles.rollout.workers;
    g->shard_count = workers < g->responses ? workers : g->responses;
    g->shard_size = (g->responses + g->shard_count - 1) / g->shard_count;
    // Rounding the size up can leave fewer shards than workers; none may be empty.
    g->shard_count = (g->responses + g->shard_size - 1) / g->shard_size;
    g->answers = tr_calloc(g->shard_count, sizeof(tr_message_t *));
    g->shards = tr_calloc(g->shard_count, sizeof *g->shards);
    // The same body for all; only the prompts differ.
    json_t *body = generate_body(g);
    for (size_t p = 0; p < g->shard_count; p++) {
        size_t first = p * g->shard_size;
        size_t left = g->responses - first;
        tr_message_t *message = tr_message_new("request");
        tr_message_set_body(message, json_incref(body));
        put_prompts(g, first, left < g->shard_size ? left : g->shard_size, message);
        const controller_call_t call = {
            .role = TR_ROLE_ROLLOUT,
            .method = "generate",
            .take = take_shard,
            .context = g,
            .index = p,
        };
        controller_calls_ask(g->run->calls, &call, &message);
    }
    json_decref(body);
}

/// Whether every rollout has answered. Judges may still be at work.
static bool all_shards(const void *context)
{
    const generation_t *g = context;
    for (size_t p = 0; p < g->shard_count; p++) {
        if (g->answers[p] == NULL) {
            return false;
        }
    }
    return true;
}

/// From the requests to the joined experience.
static tr_status generate(controller_experience_t *experience, generation_t *g, tr_error_t *err)
{
    controller_run_t *run = g->run;
    controller_run_phase(run, g->prompts->phase);
    // Before the requests: the first shard is sent to the judges as soon as it comes.
    controller_judges_begin(run->judges, g->prompts->rows, g->responses, g->prompts->first_id);
    ask_rollouts(g);
    // Until the shards are there: requests to judges stay open.
    TR_TRY(controller_calls_until(run->calls, all_shards, g, err));
    return controller_experience_init(experience, g->prompts->rows, g->options->samples, g->shards,
                                      g->shard_count, err);
}

tr_status controller_generate(controller_experience_t *experience, controller_run_t *run,
                              const controller_prompts_t *prompts, tr_error_t *err)
{
    const tr_generation_options_t *own = prompts->generation;
    generation_t g = {
        .run = run,
        .prompts = prompts,
        .options = own != NULL ? own : &run->recipe->generation,
    };
    g.responses = prompts->rows->count * g.options->samples;
    // After a failure some shards may be there: they end here with the others.
    tr_status status = generate(experience, &g, err);
    for (size_t p = 0; p < g.shard_count; p++) {
        tr_message_destroy(&g.answers[p]);
    }
    free(g.answers);
    free(g.shards);
    return status;
}

controller_prompts_t controller_prompts_of_step(const controller_run_t *run, uint64_t step,
                                                const tr_rows_t *rows)
{
    const tr_order_t order = controller_run_order(run, &run->data.rows);
    uint64_t number = tr_order_taken(&order, step - 1);
    return (controller_prompts_t){
        .phase = "rollout",
        .rows = rows,
        .seed = run->recipe->seed,
        .number = number,
        // An id names one response of the run.
        .first_id = (int64_t)(number * run->recipe->generation.samples),
    };
}

/// The mean number of tokens that truncation kept: the whole vocabulary where a list is empty.
static double mean_kept(const controller_experience_t *e, size_t vocabulary)
{
    double sum = 0.0;
    for (size_t t = 0; t < e->tokens; t++) {
        int32_t kept = e->kept_offsets[t + 1] - e->kept_offsets[t];
        // Where top_p is larger than what the tail holds, nothing is cut and the list is empty.
        sum += kept > 0 ? (double)kept : (double)vocabulary;
    }
    return sum / (double)e->tokens;
}

tr_status controller_generation_report(const controller_run_t *run,
                                       const controller_experience_t *e,
                                       controller_record_t *record, tr_error_t *err)
{
    const tr_model_config_t *model = &run->data.model;
    // An end-of-sequence token can occur in a prompt too; only those of responses count.
    size_t ends = 0;
    for (size_t i = 0; i < e->count; i++) {
        size_t n;
        const int32_t *response = controller_experience_response(e, i, &n);
        ends += tr_count_tokens(response, n, model->eos, model->eos_count);
    }
    TR_TRY(controller_record_set(record, "val/num_eos_tokens", (double)ends, err));
    if (e->kept_offsets != NULL) {
        TR_TRY(
            controller_record_set(record, "val/kept_tokens", mean_kept(e, model->vocabulary), err));
    }
    return controller_record_set(record, "response_length", (double)e->tokens / (double)e->count,
                                 err);
}

tr_status controller_generation_write(const controller_run_t *run, const tr_rows_t *rows,
                                      const char *split, uint64_t step,
                                      const controller_experience_t *e, size_t most,
                                      tr_error_t *err)
{
    tr_status status = TR_OK;
    for (size_t i = 0; i < e->count && i < most && status == TR_OK; i++) {
        size_t n, length;
        const int32_t *response = controller_experience_response(e, i, &n);
        char *text = tr_tokenizer_decode(&length, run->data.tokenizer, response, n,
                                         TR_DECODE_SKIP_SPECIAL | TR_DECODE_CONTINUES);
        size_t row = i / e->samples;
        // Conversations in full are the result of a run without training.
        json_t *messages = tr_algorithm_learns(run->algorithm)
                               ? NULL
                               : tr_rows_conversation(rows, row, text, length);
        const controller_sample_t sample = {
            .step = step,
            .split = split,
            .prompt = tr_rows_prompt(rows, row),
            .response = text,
            .length = length,
            .score = (double)e->scores[i],
            .finish = tr_finish_name((tr_finish_t)e->finish[i]),
            .messages = messages,
        };
        status = controller_samples_append(run->samples, &sample, err);
        json_decref(messages);
        free(text);
    }
    return status;
}

tr_status controller_generation_write_samples(const controller_run_t *run, const tr_rows_t *rows,
                                              uint64_t step, const controller_experience_t *e,
                                              tr_error_t *err)
{
    const tr_recipe_samples_t *options = &run->recipe->samples;
    // Without training the responses are the result of the run, so none is left out.
    bool all = !tr_algorithm_learns(run->algorithm);
    // The first and the last step always, so that a short run leaves samples too.
    bool due = all || (options->every > 0 &&
                       (step == 1 || step == run->recipe->steps || step % options->every == 0));
    size_t most = all ? e->count : due ? options->count : 0;
    return controller_generation_write(run, rows, NULL, step, e, most, err);
}

// What every algorithm checks that trains on ratios

void controller_generation_doubt(controller_run_t *run, uint64_t step,
                                 const controller_experience_t *experience)
{
    char *sentence = run->doubted ? NULL : controller_experience_doubt(experience);
    if (sentence != NULL) {
        run->doubted = true;
        controller_run_warn(run, "reference", tr_format("step %" PRIu64 ": %s", step, sentence));
        free(sentence);
    }
}

tr_status controller_generation_check_exact(const controller_record_t *record, tr_error_t *err)
{
    const double *mismatch = controller_record_find(record, "exact/logprob_mismatch");
    // Silence is no proof: an actor of another build may lack the metric.
    if (mismatch == NULL) {
        return tr_fail(err, TR_ERR_PROTOCOL, "the actor reports no exact/logprob_mismatch");
    }
    // Any difference at all: a ratio that does not begin at 1 biases every update.
    if (*mismatch != 0.0) {
        return tr_fail(err, TR_ERR_NUMERIC,
                       "step %" PRIu64 ": rollouts and actor differ by %g in a log-probability; it "
                       "must be 0: do all processes come from one build?",
                       record->step, *mismatch);
    }
    return TR_OK;
}
