// From a recipe to processes: which programs, with which command lines and environments, and what
// they need to start.
//
// Apart from supervisor.c, which knows no recipe. Nothing is started here before process_group_run;
// what can be missing (programs, MPI, NCCL) is checked when the group is made, so that the sentence
// comes at once. Next: supervisor.h.
#include "deploy/process_group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/device_name.h"
#include "common/base/file.h"
#include "common/collective/collective.h"
#include "controller/role_config.h"
#include "controller/rundir.h"
#include "proto/endpoint.h"
#include "proto/weights/weights.h"

static const char MPIRUN[] = "mpirun";
enum { TOKEN_BYTES = 33 }; ///< of a token in hexadecimal

/// What all processes of the group have in common.
typedef struct setting {
    supervisor_plan_t *plan;
    const char *programs;
    const char *keys; ///< NULL: none
    const char *token;
    tr_log_level_t level;
} setting_t;

/// The directory where this program lies; the daemons lie beside it. Owned by the caller (free).
static tr_status find_programs(char **programs, tr_error_t *err)
{
    *programs = tr_directory_of_program();
    if (*programs == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot tell where the troupe command lies: %s",
                       strerror(errno));
    }
    return TR_OK;
}

/// Drawn anew for each start of the processes, so that nobody else's worker is taken for one of
/// them.
static void draw_token(char token[TOKEN_BYTES])
{
    unsigned char bits[(TOKEN_BYTES - 1) / 2];
    // Never short of so few bytes, once the system has started.
    TR_ASSERT(getrandom(bits, sizeof bits, 0) == (ssize_t)sizeof bits, "no random bytes");
    for (size_t i = 0; i < sizeof bits; i++) {
        snprintf(token + 2 * i, 3, "%02x", bits[i]);
    }
}

// One process

/// Words come from the recipe, from constants and from texts that are freed soon; a plan owns its
/// own.
static char **copy_words(const char *const *words, size_t count)
{
    char **copy = tr_calloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        copy[i] = tr_strdup(words[i]);
    }
    return copy;
}

/// What Open MPI (4 reads OMPI, 5 PRTE) is told on one machine: the ranks may be more than the
/// processors, share them as any processes do, and run as root where the run does; it says nothing
/// when one of them ends. A version ignores the other's names, so all are always set.
static const char *const mpi_settings[] = {
    "OMPI_ALLOW_RUN_AS_ROOT=1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
    "OMPI_MCA_rmaps_base_oversubscribe=1",
    "OMPI_MCA_hwloc_base_binding_policy=none",
    "OMPI_MCA_orte_execute_quiet=1",
    "PRTE_ALLOW_RUN_AS_ROOT=1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1",
    "PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy=none",
};
enum { MPI_SETTINGS = sizeof mpi_settings / sizeof mpi_settings[0], OWN_SETTINGS = 7 };

/// What a worker reads (proto/service.h), and mpirun where there are ranks. A name without a value
/// is removed, so that none leaks in from outside.
static char **environment_of(const setting_t *setting, const char *name, const char *group,
                             bool ranks)
{
    char **environment = tr_calloc(OWN_SETTINGS + MPI_SETTINGS + 1, sizeof *environment);
    environment[0] = tr_format("TROUPE_NAME=%s", name);
    environment[1] = tr_format("TROUPE_GROUP=%s", group);
    environment[2] = setting->keys != NULL ? tr_format("TROUPE_KEYS=%s", setting->keys)
                                           : tr_strdup("TROUPE_KEYS");
    // threads that wait must not spin: processes of a run share the processors
    environment[3] = tr_strdup("OMP_WAIT_POLICY=passive");
    environment[4] = tr_format("TROUPE_LOG_LEVEL=%s", tr_log_level_names[setting->level]);
    environment[5] = tr_strdup("TROUPE_ENDPOINT"); // the supervisor sets it when it is known
    environment[6] = tr_format("TROUPE_TOKEN=%s", setting->token);
    for (size_t i = 0; ranks && i < MPI_SETTINGS; i++) {
        environment[OWN_SETTINGS + i] = tr_strdup(mpi_settings[i]);
    }
    return environment;
}

