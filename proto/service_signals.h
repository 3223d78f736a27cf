/// SIGTERM and SIGINT as a readable file descriptor and a flag. For service.c. The flag is read
/// through tr_service_stopping (service.h).
#ifndef TR_PROTO_SERVICE_SIGNALS_H
#define TR_PROTO_SERVICE_SIGNALS_H

#include "common/base/status.h"

/// Catches SIGTERM and SIGINT; the second SIGINT ends the process at once with code 130. *readable:
/// a file descriptor that polls readable once a signal came. One service a process.
tr_status service_signals_catch(int *readable, tr_error_t *err);

/// Gives SIGINT back to its former handler. SIGTERM stays ignored: the caller is leaving, and a
/// supervisor that repeats the signal must not interrupt the clean-up.
void service_signals_release(void);

/// Makes tr_service_stopping true without a signal: the controller said `bye`.
void service_signals_stop(void);

#endif
