// Addresses, keys and sockets: everything that touches CZMQ's certificates and options.
//
// The only place that decides which address needs keys. message_socket.c sends and receives through
// the sockets that are made here.
#include "proto/endpoint.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"

enum {
    LINGER_MS = 500, ///< how long a closed socket goes on sending
    BIND_MS = 1000   ///< how long binding is tried
};
/// How the name of a directory begins that is made for a socket alone.
#define TEMPORARY "/tmp/troupe-"
static const int64_t FRAME_MAX = (int64_t)1 << 31;

/// CZMQ would end the process at SIGINT and SIGTERM by itself; every daemon has its own way to
/// leave.
void tr_wire_init(void)
{
    zsys_handler_set(NULL);
    zsys_init();
    // Enough for a `bye`; a peer that is gone does not hold up the exit for longer.
    zsys_set_linger(LINGER_MS);
}

/// Addresses are compared as texts, as they were given: no name is looked up.
static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/// In the run directory, beside everything else of the run, unless that is too deep for a socket.
tr_status tr_endpoint_default(char **endpoint, const char *run_directory, tr_error_t *err)
{
    // Its length is the limit for paths of Unix sockets.
    struct sockaddr_un address;
    *endpoint = NULL;
    if (strlen(run_directory) + strlen("/controller.sock") < sizeof address.sun_path) {
        *endpoint = tr_format("ipc://%s/controller.sock", run_directory);
        return TR_OK;
    }
    char directory[] = TEMPORARY "XXXXXX";
    // A fresh directory, readable by its owner alone, so that nobody else can bind the name first.
    if (mkdtemp(directory) == NULL) {
        return tr_fail(err, TR_ERR_IO, "cannot create '%s': %s", directory, strerror(errno));
    }
    *endpoint = tr_format("ipc://%s/controller.sock", directory);
    return TR_OK;
}

/// ZeroMQ leaves the file of a Unix socket where it is.
void tr_endpoint_forget(const char *endpoint)
{
    if (!starts(endpoint, "ipc://") || endpoint[strlen("ipc://")] == '@') {
        return;
    }
    char *path = tr_strdup(endpoint + strlen("ipc://"));
    unlink(path);
    if (starts(path, TEMPORARY)) {
        *strrchr(path, '/') = '\0';
        rmdir(path);
    }
    free(path);
}

/// An address of an interface that is up and is not the loopback; the host's name where there is
/// none. Owned by the caller.
static char *own_address(void)
{
    char text[256] = "localhost";
    struct ifaddrs *all = NULL;
    gethostname(text, sizeof text - 1);
    if (getifaddrs(&all) == 0) {
        const struct ifaddrs *one = all;
        while (one != NULL &&
               (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET ||
                (one->ifa_flags & IFF_UP) == 0 || (one->ifa_flags & IFF_LOOPBACK) != 0)) {
            one = one->ifa_next;
        }
        if (one != NULL) {
            getnameinfo(one->ifa_addr, sizeof(struct sockaddr_in), text, sizeof text, NULL, 0,
                        NI_NUMERICHOST);
        }
        freeifaddrs(all);
    }
    return tr_strdup(text);
}

/// What a wildcard stands for differs with who connects; of several addresses the first is said.
char *tr_endpoint_reachable(const char *endpoint)
{
    static const char *const wildcards[] = {"tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"};
    for (size_t i = 0; i < sizeof wildcards / sizeof wildcards[0]; i++) {
        if (starts(endpoint, wildcards[i])) {
            char *address = own_address();
            char *text = tr_format("tcp://%s:%s", address, endpoint + strlen(wildcards[i]));
            free(address);
            return text;
        }
    }
    char *path = starts(endpoint, "ipc://") ? realpath(endpoint + strlen("ipc://"), NULL) : NULL;
    char *text = path != NULL ? tr_format("ipc://%s", path) : tr_strdup(endpoint);
    free(path);
    return text;
}

/// Whether the address reaches this machine alone.
static bool is_local(const char *endpoint)
{
    if (starts(endpoint, "tcp://127.")) {
        // Only digits: a host name, such as 127.example.org, may begin with "127." too.
        const char *host = endpoint + strlen("tcp://");
        return host[strspn(host, "0123456789.")] == ':';
    }
    return starts(endpoint, "ipc://") || starts(endpoint, "inproc://") ||
           starts(endpoint, "tcp://[::1]:") || starts(endpoint, "tcp://localhost:");
}

// Keys

/// Both halves, under directory/NAME.cert and NAME.cert_secret.
static tr_status save_certificate(zcert_t *certificate, const char *directory, const char *name,
                                  tr_error_t *err)
{
    // CZMQ writes two files: the public half, and with the suffix _secret both halves.
    char *both = tr_format("%s/%s.cert", directory, name);
    int failed = zcert_save(certificate, both);
    char *secret = tr_format("%s_secret", both);
    // Whatever mode CZMQ gave it.
    failed |= chmod(secret, 0600);
    tr_status status =
        failed ? tr_fail(err, TR_ERR_IO, "'%s' could not be written: %s", both, strerror(errno))
               : TR_OK;
    free(secret);
    free(both);
    return status;
}