/// Takes name and argv. ranks: argv is mpirun's.
static void add(const setting_t *setting, char *name, const char *group, char **argv, bool ranks)
{
    supervisor_plan_t *plan = setting->plan;
    plan->workers = tr_realloc(plan->workers, (plan->worker_count + 1) * sizeof *plan->workers);
    plan->workers[plan->worker_count++] =
        (supervisor_process_t){.name = name,
                               .argv = argv,
                               .environment = environment_of(setting, name, group, ranks),
                               .group = group};
}

/// argv of one of our programs, with up to two words behind it; NULL: none.
static char **our_program(const setting_t *setting, const char *program, const char *first,
                          const char *second)
{
    char *path = tr_format("%s/%s", setting->programs, program);
    const char *const words[] = {path, first, second};
    char **argv = copy_words(words, 1 + (size_t)(first != NULL) + (size_t)(second != NULL));
    free(path);
    return argv;
}

/// What the recipe says of the processes of a role that learns.
typedef struct learner {
    const char *role;
    uint64_t ranks;
    bool gpus; ///< whether they compute on such
} learner_t;

/// All devices of a role are of one kind, so the first one tells.
static learner_t learner_of(const char *role, const tr_recipe_learner_t *learner)
{
    return (learner_t){role, learner->ranks, tr_device_is_gpu(learner->device.items[0])};
}

/// A learner of one rank is a plain process; of several, mpirun, which is one process to the
/// supervisor.
static void add_learner(const setting_t *setting, learner_t learner)
{
    char *program = tr_format("%s/troupe-%s", setting->programs, learner.role);
    char *ranks = tr_format("%llu", (unsigned long long)learner.ranks);
    // --ranks tells the program that MPI has started it, --gpus that NCCL is needed
    const char *const words[] = {MPIRUN, "-n", ranks, program, "--ranks", ranks, "--gpus"};
    bool several = learner.ranks > 1;
    // one rank needs no MPI at all: the program alone
    char **argv = several ? copy_words(words, learner.gpus ? 7 : 6) : copy_words(words + 3, 1);
    add(setting, tr_strdup(learner.role), learner.role, argv, several);
    free(ranks);
    free(program);
}

// The processes of a recipe

/// Workers of a judge: the user's program, or troupe-reward in the judge's group.
static void add_judge(const setting_t *setting, const tr_judge_t *judge)
{
    // 0 for one that is external.
    uint64_t workers = tr_judge_workers(judge);
    for (uint64_t i = 0; i < workers; i++) {
        const tr_exec_judge_t *own = judge->kind == &tr_judge_exec ? judge->options : NULL;
        // argv of `exec` is the recipe's; all other kinds are troupe-reward's
        char **argv = own != NULL
                          ? copy_words((const char *const *)own->exec.items, own->exec.count)
                          : our_program(setting, "troupe-reward", NULL, NULL);
        add(setting, tr_format("%s-%llu", judge->name, (unsigned long long)i), judge->name, argv,
            false);
    }
}

/// External rollouts have the highest numbers: the names of those that are started here begin with
/// 0.
static void add_generators(const setting_t *setting, const tr_recipe_t *recipe)
{
    for (uint64_t i = 0; i < recipe->roles.rollout.workers - recipe->roles.rollout.external; i++) {
        add(setting, tr_format("rollout-%llu", (unsigned long long)i), "rollout",
            our_program(setting, "troupe-rollout", NULL, NULL), false);
    }
    for (size_t i = 0; i < recipe->roles.reward.count; i++) {
        add_judge(setting, &recipe->roles.reward.items[i]);
    }
}

/// A judge called "rollout" with a worker 0 would be "rollout-0" too.
static tr_status check_names(const supervisor_plan_t *plan, tr_error_t *err)
{
    for (size_t i = 0; i < plan->worker_count; i++) {
        // quadratic, over some hundred processes
        for (size_t j = 0; j < i; j++) {
            if (strcmp(plan->workers[i].name, plan->workers[j].name) == 0) {
                return tr_fail(err, TR_ERR_ARGUMENT,
                               "two workers would be called '%s': give the judge another name",
                               plan->workers[i].name);
            }
        }
    }
    return TR_OK;
}

