/// Matrix products. f32: our own kernel, one chain of fused multiply-adds over k ascending an
/// element, as on the CPU. bf16: cuBLASLt on tensor cores with one pinned algorithm for each weight
/// shape.
///
/// Left to itself, cuBLASLt takes another algorithm for another number of rows, and a token's
/// log-probability would differ between a rollout's batch and the trainer's. A pinned algorithm
/// must give a row the same bits however many rows there are: it does not split k, and it is tried
/// on this device with several numbers of rows before it is first used. The first such algorithm in
/// cuBLASLt's own ranking for RANKED_ROWS rows is taken. The ranking is a function of library,
/// device and shape, so all processes come to the same choice without asking each other; the log
/// names it.
#include <cublasLt.h>

#include <cstdlib>
#include <cstring>

#include "common/tensor/cuda/chains.h"

// f32

/// y: [rows, columns]. A block computes a tile of it.
static __global__ void __launch_bounds__(CUDA_BLOCK)
    chains(float *y, operand<float> a, operand<float> b, size_t rows, size_t columns, size_t depth,
           product_mode_t mode)
{
    chain_tile(y, a, b, static_cast<size_t>(blockIdx.y) * TILE, rows,
               static_cast<size_t>(blockIdx.x) * TILE, columns, depth, mode);
}

/// Launches `chains`. A grid has at most 65535 blocks in y, so more rows go in further launches.
static void run_chains(tr_queue_t *queue, float *y, operand<float> a, operand<float> b, size_t rows,
                       size_t columns, size_t depth, product_mode_t mode)
{
    const size_t most = 65535u * static_cast<size_t>(TILE);
    for (size_t first = 0; first < rows; first += most) {
        size_t count = rows - first < most ? rows - first : most;
        operand<float> part = {a.data + first * a.row, a.row, a.depth};
        cuda_launch(queue, dim3(cuda_blocks(columns, TILE), cuda_blocks(count, TILE)), CUDA_BLOCK,
                    0, chains, y + first * columns, part, b, count, columns, depth, mode);
    }
}

// bf16

enum {
    RANKED_ROWS = CUDA_TRIAL_ROWS,
    CANDIDATES = 16, // the first of the ranking, which are tried
    CHOICES = 256,   // most shapes of a process: a model has about fifteen
    ALIGNMENT = 16   // bytes that an algorithm may rely on, where the shape has them
};

typedef enum product_kind { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT } product_kind_t;

/// What an algorithm is chosen for: a kind of product of one weight shape.
typedef struct product {
    product_kind_t kind;
    size_t outputs, inputs; // the weight is [outputs, inputs]
    cudaDataType type;      // of the result
    size_t alignment;       // of all pointers and rows, in bytes; 0: not known yet
} product_t;

/// A product for so many rows (tokens): d = op(a) op(b) + beta d. See make_plan for what the three
/// kinds have as a, b and d.
typedef struct problem {
    product_t product;
    size_t rows;
    const void *a, *b; // bf16
    void *d;
    float beta;
} problem_t;

/// The pinned algorithm of a product.
typedef struct choice {
    product_t product;
    cublasLtMatmulAlgo_t algorithm;
} choice_t;

struct cuda_products {
    cublasLtHandle_t handle;
    choice_t choices[CHOICES];
    size_t count;
};

/// cuBLASLt's descriptors of one problem.
typedef struct plan {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, d;
} plan_t;

tr_status cuda_products_new(struct cuda_products **products, tr_error_t *err)
{
    *products = static_cast<struct cuda_products *>(tr_calloc(1, sizeof **products));
    cublasStatus_t code = cublasLtCreate(&(*products)->handle);
    if (code != CUBLAS_STATUS_SUCCESS) {
        free(*products);
        *products = NULL;
        return tr_fail(err, TR_ERR_UNSUPPORTED, "cuBLASLt does not start on this GPU (code %d)",
                       static_cast<int>(code));
    }
    return TR_OK;
}

