// `troupe sample`: responses to many prompts, scored by judges, written as rows to train on.
//
// It is a run of its own, algorithm `sample`, in the directory OUT.run beside its output: any
// judge, any number of rollouts, and a stopped command continues when it is given again. The
// command line is turned into overrides of an empty recipe, so that a recipe's checks and sentences
// hold here too. Next: sample_rows.c for the files.
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/model/config.h"
#include "controller/rows.h"
#include "controller/rundir.h"
#include "deploy/command.h"
#include "deploy/command_fields.h"
#include "deploy/memory_plan.h"
#include "deploy/preflight.h"
#include "deploy/sample_rows.h"

typedef struct arguments {
    json_t *prompts; // array of paths
    json_t *stop;    // array of texts
    char *judges;    // YAML entries, with commas between them
    char **words;    // [count] KEY=VALUE, as of troupe run; the first is NULL: no file
    size_t count;
    sample_rows_t rows;
} arguments_t;

/// Takes word.
static void add_word(arguments_t *arguments, char *word)
{
    size_t n = arguments->count;
    arguments->words = tr_realloc(arguments->words, (n + 1) * sizeof *arguments->words);
    arguments->words[arguments->count++] = word;
}

/// KEY="TEXT", whatever the text holds.
static void add_text(arguments_t *arguments, const char *key, const char *text)
{
    // a JSON string is a YAML scalar, whatever characters it has
    json_t *string = json_string(text);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    add_word(arguments, tr_format("%s=%s", key, quoted != NULL ? quoted : "\"\""));
    free(quoted);
    json_decref(string);
}

/// `words: {happy: 1}` or `{words: {happy: 1}}`: an entry of roles.reward.
static void add_judge(arguments_t *arguments, const char *entry)
{
    // an entry may be given with or without its braces
    bool braced = entry[strspn(entry, " \n")] == '{';
    // entries are joined with commas: finish_words puts brackets around them
    char *judges = tr_format("%s%s%s%s%s", arguments->judges != NULL ? arguments->judges : "",
                             arguments->judges != NULL ? ", " : "", braced ? "" : "{", entry,
                             braced ? "" : "}");
    free(arguments->judges);
    arguments->judges = judges;
}

/// After the last option: what follows from several of them.
static void finish_words(arguments_t *arguments, const struct argp_state *state)
{
    const sample_rows_t *rows = &arguments->rows;
    // the run's directory is named after the first file asked for
    const char *out = rows->pairs != NULL  ? rows->pairs
                      : rows->best != NULL ? rows->best
                                           : rows->all;
    if (json_array_size(arguments->prompts) == 0 || arguments->judges == NULL || out == NULL) {
        argp_error(state,
                   "--model, --prompts, --judge, and one of --pairs, --best and --out are needed");
        return;
    }
    // basename and dirname change their argument
    char *path = tr_strdup(out), *folder = tr_strdup(out);
    char *name = tr_format("%s.run", basename(path));
    char *prompts = json_dumps(arguments->prompts, JSON_COMPACT);
    char *stop = json_dumps(arguments->stop, JSON_COMPACT);
    add_text(arguments, "name", name);
    add_text(arguments, "output", dirname(folder));
    // a JSON array is a YAML list
    add_word(arguments, tr_format("data.prompts=%s", prompts));
    if (json_array_size(arguments->stop) > 0) {
        add_word(arguments, tr_format("generation.stop=%s", stop));
    }
    add_word(arguments, tr_format("roles.reward=[%s]", arguments->judges));
    free(stop);
    free(prompts);
    free(name);
    free(folder);
    free(path);
}

