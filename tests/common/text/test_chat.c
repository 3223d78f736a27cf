/// Conversations against transformers' apply_chat_template (a golden file), and laws of our own.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/chat.h"
#include "tests/support/scratch.h"

/// What a test needs: the golden file, and a folder for a tokenizer's files.
typedef struct chat_rig {
    json_t *golden;
    char *folder;
    tr_tokenizer_t *tokenizer;
    tr_chat_t chat;
} chat_rig_t;

static void write_json(const char *folder, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    free(scratch_write(folder, name, text, strlen(text)));
    free(text);
}

static const json_t *format_of(const chat_rig_t *rig, tr_chat_format_t format)
{
    return json_object_get(json_object_get(rig->golden, "formats"), tr_chat_format_names[format]);
}

/// The format with the tokenizer of its golden cases.
static chat_rig_t rig_for(tr_chat_format_t format)
{
    chat_rig_t rig = {.folder = scratch_open()};
    tr_error_t err = {0};
    rig.golden = json_load_file(TEST_SOURCE_DIR "/tests/golden/chat.json", 0, NULL);
    cr_assert_not_null(rig.golden);
    const char *kind = json_string_value(json_object_get(format_of(&rig, format), "tokenizer"));
    const json_t *files = json_object_get(json_object_get(rig.golden, "tokenizers"), kind);
    write_json(rig.folder, "tokenizer.json", json_object_get(files, "tokenizer"));
    write_json(rig.folder, "tokenizer_config.json", json_object_get(files, "config"));
    cr_assert_eq(tr_tokenizer_new(&rig.tokenizer, rig.folder, &err), TR_OK, "%s", err.text);
    rig.chat = (tr_chat_t){.format = format, .tokenizer = rig.tokenizer};
    return rig;
}

static void release(chat_rig_t *rig)
{
    tr_tokenizer_destroy(&rig->tokenizer);
    json_decref(rig->golden);
    scratch_close(&rig->folder);
}

static tr_chat_text_t render(const chat_rig_t *rig, const json_t *messages, bool prompt)
{
    tr_chat_text_t text = {0};
    tr_error_t err = {0};
    cr_assert_eq(tr_chat_render(&text, &rig->chat, messages, prompt, &err), TR_OK, "%s", err.text);
    return text;
}

