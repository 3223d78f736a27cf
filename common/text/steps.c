// Responses in steps. Prompt, steps and separators are each encoded by itself and joined, as TRL's
// PRMTrainer does it, so that a step's tokens do not depend on the steps around it. Training
// (common/data) and the judge of steps (common/judge/model.c) share this file.
#include "common/text/steps.h"

#include <stdlib.h>
#include <string.h>

#include "common/text/utf8.h"

/// A text's tokens, without special ones, behind those that are there.
static tr_status append(tr_ids_t *ids, const tr_tokenizer_t *tokenizer, const char *text,
                        tr_error_t *err)
{
    int32_t *more;
    size_t count;
    TR_TRY(tr_tokenizer_encode(&more, &count, tokenizer, text, strlen(text), 0, err));
    tr_ids_extend(ids, more, count);
    free(more);
    return TR_OK;
}

/// Each step and its separator; where a step ends is kept.
static tr_status append_steps(tr_steps_t *steps, tr_ids_t *ids, const tr_tokenizer_t *tokenizer,
                              const char *const *texts, size_t count, const char *separator,
                              tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        TR_TRY(append(ids, tokenizer, texts[i], err));
        size_t before = ids->count;
        TR_TRY(append(ids, tokenizer, separator, err));
        // A step would have no token at which its score is taken.
        if (ids->count == before) {
            return tr_fail(err, TR_ERR_ARGUMENT, "the separator of steps has no token");
        }
        // The token after the separator: it does not exist yet, and is the next step's first or the
        // one more.
        steps->ends[steps->count++] = ids->count;
    }
    return TR_OK;
}

/// The ids grow as texts are encoded; where the prompt and each step end is noted on the way.
tr_status tr_steps_encode(tr_steps_t *steps, const tr_tokenizer_t *tokenizer, const char *prompt,
                          const char *const *texts, size_t count, const char *separator,
                          tr_error_t *err)
{
    tr_ids_t ids = {0};
    tr_status status;
    TR_ASSERT(count > 0, "no steps");
    *steps = (tr_steps_t){.ends = tr_calloc(count, sizeof *steps->ends)};
    // As TRL does it: one begin token before the prompt, none before a step.
    if (tr_tokenizer_bos(tokenizer) >= 0) {
        tr_ids_append(&ids, tr_tokenizer_bos(tokenizer));
    }
    TR_TRY_GOTO(append(&ids, tokenizer, prompt, err), done);
    // The first step is predicted from the prompt's last token.
    if (ids.count == 0) {
        status = tr_fail(err, TR_ERR_ARGUMENT, "the prompt has no token");
        goto done;
    }
    steps->prompt = ids.count;
    TR_TRY_GOTO(append_steps(steps, &ids, tokenizer, texts, count, separator, err), done);
    // The token after the last separator: any token will do, since nothing is read behind it.
    tr_ids_append(&ids, ids.data[ids.count - 1]);
    steps->length = ids.count;
    // Taken over, with room that is not used; `done` then frees nothing.
    steps->ids = ids.data;
    ids = (tr_ids_t){0};
done:
    tr_ids_release(&ids);
    return status;
}

void tr_steps_release(tr_steps_t *steps)
{
    free(steps->ids);
    free(steps->ends);
    *steps = (tr_steps_t){0};
}
