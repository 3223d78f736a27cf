/// One pass of a decoder's model on the device: upload, run, download.
///
/// Where the device has graphs, a pass that takes one token of each running sequence runs as one.
/// Its rows are filled up to a round number, so that few shapes occur; each shape runs once as it
/// is, is then recorded as a graph, and from then on launched by one call. The filling rows write
/// to a page of the cache that nobody reads.
#ifndef TR_ROLLOUT_DEVICE_PASS_H
#define TR_ROLLOUT_DEVICE_PASS_H

#include "common/model/model.h"

/// The input of a pass.
typedef struct rollout_pass {
    tr_span_t *spans; ///< [count], with room for rollout_device_rows(count)
    size_t count;
    int32_t *sampled_rows; ///< [samples], room as spans: rows whose next token is sampled
    float *uniforms;       ///< [samples], room as spans: a random number for each
    size_t samples;
} rollout_pass_t;

/// Host copies of the outputs of the operator `sample`: [samples]; kept_ids: [samples,
/// kept_columns].
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

/// The rows that a pass of `count` sequences is filled up to.
size_t rollout_device_rows(size_t count);

/// The cache of the passes to come; room: its own, of which nobody reads the last page, page of
/// rings and slot. Graphs of another cache are dropped.
void rollout_device_use(rollout_device_t *device, tr_cache_t *cache, tr_cache_room_t room);

/// Drops the graphs: an address that is recorded in them has changed.
void rollout_device_forget(rollout_device_t *device);

/// Runs the pass. drawn: written, for the samples of the pass. The arrays of the pass may be filled
/// up beyond their counts.
tr_status rollout_device_run(rollout_device_t *device, rollout_drawn_t *drawn,
                             const rollout_pass_t *pass, const tr_sampling_t *sampling,
                             tr_error_t *err);

#endif
