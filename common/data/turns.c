// Roles and tags, and one turn after the other.
//
// Names and rules are those of LLaMA-Factory (data/converter.py) and ms-swift
// (preprocessor/core.py, template_inputs.py). Next: common/text/chat.h, which writes messages.
#include "common/data/turns.h"

#include <stdlib.h>
#include <string.h>

#include "common/data/columns.h"
#include "common/text/chat.h"
#include "common/text/json.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static const char CALL[] = "function_call"; // no role of messages: an assistant's tool_calls

/// The names that roles go by.
static const struct {
    const char *theirs, *ours;
} ROLES[] = {
    {"human", "user"},         {"user", "user"},
    {"gpt", "assistant"},      {"assistant", "assistant"},
    {"bot", "assistant"},      {"function_call", CALL},
    {"tool_call", CALL},       {"observation", "tool"},
    {"observations", "tool"},  {"function_response", "tool"},
    {"tool_response", "tool"}, {"tool", "tool"},
    {"system", "system"},
};

/// The tags, each with its role; the first two name keys. Of one that stands for two the later
/// counts, as in LLaMA-Factory.
static const struct {
    const char *tag, *ours;
} TAGS[] = {
    {"role_tag", NULL},          {"content_tag", NULL},
    {"user_tag", "user"},        {"assistant_tag", "assistant"},
    {"observation_tag", "tool"}, {"function_tag", CALL},
    {"system_tag", "system"},
};

tr_status tr_tags_check(const json_t *tags, tr_error_t *err)
{
    const char *tag;
    json_t *value;
    json_object_foreach((json_t *)tags, tag, value)
    {
        size_t i = 0;
        while (i < LENGTH(TAGS) && strcmp(TAGS[i].tag, tag) != 0) {
            i++;
        }
        if (i == LENGTH(TAGS) || !(json_is_string(value) || json_is_null(value))) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "tags: expected texts for role_tag, content_tag, user_tag, "
                           "assistant_tag, observation_tag, function_tag, system_tag, found '%s'",
                           tag);
        }
    }
    return TR_OK;
}

/// Names are compared as ms-swift does: tool-call is tool_call.
static bool is_named(const char *name, const char *role)
{
    for (; *name != '\0' && (*name == *role || (*role == '-' && *name == '_')); name++) {
        role++;
    }
    return *name == '\0' && *role == '\0';
}

/// Our role; NULL: none has the name.
static const char *role_of(const char *theirs, const json_t *tags)
{
    const char *ours = NULL;
    for (size_t i = 0; theirs != NULL && tags == NULL && i < LENGTH(ROLES); i++) {
        ours = is_named(ROLES[i].theirs, theirs) ? ROLES[i].ours : ours;
    }
    for (size_t i = 0; theirs != NULL && tags != NULL && i < LENGTH(TAGS); i++) {
        bool its = strcmp(tr_json_string(tags, TAGS[i].tag, ""), theirs) == 0;
        ours = TAGS[i].ours != NULL && its ? TAGS[i].ours : ours;
    }
    return ours;
}

static tr_status refuse_role(const char *column, size_t i, const char *key, const char *found,
                             const json_t *tags, tr_error_t *err)
{
    tr_bytes_t names = {0};
    for (size_t k = 0; tags != NULL && k < LENGTH(TAGS); k++) {
        const char *name = tr_json_string(tags, TAGS[k].tag, NULL);
        if (TAGS[k].ours != NULL && name != NULL) {
            tr_bytes_append(&names, ", ", names.length > 0 ? 2 : 0);
            tr_bytes_append(&names, name, strlen(name));
        }
    }
    tr_fail(err, TR_ERR_FORMAT, "%s[%zu]: %s: expected %s, found '%s'", column, i, key,
            names.data != NULL ? names.data : "human, gpt, function_call, observation or system",
            found != NULL ? found : "nothing");
    tr_bytes_release(&names);
    return TR_ERR_FORMAT;
}

// Function calls

/// What a text of JSON says; anything else says itself. A new reference; NULL: no JSON.
static json_t *parsed(const json_t *value)
{
    return json_is_string(value) ? json_loads(json_string_value(value), 0, NULL)
                                 : json_incref((json_t *)value);
}

