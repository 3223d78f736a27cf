// This machine, as /proc describes it: memory and the CPU's name.
//
// `troupe devices` prints it, `troupe check` compares a recipe's needs with it.
#include "deploy/machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/// MemAvailable and not MemFree: the page cache can be given up.
tr_status machine_memory(size_t *total, size_t *available, tr_error_t *err)
{
    char line[256];
    unsigned long long kibibytes;
    FILE *file = fopen("/proc/meminfo", "r");
    if (file == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot read '/proc/meminfo': %s", strerror(errno));
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
