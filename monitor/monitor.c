/* SPDX-License-Identifier: MIT */
/*
 * Monitors on character devices, and the hub that owns them.
 * Missing: QMP on an I/O thread of its own; requests marked exec-oob overtake queued ones, but not one
 * that is running.
 */
#include "monitor/monitor.h"

#include "base/error.h"
#include "base/socket.h"
#include "base/event_loop.h"
#include "base/thread.h"
#include "monitor/event_limit.h"
#include "monitor/monitor_int.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_CHUNK 4096

struct MonitorHub {
    MonitorHubConfig config;
    GPtrArray *monitors;         /* Monitor */
    EventLimit *limit;
    GHashTable *fds;             /* name -> fd */
    bool open;                   /* commands may run */
};

/* ---- QMP ---- */

static void qmp_write(void *opaque, const char *data, size_t len)
{
    Monitor *mon = opaque;

    char_write_all(&mon->chr, data, len);
}

static void qmp_turn(void *opaque)
{
    Monitor *mon = opaque;

    mon->work_posted = false;
    if (qmp_session_run_one(mon->qmp)) {
        mon->work_posted = true;
        event_loop_post(event_loop_main(), qmp_turn, mon);
        char_accept_input(&mon->chr);
    }
}

static void qmp_wake(void *opaque)
{
    Monitor *mon = opaque;

    if (mon->hub->open && !mon->work_posted) {
        mon->work_posted = true;
        event_loop_post(event_loop_main(), qmp_turn, mon);
    }
}

static unsigned qmp_can_receive(void *opaque)
{
    return qmp_session_is_full(((Monitor *)opaque)->qmp) ? 0 : READ_CHUNK;
}

static void qmp_receive(void *opaque, const uint8_t *data, unsigned len)
{
    qmp_session_feed(((Monitor *)opaque)->qmp, (const char *)data, len);
}

static void qmp_event(void *opaque, CharEvent event)
{
    Monitor *mon = opaque;

    if (event == CHAR_EVENT_OPENED) {
        qmp_session_open(mon->qmp);
    } else if (event == CHAR_EVENT_CLOSED) {
        qmp_session_close(mon->qmp);
    }
}

static const CharHandlers qmp_handlers = {
    .can_receive = qmp_can_receive,
    .receive = qmp_receive,
    .event = qmp_event,
};

/* ---- HMP ---- */

static void hmp_write(void *opaque, const char *text, size_t len)
{
    Monitor *mon = opaque;

    char_write_all(&mon->chr, text, len);
}

static void hmp_line(void *opaque, const char *line)
{
    hmp_run_line(opaque, line);
}

static GPtrArray *hmp_completions(void *opaque, const char *text)
{
    return hmp_complete(opaque, text);
}

static unsigned hmp_can_receive(void *opaque)
{
    return ((Monitor *)opaque)->hub->open ? READ_CHUNK : 0;
}

static void hmp_receive(void *opaque, const uint8_t *data, unsigned len)
{
    Monitor *mon = opaque;

    for (unsigned i = 0; i < len; i++) {
        readline_feed(mon->readline, data[i]);
    }
}

static void hmp_event(void *opaque, CharEvent event)
{
    Monitor *mon = opaque;

    switch (event) {
    case CHAR_EVENT_OPENED:
        readline_reset(mon->readline);
        mon->banner_due = mon->opened = true;
        break;
    case CHAR_EVENT_MUX_IN:
        if (mon->attaching) {
            return;              /* the device that shares the terminal comes to the front yet */
        }
        mon->in_background = false;
        break;
    case CHAR_EVENT_MUX_OUT:
        mon->in_background = true;
        return;
    default:
        return;
    }
    /* On a shared terminal, not before the user has switched to us. */
    if (mon->in_background || !mon->opened) {
        return;
    }
    if (mon->banner_due) {
        mon->banner_due = false;
        monitor_puts(mon, "QEMU 7.2.22 monitor - type 'help' for more information\n");
    }
    readline_show(mon->readline);
}

static const CharHandlers hmp_handlers = {
    .can_receive = hmp_can_receive,
    .receive = hmp_receive,
    .event = hmp_event,
};

