/// How many requests a broker has, for tests that none may be left.
#ifndef TESTS_SUPPORT_OPEN_REQUESTS_H
#define TESTS_SUPPORT_OPEN_REQUESTS_H

#include "proto/dispatch.h"

/// Queued and outstanding ones together, by the status message.
size_t open_requests(const tr_dispatch_t *dispatch);

#endif
