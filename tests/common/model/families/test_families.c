/// Laws of every page of the table of families, so that a new one is checked before it is used.
#include "common/model/families/family.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

static size_t size_of_field(family_key_kind_t kind)
{
    switch (kind) {
    case FAMILY_SIZE:
    case FAMILY_COUNT:
    case FAMILY_DERIVED:
    case FAMILY_WINDOW: return sizeof(size_t);
    case FAMILY_REAL: return sizeof(double);
    case FAMILY_CAP:
    case FAMILY_FLOAT: return sizeof(float);
    case FAMILY_BOOL: return sizeof(bool);
    case FAMILY_TOKEN: return sizeof(int32_t);
    case FAMILY_EOS: return sizeof(int32_t[TR_MODEL_EOS_LIMIT]);
    case FAMILY_DENSE:
    case FAMILY_SLIDING:
    case FAMILY_RECURRENT:
    case FAMILY_ROTATED: return sizeof(tr_layer_set_t);
    default: return 0;
    }
}

static void check_key(const family_key_t *key)
{
    cr_expect_leq(key->offset + size_of_field(key->kind), sizeof(tr_model_config_t), "%s",
                  key->name);
    if (key->kind == FAMILY_ONLY) {
        json_t *only = json_loads(key->only, JSON_DECODE_ANY, NULL);
        cr_expect_not_null(only, "%s: '%s' is no JSON", key->name, key->only);
        json_decref(only);
    }
    if (key->kind == FAMILY_SIZE || key->kind == FAMILY_COUNT || key->kind == FAMILY_DERIVED) {
        cr_expect(key->highest >= 1.0 && key->fallback <= key->highest, "%s", key->name);
        cr_expect_not(key->needed && key->fallback > 0.0, "%s is needed and has a default",
                      key->name);
    }
    if (key->kind == FAMILY_REAL || key->kind == FAMILY_FLOAT) {
        cr_expect_lt(key->lowest, key->highest, "%s", key->name);
    }
}

/// The family's own keys, then those of all.
static const family_key_t *key_at(const family_t *family, size_t i)
{
    return i < family->keys->count ? &family->keys->items[i]
                                   : &family_shared_keys.items[i - family->keys->count];
}

Test(families, keys_have_a_field_a_name_of_their_own_and_bounds)
{
    for (size_t f = 0; f < family_count(); f++) {
        const family_t *family = family_at(f);
        const size_t count = family->keys->count + family_shared_keys.count;
        for (size_t i = 0; i < count; i++) {
            const family_key_t *key = key_at(family, i);
            check_key(key);
            for (size_t j = 0; j < i; j++) {
                cr_expect_str_neq(key->name, key_at(family, j)->name);
            }
        }
    }
}

Test(families, token_ids_are_read_after_the_vocabulary_that_bounds_them)
{
    for (size_t f = 0; f < family_count(); f++) {
        const family_t *family = family_at(f);
        bool known = false;
        for (size_t i = 0; i < family->keys->count; i++) {
            const family_key_t *key = &family->keys->items[i];
            known = known || (key->kind == FAMILY_SIZE &&
                              key->offset == offsetof(tr_model_config_t, vocabulary));
            cr_expect(known || (key->kind != FAMILY_TOKEN && key->kind != FAMILY_EOS), "%s",
                      key->name);
        }
        cr_expect(known, "%s", family->model_type);
    }
}

/// Tensors of a layer follow each other, those of one kind too, and the passes find every kind.
Test(families, tensors_come_in_the_order_that_the_layout_needs)
{
    for (size_t f = 0; f < family_count(); f++) {
        const family_t *family = family_at(f);
        size_t starts = 0, kinds[TR_WEIGHT_KINDS] = {0};
        for (size_t i = 0; i < family->tensors->count; i++) {
            const family_tensor_t *tensor = &family->tensors->items[i],
                                  *last = i > 0 ? tensor - 1 : NULL;
            bool starred = strchr(tensor->name, '*') != NULL;
            starts += starred && (last == NULL || strchr(last->name, '*') == NULL);
            kinds[tensor->kind] += last == NULL || last->kind != tensor->kind;
            cr_expect_lt(strlen(tensor->name), sizeof((tr_parameter_t *)0)->name - 4);
        }
        cr_expect_eq(starts, 1, "%s: layers begin %zu times", family->model_type, starts);
        for (size_t k = 0; k < TR_WEIGHT_KINDS; k++) {
            cr_expect_leq(kinds[k], 1, "%s: kind %zu comes %zu times", family->model_type, k,
                          kinds[k]);
        }
        static const tr_weight_kind_t needed[] = {TR_WEIGHT_EMBEDDING, TR_WEIGHT_FINAL_NORM,
                                                  TR_WEIGHT_SCORE, TR_WEIGHT_OUTPUT,
                                                  TR_WEIGHT_HEAD};
        for (size_t k = 0; k < sizeof needed / sizeof *needed; k++) {
            cr_expect_eq(kinds[needed[k]], 1, "%s has no kind %d", family->model_type,
                         (int)needed[k]);
        }
        cr_expect_eq(kinds[TR_WEIGHT_QKV] + kinds[TR_WEIGHT_LATENT_IN], 1, "%s",
                     family->model_type);
        const size_t mlp = kinds[TR_WEIGHT_GATE_UP], experts = kinds[TR_WEIGHT_ROUTER];
        cr_expect(mlp + experts > 0, "%s", family->model_type);
        cr_expect_eq(kinds[TR_WEIGHT_DOWN], mlp, "%s", family->model_type);
        cr_expect_eq(kinds[TR_WEIGHT_EXPERT_GATE_UP], experts, "%s", family->model_type);
        cr_expect_eq(kinds[TR_WEIGHT_EXPERT_DOWN], experts, "%s", family->model_type);
        cr_expect_str_eq(family_tensor_name(family, family->tensors->items[0].kind),
                         family->tensors->items[0].name);
    }
}
