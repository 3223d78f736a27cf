// The resolved recipe as YAML: every key with its value, in the order of the sections.
//
// The counterpart of value.c. The same values give the same bytes, and loading them gives the same
// values: a run's recipe.yaml is what `troupe resume` reads.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/recipe/parts.h"

/// A text that this function owns.
static void print_owned(FILE *out, char *text)
{
    fputs(text, out);
    free(text);
}

/// On the line of its key; lists in flow style, because paths and devices are short.
static void print_json(FILE *out, const json_t *value, const tr_field_t *field)
{
    // a number that stands for null ("no bound") is written as null: 0 would be refused again
    if (json_is_null(value) ||
        (field->nullable && json_is_number(value) && json_number_value(value) == field->null)) {
        fputs("null", out);
    } else if (json_is_string(value) && field->choices != NULL) {
        fputs(json_string_value(value), out); // a plain word, or YAML's null
    } else if (json_is_string(value)) {
        print_owned(out, recipe_text_format(json_string_value(value)));
    } else if (json_is_real(value)) {
        print_owned(out, recipe_real_format(json_real_value(value)));
    } else if (json_is_array(value)) {
        fputc('[', out);
        for (size_t i = 0; i < json_array_size(value); i++) {
            fputs(i == 0 ? "" : ", ", out);
            print_json(out, json_array_get(value, i), field);
        }
        fputc(']', out);
    } else {
        print_owned(out, json_dumps(value, JSON_ENCODE_ANY)); // whole numbers and truth values
    }
}

/// A map in block form: words are keys, and may hold what a flow map would not take.
static void print_words(FILE *out, const json_t *words, const tr_field_t *field, int indent)
{
    size_t count = json_array_size(words);
    for (size_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(words, i);
        fprintf(out, "\n%*s", indent + 2, "");
        // a word that YAML would read as something else comes in quotes
        print_json(out, json_array_get(pair, 0), field);
        fputs(": ", out);
        print_json(out, json_array_get(pair, 1), field);
    }
    fputs(count == 0 ? " {}\n" : "\n", out);
}

/// What stands after "key:", to the end of the line or lines.
static void print_value(FILE *out, const recipe_key_t *key, int indent)
{
    const tr_field_t *field = key->field;
    if (field->kind == TR_FIELD_JUDGES) {
        recipe_judges_print(out, tr_field_of_const(key->record, field), indent);
        return;
    }
    json_t *value = tr_field_to_json(key->record, field);
    if (field->kind == TR_FIELD_WORDS) {
        print_words(out, value, field, indent);
    } else {
        fputc(' ', out);
        print_json(out, value, field);
        fputc('\n', out);
    }
    json_decref(value);
}

/// The sections of name that the key before it was not in; the indentation of the key itself comes
/// back.
static int print_sections(FILE *out, const char *before, const char *name, int indent)
{
    const char *segment = name;
    // a section is begun when the key before does not share its name up to this dot
    for (const char *dot; (dot = strchr(segment, '.')) != NULL; segment = dot + 1) {
        if (strncmp(before, name, (size_t)(dot + 1 - name)) != 0) {
            fprintf(out, "%*s%.*s:\n", indent, "", (int)(dot - segment), segment);
        }
        indent += 2;
    }
    return indent;
}

/// Keys of one section stand together (recipe_sections), so each section is begun once.
void recipe_print_keys(FILE *out, const recipe_keys_t *keys, size_t first, int indent,
                       const tr_recipe_t *recipe)
{
    // the root is no section, so nothing is open at first
    const char *before = "";
    for (size_t i = first; i < keys->count; i++) {
        const recipe_key_t *key = &keys->items[i];
        char *unread = recipe_key_unread(key, recipe);
        free(unread);
        if (unread != NULL) {
            continue;
        }
        int inner = print_sections(out, before, key->name, indent);
        // the sections were printed; the key's own word is left
        const char *dot = strrchr(key->name, '.');
        fprintf(out, "%*s%s:", inner, "", dot == NULL ? key->name : dot + 1);
        print_value(out, key, inner);
        before = key->name;
    }
}

/// The cast drops const because keys hold a record that reading fills; printing only reads it.
char *tr_recipe_print(const tr_recipe_t *recipe)
{
    char *text = NULL;
    size_t size = 0;
    recipe_keys_t keys;
    FILE *out = open_memstream(&text, &size);
    TR_ASSERT(out != NULL, "out of memory");
    recipe_keys_init(&keys, (tr_recipe_t *)recipe); // which are read alone
    recipe_print_keys(out, &keys, 0, 0, recipe);
    recipe_keys_release(&keys);
    TR_ASSERT(fclose(out) == 0, "out of memory");
    return text;
}

tr_status tr_recipe_write(const tr_recipe_t *recipe, const char *path, tr_error_t *err)
{
    char *text = tr_recipe_print(recipe);
    // a run that is killed here has the old recipe or the new one, never half of one
    tr_status status = tr_file_write_atomic(path, text, strlen(text), err);
    free(text);
    return status;
}