/// One of tool_calls; NULL: it is no call. A new reference.
static json_t *as_call(const json_t *call)
{
    const json_t *name = json_object_get(call, "name"), *given = json_object_get(call, "arguments");
    given = given != NULL ? given : json_object_get(call, "parameters");
    json_t *arguments = parsed(given);
    if (!json_is_string(name) || given == NULL) {
        json_decref(arguments);
        return NULL;
    }
    return json_pack("{s:s, s:{s:O, s:o}}", "type", "function", "function", "name", name,
                     "arguments", arguments != NULL ? arguments : json_incref((json_t *)given));
}

/// Function calls: {name, arguments}, or a list of them, or the JSON of one. NULL: they are none.
static json_t *as_calls(const json_t *value)
{
    json_t *content = parsed(value), *calls = json_array(), *one;
    json_t *list = json_is_array(content) ? json_incref(content) : json_pack("[O?]", content);
    size_t i;
    json_array_foreach(list, i, one)
    {
        json_t *call = as_call(one);
        if (call != NULL) {
            json_array_append_new(calls, call);
        }
    }
    bool good = json_array_size(list) > 0 && json_array_size(calls) == json_array_size(list);
    json_decref(content);
    json_decref(list);
    if (!good) {
        json_decref(calls);
        calls = NULL;
    }
    return calls;
}

/// Gives calls, taken, to what the assistant has said last, if it has spoken last.
static void append_calls(json_t *messages, json_t *calls)
{
    size_t count = json_array_size(messages);
    const json_t *last = count > 0 ? json_array_get(messages, count - 1) : NULL;
    bool joins = tr_chat_is_assistant(last);
    json_t *message = joins ? json_copy((json_t *)last)
                            : json_pack("{s:s, s:s}", "role", "assistant", "content", "");
    json_t *all = json_copy(json_object_get(message, "tool_calls"));
    if (all == NULL) {
        all = json_array();
    }
    json_array_extend(all, calls);
    json_decref(calls);
    json_object_set_new(message, "tool_calls", all);
    if (joins) {
        json_array_set_new(messages, count - 1, message);
    } else {
        json_array_append_new(messages, message);
    }
}

// Turns

static void append(json_t *messages, const char *role, json_t *content)
{
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", role, "content", content));
}

/// What a tool says: a text, or the JSON of anything else, as Python writes it. A new reference.
static json_t *as_text(const json_t *value)
{
    if (json_is_string(value)) {
        return json_incref((json_t *)value);
    }
    static const char TEMPLATE[] = "{{ value | tojson }}";
    tr_jinja_t *template = NULL;
    tr_jinja_text_t text = {0};
    tr_error_t err = {0};
    json_t *variables = json_pack("{s:O}", "value", value);
    tr_status status = tr_jinja_new(&template, TEMPLATE, strlen(TEMPLATE), &err);
    status = status == TR_OK ? tr_jinja_render(&text, template, variables, &err) : status;
    json_t *written = status == TR_OK ? json_stringn(text.text.data, text.text.length) : NULL;
    tr_jinja_text_release(&text);
    tr_jinja_destroy(&template);
    json_decref(variables);
    return written;
}

/// A turn of a role and what it says, in any words.
static tr_status append_said(json_t *messages, const char *role, const json_t *said,
                             const char *place, tr_error_t *err)
{
    if (role == CALL) {
        json_t *calls = as_calls(said);
        if (calls == NULL) {
            return tr_fail(err, TR_ERR_FORMAT,
                           "%s: expected the JSON of {name, arguments}, or of a list of them",
                           place);
        }
        append_calls(messages, calls);
        return TR_OK;
    }
    bool tool = strcmp(role, "tool") == 0 && said != NULL && !json_is_null(said);
    json_t *content = tool || json_is_string(said) ? as_text(said) : NULL;
    if (content == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a text", place);
    }
    append(messages, role, content);
    return TR_OK;
}

/// The keys that a turn has its role and its words by. Without tags, a message's role goes before.
static void find_keys(const char *keys[2], const json_t *turn, const json_t *tags)
{
    bool message = tags == NULL && json_object_get(turn, "role") != NULL;
    keys[0] = tr_json_string(tags, "role_tag", message ? "role" : "from");
    keys[1] = tr_json_string(tags, "content_tag", message ? "content" : "value");
}

/// Whether a message is as ms-swift alone has it: by its role, or a tool's that says an object.
static bool is_of_swift(const json_t *turn)
{
    const char *role = tr_json_string(turn, "role", "");
    return is_named("tool_call", role) || is_named("tool_response", role) ||
           (strcmp(role, "tool") == 0 && json_is_object(json_object_get(turn, "content")));
}

