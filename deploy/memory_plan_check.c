// Needs against what this machine has, and both in a table.
#include <stdlib.h>
#include <string.h>

#include "common/tensor/device.h"
#include "deploy/machine.h"
#include "deploy/memory_plan.h"

enum {
    GPUS_MOST = 64,
    DRIVER =
        512 << 20 // bytes, about, that CUDA takes of a GPU for each process, outside of its budget
};

// Devices

static tr_status open_device(const tr_recipe_t *recipe, const char *role, const char *name,
                             double gibibytes, tr_error_t *err)
{
    const char *precision = tr_precision_names[recipe->precision];
    tr_device_options_t options = {.device = name, .memory = (size_t)(gibibytes * 0x1p30)};
    tr_backend_t *backend = NULL;
    if (!tr_device_is_gpu(name)) {
        return TR_OK;
    }
    TR_TRY(tr_precision_parse(&options.precision, precision, err));
    if (tr_backend_open(&backend, &options, err) != TR_OK) {
        return tr_error_prefix(err, "roles.%s.device", role);
    }
    tr_backend_close(&backend);
    return TR_OK;
}

static tr_status open_devices(const tr_recipe_t *recipe, const char *role, const tr_texts_t *names,
                              double gibibytes, tr_error_t *err)
{
    for (size_t i = 0; i < names->count; i++) {
        TR_TRY(open_device(recipe, role, names->items[i], gibibytes, err));
    }
    return TR_OK;
}

static tr_status check_speakers(const tr_recipe_t *recipe, tr_error_t *err)
{
    const tr_recipe_roles_t *roles = &recipe->roles;
    if (roles->rollout.external < roles->rollout.workers) {
        TR_TRY(open_devices(recipe, "rollout", &roles->rollout.device, roles->rollout.memory, err));
    }
    for (size_t i = 0; i < roles->reward.count; i++) {
        const tr_judge_t *judge = &roles->reward.items[i];
        if (judge->kind == &tr_judge_model) {
            char *name = tr_format("reward.%zu", i);
            tr_status status =
                open_device(recipe, name, ((const tr_model_judge_t *)judge->options)->device,
                            ((const tr_model_judge_t *)judge->options)->memory, err);
            free(name);
            TR_TRY(status);
        }
    }
    return TR_OK;
}

tr_status needs_check_devices(const tr_recipe_t *recipe, tr_error_t *err)
{
    const tr_recipe_roles_t *roles = &recipe->roles;
    if (tr_algorithm_learns(tr_recipe_algorithm(recipe))) {
        TR_TRY(open_devices(recipe, "actor", &roles->actor.device, roles->actor.memory, err));
    }
    if (roles->reference.separate) {
        TR_TRY(open_device(recipe, "reference", roles->reference.device, roles->reference.memory,
                           err));
    }
    if (tr_algorithm_has_critic(tr_recipe_algorithm(recipe))) {
        TR_TRY(open_devices(recipe, "critic", &roles->critic.device, roles->critic.memory, err));
    }
    return tr_algorithm_generates(tr_recipe_algorithm(recipe)) ? check_speakers(recipe, err)
                                                               : TR_OK;
}

// Memory

/// Bytes that a device has free.
static tr_status available(size_t *bytes, const char *device, tr_error_t *err)
{
    tr_device_info_t gpus[GPUS_MOST];
    size_t count, total, index;
    if (!tr_device_is_gpu(device)) {
        return machine_memory(&total, bytes, err);
    }
    index = (size_t)tr_device_index(device);
    TR_TRY(tr_device_list(gpus, GPUS_MOST, &count, err));
    if (index >= count) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "there is no %s: this machine shows %zu GPU(s), from cuda:0", device, count);
    }
    *bytes = gpus[index].free;
    return TR_OK;
}

/// Bytes that all processes of a role need.
static size_t whole(const needs_role_t *role)
{
    return tr_memory_sum(&role->memory) * role->processes;
}

/// The first role on its device, of whose lines the sums are made.
static bool is_first(const needs_t *needs, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (tr_device_is_same(needs->roles[k].device, needs->roles[i].device)) {
            return false;
        }
    }
    return true;
}

