/// The rows of a step, cut to the limit and laid out as one ragged batch for a message.
#ifndef CONTROLLER_BATCH_H
#define CONTROLLER_BATCH_H

#include "common/data/rows.h"
#include "proto/sequences.h"

typedef struct controller_batch {
    const tr_rows_t *rows;    ///< what it was made of, borrowed
    tr_sequences_t sequences; ///< points into ids
    size_t matched;           ///< sequences to train on; the mismatched ones follow them
    int32_t *ids;
    float *mask;    ///< [trained] not 0 where a token counts (tr_sequence_t); NULL: all do
    size_t tokens;  ///< of all sequences, prompts too
    size_t trained; ///< tokens to train on: those of the responses
    size_t longest; ///< tokens of the longest sequence
} controller_batch_t;

/// The sequences of the rows, in order, each cut to the rows' limit (where that takes the whole
/// prompt, the first token that is left counts as the prompt). mismatched: then, for each row, its
/// prompt with the response of the row before it (the first gets the last one's): KTO estimates the
/// KL divergence from these. Rows then have one sequence.
void controller_batch_init(controller_batch_t *batch, const tr_rows_t *rows, bool mismatched);
void controller_batch_release(controller_batch_t *batch);

/// Tokens of a sequence that are trained on after it is cut to the limit.
size_t controller_batch_trained(const tr_rows_t *rows, const tr_sequence_t *sequence);

#endif
