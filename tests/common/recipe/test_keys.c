/// Every key of a recipe, whichever there are: it says what it means, has a default that reads
/// back, prints and reloads, and is a mistake where nothing reads it. The list of keys is the
/// tables'; a new key is tested here without a line of its own, unless another value of it needs
/// something beside it.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"
#include "common/recipe/resumed.h"
#include "tests/support/fields.h"

// Recipes

/// The least recipe of an algorithm, in which its reference is read.
static char *least_of(const tr_algorithm_t *algorithm)
{
    const char *data = tr_algorithm_generates(algorithm)
                           ? "data: {prompts: [p.jsonl]}\nroles: {reward: [{words: {good: 1}}]}\n"
                           : "data: {train: [t.jsonl]}\n";
    return tr_format("name: a\nalgorithm: %s\nsteps: 10\nmodel: m\n%s%s%s", algorithm->name, data,
                     algorithm->compares ? "generation: {samples: 4}\n" : "",
                     algorithm->estimator != NULL ? "grpo: {beta: 0.5}\n" : "");
}

enum { OVERRIDES = 8 };

/// "key=value", owned; those of a recipe in the order in which they are given.
typedef struct overrides {
    const char *items[OVERRIDES];
    size_t count;
} overrides_t;

static void add(overrides_t *overrides, char *override)
{
    cr_assert(overrides->count < OVERRIDES);
    overrides->items[overrides->count++] = override;
}

static void release(overrides_t *overrides)
{
    for (size_t i = 0; i < overrides->count; i++) {
        free((char *)overrides->items[i]);
    }
}

/// The recipe; NULL and *problem (owned by the caller) when there is one.
static tr_recipe_t *parse(const char *text, const overrides_t *overrides, char **problem)
{
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    tr_recipe_parse(&recipe, text, strlen(text), "r.yaml", overrides->items, overrides->count,
                    &problems);
    *problem = problems.count > 0 ? tr_strdup(problems.texts[0]) : NULL;
    cr_assert_leq(problems.count, 1U, "%s; %s", *problem, problems.texts[1]);
    tr_recipe_problems_release(&problems);
    return recipe;
}

static tr_recipe_t *good(const char *text, const overrides_t *overrides)
{
    char *problem;
    tr_recipe_t *recipe = parse(text, overrides, &problem);
    const char *last = overrides->count > 0 ? overrides->items[overrides->count - 1] : "";
    cr_assert_not_null(recipe, "%s: %s", last, problem);
    return recipe;
}

static bool reads(const tr_algorithm_t *algorithm, const recipe_key_t *key)
{
    return (key->readers & ~algorithm->reads) == 0;
}

/// The first algorithm that reads the key.
static const tr_algorithm_t *reader_of(const recipe_key_t *key)
{
    for (size_t i = 0; i < tr_algorithm_count; i++) {
        if (reads(&tr_algorithms[i], key)) {
            return &tr_algorithms[i];
        }
    }
    cr_assert_fail("no algorithm reads %s", key->name);
    return NULL;
}

// Other values

/// What another value of a key needs, or the value itself; each with NULL at the end.
static const struct {
    const char *key, *value;
    const char *others[4];
} special[] = {
    {"roles.actor.device", "[cuda]", {"roles.rollout.device=cuda"}},
    {"roles.rollout.device", "[cuda]", {"roles.actor.device=cuda"}},
    {"optimizer.rounding",
     "stochastic",
     {"roles.actor.device=cuda", "roles.rollout.device=cuda", "roles.critic.device=cuda"}},
    {"roles.actor.memory", "1.5", {"roles.rollout.device=cuda"}},
    {"roles.rollout.memory", "1.5", {"roles.actor.device=cuda"}},
    {"roles.reference.memory", "1.5", {"roles.reference.separate=true"}},
    {"optimizer.offload", "true", {"roles.critic.device=cuda"}},
    {"reward.normalize", "true", {"data.eval=[e.jsonl]"}},
    {"lora.lora_dropout", "0.5", {"lora.r=2"}},
    {"checkpoint.best", "eval_loss", {"data.eval=[e.jsonl]"}},
    {"evaluation.every", "3", {"data.eval=[e.jsonl]"}},
    {"evaluation.patience", "3", {"data.eval=[e.jsonl]", "checkpoint.best=eval_loss"}},
    {"evaluation.target", "0.5", {"data.eval=[e.jsonl]", "checkpoint.best=eval_loss"}},
    {"roles.reward", "[{regex: a}]", {NULL}},
    {"network.weights_port", "7001", {"roles.rollout.external=1"}},
};

