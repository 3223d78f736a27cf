/// Reads config.json and generation_config.json by the table of keys of the model's family
/// (families/family.h), and refuses by name what the passes lack. Writing is config_json.c.
#include "common/model/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hf/advice.h"
#include "common/hf/json_file.h"
#include "common/hf/safetensors.h"
#include "common/model/config_source.h"

// Keys of others

static const family_key_t *find_key(const family_keys_t *keys, const char *name)
{
    for (size_t i = 0; i < keys->count; i++) {
        const family_key_t *key = &keys->items[i];
        if (strcmp(key->name, name) == 0 || (key->also != NULL && strcmp(key->also, name) == 0)) {
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
            json_is_null(value) || json_is_false(value) ||
            (json_is_number(value) && json_number_value(value) == 0.0)) {
            continue;
        }
        for (size_t i = 0; i < family_count(); i++) {
            const family_key_t *key = find_key(family_at(i)->keys, name);
            if (key == NULL || key->kind == FAMILY_UNREAD) {
                continue;
            }
            if (key->kind != FAMILY_ONLY) {
                char expected[96];
                snprintf(expected, sizeof expected, "no such key of a %s model",
                         family->model_type);
                return config_unsupported(source, name, expected);
            }
            TR_TRY(config_check_only(source, key));
        }
    }
    return TR_OK;
}

// The whole

/// As transformers counts them: id2label wins over num_labels, and two is the default.
static tr_status check_labels(const source_t *source)
{
    const json_t *labels = config_value(source, "id2label");
    const json_t *count = config_value(source, "num_labels");
    // Two labels would be a classifier: its head has two rows, and no one value.
    if (labels != NULL) {
        // transformers' num_labels is the size of id2label.
        return json_object_size(labels) == 1 ? TR_OK
                                             : config_unsupported(source, "id2label", "one label");
    }
    if (json_is_integer(count) && json_integer_value(count) == 1) {
        return TR_OK;
    }
    return config_unsupported(source, "num_labels", "1 (a scalar head; without the key it is 2)");
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
        if (config_is_text(json_object_get(source->object, "model_type"), type)) {
            *row = i;
            return TR_OK;
        }
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s\"%s\"",
                                 i == 0 ? "" : " or ", type);
    }
    return config_unsupported(source, "model_type", expected);
}

/// A bare configuration is a causal model's.
/// Which of the family's two architectures the file names. Other ones of the same family (token
/// classification, say) have heads that nothing here computes.
static tr_status read_architecture(tr_model_config_t *config, const source_t *source)
{
    char expected[160];
    const family_t *family = family_at(config->family);
    const json_t *names = config_value(source, "architectures");
    // A list of several, or of none, matches neither name and is refused below.
    const json_t *name = json_array_size(names) == 1 ? json_array_get(names, 0) : NULL;
    if (names == NULL || config_is_text(name, family->causal)) {
        return TR_OK;
    }
    if (!config_is_text(name, family->scalar)) {
        snprintf(expected, sizeof expected, "[\"%s\"] or [\"%s\"]", family->causal, family->scalar);
        return config_unsupported(source, "architectures", expected);
    }
    config->scalar_head = true;
    return check_labels(source);
}

/// Each head has keys of its own, and values that fit into their place.
static tr_status finish_latents(tr_model_config_t *config, const source_t *source)
{
    const tr_latent_t *latent = &config->latent;
    if (latent->key == 0) {
        return TR_OK;
    }
    config->head_dim = latent->plain + latent->rotated; // transformers' head_dim is another
    if (config->key_value_heads != config->heads) {
        return config_unsupported(source, "num_key_value_heads", "num_attention_heads");
    }
    if (latent->rotated % 2 != 0) {
        return config_unsupported(source, "qk_rope_head_dim", "an even number");
    }
    if (latent->value > config->head_dim) {
        return config_unsupported(source, "v_head_dim",
                                  "at most qk_nope_head_dim + qk_rope_head_dim");
    }
    return TR_OK;
}

/// Sizes that follow from others, and how sizes go together.
static tr_status finish_sizes(tr_model_config_t *config, const source_t *source)
{
    TR_ASSERT(config->heads > 0, "a family whose keys give no heads");
    // n_inner of GPT-2.
    if (config->intermediate == 0) {
        config->intermediate = 4 * config->hidden;
    }
    // 0 is a missing key: multi-head attention, where every query head has keys of its own.
    if (config->key_value_heads == 0) {
        config->key_value_heads = config->heads;
    }
    // Each key-value head serves the same number of query heads (Ainslie et al. 2023, GQA).
    if (config->heads % config->key_value_heads != 0) {
        return config_refuse(source, TR_ERR_FORMAT, "num_key_value_heads",
                             "a divisor of num_attention_heads");
    }
    // Only where head_dim follows from the two: with a head_dim of its own any hidden size will do.
    if (config->head_dim == 0 && config->hidden % config->heads != 0) {
        return config_refuse(source, TR_ERR_FORMAT, "num_attention_heads",
                             "a divisor of hidden_size, or head_dim beside it");
    }
    if (config->head_dim == 0) {
        config->head_dim = config->hidden / config->heads;
    }
    TR_TRY(finish_latents(config, source));
    if (config->attention_scalar > 0.0) {
        config->attention_scale = 1.0 / sqrt(config->attention_scalar);
    }
    if (config->delta.key_heads > 0 && config->delta.value_heads % config->delta.key_heads != 0) {
        return config_refuse(source, TR_ERR_FORMAT, "linear_num_value_heads",
                             "a multiple of linear_num_key_heads");
    }
    // RoPE rotates pairs of elements.
    if (config->head_dim % 2 != 0) {
        return tr_fail(source->err, TR_ERR_UNSUPPORTED,
                       "%s: head_dim: expected an even number, found %zu", source->path,
                       config->head_dim);
    }
    return TR_OK;
}

