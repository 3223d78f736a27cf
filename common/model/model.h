/// A decoder-only transformer: parameters, forward pass, backward pass. One forward pass serves
/// rollouts, trainers and references.
///
/// Knows the operator table, never a backend; and no family by name (families/family.h). A model
/// belongs to one thread. `hidden` below means the rows after the final norm, [tokens, hidden];
/// what heads make of them is in response.h.
#ifndef TR_MODEL_MODEL_H
#define TR_MODEL_MODEL_H

#include "common/collective/collective.h"
#include "common/model/batch.h"
#include "common/model/layout.h"
#include "common/tensor/gradient.h"

typedef struct tr_model tr_model_t;

/// What the forward pass keeps for the backward pass. Its tensors live until the arena's reset; the
/// object itself is made by the first forward pass, serves again in later ones, and is freed by
/// tr_activations_destroy.
typedef struct tr_activations tr_activations_t;
void tr_activations_destroy(tr_activations_t **activations);

/// What a model is for, which decides what it keeps besides the weights that passes read.
typedef enum tr_model_use {
    TR_MODEL_READS, ///< passes over whole sequences
    /// Small batches, and many: on a CPU a packed copy of the weights, at twice the memory.
    TR_MODEL_DECODES,
    /// Backward passes too: on a device that computes in bf16 the trained parameters in f32 as
    /// well.
    TR_MODEL_LEARNS,
    /// The same without those in f32: updates are rounded stochastically (backend.h, adamw).
    TR_MODEL_LEARNS_ROUNDED
} tr_model_use_t;

typedef struct tr_model_options {
    tr_model_use_t use;
    /// Ranks that share the parameters (zero_stage 3, common/optim/optimizer.h): each holds its
    /// shard, and every pass gathers the others' with them, so all ranks call the same functions.
    /// Of TR_MODEL_LEARNS. Borrowed; NULL: this process has all.
    tr_collective_t *collective;
    const tr_selection_t *trained; ///< layout.h; asked by tr_model_new_with alone; NULL: all
    const tr_lora_t *lora;         ///< copied; NULL, or of r 0: no adapter. With one, no selection
} tr_model_options_t;

/// A model with zero weights. config is copied. Fails as tr_layout_adapt too.
tr_status tr_model_new_with(tr_model_t **model, const tr_model_config_t *config,
                            tr_backend_t *backend, const tr_model_options_t *options,
                            tr_error_t *err);
/// The same of one process, all trained.
tr_status tr_model_new(tr_model_t **model, const tr_model_config_t *config, tr_backend_t *backend,
                       tr_model_use_t use, tr_error_t *err);
void tr_model_destroy(tr_model_t **model);

/// Weights from a Hugging Face directory of this shape. A scalar model
/// (tr_model_config_make_scalar) takes the trunk of any, and its head where there is one, else a
/// fresh head (normal, standard deviation 1/sqrt(hidden + 1), addressed by seed). Fails for a
/// tensor that this model has no place for: a part that would be left out in silence.
tr_status tr_model_load(tr_model_t *model, const char *directory, uint64_t seed, tr_error_t *err);
/// The adapter's weights from a directory of PEFT, of a model that has one. Fails for a tensor that
/// is missing or has no place.
tr_status tr_model_load_adapter(tr_model_t *model, const char *directory, tr_error_t *err);
/// Whether passes leave the adapter out from now on: the model that it is of, if nothing else is
/// trained. New models do not.
void tr_model_leave_adapter(tr_model_t *model, bool leave);
/// *merged: a model without an adapter, on the same device, that computes what this one does with
/// its adapter, up to rounding.
tr_status tr_model_merge(tr_model_t **merged, const tr_model_t *model, tr_error_t *err);
/// NULL: it has none.
const tr_lora_t *tr_model_lora(const tr_model_t *model);

/// Whether tr_model_load of a model of this shape would take the directory's weights, by the
/// headers of its files: in milliseconds, whatever the model's size.
tr_status tr_model_check(const tr_model_config_t *config, const char *directory, tr_error_t *err);
/// The config of what tr_model_open opens: an adapter may have a scalar head.
tr_status tr_model_config_load_adapted(tr_model_config_t *config, const char *directory,
                                       const char *adapter, tr_error_t *err);
/// As tr_model_check, of a directory of PEFT, for a model of this shape.
tr_status tr_model_check_adapter(const tr_model_config_t *config, const char *directory,
                                 tr_error_t *err);
/// A model as a Hugging Face directory describes it, with its weights; adapter: a directory of PEFT
/// for it, or NULL.
tr_status tr_model_open(tr_model_t **model, const char *directory, const char *adapter,
                        tr_backend_t *backend, tr_model_use_t use, tr_error_t *err);

/// The dtype in which a directory has its weights: that of its first tensor; TR_F32 where it has
/// none, only a configuration. Fails as tr_safetensors_open.
tr_status tr_model_stored_dtype(tr_dtype_t *dtype, const char *directory, tr_error_t *err);

/// Fresh weights: normal with standard deviation 0.02 (projections into the residual stream
/// 0.02/sqrt(2 layers)), norms 1.
void tr_model_randomize(tr_model_t *model, uint64_t seed);

