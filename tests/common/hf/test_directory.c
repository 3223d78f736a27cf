/// Directories that are all there or not there; and that what is saved is the model that was read.
#include "common/hf/directory.h"
#include "common/hf/mxfp4.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/model/config.h"
#include "tests/support/models.h"
#include "tests/support/scratch.h"

#define MODELS TEST_SOURCE_DIR "/tests/golden/models/"

/// A model in host memory.
typedef struct host_model {
    tr_model_config_t config;
    tr_safetensors_t *file;
    tr_safetensors_entry_t entries[256];
    size_t count;
} host_model_t;

static size_t count_of(const tr_safetensors_entry_t *entry)
{
    size_t count = 1;
    for (size_t i = 0; i < entry->rank; i++) {
        count *= entry->shape[i];
    }
    return count;
}

/// An entry of zeros; name: [length].
static tr_safetensors_entry_t *add_entry(host_model_t *model, const char *name, size_t length,
                                         size_t rank, const size_t *shape)
{
    tr_safetensors_entry_t *entry = &model->entries[model->count++];
    *entry = (tr_safetensors_entry_t){
        .name = tr_format("%.*s", (int)length, name), .dtype = TR_F32, .rank = rank};
    memcpy(entry->shape, shape, rank * sizeof *shape);
    entry->data = tr_calloc(count_of(entry), sizeof(float));
    return entry;
}

/// The tensor that blocks of MXFP4 are of; scales go with them.
static void add_packed(host_model_t *model, const tr_safetensors_info_t *info)
{
    tr_error_t err = {0};
    const char *end = strstr(info->name, "_blocks");
    if (end != NULL) {
        const size_t shape[] = {info->shape[0], 32 * info->shape[2], info->shape[1]};
        tr_safetensors_entry_t *entry =
            add_entry(model, info->name, (size_t)(end - info->name), 3, shape);
        cr_assert_eq(tr_mxfp4_read(model->file, entry->name, shape, (float *)entry->data, 0,
                                   shape[0] * shape[1] * shape[2], &err),
                     TR_OK, "%s", err.text);
    }
}

