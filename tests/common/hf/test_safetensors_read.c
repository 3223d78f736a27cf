/// Reading safetensors files: what is there, and each malformed header by its sentence.
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/hf/mxfp4.h"
#include "tests/support/scratch.h"

#define MODELS TEST_SOURCE_DIR "/tests/golden/models/"

/// A file of this header and this many bytes 0, 1, 2, ...; claimed: the length that its first eight
/// bytes say.
static char *make(const char *folder, const char *name, const char *header, size_t claimed,
                  size_t data)
{
    size_t length = strlen(header);
    uint64_t prefix = claimed;
    char *bytes = tr_calloc(8 + length + data + 1, 1);
    memcpy(bytes, &prefix, 8);
    snprintf(bytes + 8, length + 1, "%s", header);
    for (size_t i = 0; i < data; i++) {
        bytes[8 + length + i] = (char)i;
    }
    char *path = scratch_write(folder, name, bytes, 8 + length + data);
    free(bytes);
    return path;
}

static void expect_open_fails(const char *path, tr_status status, const char *words)
{
    tr_safetensors_t *file = NULL;
    tr_error_t err = {0};
    cr_expect_eq(tr_safetensors_open(&file, path, &err), status, "'%s' for '%s'", err.text, words);
    cr_expect_null(file);
    cr_expect_not_null(strstr(err.text, words), "'%s' lacks '%s'", err.text, words);
}

static void expect_refused(const char *header, size_t claimed, size_t data, tr_status status,
                           const char *words)
{
    char *folder = scratch_open();
    char *path = make(folder, "x.safetensors", header, claimed, data);
    expect_open_fails(path, status, words);
    free(path);
    scratch_close(&folder);
}

static tr_safetensors_t *opened(const char *path)
{
    tr_safetensors_t *file = NULL;
    tr_error_t err = {0};
    cr_assert_eq(tr_safetensors_open(&file, path, &err), TR_OK, "%s", err.text);
    return file;
}

#define A(type, shape, begin, end) \
    "{\"a\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}}"

