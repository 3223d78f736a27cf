#include "proto/judge.h"

static json_t *words_list(const tr_words_t *words)
{
    json_t *list = json_array();
    for (size_t i = 0; i < words->count; i++) {
        json_array_append_new(list,
                              json_pack("[s, f]", words->items[i].word, words->items[i].weight));
    }
    return list;
}

static json_t *model_settings(const tr_judge_t *judge, tr_precision_t precision)
{
    json_t *settings = json_pack("{s:s, s:I, s:s, s:s, s:f}", "model", judge->model, "threads",
                                 (json_int_t)judge->threads, "device", judge->device, "precision",
                                 tr_precision_name(precision), "memory", judge->memory);
    if (judge->steps != 0) { // a process reward model
        json_object_set_new(settings, "steps", json_integer(judge->steps));
        json_object_set_new(settings, "step_separator", json_string(judge->step_separator));
    }
    return settings;
}

/// What the kind needs beside its name; an empty map for judges that Troupe did not write.
static json_t *settings(const tr_judge_t *judge, tr_precision_t precision)
{
    const tr_length_rule_t *length = &judge->length;
    switch (judge->kind) {
    case TR_JUDGE_MODEL: return model_settings(judge, precision);
    case TR_JUDGE_WORDS: return json_pack("{s:o}", "words", words_list(&judge->words));
    case TR_JUDGE_REGEX:
        return json_pack("{s:s, s:f}", "pattern", judge->regex.pattern, "score",
                         judge->regex.score);
    case TR_JUDGE_LENGTH:
        return json_pack("{s:I, s:I, s:I, s:s}", "target", (json_int_t)length->target, "min",
                         (json_int_t)length->min, "max", (json_int_t)length->max, "unit",
                         tr_length_unit_name(length->unit));
    default: return json_object();
    }
}

/// The group under which the judge's workers register.
static const char *group_of(const tr_judge_t *judge)
{
    return judge->kind == TR_JUDGE_EXTERNAL ? judge->external : judge->name;
}

json_t *tr_judges_config(const tr_judges_t *judges, tr_precision_t precision)
{
    json_t *groups = json_object();
    for (size_t i = 0; i < judges->count; i++) {
        const tr_judge_t *judge = &judges->items[i];
        json_t *entry = settings(judge, precision);
        json_object_set_new(entry, "kind", json_string(tr_judge_kind_name(judge->kind)));
        json_object_set_new(groups, group_of(judge), entry);
    }
    return json_pack("{s:o}", "judges", groups);
}