static void host_open(host_model_t *model, const char *directory)
{
    tr_error_t err = {0};
    *model = (host_model_t){0};
    cr_assert_eq(tr_model_config_load(&model->config, directory, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_safetensors_open(&model->file, directory, &err), TR_OK, "%s", err.text);
    const size_t count = tr_safetensors_count(model->file);
    cr_assert_leq(count, 256);
    for (size_t i = 0; i < count; i++) {
        const tr_safetensors_info_t *info = tr_safetensors_at(model->file, i);
        if (info->dtype == TR_U8) {
            add_packed(model, info);
            continue;
        }
        tr_safetensors_entry_t *entry =
            add_entry(model, info->name, strlen(info->name), info->rank, info->shape);
        tr_status status =
            tr_safetensors_read_part(model->file, info->name, info->shape, info->rank,
                                     (float *)entry->data, 0, info->count, &err);
        cr_assert_eq(status, TR_OK, "%s", err.text);
    }
}

static void host_close(host_model_t *model)
{
    for (size_t i = 0; i < model->count; i++) {
        free((void *)model->entries[i].data);
        free((void *)model->entries[i].name);
    }
    tr_safetensors_close(&model->file);
}

static tr_status save(const char *directory, const host_model_t *model, const char *source,
                      tr_error_t *err)
{
    char *config;
    TR_TRY(tr_model_config_json(&config, &model->config, TR_F32, source, err));
    const tr_hf_model_t files = {
        .config = config, .entries = model->entries, .count = model->count, .source = source};
    tr_status status = tr_hf_save(directory, &files, err);
    free(config);
    return status;
}

static void save_ok(const char *directory, const host_model_t *model, const char *source)
{
    tr_error_t err = {0};
    cr_assert_eq(save(directory, model, source, &err), TR_OK, "%s", err.text);
}

/// What was in MXFP4 stands elsewhere in the order of names.
static const tr_safetensors_entry_t *find_entry(const host_model_t *model, const char *name)
{
    for (size_t i = 0; i < model->count; i++) {
        if (strcmp(model->entries[i].name, name) == 0) {
            return &model->entries[i];
        }
    }
    return NULL;
}

static void expect_same_model(const host_model_t *a, const host_model_t *b)
{
    cr_assert_eq(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const tr_safetensors_entry_t *x = &a->entries[i], *y = find_entry(b, x->name);
        cr_assert_not_null(y, "%s", x->name);
        cr_expect_arr_eq(x->shape, y->shape, sizeof x->shape);
        cr_expect_arr_eq(x->data, y->data, count_of(x) * sizeof(float), "%s", x->name);
    }
    tr_model_config_t expected = a->config;
    expected.own_head = false; // the saved one says so
    cr_expect_arr_eq(&expected, &b->config, sizeof expected);
}

/// All keys of the original's config.json stand in the saved one, but the dtype with another value,
/// what a head of its own contradicts, and that weights are quantized.
static void expect_carried(const char *original, const char *saved, bool own_head)
{
    char *paths[2] = {tr_format("%s/config.json", original), tr_format("%s/config.json", saved)};
    json_t *files[2] = {json_load_file(paths[0], 0, NULL), json_load_file(paths[1], 0, NULL)};
    const char *name;
    json_t *value;
    json_object_foreach(files[0], name, value)
    {
        bool changes = strcmp(name, "dtype") == 0 || strcmp(name, "torch_dtype") == 0 ||
                       strcmp(name, "quantization_config") == 0 ||
                       (own_head && strcmp(name, "tie_word_embeddings") == 0);
        if (!changes) {
            cr_expect(json_equal(value, json_object_get(files[1], name)), "%s: %s", saved, name);
        }
    }
    cr_expect_null(json_object_get(files[1], "quantization_config"), "%s", saved);
    for (size_t i = 0; i < 2; i++) {
        json_decref(files[i]);
        free(paths[i]);
    }
}

/// Also the material of tests/golden/check_load.py: with TROUPE_SAVED=FOLDER the directories stay
/// there.
Test(directory, every_golden_model_saved_is_the_same_model)
{
    const char *kept = getenv("TROUPE_SAVED");
    char *folder = kept == NULL ? scratch_open() : tr_strdup(kept);
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        const char *original = models.gl_pathv[i];
        char *saved = tr_format("%s%s", folder, strrchr(original, '/'));
        char *twice = tr_format("%s.twice", saved);
        host_model_t model, back;
        host_open(&model, original);
        save_ok(saved, &model, original);
        host_open(&back, saved);
        expect_same_model(&model, &back);
        expect_carried(original, saved, model.config.own_head);
        cr_expect_eq(tr_safetensors_at(back.file, 0)->dtype, TR_F32);
        save_ok(twice, &back, saved);
        scratch_expect_same(saved, twice, "config.json");
        scratch_expect_same(saved, twice, "model.safetensors");
        cr_assert_eq(tr_directory_remove(twice, NULL), TR_OK);
        host_close(&back);
        host_close(&model);
        free(twice);
        free(saved);
    }
    globfree(&models);
    if (kept == NULL) {
        scratch_close(&folder);
    }
    free(folder);
}

