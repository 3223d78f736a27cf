// Messages from rank 0 to the other ranks, by broadcasts, and the agreement after each handler.
//
// Separate from service_jobs.c because it knows collectives and no jobs. All ranks of a group enter
// the same broadcasts in the same order; one that a rank misses would block the rest.
#include "proto/service_ranks.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

/// Seconds that a rank whose handler failed waits for the others to fail too: they may still be
/// computing. After that it takes itself for the only one.
static const double PATIENCE = 30.0;

/// Sent before a message: bytes of its envelope (0: rank 0 is done) and of all its tensors
/// together.
typedef struct heading {
    uint64_t envelope;
    uint64_t tensors;
} heading_t;

// Rank 0

/// All tensors in one broadcast: requests have several short ones, and each broadcast costs a round
/// trip. bytes: of all of them.
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

/// The sizes go first: a broadcast needs its length on every rank beforehand.
tr_status service_ranks_forward(tr_collective_t *collective, const tr_message_t *message,
                                tr_error_t *err)
{
    char *envelope;
    size_t length;
    if (tr_collective_size(collective) == 1 || collective->rank > 0) {
        return TR_OK;
    }
    // Packed before the first broadcast: a failure here must leave the other ranks waiting, not
    // half way through a message.
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

/// An envelope of no bytes, which no message has.
void service_ranks_dismiss(tr_collective_t *collective)
{
    if (tr_collective_size(collective) > 1) {
        collective->ops->broadcast(collective, &(heading_t){0}, sizeof(heading_t));
    }
}

// All ranks

/// Ends all processes of the group: the supervisor starts them again, and the controller restores
/// them from the last checkpoint.
__attribute__((noreturn)) static void end_group(tr_collective_t *collective, tr_status status,
                                                const char *text)
{
    tr_log(TR_LOG_ERROR, "ranks", "\"rank %zu ended otherwise than the others, so all end: %s\"",
           collective->rank, text);
    fprintf(stderr, "rank %zu failed alone: %s\n", collective->rank, text);
    collective->ops->abort(collective, tr_status_exit_code(status != TR_OK ? status : TR_ERR_PEER));
}

/// Also where all have failed: then they have failed alike, and the group goes on.
void service_ranks_agree(tr_collective_t *collective, tr_status status, const tr_error_t *err)
{
    size_t size = tr_collective_size(collective);
    if (size == 1) {
        return;
    }
    const char *text = status == TR_OK ? "it succeeded where rank 0 failed" : err->text;
    // A rank that succeeded waits without a limit: the others may compute for long. One that failed
    // waits for a while only: where the others are blocked in a broadcast of the handler that it
    // left, nobody else would ever notice.
    if (!collective->ops->meet(collective, status == TR_OK ? 1e9 : PATIENCE)) {
        end_group(collective, status, text);
    }
    // Every rank gets the status of all.
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
    // Some other rank differs from rank 0: it logs why, and ends all of us while we wait.
    if (others) {
        collective->ops->meet(collective, 1e9);
    }
}

// The other ranks

/// The mirror of service_ranks_forward and broadcast_tensors.
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
