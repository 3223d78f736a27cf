/// A run from its first step to its last.
///
/// A run is a function of recipe, data and seed. When a learner fails (its process dies, its
/// weights are lost), the run goes back to the last checkpoint and continues with the same bytes as
/// if nothing had happened.
#ifndef CONTROLLER_RUN_H
#define CONTROLLER_RUN_H

#include "controller/context.h"

/// Runs the recipe of a run directory to its end: from its last checkpoint when resume, else from
/// the beginning. stop: counted by a signal handler; above 0 the run ends after its step with a
/// checkpoint, above 1 without either. TR_ERR_INTERRUPTED then.
tr_status controller_run(const char *directory, bool resume, const volatile sig_atomic_t *stop,
                         tr_error_t *err);

#endif
