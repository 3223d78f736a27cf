// What makes our columns of a file's: the names that the recipe gives first, then the form that the
// row then has. Next: forms.c for the forms, dataset.c, which calls this for each row.
#include "common/data/columns.h"

#include <stdlib.h>
#include <string.h>

#include "common/data/forms.h"
#include "common/data/turns.h"
#include "common/text/json.h"
#include "common/text/utf8.h"

// In a row: tr_columns_t.shown, and what is wrong with columns, beside TR_JSON_FLAWS
#define SHOWN "\001shown"
#define MISTAKES "\001mistakes"
#define LENGTH(array) (sizeof(array) / sizeof *(array))

// Names that the recipe gives

/// A column, or the value that a dotted path leads to. *root: the column.
static json_t *at_path(const json_t *row, const char *path, char **root)
{
    const char *dot = strchr(path, '.');
    json_t *value = json_object_get(row, path);
    *root =
        value != NULL || dot == NULL ? tr_strdup(path) : tr_format("%.*s", (int)(dot - path), path);
    if (value != NULL || dot == NULL) {
        return value;
    }
    value = json_object_get(row, *root);
    for (const char *at = dot; value != NULL && at != NULL; at = strchr(at + 1, '.')) {
        const char *end = strchr(at + 1, '.');
        char *key =
            end != NULL ? tr_format("%.*s", (int)(end - at - 1), at + 1) : tr_strdup(at + 1);
        value = json_object_get(value, key);
        free(key);
    }
    return value;
}

/// Gives a column what another one holds, with its flaw. All of the row is as the file has it.
static void rename_column(json_t *renamed, const json_t *row, const char *ours, const char *path)
{
    char *root;
    json_t *value = at_path(row, path, &root);
    const char *flaw = tr_json_flaw(row, root);
    json_t *flaws = json_object_get(renamed, TR_JSON_FLAWS);
    if (value != NULL) {
        json_object_set(renamed, ours, value);
    } else {
        json_object_del(renamed, ours);
    }
    if (flaw != NULL) {
        json_object_set_new(flaws, ours, json_string(flaw));
    } else {
        json_object_del(flaws, ours);
    }
    free(root);
}

static void rename_all(json_t *row, const json_t *names)
{
    const char *ours;
    json_t *path, *as_it_was = json_copy(row);
    json_t *flaws = json_copy(json_object_get(row, TR_JSON_FLAWS));
    if (flaws != NULL) {
        json_object_set_new(as_it_was, TR_JSON_FLAWS, flaws);
    }
    json_object_foreach((json_t *)names, ours, path)
    {
        if (json_is_null(path)) {
            json_object_del(row, ours);
        } else {
            rename_column(row, as_it_was, ours, json_string_value(path));
        }
    }
    json_decref(as_it_was);
}

char *tr_columns_list(const json_t *row)
{
    tr_bytes_t text = {0};
    const char *column;
    json_t *value;
    tr_bytes_append(&text, "", 0);
    json_object_foreach((json_t *)row, column, value)
    {
        if ((unsigned char)column[0] > 1) { // what is not a column begins with \001
            tr_bytes_append(&text, ", ", text.length > 0 ? 2 : 0);
            tr_bytes_append(&text, column, strlen(column));
        }
    }
    return text.data;
}

/// Of a dataset_info.json's names these may first be met in a later row.
static bool is_optional(const char *column)
{
    return strcmp(column, "system") == 0 || strcmp(column, "history") == 0 ||
           strcmp(column, "tools") == 0;
}

/// Each name must be that of a column in the first row, which says for all what there is.
static tr_status check_names(const tr_columns_given_t *given, const json_t *row, tr_error_t *err)
{
    const char *ours;
    json_t *path;
    json_object_foreach(given->names, ours, path)
    {
        char *root = NULL;
        if (given->form != NULL && is_optional(ours)) {
            continue;
        }
        if (!json_is_string(path) && !json_is_null(path)) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "data.columns: %s: expected the name of a column, or null", ours);
        }
        bool there = json_is_null(path) || at_path(row, json_string_value(path), &root) != NULL;
        free(root);
        if (!there) {
            char *list = tr_columns_list(row);
            tr_fail(err, TR_ERR_ARGUMENT,
                    "data.columns: %s: the first row has no column '%s'; it has %s", ours,
                    json_string_value(path), list);
            free(list);
            return TR_ERR_ARGUMENT;
        }
    }
    return TR_OK;
}

// A file

static void show(json_t *shown, const char *ours, const char *theirs)
{
    if (json_object_get(shown, ours) == NULL && strcmp(ours, theirs) != 0) {
        json_object_set_new(shown, ours, json_sprintf("%s (%s)", theirs, ours));
    }
}

/// How sentences call our columns: as the recipe does, else as the form, whose own the recipe may
/// have named.
static json_t *make_shown(const tr_form_t *form, const json_t *names)
{
    json_t *shown = json_object(), *path;
    const char *ours;
    json_object_foreach((json_t *)names, ours, path)
    {
        if (json_is_string(path)) {
            show(shown, ours, json_string_value(path));
        }
    }
    for (size_t i = 0; form != NULL && i < LENGTH(form->shown) && form->shown[i][0] != NULL; i++) {
        show(shown, form->shown[i][0], tr_json_string(names, form->shown[i][1], form->shown[i][1]));
    }
    return shown;
}

