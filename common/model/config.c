/// Reads config.json and generation_config.json by the table of keys of the model's family
/// (families/family.h), and refuses by name what the passes lack. Writing is config_json.c.
#include "common/model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hf/json_file.h"
#include "common/hf/safetensors.h"
#include "common/model/families/family.h"

enum { FILE_LIMIT = 16 << 20 };

/// A JSON object and its error sink. prefix: of its keys in sentences: "" or "rope_parameters.".
typedef struct source {
    const json_t *object;
    const char *path;
    const char *prefix;
    tr_error_t *err;
} source_t;

/// A key's value; NULL when it is missing or null.
static const json_t *value_of(const source_t *source, const char *key)
{
    const json_t *value = json_object_get(source->object, key);
    return json_is_null(value) ? NULL : value;
}

/// "FILE: KEY: expected ..., found ...": what the file has is shown, whatever its type.
static tr_status refuse(const source_t *source, tr_status status, const char *key,
                        const char *expected)
{
    // What the file has is cut to fit: it may be a long list.
    char found[80];
    const json_t *value = json_object_get(source->object, key);
    return tr_fail(source->err, status, "%s: %s%s: expected %s, found %s", source->path,
                   source->prefix, key, expected, tr_json_describe(found, sizeof found, value));
}

/// Well-formed, but a model that the passes would compute wrongly.
static tr_status unsupported(const source_t *source, const char *key, const char *expected)
{
    return refuse(source, TR_ERR_UNSUPPORTED, key, expected);
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

// Values by kind

/// A size is a whole number from 1; its bounds are far below 2^53, where doubles are exact.
static tr_status read_number(double *out, const source_t *source, const family_key_t *key)
{
    const json_t *value = value_of(source, key->name);
    const bool size = key->kind == FAMILY_SIZE || key->kind == FAMILY_WINDOW;
    // null counts as missing, as transformers writes it for an option that is not set; for a window
    // it is a value of its own.
    if (value == NULL && !key->needed) {
        const bool none = (key->kind == FAMILY_WINDOW || key->kind == FAMILY_CAP) &&
                          json_object_get(source->object, key->name) != NULL;
        *out = none ? 0.0 : key->fallback;
        return TR_OK;
    }
    double number = json_number_value(value), lowest = size ? 1.0 : key->lowest;
    bool right = size ? json_is_integer(value) : json_is_number(value);
    if (!right || !(number >= lowest && number <= key->highest)) {
        char expected[64];
        snprintf(expected, sizeof expected,
                 size ? "a whole number from %.0f to %.0f" : "a number from %g to %g", lowest,
                 key->highest);
        return refuse(source, TR_ERR_FORMAT, key->name, expected);
    }
    *out = number;
    return TR_OK;
}

static tr_status read_bool(bool *out, const source_t *source, const family_key_t *key)
{
    const json_t *value = value_of(source, key->name);
    // 0 and 1 are refused too: they are numbers.
    if (value != NULL && !json_is_boolean(value)) {
        return refuse(source, TR_ERR_FORMAT, key->name, "true or false");
    }
    *out = value != NULL ? json_is_true(value) : key->fallback != 0.0;
    return TR_OK;
}

/// A list with an entry for each layer, those of `in` being in the set and those of `out` not.
static tr_status read_layers(tr_layer_set_t *set, const tr_model_config_t *config,
                             const source_t *source, const family_key_t *key, const json_t *in,
                             const json_t *out, const char *expected)
{
    const json_t *list = value_of(source, key->name);
    // SmolLM3's list may be longer than the model.
    if (!json_is_array(list) || json_array_size(list) < config->layers) {
        return refuse(source, TR_ERR_FORMAT, key->name, expected);
    }
    *set = (tr_layer_set_t){0};
    for (size_t i = 0; i < config->layers; i++) {
        const json_t *entry = json_array_get(list, i);
        if (json_equal(entry, in)) {
            set->bits[i / 64] |= (uint64_t)1 << (i % 64);
        } else if (!json_equal(entry, out)) {
            return unsupported(source, key->name, expected);
        }
    }
    return TR_OK;
}

/// The layers by their list, or by what config says of a model without one.
static tr_status read_sliding(tr_model_config_t *config, const source_t *source,
                              const family_key_t *key)
{
    if (value_of(source, key->name) == NULL) {
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
    if (value_of(source, key->name) == NULL) {
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

/// A token id below vocabulary; null and -1 are -1. *out keeps its value when the key is missing.
static tr_status read_token(int32_t *out, const source_t *source, const char *key,
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
        return refuse(source, TR_ERR_FORMAT, key, "a token id below vocab_size, or null");
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
        return refuse(source, TR_ERR_FORMAT, "eos_token_id", "token ids below vocab_size, or null");
    }
    // The list is kept by value in the config.
    if (config->eos_count == TR_MODEL_EOS_LIMIT) {
        return unsupported(source, "eos_token_id", "at most 256 token ids");
    }
    config->eos[config->eos_count++] = (int32_t)id;
    return TR_OK;
}

/// An id, a list of ids, or null; replaces the config's unless the key is missing.
static tr_status read_eos(tr_model_config_t *config, const source_t *source)
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

/// A feature that is there in one form: the value is that form or missing.
static tr_status check_only(const source_t *source, const family_key_t *key)
{
    const json_t *value = value_of(source, key->name);
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
    return odd ? refuse(source, TR_ERR_FORMAT, key->name, "true or false")
               : unsupported(source, key->name, key->expected != NULL ? key->expected : key->only);
}

// RoPE

#define SCALING(name) offsetof(tr_model_config_t, rope_scaling.name)

/// A key of a RoPE record besides its kind and theta; kinds: those that have it, a bit each.
typedef struct rope_key {
    family_key_t key;
    unsigned kinds, needed_by;
} rope_key_t;

enum {
    LINEAR = 1 << TR_ROPE_LINEAR,
    DYNAMIC = 1 << TR_ROPE_DYNAMIC,
    LLAMA3 = 1 << TR_ROPE_LLAMA3,
    YARN = 1 << TR_ROPE_YARN,
    LONGROPE = 1 << TR_ROPE_LONGROPE
};

static const char *const ROPE_KINDS[] = {"default", "linear", "dynamic",
                                         "llama3",  "yarn",   "longrope"};
enum { ROPE_KIND_COUNT = sizeof ROPE_KINDS / sizeof *ROPE_KINDS };

/// As transformers' validation has them.
static const rope_key_t ROPE_KEYS[] = {
    {{"factor", FAMILY_REAL, SCALING(factor), .lowest = 1e-3, .highest = 1e6},
     LINEAR | DYNAMIC | LLAMA3 | YARN | LONGROPE,
     LINEAR | DYNAMIC | LLAMA3},
    {{"original_max_position_embeddings", FAMILY_REAL, SCALING(original_positions), .lowest = 1.0,
      .highest = 1e9},
     DYNAMIC | LLAMA3 | YARN | LONGROPE,
     0},
    {{"low_freq_factor", FAMILY_REAL, SCALING(low_freq_factor), .lowest = 1e-6, .highest = 1e6},
     LLAMA3,
     LLAMA3},
    {{"high_freq_factor", FAMILY_REAL, SCALING(high_freq_factor), .lowest = 1e-6, .highest = 1e6},
     LLAMA3,
     LLAMA3},
    {{"attention_factor", FAMILY_REAL, SCALING(attention_factor), .lowest = 1e-6, .highest = 1e6},
     YARN | LONGROPE,
     0},
    {{"beta_fast", FAMILY_REAL, SCALING(beta_fast), .fallback = 32.0, .highest = 1e6}, YARN, 0},
    {{"beta_slow", FAMILY_REAL, SCALING(beta_slow), .fallback = 1.0, .highest = 1e6}, YARN, 0},
    {{"mscale", FAMILY_REAL, SCALING(mscale), .highest = 1e6}, YARN, 0},
    {{"mscale_all_dim", FAMILY_REAL, SCALING(mscale_all_dim), .highest = 1e6}, YARN, 0},
    {{"truncate", FAMILY_BOOL, SCALING(truncate), .fallback = true}, YARN, 0},
    {{"short_factor", FAMILY_ONLY, .only = NULL}, LONGROPE, LONGROPE}, // lists: read_factors
    {{"long_factor", FAMILY_ONLY, .only = NULL}, LONGROPE, LONGROPE},
};
enum { ROPE_KEY_COUNT = sizeof ROPE_KEYS / sizeof *ROPE_KEYS };

static tr_status read_key(tr_model_config_t *config, const source_t *source,
                          const family_key_t *key);

/// rope_type, or "type", its older name.
static tr_status read_rope_kind(tr_rope_kind_t *kind, const source_t *rope)
{
    const char *name = value_of(rope, "rope_type") != NULL ? "rope_type" : "type";
    const json_t *value = value_of(rope, name);
    *kind = TR_ROPE_DEFAULT;
    for (size_t i = 0; value != NULL && i < ROPE_KIND_COUNT; i++) {
        if (is_text(value, ROPE_KINDS[i])) {
            *kind = (tr_rope_kind_t)i;
            return TR_OK;
        }
    }
    return value == NULL ? TR_OK
                         : unsupported(rope, name,
                                       "\"default\", \"linear\", \"dynamic\", \"llama3\", "
                                       "\"yarn\" or \"longrope\"");
}

/// What this kind does not have (a factor beside "default", say) would be left out in silence.
static tr_status check_rope_keys(const source_t *rope, tr_rope_kind_t kind)
{
    static const char *const all[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
    json_t *object = (json_t *)rope->object; // jansson's iterators take no const
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        bool known = json_is_null(json_object_iter_value(at));
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            known = known || strcmp(name, all[i]) == 0;
        }
        for (size_t i = 0; i < ROPE_KEY_COUNT; i++) {
            known = known || (strcmp(name, ROPE_KEYS[i].key.name) == 0 &&
                              (ROPE_KEYS[i].kinds >> kind & 1) != 0);
        }
        if (!known) {
            return unsupported(rope, name, "no such key");
        }
    }
    return TR_OK;
}

/// longrope's factors of the frequencies, one for each pair.
static tr_status read_factors(tr_rope_scaling_t *scaling, const source_t *rope)
{
    const json_t *list = value_of(rope, "short_factor");
    const size_t count = json_array_size(list);
    if (count == 0 || count > TR_ROPE_PAIRS) {
        return refuse(rope, TR_ERR_FORMAT, "short_factor", "a list of at most 256 numbers");
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *factor = json_array_get(list, i);
        if (!json_is_number(factor) || !(json_number_value(factor) > 0.0)) {
            return refuse(rope, TR_ERR_FORMAT, "short_factor", "numbers above 0");
        }
        scaling->short_factor[i] = (float)json_number_value(factor);
    }
    scaling->factor_count = count;
    return TR_OK;
}

/// A record that is not nested: its kind, and what that kind has.
static tr_status read_rope_record(tr_model_config_t *config, const source_t *rope)
{
    static const family_key_t fraction = {"partial_rotary_factor", FAMILY_REAL,
                                          FAMILY_FIELD(rotary_fraction), .lowest = 1e-3,
                                          .highest = 1.0};
    tr_rope_kind_t kind;
    TR_TRY(read_rope_kind(&kind, rope));
    TR_TRY(check_rope_keys(rope, kind));
    for (size_t i = 0; i < ROPE_KEY_COUNT; i++) {
        const rope_key_t *row = &ROPE_KEYS[i];
        if ((row->needed_by >> kind & 1) != 0 && value_of(rope, row->key.name) == NULL) {
            return refuse(rope, TR_ERR_FORMAT, row->key.name, "a value");
        }
        if ((row->kinds >> kind & 1) != 0 && row->key.kind != FAMILY_ONLY) {
            TR_TRY(read_key(config, rope, &row->key));
        }
    }
    config->rope_scaling.kind = kind;
    if (value_of(rope, fraction.name) != NULL) {
        TR_TRY(read_key(config, rope, &fraction));
    }
    return kind == TR_ROPE_LONGROPE ? read_factors(&config->rope_scaling, rope) : TR_OK;
}

/// *theta: the record's rope_theta, where it has one, which must not contradict the one beside it.
static tr_status read_theta(double *theta, const source_t *source, const source_t *rope)
{
    const family_key_t key = {"rope_theta", FAMILY_REAL, .fallback = *theta, .lowest = 1.0,
                              .highest = 1e15};
    double own;
    TR_TRY(read_number(&own, rope, &key));
    // A file may have both; which of two that differ holds would depend on the reader.
    if (source != NULL && value_of(source, "rope_theta") != NULL && own != *theta) {
        return refuse(rope, TR_ERR_FORMAT, "rope_theta", "the rope_theta that stands beside it");
    }
    *theta = own;
    return TR_OK;
}

/// rope_parameters of a family whose sliding layers have a plain rotation of their own: a record
/// for each kind of layer.
static tr_status read_nested_rope(tr_model_config_t *config, const source_t *rope)
{
    char prefix[2][64];
    source_t inner[2];
    static const char *const names[] = {"full_attention", "sliding_attention"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *record = value_of(rope, names[i]);
        snprintf(prefix[i], sizeof prefix[i], "%s%s.", rope->prefix, names[i]);
        inner[i] = (source_t){record, rope->path, prefix[i], rope->err};
        if (!json_is_object(record)) {
            return refuse(rope, TR_ERR_FORMAT, names[i], "an object");
        }
    }
    if (json_object_size(rope->object) != 2) {
        return unsupported(rope, "full_attention", "this and sliding_attention alone");
    }
    TR_TRY(read_rope_record(config, &inner[0]));
    TR_TRY(read_theta(&config->rope_theta, NULL, &inner[0]));
    tr_rope_kind_t kind;
    TR_TRY(read_rope_kind(&kind, &inner[1]));
    TR_TRY(check_rope_keys(&inner[1], TR_ROPE_DEFAULT));
    if (kind != TR_ROPE_DEFAULT) {
        return unsupported(&inner[1], "rope_type", "\"default\"");
    }
    return read_theta(&config->rope_local_theta, NULL, &inner[1]);
}

/// rope_scaling of transformers 4 and rope_parameters of 5.
static tr_status read_rope(tr_model_config_t *config, const source_t *source,
                           const family_key_t *key)
{
    const json_t *record = value_of(source, key->name);
    if (record == NULL) {
        return TR_OK;
    }
    if (!json_is_object(record)) {
        return refuse(source, TR_ERR_FORMAT, key->name, "an object or null");
    }
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.", key->name);
    // Its keys are named in sentences as "rope_parameters.rope_theta".
    source_t rope = {record, source->path, prefix, source->err};
    if (config->rope_local_theta > 0.0 && json_is_object(value_of(&rope, "full_attention"))) {
        return read_nested_rope(config, &rope);
    }
    TR_TRY(read_rope_record(config, &rope));
    return read_theta(&config->rope_theta, source, &rope);
}

/// A key into its field.
static tr_status read_key(tr_model_config_t *config, const source_t *source,
                          const family_key_t *key)
{
    void *field = (char *)config + key->offset;
    const int32_t id = (int32_t)key->fallback;
    // Llama's defaults, 1 and 2, are ids of its own vocabulary: a smaller one may lack them.
    const bool small = id >= (int32_t)config->vocabulary; // a default id that this vocabulary lacks
    double number;
    switch (key->kind) {
    case FAMILY_SIZE:
    case FAMILY_WINDOW:
        TR_TRY(read_number(&number, source, key));
        *(size_t *)field = (size_t)number;
        return TR_OK;
    case FAMILY_REAL: return read_number(field, source, key);
    case FAMILY_FLOAT:
    case FAMILY_CAP:
        TR_TRY(read_number(&number, source, key));
        *(float *)field = (float)number;
        return TR_OK;
    case FAMILY_BOOL: return read_bool(field, source, key);
    // The default is set first: a missing key leaves it, null replaces it by -1.
    case FAMILY_TOKEN:
        *(int32_t *)field = small ? -1 : id;
        return read_token(field, source, key->name, config->vocabulary);
    case FAMILY_EOS:
        config->eos[0] = id;
        config->eos_count = small ? 0 : 1;
        return read_eos(config, source);
    case FAMILY_ROPE: return read_rope(config, source, key);
    case FAMILY_SLIDING: return read_sliding(config, source, key);
    case FAMILY_ROTATED: return read_rotated(config, source, key);
    default: return check_only(source, key);
    }
}

/// In the table's order, which is one of dependence: token ids are checked against vocab_size,
/// which stands above them.
static tr_status read_keys(tr_model_config_t *config, const source_t *source,
                           const family_keys_t *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        TR_TRY(read_key(config, source, &keys->items[i]));
    }
    return TR_OK;
}

// Keys of others

static const family_key_t *find_key(const family_keys_t *keys, const char *name)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (strcmp(keys->items[i].name, name) == 0) {
            return &keys->items[i];
        }
    }
    return NULL;
}