void cuda_products_destroy(struct cuda_products **products)
{
    if (*products != NULL) {
        (void)cublasLtDestroy((*products)->handle);
        free(*products);
        *products = NULL;
    }
}

/// Releases as much of a plan as make_plan has made.
static void plan_release(plan_t *plan)
{
    if (plan->product != NULL) {
        (void)cublasLtMatmulDescDestroy(plan->product);
    }
    // make_plan stops at the first failure, which leaves the rest NULL.
    cublasLtMatrixLayout_t layouts[] = {plan->a, plan->b, plan->d};
    for (size_t i = 0; i < 3; i++) {
        if (layouts[i] != NULL) {
            (void)cublasLtMatrixLayoutDestroy(layouts[i]);
        }
    }
}

/// The layout of a row-major matrix, which is its transpose in column-major.
static bool row_major(cublasLtMatrixLayout_t *layout, cudaDataType type, size_t rows,
                      size_t columns)
{
    return cublasLtMatrixLayoutCreate(layout, type, columns, rows, static_cast<int64_t>(columns)) ==
           CUBLAS_STATUS_SUCCESS;
}

/// As cuBLASLt's matrices are column-major, the products become:
///
///     forward          y  = x W^T    y^T  = W x^T      a = W, transposed     b = x
///     input gradient   dx = dy W     dx^T = W^T dy^T   a = W as it stands    b = dy
///     weight gradient  dw = dy^T x   dw^T = x^T dy     a = x as it stands    b = dy, transposed
static bool make_plan(plan_t *plan, const problem_t *p)
{
    const size_t outputs = p->product.outputs, inputs = p->product.inputs;
    const bool forward = p->product.kind == FORWARD, weight = p->product.kind == WEIGHT_GRADIENT;
    int32_t transpose_a = forward ? CUBLAS_OP_T : CUBLAS_OP_N;
    int32_t transpose_b = weight ? CUBLAS_OP_T : CUBLAS_OP_N;
    *plan = {};
    return cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose_a,
                                          sizeof transpose_a) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSB, &transpose_b,
                                          sizeof transpose_b) == CUBLAS_STATUS_SUCCESS &&
           row_major(&plan->a, CUDA_R_16BF, weight ? p->rows : outputs, inputs) &&
           row_major(&plan->b, CUDA_R_16BF, p->rows, forward ? inputs : outputs) &&
           row_major(&plan->d, p->product.type, weight ? outputs : p->rows,
                     forward ? outputs : inputs);
}

/// Enqueues the product. c and d are the same matrix, so beta adds to the destination.
static cublasStatus_t multiply(tr_queue_t *queue, const plan_t *plan, const problem_t *p,
                               const cublasLtMatmulAlgo_t *algorithm)
{
    const float one = 1.0f;
    // Products of a queue run one after another, so they share a workspace.
    void *workspace = cuda_scratch(queue, CUDA_SLOT_PRODUCT, CUDA_WORKSPACE);
    if (workspace == NULL) {
        return CUBLAS_STATUS_SUCCESS; // the queue holds the failure
    }
    return cublasLtMatmul(queue->backend->products->handle, plan->product, &one, p->a, plan->a,
                          p->b, plan->b, &p->beta, p->d, plan->d, p->d, plan->d, algorithm,
                          workspace, CUDA_WORKSPACE, queue->stream);
}

// The choice of an algorithm

/// candidates: [CANDIDATES], written with the library's ranking of algorithms that do not split k;
/// returns their number.
static int rank_algorithms(tr_queue_t *queue, const problem_t *problem,
                           cublasLtMatmulHeuristicResult_t *candidates)
{
    cublasLtMatmulPreference_t preference = NULL;
    problem_t p = *problem;
    uint64_t workspace = CUDA_WORKSPACE;
    uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE,
             alignment = static_cast<uint32_t>(p.product.alignment);
    int count = 0;
    plan_t plan;
    p.rows = RANKED_ROWS;
    if (make_plan(&plan, &p) &&
        cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS) {
        static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
        (void)cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
        (void)cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none);
        for (size_t i = 0; i < sizeof aligned / sizeof aligned[0]; i++) {
            (void)cublasLtMatmulPreferenceSetAttribute(preference, aligned[i], &alignment,
                                                       sizeof alignment);
        }
        (void)cublasLtMatmulAlgoGetHeuristic(queue->backend->products->handle, plan.product, plan.a,
                                             plan.b, plan.d, plan.d, preference, CANDIDATES,
                                             candidates, &count);
        (void)cublasLtMatmulPreferenceDestroy(preference);
    }
    plan_release(&plan);
    return count;
}

