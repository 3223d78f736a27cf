/// cuBLASLt of the emulator (libraries/cublasLt.h): matrix products as plain chains in f32.
///
/// Its ranking has three algorithms. The first one adds backwards where a product has fewer than 16
/// columns (rows of the operator), which the backend's trial must find out (matmul_ops.cu); the
/// others keep a row's bits.
#include <cublasLt.h>

#include <cstdlib>

#include "cuda_bf16.h"

struct emulator_cublas {
    int unused;
};
struct emulator_matmul {
    int32_t transpose_a, transpose_b;
};
struct emulator_layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t ld;
};
struct emulator_preference {
    int unused;
};

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new emulator_cublas{0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t,
                                        cudaDataType_t)
{
    *desc = new emulator_matmul{0, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    memcpy(attribute == CUBLASLT_MATMUL_DESC_TRANSA ? &desc->transpose_a : &desc->transpose_b,
           value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld)
{
    *layout = new emulator_layout{type, rows, columns, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = new emulator_preference{0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t,
                                                    const void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int limit,
                                              cublasLtMatmulHeuristicResult_t *results, int *count)
{
    *count = limit < 3 ? limit : 3;
    for (int i = 0; i < *count; i++) {
        results[i] = {};
        results[i].algo.data[0] = (uint64_t)(3 - i); // its number; 3 must be refused
        results[i].state = CUBLAS_STATUS_SUCCESS;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t bytes, size_t *written)
{
    uint32_t number = attribute == CUBLASLT_ALGO_CONFIG_ID
                          ? (uint32_t)algo->data[0]
                          : attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM;
    memcpy(value, &number, bytes < sizeof number ? bytes : sizeof number);
    if (written != nullptr) {
        *written = sizeof number;
    }
    return CUBLAS_STATUS_SUCCESS;
}

/// Element (row, column) of a column-major matrix, as f32.
static float element(const void *matrix, const emulator_layout *layout, uint64_t row,
                     uint64_t column)
{
    size_t at = column * (uint64_t)layout->ld + row;
    return layout->type == CUDA_R_32F ? ((const float *)matrix)[at]
                                      : __bfloat162float(((const __nv_bfloat16 *)matrix)[at]);
}

/// d = alpha op(a) op(b) + beta c, each element one chain over the depth, ascending or descending.
static void multiply(const emulator_matmul &desc, float alpha, const void *a,
                     const emulator_layout &la, const void *b, const emulator_layout &lb,
                     float beta, const void *c, const emulator_layout &lc, void *d,
                     const emulator_layout &ld, bool backwards)
{
    uint64_t depth = desc.transpose_a ? la.rows : la.columns;
    for (uint64_t column = 0; column < ld.columns; column++) {
        for (uint64_t row = 0; row < ld.rows; row++) {
            float sum = 0.0f;
            for (uint64_t i = 0; i < depth; i++) {
                uint64_t k = backwards ? depth - 1 - i : i;
                float x = desc.transpose_a ? element(a, &la, k, row) : element(a, &la, row, k);
                float y =
                    desc.transpose_b ? element(b, &lb, column, k) : element(b, &lb, k, column);
                sum = fmaf(x, y, sum);
            }
            sum *= alpha;
            if (beta != 0.0f) {
                sum += beta * element(c, &lc, row, column);
            }
            size_t at = column * (uint64_t)ld.ld + row;
            if (ld.type == CUDA_R_32F) {
                ((float *)d)[at] = sum;
            } else {
                ((__nv_bfloat16 *)d)[at] = __float2bfloat16_rn(sum);
            }
        }
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t la, const void *b,
                              cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                              cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t *algo, void *, size_t, cudaStream_t stream)
{
    // Copies: descriptors may be destroyed before a captured graph runs.
    emulator_matmul kept = *desc;
    emulator_layout a_layout = *la, b_layout = *lb, c_layout = *lc, d_layout = *ld;
    float scale_ab = *(const float *)alpha, scale_c = *(const float *)beta;
    bool backwards = algo != nullptr && algo->data[0] == 3 && ld->columns < 16;
    emulator_enqueue(stream, [=] {
        multiply(kept, scale_ab, a, a_layout, b, b_layout, scale_c, c, c_layout, d, d_layout,
                 backwards);
    });
    return CUBLAS_STATUS_SUCCESS;
}
