// The object of a template, and what it writes of a conversation. chat_source.c finds templates,
// chat_messages.c prepares messages, chat_marks.c finds what assistants generate, chat_encode.c
// makes ids, chat_missing.c looks for tokens that the tokenizer lacks.
#include "common/text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/text/chat_parts.h"
#include "common/text/jinja/strings.h"

// Writing

tr_status tr_chat_run(tr_jinja_text_t *text, const tr_chat_t *chat, const tr_chat_input_t *input,
                      const json_t *messages, bool add_generation_prompt, tr_error_t *err)
{
    json_t *variables = json_copy(chat->variables);
    json_object_update(variables, (json_t *)input->kwargs); // does nothing for NULL
    json_object_set(variables, "messages", (json_t *)messages);
    json_object_set_new(variables, "documents", json_null());
    json_object_set_new(variables, "add_generation_prompt", json_boolean(add_generation_prompt));
    if (input->tools == NULL) {
        json_object_set_new(variables, "tools", json_null());
    } else {
        json_object_set(variables, "tools", (json_t *)input->tools);
    }
    tr_status status = tr_jinja_render(text, chat->template, variables, err);
    json_decref(variables);
    return status == TR_OK ? TR_OK : tr_error_prefix(err, "the chat template");
}

/// The last place of the tag without its space; NULL: it is not in the text.
static const char *find_tag(const tr_jinja_text_t *text)
{
    static const size_t length = sizeof TR_CHAT_TAG - 2;
    for (size_t at = text->text.length; at-- >= length;) {
        const char *place = text->text.data + at + 1 - length;
        if (memcmp(place, TR_CHAT_TAG, length) == 0) {
            return place;
        }
    }
    return NULL;
}

/// Cuts the text where the tag stands. Where its space is gone, the template takes white space off
/// contents, and so is the content's own.
static tr_status cut_at_tag(tr_jinja_text_t *text, tr_error_t *err)
{
    const char *tag = find_tag(text);
    if (tag == NULL) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "the chat template does not write the last message's content as it is, so "
                       "it cannot be continued");
    }
    size_t length = (size_t)(tag - text->text.data);
    if (strncmp(tag, TR_CHAT_TAG, strlen(TR_CHAT_TAG)) != 0) {
        length -= jinja_trailing_space(text->text.data, length);
    }
    text->text.data[length] = '\0';
    text->text.length = length;
    for (size_t i = 0; i < text->span_count; i++) {
        text->spans[i].to = text->spans[i].to < length ? text->spans[i].to : length;
    }
    return TR_OK;
}

/// Whether the last message is an assistant's that goes on.
static bool goes_on(const tr_chat_input_t *input)
{
    size_t count = json_array_size(input->messages);
    return input->end != TR_CHAT_WHOLE &&
           tr_chat_is_assistant(json_array_get(input->messages, count - 1));
}

/// marks: spans are wanted, whether or not the template has blocks for them.
static tr_status write(tr_jinja_text_t *text, const tr_chat_t *chat, const tr_chat_input_t *input,
                       bool marks, tr_error_t *err)
{
    json_t *messages = NULL, *tagged = NULL;
    bool cut = goes_on(input);
    tr_jinja_text_t written = {0};
    tr_status status;
    TR_TRY_GOTO(tr_chat_read(&messages, chat, input->messages, err), done);
    tagged = cut ? tr_chat_tagged(messages, json_array_size(messages) - 1) : json_incref(messages);
    TR_TRY_GOTO(
        tr_chat_run(&written, chat, input, tagged, input->end == TR_CHAT_PROMPT && !cut, err),
        done);
    if (cut) {
        TR_TRY_GOTO(cut_at_tag(&written, err), done);
    }
    if (marks && !tr_jinja_marks(chat->template)) {
        TR_TRY_GOTO(tr_chat_mark(&written, chat, input, messages, err), done);
    }
    *text = written;
    written = (tr_jinja_text_t){0};
done:
    tr_jinja_text_release(&written);
    json_decref(tagged);
    json_decref(messages);
    return status;
}

tr_status tr_chat_render(tr_jinja_text_t *text, const tr_chat_t *chat, const tr_chat_input_t *input,
                         tr_error_t *err)
{
    return write(text, chat, input, false, err);
}

tr_status tr_chat_render_marked(tr_jinja_text_t *text, const tr_chat_t *chat,
                                const tr_chat_input_t *input, tr_error_t *err)
{
    return write(text, chat, input, true, err);
}

const char *tr_chat_content(const tr_chat_t *chat, const char *answer)
{
    // What an assistant generates begins with the text that the template puts before its content.
    size_t length = strlen(chat->before);
    return strncmp(answer, chat->before, length) == 0 ? answer + length : answer;
}

// What a template does, tried on small conversations

/// Runs the template on messages of this JSON. A failure is an answer too: NULL.
static char *try(const tr_chat_t *chat, const char *json, bool add_generation_prompt)
{
    static const tr_chat_input_t nothing = {0};
    json_t *messages = json_loads(json, 0, NULL);
    tr_jinja_text_t text = {0};
    tr_error_t err = {0};
    tr_status status = tr_chat_run(&text, chat, &nothing, messages, add_generation_prompt, &err);
    char *written = status == TR_OK ? tr_strdup(text.text.data) : NULL;
    tr_jinja_text_release(&text);
    json_decref(messages);
    return written;
}

