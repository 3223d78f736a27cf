// The worker's half of the protocol: registration, heartbeats, requests and replies, leaving.
//
// One loop (poll_once) on the caller's thread waits for three things: messages, finished jobs,
// signals. It never computes, so heartbeats are on time; the work is in service_jobs.c. Read
// PROTOCOL.md first, then poll_once, then the functions that it calls.
#include "proto/service.h"

#include <czmq.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/hf/json_file.h"
#include "proto/body.h"
#include "proto/endpoint.h"
#include "proto/service_jobs.h"
#include "proto/service_ranks.h"
#include "proto/service_signals.h"

enum {
    REGISTER_MIN_MS = 50, ///< pause between registrations, which doubles
    REGISTER_MAX_MS = 2000,
    BACKOFF_MIN_MS = 5000,  ///< pause after a handler could not serve, which doubles
    BACKOFF_MAX_MS = 40000, ///< below the default patience, so that the worker does not give up
    CONFIRM_MS = 1000,      ///< how long a leaving worker waits for `done`
    TICK_MAX_MS = 1000,
    SETTINGS_LIMIT = 1 << 20 ///< bytes of the --config file
};

typedef struct service {
    const tr_service_options_t *options;
    json_t *settings; ///< from --config, laid over each welcome's config; NULL: none
    char *name;
    char *instance; ///< tells this process from another of the same name
    zsock_t *socket;
    service_jobs_t jobs;
    int wake;            ///< readable once a signal came
    bool registered;     ///< the last welcome still holds
    bool dismissed;      ///< the controller said bye
    bool welcome_failed; ///< the daemon's welcome failed, so the other ranks have left already
    int64_t session;     ///< of the last welcome; 0: there was none
    int64_t heartbeat_ms;
    int64_t silence_ms;   ///< after so long without a message the service connects again
    int64_t heard;        ///< when the last message came
    int64_t heartbeat_at; ///< when the next heartbeat is due
    int64_t register_at;  ///< when to register again
    int64_t register_pause;
    int64_t backoff;       ///< how long to stay away when a handler cannot serve
    int64_t confirm_until; ///< while leaving: when to stop waiting for `done`; 0: not yet decided
    bool ended;
    tr_status status; ///< once ended: the result of tr_service_run
    tr_error_t *err;
} service_t;

/// Ends the loop after this turn. The first call need not be the last: a later failure replaces the
/// status.
static void end(service_t *s, tr_status status)
{
    s->ended = true;
    s->status = status;
}

/// A message that cannot be sent is not an error here: a reply is asked for again by the
/// controller, and registrations and heartbeats repeat.
static void post(service_t *s, const tr_message_t *message)
{
    tr_error_t err = {0};
    if (tr_message_send(s->socket, NULL, message, &err) != TR_OK) {
        tr_log(TR_LOG_DEBUG, "service", "type=%s \"%s\"", tr_message_type(message), err.text);
    }
}

/// As post, and takes the message.
static void post_new(service_t *s, tr_message_t *message)
{
    post(s, message);
    tr_message_destroy(&message);
}

/// id 0: about no request.
static void post_error(service_t *s, int64_t id, tr_status code, const char *text)
{
    tr_message_t *message = tr_message_about("error", id);
    tr_message_set_error(message, tr_status_name(code), text);
    post_new(s, message);
}

/// why: the failure because of which we leave, or NULL.
static void post_bye(service_t *s, const char *why)
{
    tr_message_t *message = tr_message_new("bye");
    if (why != NULL) {
        tr_message_set_body(message, json_pack("{s:s}", "text", why));
    }
    post_new(s, message);
}