/// A configuration value of an algorithm; 0 where it has none.
static int32_t setting(const cublasLtMatmulAlgo_t *algorithm,
                       cublasLtMatmulAlgoConfigAttributes_t attribute)
{
    // Not every algorithm has every setting; the call then fails and leaves the 0.
    int32_t value = 0;
    size_t written;
    (void)cublasLtMatmulAlgoConfigGetAttribute(algorithm, attribute, &value, sizeof value,
                                               &written);
    return value;
}

/// Operands for a trial: numbers in [-1, 1) with all 8 bits of a bf16's mantissa, from a hash of
/// the element's number. The second half along the depth repeats the first, negated where `negates`
/// says so. Sums then cancel, and what remains is the rounding error of the order of addition,
/// which the final rounding to bf16 cannot hide. An odd last element is 0. The depth of element i
/// is (i / stride) % depth.
static __global__ void fill(bf16 *x, size_t n, size_t stride, size_t depth, unsigned salt,
                            bool negates)
{
    size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        size_t at = i / stride % depth, half = depth / 2;
        bool second = at >= half && at < 2 * half;
        size_t origin = second ? i - half * stride : i;
        unsigned bits = (static_cast<unsigned>(origin) + salt) * 2654435761u;
        bits = (bits ^ bits >> 15) * 2246822519u;
        float value = static_cast<float>(static_cast<int>(bits)) / 2147483648.0f;
        x[i] = __float2bfloat16_rn(at >= 2 * half ? 0.0f : second && negates ? -value : value);
    }
}

/// Device memory of a trial, and host memory to compare results.
typedef struct trial {
    tr_buffer_t *weight;            // [outputs, inputs]
    tr_buffer_t *rows;              // the other operand, of RANKED_ROWS rows
    tr_buffer_t *whole, *part;      // results of RANKED_ROWS rows and of fewer
    char *whole_bytes, *part_bytes; // the same on the host
    size_t row_bytes;               // of a row of the results
} trial_t;

/// Whether the first rows of a product of few rows have the same bits as in a product of
/// RANKED_ROWS rows. The numbers of rows stand on both sides of the sizes of tiles.
static bool rows_keep_bits(tr_queue_t *queue, problem_t p, trial_t *trial,
                           const cublasLtMatmulAlgo_t *algorithm)
{
    static const size_t few[] = {1, 2, 3, 8, 16, 17, 64, 100, 129, 256};
    tr_tensor_t whole = {trial->whole, 0, TR_U8, RANKED_ROWS, trial->row_bytes};
    bool same = true;
    p.a = trial->weight->data;
    p.b = trial->rows->data;
    p.beta = 0.0f;
    // i = 0 is the whole product, the others are compared with it.
    for (size_t i = 0; i <= sizeof few / sizeof few[0] && same; i++) {
        plan_t plan;
        p.rows = i == 0 ? static_cast<size_t>(RANKED_ROWS) : few[i - 1];
        p.d = i == 0 ? trial->whole->data : trial->part->data;
        same =
            make_plan(&plan, &p) && multiply(queue, &plan, &p, algorithm) == CUBLAS_STATUS_SUCCESS;
        plan_release(&plan);
        if (i == 0) {
            cuda_read(queue, trial->whole_bytes, whole);
        } else if (same) {
            tr_tensor_t part = {trial->part, 0, TR_U8, p.rows, trial->row_bytes};
            cuda_read(queue, trial->part_bytes, part);
            same = cuda_queue_wait(queue, NULL) == TR_OK &&
                   memcmp(trial->part_bytes, trial->whole_bytes, p.rows * trial->row_bytes) == 0;
        }
    }
    return same;
}

