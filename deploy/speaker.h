/// A model with its tokenizer, for the subcommands that ask one model directly.
#ifndef DEPLOY_SPEAKER_H
#define DEPLOY_SPEAKER_H

#include "common/model/model.h"
#include "common/tensor/device.h"
#include "common/text/tokenizer.h"

/// Starts as {0}.
typedef struct speaker {
    tr_backend_t *backend;
    tr_model_t *model; ///< a causal language model; does not learn
    tr_tokenizer_t *tokenizer;
} speaker_t;

/// Opens a Hugging Face directory on a device. After a failure too, release it.
tr_status speaker_open(speaker_t *speaker, const char *directory, const tr_device_options_t *device,
                       tr_error_t *err);
void speaker_release(speaker_t *speaker);

/// The ids of a text: [*count], at least one, all known to the model; owned by the caller (free),
/// NULL on failure. flags as tr_tokenizer_encode. what: "the prompt", for errors.
tr_status speaker_encode(int32_t **ids, size_t *count, const speaker_t *speaker, const char *text,
                         const char *what, unsigned flags, tr_error_t *err);

#endif
