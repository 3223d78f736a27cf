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
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 2000,
    AWAY_MIN_MS = 5000,
    AWAY_MAX_MS = 40000, ///< below the default patience
    CONFIRM_MS = 1000,
    TICK_MAX_MS = 1000,
    SETTINGS_LIMIT = 1 << 20
};

typedef struct service {
    const tr_service_options_t *options;
    json_t *settings; ///< of --config, laid over each welcome's config; NULL: none
    char *name;
    char *instance; ///< tells this process from another of the same name
    zsock_t *socket;
    service_jobs_t jobs;
    int wake; ///< readable once a signal came
    bool registered;
    bool dismissed; ///< the controller said bye
    bool unwelcome; ///< the daemon's welcome failed, so the other ranks have left already
    int64_t session;
    int64_t heartbeat_ms;
    int64_t silence_ms; ///< a controller silent for so long is looked for again
    int64_t heard;
    int64_t beat_at;     ///< when the next heartbeat is due
    int64_t register_at; ///< when to register again
    int64_t pause;
    int64_t away;          ///< how long to leave when a handler cannot serve
    int64_t confirm_until; ///< while leaving: how long to wait for `done`
    bool ended;
    tr_status status;
    tr_error_t *err;
} service_t;

static void end(service_t *s, tr_status status)
{
    s->ended = true;
    s->status = status;
}

/// What cannot be sent now is asked for again by the controller, or comes again at the next beat.
static void post(service_t *s, const tr_message_t *message)
{
    tr_error_t err = {0};
    if (tr_message_send(s->socket, NULL, message, &err) != TR_OK) {
        tr_log(TR_LOG_DEBUG, "service", "type=%s \"%s\"", tr_message_type(message), err.text);
    }
}

static void post_simple(service_t *s, const char *type, int64_t id)
{
    tr_message_t *message = tr_message_new(type);
    if (id > 0) {
        tr_message_set_id(message, id);
    }
    post(s, message);
    tr_message_destroy(&message);
}

static void post_error(service_t *s, int64_t id, tr_status code, const char *text)
{
    tr_message_t *message = tr_message_new("error");
    if (id > 0) {
        tr_message_set_id(message, id);
    }
    tr_message_set_error(message, tr_status_name(code), text);
    post(s, message);
    tr_message_destroy(&message);
}

/// why: NULL, or the failure for which we leave.
static void post_bye(service_t *s, const char *why)
{
    tr_message_t *message = tr_message_new("bye");
    if (why != NULL) {
        tr_message_set_body(message, json_pack("{s:s}", "text", why));
    }
    post(s, message);
    tr_message_destroy(&message);
}

static void post_register(service_t *s)
{
    const tr_service_options_t *o = s->options;
    tr_message_t *message = tr_message_new("register");
    json_t *capabilities =
        o->capabilities != NULL ? json_deep_copy(o->capabilities) : json_object();
    const char *group = o->group != NULL ? o->group : tr_role_name(o->role);
    tr_message_set_body(message, json_pack("{s:s, s:s, s:s, s:s, s:[i, i], s:I, s:o}", "role",
                                           tr_role_name(o->role), "name", s->name, "group", group,
                                           "instance", s->instance, "protocol", TR_PROTOCOL_MAJOR,
                                           TR_PROTOCOL_MINOR, "credit", (json_int_t)o->credit,
                                           "capabilities", capabilities));
    post(s, message);
    tr_message_destroy(&message);
}

static tr_status reconnect(service_t *s, tr_error_t *err)
{
    zsock_destroy(&s->socket);
    s->registered = false;
    s->register_at = tr_clock_ms();
    s->pause = PAUSE_MIN_MS;
    return tr_endpoint_connect(&s->socket, s->options->endpoint, s->options->keys, NULL, err);
}

