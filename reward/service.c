// The reward worker: takes its judge from the controller's configuration, and answers `score`.
//
// One judge a process: the group under which the worker registers says which of the recipe's. The
// samples of a request are read here, the other end of tr_score_sample (proto/score.h). Next:
// judge.c, and proto/service.h for the loop around this.
#include "reward/service.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/utf8.h"
#include "proto/body.h"
#include "proto/score.h"
#include "reward/judge.h"

struct reward_service {
    const tr_service_options_t *options;
    tr_judge_host_t host;
    reward_judge_t *judge; // NULL before the first welcome
};

reward_service_t *reward_service_new(const tr_service_options_t *options)
{
    reward_service_t *service = tr_calloc(1, sizeof *service);
    service->options = options;
    // a judge may score for minutes; it asks between passes whether to end
    service->host.stopping = tr_service_stopping;
    return service;
}

void reward_service_destroy(reward_service_t **service)
{
    if (*service != NULL) {
        reward_judge_destroy(&(*service)->judge);
        free(*service);
        *service = NULL;
    }
}

/// A mistake of whoever starts workers by hand; the names of the groups show what was meant.
static tr_status no_group(const char *group, json_t *judges, tr_error_t *err)
{
    tr_bytes_t names = {0};
    const char *name;
    json_t *judge;
    json_object_foreach(judges, name, judge)
    {
        char *quoted = tr_format("%s'%s'", names.length > 0 ? ", " : "", name);
        tr_bytes_append(&names, quoted, strlen(quoted));
        free(quoted);
    }
    tr_fail(err, TR_ERR_ARGUMENT,
            "the recipe has no judge '%s' (give --group or TROUPE_GROUP one of: %s)", group,
            names.length > 0 ? names.data : "it has none");
    tr_bytes_release(&names);
    return TR_ERR_ARGUMENT;
}

tr_status reward_service_welcome(void *context, const json_t *config, tr_error_t *err)
{
    reward_service_t *service = context;
    const tr_service_options_t *options = service->options;
    // a worker without a group is in one named after its role
    const char *group = options->group != NULL ? options->group : tr_role_name(options->role);
    json_t *judges;
    // a new configuration replaces the judge: the controller may have been restarted with another
    // recipe
    reward_judge_destroy(&service->judge);
    TR_TRY(tr_body_object(&judges, config, "judges", "welcome", err));
    // the map has all groups: the controller sends every worker the same
    const json_t *own = json_object_get(judges, group);
    if (own == NULL) {
        return no_group(group, judges, err);
    }
    service->host.threads = options->threads;
    // a failure here ends the worker with the judge's sentence
    TR_TRY(reward_judge_new(&service->judge, group, own, &service->host, err));
    tr_log(TR_LOG_INFO, "reward", "group=%s kind=%s \"ready\"", group,
           json_string_value(json_object_get(own, "kind")));
    return TR_OK;
}

// Samples

/// Strings and columns are borrowed from the request's body; only ids are copied, since JSON keeps
/// numbers one by one.
typedef struct samples {
    tr_sample_t *items; // [count]
    size_t count;
    int32_t *ids; // one block that the items' prompt_ids and response_ids point into
} samples_t;

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

/// Every field but messages is required; unknown ones are passed over, as PROTOCOL.md allows.
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
    sample->messages = json_object_get(map, "messages");
    return tr_body_string(&sample->finish, map, "finish", where, err);
}

/// body: {"samples": [...]}. TR_ERR_PROTOCOL names the sample's place and the key; the arrays are
/// released by the caller also then.
static tr_status read_samples(samples_t *samples, const json_t *body, tr_error_t *err)
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

tr_status reward_service_score(void *context, const tr_message_t *request, tr_message_t *reply,
                               tr_error_t *err)
{
    reward_service_t *service = context;
    samples_t samples = {0};
    float *scores = NULL;
    tr_status status;
    TR_TRY_GOTO(read_samples(&samples, tr_message_body(request), err), done);
    // one more: a request may hold no sample
    scores = tr_calloc(samples.count + 1, sizeof *scores);
    TR_TRY_GOTO(reward_judge_score(service->judge, scores, samples.items, samples.count, err),
                done);
    // extras are for judges of users; those of this folder have none
    tr_message_set_body(reply, tr_score_reply_body(scores, samples.count, NULL));
done:
    free(scores);
    free(samples.ids);
    free(samples.items);
    return status;
}
