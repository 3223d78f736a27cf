// The reader of JSON Lines, plain or gzipped (zlib reads plain files as they are). A bad line is
// one row lost, and the reading goes on if the caller wants it; a file that cannot be read to its
// end is an error in any case. Next: dataset.c, which keeps the rows.
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>

#include "common/data/reader.h"
#include "common/text/utf8.h"

static bool is_blank(const char *text, size_t length)
{
    return strspn(text, " \t\r\n") == length;
}

/// Parses the line of a row. *columns: an object, the caller's; NULL on failure.
static tr_status parse(json_t **columns, const char *text, size_t length, const char *path,
                       size_t line, tr_error_t *err)
{
    size_t valid = tr_utf8_valid(text, length);
    *columns = NULL;
    if (valid < length) { // before Jansson, whose sentence would not name the byte
        return tr_fail(err, TR_ERR_FORMAT, "%s:%zu: invalid UTF-8 at byte %zu of the line (0x%02X)",
                       path, line, valid + 1, (unsigned char)text[valid]);
    }
    // Of a column that comes twice the last value would win in silence, so it makes a bad row.
    json_error_t cause;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &cause);
    if (value == NULL) {
        // Jansson counts lines in what it was given, which is one line: ours stands before it.
        return tr_fail(err, TR_ERR_FORMAT, "%s:%zu: malformed JSON at byte %d of the line: %s",
                       path, line, cause.position, cause.text);
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return tr_fail(err, TR_ERR_FORMAT, "%s:%zu: expected a JSON object with columns", path,
                       line);
    }
    *columns = value;
    return TR_OK;
}

/// The next line with its end; empty at the end of the file.
static tr_status next_line(tr_bytes_t *line, gzFile stream, const char *path, tr_error_t *err)
{
    char part[4096];
    line->length = 0;
    do {
        // A line may be longer than any buffer: it is put together from parts.
        z_off_t start = gztell(stream);
        if (gzgets(stream, part, sizeof part) == NULL) {
            // The end of the file, or a failure, such as gzipped bytes that were cut off.
            int code;
            const char *cause = gzerror(stream, &code);
            return code == Z_OK || code == Z_STREAM_END
                       ? TR_OK
                       : tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end: %s", path,
                                 code == Z_ERRNO ? strerror(errno) : cause);
        }
        // Not strlen: a line may hold NUL bytes, which are refused with their place.
        tr_bytes_append(line, part, (size_t)(gztell(stream) - start));
    } while (line->data[line->length - 1] != '\n');
    return TR_OK;
}

static tr_status read_lines(gzFile stream, const char *path, tr_row_fn take, void *context,
                            tr_error_t *err)
{
    // Some editors write it; Jansson would refuse the first row for it.
    static const char MARK[] = "\xEF\xBB\xBF"; // the byte order mark of UTF-8
    tr_bytes_t line = {0};
    tr_status status = TR_OK;
    for (size_t number = 1;; number++) {
        TR_TRY_GOTO(next_line(&line, stream, path, err), done);
        if (line.length == 0) {
            break;
        }
        // Only where the file begins: anywhere else the same bytes are a mistake.
        size_t mark = number == 1 && line.length >= 3 && memcmp(line.data, MARK, 3) == 0 ? 3 : 0;
        const char *text = line.data + mark;
        if (!is_blank(text, line.length - mark)) {
            json_t *columns; // of a bad row NULL: the failure goes to `take`
            parse(&columns, text, line.length - mark, path, number, err);
            TR_TRY_GOTO(take(context, columns, number, err), done);
        }
    }
done:
    tr_bytes_release(&line);
    return status;
}

tr_status tr_read_jsonl(const char *path, tr_row_fn take, void *context, tr_error_t *err)
{
    // errno tells a file that cannot be opened from zlib's other failures, which may leave it
    // alone.
    errno = 0;
    gzFile stream = gzopen(path, "rb");
    if (stream == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path,
                       errno != 0 ? strerror(errno) : "out of memory");
    }
    tr_status status = read_lines(stream, path, take, context, err);
    // What closing says of a file that was only read is of no use.
    gzclose_r(stream);
    return status;
}
