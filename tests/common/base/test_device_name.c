/// Names of devices: which there are, and which are the same.
#include "common/base/device_name.h"

#include <criterion/criterion.h>

Test(device_name, a_cpu_and_gpus_by_index_are_names)
{
    static const struct {
        const char *name;
        long index; ///< -1: no GPU; -2: no name
    } cases[] = {
        {"cpu", -1},       {"cuda", 0},         {"cuda:0", 0},
        {"cuda:7", 7},     {"cuda:1023", 1023}, {"", -2},
        {"CPU", -2},       {"cpu:0", -2},       {"cuda:", -2},
        {"cuda0", -2},     {"cuda:01", -2},     {"cuda:-1", -2},
        {"cuda:1024", -2}, {"cuda:1 ", -2},     {"gpu", -2},
        {"cuda:0x1", -2},  {"cuda: 1", -2},     {"cuda:99999999999999999999", -2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *name = cases[i].name;
        cr_expect_eq(tr_device_is_name(name), cases[i].index > -2, "'%s'", name);
        cr_expect_eq(tr_device_is_gpu(name), cases[i].index >= 0, "'%s'", name);
        cr_expect_eq(tr_device_index(name), cases[i].index < 0 ? -1 : cases[i].index, "'%s'", name);
    }
}

Test(device_name, cuda_is_the_first_gpu)
{
    cr_expect(tr_device_is_same("cuda", "cuda:0"));
    cr_expect(tr_device_is_same("cpu", "cpu"));
    cr_expect(!tr_device_is_same("cuda:1", "cuda:0"));
    cr_expect(!tr_device_is_same("cpu", "cuda"));
}
