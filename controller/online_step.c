// A step on generated responses: generate, score, choose, train on the choice as on rows.
//
// Online DPO, rejection sampling and plain sampling share this file because they differ in two
// facts of the table of algorithms alone: whether the actor trains, and how many responses of a
// prompt make a row (group). Next: rows_step.c for the update, generation.c for the responses.
#include "controller/steps.h"

#include <stdlib.h>
#include <string.h>

#include "common/algo/ppo.h"
#include "common/algo/statistics.h"
#include "common/base/clock.h"
#include "controller/generation.h"

/// A step in progress.
typedef struct online {
    controller_run_t *run;
    uint64_t step;
    tr_rows_t rows; // the prompts
    size_t prompts;
    controller_experience_t experience;
    int64_t *best, *worst; // [prompts] indices of responses, or NONE
} online_t;

/// The step's prompts, by seed and step: a step that is repeated after a return takes the same.
static tr_status read_prompts(online_t *o, tr_error_t *err)
{
    const tr_order_t order = controller_run_order(o->run, &o->run->data.rows);
    TR_TRY(controller_run_read(&o->rows, &o->run->data.rows, &order, o->step - 1, err));
    o->prompts = o->rows.count;
    return TR_OK;
}

// The choice

enum { NONE = -1 }; // a prompt no response of which could be scored

/// The best and the worst response of each prompt, by score.
static void choose_responses(online_t *o)
{
    const float *scores = o->experience.scores;
    size_t samples = o->experience.samples;
    // One block for both, freed by its beginning.
    o->best = tr_calloc(2 * o->prompts, sizeof *o->best);
    o->worst = o->best + o->prompts;
    for (size_t i = 0; i < o->prompts; i++) {
        size_t first = i * samples, best, worst;
        bool scored = tr_best_and_worst(&best, &worst, scores + first, samples);
        o->best[i] = scored ? (int64_t)(first + best) : NONE;
        o->worst[i] = scored ? (int64_t)(first + worst) : NONE;
    }
}

/// Equal scores tell nothing about preference: such a prompt makes no pair. One without a score
/// makes no row at all.
static bool makes_row(const online_t *o, size_t prompt)
{
    const float *scores = o->experience.scores;
    return o->best[prompt] != NONE &&
           (o->run->algorithm->group != 2 || scores[o->best[prompt]] != scores[o->worst[prompt]]);
}

/// Response `index` with its prompt, as a sequence of a row.
static void copy_response(tr_sequence_t *sequence, const controller_experience_t *e, int64_t index)
{
    sequence->prompt = (size_t)e->prompt_lengths[index];
    sequence->length = (size_t)(e->starts[index + 1] - e->starts[index]);
    sequence->ids = tr_calloc(sequence->length, sizeof *sequence->ids);
    memcpy(sequence->ids, e->ids + e->starts[index], sequence->length * sizeof *sequence->ids);
}

/// The chosen responses as rows: a pair for DPO, but of ties, else one sequence a prompt; none
/// of a prompt without a score. The
/// caller releases rows, of which there may be none.
static void make_rows(tr_rows_t *rows, const online_t *o)
{
    size_t group = o->run->algorithm->group;
    // Responses fit the model already, so no row is cut.
    *rows = (tr_rows_t){.limit = o->run->data.model.max_positions};
    // Copies: rows own their tokens, and the experience ends with the step.
    rows->sequences = tr_calloc(group * o->prompts, sizeof *rows->sequences);
    rows->starts = tr_calloc(o->prompts + 1, sizeof *rows->starts);
    for (size_t i = 0; i < o->prompts; i++) {
        if (!makes_row(o, i)) {
            continue;
        }
        tr_sequence_t *sequences = rows->sequences + group * rows->count;
        copy_response(&sequences[0], &o->experience, o->best[i]);
        if (group == 2) {
            copy_response(&sequences[1], &o->experience, o->worst[i]);
        }
        rows->count++;
        rows->starts[rows->count] = group * rows->count;
    }
}