/// What CUDA itself takes of a device.
static size_t driver_on(const needs_t *needs, const char *device)
{
    size_t processes = 0;
    for (size_t i = 0; i < needs->count && tr_device_is_gpu(device); i++) {
        const needs_role_t *role = &needs->roles[i];
        bool counts = !role->within && tr_device_is_same(role->device, device);
        processes += counts ? role->processes : 0;
    }
    return processes * DRIVER;
}

static size_t sum_on(const needs_t *needs, const char *device)
{
    size_t sum = tr_device_is_gpu(device) ? driver_on(needs, device) : needs->host;
    for (size_t i = 0; i < needs->count; i++) {
        sum += tr_device_is_same(needs->roles[i].device, device) ? whole(&needs->roles[i]) : 0;
    }
    return sum;
}

/// "12.30 GiB" or "640.0 MiB". Owned by the caller (free).
static char *size_text(size_t bytes)
{
    return bytes >= (size_t)1 << 30 ? tr_format("%.2f GiB", (double)bytes / 0x1p30)
                                    : tr_format("%.1f MiB", (double)bytes / 0x1p20);
}

/// "weights 2.00 GiB + optimizer ..." of what is not 0. Owned by the caller (free).
static char *parts_text(const tr_memory_t *m)
{
    const struct {
        const char *name;
        size_t bytes;
    } parts[] = {{"weights", m->weights},
                 {"optimizer", m->optimizer},
                 {"gradient", m->gradient},
                 {"activations", m->activations},
                 {"cache", m->cache}};
    char *text = tr_strdup("");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].bytes > 0) {
            char *size = size_text(parts[i].bytes);
            char *longer =
                tr_format("%s%s%s %s", text, text[0] == '\0' ? "" : " + ", parts[i].name, size);
            free(size);
            free(text);
            text = longer;
        }
    }
    return text;
}

/// "actor 3.00 GiB + 2 x rollout 1.00 GiB": who is on the device. Owned by the caller (free).
static char *roles_text(const needs_t *needs, const char *device)
{
    char *text = tr_strdup("");
    for (size_t i = 0; i < needs->count; i++) {
        const needs_role_t *role = &needs->roles[i];
        if (tr_device_is_same(role->device, device)) {
            char *size = size_text(tr_memory_sum(&role->memory));
            char *times =
                role->processes > 1 ? tr_format("%zu x ", role->processes) : tr_strdup("");
            char *longer = tr_format("%s%s%s%s %s", text, text[0] == '\0' ? "" : " + ", times,
                                     role->name, size);
            free(times);
            free(size);
            free(text);
            text = longer;
        }
    }
    size_t rest = tr_device_is_gpu(device) ? driver_on(needs, device) : needs->host;
    if (rest > 0) {
        char *size = size_text(rest);
        char *longer = tr_format("%s + %s %s", text,
                                 tr_device_is_gpu(device) ? "driver" : "host memory", size);
        free(size);
        free(text);
        text = longer;
    }
    return text;
}

static const char remedy[] =
    "lower optimizer.chunk, roles.rollout.max_batch or the rows' lengths, set "
    "optimizer.gradient_checkpointing, or take another device or a smaller model";

/// A role's budget holds what is in its process: the actor's its reference too.
static tr_status check_budget(const needs_t *needs, size_t i, tr_error_t *err)
{
    const needs_role_t *role = &needs->roles[i];
    size_t needed = tr_memory_sum(&role->memory);
    if (i + 1 < needs->count && needs->roles[i + 1].within) {
        needed += tr_memory_sum(&needs->roles[i + 1].memory);
    }
    if (role->within || role->budget == 0 || needed <= role->budget) {
        return TR_OK;
    }
    char *size = size_text(needed), *budget = size_text(role->budget);
    char *parts = parts_text(&role->memory);
    tr_fail(err, TR_ERR_MEMORY, "%s needs %s of %s (%s), its `memory` is %s: raise it, or %s",
            role->name, size, role->device, parts, budget, remedy);
    free(parts);
    free(budget);
    free(size);
    return TR_ERR_MEMORY;
}

