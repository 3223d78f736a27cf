/// A TensorBoard event file: each step is one event, with each metric as a scalar.
///
/// The format is TFRecord (length, masked CRC-32C, bytes, masked CRC-32C) around Event messages of
/// protocol buffers. The few fields needed are written by hand: wall_time, step, file_version
/// ("brain.Event:2"), summary.value.{tag, simple_value}. Values are floats, as TensorBoard keeps
/// them.
#ifndef CONTROLLER_EVENTS_H
#define CONTROLLER_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "controller/metrics.h"

typedef struct controller_events controller_events_t;

/// Opens the event file of the run directory to append: the existing one, cut after the last event
/// whose step is at most `last` (and before a torn one), or a new one named
/// events.out.tfevents.SECONDS.HOST. *events: owned by the caller; NULL on failure. TR_ERR_IO;
/// TR_ERR_FORMAT when the file is no event file.
tr_status controller_events_open(controller_events_t **events, const char *directory, uint64_t last,
                                 tr_error_t *err);

/// One event with all metrics of the record, flushed. wall: seconds since 1970 (tr_clock_wall).
tr_status controller_events_append(controller_events_t *events, const controller_record_t *record,
                                   double wall, tr_error_t *err);

/// Syncs to the disk; called before a checkpoint is committed.
tr_status controller_events_sync(controller_events_t *events, tr_error_t *err);

void controller_events_destroy(controller_events_t **events);

// Parts of the format, for tests

/// CRC-32C (Castagnoli) of data: [length].
uint32_t controller_crc32c(const void *data, size_t length);

/// The mask of TFRecord: rotated right by 15 bits, plus a constant.
uint32_t controller_crc32c_mask(uint32_t crc);

#endif
