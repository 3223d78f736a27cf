/// Heads over the passes of transformer.c: from chosen sequences to a log-probability or value a
/// response token, or a score a sequence, and back. The shapes that the trainer and all losses see.
#include "common/model/response.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/model/model_private.h"

/// Logits that a chunk keeps for its backward pass at most, in floats: 256 MiB. Others are computed
/// again, to the same bits: this decides speed and memory only.
enum { KEPT_LOGITS = 64 << 20 };

struct tr_response_pass {
    tr_model_t *model;
    tr_arena_t *arena;
    tr_activations_t *saved;
    tr_noise_t noise;
    tr_collective_t *collective; // of tr_response_forward_all
    // The last forward pass, its tensors in the arena:
    size_t tokens;
    size_t n;   // rows that a head reads
    bool learn; // `saved` belongs to this pass
    float temperature;
    tr_tensor_t rows;     // i32 [n]
    tr_tensor_t gathered; // [n, H]
    tr_tensor_t targets;  // i32 [n]
    tr_kept_t kept;
    tr_tensor_t logits; // [rows, vocabulary] of the first rows, kept for the backward pass
};

/// The arena is empty until the first pass, and then grows to what the largest one needs.
tr_response_pass_t *tr_response_pass_new(tr_model_t *model)
{
    tr_response_pass_t *pass = tr_calloc(1, sizeof *pass);
    pass->model = model;
    pass->arena = tr_arena_new(model->backend);
    return pass;
}

void tr_response_pass_destroy(tr_response_pass_t **self)
{
    if (*self != NULL) {
        tr_activations_destroy(&(*self)->saved);
        tr_arena_destroy(&(*self)->arena);
        free(*self);
        *self = NULL;
    }
}

void tr_noise_draw(float *noise, const tr_noise_t *options, uint32_t sequence, size_t length,
                   size_t hidden)
{
    size_t n = length * hidden;
    // alpha / sqrt(L H): the expected length of a sequence's noise does not grow with the sequence.
    float magnitude = (float)(options->alpha / sqrt((double)n));
    tr_rng_uniforms(noise, n, options->seed, TR_RNG_NOISE, options->step, sequence);
    for (size_t i = 0; i < n; i++) {
        // From [0, 1) to [-1, 1).
        noise[i] = (2.0f * noise[i] - 1.0f) * magnitude;
    }
}

void tr_response_noise(tr_response_pass_t *pass, const tr_noise_t *noise)
{
    pass->noise = *noise;
}

static size_t response_length(const tr_sequences_t *sequences, uint32_t s)
{
    return (size_t)(sequences->response_starts[s + 1] - sequences->response_starts[s]);
}

size_t tr_response_tokens(const tr_sequences_t *sequences, const uint32_t *chosen, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += response_length(sequences, chosen[i]);
    }
    return n;
}

/// What the chosen sequences have of an array over all response tokens, packed as a chunk's outputs
/// are.
size_t tr_response_select(float *out, const float *values, const tr_sequences_t *sequences,
                          const uint32_t *chosen, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = response_length(sequences, chosen[i]);
        memcpy(out + n, values + sequences->response_starts[chosen[i]], length * sizeof *out);
        n += length;
    }
    return n;
}

/// [rows, hidden], [real].
/// A matrix as wide as the residual stream.
static tr_tensor_t real_rows(const tr_response_pass_t *pass, size_t rows)
{
    return tr_arena_tensor(pass->arena, pass->model->backend->real, rows,
                           pass->model->config.hidden);
}

/// Noise for every token of the batch. spans: of the chosen sequences.
static void add_noise(tr_response_pass_t *pass, tr_batch_t *batch, const tr_span_t *spans,
                      const uint32_t *chosen, size_t count)
{
    size_t hidden = pass->model->config.hidden, at = 0;
    // Drawn on the host, addressed by the sequence's number and not by its place in the batch: the
    // same noise in whatever chunk the sequence comes.
    float *noise = tr_calloc(batch->ragged.tokens * hidden + 1, sizeof *noise);
    for (size_t i = 0; i < count && !pass->model->backend->dry; i++) {
        tr_noise_draw(noise + at, &pass->noise, chosen[i], spans[i].length, hidden);
        at += spans[i].length * hidden;
    }
    batch->noise =
        tr_arena_reals(pass->arena, pass->model->queue, noise, batch->ragged.tokens * hidden);
    free(noise);
}