const tr_model_config_t *tr_model_config(const tr_model_t *model);
/// What config.json will say of a reward model's scores (config.h); nothing here computes with it.
void tr_model_set_scores(tr_model_t *model, double mean, double deviation);
/// As tr_model_config_align, of the model's config.
tr_status tr_model_align(tr_model_t *model, int32_t eos, tr_error_t *err);
const tr_layout_t *tr_model_layout(const tr_model_t *model);
tr_backend_t *tr_model_backend(const tr_model_t *model);
tr_queue_t *tr_model_queue(const tr_model_t *model);

// Parameters as numbers

/// The trained parameters as one vector, which an optimizer updates: f32, but [real] (backend.h) of
/// a model that does not learn or rounds its updates; of a sharded model, this rank's shard. After
/// writing to it call tr_model_repack, which makes anew what passes read (the packed copy, the copy
/// in bf16) and forgets what was gathered.
tr_tensor_t tr_model_trained(const tr_model_t *model);
void tr_model_repack(tr_model_t *model);

/// All parameters, in the order of the layout's offsets, from host memory and to it: values:
/// [layout.total] floats, whatever the device keeps. To a sharded model all ranks write the same; a
/// model that is read is not sharded (trainer.h: tr_trainer_read_everywhere).
void tr_model_write_parameters(tr_model_t *model, const float *values);
tr_status tr_model_read_parameters(const tr_model_t *model, float *values, tr_error_t *err);

// Weights as passes read them, from a learner to its followers

/// The trained weights as one [real] vector in host memory: an actor publishes it and a rollout
/// takes it. A frozen weight is the same on both sides. A model that is read is not sharded.
size_t tr_model_weight_bytes(const tr_model_t *model);
void tr_model_write_weights(tr_model_t *model, const void *weights);
tr_status tr_model_read_weights(const tr_model_t *model, void *weights, tr_error_t *err);

/// Where passes read them, for another process of this machine, of a model on a GPU that is not
/// sharded; it changes with each update.
tr_status tr_model_export_weights(const tr_model_t *model, tr_device_memory_t *memory,
                                  tr_error_t *err);
/// Takes weights that another process exported: from now on this model reads them where they are
/// (and has none of its own), or has a copy where they lie on another GPU. *moved: passes read
/// another place than before.
tr_status tr_model_import_weights(tr_model_t *model, const tr_device_memory_t *memory, bool *moved,
                                  tr_error_t *err);

/// The head as operators read it: [V, H] of a language model, [1, H] of a scalar model. [real]
tr_head_t tr_model_head(const tr_model_t *model);

// Passes

/// What every layer keeps of tokens, in one buffer.
typedef struct tr_cache tr_cache_t;

typedef struct tr_cache_room {
    size_t pages; ///< of keys and values, in layers that see all keys,
    size_t ring;  ///< and in those with a window
    size_t slots; ///< sequences whose states a layer with a gated delta net keeps
} tr_cache_room_t;

tr_status tr_cache_new(tr_cache_t **cache, const tr_model_t *model, tr_cache_room_t room,
                       tr_error_t *err);
/// What one sequence of up to `longest` tokens needs, of which a pass takes up to `chunk`: in rings
/// the pages of a window and a chunk, or 0 where no layer has a window.
tr_cache_room_t tr_cache_room_of(const tr_model_config_t *config, size_t longest, size_t chunk);
void tr_cache_destroy(tr_cache_t **cache);

/// hidden = the model on the batch, whose spans name pages and slots of the cache. Temporary
/// tensors come from the arena.
tr_tensor_t tr_model_decode(tr_model_t *model, tr_cache_t *cache, const tr_batch_t *batch,
                            tr_arena_t *arena);

/// Whether later forward passes keep only each layer's input for the backward pass, and no logits;
/// it then runs layers and head forward again (Chen et al. 2016, "Training deep nets with sublinear
/// memory cost"): the same bits for less memory and more time. New models do not.
void tr_model_recompute(tr_model_t *model, bool recompute);

/// hidden = the model on a batch of whole sequences (fresh pages). saved: NULL, or where what
/// backward needs is kept.
tr_tensor_t tr_model_forward(tr_model_t *model, const tr_batch_t *batch, tr_arena_t *arena,
                             tr_activations_t **saved);

/// How even the routers' choices were, over the tokens and layers of a learning forward pass.
typedef struct tr_balance {
    double loss;    ///< transformers' load_balancing_loss_func (Fedus et al. 2021, eq. 4 to 6)
    double entropy; ///< nats; of a router's distribution, the mean
    double load;    ///< choices of a layer's busiest expert by those of an even router, the mean
} tr_balance_t;

/// Of a model with experts, after a forward pass that keeps for a backward pass: measures, and has
/// the backward pass add the gradient of coefficient * loss.
tr_status tr_model_balance(tr_model_t *model, tr_activations_t *saved, double coefficient,
                           tr_balance_t *balance, tr_arena_t *arena, tr_error_t *err);

/// Of a model that learns. Adds the gradient with respect to every trained parameter below the
/// head, given dhidden: [tokens, hidden], to gradient, of the layout's trained vector. Chains over
/// tokens continue from the gradient's content. The head's is there already: each segment is
/// complete when its layer was passed.
void tr_model_backward(tr_model_t *model, tr_activations_t *saved, tr_tensor_t dhidden,
                       tr_gradient_t *gradient, tr_arena_t *arena);

#endif
