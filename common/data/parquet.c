// The reader of Parquet. Its parts are in parquet/: footer, pages, values, rows.
//
// Training takes rows in any order, and a row group gives them in one only, so a group is unpacked
// when a row of it is first asked for: its rows as JSON, in an unnamed file, where each then has a
// place. A group is unpacked once, by the first thread that needs it, beside other groups.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/data/parquet/rows.h"
#include "common/data/parquet/schema.h"
#include "common/data/reader.h"
#include "common/data/unpack.h"
#include "common/text/utf8.h"

enum { BLOCK = 1 << 20, ROW_MOST = INT32_MAX - 4096 };

// A page of a few bytes may have millions of rows; what is honestly so is far below this.
static const uint64_t LARGEST_RATIO = 1000, ANY_RATIO = 1 << 30;

/// Where a row has been unpacked to.
typedef struct place {
    uint64_t offset;
    uint32_t length;
} place_t;

/// A row group's rows, once they are unpacked.
typedef struct unpacked {
    pthread_mutex_t lock;
    bool tried;
    tr_error_t failure; // why there are none
    place_t *places;    // [the group's rows]
} unpacked_t;

/// The unnamed file, which all groups share.
typedef struct store {
    pthread_mutex_t lock;
    int descriptor;
    uint64_t end;  // what is written, or will be
    uint64_t room; // bytes that may still be written
} store_t;

typedef struct parquet_file {
    tr_data_file_t base;
    int descriptor;
    struct stat found; // when it was opened
    parquet_schema_t schema;
    unpacked_t *groups; // [schema.count]
    store_t *store;
} parquet_file_t;

// Unpacking a group

/// Rows that are on their way to the store.
typedef struct writer {
    const parquet_file_t *file;
    tr_bytes_t text;
    place_t *places; // [count]; the offsets of those from `flushed` on are within the text
    size_t count, flushed, capacity;
} writer_t;

static tr_status changed(tr_error_t *err)
{
    return tr_fail(err, TR_ERR_IO, "the file has been changed since the run began to read it");
}

static tr_status store_write(const parquet_file_t *file, const tr_bytes_t *text, uint64_t at,
                             tr_error_t *err)
{
    for (size_t done = 0; done < text->length;) {
        ssize_t n = pwrite(file->store->descriptor, text->data + done, text->length - done,
                           (off_t)(at + done));
        if (n <= 0) {
            return tr_cannot_unpack(file->base.path, err);
        }
        done += (size_t)n;
    }
    return TR_OK;
}

static tr_status flush(writer_t *writer, tr_error_t *err)
{
    store_t *store = writer->file->store;
    const size_t length = writer->text.length;
    pthread_mutex_lock(&store->lock);
    const uint64_t at = store->end;
    const bool fits = length <= store->room;
    store->end += fits ? length : 0;
    store->room -= fits ? length : 0;
    pthread_mutex_unlock(&store->lock);
    if (!fits) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "the file unpacks to more than a thousand times its "
                       "size: write it anew as JSON, if it is what it should "
                       "be");
    }
    TR_TRY(store_write(writer->file, &writer->text, at, err));
    for (; writer->flushed < writer->count; writer->flushed++) {
        writer->places[writer->flushed].offset += at;
    }
    writer->text.length = 0;
    return TR_OK;
}

static int append(const char *text, size_t length, void *context)
{
    tr_bytes_append(context, text, length);
    return 0;
}

static tr_status write_row(writer_t *writer, const json_t *row, tr_error_t *err)
{
    size_t begin = writer->text.length;
    json_dump_callback(row, append, &writer->text, JSON_COMPACT);
    size_t length = writer->text.length - begin;
    if (length > ROW_MOST) {
        return tr_fail(err, TR_ERR_FORMAT, "a row of more than 2 GiB");
    }
    if (writer->count == writer->capacity) {
        writer->capacity = 2 * writer->capacity + 64;
        writer->places = tr_realloc(writer->places, writer->capacity * sizeof *writer->places);
    }
    writer->places[writer->count++] = (place_t){begin, (uint32_t)length};
    return writer->text.length >= BLOCK ? flush(writer, err) : TR_OK;
}

static tr_status write_rows(writer_t *writer, parquet_rows_t *rows, uint64_t count, tr_error_t *err)
{
    for (uint64_t i = 0; i < count; i++) {
        json_t *row;
        TR_TRY(parquet_rows_next(&row, rows, err));
        tr_status status = write_row(writer, row, err);
        json_decref(row);
        TR_TRY(status);
    }
    return flush(writer, err);
}

static tr_status unpack_group(place_t **places, const parquet_file_t *file, size_t group,
                              tr_error_t *err)
{
    struct stat now;
    if (fstat(file->descriptor, &now) != 0 || now.st_size != file->found.st_size ||
        now.st_mtim.tv_sec != file->found.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != file->found.st_mtim.tv_nsec) {
        return changed(err);
    }
    const parquet_group_t *found = &file->schema.groups[group];
    parquet_rows_t *rows = parquet_rows_new(&file->schema, found, file->descriptor);
    writer_t writer = {.file = file};
    tr_status status = write_rows(&writer, rows, found->rows, err);
    parquet_rows_destroy(&rows);
    tr_bytes_release(&writer.text);
    if (status != TR_OK) {
        free(writer.places);
        return status;
    }
    *places = writer.places;
    return TR_OK;
}

