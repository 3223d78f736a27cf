// Names of roles, as they travel. A file of its own because both ends of the wire need them: the
// controller (dispatch.h) and the workers (service.h).
#include "proto/role.h"

#include <stddef.h>
#include <string.h>

#include "common/base/status.h"

/// In the order of tr_role_t.
static const char *const names[TR_ROLE_COUNT] = {"actor", "critic", "reference", "reward",
                                                 "rollout"};

/// A role outside the table is our own mistake: what a peer says goes through tr_role_parse.
const char *tr_role_name(tr_role_t role)
{
    TR_ASSERT(role < TR_ROLE_COUNT, "role %d", (int)role);
    return names[role];
}

/// Exact: role names are written by programs, not by people.
bool tr_role_parse(tr_role_t *role, const char *name)
{
    for (size_t i = 0; i < TR_ROLE_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            *role = (tr_role_t)i;
            return true;
        }
    }
    return false;
}
