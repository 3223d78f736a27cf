/// Structured logs on standard error: one line an event.
///
///     2026-11-24T15:04:05.123Z info actor/0 weights version=3 checksum=9f.. "published"
///
/// A process sets its role and worker name once; modules name their subsystem. Nothing in algo/ or
/// in a kernel logs, and metrics are a stream of their own.
#ifndef TR_BASE_LOG_H
#define TR_BASE_LOG_H

#include <stdbool.h>

typedef enum tr_log_level { TR_LOG_DEBUG, TR_LOG_INFO, TR_LOG_WARN, TR_LOG_ERROR } tr_log_level_t;

/// "role/worker" for every later line, and the lowest level shown. who is copied.
void tr_log_init(const char *who, tr_log_level_t lowest);

/// "debug", "info", "warn" or "error" into *level; false for anything else.
bool tr_log_level_parse(tr_log_level_t *level, const char *name);

/// The same words by level, with NULL at the end.
extern const char *const tr_log_level_names[];

/// subsystem: one word. format: printf style, `key=value` pairs first, then the sentence in quotes:
///     tr_log(TR_LOG_INFO, "weights", "version=%lu \"published\"", version);
void tr_log(tr_log_level_t level, const char *subsystem, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
