/// The rows of a row group, one after the other: columns put together from their leaves by levels
/// (Melnik et al. 2010, Dremel, section 4.3).
///
/// A column that cannot be read, because it is damaged or of a kind that is not known here, is null
/// from that row on and has a flaw (value.h): others are read all the same.
#ifndef TR_DATA_PARQUET_ROWS_H
#define TR_DATA_PARQUET_ROWS_H

#include <jansson.h>

#include "common/data/parquet/schema.h"

typedef struct parquet_rows parquet_rows_t;

/// All is borrowed. Memory: a page and a dictionary of each column, 2 GiB in all at most.
parquet_rows_t *parquet_rows_new(const parquet_schema_t *schema, const parquet_group_t *group,
                                 int descriptor);
void parquet_rows_destroy(parquet_rows_t **rows);

/// The next row; at most as many as the group has. *row: the caller's; NULL on failure. TR_ERR_IO,
/// and TR_ERR_FORMAT where no column can be read any more.
tr_status parquet_rows_next(json_t **row, parquet_rows_t *rows, tr_error_t *err);

#endif
