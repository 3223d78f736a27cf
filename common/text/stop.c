// Where a response's text first holds a stop string. Only the end of the text is kept: what could
// begin a stop string that is not complete yet.
//
// The text is asked anew after each token (tr_text_stream_peek), since the stream keeps back what a
// later token may still change, such as a newline that is a byte token.
#include "common/text/stop.h"

#include <stdlib.h>
#include <string.h>

#include "common/text/utf8.h"

struct tr_stop {
    tr_text_stream_t *stream;
    char *const *texts; // [count]
    size_t count;
    size_t longest; // bytes of the longest text
    tr_bytes_t end; // of the text that no token changes any more
};

tr_stop_t *tr_stop_new(const tr_tokenizer_t *tokenizer, char *const *texts, size_t count)
{
    tr_stop_t *stop = tr_calloc(1, sizeof *stop);
    stop->stream = tr_text_stream_new(tokenizer, TR_DECODE_CONTINUES);
    stop->texts = texts;
    stop->count = count;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(texts[i]);
        stop->longest = length > stop->longest ? length : stop->longest;
    }
    return stop;
}

void tr_stop_destroy(tr_stop_t **stop)
{
    if (*stop != NULL) {
        tr_text_stream_destroy(&(*stop)->stream);
        tr_bytes_release(&(*stop)->end);
        free(*stop);
        *stop = NULL;
    }
}

static bool holds_one(const tr_stop_t *stop)
{
    for (size_t i = 0; i < stop->count; i++) {
        // not strstr: a text may hold zero bytes
        if (memmem(stop->end.data, stop->end.length, stop->texts[i], strlen(stop->texts[i]))) {
            return true;
        }
    }
    return false;
}

/// Drops what no stop string can begin in any more.
static void forget(tr_bytes_t *end, size_t longest)
{
    if (end->length >= longest) {
        size_t first = end->length - (longest - 1);
        memmove(end->data, end->data + first, longest - 1);
        end->length = longest - 1;
    }
}

bool tr_stop_push(tr_stop_t *stop, int32_t id)
{
    size_t certain, pending;
    const char *text = tr_text_stream_push(&certain, stop->stream, id);
    tr_bytes_append(&stop->end, text, certain);
    certain = stop->end.length;
    text = tr_text_stream_peek(&pending, stop->stream);
    tr_bytes_append(&stop->end, text, pending);
    bool found = holds_one(stop);
    stop->end.length = certain;
    forget(&stop->end, stop->longest);
    return found;
}