static tr_status check_groups(const tr_model_config_t *config, const source_t *source)
{
    const size_t size = config->experts / config->router_groups;
    if (config->experts % config->router_groups != 0 || size < 2) {
        return config_refuse(source, TR_ERR_FORMAT, "n_group",
                             "a divisor of the number of experts, with two or more in a group");
    }
    if (config->router_groups_chosen > config->router_groups ||
        config->experts_chosen > config->router_groups_chosen * size) {
        return config_refuse(source, TR_ERR_FORMAT, "topk_group",
                             "at most n_group, with num_experts_per_tok experts or more");
    }
    return TR_OK;
}

static tr_status finish_experts(tr_model_config_t *config, const source_t *source)
{
    if (config->expert_intermediate == 0) {
        config->expert_intermediate = config->intermediate;
    }
    if (config->experts_chosen > config->experts) {
        return config_refuse(source, TR_ERR_FORMAT, "num_experts_per_tok",
                             "at most the number of experts");
    }
    if (config->shared_experts > 0) {
        config->shared_intermediate = config->shared_experts * config->expert_intermediate;
    }
    return config->router_sigmoid ? check_groups(config, source) : TR_OK;
}

/// Which layers slide, recur, have no rotation or no experts, where no list says so, as
/// transformers fills them in.
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
        if ((config->sparse_every > 0 && (i + 1) % config->sparse_every != 0) ||
            i < config->dense_first) {
            config->dense.bits[i / 64] |= bit;
        }
        if (config->attention_every > 0 && (i + 1) % config->attention_every != 0) {
            config->recurrent.bits[i / 64] |= bit;
        }
        if (config->window > 0 && config->full_every > 0 &&
            (i < config->window_border) == config->window_before &&
            (i + 1) % config->full_every != 0) {
            config->sliding.bits[i / 64] |= bit;
        }
        if (config->window == 0 && tr_layer_set_has(&config->sliding, i)) {
            return config_refuse(source, TR_ERR_FORMAT, "layer_types",
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
    TR_TRY(config_open(&root, path, err));
    source_t source = {root, path, "", err};
    tr_status status;
    TR_TRY_GOTO(read_family(&config->family, &source), done);
    const family_t *family = family_at(config->family);
    const size_t row = config->family;
    *config = family->base;
    config->family = row;
    TR_TRY_GOTO(read_architecture(config, &source), done);
    TR_TRY_GOTO(check_foreign(&source, family), done);
    TR_TRY_GOTO(config_read_keys(config, &source, family->keys), done);
    TR_TRY_GOTO(config_read_keys(config, &source, &family_shared_keys), done);
    TR_TRY_GOTO(finish_sizes(config, &source), done);
    TR_TRY_GOTO(config_finish_rope(config, &source), done);
    TR_TRY_GOTO(finish_experts(config, &source), done);
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
    TR_TRY(tr_json_file_read(&root, path, CONFIG_FILE_LIMIT, err));
    source_t source = {root, path, "", err};
    tr_status status = TR_OK;
    // As transformers' generate, which stops at these; config.json's are for models without the
    // file.
    if (config_value(&source, "eos_token_id") != NULL) {
        TR_TRY_GOTO(config_read_eos(config, &source), done);
    }
    // config.json's is the model's own; the other file fills it in where it is missing.
    if (config->pad < 0) {
        TR_TRY_GOTO(config_read_token(&config->pad, &source, "pad_token_id", config->vocabulary),
                    done);
    }
done:
    json_decref(root);
    return status;
}

/// What has no config.json; a directory of PEFT has weights that are added to those of another
/// model.
static tr_status refuse_others(const char *directory, tr_error_t *err)
{
    char *config = tr_format("%s/config.json", directory);
    char *adapter = tr_format("%s/adapter_config.json", directory);
    const bool is = access(config, F_OK) == 0, adapts = access(adapter, F_OK) == 0;
    free(config);
    free(adapter);
    return is ? TR_OK
           : adapts
               ? tr_fail(
                     err, TR_ERR_UNSUPPORTED,
                     "'%s' holds an adapter of PEFT (adapter_config.json) and no model: name the "
                     "model that it is of, and it as the `adapter`",
                     directory)
               : tr_hf_refuse(directory, "config.json", err);
}

/// transformers reads a head of its own also where config.json says that it is the embedding, if
/// the two differ.
static void find_own_head(tr_model_config_t *config, const char *directory)
{
    tr_safetensors_t *file = NULL;
    tr_error_t ignored = {0}; // who reads the weights reports what is wrong with them
    const family_t *family = family_at(config->family);
    if (!config->tied_embeddings ||
        family_open_weights(&file, family, directory, &ignored) != TR_OK) {
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
    TR_TRY(refuse_others(directory, err));
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
