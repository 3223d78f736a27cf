// Rows from files: which columns an algorithm reads, how texts become ids, and which rows are bad.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/algo/process_reward.h"
#include "common/data/pack.h"
#include "common/text/chat.h"
#include "common/text/steps.h"
#include "controller/rows.h"

/// What goes along while rows are read.
typedef struct loading {
    controller_rows_t *rows;
    const tr_recipe_t *recipe;
    const tr_tokenizer_t *tokenizer;
    const char *limit_key; // of the recipe, for messages
    tr_chat_t chat;        // no format until a conversation comes
    size_t group;          // items of a row: 2 for pairs
    size_t mismatches; // prompts whose ids are not the first ones of prompt and completion together
} loading_t;

static tr_status open_rows(loading_t *loading, const tr_recipe_strings_t *files, tr_error_t *err)
{
    controller_rows_t *rows = loading->rows;
    bool drop = loading->recipe->data.on_bad_row == TR_ON_BAD_ROW_DROP;
    *rows = (controller_rows_t){.prompt_column = loading->recipe->data.prompt_column};
    return tr_dataset_new(&rows->dataset, (const char *const *)files->items, files->count, drop,
                          err);
}

/// Room for `group` items of every row of the data set.
static void make_room(controller_rows_t *rows, size_t group)
{
    size_t count = tr_dataset_size(rows->dataset);
    rows->items = tr_calloc(group * count, sizeof *rows->items);
    rows->starts = tr_calloc(count + 1, sizeof *rows->starts);
}

static tr_status encode(int32_t **ids, size_t *count, const loading_t *loading, const char *text,
                        size_t length, tr_error_t *err)
{
    return tr_tokenizer_encode(ids, count, loading->tokenizer, text, length, TR_ENCODE_SPECIAL,
                               err);
}

/// The end token, unless the text brought one.
static void append_end(controller_row_t *item, const tr_tokenizer_t *tokenizer)
{
    int32_t eos = tr_tokenizer_eos(tokenizer);
    if (eos >= 0 && (item->length == 0 || item->ids[item->length - 1] != eos)) {
        item->ids = tr_realloc(item->ids, (item->length + 1) * sizeof *item->ids);
        item->ids[item->length++] = eos;
    }
}

static bool begins_with(const int32_t *ids, size_t length, const int32_t *start, size_t count)
{
    return count <= length && memcmp(ids, start, count * sizeof *ids) == 0;
}

// Conversations

/// Which template writes them: the recipe's, else the model's own.
static tr_status find_template(loading_t *loading, tr_error_t *err)
{
    const char *model = loading->recipe->model;
    tr_chat_t *chat = &loading->chat;
    if (chat->format != TR_CHAT_NONE) {
        return TR_OK;
    }
    chat->tokenizer = loading->tokenizer;
    chat->format = (tr_chat_format_t)loading->recipe->data.chat_template;
    if (chat->format == TR_CHAT_NONE) {
        TR_TRY(tr_chat_detect(&chat->format, model, err));
    }
    return chat->format != TR_CHAT_NONE
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED,
                         "'%s' has no chat template: data.chat_template names one, such as plain",
                         model);
}

/// Whether SFT learns what assistants say, and nothing else.
static bool assistants_alone(const loading_t *loading)
{
    return loading->recipe->algorithm == TR_ALGORITHM_SFT &&
           loading->recipe->sft.assistant_only_loss;
}

/// A whole conversation into an item, with its mask where that is wanted.
static tr_status encode_messages(controller_row_t *item, loading_t *loading, const json_t *messages,
                                 tr_error_t *err)
{
    bool masked = assistants_alone(loading);
    TR_TRY(find_template(loading, err));
    return tr_chat_encode(&item->ids, &item->length, masked ? &item->mask : NULL, &loading->chat,
                          messages, false, err);
}

static tr_status encode_opening(int32_t **ids, size_t *count, loading_t *loading,
                                const json_t *messages, tr_error_t *err)
{
    TR_TRY(find_template(loading, err));
    return tr_chat_encode(ids, count, NULL, &loading->chat, messages, true, err);
}

/// Both lists as one; a new reference.
static json_t *join_messages(const json_t *prompt, const json_t *completion)
{
    json_t *all = json_array();
    json_array_extend(all, (json_t *)prompt);
    json_array_extend(all, (json_t *)completion);
    return all;
}

// Prompts with completions

