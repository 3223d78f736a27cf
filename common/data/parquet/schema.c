// The footer of a Parquet file. Every count and offset in it is checked here, before anything is
// allocated or read by it.
#include "common/data/parquet/schema.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/data/parquet/thrift.h"
#include "common/text/utf8.h"

enum { DEEPEST = 32, CHILDREN_MOST = 10000 };
static const uint64_t FOOTER_MOST = 128 << 20;

// Numbers of parquet.thrift
enum { CONVERTED_MAP = 1, CONVERTED_MAP_KEY_VALUE = 2, CONVERTED_LIST = 3, CONVERTED_DECIMAL = 5 };
enum { CONVERTED_DATE = 6, CONVERTED_MILLIS = 9, CONVERTED_MICROS = 10 };
enum { CONVERTED_UINT_8 = 11, CONVERTED_UINT_64 = 14 };
enum { LOGICAL_MAP = 2, LOGICAL_LIST = 3, LOGICAL_DECIMAL = 5, LOGICAL_DATE = 6 };
enum { LOGICAL_TIMESTAMP = 8, LOGICAL_INTEGER = 10, LOGICAL_HALF = 15 };
enum { MILLIS = 1, MICROS = 2, NANOS = 3 };

/// An element of the schema, which the file has as a list in the order of a walk.
typedef struct element {
    const uint8_t *name; // [name_length]
    size_t name_length;
    int64_t type, size, repetition, children, converted, scale, logical;
    int64_t unit; // of a timestamp
    bool natural; // of an integer: without a sign
} element_t;

static tr_status malformed(tr_error_t *err)
{
    return tr_fail(err, TR_ERR_FORMAT, "the footer of this Parquet file is damaged");
}

// Reading elements

/// TimestampType or IntType, whichever it is.
static void read_logical_fields(parquet_input_t *input, element_t *element)
{
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        if (element->logical == LOGICAL_TIMESTAMP && field.id == 2 &&
            parquet_enter_struct(input, &field)) {
            for (parquet_field_t unit = {0}; parquet_next_field(input, &unit);) {
                element->unit = unit.id;
                parquet_skip(input, &unit);
            }
        } else if (element->logical == LOGICAL_INTEGER && field.id == 2) {
            element->natural = !parquet_read_bool(input, &field);
        } else if (element->logical == LOGICAL_DECIMAL && field.id == 1) {
            element->scale = parquet_read_int(input, &field);
        } else {
            parquet_skip(input, &field);
        }
    }
}

/// A union: the one field that is there names the type.
static void read_logical(parquet_input_t *input, element_t *element)
{
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        element->logical = field.id;
        if (parquet_enter_struct(input, &field)) {
            read_logical_fields(input, element);
        }
    }
}

static void read_element(parquet_input_t *input, element_t *element)
{
    *element = (element_t){.type = PARQUET_NO_TYPE, .converted = -1};
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        switch (field.id) {
        case 1: element->type = parquet_read_int(input, &field); break;
        case 2: element->size = parquet_read_int(input, &field); break;
        case 3: element->repetition = parquet_read_int(input, &field); break;
        case 4: element->name = parquet_read_bytes(input, &field, &element->name_length); break;
        case 5: element->children = parquet_read_int(input, &field); break;
        case 6: element->converted = parquet_read_int(input, &field); break;
        case 7: element->scale = parquet_read_int(input, &field); break;
        case 10:
            if (parquet_enter_struct(input, &field)) {
                read_logical(input, element);
            }
            break;
        default: parquet_skip(input, &field);
        }
    }
}

// The tree

/// The elements that are left, and the leaves that have been found.
typedef struct walk {
    const element_t *next;
    size_t left;
    size_t leaves;
} walk_t;

static size_t size_of(const element_t *element)
{
    static const size_t SIZES[] = {1, 4, 8, 12, 4, 8, 0};
    return element->type == PARQUET_FIXED ? (size_t)element->size : SIZES[element->type];
}

