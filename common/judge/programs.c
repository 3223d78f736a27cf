// The judges `exec` and `external`: programs of the user's, which score by answering messages
// (proto/PROTOCOL.md).
//
// Two kinds in one file, because neither scores anything here: they differ in who starts the
// program.
#include "common/judge/judge.h"

static const tr_field_t exec_fields[] = {
    TR_FIELD(tr_exec_judge_t, workers, TR_FIELD_WHOLE, "1", .range = &tr_range_to_thousand,
             .local = true, .help = "Processes."),
    TR_FIELD(tr_exec_judge_t, exec, TR_FIELD_TEXTS, "[]", .names = TR_NAMES_PROGRAM, .local = true,
             .help = "A program and its arguments; it implements Troupe's protocol."),
};
static const tr_fields_t exec_table = TR_FIELDS(tr_exec_judge_t, exec_fields);

/// An empty list is the default, so that an entry without a program is refused with a sentence.
static char *check_exec(const char **key, const void *options)
{
    *key = "exec";
    return ((const tr_exec_judge_t *)options)->exec.count > 0
               ? NULL
               : tr_strdup("expected a program, found none");
}

const tr_judge_kind_t tr_judge_exec = {
    .name = "exec",
    .fields = &exec_table,
    .started = true,
    .check = check_exec,
};

static const tr_field_t external_fields[] = {
    TR_FIELD(tr_external_judge_t, external, TR_FIELD_TEXT, "null", .nullable = true, .local = true,
             .help = "The group of a worker that is started by hand."),
};
static const tr_fields_t external_table = TR_FIELDS(tr_external_judge_t, external_fields);

/// `.started` is false: the run waits for a worker of this group.
const tr_judge_kind_t tr_judge_external = {
    .name = "external",
    .fields = &external_table,
};
