/// The experience of a step: the responses of a batch, ragged, in the order of the data, with the
/// numbers of each token.
///
/// Plain arrays on the host, filled phase by phase. Response i answers prompt i / samples of the
/// step's batch.
#ifndef CONTROLLER_EXPERIENCE_H
#define CONTROLLER_EXPERIENCE_H

#include "common/data/rows.h"
#include "proto/responses.h"
#include "proto/sequences.h"

typedef struct controller_experience {
    size_t count;   ///< responses
    size_t samples; ///< responses to a prompt
    size_t tokens;  ///< response tokens

    // Prompts with responses, in one block that begins at ids; sequences points into it.
    tr_sequences_t sequences;
    int32_t *ids;
    int32_t *starts;          ///< [count + 1]
    int32_t *prompt_lengths;  ///< [count]
    int32_t *response_starts; ///< [count + 1]
    int32_t *kept_offsets;    ///< [tokens + 1] or NULL
    int32_t *kept_ids;
    int32_t *finish; ///< [count] tr_finish_t

    // One block, which begins at scores: [count], and then over response tokens, [tokens] each:
    float *scores;
    float *logprobs, *reference, *values, *kl, *rewards, *advantages, *returns;
} controller_experience_t;

/// Joins the shards, which cover the responses in order, to one experience, and allocates the
/// arrays that later phases fill. data: the prompts, count / samples of them. The messages of the
/// shards are not needed any more. TR_ERR_ARGUMENT when there are more ids than an int32_t
/// counts; there is then nothing to release.
tr_status controller_experience_init(controller_experience_t *experience, const tr_rows_t *data,
                                     size_t samples, const tr_responses_t *shards,
                                     size_t shard_count, tr_error_t *err);

/// Ids of response i, without its prompt: [*length].
const int32_t *controller_experience_response(const controller_experience_t *experience, size_t i,
                                              size_t *length);

/// What is to be said of a mean KL that is negative by more than three standard errors, which no
/// divergence is. NULL: nothing. Owned by the caller (free).
char *controller_experience_doubt(const controller_experience_t *experience);

void controller_experience_release(controller_experience_t *experience);

#endif