/// A key that this family does not have and another one does, with a value that would change
/// numbers there: whoever wrote it meant it. Keys that no family has change nothing, and are
/// carried along.
static tr_status check_foreign(const source_t *source, const family_t *family)
{
    json_t *object = (json_t *)source->object;
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);
        if (find_key(family->keys, name) != NULL || find_key(&family_shared_keys, name) != NULL ||
            json_is_null(value) || json_is_false(value)) {
            continue;
        }
        for (size_t i = 0; i < family_count(); i++) {
            const family_key_t *key = find_key(family_at(i)->keys, name);
            if (key != NULL && key->kind != FAMILY_ONLY) {
                char expected[96];
                snprintf(expected, sizeof expected, "no such key of a %s model",
                         family->model_type);
                return unsupported(source, name, expected);
            }
            TR_TRY(key != NULL ? check_only(source, key) : TR_OK);
        }
    }
    return TR_OK;
}

// The whole

/// As transformers counts them: id2label wins over num_labels, and two is the default.
static tr_status check_labels(const source_t *source)
{
    const json_t *labels = value_of(source, "id2label");
    const json_t *count = value_of(source, "num_labels");
    // Two labels would be a classifier: its head has two rows, and no one value.
    if (labels != NULL) {
        // transformers' num_labels is the size of id2label.
        return json_object_size(labels) == 1 ? TR_OK : unsupported(source, "id2label", "one label");
    }
    if (json_is_integer(count) && json_integer_value(count) == 1) {
        return TR_OK;
    }
    return unsupported(source, "num_labels", "1 (a scalar head; without the key it is 2)");
}

