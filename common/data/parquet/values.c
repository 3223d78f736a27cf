// The encodings of Parquet's pages. Each reads from a bounded input; what a page lacks, or says
// beyond its end, is damage.
#include "common/data/parquet/values.h"

#include <string.h>

enum { PLAIN = 0, PLAIN_DICTIONARY = 2, RLE = 3, DELTA_BINARY_PACKED = 5 };
enum { DELTA_LENGTH_BYTE_ARRAY = 6, DELTA_BYTE_ARRAY = 7, RLE_DICTIONARY = 8 };
enum { BYTE_STREAM_SPLIT = 9 };

static size_t rest(const parquet_input_t *input)
{
    return (size_t)(input->end - input->at);
}

/// Moves over length bytes: where they are; NULL where there are fewer.
static const uint8_t *take(parquet_input_t *input, uint64_t length)
{
    const uint8_t *data = input->at;
    if (length > rest(input)) {
        return NULL;
    }
    input->at += length;
    return data;
}

/// Number `bit / width` of packed ones: width bits, at most 64, the lowest first.
static uint64_t unpack_bits(const uint8_t *packed, uint64_t bit, unsigned width)
{
    uint64_t number = 0;
    for (unsigned have = 0; have < width;) {
        unsigned at = (unsigned)((bit + have) % 8), n = 8 - at;
        uint64_t bits = packed[(bit + have) / 8] >> at;
        n = n < width - have ? n : width - have;
        number |= (bits & ((1u << n) - 1)) << have;
        have += n;
    }
    return number;
}

// Runs

void parquet_runs_begin(parquet_runs_t *runs, const uint8_t *data, size_t length, unsigned width)
{
    *runs = (parquet_runs_t){.input = {data, data + length, false}, .width = width};
}

/// Begins the next run. Writers may leave out the bytes that fill up the last packed one.
static bool next_run(parquet_runs_t *runs)
{
    uint64_t head = parquet_varint(&runs->input), count = head >> 1;
    if (runs->input.bad || count == 0) {
        return false;
    }
    runs->left = count;
    runs->packed = NULL;
    if (head & 1) {
        uint64_t most = runs->width > 0 ? rest(&runs->input) * 8 / runs->width : UINT64_MAX / 8;
        uint64_t groups = count < most / 8 + 1 ? count : most / 8 + 1;
        runs->left = groups * 8 < most ? groups * 8 : most;
        uint64_t bytes = (runs->left * runs->width + 7) / 8;
        runs->packed = take(&runs->input, bytes);
        runs->bit = 0;
        return runs->packed != NULL && runs->left > 0;
    }
    const uint8_t *number = take(&runs->input, (runs->width + 7) / 8);
    runs->number = number == NULL ? 0 : (uint32_t)unpack_bits(number, 0, runs->width);
    return number != NULL;
}

bool parquet_runs_next(uint32_t *number, parquet_runs_t *runs)
{
    if (runs->left == 0 && !next_run(runs)) {
        return false;
    }
    runs->left--;
    if (runs->packed != NULL) {
        runs->number = (uint32_t)unpack_bits(runs->packed, runs->bit, runs->width);
        runs->bit += runs->width;
    }
    *number = runs->number;
    return true;
}

// Differences

static bool deltas_begin(parquet_deltas_t *d, const uint8_t *data, size_t length)
{
    *d = (parquet_deltas_t){.input = {data, data + length, false}};
    uint64_t block = parquet_varint(&d->input);
    d->blocks = parquet_varint(&d->input);
    d->total = d->left = parquet_varint(&d->input);
    d->number = (uint64_t)parquet_zigzag(&d->input);
    if (d->input.bad || d->blocks == 0 || block == 0 || block % d->blocks != 0) {
        return false;
    }
    d->miniblock = block / d->blocks;
    return d->miniblock % 8 == 0 && d->miniblock <= INT32_MAX;
}

/// Begins the next miniblock. Those behind the last number have no bytes.
static bool next_miniblock(parquet_deltas_t *d)
{
    if (d->widths_left == 0) {
        d->smallest = (uint64_t)parquet_zigzag(&d->input);
        d->widths = take(&d->input, d->blocks);
        if (d->input.bad || d->widths == NULL) {
            return false;
        }
        d->widths_left = d->blocks;
    }
    d->width = *d->widths++;
    d->widths_left--;
    d->miniblock_left = d->miniblock;
    d->bit = 0;
    d->packed = d->width <= 64 ? take(&d->input, d->width * (d->miniblock / 8)) : NULL;
    return d->packed != NULL;
}

