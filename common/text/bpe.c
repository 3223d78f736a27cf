// Byte pair encoding. A piece is spelt as symbols in a linked list; every pair of neighbours that
// has a merge is put on a heap by (rank, place), and the smallest is merged until the heap is
// empty. A merge leaves candidates behind that no longer hold; they stay on the heap and are passed
// over when they come up, which is cheaper than to find them. tokenizer_encode.c cuts texts into
// pieces.
#include "common/text/bpe.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/status.h"

/// One learned merge. Key: left << 32 | right; EMPTY is no pair, since ids are below 2^24.
typedef struct merge {
    uint64_t key;
    uint32_t rank;
    int32_t merged;
} merge_t;

static const uint64_t EMPTY = UINT64_MAX;

enum { SHORT = 0x800 }; // code points below it have two bytes at most

/// Whether merging the characters of a token gives the token.
enum { UNASKED, WHOLE, PARTS };

struct tr_bpe {
    const tr_vocab_t *vocab;
    tr_bpe_options_t options;
    int32_t short_ids[SHORT]; // of one character; -1 where there is none
    size_t longest;           // bytes of the longest token
    /// [ids] UNASKED until a piece is that token. Whoever asks first finds the same answer as any
    /// other thread, so that the order does not matter.
    atomic_uchar *whole;
    int32_t byte_ids[256]; // of <0xNN>, -1 where there is none
    merge_t *merges;       // [slot_count], open addressing
    size_t slot_count;     // a power of two
};

/// A piece's symbols, a list linked by index: `next` is the right neighbour, NONE at the end.
typedef struct symbol {
    int32_t id; // -1: merged into its left neighbour
    uint32_t previous;
    uint32_t next;
} symbol_t;

/// A merge that may be made of a symbol and its right neighbour. It is stale if they changed since.
typedef struct candidate {
    uint32_t rank;
    uint32_t at;
    int32_t merged;
} candidate_t;

static const uint32_t NONE = UINT32_MAX;

struct tr_bpe_work {
    symbol_t *symbols;
    size_t symbol_count;
    size_t symbol_capacity;
    candidate_t *heap; // the smallest (rank, at) first
    size_t heap_count;
    size_t heap_capacity;
};

tr_bpe_t *tr_bpe_new(const tr_vocab_t *vocab, const tr_bpe_options_t *options, size_t merges)
{
    tr_bpe_t *bpe = tr_calloc(1, sizeof *bpe);
    bpe->vocab = vocab;
    bpe->options = *options;
    bpe->slot_count = 1024;
    while (bpe->slot_count < 2 * merges) { // at most half full: look-ups stay short
        bpe->slot_count *= 2;
    }
    bpe->merges = tr_alloc(bpe->slot_count * sizeof *bpe->merges);
    for (size_t i = 0; i < bpe->slot_count; i++) {
        bpe->merges[i].key = EMPTY;
    }
    bpe->whole = tr_calloc(tr_vocab_size(vocab) + 1, sizeof *bpe->whole);
    bpe->longest = tr_vocab_longest(vocab);
    for (uint32_t point = 0; point < SHORT; point++) {
        char text[4];
        bpe->short_ids[point] = tr_vocab_find(vocab, text, tr_utf8_put(text, point));
    }
    // SentencePiece's names of single bytes.
    for (unsigned byte = 0; byte < 256; byte++) { // for byte_fallback
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        bpe->byte_ids[byte] = tr_vocab_find(vocab, name, 6);
    }
    return bpe;
}

void tr_bpe_destroy(tr_bpe_t **bpe)
{
    if (*bpe == NULL) {
        return;
    }
    free((*bpe)->merges);
    free((*bpe)->whole);
    free(*bpe);
    *bpe = NULL;
}

// Merges, by their pair

