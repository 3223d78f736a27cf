/// What `troupe data` prints of a data set: its columns, and what its rows become.
#ifndef DEPLOY_DATA_REPORT_H
#define DEPLOY_DATA_REPORT_H

#include "common/data/corpus.h"

/// Prints a line for each column of the files, as they are: rows that have it, nulls, types, and
/// the characters of its texts. Rows that cannot be read are printed by their sentence, to a bound.
/// TR_ERR_IO.
tr_status data_report_columns(const tr_dataset_t *dataset, tr_error_t *err);

/// Prints the tokens of the first `shown` rows as text, a histogram of all lengths, and the rows
/// that are bad, to a bound. corpus: open. TR_ERR_IO.
tr_status data_report_tokens(tr_corpus_t *corpus, size_t shown, tr_error_t *err);

#endif
