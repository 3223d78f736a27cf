/// The device that a welcome names: what is absent, what is refused, how a list is dealt.
#include "proto/device.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static tr_status open_with(const char *welcome, size_t number, tr_error_t *err)
{
    tr_backend_t *backend = NULL;
    json_t *config = json_loads(welcome, 0, NULL);
    cr_assert_not_null(config);
    tr_status status = tr_device_open(&backend, config, 1, number, err);
    json_decref(config);
    tr_backend_close(&backend);
    return status;
}

Test(device, a_cpu_is_what_is_meant_without_a_name)
{
    tr_error_t err = {0};
    tr_backend_t *backend;
    json_t *config = json_pack("{s:i}", "threads", 1);
    cr_assert_eq(tr_device_open(&backend, config, 0, 0, &err), TR_OK, "%s", err.text);
    cr_expect_str_eq(backend->ops->name, "cpu");
    cr_expect_eq(backend->real, TR_F32);
    tr_backend_close(&backend);
    json_decref(config);
}

Test(device, what_cannot_be_meant_is_refused)
{
    static const struct {
        const char *welcome, *sentence;
    } cases[] = {
        {"{}", "threads"},
        {"{\"threads\": 1, \"device\": \"tpu\"}",
         "device: expected 'cpu', 'cuda' or 'cuda:N', found 'tpu'"},
        {"{\"threads\": 1, \"device\": 3}", "device"},
        {"{\"threads\": 1, \"device\": []}", "expected a name, or a list of names"},
        {"{\"threads\": 1, \"device\": [3]}", "expected a name, or a list of names"},
        {"{\"threads\": 1, \"precision\": \"fp8\"}",
         "precision: expected 'auto', 'bf16' or 'fp32', found 'fp8'"},
        {"{\"threads\": 1, \"memory\": -1}", "memory: expected GiB from 0 to 1048576, found -1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tr_error_t err = {0};
        cr_expect_neq(open_with(cases[i].welcome, 0, &err), TR_OK, "%s", cases[i].welcome);
        cr_expect(strstr(err.text, cases[i].sentence) != NULL, "%s", err.text);
    }
}

Test(device, a_list_is_dealt_in_turn)
{
    static const char welcome[] = "{\"threads\": 1, \"device\": [\"cpu\", \"zero\", \"one\"]}";
    for (size_t number = 0; number < 7; number++) {
        static const char *const said[] = {"", "'zero'", "'one'"};
        tr_error_t err = {0};
        cr_expect_eq(open_with(welcome, number, &err) == TR_OK, number % 3 == 0);
        cr_expect(strstr(err.text, said[number % 3]) != NULL, "%zu: %s", number, err.text);
    }
}

Test(device, a_worker_has_the_number_its_name_ends_in)
{
    cr_expect_eq(tr_device_worker_number("rollout-3"), 3);
    cr_expect_eq(tr_device_worker_number("far-away-12"), 12);
    cr_expect_eq(tr_device_worker_number("rollout"), 0);
    cr_expect_eq(tr_device_worker_number("rollout-x"), 0);
    cr_expect_eq(tr_device_worker_number(NULL), 0);
}

Test(device, a_gpu_whose_module_is_missing_is_told_in_one_sentence)
{
    tr_error_t err = {0};
    setenv("TROUPE_CUDA_MODULE", "/nowhere/troupe-cuda.so", 1);
    cr_expect_eq(open_with("{\"threads\": 1, \"device\": \"cuda:0\"}", 0, &err),
                 TR_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "/nowhere/troupe-cuda.so") != NULL, "%s", err.text);
    cr_expect(strchr(err.text, '\n') == NULL, "%s", err.text);
}
