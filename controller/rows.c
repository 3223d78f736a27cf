#include "controller/rows.h"

#include <stdlib.h>
#include <string.h>

void controller_rows_release(controller_rows_t *rows)
{
    for (size_t i = 0; rows->items != NULL && i < rows->starts[rows->count]; i++) {
        free(rows->items[i].ids);
        free(rows->items[i].mask);
        free(rows->items[i].text);
    }
    free(rows->reference);
    free(rows->reference_starts);
    free(rows->items);
    free(rows->starts);
    tr_dataset_destroy(&rows->dataset);
    *rows = (controller_rows_t){0};
}

const char *controller_rows_prompt(const controller_rows_t *rows, size_t row)
{
    const char *text = rows->items[rows->starts[row]].text;
    return text != NULL ? text : tr_dataset_string(rows->dataset, row, rows->prompt_column);
}

/// A sequence in the making: the prompt of one item and the response of another, or of the same.
typedef struct joint {
    const controller_row_t *prompt, *response;
    size_t first;  // token of both together that is the first to stay
    size_t length; // tokens that stay
    size_t learnt; // of these, the last so many
} joint_t;

static joint_t join(const controller_rows_t *rows, const controller_row_t *prompt,
                    const controller_row_t *response)
{
    size_t total = prompt->prompt + response->length - response->prompt;
    size_t length = total < rows->limit ? total : rows->limit;
    size_t first = rows->keep_end ? total - length : 0;
    size_t opening = prompt->prompt > first ? prompt->prompt - first : 1;
    return (joint_t){prompt, response, first, length, length - opening};
}

size_t controller_row_learnt(const controller_rows_t *rows, const controller_row_t *item)
{
    return join(rows, item, item).learnt;
}

/// The tokens that stay: [length].
static void copy_tokens(int32_t *to, const joint_t *joint)
{
    const controller_row_t *prompt = joint->prompt, *response = joint->response;
    size_t first = joint->first < prompt->prompt ? joint->first : prompt->prompt;
    size_t opening = prompt->prompt - first, skipped = joint->first - first;
    memcpy(to, prompt->ids + first, opening * sizeof *to);
    memcpy(to + opening, response->ids + response->prompt + skipped,
           (joint->length - opening) * sizeof *to);
}

static size_t items_of(const controller_rows_t *rows, const uint32_t *chosen, size_t count)
{
    size_t items = 0;
    for (size_t i = 0; i < count; i++) {
        items += rows->starts[chosen[i] + 1] - rows->starts[chosen[i]];
    }
    return items;
}

static joint_t *join_all(const controller_rows_t *rows, const uint32_t *chosen, size_t count,
                         size_t items, bool mismatched)
{
    joint_t *joints = tr_calloc((mismatched ? 2 : 1) * items + 1, sizeof *joints);
    for (size_t i = 0, at = 0; i < count; i++) {
        for (size_t k = rows->starts[chosen[i]]; k < rows->starts[chosen[i] + 1]; k++, at++) {
            joints[at] = join(rows, &rows->items[k], &rows->items[k]);
        }
    }
    for (size_t i = 0; mismatched && i < count; i++) {
        size_t before = (i + count - 1) % count;
        joints[items + i] = join(rows, &rows->items[rows->starts[chosen[i]]],
                                 &rows->items[rows->starts[chosen[before]]]);
    }
    return joints;
}

/// The masks of the responses, in the batch's order. joints: [n]
static float *join_masks(const joint_t *joints, size_t n, size_t learnt)
{
    float *mask = tr_calloc(learnt + 1, sizeof *mask), *at = mask;
    for (size_t i = 0; i < n; i++) {
        const controller_row_t *item = joints[i].response;
        for (size_t t = 0; t < joints[i].learnt; t++) {
            *at++ = (float)item->mask[item->prompt + t];
        }
    }
    return mask;
}

void controller_batch_init(controller_batch_t *batch, const controller_rows_t *rows,
                           const uint32_t *chosen, size_t count, bool mismatched)
{
    size_t items = items_of(rows, chosen, count), n = (mismatched ? 2 : 1) * items;
    joint_t *joints = join_all(rows, chosen, count, items, mismatched);
    *batch = (controller_batch_t){.matched = items};
    for (size_t i = 0; i < n; i++) {
        batch->tokens += joints[i].length;
        batch->longest = joints[i].length > batch->longest ? joints[i].length : batch->longest;
    }
    batch->ids = tr_calloc(batch->tokens + 3 * n + 2, sizeof *batch->ids);
    int32_t *starts = batch->ids + batch->tokens, *prompts = starts + n + 1,
            *responses = prompts + n;
    for (size_t i = 0; i < n; i++) {
        const joint_t *joint = &joints[i];
        copy_tokens(batch->ids + starts[i], joint);
        starts[i + 1] = starts[i] + (int32_t)joint->length;
        prompts[i] = (int32_t)(joint->length - joint->learnt);
        responses[i + 1] = responses[i] + (int32_t)joint->learnt;
    }
    batch->learnt = (size_t)responses[n];
    batch->mask = rows->masked ? join_masks(joints, n, batch->learnt) : NULL;
    batch->sequences = (tr_sequences_t){
        .count = n,
        .ids = batch->ids,
        .starts = starts,
        .prompt_lengths = prompts,
        .response_starts = responses,
    };
    free(joints);
}

void controller_batch_release(controller_batch_t *batch)
{
    free(batch->ids);
    free(batch->mask);
    *batch = (controller_batch_t){0};
}
