/// Conversations against transformers' apply_chat_template (tests/golden/chat.py), and laws of our own.
#include "common/text/chat.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"

static const char *const STORIES = TEST_SOURCE_DIR "/examples/models/stories";
static json_t *golden;
static char *folder;
static tr_tokenizer_t *tokenizer;

static json_t *read_json(const char *directory, const char *name)
{
    char *path = tr_format("%s/%s", directory, name);
    json_t *value = json_load_file(path, 0, NULL);
    cr_assert_not_null(value, "%s", path);
    free(path);
    return value;
}

static void write_json(const json_t *value, const char *name)
{
    char *text = json_dumps(value, 0);
    free(scratch_write(folder, name, text, strlen(text)));
    free(text);
}

/// The tokenizer of the stories with the templates' special tokens.
static void setup(void)
{
    tr_error_t err = {0};
    size_t i;
    json_t *token;
    golden = read_json(TEST_SOURCE_DIR "/tests/golden", "chat.json");
    folder = scratch_open();
    json_t *file = read_json(STORIES, "tokenizer.json");
    json_t *config = read_json(STORIES, "tokenizer_config.json");
    json_array_foreach(json_object_get(golden, "special"), i, token)
    {
        json_t *added =
            json_pack("{s:O, s:O, s:b, s:b, s:b, s:b, s:b}", "id", json_object_get(token, "id"),
                      "content", json_object_get(token, "content"), "single_word", 0, "lstrip", 0,
                      "rstrip", 0, "normalized", 0, "special", 1);
        json_array_append_new(json_object_get(file, "added_tokens"), added);
    }
    write_json(file, "tokenizer.json");
    write_json(config, "tokenizer_config.json");
    json_decref(config);
    json_decref(file);
    cr_assert_eq(tr_tokenizer_new(&tokenizer, folder, &err), TR_OK, "%s", err.text);
}

static void teardown(void)
{
    tr_tokenizer_destroy(&tokenizer);
    json_decref(golden);
    scratch_close(&folder);
}

TestSuite(chat, .init = setup, .fini = teardown);

static tr_chat_format_t format_named(const char *name)
{
    for (int i = 0; i < TR_CHAT_FORMAT_COUNT; i++) {
        if (strcmp(tr_chat_format_name((tr_chat_format_t)i), name) == 0) {
            return (tr_chat_format_t)i;
        }
    }
    cr_assert_fail("no format %s", name);
    return TR_CHAT_NONE;
}

