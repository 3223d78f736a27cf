// The resolved recipe as YAML, by the table.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/recipe_parts.h"

static void print_text(FILE *out, const char *text)
{
    char *formatted = text == NULL ? tr_strdup("null") : recipe_text_format(text);
    fputs(formatted, out);
    free(formatted);
}

static void print_real(FILE *out, double value)
{
    char *formatted = recipe_real_format(value);
    fputs(formatted, out);
    free(formatted);
}

static void print_optional(FILE *out, tr_optional_t number)
{
    if (number.given) {
        print_real(out, number.value);
    } else {
        fputs("null", out);
    }
}

/// A 0 that stands for null is written as null.
static void print_whole(FILE *out, const recipe_key_t *key, uint64_t value)
{
    if (key->nullable && value == 0) {
        fputs("null", out);
    } else {
        fprintf(out, "%llu", (unsigned long long)value);
    }
}

static void print_texts(FILE *out, const tr_recipe_strings_t *texts)
{
    fputc('[', out);
    for (size_t i = 0; i < texts->count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        print_text(out, texts->items[i]);
    }
    fputc(']', out);
}

static void print_reals(FILE *out, const tr_recipe_reals_t *reals)
{
    fputc('[', out);
    for (size_t i = 0; i < reals->count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        print_real(out, reals->items[i]);
    }
    fputc(']', out);
}

static void print_ids(FILE *out, const tr_recipe_ids_t *ids)
{
    fputc('[', out);
    for (size_t i = 0; i < ids->count; i++) {
        fprintf(out, "%s%d", i == 0 ? "" : ", ", ids->items[i]);
    }
    fputc(']', out);
}

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

static void print_judges(FILE *out, const tr_judges_t *judges, int indent);

static void print_scalar(FILE *out, const recipe_key_t *key, const void *field)
{
    switch (key->kind) {
    case RECIPE_TEXT: print_text(out, *(char *const *)field); break;
    case RECIPE_TRUTH: fputs(*(const bool *)field ? "true" : "false", out); break;
    case RECIPE_CHOICE: fputs(key->choices[*(const int *)field], out); break;
    case RECIPE_TEXTS: print_texts(out, field); break;
    case RECIPE_REALS: print_reals(out, field); break;
    case RECIPE_IDS: print_ids(out, field); break;
    case RECIPE_WHOLE: print_whole(out, key, *(const uint64_t *)field); break;
    case RECIPE_REAL: print_real(out, *(const double *)field); break;
    case RECIPE_OPTIONAL: print_optional(out, *(const tr_optional_t *)field); break;
    default: break;
    }
}

/// What stands after "key:", to the end of the line or lines.
static void print_value(FILE *out, const recipe_key_t *key, const void *field, int indent)
{
    switch (key->kind) {
    case RECIPE_WORDS: print_words(out, field, indent); break;
    case RECIPE_JUDGES: print_judges(out, field, indent); break;
    default:
        fputc(' ', out);
        print_scalar(out, key, field);
        fputc('\n', out);
    }
}

/// The sections of name that the key before it was not in; the indentation of the key itself comes back.
static int print_sections(FILE *out, const char *before, const char *name, int indent)
{
    const char *segment = name;
    for (const char *dot; (dot = strchr(segment, '.')) != NULL; segment = dot + 1) {
        if (strncmp(before, name, (size_t)(dot + 1 - name)) != 0) {
            fprintf(out, "%*s%.*s:\n", indent, "", (int)(dot - segment), segment);
        }
        indent += 2;
    }
    return indent;
}

/// Keys from `first` on that judges of those kinds (a bit each) have.
static void print_record(FILE *out, const void *record, const recipe_table_t *table, size_t first,
                         unsigned kinds, int indent)
{
    const char *before = "";
    for (size_t i = first; i < table->count; i++) {
        const recipe_key_t *key = &table->keys[i];
        if (key->judges != 0 && (key->judges & kinds) == 0) {
            continue;
        }
        int inner = print_sections(out, before, key->name, indent);
        const char *dot = strrchr(key->name, '.');
        fprintf(out, "%*s%s:", inner, "", dot == NULL ? key->name : dot + 1);
        print_value(out, key, recipe_field_const(record, key), inner);
        before = key->name;
    }
}

static void print_judges(FILE *out, const tr_judges_t *judges, int indent)
{
    fputs(judges->count == 0 ? " []\n" : "\n", out);
    for (size_t i = 0; i < judges->count; i++) {
        const tr_judge_t *judge = &judges->items[i];
        fprintf(out, "%*s- name: ", indent + 2, "");
        print_text(out, judge->name);
        fputc('\n', out);
        print_record(out, judge, &recipe_judge_keys, 1, 1u << judge->kind, indent + 4);
    }
}

char *tr_recipe_print(const tr_recipe_t *recipe)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    TR_ASSERT(out != NULL, "out of memory");
    print_record(out, recipe, &recipe_keys, 0, 0, 0);
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
