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

typedef struct nccl {
    tr_collective_t base;
    tr_collective_t *host;   // the same group over MPI
    tr_backend_t *backend;   // whose GPU the communicator uses; NULL: there is none yet
    ncclComm_t communicator; // one GPU a rank
} nccl_t;

// Bytes in host memory: all calls go to the MPI module

static tr_collective_t *host_of(tr_collective_t *collective)
{
    return ((nccl_t *)collective)->host;
}

static void nccl_broadcast(tr_collective_t *collective, void *data, size_t bytes)
{
    tr_collective_t *host = host_of(collective);
    host->ops->broadcast(host, data, bytes);
}

static void nccl_gather(tr_collective_t *collective, void *data, const size_t *starts)
{
    tr_collective_t *host = host_of(collective);
    host->ops->gather(host, data, starts);
}

static void nccl_send(tr_collective_t *collective, const void *data, size_t bytes, size_t to)
{
    tr_collective_t *host = host_of(collective);
    host->ops->send(host, data, bytes, to);
}

static void nccl_receive(tr_collective_t *collective, void *data, size_t bytes, size_t from)
{
    tr_collective_t *host = host_of(collective);
    host->ops->receive(host, data, bytes, from);
}

static bool nccl_meet(tr_collective_t *collective, double seconds)
{
    tr_collective_t *host = host_of(collective);
    return host->ops->meet(host, seconds);
}

__attribute__((noreturn)) static void nccl_abort(tr_collective_t *collective, int exit_code)
{
    tr_collective_t *host = host_of(collective);
    host->ops->abort(host, exit_code);
}

// Calls of NCCL

/// Ends the group when a call failed. what: a few words for the sentence. No status is returned, as
/// the operations have none: after a failure the other ranks would wait for this one for ever.
static void check(nccl_t *self, ncclResult_t result, const char *what)
{
    if (result != ncclSuccess) {
        fprintf(stderr, "rank %zu: NCCL failed (%s): %s: %s\n", self->base.rank, what,
                ncclGetErrorString(result), ncclGetLastError(self->communicator));
        nccl_abort(&self->base, tr_status_exit_code(TR_ERR_PEER));
    }
}

/// Makes the communicator for the GPU that is the calling thread's; all ranks make it together.
/// Rank 0's id, sent to all over MPI, tells them where to meet.
static void connect_ranks(nccl_t *self, tr_backend_t *backend)
{
    ncclUniqueId id = {{0}};
    if (self->base.rank == 0) {
        check(self, ncclGetUniqueId(&id), "naming the group");
    }
    nccl_broadcast(&self->base, &id, sizeof id);
    check(self,
          ncclCommInitRank(&self->communicator, (int)self->base.size, id, (int)self->base.rank),
          "joining the group");
    self->backend = backend;
}

/// Starts a group of calls, which NCCL runs as one operation at `end`. Without the group, a send
/// would wait for its receive, and ranks that all send first would wait for each other for ever.
static cudaStream_t begin(nccl_t *self, tr_backend_t *backend, tr_queue_t *queue)
{
    ncclResult_t before = ncclSuccess;
    cudaStream_t stream = backend->ops->stream(queue);
    if (self->backend == NULL) {
        connect_ranks(self, backend);
    }
    TR_ASSERT(self->backend == backend, "a collective moves vectors of one backend");
    // Operations fail asynchronously; an earlier failure is reported here, before more is enqueued.
    check(self, ncclCommGetAsyncError(self->communicator, &before), "asking for errors");
    check(self, before, "in an earlier operation");
    check(self, ncclGroupStart(), "beginning an operation");
    return stream;
}

static void end(nccl_t *self)
{
    check(self, ncclGroupEnd(), "starting an operation");
}

// Vectors in device memory. Ranks' parts differ in size, which ncclAllGather and ncclReduceScatter
// do not allow; hence a group of sends, broadcasts or reductions, one a rank.

static void *address(const nccl_t *self, tr_tensor_t tensor)
{
    return self->backend->ops->address(tensor);
}