/// The same message each time, so that the controller can tell a repetition (by instance) from a
/// new process.
static void post_register(service_t *s)
{
    const tr_service_options_t *o = s->options;
    tr_message_t *message = tr_message_new("register");
    const char *group = o->group != NULL ? o->group : tr_role_name(o->role);
    tr_message_set_body(message, json_pack("{s:s, s:s, s:s, s:s, s:s, s:[i, i], s:I, s:{}}", "role",
                                           tr_role_name(o->role), "name", s->name, "group", group,
                                           "instance", s->instance, "token",
                                           o->token != NULL ? o->token : "", "protocol",
                                           TR_PROTOCOL_MAJOR, TR_PROTOCOL_MINOR, "credit",
                                           (json_int_t)o->credit, "capabilities"));
    post_new(s, message);
}

/// A new socket, and a registration at once. Requests and replies are kept: the controller may be
/// the same as before.
static tr_status reconnect(service_t *s, tr_error_t *err)
{
    zsock_destroy(&s->socket);
    s->registered = false;
    s->register_at = tr_clock_ms();
    s->register_pause = REGISTER_MIN_MS;
    return tr_endpoint_connect(&s->socket, s->options->endpoint, s->options->keys, NULL, err);
}

// Messages from the controller. Each function may take *message: then it sets it to NULL.

/// Answers a registration, also one that was repeated.
static void take_welcome(service_t *s, tr_message_t **message)
{
    const json_t *body = tr_message_body(*message);
    int64_t session, heartbeat;
    tr_error_t err = {0};
    if (tr_body_integer(&session, body, "session", 1, INT64_MAX, "welcome", &err) != TR_OK ||
        tr_body_integer(&heartbeat, body, "heartbeat_ms", 1, 3600000, "welcome", &err) != TR_OK) {
        post_error(s, 0, err.status, err.text);
        return;
    }
    // Absent or malformed: 0, and the two heartbeats below apply.
    int64_t silence = json_integer_value(json_object_get(body, "silence_ms"));
    s->heartbeat_ms = heartbeat;
    // With less than two heartbeats, one that is late would be taken for silence.
    s->silence_ms = silence > 2 * heartbeat ? silence : 2 * heartbeat;
    s->registered = true;
    s->heartbeat_at = tr_clock_ms();
    // The same controller over a new connection: the daemon keeps its model, the jobs their
    // replies.
    if (session == s->session) {
        return;
    }
    s->session = session;
    tr_log(TR_LOG_INFO, "service", "session=%lld \"welcomed\"", (long long)session);
    // Another controller: it knows nothing of the requests of the one before.
    service_jobs_forget(&s->jobs);
    // The user of this machine decides over the recipe: paths and devices may differ here.
    if (s->settings != NULL) {
        json_object_update(json_object_get(body, "config"), s->settings);
    }
    if (s->options->welcome != NULL) {
        // As a job without an id, because loading a model takes long: it runs before the requests
        // that come after it, and heartbeats go on.
        service_jobs_add(&s->jobs, message);
    }
}

/// The controller cannot use this worker, and asking again would not change that.
static void take_refused(service_t *s, tr_message_t **message)
{
    const char *code = json_string_value(json_object_get(tr_message_body(*message), "code"));
    const char *text = json_string_value(json_object_get(tr_message_body(*message), "text"));
    bool version = code != NULL && strcmp(code, "version") == 0;
    end(s, tr_fail(s->err, version ? TR_ERR_VERSION : TR_ERR_PEER,
                   "the controller at '%s' refused '%s': %s", s->options->endpoint, s->name,
                   text != NULL ? text : "no reason given"));
}

/// Acknowledges a request that waits or is computed, as often as it comes; answers again one that
/// is done.
static void take_request(service_t *s, tr_message_t **message)
{
    int64_t id = tr_message_id(*message);
    // Without an id there is nothing that a reply could name.
    if (id == 0 || tr_message_fault(*message) != NULL) {
        post_error(s, id, TR_ERR_PROTOCOL,
                   id == 0 ? "id: expected an integer from 1" : tr_message_fault(*message));
        return;
    }
    service_job_t *job = service_jobs_find(&s->jobs, id);
    // The reply got lost, or the controller was too slow to confirm it: it is sent once more.
    if (job != NULL && job->state == SERVICE_ANSWERED) {
        post(s, job->reply);
        return;
    }
    // A new request. One that waits or is being computed is only acknowledged again.
    if (job == NULL) {
        if (tr_service_stopping()) {
            return; // `bye` follows soon, and the controller gives the request to another worker
        }
        job = service_jobs_add(&s->jobs, message);
    }
    if (job == NULL) {
        post_error(s, id, TR_ERR_MEMORY, "too many requests wait here");
        return;
    }
    post_new(s, tr_message_about("ack", id));
}

