// Registration: a `register` message is read and checked, and its sender is recognised or admitted.
//
// Separate from dispatch.c because it is a protocol of its own: the only message whose sender may
// be new, move to another connection, or take the place of another process. PROTOCOL.md,
// "Registration".
#include <string.h>

#include "proto/body.h"
#include "proto/dispatch_state.h"

/// The limits of PROTOCOL.md.
enum { NAME_MAX_BYTES = 128, CREDIT_MAX = 1024, WORKERS_MAX = 4096, SILENCE_MAX_MS = 600000 };

/// A peer that is refused ends by itself.
static void refuse(tr_dispatch_t *d, const tr_peer_t *peer, tr_status code, const char *text)
{
    tr_message_t *message = tr_message_new("refused");
    tr_message_set_error(message, tr_status_name(code), text);
    d->counters.refused++;
    dispatch_post(d, peer, message);
}

/// Also the answer to a repeated registration, so it depends on the state alone. The config is
/// copied: a message may wait in the queue while the caller sets another.
static void welcome(tr_dispatch_t *d, const dispatch_worker_t *worker)
{
    tr_message_t *message = tr_message_new("welcome");
    json_t *config = d->config[worker->role];
    tr_message_set_body(
        message,
        json_pack("{s:I, s:[i, i], s:I, s:I, s:o}", "session", (json_int_t)d->options.session,
                  "protocol", TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR, "heartbeat_ms",
                  (json_int_t)d->options.heartbeat_ms, "silence_ms", (json_int_t)worker->silence_ms,
                  "config", config != NULL ? json_deep_copy(config) : json_object()));
    dispatch_post(d, &worker->peer, message);
}

/// First of all: the meaning of the other keys depends on the version.
static tr_status check_version(const json_t *body, tr_error_t *err)
{
    const json_t *protocol = json_object_get(body, "protocol");
    const json_t *major = json_array_get(protocol, 0);
    if (!json_is_integer(major)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "register: protocol: expected [major, minor]");
    }
    // The minor version only adds to the protocol, so any is good.
    if (json_integer_value(major) != TR_PROTOCOL_MAJOR) {
        return tr_fail(err, TR_ERR_VERSION,
                       "protocol version %lld is not spoken here (this controller speaks %d.%d)",
                       (long long)json_integer_value(major), TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR);
    }
    return TR_OK;
}

/// *text: borrowed from body; `otherwise` when the key is absent, NULL: the key is required.
static tr_status short_text(const char **text, const json_t *body, const char *key,
                            const char *otherwise, tr_error_t *err)
{
    *text = otherwise;
    if (otherwise == NULL || json_object_get(body, key) != NULL) {
        TR_TRY(tr_body_string(text, body, key, "register", err));
    }
    if (strlen(*text) > NAME_MAX_BYTES) {
        return tr_fail(err, TR_ERR_PROTOCOL, "register: %s: longer than %d bytes", key,
                       NAME_MAX_BYTES);
    }
    return TR_OK;
}

/// The content of a registration; the texts are borrowed from the message.
typedef struct registration {
    tr_role_t role;
    const char *name;
    const char *group;
    const char *instance;
    int64_t credit;
    int64_t silence_ms;
} registration_t;

/// A role with a state is this run's own: a stranger who takes it and leaves would cost the run its
/// progress.
static tr_status check_place(const registration_t *reg, const char *shown, const char *token,
                             tr_error_t *err)
{
    static const bool once[TR_ROLE_COUNT] = {
        [TR_ROLE_ACTOR] = true, [TR_ROLE_CRITIC] = true, [TR_ROLE_REFERENCE] = true};
    const char *role = tr_role_name(reg->role);
    bool invited = strcmp(reg->name, role) == 0 && (token == NULL || strcmp(shown, token) == 0);
    return !once[reg->role] || invited
               ? TR_OK
               : tr_fail(err, TR_ERR_ARGUMENT,
                         "register: token: the %s is the worker that this run started, and no "
                         "other",
                         role);
}

