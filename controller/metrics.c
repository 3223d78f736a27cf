// A step's record of metrics, and metrics.jsonl, one line for each.
//
// Apart from events.c (TensorBoard) and progress.c (terminal), which read the same record. How
// lines are cut and numbers printed is lines.c; what each metric means is metric_table.c.
#include "controller/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/utf8.h"
#include "controller/lines.h"
#include "proto/learner/tally.h"

// The record of a step

void controller_record_init(controller_record_t *record, uint64_t step)
{
    // No memory yet: add takes it with the first metric.
    *record = (controller_record_t){.step = step};
}

void controller_record_release(controller_record_t *record)
{
    for (size_t i = 0; i < record->count; i++) {
        free(record->items[i].name);
    }
    free(record->items);
    *record = (controller_record_t){0};
}

/// A step has about 40 metrics: a search from the first on is fast enough.
static controller_metric_t *find(const controller_record_t *record, const char *name)
{
    for (size_t i = 0; i < record->count; i++) {
        if (strcmp(record->items[i].name, name) == 0) {
            return &record->items[i];
        }
    }
    return NULL;
}

/// Appends a metric that is not in the record yet.
static void add(controller_record_t *record, const char *name, double value)
{
    if (record->count == record->capacity) {
        // A step of PPO has about 40 metrics, so the array grows once.
        record->capacity = record->capacity == 0 ? 32 : record->capacity * 2;
        record->items = tr_realloc(record->items, record->capacity * sizeof *record->items);
    }
    record->items[record->count++] = (controller_metric_t){tr_strdup(name), value};
}

tr_status controller_record_set(controller_record_t *record, const char *name, double value,
                                tr_error_t *err)
{
    size_t length = strlen(name);
    // `step` is the key of the line itself.
    // A judge names its extras, so names come from other programs too.
    if (length == 0 || strcmp(name, "step") == 0 || tr_utf8_valid(name, length) < length) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "metric '%s': expected a name in UTF-8 that is not empty and not 'step'",
                       name);
    }
    // JSON has no NaN; a run that makes one must not go on.
    if (!isfinite(value)) {
        return tr_fail(err, TR_ERR_NUMERIC, "metric '%s' of step %llu is %g", name,
                       (unsigned long long)record->step, value);
    }
    controller_metric_t *metric = find(record, name);
    // A replaced value keeps its place: the order of a line is that of the first setting.
    if (metric != NULL) {
        metric->value = value;
    } else {
        add(record, name, value);
    }
    return TR_OK;
}

const double *controller_record_find(const controller_record_t *record, const char *name)
{
    const controller_metric_t *metric = find(record, name);
    return metric == NULL ? NULL : &metric->value;
}

// Tallies

static const char SQUARES[] = "mean_squared_reward"; // the mean of squares, which adds up

/// The standard deviation of a reward model's scores, from the means of squares and of scores.
static tr_status put_deviation(controller_record_t *record, const json_t *tally, const char *prefix,
                               tr_error_t *err)
{
    const json_t *squares = json_object_get(tally, SQUARES);
    // Only reward models have it.
    if (squares == NULL) {
        return TR_OK;
    }
    double mean = tr_tally_mean(json_object_get(tally, "mean_reward"));
    // E[x^2] - E[x]^2, which rounding can take below 0.
    double variance = tr_tally_mean(squares) - mean * mean;
    // Under TRL's name, in place of the squares.
    char *name = tr_format("%sreward_std", prefix);
    tr_status status =
        controller_record_set(record, name, variance > 0.0 ? sqrt(variance) : 0.0, err);
    free(name);
    return status;
}

tr_status controller_record_add_tally(controller_record_t *record, const json_t *tally,
                                      const char *prefix, tr_error_t *err)
{
    // In the tally's order, which is the actor's: jansson keeps it.
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)tally, name, entry)
    {
        char *full = tr_format("%s%s", prefix, name);
        // The squares are no metric of their own: put_deviation uses them.
        tr_status status = strcmp(name, SQUARES) == 0
                               ? TR_OK
                               : controller_record_set(record, full, tr_tally_mean(entry), err);
        free(full);
        TR_TRY(status);
    }
    return put_deviation(record, tally, prefix, err);
}

tr_status controller_metrics_append(controller_appender_t *file, const controller_record_t *record,
                                    tr_error_t *err)
{
    json_t *object = json_object();
    // First in the line: lines.c finds by it where a resumed run cuts the file.
    int failed = json_object_set_new(object, "step", json_integer((json_int_t)record->step));
    for (size_t i = 0; i < record->count; i++) {
        const controller_metric_t *metric = &record->items[i];
        // Checked once, after all of them: jansson fails for want of memory or for a NaN alone.
        failed |= json_object_set_new(object, metric->name, json_real(metric->value));
    }
    TR_ASSERT(failed == 0, "out of memory, or a metric that is not finite");
    tr_status status = controller_lines_append(file, object, err);
    json_decref(object);
    return status;
}
