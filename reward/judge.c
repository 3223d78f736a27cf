// A judge at work: finds the kind that a message names, opens it with the message's options, and
// checks its scores.
//
// Apart from service.c because it knows no messages beyond its options; the kinds themselves are
// common/judge.
#include "reward/judge.h"

#include <math.h>
#include <stdlib.h>

#include "proto/body.h"

/// name: the group's, for sentences; the kinds themselves know no names.
struct reward_judge {
    tr_judge_t entry; // kind and options
    char *name;
    void *state; // the kind's
};

/// `exec` and `external` are kinds too, but their programs score: nothing to open here.
static tr_status find_kind(const tr_judge_kind_t **kind, const json_t *config, tr_error_t *err)
{
    const char *name;
    TR_TRY(tr_body_string(&name, config, "kind", "config", err));
    *kind = tr_judge_kind_find(name);
    return *kind != NULL && tr_judge_kind_scores(*kind)
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED, "kind '%s' is not served by troupe-reward", name);
}

/// The options go through the same table and the same check as in the recipe: the controller may be
/// of another version.
static tr_status open_judge(reward_judge_t *judge, const json_t *config,
                            const tr_judge_host_t *host, tr_error_t *err)
{
    const tr_judge_kind_t *kind;
    const char *key;
    // first, because the kind says which table reads the rest of the map
    TR_TRY(find_kind(&kind, config, err));
    tr_judge_init(&judge->entry, kind);
    tr_fields_release(judge->entry.options, kind->fields); // the defaults: the message has all
    TR_TRY(tr_fields_from_json(judge->entry.options, kind->fields, config, "config", err));
    char *sentence = kind->check != NULL ? kind->check(&key, judge->entry.options) : NULL;
    if (sentence != NULL) {
        tr_status status = tr_fail(err, TR_ERR_ARGUMENT, "config: %s: %s", key, sentence);
        free(sentence);
        return status;
    }
    // a kind without state scores by its options, which live as long as the judge
    if (kind->open == NULL) {
        judge->state = judge->entry.options;
        return TR_OK;
    }
    return kind->open(&judge->state, judge->entry.options, host, err);
}

tr_status reward_judge_new(reward_judge_t **judge, const char *name, const json_t *config,
                           const tr_judge_host_t *host, tr_error_t *err)
{
    reward_judge_t *made = tr_calloc(1, sizeof *made);
    *judge = NULL;
    made->name = tr_strdup(name);
    // destroy copes with a judge that was opened in part
    if (open_judge(made, config, host, err) != TR_OK) {
        reward_judge_destroy(&made);
        return tr_error_prefix(err, "judge '%s'", name);
    }
    *judge = made;
    return TR_OK;
}

/// Also of one that was opened in part.
void reward_judge_destroy(reward_judge_t **judge)
{
    if (*judge != NULL) {
        if ((*judge)->state != NULL && (*judge)->entry.kind->close != NULL) {
            (*judge)->entry.kind->close((*judge)->state);
        }
        tr_judge_release(&(*judge)->entry);
        free((*judge)->name);
        free(*judge);
        *judge = NULL;
    }
}

/// A NaN that is a mistake of a computation would pass as a null, and change the training without a
/// trace.
static tr_status check_finite(const float *scores, const tr_sample_t *samples, size_t count,
                              bool may_be_null, tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(scores[i]) && !(may_be_null && isnan(scores[i]))) {
            return tr_fail(err, TR_ERR_NUMERIC, "sample %lld: the score is %f",
                           (long long)samples[i].id, (double)scores[i]);
        }
    }
    return TR_OK;
}

tr_status reward_judge_score(reward_judge_t *judge, float *scores, const tr_sample_t *samples,
                             size_t count, tr_error_t *err)
{
    const tr_judge_kind_t *kind = judge->entry.kind;
    // the kind names the sample, this the judge: a recipe may have several of one kind
    if (tr_judge_kind_score(kind, judge->state, scores, samples, count, err) != TR_OK ||
        check_finite(scores, samples, count, kind->may_be_null, err) != TR_OK) {
        return tr_error_prefix(err, "judge '%s'", judge->name);
    }
    return TR_OK;
}
