/// The recipe: what a run is to do, from a YAML file and `key=value` from the command line, resolved and checked.
///
/// One table (recipe_table.c) says every key, its kind, range and default; loading, writing and docs/recipe.md all
/// come from it. `troupe` and the controller load a recipe; everyone else is handed values from tr_recipe_t. Paths
/// are relative to the current directory. Mistakes are collected, all of them, each as one sentence:
///
///     recipe.yaml:14: optimizer.learning_rate: expected a positive number, found 'fast'
///     command line: optimizer.lr: unknown key; did you mean 'optimizer.learning_rate'?
///
/// Every string and list in tr_recipe_t belongs to the recipe. Whole numbers are uint64_t, real ones double and
/// finite. A list without items has count 0 and items NULL.
#ifndef TR_BASE_RECIPE_H
#define TR_BASE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/base/status.h"

typedef enum tr_algorithm {
    TR_ALGORITHM_PPO,
    TR_ALGORITHM_SFT,
    TR_ALGORITHM_REWARD, ///< a reward model from pairs
    TR_ALGORITHM_DPO,
    TR_ALGORITHM_KTO,
    TR_ALGORITHM_ONLINE_DPO,         ///< DPO on the best and the worst of a prompt's own responses
    TR_ALGORITHM_REJECTION_SAMPLING, ///< SFT on the best of a prompt's own responses
    TR_ALGORITHM_SAMPLE              ///< nothing is learnt: responses and their scores alone
} tr_algorithm_t;

/// What GPUs compute in; a CPU computes in fp32 whatever the recipe says.
typedef enum tr_precision { TR_PRECISION_BF16, TR_PRECISION_FP32 } tr_precision_t;

typedef enum tr_stop_token {
    TR_STOP_TOKEN_NONE, ///< null: responses go on past an end-of-sequence token, as in TRL
    TR_STOP_TOKEN_EOS   ///< a response ends with the tokenizer's end-of-sequence token
} tr_stop_token_t;

typedef enum tr_on_bad_row {
    TR_ON_BAD_ROW_FAIL, ///< the run ends with an error
    TR_ON_BAD_ROW_DROP  ///< the row is left out, with a warning, and counted
} tr_on_bad_row_t;

typedef enum tr_truncation {
    TR_TRUNCATION_KEEP_START, ///< what is too long loses its end
    TR_TRUNCATION_KEEP_END    ///< its beginning
} tr_truncation_t;

typedef struct tr_recipe_strings {
    char **items; ///< [count]
    size_t count;
} tr_recipe_strings_t;

typedef struct tr_recipe_ids {
    int32_t *items; ///< [count]; token ids
    size_t count;
} tr_recipe_ids_t;

typedef struct tr_recipe_reals {
    double *items; ///< [count]
    size_t count;
} tr_recipe_reals_t;

/// A real number that may be absent (null).
typedef struct tr_optional {
    bool given;
    double value; ///< 0 while not given
} tr_optional_t;

// Judges: the entries of roles.reward, in the recipe's order.

typedef enum tr_judge_kind {
    TR_JUDGE_EXEC,     ///< a program that Troupe starts and that speaks the protocol
    TR_JUDGE_MODEL,    ///< a Hugging Face directory with a scalar head
    TR_JUDGE_WORDS,    ///< a word list
    TR_JUDGE_REGEX,    ///< a regular expression (PCRE2)
    TR_JUDGE_LENGTH,   ///< the length of the response
    TR_JUDGE_EXTERNAL, ///< a worker that somebody starts by hand
    TR_JUDGE_KIND_COUNT
} tr_judge_kind_t;

typedef enum tr_length_unit {
    TR_LENGTH_TOKENS,
    TR_LENGTH_WORDS,     ///< separated by white space
    TR_LENGTH_CHARACTERS ///< Unicode code points
} tr_length_unit_t;

typedef enum tr_on_failure {
    TR_ON_FAILURE_WAIT, ///< the run waits for a judge that answers
    TR_ON_FAILURE_FAIL  ///< the run ends with an error
} tr_on_failure_t;

typedef struct tr_word_weight {
    char *word; ///< not empty
    double weight;
} tr_word_weight_t;

typedef struct tr_words {
    tr_word_weight_t *items; ///< [count]; in the recipe's order, each word once
    size_t count;
} tr_words_t;

typedef struct tr_regex_rule {
    char *pattern; ///< compiles as PCRE2 with UTF
    double score;  ///< of a response in which it matches; 0 for any other; default 1
} tr_regex_rule_t;

/// Either target (score 1 - |n - target| / target, not below 0) or min, max or both (score 1 within, 0 outside).
typedef struct tr_length_rule {
    uint64_t target;       ///< 0: none
    uint64_t min;          ///< default 0
    uint64_t max;          ///< 0: no upper bound
    tr_length_unit_t unit; ///< default tokens
} tr_length_rule_t;

