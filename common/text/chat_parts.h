/// What the files of chat.h share.
#ifndef TR_TEXT_CHAT_PARTS_H
#define TR_TEXT_CHAT_PARTS_H

#include "common/text/chat.h"

struct tr_chat {
    tr_jinja_t *template;
    char *source; ///< the template's text
    bool own;     ///< it is one of Troupe's
    const tr_tokenizer_t *tokenizer;
    json_t *variables; ///< of every text: special tokens, then kwargs
    bool parts;        ///< the template writes contents that are lists of parts
    /// What the template writes before and after the content of an assistant's message that stands
    /// last; "" where it writes no such message.
    char *before, *after;
};

/// What stands behind a content to find where it ends: transformers' own.
#define TR_CHAT_TAG "CONTINUE_FINAL_MESSAGE_TAG "

/// The template's text: [*length], owned by the caller (free); NULL where the model has none.
tr_status tr_chat_find(char **text, size_t *length, const tr_chat_source_t *source,
                       tr_error_t *err);

/// The special tokens that tokenizer_config.json and the tokenizer name: {"bos_token": "<s>", ...},
/// a new reference.
tr_status tr_chat_tokens(json_t **tokens, const char *model, const tr_tokenizer_t *tokenizer,
                         tr_error_t *err);

/// Runs the template on messages as they are.
tr_status tr_chat_run(tr_jinja_text_t *text, const tr_chat_t *chat, const tr_chat_input_t *input,
                      const json_t *messages, bool add_generation_prompt, tr_error_t *err);

/// Messages as templates get them: checked, without nulls, contents as the template takes them.
/// *messages: a new reference.
tr_status tr_chat_read(json_t **messages, const tr_chat_t *chat, const json_t *given,
                       tr_error_t *err);
/// A copy in which the tag stands behind the content of message `index`. A new reference.
json_t *tr_chat_tagged(const json_t *messages, size_t index);

/// As tr_chat_render, with spans whether or not the template has `generation` blocks.
tr_status tr_chat_render_marked(tr_jinja_text_t *text, const tr_chat_t *chat,
                                const tr_chat_input_t *input, tr_error_t *err);

/// Writes the spans of a text whose template has no `generation` blocks. messages: as tr_chat_read.
tr_status tr_chat_mark(tr_jinja_text_t *text, const tr_chat_t *chat, const tr_chat_input_t *input,
                       const json_t *messages, tr_error_t *err);

/// Warns of what looks like a special token in the template and is none of the tokenizer's.
void tr_chat_warn_of_missing(const tr_chat_t *chat);

#endif
