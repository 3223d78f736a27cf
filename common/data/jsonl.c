// The reader of JSON Lines. Opening reads the file once, block by block, and notes where each line
// begins and a hash of it; a row is then read from its place, and the hash tells whether it is the
// row that was found.
//
// zlib has no places, so a gzipped file is unpacked first (and a pipe copied, by the same way, as
// zlib passes on what is not gzipped). Next: dataset.c, which joins files.
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

#include "common/base/file.h"
#include "common/data/reader.h"
#include "common/text/utf8.h"

enum { BLOCK = 1 << 20 };

/// Where a row is. 16 bytes: there may be many millions.
typedef struct place {
    uint64_t offset;
    uint32_t length;
    uint32_t hash;
} place_t;

typedef struct jsonl {
    tr_data_file_t base;
    int descriptor;
    place_t *places; // [base.rows]
    size_t capacity;
    uint32_t *blank; // [blanks] for each blank line, ascending: rows before it
    size_t blanks, blank_capacity;
} jsonl_t;

// A file with places

/// Where files are unpacked to: /tmp may be in memory.
static const char *unpack_directory(void)
{
    const char *directory = getenv("TMPDIR");
    return directory != NULL ? directory : "/var/tmp";
}

/// An unnamed file that is gone when it is closed. -1, with errno, on failure.
static int unnamed_file(void)
{
    char *path = tr_format("%s/troupe-data-XXXXXX", unpack_directory());
    int descriptor = mkostemp(path, O_CLOEXEC);
    if (descriptor >= 0) {
        unlink(path);
    }
    free(path);
    return descriptor;
}

static tr_status unpack_to(int to, gzFile stream, const char *path, tr_error_t *err)
{
    char *block = tr_alloc(BLOCK);
    int n, code;
    while ((n = gzread(stream, block, BLOCK)) > 0 && tr_file_write_all(to, block, (size_t)n)) {
    }
    const int failure = errno;
    free(block);
    if (n > 0) {
        return tr_fail(err, TR_ERR_IO, "cannot unpack '%s' to %s ($TMPDIR): %s", path,
                       unpack_directory(), strerror(failure));
    }
    // Also an end that comes too early, which gzread itself does not tell.
    const char *cause = gzerror(stream, &code);
    const char *text = strchr(cause, ':'); // behind zlib's own name of the file
    if (n < 0 || (code != Z_OK && code != Z_STREAM_END)) {
        return tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end: %s", path,
                       code == Z_ERRNO ? strerror(failure)
                       : text != NULL  ? text + 2
                                       : cause);
    }
    return TR_OK;
}

/// Replaces *descriptor by one of an unnamed file with what is in it.
static tr_status unpack(int *descriptor, const char *path, tr_error_t *err)
{
    gzFile stream = gzdopen(*descriptor, "rb"); // it takes the descriptor
    TR_ASSERT(stream != NULL, "out of memory");
    *descriptor = unnamed_file();
    tr_status status = *descriptor >= 0
                           ? unpack_to(*descriptor, stream, path, err)
                           : tr_fail(err, TR_ERR_IO, "cannot unpack '%s' to %s ($TMPDIR): %s", path,
                                     unpack_directory(), strerror(errno));
    gzclose_r(stream);
    return status;
}

/// Of a file that can be read at any place. *descriptor: the caller's, after a failure too; or -1.
static tr_status open_places(int *descriptor, const char *path, tr_error_t *err)
{
    static const unsigned char GZIPPED[2] = {0x1f, 0x8b};
    unsigned char first[2];
    struct stat found;
    *descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (*descriptor < 0 || fstat(*descriptor, &found) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    bool plain = S_ISREG(found.st_mode) && !(pread(*descriptor, first, 2, 0) == 2 &&
                                             memcmp(first, GZIPPED, sizeof first) == 0);
    return plain ? TR_OK : unpack(descriptor, path, err);
}

// Rows

static bool is_blank(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r')) {
        i++;
    }
    return i == length;
}

/// items: of `size` bytes each, with room for one more than count.
static void *grow(void *items, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 256 : *capacity * 2;
    return tr_realloc(items, *capacity * size);
}

/// A line without its end.
static tr_status note_line(jsonl_t *file, const char *text, size_t length, uint64_t offset,
                           const char *path, tr_error_t *err)
{
    tr_data_file_t *base = &file->base;
    if (is_blank(text, length)) {
        file->blank = grow(file->blank, &file->blank_capacity, file->blanks, sizeof *file->blank);
        file->blank[file->blanks++] = (uint32_t)base->rows;
        return TR_OK;
    }
    if (length > UINT32_MAX || base->rows == UINT32_MAX) {
        return tr_fail(err, TR_ERR_FORMAT, "%s:%zu: a file has at most 2^32 rows of 4 GiB each",
                       path, base->rows + file->blanks + 1);
    }
    XXH64_hash_t hash = XXH3_64bits(text, length);
    file->places = grow(file->places, &file->capacity, base->rows, sizeof *file->places);
    file->places[base->rows++] = (place_t){offset, (uint32_t)length, (uint32_t)hash};
    base->bytes += length;
    base->checksum = XXH3_64bits_withSeed(&hash, sizeof hash, base->checksum);
    return TR_OK;
}

