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
#include <unistd.h>

#include "common/base/device_name.h"
#include "common/base/file.h"
#include "common/collective/collective.h"

static const char MPIRUN[] = "mpirun";

enum { WORDS_LIMIT = 8 }; ///< of a command line of our own programs, with the NULL

/// What all processes of the group have in common.
typedef struct setting {
    process_group_t *processes;
    const char *programs;
    const char *keys; ///< NULL: none
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

// One process

static char **copy_words(const char *const *words, size_t count)
{
    char **copy = tr_calloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        copy[i] = tr_strdup(words[i]);
    }
    return copy;
}

/// What a worker reads (proto/service.h). A name without a value is removed, so that none leaks in
/// from outside.
static char **environment_of(const setting_t *setting, const char *name, const char *group)
{
    char **environment = tr_calloc(7, sizeof *environment);
    environment[0] = tr_format("TROUPE_NAME=%s", name);
    environment[1] = tr_format("TROUPE_GROUP=%s", group);
    environment[2] = setting->keys != NULL ? tr_format("TROUPE_KEYS=%s", setting->keys)
                                           : tr_strdup("TROUPE_KEYS");
    // threads that wait must not spin: processes of a run share the processors
    environment[3] = tr_strdup("OMP_WAIT_POLICY=passive");
    environment[4] = tr_format("TROUPE_LOG_LEVEL=%s", tr_log_level_names[setting->level]);
    environment[5] = tr_strdup("TROUPE_ENDPOINT"); // the supervisor sets it when it is known
    return environment;
}

/// Takes name and argv.
static void add(const setting_t *setting, char *name, const char *group, char **argv)
{
    process_group_t *processes = setting->processes;
    processes->workers =
        tr_realloc(processes->workers, (processes->count + 1) * sizeof *processes->workers);
    processes->workers[processes->count++] = (supervisor_process_t){
        .name = name,
        .argv = argv,
        .environment = environment_of(setting, name, group),
    };
}

/// argv of one of our programs: program and options, a list that ends with NULL.
static char **our_program(const setting_t *setting, const char *program, const char *const *options)
{
    char *path = tr_format("%s/%s", setting->programs, program);
    const char *words[WORDS_LIMIT] = {path};
    size_t count = 1;
    // count begins with the path, so options are one behind
    while (options != NULL && options[count - 1] != NULL) {
        TR_ASSERT(count < WORDS_LIMIT, "more than %d options", WORDS_LIMIT);
        words[count] = options[count - 1];
        count++;
    }
    char **argv = copy_words(words, count);
    free(path);
    return argv;
}

/// A program of ours without options.
static void add_ours(const setting_t *setting, const char *name, const char *group,
                     const char *program)
{
    add(setting, tr_strdup(name), group, our_program(setting, program, NULL));
}

