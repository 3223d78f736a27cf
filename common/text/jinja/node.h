/// A template as a tree: what the parser builds and the interpreter walks. Nodes live in the
/// template's memory and never change once they are parsed.
#ifndef TR_TEXT_JINJA_NODE_H
#define TR_TEXT_JINJA_NODE_H

#include "common/text/jinja/value.h"

typedef enum jinja_node_kind {
    // Statements
    NODE_DATA,         ///< name: the text
    NODE_OUTPUT,       ///< a: what is written
    NODE_IF,           ///< a: condition, body, otherwise
    NODE_FOR,          ///< a: target, b: what is walked, c: condition or NULL, body, otherwise
    NODE_SET,          ///< a: target, b: value
    NODE_SET_BLOCK,    ///< a: target, b: filters or NULL, body
    NODE_MACRO,        ///< name, items: parameters, values: the last ones' defaults, body
    NODE_CALL_BLOCK,   ///< a: the call; items, values, body as a macro's
    NODE_FILTER_BLOCK, ///< b: filters, body
    NODE_WITH,         ///< items: targets, values, body
    NODE_GENERATION,   ///< body
    NODE_BREAK,
    NODE_CONTINUE,
    // Expressions
    NODE_CONSTANT,     ///< value
    NODE_NAME,         ///< name
    NODE_LIST,         ///< items
    NODE_TUPLE,        ///< items
    NODE_DICT,         ///< items: keys, values
    NODE_ATTRIBUTE,    ///< a, name
    NODE_ITEM,         ///< a[b]
    NODE_SLICE,        ///< a[items[0]:items[1]:items[2]], each NULL where it is left out
    NODE_CALL,         ///< a(items, name=value)
    NODE_FILTER,       ///< a | name(items, name=value); a is NULL where a block's text goes
    NODE_TEST,         ///< a is name(items, name=value)
    NODE_NOT,          ///< a
    NODE_NEGATIVE,     ///< a
    NODE_POSITIVE,     ///< a
    NODE_BINARY,       ///< a, operator, b
    NODE_CONCATENATED, ///< items
    NODE_COMPARISON,   ///< a, then operators[i] items[i]
    NODE_AND,          ///< a, b
    NODE_OR,           ///< a, b
    NODE_CHOICE        ///< a if b else c; c may be NULL
} jinja_node_kind_t;

typedef enum jinja_operator {
    JINJA_ADD,
    JINJA_SUBTRACT,
    JINJA_MULTIPLY,
    JINJA_DIVIDE,
    JINJA_FLOOR_DIVIDE,
    JINJA_MODULO,
    JINJA_POWER,
    JINJA_EQUAL,
    JINJA_UNEQUAL,
    JINJA_LESS,
    JINJA_LESS_EQUAL,
    JINJA_GREATER,
    JINJA_GREATER_EQUAL,
    JINJA_IN,
    JINJA_NOT_IN
} jinja_operator_t;

typedef struct jinja_node jinja_node_t;

typedef struct jinja_nodes {
    jinja_node_t **items; ///< [count]
    size_t count, capacity;
} jinja_nodes_t;

struct jinja_node {
    jinja_node_kind_t kind;
    int line;
    jinja_operator_t operator;
    jinja_text_t name;
    jinja_value_t value;
    jinja_node_t *a, *b, *c;
    jinja_nodes_t items, values;
    jinja_text_t *names;         ///< of a call: [values.count]
    jinja_operator_t *operators; ///< of a comparison: [items.count]
    jinja_nodes_t body, otherwise;
};

struct tr_jinja {
    jinja_memory_t memory;
    jinja_nodes_t body;
    bool marks;          // has a generation block
    jinja_text_t *texts; // [text_count]: data and strings
    size_t text_count;
    jinja_text_t *names; // [name_count]
    size_t name_count;
};

#endif
