/* SPDX-License-Identifier: MIT */
/*
 * rhea-storage-daemon: options, in the order in which they come; start and end.
 * Locking: main thread; workers know nothing of this.
 */
#include "tools/rhea-storage-daemon/daemon.h"

#include <getopt.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>

#include "base/daemon.h"
#include "base/error.h"
#include "base/event_loop.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/trace.h"
#include "block/drive.h"
#include "block/job.h"
#include "block/nbd_client.h"
#include "block/nbd_server.h"
#include "block/nbd_uri.h"
#include "chardev/chardev.h"
#include "vm/object.h"

enum {
    OPT_BLOCKDEV = 256, OPT_CHARDEV, OPT_DAEMONIZE, OPT_EXPORT, OPT_MONITOR, OPT_NBD_SERVER,
    OPT_OBJECT, OPT_PIDFILE,
};

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { "blockdev", required_argument, NULL, OPT_BLOCKDEV },
    { "chardev", required_argument, NULL, OPT_CHARDEV },
    { "daemonize", no_argument, NULL, OPT_DAEMONIZE },
    { "export", required_argument, NULL, OPT_EXPORT },
    { "monitor", required_argument, NULL, OPT_MONITOR },
    { "nbd-server", required_argument, NULL, OPT_NBD_SERVER },
    { "object", required_argument, NULL, OPT_OBJECT },
    { "pidfile", required_argument, NULL, OPT_PIDFILE },
    { "trace", required_argument, NULL, 'T' },
    { NULL, 0, NULL, 0 },
};

typedef struct Daemon {
    bool daemonize;
    const char *pidfile;
    int ready_fd, pid_fd;
} Daemon;

static bool quitting;          /* a signal handler of GLib and QMP set it */

void daemon_quit(void)
{
    quitting = true;
    event_loop_wake(event_loop_main());
}

static gboolean on_signal(gpointer opaque)
{
    daemon_quit();
    return G_SOURCE_CONTINUE;
}

static void help(void)
{
    printf("Usage: %s [options]\n"
           "rhea storage daemon\n\n"
           "  -h, --help             display this help and exit\n"
           "  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
           "                         specify tracing options\n"
           "  -V, --version          output version information and exit\n\n"
           "  --blockdev [driver=]<driver>[,node-name=<N>][,discard=ignore|unmap]\n"
           "             [,cache.direct=on|off][,cache.no-flush=on|off]\n"
           "             [,read-only=on|off][,auto-read-only=on|off]\n"
           "             [,force-share=on|off][,detect-zeroes=on|off|unmap]\n"
           "             [,driver specific parameters...]\n"
           "                         configure a block backend\n\n"
           "  --chardev <options>    configure a character device backend\n"
           "                         ('--chardev help' lists them)\n\n"
           "  --daemonize            daemonize the process, and have the parent exit\n"
           "                         once startup is complete\n\n"
           "  --export [type=]nbd,id=<id>,node-name=<node-name>[,name=<export-name>]\n"
           "           [,writable=on|off][,bitmap=<name>]\n"
           "                         export the specified block node over NBD\n"
           "                         (requires --nbd-server)\n\n"
           "  --monitor [chardev=]name[,mode=control][,pretty[=on|off]]\n"
           "                         configure a QMP monitor\n\n"
           "  --nbd-server addr.type=inet,addr.host=<host>,addr.port=<port>\n"
           "               [,tls-creds=<id>][,tls-authz=<id>][,max-connections=<n>]\n"
           "  --nbd-server addr.type=unix,addr.path=<path>\n"
           "               [,tls-creds=<id>][,tls-authz=<id>][,max-connections=<n>]\n"
           "                         start an NBD server for exporting block nodes\n\n"
           "  --object help          list object types that can be added\n"
           "  --object <type>,<props>\n"
           "                         create a new object of type <type>\n\n"
           "  --pidfile <path>       write process ID to a file after startup\n",
           report_program());
}

