/// How many bytes of its device a process takes: model, trainer, passes and decoder run on a
/// backend that counts and computes nothing (common/tensor/device.h).
///
/// Not counted is what a process has besides: its program, texts, messages, and on a GPU the
/// driver's own memory. tests/deploy/test_memory.c compares with what real devices are asked for.
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

/// Sequences that are in the model at once. Lengths are cut to its positions.
typedef struct memory_batch {
    size_t sequences;
    size_t length;  ///< tokens of each
    size_t answers; ///< the last of them, which a head predicts; at most length - 1 are taken
    size_t kept;    ///< ids that truncation may keep for an answer; 0: nothing is cut
    bool scores;    ///< a scalar head reads the last token of each alone
} memory_batch_t;

/// The largest that a process does.
typedef struct memory_work {
    tr_model_use_t use;
    const tr_lora_t *lora; ///< the model's adapter; NULL: none
    memory_batch_t batch;  ///< of a pass that learns nothing; no sequences: a learner has none

    const tr_sampling_t *sampling; ///< it generates: the batch's answers, all at once; else NULL

    size_t chunks;        ///< it learns from so many in an update; 0: it learns nothing
    memory_batch_t chunk; ///< the largest
    bool noise;           ///< on the embeddings of chunks (response.h)
    const tr_optimizer_options_t *options;
    size_t ranks;       ///< processes that learn as one, at least 1; measured is the last, whose
                        ///< parts have the most blocks (shards.h)
    tr_ranks_t sharing; ///< of several ranks; the collective is not read
} memory_work_t;

/// device: name, precision and threads are read. Fails as tr_backend_open_dry does.
tr_status memory_of(memory_t *memory, const tr_device_options_t *device,
                    const tr_model_config_t *config, const memory_work_t *work, tr_error_t *err);

#endif