/// The addresses of the batch's tokens, by which adapters drop what they read: places among all
/// sequences, and so the same in whatever chunk a sequence comes. The seed is the step's.
static void add_dropout(tr_response_pass_t *pass, tr_batch_t *batch,
                        const tr_sequences_t *sequences, const uint32_t *chosen, size_t count)
{
    int32_t *addresses = tr_calloc(batch->ragged.tokens + 1, sizeof *addresses);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        for (int32_t t = sequences->starts[chosen[i]]; t < sequences->starts[chosen[i] + 1]; t++) {
            addresses[at++] = t;
        }
    }
    batch->addresses = tr_arena_tensor(pass->arena, TR_I32, 1, batch->ragged.tokens);
    pass->model->backend->ops->write(pass->model->queue, batch->addresses, addresses);
    // Steps are apart by an odd constant, the golden ratio of 64 bits.
    batch->dropout_seed = pass->noise.seed + pass->noise.step * UINT64_C(0x9E3779B97F4A7C15);
    free(addresses);
}

/// Uploads the chosen sequences and runs the trunk: hidden [tokens, H].
static tr_status trunk(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                       const uint32_t *chosen, size_t count, bool learn, tr_tensor_t *hidden,
                       tr_error_t *err)
{
    // The table of rotations has so many rows.
    size_t limit = pass->model->config.max_positions;
    // Whole sequences from position 0: no span has pages, so the batch numbers fresh ones.
    tr_span_t *spans = tr_calloc(count, sizeof *spans);
    for (size_t i = 0; i < count; i++) {
        size_t start = (size_t)sequences->starts[chosen[i]];
        size_t length = (size_t)sequences->starts[chosen[i] + 1] - start;
        // Checked before anything is uploaded: the pass's tensors are still those of the last
        // batch.
        if (length > limit) {
            free(spans);
            return tr_fail(err, TR_ERR_ARGUMENT, "sequence %u has %zu tokens; the model takes %zu",
                           chosen[i], length, limit);
        }
        spans[i] = (tr_span_t){.ids = sequences->ids + start, .length = length};
    }
    tr_batch_t batch;
    // All tensors of the last pass go, those for its backward pass too.
    tr_arena_reset(pass->arena);
    tr_batch_init(&batch, pass->arena, pass->model->queue, spans, count);
    if (learn && pass->noise.alpha != 0.0) {
        add_noise(pass, &batch, spans, chosen, count);
    }
    if (learn && pass->noise.dropout && pass->model->lora.lora_dropout > 0.0) {
        add_dropout(pass, &batch, sequences, chosen, count);
    }
    free(spans);
    // For the backward pass, which has no batch in its arguments.
    pass->tokens = batch.ragged.tokens;
    pass->learn = learn;
    *hidden = tr_model_forward(pass->model, &batch, pass->arena, learn ? &pass->saved : NULL);
    return TR_OK;
}

/// The row before each response token (whose state predicts it), and the tokens: base is the first
/// row of a sequence in the batch.
static void upload_rows(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                        const uint32_t *chosen, size_t count)
{
    size_t n = tr_response_tokens(sequences, chosen, count);
    int32_t *rows = tr_calloc(2 * n + 1, sizeof *rows);
    // One piece of host memory for both.
    int32_t *targets = rows + n;
    size_t at = 0;
    int32_t base = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t s = chosen[i];
        int32_t prompt = sequences->prompt_lengths[s];
        for (size_t t = 0; t < response_length(sequences, s); t++, at++) {
            // Token t of the response stands at prompt + t; the row before it predicts it.
            rows[at] = base + prompt - 1 + (int32_t)t;
            targets[at] = sequences->ids[sequences->starts[s] + prompt + (int32_t)t];
        }
        // Sequences follow each other in the batch without padding.
        base += sequences->starts[s + 1] - sequences->starts[s];
    }
    pass->n = n;
    pass->rows = tr_arena_indices(pass->arena, pass->model->queue, rows, n);
    pass->targets = tr_arena_indices(pass->arena, pass->model->queue, targets, n);
    free(rows);
}

