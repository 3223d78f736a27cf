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
    tr_chat_t *chat;
} chat_rig_t;

static void write_json(const char *folder, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    free(scratch_write(folder, name, text, strlen(text)));
    free(text);
}

static const json_t *format_of(const chat_rig_t *rig, const char *name)
{
    return json_object_get(json_object_get(rig->golden, "formats"), name);
}

/// The golden file, and the tokenizer of that kind.
static chat_rig_t open_rig(const char *kind)
{
    chat_rig_t rig = {.folder = scratch_open()};
    tr_error_t err = {0};
    rig.golden = json_load_file(TEST_SOURCE_DIR "/tests/golden/chat.json", 0, NULL);
    cr_assert_not_null(rig.golden);
    const json_t *files = json_object_get(json_object_get(rig.golden, "tokenizers"), kind);
    write_json(rig.folder, "tokenizer.json", json_object_get(files, "tokenizer"));
    write_json(rig.folder, "tokenizer_config.json", json_object_get(files, "config"));
    cr_assert_eq(tr_tokenizer_new(&rig.tokenizer, rig.folder, &err), TR_OK, "%s", err.text);
    return rig;
}

/// name: NULL for the folder's own template.
static void open_chat(chat_rig_t *rig, const char *name, const char *kwargs)
{
    const tr_chat_source_t source = {.name = name, .kwargs = kwargs, .model = rig->folder};
    tr_error_t err = {0};
    cr_assert_eq(tr_chat_new(&rig->chat, &source, rig->tokenizer, &err), TR_OK, "%s", err.text);
}

/// The template of that name with the tokenizer of its golden cases.
static chat_rig_t rig_for(const char *name)
{
    json_t *golden = json_load_file(TEST_SOURCE_DIR "/tests/golden/chat.json", 0, NULL);
    const json_t *format = json_object_get(json_object_get(golden, "formats"), name);
    chat_rig_t rig = open_rig(json_string_value(json_object_get(format, "tokenizer")));
    json_decref(golden);
    open_chat(&rig, name, NULL);
    return rig;
}

static void release(chat_rig_t *rig)
{
    tr_chat_destroy(&rig->chat);
    tr_tokenizer_destroy(&rig->tokenizer);
    json_decref(rig->golden);
    scratch_close(&rig->folder);
}

static tr_jinja_text_t render(const chat_rig_t *rig, const tr_chat_input_t *input)
{
    tr_jinja_text_t text = {0};
    tr_error_t err = {0};
    cr_assert_eq(tr_chat_render(&text, rig->chat, input, &err), TR_OK, "%s", err.text);
    return text;
}

/// Text, ids and, where the case has one, the mask.
static void expect_text(const chat_rig_t *rig, const json_t *golden, const tr_chat_input_t *input)
{
    const json_t *wanted = json_object_get(golden, "text");
    const json_t *wanted_ids = json_object_get(golden, "ids");
    const json_t *wanted_mask = json_object_get(golden, "mask");
    tr_jinja_text_t text = render(rig, input);
    cr_assert_str_eq(text.text.data, json_string_value(wanted));
    cr_assert_eq(text.text.length, json_string_length(wanted));
    int32_t *ids = NULL;
    uint8_t *mask = NULL;
    size_t count = 0;
    tr_error_t err = {0};
    cr_assert_eq(tr_chat_encode(&ids, &count, &mask, rig->chat, input, &err), TR_OK, "'%s': %s",
                 text.text.data, err.text);
    cr_assert_eq(count, json_array_size(wanted_ids), "%s", text.text.data);
    for (size_t i = 0; i < count; i++) {
        const json_t *marked = json_array_get(wanted_mask, i);
        cr_expect_eq(ids[i], json_integer_value(json_array_get(wanted_ids, i)), "'%s': id %zu",
                     text.text.data, i);
        cr_expect(wanted_mask == NULL || mask[i] == json_integer_value(marked),
                  "'%s': mask %zu is %d", text.text.data, i, mask[i]);
    }
    // What is cut is learnt to its end.
    cr_expect(input->end != TR_CHAT_CUT || mask[count - 1] == 1, "%s", text.text.data);
    free(ids);
    free(mask);
    tr_jinja_text_release(&text);
}

