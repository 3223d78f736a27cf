/// A group of processes that compute as one: its ranks, and the messages between them.
///
/// Trainer and optimizer know this table, never a library behind it. A module (a shared object
/// beside the programs) fills it: troupe-mpi between processes on CPUs, troupe-nccl between
/// processes on a GPU each. Every rank calls the same operations in the same order with the same
/// sizes. An operation cannot fail on one rank alone, so none returns a status: where the library
/// fails, the whole group ends with a sentence, and the supervisor starts it again. A collective
/// belongs to one thread at a time.
#ifndef TR_COLLECTIVE_COLLECTIVE_H
#define TR_COLLECTIVE_COLLECTIVE_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/tensor/backend.h"

typedef struct tr_collective tr_collective_t;

typedef struct tr_collective_ops {
    const char *name;   ///< "mpi", "nccl"
    const char *device; ///< the name of the backend whose vectors it moves: "cpu", "cuda"
    /// All ranks call it. Afterwards the process can open no other.
    void (*close)(tr_collective_t **collective);

    // Bytes in host memory. A rank sleeps while it waits: ranks with nothing to do cost no
    // processor.
    /// data: [bytes], from rank 0 to all.
    void (*broadcast)(tr_collective_t *collective, void *data, size_t bytes);
    /// Rank r sends bytes starts[r]..starts[r+1]-1 of data to all. starts: [size + 1], the same
    /// everywhere.
    void (*gather)(tr_collective_t *collective, void *data, const size_t *starts);
    /// From one rank to another, which must call receive.
    void (*send)(tr_collective_t *collective, const void *data, size_t bytes, size_t to);
    void (*receive)(tr_collective_t *collective, void *data, size_t bytes, size_t from);
    /// Waits until all ranks have called it. False after `seconds`; then only abort may follow.
    bool (*meet)(tr_collective_t *collective, double seconds);
    /// Ends every process of the group.
    __attribute__((noreturn)) void (*abort)(tr_collective_t *collective, int exit_code);

    // Vectors in device memory, always of the same backend. A tensor with no columns is skipped.
    // Between GPUs these are enqueued as operators are, and nobody waits; on CPUs they are done on
    // return.
    /// All-to-all: received[r] is written with rank r's sent[own rank]. Both: [size].
    void (*exchange)(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                     const tr_tensor_t *received, const tr_tensor_t *sent);
    /// All-gather: rank r sends parts[r] to all. parts: [size], often consecutive parts of one
    /// vector.
    void (*share)(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                  const tr_tensor_t *parts);
    /// Reduce-scatter, f32: sum is written with the sum over all ranks of their parts[own rank], in
    /// the library's order. parts: [size].
    void (*reduce)(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                   tr_tensor_t sum, const tr_tensor_t *parts);
} tr_collective_ops_t;

/// A module's own structure begins with this one. A module that builds on another one puts its own
/// table in place of that one's, and its state into `extension`.
struct tr_collective {
    const tr_collective_ops_t *ops;
    size_t rank;
    size_t size;
    void *extension; ///< NULL: none
};

/// The function that a module exports under the name tr_collective_module: joins the group that
/// this process was started in.
typedef tr_status (*tr_collective_module_fn)(tr_collective_t **collective, tr_error_t *err);

/// Loads the module `name` ("mpi", "nccl") and joins the group, which must have `ranks` processes.
/// Fails where the build has no such module, and where the group has another size. directory: as
/// for tr_collective_path.
tr_status tr_collective_open(tr_collective_t **collective, const char *name, const char *directory,
                             size_t ranks, tr_error_t *err);
/// The same by the module's path, for any size of the group: for a module that communicates through
/// another one.
tr_status tr_collective_join(tr_collective_t **collective, const char *path, tr_error_t *err);
/// *collective may be NULL.
void tr_collective_close(tr_collective_t **collective);

/// NULL is a group of one.
size_t tr_collective_rank(const tr_collective_t *collective);
size_t tr_collective_size(const tr_collective_t *collective);

/// TR_ERR_ARGUMENT unless the collective moves vectors of the backend's device. NULL, a group of
/// one, moves none and is fine.
tr_status tr_collective_check(const tr_collective_t *collective, const tr_backend_t *backend,
                              tr_error_t *err);

/// The path of the module `name` in `directory` (NULL: this program's), whether the file exists or
/// not; for "nccl" the value of the environment's TROUPE_NCCL_MODULE, if it is set. Owned by the
/// caller (free).
char *tr_collective_path(const char *name, const char *directory);

#endif
