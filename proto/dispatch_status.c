// The state as JSON for people: `troupe status` shows which worker has which request, and since
// when.
//
// Separate from the rules because it reads everything and changes nothing. PROTOCOL.md, "Status",
// is the format; tests/proto/test_protocol_page.c compares the two.
#include <string.h>

#include "proto/dispatch_state.h"

/// The requests that the worker has now.
static json_t *outstanding_of(const tr_dispatch_t *d, const dispatch_worker_t *worker, int64_t now)
{
    json_t *list = json_array();
    for (const dispatch_request_t *r = TAILQ_FIRST(&d->requests); r != NULL;
         r = TAILQ_NEXT(r, link)) {
        if (r->worker == worker) {
            json_array_append_new(list,
                                  json_pack("{s:I, s:s, s:I, s:b, s:I}", "id", (json_int_t)r->id,
                                            "method", tr_message_method(r->message), "age_ms",
                                            (json_int_t)(now - r->submitted), "acknowledged",
                                            (int)r->acknowledged, "sent", (json_int_t)r->sent));
        }
    }
    return list;
}

/// "busy" means that the worker has requests, computing or waiting.
static json_t *workers_of(const tr_dispatch_t *d, int64_t now)
{
    json_t *list = json_array();
    for (const dispatch_worker_t *w = TAILQ_FIRST(&d->workers); w != NULL;
         w = TAILQ_NEXT(w, link)) {
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o}", "name", w->name, "role",
                            tr_role_name(w->role), "group", w->group, "state",
                            w->outstanding > 0 ? "busy" : "idle", "silent_ms",
                            (json_int_t)(now - w->heard), "credit", (json_int_t)w->credit,
                            "outstanding", outstanding_of(d, w, now)));
    }
    return list;
}

/// The entries are our own, so the key is there and is a string.
static bool same_text(const json_t *entry, const char *key, const char *text)
{
    return strcmp(json_string_value(json_object_get(entry, key)), text) == 0;
}

/// The entry of queues that the request belongs to, made by its first request. Requests are visited
/// oldest first, so the one that makes the entry gives oldest_ms.
static json_t *queue_of(json_t *queues, const dispatch_request_t *r, int64_t now)
{
    // "" stands for any: JSON maps have no wildcard.
    const char *group = r->group != NULL ? r->group : "";
    const char *wanted = r->wanted != NULL ? r->wanted : "";
    size_t index;
    json_t *entry;
    json_array_foreach(queues, index, entry)
    {
        if (same_text(entry, "role", tr_role_name(r->role)) && same_text(entry, "group", group) &&
            same_text(entry, "worker", wanted)) {
            return entry;
        }
    }
    entry = json_pack("{s:s, s:s, s:s, s:i, s:I}", "role", tr_role_name(r->role), "group", group,
                      "worker", wanted, "depth", 0, "oldest_ms", (json_int_t)(now - r->submitted));
    json_array_append_new(queues, entry);
    return entry;
}

/// One entry for each role, group and named worker that requests wait for.
static json_t *queues_of(const tr_dispatch_t *d, int64_t now)
{
    json_t *queues = json_array();
    for (const dispatch_request_t *r = TAILQ_FIRST(&d->requests); r != NULL;
         r = TAILQ_NEXT(r, link)) {
        if (r->worker == NULL) {
            json_t *depth = json_object_get(queue_of(queues, r, now), "depth");
            json_integer_set(depth, json_integer_value(depth) + 1);
        }
    }
    return queues;
}

/// For `troupe status` and for tests. The counters tell where a run loses time: resent and late
/// grow with a bad network, reassigned with dying workers, refused and unregistered with workers
/// that were started twice.
json_t *tr_dispatch_status(const tr_dispatch_t *d, int64_t now)
{
    const dispatch_counters_t *c = &d->counters;
    json_t *counters = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "replies", (json_int_t)c->replies, "errors",
        (json_int_t)c->errors, "resent", (json_int_t)c->resent, "reassigned",
        (json_int_t)c->reassigned, "late", (json_int_t)c->late, "garbage", (json_int_t)c->garbage,
        "refused", (json_int_t)c->refused, "unregistered", (json_int_t)c->unregistered);
    // The note is copied: the caller may replace it while the answer waits to be sent.
    return json_pack("{s:I, s:o, s:o, s:o, s:o}", "session", (json_int_t)d->options.session, "run",
                     d->note != NULL ? json_deep_copy(d->note) : json_object(), "workers",
                     workers_of(d, now), "queues", queues_of(d, now), "counters", counters);
}
