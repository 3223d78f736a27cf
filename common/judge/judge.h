/// Judges: what a recipe may list under roles.reward, and how those that come with Troupe score
/// responses.
///
/// A kind of judge is one file of this folder: its options with their table, what must agree among
/// them, and (unless a program of the user's scores) the functions that score. To add one, write
/// the file and put its name into the list of judge.c; the recipe, the messages, docs/recipe.md,
/// the JSON Schema and `troupe-reward` follow.
///
/// A judge sees one sample at a time: its score depends neither on the others nor on threads.
#ifndef TR_JUDGE_JUDGE_H
#define TR_JUDGE_JUDGE_H

#include "common/base/fields.h"

/// One response to be scored. Strings are UTF-8. All is borrowed.
typedef struct tr_sample {
    int64_t id;
    const char *prompt;
    const char *response;
    const int32_t *prompt_ids;   ///< [prompt_count]
    const int32_t *response_ids; ///< [response_count]
    size_t prompt_count;
    size_t response_count;
    const json_t *columns;  ///< every other column of the prompt's row, an object; NULL: none
    const json_t *messages; ///< the conversation, ending with the response; NULL: texts
    const char *finish;     ///< "eos", "stop" or "length"
} tr_sample_t;

/// What a judge is given of the process that it scores in.
typedef struct tr_judge_host {
    size_t threads;         ///< for a model; 0: as the judge's options say
    bool (*stopping)(void); ///< whether the process was asked to end; NULL: never
} tr_judge_host_t;

typedef struct tr_judge_kind {
    const char *name;          ///< the key that an entry of this kind has: "words"
    const tr_fields_t *fields; ///< of its options

    /// Troupe starts processes that score by this kind. false: somebody starts them by hand.
    bool started;

    /// What must agree among options. NULL: all is well. Else a sentence, owned by the caller, and
    /// the key it is about.
    char *(*check)(const char **key, const void *options);

    /// Its score may be NaN: the response cannot be scored, which travels as null. Any other NaN is
    /// an error.
    bool may_be_null;

    // Scoring, by `troupe-reward`. All NULL where a program of the user's scores.
    // tr_judge_kind_score calls the one of rule and score that a kind has.

    /// *state: NULL after a failure. options: borrowed until close. A kind without open and close
    /// has its options as state.
    tr_status (*open)(void **state, const void *options, const tr_judge_host_t *host,
                      tr_error_t *err);
    /// A rule: the score of one sample, NaN for null.
    tr_status (*rule)(double *score, void *state, const tr_sample_t *sample, tr_error_t *err);
    /// Instead of a rule, many samples at once. scores: [count], written. TR_ERR_ARGUMENT for a
    /// sample that cannot be scored, in a sentence that begins with its id; TR_ERR_INTERRUPTED when
    /// the host is stopping.
    tr_status (*score)(void *state, float *scores, const tr_sample_t *samples, size_t count,
                       tr_error_t *err);
    void (*close)(void *state);
} tr_judge_kind_t;

/// [tr_judge_kind_count], in the order of docs/recipe.md.
extern const tr_judge_kind_t *const tr_judge_kinds[];
extern const size_t tr_judge_kind_count;

/// NULL: there is none of that name.
const tr_judge_kind_t *tr_judge_kind_find(const char *name);

/// Whether `troupe-reward` scores by this kind.
bool tr_judge_kind_scores(const tr_judge_kind_t *kind);
/// As the kind's score.
tr_status tr_judge_kind_score(const tr_judge_kind_t *kind, void *state, float *scores,
                              const tr_sample_t *samples, size_t count, tr_error_t *err);

// For rules: the columns of a sample's row

/// *value: borrowed; JSON's null where the row says null: the rule cannot score this sample. A row
/// without the column is TR_ERR_ARGUMENT, with the names of those that it has.
tr_status tr_sample_column(const json_t **value, const tr_sample_t *sample, const char *name,
                           tr_error_t *err);
/// The column as a text, owned by the caller; a number as it is written. *text: NULL for null. A
/// list or a map is TR_ERR_ARGUMENT.
tr_status tr_sample_text(char **text, const tr_sample_t *sample, const char *name, tr_error_t *err);

// Entries of roles.reward

typedef enum tr_on_failure {
    TR_ON_FAILURE_FAIL, ///< the run ends with an error
    TR_ON_FAILURE_WAIT  ///< the run waits for a judge that answers
} tr_on_failure_t;

typedef struct tr_judge {
    const tr_judge_kind_t *kind;
    void *options; ///< the kind's, owned

    // What every kind has (tr_judge_fields).
    /// Unique; names group and metrics. Default: the kind ("exec", then "exec-2"), or external's
    /// group.
    char *name;
    double weight;    ///< its score counts so much in the sum
    double timeout_s; ///< of a request
    uint64_t retries; ///< after a failure or a timeout
    int on_failure;   ///< a tr_on_failure_t: when the retries are used up
} tr_judge_t;

typedef struct tr_judges {
    tr_judge_t *items; ///< [count]
    size_t count;
} tr_judges_t;

extern const tr_fields_t tr_judge_fields;

/// Defaults, and options of the kind.
void tr_judge_init(tr_judge_t *judge, const tr_judge_kind_t *kind);
void tr_judge_release(tr_judge_t *judge);

/// Processes that Troupe starts for it; 0 where somebody else starts them.
uint64_t tr_judge_workers(const tr_judge_t *judge);

/// The group under which its workers register.
const char *tr_judge_group(const tr_judge_t *judge);

// The kinds

/// Those that other code asks for by name; judge.c knows them all.
extern const tr_judge_kind_t tr_judge_exec, tr_judge_model, tr_judge_external;

typedef struct tr_exec_judge {
    tr_texts_t exec; ///< argv; found by PATH when without a slash
    uint64_t workers;
} tr_exec_judge_t;

typedef struct tr_external_judge {
    char *external; ///< the group under which the worker registers
} tr_external_judge_t;

typedef struct tr_model_judge {
    uint64_t workers;
    char *device;        ///< common/base/device_name.h
    double memory;       ///< GiB of a GPU; 0: all that is free
    uint64_t threads;    ///< 0: one per processor
    int precision;       ///< the run's (tr_precision_fields); in messages alone
    char *model;         ///< a Hugging Face directory with a scalar head
    char *adapter;       ///< a directory of PEFT for it, which may have the head; NULL: none
    char *chat_template; ///< a name or a file; NULL: the model's own
    int steps;           ///< a tr_step_score_t (common/algo/process_reward.h)
    char *step_separator;
} tr_model_judge_t;

/// Tokens that go through a judge's model at once; more where a single sample is longer. Bounds its
/// memory, changes no bit.
enum { TR_JUDGE_PASS_TOKENS = 4096 };

#endif
