// The list roles.reward: entries of common/judge, read, named, checked and written.
//
// An entry's keys are those that all judges have and those of its kind; the kind is the one whose
// name is among the keys. It is apart because no other key of a recipe is a list of records. Next:
// common/judge/judge.h for the kinds, record.c for how a map is read.
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

enum { JUDGE_LIMIT = 100, NAME_LIMIT = 64 };
#define LIST_EXPECTED "a list of at most 100 judges ('- {model: DIR}')" // JUDGE_LIMIT

/// The kind whose key the entry has. NULL after a problem.
static const tr_judge_kind_t *find_kind(recipe_reader_t *reader, const recipe_node_t *node,
                                        const char *path)
{
    const tr_judge_kind_t *kind = NULL;
    size_t found = 0;
    // a null counts as absent: `troupe run` may clear the kind of a file's entry
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        const char *name = tr_judge_kinds[i]->name;
        const recipe_node_t *given = recipe_node_find(node, name, strlen(name));
        if (given != NULL && !recipe_node_is_null(given)) {
            kind = tr_judge_kinds[i];
            // counted to the end, because several kinds are a mistake of their own
            found++;
        }
    }
    if (found == 1) {
        return kind;
    }
    // none or several: name all kinds, "a, b or c"
    // The list is that of judge.c, so a new kind is named here without a change.
    char *names = tr_strdup("");
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        const char *separator = i == 0 ? "" : i + 1 == tr_judge_kind_count ? " or " : ", ";
        char *longer = tr_format("%s%s%s", names, separator, tr_judge_kinds[i]->name);
        free(names);
        names = longer;
    }
    recipe_problem(reader, node->line, path, "expected one of %s, found %s", names,
                   found == 0 ? "none" : "several");
    free(names);
    return NULL;
}

/// An entry on its way.
typedef struct entry {
    tr_judge_t *judge;
    recipe_reader_t *reader;
    recipe_keys_t keys;
    const recipe_node_t *node;
    const char *path;
} entry_t;

/// A key that some other kind has.
/// Called by recipe_record_read for a key that the entry's kind has not. True: dealt with here.
static bool report_foreign(void *context, const recipe_node_t *node, const char *name)
{
    const entry_t *entry = context;
    const char *own = name + strlen(entry->path) + 1; // as the kind's table has it
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        const tr_judge_kind_t *kind = tr_judge_kinds[i];
        if (kind == entry->judge->kind || tr_fields_find(kind->fields, own) == NULL) {
            continue;
        }
        // null is accepted, so that a key can be taken back from the command line
        if (!recipe_node_is_null(node)) {
            recipe_problem(entry->reader, node->line, name,
                           "the key means nothing for a judge of kind '%s': leave it out",
                           entry->judge->kind->name);
        }
        return true;
    }
    return false;
}

/// The line of the first key that begins with name ("roles.reward.0.length" finds that of its
/// "length.min"), else the entry's.
static size_t line_of(const entry_t *entry, const char *name)
{
    for (size_t i = 0; i < entry->keys.count; i++) {
        const recipe_key_t *key = &entry->keys.items[i];
        if (key->node != NULL && strncmp(key->name, name, strlen(name)) == 0) {
            return key->node->line;
        }
    }
    return entry->node->line;
}

/// Names go into metrics, messages and files.
static void check_name(const entry_t *entry, const char *key, const char *name)
{
    if (name == NULL) {
        return;
    }
    // part of metrics ("judge/NAME/EXTRA") and, as TROUPE_GROUP, of the workers' environment
    size_t good = strspn(name, RECIPE_LETTERS "0123456789_.-");
    // a leading dot would make a hidden file
    if (name[good] != '\0' || good > NAME_LIMIT || name[0] == '.') {
        char *path = recipe_join(entry->path, key);
        char *found = recipe_quote(name);
        recipe_problem(entry->reader, line_of(entry, path), path,
                       "expected at most %d letters, digits, '_', '-' and '.', found %s",
                       NAME_LIMIT, found);
        free(found);
        free(path);
    }
}

/// Whether a key of the entry was refused: then its options are partly defaults.
static bool any_failed(const recipe_keys_t *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (keys->items[i].failed) {
            return true;
        }
    }
    return false;
}

/// What must agree in an entry, after all of its keys were read.
static void check_entry(const entry_t *entry)
{
    tr_judge_t *judge = entry->judge;
    // the kind's check reads several options, so it waits until all of them were read well
    const char *key, *group = tr_judge_group(judge);
    char *sentence = judge->kind->check != NULL && !any_failed(&entry->keys)
                         ? judge->kind->check(&key, judge->options)
                         : NULL;
    for (size_t i = 0; i < entry->keys.count; i++) {
        recipe_check_read(entry->reader, &entry->keys.items[i], NULL);
    }
    check_name(entry, "name", judge->name);
    // an external judge has a group of its own, which is a name too
    if (group != judge->name) {
        check_name(entry, judge->kind->name, group);
    }
    if (sentence != NULL) {
        char *path = recipe_join(entry->path, key);
        recipe_problem(entry->reader, line_of(entry, path), path, "%s", sentence);
        free(path);
        free(sentence);
    }
    // external judges are named after their group
    if (judge->name == NULL && group != NULL) {
        judge->name = tr_strdup(group);
    }
}

