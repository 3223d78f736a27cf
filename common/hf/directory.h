/// Hugging Face directories, written so that they are either all there or not there.
///
/// A directory grows under another name (`directory.tmp`) and is renamed when all its files are on
/// the disk. Reading needs nothing from here: tr_model_config_load and tr_safetensors_open take a
/// directory.
#ifndef TR_HF_DIRECTORY_H
#define TR_HF_DIRECTORY_H

#include "common/hf/safetensors.h"

/// What a directory gets. All of it is borrowed.
typedef struct tr_hf_model {
    const char *config; ///< the text of config.json
    /// Whether it is an adapter's: adapter_config.json and adapter_model.safetensors, as PEFT has
    /// them, in place of config.json and model.safetensors.
    bool adapter;
    /// [count] of model.safetensors ({"format": "pt"}), under the names that config promises.
    const tr_safetensors_entry_t *entries;
    size_t count;
    const tr_safetensors_entry_t *state; ///< [state_count] of optimizer.safetensors
    size_t state_count;                  ///< 0: there is no such file
    /// A directory from which the tokenizer's files are copied, where they are there
    /// (tokenizer.json, tokenizer_config.json, special_tokens_map.json, added_tokens.json,
    /// tokenizer.model, tiktoken.model, tekken.json, vocab.json, merges.txt, chat_template.jinja),
    /// and generation_config.json;
    /// NULL: none.
    const char *source;
    const char *chat_template; ///< the text of chat_template.jinja instead of source's; NULL: that
    const char *generation; ///< the text of generation_config.json instead of source's; NULL: that
} tr_hf_model_t;

/// Makes `directory`, and folders above it. Fails with TR_ERR_ARGUMENT when it exists and is not
/// empty: nothing is ever replaced. Leftovers of a killed process are removed; after a failure
/// nothing of this one is left. One process at a time writes a given directory.
tr_status tr_hf_save(const char *directory, const tr_hf_model_t *model, tr_error_t *err);

#endif
