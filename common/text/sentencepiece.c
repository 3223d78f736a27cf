// SentencePiece's tokenizer.model as transformers 5 reads it: a message of Protocol Buffers with
// the pieces, their scores and kinds, and how texts are normalized. A class that builds its own
// pipeline takes the pieces alone, merged in the order of their ids; else the model's settings are
// followed.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/text/base64.h"
#include "common/text/json.h"
#include "common/text/protobuf.h"
#include "common/text/tokenizer_parts.h"

// The model

enum { UNIGRAM = 1 };                               // kinds of models; any other is BPE here
enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4 }; // kinds of pieces
enum { PIECES = 1, TRAINER = 2, NORMALIZER = 3 };   // fields of the model
enum { BOS, EOS, UNK, NAMED };                      // special tokens with an id and a name

typedef struct model {
    tr_tokenizer_source_t *source;
    unsigned char *kinds; // of the tokens
    uint64_t type;
    int64_t ids[NAMED];
    char *names[NAMED];
    bool byte_fallback, dummy_prefix, strips, escapes;
    const char *charsmap;
    size_t charsmap_length;
} model_t;

static bool read_piece(model_t *model, tr_message_t message)
{
    tr_tokenizer_source_t *source = model->source;
    tr_source_token_t token = {"", 0, (int32_t)source->token_count, 0.0};
    uint64_t kind = NORMAL;
    tr_field_t field;
    while (tr_message_take(&field, &message)) {
        if (field.number == 1) {
            token.text = field.bytes;
            token.length = (uint32_t)field.length;
        } else if (field.number == 2) {
            token.score = (double)field.real;
        } else if (field.number == 3) {
            kind = field.integer;
        }
    }
    model->kinds[source->token_count] = (unsigned char)kind;
    tr_tokenizer_source_add_token(source, token);
    return message.at != NULL && tr_utf8_valid(token.text, token.length) == token.length &&
           source->token_count < TR_VOCAB_LIMIT;
}

static bool read_trainer(model_t *model, tr_message_t message)
{
    static const struct {
        uint64_t id, name;
    } fields[NAMED] = {{41, 46}, {42, 47}, {40, 45}};
    tr_field_t field;
    while (tr_message_take(&field, &message)) {
        if (field.number == 3) {
            model->type = field.integer;
        } else if (field.number == 35) {
            model->byte_fallback = field.integer != 0;
        }
        for (size_t i = 0; i < NAMED; i++) {
            if (field.number == fields[i].id) {
                model->ids[i] = (int64_t)field.integer;
            } else if (field.number == fields[i].name && field.length > 0) {
                free(model->names[i]);
                model->names[i] = tr_format("%.*s", (int)field.length, field.bytes);
            }
        }
    }
    return message.at != NULL;
}

static bool read_normalizer(model_t *model, tr_message_t message)
{
    tr_field_t field;
    while (tr_message_take(&field, &message)) {
        if (field.number == 2) {
            model->charsmap = field.bytes;
            model->charsmap_length = field.length;
        } else if (field.number == 3) {
            model->dummy_prefix = field.integer != 0;
        } else if (field.number == 4) {
            model->strips = field.integer != 0;
        } else if (field.number == 5) {
            model->escapes = field.integer != 0;
        }
    }
    return message.at != NULL;
}

/// False where the bytes are no model of SentencePiece.
static bool read_model(model_t *model, tr_message_t message)
{
    static const char *const names[NAMED] = {"<s>", "</s>", "<unk>"};
    static const int64_t ids[NAMED] = {1, 2, 0};
    // What is not said has SentencePiece's default.
    model->type = UNIGRAM;
    model->dummy_prefix = model->strips = model->escapes = true;
    for (size_t i = 0; i < NAMED; i++) {
        model->ids[i] = ids[i];
        model->names[i] = tr_strdup(names[i]);
    }
    tr_field_t field;
    bool right = true;
    while (right && tr_message_take(&field, &message)) {
        tr_message_t inner = {field.bytes, field.bytes + field.length};
        right = field.number == PIECES       ? read_piece(model, inner)
                : field.number == TRAINER    ? read_trainer(model, inner)
                : field.number == NORMALIZER ? read_normalizer(model, inner)
                                             : true;
    }
    return right && message.at != NULL && model->source->token_count > 0;
}

// Merges

/// A merge to be sorted.
typedef struct ranked {
    double score;
    int32_t id;
    uint32_t left; // bytes
} ranked_t;

/// The best score first, then the smallest id, then the shortest left part: the order in which
/// transformers puts both kinds of its merges.
static int by_rank(const void *a, const void *b)
{
    const ranked_t *one = a, *other = b;
    if (one->score != other->score) {
        return one->score > other->score ? -1 : 1;
    }
    if (one->id != other->id) {
        return one->id < other->id ? -1 : 1;
    }
    return one->left < other->left ? -1 : one->left > other->left;
}

