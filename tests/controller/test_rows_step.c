/// Steps on rows: what the actor is asked for each algorithm, whose log-probs go along, and what
/// becomes of its answer.
#include "controller/steps.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "controller/rows.h"
#include "proto/endpoint.h"
#include "proto/sequences.h"
#include "tests/support/fake_worker.h"
#include "tests/support/fields.h"
#include "tests/support/scratch.h"

enum { SEEN = 16 };

static const char ENDPOINT[] = "inproc://rows";
static volatile sig_atomic_t stop;
static char *folder;
static tr_recipe_t *recipe;
static controller_run_t run;
static controller_record_t record;
static fake_worker_t worker;
static FILE *quiet;

/// What the actor was asked, and what it answers.
static struct {
    tr_message_t *seen[SEEN];
    size_t count;
    json_t *metrics; // NULL: {"loss": [6, 4]}
} actor;

/// The log-prob of token i under the reference.
static float reference_of(size_t i)
{
    return -0.5f - (float)i;
}

static fake_act_t act(void *context, size_t nth, const tr_message_t *request, tr_message_t *reply)
{
    (void)context, (void)nth;
    tr_sequences_t sequences;
    int32_t *owned;
    tr_error_t err = {0};
    actor.seen[actor.count++] = tr_message_copy(request);
    if (strcmp(tr_message_method(request), "logprobs") != 0) {
        json_t *metrics = actor.metrics != NULL ? json_deep_copy(actor.metrics)
                                                : json_pack("{s:[i, i]}", "loss", 6, 4);
        tr_message_set_body(reply, json_pack("{s:o}", "metrics", metrics));
        return FAKE_REPLY;
    }
    if (tr_sequences_take(&sequences, &owned, request, &err) != TR_OK) {
        return FAKE_SILENT;
    }
    size_t n = (size_t)sequences.response_starts[sequences.count];
    float *logprobs = tr_calloc(n + 1, sizeof *logprobs);
    for (size_t i = 0; i < n; i++) {
        logprobs[i] = reference_of(i);
    }
    tr_message_add_vector(reply, "logprobs", TR_F32, n, logprobs);
    free(logprobs);
    free(owned);
    return FAKE_REPLY;
}

static void load_recipe(const char *algorithm, const char *rows, const char *override)
{
    tr_recipe_problems_t problems = {0};
    char *path = scratch_write(folder, "rows.jsonl", rows, strlen(rows));
    char *text = tr_format("name: a\nalgorithm: %s\nsteps: 10\nseed: 5\nmodel: m\n"
                           "data: {train: ['%s'], eval: ['%s'], batch: 2, shuffle: false}\n"
                           "optimizer: {learning_rate: 0.5, chunk: 3}\n",
                           algorithm, path, path);
    tr_status status =
        tr_recipe_parse(&recipe, text, strlen(text), "text", &override, 1, &problems);
    cr_assert_eq(status, TR_OK, "%s", problems.count > 0 ? problems.texts[0] : "");
    free(text);
    free(path);
}

/// A run of the algorithm on the rows, with an actor.
static void open_run(const char *algorithm, const char *rows, const char *override)
{
    tr_dispatch_options_t options;
    tr_error_t err = {0};
    load_recipe(algorithm, rows, override);
    run = (controller_run_t){.recipe = recipe, .algorithm = tr_recipe_algorithm(recipe)};
    tr_dispatch_options_init(&options);
    options.silence_ms = 600000;
    cr_assert_eq(tr_broker_new(&run.broker, ENDPOINT, NULL, &options, &err), TR_OK, "%s", err.text);
    run.calls = controller_calls_new(run.broker, &stop);
    run.progress = controller_progress_new(quiet, 0, 10);
    cr_assert_eq(
        tr_tokenizer_new(&run.data.tokenizer, TEST_SOURCE_DIR "/examples/models/stories", &err),
        TR_OK, "%s", err.text);
    cr_assert_eq(controller_rows_open(&run.data.rows, &recipe->data.train, recipe,
                                      run.data.tokenizer, 100, true, &err),
                 TR_OK, "%s", err.text);
    cr_assert_eq(controller_rows_open(&run.data.eval_rows, &recipe->data.eval, recipe,
                                      run.data.tokenizer, 100, true, &err),
                 TR_OK, "%s", err.text);
    controller_record_init(&record, 1);
    worker =
        (fake_worker_t){.role = TR_ROLE_ACTOR, .name = "actor", .group = "actor", .answer = act};
    fake_start(&worker, ENDPOINT);
}

