// Which addresses are local, which need keys, and how keys lie on the disk.
#include <criterion/criterion.h>

#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "proto/endpoint.h"
#include "tests/support/scratch.h"

static char *folder;
static tr_error_t err;

static void setup(void)
{
    folder = scratch_open();
}

static void teardown(void)
{
    scratch_close(&folder);
}

TestSuite(endpoint, .init = setup, .fini = teardown, .timeout = 60);

Test(endpoint, an_address_that_others_reach_needs_keys_at_both_ends)
{
    static const char *const addresses[] = {
        "tcp://*:*",           "tcp://0.0.0.0:*",        "tcp://[::]:*",
        "tcp://10.0.0.1:5000", "tcp://example.org:5000", "tcp://127.example.org:5000",
        "tcp://127.0.0.1",     "udp://127.0.0.1:5000"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        zsock_t *socket;
        zactor_t *auth;
        cr_expect_eq(tr_endpoint_bind(&socket, &auth, addresses[i], NULL, &err), TR_ERR_ARGUMENT);
        cr_expect_null(socket);
        cr_expect_not_null(strstr(err.text, "troupe keys"), "the remedy: %s", err.text);
        cr_expect_eq(tr_endpoint_connect(&socket, addresses[i], NULL, NULL, &err), TR_ERR_ARGUMENT);
        cr_expect_null(socket);
    }
}

Test(endpoint, a_local_address_needs_no_keys)
{
    static const char *const addresses[] = {"ipc:///tmp/x",         "inproc://x",
                                            "tcp://127.0.0.1:5000", "tcp://127.8.9.10:5000",
                                            "tcp://[::1]:5000",     "tcp://localhost:5000"};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        zsock_t *socket;
        cr_expect_eq(tr_endpoint_connect(&socket, addresses[i], NULL, NULL, &err), TR_OK, "%s",
                     err.text);
        zsock_destroy(&socket);
    }
}

Test(endpoint, the_default_address_is_short_enough_for_a_unix_socket)
{
    char *address;
    char deep[200];
    cr_assert_eq(tr_endpoint_default(&address, folder, &err), TR_OK, "%s", err.text);
    char *expected = tr_format("ipc://%s/controller.sock", folder);
    cr_expect_str_eq(address, expected);
    free(expected);
    free(address);
    memset(deep, 'd', sizeof deep);
    deep[0] = '/';
    deep[sizeof deep - 1] = '\0';
    cr_assert_eq(tr_endpoint_default(&address, deep, &err), TR_OK, "%s", err.text);
    cr_expect_leq(strlen(address) - strlen("ipc://"), 107);
    zsock_t *socket;
    zactor_t *auth;
    cr_assert_eq(tr_endpoint_bind(&socket, &auth, address, NULL, &err), TR_OK, "%s", err.text);
    zsock_destroy(&socket);
    tr_endpoint_forget(address);
    *strrchr(address, '/') = '\0';
    cr_expect_neq(access(address + strlen("ipc://"), F_OK), 0, "its directory is left");
    free(address);
}

/// Whether a TCP socket that listens on all interfaces takes a connection to the address.
static bool takes_connection(const char *address)
{
    struct addrinfo *found = NULL;
    char *host = tr_strdup(address + strlen("tcp://"));
    char *port = strrchr(host, ':');
    *port++ = '\0';
    bool taken = getaddrinfo(host, port, &(struct addrinfo){.ai_family = AF_INET}, &found) == 0;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    taken = taken && connect(client, found->ai_addr, found->ai_addrlen) == 0;
    close(client);
    freeaddrinfo(found);
    free(host);
    return taken;
}

Test(endpoint, a_reachable_address_can_be_connected_to)
{
    struct sockaddr_in bound = {.sin_family = AF_INET};
    socklen_t size = sizeof bound;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(server, (struct sockaddr *)&bound, size), 0);
    cr_assert_eq(listen(server, 4), 0);
    cr_assert_eq(getsockname(server, (struct sockaddr *)&bound, &size), 0);
    static const char *const wildcards[] = {"0.0.0.0", "[::]", "*"};
    for (size_t i = 0; i < 3; i++) {
        char *address = tr_format("tcp://%s:%d", wildcards[i], ntohs(bound.sin_port));
        char *reachable = tr_endpoint_reachable(address);
        cr_expect_null(strstr(reachable, wildcards[i]), "%s", reachable);
        cr_expect(takes_connection(reachable), "%s", reachable);
        free(reachable);
        free(address);
    }
    close(server);
    char *kept = tr_endpoint_reachable("tcp://127.0.0.1:5555");
    cr_expect_str_eq(kept, "tcp://127.0.0.1:5555");
    free(kept);
}

Test(endpoint, keys_are_never_overwritten_and_secrets_are_the_owners)
{
    static const char *const secrets[] = {"controller.cert_secret", "worker.cert_secret"};
    char *keys = tr_format("%s/keys", folder);
    cr_assert_eq(tr_keys_make(keys, &err), TR_OK, "%s", err.text);
    cr_expect_eq(tr_keys_make(keys, &err), TR_ERR_ARGUMENT);
    for (size_t i = 0; i < 2; i++) {
        struct stat info;
        char *path = tr_format("%s/%s", keys, secrets[i]);
        cr_assert_eq(stat(path, &info), 0, "%s", path);
        cr_expect_eq(info.st_mode & 0777, 0600, "%s", path);
        free(path);
    }
    free(keys);
}

Test(endpoint, a_certificates_name_is_no_path)
{
    cr_expect_eq(tr_keys_add(folder, "../x", &err), TR_ERR_ARGUMENT);
    cr_expect_eq(tr_keys_add(folder, "", &err), TR_ERR_ARGUMENT);
}
