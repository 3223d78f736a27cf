// YAML to a tree (node.c), by libyaml's events. Anchors, aliases and tags are refused: a recipe
// says each value where it is read.
//
// Two kinds of mistakes: a node of kind RECIPE_BROKEN stands for a value that was reported and lets
// the parse go on; give_up ends the parse, because what follows would be guesswork.
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/recipe/parts.h"

enum {
    DEPTH_LIMIT = 12,    // the deepest key of a recipe is at 6
    VALUE_LIMIT = 10000, // in a document
    KEY_LIMIT = 1024     // bytes; as YAML for a key on one line
};

typedef struct parse {
    // owned by recipe_parse, which also deletes it
    yaml_parser_t yaml;
    recipe_reader_t *reader;
    size_t line; // RECIPE_COMMAND_LINE or 0
    const char *path;
    size_t values;
    tr_status status;
} parse_t;

/// A value from the command line has no line.
static size_t line_of(const parse_t *parse, yaml_mark_t mark)
{
    // libyaml counts lines from 0
    return parse->line == RECIPE_COMMAND_LINE ? parse->line : mark.line + 1;
}

/// libyaml's own sentence, at the place where it noticed.
static void report_malformed(parse_t *parse)
{
    const yaml_parser_t *yaml = &parse->yaml;
    // counted from 0; line_of adds one
    yaml_mark_t mark = yaml->problem_mark;
    if (yaml->error == YAML_READER_ERROR) { // which knows an offset only
        mark = yaml->mark;
    }
    recipe_problem(parse->reader, line_of(parse, mark), parse->path, "malformed YAML: %s%s%s",
                   yaml->problem != NULL ? yaml->problem : "it cannot be read",
                   yaml->context != NULL ? " " : "", yaml->context != NULL ? yaml->context : "");
    parse->status = TR_ERR_FORMAT;
}

/// False, after a problem, when there is none.
static bool next_event(yaml_event_t *event, parse_t *parse)
{
    // an event that was given out is the caller's to delete; after a failure there is none
    if (yaml_parser_parse(&parse->yaml, event)) {
        return true;
    }
    report_malformed(parse);
    return false;
}

/// Stops the parse.
static recipe_node_t *give_up(parse_t *parse, size_t line, const char *path, const char *sentence)
{
    recipe_problem(parse->reader, line, path, "%s", sentence);
    parse->status = TR_ERR_ARGUMENT;
    return NULL;
}

/// Reports, and lets the parse go on.
static recipe_node_t *broken(parse_t *parse, size_t line, const char *path, const char *sentence)
{
    recipe_problem(parse->reader, line, path, "%s", sentence);
    return recipe_node_new(RECIPE_BROKEN, line);
}

/// They would be ignored by the tree, so a recipe that has them would mean something else than it
/// says.
static void refuse_properties(parse_t *parse, const yaml_event_t *event, const char *path)
{
    // the events of scalars, lists and maps all begin with anchor and tag
    const yaml_char_t *anchor = event->data.scalar.anchor, *tag = event->data.scalar.tag;
    size_t line = line_of(parse, event->start_mark);
    if (anchor != NULL) {
        recipe_problem(parse->reader, line, path,
                       "anchors (&%.40s) have no use here: write each value out",
                       (const char *)anchor);
    }
    if (tag != NULL) {
        recipe_problem(parse->reader, line, path, "tags (%.40s) have no use here: leave it out",
                       (const char *)tag);
    }
}

/// Recursive: a value may hold values.
static recipe_node_t *build(parse_t *parse, yaml_event_t *event, const char *path, size_t depth);

static recipe_node_t *build_scalar(parse_t *parse, const yaml_event_t *event, const char *path)
{
    size_t line = line_of(parse, event->start_mark);
    const char *text = (const char *)event->data.scalar.value;
    refuse_properties(parse, event, path);
    // texts are C strings from here on
    if (strlen(text) != event->data.scalar.length) {
        return broken(parse, line, path, "a text cannot hold a NUL character");
    }
    recipe_node_t *node = recipe_node_new(RECIPE_SCALAR, line);
    node->text = tr_strdup(text);
    // "12" in quotes is a text, 12 a number
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return node;
}

static void report_twice(parse_t *parse, const recipe_node_t *second, const recipe_node_t *first,
                         const char *path)
{
    if (first->line == RECIPE_COMMAND_LINE) {
        recipe_problem(parse->reader, second->line, path, "the key is given twice: keep one");
    } else {
        recipe_problem(parse->reader, second->line, path,
                       "the key is given twice, first on line %zu: keep one", first->line);
    }
}

/// Reads a value and adds it to parent under key (taken; NULL in a list).
static bool add_child(parse_t *parse, recipe_node_t *parent, yaml_event_t *event, char *key,
                      const char *path, size_t depth)
{
    // an entry of a list is named by its index in problems: roles.reward.0
    // the path is only for problems: the tree itself has no paths
    char number[24];
    snprintf(number, sizeof number, "%zu", parent->count);
    char *child_path = recipe_join(path, key != NULL ? key : number);
    recipe_node_t *child = build(parse, event, child_path, depth + 1);
    // the first of two equal keys stays; the second is reported and dropped
    // in a map only: lists have no keys
    const recipe_node_t *first =
        child != NULL && key != NULL ? recipe_node_find(parent, key, strlen(key)) : NULL;
    if (first != NULL) {
        report_twice(parse, child, first, child_path);
    }
    // false: the parse was given up within the value
    bool read = child != NULL;
    if (!read || first != NULL) {
        free(key);
        recipe_node_destroy(&child);
    } else {
        child->key = key;
        recipe_node_add(parent, &child);
    }
    free(child_path);
    return read;
}

