/// Cells of formats that are not JSON, as JSON has them: the values of a row's columns.
///
/// What JSON or this program has no value for becomes something near it, as in rows of JSON
/// (common/text/json.h), and is a flaw of the column: a row is bad if that column is read.
#ifndef TR_DATA_VALUE_H
#define TR_DATA_VALUE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/// Each is a new reference. *flaw: what the cell held that is no value here; else not written.

/// Bytes that are no UTF-8, and NUL characters, become U+FFFD.
json_t *tr_value_text(const char *text, size_t length, const char **flaw);
/// NaN is null; what is past all reals becomes +-1e308.
json_t *tr_value_real(double real, const char **flaw);
/// Above 2^63 - 1: a real.
json_t *tr_value_unsigned(uint64_t natural, const char **flaw);

/// Gives a row a column. value: taken. flaw: NULL: it has none.
void tr_value_put(json_t *row, const char *column, json_t *value, const char *flaw);

#endif
