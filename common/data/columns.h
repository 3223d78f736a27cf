/// Between stages 1 and 2 of data: the columns of a file become ours, which kinds.h reads.
///
/// Their names are TRL's. The recipe says which columns of a file are ours (data.columns); what
/// other programs call theirs is recognised (forms.h).
#ifndef TR_DATA_COLUMNS_H
#define TR_DATA_COLUMNS_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"

typedef struct tr_form tr_form_t;
typedef struct tr_rows_options tr_rows_options_t;

/// What is said of a file's columns beside its first row. {0}: nothing.
typedef struct tr_columns_given {
    /// An object of our columns (or those of a form), each with the file's column, a dotted path
    /// into one, or null for a column that nothing shall read.
    json_t *names;
    json_t *tags;     ///< what roles are called in conversations (turns.h)
    const char *form; ///< LLaMA-Factory's, named by a dataset_info.json; NULL: it is recognised
    bool pairs;       ///< of such a file: its rows are pairs
} tr_columns_given_t;

/// How the rows of one file become ours. {0} changes nothing; release frees it.
typedef struct tr_columns {
    tr_columns_given_t given; ///< its objects are owned
    const tr_form_t *form;    ///< NULL: they have our columns
    json_t *shown;            ///< ours -> how sentences call it. Owned
} tr_columns_t;

/// Finds it by a file's first row. options: which kinds of rows are taken. TR_ERR_ARGUMENT for
/// names that the row does not have, and for rows that may be read in two ways: the sentence says
/// what to write.
tr_status tr_columns_find(tr_columns_t *columns, const json_t *first,
                          const tr_columns_given_t *given, const tr_rows_options_t *options,
                          tr_error_t *err);
void tr_columns_release(tr_columns_t *columns);

/// Makes our columns in a row of the file. What is wrong with a column spoils ours that are made of
/// it, and no other.
void tr_columns_apply(json_t *row, const tr_columns_t *columns);

/// Whether a column's value is what the file says, and could be made. TR_ERR_FORMAT, "column: what
/// is wrong".
tr_status tr_column_check(const json_t *row, const char *column, tr_error_t *err);

/// Makes a column one that tr_column_check refuses, by the sentence of `bad`.
void tr_column_spoil(json_t *row, const char *column, const tr_error_t *bad);

/// What the form is called: "alpaca". "TRL": none was needed.
const char *tr_columns_form(const tr_columns_t *columns);

/// How a sentence about a row calls one of our columns: "output (completion)", or the name itself.
const char *tr_column_shown(const json_t *row, const char *column);

/// The columns of a row, for sentences. Owned by the caller (free).
char *tr_columns_list(const json_t *row);

/// Removes from a copy of a row what is not a column.
void tr_columns_strip(json_t *row);

#endif
