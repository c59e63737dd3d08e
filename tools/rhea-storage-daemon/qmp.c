/* SPDX-License-Identifier: MIT */
/*
 * QMP sessions on character devices, and the commands about the process itself.
 * Missing: descriptors sent over a socket (getfd, add-fd).
 * Locking: main thread.
 */
#include "base/error.h"
#include "base/event_loop.h"
#include "base/keyval.h"
#include "block/export.h"
#include "chardev/chardev.h"
#include "monitor/create.h"
#include "monitor/qmp_session.h"
#include "qapi/qapi_commands.h"
#include "tools/rhea-storage-daemon/daemon.h"
#include "vm/iothread.h"
#include "vm/vm.h"

#define READ_CHUNK 4096

/* What QmpCall.monitor points to in this program. */
typedef struct Monitor {
    CharFrontend chr;
    QmpSession *session;
    bool work_posted;
} Monitor;

static GPtrArray *monitors;
static Vm *tree;               /* the objects of a machine, without the machine */

/* ---- sessions ---- */

static void session_write(void *opaque, const char *data, size_t len)
{
    char_write_all(&((Monitor *)opaque)->chr, data, len);
}

static void turn(void *opaque)
{
    Monitor *mon = opaque;

    mon->work_posted = false;
    if (qmp_session_run_one(mon->session)) {
        mon->work_posted = true;
        event_loop_post(event_loop_main(), turn, mon);
        char_accept_input(&mon->chr);
    }
}

static void session_wake(void *opaque)
{
    Monitor *mon = opaque;

    if (!mon->work_posted) {
        mon->work_posted = true;
        event_loop_post(event_loop_main(), turn, mon);
    }
}

static unsigned can_receive(void *opaque)
{
    return qmp_session_is_full(((Monitor *)opaque)->session) ? 0 : READ_CHUNK;
}

static void receive(void *opaque, const uint8_t *data, unsigned len)
{
    qmp_session_feed(((Monitor *)opaque)->session, (const char *)data, len);
}

static void on_char_event(void *opaque, CharEvent event)
{
    Monitor *mon = opaque;

    if (event == CHAR_EVENT_OPENED) {
        qmp_session_open(mon->session);
    } else if (event == CHAR_EVENT_CLOSED) {
        qmp_session_close(mon->session);
    }
}

static const CharHandlers handlers = {
    .can_receive = can_receive, .receive = receive, .event = on_char_event,
};

static void event_sink(void *opaque, const char *name, Json *data)
{
    g_autoptr(Json) event = qmp_event_message(name, data);

    for (unsigned i = 0; i < monitors->len; i++) {
        qmp_session_send_event(((Monitor *)monitors->pdata[i])->session, event);
    }
}

static void monitor_free(gpointer p)
{
    Monitor *mon = p;

    char_disconnect(&mon->chr);
    qmp_session_free(mon->session);
    g_free(mon);
}

bool daemon_monitor_add(const char *options, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(options, "chardev", 0, error);
    const char *chardev = kv ? keyval_get(kv, "chardev") : NULL;
    const char *mode = kv ? keyval_get(kv, "mode") : NULL;
    bool pretty = false;
    Monitor *mon;
    QmpSessionHost host;
    QmpCall call;

    if (!kv || !keyval_get_bool(kv, "pretty", false, &pretty, error)) {
        return false;
    }
    keyval_get(kv, "id");
    if (!chardev) {
        return error_set(error, "Parameter 'chardev' is missing");
    }
    if (mode && !g_str_equal(mode, "control")) {
        return error_set(error, "Monitor mode '%s' is not available: there is 'control' (QMP)",
                         mode);
    }
    if (!keyval_check_used(kv, "--monitor", error)) {
        return false;
    }
    mon = g_new0(Monitor, 1);
    if (!char_connect(&mon->chr, chardev, error)) {
        g_free(mon);
        return false;
    }
    host = (QmpSessionHost){ session_write, session_wake, mon, qapi_commands,
                             qapi_command_count };
    call = (QmpCall){ .vm = tree, .monitor = mon };
    mon->session = qmp_session_new(&host, &call, pretty);
    if (!monitors) {
        monitors = g_ptr_array_new_with_free_func(monitor_free);
        qapi_set_event_sink(event_sink, NULL);
    }
    g_ptr_array_add(monitors, mon);
    char_attach(&mon->chr, &handlers, mon);
    return true;
}

void daemon_monitors_free(void)
{
    if (monitors) {
        qapi_set_event_sink(NULL, NULL);
        g_clear_pointer(&monitors, g_ptr_array_unref);
    }
}

/* ---- commands about the process ---- */

bool qmp_qmp_capabilities(QmpCall *call, const QmpQmpCapabilitiesArgs *args, GError **error)
{
    bool oob = false;

    for (unsigned i = 0; args->enable && i < args->enable->len; i++) {
        oob |= g_array_index(args->enable, QapiQMPCapability, i) == QAPI_QMP_CAPABILITY_OOB;
    }
    return qmp_session_negotiate(call->monitor->session, oob, error);
}

bool qmp_query_version(QmpCall *call, QapiVersionInfo **ret, GError **error)
{
    g_autoptr(Json) version = qmp_version();

    *ret = qapi_from_json(&qapi_type_QapiVersionInfo, version, error);
    return *ret != NULL;
}

bool qmp_query_commands(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiCommandInfo);
    for (unsigned i = 0; i < qapi_command_count; i++) {
        QapiCommandInfo *info = g_new0(QapiCommandInfo, 1);

        info->name = g_strdup(qapi_commands[i].name);
        g_ptr_array_add(*ret, info);
    }
    return true;
}

bool qmp_query_qmp_schema(QmpCall *call, Json **ret, GError **error)
{
    *ret = json_new_raw(qapi_schema_text);
    return true;
}

bool qmp_quit(QmpCall *call, GError **error)
{
    daemon_quit();
    return true;
}

/* ---- objects ---- */

static EventLoop *find_iothread(const char *id, void *unused)
{
    Object *obj = object_child(tree->objects, id);

    return obj && object_is_a(obj, "iothread") ? iothread_object_loop(obj) : NULL;
}

void daemon_objects_init(void)
{
    tree = g_new0(Vm, 1);
    tree->root = object_new_container(NULL, NULL);
    tree->objects = object_new_container(tree->root, "objects");
    block_export_set_iothread_finder(find_iothread, NULL);
}

void daemon_objects_free(void)
{
    object_unref(tree->root);
    g_clear_pointer(&tree, g_free);
}

bool daemon_object_add(const Json *props, GError **error)
{
    return create_object(tree, props, error) != NULL;
}
