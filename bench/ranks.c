// bench-ranks: how many tokens a second several ranks train on together, beside one process on all
// of their threads.
//
//     mpirun -n RANKS bench-ranks DIRECTORY RANKS THREADS BATCH LENGTH CHUNK TURNS
//
// THREADS: of all ranks together. A turn is a step of next-token training in each way, one after
// the other, so that whatever else runs on the machine falls on all of them; the first turn warms
// up. Rank 0 writes a line a way: its name, the median of tokens a second, and the median of the
// CPU milliseconds that a step took on all ranks together (a busy machine changes these less).
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "actor/training.h"
#include "common/base/clock.h"
#include "common/base/rng.h"

enum { WAYS = 7, MAX_TURNS = 99 };

/// Each stage of sharding, with each order of adding gradients.
static const struct {
    const char *name;
    unsigned zero_stage; // 0: one process
    tr_gradient_sum_t gradient_sum;
} ways[WAYS] = {
    {"one process", 0, TR_GRADIENT_SUM_TREE},
    {"stage 1, tree", 1, TR_GRADIENT_SUM_TREE},
    {"stage 1, all_reduce", 1, TR_GRADIENT_SUM_ALL_REDUCE},
    {"stage 2, tree", 2, TR_GRADIENT_SUM_TREE},
    {"stage 2, all_reduce", 2, TR_GRADIENT_SUM_ALL_REDUCE},
    {"stage 3, tree", 3, TR_GRADIENT_SUM_TREE},
    {"stage 3, all_reduce", 3, TR_GRADIENT_SUM_ALL_REDUCE},
};

/// All trainers live side by side, so that every turn finds them warm.
typedef struct contest {
    tr_collective_t *group;
    tr_backend_t *alone, *shared; // all threads, and a rank's
    tr_trainer_t *trainers[WAYS];
    double seconds[WAYS][MAX_TURNS];
    double work[WAYS][MAX_TURNS]; // seconds of processors, of all ranks
} contest_t;

static tr_status open_trainer(contest_t *contest, size_t way, const char *directory,
                              tr_error_t *err)
{
    static const tr_optimizer_options_t adamw = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    const tr_ranks_t ranks = {contest->group, ways[way].zero_stage, ways[way].gradient_sum};
    tr_model_t *model = NULL;
    if (ways[way].zero_stage == 0) {
        TR_TRY(tr_model_open(&model, directory, NULL, contest->alone, TR_MODEL_LEARNS, err));
        return tr_trainer_new(&contest->trainers[way], &model, &adamw, NULL, err);
    }
    const tr_model_options_t options = {// only with stage 3 is the model itself sharded
                                        .use = TR_MODEL_LEARNS,
                                        .collective =
                                            ways[way].zero_stage == 3 ? contest->group : NULL};
    tr_model_config_t config;
    TR_TRY(tr_model_config_load(&config, directory, err));
    TR_TRY(tr_model_new_with(&model, &config, contest->shared, &options, err));
    TR_TRY(tr_model_load(model, directory, 0, err));
    return tr_trainer_new(&contest->trainers[way], &model, &adamw, &ranks, err);
}

/// Random text in one piece of memory, which lives as long as the program.
static tr_sequences_t random_sequences(size_t batch, size_t length, size_t vocabulary)
{
    int32_t *ids = tr_calloc(batch * length + 3 * batch + 2, sizeof *ids);
    // three arrays in one block
    int32_t *starts = ids + batch * length, *response_starts = starts + batch + 1;
    int32_t *prompts = response_starts + batch + 1;
    for (size_t i = 0; i < batch * length; i++) {
        float uniform = tr_rng_uniform(1, TR_RNG_INIT, 0, 0, (uint32_t)i);
        ids[i] = 3 + (int32_t)(uniform * (float)(vocabulary - 3));
    }
    for (size_t s = 0; s < batch; s++) {
        prompts[s] = 1;
        starts[s + 1] = (int32_t)((s + 1) * length);
        response_starts[s + 1] = (int32_t)((s + 1) * (length - 1));
    }
    return (tr_sequences_t){.count = batch,
                            .ids = ids,
                            .starts = starts,
                            .prompt_lengths = prompts,
                            .response_starts = response_starts};
}