static tr_status trial_new(trial_t *trial, tr_queue_t *queue, const problem_t *p, tr_error_t *err)
{
    tr_backend_t *backend = &queue->backend->base;
    const bool forward = p->product.kind == FORWARD;
    const size_t outputs = p->product.outputs, inputs = p->product.inputs;
    const size_t k = forward ? inputs : outputs, m = forward ? outputs : inputs;
    const size_t element = p->product.type == CUDA_R_32F ? sizeof(float) : sizeof(bf16);
    const cuda_trial_t bytes = cuda_trial_bytes(m, k, element);
    *trial = {};
    trial->row_bytes = m * element;
    TR_TRY(cuda_buffer_new(backend, &trial->weight, bytes.weight, err));
    TR_TRY(cuda_buffer_new(backend, &trial->rows, bytes.rows, err));
    TR_TRY(cuda_buffer_new(backend, &trial->whole, bytes.result, err));
    TR_TRY(cuda_buffer_new(backend, &trial->part, bytes.result, err));
    // Both halves of one block of host memory.
    trial->whole_bytes = static_cast<char *>(tr_alloc(2 * bytes.result));
    trial->part_bytes = trial->whole_bytes + bytes.result;
    size_t stride = forward ? 1 : inputs; // of the weight's depth
    cuda_launch(queue, cuda_blocks(m * k, CUDA_BLOCK), CUDA_BLOCK, 0, fill,
                reinterpret_cast<bf16 *>(trial->weight->data), m * k, stride, k, 1u, true);
    cuda_launch(queue, cuda_blocks(RANKED_ROWS * k, CUDA_BLOCK), CUDA_BLOCK, 0, fill,
                reinterpret_cast<bf16 *>(trial->rows->data), RANKED_ROWS * k,
                static_cast<size_t>(1), k, 77777u, false);
    return TR_OK;
}

static void trial_release(trial_t *trial)
{
    cuda_buffer_destroy(&trial->weight);
    cuda_buffer_destroy(&trial->rows);
    cuda_buffer_destroy(&trial->whole);
    cuda_buffer_destroy(&trial->part);
    free(trial->whole_bytes);
}

/// The first candidate that keeps bits, or NULL. Weight gradients need no trial: their rows are the
/// weight's outputs, always the same number, and only the depth varies.
static const cublasLtMatmulAlgo_t *first_fit(tr_queue_t *queue, const problem_t *p,
                                             const cublasLtMatmulHeuristicResult_t *candidates,
                                             int count)
{
    trial_t trial = {};
    const bool tries = p->product.kind != WEIGHT_GRADIENT;
    // Where there is no memory for a trial, that failure sticks to the queue.
    const bool ready = !tries || trial_new(&trial, queue, p, cuda_failure(queue)) == TR_OK;
    const cublasLtMatmulAlgo_t *fit = NULL;
    for (int i = 0; i < count && ready && fit == NULL; i++) {
        const cublasLtMatmulAlgo_t *algorithm = &candidates[i].algo;
        bool splits = setting(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) > 1;
        if (candidates[i].state == CUBLAS_STATUS_SUCCESS && !splits &&
            (!tries || rows_keep_bits(queue, *p, &trial, algorithm))) {
            fit = algorithm;
        }
    }
    trial_release(&trial);
    return fit;
}

/// One line for each shape, so that two processes' choices can be compared.
static void log_choice(const tr_queue_t *queue, const problem_t *p, const cublasLtMatmulAlgo_t *fit)
{
    static const char *const names[] = {"forward", "input_gradient", "weight_gradient"};
    queue->backend->log(TR_LOG_INFO, "products",
                        "kind=%s outputs=%zu inputs=%zu algorithm=%d tile=%d stages=%d \"pinned\"",
                        names[p->product.kind], p->product.outputs, p->product.inputs,
                        static_cast<int>(setting(fit, CUBLASLT_ALGO_CONFIG_ID)),
                        static_cast<int>(setting(fit, CUBLASLT_ALGO_CONFIG_TILE_ID)),
                        static_cast<int>(setting(fit, CUBLASLT_ALGO_CONFIG_STAGES_ID)));
}

