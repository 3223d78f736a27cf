/// The rows of a recipe: which kinds its algorithm takes, and how they become tokens (common/data).
#ifndef CONTROLLER_ROWS_H
#define CONTROLLER_ROWS_H

#include <stdio.h>

#include "common/data/corpus.h"
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

/// The files that training takes its rows from: data.prompts where the algorithm generates, else
/// data.train.
const tr_texts_t *controller_rows_files(const tr_recipe_t *recipe);

/// Opens the files, and begins the survey of their rows (tr_corpus_survey). The caller releases
/// corpus, after a failure too. TR_ERR_IO, TR_ERR_FORMAT, or TR_ERR_ARGUMENT, as "file:line: ..."
/// where a row is bad.
tr_status controller_rows_open(tr_corpus_t *corpus, const tr_texts_t *files,
                               const tr_recipe_t *recipe, const tr_tokenizer_t *tokenizer,
                               size_t positions, bool wait, tr_error_t *err);

/// All that a run reads before its first step.
typedef struct controller_data {
    tr_tokenizer_t *tokenizer; ///< the policy's
    tr_model_config_t model;   ///< likewise
    bool end_added;            ///< the tokenizer's end token was none of the model's
    tr_corpus_t rows;          ///< data.prompts or data.train
    tr_corpus_t eval_rows;     ///< data.eval; none: empty
} controller_data_t;

/// Opens them and checks what needs two of them: vocabulary, stop ids and the batch; then what
/// controller_data_settle does, where `wait` says so or all rows are known already. `troupe check`
/// and the controller call it. data may not move in memory until it is settled. The caller releases
/// it, after a failure too. Errors as controller_rows_open, with TR_ERR_ARGUMENT.
tr_status controller_data_load(controller_data_t *data, const tr_recipe_t *recipe, bool wait,
                               tr_error_t *err);

/// Of all that the training rows are made of: the files, and the chat template if it is a file.
tr_status controller_data_checksum(uint64_t *checksum, const controller_data_t *data,
                                   const tr_recipe_t *recipe, tr_error_t *err);

/// Whether controller_data_settle would not wait.
bool controller_data_surveyed(const controller_data_t *data);

/// Waits until every row was looked at. Fails where one is bad, and where a key about rows is not
/// about rows such as these.
tr_status controller_data_settle(controller_data_t *data, const tr_recipe_t *recipe,
                                 tr_error_t *err);

/// After a failure: bad rows, where there are several, each on a line, the first
/// TR_SURVEY_MISTAKES of each kind of file.
void controller_data_print_mistakes(FILE *out, const controller_data_t *data);
void controller_data_release(controller_data_t *data);

#endif
