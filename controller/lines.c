// JSON lines: where a resumed run cuts a file, and how values are printed.
//
// Apart from metrics.c and samples.c, which share it. Jansson prints doubles with 17 digits; here a
// number has the fewest digits that read back as the same double, so lines are short and exact.
#include "controller/lines.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/utf8.h"

// Reading: where to cut

/// The step of a line.
static tr_status parse_step(uint64_t *step, const char *text, size_t length, const char *path,
                            size_t line, tr_error_t *err)
{
    // JSON_ALLOW_NUL: a response in samples.jsonl may hold one.
    json_error_t cause;
    json_t *object = json_loadb(text, length, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &cause);
    if (object == NULL) {
        return tr_fail(err, TR_ERR_FORMAT, "%s:%zu: malformed JSON at byte %d of the line: %s",
                       path, line, cause.position, cause.text);
    }
    const json_t *value = json_object_get(object, "step");
    // -1 stands for no whole number, which a step never is.
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    json_decref(object);
    if (number < 0) {
        return tr_fail(err, TR_ERR_FORMAT,
                       "%s:%zu: step: expected an object in which it is a whole number from 0",
                       path, line);
    }
    *step = (uint64_t)number;
    return TR_OK;
}

/// *keep: the bytes before the first line that is torn or of a step after `last`.
static tr_status measure(uint64_t *keep, FILE *stream, const char *path, uint64_t last,
                         tr_error_t *err)
{
    char *text = NULL;
    size_t capacity = 0;
    tr_status status = TR_OK;
    // getline: a line may be as long as a response.
    ssize_t length = 0;
    *keep = 0;
    for (size_t line = 1; (length = getline(&text, &capacity, stream)) > 0; line++) {
        uint64_t step = 0;
        // Torn by a kill during a write: not an error, and cut off.
        if (text[length - 1] != '\n') {
            break;
        }
        // Every kept line is parsed: a damaged file is reported and not continued.
        TR_TRY_GOTO(parse_step(&step, text, (size_t)length, path, line, err), done);
        // Steps never fall, so everything from here on is later.
        if (step > last) {
            break;
        }
        *keep += (uint64_t)length;
    }
    // getline returns -1 at the end and after an error alike.
    if (ferror(stream)) {
        status = tr_fail(err, TR_ERR_IO, "cannot read '%s' to its end: %s", path, strerror(errno));
    }
done:
    free(text);
    return status;
}

tr_status controller_lines_open(controller_appender_t **file, const char *path, uint64_t last,
                                tr_error_t *err)
{
    *file = NULL;
    uint64_t keep = 0;
    FILE *stream = fopen(path, "rb");
    // No file is a new run; any other failure must not end in a new file.
    if (stream == NULL && errno != ENOENT) {
        return tr_fail(err, TR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    }
    if (stream != NULL) {
        // Closed before the file is opened to write and cut.
        tr_status status = measure(&keep, stream, path, last, err);
        fclose(stream);
        TR_TRY(status);
    }
    return controller_appender_open(file, path, keep, err);
}

// Writing

static void append_text(tr_bytes_t *out, const char *text)
{
    tr_bytes_append(out, text, strlen(text));
}

/// Whole numbers without a point, others with the fewest digits that are exact.
static void append_real(tr_bytes_t *out, double value)
{
    char text[32];
    if (value == trunc(value) && fabs(value) < 1e15) {
        // Up to 1e15 a double holds every whole number, and no exponent is needed.
        snprintf(text, sizeof text, "%.0f", value);
    } else {
        // 17 digits always suffice for a double.
        // From 1 on: rates such as 1e-05 are common, and most other numbers need them all.
        int digits = 1;
        do {
            snprintf(text, sizeof text, "%.*g", digits, value);
        } while (strtod(text, NULL) != value && digits++ < 17);
    }
    append_text(out, text);
}

/// A value of a line: a number as above, a text as jansson quotes it.
static void append_value(tr_bytes_t *out, const json_t *value)
{
    if (json_is_real(value)) {
        append_real(out, json_real_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    TR_ASSERT(text != NULL, "out of memory");
    append_text(out, text);
    free(text);
}

tr_status controller_lines_append(controller_appender_t *file, json_t *object, tr_error_t *err)
{
    tr_bytes_t line = {0};
    const char *key, *between = "{";
    json_t *value;
    // In the order in which keys were set (jansson keeps it), so equal records give equal lines.
    json_object_foreach(object, key, value)
    {
        json_t *name = json_string(key);
        append_text(&line, between);
        append_value(&line, name);
        append_text(&line, ": ");
        append_value(&line, value);
        json_decref(name);
        between = ", ";
    }
    // In one write, so that a reader sees the whole line or none of it.
    append_text(&line, "}\n");
    tr_status status = controller_appender_write(file, line.data, line.length, err);
    tr_bytes_release(&line);
    return status;
}
