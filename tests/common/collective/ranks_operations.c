/// Every operation of a collective against its definition. tests/process/collective.sh runs it as N
/// ranks,
///
///     mpirun -n N common_collective_ranks_operations N [cpu|cuda]
///
/// on CPUs over MPI, or on N GPUs over NCCL; it exits 0 when all held on all ranks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/collective/collective.h"
#include "common/tensor/device.h"

enum { LONGEST = 70001 }; // floats of a part: more than MPI sends at once

static tr_collective_t *group;
static tr_backend_t *backend;
static tr_queue_t *queue;

static void expect(bool holds, const char *what, size_t from, size_t index)
{
    if (!holds) {
        fprintf(stderr, "rank %zu of %zu: %s: element %zu of rank %zu is wrong\n", group->rank,
                group->size, what, index, from);
        group->ops->abort(group, 1);
    }
}

/// Element i of what rank `from` has for rank `to`.
static float value(size_t from, size_t to, size_t i)
{
    return (float)(1000 * from + 100 * to) + (float)(i % 97) / 128.0f;
}

/// Floats of what one rank has for another; some are empty.
static size_t length(size_t from, size_t to)
{
    return (from + 2 * to) % 3 == 1 ? 0 : LONGEST - 13 * from - to;
}

static void broadcasts_and_gathers_bytes(void)
{
    size_t starts[17] = {0};
    int word = group->rank == 0 ? 4711 : -1;
    group->ops->broadcast(group, &word, sizeof word);
    expect(word == 4711, "broadcast", 0, 0);
    group->ops->broadcast(group, &word, 0);
    for (size_t r = 0; r < group->size; r++) {
        starts[r + 1] = starts[r] + (r == 1 ? 0 : 5 + r); // rank 1 has nothing to send
    }
    char *all = tr_calloc(starts[group->size] + 1, 1);
    for (size_t i = starts[group->rank]; i < starts[group->rank + 1]; i++) {
        all[i] = (char)(i + 1);
    }
    group->ops->gather(group, all, starts);
    for (size_t i = 0; i < starts[group->size]; i++) {
        expect(all[i] == (char)(i + 1), "gather", 0, i);
    }
    free(all);
}

static void sends_in_a_ring(void)
{
    double mine = (double)group->rank, got = -1.0;
    size_t next = (group->rank + 1) % group->size;
    size_t before = (group->rank + group->size - 1) % group->size;
    if (group->size == 1) {
        return;
    }
    if (group->rank == 0) {
        group->ops->send(group, &mine, sizeof mine, next);
        group->ops->receive(group, &got, sizeof got, before);
    } else {
        group->ops->receive(group, &got, sizeof got, before);
        group->ops->send(group, &mine, sizeof mine, next);
    }
    expect(got == (double)before, "send", before, 0);
}

/// A tensor of a buffer of [size, LONGEST], in row r.
static tr_tensor_t row(tr_buffer_t *buffer, size_t r, size_t n)
{
    return (tr_tensor_t){buffer, r * LONGEST * sizeof(float), TR_F32, 1, n};
}

static tr_buffer_t *rows(void)
{
    tr_buffer_t *buffer;
    tr_error_t err = {0};
    tr_status status =
        backend->ops->buffer_new(backend, &buffer, group->size * LONGEST * sizeof(float), &err);
    TR_ASSERT(status == TR_OK, "%s", err.text);
    return buffer;
}

static void fill(tr_tensor_t tensor, size_t from, size_t to)
{
    static float values[LONGEST];
    for (size_t i = 0; i < tensor.columns; i++) {
        values[i] = value(from, to, i);
    }
    backend->ops->write(queue, tensor, values);
}

/// The tensor's content, valid until the next call.
static const float *content(tr_tensor_t tensor)
{
    static float values[LONGEST];
    tr_error_t err = {0};
    backend->ops->read(queue, values, tensor);
    tr_status status = backend->ops->queue_wait(queue, &err);
    TR_ASSERT(status == TR_OK, "%s", err.text);
    return values;
}

