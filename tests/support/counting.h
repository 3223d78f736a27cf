/// A backend that counts the bytes that are asked of another one, for tests of memory.
///
///     tr_backend_t *backend = counting_open(&rig);    // use it in the place of rig.backend
///     ... counting_peak(), counting_scratch(&rig)
///
/// One at a time: buffers do not know their backend.
#ifndef TESTS_SUPPORT_COUNTING_H
#define TESTS_SUPPORT_COUNTING_H

#include "tests/support/tensors.h"

/// The counting backend over the rig's, from zero; owned by this file, valid until the next call.
tr_backend_t *counting_open(const rig_t *rig);

/// Bytes of buffers on the device: now, and at most since counting_open.
size_t counting_now(void);
size_t counting_peak(void);

/// Bytes that the operators of the rig's CPU keep for themselves; they never shrink.
size_t counting_scratch(const rig_t *rig);

#endif
