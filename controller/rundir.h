/// The directory of a run: where its files lie, who may write there, and its checkpoints.
///
///     output/name/  lock  recipe.yaml  metrics.jsonl  samples.jsonl  events.out.tfevents.*
///                   checkpoints/step-000040/  logs/  final/
///
/// Used by the controller and the `troupe` command. A directory that is open is locked until it is
/// destroyed, so that two controllers never share a run; a process that starts the controller must
/// destroy its own first. A checkpoint is written under a name ending in `.part`, synced, then
/// renamed: what bears the final name is whole.
#ifndef CONTROLLER_RUNDIR_H
#define CONTROLLER_RUNDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/recipe.h"
#include "common/base/status.h"

typedef struct controller_rundir controller_rundir_t;

// Life cycle

/// Makes recipe->output/recipe->name with checkpoints/ and logs/, locks it, and writes recipe.yaml.
/// *rundir: owned by the caller; NULL on failure. TR_ERR_ARGUMENT when a run is there already, in a
/// sentence that names `troupe resume` (an empty directory is taken); TR_ERR_IO.
tr_status controller_rundir_create(controller_rundir_t **rundir, const tr_recipe_t *recipe,
                                   tr_error_t *err);

/// Opens the run at path, locks it, and clears away checkpoints that were never finished.
/// TR_ERR_ARGUMENT when there is no run or another process has it open.
tr_status controller_rundir_open(controller_rundir_t **rundir, const char *path, tr_error_t *err);

/// Unlocks; the files stay.
void controller_rundir_destroy(controller_rundir_t **rundir);

// Paths

/// The directory, as given; the run directory's.
const char *controller_rundir_path(const controller_rundir_t *rundir);

/// path/name, such as "metrics.jsonl" or "logs/actor.log". Owned by the caller (free).
char *controller_rundir_file(const controller_rundir_t *rundir, const char *name);

/// checkpoints/step-000040 for step 40. Owned by the caller (free).
char *controller_rundir_checkpoint(const controller_rundir_t *rundir, uint64_t step);

// Checkpoints

/// Makes the empty directory checkpoints/step-000040.part. *path: owned by the caller (free); NULL on
/// failure.
tr_status controller_rundir_checkpoint_begin(char **path, const controller_rundir_t *rundir,
                                             uint64_t step, tr_error_t *err);

/// Syncs every file and directory of the `.part` to the disk, then gives it its final name. A
/// checkpoint of the same step is replaced.
tr_status controller_rundir_checkpoint_commit(const controller_rundir_t *rundir, uint64_t step,
                                              tr_error_t *err);

/// The step of the last whole checkpoint. *found: false when there is none; *step is then 0.
tr_status controller_rundir_checkpoint_latest(uint64_t *step, bool *found,
                                              const controller_rundir_t *rundir, tr_error_t *err);

/// Removes all but the last `keep` whole checkpoints, oldest first. keep >= 1.
tr_status controller_rundir_checkpoint_prune(const controller_rundir_t *rundir, uint64_t keep,
                                             tr_error_t *err);

#endif