/// The controller lets in every public certificate that is in this directory.
static tr_status authorise(zcert_t *certificate, const char *directory, const char *name,
                           tr_error_t *err)
{
    char *path = tr_format("%s/authorised/%s.cert", directory, name);
    tr_status status = TR_OK;
    if (zcert_save_public(certificate, path) != 0) {
        status = tr_fail(err, TR_ERR_IO, "'%s' could not be written: %s", path, strerror(errno));
    }
    free(path);
    return status;
}

/// The name becomes a part of file names, so letters and digits only.
tr_status tr_keys_add(const char *directory, const char *name, tr_error_t *err)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    if (name[0] == '\0' || name[strspn(name, letters)] != '\0') {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "'%s' cannot name a certificate (letters, digits, '-' and '_')", name);
    }
    // A certificate is a fresh pair of keys with a name for people.
    zcert_t *certificate = zcert_new();
    zcert_set_meta(certificate, "name", "%s", name);
    tr_status status = save_certificate(certificate, directory, name, err);
    if (status == TR_OK) {
        status = authorise(certificate, directory, name, err);
    }
    zcert_destroy(&certificate);
    return status;
}

/// A directory that holds the controller's secret is complete or was damaged; both are left alone.
tr_status tr_keys_make(const char *directory, tr_error_t *err)
{
    char *secret = tr_format("%s/controller.cert_secret", directory);
    char *authorised = tr_format("%s/authorised", directory);
    zcert_t *controller = NULL;
    tr_status status = TR_OK;
    // New keys under old names would lock out every worker that has the old ones.
    if (access(secret, F_OK) == 0) {
        status = tr_fail(err, TR_ERR_ARGUMENT, "'%s' holds keys already (name another directory)",
                         directory);
        goto done;
    }
    TR_TRY_GOTO(tr_directory_make(authorised, err), done);
    // The directory is closed before the first secret is written into it.
    if (chmod(directory, 0700) != 0) {
        status = tr_fail(err, TR_ERR_IO, "'%s' could not be made private: %s", directory,
                         strerror(errno));
        goto done;
    }
    controller = zcert_new();
    zcert_set_meta(controller, "name", "controller");
    TR_TRY_GOTO(save_certificate(controller, directory, "controller", err), done);
    TR_TRY_GOTO(tr_keys_add(directory, "worker", err), done);
done:
    zcert_destroy(&controller);
    free(authorised);
    free(secret);
    return status;
}

/// directory/NAME.cert, with its secret half where `secret` is asked for.
static tr_status load_certificate(zcert_t **certificate, const char *directory, const char *name,
                                  bool secret, tr_error_t *err)
{
    char *path = tr_format("%s/%s.cert%s", directory, name, secret ? "_secret" : "");
    *certificate = access(path, R_OK) == 0 ? zcert_load(path) : NULL;
    tr_status status = TR_OK;
    if (*certificate == NULL) {
        status = tr_fail(err, TR_ERR_ARGUMENT,
                         "'%s' holds no readable certificate (make keys with 'troupe keys')", path);
    }
    free(path);
    return status;
}

// Sockets

/// Refuses what would let strangers in, and says how to do it right.
static tr_status check_reach(const char *endpoint, const char *keys, tr_error_t *err)
{
    // ZeroMQ would take the last 16 bits of a larger port
    const char *port = starts(endpoint, "tcp://") ? strrchr(endpoint, ':') + 1 : "";
    if (strstr(endpoint, "://") == NULL || strtol(port, NULL, 10) > UINT16_MAX) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "expected an address such as tcp://127.0.0.1:5555 or ipc://PATH, found '%s'",
                       endpoint);
    }
    if (keys == NULL && !is_local(endpoint)) {
        return tr_fail(err, TR_ERR_ARGUMENT,
                       "'%s' reaches beyond this machine, which needs keys (make them with "
                       "'troupe keys DIRECTORY' and give both sides --keys DIRECTORY)",
                       endpoint);
    }
    return TR_OK;
}

/// A peer can make ZeroMQ allocate what it announces, so frames have a limit.
static zsock_t *socket_new(int type)
{
    tr_wire_init();
    zsock_t *socket = zsock_new(type);
    TR_ASSERT(socket != NULL, "no socket: %s", strerror(errno));
    zmq_setsockopt(zsock_resolve(socket), ZMQ_MAXMSGSIZE, &FRAME_MAX, sizeof FRAME_MAX);
    return socket;
}

