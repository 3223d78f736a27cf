// Decoders: from the texts of tokens to the text, a token at a time. Each stage takes a token's
// text and hands on what no later token can change; the last stage's is the stream's
// (text_stream.c). A row of the table at the end is a type that tokenizer.json may name.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

static const tr_text_stage_t *stage_of(const tr_text_stream_t *stream, size_t at)
{
    return &stream->tokenizer->decoder.items[at];
}

// ByteLevel: all tokens are bytes in GPT-2's alphabet, and text is certain once its characters are
// complete. A token with another character (an added one) is its own UTF-8.

static void push_bytes(tr_text_stream_t *stream, size_t at, const char *text, size_t length)
{
    tr_bytes_t *held = &stream->states[at].held;
    size_t before = held->length;
    for (size_t i = 0, n; i < length; i += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text + i, length - i);
        if (n == 0 || point >= 512 || stream->tokenizer->byte_of[point] < 0) {
            held->length = before; // take back what was spelt so far
            tr_bytes_append(held, text, length);
            break;
        }
        char byte = (char)stream->tokenizer->byte_of[point];
        tr_bytes_append(held, &byte, 1);
    }
    // A character's first bytes wait for the others, which may come with the next token.
    tr_bytes_t out = {0};
    tr_utf8_drain(&out, held, false);
    tr_text_stream_give(stream, at + 1, out.data, out.length);
    tr_bytes_release(&out);
}

static void finish_bytes(tr_text_stream_t *stream, size_t at)
{
    tr_bytes_t out = {0};
    tr_utf8_drain(&out, &stream->states[at].held, true);
    tr_text_stream_give(stream, at + 1, out.data, out.length);
    tr_bytes_release(&out);
}

// ByteFallback: a run of tokens <0xNN> is text if all of it is UTF-8, else each byte is U+FFFD, so
// a run is certain only when it ends.

static void finish_fallback(tr_text_stream_t *stream, size_t at)
{
    tr_bytes_t *run = &stream->states[at].held;
    size_t length = run->length;
    run->length = 0;
    if (length > 0 && tr_utf8_valid(run->data, length) == length) {
        tr_text_stream_give(stream, at + 1, run->data, length);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        tr_text_stream_give(stream, at + 1, "\xEF\xBF\xBD", 3);
    }
}

/// The byte of a token <0xNN>, -1 for any other token.
static int byte_token(const char *text, size_t length)
{
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' ||
        !isxdigit((unsigned char)text[3]) || !isxdigit((unsigned char)text[4])) {
        return -1;
    }
    return (int)strtol((char[]){text[3], text[4], '\0'}, NULL, 16);
}

static void push_fallback(tr_text_stream_t *stream, size_t at, const char *text, size_t length)
{
    int byte = byte_token(text, length);
    if (byte >= 0) {
        tr_bytes_append(&stream->states[at].held, &(char){(char)byte}, 1);
        return;
    }
    finish_fallback(stream, at); // any other token ends the run
    tr_text_stream_give(stream, at + 1, text, length);
}

// Replace, a token at a time

static tr_status parse_replace(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    const json_t *content = json_object_get(node, "content");
    if (!json_is_string(content)) {
        return tr_fail(err, TR_ERR_FORMAT, "Replace needs a text 'content'");
    }
    tr_bytes_append(&stage->text, json_string_value(content), json_string_length(content));
    return tr_text_stage_parse_pattern(stage, node, err);
}

static void push_replace(tr_text_stream_t *stream, size_t at, const char *text, size_t length)
{
    const tr_text_stage_t *stage = stage_of(stream, at);
    tr_bytes_t piece = {0};
    tr_bytes_append(&piece, text, length);
    // A token that exceeds the expression's limits stays as it is: decoding cannot fail.
    tr_pattern_replace(&piece, stage->pattern, &stage->text, NULL, NULL);
    tr_text_stream_give(stream, at + 1, piece.data, piece.length);
    tr_bytes_release(&piece);
}

// Strip: so many of a character off the two ends of each token, or, behind Fuse, of all the text

