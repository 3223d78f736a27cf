/// JSON Schema (2020-12), the keywords that say something about one value: type, enum, const; the
/// bounds of numbers, texts, lists and maps; pattern; properties, patternless
/// additionalProperties, required, items, prefixItems, uniqueItems; allOf, anyOf, oneOf, not; $ref
/// to a place of the same schema.
#ifndef TR_JUDGE_JSON_SCHEMA_H
#define TR_JUDGE_JSON_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/status.h"

/// Whether every keyword is known, with an argument of its type. TR_ERR_UNSUPPORTED or
/// TR_ERR_ARGUMENT names the keyword.
tr_status tr_json_schema_check(const json_t *schema, tr_error_t *err);

/// Whether the value is valid. schema: one that the check has passed.
bool tr_json_schema_allows(const json_t *schema, const json_t *value);

#endif
