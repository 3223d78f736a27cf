// bench-weights: how fast weights go from an actor to a rollout, which is a process of its own.
//
//     bench-weights shm|tcp MIB
//     bench-weights keys MIB DIRECTORY        DIRECTORY: keys, made where there are none
//
// Measures once for each line on standard input and answers with a line: MiB a second, from the
// first byte published to the last one received and checked. keys: by TCP with CURVE. The child
// reads, the parent publishes; descriptions go between them as they would in messages.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "proto/endpoint.h"
#include "proto/weights/weights_server.h"

/// Shared by both processes: it is made before the fork.
typedef struct plan {
    bool shm;
    size_t bytes;
    const char *keys;  // NULL: none
    FILE *asks, *says; // descriptions, a line each; then a byte when the weights are there
} plan_t;

/// Whether to stop fetching: never.
static bool go_on(void)
{
    return false;
}

/// The reader: each description is answered with a byte once the weights are there.
static tr_status take(const plan_t *plan, tr_error_t *err)
{
    // both ways are opened; the plan says which is used
    tr_weights_reader_t *reader = tr_weights_reader_new();
    tr_weights_fetcher_t *fetcher = tr_weights_fetcher_new("tcp://127.0.0.1:0", plan->keys);
    tr_status status = TR_OK;
    char line[1024];
    while (status == TR_OK && fgets(line, sizeof line, plan->asks) != NULL) {
        const void *got;
        json_t *description = json_loads(line, 0, NULL);
        status = plan->shm ? tr_weights_map(&got, plan->bytes, reader, description, err)
                           : tr_weights_fetch(&got, plan->bytes, fetcher, description, go_on, err);
        json_decref(description);
        if (status == TR_OK) {
            fputc('.', plan->says);
            fflush(plan->says);
        }
    }
    tr_weights_fetcher_destroy(&fetcher);
    tr_weights_reader_destroy(&reader);
    return status;
}

static tr_status copy_in(void *source, void *bytes, size_t count, tr_error_t *err)
{
    (void)err;
    memcpy(bytes, source, count);
    return TR_OK;
}

/// False where the reader has failed, which it has said.
static bool hand_over(const plan_t *plan, tr_weights_publisher_t *publisher,
                      const tr_weights_server_t *server, uint64_t version, char *data)
{
    uint64_t sum;
    tr_error_t err = {0};
    tr_status status = tr_weights_publish(&sum, publisher, version, copy_in, data, &err);
    TR_ASSERT(status == TR_OK, "%s", err.text);
    // one description for both ways, as the actor sends it
    json_t *description = tr_weights_describe(publisher);
    tr_weights_server_describe(description, server);
    json_dumpf(description, plan->asks, JSON_COMPACT);
    fputc('\n', plan->asks);
    fflush(plan->asks);
    json_decref(description);
    // the end of file when the reader has ended
    return fgetc(plan->says) == '.';
}

static tr_status give(const plan_t *plan, tr_error_t *err)
{
    char prefix[32], line[64];
    tr_weights_publisher_t *publisher;
    tr_weights_server_t *server;
    snprintf(prefix, sizeof prefix, "bench-%ld", (long)getpid());
    TR_TRY(tr_weights_publisher_new(&publisher, plan->bytes, prefix, err));
    TR_TRY(tr_weights_server_new(&server, publisher, "tcp://127.0.0.1:*", plan->keys, err));
    char *data = tr_calloc(plan->bytes, 1);
    bool there = true;
    for (uint64_t version = 0; there && fgets(line, sizeof line, stdin) != NULL; version++) {
        // the checksum on both sides is part of it: a rollout trusts no version without
        double start = tr_clock_seconds();
        there = hand_over(plan, publisher, server, version, data);
        printf("%.1f\n", (double)(plan->bytes >> 20) / (tr_clock_seconds() - start));
        fflush(stdout);
    }
    free(data);
    tr_weights_server_destroy(&server);
    tr_weights_publisher_destroy(&publisher);
    return TR_OK;
}

int main(int argc, char **argv)
{
    int down[2], up[2];
    tr_error_t err = {0};
    if (argc != 3 && (argc != 4 || strcmp(argv[1], "keys") != 0)) {
        fprintf(stderr, "usage: bench-weights shm|tcp MIB | keys MIB DIRECTORY\n");
        return 64;
    }
    plan_t plan = {.shm = strcmp(argv[1], "shm") == 0,
                   .bytes = (size_t)strtoul(argv[2], NULL, 10) << 20,
                   .keys = argc == 4 ? argv[3] : NULL};
    if (pipe(down) != 0 || pipe(up) != 0) {
        return 71;
    }
    pid_t reader = fork();
    // each side closes the ends that the other uses
    bool reads = reader == 0;
    close(down[reads]);
    close(up[!reads]);
    plan.asks = fdopen(down[!reads], reads ? "r" : "w");
    plan.says = fdopen(up[reads], reads ? "w" : "r");
    if (!reads && plan.keys != NULL) {
        tr_keys_make(plan.keys, &err); // a directory that holds some is as good
        err = (tr_error_t){0};
    }
    tr_status status = reads ? take(&plan, &err) : give(&plan, &err);
    fclose(plan.asks);
    fclose(plan.says);
    if (!reads) {
        waitpid(reader, NULL, 0);
    }
    if (status != TR_OK) {
        fprintf(stderr, "%s\n", err.text);
    }
    return tr_status_exit_code(status);
}
