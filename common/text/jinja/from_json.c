// The variables of a rendering, from JSON.
#include <string.h>

#include "common/text/jinja/run.h"

static tr_status from_array(jinja_value_t *value, jinja_run_t *run, const json_t *json)
{
    *value = jinja_list(&run->memory, JINJA_LIST);
    for (size_t i = 0; i < json_array_size(json); i++) {
        jinja_value_t item;
        TR_TRY(jinja_from_json(&item, run, json_array_get(json, i)));
        jinja_list_add(&run->memory, value->list, item);
    }
    return TR_OK;
}

static tr_status from_object(jinja_value_t *value, jinja_run_t *run, const json_t *json)
{
    const char *name;
    json_t *member;
    *value = jinja_dict(&run->memory, JINJA_DICT);
    json_object_foreach((json_t *)json, name, member)
    {
        jinja_value_t item;
        TR_TRY(jinja_from_json(&item, run, member));
        jinja_dict_add(&run->memory, value->dict, jinja_text(name, strlen(name)), item);
    }
    return TR_OK;
}

tr_status jinja_from_json(jinja_value_t *value, jinja_run_t *run, const json_t *json)
{
    tr_status status = TR_OK;
    TR_TRY(jinja_enter(run));
    switch (json_typeof(json)) {
    case JSON_OBJECT: status = from_object(value, run, json); break;
    case JSON_ARRAY: status = from_array(value, run, json); break;
    case JSON_STRING: *value = jinja_text(json_string_value(json), json_string_length(json)); break;
    case JSON_INTEGER: *value = jinja_integer(json_integer_value(json)); break;
    case JSON_REAL: *value = jinja_real(json_real_value(json)); break;
    case JSON_NULL: *value = (jinja_value_t){.type = JINJA_NONE}; break;
    default: *value = jinja_bool(json_is_true(json));
    }
    jinja_leave(run);
    return status;
}
