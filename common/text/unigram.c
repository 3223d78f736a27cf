// Viterbi over the tokens that begin at each character, found in a trie of bytes. Scores are added
// from left to right and the first of equal ones stays, as in SentencePiece and in the `tokenizers`
// library, whose sums these must be to the last bit.
#include "common/text/unigram.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"

/// A step of the trie: from a node by a byte to another. Key: node << 8 | byte, plus one; 0 is
/// free.
typedef struct edge {
    uint64_t key;
    uint32_t node;
} edge_t;

struct tr_unigram {
    const tr_vocab_t *vocab;
    double *scores; // [ids]
    double unk_score;
    int32_t unk;
    bool byte_fallback;
    edge_t *edges; // [slot_count], open addressing
    size_t slot_count;
    int32_t *ids; // [node_count], the token that ends at a node, -1 if none does
    size_t node_count, node_capacity;
};

/// What a character without a token costs more than the worst token (SentencePiece's kUnkPenalty).
static const double UNK_PENALTY = 10.0;

// The trie

static size_t slot_of(const tr_unigram_t *unigram, uint64_t key)
{
    size_t mask = unigram->slot_count - 1;
    size_t slot = (size_t)((key * 0x9E3779B97F4A7C15U) >> 20) & mask;
    while (unigram->edges[slot].key != 0 && unigram->edges[slot].key != key) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static uint64_t key_of(uint32_t node, char byte)
{
    return ((uint64_t)node << 8 | (unsigned char)byte) + 1;
}

static uint32_t add_node(tr_unigram_t *unigram)
{
    if (unigram->node_count == unigram->node_capacity) {
        unigram->node_capacity = unigram->node_capacity * 2 + 1024;
        unigram->ids = tr_realloc(unigram->ids, unigram->node_capacity * sizeof *unigram->ids);
    }
    unigram->ids[unigram->node_count] = -1;
    return (uint32_t)unigram->node_count++;
}

static void add_token(tr_unigram_t *unigram, const char *text, size_t length, int32_t id)
{
    uint32_t node = 0;
    for (size_t i = 0; i < length; i++) {
        uint64_t key = key_of(node, text[i]);
        edge_t *edge = &unigram->edges[slot_of(unigram, key)];
        if (edge->key == 0) {
            *edge = (edge_t){key, add_node(unigram)};
        }
        node = edge->node;
    }
    unigram->ids[node] = id;
}

tr_unigram_t *tr_unigram_new(const tr_vocab_t *vocab, const double *scores, int32_t unk,
                             bool byte_fallback)
{
    tr_unigram_t *unigram = tr_calloc(1, sizeof *unigram);
    size_t size = tr_vocab_size(vocab), bytes = 0, length = 0;
    unigram->vocab = vocab;
    unigram->unk = unk;
    unigram->byte_fallback = byte_fallback;
    unigram->scores = tr_calloc(size + 1, sizeof *scores);
    memcpy(unigram->scores, scores, size * sizeof *scores);
    unigram->unk_score = INFINITY;
    for (size_t id = 0; id < size; id++) {
        unigram->unk_score = scores[id] < unigram->unk_score ? scores[id] : unigram->unk_score;
        bytes += tr_vocab_text(&length, vocab, (int32_t)id) != NULL ? length : 0;
    }
    unigram->unk_score -= UNK_PENALTY;
    unigram->slot_count = 1024;
    while (unigram->slot_count < 2 * bytes) { // an edge a byte at most, and half of them free
        unigram->slot_count *= 2;
    }
    unigram->edges = tr_calloc(unigram->slot_count, sizeof *unigram->edges);
    add_node(unigram);
    for (size_t id = 0; id < size; id++) {
        const char *text = tr_vocab_text(&length, vocab, (int32_t)id);
        // Of a text that comes twice the last id is found.
        if (text != NULL && length > 0) {
            add_token(unigram, text, length, tr_vocab_find(vocab, text, length));
        }
    }
    return unigram;
}

void tr_unigram_destroy(tr_unigram_t **unigram)
{
    if (*unigram == NULL) {
        return;
    }
    free((*unigram)->scores);
    free((*unigram)->edges);
    free((*unigram)->ids);
    free(*unigram);
    *unigram = NULL;
}

// Encoding

/// The best way to spell a piece up to a byte; then, on the best way of all, what begins there.
typedef struct best {
    double score;
    size_t start;     // of the last token; NONE: no token ends here
    size_t end;       // of the token that begins here
    int32_t id, next; // of the token that ends here, and of the one that begins
} best_t;

static const size_t NONE = SIZE_MAX;

/// Whether it is the best way so far.
static bool offer(best_t *best, double score, size_t start, int32_t id)
{
    const bool better = best->start == NONE || score > best->score;
    if (better) {
        *best = (best_t){.score = score, .start = start, .id = id};
    }
    return better;
}

/// The tokens that begin at a character of n bytes, and unk where none is that character alone.
/// False: unk would be the best, and there is none.
static bool look(best_t *best, const tr_unigram_t *unigram, const char *piece, size_t length,
                 size_t at, size_t n)
{
    uint32_t node = 0;
    bool alone = false;
    for (size_t end = at; end < length; end++) {
        const edge_t *edge = &unigram->edges[slot_of(unigram, key_of(node, piece[end]))];
        if (edge->key == 0) {
            break;
        }
        node = edge->node;
        int32_t id = unigram->ids[node];
        if (id >= 0) {
            offer(&best[end + 1], unigram->scores[id] + best[at].score, at, id);
            alone = alone || end + 1 == at + n;
        }
    }
    return alone || !offer(&best[at + n], unigram->unk_score + best[at].score, at, unigram->unk) ||
           unigram->unk >= 0;
}

/// Appends what unknown text becomes: it may be a token after all when neighbours are joined, else
/// its bytes, else unk.
static void put_unknown(tr_ids_t *ids, const tr_unigram_t *unigram, const char *text, size_t length)
{
    int32_t id = tr_vocab_find(unigram->vocab, text, length);
    size_t before = ids->count;
    for (size_t i = 0; id < 0 && unigram->byte_fallback && i < length; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)(unsigned char)text[i]);
        int32_t byte = tr_vocab_find(unigram->vocab, name, 6);
        if (byte < 0) {
            ids->count = before;
            break;
        }
        tr_ids_append(ids, byte);
    }
    if (id >= 0 || ids->count == before) {
        tr_ids_append(ids, id >= 0 ? id : unigram->unk);
    }
}