static parquet_meaning_t meaning_of(const element_t *e)
{
    bool whole = e->type == PARQUET_INT32 || e->type == PARQUET_INT64;
    bool bytes = e->type == PARQUET_FIXED || e->type == PARQUET_BYTE_ARRAY;
    if ((whole || bytes) && (e->logical == LOGICAL_DECIMAL || e->converted == CONVERTED_DECIMAL)) {
        return PARQUET_DECIMAL;
    }
    if (e->type == PARQUET_INT32 &&
        (e->logical == LOGICAL_DATE || e->converted == CONVERTED_DATE)) {
        return PARQUET_DATE;
    }
    if (e->type == PARQUET_INT64 &&
        (e->logical == LOGICAL_TIMESTAMP || e->converted == CONVERTED_MILLIS ||
         e->converted == CONVERTED_MICROS)) {
        return PARQUET_TIMESTAMP;
    }
    if (whole &&
        (e->natural || (e->converted >= CONVERTED_UINT_8 && e->converted <= CONVERTED_UINT_64))) {
        return PARQUET_UNSIGNED;
    }
    return e->type == PARQUET_FIXED && e->size == 2 && e->logical == LOGICAL_HALF ? PARQUET_HALF
                                                                                  : PARQUET_PLAIN;
}

static int64_t unit_of(const element_t *element)
{
    if (element->unit == MILLIS || element->converted == CONVERTED_MILLIS) {
        return 1000;
    }
    return element->unit == NANOS ? 1000000000 : 1000000;
}

static tr_status make_leaf(parquet_node_t *node, const element_t *element, walk_t *walk,
                           tr_error_t *err)
{
    if (element->type < 0 || element->type >= PARQUET_NO_TYPE ||
        (element->type == PARQUET_FIXED && (element->size <= 0 || element->size > INT32_MAX)) ||
        element->scale < 0 || element->scale > 1000) {
        return malformed(err);
    }
    node->kind = PARQUET_LEAF;
    node->type = (parquet_type_t)element->type;
    node->size = size_of(element);
    node->meaning = meaning_of(element);
    node->scale = (int)element->scale;
    node->unit = unit_of(element);
    node->leaves = 1;
    walk->leaves++;
    return TR_OK;
}

static bool has_name(const parquet_node_t *node, const char *suffix)
{
    size_t length = strlen(node->name), n = strlen(suffix);
    return length >= n && strcmp(node->name + length - n, suffix) == 0;
}

/// What a group means, once its children are known. A list's repeated child is its element, or a
/// group around it: LogicalTypes.md's rules for what older writers wrote.
static void settle_kind(parquet_node_t *node, const element_t *element)
{
    parquet_node_t *child = node->child;
    bool annotated = node->children == 1 && child->repetition == PARQUET_REPEATED;
    bool list = element->logical == LOGICAL_LIST || element->converted == CONVERTED_LIST;
    bool map = element->logical == LOGICAL_MAP || element->converted == CONVERTED_MAP ||
               element->converted == CONVERTED_MAP_KEY_VALUE;
    node->kind = PARQUET_STRUCT;
    if (annotated && list) {
        node->kind = PARQUET_WRAPPER;
        if (child->kind == PARQUET_STRUCT && child->children == 1 &&
            strcmp(child->name, "array") != 0 && !has_name(child, "_tuple")) {
            child->kind = PARQUET_WRAPPER;
        }
    } else if (annotated && map && child->kind == PARQUET_STRUCT && child->children == 2) {
        node->kind = PARQUET_MAP;
    }
}

static tr_status make_node(parquet_node_t *node, const parquet_node_t *parent, walk_t *walk,
                           unsigned depth, tr_error_t *err);

static tr_status make_children(parquet_node_t *node, const element_t *element, walk_t *walk,
                               unsigned depth, tr_error_t *err)
{
    if (element->children <= 0 || (uint64_t)element->children > walk->left || depth == DEEPEST) {
        return malformed(err);
    }
    size_t count = (size_t)element->children;
    if (count > CHILDREN_MOST) { // each is compared with all
        return tr_fail(err, TR_ERR_UNSUPPORTED, "more than %d columns", CHILDREN_MOST);
    }
    node->child = tr_calloc(count, sizeof *node->child);
    for (; node->children < count; node->children++) {
        parquet_node_t *child = &node->child[node->children];
        if (make_node(child, node, walk, depth + 1, err) != TR_OK) {
            node->children++; // it is released with the others
            return err->status;
        }
        for (size_t i = 0; i < node->children; i++) {
            if (strcmp(node->child[i].name, child->name) == 0) {
                tr_fail(err, TR_ERR_FORMAT, "the column '%s' comes twice", child->name);
                node->children++;
                return err->status;
            }
        }
        node->leaves += child->leaves;
    }
    settle_kind(node, element);
    return TR_OK;
}

