/// The tokenizer against the `tokenizers` library (golden files), and laws of our own.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/text/base64.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "tests/support/scratch.h"

static const char *const EMBEDDED = TEST_SOURCE_DIR "/examples/models/stories";

static tr_tokenizer_t *open_tokenizer(const char *directory)
{
    tr_error_t err = {0};
    tr_tokenizer_t *tokenizer = NULL;
    cr_assert_eq(tr_tokenizer_new(&tokenizer, directory, &err), TR_OK, "%s", err.text);
    return tokenizer;
}

/// The directory of stories260K, NULL (and a message) where the shared data is absent. The
/// caller's.
static char *shared_model(void)
{
    const char *shared = getenv("TROUPE_SHARED");
    char *path =
        tr_format("%s/data/stories260K", shared != NULL ? shared : TEST_SOURCE_DIR "/../shared");
    struct stat info;
    if (stat(path, &info) != 0) {
        free(path);
        cr_skip_test("stories260K is not here; set TROUPE_SHARED");
        return NULL;
    }
    return path;
}

static void expect_ids(const tr_tokenizer_t *tokenizer, const json_t *golden, const char *key,
                       unsigned flags)
{
    const json_t *text = json_object_get(golden, "text");
    const json_t *wanted = json_object_get(golden, key);
    tr_error_t err = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    cr_assert_eq(tr_tokenizer_encode(&ids, &count, tokenizer, json_string_value(text),
                                     json_string_length(text), flags, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(count, json_array_size(wanted), "'%s': %zu ids, not %zu", json_string_value(text),
                 count, json_array_size(wanted));
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(ids[i], json_integer_value(json_array_get(wanted, i)), "'%s': id %zu is %d",
                     json_string_value(text), i, ids[i]);
    }
    free(ids);
}

/// Whether the golden ids start with two begin tokens: the text's own and the template's.
static _Bool doubled(const tr_tokenizer_t *tokenizer, const json_t *golden)
{
    const json_t *special = json_object_get(golden, "special");
    return json_array_size(special) > 1 &&
           json_integer_value(json_array_get(special, 1)) == tr_tokenizer_bos(tokenizer);
}

static void expect_text(const char *text, size_t length, const json_t *wanted, const char *what)
{
    cr_assert_eq(length, json_string_length(wanted), "%s: '%s', not '%s'", what, text,
                 json_string_value(wanted));
    cr_assert_eq(memcmp(text, json_string_value(wanted), length), 0, "%s: '%s', not '%s'", what,
                 text, json_string_value(wanted));
}

static void expect_decoded(const tr_tokenizer_t *tokenizer, const json_t *golden, const char *from,
                           const char *key, unsigned flags)
{
    const json_t *list = json_object_get(golden, from);
    tr_ids_t ids = {0};
    tr_bytes_t streamed = {0};
    tr_text_stream_t *stream = tr_text_stream_new(tokenizer, flags);
    size_t length = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        tr_ids_append(&ids, (int32_t)json_integer_value(json_array_get(list, i)));
        const char *piece = tr_text_stream_push(&length, stream, ids.data[i]);
        cr_assert_eq(tr_utf8_valid(piece, length), length, "a piece is not UTF-8");
        tr_bytes_append(&streamed, piece, length);
    }
    const char *rest = tr_text_stream_flush(&length, stream);
    tr_bytes_append(&streamed, rest, length);
    char *whole = tr_tokenizer_decode(&length, tokenizer, ids.data, ids.count, flags);
    expect_text(whole, length, json_object_get(golden, key), key);
    expect_text(streamed.data, streamed.length, json_object_get(golden, key), "streamed");
    free(whole);
    tr_bytes_release(&streamed);
    tr_ids_release(&ids);
    tr_text_stream_destroy(&stream);
}

static void expect_case(const tr_tokenizer_t *tokenizer, const json_t *golden)
{
    const char *from = "ids";
    if (json_object_get(golden, "text") != NULL) {
        expect_ids(tokenizer, golden, "ids", 0);
        if (!doubled(tokenizer, golden)) {
            expect_ids(tokenizer, golden, "special", TR_ENCODE_SPECIAL);
        }
        from = "special";
    }
    expect_decoded(tokenizer, golden, from, "decoded", 0);
    expect_decoded(tokenizer, golden, from, "skipped", TR_DECODE_SKIP_SPECIAL);
}