static void close_run(void)
{
    fake_stop(&worker);
    for (size_t i = 0; i < actor.count; i++) {
        tr_message_destroy(&actor.seen[i]);
    }
    actor.count = 0;
    json_decref(actor.metrics);
    actor.metrics = NULL;
    controller_record_release(&record);
    controller_data_release(&run.data);
    controller_progress_destroy(&run.progress);
    controller_calls_destroy(&run.calls);
    json_decref(run.note);
    tr_broker_destroy(&run.broker);
    tr_recipe_destroy(&recipe);
}

static void setup(void)
{
    tr_wire_init();
    folder = scratch_open();
    quiet = fopen("/dev/null", "w");
}

static void teardown(void)
{
    fclose(quiet);
    scratch_close(&folder);
}

TestSuite(rows_step, .init = setup, .fini = teardown, .timeout = 60);

static void step(uint64_t number)
{
    tr_error_t err = {0};
    cr_assert_eq(controller_rows_step(&run, number, &record, &err), TR_OK, "%s", err.text);
}

static double metric(const char *name)
{
    const double *value = controller_record_find(&record, name);
    cr_assert_not_null(value, "no metric '%s'", name);
    return *value;
}

static const char TEXTS[] = "{\"text\": \"The cat.\"}\n{\"text\": \"A dog ran.\"}\n"
                            "{\"text\": \"They slept.\"}\n{\"text\": \"No.\"}\n"
                            "{\"text\": \"One day.\"}\n";
static const char PAIRS[] =
    "{\"prompt\": \"One\", \"chosen\": \" day\", \"rejected\": \" way\", \"margin\": 0.5}\n"
    "{\"prompt\": \"The\", \"chosen\": \" cat ran\", \"rejected\": \" dog\", \"margin\": 2}\n";
static const char LABELLED[] =
    "{\"prompt\": \"One\", \"completion\": \" day\", \"label\": true}\n"
    "{\"prompt\": \"The\", \"completion\": \" cat slept\", \"label\": false}\n"
    "{\"prompt\": \"A dog\", \"completion\": \" ran\", \"label\": false}\n"
    "{\"prompt\": \"They\", \"completion\": \" ran\", \"label\": false}\n";
static const char STEPS[] =
    "{\"prompt\": \"Once.\", \"completions\": [\"It was happy.\", \"No.\"], "
    "\"labels\": [true, false]}\n"
    "{\"prompt\": \"Once.\", \"completions\": [\"So.\"], \"labels\": [true]}\n";

/// The request has the pass of step 3 and every option of the algorithm as the recipe has it.
static void expect_body(const tr_message_t *request, const char *option, double value)
{
    const tr_algorithm_t *algorithm = tr_recipe_algorithm(recipe);
    json_t *wanted = fields_json("{'step': 3, 'epochs': 1, 'minibatches': 1, 'chunk': 3, 'seed': 5,"
                                 " 'learning_rate': 0.4, 'temperature': 1.0}"); // linear, 2 of 10
    tr_fields_to_json(wanted, (const char *)recipe + algorithm->loss_offset, algorithm->loss);
    cr_expect_str_eq(tr_message_method(request), algorithm->method);
    cr_expect(json_equal(tr_message_body(request), wanted), "%s", algorithm->name);
    cr_expect_eq(json_number_value(json_object_get(tr_message_body(request), option)), value, "%s",
                 option);
    json_decref(wanted);
}