/// What Open MPI (4 reads OMPI, 5 PRTE) is told on one machine: the ranks may be more than the
/// processors, share them as any processes do, and run as root where the run does; it says nothing
/// when one of them ends.
static void add_mpi_settings(supervisor_process_t *process)
{
    static const char *const settings[] = {
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
    size_t count = sizeof settings / sizeof settings[0], first = 0;
    // appended to what environment_of made
    while (process->environment[first] != NULL) {
        first++;
    }
    // the list ends with NULL, which moves to the new end
    process->environment =
        tr_realloc(process->environment, (first + count + 1) * sizeof *process->environment);
    for (size_t i = 0; i < count; i++) {
        process->environment[first + i] = tr_strdup(settings[i]);
    }
    process->environment[first + count] = NULL;
}

/// What the recipe says of the processes of a role that learns.
typedef struct learner {
    const char *role;
    uint64_t ranks;
    bool gpus; ///< whether they compute on such
} learner_t;

static learner_t actor_of(const tr_recipe_t *recipe)
{
    const tr_recipe_learner_t *actor = &recipe->roles.actor;
    return (learner_t){"actor", actor->ranks, tr_device_is_gpu(actor->device.items[0])};
}

static learner_t critic_of(const tr_recipe_t *recipe)
{
    const tr_recipe_learner_t *critic = &recipe->roles.critic;
    return (learner_t){"critic", critic->ranks, tr_device_is_gpu(critic->device.items[0])};
}

/// A learner of one rank is a plain process; of several, mpirun, which is one process to the
/// supervisor.
static void add_learner(const setting_t *setting, learner_t learner)
{
    const char *role = learner.role;
    const uint64_t ranks = learner.ranks;
    char *program = tr_format("%s/troupe-%s", setting->programs, role);
    char *number = tr_format("%llu", (unsigned long long)ranks);
    // one rank needs no MPI at all
    const char *const alone[] = {program};
    // --ranks tells the program that MPI has started it, --gpus that NCCL is needed
    const char *const together[] = {MPIRUN, "-n", number, program, "--ranks", number, "--gpus"};
    size_t words = sizeof together / sizeof together[0] - (learner.gpus ? 0 : 1);
    add(setting, tr_strdup(role), role,
        ranks > 1 ? copy_words(together, words) : copy_words(alone, 1));
    if (ranks > 1) {
        add_mpi_settings(&setting->processes->workers[setting->processes->count - 1]);
    }
    free(number);
    free(program);
}

// The processes of a recipe

/// Workers of a judge: the user's program, or troupe-reward in the judge's group.
static void add_judge(const setting_t *setting, const tr_judge_t *judge)
{
    uint64_t workers = tr_judge_workers(judge);
    for (uint64_t i = 0; i < workers; i++) {
        const tr_exec_judge_t *own = judge->kind == &tr_judge_exec ? judge->options : NULL;
        // argv of `exec` is the recipe's; all other kinds are troupe-reward's
        char **argv = own != NULL
                          ? copy_words((const char *const *)own->exec.items, own->exec.count)
                          : our_program(setting, "troupe-reward", NULL);
        add(setting, tr_format("%s-%llu", judge->name, (unsigned long long)i), judge->name, argv);
    }
}

/// External rollouts have the highest numbers: the names of those that are started here begin with
/// 0.
static void add_generators(const setting_t *setting, const tr_recipe_t *recipe)
{
    for (uint64_t i = 0; i < recipe->roles.rollout.workers - recipe->roles.rollout.external; i++) {
        char *name = tr_format("rollout-%llu", (unsigned long long)i);
        add_ours(setting, name, "rollout", "troupe-rollout");
        free(name);
    }
    for (size_t i = 0; i < recipe->roles.reward.count; i++) {
        add_judge(setting, &recipe->roles.reward.items[i]);
    }
}

/// A judge called "rollout" with a worker 0 would be "rollout-0" too.
static tr_status check_names(const process_group_t *group, tr_error_t *err)
{
    for (size_t i = 0; i < group->count; i++) {
        // quadratic, over some hundred processes
        for (size_t j = 0; j < i; j++) {
            if (strcmp(group->workers[i].name, group->workers[j].name) == 0) {
                return tr_fail(err, TR_ERR_ARGUMENT,
                               "two workers would be called '%s': give the judge another name",
                               group->workers[i].name);
            }
        }
    }
    return TR_OK;
}

static tr_status check_program(const supervisor_process_t *process, const char *programs,
                               tr_error_t *err)
{
    const char *path = process->argv[0];
    // only ours are looked for: a judge's program was checked with the recipe
    if (strncmp(path, programs, strlen(programs)) == 0 && access(path, X_OK) != 0) {
        return tr_fail(err, TR_ERR_IO,
                       "cannot run '%s': %s (build it: cmake --build build --target programs)",
                       path, strerror(errno));
    }
    return TR_OK;
}

/// Whether execvp would find it.
static bool in_path(const char *program)
{
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
        TR_TRY(check_ranks(actor_of(recipe), programs, err));
    }
    return tr_algorithm_has_critic(tr_recipe_algorithm(recipe))
               ? check_ranks(critic_of(recipe), programs, err)
               : TR_OK;
}

/// The plan of a recipe, with every process that its algorithm needs.
static void fill(const setting_t *setting, const tr_recipe_t *recipe,
                 const char *const *controller_options)
{
    process_group_t *group = setting->processes;
    group->leader.name = tr_strdup("controller");
    group->leader.argv = our_program(setting, "troupe-controller", controller_options);
    group->leader.environment = environment_of(setting, "controller", "controller");
    // the same program as the actor, in another role
    static const char *const as_reference[] = {"--role", "reference", NULL};
    // the order here is the order of starting; it changes nothing but the logs
    if (tr_algorithm_learns(tr_recipe_algorithm(recipe))) {
        add_learner(setting, actor_of(recipe));
    }
    if (recipe->roles.reference.separate && tr_recipe_reads_reference(recipe)) {
        add(setting, tr_strdup("reference"), "reference",
            our_program(setting, "troupe-actor", as_reference));
    }
    if (tr_algorithm_has_critic(tr_recipe_algorithm(recipe))) {
        add_learner(setting, critic_of(recipe));
    }
    if (tr_algorithm_generates(tr_recipe_algorithm(recipe))) {
        add_generators(setting, recipe);
    }
}

