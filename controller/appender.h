/// A file that grows by whole pieces: what metrics.jsonl, samples.jsonl and the event file are.
///
/// A run that goes on from a checkpoint opens its files again, cut to what the checkpoint knew; the
/// formats say where that is (lines.h, events.c).
#ifndef CONTROLLER_APPENDER_H
#define CONTROLLER_APPENDER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct controller_appender controller_appender_t;

/// Opens path, made when it is not there, and cuts it to its first `keep` bytes.
/// *appender: owned by the caller; NULL on failure. TR_ERR_IO.
tr_status controller_appender_open(controller_appender_t **appender, const char *path,
                                   uint64_t keep, tr_error_t *err);

/// Appends data: [length], seen by readers at once. All of it or nothing: when the disk is full,
/// what was written of it is taken back. TR_ERR_IO.
tr_status controller_appender_write(controller_appender_t *appender, const void *data,
                                    size_t length, tr_error_t *err);

/// To the disk. TR_ERR_IO.
tr_status controller_appender_sync(controller_appender_t *appender, tr_error_t *err);

void controller_appender_destroy(controller_appender_t **appender);

#endif