/// The last row of each chosen sequence, where a whole sequence is scored.
static void upload_ends(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                        const uint32_t *chosen, size_t count)
{
    int32_t *rows = tr_calloc(count + 1, sizeof *rows), end = 0;
    for (size_t i = 0; i < count; i++) {
        end += sequences->starts[chosen[i] + 1] - sequences->starts[chosen[i]];
        rows[i] = end - 1;
    }
    pass->n = count;
    pass->rows = tr_arena_indices(pass->arena, pass->model->queue, rows, count);
    free(rows);
}

/// The kept sets of the chosen sequences, one list a response token.
/// Of a batch without sets nothing is uploaded.
static void upload_kept(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                        const uint32_t *chosen, size_t count)
{
    // No sets: the softmax is over the whole vocabulary.
    pass->kept = (tr_kept_t){0};
    if (sequences->kept_offsets == NULL) {
        return;
    }
    // Lists of the chosen sequences are copied side by side, so offsets begin again at 0.
    int32_t *offsets = tr_calloc(pass->n + 1, sizeof *offsets);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        // Offsets count over all response tokens of all sequences, chosen or not.
        const int32_t *first = sequences->kept_offsets + sequences->response_starts[chosen[i]];
        total += (size_t)(first[response_length(sequences, chosen[i])] - first[0]);
    }
    int32_t *ids = tr_calloc(total + 1, sizeof *ids);
    size_t at = 0;
    size_t filled = 0;
    for (size_t i = 0; i < count; i++) {
        const int32_t *list = sequences->kept_offsets + sequences->response_starts[chosen[i]];
        for (size_t t = 0; t < response_length(sequences, chosen[i]); t++, at++) {
            size_t length = (size_t)(list[t + 1] - list[t]);
            // A dry backend counts bytes: the lengths matter, and there may be no lists.
            if (!pass->model->backend->dry) {
                memcpy(ids + filled, sequences->kept_ids + list[t], length * sizeof *ids);
            }
            filled += length;
            offsets[at + 1] = (int32_t)filled;
        }
    }
    tr_queue_t *queue = pass->model->queue;
    pass->kept.offsets = tr_arena_indices(pass->arena, queue, offsets, pass->n + 1);
    // One element at least: all lists may be empty.
    pass->kept.ids = tr_arena_indices(pass->arena, queue, ids, total > 0 ? total : 1);
    free(offsets);
    free(ids);
}

/// Where logits are kept, of as many rows as fit; nowhere if nothing is learnt, or if memory is to
/// be saved.
static tr_tensor_t logits_room(tr_response_pass_t *pass)
{
    size_t vocabulary = pass->model->config.vocabulary, most = KEPT_LOGITS / vocabulary;
    size_t rows = pass->n < most ? pass->n : most;
    return pass->learn && !pass->model->recompute && rows > 0
               ? tr_arena_tensor(pass->arena, TR_F32, rows, vocabulary)
               : (tr_tensor_t){0};
}

/// Log-probs of the targets, and facts (entropy and the like, backend.h) of their distributions.
static void policy_head(tr_response_pass_t *pass, tr_tensor_t out, tr_tensor_t facts)
{
    const tr_ops_t *ops = pass->model->backend->ops;
    ops->logprob(pass->model->queue, out, facts, pass->logits, pass->gathered,
                 tr_model_head(pass->model), pass->model->config.vocabulary, pass->targets,
                 pass->temperature, pass->kept);
}

