/// A key of config.json into its field, by its row of a family's table (families/family.h).
#include <string.h>

#include "common/hf/json_file.h"
#include "common/model/config_source.h"

/// *object becomes its text_config, which is one of the family's.
static tr_status unwrap(json_t **object, const family_t *family, const source_t *source)
{
    const family_wrapped_t *wrapped = family->wrapped;
    const json_t *names = config_value(source, "architectures");
    json_t *text = json_object_get(source->object, "text_config");
    if (names != NULL && !(json_array_size(names) == 1 &&
                           config_is_text(json_array_get(names, 0), wrapped->architecture))) {
        char expected[96];
        snprintf(expected, sizeof expected, "[\"%s\"], whose text model is read",
                 wrapped->architecture);
        return config_unsupported(source, "architectures", expected);
    }
    if (!json_is_object(text)) {
        return config_refuse(source, TR_ERR_FORMAT, "text_config", "an object");
    }
    // Some files name the whole there too.
    const json_t *type = config_value(&(source_t){.object = text}, "model_type");
    if (type == NULL || config_is_text(type, wrapped->model_type)) {
        json_object_set_new(text, "model_type", json_string(family->model_type));
    }
    json_object_del(text, "architectures");
    json_incref(text);
    json_decref(*object);
    *object = text;
    return TR_OK;
}

tr_status config_open(json_t **object, const char *path, tr_error_t *err)
{
    json_t *file;
    TR_TRY(tr_json_file_read(&file, path, CONFIG_FILE_LIMIT, err));
    const source_t source = {file, path, "", err};
    tr_status status = TR_OK;
    for (size_t i = 0; i < family_count(); i++) {
        const family_wrapped_t *wrapped = family_at(i)->wrapped;
        if (wrapped != NULL &&
            config_is_text(json_object_get(file, "model_type"), wrapped->model_type)) {
            status = unwrap(&file, family_at(i), &source);
            break;
        }
    }
    if (status != TR_OK) {
        json_decref(file);
        return status;
    }
    *object = file;
    return TR_OK;
}

const json_t *config_value(const source_t *source, const char *key)
{
    const json_t *value = json_object_get(source->object, key);
    return json_is_null(value) ? NULL : value;
}

tr_status config_refuse(const source_t *source, tr_status status, const char *key,
                        const char *expected)
{
    // What the file has is cut to fit: it may be a long list.
    char found[80];
    const json_t *value = json_object_get(source->object, key);
    return tr_fail(source->err, status, "%s: %s%s: expected %s, found %s", source->path,
                   source->prefix, key, expected, tr_json_describe(found, sizeof found, value));
}

tr_status config_unsupported(const source_t *source, const char *key, const char *expected)
{
    return config_refuse(source, TR_ERR_UNSUPPORTED, key, expected);
}

bool config_is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool is_size(family_key_kind_t kind)
{
    return kind == FAMILY_SIZE || kind == FAMILY_COUNT || kind == FAMILY_DERIVED ||
           kind == FAMILY_WINDOW;
}

/// Whether null is 0, and not the default.
static bool null_is_none(family_key_kind_t kind)
{
    return kind == FAMILY_DERIVED || kind == FAMILY_WINDOW || kind == FAMILY_CAP;
}

/// Bounds of sizes are far below 2^53, where doubles are exact.
tr_status config_read_number(double *out, const source_t *source, const family_key_t *key)
{
    const json_t *value = config_value(source, key->name);
    const bool size = is_size(key->kind);
    // null counts as missing, as transformers writes it for an option that is not set; of others it
    // is a value of its own.
    if (value == NULL && !key->needed) {
        const bool none =
            null_is_none(key->kind) && json_object_get(source->object, key->name) != NULL;
        *out = none ? 0.0 : key->fallback;
        return TR_OK;
    }
    double number = json_number_value(value),
           lowest = size && key->kind != FAMILY_COUNT ? 1.0 : key->lowest;
    bool right = size ? json_is_integer(value) : json_is_number(value);
    if (!right || !(number >= lowest && number <= key->highest)) {
        char expected[64];
        snprintf(expected, sizeof expected,
                 size ? "a whole number from %.0f to %.0f" : "a number from %g to %g", lowest,
                 key->highest);
        return config_refuse(source, TR_ERR_FORMAT, key->name, expected);
    }
    *out = number;
    return TR_OK;
}

