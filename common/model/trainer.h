/// Learning: a model, its optimizer, and passes over sequences in epochs, minibatches and chunks;
/// by one process or by several ranks.
///
/// One update takes a minibatch of sequences. It runs through the model a chunk at a time; each
/// chunk's loss goes back, and the chunks' gradients add up in the optimizer's tree. The size of a
/// chunk is the recipe's, so the result is a function of recipe, data and seed. Gradients, moments
/// and updates are of the model's trained parameters (layout.h); frozen ones stay as they are.
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
    const uint32_t *minibatch;     ///< [total] all its sequences
    const float *out;              ///< [n] log-probs, values or scores
    const tr_token_facts_t *facts; ///< [n]; undefined for a scalar model
    float *dmean; ///< [n] zeros, for dloss/d facts.mean; NULL unless the pass smooths
    bool first;   ///< no update of this pass came before
} tr_chunk_t;

/// Writes dloss/dout to dout: [n] zeros. A pass that evaluates does not read it.
typedef tr_status (*tr_loss_fn)(void *context, const tr_chunk_t *chunk, float *dout,
                                tr_error_t *err);

typedef struct tr_train_pass {
    size_t epochs;
    size_t minibatches; ///< of an epoch: parts of the sequences, as even as they can be
    size_t chunk;       ///< groups
    size_t group;       ///< sequences that follow each other and stay together: 2 for pairs; 0 is 1
    bool scores;        ///< out is a scalar model's score of each whole sequence (a reward model)
    bool smooths;       ///< the loss depends on the facts' means too
    bool evaluate;      ///< forward passes alone, in the order given: no update
    uint64_t seed;      ///< of the order in which sequences are visited
    uint32_t step;      ///< likewise; every epoch has its own order
    float temperature;  ///< of the distribution whose log-probs are taken; ignored by scalar models
    double learning_rate;
    double neftune_noise_alpha; ///< of noise on the embeddings while learning (response.h); 0: none
    bool dropout;               ///< whether adapters drop what they read, as their options say
    /// Asked after each epoch, with the loss's context: true ends the pass there. With ranks, all
    /// must give the same answer. NULL: never.
    bool (*ends)(void *context);
} tr_train_pass_t;

typedef struct tr_train_pass_result {
    size_t epochs; ///< that were finished
    size_t updates;
    double norm_sum; ///< of global gradient norms before clipping
    // Of a model with experts: sums over chunks, each times its sequences.
    tr_balance_t balance;
    double balance_weight; ///< sequences; 0: the model has none, or nothing was learnt
} tr_train_pass_result_t;

/// Takes the model (and nulls it). options and ranks as in optimizer.h; ranks: copied, or NULL for
/// one process. Fails with TR_ERR_ARGUMENT for a model of which nothing is trained.
tr_status tr_trainer_new(tr_trainer_t **trainer, tr_model_t **model,
                         const tr_optimizer_options_t *options, const tr_ranks_t *ranks,
                         tr_error_t *err);
void tr_trainer_destroy(tr_trainer_t **trainer);

tr_model_t *tr_trainer_model(const tr_trainer_t *trainer);
tr_response_pass_t *tr_trainer_pass(const tr_trainer_t *trainer);

/// epochs x minibatches updates on the sequences. With N ranks all call it with the same arguments:
/// chunk i of a minibatch goes through the model on rank i mod N, every rank's loss sees every
/// chunk in order, and all end with the same parameters.
tr_status tr_trainer_run_pass(tr_trainer_t *trainer, const tr_sequences_t *sequences,
                              const tr_train_pass_t *pass, tr_loss_fn loss, void *context,
                              tr_train_pass_result_t *result, tr_error_t *err);

/// For work of rank 0 alone on a trainer that ranks share, such as saving and publishing: the other
/// ranks attend, that is, answer its requests for what they hold until it dismisses them. dismiss
/// returns status, and so does attend on the others.
tr_status tr_trainer_attend(const tr_trainer_t *trainer, tr_error_t *err);
tr_status tr_trainer_dismiss(const tr_trainer_t *trainer, tr_status status);

/// All parameters to values: [layout.total] on the host. All ranks call it, and none attends.
tr_status tr_trainer_read_everywhere(const tr_trainer_t *trainer, float *values, tr_error_t *err);
/// On rank 0, while the others attend: the trained weights as passes read them, [real], of
/// tr_model_weight_bytes bytes.
tr_status tr_trainer_read_weights(const tr_trainer_t *trainer, void *weights, tr_error_t *err);

/// In what dtype a run's last model is saved, as a recipe has it.
typedef enum tr_save_dtype {
    TR_SAVE_AS_BASE, ///< null: as the model that it began with
    TR_SAVE_F32,
    TR_SAVE_BF16,
    TR_SAVE_F16
} tr_save_dtype_t;

/// "null", "float32", "bfloat16" and "float16", by the enum's values, and NULL.
extern const char *const tr_save_dtype_names[];

/// How a model is saved. Texts are borrowed.
typedef struct tr_save_options {
    /// The directory that the model came from: its tokenizer files are copied, and the keys of its
    /// config.json carried along; NULL: none.
    const char *source;
    /// Also optimizer.safetensors (exp_avg, exp_avg_sq: [trained parameters] in the order of the
    /// layout, and step: the updates so far), which makes it a checkpoint.
    bool optimizer;
    tr_dtype_t dtype;          ///< of the weights: TR_F32, TR_BF16 or TR_F16, rounded to nearest
    const char *chat_template; ///< Jinja, instead of source's; NULL: that
} tr_save_options_t;

/// Writes the model, all parameters of it, as a Hugging Face directory that must not be there yet
/// (or be empty), all or nothing. With ranks, all call it, and rank 0 writes. TR_ERR_NUMERIC for a
/// weight beyond the range of TR_F16.
tr_status tr_trainer_save(const tr_trainer_t *trainer, const char *directory,
                          const tr_save_options_t *options, tr_error_t *err);

/// The same for a model that nobody trains; there is no optimizer.
tr_status tr_trainer_save_model(const tr_model_t *model, const char *directory,
                                const tr_save_options_t *options, tr_error_t *err);

/// Restores the optimizer's state that tr_trainer_save wrote; the model was opened from the same
/// directory, and as much of it is trained.
tr_status tr_trainer_restore(tr_trainer_t *trainer, const char *directory, tr_error_t *err);

#endif