/// All cases of a list in a format's golden numbers.
static void expect_cases(const chat_rig_t *rig, const json_t *format, const char *list)
{
    const json_t *cases = json_object_get(format, list);
    bool cut = strcmp(list, "cut") == 0;
    cr_assert_geq(json_array_size(cases), 2);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        bool prompt = json_is_true(json_object_get(one, "add_generation_prompt"));
        const tr_chat_input_t input = {.messages = json_object_get(one, "messages"),
                                       .end = cut      ? TR_CHAT_CUT
                                              : prompt ? TR_CHAT_PROMPT
                                                       : TR_CHAT_WHOLE};
        size_t count = json_array_size(input.messages);
        // An assistant's message is never followed by a prompt here: it goes on (a test below).
        if (!prompt || !tr_chat_is_assistant(json_array_get(input.messages, count - 1))) {
            expect_text(rig, one, &input);
        }
    }
}

Test(chat, texts_ids_and_masks_are_those_of_transformers)
{
    const char *name;
    for (size_t i = 0; (name = tr_chat_name(i)) != NULL; i++) {
        chat_rig_t rig = rig_for(name);
        expect_cases(&rig, format_of(&rig, name), "cases");
        release(&rig);
    }
}

Test(chat, a_cut_answer_is_that_of_transformers_continue_final_message)
{
    const char *name;
    for (size_t i = 0; (name = tr_chat_name(i)) != NULL; i++) {
        chat_rig_t rig = rig_for(name);
        expect_cases(&rig, format_of(&rig, name), "cut");
        release(&rig);
    }
}

Test(chat, a_template_without_blocks_has_the_masks_of_one_with_them)
{
    const char *name;
    for (size_t i = 0; (name = tr_chat_name(i)) != NULL; i++) {
        chat_rig_t rig = rig_for(name);
        const json_t *saved = json_object_get(format_of(&rig, name), "saved");
        // Of a saved model it is the model's own.
        free(scratch_write(rig.folder, "chat_template.jinja", json_string_value(saved),
                           json_string_length(saved)));
        tr_chat_destroy(&rig.chat);
        open_chat(&rig, NULL, NULL);
        expect_cases(&rig, format_of(&rig, name), "cases");
        expect_cases(&rig, format_of(&rig, name), "cut");
        release(&rig);
    }
}

Test(chat, tools_reasoning_parts_and_variables_are_those_of_transformers)
{
    chat_rig_t rig = open_rig("bytes");
    const json_t *full = json_object_get(rig.golden, "full"),
                 *cases = json_object_get(full, "cases");
    const json_t *template = json_object_get(full, "template");
    free(scratch_write(rig.folder, "chat_template.jinja", json_string_value(template),
                       json_string_length(template)));
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i), *kwargs = json_object_get(one, "kwargs");
        bool whole = json_is_true(json_object_get(one, "whole"));
        tr_chat_input_t input = {.messages = json_object_get(one, "messages"),
                                 .tools = json_object_get(one, "tools"),
                                 .kwargs = kwargs,
                                 .end = whole ? TR_CHAT_WHOLE : TR_CHAT_PROMPT};
        open_chat(&rig, NULL, NULL);
        expect_text(&rig, one, &input); // variables of the row
        tr_chat_destroy(&rig.chat);
        char *text = kwargs == NULL ? NULL : json_dumps(kwargs, 0);
        open_chat(&rig, NULL, text);
        input.kwargs = NULL;
        expect_text(&rig, one, &input); // variables of all
        tr_chat_destroy(&rig.chat);
        free(text);
    }
    release(&rig);
}

Test(chat, a_prompt_that_ends_with_an_answer_goes_on)
{
    const char *name;
    for (size_t i = 0; (name = tr_chat_name(i)) != NULL; i++) {
        chat_rig_t rig = rig_for(name);
        const json_t *cut = json_array_get(json_object_get(format_of(&rig, name), "cut"), 0);
        tr_chat_input_t input = {.messages = json_object_get(cut, "messages"),
                                 .end = TR_CHAT_PROMPT};
        expect_text(&rig, cut, &input);
        release(&rig);
    }
}

/// The text of one question, by a template that takes no list, or one that does.
static void expect_parts(const char *template, const char *wanted)
{
    chat_rig_t rig = open_rig("bytes");
    free(scratch_write(rig.folder, "chat_template.jinja", template, strlen(template)));
    open_chat(&rig, NULL, NULL);
    json_t *messages =
        json_loads("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a "
                   "\"},{\"type\":\"text\",\"text\":\"b\"}]}]",
                   0, NULL);
    const tr_chat_input_t input = {.messages = messages};
    tr_jinja_text_t text = render(&rig, &input);
    cr_expect_str_eq(text.text.data, wanted);
    tr_jinja_text_release(&text);
    json_decref(messages);
    release(&rig);
}

