// The run directory: made once, open in one process, and checkpoints that are whole or not there.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "controller/rundir.h"
#include "tests/support/scratch.h"

static tr_error_t err;
static char *folder; // the recipe's output
static char *path;   // folder/happy
static tr_recipe_t *recipe;
static controller_rundir_t *rundir;

static void make_recipe(void)
{
    static const char TEXT[] = "name: happy\nalgorithm: sft\nsteps: 3\nmodel: some/model\n"
                               "output: %s\ndata: {train: [rows.jsonl], batch: 1}\n";
    folder = scratch_open();
    path = tr_format("%s/happy", folder);
    char *text = tr_format(TEXT, folder);
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_parse(&recipe, text, strlen(text), "text", NULL, 0, &problems), TR_OK,
                 "%s", problems.count == 0 ? "" : problems.texts[0]);
    tr_recipe_problems_release(&problems);
    free(text);
}

static void create(void)
{
    cr_assert_eq(controller_rundir_create(&rundir, recipe, &err), TR_OK, "%s", err.text);
}

static void make_run(void)
{
    make_recipe();
    create();
}

static void clear(void)
{
    controller_rundir_destroy(&rundir);
    controller_rundir_destroy(&rundir);
    tr_recipe_destroy(&recipe);
    free(path);
    scratch_close(&folder);
}

static void reopen(void)
{
    controller_rundir_destroy(&rundir);
    cr_assert_eq(controller_rundir_open(&rundir, path, &err), TR_OK, "%s", err.text);
}

/// Whether path/name is there.
static bool has(const char *name)
{
    char *file = tr_format("%s/%s", path, name);
    bool there = access(file, F_OK) == 0;
    free(file);
    return there;
}

/// Makes the directory path/name.
static void make_folder(const char *name)
{
    char *made = tr_format("%s/%s", path, name);
    cr_assert_eq(tr_directory_make(made, &err), TR_OK, "%s", err.text);
    free(made);
}

/// Writes path/name.
static void make_file(const char *name)
{
    free(scratch_write(path, name, "x", 1));
}

/// Creating fails with a sentence that has this in it.
static void expect_refused(const char *part)
{
    controller_rundir_t *second;
    cr_assert_eq(controller_rundir_create(&second, recipe, &err), TR_ERR_ARGUMENT);
    cr_assert_null(second);
    cr_assert_not_null(strstr(err.text, part), "%s", err.text);
    cr_assert_not_null(strstr(err.text, path), "%s", err.text);
}

