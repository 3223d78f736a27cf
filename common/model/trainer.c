/// Learning: from sequences to updates. The order of the work is here (epochs, minibatches, rounds
/// of a chunk a rank); passes are response.c's, sums of gradients and AdamW the optimizer's
/// (common/optim), checkpoints trainer_save.c's.
#include <stdlib.h>

#include "common/base/rng.h"
#include "common/model/trainer_private.h"

/// The optimizer keeps pointers to the trainer's shards and the model's parameters, so both are
/// destroyed after it.
tr_status tr_trainer_new(tr_trainer_t **self, tr_model_t **model,
                         const tr_optimizer_options_t *options, const tr_ranks_t *ranks,
                         tr_error_t *err)
{
    tr_trainer_t *trainer = tr_calloc(1, sizeof *trainer);
    // Taken at once, also when making the optimizer fails: the caller's pointer is NULL in any
    // case.
    trainer->model = *model;
    *model = NULL;
    trainer->ranks = ranks != NULL ? *ranks : (tr_ranks_t){0};
    trainer->router_aux_loss_coef = options->router_aux_loss_coef;
    const tr_layout_t *layout = tr_model_layout(trainer->model);
    const tr_flat_t *trained = &layout->flat[TR_TRAINED];
    tr_collective_t *collective = trainer->ranks.collective;
    // One process is a group of one, whose shard is everything: there is no second path.
    tr_shards_init(&trainer->shards, trained->segments, layout->segment_count,
                   tr_collective_size(collective), tr_collective_rank(collective));
    tr_status status =
        // An optimizer of nothing would run, and train nothing: better said now than after a run.
        trained->total > 0
            ? tr_optimizer_new(&trainer->optimizer, tr_model_backend(trainer->model),
                               tr_model_queue(trainer->model), tr_model_trained(trainer->model),
                               &layout->spared, &trainer->shards, options, &trainer->ranks, err)
            : tr_fail(err, TR_ERR_ARGUMENT, "every parameter of the model is frozen");
    if (status != TR_OK) {
        tr_trainer_destroy(&trainer);
        return status;
    }
    trainer->pass = tr_response_pass_new(trainer->model);
    tr_response_share(trainer->pass, collective);
    *self = trainer;
    return TR_OK;
}

void tr_trainer_destroy(tr_trainer_t **self)
{
    if (*self != NULL) {
        tr_response_pass_destroy(&(*self)->pass);
        tr_optimizer_destroy(&(*self)->optimizer);
        tr_model_destroy(&(*self)->model);
        tr_shards_release(&(*self)->shards);
        free(*self);
        *self = NULL;
    }
}

tr_model_t *tr_trainer_model(const tr_trainer_t *trainer)
{
    return trainer->model;
}

tr_response_pass_t *tr_trainer_pass(const tr_trainer_t *trainer)
{
    return trainer->pass;
}

/// Sequences that stay together; the options' 0 is 1.
static size_t group_of(const tr_train_pass_t *pass)
{
    return pass->group > 1 ? pass->group : 1;
}

/// A chunk through the model. With `evaluate` nothing is kept for a backward pass.
static tr_status forward(tr_trainer_t *trainer, const tr_chunk_t *chunk,
                         const tr_train_pass_t *pass, float *out, tr_token_facts_t *facts,
                         tr_error_t *err)
{
    bool learn = !pass->evaluate;
    return pass->scores
               ? tr_response_scores(trainer->pass, chunk->sequences, chunk->chosen, chunk->count,
                                    learn, out, err)
               : tr_response_forward(trainer->pass, chunk->sequences, chunk->chosen, chunk->count,
                                     pass->temperature, learn, out, facts, err);
}

/// Numbers that a loss gets for these sequences: one a response token, or one a sequence.
static size_t outputs_of(const tr_sequences_t *sequences, const uint32_t *chosen, size_t count,
                         const tr_train_pass_t *pass)
{
    return pass->scores ? count : tr_response_tokens(sequences, chosen, count);
}

/// Up to one chunk a rank, with the arrays that their losses read and write, one chunk after
/// another.
typedef struct round {
    tr_chunk_t *chunks; // [count]
    size_t count;
    size_t *starts; // [ranks + 1] of each chunk in the arrays
    float *out, *dout, *dmean;
    tr_token_facts_t *facts;
} round_t;

