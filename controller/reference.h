/// Log-probs of the frozen reference: requested from the worker that holds it, for each batch, or
/// (precompute_ref_log_probs) once before the first step. Then they are kept in the run directory,
/// and the reference's memory is free while the policy trains.
#ifndef CONTROLLER_REFERENCE_H
#define CONTROLLER_REFERENCE_H

#include "controller/batch.h"
#include "controller/context.h"

/// A call to the process that holds the reference.
controller_call_t controller_reference_call(const controller_run_t *run, const char *method);

/// logprobs: [batch->trained], written: those of the batch's response tokens; precomputed ones
/// where its rows have them. index: of the batch, from 0: the step that it is for, or the place in
/// the held-out rows.
tr_status controller_reference_logprobs(float *logprobs, controller_run_t *run,
                                        const controller_batch_t *batch, size_t index,
                                        tr_error_t *err);

/// Fills rows->reference with the log-probs of every row. KTO's mismatched completions differ in
/// every epoch, so there it is filled for every batch to come (a step of the training rows, a batch
/// of the held-out ones). Reads the file reference-NAME.safetensors of the run directory if it was
/// made of these tokens by this reference; else requests them and writes the file. A file that
/// cannot be read is made again, with a warning.
tr_status controller_reference_precompute(controller_run_t *run, tr_corpus_t *rows,
                                          const char *name, tr_error_t *err);

/// After step `step`, when it is due and the recipe has the reference follow the policy
/// (sync_ref_model): mixes the policy into it.
tr_status controller_reference_sync(controller_run_t *run, uint64_t step, tr_error_t *err);

/// Has the worker release the reference model; the next request opens it again.
tr_status controller_reference_forget(controller_run_t *run, tr_error_t *err);

#endif