// What the controller says

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
    int64_t silence = json_integer_value(json_object_get(body, "silence_ms"));
    s->heartbeat_ms = heartbeat;
    s->silence_ms = silence > 2 * heartbeat ? silence : 2 * heartbeat;
    s->registered = true;
    s->beat_at = tr_clock_ms();
    if (session == s->session) {
        return;
    }
    s->session = session;
    tr_log(TR_LOG_INFO, "service", "session=%lld \"welcomed\"", (long long)session);
    service_jobs_forget(&s->jobs);
    if (s->settings != NULL) {
        json_object_update(json_object_get(body, "config"), s->settings);
    }
    if (s->options->welcome != NULL) {
        service_jobs_add(&s->jobs, message);
    }
}

static void take_refused(service_t *s, tr_message_t **message)
{
    const char *code = json_string_value(json_object_get(tr_message_body(*message), "code"));
    const char *text = json_string_value(json_object_get(tr_message_body(*message), "text"));
    bool version = code != NULL && strcmp(code, "version") == 0;
    end(s, tr_fail(s->err, version ? TR_ERR_VERSION : TR_ERR_PEER,
                   "the controller at '%s' refused '%s': %s", s->options->endpoint, s->name,
                   text != NULL ? text : "no reason given"));
}

static void take_request(service_t *s, tr_message_t **message)
{
    int64_t id = tr_message_id(*message);
    if (id == 0 || tr_message_fault(*message) != NULL) {
        post_error(s, id, TR_ERR_PROTOCOL,
                   id == 0 ? "id: expected an integer from 1" : tr_message_fault(*message));
        return;
    }
    service_job_t *job = service_jobs_find(&s->jobs, id);
    if (job != NULL && job->state == SERVICE_ANSWERED) {
        post(s, job->reply);
        return;
    }
    if (job == NULL) {
        if (tr_service_stopping()) {
            return; // bye comes soon, and the request goes to another
        }
        job = service_jobs_add(&s->jobs, message);
    }
    if (job == NULL) {
        post_error(s, id, TR_ERR_MEMORY, "too many requests wait here");
        return;
    }
    post_simple(s, "ack", id);
}

static void take_done(service_t *s, tr_message_t **message)
{
    service_jobs_remove(&s->jobs, tr_message_id(*message));
}

static void take_error(service_t *s, tr_message_t **message)
{
    const char *code = json_string_value(json_object_get(tr_message_body(*message), "code"));
    const char *text = json_string_value(json_object_get(tr_message_body(*message), "text"));
    if (code != NULL && strcmp(code, "unregistered") == 0) {
        if (s->registered) {
            s->register_at = tr_clock_ms();
            s->pause = PAUSE_MIN_MS;
        }
        s->registered = false;
        return;
    }
    tr_log(TR_LOG_WARN, "service", "\"the controller reports: %s\"",
           text != NULL ? text : "an error");
}

static void take_bye(service_t *s, tr_message_t **message)
{
    (void)message;
    s->dismissed = true;
    service_signals_stop();
}

static void take_heartbeat(service_t *s, tr_message_t **message)
{
    (void)s, (void)message;
}

static const struct {
    const char *type;
    void (*take)(service_t *, tr_message_t **);
} takers[] = {{"request", take_request}, {"done", take_done},   {"heartbeat", take_heartbeat},
              {"welcome", take_welcome}, {"error", take_error}, {"refused", take_refused},
              {"bye", take_bye}};

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

/// A handler cannot serve now: others get what we had, and we come again later.
static void stand_back(service_t *s, const char *why)
{
    tr_log(TR_LOG_WARN, "service", "\"leaving for %lld seconds: %s\"", (long long)s->away / 1000,
           why);
    post_bye(s, why);
    service_jobs_forget(&s->jobs);
    s->registered = false;
    s->register_at = tr_clock_ms() + s->away;
    s->away = s->away * 2 < AWAY_MAX_MS ? s->away * 2 : AWAY_MAX_MS;
    s->pause = PAUSE_MIN_MS;
}

static void take_finished(service_t *s)
{
    service_job_t *job = service_jobs_finished(&s->jobs);
    if (job == NULL) {
        return;
    }
    if (job->id == 0) {
        if (job->status != TR_OK) {
            *s->err = job->err;
            post_bye(s, job->err.text);
            end(s, job->status);
            s->unwelcome = true;
        }
        service_jobs_remove(&s->jobs, 0);
    } else if (job->status == TR_ERR_INTERRUPTED && tr_service_stopping()) {
        service_jobs_remove(&s->jobs, job->id);
    } else if (job->status == TR_ERR_INTERRUPTED) {
        stand_back(s, job->err.text);
    } else {
        post(s, job->reply);
        s->away = AWAY_MIN_MS;
    }
}

