/// Log lines on standard error (log.h has the format).
///
/// The process's name and lowest level are file-wide: they are set at the start, before other
/// threads log, and only read after that. A line is formatted on the stack and written by one
/// system call, so no lock is needed.
#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char log_who[64] = "troupe";
static tr_log_level_t log_lowest = TR_LOG_INFO;
const char *const tr_log_level_names[] = {"debug", "info", "warn", "error", NULL};

void tr_log_init(const char *who, tr_log_level_t lowest)
{
    snprintf(log_who, sizeof log_who, "%s", who);
    log_lowest = lowest;
}

bool tr_log_level_parse(tr_log_level_t *level, const char *name)
{
    for (int i = TR_LOG_DEBUG; i <= TR_LOG_ERROR; i++) {
        if (strcmp(tr_log_level_names[i], name) == 0) {
            *level = (tr_log_level_t)i;
            return true;
        }
    }
    return false;
}

void tr_log(tr_log_level_t level, const char *subsystem, const char *format, ...)
{
    if (level < log_lowest) {
        return;
    }
    struct timespec now;
    struct tm utc;
    // below PIPE_BUF (4096), up to which a write to a pipe is not divided
    char line[2048];
    clock_gettime(CLOCK_REALTIME, &now);
    // UTC, so that logs of several machines can be merged by time
    gmtime_r(&now.tv_sec, &utc);
    // The head of the line. `used` stays far below the size: the name has at most 63 characters.
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %s %s %s ",
                             now.tv_nsec / 1000000, tr_log_level_names[level], log_who, subsystem);
    va_list arguments;
    va_start(arguments, format);
    // one byte is kept for the line end
    int length = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    used += length < 0 ? 0 : (size_t)length;
    // vsnprintf returns the length that it wanted; the rest of a longer sentence is cut.
    if (used > sizeof line - 2) {
        used = sizeof line - 2;
    }
    line[used++] = '\n';
    // One write, so that lines of several processes in one file do not mix.
    if (write(STDERR_FILENO, line, used) < 0) {
        return; // there is no other place to report it
    }
}
