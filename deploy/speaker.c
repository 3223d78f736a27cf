#include "deploy/speaker.h"

#include <stdlib.h>
#include <string.h>

tr_status speaker_open(speaker_t *speaker, const char *directory, const tr_device_options_t *device,
                       tr_error_t *err)
{
    tr_model_config_t config;
    TR_TRY(tr_model_config_load(&config, directory, err));
    if (config.scalar_head) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "'%s' holds a model with a scalar head, which says no words (name a language model)",
            directory);
    }
    TR_TRY(tr_tokenizer_new(&speaker->tokenizer, directory, err));
    TR_TRY(tr_backend_open(&speaker->backend, device, err));
    return tr_model_open(&speaker->model, directory, speaker->backend, TR_MODEL_DECODES, err);
}

void speaker_release(speaker_t *speaker)
{
    tr_model_destroy(&speaker->model);
    tr_backend_close(&speaker->backend);
    tr_tokenizer_destroy(&speaker->tokenizer);
}

static tr_status check_ids(const int32_t *ids, size_t count, const speaker_t *speaker,
                           const char *what, tr_error_t *err)
{
    size_t vocabulary = tr_model_config(speaker->model)->vocabulary;
    if (count == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%s has no tokens", what);
    }
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= vocabulary) {
            return tr_fail(
                err, TR_ERR_ARGUMENT,
                "%s has token %d, but the model knows %zu: tokenizer.json is another model's", what,
                ids[i], vocabulary);
        }
    }
    return TR_OK;
}

tr_status speaker_encode(int32_t **ids, size_t *count, const speaker_t *speaker, const char *text,
                         const char *what, unsigned flags, tr_error_t *err)
{
    if (tr_tokenizer_encode(ids, count, speaker->tokenizer, text, strlen(text), flags, err) !=
        TR_OK) {
        *ids = NULL;
        return tr_error_prefix(err, "%s", what);
    }
    tr_status status = check_ids(*ids, *count, speaker, what, err);
    if (status != TR_OK) {
        free(*ids);
        *ids = NULL;
    }
    return status;
}