/// The form of a row as the names have it.
static tr_status find_form(const tr_form_t **form, const json_t *first,
                           const tr_columns_given_t *given, const tr_rows_options_t *options,
                           tr_error_t *err)
{
    if (given->form != NULL) {
        *form = tr_form_named(given->form);
        return TR_OK;
    }
    json_t *row = json_copy((json_t *)first);
    if (given->names != NULL) {
        rename_all(row, given->names);
    }
    tr_status status = tr_form_find(form, row, options, err);
    json_decref(row);
    return status;
}

tr_status tr_columns_find(tr_columns_t *columns, const json_t *first,
                          const tr_columns_given_t *given, const tr_rows_options_t *options,
                          tr_error_t *err)
{
    *columns = (tr_columns_t){0};
    TR_TRY(check_names(given, first, err));
    TR_TRY(find_form(&columns->form, first, given, options, err));
    columns->given = *given;
    columns->given.names = json_deep_copy(given->names);
    columns->given.tags = json_deep_copy(given->tags);
    if (columns->form != NULL || given->names != NULL) {
        columns->shown = make_shown(columns->form, given->names);
    }
    return TR_OK;
}

void tr_columns_release(tr_columns_t *columns)
{
    json_decref(columns->given.names);
    json_decref(columns->given.tags);
    json_decref(columns->shown);
    *columns = (tr_columns_t){0};
}

void tr_column_spoil(json_t *row, const char *column, const tr_error_t *bad)
{
    json_t *mistakes = json_object_get(row, MISTAKES);
    if (mistakes == NULL) {
        mistakes = json_object();
        json_object_set_new(row, MISTAKES, mistakes);
    }
    json_object_set_new(mistakes, column, json_string(bad->text));
    json_object_set_new(row, column, json_null());
}

tr_status tr_column_check(const json_t *row, const char *column, tr_error_t *err)
{
    const char *mistake = tr_json_string(json_object_get(row, MISTAKES), column, NULL);
    const char *flaw = tr_json_flaw(row, column);
    return mistake != NULL ? tr_fail(err, TR_ERR_FORMAT, "%s", mistake)
           : flaw != NULL
               ? tr_fail(err, TR_ERR_FORMAT, "%s: found %s", tr_column_shown(row, column), flaw)
               : TR_OK;
}

/// Columns that tell the form; of those that were hidden none is expected. Without one nothing of
/// the form is there.
static bool expect_columns(json_t *row, const tr_columns_t *columns)
{
    const tr_form_t *form = columns->form;
    tr_error_t bad = {0}, one = {0};
    for (size_t i = 0; i < LENGTH(form->has) && form->has[i] != NULL; i++) {
        const json_t *named = json_object_get(columns->given.names, form->has[i]);
        if (json_object_get(row, form->has[i]) == NULL && !(named != NULL && json_is_null(named))) {
            tr_fail(&one, TR_ERR_FORMAT, "%s: the column is missing",
                    tr_column_shown(row, form->has[i]));
            tr_error_join(&bad, &one);
        }
    }
    for (size_t i = 0; bad.status != TR_OK && i < LENGTH(form->shown) && form->shown[i][0] != NULL;
         i++) {
        tr_column_spoil(row, form->shown[i][0], &bad);
    }
    return bad.status == TR_OK;
}

/// LLaMA-Factory and ms-swift take a function with and without its frame; templates know the frame.
static void frame_tools(json_t *row)
{
    const json_t *given = json_object_get(row, "tools"), *tool;
    json_t *tools = json_is_string(given) ? json_loads(json_string_value(given), 0, NULL)
                                          : json_incref((json_t *)given);
    json_t *framed = json_array();
    size_t i;
    json_array_foreach(tools, i, tool)
    {
        bool bare = json_is_object(tool) && json_object_get(tool, "type") == NULL &&
                    json_object_get(tool, "function") == NULL;
        json_array_append_new(
            framed, bare ? json_pack("{s:s, s:O}", "type", "function", "function", (json_t *)tool)
                         : json_incref((json_t *)tool));
    }
    if (json_is_array(tools)) {
        json_object_set(row, "tools", framed);
    }
    json_decref(framed);
    json_decref(tools);
}

/// LLaMA-Factory passes over conversations in another order than its own.
static void check_order(json_t *row, const tr_columns_given_t *given)
{
    static const char TURNS[] = "conversations";
    tr_error_t bad = {0};
    if (given->form != NULL && given->tags != NULL && json_object_get(row, TURNS) != NULL &&
        tr_column_check(row, TURNS, &bad) == TR_OK &&
        tr_turns_check_order(json_object_get(row, TURNS), tr_column_shown(row, TURNS), given->pairs,
                             &bad) != TR_OK) {
        tr_column_spoil(row, TURNS, &bad);
    }
}

void tr_columns_apply(json_t *row, const tr_columns_t *columns)
{
    const tr_columns_given_t *given = &columns->given;
    if (given->names != NULL) {
        rename_all(row, given->names);
    }
    if (columns->shown != NULL) {
        json_object_set(row, SHOWN, columns->shown);
    }
    tr_turns_in_row(row, given->tags);
    check_order(row, given);
    if (columns->form != NULL && expect_columns(row, columns)) {
        frame_tools(row);
        columns->form->read(row);
    }
}

const char *tr_columns_form(const tr_columns_t *columns)
{
    return columns->form != NULL ? columns->form->name : "TRL";
}

const char *tr_column_shown(const json_t *row, const char *column)
{
    const char *shown = json_string_value(json_object_get(json_object_get(row, SHOWN), column));
    return shown != NULL ? shown : column;
}

void tr_columns_strip(json_t *row)
{
    json_object_del(row, SHOWN);
    json_object_del(row, MISTAKES);
    json_object_del(row, TR_JSON_FLAWS);
}