/// Every way to divide a piece into two. scored: SentencePiece's, of normal pieces by their scores;
/// else of all pieces, by their ids.
static void make_merges(model_t *model, bool scored)
{
    tr_tokenizer_source_t *source = model->source;
    tr_vocab_t *parts = tr_vocab_new(source->token_count);
    for (size_t i = 0; i < source->token_count; i++) {
        if (!scored || model->kinds[i] == NORMAL) {
            tr_vocab_add(parts, source->tokens[i].text, source->tokens[i].length, (int32_t)i);
        }
    }
    ranked_t *ranked = NULL;
    size_t count = 0, capacity = 0;
    for (size_t i = 0; i < source->token_count; i++) {
        const tr_source_token_t *token = &source->tokens[i];
        // Of a text that comes twice the last is the token.
        bool whole = tr_vocab_find(parts, token->text, token->length) == (int32_t)i;
        for (uint32_t at = 1; whole && at < token->length; at++) {
            if (((unsigned char)token->text[at] & 0xC0) == 0x80 ||
                tr_vocab_find(parts, token->text, at) < 0 ||
                tr_vocab_find(parts, token->text + at, token->length - at) < 0) {
                continue;
            }
            if (count == capacity) {
                capacity = capacity * 2 + 4096;
                ranked = tr_realloc(ranked, capacity * sizeof *ranked);
            }
            ranked[count++] = (ranked_t){scored ? token->score : 0.0, (int32_t)i, at};
        }
    }
    if (count > 0) {
        qsort(ranked, count, sizeof *ranked, by_rank);
    }
    for (size_t i = 0; i < count; i++) {
        const tr_source_token_t *token = &source->tokens[ranked[i].id];
        tr_tokenizer_source_add_merge(
            source, (tr_source_merge_t){token->text, token->text + ranked[i].left, ranked[i].left,
                                        token->length - ranked[i].left});
    }
    free(ranked);
    tr_vocab_destroy(&parts);
}

// The model's own settings

static json_t *replace_of(const char *kind, const char *pattern, const char *content)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", kind, pattern, "content",
                     content);
}

static json_t *sequence_of(const char *members, json_t *list)
{
    return json_pack("{s:s, s:o}", "type", "Sequence", members, list);
}

static json_t *normalizer_of(const model_t *model, bool legacy)
{
    json_t *list = json_array();
    if (model->charsmap_length > 0) {
        char *text = tr_base64_encode(model->charsmap, model->charsmap_length);
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap", text));
        free(text);
    }
    if (model->strips) {
        json_array_append_new(list, replace_of("Regex", "\\A +| +\\z", ""));
        json_array_append_new(list, replace_of("Regex", " {2,}", " "));
    }
    if (model->escapes) {
        json_array_append_new(list, replace_of("String", " ", "\xE2\x96\x81"));
    }
    if (model->dummy_prefix && legacy) {
        json_array_append_new(list,
                              replace_of("Regex", "\\A\xE2\x96\x81", "\xE2\x96\x81\xE2\x96\x81"));
    }
    return sequence_of("normalizers", list);
}

static size_t characters(const tr_source_token_t *piece)
{
    size_t count = 0;
    for (uint32_t i = 0; i < piece->length; i++) {
        count += ((unsigned char)piece->text[i] & 0xC0) != 0x80;
    }
    return count;
}

/// For qsort: the longest text, in characters, first; the order of their ids stays.
static int by_length(const void *a, const void *b)
{
    const tr_source_token_t *const *one = a, *const *other = b;
    size_t left = characters(*one), right = characters(*other);
    return left != right ? (left > right ? -1 : 1) : (*one)->id < (*other)->id ? -1 : 1;
}

/// A regular expression that finds the user-defined pieces; its owner's. NULL if there are none.
static char *user_defined(const model_t *model)
{
    const tr_tokenizer_source_t *source = model->source;
    const tr_source_token_t **pieces = tr_calloc(source->token_count, sizeof *pieces);
    size_t count = 0;
    for (size_t i = 0; i < source->token_count; i++) {
        if (model->kinds[i] == USER_DEFINED) {
            pieces[count++] = &source->tokens[i];
        }
    }
    tr_bytes_t out = {0};
    if (count > 0) {
        qsort(pieces, count, sizeof *pieces, by_length);
    }
    for (size_t i = 0; i < count; i++) {
        tr_bytes_append(&out, "|", i > 0);
        for (uint32_t at = 0; at < pieces[i]->length; at++) {
            char c = pieces[i]->text[at];
            tr_bytes_append(&out, "\\", c != '\0' && strchr("\\^$.|?*+()[]{}-&~# \t\n\r\v\f", c));
            tr_bytes_append(&out, &c, 1);
        }
    }
    free(pieces);
    return out.data;
}

static json_t *pre_tokenizer_of(const model_t *model, bool legacy, const char *isolated)
{
    json_t *list = json_array();
    if (model->dummy_prefix) {
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace",
                                              "replacement", "\xE2\x96\x81", "prepend_scheme",
                                              legacy ? "always" : "first", "split", 0));
    }
    if (isolated != NULL) {
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern",
                                              "Regex", isolated, "behavior", "Isolated"));
    }
    return sequence_of("pretokenizers", list);
}

