// The reply to `generate`: written by the rollout, checked in every element by the controller.
//
// A response goes into the experience and from there to the losses, so a rollout that computes
// wrong numbers must be found here, where its name is still known.
#include "proto/responses.h"

#include <math.h>

/// Copied, since the rollout's arrays are used again for the next request.
void tr_responses_put(tr_message_t *message, const tr_responses_t *r)
{
    size_t tokens = (size_t)r->starts[r->count];
    tr_message_add_vector(message, "responses", TR_I32, tokens, r->ids);
    tr_message_add_vector(message, "response_starts", TR_I32, r->count + 1, r->starts);
    tr_message_add_vector(message, "finish", TR_I32, r->count, r->finish);
    tr_message_add_vector(message, "logprobs", TR_F32, tokens, r->logprobs);
    tr_message_add_vector(message, "raw", TR_F32, tokens, r->raw);
    // Only where sampling truncates: most recipes do not, and the lists can be long.
    if (r->kept_offsets != NULL) {
        size_t kept = (size_t)r->kept_offsets[tokens];
        tr_message_add_vector(message, "kept_offsets", TR_I32, tokens + 1, r->kept_offsets);
        tr_message_add_vector(message, "kept_ids", TR_I32, kept, r->kept_ids);
    }
}

/// Each of count numbers must be in 0..limit-1.
static tr_status check_ids(const int32_t *ids, size_t count, size_t limit, const char *name,
                           tr_error_t *err)
{
    for (size_t i = 0; i < count; i++) {
        // limit is at least 1: a vocabulary, or the number of ways to finish.
        if (ids[i] < 0 || (size_t)ids[i] >= limit) {
            return tr_fail(err, TR_ERR_PROTOCOL, "tensor '%s' holds %d at %zu; expected 0 to %zu",
                           name, ids[i], i, limit - 1);
        }
    }
    return TR_OK;
}

/// A NaN that got into the losses would be found a step later, without a name.
static tr_status check_logprobs(const float *logprobs, size_t tokens, const char *name,
                                tr_error_t *err)
{
    for (size_t i = 0; i < tokens; i++) {
        if (!isfinite(logprobs[i])) {
            return tr_fail(err, TR_ERR_NUMERIC,
                           "tensor '%s': the number of token %zu is not finite", name, i);
        }
    }
    return TR_OK;
}

/// Each list ascends and has the token that was drawn from it; an empty list means that nothing was
/// cut at this token.
static tr_status check_kept(const tr_responses_t *r, size_t tokens, tr_error_t *err)
{
    // Offsets rise or stay (expect_offsets), so begin is never behind end.
    for (size_t t = 0; t < tokens; t++) {
        // Of this token; as many ids as sampling let through.
        int32_t begin = r->kept_offsets[t], end = r->kept_offsets[t + 1];
        bool held = begin == end;
        for (int32_t i = begin; i < end; i++) {
            held = held || r->kept_ids[i] == r->ids[t];
            if (i > begin && r->kept_ids[i] <= r->kept_ids[i - 1]) {
                return tr_fail(err, TR_ERR_PROTOCOL, "the kept ids of token %zu do not ascend", t);
            }
        }
        if (!held) {
            return tr_fail(err, TR_ERR_PROTOCOL, "the kept ids of token %zu lack the token itself",
                           t);
        }
    }
    return TR_OK;
}

/// The sets of ids that truncated sampling chose from, ragged: those of a token stand between two
/// offsets.
static tr_status take_kept(tr_responses_t *r, size_t tokens, size_t vocabulary, bool truncated,
                           const tr_message_t *message, tr_error_t *err)
{
    tr_view_t offsets, ids;
    // The learner computes log-probs within the kept sets: with a recipe that truncates they must
    // be there, and otherwise their presence means that the rollout sampled by other options.
    if (tr_message_tensor(&offsets, message, "kept_offsets") != truncated) {
        return tr_fail(err, TR_ERR_PROTOCOL, "tensor 'kept_offsets' is %s",
                       truncated ? "missing, though sampling truncates"
                                 : "given, though sampling does not truncate");
    }
    if (!truncated) {
        return TR_OK;
    }
    TR_TRY(tr_message_expect_tensor(&ids, message, "kept_ids", TR_I32, SIZE_MAX, err));
    size_t kept = ids.bytes / sizeof(int32_t);
    TR_TRY(
        tr_message_expect_offsets(&r->kept_offsets, message, "kept_offsets", tokens, kept, 0, err));
    r->kept_ids = ids.data;
    TR_TRY(check_ids(ids.data, kept, vocabulary, "kept_ids", err));
    return check_kept(r, tokens, err);
}

/// What comes out can be indexed without further checks: every offset, id and number was looked at.
tr_status tr_responses_take(tr_responses_t *r, size_t count, size_t vocabulary, bool truncated,
                            const tr_message_t *message, tr_error_t *err)
{
    tr_view_t ids, finish, logprobs, raw;
    const int32_t *starts;
    // First the sizes of all tensors, so that the loops below stay inside them.
    TR_TRY(tr_message_expect_tensor(&ids, message, "responses", TR_I32, SIZE_MAX, err));
    size_t tokens = ids.bytes / sizeof(int32_t);
    TR_TRY(tr_message_expect_offsets(&starts, message, "response_starts", count, tokens, 1, err));
    TR_TRY(tr_message_expect_tensor(&finish, message, "finish", TR_I32, count, err));
    TR_TRY(tr_message_expect_tensor(&logprobs, message, "logprobs", TR_F32, tokens, err));
    TR_TRY(tr_message_expect_tensor(&raw, message, "raw", TR_F32, tokens, err));
    // Now everything in the arrays that the offsets above delimit.
    TR_TRY(check_ids(ids.data, tokens, vocabulary, "responses", err));
    TR_TRY(check_ids(finish.data, count, TR_FINISH_LENGTH + 1, "finish", err));
    TR_TRY(check_logprobs(logprobs.data, tokens, "logprobs", err));
    TR_TRY(check_logprobs(raw.data, tokens, "raw", err));
    *r = (tr_responses_t){
        .count = count,
        .ids = ids.data,
        .starts = starts,
        .finish = finish.data,
        .logprobs = logprobs.data,
        .raw = raw.data,
    };
    return take_kept(r, tokens, vocabulary, truncated, message, err);
}
