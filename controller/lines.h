/// JSON lines by step, the common form of metrics.jsonl and samples.jsonl: one object a line, each
/// with a whole number `step` that never falls from line to line.
#ifndef CONTROLLER_LINES_H
#define CONTROLLER_LINES_H

#include <jansson.h>

#include "controller/appender.h"

/// Opens path to append, cut before the first line whose step is after `last`, and before a torn
/// last line (without a newline). *file: owned by the caller; NULL on failure. TR_ERR_IO;
/// TR_ERR_FORMAT as "file:line: ...", and the file is then unchanged.
tr_status controller_lines_open(controller_appender_t **file, const char *path, uint64_t last,
                                tr_error_t *err);

/// Appends the object, which is flat and not empty, as one line: numbers with the fewest digits
/// that read back as the same double, whole ones without a point; keys in the order in which they
/// were set. TR_ERR_IO.
tr_status controller_lines_append(controller_appender_t *file, json_t *object, tr_error_t *err);

#endif
