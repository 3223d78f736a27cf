/// adapter_config.json, as PEFT has it. Apart from lora.c, which knows no files.
#include <stdlib.h>
#include <string.h>

#include "common/hf/json_file.h"
#include "common/model/lora.h"

enum { FILE_LIMIT = 4 << 20 };

/// A file that is being read.
typedef struct source {
    const json_t *object;
    const char *path;
    tr_error_t *err;
} source_t;

static tr_status refuse(const source_t *source, tr_status status, const char *key,
                        const char *expected)
{
    char found[80];
    tr_json_describe(found, sizeof found, json_object_get(source->object, key));
    return tr_fail(source->err, status, "%s: %s: expected %s, found %s", source->path, key,
                   expected, found);
}

// Keys that have a place in tr_lora_t

/// PEFT's key under our option's name, whose values are the same.
static tr_status take(tr_lora_t *lora, const source_t *source, const char *key)
{
    const tr_field_t *field = tr_fields_find(&tr_lora_fields, key);
    field = field != NULL ? field : tr_fields_find(&tr_lora_dropout_fields, key);
    const json_t *value = json_object_get(source->object, key);
    if (json_is_null(value) && field->kind == TR_FIELD_TEXTS) {
        return TR_OK; // none, as the option begins
    }
    // A text alone is a pattern.
    json_t *list = json_is_string(value) ? json_pack("[O]", value) : json_incref((json_t *)value);
    const bool taken = !json_is_null(value) && tr_field_take(lora, field, list);
    json_decref(list);
    if (!taken) {
        char *expected = tr_field_expected(field);
        tr_status status = refuse(source, TR_ERR_FORMAT, key, expected);
        free(expected);
        return status;
    }
    return TR_OK;
}

/// Other ways to begin change the model's own weights too (PiSSA, OLoRA, LoftQ).
static tr_status take_init(tr_lora_t *lora, const source_t *source)
{
    const json_t *value = json_object_get(source->object, "init_lora_weights");
    const char *name = json_string_value(value);
    if (name != NULL && strcmp(name, "gaussian") == 0) {
        lora->init_lora_weights = TR_LORA_GAUSSIAN;
    } else if (value != NULL && !json_is_boolean(value)) {
        return refuse(source, TR_ERR_UNSUPPORTED, "init_lora_weights",
                      "true, false or \"gaussian\"");
    }
    return TR_OK;
}

// Keys that say nothing here, and all others

static bool lists(const char *const *keys, const char *key)
{
    while (*keys != NULL && strcmp(*keys, key) != 0) {
        keys++;
    }
    return *keys != NULL;
}

/// null, false, nothing, or the word that stands for nothing.
static bool is_off(const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    return json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (text != NULL && strcmp(key, "bias") == 0 && strcmp(text, "none") == 0);
}

/// A key that is not understood may change numbers, unless it is at PEFT's default: off.
static tr_status refuse_others(const source_t *source)
{
    // Of transposed matrices PEFT finds fan_in_fan_out itself.
    static const char *const known[] = {"r",
                                        "lora_alpha",
                                        "use_rslora",
                                        "target_modules",
                                        "modules_to_save",
                                        "init_lora_weights",
                                        "lora_dropout",
                                        "fan_in_fan_out",
                                        "peft_type",
                                        "task_type",
                                        "peft_version",
                                        "base_model_name_or_path",
                                        "revision",
                                        "auto_mapping",
                                        "inference_mode",
                                        "megatron_core",
                                        "qalora_group_size",
                                        NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)source->object, key, value)
    {
        if (!lists(known, key) && !is_off(key, value)) {
            return refuse(source, TR_ERR_UNSUPPORTED, key,
                          "PEFT's default, as it is not understood");
        }
    }
    return TR_OK;
}

/// The key's text, if it has one, must be one of the list.
static tr_status expect(const source_t *source, const char *key, const char *const *texts,
                        const char *expected)
{
    const json_t *value = json_object_get(source->object, key);
    return json_is_null(value) || (json_is_string(value) && lists(texts, json_string_value(value)))
               ? TR_OK
               : refuse(source, TR_ERR_UNSUPPORTED, key, expected);
}

static bool has_text(const source_t *source, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(source->object, key));
    return value != NULL && strcmp(value, text) == 0;
}

static tr_status read_keys(tr_lora_t *lora, const source_t *source)
{
    static const char *const kinds[] = {"LORA", NULL};
    static const char *const tasks[] = {"CAUSAL_LM", "SEQ_CLS", NULL};
    static const char *const keys[] = {
        "r", "lora_alpha", "target_modules", "modules_to_save", "use_rslora", "lora_dropout"};
    TR_TRY(expect(source, "peft_type", kinds, "\"LORA\""));
    TR_TRY(expect(source, "task_type", tasks, "\"CAUSAL_LM\", \"SEQ_CLS\" or null"));
    TR_TRY(refuse_others(source));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        // Files of older versions lack what came later.
        if (i < 3 || json_object_get(source->object, keys[i]) != NULL) {
            TR_TRY(take(lora, source, keys[i]));
        }
    }
    lora->scalar = has_text(source, "task_type", "SEQ_CLS");
    return take_init(lora, source);
}

tr_status tr_lora_read(tr_lora_t *lora, const char *directory, tr_error_t *err)
{
    char *path = tr_format("%s/adapter_config.json", directory);
    json_t *root = NULL;
    *lora = (tr_lora_t){0};
    tr_fields_init(lora, &tr_lora_fields);
    lora->of_file = true;
    tr_status status = tr_json_file_read(&root, path, FILE_LIMIT, err);
    if (status == TR_OK) {
        status = read_keys(lora, &(source_t){root, path, err});
        json_decref(root);
    }
    free(path);
    return status;
}

// Writing

/// null where there is none, as PEFT has it.
static json_t *list_of(const tr_texts_t *texts)
{
    json_t *list = texts->count > 0 ? json_array() : json_null();
    for (size_t i = 0; i < texts->count; i++) {
        json_array_append_new(list, json_string(texts->items[i]));
    }
    return list;
}

/// Whole as PEFT's default is, where it is whole.
static json_t *number_of(double value)
{
    const bool whole = value < 1e15 && value == (double)(int64_t)value;
    return whole ? json_integer((json_int_t)value) : json_real(value);
}

char *tr_lora_json(const tr_lora_t *lora, const tr_lora_facts_t *facts)
{
    json_t *modules = json_array();
    for (size_t i = 0; i < facts->count; i++) {
        json_array_append_new(modules, json_string(facts->modules[i]));
    }
    // What a key that is left out means is PEFT's default.
    json_t *root = json_pack(
        "{s:s, s:s, s:s?, s:I, s:o, s:f, s:b, s:s, s:b, s:o, s:o, s:o, s:b}", "peft_type", "LORA",
        "task_type", facts->scalar ? "SEQ_CLS" : "CAUSAL_LM", "base_model_name_or_path",
        facts->base, "r", (json_int_t)lora->r, "lora_alpha", number_of(lora->lora_alpha),
        "lora_dropout", lora->lora_dropout, "use_rslora", (int)lora->use_rslora, "bias", "none",
        "fan_in_fan_out", (int)facts->transposed, "init_lora_weights",
        lora->init_lora_weights == TR_LORA_GAUSSIAN ? json_string("gaussian") : json_true(),
        "target_modules", modules, "modules_to_save", list_of(&lora->modules_to_save),
        "inference_mode", 1);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(16));
    json_decref(root);
    return text;
}
