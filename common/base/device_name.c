/// Parsing of device names (device_name.h). It is apart from common/tensor/device.c because the
/// recipe's checks need the names and must not know tensors.
#include "common/base/device_name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// far more than one machine has: a larger number is a typing mistake
enum { MOST_DEVICES = 1024 };

// in the order of tr_precision_t: a field of choices holds the index
const char *const tr_precision_names[] = {"auto", "bf16", "fp32", NULL};

/// *index: the GPU's, or -1 for the CPU. False for a text that names no device.
static bool parse(const char *name, long *index)
{
    static const char prefix[] = "cuda";
    *index = -1;
    if (strcmp(name, "cpu") == 0) {
        return true;
    }
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) {
        return false;
    }
    const char *rest = name + sizeof prefix - 1;
    if (*rest == '\0') {
        *index = 0;
        return true;
    }
    // Digits only, without sign or leading zeros: each device has one spelling, apart from "cuda"
    // for "cuda:0".
    if (rest[0] != ':' || rest[1] < '0' || rest[1] > '9' || (rest[1] == '0' && rest[2] != '\0')) {
        return false;
    }
    // strtol saturates at a number that is too long, and says so by errno alone
    char *end;
    errno = 0;
    *index = strtol(rest + 1, &end, 10);
    return *end == '\0' && errno == 0 && *index < MOST_DEVICES;
}

bool tr_device_is_name(const char *name)
{
    long index;
    return parse(name, &index);
}

/// -1 stands for the CPU and for what names no device: neither is a GPU.
bool tr_device_is_gpu(const char *name)
{
    return tr_device_index(name) >= 0;
}

long tr_device_index(const char *name)
{
    long index;
    return parse(name, &index) ? index : -1;
}

/// Of names that were checked before: two texts that name no device have the same index.
bool tr_device_is_same(const char *name, const char *other)
{
    return tr_device_index(name) == tr_device_index(other);
}
