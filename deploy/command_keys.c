// `troupe keys`: makes the CURVE keys that let workers on other machines join a run.
//
// Making them is proto/endpoint.h's; this file explains what to copy where, since that is what goes
// wrong.
#include <stdio.h>

#include "deploy/command.h"
#include "proto/endpoint.h"

typedef struct arguments {
    const char *directory;
    const char *add;
} arguments_t;

/// One directory, and --add for one more certificate.
static error_t take_option(int key, char *value, struct argp_state *state)
{
    arguments_t *arguments = state->input;
    switch (key) {
    case 'a': arguments->add = value; return 0;
    case ARGP_KEY_ARG:
        if (arguments->directory != NULL) {
            argp_error(state, "'%s' is one argument too many", value);
        }
        arguments->directory = value;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "the directory of the keys is missing"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/// What goes where; the controller's secret stays.
static void say_made(const char *directory)
{
    printf("made keys for a controller and its workers in '%s'\n"
           "  in the recipe            network: {bind: \"tcp://ADDRESS:PORT\", keys: %s}\n"
           "  on each other machine    copy worker.cert_secret and controller.cert of '%s' into a "
           "directory there, and\n"
           "                           start the worker with --connect tcp://ADDRESS:PORT --keys "
           "THAT_DIRECTORY\n"
           "  one more certificate     troupe keys %s --add NAME\n"
           "controller.cert_secret never leaves this machine.\n",
           directory, directory, directory, directory);
}

static void say_added(const char *directory, const char *name)
{
    printf("made the certificate '%s/%s.cert_secret' and let it in ('%s/authorised')\n"
           "  on the other machine     copy it there as worker.cert_secret, with controller.cert "
           "beside it, and start the\n"
           "                           worker with --keys THAT_DIRECTORY\n"
           "  to shut it out again     remove '%s/authorised/%s.cert'\n",
           directory, name, directory, directory, name);
}

int command_keys(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"add", 'a', "NAME", 0, "One more worker certificate for keys that are there", 0},
        {0},
    };
    const struct argp parser = {
        .options = table,
        .parser = take_option,
        .args_doc = "DIR",
        .doc = "Make the keys that a run needs when its workers are on other machines."};
    arguments_t arguments = {0};
    tr_error_t err = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    // CZMQ must be initialised before certificates are made
    tr_wire_init();
    tr_status status = arguments.add != NULL ? tr_keys_add(arguments.directory, arguments.add, &err)
                                             : tr_keys_make(arguments.directory, &err);
    if (status == TR_OK && arguments.add != NULL) {
        say_added(arguments.directory, arguments.add);
    } else if (status == TR_OK) {
        say_made(arguments.directory);
    }
    return command_exit(status, &err);
}
