// A memory plan against what this machine has, and both in a table.
//
// Apart from memory_plan.c because this asks the machine, and because its sentences and columns are
// what users see.
#include <stdlib.h>

#include "controller/rows.h"
#include "deploy/machine.h"
#include "deploy/memory_plan.h"

enum {
    GPUS_MOST = 64,
    DRIVER =
        512 << 20, // bytes, about, that CUDA takes of a GPU for each process, outside its budget
    SIZE_TEXT = 32
};

// Sums

/// Bytes that a device has free.
static tr_status available(size_t *bytes, const char *device, tr_error_t *err)
{
    tr_device_info_t gpus[GPUS_MOST];
    size_t count, total, index;
    if (!tr_device_is_gpu(device)) {
        return machine_memory(&total, bytes, err);
    }
    // Asked of the driver each time: other programs come and go.
    index = (size_t)tr_device_index(device);
    TR_TRY(tr_device_list(gpus, GPUS_MOST, &count, err));
    if (index >= count) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "there is no %s: this machine shows %zu GPU(s), from cuda:0", device, count);
    }
    *bytes = gpus[index].free;
    return TR_OK;
}

/// Of all processes of a line.
static size_t whole(const memory_plan_line_t *line)
{
    return memory_sum(&line->memory) * line->processes;
}

/// What is taken of a device and in no line: CUDA's own memory for each process, or the host's.
static size_t beside(const memory_plan_t *plan, const char *device)
{
    size_t processes = 0;
    if (!tr_device_is_gpu(device)) {
        return plan->host;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const memory_plan_line_t *line = &plan->lines[i];
        // A process within another has no context of the driver of its own.
        bool counts = !line->within && tr_device_is_same(line->device, device);
        processes += counts ? line->processes : 0;
    }
    return processes * DRIVER;
}

/// Of all lines on the device, and of what is beside them.
static size_t sum_on(const memory_plan_t *plan, const char *device)
{
    size_t sum = beside(plan, device);
    for (size_t i = 0; i < plan->count; i++) {
        sum += tr_device_is_same(plan->lines[i].device, device) ? whole(&plan->lines[i]) : 0;
    }
    return sum;
}

/// The first line on its device: devices are gone through by these.
static bool is_first(const memory_plan_t *plan, size_t i)
{
    // Quadratic, over a handful of lines.
    for (size_t k = 0; k < i; k++) {
        if (tr_device_is_same(plan->lines[k].device, plan->lines[i].device)) {
            return false;
        }
    }
    return true;
}

// Texts

/// "12.30 GiB" or "640.0 MiB", in text: [SIZE_TEXT].
static const char *size_text(char *text, size_t bytes)
{
    // Three or four digits are enough for an estimate.
    bool large = bytes >= (size_t)1 << 30;
    snprintf(text, SIZE_TEXT, large ? "%.2f GiB" : "%.1f MiB",
             (double)bytes / (large ? 0x1p30 : 0x1p20));
    return text;
}

/// "weights 2.00 GiB + optimizer ...": what is not 0. Owned by the caller (free).
static char *parts_text(const memory_t *m)
{
    // In the order of the table's columns.
    const struct {
        const char *name;
        size_t bytes;
    } parts[] = {{"weights", m->weights},
                 {"optimizer", m->optimizer},
                 {"gradient", m->gradient},
                 {"activations", m->activations},
                 {"cache", m->cache}};
    char *text = NULL, size[SIZE_TEXT];
    size_t length;
    FILE *out = open_memstream(&text, &length);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].bytes > 0) {
            fprintf(out, "%s%s %s", i == 0 ? "" : " + ", parts[i].name,
                    size_text(size, parts[i].bytes));
        }
    }
    fclose(out);
    return text;
}

/// "actor 3.00 GiB + 2 x rollout 1.00 GiB": who is on the device. Owned by the caller (free).
static char *lines_text(const memory_plan_t *plan, const char *device)
{
    char *text = NULL, size[SIZE_TEXT];
    const char *plus = "";
    size_t length, rest = beside(plan, device);
    FILE *out = open_memstream(&text, &length);
    for (size_t i = 0; i < plan->count; i++) {
        const memory_plan_line_t *line = &plan->lines[i];
        if (!tr_device_is_same(line->device, device)) {
            continue;
        }
        fprintf(out, "%s", plus);
        if (line->processes > 1) {
            fprintf(out, "%zu x ", line->processes);
        }
        fprintf(out, "%s %s", line->name, size_text(size, memory_sum(&line->memory)));
        plus = " + ";
    }
    if (rest > 0) {
        fprintf(out, " + %s %s", tr_device_is_gpu(device) ? "driver" : "host memory",
                size_text(size, rest));
    }
    fclose(out);
    return text;
}

// Checks

static const char remedy[] =
    "lower optimizer.chunk, roles.rollout.max_batch or the rows' lengths, set "
    "optimizer.gradient_checkpointing, or take another device or a smaller model";

/// A budget holds what is in its process: the actor's its reference too.
static tr_status check_budget(const memory_plan_t *plan, size_t i, tr_error_t *err)
{
    const memory_plan_line_t *line = &plan->lines[i];
    char size[SIZE_TEXT], budget[SIZE_TEXT];
    size_t needed = memory_sum(&line->memory);
    // The reference in the actor comes behind the actor.
    if (i + 1 < plan->count && plan->lines[i + 1].within) {
        needed += memory_sum(&plan->lines[i + 1].memory);
    }
    // A line within another is counted there.
    if (line->within || line->budget == 0 || needed <= line->budget) {
        return TR_OK;
    }
    char *parts = parts_text(&line->memory);
    tr_fail(err, TR_ERR_MEMORY, "%s needs %s of %s (%s), its `memory` is %s: raise it, or %s",
            line->name, size_text(size, needed), line->device, parts,
            size_text(budget, line->budget), remedy);
    free(parts);
    return TR_ERR_MEMORY;
}

