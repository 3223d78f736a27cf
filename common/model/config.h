/// The shape of a model, as a Hugging Face directory's config.json states it.
///
/// Read by the model and by whoever needs sizes before there is a model; knows no tensors. Families
/// of models and their keys are a table (families/family.h); each has two architectures: a causal
/// language model (a policy or reference), and sequence classification with one label (a critic or
/// a reward model). Whatever else config.json asks for is refused by name, never ignored: a RoPE
/// scaling, biases, another activation, quantized weights, ...
#ifndef TR_MODEL_CONFIG_H
#define TR_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/tensor/tensor.h"

enum { TR_MODEL_EOS_LIMIT = 8 };

/// Plain values, copied freely; owns nothing. What tr_model_config_load accepts has every size >=
/// 1, heads a multiple of key_value_heads, head_dim even, and token ids below vocabulary.
typedef struct tr_model_config {
    size_t family;          ///< model_type: a row of the table of families, 0: Llama
    size_t vocabulary;      ///< vocab_size
    size_t hidden;          ///< hidden_size
    size_t intermediate;    ///< intermediate_size
    size_t layers;          ///< num_hidden_layers
    size_t heads;           ///< num_attention_heads
    size_t key_value_heads; ///< num_key_value_heads; heads when not given
    size_t head_dim;        ///< head_dim, which need not be hidden / heads, but is when not given
    size_t max_positions;   ///< max_position_embeddings; 2048 when not given
    float rms_epsilon;      ///< rms_norm_eps; 1e-6 when not given
    double rope_theta;      ///< rope_theta or rope_parameters.rope_theta; 10000 when not given
    bool tied_embeddings;   ///< tie_word_embeddings; false when not given, and for a scalar head
    bool scalar_head;       ///< sequence classification, one label: score.weight for lm_head.weight
    int32_t bos;            ///< bos_token_id; 1 when not given, -1 when null
    int32_t eos[TR_MODEL_EOS_LIMIT]; ///< [eos_count] generation_config.json's, else config.json's
    size_t eos_count;                ///< 0 when null; {2} when not given
    double score_mean;               ///< of a reward model's scores over its held-out pairs
    double score_std;                ///< likewise; both 0 when not given: scores are raw
    int32_t pad; ///< pad_token_id of config.json, else of generation_config.json; -1: none
} tr_model_config_t;

/// Reads directory/config.json and, where there is one, directory/generation_config.json. config is
/// written on success only. Fails with TR_ERR_IO (no such file), TR_ERR_FORMAT (no JSON; a key
/// missing, of the wrong type or out of bounds) or TR_ERR_UNSUPPORTED (well-formed, but not ours);
/// the sentence names the file and the key.
tr_status tr_model_config_load(tr_model_config_t *config, const char *directory, tr_error_t *err);

/// As tr_model_config_load, and TR_ERR_ARGUMENT for a scalar head, which gives no probabilities of
/// tokens.
tr_status tr_model_config_load_language(tr_model_config_t *config, const char *directory,
                                        tr_error_t *err);

/// The same trunk with a scalar head of its own: for a critic, or a reward model that starts from a
/// language model.
void tr_model_config_make_scalar(tr_model_config_t *config);

/// The tokenizer's end token ends responses too, before the ids that the config has, as
/// transformers' align_special_tokens has it; unchanged where the config has it, or eos is -1: the
/// tokenizer has none. TR_ERR_ARGUMENT for an id beyond the vocabulary, TR_ERR_UNSUPPORTED for one
/// more than TR_MODEL_EOS_LIMIT.
tr_status tr_model_config_align(tr_model_config_t *config, int32_t eos, tr_error_t *err);

/// The text of the generation_config.json of a model whose other files are those of the directory
/// `source`: its file, with the config's eos_token_id. *text: the caller's; NULL where the file
/// says the same, or there is none, and config.json speaks for both. Fails as
/// tr_model_config_load.
tr_status tr_model_generation_json(char **text, const tr_model_config_t *config, const char *source,
                                   tr_error_t *err);

/// The text of a config.json that transformers and tr_model_config_load read back to the same
/// values; its keys are those of transformers 4, which 5 reads too. dtype: of the weights beside
/// it. The caller frees the text. The same bytes for the same input.
char *tr_model_config_json(const tr_model_config_t *config, tr_dtype_t dtype);

#endif
