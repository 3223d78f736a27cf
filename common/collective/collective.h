/// A group of processes that compute as one: its ranks, and what they say to each other.
///
/// Trainer and optimizer know this table, never a library behind it. A module (a shared object beside the programs) fills it:
/// troupe-mpi between processes on CPUs, troupe-nccl between processes on a GPU each. Every rank calls the same operations in the same order with the same sizes. An
/// operation cannot fail on one rank alone, so none returns a status: where the library fails, the whole group ends with a
/// sentence, and whoever started it starts it again. A collective belongs to one thread at a time.
#ifndef TR_COLLECTIVE_COLLECTIVE_H
#define TR_COLLECTIVE_COLLECTIVE_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/tensor/backend.h"

typedef struct tr_collective tr_collective_t;

typedef struct tr_collective_ops {
    const char *name;   ///< "mpi", "nccl"
    const char *device; ///< the name of the backend whose vectors it moves: "cpu", "cuda"
    /// All ranks call it; afterwards the process can open no other.
    void (*close)(tr_collective_t **collective);

    // Bytes of the host. Whoever waits sleeps: ranks with nothing to do cost no processor.
    /// data: [bytes], rank 0's, to all.
    void (*broadcast)(tr_collective_t *collective, void *data, size_t bytes);
    /// Bytes starts[r]..starts[r+1]-1 of data are rank r's, to all. starts: [size + 1], the same everywhere.
    void (*gather)(tr_collective_t *collective, void *data, const size_t *starts);
    /// From one rank to another, which receives it.
    void (*send)(tr_collective_t *collective, const void *data, size_t bytes, size_t to);
    void (*receive)(tr_collective_t *collective, void *data, size_t bytes, size_t from);
    /// True once all ranks are here; false, after which only abort may follow, when that took longer than `seconds`.
    bool (*meet)(tr_collective_t *collective, double seconds);
    /// Ends every process of the group.
    __attribute__((noreturn)) void (*abort)(tr_collective_t *collective, int exit_code);

    // Vectors of the device, of one backend in a collective's life. A tensor with no columns stands for nothing. Between GPUs
    // these are enqueued as operators are, and nobody waits; on CPUs they are done on return.
    /// received[r] is written with the sent[own rank] of rank r. Both: [size].
    void (*exchange)(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                     const tr_tensor_t *received, const tr_tensor_t *sent);
    /// parts[r] of rank r, to all; parts: [size], which together are often one vector.
    void (*share)(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                  const tr_tensor_t *parts);
    /// f32: sum is written with the sum over all ranks of their parts[own rank], in an order of the library's; parts: [size].
    void (*reduce)(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                   tr_tensor_t sum, const tr_tensor_t *parts);
} tr_collective_ops_t;

/// A module's own structure begins with this one.
struct tr_collective {
    const tr_collective_ops_t *ops;
    size_t rank;
    size_t size;
};

/// What a module exports under the name tr_collective_module: joins the group that this process was started in.
typedef tr_status (*tr_collective_module_fn)(tr_collective_t **collective, tr_error_t *err);

/// Loads the module `name` ("mpi", "nccl") and joins the group, which must be of `ranks` processes. Fails where the build has no
/// such module, and where the process was started in another group. directory: as of tr_collective_path.
tr_status tr_collective_open(tr_collective_t **collective, const char *name, const char *directory,
                             size_t ranks, tr_error_t *err);
/// The same by the module's path, whatever the group's size: for a module that speaks by another one.
tr_status tr_collective_join(tr_collective_t **collective, const char *path, tr_error_t *err);
/// *collective may be NULL.
void tr_collective_close(tr_collective_t **collective);

/// NULL is a group of one.
size_t tr_collective_rank(const tr_collective_t *collective);
size_t tr_collective_size(const tr_collective_t *collective);

/// Whether the vectors that the backend computes with are such as the collective moves; NULL moves none.
tr_status tr_collective_check(const tr_collective_t *collective, const tr_backend_t *backend,
                              tr_error_t *err);

/// The path of the module `name` in `directory` (NULL: where this program lies), whether it is there or not; of "nccl" what the
/// environment's TROUPE_NCCL_MODULE says, if anything. Owned by the caller (free).
char *tr_collective_path(const char *name, const char *directory);

#endif
