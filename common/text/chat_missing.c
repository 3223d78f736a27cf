// Special tokens that a template writes and the tokenizer lacks: it belongs to another model.
//
// <|...|>, with bars of either width, is nothing but a token, wherever the template has it. <s>,
// <think> and [INST] are also how texts are marked up: <tools> of Qwen's is XML. They count where
// the template writes them around the messages of a plain conversation.
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/text/chat_parts.h"

/// What was found, each once, with a space behind.
typedef struct missing {
    const tr_tokenizer_t *tokenizer;
    tr_bytes_t tokens;
} missing_t;

/// token: [length].
static void add_missing(missing_t *missing, const char *token, size_t length)
{
    char *item = tr_format("%.*s ", (int)length, token);
    item[length] = '\0';
    bool lacks = strpbrk(item, " \n\t") == NULL && tr_tokenizer_id(missing->tokenizer, item) < 0;
    item[length] = ' ';
    if (lacks && (missing->tokens.data == NULL || strstr(missing->tokens.data, item) == NULL)) {
        tr_bytes_append(&missing->tokens, item, length + 1);
    }
    free(item);
}

/// What stands between bars, of a text that the template may write.
static void add_barred(missing_t *missing, const char *text, size_t length, const char *open,
                       const char *close)
{
    const char *end = text + length;
    for (const char *at = text;
         (at = memmem(at, (size_t)(end - at), open, strlen(open))) != NULL;) {
        const char *last = memmem(at, (size_t)(end - at), close, strlen(close));
        if (last == NULL) {
            return;
        }
        last += strlen(close);
        add_missing(missing, at, (size_t)(last - at));
        at = last;
    }
}

static void visit(void *context, const char *text, size_t length)
{
    add_barred(context, text, length, "<|", "|>");
    add_barred(context, text, length, "<\uFF5C", "\uFF5C>");
}

/// Length of <tag> or </tag>, [TAG] or [/TAG], with which the text begins; 0: none.
static size_t tag_length(const char *text)
{
    const char *close = text[0] == '<' ? ">" : text[0] == '[' ? "]" : NULL;
    if (close == NULL) {
        return 0;
    }
    size_t first = 1 + (text[1] == '/');
    size_t n = strspn(text + first, text[0] == '<' ? "abcdefghijklmnopqrstuvwxyz_"
                                                   : "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    return n > 0 && text[first + n] == *close ? first + n + 1 : 0;
}

/// What the template writes around these messages. One that refuses them has nothing to say.
static void add_scaffold(missing_t *missing, const tr_chat_t *chat, const char *json)
{
    static const tr_chat_input_t nothing = {0};
    // [INST] is a token of Mistral's later tokenizers; those with <s>, Llama 2's and Mistral's
    // first, may have it as plain text, and their templates know
    bool plain = tr_tokenizer_id(chat->tokenizer, "<s>") >= 0;
    json_t *messages = json_loads(json, 0, NULL);
    tr_jinja_text_t text = {0};
    tr_error_t err = {0};
    if (tr_chat_run(&text, chat, &nothing, messages, true, &err) == TR_OK) {
        for (const char *at = text.text.data; *at != '\0'; at++) {
            size_t length = plain && *at == '[' ? 0 : tag_length(at);
            if (length > 0) {
                add_missing(missing, at, length);
            }
        }
    }
    tr_jinja_text_release(&text);
    json_decref(messages);
}

void tr_chat_warn_of_missing(const tr_chat_t *chat)
{
    static const char QUESTION[] = "[{\"role\":\"user\",\"content\":\"Q\"}]";
    static const char TALK[] = "[{\"role\":\"system\",\"content\":\"S\"},"
                               "{\"role\":\"user\",\"content\":\"Q\"},"
                               "{\"role\":\"assistant\",\"content\":\"A\"},"
                               "{\"role\":\"user\",\"content\":\"Q\"}]";
    missing_t missing = {.tokenizer = chat->tokenizer};
    tr_jinja_literals(chat->template, visit, &missing);
    add_scaffold(&missing, chat, QUESTION);
    add_scaffold(&missing, chat, TALK);
    if (missing.tokens.length > 0) {
        tr_log(TR_LOG_WARN, "chat",
               "tokens=\"%.*s\" \"the chat template writes these and the tokenizer lacks them: "
               "they become several tokens each\"",
               (int)missing.tokens.length - 1, missing.tokens.data);
    }
    tr_bytes_release(&missing.tokens);
}