/// Nothing is checked here that the recipe checks: its sentences name the key.
static error_t take_option(int key, char *value, struct argp_state *state)
{
    arguments_t *arguments = state->input;
    switch (key) {
    case 'm': add_text(arguments, "model", value); return 0;
    case 'p': json_array_append_new(arguments->prompts, json_string(value)); return 0;
    // several judges add up, as in a recipe
    case 'J': add_judge(arguments, value); return 0;
    case 'S': json_array_append_new(arguments->stop, json_string(value)); return 0;
    // the recipe checks the number
    case 's': add_word(arguments, tr_format("seed=%s", value)); return 0;
    case 'o': arguments->rows.all = value; return 0;
    case 'b': arguments->rows.best = value; return 0;
    case 'w': arguments->rows.pairs = value; return 0;
    case ARGP_KEY_ARG:
        // words that set a key go through as they are, after the options' own
        if (strchr(value, '=') == NULL) {
            argp_error(state, "'%s' is not understood (KEY=VALUE sets a key of the recipe)", value);
        }
        add_word(arguments, tr_strdup(value));
        return 0;
    case ARGP_KEY_END: finish_words(arguments, state); return 0;
    default: break;
    }
    // options of generation become keys of the recipe, so that the recipe checks them
    const tr_field_t *field = command_fields_find(&tr_generation_fields, key);
    if (field == NULL) {
        return ARGP_ERR_UNKNOWN;
    }
    add_word(arguments, tr_format("generation.%s=%s", field->name, value));
    return 0;
}

// The recipe

/// Steps that answer every prompt once.
static tr_status count_steps(uint64_t *steps, const tr_recipe_t *recipe, tr_error_t *err)
{
    tr_corpus_t rows = {0};
    tr_tokenizer_t *tokenizer = NULL;
    tr_model_config_t config;
    tr_status status;
    // rows are counted as the run will read them: bad rows may be dropped
    TR_TRY_GOTO(tr_tokenizer_new(&tokenizer, recipe->model, err), done);
    TR_TRY_GOTO(tr_model_config_load_language(&config, recipe->model, err), done);
    TR_TRY_GOTO(controller_rows_open(&rows, controller_rows_files(recipe), recipe, tokenizer,
                                     config.max_positions, false, err),
                done);
    // rounded up: no prompt is left out
    *steps = (rows.count + recipe->data.batch - 1) / recipe->data.batch;
done:
    tr_corpus_release(&rows);
    tr_tokenizer_destroy(&tokenizer);
    return status;
}

/// Twice: how many steps there are follows from what the recipe says of prompts. Prints what is
/// wrong.
static tr_status load_recipe(tr_recipe_t **recipe, arguments_t *arguments)
{
    tr_error_t err = {0};
    uint64_t steps = 0;
    // the first time with steps=1, which add_word below overrides
    // Checks all but the number of steps, so that prompts are read only by a good recipe.
    TR_TRY(command_load_recipe(recipe, arguments->words, arguments->count));
    tr_status status = count_steps(&steps, *recipe, &err);
    tr_recipe_destroy(recipe);
    if (status != TR_OK) {
        tr_status_report(status, &err);
        return status;
    }
    // A later word overrides an earlier one.
    add_word(arguments, tr_format("steps=%llu", (unsigned long long)steps));
    return command_load_recipe(recipe, arguments->words, arguments->count);
}

// The run

/// A new run directory, or the one that an earlier, stopped command has left.
static tr_status make_directory(bool resume, const tr_recipe_t *recipe, const char *directory,
                                tr_error_t *err)
{
    controller_rundir_t *rundir;
    TR_TRY(resume ? controller_rundir_open(&rundir, directory, err)
                  : controller_rundir_create(&rundir, recipe, err));
    controller_rundir_destroy(&rundir);
    return TR_OK;
}

/// The run itself; its samples are the result.
static tr_status run(int *exit_code, tr_recipe_t *recipe, const char *directory, tr_error_t *err)
{
    supervisor_plan_t plan = {0};
    bool resume;
    tr_status status;
    TR_TRY(command_find_earlier(&resume, recipe, directory, err));
    TR_TRY_GOTO(preflight(&plan, recipe, directory, resume, err), done);
    TR_TRY_GOTO(memory_plan_check(recipe, err), done);
    TR_TRY_GOTO(make_directory(resume, recipe, directory, err), done);
    status = process_group_run(exit_code, &plan, err);
done:
    process_group_release(&plan);
    return status;
}