/// Makes the socket one that only holders of an authorised key can connect to. *auth: the caller's,
/// also after a failure.
static tr_status secure_server(zsock_t *socket, zactor_t **auth, const char *keys, tr_error_t *err)
{
    zcert_t *certificate;
    TR_TRY(load_certificate(&certificate, keys, "controller", true, err));
    char *authorised = tr_format("%s/authorised", keys);
    // Checks of keys run in a thread of CZMQ (ZAP, a part of ZeroMQ), which is asked for every
    // connection. It confirms the command before the socket is bound, so that nobody slips in.
    *auth = zactor_new(zauth, NULL);
    TR_ASSERT(*auth != NULL, "a process can check keys for one socket only");
    zstr_sendx(*auth, "CURVE", authorised, NULL);
    zsock_wait(*auth);
    free(authorised);
    zcert_apply(certificate, socket);
    // The side that is connected to holds the long-term key that peers know.
    zsock_set_curve_server(socket, 1);
    zsock_set_zap_domain(socket, "troupe");
    zcert_destroy(&certificate);
    return TR_OK;
}

/// A Unix socket is for its owner alone. Names with '@' (abstract) and '*' (chosen by ZeroMQ) are
/// no paths.
static void protect_ipc(const char *endpoint)
{
    const char *path = endpoint + strlen("ipc://");
    if (starts(endpoint, "ipc://") && path[0] != '@' && path[0] != '*') {
        // ZeroMQ makes it with the mode that the umask leaves.
        chmod(path, 0600);
    }
}

/// ZeroMQ closes sockets in the background: the address of one that was just destroyed may still be
/// in use.
static int bind_with_retries(zsock_t *socket, const char *endpoint)
{
    // Only an address in use is waited for; any other failure would stay.
    int64_t end = tr_clock_ms() + BIND_MS;
    int port = zsock_bind(socket, "%s", endpoint);
    while (port < 0 && zmq_errno() == EADDRINUSE && tr_clock_ms() < end) {
        zclock_sleep(10);
        port = zsock_bind(socket, "%s", endpoint);
    }
    return port;
}

/// ROUTER, because the controller must choose which worker gets a message.
tr_status tr_endpoint_bind(zsock_t **socket, zactor_t **auth, const char *endpoint,
                           const char *keys, tr_error_t *err)
{
    *socket = NULL;
    *auth = NULL;
    TR_TRY(check_reach(endpoint, keys, err));
    *socket = socket_new(ZMQ_ROUTER);
    // A message to a peer that is gone is then an error; otherwise it would vanish.
    zsock_set_router_mandatory(*socket, 1);
    tr_status status = keys != NULL ? secure_server(*socket, auth, keys, err) : TR_OK;
    // The certificates are applied first: they must be in force when the first peer connects.
    if (status == TR_OK && bind_with_retries(*socket, endpoint) < 0) {
        status = tr_fail(err, TR_ERR_IO, "'%s' could not be bound: %s", endpoint,
                         zmq_strerror(zmq_errno()));
    }
    if (status != TR_OK) {
        zsock_destroy(socket);
        zactor_destroy(auth);
        return status;
    }
    protect_ipc(endpoint);
    return TR_OK;
}

/// The worker proves who it is, and accepts no other controller than the one of the certificate.
static tr_status secure_client(zsock_t *socket, const char *keys, const char *name, tr_error_t *err)
{
    zcert_t *own;
    zcert_t *server = NULL;
    TR_TRY(load_certificate(&own, keys, name != NULL ? name : "worker", true, err));
    tr_status status = load_certificate(&server, keys, "controller", false, err);
    if (status == TR_OK) {
        zcert_apply(own, socket);
        zsock_set_curve_serverkey(socket, zcert_public_txt(server));
    }
    zcert_destroy(&server);
    zcert_destroy(&own);
    return status;
}

/// DEALER, because a worker sends when it likes: REQ would allow one message at a time. Connecting
/// happens in the background and does not fail when nobody is there yet.
tr_status tr_endpoint_connect(zsock_t **socket, const char *endpoint, const char *keys,
                              const char *certificate, tr_error_t *err)
{
    // Without ZMQ_IMMEDIATE: that option drops messages that came and are not read yet when the
    // other side hangs up, such as `bye`.
    *socket = NULL;
    TR_TRY(check_reach(endpoint, keys, err));
    *socket = socket_new(ZMQ_DEALER);
    tr_status status = keys != NULL ? secure_client(*socket, keys, certificate, err) : TR_OK;
    if (status == TR_OK && zsock_connect(*socket, "%s", endpoint) != 0) {
        status = tr_fail(err, TR_ERR_ARGUMENT, "'%s' is no address that can be connected to: %s",
                         endpoint, zmq_strerror(zmq_errno()));
    }
    if (status != TR_OK) {
        zsock_destroy(socket);
    }
    return status;
}
