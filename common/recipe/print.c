// The resolved recipe as YAML: every key with its value, in the order of the sections.
//
// The counterpart of value.c. The same values give the same bytes, and loading them gives the same
// values: a run's recipe.yaml is what `troupe resume` reads.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/recipe/parts.h"

/// NULL is null: a nullable text.
static void print_text(FILE *out, const char *text)
{
    char *formatted = text == NULL ? tr_strdup("null") : recipe_text_format(text);
    fputs(formatted, out);
    free(formatted);
}

/// A list's numbers; they cannot be null.
static void print_real(FILE *out, double value)
{
    char *formatted = recipe_real_format(value);
    fputs(formatted, out);
    free(formatted);
}

/// A real number that stands for null (0 for "no bound") is written as null.
static void print_number(FILE *out, const tr_field_t *field, double value)
{
    if (field->nullable && value == field->null) {
        fputs("null", out);
    } else {
        print_real(out, value);
    }
}

/// A number that stands for null is written as null.
static void print_whole(FILE *out, const tr_field_t *field, uint64_t value)
{
    if (field->nullable && value == (uint64_t)field->null) {
        fputs("null", out);
    } else {
        fprintf(out, "%llu", (unsigned long long)value);
    }
}

/// Names, always as a list, though a single one is read without brackets too.
static void print_choices(FILE *out, const tr_field_t *field, const tr_choices_t *choices)
{
    fputc('[', out);
    for (size_t i = 0; i < choices->count; i++) {
        fprintf(out, "%s%s", i == 0 ? "" : ", ", tr_field_choice(field, (size_t)choices->items[i]));
    }
    fputc(']', out);
}

/// Flow style: paths and devices are short.
static void print_texts(FILE *out, const tr_texts_t *texts)
{
    fputc('[', out);
    for (size_t i = 0; i < texts->count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        print_text(out, texts->items[i]);
    }
    fputc(']', out);
}

static void print_reals(FILE *out, const tr_reals_t *reals)
{
    fputc('[', out);
    for (size_t i = 0; i < reals->count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        print_real(out, reals->items[i]);
    }
    fputc(']', out);
}

static void print_ids(FILE *out, const tr_token_ids_t *ids)
{
    fputc('[', out);
    for (size_t i = 0; i < ids->count; i++) {
        fprintf(out, "%s%d", i == 0 ? "" : ", ", ids->items[i]);
    }
    fputc(']', out);
}

/// A map in block form: words are keys, and may hold what a flow map would not take.
static void print_words(FILE *out, const tr_words_t *words, int indent)
{
    for (size_t i = 0; i < words->count; i++) {
        fprintf(out, "\n%*s", indent + 2, "");
        print_text(out, words->items[i].word);
        fputs(": ", out);
        print_real(out, words->items[i].weight);
    }
    fputs(words->count == 0 ? " {}\n" : "\n", out);
}

/// What fits on the key's line.
static void print_scalar(FILE *out, const tr_field_t *field, const void *value)
{
    switch (field->kind) {
    case TR_FIELD_TEXT: print_text(out, *(char *const *)value); break;
    case TR_FIELD_BOOL: fputs(*(const bool *)value ? "true" : "false", out); break;
    case TR_FIELD_CHOICE: fputs(tr_field_choice(field, (size_t) * (const int *)value), out); break;
    case TR_FIELD_CHOICES: print_choices(out, field, value); break;
    case TR_FIELD_TEXTS: print_texts(out, value); break;
    case TR_FIELD_REALS: print_reals(out, value); break;
    case TR_FIELD_IDS: print_ids(out, value); break;
    case TR_FIELD_WHOLE: print_whole(out, field, *(const uint64_t *)value); break;
    case TR_FIELD_REAL: print_number(out, field, *(const double *)value); break;
    // these two take several lines: print_value has them
    case TR_FIELD_WORDS:
    case TR_FIELD_LIST: break;
    }
}

/// What stands after "key:", to the end of the line or lines.
static void print_value(FILE *out, const recipe_key_t *key, int indent)
{
    const void *value = tr_field_of_const(key->record, key->field);
    switch (key->field->kind) {
    case TR_FIELD_WORDS: print_words(out, value, indent); break;
    case TR_FIELD_LIST: key->field->list->print(out, value, indent); break;
    default:
        fputc(' ', out);
        print_scalar(out, key->field, value);
        fputc('\n', out);
    }
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
void recipe_print_keys(FILE *out, const recipe_keys_t *keys, size_t first, int indent)
{
    const char *before = "";
    for (size_t i = first; i < keys->count; i++) {
        const recipe_key_t *key = &keys->items[i];
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
    recipe_print_keys(out, &keys, 0, 0);
    recipe_keys_release(&keys);
    TR_ASSERT(fclose(out) == 0, "out of memory");
    return text;
}

tr_status tr_recipe_write(const tr_recipe_t *recipe, const char *path, tr_error_t *err)
{
    char *text = tr_recipe_print(recipe);
    tr_status status = tr_file_write_atomic(path, text, strlen(text), err);
    free(text);
    return status;
}
