/// config.json as we write it: every key of the family spelled out, so that no reader's defaults
/// matter. The table of keys is the one that config.c reads by (families/family.h).
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hf/json_file.h"
#include "common/model/config.h"
#include "common/model/families/family.h"

enum { LINES = 48, VALUE = 16 * (TR_MODEL_EOS_LIMIT + 1), FILE_LIMIT = 16 << 20 };

/// The shortest decimal that reads back as the same number: as a float (`single`), or as a double
/// with a point or exponent, so that Python reads no int.
static void real_text(char *out, size_t size, double value, bool single)
{
    // 17 digits tell any two doubles apart, 9 any two floats: the loop ends with the number itself.
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, value);
        if (single ? strtof(out, NULL) == (float)value : strtod(out, NULL) == value) {
            break;
        }
    }
    if (!single && value < 1e15 && value == (double)(int64_t)value) {
        snprintf(out, size, "%" PRId64 ".0", (int64_t)value);
    }
}

/// "null" for a negative id.
static const char *token_text(char *out, size_t size, int32_t id)
{
    snprintf(out, size, id < 0 ? "null" : "%" PRId32, id);
    return out;
}

/// null, an id, or a list of ids.
/// As read_eos in config.c takes it back: none, one, or several.
static const char *eos_text(char *out, size_t size, const tr_model_config_t *config)
{
    // One id is no list, as transformers writes it.
    if (config->eos_count < 2) {
        return token_text(out, size, config->eos_count == 0 ? -1 : config->eos[0]);
    }
    size_t used = 0;
    for (size_t i = 0; i < config->eos_count; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%" PRId32, i == 0 ? "[" : ", ",
                                 config->eos[i]);
    }
    snprintf(out + used, size - used, "]");
    return out;
}

/// A line of the file: a key and the JSON text of its value.
typedef struct line {
    const char *key;
    char value[VALUE];
} line_t;

typedef struct page {
    line_t lines[LINES];
    size_t count;
} page_t;

/// A new line; its value is to be written: [VALUE].
static char *add(page_t *page, const char *key)
{
    TR_ASSERT(page->count < LINES, "config.json of more than %d lines", LINES);
    page->lines[page->count].key = key;
    return page->lines[page->count++].value;
}

/// The reverse of read_key in config.c, kind by kind.
static void add_key(page_t *page, const tr_model_config_t *config, const family_key_t *key)
{
    // The same offsets that config.c reads into: what is written is read back.
    const void *field = (const char *)config + key->offset;
    char *value = add(page, key->name);
    switch (key->kind) {
    case FAMILY_SIZE: snprintf(value, VALUE, "%zu", *(const size_t *)field); break;
    case FAMILY_REAL: real_text(value, VALUE, *(const double *)field, false); break;
    case FAMILY_FLOAT: real_text(value, VALUE, (double)*(const float *)field, true); break;
    case FAMILY_BOOL: snprintf(value, VALUE, *(const bool *)field ? "true" : "false"); break;
    case FAMILY_TOKEN: token_text(value, VALUE, *(const int32_t *)field); break;
    case FAMILY_EOS: eos_text(value, VALUE, config); break;
    case FAMILY_ROPE: snprintf(value, VALUE, "null"); break; // the plain rotation
    case FAMILY_ONLY: snprintf(value, VALUE, "%s", key->only); break;
    }
}

static void add_keys(page_t *page, const tr_model_config_t *config, const family_keys_t *keys)
{
    const bool normalized = config->score_std > 0.0;
    for (size_t i = 0; i < keys->count; i++) {
        const family_key_t *key = &keys->items[i];
        // A deviation of 0 says that scores were never normalized (config.h).
        if (key->written == FAMILY_ALWAYS || (key->written == FAMILY_WITH_SCORES && normalized)) {
            add_key(page, config, key);
        }
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const line_t *)a)->key, ((const line_t *)b)->key);
}

/// The lines in the order of the alphabet; the caller's to free.
static char *text_of(page_t *page)
{
    // 64 for the name of a key, quotes and indentation.
    char *text = tr_alloc(page->count * (VALUE + 64)), *at = text;
    size_t room = page->count * (VALUE + 64);
    // As transformers writes them (sort_keys), so that a diff of two files is short.
    qsort(page->lines, page->count, sizeof *page->lines, by_key);
    for (size_t i = 0; i < page->count; i++) {
        at += snprintf(at, room - (size_t)(at - text), "%s  \"%s\": %s", i == 0 ? "{\n" : ",\n",
                       page->lines[i].key, page->lines[i].value);
    }
    snprintf(at, room - (size_t)(at - text), "\n}\n");
    return text;
}

/// Sets the file's eos_token_id to the config's list; whether that changed it. One id may stand by
/// itself.
static bool set_eos(json_t *file, const tr_model_config_t *config)
{
    const json_t *old = json_object_get(file, "eos_token_id");
    json_t *list = json_array();
    for (size_t i = 0; i < config->eos_count; i++) {
        json_array_append_new(list, json_integer(config->eos[i]));
    }
    bool changes = config->eos_count > 0 && !json_equal(old, list) &&
                   !(config->eos_count == 1 && json_equal(old, json_array_get(list, 0)));
    if (changes) {
        json_object_set(file, "eos_token_id", list);
    }
    json_decref(list);
    return changes;
}

tr_status tr_model_generation_json(char **text, const tr_model_config_t *config, const char *source,
                                   tr_error_t *err)
{
    char *path = tr_format("%s/generation_config.json", source);
    json_t *file = NULL;
    tr_status status = TR_OK;
    *text = NULL;
    if (access(path, F_OK) == 0) {
        status = tr_json_file_read(&file, path, FILE_LIMIT, err);
    }
    if (file != NULL && set_eos(file, config)) {
        // 16 digits give numbers that people wrote back as they wrote them
        *text = json_dumps(file, JSON_INDENT(2) | JSON_REAL_PRECISION(16));
    }
    json_decref(file);
    free(path);
    return status;
}

/// PyTorch's name.
static const char *torch_name(tr_dtype_t dtype)
{
    return dtype == TR_BF16 ? "bfloat16" : dtype == TR_F16 ? "float16" : "float32";
}

char *tr_model_config_json(const tr_model_config_t *config, tr_dtype_t dtype)
{
    const family_t *family = family_at(config->family);
    page_t page = {.count = 0};
    TR_ASSERT(config->eos_count <= TR_MODEL_EOS_LIMIT, "eos_count is %zu", config->eos_count);
    snprintf(add(&page, "architectures"), VALUE, "[\"%s\"]",
             config->scalar_head ? family->scalar : family->causal);
    snprintf(add(&page, "model_type"), VALUE, "\"%s\"", family->model_type);
    // As trainer_save.c writes the weights, whatever a run computes in.
    snprintf(add(&page, "torch_dtype"), VALUE, "\"%s\"", torch_name(dtype));
    // transformers counts labels by id2label: without it a model of one row would be read as one of
    // two.
    if (config->scalar_head) { // one label, whose other direction stands beside it
        snprintf(add(&page, "id2label"), VALUE,
                 "{\"0\": \"LABEL_0\"},\n  \"label2id\": {\"LABEL_0\": 0}");
    }
    // Every key is written, also where it has its default: readers' defaults may change.
    add_keys(&page, config, &family->keys);
    add_keys(&page, config, &family_shared_keys);
    return text_of(&page);
}
