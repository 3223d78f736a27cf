// The common command line of the daemons, over the environment that `troupe` and PROTOCOL.md name.
//
// One parser for all workers, so that each main.c is short and the options mean the same
// everywhere. Joining the group of ranks follows from --ranks and --gpus, so it is here too.
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/service.h"

/// A variable that is set to nothing counts as absent.
static char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? tr_strdup(value) : NULL;
}

/// The environment is how the supervisor speaks to workers that it starts; PROTOCOL.md names the
/// variables, for judges in other languages too.
void tr_service_options_init(tr_service_options_t *options, tr_role_t role)
{
    *options = (tr_service_options_t){
        .role = role,
        .name = from_environment("TROUPE_NAME"),
        .group = from_environment("TROUPE_GROUP"),
        .endpoint = from_environment("TROUPE_ENDPOINT"),
        .token = from_environment("TROUPE_TOKEN"),
        .keys = from_environment("TROUPE_KEYS"),
        .ranks = 1,
        // One computes, one waits: the worker is never idle between two requests.
        .credit = 2,
        // Above the longest pause of service.c, so that a worker that only waits does not give up.
        .patience = 60.0,
        .level = TR_LOG_INFO,
    };
    const char *level = getenv("TROUPE_LOG_LEVEL");
    if (level != NULL) {
        tr_log_level_parse(&options->level, level); // an unknown word leaves the default
    }
}

/// What the command line and the environment gave was copied, so all of it is freed.
void tr_service_options_release(tr_service_options_t *options)
{
    free(options->name);
    free(options->group);
    free(options->endpoint);
    free(options->token);
    free(options->keys);
    free(options->config);
    // Leaves the group; every rank comes here.
    tr_collective_close(&options->collective);
    *options = (tr_service_options_t){0};
}

/// The command line replaces what the environment gave.
static void replace(char **field, const char *value)
{
    free(*field);
    *field = tr_strdup(value);
}

/// A whole number from `least` to 4096, for --threads and --ranks; a sentence begins with option.
static void parse_count(size_t *count, const char *option, unsigned long least, const char *text,
                        struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    // strtoul takes a minus sign and wraps around.
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < least ||
        value > 4096) {
        argp_error(state, "--%s: expected a number from %lu to 4096, found '%s'", option, least,
                   text);
    }
    *count = value;
}

/// argp_error prints the sentence and exits with code 64, so what follows it is never reached.
static error_t take_option(int key, char *value, struct argp_state *state)
{
    tr_service_options_t *options = state->input;
    switch (key) {
    case 'c': replace(&options->endpoint, value); return 0;
    case 'n': replace(&options->name, value); return 0;
    case 'g': replace(&options->group, value); return 0;
    case 'k': replace(&options->keys, value); return 0;
    case 'f': replace(&options->config, value); return 0;
    case 't': parse_count(&options->threads, "threads", 0, value, state); return 0;
    case 'R': parse_count(&options->ranks, "ranks", 1, value, state); return 0;
    case 'G': options->gpus = true; return 0;
    case 'r':
        if (!tr_role_parse(&options->role, value)) {
            argp_error(state,
                       "--role: expected actor, critic, reference, reward or rollout, found '%s'",
                       value);
        }
        return 0;
    case 'l':
        if (!tr_log_level_parse(&options->level, value)) {
            argp_error(state, "--log-level: expected debug, info, warn or error, found '%s'",
                       value);
        }
        return 0;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not understood (options only)", value); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/// Each daemon has the same options, also those that mean nothing to it, so that one command line
/// fits all.
void tr_service_parse(tr_service_options_t *options, int argc, char **argv, const char *purpose)
{
    static const struct argp_option table[] = {
        {"connect", 'c', "ADDRESS", 0, "Where the controller is (default: $TROUPE_ENDPOINT)", 0},
        {"name", 'n', "NAME", 0, "This worker's name, unique in the run (default: $TROUPE_NAME)",
         0},
        {"group", 'g', "GROUP", 0,
         "The pool of workers that it belongs to (default: $TROUPE_GROUP)", 0},
        {"keys", 'k', "DIRECTORY", 0, "CURVE keys made by 'troupe keys' (default: $TROUPE_KEYS)",
         0},
        {"config", 'f', "FILE", 0,
         "Settings of this daemon, a JSON object that is laid over what the controller says", 0},
        {"threads", 't', "N", 0, "Threads that compute; 0: one per processor", 0},
        {"ranks", 'R', "N", 0,
         "One of N processes that mpirun started to serve as one worker, where the daemon can", 0},
        {"gpus", 'G', NULL, 0, "The ranks compute on a GPU each, and communicate by NCCL", 0},
        {"role", 'r', "ROLE", 0, "Serve as this role, where the daemon can", 0},
        {"log-level", 'l', "LEVEL", 0, "debug, info, warn or error", 0},
        {0},
    };
    // The letters of the table are keys for take_option and short options as well.
    argp_program_version = "troupe " TROUPE_VERSION;
    const struct argp parser = {.options = table, .parser = take_option, .doc = purpose};
    argp_parse(&parser, argc, argv, 0, NULL, options);
    // After parsing, because --role decides the name.
    if (options->name == NULL) {
        options->name = tr_format("%s-%ld", tr_role_name(options->role), (long)getpid());
    }
    // Every line of the log begins with role and name: logs of a run are read together.
    char *who = tr_format("%s/%s", tr_role_name(options->role), options->name);
    tr_log_init(who, options->level);
    free(who);
}

/// Opens the module that MPI or NCCL is in. It is loaded at run time: a machine without it runs
/// single processes.
tr_status tr_service_join(tr_service_options_t *options, tr_error_t *err)
{
    // A single process needs neither module.
    if (options->ranks == 1) {
        return TR_OK;
    }
    // NCCL moves what is on GPUs, MPI what is in host memory; mpirun starts the ranks either way.
    const char *module = options->gpus ? "nccl" : "mpi";
    // All ranks meet here; it fails on each where their number is another than --ranks says.
    TR_TRY(tr_collective_open(&options->collective, module, NULL, options->ranks, err));
    size_t rank = options->collective->rank;
    // Rank 0 is the worker; the logs of the others tell them apart by a number.
    if (rank > 0) {
        char *who = tr_format("%s/%s.%zu", tr_role_name(options->role), options->name, rank);
        tr_log_init(who, options->level);
        free(who);
    }
    return TR_OK;
}
