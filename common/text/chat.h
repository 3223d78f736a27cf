/// Conversations to text and ids, as the chat templates of Hugging Face directories write them,
/// without Jinja.
///
/// A conversation is a JSON array of messages, {"role": "system", "user" or "assistant", "content":
/// a string}; other keys are ignored, as templates ignore them. A format stands for the public
/// templates that write the same text, to the byte. Spans mark what the assistant generates as
/// TRL's training templates mark it: from the end of the generation prompt to the end-of-turn token
/// (chatml: and its line's end). So for every format, the text before an answer is the text of the
/// messages before it with the generation prompt.
///
/// Golden files of transformers' apply_chat_template pin texts, ids and masks.
#ifndef TR_TEXT_CHAT_H
#define TR_TEXT_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/text/tokenizer.h"
#include "common/text/utf8.h"

typedef enum tr_chat_format {
    TR_CHAT_NONE,   ///< "null": texts only
    TR_CHAT_CHATML, ///< "chatml": <|im_start|>role, content<|im_end|>; no system message of its own
    TR_CHAT_LLAMA2, ///< "llama2": Llama-2-chat; the system message stands in the first question
    TR_CHAT_LLAMA3, ///< "llama3": Meta-Llama-3-Instruct; contents without white space around them
    TR_CHAT_MISTRAL,    ///< "mistral": Mistral-7B-Instruct-v0.2 as first published, Mixtral-8x7B
    TR_CHAT_MISTRAL_V1, ///< "mistral-v1": the same, later: takes a system message
    TR_CHAT_MISTRAL_V3, ///< "mistral-v3": Mistral-7B-Instruct-v0.3, no system message
    TR_CHAT_ZEPHYR,     ///< "zephyr": zephyr-7b-beta
    TR_CHAT_PLAIN,      ///< "plain": "\n\nHuman: ", "\n\nAssistant: ", as hh-rlhf; then eos
    TR_CHAT_FORMAT_COUNT
} tr_chat_format_t;

/// The names above, by format, and NULL: the choices of an option whose default is the model's own.
extern const char *const tr_chat_format_names[TR_CHAT_FORMAT_COUNT + 1];

/// The format of a model directory: chat_template.jinja, else chat_template of
/// tokenizer_config.json (a string, or "default" of a list of {name, template}), compared with the
/// known templates to the byte. TR_CHAT_NONE where there is none. TR_ERR_UNSUPPORTED for a template
/// that is not known, TR_ERR_IO, TR_ERR_FORMAT.
tr_status tr_chat_detect(tr_chat_format_t *format, const char *model_directory, tr_error_t *err);

/// The format as a template in Jinja, which tr_chat_detect knows; NULL for TR_CHAT_NONE.
const char *tr_chat_template(tr_chat_format_t format);

/// How conversations are written. The caller fills it.
typedef struct tr_chat {
    tr_chat_format_t format;         ///< not TR_CHAT_NONE
    const tr_tokenizer_t *tokenizer; ///< borrowed; its begin and end tokens are the template's
    /// An answer that stands last goes on: nothing follows its content (transformers'
    /// continue_final_message).
    bool cut;
} tr_chat_t;

/// Whether a value is a conversation: an array whose first item has a role, as TRL asks.
bool tr_chat_is_conversation(const json_t *value);

/// The content of a message that an assistant has generated as `answer`: without the text that the
/// format writes before contents. Points into answer.
const char *tr_chat_content(tr_chat_format_t format, const char *answer);

/// Bytes from..to-1 of a text.
typedef struct tr_chat_span {
    size_t from, to;
} tr_chat_span_t;

/// A conversation as text. {0} is empty; release frees it.
typedef struct tr_chat_text {
    tr_bytes_t text;
    tr_chat_span_t *spans; ///< [span_count] what the assistant generates: an answer each, in order
    size_t span_count;
} tr_chat_text_t;

void tr_chat_text_release(tr_chat_text_t *text);

/// Writes the messages. add_generation_prompt: at the end comes the text that makes the assistant
/// answer (empty for llama2 and mistral). text: an empty one, the caller's; untouched on failure.
/// The message and what is wrong with it are named ("messages[2]: role: ..."): TR_ERR_FORMAT for
/// messages that are not as above or in an order that the format does not take, TR_ERR_UNSUPPORTED
/// for roles and keys of tools, and for a tokenizer without a token that the format writes.
tr_status tr_chat_render(tr_chat_text_t *text, const tr_chat_t *chat, const json_t *messages,
                         bool add_generation_prompt, tr_error_t *err);

/// The ids of the text that tr_chat_render writes: special tokens in it are understood, none is
/// added. ids: [*count], mask: [*count], 1 for each token that overlaps what the assistant
/// generates; both owned by the caller (free). mask may be NULL. Fails as tr_chat_render and
/// tr_tokenizer_encode.
tr_status tr_chat_encode(int32_t **ids, size_t *count, uint8_t **mask, const tr_chat_t *chat,
                         const json_t *messages, bool add_generation_prompt, tr_error_t *err);

#endif
