// A model with its tokenizer, for the commands that ask one model directly (`generate`,
// `logprobs`).
//
// Apart so that both refuse the same mistakes in the same words: a reward model, or a tokenizer
// that belongs to another model.
#include "deploy/loaded_model.h"

#include <stdlib.h>
#include <string.h>

/// Cheap checks first: configuration, tokenizer, device, and then the weights.
tr_status loaded_model_open(loaded_model_t *loaded, const char *directory, const char *adapter,
                            const tr_device_options_t *device, tr_error_t *err)
{
    tr_model_config_t config;
    TR_TRY(tr_model_config_load_language(&config, directory, err));
    TR_TRY(tr_tokenizer_new(&loaded->tokenizer, directory, err));
    if (tr_tokenizer_bound(loaded->tokenizer, config.vocabulary, err) != TR_OK) {
        return tr_error_prefix(err, "'%s'", directory);
    }
    TR_TRY(tr_backend_open(&loaded->backend, device, err));
    // the backend first: the model's weights go to it
    TR_TRY(
        tr_model_open(&loaded->model, directory, adapter, loaded->backend, TR_MODEL_DECODES, err));
    // a run's rollouts stop there too
    return tr_model_align(loaded->model, tr_tokenizer_eos(loaded->tokenizer), err);
}

/// The model before its backend, which has its memory.
void loaded_model_release(loaded_model_t *loaded)
{
    tr_model_destroy(&loaded->model);
    tr_backend_close(&loaded->backend);
    tr_tokenizer_destroy(&loaded->tokenizer);
}

/// The prompt is taken as it is: no chat template.
tr_status loaded_model_encode(int32_t **ids, size_t *count, const loaded_model_t *loaded,
                              const char *text, const char *what, unsigned flags, tr_error_t *err)
{
    if (tr_tokenizer_encode(ids, count, loaded->tokenizer, text, strlen(text), flags, err) !=
        TR_OK) {
        *ids = NULL;
        return tr_error_prefix(err, "%s", what);
    }
    if (*count == 0) {
        free(*ids);
        *ids = NULL;
        return tr_fail(err, TR_ERR_ARGUMENT, "%s has no tokens", what);
    }
    return TR_OK;
}
