/// The rows of a run's files: found when a run starts, read and tokenized a batch at a time.
///
///     files --reader.h--> columns --kinds.h--> texts and conversations --sequence.h--> tokens
///
/// Memory is 24 bytes a row, and the first batch is there as soon as the rows are found, however
/// large the files are. Every row is read once besides (survey.h), so that a bad one is named soon,
/// and not where a run meets it after hours.
#ifndef TR_DATA_CORPUS_H
#define TR_DATA_CORPUS_H

#include "common/data/dataset.h"
#include "common/data/kinds.h"
#include "common/data/rows.h"
#include "common/data/survey.h"

/// {0} is empty; release frees it. It may not move in memory while a survey runs.
struct tr_corpus {
    tr_dataset_t *dataset; ///< NULL: empty
    tr_kind_t kind;
    tr_rows_options_t options;
    tr_encoder_t encoder; ///< of tr_corpus_read
    size_t count;         ///< rows, as a batch counts them
    bool masked;          ///< sequences have masks
    bool labelled;        ///< sequences have labels
    unsigned kinds;       ///< what the rows are: TR_ROWS_... bits; conversations: once surveyed
    tr_survey_t *survey;  ///< NULL: not begun
    bool settled;         ///< what it found was taken
    uint32_t *mixture;    ///< [mixed] rows of an epoch of files with weights; NULL: each once
    size_t mixed;
    uint32_t *packed; ///< [entries] as many rows, pack after pack; NULL: a pack is a row
    size_t *packs;    ///< [count + 1] where each pack begins

    float *reference;         ///< log-probs that were asked once (controller/reference.h), or NULL
    size_t *reference_starts; ///< where those of a row begin, or of a batch
};

/// Finds the rows of files: [count] (dataset.h). The tokenizer and the options' texts are borrowed.
/// After a failure too it is released by the caller. Errors as tr_dataset_new, and those of
/// tr_dataset_recognise and tr_dataset_mix.
tr_status tr_corpus_open(tr_corpus_t *corpus, const char *const *files, size_t count,
                         const tr_tokenizer_t *tokenizer, const tr_rows_options_t *options,
                         tr_error_t *err);
void tr_corpus_release(tr_corpus_t *corpus);

/// Begins to read every row. All is known on return where `wait` says so, where the files are small
/// (TR_CORPUS_AT_ONCE bytes), and where training needs it: bad rows are to be dropped, or rows to
/// be packed. Else a thread reads on: see tr_corpus_settle. Errors as that.
enum { TR_CORPUS_AT_ONCE = 8 << 20 };
tr_status tr_corpus_survey(tr_corpus_t *corpus, bool wait, tr_error_t *err);

/// Whether the survey has ended; an empty corpus has none to wait for.
bool tr_corpus_surveyed(const tr_corpus_t *corpus);

/// Waits for the survey and takes what it found, once. TR_ERR_FORMAT, or TR_ERR_ARGUMENT for rows
/// that nothing can be learnt from, as "file:line: column: ..." with the number of the others;
/// where bad rows are dropped, an error if none is left.
tr_status tr_corpus_settle(tr_corpus_t *corpus, tr_error_t *err);

/// Sequences with the label, of a corpus of these that is settled.
size_t tr_corpus_desirable(const tr_corpus_t *corpus);

/// Reads rows numbers: [count], each < corpus->count. The caller releases rows, after a failure
/// too. Errors as tr_corpus_settle.
tr_status tr_corpus_read(tr_rows_t *rows, tr_corpus_t *corpus, const uint32_t *numbers,
                         size_t count, tr_error_t *err);

#endif
