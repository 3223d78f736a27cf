#include "common/model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hf/json_file.h"

enum { FILE_LIMIT = 16 << 20 };

/// An object of a file, and where its sentences go. prefix: "" or "rope_parameters.".
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

static tr_status refuse(const source_t *source, tr_status status, const char *key,
                        const char *expected)
{
    char found[80];
    const json_t *value = json_object_get(source->object, key);
    return tr_fail(source->err, status, "%s: %s%s: expected %s, found %s", source->path,
                   source->prefix, key, expected, tr_json_describe(found, sizeof found, value));
}

static tr_status unsupported(const source_t *source, const char *key, const char *expected)
{
    return refuse(source, TR_ERR_UNSUPPORTED, key, expected);
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/// A whole number in 1..limit; *out keeps its value when the key is missing.
static tr_status read_size(size_t *out, const source_t *source, const char *key, size_t limit)
{
    const json_t *value = value_of(source, key);
    if (value == NULL && *out != 0) {
        return TR_OK;
    }
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 1 || (unsigned long long)number > limit) {
        char expected[64];
        snprintf(expected, sizeof expected, "a whole number from 1 to %zu", limit);
        return refuse(source, TR_ERR_FORMAT, key, expected);
    }
    *out = (size_t)number;
    return TR_OK;
}

static tr_status read_number(double *out, const source_t *source, const char *key, double lowest,
                             double highest)
{
    const json_t *value = value_of(source, key);
    if (value == NULL) {
        return TR_OK;
    }
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= lowest && number <= highest)) {
        char expected[64];
        snprintf(expected, sizeof expected, "a number from %g to %g", lowest, highest);
        return refuse(source, TR_ERR_FORMAT, key, expected);
    }
    *out = number;
    return TR_OK;
}

static tr_status read_bool(bool *out, const source_t *source, const char *key)
{
    const json_t *value = value_of(source, key);
    if (value != NULL && !json_is_boolean(value)) {
        return refuse(source, TR_ERR_FORMAT, key, "true or false");
    }
    if (value != NULL) {
        *out = json_is_true(value);
    }
    return TR_OK;
}

/// A token id below vocabulary; null and -1 are -1. *out keeps its value when the key is missing.
static tr_status read_token(int32_t *out, const source_t *source, const char *key,
                            size_t vocabulary)
{
    const json_t *value = json_object_get(source->object, key);
    if (value == NULL) {
        return TR_OK;
    }
    json_int_t id = json_is_null(value) ? -1 : json_integer_value(value);
    if ((!json_is_null(value) && !json_is_integer(value)) || id < -1 ||
        id >= (json_int_t)vocabulary) {
        return refuse(source, TR_ERR_FORMAT, key, "a token id below vocab_size, or null");
    }
    *out = (int32_t)id;
    return TR_OK;
}

static tr_status append_eos(tr_model_config_t *config, const source_t *source, const json_t *value)
{
    json_int_t id = json_integer_value(value);
    if (!json_is_integer(value) || id < 0 || id >= (json_int_t)config->vocabulary) {
        return refuse(source, TR_ERR_FORMAT, "eos_token_id", "token ids below vocab_size, or null");
    }
    if (config->eos_count == TR_MODEL_EOS_LIMIT) {
        return unsupported(source, "eos_token_id", "at most 8 token ids");
    }
    config->eos[config->eos_count++] = (int32_t)id;
    return TR_OK;
}

/// An id, a list of ids, or null; replaces what config has unless the key is missing.
static tr_status read_eos(tr_model_config_t *config, const source_t *source)
{
    const json_t *value = json_object_get(source->object, "eos_token_id");
    if (value == NULL) {
        return TR_OK;
    }
    config->eos_count = 0;
    memset(config->eos, 0, sizeof config->eos);
    if (json_is_null(value)) {
        return TR_OK;
    }
    if (!json_is_array(value)) {
        return append_eos(config, source, value);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        TR_TRY(append_eos(config, source, json_array_get(value, i)));
    }
    return TR_OK;
}

/// As transformers counts them: id2label wins over num_labels, and two is the default.
static tr_status check_labels(const source_t *source)
{
    const json_t *labels = value_of(source, "id2label");
    const json_t *count = value_of(source, "num_labels");
    if (labels != NULL) {
        return json_object_size(labels) == 1 ? TR_OK : unsupported(source, "id2label", "one label");
    }
    if (json_is_integer(count) && json_integer_value(count) == 1) {
        return TR_OK;
    }
    return unsupported(source, "num_labels", "1 (a scalar head; without the key it is 2)");
}

