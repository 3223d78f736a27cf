/// troupe-controller: directs a run, step by step, and keeps its directory. Parses the command line
/// and handles signals; the run itself is run.c.
#include <argp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "controller/run.h"
#include "proto/endpoint.h"

/// How often a signal came.
static volatile sig_atomic_t stop;

typedef struct options {
    const char *directory;
    bool resume;
    tr_log_level_t level;
} options_t;

/// The first signal asks the run to end after its step, the second at its next poll. A second
/// SIGINT ends the process at once.
static void take_signal(int number)
{
    // _Exit: nothing but the flag is safe to touch in a signal handler.
    if (stop && number == SIGINT) {
        _Exit(130);
    }
    stop = stop ? 2 : 1;
}

/// Reads one option or argument for argp.
static error_t take_option(int key, char *value, struct argp_state *state)
{
    options_t *options = state->input;
    switch (key) {
    case 'r': options->resume = true; return 0;
    case 'l':
        if (!tr_log_level_parse(&options->level, value)) {
            argp_error(state, "--log-level: expected debug, info, warn or error, found '%s'",
                       value);
        }
        return 0;
    // The run directory; argp_error prints the usage and ends with code 64.
    case ARGP_KEY_ARG:
        if (options->directory != NULL) {
            argp_error(state, "expected one run directory, found '%s' too", value);
        }
        options->directory = value;
        return 0;
    case ARGP_KEY_END:
        if (options->directory == NULL) {
            argp_error(state, "no run directory was given");
        }
        return 0;
    // argp takes --help and --version itself.
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"resume", 'r', 0, 0, "Go on from the last checkpoint", 0},
        {"log-level", 'l', "LEVEL", 0, "debug, info, warn or error", 0},
        {0},
    };
    const struct argp parser = {.options = table,
                                .parser = take_option,
                                .args_doc = "RUN_DIRECTORY",
                                .doc = "directs a Troupe run; `troupe run` starts it"};
    options_t options = {.level = TR_LOG_INFO};
    // The option wins over the environment, by which the supervisor tells all processes.
    const char *level = getenv("TROUPE_LOG_LEVEL");
    if (level != NULL) {
        tr_log_level_parse(&options.level, level); // an unknown word leaves the default
    }
    tr_error_t err = {0};
    argp_program_version = "troupe " TROUPE_VERSION;
    // EX_USAGE of sysexits.h.
    argp_err_exit_status = 64;
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    // Options before anything is opened: a wrong command line leaves no trace.
    tr_log_init("controller", options.level);
    // Turns off CZMQ's signal handling, so it comes before the handlers below.
    tr_wire_init();
    // Without SA_RESTART: a signal ends the wait of a poll.
    const struct sigaction action = {.sa_handler = take_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    // Progress that nobody reads any more is lost, not the run.
    signal(SIGPIPE, SIG_IGN);
    // From here on failures are sentences in err, and the exit code is their status.
    tr_status status = controller_run(options.directory, options.resume, &stop, &err);
    if (status != TR_OK) {
        // The log has the details; the supervisor shows this sentence.
        fprintf(stderr, "troupe-controller: %s\n", err.text);
    }
    return tr_status_exit_code(status);
}