static void expect_case(const json_t *wanted)
{
    tr_error_t err = {0};
    const json_t *messages = json_object_get(wanted, "messages");
    const json_t *ids = json_object_get(wanted, "ids"), *mask = json_object_get(wanted, "mask");
    const char *name = json_string_value(json_object_get(wanted, "format"));
    bool generation = json_is_true(json_object_get(wanted, "generation"));
    tr_chat_text_t text;
    int32_t *found;
    uint8_t *marks;
    size_t count;
    cr_assert_eq(tr_chat_render(&text, format_named(name), tokenizer, messages, generation, &err),
                 TR_OK, "%s", err.text);
    cr_expect_str_eq(text.text, json_string_value(json_object_get(wanted, "text")), "%s", name);
    cr_assert_eq(tr_chat_encode(&found, &marks, &count, format_named(name), tokenizer, messages,
                                generation, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(count, json_array_size(ids), "%s: %zu ids for '%s'", name, count, text.text);
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(found[i], json_integer_value(json_array_get(ids, i)), "%s: id %zu of '%s'",
                     name, i, text.text);
        cr_expect_eq(marks[i], json_integer_value(json_array_get(mask, i)), "%s: mask %zu of '%s'",
                     name, i, text.text);
    }
    free(found);
    free(marks);
    tr_chat_text_release(&text);
}

Test(chat, texts_ids_and_masks_are_those_of_transformers)
{
    size_t i;
    json_t *wanted;
    const json_t *cases = json_object_get(golden, "cases");
    cr_assert_gt(json_array_size(cases), 40);
    json_array_foreach(cases, i, wanted)
    {
        expect_case(wanted);
    }
}

Test(chat, published_templates_are_recognised_wherever_they_stand)
{
    const char *name;
    json_t *template;
    json_object_foreach(json_object_get(golden, "published"), name, template)
    {
        const char *text = json_string_value(template);
        json_t *const configs[] = {
            json_pack("{s:s}", "chat_template", text),
            json_pack("{s:[{s:s, s:s}, {s:s, s:s}]}", "chat_template", "name", "tool_use",
                      "template", "?", "name", "default", "template", text),
        };
        for (size_t i = 0; i < 2; i++) {
            tr_error_t err = {0};
            tr_chat_format_t found;
            write_json(configs[i], "tokenizer_config.json");
            cr_assert_eq(tr_chat_detect(&found, folder, &err), TR_OK, "%s", err.text);
            cr_expect_eq(found, format_named(name), "%s", name);
            json_decref(configs[i]);
        }
        tr_error_t err = {0};
        tr_chat_format_t found;
        char *path = scratch_write(folder, "chat_template.jinja", text, strlen(text));
        cr_assert_eq(tr_chat_detect(&found, folder, &err), TR_OK, "%s", err.text);
        cr_expect_eq(found, format_named(name), "%s", name);
        remove(path);
        free(path);
    }
}

Test(chat, a_template_that_is_not_known_is_refused_by_its_text)
{
    tr_error_t err = {0};
    tr_chat_format_t found;
    cr_assert_eq(tr_chat_detect(&found, folder, &err), TR_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "has no chat template") != NULL, "%s", err.text);
    const char *strange = "{{ messages | strangely }}";
    free(scratch_write(folder, "chat_template.jinja", strange, strlen(strange)));
    cr_assert_eq(tr_chat_detect(&found, folder, &err), TR_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, strange) != NULL, "%s", err.text);
    cr_expect(strstr(err.text, "data.chat_template") != NULL, "%s", err.text);
}

static void expect_refusal(tr_chat_format_t format, const char *messages, const char *sentence)
{
    tr_error_t err = {0};
    json_t *value = json_loads(messages, 0, NULL);
    int32_t *ids;
    uint8_t *mask;
    size_t count;
    cr_assert_not_null(value);
    cr_assert_eq(tr_chat_encode(&ids, &mask, &count, format, tokenizer, value, false, &err),
                 TR_ERR_ARGUMENT);
    cr_expect(strstr(err.text, sentence) != NULL, "'%s' lacks '%s'", err.text, sentence);
    cr_expect_null(ids);
    cr_expect_null(mask);
    json_decref(value);
}

Test(chat, what_a_template_does_not_know_is_refused_by_message)
{
    expect_refusal(TR_CHAT_CHATML, "[]", "found an empty list");
    expect_refusal(TR_CHAT_CHATML, "[{\"role\": \"user\"}]", "message 1: expected");
    expect_refusal(TR_CHAT_CHATML, "[\"hi\"]", "message 1: expected");
    expect_refusal(TR_CHAT_CHATML, "[{\"role\": \"tool\", \"content\": \"4\"}]", "found 'tool'");
    expect_refusal(TR_CHAT_MISTRAL, "[{\"role\": \"system\", \"content\": \"4\"}]",
                   "mistral takes user and assistant, found 'system'");
    expect_refusal(TR_CHAT_LLAMA2, "[{\"role\": \"assistant\", \"content\": \"4\"}]",
                   "message 1: role: in the chat template llama2");
    expect_refusal(TR_CHAT_LLAMA2,
                   "[{\"role\": \"user\", \"content\": \"4\"}, {\"role\": \"system\", "
                   "\"content\": \"4\"}]",
                   "message 2: role: the chat template llama2 takes system (first)");
}

Test(chat, a_tokenizer_without_the_templates_tokens_is_refused)
{
    tr_error_t err = {0};
    tr_tokenizer_t *bare = NULL;
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "Hi");
    int32_t *ids;
    size_t count;
    cr_assert_eq(tr_tokenizer_new(&bare, STORIES, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_chat_encode(&ids, NULL, &count, TR_CHAT_CHATML, bare, messages, false, &err),
                 TR_ERR_ARGUMENT);
    cr_expect(strstr(err.text, "'<|im_start|>'") != NULL, "%s", err.text);
    json_decref(messages);
    tr_tokenizer_destroy(&bare);
}
