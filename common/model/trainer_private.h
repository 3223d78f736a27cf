/// What trainer.c (learning) and trainer_save.c (checkpoints) share about a trainer.
#ifndef TR_MODEL_TRAINER_PRIVATE_H
#define TR_MODEL_TRAINER_PRIVATE_H

#include "common/model/model_private.h"
#include "common/model/trainer.h"

struct tr_trainer {
    tr_model_t *model;
    tr_optimizer_t *optimizer;
    tr_response_pass_t *pass;
    tr_ranks_t ranks;
    double router_aux_loss_coef; // as of tr_optimizer_options_t
    tr_shards_t shards;          // of the trained vector; one process holds all
};

#endif