static bool deltas_next(uint64_t *number, parquet_deltas_t *d)
{
    if (d->left == 0) {
        return false;
    }
    if (d->left < d->total) { // the first is in the head
        if (d->miniblock_left == 0 && !next_miniblock(d)) {
            return false;
        }
        d->miniblock_left--;
        d->number += d->smallest + unpack_bits(d->packed, d->bit, d->width);
        d->bit += d->width;
    }
    d->left--;
    *number = d->number;
    return true;
}

/// Where the bytes of all numbers end: what follows them begins there. NULL: they are cut off.
static const uint8_t *deltas_end(const parquet_deltas_t *deltas)
{
    parquet_deltas_t d = *deltas;
    for (uint64_t left = d.total > 0 ? d.total - 1 : 0; left > 0;) {
        if (!next_miniblock(&d)) {
            return NULL;
        }
        left -= left < d.miniblock ? left : d.miniblock;
    }
    return d.input.at;
}

// Values

static tr_status damaged(tr_error_t *err)
{
    return tr_fail(err, TR_ERR_FORMAT, "a damaged page: its values do not fill it");
}

/// Lengths, and what follows them.
static bool lengths_begin(parquet_values_t *values, const uint8_t *data, size_t length)
{
    const uint8_t *end = data + length;
    if (!deltas_begin(&values->lengths, data, length)) {
        return false;
    }
    const uint8_t *texts = deltas_end(&values->lengths);
    values->input = (parquet_input_t){texts, end, false};
    return texts != NULL;
}

/// Whether values of the leaf's type may have the encoding.
static bool suits(int encoding, const parquet_node_t *leaf)
{
    bool whole = leaf->type == PARQUET_INT32 || leaf->type == PARQUET_INT64;
    switch (encoding) {
    case PLAIN: return true;
    case PLAIN_DICTIONARY:
    case RLE_DICTIONARY: return leaf->type != PARQUET_BOOLEAN;
    case RLE: return leaf->type == PARQUET_BOOLEAN;
    case DELTA_BINARY_PACKED: return whole;
    case DELTA_LENGTH_BYTE_ARRAY: return leaf->type == PARQUET_BYTE_ARRAY;
    case DELTA_BYTE_ARRAY: return leaf->type == PARQUET_BYTE_ARRAY || leaf->type == PARQUET_FIXED;
    case BYTE_STREAM_SPLIT:
        return leaf->type != PARQUET_BOOLEAN && leaf->size > 0 &&
               leaf->size <= sizeof((parquet_values_t *)0)->scratch;
    default: return false;
    }
}

/// A number of four bytes, and so many after it.
static bool take_counted(parquet_value_t *value, parquet_input_t *input)
{
    const uint8_t *n = take(input, 4);
    if (n == NULL) {
        return false;
    }
    value->length = n[0] | (size_t)n[1] << 8 | (size_t)n[2] << 16 | (size_t)n[3] << 24;
    value->data = take(input, value->length);
    return value->data != NULL;
}

static bool begin(parquet_values_t *values, const uint8_t *data, size_t length)
{
    parquet_value_t runs;
    switch (values->encoding) {
    case PLAIN_DICTIONARY:
    case RLE_DICTIONARY:
        // A page of nulls alone may have no bytes.
        if (length > 0 && *data > 32) {
            return false;
        }
        parquet_runs_begin(&values->runs, data + (length > 0), length - (length > 0),
                           length > 0 ? *data : 0);
        return true;
    case RLE:
        if (!take_counted(&runs, &values->input)) {
            return length == 0;
        }
        parquet_runs_begin(&values->runs, runs.data, runs.length, 1);
        return true;
    case DELTA_BINARY_PACKED: return deltas_begin(&values->numbers, data, length);
    case DELTA_LENGTH_BYTE_ARRAY: return lengths_begin(values, data, length);
    case DELTA_BYTE_ARRAY:
        if (!deltas_begin(&values->numbers, data, length)) {
            return false;
        }
        data = deltas_end(&values->numbers);
        return data != NULL && lengths_begin(values, data, (size_t)(values->input.end - data));
    case BYTE_STREAM_SPLIT: return length % values->leaf->size == 0;
    default: return true;
    }
}

