// Values of cells, for the readers of CSV and Parquet: what JSON cannot hold is told in one place.
#include "common/data/value.h"

#include <math.h>
#include <string.h>

#include "common/base/status.h"
#include "common/text/json.h"
#include "common/text/utf8.h"

static json_t *made(json_t *value)
{
    TR_ASSERT(value != NULL, "out of memory");
    return value;
}

/// A text with what cannot stand in it.
static json_t *repaired(const char *text, size_t length)
{
    tr_bytes_t out = {0};
    for (size_t at = 0; at < length;) {
        size_t n = text[at] != '\0' ? tr_utf8_next(NULL, text + at, length - at) : 0;
        tr_bytes_append(&out, n > 0 ? text + at : "\xEF\xBF\xBD", n > 0 ? n : 3);
        at += n > 0 ? n : 1;
    }
    json_t *value = json_stringn(out.data, out.length);
    tr_bytes_release(&out);
    return value;
}

json_t *tr_value_text(const char *text, size_t length, const char **flaw)
{
    bool valid = tr_utf8_valid(text, length) == length;
    if (valid && memchr(text, '\0', length) == NULL) {
        return made(json_stringn(text, length));
    }
    *flaw = valid ? "a NUL character" : "bytes that are no UTF-8";
    return made(repaired(text, length));
}

json_t *tr_value_real(double real, const char **flaw)
{
    if (isnan(real)) {
        *flaw = "NaN";
        return json_null();
    }
    if (isinf(real)) {
        *flaw = "a number past all reals";
        return made(json_real(copysign(1e308, real)));
    }
    return made(json_real(real));
}

json_t *tr_value_unsigned(uint64_t natural, const char **flaw)
{
    if (natural <= INT64_MAX) {
        return made(json_integer((json_int_t)natural));
    }
    *flaw = "a whole number of more than 64 bits";
    return made(json_real((double)natural));
}

void tr_value_put(json_t *row, const char *column, json_t *value, const char *flaw)
{
    json_object_set_new(row, column, value);
    if (flaw != NULL) {
        json_t *flaws = json_object_get(row, TR_JSON_FLAWS);
        if (flaws == NULL) {
            flaws = json_object();
            json_object_set_new(row, TR_JSON_FLAWS, flaws);
        }
        json_object_set_new(flaws, column, json_string(flaw));
    }
}
