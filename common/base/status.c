/// The status table, sentences of errors, and memory that is there or ends the process (status.h is
/// the manual).
///
/// Code and name stand in one table; tests check that no two statuses share a name or an exit code.
#include "common/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// By the status, whose sign is dropped.
static const char *const names[] = {
    [-TR_OK] = "ok",
    [-TR_ERR_ARGUMENT] = "argument",
    [-TR_ERR_MEMORY] = "memory",
    [-TR_ERR_IO] = "io",
    [-TR_ERR_FORMAT] = "format",
    [-TR_ERR_UNSUPPORTED] = "unsupported",
    [-TR_ERR_PROTOCOL] = "protocol",
    [-TR_ERR_TIMEOUT] = "timeout",
    [-TR_ERR_PEER] = "peer",
    [-TR_ERR_NUMERIC] = "numeric",
    [-TR_ERR_VERSION] = "version",
    [-TR_ERR_INTERRUPTED] = "interrupted",
};

const char *tr_status_name(tr_status status)
{
    // a positive number, which is no status, becomes a large one
    size_t place = (size_t)(-(long)status);
    return place < sizeof names / sizeof names[0] ? names[place] : "unknown";
}

/// From 11 on, clear of the codes of the shell (1, 2, 126 and up) and of usage errors (64, argp's).
int tr_status_exit_code(tr_status status)
{
    return status == TR_OK ? 0 : 10 - (int)status;
}

int tr_status_report(tr_status status, const tr_error_t *err)
{
    if (status != TR_OK) {
        fprintf(stderr, "%s\n", err->text);
    }
    return tr_status_exit_code(status);
}

/// The name in parentheses, because status.h makes a macro of it for clang's analyzer.
tr_status(tr_fail)(tr_error_t *err, tr_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list arguments;
        va_start(arguments, format);
        err->status = status;
        vsnprintf(err->text, sizeof err->text, format, arguments);
        va_end(arguments);
    }
    return status;
}

tr_status tr_error_prefix(tr_error_t *err, const char *format, ...)
{
    // The new text is built beside the old one, which it contains.
    char text[sizeof err->text] = "";
    va_list arguments;
    va_start(arguments, format);
    // a prefix that fills the sentence alone leaves no room for the cause, and is kept
    int used = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof text) {
        int more = snprintf(text + used, sizeof text - (size_t)used, ": %s", err->text);
        text[used] = more < 0 ? '\0' : text[used]; // what does not fit is cut
    }
    memcpy(err->text, text, sizeof text);
    return err->status;
}

tr_status tr_error_join(tr_error_t *err, tr_error_t *one)
{
    if (err->status == TR_OK) {
        *err = *one;
    } else if (one->status != TR_OK && strstr(err->text, one->text) == NULL) {
        size_t used = strlen(err->text);
        int more = snprintf(err->text + used, sizeof err->text - used, "; %s", one->text);
        err->text[used] = more < 0 ? '\0' : err->text[used]; // what does not fit is cut
    }
    *one = (tr_error_t){0};
    return err->status;
}

void tr_assert_failed(const char *condition, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: assertion failed: %s: ", file, line, condition);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    // SIGABRT, not an exit code: a supervisor tells it from a failure that was foreseen
    abort();
}

/// For metadata, whose size is bounded and small: a process that cannot get it could not report the
/// error either. Tensors go through the operator table, which returns TR_ERR_MEMORY.
static void *checked(void *pointer, size_t bytes)
{
    if (pointer == NULL && bytes > 0) {
        fprintf(stderr, "out of memory: cannot allocate %zu bytes\n", bytes);
        abort();
    }
    return pointer;
}

void *tr_alloc(size_t bytes)
{
    return checked(malloc(bytes), bytes);
}

void *tr_calloc(size_t count, size_t size)
{
    return checked(calloc(count, size), count * size);
}

void *tr_realloc(void *pointer, size_t bytes)
{
    // 0 bytes free the block, and NULL is then no failure
    return checked(realloc(pointer, bytes), bytes);
}

char *tr_strdup(const char *text)
{
    return checked(strdup(text), strlen(text) + 1);
}

char *tr_format(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    // after a failure text is undefined, so the length alone decides
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return checked(length < 0 ? NULL : text, 1);
}
