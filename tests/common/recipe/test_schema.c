/// The JSON Schema of recipes: it has every key of docs/recipe.md with its default, takes recipes
/// that run, and refuses mistakes.
#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/json_schema.h"
#include "common/recipe/parts.h"
#include "tests/support/scratch.h"

static json_t *schema;

static void setup(void)
{
    char *text = tr_recipe_schema();
    json_error_t error;
    schema = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(schema, "line %d: %s", error.line, error.text);
    tr_error_t err = {0};
    cr_assert_eq(tr_json_schema_check(schema, &err), TR_OK, "%s", err.text);
    free(text);
}

static void teardown(void)
{
    json_decref(schema);
}

TestSuite(schema, .init = setup, .fini = teardown);

// Recipes as JSON

static json_t *to_json(const recipe_node_t *node);

static json_t *map_to_json(const recipe_node_t *map)
{
    json_t *object = json_object();
    for (size_t i = 0; i < map->count; i++) {
        json_object_set_new(object, map->children[i]->key, to_json(map->children[i]));
    }
    return object;
}

static json_t *list_to_json(const recipe_node_t *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        json_array_append_new(array, to_json(list->children[i]));
    }
    return array;
}

/// As a YAML reader sees it.
static json_t *to_json(const recipe_node_t *node)
{
    double real;
    uint64_t whole;
    if (node->kind != RECIPE_SCALAR) {
        return node->kind == RECIPE_MAP ? map_to_json(node) : list_to_json(node);
    }
    if (recipe_node_is_null(node)) {
        return json_null();
    }
    if (!node->quoted && tr_whole_parse(&whole, node->text)) {
        return json_integer((json_int_t)whole);
    }
    if (!node->quoted && tr_real_parse(&real, node->text)) {
        return json_real(real);
    }
    bool truth = strcmp(node->text, "true") == 0;
    return !node->quoted && (truth || strcmp(node->text, "false") == 0) ? json_boolean(truth)
                                                                        : json_string(node->text);
}

static json_t *recipe_of(const char *text)
{
    recipe_reader_t reader = {.source = "text"};
    recipe_node_t *node;
    cr_assert_eq(recipe_parse(&node, &reader, text, strlen(text), 0, ""), TR_OK);
    json_t *recipe = to_json(node);
    recipe_node_destroy(&node);
    return recipe;
}

static bool allows(const char *text)
{
    json_t *recipe = recipe_of(text);
    bool allowed = tr_json_schema_allows(schema, recipe);
    json_decref(recipe);
    return allowed;
}

// Keys

/// The member of an object schema that a dotted name leads to; NULL: none.
static const json_t *property(const json_t *object, const char *name)
{
    const json_t *found = NULL;
    char *copy = tr_strdup(name), *rest = copy;
    for (char *part; (part = strsep(&rest, ".")) != NULL; object = found) {
        const json_t *either = json_object_get(object, "anyOf"); // a section, or a value for it
        object = either != NULL ? json_array_get(either, 0) : object;
        found = json_object_get(json_object_get(object, "properties"), part);
        if (found == NULL) {
            break;
        }
    }
    free(copy);
    return found;
}

/// The schema of a judge of that kind.
static const json_t *judge_of(const char *kind)
{
    const json_t *kinds =
        json_object_get(json_object_get(property(schema, "roles.reward"), "items"), "anyOf");
    for (size_t i = 0; i < json_array_size(kinds); i++) {
        const json_t *required = json_object_get(json_array_get(kinds, i), "required");
        if (strcmp(json_string_value(json_array_get(required, 0)), kind) == 0) {
            return json_array_get(kinds, i);
        }
    }
    cr_assert_fail("no judge '%s'", kind);
    return NULL;
}

/// A cell of "| `key` | value | `default` | meaning |", without the quotes of a key or default.
/// Owned by the caller.
static char *cell_of(const char *row, size_t number)
{
    char *cell = tr_calloc(strlen(row) + 1, 1), *out = cell;
    size_t bars = 0;
    for (; *row != '\0' && bars < number + 2; row++) {
        bool escaped = row[0] == '\\' && row[1] == '|';
        bars += !escaped && *row == '|';
        row += escaped;
        if (bars == number + 1 && (escaped || *row != '|')) {
            *out++ = *row;
        }
    }
    size_t start = strspn(cell, " "), end = strlen(cell);
    end -= end > start; // the space before the bar
    bool quoted = number != 3 && cell[start] == '`';
    char *trimmed =
        tr_format("%.*s", (int)(end - start - 2 * (size_t)quoted), cell + start + quoted);
    free(cell);
    return trimmed;
}

/// A default as the page has it: what is no JSON is a word. A new reference.
static json_t *value_of(const char *cell)
{
    json_t *value = json_loads(cell, JSON_DECODE_ANY, NULL);
    return value != NULL ? value : json_string(cell);
}

/// The key of a row has its default, a valid one, and its meaning in the object schema.
static void expect_row(const json_t *object, const char *row)
{
    char *name = cell_of(row, 0), *initial = cell_of(row, 2), *meaning = cell_of(row, 3);
    const json_t *member = property(object, name);
    cr_assert_not_null(member, "the schema lacks %s", name);
    if (strncmp(meaning, "TRL's name of", 13) != 0 && initial[0] != '\0') {
        json_t *wanted = value_of(initial), *found = json_object_get(member, "default");
        cr_expect(json_equal(found, wanted), "%s: default", name);
        cr_expect(tr_json_schema_allows(member, found), "%s: its default is not valid", name);
        cr_expect_str_eq(json_string_value(json_object_get(member, "description")), meaning);
        json_decref(wanted);
    }
    free(meaning);
    free(initial);
    free(name);
}