static void expect_case(const chat_rig_t *rig, const json_t *golden)
{
    const json_t *messages = json_object_get(golden, "messages");
    const json_t *wanted = json_object_get(golden, "text");
    const json_t *wanted_ids = json_object_get(golden, "ids");
    bool prompt = json_is_true(json_object_get(golden, "add_generation_prompt"));
    tr_chat_text_t text = render(rig, messages, prompt);
    cr_assert_str_eq(text.text.data, json_string_value(wanted));
    cr_assert_eq(text.text.length, json_string_length(wanted));
    int32_t *ids = NULL;
    uint8_t *mask = NULL;
    size_t count = 0;
    tr_error_t err = {0};
    cr_assert_eq(tr_chat_encode(&ids, &count, &mask, &rig->chat, messages, prompt, &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(count, json_array_size(wanted_ids), "%s", text.text.data);
    for (size_t i = 0; i < count; i++) {
        const json_t *marked = json_array_get(json_object_get(golden, "mask"), i);
        cr_expect_eq(ids[i], json_integer_value(json_array_get(wanted_ids, i)), "'%s': id %zu",
                     text.text.data, i);
        cr_expect_eq(mask[i], json_integer_value(marked), "'%s': mask %zu is %d", text.text.data, i,
                     mask[i]);
    }
    free(ids);
    free(mask);
    tr_chat_text_release(&text);
}

Test(chat, texts_ids_and_masks_are_those_of_transformers)
{
    for (tr_chat_format_t format = TR_CHAT_CHATML; format < TR_CHAT_FORMAT_COUNT; format++) {
        chat_rig_t rig = rig_for(format);
        const json_t *cases = json_object_get(format_of(&rig, format), "cases");
        cr_assert_geq(json_array_size(cases), 8);
        for (size_t i = 0; i < json_array_size(cases); i++) {
            expect_case(&rig, json_array_get(cases, i));
        }
        release(&rig);
    }
}

/// What is cut has no end, and its mask reaches to where it stops.
static void expect_cut(chat_rig_t *rig, const json_t *golden)
{
    const json_t *messages = json_object_get(golden, "messages");
    const json_t *wanted = json_object_get(golden, "ids");
    rig->chat.cut = true;
    tr_chat_text_t text = render(rig, messages, false);
    cr_expect_str_eq(text.text.data, json_string_value(json_object_get(golden, "text")));
    int32_t *ids = NULL;
    uint8_t *mask = NULL;
    size_t count = 0;
    tr_error_t err = {0};
    cr_assert_eq(tr_chat_encode(&ids, &count, &mask, &rig->chat, messages, false, &err), TR_OK,
                 "%s", err.text);
    cr_assert_eq(count, json_array_size(wanted), "%s", text.text.data);
    for (size_t i = 0; i < count; i++) {
        cr_expect_eq(ids[i], json_integer_value(json_array_get(wanted, i)), "'%s': id %zu",
                     text.text.data, i);
    }
    cr_expect_eq(mask[count - 1], 1, "%s", text.text.data);
    free(ids);
    free(mask);
    tr_chat_text_release(&text);
}

Test(chat, a_cut_answer_is_that_of_transformers_continue_final_message)
{
    for (tr_chat_format_t format = TR_CHAT_CHATML; format < TR_CHAT_FORMAT_COUNT; format++) {
        chat_rig_t rig = rig_for(format);
        const json_t *cases = json_object_get(format_of(&rig, format), "cut");
        cr_assert_geq(json_array_size(cases), 2);
        for (size_t i = 0; i < json_array_size(cases); i++) {
            expect_cut(&rig, json_array_get(cases, i));
        }
        release(&rig);
    }
}

/// The messages before the first `count`-th.
static json_t *first_messages(const json_t *messages, size_t count)
{
    json_t *first = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append(first, json_array_get(messages, i));
    }
    return first;
}

/// Before each answer stands the text of the messages before it, with the generation prompt.
static void expect_prompts(const chat_rig_t *rig, const json_t *messages)
{
    tr_chat_text_t whole = render(rig, messages, false);
    size_t answer = 0;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *role = json_object_get(json_array_get(messages, i), "role");
        if (strcmp(json_string_value(role), "assistant") != 0) {
            continue;
        }
        size_t from = whole.spans[answer++].from;
        json_t *before = first_messages(messages, i);
        if (i > 0) {
            tr_chat_text_t prompt = render(rig, before, true);
            cr_expect_eq(prompt.text.length, from, "'%s'", prompt.text.data);
            cr_expect_eq(memcmp(prompt.text.data, whole.text.data, from), 0, "'%s'",
                         prompt.text.data);
            tr_chat_text_release(&prompt);
        }
        json_decref(before);
    }
    cr_expect_eq(answer, whole.span_count);
    tr_chat_text_release(&whole);
}

Test(chat, an_answer_follows_the_prompt_of_what_stands_before_it)
{
    for (tr_chat_format_t format = TR_CHAT_CHATML; format < TR_CHAT_FORMAT_COUNT; format++) {
        chat_rig_t rig = rig_for(format);
        const json_t *cases = json_object_get(format_of(&rig, format), "cases");
        for (size_t i = 0; i < json_array_size(cases); i++) {
            expect_prompts(&rig, json_object_get(json_array_get(cases, i), "messages"));
        }
        release(&rig);
    }
}

Test(chat, an_answers_content_is_what_follows_the_templates_own_text)
{
    cr_expect_str_eq(tr_chat_content(TR_CHAT_PLAIN, " Yes."), "Yes.");
    cr_expect_str_eq(tr_chat_content(TR_CHAT_PLAIN, "Yes."), "Yes.");
    cr_expect_str_eq(tr_chat_content(TR_CHAT_CHATML, " Yes."), " Yes.");
}

Test(chat, formats_have_their_names)
{
    for (size_t i = 0; i < TR_CHAT_FORMAT_COUNT; i++) {
        cr_expect_not_null(tr_chat_format_names[i]);
    }
    cr_expect_str_eq(tr_chat_format_names[TR_CHAT_MISTRAL_V3], "mistral-v3");
    cr_expect_null(tr_chat_format_names[TR_CHAT_FORMAT_COUNT]);
}

