// Rows from leaves. A node asks the first leaf below it whether it is there, as all of them say the
// same; leaves that disagree are damage, which is seen where a row or an element begins.
#include "common/data/parquet/rows.h"

#include <stdbool.h>
#include <stdlib.h>

#include "common/data/parquet/cell.h"
#include "common/data/parquet/cursor.h"
#include "common/data/value.h"

// Of pages; and of a column in a row, where a value costs its bytes and what jansson needs.
static const size_t PAGES_MOST = (size_t)2 << 30, VALUE_MOST = (size_t)1 << 30;
enum { VALUE_COST = 64 };

struct parquet_rows {
    const parquet_node_t *root;
    parquet_cursor_t *cursors; // [leaves]
    char **flaws;              // [columns]; NULL: the column can be read so far
    size_t lost;               // columns that have one
    size_t budget;
    // Of the column that is read
    size_t cost;
    const char *flaw;
};

static void begin_leaves(parquet_rows_t *rows, const parquet_node_t *node,
                         const parquet_group_t *group, int descriptor)
{
    if (node->kind == PARQUET_LEAF) {
        parquet_cursor_begin(&rows->cursors[node->first_leaf], node,
                             &group->chunks[node->first_leaf], descriptor, &rows->budget);
    }
    for (size_t i = 0; i < node->children; i++) {
        begin_leaves(rows, &node->child[i], group, descriptor);
    }
}

parquet_rows_t *parquet_rows_new(const parquet_schema_t *schema, const parquet_group_t *group,
                                 int descriptor)
{
    parquet_rows_t *rows = tr_calloc(1, sizeof *rows);
    rows->root = &schema->root;
    rows->budget = PAGES_MOST;
    rows->cursors = tr_calloc(rows->root->leaves, sizeof *rows->cursors);
    rows->flaws = tr_calloc(rows->root->children, sizeof *rows->flaws);
    begin_leaves(rows, rows->root, group, descriptor);
    return rows;
}

void parquet_rows_destroy(parquet_rows_t **rows)
{
    if (*rows == NULL) {
        return;
    }
    for (size_t i = 0; i < (*rows)->root->leaves; i++) {
        parquet_cursor_release(&(*rows)->cursors[i]);
    }
    for (size_t i = 0; i < (*rows)->root->children; i++) {
        free((*rows)->flaws[i]);
    }
    free((*rows)->cursors);
    free((*rows)->flaws);
    free(*rows);
    *rows = NULL;
}

static tr_status disagree(tr_error_t *err)
{
    return tr_fail(err, TR_ERR_FORMAT, "its parts do not have as many values as the rows");
}

static tr_status count(parquet_rows_t *rows, size_t bytes, tr_error_t *err)
{
    rows->cost += bytes + VALUE_COST;
    return rows->cost <= VALUE_MOST
               ? TR_OK
               : tr_fail(err, TR_ERR_UNSUPPORTED, "more than a GiB in one row");
}

static tr_status read_node(json_t **value, parquet_rows_t *rows, const parquet_node_t *node,
                           tr_error_t *err);

static tr_status read_leaf(json_t **value, parquet_rows_t *rows, const parquet_node_t *node,
                           tr_error_t *err)
{
    parquet_cursor_t *cursor = &rows->cursors[node->first_leaf];
    const char *flaw = NULL;
    TR_TRY(parquet_cursor_load(cursor, err));
    if (cursor->ended || cursor->definition != node->definition) {
        return disagree(err);
    }
    TR_TRY(count(rows, cursor->value.length, err));
    *value = parquet_cell(&cursor->value, node, &flaw);
    rows->flaw = rows->flaw == NULL ? flaw : rows->flaw;
    parquet_cursor_pass(cursor);
    return TR_OK;
}

static tr_status read_struct(json_t **value, parquet_rows_t *rows, const parquet_node_t *node,
                             tr_error_t *err)
{
    json_t *object = json_object();
    for (size_t i = 0; i < node->children; i++) {
        json_t *item = NULL;
        if (read_node(&item, rows, &node->child[i], err) != TR_OK) {
            json_decref(object);
            return err->status;
        }
        json_object_set_new(object, node->child[i].name, item);
    }
    *value = object;
    return TR_OK;
}

/// pairs: taken: structs of a key and a value. An object, where keys are texts; of one that comes
/// twice, the last counts.
static json_t *map_of(json_t *pairs, const parquet_node_t *entry)
{
    const parquet_node_t *key = &entry->child[0];
    if (key->kind != PARQUET_LEAF || key->type != PARQUET_BYTE_ARRAY) {
        return pairs;
    }
    json_t *object = json_object(), *pair;
    size_t i;
    json_array_foreach(pairs, i, pair)
    {
        const char *name = json_string_value(json_object_get(pair, key->name));
        json_object_set(object, name != NULL ? name : "",
                        json_object_get(pair, entry->child[1].name));
    }
    json_decref(pairs);
    return object;
}

