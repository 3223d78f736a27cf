// Names of the ways in which a response ends. One list for the wire, for samples and for rows.
#include "common/text/finish.h"

#include <string.h>

static const char *const NAMES[] = {"eos", "stop", "length"};

const char *tr_finish_name(tr_finish_t finish)
{
    return NAMES[finish];
}

bool tr_finish_find(tr_finish_t *finish, const char *name)
{
    for (unsigned i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strcmp(NAMES[i], name) == 0) {
            *finish = (tr_finish_t)i;
            return true;
        }
    }
    return false;
}