static char *other_whole(const tr_field_t *field)
{
    uint64_t value = 0;
    bool read = tr_whole_parse(&value, field->initial != NULL ? field->initial : "10");
    value = read ? value + 1 : (uint64_t)field->range->low + 1; // of null: any
    cr_assert(tr_range_holds(field->range, (double)value), "%s", field->name);
    return tr_format("%llu", (unsigned long long)value);
}

static char *other_real(const tr_field_t *field)
{
    static const double values[] = {0.25, 0.375, 1.5};
    double initial = field->null;
    bool null = strcmp(field->initial, "null") == 0;
    cr_assert(null || tr_real_parse(&initial, field->initial));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (values[i] != initial && tr_range_holds(field->range, values[i])) {
            return tr_format("%g", values[i]);
        }
    }
    cr_assert_fail("no other value of %s", field->name);
    return NULL;
}

/// Another choice than the default; whole lists of them have their first.
static char *other_choice(const tr_field_t *field)
{
    int initial = field->initial != NULL ? tr_field_choice_index(field, field->initial) : 0;
    return tr_strdup(tr_field_choice(field, initial == 0 ? 1 : 0));
}

/// A value that is not the key's default, as an override has it. Owned by the caller.
static char *other_value(const recipe_key_t *key)
{
    const tr_field_t *field = key->field;
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        if (strcmp(special[i].key, key->name) == 0) {
            return tr_strdup(special[i].value);
        }
    }
    switch (field->kind) {
    case TR_FIELD_TEXT:
        return tr_strdup(field->names == TR_NAMES_DEVICE      ? "cuda:3"
                         : field->names == TR_NAMES_VARIABLES ? "{other: 1}"
                                                              : "other");
    case TR_FIELD_WHOLE: return other_whole(field);
    case TR_FIELD_REAL: return other_real(field);
    case TR_FIELD_BOOL: return tr_strdup(strcmp(field->initial, "true") == 0 ? "false" : "true");
    case TR_FIELD_CHOICE:
    case TR_FIELD_CHOICES: return other_choice(field);
    case TR_FIELD_REALS: return tr_strdup("[0.5]");
    case TR_FIELD_TEXTS: return tr_strdup(field->names == TR_NAMES_DEVICE ? "[cuda]" : "[o.jsonl]");
    case TR_FIELD_IDS: return tr_strdup("[3, 4]");
    case TR_FIELD_WORDS:
    case TR_FIELD_JUDGES: break;
    }
    cr_assert_fail("write down another value of %s", key->name);
    return NULL;
}

/// "dpo.loss_type" of "dpo.simpo_gamma". Owned by the caller.
static char *deciding_key(const recipe_key_t *key)
{
    const char *dot = strrchr(key->name, '.');
    return tr_format("%.*s%s", dot == NULL ? 0 : (int)(dot + 1 - key->name), key->name,
                     key->field->when);
}

/// What has to be said before the key's other value is read by the algorithm.
static void add_companions(overrides_t *overrides, const recipe_key_t *key)
{
    if (key->field->when != NULL) {
        char *when = deciding_key(key);
        const char *is = key->field->is;
        // a default is among those that "any other" means, but null is no number
        if (strcmp(is, "!null") == 0) {
            add(overrides, tr_format("%s=2", when));
        } else if (is[0] != '!') {
            add(overrides, tr_format("%s=%.*s", when, (int)strcspn(is, "|"), is));
        }
        free(when);
    }
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        for (size_t k = 0; strcmp(special[i].key, key->name) == 0 && k < 4; k++) {
            if (special[i].others[k] != NULL) {
                add(overrides, tr_strdup(special[i].others[k]));
            }
        }
    }
}

/// The key of another recipe.
static const recipe_key_t *find(recipe_keys_t *keys, tr_recipe_t *recipe, const char *name)
{
    recipe_keys_init(keys, recipe);
    const recipe_key_t *key = recipe_key_find(keys, name);
    cr_assert_not_null(key);
    return key;
}

