/// A data file that can be read at any place, whatever it is packed by.
#ifndef TR_DATA_UNPACK_H
#define TR_DATA_UNPACK_H

#include "common/base/status.h"

/// Opens a file for reading at any place. What has no places (gzip, zstd, a pipe) is copied to an
/// unnamed file in $TMPDIR, or /var/tmp, unpacked. *descriptor: the caller's, after a failure too;
/// or -1. TR_ERR_IO, also for packed bytes that are cut off or damaged; TR_ERR_FORMAT for a file of
/// zstd that unpacks to a thousand times its size and a GiB besides.
tr_status tr_open_unpacked(int *descriptor, const char *path, tr_error_t *err);

/// An unnamed file there, for what a reader of `path` unpacks by itself. TR_ERR_IO.
tr_status tr_open_unnamed(int *descriptor, const char *path, tr_error_t *err);
/// What to say of errno where writing to it fails.
tr_status tr_cannot_unpack(const char *path, tr_error_t *err);

/// Whether a file that is named so is packed by gzip or zstd (".gz", ".zst"): the length of its
/// name without that.
size_t tr_unpacked_name(const char *path);

#endif
