#include "controller/experience.h"

#include <stdlib.h>
#include <string.h>

static void measure(controller_experience_t *e, const tr_responses_t *parts, size_t part_count,
                    size_t *kept)
{
    for (size_t p = 0; p < part_count; p++) {
        size_t tokens = (size_t)parts[p].starts[parts[p].count];
        e->count += parts[p].count;
        e->tokens += tokens;
        *kept += parts[p].kept_offsets == NULL ? 0 : (size_t)parts[p].kept_offsets[tokens];
    }
}

static void allocate(controller_experience_t *e, size_t prompt_tokens, bool truncated, size_t kept)
{
    e->ids = tr_calloc(prompt_tokens + e->tokens, sizeof *e->ids);
    e->starts = tr_calloc(e->count + 1, sizeof *e->starts);
    e->prompt_lengths = tr_calloc(e->count, sizeof *e->prompt_lengths);
    e->response_starts = tr_calloc(e->count + 1, sizeof *e->response_starts);
    e->finish = tr_calloc(e->count, sizeof *e->finish);
    e->scores = tr_calloc(e->count, sizeof *e->scores);
    float **vectors[] = {&e->logprobs, &e->reference,  &e->values, &e->kl,
                         &e->rewards,  &e->advantages, &e->returns};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        *vectors[i] = tr_calloc(e->tokens, sizeof(float));
    }
    if (truncated) {
        e->kept_offsets = tr_calloc(e->tokens + 1, sizeof *e->kept_offsets);
        e->kept_ids = tr_calloc(kept + 1, sizeof *e->kept_ids);
    }
}

/// The kept sets of a part, behind those of the parts before; `tokens`: response tokens before.
static void join_kept(controller_experience_t *e, const tr_responses_t *part, size_t tokens)
{
    size_t n = (size_t)part->starts[part->count];
    int32_t before = e->kept_offsets[tokens];
    for (size_t t = 0; t < n; t++) {
        e->kept_offsets[tokens + t + 1] = before + part->kept_offsets[t + 1];
    }
    memcpy(e->kept_ids + before, part->kept_ids, (size_t)part->kept_offsets[n] * sizeof(int32_t));
}

/// Response r of a part becomes response i, after its prompt.
static void join_response(controller_experience_t *e, size_t i, const tr_sequence_t *prompt,
                          const tr_responses_t *part, size_t r)
{
    size_t n = (size_t)(part->starts[r + 1] - part->starts[r]);
    const int32_t *response = part->ids + part->starts[r];
    int32_t *to = e->ids + e->starts[i];
    memcpy(to, prompt->ids, prompt->prompt * sizeof *to);
    memcpy(to + prompt->prompt, response, n * sizeof *to);
    memcpy(e->logprobs + e->response_starts[i], part->logprobs + part->starts[r],
           n * sizeof(float));
    e->prompt_lengths[i] = (int32_t)prompt->prompt;
    e->starts[i + 1] = e->starts[i] + (int32_t)(prompt->prompt + n);
    e->response_starts[i + 1] = e->response_starts[i] + (int32_t)n;
    e->finish[i] = part->finish[r];
}

tr_status controller_experience_init(controller_experience_t *e, const tr_rows_t *data,
                                     const uint32_t *rows, size_t samples,
                                     const tr_responses_t *parts, size_t part_count,
                                     tr_error_t *err)
{
    size_t kept = 0, prompt_tokens = 0, i = 0;
    bool truncated = parts[0].kept_offsets != NULL;
    *e = (controller_experience_t){.samples = samples};
    measure(e, parts, part_count, &kept);
    for (size_t r = 0; r < e->count; r++) {
        prompt_tokens += data->sequences[rows[r / samples]].prompt;
    }
    if (prompt_tokens + e->tokens > INT32_MAX || kept > INT32_MAX) {
        tr_fail(err, TR_ERR_ARGUMENT,
                "%zu tokens with %zu kept ids are too many for a step: lower data.batch or "
                "generation.top_p, or set top_k",
                prompt_tokens + e->tokens, kept);
        *e = (controller_experience_t){0};
        return err->status;
    }
    allocate(e, prompt_tokens, truncated, kept);
    e->rows = tr_calloc(e->count / samples, sizeof *e->rows);
    memcpy(e->rows, rows, e->count / samples * sizeof *e->rows);
    for (size_t p = 0; p < part_count; p++) {
        if (truncated) {
            join_kept(e, &parts[p], (size_t)e->response_starts[i]);
        }
        for (size_t r = 0; r < parts[p].count; r++, i++) {
            join_response(e, i, &data->sequences[rows[i / samples]], &parts[p], r);
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

void controller_experience_release(controller_experience_t *e)
{
    free(e->rows);
    free(e->ids);
    free(e->starts);
    free(e->prompt_lengths);
    free(e->response_starts);
    free(e->kept_offsets);
    free(e->kept_ids);
    free(e->finish);
    free(e->scores);
    free(e->logprobs);
    free(e->reference);
    free(e->values);
    free(e->kl);
    free(e->rewards);
    free(e->advantages);
    free(e->returns);
    *e = (controller_experience_t){0};
}
