/// No bytes break the reader of recipes: it reads them or says what is wrong.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/recipe/recipe.h"

/// A recipe with something of everything.
static const char rich[] =
    "# comment\n"
    "name: 'it''s'\n"
    "algorithm: ppo\n"
    "steps: 10\n"
    "model: \"\\u00e9 \\x41\"\n"
    "reference: >-\n"
    "  folded\n"
    "  text\n"
    "data:\n"
    "  prompts: [p.jsonl, 'q.jsonl']\n"
    "  shuffle: false\n"
    "generation: {temperature: 1.5e0, stop_ids: [1, 2], stop_token: eos, response_length: 9}\n"
    "ppo: {missing_eos_penalty: .5, kl_estimator: k3}\n"
    "roles:\n"
    "  critic:\n"
    "  reward:\n"
    "  - exec: [python3, -c, '']\n"
    "  - {words: {caf\xC3\xA9: 1.0, \"b\": -1}, weight: 2}\n"
    "  - regex: '^(a|b)+$'\n"
    "  - length: {min: 1, max: 5, unit: characters}\n"
    "  - {external: judge, timeout_s: 5, on_failure: fail}\n";

/// Parses, and expects either a recipe or at least one problem, each one line that tells a place.
static void expect_either(const char *text, size_t length)
{
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    tr_status status = tr_recipe_parse(&recipe, text, length, "r.yaml", NULL, 0, &problems);
    cr_assert_eq(status == TR_OK, recipe != NULL);
    cr_assert_eq(status == TR_OK, problems.count == 0);
    for (size_t i = 0; i < problems.count; i++) {
        cr_assert_eq(strncmp(problems.texts[i], "r.yaml:", 7), 0, "%s", problems.texts[i]);
        cr_assert_null(strchr(problems.texts[i], '\n'));
    }
    tr_recipe_problems_release(&problems);
    tr_recipe_destroy(&recipe);
}

Test(recipe_bytes, any_beginning_of_a_recipe_is_read_or_refused)
{
    char *text = tr_strdup(rich);
    for (size_t length = 0; length <= strlen(text); length++) {
        char *copy = tr_alloc(length + 1); // so that a sanitizer sees a read past the end
        memcpy(copy, text, length);
        copy = tr_realloc(copy, length > 0 ? length : 1);
        expect_either(copy, length);
        free(copy);
    }
    free(text);
}

Test(recipe_bytes, any_changed_byte_is_read_or_refused)
{
    static const char bytes[] = "\0\n\t \x7F\x80\xFF:-[]{}&*!#'\"|,0a";
    char *text = tr_strdup(rich);
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        char kept = text[i];
        for (size_t j = 0; j < sizeof bytes - 1; j++) {
            text[i] = bytes[j];
            expect_either(text, length);
        }
        text[i] = kept;
    }
    free(text);
}

/// `piece` again and again, up to a recipe's size.
static void expect_refused(const char *start, const char *piece)
{
    size_t head = strlen(start);
    size_t tail = strlen(piece);
    size_t length = head + ((1 << 20) - head) / tail * tail;
    char *text = tr_alloc(length);
    for (size_t i = 0; i < length; i++) {
        text[i] = i < head ? start[i] : piece[(i - head) % tail];
    }
    expect_either(text, length);
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    cr_assert_neq(tr_recipe_parse(&recipe, text, length, "r.yaml", NULL, 0, &problems), TR_OK);
    tr_recipe_problems_release(&problems);
    free(text);
}

Test(recipe_bytes, mountains_are_refused, .timeout = 60)
{
    expect_refused("", "[");
    expect_refused("", "{a: ");
    expect_refused("", "- ");
    expect_refused("a: [", "1,");
    expect_refused("", "a: 1\n");
    expect_refused("", "x");
    expect_refused("? ", "x");
    expect_refused("a: &a ", "[*a,");
}

Test(recipe_bytes, more_than_a_mebibyte_is_not_read)
{
    size_t length = (1 << 20) + 1;
    char *text = tr_alloc(length);
    for (size_t i = 0; i < length; i++) {
        text[i] = i < sizeof rich - 1 ? rich[i] : '#';
    }
    expect_either(text, length);
    tr_recipe_t *recipe = NULL;
    tr_recipe_problems_t problems = {0};
    cr_assert_eq(tr_recipe_parse(&recipe, text, length, "r.yaml", NULL, 0, &problems),
                 TR_ERR_FORMAT);
    tr_recipe_problems_release(&problems);
    recipe = NULL;
    cr_assert_eq(tr_recipe_parse(&recipe, text, length - 1, "r.yaml", NULL, 0, &problems), TR_OK);
    tr_recipe_destroy(&recipe);
    free(text);
}
