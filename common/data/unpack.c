// Files that are packed, and pipes: zlib and zstd have no places, so what is packed is unpacked to
// a file first. A pipe is copied by the way of gzip, as zlib passes on what is not gzipped. Its
// first bytes decide, not its name.
#include "common/data/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "common/base/file.h"

enum { BLOCK = 1 << 20 };

// gzip packs to no less than a thousandth; zstd has no such bound, so a small file could fill a
// disk. The GiB is for what is honestly so: zeros, one row many times.
static const uint64_t LARGEST_RATIO = 1000, ANY_RATIO = 1 << 30;

/// Where files are unpacked to: /tmp may be in memory.
static const char *unpack_directory(void)
{
    const char *directory = getenv("TMPDIR");
    return directory != NULL ? directory : "/var/tmp";
}

tr_status tr_cannot_unpack(const char *path, tr_error_t *err)
{
    return tr_fail(err, TR_ERR_IO, "cannot unpack '%s' to %s ($TMPDIR): %s", path,
                   unpack_directory(), strerror(errno));
}

static tr_status cannot_read(const char *path, const char *cause, tr_error_t *err)
{
    return tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end: %s", path, cause);
}

tr_status tr_open_unnamed(int *descriptor, const char *path, tr_error_t *err)
{
    char *name = tr_format("%s/troupe-data-XXXXXX", unpack_directory());
    *descriptor = mkostemp(name, O_CLOEXEC);
    tr_status status = *descriptor >= 0 ? TR_OK : tr_cannot_unpack(path, err);
    if (status == TR_OK) {
        unlink(name); // it is gone when it is closed
    }
    free(name);
    return status;
}

static tr_status gunzip(int to, gzFile stream, const char *path, tr_error_t *err)
{
    char *block = tr_alloc(BLOCK);
    int n, code;
    while ((n = gzread(stream, block, BLOCK)) > 0 && tr_file_write_all(to, block, (size_t)n)) {
    }
    const int failure = errno;
    free(block);
    if (n > 0) {
        return tr_cannot_unpack(path, err);
    }
    // Also an end that comes too early, which gzread itself does not tell.
    const char *cause = gzerror(stream, &code);
    const char *text = strstr(cause, ": "); // behind zlib's own name of the file, <fd:3>
    if (n < 0 || (code != Z_OK && code != Z_STREAM_END)) {
        return cannot_read(path,
                           code == Z_ERRNO ? strerror(failure)
                           : text != NULL  ? text + 2
                                           : cause,
                           err);
    }
    return TR_OK;
}

/// Takes the descriptor `from`, as all that unpack.
static tr_status unpack_gzip(int to, int from, const char *path, tr_error_t *err)
{
    gzFile stream = gzdopen(from, "rb");
    TR_ASSERT(stream != NULL, "out of memory");
    tr_status status = gunzip(to, stream, path, err);
    gzclose_r(stream);
    return status;
}

/// A block of a zstd file: all frames that it has, wherever they end. *hint: 0 where a frame ended.
static tr_status unpack_block(int to, ZSTD_DStream *stream, ZSTD_inBuffer *in, char *block,
                              size_t *hint, uint64_t *left, const char *path, tr_error_t *err)
{
    for (bool more = true; more;) {
        ZSTD_outBuffer out = {block, BLOCK, 0};
        *hint = ZSTD_decompressStream(stream, &out, in);
        if (ZSTD_isError(*hint)) {
            return cannot_read(path, ZSTD_getErrorName(*hint), err);
        }
        if (out.pos > *left) {
            return tr_fail(err, TR_ERR_FORMAT,
                           "'%s' unpacks to a thousand times its size: unpack it with zstd, if it "
                           "is what it should be",
                           path);
        }
        *left -= out.pos;
        if (!tr_file_write_all(to, block, out.pos)) {
            return tr_cannot_unpack(path, err);
        }
        more = in->pos < in->size || out.pos == BLOCK;
    }
    return TR_OK;
}

static tr_status unpack_zstd(int to, int from, const char *path, tr_error_t *err)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    TR_ASSERT(stream != NULL, "out of memory");
    char *packed = tr_alloc(BLOCK), *block = tr_alloc(BLOCK);
    uint64_t left = ANY_RATIO;
    size_t hint = 0;
    ssize_t n;
    tr_status status = TR_OK;
    while (status == TR_OK && (n = read(from, packed, BLOCK)) != 0) {
        ZSTD_inBuffer in = {packed, n > 0 ? (size_t)n : 0, 0};
        left += LARGEST_RATIO * in.size;
        status = n < 0 ? cannot_read(path, strerror(errno), err)
                       : unpack_block(to, stream, &in, block, &hint, &left, path, err);
    }
    if (status == TR_OK && hint != 0) {
        status = cannot_read(path, "unexpected end of file", err);
    }
    free(packed);
    free(block);
    ZSTD_freeDStream(stream);
    close(from);
    return status;
}

/// Replaces *descriptor by one of an unnamed file with what is in it.
static tr_status unpack(int *descriptor, const char *path,
                        tr_status (*how)(int to, int from, const char *path, tr_error_t *err),
                        tr_error_t *err)
{
    int to;
    TR_TRY(tr_open_unnamed(&to, path, err));
    int from = *descriptor;
    *descriptor = to;
    TR_TRY(how(to, from, path, err));
    if (lseek(to, 0, SEEK_SET) < 0) { // one that is unpacked again is read from its beginning
        return tr_cannot_unpack(path, err);
    }
    return TR_OK;
}

/// A frame of zstd, or one that zstd passes over, with which pzstd begins.
static bool is_zstd(int descriptor)
{
    static const unsigned char FRAME[4] = {0x28, 0xb5, 0x2f, 0xfd}, PASSED[3] = {0x2a, 0x4d, 0x18};
    unsigned char first[4];
    return pread(descriptor, first, 4, 0) == 4 &&
           (memcmp(first, FRAME, 4) == 0 ||
            (first[0] >> 4 == 5 && memcmp(first + 1, PASSED, 3) == 0));
}

static bool is_gzip(int descriptor)
{
    unsigned char first[2];
    return pread(descriptor, first, 2, 0) == 2 && first[0] == 0x1f && first[1] == 0x8b;
}

tr_status tr_open_unpacked(int *descriptor, const char *path, tr_error_t *err)
{
    struct stat found;
    *descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (*descriptor < 0 || fstat(*descriptor, &found) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    if (!S_ISREG(found.st_mode) || is_gzip(*descriptor)) {
        TR_TRY(unpack(descriptor, path, unpack_gzip, err));
    }
    if (is_zstd(*descriptor)) {
        TR_TRY(unpack(descriptor, path, unpack_zstd, err));
    }
    return TR_OK;
}

size_t tr_unpacked_name(const char *path)
{
    static const char *const PACKED[] = {".gz", ".zst"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof PACKED / sizeof *PACKED; i++) {
        size_t n = strlen(PACKED[i]);
        if (length > n && strcmp(path + length - n, PACKED[i]) == 0) {
            return length - n;
        }
    }
    return length;
}
