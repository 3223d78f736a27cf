/// How responses are generated: the recipe's section `generation`, and the options of `troupe
/// generate` and `troupe sample`.
#ifndef TR_MODEL_GENERATION_H
#define TR_MODEL_GENERATION_H

#include "common/base/fields.h"
#include "common/tensor/backend.h"

typedef enum tr_stop_token {
    TR_STOP_TOKEN_NONE, ///< null: responses go on past an end-of-sequence token, as in TRL
    TR_STOP_TOKEN_EOS   ///< a response ends with the tokenizer's end-of-sequence token
} tr_stop_token_t;

typedef struct tr_generation_options {
    double temperature;      ///< 0: greedy
    uint64_t top_k;          ///< 0: off
    double top_p;            ///< in (0, 1]; 1: off
    double min_p;            ///< in [0, 1]; 0: off
    uint64_t max_new_tokens; ///< of the longest response
    uint64_t samples;        ///< responses to a prompt
    tr_token_ids_t stop_ids; ///< token ids that end a response
    tr_texts_t stop;         ///< texts that end it (common/text/stop.h)
    int stop_token;          ///< a tr_stop_token_t
} tr_generation_options_t;

extern const tr_fields_t tr_generation_fields;

/// What the operator `sample` is told of them.
tr_sampling_t tr_generation_sampling(const tr_generation_options_t *options);

#endif