/* ---- options ---- */

static Json *to_json(const char *text, const char *implied, KeyValFlags flags, GError **error)
{
    g_autoptr(KeyVal) kv = NULL;

    if (text[0] == '{') {
        return json_parse(text, error);
    }
    kv = keyval_parse(text, implied, flags, error);
    return kv ? keyval_to_json(kv, error) : NULL;
}

static bool add_export(const char *text, GError **error)
{
    g_autoptr(Json) json = to_json(text, "type", 0, error);
    g_autoptr(NodeOpts) opts = node_opts_new();

    return json && node_opts_add_json(opts, json, error) && block_export_add(opts, error);
}

static bool start_nbd_server(const char *text, GError **error)
{
    g_autoptr(Json) json = to_json(text, NULL, 0, error);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(SocketAddress) address = NULL;
    g_autofree char *tls = NULL;
    g_autofree char *authz = NULL;
    NbdServerConf conf = { 0 };
    uint64_t max = 0;

    if (!json || !node_opts_add_json(opts, json, error) ||
        !node_opts_take_uint(opts, "max-connections", &max, error)) {
        return false;
    }
    if (nbd_server_is_running()) {
        return error_set(error, "NBD server already running");
    }
    address = socket_address_from_json(json_lookup(json, "addr"), error);
    if (!address) {
        return false;
    }
    tls = node_opts_take(opts, "tls-creds");
    authz = node_opts_take(opts, "tls-authz");
    node_opts_free(node_opts_take_prefix(opts, "addr"));
    if (!node_opts_empty(opts)) {
        return error_set(error, "Parameter '%s' is unexpected", node_opts_any_key(opts));
    }
    if (tls) {
        conf.creds = tls_creds_find(tls, TLS_SERVER, error);
        if (!conf.creds) {
            return false;
        }
    }
    conf.authz = authz;
    conf.max_clients = (unsigned)MIN(max, UINT_MAX);
    return nbd_server_start(&conf, address, error);
}

static bool add_object(const char *text, GError **error)
{
    g_autoptr(Json) json = to_json(text, "qom-type", KEYVAL_BARE_BOOL, error);

    return json && daemon_object_add(json, error);
}

/* Its first word is the kind of back end. */
static bool is_stdio(const char *chardev)
{
    return g_str_equal(chardev, "stdio") || g_str_has_prefix(chardev, "stdio,");
}

static bool apply(const Daemon *d, int option, const char *value, GError **error)
{
    switch (option) {
    case OPT_BLOCKDEV:
        return blockdev_add_text(value, error);
    case OPT_CHARDEV:
        if (d->daemonize && is_stdio(value)) {
            return error_set(error, "cannot use stdio with --daemonize");
        }
        return chardev_new_from_option(value, error) != NULL;
    case OPT_EXPORT:
        return add_export(value, error);
    case OPT_NBD_SERVER:
        return start_nbd_server(value, error);
    case OPT_OBJECT:
        return add_object(value, error);
    case 'T':
        return trace_configure(value, error);
    default:
        return true;               /* those of the first pass */
    }
}

static bool asks_for_help(const char *value)
{
    return g_str_equal(value, "help") || g_str_equal(value, "?");
}

static void print_creatable(const ObjectType *type, void *opaque)
{
    if (type_is_creatable(type)) {
        printf("  %s\n", type->name);
    }
}

