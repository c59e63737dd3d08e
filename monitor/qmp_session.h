/* SPDX-License-Identifier: MIT */
/*
 * One QMP conversation, without a transport.
 *
 * The owner feeds the bytes of the client and gets the bytes for it through write().  Requests are
 * queued as they are parsed and run one at a time by qmp_session_run_one(), which the owner
 * calls from its event loop when wake() told it that there is work; requests with "exec-oob" run
 * at once, while they are parsed.  While requests wait (with out-of-band enabled,
 * QMP_SESSION_QUEUE_MAX of them) the owner should stop reading (qmp_session_is_full()): a client
 * cannot make us queue without bounds, and its requests run before the end of its input is seen.
 *
 * States:  NEGOTIATION  only qmp_capabilities is accepted, no events are sent
 *          COMMAND      everything else
 * qmp_session_open() (re)enters NEGOTIATION and greets.
 *
 * Thread rule: the owner's loop.
 */
#ifndef MONITOR_QMP_SESSION_H
#define MONITOR_QMP_SESSION_H

#include "qapi/qapi.h"

#define QMP_SESSION_QUEUE_MAX 8

typedef struct QmpSession QmpSession;

typedef struct QmpSessionHost {
    void (*write)(void *opaque, const char *data, size_t len);
    void (*wake)(void *opaque);                  /* may be NULL */
    void *opaque;
    const QapiCommand *commands;                 /* sorted by name */
    unsigned command_count;
} QmpSessionHost;

QmpSession *qmp_session_new(const QmpSessionHost *host, const QmpCall *call, bool pretty);
void qmp_session_free(QmpSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpSession, qmp_session_free)

void qmp_session_open(QmpSession *session);
/* Forgets what is queued or half parsed. */
void qmp_session_close(QmpSession *session);
void qmp_session_feed(QmpSession *session, const char *data, size_t len);
bool qmp_session_is_full(const QmpSession *session);
/* Runs the oldest request; false when there was none, or while a command of any session runs:
 * wake() follows when that has ended. */
bool qmp_session_run_one(QmpSession *session);
/* EVENT is a complete event message, borrowed. */
void qmp_session_send_event(QmpSession *session, const Json *event);

/* qmp_capabilities, called through the session that the QmpCall's monitor belongs to. */
bool qmp_session_negotiate(QmpSession *session, bool oob, GError **error);
/* A whole event message, of this moment; DATA (NULL: none) is taken.  Any thread. */
Json *qmp_event_message(const char *name, Json *data);
/* The "package" of the greeting and of query-version. */
Json *qmp_version(void);

#endif