/// Takes the event. *key: owned by the caller.
/// A key is a scalar of bounded length without NUL; a list or a map as key is YAML, but no
/// recipe's.
static bool read_key(char **key, parse_t *parse, yaml_event_t *event, const char *path)
{
    size_t line = line_of(parse, event->start_mark);
    // a NUL would cut the key when it is compared
    bool usable = event->type == YAML_SCALAR_EVENT && event->data.scalar.length <= KEY_LIMIT &&
                  strlen((const char *)event->data.scalar.value) == event->data.scalar.length;
    if (usable) {
        refuse_properties(parse, event, path);
        *key = tr_strdup((const char *)event->data.scalar.value);
    } else {
        give_up(parse, line, path, "a key must be a short text");
    }
    yaml_event_delete(event);
    return usable;
}

/// The values of a list or map up to its end; in a map each is behind its key. False when the parse
/// cannot go on; then the node is incomplete.
static bool build_children(parse_t *parse, recipe_node_t *node, const char *path, size_t depth)
{
    yaml_event_t event;
    while (next_event(&event, parse)) {
        char *key = NULL;
        if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return true;
        }
        if (node->kind == RECIPE_MAP &&
            !(read_key(&key, parse, &event, path) && next_event(&event, parse))) {
            free(key);
            return false;
        }
        if (!add_child(parse, node, &event, key, path, depth)) {
            return false;
        }
    }
    return false;
}

static recipe_node_t *build_collection(parse_t *parse, const yaml_event_t *event, const char *path,
                                       size_t depth)
{
    size_t line = line_of(parse, event->start_mark);
    // bounds the recursion of build, whatever the file holds
    if (depth >= DEPTH_LIMIT) {
        return give_up(parse, line, path, "the nesting is deeper than any recipe's");
    }
    refuse_properties(parse, event, path);
    recipe_node_t *node =
        recipe_node_new(event->type == YAML_SEQUENCE_START_EVENT ? RECIPE_LIST : RECIPE_MAP, line);
    if (!build_children(parse, node, path, depth)) {
        recipe_node_destroy(&node);
    }
    return node;
}

/// The value that begins with the event, which is taken. NULL, after a problem, when the parse
/// cannot go on.
static recipe_node_t *build(parse_t *parse, yaml_event_t *event, const char *path, size_t depth)
{
    size_t line = line_of(parse, event->start_mark);
    recipe_node_t *node = NULL;
    // counted here, where every value of the document passes, lists and maps too
    if (++parse->values > VALUE_LIMIT) {
        give_up(parse, line, path, "there are more values than a recipe may have (10000)");
    } else if (event->type == YAML_ALIAS_EVENT) {
        node = broken(parse, line, path, "aliases have no use here: write the value out");
    } else if (event->type == YAML_SCALAR_EVENT) {
        node = build_scalar(parse, event, path);
    } else {
        node = build_collection(parse, event, path, depth);
    }
    yaml_event_delete(event);
    return node;
}

/// The value of the only document: a second one would be ignored silently otherwise. Null where
/// there is no document at all, as in an empty value of the command line.
static void build_document(recipe_node_t **node, parse_t *parse)
{
    yaml_event_t event;
    yaml_event_type_t type = YAML_NO_EVENT;
    while (type != YAML_STREAM_END_EVENT && next_event(&event, parse)) {
        type = event.type;
        if (type == YAML_STREAM_START_EVENT || type == YAML_STREAM_END_EVENT ||
            type == YAML_DOCUMENT_END_EVENT) {
            yaml_event_delete(&event);
        } else if (type == YAML_DOCUMENT_START_EVENT) {
            size_t line = line_of(parse, event.start_mark);
            yaml_event_delete(&event);
            if (*node != NULL) {
                give_up(parse, line, parse->path,
                        "a second document ('---') begins where one is expected");
                return;
            }
        } else if ((*node = build(parse, &event, parse->path, 0)) == NULL) {
            return;
        }
    }
    if (*node == NULL && parse->status == TR_OK) {
        *node = recipe_node_new(RECIPE_SCALAR, parse->line == 0 ? 1 : parse->line);
        (*node)->text = tr_strdup("");
    }
}

tr_status recipe_parse(recipe_node_t **node, recipe_reader_t *reader, const char *text,
                       size_t length, size_t line, const char *path)
{
    parse_t parse = {.reader = reader, .line = line, .path = path};
    *node = NULL;
    TR_ASSERT(yaml_parser_initialize(&parse.yaml), "out of memory");
    // text is borrowed until the parser is deleted below
    yaml_parser_set_input_string(&parse.yaml, (const unsigned char *)text, length);
    build_document(node, &parse);
    yaml_parser_delete(&parse.yaml);
    if (parse.status != TR_OK) {
        recipe_node_destroy(node);
    }
    return parse.status;
}