static bool has_default(tr_recipe_t *recipe, const char *name)
{
    recipe_keys_t keys;
    const recipe_key_t *key = find(&keys, recipe, name);
    void *defaults = tr_calloc(1, key->table->size);
    tr_fields_init(defaults, key->table);
    bool same = tr_field_equal(key->record, defaults, key->field);
    tr_fields_release(defaults, key->table);
    free(defaults);
    recipe_keys_release(&keys);
    return same;
}

// Laws

static bool is_algorithm(const recipe_key_t *key)
{
    return strcmp(key->name, "algorithm") == 0;
}

/// The table's line about a key: a sentence, a range or choices.
static void expect_described(const recipe_key_t *key)
{
    const tr_field_t *field = key->field;
    bool number = field->kind == TR_FIELD_WHOLE || field->kind == TR_FIELD_REAL ||
                  field->kind == TR_FIELD_REALS;
    bool chosen = field->kind == TR_FIELD_CHOICE || field->kind == TR_FIELD_CHOICES;
    char *expected = tr_field_expected(field);
    cr_expect(field->help != NULL && strlen(field->help) > 6, "%s has no help", key->name);
    cr_expect_eq(field->help[strlen(field->help) - 1], '.', "%s: help is no sentence", key->name);
    cr_expect_eq(field->range != NULL, number, "%s: a range is for numbers", key->name);
    cr_expect_eq(field->choices != NULL, chosen, "%s: choices", key->name);
    cr_expect_gt(strlen(expected), 0U);
    cr_expect_eq(field->when != NULL, field->is != NULL, "%s: when and is", key->name);
    cr_expect_lt(field->offset, key->table->size);
    free(expected);
}

/// Each name that a key depends on is a choice of the same table, and each word one of its.
static void expect_dependence(const recipe_key_t *key)
{
    const tr_field_t *deciding = tr_fields_find(key->table, key->field->when);
    cr_assert_not_null(deciding, "%s depends on no field", key->name);
    if (deciding->names == TR_NAMES_DEVICE) {
        cr_expect_str_eq(key->field->is, "cuda");
        return;
    }
    if (deciding->kind == TR_FIELD_WHOLE) {
        cr_expect_str_eq(key->field->is, "!null");
        return;
    }
    for (const char *at = key->field->is + (key->field->is[0] == '!'); *at != '\0';) {
        size_t length = strcspn(at, "|");
        char *word = tr_format("%.*s", (int)length, at);
        cr_expect_geq(tr_field_choice_index(deciding, word), 0, "%s: '%s'", key->name, word);
        free(word);
        at += length + (at[length] == '|');
    }
}

Test(keys, each_says_what_it_means_and_what_it_takes)
{
    recipe_keys_t keys;
    recipe_keys_init(&keys, NULL);
    cr_assert_gt(keys.count, 90U);
    for (size_t i = 0; i < keys.count; i++) {
        expect_described(&keys.items[i]);
        if (keys.items[i].field->when != NULL) {
            expect_dependence(&keys.items[i]);
        }
        for (size_t k = 0; k < i; k++) {
            cr_expect_str_neq(keys.items[i].name, keys.items[k].name);
        }
    }
    recipe_keys_release(&keys);
}

Test(keys, each_default_is_read_as_the_value_that_is_there_without_it)
{
    recipe_keys_t keys;
    recipe_keys_init(&keys, NULL);
    for (size_t i = 0; i < keys.count; i++) {
        const recipe_key_t *key = &keys.items[i];
        if (key->field->initial == NULL) {
            continue;
        }
        bool needed =
            strcmp(key->name, "data.prompts") == 0 || strcmp(key->name, "data.train") == 0 ||
            strcmp(key->name, "roles.reward") == 0 ||
            strcmp(key->name, "generation.samples") == 0 || strcmp(key->name, "grpo.beta") == 0;
        for (size_t a = 0; a < tr_algorithm_count; a++) { // whether it is read or not
            char *text = least_of(&tr_algorithms[a]);
            overrides_t given = {0}, none = {0};
            add(&given, tr_format("%s=%s", key->name, key->field->initial));
            tr_recipe_t *plain = good(text, &none);
            if (!needed || has_default(plain, key->name)) {
                tr_recipe_t *recipe = good(text, &given);
                char *one = tr_recipe_print(plain), *other = tr_recipe_print(recipe);
                cr_expect_str_eq(one, other, "%s", given.items[0]);
                free(one);
                free(other);
                tr_recipe_destroy(&recipe);
            }
            tr_recipe_destroy(&plain);
            release(&given);
            free(text);
        }
    }
    recipe_keys_release(&keys);
}

