/// Generation with continuous batching over the paged key-value cache.
///
/// Sequences begin and end independently: each pass of the model takes the next token of every
/// running sequence and parts of the prompts of those that just began. The tokens of a sequence
/// depend on (seed, prompt, sample, position) and the weights alone, never on its neighbours.
#ifndef TR_ROLLOUT_DECODER_H
#define TR_ROLLOUT_DECODER_H

#include "common/base/fields.h"
#include "common/model/model.h"
#include "common/text/tokenizer.h"
#include "proto/responses.h"

/// Prompt tokens that a pass takes besides the running sequences' next tokens.
enum { ROLLOUT_PASS_TOKENS = 512 };

typedef struct rollout_options {
    tr_sampling_t sampling;
    size_t max_new_tokens;
    uint64_t seed;
    /// [stop_count], borrowed: they end a response as the model's own EOS ids do.
    const int32_t *stop_ids;
    size_t stop_count;
    /// Texts that end a response when its text holds one; borrowed, as the tokenizer, which is read
    /// only if there are any.
    tr_texts_t stop;
    const tr_tokenizer_t *tokenizer;
    bool ignore_eos; ///< go on past the model's own EOS ids
} rollout_options_t;

/// One response to generate.
typedef struct rollout_request {
    const int32_t *prompt; ///< [length], length >= 1, borrowed
    size_t length;
    uint32_t prompt_number; ///< in the run; with sample and position it selects the random numbers
    uint32_t sample;        ///< which of the prompt's samples
} rollout_request_t;

/// One response. Arrays are owned by the result; the stop token is part of the response.
typedef struct rollout_response {
    int32_t *ids;       ///< [length]
    float *logprobs;    ///< [length] under the distribution sampled from
    float *raw;         ///< [length] under the untempered model
    int32_t *kept_ends; ///< [length] ends of the lists in kept_ids; an empty list: nothing was cut
    int32_t *kept_ids;  ///< [kept]
    size_t length;
    size_t kept;
    tr_finish_t finish;
} rollout_response_t;

void rollout_response_release(rollout_response_t *response);

/// Called for each token as it is generated; index is the request's. Returning false stops
/// generation.
typedef bool (*rollout_token_fn)(void *context, size_t index, int32_t id);

typedef struct rollout_decoder rollout_decoder_t;

/// At most max_batch sequences run at once. model is borrowed.
rollout_decoder_t *rollout_decoder_new(tr_model_t *model, size_t max_batch);
void rollout_decoder_destroy(rollout_decoder_t **decoder);

/// Generates `count` responses. responses: [count], written; release each. on_token may be NULL. A
/// prompt with no room for a token within the model's positions fails by its number; max_new_tokens
/// (at least 1) is cut to that room, and the response then ends by length. Stopped by on_token:
/// TR_ERR_INTERRUPTED; a log-prob that is not finite: TR_ERR_NUMERIC. After a failure there is
/// nothing to release.
tr_status rollout_decode(rollout_decoder_t *decoder, rollout_response_t *responses,
                         const rollout_request_t *requests, size_t count,
                         const rollout_options_t *options, rollout_token_fn on_token, void *context,
                         tr_error_t *err);

/// On a dry backend (common/tensor/device.h): takes all memory that a new decoder ever needs for
/// `sequences` sequences at once of up to `longest` tokens, of which the prompt has up to `prompt`,
/// by the largest passes. *cache: bytes of the cache alone.
tr_status rollout_decoder_rehearse(size_t *cache, rollout_decoder_t *decoder, size_t sequences,
                                   size_t prompt, size_t longest, const tr_sampling_t *sampling,
                                   tr_error_t *err);

/// The model's weights have another address: graphs that were recorded with the old one are
/// dropped.
void rollout_decoder_weights_moved(rollout_decoder_t *decoder);

#endif
