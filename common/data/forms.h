/// Rows as other training programs take them.
///
/// One table (forms.c) has a row for each form: the columns that it is known by, and the function
/// that makes our columns of them, beside what the row has. A new form is a row of the table and a
/// function.
#ifndef TR_DATA_FORMS_H
#define TR_DATA_FORMS_H

#include <jansson.h>

#include "common/base/status.h"

typedef struct tr_rows_options tr_rows_options_t;

typedef struct tr_form {
    const char *name;
    unsigned kinds; ///< of rows that are made (kinds.h): it is for algorithms that take one of them
    const char *has[2];      ///< columns that tell it
    const char *lacks[3];    ///< columns that are ours, or another form's, and go before
    const char *shown[4][2]; ///< ours, and theirs in sentences
    /// Adds our columns to a row that has those of `has`, spoilt where they cannot be made.
    void (*read)(json_t *row);
} tr_form_t;

#define TR_FORM_ALPACA "alpaca"
#define TR_FORM_SHAREGPT "ShareGPT's conversations"

/// The form of that name; NULL: there is none.
const tr_form_t *tr_form_named(const char *name);

/// The one form that a row has; *form: NULL where it is none of the table. TR_ERR_ARGUMENT where
/// there are two.
tr_status tr_form_find(const tr_form_t **form, const json_t *row, const tr_rows_options_t *options,
                       tr_error_t *err);

#endif
