/// A model with its tokenizer, for the subcommands that ask one model directly.
#ifndef DEPLOY_LOADED_MODEL_H
#define DEPLOY_LOADED_MODEL_H

#include "common/model/model.h"
#include "common/tensor/device.h"
#include "common/text/tokenizer.h"

/// Starts as {0}.
typedef struct loaded_model {
    tr_backend_t *backend;
    tr_model_t *model; ///< a causal language model; does not learn
    tr_tokenizer_t *tokenizer;
} loaded_model_t;

/// Opens a Hugging Face directory on a device, with an adapter of PEFT's (NULL: none). After a
/// failure too, release it.
tr_status loaded_model_open(loaded_model_t *loaded, const char *directory, const char *adapter,
                            const tr_device_options_t *device, tr_error_t *err);
void loaded_model_release(loaded_model_t *loaded);

/// The ids of a text: [*count], at least one, all known to the model; owned by the caller (free),
/// NULL on failure. flags as tr_tokenizer_encode. what: "the prompt", for errors.
tr_status loaded_model_encode(int32_t **ids, size_t *count, const loaded_model_t *loaded,
                              const char *text, const char *what, unsigned flags, tr_error_t *err);

#endif
