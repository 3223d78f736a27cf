/// Conversations to text and ids by a chat template, as transformers' apply_chat_template.
///
/// A conversation is a JSON array of messages, {"role": ..., "content": a text, or a list of parts
/// {"type": "text", "text": ...}} and whatever else the template reads: tool_calls,
/// reasoning_content, name. Keys whose value is null are taken for missing ones, and reasoning goes
/// under each name that templates read it by, as in transformers. Where a template cannot write a
/// list of parts, it gets their texts joined.
///
/// The template is a program in Jinja (common/text/jinja): one of a few that come with Troupe, a
/// file, or the model's own. Spans mark what assistants generate: what its `generation` blocks
/// write; of a template without them, from the end of the generation prompt to the end of the turn.
///
/// Golden files of transformers' apply_chat_template pin texts, ids and masks.
#ifndef TR_TEXT_CHAT_H
#define TR_TEXT_CHAT_H

#include <jansson.h>
#include <stdbool.h>

#include "common/text/jinja/jinja.h"
#include "common/text/tokenizer.h"

/// A template with what it needs of a tokenizer. Never written after tr_chat_new.
typedef struct tr_chat tr_chat_t;

/// Where a template comes from. Texts are borrowed.
typedef struct tr_chat_source {
    const char *name;   ///< of a template of Troupe's, else of a file; NULL: the model's own
    const char *kwargs; ///< a JSON object: more variables of the template; NULL: none
    const char *model;  ///< the directory of the tokenizer's files
} tr_chat_source_t;

/// The templates that come with Troupe: "chatml" (<|im_start|>role), "llama2"
/// (Llama-2-chat), "llama3" (Meta-Llama-3-Instruct), "mistral" (Mistral-7B-Instruct-v0.2 as first
/// published), "mistral-v1" (the same, later: takes a system message), "mistral-v3"
/// (Mistral-7B-Instruct-v0.3), "zephyr" (zephyr-7b-beta), "plain" ("\n\nHuman: ",
/// "\n\nAssistant: ", as hh-rlhf).
#define TR_CHAT_NAMES "chatml, llama2, llama3, mistral, mistral-v1, mistral-v3, zephyr, plain"

/// The name of the index-th; NULL past the last one.
const char *tr_chat_name(size_t index);
bool tr_chat_is_name(const char *name);
/// The template of that name, with its `generation` blocks; NULL: there is none.
const char *tr_chat_template(const char *name);

/// Reads the template: where no name is given, chat_template.jinja of the directory, else
/// chat_template of tokenizer_config.json (a string, or a list of {name, template}). *chat: owned
/// by the caller; NULL on failure, and with TR_OK where the model has no template. The tokenizer is
/// borrowed. Warns where the template writes tokens that the tokenizer lacks. TR_ERR_IO,
/// TR_ERR_FORMAT, TR_ERR_UNSUPPORTED.
tr_status tr_chat_new(tr_chat_t **chat, const tr_chat_source_t *source,
                      const tr_tokenizer_t *tokenizer, tr_error_t *err);
void tr_chat_destroy(tr_chat_t **chat);

/// The template as a model is saved with it, for transformers and whatever else serves it: those of
/// Troupe without their `generation` blocks, which not every reader of templates knows. Owned by
/// the caller (free).
char *tr_chat_saved(const tr_chat_t *chat);

/// Whether a value is a conversation: an array whose first item has a role, as TRL asks.
bool tr_chat_is_conversation(const json_t *value);

/// Whether each item of a list is a message: "name[1]: role: missing", of each that is none.
/// TR_ERR_FORMAT, and TR_ERR_UNSUPPORTED for parts that are no texts.
tr_status tr_chat_check(const json_t *messages, const char *name, tr_error_t *err);

/// Whether the role of a message is the assistant's.
bool tr_chat_is_assistant(const json_t *message);

/// The content of a message that an assistant has generated as `answer`: without the text that the
/// template writes before contents. Points into answer.
const char *tr_chat_content(const tr_chat_t *chat, const char *answer);

/// How a text ends.
typedef enum tr_chat_end {
    TR_CHAT_WHOLE,  ///< as the template ends it
    TR_CHAT_PROMPT, ///< with what makes the assistant answer; a last message of the assistant's
                    ///< goes on instead
    TR_CHAT_CUT     ///< a last message of the assistant's goes on: nothing follows its content
                    ///< (transformers' continue_final_message)
} tr_chat_end_t;

/// What is written. Everything is borrowed.
typedef struct tr_chat_input {
    const json_t *messages;
    const json_t *tools;  ///< an array of JSON Schemas of functions; NULL: none
    const json_t *kwargs; ///< more variables, before the template's own; NULL: none
    tr_chat_end_t end;
} tr_chat_input_t;

/// text: an empty one, the caller's; untouched on failure. Its spans are those of `generation`
/// blocks. The message and what is wrong with it are named ("messages[2]: role: ..."), or the
/// template's line: TR_ERR_FORMAT; TR_ERR_UNSUPPORTED for parts other than texts.
tr_status tr_chat_render(tr_jinja_text_t *text, const tr_chat_t *chat, const tr_chat_input_t *input,
                         tr_error_t *err);

/// The ids of the text that tr_chat_render writes: special tokens in it are understood, none is
/// added. ids: [*count], mask: [*count], 1 for each token that overlaps what the assistant
/// generates; both owned by the caller (free). mask may be NULL. Fails as tr_chat_render and
/// tr_tokenizer_encode; with a mask also where nothing says what assistants generate.
tr_status tr_chat_encode(int32_t **ids, size_t *count, uint8_t **mask, const tr_chat_t *chat,
                         const tr_chat_input_t *input, tr_error_t *err);

#endif
