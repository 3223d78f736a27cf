// bench-matmul THREADS: y = x W^T with W packed once, ours against oneDNN, OpenBLAS and BLIS, in
// GFLOP/s.
//
// One line of JSON a shape. Contestants take turns; each turn runs one for 20 ms after a pause in
// which the threads of the one before fall asleep, and the best turn counts. Every product is
// compared with ours. Weights are the same all the time, so those that fit stay in the cache;
// weights_gb_s says how fast ours reads them. The rivals' threads are the environment's:
// OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, BLIS_NUM_THREADS.
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/onednn.h"
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/tensor/backend.h"

enum { TURNS = 7, PAUSE_MS = 40 };
static const double TURN_SECONDS = 0.02;

typedef struct shape {
    size_t rows, n, k;
} shape_t;

/// The products of a Llama of 15 M parameters; the head is apart, as it is much wider.
static const shape_t weights[] = {{0, 288, 288}, {0, 768, 2048}, {0, 2048, 768}};
static const size_t row_counts[] = {1, 4, 8, 16, 64, 512};
static const shape_t head = {512, 32000, 288};

/// The C interface that OpenBLAS and BLIS share; constants are CBLAS's.
typedef void sgemm_fn(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

typedef struct blas {
    sgemm_fn *sgemm;
    shape_t shape;
    float *y, *x, *weight;
} blas_t;

typedef struct ours {
    const tr_ops_t *ops;
    tr_queue_t *queue;
    tr_tensor_t y, x, packed;
} ours_t;

typedef struct contestant {
    const char *name;
    void (*run)(void *context);
    void *context; // NULL: not installed
    double best;   // seconds of one product
} contestant_t;

static void run_blas(void *context)
{
    const blas_t *b = context;
    int m = (int)b->shape.rows, n = (int)b->shape.n, k = (int)b->shape.k;
    b->sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, m, n, k, 1.0f, b->x, k, b->weight, k, 0.0f, b->y, n);
}

/// queue_wait is part of the product: the operator only starts it.
static void run_ours(void *context)
{
    const ours_t *o = context;
    tr_error_t err = {0};
    o->ops->matmul(o->queue, o->y, o->x, o->packed, false);
    TR_ASSERT(o->ops->queue_wait(o->queue, &err) == TR_OK, "%s", err.text);
}

/// Both libraries export the same name, so each is opened apart, with RTLD_LOCAL.
static sgemm_fn *find_sgemm(const char *library)
{
    sgemm_fn *sgemm = NULL;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle != NULL) {
        // ISO C has no conversion from object to function pointers; POSIX means this one
        *(void **)&sgemm = dlsym(handle, "cblas_sgemm");
    }
    return sgemm;
}

/// In [-1, 1), so that sums stay small and the comparison below is meaningful.
static float *random_floats(size_t count, uint64_t seed)
{
    float *values = tr_alloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = 2.0f * tr_rng_uniform(seed, TR_RNG_INIT, 0, 0, (uint32_t)i) - 1.0f;
    }
    return values;
}

/// A buffer of floats; the caller destroys it.
static tr_tensor_t tensor(tr_backend_t *backend, size_t rows, size_t columns)
{
    tr_error_t err = {0};
    tr_tensor_t t = {.dtype = TR_F32, .rows = rows, .columns = columns};
    TR_ASSERT(backend->ops->buffer_new(backend, &t.buffer, tr_tensor_bytes(t), &err) == TR_OK, "%s",
              err.text);
    return t;
}

/// Threads of OpenMP and BLIS spin for a while after their work.
static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void take_turn(contestant_t *c)
{
    pause_ms(PAUSE_MS);
    // not counted: threads need a moment
    c->run(c->context); // wakes the threads
    size_t count = 0;
    double start = tr_clock_seconds(), seconds;
    do {
        c->run(c->context);
        count++;
        seconds = tr_clock_seconds() - start;
    } while (seconds < TURN_SECONDS);
    // the best of the turns: what disturbs a turn only makes it slower
    if (seconds / (double)count < c->best) {
        c->best = seconds / (double)count;
    }
}

/// A rival that computes something else, or nothing, would win.
static void check_product(const char *name, const float *got, const float *want, shape_t s)
{
    for (size_t i = 0; i < s.rows * s.n; i++) {
        TR_ASSERT(fabsf(got[i] - want[i]) < 1e-3f, "%s: element %zu is %g, ours %g", name, i,
                  (double)got[i], (double)want[i]);
    }
}

