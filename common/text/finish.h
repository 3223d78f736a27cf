/// Why a response ended: what rollouts report, judges are told and rows say.
#ifndef TR_TEXT_FINISH_H
#define TR_TEXT_FINISH_H

#include <stdbool.h>

/// The numbers travel.
typedef enum tr_finish {
    TR_FINISH_EOS = 0,   ///< with the model's end token
    TR_FINISH_STOP = 1,  ///< with what the recipe says ends one
    TR_FINISH_LENGTH = 2 ///< it was cut: nothing ended it
} tr_finish_t;

/// "eos", "stop" or "length".
const char *tr_finish_name(tr_finish_t finish);

/// Whether the name is one of the three.
bool tr_finish_find(tr_finish_t *finish, const char *name);

#endif
