/// Low-rank adapters (Hu et al. 2021, "LoRA"): the product of a matrix W becomes
///
///     y = W x + scale B (A x)      scale = lora_alpha / r, with use_rslora lora_alpha / sqrt(r)
///
/// with A: [r, columns] and B: [rows, r], which are trained, and W, which is not. An adapter is
/// those of some matrices of a model, and whole weights that are trained beside them. Names are
/// PEFT's: a matrix is adapted as the module that PEFT sees, also where ours is one of several.
///
/// Here are the options and PEFT's file about them. Where A and B stand is the layout's business
/// (tr_layout_adapt), and product.c multiplies by them.
#ifndef TR_MODEL_LORA_H
#define TR_MODEL_LORA_H

#include "common/base/fields.h"

typedef enum tr_lora_init {
    TR_LORA_KAIMING, ///< A uniform within 1/sqrt(columns), B 0
    TR_LORA_GAUSSIAN ///< A normal with deviation 1/r, B 0
} tr_lora_init_t;

/// Options and what PEFT's file says of them.
typedef struct tr_lora {
    uint64_t r; ///< 0: there is no adapter
    double lora_alpha;
    double lora_dropout; ///< of what A reads, while SFT learns
    bool use_rslora;
    /// Names of modules, of their ends behind a dot, or patterns of the whole; or all-linear.
    tr_texts_t target_modules;
    tr_texts_t modules_to_save; ///< ends of names of modules that are trained whole
    int init_lora_weights;      ///< a tr_lora_init_t
    /// PEFT's file: its lists may name modules that the model lacks. No option.
    bool of_file;
    bool scalar; ///< of a file: the adapter is of a scalar model
} tr_lora_t;

extern const tr_fields_t tr_lora_fields;
extern const tr_fields_t tr_lora_dropout_fields; ///< the one that SFT alone reads

/// What names of tensors begin with in PEFT's files.
#define TR_ADAPTER_PREFIX "base_model.model."

void tr_lora_copy(tr_lora_t *copy, const tr_lora_t *lora);
static inline void tr_lora_release(tr_lora_t *lora)
{
    tr_fields_release(lora, &tr_lora_fields);
}

float tr_lora_scale(const tr_lora_t *lora);

/// Whether target_modules names the module: the whole of it, its end behind a dot, or, where a text
/// has other characters than names have, by a pattern of the whole. *which: the text's index.
/// Fails with TR_ERR_ARGUMENT for a pattern that is none.
tr_status tr_lora_targets(bool *targets, size_t *which, const tr_lora_t *lora, const char *module,
                          tr_error_t *err);
/// Whether modules_to_save does: a text is the module's end, behind a dot or not, as PEFT has it.
bool tr_lora_saves(size_t *which, const tr_lora_t *lora, const char *module);

/// directory/adapter_config.json. *lora: the caller's to release, after a failure too. Fails with
/// TR_ERR_IO, TR_ERR_FORMAT, or TR_ERR_UNSUPPORTED for a key that is not understood and not at its
/// default; the sentence names the file and the key.
tr_status tr_lora_read(tr_lora_t *lora, const char *directory, tr_error_t *err);

/// What PEFT's file says of an adapter of a model besides its options.
typedef struct tr_lora_facts {
    const char *base; ///< base_model_name_or_path; NULL: null
    bool scalar;      ///< of a scalar model
    bool transposed;  ///< matrices are stored transposed (fan_in_fan_out)
    /// The modules that are adapted: [count].
    const char *const *modules;
    size_t count;
} tr_lora_facts_t;

/// The text of adapter_config.json; the caller's.
char *tr_lora_json(const tr_lora_t *lora, const tr_lora_facts_t *facts);

#endif