tr_status parquet_values_begin(parquet_values_t *values, int encoding, const parquet_node_t *leaf,
                               const uint8_t *data, size_t length,
                               const parquet_value_t *dictionary, size_t words, tr_error_t *err)
{
    if (!suits(encoding, leaf)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "values in encoding %d: write the file anew with a usual encoding, as "
                       "pyarrow does by itself",
                       encoding);
    }
    tr_bytes_t text = values->text;
    text.length = 0;
    *values = (parquet_values_t){.encoding = encoding,
                                 .leaf = leaf,
                                 .input = {data, data + length, false},
                                 .dictionary = dictionary,
                                 .words = words,
                                 .text = text};
    return begin(values, data, length) ? TR_OK : damaged(err);
}

static bool next_plain(parquet_value_t *value, parquet_values_t *values)
{
    if (values->leaf->type == PARQUET_BYTE_ARRAY) {
        return take_counted(value, &values->input);
    }
    if (values->leaf->type == PARQUET_BOOLEAN) {
        if (values->bit / 8 >= rest(&values->input)) {
            return false;
        }
        values->scratch[0] = (uint8_t)unpack_bits(values->input.at, values->bit++, 1);
        *value = (parquet_value_t){values->scratch, 1};
        return true;
    }
    *value = (parquet_value_t){take(&values->input, values->leaf->size), values->leaf->size};
    return value->data != NULL;
}

/// The number's lowest bytes.
static void put_number(parquet_value_t *value, parquet_values_t *values, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++) {
        values->scratch[i] = (uint8_t)(number >> 8 * i);
    }
    *value = (parquet_value_t){values->scratch,
                               values->leaf->type == PARQUET_BOOLEAN ? 1 : values->leaf->size};
}

/// A text whose length stands before all texts.
static bool next_text(parquet_value_t *value, parquet_values_t *values)
{
    uint64_t length;
    if (!deltas_next(&length, &values->lengths)) {
        return false;
    }
    *value = (parquet_value_t){take(&values->input, length), (size_t)length};
    return value->data != NULL;
}

/// A text that shares so many of its first bytes with the one before.
static bool next_prefixed(parquet_value_t *value, parquet_values_t *values)
{
    uint64_t prefix;
    parquet_value_t tail;
    if (!deltas_next(&prefix, &values->numbers) || prefix > values->text.length ||
        !next_text(&tail, values)) {
        return false;
    }
    values->text.length = (size_t)prefix;
    tr_bytes_append(&values->text, (const char *)tail.data, tail.length);
    *value = (parquet_value_t){(const uint8_t *)values->text.data, values->text.length};
    return values->leaf->type != PARQUET_FIXED || value->length == values->leaf->size;
}

/// All first bytes, all second ones, and so on.
static bool next_split(parquet_value_t *value, parquet_values_t *values)
{
    size_t size = values->leaf->size, count = rest(&values->input) / size;
    if (values->bit >= count) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        values->scratch[i] = values->input.at[i * count + values->bit];
    }
    values->bit++;
    *value = (parquet_value_t){values->scratch, size};
    return true;
}

static bool next(parquet_value_t *value, parquet_values_t *values)
{
    uint32_t index;
    uint64_t number;
    switch (values->encoding) {
    case PLAIN: return next_plain(value, values);
    case PLAIN_DICTIONARY:
    case RLE_DICTIONARY:
        if (!parquet_runs_next(&index, &values->runs) || index >= values->words) {
            return false;
        }
        *value = values->dictionary[index];
        return true;
    case RLE:
        if (!parquet_runs_next(&index, &values->runs)) {
            return false;
        }
        put_number(value, values, index);
        return true;
    case DELTA_BINARY_PACKED:
        if (!deltas_next(&number, &values->numbers)) {
            return false;
        }
        put_number(value, values, number);
        return true;
    case DELTA_LENGTH_BYTE_ARRAY: return next_text(value, values);
    case DELTA_BYTE_ARRAY: return next_prefixed(value, values);
    default: return next_split(value, values);
    }
}

tr_status parquet_values_next(parquet_value_t *value, parquet_values_t *values, tr_error_t *err)
{
    return next(value, values) ? TR_OK : damaged(err);
}

void parquet_values_release(parquet_values_t *values)
{
    tr_bytes_release(&values->text);
}
