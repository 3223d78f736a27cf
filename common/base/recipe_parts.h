/// What the files of the recipe share: problems, the tree of what was written, the table of keys.
///
///     bytes --recipe_parse--> tree --recipe_override--> tree --recipe_read_record, by the table--> tr_recipe_t
///
/// Nothing here fails half way: a mistake becomes a problem, and the field keeps its default.
#ifndef TR_BASE_RECIPE_PARTS_H
#define TR_BASE_RECIPE_PARTS_H

#include "common/base/recipe.h"

// Problems

/// The place of what the command line gave; every line of the file comes before it.
#define RECIPE_COMMAND_LINE SIZE_MAX

typedef struct recipe_problem {
    size_t line;
    size_t order; ///< of discovery, which decides between problems of one line
    char *text;
} recipe_problem_t;

/// What goes along with the reading of one recipe. Starts as {.source, .disk}.
typedef struct recipe_reader {
    const char *source; ///< the file's name in problems
    bool disk;          ///< whether the files and directories named must be there
    recipe_problem_t *problems;
    size_t count;
    size_t capacity;
} recipe_reader_t;

/// Adds "source:line: key: sentence", on one line; key may be NULL.
void recipe_problem(recipe_reader_t *reader, size_t line, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/// Adds a whole sentence as it is.
void recipe_problem_plain(recipe_reader_t *reader, const char *sentence);

/// Moves the problems over, in order of their places, and empties the reader.
void recipe_problems_take(tr_recipe_problems_t *problems, recipe_reader_t *reader);

// The tree

typedef enum recipe_node_kind {
    RECIPE_SCALAR,
    RECIPE_LIST,
    RECIPE_MAP,
    RECIPE_BROKEN ///< stands for what was reported already
} recipe_node_kind_t;

typedef struct recipe_node {
    recipe_node_kind_t kind;
    size_t line; ///< from 1, or RECIPE_COMMAND_LINE
    char *key;   ///< in a map; else NULL
    char *text;  ///< of a scalar; else NULL
    bool quoted; ///< a scalar in quotes or a block: a text, whatever it looks like
    struct recipe_node **children; ///< [count]; of a list or map
    size_t count;
    size_t capacity;
} recipe_node_t;

recipe_node_t *recipe_node_new(recipe_node_kind_t kind, size_t line);
void recipe_node_destroy(recipe_node_t **node);
void recipe_node_add(recipe_node_t *parent, recipe_node_t **child);

/// The child of a map with that key: [length] bytes. NULL: none.
recipe_node_t *recipe_node_find(const recipe_node_t *map, const char *key, size_t length);

/// Puts *value in the place of node, under node's key.
void recipe_node_replace(recipe_node_t *node, recipe_node_t **value);

bool recipe_node_is_null(const recipe_node_t *node);

/// "'fast'", "a list", ...: for "found ...". Owned by the caller (free).
char *recipe_node_describe(const recipe_node_t *node);

/// text in quotes, clipped to what a sentence can hold. Owned by the caller (free).
char *recipe_quote(const char *text);

/// "parent.key", or key alone when parent is "". Owned by the caller (free).
char *recipe_join(const char *parent, const char *key);

/// The tree of a YAML document: text [length]. line: RECIPE_COMMAND_LINE for a value from there, else 0.
/// path: its dotted key, "" for a whole recipe. *node: NULL on failure, which is a problem then.
/// TR_ERR_FORMAT for what is no YAML, TR_ERR_ARGUMENT beyond the limits on depth and number of values.
tr_status recipe_parse(recipe_node_t **node, recipe_reader_t *reader, const char *text,
                       size_t length, size_t line, const char *path);

/// Puts "dotted.key=value" over the tree.
tr_status recipe_override(recipe_reader_t *reader, recipe_node_t *root, const char *override);

// The table of keys

typedef enum recipe_kind {
    RECIPE_TEXT,     ///< char *; NULL for null
    RECIPE_WHOLE,    ///< uint64_t; 0 for null
    RECIPE_REAL,     ///< double; 0 for null
    RECIPE_OPTIONAL, ///< tr_optional_t
    RECIPE_TRUTH,    ///< bool
    RECIPE_CHOICE,   ///< an enum or int: the index into choices
    RECIPE_TEXTS,    ///< tr_recipe_strings_t, of the choices if there are some
    RECIPE_REALS,    ///< tr_recipe_reals_t
    RECIPE_IDS,      ///< tr_recipe_ids_t
    RECIPE_WORDS,    ///< tr_words_t
    RECIPE_JUDGES    ///< tr_judges_t
} recipe_kind_t;

typedef struct recipe_range {
    const char *expected; ///< in words
    double low, high;
    bool low_open, high_open; ///< whether the end is left out
} recipe_range_t;

/// What a text names.
typedef enum recipe_names {
    RECIPE_NAMES_NOTHING,
    RECIPE_NAMES_FILE,
    RECIPE_NAMES_DIRECTORY,
    RECIPE_NAMES_MODEL,   ///< a Hugging Face directory
    RECIPE_NAMES_PROGRAM, ///< argv: the first is found by PATH
    RECIPE_NAMES_DEVICE   ///< common/base/device_name.h
} recipe_names_t;

typedef struct recipe_key {
    const char *name; ///< dotted, from the record
    recipe_kind_t kind;
    size_t offset;       ///< of the field in the record
    const char *initial; ///< the default as it is written; NULL: must be given
    bool nullable;
    const recipe_range_t *range; ///< of numbers
    const char *const *choices;  ///< [..., NULL]
    recipe_names_t names;
    bool brief;       ///< `section: VALUE` is short for it
    unsigned judges;  ///< a bit for each tr_judge_kind_t that has the key; 0: all
    const char *also; ///< another name of the same key, or NULL
    const char *help; ///< one sentence
} recipe_key_t;

typedef struct recipe_table {
    const recipe_key_t *keys; ///< [count]; those of a section stand together
    size_t count;
} recipe_table_t;

enum { RECIPE_KEY_LIMIT = 160, RECIPE_JUDGE_KEY_LIMIT = 24 }; // bounds of count, for arrays

extern const recipe_table_t recipe_keys;       ///< of a tr_recipe_t
extern const recipe_table_t recipe_judge_keys; ///< of a tr_judge_t; the first is "name"

const recipe_key_t *recipe_key_find(const recipe_table_t *table, const char *name);

/// Whether keys of the table lie in a section of that name.
bool recipe_is_section(const recipe_table_t *table, const char *name);

/// The key that a section stands for when a value is given in its place; NULL: none.
const recipe_key_t *recipe_key_brief(const recipe_table_t *table, const char *section);

/// "a whole number from 1 to 1024", "'ppo' or 'sft'". Owned by the caller (free).
char *recipe_expected(const recipe_key_t *key);

/// The name that was meant by an unknown one: a key or section. Owned by the caller (free); NULL: none is near.
char *recipe_suggest(const recipe_table_t *table, const char *name);

static inline void *recipe_field(void *record, const recipe_key_t *key)
{
    return (char *)record + key->offset;
}

static inline const void *recipe_field_const(const void *record, const recipe_key_t *key)
{
    return (const char *)record + key->offset;
}

// Records

/// What the tree said about a key.
typedef struct recipe_found {
    const recipe_node_t *node; ///< NULL: nothing
    bool failed;               ///< and it could not be used
} recipe_found_t;

/// Sets every field to its default; those without one to zero.
void recipe_record_init(void *record, const recipe_table_t *table);
void recipe_record_release(void *record, const recipe_table_t *table);

/// Reads the map into the record. found: [table->count], written. prefix: the map's dotted key.
void recipe_record_read(recipe_found_t *found, void *record, recipe_reader_t *reader,
                        const recipe_table_t *table, const recipe_node_t *map, const char *prefix);

/// Reads one value into its field. False, with the field unchanged, after a problem.
bool recipe_value_read(void *field, recipe_reader_t *reader, const recipe_key_t *key,
                       const recipe_node_t *node, const char *path);

void recipe_value_release(void *field, recipe_kind_t kind);

/// Whether what a text names is there; a problem if not.
bool recipe_disk_check(recipe_reader_t *reader, recipe_names_t names, const char *text, size_t line,
                       const char *path);

// Judges

bool recipe_judges_read(tr_judges_t *judges, recipe_reader_t *reader, const recipe_node_t *list,
                        const char *path);
void recipe_judges_release(tr_judges_t *judges);

/// Finds the entry's kind, and checks what must agree within it. found: [recipe_judge_keys.count].
void recipe_judge_check(tr_judge_t *judge, recipe_reader_t *reader, const recipe_found_t *found,
                        const recipe_node_t *node, const char *path);

// The whole

/// What must agree among the keys. found: [recipe_keys.count].
void recipe_check(recipe_reader_t *reader, const tr_recipe_t *recipe, const recipe_found_t *found,
                  const recipe_node_t *root);

// Numbers and texts as a recipe writes them

/// False unless the whole text is a decimal number, and finite.
bool recipe_real_parse(double *value, const char *text);

/// The fewest digits that read back, always with a point: "0.05", "3.0e-6". Owned by the caller (free).
char *recipe_real_format(double value);

/// text as a YAML scalar that YAML 1.1 and 1.2 read as that text. Owned by the caller (free).
char *recipe_text_format(const char *text);

#endif
