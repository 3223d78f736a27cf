#include "common/text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// A conversation on its way to text.
typedef struct rendering {
    tr_chat_format_t format;
    const char *bos, *eos; // as the tokenizer spells them; "" where it has none
    FILE *out;
    tr_chat_text_t *text;
    const char *system; // of llama2, for the first user's turn
} rendering_t;

typedef struct message {
    const char *role, *content;
    size_t index; // of its turn, a system message not counted
    bool first;
} message_t;

static const char *const names[TR_CHAT_FORMAT_COUNT] = {"none",    "chatml", "llama2", "llama3",
                                                        "mistral", "zephyr", "plain"};

const char *tr_chat_format_name(tr_chat_format_t format)
{
    return names[format];
}

bool tr_chat_is_conversation(const json_t *value)
{
    return json_is_array(value);
}

void tr_chat_text_release(tr_chat_text_t *text)
{
    free(text->text);
    free(text->spans);
    *text = (tr_chat_text_t){0};
}

static bool is(const message_t *message, const char *role)
{
    return strcmp(message->role, role) == 0;
}

// Pieces of text

static size_t at(const rendering_t *r)
{
    fflush(r->out);
    return r->text->length;
}

/// The assistant's words, with what ends its turn.
static void speak(rendering_t *r, const char *words, size_t length, const char *end)
{
    tr_chat_text_t *text = r->text;
    size_t first = at(r);
    fprintf(r->out, "%.*s%s", (int)length, words, end);
    text->spans = tr_realloc(text->spans, (text->count + 1) * sizeof *text->spans);
    text->spans[text->count++] = (tr_chat_span_t){first, at(r)};
}

/// Jinja's trim: white space at both ends. *length: what is left.
static const char *trim(const char *content, size_t *length)
{
    static const char white[] = " \t\n\r\f\v";
    content += strspn(content, white);
    *length = strlen(content);
    while (*length > 0 && strchr(white, content[*length - 1]) != NULL) {
        (*length)--;
    }
    return content;
}

// The formats

static void put_chatml(rendering_t *r, const message_t *m)
{
    fprintf(r->out, "<|im_start|>%s\n", m->role);
    if (is(m, "assistant")) {
        speak(r, m->content, strlen(m->content), "<|im_end|>\n");
    } else {
        fprintf(r->out, "%s<|im_end|>\n", m->content);
    }
}

static void put_llama3(rendering_t *r, const message_t *m)
{
    size_t length;
    const char *content = trim(m->content, &length);
    fprintf(r->out, "%s<|start_header_id|>%s<|end_header_id|>\n\n", m->first ? r->bos : "",
            m->role);
    if (is(m, "assistant")) {
        speak(r, content, length, "<|eot_id|>");
    } else {
        fprintf(r->out, "%.*s<|eot_id|>", (int)length, content);
    }
}

static void put_llama2(rendering_t *r, const message_t *m)
{
    size_t length;
    if (is(m, "system")) {
        r->system = m->content;
        return;
    }
    if (is(m, "assistant")) {
        const char *content = trim(m->content, &length);
        char *end = tr_format(" %s", r->eos);
        char *words = tr_format(" %.*s", (int)length, content);
        speak(r, words, strlen(words), end);
        free(words);
        free(end);
        return;
    }
    bool system = r->system != NULL;
    char *whole = tr_format("%s%s%s%s", system ? "<<SYS>>\n" : "", system ? r->system : "",
                            system ? "\n<</SYS>>\n\n" : "", m->content);
    const char *content = trim(whole, &length);
    fprintf(r->out, "%s[INST] %.*s [/INST]", r->bos, (int)length, content);
    r->system = NULL;
    free(whole);
}

static void put_mistral(rendering_t *r, const message_t *m)
{
    fputs(m->first ? r->bos : "", r->out);
    if (is(m, "assistant")) {
        speak(r, m->content, strlen(m->content), r->eos);
    } else {
        fprintf(r->out, "[INST] %s [/INST]", m->content);
    }
}

static void put_zephyr(rendering_t *r, const message_t *m)
{
    char *end = tr_format("%s\n", r->eos);
    fprintf(r->out, "<|%s|>\n", m->role);
    if (is(m, "assistant")) {
        speak(r, m->content, strlen(m->content), end);
    } else {
        fprintf(r->out, "%s%s", m->content, end);
    }
    free(end);
}

