/// Real work on any device, as deploy/memory.h describes it, whose memory is compared with what a
/// dry run finds.
#ifndef TESTS_SUPPORT_MEASURED_H
#define TESTS_SUPPORT_MEASURED_H

#include "deploy/memory.h"

/// A wide vocabulary, a deep model, a broad one, a critic, rows that a CPU copies before it
/// multiplies, and last a small one.
tr_model_config_t measured_shape(size_t i);
enum { MEASURED_SHAPES = 5, MEASURED_SMALL = 5 };

memory_t measured_dry(const tr_device_options_t *device, const tr_model_config_t *config,
                      const memory_work_t *work);

/// Does the work of one rank, a few times, within the memory that a dry run finds: never less than
/// was taken, and at most 2 % more beside `more` bytes.
void measured_check(const char *what, tr_device_options_t device, const tr_model_config_t *config,
                    const memory_work_t *work, size_t more);

#endif
