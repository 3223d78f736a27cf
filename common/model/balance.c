/// How even routers' choices are, and the auxiliary loss that makes them so (Fedus et al. 2021,
/// "Switch Transformers"). Apart from transformer.c because it waits for the device, between the
/// two passes.
#include <stdlib.h>

#include "common/model/pass.h"

/// What all layers' routers did, by expert: choices, and sums of probabilities.
typedef struct routing {
    size_t rows;                  // tokens of layers with experts
    double *chosen, *probability; // [E]
    double entropy;
    double load;   // sum over layers of the greatest share of choices
    size_t layers; // with experts
} routing_t;

/// Adds a layer's, from the host copies of its tensors.
static void add_layer(routing_t *r, const int32_t *starts, const float *sums, size_t experts)
{
    int32_t most = 0;
    for (size_t e = 0; e < experts; e++) {
        const int32_t chosen = starts[e + 1] - starts[e];
        most = chosen > most ? chosen : most;
        r->chosen[e] += chosen;
        r->probability[e] += (double)sums[e];
    }
    r->entropy += (double)sums[experts];
    r->load += (double)most * (double)experts / (double)starts[experts];
    r->layers++;
}

/// All layers at once, after one wait.
static tr_status read_routing(routing_t *r, tr_model_t *model, const tr_activations_t *saved,
                              tr_error_t *err)
{
    const tr_ops_t *ops = model->backend->ops;
    const size_t experts = model->config.experts, count = experts + 1, layers = saved->layers;
    int32_t *starts = tr_calloc(layers * count, sizeof *starts);
    float *sums = tr_calloc(layers * count, sizeof *sums);
    for (size_t i = 0; i < layers; i++) {
        if (saved->layer[i].router_sums.buffer != NULL) {
            ops->read(model->queue, starts + i * count, saved->layer[i].routes.starts);
            ops->read(model->queue, sums + i * count, saved->layer[i].router_sums);
        }
    }
    tr_status status = ops->queue_wait(model->queue, err);
    for (size_t i = 0; i < layers && status == TR_OK; i++) {
        if (saved->layer[i].router_sums.buffer != NULL) {
            add_layer(r, starts + i * count, sums + i * count, experts);
        }
    }
    r->rows = r->layers * saved->batch.ragged.tokens;
    free(starts);
    free(sums);
    return status;
}

/// With f = the mean of choices and P = that of probabilities over N rows: E sum(f P), whose
/// gradient by a probability is E f / N.
tr_status tr_model_balance(tr_model_t *model, tr_activations_t *saved, double coefficient,
                           tr_balance_t *balance, tr_arena_t *arena, tr_error_t *err)
{
    const size_t experts = model->config.experts;
    double *numbers = tr_calloc(2 * experts, sizeof *numbers);
    float *pull = tr_calloc(experts, sizeof *pull);
    routing_t r = {.chosen = numbers, .probability = numbers + experts};
    tr_status status = read_routing(&r, model, saved, err);
    *balance = (tr_balance_t){0};
    if (status == TR_OK && r.rows > 0 && !model->backend->dry) {
        const double n = (double)r.rows, scale = (double)experts / n;
        for (size_t e = 0; e < experts; e++) {
            balance->loss += scale * r.chosen[e] * r.probability[e] / n;
            pull[e] = (float)(coefficient * scale * r.chosen[e] / n);
        }
        balance->entropy = r.entropy / n;
        balance->load = r.load / (double)r.layers;
    }
    if (status == TR_OK && coefficient != 0.0) {
        saved->pull = tr_arena_reals(arena, model->queue, pull, experts);
    }
    free(numbers);
    free(pull);
    return status;
}