/// The controller has the answer: it need not be kept any longer.
static void take_done(service_t *s, tr_message_t **message)
{
    service_jobs_remove(&s->jobs, tr_message_id(*message));
}

/// An error is never answered, or two sides that misunderstand each other would go on for ever.
static void take_error(service_t *s, tr_message_t **message)
{
    const char *code = json_string_value(json_object_get(tr_message_body(*message), "code"));
    const char *text = json_string_value(json_object_get(tr_message_body(*message), "text"));
    if (code != NULL && strcmp(code, "unregistered") == 0) {
        // Several such errors may be on the way; only the first one resets the pause.
        if (s->registered) {
            s->register_at = tr_clock_ms();
            s->register_pause = REGISTER_MIN_MS;
        }
        s->registered = false;
        return;
    }
    tr_log(TR_LOG_WARN, "service", "\"the controller reports: %s\"",
           text != NULL ? text : "an error");
}

/// The controller ends. Nothing is to be confirmed to it any more.
static void take_bye(service_t *s, tr_message_t **message)
{
    (void)message;
    // As a signal would: handlers that look at tr_service_stopping give up early.
    s->dismissed = true;
    service_signals_stop();
}

/// Nothing to do: receive_all has noted that the controller lives.
static void take_heartbeat(service_t *s, tr_message_t **message)
{
    (void)s, (void)message;
}

/// A type that is not here is answered with an error: a newer controller may send it.
static const struct {
    const char *type;
    void (*take)(service_t *, tr_message_t **);
} takers[] = {{"request", take_request}, {"done", take_done},   {"heartbeat", take_heartbeat},
              {"welcome", take_welcome}, {"error", take_error}, {"refused", take_refused},
              {"bye", take_bye}};

/// Hands a message to the function for its type.
static void take(service_t *s, tr_message_t **message)
{
    for (size_t i = 0; i < sizeof takers / sizeof takers[0]; i++) {
        if (strcmp(takers[i].type, tr_message_type(*message)) == 0) {
            takers[i].take(s, message);
            tr_message_destroy(message);
            return;
        }
    }
    post_error(s, tr_message_id(*message), TR_ERR_UNSUPPORTED, "this type of message is not known");
    tr_message_destroy(message);
}

/// Reads what has arrived. A malformed message is reported and skipped.
static void receive_all(service_t *s)
{
    while (!s->ended) {
        tr_message_t *message;
        tr_error_t err = {0};
        tr_status status = tr_message_receive(&message, NULL, s->socket, &err);
        if (status == TR_OK) {
            s->heard = tr_clock_ms();
            take(s, &message);
        } else if (status == TR_ERR_PROTOCOL) {
            tr_log(TR_LOG_WARN, "service", "\"malformed message: %s\"", err.text);
            post_error(s, 0, status, err.text);
        } else {
            return;
        }
    }
}

/// A handler cannot serve now, though the process is healthy (weights could not be fetched, say):
/// the other workers get its requests, and it registers again later. An error reply would not do:
/// it would be taken for the answer, and nobody else would be asked.
static void withdraw(service_t *s, const char *why)
{
    tr_log(TR_LOG_WARN, "service", "\"leaving for %lld seconds: %s\"", (long long)s->backoff / 1000,
           why);
    post_bye(s, why);
    service_jobs_forget(&s->jobs);
    s->registered = false;
    s->register_at = tr_clock_ms() + s->backoff;
    s->backoff = s->backoff * 2 < BACKOFF_MAX_MS ? s->backoff * 2 : BACKOFF_MAX_MS;
    s->register_pause = REGISTER_MIN_MS;
}

