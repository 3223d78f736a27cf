/// A TensorBoard event file: each step is one event, with each metric as a scalar.
///
/// The format is TFRecord (length, masked CRC-32C, bytes, masked CRC-32C) around Event messages of
/// protocol buffers. The few fields needed are written by hand: wall_time, step, file_version
/// ("brain.Event:2"), summary.value.{tag, simple_value}. Values are floats, as TensorBoard keeps
/// them.
#ifndef CONTROLLER_EVENTS_H
#define CONTROLLER_EVENTS_H

#include "controller/metrics.h"

/// Opens the event file of the run directory to append: the existing one, cut after the last event
/// whose step is at most `last` (and before a torn one), or a new one named
/// events.out.tfevents.SECONDS.HOST. *file: owned by the caller; NULL on failure. TR_ERR_IO;
/// TR_ERR_FORMAT when the file is no event file.
tr_status controller_events_open(controller_appender_t **file, const char *directory, uint64_t last,
                                 tr_error_t *err);

/// One event with all metrics of the record, flushed. wall: seconds since 1970 (tr_clock_wall).
tr_status controller_events_append(controller_appender_t *file, const controller_record_t *record,
                                   double wall, tr_error_t *err);

#endif
