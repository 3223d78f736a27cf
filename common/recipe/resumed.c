// The comparison of two recipes, key by key.
//
// A run is a function of its recipe, so that most keys are part of what a checkpoint means: another
// model, seed, batch or loss is another run. What may change are the length of the run, how fast it
// learns from here on, who judges, what is evaluated and kept, and everything about machines: each
// key's row says so (tr_field_t.may_change).
#include "common/recipe/resumed.h"

#include <stdlib.h>
#include <string.h>

#include "common/recipe/parts.h"

/// The value as a line of text. Owned by the caller (free).
static char *text_of(const recipe_key_t *key)
{
    if (key->field->kind != TR_FIELD_JUDGES) {
        json_t *value = tr_field_to_json(key->record, key->field);
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        json_decref(value);
        return text;
    }
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    TR_ASSERT(out != NULL, "out of memory");
    recipe_judges_print(out, tr_field_of_const(key->record, key->field), 0);
    TR_ASSERT(fclose(out) == 0, "out of memory");
    for (char *at = text; *at != '\0'; at++) {
        *at = *at == '\n' ? ' ' : *at;
    }
    return text;
}

static tr_status compare(tr_texts_t *changes, const recipe_key_t *from, const recipe_key_t *to,
                         tr_error_t *err)
{
    char *before = text_of(from), *after = text_of(to);
    tr_status status = TR_OK;
    if (strcmp(before, after) != 0 && !to->field->may_change) {
        status = tr_fail(err, TR_ERR_ARGUMENT,
                         "%s: it was %s when the run was saved, and may not change: the checkpoint "
                         "would mean another run; leave it, or start a new one",
                         to->name, before);
    } else if (strcmp(before, after) != 0) {
        changes->items = tr_realloc(changes->items, (changes->count + 1) * sizeof *changes->items);
        changes->items[changes->count++] = tr_format("%s: %s -> %s", to->name, before, after);
    }
    free(before);
    free(after);
    return status;
}

tr_status tr_recipe_compare_resumed(tr_texts_t *changes, const tr_recipe_t *from,
                                    const tr_recipe_t *to, tr_error_t *err)
{
    recipe_keys_t before, after;
    tr_status status = TR_OK;
    *changes = (tr_texts_t){0};
    recipe_keys_init(&before, (tr_recipe_t *)from); // which are read alone
    recipe_keys_init(&after, (tr_recipe_t *)to);
    for (size_t i = 0; i < after.count && status == TR_OK; i++) {
        status = compare(changes, &before.items[i], &after.items[i], err);
    }
    recipe_keys_release(&before);
    recipe_keys_release(&after);
    return status;
}

void tr_texts_release(tr_texts_t *texts)
{
    for (size_t i = 0; i < texts->count; i++) {
        free(texts->items[i]);
    }
    free(texts->items);
    *texts = (tr_texts_t){0};
}
