// The adapter of a policy, as learners and rollouts read it: both have the same layout by it.
#include "proto/adapter.h"

tr_status tr_adapter_read(tr_lora_t *lora, const char **directory, const json_t *config,
                          tr_error_t *err)
{
    const json_t *fields = json_object_get(config, "lora");
    *lora = (tr_lora_t){0};
    *directory = json_string_value(json_object_get(config, "adapter"));
    if (*directory != NULL) {
        return tr_lora_read(lora, *directory, err);
    }
    if (fields == NULL) {
        return TR_OK;
    }
    TR_TRY(tr_fields_from_json(lora, &tr_lora_fields, fields, "welcome lora", err));
    return tr_fields_from_json(lora, &tr_lora_dropout_fields, fields, "welcome lora", err);
}