/// The recipe with the key at another value prints, and the print loads to the same value and the
/// same bytes.
static void expect_reloads(const char *text, const overrides_t *overrides, const recipe_key_t *key)
{
    static const overrides_t none = {0};
    tr_recipe_t *recipe = good(text, overrides);
    cr_expect_not(has_default(recipe, key->name), "%s", overrides->items[overrides->count - 1]);
    char *printed = tr_recipe_print(recipe);
    tr_recipe_t *again = good(printed, &none);
    char *second = tr_recipe_print(again);
    cr_expect_str_eq(printed, second);
    recipe_keys_t keys, others;
    const recipe_key_t *a = find(&keys, recipe, key->name), *b = find(&others, again, key->name);
    cr_expect(tr_field_equal(a->record, b->record, key->field), "%s", key->name);
    recipe_keys_release(&keys);
    recipe_keys_release(&others);
    free(second);
    free(printed);
    tr_recipe_destroy(&again);
    tr_recipe_destroy(&recipe);
}

Test(keys, each_takes_another_value_prints_it_and_reloads)
{
    recipe_keys_t keys;
    recipe_keys_init(&keys, NULL);
    for (size_t i = 0; i < keys.count; i++) {
        const recipe_key_t *key = &keys.items[i];
        char *text = least_of(reader_of(key));
        char *value = other_value(key);
        overrides_t overrides = {0};
        add_companions(&overrides, key);
        add(&overrides, tr_format("%s=%s", key->name, value));
        if (!is_algorithm(key)) { // of which every test here has several
            expect_reloads(text, &overrides, key);
        }
        if (key->also != NULL) {
            overrides_t also = {0};
            add(&also, tr_format("%s=%s", key->also, value));
            expect_reloads(text, &also, key);
            release(&also);
        }
        release(&overrides);
        free(value);
        free(text);
    }
    recipe_keys_release(&keys);
}

Test(keys, each_is_a_mistake_where_the_algorithm_does_not_read_it)
{
    recipe_keys_t keys;
    size_t refused = 0;
    recipe_keys_init(&keys, NULL);
    for (size_t i = 0; i < keys.count; i++) {
        const recipe_key_t *key = &keys.items[i];
        char *value = other_value(key);
        for (size_t a = 0; a < tr_algorithm_count; a++) {
            if (reads(&tr_algorithms[a], key)) {
                continue;
            }
            char *text = least_of(&tr_algorithms[a]), *problem;
            char *expected =
                tr_format("command line: %s: algorithm '%s' does not read this key: leave it out",
                          key->name, tr_algorithms[a].name);
            overrides_t overrides = {0};
            add(&overrides, tr_format("%s=%s", key->name, value));
            cr_expect_null(parse(text, &overrides, &problem));
            cr_expect_str_eq(problem, expected);
            refused++;
            free(problem);
            free(expected);
            release(&overrides);
            free(text);
        }
        free(value);
    }
    cr_expect_gt(refused, 300U);
    recipe_keys_release(&keys);
}

/// Some choice that the key is not read with. Owned by the caller; NULL: there is none.
static char *unread_choice(const recipe_key_t *key)
{
    const tr_field_t *deciding = tr_fields_find(key->table, key->field->when);
    const char *choice;
    if (deciding->names == TR_NAMES_DEVICE) {
        return tr_strdup("cpu");
    }
    if (deciding->kind == TR_FIELD_WHOLE) {
        return tr_strdup("null");
    }
    for (size_t i = 0; (choice = tr_field_choice(deciding, i)) != NULL; i++) {
        void *record = tr_calloc(1, key->table->size);
        tr_fields_init(record, key->table);
        cr_assert(tr_field_parse(record, deciding, choice, false));
        bool read = tr_field_is_read(record, key->table, key->field);
        tr_fields_release(record, key->table);
        free(record);
        if (!read) {
            return tr_strdup(choice);
        }
    }
    return NULL;
}