/// From the end of the piece to its start, then the other way round: neighbouring unknown
/// characters are one text.
static void put_best(tr_ids_t *ids, const tr_unigram_t *unigram, const char *piece, size_t length,
                     best_t *best)
{
    for (size_t end = length; end > 0; end = best[end].start) {
        best[best[end].start].end = end;
        best[best[end].start].next = best[end].id;
    }
    for (size_t at = 0, end; at < length; at = end) {
        int32_t id = best[at].next;
        end = best[at].end;
        while (id == unigram->unk && end < length && best[end].next == id) {
            end = best[end].end;
        }
        if (id == unigram->unk) {
            put_unknown(ids, unigram, piece + at, end - at);
        } else {
            tr_ids_append(ids, id);
        }
    }
}

bool tr_unigram_encode(tr_ids_t *ids, const tr_unigram_t *unigram, const char *piece, size_t length)
{
    best_t *best = tr_calloc(length + 1, sizeof *best);
    for (size_t i = 0; i <= length; i++) {
        best[i].start = NONE;
    }
    bool known = true;
    for (size_t at = 0, n; known && at < length; at += n) {
        n = tr_utf8_next(NULL, piece + at, length - at);
        TR_ASSERT(n > 0, "byte %zu is not UTF-8", at);
        known = look(best, unigram, piece, length, at, n);
    }
    if (known) {
        put_best(ids, unigram, piece, length, best);
    }
    free(best);
    return known;
}
