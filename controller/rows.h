/// The rows of a run, tokenized once at the start: prompts for PPO, texts or prompts with completions for SFT.
///
/// Every row is checked before the first step, so that a bad one is named then and not in the middle of a run.
#ifndef CONTROLLER_ROWS_H
#define CONTROLLER_ROWS_H

#include "common/base/recipe.h"
#include "common/text/dataset.h"
#include "common/text/tokenizer.h"
#include "proto/message.h"

/// Token ids of a row: a prompt (never empty), then what is learnt from (PPO: nothing).
typedef struct controller_row {
    int32_t *ids; ///< [length]
    size_t prompt;
    size_t length;
} controller_row_t;

typedef struct controller_rows {
    tr_dataset_t *dataset;
    controller_row_t *items; ///< [count]
    size_t count;
    const char *prompt_column; ///< the recipe's
} controller_rows_t;

/// Reads recipe->data.prompts. limit: tokens of the longest prompt that the model takes. TR_ERR_IO, TR_ERR_FORMAT, or
/// TR_ERR_ARGUMENT for a prompt without a token or a too long one, as "file:line: ...".
tr_status controller_rows_load_prompts(controller_rows_t *rows, const tr_recipe_t *recipe,
                                       const tr_tokenizer_t *tokenizer, size_t limit,
                                       tr_error_t *err);

/// Reads files (recipe->data.train or .eval): `text_column`, all of which is learnt, or prompt_column and `completion`, of which the
/// completion is. An end-of-sequence token is appended; a row is cut after `limit` tokens. TR_ERR_ARGUMENT for a row of which
/// nothing would be learnt.
tr_status controller_rows_load_texts(controller_rows_t *rows, const tr_recipe_strings_t *files,
                                     const tr_recipe_t *recipe, const tr_tokenizer_t *tokenizer,
                                     size_t limit, tr_error_t *err);

/// Adds chosen rows: [count] to a message as sequences whose responses are what is learnt. Returns the tokens that are.
size_t controller_rows_put(const controller_rows_t *rows, const uint32_t *chosen, size_t count,
                           tr_message_t *message);

void controller_rows_release(controller_rows_t *rows);

#endif