/// One update on the chosen responses, exactly as on rows of a file.
static tr_status train(const online_t *o, controller_record_t *record, tr_error_t *err)
{
    tr_rows_t rows;
    make_rows(&rows, o);
    tr_status status = controller_rows_train(o->run, &rows, o->step, record, err);
    tr_rows_release(&rows);
    return status;
}

// Metrics

/// objective/ metrics under TRL's names. The margin is between the best and the worst response of a
/// prompt.
static tr_status report_scores(const online_t *o, controller_record_t *record, tr_error_t *err)
{
    const controller_experience_t *e = &o->experience;
    const tr_statistics_t scores = tr_statistics_scored(e->scores, e->count);
    double margins = 0.0, ties = 0.0, scored = 0.0;
    for (size_t i = 0; i < o->prompts; i++) {
        ties += !makes_row(o, i);
        if (o->best[i] != NONE) {
            margins += (double)e->scores[o->best[i]] - (double)e->scores[o->worst[i]];
            scored += 1.0;
        }
    }
    const struct {
        const char *name;
        double value;
    } metrics[] = {
        {"objective/scores", scores.mean},
        {"objective/scores_std", scores.deviation},
        {"objective/scores_margin", margins / scored},
    };
    for (size_t i = 0; scored > 0.0 && i < sizeof metrics / sizeof *metrics; i++) {
        TR_TRY(controller_record_set(record, metrics[i].name, metrics[i].value, err));
    }
    if (o->run->algorithm->group == 2) {
        TR_TRY(controller_record_set(record, "objective/ties", ties, err));
    }
    TR_TRY(controller_generation_report(o->run, e, record, err));
    return controller_judges_report(o->run->judges, record, err);
}

// The step

/// Responses and their scores. Judges score while rollouts still generate; "assess" is the rest of
/// their time.
static tr_status generate(online_t *o, controller_record_t *record, tr_error_t *err)
{
    controller_run_t *run = o->run;
    double began = tr_clock_seconds();
    const controller_prompts_t prompts = controller_prompts_of_step(run, o->step, &o->rows);
    TR_TRY(controller_generate(&o->experience, run, &prompts, err));
    // Responses are there; some scores may still be missing.
    double generated = tr_clock_seconds();
    controller_run_phase(run, "assess");
    TR_TRY(controller_calls_finish(run->calls, err));
    controller_judges_scores(run->judges, o->experience.scores);
    TR_TRY(controller_record_set(record, "time/rollout", generated - began, err));
    TR_TRY(controller_record_set(record, "time/assess", tr_clock_seconds() - generated, err));
    return controller_record_set(record, "tokens_per_second/rollout",
                                 (double)o->experience.tokens / (generated - began), err);
}

/// The algorithm, in the order of a step.
static tr_status take_step(online_t *o, controller_record_t *record, tr_error_t *err)
{
    bool trains = tr_algorithm_learns(o->run->algorithm);
    TR_TRY(read_prompts(o, err));
    TR_TRY(generate(o, record, err));
    choose_responses(o);
    // Scores before the loss: the order of metrics in a line of metrics.jsonl.
    TR_TRY(report_scores(o, record, err));
    if (trains) {
        TR_TRY(train(o, record, err));
    }
    TR_TRY(controller_generation_write_samples(o->run, &o->rows, o->step, &o->experience, err));
    // The next step must generate with the weights that this one has made.
    return trains ? controller_run_publish(o->run, o->step, err) : TR_OK;
}

tr_status controller_online_step(controller_run_t *run, uint64_t step, controller_record_t *record,
                                 tr_error_t *err)
{
    online_t o = {.run = run, .step = step};
    tr_status status = take_step(&o, record, err);
    controller_experience_release(&o.experience);
    tr_rows_release(&o.rows);
    free(o.best);
    return status;
}
