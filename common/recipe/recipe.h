/// The recipe: what a run is to do, from a YAML file and `key=value` from the command line,
/// resolved and checked.
///
/// A recipe is a list of sections, each a table of fields (common/base/fields.h): the modules' own,
/// such as tr_ppo_fields, and those of sections.c. Loading, writing, docs/recipe.md and the JSON
/// Schema follow from them. `troupe` and the controller load a recipe; everyone else is handed
/// values from tr_recipe_t. Paths are relative to the recipe's file, and those of the command line
/// to the current directory; tr_recipe_load makes them absolute. Mistakes are collected, all of
/// them, each as one sentence:
///
///     recipe.yaml:14: optimizer.learning_rate: expected a positive number, or null, found 'fast'
///     command line: optimizer.lr: unknown key; did you mean 'optimizer.learning_rate'?
///
/// Every string and list in tr_recipe_t belongs to the recipe.
#ifndef TR_RECIPE_RECIPE_H
#define TR_RECIPE_RECIPE_H

#include <float.h>
#include <stdio.h>

#include "common/algo/bradley_terry.h"
#include "common/algo/dpo.h"
#include "common/algo/kto.h"
#include "common/algo/ppo.h"
#include "common/algo/sft.h"
#include "common/base/device_name.h"
#include "common/base/log.h"
#include "common/judge/judge.h"
#include "common/model/generation.h"
#include "common/model/lora.h"
#include "common/optim/options.h"
#include "common/recipe/algorithms.h"

typedef enum tr_on_bad_row {
    TR_ON_BAD_ROW_FAIL, ///< the run ends with an error
    TR_ON_BAD_ROW_DROP  ///< the row is dropped with a warning, and counted
} tr_on_bad_row_t;

typedef enum tr_truncation {
    TR_TRUNCATION_KEEP_START, ///< what is too long loses its end
    TR_TRUNCATION_KEEP_END    ///< its beginning
} tr_truncation_t;

typedef struct tr_recipe_data {
    tr_texts_t prompts; ///< JSONL files, for algorithms that generate
    tr_texts_t train;   ///< JSONL files, for the others
    tr_texts_t eval;    ///< JSONL files or none
    uint64_t batch;     ///< prompts, rows or pairs a step
    char *columns;      ///< JSON of an object, or NULL
    char *prompt_column;
    char *text_column;
    char *chat_template;        ///< a name (common/text/chat.h) or a file; NULL: the model's own
    char *chat_template_kwargs; ///< a JSON object: more variables of it; NULL: none
    bool shuffle;
    bool drop_last;             ///< an epoch's last batch, where it is smaller
    int on_bad_row;             ///< a tr_on_bad_row_t
    uint64_t max_prompt_length; ///< tokens; 0: no bound but the model's
} tr_recipe_data_t;

// A section whose loss is in common/algo has that loss's options as `loss`, and beside them what
// its rows are.

typedef struct tr_recipe_sft {
    tr_sft_options_t loss;
    uint64_t max_length;       ///< tokens of a row, the rest is cut
    bool packing;              ///< a batch counts packs of up to max_length tokens
    bool completion_only_loss; ///< of rows with a prompt
    bool assistant_only_loss;  ///< of conversations
} tr_recipe_sft_t;

typedef struct tr_recipe_dpo {
    tr_dpo_options_t loss;
    uint64_t max_length; ///< tokens of prompt and completion
    int truncation_mode; ///< a tr_truncation_t
    bool precompute_ref_log_probs;
    bool sync_ref_model; ///< the reference follows the policy
    double ref_model_mixup_alpha;
    uint64_t ref_model_sync_steps;
} tr_recipe_dpo_t;

typedef struct tr_recipe_kto {
    tr_kto_options_t loss;
    uint64_t max_length;
    bool precompute_ref_log_probs;
} tr_recipe_kto_t;

typedef struct tr_recipe_reward {
    tr_reward_options_t loss;
    uint64_t max_length;  ///< longer pairs are bad rows
    bool normalize;       ///< the saved model's scores
    char *step_separator; ///< what ends a step
} tr_recipe_reward_t;

typedef struct tr_recipe_grpo {
    tr_policy_options_t loss;
    tr_estimator_options_t estimator;
    bool mask_truncated_completions; ///< responses that nothing ended are not learnt
} tr_recipe_grpo_t;

typedef enum tr_weights_way {
    TR_WEIGHTS_AUTO, ///< where GPUs are, the actor's own memory is read; else as host
    TR_WEIGHTS_HOST  ///< by shared memory of the host
} tr_weights_way_t;