/// A job came back from the handlers' thread: its reply is sent, and kept until `done`. An
/// interrupted request has no reply: the controller gives it to another worker when it hears `bye`.
static void take_finished(service_t *s)
{
    service_job_t *job = service_jobs_finished(&s->jobs);
    if (job == NULL) {
        return;
    }
    // A welcome. Its failure (no such model, no memory) is the end of the daemon: it would fail
    // again.
    if (job->id == 0) {
        if (job->status != TR_OK) {
            // The handler's own sentence is what the user sees.
            *s->err = job->err;
            post_bye(s, job->err.text);
            end(s, job->status);
            s->welcome_failed = true;
        }
        service_jobs_remove(&s->jobs, 0);
    } else if (job->status == TR_ERR_INTERRUPTED && tr_service_stopping()) {
        service_jobs_remove(&s->jobs, job->id);
    } else if (job->status == TR_ERR_INTERRUPTED) {
        withdraw(s, job->err.text);
    } else {
        post(s, job->reply);
        s->backoff = BACKOFF_MIN_MS;
    }
}

// Time passes

/// Timers: gives up, connects again, sends a heartbeat, registers; whatever is due now.
static void keep_connected(service_t *s, int64_t now)
{
    if (now - s->heard > (int64_t)(s->options->patience * 1000.0)) {
        end(s, tr_fail(s->err, TR_ERR_TIMEOUT, "no controller was heard at '%s' for %g seconds",
                       s->options->endpoint, s->options->patience));
        return;
    }
    // ZeroMQ connects again by itself after a link was closed, but does not notice one that is dead
    // without being closed.
    if (s->registered && now - s->heard > s->silence_ms) {
        tr_log(TR_LOG_WARN, "service", "\"the controller is silent; connecting again\"");
        tr_status status = reconnect(s, s->err);
        if (status != TR_OK) {
            end(s, status);
            return;
        }
    }
    if (s->registered && now >= s->heartbeat_at) {
        post_new(s, tr_message_new("heartbeat"));
        s->heartbeat_at = now + s->heartbeat_ms;
    }
    // Repeated until a welcome comes: the controller may not be there yet.
    if (!s->registered && now >= s->register_at && !tr_service_stopping()) {
        post_register(s);
        s->register_at = now + s->register_pause;
        s->register_pause =
            s->register_pause * 2 < REGISTER_MAX_MS ? s->register_pause * 2 : REGISTER_MAX_MS;
    }
}

/// Whether a reply waits for its `done`.
static bool unconfirmed(const service_t *s)
{
    for (const service_job_t *job = s->jobs.first; job != NULL; job = job->next) {
        if (job->id > 0 && job->state == SERVICE_ANSWERED) {
            return true;
        }
    }
    return false;
}

/// Once asked to leave: the request that is computed is finished, its reply is confirmed by `done`,
/// then `bye` is sent. Waiting for `done` matters: a reply that is lost now cannot be sent again.
static void leave(service_t *s, int64_t now)
{
    // The second for confirmation begins when the last reply was sent.
    if (s->jobs.computing != NULL) {
        s->confirm_until = 0;
        return;
    }
    if (s->confirm_until == 0) {
        s->confirm_until = now + CONFIRM_MS;
    }
    if (s->dismissed || !s->registered || !unconfirmed(s) || now >= s->confirm_until) {
        if (!s->dismissed) {
            post_bye(s, NULL);
        }
        end(s, TR_OK);
    }
}

/// Milliseconds until the next timer is due, at most a second.
static long next_timeout(const service_t *s, int64_t now)
{
    // Silence and patience are far longer than the tick below, so they need no timer of their own.
    int64_t until = s->registered ? s->heartbeat_at : s->register_at;
    if (tr_service_stopping()) {
        until = now + 50; // while the last request is finished and confirmed
    }
    int64_t left = until > now ? until - now : 0;
    return (long)(left < TICK_MAX_MS ? left : TICK_MAX_MS);
}

