// `troupe tokenize`: texts to token ids and back, a line each.
//
// The tokenizer of a directory as every role reads it, without the model: for looking at what a
// text becomes, for comparing with another program, and for how long the texts of a file are.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "deploy/command.h"

/// The bin of a length is the number of its binary digits: 0, 1, 2..3, 4..7, and so on.
enum { BINS = 65 };

typedef struct work {
    const tr_tokenizer_t *tokenizer;
    bool decode, special, stats;
    const char *name; ///< of the file, for errors
    size_t line;      ///< of the file, from 1
    size_t texts, bytes, tokens, shortest, longest;
    size_t bins[BINS]; ///< texts of so many tokens
} work_t;

/// The line's JSON value, of a kind. Owned by the caller (json_decref).
static tr_status parse(json_t **value, const work_t *work, const char *line, size_t length,
                       json_type type, tr_error_t *err)
{
    json_error_t cause;
    *value = json_loadb(line, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &cause);
    if (*value != NULL && json_typeof(*value) == type) {
        return TR_OK;
    }
    tr_fail(err, TR_ERR_FORMAT, "%s:%zu: expected %s%s%s", work->name, work->line,
            type == JSON_STRING ? "a JSON string" : "a JSON array of token ids",
            *value == NULL ? ": " : "", *value == NULL ? cause.text : "");
    json_decref(*value);
    return TR_ERR_FORMAT;
}

static void count(work_t *work, size_t bytes, size_t tokens)
{
    size_t bin = 0;
    for (size_t left = tokens; left > 0; left >>= 1) {
        bin++;
    }
    work->shortest = work->texts == 0 || tokens < work->shortest ? tokens : work->shortest;
    work->longest = tokens > work->longest ? tokens : work->longest;
    work->texts++;
    work->bytes += bytes;
    work->tokens += tokens;
    work->bins[bin]++;
}

static void print_ids(const int32_t *ids, size_t n)
{
    putchar('[');
    for (size_t i = 0; i < n; i++) {
        printf(i == 0 ? "%d" : ",%d", ids[i]);
    }
    puts("]");
}

static tr_status encode_line(work_t *work, const char *line, size_t length, tr_error_t *err)
{
    json_t *text;
    int32_t *ids = NULL;
    size_t n = 0;
    TR_TRY(parse(&text, work, line, length, JSON_STRING, err));
    tr_status status =
        tr_tokenizer_encode(&ids, &n, work->tokenizer, json_string_value(text),
                            json_string_length(text), work->special ? TR_ENCODE_SPECIAL : 0, err);
    if (status != TR_OK) {
        tr_error_prefix(err, "%s:%zu", work->name, work->line);
    } else if (work->stats) {
        count(work, json_string_length(text), n);
    } else {
        print_ids(ids, n);
    }
    free(ids);
    json_decref(text);
    return status;
}

/// Ids outside of the vocabulary leave no text, as in a run.
static tr_status decode_line(work_t *work, const char *line, size_t length, tr_error_t *err)
{
    json_t *list, *item;
    tr_ids_t ids = {0};
    size_t i, bytes;
    TR_TRY(parse(&list, work, line, length, JSON_ARRAY, err));
    json_array_foreach(list, i, item)
    {
        json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        tr_ids_append(&ids, id >= 0 && id <= INT32_MAX ? (int32_t)id : -1);
    }
    char *text = tr_tokenizer_decode(&bytes, work->tokenizer, ids.data, ids.count,
                                     work->special ? 0 : TR_DECODE_SKIP_SPECIAL);
    json_t *out = json_stringn(text, bytes);
    if (work->stats) {
        count(work, bytes, ids.count);
    } else {
        json_dumpf(out, stdout, JSON_ENCODE_ANY);
        putchar('\n');
    }
    json_decref(out);
    free(text);
    tr_ids_release(&ids);
    json_decref(list);
    return TR_OK;
}

static void print_stats(const work_t *work)
{
    printf("texts %zu\nbytes %zu\ntokens %zu\n", work->texts, work->bytes, work->tokens);
    if (work->texts == 0) {
        return;
    }
    printf("tokens a text %.6g, from %zu to %zu\nbytes a token %.6g\n\ntokens\ttexts\n",
           (double)work->tokens / (double)work->texts, work->shortest, work->longest,
           work->tokens == 0 ? 0 : (double)work->bytes / (double)work->tokens);
    for (size_t bin = 0; bin < BINS; bin++) {
        size_t first = bin == 0 ? 0 : (size_t)1 << (bin - 1);
        if (work->bins[bin] > 0) {
            printf("%zu..%zu\t%zu\n", first, bin < 2 ? first : 2 * first - 1, work->bins[bin]);
        }
    }
}

/// Lines without anything on them are passed over.
static tr_status work_through(work_t *work, FILE *file, tr_error_t *err)
{
    char *line = NULL;
    size_t capacity = 0;
    tr_status status = TR_OK;
    for (ssize_t n; status == TR_OK && (n = getline(&line, &capacity, file)) > 0;) {
        size_t length = (size_t)n;
        work->line++;
        while (length > 0 && strchr(" \t\r\n", line[length - 1]) != NULL) {
            length--;
        }
        if (length > 0) {
            status = work->decode ? decode_line(work, line, length, err)
                                  : encode_line(work, line, length, err);
        }
    }
    free(line);
    if (status == TR_OK && ferror(file)) {
        return tr_fail(err, TR_ERR_IO, "cannot read '%s'", work->name);
    }
    if (status == TR_OK && work->stats) {
        print_stats(work);
    }
    return status;
}

static tr_status tokenize(work_t *work, const char *model, const char *path, tr_error_t *err)
{
    tr_tokenizer_t *tokenizer = NULL;
    TR_TRY(tr_tokenizer_new(&tokenizer, model, err));
    work->tokenizer = tokenizer;
    work->name = path != NULL ? path : "standard input";
    FILE *file = path != NULL ? fopen(path, "rb") : stdin;
    tr_status status = file != NULL ? work_through(work, file, err)
                                    : tr_fail(err, TR_ERR_IO, "cannot open '%s'", path);
    if (file != NULL && path != NULL) {
        fclose(file);
    }
    tr_tokenizer_destroy(&tokenizer);
    return status;
}

int command_tokenize(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"model", 'm', "DIR", 0, "Hugging Face directory", 0},
        {"no-special", 'n', NULL, 0, "Add no special tokens; with --decode, show none", 0},
        {"decode", 'd', NULL, 0, "A JSON array of ids a line in, a JSON string a line out", 0},
        {"stats", 's', NULL, 0, "Print how many tokens the texts have, instead", 0},
        {0},
    };
    command_line_t line = {
        .options = table,
        .words_doc = "[FILE]",
        .doc = "Print the token ids of texts: a JSON string a line in, from FILE or standard "
               "input, a JSON array of ids a line out.",
        .most = 1,
    };
    tr_error_t err = {0};
    command_parse(&line, argc, argv);
    if (line.values['m'] == NULL) {
        fprintf(stderr, "troupe tokenize: --model is needed\n");
        return 64;
    }
    work_t work = {.decode = line.values['d'] != NULL,
                   .special = line.values['n'] == NULL,
                   .stats = line.values['s'] != NULL};
    tr_status status =
        tokenize(&work, line.values['m'], line.count > 0 ? line.words[0] : NULL, &err);
    return tr_status_report(status, &err);
}