static tr_status read_bool(bool *out, const source_t *source, const family_key_t *key)
{
    const json_t *value = config_value(source, key->name);
    // 0 and 1 are refused too: they are numbers.
    if (value != NULL && !json_is_boolean(value)) {
        return config_refuse(source, TR_ERR_FORMAT, key->name, "true or false");
    }
    *out = value != NULL ? json_is_true(value) : key->fallback != 0.0;
    return TR_OK;
}

/// A list with an entry for each layer, those of `in` being in the set and those of `out` not.
static tr_status read_layers(tr_layer_set_t *set, const tr_model_config_t *config,
                             const source_t *source, const family_key_t *key, const json_t *in,
                             const json_t *out, const char *expected)
{
    const json_t *list = config_value(source, key->name);
    // SmolLM3's list may be longer than the model.
    if (!json_is_array(list) || json_array_size(list) < config->layers) {
        return config_refuse(source, TR_ERR_FORMAT, key->name, expected);
    }
    *set = (tr_layer_set_t){0};
    for (size_t i = 0; i < config->layers; i++) {
        const json_t *entry = json_array_get(list, i);
        if (json_equal(entry, in)) {
            set->bits[i / 64] |= (uint64_t)1 << (i % 64);
        } else if (!json_equal(entry, out)) {
            return config_unsupported(source, key->name, expected);
        }
    }
    return TR_OK;
}

/// The layers by their list, or by what config says of a model without one.
static tr_status read_sliding(tr_model_config_t *config, const source_t *source,
                              const family_key_t *key)
{
    if (config_value(source, key->name) == NULL) {
        return TR_OK;
    }
    json_t *in = json_string("sliding_attention"), *out = json_string("full_attention");
    tr_status status =
        read_layers(&config->sliding, config, source, key, in, out,
                    "\"sliding_attention\" or \"full_attention\" for each of num_hidden_layers");
    json_decref(in);
    json_decref(out);
    // The list goes before what says where a model without one slides.
    config->full_every = 0;
    return status;
}

static tr_status read_rotated(tr_model_config_t *config, const source_t *source,
                              const family_key_t *key)
{
    if (config_value(source, key->name) == NULL) {
        return TR_OK;
    }
    json_t *in = json_integer(0), *out = json_integer(1);
    tr_status status = read_layers(&config->unrotated, config, source, key, in, out,
                                   "0 or 1 for each of num_hidden_layers");
    json_decref(in);
    json_decref(out);
    config->unrotated_every = 0;
    return status;
}

static tr_status read_recurrent(tr_model_config_t *config, const source_t *source,
                                const family_key_t *key)
{
    if (config_value(source, key->name) == NULL) {
        return TR_OK;
    }
    json_t *in = json_string("linear_attention"), *out = json_string("full_attention");
    tr_status status =
        read_layers(&config->recurrent, config, source, key, in, out,
                    "\"linear_attention\" or \"full_attention\" for each of num_hidden_layers");
    json_decref(in);
    json_decref(out);
    config->attention_every = 0;
    return status;
}

tr_status config_read_token(int32_t *out, const source_t *source, const char *key,
                            size_t vocabulary)
{
    const json_t *value = json_object_get(source->object, key);
    if (value == NULL) {
        return TR_OK;
    }
    // transformers writes null for no token; older files have a pad_token_id of -1.
    json_int_t id = json_is_null(value) ? -1 : json_integer_value(value);
    if ((!json_is_null(value) && !json_is_integer(value)) || id < -1 ||
        id >= (json_int_t)vocabulary) {
        return config_refuse(source, TR_ERR_FORMAT, key, "a token id below vocab_size, or null");
    }
    *out = (int32_t)id;
    return TR_OK;
}

