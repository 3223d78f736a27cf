// Batches: sequences of rows, cut to the limit and laid out one after the other, as messages carry
// them.
//
// Every cut is computed first (how many tokens stay, how many of them are trained on), because that
// gives the size of the batch; then the tokens are copied. KTO's mismatched completions are cut in
// the same way, with the prompt of one row and the response of another.
#include "controller/batch.h"

#include <stdlib.h>
#include <string.h>

/// The tokens of a prompt and a response that stay.
typedef struct cut {
    const tr_sequence_t *prompt, *response; // the same sequence, or two for a mismatched one
    size_t first;                           // first token to stay, counted over prompt and response
    size_t length;                          // tokens that stay
    size_t trained;                         // the last so many of these
} cut_t;

/// Cuts a sequence that is too long at its end, or at its beginning (truncation_mode keep_end).
static cut_t cut(const tr_rows_t *rows, const tr_sequence_t *prompt, const tr_sequence_t *response)
{
    // Of a mismatched pair the prompt of one row and the response of another count.
    size_t total = prompt->prompt + response->length - response->prompt;
    size_t length = total < rows->limit ? total : rows->limit;
    size_t first = rows->keep_end ? total - length : 0;
    // When the whole prompt is cut off, the first token left has no predecessor to predict it.
    size_t untrained = prompt->prompt > first ? prompt->prompt - first : 1;
    return (cut_t){prompt, response, first, length, length - untrained};
}

size_t controller_batch_trained(const tr_rows_t *rows, const tr_sequence_t *sequence)
{
    return cut(rows, sequence, sequence).trained;
}

/// The tokens that stay, from the prompt and then from the response. to: [cut->length].
static void copy_tokens(int32_t *to, const cut_t *cut)
{
    const tr_sequence_t *prompt = cut->prompt, *response = cut->response;
    size_t first = cut->first < prompt->prompt ? cut->first : prompt->prompt;
    size_t kept = prompt->prompt - first, skipped = cut->first - first;
    memcpy(to, prompt->ids + first, kept * sizeof *to);
    memcpy(to + kept, response->ids + response->prompt + skipped,
           (cut->length - kept) * sizeof *to);
}

/// The cuts of the n sequences of the rows, then of the mismatched ones. Owned by the caller.
static cut_t *cut_all(const tr_rows_t *rows, size_t n, bool mismatched)
{
    cut_t *cuts = tr_calloc((mismatched ? 2 : 1) * n + 1, sizeof *cuts);
    for (size_t i = 0; i < n; i++) {
        cuts[i] = cut(rows, &rows->sequences[i], &rows->sequences[i]);
    }
    for (size_t i = 0; mismatched && i < n; i++) {
        // TRL's rotation: the response of the row before, and of the last row for the first.
        size_t before = (i + n - 1) % n;
        cuts[n + i] = cut(rows, &rows->sequences[i], &rows->sequences[before]);
    }
    return cuts;
}

/// The masks of the responses, in the batch's order: [trained]. cuts: [n]
static float *copy_masks(const cut_t *cuts, size_t n, size_t trained)
{
    float *mask = tr_calloc(trained + 1, sizeof *mask), *at = mask;
    for (size_t i = 0; i < n; i++) {
        const tr_sequence_t *sequence = cuts[i].response;
        for (size_t t = 0; t < cuts[i].trained; t++) {
            *at++ = (float)sequence->mask[sequence->prompt + t];
        }
    }
    return mask;
}

void controller_batch_init(controller_batch_t *batch, const tr_rows_t *rows, bool mismatched)
{
    // A pair has two sequences, a pack of SFT several.
    size_t matched = rows->starts[rows->count], n = (mismatched ? 2 : 1) * matched;
    cut_t *cuts = cut_all(rows, matched, mismatched);
    *batch = (controller_batch_t){.rows = rows, .matched = matched};
    for (size_t i = 0; i < n; i++) {
        batch->tokens += cuts[i].length;
        batch->longest = cuts[i].length > batch->longest ? cuts[i].length : batch->longest;
    }
    // One block: ids, then starts (n + 1), prompt lengths (n) and response starts (n + 1).
    batch->ids = tr_calloc(batch->tokens + 3 * n + 2, sizeof *batch->ids);
    // The first start is 0, as the block is zeroed.
    int32_t *starts = batch->ids + batch->tokens, *prompts = starts + n + 1,
            *responses = prompts + n;
    for (size_t i = 0; i < n; i++) {
        copy_tokens(batch->ids + starts[i], &cuts[i]);
        starts[i + 1] = starts[i] + (int32_t)cuts[i].length;
        prompts[i] = (int32_t)(cuts[i].length - cuts[i].trained);
        responses[i + 1] = responses[i] + (int32_t)cuts[i].trained;
    }
    // The last start is the number of response tokens.
    batch->trained = (size_t)responses[n];
    batch->mask = rows->masked ? copy_masks(cuts, n, batch->trained) : NULL;
    batch->sequences = (tr_sequences_t){
        .count = n,
        .ids = batch->ids,
        .starts = starts,
        .prompt_lengths = prompts,
        .response_starts = responses,
    };
    free(cuts);
}

void controller_batch_release(controller_batch_t *batch)
{
    free(batch->ids);
    free(batch->mask);
    *batch = (controller_batch_t){0};
}
