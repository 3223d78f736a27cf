/// The rows of a run as token sequences, made once at the start: the three stages of data in one.
///
///     files --reader.h--> columns --kinds.h--> texts and conversations --sequence.h--> tokens
///
/// Every row is checked before the first step, so that a bad one is named then and not in the
/// middle of a run. Rows know neither a recipe nor an algorithm: tr_rows_options_t says what is
/// wanted of them.
#ifndef TR_DATA_ROWS_H
#define TR_DATA_ROWS_H

#include "common/data/dataset.h"
#include "common/data/kinds.h"
#include "common/data/sequence.h"

/// {0} is empty; release frees it.
typedef struct tr_rows {
    tr_dataset_t *dataset; ///< NULL for rows that come from no file
    tr_sequence_t *sequences;
    size_t *starts; ///< [count + 1]: row i has sequences starts[i]..starts[i + 1] - 1
    size_t count;   ///< rows, as a batch counts them: sequences, pairs (chosen, rejected), or packs
    size_t limit;   ///< tokens of a sequence in a batch
    bool keep_end;  ///< a longer one loses its beginning, not its end
    bool margins;   ///< pairs have margins
    bool labelled;  ///< sequences have labels
    bool masked;    ///< sequences have masks
    unsigned kinds; ///< what the rows are: TR_ROWS_... bits
    bool steps;     ///< masks are TR_MASK_WRONG_STEP and _RIGHT_STEP
    const char *prompt_column;      ///< the options'
    tr_chat_format_t chat_template; ///< what conversations are written by

    float *reference;         ///< log-probs that were asked once (controller/reference.h), or NULL
    size_t *reference_starts; ///< where those of a sequence begin, or of a batch
} tr_rows_t;

/// Reads all rows of *dataset, which is taken, as rows of the kind. options, and the tokenizer
/// while it reads, are borrowed. TR_ERR_FORMAT, or TR_ERR_ARGUMENT for rows that nothing can be
/// learnt from, as "file:line: column: ..."; after a failure too, rows are released by the caller.
/// While rows are one sequence or one pair each, row i is row i of the data set.
tr_status tr_rows_init(tr_rows_t *rows, tr_dataset_t **dataset, tr_kind_t kind,
                       const tr_tokenizer_t *tokenizer, const tr_rows_options_t *options,
                       tr_error_t *err);
void tr_rows_release(tr_rows_t *rows);

/// The text of a prompt: the row's own, or a conversation as its template writes it.
const char *tr_rows_prompt(const tr_rows_t *rows, size_t row);

/// The conversation that a prompt is, with the response: [length] as its last message, without what
/// the template puts before an answer. A new reference; NULL where the prompt is a text.
json_t *tr_rows_conversation(const tr_rows_t *rows, size_t row, const char *response,
                             size_t length);

#endif