Test(chat, parts_are_joined_for_a_template_that_takes_no_list)
{
    expect_parts("{% for m in messages %}{{ m.content }}{% endfor %}", "a b");
    expect_parts("{% for m in messages %}{{ m.content + '' }}{% endfor %}", "a b");
    expect_parts("{% for m in messages %}{% for p in m.content %}<{{ p.text }}>{% endfor %}"
                 "{% endfor %}",
                 "<a ><b>");
}

Test(chat, an_answers_content_is_what_follows_the_templates_own_text)
{
    static const struct {
        const char *name, *answer, *content;
    } cases[] = {
        {"plain", " Yes.", "Yes."}, {"plain", "Yes.", "Yes."}, {"chatml", " Yes.", " Yes."}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        chat_rig_t rig = rig_for(cases[i].name);
        cr_expect_str_eq(tr_chat_content(rig.chat, cases[i].answer), cases[i].content);
        release(&rig);
    }
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
static void expect_refused(const char *name, const char *messages, tr_status status,
                           const char *sentence)
{
    chat_rig_t rig = rig_for(name);
    char *text = strdup(messages);
    for (char *quote = strchr(text, '\''); quote != NULL; quote = strchr(quote, '\'')) {
        *quote = '"';
    }
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    cr_assert_not_null(value, "%s", text);
    const tr_chat_input_t input = {.messages = value, .end = TR_CHAT_PROMPT};
    tr_jinja_text_t out = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    tr_error_t err = {0};
    cr_expect_eq(tr_chat_render(&out, rig.chat, &input, &err), status, "%s", messages);
    cr_expect_str_eq(err.text, sentence);
    cr_expect_eq(tr_chat_encode(&ids, &count, NULL, rig.chat, &input, &err), status);
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
    expect_refused("chatml", "[]", TR_ERR_FORMAT,
                   "messages: expected an array of at least one message");
    expect_refused("chatml", "'Hello'", TR_ERR_FORMAT,
                   "messages: expected an array of at least one message");
    expect_refused("chatml", "[" U ",3]", TR_ERR_FORMAT,
                   "messages[1]: expected an object with role and content");
    expect_refused("chatml", "[{'content':'a'}]", TR_ERR_FORMAT, "messages[0]: role: missing");
    expect_refused("chatml", "[{'role':1,'content':'a'}]", TR_ERR_FORMAT,
                   "messages[0]: role: expected a string");
    expect_refused("llama3", "[" U ",{'role':'assistant'}]", TR_ERR_FORMAT,
                   "messages[1]: content: missing");
    expect_refused("llama3", "[{'role':'user','content':3}]", TR_ERR_FORMAT,
                   "messages[0]: content: expected a text or a list of parts");
    expect_refused("llama3", "[{'role':'user','content':[{'type':'text'}]}]", TR_ERR_FORMAT,
                   "messages[0]: content: a part has no text");
    expect_refused("llama3", "[{'role':'user','content':['a']}]", TR_ERR_FORMAT,
                   "messages[0]: content: expected parts with a type");
    expect_refused("zephyr", "[{'role':'user','content':[{'type':'image'}]}]", TR_ERR_UNSUPPORTED,
                   "messages[0]: content: a part of the type 'image' is not understood; texts are");
}

Test(chat, an_order_that_the_template_refuses_is_refused)
{
    expect_refused("llama2", "[" S "," U "," U "]", TR_ERR_FORMAT,
                   "the chat template: line 11: the template says: not by turns");
    expect_refused("mistral", "[" A "]", TR_ERR_FORMAT,
                   "the chat template: line 3: the template says: not by turns");
    expect_refused("mistral-v3", "[" S "," U "]", TR_ERR_FORMAT,
                   "the chat template: line 3: the template says: not by turns");
    expect_refused("plain", "[{'role':'tool','content':'a'}]", TR_ERR_FORMAT,
                   "the chat template: line 10: 'tool' is undefined");
}

/// Where no template can be made of the folder's files and the source.
static void expect_no_template(const chat_rig_t *rig, const char *name, const char *kwargs,
                               tr_status status, const char *format)
{
    const tr_chat_source_t source = {.name = name, .kwargs = kwargs, .model = rig->folder};
    tr_chat_t *chat = NULL;
    tr_error_t err = {0};
    cr_expect_eq(tr_chat_new(&chat, &source, rig->tokenizer, &err), status);
    char *sentence = tr_format(format, rig->folder);
    cr_expect_str_eq(err.text, sentence);
    cr_expect_null(chat);
    free(sentence);
}

Test(chat, a_token_that_a_template_of_ours_writes_must_be_there)
{
    chat_rig_t rig = rig_for("llama2");
    tr_error_t err = {0};
    free(scratch_write(rig.folder, "tokenizer_config.json", "{\"bos_token\":\"<s>\"}", 19));
    tr_tokenizer_destroy(&rig.tokenizer);
    cr_assert_eq(tr_tokenizer_new(&rig.tokenizer, rig.folder, &err), TR_OK, "%s", err.text);
    expect_no_template(&rig, "llama2", NULL, TR_ERR_UNSUPPORTED,
                       "the chat template llama2 writes the tokenizer's eos_token, and it has "
                       "none: name it in tokenizer_config.json");
    tr_chat_destroy(&rig.chat);
    open_chat(&rig, "chatml", NULL); // writes neither
    release(&rig);
}

Test(chat, what_is_no_template_is_said)
{
    chat_rig_t rig = rig_for("chatml");
    expect_no_template(&rig, "chatml", "[1]", TR_ERR_ARGUMENT,
                       "chat_template_kwargs: expected a JSON object, found '[1]'");
    free(scratch_write(rig.folder, "tokenizer_config.json", "{\"chat_template\":3}", 19));
    expect_no_template(&rig, NULL, NULL, TR_ERR_FORMAT,
                       "%s/tokenizer_config.json: chat_template: expected a string, or a list of "
                       "names and templates");
    free(scratch_write(rig.folder, "chat_template.jinja", "\n{% if %}", 9));
    expect_no_template(&rig, NULL, NULL, TR_ERR_FORMAT,
                       "the chat template of '%s': line 2: expected a value, found '%%}'");
    release(&rig);
}

/// Whether the folder's own template writes `wanted` of a message "a".
static void expect_own(chat_rig_t *rig, const char *wanted)
{
    open_chat(rig, NULL, NULL);
    cr_assert_eq(rig->chat != NULL, wanted != NULL);
    if (wanted != NULL) {
        json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "a");
        const tr_chat_input_t input = {.messages = messages};
        tr_jinja_text_t text = render(rig, &input);
        cr_expect_str_eq(text.text.data, wanted);
        tr_jinja_text_release(&text);
        json_decref(messages);
    }
    tr_chat_destroy(&rig->chat);
}