Test(safetensors_read, a_header_that_does_not_fit_its_file_is_refused)
{
    static const struct {
        const char *header;
        size_t data;
        tr_status status;
        const char *words;
    } rows[] = {
        {A("F32", "[2,2]", 0, 16), 15, TR_ERR_FORMAT, "tensor 'a'"},
        {A("F32", "[2,2]", 0, 16), 17, TR_ERR_FORMAT, "last 1 bytes"},
        {A("F32", "[2,2]", 0, 12), 16, TR_ERR_FORMAT, "tensor 'a': data_offsets"},
        {A("F32", "[3]", 0, 16), 16, TR_ERR_FORMAT, "tensor 'a': data_offsets"},
        {A("F32", "[2,2]", 4, 20), 20, TR_ERR_FORMAT, "follows bytes"},
        {A("F32", "[2,2]", 16, 0), 16, TR_ERR_FORMAT, "data_offsets"},
        {A("F32", "[2,2]", -16, 0), 16, TR_ERR_FORMAT, "data_offsets"},
        {A("F32", "[-2,-2]", 0, 16), 16, TR_ERR_FORMAT, "shape"},
        {A("F32", "[2.0,2]", 0, 16), 16, TR_ERR_FORMAT, "shape"},
        {A("F32", "4", 0, 16), 16, TR_ERR_FORMAT, "shape"},
        {A("F32", "[1,1,1,1,1,1,1,1,4]", 0, 16), 16, TR_ERR_FORMAT, "shape"},
        {A("F32", "[4294967296,4294967296,4]", 0, 16), 16, TR_ERR_FORMAT, "shape"},
        {A("F32", "[4611686018427387905]", 0, 4), 4, TR_ERR_FORMAT, "data_offsets"},
        {A("F8_E5M2", "[4]", 0, 4), 4, TR_ERR_UNSUPPORTED, "F8_E5M2"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, TR_ERR_FORMAT, "dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, TR_ERR_FORMAT, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, TR_ERR_FORMAT, "data_offsets"},
        {"{\"a\":7}", 0, TR_ERR_FORMAT, "tensor 'a'"},
        {"{\"__metadata__\":{\"step\":1}}", 0, TR_ERR_FORMAT, "__metadata__"},
        {"[]", 0, TR_ERR_FORMAT, "JSON object"},
        {"{\"a\":", 0, TR_ERR_FORMAT, "JSON"},
        {"{} x", 0, TR_ERR_FORMAT, "JSON"},
        {"{}", 3, TR_ERR_FORMAT, "last 3 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_refused(rows[i].header, strlen(rows[i].header), rows[i].data, rows[i].status,
                       rows[i].words);
    }
}

Test(safetensors_read, tensors_that_share_bytes_or_a_name_are_refused)
{
    const char *overlap = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                          "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[3,7]}}";
    const char *twice = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                        "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}";
    expect_refused(overlap, strlen(overlap), 7, TR_ERR_FORMAT, "tensor 'b' overlaps");
    expect_refused(twice, strlen(twice), 8, TR_ERR_FORMAT, "duplicate");
}

Test(safetensors_read, a_length_that_lies_is_refused_before_it_is_believed)
{
    const size_t claims[] = {3, 100, (size_t)1 << 40, SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        expect_refused("{}", claims[i], 0, TR_ERR_FORMAT, "claims");
    }
    expect_refused("{}", 0, 0, TR_ERR_FORMAT, "JSON");
}

Test(safetensors_read, a_file_cut_anywhere_is_refused)
{
    size_t length;
    char *folder = scratch_open();
    char *bytes = scratch_read(MODELS "sharded_f16/model-00001-of-00002.safetensors", &length);
    for (size_t n = 0; n < length; n += n < 16 ? 1 : 331) {
        char *path = scratch_write(folder, "cut.safetensors", bytes, n);
        expect_open_fails(path, TR_ERR_FORMAT, "cut.safetensors");
        free(path);
    }
    free(bytes);
    scratch_close(&folder);
}

Test(safetensors_read, a_header_with_any_byte_changed_is_refused_or_read_within_the_file)
{
    size_t length;
    char *folder = scratch_open();
    char *bytes = scratch_read(MODELS "sharded_f16/model-00002-of-00002.safetensors", &length);
    for (size_t i = 0; i < 700; i++) {
        tr_safetensors_t *file = NULL;
        uint64_t sum = 0;
        char kept = bytes[i];
        bytes[i] = (char)(kept ^ (1 << (i % 7)));
        char *path = scratch_write(folder, "x.safetensors", bytes, length);
        if (tr_safetensors_open(&file, path, NULL) == TR_OK) {
            for (size_t t = 0; t < tr_safetensors_count(file); t++) {
                const tr_safetensors_info_t *info = tr_safetensors_at(file, t);
                const unsigned char *data = info->data;
                for (size_t b = 0; b < info->count * tr_dtype_size(info->dtype); b++) {
                    sum += data[b]; // a place outside the map is a crash
                }
            }
        }
        cr_assert_lt(sum, length * 256);
        tr_safetensors_close(&file);
        bytes[i] = kept;
        free(path);
    }
    free(bytes);
    scratch_close(&folder);
}

/// A file with all 65536 halves as bfloat16 ("b") and as binary16 ("h").
static char *make_halves(const char *folder)
{
    const char *header =
        "{\"b\":{\"dtype\":\"BF16\",\"shape\":[65536],\"data_offsets\":[0,131072]},"
        "\"h\":{\"dtype\":\"F16\",\"shape\":[1,65536],\"data_offsets\":[131072,262144]}}";
    const uint64_t length = strlen(header);
    char *bytes = tr_calloc(8 + length + 262144 + 1, 1);
    memcpy(bytes, &length, 8);
    snprintf(bytes + 8, length + 1, "%s", header);
    for (uint32_t i = 0; i < 131072; i++) {
        uint16_t half = (uint16_t)i;
        memcpy(bytes + 8 + length + 2 * i, &half, 2);
    }
    char *path = scratch_write(folder, "halves.safetensors", bytes, 8 + length + 262144);
    free(bytes);
    return path;
}

/// By the definition of binary16, the sign left out.
static double magnitude(uint32_t half)
{
    int exponent = (int)(half >> 10 & 31);
    double fraction = half & 1023;
    if (exponent == 31) {
        return fraction > 0 ? NAN : INFINITY;
    }
    return exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
}

Test(safetensors_read, every_half_becomes_the_float_of_the_same_value)
{
    char *folder = scratch_open();
    char *path = make_halves(folder);
    tr_safetensors_t *file = opened(path);
    float *values = tr_calloc(65536, sizeof *values);
    tr_error_t err = {0};
    cr_assert_eq(tr_safetensors_read(file, "b", values, 0, 65536, &err), TR_OK, "%s", err.text);
    for (uint32_t i = 0; i < 65536; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        cr_assert_eq(bits, i << 16);
    }
    cr_assert_eq(tr_safetensors_read(file, "h", values, 1, 65536, &err), TR_OK, "%s", err.text);
    for (uint32_t i = 0; i < 65536; i++) {
        double value = magnitude(i);
        bool same = isnan(value) ? isnan(values[i]) : (double)fabsf(values[i]) == value;
        cr_assert(same, "half %x", i);
        cr_assert_eq(signbit(values[i]) != 0, (i & 0x8000) != 0, "half %x", i);
    }
    tr_safetensors_close(&file);
    free(values);
    free(path);
    scratch_close(&folder);
}

Test(safetensors_read, a_tensor_at_an_odd_address_is_read_as_any_other)
{
    const char *header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
                         "\"c\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[9,17]},"
                         "\"d\":{\"dtype\":\"F64\",\"shape\":[3,0],\"data_offsets\":[17,17]}}";
    char *folder = scratch_open();
    char *path = make(folder, "odd.safetensors", header, strlen(header), 17);
    tr_safetensors_t *file = opened(path);
    float b[2];
    int64_t c;
    uint32_t bits[2];
    cr_assert_eq(tr_safetensors_read(file, "b", b, 0, 2, NULL), TR_OK);
    memcpy(bits, b, sizeof bits);
    cr_expect(bits[0] == 0x04030201 && bits[1] == 0x08070605);
    cr_assert_eq(tr_safetensors_copy(file, "c", TR_I64, &c, 1, NULL), TR_OK);
    cr_expect_eq(c, 0x100f0e0d0c0b0a09);
    cr_expect_eq(tr_safetensors_copy(file, "d", TR_F64, NULL, 0, NULL), TR_OK);
    cr_expect_eq(tr_safetensors_count(file), 4);
    cr_expect_str_eq(tr_safetensors_at(file, 3)->name, "d");
    cr_expect_str_eq(tr_safetensors_path(file), path);
    tr_safetensors_close(&file);
    tr_safetensors_close(&file);
    free(path);
    scratch_close(&folder);
}

static void expect_read_fails(const tr_safetensors_t *file, const char *name, size_t rows,
                              size_t columns, const char *words)
{
    float out[64 * 64];
    tr_error_t err = {0};
    cr_expect_eq(tr_safetensors_read(file, name, out, rows, columns, &err), TR_ERR_FORMAT);
    cr_expect(strstr(err.text, words) && strstr(err.text, name), "'%s' lacks '%s'", err.text,
              words);
}

Test(safetensors_read, another_name_shape_or_dtype_is_an_error_that_says_what_was_found)
{
    tr_safetensors_t *file = opened(MODELS "tied/golden.safetensors");
    int64_t wide[96];
    tr_error_t err = {0};
    expect_read_fails(file, "lm_head.weight", 61, 32, "there is no tensor");
    expect_read_fails(file, "grad.model.embed_tokens.weight", 32, 61,
                      "expected shape [32, 61], found [61, 32]");
    expect_read_fails(file, "grad.model.embed_tokens.weight", 0, 1952, "expected shape [1952]");
    expect_read_fails(file, "grad.model.norm.weight", 1, 32, "found [32]");
    expect_read_fails(file, "ids", 0, 96, "found I32");
    cr_expect_eq(tr_safetensors_copy(file, "ids", TR_I64, wide, 96, &err), TR_ERR_FORMAT);
    cr_expect_not_null(strstr(err.text, "expected 96 elements of I64, found 96 of I32"), "%s",
                       err.text);
    cr_expect_eq(tr_safetensors_copy(file, "ids", TR_I32, wide, 95, &err), TR_ERR_FORMAT);
    tr_safetensors_close(&file);
}

Test(safetensors_read, a_file_of_transformers_is_read_by_name)
{
    tr_safetensors_t *file = opened(MODELS "tied");
    tr_safetensors_t *golden = opened(MODELS "tied/golden.safetensors");
    float norm[32];
    int32_t starts[6];
    const int32_t expected[] = {0, 1, 6, 23, 56, 96};
    cr_expect_str_eq(tr_safetensors_path(file), MODELS "tied/model.safetensors");
    cr_expect_str_eq(tr_safetensors_metadata(file, "format"), "pt");
    cr_expect_null(tr_safetensors_metadata(file, "formats"));
    cr_expect_eq(tr_safetensors_count(file), 20);
    cr_expect_null(tr_safetensors_find(file, "lm_head.weight"));
    cr_assert_eq(tr_safetensors_read(file, "model.norm.weight", norm, 0, 32, NULL), TR_OK);
    for (size_t i = 0; i < 32; i++) {
        cr_expect(norm[i] > 0.2f && norm[i] < 2.0f);
    }
    cr_assert_eq(tr_safetensors_copy(golden, "starts", TR_I32, starts, 6, NULL), TR_OK);
    cr_expect_arr_eq(starts, expected, sizeof expected);
    tr_safetensors_close(&golden);
    tr_safetensors_close(&file);
}

Test(safetensors_read, a_part_of_a_tensor_of_three_dimensions_is_read)
{
    char *folder = scratch_open();
    // BF16 of the bytes 0, 1, 2, ...: element i is the number whose upper half is 0x(2i+1)(2i).
    static const char header[] = A("BF16", "[2,3,4]", 0, 48);
    char *path = make(folder, "x.safetensors", header, sizeof header - 1, 48);
    tr_safetensors_t *file = opened(path);
    tr_error_t err = {0};
    const size_t shape[3] = {2, 3, 4}, other[3] = {3, 2, 4};
    float part[5], want[5];
    for (uint32_t i = 0; i < 5; i++) {
        const uint32_t bits = (2 * (i + 7) + 1) << 24 | (2 * (i + 7)) << 16;
        memcpy(&want[i], &bits, sizeof bits);
    }
    cr_assert_eq(tr_safetensors_read_part(file, "a", shape, 3, part, 7, 5, &err), TR_OK, "%s",
                 err.text);
    cr_expect_arr_eq(part, want, sizeof part);
    cr_expect_eq(tr_safetensors_read_part(file, "a", other, 3, NULL, 0, 4, &err), TR_ERR_FORMAT);
    cr_expect_not_null(strstr(err.text, "'a'"), "%s", err.text);
    tr_safetensors_close(&file);
    free(path);
    scratch_close(&folder);
}

Test(safetensors_read, shards_are_one_file)
{
    tr_safetensors_t *file = opened(MODELS "sharded_f16");
    tr_safetensors_t *same = opened(MODELS "sharded_f16/model.safetensors.index.json");
    tr_safetensors_t *first = opened(MODELS "sharded_f16/model-00001-of-00002.safetensors");
    tr_safetensors_t *second = opened(MODELS "sharded_f16/model-00002-of-00002.safetensors");
    cr_expect_eq(tr_safetensors_count(file), 21);
    cr_expect_eq(tr_safetensors_count(same), 21);
    for (size_t i = 0; i < 21; i++) {
        const tr_safetensors_info_t *info = tr_safetensors_at(file, i);
        const tr_safetensors_info_t *a = tr_safetensors_find(first, info->name);
        const tr_safetensors_info_t *b = tr_safetensors_find(second, info->name);
        cr_assert((a == NULL) != (b == NULL));
        cr_expect_arr_eq(info->data, a == NULL ? b->data : a->data, info->count * 2);
        cr_expect(i == 0 || strcmp(tr_safetensors_at(file, i - 1)->name, info->name) < 0);
    }
    cr_expect_str_eq(tr_safetensors_metadata(file, "format"), "pt");
    tr_safetensors_close(&second);
    tr_safetensors_close(&first);
    tr_safetensors_close(&same);
    tr_safetensors_close(&file);
}

/// A folder with shards one.safetensors (tensor a) and two.safetensors (tensor `second`), and this
/// index.
static void expect_index_refused(const char *second, const char *index, tr_status status,
                                 const char *words)
{
    char header[128];
    char *folder = scratch_open();
    const char *a = A("U8", "[4]", 0, 4);
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", second);
    char *paths[3] = {make(folder, "one.safetensors", a, strlen(a), 4),
                      make(folder, "two.safetensors", header, strlen(header), 0),
                      scratch_write(folder, "model.safetensors.index.json", index, strlen(index))};
    if (words == NULL) {
        tr_safetensors_t *file = opened(folder);
        tr_safetensors_close(&file);
    } else {
        expect_open_fails(folder, status, words);
    }
    for (size_t i = 0; i < 3; i++) {
        free(paths[i]);
    }
    scratch_close(&folder);
}

Test(safetensors_read, an_index_that_its_shards_contradict_is_refused)
{
    const char *one = "one.safetensors", *two = "two.safetensors";
    char index[256];
    const char *form = "{\"weight_map\":{\"a\":\"%s\",\"b\":\"%s\"}}";
    snprintf(index, sizeof index, form, one, two);
    expect_index_refused("b", index, TR_OK, NULL);
    expect_index_refused("a", index, TR_ERR_FORMAT, "tensor 'a' is in 'two.safetensors'");
    expect_index_refused("c", index, TR_ERR_FORMAT, "tensor 'c'");
    snprintf(index, sizeof index, form, one, one);
    expect_index_refused("b", index, TR_ERR_FORMAT, "lacks tensor 'b'");
    snprintf(index, sizeof index, form, two, one);
    expect_index_refused("b", index, TR_ERR_FORMAT, "tensor 'a' is in 'one.safetensors'");
    snprintf(index, sizeof index, form, one, "three.safetensors");
    expect_index_refused("b", index, TR_ERR_IO, "three.safetensors");
    snprintf(index, sizeof index, form, one, "../two.safetensors");
    expect_index_refused("b", index, TR_ERR_FORMAT, "the name of a file beside it");
    expect_index_refused("b", "{\"weight_map\":{\"a\":1}}", TR_ERR_FORMAT, "weight_map");
    expect_index_refused("b", "{\"metadata\":{}}", TR_ERR_FORMAT, "weight_map");
}

Test(safetensors_read, what_is_not_there_is_named)
{
    char *folder = scratch_open();
    char *path = scratch_write(folder, "pytorch_model.bin", "x", 1);
    expect_open_fails(folder, TR_ERR_IO, "model.safetensors");
    expect_open_fails("/nonexistent/model.safetensors", TR_ERR_IO, "/nonexistent");
    expect_open_fails("/dev/null", TR_ERR_IO, "/dev/null");
    free(path);
    path = scratch_write(folder, "model.safetensors", "", 0);
    expect_open_fails(folder, TR_ERR_FORMAT, "0 bytes");
    free(path);
    scratch_close(&folder);
}

#define PACKED(blocks, scales)                                                                \
    "{\"a_blocks\":{\"dtype\":\"U8\",\"shape\":" blocks ",\"data_offsets\":[0,16]},\"" scales \
    "\":{\"dtype\":\"U8\",\"shape\":[1,1,1],\"data_offsets\":[16,17]}}"

/// Bytes 0 to 15 are the numbers (0, 0), (0.5, 0), ..., (-6, 0), with the scale 2^(16 - 127).
Test(mxfp4, numbers_are_those_of_the_format_and_half_a_tensor_is_refused)
{
    static const float sizes[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    static const size_t shape[] = {1, 32, 1};
    static const char *const headers[] = {PACKED("[1,1,1,16]", "a_scales"),
                                          PACKED("[1,1,16]", "a_scales"),
                                          PACKED("[1,1,1,16]", "b_scales")};
    char *folder = scratch_open();
    for (size_t i = 0; i < 3; i++) {
        char *path = make(folder, "x.safetensors", headers[i], strlen(headers[i]), 17);
        tr_safetensors_t *file = opened(path);
        tr_error_t err = {0};
        float out[32];
        const tr_status status =
            tr_mxfp4_read(file, "a", shape, out, 0, shape[0] * shape[1] * shape[2], &err);
        cr_expect_eq(status, i == 0 ? TR_OK : TR_ERR_FORMAT, "%s", err.text);
        cr_expect(i == 0 || strstr(err.text, "tensor 'a' in MXFP4") != NULL, "%s", err.text);
        for (size_t j = 0; i == 0 && j < 32; j++) {
            const float size = j % 2 == 0 ? sizes[j / 2 % 8] : 0.0f;
            cr_expect_eq(out[j], ldexpf(j < 16 ? size : -size, -111), "%zu", j);
        }
        tr_safetensors_close(&file);
        free(path);
    }
    scratch_close(&folder);
}