static tr_status parse_strip(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    json_int_t start = json_integer_value(json_object_get(node, "start"));
    json_int_t stop = json_integer_value(json_object_get(node, "stop"));
    if (start < 0 || start > 1024 || stop < 0 || stop > 1024) {
        return tr_fail(err, TR_ERR_FORMAT, "Strip needs counts 'start' and 'stop' up to 1024");
    }
    stage->left = (size_t)start;
    stage->right = (size_t)stop;
    return tr_text_stage_parse_character(&stage->character, node, "content", err);
}

/// Where text starts without the characters that are still to be taken from its start.
static size_t strip_start(size_t *left, uint32_t character, const char *text, size_t length)
{
    size_t at = 0;
    while (*left > 0 && at < length) {
        uint32_t point = 0;
        size_t n = tr_utf8_next(&point, text + at, length - at);
        // The first other character ends it: spaces within the text stay.
        if (point != character) {
            *left = 0;
            break;
        }
        (*left)--;
        at += n;
    }
    return at;
}

/// Where text ends without at most `count` of the character.
static size_t strip_end(size_t count, uint32_t character, const char *text, size_t length)
{
    char end[4];
    size_t n = tr_utf8_put(end, character);
    while (count-- > 0 && length >= n && memcmp(text + length - n, end, n) == 0) {
        length -= n;
    }
    return length;
}

static void push_strip(tr_text_stream_t *stream, size_t at, const char *text, size_t length)
{
    const tr_text_stage_t *stage = stage_of(stream, at);
    tr_stage_state_t *state = &stream->states[at];
    size_t left = stage->left;
    size_t start =
        strip_start(stage->joined ? &state->left : &left, stage->character, text, length);
    text += start;
    length -= start;
    size_t end = strip_end(stage->right, stage->character, text, length);
    if (!stage->joined || stage->right == 0) {
        tr_text_stream_give(stream, at + 1, text, end);
        return;
    }
    // What may be the end of the text waits.
    tr_bytes_t all = state->held;
    state->held = (tr_bytes_t){0};
    tr_bytes_append(&all, text, length);
    end = strip_end(stage->right, stage->character, all.data, all.length);
    tr_bytes_append(&state->held, all.data + end, all.length - end);
    tr_text_stream_give(stream, at + 1, all.data, end);
    tr_bytes_release(&all);
}

/// The characters at the end of the text are the ones that are taken.
static void finish_strip(tr_text_stream_t *stream, size_t at)
{
    stream->states[at].held.length = 0;
}

// Metaspace: marks are spaces, but in the first token, where they vanish

static tr_status parse_metaspace(tr_text_stage_t *stage, const json_t *node, tr_error_t *err)
{
    TR_TRY(tr_text_stage_parse_prepend(&stage->prepend, node, err));
    return tr_text_stage_parse_character(&stage->character, node, "replacement", err);
}

static void push_metaspace(tr_text_stream_t *stream, size_t at, const char *text, size_t length)
{
    const tr_text_stage_t *stage = stage_of(stream, at);
    bool vanish = !stream->states[at].begun && stage->prepend != TR_PREPEND_NEVER;
    stream->states[at].begun = true;
    tr_bytes_t out = {0};
    for (size_t i = 0, n; i < length; i += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text + i, length - i);
        if (point != stage->character) {
            tr_bytes_append(&out, text + i, n);
        } else if (!vanish) {
            tr_bytes_append(&out, " ", 1);
        }
    }
    tr_text_stream_give(stream, at + 1, out.data, out.length);
    tr_bytes_release(&out);
}

// Fuse: the tokens behind it are one; the pieces of a stream are joined anyway

static void push_fuse(tr_text_stream_t *stream, size_t at, const char *text, size_t length)
{
    tr_text_stream_give(stream, at + 1, text, length);
}

const tr_component_t TR_DECODERS[] = {
    {.name = "ByteLevel", .push = push_bytes, .finish = finish_bytes},
    {.name = "ByteFallback", .push = push_fallback, .finish = finish_fallback},
    {.name = "Replace", .parse = parse_replace, .push = push_replace},
    {.name = "Strip", .parse = parse_strip, .push = push_strip, .finish = finish_strip},
    {.name = "Metaspace", .parse = parse_metaspace, .push = push_metaspace},
    {.name = "Fuse", .push = push_fuse},
    {.name = NULL},
};
