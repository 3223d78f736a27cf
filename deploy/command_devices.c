// `troupe devices`: lists what a recipe's `device` may name on this machine.
//
// The same questions as `troupe check` asks, without a recipe: the CPU by /proc (machine.c), GPUs
// by the CUDA module, if it is there.
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/pool.h"
#include "common/tensor/device.h"
#include "deploy/command.h"
#include "deploy/machine.h"

enum { DEVICES_MOST = 64, COLUMNS = 6 };

/// The CPU as the GPUs are described. Its backend is opened to learn the form: the widest
/// instruction set that this CPU has.
static tr_status describe_cpu(tr_device_info_t *info, tr_error_t *err)
{
    tr_backend_t *backend;
    *info = (tr_device_info_t){.name = "cpu"};
    TR_TRY(tr_backend_open_cpu(&backend, TR_F32, 1, err));
    snprintf(info->form, sizeof info->form, "%s", backend->form);
    tr_backend_close(&backend);
    machine_cpu_model(info->model, sizeof info->model);
    return machine_memory(&info->memory, &info->free, err);
}

// Showing

enum { CELL = sizeof((tr_device_info_t *)0)->model + 32 };

/// Texts of a row, left or right in their columns; row 0 has the titles.
typedef struct table {
    char cells[DEVICES_MOST + 2][COLUMNS][CELL];
    size_t rows;
} table_t;

/// threads: of a CPU; 0: a GPU.
static void add_device(table_t *table, const tr_device_info_t *info, size_t threads)
{
    char(*row)[CELL] = table->cells[table->rows++];
    snprintf(row[0], CELL, "%s", info->name);
    snprintf(row[1], CELL, "%s", info->model);
    snprintf(row[2], CELL, "%s", info->form);
    snprintf(row[3], CELL, threads > 0 ? "%zu threads" : "%zu multiprocessors",
             threads > 0 ? threads : info->multiprocessors);
    snprintf(row[4], CELL, "%.1f GiB", (double)info->free / 0x1p30);
    snprintf(row[5], CELL, "%.1f GiB", (double)info->memory / 0x1p30);
}

/// Columns as wide as their widest cell; bytes stand to the right.
static void print_table(const table_t *table)
{
    int widths[COLUMNS] = {0};
    for (size_t i = 0; i < table->rows; i++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            int width = (int)strlen(table->cells[i][c]);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    for (size_t i = 0; i < table->rows; i++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            bool number = c >= 4;
            printf("%s%*s", c == 0 ? "" : "  ", number ? widths[c] : -widths[c],
                   table->cells[i][c]);
        }
        putchar('\n');
    }
}

/// For people: a table, then why there is no GPU; reason "": there is one.
static void show(const tr_device_info_t *devices, size_t count, const char *reason)
{
    table_t table = {.cells = {{"device", "model", "form", "", "free", "memory"}}, .rows = 1};
    for (size_t i = 0; i < count; i++) {
        add_device(&table, &devices[i], i == 0 ? tr_pool_processors() : 0);
    }
    print_table(&table);
    if (reason[0] != '\0') {
        printf("no GPU: %s\n", reason);
    }
}

/// {"devices": [{"device", "model", "form", "memory", "free", and "threads" or "multiprocessors"}],
/// "no_gpu": why, or null}.
static void show_json(const tr_device_info_t *devices, size_t count, const char *reason)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const tr_device_info_t *info = &devices[i];
        // The first one is the CPU.
        size_t units = i == 0 ? tr_pool_processors() : info->multiprocessors;
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "device", info->name,
                                        "model", info->model, "form", info->form, "memory",
                                        (json_int_t)info->memory, "free", (json_int_t)info->free,
                                        i == 0 ? "threads" : "multiprocessors", (json_int_t)units));
    }
    json_t *all = json_pack("{s:o, s:o}", "devices", list, "no_gpu",
                            reason[0] != '\0' ? json_string(reason) : json_null());
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

/// A machine without a GPU is a normal answer and no failure.
int command_devices(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"json", 'j', NULL, 0, "Print JSON", 0},
        {0},
    };
    // COLUMNS wide, a row for each device and one for the titles.
    command_line_t line = {
        .options = table,
        .doc = "List what a role's `device` may be on this machine: the CPU, and each GPU with its "
               "memory; where there is none, why."};
    tr_device_info_t devices[DEVICES_MOST + 1];
    size_t gpus = 0;
    tr_error_t err = {0}, none = {0};
    command_parse(&line, argc, argv);
    tr_status status = describe_cpu(&devices[0], &err);
    if (status != TR_OK) {
        return tr_status_report(status, &err);
    }
    tr_device_list(devices + 1, DEVICES_MOST, &gpus, &none); // a machine without GPUs is no failure
    (line.values['j'] != NULL ? show_json : show)(devices, 1 + gpus, none.text);
    return 0;
}
