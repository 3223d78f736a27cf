/// Hugging Face directories, written so that they are either all there or not there.
///
/// A directory grows under another name (`directory.tmp`) and is renamed when all its files are on
/// the disk. Most callers use tr_hf_save; a caller that adds files of its own (an optimizer's
/// state) stages, writes, adds, and commits. Reading needs nothing from here:
/// tr_model_config_load and tr_safetensors_open take a directory.
#ifndef TR_HF_DIRECTORY_H
#define TR_HF_DIRECTORY_H

#include "common/hf/safetensors.h"
#include "common/model/config.h"

/// Stages, writes and commits. After a failure the staging directory is gone and `directory` is as
/// it was.
tr_status tr_hf_save(const char *directory, const tr_model_config_t *config,
                     const tr_safetensors_entry_t *entries, size_t count, const char *source,
                     tr_error_t *err);

/// *staging: the path of a new, empty `directory.tmp`, owned by the caller until it goes to commit
/// or discard. What a killed process left there is removed; folders above are made. Fails with
/// TR_ERR_ARGUMENT when `directory` exists and is not empty: nothing is ever replaced. One process
/// at a time stages a given directory.
tr_status tr_hf_stage(char **staging, const char *directory, tr_error_t *err);

/// Writes config.json and model.safetensors ({"format": "pt"}) and copies from source, where they are
/// there, the tokenizer's files (tokenizer.json, tokenizer_config.json, special_tokens_map.json,
/// added_tokens.json, tokenizer.model, vocab.json, merges.txt, chat_template.jinja) and
/// generation_config.json. source: a directory, or NULL. entries: Hugging Face's names and shapes,
/// all TR_F32 or all TR_BF16, which config.json then says too; data as in safetensors.h. Fails with
/// TR_ERR_ARGUMENT for a mix of dtypes, and when the head is not config's: score.weight for a scalar
/// head, no head for tied embeddings, else lm_head.weight.
tr_status tr_hf_write(const char *staging, const tr_model_config_t *config,
                      const tr_safetensors_entry_t *entries, size_t count, const char *source,
                      tr_error_t *err);

/// Syncs what is in *staging and renames it to `directory`. Frees *staging and sets it to NULL, also
/// on failure; then the staging directory is gone too.
tr_status tr_hf_commit(char **staging, const char *directory, tr_error_t *err);

/// Removes the staging directory, frees *staging and sets it to NULL. *staging may be NULL.
void tr_hf_discard(char **staging);

#endif
