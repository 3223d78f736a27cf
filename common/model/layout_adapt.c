/// Adapters in the layout: which parameters have one, and where it stands. Apart from layout.c,
/// which lays out what the family's table has.
#include <stdlib.h>
#include <string.h>

#include "common/model/layout.h"

/// The module that the parameter is the weight or the bias of. to: room for its name.
static const char *module_of(char to[80], const tr_parameter_t *parameter)
{
    const char *dot = strrchr(parameter->name, '.');
    const char *end = dot != NULL ? dot : parameter->name + strlen(parameter->name);
    snprintf(to, 80, "%.*s", (int)(end - parameter->name), parameter->name);
    return to;
}

/// Whether it is the weight of a module of matrices in a layer, which all-linear is about.
static bool is_linear(const tr_parameter_t *parameter)
{
    const tr_weight_kind_t kind = parameter->weight->kind;
    return parameter->rank > 1 && kind >= TR_WEIGHT_QKV && kind < TR_WEIGHT_HEAD;
}

/// PEFT sees all experts of a layer, and routers, as parameters and not as modules, and for their
/// sake takes the names of MLPs in such models for theirs.
static bool is_experts(const tr_parameter_t *parameter)
{
    switch (parameter->weight->kind) {
    case TR_WEIGHT_ROUTER:
    case TR_WEIGHT_EXPERT_GATE_UP:
    case TR_WEIGHT_EXPERT_DOWN:
    case TR_WEIGHT_SHARED_GATE_UP:
    case TR_WEIGHT_SHARED_DOWN:
    case TR_WEIGHT_SHARED_GATE:
    case TR_WEIGHT_GATE_UP:
    case TR_WEIGHT_DOWN: return true;
    default: return false;
    }
}

/// What is asked of the layout, and what of it was found.
typedef struct wish {
    const tr_lora_t *lora;
    bool all;              // linear modules
    bool sparse;           // the model has experts
    bool *targets, *saved; // [their counts] whether a text names something
} wish_t;

static bool has_experts(const tr_layout_t *layout)
{
    bool has = false;
    for (size_t i = 0; i < layout->segment_count; i++) {
        has = has || tr_layout_weight(layout, i, TR_WEIGHT_ROUTER)->rows > 0;
    }
    return has;
}

static bool names_all(const tr_texts_t *texts)
{
    return texts->count == 1 && strcmp(texts->items[0], "all-linear") == 0;
}

/// Whether the parameter is adapted.
static tr_status is_target(bool *target, wish_t *wish, const tr_parameter_t *parameter,
                           tr_error_t *err)
{
    char module[80];
    size_t which = 0;
    // Biases have the name of their module too.
    const bool matrix = parameter->rank > 1;
    *target = wish->all && is_linear(parameter);
    if (!wish->all && matrix) {
        TR_TRY(tr_lora_targets(target, &which, wish->lora, module_of(module, parameter), err));
    }
    if (!*target) {
        return TR_OK;
    }
    wish->targets[which] = true;
    if (!is_linear(parameter)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "target_modules: '%s' is no matrix of a layer, and is not adapted here: "
                       "modules_to_save trains it whole",
                       module_of(module, parameter));
    }
    if (wish->sparse && is_experts(parameter)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "target_modules: '%s' of a model with experts is not adapted here: name "
                       "those of attention, such as [q_proj, k_proj, v_proj, o_proj]",
                       module_of(module, parameter));
    }
    return TR_OK;
}

/// Marks the parameter's weight where it is trained whole: all of its parameters are, or none.
static tr_status mark_saved(wish_t *wish, tr_layout_t *layout, size_t index, tr_error_t *err)
{
    char module[80];
    size_t which = 0;
    const tr_parameter_t *parameter = &layout->parameters[index];
    tr_weight_t *weight = parameter->weight;
    bool saved = tr_lora_saves(&which, wish->lora, module_of(module, parameter));
    if (saved) {
        wish->saved[which] = true;
    }
    saved = saved || weight->kind == TR_WEIGHT_SCORE;
    const bool first = index == 0 || layout->parameters[index - 1].weight != weight;
    if ((!first && saved != weight->saved) || (saved && weight->parts > 1)) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "modules_to_save: '%s' is a part of what is trained together here", module);
    }
    if (saved && weight == layout->head && weight->kind == TR_WEIGHT_EMBEDDING) {
        return tr_fail(err, TR_ERR_UNSUPPORTED,
                       "modules_to_save: '%s' is tied to the head, from which PEFT would part it",
                       module);
    }
    weight->saved = saved;
    return TR_OK;
}

/// Every text of a recipe's list must name something, or it is a mistake.
static tr_status expect_all(const tr_texts_t *texts, const bool *found, const char *key,
                            tr_error_t *err)
{
    for (size_t i = 0; i < texts->count; i++) {
        if (!found[i]) {
            return tr_fail(err, TR_ERR_ARGUMENT, "%s: the model has no module '%s'", key,
                           texts->items[i]);
        }
    }
    return TR_OK;
}

