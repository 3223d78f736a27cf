// Tallies: metrics as [sum, weight], added up over batches and steps and divided once, at the end.
//
// A mean of means would depend on how a step is cut into batches; sums do not. The learner puts,
// the controller adds and divides.
#include "proto/learner/tally.h"

#include <math.h>
#include <stdbool.h>

/// weight: of how many rows or tokens the sum is, usually.
tr_status tr_tally_put(json_t *tally, const char *name, double sum, double weight, tr_error_t *err)
{
    // No row of this batch had the quantity: there is nothing to divide.
    if (weight == 0.0) {
        return TR_OK;
    }
    if (!isfinite(sum)) {
        return tr_fail(err, TR_ERR_NUMERIC, "%s is not a finite number", name);
    }
    json_t *entry = json_pack("[f, f]", sum, weight);
    TR_ASSERT(entry != NULL, "out of memory");
    json_object_set_new(tally, name, entry);
    return TR_OK;
}

/// The weight is above 0: the mean must exist.
static bool is_entry(const json_t *entry)
{
    const json_t *sum = json_array_get(entry, 0), *weight = json_array_get(entry, 1);
    return json_array_size(entry) == 2 && json_is_number(sum) && json_is_number(weight) &&
           isfinite(json_number_value(sum)) && isfinite(json_number_value(weight)) &&
           json_number_value(weight) > 0.0;
}

/// Entry by entry; after a failure those before the bad one are added already, and the caller gives
/// up.
tr_status tr_tally_add(json_t *tally, const json_t *other, const char *where, tr_error_t *err)
{
    const char *name;
    json_t *entry;
    if (!json_is_object(other)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "%s: expected an object of metrics", where);
    }
    json_object_foreach((json_t *)other, name, entry)
    {
        if (!is_entry(entry)) {
            return tr_fail(err, TR_ERR_PROTOCOL, "%s: %s: expected [sum, weight]", where, name);
        }
        // A metric that is not there yet begins with this one.
        const json_t *before = json_object_get(tally, name);
        double sum = json_number_value(json_array_get(entry, 0));
        double weight = json_number_value(json_array_get(entry, 1));
        if (before != NULL) {
            sum += json_number_value(json_array_get(before, 0));
            weight += json_number_value(json_array_get(before, 1));
        }
        TR_TRY(tr_tally_put(tally, name, sum, weight, err));
    }
    return TR_OK;
}

/// The weight is above 0: tr_tally_put leaves out others.
double tr_tally_mean(const json_t *entry)
{
    return json_number_value(json_array_get(entry, 0)) /
           json_number_value(json_array_get(entry, 1));
}