static void expect_golden(const char *directory, const char *path)
{
    tr_tokenizer_t *tokenizer = open_tokenizer(directory);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    char *line = NULL;
    size_t capacity = 0;
    size_t cases = 0;
    for (ssize_t length; (length = getline(&line, &capacity, file)) > 0; cases++) {
        json_t *golden = json_loadb(line, (size_t)length, JSON_ALLOW_NUL, NULL);
        cr_assert_not_null(golden, "%s:%zu", path, cases + 1);
        expect_case(tokenizer, golden);
        json_decref(golden);
    }
    cr_assert_geq(cases, 300U);
    free(line);
    fclose(file);
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer, byte_level_agrees_with_the_tokenizers_library)
{
    expect_golden(EMBEDDED, TEST_SOURCE_DIR "/tests/golden/text_stories.jsonl");
}

Test(tokenizer, byte_fallback_agrees_with_the_tokenizers_library)
{
    char *directory = shared_model();
    if (directory != NULL) {
        expect_golden(directory, TEST_SOURCE_DIR "/tests/golden/text_stories260K.jsonl");
    }
    free(directory);
}

/// A directory with the case's files. source: of the tokenizer.json.
static void write_directory(const char *folder, const char *source, const json_t *golden)
{
    json_t *config = json_pack("{s:O}", "model_type", json_object_get(golden, "model_type"));
    char *path = tr_format("%s/tokenizer.json", source), *text = NULL;
    size_t length;
    tr_error_t err = {0};
    cr_assert_eq(tr_file_read(&text, &length, path, SIZE_MAX, &err), TR_OK, "%s", err.text);
    const char *said = json_string_value(json_object_get(golden, "config"));
    char *model = json_dumps(config, 0);
    free(path);
    free(scratch_write(folder, "tokenizer.json", text, length));
    free(scratch_write(folder, "tokenizer_config.json", said, strlen(said)));
    free(scratch_write(folder, "config.json", model, strlen(model)));
    free(model);
    free(text);
    json_decref(config);
}

Test(tokenizer, a_directorys_class_is_read_as_transformers_reads_it)
{
    char *directory = shared_model();
    if (directory == NULL) {
        return;
    }
    char *folder = scratch_open();
    json_t *cases = json_load_file(TEST_SOURCE_DIR "/tests/golden/tokenizer_class.json", 0, NULL),
           *golden, *row;
    size_t i, j;
    json_array_foreach(cases, i, golden)
    {
        write_directory(folder, directory, golden);
        tr_tokenizer_t *tokenizer = open_tokenizer(folder);
        json_array_foreach(json_object_get(golden, "texts"), j, row)
        {
            json_t *one = json_pack("{s:O, s:O, s:O}", "text", json_array_get(row, 0), "special",
                                    json_array_get(row, 1), "decoded", json_array_get(row, 2));
            expect_ids(tokenizer, one, "special", TR_ENCODE_SPECIAL);
            expect_decoded(tokenizer, one, "special", "decoded", 0);
            json_decref(one);
        }
        tr_tokenizer_destroy(&tokenizer);
    }
    cr_assert_eq(i, 15U);
    json_decref(cases);
    scratch_close(&folder);
    free(directory);
}

/// A directory with a case's files: texts of "files", base64 where their name ends in .model, or
/// JSON of the case's own.
static void write_files(const char *folder, const json_t *files, json_t *of_case)
{
    const char *name;
    json_t *content;
    json_object_foreach(of_case, name, content)
    {
        const char *key = json_string_value(content), *text = key;
        const json_t *file = json_object_get(files, key);
        size_t length = strlen(key);
        tr_bytes_t bytes = {0};
        if (file != NULL) {
            text = json_string_value(file);
            bool binary = length > 6 && strcmp(key + length - 6, ".model") == 0;
            length = strlen(text);
            if (binary) {
                cr_assert(tr_base64_decode(&bytes, text, length), "%s", key);
                text = bytes.data;
                length = bytes.length;
            }
        }
        free(scratch_write(folder, name, text, length));
        tr_bytes_release(&bytes);
    }
}

