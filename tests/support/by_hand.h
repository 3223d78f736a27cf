/// The broker's rules (proto/dispatch.h) moved by hand: what peers say goes in, what comes out is
/// expected. A peer is a number.
///
/// Every unmet expectation fails the Criterion test.
#ifndef TESTS_SUPPORT_BY_HAND_H
#define TESTS_SUPPORT_BY_HAND_H

#include "proto/dispatch.h"

enum { HEARTBEAT = 1000, SILENCE = 10000, RESEND = 1000, UNANSWERED = 15000 };

extern tr_dispatch_t *dispatch;
extern int64_t now; ///< milliseconds; pass() moves it

#define TOKEN "invitation" ///< of the run's own workers

/// Before and after each test: default options, session 5, TOKEN, stop token "secret".
void dispatch_open(void);
void dispatch_close(void);

// What peers say

tr_peer_t peer(uint8_t number);
/// Takes message.
void say_message(uint8_t from, tr_message_t *message);
/// id 0: none. body: taken; NULL: empty.
void say(uint8_t from, const char *type, int64_t id, json_t *body);
/// A registration as a map, to be changed.
json_t *registration(const char *name, const char *instance, int credit);
/// Submits a request of the method "work" to the role rollout; worker NULL: any. Returns its id.
int64_t submit(const char *worker);
/// Lets time pass, with one tick at its end.
void pass(int64_t milliseconds);
/// Registers a rollout and takes the welcome and the event.
void join(uint8_t number, const char *name, int credit);

// What comes out, in its order

/// The next message that goes out must be of a type and for a peer; the caller's.
tr_message_t *take_send(uint8_t to, const char *type);
/// Takes it and returns its id.
int64_t expect_send(uint8_t to, const char *type);
/// type: "error" or "refused".
void expect_error_send(uint8_t to, const char *type, const char *code);
void expect_no_send(void);
/// The next event must be of the type; to be released.
tr_event_t take_event(tr_event_type_t type);
/// text: part of the event's sentence; NULL: not looked at.
void expect_event(tr_event_type_t type, int64_t id, const char *text);
void expect_no_event(void);
/// One of the status' counters.
int64_t counter(const char *name);

#endif
