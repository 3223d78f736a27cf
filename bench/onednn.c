// oneDNN's matrix product behind three functions, so that matmul.c builds where oneDNN is not
// installed.
//
// oneDNN 2's C interface; version 3 changed it, and is treated as not installed.
#include "bench/onednn.h"

#include "common/base/status.h"

#ifdef BENCH_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

#if defined(BENCH_ONEDNN) && DNNL_VERSION_MAJOR == 2
struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_memory_t source, weight, target;
};

/// A failure here is a mistake of this file: there is no input to blame.
static void check(dnnl_status_t status)
{
    TR_ASSERT(status == dnnl_success, "oneDNN answers %d", (int)status);
}

static dnnl_memory_desc_t describe(size_t rows, size_t columns, dnnl_format_tag_t format)
{
    dnnl_memory_desc_t desc;
    const dnnl_dims_t dims = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
    check(dnnl_memory_desc_init_by_tag(&desc, 2, dims, dnnl_f32, format));
    return desc;
}

/// The weight, reordered once into the layout that the primitive asks for.
static void pack(onednn_t *p, const float *weight, const dnnl_memory_desc_t *plain,
                 const dnnl_memory_desc_t *packed)
{
    dnnl_memory_t from;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t reorder;
    check(dnnl_memory_create(&p->weight, packed, p->engine, DNNL_MEMORY_ALLOCATE));
    // the cast drops const: the reorder only reads
    check(dnnl_memory_create(&from, plain, p->engine, (void *)(size_t)weight));
    check(dnnl_reorder_primitive_desc_create(&desc, plain, p->engine, packed, p->engine, NULL));
    check(dnnl_primitive_create(&reorder, desc));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, p->weight}};
    check(dnnl_primitive_execute(reorder, p->stream, 2, arguments));
    check(dnnl_stream_wait(p->stream));
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(desc);
    dnnl_memory_destroy(from);
}

/// Engine, stream, description, primitive: the order of oneDNN's own examples.
onednn_t *onednn_new(float *y, float *x, const float *weight, size_t rows, size_t n, size_t k)
{
    onednn_t *p = tr_calloc(1, sizeof *p);
    dnnl_memory_desc_t source = describe(rows, k, dnnl_ab), target = describe(rows, n, dnnl_ab);
    // weight^T: [k, n] as the transpose (ba) of what is in memory; `any` lets the primitive choose
    dnnl_memory_desc_t plain = describe(k, n, dnnl_ba), any = describe(k, n, dnnl_format_tag_any);
    dnnl_matmul_desc_t product;
    dnnl_primitive_desc_t desc;
    check(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
    check(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));
    check(dnnl_matmul_desc_init(&product, &source, &any, NULL, &target));
    check(dnnl_primitive_desc_create(&desc, &product, NULL, p->engine, NULL));
    // the layout that the primitive asks for, once: packing is not measured on either side
    pack(p, weight, &plain, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0));
    check(dnnl_primitive_create(&p->primitive, desc));
    check(dnnl_memory_create(&p->source, &source, p->engine, x));
    check(dnnl_memory_create(&p->target, &target, p->engine, y));
    dnnl_primitive_desc_destroy(desc);
    return p;
}

/// The wait is part of the product, as in ours.
void onednn_run(void *product)
{
    onednn_t *p = product;
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, p->source}, {DNNL_ARG_WEIGHTS, p->weight}, {DNNL_ARG_DST, p->target}};
    check(dnnl_primitive_execute(p->primitive, p->stream, 3, arguments));
    check(dnnl_stream_wait(p->stream));
}

void onednn_destroy(onednn_t **self)
{
    onednn_t *p = *self;
    if (p != NULL) {
        dnnl_memory_destroy(p->target);
        dnnl_memory_destroy(p->source);
        dnnl_memory_destroy(p->weight);
        dnnl_primitive_destroy(p->primitive);
        dnnl_stream_destroy(p->stream);
        dnnl_engine_destroy(p->engine);
        free(p);
        *self = NULL;
    }
}
/// without oneDNN 2: matmul.c prints null for it
#else
onednn_t *onednn_new(float *y, float *x, const float *weight, size_t rows, size_t n, size_t k)
{
    (void)y, (void)x, (void)weight, (void)rows, (void)n, (void)k;
    return NULL;
}

void onednn_run(void *product)
{
    (void)product;
}

void onednn_destroy(onednn_t **product)
{
    *product = NULL;
}
#endif
