/// Which tokenizer.json files are understood, and by what name the others are refused.
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/text/tokenizer.h"

/// Parts of a tokenizer.json that is valid as it stands.
typedef struct parts {
    const char *extra; ///< members put first
    const char *normalizer;
    const char *pre_tokenizer;
    const char *post_processor;
    const char *decoder;
    const char *model; ///< members put before vocab
    const char *merges;
    const char *added;
} parts_t;

static const parts_t VALID = {"",
                              "null",
                              "null",
                              "null",
                              "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"}]}",
                              "\"type\":\"BPE\",",
                              "[\"a b\",[\"ab\",\"c\"]]",
                              "[]"};

/// A new directory with this tokenizer.json.
static char *directory_of(const char *text)
{
    char *directory = tr_strdup("/tmp/troupe-test-tokenizer-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    char *path = tr_format("%s/tokenizer.json", directory);
    tr_error_t err = {0};
    cr_assert_eq(tr_file_write_atomic(path, text, strlen(text), &err), TR_OK, "%s", err.text);
    free(path);
    return directory;
}

static char *directory_with(const parts_t *parts)
{
    char *text = tr_format(
        "{%s\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":%s,"
        "\"added_tokens\":%s,\"model\":{%s\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4,"
        "\"_\":5,\"?\":6},\"merges\":%s}}",
        parts->extra, parts->normalizer, parts->pre_tokenizer, parts->post_processor,
        parts->decoder, parts->added, parts->model, parts->merges);
    char *directory = directory_of(text);
    free(text);
    return directory;
}

/// Loads the directory, which is removed.
static tr_status load_from(tr_tokenizer_t **tokenizer, char *directory, tr_error_t *err)
{
    tr_status status = tr_tokenizer_new(tokenizer, directory, err);
    tr_error_t cleanup = {0};
    cr_assert_eq(tr_directory_remove(directory, &cleanup), TR_OK, "%s", cleanup.text);
    free(directory);
    return status;
}

static tr_status load(tr_tokenizer_t **tokenizer, const parts_t *parts, tr_error_t *err)
{
    return load_from(tokenizer, directory_with(parts), err);
}

static void expect_refused(const parts_t *parts, tr_status wanted, const char *name)
{
    tr_tokenizer_t *tokenizer = NULL;
    tr_error_t err = {0};
    tr_status status = load(&tokenizer, parts, &err);
    cr_assert_eq(status, wanted, "'%s' is not named: %s", name, err.text);
    cr_assert_not_null(strstr(err.text, name), "'%s' is not named: %s", name, err.text);
    cr_assert_null(tokenizer);
}

/// Encodes with the valid file changed to `parts`, and compares.
static void expect_ids(const parts_t *parts, const char *text, unsigned flags,
                       const int32_t *wanted, size_t count)
{
    tr_tokenizer_t *tokenizer = NULL;
    tr_error_t err = {0};
    cr_assert_eq(load(&tokenizer, parts, &err), TR_OK, "%s", err.text);
    int32_t *ids = NULL;
    size_t found = 0;
    cr_assert_eq(tr_tokenizer_encode(&ids, &found, tokenizer, text, strlen(text), flags, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(found, count, "'%s': %zu ids, not %zu", text, found, count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(ids[i], wanted[i], "'%s': id %zu is %d, not %d", text, i, ids[i], wanted[i]);
    }
    free(ids);
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer_files, merges_are_read_as_texts_and_as_pairs)
{
    expect_ids(&VALID, "abcab", 0, (const int32_t[]){4, 3}, 2);
}

Test(tokenizer_files, unknown_characters_vanish_without_unk_and_fuse_with_fuse_unk)
{
    parts_t parts = VALID;
    expect_ids(&parts, "axxb", 0, (const int32_t[]){3}, 1);
    parts.model = "\"type\":\"BPE\",\"unk_token\":\"?\",";
    expect_ids(&parts, "axxb", 0, (const int32_t[]){0, 6, 6, 1}, 4);
    parts.model = "\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,";
    expect_ids(&parts, "axxb", 0, (const int32_t[]){0, 6, 1}, 3);
}

Test(tokenizer_files, added_tokens_take_the_longest_and_the_space_beside)
{
    parts_t parts = VALID;
    parts.added =
        "[{\"id\":7,\"content\":\"<x>\",\"special\":true},"
        "{\"id\":8,\"content\":\"<x>y\",\"special\":true},"
        "{\"id\":9,\"content\":\"<l>\",\"special\":true,\"lstrip\":true,\"rstrip\":true}]";
    parts.model = "\"type\":\"BPE\",\"unk_token\":\"?\",";
    expect_ids(&parts, "a<x>y<x>b", 0, (const int32_t[]){0, 8, 7, 1}, 4);
    expect_ids(&parts, "a  <l> \n b", 0, (const int32_t[]){0, 9, 1}, 3);
    expect_ids(&parts, "a <x> b", 0, (const int32_t[]){0, 6, 7, 6, 1}, 5);
}

Test(tokenizer_files, template_goes_around_the_text_once)
{
    parts_t parts = VALID;
    parts.added = "[{\"id\":7,\"content\":\"<s>\",\"special\":true},{\"id\":8,\"content\":\"</"
                  "s>\",\"special\":true}]";
    parts.post_processor =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
        "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</s>\"}}],\"special_tokens\":"
        "{\"<s>\":{\"ids\":[7]},\"</s>\":{\"ids\":[8]}}}";
    const int32_t wanted[] = {7, 0, 8};
    expect_ids(&parts, "a", TR_ENCODE_SPECIAL, wanted, 3);
    expect_ids(&parts, "<s>a", TR_ENCODE_SPECIAL, wanted, 3);
    expect_ids(&parts, "<s>a</s>", TR_ENCODE_SPECIAL, wanted, 3);
    expect_ids(&parts, "a</s>", TR_ENCODE_SPECIAL, wanted, 3);
    expect_ids(&parts, "<s>", TR_ENCODE_SPECIAL, (const int32_t[]){7, 8}, 2);
    expect_ids(&parts, "", TR_ENCODE_SPECIAL, (const int32_t[]){7, 8}, 2);
    expect_ids(&parts, "a", 0, (const int32_t[]){0}, 1);
}

Test(tokenizer_files, added_tokens_alone_may_lie_beyond_the_models_ids)
{
    parts_t parts = VALID;
    tr_tokenizer_t *tokenizer = NULL;
    tr_error_t err = {0};
    int32_t *ids = NULL;
    size_t count;
    parts.added = "[{\"id\":7,\"content\":\"<x>\",\"special\":true}]";
    cr_assert_eq(load(&tokenizer, &parts, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_tokenizer_bound(tokenizer, 6, &err), TR_ERR_ARGUMENT); // of the ids 0 to 6
    cr_assert_not_null(strstr(err.text, "has 7 ids and the model's vocabulary 6"), "%s", err.text);
    for (size_t bound = 7; bound <= 8; bound++) { // without <x>, and with it
        err = (tr_error_t){0};
        cr_assert_eq(tr_tokenizer_bound(tokenizer, bound, &err), TR_OK, "%s", err.text);
        tr_status status = tr_tokenizer_encode(&ids, &count, tokenizer, "a<x>", 4, 0, &err);
        cr_assert_eq(status, bound > 7 ? TR_OK : TR_ERR_ARGUMENT, "%zu: %s", bound, err.text);
        cr_assert(bound > 7 || strstr(err.text, "the token '<x>' has the id 7") != NULL);
        free(ids);
    }
    tr_tokenizer_destroy(&tokenizer);
    parts.post_processor =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<x>\"}},"
        "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<x>\":{\"ids\":[7]}}}";
    err = (tr_error_t){0};
    cr_assert_eq(load(&tokenizer, &parts, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_tokenizer_bound(tokenizer, 7, &err), TR_ERR_ARGUMENT); // in every text
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer_files, regular_expressions_split_before_merging)
{
    parts_t parts = VALID;
    parts.pre_tokenizer = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"b+\"},\"behavior\":"
                          "\"Isolated\",\"invert\":false}";
    expect_ids(&parts, "abbc", 0, (const int32_t[]){0, 1, 1, 2}, 4);
    parts.pre_tokenizer =
        "{\"type\":\"Split\",\"pattern\":{\"String\":\"bc\"},\"behavior\":\"Isolated\"}";
    expect_ids(&parts, "abcab", 0, (const int32_t[]){0, 1, 2, 3}, 4);
}

Test(tokenizer_files, special_ids_come_from_the_first_file_that_names_them)
{
    char *directory = directory_with(&VALID);
    char *config = tr_format("%s/config.json", directory);
    char *generation = tr_format("%s/generation_config.json", directory);
    char *names = tr_format("%s/tokenizer_config.json", directory);
    const char *texts[] = {"{\"bos_token_id\":4,\"eos_token_id\":0,\"pad_token_id\":2}",
                           "{\"bos_token_id\":3,\"eos_token_id\":[1,2]}",
                           "{\"bos_token\":{\"content\":\"_\"}}"};
    const char *paths[] = {config, generation, names};
    tr_error_t err = {0};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(tr_file_write_atomic(paths[i], texts[i], strlen(texts[i]), &err), TR_OK, "%s",
                     err.text);
    }
    tr_tokenizer_t *tokenizer = NULL;
    cr_assert_eq(tr_tokenizer_new(&tokenizer, directory, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_tokenizer_bos(tokenizer), 5);
    cr_assert_eq(tr_tokenizer_eos(tokenizer), 1);
    tr_tokenizer_destroy(&tokenizer);
    cr_assert_eq(tr_directory_remove(directory, &err), TR_OK);
    free(config);
    free(generation);
    free(names);
    free(directory);
}

Test(tokenizer_files, what_a_padded_call_left_there_changes_nothing)
{
    parts_t parts = VALID;
    parts.extra = "\"truncation\":{\"max_length\":1,\"strategy\":\"LongestFirst\",\"stride\":0},"
                  "\"padding\":{\"strategy\":{\"Fixed\":9},\"pad_id\":6,\"pad_token\":\"?\"},";
    expect_ids(&parts, "abcab", 0, (const int32_t[]){4, 3}, 2);
}

Test(tokenizer_files, a_missing_feature_is_refused_by_its_name)
{
    static const struct {
        size_t part; // offset in parts_t
        const char *json;
        const char *name;
    } cases[] = {
        {offsetof(parts_t, model), "\"type\":\"WordPiece\",", "WordPiece"},
        {offsetof(parts_t, model), "\"type\":\"WordLevel\",", "WordLevel"},
        {offsetof(parts_t, model), "\"dropout\":0.1,", "dropout"},
        {offsetof(parts_t, model), "\"continuing_subword_prefix\":\"##\",",
         "continuing_subword_prefix"},
        {offsetof(parts_t, model), "\"end_of_word_suffix\":\"</w>\",", "end_of_word_suffix"},
        {offsetof(parts_t, normalizer), "{\"type\":\"BertNormalizer\"}", "BertNormalizer"},
        {offsetof(parts_t, pre_tokenizer), "{\"type\":\"UnicodeScripts\"}", "UnicodeScripts"},
        {offsetof(parts_t, pre_tokenizer),
         "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\"}", "'(a'"},
        {offsetof(parts_t, post_processor), "{\"type\":\"BertProcessing\"}", "BertProcessing"},
        {offsetof(parts_t, decoder), "{\"type\":\"WordPiece\"}", "WordPiece"},
        {offsetof(parts_t, decoder), "null", "decoder"},
        {offsetof(parts_t, decoder), "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"CTC\"}]}",
         "CTC"},
        {offsetof(parts_t, decoder),
         "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}",
         "'ByteFallback' is not supported behind"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parts_t parts = VALID;
        memcpy((unsigned char *)&parts + cases[i].part, &cases[i].json, sizeof cases[i].json);
        expect_refused(&parts, TR_ERR_UNSUPPORTED, cases[i].name);
    }
}

Test(tokenizer_files, the_vocabulary_is_read_as_json_has_it)
{
    static const char file[] =
        "\t{ \"decoder\" : "
        "{\"type\":\"Fuse\"},\n\"x\":[\"}]\\\"\",{\"vocab\":{\"y\":8}},1.5e3,null],\r"
        "\"model\":\n{\"merges\":[ [\"\\u0061\" , \"\\ud83d\\uDE00\"] ,\"\\u4f60 a\"], \"z\":{},"
        "\"vocab\" : { \"a\" : 0 "
        ",\"\\uD83D\\uDE00\":1,\"\\\"\\\\\\/\\b\\f\\n\\r\\t\":2,\"\\u0000\":3,"
        "\"a\\ud83d\\ude00\":4,\"\xE4\xBD\xA0\":5,\"\\ud800x\":6,\"\\u4F60a\":7}}}";
    static const struct {
        const char *text;
        int32_t id;
    } tokens[] = {{"\xF0\x9F\x98\x80", 1}, {"\"\\/\b\f\n\r\t", 2}, {"a\xF0\x9F\x98\x80", 4},
                  {"\xE4\xBD\xA0", 5},     {"\xEF\xBF\xBDx", 6},   {"y", -1}};
    tr_tokenizer_t *tokenizer = NULL;
    tr_error_t err = {0};
    cr_assert_eq(load_from(&tokenizer, directory_of(file), &err), TR_OK, "%s", err.text);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        cr_assert_eq(tr_tokenizer_id(tokenizer, tokens[i].text), tokens[i].id, "token %zu", i);
    }
    int32_t *ids = NULL;
    size_t count = 0;
    cr_assert_eq(tr_tokenizer_encode(&ids, &count, tokenizer,
                                     "\0a\xF0\x9F\x98\x80\xE4\xBD\xA0"
                                     "a",
                                     10, 0, &err),
                 TR_OK);
    cr_assert_eq(count, 3);
    cr_assert(ids[0] == 3 && ids[1] == 4 && ids[2] == 7);
    free(ids);
    tr_tokenizer_destroy(&tokenizer);
}

Test(tokenizer_files, tables_of_another_shape_are_refused)
{
    static const struct {
        const char *model, *said;
    } cases[] = {
        {"{\"vocab\":{\"a\":0", "malformed JSON"},
        {"{\"vocab\":{\"a\":0},\"merges\":[", "malformed JSON"},
        {"{\"vocab\":{\"\\x\":0},\"merges\":[]}", "malformed JSON"},
        {"{\"vocab\":{\"\\u12\":0},\"merges\":[]}", "malformed JSON"},
        {"{\"vocab\":{\"\xFF\":0},\"merges\":[]}", "malformed JSON"},
        {"{\"vocab\":{\"a\":-1},\"merges\":[]}", "'a' has no id"},
        {"{\"vocab\":{\"a\":1.0},\"merges\":[]}", "'a' has no id"},
        {"{\"vocab\":{\"a\":16777216},\"merges\":[]}", "'a' has no id"},
        {"{\"vocab\":{\"a\":99999999999999999999},\"merges\":[]}", "'a' has no id"},
        {"{\"vocab\":3,\"merges\":[]}", "model.vocab"},
        {"{\"vocab\":{},\"merges\":[]}", "model.vocab"},
        {"{\"vocab\":[[\"a\"]]}", "model.vocab"},
        {"{\"vocab\":{\"a\":0}}", "model.merges"},
        {"{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",-1.5]]}", "model.unk_id"},
        {"[]", "model: expected an object"},
        {"{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}", "model.merges[0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *file = tr_format("{\"decoder\":{\"type\":\"Fuse\"},\"model\":%s}", cases[i].model);
        tr_tokenizer_t *tokenizer = NULL;
        tr_error_t err = {0};
        cr_expect_eq(load_from(&tokenizer, directory_of(file), &err), TR_ERR_FORMAT, "%s", file);
        cr_expect_not_null(strstr(err.text, cases[i].said), "%s: %s", file, err.text);
        free(file);
    }
}

/// Writes up to three files, name and text in turn, into a new directory.
static char *directory_with_files(const char *const *files)
{
    char *directory = tr_strdup("/tmp/troupe-test-tokenizer-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    for (size_t i = 0; i < 6 && files[i] != NULL; i += 2) {
        char *path = tr_format("%s/%s", directory, files[i]);
        tr_error_t err = {0};
        cr_assert_eq(tr_file_write_atomic(path, files[i + 1], strlen(files[i + 1]), &err), TR_OK);
        free(path);
    }
    return directory;
}

#define FILE_OF(model) \
    "tokenizer.json",  \
        "{\"decoder\":{\"type\":\"Fuse\"},\"model\":{" model "\"vocab\":{\"a\":0},\"merges\":[]}}"
#define CLASS(name) "tokenizer_config.json", ("{\"tokenizer_class\":\"" name "\"}")

Test(tokenizer_files, directories_that_transformers_reads_otherwise_are_refused_by_name)
{
    static const struct {
        const char *files[6];
        tr_status status;
        const char *said;
    } cases[] = {
        {{FILE_OF(""), CLASS("T5TokenizerFast")}, TR_ERR_UNSUPPORTED, "'T5Tokenizer'"},
        {{FILE_OF(""), CLASS("CohereTokenizer")}, TR_ERR_UNSUPPORTED, "'CohereTokenizer'"},
        {{"tiktoken.model", "YQ== 0\nYg== 1\n", "tokenizer_config.json",
          "{\"added_tokens_decoder\":{\"9223372036854775807\":{\"content\":\"<x>\"}}}"},
         TR_ERR_UNSUPPORTED,
         "added_tokens_decoder: expected ids below 65538"},
        {{FILE_OF("\"type\":\"WordPiece\","), CLASS("BertTokenizer")},
         TR_ERR_UNSUPPORTED,
         "'BertTokenizer'"},
        {{FILE_OF("\"type\":\"WordPiece\","), CLASS("GPT2Tokenizer")},
         TR_ERR_UNSUPPORTED,
         "'WordPiece' is not supported for tokenizer_class 'GPT2Tokenizer'"},
        {{FILE_OF(""), "tokenizer_config.json", "{\"split_special_tokens\":true}"},
         TR_ERR_UNSUPPORTED,
         "split_special_tokens"},
        {{FILE_OF(""), "tokenizer_config.json", "{\"fix_mistral_regex\":true}"},
         TR_ERR_UNSUPPORTED,
         "fix_mistral_regex"},
        {{"qwen.tiktoken", "IQ== 0\n"}, TR_ERR_UNSUPPORTED, "qwen.tiktoken is not supported"},
        {{"tokenizer.model", "IQ== 0\n", "tekken.json", "{}"}, TR_ERR_UNSUPPORTED, "more than one"},
        {{"tekken.json", "{\"config\":{\"pattern\":\"a\"},\"vocab\":[{\"token_bytes\":\"IQ==\"}]}"},
         TR_ERR_UNSUPPORTED,
         "special_tokens"},
        {{"tekken.json", "{\"config\":{\"pattern\":\"a\"},\"vocab\":[],\"special_tokens\":[]}"},
         TR_ERR_FORMAT,
         "tekken.json: expected"},
        {{"tokenizer.model", "IQ== 0\nIg==\n"}, TR_ERR_FORMAT, "tokenizer.model:2: expected"},
        {{"tokenizer.model", "IQ=! 0\n"}, TR_ERR_FORMAT, "tokenizer.model:1: expected"},
        {{"tokenizer.model", ""}, TR_ERR_FORMAT, "tokenizer.model:1: expected"},
        {{"vocab.json", "{\"a\":0}", "merges.txt", ""}, TR_ERR_UNSUPPORTED, "must name a class"},
        {{"vocab.json", "{\"a\":0}", "merges.txt", "#version: 0.2\na b c\n",
          CLASS("GPT2Tokenizer")},
         TR_ERR_FORMAT,
         "merges.txt:2: expected"},
        {{"vocab.json", "[]", "merges.txt", "", CLASS("GPT2Tokenizer")},
         TR_ERR_FORMAT,
         "vocab.json: expected"},
        {{"vocab.json", "{\"a\":0}", CLASS("GPT2Tokenizer")}, TR_ERR_IO, "tokenizer.json"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tr_tokenizer_t *tokenizer = NULL;
        tr_error_t err = {0};
        tr_status status = load_from(&tokenizer, directory_with_files(cases[i].files), &err);
        cr_expect_eq(status, cases[i].status, "%zu: %s", i, err.text);
        cr_expect_not_null(strstr(err.text, cases[i].said), "%zu: %s", i, err.text);
    }
}

Test(tokenizer_files, a_malformed_file_is_named)
{
    parts_t parts = VALID;
    parts.merges = "[\"a x\"]";
    expect_refused(&parts, TR_ERR_FORMAT, "merges[0]");
    parts.merges = "[7]";
    expect_refused(&parts, TR_ERR_FORMAT, "merges[0]");
    parts.merges = "{";
    expect_refused(&parts, TR_ERR_FORMAT, "tokenizer.json:1: malformed JSON");
    parts = VALID;
    parts.added = "[{\"id\":-3,\"content\":\"x\"}]";
    expect_refused(&parts, TR_ERR_FORMAT, "added_tokens[0]");
    tr_tokenizer_t *tokenizer = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_tokenizer_new(&tokenizer, "/no/such/directory", &err), TR_ERR_IO);
    cr_assert_not_null(strstr(err.text, "/no/such/directory/tokenizer.json"), "%s", err.text);
}
