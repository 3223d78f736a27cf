// The config of the role reward, from the judges of a recipe, by the tables of common/judge. Apart
// from controller/role_config.c because it is the contract that reward/service.c reads.
#include "proto/judge.h"

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