/// Whether execvp would find it.
static bool in_path(const char *program)
{
    // A copy, because strtok_r writes into it.
    char *path = tr_strdup(getenv("PATH") != NULL ? getenv("PATH") : ""), *state = NULL;
    bool found = false;
    for (char *folder = strtok_r(path, ":", &state); folder != NULL && !found;
         folder = strtok_r(NULL, ":", &state)) {
        char *file = tr_format("%s/%s", folder, program);
        found = access(file, X_OK) == 0;
        free(file);
    }
    free(path);
    return found;
}

/// Whether the module is there by which the ranks exchange data. library, package: what it is built
/// with.
static tr_status check_module(learner_t learner, const char *name, const char *library,
                              const char *package, const char *programs, tr_error_t *err)
{
    // modules lie beside the programs
    char *module = tr_collective_path(name, programs);
    tr_status status = TR_OK;
    if (access(module, R_OK) != 0) {
        status = tr_fail(err, TR_ERR_UNSUPPORTED,
                         "roles.%s.ranks: %llu%s needs %s, and this build has none: '%s' is not "
                         "there (install %s, then build again)",
                         learner.role, (unsigned long long)learner.ranks,
                         learner.gpus ? " on GPUs" : "", library, module, package);
    }
    free(module);
    return status;
}

/// What a role of several processes needs beside its program.
static tr_status check_ranks(learner_t learner, const char *programs, tr_error_t *err)
{
    if (learner.ranks == 1) {
        return TR_OK;
    }
    TR_TRY(check_module(learner, "mpi", "MPI", "libopenmpi-dev", programs, err));
    if (learner.gpus) {
        TR_TRY(check_module(learner, "nccl", "NCCL", "libnccl-dev", programs, err));
    }
    // mpirun itself is no part of our build.
    return in_path(MPIRUN) ? TR_OK
                           : tr_fail(err, TR_ERR_UNSUPPORTED,
                                     "roles.%s.ranks: %llu needs the program '%s', and it is "
                                     "nowhere in PATH (install openmpi-bin)",
                                     learner.role, (unsigned long long)learner.ranks, MPIRUN);
}

/// Of the roles that this recipe starts.
static tr_status check_all_ranks(const tr_recipe_t *recipe, const char *programs, tr_error_t *err)
{
    if (tr_algorithm_learns(tr_recipe_algorithm(recipe))) {
        TR_TRY(check_ranks(learner_of("actor", &recipe->roles.actor), programs, err));
    }
    return tr_algorithm_has_critic(tr_recipe_algorithm(recipe))
               ? check_ranks(learner_of("critic", &recipe->roles.critic), programs, err)
               : TR_OK;
}

/// The plan of a recipe, with every process that its algorithm needs.
static void fill(const setting_t *setting, const tr_recipe_t *recipe, bool resume)
{
    supervisor_plan_t *plan = setting->plan;
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    plan->leader = (supervisor_process_t){
        .name = tr_strdup("controller"),
        .argv = resume ? our_program(setting, "troupe-controller", "--resume", plan->directory)
                       : our_program(setting, "troupe-controller", plan->directory, NULL),
        // It reads keys and level as workers do; name and group mean nothing to it.
        .environment = environment_of(setting, "controller", "controller", false)};
    // the order here is the order of starting; it changes nothing but the logs
    if (tr_algorithm_learns(algorithm)) {
        add_learner(setting, learner_of("actor", &recipe->roles.actor));
    }
    if (recipe->roles.reference.separate && tr_recipe_reads_reference(recipe)) {
        // the same program as the actor, in another role
        add(setting, tr_strdup("reference"), "reference",
            our_program(setting, "troupe-actor", "--role", "reference"), false);
    }
    if (tr_algorithm_has_critic(algorithm)) {
        add_learner(setting, learner_of("critic", &recipe->roles.critic));
    }
    if (tr_algorithm_generates(algorithm)) {
        add_generators(setting, recipe);
    }
}

/// Also the leader's: a build may be incomplete.
static tr_status check_programs(const supervisor_plan_t *plan, const char *programs,
                                tr_error_t *err)
{
    for (size_t i = 0; i <= plan->worker_count; i++) {
        const char *path = i == 0 ? plan->leader.argv[0] : plan->workers[i - 1].argv[0];
        // only ours are looked for: a judge's program was checked with the recipe
        if (strncmp(path, programs, strlen(programs)) == 0 && access(path, X_OK) != 0) {
            return tr_fail(err, TR_ERR_IO,
                           "cannot run '%s': %s (build it: cmake --build build --target programs)",
                           path, strerror(errno));
        }
    }
    return TR_OK;
}