/// The row of the table whose model_type the file has; where none has it, the sentence lists what
/// there is.
static tr_status read_family(size_t *row, const source_t *source)
{
    char expected[512];
    size_t used = 0;
    for (size_t i = 0; i < family_count(); i++) {
        const char *type = family_at(i)->model_type;
        // model_type alone decides, as in transformers' AutoConfig.
        if (is_text(json_object_get(source->object, "model_type"), type)) {
            *row = i;
            return TR_OK;
        }
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s\"%s\"",
                                 i == 0 ? "" : " or ", type);
    }
    return unsupported(source, "model_type", expected);
}

/// A bare configuration is a causal model's.
/// Which of the family's two architectures the file names. Other ones of the same family (token
/// classification, say) have heads that nothing here computes.
static tr_status read_architecture(tr_model_config_t *config, const source_t *source)
{
    char expected[160];
    const family_t *family = family_at(config->family);
    const json_t *names = value_of(source, "architectures");
    // A list of several, or of none, matches neither name and is refused below.
    const json_t *name = json_array_size(names) == 1 ? json_array_get(names, 0) : NULL;
    if (names == NULL || is_text(name, family->causal)) {
        return TR_OK;
    }
    if (!is_text(name, family->scalar)) {
        snprintf(expected, sizeof expected, "[\"%s\"] or [\"%s\"]", family->causal, family->scalar);
        return unsupported(source, "architectures", expected);
    }
    config->scalar_head = true;
    return check_labels(source);
}