// Time passes

static void keep_in_touch(service_t *s, int64_t now)
{
    if (now - s->heard > (int64_t)(s->options->patience * 1000.0)) {
        end(s, tr_fail(s->err, TR_ERR_TIMEOUT, "no controller was heard at '%s' for %g seconds",
                       s->options->endpoint, s->options->patience));
        return;
    }
    if (s->registered && now - s->heard > s->silence_ms) {
        tr_log(TR_LOG_WARN, "service", "\"the controller is silent; connecting again\"");
        tr_status status = reconnect(s, s->err);
        if (status != TR_OK) {
            end(s, status);
            return;
        }
    }
    if (s->registered && now >= s->beat_at) {
        post_simple(s, "heartbeat", 0);
        s->beat_at = now + s->heartbeat_ms;
    }
    if (!s->registered && now >= s->register_at && !tr_service_stopping()) {
        post_register(s);
        s->register_at = now + s->pause;
        s->pause = s->pause * 2 < PAUSE_MAX_MS ? s->pause * 2 : PAUSE_MAX_MS;
    }
}

static bool unconfirmed(const service_t *s)
{
    for (const service_job_t *job = s->jobs.first; job != NULL; job = job->next) {
        if (job->id > 0 && job->state == SERVICE_ANSWERED) {
            return true;
        }
    }
    return false;
}

/// Once asked to leave: the request that is computed is finished, its reply confirmed, then `bye`.
static void leave(service_t *s, int64_t now)
{
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

static long next_timeout(const service_t *s, int64_t now)
{
    int64_t until = s->registered ? s->beat_at : s->register_at;
    if (tr_service_stopping()) {
        until = now + 50; // while the last request is finished and confirmed
    }
    int64_t left = until > now ? until - now : 0;
    return (long)(left < TICK_MAX_MS ? left : TICK_MAX_MS);
}

static void turn(service_t *s)
{
    zmq_pollitem_t items[] = {
        {.socket = zsock_resolve(s->socket), .events = ZMQ_POLLIN},
        {.fd = s->jobs.socket, .events = ZMQ_POLLIN},
        {.fd = s->wake, .events = tr_service_stopping() ? 0 : ZMQ_POLLIN},
    };
    if (zmq_poll(items, 3, next_timeout(s, tr_clock_ms())) < 0 && errno != EINTR) {
        end(s, tr_fail(s->err, TR_ERR_IO, "waiting for messages: %s", zmq_strerror(zmq_errno())));
        return;
    }
    receive_all(s);
    if (items[1].revents & ZMQ_POLLIN) {
        take_finished(s);
    }
    if (!s->ended) {
        keep_in_touch(s, tr_clock_ms());
    }
    if (tr_service_stopping() && !s->ended) {
        leave(s, tr_clock_ms());
    } else {
        service_jobs_advance(&s->jobs);
    }
}

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

static tr_status serve(service_t *s)
{
    tr_wire_init();
    TR_TRY(service_signals_catch(&s->wake, s->err));
    tr_status status = start(s);
    if (status == TR_OK) {
        while (!s->ended) {
            turn(s);
        }
        service_jobs_end(&s->jobs);
        status = s->status;
    }
    if (s->socket != NULL && (s->dismissed || !s->registered)) {
        zsock_set_linger(s->socket, 0); // nobody is there to read what is unsent
    }
    zsock_destroy(&s->socket);
    service_signals_release();
    json_decref(s->settings);
    free(s->instance);
    free(s->name);
    return status;
}

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
                   .away = AWAY_MIN_MS,
                   .err = err};
    if (tr_collective_rank(options->collective) > 0) {
        return service_jobs_follow(&s.jobs, err);
    }
    tr_status status = serve(&s);
    if (!s.unwelcome) { // else they have left with the same failure
        service_ranks_dismiss(options->collective);
    }
    return status;
}
