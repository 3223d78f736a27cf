// Sequences (common/model/response.h) into a message and out of it.
//
// Kernels use these integers as offsets into memory, so a message is checked in two steps:
// tr_sequences_take checks that its tensors fit together, tr_sequences_check that they fit the
// model.
#include "proto/sequences.h"

#include <stdlib.h>

/// All sequences in one vector of ids, one behind the other: no padding travels.
void tr_sequences_put(tr_message_t *message, const tr_sequences_t *sequences)
{
    size_t count = sequences->count;
    tr_message_add_vector(message, "ids", TR_I32, (size_t)sequences->starts[count], sequences->ids);
    tr_message_add_vector(message, "starts", TR_I32, count + 1, sequences->starts);
    tr_message_add_vector(message, "prompt_lengths", TR_I32, count, sequences->prompt_lengths);
    // Offsets count response tokens only: prompts were not sampled.
    if (sequences->kept_offsets != NULL) {
        size_t tokens = (size_t)sequences->response_starts[count];
        tr_message_add_vector(message, "kept_offsets", TR_I32, tokens + 1, sequences->kept_offsets);
        tr_message_add_vector(message, "kept_ids", TR_I32, (size_t)sequences->kept_offsets[tokens],
                              sequences->kept_ids);
    }
}

/// Leaves kept_offsets NULL where the message has none.
static tr_status take_kept(tr_sequences_t *sequences, const tr_message_t *message, tr_error_t *err)
{
    tr_view_t offsets, ids;
    if (!tr_message_tensor(&offsets, message, "kept_offsets")) {
        return TR_OK;
    }
    size_t tokens = (size_t)sequences->response_starts[sequences->count];
    TR_TRY(tr_message_expect_tensor(&ids, message, "kept_ids", TR_I32, SIZE_MAX, err));
    TR_TRY(tr_message_expect_offsets(&sequences->kept_offsets, message, "kept_offsets", tokens,
                                     ids.bytes / sizeof(int32_t), 0, err));
    sequences->kept_ids = ids.data;
    return TR_OK;
}

/// Fills response_starts: [count + 1]. A response may be empty, a prompt may not: the first row
/// that predicts a token is its last.
static tr_status measure(tr_sequences_t *sequences, int32_t *response_starts, tr_error_t *err)
{
    for (size_t s = 0; s < sequences->count; s++) {
        int32_t length = sequences->starts[s + 1] - sequences->starts[s];
        int32_t prompt = sequences->prompt_lengths[s];
        // starts do not fall (expect_offsets), so length is not negative.
        if (prompt < 1 || prompt > length) {
            return tr_fail(err, TR_ERR_PROTOCOL, "sequence %zu of %d tokens has a prompt of %d", s,
                           length, prompt);
        }
        response_starts[s + 1] = response_starts[s] + length - prompt;
    }
    sequences->response_starts = response_starts;
    return TR_OK;
}

/// Without copies: the arrays stay in the message, aligned as message.h promises.
tr_status tr_sequences_take(tr_sequences_t *sequences, int32_t **owned, const tr_message_t *message,
                            tr_error_t *err)
{
    tr_view_t ids, prompts;
    *owned = NULL;
    *sequences = (tr_sequences_t){0};
    TR_TRY(tr_message_expect_tensor(&prompts, message, "prompt_lengths", TR_I32, SIZE_MAX, err));
    size_t count = prompts.bytes / sizeof(int32_t);
    // A pass over nothing has no mean; the controller never asks for one.
    if (count == 0) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensor 'prompt_lengths' is empty");
    }
    TR_TRY(tr_message_expect_tensor(&ids, message, "ids", TR_I32, SIZE_MAX, err));
    TR_TRY(tr_message_expect_offsets(&sequences->starts, message, "starts", count,
                                     ids.bytes / sizeof(int32_t), 0, err));
    sequences->count = count;
    sequences->ids = ids.data;
    sequences->prompt_lengths = prompts.data;
    // The starts of responses alone: learners lay out one row for each response token.
    *owned = tr_calloc(count + 1, sizeof **owned);
    tr_status status = measure(sequences, *owned, err);
    if (status == TR_OK) {
        status = take_kept(sequences, message, err);
    }
    if (status != TR_OK) {
        free(*owned);
        *owned = NULL;
    }
    return status;
}

/// An id becomes a row of the embedding or a column of the logits.
static tr_status check_ids(const int32_t *ids, size_t count, size_t vocabulary, tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= vocabulary) {
            return tr_fail(err, TR_ERR_ARGUMENT, "token %d is outside the vocabulary of %zu",
                           ids[i], vocabulary);
        }
    }
    return TR_OK;
}

/// Apart from taking, because only the receiver knows its model.
tr_status tr_sequences_check(const tr_sequences_t *sequences, size_t vocabulary,
                             size_t max_positions, tr_error_t *err)
{
    for (size_t s = 0; s < sequences->count; s++) {
        size_t length = (size_t)(sequences->starts[s + 1] - sequences->starts[s]);
        if (length > max_positions) {
            return tr_fail(err, TR_ERR_ARGUMENT, "sequence %zu has %zu tokens; the model takes %zu",
                           s, length, max_positions);
        }
    }
    // Token ids, and below the ids that the softmax is restricted to.
    TR_TRY(check_ids(sequences->ids, (size_t)sequences->starts[sequences->count], vocabulary, err));
    if (sequences->kept_offsets == NULL) {
        return TR_OK;
    }
    size_t kept = (size_t)sequences->kept_offsets[sequences->response_starts[sequences->count]];
    return check_ids(sequences->kept_ids, kept, vocabulary, err);
}
