/// A run from its first step to its last.
///
/// A run is a function of recipe, data and seed. When a learner fails (its process dies, its
/// weights are lost), the run goes back to the last checkpoint and continues with the same bytes as
/// if nothing had happened.
#ifndef CONTROLLER_RUN_H
#define CONTROLLER_RUN_H

#include "controller/context.h"

/// Runs the recipe of a run directory to its end: from its last checkpoint when resume, else from
/// the beginning. stop: set by a signal handler. TR_ERR_INTERRUPTED after a stop; the last
/// checkpoint then stands.
tr_status controller_run(const char *directory, bool resume, const volatile sig_atomic_t *stop,
                         tr_error_t *err);

#endif