/// Another parameter of the layout, after the others of its segment.
static tr_parameter_t *append(tr_layout_t *layout, tr_parameter_t parameter)
{
    tr_parameter_t *last = &layout->parameters[layout->count++];
    *last = parameter;
    last->offset = layout->total;
    layout->total += last->rows * last->columns;
    return last;
}

/// A or B, whose name is the module's and its own.
static void append_part(tr_layout_t *layout, tr_weight_t *weight, tr_weight_kind_t kind,
                        const tr_parameter_t *of, size_t rows, size_t columns)
{
    char module[80];
    tr_parameter_t part = {.weight = weight, .rows = rows, .columns = columns, .rank = 2};
    const int length = snprintf(part.name, sizeof part.name, "%s.lora_%c.weight",
                                module_of(module, of), kind == TR_WEIGHT_LORA_A ? 'A' : 'B');
    TR_ASSERT((size_t)length < sizeof part.name, "'%s' is too long", part.name);
    // Rows of B stand as those of the matrix do, but never transposed.
    if (kind == TR_WEIGHT_LORA_B && of->form != TR_FORM_TRANSPOSED) {
        part.form = of->form;
        memcpy(part.pieces, of->pieces, sizeof part.pieces);
    }
    *weight = (tr_weight_t){.kind = kind,
                            .segment = of->weight->segment,
                            .rows = rows,
                            .columns = columns,
                            .parts = 1,
                            .saved = true};
    append(layout, part);
}

static void append_adapter(tr_layout_t *layout, const tr_parameter_t *parameter, size_t row,
                           size_t r)
{
    tr_weight_t *weight = parameter->weight;
    tr_adapter_t *adapter = &layout->adapters[layout->adapter_count];
    adapter->parameter = parameter;
    adapter->row = row;
    append_part(layout, &adapter->a, TR_WEIGHT_LORA_A, parameter, r, parameter->columns);
    append_part(layout, &adapter->b, TR_WEIGHT_LORA_B, parameter, parameter->rows, r);
    weight->adapter = weight->adapters == 0 ? layout->adapter_count : weight->adapter;
    weight->adapters++;
    layout->adapter_count++;
}

/// The adapters of parameters first..end-1 of the layout: all of a segment.
static tr_status adapt_segment(tr_layout_t *layout, wish_t *wish, size_t first, size_t end,
                               tr_error_t *err)
{
    for (size_t i = first, row = 0; i < end; i++) {
        const tr_parameter_t *parameter = &layout->parameters[i];
        bool target;
        row = i > first && layout->parameters[i - 1].weight == parameter->weight
                  ? row + layout->parameters[i - 1].rows
                  : 0;
        TR_TRY(is_target(&target, wish, parameter, err));
        TR_TRY(mark_saved(wish, layout, i, err));
        if (target && parameter->weight->saved) {
            return tr_fail(err, TR_ERR_ARGUMENT,
                           "'%s' is named by target_modules and by modules_to_save",
                           parameter->name);
        }
        if (target) {
            append_adapter(layout, parameter, row, wish->lora->r);
        }
    }
    return TR_OK;
}

/// Copies the parameters segment by segment, each with its adapters behind it.
static tr_status adapt_all(tr_layout_t *layout, wish_t *wish, const tr_parameter_t *base,
                           size_t count, tr_error_t *err)
{
    size_t first = 0;
    for (size_t i = 0; i < count; i++) {
        append(layout, base[i]);
        if (i + 1 == count || base[i + 1].weight->segment != base[i].weight->segment) {
            TR_TRY(adapt_segment(layout, wish, first, layout->count, err));
            first = layout->count;
        }
    }
    if (wish->lora->of_file) {
        return layout->adapter_count > 0
                   ? TR_OK
                   : tr_fail(err, TR_ERR_ARGUMENT, "target_modules: the model has none of them");
    }
    TR_TRY(expect_all(&wish->lora->target_modules, wish->targets, "target_modules", err));
    return expect_all(&wish->lora->modules_to_save, wish->saved, "modules_to_save", err);
}

tr_status tr_layout_adapt(tr_layout_t *layout, const tr_lora_t *lora, tr_error_t *err)
{
    tr_parameter_t *base = layout->parameters;
    const size_t count = layout->count;
    wish_t wish = {.lora = lora,
                   .all = names_all(&lora->target_modules),
                   .sparse = has_experts(layout),
                   .targets = tr_calloc(lora->target_modules.count + 1, sizeof(bool)),
                   .saved = tr_calloc(lora->modules_to_save.count + 1, sizeof(bool))};
    layout->parameters = tr_calloc(3 * count, sizeof *layout->parameters);
    layout->adapters = tr_calloc(count, sizeof *layout->adapters);
    layout->count = layout->total = 0;
    tr_status status = adapt_all(layout, &wish, base, count, err);
    if (status == TR_OK) {
        tr_layout_select(layout, NULL);
    }
    free(base);
    free(wish.targets);
    free(wish.saved);
    return status;
}
