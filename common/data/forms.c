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

/// A column that may hold a text: NULL where it holds none. A mistake is added to bad.
static const json_t *read_text(const json_t *row, const char *column, tr_error_t *bad)
{
    tr_error_t one = {0};
    const json_t *value = json_object_get(row, column);
    const json_t *text = is_nothing(value) ? NULL : value;
    if (tr_column_check(row, column, &one) == TR_OK && text != NULL && !json_is_string(text)) {
        tr_fail(&one, TR_ERR_FORMAT, "%s: expected a text", tr_column_shown(row, column));
    }
    tr_error_join(bad, &one);
    return text;
}

/// Gives a row our column: value, taken, or what is wrong with it.
static void put(json_t *row, const char *ours, json_t *value, const tr_error_t *bad)
{
    json_object_set_new(row, ours, value);
    if (bad->status != TR_OK) {
        tr_column_spoil(row, ours, bad);
    }
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
    tr_error_t bad = {0};
    if (value != NULL) {
        tr_column_check(row, theirs, &bad);
        put(row, ours, as_answer(value), &bad);
    }
}

// Questions with answers: alpaca, query and response

/// The turns before the question: pairs of texts.
static void append_history(json_t *messages, const json_t *row, tr_error_t *bad)
{
    const json_t *history = json_object_get(row, "history"), *turn;
    const char *shown = tr_column_shown(row, "history");
    tr_error_t one = {0};
    size_t i;
    tr_column_check(row, "history", &one);
    if (!is_nothing(history) && !json_is_array(history)) {
        tr_fail(&one, TR_ERR_FORMAT, "%s: expected a list of pairs of texts", shown);
    }
    tr_error_join(bad, &one);
    json_array_foreach(history, i, turn)
    {
        const json_t *question = json_array_get(turn, 0), *answer = json_array_get(turn, 1);
        if (json_array_size(turn) != 2 || !json_is_string(question) || !json_is_string(answer)) {
            tr_fail(&one, TR_ERR_FORMAT, "%s[%zu]: expected a list of two texts", shown, i);
            tr_error_join(bad, &one);
        } else {
            append(messages, "user", question);
            append(messages, "assistant", answer);
        }
    }
}

/// The prompt of a system text, the turns before, and the texts of the question: one column or two,
/// each a line of it.
static void put_prompt(json_t *row, const char *first, const char *second)
{
    tr_error_t bad = {0};
    json_t *messages = json_array();
    const json_t *a = read_text(row, first, &bad);
    const json_t *b = second != NULL ? read_text(row, second, &bad) : NULL;
    const json_t *system = read_text(row, "system", &bad);
    if (system != NULL) {
        append(messages, "system", system);
    }
    append_history(messages, row, &bad);
    json_t *text = bad.status == TR_OK
                       ? json_sprintf("%s%s%s", a != NULL ? json_string_value(a) : "",
                                      a != NULL && b != NULL ? "\n" : "",
                                      b != NULL ? json_string_value(b) : "")
                       : json_null();
    append(messages, "user", text);
    json_decref(text);
    put(row, "prompt", messages, &bad);
}

/// LLaMA-Factory's tag is our label; another type is kept, and kinds.c names it.
static void put_label(json_t *row)
{
    json_t *tag = json_object_get(row, "kto_tag");
    if (tag != NULL && !json_is_null(tag)) {
        tr_error_t bad = {0};
        tr_column_check(row, "kto_tag", &bad);
        put(row, "label", json_incref(tag), &bad);
    }
}

static void read_alpaca(json_t *row)
{
    put_prompt(row, "instruction", "input");
    put_answer(row, "completion", "output");
    put_answer(row, "chosen", "chosen");
    put_answer(row, "rejected", "rejected");
    put_label(row);
}

static void read_query(json_t *row)
{
    put_prompt(row, "query", NULL);
    put_answer(row, "completion", "response");
    if (json_object_get(row, "rejected_response") != NULL) {
        put_answer(row, "chosen", "response");
        put_answer(row, "rejected", "rejected_response");
    }
}