/// parent: NULL: it is the root.
static tr_status make_node(parquet_node_t *node, const parquet_node_t *parent, walk_t *walk,
                           unsigned depth, tr_error_t *err)
{
    if (walk->left == 0) {
        return malformed(err);
    }
    const element_t *element = walk->next++;
    walk->left--;
    const char *name = (const char *)element->name;
    if (element->repetition < 0 || element->repetition > PARQUET_REPEATED ||
        tr_utf8_valid(name, element->name_length) < element->name_length ||
        memchr(name != NULL ? name : "", '\0', element->name_length) != NULL) {
        return malformed(err);
    }
    node->name = tr_format("%.*s", (int)element->name_length, name != NULL ? name : "");
    node->first_leaf = walk->leaves;
    if (parent != NULL) {
        node->repetition = (parquet_repetition_t)element->repetition;
        node->definition = parent->definition + (node->repetition != PARQUET_REQUIRED);
        node->level = parent->level + (node->repetition == PARQUET_REPEATED);
    }
    return element->type == PARQUET_NO_TYPE || parent == NULL
               ? make_children(node, element, walk, depth, err)
               : make_leaf(node, element, walk, err);
}

static tr_status read_tree(parquet_schema_t *schema, parquet_input_t *input,
                           const parquet_field_t *field, tr_error_t *err)
{
    size_t count = parquet_read_structs(input, field);
    element_t *elements = tr_calloc(count + 1, sizeof *elements);
    for (size_t i = 0; i < count && !input->bad; i++) {
        read_element(input, &elements[i]);
    }
    walk_t walk = {elements, count, 0};
    tr_status status = input->bad || schema->root.name != NULL
                           ? malformed(err)
                           : make_node(&schema->root, NULL, &walk, 0, err);
    status = status == TR_OK && walk.left > 0 ? malformed(err) : status;
    free(elements);
    return status;
}

static void release_node(parquet_node_t *node)
{
    for (size_t i = 0; i < node->children; i++) {
        release_node(&node->child[i]);
    }
    free(node->child);
    free(node->name);
}

// Row groups

/// What ColumnMetaData says of a chunk, and whether it is complete.
static void read_chunk_fields(parquet_input_t *input, parquet_chunk_t *chunk)
{
    int64_t data = -1, dictionary = -1, length = -1;
    chunk->codec = -1;
    chunk->values = -1;
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        switch (field.id) {
        case 4: chunk->codec = (int)(parquet_read_int(input, &field) & 0xff); break;
        case 5: chunk->values = parquet_read_int(input, &field); break;
        case 7: length = parquet_read_int(input, &field); break;
        case 9: data = parquet_read_int(input, &field); break;
        case 11: dictionary = parquet_read_int(input, &field); break;
        default: parquet_skip(input, &field);
        }
    }
    // 0, where the file's first bytes are, says that there is none.
    int64_t offset = dictionary > 0 && dictionary < data ? dictionary : data;
    input->bad = input->bad || chunk->codec < 0 || chunk->values < 0;
    if (chunk->values > 0) { // else writers leave the others as they are
        input->bad = input->bad || offset < 4 || length < 0;
        chunk->offset = (uint64_t)offset;
        chunk->length = (uint64_t)length;
    }
}

static tr_status read_chunk(parquet_input_t *input, parquet_chunk_t *chunk, uint64_t size,
                            tr_error_t *err)
{
    bool described = false;
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        size_t length;
        if (field.id == 1 && parquet_read_bytes(input, &field, &length) != NULL && length > 0) {
            return tr_fail(err, TR_ERR_UNSUPPORTED,
                           "the columns of this Parquet file are in other files: write it as one");
        }
        if (field.id == 3 && parquet_enter_struct(input, &field)) {
            read_chunk_fields(input, chunk);
            described = true;
        } else if (field.id != 1) {
            parquet_skip(input, &field);
        }
    }
    if (input->bad || !described || chunk->offset > size || chunk->length > size - chunk->offset) {
        return malformed(err);
    }
    return TR_OK;
}