typedef struct tr_recipe_rollout {
    uint64_t workers;
    uint64_t external; ///< of the workers: not started by the run
    /// Names of common/base/device_name.h, at least one, all CPUs or all GPUs. Worker i has entry i
    /// mod count.
    tr_texts_t device;
    double memory;      ///< of each worker; as tr_recipe_learner_t
    uint64_t threads;   ///< of each worker; 0: its share of the processors
    uint64_t max_batch; ///< sequences decoded at once
    int weights;        ///< a tr_weights_way_t
} tr_recipe_rollout_t;

/// A role that learns: actor or critic.
typedef struct tr_recipe_learner {
    tr_texts_t device; ///< as tr_recipe_rollout_t; rank i has entry i mod count
    double memory;     ///< GiB of a GPU that each process may use; 0: all that is free
    uint64_t threads;  ///< of each rank; 0: a share of the processors (controller/role_config.c)
    uint64_t ranks;    ///< processes
    tr_sharing_options_t sharing;
    char *adapter;        ///< critic: of its model, trained in place of its weights; NULL: none
    char *model;          ///< critic: directory; NULL: the policy's trunk with a fresh scalar head
    double learning_rate; ///< critic; 0: optimizer.learning_rate
} tr_recipe_learner_t;

typedef struct tr_recipe_reference {
    bool separate;    ///< a process of its own, else the actor's
    char *device;     ///< of a separate process, else it is where the actor's first rank is
    double memory;    ///< likewise
    uint64_t threads; ///< 0: a share of the processors
} tr_recipe_reference_t;

typedef struct tr_recipe_roles {
    tr_recipe_rollout_t rollout;
    tr_recipe_learner_t actor;
    tr_recipe_reference_t reference;
    tr_recipe_learner_t critic;
    tr_judges_t reward;
} tr_recipe_roles_t;

typedef struct tr_recipe_checkpoint {
    uint64_t every; ///< steps; default 20; 0: only at the end
    uint64_t keep;  ///< the latest so many; default 2, at least 1
    char *best;     ///< a metric of evaluations, whose best step is kept too; NULL: none
} tr_recipe_checkpoint_t;

/// No metric has this value, which JSON can write.
#define TR_NO_TARGET (-DBL_MAX)

typedef struct tr_recipe_evaluation {
    uint64_t every;    ///< steps; 0: at each checkpoint
    uint64_t patience; ///< evaluations without a better one that end the run; 0: none do
    double target;     ///< of checkpoint.best, which ends the run; TR_NO_TARGET: none does
} tr_recipe_evaluation_t;

typedef struct tr_recipe_samples {
    uint64_t every; ///< steps between samples in samples.jsonl; 0: never; default 10
    uint64_t count; ///< responses each time; default 5
} tr_recipe_samples_t;

typedef struct tr_recipe_network {
    char *bind;            ///< endpoint of the controller; NULL: ipc:// in the run directory
    char *keys;            ///< directory of CURVE keys, or NULL
    uint64_t weights_port; ///< where rollouts on other machines get the weights; 0: any
} tr_recipe_network_t;

typedef struct tr_recipe {
    char *name;        ///< the run directory is output/name; a plain file name
    int algorithm;     ///< index of tr_algorithms; see tr_recipe_algorithm
    uint64_t seed;     ///< below 2^63
    uint64_t steps;    ///< at least 1
    char *model;       ///< Hugging Face directory
    char *adapter;     ///< directory of PEFT's, of a model that is `model` with it; NULL: none
    bool from_scratch; ///< fresh weights of the model directory's shape
    char *reference;   ///< Hugging Face directory; NULL: model
    char *output;
    tr_recipe_data_t data;
    tr_generation_options_t generation;
    tr_ppo_options_t ppo;
    tr_recipe_grpo_t grpo;
    tr_recipe_sft_t sft;
    tr_recipe_reward_t reward;
    tr_recipe_dpo_t dpo;
    tr_recipe_kto_t kto;
    tr_lora_t lora; ///< of the adapter that is trained
    tr_optimizer_options_t optimizer;
    tr_recipe_roles_t roles;
    tr_recipe_checkpoint_t checkpoint;
    tr_recipe_evaluation_t evaluation;
    tr_recipe_samples_t samples;
    tr_recipe_network_t network;
    int precision;  ///< a tr_precision_t
    int save_dtype; ///< a tr_save_dtype_t (common/model/trainer.h): of final/
    int log_level;  ///< a tr_log_level_t
} tr_recipe_t;