/* Help, and what must be known before anything starts. */
static bool first_pass(Daemon *d, int argc, char **argv, int *status)
{
    g_autofree char *text = NULL;
    int option;

    while ((option = getopt_long(argc, argv, "-hT:V", long_options, NULL)) != -1) {
        switch (option) {
        case 'h':
            help();
            *status = 0;
            return false;
        case 'V':
            printf("%s version 7.2.0 (rhea %s)\n", report_program(), RHEA_VERSION);
            *status = 0;
            return false;
        case OPT_DAEMONIZE:
            d->daemonize = true;
            break;
        case OPT_PIDFILE:
            d->pidfile = optarg;
            break;
        case 1:
            error_report("Unexpected argument: %s", optarg);
            *status = 1;
            return false;
        case '?':
            *status = 1;           /* getopt has said why */
            return false;
        case OPT_OBJECT:
            if (asks_for_help(optarg)) {
                printf("List of user creatable objects:\n");
                type_foreach(NULL, false, print_creatable, NULL);
                *status = 0;
                return false;
            }
            break;
        case OPT_CHARDEV:
            if (asks_for_help(optarg)) {
                text = chardev_help();
                printf("%s", text);
                *status = 0;
                return false;
            }
            break;
        default:
            break;
        }
    }
    return true;
}

/* Last: a command must not find what the options are still making, nor be run in between. */
static bool start_monitors(const GPtrArray *monitors, GError **error)
{
    for (unsigned i = 0; i < monitors->len; i++) {
        if (!daemon_monitor_add(monitors->pdata[i], error)) {
            g_prefix_error(error, "--monitor %s: ", (const char *)monitors->pdata[i]);
            return false;
        }
    }
    return true;
}

static bool second_pass(const Daemon *d, int argc, char **argv, GError **error)
{
    g_autoptr(GPtrArray) monitors = g_ptr_array_new();
    int option, index = -1;

    optind = 0;                    /* 0: getopt starts anew */
    while ((option = getopt_long(argc, argv, "-hT:V", long_options, &index)) != -1) {
        const char *value = optarg;

        if (option == OPT_MONITOR) {
            g_ptr_array_add(monitors, optarg);
        } else if (!apply(d, option, value, error)) {
            g_prefix_error(error, "--%s %s: ", option == 'T' ? "trace" : long_options[index].name,
                           value);
            return false;
        }
    }
    return start_monitors(monitors, error);
}

/* ---- end ---- */

static void close_nodes(void)
{
    bool progress = true;

    while (progress) {
        progress = false;
        for (BlockNode *node = node_next(NULL), *next; node; node = next) {
            next = node_next(node);
            if (node_del(node_name(node), NULL)) {
                progress = true;
                break;
            }
        }
    }
}

static void shut_down(Daemon *d)
{
    nbd_client_give_up();
    block_export_close_all(NULL);
    nbd_server_stop();
    job_cancel_all();
    node_drain_all();
    close_nodes();
    daemon_monitors_free();
    chardev_cleanup();
    daemon_objects_free();
    pidfile_remove(d->pidfile, &d->pid_fd);
}

static bool start(Daemon *d, int argc, char **argv, GError **error)
{
    if (d->daemonize && !daemon_fork(&d->ready_fd, error)) {
        return false;
    }
    /* GLib serves them in a thread, which a fork would not take along. */
    g_unix_signal_add(SIGINT, on_signal, NULL);
    g_unix_signal_add(SIGTERM, on_signal, NULL);
    g_unix_signal_add(SIGHUP, on_signal, NULL);
    return second_pass(d, argc, argv, error) && pidfile_write(d->pidfile, &d->pid_fd, error) &&
           daemon_ready(&d->ready_fd, error);
}

int main(int argc, char **argv)
{
    Daemon d = { .ready_fd = -1, .pid_fd = -1 };
    g_autoptr(GError) error = NULL;
    int status = 0;

    thread_set_main();
    report_set_program(argv[0]);
    daemon_objects_init();
    signal(SIGPIPE, SIG_IGN);
    if (!first_pass(&d, argc, argv, &status)) {
        return status;
    }
    if (!start(&d, argc, argv, &error)) {
        error_report("%s", error->message);
        status = 1;
    }
    while (status == 0 && !quitting) {
        event_loop_iterate(event_loop_main(), true);
    }
    shut_down(&d);
    return status;
}
