/// Values of a template: Python's, as far as templates see them. They live in the memory of a
/// rendering (memory.h) until it ends and, namespaces apart, never change.
#ifndef TR_TEXT_JINJA_VALUE_H
#define TR_TEXT_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/text/jinja/memory.h"

typedef enum jinja_type {
    JINJA_UNDEFINED, ///< text: what was not found
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INTEGER,
    JINJA_REAL,
    JINJA_TEXT,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_RANGE, ///< list
    JINJA_DICT,
    JINJA_NAMESPACE, ///< dict
    JINJA_VIEW,      ///< list: of a mapping's keys, values or items
    JINJA_GENERATOR, ///< list: what is left of it; whoever walks it takes it
    JINJA_LOOP,
    JINJA_FUNCTION
} jinja_type_t;

/// UTF-8, borrowed.
typedef struct jinja_text {
    const char *data; // [length]
    size_t length;
} jinja_text_t;

typedef struct jinja_value jinja_value_t;
typedef struct jinja_list jinja_list_t;
typedef struct jinja_dict jinja_dict_t;
typedef struct jinja_loop jinja_loop_t;
typedef struct jinja_function jinja_function_t;

/// {0} is undefined.
struct jinja_value {
    jinja_type_t type;
    bool safe; ///< a text that went through `safe`: Python's Markup
    union {
        bool truth;
        int64_t integer;
        double real;
        jinja_text_t text;
        jinja_list_t *list; ///< of lists, tuples, ranges, views and generators
        jinja_dict_t *dict;
        jinja_loop_t *loop;
        const jinja_function_t *function;
    };
};

struct jinja_list {
    jinja_value_t *items; ///< [count]
    size_t count, capacity;
};

struct jinja_dict {
    jinja_value_t *keys, *values; ///< [count], in the order of insertion
    size_t count, capacity;
};

/// The variable `loop`: where a for stands.
struct jinja_loop {
    const jinja_list_t *items;
    size_t index;
    jinja_value_t *changed; ///< what loop.changed was given last; NULL: never called
};

#define JINJA_LITERAL(string) ((jinja_text_t){"" string "", sizeof(string) - 1})

static inline jinja_value_t jinja_bool(bool truth)
{
    return (jinja_value_t){.type = JINJA_BOOL, .truth = truth};
}

static inline jinja_value_t jinja_integer(int64_t integer)
{
    return (jinja_value_t){.type = JINJA_INTEGER, .integer = integer};
}

static inline jinja_value_t jinja_real(double real)
{
    return (jinja_value_t){.type = JINJA_REAL, .real = real};
}

static inline jinja_value_t jinja_text(const char *data, size_t length)
{
    return (jinja_value_t){.type = JINJA_TEXT, .text = {data, length}};
}

static inline jinja_value_t jinja_undefined(jinja_text_t name)
{
    return (jinja_value_t){.type = JINJA_UNDEFINED, .text = name};
}

static inline bool jinja_is_list(const jinja_value_t *value)
{
    return value->type == JINJA_LIST || value->type == JINJA_TUPLE;
}

/// What has places.
static inline bool jinja_is_sequence(const jinja_value_t *value)
{
    return jinja_is_list(value) || value->type == JINJA_RANGE;
}

/// A truth value counts as the number 0 or 1.
static inline bool jinja_is_number(const jinja_value_t *value)
{
    return value->type >= JINJA_BOOL && value->type <= JINJA_REAL;
}

/// "text", "list", ...: for sentences.
const char *jinja_type_name(const jinja_value_t *value);

/// An empty list of any type that has one, an empty mapping or namespace.
jinja_value_t jinja_list(jinja_memory_t *memory, jinja_type_t type);
jinja_value_t jinja_dict(jinja_memory_t *memory, jinja_type_t type);
void jinja_list_add(jinja_memory_t *memory, jinja_list_t *list, jinja_value_t item);
/// Drops the first items, which a generator gave.
void jinja_list_drop(jinja_list_t *list, size_t count);
/// Adds a key that the mapping has not.
void jinja_dict_add(jinja_memory_t *memory, jinja_dict_t *dict, jinja_value_t key,
                    jinja_value_t value);
/// The value of a text; NULL: there is none.
jinja_value_t *jinja_dict_find(const jinja_dict_t *dict, jinja_text_t key);

/// What `if` asks.
bool jinja_truth(const jinja_value_t *value);
/// The number of a number.
double jinja_number(const jinja_value_t *value);
int64_t jinja_whole(const jinja_value_t *value);

#endif