static tr_status read_architecture(tr_model_config_t *config, const source_t *source)
{
    if (!is_text(json_object_get(source->object, "model_type"), "llama")) {
        return unsupported(source, "model_type", "\"llama\"");
    }
    const json_t *names = value_of(source, "architectures");
    const json_t *name = json_array_get(names, 0);
    if (names == NULL || (json_array_size(names) == 1 && is_text(name, "LlamaForCausalLM"))) {
        return TR_OK; // a bare configuration is a causal model's
    }
    if (json_array_size(names) != 1 || !is_text(name, "LlamaForSequenceClassification")) {
        return unsupported(source, "architectures",
                           "[\"LlamaForCausalLM\"] or [\"LlamaForSequenceClassification\"]");
    }
    config->scalar_head = true;
    return check_labels(source);
}

static tr_status check_false(const source_t *source, const char *key)
{
    bool on = false;
    TR_TRY(read_bool(&on, source, key));
    return on ? unsupported(source, key, "false") : TR_OK;
}

static tr_status check_one(const source_t *source, const char *key)
{
    const json_t *value = value_of(source, key);
    bool one = json_is_number(value) && json_number_value(value) == 1.0;
    return value == NULL || one ? TR_OK : unsupported(source, key, "1");
}

/// What would change the arithmetic and is not ours.
static tr_status check_features(const source_t *source)
{
    const json_t *activation = value_of(source, "hidden_act");
    if (activation != NULL && !is_text(activation, "silu")) {
        return unsupported(source, "hidden_act", "\"silu\"");
    }
    if (value_of(source, "quantization_config") != NULL) {
        return unsupported(source, "quantization_config", "none (weights as F32, BF16 or F16)");
    }
    TR_TRY(check_false(source, "attention_bias"));
    TR_TRY(check_false(source, "mlp_bias"));
    TR_TRY(check_one(source, "pretraining_tp"));
    return check_one(source, "partial_rotary_factor");
}

/// Bounds beyond any Llama, so that sums and products of sizes stay far below 2^63.
static tr_status read_sizes(tr_model_config_t *config, const source_t *source)
{
    TR_TRY(read_size(&config->vocabulary, source, "vocab_size", (size_t)1 << 24));
    TR_TRY(read_size(&config->hidden, source, "hidden_size", (size_t)1 << 18));
    TR_TRY(read_size(&config->intermediate, source, "intermediate_size", (size_t)1 << 20));
    TR_TRY(read_size(&config->layers, source, "num_hidden_layers", 4096));
    TR_TRY(read_size(&config->heads, source, "num_attention_heads", 4096));
    config->key_value_heads = config->heads;
    TR_TRY(read_size(&config->key_value_heads, source, "num_key_value_heads", 4096));
    config->max_positions = 2048;
    TR_TRY(read_size(&config->max_positions, source, "max_position_embeddings", (size_t)1 << 24));
    if (config->heads % config->key_value_heads != 0) {
        return refuse(source, TR_ERR_FORMAT, "num_key_value_heads",
                      "a divisor of num_attention_heads");
    }
    if (value_of(source, "head_dim") == NULL && config->hidden % config->heads != 0) {
        return refuse(source, TR_ERR_FORMAT, "num_attention_heads",
                      "a divisor of hidden_size, or head_dim beside it");
    }
    config->head_dim = config->hidden / config->heads;
    TR_TRY(read_size(&config->head_dim, source, "head_dim", 4096));
    if (config->head_dim % 2 != 0) {
        return tr_fail(source->err, TR_ERR_UNSUPPORTED,
                       "%s: head_dim: expected an even number, found %zu", source->path,
                       config->head_dim);
    }
    return TR_OK;
}

/// A RoPE record asks for the plain rotation: no scaling, and no key that we do not know.
static tr_status check_rope_record(const source_t *rope)
{
    static const char *const known[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *kind = value_of(rope, known[i]);
        if (kind != NULL && !is_text(kind, "default")) {
            return unsupported(rope, known[i], "\"default\"");
        }
    }
    json_t *object = (json_t *)rope->object; // jansson's iterators take no const
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        size_t i = 0;
        while (i < 4 && strcmp(json_object_iter_key(at), known[i]) != 0) {
            i++;
        }
        if (i == 4) {
            return unsupported(rope, json_object_iter_key(at), "no such key");
        }
    }
    return check_one(rope, "partial_rotary_factor");
}

