// samples.jsonl. Apart from generation.c, which chooses what is written, because responses are
// arbitrary bytes and a line must be valid JSON. The file itself is lines.c.
#include "controller/samples.h"

#include <math.h>
#include <stdlib.h>

#include "common/text/utf8.h"
#include "controller/lines.h"

struct controller_samples {
    controller_appender_t *file;
};

tr_status controller_samples_open(controller_samples_t **samples, const char *path, uint64_t last,
                                  tr_error_t *err)
{
    *samples = NULL;
    controller_appender_t *file;
    TR_TRY(controller_lines_open(&file, path, last, err));
    *samples = tr_alloc(sizeof **samples);
    (*samples)->file = file;
    return TR_OK;
}

void controller_samples_destroy(controller_samples_t **samples)
{
    if (*samples == NULL) {
        return;
    }
    controller_appender_destroy(&(*samples)->file);
    free(*samples);
    *samples = NULL;
}

/// The bytes as valid UTF-8, repaired where necessary. A new reference.
static json_t *to_text(const char *text, size_t length)
{
    tr_bytes_t pending = {0};
    tr_bytes_t repaired = {0};
    tr_bytes_append(&pending, text, length);
    // 1: the bytes end here, so a sequence that is cut at the end is replaced too.
    tr_utf8_drain(&repaired, &pending, 1);
    tr_bytes_append(&repaired, "", 0); // allocates data for an empty text too
    json_t *value = json_stringn(repaired.data, repaired.length);
    tr_bytes_release(&repaired);
    tr_bytes_release(&pending);
    return value;
}

/// Adds the further keys behind the four of every line.
static tr_status add_more(json_t *line, const json_t *more, tr_error_t *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)more, key, value)
    {
        if (json_object_get(line, key) != NULL) {
            return tr_fail(err, TR_ERR_ARGUMENT, "sample: the key '%s' is taken; rename it", key);
        }
        int failed = json_object_set(line, key, value);
        TR_ASSERT(failed == 0, "out of memory");
    }
    return TR_OK;
}

tr_status controller_samples_append(controller_samples_t *samples, uint64_t step,
                                    const char *prompt, size_t prompt_length, const char *response,
                                    size_t response_length, double score, const json_t *more,
                                    tr_error_t *err)
{
    // JSON has no NaN.
    if (!isfinite(score)) {
        return tr_fail(err, TR_ERR_NUMERIC, "the score of a sample of step %llu is %g",
                       (unsigned long long)step, score);
    }
    // Readers of the file rely on these four, in this order.
    json_t *line = json_object();
    int failed = json_object_set_new(line, "step", json_integer((json_int_t)step));
    failed |= json_object_set_new(line, "prompt", to_text(prompt, prompt_length));
    failed |= json_object_set_new(line, "response", to_text(response, response_length));
    failed |= json_object_set_new(line, "score", json_real(score));
    TR_ASSERT(failed == 0, "out of memory");
    tr_status status = add_more(line, more, err);
    if (status == TR_OK) {
        status = controller_lines_append(samples->file, line, err);
    }
    json_decref(line);
    return status;
}

tr_status controller_samples_sync(controller_samples_t *samples, tr_error_t *err)
{
    return controller_appender_sync(samples->file, err);
}