/// The request brings these tensors beside its sequences: of names, with NULL at the end.
static void expect_tensors(const tr_message_t *request, const char *const *names)
{
    static const char *const all[] = {"reference", "desirable", "margins", "mask", "labels"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        tr_view_t view;
        bool wanted = false;
        for (size_t k = 0; names[k] != NULL; k++) {
            wanted = wanted || strcmp(names[k], all[i]) == 0;
        }
        cr_expect_eq(tr_message_tensor(&view, request, all[i]), wanted, "%s", all[i]);
    }
}

Test(rows_step, the_actor_is_asked_by_the_method_and_options_of_the_algorithm)
{
    static const struct {
        const char *algorithm, *rows, *override, *option;
        double value;
        const char *tensors[3];
    } cases[] = {
        {"sft", TEXTS, "sft.neftune_noise_alpha=2.5", "neftune_noise_alpha", 2.5, {NULL}},
        {"reward",
         PAIRS,
         "reward.center_rewards_coefficient=0.25",
         "center_rewards_coefficient",
         0.25,
         {"margins"}},
        {"dpo", PAIRS, "dpo.beta=0.75", "beta", 0.75, {"reference"}},
        {"dpo", PAIRS, "dpo={loss_type: simpo, simpo_gamma: 1.5}", "simpo_gamma", 1.5, {NULL}},
        {"kto",
         LABELLED,
         "kto.undesirable_weight=3",
         "undesirable_weight",
         3.0,
         {"reference", "desirable"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        open_run(cases[i].algorithm, cases[i].rows, cases[i].override);
        step(3);
        const tr_message_t *last = actor.seen[actor.count - 1];
        expect_body(last, cases[i].option, cases[i].value);
        expect_tensors(last, cases[i].tensors);
        cr_expect_eq(actor.count, tr_recipe_reads_reference(recipe) ? 2U : 1U);
        close_run();
    }
}

Test(rows_step, the_losses_get_what_the_reference_said_of_the_same_sequences)
{
    static const char *const algorithms[][2] = {{"dpo", PAIRS}, {"kto", LABELLED}};
    for (size_t i = 0; i < 2; i++) {
        tr_view_t asked, told, reference;
        open_run(algorithms[i][0], algorithms[i][1], "seed=5");
        step(1);
        cr_assert_eq(actor.count, 2U);
        cr_expect_str_eq(tr_message_method(actor.seen[0]), "logprobs");
        cr_expect_eq(
            json_number_value(json_object_get(tr_message_body(actor.seen[0]), "temperature")), 1.0);
        cr_assert(tr_message_tensor(&asked, actor.seen[0], "ids"));
        cr_assert(tr_message_tensor(&told, actor.seen[1], "ids"));
        cr_assert_eq(asked.bytes, told.bytes);
        cr_expect_arr_eq(asked.data, told.data, asked.bytes);
        cr_assert(tr_message_tensor(&reference, actor.seen[1], "reference"));
        for (size_t t = 0; t < reference.shape[0]; t++) {
            cr_expect_eq(((const float *)reference.data)[t], reference_of(t));
        }
        close_run();
    }
}

Test(rows_step, columns_travel_in_the_order_of_the_rows)
{
    tr_view_t view;
    open_run("reward", PAIRS, "seed=5");
    step(1);
    cr_assert(tr_message_tensor(&view, actor.seen[0], "margins"));
    cr_expect_arr_eq(view.data, ((const float[]){0.5f, 2.0f}), 2 * sizeof(float));
    close_run();
    open_run("kto", LABELLED, "seed=5");
    step(1);
    cr_assert(tr_message_tensor(&view, actor.seen[1], "desirable"));
    cr_expect_arr_eq(view.data, ((const int32_t[]){1, 0}), 2 * sizeof(int32_t));
    close_run();
}

Test(rows_step, a_process_reward_model_is_trained_on_labelled_steps)
{
    static const char *const tensors[] = {"labels", NULL};
    tr_view_t view;
    size_t wrong = 0, right = 0;
    open_run("reward", STEPS, "seed=5");
    step(1);
    cr_expect_str_eq(tr_message_method(actor.seen[0]), "train_steps");
    expect_tensors(actor.seen[0], tensors);
    cr_assert(tr_message_tensor(&view, actor.seen[0], "labels"));
    for (size_t t = 0; t < view.shape[0]; t++) {
        int32_t label = ((const int32_t *)view.data)[t];
        cr_expect(label >= -1 && label <= 1);
        wrong += label == 0;
        right += label == 1;
    }
    cr_expect_eq(wrong, 1U);
    cr_expect_eq(right, 2U);
    close_run();
}

Test(rows_step, the_actors_sums_become_means_beside_the_steps_own_metrics)
{
    open_run("kto", LABELLED, "seed=5");
    actor.metrics =
        fields_json("{'loss': [6, 4], 'rewards/chosen': [3, 2], 'rewards/rejected': [-1, 4]}");
    step(2);
    cr_expect_eq(metric("loss"), 1.5);
    cr_expect_eq(metric("rewards/chosen"), 1.5);
    cr_expect_eq(metric("rewards/margins"), 1.75);
    cr_expect_float_eq(metric("learning_rate"), 0.45, 1e-15);
    cr_expect_eq(metric("epoch"), 1.0); // 4 rows, 2 a step
    cr_expect_eq(metric("num_tokens"), (double)run.tokens);
    cr_expect_gt(metric("num_tokens"), 8.0);
    cr_expect_null(controller_record_find(&record, "reward_std"));
    close_run();
}

Test(rows_step, held_out_rows_are_measured_in_batches_and_nothing_is_trained)
{
    tr_error_t err = {0};
    size_t counts[3];
    open_run("sft", TEXTS, "seed=5");
    run.step = 7;
    cr_assert_eq(controller_rows_evaluate(&run, &record, &err), TR_OK, "%s", err.text);
    cr_assert_eq(actor.count, 3U); // 2, 2 and 1 rows
    for (size_t i = 0; i < 3; i++) {
        tr_sequences_t sequences;
        int32_t *owned;
        const json_t *body = tr_message_body(actor.seen[i]);
        cr_expect(json_is_true(json_object_get(body, "evaluate")));
        cr_expect_eq(json_integer_value(json_object_get(body, "step")), 7);
        cr_assert_eq(tr_sequences_take(&sequences, &owned, actor.seen[i], &err), TR_OK);
        counts[i] = sequences.count;
        free(owned);
    }
    cr_expect(counts[0] == 2 && counts[1] == 2 && counts[2] == 1);
    cr_expect_eq(metric("eval_loss"), 1.5);
    cr_expect_eq(run.tokens, 0U);
    close_run();
}

Test(rows_step, an_answer_that_is_no_tally_is_the_actors_fault)
{
    tr_error_t err = {0};
    open_run("sft", TEXTS, "seed=5");
    actor.metrics = fields_json("{'loss': 1.5}");
    cr_expect_neq(controller_rows_step(&run, 1, &record, &err), TR_OK);
    cr_expect_not_null(strstr(err.text, "'actor'"), "%s", err.text);
    close_run();
}

Test(rows_step, kto_advises_on_weights_where_the_classes_are_out_of_balance)
{
    open_run("kto", LABELLED, "seed=5");
    char *advice = controller_rows_advice(&run);
    cr_assert_not_null(advice);
    cr_expect_not_null(strstr(advice, "1 desirable and 3 undesirable rows"), "%s", advice);
    cr_expect_not_null(strstr(advice, "desirable_weight in [3, 3.99]"), "%s", advice);
    free(advice);
    close_run();
    open_run("kto", LABELLED, "kto.desirable_weight=3.5");
    cr_expect_null(controller_rows_advice(&run));
    close_run();
    open_run("dpo", PAIRS, "seed=5");
    cr_expect_null(controller_rows_advice(&run));
    close_run();
}