typedef struct tr_judge {
    tr_judge_kind_t kind;
    /// Unique; names group and metrics. Default: the kind ("exec", then "exec-2"), or external's name.
    char *name;
    double weight;              ///< its score counts so much in the sum; default 1
    double timeout_s;           ///< per request; default 60
    uint64_t retries;           ///< after a failure or a timeout; default 3
    uint64_t workers;           ///< processes started (exec, model); default 1
    tr_on_failure_t on_failure; ///< when the retries are used up; default wait
    char *device;               ///< model only; a name of common/base/device_name.h
    double memory;              ///< model only; GiB of its device, as tr_recipe_actor_t
    uint64_t threads;           ///< model only; 0: one per processor

    // Only the one that kind names is set; the others are empty. A key of another kind in an entry is a mistake.
    tr_recipe_strings_t exec; ///< argv; found by PATH when without a slash
    char *model;
    int steps;            ///< model: a tr_step_score_t (common/algo/process_reward.h); default none
    char *step_separator; ///< model: what ends a step; default a line's end
    tr_words_t words;
    tr_regex_rule_t regex;
    tr_length_rule_t length;
    char *external; ///< the group under which the worker registers
} tr_judge_t;

typedef struct tr_judges {
    tr_judge_t *items; ///< [count]
    size_t count;
} tr_judges_t;

// Sections

typedef struct tr_recipe_data {
    tr_recipe_strings_t prompts; ///< JSONL files; of what generates
    tr_recipe_strings_t train;   ///< JSONL files; of what learns from rows
    tr_recipe_strings_t eval;    ///< JSONL files or none
    uint64_t batch;              ///< prompts (ppo) or rows (the others) a step; default 64
    char *prompt_column;         ///< default "prompt"
    char *text_column;           ///< default "text"
    int chat_template;          ///< a tr_chat_format_t (common/text); default none: the model's own
    bool shuffle;               ///< default true
    tr_on_bad_row_t on_bad_row; ///< default fail
    uint64_t max_prompt_length; ///< tokens; 0 (null): no bound but the model's
} tr_recipe_data_t;

typedef struct tr_recipe_generation {
    double temperature;         ///< default 0.7; above 0 for ppo
    uint64_t top_k;             ///< 0: off; default
    double top_p;               ///< in (0, 1]; default 1
    uint64_t max_new_tokens;    ///< default 53; response_length, TRL's name, is taken too
    uint64_t samples;           ///< responses to a prompt; default 1
    tr_recipe_ids_t stop_ids;   ///< token ids that end a response; default none
    tr_stop_token_t stop_token; ///< default none
} tr_recipe_generation_t;

/// As tr_ppo_options_t of common/algo/options.h, which explains them; that folder is above this one.
typedef struct tr_recipe_ppo {
    uint64_t num_ppo_epochs;           ///< default 4
    uint64_t num_mini_batches;         ///< default 1; divides data.batch * generation.samples
    double kl_coef;                    ///< default 0.05
    int kl_estimator;                  ///< a tr_kl_estimator_t; default TR_KL_K1
    double cliprange;                  ///< default 0.2
    double vf_coef;                    ///< default 0.1
    double cliprange_value;            ///< default 0.2
    double gamma;                      ///< default 1
    double lam;                        ///< default 0.95
    bool whiten_rewards;               ///< default false
    tr_optional_t missing_eos_penalty; ///< default not given
} tr_recipe_ppo_t;

typedef struct tr_recipe_sft {
    uint64_t max_length; ///< tokens of a row that are learnt from, the rest is cut; default 1024
    bool packing;        ///< a batch counts packs of up to max_length tokens; default false
    int loss_type;       ///< a tr_sft_loss_type_t; default nll
    bool completion_only_loss;         ///< of rows with a prompt; default true
    bool assistant_only_loss;          ///< of conversations; default false
    double label_smoothing_factor;     ///< default 0; below 1; 0 for dft
    tr_optional_t neftune_noise_alpha; ///< not given: no noise
} tr_recipe_sft_t;

