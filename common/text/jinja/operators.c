// Arithmetic, and what `+` and `*` do with texts and lists.
#include <math.h>
#include <string.h>

#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

/// Two values that the operator does not take.
tr_status jinja_refuse(jinja_run_t *run, const char *operator, const jinja_value_t * a,
                       const jinja_value_t *b)
{
    const jinja_value_t *missing = a->type == JINJA_UNDEFINED ? a : b;
    if (missing->type == JINJA_UNDEFINED) {
        return jinja_fail(run, "'%.*s' is undefined", (int)missing->text.length,
                          missing->text.data);
    }
    return jinja_fail(run, "%s: a %s and a %s do not go together", operator, jinja_type_name(a),
                      jinja_type_name(b));
}

static bool has_markup(jinja_text_t text)
{
    bool found = false;
    for (size_t i = 0; i < text.length && !found; i++) {
        found = text.data[i] != '\0' && strchr("<>&\"'", text.data[i]) != NULL;
    }
    return found;
}

static tr_status join_texts(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *a,
                            const jinja_value_t *b)
{
    // Python's Markup escapes what is added to it; templates that mean that are not known.
    if (a->safe != b->safe && has_markup(a->safe ? b->text : a->text)) {
        return jinja_fail(run, "HTML is added to a text that went through 'safe': use '~'");
    }
    jinja_builder_t builder = {.run = run};
    jinja_append_text(&builder, a->text);
    jinja_append_text(&builder, b->text);
    TR_TRY(jinja_finish(result, &builder));
    result->safe = a->safe;
    return TR_OK;
}

static tr_status join_lists(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *a,
                            const jinja_value_t *b)
{
    *result = jinja_list(&run->memory, a->type);
    TR_TRY(jinja_spend(run, a->list->count + b->list->count));
    for (size_t i = 0; i < a->list->count; i++) {
        jinja_list_add(&run->memory, result->list, a->list->items[i]);
    }
    for (size_t i = 0; i < b->list->count; i++) {
        jinja_list_add(&run->memory, result->list, b->list->items[i]);
    }
    return TR_OK;
}

static tr_status repeat(jinja_value_t *result, jinja_run_t *run, const jinja_value_t *value,
                        int64_t times)
{
    if (value->type == JINJA_TEXT) {
        jinja_builder_t builder = {.run = run};
        for (int64_t i = 0; i < times && value->text.length > 0; i++) {
            TR_TRY(jinja_spend(run, 1));
            jinja_append_text(&builder, value->text);
        }
        return jinja_finish(result, &builder);
    }
    *result = jinja_list(&run->memory, value->type);
    for (int64_t i = 0; i < times && value->list->count > 0; i++) {
        TR_TRY(jinja_spend(run, value->list->count));
        for (size_t k = 0; k < value->list->count; k++) {
            jinja_list_add(&run->memory, result->list, value->list->items[k]);
        }
    }
    return TR_OK;
}

/// Rounds down, as Python's // and % do. b is not 0.
static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

static double floor_modulo(double a, double b)
{
    double rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/// False: the result has more than 64 bits.
static bool power(int64_t *result, int64_t base, int64_t exponent)
{
    *result = 1;
    if (base >= -1 && base <= 1) { // any exponent will do
        *result = exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base;
        return true;
    }
    for (int64_t i = 0; i < exponent; i++) {
        if (__builtin_mul_overflow(*result, base, result)) {
            return false;
        }
    }
    return true;
}

static tr_status whole_arithmetic(jinja_value_t *result, jinja_run_t *run,
                                  jinja_operator_t operator, int64_t a, int64_t b)
{
    int64_t number = 0;
    bool fits = true;
    switch (operator) {
    case JINJA_ADD: fits = !__builtin_add_overflow(a, b, &number); break;
    case JINJA_SUBTRACT: fits = !__builtin_sub_overflow(a, b, &number); break;
    case JINJA_MULTIPLY: fits = !__builtin_mul_overflow(a, b, &number); break;
    case JINJA_POWER: fits = power(&number, a, b); break;
    default: // the smallest number by -1 has no 64 bits
        fits = !(a == INT64_MIN && b == -1);
        number = !fits                         ? 0 :
                 operator== JINJA_FLOOR_DIVIDE ? floor_divide(a, b)
                                               : a - floor_divide(a, b) * b;
    }
    *result = jinja_integer(number);
    return fits ? TR_OK : jinja_fail(run, "a whole number has more than 64 bits");
}

static double real_arithmetic(jinja_operator_t operator, double a, double b)
{
    switch (operator) {
    case JINJA_ADD: return a + b;
    case JINJA_SUBTRACT: return a - b;
    case JINJA_MULTIPLY: return a * b;
    case JINJA_DIVIDE: return a / b;
    case JINJA_FLOOR_DIVIDE: return floor((a - floor_modulo(a, b)) / b + 0.5);
    case JINJA_MODULO: return floor_modulo(a, b);
    default: return pow(a, b);
    }
}

static tr_status arithmetic(jinja_value_t *result, jinja_run_t *run, jinja_operator_t operator,
                            const jinja_value_t * a, const jinja_value_t *b)
{
    bool whole = a->type != JINJA_REAL && b->type != JINJA_REAL;
    bool divides = operator== JINJA_DIVIDE || operator== JINJA_FLOOR_DIVIDE || operator==
        JINJA_MODULO;
    if (divides && jinja_number(b) == 0) {
        return jinja_fail(run, "a division by zero");
    }
    if (whole && operator!= JINJA_DIVIDE && !(operator== JINJA_POWER && jinja_whole(b) < 0)) {
        return whole_arithmetic(result, run, operator, jinja_whole(a), jinja_whole(b));
    }
    *result = jinja_real(real_arithmetic(operator, jinja_number(a), jinja_number(b)));
    return TR_OK;
}

tr_status jinja_binary(jinja_value_t *result, jinja_run_t *run, jinja_operator_t operator,
                       const jinja_value_t * a, const jinja_value_t *b)
{
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    bool a_repeats = a->type == JINJA_TEXT || jinja_is_list(a);
    bool b_repeats = b->type == JINJA_TEXT || jinja_is_list(b);
    if (jinja_is_number(a) && jinja_is_number(b)) {
        return arithmetic(result, run, operator, a, b);
    }
    if (operator== JINJA_ADD && a->type == JINJA_TEXT && b->type == JINJA_TEXT) {
        return join_texts(result, run, a, b);
    }
    if (operator== JINJA_ADD && jinja_is_list(a) && a->type == b->type) {
        return join_lists(result, run, a, b);
    }
    if (operator== JINJA_MULTIPLY && a_repeats &&(b->type == JINJA_INTEGER)) {
        return repeat(result, run, a, b->integer);
    }
    if (operator== JINJA_MULTIPLY && b_repeats &&(a->type == JINJA_INTEGER)) {
        return repeat(result, run, b, a->integer);
    }
    return jinja_refuse(run, names[operator], a, b);
}
