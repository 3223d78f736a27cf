/// docs/recipe.md: its tables are those of the program, row by row. Everything else on the page is
/// written by hand.
///
/// The page is read, and written again with the rows of each table as the keys of its section have
/// them. Where that changes anything the new page is left in the build folder, to be copied over
/// the old one.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/recipe/parts.h"
#include "tests/support/scratch.h"

#define PAGE TEST_SOURCE_DIR "/docs/recipe.md"

/// A `|` would end the cell.
static void write_cell(FILE *out, const char *text)
{
    fputs(" ", out);
    for (; *text != '\0'; text++) {
        fputs(*text == '|' ? "\\" : "", out);
        fputc(*text, out);
    }
    fputs(" |", out);
}

/// Key, value, default, meaning; what ends the line is the caller's.
static void write_row(FILE *out, const recipe_key_t *key)
{
    char *expected = tr_field_expected(key->field);
    fprintf(out, "| `%s` |", key->name);
    write_cell(out, expected);
    if (key->field->initial == NULL) { // it must be given
        write_cell(out, "");
    } else {
        fprintf(out, " `%s` |", key->field->initial);
    }
    write_cell(out, key->field->help);
    free(expected);
}

/// Whether the key lies in the section itself, not in one within it.
static bool is_in(const recipe_key_t *key, const char *section)
{
    const char *dot = strrchr(key->name, '.');
    size_t length = dot == NULL ? 0 : (size_t)(dot - key->name);
    return length == strlen(section) && strncmp(key->name, section, length) == 0;
}

/// How many of the keys the section has; each is written.
static size_t write_section(FILE *out, const recipe_keys_t *keys, const char *section)
{
    size_t written = 0;
    for (size_t i = 0; i < keys->count; i++) {
        const recipe_key_t *key = &keys->items[i];
        if (!is_in(key, section)) {
            continue;
        }
        write_row(out, key);
        fprintf(out, "%s |\n", key->field->may_change ? " may change" : "");
        written++;
        if (key->also != NULL) { // a row of its own, so that a search finds it
            fprintf(out, "| `%s` | | | TRL's name of `%s`; give one of them. | |\n", key->also,
                    key->name);
        }
    }
    return written;
}

/// The keys of a table of judges. kind: who has them; "": all.
static void write_judge_rows(FILE *out, const tr_fields_t *fields, const char *kind)
{
    recipe_keys_t keys = {0};
    recipe_keys_add(&keys, "", fields, NULL, 0);
    for (size_t i = 0; i < keys.count; i++) {
        write_row(out, &keys.items[i]);
        fprintf(out, "%s%s |\n", kind[0] == '\0' ? "" : " ", kind);
    }
    recipe_keys_release(&keys);
}

static void write_judges(FILE *out)
{
    write_judge_rows(out, &tr_judge_fields, "");
    for (size_t i = 0; i < tr_judge_kind_count; i++) {
        write_judge_rows(out, tr_judge_kinds[i]->fields, tr_judge_kinds[i]->name);
    }
}

/// The page with the rows of its tables written anew; *keys_left: those of no section of the page.
static char *rewritten(const char *page, const recipe_keys_t *keys, size_t *keys_left)
{
    char *text = NULL, *copy = tr_strdup(page), *rest = copy;
    size_t size = 0;
    char section[64] = "";
    bool judges = false;
    FILE *out = open_memstream(&text, &size);
    *keys_left = keys->count - 1; // roles.reward is the section of judges
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strncmp(line, "| `", 3) == 0) {
            continue; // the rows are written below their header
        }
        fprintf(out, "%s%s", line, rest == NULL ? "" : "\n");
        if (strncmp(line, "## ", 3) == 0) { // "## `roles.actor`", "## The run"
            judges = strcmp(line, "## `roles.reward`: judges") == 0;
            section[0] = '\0';
            sscanf(line, "## `%63[a-z._]`", section);
        } else if (strncmp(line, "|---", 4) == 0 && judges) {
            write_judges(out);
        } else if (strncmp(line, "|---", 4) == 0) {
            *keys_left -= write_section(out, keys, section);
        }
    }
    cr_assert_eq(fclose(out), 0);
    free(copy);
    return text;
}

Test(page, has_a_row_for_each_key_of_the_program_and_no_other)
{
    char *old = scratch_read(PAGE, NULL);
    recipe_keys_t keys;
    size_t keys_left;
    recipe_keys_init(&keys, NULL);
    char *page = rewritten(old, &keys, &keys_left);
    cr_expect_eq(keys_left, 0U, "%zu keys are in no section of docs/recipe.md", keys_left);
    if (strcmp(page, old) != 0) {
        tr_error_t err = {0};
        tr_status status =
            tr_file_write_atomic(TEST_BINARY_DIR "/recipe.md", page, strlen(page), &err);
        cr_assert_eq(status, TR_OK, "%s", err.text);
        cr_assert_fail("docs/recipe.md is old: copy " TEST_BINARY_DIR "/recipe.md over it");
    }
    recipe_keys_release(&keys);
    free(page);
    free(old);
}
