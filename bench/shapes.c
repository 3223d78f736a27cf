// Shapes of Llamas by name, for the programs of bench/: sizes only, weights are random.
//
// 260K and 15M are those of the story models by Karpathy (llama2.c), 7B is Llama 2's; the others
// lie between.
#include "bench/shapes.h"

#include <string.h>

/// The vocabulary of 32000 is Llama 2's; "stories" and "toy" have their own.
static const struct {
    const char *name;
    tr_model_config_t config;
} shapes[] = {
    {"260K",
     {.vocabulary = 512,
      .hidden = 64,
      .intermediate = 172,
      .layers = 5,
      .heads = 8,
      .key_value_heads = 4,
      .head_dim = 8,
      .max_positions = 1024,
      .tied_embeddings = true}},
    {"15M",
     {.vocabulary = 32000,
      .hidden = 288,
      .intermediate = 768,
      .layers = 6,
      .heads = 6,
      .key_value_heads = 6,
      .head_dim = 48,
      .max_positions = 1024,
      .tied_embeddings = true}},
    {"110M",
     {.vocabulary = 32000,
      .hidden = 768,
      .intermediate = 2048,
      .layers = 12,
      .heads = 12,
      .key_value_heads = 12,
      .head_dim = 64,
      .max_positions = 1024,
      .tied_embeddings = true}},
    {"0.5B", // 489 M parameters
     {.vocabulary = 32000,
      .hidden = 1280,
      .intermediate = 3840,
      .layers = 24,
      .heads = 20,
      .key_value_heads = 4,
      .head_dim = 64,
      .max_positions = 2048,
      .tied_embeddings = true}},
    {"1.5B", // 1515 M
     {.vocabulary = 32000,
      .hidden = 2048,
      .intermediate = 7680,
      .layers = 24,
      .heads = 16,
      .key_value_heads = 4,
      .head_dim = 128,
      .max_positions = 2048}},
    {"7B", // 6738 M: Llama 2's
     {.vocabulary = 32000,
      .hidden = 4096,
      .intermediate = 11008,
      .layers = 32,
      .heads = 32,
      .key_value_heads = 32,
      .head_dim = 128,
      .max_positions = 2048}},
    // its tokenizer has 1024 tokens
    {"stories",
     {.vocabulary = 1024,
      .hidden = 64,
      .intermediate = 172,
      .layers = 5,
      .heads = 8,
      .key_value_heads = 4,
      .head_dim = 8,
      .max_positions = 1024,
      .tied_embeddings = true}},
    {"toy",
     {.vocabulary = 96,
      .hidden = 32,
      .intermediate = 48,
      .layers = 2,
      .heads = 2,
      .key_value_heads = 1,
      .head_dim = 16,
      .max_positions = 64,
      .tied_embeddings = true}},
};

tr_status bench_shape(tr_model_config_t *config, const char *name, tr_error_t *err)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            *config = shapes[i].config;
            // what all shapes share
            config->rms_epsilon = 1e-5f;
            config->rope_theta = 10000.0;
            config->bos = 1;
            config->eos[0] = 2;
            config->eos_count = 1;
            config->pad = -1;
            return TR_OK;
        }
    }
    return tr_fail(err, TR_ERR_ARGUMENT, "no shape '%s'", name);
}