static void check(tr_tensor_t tensor, size_t from, size_t to, const char *what)
{
    const float *values = content(tensor);
    for (size_t i = 0; i < tensor.columns; i++) {
        expect(values[i] == value(from, to, i), what, from, i);
    }
}

static void exchanges_ragged_parts(void)
{
    tr_buffer_t *out = rows(), *in = rows();
    tr_tensor_t sent[16], received[16];
    for (size_t r = 0; r < group->size; r++) {
        sent[r] = row(out, r, length(group->rank, r));
        received[r] = row(in, r, length(r, group->rank));
        fill(sent[r], group->rank, r);
    }
    group->ops->exchange(group, backend, queue, received, sent);
    for (size_t r = 0; r < group->size; r++) {
        check(received[r], r, group->rank, "exchange");
        check(sent[r], group->rank, r, "what was sent");
    }
    backend->ops->buffer_destroy(&in);
    backend->ops->buffer_destroy(&out);
}

static void shares_a_vector_in_place(void)
{
    tr_buffer_t *all = rows();
    tr_tensor_t parts[16];
    for (size_t r = 0; r < group->size; r++) {
        parts[r] = row(all, r, r == 2 ? 0 : LONGEST - r);
    }
    fill(parts[group->rank], group->rank, 0);
    group->ops->share(group, backend, queue, parts);
    for (size_t r = 0; r < group->size; r++) {
        check(parts[r], r, 0, "share");
    }
    backend->ops->buffer_destroy(&all);
}

/// Values of few bits, whose sums are exact in any order.
static void reduces_to_the_sum(void)
{
    tr_buffer_t *own = rows(), *into = rows();
    tr_tensor_t parts[16];
    tr_tensor_t sum = row(into, 0, LONGEST - group->rank);
    for (size_t r = 0; r < group->size; r++) {
        parts[r] = row(own, r, LONGEST - r);
        fill(parts[r], group->rank, r);
    }
    group->ops->reduce(group, backend, queue, sum, parts);
    const float *values = content(sum);
    for (size_t i = 0; i < sum.columns; i++) {
        float want = 0.0f;
        for (size_t r = 0; r < group->size; r++) {
            want += value(r, group->rank, i);
        }
        expect(values[i] == want, "reduce", group->rank, i);
    }
    backend->ops->buffer_destroy(&into);
    backend->ops->buffer_destroy(&own);
}

static void meets(void)
{
    expect(group->ops->meet(group, 60.0), "meet", 0, 0);
    expect(group->ops->meet(group, 60.0), "meet again", 0, 0);
}

/// The group, and this rank's device.
static tr_status join(size_t ranks, bool gpus, tr_error_t *err)
{
    TR_TRY(tr_collective_open(&group, gpus ? "nccl" : "mpi", TEST_BINARY_DIR, ranks, err));
    char *device = gpus ? tr_format("cuda:%zu", group->rank) : tr_strdup("cpu");
    const tr_device_options_t options = {
        .device = device, .precision = TR_PRECISION_FP32, .threads = 1};
    tr_status status = tr_backend_open(&backend, &options, err);
    free(device);
    TR_TRY(status);
    TR_TRY(tr_collective_check(group, backend, err));
    return backend->ops->queue_new(backend, &queue, err);
}

int main(int argc, char **argv)
{
    tr_error_t err = {0};
    size_t ranks = argc >= 2 ? strtoul(argv[1], NULL, 10) : 1;
    if (join(ranks, argc == 3 && strcmp(argv[2], "cuda") == 0, &err) != TR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    broadcasts_and_gathers_bytes();
    sends_in_a_ring();
    exchanges_ragged_parts();
    shares_a_vector_in_place();
    reduces_to_the_sum();
    meets();
    if (group->rank == 0) {
        printf("%zu ranks by %s: all held\n", group->size, group->ops->name);
    }
    backend->ops->queue_destroy(&queue);
    tr_backend_close(&backend);
    tr_collective_close(&group);
    return 0;
}
