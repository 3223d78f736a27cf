/// The forms in which people have a model's files, of every golden model: what is read of each is
/// what torch reads of it, and what is saved of it is read again as the same bytes.
/// tests/golden/storage.py made the checksums and says the rest. And what memory reading takes.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/base/file.h"
#include "common/base/real.h"
#include "common/hf/safetensors.h"
#include "common/model/trainer.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/scratch.h"
#include "tests/support/small.h"

#define FACTOR 0.99871623f // of storage.py
enum { SHARDS = 3, MOST = 400 };

typedef struct form {
    const char *name, *golden; // golden: as which it stands there
    tr_dtype_t dtype;
    size_t shards;
} form_t;

static const form_t FORMS[] = {{"float32", "float32", TR_F32, 1},
                               {"float16", "float16", TR_F16, 1},
                               {"bfloat16", "bfloat16", TR_BF16, 1},
                               {"sharded", "float16", TR_F16, SHARDS}};

static void open_tensors(tr_safetensors_t **file, const char *directory)
{
    tr_error_t err = {0};
    cr_assert_eq(tr_safetensors_open(file, directory, &err), TR_OK, "%s", err.text);
}

/// A tensor's values, the caller's.
static float *values_of(const tr_safetensors_t *file, const tr_safetensors_info_t *info)
{
    tr_error_t err = {0};
    float *values = tr_calloc(info->count, sizeof *values);
    cr_assert_eq(tr_safetensors_read_part(file, info->name, info->shape, info->rank, values, 0,
                                          info->count, &err),
                 TR_OK, "%s", err.text);
    return values;
}

/// storage.py's checksum of a directory's tensors.
static double checksum(const char *directory)
{
    tr_safetensors_t *file;
    open_tensors(&file, directory);
    uLong crc = 0;
    for (size_t i = 0; i < tr_safetensors_count(file); i++) {
        const tr_safetensors_info_t *info = tr_safetensors_at(file, i);
        float *values = values_of(file, info);
        crc = crc32(crc, (const Bytef *)info->name, (uInt)strlen(info->name));
        crc = crc32(crc, (const Bytef *)values, (uInt)(info->count * sizeof *values));
        free(values);
    }
    tr_safetensors_close(&file);
    return (double)crc;
}

/// Opens a directory and saves it again, with weights of that dtype.
static void resave(const char *from, const char *to, tr_dtype_t dtype)
{
    small_t small;
    tr_error_t err = {0};
    const tr_save_options_t options = {.source = from, .dtype = dtype};
    small_open_directory(&small, from, NULL, 1, false);
    tr_status status = tr_trainer_save_model(small.model, to, &options, &err);
    cr_assert_eq(status, TR_OK, "%s: %s", from, err.text);
    small_close(&small);
}

/// A tensor times FACTOR as the form has it; the caller's to free.
static tr_safetensors_entry_t entry_of(const tr_safetensors_t *file,
                                       const tr_safetensors_info_t *info, tr_dtype_t dtype)
{
    tr_safetensors_entry_t entry = {.name = info->name, .rank = info->rank, .dtype = dtype};
    memcpy(entry.shape, info->shape, sizeof entry.shape);
    float *values = values_of(file, info);
    uint8_t *halves = (uint8_t *)values; // no longer than what they are made of
    for (size_t i = 0; i < info->count; i++) {
        const float value = values[i] * FACTOR;
        if (dtype == TR_F32) {
            values[i] = value;
        } else {
            const uint16_t half = dtype == TR_F16 ? tr_real_to_f16(value) : tr_real_to_bf16(value);
            memcpy(halves + i * sizeof half, &half, sizeof half);
        }
    }
    entry.data = values;
    return entry;
}

/// Whether transformers keeps a tensor of the model in F32.
static bool is_kept(golden_t *golden, const char *model, const form_t *form, const char *tensor)
{
    char *path = tr_format("%s/%s/kept/%s", model, form->golden, tensor);
    const bool kept = golden_has(golden, path);
    free(path);
    return kept;
}

