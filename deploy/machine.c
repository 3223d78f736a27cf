// This machine, as /proc and /sys describe it: memory, of which a control group (a container, a job
// of a cluster) may allow less, and the CPU's name.
//
// `troupe devices` prints it, `troupe check` compares a recipe's needs with it.
#include "deploy/machine.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/// A file below root, which stands for "/". NULL: it cannot be opened.
static FILE *open_under(const char *root, const char *path)
{
    char *whole = tr_format("%s%s", root, path);
    FILE *file = fopen(whole, "r");
    free(whole);
    return file;
}

/// MemAvailable and not MemFree: the page cache can be given up.
static tr_status whole_machine(size_t *total, size_t *available, const char *root, tr_error_t *err)
{
    char line[256];
    unsigned long long kibibytes;
    FILE *file = open_under(root, "/proc/meminfo");
    if (file == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot read '%s/proc/meminfo': %s", root, strerror(errno));
    }
    *total = *available = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        // the values are in KiB
        if (sscanf(line, "MemTotal: %llu", &kibibytes) == 1) {
            *total = (size_t)kibibytes << 10;
        } else if (sscanf(line, "MemAvailable: %llu", &kibibytes) == 1) {
            *available = (size_t)kibibytes << 10;
        }
    }
    fclose(file);
    // a /proc without them is no Linux that Troupe knows
    return *total > 0 && *available > 0
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "'/proc/meminfo' has no MemTotal and MemAvailable");
}

/// The number in a file of a control group; SIZE_MAX where there is none, or "max".
static size_t group_number(const char *root, const char *group, const char *name)
{
    unsigned long long number;
    char *path = tr_format("%s/%s", group, name);
    FILE *file = open_under(root, path);
    bool read = file != NULL && fscanf(file, "%llu", &number) == 1;
    if (file != NULL) {
        fclose(file);
    }
    free(path);
    return read ? (size_t)number : SIZE_MAX;
}

/// Bytes of the group's page cache that the kernel would give up first.
static size_t group_cache(const char *root, const char *group, const char *key)
{
    char line[256], format[64];
    unsigned long long bytes = 0;
    char *path = tr_format("%s/memory.stat", group);
    FILE *file = open_under(root, path);
    snprintf(format, sizeof format, "%s %%llu", key);
    while (file != NULL && fgets(line, sizeof line, file) != NULL &&
           sscanf(line, format, &bytes) != 1) {
    }
    if (file != NULL) {
        fclose(file);
    }
    free(path);
    return (size_t)bytes;
}

/// The two versions of control groups: where they are mounted and how their files are called.
typedef struct hierarchy {
    const char *mount, *limit, *usage, *cache;
} hierarchy_t;

static const hierarchy_t v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                               "memory.usage_in_bytes", "total_inactive_file"},
                         v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

static void lower(size_t *value, size_t bound)
{
    *value = bound < *value ? bound : *value;
}

/// Every group from path up to the root bounds its members. In a container path may be the host's,
/// and only the root is there.
static void bound_by_groups(size_t *total, size_t *available, const char *root,
                            const hierarchy_t *h, const char *path)
{
    const size_t machine = *total;
    char *group = tr_format("%s%s", h->mount, path);
    while (strlen(group) >= strlen(h->mount)) {
        size_t limit = group_number(root, group, h->limit);
        size_t usage = group_number(root, group, h->usage);
        // v1 writes a number near 2^63 where there is no limit: no machine has it
        if (limit < machine && usage != SIZE_MAX) {
            size_t cache = group_cache(root, group, h->cache);
            size_t used = usage > cache ? usage - cache : 0;
            lower(available, limit > used ? limit - used : 0);
        }
        lower(total, limit);
        char *slash = strrchr(group, '/');
        *slash = '\0';
    }
    free(group);
}

/// This process's groups, as /proc tells: "0::PATH" of version 2, "N:memory:PATH" of version 1.
static void bound_by_group(size_t *total, size_t *available, const char *root)
{
    char line[4096], *path;
    FILE *file = open_under(root, "/proc/self/cgroup");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3) == 0) {
            bound_by_groups(total, available, root, &v2, line + 3);
        } else if ((path = strstr(line, ":memory:")) != NULL) {
            bound_by_groups(total, available, root, &v1, path + strlen(":memory:"));
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

tr_status machine_memory_under(size_t *total, size_t *available, const char *root, tr_error_t *err)
{
    TR_TRY(whole_machine(total, available, root, err));
    bound_by_group(total, available, root);
    return TR_OK;
}

tr_status machine_memory(size_t *total, size_t *available, tr_error_t *err)
{
    return machine_memory_under(total, available, "", err);
}

tr_status machine_shared_memory(size_t *available, tr_error_t *err)
{
    struct statvfs space;
    if (statvfs("/dev/shm", &space) != 0) {
        return tr_fail(err, TR_ERR_IO, "there is no shared memory, '/dev/shm': %s",
                       strerror(errno));
    }
    *available = (size_t)space.f_bavail * (size_t)space.f_frsize;
    return TR_OK;
}

/// Of all control groups together: the counter of one's own is not visible in every container.
unsigned long long machine_memory_kills(const char *path)
{
    char line[256];
    unsigned long long kills = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL &&
           sscanf(line, "oom_kill %llu", &kills) != 1) {
    }
    if (file != NULL) {
        fclose(file);
    }
    return kills;
}

/// For people; nothing depends on it.
void machine_cpu_model(char *text, size_t size)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(text, size, "unknown");
    // the first processor's name: all are alike on the machines that Troupe supports
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (colon != NULL && colon[1] == ' ') {
            line[strcspn(line, "\n")] = '\0';
            snprintf(text, size, "%s", colon + 2);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}