Test(chat, the_models_own_template_is_found_wherever_it_stands)
{
    chat_rig_t rig = open_rig("bytes");
    free(scratch_write(rig.folder, "tokenizer_config.json", "{\"chat_template\":null}", 22));
    expect_own(&rig, NULL);
    free(scratch_write(rig.folder, "tokenizer_config.json", "{\"chat_template\":[]}", 20));
    expect_own(&rig, NULL);
    json_t *config =
        json_pack("{s:s}", "chat_template", "<{{ messages[0].content }}{{ eos_token }}>");
    write_json(rig.folder, "tokenizer_config.json", config);
    expect_own(&rig, "<a<|end_of_text|>>"); // what the tokenizer knows
    json_object_set_new(config, "eos_token", json_null());
    write_json(rig.folder, "tokenizer_config.json", config);
    expect_own(&rig, "<a>");
    json_object_set_new(config, "eos_token", json_pack("{s:s}", "content", "</s>"));
    write_json(rig.folder, "tokenizer_config.json", config);
    expect_own(&rig, "<a</s>>");
    json_decref(config);
    config = json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "chat_template", "name", "tool_use", "template",
                       "{{ tools }}", "name", "default", "template", "[{{ messages[0].content }}]");
    write_json(rig.folder, "tokenizer_config.json", config);
    expect_own(&rig, "[a]");
    json_decref(config);
    // The file decides.
    free(scratch_write(rig.folder, "chat_template.jinja", "{{ messages[0].role }}\n", 23));
    expect_own(&rig, "user");
    release(&rig);
}

Test(chat, a_model_is_saved_with_the_template_that_transformers_renders_alike)
{
    const char *name;
    cr_expect_null(tr_chat_template("null"));
    for (size_t i = 0; (name = tr_chat_name(i)) != NULL; i++) {
        chat_rig_t rig = rig_for(name);
        char *saved = tr_chat_saved(rig.chat);
        cr_expect_str_eq(saved, json_string_value(json_object_get(format_of(&rig, name), "saved")));
        cr_expect_not_null(strstr(TR_CHAT_NAMES, name));
        free(saved);
        release(&rig);
    }
}
