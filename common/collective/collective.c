/// Loading the module of a group of ranks, and questions about a group that may be absent
/// (collective.h).
///
/// The program links neither MPI nor NCCL: a run with one rank a role must start without them, and
/// on machines that lack them.
#include "common/collective/collective.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"

char *tr_collective_path(const char *name, const char *directory)
{
    // For tests, whose emulated NCCL is built elsewhere.
    const char *wanted = strcmp(name, "nccl") == 0 ? getenv("TROUPE_NCCL_MODULE") : NULL;
    if (wanted != NULL && wanted[0] != '\0') {
        return tr_strdup(wanted);
    }
    char *own = tr_directory_of_program();
    if (directory == NULL) {
        directory = own != NULL ? own : ".";
    }
    char *path = tr_format("%s/troupe-%s.so", directory, name);
    free(own);
    return path;
}

/// The module is loaded for good: an MPI that was closed cannot be started again.
tr_status tr_collective_join(tr_collective_t **collective, const char *path, tr_error_t *err)
{
    tr_collective_module_fn join;
    *collective = NULL;
    // RTLD_GLOBAL: Open MPI loads plug-ins that look for MPI's symbols among the global ones.
    void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    // Both modules export the same name, so they are told apart by their paths.
    void *symbol = module != NULL ? dlsym(module, "tr_collective_module") : NULL;
    if (symbol == NULL) {
        return tr_fail(err, TR_ERR_UNSUPPORTED, "ranks need a module that cannot be loaded: %s",
                       dlerror());
    }
    // ISO C has no cast from an object pointer to a function pointer.
    memcpy(&join, &symbol, sizeof join);
    return join(collective, err);
}

tr_status tr_collective_open(tr_collective_t **collective, const char *name, const char *directory,
                             size_t ranks, tr_error_t *err)
{
    char *path = tr_collective_path(name, directory);
    tr_status status = tr_collective_join(collective, path, err);
    free(path);
    TR_TRY(status);
    // mpirun decides the number of processes and the recipe the number of ranks; a mismatch is a
    // mistake in how the program was started, and must not become a run with other batch sizes.
    size_t size = (*collective)->size;
    if (size != ranks) {
        tr_collective_close(collective);
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "a group of %zu processes where %zu ranks were asked for (start it with: "
                       "mpirun -n %zu)",
                       size, ranks, ranks);
    }
    return TR_OK;
}

/// The group's own function frees it and writes NULL.
void tr_collective_close(tr_collective_t **collective)
{
    if (*collective != NULL) {
        (*collective)->ops->close(collective);
    }
}

// One process is no group, so that a run without ranks needs no module: callers ask these two.
size_t tr_collective_rank(const tr_collective_t *collective)
{
    return collective == NULL ? 0 : collective->rank;
}

size_t tr_collective_size(const tr_collective_t *collective)
{
    return collective == NULL ? 1 : collective->size;
}

tr_status tr_collective_check(const tr_collective_t *collective, const tr_backend_t *backend,
                              tr_error_t *err)
{
    // By name, since a backend's table may lie in another module.
    if (collective == NULL || strcmp(collective->ops->device, backend->ops->name) == 0) {
        return TR_OK;
    }
    return tr_fail(
        err, TR_ERR_ARGUMENT,
        "ranks that communicate over %s compute on '%s', and this one was given '%s': ranks on "
        "GPUs are started with --gpus, those on CPUs without",
        collective->ops->name, collective->ops->device, backend->ops->name);
}