Test(chat, a_conversation_is_an_array_of_messages)
{
    static const struct {
        const char *json;
        bool is;
    } cases[] = {
        {"[{\"role\":\"user\",\"content\":\"a\"}]", true},
        {"[{\"role\":\"tool\"}]", true}, // and a bad one
        {"\"Hello\"", false},
        {"[]", false},
        {"[\"Hello\"]", false},
        {"{\"role\":\"user\"}", false},
        {"[{\"text\":\"a\"}]", false},
        {"null", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *value = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
        cr_expect_eq(tr_chat_is_conversation(value), cases[i].is, "%s", cases[i].json);
        json_decref(value);
    }
    cr_expect_not(tr_chat_is_conversation(NULL));
}

/// messages: JSON with ' for ".
static void expect_refused(tr_chat_format_t format, const char *messages, tr_status status,
                           const char *sentence)
{
    chat_rig_t rig = rig_for(format);
    char *text = strdup(messages);
    for (char *quote = strchr(text, '\''); quote != NULL; quote = strchr(quote, '\'')) {
        *quote = '"';
    }
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    cr_assert_not_null(value, "%s", text);
    tr_chat_text_t out = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    tr_error_t err = {0};
    cr_expect_eq(tr_chat_render(&out, &rig.chat, value, true, &err), status, "%s", messages);
    cr_expect_str_eq(err.text, sentence);
    cr_expect_eq(tr_chat_encode(&ids, &count, NULL, &rig.chat, value, true, &err), status);
    cr_expect_null(out.text.data);
    cr_expect_null(ids);
    json_decref(value);
    free(text);
    release(&rig);
}

#define S "{'role':'system','content':'a'}"
#define U "{'role':'user','content':'a'}"
#define A "{'role':'assistant','content':'a'}"

Test(chat, messages_that_are_not_as_they_should_be_are_named)
{
    expect_refused(TR_CHAT_CHATML, "[]", TR_ERR_FORMAT,
                   "messages: expected an array of at least one message");
    expect_refused(TR_CHAT_CHATML, "'Hello'", TR_ERR_FORMAT,
                   "messages: expected an array of at least one message");
    expect_refused(TR_CHAT_CHATML, "[" U ",3]", TR_ERR_FORMAT,
                   "messages[1]: expected an object with role and content");
    expect_refused(TR_CHAT_CHATML, "[{'content':'a'}]", TR_ERR_FORMAT,
                   "messages[0]: role: missing");
    expect_refused(TR_CHAT_CHATML, "[{'role':1,'content':'a'}]", TR_ERR_FORMAT,
                   "messages[0]: role: expected a string");
    expect_refused(TR_CHAT_CHATML, "[" U "," A ",{'role':'tool','content':'a'}]",
                   TR_ERR_UNSUPPORTED,
                   "messages[2]: role: 'tool' is not understood (chatml takes system, user and "
                   "assistant)");
    expect_refused(TR_CHAT_LLAMA3, "[" U ",{'role':'assistant'}]", TR_ERR_FORMAT,
                   "messages[1]: content: missing");
    expect_refused(TR_CHAT_LLAMA3, "[{'role':'user','content':[{'type':'text','text':'a'}]}]",
                   TR_ERR_FORMAT, "messages[0]: content: expected a string");
    expect_refused(TR_CHAT_ZEPHYR,
                   "[{'role':'assistant','content':'','tool_calls':[{'name':'a'}]}]",
                   TR_ERR_UNSUPPORTED, "messages[0]: tool_calls: not understood; contents are");
}

Test(chat, an_order_that_the_template_refuses_is_refused)
{
    expect_refused(TR_CHAT_LLAMA2, "[" S "," U "," U "]", TR_ERR_FORMAT,
                   "messages[2]: role: expected 'assistant', found 'user': llama2 takes a system "
                   "message, if any, then user and assistant in turn");
    expect_refused(TR_CHAT_LLAMA2, "[" U "," A "," S "]", TR_ERR_FORMAT,
                   "messages[2]: role: expected 'user', found 'system': llama2 takes a system "
                   "message, if any, then user and assistant in turn");
    expect_refused(TR_CHAT_MISTRAL, "[" A "]", TR_ERR_FORMAT,
                   "messages[0]: role: expected 'user', found 'assistant': mistral takes user and "
                   "assistant in turn");
    expect_refused(TR_CHAT_MISTRAL_V3, "[" S "," U "]", TR_ERR_UNSUPPORTED,
                   "messages[0]: role: 'system' is not understood (mistral-v3 takes user and "
                   "assistant)");
    expect_refused(TR_CHAT_MISTRAL_V1, "[" S "]", TR_ERR_FORMAT,
                   "messages[0]: mistral-v1 writes a system message into the user's first message, "
                   "and there is none");
}

Test(chat, a_token_that_the_format_writes_must_be_there)
{
    chat_rig_t rig = rig_for(TR_CHAT_LLAMA2);
    tr_error_t err = {0};
    tr_chat_text_t text = {0};
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "a");
    free(scratch_write(rig.folder, "tokenizer_config.json", "{\"bos_token\":\"<s>\"}", 19));
    tr_tokenizer_destroy(&rig.tokenizer);
    cr_assert_eq(tr_tokenizer_new(&rig.tokenizer, rig.folder, &err), TR_OK, "%s", err.text);
    rig.chat.tokenizer = rig.tokenizer;
    cr_expect_eq(tr_chat_render(&text, &rig.chat, messages, true, &err), TR_ERR_UNSUPPORTED);
    cr_expect_str_eq(err.text,
                     "the chat format llama2 writes the tokenizer's eos_token, and it has "
                     "none: name it in tokenizer_config.json");
    rig.chat.format = TR_CHAT_CHATML; // writes neither
    cr_expect_eq(tr_chat_render(&text, &rig.chat, messages, true, &err), TR_OK, "%s", err.text);
    tr_chat_text_release(&text);
    json_decref(messages);
    release(&rig);
}

