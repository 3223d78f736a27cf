/// Questions about a collective before there is one: the path of its module, and whether it suits a
/// device.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/collective/collective.h"

static void expect_path(const char *name, const char *want)
{
    char *path = tr_collective_path(name, "/somewhere");
    cr_expect_str_eq(path, want);
    free(path);
}

Test(collective, the_environment_names_another_module_of_gpus)
{
    unsetenv("TROUPE_NCCL_MODULE");
    expect_path("mpi", "/somewhere/troupe-mpi.so");
    expect_path("nccl", "/somewhere/troupe-nccl.so");
    setenv("TROUPE_NCCL_MODULE", "/elsewhere/nccl.so", 1);
    expect_path("mpi", "/somewhere/troupe-mpi.so");
    expect_path("nccl", "/elsewhere/nccl.so");
    setenv("TROUPE_NCCL_MODULE", "", 1);
    expect_path("nccl", "/somewhere/troupe-nccl.so");
}

Test(collective, moves_vectors_of_its_own_device)
{
    static const tr_collective_ops_t mpi = {.name = "mpi", .device = "cpu"},
                                     nccl = {.name = "nccl", .device = "cuda"};
    const tr_collective_t by_mpi = {.ops = &mpi, .size = 2}, by_nccl = {.ops = &nccl, .size = 2};
    tr_backend_t *cpu;
    tr_error_t err = {0};
    cr_assert_eq(tr_backend_open_cpu(&cpu, TR_F32, 1, &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_collective_check(NULL, cpu, &err), TR_OK);
    cr_expect_eq(tr_collective_check(&by_mpi, cpu, &err), TR_OK);
    cr_expect_eq(tr_collective_check(&by_nccl, cpu, &err), TR_ERR_ARGUMENT);
    cr_expect_str_eq(
        err.text,
        "ranks that communicate over nccl compute on 'cuda', and this one was given 'cpu': "
        "ranks on GPUs are started with --gpus, those on CPUs without");
    tr_backend_close(&cpu);
}
