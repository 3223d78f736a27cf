// Mistakes in a recipe: collected while it is read, in the order of the file.
//
// A recipe is checked in the order of its rules, not of its lines, so a problem is put where its
// line belongs. All mistakes are reported at once: a long run should not fail for them one at a
// time.
#include <stdarg.h>
#include <stdlib.h>

#include "common/recipe/parts.h"

/// Takes text, and puts it on one line, behind the earlier problems of its line of the recipe. The
/// command line's place is the largest number, so its problems come last.
static void add(recipe_reader_t *reader, size_t line, char *text)
{
    tr_recipe_problems_t *problems = reader->problems;
    // problems are few, so one more place at a time is enough
    size_t at = problems->count++;
    problems->texts = tr_realloc(problems->texts, problems->count * sizeof *problems->texts);
    reader->lines = tr_realloc(reader->lines, problems->count * sizeof *reader->lines);
    // strictly greater, so that problems of one line stay in the order of discovery
    for (; at > 0 && reader->lines[at - 1] > line; at--) {
        problems->texts[at] = problems->texts[at - 1];
        reader->lines[at] = reader->lines[at - 1];
    }
    problems->texts[at] = text;
    reader->lines[at] = line;
    // a quoted value may hold line breaks; a problem is one line on a terminal and in a log
    for (char *byte = text; *byte != '\0'; byte++) {
        *byte = (unsigned char)*byte < 0x20 || *byte == 0x7F ? ' ' : *byte;
    }
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
    // the whole document has no key
    char *where = place(reader, line);
    add(reader, line,
        key == NULL || key[0] == '\0' ? tr_format("%s: %s", where, sentence)
                                      : tr_format("%s: %s: %s", where, key, sentence));
    free(where);
}

void recipe_note(recipe_reader_t *reader, size_t line, const char *key, const char *sentence)
{
    tr_recipe_problems_t *problems = reader->problems;
    char *where = place(reader, line);
    problems->notes =
        tr_realloc(problems->notes, (problems->note_count + 1) * sizeof *problems->notes);
    problems->notes[problems->note_count++] = tr_format("%s: %s: %s", where, key, sentence);
    free(where);
}

void recipe_problem_plain(recipe_reader_t *reader, const char *sentence)
{
    // 0 is before the first line: it is about the file as a whole
    add(reader, 0, tr_strdup(sentence));
}

bool recipe_unexpected(recipe_reader_t *reader, const recipe_node_t *node, const char *key,
                       const char *expected)
{
    if (node->kind != RECIPE_BROKEN) {
        char *found = recipe_node_describe(node);
        recipe_problem(reader, node->line, key, "expected %s, found %s", expected, found);
        free(found);
    }
    return false;
}

void tr_recipe_problems_release(tr_recipe_problems_t *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        free(problems->texts[i]);
    }
    free(problems->texts);
    for (size_t i = 0; i < problems->note_count; i++) {
        free(problems->notes[i]);
    }
    free(problems->notes);
    *problems = (tr_recipe_problems_t){0};
}
