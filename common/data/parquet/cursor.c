// Pages of a leaf: their headers, levels and dictionary. What a header says is checked before
// memory is taken by it.
#include "common/data/parquet/cursor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "common/data/parquet/codec.h"

enum { DATA_PAGE = 0, DICTIONARY_PAGE = 2, DATA_PAGE_V2 = 3 }; // of parquet.thrift
enum { RLE = 3 };

// A header has a few dozen bytes, unless it has statistics of long texts.
enum { HEADER_FIRST = 1024, HEADER_MOST = 16 << 20 };

// A page unpacks to so many times its size, and so much besides: a small file takes little memory.
enum { LARGEST_RATIO = 1000, ANY_RATIO = 64 << 20 };

/// Of all kinds of pages.
typedef struct page {
    int64_t type, size, packed;
    int64_t values, encoding;
    int64_t definitions_encoding, levels_encoding; // of the first version
    int64_t definitions_length, levels_length;     // of the second
    bool compressed;
    bool checked; // there is a checksum
    uint32_t checksum;
} page_t;

static tr_status damaged(tr_error_t *err)
{
    return tr_fail(err, TR_ERR_FORMAT, "a damaged page");
}

/// Room for size bytes.
static tr_status reserve(parquet_buffer_t *buffer, size_t size, size_t *budget, tr_error_t *err)
{
    if (size <= buffer->capacity) {
        return TR_OK;
    }
    if (size - buffer->capacity > *budget) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "pages of more memory than 2 GiB: write the file anew with smaller pages");
    }
    *budget -= size - buffer->capacity;
    buffer->data = tr_realloc(buffer->data, size);
    buffer->capacity = size;
    return TR_OK;
}

static tr_status read_at(parquet_buffer_t *buffer, size_t size, const parquet_cursor_t *cursor,
                         tr_error_t *err)
{
    TR_TRY(reserve(buffer, size, cursor->budget, err));
    ssize_t n = pread(cursor->descriptor, buffer->data, size, (off_t)cursor->at);
    return n == (ssize_t)size ? TR_OK
                              : tr_fail(err, TR_ERR_IO, "cannot read the file: %s",
                                        n < 0 ? strerror(errno) : "it is shorter than it was");
}

// Headers

/// DataPageHeader, DictionaryPageHeader or DataPageHeaderV2, by the field that it is.
static void read_kind(parquet_input_t *input, page_t *page, int64_t kind)
{
    enum { FIELDS = 6 };
    int64_t *const first[FIELDS] = {&page->values, &page->encoding, &page->definitions_encoding,
                                    &page->levels_encoding};
    int64_t *const dictionary[FIELDS] = {&page->values, &page->encoding};
    int64_t *const second[FIELDS] = {
        &page->values,       NULL, NULL, &page->encoding, &page->definitions_length,
        &page->levels_length};
    int64_t *const *fields = kind == 5 ? first : kind == 7 ? dictionary : second;
    page->compressed = true;
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        int64_t *number = field.id >= 1 && field.id <= FIELDS ? fields[field.id - 1] : NULL;
        if (number != NULL) {
            *number = parquet_read_int(input, &field);
        } else if (kind == 8 && field.id == 7) {
            page->compressed = parquet_read_bool(input, &field);
        } else {
            parquet_skip(input, &field);
        }
    }
}

static void parse_header(parquet_input_t *input, page_t *page)
{
    *page = (page_t){.type = -1, .size = -1, .packed = -1, .values = -1, .encoding = -1};
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        switch (field.id) {
        case 1: page->type = parquet_read_int(input, &field); break;
        case 2: page->size = parquet_read_int(input, &field); break;
        case 3: page->packed = parquet_read_int(input, &field); break;
        case 4:
            page->checksum = (uint32_t)parquet_read_int(input, &field);
            page->checked = true;
            break;
        case 5:
        case 7:
        case 8:
            if (parquet_enter_struct(input, &field)) {
                read_kind(input, page, field.id);
            }
            break;
        default: parquet_skip(input, &field);
        }
    }
}

