/* SPDX-License-Identifier: MIT */
/*
 * One QMP conversation: greeting, negotiation, requests, responses.
 * Spec: the QMP specification 1.1 as offered by QEMU 7.2; texts as observed there.
 */
#include "monitor/qmp_session.h"

#include "base/error.h"
#include "monitor/trace.h"

#include <stdlib.h>
#include <string.h>

struct QmpSession {
    QmpSessionHost host;
    QmpCall call;
    JsonStream *stream;
    bool pretty, open, negotiated, oob;
    unsigned generation;         /* of the connection: answers to an old one are dropped */
    GQueue queue;                /* Request */
};

/* A command that waits runs the event loop, from which another must not start: answers would come
 * out of order, and changes would happen in the middle of others. */
static bool command_runs;
static GPtrArray *held_back;         /* of QmpSession: to be woken when it has ended */

typedef struct Request {
    Json *message;               /* NULL: malformed, see error */
    GError *error;
} Request;

static void request_free(void *p)
{
    Request *r = p;

    json_unref(r->message);
    g_clear_error(&r->error);
    g_free(r);
}

Json *qmp_event_message(const char *name, Json *data)
{
    int64_t now_us = g_get_real_time();
    Json *event = json_new_dict(), *stamp = json_new_dict();

    json_set(stamp, "seconds", json_new_int(now_us / 1000000));
    json_set(stamp, "microseconds", json_new_int(now_us % 1000000));
    json_set(event, "timestamp", stamp);
    json_set(event, "event", json_new_string(name));
    if (data) {
        json_set(event, "data", data);
    }
    return event;
}

Json *qmp_version(void)
{
    /* The interface offered is that of QEMU 7.2.22. */
    Json *version = json_new_dict(), *qemu = json_new_dict();

    json_set(qemu, "micro", json_new_int(22));
    json_set(qemu, "minor", json_new_int(2));
    json_set(qemu, "major", json_new_int(7));
    json_set(version, "qemu", qemu);
    json_set(version, "package", json_new_string("rhea " RHEA_VERSION));
    return version;
}

static void send_message(QmpSession *s, const Json *message)
{
    g_autoptr(GString) out = g_string_new(NULL);

    if (!s->open) {
        return;
    }
    json_write(message, out, s->pretty);
    if (json_has(message, "event")) {
        trace_monitor_protocol_event_emit(out->str);
    } else {
        trace_monitor_qmp_respond(out->str);
    }
    g_string_append_c(out, '\n');
    /* Lines end in CR LF, as a telnet client expects. */
    if (s->pretty) {
        g_string_replace(out, "\n", "\r\n", 0);
    } else {
        g_string_insert_c(out, (gssize)out->len - 1, '\r');
    }
    s->host.write(s->host.opaque, out->str, out->len);
}

static void respond(QmpSession *s, const Json *request, Json *result, GError *error)
{
    g_autoptr(Json) message = json_new_dict();

    if (error) {
        Json *body = json_new_dict();

        json_set(body, "class", json_new_string(error_class_name(error)));
        json_set(body, "desc", json_new_string(error->message));
        json_set(message, "error", body);
    } else {
        json_set(message, "return", result);
    }
    if (json_has(request, "id")) {
        json_set(message, "id", json_ref(json_lookup(request, "id")));
    }
    send_message(s, message);
}

static int compare_command(const void *name, const void *row)
{
    return strcmp(name, ((const QapiCommand *)row)->name);
}

typedef struct Shape {
    const char *problem, *key;
} Shape;

static bool check_member(const char *key, Json *value, void *opaque)
{
    Shape *shape = opaque;

    shape->key = key;
    if (strcmp(key, "execute") == 0 || strcmp(key, "exec-oob") == 0) {
        shape->problem = json_is(value, JSON_STRING) ? NULL : "must be a string";
    } else if (strcmp(key, "arguments") == 0) {
        shape->problem = json_is(value, JSON_DICT) ? NULL : "must be an object";
    } else if (strcmp(key, "id") != 0) {
        shape->problem = "is unexpected";
    }
    return !shape->problem;
}

/* NULL unless REQUEST is a well-formed message. */
static const char *request_command(const Json *request, bool *oob, GError **error)
{
    const char *in_band = json_lookup_string(request, "execute");
    const char *out_of_band = json_lookup_string(request, "exec-oob");
    Shape shape = { NULL };

    if (!json_is(request, JSON_DICT)) {
        error_set(error, "QMP input must be a JSON object");
        return NULL;
    }
    if (!json_dict_foreach(request, check_member, &shape)) {
        error_set(error, "QMP input member '%s' %s", shape.key, shape.problem);
        return NULL;
    }
    if (in_band && out_of_band) {
        error_set(error, "QMP input member 'execute' clashes with 'exec-oob'");
        return NULL;
    }
    if (!in_band && !out_of_band) {
        error_set(error, "QMP input lacks member 'execute'");
        return NULL;
    }
    *oob = out_of_band != NULL;
    return in_band ? in_band : out_of_band;
}

