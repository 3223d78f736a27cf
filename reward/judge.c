#include "reward/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/body.h"

struct reward_judge {
    const reward_kind_t *kind;
    char *name;
    void *state;
};

static const reward_kind_t *const kinds[] = {&reward_kind_words, &reward_kind_regex,
                                             &reward_kind_length, &reward_kind_model};

static tr_status find_kind(const reward_kind_t **kind, const json_t *config, tr_error_t *err)
{
    const char *name;
    TR_TRY(tr_body_string(&name, config, "kind", "config", err));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            *kind = kinds[i];
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_UNSUPPORTED,
                   "kind '%s' is not served by troupe-reward (words, regex, length, model are)",
                   name);
}

tr_status reward_judge_new(reward_judge_t **judge, const char *name, const json_t *config,
                           size_t threads, tr_error_t *err)
{
    const reward_kind_t *kind = NULL;
    void *state = NULL;
    *judge = NULL;
    if (find_kind(&kind, config, err) != TR_OK ||
        kind->open(&state, config, threads, err) != TR_OK) {
        return tr_error_prefix(err, "judge '%s'", name);
    }
    *judge = tr_calloc(1, sizeof **judge);
    **judge = (reward_judge_t){kind, tr_strdup(name), state};
    return TR_OK;
}

void reward_judge_destroy(reward_judge_t **judge)
{
    if (*judge != NULL) {
        (*judge)->kind->close((*judge)->state);
        free((*judge)->name);
        free(*judge);
        *judge = NULL;
    }
}

static tr_status check_finite(const float *scores, const tr_sample_t *samples, size_t count,
                              tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(scores[i])) {
            return tr_fail(err, TR_ERR_NUMERIC, "sample %lld: the score is %f",
                           (long long)samples[i].id, (double)scores[i]);
        }
    }
    return TR_OK;
}

tr_status reward_judge_score(reward_judge_t *judge, float *scores, const tr_sample_t *samples,
                             size_t count, tr_error_t *err)
{
    if (judge->kind->score(judge->state, scores, samples, count, err) != TR_OK ||
        check_finite(scores, samples, count, err) != TR_OK) {
        return tr_error_prefix(err, "judge '%s'", judge->name);
    }
    return TR_OK;
}