/// Takes chunks of at most `most` sequences from chosen: [left], of a minibatch; returns how many
/// sequences.
static size_t round_open(round_t *round, const tr_trainer_t *trainer, const tr_chunk_t *minibatch,
                         const uint32_t *chosen, size_t left, size_t most,
                         const tr_train_pass_t *pass)
{
    size_t ranks = trainer->shards.ranks, taken = 0, n = 0;
    *round = (round_t){0};
    round->chunks = tr_calloc(ranks, sizeof *round->chunks);
    round->starts = tr_calloc(ranks + 1, sizeof *round->starts);
    for (size_t r = 0; r < ranks; r++) {
        tr_chunk_t *chunk = &round->chunks[r];
        // What all chunks share: the sequences, the normalizer of the means, whether it is the
        // first.
        *chunk = *minibatch;
        // Past the last sequence the count is 0: such chunks belong to ranks that idle in this
        // round.
        chunk->chosen = chosen + taken;
        chunk->count = left - taken < most ? left - taken : most;
        chunk->n = outputs_of(chunk->sequences, chunk->chosen, chunk->count, pass);
        // Chunk r goes to rank r: who computes what follows from the order alone.
        taken += chunk->count;
        n += chunk->n;
        round->count += chunk->count > 0;
        round->starts[r + 1] = n;
    }
    // Zeros, as trainer.h promises of dout and dmean.
    round->out = tr_calloc(3 * n + 1, sizeof *round->out);
    round->dout = round->out + n;
    round->dmean = round->dout + n;
    // Apart from the floats, as the type is another.
    round->facts = tr_calloc(n + 1, sizeof *round->facts);
    for (size_t r = 0; r < round->count; r++) {
        round->chunks[r].out = round->out + round->starts[r];
        round->chunks[r].facts = round->facts + round->starts[r];
        round->chunks[r].dmean = pass->smooths ? round->dmean + round->starts[r] : NULL;
    }
    return taken;
}

/// dout and dmean are parts of out.
static void round_close(round_t *round)
{
    free(round->facts);
    free(round->out);
    free(round->starts);
    free(round->chunks);
}

/// Each rank runs its own chunk; then all have all outputs.
/// Every rank computes the losses of all chunks (learn_round), so every rank gets all outputs.
static tr_status round_forward(tr_trainer_t *trainer, round_t *round, const tr_train_pass_t *pass,
                               tr_error_t *err)
{
    size_t own = trainer->shards.rank;
    if (own < round->count) {
        size_t at = round->starts[own];
        TR_TRY(
            forward(trainer, &round->chunks[own], pass, round->out + at, round->facts + at, err));
    } else {
        model_idle_forward(trainer->model);
    }
    tr_response_gather(trainer->ranks.collective, round->starts, round->out, round->facts);
    return TR_OK;
}

/// How even each chunk's routers are, for all ranks, and each rank's share of the auxiliary loss: a
/// minibatch's is the mean of its chunks', by sequences.
static tr_status round_balance(tr_trainer_t *trainer, const round_t *round,
                               tr_train_pass_result_t *result, tr_error_t *err)
{
    const size_t own = trainer->shards.rank, ranks = trainer->shards.ranks;
    tr_collective_t *collective = trainer->ranks.collective;
    tr_balance_t *balances = tr_calloc(ranks, sizeof *balances);
    size_t *bytes = tr_calloc(ranks + 1, sizeof *bytes);
    tr_status status = TR_OK;
    if (own < round->count) {
        const tr_chunk_t *chunk = &round->chunks[own];
        const double share = (double)chunk->count / (double)chunk->total;
        status = tr_response_balance(trainer->pass, trainer->router_aux_loss_coef * share,
                                     &balances[own], err);
    }
    for (size_t r = 0; r < ranks; r++) {
        bytes[r + 1] = (r + 1) * sizeof *balances;
    }
    if (ranks > 1 && status == TR_OK) {
        collective->ops->gather(collective, balances, bytes);
    }
    for (size_t r = 0; r < round->count; r++) {
        const double weight = (double)round->chunks[r].count;
        result->balance.loss += balances[r].loss * weight;
        result->balance.entropy += balances[r].entropy * weight;
        result->balance.load += balances[r].load * weight;
        result->balance_weight += weight;
    }
    free(bytes);
    free(balances);
    return status;
}

/// Forward, loss and backward of a round. Every rank computes the losses of all chunks, in their
/// order: whatever a loss counts, and whatever it says of exactness, is the same on all.
static tr_status learn_round(tr_trainer_t *trainer, round_t *round, const tr_train_pass_t *pass,
                             tr_loss_fn loss, void *context, tr_train_pass_result_t *result,
                             tr_error_t *err)
{
    size_t own = trainer->shards.rank;
    tr_gradient_t *gradient = NULL;
    if (!pass->evaluate) {
        // Before the passes, since with zero_stage 2 and 3 parts of the gradient are sent while the
        // backward pass runs.
        TR_TRY(tr_optimizer_round(trainer->optimizer, &gradient, round->count, err));
    }
    TR_TRY(round_forward(trainer, round, pass, err));
    for (size_t r = 0; r < round->count; r++) {
        TR_TRY(loss(context, &round->chunks[r], round->dout + round->starts[r], err));
    }
    if (!pass->evaluate && trainer->model->config.experts > 0) {
        TR_TRY(round_balance(trainer, round, result, err));
    }
    if (!pass->evaluate) {
        if (own < round->count) {
            tr_response_backward(trainer->pass, round->dout + round->starts[own],
                                 round->chunks[own].dmean, gradient);
        } else {
            model_idle_backward(trainer->model, gradient);
        }
        // Also by ranks that idled: they hold a shard of what the others computed.
        tr_optimizer_round_end(trainer->optimizer);
    }
    return TR_OK;
}

