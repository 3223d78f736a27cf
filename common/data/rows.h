/// Rows in memory as token sequences: those of a batch, a piece of a data set, or a step's
/// responses.
///
/// What reads them from files is corpus.h. Rows know neither a recipe nor an algorithm.
#ifndef TR_DATA_ROWS_H
#define TR_DATA_ROWS_H

#include "common/data/sequence.h"

typedef struct tr_corpus tr_corpus_t;

/// {0} is empty; release frees it.
typedef struct tr_rows {
    tr_sequence_t *sequences;
    size_t *starts; ///< [count + 1]: row i has sequences starts[i]..starts[i + 1] - 1
    size_t count;   ///< rows, as a batch counts them: sequences, pairs (chosen, rejected), or packs
    size_t limit;   ///< tokens of a sequence in a batch
    bool keep_end;  ///< a longer one loses its beginning, not its end
    bool margins;   ///< pairs have margins
    bool labelled;  ///< sequences have labels
    bool masked;    ///< sequences have masks
    bool steps;     ///< masks are TR_MASK_WRONG_STEP and _RIGHT_STEP

    json_t **columns;          ///< [count] of prompts: what the files say; NULL where rows are none
    const char *prompt_column; ///< of these
    const tr_chat_t *chat;     ///< what wrote the conversations; NULL: there is none. Borrowed

    const tr_corpus_t *corpus; ///< where they come from: its rows `numbers`; NULL: from no file
    uint32_t *numbers;         ///< [count]
} tr_rows_t;

void tr_rows_release(tr_rows_t *rows);

/// The text of a prompt: the row's own, or a conversation as its template writes it. Borrowed.
const char *tr_rows_prompt(const tr_rows_t *rows, size_t row);

/// The columns of a prompt's row but the prompt's own, as an object. A new reference.
json_t *tr_rows_others(const tr_rows_t *rows, size_t row);

/// The conversation that a prompt is, with the response: [length] as its last message, without what
/// the template puts before an answer. A new reference; NULL where the prompt is a text.
json_t *tr_rows_conversation(const tr_rows_t *rows, size_t row, const char *response,
                             size_t length);

#endif
