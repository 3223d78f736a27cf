// The table of forms, and the functions that read them.
//
// Names and rules are those of the programs: LLaMA-Factory (data/converter.py), ms-swift
// (preprocessor/core.py) and OpenRLHF (datasets/). A function adds our columns, as conversations,
// and leaves what a form may lack to kinds.c, which demands what the algorithm needs. Next:
// columns.c, which calls them for each row.
#include "common/data/forms.h"

#include <stdlib.h>
#include <string.h>

#include "common/data/columns.h"
#include "common/data/kinds.h"
#include "common/data/turns.h"

// Values

static bool is_nothing(const json_t *value)
{
    return value == NULL || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0);
}

/// A column that may hold a text: NULL where it holds none.
static tr_status read_text(const json_t **text, const json_t *row, const char *column,
                           tr_error_t *err)
{
    const json_t *value = json_object_get(row, column);
    *text = is_nothing(value) ? NULL : value;
    return *text == NULL || json_is_string(*text)
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "%s: expected a text", column);
}

static void append(json_t *messages, const char *role, const json_t *content)
{
    json_array_append_new(messages,
                          json_pack("{s:s, s:O}", "role", role, "content", (json_t *)content));
}

/// A text as what an assistant says; a list of messages as it is. A new reference.
static json_t *as_answer(const json_t *value)
{
    if (!json_is_string(value)) {
        return json_incref((json_t *)value);
    }
    json_t *messages = json_array();
    append(messages, "assistant", value);
    return messages;
}

/// Puts an answer into our column, where the row has one.
static void put_answer(json_t *row, const char *ours, const char *theirs)
{
    const json_t *value = json_object_get(row, theirs);
    if (value != NULL) {
        json_object_set_new(row, ours, as_answer(value));
    }
}

// Questions with answers: alpaca, query and response

/// The turns before the question: pairs of texts.
static tr_status append_history(json_t *messages, const json_t *row, tr_error_t *err)
{
    const json_t *history = json_object_get(row, "history"), *turn;
    size_t i;
    if (is_nothing(history)) {
        return TR_OK;
    }
    if (!json_is_array(history)) {
        return tr_fail(err, TR_ERR_FORMAT, "history: expected a list of pairs of texts");
    }
    json_array_foreach(history, i, turn)
    {
        const json_t *question = json_array_get(turn, 0), *answer = json_array_get(turn, 1);
        if (json_array_size(turn) != 2 || !json_is_string(question) || !json_is_string(answer)) {
            return tr_fail(err, TR_ERR_FORMAT, "history[%zu]: expected a list of two texts", i);
        }
        append(messages, "user", question);
        append(messages, "assistant", answer);
    }
    return TR_OK;
}

/// The prompt of a system text, the turns before, and the texts of the question: [2], each a line
/// of it, or NULL.
static tr_status put_prompt(json_t *row, const json_t *const question[2], tr_error_t *err)
{
    const json_t *system;
    json_t *messages = json_array();
    tr_status status;
    TR_TRY_GOTO(read_text(&system, row, "system", err), done);
    if (system != NULL) {
        append(messages, "system", system);
    }
    TR_TRY_GOTO(append_history(messages, row, err), done);
    bool both = question[0] != NULL && question[1] != NULL;
    json_t *text =
        json_sprintf("%s%s%s", question[0] ? json_string_value(question[0]) : "", both ? "\n" : "",
                     question[1] ? json_string_value(question[1]) : "");
    append(messages, "user", text);
    json_decref(text);
    json_object_set(row, "prompt", messages);
done:
    json_decref(messages);
    return status;
}

/// LLaMA-Factory's tag is our label; another type is kept, and kinds.c names it.
static void put_label(json_t *row)
{
    json_t *tag = json_object_get(row, "kto_tag");
    if (tag != NULL && !json_is_null(tag)) {
        json_object_set(row, "label", tag);
    }
}

