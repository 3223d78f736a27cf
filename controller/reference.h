/// Log-probs of the frozen reference: requested from the worker that holds it, for each batch, or
/// (precompute_ref_log_probs) once before the first step. Then they are kept in the run directory,
/// and the reference's memory is free while the policy trains.
#ifndef CONTROLLER_REFERENCE_H
#define CONTROLLER_REFERENCE_H

#include "controller/batch.h"
#include "controller/context.h"

/// logprobs: [batch->trained], written: those of the batch's response tokens.
tr_status controller_reference_ask(float *logprobs, controller_run_t *run,
                                   const controller_batch_t *batch, tr_error_t *err);

/// Fills rows->reference with the log-probs of every sequence. KTO's mismatched completions differ
/// in every epoch, so there it is filled for every batch to come (a step of run->rows, data.batch
/// rows of run->eval_rows). Reads the file reference-NAME.safetensors of the run directory if it
/// was made of these tokens by this reference; else requests them and writes the file. A file that
/// cannot be read is made again, with a warning.
tr_status controller_reference_precompute(controller_run_t *run, tr_rows_t *rows, const char *name,
                                          tr_error_t *err);

/// Copies precomputed log-probs: those of the sequences of chosen rows: [count], in order.
void controller_reference_recall(float *logprobs, const tr_rows_t *rows, const uint32_t *chosen,
                                 size_t count);

/// The same for batch `index` (from 0), where whole batches were precomputed. logprobs: [n], all
/// response tokens of the batch.
void controller_reference_recall_batch(float *logprobs, const tr_rows_t *rows, size_t index,
                                       size_t n);

/// After step `step`, when it is due and the recipe has the reference follow the policy
/// (sync_ref_model): mixes the policy into it.
tr_status controller_reference_sync(controller_run_t *run, uint64_t step, tr_error_t *err);

/// Has the worker release the reference model; the next request opens it again.
tr_status controller_reference_forget(controller_run_t *run, tr_error_t *err);

#endif
