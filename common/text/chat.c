// Conversations as text. A format is a row of strings and flags that one writer puts around
// messages: enough for the public templates, without Jinja. Two families need more than strings:
// formats in which user and assistant alternate, where the system message stands inside the first
// question, and formats that trim contents. chat_encode.c makes ids of the text, chat_detect.c
// finds a model's format.
#include "common/text/chat.h"

#include <stdlib.h>
#include <string.h>

// Names

const char *const tr_chat_format_names[TR_CHAT_FORMAT_COUNT + 1] = {
    "null",       "chatml",     "llama2", "llama3", "mistral",
    "mistral-v1", "mistral-v3", "zephyr", "plain",  NULL,
};

// Formats. In their texts these stand for the tokenizer's begin and end tokens:

#define BOS "\001"
#define EOS "\002"

typedef enum role { SYSTEM, USER, ASSISTANT, ROLE_COUNT } role_t;

// Tools have roles too ("tool", "ipython"): what they return has no format here.
static const char *const ROLES[ROLE_COUNT] = {"system", "user", "assistant"};

/// What stands before and after a role's content. before is NULL for a role that the format does
/// not take.
typedef struct turn {
    const char *before, *after;
} turn_t;

/// Texts that are NULL are empty.
typedef struct format {
    const char *start;        // before all messages
    turn_t turns[ROLE_COUNT]; // the assistant's: what it generates, its end token included
    const char *prompt;       // the generation prompt, before each of its turns
    const char *gap;          // what follows each of them, which it does not generate
    bool trims[ROLE_COUNT];   // white space around the content is left out
    bool alternates;          // a system message, then user and assistant in turn
} format_t;

// Where user and assistant alternate, the system message's turn stands before the first question,
// inside the user's turn.
static const format_t FORMATS[TR_CHAT_FORMAT_COUNT] = {
    [TR_CHAT_CHATML] = {.turns = {{"<|im_start|>system\n", "<|im_end|>\n"},
                                  {"<|im_start|>user\n", "<|im_end|>\n"},
                                  {"", "<|im_end|>\n"}},
                        .prompt = "<|im_start|>assistant\n"},
    [TR_CHAT_LLAMA2] = {.turns = {{"<<SYS>>\n", "\n<</SYS>>\n\n"},
                                  {BOS "[INST] ", " [/INST]"},
                                  {" ", " " EOS}},
                        .trims = {[USER] = true, [ASSISTANT] = true},
                        .alternates = true},
    [TR_CHAT_LLAMA3] = {.start = BOS,
                        .turns = {{"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
                                  {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
                                  {"", "<|eot_id|>"}},
                        .prompt = "<|start_header_id|>assistant<|end_header_id|>\n\n",
                        .trims = {true, true, true}},
    [TR_CHAT_MISTRAL] = {.start = BOS,
                         .turns = {[USER] = {"[INST] ", " [/INST]"}, [ASSISTANT] = {"", EOS}},
                         .alternates = true},
    [TR_CHAT_MISTRAL_V1] = {.start = BOS,
                            .turns = {{"", "\n\n"}, {" [INST] ", " [/INST]"}, {" ", EOS}},
                            .alternates = true},
    [TR_CHAT_MISTRAL_V3] = {.start = BOS,
                            .turns = {[USER] = {"[INST] ", "[/INST]"}, [ASSISTANT] = {" ", EOS}},
                            .trims = {[ASSISTANT] = true},
                            .alternates = true},
    [TR_CHAT_ZEPHYR] = {.turns = {{"<|system|>\n", EOS "\n"}, {"<|user|>\n", EOS "\n"}, {"", EOS}},
                        .prompt = "<|assistant|>\n",
                        .gap = "\n"},
    [TR_CHAT_PLAIN] = {.turns = {{"\n\nSystem: ", ""}, {"\n\nHuman: ", ""}, {" ", EOS}},
                       .prompt = "\n\nAssistant:"},
};

// Reading messages

typedef struct message {
    role_t role;
    const char *content; // [length]
    size_t length;
} message_t;

/// One call of tr_chat_render.
typedef struct rendering {
    const format_t *format;
    const char *name;         // the format's
    const char *begin, *end;  // the tokens; NULL: the tokenizer has none
    const message_t *message; // [count]
    size_t count;
    bool cut; // the last message is an answer that goes on
    tr_chat_text_t text;
} rendering_t;

/// The roles, for sentences.
static const char *taken_by(const format_t *format)
{
    return format->turns[SYSTEM].before != NULL ? "system, user and assistant"
                                                : "user and assistant";
}

/// index: of the message, for sentences.
static tr_status read_role(message_t *message, const json_t *node, size_t index,
                           const rendering_t *rendering, tr_error_t *err)
{
    // Missing and of another type are told apart: the first is a forgotten key, the second a
    // mistake in a program.
    const json_t *value = json_object_get(node, "role");
    const char *role = json_string_value(value);
    if (role == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "messages[%zu]: role: %s", index,
                       value == NULL ? "missing" : "expected a string");
    }
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        if (strcmp(role, ROLES[i]) == 0 && rendering->format->turns[i].before != NULL) {
            message->role = (role_t)i;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_UNSUPPORTED,
                   "messages[%zu]: role: '%s' is not understood (%s takes %s)", index, role,
                   rendering->name, taken_by(rendering->format));
}

/// One message: a role that the format takes, a text as content, and no calls of tools, which no
/// format here writes.
static tr_status read_message(message_t *message, const json_t *node, size_t index,
                              const rendering_t *rendering, tr_error_t *err)
{
    if (!json_is_object(node)) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "messages[%zu]: expected an object with role and content", index);
    }
    TR_TRY(read_role(message, node, index, rendering, err));
    const json_t *content = json_object_get(node, "content");
    const json_t *calls = json_object_get(node, "tool_calls");
    // An empty list, or null, is how data sets with one schema for all rows say that there is none.
    if (calls != NULL && !json_is_null(calls) && json_array_size(calls) != 0) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "messages[%zu]: tool_calls: not understood; contents are", index);
    }
    // A list of parts is for models that take images too.
    if (!json_is_string(content)) {
        return tr_fail(err, TR_ERR_FORMAT, "messages[%zu]: content: %s", index,
                       content == NULL ? "missing" : "expected a string");
    }
    message->content = json_string_value(content);
    message->length = json_string_length(content);
    return TR_OK;
}

