/// Hugging Face directories, written so that they are either all there or not there.
///
/// A directory grows under another name (`directory.tmp`) and is renamed when all its files are on
/// the disk: stage, write, add files of one's own (an optimizer's state), commit. Reading needs
/// nothing from here: tr_model_config_load and tr_safetensors_open take a directory.
#ifndef TR_HF_DIRECTORY_H
#define TR_HF_DIRECTORY_H

#include "common/hf/safetensors.h"

/// *staging: the path of a new, empty `directory.tmp`, owned by the caller until it goes to commit
/// or discard. Leftovers of a killed process are removed; folders above are made. Fails with
/// TR_ERR_ARGUMENT when `directory` exists and is not empty: nothing is ever replaced. One process
/// at a time stages a given directory.
tr_status tr_hf_stage(char **staging, const char *directory, tr_error_t *err);

/// Writes config.json (its text: config) and model.safetensors ({"format": "pt"}) and copies from
/// source, where they are there, the tokenizer's files (tokenizer.json, tokenizer_config.json,
/// special_tokens_map.json, added_tokens.json, tokenizer.model, vocab.json, merges.txt,
/// chat_template.jinja) and generation_config.json. source: a directory, or NULL. entries: as of
/// tr_safetensors_write, under the names that config promises.
tr_status tr_hf_write(const char *staging, const char *config,
                      const tr_safetensors_entry_t *entries, size_t count, const char *source,
                      tr_error_t *err);

/// Syncs what is in *staging and renames it to `directory`. Frees *staging and sets it to NULL,
/// also on failure; then the staging directory is gone too.
tr_status tr_hf_commit(char **staging, const char *directory, tr_error_t *err);

/// Removes the staging directory, frees *staging and sets it to NULL. *staging may be NULL.
void tr_hf_discard(char **staging);

#endif