/// One turn of the loop: waits, then serves messages, the finished job, the timers.
static void poll_once(service_t *s)
{
    zmq_pollitem_t items[] = {
        {.socket = zsock_resolve(s->socket), .events = ZMQ_POLLIN},
        {.fd = s->jobs.socket, .events = ZMQ_POLLIN},
        // Once stopping, the descriptor stays readable and would end every poll at once.
        {.fd = s->wake, .events = tr_service_stopping() ? 0 : ZMQ_POLLIN},
    };
    if (zmq_poll(items, 3, next_timeout(s, tr_clock_ms())) < 0 && errno != EINTR) {
        end(s, tr_fail(s->err, TR_ERR_IO, "waiting for messages: %s", zmq_strerror(zmq_errno())));
        return;
    }
    // Whatever woke us: the timers below must know of every message that has arrived.
    receive_all(s);
    if (items[1].revents & ZMQ_POLLIN) {
        take_finished(s);
    }
    if (!s->ended) {
        keep_connected(s, tr_clock_ms());
    }
    // A service that leaves begins no other job.
    if (tr_service_stopping() && !s->ended) {
        leave(s, tr_clock_ms());
    } else if (!s->ended) {
        service_jobs_advance(&s->jobs);
    }
}

/// Before anything is opened: a wrong command line leaves no trace in the run.
static tr_status read_settings(json_t **settings, const tr_service_options_t *options,
                               tr_error_t *err)
{
    if (options->endpoint == NULL) {
        return tr_fail(
            err, TR_ERR_ARGUMENT,
            "no controller to connect to (give --connect ADDRESS or set TROUPE_ENDPOINT)");
    }
    return options->config == NULL
               ? TR_OK
               : tr_json_file_read(settings, options->config, SETTINGS_LIMIT, err);
}

/// Everything that the loop needs. On a failure serve frees what is there.
static tr_status start(service_t *s)
{
    const tr_service_options_t *o = s->options;
    TR_TRY(read_settings(&s->settings, o, s->err));
    s->name = o->name != NULL ? tr_strdup(o->name)
                              : tr_format("%s-%ld", tr_role_name(o->role), (long)getpid());
    s->instance = tr_format("%ld-%.6f", (long)getpid(), tr_clock_wall());
    s->heard = tr_clock_ms();
    TR_TRY(reconnect(s, s->err));
    return service_jobs_start(&s->jobs, s->err);
}

/// Everything is given back in reverse order, also after a start that failed half way.
static tr_status serve(service_t *s)
{
    tr_wire_init();
    TR_TRY(service_signals_catch(&s->wake, s->err));
    tr_status status = start(s);
    if (status == TR_OK) {
        while (!s->ended) {
            poll_once(s);
        }
        service_jobs_end(&s->jobs);
        status = s->status;
    }
    if (s->socket != NULL && (s->dismissed || !s->registered)) {
        zsock_set_linger(s->socket, 0); // nobody would read what is unsent
    }
    zsock_destroy(&s->socket);
    service_signals_release();
    json_decref(s->settings);
    free(s->instance);
    free(s->name);
    return status;
}

/// With ranks only rank 0 has a socket; the others follow its jobs.
tr_status tr_service_run(const tr_service_options_t *options, const tr_method_t *methods,
                         size_t count, void *context, tr_error_t *err)
{
    service_t s = {.options = options,
                   .jobs = {.methods = methods,
                            .method_count = count,
                            .welcome = options->welcome,
                            .context = context,
                            .collective = options->collective},
                   .silence_ms = INT64_MAX / 2,
                   .backoff = BACKOFF_MIN_MS,
                   .err = err};
    if (tr_collective_rank(options->collective) > 0) {
        return service_jobs_follow(&s.jobs, err);
    }
    tr_status status = serve(&s);
    // The other ranks wait for a message. After a failed welcome they have left with that failure.
    if (!s.welcome_failed) {
        service_ranks_dismiss(options->collective);
    }
    return status;
}
