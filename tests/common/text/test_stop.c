/// Stop strings against transformers' decoding (a golden file, which asks StopStringCriteria too).
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/stop.h"
#include "tests/support/scratch.h"

static json_t *golden(const char *name)
{
    char *path = tr_format(TEST_SOURCE_DIR "/tests/golden/%s", name);
    json_t *file = json_load_file(path, 0, NULL);
    cr_assert_not_null(file, "%s", path);
    free(path);
    return file;
}

static void write_json(const char *folder, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    free(scratch_write(folder, name, text, strlen(text)));
    free(text);
}

/// One of the two tokenizers of chat.json.
static tr_tokenizer_t *tokenizer_of(const char *kind)
{
    tr_tokenizer_t *tokenizer;
    tr_error_t err = {0};
    json_t *chat = golden("chat.json");
    char *folder = scratch_open();
    const json_t *files = json_object_get(json_object_get(chat, "tokenizers"), kind);
    write_json(folder, "tokenizer.json", json_object_get(files, "tokenizer"));
    write_json(folder, "tokenizer_config.json", json_object_get(files, "config"));
    cr_assert_eq(tr_tokenizer_new(&tokenizer, folder, &err), TR_OK, "%s", err.text);
    scratch_close(&folder);
    json_decref(chat);
    return tokenizer;
}

/// The number of tokens with which the response stops; 0: it does not.
static size_t stops_at(const tr_tokenizer_t *tokenizer, const json_t *ids, const json_t *texts)
{
    char *items[8];
    size_t count = json_array_size(texts), found = 0;
    for (size_t i = 0; i < count; i++) {
        items[i] = (char *)json_string_value(json_array_get(texts, i));
    }
    tr_stop_t *stop = tr_stop_new(tokenizer, items, count);
    for (size_t n = 0; n < json_array_size(ids) && found == 0; n++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(ids, n));
        found = tr_stop_push(stop, id) ? n + 1 : 0;
    }
    tr_stop_destroy(&stop);
    return found;
}

Test(stop, a_response_stops_with_the_token_with_which_transformers_reads_the_text)
{
    static const char *const kinds[] = {"bytes", "pieces"};
    json_t *file = golden("stop.json");
    for (size_t k = 0; k < 2; k++) {
        tr_tokenizer_t *tokenizer = tokenizer_of(kinds[k]);
        json_t *cases = json_object_get(file, kinds[k]), *one;
        size_t i, stopped = 0;
        json_array_foreach(cases, i, one)
        {
            size_t found =
                stops_at(tokenizer, json_object_get(one, "ids"), json_object_get(one, "stop"));
            size_t expected = (size_t)json_integer_value(json_object_get(one, "tokens")); // null: 0
            cr_expect_eq(found, expected, "%s %zu: %zu", kinds[k], i, found);
            stopped += found > 0;
        }
        cr_expect_gt(stopped, 20);
        tr_tokenizer_destroy(&tokenizer);
    }
    json_decref(file);
}

Test(stop, what_waits_in_a_stream_is_seen_without_ending_it)
{
    tr_tokenizer_t *tokenizer = tokenizer_of("pieces");
    tr_text_stream_t *stream = tr_text_stream_new(tokenizer, TR_DECODE_CONTINUES);
    // an umlaut in two byte tokens, which the stream keeps until another token comes
    size_t length;
    cr_expect_str_eq(tr_text_stream_push(NULL, stream, tr_tokenizer_id(tokenizer, "<0xC3>")), "");
    cr_expect_str_eq(tr_text_stream_peek(NULL, stream), "\uFFFD");
    cr_expect_str_eq(tr_text_stream_push(NULL, stream, tr_tokenizer_id(tokenizer, "<0xBC>")), "");
    cr_expect_str_eq(tr_text_stream_peek(&length, stream), "\u00fc");
    cr_expect_eq(length, 2);
    cr_expect_str_eq(tr_text_stream_peek(NULL, stream), "\u00fc");
    cr_expect_str_eq(tr_text_stream_flush(NULL, stream), "\u00fc");
    tr_text_stream_destroy(&stream);
    tr_tokenizer_destroy(&tokenizer);
}