/// Reads the header of the next page, and moves to its bytes.
static tr_status read_header(page_t *page, parquet_cursor_t *cursor, tr_error_t *err)
{
    const uint64_t left = cursor->end - cursor->at;
    for (size_t size = HEADER_FIRST; size <= HEADER_MOST; size *= 8) {
        size_t n = size < left ? size : (size_t)left;
        TR_TRY(read_at(&cursor->header, n, cursor, err));
        parquet_input_t input = {cursor->header.data, cursor->header.data + n, false};
        parse_header(&input, page);
        if (!input.bad) {
            cursor->at += (uint64_t)(input.at - cursor->header.data);
            bool fits = page->packed >= 0 && (uint64_t)page->packed <= cursor->end - cursor->at &&
                        page->size >= 0 && page->size <= INT32_MAX &&
                        page->size <= page->packed * LARGEST_RATIO + ANY_RATIO;
            return fits ? TR_OK : damaged(err);
        }
        if (n == left) {
            break;
        }
    }
    return damaged(err);
}

/// Reads a page's bytes, and unpacks those behind the first `plain` of them.
static tr_status read_page(parquet_buffer_t *to, const page_t *page, size_t plain, bool compressed,
                           parquet_cursor_t *cursor, tr_error_t *err)
{
    size_t size = (size_t)page->size, packed = (size_t)page->packed;
    if (plain > size || plain > packed) {
        return damaged(err);
    }
    TR_TRY(read_at(&cursor->packed, packed, cursor, err));
    cursor->at += packed;
    const uint8_t *from = cursor->packed.data;
    if (page->checked &&
        crc32_z(0, packed > 0 ? from : (const Bytef *)"", packed) != page->checksum) {
        return tr_fail(err, TR_ERR_FORMAT, "a page whose checksum is another");
    }
    TR_TRY(reserve(to, size + 1, cursor->budget, err));
    if (plain > 0) {
        memcpy(to->data, from, plain);
    }
    if (size == plain) { // nothing was packed, which not all codecs have a form for
        return TR_OK;
    }
    return parquet_unpack(to->data + plain, size - plain, from + plain, packed - plain,
                          compressed ? cursor->codec : PARQUET_UNCOMPRESSED, err);
}

// Pages

/// All values of the dictionary, where they lie in its page.
static tr_status read_dictionary(parquet_cursor_t *cursor, const page_t *page, tr_error_t *err)
{
    TR_TRY(read_page(&cursor->words_page, page, 0, true, cursor, err));
    size_t size = (size_t)page->size, least = cursor->leaf->size > 0 ? cursor->leaf->size : 4;
    if (cursor->leaf->type == PARQUET_BOOLEAN || page->values < 0 ||
        (uint64_t)page->values > size / least) {
        return damaged(err);
    }
    size_t count = (size_t)page->values;
    TR_TRY(reserve(&cursor->words, count * sizeof(parquet_value_t), cursor->budget, err));
    parquet_values_t values = {0};
    parquet_value_t *words = (parquet_value_t *)(void *)cursor->words.data;
    // Whatever name it has for it, a dictionary is PLAIN.
    TR_TRY(parquet_values_begin(&values, 0, cursor->leaf, cursor->words_page.data, size, NULL, 0,
                                err));
    for (size_t i = 0; i < count; i++) {
        TR_TRY(parquet_values_next(&words[i], &values, err));
    }
    cursor->word_count = count;
    return TR_OK;
}

/// Bits that numbers up to `most` need.
static unsigned width_of(unsigned most)
{
    unsigned width = 0;
    while (most >> width != 0) {
        width++;
    }
    return width;
}

/// Levels behind their length, of the first version. *at moves behind them.
static tr_status begin_levels(parquet_runs_t *runs, unsigned most, int64_t encoding,
                              const parquet_cursor_t *cursor, size_t size, size_t *at,
                              tr_error_t *err)
{
    if (most == 0) {
        return TR_OK;
    }
    if (encoding != RLE) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "levels in an encoding of old: write the file anew with pyarrow");
    }
    const uint8_t *n = cursor->page.data + *at;
    if (size - *at < 4) {
        return damaged(err);
    }
    size_t length = n[0] | (size_t)n[1] << 8 | (size_t)n[2] << 16 | (size_t)n[3] << 24;
    *at += 4;
    if (length > size - *at) {
        return damaged(err);
    }
    parquet_runs_begin(runs, n + 4, length, width_of(most));
    *at += length;
    return TR_OK;
}

static tr_status begin_values(parquet_cursor_t *cursor, const page_t *page, size_t at,
                              tr_error_t *err)
{
    return parquet_values_begin(&cursor->values, (int)(page->encoding & 0xff), cursor->leaf,
                                cursor->page.data + at, (size_t)page->size - at,
                                (const parquet_value_t *)(const void *)cursor->words.data,
                                cursor->word_count, err);
}

