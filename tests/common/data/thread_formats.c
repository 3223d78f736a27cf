/// Threads that read rows of one file at once, each in an order of its own, get the same rows. A
/// plain main, which also runs under the thread sanitizer.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/pool.h"
#include "common/data/reader.h"

enum { THREADS = 4 };

typedef struct task {
    const tr_data_file_t *file;
    char *found[THREADS]; // all rows, in their order
} task_t;

/// Rows in steps that the number of rows has no factor of, so that threads meet in row groups.
static void read_all(void *context, size_t i, size_t thread)
{
    static const size_t steps[THREADS] = {1, 7, 49, 23};
    (void)thread;
    task_t *task = context;
    size_t rows = task->file->rows;
    json_t *all = json_array();
    for (size_t k = 0; k < rows; k++) {
        json_array_append_new(all, json_null());
    }
    for (size_t k = 0; k < rows; k++) {
        size_t row = (k * steps[i] + i) % rows;
        json_t *columns = NULL;
        tr_error_t err = {0};
        tr_status status = task->file->reader->read(&columns, task->file, row, &err);
        TR_ASSERT(status == TR_OK, "row %zu: %s", row, err.text);
        json_array_set_new(all, row, columns);
    }
    task->found[i] = json_dumps(all, JSON_SORT_KEYS);
    json_decref(all);
}

static void check(const char *name)
{
    char *path = tr_format("%s/tests/golden/data/%s", TEST_SOURCE_DIR, name);
    tr_data_file_t *file;
    tr_error_t err = {0};
    TR_ASSERT(tr_data_file_open(&file, path, &err) == TR_OK, "%s", err.text);
    task_t task = {.file = file};
    tr_pool_t *pool = tr_pool_new(THREADS);
    tr_pool_run(pool, THREADS, read_all, &task);
    tr_pool_destroy(&pool);
    for (size_t i = 0; i < THREADS; i++) {
        TR_ASSERT(strcmp(task.found[i], task.found[0]) == 0, "%s: thread %zu", name, i);
    }
    for (size_t i = 0; i < THREADS; i++) {
        free(task.found[i]);
    }
    tr_data_file_close(&file);
    free(path);
}

int main(void)
{
    check("parquet_zstd_v2.parquet"); // 50 rows in groups of 17
    check("rows.json");
    check("csv_quotes.csv");
    puts("four threads read the same rows of each format");
    return 0;
}
