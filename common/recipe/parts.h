/// What the files of the recipe share: problems, the tree of what was written, the table of keys.
///
///     bytes --recipe_parse--> tree --recipe_override--> tree --recipe_record_read--> tr_recipe_t
///
/// Nothing here fails half way: a mistake becomes a problem, and the field keeps its default.
#ifndef TR_RECIPE_PARTS_H
#define TR_RECIPE_PARTS_H

#include "common/recipe/recipe.h"

// Problems

/// The place of what the command line gave; every line of the file comes before it.
#define RECIPE_COMMAND_LINE SIZE_MAX

/// What goes along with the reading of one recipe. Starts as {.source, .disk, .problems}.
typedef struct recipe_reader {
    const char *source; ///< the file's name in problems
    bool disk;          ///< whether the files and directories named must be there
    char *base; ///< owned: where relative paths of the file begin; NULL: paths stay as they are
    tr_recipe_problems_t *problems;
    size_t *lines; ///< [problems->count], ascending, owned: the place of each problem
} recipe_reader_t;

/// Adds "source:line: key: sentence", on one line; key may be NULL or "".
void recipe_problem(recipe_reader_t *reader, size_t line, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/// Adds a note, as recipe_problem adds a problem.
void recipe_note(recipe_reader_t *reader, size_t line, const char *key, const char *sentence);

/// Adds a whole sentence as it is.
void recipe_problem_plain(recipe_reader_t *reader, const char *sentence);

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

/// Reports that the node is not what was expected there; a broken one was reported before. Returns
/// false, for `return recipe_unexpected(...)`.
bool recipe_unexpected(recipe_reader_t *reader, const recipe_node_t *node, const char *key,
                       const char *expected);

/// The letters of names and of texts that need no quotes: for strspn, beside digits and others.
#define RECIPE_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/// text in quotes, clipped to what a sentence can hold. Owned by the caller (free).
char *recipe_quote(const char *text);

/// "parent.key", or key alone when parent is "". Owned by the caller (free).
char *recipe_join(const char *parent, const char *key);

/// The tree of a YAML document: text [length]. line: RECIPE_COMMAND_LINE for a value from there,
/// else 0. path: its dotted key, "" for a whole recipe. *node: NULL on failure, which is a problem
/// then. TR_ERR_FORMAT for what is no YAML, TR_ERR_ARGUMENT beyond the limits on depth and number
/// of values.
tr_status recipe_parse(recipe_node_t **node, recipe_reader_t *reader, const char *text,
                       size_t length, size_t line, const char *path);

/// Puts "dotted.key=value" over the tree.
tr_status recipe_override(recipe_reader_t *reader, recipe_node_t *root, const char *override);

// Keys

/// A part of the recipe: a table of fields at a place of tr_recipe_t. Several may have one name.
typedef struct recipe_section {
    const char *name; ///< dotted; "" for the top
    const tr_fields_t *fields;
    size_t offset;    ///< of the table's struct in tr_recipe_t
    unsigned readers; ///< TR_READS_... that the algorithms have that read it; 0: all read it
    unsigned rows;    ///< of the fields that name no rows of their own (tr_field_t.rows)
} recipe_section_t;

/// In the order in which a recipe is printed; sections of one name stand together.
extern const recipe_section_t recipe_sections[];
extern const size_t recipe_section_count;

/// A field under its full name, and what the tree says about it.
typedef struct recipe_key {
    char *name; ///< dotted, owned
    char *also; ///< another name, owned, or NULL
    const tr_field_t *field;
    const tr_fields_t *table;  ///< the field's
    void *record;              ///< where the value is
    unsigned readers;          ///< bits of the section and of the field
    const recipe_node_t *node; ///< NULL: not given
    bool failed;               ///< given, and it could not be used
} recipe_key_t;

typedef struct recipe_keys {
    recipe_key_t *items; ///< [count]
    size_t count;
} recipe_keys_t;

/// Adds a table's keys. section: "" for none.
void recipe_keys_add(recipe_keys_t *keys, const char *section, const tr_fields_t *fields,
                     void *record, unsigned readers);
/// All keys of a recipe, whose record is recipe (NULL: for their names alone).
void recipe_keys_init(recipe_keys_t *keys, tr_recipe_t *recipe);
void recipe_keys_release(recipe_keys_t *keys);

recipe_key_t *recipe_key_find(const recipe_keys_t *keys, const char *name);

/// Whether keys lie in a section of that name.
bool recipe_is_section(const recipe_keys_t *keys, const char *name);

/// The key that a section stands for when a value is given in its place; NULL: none.
recipe_key_t *recipe_key_brief(const recipe_keys_t *keys, const char *section);

/// Whether somebody gave the key a value, and another than its default: a resolved recipe spells
/// every key out.
bool recipe_key_is_set(const recipe_key_t *key);

/// Why nothing reads the key: the algorithm, its loss, or the options beside it. NULL: it is read.
/// recipe: NULL for a key of a judge. Owned by the caller (free).
char *recipe_key_unread(const recipe_key_t *key, const tr_recipe_t *recipe);

/// A key that is given and that nothing reads is a problem, or a note where it has its default.
void recipe_check_read(recipe_reader_t *reader, const recipe_key_t *key, const tr_recipe_t *recipe);

/// The name that was meant by an unknown one: a key, or a section within `map`. Owned by the caller
/// (free); NULL: none is near.
char *recipe_suggest(const recipe_keys_t *keys, const char *map, const char *name);

// Reading

/// Called for a name of a map that is no key: whether that is all right, or was reported.
typedef bool (*recipe_unknown_fn)(void *context, const recipe_node_t *node, const char *name);
/// Reads the map, whose dotted name is `name`, into the keys' records, and notes at each key what
/// was said. unknown: NULL: a name that is no key is reported as such.
void recipe_record_read(recipe_keys_t *keys, recipe_reader_t *reader, const recipe_node_t *map,
                        const char *name, recipe_unknown_fn unknown, void *context);

/// Reads one value. False after a problem: the field is unchanged then, unless it has a text that
/// names nothing on the disk.
bool recipe_value_read(const recipe_key_t *key, recipe_reader_t *reader, const recipe_node_t *node,
                       const char *path);

/// A path of the recipe, given on that line, as an absolute one: the file's begin where the file
/// is, the command line's in the current directory. Owned by the caller (free).
char *recipe_path(const recipe_reader_t *reader, size_t line, const char *text);

/// Whether what a text names is there; a problem if not.
bool recipe_disk_check(recipe_reader_t *reader, tr_field_names_t names, const char *text,
                       size_t line, const char *path);

/// What must agree among the keys.
void recipe_check(recipe_reader_t *reader, const tr_recipe_t *recipe, const recipe_keys_t *keys,
                  const recipe_node_t *root);

// Judges: roles.reward

/// Reads the whole list, whose dotted name is path, or none of it: false after a problem.
bool recipe_judges_read(tr_judges_t *judges, recipe_reader_t *reader, const recipe_node_t *list,
                        const char *path);
void recipe_judges_release(tr_judges_t *judges);
/// The list as YAML, from behind its "reward:" to the end of its last line.
void recipe_judges_print(FILE *out, const tr_judges_t *judges, int indent);

// Writing

/// Keys as YAML, from `first` on, each on a line. Those that nothing reads are left out
/// (recipe_key_unread).
void recipe_print_keys(FILE *out, const recipe_keys_t *keys, size_t first, int indent,
                       const tr_recipe_t *recipe);

// Numbers and texts as a recipe writes them

/// The fewest digits that read back, always with a point: "0.05", "3.0e-6". Owned by the caller
/// (free).
char *recipe_real_format(double value);

/// text as a YAML scalar that YAML 1.1 and 1.2 read as that text. Owned by the caller (free).
char *recipe_text_format(const char *text);

#endif