/// One more id at which generation stops; the list is the config's, and in the file's order.
static tr_status append_eos(tr_model_config_t *config, const source_t *source, const json_t *value)
{
    json_int_t id = json_integer_value(value);
    // An id that the model never gives would let responses run to their limit.
    if (!json_is_integer(value) || id < 0 || id >= (json_int_t)config->vocabulary) {
        return config_refuse(source, TR_ERR_FORMAT, "eos_token_id",
                             "token ids below vocab_size, or null");
    }
    // The list is kept by value in the config.
    if (config->eos_count == TR_MODEL_EOS_LIMIT) {
        return config_unsupported(source, "eos_token_id", "at most 256 token ids");
    }
    config->eos[config->eos_count++] = (int32_t)id;
    return TR_OK;
}

tr_status config_read_eos(tr_model_config_t *config, const source_t *source)
{
    const json_t *value = json_object_get(source->object, "eos_token_id");
    if (value == NULL) {
        return TR_OK;
    }
    config->eos_count = 0;
    // Nothing is left of the default, or of config.json's list.
    memset(config->eos, 0, sizeof config->eos);
    if (json_is_null(value)) {
        return TR_OK;
    }
    // One id or several: transformers takes both.
    if (!json_is_array(value)) {
        return append_eos(config, source, value);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        TR_TRY(append_eos(config, source, json_array_get(value, i)));
    }
    return TR_OK;
}

/// Numbers of layers; the config's other layers are not in the set.
static tr_status read_dense(tr_model_config_t *config, const source_t *source,
                            const family_key_t *key)
{
    const json_t *list = config_value(source, key->name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const json_int_t layer = json_integer_value(entry);
        if (!json_is_integer(entry) || layer < 0 || layer >= TR_MODEL_LAYER_LIMIT) {
            return config_refuse(source, TR_ERR_FORMAT, key->name, "a list of numbers of layers");
        }
        config->dense.bits[layer / 64] |= (uint64_t)1 << (layer % 64);
    }
    return list == NULL || json_is_array(list)
               ? TR_OK
               : config_refuse(source, TR_ERR_FORMAT, key->name, "a list of numbers of layers");
}

static tr_status read_gelu(tr_activation_t *out, const source_t *source, const family_key_t *key)
{
    static const char *const tanh_forms[] = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"};
    const json_t *value = config_value(source, key->name);
    *out = (tr_activation_t)key->fallback;
    for (size_t i = 0; i < sizeof tanh_forms / sizeof *tanh_forms; i++) {
        if (config_is_text(value, tanh_forms[i])) {
            *out = TR_ACTIVATION_GELU_TANH;
            return TR_OK;
        }
    }
    if (config_is_text(value, "gelu")) {
        *out = TR_ACTIVATION_GELU;
    } else if (value != NULL) {
        return config_unsupported(source, key->name,
                                  "\"gelu\", \"gelu_new\", \"gelu_fast\" or "
                                  "\"gelu_pytorch_tanh\"");
    }
    return TR_OK;
}

tr_status config_check_only(const source_t *source, const family_key_t *key)
{
    const json_t *value = config_value(source, key->name);
    // The table has JSON text, so that one row serves reading, refusing and writing.
    json_t *only = json_loads(key->only, JSON_DECODE_ANY, NULL);
    bool same = json_is_number(only) && json_is_number(value) // 1 and 1.0 are one number
                    ? json_number_value(value) == json_number_value(only)
                    : json_equal(value, only);
    // A number where a truth value belongs is a malformed file, not a missing feature.
    bool odd = json_is_boolean(only) && !json_is_boolean(value);
    json_decref(only);
    if (value == NULL || same) {
        return TR_OK;
    }
    return odd ? config_refuse(source, TR_ERR_FORMAT, key->name, "true or false")
               : config_unsupported(source, key->name,
                                    key->expected != NULL ? key->expected : key->only);
}

