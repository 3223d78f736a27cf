/// Stage 2 of data: which columns make a row, and how they are read.
///
/// One table (kinds.c) has a row for each kind: its columns, how many sequences it has, and the
/// function that reads it. A new kind is a row of the table and a function. The names follow TRL's
/// types of data sets.
#ifndef TR_DATA_KINDS_H
#define TR_DATA_KINDS_H

#include "common/data/dataset.h"
#include "common/data/sequence.h"

/// In the order in which they are looked for: the first that the caller takes and whose own column
/// the first row has. A column in brackets may be absent. Beside a response, `finish` ("eos",
/// "stop" or "length"; of pairs finish_chosen, finish_rejected) may say how it ended: one that was
/// cut ("length") gets no end token. Beside conversations, `tools` (a list of functions' JSON
/// Schemas) and `chat_template_kwargs` (an object) go to the chat template; each may be a text of
/// JSON.
typedef enum tr_kind {
    TR_KIND_STEPWISE, ///< prompt, completions (a list of steps), labels (a truth value each)
    /// Preference: [prompt], chosen, rejected. Both sides are completions of one prompt, which is,
    /// where it has no column, what both begin with; so it is where the column has the text of a
    /// message with which both conversations begin.
    TR_KIND_PAIRS,
    TR_KIND_WHOLE_PAIRS, ///< the same and [margin]; each side is one text after the prompt, if any
    TR_KIND_UNPAIRED,    ///< columns as TR_KIND_PAIRS; each side becomes a row of its own
    TR_KIND_LABELLED,    ///< unpaired preference: prompt, completion, label (a truth value)
    TR_KIND_PROMPT_COMPLETION, ///< prompt, completion
    TR_KIND_MESSAGES,          ///< messages: a conversation
    TR_KIND_TEXT,              ///< text
    TR_KIND_PROMPTS,           ///< prompt, to be answered; every other column travels with the row
    TR_KIND_COUNT
} tr_kind_t;

/// A kind as a bit of a set, and two bits beside the kinds: what rows may have whatever their kind.
#define TR_ROWS_OF(kind) (1u << TR_KIND_##kind)
enum {
    TR_ROWS_PROMPT = 1u << TR_KIND_COUNT,             ///< the prompt's column
    TR_ROWS_CONVERSATIONS = 1u << (TR_KIND_COUNT + 1) ///< conversations, beside texts or alone
};

/// How rows are read: what the caller wants of them, without a recipe or an algorithm.
/// Plain values, filled by the caller; texts are borrowed, as long as there are rows.
typedef struct tr_rows_options {
    unsigned kinds;        ///< which kinds of rows are taken: 1u << tr_kind_t each, at least one
    size_t limit;          ///< tokens of a sequence, at least 1
    const char *limit_key; ///< what set the limit, for sentences: a key of the recipe
    bool keep_end;         ///< a longer sequence loses its beginning, not its end
    bool packing;          ///< a row is a pack of sequences of at most `limit` tokens (pack.h)
    bool drop;             ///< bad rows are left out for good
    size_t room; ///< a prompt that is longer leaves too little of the model to what answers it

    /// JSON of an object: our columns, each with the file's, or null (columns.h); NULL: none.
    const char *columns;
    const char *prompt_column; ///< the name of the column `prompt`
    const char *text_column;   ///< the name of the column `text`

    /// Of a prompt with its completion the completion alone is learnt; else all but the first
    /// token.
    bool completion_only;
    /// The key that wants what assistants say learnt and nothing else; NULL: all is learnt. Texts
    /// are then bad rows.
    const char *assistant_only;
    const char *step_separator; ///< ends each step of a response in steps

    const char *chat_template;        ///< a name or a file; NULL: the model's own
    const char *chat_template_kwargs; ///< a JSON object: more variables of it; NULL: none
    const char *model;                ///< the model's directory
} tr_rows_options_t;

/// The kind of the data set's rows, of those that the options take. Where the first row has no
/// kind's own column, it is the last of them, so that tr_kind_read names the column that is
/// missing.
tr_kind_t tr_kind_of(const tr_dataset_t *dataset, const tr_rows_options_t *options);

/// The name of a column that the kind needs and the first row lacks, that which tells the kind
/// before others; NULL: it has all.
const char *tr_kind_missing(tr_kind_t kind, const tr_dataset_t *dataset,
                            const tr_rows_options_t *options);

/// The kind in words: "pairs".
const char *tr_kind_name(tr_kind_t kind);

/// Sequences of a row: 2 for pairs, whose first one is the chosen side.
size_t tr_kind_sequences(tr_kind_t kind);

/// Whether rows of the kind have a prompt in a column of its own.
bool tr_kind_has_prompt(tr_kind_t kind, const tr_dataset_t *dataset,
                        const tr_rows_options_t *options);

/// Whether rows of the kind bring margins.
bool tr_kind_has_margins(tr_kind_t kind, const tr_dataset_t *dataset);

/// Gives the encoder what a row has for the chat template beside the conversation: the columns
/// `tools` and `chat_template_kwargs`. A failure is a bad row, as below.
tr_status tr_row_extras(tr_encoder_t *encoder, const json_t *columns, tr_error_t *err);

/// Reads one row, whose columns are of the data set. sequences: [tr_kind_sequences], empty ones,
/// written; after a failure too they are released by the caller. A failure is a bad row, "column:
/// what is wrong"; the place is not named. A column that the first row has, of those that may be
/// absent, is demanded of all.
tr_status tr_kind_read(tr_sequence_t *sequences, tr_encoder_t *encoder, tr_kind_t kind,
                       const tr_dataset_t *dataset, const json_t *columns,
                       const tr_rows_options_t *options, tr_error_t *err);

#endif
