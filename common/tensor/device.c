/// Opening a device by name: the CPU directly, a GPU through the module troupe-cuda.so (device.h
/// says why a module).
///
/// The only place that knows how the module is found and loaded. Programs above call
/// tr_backend_open and see the operator table.
#include "common/tensor/device.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

void tr_backend_close(tr_backend_t **backend)
{
    if (*backend != NULL) {
        (*backend)->ops->close(*backend);
        *backend = NULL;
    }
}

/// The module's path, owned by the caller: from the environment, else beside this program.
static tr_status module_path(char **path, tr_error_t *err)
{
    // Tests name the emulated module here.
    const char *wanted = getenv("TROUPE_CUDA_MODULE");
    if (wanted != NULL && wanted[0] != '\0') {
        *path = tr_strdup(wanted);
        return TR_OK;
    }
    char *folder = tr_directory_of_program();
    if (folder == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot tell where this program lies: %s", strerror(errno));
    }
    *path = tr_format("%s/troupe-cuda.so", folder);
    free(folder);
    // Checked first, because dlopen's own sentence for a missing file is about the loader, not
    // about the build.
    if (access(*path, F_OK) != 0) {
        tr_status status = tr_fail(
            err, TR_ERR_UNSUPPORTED,
            "this build has no GPU support ('%s' is not there): install the CUDA toolkit with "
            "cuBLAS and build again, or say 'device: cpu'",
            *path);
        free(*path);
        return status;
    }
    return TR_OK;
}

/// A function of the module. The module is never closed: backends point into it until the process
/// ends.
static tr_status module_function(void **function, const char *name, tr_error_t *err)
{
    char *path = NULL;
    TR_TRY(module_path(&path, err));
    // RTLD_NOW: a library that is missing, such as cuBLASLt, is reported here and not by a crash
    // in the middle of a step.
    // RTLD_LOCAL: the module has its own copies of status.c and tensor.c, which must not replace
    // ours.
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    *function = module != NULL ? dlsym(module, name) : NULL;
    tr_status status = *function != NULL
                           ? TR_OK
                           : tr_fail(err, TR_ERR_UNSUPPORTED,
                                     "the GPU module cannot be loaded: %s; is the CUDA toolkit "
                                     "that it was built with still installed?",
                                     dlerror());
    free(path);
    return status;
}

tr_status tr_backend_open(tr_backend_t **backend, const tr_device_options_t *options,
                          tr_error_t *err)
{
    const char *name = options->device != NULL ? options->device : "cpu";
    void *function;
    tr_cuda_open_fn *open_cuda;
    *backend = NULL;
    if (!tr_device_is_name(name)) {
        return tr_fail(err, TR_ERR_ARGUMENT, "device: expected " TR_DEVICE_NAMES ", found '%s'",
                       name);
    }
    // The CPU needs no module, so a build without CUDA has it too.
    if (!tr_device_is_gpu(name)) {
        return tr_backend_open_cpu(backend, tr_precision_type(options->precision, false),
                                   options->threads, err);
    }
    TR_TRY(module_function(&function, TR_CUDA_OPEN, err));
    // ISO C has no cast from an object pointer, which dlsym returns, to a function pointer.
    memcpy(&open_cuda, &function, sizeof open_cuda);
    return open_cuda(backend, options, (size_t)tr_device_index(name), tr_log, err);
}

tr_status tr_precision_parse(tr_precision_t *precision, const char *name, tr_error_t *err)
{
    // The words are the recipe's; tensors are named by tr_dtype_name.
    for (size_t i = 0; tr_precision_names[i] != NULL; i++) {
        if (strcmp(name, tr_precision_names[i]) == 0) {
            *precision = (tr_precision_t)i;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_ARGUMENT, "precision: expected 'auto', 'bf16' or 'fp32', found '%s'",
                   name);
}

tr_status tr_device_list(tr_device_info_t *devices, size_t limit, size_t *count, tr_error_t *err)
{
    void *function;
    tr_cuda_list_fn *list;
    *count = 0;
    TR_TRY(module_function(&function, TR_CUDA_LIST, err));
    memcpy(&list, &function, sizeof list);
    return list(devices, limit, count, err);
}