/// Appends one turn. A message is taken as it is, but for ms-swift's roles: any other role is for
/// the chat template.
static tr_status append_turn(json_t *messages, const json_t *turn, const char *column, size_t i,
                             const json_t *tags, tr_error_t *err)
{
    const char *keys[2];
    find_keys(keys, turn, tags);
    const char *theirs = json_string_value(json_object_get(turn, keys[0]));
    const char *role = role_of(theirs, tags);
    const json_t *said = json_object_get(turn, keys[1]), *calls;
    if (tags == NULL && strcmp(keys[0], "role") == 0 && !is_of_swift(turn)) {
        json_array_append(messages, (json_t *)turn);
        return TR_OK;
    }
    if (role == NULL) {
        return refuse_role(column, i, keys[0], theirs, tags, err);
    }
    calls = tags != NULL ? json_object_get(turn, "tool_calls") : NULL; // OpenAI's
    if (json_array_size(calls) > 0) {
        append(messages, "assistant",
               json_is_string(said) ? json_incref((json_t *)said) : json_string(""));
        append_calls(messages, json_copy((json_t *)calls));
        return TR_OK;
    }
    char *place = tr_format("%s[%zu]: %s", column, i, keys[1]);
    tr_status status = append_said(messages, role, said, place, err);
    free(place);
    return status;
}

tr_status tr_turns_append(json_t *messages, const json_t *turns, const char *column,
                          const json_t *tags, tr_error_t *err)
{
    const json_t *turn;
    size_t i;
    if (json_is_object(turns)) {
        return append_turn(messages, turns, column, 0, tags, err);
    }
    if (!json_is_array(turns)) {
        return tr_fail(err, TR_ERR_FORMAT, "%s: expected a list of messages", column);
    }
    tr_error_t all = {0}, one = {0};
    json_array_foreach(turns, i, turn)
    {
        append_turn(messages, turn, column, i, tags, &one);
        tr_error_join(&all, &one);
    }
    return tr_error_join(err, &all);
}

// Rows

static bool has_turn_of_swift(const json_t *turns)
{
    const json_t *turn;
    size_t i;
    bool found = false;
    json_array_foreach(turns, i, turn)
    {
        found = found || is_of_swift(turn);
    }
    return found;
}

void tr_turns_in_row(json_t *row, const json_t *tags)
{
    static const char *const COLUMNS[] = {
        "conversations", "conversation", "messages",          "prompt",           "completion",
        "chosen",        "rejected",     "rejected_messages", "rejected_response"};
    for (size_t i = 0; i < LENGTH(COLUMNS); i++) {
        const json_t *turns = json_object_get(row, COLUMNS[i]);
        bool has = json_is_array(turns) || json_is_object(turns);
        tr_error_t bad = {0};
        if (!has || (tags == NULL && !has_turn_of_swift(turns)) ||
            tr_column_check(row, COLUMNS[i], &bad) != TR_OK) {
            continue;
        }
        json_t *messages = json_array();
        if (tr_turns_append(messages, turns, tr_column_shown(row, COLUMNS[i]), tags, &bad) ==
            TR_OK) {
            json_object_set(row, COLUMNS[i], messages);
        } else {
            tr_column_spoil(row, COLUMNS[i], &bad);
        }
        json_decref(messages);
    }
}

tr_status tr_turns_check_order(const json_t *messages, const char *column, bool pair,
                               tr_error_t *err)
{
    const json_t *message;
    const char *before = "";
    bool answered = true; // the assistant has spoken last
    size_t i;
    json_array_foreach(messages, i, message)
    {
        const char *role = tr_json_string(message, "role", "");
        bool answers = tr_chat_is_assistant(message), system = strcmp(role, "system") == 0;
        bool tools = strcmp(role, "tool") == 0 && strcmp(before, "tool") == 0;
        before = role;
        if (i == 0 && system) {
            continue;
        }
        if ((answers == answered && !tools) || system) {
            return tr_fail(err, TR_ERR_FORMAT, "%s[%zu]: expected a turn of %s, found '%s'", column,
                           i, answered ? "the user or a tool" : "the assistant", role);
        }
        answered = answers;
    }
    return answered != pair ? TR_OK
                            : tr_fail(err, TR_ERR_FORMAT, "%s: expected %s to speak last", column,
                                      pair ? "the user" : "the assistant");
}