static Json *run_request(QmpSession *s, const Json *request, GError **error)
{
    bool oob = false;
    const char *name = request_command(request, &oob, error);
    const QapiCommand *command;

    if (!name) {
        return NULL;
    }
    if (oob && !s->oob) {
        error_set(error, "QMP input member 'exec-oob' is unexpected");
        return NULL;
    }
    command = bsearch(name, s->host.commands, s->host.command_count, sizeof(QapiCommand),
                      compare_command);
    if (!s->negotiated && !(command && strcmp(name, "qmp_capabilities") == 0)) {
        error_set_code(error, VM_ERROR_COMMAND_NOT_FOUND,
                       "Expecting capabilities negotiation with 'qmp_capabilities'");
        return NULL;
    }
    if (!command) {
        error_set_code(error, VM_ERROR_COMMAND_NOT_FOUND, "The command %s has not been found",
                       name);
        return NULL;
    }
    if (oob && !(command->flags & QAPI_ALLOW_OOB)) {
        error_set(error, "The command %s does not support OOB", name);
        return NULL;
    }
    return qapi_command_run(command, &s->call, json_lookup(request, "arguments"), error);
}

static void run_and_respond(QmpSession *s, const Json *request)
{
    g_autoptr(GError) error = NULL;
    unsigned generation = s->generation;
    Json *result;

    if (trace_event_enabled(HANDLE_QMP_COMMAND)) {
        g_autoptr(GString) text = g_string_new(NULL);

        json_write(request, text, false);
        trace_handle_qmp_command(text->str);
    }
    result = run_request(s, request, &error);
    if (generation == s->generation) {
        respond(s, request, result, error);
    } else {
        json_unref(result);
    }
}

static void on_message(void *opaque, Json *value, GError *error)
{
    QmpSession *s = opaque;
    Request *r;

    if (s->oob && json_has(value, "exec-oob")) {
        run_and_respond(s, value);
        json_unref(value);
        return;
    }
    if (!value && !error) {
        error_set(&error, "QMP input must be a JSON object");
    }
    r = g_new0(Request, 1);
    r->message = value;
    r->error = error;
    g_queue_push_tail(&s->queue, r);
    if (s->host.wake) {
        s->host.wake(s->host.opaque);
    }
}

QmpSession *qmp_session_new(const QmpSessionHost *host, const QmpCall *call, bool pretty)
{
    QmpSession *s = g_new0(QmpSession, 1);

    s->host = *host;
    s->call = *call;
    s->pretty = pretty;
    g_queue_init(&s->queue);
    return s;
}

void qmp_session_free(QmpSession *session)
{
    if (session) {
        qmp_session_close(session);
        if (held_back) {
            g_ptr_array_remove(held_back, session);
        }
        g_free(session);
    }
}

void qmp_session_open(QmpSession *session)
{
    g_autoptr(Json) greeting = json_new_dict();
    Json *body = json_new_dict(), *capabilities = json_new_list();

    qmp_session_close(session);
    session->stream = json_stream_new(on_message, session);
    session->open = true;
    json_set(body, "version", qmp_version());
    json_append(capabilities, json_new_string("oob"));
    json_set(body, "capabilities", capabilities);
    json_set(greeting, "QMP", body);
    send_message(session, greeting);
}

void qmp_session_close(QmpSession *session)
{
    session->open = session->negotiated = session->oob = false;
    session->generation++;
    g_queue_clear_full(&session->queue, request_free);
    g_clear_pointer(&session->stream, json_stream_free);
}

void qmp_session_feed(QmpSession *session, const char *data, size_t len)
{
    if (session->stream) {
        json_stream_feed(session->stream, data, len);
    }
}

bool qmp_session_is_full(const QmpSession *session)
{
    unsigned limit = session->oob ? QMP_SESSION_QUEUE_MAX : 1;

    return g_queue_get_length((GQueue *)&session->queue) >= limit;
}

static void hold_back(QmpSession *session)
{
    if (!held_back) {
        held_back = g_ptr_array_new();
    }
    if (!g_ptr_array_find(held_back, session, NULL)) {
        g_ptr_array_add(held_back, session);
    }
}

static void wake_held_back(void)
{
    while (held_back && held_back->len) {
        QmpSession *session = g_ptr_array_remove_index(held_back, 0);

        if (session->host.wake) {
            session->host.wake(session->host.opaque);
        }
    }
}

bool qmp_session_run_one(QmpSession *session)
{
    Request *r;

    if (command_runs && !g_queue_is_empty(&session->queue)) {
        hold_back(session);
        return false;
    }
    r = g_queue_pop_head(&session->queue);
    if (!r) {
        return false;
    }
    command_runs = true;
    if (r->error) {
        respond(session, NULL, NULL, r->error);
    } else {
        run_and_respond(session, r->message);
    }
    command_runs = false;
    request_free(r);
    wake_held_back();
    return true;
}

void qmp_session_send_event(QmpSession *session, const Json *event)
{
    if (session->negotiated) {
        send_message(session, event);
    }
}

bool qmp_session_negotiate(QmpSession *session, bool oob, GError **error)
{
    if (session->negotiated) {
        return error_set_code(error, VM_ERROR_COMMAND_NOT_FOUND,
                              "Capabilities negotiation is already complete, command ignored");
    }
    session->negotiated = true;
    session->oob = oob;
    return true;
}