/// null for a rival that is not installed.
static void print_shape(const contestant_t *c, size_t count, shape_t s, size_t threads)
{
    // a multiplication and an addition for each element of W and row of x
    double flops = 2.0 * (double)s.rows * (double)s.n * (double)s.k;
    printf("{\"case\": \"matmul\", \"name\": \"%zux%zux%zu\", \"threads\": %zu, "
           "\"unit\": \"GFLOP/s\"",
           s.rows, s.n, s.k, threads);
    for (size_t i = 0; i < count; i++) {
        fputs(i == 1 ? ", \"rivals\": {" : ", ", stdout); // ours is the first
        if (c[i].context == NULL) {
            printf("\"%s\": null", c[i].name);
        } else {
            printf("\"%s\": %.1f", c[i].name, flops / c[i].best * 1e-9);
        }
    }
    // each weight is read once a product
    double bytes = (double)(s.n * s.k * sizeof(float));
    printf("}, \"weights_gb_s\": %.1f}\n", bytes / c[0].best * 1e-9);
    fflush(stdout);
}

static void measure(tr_backend_t *backend, tr_queue_t *queue, shape_t s, size_t threads,
                    sgemm_fn *openblas, sgemm_fn *blis)
{
    const tr_ops_t *ops = backend->ops;
    float *x = random_floats(s.rows * s.k, 1), *weight = random_floats(s.n * s.k, 2);
    float *y = tr_calloc(s.rows * s.n, sizeof *y), *want = tr_calloc(s.rows * s.n, sizeof *want);
    ours_t ours = {ops, queue, tensor(backend, s.rows, s.n), tensor(backend, s.rows, s.k),
                   tensor(backend, 1, ops->packed_count(TR_F32, s.n, s.k))};
    tr_tensor_t plain = tensor(backend, s.n, s.k);
    // the same numbers for all, in each one's memory
    ops->write(queue, ours.x, x);
    ops->write(queue, plain, weight);
    ops->pack(queue, ours.packed, plain);
    // the reference for all products
    run_ours(&ours);
    ops->read(queue, want, ours.y);
    onednn_t *onednn = onednn_new(y, x, weight, s.rows, s.n, s.k);
    blas_t with_openblas = {openblas, s, y, x, weight}, with_blis = {blis, s, y, x, weight};
    contestant_t c[] = {{"troupe", run_ours, &ours, INFINITY},
                        {"oneDNN", onednn_run, onednn, INFINITY},
                        {"OpenBLAS", run_blas, openblas == NULL ? NULL : &with_openblas, INFINITY},
                        {"BLIS", run_blas, blis == NULL ? NULL : &with_blis, INFINITY}};
    const size_t count = sizeof c / sizeof c[0];
    // in turn, so that a busy moment of the machine falls on all
    for (size_t turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < count; i++) {
            if (c[i].context != NULL) {
                take_turn(&c[i]);
            }
            if (c[i].context != NULL && i > 0) {
                check_product(c[i].name, y, want, s);
            }
        }
    }
    print_shape(c, count, s, threads);
    onednn_destroy(&onednn);
    ops->buffer_destroy(&plain.buffer);
    ops->buffer_destroy(&ours.packed.buffer);
    ops->buffer_destroy(&ours.x.buffer);
    ops->buffer_destroy(&ours.y.buffer);
    free(want);
    free(y);
    free(weight);
    free(x);
}

int main(int argc, char **argv)
{
    tr_error_t err = {0};
    tr_backend_t *backend;
    tr_queue_t *queue;
    size_t threads = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (threads == 0) {
        fprintf(stderr, "usage: bench-matmul THREADS\n");
        return 2;
    }
    if (tr_backend_open_cpu(&backend, TR_F32, threads, &err) != TR_OK ||
        backend->ops->queue_new(backend, &queue, &err) != TR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return tr_status_exit_code(err.status);
    }
    sgemm_fn *openblas = find_sgemm("libopenblas.so.0"), *blis = find_sgemm("libblis.so.4");
    for (size_t w = 0; w < sizeof weights / sizeof weights[0]; w++) {
        for (size_t r = 0; r < sizeof row_counts / sizeof row_counts[0]; r++) {
            shape_t s = {row_counts[r], weights[w].n, weights[w].k};
            measure(backend, queue, s, threads, openblas, blis);
        }
    }
    measure(backend, queue, head, threads, openblas, blis);
    backend->ops->queue_destroy(&queue);
    tr_backend_close(&backend);
    return 0;
}