/// The slot that holds the pair, or the free one where it belongs.
static size_t slot_of(const tr_bpe_t *bpe, uint64_t key)
{
    // A slot is always free, as the table is at most half full: the walk ends.
    size_t mask = bpe->slot_count - 1;
    // Multiplying spreads ids that follow each other over the high bits, which are the ones taken.
    size_t slot = (size_t)((key * 0x9E3779B97F4A7C15U) >> 20) & mask; // 2^64 by the golden ratio
    while (bpe->merges[slot].key != EMPTY && bpe->merges[slot].key != key) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

void tr_bpe_add_merge(tr_bpe_t *bpe, int32_t left, int32_t right, int32_t merged, uint32_t rank)
{
    uint64_t key = key_of(left, right);
    // A merge that comes twice has its last rank.
    bpe->merges[slot_of(bpe, key)] = (merge_t){key, rank, merged};
}

// Scratch memory

/// It grows with the longest piece and is used again for the next one: pieces are words, and there
/// are many.
tr_bpe_work_t *tr_bpe_work_new(void)
{
    return tr_calloc(1, sizeof(tr_bpe_work_t));
}

void tr_bpe_work_destroy(tr_bpe_work_t **work)
{
    if (*work == NULL) {
        return;
    }
    free((*work)->symbols);
    free((*work)->heap);
    free(*work);
    *work = NULL;
}

static void add_symbol(tr_bpe_work_t *work, int32_t id)
{
    if (work->symbol_count == work->symbol_capacity) {
        work->symbol_capacity = work->symbol_capacity == 0 ? 256 : work->symbol_capacity * 2;
        work->symbols = tr_realloc(work->symbols, work->symbol_capacity * sizeof *work->symbols);
    }
    uint32_t at = (uint32_t)work->symbol_count++;
    // By index, not by pointer: the array moves when it grows.
    work->symbols[at] = (symbol_t){id, at == 0 ? NONE : at - 1, NONE};
    if (at > 0) {
        work->symbols[at - 1].next = at;
    }
}

/// The merge that was learned first; of equal ones the leftmost, as the reference merges from left
/// to right.
static bool before(candidate_t a, candidate_t b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(tr_bpe_work_t *work, candidate_t candidate)
{
    if (work->heap_count == work->heap_capacity) {
        work->heap_capacity = work->heap_capacity == 0 ? 256 : work->heap_capacity * 2;
        work->heap = tr_realloc(work->heap, work->heap_capacity * sizeof *work->heap);
    }
    size_t at = work->heap_count++;
    // Parents that come later move down until the candidate's place is found.
    while (at > 0 && before(candidate, work->heap[(at - 1) / 2])) {
        work->heap[at] = work->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    work->heap[at] = candidate;
}

static candidate_t heap_pop(tr_bpe_work_t *work)
{
    candidate_t top = work->heap[0];
    // The last one takes the place of the first, and sinks to where it belongs.
    candidate_t last = work->heap[--work->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < work->heap_count && before(work->heap[child + 1], work->heap[child])) {
            child++;
        }
        if (child >= work->heap_count || !before(work->heap[child], last)) {
            break;
        }
        work->heap[at] = work->heap[child];
        at = child;
    }
    work->heap[at] = last;
    return top;
}

// Encoding

/// The merge of a symbol and its right neighbour; NULL if there is none.
static const merge_t *merge_at(const tr_bpe_t *bpe, const tr_bpe_work_t *work, uint32_t at)
{
    uint32_t next = work->symbols[at].next;
    if (next == NONE) {
        return NULL;
    }
    const merge_t *merge =
        &bpe->merges[slot_of(bpe, key_of(work->symbols[at].id, work->symbols[next].id))];
    return merge->key == EMPTY ? NULL : merge;
}

/// Puts the merge at a symbol, if there is one, on the heap.
static void consider(const tr_bpe_t *bpe, tr_bpe_work_t *work, uint32_t at)
{
    const merge_t *merge = merge_at(bpe, work, at);
    if (merge != NULL) {
        heap_push(work, (candidate_t){merge->rank, at, merge->merged});
    }
}

/// The symbols of one character that is no token: its bytes, if all of them are tokens, else unk,
/// else nothing. *unk: an unk that is still to be put, as the next one may share it; bytes go
/// before it, as in the `tokenizers` library.
static void spell_unknown(const tr_bpe_t *bpe, tr_bpe_work_t *work, const char *text, size_t length,
                          bool *unk)
{
    // All bytes or none: half a character as bytes would not be decoded as the text that it was.
    bool all = bpe->options.byte_fallback;
    for (size_t i = 0; all && i < length; i++) {
        all = bpe->byte_ids[(unsigned char)text[i]] >= 0;
    }
    for (size_t i = 0; all && i < length; i++) {
        add_symbol(work, bpe->byte_ids[(unsigned char)text[i]]);
    }
    // Without unk_token the character leaves no symbol.
    if (all || bpe->options.unk < 0) {
        return;
    }
    if (*unk && !bpe->options.fuse_unk) {
        add_symbol(work, bpe->options.unk);
    }
    *unk = true;
}

/// The id of one character; -1 if it is no token.
static int32_t character(const tr_bpe_t *bpe, const char *text, size_t length)
{
    // Most characters are short ones: they are not looked for by their hash.
    if (length > 2) {
        return tr_vocab_find(bpe->vocab, text, length);
    }
    uint32_t point = (unsigned char)text[0];
    return bpe
        ->short_ids[length == 1 ? point : (point & 0x1FU) << 6 | ((unsigned char)text[1] & 0x3FU)];
}

/// A piece as symbols, a character each where that is a token.
static void spell(const tr_bpe_t *bpe, tr_bpe_work_t *work, const char *piece, size_t length)
{
    // Of the piece before.
    work->symbol_count = 0;
    work->heap_count = 0;
    bool unk = false;
    for (size_t at = 0; at < length;) {
        size_t n = tr_utf8_next(NULL, piece + at, length - at);
        // tr_tokenizer_encode has checked the whole text, and pieces end where characters do.
        TR_ASSERT(n > 0, "byte %zu is not UTF-8", at);
        int32_t id = character(bpe, piece + at, n);
        if (id >= 0 && unk) {
            add_symbol(work, bpe->options.unk);
            unk = false;
        }
        if (id >= 0) {
            add_symbol(work, id);
        } else {
            spell_unknown(bpe, work, piece + at, n, &unk);
        }
        at += n;
    }
    if (unk) {
        add_symbol(work, bpe->options.unk);
    }
}

/// From the pieces' characters to its tokens. Each merge removes one symbol and can make two new
/// pairs, so a piece of n characters costs n log n.
static void merge_all(const tr_bpe_t *bpe, tr_bpe_work_t *work)
{
    for (uint32_t at = 0; at + 1 < work->symbol_count; at++) {
        consider(bpe, work, at);
    }
    while (work->heap_count > 0) {
        candidate_t best = heap_pop(work);
        symbol_t *left = &work->symbols[best.at];
        // A candidate says what the pair was when it was found. It still holds if the pair that is
        // there now becomes the same token.
        const merge_t *merge = left->id < 0 ? NULL : merge_at(bpe, work, best.at);
        if (merge == NULL || merge->merged != best.merged) {
            continue; // stale: one of the two was merged since
        }
        symbol_t *right = &work->symbols[left->next];
        left->id = best.merged;
        left->next = right->next;
        // The symbol stays in the array, out of the list.
        right->id = -1;
        if (left->next != NONE) {
            work->symbols[left->next].previous = best.at;
        }
        // The new symbol has two new pairs.
        if (left->previous != NONE) {
            consider(bpe, work, left->previous);
        }
        consider(bpe, work, best.at);
    }
}

/// Symbols that were merged away stay in the array with the id -1; the others are the tokens, in
/// order. A piece that is a token, as most words of a text are, is merged once, and then known.
void tr_bpe_encode(tr_ids_t *ids, const tr_bpe_t *bpe, tr_bpe_work_t *work, const char *piece,
                   size_t length)
{
    int32_t whole = length > bpe->longest ? -1 : tr_vocab_find(bpe->vocab, piece, length);
    // Llama 3 has tokens that no sequence of merges reaches.
    if (whole >= 0 && (bpe->options.ignore_merges ||
                       atomic_load_explicit(&bpe->whole[whole], memory_order_relaxed) == WHOLE)) {
        tr_ids_append(ids, whole);
        return;
    }
    spell(bpe, work, piece, length);
    merge_all(bpe, work);
    size_t before = ids->count;
    for (size_t at = 0; at < work->symbol_count; at++) {
        if (work->symbols[at].id >= 0) {
            tr_ids_append(ids, work->symbols[at].id);
        }
    }
    if (whole >= 0) {
        bool same = ids->count == before + 1 && ids->data[before] == whole;
        atomic_store_explicit(&bpe->whole[whole], same ? WHOLE : PARTS, memory_order_relaxed);
    }
}
