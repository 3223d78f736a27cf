// What the subcommands of `troupe` share: loading a recipe, parsing command lines and values.
//
// argp_error ends the process with 64 and a sentence; the functions here that take a `state` rely
// on that.
#include "deploy/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

/// All problems are shown, not only the first: a recipe is corrected in one go.
tr_status command_load_recipe(tr_recipe_t **recipe, char *const *arguments, size_t count)
{
    tr_recipe_problems_t problems = {0};
    // arguments[0] is the file, the rest are overrides
    tr_status status = tr_recipe_load(recipe, arguments[0], (const char *const *)arguments + 1,
                                      count - 1, &problems);
    for (size_t i = 0; i < problems.count; i++) {
        fprintf(stderr, "%s\n", problems.texts[i]);
    }
    // a single problem is a sentence by itself
    if (problems.count > 1) {
        fprintf(stderr, "%s cannot be run: correct the %zu mistakes above\n",
                arguments[0] != NULL ? arguments[0] : "this", problems.count);
    }
    // what was given in vain, of a recipe that can be run
    for (size_t i = 0; status == TR_OK && i < problems.note_count; i++) {
        fprintf(stderr, "note: %s\n", problems.notes[i]);
    }
    tr_recipe_problems_release(&problems);
    return status;
}

char *command_run_directory(const tr_recipe_t *recipe)
{
    char *current = tr_directory_current();
    char *path = tr_format("%s/%s", recipe->output, recipe->name);
    size_t length = strlen(current);
    if (strncmp(path, current, length) == 0 && path[length] == '/') {
        char *shorter = tr_strdup(path + length + 1);
        free(path);
        path = shorter;
    }
    free(current);
    return path;
}

tr_status command_find_earlier(bool *found, const tr_recipe_t *recipe, const char *directory,
                               tr_error_t *err)
{
    char *path = tr_format("%s/recipe.yaml", directory);
    char *text = NULL, *wanted = tr_recipe_print(recipe);
    size_t length = 0;
    tr_status status = TR_OK;
    // recipes are compared as text: the same values print the same bytes
    *found = access(path, F_OK) == 0;
    if (*found) {
        status = tr_file_read(&text, &length, path, SIZE_MAX, err);
    }
    if (status == TR_OK && *found && strcmp(text, wanted) != 0) {
        status = tr_fail(err, TR_ERR_ARGUMENT,
                         "'%s' was begun with other options: give them again, name another "
                         "directory, or remove it",
                         directory);
    }
    free(wanted);
    free(text);
    free(path);
    return status;
}

/// Letters go to values, words to words. Whether a letter exists was checked by argp.
static error_t take_key(int key, char *value, struct argp_state *state)
{
    command_line_t *line = state->input;
    switch (key) {
    // Unlike ARGP_KEY_ARG: all words at once, since argp has moved them behind the options.
    case ARGP_KEY_ARGS:
        line->words = state->argv + state->next;
        line->count = (size_t)(state->argc - state->next);
        if (line->count > line->most) {
            argp_error(state,
                       line->most > 0 ? "'%s' is one argument too many"
                                      : "'%s' is not understood (options only)",
                       line->words[line->most]);
        }
        return 0;
    case ARGP_KEY_NO_ARGS:
        if (line->missing != NULL) {
            argp_error(state, "%s", line->missing);
        }
        return 0;
    default:
        // Letters are the options'; argp's own keys and ARGP_KEY_ARG are no letters.
        if (key <= 0 || key > UCHAR_MAX) {
            return ARGP_ERR_UNKNOWN;
        }
        line->values[key] = value != NULL ? value : "";
        return 0;
    }
}

/// For commands whose options need no conversion; the others have a parser of their own.
void command_parse(command_line_t *line, int argc, char **argv)
{
    const struct argp parser = {.options = line->options,
                                .parser = take_key,
                                .args_doc = line->words_doc,
                                .doc = line->doc};
    argp_parse(&parser, argc, argv, 0, NULL, line);
}

/// The sentence names the option, as argp's own do.
uint64_t command_parse_whole(const char *name, const char *text, uint64_t least, uint64_t most,
                             const struct argp_state *state)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    // strtoull would take a sign and leading spaces
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < least ||
        value > most) {
        argp_error(state, "%s: expected a whole number from %llu to %llu, found '%s'", name,
                   (unsigned long long)least, (unsigned long long)most, text);
    }
    return value;
}

/// errno is set for a number beyond a double, which strtod gives as infinity.
double command_parse_real(const char *name, const char *text, double least, double most,
                          const struct argp_state *state)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    // the comparison is written so that NaN fails it
    if (errno != 0 || end == text || *end != '\0' || !(value >= least && value <= most)) {
        argp_error(state, "%s: expected a number from %g to %g, found '%s'", name, least, most,
                   text);
    }
    return value;
}

/// The names are borrowed from argv, which lives as long as the program.
bool command_parse_device(tr_device_options_t *options, int key, const char *value,
                          const struct argp_state *state)
{
    tr_error_t err = {0};
    switch (key) {
    // a name only: whether the machine has the device is found when it is opened
    case 'd':
        if (!tr_device_is_name(value)) {
            argp_error(state, "--device: expected " TR_DEVICE_NAMES ", found '%s'", value);
        }
        options->device = value;
        return true;
    // As in a recipe.
    case 'x':
        if (tr_precision_parse(&options->precision, value, &err) != TR_OK) {
            argp_error(state, "--%s", err.text);
        }
        return true;
    case 'j':
        options->threads = command_parse_whole("--threads", value, 0, 4096, state);
        return true;
    default: return false;
    }
}
