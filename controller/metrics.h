/// A step's numbers, and the file metrics.jsonl that collects them: one JSON object a line.
///
///     {"step": 12, "objective/kl": 0.25, "objective/scores": 1.5}
///
/// The controller fills a record a step and hands it to metrics, events (TensorBoard) and progress.
/// Numbers are printed with the fewest digits that read back as the same double. A run that was
/// resumed leaves the same lines as one that never stopped, but for what measures time.
#ifndef CONTROLLER_METRICS_H
#define CONTROLLER_METRICS_H

#include <jansson.h>

#include "controller/appender.h"

typedef struct controller_metric {
    char *name;
    double value; ///< finite
} controller_metric_t;

typedef struct controller_record {
    uint64_t step;
    controller_metric_t *items; ///< [count], in the order in which they were first set
    size_t count;
    size_t capacity;
} controller_record_t;

void controller_record_init(controller_record_t *record, uint64_t step);
void controller_record_release(controller_record_t *record);

/// Adds the metric, or replaces its value; name is copied. TR_ERR_NUMERIC, naming the metric, when
/// value is a NaN or an infinity; TR_ERR_ARGUMENT when name is empty, "step" or not UTF-8.
tr_status controller_record_set(controller_record_t *record, const char *name, double value,
                                tr_error_t *err);

/// The value of a metric, valid until the next set. NULL: the record has none of that name.
const double *controller_record_find(const controller_record_t *record, const char *name);

/// Adds the means of a tally (proto/learner/tally.h), each with the prefix before its name. A
/// standard deviation does not add up over batches, so mean_squared_reward travels instead and
/// becomes reward_std here.
tr_status controller_record_add_tally(controller_record_t *record, const json_t *tally,
                                      const char *prefix, tr_error_t *err);

/// Appends the record as one line of JSON, `step` first, to a file of controller_lines_open.
tr_status controller_metrics_append(controller_appender_t *file, const controller_record_t *record,
                                    tr_error_t *err);

#endif
