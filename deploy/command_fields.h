/// Options of commands from tables of fields: `--top-p 0.9` sets the field top_p.
///
/// Every field with a letter is an option: its name with '-' for '_', its values and help are the
/// table's.
#ifndef DEPLOY_COMMAND_FIELDS_H
#define DEPLOY_COMMAND_FIELDS_H

#include <argp.h>

#include "common/base/fields.h"

/// own: argp options, ended by {0}; then those of the table, whose defaults are those of record.
/// Owned by the caller: command_fields_free.
struct argp_option *command_fields_options(const struct argp_option *own, const tr_fields_t *fields,
                                           const void *record);
void command_fields_free(struct argp_option **options);

/// The field whose letter is the key. NULL: none.
const tr_field_t *command_fields_find(const tr_fields_t *fields, int key);

/// Reads the option's value into its field; a mistake ends the process as argp does. False: the key
/// is none of the table's.
bool command_fields_parse(void *record, const tr_fields_t *fields, int key, const char *value,
                          const struct argp_state *state);

#endif
