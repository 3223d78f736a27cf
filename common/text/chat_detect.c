// Which of the formats a model's own chat template is, by its text.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/base/file.h"
#include "common/hub/json_file.h"
#include "common/text/chat.h"

enum { TEMPLATE_LIMIT = 1 << 20, SHOWN = 60 };

/// XXH3-64 of a template's text without its white space, and what it writes. Only texts that write what common/text/chat.c
/// writes, byte for byte, belong here; tests/golden/chat.py prints the hash of a template.
static const struct {
    uint64_t hash;
    tr_chat_format_t format;
} known[] = {
    {0xb9f464b71ea04208, TR_CHAT_CHATML}, // OpenHermes-2.5 and many others; trl.setup_chat_format
    {0x61c0691f12b566b9,
     TR_CHAT_CHATML}, // the same after a default for add_generation_prompt, as transformers documents it
    {0x249b4a8749a068e5, TR_CHAT_LLAMA2},  // Llama-2-chat
    {0xe4215bf5a8a4898c, TR_CHAT_LLAMA3},  // Meta-Llama-3-Instruct
    {0xf105834d3b2c4a30, TR_CHAT_MISTRAL}, // Mistral-7B-Instruct-v0.2, as it was published
    {0x6dc90ff9aff3cde3, TR_CHAT_ZEPHYR},  // zephyr-7b-beta
};

static uint64_t hash_of(const char *text)
{
    char *dense = tr_strdup(text), *end = dense;
    for (const char *c = text; *c != '\0'; c++) {
        if (strchr(" \t\n\r", *c) == NULL) {
            *end++ = *c;
        }
    }
    uint64_t hash = XXH3_64bits(dense, (size_t)(end - dense));
    free(dense);
    return hash;
}

static tr_status recognise(tr_chat_format_t *format, const char *text, const char *directory,
                           tr_error_t *err)
{
    uint64_t hash = hash_of(text);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].hash == hash) {
            *format = known[i].format;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_UNSUPPORTED,
                   "'%s': its chat template is none that Troupe knows (it begins '%.*s'): "
                   "data.chat_template names one that writes the same",
                   directory, SHOWN, text);
}

/// `chat_template`: a text, or a list of {name, template}, of which "default" counts; else NULL. Borrowed.
static const char *template_of(const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && strcmp(name, "default") == 0) {
            value = json_object_get(entry, "template");
            break;
        }
    }
    return json_string_value(value);
}

static tr_status detect_in_config(tr_chat_format_t *format, const char *path, const char *directory,
                                  tr_error_t *err)
{
    json_t *config = NULL;
    if (access(path, F_OK) == 0) {
        TR_TRY(tr_json_file_read(&config, path, TEMPLATE_LIMIT, err));
    }
    const char *text = template_of(config);
    tr_status status =
        text != NULL
            ? recognise(format, text, directory, err)
            : tr_fail(err, TR_ERR_UNSUPPORTED,
                      "'%s' has no chat template: data.chat_template chooses one, such as plain",
                      directory);
    json_decref(config);
    return status;
}

tr_status tr_chat_detect(tr_chat_format_t *format, const char *model_directory, tr_error_t *err)
{
    char *file = tr_format("%s/chat_template.jinja", model_directory);
    char *config = tr_format("%s/tokenizer_config.json", model_directory);
    char *text = NULL;
    size_t length;
    tr_status status = TR_OK;
    *format = TR_CHAT_NONE;
    if (access(file, F_OK) != 0) {
        status = detect_in_config(format, config, model_directory, err);
    } else {
        status = tr_file_read(&text, &length, file, TEMPLATE_LIMIT, err);
        if (status == TR_OK) {
            status = recognise(format, text, model_directory, err);
        }
        free(text);
    }
    free(config);
    free(file);
    return status;
}
