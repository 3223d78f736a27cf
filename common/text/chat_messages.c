// Messages as templates get them: what transformers does to them first, and what we check so that a
// mistake in a row is named by its message and not by a line of the template.
#include <string.h>

#include "common/text/chat_parts.h"

bool tr_chat_is_conversation(const json_t *value)
{
    // Jansson gives NULL for the item of what is no array, and for the key of what is no object.
    return json_object_get(json_array_get(value, 0), "role") != NULL;
}

bool tr_chat_is_assistant(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role != NULL && strcmp(role, "assistant") == 0;
}

// Checks. Missing and of another type are told apart: the first is a forgotten key, the second a
// mistake in a program.

static tr_status check_part(const json_t *part, tr_error_t *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (type == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "content: expected parts with a type");
    }
    if (strcmp(type, "text") != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "content: a part of the type '%s' is not understood; texts are", type);
    }
    return json_is_string(json_object_get(part, "text"))
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "content: a part has no text");
}

/// A message may do without a content where it has something else to say.
static bool says_something(const json_t *message)
{
    static const char *const keys[] = {"tool_calls", "reasoning_content", "thinking", "reasoning"};
    bool found = false;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(message, keys[i]);
        found = found || json_array_size(value) > 0 || json_is_string(value);
    }
    return found;
}

static tr_status check_content(const json_t *message, tr_error_t *err)
{
    const json_t *content = json_object_get(message, "content");
    if (json_is_string(content) ||
        ((content == NULL || json_is_null(content)) && says_something(message))) {
        return TR_OK;
    }
    if (!json_is_array(content)) {
        return tr_fail(err, TR_ERR_FORMAT, "content: %s",
                       content == NULL ? "missing" : "expected a text or a list of parts");
    }
    tr_error_t all = {0}, one = {0};
    for (size_t i = 0; i < json_array_size(content); i++) {
        check_part(json_array_get(content, i), &one);
        tr_error_join(&all, &one);
    }
    return tr_error_join(err, &all);
}

static tr_status check(const json_t *message, tr_error_t *err)
{
    if (!json_is_object(message)) {
        return tr_fail(err, TR_ERR_FORMAT, "expected an object with role and content");
    }
    tr_error_t all = {0}, one = {0};
    const json_t *role = json_object_get(message, "role");
    if (!json_is_string(role)) {
        tr_fail(&all, TR_ERR_FORMAT, "role: %s", role == NULL ? "missing" : "expected a string");
    }
    check_content(message, &one);
    tr_error_join(&all, &one);
    return tr_error_join(err, &all);
}

tr_status tr_chat_check(const json_t *messages, const char *name, tr_error_t *err)
{
    tr_error_t all = {0}, one = {0};
    for (size_t i = 0; i < json_array_size(messages); i++) {
        if (check(json_array_get(messages, i), &one) != TR_OK) {
            tr_error_prefix(&one, "%s[%zu]", name, i);
            tr_error_join(&all, &one);
        }
    }
    return tr_error_join(err, &all);
}

// Changes

/// The parts' texts as one.
static json_t *joined(const json_t *parts)
{
    tr_bytes_t text = {0};
    tr_bytes_append(&text, "", 0);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_object_get(json_array_get(parts, i), "text");
        tr_bytes_append(&text, json_string_value(part), json_string_length(part));
    }
    json_t *whole = json_stringn(text.data, text.length);
    tr_bytes_release(&text);
    return whole;
}

/// Reasoning under each name that templates know; the first that the message has decides.
static void alias_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *value = json_object_get(message, names[i]);
        if (value != NULL) {
            json_object_set(message, "reasoning_content", value);
            if (json_object_get(message, "thinking") == NULL) {
                json_object_set(message, "thinking", value);
            }
            return;
        }
    }
}

/// A message without nulls; a new reference.
static json_t *prepared(const json_t *given, bool parts)
{
    json_t *message = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)given, key, value)
    {
        if (!json_is_null(value)) {
            json_object_set(message, key, value);
        }
    }
    const json_t *content = json_object_get(message, "content");
    if (json_is_array(content) && !parts) {
        json_object_set_new(message, "content", joined(content));
    }
    alias_reasoning(message);
    return message;
}

tr_status tr_chat_read(json_t **messages, const tr_chat_t *chat, const json_t *given,
                       tr_error_t *err)
{
    *messages = NULL;
    if (json_array_size(given) == 0) {
        return tr_fail(err, TR_ERR_FORMAT, "messages: expected an array of at least one message");
    }
    // Each is looked at before anything is written: what is wrong with the last is found first.
    TR_TRY(tr_chat_check(given, "messages", err));
    *messages = json_array();
    for (size_t i = 0; i < json_array_size(given); i++) {
        json_array_append_new(*messages, prepared(json_array_get(given, i), chat->parts));
    }
    return TR_OK;
}

/// A text with the tag behind it.
static json_t *with_tag(const json_t *text)
{
    tr_bytes_t bytes = {0};
    tr_bytes_append(&bytes, json_string_value(text), json_string_length(text));
    tr_bytes_append(&bytes, TR_CHAT_TAG, strlen(TR_CHAT_TAG));
    json_t *tagged = json_stringn(bytes.data, bytes.length);
    tr_bytes_release(&bytes);
    return tagged;
}

json_t *tr_chat_tagged(const json_t *messages, size_t index)
{
    json_t *all = json_copy((json_t *)messages);
    json_t *message = json_copy(json_array_get(messages, index));
    const json_t *content = json_object_get(message, "content");
    if (json_is_array(content)) {
        // Behind the last part; a list without parts has no place for it.
        json_t *parts = json_copy((json_t *)content);
        size_t last = json_array_size(parts);
        if (last > 0) {
            json_t *part = json_copy(json_array_get(parts, last - 1));
            json_object_set_new(part, "text", with_tag(json_object_get(part, "text")));
            json_array_set_new(parts, last - 1, part);
        }
        json_object_set_new(message, "content", parts);
    } else {
        json_object_set_new(message, "content", with_tag(content));
    }
    json_array_set_new(all, index, message);
    return all;
}
