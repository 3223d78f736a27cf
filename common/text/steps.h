/// Responses in steps, for process reward models: the tokens of a prompt and of steps that each end
/// with a separator, as TRL's PRMTrainer has them.
#ifndef TR_TEXT_STEPS_H
#define TR_TEXT_STEPS_H

#include "common/text/tokenizer.h"

typedef struct tr_steps {
    int32_t *ids; ///< [length]: the begin token, if any, the prompt, the steps, and one token more
    /// A step's score is computed at its last token and labelled at the token after it: the one
    /// more is for the last step.
    size_t length;
    size_t prompt; ///< tokens before the steps
    size_t *ends;  ///< [count] the token after each step's separator
    size_t count;
} tr_steps_t;

/// Prompt, texts and separators are each encoded by itself, without special tokens. texts: [count],
/// count >= 1. TR_ERR_ARGUMENT when the prompt (with the begin token) or the separator has no
/// token. steps: written, released by the caller after a failure too.
tr_status tr_steps_encode(tr_steps_t *steps, const tr_tokenizer_t *tokenizer, const char *prompt,
                          const char *const *texts, size_t count, const char *separator,
                          tr_error_t *err);
void tr_steps_release(tr_steps_t *steps);

#endif
