/// Learning: a model, its optimizer, and the walk over epochs, minibatches and chunks; by one process or by several ranks.
///
/// One update takes a minibatch of sequences. It runs through the model a chunk at a time; what the loss says about each
/// chunk goes back, and the chunks' gradients add up in the optimizer's tree. The size of a chunk is the recipe's, so
/// the result is a function of recipe, data and seed.
#ifndef TR_MODEL_TRAINER_H
#define TR_MODEL_TRAINER_H

#include "common/model/response.h"
#include "common/optim/optimizer.h"

typedef struct tr_trainer tr_trainer_t;

/// What the loss sees of one chunk.
typedef struct tr_chunk {
    const tr_sequences_t *sequences;
    const uint32_t *chosen; ///< [count] sequences of this chunk
    size_t count;
    size_t n;                      ///< their response tokens; for scores, count
    size_t normalizer;             ///< n of the whole minibatch: means divide by it
    size_t total;                  ///< count of the whole minibatch
    const float *out;              ///< [n] log-probs, values or scores
    const tr_token_facts_t *facts; ///< [n]; undefined for a scalar model
    float *dmean; ///< [n] zeros, for dloss/d facts.mean; NULL unless the walk smooths
    bool first;   ///< no update of this walk came before
} tr_chunk_t;

/// Writes dloss/dout to dout: [n]. In a walk that evaluates nobody reads it.
typedef tr_status (*tr_loss_fn)(void *context, const tr_chunk_t *chunk, float *dout,
                                tr_error_t *err);

typedef struct tr_train_pass {
    size_t epochs;
    size_t
        minibatches; ///< an epoch; sequences are dealt out in equal parts, the last takes the rest
    size_t chunk;    ///< groups
    size_t group;    ///< sequences that follow each other and stay together: 2 for pairs; 0 is 1
    bool scores;     ///< out is a scalar model's score of each whole sequence (a reward model)
    bool smooths;    ///< the loss depends on the facts' means too
    bool evaluate;   ///< forward passes alone, in the order given: no update
    uint64_t seed;   ///< of the order in which sequences are visited
    uint32_t step;   ///< likewise; every epoch has its own order
    float temperature; ///< of the distribution whose log-probs are taken; ignored by scalar models
    double learning_rate;
    double neftune_noise_alpha; ///< of noise on the embeddings while learning (response.h); 0: none
} tr_train_pass_t;

typedef struct tr_train_pass_result {
    size_t updates;
    double norm_sum; ///< of global gradient norms before clipping
} tr_train_pass_result_t;

/// Takes the model (and nulls it). options and ranks as in optimizer.h; ranks: copied, or NULL for one process.
tr_status tr_trainer_new(tr_trainer_t **trainer, tr_model_t **model,
                         const tr_optimizer_options_t *options, const tr_ranks_t *ranks,
                         tr_error_t *err);
void tr_trainer_destroy(tr_trainer_t **trainer);

tr_model_t *tr_trainer_model(const tr_trainer_t *trainer);
tr_response_pass_t *tr_trainer_pass(const tr_trainer_t *trainer);

/// epochs x minibatches updates on the sequences. With N ranks all call it with the same arguments: chunk i of a minibatch goes
/// through the model on rank i mod N, every rank's loss sees every chunk in order, and all end with the same parameters.
tr_status tr_trainer_run_pass(tr_trainer_t *trainer, const tr_sequences_t *sequences,
                              const tr_train_pass_t *walk, tr_loss_fn loss, void *context,
                              tr_train_pass_result_t *result, tr_error_t *err);

/// What rank 0 alone does with a trainer that ranks share (it saves, or publishes): the others attend, give it what they hold
/// when it asks, and return what it returned; it ends with dismiss, which returns status.
tr_status tr_trainer_attend(const tr_trainer_t *trainer, tr_error_t *err);
tr_status tr_trainer_dismiss(const tr_trainer_t *trainer, tr_status status);

/// On rank 0, while the others attend: the parameters, to values: [layout.total] on the host.
tr_status tr_trainer_read(const tr_trainer_t *trainer, float *values, tr_error_t *err);
/// The same on all ranks, which all call it while nobody attends.
tr_status tr_trainer_read_everywhere(const tr_trainer_t *trainer, float *values, tr_error_t *err);
/// On rank 0 again, what passes read: tr_model_weight_bytes of it, [real].
tr_status tr_trainer_read_weights(const tr_trainer_t *trainer, void *weights, tr_error_t *err);

/// With ranks, all call it, and rank 0 writes. Writes the model as a Hugging Face directory that must not be there yet (or be empty), all or nothing. Tokenizer files
/// are copied from `source`. optimizer: also optimizer.safetensors (exp_avg, exp_avg_sq: [parameters] in layout order, and
/// step: the updates so far), which makes it a checkpoint.
tr_status tr_trainer_save(const tr_trainer_t *trainer, const char *directory, const char *source,
                          bool optimizer, tr_error_t *err);

/// The same for a model that nobody trains.
tr_status tr_trainer_save_model(const tr_model_t *model, const char *directory, const char *source,
                                tr_error_t *err);

/// Restores the optimizer's state that tr_trainer_save wrote; the model was opened from the same directory.
tr_status tr_trainer_restore(tr_trainer_t *trainer, const char *directory, tr_error_t *err);

#endif