/* ---- the hub ---- */

static void send_to_all(void *opaque, const Json *event)
{
    MonitorHub *hub = opaque;

    for (unsigned i = 0; i < hub->monitors->len; i++) {
        Monitor *mon = hub->monitors->pdata[i];

        if (mon->qmp) {
            qmp_session_send_event(mon->qmp, event);
        }
    }
}

typedef struct Posted {
    MonitorHub *hub;
    Json *event;
} Posted;

static void pass_posted(void *opaque)
{
    g_autofree Posted *posted = opaque;

    event_limit_pass(posted->hub->limit, posted->event);
}

/* Any thread: the time is taken here, the sending is the main loop's. */
static void event_sink(void *opaque, const char *name, Json *data)
{
    MonitorHub *hub = opaque;
    Json *event = qmp_event_message(name, data);

    if (event_loop_is_current(event_loop_main())) {
        event_limit_pass(hub->limit, event);
    } else {
        Posted *posted = g_new(Posted, 1);

        *posted = (Posted){ hub, event };
        event_loop_post(event_loop_main(), pass_posted, posted);
    }
}

static void monitor_free(void *p)
{
    Monitor *mon = p;

    char_disconnect(&mon->chr);
    qmp_session_free(mon->qmp);
    readline_free(mon->readline);
    if (mon->gathered) {
        g_string_free(mon->gathered, TRUE);
    }
    g_free(mon);
}

static void close_kept(void *fd)
{
    close(GPOINTER_TO_INT(fd));
}

static int fd_of_name(const char *name, void *opaque, GError **error)
{
    return monitor_get_fd(opaque, name, error);
}

MonitorHub *monitor_hub_new(const MonitorHubConfig *config)
{
    MonitorHub *hub = g_new0(MonitorHub, 1);

    hub->config = *config;
    hub->monitors = g_ptr_array_new_with_free_func(monitor_free);
    hub->limit = event_limit_new(config->vm->realtime_clock, send_to_all, hub);
    hub->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_kept);
    qapi_set_event_sink(event_sink, hub);
    socket_set_fd_names(fd_of_name, hub);
    return hub;
}

void monitor_hub_open(MonitorHub *hub)
{
    hub->open = true;
    for (unsigned i = 0; i < hub->monitors->len; i++) {
        Monitor *mon = hub->monitors->pdata[i];

        if (mon->qmp) {
            qmp_wake(mon);             /* for what has come already */
        }
        char_accept_input(&mon->chr);
    }
}

void monitor_hub_free(MonitorHub *hub)
{
    if (hub) {
        qapi_set_event_sink(NULL, NULL);
        socket_set_fd_names(NULL, NULL);
        g_ptr_array_unref(hub->monitors);
        event_limit_free(hub->limit);
        g_hash_table_unref(hub->fds);
        g_free(hub);
    }
}

static Monitor *monitor_new(MonitorHub *hub)
{
    Monitor *mon = g_new0(Monitor, 1);

    mon->hub = hub;
    mon->cpu_index = -1;
    mon->call = (QmpCall){ hub->config.vm, mon, hub->config.system };
    return mon;
}

bool monitor_add_qmp(MonitorHub *hub, const char *chardev, bool pretty, GError **error)
{
    Monitor *mon = monitor_new(hub);
    QmpSessionHost host = { qmp_write, qmp_wake, mon, hub->config.commands,
                            hub->config.command_count };

    if (!char_connect(&mon->chr, chardev, error)) {
        monitor_free(mon);
        return false;
    }
    mon->qmp = qmp_session_new(&host, &mon->call, pretty);
    g_ptr_array_add(hub->monitors, mon);
    char_attach(&mon->chr, &qmp_handlers, mon);
    return true;
}

bool monitor_add_hmp(MonitorHub *hub, const char *chardev, bool readline, bool shared,
                     GError **error)
{
    Monitor *mon = monitor_new(hub);
    ReadlineHost host = { hmp_write, hmp_line, hmp_completions, mon };

    if (!char_connect(&mon->chr, chardev, error)) {
        monitor_free(mon);
        return false;
    }
    mon->readline = readline_new(&host, "(qemu) ", readline);
    g_ptr_array_add(hub->monitors, mon);
    mon->in_background = mon->attaching = shared;
    char_attach(&mon->chr, &hmp_handlers, mon);
    mon->attaching = false;
    return true;
}

