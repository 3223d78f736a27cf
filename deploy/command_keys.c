// `troupe keys`: makes the CURVE keys that let workers on other machines join a run.
//
// Making them is proto/endpoint.h's; this file explains what to copy where, since that is what goes
// wrong.
#include <stdio.h>

#include "deploy/command.h"
#include "proto/endpoint.h"

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

/// How one machine gets in, and how it is shut out again.
static void say_added(const char *directory, const char *name)
{
    printf("made the certificate '%s/%s.cert_secret' and let it in ('%s/authorised')\n"
           "  on the other machine     copy it there as worker.cert_secret, with controller.cert "
           "beside it, and start the\n"
           "                           worker with --keys THAT_DIRECTORY\n"
           "  to shut it out again     remove '%s/authorised/%s.cert'\n",
           directory, name, directory, directory, name);
}

/// New keys, or with --add one more certificate beside them.
int command_keys(int argc, char **argv)
{
    // One certificate may serve all workers; one each allows to shut out a single machine.
    static const struct argp_option table[] = {
        {"add", 'a', "NAME", 0, "One more worker certificate for keys that are there", 0},
        {0},
    };
    command_line_t line = {
        .options = table,
        .words_doc = "DIR",
        .doc = "Make the keys that a run needs when its workers are on other machines.",
        .missing = "the directory of the keys is missing",
        .most = 1};
    tr_error_t err = {0};
    command_parse(&line, argc, argv);
    const char *directory = line.words[0], *added = line.values['a'];
    // CZMQ must be initialised before certificates are made
    tr_wire_init();
    tr_status status =
        added != NULL ? tr_keys_add(directory, added, &err) : tr_keys_make(directory, &err);
    if (status == TR_OK && added != NULL) {
        say_added(directory, added);
    } else if (status == TR_OK) {
        say_made(directory);
    }
    return tr_status_report(status, &err);
}
