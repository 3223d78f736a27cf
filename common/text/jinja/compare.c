// Comparisons, as Python has them: numbers of all types with each other, the rest with its own
// kind.
#include "common/text/jinja/run.h"
#include "common/text/jinja/strings.h"

static tr_status equal(bool *truth, jinja_run_t *run, const jinja_value_t *a,
                       const jinja_value_t *b);

static tr_status equal_lists(bool *truth, jinja_run_t *run, const jinja_list_t *a,
                             const jinja_list_t *b)
{
    *truth = a->count == b->count;
    for (size_t i = 0; i < a->count && *truth; i++) {
        TR_TRY(equal(truth, run, &a->items[i], &b->items[i]));
    }
    return TR_OK;
}

tr_status jinja_find_key(jinja_value_t **value, jinja_run_t *run, const jinja_dict_t *dict,
                         const jinja_value_t *key)
{
    *value = NULL;
    TR_TRY(jinja_spend(run, dict->count / 16));
    if (key->type == JINJA_TEXT) {
        *value = jinja_dict_find(dict, key->text);
        return TR_OK;
    }
    for (size_t i = 0; i < dict->count && *value == NULL; i++) {
        bool same = false;
        TR_TRY(equal(&same, run, &dict->keys[i], key));
        *value = same ? &dict->values[i] : NULL;
    }
    return TR_OK;
}

static tr_status equal_dicts(bool *truth, jinja_run_t *run, const jinja_dict_t *a,
                             const jinja_dict_t *b)
{
    *truth = a->count == b->count;
    for (size_t i = 0; i < a->count && *truth; i++) {
        jinja_value_t *other;
        TR_TRY(jinja_find_key(&other, run, b, &a->keys[i]));
        *truth = other != NULL;
        if (other != NULL) {
            TR_TRY(equal(truth, run, &a->values[i], other));
        }
    }
    return TR_OK;
}

static tr_status equal(bool *truth, jinja_run_t *run, const jinja_value_t *a,
                       const jinja_value_t *b)
{
    tr_status status = TR_OK;
    TR_TRY(jinja_enter(run));
    if (jinja_is_number(a) && jinja_is_number(b)) {
        bool whole = a->type != JINJA_REAL && b->type != JINJA_REAL;
        *truth = whole ? jinja_whole(a) == jinja_whole(b) : jinja_number(a) == jinja_number(b);
    } else if (a->type != b->type) {
        *truth = false;
    } else if (a->type == JINJA_TEXT) {
        *truth = jinja_text_equal(a->text, b->text);
        status = jinja_spend(run, a->text.length / 64);
    } else if (jinja_is_sequence(a)) {
        status = equal_lists(truth, run, a->list, b->list);
    } else if (a->type == JINJA_DICT) {
        status = equal_dicts(truth, run, a->dict, b->dict);
    } else if (a->type >= JINJA_NAMESPACE) {
        *truth = a->dict == b->dict; // whichever pointer it is: the same thing
    } else {
        *truth = true; // none, undefined
    }
    jinja_leave(run);
    return status;
}

static tr_status less(bool *truth, jinja_run_t *run, const jinja_value_t *a,
                      const jinja_value_t *b);

/// By the first items that differ, else by the number of items.
static tr_status less_lists(bool *truth, jinja_run_t *run, const jinja_list_t *a,
                            const jinja_list_t *b)
{
    size_t i = 0;
    bool same = true;
    for (; i < a->count && i < b->count && same; i++) {
        TR_TRY(equal(&same, run, &a->items[i], &b->items[i]));
    }
    *truth = a->count < b->count;
    return same ? TR_OK : less(truth, run, &a->items[i - 1], &b->items[i - 1]);
}

static tr_status less(bool *truth, jinja_run_t *run, const jinja_value_t *a, const jinja_value_t *b)
{
    tr_status status = TR_OK;
    TR_TRY(jinja_enter(run));
    if (jinja_is_number(a) && jinja_is_number(b)) {
        bool whole = a->type != JINJA_REAL && b->type != JINJA_REAL;
        *truth = whole ? jinja_whole(a) < jinja_whole(b) : jinja_number(a) < jinja_number(b);
    } else if (a->type == JINJA_TEXT && b->type == JINJA_TEXT) {
        *truth = jinja_text_compare(a->text, b->text) < 0;
        status = jinja_spend(run, a->text.length / 64);
    } else if (jinja_is_list(a) && a->type == b->type) {
        status = less_lists(truth, run, a->list, b->list);
    } else {
        status = jinja_refuse(run, "<", a, b);
    }
    jinja_leave(run);
    return status;
}

/// Whether an item is equal. A generator is walked up to it.
static tr_status contains_item(bool *truth, jinja_run_t *run, const jinja_value_t *a,
                               const jinja_value_t *b)
{
    size_t i = 0;
    for (; i < b->list->count && !*truth; i++) {
        TR_TRY(equal(truth, run, a, &b->list->items[i]));
    }
    jinja_list_drop(b->list, b->type == JINJA_GENERATOR ? i : 0);
    return TR_OK;
}

static tr_status contains(bool *truth, jinja_run_t *run, const jinja_value_t *a,
                          const jinja_value_t *b)
{
    jinja_value_t *found;
    *truth = false;
    switch (b->type) {
    case JINJA_UNDEFINED: return TR_OK;
    case JINJA_TEXT:
        if (a->type != JINJA_TEXT) {
            return jinja_refuse(run, "in", a, b);
        }
        TR_TRY(jinja_spend(run, b->text.length / 64));
        *truth = jinja_find(b->text, a->text, 0) != SIZE_MAX;
        return TR_OK;
    case JINJA_DICT:
        TR_TRY(jinja_find_key(&found, run, b->dict, a));
        *truth = found != NULL;
        return TR_OK;
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_RANGE:
    case JINJA_VIEW:
    case JINJA_GENERATOR: return contains_item(truth, run, a, b);
    default: return jinja_refuse(run, "in", a, b);
    }
}

tr_status jinja_compare(bool *truth, jinja_run_t *run, jinja_operator_t operator,
                        const jinja_value_t * a, const jinja_value_t *b)
{
    bool swapped = operator== JINJA_GREATER || operator== JINJA_LESS_EQUAL;
    bool negative = operator== JINJA_UNEQUAL || operator== JINJA_NOT_IN;
    bool same = false;
    if (operator== JINJA_EQUAL || operator== JINJA_UNEQUAL) {
        TR_TRY(equal(truth, run, a, b));
    } else if (operator== JINJA_IN || operator== JINJA_NOT_IN) {
        TR_TRY(contains(truth, run, a, b));
    } else {
        // a <= b is a < b or a == b: neither holds of a number that is none.
        TR_TRY(less(truth, run, swapped && operator== JINJA_GREATER ? b : a,
                    swapped && operator== JINJA_GREATER ? a : b));
    }
    if (operator== JINJA_GREATER_EQUAL) {
        TR_TRY(less(truth, run, b, a));
    }
    if (operator== JINJA_LESS_EQUAL || operator== JINJA_GREATER_EQUAL) {
        TR_TRY(equal(&same, run, a, b));
        *truth = *truth || same;
    }
    *truth = *truth != negative;
    return TR_OK;
}
