// Options of commands made from tables of fields: `--top-p 0.9` sets the field top_p.
//
// So that `troupe generate` and `troupe sample` have every option of generation with the recipe's
// own help, range and name. argp wants an array of texts that live as long as it parses: they are
// made here.
#include "deploy/command_fields.h"

#include <stdlib.h>
#include <string.h>

/// "top-p" of top_p.
static char *option_name(const tr_field_t *field)
{
    char *name = tr_strdup(field->name);
    for (char *at = name; *at != '\0'; at++) {
        *at = *at == '_' ? '-' : *at;
    }
    return name;
}

/// The help of the table without its Markdown, and the default.
static char *option_help(const tr_field_t *field, const void *record)
{
    const void *value = tr_field_of_const(record, field);
    // the record's value, not the table's: a command may have another default than a recipe
    char *initial = field->kind == TR_FIELD_WHOLE
                        ? tr_format("%llu", (unsigned long long)*(const uint64_t *)value)
                    : field->kind == TR_FIELD_REAL ? tr_format("%g", *(const double *)value)
                                                   : tr_strdup(field->initial);
    size_t length = strlen(field->help);
    // the default is put before the sentence's full stop, and argp's style has none
    bool ends = length > 0 && field->help[length - 1] == '.';
    char *help = tr_format("%.*s (default %s)", (int)(length - ends), field->help, initial);
    char *to = help;
    // backquotes are Markdown's; a terminal shows them as they are
    for (const char *from = help; *from != '\0'; from++) {
        if (*from != '`') {
            *to++ = *from;
        }
    }
    *to = '\0';
    free(initial);
    return help;
}

/// What --help calls the value.
static const char *argument_of(const tr_field_t *field)
{
    switch (field->kind) {
    case TR_FIELD_WHOLE: return "N";
    case TR_FIELD_REAL: return "NUMBER";
    default: return "VALUE";
    }
}

/// One list for argp, which shows all of it in --help.
struct argp_option *command_fields_options(const struct argp_option *own, const tr_fields_t *fields,
                                           const void *record)
{
    size_t count = 0;
    // both arrays are joined: argp takes one
    while (own[count].name != NULL) {
        count++;
    }
    struct argp_option *options = tr_calloc(count + fields->count + 1, sizeof *options);
    for (size_t i = 0; i < count; i++) { // texts are copied, so that all are freed alike
        options[i] = own[i];
        options[i].name = tr_strdup(own[i].name);
        options[i].doc = tr_strdup(own[i].doc);
    }
    for (size_t i = 0; i < fields->count; i++) {
        const tr_field_t *field = &fields->items[i];
        // a field without a letter is no option
        if (field->letter != 0) {
            options[count++] = (struct argp_option){.name = option_name(field),
                                                    .key = field->letter,
                                                    .arg = argument_of(field),
                                                    .doc = option_help(field, record)};
        }
    }
    return options;
}

/// Every name and text was allocated, also those of the command's own options.
void command_fields_free(struct argp_option **options)
{
    for (struct argp_option *option = *options; option->name != NULL; option++) {
        free((char *)option->name);
        free((char *)option->doc);
    }
    free(*options);
    *options = NULL;
}

/// Letters are unique in a table; 0 means that the field is no option.
const tr_field_t *command_fields_find(const tr_fields_t *fields, int key)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (fields->items[i].letter != 0 && fields->items[i].letter == key) {
            return &fields->items[i];
        }
    }
    return NULL;
}

/// The same parser and the same range as for a recipe.
bool command_fields_parse(void *record, const tr_fields_t *fields, int key, const char *value,
                          const struct argp_state *state)
{
    const tr_field_t *field = command_fields_find(fields, key);
    if (field == NULL) {
        return false;
    }
    // the sentence names the option, not the recipe's key
    if (!tr_field_parse(record, field, value, false)) {
        char *expected = tr_field_expected(field), *name = option_name(field);
        argp_error(state, "--%s: expected %s, found '%s'", name, expected, value);
        free(name);
        free(expected);
    }
    return true;
}
