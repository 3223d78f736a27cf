/// Stage 3 of data: texts and conversations become token sequences.
///
/// A value is what a column holds: a text (a JSON string), or a conversation (a list of messages),
/// which a chat template writes (common/text/chat.h). Texts get the tokenizer's begin token, and an
/// end token where they end a response; a template writes its own. The kinds of rows (kinds.h) say
/// which values make a sequence.
#ifndef TR_DATA_SEQUENCE_H
#define TR_DATA_SEQUENCE_H

#include "common/text/chat.h"

/// A prompt and what is learnt after it. {0} is empty; release frees it.
typedef struct tr_sequence {
    int32_t *ids;  ///< [length], as many as the row gives: batches cut them to the limit
    size_t prompt; ///< tokens of the prompt, at least 1
    size_t length; ///< of prompt and response
    uint8_t *mask; ///< [length], not 0 where a token counts; NULL: all after the prompt do
    char *text;    ///< a prompt's conversation as its template writes it; NULL for a text
    bool label;    ///< whether the response is wanted: of a pair the chosen side
    float margin;  ///< of a pair, at its chosen side
} tr_sequence_t;

void tr_sequence_release(tr_sequence_t *sequence);

/// How values become tokens. The caller fills it; what is not said to be owned is borrowed.
typedef struct tr_encoder {
    const tr_tokenizer_t *tokenizer;
    tr_chat_source_t source; ///< of the template
    /// Read when the first conversation comes, so that a model without a template takes texts. NULL
    /// before, and where there is none. Owned: release frees it.
    tr_chat_t *chat;
    bool looked;    ///< whether it was looked for
    json_t *tools;  ///< of the row that is encoded; NULL: none. Owned
    json_t *kwargs; ///< more variables of the template in that row; NULL: none. Owned
    bool masks;     ///< conversations get masks of what assistants say
    /// Counted: prompts whose tokens change when a completion follows them.
    size_t mismatches;
} tr_encoder_t;

void tr_encoder_release(tr_encoder_t *encoder);

/// Reads the template, once. TR_OK, with encoder->chat NULL, where the model has none. Fails as
/// tr_chat_new.
tr_status tr_encoder_find_chat(tr_encoder_t *encoder, tr_error_t *err);

// Each fills an empty sequence, which is released by the caller after a failure too. Failures are
// those of tr_tokenizer_encode and tr_chat_encode, and TR_ERR_UNSUPPORTED for a conversation where
// the model has no template. A sequence may come out without tokens (a tokenizer without a begin
// token).

/// A prompt that is to be answered: of a conversation with what makes the assistant answer, and
/// with its text.
tr_status tr_encode_prompt(tr_sequence_t *sequence, tr_encoder_t *encoder, const json_t *prompt,
                           tr_error_t *err);

/// The text of a conversation.
tr_status tr_encoder_render(tr_jinja_text_t *text, tr_encoder_t *encoder, const json_t *messages,
                            tr_chat_end_t end, tr_error_t *err);

/// A whole text or conversation, with its end unless it was cut; its first token, which nothing
/// precedes, is the prompt. So reward models are trained, and asked (common/judge/model.c).
tr_status tr_encode_whole(tr_sequence_t *sequence, tr_encoder_t *encoder, const json_t *value,
                          bool cut, tr_error_t *err);

/// A prompt and a completion, both texts or both conversations, as TRL has it: the prompt's tokens,
/// then what both tokenized together have past as many tokens. prompt is 0 when it has no tokens.
/// cut: as above.
tr_status tr_encode_completion(tr_sequence_t *sequence, tr_encoder_t *encoder, const json_t *prompt,
                               const json_t *completion, bool cut, tr_error_t *err);

/// What the mask of a response in steps says at the token after each step; 0 elsewhere.
enum { TR_MASK_WRONG_STEP = 1, TR_MASK_RIGHT_STEP = 2 };

/// A prompt and a response in steps (common/text/steps.h). texts, right: [count], count >= 1.
tr_status tr_encode_steps(tr_sequence_t *sequence, tr_encoder_t *encoder, const char *prompt,
                          const char *const *texts, const bool *right, size_t count,
                          const char *separator, tr_error_t *err);

// Values

/// Both values as one: texts or conversations. a may be NULL: then it is b. A new reference.
json_t *tr_value_join(const json_t *a, const json_t *b);

#endif
