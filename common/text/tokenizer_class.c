// What transformers 5 makes of a directory by the class that it names. Most classes take the file
// as it is; those of the table below are built anew from its vocabulary and merges, with a pipeline
// of their own, whatever the file says; others are refused, since their ids would be others.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

struct tr_tokenizer_class {
    const char *name;
    void (*build)(tr_tokenizer_source_t *source);
    const char *normalizer, *regex; // of a class of byte-level BPE; NULL: none, and GPT-2's
    const char *names;              // JSON: its special tokens
    bool pairs;                     // it reads vocab.json and merges.txt
    bool adds_specials, drops_template;
};

// Pipelines

static json_t *text_of(const char *json)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    TR_ASSERT(value != NULL, "not JSON: %s", json);
    return value;
}

/// The model's options. unk: NULL for none.
static void set_model(json_t *root, const char *unk, bool fuse_unk, bool byte_fallback)
{
    json_object_set_new(root, "model",
                        json_pack("{s:s, s:s*, s:b, s:b, s:n}", "type", "BPE", "unk_token", unk,
                                  "fuse_unk", fuse_unk, "byte_fallback", byte_fallback, "merges"));
}

/// SentencePiece's pipeline. legacy: each text between added tokens begins with a space, else the
/// first one alone.
static void build_llama(tr_tokenizer_source_t *source)
{
    bool prefix = tr_json_flag(source->tokenizer_config, "add_prefix_space", true);
    bool legacy = tr_json_flag(source->tokenizer_config, "legacy", false);
    json_t *decoders =
        text_of("[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},\"content\":\" "
                "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]");
    if (prefix) {
        json_array_append_new(decoders, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip",
                                                  "content", " ", "start", 1, "stop", 0));
    }
    json_object_set_new(source->root, "normalizer", json_null());
    json_object_set_new(source->root, "pre_tokenizer",
                        json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement",
                                  "\xE2\x96\x81", "prepend_scheme",
                                  !prefix  ? "never"
                                  : legacy ? "always"
                                           : "first",
                                  "split", 0));
    json_object_set_new(source->root, "decoder",
                        json_pack("{s:s, s:o}", "type", "Sequence", "decoders", decoders));
    set_model(source->root, NULL, true, true);
}

static void build_gemma(tr_tokenizer_source_t *source)
{
    json_object_set_new(source->root, "normalizer",
                        text_of("{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                                "\"content\":\"\xE2\x96\x81\"}"));
    json_object_set_new(source->root, "pre_tokenizer",
                        text_of("{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},"
                                "\"behavior\":\"MergedWithPrevious\",\"invert\":false}"));
    json_object_set_new(
        source->root, "decoder",
        text_of("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
                "{\"String\":\"\xE2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
                "{\"type\":\"Fuse\"}]}"));
    json_t *named = json_object_get(source->tokenizer_config, "unk_token");
    const char *unk = json_is_object(named)
                          ? tr_json_string(named, "content", "<unk>")
                          : tr_json_string(source->tokenizer_config, "unk_token", "<unk>");
    set_model(source->root, unk, true, true);
}

/// Byte-level BPE: pieces are cut by a regular expression, GPT-2's by ByteLevel itself.
static void build_byte_level(tr_tokenizer_source_t *source)
{
    const tr_tokenizer_class_t *class = source->class;
    json_t *steps = json_array();
    if (class->regex != NULL) {
        json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern",
                                               "Regex", class->regex, "behavior", "Isolated"));
    }
    json_array_append_new(
        steps, json_pack("{s:s, s:b, s:b}", "type", "ByteLevel", "add_prefix_space",
                         tr_json_flag(source->tokenizer_config, "add_prefix_space", false),
                         "use_regex", class->regex == NULL));
    json_object_set_new(source->root, "normalizer",
                        class->normalizer == NULL ? json_null()
                                                  : json_pack("{s:s}", "type", class->normalizer));
    json_object_set_new(source->root, "pre_tokenizer",
                        json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps));
    json_object_set_new(source->root, "decoder", text_of("{\"type\":\"ByteLevel\"}"));
    set_model(source->root, NULL, false, false);
}

// Classes

#define ENDS "\"unk_token\":\"<|endoftext|>\",\"eos_token\":\"<|endoftext|>\""
#define BEGINS_AND_ENDS "{" ENDS ",\"bos_token\":\"<|endoftext|>\"}"

