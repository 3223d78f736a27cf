#include "proto/service_ranks.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

/// Seconds that a rank whose handler failed waits for the others to fail too, before it takes itself for the only one. They
/// may still be computing what this one could not.
static const double PATIENCE = 30.0;

/// What goes ahead of a message: bytes of its envelope (0: rank 0 is done) and of all its tensors together.
typedef struct heading {
    uint64_t envelope;
    uint64_t tensors;
} heading_t;

// Rank 0

static void broadcast_tensors(tr_collective_t *collective, const tr_message_t *message,
                              size_t bytes)
{
    char *all = tr_alloc(bytes + 1);
    size_t at = 0;
    for (size_t i = 0; i < tr_message_tensors(message); i++) {
        tr_view_t view = tr_message_tensor_at(message, i);
        if (view.bytes > 0) {
            memcpy(all + at, view.data, view.bytes);
        }
        at += view.bytes;
    }
    collective->ops->broadcast(collective, all, bytes);
    free(all);
}

tr_status service_ranks_forward(tr_collective_t *collective, const tr_message_t *message,
                                tr_error_t *err)
{
    char *envelope;
    size_t length;
    if (tr_collective_size(collective) == 1 || collective->rank > 0) {
        return TR_OK;
    }
    TR_TRY(tr_message_pack(&envelope, &length, message, err));
    heading_t heading = {.envelope = length};
    for (size_t i = 0; i < tr_message_tensors(message); i++) {
        heading.tensors += tr_message_tensor_at(message, i).bytes;
    }
    collective->ops->broadcast(collective, &heading, sizeof heading);
    collective->ops->broadcast(collective, envelope, length);
    broadcast_tensors(collective, message, heading.tensors);
    free(envelope);
    return TR_OK;
}

void service_ranks_dismiss(tr_collective_t *collective)
{
    if (tr_collective_size(collective) > 1) {
        collective->ops->broadcast(collective, &(heading_t){0}, sizeof(heading_t));
    }
}

// All ranks

__attribute__((noreturn)) static void end_group(tr_collective_t *collective, tr_status status,
                                                const char *text)
{
    tr_log(TR_LOG_ERROR, "ranks", "\"rank %zu ended otherwise than the others, so all end: %s\"",
           collective->rank, text);
    fprintf(stderr, "rank %zu failed alone: %s\n", collective->rank, text);
    collective->ops->abort(collective, tr_status_exit_code(status != TR_OK ? status : TR_ERR_PEER));
}

void service_ranks_agree(tr_collective_t *collective, tr_status status, const tr_error_t *err)
{
    size_t size = tr_collective_size(collective);
    if (size == 1) {
        return;
    }
    const char *text = status == TR_OK ? "it succeeded where rank 0 failed" : err->text;
    if (!collective->ops->meet(collective, status == TR_OK ? 1e9 : PATIENCE)) {
        end_group(collective, status, text);
    }
    int *all = tr_calloc(size, sizeof *all);
    size_t *starts = tr_calloc(size + 1, sizeof *starts);
    for (size_t r = 0; r <= size; r++) {
        starts[r] = r * sizeof *all;
    }
    all[collective->rank] = (int)status;
    collective->ops->gather(collective, all, starts);
    bool differs = all[collective->rank] != all[0];
    bool others = false;
    for (size_t r = 1; r < size; r++) {
        others = others || all[r] != all[0];
    }
    free(starts);
    free(all);
    if (differs) {
        end_group(collective, status, text);
    }
    if (others) { // who differs says why, and ends all
        collective->ops->meet(collective, 1e9);
    }
}

// The other ranks

tr_status service_ranks_receive(tr_message_t **message, tr_collective_t *collective,
                                tr_error_t *err)
{
    heading_t heading;
    *message = NULL;
    collective->ops->broadcast(collective, &heading, sizeof heading);
    if (heading.envelope == 0) {
        return TR_OK;
    }
    char *envelope = tr_alloc(heading.envelope), *tensors = tr_alloc(heading.tensors + 1);
    collective->ops->broadcast(collective, envelope, heading.envelope);
    collective->ops->broadcast(collective, tensors, heading.tensors);
    tr_status status = tr_message_unpack(message, envelope, heading.envelope, err);
    size_t at = 0;
    for (size_t i = 0; status == TR_OK && i < tr_message_tensors(*message); i++) {
        size_t bytes = tr_message_tensor_at(*message, i).bytes;
        status = tr_message_unpack_frame(*message, i, tensors + at, bytes, err);
        at += bytes;
    }
    free(tensors);
    free(envelope);
    return status;
}
