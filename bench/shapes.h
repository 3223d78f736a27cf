/// Llamas by name that the programs of bench/ measure. Their weights are random, which changes no
/// amount of work.
#ifndef BENCH_SHAPES_H
#define BENCH_SHAPES_H

#include "common/model/config.h"

/// "260K", "15M", "110M", "0.5B", "1.5B", "7B", "stories" (the policy of examples/models/stories)
/// or "toy". config is written; a causal language model with the embeddings tied or not as usual at
/// its size. TR_ERR_ARGUMENT for another name.
tr_status bench_shape(tr_model_config_t *config, const char *name, tr_error_t *err);

#endif
