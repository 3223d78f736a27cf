// What assistants generate, where a template does not say: a turn begins where the generation
// prompt of what stands before it ends, and it ends with what the template writes after a last
// content.
#include <string.h>

#include "common/text/chat_parts.h"

/// How many bytes two texts share at their start.
static size_t shared(const tr_bytes_t *a, const tr_bytes_t *b)
{
    size_t n = 0;
    while (n < a->length && n < b->length && a->data[n] == b->data[n]) {
        n++;
    }
    return n;
}

static tr_status refuse(size_t index, tr_error_t *err)
{
    return tr_fail(err, TR_ERR_UNSUPPORTED,
                   "messages[%zu]: the chat template does not say what the assistant generates (it "
                   "has no `generation` blocks, and what it writes before or after an answer "
                   "changes with it): name one that does in chat_template",
                   index);
}

/// Where the answer begins: behind the messages before it and the generation prompt.
static tr_status find_start(size_t *from, const tr_jinja_text_t *text, const tr_chat_t *chat,
                            const tr_chat_input_t *input, const json_t *messages, size_t index,
                            tr_error_t *err)
{
    tr_jinja_text_t prompt = {0};
    json_t *before = json_array();
    for (size_t i = 0; i < index; i++) {
        json_array_append(before, json_array_get(messages, i));
    }
    tr_status status = tr_chat_run(&prompt, chat, input, before, true, err);
    if (status == TR_OK) {
        *from = prompt.text.length;
        status = shared(&prompt.text, &text->text) == *from ? TR_OK : refuse(index, err);
    }
    tr_jinja_text_release(&prompt);
    json_decref(before);
    return status;
}

/// Where the answer's content ends: where a text with the tag behind the content differs.
static tr_status find_content_end(size_t *end, const tr_jinja_text_t *text, const tr_chat_t *chat,
                                  const tr_chat_input_t *input, const json_t *messages,
                                  size_t index, tr_error_t *err)
{
    tr_jinja_text_t tagged = {0};
    json_t *changed = tr_chat_tagged(messages, index);
    tr_status status = tr_chat_run(&tagged, chat, input, changed, false, err);
    if (status == TR_OK) {
        *end = shared(&tagged.text, &text->text);
    }
    tr_jinja_text_release(&tagged);
    json_decref(changed);
    return status;
}

/// The length of the end of a turn that is generated: all of it, or up to the end token where the
/// template writes that by name. No model goes on behind it.
static size_t generated_end(const tr_chat_t *chat)
{
    const char *eos = json_string_value(json_object_get(chat->variables, "eos_token"));
    const char *found = eos != NULL && *eos != '\0' && tr_jinja_names(chat->template, "eos_token")
                            ? strstr(chat->after, eos)
                            : NULL;
    return found != NULL ? (size_t)(found - chat->after) + strlen(eos) : strlen(chat->after);
}

/// Where the turn ends whose content ends at `end`. Calls of tools may stand between.
static tr_status find_end(size_t *to, const tr_jinja_text_t *text, const tr_chat_t *chat,
                          size_t end, size_t index, tr_error_t *err)
{
    const char *found = *chat->after == '\0'
                            ? NULL
                            : memmem(text->text.data + end, text->text.length - end, chat->after,
                                     strlen(chat->after));
    if (found == NULL) {
        return refuse(index, err);
    }
    *to = (size_t)(found - text->text.data) + generated_end(chat);
    return TR_OK;
}

tr_status tr_chat_mark(tr_jinja_text_t *text, const tr_chat_t *chat, const tr_chat_input_t *input,
                       const json_t *messages, tr_error_t *err)
{
    size_t count = json_array_size(messages);
    text->spans = tr_realloc(text->spans, (count + 1) * sizeof *text->spans);
    text->span_count = 0;
    for (size_t i = 0; i < count; i++) {
        tr_jinja_span_t span = {0};
        size_t end = 0;
        if (!tr_chat_is_assistant(json_array_get(messages, i))) {
            continue;
        }
        TR_TRY(find_start(&span.from, text, chat, input, messages, i, err));
        if (i + 1 == count && input->end != TR_CHAT_WHOLE) { // it goes on
            span.to = text->text.length;
        } else {
            TR_TRY(find_content_end(&end, text, chat, input, messages, i, err));
            TR_TRY(find_end(&span.to, text, chat, end > span.from ? end : span.from, i, err));
        }
        text->spans[text->span_count++] = span;
    }
    return TR_OK;
}
