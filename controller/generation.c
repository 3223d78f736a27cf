#include "controller/generation.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/ppo.h"

/// Responses on their way from the rollouts.
typedef struct generation {
    controller_run_t *run;
    uint64_t step;
    const uint32_t *rows; // [responses / samples]
    size_t responses;
    tr_message_t **answers; // [part_count] of the rollouts; parts point into them
    tr_responses_t *parts;  // [part_count]
    size_t part_size;       // responses of each part but the last
    size_t part_count;
} generation_t;

/// As the rollouts decide it, from the same numbers.
static bool truncates(const tr_generation_options_t *generation)
{
    const tr_sampling_t sampling = tr_generation_sampling(generation);
    return tr_sampling_truncates(&sampling);
}

/// Which prompt response i answers.
static uint32_t row_of(const generation_t *g, size_t i)
{
    return g->rows[i / g->run->recipe->generation.samples];
}

/// Refuses what was made with other weights than the ones asked for.
static tr_status check_weights(const generation_t *g, const tr_message_t *reply, tr_error_t *err)
{
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

/// A part of the responses is there: judges begin with it at once.
static tr_status take_part(void *context, size_t index, const tr_message_t *reply, tr_error_t *err)
{
    generation_t *g = context;
    size_t first = index * g->part_size;
    size_t count = g->responses - first < g->part_size ? g->responses - first : g->part_size;
    tr_message_t *answer = tr_message_copy(reply);
    tr_status status = check_weights(g, reply, err);
    if (status == TR_OK) {
        status = tr_responses_take(&g->parts[index], count, g->run->model.vocabulary,
                                   truncates(&g->run->recipe->generation), answer, err);
    }
    if (status != TR_OK) {
        tr_message_destroy(&answer);
        return status;
    }
    g->answers[index] = answer;
    uint32_t *rows = tr_calloc(count, sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        rows[i] = row_of(g, first + i);
    }
    controller_judges_ask(g->run->judges, first, &g->parts[index], rows);
    free(rows);
    return TR_OK;
}

static json_t *generate_body(const generation_t *g)
{
    const tr_recipe_t *recipe = g->run->recipe;
    json_t *body =
        json_pack("{s:O, s:I, s:b}", "weights", g->run->weights, "seed", (json_int_t)recipe->seed,
                  "ignore_eos", (int)(recipe->generation.stop_token == TR_STOP_TOKEN_NONE));
    tr_fields_to_json(body, &recipe->generation, &tr_generation_fields);
    return body;
}

/// The prompts of responses first..first + count - 1, and the random address of each.
static void put_prompts(const generation_t *g, size_t first, size_t count, tr_message_t *message)
{
    size_t samples = g->run->recipe->generation.samples, batch = g->run->recipe->data.batch;
    size_t tokens = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += g->run->rows.sequences[row_of(g, first + i)].prompt;
    }
    int32_t *ids = tr_calloc(tokens + 3 * count + 1, sizeof *ids);
    int32_t *starts = ids + tokens, *numbers = starts + count + 1, *sample = numbers + count;
    for (size_t i = 0; i < count; i++) {
        const tr_sequence_t *row = &g->run->rows.sequences[row_of(g, first + i)];
        memcpy(ids + at, row->ids, row->prompt * sizeof *ids);
        at += row->prompt;
        starts[i + 1] = (int32_t)at;
        numbers[i] = (int32_t)((g->step - 1) * batch + (first + i) / samples);
        sample[i] = (int32_t)((first + i) % samples);
    }
    tr_message_add_vector(message, "ids", TR_I32, tokens, ids);
    tr_message_add_vector(message, "starts", TR_I32, count + 1, starts);
    tr_message_add_vector(message, "prompt_numbers", TR_I32, count, numbers);
    tr_message_add_vector(message, "samples", TR_I32, count, sample);
    free(ids);
}

/// Deals the responses out to the rollouts in equal parts. How many there are changes no response.
static void ask_rollouts(generation_t *g)
{
    size_t workers = g->run->recipe->roles.rollout.workers;
    g->part_count = workers < g->responses ? workers : g->responses;
    g->part_size = (g->responses + g->part_count - 1) / g->part_count;
    g->part_count = (g->responses + g->part_size - 1) / g->part_size;
    g->answers = tr_calloc(g->part_count, sizeof(tr_message_t *));
    g->parts = tr_calloc(g->part_count, sizeof *g->parts);
    json_t *body = generate_body(g);
    for (size_t p = 0; p < g->part_count; p++) {
        size_t first = p * g->part_size;
        size_t left = g->responses - first;
        tr_message_t *message = tr_message_new("request");
        tr_message_set_body(message, json_incref(body));
        put_prompts(g, first, left < g->part_size ? left : g->part_size, message);
        const controller_call_t call = {
            .role = TR_ROLE_ROLLOUT,
            .method = "generate",
            .take = take_part,
            .context = g,
            .index = p,
        };
        controller_calls_ask(g->run->calls, &call, &message);
    }
    json_decref(body);
}