/// Whether user and assistant alternate, where the format needs that.
static tr_status check_order(const rendering_t *rendering, tr_error_t *err)
{
    // Where roles do not alternate, these formats' templates raise an exception: there is no text
    // to agree with.
    size_t first = rendering->message[0].role == SYSTEM; // the message that must be the user's
    if (first == rendering->count) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "messages[0]: %s writes a system message into the user's first message, and "
                       "there is none",
                       rendering->name);
    }
    for (size_t i = first; i < rendering->count; i++) {
        role_t expected = (i - first) % 2 == 0 ? USER : ASSISTANT;
        if (rendering->message[i].role != expected) {
            return tr_fail(err, TR_ERR_FORMAT,
                           "messages[%zu]: role: expected '%s', found '%s': %s takes%s user and "
                           "assistant in turn",
                           i, ROLES[expected], ROLES[rendering->message[i].role], rendering->name,
                           rendering->format->turns[SYSTEM].before == NULL
                               ? ""
                               : " a system message, if any, then");
        }
    }
    return TR_OK;
}

/// Each message for itself, then their order, which some formats restrict.
static tr_status read_messages(message_t *message, const json_t *messages,
                               const rendering_t *rendering, tr_error_t *err)
{
    for (size_t i = 0; i < rendering->count; i++) {
        TR_TRY(read_message(&message[i], json_array_get(messages, i), i, rendering, err));
    }
    return rendering->format->alternates ? check_order(rendering, err) : TR_OK;
}

/// Whether the format's texts have BOS or EOS.
static bool writes(const format_t *format, const char *token)
{
    bool found = format->start != NULL && strstr(format->start, token) != NULL;
    for (size_t i = 0; i < ROLE_COUNT; i++) {
        const turn_t *turn = &format->turns[i];
        found = found || (turn->before != NULL && (strstr(turn->before, token) != NULL ||
                                                   strstr(turn->after, token) != NULL));
    }
    return found;
}

/// A format can only be written with the tokens that it writes.
static tr_status check_tokens(const rendering_t *rendering, tr_error_t *err)
{
    // Written as nothing, the token would be missing from every text, and no one would notice.
    bool needs_begin = rendering->begin == NULL && writes(rendering->format, BOS);
    if (needs_begin || (rendering->end == NULL && writes(rendering->format, EOS))) {
        const char *key = needs_begin ? "bos_token" : "eos_token";
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "the chat format %s writes the tokenizer's %s, and it has none: name it in "
                       "tokenizer_config.json",
                       rendering->name, key);
    }
    return TR_OK;
}

// Writing

/// Appends a format's text (NULL: none), its tokens in their places.
static void write_text(rendering_t *rendering, const char *text)
{
    // Byte by byte: BOS and EOS are control characters, which stand in formats for nothing else.
    for (; text != NULL && *text != '\0'; text++) {
        const char *token = *text == *BOS   ? rendering->begin
                            : *text == *EOS ? rendering->end
                                            : NULL;
        tr_bytes_append(&rendering->text.text, token != NULL ? token : text,
                        token != NULL ? strlen(token) : 1);
    }
}

/// The characters that Python's str.strip() removes: Unicode's White_Space and four control
/// characters.
static bool is_space(uint32_t point)
{
    return tr_utf8_is_space(point) || (point >= 0x1C && point <= 0x1F);
}

/// The part of a text without the white space around it.
static tr_chat_span_t inner(const char *text, size_t length)
{
    tr_chat_span_t span = {length, length};
    // One walk: `from` is the first character that is not white space, `to` the end of the last
    // one.
    for (size_t at = 0, n; at < length; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text + at, length - at);
        TR_ASSERT(n > 0, "a JSON string that is not UTF-8");
        if (!is_space(point)) {
            span.from = span.from < at ? span.from : at;
            span.to = at + n;
        }
    }
    return span;
}