/// Everything is checked before anything is changed, so a refused registration leaves no trace but
/// a counter.
static tr_status read_registration(registration_t *reg, const tr_message_t *message,
                                   int64_t silence_ms, const char *token, tr_error_t *err)
{
    const json_t *body = tr_message_body(message);
    const char *role, *shown;
    if (tr_message_fault(message) != NULL) {
        return tr_fail(err, TR_ERR_PROTOCOL, "register: %s", tr_message_fault(message));
    }
    TR_TRY(check_version(body, err));
    TR_TRY(tr_body_string(&role, body, "role", "register", err));
    if (!tr_role_parse(&reg->role, role)) {
        return tr_fail(err, TR_ERR_PROTOCOL, "register: role: '%.40s' is not known", role);
    }
    TR_TRY(short_text(&reg->name, body, "name", NULL, err));
    TR_TRY(short_text(&reg->group, body, "group", tr_role_name(reg->role), err));
    TR_TRY(short_text(&reg->instance, body, "instance", "", err));
    TR_TRY(short_text(&shown, body, "token", "", err));
    TR_TRY(check_place(reg, shown, token, err));
    // Defaults for the optional keys.
    reg->credit = 1;
    reg->silence_ms = silence_ms;
    if (json_object_get(body, "credit") != NULL) {
        TR_TRY(tr_body_integer(&reg->credit, body, "credit", 1, CREDIT_MAX, "register", err));
    }
    if (json_object_get(body, "silence_ms") != NULL) {
        TR_TRY(tr_body_integer(&reg->silence_ms, body, "silence_ms", 1, SILENCE_MAX_MS, "register",
                               err));
        // A worker may ask for more patience than the controller has, never for less.
        reg->silence_ms = reg->silence_ms < silence_ms ? silence_ms : reg->silence_ms;
    }
    return TR_OK;
}

/// The same process comes over a new connection. It kept its requests, but messages in either
/// direction may be lost with the old connection: what is open is sent again at once. The worker
/// computes nothing twice, because it knows the ids.
static void rejoin(tr_dispatch_t *d, int64_t now, dispatch_worker_t *worker, const tr_peer_t *peer)
{
    worker->peer = *peer;
    dispatch_worker_heard(worker, now);
    welcome(d, worker);
    for (dispatch_request_t *r = TAILQ_FIRST(&d->requests); r != NULL; r = TAILQ_NEXT(r, link)) {
        if (r->worker == worker) {
            r->acknowledged = false;
            r->pause = d->options.resend_ms;
            dispatch_send_request(d, now, r);
        }
    }
}

/// A worker that was not known by this name.
static void join(tr_dispatch_t *d, int64_t now, const tr_peer_t *peer, const registration_t *reg,
                 const tr_message_t *message)
{
    dispatch_worker_t *worker = tr_calloc(1, sizeof *worker);
    worker->peer = *peer;
    worker->role = reg->role;
    worker->name = tr_strdup(reg->name);
    worker->group = tr_strdup(reg->group);
    worker->instance = tr_strdup(reg->instance);
    worker->silence_ms = reg->silence_ms;
    worker->credit = (size_t)reg->credit;
    worker->heard = now;
    TAILQ_INSERT_TAIL(&d->workers, worker, link);
    d->worker_count++;
    welcome(d, worker);
    // The event before the schedule: the caller hears of a worker before it hears of its answers.
    dispatch_emit_worker(d, TR_EVENT_JOINED, worker, tr_message_copy(message), NULL);
    dispatch_schedule(d, now);
}

/// Decides which of four cases a registration is; PROTOCOL.md lists them.
void dispatch_register(tr_dispatch_t *d, int64_t now, const tr_peer_t *peer, tr_message_t *message)
{
    tr_error_t err = {0};
    registration_t reg;
    if (read_registration(&reg, message, d->options.silence_ms, d->token, &err) != TR_OK) {
        refuse(d, peer, err.status, err.text);
        return;
    }
    // Two questions: which worker has this connection, and which has this name? The answers tell a
    // repetition, a process that moved, a successor and a newcomer apart.
    dispatch_worker_t *here = dispatch_worker_of_peer(d, peer);
    dispatch_worker_t *named = dispatch_worker_named(d, reg.name);
    // A repetition: our welcome was late or got lost.
    if (here != NULL && here == named && strcmp(here->instance, reg.instance) == 0) {
        dispatch_worker_heard(here, now);
        welcome(d, here);
        return;
    }
    // Without an instance nothing shows that it is the same process, so it counts as a new one.
    if (named != NULL && named->role == reg.role && reg.instance[0] != '\0' &&
        strcmp(named->instance, reg.instance) == 0) {
        rejoin(d, now, named, peer);
        return;
    }
    // A new process under an old name, or an old one with another role. The old process is told
    // over its own connection, so that two do not fight for the name for ever.
    if (named != NULL) {
        if (named != here) {
            refuse(d, &named->peer, TR_ERR_PEER, "another process registered under this name");
        }
        dispatch_lose(d, named, "was replaced by a new process of the same name", true);
        here = here == named ? NULL : here;
    }
    // This connection was another worker until now.
    if (here != NULL) {
        dispatch_lose(d, here, "took another name", true);
    }
    // The limit bounds what a peer can make the controller remember by registering many names.
    if (d->worker_count >= WORKERS_MAX) {
        refuse(d, peer, TR_ERR_MEMORY, "too many workers");
        return;
    }
    join(d, now, peer, &reg, message);
}
