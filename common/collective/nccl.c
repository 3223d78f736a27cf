/// The group over NCCL: the module troupe-nccl.so, loaded by ranks that compute on a GPU each.
///
/// Host bytes go over MPI, through the module troupe-mpi.so in the same folder: mpirun starts the
/// ranks in any case. Vectors in device memory go by NCCL in the queue's own stream, after the
/// operators that write them and before those that read them, so the host waits only once, when the
/// communicator is made. That happens at the first operation, because only then the GPU is known.
/// Exchange and share move bytes; reduce is NCCL's sum, in NCCL's order. Where a call of NCCL
/// fails, a sentence goes to standard error and the group ends.
#include <dlfcn.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/collective/collective.h"

/// The extension of a group over MPI.
typedef struct nccl {
    tr_collective_ops_t ops;         // MPI's for host bytes, NCCL's for vectors
    const tr_collective_ops_t *host; // MPI's own
    tr_backend_t *backend;           // whose GPU the communicator uses; NULL: there is none yet
    ncclComm_t communicator;         // one GPU a rank
} nccl_t;

// Calls of NCCL

/// Ends the group when a call failed. what: a few words for the sentence. No status is returned, as
/// the operations have none: after a failure the other ranks would wait for this one for ever.
static void check(tr_collective_t *group, ncclResult_t result, const char *what)
{
    const nccl_t *self = group->extension;
    if (result != ncclSuccess) {
        fprintf(stderr, "rank %zu: NCCL failed (%s): %s: %s\n", group->rank, what,
                ncclGetErrorString(result), ncclGetLastError(self->communicator));
        group->ops->abort(group, tr_status_exit_code(TR_ERR_PEER));
    }
}

/// Makes the communicator for the GPU that is the calling thread's; all ranks make it together.
/// Rank 0's id, sent to all over MPI, tells them where to meet.
static void connect_ranks(tr_collective_t *group, tr_backend_t *backend)
{
    nccl_t *self = group->extension;
    ncclUniqueId id = {{0}};
    if (group->rank == 0) {
        check(group, ncclGetUniqueId(&id), "naming the group");
    }
    group->ops->broadcast(group, &id, sizeof id);
    check(group, ncclCommInitRank(&self->communicator, (int)group->size, id, (int)group->rank),
          "joining the group");
    self->backend = backend;
}

/// Starts a group of calls, which NCCL runs as one operation at `end`. Without the group, a send
/// would wait for its receive, and ranks that all send first would wait for each other for ever.
static cudaStream_t begin(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue)
{
    const nccl_t *self = group->extension;
    ncclResult_t before = ncclSuccess;
    // Also makes the queue's GPU the calling thread's, which NCCL computes on.
    cudaStream_t stream = backend->ops->stream(queue);
    if (self->backend == NULL) {
        connect_ranks(group, backend);
    }
    TR_ASSERT(self->backend == backend, "a collective moves vectors of one backend");
    // Operations fail asynchronously; an earlier failure is reported here, before more is enqueued.
    check(group, ncclCommGetAsyncError(self->communicator, &before), "asking for errors");
    check(group, before, "in an earlier operation");
    check(group, ncclGroupStart(), "beginning an operation");
    return stream;
}

static void end(tr_collective_t *group)
{
    check(group, ncclGroupEnd(), "starting an operation");
}

// Vectors in device memory. Ranks' parts differ in size, which ncclAllGather and ncclReduceScatter
// do not allow; hence a group of sends, broadcasts or reductions, one a rank.

static void nccl_exchange(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                          const tr_tensor_t *received, const tr_tensor_t *sent)
{
    const nccl_t *self = group->extension;
    size_t own = group->rank;
    cudaStream_t stream = begin(group, backend, queue);
    for (size_t r = 0; r < group->size; r++) {
        if (r != own && sent[r].columns > 0) {
            check(group,
                  ncclSend(backend->ops->address(sent[r]), tr_tensor_bytes(sent[r]), ncclChar,
                           (int)r, self->communicator, stream),
                  "sending");
        }
        if (r != own && received[r].columns > 0) {
            check(group,
                  ncclRecv(backend->ops->address(received[r]), tr_tensor_bytes(received[r]),
                           ncclChar, (int)r, self->communicator, stream),
                  "receiving");
        }
    }
    end(group);
    // The own part does not travel; the backend copies it, in the same stream.
    if (sent[own].columns > 0) {
        backend->ops->copy(queue, received[own], sent[own]);
    }
}

static void nccl_share(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                       const tr_tensor_t *parts)
{
    const nccl_t *self = group->extension;
    cudaStream_t stream = begin(group, backend, queue);
    for (size_t r = 0; r < group->size; r++) {
        if (parts[r].columns > 0) {
            // In place: rank r's part is the source on r and the destination elsewhere.
            void *part = backend->ops->address(parts[r]);
            check(group,
                  ncclBroadcast(part, part, tr_tensor_bytes(parts[r]), ncclChar, (int)r,
                                self->communicator, stream),
                  "sharing");
        }
    }
    end(group);
}

static void nccl_reduce(tr_collective_t *group, tr_backend_t *backend, tr_queue_t *queue,
                        tr_tensor_t sum, const tr_tensor_t *parts)
{
    const nccl_t *self = group->extension;
    cudaStream_t stream = begin(group, backend, queue);
    for (size_t r = 0; r < group->size; r++) {
        if (parts[r].columns > 0) {
            // Rank r gets the sum of all ranks' parts[r]; the others' destination is not used.
            void *into = r == group->rank ? backend->ops->address(sum) : NULL;
            check(group,
                  ncclReduce(backend->ops->address(parts[r]), into, parts[r].columns, ncclFloat,
                             ncclSum, (int)r, self->communicator, stream),
                  "adding up");
        }
    }
    end(group);
}

// Life cycle

static const char NAME[] = "nccl";

static void nccl_close(tr_collective_t **collective)
{
    tr_collective_t *group = *collective;
    nccl_t *self = group->extension;
    // Never made where no vector was moved.
    if (self->backend != NULL) {
        check(group, ncclCommDestroy(self->communicator), "closing");
    }
    group->ops = self->host;
    group->ops->close(collective);
    free(self);
}

/// The path of troupe-mpi.so, in the folder of this module. Owned by the caller (free).
static char *path_of_mpi(void)
{
    Dl_info here;
    int found = dladdr(NAME, &here);
    TR_ASSERT(found != 0, "a module that was not loaded");
    const char *slash = strrchr(here.dli_fname, '/');
    size_t folder = slash != NULL ? (size_t)(slash - here.dli_fname) + 1 : 0;
    return tr_format("%.*stroupe-mpi.so", (int)folder, here.dli_fname);
}

__attribute__((visibility("default"))) tr_status tr_collective_module(tr_collective_t **collective,
                                                                      tr_error_t *err);

/// Joins the group over MPI, and replaces what moves vectors.
tr_status tr_collective_module(tr_collective_t **collective, tr_error_t *err)
{
    char *path = path_of_mpi();
    tr_status status = tr_collective_join(collective, path, err);
    free(path);
    TR_TRY(status);
    tr_collective_t *group = *collective;
    nccl_t *self = tr_calloc(1, sizeof *self);
    self->host = group->ops;
    // The group keeps its rank and size, which are the same over both libraries.
    self->ops = *group->ops;
    self->ops.name = NAME;
    self->ops.device = "cuda";
    self->ops.close = nccl_close;
    self->ops.exchange = nccl_exchange;
    self->ops.share = nccl_share;
    self->ops.reduce = nccl_reduce;
    group->ops = &self->ops;
    group->extension = self;
    return TR_OK;
}
