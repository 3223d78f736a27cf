// From a recipe to rows: fills the options of common/data from the recipe's keys and from the row
// of its algorithm (common/recipe/algorithms.c).
//
// common/data/rows.h describes the stages from file to tokens; controller/batch.h comes next on a
// row's way.
#include "controller/rows.h"

/// The longest sequence that the recipe allows; 0: no bound.
static uint64_t limit_of(const tr_recipe_t *recipe)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    // Algorithms on rows name a limit of their own, such as sft.max_length; others limit prompts.
    return algorithm->max_length_key == NULL
               ? recipe->data.max_prompt_length
               : *(const uint64_t *)((const char *)recipe + algorithm->max_length_offset);
}

void controller_rows_options(tr_rows_options_t *options, const tr_recipe_t *recipe,
                             size_t positions)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    const tr_recipe_data_t *data = &recipe->data;
    const char *key = algorithm->max_length_key;
    // 0 is no bound of the recipe; the model's positions always are one.
    uint64_t most = limit_of(recipe);
    // A key that the algorithm does not read has its default, so none of these asks which one runs.
    *options = (tr_rows_options_t){
        .kinds = algorithm->rows,
        .limit_key = key != NULL ? key : "data.max_prompt_length, or the model's positions",
        .limit = positions,
        .packing = recipe->sft.packing,
        .completion_only = recipe->sft.completion_only_loss,
        .assistant_only = recipe->sft.assistant_only_loss ? "sft.assistant_only_loss" : NULL,
        .keep_end = recipe->dpo.truncation_mode == TR_TRUNCATION_KEEP_END,
        .prompt_column = data->prompt_column,
        .text_column = data->text_column,
        .step_separator = recipe->reward.step_separator,
        .chat_template = (tr_chat_format_t)data->chat_template,
        .model = recipe->model,
    };
    if (tr_algorithm_generates(algorithm)) {
        options->limit -= 1; // after a prompt that fills the model nothing could be generated
    }
    if (most > 0 && most < options->limit) {
        options->limit = (size_t)most;
    }
}

/// An option of the loss of pairs that is not at its default; NULL: none.
static const char *option_of_pairs(const tr_recipe_reward_t *reward)
{
    for (size_t i = 0; i < tr_reward_fields.count; i++) {
        const tr_field_t *field = &tr_reward_fields.items[i];
        if (!tr_field_is_default(&reward->loss, &tr_reward_fields, field)) {
            return field->name;
        }
    }
    return reward->normalize ? "normalize" : NULL;
}

/// Refuses the options of pairs for rows of steps, whose loss has none.
static tr_status check_kind(const tr_recipe_t *recipe, tr_kind_t kind, tr_error_t *err)
{
    const char *option = kind == TR_KIND_STEPWISE ? option_of_pairs(&recipe->reward) : NULL;
    return option == NULL
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT,
                         "reward.%s is about pairs, and the rows of data.train are steps "
                         "(completions): leave it out",
                         option);
}

tr_status controller_rows_read(tr_rows_t *rows, const tr_texts_t *files, const tr_recipe_t *recipe,
                               const tr_tokenizer_t *tokenizer, size_t positions, tr_error_t *err)
{
    tr_rows_options_t options;
    tr_dataset_t *dataset;
    *rows = (tr_rows_t){0};
    controller_rows_options(&options, recipe, positions);
    // Bad rows are dropped or end the run, as the recipe says, before they are tokens.
    TR_TRY(tr_dataset_new(&dataset, (const char *const *)files->items, files->count,
                          recipe->data.on_bad_row == TR_ON_BAD_ROW_DROP, err));
    // The kind follows from the columns of the files, so it is checked after they are read.
    tr_kind_t kind = tr_kind_of(dataset, &options);
    tr_status status = check_kind(recipe, kind, err);
    if (status == TR_OK) {
        status = tr_rows_init(rows, &dataset, kind, tokenizer, &options, err);
    }
    // NULL when the rows have taken it.
    tr_dataset_destroy(&dataset);
    return status;
}

tr_status controller_rows_load(tr_rows_t *rows, const tr_recipe_t *recipe,
                               const tr_tokenizer_t *tokenizer, size_t positions, tr_error_t *err)
{
    // Generating algorithms need prompts alone, others complete rows.
    const tr_texts_t *files = tr_algorithm_generates(tr_recipe_algorithm(recipe))
                                  ? &recipe->data.prompts
                                  : &recipe->data.train;
    return controller_rows_read(rows, files, recipe, tokenizer, positions, err);
}