/// The row of its algorithm.
const tr_algorithm_t *tr_recipe_algorithm(const tr_recipe_t *recipe);

/// TR_READS_... of the algorithm, without the reference where the options at hand use none.
unsigned tr_recipe_reads(const tr_recipe_t *recipe);
/// The actor's reference process or model is asked for log-probs.
bool tr_recipe_reads_reference(const tr_recipe_t *recipe);
/// The options of `grpo` as the algorithm, which has an estimator, takes them.
tr_policy_options_t tr_recipe_policy(const tr_recipe_t *recipe);
/// Updates of a pass over a step's responses or rows.
uint64_t tr_recipe_minibatches(const tr_recipe_t *recipe);
/// It is asked once, before the first step.
bool tr_recipe_precomputes_reference(const tr_recipe_t *recipe);
/// It follows the policy (dpo.sync_ref_model).
bool tr_recipe_syncs_reference(const tr_recipe_t *recipe);
/// An adapter, or that of a directory, is trained in place of the model's weights.
bool tr_recipe_adapts(const tr_recipe_t *recipe);
/// The actor's reference is its own model without the adapter.
bool tr_recipe_shares_reference(const tr_recipe_t *recipe);
/// Whether batches hold mismatched completions too, from which KTO estimates the KL divergence.
bool tr_recipe_mismatches(const tr_recipe_t *recipe);
/// The actor serves its weights to rollouts on other machines.
bool tr_recipe_serves_weights(const tr_recipe_t *recipe);
/// Tokens of the longest row, or prompt, that the recipe lets through a policy of that many
/// positions; and of the longest sequence, which has the response behind a prompt.
size_t tr_recipe_row_limit(const tr_recipe_t *recipe, size_t positions);
size_t tr_recipe_sequence_limit(const tr_recipe_t *recipe, size_t positions);

/// A key that is set and that is not read with rows such as those of the data (kinds: TR_ROWS_...
/// bits of common/data/kinds.h). Owned by the caller (free); NULL: there is none.
char *tr_recipe_key_without_rows(const tr_recipe_t *recipe, unsigned kinds);

// Problems

/// What is wrong with a recipe, in the file's order, the command line's last. Starts as {0}.
typedef struct tr_recipe_problems {
    char **texts; ///< [count]; one sentence each, without a newline
    size_t count;
    /// [note_count]: what is no mistake and should be known: keys that nothing reads, given at
    /// their default. Also of a recipe that loads.
    char **notes;
    size_t note_count;
} tr_recipe_problems_t;

void tr_recipe_problems_release(tr_recipe_problems_t *problems);

// Life cycle

/// Reads the file (path NULL: none), puts overrides ("dotted.key=value", the value in YAML;
/// [count], applied in order) over it, and checks everything: keys, kinds, ranges, what must agree,
/// and that the files and directories named are there. *recipe: owned by the caller; NULL on
/// failure. problems is emptied first; on failure it has at least one. A dotted key may hold the
/// index of a list's entry: "roles.reward.0.weight=2". TR_ERR_ARGUMENT; TR_ERR_IO when the file
/// itself cannot be read, TR_ERR_FORMAT when it is no YAML or above 1 MiB.
tr_status tr_recipe_load(tr_recipe_t **recipe, const char *path, const char *const *overrides,
                         size_t count, tr_recipe_problems_t *problems);

/// The same for text: [length] in memory, called `source` in problems, and without a look at the
/// disk: whether files are there is not checked. For the recipe of a finished run, whose data may
/// have moved.
tr_status tr_recipe_parse(tr_recipe_t **recipe, const char *text, size_t length, const char *source,
                          const char *const *overrides, size_t count,
                          tr_recipe_problems_t *problems);

void tr_recipe_destroy(tr_recipe_t **recipe);

// Output

/// The resolved recipe as YAML with the default of every key that it reads spelled out: the same
/// bytes for the same values, and they load back to them. Real numbers have the fewest digits that
/// read back, and a point ("3.0e-6"). Owned by the caller (free).
char *tr_recipe_print(const tr_recipe_t *recipe);

/// tr_recipe_print into a file, atomically.
tr_status tr_recipe_write(const tr_recipe_t *recipe, const char *path, tr_error_t *err);

/// A JSON Schema (2020-12) of recipes, for editors. Owned by the caller (free).
char *tr_recipe_schema(void);

#endif