// Which format is a directory's own?

static tr_chat_format_t detect(const char *folder)
{
    tr_chat_format_t format = TR_CHAT_FORMAT_COUNT;
    tr_error_t err = {0};
    cr_assert_eq(tr_chat_detect(&format, folder, &err), TR_OK, "%s", err.text);
    return format;
}

Test(chat, a_known_template_is_recognised_wherever_it_stands)
{
    for (tr_chat_format_t format = TR_CHAT_CHATML; format < TR_CHAT_FORMAT_COUNT; format++) {
        chat_rig_t rig = rig_for(format);
        json_t *template = json_object_get(format_of(&rig, format), "template");
        const char *text = json_string_value(template);
        cr_expect_eq(detect(rig.folder), TR_CHAT_NONE);
        json_t *config = json_pack("{s:O}", "chat_template", template);
        write_json(rig.folder, "tokenizer_config.json", config);
        cr_expect_eq(detect(rig.folder), format);
        json_decref(config);
        config = json_pack("{s:[{s:s,s:s},{s:s,s:O}]}", "chat_template", "name", "tool_use",
                           "template", "{{ tools }}", "name", "default", "template", template);
        write_json(rig.folder, "tokenizer_config.json", config);
        cr_expect_eq(detect(rig.folder), format);
        json_decref(config);
        // the file decides, and its last line may end
        free(scratch_write(rig.folder, "tokenizer_config.json", "{\"chat_template\":\"x\"}", 21));
        char *line = tr_format("%s\n", text);
        free(scratch_write(rig.folder, "chat_template.jinja", line, strlen(line)));
        cr_expect_eq(detect(rig.folder), format);
        free(line);
        release(&rig);
    }
}

Test(chat, a_model_is_saved_with_the_template_that_transformers_renders_alike)
{
    cr_expect_null(tr_chat_template(TR_CHAT_NONE));
    for (tr_chat_format_t format = TR_CHAT_CHATML; format < TR_CHAT_FORMAT_COUNT; format++) {
        chat_rig_t rig = rig_for(format);
        const char *text = tr_chat_template(format);
        cr_expect_str_eq(text,
                         json_string_value(json_object_get(format_of(&rig, format), "saved")));
        free(scratch_write(rig.folder, "chat_template.jinja", text, strlen(text)));
        cr_expect_eq(detect(rig.folder), format);
        release(&rig);
    }
}

Test(chat, without_a_template_there_is_no_format)
{
    char *folder = scratch_open();
    cr_expect_eq(detect(folder), TR_CHAT_NONE);
    free(scratch_write(folder, "tokenizer_config.json", "{\"chat_template\":null}", 22));
    cr_expect_eq(detect(folder), TR_CHAT_NONE);
    free(scratch_write(folder, "tokenizer_config.json", "{\"chat_template\":[]}", 20));
    cr_expect_eq(detect(folder), TR_CHAT_NONE);
    scratch_close(&folder);
}

static void expect_unknown(const char *config, tr_status status, const char *end)
{
    char *folder = scratch_open();
    tr_chat_format_t format = TR_CHAT_NONE;
    tr_error_t err = {0};
    free(scratch_write(folder, "tokenizer_config.json", config, strlen(config)));
    cr_expect_eq(tr_chat_detect(&format, folder, &err), status, "%s", config);
    char *sentence = tr_format("%s%s", folder, end);
    cr_expect_str_eq(err.text, sentence);
    free(sentence);
    scratch_close(&folder);
}

Test(chat, an_unknown_template_is_quoted_and_never_guessed)
{
    expect_unknown("{\"chat_template\":\"{% for m in messages %}\\n<|im_start|>{{ m.role }}\\n"
                   "{{ m.content }} and more\"}",
                   TR_ERR_UNSUPPORTED,
                   ": the chat template '{% for m in messages %} <|im_start|>{{ m.role }} {{ "
                   "m.conten...' is not a "
                   "known one: if a format renders as it does, name it in chat_template");
    expect_unknown("{\"chat_template\":3}", TR_ERR_FORMAT,
                   "/tokenizer_config.json: chat_template: expected a string, or a list of names "
                   "and templates");
}
