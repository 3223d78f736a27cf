// Mistakes in a recipe: collected while it is read, then sorted into the order of the file.
//
// A recipe is checked in the order of its rules, not of its lines, so sorting comes last. All
// mistakes are reported at once: a long run should not fail for them one at a time.
#include <stdarg.h>
#include <stdlib.h>

#include "common/recipe/parts.h"

/// Takes text, and puts it on one line.
static void add(recipe_reader_t *reader, size_t line, char *text)
{
    // a quoted value may hold line breaks; a problem is one line on a terminal and in a log
    for (char *byte = text; *byte != '\0'; byte++) {
        *byte = (unsigned char)*byte < 0x20 || *byte == 0x7F ? ' ' : *byte;
    }
    if (reader->count == reader->capacity) {
        reader->capacity = reader->capacity == 0 ? 16 : reader->capacity * 2;
        reader->problems =
            tr_realloc(reader->problems, reader->capacity * sizeof *reader->problems);
    }
    reader->problems[reader->count] = (recipe_problem_t){line, reader->count, text};
    reader->count++;
}

static char *place(const recipe_reader_t *reader, size_t line)
{
    return line == RECIPE_COMMAND_LINE ? tr_strdup("command line")
                                       : tr_format("%s:%zu", reader->source, line);
}

void recipe_problem(recipe_reader_t *reader, size_t line, const char *key, const char *format, ...)
{
    // long enough: quoted values are cut to 60 bytes (recipe_quote)
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    char *where = place(reader, line);
    add(reader, line,
        key == NULL ? tr_format("%s: %s", where, sentence)
                    : tr_format("%s: %s: %s", where, key, sentence));
    free(where);
}

void recipe_problem_plain(recipe_reader_t *reader, const char *sentence)
{
    add(reader, 0, tr_strdup(sentence));
}

/// The command line's place is the largest number, so its problems come last.
static int by_place(const void *left, const void *right)
{
    const recipe_problem_t *a = left;
    const recipe_problem_t *b = right;
    if (a->line != b->line) {
        return a->line < b->line ? -1 : 1;
    }
    return a->order < b->order ? -1 : a->order > b->order;
}

void recipe_problems_take(tr_recipe_problems_t *problems, recipe_reader_t *reader)
{
    if (reader->count > 0) {
        // the order of discovery decides within a line: qsort is not stable
        qsort(reader->problems, reader->count, sizeof *reader->problems, by_place);
        problems->texts = tr_calloc(reader->count, sizeof *problems->texts);
        problems->count = reader->count;
    }
    for (size_t i = 0; i < reader->count; i++) {
        problems->texts[i] = reader->problems[i].text;
    }
    free(reader->problems);
    reader->problems = NULL;
    reader->count = reader->capacity = 0;
}

void tr_recipe_problems_release(tr_recipe_problems_t *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        free(problems->texts[i]);
    }
    free(problems->texts);
    *problems = (tr_recipe_problems_t){0};
}
