/// What a run tells people while it waits: on the terminal, in `troupe status`, and, of a request
/// that fails for good, in the run directory.
#ifndef CONTROLLER_TROUBLES_H
#define CONTROLLER_TROUBLES_H

#include "controller/context.h"

/// Watches the run's calls from now on. A failure stands on the terminal, with the log of the
/// worker, and as `failure` in the status; whoever is waited for longer than five seconds, as
/// `waits_for`. After a failure that ends the run the terminal shows the end of the worker's log,
/// and logs/failed-request.json holds the body of the request. The supervisor is told of workers
/// that give no sign of life.
void controller_troubles_watch(controller_run_t *run);

#endif