/// One minibatch: rounds of a chunk a rank until all its sequences have been through the model,
/// then one step of the optimizer. With `evaluate` it is the rounds alone.
static tr_status update(tr_trainer_t *trainer, const tr_sequences_t *sequences,
                        const uint32_t *chosen, size_t count, const tr_train_pass_t *pass,
                        tr_loss_fn loss, void *context, tr_train_pass_result_t *result,
                        tr_error_t *err)
{
    // What every chunk of it knows: losses divide by the whole, not by the part.
    const tr_chunk_t minibatch = {
        .sequences = sequences,
        .normalizer = outputs_of(sequences, chosen, count, pass),
        .total = count,
        .minibatch = chosen,
        .first = result->updates == 0,
    };
    double norm = 0.0;
    // Means would divide by it.
    if (minibatch.normalizer == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "a minibatch of %zu sequences has no response token",
                       count);
    }
    // A round at a time: memory is that of one chunk a rank, however large the minibatch is.
    for (size_t taken = 0; taken < count;) {
        round_t round;
        taken += round_open(&round, trainer, &minibatch, chosen + taken, count - taken,
                            pass->chunk * group_of(pass), pass);
        tr_status status = learn_round(trainer, &round, pass, loss, context, result, err);
        round_close(&round);
        if (status != TR_OK) { // nothing of this minibatch may stay for the next one
            tr_optimizer_discard(trainer->optimizer);
            return status;
        }
    }
    if (pass->evaluate) {
        return TR_OK;
    }
    // Clipping needs the norm of the whole gradient, so all chunks have been added up before.
    TR_TRY(tr_optimizer_step(trainer->optimizer, pass->learning_rate, &norm, err));
    // The parameters have changed in place; passes read copies and windows of them.
    tr_model_repack(trainer->model);
    result->updates++;
    // A sum, of which the caller takes the mean over updates.
    result->norm_sum += norm;
    return TR_OK;
}

/// order: [count], written: the sequences in the order of an epoch, groups kept together.
static void visit(uint32_t *order, size_t count, const tr_train_pass_t *pass, size_t epoch)
{
    size_t group = group_of(pass), groups = count / group;
    for (size_t i = 0; i < groups; i++) {
        // Groups are shuffled, not sequences: the two sides of a pair must be in one chunk.
        order[i] = (uint32_t)i;
    }
    if (!pass->evaluate) {
        tr_rng_permutation(order, groups, pass->seed, pass->step, (uint32_t)epoch);
    }
    for (size_t i = groups; i-- > 0;) { // from the end: order[i] is read before its place is taken
        uint32_t first = order[i] * (uint32_t)group;
        for (size_t k = 0; k < group; k++) {
            order[i * group + k] = first + (uint32_t)k;
        }
    }
}

/// Epochs, and minibatches in each: the loops of PPO (Schulman et al. 2017, algorithm 1).
tr_status tr_trainer_run_pass(tr_trainer_t *trainer, const tr_sequences_t *sequences,
                              const tr_train_pass_t *pass, tr_loss_fn loss, void *context,
                              tr_train_pass_result_t *result, tr_error_t *err)
{
    const size_t group = group_of(pass), groups = sequences->count / group;
    const tr_noise_t noise = {pass->neftune_noise_alpha, pass->seed, pass->step, pass->dropout};
    tr_status status = TR_OK;
    *result = (tr_train_pass_result_t){0};
    if (sequences->count % group != 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%zu sequences are not groups of %zu",
                       sequences->count, group);
    }
    // Drawn by seed, step and sequence: each epoch of a step gives a sequence the same noise.
    tr_response_noise(trainer->pass, &noise);
    uint32_t *order = tr_calloc(sequences->count, sizeof *order);
    for (size_t epoch = 0; epoch < pass->epochs && status == TR_OK; epoch++) {
        visit(order, sequences->count, pass, epoch);
        for (size_t m = 0; m < pass->minibatches && status == TR_OK; m++) {
            // Whole groups, as even as they can be.
            size_t first = groups * m / pass->minibatches * group;
            size_t end = groups * (m + 1) / pass->minibatches * group;
            status = update(trainer, sequences, order + first, end - first, pass, loss, context,
                            result, err);
        }
        result->epochs += status == TR_OK;
        // For PPO's target_kl: an epoch is finished before the pass ends, on all ranks.
        if (status == TR_OK && pass->ends != NULL && pass->ends(context)) {
            break;
        }
    }
    free(order);
    return status;
}
