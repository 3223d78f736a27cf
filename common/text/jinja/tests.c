// Tests: what may follow `is`.
#include <math.h>
#include <string.h>

#include "common/text/jinja/case.h"
#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

/// A test of the value alone.
#define TEST(name, condition)                                             \
    static tr_status test_##name(jinja_value_t *result, jinja_run_t *run, \
                                 const jinja_call_t *call)                \
    {                                                                     \
        (void)run;                                                        \
        const jinja_value_t *self = call->self;                           \
        *result = jinja_bool(condition);                                  \
        return TR_OK;                                                     \
    }

/// A test that compares the value with an argument.
#define COMPARISON(name, operator)                                                       \
    static tr_status test_##name(jinja_value_t *result, jinja_run_t *run,                \
                                 const jinja_call_t *call)                               \
    {                                                                                    \
        *result = jinja_bool(false);                                                     \
        return jinja_compare(&result->truth, run, operator, call->self, call->given[0]); \
    }

TEST(defined, self->type != JINJA_UNDEFINED)
TEST(undefined, self->type == JINJA_UNDEFINED)
TEST(none, self->type == JINJA_NONE)
TEST(boolean, self->type == JINJA_BOOL)
TEST(true, self->type == JINJA_BOOL && self->truth)
TEST(false, self->type == JINJA_BOOL && !self->truth)
TEST(integer, self->type == JINJA_INTEGER)
TEST(float, self->type == JINJA_REAL)
TEST(number, jinja_is_number(self))
TEST(string, self->type == JINJA_TEXT)
TEST(mapping, self->type == JINJA_DICT)
TEST(callable, self->type == JINJA_FUNCTION)
// Undefined has a length (0) and items (none) in Jinja, and a mapping can be indexed.
TEST(sequence, jinja_is_sequence(self) || self->type == JINJA_TEXT || self->type == JINJA_DICT ||
                   self->type == JINJA_UNDEFINED)
TEST(iterable, jinja_is_sequence(self) || self->type == JINJA_TEXT || self->type == JINJA_DICT ||
                   self->type == JINJA_UNDEFINED || self->type == JINJA_LOOP ||
                   self->type == JINJA_VIEW || self->type == JINJA_GENERATOR)

COMPARISON(equal, JINJA_EQUAL)
COMPARISON(unequal, JINJA_UNEQUAL)
COMPARISON(less, JINJA_LESS)
COMPARISON(less_equal, JINJA_LESS_EQUAL)
COMPARISON(greater, JINJA_GREATER)
COMPARISON(greater_equal, JINJA_GREATER_EQUAL)
COMPARISON(in, JINJA_IN)

/// The rest of the division by a whole number, which must be `rest`.
static tr_status test_rest(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call,
                           const jinja_value_t *by, int64_t rest)
{
    const jinja_value_t wanted = jinja_integer(rest);
    jinja_value_t found;
    TR_TRY(jinja_binary(&found, run, JINJA_MODULO, call->self, by));
    *result = jinja_bool(false);
    return jinja_compare(&result->truth, run, JINJA_EQUAL, &found, &wanted);
}

static tr_status test_even(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t two = jinja_integer(2);
    return test_rest(result, run, call, &two, 0);
}

static tr_status test_odd(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t two = jinja_integer(2);
    return test_rest(result, run, call, &two, 1);
}

static tr_status test_divisible(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return test_rest(result, run, call, call->given[0], 0);
}

/// The same object. Of numbers and texts Python promises nothing, so only equal ones of one type
/// are the same here.
static tr_status test_same(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    const jinja_value_t *a = call->self, *b = call->given[0];
    *result = jinja_bool(false);
    if (a->type != b->type) {
        return TR_OK;
    }
    if (jinja_is_sequence(a) || a->type == JINJA_DICT) {
        result->truth = a->dict == b->dict; // whichever pointer it is
        return TR_OK;
    }
    return jinja_compare(&result->truth, run, JINJA_EQUAL, a, b);
}

/// Whether a letter is of the case, and none of another.
static tr_status test_case(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *self,
                           bool (*is)(uint32_t point), bool (*is_other)(uint32_t point))
{
    jinja_text_t text;
    bool some = false, other = false;
    TR_TRY(jinja_to_text(&text, run, self));
    TR_TRY(jinja_spend(run, text.length));
    for (size_t at = 0, n; at < text.length; at += n) {
        uint32_t point = 0;
        n = tr_utf8_next(&point, text.data + at, text.length - at);
        some = some || is(point);
        other = other || is_other(point) || jinja_is_title(point);
    }
    *result = jinja_bool(some && !other);
    return TR_OK;
}

static tr_status test_lower(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return test_case(result, run, call->self, jinja_is_lower, jinja_is_upper);
}

static tr_status test_upper(jinja_value_t *result, jinja_run_t *run, const jinja_call_t *call)
{
    return test_case(result, run, call->self, jinja_is_upper, jinja_is_lower);
}

static const jinja_builtin_t TESTS[] = {
    {"defined", "", test_defined},
    {"undefined", "", test_undefined},
    {"none", "", test_none},
    {"boolean", "", test_boolean},
    {"true", "", test_true},
    {"false", "", test_false},
    {"integer", "", test_integer},
    {"float", "", test_float},
    {"number", "", test_number},
    {"string", "", test_string},
    {"mapping", "", test_mapping},
    {"callable", "", test_callable},
    {"sequence", "", test_sequence},
    {"iterable", "", test_iterable},
    {"even", "", test_even},
    {"odd", "", test_odd},
    {"divisibleby", "num ", test_divisible},
    {"lower", "", test_lower},
    {"upper", "", test_upper},
    {"sameas", "other ", test_same},
    {"in", "seq ", test_in},
    {"eq", "b ", test_equal},
    {"equalto", "b ", test_equal},
    {"==", "b ", test_equal},
    {"ne", "b ", test_unequal},
    {"!=", "b ", test_unequal},
    {"lt", "b ", test_less},
    {"lessthan", "b ", test_less},
    {"<", "b ", test_less},
    {"le", "b ", test_less_equal},
    {"<=", "b ", test_less_equal},
    {"gt", "b ", test_greater},
    {"greaterthan", "b ", test_greater},
    {">", "b ", test_greater},
    {"ge", "b ", test_greater_equal},
    {">=", "b ", test_greater_equal},
};

const jinja_builtin_t *jinja_test_find(jinja_text_t name)
{
    return jinja_builtin_find(TESTS, sizeof TESTS / sizeof *TESTS, name);
}
