/// Every step that a tokenizer.json may have, against the `tokenizers` library: golden ids and
/// texts of short texts, and the classes of characters over all of Unicode
/// (tests/golden/pipeline.json).
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/base/file.h"
#include "common/text/tokenizer.h"
#include "common/text/utf8.h"
#include "tests/support/scratch.h"

static char *folder;

static void setup(void)
{
    folder = scratch_open();
}

static void teardown(void)
{
    scratch_close(&folder);
}

TestSuite(pipeline, .init = setup, .fini = teardown);

/// The tokenizer of a case: its parts, and what every file has.
static tr_tokenizer_t *tokenizer_of(const json_t *golden, const json_t *parts)
{
    json_t *root = json_deep_copy(parts), *decoder = NULL;
    const char *model = json_string_value(json_object_get(parts, "model"));
    json_object_set(
        root, "model",
        json_object_get(json_object_get(golden, "models"), model == NULL ? "bpe" : model));
    if (json_object_get(root, "decoder") == NULL) {
        decoder = json_pack("{s:s, s:[{s:s}, {s:s}]}", "type", "Sequence", "decoders", "type",
                            "ByteFallback", "type", "Fuse");
        json_object_set_new(root, "decoder", decoder);
    }
    char *text = json_dumps(root, 0);
    char *path = scratch_write(folder, "tokenizer.json", text, strlen(text));
    tr_tokenizer_t *tokenizer = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_tokenizer_new(&tokenizer, folder, &err), TR_OK, "%s", err.text);
    free(path);
    free(text);
    json_decref(root);
    return tokenizer;
}

static int32_t *encode(size_t *count, const tr_tokenizer_t *tokenizer, const char *text,
                       size_t length)
{
    int32_t *ids = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_tokenizer_encode(&ids, count, tokenizer, text, length, 0, &err), TR_OK, "%s",
                 err.text);
    return ids;
}

/// The pieces of a stream, each followed by what would come if the text ended there, must fit the
/// whole text.
static void expect_stream(const tr_tokenizer_t *tokenizer, const int32_t *ids, size_t count,
                          const char *whole, size_t length, const char *name)
{
    tr_text_stream_t *stream = tr_text_stream_new(tokenizer, 0);
    tr_bytes_t text = {0};
    size_t n;
    for (size_t i = 0; i <= count; i++) {
        const char *piece =
            i < count ? tr_text_stream_push(&n, stream, ids[i]) : tr_text_stream_flush(&n, stream);
        tr_bytes_append(&text, piece, n);
        cr_assert(text.length <= length && memcmp(text.data, whole, text.length) == 0,
                  "%s: streamed '%s', not '%s'", name, text.data, whole);
        char *so_far = tr_tokenizer_decode(&n, tokenizer, ids, i < count ? i + 1 : count, 0);
        const char *rest = tr_text_stream_peek(NULL, stream);
        cr_expect(i == count || (text.length <= n && strcmp(so_far + text.length, rest) == 0),
                  "%s: '%s' and then '%s', not '%s'", name, text.data, rest, so_far);
        free(so_far);
    }
    cr_expect_eq(text.length, length, "%s: streamed '%s', not '%s'", name, text.data, whole);
    tr_bytes_release(&text);
    tr_text_stream_destroy(&stream);
}

static void expect_text(const tr_tokenizer_t *tokenizer, const json_t *row, const char *parts)
{
    const json_t *text = json_array_get(row, 0), *wanted = json_array_get(row, 1),
                 *decoded = json_array_get(row, 2);
    size_t count, length;
    int32_t *ids = encode(&count, tokenizer, json_string_value(text), json_string_length(text));
    char *name = tr_format("%s: '%s'", parts, json_string_value(text));
    cr_expect_eq(count, json_array_size(wanted), "%s: %zu ids", name, count);
    for (size_t i = 0; i < count && i < json_array_size(wanted); i++) {
        cr_expect_eq(ids[i], json_integer_value(json_array_get(wanted, i)), "%s: id %zu is %d",
                     name, i, ids[i]);
    }
    if (json_is_string(decoded)) {
        char *whole = tr_tokenizer_decode(&length, tokenizer, ids, count, 0);
        cr_expect_eq(length, json_string_length(decoded), "%s: '%s', not '%s'", name, whole,
                     json_string_value(decoded));
        cr_expect_str_eq(whole, json_string_value(decoded), "%s", name);
        expect_stream(tokenizer, ids, count, whole, length, name);
        free(whole);
    }
    free(name);
    free(ids);
}

/// The CRC-32 of the ids of all characters, 2048 a text.
static uLong crc_of_all(const tr_tokenizer_t *tokenizer)
{
    uLong sum = 0;
    for (uint32_t first = 0; first < 0x110000; first += 2048) {
        tr_bytes_t text = {0};
        for (uint32_t point = first; first != 0xD800 && point < first + 2048; point++) {
            char one[4];
            tr_bytes_append(&text, one, tr_utf8_put(one, point));
        }
        size_t count = 0;
        int32_t *ids = encode(&count, tokenizer, text.data, text.length);
        sum = crc32(sum, (const Bytef *)ids, (uInt)(count * sizeof *ids));
        free(ids);
        tr_bytes_release(&text);
    }
    return sum;
}

Test(pipeline, every_step_gives_the_librarys_ids_and_texts)
{
    json_t *golden =
        json_load_file(TEST_SOURCE_DIR "/tests/golden/pipeline.json", JSON_ALLOW_NUL, NULL);
    cr_assert_not_null(golden);
    json_t *cases = json_object_get(golden, "cases"), *one, *row;
    size_t i, j;
    bool brief = getenv("TROUPE_TEST_BRIEF") != NULL; // a slow build tries short texts alone
    json_array_foreach(cases, i, one)
    {
        const json_t *parts = json_object_get(one, "parts"), *all = json_object_get(one, "all");
        char *name = json_dumps(parts, JSON_COMPACT);
        tr_tokenizer_t *tokenizer = tokenizer_of(golden, parts);
        json_array_foreach(json_object_get(one, "texts"), j, row)
        {
            expect_text(tokenizer, row, name);
        }
        if (all != NULL && !brief) {
            cr_expect_eq((json_int_t)crc_of_all(tokenizer), json_integer_value(all),
                         "all characters: %s", name);
        }
        tr_tokenizer_destroy(&tokenizer);
        free(name);
    }
    cr_assert_geq(i, 100U);
    json_decref(golden);
}
