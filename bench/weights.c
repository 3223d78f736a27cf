/// bench-weights: how fast weights go from an actor to a rollout.
///
///     bench-weights shm|tcp MIB
///     bench-weights keys MIB DIRECTORY        DIRECTORY: keys, made where there are none
///
/// Measures once for each line on standard input and answers with a line: MiB a second from the first byte that is published to the last
/// that is there and believed. keys: by TCP with CURVE. Both ends are in this process.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "proto/endpoint.h"
#include "proto/weights_server.h"

typedef struct ends {
    bool shm;
    size_t bytes;
    char *data;
    tr_weights_publisher_t *publisher;
    tr_weights_server_t *server;
    tr_weights_reader_t *reader;
    tr_weights_fetcher_t *fetcher;
} ends_t;

static bool go_on(void)
{
    return false;
}

static tr_status open_ends(ends_t *ends, const char *keys, tr_error_t *err)
{
    char prefix[32];
    snprintf(prefix, sizeof prefix, "bench-%ld", (long)getpid());
    TR_TRY(tr_weights_publisher_new(&ends->publisher, ends->bytes, prefix, err));
    if (keys != NULL) {
        tr_keys_make(keys, err); // a directory that holds some is as good
        *err = (tr_error_t){0};
    }
    TR_TRY(tr_weights_server_new(&ends->server, ends->publisher, "tcp://127.0.0.1:*", keys, err));
    ends->reader = tr_weights_reader_new();
    ends->fetcher = tr_weights_fetcher_new("tcp://127.0.0.1:0", keys);
    ends->data = tr_calloc(ends->bytes, 1);
    return TR_OK;
}

static void close_ends(ends_t *ends)
{
    tr_weights_fetcher_destroy(&ends->fetcher);
    tr_weights_reader_destroy(&ends->reader);
    tr_weights_server_destroy(&ends->server);
    tr_weights_publisher_destroy(&ends->publisher);
    free(ends->data);
}

static tr_status hand_over(ends_t *ends, uint64_t version, tr_error_t *err)
{
    const void *got;
    size_t bytes;
    uint64_t sum, taken;
    TR_TRY(tr_weights_publish(&sum, ends->publisher, version, ends->data, err));
    json_t *description = tr_weights_describe(ends->publisher);
    tr_weights_server_describe(description, ends->server);
    tr_status status =
        ends->shm ? tr_weights_map(&got, &bytes, &taken, &sum, ends->reader, description, err)
                  : tr_weights_fetch(&got, ends->bytes, ends->fetcher, description, go_on, err);
    json_decref(description);
    return status;
}

int main(int argc, char **argv)
{
    char line[64];
    tr_error_t err = {0};
    if (argc != 3 && (argc != 4 || strcmp(argv[1], "keys") != 0)) {
        fprintf(stderr, "usage: bench-weights shm|tcp MIB | keys MIB DIRECTORY\n");
        return 64;
    }
    ends_t ends = {.shm = strcmp(argv[1], "shm") == 0,
                   .bytes = (size_t)strtoul(argv[2], NULL, 10) << 20};
    tr_status status = open_ends(&ends, argc == 4 ? argv[3] : NULL, &err);
    for (uint64_t version = 0; status == TR_OK && fgets(line, sizeof line, stdin) != NULL;
         version++) {
        double start = tr_clock_seconds();
        status = hand_over(&ends, version, &err);
        printf("%.1f\n", (double)(ends.bytes >> 20) / (tr_clock_seconds() - start));
        fflush(stdout);
    }
    close_ends(&ends);
    if (status != TR_OK) {
        fprintf(stderr, "%s\n", err.text);
    }
    return tr_status_exit_code(status);
}
