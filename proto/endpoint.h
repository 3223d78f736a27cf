/// Addresses, sockets and keys.
///
/// A run talks over ipc:// in its directory or over loopback: addresses that reach this machine
/// alone (ipc://, inproc://, tcp://127.x.y.z, tcp://[::1], tcp://localhost). Any other address
/// needs CURVE keys at both ends; a peer without an authorised key is not answered at all. A keys
/// directory (`troupe keys DIR`) holds
///
///     controller.cert  controller.cert_secret     who the controller is
///     worker.cert      worker.cert_secret         who the workers are
///     authorised/                                 public certificates that the controller lets in
///
/// in CZMQ's certificate format. Workers elsewhere need worker.cert_secret and controller.cert
/// only. tr_keys_add makes certificates for more workers.
#ifndef TR_PROTO_ENDPOINT_H
#define TR_PROTO_ENDPOINT_H

#include <czmq.h>

#include "common/base/status.h"

/// Once a process, before the first socket and before threads start; again is harmless. Turns off
/// the signal handling of CZMQ and limits how long unsent messages delay the exit.
void tr_wire_init(void);

/// "ipc://DIRECTORY/controller.sock", or, when that is longer than the name of a Unix socket may be
/// (107 bytes), one in a fresh directory under /tmp. *endpoint: owned by the caller (free).
tr_status tr_endpoint_default(char **endpoint, const char *run_directory, tr_error_t *err);

/// What is left of an address once nobody listens there: removes the socket of an ipc address, and
/// the directory that tr_endpoint_default made for it. Nothing of other addresses.
void tr_endpoint_forget(const char *endpoint);

/// The address by which others reach a socket that is bound to `endpoint`: an ipc path is made
/// absolute, and a wildcard (tcp://0.0.0.0, tcp://[::], tcp://\*) becomes an address of this
/// machine. Owned by the caller (free).
char *tr_endpoint_reachable(const char *endpoint);

/// Makes the directory with fresh keys for a controller and its workers; secrets are readable by
/// the owner alone. Refuses a directory that has keys.
tr_status tr_keys_make(const char *directory, tr_error_t *err);

/// One more worker certificate, directory/NAME.cert (and _secret), authorised. name: letters,
/// digits, '-', '_'.
tr_status tr_keys_add(const char *directory, const char *name, tr_error_t *err);

/// A bound ROUTER. keys NULL: no CURVE, and then an address that is not local is TR_ERR_ARGUMENT
/// with the remedy. *auth: the ZAP actor that checks client keys, NULL without keys; it must
/// outlive the socket, and a process can have one. Destroy the socket first (zsock_destroy), then
/// the actor (zactor_destroy).
tr_status tr_endpoint_bind(zsock_t **socket, zactor_t **auth, const char *endpoint,
                           const char *keys, tr_error_t *err);

/// A connected DEALER. keys: directory with `certificate`.cert_secret ("worker" when NULL) and
/// controller.cert, or NULL; an address that is not local needs keys.
tr_status tr_endpoint_connect(zsock_t **socket, const char *endpoint, const char *keys,
                              const char *certificate, tr_error_t *err);

#endif
