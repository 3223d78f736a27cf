// The `troupe` command: chooses a subcommand by the first word; each is a file command_NAME.c.
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deploy/command.h"

/// argv[0] of a subcommand is "troupe NAME".
typedef struct subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
} subcommand_t;

/// A new command is a row here, a line below, and its file.
static const subcommand_t subcommands[] = {
    {"run", command_run},           {"resume", command_resume},     {"check", command_check},
    {"status", command_status},     {"generate", command_generate}, {"sample", command_sample},
    {"logprobs", command_logprobs}, {"keys", command_keys},         {"devices", command_devices},
    {"schema", command_schema},     {"tokenize", command_tokenize}, {"render", command_render},
    {"data", command_data},         {"merge", command_merge},       {"judge", command_judge},
};

/// argp prints what follows \v after the options.
static const char purpose[] =
    "Align a language model with reinforcement learning from human feedback.\n"
    "\n"
    "Commands:\n"
    "  run RECIPE [KEY=VALUE ...]    start the run that a recipe describes\n"
    "  resume RUN_DIR [KEY=VALUE...] continue a run that was stopped, or extend it\n"
    "  check RECIPE [KEY=VALUE ...]  report all mistakes of a recipe; what it would run\n"
    "  status RUN_DIR                what a run is doing: its step, workers and queues\n"
    "  generate --model DIR ...      generate from a prompt\n"
    "  sample --model DIR ...        generate from many prompts and score: pairs to train on\n"
    "  judge ENTRY                   try a judge without a run: its scores, and hostile texts\n"
    "  logprobs --model DIR ...      how likely a response is, token by token\n"
    "  merge --model DIR ... OUT     a model with an adapter as one model\n"
    "  tokenize --model DIR [FILE]   texts to token ids, and back\n"
    "  render --model DIR FILE...    what the conversations of data files become\n"
    "  data FILE...                  columns and lengths of data files; which rows are bad\n"
    "  schema                        the JSON Schema of recipes, for editors\n"
    "  devices                       what a role's `device` may be on this machine\n"
    "  keys DIR                      make keys for runs across machines\n"
    "\n"
    "Options:\v"
    "`troupe COMMAND --help' says what a command takes. A failure exits with another code than 0 "
    "and one sentence last "
    "on standard error.";

typedef struct choice {
    const subcommand_t *subcommand;
    int at; ///< its index in argv
} choice_t;

/// The first word chooses; what follows is the subcommand's to parse.
static error_t take_option(int key, char *value, struct argp_state *state)
{
    choice_t *choice = state->input;
    // argp prints the usage after this sentence
    if (key == ARGP_KEY_NO_ARGS) {
        argp_error(state, "a command is missing");
    }
    if (key != ARGP_KEY_ARG) {
        return ARGP_ERR_UNKNOWN;
    }
    for (size_t i = 0; i < sizeof subcommands / sizeof *subcommands; i++) {
        if (strcmp(value, subcommands[i].name) == 0) {
            *choice = (choice_t){&subcommands[i], state->next - 1};
            // ends argp's loop: the rest belongs to the subcommand
            state->next = state->argc;
            return 0;
        }
    }
    argp_error(state, "unknown command '%s'", value);
    return 0;
}

/// ARGP_IN_ORDER: options behind the command's name are the command's.
int main(int argc, char **argv)
{
    const struct argp parser = {
        .parser = take_option, .args_doc = "COMMAND [ARGUMENT ...]", .doc = purpose};
    choice_t choice = {0};
    // --version belongs to this parser; subcommands inherit the variable.
    argp_program_version = "troupe " TROUPE_VERSION;
    argp_parse(&parser, argc, argv, ARGP_IN_ORDER, NULL, &choice);
    // argp prints argv[0] in usage and in errors
    char *name = tr_format("troupe %s", choice.subcommand->name);
    // The subcommand's own command line begins with its name, where argv[0] would be.
    char **rest = argv + choice.at;
    rest[0] = name;
    int code = choice.subcommand->run(argc - choice.at, rest);
    free(name);
    // a full disk must not look like a success; a reader that left, or never was, wants no more
    if (fclose(stdout) != 0 && errno != EPIPE && errno != EBADF && code == 0) {
        fprintf(stderr, "cannot write all of standard output: %s\n", strerror(errno));
        code = tr_status_exit_code(TR_ERR_IO);
    }
    return code;
}
