/// Conversations: lists of messages, and the text that a chat template makes of them.
///
/// A message is {"role": "system" | "user" | "assistant", "content": text}. The formats are those of the common templates,
/// written in C: the ids are those of transformers' apply_chat_template (tests/golden/chat.py). A model's own template is
/// recognised by its text; any other is refused, never guessed at.
///
///     chatml   <|im_start|>role\ncontent<|im_end|>\n                                  Qwen, OpenHermes, SmolLM
///     llama2   [INST] <<SYS>>\nsystem\n<</SYS>>\n\nuser [/INST] answer </s>           Llama-2-chat
///     llama3   <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>          Meta-Llama-3-Instruct
///     mistral  [INST] user [/INST]answer</s>                                          Mistral-7B-Instruct-v0.2
///     zephyr   <|role|>\ncontent</s>\n                                                zephyr-7b-beta
///     plain    \n\nHuman: user\n\nAssistant: answer</s>                               hh-rlhf's manner; for any tokenizer
#ifndef TR_TEXT_CHAT_H
#define TR_TEXT_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/text/tokenizer.h"

/// The order is that of the recipe's choices.
typedef enum tr_chat_format {
    TR_CHAT_NONE, ///< none, or not known yet
    TR_CHAT_CHATML,
    TR_CHAT_LLAMA2,
    TR_CHAT_LLAMA3,
    TR_CHAT_MISTRAL,
    TR_CHAT_ZEPHYR,
    TR_CHAT_PLAIN,
    TR_CHAT_FORMAT_COUNT
} tr_chat_format_t;

/// "chatml"; "none".
const char *tr_chat_format_name(tr_chat_format_t format);

/// Whether a column's value is a conversation (a list) rather than a text.
bool tr_chat_is_conversation(const json_t *value);

/// The format of a model directory's own template: `chat_template` of tokenizer_config.json, or chat_template.jinja.
/// TR_ERR_UNSUPPORTED when there is none, or one that is not known; TR_ERR_IO, TR_ERR_FORMAT.
tr_status tr_chat_detect(tr_chat_format_t *format, const char *model_directory, tr_error_t *err);

/// Bytes of a text: first..end - 1.
typedef struct tr_chat_span {
    size_t first, end;
} tr_chat_span_t;

/// A conversation as text. Starts as {0}.
typedef struct tr_chat_text {
    char *text; ///< [length], and a NUL
    size_t length;
    tr_chat_span_t *
        spans; ///< [count] what the assistant says: what follows a generation prompt, to the end of its turn
    size_t count;
} tr_chat_text_t;

void tr_chat_text_release(tr_chat_text_t *text);

/// messages: a conversation. generation: whether the text ends with what opens the assistant's next turn. TR_ERR_ARGUMENT for
/// a message that is none, a role or an order that the format does not know ("message 2: role: ..."), and for a tokenizer
/// without a token that the format needs. After a failure too, release it.
tr_status tr_chat_render(tr_chat_text_t *text, tr_chat_format_t format,
                         const tr_tokenizer_t *tokenizer, const json_t *messages, bool generation,
                         tr_error_t *err);

/// *ids: [*count], of tr_chat_render's text; owned by the caller (free), NULL after a failure. mask: NULL, or *mask: [*count],
/// 1 where the assistant speaks (return_assistant_tokens_mask), likewise.
tr_status tr_chat_encode(int32_t **ids, uint8_t **mask, size_t *count, tr_chat_format_t format,
                         const tr_tokenizer_t *tokenizer, const json_t *messages, bool generation,
                         tr_error_t *err);

#endif
