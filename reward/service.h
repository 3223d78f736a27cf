/// What a reward worker offers: `score`, by the judge that the recipe has for its group.
#ifndef REWARD_SERVICE_H
#define REWARD_SERVICE_H

#include "proto/service.h"

typedef struct reward_service reward_service_t;

/// options: the group says which judge; threads, where given, go before the recipe's. Borrowed
/// until destroy.
reward_service_t *reward_service_new(const tr_service_options_t *options);
void reward_service_destroy(reward_service_t **service);

/// The controller's welcome: {judges: {GROUP: how it judges}} (proto/score.h). A group that is not
/// there is TR_ERR_ARGUMENT with the names of those that are.
tr_status reward_service_welcome(void *context, const json_t *config, tr_error_t *err);

/// `score`: body {samples: [tr_score_sample's maps]}. Reply: body {scores: [a number a sample],
/// extras: {}}.
tr_status reward_service_score(void *context, const tr_message_t *request, tr_message_t *reply,
                               tr_error_t *err);

#endif
