// What transformers 5 makes of a tokenizer.json by the class that its directory names: a
// LlamaTokenizer is built anew from the vocabulary and the merges, with a pipeline of its own. The
// other classes of causal language models keep the file's, or build the same.
#include <stdlib.h>
#include <string.h>

#include "common/text/json.h"
#include "common/text/tokenizer_parts.h"

/// Families for which transformers takes the file as it is, whatever class the directory names.
static const char *const AS_IS[] = {"mistral", "ministral", "ministral3", "mixtral",
                                    "phi3",    "granite",   "olmo2",      "olmo3"};

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

/// Whether transformers builds a LlamaTokenizer of the file's root.
static bool is_llama(const json_t *root, const json_t *tokenizer_config, const json_t *config)
{
    const char *class = tr_json_string(tokenizer_config, "tokenizer_class",
                                       tr_json_string(config, "tokenizer_class", ""));
    const char *family = tr_json_string(config, "model_type", "");
    for (size_t i = 0; i < sizeof AS_IS / sizeof *AS_IS; i++) {
        if (strcmp(family, AS_IS[i]) == 0) {
            return false;
        }
    }
    return (strcmp(class, "LlamaTokenizer") == 0 || strcmp(class, "LlamaTokenizerFast") == 0) &&
           strcmp(tr_json_string(json_object_get(root, "model"), "type", "BPE"), "BPE") == 0 &&
           !has_byte_level(json_object_get(root, "pre_tokenizer"), "pretokenizers") &&
           !has_byte_level(json_object_get(root, "decoder"), "decoders");
}

/// SentencePiece's pipeline. legacy: each text between added tokens begins with a space, else the
/// first one alone.
static void build_llama(json_t *root, const json_t *tokenizer_config)
{
    bool prefix = tr_json_flag(tokenizer_config, "add_prefix_space", true);
    bool legacy = tr_json_flag(tokenizer_config, "legacy", false);
    json_t *decoders =
        json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                  "\xE2\x96\x81", "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (prefix) {
        json_array_append_new(decoders, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip",
                                                  "content", " ", "start", 1, "stop", 0));
    }
    json_object_set_new(root, "normalizer", json_null());
    json_object_set_new(root, "pre_tokenizer",
                        json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement",
                                  "\xE2\x96\x81", "prepend_scheme",
                                  !prefix  ? "never"
                                  : legacy ? "always"
                                           : "first",
                                  "split", 0));
    json_object_set_new(root, "decoder",
                        json_pack("{s:s, s:o}", "type", "Sequence", "decoders", decoders));
    json_t *model = json_object_get(root, "model");
    json_object_set_new(model, "fuse_unk", json_true());
    json_object_set_new(model, "byte_fallback", json_true());
    json_object_set_new(model, "ignore_merges", json_false());
    json_object_del(model, "unk_token");
}

tr_status tr_tokenizer_apply_class(json_t *root, const char *directory, tr_error_t *err)
{
    static const char *const names[] = {"tokenizer_config.json", "config.json"};
    json_t *files[2] = {NULL, NULL};
    tr_status status = TR_OK;
    for (size_t i = 0; i < 2 && status == TR_OK; i++) {
        char *path = tr_format("%s/%s", directory, names[i]);
        status = tr_json_read(&files[i], path, true, err);
        free(path);
    }
    if (status == TR_OK && is_llama(root, files[0], files[1])) {
        build_llama(root, files[0]);
    }
    json_decref(files[0]);
    json_decref(files[1]);
    return status;
}
