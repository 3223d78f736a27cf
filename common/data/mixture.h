/// An epoch of files that have weights.
///
/// Weights are the files' shares of an epoch, as the probabilities of
/// `datasets.interleave_datasets` with `all_exhausted`, LLaMA-Factory's `interleave_probs` and
/// OpenRLHF's `dataset_probs` are on average; here the shares are exact and nothing is drawn. Every
/// row is taken at least once, and of the file with the most rows for its weight exactly once;
/// others begin anew where they end.
#ifndef TR_DATA_MIXTURE_H
#define TR_DATA_MIXTURE_H

#include <stddef.h>
#include <stdint.h>

/// How often rows of each file are taken in an epoch. takes: [files], written. counts, weights:
/// [files]; weights above 0. Returns the sum, SIZE_MAX where it is more than 2^32 - 1.
size_t tr_mixture_takes(size_t *takes, const size_t *counts, const double *weights, size_t files);

/// The epoch: rows of the files in even distances, each file's in its order. rows: [the sum of
/// takes], written: numbers among the rows of all files, one file after the other.
void tr_mixture(uint32_t *rows, const size_t *takes, const size_t *counts, size_t files);

#endif
