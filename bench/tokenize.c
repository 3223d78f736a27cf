// bench-tokenize: how fast texts become token ids, on one core.
//
//     bench-tokenize MODEL FILE
//
// Measures once for each line on standard input and answers with a line: MB a second over the texts
// of FILE, which are its lines, each encoded by a call of its own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/text/tokenizer.h"

static tr_status encode_all(const tr_tokenizer_t *tokenizer, const char *text, size_t length,
                            tr_error_t *err)
{
    for (size_t at = 0; at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t n = end == NULL ? length - at : (size_t)(end - text) - at, count;
        int32_t *ids;
        TR_TRY(tr_tokenizer_encode(&ids, &count, tokenizer, text + at, n, 0, err));
        free(ids);
        at += n + 1;
    }
    return TR_OK;
}

static tr_status measure(const tr_tokenizer_t *tokenizer, const char *text, size_t length,
                         tr_error_t *err)
{
    char line[8];
    while (fgets(line, sizeof line, stdin) != NULL) {
        double start = tr_clock_seconds();
        TR_TRY(encode_all(tokenizer, text, length, err));
        printf("%.2f\n", (double)length / 1e6 / (tr_clock_seconds() - start));
        fflush(stdout);
    }
    return TR_OK;
}

int main(int argc, char **argv)
{
    tr_error_t err = {0};
    tr_tokenizer_t *tokenizer = NULL;
    char *text = NULL;
    size_t length;
    tr_status status;
    if (argc != 3) {
        fprintf(stderr, "usage: bench-tokenize MODEL FILE\n");
        return 64;
    }
    TR_TRY_GOTO(tr_tokenizer_new(&tokenizer, argv[1], &err), done);
    TR_TRY_GOTO(tr_file_read(&text, &length, argv[2], SIZE_MAX, &err), done);
    status = measure(tokenizer, text, length, &err);
done:
    free(text);
    tr_tokenizer_destroy(&tokenizer);
    return tr_status_report(status, &err);
}