Test(keys, each_that_depends_on_a_choice_is_a_mistake_without_it)
{
    recipe_keys_t keys;
    size_t refused = 0;
    recipe_keys_init(&keys, NULL);
    for (size_t i = 0; i < keys.count; i++) {
        const recipe_key_t *key = &keys.items[i];
        if (key->field->when == NULL) {
            continue;
        }
        char *text = least_of(reader_of(key)), *value = other_value(key), *problem;
        char *when = deciding_key(key), *choice = unread_choice(key);
        const char *is = key->field->is;
        char *expected =
            strcmp(is, "!null") == 0
                ? tr_format("command line: %s: read only where %s is given: leave it out",
                            key->name, key->field->when)
                : tr_format("command line: %s: read only where %s is %s%s: leave it out", key->name,
                            key->field->when, is[0] == '!' ? "none of " : "", is + (is[0] == '!'));
        overrides_t overrides = {0};
        cr_assert_not_null(choice, "%s", key->name);
        add(&overrides, tr_format("%s=%s", when, choice));
        add(&overrides, tr_format("%s=%s", key->name, value));
        cr_expect_null(parse(text, &overrides, &problem), "%s", overrides.items[0]);
        cr_expect_str_eq(problem, expected);
        refused++;
        release(&overrides);
        free(problem);
        free(expected);
        free(choice);
        free(when);
        free(value);
        free(text);
    }
    cr_expect_gt(refused, 3U);
    recipe_keys_release(&keys);
}

/// What makes a run the one that it is: all but how far it goes, how fast, and on which machines.
static bool is_learnt(const recipe_key_t *key)
{
    static const char *const learnt[] = {
        "model", "reference",  "algorithm", "seed", "precision", "data", "ppo",
        "sft",   "generation", "reward",    "dpo",  "kto",       "grpo"};
    for (size_t i = 0; i < sizeof learnt / sizeof learnt[0]; i++) {
        size_t length = strlen(learnt[i]);
        if (strncmp(key->name, learnt[i], length) == 0 && strchr(".", key->name[length]) != NULL) {
            return strcmp(key->name, "data.eval") != 0;
        }
    }
    return false;
}

/// Resuming with another value of the last override's key lists or refuses it, by name.
static void expect_resumed(const recipe_key_t *key, tr_recipe_t *from, tr_recipe_t *to)
{
    tr_texts_t changes;
    tr_error_t err = {0};
    tr_status status = tr_recipe_compare_resumed(&changes, from, to, &err);
    size_t length = strlen(key->name);
    if (key->field->may_change) {
        bool listed = false;
        cr_expect_eq(status, TR_OK, "%s", err.text);
        cr_expect_not(is_learnt(key), "%s may change", key->name);
        for (size_t i = 0; i < changes.count; i++) {
            const char *text = changes.items[i];
            listed = listed || (strncmp(text, key->name, length) == 0 && text[length] == ':');
        }
        cr_expect(listed, "%s: the change is not listed", key->name);
    } else {
        cr_expect_eq(status, TR_ERR_ARGUMENT, "%s", key->name);
        cr_expect(strncmp(err.text, key->name, length) == 0 && err.text[length] == ':', "%s: %s",
                  key->name, err.text);
    }
    tr_texts_release(&changes);
}

Test(keys, each_is_refused_at_a_resume_unless_its_row_says_that_it_may_change)
{
    recipe_keys_t keys;
    recipe_keys_init(&keys, NULL);
    for (size_t i = 0; i < keys.count; i++) {
        const recipe_key_t *key = &keys.items[i];
        char *text = least_of(reader_of(key)), *value = other_value(key), *problem;
        overrides_t overrides = {0};
        add_companions(&overrides, key);
        // some companions, such as the device of one role, are a mistake alone
        tr_recipe_t *from = parse(text, &overrides, &problem);
        free(problem);
        if (from == NULL) {
            from = good(text, &(overrides_t){0});
        }
        add(&overrides, tr_format("%s=%s", key->name, value));
        if (!is_algorithm(key)) { // whose rows differ too
            tr_recipe_t *to = good(text, &overrides);
            expect_resumed(key, from, to);
            tr_recipe_destroy(&to);
        }
        tr_recipe_destroy(&from);
        release(&overrides);
        free(value);
        free(text);
    }
    recipe_keys_release(&keys);
}

