/// A file that grows by whole records: metrics.jsonl, samples.jsonl and the event file.
///
/// A run that continues from a checkpoint opens its files again, cut to their length at that
/// checkpoint; lines.h and events.c find that length.
#ifndef CONTROLLER_APPENDER_H
#define CONTROLLER_APPENDER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct controller_appender controller_appender_t;

/// Opens path, created if missing, and cuts it to its first `keep` bytes. *appender: owned by the
/// caller; NULL on failure. TR_ERR_IO.
tr_status controller_appender_open(controller_appender_t **appender, const char *path,
                                   uint64_t keep, tr_error_t *err);

/// Appends data: [length], visible to readers at once. All or nothing: when the disk is full, the
/// part that was written is removed again. TR_ERR_IO.
tr_status controller_appender_write(controller_appender_t *appender, const void *data,
                                    size_t length, tr_error_t *err);

/// Syncs to the disk. TR_ERR_IO.
tr_status controller_appender_sync(controller_appender_t *appender, tr_error_t *err);

void controller_appender_destroy(controller_appender_t **appender);

#endif