#define QUESTION "{\"role\":\"user\",\"content\":\"Q\"}"

/// Whether a content that is a list comes out as its text, and not as what Python calls the list.
static bool writes_parts(const tr_chat_t *chat)
{
    char *text =
        try(chat,
            "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"" TR_CHAT_TAG "\"}]}]",
            true);
    bool found =
        text != NULL && strstr(text, "CONTINUE_FINAL") != NULL && strstr(text, "'text'") == NULL;
    free(text);
    return found;
}

/// Fills before and after from an answer that stands last.
static void measure_answer(tr_chat_t *chat)
{
    char *prompt = try(chat, "[" QUESTION "]", true);
    char *whole =
        try(chat, "[" QUESTION ",{\"role\":\"assistant\",\"content\":\"" TR_CHAT_TAG "\"}]", false);
    size_t length = prompt == NULL ? 0 : strlen(prompt);
    char *tag = whole == NULL ? NULL : strstr(whole, "CONTINUE_FINAL_MESSAGE_TAG");
    bool follows = prompt != NULL && tag != NULL && (size_t)(tag - whole) >= length &&
                   memcmp(whole, prompt, length) == 0;
    if (follows) {
        size_t tagged = strlen(TR_CHAT_TAG) - (strncmp(tag, TR_CHAT_TAG, strlen(TR_CHAT_TAG)) != 0);
        chat->before = tr_format("%.*s", (int)(tag - whole - (ptrdiff_t)length), whole + length);
        chat->after = tr_strdup(tag + tagged);
    } else {
        chat->before = tr_strdup("");
        chat->after = tr_strdup("");
    }
    free(whole);
    free(prompt);
}

// Tokens

/// A token that the template asks for by name. One of Troupe's templates cannot be written without
/// it; elsewhere nothing is written in its place, as in transformers, and that is said.
static tr_status expect_token(const tr_chat_t *chat, const tr_chat_source_t *source,
                              const char *key, tr_error_t *err)
{
    if (!tr_jinja_names(chat->template, key) ||
        json_is_string(json_object_get(chat->variables, key))) {
        return TR_OK;
    }
    if (chat->own) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "the chat template %s writes the tokenizer's %s, and it has none: name it "
                       "in tokenizer_config.json",
                       source->name, key);
    }
    tr_log(TR_LOG_WARN, "chat",
           "token=%s \"the chat template asks for it and the tokenizer has none\"", key);
    return TR_OK;
}

// Life cycle

static tr_status set_variables(tr_chat_t *chat, const tr_chat_source_t *source, tr_error_t *err)
{
    TR_TRY(tr_chat_tokens(&chat->variables, source->model, chat->tokenizer, err));
    if (source->kwargs != NULL) {
        json_t *kwargs = json_loads(source->kwargs, 0, NULL);
        if (!json_is_object(kwargs)) {
            json_decref(kwargs);
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "chat_template_kwargs: expected a JSON object, found '%s'",
                           source->kwargs);
        }
        json_object_update(chat->variables, kwargs);
        json_decref(kwargs);
    }
    return TR_OK;
}

static tr_status load(tr_chat_t *chat, const tr_chat_source_t *source, size_t length,
                      tr_error_t *err)
{
    if (tr_jinja_new(&chat->template, chat->source, length, err) != TR_OK) {
        return tr_error_prefix(err, "the chat template of '%s'",
                               source->name != NULL ? source->name : source->model);
    }
    TR_TRY(set_variables(chat, source, err));
    TR_TRY(expect_token(chat, source, "bos_token", err));
    TR_TRY(expect_token(chat, source, "eos_token", err));
    tr_chat_warn_of_missing(chat);
    chat->parts = writes_parts(chat);
    measure_answer(chat);
    return TR_OK;
}

tr_status tr_chat_new(tr_chat_t **chat, const tr_chat_source_t *source,
                      const tr_tokenizer_t *tokenizer, tr_error_t *err)
{
    char *text = NULL;
    size_t length = 0;
    *chat = NULL;
    TR_TRY(tr_chat_find(&text, &length, source, err));
    if (text == NULL) {
        return TR_OK;
    }
    tr_chat_t *new = tr_calloc(1, sizeof *new);
    new->source = text;
    new->own = source->name != NULL &&tr_chat_is_name(source->name);
    new->tokenizer = tokenizer;
    tr_status status = load(new, source, length, err);
    if (status != TR_OK) {
        tr_chat_destroy(&new);
    }
    *chat = new;
    return status;
}

void tr_chat_destroy(tr_chat_t **chat)
{
    tr_chat_t *old = *chat;
    if (old != NULL) {
        tr_jinja_destroy(&old->template);
        json_decref(old->variables);
        free(old->source);
        free(old->before);
        free(old->after);
        free(old);
        *chat = NULL;
    }
}

/// Takes every place of a part out of a text.
static void take_out(char *text, const char *part)
{
    size_t length = strlen(part);
    for (char *at = text; (at = strstr(at, part)) != NULL;) {
        memmove(at, at + length, strlen(at + length) + 1);
    }
}

char *tr_chat_saved(const tr_chat_t *chat)
{
    char *text = tr_strdup(chat->source);
    if (chat->own) {
        take_out(text, "{%- generation %}");
        take_out(text, "{% endgeneration %}");
    }
    return text;
}
