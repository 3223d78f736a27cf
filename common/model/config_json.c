/// config.json as we write it: the keys of the file that a model came from, and those that a run
/// changes; or every key of the family spelled out, so that no reader's defaults matter. The table
/// of keys is the one that config_keys.c reads by (families/family.h).
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hf/json_file.h"
#include "common/model/config.h"
#include "common/model/config_source.h"

// Text

/// The shortest decimal that reads back as the same double, with a point or exponent, so that
/// Python reads no int.
static void write_real(FILE *out, double value)
{
    char text[40];
    // 17 digits tell any two doubles apart: the loop ends with the number itself.
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    if (fabs(value) < 1e15 && value == (double)(int64_t)value) {
        snprintf(text, sizeof text, "%" PRId64 ".0", (int64_t)value);
    }
    fputs(text, out);
}

static void write_value(FILE *out, const json_t *value, int depth);

/// A line of an object or a list: a comma after the one before, and the indentation.
static void begin_line(FILE *out, bool first, int depth)
{
    fprintf(out, "%s\n%*s", first ? "" : ",", 2 * depth, "");
}

static void write_scalar(FILE *out, const json_t *value)
{
    if (json_is_real(value)) {
        write_real(out, json_real_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    fputs(text, out);
    free(text);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/// Keys in the order of the alphabet, as transformers writes them, so that a diff of two files is
/// short.
static void write_object(FILE *out, const json_t *object, int depth)
{
    json_t *walked = (json_t *)object; // jansson's iterators take no const
    const char **names = tr_calloc(json_object_size(object) + 1, sizeof *names);
    size_t count = 0;
    for (void *at = json_object_iter(walked); at != NULL; at = json_object_iter_next(walked, at)) {
        names[count++] = json_object_iter_key(at);
    }
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        json_t *name = json_string(names[i]);
        begin_line(out, i == 0, depth + 1);
        write_scalar(out, name);
        fputs(": ", out);
        write_value(out, json_object_get(object, names[i]), depth + 1);
        json_decref(name);
    }
    free(names);
}

/// As json.dumps(value, indent=2, sort_keys=True) of Python.
static void write_value(FILE *out, const json_t *value, int depth)
{
    const bool object = json_is_object(value), list = json_is_array(value);
    if (!object && !list) {
        write_scalar(out, value);
        return;
    }
    fputc(object ? '{' : '[', out);
    if (object) {
        write_object(out, value, depth);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        begin_line(out, i == 0, depth + 1);
        write_value(out, json_array_get(value, i), depth + 1);
    }
    if (json_object_size(value) + json_array_size(value) > 0) {
        begin_line(out, true, depth);
    }
    fputc(object ? '}' : ']', out);
}

/// The caller's to free.
static char *text_of(const json_t *file)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    TR_ASSERT(out != NULL, "no memory for config.json");
    write_value(out, file, 0);
    fputc('\n', out);
    fclose(out);
    return text;
}

// Values

/// The double whose shortest decimal is that of the float: 1e-05, not 9.99999974e-06.
static double float_value(float value)
{
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) {
            break;
        }
    }
    return strtod(text, NULL);
}

static json_t *token_value(int32_t id)
{
    return id < 0 ? json_null() : json_integer(id);
}

/// As config_read_eos takes it back: null, an id, or a list of several. A list of one stays
/// where the file had one.
static json_t *eos_value(const tr_model_config_t *config, const json_t *old)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->eos_count; i++) {
        json_array_append_new(list, json_integer(config->eos[i]));
    }
    if (config->eos_count > 1 || (config->eos_count == 1 && json_equal(old, list))) {
        return list;
    }
    json_decref(list);
    return token_value(config->eos_count == 0 ? -1 : config->eos[0]);
}

/// As read_recurrent in config_keys.c takes it back.
static json_t *recurrent_value(const tr_model_config_t *config)
{
    json_t *list = json_array();
    for (size_t i = 0; i < config->layers; i++) {
        const bool recurs = tr_layer_set_has(&config->recurrent, i);
        json_array_append_new(list, json_string(recurs ? "linear_attention" : "full_attention"));
    }
    return list;
}

