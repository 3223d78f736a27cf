/// A trainer of several ranks against one of its own: run by tests/process/collective.sh as N
/// ranks, by
///
///     mpirun -n N common_model_ranks_trainer N DIRECTORY
///
/// exits 0 when all held on all ranks. Every kind of head, frozen parameters, every stage, chunks
/// without an output, fewer chunks than ranks, recomputed layers, evaluation, a disk that fails, a
/// checkpoint.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/trainer.h"

enum { COUNT = 11, RESPONSES = 83 };

static tr_collective_t *group;
static tr_backend_t *backend;
static tr_error_t err;

static const int32_t starts[COUNT + 1] = {0, 9, 12, 29, 35, 47, 49, 60, 61, 70, 75, 83};
static const int32_t prompts[COUNT] = {4, 1, 12, 6, 9, 2,
                                       3, 1, 4,  2, 5}; // sequences 3, 5 and 7 say nothing
static int32_t response_starts[COUNT + 1];
static int32_t ids[83];

static tr_sequences_t sequences(void)
{
    for (int32_t i = 0; i < 83; i++) {
        ids[i] = (i * 7 + 3) % 41;
    }
    for (size_t s = 0; s < COUNT; s++) {
        response_starts[s + 1] = response_starts[s] + starts[s + 1] - starts[s] - prompts[s];
    }
    return (tr_sequences_t){.count = COUNT,
                            .ids = ids,
                            .starts = starts,
                            .prompt_lengths = prompts,
                            .response_starts = response_starts};
}

static void expect(bool holds, const char *what, const char *kind, unsigned stage)
{
    if (!holds) {
        fprintf(stderr, "rank %zu of %zu: %s model, stage %u: %s (%s)\n", group->rank, group->size,
                kind, stage, what, err.text);
        group->ops->abort(group, 1);
    }
}

/// A loss that counts what it sees, in an order that shows in the last bits.
static tr_status loss(void *context, const tr_chunk_t *chunk, float *dout, tr_error_t *error)
{
    double *sum = context;
    (void)error;
    for (size_t i = 0; i < chunk->n; i++) {
        dout[i] = (chunk->out[i] + 0.25f) / (float)chunk->normalizer;
        *sum += (double)chunk->out[i] * (double)chunk->out[i] * 1.1;
    }
    return TR_OK;
}

static tr_train_pass_t pass_of(uint32_t step, bool evaluate)
{
    return (tr_train_pass_t){.epochs = 1,
                             .minibatches = 2,
                             .chunk = 1,
                             .seed = 5,
                             .step = step,
                             .temperature = 1.0f,
                             .learning_rate = 1e-2,
                             .evaluate = evaluate};
}

static double learn(tr_trainer_t *trainer, uint32_t step, bool evaluate, const char *kind,
                    unsigned stage)
{
    const tr_sequences_t all = sequences();
    const tr_train_pass_t pass = pass_of(step, evaluate);
    tr_train_pass_result_t result;
    double sum = 0.0;
    expect(tr_trainer_run_pass(trainer, &all, &pass, loss, &sum, &result, &err) == TR_OK,
           "the pass", kind, stage);
    return sum + result.norm_sum;
}

/// A kind of model.
typedef struct kind {
    const char *name;
    bool tied, scalar;
    bool part; // only some of its weights are trained
} kind_t;

enum { LAYERS = 3 };

/// The last layer and the norms below: of the other segments little or nothing is trained.
static bool trains(void *context, const tr_weight_t *weight)
{
    (void)context;
    return weight->segment == LAYERS || weight->kind == TR_WEIGHT_POST_NORM;
}

static tr_trainer_t *open_trainer(const char *directory, const kind_t *kind, unsigned stage)
{
    static const tr_selection_t part = {trains, NULL};
    static const tr_optimizer_options_t adamw = {
        .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 0.5};
    const tr_ranks_t ranks = {group, stage, TR_GRADIENT_SUM_TREE};
    tr_model_t *model = NULL;
    tr_trainer_t *trainer = NULL;
    const tr_model_options_t options = {
        .use = TR_MODEL_LEARNS,
        .collective = stage == 3 && group->size > 1 ? group : NULL,
        .trained = kind->part ? &part : NULL,
    };
    tr_model_config_t config;
    tr_status status = tr_model_config_load(&config, directory, &err);
    expect(status == TR_OK, "a shape", directory, stage);
    if (kind->scalar) {
        tr_model_config_make_scalar(&config);
    }
    status = tr_model_new_with(&model, &config, backend, &options, &err);
    expect(status == TR_OK && tr_model_load(model, directory, 1, &err) == TR_OK, "opening",
           directory, stage);
    tr_model_recompute(model, stage == 2);
    status = tr_trainer_new(&trainer, &model, &adamw, stage > 0 ? &ranks : NULL, &err);
    expect(status == TR_OK, "a trainer", directory, stage);
    return trainer;
}