/// rope_scaling of transformers 4 and rope_parameters of 5, whose rope_theta must not contradict the one beside it.
static tr_status read_rope_record(double *theta, const source_t *source, const char *key,
                                  const char *prefix)
{
    const json_t *record = value_of(source, key);
    if (record == NULL) {
        return TR_OK;
    }
    if (!json_is_object(record)) {
        return refuse(source, TR_ERR_FORMAT, key, "an object or null");
    }
    source_t rope = {record, source->path, prefix, source->err};
    double own = *theta;
    TR_TRY(check_rope_record(&rope));
    TR_TRY(read_number(&own, &rope, "rope_theta", 1.0, 1e15));
    if (value_of(source, "rope_theta") != NULL && own != *theta) {
        return refuse(&rope, TR_ERR_FORMAT, "rope_theta", "the rope_theta that stands beside it");
    }
    *theta = own;
    return TR_OK;
}

static tr_status read_numbers(tr_model_config_t *config, const source_t *source)
{
    double epsilon = 1e-6;
    config->rope_theta = 10000.0;
    TR_TRY(read_number(&epsilon, source, "rms_norm_eps", 1e-30, 0.1));
    config->rms_epsilon = (float)epsilon;
    TR_TRY(read_number(&config->rope_theta, source, "rope_theta", 1.0, 1e15));
    TR_TRY(read_rope_record(&config->rope_theta, source, "rope_scaling", "rope_scaling."));
    TR_TRY(read_rope_record(&config->rope_theta, source, "rope_parameters", "rope_parameters."));
    TR_TRY(read_bool(&config->tied_embeddings, source, "tie_word_embeddings"));
    config->tied_embeddings = config->tied_embeddings && !config->scalar_head;
    TR_TRY(read_number(&config->score_mean, source, "score_mean", -1e30, 1e30));
    return read_number(&config->score_std, source, "score_std", 1e-30, 1e30);
}

static tr_status read_tokens(tr_model_config_t *config, const source_t *source)
{
    config->bos = config->vocabulary > 1 ? 1 : -1;
    config->pad = -1;
    config->eos[0] = 2;
    config->eos_count = config->vocabulary > 2 ? 1 : 0;
    TR_TRY(read_token(&config->bos, source, "bos_token_id", config->vocabulary));
    TR_TRY(read_token(&config->pad, source, "pad_token_id", config->vocabulary));
    return read_eos(config, source);
}

static tr_status read_config(tr_model_config_t *config, const char *path, tr_error_t *err)
{
    json_t *root;
    TR_TRY(tr_json_file_read(&root, path, FILE_LIMIT, err));
    source_t source = {root, path, "", err};
    tr_status status;
    TR_TRY_GOTO(read_architecture(config, &source), done);
    TR_TRY_GOTO(check_features(&source), done);
    TR_TRY_GOTO(read_sizes(config, &source), done);
    TR_TRY_GOTO(read_numbers(config, &source), done);
    TR_TRY_GOTO(read_tokens(config, &source), done);
done:
    json_decref(root);
    return status;
}

/// What generation stops at is generation_config.json's business, when it says so.
static tr_status read_generation(tr_model_config_t *config, const char *path, tr_error_t *err)
{
    json_t *root;
    if (access(path, F_OK) != 0) {
        return TR_OK;
    }
    TR_TRY(tr_json_file_read(&root, path, FILE_LIMIT, err));
    source_t source = {root, path, "", err};
    tr_status status = TR_OK;
    if (value_of(&source, "eos_token_id") != NULL) {
        TR_TRY_GOTO(read_eos(config, &source), done);
    }
    if (config->pad < 0) {
        TR_TRY_GOTO(read_token(&config->pad, &source, "pad_token_id", config->vocabulary), done);
    }
done:
    json_decref(root);
    return status;
}

tr_status tr_model_config_load(tr_model_config_t *config, const char *directory, tr_error_t *err)
{
    tr_model_config_t read = {0};
    char *path = tr_format("%s/config.json", directory);
    char *generation = tr_format("%s/generation_config.json", directory);
    tr_status status = read_config(&read, path, err);
    if (status == TR_OK) {
        status = read_generation(&read, generation, err);
    }
    if (status == TR_OK) {
        *config = read;
    }
    free(generation);
    free(path);
    return status;
}
