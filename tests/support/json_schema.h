/// As much of JSON Schema (2020-12) as the recipe's uses: whether a value is valid.
#ifndef TESTS_SUPPORT_JSON_SCHEMA_H
#define TESTS_SUPPORT_JSON_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

/// A schema with a keyword that is not known here fails the test.
bool json_schema_allows(const json_t *schema, const json_t *value);

#endif
