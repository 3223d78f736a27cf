/// What a path that is no Hugging Face directory probably is, and what to do about it: people name
/// the Hub's models, its cache, weights of other programs and training runs.
#ifndef TR_HF_ADVICE_H
#define TR_HF_ADVICE_H

#include "common/base/status.h"

/// Fails with TR_ERR_IO: path is not there, or holds no `lacks`, such as config.json, which a model
/// needs; the sentence ends with what to do.
tr_status tr_hf_refuse(const char *path, const char *lacks, tr_error_t *err);

#endif