Test(keys, a_resolved_recipe_of_every_algorithm_loads_to_itself)
{
    for (size_t a = 0; a < tr_algorithm_count; a++) {
        static const overrides_t none = {0};
        char *text = least_of(&tr_algorithms[a]);
        tr_recipe_t *recipe = good(text, &none);
        char *printed = tr_recipe_print(recipe);
        tr_recipe_t *again = good(printed, &none);
        char *second = tr_recipe_print(again);
        cr_expect_str_eq(printed, second);
        cr_expect_str_eq(tr_recipe_algorithm(again)->name, tr_algorithms[a].name);
        free(second);
        free(printed);
        tr_recipe_destroy(&again);
        tr_recipe_destroy(&recipe);
        free(text);
    }
}

/// The notes on a recipe with the override, which loads.
static tr_recipe_problems_t notes_on(const char *text, char *override)
{
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    tr_recipe_parse(&recipe, text, strlen(text), "r.yaml", (const char *const *)&override, 1,
                    &problems);
    cr_expect_not_null(recipe, "%s", override);
    cr_expect_eq(problems.count, 0U);
    tr_recipe_destroy(&recipe);
    free(override);
    return problems;
}

Test(keys, each_is_noted_at_its_default_where_the_algorithm_does_not_read_it)
{
    recipe_keys_t keys;
    recipe_keys_init(&keys, NULL);
    for (size_t i = 0; i < keys.count; i++) {
        const recipe_key_t *key = &keys.items[i];
        const char *initial = key->field->initial;
        for (size_t a = 0; initial != NULL && a < tr_algorithm_count; a++) {
            char *text = least_of(&tr_algorithms[a]);
            bool needed = strcmp(key->name, "data.prompts") == 0 ||
                          strcmp(key->name, "data.train") == 0 ||
                          strcmp(key->name, "roles.reward") == 0 ||
                          strcmp(key->name, "generation.samples") == 0;
            if (!reads(&tr_algorithms[a], key) && strcmp(initial, "null") != 0) {
                tr_recipe_problems_t found = notes_on(text, tr_format("%s=%s", key->name, initial));
                char *expected = tr_format("command line: %s: algorithm '%s' does not read this "
                                           "key",
                                           key->name, tr_algorithms[a].name);
                cr_assert_eq(found.note_count, 1U, "%s", key->name);
                cr_expect_str_eq(found.notes[0], expected);
                free(expected);
                tr_recipe_problems_release(&found);
            } else if (reads(&tr_algorithms[a], key) && !needed && key->field->when == NULL) {
                tr_recipe_problems_t found = notes_on(text, tr_format("%s=%s", key->name, initial));
                cr_expect_eq(found.note_count, 0U, "%s", found.note_count ? found.notes[0] : "");
                tr_recipe_problems_release(&found);
            }
            free(text);
        }
    }
    recipe_keys_release(&keys);
}

Test(keys, whatever_is_about_a_reference_is_refused_where_the_loss_has_none)
{
    static const char *const given[] = {
        "reference=r",
        "roles.reference.separate=true",
        "dpo.precompute_ref_log_probs=true",
        "dpo.sync_ref_model=true",
    };
    static const char *const losses[] = {"dpo.loss_type=simpo", "dpo.loss_type=[cpo, sft]",
                                         "dpo.loss_type=orpo", "dpo.reference_free=true"};
    char *text = least_of(&tr_algorithms[fields_algorithm("dpo")]);
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        overrides_t alone = {0}, both = {0};
        add(&alone, tr_strdup(given[i]));
        tr_recipe_t *recipe = good(text, &alone);
        tr_recipe_destroy(&recipe);
        release(&alone);
        for (size_t k = 0; k < sizeof losses / sizeof losses[0]; k++) {
            char *problem, *expected = tr_format("command line: %.*s: the loss compares with no "
                                                 "reference, so nothing reads this key: leave it "
                                                 "out",
                                                 (int)strcspn(given[i], "="), given[i]);
            both = (overrides_t){0};
            add(&both, tr_strdup(losses[k]));
            add(&both, tr_strdup(given[i]));
            cr_expect_null(parse(text, &both, &problem));
            cr_expect_str_eq(problem, expected);
            release(&both);
            free(expected);
            free(problem);
        }
    }
    free(text);
}
