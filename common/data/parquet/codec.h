/// The codecs of Parquet's pages. (parquet-format, Compression.md)
#ifndef TR_DATA_PARQUET_CODEC_H
#define TR_DATA_PARQUET_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

enum { PARQUET_UNCOMPRESSED = 0 };

/// Unpacks from: [packed] to all of to: [size]. codec: parquet.thrift's `CompressionCodec`.
/// TR_ERR_FORMAT where it is not just that; TR_ERR_UNSUPPORTED for another codec.
tr_status parquet_unpack(uint8_t *to, size_t size, const uint8_t *from, size_t packed, int codec,
                         tr_error_t *err);

#endif