static tr_status read_alpaca(json_t *row, tr_error_t *err)
{
    const json_t *question[2];
    TR_TRY(read_text(&question[0], row, "instruction", err));
    TR_TRY(read_text(&question[1], row, "input", err));
    TR_TRY(put_prompt(row, question, err));
    put_answer(row, "completion", "output");
    put_answer(row, "chosen", "chosen");
    put_answer(row, "rejected", "rejected");
    put_label(row);
    return TR_OK;
}

static tr_status read_query(json_t *row, tr_error_t *err)
{
    const json_t *question[2] = {NULL, NULL};
    TR_TRY(read_text(&question[0], row, "query", err));
    TR_TRY(put_prompt(row, question, err));
    put_answer(row, "completion", "response");
    if (json_object_get(row, "rejected_response") != NULL) {
        put_answer(row, "chosen", "response");
        put_answer(row, "rejected", "rejected_response");
    }
    return TR_OK;
}

/// OpenRLHF applies a chat template only where it is told to: texts stay texts. A list without an
/// answer beside it is a whole conversation.
static tr_status read_input(json_t *row, tr_error_t *err)
{
    (void)err;
    json_t *input = json_object_get(row, "input"), *output = json_object_get(row, "output");
    json_object_set(row, "prompt", input);
    if (output != NULL) {
        json_object_set(row, "completion", output);
    } else if (json_is_array(input)) {
        json_object_set(row, "messages", input);
    }
    return TR_OK;
}

// Conversations

/// Appends both messages of an item such as {human, assistant}.
static tr_status append_exchange(json_t *messages, const json_t *item, size_t i, tr_error_t *err)
{
    static const char *const SIDES[2][3] = {{"user", "human", "tool"}, {"assistant", "gpt", "bot"}};
    for (size_t side = 0; side < 2; side++) {
        const json_t *text = NULL;
        const char *role = NULL;
        for (size_t k = 0; k < 3 && text == NULL; k++) {
            role = side == 0 && k < 2 ? "user" : side == 0 ? "tool" : "assistant";
            text = json_object_get(item, SIDES[side][k]);
        }
        if (!json_is_string(text)) {
            return tr_fail(err, TR_ERR_FORMAT, "conversation[%zu]: %s: expected a text", i,
                           SIDES[side][side == 0]);
        }
        append(messages, role, text);
    }
    return TR_OK;
}

/// Appends the turns of a column, or the one that it is; ms-swift's exchanges too.
static tr_status append_turns(json_t *messages, const json_t *row, const char *column,
                              tr_error_t *err)
{
    const json_t *turns = json_object_get(row, column), *first = json_array_get(turns, 0), *item;
    size_t i;
    if (strcmp(column, "conversation") != 0 || !json_is_object(first) ||
        json_object_get(first, "from") != NULL || json_object_get(first, "role") != NULL) {
        return tr_turns_append(messages, turns, tr_column_shown(row, column), NULL, err);
    }
    json_array_foreach(turns, i, item)
    {
        TR_TRY(append_exchange(messages, item, i, err));
    }
    return TR_OK;
}

static bool says(const json_t *message, const char *role)
{
    const char *found = json_string_value(json_object_get(message, "role"));
    return found != NULL && strcmp(found, role) == 0;
}

/// Messages first..end-1 of a conversation. A new reference.
static json_t *part(const json_t *messages, size_t first, size_t end)
{
    json_t *some = json_array();
    for (size_t i = first; i < end; i++) {
        json_array_append(some, json_array_get(messages, i));
    }
    return some;
}

/// The prompt is what stands before the last answer, and all where there is none.
static tr_status put_split(json_t *row, const json_t *messages, const char *answer, tr_error_t *err)
{
    if (!json_is_array(messages)) {
        return tr_fail(err, TR_ERR_FORMAT, "messages: expected a list of messages");
    }
    size_t count = json_array_size(messages);
    bool ends = count > 0 && says(json_array_get(messages, count - 1), "assistant");
    size_t first = ends ? count - 1 : count;
    json_object_set_new(row, "prompt", part(messages, 0, first));
    if (ends && answer != NULL) {
        json_object_set_new(row, answer, part(messages, first, count));
    }
    return TR_OK;
}

