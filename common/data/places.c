// The table of a text file's rows, as its reader splits it, and reading one of them.
#include "common/data/places.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/data/unpack.h"

enum { BLOCK = 1 << 20 };

static bool is_blank(const char *text, size_t length, const char *white)
{
    size_t i = 0;
    while (i < length && text[i] != '\0' && strchr(white, text[i]) != NULL) {
        i++;
    }
    return i == length;
}

void tr_places_pass(tr_places_t *file, size_t n)
{
    file->offset += n;
}

void tr_places_take(tr_places_t *file, const char *text, size_t n)
{
    if (!file->begun) {
        file->begun = true;
        file->blank = true;
        file->row_offset = file->offset;
        file->row_line = file->line;
        file->row_length = 0;
        XXH3_64bits_reset(file->hash);
    }
    XXH3_64bits_update(file->hash, text, n);
    file->blank = file->blank && is_blank(text, n, file->white);
    file->row_length += n;
    file->offset += n;
}

tr_status tr_places_end(tr_places_t *file, tr_error_t *err)
{
    tr_data_file_t *base = &file->base;
    if (!file->begun) {
        return TR_OK;
    }
    file->begun = false;
    if (file->blank) {
        return TR_OK;
    }
    if (file->row_length > INT32_MAX - 4096 || base->rows == UINT32_MAX) { // what pread takes
        return tr_fail(err, TR_ERR_FORMAT, "a file has at most 2^32 rows of 2 GiB each");
    }
    if (base->rows == file->capacity) {
        file->capacity = file->capacity == 0 ? 256 : file->capacity * 2;
        file->places = tr_realloc(file->places, file->capacity * sizeof *file->places);
    }
    XXH64_hash_t hash = XXH3_64bits_digest(file->hash);
    file->places[base->rows++] =
        (tr_place_t){file->row_offset, file->row_line, (uint32_t)file->row_length, (uint32_t)hash};
    base->bytes += file->row_length;
    base->checksum = XXH3_64bits_withSeed(&hash, sizeof hash, base->checksum);
    return TR_OK;
}

static tr_status find_rows(tr_places_t *file, char *block, const char *path,
                           tr_places_split_t *split, tr_error_t *err)
{
    // Some editors write it; it is no text. Only where the file begins: anywhere else the same
    // bytes are a mistake.
    static const char MARK[] = "\xEF\xBB\xBF"; // the byte order mark of UTF-8
    for (ssize_t n = 1; n > 0;) {
        n = pread(file->descriptor, block, BLOCK, (off_t)file->offset);
        if (n < 0) {
            return tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end: %s", path,
                           strerror(errno));
        }
        size_t mark = file->offset == 0 && n >= 3 && memcmp(block, MARK, 3) == 0 ? 3 : 0;
        tr_places_pass(file, mark);
        if (split(file, block + mark, (size_t)n - mark, err) != TR_OK) {
            return tr_error_prefix(err, "%s:%" PRIu64, path, file->line);
        }
    }
    return TR_OK;
}

tr_status tr_places_open(tr_places_t *file, const char *path, tr_places_split_t *split,
                         tr_error_t *err)
{
    TR_TRY(tr_open_unpacked(&file->descriptor, path, err));
    char *block = tr_alloc(BLOCK);
    file->hash = XXH3_createState();
    TR_ASSERT(file->hash != NULL, "out of memory");
    file->line = 1;
    tr_status status = find_rows(file, block, path, split, err);
    free(block);
    return status;
}

void tr_places_release(tr_places_t *file)
{
    if (file->descriptor >= 0) {
        close(file->descriptor);
    }
    XXH3_freeState(file->hash);
    free(file->places);
}

// pread and no mapping: of a mapped file that gets shorter, reading ends the process.
tr_status tr_places_read(char **text, size_t *length, const tr_places_t *file, size_t row,
                         tr_error_t *err)
{
    const tr_place_t *place = &file->places[row];
    *length = place->length;
    *text = tr_alloc(*length);
    ssize_t n = pread(file->descriptor, *text, *length, (off_t)place->offset);
    if (n != (ssize_t)*length || (uint32_t)XXH3_64bits(*text, *length) != place->hash) {
        return tr_fail(err, TR_ERR_IO, "the file has been changed since the run began to read it");
    }
    return TR_OK;
}
