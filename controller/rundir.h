/// The directory of a run: where its files are, who may write there, and its checkpoints.
///
///     output/name/  lock  endpoint  recipe.yaml  metrics.jsonl  samples.jsonl
///                   events.out.tfevents.*  checkpoints/step-000040/  best  logs/  final/
///
/// Used by the controller and the `troupe` command. An open directory is locked (flock) until it is
/// destroyed or its process ends, so that two controllers never share a run; a process that starts
/// the controller must destroy its own first. A checkpoint is written under a name ending in
/// `.part`, synced, then renamed: a directory with the final name is complete. When a run is made,
/// recipe.yaml is written last: a directory without it is no run.
///
/// A controller that falls back to a checkpoint keeps its directory open, and opens metrics,
/// samples and events again with the checkpoint's step.
#ifndef CONTROLLER_RUNDIR_H
#define CONTROLLER_RUNDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/recipe/recipe.h"

typedef struct controller_rundir controller_rundir_t;

// Life cycle

/// Makes recipe->output/recipe->name with checkpoints/ and logs/, locks it, and writes recipe.yaml.
/// *rundir: owned by the caller; NULL on failure. TR_ERR_ARGUMENT when the directory holds a run
/// (the sentence names `troupe resume`) or anything else: it must be empty, or left by a process
/// that was killed while it made a run. TR_ERR_IO.
tr_status controller_rundir_create(controller_rundir_t **rundir, const tr_recipe_t *recipe,
                                   tr_error_t *err);

/// TR_ERR_ARGUMENT where controller_rundir_create would find a run or anything else in the
/// directory; nothing is made.
tr_status controller_rundir_check_vacant(const tr_recipe_t *recipe, tr_error_t *err);

/// Opens the run at path, locks it, and removes what a killed process left: unfinished checkpoints,
/// and its address. *rundir: owned by the caller; NULL on failure. TR_ERR_ARGUMENT when there is no
/// run or another process has it open; TR_ERR_IO.
tr_status controller_rundir_open(controller_rundir_t **rundir, const char *path, tr_error_t *err);

/// Unlocks. The files stay, except `endpoint` if this object wrote it.
void controller_rundir_destroy(controller_rundir_t **rundir);

// Paths

/// The path as it was given. Owned by the run directory.
const char *controller_rundir_path(const controller_rundir_t *rundir);

/// path/name, such as "metrics.jsonl" or "logs/actor.log". Owned by the caller (free).
char *controller_rundir_file(const controller_rundir_t *rundir, const char *name);

/// path/checkpoints/step-000040 for step 40. Owned by the caller (free).
char *controller_rundir_checkpoint(const controller_rundir_t *rundir, uint64_t step);

// The controller's address

/// Writes the address to the file `endpoint`, atomically, in place of an older one. TR_ERR_IO.
tr_status controller_rundir_write_endpoint(controller_rundir_t *rundir, const char *endpoint,
                                           tr_error_t *err);

// Checkpoints

/// Makes the empty directory checkpoints/step-000040.part. *path: owned by the caller (free); NULL
/// on failure. TR_ERR_IO.
tr_status controller_rundir_checkpoint_begin(char **path, const controller_rundir_t *rundir,
                                             uint64_t step, tr_error_t *err);

/// Writes the checksums of the `.part`, syncs all of it to the disk, then gives it its final name.
/// A checkpoint of the same step is replaced. TR_ERR_IO.
tr_status controller_rundir_checkpoint_commit(const controller_rundir_t *rundir, uint64_t step,
                                              tr_error_t *err);

/// The step of the last complete checkpoint; 0 when there is none: steps count from 1.
tr_status controller_rundir_checkpoint_latest(uint64_t *step, const controller_rundir_t *rundir,
                                              tr_error_t *err);

/// As controller_rundir_checkpoint_latest, of those whose bytes are the ones that were written: it
/// reads the newest one whole. One that is damaged is renamed to step-000040.damaged, for the one
/// before it to be the newest. *damage: a sentence that names the damaged file, owned by the caller
/// (free); NULL when there is none. TR_ERR_FORMAT when none is whole: all stay as they are then.
/// TR_ERR_IO.
tr_status controller_rundir_checkpoint_verify(uint64_t *step, char **damage,
                                              const controller_rundir_t *rundir, tr_error_t *err);

/// Removes all but the last `keep` complete checkpoints and that of step `best`, oldest first.
/// keep >= 1.
tr_status controller_rundir_checkpoint_prune(const controller_rundir_t *rundir, uint64_t keep,
                                             uint64_t best, tr_error_t *err);

/// Makes `best` a link to the checkpoint of that step, in place of an older one; 0: no link.
tr_status controller_rundir_link_best(const controller_rundir_t *rundir, uint64_t step,
                                      tr_error_t *err);

#endif
