/// The checksums of a checkpoint's files, by which damage that came later is noticed.
///
///     checksums.json: {"critic/model.safetensors": "9f0c..", "state.json": "01ab..", ...}
///
/// XXH3-64 of each file's bytes in hex digits (`xxhsum -H3 FILE`). In JSON because a list
/// that is cut short is then no list.
#ifndef CONTROLLER_CHECKSUMS_H
#define CONTROLLER_CHECKSUMS_H

#include "common/base/status.h"

enum { CONTROLLER_CHECKSUM_DIGITS = 16 };

/// The checksum of a file in hex digits. TR_ERR_IO.
tr_status controller_checksum(char out[CONTROLLER_CHECKSUM_DIGITS + 1], const char *path,
                              tr_error_t *err);

/// Writes checksums.json of all files that are in the directory and below. TR_ERR_IO.
tr_status controller_checksums_write(const char *directory, tr_error_t *err);

/// Reads all files that checksums.json names. TR_ERR_FORMAT with the first that is missing or has
/// other bytes, or when there is no whole list; TR_ERR_IO when a file cannot be read. Files that
/// came later are passed over.
tr_status controller_checksums_check(const char *directory, tr_error_t *err);

#endif