Test(directory, saving_twice_gives_the_same_bytes)
{
    char *folder = scratch_open();
    char *texts[4];
    size_t lengths[4];
    host_model_t model;
    host_open(&model, MODELS "scalar");
    for (size_t i = 0; i < 2; i++) {
        char *saved = tr_format("%s/%zu", folder, i);
        save_ok(saved, &model, NULL);
        char *config = tr_format("%s/config.json", saved);
        char *weights = tr_format("%s/model.safetensors", saved);
        texts[i] = scratch_read(config, &lengths[i]);
        texts[2 + i] = scratch_read(weights, &lengths[2 + i]);
        free(weights);
        free(config);
        free(saved);
    }
    for (size_t i = 0; i < 4; i += 2) {
        cr_assert_eq(lengths[i], lengths[i + 1]);
        cr_expect_arr_eq(texts[i], texts[i + 1], lengths[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        free(texts[i]);
    }
    host_close(&model);
    scratch_close(&folder);
}

Test(directory, the_tokenizer_goes_with_the_model_and_nothing_else_does)
{
    char *folder = scratch_open();
    char *source = tr_format("%s/source", folder);
    char *saved =
        tr_format("%s/deep/er/saved/", folder); // folders above are made; the slash is no name
    static const char *const there[] = {"tokenizer.json",          "tokenizer_config.json",
                                        "special_tokens_map.json", "generation_config.json",
                                        "tiktoken.model",          "tekken.json",
                                        "optimizer.safetensors",   "README.md"};
    host_model_t model;
    cr_assert_eq(tr_directory_make(source, NULL), TR_OK);
    for (size_t i = 0; i < 8; i++) {
        free(scratch_write(source, there[i], there[i], strlen(there[i])));
    }
    host_open(&model, MODELS "tied");
    save_ok(saved, &model, source);
    for (size_t i = 0; i < 6; i++) {
        char *path = tr_format("%s%s", saved, there[i]);
        char *text = scratch_read(path, NULL);
        cr_expect_str_eq(text, there[i]);
        free(text);
        free(path);
    }
    cr_expect_eq(scratch_count(saved), 8);
    host_close(&model);
    free(saved);
    free(source);
    scratch_close(&folder);
}

/// The pad_token_id of a scalar model whose generation_config.json is `generation`; -1: null.
static json_int_t saved_padding(const char *source, const char *generation)
{
    tr_model_config_t config;
    tr_error_t err = {0};
    char *text;
    free(scratch_write(source, "generation_config.json", generation, strlen(generation)));
    cr_assert_eq(tr_model_config_load(&config, source, &err), TR_OK, "%s", err.text);
    cr_assert_eq(tr_model_config_json(&text, &config, TR_F32, source, &err), TR_OK, "%s", err.text);
    json_t *file = json_loads(text, 0, NULL), *pad = json_object_get(file, "pad_token_id");
    json_int_t result = json_is_integer(pad) ? json_integer_value(pad) : -1;
    json_decref(file);
    free(text);
    return result;
}

/// As TRL's RewardTrainer, which takes the tokenizer's: else transformers refuses batches.
Test(directory, a_scalar_model_says_which_token_pads)
{
    char *folder = scratch_open();
    json_t *config = json_load_file(MODELS "scalar/config.json", 0, NULL);
    json_object_set_new(config, "pad_token_id", json_null());
    char *text = json_dumps(config, 0);
    free(scratch_write(folder, "config.json", text, strlen(text)));
    cr_expect_eq(saved_padding(folder, "{\"pad_token_id\": 3, \"eos_token_id\": [2, 3]}"), 3);
    cr_expect_eq(saved_padding(folder, "{\"pad_token_id\": 3, \"eos_token_id\": 3}"), -1);
    cr_expect_eq(saved_padding(folder, "{}"), -1);
    json_object_set_new(config, "pad_token_id", json_integer(4));
    free(text);
    text = json_dumps(config, 0);
    free(scratch_write(folder, "config.json", text, strlen(text)));
    cr_expect_eq(saved_padding(folder, "{\"pad_token_id\": 3}"), 4);
    free(text);
    json_decref(config);
    scratch_close(&folder);
}

/// Saving fails with this status and sentence, and leaves `entries` entries in the folder.
static void expect_save_fails(const char *folder, const char *name, const host_model_t *model,
                              const char *source, tr_status status, const char *words,
                              size_t entries)
{
    tr_error_t err = {0};
    char *directory = tr_format("%s/%s", folder, name);
    cr_expect_eq(save(directory, model, source, &err), status);
    cr_expect_not_null(strstr(err.text, words), "'%s' lacks '%s'", err.text, words);
    cr_expect_eq(scratch_count(folder), entries, "something stays behind");
    free(directory);
}

Test(directory, what_stands_there_is_never_replaced)
{
    char *folder = scratch_open();
    char *saved = tr_format("%s/saved", folder);
    host_model_t model;
    host_open(&model, MODELS "tied");
    cr_assert_eq(tr_directory_make(saved, NULL), TR_OK); // an empty one is no loss
    save_ok(saved, &model, NULL);
    expect_save_fails(folder, "saved", &model, NULL, TR_ERR_ARGUMENT, "not empty", 1);
    cr_expect_eq(scratch_count(saved), 2);
    free(scratch_write(folder, "file", "x", 1));
    expect_save_fails(folder, "file", &model, NULL, TR_ERR_ARGUMENT, "file", 2);
    host_close(&model);
    free(saved);
    scratch_close(&folder);
}

Test(directory, a_failure_in_the_middle_leaves_nothing)
{
    char *folder = scratch_open();
    char *source = tr_format("%s/source", folder);
    char *inside = tr_format("%s/tokenizer.json", source); // a folder where a file should be
    host_model_t model;
    host_open(&model, MODELS "tied");
    cr_assert_eq(tr_directory_make(inside, NULL), TR_OK);
    expect_save_fails(folder, "x", &model, source, TR_ERR_IO, "tokenizer.json", 1);
    host_close(&model);
    free(inside);
    free(source);
    scratch_close(&folder);
}

static tr_status lost(const void *context, void *out, size_t first, size_t count, tr_error_t *err)
{
    (void)context, (void)out, (void)first, (void)count;
    return tr_fail(err, TR_ERR_MEMORY, "the device is lost");
}

Test(directory, an_optimizers_state_arrives_with_the_model_or_not_at_all)
{
    char *folder = scratch_open();
    char *saved = tr_format("%s/saved", folder);
    char *stale = tr_format("%s/saved.tmp/deep", folder);
    char *state_path = tr_format("%s/optimizer.safetensors", saved);
    tr_error_t err = {0};
    const float value = 1.0f;
    const tr_safetensors_source_t source = {lost, NULL};
    const tr_safetensors_entry_t weight = {"w", TR_F32, 1, {1}, &value, NULL};
    const tr_safetensors_entry_t good = {"m", TR_F32, 1, {1}, &value, NULL};
    const tr_safetensors_entry_t bad = {"m", TR_F32, 1, {1}, NULL, &source};
    tr_hf_model_t model = {
        .config = "{}", .entries = &weight, .count = 1, .state = &bad, .state_count = 1};
    cr_assert_eq(tr_directory_make(stale, NULL), TR_OK); // what a killed process left
    cr_expect_eq(tr_hf_save(saved, &model, &err), TR_ERR_MEMORY);
    cr_expect_eq(scratch_count(folder), 0);
    cr_assert_eq(tr_directory_make(stale, NULL), TR_OK);
    model.state = &good;
    cr_assert_eq(tr_hf_save(saved, &model, &err), TR_OK, "%s", err.text);
    cr_expect_eq(access(state_path, F_OK), 0);
    cr_expect_eq(scratch_count(saved), 3);
    cr_expect_eq(scratch_count(folder), 1);
    free(state_path);
    free(stale);
    free(saved);
    scratch_close(&folder);
}

/// A path that is no model, with one file in it, as both readers refuse it.
static void expect_advice(const char *folder, const char *file, const char *words)
{
    char *directory = tr_format("%s/%s.d", folder, file);
    tr_model_config_t config;
    tr_safetensors_t *weights = NULL;
    tr_error_t errs[2] = {{0}, {0}};
    cr_assert_eq(tr_directory_make(directory, NULL), TR_OK);
    free(scratch_write(directory, file, "x", 1));
    cr_expect_eq(tr_model_config_load(&config, directory, &errs[0]), TR_ERR_IO);
    cr_expect_eq(tr_safetensors_open(&weights, directory, &errs[1]), TR_ERR_IO);
    for (size_t i = 0; i < 2; i++) {
        cr_expect_not_null(strstr(errs[i].text, words), "%s: %s", file, errs[i].text);
        cr_expect_not_null(strstr(errs[i].text, i == 0 ? "config.json" : "model.safetensors"), "%s",
                           errs[i].text);
    }
    free(directory);
}

Test(directory, weights_of_another_kind_are_refused_with_what_to_do)
{
    static const char *const files[][2] = {
        {"model-00001-of-00002.safetensors", "lack their list, model.safetensors.index.json"},
        {"pytorch_model.bin", "save it (save_pretrained)"},
        {"pytorch_model-00001-of-00002.bin", "save it (save_pretrained)"},
        {"pytorch_model_fsdp.bin", "accelerate merge-weights"},
        {"global_step10", "zero_to_fp32.py"},
        {"consolidated.safetensors", "fetch the files for transformers"},
        {"consolidated.00.pth", "fetch the files for transformers"},
        {"model-q4_k_m.gguf", "GGUF is llama.cpp's"},
        {"snapshots", "a revision in its snapshots/"},
        {"models--Qwen--Qwen3-0.6B", "models--OWNER--NAME/snapshots/REVISION"},
        {"final", "name its final/"},
        {"checkpoint-500", "it holds checkpoints: name one"},
        {"README.md", "what save_pretrained of transformers writes"},
    };
    char *folder = scratch_open(), *file = scratch_write(folder, "x.gguf", "GGUF", 4);
    tr_model_config_t config;
    tr_error_t err = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        expect_advice(folder, files[i][0], files[i][1]);
    }
    cr_expect_eq(tr_model_config_load(&config, file, &err), TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, "is a file, not a model's directory: GGUF"), "%s",
                       err.text);
    cr_expect_eq(tr_model_config_load(&config, "Qwen/Qwen3-0.6B", &err), TR_ERR_IO);
    cr_expect_not_null(strstr(err.text, "hf download NAME --local-dir DIR"), "%s", err.text);
    free(file);
    scratch_close(&folder);
}

