// Which of our formats a model's chat template is. Templates are programs in Jinja, and two that
// look alike may differ in a line's end; so a template is known by the hash of its text, or refused
// with the remedy. chat.c writes the formats.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/file.h"
#include "common/text/chat.h"
#include "common/text/json.h"

enum {
    TEMPLATE_LIMIT = 1 << 20,
    QUOTED = 60 // bytes of a template in a message
};

/// A template that writes the same as a format for every conversation that the format takes, by the
/// XXH3 hash of its text without a line's end at the end, which Jinja drops. `tests/golden/chat.py
/// FILE` renders a template beside our own and prints its line. Where two lines name the same
/// models, "\n" is spelt in one and is a line's end in the other.
typedef struct known {
    uint64_t hash;
    tr_chat_format_t format;
} known_t;

static const known_t KNOWN[] = {
    {0x4C6E807EE5FE9F4A, TR_CHAT_CHATML}, // teknium/OpenHermes-2.5-Mistral-7B and relatives
    {0xA04F41D813A07B13, TR_CHAT_CHATML}, // the same; TRL's setup_chat_format; SmolLM's SFT
    {0x846F9032C2079EA2, TR_CHAT_CHATML}, // dolphin-2.5-mixtral-8x7b
    {0xDA206A9E46A4AC01, TR_CHAT_CHATML}, // the same; starchat2-15b; axolotl's chatml
    {0x8FB5D937B1E8F5D0, TR_CHAT_CHATML}, // Qwen/Qwen3-4B-Instruct-2507 and relatives
    {0x95236EE761B6C691, TR_CHAT_CHATML}, // the same, TRL's training template
    {0xA796C32133B227E0, TR_CHAT_CHATML}, // SmolLM3, mid-training
    {0x588E6E4C9418A799, TR_CHAT_CHATML}, // unsloth's chatml
    {0xCC62C94287B40BE1, TR_CHAT_CHATML},
    {0x24F6D97F87D647F5, TR_CHAT_LLAMA2}, // meta-llama/Llama-2-7b-chat-hf and relatives
    {0xCB7C5112DFC4A3B0, TR_CHAT_LLAMA2},
    {0xBA20F2622A67C063, TR_CHAT_LLAMA2}, // transformers' LlamaTokenizer without a template
    {0x51CEDD54A0C20B65, TR_CHAT_LLAMA2},
    {0x866FC8FA50DA12FE, TR_CHAT_LLAMA3}, // meta-llama/Meta-Llama-3-8B-Instruct and relatives
    {0x9799AD6E2DEA0594, TR_CHAT_LLAMA3},
    {0x94713D122B6C7113, TR_CHAT_LLAMA3}, // the same, TRL's training template
    {0xB242B4E4424831AA, TR_CHAT_LLAMA3}, // unsloth's llama-3
    {0x329E9E28EC1BB6C0, TR_CHAT_LLAMA3},
    {0xC620AE2775866BFB, TR_CHAT_LLAMA3}, // axolotl's llama3
    {0xFFFEB7D3CB62A8E5, TR_CHAT_LLAMA3},
    {0xA5D004210EBCE758, TR_CHAT_MISTRAL}, // Mistral-7B-Instruct-v0.2, Mixtral-8x7B-Instruct-v0.1
    {0x003F3AA3F9A75D93, TR_CHAT_MISTRAL}, // unsloth's mistral
    {0xF89CFC57F651FF3D, TR_CHAT_MISTRAL_V1}, // Mistral-7B-Instruct-v0.2, later
    {0x98326487E3B467BD, TR_CHAT_MISTRAL_V1}, // axolotl's mistral_v1
    {0xC6614466504D495B, TR_CHAT_MISTRAL_V3}, // Mistral-7B-Instruct-v0.3, Mistral-Large-2407
    {0xB091CDA72D40416A, TR_CHAT_MISTRAL_V3}, // axolotl's mistral_v2v3
    {0x1DB34E9FC60441D8, TR_CHAT_ZEPHYR},     // HuggingFaceH4/zephyr-7b-beta
    {0xD9FE74EDCB57AA82, TR_CHAT_ZEPHYR},
    {0x06313202CB9CCA62, TR_CHAT_ZEPHYR}, // unsloth's zephyr
    {0xE3007994BE381DE6, TR_CHAT_ZEPHYR},
    // ours, of tests/golden/chat.py, with marks around what the assistant generates
    {0x6E0876E25B736C1D, TR_CHAT_CHATML},
    {0x58F34C62B41AC8B6, TR_CHAT_LLAMA2},
    {0xC984D50504718BBC, TR_CHAT_LLAMA3},
    {0x6086A51EE9E16342, TR_CHAT_MISTRAL},
    {0xA785334031497EEB, TR_CHAT_MISTRAL_V1},
    {0x5E3A5D159CA1C345, TR_CHAT_MISTRAL_V3},
    {0x9A22B0A1D6E88A6F, TR_CHAT_ZEPHYR},
    {0xD30F94E348D31143, TR_CHAT_PLAIN},
};