static tr_status encode_text_pair(int32_t **start, size_t *count, controller_row_t *item,
                                  loading_t *loading, const char *prompt, size_t prompt_length,
                                  const char *completion, tr_error_t *err)
{
    char *text = tr_format("%.*s%s", (int)prompt_length, prompt, completion);
    tr_status status;
    TR_TRY_GOTO(encode(start, count, loading, prompt, prompt_length, err), done);
    TR_TRY_GOTO(encode(&item->ids, &item->length, loading, text, strlen(text), err), done);
    append_end(item, loading->tokenizer);
done:
    free(text);
    return status;
}

/// The prompt's tokens, then what is left of both tokenized together past as many tokens, as TRL has it. Takes start.
static tr_status put_prompt(controller_row_t *item, loading_t *loading, int32_t *start,
                            size_t count, tr_error_t *err)
{
    loading->mismatches += !begins_with(item->ids, item->length, start, count);
    item->prompt = count < item->length ? count : item->length;
    memcpy(item->ids, start, item->prompt * sizeof *start);
    free(start);
    return item->prompt > 0 ? TR_OK
                            : tr_fail(err, TR_ERR_ARGUMENT, "%s: the prompt has no token",
                                      loading->rows->prompt_column);
}

static tr_status encode_joint(controller_row_t *item, loading_t *loading, const char *prompt,
                              size_t prompt_length, const char *completion, tr_error_t *err)
{
    int32_t *start = NULL;
    size_t count = 0;
    tr_status status =
        encode_text_pair(&start, &count, item, loading, prompt, prompt_length, completion, err);
    if (status != TR_OK) {
        free(start);
        return status;
    }
    return put_prompt(item, loading, start, count, err);
}

static tr_status encode_joint_messages(controller_row_t *item, loading_t *loading,
                                       const json_t *prompt, const json_t *completion,
                                       tr_error_t *err)
{
    int32_t *start = NULL;
    size_t count = 0;
    TR_TRY(encode_opening(&start, &count, loading, prompt, err));
    json_t *all = join_messages(prompt, completion);
    tr_status status = encode_messages(item, loading, all, err);
    json_decref(all);
    if (status != TR_OK) {
        free(start);
        return status;
    }
    return put_prompt(item, loading, start, count, err);
}

/// Batches cut items to the limit; something must be left to learn.
static tr_status expect_room(const controller_row_t *item, const loading_t *loading,
                             tr_error_t *err)
{
    size_t limit = loading->rows->limit;
    size_t shortest =
        loading->rows->keep_end ? 1 : item->prompt; // that must fit before what is learnt
    if (item->length <= item->prompt || shortest >= limit) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "nothing is left to learn within %zu tokens (%s): shorten the prompt or take "
            "the row out",
            limit, loading->limit_key);
    }
    return TR_OK;
}

static const char *text_of(const loading_t *loading, size_t row, const char *column)
{
    return tr_dataset_string(loading->rows->dataset, row, column);
}

static const json_t *value_of(const loading_t *loading, size_t row, const char *column)
{
    return tr_dataset_value(loading->rows->dataset, row, column);
}

/// Columns of one row are of one kind: texts, or conversations.
static tr_status expect_one_kind(bool *messages, const loading_t *loading, size_t row,
                                 const char *a, const char *b, tr_error_t *err)
{
    *messages = tr_chat_is_conversation(value_of(loading, row, b));
    if (value_of(loading, row, a) != NULL &&
        *messages != tr_chat_is_conversation(value_of(loading, row, a))) {
        return tr_fail(err, TR_ERR_FORMAT, "%s is a %s and %s a %s: make them one kind", a,
                       *messages ? "text" : "list of messages", b,
                       *messages ? "list of messages" : "text");
    }
    return TR_OK;
}

// One row into its items: [group], which start empty.

typedef tr_status (*read_fn)(controller_row_t *items, loading_t *loading, size_t row,
                             tr_error_t *err);

