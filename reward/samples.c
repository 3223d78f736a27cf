// The samples of a `score` request: from its body to arrays.
//
// The other end of tr_score_sample (proto/score.h). Strings and columns stay in the body; only ids
// are copied, all into one block, since JSON keeps numbers one by one.
#include "reward/samples.h"

#include <stdint.h>
#include <stdlib.h>

#include "proto/body.h"

static size_t count_of(const json_t *map, const char *key)
{
    return json_array_size(json_object_get(map, key)); // 0 for anything but an array
}

/// Copies a list of ids to *ids, and moves *ids behind it.
static tr_status read_ids(const int32_t **list, size_t *count, int32_t **ids, const json_t *map,
                          const char *key, const char *where, tr_error_t *err)
{
    *list = *ids;
    *count = count_of(map, key);
    *ids += *count;
    return tr_body_ids(*ids - *count, *count, map, key, where, err);
}

/// Every field is required; unknown ones are passed over, as PROTOCOL.md allows.
static tr_status read_sample(tr_sample_t *sample, int32_t **ids, const json_t *map,
                             const char *where, tr_error_t *err)
{
    json_t *columns;
    TR_TRY(tr_body_integer(&sample->id, map, "id", INT64_MIN, INT64_MAX, where, err));
    TR_TRY(tr_body_string(&sample->prompt, map, "prompt", where, err));
    TR_TRY(tr_body_string(&sample->response, map, "response", where, err));
    TR_TRY(
        read_ids(&sample->prompt_ids, &sample->prompt_count, ids, map, "prompt_ids", where, err));
    TR_TRY(read_ids(&sample->response_ids, &sample->response_count, ids, map, "response_ids", where,
                    err));
    TR_TRY(tr_body_object(&columns, map, "columns", where, err));
    sample->columns = columns;
    return tr_body_string(&sample->finish, map, "finish", where, err);
}

/// After a failure the arrays are released by the caller, as after a success.
tr_status reward_samples_read(reward_samples_t *samples, const json_t *body, tr_error_t *err)
{
    json_t *list;
    size_t total = 0;
    TR_TRY(tr_body_array(&list, body, "samples", SIZE_MAX, "score", err));
    samples->count = json_array_size(list);
    // the block's size first: items point into it, so it must not move
    for (size_t i = 0; i < samples->count; i++) {
        const json_t *map = json_array_get(list, i);
        total += count_of(map, "prompt_ids") + count_of(map, "response_ids");
    }
    samples->items = tr_calloc(samples->count + 1, sizeof *samples->items);
    samples->ids = tr_calloc(total + 1, sizeof *samples->ids);
    int32_t *ids = samples->ids;
    for (size_t i = 0; i < samples->count; i++) {
        // names the sample in an error
        char where[48];
        snprintf(where, sizeof where, "score: samples[%zu]", i);
        TR_TRY(read_sample(&samples->items[i], &ids, json_array_get(list, i), where, err));
    }
    return TR_OK;
}

void reward_samples_release(reward_samples_t *samples)
{
    free(samples->items);
    free(samples->ids);
    *samples = (reward_samples_t){0};
}
