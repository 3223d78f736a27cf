// The options of updates, with their defaults (TRL's, and transformers' for AdamW) and their help.
//
// The table is all: the recipe's section `optimizer`, messages to learners and docs/recipe.md
// follow from it (common/base/fields.h).
#include "common/optim/options.h"

// Names by enum value; in the order of the enums in options.h.
static const char *const schedules[] = {"constant", "linear", "cosine", NULL}; // tr_schedule_kind_t
static const char *const roundings[] = {"nearest", "stochastic", NULL};        // tr_rounding_t
static const char *const sums[] = {"tree", "all_reduce", NULL};                // tr_gradient_sum_t

static const tr_range_t zero_stages = {"1, 2 or 3", 1, 3, false, false};

#define FIELD(...) TR_FIELD(tr_optimizer_options_t, __VA_ARGS__)

static const tr_field_t optimizer[] = {
    FIELD(learning_rate, TR_FIELD_REAL, "null", .nullable = true, .range = &tr_range_positive,
          .may_change = true,
          .help = "The peak of the schedule; null: as in TRL, 2e-5 for `sft` and "
                  "`rejection_sampling`, 1e-4 for `reward`, 5e-7 for "
                  "`online_dpo`, 3e-6 for `ppo`, 1e-6 for the others."),
    FIELD(schedule, TR_FIELD_CHOICE, "linear", .choices = schedules, .may_change = true,
          .help = "The learning rate after the warm-up; linear and cosine go to 0 at `steps`."),
    FIELD(warmup, TR_FIELD_WHOLE, "0", .range = &tr_range_whole, .may_change = true,
          .help = "Steps in which the learning rate rises from 0; at most `steps`."),
    FIELD(clip, TR_FIELD_REAL, "1.0", .nullable = true, .range = &tr_range_not_negative,
          .may_change = true, .help = "Largest norm of a gradient; null or 0: no bound."),
    FIELD(beta1, TR_FIELD_REAL, "0.9", .range = &tr_range_below_1, .help = "Of AdamW."),
    FIELD(beta2, TR_FIELD_REAL, "0.999", .range = &tr_range_below_1, .help = "Of AdamW."),
    FIELD(epsilon, TR_FIELD_REAL, "1.0e-8", .range = &tr_range_positive, .help = "Of AdamW."),
    FIELD(weight_decay, TR_FIELD_REAL, "0.0", .range = &tr_range_not_negative,
          .help = "Of AdamW; norms are spared, as by transformers."),
    FIELD(chunk, TR_FIELD_WHOLE, "8", .range = &tr_range_to_million,
          .help = "Sequences whose gradients are summed in one chain. It bounds memory; another "
                  "value rounds otherwise, so it is "
                  "part of the run."),
    FIELD(gradient_checkpointing, TR_FIELD_BOOL, "false", .may_change = true,
          .help = "Whether backward passes compute again what layers and head would else keep: "
                  "less memory and more time, for the same bytes."),
    FIELD(router_aux_loss_coef, TR_FIELD_REAL, "0.001", .range = &tr_range_not_negative,
          .may_change = true,
          .help = "Of models with experts: this times transformers' load-balancing loss of the "
                  "routers, of a chunk's tokens, is added to the loss; 0: none. Others have none."),
    FIELD(offload, TR_FIELD_BOOL, "false", .may_change = true,
          .help = "Whether a GPU's learners keep AdamW's two moments in pinned memory of the host: "
                  "8 bytes a parameter less of "
                  "the GPU's, for the same bytes and slower updates."),
    FIELD(rounding, TR_FIELD_CHOICE, "nearest", .choices = roundings,
          .help = "`stochastic`: learners on GPUs in bf16 keep no f32 parameters (4 bytes a "
                  "parameter less), and round each "
                  "update up or down by chance, so that small ones are not lost. Another value "
                  "gives other bits."),
};
const tr_fields_t tr_optimizer_fields = TR_FIELDS(tr_optimizer_options_t, optimizer);

// How the ranks of a role divide the optimizer's work.
static const tr_field_t sharing[] = {
    TR_FIELD(tr_sharing_options_t, zero_stage, TR_FIELD_WHOLE, "2", .range = &zero_stages,
             .may_change = true,
             .help = "What the ranks keep a share of: 1 the optimizer's moments, 2 gradients too, "
                     "3 parameters too."),
    TR_FIELD(tr_sharing_options_t, gradient_sum, TR_FIELD_CHOICE, "tree", .choices = sums,
             .help = "How the ranks' gradients add up: `tree`, to the same bytes for any number of "
                     "ranks; `all_reduce`, with "
                     "less to send."),
};
const tr_fields_t tr_sharing_fields = TR_FIELDS(tr_sharing_options_t, sharing);
