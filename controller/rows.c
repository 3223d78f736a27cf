// From a recipe to rows: fills the options of common/data from the recipe's keys and from the row
// of its algorithm (common/recipe/algorithms.c).
//
// common/data/corpus.h describes the stages from file to tokens; controller/batch.h comes next on a
// row's way.
#include "controller/rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/file.h"

void controller_rows_options(tr_rows_options_t *options, const tr_recipe_t *recipe,
                             size_t positions)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    const tr_recipe_data_t *data = &recipe->data;
    const char *key = algorithm->max_length_key;
    const uint64_t answer = recipe->generation.max_new_tokens;
    // A key that the algorithm does not read has its default, so none of these asks which one runs.
    *options = (tr_rows_options_t){
        .kinds = algorithm->rows,
        .limit_key = key != NULL ? key : "data.max_prompt_length, or the model's positions",
        .limit = tr_recipe_row_limit(recipe, positions),
        .packing = recipe->sft.packing,
        .drop = data->on_bad_row == TR_ON_BAD_ROW_DROP,
        .completion_only = recipe->sft.completion_only_loss,
        .assistant_only = recipe->sft.assistant_only_loss ? "sft.assistant_only_loss" : NULL,
        .keep_end = recipe->dpo.truncation_mode == TR_TRUNCATION_KEEP_END,
        .columns = data->columns,
        .prompt_column = data->prompt_column,
        .text_column = data->text_column,
        .step_separator = recipe->reward.step_separator,
        .chat_template = data->chat_template,
        .chat_template_kwargs = data->chat_template_kwargs,
        .model = recipe->model,
        .room = answer < positions ? positions - (size_t)answer : 0,
    };
}

/// Of a first row that lacks the column which all rows need: its columns have other names, perhaps.
static void advise_columns(const tr_corpus_t *corpus, tr_error_t *err)
{
    const char *missing = tr_kind_missing(corpus->kind, corpus->dataset, &corpus->options);
    if (missing != NULL) {
        const tr_error_t before = *err;
        char *columns = tr_dataset_columns(corpus->dataset);
        const char *nested = tr_dataset_nested(corpus->dataset);
        *err = (tr_error_t){0};
        if (nested != NULL) {
            tr_fail(err, before.status,
                    "%s; the file is one object: if the rows are its list `%s`, write that list "
                    "alone",
                    before.text, nested);
        } else {
            tr_fail(err, before.status,
                    "%s; the first row has the columns %s: data.columns says which is which, such "
                    "as {%s: %.*s}",
                    before.text, columns, missing, (int)strcspn(columns, ","), columns);
        }
        free(columns);
    }
}

/// What to do about bad rows is part of the sentence about them.
static tr_status advise(tr_status status, const tr_corpus_t *corpus, tr_error_t *err)
{
    const char *const *mistakes;
    if (status != TR_OK && corpus->survey != NULL && tr_survey_is_done(corpus->survey) &&
        tr_survey_mistakes(&mistakes, corpus->survey) > 0) {
        char *sentence = tr_strdup(err->text);
        *err = (tr_error_t){0};
        tr_fail(err, status, "%s; data.on_bad_row: drop leaves such rows out", sentence);
        free(sentence);
        advise_columns(corpus, err);
    }
    return status;
}

const tr_texts_t *controller_rows_files(const tr_recipe_t *recipe)
{
    return tr_algorithm_generates(tr_recipe_algorithm(recipe)) ? &recipe->data.prompts
                                                               : &recipe->data.train;
}

tr_status controller_rows_open(tr_corpus_t *corpus, const tr_texts_t *files,
                               const tr_recipe_t *recipe, const tr_tokenizer_t *tokenizer,
                               size_t positions, bool wait, tr_error_t *err)
{
    tr_rows_options_t options;
    controller_rows_options(&options, recipe, positions);
    TR_TRY(tr_corpus_open(corpus, (const char *const *)files->items, files->count, tokenizer,
                          &options, err));
    bool held_out = files == &recipe->data.eval;
    if (corpus->mixture != NULL &&
        (held_out || !tr_algorithm_learns(tr_recipe_algorithm(recipe)))) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "%s: each row is taken once, whatever its file's weight: leave the weights "
                       "out",
                       held_out ? "data.eval" : "data.prompts");
    }
    return advise(tr_corpus_survey(corpus, wait, err), corpus, err);
}

// A run's data

/// Tokenizer and shape of the policy.
static tr_status load_model(controller_data_t *data, const tr_recipe_t *recipe, tr_error_t *err)
{
    TR_TRY(tr_tokenizer_new(&data->tokenizer, recipe->model, err));
    TR_TRY(tr_model_config_load(&data->model, recipe->model, err));
    if (tr_tokenizer_bound(data->tokenizer, data->model.vocabulary, err) != TR_OK) {
        return tr_error_prefix(err, "'%s'", recipe->model);
    }
    size_t ends = data->model.eos_count;
    TR_TRY(tr_model_config_align(&data->model, tr_tokenizer_eos(data->tokenizer), err));
    data->end_added = data->model.eos_count > ends;
    return TR_OK;
}

