// Codecs of pages, by their libraries. All are given the size that is expected, so that none can
// unpack to more.
#include "common/data/parquet/codec.h"

#include <brotli/decode.h>
#include <lz4.h>
#include <snappy-c.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { AUTOMATIC = 32 }; // of inflate's window: gzip or zlib, as the bytes say

static bool unpack_none(uint8_t *to, size_t size, const uint8_t *from, size_t packed)
{
    if (packed == size) {
        memcpy(to, from, size);
    }
    return packed == size;
}

static bool unpack_snappy(uint8_t *to, size_t size, const uint8_t *from, size_t packed)
{
    size_t length = 0; // snappy_uncompress takes the room that there is from it
    const char *text = (const char *)from;
    return snappy_uncompressed_length(text, packed, &length) == SNAPPY_OK && length == size &&
           snappy_uncompress(text, packed, (char *)to, &length) == SNAPPY_OK && length == size;
}

/// A page has one member, or several.
static bool unpack_gzip(uint8_t *to, size_t size, const uint8_t *from, size_t packed)
{
    z_stream stream = {.next_out = to, .avail_out = (uInt)size, .avail_in = (uInt)packed};
    stream.next_in = (Bytef *)(uintptr_t)from; // it is not written
    if (inflateInit2(&stream, MAX_WBITS + AUTOMATIC) != Z_OK) {
        return false;
    }
    int code = Z_OK;
    while (code == Z_OK && (stream.avail_in > 0 || stream.avail_out > 0)) {
        code = inflate(&stream, Z_FINISH);
        if (code == Z_STREAM_END && stream.avail_in > 0) {
            code = inflateReset(&stream);
        }
    }
    bool whole = code == Z_STREAM_END && stream.avail_out == 0 && stream.avail_in == 0;
    inflateEnd(&stream);
    return whole;
}

static bool unpack_brotli(uint8_t *to, size_t size, const uint8_t *from, size_t packed)
{
    size_t length = size;
    return BrotliDecoderDecompress(packed, from, &length, to) == BROTLI_DECODER_RESULT_SUCCESS &&
           length == size;
}

static bool unpack_lz4(uint8_t *to, size_t size, const uint8_t *from, size_t packed)
{
    return LZ4_decompress_safe((const char *)from, (char *)to, (int)packed, (int)size) == (int)size;
}

static bool unpack_zstd(uint8_t *to, size_t size, const uint8_t *from, size_t packed)
{
    return ZSTD_decompress(to, size, from, packed) == size; // an error is a larger number
}

tr_status parquet_unpack(uint8_t *to, size_t size, const uint8_t *from, size_t packed, int codec,
                         tr_error_t *err)
{
    // In the order of their numbers. The first lz4 is in Hadoop's frames, which the format has
    // given up.
    static const struct {
        const char *name;
        bool (*unpack)(uint8_t *to, size_t size, const uint8_t *from, size_t packed);
    } codecs[] = {
        {"uncompressed", unpack_none}, {"snappy", unpack_snappy},
        {"gzip", unpack_gzip},         {"lzo", NULL},
        {"brotli", unpack_brotli},     {"lz4", NULL},
        {"zstd", unpack_zstd},         {"lz4_raw", unpack_lz4},
    };
    bool known = codec >= 0 && (size_t)codec < sizeof codecs / sizeof *codecs;
    if (!known || codecs[codec].unpack == NULL) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "pages compressed by codec %d (%s): write the file anew with zstd or snappy",
                       codec, known ? codecs[codec].name : "unknown");
    }
    if (size > INT32_MAX || packed > INT32_MAX || !codecs[codec].unpack(to, size, from, packed)) {
        return tr_fail(err, TR_ERR_FORMAT, "a page that %s cannot unpack", codecs[codec].name);
    }
    return TR_OK;
}
