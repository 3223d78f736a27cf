/// The rows of a recipe: which kinds its algorithm takes, and how they become tokens (common/data).
#ifndef CONTROLLER_ROWS_H
#define CONTROLLER_ROWS_H

#include <stdio.h>

#include "common/data/rows.h"
#include "common/model/config.h"
#include "common/recipe/recipe.h"
#include "common/text/tokenizer.h"

/// The recipe as common/data takes it. positions: of the model, the longest sequence that it
/// computes. Texts are borrowed from the recipe.
///
///     sft     text or messages, trained on whole, or prompt and completion
///     reward  pairs, whole, or labelled steps (a process reward model)
///     dpo     pairs
///     kto     prompt, completion and label, or pairs, each side of which becomes a row
///     others  prompts, cut so that one token of a response fits
void controller_rows_options(tr_rows_options_t *options, const tr_recipe_t *recipe,
                             size_t positions);

/// Reads the files. TR_ERR_IO, TR_ERR_FORMAT, or TR_ERR_ARGUMENT, as "file:line: ..." where a row
/// is bad. The caller releases rows, after a failure too.
tr_status controller_rows_read(tr_rows_t *rows, const tr_texts_t *files, const tr_recipe_t *recipe,
                               const tr_tokenizer_t *tokenizer, size_t positions, tr_error_t *err);

/// Reads recipe->data.prompts where the algorithm generates, else .train, likewise.
tr_status controller_rows_load(tr_rows_t *rows, const tr_recipe_t *recipe,
                               const tr_tokenizer_t *tokenizer, size_t positions, tr_error_t *err);

/// All that a run reads before its first step.
typedef struct controller_data {
    tr_tokenizer_t *tokenizer; ///< the policy's
    tr_model_config_t model;   ///< likewise
    bool end_added;            ///< the tokenizer's end token was none of the model's
    tr_rows_t rows;            ///< data.prompts or data.train
    tr_rows_t eval_rows;       ///< data.eval; none: empty
} controller_data_t;

/// Reads them and checks what needs two of them: vocabulary, stop ids, the batch, and that every
/// key about rows is about rows such as these. `troupe check` and the controller call it. The
/// caller releases data, after a failure too. Errors as controller_rows_read, with TR_ERR_ARGUMENT.
tr_status controller_data_load(controller_data_t *data, const tr_recipe_t *recipe, tr_error_t *err);
/// After a failure: bad rows, where there are several, each on a line, the first
/// TR_DATASET_MISTAKES of each kind of file.
void controller_data_print_mistakes(FILE *out, const controller_data_t *data);
void controller_data_release(controller_data_t *data);

#endif