/// OpenRLHF applies a chat template only where it is told to: texts stay texts. A list without an
/// answer beside it is a whole conversation.
static void read_input(json_t *row)
{
    static const char *const COLUMNS[2][2] = {{"prompt", "input"}, {"completion", "output"}};
    bool whole =
        json_is_array(json_object_get(row, "input")) && json_object_get(row, "output") == NULL;
    for (size_t i = 0; i < 2; i++) {
        json_t *value = json_object_get(row, COLUMNS[i][1]);
        tr_error_t bad = {0};
        tr_column_check(row, COLUMNS[i][1], &bad);
        if (value != NULL) {
            put(row, COLUMNS[i][0], json_incref(value), &bad);
        }
        if (i == 0 && whole) {
            put(row, "messages", json_incref(value), &bad);
        }
    }
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
static void append_turns(json_t *messages, const json_t *row, const char *column, tr_error_t *bad)
{
    const json_t *turns = json_object_get(row, column), *first = json_array_get(turns, 0), *item;
    const char *shown = tr_column_shown(row, column);
    bool exchanges = strcmp(column, "conversation") == 0 && json_is_object(first) &&
                     json_object_get(first, "from") == NULL &&
                     json_object_get(first, "role") == NULL;
    tr_error_t one = {0};
    size_t i;
    if (tr_column_check(row, column, &one) == TR_OK && !exchanges) {
        tr_turns_append(messages, turns, shown, NULL, &one);
    }
    tr_error_join(bad, &one);
    json_array_foreach(exchanges ? turns : NULL, i, item)
    {
        append_exchange(messages, item, i, &one);
        tr_error_join(bad, &one);
    }
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
static void put_split(json_t *row, const json_t *messages, const char *answer,
                      const tr_error_t *bad)
{
    size_t count = json_array_size(messages);
    bool ends = count > 0 && says(json_array_get(messages, count - 1), "assistant");
    size_t first = ends ? count - 1 : count;
    json_t *prompt = part(messages, 0, first), *rest = part(messages, first, count);
    put(row, "prompt", prompt, bad);
    if ((ends || bad->status != TR_OK) && answer != NULL) {
        put(row, answer, json_incref(rest), bad);
    }
    json_decref(rest);
}

/// A side of a pair behind a conversation: a message, or a text.
static void put_side(json_t *row, const char *side)
{
    if (json_is_string(json_object_get(row, side))) {
        put_answer(row, side, side);
    } else {
        tr_error_t bad = {0};
        json_t *messages = json_array();
        append_turns(messages, row, side, &bad);
        put(row, side, messages, &bad);
    }
}

/// Whether a column holds a value, or one that is spoilt.
static bool has(const json_t *row, const char *column)
{
    tr_error_t bad = {0};
    return !is_nothing(json_object_get(row, column)) || tr_column_check(row, column, &bad) != TR_OK;
}

/// The conversation becomes `messages`, and what learns from answers gets its last one. Before the
/// sides of a pair it is their prompt alone.
static void put_conversation(json_t *row, json_t *messages, const tr_error_t *bad)
{
    if (has(row, "chosen") && has(row, "rejected")) {
        put(row, "prompt", json_incref(messages), bad);
        put_side(row, "chosen");
        put_side(row, "rejected");
        return;
    }
    put(row, "messages", json_incref(messages), bad);
    put_label(row);
    put_split(row, messages, json_object_get(row, "kto_tag") != NULL ? "completion" : NULL, bad);
}

static void read_turns(json_t *row, const char *column)
{
    tr_error_t bad = {0};
    json_t *messages = json_array();
    append_turns(messages, row, column, &bad);
    const json_t *system = read_text(row, "system", &bad);
    if (system != NULL && !says(json_array_get(messages, 0), "system")) {
        json_array_insert_new(messages, 0,
                              json_pack("{s:s, s:O}", "role", "system", "content", system));
    }
    put_conversation(row, messages, &bad);
    json_decref(messages);
}

static void read_conversations(json_t *row)
{
    read_turns(row, "conversations");
}

static void read_conversation(json_t *row)
{
    read_turns(row, "conversation");
}

// ms-swift's columns beside `messages`

static void split_messages(json_t *row, const char *answer)
{
    json_t *messages = json_incref(json_object_get(row, "messages"));
    tr_error_t bad = {0};
    if (tr_column_check(row, "messages", &bad) == TR_OK && !json_is_array(messages)) {
        tr_fail(&bad, TR_ERR_FORMAT, "messages: expected a list of messages");
    }
    put_split(row, messages, answer, &bad);
    json_decref(messages);
}

static void read_rejected_response(json_t *row)
{
    split_messages(row, "chosen");
    put_answer(row, "rejected", "rejected_response");
}

/// What both begin with is the prompt (extract_prompt.h).
static void read_rejected_messages(json_t *row)
{
    put_answer(row, "chosen", "messages");
    put_answer(row, "rejected", "rejected_messages");
}

static void read_labelled_messages(json_t *row)
{
    split_messages(row, "completion");
}

static void read_prompt_messages(json_t *row)
{
    split_messages(row, NULL);
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
     .shown = {{"prompt", "instruction"}, {"completion", "output"}, {"label", "kto_tag"}},
     .read = read_alpaca},
    {.name = "query and response",
     .kinds = ANY,
     .has = {"query"},
     .lacks = {"completion", "messages"},
     .shown = {{"prompt", "query"}, {"completion", "response"}, {"rejected", "rejected_response"}},
     .read = read_query},
    {.name = "input and output",
     .kinds = ANY,
     .has = {"input"},
     .lacks = {"completion", "messages", "instruction"},
     .shown = {{"prompt", "input"}, {"completion", "output"}, {"messages", "input"}},
     .read = read_input},
    {.name = TR_FORM_SHAREGPT,
     .kinds = ANY,
     .has = {"conversations"},
     .lacks = {"completion", "messages"},
     .shown = {{"prompt", "conversations"}, {"messages", "conversations"}, {"label", "kto_tag"}},
     .read = read_conversations},
    {.name = "ms-swift's conversation",
     .kinds = ANY,
     .has = {"conversation"},
     .lacks = {"completion", "messages"},
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