/// A side of a pair behind a conversation: a message, or a text.
static tr_status put_side(json_t *row, const char *side, tr_error_t *err)
{
    json_t *messages = json_array();
    tr_status status = TR_OK;
    if (json_is_string(json_object_get(row, side))) {
        put_answer(row, side, side);
    } else {
        status = append_turns(messages, row, side, err);
        if (status == TR_OK) {
            json_object_set(row, side, messages);
        }
    }
    json_decref(messages);
    return status;
}

/// The conversation becomes `messages`, and what learns from answers gets its last one. Before the
/// sides of a pair it is their prompt alone.
static tr_status put_conversation(json_t *row, const json_t *messages, tr_error_t *err)
{
    if (!is_nothing(json_object_get(row, "chosen")) &&
        !is_nothing(json_object_get(row, "rejected"))) {
        json_object_set(row, "prompt", (json_t *)messages);
        TR_TRY(put_side(row, "chosen", err));
        return put_side(row, "rejected", err);
    }
    json_object_set(row, "messages", (json_t *)messages);
    put_label(row);
    return put_split(row, messages, json_object_get(row, "kto_tag") != NULL ? "completion" : NULL,
                     err);
}

static tr_status read_turns(json_t *row, const char *column, tr_error_t *err)
{
    const json_t *system;
    json_t *messages = json_array();
    tr_status status;
    TR_TRY_GOTO(append_turns(messages, row, column, err), done);
    TR_TRY_GOTO(read_text(&system, row, "system", err), done);
    if (system != NULL && !says(json_array_get(messages, 0), "system")) {
        json_array_insert_new(messages, 0,
                              json_pack("{s:s, s:O}", "role", "system", "content", system));
    }
    status = put_conversation(row, messages, err);
done:
    json_decref(messages);
    return status;
}

static tr_status read_conversations(json_t *row, tr_error_t *err)
{
    return read_turns(row, "conversations", err);
}

static tr_status read_conversation(json_t *row, tr_error_t *err)
{
    return read_turns(row, "conversation", err);
}

// ms-swift's columns beside `messages`

static tr_status read_rejected_response(json_t *row, tr_error_t *err)
{
    TR_TRY(put_split(row, json_object_get(row, "messages"), "chosen", err));
    put_answer(row, "rejected", "rejected_response");
    return TR_OK;
}

/// What both begin with is the prompt (extract_prompt.h).
static tr_status read_rejected_messages(json_t *row, tr_error_t *err)
{
    (void)err;
    json_object_set(row, "chosen", json_object_get(row, "messages"));
    json_object_set(row, "rejected", json_object_get(row, "rejected_messages"));
    return TR_OK;
}

static tr_status read_labelled_messages(json_t *row, tr_error_t *err)
{
    return put_split(row, json_object_get(row, "messages"), "completion", err);
}

static tr_status read_prompt_messages(json_t *row, tr_error_t *err)
{
    return put_split(row, json_object_get(row, "messages"), NULL, err);
}

// The table

#define PAIRED (TR_ROWS_OF(PAIRS) | TR_ROWS_OF(WHOLE_PAIRS) | TR_ROWS_OF(UNPAIRED))
#define ANSWERED (PAIRED | TR_ROWS_OF(LABELLED) | TR_ROWS_OF(PROMPT_COMPLETION))
#define ANY (ANSWERED | TR_ROWS_OF(PROMPTS) | TR_ROWS_OF(MESSAGES))

