/// The rotation of RoPE as a table (Su et al. 2021), with the scalings of transformers'
/// modeling_rope_utils. For model.c; the operator that reads the table is in tensor/backend.h.
#ifndef TR_MODEL_ROPE_H
#define TR_MODEL_ROPE_H

#include "common/model/config.h"

/// table: [max_positions, rotary_dim] = [cos | sin] of position * frequency for each pair, written.
/// local: of the layers that rotate plainly, by rope_local_theta.
void rope_table(float *table, const tr_model_config_t *config, bool local);

/// What yarn multiplies cos and sin by, of a factor of positions.
double rope_yarn_scale(double factor, double mscale);

/// Elements of a head that are rotated.
static inline size_t rope_dim(const tr_model_config_t *config)
{
    return config->rotary_dim > 0 ? config->rotary_dim : config->head_dim;
}

#endif
