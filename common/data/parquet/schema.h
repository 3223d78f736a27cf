/// The footer of a Parquet file: its columns as a tree, and where their parts lie.
///
/// Leaves are the columns that the file has; a column of rows may be made of several, as structs
/// and lists are. (github.com/apache/parquet-format: README.md, LogicalTypes.md, parquet.thrift)
#ifndef TR_DATA_PARQUET_SCHEMA_H
#define TR_DATA_PARQUET_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

/// parquet.thrift's `Type`.
typedef enum parquet_type {
    PARQUET_BOOLEAN,
    PARQUET_INT32,
    PARQUET_INT64,
    PARQUET_INT96,
    PARQUET_FLOAT,
    PARQUET_DOUBLE,
    PARQUET_BYTE_ARRAY,
    PARQUET_FIXED,
    PARQUET_NO_TYPE
} parquet_type_t;

/// What the values of a leaf mean.
typedef enum parquet_meaning {
    PARQUET_PLAIN, ///< what the type says; byte arrays are texts
    PARQUET_UNSIGNED,
    PARQUET_DECIMAL,
    PARQUET_DATE,
    PARQUET_TIMESTAMP,
    PARQUET_HALF
} parquet_meaning_t;

/// What a node's value is.
typedef enum parquet_kind {
    PARQUET_LEAF,
    PARQUET_STRUCT,
    PARQUET_WRAPPER, ///< that of its only child
    PARQUET_MAP      ///< of its only child: a list of structs of a key and a value
} parquet_kind_t;

typedef enum parquet_repetition {
    PARQUET_REQUIRED,
    PARQUET_OPTIONAL,
    PARQUET_REPEATED
} parquet_repetition_t;

typedef struct parquet_node {
    char *name;
    parquet_kind_t kind;
    parquet_repetition_t repetition;
    unsigned definition;        ///< level from which on it is there (REPEATED: is not empty)
    unsigned level;             ///< repetition level of its elements
    struct parquet_node *child; ///< [children]
    size_t children;            ///< a leaf has none, all others at least one
    size_t first_leaf, leaves;  ///< those below it, or its own

    parquet_type_t type;
    size_t size; ///< bytes of a value; 0: each has its own
    parquet_meaning_t meaning;
    int scale;    ///< of decimals: digits behind the point
    int64_t unit; ///< of timestamps: so many in a second
} parquet_node_t;

/// A leaf's part in a row group.
typedef struct parquet_chunk {
    uint64_t offset, length; ///< of its pages, within the file
    int64_t values;          ///< nulls too, and one for an empty list
    int codec;
} parquet_chunk_t;

typedef struct parquet_group {
    uint64_t rows;
    uint64_t first_row;
    parquet_chunk_t *chunks; ///< [leaves]
} parquet_group_t;

typedef struct parquet_schema {
    parquet_node_t root; ///< a struct: the columns of a row
    parquet_group_t *groups;
    size_t count;
    uint64_t rows;
} parquet_schema_t;

/// Of a file of `size` bytes. {0} is empty; release frees it, after a failure too. TR_ERR_IO,
/// TR_ERR_FORMAT, TR_ERR_UNSUPPORTED for a file that is encrypted or in parts.
tr_status parquet_schema_read(parquet_schema_t *schema, int descriptor, uint64_t size,
                              tr_error_t *err);
void parquet_schema_release(parquet_schema_t *schema);

#endif
