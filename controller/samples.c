// samples.jsonl. Apart from generation.c, which chooses what is written, because responses are
// arbitrary bytes and a line must be valid JSON. The file itself is lines.c.
#include "controller/samples.h"

#include <math.h>
#include <string.h>

#include "common/text/utf8.h"
#include "controller/lines.h"

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

tr_status controller_samples_append(controller_appender_t *file, const controller_sample_t *sample,
                                    tr_error_t *err)
{
    if (isinf(sample->score)) {
        return tr_fail(err, TR_ERR_NUMERIC, "the score of a sample of step %llu is %g",
                       (unsigned long long)sample->step, sample->score);
    }
    // lines.c reads the step; deploy/sample_rows.c reads the rest.
    json_t *line =
        json_pack("{s:I, s:s*, s:o, s:o, s:o, s:s, s:O*}", "step", (json_int_t)sample->step,
                  "split", sample->split, "prompt", to_text(sample->prompt, strlen(sample->prompt)),
                  "response", to_text(sample->response, sample->length), "score",
                  isnan(sample->score) ? json_null() : json_real(sample->score), "finish",
                  sample->finish, "messages", sample->messages);
    TR_ASSERT(line != NULL, "out of memory");
    tr_status status = controller_lines_append(file, line, err);
    json_decref(line);
    return status;
}
