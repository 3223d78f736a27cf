// Reads the device of a welcome and opens it; every daemon that holds a model does.
//
// Separate from common/tensor/device.c, which knows devices and no messages.
#include "proto/device.h"

#include <stdlib.h>
#include <string.h>

#include "proto/body.h"

enum { DEVICES_MOST = 1024, GIB_MOST = 1 << 20 };

/// *name: borrowed from config. A list is dealt by the worker's number, again from its begin where
/// there are more workers than devices.
static tr_status read_name(const char **name, const json_t *config, size_t number, tr_error_t *err)
{
    json_t *list;
    *name = "cpu";
    if (json_object_get(config, "device") == NULL) {
        return TR_OK;
    }
    if (!json_is_array(json_object_get(config, "device"))) {
        return tr_body_string(name, config, "device", "welcome", err);
    }
    // number is below the number of workers, so each device gets as many of them as any other, or
    // one more.
    TR_TRY(tr_body_array(&list, config, "device", DEVICES_MOST, "welcome", err));
    size_t count = json_array_size(list);
    *name = count == 0 ? NULL : json_string_value(json_array_get(list, number % count));
    return *name != NULL ? TR_OK
                         : tr_fail(err, TR_ERR_PROTOCOL,
                                   "welcome: device: expected a name, or a list of names");
}

/// The keys of a GPU. They are read for a CPU too, where they change nothing: a malformed config is
/// refused on every device.
static tr_status read_options(tr_device_options_t *options, const json_t *config, tr_error_t *err)
{
    // Absent keys keep these defaults: a recipe without GPUs does not send them.
    double memory = 0.0;
    const char *precision = "auto";
    if (json_object_get(config, "precision") != NULL) {
        TR_TRY(tr_body_string(&precision, config, "precision", "welcome", err));
    }
    if (json_object_get(config, "memory") != NULL) {
        TR_TRY(tr_body_real(&memory, config, "memory", "welcome", err));
    }
    if (memory < 0.0 || memory > GIB_MOST) {
        return tr_fail(err, TR_ERR_PROTOCOL, "welcome: memory: expected GiB from 0 to %d, found %g",
                       GIB_MOST, memory);
    }
    options->memory = (size_t)(memory * 0x1p30);
    return tr_precision_parse(&options->precision, precision, err);
}

/// The command line decides over the config only in the number of threads: whoever starts a worker
/// by hand knows the machine it runs on.
tr_status tr_device_open(tr_backend_t **backend, const json_t *config, size_t threads,
                         size_t number, tr_error_t *err)
{
    tr_device_options_t options = {.threads = threads};
    int64_t asked;
    *backend = NULL;
    // Read even where the command line has other threads: a config without them is malformed.
    TR_TRY(tr_body_integer(&asked, config, "threads", 0, 4096, "welcome", err));
    TR_TRY(read_name(&options.device, config, number, err));
    TR_TRY(read_options(&options, config, err));
    options.threads = threads > 0 ? threads : (size_t)asked;
    return tr_backend_open(backend, &options, err);
}

/// The names are made by the supervisor ("rollout-3"). A worker that was started by hand under
/// another name counts as number 0, and takes the first device of the list.
size_t tr_device_worker_number(const char *name)
{
    const char *dash = name != NULL ? strrchr(name, '-') : NULL;
    return dash != NULL ? (size_t)strtoul(dash + 1, NULL, 10) : 0;
}
