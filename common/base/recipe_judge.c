// The entries of roles.reward.
#include <stdlib.h>
#include <string.h>

#include "common/base/recipe_parts.h"

enum { JUDGE_LIMIT = 100 };

/// Reads an entry into *judge, whose kind is known afterwards. False after a problem.
static bool read_judge(tr_judge_t *judge, recipe_reader_t *reader, const recipe_node_t *node,
                       const char *path)
{
    recipe_found_t found[RECIPE_JUDGE_KEY_LIMIT];
    size_t before = reader->count;
    if (node->kind != RECIPE_MAP) {
        if (node->kind != RECIPE_BROKEN) {
            char *text = recipe_node_describe(node);
            recipe_problem(reader, node->line, path,
                           "expected a judge such as {exec: [PROGRAM]} or {model: DIR}, found %s",
                           text);
            free(text);
        }
        return false;
    }
    recipe_record_read(found, judge, reader, &recipe_judge_keys, node, path);
    recipe_judge_check(judge, reader, found, node, path);
    return reader->count == before;
}

static bool is_taken(const tr_judges_t *judges, const char *name, size_t except)
{
    for (size_t i = 0; i < judges->count; i++) {
        const char *other = judges->items[i].name;
        if (i != except && other != NULL && strcmp(other, name) == 0) {
            return true;
        }
    }
    return false;
}

/// "exec", or the first of "exec-2", "exec-3", ... that no judge has.
static char *free_name(const tr_judges_t *judges, const char *base)
{
    char *name = tr_strdup(base);
    for (size_t number = 2; is_taken(judges, name, SIZE_MAX); number++) {
        free(name);
        name = tr_format("%s-%zu", base, number);
    }
    return name;
}

/// A given name must be one judge's alone.
static bool check_names(recipe_reader_t *reader, const tr_judges_t *judges,
                        const recipe_node_t *list, const char *path)
{
    bool unique = true;
    for (size_t i = 0; i < judges->count; i++) {
        const char *name = judges->items[i].name;
        if (name != NULL && is_taken(&(tr_judges_t){judges->items, i}, name, SIZE_MAX)) {
            recipe_problem(reader, list->children[i]->line, path,
                           "entry %zu has the name '%s' of an earlier one", i, name);
            unique = false;
        }
    }
    return unique;
}

static void fill_names(tr_judges_t *judges)
{
    for (size_t i = 0; i < judges->count; i++) {
        tr_judge_t *judge = &judges->items[i];
        if (judge->name == NULL) {
            judge->name = free_name(judges, tr_judge_kind_name(judge->kind));
        }
    }
}

static bool read_all(tr_judges_t *judges, recipe_reader_t *reader, const recipe_node_t *list,
                     const char *path)
{
    bool usable = true;
    for (size_t i = 0; i < list->count; i++) {
        char *entry = tr_format("%s.%zu", path, i);
        recipe_record_init(&judges->items[i], &recipe_judge_keys);
        judges->count++;
        usable = read_judge(&judges->items[i], reader, list->children[i], entry) && usable;
        free(entry);
    }
    return usable && check_names(reader, judges, list, path);
}

bool recipe_judges_read(tr_judges_t *judges, recipe_reader_t *reader, const recipe_node_t *list,
                        const char *path)
{
    if (recipe_node_is_null(list) || list->kind == RECIPE_BROKEN) {
        return list->kind != RECIPE_BROKEN;
    }
    if (list->kind != RECIPE_LIST || list->count > JUDGE_LIMIT) {
        char *found = recipe_node_describe(list);
        recipe_problem(reader, list->line, path,
                       "expected a list of at most %d judges ('- {model: DIR}'), found %s",
                       JUDGE_LIMIT, found);
        free(found);
        return false;
    }
    if (list->count == 0) {
        return true;
    }
    judges->items = tr_calloc(list->count, sizeof *judges->items);
    bool usable = read_all(judges, reader, list, path);
    if (usable) {
        fill_names(judges);
    } else {
        recipe_judges_release(judges);
    }
    return usable;
}

void recipe_judges_release(tr_judges_t *judges)
{
    for (size_t i = 0; i < judges->count; i++) {
        recipe_record_release(&judges->items[i], &recipe_judge_keys);
    }
    free(judges->items);
    *judges = (tr_judges_t){0};
}