Test(tokenizer, a_directory_of_any_form_is_read_as_transformers_reads_it)
{
    json_t *golden = json_load_file(TEST_SOURCE_DIR "/tests/golden/tokenizer_directories.json",
                                    JSON_ALLOW_NUL, NULL),
           *of_case, *row;
    size_t i, j;
    json_array_foreach(json_object_get(golden, "cases"), i, of_case)
    {
        char *folder = scratch_open();
        const char *name = json_string_value(json_object_get(of_case, "name"));
        write_files(folder, json_object_get(golden, "files"), json_object_get(of_case, "files"));
        tr_tokenizer_t *tokenizer = open_tokenizer(folder);
        json_array_foreach(json_object_get(of_case, "texts"), j, row)
        {
            json_t *one =
                json_pack("{s:O, s:O, s:O, s:s}", "text", json_array_get(row, 0), "special",
                          json_array_get(row, 1), "decoded", json_array_get(row, 2), "name", name);
            // The template's begin token is not put before the text's own.
            const json_t *ids = json_array_get(row, 1);
            if (json_array_size(ids) < 2 ||
                !json_equal(json_array_get(ids, 0), json_array_get(ids, 1))) {
                expect_ids(tokenizer, one, "special", TR_ENCODE_SPECIAL);
            }
            expect_decoded(tokenizer, one, "special", "decoded", 0);
            json_decref(one);
        }
        tr_tokenizer_destroy(&tokenizer);
        scratch_close(&folder);
    }
    cr_assert(i > 50);
    json_decref(golden);
}

/// The ids of a text, and how many.
static int32_t *encode(size_t *count, const tr_tokenizer_t *tokenizer, const char *text,
                       unsigned flags)
{
    int32_t *ids = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_tokenizer_encode(&ids, count, tokenizer, text, strlen(text), flags, &err),
                 TR_OK, "%s", err.text);
    return ids;
}

Test(tokenizer, begin_token_is_never_doubled)
{
    tr_tokenizer_t *tokenizer = open_tokenizer(EMBEDDED);
    size_t plain = 0;
    size_t marked = 0;
    int32_t *a = encode(&plain, tokenizer, "Once upon a time", TR_ENCODE_SPECIAL);
    int32_t *b = encode(&marked, tokenizer, "<|endoftext|>Once upon a time", TR_ENCODE_SPECIAL);
    cr_assert_eq(a[0], tr_tokenizer_bos(tokenizer));
    cr_assert_neq(a[1], tr_tokenizer_bos(tokenizer));
    cr_assert_eq(plain, marked);
    cr_assert_eq(memcmp(a, b, plain * sizeof *a), 0);
    free(a);
    free(b);
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer, begin_token_is_never_doubled_with_byte_fallback)
{
    char *directory = shared_model();
    tr_tokenizer_t *tokenizer = directory == NULL ? NULL : open_tokenizer(directory);
    for (int round = 0; tokenizer != NULL && round < 2; round++) {
        size_t count = 0;
        int32_t *ids =
            encode(&count, tokenizer, round == 0 ? "Once" : "<s>Once", TR_ENCODE_SPECIAL);
        cr_assert_eq(ids[0], 1);
        cr_assert_neq(ids[1], 1);
        free(ids);
    }
    tr_tokenizer_destroy(&tokenizer);
    free(directory);
}

Test(tokenizer, continued_text_gets_no_space_and_keeps_its_own)
{
    char *directory = shared_model();
    if (directory == NULL) {
        return;
    }
    tr_tokenizer_t *tokenizer = open_tokenizer(directory);
    size_t whole = 0;
    size_t first = 0;
    size_t second = 0;
    int32_t *ids = encode(&whole, tokenizer, "Once upon", 0);
    int32_t *a = encode(&first, tokenizer, "Once", 0);
    int32_t *b = encode(&second, tokenizer, " upon", TR_ENCODE_CONTINUES);
    cr_assert_eq(whole, first + second);
    cr_assert_eq(memcmp(ids + first, b, second * sizeof *b), 0);
    char *bare = tr_tokenizer_decode(NULL, tokenizer, b, second, 0);
    char *continued = tr_tokenizer_decode(NULL, tokenizer, b, second, TR_DECODE_CONTINUES);
    cr_assert_str_eq(bare, "upon");
    cr_assert_str_eq(continued, " upon");
    free(ids);
    free(a);
    free(b);
    free(bare);
    free(continued);
    tr_tokenizer_destroy(&tokenizer);
    free(directory);
}

