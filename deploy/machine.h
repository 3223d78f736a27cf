/// What this machine is, as /proc says it.
#ifndef DEPLOY_MACHINE_H
#define DEPLOY_MACHINE_H

#include <stddef.h>

#include "common/base/status.h"

/// Bytes of memory, and of those that can be had without swapping (MemAvailable), within the limits
/// of this process's control groups (version 1 or 2).
tr_status machine_memory(size_t *total, size_t *available, tr_error_t *err);

/// The same of the files below root, which stands for "/". For tests.
tr_status machine_memory_under(size_t *total, size_t *available, const char *root, tr_error_t *err);

/// Bytes of shared memory that are free. TR_ERR_IO: there is none.
tr_status machine_shared_memory(size_t *available, tr_error_t *err);

/// How many processes the kernel has killed for want of memory since this machine started; path:
/// its counters, /proc/vmstat. 0 where it does not say.
unsigned long long machine_memory_kills(const char *path);

/// text: [size], written: what the CPU calls itself; "unknown" where it does not say.
void machine_cpu_model(char *text, size_t size);

#endif