static tr_status read_prompt(controller_row_t *item, loading_t *loading, size_t row,
                             tr_error_t *err)
{
    const controller_rows_t *rows = loading->rows;
    const json_t *value = value_of(loading, row, rows->prompt_column);
    if (tr_chat_is_conversation(value)) {
        tr_chat_text_t text = {0};
        TR_TRY(encode_opening(&item->ids, &item->length, loading, value, err));
        TR_TRY(tr_chat_render(&text, &loading->chat, value, true, err));
        item->text = tr_format("%.*s", (int)text.text.length, text.text.data);
        tr_chat_text_release(&text);
    } else {
        const char *text = json_string_value(value);
        TR_TRY(encode(&item->ids, &item->length, loading, text, strlen(text), err));
    }
    item->prompt = item->length;
    if (item->length == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "%s: the prompt has no token", rows->prompt_column);
    }
    if (item->length > rows->limit) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "%s: the prompt has %zu tokens; at most %zu fit (data.max_prompt_length, or "
                       "the model's positions): shorten it or take the row out",
                       rows->prompt_column, item->length, rows->limit);
    }
    return TR_OK;
}

/// Where an assistant's words are to be learnt, some must be there.
static tr_status expect_assistant(const controller_row_t *item, const loading_t *loading,
                                  tr_error_t *err)
{
    if (!assistants_alone(loading)) {
        return TR_OK;
    }
    if (item->mask == NULL) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "sft.assistant_only_loss needs messages, found a text");
    }
    for (size_t t = item->prompt; t < item->length && t < loading->rows->limit; t++) {
        if (item->mask[t]) {
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_ARGUMENT,
                   "no assistant speaks within %zu tokens (%s), and sft.assistant_only_loss learns "
                   "nothing else",
                   loading->rows->limit, loading->limit_key);
}

/// All but the first token, which nothing precedes.
static tr_status read_text(controller_row_t *item, loading_t *loading, size_t row, tr_error_t *err)
{
    const char *text = text_of(loading, row, loading->recipe->data.text_column);
    if (text == NULL) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s: expected a text, found a list (of messages? they "
                       "stand in the column `messages`)",
                       loading->recipe->data.text_column);
    }
    TR_TRY(encode(&item->ids, &item->length, loading, text, strlen(text), err));
    append_end(item, loading->tokenizer);
    item->prompt = 1;
    TR_TRY(expect_room(item, loading, err));
    return expect_assistant(item, loading, err);
}

/// A conversation, all but its first token.
static tr_status read_messages(controller_row_t *item, loading_t *loading, size_t row,
                               tr_error_t *err)
{
    const json_t *messages = value_of(loading, row, "messages");
    if (!tr_chat_is_conversation(messages)) {
        return tr_fail(err, TR_ERR_FORMAT, "messages: expected a list of messages");
    }
    TR_TRY(encode_messages(item, loading, messages, err));
    item->prompt = 1;
    TR_TRY(expect_room(item, loading, err));
    return expect_assistant(item, loading, err);
}

static tr_status read_completion(controller_row_t *item, loading_t *loading, size_t row,
                                 tr_error_t *err)
{
    const char *column = loading->rows->prompt_column, *prompt = text_of(loading, row, column);
    bool messages;
    TR_TRY(expect_one_kind(&messages, loading, row, column, "completion", err));
    TR_TRY(messages ? encode_joint_messages(item, loading, value_of(loading, row, column),
                                            value_of(loading, row, "completion"), err)
                    : encode_joint(item, loading, prompt, strlen(prompt),
                                   text_of(loading, row, "completion"), err));
    if (loading->recipe->algorithm == TR_ALGORITHM_SFT &&
        !loading->recipe->sft.completion_only_loss) {
        item->prompt = 1;
    }
    TR_TRY(expect_room(item, loading, err));
    return expect_assistant(item, loading, err);
}

/// Bytes of what both texts begin with, as TRL's extract_prompt has it: without a space at its end, and, where one text begins
/// with the whole other, without the shorter one's last character.
static size_t common_start(const char *a, const char *b)
{
    size_t n = 0, previous = 0;
    while (a[n] != '\0' && a[n] == b[n]) {
        if (((unsigned char)a[n] & 0xC0) != 0x80) {
            previous = n; // the last character begins here
        }
        n++;
    }
    if (a[n] == '\0' || b[n] == '\0') {
        return previous;
    }
    while (n > 0 && ((unsigned char)a[n] & 0xC0) == 0x80) {
        n--; // the texts part within a character
    }
    return n > 0 && a[n - 1] == ' ' ? n - 1 : n;
}

/// Messages that both sides begin with, as TRL's extract_prompt has it: where one begins with the whole other, all but its last.
static size_t common_messages(const json_t *a, const json_t *b)
{
    size_t n = 0, shorter = json_array_size(a) < json_array_size(b) ? json_array_size(a)
                                                                    : json_array_size(b);
    while (n < shorter && json_equal(json_array_get(a, n), json_array_get(b, n))) {
        n++;
    }
    return n == shorter && n > 0 ? n - 1 : n;
}