/// What the environment of a worker must say that somebody else starts.
static void print_way(const tr_recipe_t *recipe, const char *endpoint)
{
    const char *keys = recipe->network.keys;
    char *reachable = tr_endpoint_reachable(endpoint);
    printf("TROUPE_ENDPOINT=%s%s%s", reachable, keys != NULL ? " TROUPE_KEYS=" : "",
           keys != NULL ? keys : "");
    free(reachable);
}

/// How somebody starts the external judges and rollouts by hand, as commands to copy. Called by the
/// supervisor once the controller listens: before that there is no endpoint to print.
static void announce_external(void *context, const char *endpoint)
{
    const tr_recipe_t *recipe = context;
    bool judged = tr_algorithm_generates(tr_recipe_algorithm(recipe));
    for (size_t i = 0; judged && i < recipe->roles.reward.count; i++) {
        const tr_judge_t *judge = &recipe->roles.reward.items[i];
        if (!judge->kind->started) {
            printf("judge '%s' is to be started by hand: ", judge->name);
            print_way(recipe, endpoint);
            printf(" TROUPE_GROUP=%s YOUR_PROGRAM\n", tr_judge_group(judge));
        }
    }
    const tr_recipe_rollout_t *rollout = &recipe->roles.rollout;
    for (uint64_t i = rollout->workers - rollout->external; judged && i < rollout->workers; i++) {
        printf("rollout-%llu is to be started by hand: ", (unsigned long long)i);
        print_way(recipe, endpoint);
        printf(" troupe-rollout --name rollout-%llu\n", (unsigned long long)i);
    }
    fflush(stdout);
}

/// Everything that can be wrong is found here, in the order of who can mend it: the recipe, the
/// build, the machine.
tr_status process_group_init(supervisor_plan_t *plan, tr_recipe_t *recipe,
                             const char *run_directory, bool resume, tr_error_t *err)
{
    char *programs = NULL;
    tr_status status;
    supervisor_plan_init(plan);
    plan->directory = run_directory;
    // Times are the supervisor's defaults.
    plan->on_ready = announce_external;
    plan->context = recipe;
    TR_TRY(find_programs(&programs, err));
    char token[TOKEN_BYTES];
    draw_token(token);
    const setting_t setting = {plan, programs, recipe->network.keys, token,
                               (tr_log_level_t)recipe->log_level};
    fill(&setting, recipe, resume);
    // on a failure the caller releases what was filled
    TR_TRY_GOTO(check_names(plan, err), done);
    TR_TRY_GOTO(check_programs(plan, programs, err), done);
    status = check_all_ranks(recipe, programs, err);
done:
    free(programs);
    return status;
}

/// For argv and environment alike: lists that end with NULL.
static void release_words(char ***words)
{
    for (char **word = *words; word != NULL && *word != NULL; word++) {
        free(*word);
    }
    free(*words);
    *words = NULL;
}

/// Also of a process that was never filled.
static void release_process(supervisor_process_t *process)
{
    free(process->name);
    release_words(&process->argv);
    release_words(&process->environment);
}

/// Leaves an empty plan.
void process_group_release(supervisor_plan_t *plan)
{
    release_process(&plan->leader);
    for (size_t i = 0; i < plan->worker_count; i++) {
        release_process(&plan->workers[i]);
    }
    free(plan->workers);
    *plan = (supervisor_plan_t){0};
}

// The run

/// What processes that were killed leave behind. Opening the run removes the controller's lock,
/// socket and address, and a checkpoint that is not whole.
static void clean_up(const char *run_directory)
{
    controller_rundir_t *rundir;
    char segment[CONTROLLER_SEGMENT];
    char *path = realpath(run_directory, NULL);
    if (controller_rundir_open(&rundir, run_directory, NULL) == TR_OK) {
        controller_rundir_destroy(&rundir);
    }
    if (path != NULL) {
        controller_role_segment(segment, path);
        tr_weights_forget(segment);
    }
    free(path);
}

tr_status process_group_run(int *exit_code, const supervisor_plan_t *plan, tr_error_t *err)
{
    tr_status status = supervisor_run(exit_code, plan, err);
    clean_up(plan->directory);
    return status;
}
