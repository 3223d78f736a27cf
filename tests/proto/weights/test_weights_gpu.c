/// Descriptions of weights on a GPU: what comes back, what is refused, what tells versions apart.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proto/weights/weights_gpu.h"

static tr_error_t err;

static tr_device_memory_t some(void)
{
    tr_device_memory_t memory = {.place = "0000:41:00.0"};
    for (size_t i = 0; i < sizeof memory.handle; i++) {
        memory.handle[i] = (unsigned char)(3 * i + 1);
    }
    return memory;
}

Test(weights_gpu, what_is_described_is_read)
{
    tr_device_memory_t memory = some(), got;
    json_t *description = tr_weights_gpu_describe(&memory, 7, 4096);
    cr_assert(tr_weights_gpu_is(description));
    cr_expect_eq(json_integer_value(json_object_get(description, "version")), 7);
    cr_assert_eq(tr_weights_gpu_read(&got, description, 4096, &err), TR_OK, "%s", err.text);
    cr_expect_eq(memcmp(&got, &memory, sizeof got), 0);
    cr_expect_eq(tr_weights_gpu_read(&got, description, 4095, &err), TR_ERR_VERSION);
    cr_expect_str_eq(err.text, "weights of 4096 bytes for a model of 4095");
    json_decref(description);
}

Test(weights_gpu, versions_in_one_place_have_checksums_of_their_own)
{
    tr_device_memory_t memory = some();
    json_t *first = tr_weights_gpu_describe(&memory, 1, 64);
    json_t *second = tr_weights_gpu_describe(&memory, 2, 64);
    const char *a = json_string_value(json_object_get(first, "checksum"));
    const char *b = json_string_value(json_object_get(second, "checksum"));
    cr_expect_eq(strlen(a), 16);
    cr_expect_str_neq(a, b);
    json_decref(first);
    json_decref(second);
}

Test(weights_gpu, what_is_no_description_is_refused)
{
    static const char *const bad[] = {
        "{}",
        "{\"handle\": 1, \"place\": \"x\", \"bytes\": 64}",
        "{\"handle\": \"00\", \"place\": \"x\", \"bytes\": 64}",
        "{\"handle\": \"%0128d\", \"bytes\": 64}",
    };
    tr_device_memory_t memory;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *description = json_loads(bad[i], 0, NULL);
        cr_expect_eq(tr_weights_gpu_read(&memory, description, 64, &err), TR_ERR_PROTOCOL, "%s",
                     bad[i]);
        cr_expect_not(tr_weights_gpu_is(description));
        json_decref(description);
    }
    memory = some();
    json_t *description = tr_weights_gpu_describe(&memory, 7, 64);
    char hex[129];
    snprintf(hex, sizeof hex, "%s", json_string_value(json_object_get(description, "handle")));
    hex[17] = 'x';
    json_object_set_new(description, "handle", json_string(hex));
    cr_expect_eq(tr_weights_gpu_read(&memory, description, 64, &err), TR_ERR_PROTOCOL);
    json_decref(description);
}