static const tr_tokenizer_class_t CLASSES[] = {
    {.name = "Llama",
     .build = build_llama,
     .names = "{\"unk_token\":\"<unk>\",\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}"},
    {.name = "Gemma",
     .build = build_gemma,
     .names = "{\"unk_token\":\"<unk>\",\"bos_token\":\"<bos>\",\"eos_token\":\"<eos>\","
              "\"pad_token\":\"<pad>\",\"mask_token\":\"<mask>\"}"},
    {.name = "GPT2", .build = build_byte_level, .names = BEGINS_AND_ENDS, .pairs = true},
    {.name = "CodeGen", .build = build_byte_level, .names = BEGINS_AND_ENDS, .pairs = true},
    {.name = "GPTNeoX",
     .build = build_byte_level,
     .normalizer = "NFC",
     .names = "{" ENDS ",\"bos_token\":\"<|endoftext|>\",\"pad_token\":\"<|padding|>\"}",
     .pairs = true,
     .drops_template = true},
    {.name = "Qwen2",
     .build = build_byte_level,
     .normalizer = "NFC",
     .regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
              " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     .names = "{" ENDS ",\"pad_token\":\"<|endoftext|>\"}",
     .pairs = true,
     .adds_specials = true},
    {.name = "Qwen3_5",
     .build = build_byte_level,
     .normalizer = "NFC",
     .regex = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
              " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     .names = "{" ENDS ",\"pad_token\":\"<|endoftext|>\"}"},
};

/// Classes that transformers builds anew, or without the library, and that are not above. Names are
/// without their ending Tokenizer.
static const char REFUSED[] =
    " Albert Bart Barthez Bartpho Bert BertGeneration BertJapanese Bertweet BigBird BioGpt "
    "Blenderbot BlenderbotSmall ByT5 CLIP CTRL Camembert Canine Clvp CodeLlama Cohere Cpm CpmAnt "
    "DPRContextEncoder DPRQuestionEncoder DPRReader Deberta DebertaV2 Dia DistilBert Esm Esmc FSMT "
    "FastSpeech2Conformer Flaubert Funnel GPTNeoXJapanese GPTSw3 Herbert LED Lasr LayoutLMv2 "
    "LayoutLMv3 LayoutXLM Luke Lxmert M2M100 MBart MBart50 MLuke MPNet Marian MarkupLM Mgpstr "
    "MobileBert Mvp MyT5 Nllb Nougat OpenAIGPT PLBart Pegasus Perceiver Phobert Pop2Piano "
    "ProphetNet Reformer RemBert RoCBert RoFormer Roberta SeamlessM4T Siglip Siglip2 Speech2Text "
    "SpeechT5 Splinter SqueezeBert T5 Tapas Tipsv2 Udop VideoPrism Vits Wav2Vec2CTC "
    "Wav2Vec2PhonemeCTC Whisper XGLM XLM XLMRoberta XLNet ";

/// What transformers knows of a family: the class of its tokenizer, NULL for the file as it is,
/// whatever class is named. `wins`: its class decides, else a class that is named; `mistral`: not
/// even a byte-level file makes a LlamaTokenizer another one.
static const struct family {
    const char *model_type, *class;
    bool wins;
} FAMILIES[] = {
    {"arctic", NULL, true},
    {"ernie4_5", NULL, true},
    {"ernie4_5_moe", NULL, true},
    {"gemma", "Gemma", false},
    {"gemma2", "Gemma", false},
    {"gemma3", "Gemma", false},
    {"gemma3_text", "Gemma", false},
    {"gemma3n", "Gemma", false},
    {"gemma3n_text", "Gemma", false},
    {"glm", NULL, false},
    {"glm4", NULL, false},
    {"glm4_moe", NULL, false},
    {"gpt2", "GPT2", false},
    {"gpt_bigcode", NULL, false},
    {"gpt_neo", "GPT2", false},
    {"gpt_neox", "GPTNeoX", false},
    {"gptj", "GPT2", false},
    {"granite", NULL, false},
    {"granitemoe", NULL, false},
    {"granitemoehybrid", NULL, false},
    {"hyperclovax", NULL, true},
    {"internlm2", NULL, true},
    {"internlm3", NULL, true},
    {"jais2", "GPT2", false},
    {"jamba", NULL, true},
    {"kimi_k25", NULL, false},
    {"kimi_linear", NULL, false},
    {"mamba", "GPTNeoX", false},
    {"mamba2", "GPTNeoX", false},
    {"mimo_v2_flash", NULL, false},
    {"minicpm3", NULL, true},
    {"minimax_m2", NULL, true},
    {"ministral", NULL, false},
    {"ministral3", NULL, false},
    {"mistral", NULL, false},
    {"mistral3", NULL, false},
    {"mixtral", NULL, false},
    {"mpt", "GPTNeoX", false},
    {"nemotron", NULL, true},
    {"olmo", "GPTNeoX", false},
    {"olmo2", NULL, false},
    {"olmo3", NULL, false},
    {"olmo_hybrid", NULL, false},
    {"olmoe", "GPTNeoX", false},
    {"opt", "GPT2", false},
    {"persimmon", NULL, false},
    {"phi", "GPT2", false},
    {"phi3", NULL, true},
    {"phimoe", NULL, true},
    {"qwen2", "Qwen2", true},
    {"qwen2_moe", "Qwen2", false},
    {"qwen3", "Qwen2", false},
    {"qwen3_5", "Qwen3_5", true},
    {"qwen3_5_moe", "Qwen3_5", true},
    {"qwen3_5_moe_text", "Qwen3_5", true},
    {"qwen3_5_text", "Qwen3_5", false},
    {"qwen3_moe", "Qwen2", false},
    {"qwen3_next", "Qwen2", false},
    {"recurrent_gemma", "Gemma", false},
    {"rwkv", "GPTNeoX", false},
    {"stablelm", NULL, false},
    {"starcoder2", "GPT2", false},
};

static const struct family *family_of(const json_t *config)
{
    const char *name = tr_json_string(config, "model_type", "");
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++) {
        if (strcmp(name, FAMILIES[i].model_type) == 0) {
            return &FAMILIES[i];
        }
    }
    return NULL;
}

/// Whether a pre-tokenizer or decoder is ByteLevel, or has it in its Sequence.
static bool has_byte_level(const json_t *node, const char *members)
{
    const json_t *list = json_object_get(node, members), *member;
    bool found = strcmp(tr_json_string(node, "type", ""), "ByteLevel") == 0;
    size_t i;
    json_array_foreach(list, i, member)
    {
        found = found || has_byte_level(member, members);
    }
    return found;
}

/// The class that is named, without Fast and Tokenizer; NULL if none is, or one of no family. *end:
/// behind it.
static const char *named_class(const tr_tokenizer_source_t *source, size_t *length)
{
    const char *name = tr_json_string(source->tokenizer_config, "tokenizer_class",
                                      tr_json_string(source->config, "tokenizer_class", NULL));
    const char *end = name == NULL ? NULL : strstr(name, "Tokenizer");
    if (end == NULL || (strcmp(end, "Tokenizer") != 0 && strcmp(end, "TokenizerFast") != 0)) {
        return NULL;
    }
    *length = (size_t)(end - name);
    return name;
}

/// A class that is built anew takes BPE's tables.
static tr_status check_model(const tr_tokenizer_source_t *source, tr_error_t *err)
{
    const char *type = tr_json_string(json_object_get(source->root, "model"), "type", "BPE");
    return strcmp(type, "BPE") == 0
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED,
                         "model.type: '%s' is not supported for tokenizer_class '%sTokenizer'",
                         type, source->class->name);
}