/// From the run's samples to the files that were asked for; the run directory goes.
static tr_status deliver(const arguments_t *arguments, const tr_recipe_t *recipe,
                         const char *directory, tr_error_t *err)
{
    sample_rows_count_t count;
    char *path = tr_format("%s/samples.jsonl", directory);
    tr_status status =
        sample_rows_write(&count, &arguments->rows, path, recipe->generation.samples, err);
    free(path);
    TR_TRY(status);
    // pairs may be fewer than prompts: the sentence says why
    printf("%zu responses to %zu prompts", count.responses, count.prompts);
    if (arguments->rows.pairs != NULL) {
        printf(", %zu pairs: the responses to %zu prompts have one score, or none", count.pairs,
               count.prompts - count.pairs);
    }
    printf("\n");
    // Its samples are in the files now; there is no model that anyone would want.
    return tr_directory_remove(directory, err);
}

/// Run, deliver, and one sentence about what failed.
static int sample(const arguments_t *arguments, tr_recipe_t *recipe)
{
    tr_error_t err = {0};
    int exit_code = 0;
    char *directory = command_run_directory(recipe);
    tr_status status = run(&exit_code, recipe, directory, &err);
    if (status == TR_OK) {
        status = deliver(arguments, recipe, directory, &err);
    }
    free(directory);
    // a failure before any process was started, or after all have ended, has no exit code of theirs
    int reported = tr_status_report(status, &err);
    return exit_code != 0 ? exit_code : reported;
}

/// Builds the words, then goes the way of `run`.
int command_sample(int argc, char **argv)
{
    static const struct argp_option table[] = {
        {"model", 'm', "DIR", 0, "Hugging Face directory", 0},
        {"prompts", 'p', "FILE", 0, "data file with a column `prompt`; may be given again", 0},
        {"judge", 'J', "ENTRY", 0,
         "The judge, as an entry of roles.reward in a recipe, such as 'model: runs/rm/final' or "
         "'exec: [python3, judge.py]'; may be given again: scores add up",
         0},
        {"pairs", 'w', "FILE", 0,
         "The best and the worst response to each prompt, as chosen and rejected", 0},
        {"best", 'b', "FILE", 0, "The best response to each prompt, as completion", 0},
        {"out", 'o', "FILE", 0, "Every response, with its score", 0},
        {"seed", 's', "N", 0, "The same seed gives the same responses (default 1)", 0},
        {"stop", 'S', "TEXT", 0,
         "A text that ends a response when the response holds it; may be given again", 0},
        {0},
    };
    tr_generation_options_t generation;
    arguments_t arguments = {.prompts = json_array(), .stop = json_array()};
    tr_recipe_t *recipe = NULL;
    tr_fields_init(&generation, &tr_generation_fields);
    // defaults of this command, where they differ from a recipe's
    generation.samples = 4;
    generation.temperature = 1.0;
    generation.max_new_tokens = 64;
    struct argp_option *options = command_fields_options(table, &tr_generation_fields, &generation);
    const struct argp parser = {.options = options,
                                .parser = take_option,
                                .args_doc = "[KEY=VALUE ...]",
                                .doc = "Generate responses to prompts, let judges score them, and "
                                       "write them as rows to train on. A response ends where "
                                       "the model ends it. KEY=VALUE sets any key of a recipe, "
                                       "such as roles.rollout.workers=2. A command that was "
                                       "stopped continues when it is given again."};
    add_word(&arguments, NULL); // no file
    add_word(&arguments, tr_strdup("algorithm=sample"));
    add_word(&arguments, tr_strdup("steps=1"));
    add_word(&arguments,
             tr_format("generation.samples=%llu", (unsigned long long)generation.samples));
    add_word(&arguments, tr_format("generation.temperature=%g", generation.temperature));
    add_word(&arguments, tr_format("generation.max_new_tokens=%llu",
                                   (unsigned long long)generation.max_new_tokens));
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    command_fields_free(&options);
    tr_status status = load_recipe(&recipe, &arguments);
    int exit_code = status == TR_OK ? sample(&arguments, recipe) : tr_status_exit_code(status);
    tr_recipe_destroy(&recipe);
    for (size_t i = 0; i < arguments.count; i++) {
        free(arguments.words[i]);
    }
    free(arguments.words);
    free(arguments.judges);
    json_decref(arguments.prompts);
    json_decref(arguments.stop);
    return exit_code;
}