/// Sizes that follow from others, and how sizes go together.
static tr_status finish_sizes(tr_model_config_t *config, const source_t *source)
{
    TR_ASSERT(config->heads > 0, "a family whose keys give no heads");
    // 0 is a missing key: multi-head attention, where every query head has keys of its own.
    if (config->key_value_heads == 0) {
        config->key_value_heads = config->heads;
    }
    // Each key-value head serves the same number of query heads (Ainslie et al. 2023, GQA).
    if (config->heads % config->key_value_heads != 0) {
        return refuse(source, TR_ERR_FORMAT, "num_key_value_heads",
                      "a divisor of num_attention_heads");
    }
    // Only where head_dim follows from the two: with a head_dim of its own any hidden size will do.
    if (config->head_dim == 0 && config->hidden % config->heads != 0) {
        return refuse(source, TR_ERR_FORMAT, "num_attention_heads",
                      "a divisor of hidden_size, or head_dim beside it");
    }
    if (config->head_dim == 0) {
        config->head_dim = config->hidden / config->heads;
    }
    if (config->attention_scalar > 0.0) {
        config->attention_scale = 1.0 / sqrt(config->attention_scalar);
    }
    // RoPE rotates pairs of elements.
    if (config->head_dim % 2 != 0) {
        return tr_fail(source->err, TR_ERR_UNSUPPORTED,
                       "%s: head_dim: expected an even number, found %zu", source->path,
                       config->head_dim);
    }
    return TR_OK;
}