Test(schema, has_every_key_of_the_page_with_its_default)
{
    char *page = scratch_read(TEST_SOURCE_DIR "/docs/recipe.md", NULL), *rest = page;
    bool judges = false;
    size_t rows = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        judges = judges || strncmp(line, "## `roles.reward`", 17) == 0;
        if (strncmp(line, "| `", 3) != 0) {
            continue;
        }
        char *kind = judges ? cell_of(line, 4) : NULL; // empty: of all
        expect_row(!judges ? schema : judge_of(kind[0] == '\0' ? "words" : kind), line);
        free(kind);
        rows++;
    }
    cr_expect_gt(rows, 120U);
    free(page);
}

Test(schema, has_no_key_that_the_tables_lack)
{
    recipe_keys_t keys;
    size_t top = 0;
    const char *name;
    json_t *member;
    recipe_keys_init(&keys, NULL);
    json_object_foreach(json_object_get(schema, "properties"), name, member)
    {
        cr_expect(recipe_key_find(&keys, name) != NULL || recipe_is_section(&keys, name), "%s",
                  name);
        top++;
    }
    cr_expect_gt(top, 15U);
    json_object_foreach(json_object_get(property(schema, "ppo"), "properties"), name, member)
    {
        char *full = recipe_join("ppo", name);
        cr_expect_not_null(recipe_key_find(&keys, full), "%s", full);
        free(full);
    }
    recipe_keys_release(&keys);
}

// Recipes

Test(schema, takes_every_example)
{
    static const char *const folders[] = {"/examples", "/examples/three-stages",
                                          "/examples/models"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char *folder = tr_format("%s%s", TEST_SOURCE_DIR, folders[i]);
        DIR *directory = opendir(folder);
        cr_assert_not_null(directory, "%s", folder);
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
            const char *dot = strrchr(entry->d_name, '.');
            if (dot != NULL && strcmp(dot, ".yaml") == 0) {
                char *path = tr_format("%s/%s", folder, entry->d_name);
                char *text = scratch_read(path, NULL);
                cr_expect(allows(text), "%s", path);
                free(text);
                free(path);
                count++;
            }
        }
        closedir(directory);
        free(folder);
    }
    cr_expect_gt(count, 8U);
}

static const char least[] = "name: a\nalgorithm: ppo\nsteps: 10\nmodel: m\n"
                            "data: {prompts: [p.jsonl]}\n"
                            "roles: {reward: [{words: {good: 1}}]}\n";

Test(schema, takes_a_resolved_recipe_with_many_judges)
{
    const char *const overrides[] = {
        ("roles.reward=[{words: {good: 1, bad: -0.5}}, {regex: a}, {regex: {pattern: b}}, "
         "{length: {min: 1}}, {exec: [sh, '-c']}, {model: m, steps: min}, {external: x}, "
         "{repetition: 2}]"),
        "generation.stop_ids=[1, 2]", "generation.stop_token=eos", "ppo.missing_eos_penalty=1"};
    tr_recipe_t *recipe;
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_parse(&recipe, least, strlen(least), "r.yaml", overrides, 4, &problems),
                 TR_OK, "%s", problems.count > 0 ? problems.texts[0] : "");
    char *text = tr_recipe_print(recipe);
    cr_expect(allows(text), "%s", text);
    free(text);
    tr_recipe_destroy(&recipe);
}

Test(schema, takes_what_is_short_for_more)
{
    char *text = tr_format("%ssamples:\ngeneration: {response_length: 5}\ndpo: {loss_type: ipo}\n"
                           "optimizer: {clip: null}\n",
                           least);
    cr_expect(allows(text)); // null sections, TRL's names, a list of one, null for a number
    free(text);
    cr_expect(
        allows("name: a\nalgorithm: ppo\nsteps: 10\nmodel: m\ndata: {prompts: p.jsonl}\n"
               "roles: {reward: [{regex: '^a'}, {regex: {pattern: b, score: 2}, weight: 3}]}\n"));
}

Test(schema, refuses_mistakes)
{
    static const char *const mistakes[] = {
        "zebra: 1",
        "seed: -1",
        "seed: 1.5",
        "log_level: loud",
        "log_level: null",
        "output: 7",
        "ppo: {gama: 1.0}",
        "ppo: {gamma: 1.01}",
        "ppo: {gamma: '1'}",
        "ppo: {gamma: null}",
        "ppo: {cliprange: 0}",
        "ppo: 3",
        "generation: {top_p: 0}",
        "generation: {stop_ids: [a]}",
        "dpo: {loss_type: kto}",
        "dpo: {loss_type: [sigmoid, kto]}",
        "optimizer: {beta1: 1}",
        "network: {weights_port: 65536}",
        "checkpoint: {keep: 0}",
        "samples: {every: true}",
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        char *text = tr_format("%s%s\n", least, mistakes[i]);
        cr_expect_not(allows(text), "%s", mistakes[i]);
        free(text);
    }
    static const char *const judges[] = {
        "5",
        "{weight: 1}",
        "{words: {good: a}}",
        "{regex: a, threads: 1}",
        "{length: {target: 1, unit: lines}}",
        "{exec: [1]}",
        "{model: m, weight: x}",
        "{model: m, precision: bf16}",
    };
    for (size_t i = 0; i < sizeof judges / sizeof judges[0]; i++) {
        char *text = tr_format("name: a\nalgorithm: ppo\nsteps: 10\nmodel: m\n"
                               "roles: {reward: [%s]}\n",
                               judges[i]);
        cr_expect_not(allows(text), "%s", judges[i]);
        free(text);
    }
    cr_expect_not(allows("algorithm: ppo\nsteps: 10\nmodel: m\n")); // no name
}