/// Of a node that is there.
static tr_status read_content(json_t **value, parquet_rows_t *rows, const parquet_node_t *node,
                              tr_error_t *err)
{
    switch (node->kind) {
    case PARQUET_LEAF: return read_leaf(value, rows, node, err);
    case PARQUET_STRUCT: return read_struct(value, rows, node, err);
    case PARQUET_MAP:
        TR_TRY(read_node(value, rows, node->child, err));
        *value = map_of(*value, node->child);
        return TR_OK;
    default: return read_node(value, rows, node->child, err);
    }
}

/// Passes over the entry that says, in all leaves below a node, that it is not there.
static tr_status pass_leaves(parquet_rows_t *rows, const parquet_node_t *node, tr_error_t *err)
{
    for (size_t i = 0; i < node->leaves; i++) {
        parquet_cursor_t *cursor = &rows->cursors[node->first_leaf + i];
        TR_TRY(parquet_cursor_load(cursor, err));
        if (cursor->ended || cursor->definition >= node->definition) {
            return disagree(err);
        }
        parquet_cursor_pass(cursor);
    }
    return TR_OK;
}

/// Whether the next entry of all leaves below a node is at the level, or of none.
static tr_status all_at_level(bool *yes, parquet_rows_t *rows, const parquet_node_t *node,
                              uint32_t level, tr_error_t *err)
{
    for (size_t i = 0; i < node->leaves; i++) {
        parquet_cursor_t *cursor = &rows->cursors[node->first_leaf + i];
        TR_TRY(parquet_cursor_load(cursor, err));
        bool is = !cursor->ended && cursor->level == level;
        if (i > 0 && is != *yes) {
            return disagree(err);
        }
        *yes = is;
    }
    return TR_OK;
}

static tr_status read_elements(json_t *list, parquet_rows_t *rows, const parquet_node_t *node,
                               tr_error_t *err)
{
    for (bool more = true; more;) {
        json_t *item = NULL;
        TR_TRY(read_content(&item, rows, node, err));
        json_array_append_new(list, item);
        TR_TRY(count(rows, 0, err));
        TR_TRY(all_at_level(&more, rows, node, node->level, err));
    }
    return TR_OK;
}

static tr_status read_node(json_t **value, parquet_rows_t *rows, const parquet_node_t *node,
                           tr_error_t *err)
{
    parquet_cursor_t *first = &rows->cursors[node->first_leaf];
    bool repeated = node->repetition == PARQUET_REPEATED;
    TR_TRY(parquet_cursor_load(first, err));
    bool there = first->definition >= node->definition;
    if (there && !repeated) {
        return read_content(value, rows, node, err);
    }
    json_t *made = repeated ? json_array() : json_null();
    tr_status status = there ? read_elements(made, rows, node, err) : pass_leaves(rows, node, err);
    status = status == TR_OK ? count(rows, 0, err) : status;
    if (status != TR_OK) {
        json_decref(made);
        return status;
    }
    *value = made;
    return TR_OK;
}

static tr_status read_column(json_t **value, parquet_rows_t *rows, const parquet_node_t *node,
                             tr_error_t *err)
{
    bool begins = false;
    rows->cost = 0;
    rows->flaw = NULL;
    TR_TRY(all_at_level(&begins, rows, node, 0, err));
    return begins ? read_node(value, rows, node, err) : disagree(err);
}

/// Tells columns that cannot be read apart from a file that cannot.
static tr_status put_column(json_t *row, parquet_rows_t *rows, size_t column, tr_error_t *err)
{
    const parquet_node_t *node = &rows->root->child[column];
    char **flaw = &rows->flaws[column];
    json_t *value = NULL;
    tr_error_t cause = {0};
    tr_status status = *flaw == NULL ? read_column(&value, rows, node, &cause) : TR_OK;
    if (status == TR_ERR_IO) {
        return tr_fail(err, status, "%s", cause.text);
    }
    if (status != TR_OK) {
        *flaw = tr_format("what cannot be read: %s", cause.text);
        rows->lost++;
    }
    tr_value_put(row, node->name, value != NULL ? value : json_null(),
                 *flaw != NULL ? *flaw : rows->flaw);
    return TR_OK;
}

static tr_status put_columns(json_t *row, parquet_rows_t *rows, tr_error_t *err)
{
    for (size_t i = 0; i < rows->root->children; i++) {
        TR_TRY(put_column(row, rows, i, err));
    }
    // Else a damaged file could have rows without end, as they cost it nothing.
    return rows->lost < rows->root->children
               ? TR_OK
               : tr_fail(err, TR_ERR_FORMAT, "no column of the row group can be read: '%s': %s",
                         rows->root->child[0].name, rows->flaws[0]);
}

tr_status parquet_rows_next(json_t **row, parquet_rows_t *rows, tr_error_t *err)
{
    *row = json_object();
    tr_status status = put_columns(*row, rows, err);
    if (status != TR_OK) {
        json_decref(*row);
        *row = NULL;
    }
    return status;
}