static tr_status finish_rope(tr_model_config_t *config, const source_t *source)
{
    tr_rope_scaling_t *scaling = &config->rope_scaling;
    const double fraction = config->rotary_fraction > 0.0 ? config->rotary_fraction : 1.0;
    config->rotary_dim = (size_t)((double)config->head_dim * fraction);
    if (config->rotary_dim % 2 != 0 || config->rotary_dim == 0) {
        return tr_fail(source->err, TR_ERR_UNSUPPORTED,
                       "%s: partial_rotary_factor: expected an even number of rotated elements, "
                       "found %zu of %zu",
                       source->path, config->rotary_dim, config->head_dim);
    }
    if (scaling->original_positions == 0.0) {
        scaling->original_positions = (double)config->max_positions;
    }
    if (scaling->kind == TR_ROPE_LONGROPE) {
        if (scaling->factor_count != config->rotary_dim / 2) {
            return tr_fail(source->err, TR_ERR_FORMAT,
                           "%s: short_factor: expected %zu numbers, found %zu", source->path,
                           config->rotary_dim / 2, scaling->factor_count);
        }
        if (scaling->factor == 0.0) {
            scaling->factor = (double)config->max_positions / scaling->original_positions;
        }
        // Longer sequences take other frequencies, for their first tokens too: bits would depend on
        // what comes later.
        if ((double)config->max_positions > scaling->original_positions) {
            config->max_positions = (size_t)scaling->original_positions;
        }
    }
    if (scaling->kind == TR_ROPE_YARN && scaling->factor == 0.0) {
        scaling->factor = (double)config->max_positions / scaling->original_positions;
    }
    return TR_OK;
}

