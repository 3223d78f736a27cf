/// The group over MPI: the module troupe-mpi.so, loaded by processes that mpirun started as ranks.
///
/// It moves bytes and vectors in host memory; the CPU backend's operators have run when they
/// return, so a vector can be sent at once. Every operation is made of MPI's non-blocking calls and
/// one wait, for two reasons. MPI's own waiting keeps a processor busy; here a rank polls and
/// sleeps in between, longer where minutes may pass (a broadcast is often the next request) than
/// where all ranks are at work. And an MPI count is an int, so data goes in pieces. nccl.c uses
/// this module for host bytes.
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/collective/collective.h"

enum {
    PIECE = 1 << 28,    // bytes of a message, well below the 2^31 - 1 of an int
    EAGER = 200,        // polls before the first sleep
    WORKING_NS = 50000, // longest sleep while all ranks are at work
    IDLE_NS = 1000000   // and while there may be nothing to do
};

typedef struct mpi {
    tr_collective_t base;
    MPI_Comm group;
    // For `meet` alone: its barrier must not match a call of a rank that still works.
    MPI_Comm meeting;
    MPI_Request *requests; // [room], of which `count` are pending
    int count, room;
    float *scratch; // [floats], of mpi_reduce
    size_t floats;
} mpi_t;

// Pending messages: started by add_send and add_receive, finished by settle

static MPI_Request *add_request(mpi_t *self)
{
    // Grown by doubling, and kept: the number of pending messages depends on ranks and sizes alone.
    if (self->count == self->room) {
        self->room = 2 * self->room + 8;
        self->requests = tr_realloc(self->requests, (size_t)self->room * sizeof(MPI_Request));
    }
    return &self->requests[self->count++];
}

/// Bytes of the next piece, of `left` that remain.
static int piece_of(size_t left)
{
    return (int)(left < PIECE ? left : PIECE);
}

/// All messages have tag 0. MPI keeps the order of messages between two ranks, so pieces and
/// operations meet their partners.
static void add_send(mpi_t *self, const void *data, size_t bytes, size_t to)
{
    for (size_t at = 0; at < bytes; at += PIECE) {
        MPI_Isend((const char *)data + at, piece_of(bytes - at), MPI_BYTE, (int)to, 0, self->group,
                  add_request(self));
    }
}

static void add_receive(mpi_t *self, void *data, size_t bytes, size_t from)
{
    for (size_t at = 0; at < bytes; at += PIECE) {
        MPI_Irecv((char *)data + at, piece_of(bytes - at), MPI_BYTE, (int)from, 0, self->group,
                  add_request(self));
    }
}

/// Sleeps 1 us at the first pause and twice as long at each further one, up to 1 ms or `longest`.
static void pause_for(unsigned turn, long longest)
{
    long ns = 1000L << (turn < EAGER + 10 ? turn - EAGER : 10);
    const struct timespec rest = {0, ns < longest ? ns : longest};
    nanosleep(&rest, NULL);
}

/// Waits until all pending messages are done. False when MPI's clock passes the deadline first:
/// then they are still pending, and the memory that they use must stay.
static bool wait_all(mpi_t *self, long longest, double deadline)
{
    int done = 0;
    for (unsigned turn = 0; done == 0; turn++) {
        MPI_Testall(self->count, self->requests, &done, MPI_STATUSES_IGNORE);
        // Small messages between busy ranks arrive within these polls; sched_yield lets other ranks
        // of the same machine run.
        if (done == 0 && turn < EAGER) {
            sched_yield();
        } else if (done == 0) {
            if (MPI_Wtime() > deadline) {
                return false;
            }
            pause_for(turn, longest);
        }
    }
    self->count = 0;
    return true;
}

/// The wait of operations in which all ranks take part: no deadline.
static void finish(mpi_t *self)
{
    wait_all(self, WORKING_NS, 1e300);
}

// Bytes of the host

static void mpi_broadcast(tr_collective_t *collective, void *data, size_t bytes)
{
    mpi_t *self = (mpi_t *)collective;
    for (size_t at = 0; at < bytes; at += PIECE) {
        MPI_Ibcast((char *)data + at, piece_of(bytes - at), MPI_BYTE, 0, self->group,
                   add_request(self));
    }
    wait_all(self, IDLE_NS, 1e300);
}

/// What this rank and rank r send each other: `into` gets in_bytes, and r gets out_bytes of `from`.
/// Nothing where r is this rank.
static void add_trade(mpi_t *self, size_t r, void *into, size_t in_bytes, const void *from,
                      size_t out_bytes)
{
    if (r != self->base.rank) {
        add_receive(self, into, in_bytes, r);
        add_send(self, from, out_bytes, r);
    }
}

static void mpi_gather(tr_collective_t *collective, void *data, const size_t *starts)
{
    mpi_t *self = (mpi_t *)collective;
    const size_t own = collective->rank;
    for (size_t r = 0; r < collective->size; r++) {
        add_trade(self, r, (char *)data + starts[r], starts[r + 1] - starts[r],
                  (char *)data + starts[own], starts[own + 1] - starts[own]);
    }
    finish(self);
}

// A pair of ranks only; the others do not take part and need not call.
static void mpi_send(tr_collective_t *collective, const void *data, size_t bytes, size_t to)
{
    add_send((mpi_t *)collective, data, bytes, to);
    finish((mpi_t *)collective);
}

static void mpi_receive(tr_collective_t *collective, void *data, size_t bytes, size_t from)
{
    add_receive((mpi_t *)collective, data, bytes, from);
    finish((mpi_t *)collective);
}

