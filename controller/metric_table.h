/// Every metric of metrics.jsonl in one table, from which docs/metrics.md and the terminal's line
/// follow.
///
/// A metric is set where it is computed (an actor's page, a controller's step) and has a row here.
/// A step whose record has a name without a row stops the program, so no metric goes undocumented.
#ifndef CONTROLLER_METRIC_TABLE_H
#define CONTROLLER_METRIC_TABLE_H

#include <stdbool.h>

#include "controller/metrics.h"

/// Which of two values tells of better weights.
typedef enum controller_better {
    CONTROLLER_BETTER_NEITHER, ///< it cannot be told
    CONTROLLER_BETTER_GREATER,
    CONTROLLER_BETTER_LESS
} controller_better_t;

typedef struct controller_metric_row {
    const char *name;    ///< '*' stands for a part between slashes, at the end for any rest
    const char *unit;    ///< "nats", "tokens", ...
    const char *over;    ///< what it is a mean of, or else how a step's value comes about
    const char *meaning; ///< one line
    const char *label;   ///< on the terminal, in the order of the table; NULL: not shown
    bool percent;        ///< shown as a percentage
    controller_better_t better;
} controller_metric_row_t;

/// [controller_metric_count]
extern const controller_metric_row_t controller_metric_rows[];
extern const size_t controller_metric_count;

/// The row of a metric, whose name may begin with `eval_`. NULL: there is none.
const controller_metric_row_t *controller_metric_row(const char *name);

#endif
