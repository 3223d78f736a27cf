// What must agree within one entry of roles.reward.
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/base/recipe_parts.h"

typedef struct entry {
    tr_judge_t *judge;
    recipe_reader_t *reader;
    const recipe_found_t *found; // [recipe_judge_keys.count]
    const recipe_node_t *node;
    const char *path;
} entry_t;

static size_t index_of(const char *name)
{
    const recipe_key_t *key = recipe_key_find(&recipe_judge_keys, name);
    TR_ASSERT(key != NULL, "no key '%s'", name);
    return (size_t)(key - recipe_judge_keys.keys);
}

static size_t line_of(const entry_t *entry, const char *name)
{
    const recipe_node_t *node = entry->found[index_of(name)].node;
    return node != NULL ? node->line : entry->node->line;
}

/// Whether the entry has anything of that kind: its key, or one in its section.
static bool has_kind(const entry_t *entry, tr_judge_kind_t kind)
{
    const char *name = tr_judge_kind_name(kind);
    const recipe_node_t *node = recipe_node_find(entry->node, name, strlen(name));
    return node != NULL && !recipe_node_is_null(node);
}

/// Exactly one kind is given.
static bool find_kind(const entry_t *entry)
{
    size_t count = 0;
    for (int kind = 0; kind < TR_JUDGE_KIND_COUNT; kind++) {
        if (has_kind(entry, (tr_judge_kind_t)kind)) {
            entry->judge->kind = (tr_judge_kind_t)kind;
            count++;
        }
    }
    if (count != 1) {
        recipe_problem(entry->reader, entry->node->line, entry->path,
                       "expected one of exec, model, words, regex, length or external, found %s",
                       count == 0 ? "none" : "several");
    }
    return count == 1;
}

/// No key is given that has no meaning for the kind.
static void check_keys(const entry_t *entry)
{
    for (size_t i = 0; i < recipe_judge_keys.count; i++) {
        const recipe_key_t *key = &recipe_judge_keys.keys[i];
        const recipe_node_t *node = entry->found[i].node;
        if (node != NULL && !recipe_node_is_null(node) && key->judges != 0 &&
            (key->judges & 1u << entry->judge->kind) == 0) {
            char *path = recipe_join(entry->path, key->name);
            recipe_problem(entry->reader, node->line, path,
                           "the key means nothing for a judge of kind '%s': leave it out",
                           tr_judge_kind_name(entry->judge->kind));
            free(path);
        }
    }
}

static void missing(const entry_t *entry, const char *name, const char *expected)
{
    if (!entry->found[index_of(name)].failed) {
        char *path = recipe_join(entry->path, name);
        recipe_problem(entry->reader, line_of(entry, name), path, "expected %s, found none",
                       expected);
        free(path);
    }
}

static void check_regex(const entry_t *entry)
{
    const char *pattern = entry->judge->regex.pattern;
    int code = 0;
    PCRE2_SIZE offset = 0;
    if (pattern == NULL) {
        missing(entry, "regex.pattern", "a regular expression");
        return;
    }
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &offset, NULL);
    if (compiled == NULL) {
        char reason[160];
        char *quoted = recipe_quote(pattern);
        char *path = recipe_join(entry->path, "regex.pattern");
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        recipe_problem(entry->reader, line_of(entry, "regex.pattern"), path,
                       "expected a regular expression, found %s: %s at byte %zu", quoted, reason,
                       offset);
        free(path);
        free(quoted);
    }
    pcre2_code_free(compiled);
}

static void check_length(const entry_t *entry)
{
    const tr_length_rule_t *rule = &entry->judge->length;
    bool bounds = rule->min > 0 || rule->max > 0;
    bool failed = entry->found[index_of("length.target")].failed ||
                  entry->found[index_of("length.min")].failed ||
                  entry->found[index_of("length.max")].failed;
    const char *fault = NULL;
    if (failed) {
        return;
    }
    if ((rule->target > 0) == bounds) {
        fault = bounds ? "expected target, or min and max, found both kinds"
                       : "expected a target, a min or a max above 0, found none";
    } else if (rule->max > 0 && rule->min > rule->max) {
        fault = "min is above max";
    }
    if (fault != NULL) {
        char *path = recipe_join(entry->path, "length");
        recipe_problem(entry->reader, line_of(entry, "length.target"), path, "%s", fault);
        free(path);
    }
}

/// Names go into metrics, messages and files.
static void check_name(const entry_t *entry, const char *key, const char *name)
{
    enum { NAME_LIMIT = 64 };
    size_t good = name == NULL ? 0
                               : strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789_.-");
    if (name != NULL && (name[good] != '\0' || good > NAME_LIMIT || name[0] == '.')) {
        char *path = recipe_join(entry->path, key);
        char *found = recipe_quote(name);
        recipe_problem(entry->reader, line_of(entry, key), path,
                       "expected at most %d letters, digits, '_', '-' and '.', found %s",
                       NAME_LIMIT, found);
        free(found);
        free(path);
    }
}

void recipe_judge_check(tr_judge_t *judge, recipe_reader_t *reader, const recipe_found_t *found,
                        const recipe_node_t *node, const char *path)
{
    entry_t entry = {judge, reader, found, node, path};
    check_name(&entry, "name", judge->name);
    check_name(&entry, "external", judge->external);
    if (!find_kind(&entry)) {
        return;
    }
    check_keys(&entry);
    switch (judge->kind) {
    case TR_JUDGE_EXEC:
        if (judge->exec.count == 0) {
            missing(&entry, "exec", "a program");
        }
        break;
    case TR_JUDGE_WORDS:
        if (judge->words.count == 0) {
            missing(&entry, "words", "at least one word");
        }
        break;
    case TR_JUDGE_REGEX: check_regex(&entry); break;
    case TR_JUDGE_LENGTH: check_length(&entry); break;
    default: break;
    }
    if (judge->name == NULL && judge->external != NULL) {
        judge->name = tr_strdup(judge->external);
    }
}
