// The common command line: what each option sets, what the environment gives, what is refused.
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/service.h"

static tr_service_options_t options;

static void setup(void)
{
    static const char *const names[] = {"TROUPE_NAME", "TROUPE_GROUP", "TROUPE_ENDPOINT",
                                        "TROUPE_KEYS", "TROUPE_LOG_LEVEL"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        unsetenv(names[i]);
    }
}

static void teardown(void)
{
    tr_service_options_release(&options);
}

TestSuite(service_options, .init = setup, .fini = teardown);

/// Parses one argument, or two.
static void parse(const char *first, const char *second)
{
    char *argv[] = {(char *)(uintptr_t) "daemon", (char *)(uintptr_t)first,
                    (char *)(uintptr_t)second, NULL};
    tr_service_options_init(&options, TR_ROLE_ACTOR);
    tr_service_parse(&options, first == NULL ? 1 : second == NULL ? 2 : 3, argv, "a test");
}

Test(service_options, have_the_defaults_of_the_manual)
{
    parse(NULL, NULL);
    char *name = tr_format("actor-%ld", (long)getpid());
    cr_expect_str_eq(options.name, name);
    cr_expect_null(options.group);
    cr_expect_null(options.endpoint);
    cr_expect_null(options.keys);
    cr_expect_null(options.config);
    cr_expect_eq(options.threads, 0);
    cr_expect_eq(options.ranks, 1);
    cr_expect_not(options.gpus);
    cr_expect_eq(options.credit, 2);
    cr_expect_eq(options.patience, 60.0);
    cr_expect_eq(options.level, TR_LOG_INFO);
    free(name);
}

Test(service_options, come_from_the_environment_unless_it_is_empty)
{
    setenv("TROUPE_NAME", "one", 1);
    setenv("TROUPE_GROUP", "tact", 1);
    setenv("TROUPE_ENDPOINT", "ipc://x", 1);
    setenv("TROUPE_KEYS", "", 1);
    setenv("TROUPE_LOG_LEVEL", "warn", 1);
    parse(NULL, NULL);
    cr_expect_str_eq(options.name, "one");
    cr_expect_str_eq(options.group, "tact");
    cr_expect_str_eq(options.endpoint, "ipc://x");
    cr_expect_null(options.keys);
    cr_expect_eq(options.level, TR_LOG_WARN);
}

Test(service_options, of_the_command_line_go_before_the_environment)
{
    setenv("TROUPE_NAME", "one", 1);
    parse("--name=two", "--connect=tcp://127.0.0.1:5");
    cr_expect_str_eq(options.name, "two");
    cr_expect_str_eq(options.endpoint, "tcp://127.0.0.1:5");
    tr_service_options_release(&options);
    parse("--role=reference", "--group=g");
    cr_expect_eq(options.role, TR_ROLE_REFERENCE);
    cr_expect_str_eq(options.group, "g");
    tr_service_options_release(&options);
    parse("--threads=0", "--ranks=3");
    cr_expect_eq(options.threads, 0);
    cr_expect_eq(options.ranks, 3);
    tr_service_options_release(&options);
    parse("--keys=k", "--config=c.json");
    cr_expect_str_eq(options.keys, "k");
    cr_expect_str_eq(options.config, "c.json");
    tr_service_options_release(&options);
    parse("--gpus", "--log-level=error");
    cr_expect(options.gpus);
    cr_expect_eq(options.level, TR_LOG_ERROR);
}

Test(service_options, a_role_gives_the_name)
{
    parse("--role=reward", NULL);
    cr_expect_eq(strncmp(options.name, "reward-", 7), 0, "%s", options.name);
}

// A mistake ends the process with code 64.

Test(service_options, an_unknown_role_is_refused, .exit_code = 64)
{
    parse("--role=clown", NULL);
}

Test(service_options, no_ranks_are_refused, .exit_code = 64)
{
    parse("--ranks=0", NULL);
}

Test(service_options, a_negative_number_of_threads_is_refused, .exit_code = 64)
{
    parse("--threads=-1", NULL);
}

Test(service_options, more_threads_than_4096_are_refused, .exit_code = 64)
{
    parse("--threads=4097", NULL);
}

Test(service_options, an_argument_that_is_no_option_is_refused, .exit_code = 64)
{
    parse("recipe.yaml", NULL);
}

Test(service_options, one_process_joins_nobody)
{
    tr_error_t err = {0};
    parse(NULL, NULL);
    cr_expect_eq(tr_service_join(&options, &err), TR_OK);
    cr_expect_null(options.collective);
}
