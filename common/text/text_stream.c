// Ids to text, one id at a time. Decoding all ids at once is the same stream, ended after the last
// one, so that pieces shown while they are generated are the final text by construction.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer_parts.h"

/// Byte level: each token is bytes, and text is certain once its characters are complete. Pieces:
/// each token is text, except tokens <0xNN>; a run of those is text if all of it is UTF-8, else
/// each byte is U+FFFD, so a run is certain only when it ends.
struct tr_text_stream {
    const tr_tokenizer_t *tokenizer;
    unsigned flags;
    size_t strip_left;  // characters that may still be taken from the start
    tr_bytes_t pending; // bytes that are not certain yet
    tr_bytes_t out;     // what the last call returned
};

// Life cycle

/// Before the first id of a text.
static void start(tr_text_stream_t *stream)
{
    stream->strip_left =
        // The space that encoding put before a beginning is taken away again; a continuation had
        // none.
        (stream->flags & TR_DECODE_CONTINUES) != 0 ? 0 : stream->tokenizer->strip_count;
    stream->pending.length = 0;
}

tr_text_stream_t *tr_text_stream_new(const tr_tokenizer_t *tokenizer, unsigned flags)
{
    tr_text_stream_t *stream = tr_calloc(1, sizeof *stream);
    stream->tokenizer = tokenizer;
    stream->flags = flags;
    start(stream);
    return stream;
}

void tr_text_stream_destroy(tr_text_stream_t **stream)
{
    if (*stream == NULL) {
        return;
    }
    tr_bytes_release(&(*stream)->pending);
    tr_bytes_release(&(*stream)->out);
    free(*stream);
    *stream = NULL;
}

// Decoders

/// Text that is certain goes out, less the characters that are stripped from the start.
static void emit(tr_text_stream_t *stream, const char *text, size_t length)
{
    while (stream->strip_left > 0 && length > 0) {
        uint32_t point = 0;
        size_t n = tr_utf8_next(&point, text, length);
        // The first other character ends it: spaces within the text stay.
        if (point != stream->tokenizer->strip) {
            stream->strip_left = 0;
            break;
        }
        stream->strip_left--;
        text += n;
        length -= n;
    }
    tr_bytes_append(&stream->out, text, length);
}

/// A run of byte tokens has ended.
static void end_run(tr_text_stream_t *stream)
{
    tr_bytes_t *run = &stream->pending;
    // As the decoder ByteFallback: the run is text as a whole, or each of its bytes is a character
    // of its own.
    if (run->length > 0 && tr_utf8_valid(run->data, run->length) == run->length) {
        emit(stream, run->data, run->length);
    } else {
        for (size_t i = 0; i < run->length; i++) {
            emit(stream, "\xEF\xBF\xBD", 3);
        }
    }
    run->length = 0;
}

/// The byte of a token <0xNN>, -1 for any other token.
static int byte_token(const char *text, size_t length)
{
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' ||
        !isxdigit((unsigned char)text[3]) || !isxdigit((unsigned char)text[4])) {
        return -1;
    }
    return (int)strtol(text + 3, NULL, 16);
}

/// A token of the decoder of pieces.
static void push_piece(tr_text_stream_t *stream, const char *text, size_t length)
{
    const tr_tokenizer_t *tokenizer = stream->tokenizer;
    // Without that decoder <0xNN> is a text as any other.
    int byte = tokenizer->decoder_byte_fallback ? byte_token(text, length) : -1;
    if (byte >= 0) {
        tr_bytes_append(&stream->pending, &(char){(char)byte}, 1);
        return;
    }
    // Any other token ends the run: its text can be given out.
    end_run(stream);
    tr_bytes_t piece = {0};
    tr_bytes_append(&piece, text, length);
    tr_text_rules_apply(&piece, &tokenizer->decoder_rules, false);
    emit(stream, piece.data, piece.length);
    tr_bytes_release(&piece);
}

/// A token of the byte-level decoder: bytes in GPT-2's alphabet; a token with another character (an
/// added one) is its own UTF-8.
static void push_bytes(tr_text_stream_t *stream, const char *text, size_t length)
{
    size_t before = stream->pending.length;
    for (size_t at = 0; at < length;) {
        uint32_t point = 0;
        size_t n = tr_utf8_next(&point, text + at, length - at);
        if (n == 0 || point >= 512 || stream->tokenizer->byte_of[point] < 0) {
            stream->pending.length = before; // take back what was spelt so far
            tr_bytes_append(&stream->pending, text, length);
            break;
        }
        tr_bytes_append(&stream->pending, &(char){(char)stream->tokenizer->byte_of[point]}, 1);
        at += n;
    }
    // A character's first bytes wait for the others, which may come with the next token.
    tr_utf8_drain(&stream->out, &stream->pending, false);
}

/// Ids that have no text, and special ones that are skipped, change nothing.
static void decode(tr_text_stream_t *stream, int32_t id)
{
    const tr_tokenizer_t *tokenizer = stream->tokenizer;
    size_t length = 0;
    const char *text = tr_vocab_text(&length, tokenizer->added, id);
    // Special tokens are added ones: only those are looked for.
    if (text != NULL && (stream->flags & TR_DECODE_SKIP_SPECIAL) != 0 &&
        tr_tokenizer_is_special(tokenizer, id)) {
        return;
    }
    if (text == NULL) {
        text = tr_vocab_text(&length, tokenizer->vocab, id);
    }
    if (text == NULL) {
        return;
    }
    if (tokenizer->decoder == TR_DECODER_BYTE_LEVEL) {
        push_bytes(stream, text, length);
    } else {
        push_piece(stream, text, length);
    }
}

/// No more ids: what is pending goes out as it is.
static void finish(tr_text_stream_t *stream)
{
    if (stream->tokenizer->decoder == TR_DECODER_BYTE_LEVEL) {
        tr_utf8_drain(&stream->out, &stream->pending, true);
    } else {
        end_run(stream);
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

const char *tr_text_stream_peek(size_t *length, tr_text_stream_t *stream)
{
    tr_bytes_t pending = {0};
    size_t strip_left = stream->strip_left;
    tr_bytes_append(&pending, stream->pending.data, stream->pending.length);
    tr_text_stream_flush(NULL, stream);
    // Back to where it was: the flush has emptied what waits.
    tr_bytes_release(&stream->pending);
    stream->pending = pending;
    stream->strip_left = strip_left;
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
