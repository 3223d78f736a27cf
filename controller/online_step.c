#include "controller/online_step.h"

#include <stdlib.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "common/algo/statistics.h"
#include "common/base/clock.h"
#include "controller/generation.h"
#include "controller/rows_step.h"

/// A step in progress.
typedef struct online {
    controller_run_t *run;
    uint64_t step;
    uint32_t *rows; // [prompts]
    size_t prompts;
    controller_experience_t experience;
    size_t *best, *worst; // [prompts] responses
} online_t;

/// The step's prompts. Where nothing learns, all of them in the file's order, the last step taking what is left.
static tr_status choose_prompts(online_t *o, tr_error_t *err)
{
    const tr_recipe_t *recipe = o->run->recipe;
    size_t batch = recipe->data.batch, rows = o->run->rows.count;
    o->rows = tr_calloc(batch, sizeof *o->rows);
    o->prompts = batch;
    if (tr_algorithm_learns(tr_recipe_algorithm(recipe))) {
        return tr_dataset_batch(o->rows, rows, recipe->seed, o->step - 1, batch,
                                recipe->data.shuffle, err);
    }
    size_t first = (size_t)(o->step - 1) * batch;
    if (first >= rows) {
        return tr_fail(err, TR_ERR_ARGUMENT, "steps is %llu, and %zu answer all %zu prompts",
                       (unsigned long long)recipe->steps, (rows + batch - 1) / batch, rows);
    }
    o->prompts = rows - first < batch ? rows - first : batch;
    for (size_t i = 0; i < o->prompts; i++) {
        o->rows[i] = (uint32_t)(first + i);
    }
    return TR_OK;
}

// The choice

static void choose_responses(online_t *o)
{
    const float *scores = o->experience.scores;
    size_t samples = o->experience.samples;
    o->best = tr_calloc(2 * o->prompts, sizeof *o->best);
    o->worst = o->best + o->prompts;
    for (size_t i = 0; i < o->prompts; i++) {
        size_t first = i * samples, best, worst;
        tr_best_and_worst(&best, &worst, scores + first, samples);
        o->best[i] = first + best;
        o->worst[i] = first + worst;
    }
}

static void copy_response(tr_sequence_t *item, const controller_experience_t *e, size_t index)
{
    item->prompt = (size_t)e->prompt_lengths[index];
    item->length = (size_t)(e->starts[index + 1] - e->starts[index]);
    item->ids = tr_calloc(item->length, sizeof *item->ids);
    memcpy(item->ids, e->ids + e->starts[index], item->length * sizeof *item->ids);
}

/// The chosen responses as rows: pairs for DPO, else one a prompt. rows: released by the caller.
static void make_rows(tr_rows_t *rows, const online_t *o)
{
    size_t group = tr_recipe_algorithm(o->run->recipe)->group;
    *rows = (tr_rows_t){.count = o->prompts, .limit = o->run->model.max_positions};
    rows->sequences = tr_calloc(group * o->prompts, sizeof *rows->sequences);
    rows->starts = tr_calloc(o->prompts + 1, sizeof *rows->starts);
    for (size_t i = 0; i < o->prompts; i++) {
        tr_sequence_t *items = rows->sequences + group * i;
        copy_response(&items[0], &o->experience, o->best[i]);
        if (group == 2) {
            copy_response(&items[1], &o->experience, o->worst[i]);
        }
        rows->starts[i + 1] = group * (i + 1);
    }
}

static tr_status learn(const online_t *o, controller_record_t *record, tr_error_t *err)
{
    tr_rows_t rows;
    uint32_t *all = tr_calloc(o->prompts, sizeof *all);
    for (size_t i = 0; i < o->prompts; i++) {
        all[i] = (uint32_t)i;
    }
    make_rows(&rows, o);
    tr_status status = controller_rows_learn(o->run, &rows, all, o->prompts, o->step, record, err);
    tr_rows_release(&rows);
    free(all);
    return status;
}

// Metrics

/// TRL's names. The margin is between the best and the worst response of a prompt.
static tr_status report_scores(const online_t *o, controller_record_t *record, tr_error_t *err)
{
    const controller_experience_t *e = &o->experience;
    tr_statistics_t scores;
    double margins = 0.0;
    tr_statistics(&scores, e->scores, e->count);
    for (size_t i = 0; i < o->prompts; i++) {
        margins += (double)e->scores[o->best[i]] - (double)e->scores[o->worst[i]];
    }
    const struct {
        const char *name;
        double value;
    } metrics[] = {
        {"objective/scores", scores.mean},
        {"objective/scores_std", scores.deviation},
        {"objective/scores_margin", margins / (double)o->prompts},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        TR_TRY(controller_record_set(record, metrics[i].name, metrics[i].value, err));
    }
    TR_TRY(controller_generation_report(o->run, e, record, err));
    return controller_judges_report(o->run->judges, record, err);
}

// The step

static tr_status speak(online_t *o, controller_record_t *record, tr_error_t *err)
{
    controller_run_t *run = o->run;
    double began = tr_clock_seconds();
    TR_TRY(controller_generate(&o->experience, run, o->step, o->rows, o->prompts, err));
    double spoken = tr_clock_seconds();
    controller_run_phase(run, "assess");
    TR_TRY(controller_calls_finish(run->calls, err));
    controller_judges_scores(run->judges, o->experience.scores);
    TR_TRY(controller_record_set(record, "time/rollout", spoken - began, err));
    TR_TRY(controller_record_set(record, "time/assess", tr_clock_seconds() - spoken, err));
    return controller_record_set(record, "tokens_per_second/rollout",
                                 (double)o->experience.tokens / (spoken - began), err);
}

static tr_status take_step(online_t *o, controller_record_t *record, tr_error_t *err)
{
    bool learns = tr_algorithm_learns(tr_recipe_algorithm(o->run->recipe));
    TR_TRY(choose_prompts(o, err));
    TR_TRY(speak(o, record, err));
    choose_responses(o);
    TR_TRY(report_scores(o, record, err));
    if (learns) {
        TR_TRY(learn(o, record, err));
    }
    TR_TRY(controller_generation_write_samples(o->run, o->step, &o->experience, err));
    return learns ? controller_run_publish(o->run, o->step, err) : TR_OK;
}

tr_status controller_online_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                                 tr_error_t *err)
{
    online_t o = {.run = run, .step = step};
    tr_status status = take_step(&o, record, err);
    controller_experience_release(&o.experience);
    free(o.best);
    free(o.rows);
    return status;
}
