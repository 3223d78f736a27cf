#include "common/optim/optimizer.h"

#include <stdlib.h>

#include "common/optim/clip.h"

enum { LEVELS = 33 }; // of the tree: more chunks than 2^32 never come

/// The sum of 2^level chunks.
typedef struct node {
    tr_buffer_t *buffer;
    unsigned level;
} node_t;

struct tr_optimizer {
    tr_backend_t *backend;
    tr_queue_t *queue;
    tr_tensor_t parameters;
    tr_optimizer_options_t options;
    tr_buffer_t *moments;
    tr_tensor_t m, v;
    tr_buffer_t *norm;
    node_t nodes[LEVELS]; // levels descend; nodes[count..] keep buffers for reuse
    size_t count;
    uint64_t steps;
};

tr_status tr_optimizer_new(tr_optimizer_t **self, tr_backend_t *backend, tr_queue_t *queue,
                           tr_tensor_t parameters, const tr_optimizer_options_t *options,
                           tr_error_t *err)
{
    tr_optimizer_t *optimizer = tr_calloc(1, sizeof *optimizer);
    optimizer->backend = backend;
    optimizer->queue = queue;
    optimizer->parameters = parameters;
    optimizer->options = *options;
    size_t n = tr_tensor_count(parameters);
    tr_status status =
        backend->ops->buffer_new(backend, &optimizer->moments, 2 * n * sizeof(float), err);
    if (status == TR_OK) {
        status = backend->ops->buffer_new(backend, &optimizer->norm, sizeof(float), err);
    }
    if (status != TR_OK) {
        tr_optimizer_destroy(&optimizer);
        return status;
    }
    optimizer->m = (tr_tensor_t){optimizer->moments, 0, TR_F32, 1, n};
    optimizer->v = (tr_tensor_t){optimizer->moments, n * sizeof(float), TR_F32, 1, n};
    *self = optimizer;
    return TR_OK;
}

void tr_optimizer_destroy(tr_optimizer_t **self)
{
    tr_optimizer_t *optimizer = *self;
    if (optimizer == NULL) {
        return;
    }
    const tr_ops_t *ops = optimizer->backend->ops;
    for (size_t i = 0; i < LEVELS; i++) {
        if (optimizer->nodes[i].buffer != NULL) {
            ops->buffer_destroy(&optimizer->nodes[i].buffer);
        }
    }
    if (optimizer->norm != NULL) {
        ops->buffer_destroy(&optimizer->norm);
    }
    if (optimizer->moments != NULL) {
        ops->buffer_destroy(&optimizer->moments);
    }
    free(optimizer);
    *self = NULL;
}

static tr_tensor_t node_tensor(const tr_optimizer_t *optimizer, size_t index)
{
    return (tr_tensor_t){optimizer->nodes[index].buffer, 0, TR_F32, 1,
                         tr_tensor_count(optimizer->parameters)};
}

/// The last two nodes become one.
static void merge(tr_optimizer_t *optimizer)
{
    tr_tensor_t left = node_tensor(optimizer, optimizer->count - 2);
    tr_tensor_t right = node_tensor(optimizer, optimizer->count - 1);
    optimizer->backend->ops->add(optimizer->queue, left, left, right);
    optimizer->nodes[optimizer->count - 2].level++;
    optimizer->count--;
}

tr_status tr_optimizer_chunk(tr_optimizer_t *optimizer, tr_tensor_t *gradient, tr_error_t *err)
{
    while (optimizer->count >= 2 && optimizer->nodes[optimizer->count - 2].level ==
                                        optimizer->nodes[optimizer->count - 1].level) {
        merge(optimizer);
    }
    TR_ASSERT(optimizer->count < LEVELS, "a gradient tree of %zu levels", optimizer->count);
    node_t *node = &optimizer->nodes[optimizer->count];
    size_t bytes = tr_tensor_bytes(optimizer->parameters);
    if (node->buffer == NULL) {
        TR_TRY(optimizer->backend->ops->buffer_new(optimizer->backend, &node->buffer, bytes, err));
    }
    node->level = 0;
    *gradient = node_tensor(optimizer, optimizer->count++);
    optimizer->backend->ops->zero(optimizer->queue, *gradient);
    return TR_OK;
}

void tr_optimizer_discard(tr_optimizer_t *optimizer)
{
    optimizer->count = 0;
}

tr_status tr_optimizer_step(tr_optimizer_t *optimizer, double learning_rate, double *norm,
                            tr_error_t *err)
{
    const tr_ops_t *ops = optimizer->backend->ops;
    const tr_optimizer_options_t *options = &optimizer->options;
    TR_ASSERT(optimizer->count > 0, "a step without a gradient");
    while (optimizer->count >= 2) {
        merge(optimizer);
    }
    tr_tensor_t gradient = node_tensor(optimizer, 0);
    tr_tensor_t sum = {optimizer->norm, 0, TR_F32, 1, 1};
    float squares = 0.0f;
    ops->sum_squares(optimizer->queue, sum, gradient);
    ops->read(optimizer->queue, &squares, sum);
    optimizer->count = 0;
    TR_TRY(ops->queue_wait(optimizer->queue, err));
    float scale;
    if (tr_clip(&scale, norm, &squares, 1, options->clip, err) != TR_OK) {
        return tr_error_prefix(err, "update %llu (lower the learning rate?)",
                               (unsigned long long)optimizer->steps + 1);
    }
    optimizer->steps++;
    ops->adamw(optimizer->queue, optimizer->parameters, optimizer->m, optimizer->v, gradient,
               (tr_adamw_t){.learning_rate = learning_rate,
                            .beta1 = options->beta1,
                            .beta2 = options->beta2,
                            .epsilon = options->epsilon,
                            .weight_decay = options->weight_decay,
                            .scale = scale,
                            .step = optimizer->steps});
    return TR_OK;
}

uint64_t tr_optimizer_steps(const tr_optimizer_t *optimizer)
{
    return optimizer->steps;
}

tr_tensor_t tr_optimizer_first_moment(const tr_optimizer_t *optimizer)
{
    return optimizer->m;
}

tr_tensor_t tr_optimizer_second_moment(const tr_optimizer_t *optimizer)
{
    return optimizer->v;
}

void tr_optimizer_resume(tr_optimizer_t *optimizer, uint64_t steps)
{
    optimizer->steps = steps;
}
