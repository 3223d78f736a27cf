// Memory as /proc and the control groups of a made-up machine say it.
#include "deploy/machine.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "tests/support/scratch.h"

static char *root;

/// A file of the machine, with its folders.
static void put(const char *path, const char *text)
{
    tr_error_t err = {0};
    char *folder = tr_format("%s%.*s", root, (int)(strrchr(path, '/') - path), path);
    cr_assert_eq(tr_directory_make(folder, &err), TR_OK, "%s", err.text);
    free(scratch_write(folder, strrchr(path, '/') + 1, text, strlen(text)));
    free(folder);
}

static void setup(void)
{
    root = scratch_open();
    put("/proc/meminfo", "MemTotal:  8192 kB\nMemFree: 10 kB\nMemAvailable:  6144 kB\n");
}

static void teardown(void)
{
    scratch_close(&root);
}

static void expect(size_t total, size_t available)
{
    size_t found, free_bytes;
    tr_error_t err = {0};
    cr_assert_eq(machine_memory_under(&found, &free_bytes, root, &err), TR_OK, "%s", err.text);
    cr_expect_eq(found, total << 10, "%zu", found >> 10);
    cr_expect_eq(free_bytes, available << 10, "%zu", free_bytes >> 10);
}

TestSuite(machine, .init = setup, .fini = teardown);

Test(machine, without_groups_memory_is_what_proc_says)
{
    expect(8192, 6144);
    put("/proc/self/cgroup", "0::/user.slice\n");
    expect(8192, 6144);
    put("/sys/fs/cgroup/user.slice/memory.max", "max\n");
    expect(8192, 6144);
}

Test(machine, a_group_of_version_2_and_those_above_it_bound_it)
{
    put("/proc/self/cgroup", "0::/job/step\n");
    put("/sys/fs/cgroup/job/memory.max", "4194304\n"); // 4096 KiB, of which 1024 - 256 are used
    put("/sys/fs/cgroup/job/memory.current", "1048576\n");
    put("/sys/fs/cgroup/job/memory.stat", "anon 1\ninactive_file 262144\nactive_file 9\n");
    put("/sys/fs/cgroup/job/step/memory.max", "max\n");
    expect(4096, 3328);
    put("/sys/fs/cgroup/job/step/memory.max", "2097152\n"); // 2048 KiB, all used
    put("/sys/fs/cgroup/job/step/memory.current", "2097152\n");
    expect(2048, 0);
}

Test(machine, a_container_s_root_group_bounds_it)
{
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "1048576\n");
    put("/sys/fs/cgroup/memory.current", "524288\n");
    expect(1024, 512);
}

Test(machine, a_group_of_version_1_bounds_it)
{
    put("/proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n");
    // what Docker shows within: the host's path is not there, the root is the container's
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "3145728\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1048576\n");
    put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 524288\n");
    expect(3072, 2560);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); // none
    expect(8192, 6144);
}