/// Also the leader's: a build may be incomplete.
static tr_status check_programs(const process_group_t *group, const char *programs, tr_error_t *err)
{
    TR_TRY(check_program(&group->leader, programs, err));
    for (size_t i = 0; i < group->count; i++) {
        TR_TRY(check_program(&group->workers[i], programs, err));
    }
    return TR_OK;
}

tr_status process_group_init(process_group_t *group, const tr_recipe_t *recipe,
                             const char *run_directory, bool resume, tr_error_t *err)
{
    char *programs = NULL;
    const char *const first[] = {run_directory, NULL};
    const char *const again[] = {"--resume", run_directory, NULL};
    *group = (process_group_t){0};
    TR_TRY(find_programs(&programs, err));
    // on a failure the caller releases what was filled
    const setting_t setting = {group, programs, recipe->network.keys,
                               (tr_log_level_t)recipe->log_level};
    fill(&setting, recipe, resume ? again : first);
    tr_status status = check_names(group, err);
    if (status == TR_OK) {
        status = check_programs(group, programs, err);
    }
    if (status == TR_OK) {
        status = check_all_ranks(recipe, programs, err);
    }
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

static void release_process(supervisor_process_t *process)
{
    free(process->name);
    release_words(&process->argv);
    release_words(&process->environment);
}

void process_group_release(process_group_t *group)
{
    release_process(&group->leader);
    for (size_t i = 0; i < group->count; i++) {
        release_process(&group->workers[i]);
    }
    free(group->workers);
    *group = (process_group_t){0};
}

/// What the environment of a worker must say that somebody else starts.
static void print_way(FILE *out, const tr_recipe_t *recipe, const char *endpoint)
{
    const char *keys = recipe->network.keys;
    fprintf(out, "TROUPE_ENDPOINT=%s%s%s", endpoint, keys != NULL ? " TROUPE_KEYS=" : "",
            keys != NULL ? keys : "");
}

/// Commands to copy: what the run does not start itself.
void process_group_print_external(FILE *out, const tr_recipe_t *recipe, const char *endpoint)
{
    bool judged = tr_algorithm_generates(tr_recipe_algorithm(recipe));
    for (size_t i = 0; judged && i < recipe->roles.reward.count; i++) {
        const tr_judge_t *judge = &recipe->roles.reward.items[i];
        if (!judge->kind->started) {
            fprintf(out, "judge '%s' is to be started by hand: ", judge->name);
            print_way(out, recipe, endpoint);
            fprintf(out, " TROUPE_GROUP=%s YOUR_PROGRAM\n", tr_judge_group(judge));
        }
    }
    const tr_recipe_rollout_t *rollout = &recipe->roles.rollout;
    for (uint64_t i = rollout->workers - rollout->external; judged && i < rollout->workers; i++) {
        fprintf(out, "rollout-%llu is to be started by hand: ", (unsigned long long)i);
        print_way(out, recipe, endpoint);
        fprintf(out, " troupe-rollout --name rollout-%llu\n", (unsigned long long)i);
    }
    fflush(out);
}

// The run

/// A left-over file would let `troupe status` wait for a controller that is gone.
void process_group_forget_endpoint(const char *run_directory)
{
    char *path = tr_format("%s/endpoint", run_directory);
    unlink(path);
    free(path);
}

/// Called by the supervisor once the controller listens: before that there is no endpoint to print.
static void announce_external(void *context, const char *endpoint)
{
    process_group_print_external(stdout, context, endpoint);
}

tr_status process_group_run(int *exit_code, const process_group_t *group, tr_recipe_t *recipe,
                            const char *run_directory, tr_error_t *err)
{
    supervisor_plan_t plan;
    // times are the supervisor's defaults
    supervisor_plan_init(&plan);
    plan.leader = group->leader;
    plan.workers = group->workers;
    plan.worker_count = group->count;
    plan.directory = run_directory;
    plan.on_ready = announce_external;
    plan.context = recipe;
    tr_status status = supervisor_run(exit_code, &plan, err);
    process_group_forget_endpoint(run_directory); // of a controller that was killed
    return status;
}
