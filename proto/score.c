// The config of judges, and both ends of the method `score`: the controller writes samples and
// reads scores, Troupe's own judges write scores.
//
// Together in one file so that the two ends cannot disagree. Third-party judges have only
// PROTOCOL.md, so everything that is read here is checked. Which judges there are:
// common/judge/judge.h.
#include "proto/score.h"

#include <stdlib.h>

#include "proto/body.h"

/// Written by the same tables that read it in reward/service.c, so a new option of a judge needs no
/// line here.
json_t *tr_judges_config(const tr_judges_t *judges, tr_precision_t precision)
{
    json_t *groups = json_object();
    for (size_t i = 0; i < judges->count; i++) {
        const tr_judge_t *judge = &judges->items[i];
        json_t *entry = json_pack("{s:s}", "kind", judge->kind->name);
        tr_fields_to_json(entry, judge->options, judge->kind->fields);
        if (json_object_get(entry, "precision") != NULL) { // of the run, not of the entry
            json_object_set_new(entry, "precision", json_string(tr_precision_names[precision]));
        }
        json_object_set_new(groups, tr_judge_group(judge), entry);
    }
    return json_pack("{s:o}", "judges", groups);
}

/// Columns and messages are copied because the row is sent to several judges.
json_t *tr_score_sample(const tr_sample_t *sample)
{
    json_t *columns = sample->columns != NULL ? json_deep_copy(sample->columns) : json_object();
    // no key for a prompt that is a text
    json_t *messages = json_deep_copy(sample->messages);
    return json_pack("{s:I, s:s, s:s, s:o, s:o, s:o, s:s, s:o*}", "id", (json_int_t)sample->id,
                     "prompt", sample->prompt, "response", sample->response, "prompt_ids",
                     tr_body_from_ids(sample->prompt_ids, sample->prompt_count), "response_ids",
                     tr_body_from_ids(sample->response_ids, sample->response_count), "columns",
                     columns, "finish", sample->finish, "messages", messages);
}

/// extras are whatever a judge wants to be seen as metrics, such as the parts of its score.
tr_status tr_score_reply_read(float *scores, json_t **extras, size_t count, const json_t *body,
                              const char *judge, tr_error_t *err)
{
    // So that the caller may drop it after a failure too.
    *extras = NULL;
    if (tr_body_floats_or_null(scores, count, body, "scores", "reply", err) != TR_OK) {
        return tr_error_prefix(err, "judge '%s'", judge);
    }
    json_t *given = json_object_get(body, "extras");
    // Optional, and nil for judges that fill every key.
    if (given == NULL || json_is_null(given)) {
        *extras = json_object();
        return TR_OK;
    }
    if (!json_is_object(given)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "judge '%s': reply: extras: expected a map of arrays",
                       judge);
    }
    // The numbers are only checked here; their means become metrics in the controller.
    float *scratch = tr_alloc((count + 1) * sizeof *scratch);
    tr_status status = TR_OK;
    const char *name;
    json_t *array;
    json_object_foreach(given, name, array)
    {
        status = status == TR_OK
                     ? tr_body_floats_or_null(scratch, count, given, name, "extras", err)
                     : status;
    }
    free(scratch);
    if (status != TR_OK) {
        return tr_error_prefix(err, "judge '%s'", judge);
    }
    *extras = json_incref(given);
    return TR_OK;
}

/// NULL for a score that is infinite: the service then answers with an error, never with a zero.
json_t *tr_score_reply_body(const float *scores, size_t count, json_t *extras)
{
    json_t *numbers = tr_body_from_floats_or_null(scores, count);
    if (numbers == NULL) {
        json_decref(extras);
        return NULL;
    }
    return json_pack("{s:o, s:o}", "scores", numbers, "extras",
                     extras != NULL ? extras : json_object());
}
