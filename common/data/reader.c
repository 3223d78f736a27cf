// Which reader takes a file: the table of formats, and how a file is matched against it. The
// formats themselves are files of their own (json.c, csv.c, parquet.c); the rows they find are kept
// by dataset.c.
#include "common/data/reader.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/data/unpack.h"

// The first row that takes a file reads it, so formats with a name or a magic stand before JSON,
// which takes whatever is left: its files have all sorts of names.
static const tr_reader_t *const READERS[] = {&tr_reader_parquet, &tr_reader_parquet_named,
                                             &tr_reader_csv, &tr_reader_tsv, &tr_reader_json};

/// The name as it is unpacked.
static bool ends_with(const char *text, const char *suffix)
{
    size_t length = tr_unpacked_name(text), n = strlen(suffix);
    return n <= length && strncmp(text + length - n, suffix, n) == 0;
}

/// Whether the file's first bytes are the magic. A file that cannot be opened has no bytes (the
/// reader that takes it then says why), and a pipe none either: what is read of it is gone.
static bool begins_with(const char *path, const char *magic)
{
    // A name may lie, the first bytes do not; but a format without a magic can only go by its name.
    char start[16] = "";
    size_t n = strlen(magic);
    struct stat found;
    TR_ASSERT(n <= sizeof start, "a magic of %zu bytes", n);
    FILE *file = stat(path, &found) == 0 && S_ISREG(found.st_mode) ? fopen(path, "rbe") : NULL;
    size_t length = file != NULL ? fread(start, 1, n, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    return length == n && memcmp(start, magic, n) == 0;
}

const tr_reader_t *tr_reader_find(const tr_reader_t *const *readers, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++) {
        const tr_reader_t *reader = readers[i];
        if ((reader->suffix == NULL || ends_with(path, reader->suffix)) &&
            (reader->magic == NULL || begins_with(path, reader->magic))) {
            return reader;
        }
    }
    return NULL;
}

/// What files begin with that no reader takes: bytes, what they are, and what to do.
static const struct {
    const char *magic, *name, *remedy;
} OTHERS[] = {
    {"PK\003\004", "a zip archive (or a table of Excel)", "unpack it (write it as CSV)"},
    {"BZh", "packed by bzip2", "unpack it, or pack it by gzip or zstd"},
    {"\xFD"
     "7zXZ",
     "packed by xz", "unpack it, or pack it by gzip or zstd"},
    {"7z\xBC\xAF", "a 7-Zip archive", "unpack it"},
    {"ARROW1", "an Arrow file", "write it as Parquet"},
    {"\xFF\xFF\xFF\xFF", "an Arrow stream", "write it as Parquet"},
    {"SQLite format 3", "a database of SQLite", "write its table as CSV or Parquet"},
    {"\xFF\xFE", "text in UTF-16", "write it in UTF-8"},
    {"\xFE\xFF", "text in UTF-16", "write it in UTF-8"},
    {"\x80\x04\x95", "a pickle of Python", "write it as JSON Lines"},
};

static tr_status expect_no_other(const char *path, tr_error_t *err)
{
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        if (begins_with(path, OTHERS[i].magic)) {
            return tr_fail(err, TR_ERR_UNSUPPORTED, "'%s' is %s, which is not read: %s", path,
                           OTHERS[i].name, OTHERS[i].remedy);
        }
    }
    return TR_OK;
}

tr_status tr_data_file_open(tr_data_file_t **file, const char *path, tr_error_t *err)
{
    const tr_reader_t *reader = tr_reader_find(READERS, sizeof READERS / sizeof *READERS, path);
    // The last row of the table takes anything.
    TR_ASSERT(reader != NULL, "no reader takes '%s'", path);
    *file = NULL;
    TR_TRY(expect_no_other(path, err));
    TR_TRY(reader->open(file, path, err));
    (*file)->reader = reader;
    (*file)->path = tr_strdup(path);
    return TR_OK;
}

void tr_data_file_close(tr_data_file_t **file)
{
    if (*file != NULL) {
        free((*file)->path);
        (*file)->reader->close(*file);
        *file = NULL;
    }
}
