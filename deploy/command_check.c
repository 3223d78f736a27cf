// `troupe check`: what is wrong with a recipe, or what it would run and how much memory that
// takes of what this machine has.
#include <stdio.h>
#include <stdlib.h>

#include "common/model/layout.h"
#include "controller/rows.h"
#include "deploy/command.h"
#include "deploy/memory_plan.h"
#include "deploy/preflight.h"

// Showing

/// From config.json alone: the weights are not read.
static tr_status print_model(const char *directory, tr_error_t *err)
{
    tr_model_config_t config;
    tr_layout_t layout;
    TR_TRY(tr_model_config_load(&config, directory, err));
    tr_layout_init(&layout, &config);
    printf("model      %s: %zu parameters, %zu layers, hidden size %zu, vocabulary %zu, %zu "
           "positions\n",
           directory, layout.total, config.layers, config.hidden, config.vocabulary,
           config.max_positions);
    tr_layout_release(&layout);
    return TR_OK;
}

/// One line each for where the run goes and for what a step is.
static void print_work(const tr_recipe_t *recipe)
{
    char *directory = command_run_directory(recipe);
    printf("run        %s, seed %llu\n", directory, (unsigned long long)recipe->seed);
    free(directory);
    printf("algorithm  %s, %llu steps, each of %llu %s", tr_recipe_algorithm(recipe)->name,
           (unsigned long long)recipe->steps, (unsigned long long)recipe->data.batch,
           tr_algorithm_generates(tr_recipe_algorithm(recipe)) ? "prompts" : "rows");
    if (tr_algorithm_generates(tr_recipe_algorithm(recipe))) {
        printf(" x %llu samples of at most %llu tokens",
               (unsigned long long)recipe->generation.samples,
               (unsigned long long)recipe->generation.max_new_tokens);
    }
    printf("\n");
}

/// The judges that are no models: those stand in the table.
static void print_judges(const tr_recipe_t *recipe)
{
    for (size_t i = 0; i < recipe->roles.reward.count; i++) {
        const tr_judge_t *judge = &recipe->roles.reward.items[i];
        if (judge->kind != &tr_judge_model) {
            printf("judge      %s: %s, weight %g\n", judge->name, judge->kind->name, judge->weight);
        }
    }
}

/// The plan is printed also where it does not fit, so that the user sees which role is too large.
static tr_status print_summary(const tr_recipe_t *recipe, const memory_plan_t *plan,
                               tr_error_t *err)
{
    // Judges are there only where something is generated.
    bool generates = tr_algorithm_generates(tr_recipe_algorithm(recipe));
    print_work(recipe);
    TR_TRY(print_model(recipe->model, err));
    if (generates) {
        print_judges(recipe);
    }
    // Of the data as it was read: a single long row decides how much memory a pass takes.
    printf("longest    %zu tokens of a %s\n\n", plan->longest, generates ? "prompt" : "row");
    memory_plan_print(stdout, plan);
    return TR_OK;
}

/// The summary, and whether it can be had here.
static tr_status check_memory(const tr_recipe_t *recipe, const tr_corpus_t *rows, tr_error_t *err)
{
    memory_plan_t plan = {0};
    tr_status status;
    // Measured by the data, unlike for `run`, since a user who asks wants exact numbers.
    TR_TRY_GOTO(memory_plan_init(&plan, recipe, rows, err), done);
    // Before the sums are compared: the table explains a failure.
    TR_TRY_GOTO(print_summary(recipe, &plan, err), done);
    status = memory_plan_check_memory(&plan, err);
done:
    memory_plan_release(&plan);
    return status;
}

/// What `run` could not start, though the recipe alone is right.
static tr_status check_start(tr_recipe_t *recipe, tr_error_t *err)
{
    supervisor_plan_t plan;
    char *directory = command_run_directory(recipe);
    tr_status status = preflight(&plan, recipe, directory, false, err);
    free(directory);
    process_group_release(&plan);
    return status;
}

/// In the order of `run`: what it checks first, data as its controller reads them, memory.
static tr_status check(tr_recipe_t *recipe, tr_error_t *err)
{
    controller_data_t data;
    TR_TRY(check_start(recipe, err));
    tr_status status = controller_data_load(&data, recipe, true, err);
    if (status == TR_OK) {
        status = check_memory(recipe, &data.rows, err);
    } else {
        controller_data_print_mistakes(stderr, &data);
    }
    controller_data_release(&data);
    return status;
}

/// The run directory is not touched.
int command_check(int argc, char **argv)
{
    command_line_t line = {
        .words_doc = "RECIPE [KEY=VALUE ...]",
        .doc = "Say what is wrong with a recipe, all of it, or what it would run and how much "
               "memory each role needs of its device.",
        .missing = "the recipe is missing",
        .most = SIZE_MAX};
    tr_recipe_t *recipe = NULL;
    tr_error_t err = {0};
    command_parse(&line, argc, argv);
    tr_status status = command_load_recipe(&recipe, line.words, line.count);
    int exit_code = tr_status_exit_code(status);
    if (status == TR_OK) {
        exit_code = tr_status_report(check(recipe, &err), &err);
    }
    tr_recipe_destroy(&recipe);
    return exit_code;
}
