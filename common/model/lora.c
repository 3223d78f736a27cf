/// The options of adapters, and which modules they name. PEFT's file is lora_file.c.
#include "common/model/lora.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/text/pattern.h"

static const char *const inits[] = {"kaiming_uniform", "gaussian", NULL}; // tr_lora_init_t

#define FIELD(...) TR_FIELD(tr_lora_t, __VA_ARGS__)
/// An option that is read where there is an adapter.
#define WITH_ADAPTER .when = "r", .is = "!null"

static const tr_field_t fields[] = {
    FIELD(r, TR_FIELD_WHOLE, "null", .nullable = true, .range = &tr_range_positive_whole,
          .help = "The rank of the adapter that is trained in place of the model's weights; null: "
                  "there is none, and all weights are trained."),
    FIELD(lora_alpha, TR_FIELD_REAL, "32.0", .range = &tr_range_positive, WITH_ADAPTER,
          .help = "What the adapter adds is multiplied by lora_alpha / r."),
    FIELD(use_rslora, TR_FIELD_BOOL, "false", WITH_ADAPTER,
          .help = "Whether it is lora_alpha / sqrt(r) instead (Kalajdzievski 2023)."),
    FIELD(target_modules, TR_FIELD_TEXTS, "all-linear", WITH_ADAPTER,
          .help = "The modules that are adapted, each by its name in transformers, the end of it "
                  "(`q_proj`), or a regular expression for the whole of it; `all-linear`: all "
                  "matrices of the layers."),
    FIELD(modules_to_save, TR_FIELD_TEXTS, "[]", WITH_ADAPTER,
          .help = "Modules that are trained whole and saved with the adapter, such as `lm_head`; a "
                  "reward model's head always is."),
    FIELD(init_lora_weights, TR_FIELD_CHOICE, "kaiming_uniform", .choices = inits, WITH_ADAPTER,
          .help = "How the first matrix of an adapter begins; the second begins as zeros."),
};
const tr_fields_t tr_lora_fields = TR_FIELDS(tr_lora_t, fields);

static const tr_field_t dropout[] = {
    FIELD(lora_dropout, TR_FIELD_REAL, "0.0", .range = &tr_range_below_1,
          .help = "With an adapter: the chance that a number which it reads is dropped while it "
                  "learns. TRL disables dropout for the other algorithms, as is done here."),
};
const tr_fields_t tr_lora_dropout_fields = TR_FIELDS(tr_lora_t, dropout);

void tr_lora_copy(tr_lora_t *copy, const tr_lora_t *lora)
{
    json_t *values = json_object();
    tr_error_t err = {0};
    tr_fields_to_json(values, lora, &tr_lora_fields);
    tr_status status = tr_fields_from_json(copy, &tr_lora_fields, values, "lora", &err);
    TR_ASSERT(status == TR_OK, "%s", err.text);
    copy->lora_dropout = lora->lora_dropout;
    json_decref(values);
}

float tr_lora_scale(const tr_lora_t *lora)
{
    const double r = (double)lora->r;
    return (float)(lora->lora_alpha / (lora->use_rslora ? sqrt(r) : r));
}

// Names

static bool is_name(const char *text)
{
    return text[strspn(
               text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")] == '\0';
}

static bool ends(const char *module, const char *text)
{
    const size_t length = strlen(module), tail = strlen(text);
    return length >= tail && strcmp(module + length - tail, text) == 0;
}

/// The whole of the name, or its end behind a dot.
static bool is_part(const char *module, const char *text)
{
    const size_t length = strlen(module), tail = strlen(text);
    return ends(module, text) && (length == tail || module[length - tail - 1] == '.');
}

static tr_status take_match(void *context, size_t start, size_t end, bool match)
{
    bool *matches = context;
    (void)start;
    *matches = *matches || (match && end > start);
    return TR_OK;
}

/// Whether the pattern is the whole of the name, as Python's re.fullmatch.
static tr_status matches(bool *match, const char *pattern, const char *module, tr_error_t *err)
{
    tr_pattern_t *compiled = NULL;
    char *whole = tr_format("\\A(?:%s)\\z", pattern);
    *match = false;
    tr_status status = tr_pattern_new(&compiled, whole, strlen(whole), TR_PATTERN_PCRE2, err);
    if (status == TR_OK) {
        status = tr_pattern_find(compiled, module, strlen(module), take_match, match, err);
    }
    tr_pattern_destroy(&compiled);
    free(whole);
    return status == TR_OK ? TR_OK
                           : tr_fail(err, TR_ERR_ARGUMENT,
                                     "'%s' is neither the name of a module nor a pattern", pattern);
}

tr_status tr_lora_targets(bool *targets, size_t *which, const tr_lora_t *lora, const char *module,
                          tr_error_t *err)
{
    const tr_texts_t *texts = &lora->target_modules;
    *targets = false;
    for (size_t i = 0; i < texts->count && !*targets; i++) {
        *which = i;
        if (is_name(texts->items[i])) {
            *targets = is_part(module, texts->items[i]);
        } else {
            TR_TRY(matches(targets, texts->items[i], module, err));
        }
    }
    return TR_OK;
}

bool tr_lora_saves(size_t *which, const tr_lora_t *lora, const char *module)
{
    for (size_t i = 0; i < lora->modules_to_save.count; i++) {
        *which = i;
        if (ends(module, lora->modules_to_save.items[i])) {
            return true;
        }
    }
    return false;
}