static void put_plain(rendering_t *r, const message_t *m)
{
    if (is(m, "assistant")) {
        char *words = tr_format(" %s", m->content);
        fputs("\n\nAssistant:", r->out);
        speak(r, words, strlen(words), r->eos);
        free(words);
    } else {
        fprintf(r->out, "\n\n%s: %s", is(m, "user") ? "Human" : "System", m->content);
    }
}

/// What a format writes, and what it asks of conversations and tokenizers.
typedef struct form {
    void (*put)(rendering_t *r, const message_t *message);
    const char *generation; // opens the assistant's turn
    const char *tokens[3];  // that the tokenizer must have
    bool system;            // it knows system messages
    bool alternates;        // user and assistant take turns, the user first
    bool ends;              // it writes the tokenizer's end token
} form_t;

static const form_t forms[TR_CHAT_FORMAT_COUNT] = {
    [TR_CHAT_CHATML] = {.put = put_chatml,
                        .generation = "<|im_start|>assistant\n",
                        .tokens = {"<|im_start|>", "<|im_end|>"},
                        .system = true},
    [TR_CHAT_LLAMA2] =
        {.put = put_llama2, .generation = "", .system = true, .alternates = true, .ends = true},
    [TR_CHAT_LLAMA3] = {.put = put_llama3,
                        .generation = "<|start_header_id|>assistant<|end_header_id|>\n\n",
                        .tokens = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                        .system = true},
    [TR_CHAT_MISTRAL] = {.put = put_mistral, .generation = "", .alternates = true, .ends = true},
    [TR_CHAT_ZEPHYR] = {.put = put_zephyr,
                        .generation = "<|assistant|>\n",
                        .system = true,
                        .ends = true},
    [TR_CHAT_PLAIN] =
        {.put = put_plain, .generation = "\n\nAssistant:", .system = true, .ends = true},
};

// Checks

static tr_status check_tokens(tr_chat_format_t format, const tr_tokenizer_t *tokenizer,
                              tr_error_t *err)
{
    const form_t *form = &forms[format];
    for (size_t i = 0; i < 3 && form->tokens[i] != NULL; i++) {
        if (tr_tokenizer_id(tokenizer, form->tokens[i]) < 0) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "the chat template %s writes the token '%s', which the tokenizer has "
                           "not: choose another one (data.chat_template)",
                           names[format], form->tokens[i]);
        }
    }
    if (form->ends && tr_tokenizer_eos(tokenizer) < 0) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "the chat template %s ends a turn with the end-of-sequence token, which the "
                       "tokenizer has not: choose another one (data.chat_template)",
                       names[format]);
    }
    return TR_OK;
}

static tr_status check_role(const message_t *message, size_t number, const rendering_t *r,
                            tr_error_t *err)
{
    const form_t *form = &forms[r->format];
    bool system = is(message, "system");
    if ((!system && !is(message, "user") && !is(message, "assistant")) ||
        (system && (!form->system || (form->alternates && !message->first)))) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "message %zu: role: the chat template %s takes %suser and assistant, found "
                       "'%s'",
                       number, names[r->format],
                       !form->system      ? ""
                       : form->alternates ? "system (first), "
                                          : "system, ",
                       message->role);
    }
    if (form->alternates && !system && is(message, "user") != (message->index % 2 == 0)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "message %zu: role: in the chat template %s user and assistant take turns, "
                       "the user first, found '%s'",
                       number, names[r->format], message->role);
    }
    return TR_OK;
}

static tr_status read_message(message_t *message, const json_t *value, size_t number,
                              tr_error_t *err)
{
    message->role = json_string_value(json_object_get(value, "role"));
    message->content = json_string_value(json_object_get(value, "content"));
    if (message->role == NULL || message->content == NULL) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "message %zu: expected {\"role\": text, \"content\": text}", number);
    }
    return TR_OK;
}

static tr_status put_messages(rendering_t *r, const json_t *messages, tr_error_t *err)
{
    size_t number, turns = 0;
    json_t *value;
    if (json_array_size(messages) == 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "expected messages, found an empty list");
    }
    json_array_foreach((json_t *)messages, number, value)
    {
        message_t message = {.index = turns, .first = number == 0};
        TR_TRY(read_message(&message, value, number + 1, err));
        TR_TRY(check_role(&message, number + 1, r, err));
        forms[r->format].put(r, &message);
        turns += !is(&message, "system");
    }
    return TR_OK;
}

