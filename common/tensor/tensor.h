/// Device-neutral tensor handles.
///
/// A tensor is metadata: a shape over bytes in a buffer that a backend owns. Nothing outside a
/// backend dereferences a buffer; data goes in and out by the operator table's write and read
/// (backend.h). Tensors are plain values, copied freely; they own nothing. Rows are contiguous, the
/// last index runs fastest.
#ifndef TR_TENSOR_TENSOR_H
#define TR_TENSOR_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef enum tr_dtype {
    TR_F32 = 0,
    TR_I32 = 1,
    TR_BF16 = 2,
    TR_F16 = 3,
    TR_F64 = 4,
    TR_I64 = 5,
    TR_U8 = 6,
    TR_F8 = 7 ///< E4M3, in files alone
} tr_dtype_t;

typedef struct tr_buffer tr_buffer_t; ///< memory of a backend; opaque

typedef struct tr_tensor {
    tr_buffer_t *buffer;
    size_t offset; ///< bytes from the buffer's start, a multiple of 64 for tensors made by an arena
    tr_dtype_t dtype;
    size_t rows; ///< 1 for a vector
    size_t columns;
} tr_tensor_t;

/// Bytes of one element.
size_t tr_dtype_size(tr_dtype_t dtype);

/// "f32", "i32", "bf16", ...
const char *tr_dtype_name(tr_dtype_t dtype);

static inline size_t tr_tensor_count(tr_tensor_t t)
{
    return t.rows * t.columns;
}

static inline size_t tr_tensor_bytes(tr_tensor_t t)
{
    return tr_tensor_count(t) * tr_dtype_size(t.dtype);
}

/// Rows first..first+rows-1 of t.
tr_tensor_t tr_tensor_rows(tr_tensor_t t, size_t first, size_t rows);

/// The matrix [rows, columns] that begins at element `first` of a flat vector.
static inline tr_tensor_t tr_tensor_slice(tr_tensor_t flat, size_t first, size_t rows,
                                          size_t columns)
{
    return (tr_tensor_t){flat.buffer, flat.offset + first * tr_dtype_size(flat.dtype), flat.dtype,
                         rows, columns};
}

/// What operators demand of their tensors: a shape or one side of it; as many elements; at least as
/// many, since vectors with a number a row may be made for the largest batch.
#define TR_ASSERT_SHAPE(t, rows_, columns_)                                                        \
    TR_ASSERT((t).rows == (rows_) && (t).columns == (columns_), "[%zu, %zu], expected [%zu, %zu]", \
              (t).rows, (t).columns, (size_t)(rows_), (size_t)(columns_))
#define TR_ASSERT_ROWS(t, n) \
    TR_ASSERT((t).rows == (n), "%zu rows, expected %zu", (t).rows, (size_t)(n))
#define TR_ASSERT_COLUMNS(t, n) \
    TR_ASSERT((t).columns == (n), "%zu columns, expected %zu", (t).columns, (size_t)(n))
#define TR_ASSERT_COUNT(t, n)                                                               \
    TR_ASSERT(tr_tensor_count(t) == (n), "[%zu, %zu], expected %zu", (t).rows, (t).columns, \
              (size_t)(n))
#define TR_ASSERT_ROOM(t, n)                                                           \
    TR_ASSERT(tr_tensor_count(t) >= (n), "[%zu, %zu], expected %zu or more", (t).rows, \
              (t).columns, (size_t)(n))

#endif
