/// Errors: a negative code for the program, a sentence for the person.
///
/// Every function that can fail returns a tr_status and takes a tr_error_t last. The detail is
/// written where the failure starts (tr_fail) and prefixed on the way up (tr_error_prefix). Only
/// main() exits. A message is lower case, failure first, the subject quoted, then the remedy:
///
///     recipe.yaml:14: optimizer.learning_rate: expected a positive number, or null, found 'fast'
#ifndef TR_BASE_STATUS_H
#define TR_BASE_STATUS_H

#include <stddef.h>

typedef enum tr_status {
    TR_OK = 0,
    TR_ERR_ARGUMENT = -1,    ///< a value that the caller or the user gave cannot be used
    TR_ERR_MEMORY = -2,      ///< memory cannot be allocated
    TR_ERR_IO = -3,          ///< the operating system refused: file, socket, process
    TR_ERR_FORMAT = -4,      ///< a file or message is malformed
    TR_ERR_UNSUPPORTED = -5, ///< well-formed, but a feature that Troupe does not have
    TR_ERR_PROTOCOL = -6,    ///< a peer broke the protocol
    TR_ERR_TIMEOUT = -7,     ///< a deadline passed
    TR_ERR_PEER = -8,        ///< a peer died or reported a failure
    TR_ERR_NUMERIC = -9,     ///< a NaN, an infinity, or a broken exactness promise
    TR_ERR_VERSION = -10,    ///< weights, protocol or file of another version than asked for
    TR_ERR_INTERRUPTED = -11 ///< a signal asked us to stop
} tr_status;

typedef struct tr_error {
    tr_status status; ///< TR_OK while nothing failed
    char text[1024];  ///< one sentence, NUL terminated, cut when longer
} tr_error_t;

/// Short name of a status: "io", "format", ...; "unknown" for a number outside the table.
const char *tr_status_name(tr_status status);

/// Process exit code for a status: 0 for TR_OK, else 10 - status, so that a supervisor can tell the
/// cause.
int tr_status_exit_code(tr_status status);

/// Prints err's sentence to standard error when status is a failure; returns the exit code for
/// main.
int tr_status_report(tr_status status, const tr_error_t *err);

/// Writes the sentence into err (NULL is allowed) and returns status, so that `return tr_fail(...)`
/// reads well.
tr_status tr_fail(tr_error_t *err, tr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Tells clang's analyzer, which does not look into status.c, that tr_fail returns its argument.
#ifdef __clang_analyzer__
#define tr_fail(err, status, ...) ((void)tr_fail(err, status, __VA_ARGS__), (status))
#endif

/// Puts "prefix: " before err's text and returns err's status. err must hold a failure.
tr_status tr_error_prefix(tr_error_t *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/// Adds the failure of `one`, if it is one, to err: "first; second", unless err says it already.
/// For checks that go on after a mistake. Returns err's status, the first; one is then as new.
tr_status tr_error_join(tr_error_t *err, tr_error_t *one);

#define TR_TRY(expression)                    \
    do {                                      \
        tr_status try_status_ = (expression); \
        if (try_status_ != TR_OK) {           \
            return try_status_;               \
        }                                     \
    } while (0)

/// Needs a variable `tr_status status` in scope; the label frees in reverse and returns status.
#define TR_TRY_GOTO(expression, label) \
    do {                               \
        status = (expression);         \
        if (status != TR_OK) {         \
            goto label;                \
        }                              \
    } while (0)

/// For our own mistakes only, never for files, recipes or peers. Always on.
#define TR_ASSERT(condition, ...)                                          \
    do {                                                                   \
        if (!(condition)) {                                                \
            tr_assert_failed(#condition, __FILE__, __LINE__, __VA_ARGS__); \
        }                                                                  \
    } while (0)

__attribute__((noreturn)) void tr_assert_failed(const char *condition, const char *file, int line,
                                                const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/// malloc, calloc, realloc, strdup that abort with a sentence when the machine has no memory left:
/// for metadata. Sizes that a peer or a file chose must be bounded before they come here.
void *tr_alloc(size_t bytes);
void *tr_calloc(size_t count, size_t size);
void *tr_realloc(void *pointer, size_t bytes);
char *tr_strdup(const char *text);
char *tr_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
