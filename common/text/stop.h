/// Stop strings: the token with which the text of a response first holds one of some texts,
/// wherever the borders between tokens fall.
///
/// The text is what decoding gives for the tokens so far, special tokens by their own texts: as
/// vLLM finds its stop strings, and transformers' StopStringCriteria, within the response alone.
#ifndef TR_TEXT_STOP_H
#define TR_TEXT_STOP_H

#include "common/text/tokenizer.h"

typedef struct tr_stop tr_stop_t;

/// For one response. texts: [count], count >= 1, none empty; borrowed, as the tokenizer.
tr_stop_t *tr_stop_new(const tr_tokenizer_t *tokenizer, char *const *texts, size_t count);
void tr_stop_destroy(tr_stop_t **stop);

/// Takes the next token; whether the text now holds one of the texts.
bool tr_stop_push(tr_stop_t *stop, int32_t id);

#endif