/// Messages first..end - 1; a new reference.
static json_t *slice(const json_t *messages, size_t first, size_t end)
{
    json_t *part = json_array();
    for (size_t i = first; i < end; i++) {
        json_array_append(part, json_array_get(messages, i));
    }
    return part;
}

/// One side of a pair; start: bytes or messages of the prompt, where it has no column of its own.
static tr_status read_side(controller_row_t *item, loading_t *loading, size_t row,
                           const char *column, bool messages, size_t start, tr_error_t *err)
{
    const json_t *prompt = value_of(loading, row, loading->rows->prompt_column);
    const json_t *side = value_of(loading, row, column);
    if (!messages) {
        const char *text = json_string_value(side);
        return prompt != NULL ? encode_joint(item, loading, json_string_value(prompt),
                                             json_string_length(prompt), text, err)
                              : encode_joint(item, loading, text, start, text + start, err);
    }
    if (prompt != NULL) {
        return encode_joint_messages(item, loading, prompt, side, err);
    }
    json_t *opening = slice(side, 0, start), *rest = slice(side, start, json_array_size(side));
    tr_status status = encode_joint_messages(item, loading, opening, rest, err);
    json_decref(rest);
    json_decref(opening);
    return status;
}

static tr_status read_pair(controller_row_t *items, loading_t *loading, size_t row, tr_error_t *err)
{
    static const char *const columns[2] = {"chosen", "rejected"};
    const json_t *sides[2] = {value_of(loading, row, columns[0]),
                              value_of(loading, row, columns[1])};
    bool messages;
    TR_TRY(expect_one_kind(&messages, loading, row, columns[0], columns[1], err));
    TR_TRY(expect_one_kind(&messages, loading, row, loading->rows->prompt_column, columns[0], err));
    size_t start = messages
                       ? common_messages(sides[0], sides[1])
                       : common_start(json_string_value(sides[0]), json_string_value(sides[1]));
    for (int side = 0; side < 2; side++) {
        TR_TRY(read_side(&items[side], loading, row, columns[side], messages, start, err));
        if (expect_room(&items[side], loading, err) != TR_OK) {
            return tr_error_prefix(err, "%s", columns[side]);
        }
        items[side].desirable = side == 0;
    }
    return TR_OK;
}

static tr_status read_margin(controller_row_t *item, const loading_t *loading, size_t row,
                             tr_error_t *err)
{
    const json_t *margin = tr_dataset_value(loading->rows->dataset, row, "margin");
    if (!json_is_number(margin) || !isfinite((float)json_number_value(margin))) {
        return tr_fail(err, TR_ERR_FORMAT, "margin: expected a number");
    }
    item->margin = (float)json_number_value(margin);
    return TR_OK;
}

/// A side after the prompt, if there is one.
static tr_status read_whole(controller_row_t *item, loading_t *loading, size_t row,
                            const char *column, tr_error_t *err)
{
    const json_t *prompt = value_of(loading, row, loading->rows->prompt_column);
    const json_t *side = value_of(loading, row, column);
    bool messages;
    TR_TRY(expect_one_kind(&messages, loading, row, loading->rows->prompt_column, column, err));
    if (messages) {
        json_t *all = join_messages(prompt, side);
        tr_status status = encode_messages(item, loading, all, err);
        json_decref(all);
        return status;
    }
    char *text =
        tr_format("%s%s", prompt != NULL ? json_string_value(prompt) : "", json_string_value(side));
    tr_status status = encode(&item->ids, &item->length, loading, text, strlen(text), err);
    free(text);
    if (status == TR_OK) {
        append_end(item, loading->tokenizer);
    }
    return status;
}

/// Both sides whole: their last tokens are scored.
static tr_status read_sides(controller_row_t *items, loading_t *loading, size_t row,
                            tr_error_t *err)
{
    static const char *const columns[2] = {"chosen", "rejected"};
    const controller_rows_t *rows = loading->rows;
    for (int side = 0; side < 2; side++) {
        controller_row_t *item = &items[side];
        TR_TRY(read_whole(item, loading, row, columns[side], err));
        item->prompt = item->length > 0 ? 1 : 0;
        if (item->length > rows->limit || item->length == 0) {
            return tr_fail(
                err, TR_ERR_ARGUMENT,
                "%s: %zu tokens, where 1 to %zu fit (%s): shorten it or take the row out",
                columns[side], item->length, rows->limit, loading->limit_key);
        }
    }
    return rows->margins ? read_margin(&items[0], loading, row, err) : TR_OK;
}