/// Unpacks the group, unless that was tried. What failed once fails for all of its rows.
static tr_status need_group(const parquet_file_t *file, size_t group, tr_error_t *err)
{
    unpacked_t *unpacked = &file->groups[group];
    pthread_mutex_lock(&unpacked->lock);
    if (!unpacked->tried) {
        unpack_group(&unpacked->places, file, group, &unpacked->failure);
        unpacked->tried = true;
    }
    pthread_mutex_unlock(&unpacked->lock);
    const tr_error_t *failure = &unpacked->failure;
    return failure->status == TR_OK ? TR_OK : tr_fail(err, failure->status, "%s", failure->text);
}

// The reader

/// The last group that begins at the row or before it and has rows.
static size_t group_of(const parquet_schema_t *schema, size_t row)
{
    size_t low = 0, high = schema->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (schema->groups[middle].first_row <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static tr_status parquet_read(json_t **columns, const tr_data_file_t *base, size_t row,
                              tr_error_t *err)
{
    const parquet_file_t *file = (const parquet_file_t *)base;
    size_t group = group_of(&file->schema, row);
    *columns = NULL;
    TR_TRY(need_group(file, group, err));
    const place_t *place = &file->groups[group].places[row - file->schema.groups[group].first_row];
    char *text = tr_alloc(place->length);
    ssize_t n = pread(file->store->descriptor, text, place->length, (off_t)place->offset);
    *columns = n == (ssize_t)place->length ? json_loadb(text, place->length, 0, NULL) : NULL;
    free(text);
    return *columns != NULL ? TR_OK
                            : tr_fail(err, TR_ERR_IO, "cannot read what was unpacked to $TMPDIR");
}

static size_t parquet_line(const tr_data_file_t *base, size_t row)
{
    (void)base;
    return row + 1;
}

static void parquet_close(tr_data_file_t *base)
{
    parquet_file_t *file = (parquet_file_t *)base;
    for (size_t i = 0; file->groups != NULL && i < file->schema.count; i++) {
        pthread_mutex_destroy(&file->groups[i].lock);
        free(file->groups[i].places);
    }
    free(file->groups);
    if (file->store->descriptor >= 0) {
        close(file->store->descriptor);
    }
    pthread_mutex_destroy(&file->store->lock);
    free(file->store);
    if (file->descriptor >= 0) {
        close(file->descriptor);
    }
    parquet_schema_release(&file->schema);
    free(file);
}

/// Of all bytes: data could change where the footer does not.
static tr_status find_checksum(parquet_file_t *file, const char *path, tr_error_t *err)
{
    XXH3_state_t *state = XXH3_createState();
    TR_ASSERT(state != NULL, "out of memory");
    XXH3_64bits_reset(state);
    char *block = tr_alloc(BLOCK);
    uint64_t at = 0;
    ssize_t n;
    while ((n = pread(file->descriptor, block, BLOCK, (off_t)at)) > 0) {
        XXH3_64bits_update(state, block, (size_t)n);
        at += (uint64_t)n;
    }
    free(block);
    file->base.checksum = XXH3_64bits_digest(state);
    file->base.bytes = at;
    XXH3_freeState(state);
    return n == 0 ? TR_OK : tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end", path);
}

static tr_status open_parts(parquet_file_t *file, const char *path, tr_error_t *err)
{
    TR_TRY(tr_open_unpacked(&file->descriptor, path, err));
    TR_TRY(tr_open_unnamed(&file->store->descriptor, path, err));
    TR_TRY(find_checksum(file, path, err));
    if (fstat(file->descriptor, &file->found) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot read '%s'", path);
    }
    if (parquet_schema_read(&file->schema, file->descriptor, file->base.bytes, err) != TR_OK) {
        return tr_error_prefix(err, "%s", path);
    }
    file->store->room = LARGEST_RATIO * file->base.bytes + ANY_RATIO;
    file->base.rows = (size_t)file->schema.rows;
    file->groups = tr_calloc(file->schema.count + 1, sizeof *file->groups);
    for (size_t i = 0; i < file->schema.count; i++) {
        pthread_mutex_init(&file->groups[i].lock, NULL);
    }
    return TR_OK;
}

static tr_status parquet_open(tr_data_file_t **base, const char *path, tr_error_t *err)
{
    parquet_file_t *file = tr_calloc(1, sizeof *file);
    file->descriptor = -1;
    file->store = tr_calloc(1, sizeof *file->store);
    file->store->descriptor = -1;
    pthread_mutex_init(&file->store->lock, NULL);
    tr_status status = open_parts(file, path, err);
    if (status != TR_OK) {
        parquet_close(&file->base);
        return status;
    }
    *base = &file->base;
    return TR_OK;
}

#define OPERATIONS \
    .open = parquet_open, .read = parquet_read, .line = parquet_line, .close = parquet_close

const tr_reader_t tr_reader_parquet = {.magic = "PAR1", OPERATIONS};
const tr_reader_t tr_reader_parquet_named = {.suffix = ".parquet", OPERATIONS};