/// models--OWNER--NAME/snapshots/REVISION/NAME are links to ../../blobs/HASH.
Test(directory, a_revision_of_the_hubs_cache_is_a_model)
{
    static const char *const names[] = {"config.json", "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json"};
    char *folder = scratch_open(), *blobs = tr_format("%s/blobs", folder);
    char *revision = tr_format("%s/snapshots/abc", folder);
    host_model_t model, original;
    cr_assert_eq(tr_directory_make(blobs, NULL), TR_OK);
    cr_assert_eq(tr_directory_make(revision, NULL), TR_OK);
    for (size_t i = 0; i < 4; i++) {
        size_t length;
        char hash[] = {(char)('a' + (char)i), '\0'};
        char *path = tr_format(MODELS "sharded_f16/%s", names[i]);
        char *data = scratch_read(path, &length);
        char *link = tr_format("%s/%s", revision, names[i]);
        char *target = tr_format("../../blobs/%s", hash);
        free(scratch_write(blobs, hash, data, length));
        cr_assert_eq(symlink(target, link), 0);
        free(target);
        free(link);
        free(data);
        free(path);
    }
    host_open(&model, revision);
    host_open(&original, MODELS "sharded_f16");
    cr_assert_eq(model.count, original.count);
    for (size_t i = 0; i < model.count; i++) {
        cr_expect_str_eq(model.entries[i].name, original.entries[i].name);
        cr_expect_arr_eq(model.entries[i].data, original.entries[i].data,
                         count_of(&model.entries[i]) * sizeof(float));
    }
    host_close(&original);
    host_close(&model);
    free(revision);
    free(blobs);
    scratch_close(&folder);
}