/// The index of shards among which tensors are dealt out in turns; the caller's to free.
static char *index_of(const tr_safetensors_t *file)
{
    char *text = tr_strdup("{\"metadata\": {\"total_size\": 0}, \"weight_map\": {");
    for (size_t i = 0; i < tr_safetensors_count(file); i++) {
        char *more =
            tr_format("%s%s\"%s\": \"model-%05zu-of-%05d.safetensors\"", text, i == 0 ? "" : ", ",
                      tr_safetensors_at(file, i)->name, i % SHARDS + 1, SHARDS);
        free(text);
        text = more;
    }
    char *whole = tr_format("%s}}\n", text);
    free(text);
    return whole;
}

static void write_weights(const char *folder, const tr_safetensors_entry_t *entries, size_t count,
                          const form_t *form)
{
    tr_error_t err = {0};
    for (size_t s = 0; s < form->shards; s++) {
        tr_safetensors_entry_t shard[MOST];
        size_t n = 0;
        for (size_t i = s; i < count; i += form->shards) {
            shard[n++] = entries[i];
        }
        char *path = form->shards == 1
                         ? tr_format("%s/model.safetensors", folder)
                         : tr_format("%s/model-%05zu-of-%05d.safetensors", folder, s + 1, SHARDS);
        cr_assert_eq(tr_safetensors_write(path, shard, n, NULL, &err), TR_OK, "%s", err.text);
        free(path);
    }
}

/// Writes the model of `base`, in F32, in that form to `folder`. name: the model's.
static void derive(const char *folder, const char *base, const char *name, const form_t *form,
                   golden_t *golden)
{
    tr_safetensors_t *file;
    tr_safetensors_entry_t entries[MOST];
    size_t length;
    char *path = tr_format("%s/config.json", base), *config = scratch_read(path, &length);
    cr_assert_eq(tr_directory_make(folder, NULL), TR_OK);
    free(scratch_write(folder, "config.json", config, length));
    open_tensors(&file, base);
    const size_t count = tr_safetensors_count(file);
    cr_assert_leq(count, MOST);
    for (size_t i = 0; i < count; i++) {
        const tr_safetensors_info_t *info = tr_safetensors_at(file, i);
        const bool kept = is_kept(golden, name, form, info->name);
        entries[i] = entry_of(file, info, kept ? TR_F32 : form->dtype);
    }
    write_weights(folder, entries, count, form);
    if (form->shards > 1) {
        char *index = index_of(file);
        free(scratch_write(folder, "model.safetensors.index.json", index, strlen(index)));
        free(index);
    }
    for (size_t i = 0; i < count; i++) {
        free((void *)entries[i].data);
    }
    tr_safetensors_close(&file);
    free(config);
    free(path);
}

/// Reads `stored` and saves it to `saved`, which stays, in its own dtype. sums: expected of what is
/// read, and of what is saved.
static void check_form(const char *stored, const char *saved, const form_t *form,
                       const double sums[2])
{
    tr_dtype_t dtype;
    tr_error_t err = {0};
    char *whole = tr_format("%s.whole", saved), *again = tr_format("%s.again", saved);
    cr_assert_eq(tr_model_stored_dtype(&dtype, stored, &err), TR_OK, "%s", err.text);
    cr_expect_eq(dtype, form->dtype, "%s", stored);
    resave(stored, whole, TR_F32);
    cr_expect_eq(checksum(whole), sums[0], "%s: torch reads other values", stored);
    resave(stored, saved, dtype);
    cr_expect_eq(checksum(saved), sums[1], "%s: other values are saved", stored);
    resave(saved, again, dtype);
    scratch_expect_same(saved, again, "config.json");
    scratch_expect_same(saved, again, "model.safetensors");
    cr_assert_eq(tr_directory_remove(whole, NULL), TR_OK);
    cr_assert_eq(tr_directory_remove(again, NULL), TR_OK);
    free(whole);
    free(again);
}

