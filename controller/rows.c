// From the recipe to rows: the one place where an algorithm says which kinds of rows it takes and
// which of its keys bound them. common/data/rows.h has the stages; controller/batch.h is next on a
// row's way.
#include "controller/rows.h"

#define TAKES(kind) (1u << TR_KIND_##kind)

/// What the algorithm alone decides. most: the longest sequence that the recipe allows; 0: no
/// bound.
static void options_of_algorithm(tr_rows_options_t *options, uint64_t *most,
                                 const tr_recipe_t *recipe)
{
    switch (recipe->algorithm) {
    case TR_ALGORITHM_SFT:
        options->kinds = TAKES(PROMPT_COMPLETION) | TAKES(MESSAGES) | TAKES(TEXT);
        options->limit_key = "sft.max_length";
        options->packing = recipe->sft.packing;
        options->completion_only = recipe->sft.completion_only_loss;
        options->assistant_only =
            recipe->sft.assistant_only_loss ? "sft.assistant_only_loss" : NULL;
        *most = recipe->sft.max_length;
        return;
    case TR_ALGORITHM_REWARD:
        options->kinds = TAKES(STEPWISE) | TAKES(WHOLE_PAIRS);
        options->limit_key = "reward.max_length";
        *most = recipe->reward.max_length;
        return;
    case TR_ALGORITHM_DPO:
        options->kinds = TAKES(PAIRS);
        options->limit_key = "dpo.max_length";
        options->keep_end = recipe->dpo.truncation_mode == TR_TRUNCATION_KEEP_END;
        *most = recipe->dpo.max_length;
        return;
    case TR_ALGORITHM_KTO:
        options->kinds = TAKES(UNPAIRED) | TAKES(LABELLED);
        options->limit_key = "kto.max_length";
        *most = recipe->kto.max_length;
        return;
    case TR_ALGORITHM_PPO:
    case TR_ALGORITHM_ONLINE_DPO:
    case TR_ALGORITHM_REJECTION_SAMPLING:
    case TR_ALGORITHM_SAMPLE: break;
    }
    options->kinds = TAKES(PROMPTS);
    options->limit_key = "data.max_prompt_length, or the model's positions";
    options->limit -= 1; // of a prompt that fills the model nothing could be generated
    *most = recipe->data.max_prompt_length;
}

void controller_rows_options(tr_rows_options_t *options, const tr_recipe_t *recipe,
                             size_t positions)
{
    const tr_recipe_data_t *data = &recipe->data;
    uint64_t most = 0;
    *options = (tr_rows_options_t){
        .limit = positions,
        .completion_only = true,
        .prompt_column = data->prompt_column,
        .text_column = data->text_column,
        .step_separator = recipe->reward.step_separator,
        .chat_template = (tr_chat_format_t)data->chat_template,
        .model = recipe->model,
    };
    options_of_algorithm(options, &most, recipe);
    if (most > 0 && most < options->limit) {
        options->limit = (size_t)most;
    }
}

/// Some options are of pairs alone.
static tr_status check_kind(const tr_recipe_t *recipe, tr_kind_t kind, tr_error_t *err)
{
    const tr_recipe_reward_t *reward = &recipe->reward;
    if (kind != TR_KIND_STEPWISE ||
        (!reward->normalize && !reward->center_rewards_coefficient.given)) {
        return TR_OK;
    }
    return tr_fail(
        err, TR_ERR_ARGUMENT,
        "%s is of pairs, and the rows of data.train are steps (completions): leave it out",
        reward->normalize ? "reward.normalize" : "reward.center_rewards_coefficient");
}

static tr_status load(tr_rows_t *rows, const tr_recipe_strings_t *files, const tr_recipe_t *recipe,
                      const tr_tokenizer_t *tokenizer, size_t positions, tr_error_t *err)
{
    tr_rows_options_t options;
    tr_dataset_t *dataset;
    *rows = (tr_rows_t){0};
    controller_rows_options(&options, recipe, positions);
    TR_TRY(tr_dataset_new(&dataset, (const char *const *)files->items, files->count,
                          recipe->data.on_bad_row == TR_ON_BAD_ROW_DROP, err));
    tr_kind_t kind = tr_kind_of(dataset, &options);
    tr_status status = check_kind(recipe, kind, err);
    if (status == TR_OK) {
        status = tr_rows_init(rows, &dataset, kind, tokenizer, &options, err);
    }
    tr_dataset_destroy(&dataset);
    return status;
}

tr_status controller_rows_load(tr_rows_t *rows, const tr_recipe_t *recipe,
                               const tr_tokenizer_t *tokenizer, size_t positions, tr_error_t *err)
{
    const tr_recipe_strings_t *files =
        tr_algorithm_generates(recipe->algorithm) ? &recipe->data.prompts : &recipe->data.train;
    return load(rows, files, recipe, tokenizer, positions, err);
}

tr_status controller_rows_load_eval(tr_rows_t *rows, const tr_recipe_t *recipe,
                                    const tr_tokenizer_t *tokenizer, size_t positions,
                                    tr_error_t *err)
{
    return load(rows, &recipe->data.eval, recipe, tokenizer, positions, err);
}