/// The reverse of config_read_key, kind by kind; old: what the file has, or NULL. The list of
/// layers and a scaled rotation are carried along, never made: NULL.
static json_t *value_of(const tr_model_config_t *config, const family_key_t *key, const json_t *old)
{
    // The same offsets that config_keys.c reads into: what is written is read back.
    const void *field = (const char *)config + key->offset;
    size_t size;
    switch (key->kind) {
    case FAMILY_SIZE:
    case FAMILY_COUNT:
    case FAMILY_DERIVED: return json_integer((json_int_t) * (const size_t *)field);
    case FAMILY_WINDOW:
        size = *(const size_t *)field;
        return size == 0 ? json_null() : json_integer((json_int_t)size);
    case FAMILY_REAL: return json_real(*(const double *)field);
    case FAMILY_CAP:
        return *(const float *)field > 0.0f ? json_real(float_value(*(const float *)field))
                                            : json_null();
    case FAMILY_FLOAT: return json_real(float_value(*(const float *)field));
    case FAMILY_GELU:
        return json_string(*(const tr_activation_t *)field == TR_ACTIVATION_GELU ? "gelu"
                                                                                 : "gelu_new");
    case FAMILY_BOOL: return json_boolean(*(const bool *)field);
    case FAMILY_TOKEN: return token_value(*(const int32_t *)field);
    case FAMILY_EOS: return eos_value(config, old);
    case FAMILY_RECURRENT: return recurrent_value(config);
    case FAMILY_ONLY: return json_loads(key->only, JSON_DECODE_ANY, NULL);
    default: return NULL;
    }
}

/// What a run may change of a model that it started from.
static bool may_change(const family_key_t *key)
{
    return key->kind == FAMILY_EOS || key->offset == FAMILY_FIELD(tied_embeddings);
}

/// A scalar head is never tied, whatever the file says of the language model's.
static bool is_kept(const tr_model_config_t *config, const family_key_t *key)
{
    return !may_change(key) ||
           (config->scalar_head && key->offset == FAMILY_FIELD(tied_embeddings));
}

/// carried: the file has the keys of another one, of which only those that a run changes are set.
static void set_keys(json_t *file, const tr_model_config_t *config, const family_keys_t *keys,
                     bool carried)
{
    for (size_t i = 0; i < keys->count; i++) {
        const family_key_t *key = &keys->items[i];
        if (key->written == FAMILY_ALWAYS && (!carried || !is_kept(config, key))) {
            json_t *value = value_of(config, key, json_object_get(file, key->name));
            if (value != NULL) {
                json_object_set_new(file, key->name, value);
            }
        }
        // What is written beside it is not quantized.
        if (key->kind == FAMILY_QUANTIZED) {
            json_object_del(file, key->name);
        }
        if (key->written == FAMILY_WITH_SCORES) {
            // A deviation of 0 says that scores were never normalized (config.h).
            json_object_del(file, key->name);
            if (config->score_std > 0.0) {
                json_object_set_new(file, key->name, value_of(config, key, NULL));
            }
        }
    }
}

/// One label, and no other count of them. transformers counts labels by id2label: without it a
/// model of one row would be read as one of two.
static void set_label(json_t *file)
{
    json_object_del(file, "num_labels");
    if (json_object_size(json_object_get(file, "id2label")) != 1) {
        json_object_set_new(file, "id2label", json_pack("{s:s}", "0", "LABEL_0"));
        json_object_set_new(file, "label2id", json_pack("{s:i}", "LABEL_0", 0));
    }
}

/// Without the padding token transformers scores no two sequences at once. That of
/// generation_config.json, as config.pad is; one that is the only end of texts would be taken off
/// their ends.
static void set_padding(json_t *file, const tr_model_config_t *config)
{
    const bool ends = config->eos_count == 1 && config->eos[0] == config->pad;
    if (config->pad >= 0 && !ends && !json_is_integer(json_object_get(file, "pad_token_id"))) {
        json_object_set_new(file, "pad_token_id", json_integer(config->pad));
    }
}