static void check_model(const char *directory, const char *folder, golden_t *golden)
{
    const char *stored = getenv("TROUPE_STORED"), *kept = getenv("TROUPE_SAVED");
    const char *name = strrchr(directory, '/') + 1;
    char *base = tr_format("%s/%s", folder, name);
    resave(directory, base, TR_F32);
    for (size_t i = 0; i < sizeof FORMS / sizeof *FORMS; i++) {
        const form_t *form = &FORMS[i];
        char *from = tr_format("%s/%s.%s", stored != NULL ? stored : folder, name, form->name);
        char *to = tr_format("%s/%s.%s%s", kept != NULL ? kept : folder, name, form->name,
                             kept != NULL ? "" : ".saved");
        char *read = tr_format("%s/%s/read", name, form->golden);
        char *saved = tr_format("%s/%s/saved", name, form->golden);
        const double sums[] = {golden_number(golden, read), golden_number(golden, saved)};
        if (stored == NULL) {
            derive(from, base, name, form, golden);
        }
        check_form(from, to, form, sums);
        free(from);
        free(to);
        free(read);
        free(saved);
    }
    free(base);
}

Test(storage, every_form_of_a_models_files_has_the_values_that_torch_reads)
{
    golden_t *golden = golden_open(TEST_SOURCE_DIR "/tests/golden/storage.json");
    char *folder = scratch_open();
    glob_t models;
    models_find(&models);
    for (size_t i = 0; i < models.gl_pathc; i++) {
        check_model(models.gl_pathv[i], folder, golden);
    }
    globfree(&models);
    scratch_close(&folder);
    golden_close(&golden);
}

/// The greatest resident size so far, in bytes.
static size_t peak(void)
{
    char line[256];
    size_t kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "re");
    cr_assert_not_null(file);
    while (kilobytes == 0 && fgets(line, sizeof line, file) != NULL) {
        kilobytes = strncmp(line, "VmHWM:", 6) == 0 ? strtoul(line + 6, NULL, 10) : 0;
    }
    fclose(file);
    cr_assert_gt(kilobytes, 0, "there is no VmHWM");
    return kilobytes << 10;
}

/// From here on it is counted anew; false: this system does not.
static bool forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");
    bool done = file != NULL && fputs("5", file) >= 0;
    done = (file == NULL || fclose(file) == 0) && done;
    return done;
}

/// A gpt-oss of one layer, of whose 54 MiB in F32 one parameter has 32.
static void write_mixture(rig_t *rig, const char *directory)
{
    tr_error_t err = {0};
    tr_model_config_t config;
    tr_model_t *model = NULL;
    const tr_save_options_t options = {.dtype = TR_BF16};
    tr_status status =
        tr_model_config_load(&config, TEST_SOURCE_DIR "/tests/golden/models/gpt_oss_odd", &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    config.experts = 16;
    config.hidden = config.intermediate = config.expert_intermediate = 512;
    config.max_positions = 64;
    config.rope_scaling.kind = TR_ROPE_DEFAULT;
    status = tr_model_new(&model, &config, rig->backend, TR_MODEL_READS, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    tr_model_randomize(model, 1);
    status = tr_trainer_save_model(model, directory, &options, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    tr_model_destroy(&model);
}

/// A parameter in F32 twice, in the file's order and in ours, would be more than the model again.
Test(storage, a_mixture_is_read_an_expert_at_a_time)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("a sanitizer keeps what is freed");
#endif
    rig_t rig;
    tr_error_t err = {0};
    tr_model_t *model = NULL;
    char *folder = scratch_open(), *directory = tr_format("%s/mixture", folder);
    rig_open(&rig, NULL, 1);
    write_mixture(&rig, directory);
    if (!forget_peak()) {
        cr_skip_test("the system counts no peak");
    }
    const size_t before = peak();
    tr_status status = tr_model_open(&model, directory, NULL, rig.backend, TR_MODEL_READS, &err);
    cr_assert_eq(status, TR_OK, "%s", err.text);
    const size_t weights = tr_model_layout(model)->total * sizeof(float);
    const size_t taken = peak() - before, most = weights + ((size_t)16 << 20);
    cr_expect_geq(weights, (size_t)48 << 20);
    cr_expect_leq(taken, most, "%zu MiB for %zu MiB of weights", taken >> 20, weights >> 20);
    tr_model_destroy(&model);
    rig_close(&rig);
    free(directory);
    scratch_close(&folder);
}
