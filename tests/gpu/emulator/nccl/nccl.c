/// NCCL of the emulator (nccl.h says how, and what it cannot show). Calls are collected until their
/// group ends and then started together as messages of MPI, so a caller that would deadlock without
/// a group is refused instead.
#include "nccl.h"

#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/status.h"

enum { CALLS_MOST = 1024 };

typedef enum kind { SEND, RECEIVE, BROADCAST, REDUCE } kind_t;

typedef struct call {
    kind_t kind;
    const void *from;
    void *into;
    int count; // of elements of `type`
    MPI_Datatype type;
    int peer; // or root
} call_t;

struct ncclComm {
    MPI_Comm group;
    int rank, size;
    size_t count;
    call_t calls[CALLS_MOST]; // of the group that has begun
};

static int depth;       // of groups that have begun
static ncclComm_t used; // by the calls of this group
static char last_error[256];

/// A failure with its sentence.
static ncclResult_t refuse(ncclResult_t result, const char *sentence)
{
    snprintf(last_error, sizeof last_error, "%s", sentence);
    return result;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclSuccess ? "no error" : "the emulated NCCL refuses";
}

const char *ncclGetLastError(ncclComm_t communicator)
{
    (void)communicator;
    return last_error;
}

// Communicators

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static int number;
    snprintf(id->internal, sizeof id->internal, "group %d", ++number);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *communicator, int ranks, ncclUniqueId id, int rank)
{
    ncclUniqueId first = id;
    ncclComm_t self = tr_calloc(1, sizeof *self);
    MPI_Comm_dup(MPI_COMM_WORLD, &self->group);
    MPI_Comm_rank(self->group, &self->rank);
    MPI_Comm_size(self->group, &self->size);
    MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, self->group);
    *communicator = self;
    if (id.internal[0] == '\0' || memcmp(&first, &id, sizeof id) != 0) {
        return refuse(ncclInvalidArgument, "a rank has another group's name");
    }
    return ranks == self->size && rank == self->rank
               ? ncclSuccess
               : refuse(ncclInvalidArgument, "a rank is not the one that MPI started");
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t *result)
{
    (void)communicator;
    *result = ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t communicator)
{
    MPI_Comm_free(&communicator->group);
    free(communicator);
    return ncclSuccess;
}

// Groups of calls

/// One call as a message of MPI. A broadcast is in place in MPI, so the root copies first.
static void start(const call_t *call, MPI_Comm group, int rank, MPI_Request *request)
{
    switch (call->kind) {
    case SEND: MPI_Isend(call->from, call->count, call->type, call->peer, 0, group, request); break;
    case RECEIVE:
        MPI_Irecv(call->into, call->count, call->type, call->peer, 0, group, request);
        break;
    case BROADCAST:
        if (rank == call->peer && call->into != call->from) {
            memcpy(call->into, call->from, (size_t)call->count);
        }
        MPI_Ibcast(call->into, call->count, call->type, call->peer, group, request);
        break;
    case REDUCE:
        MPI_Ireduce(call->from, call->into, call->count, call->type, MPI_SUM, call->peer, group,
                    request);
        break;
    }
}

/// Starts the group's calls and waits. It sleeps between polls, so that there may be more ranks
/// than processors.
static void run(ncclComm_t self)
{
    MPI_Request requests[CALLS_MOST];
    int done = 0;
    for (size_t i = 0; i < self->count; i++) {
        start(&self->calls[i], self->group, self->rank, &requests[i]);
    }
    for (int turn = 0; done == 0; turn++) {
        MPI_Testall((int)self->count, requests, &done, MPI_STATUSES_IGNORE);
        if (done == 0 && turn < 100) {
            sched_yield();
        } else if (done == 0) {
            nanosleep(&(struct timespec){0, 50000}, NULL);
        }
    }
    self->count = 0; // NOLINT(*MPI-Checker): MPI_Testall was the wait
}

ncclResult_t ncclGroupStart(void)
{
    depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (depth == 0) {
        return refuse(ncclInvalidUsage, "a group ends that has not begun");
    }
    if (--depth == 0 && used != NULL) {
        run(used);
        used = NULL;
    }
    return ncclSuccess;
}

/// Keeps a call for the end of its group.
static ncclResult_t add(ncclComm_t self, call_t call, size_t count, ncclDataType_t type)
{
    if (depth == 0 || (used != NULL && used != self)) {
        return refuse(ncclInvalidUsage, "the emulator runs the calls of one group only");
    }
    if (self->count == CALLS_MOST || count > 1 << 30) {
        return refuse(ncclInvalidUsage, "more than the emulator takes");
    }
    if (call.peer < 0 || call.peer >= self->size) {
        return refuse(ncclInvalidArgument, "a rank that is none");
    }
    call.count = (int)count;
    call.type = type == ncclFloat ? MPI_FLOAT : MPI_BYTE;
    self->calls[self->count++] = call;
    used = self;
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int to,
                      ncclComm_t communicator, cudaStream_t stream)
{
    (void)stream;
    return add(communicator, (call_t){.kind = SEND, .from = data, .peer = to}, count, type);
}

ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int from,
                      ncclComm_t communicator, cudaStream_t stream)
{
    (void)stream;
    return add(communicator, (call_t){.kind = RECEIVE, .into = data, .peer = from}, count, type);
}

ncclResult_t ncclBroadcast(const void *from, void *into, size_t count, ncclDataType_t type,
                           int root, ncclComm_t communicator, cudaStream_t stream)
{
    (void)stream;
    if (type != ncclChar) {
        return refuse(ncclInvalidArgument, "the emulator broadcasts bytes");
    }
    return add(communicator, (call_t){.kind = BROADCAST, .from = from, .into = into, .peer = root},
               count, type);
}

ncclResult_t ncclReduce(const void *from, void *into, size_t count, ncclDataType_t type,
                        ncclRedOp_t operation, int root, ncclComm_t communicator,
                        cudaStream_t stream)
{
    (void)stream;
    if (type != ncclFloat || operation != ncclSum) {
        return refuse(ncclInvalidArgument, "the emulator adds f32");
    }
    if (into == NULL && communicator->rank == root) {
        return refuse(ncclInvalidArgument, "a root that wants no result");
    }
    return add(communicator, (call_t){.kind = REDUCE, .from = from, .into = into, .peer = root},
               count, type);
}