/// Which layers slide or have no rotation, where no list says so, as transformers fills them in.
static tr_status finish_layers(tr_model_config_t *config, const source_t *source)
{
    if (!config->window_used) {
        config->window = 0;
    }
    for (size_t i = 0; i < config->layers; i++) {
        const uint64_t bit = (uint64_t)1 << (i % 64);
        if (config->unrotated_every > 0 && (i + 1) % config->unrotated_every == 0) {
            config->unrotated.bits[i / 64] |= bit;
        }
        if (config->window > 0 && config->full_every > 0 && i >= config->window_from &&
            (i + 1) % config->full_every != 0) {
            config->sliding.bits[i / 64] |= bit;
        }
        if (config->window == 0 && tr_layer_set_has(&config->sliding, i)) {
            return refuse(source, TR_ERR_FORMAT, "layer_types",
                          "\"full_attention\" alone, where sliding_window is not used");
        }
    }
    return TR_OK;
}

tr_status tr_model_config_align(tr_model_config_t *config, int32_t eos, tr_error_t *err)
{
    for (size_t i = 0; i < config->eos_count; i++) {
        if (config->eos[i] == eos) {
            return TR_OK;
        }
    }
    if (eos < 0) {
        return TR_OK;
    }
    if ((size_t)eos >= config->vocabulary) {
        return tr_fail(err, TR_ERR_ARGUMENT, "the end token %d is beyond the vocabulary of %zu",
                       eos, config->vocabulary);
    }
    if (config->eos_count == TR_MODEL_EOS_LIMIT) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "the model has %d end tokens, and the tokenizer's %d is none of them: "
                       "shorten eos_token_id in generation_config.json",
                       TR_MODEL_EOS_LIMIT, eos);
    }
    memmove(config->eos + 1, config->eos, config->eos_count * sizeof *config->eos);
    config->eos[0] = eos;
    config->eos_count++;
    return TR_OK;
}

/// A head with one row cannot be the embedding, which has a row a token.
void tr_model_config_make_scalar(tr_model_config_t *config)
{
    config->scalar_head = true;
    config->tied_embeddings = false;
}

/// The order matters: the family says which keys there are, the architecture which head, and sizes
/// that follow from others come when all are read.
static tr_status read_config(tr_model_config_t *config, const char *path, tr_error_t *err)
{
    json_t *root;
    TR_TRY(tr_json_file_read(&root, path, FILE_LIMIT, err));
    source_t source = {root, path, "", err};
    tr_status status;
    TR_TRY_GOTO(read_family(&config->family, &source), done);
    const family_t *family = family_at(config->family);
    const size_t row = config->family;
    *config = family->base;
    config->family = row;
    TR_TRY_GOTO(read_architecture(config, &source), done);
    TR_TRY_GOTO(check_foreign(&source, family), done);
    TR_TRY_GOTO(read_keys(config, &source, family->keys), done);
    TR_TRY_GOTO(read_keys(config, &source, &family_shared_keys), done);
    TR_TRY_GOTO(finish_sizes(config, &source), done);
    TR_TRY_GOTO(finish_rope(config, &source), done);
    TR_TRY_GOTO(finish_layers(config, &source), done);
    // After the keys: the file of a scalar model may say that its embeddings are tied.
    if (config->scalar_head) {
        tr_model_config_make_scalar(config);
    }
done:
    json_decref(root);
    return status;
}