static const char *token_of(const tr_tokenizer_t *tokenizer, int32_t id)
{
    const char *token = id >= 0 ? tr_tokenizer_token(tokenizer, id) : NULL;
    return token != NULL ? token : "";
}

tr_status tr_chat_render(tr_chat_text_t *text, tr_chat_format_t format,
                         const tr_tokenizer_t *tokenizer, const json_t *messages, bool generation,
                         tr_error_t *err)
{
    *text = (tr_chat_text_t){0};
    TR_ASSERT(format > TR_CHAT_NONE && format < TR_CHAT_FORMAT_COUNT, "format %d", (int)format);
    TR_TRY(check_tokens(format, tokenizer, err));
    rendering_t r = {
        .format = format,
        .bos = token_of(tokenizer, tr_tokenizer_bos(tokenizer)),
        .eos = token_of(tokenizer, tr_tokenizer_eos(tokenizer)),
        .text = text,
    };
    r.out = open_memstream(&text->text, &text->length);
    TR_ASSERT(r.out != NULL, "no memory for %zu messages", json_array_size(messages));
    tr_status status = put_messages(&r, messages, err);
    if (status == TR_OK && generation) {
        fputs(forms[format].generation, r.out);
    }
    fclose(r.out);
    return status;
}

// Ids

/// The templates write their begin token themselves; plain text has the tokenizer's own.
static unsigned flags_of(tr_chat_format_t format)
{
    return format == TR_CHAT_PLAIN ? TR_ENCODE_SPECIAL : 0;
}

/// Tokens of ids: [count] that are those of the text's first `length` bytes. part: whether a last token that reaches past them
/// counts.
static tr_status tokens_until(size_t *tokens, const int32_t *ids, size_t count,
                              const tr_chat_text_t *text, size_t length, bool part,
                              tr_chat_format_t format, const tr_tokenizer_t *tokenizer,
                              tr_error_t *err)
{
    int32_t *start = NULL;
    size_t n = 0, same = 0;
    TR_TRY(tr_tokenizer_encode(&start, &n, tokenizer, text->text, length, flags_of(format), err));
    while (same < n && same < count && start[same] == ids[same]) {
        same++;
    }
    *tokens = same < n && part && same < count ? same + 1 : same;
    free(start);
    return TR_OK;
}

static tr_status mark(uint8_t *mask, const int32_t *ids, size_t count, const tr_chat_text_t *text,
                      tr_chat_format_t format, const tr_tokenizer_t *tokenizer, tr_error_t *err)
{
    for (size_t s = 0; s < text->count; s++) {
        size_t first, end;
        TR_TRY(tokens_until(&first, ids, count, text, text->spans[s].first, false, format,
                            tokenizer, err));
        TR_TRY(
            tokens_until(&end, ids, count, text, text->spans[s].end, true, format, tokenizer, err));
        for (size_t t = first; t < end; t++) {
            mask[t] = 1;
        }
    }
    return TR_OK;
}

tr_status tr_chat_encode(int32_t **ids, uint8_t **mask, size_t *count, tr_chat_format_t format,
                         const tr_tokenizer_t *tokenizer, const json_t *messages, bool generation,
                         tr_error_t *err)
{
    tr_chat_text_t text;
    tr_status status;
    *ids = NULL;
    *count = 0;
    if (mask != NULL) {
        *mask = NULL;
    }
    TR_TRY_GOTO(tr_chat_render(&text, format, tokenizer, messages, generation, err), done);
    TR_TRY_GOTO(
        tr_tokenizer_encode(ids, count, tokenizer, text.text, text.length, flags_of(format), err),
        done);
    if (mask != NULL) {
        *mask = tr_calloc(*count + 1, 1);
        status = mark(*mask, *ids, *count, &text, format, tokenizer, err);
    }
done:
    if (status != TR_OK) {
        free(*ids);
        *ids = NULL;
        if (mask != NULL) {
            free(*mask);
            *mask = NULL;
        }
    }
    tr_chat_text_release(&text);
    return status;
}
