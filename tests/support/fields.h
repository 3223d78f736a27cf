/// Laws that every table of fields keeps (common/base/fields.h), for the tests of the modules that
/// own one.
#ifndef TESTS_SUPPORT_FIELDS_H
#define TESTS_SUPPORT_FIELDS_H

#include "common/base/fields.h"

/// The field's choices are exactly `names`, with NULL at the end, by index: each parses to its
/// index and prints back, and another word is refused and changes nothing.
void fields_check_choices(const tr_fields_t *fields, const char *field, const char *const *names);

/// The name of the choice that a number of the field's enum stands for.
const char *fields_choice(const tr_fields_t *fields, const char *field, int index);

/// Puts every field that travels into a message's body, with its default.
void fields_put_defaults(json_t *body, const tr_fields_t *fields);

/// JSON written with ' for "; a new reference.
json_t *fields_json(const char *text);

/// A recipe's number for the algorithm of that name.
int fields_algorithm(const char *name);

#endif