/// False after a problem.
static bool read_judge(tr_judge_t *judge, recipe_reader_t *reader, const recipe_node_t *node,
                       const char *path)
{
    size_t before = reader->problems->count;
    if (node->kind != RECIPE_MAP) {
        return recipe_unexpected(reader, node, path,
                                 "a judge such as {exec: [PROGRAM]} or {model: DIR}");
    }
    const tr_judge_kind_t *kind = find_kind(reader, node, path);
    if (kind == NULL) {
        return false;
    }
    // from here on the judge holds memory; release() of the list frees it, also after a problem
    tr_judge_init(judge, kind);
    // what the functions above are told about the entry
    entry_t entry = {judge, reader, {0}, node, path};
    // two tables, one map: an entry has the keys of both side by side
    recipe_keys_add(&entry.keys, path, &tr_judge_fields, judge, 0);
    recipe_keys_add(&entry.keys, path, kind->fields, judge->options, 0);
    recipe_record_read(&entry.keys, reader, node, path, report_foreign, &entry);
    check_entry(&entry);
    recipe_keys_release(&entry.keys);
    // any new problem makes the entry unusable
    return reader->problems->count == before;
}

/// Whether one of the first `count` judges has the name.
static bool is_taken(const tr_judges_t *judges, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        const char *other = judges->items[i].name;
        if (other != NULL && strcmp(other, name) == 0) {
            return true;
        }
    }
    return false;
}

/// "exec", or the first of "exec-2", "exec-3", ... that no judge has.
static char *free_name(const tr_judges_t *judges, const char *base)
{
    // the first judge of a kind has no number, so that a second does not rename it
    char *name = tr_strdup(base);
    for (size_t number = 2; is_taken(judges, judges->count, name); number++) {
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
        if (name != NULL && is_taken(judges, i, name)) {
            recipe_problem(reader, list->children[i]->line, path,
                           "entry %zu has the name '%s' of an earlier one", i, name);
            unique = false;
        }
    }
    return unique;
}

/// Names that were not given, after all given ones are known.
static void fill_names(tr_judges_t *judges)
{
    for (size_t i = 0; i < judges->count; i++) {
        tr_judge_t *judge = &judges->items[i];
        // in the order of the list, so that names do not depend on anything else
        if (judge->name == NULL) {
            judge->name = free_name(judges, judge->kind->name);
        }
    }
}

/// All entries, so that the problems of each are reported.
static bool read_all(tr_judges_t *judges, recipe_reader_t *reader, const recipe_node_t *list,
                     const char *path)
{
    bool usable = true;
    for (size_t i = 0; i < list->count; i++) {
        char *entry = tr_format("%s.%zu", path, i);
        // counted before it is read, so that release() frees what was begun
        judges->count++;
        // read_judge first: && must not skip an entry after a bad one
        usable = read_judge(&judges->items[i], reader, list->children[i], entry) && usable;
        free(entry);
    }
    return usable && check_names(reader, judges, list, path);
}

/// Also of a list that was read in part.
void recipe_judges_release(tr_judges_t *judges)
{
    for (size_t i = 0; i < judges->count; i++) {
        tr_judge_release(&judges->items[i]);
    }
    free(judges->items);
    *judges = (tr_judges_t){0};
}

bool recipe_judges_read(tr_judges_t *judges, recipe_reader_t *reader, const recipe_node_t *list,
                        const char *path)
{
    if (!recipe_node_is_null(list) && (list->kind != RECIPE_LIST || list->count > JUDGE_LIMIT)) {
        return recipe_unexpected(reader, list, path, LIST_EXPECTED);
    }
    // null is the empty list
    // whether an algorithm needs a judge is for check.c, which knows the algorithm
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

/// Each entry with every key of its kind.
void recipe_judges_print(FILE *out, const tr_judges_t *judges, int indent)
{
    // the name stands beside the dash, so it is written here and skipped below
    fputs(judges->count == 0 ? " []\n" : "\n", out);
    for (size_t i = 0; i < judges->count; i++) {
        const tr_judge_t *judge = &judges->items[i];
        char *name = recipe_text_format(judge->name);
        recipe_keys_t keys = {0};
        recipe_keys_add(&keys, "", &tr_judge_fields, (void *)judge, 0);
        recipe_keys_add(&keys, "", judge->kind->fields, judge->options, 0);
        fprintf(out, "%*s- name: %s\n", indent + 2, "", name);
        recipe_print_keys(out, &keys, 1, indent + 4, NULL); // the first is the name
        recipe_keys_release(&keys);
        free(name);
    }
}