/// As tr_dpo_options_t of common/algo/dpo.h, which explains them.
typedef struct tr_recipe_dpo {
    double beta;                     ///< default 0.1
    tr_recipe_strings_t loss_type;   ///< default [sigmoid]
    tr_recipe_reals_t loss_weights;  ///< one a loss, or none: all 1
    double label_smoothing;          ///< default 0; below 0.5
    int f_divergence_type;           ///< a tr_f_divergence_t; default reverse_kl
    double f_alpha_divergence_coef;  ///< default 0.5
    tr_optional_t ld_alpha;          ///< in [0, 1]; not given: 1
    double discopop_tau;             ///< default 0.05
    double simpo_gamma;              ///< default 0.5
    bool use_weighting;              ///< default false
    bool reference_free;             ///< default false
    uint64_t max_length;             ///< tokens of prompt and completion; default 1024
    tr_truncation_t truncation_mode; ///< default keep_start
    bool precompute_ref_log_probs;   ///< default false
    bool sync_ref_model;             ///< the reference follows the policy; default false
    double ref_model_mixup_alpha;    ///< in [0, 1]; default 0.6
    uint64_t ref_model_sync_steps;   ///< default 512
} tr_recipe_dpo_t;

/// As tr_kto_options_t of common/algo/kto.h.
typedef struct tr_recipe_kto {
    int loss_type;                 ///< a tr_kto_loss_type_t; default kto
    double beta;                   ///< default 0.1
    double desirable_weight;       ///< default 1
    double undesirable_weight;     ///< default 1
    uint64_t max_length;           ///< default 1024
    bool precompute_ref_log_probs; ///< default false
} tr_recipe_kto_t;

typedef struct tr_recipe_reward {
    tr_optional_t center_rewards_coefficient; ///< not given: 0
    uint64_t max_length;                      ///< longer pairs are bad rows; default 1024
    bool normalize;                           ///< the saved model's scores; default false
    char *step_separator;                     ///< what ends a step; default a line's end
} tr_recipe_reward_t;

typedef enum tr_rounding {
    TR_ROUNDING_NEAREST,   ///< f32 parameters, beside those in bf16 on a GPU
    TR_ROUNDING_STOCHASTIC ///< bf16 parameters alone
} tr_rounding_t;

typedef struct tr_recipe_optimizer {
    double learning_rate; ///< the peak; default 3e-6
    int schedule;         ///< a tr_schedule_kind_t (common/optim); default TR_SCHEDULE_LINEAR
    uint64_t warmup;      ///< steps; default 0; at most steps
    double clip;          ///< largest global gradient norm; 0 (or null): off; default 1
    double beta1;         ///< default 0.9
    double beta2;         ///< default 0.999
    double epsilon;       ///< default 1e-8
    double weight_decay;  ///< default 0
    uint64_t chunk;       ///< sequences a gradient chunk; default 8. Another value gives other bits
    bool gradient_checkpointing; ///< default false; the same bits
    bool offload;                ///< moments in the host's memory; default false; the same bits
    tr_rounding_t rounding;      ///< of parameters that are updated; default nearest
} tr_recipe_optimizer_t;

typedef enum tr_weights_way {
    TR_WEIGHTS_AUTO, ///< where GPUs are, the actor's own memory is read; else as host
    TR_WEIGHTS_HOST  ///< by shared memory of the host
} tr_weights_way_t;

typedef struct tr_recipe_rollout {
    uint64_t workers;  ///< default 1
    uint64_t external; ///< of the workers: not started by the run; default 0
    /// Names of common/base/device_name.h, at least one, all CPUs or all GPUs; default cpu. Worker i has entry i mod count.
    tr_recipe_strings_t device;
    double memory;            ///< of each worker; as tr_recipe_actor_t
    uint64_t threads;         ///< of each worker; 0: its share of the processors
    uint64_t max_batch;       ///< sequences decoded at once; default 64
    tr_weights_way_t weights; ///< how they come; default auto
} tr_recipe_rollout_t;

typedef struct tr_recipe_actor {
    tr_recipe_strings_t device; ///< as tr_recipe_rollout_t; rank i has entry i mod count
    double memory; ///< GiB of a GPU that each process may use; 0 (or null): all that is free
    uint64_t
        threads; ///< of each rank; 0: a share of the processors, as controller/role_config.c deals them
    uint64_t ranks;      ///< processes; default 1
    uint64_t zero_stage; ///< 1, 2 or 3; default 2
    int gradient_sum;    ///< a tr_gradient_sum_t (common/optim); default tree
} tr_recipe_actor_t;

typedef struct tr_recipe_reference {
    bool separate; ///< a process of its own; default false: the actor's
    char
        *device; ///< default cpu; of a separate process, else it is where the actor's first rank is
    double memory;    ///< likewise
    uint64_t threads; ///< 0: a share of the processors, as controller/role_config.c deals them
} tr_recipe_reference_t;

typedef struct tr_recipe_critic {
    char *model;                ///< directory; NULL: the policy's trunk with a fresh scalar head
    tr_recipe_strings_t device; ///< as tr_recipe_actor_t
    double memory;              ///< likewise
    uint64_t
        threads; ///< of each rank; 0: a share of the processors, as controller/role_config.c deals them
    uint64_t ranks;              ///< processes; default 1
    uint64_t zero_stage;         ///< 1, 2 or 3; default 2
    int gradient_sum;            ///< a tr_gradient_sum_t (common/optim); default tree
    tr_optional_t learning_rate; ///< not given: optimizer.learning_rate
} tr_recipe_critic_t;