/// Trunk and head. ends: scores at the sequences' ends, else a number a response token.
/// The head is the model's: log-probs of a language model, values or scores of a scalar one.
static tr_status forward(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                         const uint32_t *chosen, size_t count, bool ends, bool learn, float *out,
                         tr_token_facts_t *facts, tr_error_t *err)
{
    const tr_ops_t *ops = pass->model->backend->ops;
    tr_queue_t *queue = pass->model->queue;
    tr_tensor_t hidden;
    TR_TRY(trunk(pass, sequences, chosen, count, learn, &hidden, err));
    // Where the head is read: a reward model's score stands at a sequence's end.
    if (ends) {
        upload_ends(pass, sequences, chosen, count);
    } else {
        upload_rows(pass, sequences, chosen, count);
    }
    if (pass->n == 0) { // nothing but prompts
        return TR_OK;
    }
    // The head runs over the rows that are asked for: of a long prompt, most are not.
    pass->gathered = real_rows(pass, pass->n);
    ops->gather_rows(queue, pass->gathered, hidden, pass->rows);
    tr_tensor_t result = tr_arena_tensor(pass->arena, TR_F32, 1, pass->n);
    if (pass->model->config.scalar_head) {
        ops->scalar_head(queue, result, pass->gathered, linear_read(pass->model->head));
    } else {
        // Log-probs are those of the distribution that tokens were sampled from, which top_k, top_p
        // and min_p cut; without the sets the ratio of PPO would not be 1 before the first update.
        upload_kept(pass, sequences, chosen, count);
        pass->logits = logits_room(pass);
        // Written in any case: the operator has both at hand from the same logits.
        tr_tensor_t about = tr_arena_tensor(pass->arena, TR_F32, pass->n, TR_FACTS);
        policy_head(pass, result, about);
        if (facts != NULL) {
            ops->read(queue, facts, about);
        }
    }
    // The copies to the host are enqueued behind the kernels, in one order.
    ops->read(queue, out, result);
    // The only wait of a forward pass: until here everything was enqueued.
    return ops->queue_wait(queue, err);
}

tr_status tr_response_forward(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                              const uint32_t *chosen, size_t count, float temperature, bool learn,
                              float *out, tr_token_facts_t *facts, tr_error_t *err)
{
    // Written so that NaN is refused too.
    if (!pass->model->config.scalar_head && !(temperature > 0.0f)) {
        return tr_fail(err, TR_ERR_ARGUMENT, "temperature %g: log-probs need one above 0",
                       (double)temperature);
    }
    pass->temperature = temperature;
    return forward(pass, sequences, chosen, count, false, learn, out, facts, err);
}

/// The head at the last token alone, as a reward model is trained and asked.
tr_status tr_response_scores(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                             const uint32_t *chosen, size_t count, bool learn, float *scores,
                             tr_error_t *err)
{
    TR_ASSERT(pass->model->config.scalar_head, "scores of a policy");
    return forward(pass, sequences, chosen, count, true, learn, scores, NULL, err);
}

/// The reverse of `forward`: through the head to the rows that it read, from these to all rows,
/// then through the trunk. A rank without rows still does its part where parameters are shared.
void tr_response_backward(tr_response_pass_t *pass, const float *dout, const float *dmean,
                          tr_gradient_t *gradient)
{
    const tr_ops_t *ops = pass->model->backend->ops;
    const tr_model_config_t *config = &pass->model->config;
    const tr_weight_t *head = pass->model->head->weight;
    tr_queue_t *queue = pass->model->queue;
    // Without `learn` the activations are an older pass's, or none.
    TR_ASSERT(pass->learn, "backward without a forward pass before it that learns");
    if (pass->n == 0) { // no gradient, but other ranks wait for this one's part of the pass
        model_idle_backward(pass->model, gradient);
        return;
    }
    tr_tensor_t d = tr_arena_reals(pass->arena, queue, dout, pass->n);
    // The gradient of the rows that the head read; the others are added below.
    tr_tensor_t dgathered = real_rows(pass, pass->n);
    if (config->scalar_head) {
        ops->scalar_head_gradient(queue, dgathered,
                                  model_vector_gradient(head, gradient, pass->arena), d,
                                  pass->gathered, linear_read(pass->model->head));
    } else {
        // The head's gradient first, as its segment is the last: a sharded gradient is filled from
        // the end.
        tr_tensor_t dhead = tr_weight_gradient(head, gradient);
        tr_tensor_t even =
            dmean != NULL ? tr_arena_reals(pass->arena, queue, dmean, pass->n) : (tr_tensor_t){0};
        ops->logprob_gradient(queue, dgathered, dhead, d, even, pass->logits, pass->gathered,
                              tr_model_head(pass->model), pass->targets, pass->temperature,
                              pass->kept);
    }
    // Rows that no head read have a gradient of zero.
    tr_tensor_t dhidden = real_rows(pass, pass->tokens);
    ops->zero(queue, dhidden);
    // Rows are distinct: a token is predicted once.
    ops->scatter_rows_add(queue, dhidden, dgathered, pass->rows);
    tr_model_backward(pass->model, pass->saved, dhidden, gradient, pass->arena);
    // Once: the logits have been overwritten.
    pass->learn = false;
}