static json_t *decoder_of(const model_t *model)
{
    json_t *list = json_array();
    json_array_append_new(list, replace_of("String", "\xE2\x96\x81", " "));
    if (model->byte_fallback) {
        json_array_append_new(list, json_pack("{s:s}", "type", "ByteFallback"));
    }
    if (model->dummy_prefix || model->byte_fallback) {
        json_array_append_new(list, json_pack("{s:s}", "type", "Fuse"));
    }
    if (model->dummy_prefix) {
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                              " ", "start", 1, "stop", 0));
    }
    return sequence_of("decoders", list);
}

/// Pieces to whose ids files give another name have it, unless another piece keeps that.
static void rename_pieces(model_t *model)
{
    tr_tokenizer_source_t *source = model->source;
    json_t *names = tr_tokenizer_source_numbered(source), *token;
    tr_vocab_t *kept = tr_vocab_new(source->token_count);
    const char *key;
    for (size_t i = 0; i < source->token_count; i++) {
        char *id = tr_format("%zu", i);
        if (json_object_get(names, id) == NULL) {
            tr_vocab_add(kept, source->tokens[i].text, source->tokens[i].length, (int32_t)i);
        }
        free(id);
    }
    json_object_foreach(names, key, token)
    {
        size_t id = strtoul(key, NULL, 10);
        const json_t *text = json_object_get(token, "content");
        if (id < source->token_count &&
            tr_vocab_find(kept, json_string_value(text), json_string_length(text)) < 0) {
            source->tokens[id].text = json_string_value(text);
            source->tokens[id].length = (uint32_t)json_string_length(text);
        }
    }
    json_decref(source->renamed);
    source->renamed = names; // the texts are its
    tr_vocab_destroy(&kept);
}

/// The tokenizer that the model's settings describe.
static void build_own(model_t *model)
{
    tr_tokenizer_source_t *source = model->source;
    const json_t *said = json_object_get(source->tokenizer_config, "legacy");
    bool legacy = said == NULL || json_is_true(said); // null is false
    bool unigram = model->type == UNIGRAM;
    if (!unigram) {
        rename_pieces(model);
        make_merges(model, true);
    }
    char *isolated = user_defined(model);
    json_t *options =
        unigram ? json_pack("{s:s, s:I, s:b, s:n}", "type", "Unigram", "unk_id",
                            (json_int_t)model->ids[UNK], "byte_fallback", model->byte_fallback,
                            "merges")
                : json_pack("{s:s, s:s, s:b, s:b, s:b, s:n}", "type", "BPE", "unk_token",
                            model->names[UNK], "fuse_unk", 1, "byte_fallback", model->byte_fallback,
                            "ignore_merges", isolated != NULL, "merges");
    json_object_set_new(source->root, "model", options);
    json_object_set_new(source->root, "normalizer", normalizer_of(model, legacy));
    json_object_set_new(source->root, "pre_tokenizer", pre_tokenizer_of(model, legacy, isolated));
    json_object_set_new(source->root, "decoder", decoder_of(model));
    free(isolated);
    source->raw_added = model->dummy_prefix;
    source->names = json_object();
    static const char *const keys[NAMED] = {"bos_token", "eos_token", "unk_token"};
    for (size_t i = 0; i < NAMED; i++) {
        if (model->ids[i] >= 0) {
            json_object_set_new(source->names, keys[i], json_string(model->names[i]));
        }
    }
}

/// Control pieces are special tokens. User-defined ones are added tokens of a class that has a
/// pipeline of its own; else they are cut out by the pipeline.
static void list_added(model_t *model)
{
    tr_tokenizer_source_t *source = model->source;
    source->extra = json_array();
    for (size_t i = 0; i < source->token_count; i++) {
        bool control = model->kinds[i] == CONTROL;
        if (control || (model->kinds[i] == USER_DEFINED && source->class != NULL)) {
            json_array_append_new(source->extra,
                                  json_pack("{s:s%, s:b, s:b}", "content", source->tokens[i].text,
                                            (size_t)source->tokens[i].length, "special", control,
                                            "normalized", 0));
        }
    }
}

tr_status tr_tokenizer_source_read_sentencepiece(tr_tokenizer_source_t *source, const char *path,
                                                 bool *is_model, tr_error_t *err)
{
    size_t length = 0;
    TR_TRY(tr_file_read(&source->files[0], &length, path, TR_TOKENIZER_FILE_LIMIT, err));
    // A piece has two bytes at least.
    model_t model = {.source = source, .kinds = tr_alloc(length / 2 + 1)};
    *is_model = read_model(&model, (tr_message_t){source->files[0], source->files[0] + length});
    if (!*is_model) {
        source->token_count = 0; // of what looked like a model at first
    } else {
        source->root = json_object();
        list_added(&model);
        if (source->class == NULL) {
            build_own(&model);
        } else {
            make_merges(&model, false);
        }
    }
    for (size_t i = 0; i < NAMED; i++) {
        free(model.names[i]);
    }
    free(model.kinds);
    return TR_OK;
}