/// The texts of `completions`: [*count], borrowed, in a list of the caller's, and their labels: true or false each.
static tr_status take_steps(const char ***texts, size_t *count, const loading_t *loading,
                            size_t row, tr_error_t *err)
{
    const json_t *steps = value_of(loading, row, "completions");
    const json_t *labels = value_of(loading, row, "labels");
    *count = json_array_size(steps);
    *texts = NULL;
    if (*count == 0 || json_array_size(labels) != *count) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "completions, labels: expected lists of one length, found %zu and %zu items",
                       *count, json_array_size(labels));
    }
    *texts = tr_calloc(*count, sizeof(char *));
    for (size_t i = 0; i < *count; i++) {
        (*texts)[i] = json_string_value(json_array_get(steps, i));
        if ((*texts)[i] == NULL || !json_is_boolean(json_array_get(labels, i))) {
            return tr_fail(err, TR_ERR_FORMAT,
                           "completions, labels: item %zu: expected a text, and true or false", i);
        }
    }
    return TR_OK;
}

/// Steps with their labels, each at the token after it.
static tr_status read_steps(controller_row_t *item, loading_t *loading, size_t row, tr_error_t *err)
{
    const char *prompt = text_of(loading, row, loading->rows->prompt_column), **texts;
    const json_t *labels = value_of(loading, row, "labels");
    tr_steps_t steps = {0};
    size_t count;
    tr_status status;
    TR_TRY_GOTO(take_steps(&texts, &count, loading, row, err), done);
    if (prompt == NULL) {
        status = tr_fail(err, TR_ERR_FORMAT, "%s: expected a text", loading->rows->prompt_column);
        goto done;
    }
    TR_TRY_GOTO(tr_steps_encode(&steps, loading->tokenizer, prompt, texts, count,
                                loading->recipe->reward.step_separator, err),
                done);
    item->ids = steps.ids;
    item->length = steps.length;
    item->prompt = steps.prompt;
    item->mask = tr_calloc(steps.length, 1);
    for (size_t i = 0; i < count; i++) {
        bool right = json_is_true(json_array_get(labels, i));
        item->mask[steps.ends[i]] = 1 + (right ? TR_STEP_RIGHT : TR_STEP_WRONG);
    }
    steps.ids = NULL;
    if (steps.ends[0] >= loading->rows->limit) {
        status =
            tr_fail(err, TR_ERR_ARGUMENT,
                    "no step ends within %zu tokens (%s): shorten the prompt or take the row out",
                    loading->rows->limit, loading->limit_key);
    }
done:
    tr_steps_release(&steps);
    free(texts);
    return status;
}

static tr_status read_labelled(controller_row_t *item, loading_t *loading, size_t row,
                               tr_error_t *err)
{
    const json_t *label = tr_dataset_value(loading->rows->dataset, row, "label");
    if (!json_is_boolean(label)) {
        return tr_fail(err, TR_ERR_FORMAT, "label: expected true or false");
    }
    item->desirable = json_is_true(label);
    return read_completion(item, loading, row, err);
}

/// Reads every row; the bad ones go as the recipe says.
static tr_status read_all(loading_t *loading, read_fn read, tr_error_t *err)
{
    controller_rows_t *rows = loading->rows;
    size_t group = loading->group;
    make_room(rows, group);
    for (size_t row = 0; row < tr_dataset_size(rows->dataset); row++) {
        controller_row_t *items = rows->items + group * rows->count;
        if (read(items, loading, row, err) == TR_OK) {
            rows->count++;
            rows->starts[rows->count] = group * rows->count;
            continue;
        }
        for (size_t i = 0; i < group; i++) {
            free(items[i].ids);
            free(items[i].mask);
            free(items[i].text);
            items[i] = (controller_row_t){0};
        }
        TR_TRY(tr_dataset_refuse(rows->dataset, row, err));
    }
    TR_TRY(tr_dataset_compact(rows->dataset, err));
    if (loading->mismatches > 0) {
        tr_log(TR_LOG_WARN, "data",
               "rows=%zu \"the tokens of these prompts change when a completion follows: begin "
               "completions where a token begins\"",
               loading->mismatches);
    }
    return TR_OK;
}