static tr_status check_device(const needs_t *needs, const char *device, tr_error_t *err)
{
    size_t free_bytes, needed = sum_on(needs, device);
    TR_TRY(available(&free_bytes, device, err));
    if (needed <= free_bytes) {
        return TR_OK;
    }
    char *size = size_text(needed), *has = size_text(free_bytes),
         *roles = roles_text(needs, device);
    tr_fail(err, TR_ERR_MEMORY, "%s: %s are needed (%s), %s are free: %s", device, size, roles, has,
            remedy);
    free(roles);
    free(has);
    free(size);
    return TR_ERR_MEMORY;
}

tr_status needs_check_memory(const needs_t *needs, tr_error_t *err)
{
    for (size_t i = 0; i < needs->count; i++) {
        TR_TRY(check_budget(needs, i, err));
    }
    for (size_t i = 0; i < needs->count; i++) {
        if (is_first(needs, i)) {
            TR_TRY(check_device(needs, needs->roles[i].device, err));
        }
    }
    return TR_OK;
}

tr_status needs_check(const tr_recipe_t *recipe, tr_error_t *err)
{
    needs_t needs;
    TR_TRY(needs_check_devices(recipe, err));
    tr_status status = needs_init(&needs, recipe, false, err);
    if (status == TR_OK) {
        status = needs_check_memory(&needs, err);
    }
    needs_release(&needs);
    if (status != TR_ERR_MEMORY) {
        return status;
    }
    status = needs_init(&needs, recipe, true, err); // rows may be shorter than they may be
    if (status == TR_OK) {
        status = needs_check_memory(&needs, err);
    }
    needs_release(&needs);
    return status;
}

// The table

static void print_size(FILE *out, size_t bytes)
{
    char *text = bytes > 0 ? size_text(bytes) : tr_strdup("-");
    fprintf(out, "  %11s", text);
    free(text);
}

static void print_role(FILE *out, const needs_role_t *role)
{
    const tr_memory_t *m = &role->memory;
    fprintf(out, "  %-20s  %3zu  %-8s", role->name, role->processes, role->device);
    print_size(out, m->weights);
    print_size(out, m->optimizer);
    print_size(out, m->gradient);
    print_size(out, m->activations);
    print_size(out, m->cache);
    print_size(out, whole(role));
    fputc('\n', out);
}

/// What is in no process's account.
static void print_other(FILE *out, const char *name, const char *device, size_t bytes)
{
    fprintf(out, "  %-20s  %3s  %-8s  %11s  %11s  %11s  %11s  %11s", name, "", device, "-", "-",
            "-", "-", "-");
    print_size(out, bytes);
    fputc('\n', out);
}

static void print_device(FILE *out, const needs_t *needs, const char *device)
{
    tr_error_t err = {0};
    size_t free_bytes;
    char *needed = size_text(sum_on(needs, device));
    if (available(&free_bytes, device, &err) == TR_OK) {
        char *has = size_text(free_bytes);
        fprintf(out, "  %-8s  %s of %s free\n", device, needed, has);
        free(has);
    } else {
        fprintf(out, "  %-8s  %s; %s\n", device, needed, err.text);
    }
    free(needed);
}

void needs_print(FILE *out, const needs_t *needs)
{
    fprintf(out, "  %-20s  %3s  %-8s  %11s  %11s  %11s  %11s  %11s  %11s\n", "role", "no.",
            "device", "weights", "optimizer", "gradient", "activations", "cache", "sum");
    for (size_t i = 0; i < needs->count; i++) {
        print_role(out, &needs->roles[i]);
    }
    for (size_t i = 0; i < needs->count; i++) {
        const char *device = needs->roles[i].device;
        if (is_first(needs, i) && tr_device_is_gpu(device)) {
            print_other(out, "driver", device, driver_on(needs, device));
        }
    }
    if (needs->host > 0) {
        print_other(out, "host memory", "cpu", needs->host);
    }
    fputc('\n', out);
    for (size_t i = 0; i < needs->count; i++) {
        if (is_first(needs, i)) {
            print_device(out, needs, needs->roles[i].device);
        }
    }
}