static tr_status read_group(parquet_schema_t *schema, parquet_group_t *group,
                            parquet_input_t *input, uint64_t size, tr_error_t *err)
{
    int64_t rows = -1;
    for (parquet_field_t field = {0}; parquet_next_field(input, &field);) {
        if (field.id == 1 && group->chunks == NULL) {
            size_t count = parquet_read_structs(input, &field);
            if (count != schema->root.leaves) {
                return malformed(err);
            }
            group->chunks = tr_calloc(count, sizeof *group->chunks);
            for (size_t i = 0; i < count; i++) {
                TR_TRY(read_chunk(input, &group->chunks[i], size, err));
            }
        } else if (field.id == 3) {
            rows = parquet_read_int(input, &field);
        } else {
            parquet_skip(input, &field);
        }
    }
    if (input->bad || group->chunks == NULL || rows < 0 || rows > UINT32_MAX ||
        schema->rows + (uint64_t)rows > UINT32_MAX) {
        return malformed(err);
    }
    for (size_t i = 0; i < schema->root.leaves; i++) {
        if (group->chunks[i].values < rows) { // a row has one of each leaf at least
            return malformed(err);
        }
    }
    group->rows = (uint64_t)rows;
    group->first_row = schema->rows;
    schema->rows += group->rows;
    return TR_OK;
}

static tr_status read_groups(parquet_schema_t *schema, parquet_input_t *input,
                             const parquet_field_t *field, uint64_t size, tr_error_t *err)
{
    size_t count = parquet_read_structs(input, field);
    if (schema->root.name == NULL || schema->groups != NULL) { // it stands before them
        return malformed(err);
    }
    schema->groups = tr_calloc(count + 1, sizeof *schema->groups);
    for (; schema->count < count; schema->count++) {
        if (read_group(schema, &schema->groups[schema->count], input, size, err) != TR_OK) {
            schema->count++; // it is released with the others
            return err->status;
        }
    }
    return TR_OK;
}

// The footer

static tr_status parse(parquet_schema_t *schema, const uint8_t *footer, size_t length,
                       uint64_t size, tr_error_t *err)
{
    parquet_input_t input = {footer, footer + length, false};
    for (parquet_field_t field = {0}; parquet_next_field(&input, &field);) {
        if (field.id == 2) {
            TR_TRY(read_tree(schema, &input, &field, err));
        } else if (field.id == 4) {
            TR_TRY(read_groups(schema, &input, &field, size, err));
        } else if (field.id == 8) {
            return tr_fail(err, TR_ERR_UNSUPPORTED,
                           "this Parquet file is encrypted: write it without encryption");
        } else {
            parquet_skip(&input, &field);
        }
    }
    return input.bad || schema->root.name == NULL ? malformed(err) : TR_OK;
}

tr_status parquet_schema_read(parquet_schema_t *schema, int descriptor, uint64_t size,
                              tr_error_t *err)
{
    uint8_t first[4], last[8];
    if (size < 12 || pread(descriptor, first, 4, 0) != 4 ||
        pread(descriptor, last, 8, (off_t)(size - 8)) != 8 || memcmp(first, "PAR1", 4) != 0) {
        return tr_fail(err, TR_ERR_FORMAT, "no Parquet file: it does not begin with PAR1");
    }
    if (memcmp(last + 4, "PAR1", 4) != 0) {
        return tr_fail(err, TR_ERR_FORMAT, "this Parquet file is cut off: it does not end in PAR1");
    }
    uint64_t length =
        last[0] | (uint64_t)last[1] << 8 | (uint64_t)last[2] << 16 | (uint64_t)last[3] << 24;
    if (length > size - 12 || length > FOOTER_MOST) {
        return malformed(err);
    }
    uint8_t *footer = tr_alloc(length + 1);
    tr_status status =
        pread(descriptor, footer, length, (off_t)(size - 8 - length)) == (ssize_t)length
            ? parse(schema, footer, length, size, err)
            : tr_fail(err, TR_ERR_IO, "its footer cannot be read");
    free(footer);
    return status;
}

void parquet_schema_release(parquet_schema_t *schema)
{
    for (size_t i = 0; i < schema->count; i++) {
        free(schema->groups[i].chunks);
    }
    free(schema->groups);
    release_node(&schema->root);
}