/// Appends the next block to *held bytes of *buffer: [*size], which grows with a line longer than
/// it. *end: nothing came.
static tr_status next_block(char **buffer, size_t *size, size_t *held, bool *end, int descriptor,
                            uint64_t offset, const char *path, tr_error_t *err)
{
    if (*size < *held + BLOCK) {
        *size = 2 * *size + BLOCK;
        *buffer = tr_realloc(*buffer, *size);
    }
    ssize_t n = pread(descriptor, *buffer + *held, BLOCK, (off_t)(offset + *held));
    if (n < 0) {
        return tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end: %s", path, strerror(errno));
    }
    *held += (size_t)n;
    *end = n == 0;
    return TR_OK;
}

/// Notes every line.
static tr_status find_rows(jsonl_t *file, const char *path, tr_error_t *err)
{
    // Some editors write it; Jansson would refuse the first row for it. Only where the file begins:
    // anywhere else the same bytes are a mistake.
    static const char MARK[] = "\xEF\xBB\xBF"; // the byte order mark of UTF-8
    char *buffer = NULL;
    size_t size = 0, held = 0;
    uint64_t offset = 0; // of the buffer's first byte, where a line begins
    tr_status status = TR_OK;
    for (bool end = false; !end;) {
        TR_TRY_GOTO(next_block(&buffer, &size, &held, &end, file->descriptor, offset, path, err),
                    done);
        size_t at = offset == 0 && held >= 3 && memcmp(buffer, MARK, 3) == 0 ? 3 : 0;
        for (;;) {
            const char *line = buffer + at, *stop = memchr(line, '\n', held - at);
            if (stop == NULL && (!end || at == held)) {
                break;
            }
            size_t length = stop != NULL ? (size_t)(stop - line) : held - at;
            TR_TRY_GOTO(note_line(file, line, length, offset + at, path, err), done);
            at += length + (stop != NULL);
        }
        held -= at;
        memmove(buffer, buffer + at, held);
        offset += at;
    }
done:
    free(buffer);
    return status;
}

static void jsonl_close(tr_data_file_t *base)
{
    jsonl_t *file = (jsonl_t *)base;
    if (file->descriptor >= 0) {
        close(file->descriptor);
    }
    free(file->places);
    free(file->blank);
    free(file);
}

static tr_status jsonl_open(tr_data_file_t **base, const char *path, tr_error_t *err)
{
    jsonl_t *file = tr_calloc(1, sizeof *file);
    tr_status status = open_places(&file->descriptor, path, err);
    status = status == TR_OK ? find_rows(file, path, err) : status;
    if (status != TR_OK) {
        jsonl_close(&file->base);
        return status;
    }
    *base = &file->base;
    return TR_OK;
}

/// Blank lines are few, as a rule: the line follows from how many stand before the row.
static size_t jsonl_line(const tr_data_file_t *base, size_t row)
{
    const jsonl_t *file = (const jsonl_t *)base;
    size_t low = 0, high = file->blanks;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (file->blank[middle] <= row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return row + low + 1;
}

/// *columns: an object, the caller's; NULL on failure.
static tr_status parse(json_t **columns, const char *text, size_t length, tr_error_t *err)
{
    size_t valid = tr_utf8_valid(text, length);
    *columns = NULL;
    if (valid < length) { // before Jansson, whose sentence would not name the byte
        return tr_fail(err, TR_ERR_FORMAT, "invalid UTF-8 at byte %zu of the line (0x%02X)",
                       valid + 1, (unsigned char)text[valid]);
    }
    // Of a column that comes twice the last value would win in silence, so it makes a bad row.
    json_error_t cause;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &cause);
    if (value == NULL) {
        // Jansson counts lines in what it was given, which is one line: ours stands before it.
        return tr_fail(err, TR_ERR_FORMAT, "malformed JSON at byte %d of the line: %s",
                       cause.position, cause.text);
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return tr_fail(err, TR_ERR_FORMAT, "expected a JSON object with columns");
    }
    *columns = value;
    return TR_OK;
}

/// pread and no mapping: of a mapped file that gets shorter, reading ends the process.
static tr_status jsonl_read(json_t **columns, const tr_data_file_t *base, size_t row,
                            tr_error_t *err)
{
    const jsonl_t *file = (const jsonl_t *)base;
    const place_t *place = &file->places[row];
    char *text = tr_alloc(place->length);
    ssize_t n = pread(file->descriptor, text, place->length, (off_t)place->offset);
    tr_status status =
        n == (ssize_t)place->length && (uint32_t)XXH3_64bits(text, place->length) == place->hash
            ? parse(columns, text, place->length, err)
            : tr_fail(err, TR_ERR_IO, "the file has been changed since the run began to read it");
    free(text);
    return status;
}

const tr_reader_t tr_reader_jsonl = {
    .open = jsonl_open,
    .read = jsonl_read,
    .line = jsonl_line,
    .close = jsonl_close,
};
