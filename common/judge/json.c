// The judge `json`: whether the response is JSON, and such JSON as a schema allows.
//
// RFC 8259: no NaN, no comments, no trailing commas; a key that occurs twice is a mistake. The
// schema stands in the recipe, or in a column of each row (a map, or a text of JSON).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/judge/answer.h"
#include "common/judge/json_schema.h"
#include "common/judge/judge.h"

typedef struct options {
    char *schema; // the JSON of a map; NULL: none
    char *column;
    int extract; // a tr_answer_place_t
    double score;
    double valid_score;
} options_t;

static const char *const places[] = {"whole", "tag", "fence", NULL};

static const tr_field_t fields[] = {
    TR_FIELD_AS("json.schema", options_t, schema, TR_FIELD_TEXT, "null", .nullable = true,
                .names = TR_NAMES_VARIABLES,
                .help = "A JSON Schema, a map (docs/judges.md has its keywords)."),
    TR_FIELD_AS("json.column", options_t, column, TR_FIELD_TEXT, "null", .nullable = true,
                .help = "The column with the schema of each row, instead of `schema`; null in a "
                        "row: any JSON is right."),
    TR_FIELD_AS("json.extract", options_t, extract, TR_FIELD_CHOICE, "whole", .choices = places,
                .brief = true,
                .help = "Which part of a response is the JSON: the `whole`, the last `<answer>` "
                        "`tag`, or the last block in a `fence` of three back quotes. "
                        "`json: whole` is short for it."),
    TR_FIELD_AS("json.score", options_t, score, TR_FIELD_REAL, "1.0", .range = &tr_range_any,
                .help = "Score of JSON that the schema allows."),
    TR_FIELD_AS("json.valid_score", options_t, valid_score, TR_FIELD_REAL, "0.0",
                .range = &tr_range_any, .help = "Score of other JSON; a response without has 0."),
};
static const tr_fields_t table = TR_FIELDS(options_t, fields);

enum {
    FLAGS = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL
};

/// *schema: a new reference, NULL after a failure.
static tr_status read_schema(json_t **schema, const char *text, tr_error_t *err)
{
    json_error_t where;
    *schema = json_loads(text, JSON_DECODE_ANY, &where);
    if (*schema == NULL) {
        return tr_fail(err, TR_ERR_ARGUMENT, "the schema is no JSON: %s", where.text);
    }
    if (tr_json_schema_check(*schema, err) != TR_OK) {
        json_decref(*schema);
        *schema = NULL;
        return tr_error_prefix(err, "the schema");
    }
    return TR_OK;
}

static char *check(const char **key, const void *options)
{
    const options_t *own = options;
    tr_error_t err = {0};
    json_t *schema = NULL;
    *key = "json.schema";
    if (own->schema != NULL && own->column != NULL) {
        return tr_strdup("expected a schema or a column, found both");
    }
    bool fine = own->schema == NULL || read_schema(&schema, own->schema, &err) == TR_OK;
    json_decref(schema);
    return fine ? NULL : tr_strdup(err.text);
}

typedef struct state {
    const options_t *options;
    json_t *schema; // the recipe's; NULL: none
} state_t;

static tr_status open_json(void **state, const void *options, const tr_judge_host_t *host,
                           tr_error_t *err)
{
    state_t *json = tr_calloc(1, sizeof *json);
    (void)host;
    json->options = options;
    if (json->options->schema != NULL) {
        tr_status status = read_schema(&json->schema, json->options->schema, err);
        if (status != TR_OK) {
            free(json);
            return status;
        }
    }
    *state = json;
    return TR_OK;
}

static void close_json(void *state)
{
    json_decref(((state_t *)state)->schema);
    free(state);
}

/// The schema of a sample: the recipe's, or its row's. *schema: a new reference; NULL: none.
static tr_status schema_of(json_t **schema, const state_t *json, const tr_sample_t *sample,
                           tr_error_t *err)
{
    const json_t *value;
    *schema = json_incref(json->schema);
    if (json->options->column == NULL) {
        return TR_OK;
    }
    TR_TRY(tr_sample_column(&value, sample, json->options->column, err));
    if (json_is_null(value)) {
        return TR_OK;
    }
    char *text = json_is_string(value) ? tr_strdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY);
    tr_status status = read_schema(schema, text, err);
    free(text);
    return status;
}

static tr_status json_rule(double *score, void *state, const tr_sample_t *sample, tr_error_t *err)
{
    const state_t *json = state;
    const options_t *options = json->options;
    json_t *schema;
    TR_TRY(schema_of(&schema, json, sample, err));
    char *text = tr_answer_extract((tr_answer_place_t)options->extract, sample->response);
    json_t *value = text != NULL ? json_loads(text, FLAGS, NULL) : NULL;
    bool allowed = value != NULL && (schema == NULL || tr_json_schema_allows(schema, value));
    *score = value == NULL ? 0.0 : allowed ? options->score : options->valid_score;
    json_decref(value);
    json_decref(schema);
    free(text);
    return TR_OK;
}

const tr_judge_kind_t tr_judge_json = {
    .name = "json",
    .fields = &table,
    .started = true,
    .check = check,
    .open = open_json,
    .rule = json_rule,
    .close = close_json,
};