typedef struct tr_recipe_roles {
    tr_recipe_rollout_t rollout;
    tr_recipe_actor_t actor;
    tr_recipe_reference_t reference;
    tr_recipe_critic_t critic;
    tr_judges_t reward; ///< at least one for ppo
} tr_recipe_roles_t;

typedef struct tr_recipe_checkpoint {
    uint64_t every; ///< steps; default 20; 0: only at the end
    uint64_t keep;  ///< the latest so many; default 2, at least 1
} tr_recipe_checkpoint_t;

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
    char *name; ///< the run directory is output/name; a plain file name
    tr_algorithm_t algorithm;
    uint64_t seed;     ///< below 2^63; default 1
    uint64_t steps;    ///< at least 1
    char *model;       ///< Hugging Face directory
    bool from_scratch; ///< sft: fresh weights of the model directory's shape; default false
    char *reference;   ///< Hugging Face directory; NULL: model
    char *output;      ///< default "runs"
    tr_recipe_data_t data;
    tr_recipe_generation_t generation;
    tr_recipe_ppo_t ppo;
    tr_recipe_sft_t sft;
    tr_recipe_reward_t reward;
    tr_recipe_dpo_t dpo;
    tr_recipe_kto_t kto;
    tr_recipe_optimizer_t optimizer;
    tr_recipe_roles_t roles;
    tr_recipe_checkpoint_t checkpoint;
    tr_recipe_samples_t samples;
    tr_recipe_network_t network;
    tr_precision_t precision; ///< of GPUs; default bf16
    tr_log_level_t log_level; ///< default info
} tr_recipe_t;

// Problems

/// What is wrong with a recipe, in the file's order, the command line's last. Starts as {0}.
typedef struct tr_recipe_problems {
    char **texts; ///< [count]; one sentence each, without a newline
    size_t count;
} tr_recipe_problems_t;

void tr_recipe_problems_release(tr_recipe_problems_t *problems);

// Life cycle

/// Reads the file (path NULL: none), puts overrides ("dotted.key=value", the value in YAML; [count], applied in order) over it, and
/// checks everything: keys, kinds, ranges, what must agree, and that the files and directories named are there.
/// *recipe: owned by the caller; NULL on failure. problems is emptied first; on failure it has at least one.
/// A dotted key may hold the index of a list's entry: "roles.reward.0.weight=2".
/// TR_ERR_ARGUMENT; TR_ERR_IO when the file itself cannot be read, TR_ERR_FORMAT when it is no YAML or above 1 MiB.
tr_status tr_recipe_load(tr_recipe_t **recipe, const char *path, const char *const *overrides,
                         size_t count, tr_recipe_problems_t *problems);

/// The same for text: [length] in memory, called `source` in problems, and without a look at the disk: whether
/// files are there is not checked. For the recipe of a finished run, whose data may have moved.
tr_status tr_recipe_parse(tr_recipe_t **recipe, const char *text, size_t length, const char *source,
                          const char *const *overrides, size_t count,
                          tr_recipe_problems_t *problems);

void tr_recipe_destroy(tr_recipe_t **recipe);

// Output

/// The resolved recipe as YAML with every default spelled out: the same bytes for the same values, and they load
/// back to them. Real numbers have the fewest digits that read back, and a point ("3.0e-6"). Owned by the caller (free).
char *tr_recipe_print(const tr_recipe_t *recipe);

/// tr_recipe_print into a file, atomically.
tr_status tr_recipe_write(const tr_recipe_t *recipe, const char *path, tr_error_t *err);

/// The reference of all keys in Markdown (docs/recipe.md). Owned by the caller (free).
char *tr_recipe_markdown(void);

// Algorithms

/// Whether the actor serves its weights to rollouts on other machines.
bool tr_recipe_serves_weights(const tr_recipe_t *recipe);

/// Whether rollouts answer prompts and judges score them; the others learn from rows.
bool tr_algorithm_generates(tr_algorithm_t algorithm);

/// Whether there is an actor that learns.
bool tr_algorithm_learns(tr_algorithm_t algorithm);

// Names as recipes write them

const char *tr_algorithm_name(tr_algorithm_t algorithm); ///< "ppo", "sft", ...
const char *tr_precision_name(tr_precision_t precision); ///< "bf16", "fp32"
const char *tr_judge_kind_name(tr_judge_kind_t kind);    ///< "exec", "model", "words", ...
const char *tr_length_unit_name(tr_length_unit_t unit);  ///< "tokens", "words", "characters"

#endif