Test(tokenizer, stream_keeps_a_character_until_it_is_whole)
{
    tr_tokenizer_t *tokenizer = open_tokenizer(EMBEDDED);
    size_t count = 0;
    int32_t *ids = encode(&count, tokenizer, "\xF0\x9F\x98\x80", 0);
    cr_assert_eq(count, 4U);
    tr_text_stream_t *stream = tr_text_stream_new(tokenizer, 0);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_str_eq(tr_text_stream_push(NULL, stream, ids[i]), "");
    }
    cr_assert_str_eq(tr_text_stream_push(NULL, stream, ids[3]), "\xF0\x9F\x98\x80");
    tr_text_stream_push(NULL, stream, ids[0]);
    cr_assert_str_eq(tr_text_stream_flush(NULL, stream), "\xEF\xBF\xBD");
    cr_assert_str_eq(tr_text_stream_flush(NULL, stream), "");
    free(ids);
    tr_text_stream_destroy(&stream);
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer, long_text_without_spaces_takes_no_quadratic_time)
{
    tr_tokenizer_t *tokenizer = open_tokenizer(EMBEDDED);
    size_t length = 400000; // with quadratic merging this would take minutes
    char *text = tr_alloc(length + 1);
    for (size_t i = 0; i < length; i++) {
        text[i] = (char)('a' + i * i % 7);
    }
    text[length] = '\0';
    size_t count = 0;
    int32_t *ids = encode(&count, tokenizer, text, 0);
    char *back = tr_tokenizer_decode(NULL, tokenizer, ids, count, 0);
    cr_assert_str_eq(back, text);
    memset(text, ' ', length);
    free(ids);
    ids = encode(&count, tokenizer, text, 0);
    free(back);
    back = tr_tokenizer_decode(NULL, tokenizer, ids, count, 0);
    cr_assert_str_eq(back, text);
    free(ids);
    free(back);
    free(text);
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer, invalid_utf8_is_refused_with_its_byte)
{
    tr_tokenizer_t *tokenizer = open_tokenizer(EMBEDDED);
    tr_error_t err = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    cr_assert_eq(tr_tokenizer_encode(&ids, &count, tokenizer, "ab\xFF", 3, 0, &err),
                 TR_ERR_ARGUMENT);
    cr_assert_not_null(strstr(err.text, "byte 2 (0xFF)"), "%s", err.text);
    cr_assert_null(ids);
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer, vocabulary_and_special_ids_are_the_files)
{
    tr_tokenizer_t *tokenizer = open_tokenizer(EMBEDDED);
    cr_assert_eq(tr_tokenizer_vocab_size(tokenizer), 1024U);
    cr_assert_eq(tr_tokenizer_bos(tokenizer), 0);
    cr_assert_eq(tr_tokenizer_eos(tokenizer), 0);
    cr_assert_str_eq(tr_tokenizer_token(tokenizer, 0), "<|endoftext|>");
    cr_assert(tr_tokenizer_is_special(tokenizer, 1));
    cr_assert_not(tr_tokenizer_is_special(tokenizer, 2));
    cr_assert_eq(tr_tokenizer_id(tokenizer, tr_tokenizer_token(tokenizer, 1000)), 1000);
    cr_assert_eq(tr_tokenizer_id(tokenizer, "no such token"), -1);
    cr_assert_null(tr_tokenizer_token(tokenizer, 1024));
    cr_assert_null(tr_tokenizer_token(tokenizer, -1));
    tr_tokenizer_destroy(&tokenizer);
    tr_tokenizer_destroy(&tokenizer);
}
