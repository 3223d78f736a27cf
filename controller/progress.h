/// The terminal output of a run: a live line with a bar where standard output is a terminal,
/// else one line a step.
///
///     step  12/60  score 1.25  kl 0.031  entropy 33.2  clip 4.2%  rollout 5.1k tok/s  left 1m40s
///
/// The numbers come from a step's record by TRL's names; what a record lacks is left out. The
/// formatting is pure: nothing but its arguments decides the text.
#ifndef CONTROLLER_PROGRESS_H
#define CONTROLLER_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "controller/metrics.h"

// Formatting

/// One line without a newline. left: seconds to go, negative when unknown. Shown are the metrics
/// that have a label in metric_table.c and a value in the record, and each tokens_per_second/PHASE;
/// before them exact/logprob_mismatch, in capitals, when it is not 0. Owned by the caller (free).
char *controller_progress_line(const controller_record_t *record, uint64_t steps, double left);

/// The live line: a bar, the phase that runs (NULL: none), then `line` (controller_progress_line),
/// cut to `columns` characters. Owned by the caller (free).
char *controller_progress_live(const char *line, uint64_t done, uint64_t steps, const char *phase,
                               size_t columns);

/// "45s", "1m40s", "2h05m", "3d04h"; "?" when negative or not finite. Owned by the caller (free).
char *controller_progress_duration(double seconds);

/// "0.4", "37", "5.1k", "2.3M". Owned by the caller (free).
char *controller_progress_rate(double per_second);

// The terminal

typedef struct controller_progress controller_progress_t;

/// out: borrowed; live or not by isatty. done: steps finished before this start (the checkpoint's).
controller_progress_t *controller_progress_new(FILE *out, uint64_t done, uint64_t steps);

/// Ends the live line; the last step's line stays.
void controller_progress_destroy(controller_progress_t **progress);

/// Whoever is waited for, and for how many seconds; NULL: nobody for long. Shown on a live line
/// only.
void controller_progress_wait(controller_progress_t *progress, const char *text, double seconds);

/// A sentence on a line of its own.
void controller_progress_note(controller_progress_t *progress, const char *sentence);

/// Begins a phase of the step; shown on a live line only. now: tr_clock_seconds.
void controller_progress_phase(controller_progress_t *progress, const char *phase, double now);

/// Ends a step. The time left follows from the mean of the last 20 steps since the start, which is
/// the first phase. On a live line a step with a logprob_mismatch also leaves a line that stays.
void controller_progress_step(controller_progress_t *progress, const controller_record_t *record,
                              double now);

#endif
