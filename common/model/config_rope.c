/// The record about RoPE in config.json: its kind, the keys that this kind has, and what follows
/// from them (transformers' modeling_rope_utils).
#include <math.h>
#include <string.h>

#include "common/model/config_source.h"
#include "common/model/rope.h"

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

/// rope_type, or "type", its older name.
static tr_status read_rope_kind(tr_rope_kind_t *kind, const source_t *rope)
{
    const char *name = config_value(rope, "rope_type") != NULL ? "rope_type" : "type";
    const json_t *value = config_value(rope, name);
    *kind = TR_ROPE_DEFAULT;
    for (size_t i = 0; value != NULL && i < ROPE_KIND_COUNT; i++) {
        if (config_is_text(value, ROPE_KINDS[i])) {
            *kind = (tr_rope_kind_t)i;
            return TR_OK;
        }
    }
    return value == NULL ? TR_OK
                         : config_unsupported(rope, name,
                                              "\"default\", \"linear\", \"dynamic\", \"llama3\", "
                                              "\"yarn\" or \"longrope\"");
}

/// What this kind does not have (a factor beside "default", say) would be left out in silence.
static tr_status check_rope_keys(const source_t *rope, tr_rope_kind_t kind)
{
    // The last two say which positions of pictures and films turn which pairs: of text all are one.
    static const char *const all[] = {"rope_type",     "type",
                                      "rope_theta",    "partial_rotary_factor",
                                      "mrope_section", "mrope_interleaved"};
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
            return config_unsupported(rope, name, "no such key");
        }
    }
    return TR_OK;
}

/// longrope's factors of the frequencies, one for each pair.
static tr_status read_factors(tr_rope_scaling_t *scaling, const source_t *rope)
{
    const json_t *list = config_value(rope, "short_factor");
    const size_t count = json_array_size(list);
    if (count == 0 || count > TR_ROPE_PAIRS) {
        return config_refuse(rope, TR_ERR_FORMAT, "short_factor", "a list of at most 256 numbers");
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *factor = json_array_get(list, i);
        if (!json_is_number(factor) || !(json_number_value(factor) > 0.0)) {
            return config_refuse(rope, TR_ERR_FORMAT, "short_factor", "numbers above 0");
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
        if ((row->needed_by >> kind & 1) != 0 && config_value(rope, row->key.name) == NULL) {
            return config_refuse(rope, TR_ERR_FORMAT, row->key.name, "a value");
        }
        if ((row->kinds >> kind & 1) != 0 && row->key.kind != FAMILY_ONLY) {
            TR_TRY(config_read_key(config, rope, &row->key));
        }
    }
    config->rope_scaling.kind = kind;
    if (config_value(rope, fraction.name) != NULL) {
        TR_TRY(config_read_key(config, rope, &fraction));
    }
    return kind == TR_ROPE_LONGROPE ? read_factors(&config->rope_scaling, rope) : TR_OK;
}

/// *theta: the record's rope_theta, where it has one, which must not contradict the one beside it.
static tr_status read_theta(double *theta, const source_t *source, const source_t *rope)
{
    const family_key_t key = {"rope_theta", FAMILY_REAL, .fallback = *theta, .lowest = 1.0,
                              .highest = 1e15};
    double own;
    TR_TRY(config_read_number(&own, rope, &key));
    // A file may have both; which of two that differ holds would depend on the reader.
    if (source != NULL && config_value(source, "rope_theta") != NULL && own != *theta) {
        return config_refuse(rope, TR_ERR_FORMAT, "rope_theta",
                             "the rope_theta that stands beside it");
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
        const json_t *record = config_value(rope, names[i]);
        snprintf(prefix[i], sizeof prefix[i], "%s%s.", rope->prefix, names[i]);
        inner[i] = (source_t){record, rope->path, prefix[i], rope->err};
        if (!json_is_object(record)) {
            return config_refuse(rope, TR_ERR_FORMAT, names[i], "an object");
        }
    }
    if (json_object_size(rope->object) != 2) {
        return config_unsupported(rope, "full_attention", "this and sliding_attention alone");
    }
    TR_TRY(read_rope_record(config, &inner[0]));
    // transformers looks for this key beside the records, and so never finds it in one.
    if (config->rope_scaling.kind == TR_ROPE_YARN && !config->rope_scaling.truncate) {
        return config_unsupported(&inner[0], "truncate", "true");
    }
    TR_TRY(read_theta(&config->rope_theta, NULL, &inner[0]));
    tr_rope_kind_t kind;
    TR_TRY(read_rope_kind(&kind, &inner[1]));
    TR_TRY(check_rope_keys(&inner[1], TR_ROPE_DEFAULT));
    if (kind != TR_ROPE_DEFAULT) {
        return config_unsupported(&inner[1], "rope_type", "\"default\"");
    }
    return read_theta(&config->rope_local_theta, NULL, &inner[1]);
}

tr_status config_read_rope(tr_model_config_t *config, const source_t *source,
                           const family_key_t *key)
{
    const json_t *record = config_value(source, key->name);
    if (record == NULL) {
        return TR_OK;
    }
    if (!json_is_object(record)) {
        return config_refuse(source, TR_ERR_FORMAT, key->name, "an object or null");
    }
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.", key->name);
    // Its keys are named in sentences as "rope_parameters.rope_theta".
    source_t rope = {record, source->path, prefix, source->err};
    if (config->rope_local_theta > 0.0 && json_is_object(config_value(&rope, "full_attention"))) {
        return read_nested_rope(config, &rope);
    }
    TR_TRY(read_rope_record(config, &rope));
    return read_theta(&config->rope_theta, source, &rope);
}

tr_status config_finish_rope(tr_model_config_t *config, const source_t *source)
{
    tr_rope_scaling_t *scaling = &config->rope_scaling;
    const double fraction = config->rotary_fraction > 0.0 ? config->rotary_fraction : 1.0;
    const bool latents = config->latent.key > 0;
    config->rotary_dim =
        latents ? config->latent.rotated : (size_t)((double)config->head_dim * fraction);
    if (latents && fraction != 1.0) {
        return config_unsupported(source, "partial_rotary_factor", "none beside qk_rope_head_dim");
    }
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
    if (latents && scaling->kind == TR_ROPE_YARN && scaling->mscale_all_dim > 0.0) {
        const double scale = rope_yarn_scale(scaling->factor, scaling->mscale_all_dim);
        config->attention_scale = scale * scale / sqrt((double)config->head_dim);
    }
    return TR_OK;
}
