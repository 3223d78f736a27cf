/// How many bytes of its device a process takes: model, trainer, passes and decoder run on a backend
/// that counts and computes nothing (common/tensor/dry.h).
///
/// Not counted is what a process has besides: its program, texts, messages, and on a GPU the driver's
/// own memory. tests/deploy/test_memory.c compares with what real devices are asked for.
#ifndef DEPLOY_MEMORY_H
#define DEPLOY_MEMORY_H

#include "common/model/trainer.h"
#include "common/tensor/device.h"

/// Bytes, of one process.
typedef struct memory {
    size_t weights;     ///< parameters, masters beside bf16, a packed copy, the rotation's table
    size_t optimizer;   ///< two moments, of a rank's shard
    size_t gradient;    ///< a vector a level of the tree over chunks (tree.h), and what ranks send
    size_t activations; ///< of the largest pass, with what operators keep for themselves
    size_t cache;       ///< of keys and values
    size_t host;        ///< of the host, and in no sum: moments that were taken off a GPU
} memory_t;

size_t memory_sum(const memory_t *memory);

/// What goes through a model at once. Lengths are cut to the model's positions.
typedef struct memory_batch {
    size_t sequences;
    size_t length;  ///< tokens of each
    size_t answers; ///< the last of them, which a head predicts; below length
    size_t kept;    ///< ids that truncation may keep for an answer; 0: nothing is cut
    bool scores;    ///< a scalar head reads the last token of each alone
} memory_batch_t;

typedef struct memory_learner {
    tr_model_use_t use;
    const tr_optimizer_options_t *options; ///< offload and gradient_checkpointing are read
    size_t ranks;                          ///< processes that learn as one, at least 1
    tr_ranks_t sharing;                    ///< of several ranks; the collective is not read
    size_t chunks;                         ///< of an update, at least 1
    memory_batch_t chunk;                  ///< the largest
    bool noise;                            ///< on the embeddings of chunks (response.h)
    memory_batch_t inference; ///< a pass that learns nothing; no sequences: there is none
} memory_learner_t;

// device: name, precision and threads are read. They fail as tr_backend_open_dry does.

/// An actor or a critic; of several ranks the last, whose parts have the most blocks (shards.h).
tr_status memory_of_learner(memory_t *memory, const tr_device_options_t *device,
                            const tr_model_config_t *config, const memory_learner_t *learner,
                            tr_error_t *err);

/// A model that runs batches and learns nothing: a reference, a judge.
tr_status memory_of_reader(memory_t *memory, const tr_device_options_t *device,
                           const tr_model_config_t *config, tr_model_use_t use,
                           const memory_batch_t *batch, tr_error_t *err);

/// A rollout that decodes `sequences` sequences of up to `longest` tokens at once, of which the prompt
/// has up to `prompt`.
tr_status memory_of_decoder(memory_t *memory, const tr_device_options_t *device,
                            const tr_model_config_t *config, size_t sequences, size_t prompt,
                            size_t longest, const tr_sampling_t *sampling, tr_error_t *err);

#endif
