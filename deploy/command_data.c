// `troupe data`: what data files hold, which algorithms take their rows, and, with a model, what
// the rows become and which of them are bad.
//
// With --model the options are those of a recipe: one is made of the command line, as
// command_sample.c does, so that KEY=VALUE words have their meaning and their checks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/rows.h"
#include "deploy/command.h"
#include "deploy/data_report.h"

typedef struct request {
    json_t *files; ///< paths
    char **words;  ///< [word_count], KEY=VALUE; owned
    size_t word_count;
    const char *model, *algorithm, *recipe, *columns;
    size_t shown;
} request_t;

static void add_word(request_t *request, char *word)
{
    request->words = tr_realloc(request->words, (request->word_count + 1) * sizeof *request->words);
    request->words[request->word_count++] = word;
}

// Which algorithms take the rows

static tr_rows_options_t options_of(const tr_algorithm_t *algorithm, const char *columns)
{
    return (tr_rows_options_t){.kinds = algorithm->rows,
                               .columns = columns,
                               .prompt_column = "prompt",
                               .text_column = "text"};
}

/// Prints what an algorithm takes the rows for. *kind: TR_KIND_COUNT where it does not.
static tr_status try_algorithm(tr_kind_t *kind, tr_dataset_t *dataset,
                               const tr_algorithm_t *algorithm, const char *columns,
                               tr_error_t *err)
{
    const tr_rows_options_t options = options_of(algorithm, columns);
    TR_TRY(tr_dataset_recognise(dataset, &options, err));
    *kind = tr_kind_of(dataset, &options);
    const char *missing = tr_kind_missing(*kind, dataset, &options);
    if (missing == NULL) {
        printf("%-20s %s, columns as in %s\n", algorithm->name, tr_kind_name(*kind),
               tr_dataset_form(dataset));
    } else {
        *kind = TR_KIND_COUNT;
        printf("%-20s nothing: there is no column %s\n", algorithm->name, missing);
    }
    return TR_OK;
}

/// *best: the algorithm that takes the most of a row (the order of tr_kind_t); NULL: none takes it.
static tr_status try_algorithms(const tr_algorithm_t **best, tr_dataset_t *dataset,
                                const request_t *request, tr_error_t *err)
{
    size_t tried = 0;
    tr_kind_t kind_of_best = TR_KIND_COUNT;
    *best = NULL;
    printf("\nread by\n");
    for (const tr_algorithm_t *a = tr_algorithms; a->name != NULL; a++) {
        tr_kind_t kind = TR_KIND_COUNT;
        if (request->algorithm != NULL && strcmp(request->algorithm, a->name) != 0) {
            continue;
        }
        tried++;
        tr_error_t one = {0};
        if (try_algorithm(&kind, dataset, a, request->columns, &one) != TR_OK) {
            printf("%-20s nothing: %s\n", a->name, one.text);
        }
        if (kind < kind_of_best) {
            kind_of_best = kind;
            *best = a;
        }
    }
    const char *nested = request->columns == NULL ? tr_dataset_nested(dataset) : NULL;
    if (tried > 0 && *best == NULL && nested != NULL) {
        printf("the file is one object: if the rows are its list `%s`, write that list alone\n",
               nested);
    } else if (tried > 0 && *best == NULL) {
        printf(
            "say which column is which of these: --columns='{\"prompt\": \"NAME\"}', in a recipe "
            "data.columns\n");
    }
    return tried > 0
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT, "there is no algorithm '%s'", request->algorithm);
}

// What the rows become

/// A recipe of the command line that is good enough to read rows by.
static tr_status make_recipe(tr_recipe_t **recipe, request_t *request,
                             const tr_algorithm_t *algorithm)
{
    char *files = json_dumps(request->files, JSON_COMPACT);
    bool generates = tr_algorithm_generates(algorithm);
    char **given = request->words;
    size_t count = request->word_count;
    request->words = NULL;
    request->word_count = 0;
    add_word(request, NULL); // no file
    add_word(request, tr_strdup("name=data"));
    add_word(request, tr_strdup("steps=1"));
    add_word(request, tr_strdup("data.batch=2")); // as samples below, the least that all take
    add_word(request, tr_format("algorithm=%s", algorithm->name));
    add_word(request, tr_format("model=%s", request->model));
    add_word(request, tr_format("data.%s=%s", generates ? "prompts" : "train", files));
    if (generates) { // the judge is not asked
        add_word(request, tr_strdup("roles.reward=[{words: {a: 1}}]"));
        add_word(request, tr_strdup("generation.samples=2"));
    }
    if (request->columns != NULL) {
        add_word(request, tr_format("data.columns=%s", request->columns));
    }
    for (size_t i = 0; i < count; i++) {
        add_word(request, given[i]);
    }
    free(given);
    free(files);
    return command_load_recipe(recipe, request->words, request->word_count);
}

static tr_status report_tokens(const tr_recipe_t *recipe, size_t shown, tr_error_t *err)
{
    tr_corpus_t corpus = {0};
    tr_tokenizer_t *tokenizer = NULL;
    tr_model_config_t config;
    tr_rows_options_t options;
    tr_status status;
    const tr_texts_t *files = controller_rows_files(recipe);
    TR_TRY_GOTO(tr_tokenizer_new(&tokenizer, recipe->model, err), done);
    TR_TRY_GOTO(tr_model_config_load(&config, recipe->model, err), done);
    TR_TRY_GOTO(tr_tokenizer_bound(tokenizer, config.vocabulary, err), done);
    controller_rows_options(&options, recipe, config.max_positions);
    TR_TRY_GOTO(tr_corpus_open(&corpus, (const char *const *)files->items, files->count, tokenizer,
                               &options, err),
                done);
    printf("\n%s by %s: %zu rows an epoch\n", tr_kind_name(corpus.kind),
           tr_recipe_algorithm(recipe)->name, corpus.count);
    status = data_report_tokens(&corpus, shown, err);
done:
    tr_corpus_release(&corpus);
    tr_tokenizer_destroy(&tokenizer);
    return status;
}

