/// The table of element types, and row ranges of a tensor (tensor.h).
///
/// Compiled into the CUDA and collective modules as well, which share no code with the program that
/// loads them.
#include "common/tensor/tensor.h"

#include "common/base/status.h"

static const struct {
    size_t size;
    const char *name;
} dtypes[] = {
    // in the order of tr_dtype_t
    [TR_F32] = {4, "f32"}, [TR_I32] = {4, "i32"}, [TR_BF16] = {2, "bf16"}, [TR_F16] = {2, "f16"},
    [TR_F64] = {8, "f64"}, [TR_I64] = {8, "i64"}, [TR_U8] = {1, "u8"},     [TR_F8] = {1, "f8"},
};

size_t tr_dtype_size(tr_dtype_t dtype)
{
    return dtypes[dtype].size;
}

const char *tr_dtype_name(tr_dtype_t dtype)
{
    return dtypes[dtype].name;
}

tr_tensor_t tr_tensor_rows(tr_tensor_t t, size_t first, size_t rows)
{
    TR_ASSERT(first + rows <= t.rows, "rows %zu..%zu of %zu", first, first + rows, t.rows);
    // Rows are contiguous, so a range of them is the same buffer further on.
    t.offset += first * t.columns * tr_dtype_size(t.dtype);
    t.rows = rows;
    return t;
}