/// Chooses, logs and remembers. NULL with the failure stuck to the queue when nothing is fit: no
/// fallback would keep the promise.
static const cublasLtMatmulAlgo_t *choose(tr_queue_t *queue, const problem_t *p)
{
    struct cuda_products *products = queue->backend->products;
    cublasLtMatmulHeuristicResult_t candidates[CANDIDATES];
    // A shape is chosen once a process; a model's shapes are few.
    TR_ASSERT(products->count < CHOICES, "%zu shapes of products", products->count);
    int count = rank_algorithms(queue, p, candidates);
    const cublasLtMatmulAlgo_t *fit = first_fit(queue, p, candidates, count);
    if (fit == NULL) {
        (void)tr_fail(cuda_failure(queue), TR_ERR_UNSUPPORTED,
                      "no algorithm of cuBLASLt (of %d) gives a row of a [%zu, %zu] product the "
                      "same bits among few rows and many; say 'precision: fp32'",
                      count, p->product.outputs, p->product.inputs);
        return NULL;
    }
    log_choice(queue, p, fit);
    choice_t *made = &products->choices[products->count++];
    *made = {p->product, *fit};
    return &made->algorithm;
}

/// The pinned algorithm of a problem, chosen at its first use. Shapes are few, so a linear search
/// will do.
static const cublasLtMatmulAlgo_t *chosen(tr_queue_t *queue, const problem_t *p)
{
    const struct cuda_products *products = queue->backend->products;
    const product_t *x = &p->product;
    for (size_t i = 0; i < products->count; i++) {
        const product_t *y = &products->choices[i].product;
        if (x->kind == y->kind && x->outputs == y->outputs && x->inputs == y->inputs &&
            x->type == y->type && x->alignment == y->alignment) {
            return &products->choices[i].algorithm;
        }
    }
    return choose(queue, p);
}

/// The largest power of two up to ALIGNMENT that divides all addresses and row sizes. It is part of
/// the choice: an algorithm that was ranked for aligned rows may not take others.
static size_t alignment_of(const problem_t *p)
{
    size_t bits = reinterpret_cast<size_t>(p->a) | reinterpret_cast<size_t>(p->b) |
                  reinterpret_cast<size_t>(p->d) | p->product.outputs * sizeof(bf16) |
                  p->product.inputs * sizeof(bf16) | ALIGNMENT;
    return bits & (~bits + 1); // the lowest set bit
}

/// Runs a product by cuBLASLt, with the pinned algorithm or, for benchmarks, its own.
static void run_library(tr_queue_t *queue, problem_t p)
{
    plan_t plan;
    const bool empty = p.rows == 0 || p.product.outputs == 0 || p.product.inputs == 0;
    if (empty || queue->failed.status != TR_OK) {
        return;
    }
    p.product.alignment = alignment_of(&p);
    const bool pinned = !queue->backend->free_products;
    // NULL lets the library choose.
    const cublasLtMatmulAlgo_t *algorithm = pinned ? chosen(queue, &p) : NULL;
    // The failure sticks already; NULL below would let the library choose.
    if (pinned && algorithm == NULL) {
        return;
    }
    // A plan is made anew for each product: the number of rows is part of it, and making one costs
    // little beside the product.
    cublasStatus_t code =
        make_plan(&plan, &p) ? multiply(queue, &plan, &p, algorithm) : CUBLAS_STATUS_INVALID_VALUE;
    plan_release(&plan);
    if (code != CUBLAS_STATUS_SUCCESS) {
        (void)tr_fail(
            cuda_failure(queue), TR_ERR_UNSUPPORTED,
            "cuBLASLt refused a product of a [%zu, %zu] weight with %s algorithm (code %d)",
            p.product.outputs, p.product.inputs, pinned ? "the pinned" : "its own",
            static_cast<int>(code));
    }
}

// The operators