/// The columns of files, as they are.
static tr_status report_columns(const char *const *files, size_t count, tr_error_t *err)
{
    tr_dataset_t *dataset;
    TR_TRY(tr_dataset_new(&dataset, files, count, err));
    printf("%zu rows in %zu file%s\n\n", tr_dataset_size(dataset), count, count == 1 ? "" : "s");
    tr_status status = data_report_columns(dataset, err);
    tr_dataset_destroy(&dataset);
    return status;
}

/// Files of the command line. A recipe that cannot be made has printed its mistakes.
static tr_status report_files(request_t *request, tr_error_t *err)
{
    tr_dataset_t *dataset = NULL;
    tr_recipe_t *recipe = NULL;
    const tr_algorithm_t *algorithm;
    size_t count = json_array_size(request->files);
    const char **paths = tr_calloc(count + 1, sizeof *paths);
    tr_status status;
    for (size_t i = 0; i < count; i++) {
        paths[i] = json_string_value(json_array_get(request->files, i));
    }
    TR_TRY_GOTO(report_columns(paths, count, err), done);
    TR_TRY_GOTO(tr_dataset_new(&dataset, paths, count, err), done);
    TR_TRY_GOTO(try_algorithms(&algorithm, dataset, request, err), done);
    if (request->model != NULL && algorithm != NULL) {
        TR_TRY_GOTO(make_recipe(&recipe, request, algorithm), done);
        status = report_tokens(recipe, request->shown, err);
    }
done:
    tr_recipe_destroy(&recipe);
    tr_dataset_destroy(&dataset);
    free(paths);
    return status;
}

static tr_status report_recipe(request_t *request, tr_error_t *err)
{
    tr_recipe_t *recipe;
    char **words = tr_calloc(request->word_count + 1, sizeof *words);
    words[0] = (char *)request->recipe;
    for (size_t i = 0; i < request->word_count; i++) {
        words[i + 1] = request->words[i];
    }
    tr_status status = command_load_recipe(&recipe, words, request->word_count + 1);
    free(words);
    TR_TRY(status);
    const tr_texts_t *files = controller_rows_files(recipe);
    status = report_columns((const char *const *)files->items, files->count, err);
    status = status == TR_OK ? report_tokens(recipe, request->shown, err) : status;
    tr_recipe_destroy(&recipe);
    return status;
}

/// Words are files, but for those that set a key.
static void take_words(request_t *request, const command_line_t *line)
{
    for (size_t i = 0; i < line->count; i++) {
        if (strchr(line->words[i], '=') != NULL) {
            add_word(request, tr_strdup(line->words[i]));
        } else {
            json_array_append_new(request->files, json_string(line->words[i]));
        }
    }
}

/// What was asked for makes sense together.
static tr_status check(const request_t *request, tr_error_t *err)
{
    size_t files = json_array_size(request->files);
    if ((request->recipe != NULL) == (files > 0)) {
        return tr_fail(err, TR_ERR_ARGUMENT, "expected data files, or --recipe, which names them");
    }
    if (request->recipe != NULL &&
        (request->model != NULL || request->algorithm != NULL || request->columns != NULL)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "--model, --algorithm and --columns stand in the recipe: KEY=VALUE sets "
                       "another");
    }
    if (request->recipe == NULL && request->model == NULL && request->word_count > 0) {
        return tr_fail(err, TR_ERR_ARGUMENT, "'%s' sets a key that is read with --model alone",
                       request->words[0]);
    }
    return TR_OK;
}

int command_data(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"model", 'm', "DIR", 0, "Count tokens and show rows by this model's tokenizer", 0},
        {"algorithm", 'a', "NAME", 0,
         "Read the rows as this one does (default: that which "
         "takes most of a row)",
         0},
        {"columns", 'c', "JSON", 0, "An object: data.columns", 0},
        {"recipe", 'r', "FILE", 0, "Instead of files: model, algorithm and files of a recipe", 0},
        {"rows", 'n', "N", 0, "Rows that are shown (default 2)", 0},
        {0}};
    command_line_t line = {.options = options,
                           .words_doc = "FILE... [KEY=VALUE ...]",
                           .doc = "Say what data files hold: columns, types, lengths, which "
                                  "algorithms take the rows, what the first rows become, which "
                                  "rows are bad and why.",
                           .most = 1024};
    tr_error_t err = {0};
    command_parse(&line, argc, argv);
    request_t request = {.files = json_array(),
                         .model = line.values['m'],
                         .algorithm = line.values['a'],
                         .columns = line.values['c'],
                         .recipe = line.values['r'],
                         .shown = 2};
    if (line.values['n'] != NULL) {
        request.shown = (size_t)command_parse_whole("--rows", line.values['n'], 0, 1000000, NULL);
    }
    take_words(&request, &line);
    tr_status status = check(&request, &err);
    if (status == TR_OK) {
        status =
            request.recipe != NULL ? report_recipe(&request, &err) : report_files(&request, &err);
    }
    for (size_t i = 0; i < request.word_count; i++) {
        free(request.words[i]);
    }
    free(request.words);
    json_decref(request.files);
    // a recipe's mistakes were printed
    return err.status == TR_OK ? tr_status_exit_code(status) : tr_status_report(status, &err);
}