/// Weights that are quantized as the family reads them, or not at all.
static tr_status check_quantized(const tr_model_config_t *config, const source_t *source,
                                 const family_key_t *key)
{
    const char *method = family_at(config->family)->quantized;
    char expected[96];
    if (method == NULL) {
        return config_check_only(source, key);
    }
    const source_t record = {config_value(source, key->name), source->path, "quantization_config.",
                             source->err};
    if (config_is_text(json_object_get(record.object, "quant_method"), method)) {
        static const family_key_t block = {"weight_block_size", FAMILY_ONLY, .only = "[128, 128]"};
        return config_check_only(&record, &block);
    }
    snprintf(expected, sizeof expected, "quant_method \"%s\", or %s", method, key->expected);
    family_key_t named = *key;
    named.expected = expected;
    return config_check_only(source, &named);
}

static bool is_zero(const source_t *source, const char *key)
{
    const json_t *value = config_value(source, key);
    return json_is_integer(value) && json_integer_value(value) == 0;
}

/// The key under the name that the file has. One that has both must say the same twice.
static tr_status find_name(family_key_t *named, const source_t *source, const family_key_t *key)
{
    const json_t *also = key->also != NULL ? config_value(source, key->also) : NULL;
    const json_t *value = config_value(source, key->name);
    *named = *key;
    if (also != NULL && value != NULL && !json_equal(also, value)) {
        char expected[96];
        snprintf(expected, sizeof expected, "the %s that stands beside it", key->name);
        return config_refuse(source, TR_ERR_FORMAT, key->also, expected);
    }
    named->name = also != NULL ? key->also : key->name;
    return TR_OK;
}

tr_status config_read_key(tr_model_config_t *config, const source_t *source,
                          const family_key_t *row)
{
    family_key_t named;
    const family_key_t *key = &named;
    TR_TRY(find_name(&named, source, row));
    void *field = (char *)config + key->offset;
    const int32_t id = (int32_t)key->fallback;
    // Llama's defaults, 1 and 2, are ids of its own vocabulary: a smaller one may lack them.
    const bool small = id >= (int32_t)config->vocabulary; // a default id that this vocabulary lacks
    double number;
    switch (key->kind) {
    case FAMILY_WINDOW:
        // transformers writes 0 of a Qwen 2 MoE that does not slide.
        if (!config->window_used && is_zero(source, key->name)) {
            *(size_t *)field = 0;
            return TR_OK;
        }
        // fall through
    case FAMILY_SIZE:
    case FAMILY_COUNT:
    case FAMILY_DERIVED:
        TR_TRY(config_read_number(&number, source, key));
        *(size_t *)field = (size_t)number;
        return TR_OK;
    case FAMILY_REAL: return config_read_number(field, source, key);
    case FAMILY_FLOAT:
    case FAMILY_CAP:
        TR_TRY(config_read_number(&number, source, key));
        *(float *)field = (float)number;
        return TR_OK;
    case FAMILY_GELU: return read_gelu(field, source, key);
    case FAMILY_BOOL: return read_bool(field, source, key);
    // The default is set first: a missing key leaves it, null replaces it by -1.
    case FAMILY_TOKEN:
        *(int32_t *)field = small ? -1 : id;
        return config_read_token(field, source, key->name, config->vocabulary);
    case FAMILY_EOS:
        config->eos[0] = id;
        config->eos_count = small ? 0 : 1;
        return config_read_eos(config, source);
    case FAMILY_ROPE: return config_read_rope(config, source, key);
    case FAMILY_SLIDING: return read_sliding(config, source, key);
    case FAMILY_ROTATED: return read_rotated(config, source, key);
    case FAMILY_RECURRENT: return read_recurrent(config, source, key);
    case FAMILY_DENSE: return read_dense(config, source, key);
    case FAMILY_QUANTIZED: return check_quantized(config, source, key);
    case FAMILY_UNREAD: return TR_OK;
    default: return config_check_only(source, key);
    }
}

tr_status config_read_keys(tr_model_config_t *config, const source_t *source,
                           const family_keys_t *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        TR_TRY(config_read_key(config, source, &keys->items[i]));
    }
    return TR_OK;
}
