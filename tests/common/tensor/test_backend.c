/// Opening the CPU, buffers and copies: what the operator table promises before any kernel runs.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tensors.h"

Test(backend, an_unknown_instruction_set_is_refused_with_a_sentence)
{
    tr_error_t err = {0};
    tr_backend_t *backend = NULL;
    setenv("TROUPE_CPU", "altivec", 1);
    cr_assert_eq(tr_backend_open_cpu(&backend, TR_F32, 1, &err), TR_ERR_ARGUMENT);
    cr_assert_null(backend);
    cr_assert_not_null(strstr(err.text, "altivec"), "%s", err.text);
}

Test(backend, the_environment_chooses_the_form)
{
    for (size_t i = 0; i < RIG_ISAS; i++) {
        rig_t rig;
        if (rig_open(&rig, rig_isas[i], 1)) {
            cr_assert_str_eq(rig.backend->form, rig_isas[i]);
            rig_close(&rig);
        }
    }
}

Test(backend, closing_nothing_is_allowed)
{
    tr_backend_t *backend = NULL;
    tr_backend_close(&backend);
    cr_assert_null(backend);
}

Test(buffer, is_zeroed_and_aligned_small_and_large)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    const size_t counts[] = {0, 1, 1000, 3 << 20};
    for (size_t i = 0; i < 4; i++) {
        tr_tensor_t tensor = rig_zeros(&rig, 1, counts[i]);
        float *data = rig_read(&rig, tensor);
        for (size_t j = 0; j < counts[i]; j++) {
            cr_assert_eq(data[j], 0.0f);
        }
    }
    rig_close(&rig);
}

Test(buffer, one_that_no_machine_has_is_an_error)
{
    rig_t rig;
    tr_error_t err = {0};
    tr_buffer_t *buffer = NULL;
    rig_open(&rig, NULL, 1);
    cr_assert_eq(rig.ops->buffer_new(rig.backend, &buffer, SIZE_MAX / 2, &err), TR_ERR_MEMORY);
    cr_assert_eq(rig.ops->buffer_new(rig.backend, &buffer, SIZE_MAX - 10, &err), TR_ERR_MEMORY);
    cr_assert_null(buffer);
    rig_close(&rig);
}

Test(buffer, copies_and_zeroes_parts)
{
    rig_t rig;
    rig_open(&rig, NULL, 1);
    float *data = rig_random(&rig, 40, 1);
    tr_tensor_t a = rig_tensor(&rig, 4, 10, data), b = rig_zeros(&rig, 2, 10);
    rig.ops->copy(rig.queue, b, tr_tensor_rows(a, 1, 2));
    check_same(rig_read(&rig, b), data + 10, 20, "copy");
    rig.ops->zero(rig.queue, tr_tensor_rows(a, 3, 1));
    float *got = rig_read(&rig, a);
    check_same(got, data, 30, "the rest");
    for (size_t i = 30; i < 40; i++) {
        cr_assert_eq(got[i], 0.0f);
    }
    rig_close(&rig);
}