/// A response never ends by an id that the model cannot generate.
static tr_status check_stop_ids(const controller_data_t *data, const tr_recipe_t *recipe,
                                tr_error_t *err)
{
    const tr_token_ids_t *stops = &recipe->generation.stop_ids;
    for (size_t i = 0; i < stops->count; i++) {
        if ((size_t)stops->items[i] >= data->model.vocabulary) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "generation.stop_ids: expected ids below %zu, the vocabulary of '%s', "
                           "found %" PRId32,
                           data->model.vocabulary, recipe->model, stops->items[i]);
        }
    }
    return TR_OK;
}

/// What the recipe says of rows must be about rows such as these.
static tr_status check_kinds(const controller_data_t *data, const tr_recipe_t *recipe,
                             tr_error_t *err)
{
    char *key = tr_recipe_key_without_rows(recipe, data->rows.kinds | data->eval_rows.kinds);
    if (key == NULL) {
        return TR_OK;
    }
    tr_fail(err, TR_ERR_ARGUMENT,
            "%s: no row of the data files is of the kind that has this key read: leave it out",
            key);
    free(key);
    return TR_ERR_ARGUMENT;
}

/// There must be as many rows as the recipe wants.
static tr_status check_counts(const controller_data_t *data, const tr_recipe_t *recipe,
                              tr_error_t *err)
{
    if (tr_recipe_mismatches(recipe) && data->eval_rows.count == 1) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "data.eval has one row, and kto estimates the KL divergence from other rows' "
            "completions: add rows");
    }
    // The last batch of an epoch may be smaller, but no epoch is smaller than a batch.
    if (tr_algorithm_learns(tr_recipe_algorithm(recipe)) && recipe->data.batch > data->rows.count) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "data.batch is %" PRIu64 " and the files hold %zu rows: lower it",
                       recipe->data.batch, data->rows.count);
    }
    // Without training each prompt is taken once.
    uint64_t most = (data->rows.count + recipe->data.batch - 1) / recipe->data.batch;
    if (!tr_algorithm_learns(tr_recipe_algorithm(recipe)) && recipe->steps > most) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "steps is %" PRIu64 ", and %" PRIu64 " take all %zu prompts: lower it",
                       recipe->steps, most, data->rows.count);
    }
    return TR_OK;
}

tr_status controller_data_load(controller_data_t *data, const tr_recipe_t *recipe, bool wait,
                               tr_error_t *err)
{
    *data = (controller_data_t){0};
    TR_TRY(load_model(data, recipe, err));
    TR_TRY(check_stop_ids(data, recipe, err));
    size_t positions = data->model.max_positions;
    tr_status status = controller_rows_open(&data->rows, controller_rows_files(recipe), recipe,
                                            data->tokenizer, positions, wait, err);
    if (recipe->data.eval.count > 0) {
        // all are read in an evaluation: a bad one is better known before
        tr_error_t own = {0};
        tr_status held_out = controller_rows_open(&data->eval_rows, &recipe->data.eval, recipe,
                                                  data->tokenizer, positions, true, &own);
        if (status == TR_OK && held_out != TR_OK) {
            status = tr_fail(err, held_out, "%s", own.text);
        }
    }
    TR_TRY(status);
    TR_TRY(check_counts(data, recipe, err));
    return controller_data_surveyed(data) ? controller_data_settle(data, recipe, err) : TR_OK;
}

tr_status controller_data_checksum(uint64_t *checksum, const controller_data_t *data,
                                   const tr_recipe_t *recipe, tr_error_t *err)
{
    enum { LIMIT = 1 << 24 };
    const char *chat_template = recipe->data.chat_template;
    char *text = NULL;
    size_t length = 0;
    *checksum = tr_dataset_checksum(data->rows.dataset);
    // a name has no slash, and a run's own recipe has absolute paths
    if (chat_template != NULL && strchr(chat_template, '/') != NULL) {
        TR_TRY(tr_file_read(&text, &length, chat_template, LIMIT, err));
        *checksum = XXH3_64bits_withSeed(text, length, *checksum);
        free(text);
    }
    return TR_OK;
}

bool controller_data_surveyed(const controller_data_t *data)
{
    return tr_corpus_surveyed(&data->rows) && tr_corpus_surveyed(&data->eval_rows);
}

tr_status controller_data_settle(controller_data_t *data, const tr_recipe_t *recipe,
                                 tr_error_t *err)
{
    tr_corpus_t *const corpora[] = {&data->rows, &data->eval_rows};
    for (size_t i = 0; i < 2; i++) {
        TR_TRY(advise(tr_corpus_settle(corpora[i], err), corpora[i], err));
    }
    return check_kinds(data, recipe, err);
}

void controller_data_print_mistakes(FILE *out, const controller_data_t *data)
{
    const tr_corpus_t *const corpora[] = {&data->rows, &data->eval_rows};
    const char *const *mistakes[2];
    size_t counts[2];
    for (size_t i = 0; i < 2; i++) {
        const tr_survey_t *survey = corpora[i]->survey;
        bool known = survey != NULL && tr_survey_is_done(survey);
        counts[i] = known ? tr_survey_mistakes(&mistakes[i], survey) : 0;
    }
    // a single one is the failure's own sentence
    for (size_t i = 0; i < 2 && counts[0] + counts[1] > 1; i++) {
        for (size_t k = 0; k < counts[i]; k++) {
            fprintf(out, "%s\n", mistakes[i][k]);
        }
    }
}

void controller_data_release(controller_data_t *data)
{
    tr_corpus_release(&data->rows);
    tr_corpus_release(&data->eval_rows);
    tr_tokenizer_destroy(&data->tokenizer);
}