char *monitor_run_hmp(MonitorHub *hub, const char *line, int cpu_index, GError **error)
{
    Monitor *mon = monitor_new(hub);
    char *text;

    mon->gathered = g_string_new(NULL);
    if (cpu_index >= 0 && !monitor_set_cpu(mon, cpu_index)) {
        error_set(error, "Parameter 'cpu-index' expects a CPU number");
        monitor_free(mon);
        return NULL;
    }
    hmp_run_line(mon, line);
    text = g_string_free(g_steal_pointer(&mon->gathered), FALSE);
    monitor_free(mon);
    return text;
}

/* ---- what commands use ---- */

MonitorHub *monitor_hub(Monitor *mon)
{
    return mon->hub;
}

Vm *monitor_vm(Monitor *mon)
{
    return mon->hub->config.vm;
}

void monitor_puts(Monitor *mon, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *crlf = g_strjoinv("\r\n", lines);

    if (mon->gathered) {
        g_string_append(mon->gathered, crlf);
    } else {
        char_write_all(&mon->chr, crlf, strlen(crlf));
    }
}

void monitor_printf(Monitor *mon, const char *format, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    monitor_puts(mon, text);
}

static int compare_command(const void *name, const void *row)
{
    return strcmp(name, ((const QapiCommand *)row)->name);
}

Json *monitor_qmp(Monitor *mon, const char *command, Json *args)
{
    const MonitorHubConfig *config = &mon->hub->config;
    const QapiCommand *row = bsearch(command, config->commands, config->command_count,
                                     sizeof(QapiCommand), compare_command);
    g_autoptr(Json) owned G_GNUC_UNUSED = args;
    g_autoptr(GError) error = NULL;
    Json *result = NULL;

    if (!row) {
        error_set(&error, "This build has no command %s", command);
    } else {
        result = qapi_command_run(row, &mon->call, args, &error);
    }
    if (error) {
        monitor_printf(mon, "Error: %s\n", error->message);
    }
    return result;
}

void monitor_do(Monitor *mon, const char *command, Json *args)
{
    json_unref(monitor_qmp(mon, command, args));
}

Cpu *monitor_cpu(Monitor *mon)
{
    GPtrArray *cpus = monitor_vm(mon)->cpus;
    unsigned index = mon->cpu_index < 0 ? 0 : (unsigned)mon->cpu_index;

    return cpus && index < cpus->len ? cpus->pdata[index] : NULL;
}

bool monitor_set_cpu(Monitor *mon, int index)
{
    GPtrArray *cpus = monitor_vm(mon)->cpus;

    if (index < 0 || !cpus || (unsigned)index >= cpus->len) {
        return false;
    }
    mon->cpu_index = index;
    return true;
}

int monitor_take_fd(Monitor *mon)
{
    return mon ? char_take_fd(&mon->chr) : -1;
}

void monitor_keep_fd(MonitorHub *hub, const char *name, int fd)
{
    g_hash_table_replace(hub->fds, g_strdup(name), GINT_TO_POINTER(fd));
}

int monitor_get_fd(MonitorHub *hub, const char *name, GError **error)
{
    gpointer key, fd;

    if (!g_hash_table_steal_extended(hub->fds, name, &key, &fd)) {
        error_set(error, "File descriptor named '%s' has not been found", name);
        return -1;
    }
    g_free(key);
    return GPOINTER_TO_INT(fd);
}

bool monitor_negotiate(Monitor *mon, bool oob, GError **error)
{
    if (!mon || !mon->qmp) {
        return error_set(error, "Capabilities are negotiated on a QMP monitor only");
    }
    return qmp_session_negotiate(mon->qmp, oob, error);
}

GPtrArray *monitor_history(Monitor *mon)
{
    return mon->readline ? readline_history(mon->readline) : NULL;
}