static bool all_parts(const void *context)
{
    const generation_t *g = context;
    for (size_t p = 0; p < g->part_count; p++) {
        if (g->answers[p] == NULL) {
            return false;
        }
    }
    return true;
}

static tr_status generate(controller_experience_t *experience, generation_t *g, tr_error_t *err)
{
    controller_run_t *run = g->run;
    controller_run_phase(run, "rollout");
    uint64_t before = (g->step - 1) * run->recipe->data.batch * run->recipe->generation.samples;
    controller_judges_begin(run->judges, g->responses, (int64_t)before);
    ask_rollouts(g);
    TR_TRY(controller_calls_until(run->calls, all_parts, g, err));
    return controller_experience_init(experience, &run->rows, g->rows,
                                      run->recipe->generation.samples, g->parts, g->part_count,
                                      err);
}

tr_status controller_generate(controller_experience_t *experience, controller_run_t *run,
                              uint64_t step, const uint32_t *rows, size_t prompts, tr_error_t *err)
{
    generation_t g = {
        .run = run,
        .step = step,
        .rows = rows,
        .responses = prompts * run->recipe->generation.samples,
    };
    tr_status status = generate(experience, &g, err);
    for (size_t p = 0; p < g.part_count; p++) {
        tr_message_destroy(&g.answers[p]);
    }
    free(g.answers);
    free(g.parts);
    return status;
}

/// The mean number of tokens that truncation kept: the whole vocabulary where a list is empty.
static double mean_kept(const controller_experience_t *e, size_t vocabulary)
{
    double sum = 0.0;
    for (size_t t = 0; t < e->tokens; t++) {
        int32_t kept = e->kept_offsets[t + 1] - e->kept_offsets[t];
        sum += kept > 0 ? (double)kept : (double)vocabulary;
    }
    return sum / (double)e->tokens;
}

tr_status controller_generation_report(const controller_run_t *run,
                                       const controller_experience_t *e,
                                       controller_record_t *record, tr_error_t *err)
{
    const tr_model_config_t *model = &run->model;
    size_t ends = tr_count_tokens(e->responses, e->tokens, model->eos, model->eos_count);
    TR_TRY(controller_record_set(record, "val/num_eos_tokens", (double)ends, err));
    if (e->kept_offsets != NULL) {
        TR_TRY(
            controller_record_set(record, "val/kept_tokens", mean_kept(e, model->vocabulary), err));
    }
    return controller_record_set(record, "response_length", (double)e->tokens / (double)e->count,
                                 err);
}

char *controller_generation_text(const controller_run_t *run, const controller_experience_t *e,
                                 size_t index, size_t *length)
{
    return tr_tokenizer_decode(length, run->tokenizer, e->responses + e->offsets[index],
                               e->offsets[index + 1] - e->offsets[index],
                               TR_DECODE_SKIP_SPECIAL | TR_DECODE_CONTINUES);
}

tr_status controller_generation_write_samples(const controller_run_t *run, uint64_t step,
                                              const controller_experience_t *e, tr_error_t *err)
{
    const tr_recipe_samples_t *options = &run->recipe->samples;
    bool all = !tr_algorithm_learns(tr_recipe_algorithm(run->recipe));
    bool due = all || (options->every > 0 &&
                       (step == 1 || step == run->recipe->steps || step % options->every == 0));
    size_t count = all || e->count < options->count ? e->count : options->count;
    tr_status status = TR_OK;
    for (size_t i = 0; due && i < count && status == TR_OK; i++) {
        size_t length;
        char *text = controller_generation_text(run, e, i, &length);
        const char *prompt = tr_rows_prompt(&run->rows, e->rows[i / e->samples]);
        json_t *more = json_pack("{s:s}", "finish", tr_finish_name((tr_finish_t)e->finish[i]));
        status = controller_samples_append(run->samples, step, prompt, strlen(prompt), text, length,
                                           (double)e->scores[i], more, err);
        json_decref(more);
        free(text);
    }
    return status;
}