/// PyTorch's name, under the key that the file has; transformers 4 and 5 read "torch_dtype".
static void set_dtype(json_t *file, tr_dtype_t dtype)
{
    const char *name = dtype == TR_BF16 ? "bfloat16" : dtype == TR_F16 ? "float16" : "float32";
    const char *key = json_object_get(file, "dtype") != NULL ? "dtype" : "torch_dtype";
    json_object_set_new(file, key, json_string(name));
}

/// Whether two configs of one family have the same sizes and numbers, by the family's keys.
static bool is_same_model(const tr_model_config_t *a, const tr_model_config_t *b)
{
    const family_keys_t *keys = family_at(a->family)->keys;
    bool same = a->family == b->family;
    for (size_t i = 0; i < keys->count && same; i++) {
        const family_key_t *key = &keys->items[i];
        if ((key->kind <= FAMILY_BOOL || key->kind == FAMILY_CAP) && !may_change(key)) {
            json_t *one = value_of(a, key, NULL), *two = value_of(b, key, NULL);
            same = json_equal(one, two);
            json_decref(one);
            json_decref(two);
        }
    }
    return same;
}

static bool is_same_end(const tr_model_config_t *a, const tr_model_config_t *b)
{
    return a->eos_count == b->eos_count &&
           memcmp(a->eos, b->eos, a->eos_count * sizeof *a->eos) == 0;
}

/// *file: the keys of the model that the source has, if it is this one; else an empty object. The
/// caller's. *ends: whether it ends where this one does, so that its eos_token_id stays, whatever
/// generation_config.json adds to it.
static tr_status read_source(json_t **file, bool *ends, const tr_model_config_t *config,
                             const char *source, tr_error_t *err)
{
    tr_model_config_t stored;
    char *path = tr_format("%s/config.json", source != NULL ? source : ".");
    tr_status status = TR_OK;
    *file = NULL;
    *ends = false;
    if (source != NULL && access(path, F_OK) == 0) {
        TR_TRY_GOTO(tr_model_config_load(&stored, source, err), done);
        if (is_same_model(&stored, config)) {
            *ends = is_same_end(&stored, config);
            status = config_open(file, path, err);
        }
    }
    *file = *file == NULL && status == TR_OK ? json_object() : *file;
done:
    free(path);
    return status;
}

tr_status tr_model_config_json(char **text, const tr_model_config_t *config, tr_dtype_t dtype,
                               const char *source, tr_error_t *err)
{
    const family_t *family = family_at(config->family);
    json_t *file;
    bool ends;
    TR_TRY(read_source(&file, &ends, config, source, err));
    const bool carried = json_object_size(file) > 0;
    TR_ASSERT(carried || config->rope_scaling.kind == TR_ROPE_DEFAULT,
              "a scaled rotation without the file that it is from");
    json_t *eos = ends ? json_incref(json_object_get(file, "eos_token_id")) : NULL;
    json_object_set_new(file, "model_type", json_string(family->model_type));
    json_object_set_new(file, "architectures",
                        json_pack("[s]", config->scalar_head ? family->scalar : family->causal));
    set_dtype(file, dtype);
    if (config->scalar_head) {
        set_label(file);
        set_padding(file, config);
    }
    set_keys(file, config, family->keys, carried);
    set_keys(file, config, &family_shared_keys, carried);
    if (eos != NULL) {
        json_object_set_new(file, "eos_token_id", eos);
    }
    *text = text_of(file);
    json_decref(file);
    return TR_OK;
}

// generation_config.json

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
        status = tr_json_file_read(&file, path, CONFIG_FILE_LIMIT, err);
    }
    if (file != NULL && set_eos(file, config)) {
        // 16 digits give numbers that people wrote back as they wrote them
        *text = json_dumps(file, JSON_INDENT(2) | JSON_REAL_PRECISION(16));
    }
    json_decref(file);
    free(path);
    return status;
}