/// What other programs use is not free, so the sum is compared with what is free now.
static tr_status check_device(const memory_plan_t *plan, const char *device, tr_error_t *err)
{
    char size[SIZE_TEXT], has[SIZE_TEXT];
    size_t free_bytes, needed = sum_on(plan, device);
    TR_TRY(available(&free_bytes, device, err));
    if (needed <= free_bytes) {
        return TR_OK;
    }
    // The sentence lists who is on the device, so that the user sees what to move.
    char *lines = lines_text(plan, device);
    tr_fail(err, TR_ERR_MEMORY, "%s: %s are needed (%s), %s are free: %s", device,
            size_text(size, needed), lines, size_text(has, free_bytes), remedy);
    free(lines);
    return TR_ERR_MEMORY;
}

/// A write to shared memory that is not there would end the actor.
static tr_status check_shared(const memory_plan_t *plan, tr_error_t *err)
{
    char size[SIZE_TEXT], has[SIZE_TEXT];
    size_t free_bytes;
    if (plan->shared == 0) {
        return TR_OK;
    }
    TR_TRY(machine_shared_memory(&free_bytes, err));
    return plan->shared <= free_bytes
               ? TR_OK
               : tr_fail(err, TR_ERR_MEMORY,
                         "/dev/shm: %s are needed (two versions of the weights), %s are free: give "
                         "the container more (--shm-size), or free what is there",
                         size_text(size, plan->shared), size_text(has, free_bytes));
}

/// First the bounds that the recipe sets itself, then those of the machine.
tr_status memory_plan_check_memory(const memory_plan_t *plan, tr_error_t *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        TR_TRY(check_budget(plan, i, err));
    }
    for (size_t i = 0; i < plan->count; i++) {
        if (is_first(plan, i)) {
            TR_TRY(check_device(plan, plan->lines[i].device, err));
        }
    }
    return check_shared(plan, err);
}

/// The plan's lines against the machine, with rows or without.
static tr_status check_with(const tr_recipe_t *recipe, const tr_corpus_t *rows, tr_error_t *err)
{
    memory_plan_t plan;
    tr_status status = memory_plan_init(&plan, recipe, rows, err);
    status = status == TR_OK ? memory_plan_check_memory(&plan, err) : status;
    memory_plan_release(&plan);
    return status;
}

/// What `run` asks before it starts anything. Reading the data takes long, so it is done only if it
/// may change the answer.
tr_status memory_plan_check(const tr_recipe_t *recipe, tr_error_t *err)
{
    controller_data_t data;
    tr_status status = check_with(recipe, NULL, err);
    // any other failure would come again
    if (status == TR_ERR_MEMORY) {
        status = controller_data_load(&data, recipe, true, err);
        status = status == TR_OK ? check_with(recipe, &data.rows, err) : status;
        controller_data_release(&data);
    }
    return status;
}

// The table

/// A row: counts, then the columns; 0 is "-". name and device: texts; no: processes, or "".
static void print_row(FILE *out, const char *name, const char *no, const char *device,
                      const memory_t *m, size_t sum)
{
    const size_t columns[] = {m->weights, m->optimizer, m->gradient, m->activations, m->cache, sum};
    char text[SIZE_TEXT];
    fprintf(out, "  %-20s  %3s  %-8s", name, no, device);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        fprintf(out, "  %11s", columns[i] > 0 ? size_text(text, columns[i]) : "-");
    }
    fputc('\n', out);
}

/// One line: what is needed of what is free, or why that is not known.
static void print_device(FILE *out, const memory_plan_t *plan, const char *device)
{
    char needed[SIZE_TEXT], has[SIZE_TEXT];
    tr_error_t err = {0};
    size_t free_bytes;
    fprintf(out, "  %-8s  %s", device, size_text(needed, sum_on(plan, device)));
    if (available(&free_bytes, device, &err) == TR_OK) {
        fprintf(out, " of %s free\n", size_text(has, free_bytes));
    } else {
        fprintf(out, "; %s\n", err.text);
    }
}

/// Roles, then what no role has, then devices.
void memory_plan_print(FILE *out, const memory_plan_t *plan)
{
    const memory_t nothing = {0};
    fprintf(out, "  %-20s  %3s  %-8s  %11s  %11s  %11s  %11s  %11s  %11s\n", "role", "no.",
            "device", "weights", "optimizer", "gradient", "activations", "cache", "sum");
    for (size_t i = 0; i < plan->count; i++) {
        const memory_plan_line_t *line = &plan->lines[i];
        char no[SIZE_TEXT];
        // As a text, because a line that is no role has none.
        snprintf(no, sizeof no, "%zu", line->processes);
        print_row(out, line->name, no, line->device, &line->memory, whole(line));
    }
    for (size_t i = 0; i < plan->count; i++) {
        const char *device = plan->lines[i].device;
        // Once a GPU, whatever number of roles it has.
        if (is_first(plan, i) && tr_device_is_gpu(device)) {
            print_row(out, "driver", "", device, &nothing, beside(plan, device));
        }
    }
    if (plan->host > 0) {
        print_row(out, "host memory", "", "cpu", &nothing, plan->host);
    }
    fputc('\n', out);
    for (size_t i = 0; i < plan->count; i++) {
        if (is_first(plan, i)) {
            print_device(out, plan, plan->lines[i].device);
        }
    }
}
