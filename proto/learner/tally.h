/// Metrics on their way from a learner to the controller: sums with their divisors, so that batches
/// add up to the mean over all. In a body: {"rewards/chosen": [-12.5, 64], ...}, under TRL's names.
#ifndef TR_PROTO_TALLY_H
#define TR_PROTO_TALLY_H

#include <jansson.h>

#include "common/base/status.h"

/// Sets name: [sum, weight]; nothing if the weight is 0. TR_ERR_NUMERIC for a sum that is not a
/// finite number.
tr_status tr_tally_put(json_t *tally, const char *name, double sum, double weight, tr_error_t *err);

/// Adds the sums and weights of another tally to this one. TR_ERR_PROTOCOL, with `where` first, for
/// anything that is not a tally.
tr_status tr_tally_add(json_t *tally, const json_t *other, const char *where, tr_error_t *err);

/// The mean of an entry of a tally that tr_tally_add made.
double tr_tally_mean(const json_t *entry);

#endif
