/// The roles of workers, under the names that travel.
#ifndef TR_PROTO_ROLE_H
#define TR_PROTO_ROLE_H

#include <stdbool.h>

typedef enum tr_role {
    TR_ROLE_ACTOR,     ///< learns the policy
    TR_ROLE_CRITIC,    ///< predicts values
    TR_ROLE_REFERENCE, ///< gives log-probs of the frozen policy
    TR_ROLE_REWARD,    ///< scores responses
    TR_ROLE_ROLLOUT,   ///< generates responses
    TR_ROLE_COUNT
} tr_role_t;

/// "actor", "critic", "reference", "reward", "rollout".
const char *tr_role_name(tr_role_t role);

/// False for any other name.
bool tr_role_parse(tr_role_t *role, const char *name);

#endif
