/// How many bytes of its device a model takes, from its shape and its use alone: no device, no tensors, no allocation.
///
/// What model, optimizer, passes and decoder ask a device for, summed up. `troupe check` compares it with what a device has;
/// tests/common/model/test_memory.c compares it with what is really asked for: never less, and at most 30 % more. What a
/// process has besides is not counted: its program, texts, messages, and on a GPU the driver's own memory.
#ifndef TR_MODEL_MEMORY_H
#define TR_MODEL_MEMORY_H

#include "common/model/model.h"

/// One pass through the model: the largest of those that a process makes.
typedef struct tr_memory_pass {
    size_t sequences;
    size_t tokens;  ///< of all sequences
    size_t longest; ///< tokens of the longest sequence
    size_t answers; ///< rows that a head reads: response tokens, or one a sequence
    size_t kept;    ///< ids that truncation may keep for an answer; 0: nothing is cut
    bool learns;    ///< a backward pass follows
    bool noise;     ///< on the embeddings (response.h)
} tr_memory_pass_t;

typedef struct tr_memory_plan {
    tr_model_use_t use;
    tr_dtype_t real;   ///< what the device computes in: TR_F32 or TR_BF16
    size_t threads;    ///< of a CPU; 0: it is a GPU
    bool host_moments; ///< of a GPU: the moments are in the host's memory (optim/options.h, offload)
    bool recompute;    ///< as tr_model_recompute
    size_t chunks;     ///< of a model that learns: of an update, at least 1
    size_t ranks;      ///< likewise: processes that learn as one (optimizer.h); 0 is 1
    size_t zero_stage; ///< likewise: 1, 2 or 3; of several ranks
    size_t pages; ///< of a decoder's cache, which has one more; 0: passes run over whole sequences
    tr_memory_pass_t pass;
} tr_memory_plan_t;

/// Bytes, of one process.
typedef struct tr_memory {
    size_t weights;   ///< parameters, masters beside bf16, a packed copy, the rotation's table
    size_t optimizer; ///< two moments, of a rank's shard
    size_t
        gradient; ///< a vector a level of the tree over chunks (optimizer.h), and what ranks send
    size_t activations; ///< of the pass, its logits and what operators keep for themselves
    size_t cache;       ///< of keys and values
} tr_memory_t;

tr_memory_t tr_memory_of(const tr_model_config_t *config, const tr_memory_plan_t *plan);

size_t tr_memory_sum(const tr_memory_t *memory);

/// Pages that hold `sequences` sequences of up to `longest` tokens.
size_t tr_memory_pages(size_t sequences, size_t longest);

#endif
