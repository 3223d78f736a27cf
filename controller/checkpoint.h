/// A run's checkpoints: written after a step, and the way back to the last one.
#ifndef CONTROLLER_CHECKPOINT_H
#define CONTROLLER_CHECKPOINT_H

#include "controller/context.h"

/// Sets the config of every worker that registers from now on: to begin from the checkpoint of
/// `step`, or from the recipe's models for 0.
void controller_checkpoint_announce(controller_run_t *run, uint64_t step);

/// Writes the checkpoint of `step`, which is finished, all or nothing. Removes older ones beyond
/// checkpoint.keep.
tr_status controller_checkpoint_save(controller_run_t *run, uint64_t step, tr_error_t *err);

/// Goes to the last checkpoint, or to the beginning: sets run->step and cuts the run's outputs.
/// restore: the learners are running, and are rolled back too.
tr_status controller_checkpoint_return(controller_run_t *run, bool restore, tr_error_t *err);

/// Whether the checkpoint of `step` was made with these rows: TR_ERR_ARGUMENT if not. checksum:
/// controller_data_checksum. TR_ERR_IO, TR_ERR_FORMAT.
tr_status controller_checkpoint_check_rows(const controller_rundir_t *rundir, uint64_t step,
                                           const tr_recipe_t *recipe, uint64_t checksum,
                                           tr_error_t *err);

/// Writes final/: the model, without an optimizer.
tr_status controller_checkpoint_save_final(controller_run_t *run, tr_error_t *err);

/// Closes metrics, samples and events.
void controller_checkpoint_close_outputs(controller_run_t *run);

#endif
