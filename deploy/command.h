/// What the subcommands of `troupe` share. Each is one file, command_NAME.c, with one entry.
///
/// An entry gets its own command line (argv[0] is "troupe NAME"), parses it with argp (which exits
/// with 64 and a sentence on a mistake), and returns the process's exit code: tr_status_exit_code
/// of what happened.
#ifndef DEPLOY_COMMAND_H
#define DEPLOY_COMMAND_H

#include <argp.h>
#include <limits.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/recipe/recipe.h"
#include "common/tensor/device.h"

int command_run(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_check(int argc, char **argv);
int command_status(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_sample(int argc, char **argv);
int command_judge(int argc, char **argv);
int command_logprobs(int argc, char **argv);
int command_merge(int argc, char **argv);
int command_keys(int argc, char **argv);
int command_devices(int argc, char **argv);
int command_schema(int argc, char **argv);
int command_tokenize(int argc, char **argv);
int command_render(int argc, char **argv);
int command_data(int argc, char **argv);

/// tr_recipe_load of arguments[0] (NULL: no file) with the rest as overrides. Prints every problem
/// to standard error, one a line, the last of which is the sentence of the failure.
tr_status command_load_recipe(tr_recipe_t **recipe, char *const *arguments, size_t count);

/// The directory of the recipe's run, output/name; relative where it lies below the current
/// directory, as a person would write it. Owned by the caller (free).
char *command_run_directory(const tr_recipe_t *recipe);

/// Whether the directory has a run of this very recipe; TR_ERR_ARGUMENT when it is of another.
tr_status command_find_earlier(bool *found, const tr_recipe_t *recipe, const char *directory,
                               tr_error_t *err);

/// A command line of words and of options that are texts or flags.
typedef struct command_line {
    const struct argp_option *options; ///< each with a letter, ended by {0}; NULL: none
    const char *words_doc, *doc;       ///< for --help
    const char *missing;               ///< the sentence when there is no word; NULL: none is needed
    size_t most;                       ///< words that are taken

    char **words; ///< [count], read: in argv
    size_t count;
    const char *values[UCHAR_MAX + 1]; ///< read: by letter; "" of a flag, NULL: not given
} command_line_t;

/// Reads words, count and values; a mistake ends the process as argp does.
void command_parse(command_line_t *line, int argc, char **argv);

/// A value of an option; a mistake ends the process as argp does. name: "--seed".
uint64_t command_parse_whole(const char *name, const char *text, uint64_t least, uint64_t most,
                             const struct argp_state *state);
/// --device, --precision and --threads of a command that computes, by their keys.
#define COMMAND_DEVICE_OPTIONS                                                                \
    {"device", 'd', "NAME", 0, "Where it computes: cpu, cuda or cuda:N (default cpu)", 0},    \
        {"precision", 'x', "NAME", 0, "auto, bf16 or fp32 (default auto: bf16 on a GPU)", 0}, \
    {                                                                                         \
        "threads", 'j', "N", 0, "Threads of a CPU; 0: one per processor (default 0)", 0       \
    }

/// Reads one of them; false for another key. options starts as {0}; its texts
/// are borrowed.
bool command_parse_device(tr_device_options_t *options, int key, const char *value,
                          const struct argp_state *state);

double command_parse_real(const char *name, const char *text, double least, double most,
                          const struct argp_state *state);

#endif
