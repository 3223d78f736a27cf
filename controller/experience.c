// The experience of a step: joins the rollouts' shards to one ragged batch.
//
// Apart from generation.c because it knows neither workers nor judges: arrays in, arrays out, and
// a test that divides the responses in every possible way. Next: ppo_step.c, which fills the rest.
#include "controller/experience.h"

#include <stdlib.h>
#include <string.h>

#include "common/algo/ppo.h"

/// Counts responses, tokens and kept ids over the shards; all start at 0.
static void measure(controller_experience_t *e, const tr_responses_t *shards, size_t shard_count,
                    size_t *kept)
{
    for (size_t p = 0; p < shard_count; p++) {
        // The last start is the number of tokens, and the last offset that of kept ids.
        size_t tokens = (size_t)shards[p].starts[shards[p].count];
        e->count += shards[p].count;
        e->tokens += tokens;
        *kept += shards[p].kept_offsets == NULL ? 0 : (size_t)shards[p].kept_offsets[tokens];
    }
}

/// All arrays, zeroed, in two blocks of memory. truncated: whether shards have kept sets.
static void allocate(controller_experience_t *e, size_t prompt_tokens, bool truncated, size_t kept)
{
    size_t n = e->count, tokens = e->tokens, ids = prompt_tokens + tokens;
    e->ids = tr_calloc(ids + 4 * n + 2 + (truncated ? tokens + 1 + kept : 0), sizeof *e->ids);
    // starts and response_starts have one entry more than there are responses: the end.
    e->starts = e->ids + ids;
    e->prompt_lengths = e->starts + n + 1;
    e->response_starts = e->prompt_lengths + n;
    e->finish = e->response_starts + n + 1;
    e->kept_offsets = truncated ? e->finish + n : NULL;
    e->kept_ids = truncated ? e->kept_offsets + tokens + 1 : NULL;
    e->scores = tr_calloc(n + 7 * tokens, sizeof *e->scores);
    // One number a response token each.
    float **vectors[] = {&e->logprobs, &e->reference,  &e->values, &e->kl,
                         &e->rewards,  &e->advantages, &e->returns};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        *vectors[i] = e->scores + n + i * tokens;
    }
}

/// Appends the kept sets of a shard. tokens: response tokens of the shards before it.
static void append_kept(controller_experience_t *e, const tr_responses_t *shard, size_t tokens)
{
    size_t n = (size_t)shard->starts[shard->count];
    // A shard's offsets begin at 0; here they go on from the sets before.
    // The prompts have no kept sets: only sampled tokens were cut from a distribution.
    int32_t before = e->kept_offsets[tokens];
    for (size_t t = 0; t < n; t++) {
        e->kept_offsets[tokens + t + 1] = before + shard->kept_offsets[t + 1];
    }
    memcpy(e->kept_ids + before, shard->kept_ids, (size_t)shard->kept_offsets[n] * sizeof(int32_t));
}

/// Response r of a shard becomes response i, behind a copy of its prompt.
static void append_response(controller_experience_t *e, size_t i, const tr_sequence_t *prompt,
                            const tr_responses_t *shard, size_t r)
{
    size_t n = (size_t)(shard->starts[r + 1] - shard->starts[r]);
    const int32_t *response = shard->ids + shard->starts[r];
    int32_t *to = e->ids + e->starts[i];
    // Learners compute log-probs of a response given its prompt, so the two stand together.
    memcpy(to, prompt->ids, prompt->prompt * sizeof *to);
    memcpy(to + prompt->prompt, response, n * sizeof *to);
    // Numbers of tokens are of responses alone, so they stand without the prompts between.
    memcpy(e->logprobs + e->response_starts[i], shard->logprobs + shard->starts[r],
           n * sizeof(float));
    e->prompt_lengths[i] = (int32_t)prompt->prompt;
    e->starts[i + 1] = e->starts[i] + (int32_t)(prompt->prompt + n);
    e->response_starts[i + 1] = e->response_starts[i] + (int32_t)n;
    // The text ends there either way; samples.jsonl says why.
    e->finish[i] = shard->finish[r];
}

tr_status controller_experience_init(controller_experience_t *e, const tr_rows_t *data,
                                     size_t samples, const tr_responses_t *shards,
                                     size_t shard_count, tr_error_t *err)
{
    size_t kept = 0, prompt_tokens = 0, i = 0;
    // All rollouts sample by the same options, so the first shard speaks for all.
    bool truncated = shards[0].kept_offsets != NULL;
    // Counts start from 0: measure adds up.
    *e = (controller_experience_t){.samples = samples};
    // Sizes first: everything is allocated once, and offsets are checked before they are cut to 32
    // bits.
    measure(e, shards, shard_count, &kept);
    for (size_t r = 0; r < e->count; r++) {
        prompt_tokens += data->sequences[r / samples].prompt;
    }
    // Offsets travel as int32: check before anything is allocated.
    if (prompt_tokens + e->tokens > INT32_MAX || kept > INT32_MAX) {
        tr_fail(err, TR_ERR_ARGUMENT,
                "%zu tokens with %zu kept ids are too many for a step: lower data.batch or "
                "generation.top_p, or set top_k",
                prompt_tokens + e->tokens, kept);
        *e = (controller_experience_t){0};
        return err->status;
    }
    allocate(e, prompt_tokens, truncated, kept);
    for (size_t p = 0; p < shard_count; p++) {
        if (truncated) {
            append_kept(e, &shards[p], (size_t)e->response_starts[i]);
        }
        // Shards cover the responses in order, so i counts on over them.
        for (size_t r = 0; r < shards[p].count; r++, i++) {
            append_response(e, i, &data->sequences[i / samples], &shards[p], r);
        }
    }
    e->sequences = (tr_sequences_t){
        .count = e->count,
        .ids = e->ids,
        .starts = e->starts,
        .prompt_lengths = e->prompt_lengths,
        .response_starts = e->response_starts,
        .kept_offsets = e->kept_offsets,
        .kept_ids = e->kept_ids,
    };
    return TR_OK;
}

const int32_t *controller_experience_response(const controller_experience_t *e, size_t i,
                                              size_t *length)
{
    *length = (size_t)(e->response_starts[i + 1] - e->response_starts[i]);
    return e->ids + e->starts[i] + e->prompt_lengths[i];
}

char *controller_experience_doubt(const controller_experience_t *e)
{
    // Fewer say too little about their own spread.
    enum { LEAST = 4 };
    const tr_kl_estimate_t kl =
        tr_kl_estimate(e->logprobs, e->reference, e->response_starts, e->count);
    return e->count < LEAST || kl.mean >= -3.0 * kl.error
               ? NULL
               : tr_format("the mean KL to the reference is %.3g nats a response with a standard "
                           "error of %.2g, and no divergence is negative: is `reference` a "
                           "language model of the policy's tokenizer and vocabulary, and do all "
                           "processes come from one build?",
                           kl.mean, kl.error);
}

void controller_experience_release(controller_experience_t *e)
{
    // Both blocks begin at their first array; the rows are the caller's.
    free(e->ids);
    free(e->scores);
    *e = (controller_experience_t){0};
}
