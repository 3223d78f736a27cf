#include "controller/rows.h"

#include <stdlib.h>
#include <string.h>

#include "proto/sequences.h"

/// Prefixes err with the row's file and line.
static tr_status blame(const controller_rows_t *rows, size_t row, tr_error_t *err)
{
    char *place = tr_dataset_place(rows->dataset, row);
    tr_error_prefix(err, "%s", place);
    free(place);
    return err->status;
}

static tr_status open_rows(controller_rows_t *rows, const tr_recipe_strings_t *files,
                           const char *required, const char *prompt_column, tr_error_t *err)
{
    *rows = (controller_rows_t){.prompt_column = prompt_column};
    TR_TRY(tr_dataset_new(&rows->dataset, (const char *const *)files->items, files->count, required,
                          err));
    rows->count = tr_dataset_size(rows->dataset);
    rows->items = tr_calloc(rows->count, sizeof *rows->items);
    return TR_OK;
}

/// Appends a column's tokens to the row.
static tr_status encode(controller_rows_t *rows, size_t index, const char *column,
                        const tr_tokenizer_t *tokenizer, unsigned flags, tr_error_t *err)
{
    controller_row_t *row = &rows->items[index];
    const char *text = tr_dataset_string(rows->dataset, index, column);
    int32_t *ids;
    size_t count;
    if (tr_tokenizer_encode(&ids, &count, tokenizer, text, strlen(text), flags, err) != TR_OK) {
        return blame(rows, index, err);
    }
    row->ids =
        tr_realloc(row->ids, (row->length + count + 1) * sizeof *ids); // room for an end token
    memcpy(row->ids + row->length, ids, count * sizeof *ids);
    row->length += count;
    free(ids);
    return TR_OK;
}

static tr_status load_prompt(controller_rows_t *rows, size_t index, const tr_recipe_t *recipe,
                             const tr_tokenizer_t *tokenizer, size_t limit, tr_error_t *err)
{
    controller_row_t *row = &rows->items[index];
    TR_TRY(encode(rows, index, rows->prompt_column, tokenizer, TR_ENCODE_SPECIAL, err));
    row->prompt = row->length;
    if (row->length == 0) {
        tr_fail(err, TR_ERR_ARGUMENT, "%s: the prompt has no token", rows->prompt_column);
        return blame(rows, index, err);
    }
    size_t most = recipe->data.max_prompt_length;
    most = most == 0 || most > limit ? limit : most;
    if (row->length > most) {
        tr_fail(err, TR_ERR_ARGUMENT,
                "%s: the prompt has %zu tokens; at most %zu fit (data.max_prompt_length, or the "
                "model's positions): shorten it or take the row out",
                rows->prompt_column, row->length, most);
        return blame(rows, index, err);
    }
    return TR_OK;
}

tr_status controller_rows_load_prompts(controller_rows_t *rows, const tr_recipe_t *recipe,
                                       const tr_tokenizer_t *tokenizer, size_t limit,
                                       tr_error_t *err)
{
    TR_TRY(open_rows(rows, &recipe->data.prompts, recipe->data.prompt_column,
                     recipe->data.prompt_column, err));
    for (size_t i = 0; i < rows->count; i++) {
        TR_TRY(load_prompt(rows, i, recipe, tokenizer, limit, err));
    }
    return TR_OK;
}

/// The end token, unless the text brought one; then the cut.
static tr_status finish_text(controller_rows_t *rows, size_t index, int32_t eos, size_t limit,
                             tr_error_t *err)
{
    controller_row_t *row = &rows->items[index];
    if (eos >= 0 && (row->length == 0 || row->ids[row->length - 1] != eos)) {
        row->ids[row->length++] = eos;
    }
    row->length = row->length > limit ? limit : row->length;
    if (row->prompt == 0) {
        tr_fail(err, TR_ERR_ARGUMENT, "%s: the prompt has no token", rows->prompt_column);
        return blame(rows, index, err);
    }
    if (row->length <= row->prompt) {
        tr_fail(err, TR_ERR_ARGUMENT,
                "nothing is left to learn within %zu tokens (sft.max_length): shorten the prompt "
                "or take the row out",
                limit);
        return blame(rows, index, err);
    }
    return TR_OK;
}

static tr_status load_text(controller_rows_t *rows, size_t index, const tr_recipe_t *recipe,
                           const tr_tokenizer_t *tokenizer, bool pairs, tr_error_t *err)
{
    controller_row_t *row = &rows->items[index];
    if (!pairs) { // all but the first token, which nothing precedes
        TR_TRY(encode(rows, index, recipe->data.text_column, tokenizer, TR_ENCODE_SPECIAL, err));
        row->prompt = 1;
        return TR_OK;
    }
    TR_TRY(encode(rows, index, rows->prompt_column, tokenizer, TR_ENCODE_SPECIAL, err));
    row->prompt = row->length;
    return encode(rows, index, "completion", tokenizer, TR_ENCODE_CONTINUES, err);
}

tr_status controller_rows_load_texts(controller_rows_t *rows, const tr_recipe_strings_t *files,
                                     const tr_recipe_t *recipe, const tr_tokenizer_t *tokenizer,
                                     size_t limit, tr_error_t *err)
{
    const tr_recipe_data_t *data = &recipe->data;
    TR_TRY(open_rows(rows, files, NULL, data->prompt_column, err));
    bool pairs = tr_dataset_has(rows->dataset, "completion");
    TR_TRY(tr_dataset_require(rows->dataset, pairs ? data->prompt_column : data->text_column, err));
    if (pairs) {
        TR_TRY(tr_dataset_require(rows->dataset, "completion", err));
    }
    limit = recipe->sft.max_length < limit ? (size_t)recipe->sft.max_length : limit;
    for (size_t i = 0; i < rows->count; i++) {
        TR_TRY(load_text(rows, i, recipe, tokenizer, pairs, err));
        TR_TRY(finish_text(rows, i, tr_tokenizer_eos(tokenizer), limit, err));
    }
    return TR_OK;
}

size_t controller_rows_put(const controller_rows_t *rows, const uint32_t *chosen, size_t count,
                           tr_message_t *message)
{
    size_t tokens = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += rows->items[chosen[i]].length;
    }
    int32_t *ids = tr_calloc(tokens + 3 * count + 2, sizeof *ids);
    int32_t *starts = ids + tokens, *prompts = starts + count + 1, *responses = prompts + count;
    for (size_t i = 0; i < count; i++) {
        const controller_row_t *row = &rows->items[chosen[i]];
        memcpy(ids + starts[i], row->ids, row->length * sizeof *ids);
        starts[i + 1] = starts[i] + (int32_t)row->length;
        prompts[i] = (int32_t)row->prompt;
        responses[i + 1] = responses[i] + (int32_t)(row->length - row->prompt);
    }
    const tr_sequences_t sequences = {
        .count = count,
        .ids = ids,
        .starts = starts,
        .prompt_lengths = prompts,
        .response_starts = responses,
    };
    tr_sequences_put(message, &sequences);
    size_t learnt = (size_t)responses[count];
    free(ids);
    return learnt;
}

void controller_rows_release(controller_rows_t *rows)
{
    for (size_t i = 0; rows->items != NULL && i < rows->count; i++) {
        free(rows->items[i].ids);
    }
    free(rows->items);
    tr_dataset_destroy(&rows->dataset);
    *rows = (controller_rows_t){0};
}
