// Loading a recipe: bytes to a tree, overrides over it, the tree into the record by the tables,
// then the checks between keys.
//
// This file has the sequence only; each stage is a file of its own (parse.c, override.c, record.c,
// check.c). Next: parts.h, which draws the stages.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/recipe/parts.h"

enum { SIZE_LIMIT = 1 << 20 }; // bytes of a recipe

/// NULL after a problem, and *status says which.
static recipe_node_t *read_tree(tr_status *status, recipe_reader_t *reader, const char *text,
                                size_t length)
{
    recipe_node_t *root;
    *status = recipe_parse(&root, reader, text, length, 0, "");
    // overrides need a map to go into, so nothing else is read of such a file
    if (*status == TR_OK && root->kind != RECIPE_MAP) {
        recipe_unexpected(reader, root, "", "a recipe of keys and values");
        *status = TR_ERR_ARGUMENT;
    }
    if (*status != TR_OK) {
        recipe_node_destroy(&root);
    }
    return root;
}

/// The first failure among the overrides; all of them are read.
static tr_status put_overrides(recipe_reader_t *reader, recipe_node_t *root,
                               const char *const *overrides, size_t count)
{
    tr_status first = TR_OK;
    for (size_t i = 0; i < count; i++) {
        tr_status status = recipe_override(reader, root, overrides[i]);
        // the file is still read after a bad override, and its problems are reported too
        first = first == TR_OK ? status : first;
    }
    return first;
}

/// Defaults first: a field that is not given, or cannot be read, keeps its default.
static tr_recipe_t *resolve(recipe_reader_t *reader, const recipe_node_t *root)
{
    recipe_keys_t keys;
    // zeroed for the list of judges, which no default fills
    tr_recipe_t *recipe = tr_calloc(1, sizeof *recipe);
    // each table fills its own struct within the recipe
    for (size_t i = 0; i < recipe_section_count; i++) {
        tr_fields_init((char *)recipe + recipe_sections[i].offset, recipe_sections[i].fields);
    }
    recipe_keys_init(&keys, recipe);
    recipe_record_read(&keys, reader, root, "", NULL, NULL);
    // by the keys: which were given, where, and which could not be read
    recipe_check(reader, recipe, &keys, root);
    if (recipe->optimizer.learning_rate == 0) {
        recipe->optimizer.learning_rate = tr_recipe_algorithm(recipe)->learning_rate;
    }
    // no line says a default: it begins in the current directory
    if (recipe_key_find(&keys, "output")->node == NULL) {
        char *output = recipe->output;
        recipe->output = recipe_path(reader, RECIPE_COMMAND_LINE, output);
        free(output);
    }
    recipe_keys_release(&keys);
    return recipe;
}

/// The stages in their order. Problems are in the reader; the status is the first failure's kind.
static tr_status read_recipe(tr_recipe_t **recipe, recipe_reader_t *reader, const char *text,
                             size_t length, const char *const *overrides, size_t count)
{
    tr_status status;
    *recipe = NULL;
    // a recipe comes from a person; more than this is another file
    if (length > SIZE_LIMIT) {
        recipe_problem(reader, 1, NULL, "a recipe of %zu bytes; at most %d are read", length,
                       SIZE_LIMIT);
        return TR_ERR_FORMAT;
    }
    recipe_node_t *root = read_tree(&status, reader, text, length);
    if (root == NULL) {
        return status;
    }
    status = put_overrides(reader, root, overrides, count);
    // also after a bad override: its problems and the file's are reported together
    tr_recipe_t *read = resolve(reader, root);
    recipe_node_destroy(&root);
    // a problem that no function has returned (a refused value) counts as well
    if (reader->problems->count > 0) {
        tr_recipe_destroy(&read);
        return status != TR_OK ? status : TR_ERR_ARGUMENT;
    }
    *recipe = read;
    return TR_OK;
}

tr_status tr_recipe_parse(tr_recipe_t **recipe, const char *text, size_t length, const char *source,
                          const char *const *overrides, size_t count,
                          tr_recipe_problems_t *problems)
{
    recipe_reader_t reader = {.source = source, .problems = problems};
    tr_recipe_problems_release(problems);
    tr_status status = read_recipe(recipe, &reader, text, length, overrides, count);
    free(reader.lines);
    return status;
}

/// The absolute directory of the recipe's file; the current one where there is none. Owned by the
/// caller (free).
static char *base_of(const char *path)
{
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    char *current = tr_directory_current(), *base;
    if (slash == NULL) {
        return current;
    }
    int length = (int)(slash - path);
    base = path[0] == '/' ? tr_format("%.*s", length, path)
                          : tr_format("%s/%.*s", current, length, path);
    free(current);
    return base;
}

tr_status tr_recipe_load(tr_recipe_t **recipe, const char *path, const char *const *overrides,
                         size_t count, tr_recipe_problems_t *problems)
{
    // with `disk`: what a recipe that is to be run names must be there
    recipe_reader_t reader = {
        .source = path != NULL ? path : "command line", .disk = true, .problems = problems};
    char *text = NULL;
    size_t length = 0;
    tr_error_t err = {0};
    *recipe = NULL;
    reader.base = base_of(path);
    tr_recipe_problems_release(problems);
    tr_status status = path != NULL ? tr_file_read(&text, &length, path, SIZE_LIMIT, &err) : TR_OK;
    if (status != TR_OK) {
        // the sentence names the file already; a model that shall be checked is the usual slip
        struct stat info;
        if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
            err = (tr_error_t){0};
            tr_fail(&err, TR_ERR_ARGUMENT,
                    "expected a recipe, found the directory '%s': a model's stands in a recipe, as "
                    "`model`",
                    path);
        }
        recipe_problem_plain(&reader, err.text);
    } else {
        // without a file the recipe consists of the overrides alone
        status = path != NULL ? read_recipe(recipe, &reader, text, length, overrides, count)
                              : read_recipe(recipe, &reader, "{}", 2, overrides, count);
    }
    free(text);
    free(reader.base);
    free(reader.lines);
    return status;
}

void tr_recipe_destroy(tr_recipe_t **recipe)
{
    if (*recipe == NULL) {
        return;
    }
    for (size_t i = 0; i < recipe_section_count; i++) {
        tr_fields_release((char *)*recipe + recipe_sections[i].offset, recipe_sections[i].fields);
    }
    // the list of judges is no plain field: tr_fields_release leaves it
    recipe_judges_release(&(*recipe)->roles.reward);
    free(*recipe);
    *recipe = NULL;
}
