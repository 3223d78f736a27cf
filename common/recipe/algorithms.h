/// The table of algorithms: what a run of each one needs, so that nobody has to ask which one runs.
///
/// A new algorithm is a row here, a page in the controller that takes its steps, and its loss in
/// common/algo.
#ifndef TR_RECIPE_ALGORITHMS_H
#define TR_RECIPE_ALGORITHMS_H

#include "common/algo/estimators.h"
#include "common/base/fields.h"

typedef struct tr_recipe tr_recipe_t;

/// Who reads a section or key of the recipe (tr_field_t.readers): algorithms that have all of its
/// bits.
enum {
    TR_READS_PROMPTS = 1 << 0,   ///< generates: rollouts respond to prompts and judges score
    TR_READS_ROWS = 1 << 1,      ///< trains on rows of data.train
    TR_READS_REFERENCE = 1 << 2, ///< compares with a frozen policy
    TR_READS_CRITIC = 1 << 3,    ///< has a critic
    TR_READS_OPTIMIZER = 1 << 4, ///< trains anything
    TR_READS_PPO = 1 << 5,
    TR_READS_SFT = 1 << 6,      ///< the loss of sft
    TR_READS_SFT_ROWS = 1 << 7, ///< and how its rows are made
    TR_READS_REWARD = 1 << 8,
    TR_READS_DPO = 1 << 9,
    TR_READS_DPO_ROWS = 1 << 10,
    TR_READS_KTO = 1 << 11,
    TR_READS_GROUP = 1 << 12,  ///< the policy losses of `grpo`
    TR_READS_GRPO = 1 << 13,   ///< and what its own estimator is told,
    TR_READS_RLOO = 1 << 14,   ///< that of rloo,
    TR_READS_RETURNS = 1 << 15 ///< or that of reinforce_plus_plus
};

typedef struct tr_algorithm {
    const char
        *name;      ///< as a recipe writes it; first, so that the table serves as the key's choices
    unsigned reads; ///< TR_READS_...; everything else in a recipe must be left at its default
    bool compares;  ///< a prompt's responses with each other, so it needs several
    bool scalar;    ///< the actor's model has a scalar head
    size_t group;   ///< sequences of a row that is trained on: 2 for pairs
    unsigned rows;  ///< kinds of rows that it takes, a bit each (common/data/kinds.h)
    const tr_estimator_t *estimator; ///< of advantages without a critic; NULL: none

    double learning_rate;       ///< where the recipe says none: TRL's; 0: nothing is trained
    const char *method;         ///< the actor's (actor/main.c), NULL: nothing is trained
    const tr_fields_t *loss;    ///< what that method is told beside the pass, NULL: nothing
    size_t loss_offset;         ///< of their struct in tr_recipe_t
    const char *max_length_key; ///< the key that bounds its rows, NULL: none
    size_t max_length_offset;   ///< of that key's value in tr_recipe_t, a uint64_t

    /// Whether the options at hand read the reference at all. NULL: they do, if `reads` says so.
    bool (*needs_reference)(const tr_recipe_t *recipe);
    size_t precompute_offset; ///< of the bool that has the reference asked once; 0: it cannot
} tr_algorithm_t;

/// [tr_algorithm_count], then one whose name is NULL.
extern const tr_algorithm_t tr_algorithms[];
extern const size_t tr_algorithm_count;

static inline bool tr_algorithm_generates(const tr_algorithm_t *algorithm)
{
    return (algorithm->reads & TR_READS_PROMPTS) != 0;
}

static inline bool tr_algorithm_has_critic(const tr_algorithm_t *algorithm)
{
    return (algorithm->reads & TR_READS_CRITIC) != 0;
}

/// Whether it learns all responses, by their ratios to the policy that sampled them.
static inline bool tr_algorithm_has_ratios(const tr_algorithm_t *algorithm)
{
    return (algorithm->reads & (TR_READS_PPO | TR_READS_GROUP)) != 0;
}

/// Whether there is an actor that learns.
static inline bool tr_algorithm_learns(const tr_algorithm_t *algorithm)
{
    return (algorithm->reads & TR_READS_OPTIMIZER) != 0;
}

#endif