tr_status tr_response_balance(tr_response_pass_t *pass, double coefficient, tr_balance_t *balance,
                              tr_error_t *err)
{
    TR_ASSERT(pass->learn, "balance without a forward pass before it that learns");
    return tr_model_balance(pass->model, pass->saved, coefficient, balance, pass->arena, err);
}

void tr_response_share(tr_response_pass_t *pass, tr_collective_t *collective)
{
    pass->collective = collective;
}

/// Gives each rank's part of values, of `size` bytes each, to all.
static void gather(tr_collective_t *collective, void *values, const size_t *starts, size_t size)
{
    size_t ranks = tr_collective_size(collective);
    size_t *bytes = tr_calloc(ranks + 1, sizeof *bytes);
    for (size_t r = 0; r <= ranks; r++) {
        // The collective counts bytes, as it moves memory of any type.
        bytes[r] = starts[r] * size;
    }
    collective->ops->gather(collective, values, bytes);
    free(bytes);
}

void tr_response_gather(tr_collective_t *collective, const size_t *starts, float *out,
                        tr_token_facts_t *facts)
{
    if (tr_collective_size(collective) > 1) {
        gather(collective, out, starts, sizeof *out);
        if (facts != NULL) {
            gather(collective, facts, starts, sizeof *facts);
        }
    }
}

/// Each rank runs the chunk of its number in every round, so the same pass is done by one process
/// or by many, with the same bits.
tr_status tr_response_forward_all(tr_response_pass_t *pass, const tr_sequences_t *sequences,
                                  size_t chunk, float temperature, float *out,
                                  tr_token_facts_t *facts, tr_error_t *err)
{
    size_t ranks = tr_collective_size(pass->collective);
    size_t rank = tr_collective_rank(pass->collective);
    // of a round, in which each rank runs a chunk: its first sequence, and its first response token
    size_t *bounds = tr_calloc(2 * (ranks + 1), sizeof *bounds), *starts = bounds + ranks + 1;
    uint32_t *chosen = tr_calloc(sequences->count + 1, sizeof *chosen);
    for (size_t s = 0; s < sequences->count; s++) {
        chosen[s] = (uint32_t)s;
    }
    tr_status status = TR_OK;
    for (size_t s = 0; s < sequences->count && status == TR_OK; s += ranks * chunk) {
        for (size_t r = 0; r <= ranks; r++) {
            // The last round may have chunks that are short or empty.
            size_t bound = s + r * chunk;
            bounds[r] = bound < sequences->count ? bound : sequences->count;
            starts[r] = (size_t)sequences->response_starts[bounds[r]];
        }
        size_t own = bounds[rank], count = bounds[rank + 1] - own, at = starts[rank];
        if (count > 0) {
            status = tr_response_forward(pass, sequences, chosen + own, count, temperature, false,
                                         out + at, facts == NULL ? NULL : facts + at, err);
        } else {
            // Ranks that share the parameters gather them together: who has no sequences takes part
            // nevertheless.
            model_idle_forward(pass->model);
        }
        if (status == TR_OK) {
            tr_response_gather(pass->collective, starts, out, facts);
        }
    }
    free(bounds);
    free(chosen);
    return status;
}