static size_t smaller(size_t a, uint64_t b)
{
    return b < a ? (size_t)b : a;
}

tr_status controller_rows_load_prompts(controller_rows_t *rows, const tr_recipe_t *recipe,
                                       const tr_tokenizer_t *tokenizer, size_t limit,
                                       tr_error_t *err)
{
    loading_t loading = {.rows = rows, .recipe = recipe, .tokenizer = tokenizer, .group = 1};
    uint64_t most = recipe->data.max_prompt_length;
    TR_TRY(open_rows(&loading, &recipe->data.prompts, err));
    TR_TRY(tr_dataset_require(rows->dataset, recipe->data.prompt_column, err));
    rows->limit = most > 0 ? smaller(limit, most) : limit;
    return read_all(&loading, read_prompt, err);
}

/// The columns must be texts in every row.
static tr_status require(loading_t *loading, const char *a, const char *b, tr_error_t *err)
{
    TR_TRY(tr_dataset_require(loading->rows->dataset, a, err));
    return b == NULL ? TR_OK : tr_dataset_require(loading->rows->dataset, b, err);
}

/// Puts items, which take over the old ones' ids, in their place; rows: how many they make.
static void give_items(controller_rows_t *rows, controller_row_t *items, size_t count)
{
    free(rows->items);
    rows->items = items;
    rows->count = count;
    rows->starts = tr_realloc(rows->starts, (count + 1) * sizeof *rows->starts);
}

/// Texts into packs of at most `limit` tokens.
static void pack(controller_rows_t *rows)
{
    size_t count = rows->count;
    size_t *lengths = tr_calloc(count, sizeof *lengths);
    size_t *starts = tr_calloc(count + 1, sizeof *starts);
    uint32_t *order = tr_calloc(count, sizeof *order);
    controller_row_t *items = tr_calloc(count, sizeof *items);
    for (size_t i = 0; i < count; i++) {
        lengths[i] = rows->items[i].length < rows->limit ? rows->items[i].length : rows->limit;
    }
    size_t packs = tr_pack(order, starts, lengths, count, rows->limit);
    for (size_t i = 0; i < count; i++) {
        items[i] = rows->items[order[i]];
    }
    give_items(rows, items, packs);
    memcpy(rows->starts, starts, (packs + 1) * sizeof *starts);
    free(order);
    free(starts);
    free(lengths);
}

static tr_status load_texts(loading_t *loading, tr_error_t *err)
{
    controller_rows_t *rows = loading->rows;
    const tr_recipe_data_t *data = &loading->recipe->data;
    bool pairs = tr_dataset_has(rows->dataset, "completion");
    bool messages = !pairs && tr_dataset_has(rows->dataset, "messages");
    rows->masked = assistants_alone(loading);
    TR_TRY(require(loading,
                   pairs      ? data->prompt_column
                   : messages ? "messages"
                              : data->text_column,
                   pairs ? "completion" : NULL, err));
    TR_TRY(read_all(loading, pairs ? read_completion : messages ? read_messages : read_text, err));
    if (loading->recipe->sft.packing) {
        pack(loading->rows);
    }
    return TR_OK;
}

static tr_status require_pairs(loading_t *loading, tr_error_t *err)
{
    const char *prompt = loading->recipe->data.prompt_column;
    if (tr_dataset_has(loading->rows->dataset, prompt)) {
        TR_TRY(require(loading, prompt, NULL, err));
    }
    return require(loading, "chosen", "rejected", err);
}

/// Pairs into rows of their own, in blocks of a thousand, first the chosen ones: TRL's order, which keeps the two sides of a pair
/// apart, so that no completion is mismatched with its own prompt.
static void unpair(controller_rows_t *rows)
{
    enum { BLOCK = 1000 };
    size_t pairs = rows->count;
    controller_row_t *items = tr_calloc(2 * pairs + 1, sizeof *items);
    for (size_t first = 0; first < pairs; first += BLOCK) {
        size_t block = pairs - first < BLOCK ? pairs - first : BLOCK;
        for (size_t i = 0; i < block; i++) {
            items[2 * first + i] = rows->items[2 * (first + i)];
            items[2 * first + block + i] = rows->items[2 * (first + i) + 1];
        }
    }
    give_items(rows, items, 2 * pairs);
    for (size_t i = 0; i <= 2 * pairs; i++) {
        rows->starts[i] = i;
    }
}

