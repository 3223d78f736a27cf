/// A leaf's value as JSON has it.
#ifndef TR_DATA_PARQUET_CELL_H
#define TR_DATA_PARQUET_CELL_H

#include <jansson.h>

#include "common/data/parquet/values.h"

/// Numbers and truth values as such, byte arrays as texts, decimals as the nearest number, dates
/// and times in ISO 8601 (as Python's isoformat). A new reference. *flaw: as in value.h.
json_t *parquet_cell(const parquet_value_t *value, const parquet_node_t *leaf, const char **flaw);

#endif