static tr_status begin_first(parquet_cursor_t *cursor, const page_t *page, tr_error_t *err)
{
    const parquet_node_t *leaf = cursor->leaf;
    size_t at = 0, size = (size_t)page->size;
    TR_TRY(read_page(&cursor->page, page, 0, true, cursor, err));
    TR_TRY(
        begin_levels(&cursor->levels, leaf->level, page->levels_encoding, cursor, size, &at, err));
    TR_TRY(begin_levels(&cursor->definitions, leaf->definition, page->definitions_encoding, cursor,
                        size, &at, err));
    return begin_values(cursor, page, at, err);
}

static tr_status begin_second(parquet_cursor_t *cursor, const page_t *page, tr_error_t *err)
{
    if (page->levels_length < 0 || page->levels_length > page->size ||
        page->definitions_length < 0 ||
        page->definitions_length > page->size - page->levels_length) {
        return damaged(err);
    }
    size_t levels = (size_t)page->levels_length, definitions = (size_t)page->definitions_length;
    TR_TRY(read_page(&cursor->page, page, levels + definitions, page->compressed, cursor, err));
    parquet_runs_begin(&cursor->levels, cursor->page.data, levels, width_of(cursor->leaf->level));
    parquet_runs_begin(&cursor->definitions, cursor->page.data + levels, definitions,
                       width_of(cursor->leaf->definition));
    return begin_values(cursor, page, levels + definitions, err);
}

static tr_status next_page(parquet_cursor_t *cursor, tr_error_t *err)
{
    page_t page;
    TR_TRY(read_header(&page, cursor, err));
    if (page.type == DICTIONARY_PAGE) {
        return read_dictionary(cursor, &page, err);
    }
    if (page.type != DATA_PAGE && page.type != DATA_PAGE_V2) {
        cursor->at += (uint64_t)page.packed; // an index
        return TR_OK;
    }
    if (page.values < 0 || (uint64_t)page.values > cursor->values_left) {
        return damaged(err);
    }
    TR_TRY(page.type == DATA_PAGE ? begin_first(cursor, &page, err)
                                  : begin_second(cursor, &page, err));
    cursor->page_left = (uint64_t)page.values;
    cursor->values_left -= cursor->page_left;
    return TR_OK;
}

// The cursor

void parquet_cursor_begin(parquet_cursor_t *cursor, const parquet_node_t *leaf,
                          const parquet_chunk_t *chunk, int descriptor, size_t *budget)
{
    *cursor = (parquet_cursor_t){.leaf = leaf,
                                 .descriptor = descriptor,
                                 .codec = chunk->codec,
                                 .at = chunk->offset,
                                 .end = chunk->offset + chunk->length,
                                 .values_left = (uint64_t)chunk->values,
                                 .budget = budget};
}

void parquet_cursor_release(parquet_cursor_t *cursor)
{
    parquet_values_release(&cursor->values);
    free(cursor->header.data);
    free(cursor->packed.data);
    free(cursor->page.data);
    free(cursor->words_page.data);
    free(cursor->words.data);
}

static bool next_level(uint32_t *level, parquet_runs_t *runs, unsigned most)
{
    *level = 0;
    return most == 0 || (parquet_runs_next(level, runs) && *level <= most);
}

tr_status parquet_cursor_load(parquet_cursor_t *cursor, tr_error_t *err)
{
    const parquet_node_t *leaf = cursor->leaf;
    if (cursor->loaded) {
        return TR_OK;
    }
    while (cursor->page_left == 0 && cursor->values_left > 0) {
        TR_TRY(next_page(cursor, err));
    }
    cursor->loaded = true;
    cursor->level = cursor->definition = 0;
    cursor->ended = cursor->page_left == 0;
    if (cursor->ended) {
        return TR_OK;
    }
    if (!next_level(&cursor->level, &cursor->levels, leaf->level) ||
        !next_level(&cursor->definition, &cursor->definitions, leaf->definition)) {
        return damaged(err);
    }
    cursor->page_left--;
    return cursor->definition == leaf->definition
               ? parquet_values_next(&cursor->value, &cursor->values, err)
               : TR_OK;
}

void parquet_cursor_pass(parquet_cursor_t *cursor)
{
    cursor->loaded = false;
}