/// Begins the checkpoint with one file, model/weights, that holds `text`.
static void begin_checkpoint(uint64_t step, const char *text)
{
    char *part;
    cr_assert_eq(controller_rundir_checkpoint_begin(&part, rundir, step, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(scratch_count(part), 0U);
    char *model = tr_format("%s/model", part);
    cr_assert_eq(tr_directory_make(model, &err), TR_OK, "%s", err.text);
    free(scratch_write(model, "weights", text, strlen(text)));
    free(model);
    free(part);
}

static void add_checkpoint(uint64_t step, const char *text)
{
    begin_checkpoint(step, text);
    cr_assert_eq(controller_rundir_checkpoint_commit(rundir, step, &err), TR_OK, "%s", err.text);
}

static void expect_latest(uint64_t step)
{
    uint64_t latest;
    cr_assert_eq(controller_rundir_checkpoint_latest(&latest, rundir, &err), TR_OK, "%s", err.text);
    cr_assert_eq(latest, step);
}

static void expect_checkpoints(size_t count)
{
    char *checkpoints = controller_rundir_file(rundir, "checkpoints");
    cr_assert_eq(scratch_count(checkpoints), count);
    free(checkpoints);
}

/// A process that opens the run, says its address, and then only waits for its end.
static pid_t start_holder(void)
{
    int ends[2];
    char byte = 0;
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        controller_rundir_t *held;
        tr_error_t mine = {0};
        if (controller_rundir_open(&held, path, &mine) == TR_OK &&
            controller_rundir_write_endpoint(held, "ipc://there", &mine) == TR_OK) {
            byte = 1;
        }
        if (write(ends[1], &byte, 1) == 1) {
            pause();
        }
        _exit(1);
    }
    cr_assert_eq(read(ends[0], &byte, 1), 1);
    cr_assert_eq(byte, 1);
    close(ends[0]);
    close(ends[1]);
    return child;
}

static void kill_holder(pid_t child)
{
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

// What the C library would do, and a note of it: which files are on the disk when a name is given.

enum { NOTES = 64 };

static char notes[NOTES][256];
static size_t note_count;

static void note(const char *text)
{
    if (note_count < NOTES) {
        snprintf(notes[note_count++], sizeof *notes, "%s", text);
    }
}

int fsync(int descriptor)
{
    char link[64], name[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if (readlink(link, name, sizeof name - 1) > 0) {
        note(name);
    }
    return (int)syscall(SYS_fsync, descriptor);
}

int rename(const char *from, const char *to)
{
    note("rename");
    return (int)syscall(SYS_renameat2, -100, from, -100, to, 0); // -100: AT_FDCWD
}

/// The index of the note with this end; NOTES when there is none.
static size_t find_note(const char *end)
{
    for (size_t i = 0; i < note_count; i++) {
        size_t length = strlen(notes[i]);
        if (length >= strlen(end) && strcmp(notes[i] + length - strlen(end), end) == 0) {
            return i;
        }
    }
    return NOTES;
}

// Making and opening

Test(rundir, a_new_run_has_its_recipe_and_folders, .init = make_run, .fini = clear)
{
    cr_assert_str_eq(controller_rundir_path(rundir), path);
    cr_assert(has("recipe.yaml") && has("checkpoints") && has("logs") && has("lock"));
    cr_assert_eq(scratch_count(path), 4U);
    char *file = controller_rundir_file(rundir, "logs/actor.log");
    char *expected = tr_format("%s/logs/actor.log", path);
    cr_assert_str_eq(file, expected);
    free(expected);
    free(file);
}

Test(rundir, a_run_is_never_made_over_another, .init = make_run, .fini = clear)
{
    expect_refused("`troupe resume ");
    controller_rundir_destroy(&rundir);
    expect_refused("`troupe resume ");
}

Test(rundir, an_empty_directory_is_taken, .init = make_recipe, .fini = clear)
{
    cr_assert_eq(tr_directory_make(path, &err), TR_OK);
    create();
}

Test(rundir, a_directory_with_other_files_is_left_as_it_is, .init = make_recipe, .fini = clear)
{
    cr_assert_eq(tr_directory_make(path, &err), TR_OK);
    make_file("thesis.tex");
    expect_refused("not empty");
    cr_assert_eq(scratch_count(path), 1U);
}

Test(rundir, what_a_kill_left_of_a_run_in_the_making_is_taken, .init = make_recipe, .fini = clear)
{
    make_folder("checkpoints");
    make_file("lock");
    make_file("recipe.yaml.tmp");
    create();
    cr_assert(has("recipe.yaml") && has("logs") && !has("recipe.yaml.tmp"));
}

Test(rundir, a_directory_without_a_recipe_is_no_run, .init = make_recipe, .fini = clear)
{
    cr_assert_eq(controller_rundir_open(&rundir, path, &err), TR_ERR_ARGUMENT);
    cr_assert_null(rundir);
    make_folder("checkpoints");
    cr_assert_eq(controller_rundir_open(&rundir, path, &err), TR_ERR_ARGUMENT);
    cr_assert_not_null(strstr(err.text, path));
    cr_assert_eq(scratch_count(path), 1U);
}

// The lock

Test(rundir, a_run_is_open_once, .init = make_run, .fini = clear)
{
    controller_rundir_t *second;
    cr_assert_eq(controller_rundir_open(&second, path, &err), TR_ERR_ARGUMENT);
    cr_assert_null(second);
    cr_assert_not_null(strstr(err.text, "active"));
    reopen();
    controller_rundir_destroy(&rundir);
    cr_assert(!has("lock"), "the lock goes with its holder");
}

Test(rundir, a_killed_controllers_socket_goes_when_the_run_is_opened, .init = make_run,
     .fini = clear)
{
    char *address = tr_format("ipc://%s/controller.sock\n", path);
    controller_rundir_destroy(&rundir);
    free(scratch_write(path, "controller.sock", "", 0));
    free(scratch_write(path, "endpoint", address, strlen(address)));
    reopen();
    cr_assert(!has("controller.sock") && !has("endpoint"));
    free(address);
}

Test(rundir, another_processs_run_is_left_alone_until_it_is_gone, .init = make_run, .fini = clear)
{
    controller_rundir_destroy(&rundir);
    pid_t child = start_holder();
    make_folder("checkpoints/step-000001.part");
    cr_assert_eq(controller_rundir_open(&rundir, path, &err), TR_ERR_ARGUMENT);
    cr_assert(has("checkpoints/step-000001.part") && has("endpoint"));
    kill_holder(child);
    reopen();
    cr_assert(!has("checkpoints/step-000001.part") && !has("endpoint"));
}

// The address

Test(endpoint, is_there_from_its_writing_to_the_end_of_the_run, .init = make_run, .fini = clear)
{
    static const char *const ADDRESSES[] = {"tcp://127.0.0.1:5555", "ipc://a b"};
    char *file = tr_format("%s/endpoint", path);
    cr_assert(!has("endpoint"));
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(controller_rundir_write_endpoint(rundir, ADDRESSES[i], &err), TR_OK, "%s",
                     err.text);
        char *text = scratch_read(file, NULL);
        cr_assert_eq(strncmp(text, ADDRESSES[i], strlen(ADDRESSES[i])), 0, "%s", text);
        cr_assert_str_eq(text + strlen(ADDRESSES[i]), "\n");
        free(text);
    }
    free(file);
    controller_rundir_destroy(&rundir);
    cr_assert(!has("endpoint"));
}

// Checkpoints

Test(checkpoints, the_latest_is_the_last_that_is_whole, .init = make_run, .fini = clear)
{
    expect_latest(0);
    add_checkpoint(1, "a");
    expect_latest(1);
    add_checkpoint(40, "b");
    add_checkpoint(5, "c");
    begin_checkpoint(60, "d");
    expect_latest(40);
    char *named = controller_rundir_checkpoint(rundir, 40);
    char *expected = tr_format("%s/checkpoints/step-000040", path);
    cr_assert_str_eq(named, expected);
    char *text = tr_format("%s/model/weights", named);
    char *weights = scratch_read(text, NULL);
    cr_assert_str_eq(weights, "b");
    free(weights);
    free(text);
    free(expected);
    free(named);
}

Test(checkpoints, steps_are_ordered_as_numbers, .init = make_run, .fini = clear)
{
    add_checkpoint(1000000, "a");
    add_checkpoint(999999, "b");
    expect_latest(1000000);
    cr_assert_eq(controller_rundir_checkpoint_prune(rundir, 1, 0, &err), TR_OK, "%s", err.text);
    expect_latest(1000000);
    expect_checkpoints(1);
}

Test(checkpoints, other_names_are_no_checkpoints_and_stay, .init = make_run, .fini = clear)
{
    add_checkpoint(3, "a");
    make_folder("checkpoints/step-9");
    make_folder("checkpoints/step-000009-copy");
    make_folder("checkpoints/step-99999999999999999999999");
    make_folder("checkpoints/best");
    make_file("checkpoints/step-000010");
    expect_latest(3);
    add_checkpoint(4, "b");
    cr_assert_eq(controller_rundir_checkpoint_prune(rundir, 1, 0, &err), TR_OK, "%s", err.text);
    reopen();
    expect_checkpoints(6);
    expect_latest(4);
}

Test(checkpoints, that_were_never_finished_go_when_the_run_is_opened, .init = make_run,
     .fini = clear)
{
    add_checkpoint(1, "a");
    begin_checkpoint(2, "b");
    make_folder("checkpoints/step-000001.old.part");
    reopen();
    expect_checkpoints(1);
    expect_latest(1);
}

Test(checkpoints, beginning_again_starts_empty, .init = make_run, .fini = clear)
{
    begin_checkpoint(2, "b");
    begin_checkpoint(2, "c");
    expect_checkpoints(1);
}

Test(checkpoints, of_the_same_step_are_replaced, .init = make_run, .fini = clear)
{
    add_checkpoint(7, "old");
    add_checkpoint(7, "new");
    expect_checkpoints(1);
    char *named = controller_rundir_file(rundir, "checkpoints/step-000007/model/weights");
    char *weights = scratch_read(named, NULL);
    cr_assert_str_eq(weights, "new");
    free(weights);
    free(named);
}

Test(checkpoints, pruning_keeps_the_last, .init = make_run, .fini = clear)
{
    for (uint64_t step = 10; step <= 50; step += 10) {
        add_checkpoint(step, "x");
    }
    cr_assert_eq(controller_rundir_checkpoint_prune(rundir, 2, 0, &err), TR_OK, "%s", err.text);
    cr_assert(has("checkpoints/step-000040") && has("checkpoints/step-000050"));
    expect_checkpoints(2);
    cr_assert_eq(controller_rundir_checkpoint_prune(rundir, 9, 0, &err), TR_OK, "%s", err.text);
    expect_checkpoints(2);
}

Test(checkpoints, of_the_best_step_are_kept_and_linked_to, .init = make_run, .fini = clear)
{
    for (uint64_t step = 10; step <= 50; step += 10) {
        add_checkpoint(step, "x");
    }
    cr_assert_eq(controller_rundir_link_best(rundir, 10, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_rundir_link_best(rundir, 20, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_rundir_checkpoint_prune(rundir, 1, 20, &err), TR_OK, "%s", err.text);
    cr_assert(has("checkpoints/step-000020") && has("checkpoints/step-000050"));
    expect_checkpoints(2);
    char target[64] = "", *link = controller_rundir_file(rundir, "best");
    cr_assert_gt(readlink(link, target, sizeof target - 1), 0);
    cr_assert_str_eq(target, "checkpoints/step-000020");
    free(link);
    cr_assert(has("best/model/weights"));
    cr_assert_eq(controller_rundir_link_best(rundir, 0, &err), TR_OK, "%s", err.text);
    cr_assert_eq(controller_rundir_link_best(rundir, 0, &err), TR_OK, "%s", err.text);
    cr_assert(!has("best"));
}

Test(checkpoints, are_on_the_disk_before_they_bear_their_name, .init = make_run, .fini = clear)
{
    begin_checkpoint(1, "x");
    note_count = 0;
    cr_assert_eq(controller_rundir_checkpoint_commit(rundir, 1, &err), TR_OK, "%s", err.text);
    size_t named = find_note("rename");
    cr_assert_lt(named, NOTES);
    cr_assert_lt(find_note("step-000001.part/model/weights"), named);
    cr_assert_lt(find_note("step-000001.part/model"), named);
    cr_assert_lt(find_note("step-000001.part"), named);
    cr_assert_gt(find_note("/checkpoints"), named);
    cr_assert_lt(find_note("/checkpoints"), NOTES);
}

// Damage

/// The newest whole checkpoint is that of `step`, and the sentence about damage has this in it;
/// NULL: nothing is damaged.
static void expect_whole(uint64_t step, const char *damaged)
{
    uint64_t found;
    char *damage;
    cr_assert_eq(controller_rundir_checkpoint_verify(&found, &damage, rundir, &err), TR_OK, "%s",
                 err.text);
    cr_assert_eq(found, step);
    cr_assert_eq(damage != NULL, damaged != NULL, "%s", damage);
    cr_assert(damaged == NULL || strstr(damage, damaged) != NULL, "%s", damage);
    free(damage);
}

/// Writes the file of a checkpoint again, or removes it when text is NULL.
static void change(const char *checkpoint, const char *file, const char *text)
{
    char *changed = tr_format("%s/checkpoints/%s/%s", path, checkpoint, file);
    if (text == NULL) {
        cr_assert_eq(unlink(changed), 0);
    } else {
        cr_assert_eq(tr_file_write_atomic(changed, text, strlen(text), &err), TR_OK, "%s",
                     err.text);
    }
    free(changed);
}

Test(damage, of_any_kind_sends_the_run_to_the_checkpoint_before, .init = make_run, .fini = clear)
{
    static const struct {
        const char *file, *text;
    } changes[] = {
        {"model/weights", "weightz"}, {"model/weights", "weight"}, {"model/weights", ""},
        {"model/weights", NULL},      {"checksums.json", ""},      {"checksums.json", "{\"mo"},
        {"checksums.json", "[]"},     {"checksums.json", NULL},
    };
    expect_whole(0, NULL);
    add_checkpoint(1, "weights");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        add_checkpoint(2, "weights");
        expect_whole(2, NULL);
        change("step-000002", changes[i].file, changes[i].text);
        expect_whole(1, changes[i].file);
        expect_latest(1);
        cr_assert(has("checkpoints/step-000002.damaged"));
        expect_whole(1, NULL);
    }
}

Test(damage, of_the_newest_two_is_passed_over, .init = make_run, .fini = clear)
{
    for (uint64_t step = 1; step <= 3; step++) {
        add_checkpoint(step, "weights");
    }
    change("step-000002", "model/weights", "x");
    change("step-000003", "model/weights", "y");
    expect_whole(1, "step-000003/model/weights");
}

Test(damage, of_every_checkpoint_is_an_error, .init = make_run, .fini = clear)
{
    add_checkpoint(1, "weights");
    change("step-000001", "model/weights", "x");
    uint64_t step;
    char *damage;
    for (size_t again = 0; again < 2; again++) {
        cr_assert_eq(controller_rundir_checkpoint_verify(&step, &damage, rundir, &err),
                     TR_ERR_FORMAT);
        cr_assert_not_null(strstr(err.text, "step-000001/model/weights"), "%s", err.text);
        cr_assert(damage == NULL && has("checkpoints/step-000001"));
    }
}

Test(damage, is_not_what_somebody_added, .init = make_run, .fini = clear)
{
    add_checkpoint(1, "weights");
    change("step-000001", "notes.txt", "the good one");
    expect_whole(1, NULL);
}

// As xxhash.xxh3_64_hexdigest(b"weights") of PyPI gives it.
Test(damage, is_told_by_the_files_xxh3, .init = make_run, .fini = clear)
{
    add_checkpoint(1, "weights");
    char *list = tr_format("%s/checkpoints/step-000001/checksums.json", path);
    char *text = scratch_read(list, NULL);
    cr_assert_str_eq(text, "{\n  \"model/weights\": \"06cc94573ff53c71\"\n}");
    free(text);
    free(list);
}

Test(checkpoints, that_were_not_begun_cannot_be_committed, .init = make_run, .fini = clear)
{
    cr_assert_eq(controller_rundir_checkpoint_commit(rundir, 1, &err), TR_ERR_IO);
    expect_latest(0);
}