static float *parameters_of(const tr_trainer_t *trainer, const char *kind, unsigned stage)
{
    const tr_model_t *model = tr_trainer_model(trainer);
    float *values = tr_calloc(tr_model_layout(model)->total, sizeof *values);
    expect(tr_trainer_read_everywhere(trainer, values, &err) == TR_OK, "reading", kind, stage);
    return values;
}

static float *values_of(tr_trainer_t *trainer, const char *kind, unsigned stage)
{
    const tr_sequences_t all = sequences();
    float *out = tr_calloc(RESPONSES, sizeof *out);
    expect(response_starts[COUNT] <= RESPONSES, "room", kind, stage);
    expect(tr_response_forward_all(tr_trainer_pass(trainer), &all, 2, 1.0f, out, NULL, &err) ==
               TR_OK,
           "forward_all", kind, stage);
    return out;
}

static void expect_same(float *got, float *want, size_t n, const char *what, const char *kind,
                        unsigned stage)
{
    expect(memcmp(got, want, n * sizeof *got) == 0, what, kind, stage);
    free(got);
    free(want);
}

static void equals_one_process(const char *directory, const kind_t *which, unsigned stage)
{
    const char *kind = which->name;
    tr_trainer_t *alone = open_trainer(directory, which, 0);
    tr_trainer_t *shared = open_trainer(directory, which, stage);
    size_t n = tr_model_layout(tr_trainer_model(alone))->total;
    char *checkpoint = tr_format("%s-of-stage-%u", directory, stage);
    expect(learn(alone, 1, false, kind, 0) == learn(shared, 1, false, kind, stage), "what was said",
           kind, stage);
    expect(learn(alone, 1, true, kind, 0) == learn(shared, 1, true, kind, stage),
           "what is measured", kind, stage);
    expect_same(parameters_of(shared, kind, stage), parameters_of(alone, kind, 0), n, "parameters",
                kind, stage);
    expect_same(values_of(shared, kind, stage), values_of(alone, kind, 0),
                (size_t)response_starts[COUNT], "outputs", kind, stage);

    const tr_save_options_t options = {.optimizer = true};
    expect(tr_trainer_save(shared, "/dev/null/nowhere", &options, &err) != TR_OK,
           "a disk that fails fails on all ranks", kind, stage);
    expect(tr_trainer_save(shared, checkpoint, &options, &err) == TR_OK, "saving", kind, stage);
    tr_trainer_destroy(&shared);
    shared = open_trainer(checkpoint, which, stage);
    expect(tr_trainer_restore(shared, checkpoint, &err) == TR_OK, "restoring", kind, stage);
    expect(learn(alone, 2, false, kind, 0) == learn(shared, 2, false, kind, stage),
           "what was said afterwards", kind, stage);
    expect_same(parameters_of(shared, kind, stage), parameters_of(alone, kind, 0), n,
                "parameters afterwards", kind, stage);
    free(checkpoint);
    tr_trainer_destroy(&shared);
    tr_trainer_destroy(&alone);
}

/// Rank 0 writes a model of the kind; parts of its segments are several blocks.
static void make_model(const char *directory, bool tied)
{
    const tr_model_config_t config = {.vocabulary = 300,
                                      .hidden = 38,
                                      .intermediate = 190,
                                      .layers = LAYERS,
                                      .heads = 4,
                                      .key_value_heads = 2,
                                      .head_dim = 10,
                                      .max_positions = 64,
                                      .rms_epsilon = 1e-6f,
                                      .rope_theta = 10000.0,
                                      .bos = 1,
                                      .pad = -1,
                                      .tied_embeddings = tied};
    tr_model_t *model = NULL;
    if (group->rank == 0) {
        expect(tr_model_new(&model, &config, backend, TR_MODEL_LEARNS, &err) == TR_OK, "a model",
               directory, 0);
        tr_model_randomize(model, 3);
        expect(tr_trainer_save_model(model, directory, &(tr_save_options_t){0}, &err) == TR_OK,
               "a directory", directory, 0);
        tr_model_destroy(&model);
    }
    group->ops->meet(group, 60.0);
}

int main(int argc, char **argv)
{
    static const kind_t kinds[] = {{"tied", true, false, false},
                                   {"untied", false, false, false},
                                   {"scalar", true, true, false},
                                   {"frozen", true, false, true}};
    size_t ranks = argc == 3 ? strtoul(argv[1], NULL, 10) : 1;
    if (tr_collective_open(&group, "mpi", TEST_BINARY_DIR, ranks, &err) != TR_OK ||
        tr_backend_open_cpu(&backend, TR_F32, 1, &err) != TR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char *directory = tr_format("%s/%s-%zu", argv[2], kinds[i].name, ranks);
        make_model(directory, kinds[i].tied);
        for (unsigned stage = 1; stage <= 3; stage++) {
            equals_one_process(directory, &kinds[i], stage);
        }
        free(directory);
    }
    if (group->rank == 0) {
        printf("%zu ranks: trainers equal one process\n", ranks);
    }
    tr_backend_close(&backend);
    tr_collective_close(&group);
    return 0;
}