static size_t without_line_end(const char *text, size_t length)
{
    return length > 0 && text[length - 1] == '\n' ? length - 1 : length;
}

/// The start of a template on one line. quote: [QUOTED + 1], written.
static void quote_start(char *quote, const char *text, size_t length)
{
    size_t n = tr_utf8_valid(text, length < QUOTED ? length : QUOTED);
    for (size_t i = 0; i < n; i++) {
        quote[i] = strchr("\r\n\t", text[i]) == NULL ? text[i] : ' ';
    }
    quote[n] = '\0';
}

/// The format of a template that was found in `directory`.
static tr_status recognise(tr_chat_format_t *format, const char *text, size_t length,
                           const char *directory, tr_error_t *err)
{
    length = without_line_end(text, length);
    uint64_t hash = XXH3_64bits(text, length);
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        if (KNOWN[i].hash == hash) {
            *format = KNOWN[i].format;
            return TR_OK;
        }
    }
    for (tr_chat_format_t own = TR_CHAT_NONE + 1; own < TR_CHAT_FORMAT_COUNT; own++) {
        const char *template = tr_chat_template(own);
        if (length == strlen(template) && memcmp(text, template, length) == 0) {
            *format = own;
            return TR_OK;
        }
    }
    char quote[QUOTED + 1];
    quote_start(quote, text, length);
    return tr_fail(
        err, TR_ERR_UNSUPPORTED,
        "%s: the chat template '%s...' is not a known one: if a format renders as it does, name it "
        "in chat_template",
        directory, quote);
}

/// The template of a tokenizer_config.json; NULL if it has none. Borrowed.
static const json_t *default_template(const json_t *config)
{
    const json_t *found = json_object_get(config, "chat_template");
    if (!json_is_array(found)) {
        return json_is_null(found) ? NULL : found;
    }
    for (size_t i = 0; i < json_array_size(found); i++) {
        const json_t *item = json_array_get(found, i);
        if (strcmp(tr_json_string(item, "name", ""), "default") == 0) {
            return json_object_get(item, "template");
        }
    }
    return NULL;
}

/// Looks into tokenizer_config.json, if there is one.
static tr_status detect_in_config(tr_chat_format_t *format, const char *directory, tr_error_t *err)
{
    json_t *config = NULL;
    char *path = tr_format("%s/tokenizer_config.json", directory);
    tr_status status = TR_OK;
    TR_TRY_GOTO(tr_json_read(&config, path, true, err), done);
    const json_t *template = default_template(config);
    if (template != NULL && !json_is_string(template)) {
        status =
            tr_fail(err, TR_ERR_FORMAT,
                    "%s: chat_template: expected a string, or a list of names and templates", path);
    } else if (template != NULL) {
        status = recognise(format, json_string_value(template), json_string_length(template),
                           directory, err);
    }
done:
    json_decref(config);
    free(path);
    return status;
}

tr_status tr_chat_detect(tr_chat_format_t *format, const char *model_directory, tr_error_t *err)
{
    *format = TR_CHAT_NONE;
    char *path = tr_format("%s/chat_template.jinja", model_directory);
    char *text = NULL;
    size_t length = 0;
    tr_status status = TR_OK;
    if (access(path, F_OK) != 0) {
        TR_TRY_GOTO(detect_in_config(format, model_directory, err), done);
    } else {
        TR_TRY_GOTO(tr_file_read(&text, &length, path, TEMPLATE_LIMIT, err), done);
        TR_TRY_GOTO(recognise(format, text, length, model_directory, err), done);
    }
done:
    free(text);
    free(path);
    return status;
}
