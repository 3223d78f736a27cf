#include "controller/rows.h"

#include <stdlib.h>
#include <string.h>

void controller_rows_release(controller_rows_t *rows)
{
    for (size_t i = 0; rows->items != NULL && i < rows->starts[rows->count]; i++) {
        free(rows->items[i].ids);
        free(rows->items[i].mask);
        free(rows->items[i].text);
        free(rows->items[i].reference);
    }
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

size_t controller_row_learnt(const controller_rows_t *rows, const controller_row_t *item)
{
    return (item->length < rows->limit ? item->length : rows->limit) - item->prompt;
}

/// A sequence in the making: the prompt of one item and the response of another, or of the same.
typedef struct joint {
    const controller_row_t *prompt, *response;
    size_t length; // of the response, as much as fits
} joint_t;

static joint_t join(const controller_rows_t *rows, const controller_row_t *prompt,
                    const controller_row_t *response)
{
    size_t length = response->length - response->prompt;
    size_t room = rows->limit - prompt->prompt;
    return (joint_t){prompt, response, length < room ? length : room};
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
        for (size_t t = 0; t < joints[i].length; t++) {
            *at++ = item->mask[item->prompt + t];
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
        size_t length = joints[i].prompt->prompt + joints[i].length;
        batch->tokens += length;
        batch->longest = length > batch->longest ? length : batch->longest;
    }
    batch->ids = tr_calloc(batch->tokens + 3 * n + 2, sizeof *batch->ids);
    int32_t *starts = batch->ids + batch->tokens, *prompts = starts + n + 1,
            *responses = prompts + n;
    for (size_t i = 0; i < n; i++) {
        const joint_t *joint = &joints[i];
        size_t prompt = joint->prompt->prompt;
        int32_t *at = batch->ids + starts[i];
        memcpy(at, joint->prompt->ids, prompt * sizeof *at);
        memcpy(at + prompt, joint->response->ids + joint->response->prompt,
               joint->length * sizeof *at);
        starts[i + 1] = starts[i] + (int32_t)(prompt + joint->length);
        prompts[i] = (int32_t)prompt;
        responses[i + 1] = responses[i] + (int32_t)joint->length;
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