/// generation_config.json decides where generation stops, when it says so.
static tr_status read_generation(tr_model_config_t *config, const char *path, tr_error_t *err)
{
    json_t *root;
    // Not every model has one.
    if (access(path, F_OK) != 0) {
        return TR_OK;
    }
    TR_TRY(tr_json_file_read(&root, path, FILE_LIMIT, err));
    source_t source = {root, path, "", err};
    tr_status status = TR_OK;
    // As transformers' generate, which stops at these; config.json's are for models without the
    // file.
    if (value_of(&source, "eos_token_id") != NULL) {
        TR_TRY_GOTO(read_eos(config, &source), done);
    }
    // config.json's is the model's own; the other file fills it in where it is missing.
    if (config->pad < 0) {
        TR_TRY_GOTO(read_token(&config->pad, &source, "pad_token_id", config->vocabulary), done);
    }
done:
    json_decref(root);
    return status;
}

/// A directory of PEFT has weights that are added to those of another model.
static tr_status refuse_adapter(const char *directory, tr_error_t *err)
{
    char *config = tr_format("%s/config.json", directory);
    char *adapter = tr_format("%s/adapter_config.json", directory);
    const bool is = access(config, F_OK) != 0 && access(adapter, F_OK) == 0;
    free(config);
    free(adapter);
    return is ? tr_fail(
                    err, TR_ERR_UNSUPPORTED,
                    "'%s' holds an adapter of PEFT (adapter_config.json) and no model: merge it "
                    "into its base model (merge_and_unload of peft), save that, and name it",
                    directory)
              : TR_OK;
}

/// transformers reads a head of its own also where config.json says that it is the embedding, if
/// the two differ.
static void find_own_head(tr_model_config_t *config, const char *directory)
{
    tr_safetensors_t *file = NULL;
    tr_error_t ignored = {0}; // who reads the weights reports what is wrong with them
    const family_t *family = family_at(config->family);
    if (!config->tied_embeddings || tr_safetensors_open(&file, directory, &ignored) != TR_OK) {
        return;
    }
    const tr_safetensors_info_t *head =
        tr_safetensors_find(file, family_tensor_name(family, TR_WEIGHT_HEAD));
    const tr_safetensors_info_t *embedding =
        tr_safetensors_find(file, family_tensor_name(family, TR_WEIGHT_EMBEDDING));
    if (head != NULL && embedding != NULL) {
        config->own_head =
            head->dtype != embedding->dtype || head->count != embedding->count ||
            memcmp(head->data, embedding->data, head->count * tr_dtype_size(head->dtype)) != 0;
        tr_safetensors_forget(head, 0, head->count);
        tr_safetensors_forget(embedding, 0, embedding->count);
    }
    config->tied_embeddings = !config->own_head;
    tr_safetensors_close(&file);
}

/// Both files, the second only where the first was read: its ids are checked against the first's
/// vocabulary.
tr_status tr_model_config_load(tr_model_config_t *config, const char *directory, tr_error_t *err)
{
    tr_model_config_t read = {0};
    TR_TRY(refuse_adapter(directory, err));
    char *path = tr_format("%s/config.json", directory);
    char *generation = tr_format("%s/generation_config.json", directory);
    // Into a copy: on failure the caller's config is as it was.
    tr_status status = read_config(&read, path, err);
    if (status == TR_OK) {
        status = read_generation(&read, generation, err);
    }
    if (status == TR_OK) {
        find_own_head(&read, directory);
        *config = read;
    }
    free(generation);
    free(path);
    return status;
}

/// The kind of model is a matter of config.json alone, so it is known before a weight is read.
tr_status tr_model_config_load_language(tr_model_config_t *config, const char *directory,
                                        tr_error_t *err)
{
    tr_model_config_t read;
    TR_TRY(tr_model_config_load(&read, directory, err));
    if (read.scalar_head) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "'%s' holds a model with a scalar head, which generates no text (name a "
                       "language model)",
                       directory);
    }
    *config = read;
    return TR_OK;
}