/// Seconds of processors that this process has had.
static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/// The sum over ranks.
static double add_up(tr_collective_t *group, double own)
{
    double all[64] = {0}, sum = 0.0;
    size_t starts[65];
    for (size_t r = 0; r <= group->size; r++) {
        // gather takes each rank's part as a range of bytes
        starts[r] = r * sizeof(double);
    }
    all[group->rank] = own;
    group->ops->gather(group, all, starts);
    for (size_t r = 0; r < group->size; r++) {
        sum += all[r];
    }
    return sum;
}

/// One step in one way; the others wait for rank 0 where it is alone.
static tr_status take_turn(contest_t *contest, size_t way, size_t turn,
                           const tr_sequences_t *sequences, const tr_train_pass_t *pass,
                           tr_error_t *err)
{
    tr_sft_options_t options;
    actor_sft_t sft = {.options = &options};
    tr_status status = TR_OK;
    tr_fields_init(&options, &tr_sft_fields);
    // a barrier before and after: a step lasts as long as its slowest rank
    contest->group->ops->meet(contest->group, 1e9);
    // wall time and CPU time of the same step
    double start = tr_clock_seconds(), worked = processor_seconds();
    if (ways[way].zero_stage > 0 || contest->group->rank == 0) {
        status = actor_learn_sft(&sft, contest->trainers[way], sequences, pass, err);
    }
    contest->group->ops->meet(contest->group, 1e9);
    contest->work[way][turn] = add_up(contest->group, processor_seconds() - worked);
    contest->seconds[way][turn] = tr_clock_seconds() - start;
    return status;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/// sizes: ranks, threads, batch, length, chunk, turns.
static tr_status run(contest_t *contest, const char *directory, const size_t *sizes,
                     tr_error_t *err)
{
    size_t ranks = sizes[0], threads = sizes[1], turns = sizes[5] + 1;
    TR_TRY(tr_collective_open(&contest->group, "mpi", NULL, ranks, err));
    // the ranks share the threads that the single process has
    TR_TRY(tr_backend_open_cpu(&contest->alone, TR_F32, threads, err));
    TR_TRY(
        tr_backend_open_cpu(&contest->shared, TR_F32, threads > ranks ? threads / ranks : 1, err));
    for (size_t way = 0; way < WAYS; way++) {
        TR_TRY(open_trainer(contest, way, directory, err));
    }
    size_t vocabulary = tr_model_config(tr_trainer_model(contest->trainers[0]))->vocabulary;
    const tr_sequences_t sequences = random_sequences(sizes[2], sizes[3], vocabulary);
    tr_train_pass_t pass = {.epochs = 1,
                            .minibatches = 1,
                            .chunk = sizes[4],
                            .seed = 1,
                            .temperature = 1.0f,
                            .learning_rate = 1e-4};
    for (size_t turn = 0; turn < turns && turn < MAX_TURNS; turn++) {
        // each way takes the same step, so all train on the same data
        pass.step++;
        for (size_t way = 0; way < WAYS; way++) {
            TR_TRY(take_turn(contest, way, turn, &sequences, &pass, err));
        }
    }
    // turn 0 warmed up: the medians leave it out
    for (size_t way = 0; way < WAYS && contest->group->rank == 0; way++) {
        qsort(contest->seconds[way] + 1, turns - 1, sizeof(double), compare);
        qsort(contest->work[way] + 1, turns - 1, sizeof(double), compare);
        size_t middle = 1 + (turns - 1) / 2;
        printf("%s: %.0f %.0f\n", ways[way].name,
               (double)(sizes[2] * sizes[3]) / contest->seconds[way][middle],
               1e3 * contest->work[way][middle]);
    }
    return TR_OK;
}

int main(int argc, char **argv)
{
    static contest_t contest;
    tr_error_t err = {0};
    size_t sizes[6] = {0};
    for (int i = 0; i < 6 && argc == 8; i++) {
        sizes[i] = strtoul(argv[i + 2], NULL, 10);
    }
    tr_status status = argc == 8 ? run(&contest, argv[1], sizes, &err)
                                 : tr_fail(&err, TR_ERR_ARGUMENT, "see the head of bench/ranks.c");
    for (size_t way = 0; way < WAYS; way++) {
        tr_trainer_destroy(&contest.trainers[way]);
    }
    tr_backend_close(&contest.shared);
    tr_backend_close(&contest.alone);
    tr_collective_close(&contest.group);
    if (status != TR_OK) {
        fprintf(stderr, "%s\n", err.text);
    }
    return tr_status_exit_code(status);
}
