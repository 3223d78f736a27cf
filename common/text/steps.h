/// Responses in steps, for process reward models: the tokens of a prompt and of steps that each end with a separator, as TRL's
/// PRMTrainer has them.
#ifndef TR_TEXT_STEPS_H
#define TR_TEXT_STEPS_H

#include "common/text/tokenizer.h"

typedef struct tr_steps {
    int32_t *
        ids; ///< [length]: the begin token, if there is one, the prompt, the steps, and one token more
    size_t
        length; ///< what a model computes at a step's last token is read at the token after it, which even the last step so has
    size_t prompt; ///< tokens before the steps
    size_t *ends;  ///< [count] the token after each step's separator
    size_t count;
} tr_steps_t;

/// Each piece is encoded by itself, without special tokens. texts: [count], count >= 1. TR_ERR_ARGUMENT when prompt (with the
/// begin token), or separator have no token. After a failure too, release it.
tr_status tr_steps_encode(tr_steps_t *steps, const tr_tokenizer_t *tokenizer, const char *prompt,
                          const char *const *texts, size_t count, const char *separator,
                          tr_error_t *err);
void tr_steps_release(tr_steps_t *steps);

#endif