tr_status tr_tokenizer_source_find_class(tr_tokenizer_source_t *source, tr_error_t *err)
{
    size_t length = 0;
    const char *name = named_class(source, &length);
    const struct family *family = family_of(source->config);
    bool any = name != NULL ||
               tr_json_string(source->tokenizer_config, "tokenizer_class",
                              tr_json_string(source->config, "tokenizer_class", NULL)) != NULL;
    if (family != NULL && (!any || family->class == NULL || family->wins)) {
        name = family->class; // NULL: the file as it is
        length = name == NULL ? 0 : strlen(name);
    } else if (length == 5 && memcmp(name, "Llama", 5) == 0 &&
               (has_byte_level(json_object_get(source->root, "pre_tokenizer"), "pretokenizers") ||
                has_byte_level(json_object_get(source->root, "decoder"), "decoders"))) {
        name = NULL; // Llama 3: no SentencePiece
    }
    for (size_t i = 0; name != NULL && i < sizeof CLASSES / sizeof *CLASSES; i++) {
        if (strlen(CLASSES[i].name) == length && memcmp(CLASSES[i].name, name, length) == 0) {
            source->class = &CLASSES[i];
            return check_model(source, err);
        }
    }
    char *word = tr_format(" %.*s ", (int)length, name == NULL ? "" : name);
    bool refused = length > 0 && strstr(REFUSED, word) != NULL;
    free(word);
    return refused ? tr_fail(err, TR_ERR_UNSUPPORTED,
                             "tokenizer_class '%.*sTokenizer' is not supported: transformers "
                             "builds it in a way of its own",
                             (int)length, name)
                   : TR_OK;
}

void tr_tokenizer_source_build_class(tr_tokenizer_source_t *source)
{
    if (source->class != NULL && !source->whole) {
        source->class->build(source);
    }
}

bool tr_tokenizer_class_reads_pairs(const tr_tokenizer_class_t *class)
{
    return class != NULL && class->pairs;
}

json_t *tr_tokenizer_class_names(const tr_tokenizer_class_t *class)
{
    return class == NULL ? json_object() : text_of(class->names);
}

bool tr_tokenizer_class_adds_specials(const tr_tokenizer_class_t *class)
{
    return class != NULL && class->adds_specials;
}

bool tr_tokenizer_class_drops_template(const tr_tokenizer_class_t *class)
{
    return class != NULL && class->drops_template;
}