static const tr_form_t FORMS[] = {
    {.name = TR_FORM_ALPACA,
     .kinds = ANY,
     .has = {"instruction"},
     .lacks = {"completion", "messages"},
     .reads = {"input", "output", "system", "history"},
     .shown = {{"prompt", "instruction"}, {"completion", "output"}, {"label", "kto_tag"}},
     .read = read_alpaca},
    {.name = "query and response",
     .kinds = ANY,
     .has = {"query"},
     .lacks = {"completion", "messages"},
     .reads = {"response", "system", "history", "rejected_response"},
     .shown = {{"prompt", "query"}, {"completion", "response"}, {"rejected", "rejected_response"}},
     .read = read_query},
    {.name = "input and output",
     .kinds = ANY,
     .has = {"input"},
     .lacks = {"completion", "messages", "instruction"},
     .reads = {"output"},
     .shown = {{"prompt", "input"}, {"completion", "output"}, {"messages", "input"}},
     .read = read_input},
    {.name = TR_FORM_SHAREGPT,
     .kinds = ANY,
     .has = {"conversations"},
     .lacks = {"completion", "messages"},
     .reads = {"system"},
     .shown = {{"prompt", "conversations"}, {"messages", "conversations"}, {"label", "kto_tag"}},
     .read = read_conversations},
    {.name = "ms-swift's conversation",
     .kinds = ANY,
     .has = {"conversation"},
     .lacks = {"completion", "messages"},
     .reads = {"system"},
     .shown = {{"prompt", "conversation"}, {"messages", "conversation"}},
     .read = read_conversation},
    {.name = "messages and rejected_response",
     .kinds = PAIRED,
     .has = {"messages", "rejected_response"},
     .lacks = {"chosen", "rejected"},
     .shown = {{"prompt", "messages"}, {"chosen", "messages"}, {"rejected", "rejected_response"}},
     .read = read_rejected_response},
    {.name = "messages and rejected_messages",
     .kinds = PAIRED,
     .has = {"messages", "rejected_messages"},
     .lacks = {"chosen", "rejected"},
     .shown = {{"chosen", "messages"}, {"rejected", "rejected_messages"}},
     .read = read_rejected_messages},
    {.name = "messages and label",
     .kinds = TR_ROWS_OF(LABELLED),
     .has = {"messages", "label"},
     .lacks = {"completion"},
     .shown = {{"prompt", "messages"}, {"completion", "messages"}},
     .read = read_labelled_messages},
    {.name = "messages up to the last answer",
     .kinds = TR_ROWS_OF(PROMPTS),
     .has = {"messages"},
     .shown = {{"prompt", "messages"}},
     .read = read_prompt_messages},
};
enum { FORM_COUNT = sizeof FORMS / sizeof *FORMS };

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static bool fits(const tr_form_t *form, const json_t *row, const tr_rows_options_t *options)
{
    bool found = (form->kinds & options->kinds) != 0;
    // prompts that have a column, and texts that stand there whole, are read as they are
    bool texts = (options->kinds & TR_ROWS_OF(TEXT)) != 0;
    found = found && json_object_get(row, options->prompt_column) == NULL &&
            !(texts && json_object_get(row, options->text_column) != NULL);
    for (size_t i = 0; i < LENGTH(form->has) && form->has[i] != NULL; i++) {
        found = found && json_object_get(row, form->has[i]) != NULL;
    }
    for (size_t i = 0; i < LENGTH(form->lacks) && form->lacks[i] != NULL; i++) {
        found = found && json_object_get(row, form->lacks[i]) == NULL;
    }
    return found;
}

const tr_form_t *tr_form_named(const char *name)
{
    size_t i = 0;
    while (i < FORM_COUNT && strcmp(FORMS[i].name, name) != 0) {
        i++;
    }
    return i < FORM_COUNT ? &FORMS[i] : NULL;
}

tr_status tr_form_find(const tr_form_t **form, const json_t *row, const tr_rows_options_t *options,
                       tr_error_t *err)
{
    *form = NULL;
    for (size_t i = 0; i < FORM_COUNT; i++) {
        const tr_form_t *other = &FORMS[i];
        if (!fits(other, row, options)) {
            continue;
        }
        if (*form != NULL) {
            const char *a = (*form)->has[(*form)->has[1] != NULL];
            const char *b = other->has[other->has[1] != NULL];
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "the columns may be read as %s or as %s: data.columns: {%s: null} takes "
                           "the first, {%s: null} the other",
                           (*form)->name, other->name, b, a);
        }
        *form = other;
    }
    return TR_OK;
}
