// Ids to text, one id at a time. Decoding all ids at once is the same stream, ended after the last
// one, so that pieces shown while they are generated are the final text by construction. What a
// stage of the decoder does is in decoder.c.
#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer_parts.h"

// Life cycle

/// Before the first id of a text. What encoding put before a beginning is taken away again; a
/// continuation had nothing.
static void start(tr_text_stream_t *stream)
{
    bool continues = (stream->flags & TR_DECODE_CONTINUES) != 0;
    for (size_t i = 0; i < stream->tokenizer->decoder.count; i++) {
        tr_stage_state_t *state = &stream->states[i];
        state->left = continues ? 0 : stream->tokenizer->decoder.items[i].left;
        state->begun = continues;
        state->held.length = 0;
    }
}

tr_text_stream_t *tr_text_stream_new(const tr_tokenizer_t *tokenizer, unsigned flags)
{
    tr_text_stream_t *stream = tr_calloc(1, sizeof *stream);
    stream->tokenizer = tokenizer;
    stream->flags = flags;
    stream->states = tr_calloc(tokenizer->decoder.count, sizeof *stream->states);
    start(stream);
    return stream;
}

void tr_text_stream_destroy(tr_text_stream_t **stream)
{
    if (*stream == NULL) {
        return;
    }
    for (size_t i = 0; i < (*stream)->tokenizer->decoder.count; i++) {
        tr_bytes_release(&(*stream)->states[i].held);
    }
    free((*stream)->states);
    tr_bytes_release(&(*stream)->out);
    free(*stream);
    *stream = NULL;
}

// Decoding

void tr_text_stream_give(tr_text_stream_t *stream, size_t at, const char *text, size_t length)
{
    const tr_text_stages_t *decoder = &stream->tokenizer->decoder;
    if (at == decoder->count) {
        tr_bytes_append(&stream->out, text, length);
    } else {
        decoder->items[at].component->push(stream, at, text, length);
    }
}

/// Ids that have no text, and special ones that are skipped, change nothing.
static void decode(tr_text_stream_t *stream, int32_t id)
{
    const tr_tokenizer_t *tokenizer = stream->tokenizer;
    size_t length = 0;
    if ((stream->flags & TR_DECODE_SKIP_SPECIAL) != 0 && tr_tokenizer_is_special(tokenizer, id)) {
        return;
    }
    const char *text = tr_vocab_text(&length, tokenizer->added, id);
    if (text == NULL) {
        text = tr_vocab_text(&length, tokenizer->vocab, id);
    }
    if (text != NULL) {
        tr_text_stream_give(stream, 0, text, length);
    }
}

/// No more ids: what is pending goes out as it is, stage by stage.
static void finish(tr_text_stream_t *stream)
{
    const tr_text_stages_t *decoder = &stream->tokenizer->decoder;
    for (size_t i = 0; i < decoder->count; i++) {
        if (decoder->items[i].component->finish != NULL) {
            decoder->items[i].component->finish(stream, i);
        }
    }
    start(stream);
}

// Calls

/// What `out` holds, as the calls return it.
static const char *result(size_t *length, tr_text_stream_t *stream)
{
    // data is not NULL and ends with a NUL, also when there is no text.
    tr_bytes_append(&stream->out, "", 0);
    if (length != NULL) {
        *length = stream->out.length;
    }
    return stream->out.data;
}

const char *tr_text_stream_push(size_t *length, tr_text_stream_t *stream, int32_t id)
{
    stream->out.length = 0;
    decode(stream, id);
    return result(length, stream);
}

/// Nothing follows: bytes that wait for others are no characters.
const char *tr_text_stream_flush(size_t *length, tr_text_stream_t *stream)
{
    stream->out.length = 0;
    finish(stream);
    return result(length, stream);
}

/// A copy of the states goes to the end, and the stream has its own back.
const char *tr_text_stream_peek(size_t *length, tr_text_stream_t *stream)
{
    size_t count = stream->tokenizer->decoder.count;
    tr_stage_state_t *states = stream->states;
    stream->states = tr_calloc(count, sizeof *states);
    for (size_t i = 0; i < count; i++) {
        stream->states[i] = states[i];
        stream->states[i].held = (tr_bytes_t){0};
        tr_bytes_append(&stream->states[i].held, states[i].held.data, states[i].held.length);
    }
    tr_text_stream_flush(NULL, stream);
    for (size_t i = 0; i < count; i++) {
        tr_bytes_release(&stream->states[i].held);
    }
    free(stream->states);
    stream->states = states;
    return result(length, stream);
}

char *tr_tokenizer_decode(size_t *length, const tr_tokenizer_t *tokenizer, const int32_t *ids,
                          size_t count, unsigned flags)
{
    tr_text_stream_t *stream = tr_text_stream_new(tokenizer, flags);
    for (size_t i = 0; i < count; i++) {
        decode(stream, ids[i]);
    }
    finish(stream);
    result(length, stream);
    char *text = stream->out.data;
    // The text goes to the caller; destroying the stream must not free it.
    stream->out = (tr_bytes_t){0};
    tr_text_stream_destroy(&stream);
    return text;
}
