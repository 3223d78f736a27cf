// Conversations as ids, and which of the ids an assistant generates. The text is encoded as a
// whole, as generation will see it, so a token may reach across the border of a span: borders are
// compared in the spelling of the vocabulary, where every token has a length.
#include <stdlib.h>
#include <string.h>

#include "common/text/chat_parts.h"

/// The length of a token's spelling. The spellings of a text's tokens, joined, are the text as the
/// vocabulary spells it, wherever the borders between tokens fall: so these lengths are places in a
/// text.
static size_t spelt_length(const tr_tokenizer_t *tokenizer, int32_t id)
{
    const char *token = tr_tokenizer_token(tokenizer, id);
    return token == NULL ? 0 : strlen(token);
}

/// Where byte `at` of text stands in its spelling.
static tr_status spelt_place(size_t *place, const tr_tokenizer_t *tokenizer, const char *text,
                             size_t at, tr_error_t *err)
{
    int32_t *ids = NULL;
    // The text before the border, encoded by itself: where its spelling ends, whatever tokens the
    // whole has there.
    size_t count = 0;
    TR_TRY(tr_tokenizer_encode(&ids, &count, tokenizer, text, at, 0, err));
    *place = 0;
    for (size_t i = 0; i < count; i++) {
        *place += spelt_length(tokenizer, ids[i]);
    }
    free(ids);
    return TR_OK;
}

/// Sets mask: [count] where a token of ids overlaps what the assistant generates.
static tr_status mark(uint8_t *mask, const int32_t *ids, size_t count, const tr_jinja_text_t *text,
                      const tr_tokenizer_t *tokenizer, tr_error_t *err)
{
    for (size_t s = 0; s < text->span_count; s++) {
        size_t from = 0, to = 0, at = 0;
        TR_TRY(spelt_place(&from, tokenizer, text->text.data, text->spans[s].from, err));
        TR_TRY(spelt_place(&to, tokenizer, text->text.data, text->spans[s].to, err));
        // A token counts if it overlaps the span at all: one that reaches across the border is
        // learnt.
        for (size_t i = 0; i < count && at < to; i++) {
            size_t end = at + spelt_length(tokenizer, ids[i]);
            mask[i] = mask[i] || end > from; // spans come in order: an earlier one may have set it
            at = end;
        }
    }
    return TR_OK;
}

tr_status tr_chat_encode(int32_t **ids, size_t *count, uint8_t **mask, const tr_chat_t *chat,
                         const tr_chat_input_t *input, tr_error_t *err)
{
    tr_jinja_text_t text = {0};
    int32_t *all = NULL;
    uint8_t *marks = NULL;
    size_t n = 0;
    tr_status status;
    TR_TRY_GOTO(mask != NULL ? tr_chat_render_marked(&text, chat, input, err)
                             : tr_chat_render(&text, chat, input, err),
                done);
    TR_TRY_GOTO(
        tr_tokenizer_encode(&all, &n, chat->tokenizer, text.text.data, text.text.length, 0, err),
        done);
    if (mask != NULL) {
        // Not NULL, also for a text without tokens.
        marks = tr_calloc(n + 1, sizeof *marks);
        TR_TRY_GOTO(mark(marks, all, n, &text, chat->tokenizer, err), done);
        *mask = marks;
        marks = NULL;
    }
    // Only now, when nothing can fail any more.
    *ids = all;
    *count = n;
    all = NULL;
done:
    free(marks);
    free(all);
    tr_jinja_text_release(&text);
    return status;
}