static void *real_data(const tr_queue_t *queue, tr_tensor_t tensor)
{
    return cuda_data(tensor, queue->backend->base.real);
}

/// y = x W^T, or y += x W^T; y may be f32 where [real] is bf16 (logits).
static void forward(tr_queue_t *queue, void *y, tr_dtype_t y_dtype, const void *x,
                    tr_tensor_t weight, size_t rows, bool accumulate)
{
    const void *w = real_data(queue, weight);
    if (queue->backend->base.real == TR_F32) {
        run_chains(queue, static_cast<float *>(y),
                   {static_cast<const float *>(x), weight.columns, 1},
                   {static_cast<const float *>(w), weight.columns, 1}, rows, weight.rows,
                   weight.columns, accumulate ? PRODUCT_ADD : PRODUCT_WRITE);
        return;
    }
    const cudaDataType type = y_dtype == TR_F32 ? CUDA_R_32F : CUDA_R_16BF;
    run_library(
        queue,
        {{FORWARD, weight.rows, weight.columns, type, 0}, rows, w, x, y, accumulate ? 1.0f : 0.0f});
}

void cuda_product(tr_queue_t *queue, void *y, tr_dtype_t y_dtype, const void *x, tr_tensor_t weight,
                  size_t rows)
{
    forward(queue, y, y_dtype, x, weight, rows, false);
}

void cuda_input_gradient(tr_queue_t *queue, void *dx, const void *dy, tr_tensor_t weight,
                         size_t rows)
{
    const void *w = real_data(queue, weight);
    if (queue->backend->base.real == TR_F32) {
        run_chains(queue, static_cast<float *>(dx),
                   {static_cast<const float *>(dy), weight.rows, 1},
                   {static_cast<const float *>(w), 1, weight.columns}, rows, weight.columns,
                   weight.rows, PRODUCT_WRITE);
        return;
    }
    run_library(
        queue,
        {{INPUT_GRADIENT, weight.rows, weight.columns, CUDA_R_16BF, 0}, rows, w, dy, dx, 0.0f});
}

void cuda_weight_gradient(tr_queue_t *queue, float *dw, const void *dy, const void *x,
                          tr_dtype_t dtype, size_t rows, size_t n, size_t k)
{
    if (dtype == TR_F32) {
        run_chains(queue, dw, {static_cast<const float *>(dy), 1, n},
                   {static_cast<const float *>(x), 1, k}, n, k, rows, PRODUCT_CONTINUE);
        return;
    }
    run_library(queue, {{WEIGHT_GRADIENT, n, k, CUDA_R_32F, 0}, rows, x, dy, dw, 1.0f});
}

void cuda_matmul(tr_queue_t *queue, tr_tensor_t y, tr_tensor_t x, tr_tensor_t weight,
                 bool accumulate)
{
    TR_ASSERT_SHAPE(weight, y.columns, x.columns);
    TR_ASSERT_ROWS(y, x.rows);
    // Logits are f32 whatever the precision.
    void *to = y.dtype == TR_F32 ? cuda_f32(y) : real_data(queue, y);
    forward(queue, to, y.dtype, real_data(queue, x), weight, x.rows, accumulate);
}

void cuda_matmul_input_gradient(tr_queue_t *queue, tr_tensor_t dx, tr_tensor_t dy,
                                tr_tensor_t weight)
{
    TR_ASSERT_SHAPE(weight, dy.columns, dx.columns);
    TR_ASSERT_ROWS(dx, dy.rows);
    cuda_input_gradient(queue, real_data(queue, dx), real_data(queue, dy), weight, dy.rows);
}

void cuda_matmul_weight_gradient(tr_queue_t *queue, tr_tensor_t dw, tr_tensor_t dy, tr_tensor_t x)
{
    TR_ASSERT_SHAPE(dw, dy.columns, x.columns);
    TR_ASSERT_ROWS(dy, x.rows);
    cuda_weight_gradient(queue, cuda_f32(dw), real_data(queue, dy), real_data(queue, x), dy.dtype,
                         dy.rows, dw.rows, dw.columns);
}