static void nccl_exchange(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                          const tr_tensor_t *received, const tr_tensor_t *sent)
{
    nccl_t *self = (nccl_t *)collective;
    size_t own = collective->rank;
    cudaStream_t stream = begin(self, backend, queue);
    for (size_t r = 0; r < collective->size; r++) {
        if (r != own && sent[r].columns > 0) {
            check(self,
                  ncclSend(address(self, sent[r]), tr_tensor_bytes(sent[r]), ncclChar, (int)r,
                           self->communicator, stream),
                  "sending");
        }
        if (r != own && received[r].columns > 0) {
            check(self,
                  ncclRecv(address(self, received[r]), tr_tensor_bytes(received[r]), ncclChar,
                           (int)r, self->communicator, stream),
                  "receiving");
        }
    }
    end(self);
    // The own part does not travel; the backend copies it, in the same stream.
    if (sent[own].columns > 0) {
        backend->ops->copy(queue, received[own], sent[own]);
    }
}

static void nccl_share(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                       const tr_tensor_t *parts)
{
    nccl_t *self = (nccl_t *)collective;
    cudaStream_t stream = begin(self, backend, queue);
    for (size_t r = 0; r < collective->size; r++) {
        if (parts[r].columns > 0) {
            // In place: rank r's part is the source on r and the destination elsewhere.
            void *part = address(self, parts[r]);
            check(self,
                  ncclBroadcast(part, part, tr_tensor_bytes(parts[r]), ncclChar, (int)r,
                                self->communicator, stream),
                  "sharing");
        }
    }
    end(self);
}

static void nccl_reduce(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                        tr_tensor_t sum, const tr_tensor_t *parts)
{
    nccl_t *self = (nccl_t *)collective;
    cudaStream_t stream = begin(self, backend, queue);
    for (size_t r = 0; r < collective->size; r++) {
        if (parts[r].columns > 0) {
            // Rank r gets the sum of all ranks' parts[r]; the others' destination is not used.
            void *into = r == collective->rank ? address(self, sum) : NULL;
            check(self,
                  ncclReduce(address(self, parts[r]), into, parts[r].columns, ncclFloat, ncclSum,
                             (int)r, self->communicator, stream),
                  "adding up");
        }
    }
    end(self);
}

// Life cycle

static void nccl_close(tr_collective_t **collective)
{
    nccl_t *self = (nccl_t *)*collective;
    if (self->backend != NULL) {
        check(self, ncclCommDestroy(self->communicator), "closing");
    }
    tr_collective_close(&self->host);
    free(self);
    *collective = NULL;
}

static const tr_collective_ops_t nccl_ops = {
    .name = "nccl",
    .device = "cuda",
    .close = nccl_close,
    .broadcast = nccl_broadcast,
    .gather = nccl_gather,
    .send = nccl_send,
    .receive = nccl_receive,
    .meet = nccl_meet,
    .abort = nccl_abort,
    .exchange = nccl_exchange,
    .share = nccl_share,
    .reduce = nccl_reduce,
};

/// The path of troupe-mpi.so, in the folder of this module. Owned by the caller (free).
static char *path_of_mpi(void)
{
    Dl_info here;
    int found = dladdr(&nccl_ops, &here);
    TR_ASSERT(found != 0, "a module that was not loaded");
    const char *slash = strrchr(here.dli_fname, '/');
    size_t folder = slash != NULL ? (size_t)(slash - here.dli_fname) + 1 : 0;
    return tr_format("%.*stroupe-mpi.so", (int)folder, here.dli_fname);
}

__attribute__((visibility("default"))) tr_status tr_collective_module(tr_collective_t **collective,
                                                                      tr_error_t *err);

tr_status tr_collective_module(tr_collective_t **collective, tr_error_t *err)
{
    tr_collective_t *host;
    char *path = path_of_mpi();
    tr_status status = tr_collective_join(&host, path, err);
    free(path);
    TR_TRY(status);
    nccl_t *self = tr_calloc(1, sizeof *self);
    self->base = (tr_collective_t){&nccl_ops, host->rank, host->size};
    self->host = host;
    *collective = &self->base;
    return TR_OK;
}