static bool mpi_meet(tr_collective_t *collective, double seconds)
{
    mpi_t *self = (mpi_t *)collective;
    // After a false the barrier stays pending for ever: only abort may follow (collective.h).
    MPI_Ibarrier(self->meeting, add_request(self));
    return wait_all(self, IDLE_NS, MPI_Wtime() + seconds);
}

__attribute__((noreturn)) static void mpi_abort(tr_collective_t *collective, int exit_code)
{
    MPI_Abort(((mpi_t *)collective)->group, exit_code);
    _Exit(exit_code); // MPI_Abort may return; this function must not
}

// Vectors of the backend, which lie in host memory

/// A tensor with no columns may have no buffer; its address is not used.
static void *address(tr_backend_t *backend, tr_tensor_t tensor)
{
    return tensor.columns == 0 ? NULL : backend->ops->address(tensor);
}

static void mpi_exchange(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                         const tr_tensor_t *received, const tr_tensor_t *sent)
{
    mpi_t *self = (mpi_t *)collective;
    size_t own = collective->rank;
    for (size_t r = 0; r < collective->size; r++) {
        add_trade(self, r, address(backend, received[r]), tr_tensor_bytes(received[r]),
                  address(backend, sent[r]), tr_tensor_bytes(sent[r]));
    }
    // While the messages travel.
    if (sent[own].columns > 0) {
        backend->ops->copy(queue, received[own], sent[own]);
    }
    finish(self);
}

static void mpi_share(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                      const tr_tensor_t *parts)
{
    (void)queue;
    mpi_t *self = (mpi_t *)collective;
    const tr_tensor_t own = parts[collective->rank];
    for (size_t r = 0; r < collective->size; r++) {
        add_trade(self, r, address(backend, parts[r]), tr_tensor_bytes(parts[r]),
                  address(backend, own), tr_tensor_bytes(own));
    }
    finish(self);
}

/// Room for n floats from every rank: [size, n]. Kept for the next step.
static float *room_for(mpi_t *self, size_t n)
{
    if (self->floats < self->base.size * n) {
        self->floats = self->base.size * n;
        self->scratch = tr_realloc(self->scratch, self->floats * sizeof(float));
    }
    return self->scratch;
}

/// Adds the parts in the order of the ranks, whatever order they arrive in, so that the sum has the
/// same bits every time; the own part waits for its turn beside the others. MPI_Ireduce is no
/// alternative: it cuts large vectors into pieces of 32 KiB and starts the next one only when
/// polled.
static void mpi_reduce(tr_collective_t *collective, tr_backend_t *backend, tr_queue_t *queue,
                       tr_tensor_t sum, const tr_tensor_t *parts)
{
    (void)queue;
    mpi_t *self = (mpi_t *)collective;
    size_t n = sum.columns, own = collective->rank, size = collective->size;
    // With n = 0 this rank has no part of the segment, but the others want theirs of it.
    float *arrived = room_for(self, n), *into = address(backend, sum);
    for (size_t r = 0; r < size; r++) {
        const float *part = address(backend, parts[r]);
        if (r == own && n > 0) {
            memcpy(arrived + r * n, part, n * sizeof(float));
        }
        add_trade(self, r, arrived + r * n, n * sizeof(float), part, tr_tensor_bytes(parts[r]));
    }
    finish(self);
    // Rank 0's part first, then a chain in the order of the ranks.
    for (size_t i = 0; i < n; i++) {
        into[i] = arrived[i];
    }
    for (size_t r = 1; r < size; r++) {
        for (size_t i = 0; i < n; i++) {
            into[i] += arrived[r * n + i];
        }
    }
}

// Life cycle

static void mpi_close(tr_collective_t **collective)
{
    mpi_t *self = (mpi_t *)*collective;
    MPI_Comm_free(&self->meeting);
    MPI_Comm_free(&self->group);
    MPI_Finalize();
    free(self->scratch);
    free(self->requests);
    free(self);
    *collective = NULL;
}

static const tr_collective_ops_t mpi_ops = {
    .name = "mpi",
    .device = "cpu",
    .close = mpi_close,
    .broadcast = mpi_broadcast,
    .gather = mpi_gather,
    .send = mpi_send,
    .receive = mpi_receive,
    .meet = mpi_meet,
    .abort = mpi_abort,
    .exchange = mpi_exchange,
    .share = mpi_share,
    .reduce = mpi_reduce,
};

__attribute__((visibility("default"))) tr_status tr_collective_module(tr_collective_t **collective,
                                                                      tr_error_t *err);

/// The entry that collective.c looks up. SERIALIZED: one thread joins and closes, another one
/// computes, never both at once.
tr_status tr_collective_module(tr_collective_t **collective, tr_error_t *err)
{
    int level, rank, size;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS ||
        level < MPI_THREAD_SERIALIZED) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "this MPI cannot be called from the thread that computes "
                       "(MPI_THREAD_SERIALIZED)");
    }
    mpi_t *self = tr_calloc(1, sizeof *self);
    // Communicators of our own: our messages never match those of a library in the same process.
    MPI_Comm_dup(MPI_COMM_WORLD, &self->group);
    MPI_Comm_dup(MPI_COMM_WORLD, &self->meeting);
    MPI_Comm_rank(self->group, &rank);
    MPI_Comm_size(self->group, &size);
    self->base = (tr_collective_t){&mpi_ops, (size_t)rank, (size_t)size, NULL};
    *collective = &self->base;
    return TR_OK;
}