/// A message's content, after the system message where that stands in the first question.
static void write_content(rendering_t *rendering, size_t index)
{
    const message_t *message = &rendering->message[index];
    const format_t *format = rendering->format;
    tr_bytes_t content = {0};
    if (format->alternates && index == 1 && rendering->message[0].role == SYSTEM) {
        const turn_t *turn = &format->turns[SYSTEM];
        // These texts have neither token: they are appended as they are.
        tr_bytes_append(&content, turn->before, strlen(turn->before));
        tr_bytes_append(&content, rendering->message[0].content, rendering->message[0].length);
        tr_bytes_append(&content, turn->after, strlen(turn->after));
    }
    tr_bytes_append(&content, message->content, message->length);
    tr_chat_span_t kept = {0, content.length};
    if (format->trims[message->role]) {
        // With the system message: Llama 2's template trims what both together are.
        kept = inner(content.data, content.length);
    }
    tr_bytes_append(&rendering->text.text, content.data + kept.from, kept.to - kept.from);
    tr_bytes_release(&content);
}

static bool ends(const rendering_t *rendering, size_t index)
{
    return !rendering->cut || index + 1 < rendering->count;
}

static void write_turn(rendering_t *rendering, size_t index)
{
    const turn_t *turn = &rendering->format->turns[rendering->message[index].role];
    write_text(rendering, turn->before);
    write_content(rendering, index);
    write_text(rendering, ends(rendering, index) ? turn->after : NULL);
}

/// An assistant's turn, with its span.
static void write_answer(rendering_t *rendering, size_t index)
{
    tr_chat_text_t *text = &rendering->text;
    write_text(rendering, rendering->format->prompt);
    size_t from = text->text.length;
    write_turn(rendering, index);
    // The end token is within the span, so that ending a turn is learnt; the gap behind it is not.
    text->spans[text->span_count++] = (tr_chat_span_t){from, text->text.length};
    write_text(rendering, ends(rendering, index) ? rendering->format->gap : NULL);
}

/// The conversation from its start: turns in order, each answer behind the generation prompt as it
/// will stand when the assistant generates it.
static void write_messages(rendering_t *rendering, bool add_generation_prompt)
{
    const format_t *format = rendering->format;
    rendering->text.spans = tr_calloc(rendering->count, sizeof *rendering->text.spans);
    write_text(rendering, format->start);
    for (size_t i = 0; i < rendering->count; i++) {
        // Where roles alternate, write_content writes the system message, not a turn of its own.
        role_t role = rendering->message[i].role;
        if (role == ASSISTANT) {
            write_answer(rendering, i);
        } else if (role == USER || !format->alternates) {
            write_turn(rendering, i);
        }
    }
    write_text(rendering, add_generation_prompt ? format->prompt : NULL);
}

bool tr_chat_is_conversation(const json_t *value)
{
    // Jansson gives NULL for the item of what is no array, and for the key of what is no object.
    return json_object_get(json_array_get(value, 0), "role") != NULL;
}

const char *tr_chat_content(tr_chat_format_t format, const char *answer)
{
    // What an assistant generates begins with the text that the template puts before its content.
    const char *before = FORMATS[format].turns[ASSISTANT].before;
    size_t length = strlen(before);
    return strncmp(answer, before, length) == 0 ? answer + length : answer;
}

void tr_chat_text_release(tr_chat_text_t *text)
{
    tr_bytes_release(&text->text);
    free(text->spans);
    *text = (tr_chat_text_t){0};
}

/// Everything that can fail comes before the first byte is written.
tr_status tr_chat_render(tr_chat_text_t *text, const tr_chat_t *chat, const json_t *messages,
                         bool add_generation_prompt, tr_error_t *err)
{
    TR_ASSERT(chat->format > TR_CHAT_NONE && chat->format < TR_CHAT_FORMAT_COUNT, "format %d",
              (int)chat->format);
    size_t count = json_array_size(messages);
    if (count == 0) {
        return tr_fail(err, TR_ERR_FORMAT, "messages: expected an array of at least one message");
    }
    // Read before anything is written: what is wrong with the last message is found first.
    message_t *message = tr_calloc(count, sizeof *message);
    rendering_t rendering = {
        .format = &FORMATS[chat->format],
        .name = tr_chat_format_names[chat->format],
        .begin = tr_tokenizer_token(chat->tokenizer, tr_tokenizer_bos(chat->tokenizer)),
        .end = tr_tokenizer_token(chat->tokenizer, tr_tokenizer_eos(chat->tokenizer)),
        .message = message,
        .count = count,
    };
    tr_status status = check_tokens(&rendering, err);
    if (status == TR_OK) {
        status = read_messages(message, messages, &rendering, err);
    }
    if (status == TR_OK) {
        rendering.cut = chat->cut && message[count - 1].role == ASSISTANT;
        write_messages(&rendering, add_generation_prompt);
        *text = rendering.text;
    }
    free(message);
    return status;
}