static tr_status load_labelled(loading_t *loading, tr_error_t *err)
{
    controller_rows_t *rows = loading->rows;
    if (tr_dataset_has(rows->dataset, "chosen")) {
        loading->group = 2;
        TR_TRY(require_pairs(loading, err));
        TR_TRY(read_all(loading, read_pair, err));
        unpair(rows);
        return TR_OK;
    }
    TR_TRY(require(loading, loading->recipe->data.prompt_column, "completion", err));
    return read_all(loading, read_labelled, err);
}

/// What is said of pairs alone.
static tr_status check_step_options(const tr_recipe_reward_t *reward, tr_error_t *err)
{
    if (!reward->normalize && !reward->center_rewards_coefficient.given) {
        return TR_OK;
    }
    return tr_fail(
        err, TR_ERR_ARGUMENT,
        "%s is of pairs, and the rows of data.train are steps (completions): leave it out",
        reward->normalize ? "reward.normalize" : "reward.center_rewards_coefficient");
}

static tr_status load_sides(loading_t *loading, tr_error_t *err)
{
    controller_rows_t *rows = loading->rows;
    if (tr_dataset_has(rows->dataset, "completions")) {
        TR_TRY(check_step_options(&loading->recipe->reward, err));
        loading->group = 1;
        rows->steps = rows->masked = true;
        TR_TRY(require(loading, loading->recipe->data.prompt_column, "completions", err));
        TR_TRY(require(loading, "labels", NULL, err));
        return read_all(loading, read_steps, err);
    }
    TR_TRY(require_pairs(loading, err));
    rows->margins = tr_dataset_has(rows->dataset, "margin");
    return read_all(loading, read_sides, err);
}

static tr_status load_pairs(loading_t *loading, tr_error_t *err)
{
    TR_TRY(require_pairs(loading, err));
    return read_all(loading, read_pair, err);
}

/// What the recipe's algorithm says of its rows: their longest, and how many items each has.
static uint64_t limit_of(loading_t *loading)
{
    const tr_recipe_t *recipe = loading->recipe;
    loading->group =
        recipe->algorithm == TR_ALGORITHM_REWARD || recipe->algorithm == TR_ALGORITHM_DPO ? 2 : 1;
    switch (recipe->algorithm) {
    case TR_ALGORITHM_REWARD:
        loading->limit_key = "reward.max_length";
        return recipe->reward.max_length;
    case TR_ALGORITHM_DPO: loading->limit_key = "dpo.max_length"; return recipe->dpo.max_length;
    case TR_ALGORITHM_KTO: loading->limit_key = "kto.max_length"; return recipe->kto.max_length;
    case TR_ALGORITHM_SFT:
    case TR_ALGORITHM_PPO:
    case TR_ALGORITHM_ONLINE_DPO:
    case TR_ALGORITHM_REJECTION_SAMPLING:
    case TR_ALGORITHM_SAMPLE: break;
    }
    loading->limit_key = "sft.max_length";
    return recipe->sft.max_length;
}

tr_status controller_rows_load(controller_rows_t *rows, const tr_recipe_strings_t *files,
                               const tr_recipe_t *recipe, const tr_tokenizer_t *tokenizer,
                               size_t limit, tr_error_t *err)
{
    loading_t loading = {.rows = rows, .recipe = recipe, .tokenizer = tokenizer};
    uint64_t most = limit_of(&loading);
    TR_TRY(open_rows(&loading, files, err));
    rows->limit = smaller(limit, most);
    rows->keep_end = recipe->algorithm == TR_ALGORITHM_DPO &&
                     recipe->dpo.truncation_mode == TR_TRUNCATION_KEEP_END;
    switch (recipe->algorithm) {
    case TR_ALGORITHM_REWARD: return load_sides(&loading, err);
    case TR_ALGORITHM_DPO: return load_pairs(&loading, err);
    case TR_ALGORITHM_KTO: return load_labelled(&loading, err);
    case TR_ALGORITHM_SFT:
    case TR_ALGORITHM_PPO:
    case TR_ALGORITHM_ONLINE_DPO:
    case TR_ALGORITHM_REJECTION_SAMPLING:
    case TR_ALGORITHM_SAMPLE: break;
    }
    return load_texts(&loading, err);
}
