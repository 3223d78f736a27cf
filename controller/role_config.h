/// The config that each role receives when it registers: models, threads, devices, and the
/// checkpoint to begin from.
#ifndef CONTROLLER_ROLE_CONFIG_H
#define CONTROLLER_ROLE_CONFIG_H

#include "common/recipe/recipe.h"
#include "proto/broker.h"

/// Where learners begin.
typedef struct controller_start {
    /// Directory, the critic's in its folder `critic`; NULL: the recipe's models.
    const char *checkpoint;
    uint64_t step;   ///< of the checkpoint
    const char *run; ///< the run directory's absolute path
    int32_t eos;     ///< the tokenizer's end token, for roles without a tokenizer; -1: none
} controller_start_t;

/// Threads of a process: as the recipe says, else its share of the processors when `sharers`
/// processes work at the same time, at least 1.
uint64_t controller_role_threads(uint64_t wanted, uint64_t sharers);

enum { CONTROLLER_SEGMENT = 17 }; ///< bytes of a segment's prefix

/// Under which prefix the run's actor publishes weights (proto/weights/weights.h). run: its
/// directory's absolute path.
void controller_role_segment(char segment[CONTROLLER_SEGMENT], const char *run);

/// The learners' configs, which are also the bodies of `restore`; new references.
json_t *controller_role_config_actor(const tr_recipe_t *recipe, const controller_start_t *start);
json_t *controller_role_config_critic(const tr_recipe_t *recipe, const controller_start_t *start);

/// Gives the broker the configs of all roles, for every worker that registers from now on.
void controller_role_config_set(tr_broker_t *broker, const tr_recipe_t *recipe,
                                const controller_start_t *start);

#endif
