/// Log-probs of the frozen reference: asked of the worker that holds it, for each batch or
/// (precompute_ref_log_probs) once before the first step, and then kept in the run directory, so
/// that the reference's memory is free while the policy learns.
#ifndef CONTROLLER_REFERENCE_H
#define CONTROLLER_REFERENCE_H

#include "controller/batch.h"
#include "controller/context.h"

/// logprobs: [batch->learnt], written: the answer for the batch's sequences.
tr_status controller_reference_ask(float *logprobs, controller_run_t *run,
                                   const controller_batch_t *batch, tr_error_t *err);

/// Fills rows->reference: log-probs of every item, or, for KTO, whose mismatched completions are
/// other ones in every epoch, of every batch that is to come (a step of run->rows, a piece of
/// data.batch rows of run->eval_rows). From the file reference-NAME.safetensors of the run
/// directory if it is of these very tokens and this reference, else by asking, and writes the file.
/// A file that cannot be read is asked anew, with a warning.
tr_status controller_reference_precompute(controller_run_t *run, tr_rows_t *rows, const char *name,
                                          tr_error_t *err);

/// logprobs, written from what was asked once: of the items of chosen rows: [count], in order.
void controller_reference_recall(float *logprobs, const tr_rows_t *rows, const uint32_t *chosen,
                                 size_t count);

/// The same of batch `index` (from 0), where whole batches were asked. logprobs: [n], all that the
/// batch learns.
void controller_reference_recall_batch(float *logprobs, const tr_rows_t *rows, size_t index,
                                       size_t n);

/// After step `step`, where the recipe has the reference follow the policy and it is due: mixes the
/// policy into it.
tr_status controller_reference_sync(controller_run_t *run, uint64_t step, tr_error_t *err);

/// Has the worker let go of the reference model; it opens it again when it is asked again.
tr_status controller_reference_forget(controller_run_t *run, tr_error_t *err);

#endif
