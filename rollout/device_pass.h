/// One pass of a decoder's model on the device: what goes up, what runs, what comes down.
///
/// Where the device has graphs, a pass that takes one token of each running sequence runs as one: its rows are filled up to a
/// round number, so that few shapes occur, each of which runs once as it is, is then kept as a graph, and from then on
/// started by one call. The filling rows write to a page of the cache that nobody reads.
#ifndef TR_ROLLOUT_DEVICE_PASS_H
#define TR_ROLLOUT_DEVICE_PASS_H

#include "common/model/model.h"

/// What a pass takes.
typedef struct rollout_pass {
    tr_span_t *spans; ///< [count], with room for rollout_device_rows(count)
    size_t count;
    int32_t *sampled_rows; ///< [samples, room likewise] rows whose next token is drawn
    float *uniforms;       ///< [samples, room likewise]
    size_t samples;
} rollout_pass_t;

/// Host copies of what the operator `sample` wrote. [samples]; kept_ids: [samples, kept_columns].
typedef struct rollout_drawn {
    int32_t *tokens;
    float *logprobs, *raw;
    int32_t *kept_counts;
    int32_t *kept_ids;
    size_t kept_columns; ///< 0: nothing is ever cut
} rollout_drawn_t;

typedef struct rollout_device rollout_device_t;

/// model is borrowed.
rollout_device_t *rollout_device_new(tr_model_t *model);
void rollout_device_destroy(rollout_device_t **device);

/// Rows that a pass of `count` sequences may be filled up to.
size_t rollout_device_rows(size_t count);

/// The cache of the passes to come; spare: its page that nobody reads. Graphs of another cache are forgotten.
void rollout_device_use(rollout_device_t *device, tr_cache_t *cache, int32_t spare);

/// Forgets the graphs: an address that is in them has changed.
void rollout_device_forget(rollout_device_t *device);

/// Runs the pass; drawn: written, of the pass's samples. The pass's arrays may be filled up beyond their counts.
tr_status rollout_device_run(rollout_device_t *device, rollout_drawn_t *drawn,
                             const rollout_pass_t *pass, const tr_sampling_t *sampling,
                             tr_error_t *err);

/// Passes that ran as a graph so far.
size_t rollout_device_graph_runs(const rollout_device_t *device);

#endif
