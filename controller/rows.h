/// The rows of a run, tokenized once at the start: prompts for PPO, texts or prompts with completions for SFT, pairs for DPO and
/// reward models, labelled completions for KTO.
///
/// Every row is checked before the first step, so that a bad one is named then and not in the middle of a run.
#ifndef CONTROLLER_ROWS_H
#define CONTROLLER_ROWS_H

#include "common/base/recipe.h"
#include "common/data/dataset.h"
#include "common/text/tokenizer.h"
#include "proto/message.h"
#include "proto/sequences.h"

/// Token ids: a prompt (never empty), then what is learnt from (PPO: nothing), as long as the file has it.
typedef struct controller_row {
    int32_t *ids; ///< [length]
    size_t prompt;
    size_t length;
    uint8_t *
        mask; ///< [length] which tokens are learnt (assistant_only_loss), or NULL: all after the prompt
    char *
        text; ///< the prompt of a conversation as its template writes it, or NULL: it is the row's own text
    bool desirable; ///< kto: the label
    float margin;   ///< reward: of the pair, at its chosen side
} controller_row_t;

typedef struct controller_rows {
    tr_dataset_t *dataset;
    controller_row_t *items; ///< [starts[count]]
    size_t *starts;          ///< [count + 1]: row i owns items starts[i]..starts[i + 1] - 1
    size_t
        count; ///< what a batch counts: rows of one item, pairs (chosen, rejected), or packs of texts
    size_t limit; ///< tokens of the longest sequence
    float *
        reference; ///< log-probs under the reference that were asked once, or NULL (controller/reference.h)
    size_t *reference_starts; ///< where those of an item begin, or of a batch
    bool keep_end;            ///< what is longer loses its beginning, not its end
    bool margins;             ///< the rows have a `margin`
    bool masked;              ///< items have masks
    bool
        steps; ///< reward: rows are steps; masks say where one ended, TR_STEP_WRONG or _RIGHT plus 1
    const char *prompt_column; ///< the recipe's
} controller_rows_t;

/// Reads recipe->data.prompts. limit: tokens of the longest prompt that the model takes. TR_ERR_IO, TR_ERR_FORMAT, or
/// TR_ERR_ARGUMENT for a prompt without a token or a too long one, as "file:line: ...". Item i is row i of the data set.
tr_status controller_rows_load_prompts(controller_rows_t *rows, const tr_recipe_t *recipe,
                                       const tr_tokenizer_t *tokenizer, size_t limit,
                                       tr_error_t *err);

/// Reads files (recipe->data.train or .eval) as the recipe's algorithm wants them; limit: as above. An end-of-sequence token is
/// appended to what is learnt. Errors as above.
///
///     sft     `text` or `messages`, all of which is learnt, or `prompt` and `completion`
///     reward  `chosen` and `rejected`, after `prompt` if there is one, and `margin` if there is one
///     reward  `prompt`, `completions` (a list of steps) and `labels` (a list of truth values): a process reward model's
///     dpo     `prompt`, `chosen` and `rejected`; without `prompt` it is what both sides begin with (TRL's extract_prompt)
///     kto     `prompt`, `completion` and `label`; or pairs, each side of which becomes a row
///
/// Columns hold texts or conversations, which a chat template writes (common/text/chat.h); it ends the turns itself.
tr_status controller_rows_load(controller_rows_t *rows, const tr_recipe_strings_t *files,
                               const tr_recipe_t *recipe, const tr_tokenizer_t *tokenizer,
                               size_t limit, tr_error_t *err);

/// What a prompt says: the row's text, or a conversation as its template writes it.
const char *controller_rows_prompt(const controller_rows_t *rows, size_t row);

/// Tokens of the item that are learnt, cut to the limit.
size_t controller_row_learnt(const controller_rows_t *rows, const controller_row_t *item);

void controller_rows_release(controller_rows_t *rows);

// Batches

/// Sequences of a batch, on their way to workers.
typedef struct controller_batch {
    tr_sequences_t sequences; ///< points into ids
    size_t matched;           ///< those that are learnt; the mismatched ones follow
    int32_t *ids;
    float *mask;    ///< [learnt] 1 where a token counts, or NULL: all do
    size_t tokens;  ///< of all sequences, prompts too
    size_t learnt;  ///< of the responses
    size_t longest; ///< tokens of the longest sequence
} controller_batch_t;

/// The items of chosen: [count] rows, pairs or packs, in order, each cut to the limit (where that takes the whole prompt, the
/// first token that is left counts as the prompt). mismatched: then, for each row, its prompt with the response of the row
/// before it (the first gets the last one's): what KTO estimates the KL divergence from. Rows then have one item.
void controller_batch_init(controller_batch_t *batch, const controller_rows_t *rows,
                           const uint32_t *chosen, size_t count, bool mismatched);
void controller_batch_release(controller_batch_t *batch);

#endif
