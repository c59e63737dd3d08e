/* SPDX-License-Identifier: MIT */
/*
 * rhea-nbd: opens the image, starts the server, waits for the end.
 *
 * The process ends when the last client has left, unless -t; on SIGTERM, SIGINT and SIGHUP it ends
 * in good order.  With --fork the parent leaves once the server listens.
 */
#include "tools/rhea-nbd/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"

#define EXPORT_ID "rhea-nbd-export"
#define LISTEN_FDS_START 3            /* sd_listen_fds(3) */

typedef struct Serve {
    const NbdArgs *a;
    bool quit;
    bool device_failed;        /* -c */
} Serve;

static Bh *quit_bh;                   /* for the signal handler */

/* ---- the image ---- */

static bool load_snapshot(BlockNode *node, const char *text, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *id = NULL;

    if (!g_str_has_prefix(text, "snapshot.")) {
        return node_snapshot_load_tmp(node, text, error);
    }
    if (!node_opts_add_keyval(opts, text, NULL, error)) {
        return false;
    }
    id = node_opts_take(opts, "snapshot.id");
    if (!id) {
        id = node_opts_take(opts, "snapshot.name");
    }
    if (!id) {
        return error_set(error, "Invalid snapshot param '%s': expected snapshot.id=ID or "
                         "snapshot.name=NAME", text);
    }
    return node_snapshot_load_tmp(node, id, error);
}

/* On top of NODE: only what is behind -o. */
static BlockNode *window(BlockNode *node, uint64_t offset, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *text = g_strdup_printf("%" PRIu64, offset);

    if (offset >= node_length(node)) {
        error_set(error, "Offset (%" PRIu64 ") has to be smaller than the image size (%" PRIu64
                  ")", offset, node_length(node));
        return NULL;
    }
    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "offset", text);
    node_opts_set(opts, "file", node_name(node));
    return node_open(NULL, opts, node_is_read_only(node) ? 0 : NODE_OPEN_RDWR, error);
}

static BlockNode *open_image(const NbdArgs *a, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_copy(a->opts);
    g_autoptr(BlockNode) node = NULL;
    bool below_ro = a->read_only || a->overlay;

    if (a->image_opts) {
        if (a->format) {
            error_set(error, "--image-opts and -f are mutually exclusive");
            return NULL;
        }
        if (!node_opts_add_keyval(opts, a->file, NULL, error)) {
            return NULL;
        }
    } else if (a->format) {
        node_opts_set(opts, "driver", a->format);
    }
    if (below_ro) {
        node_opts_default(opts, "read-only", "on");
    }
    node = node_open(a->image_opts ? NULL : a->file, opts,
                     NODE_OPEN_SHORT_INLINE | (below_ro ? 0 : NODE_OPEN_RDWR), error);
    if (node && a->overlay) {
        BlockNode *top = drive_overlay(node, error);

        node_unref(node);
        node = top;
    }
    if (node && a->snapshot && !load_snapshot(node, a->snapshot, error)) {
        return NULL;
    }
    if (node && a->offset) {
        BlockNode *top = window(node, a->offset, error);

        node_unref(node);
        node = top;
    }
    return g_steal_pointer(&node);
}

static bool add_export(const NbdArgs *a, BlockNode *node, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    node_opts_set(opts, "type", "nbd");
    node_opts_set(opts, "id", EXPORT_ID);
    node_opts_set(opts, "node-name", node_name(node));
    node_opts_set(opts, "name", a->name ? a->name : "");
    node_opts_set(opts, "writable", node_is_read_only(node) || a->read_only ? "off" : "on");
    node_opts_set(opts, "writethrough", a->writethrough ? "on" : "off");
    node_opts_set(opts, "allocation-depth", a->depth ? "on" : "off");
    if (a->description) {
        node_opts_set(opts, "description", a->description);
    }
    for (unsigned i = 0; i < a->bitmaps->len; i++) {
        g_autofree char *key = g_strdup_printf("bitmaps.%u", i);

        node_opts_set(opts, key, a->bitmaps->pdata[i]);
    }
    return block_export_add(opts, error);
}

/* ---- the server ---- */

SocketAddress *nbd_address(const NbdArgs *a, const char *host)
{
    return a->socket ? socket_address_unix(a->socket)
                     : socket_address_inet(a->bind ? a->bind : host, a->port ? a->port : NBD_PORT);
}

/* The socket that a service manager passed, or NULL. */
static SocketAddress *inherited_socket(GError **error)
{
    const char *pid = g_getenv("LISTEN_PID"), *count = g_getenv("LISTEN_FDS");
    uint64_t number;

    if (!pid || !count || !parse_uint("LISTEN_PID", pid, 1, INT32_MAX, &number, NULL) ||
        (pid_t)number != getpid()) {
        return NULL;
    }
    g_unsetenv("LISTEN_PID");
    g_unsetenv("LISTEN_FDS");
    if (!parse_uint("LISTEN_FDS", count, 1, 1, &number, error)) {
        return NULL;
    }
    return socket_address_fd(LISTEN_FDS_START);
}

static void quit(void *opaque)
{
    ((Serve *)opaque)->quit = true;
}

static void on_signal(int signum)
{
    bh_schedule(quit_bh);
}

static void clients_changed(unsigned clients, bool negotiated, void *opaque)
{
    Serve *s = opaque;

    if (!clients && negotiated && !s->a->persistent) {
        s->quit = true;
    }
}

static bool write_pid_file(const char *path, GError **error)
{
    g_autofree char *text = g_strdup_printf("%ld\n", (long)getpid());

    if (!g_file_set_contents(path, text, -1, error)) {
        g_prefix_error(error, "cannot create PID file: ");
        return false;
    }
    return true;
}

static bool start_server(Serve *s, GError **error)
{
    const NbdArgs *a = s->a;
    NbdServerConf conf = { .authz = a->tls_authz, .max_clients = a->shared,
                           .clients_changed = clients_changed, .opaque = s };
    g_autoptr(SocketAddress) address = inherited_socket(error);

    if (error && *error) {
        return false;
    }
    if (address && (a->socket || a->port || a->bind)) {
        return error_set(error, "-k, -p and -b are incompatible with socket activation");
    }
    if (a->tls_creds) {
        conf.creds = tls_creds_find(a->tls_creds, TLS_SERVER, error);
        if (!conf.creds) {
            return false;
        }
    }
    if (a->connect) {
        return nbd_server_start(&conf, NULL, error);
    }
    if (!address) {
        address = nbd_address(a, "0.0.0.0");
    }
    return nbd_server_start(&conf, address, error);
}

static bool start(Serve *s, BlockNode **node, GError **error)
{
    *node = open_image(s->a, error);
    if (!*node) {
        if (error && !strstr((*error)->message, s->a->file)) {
            g_prefix_error(error, "Could not open '%s': ", s->a->file);
        }
        return false;
    }
    return start_server(s, error) && add_export(s->a, *node, error) &&
           (!s->a->pid_file || write_pid_file(s->a->pid_file, error));
}

/* In the child, the end of the pipe that says "running"; the parent does not return. */
static int fork_server(void)
{
    int ends[2];
    char ok;
    pid_t pid;

    if (pipe(ends) < 0 || (pid = fork()) < 0) {
        error_report("Failed to fork: %s", g_strerror(errno));
        exit(1);
    }
    if (pid > 0) {
        ssize_t n;

        close(ends[1]);
        do {
            n = read(ends[0], &ok, 1);
        } while (n < 0 && errno == EINTR);
        _exit(n == 1 ? 0 : 1);         /* the child has said why */
    }
    close(ends[0]);
    setsid();
    return ends[1];
}

static void report_running(int pipe_end, bool verbose)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
        if (!verbose) {
            dup2(null, 2);
        }
        close(null);
    }
    if (write(pipe_end, "", 1) != 1) {
        error_report("The process that started the server has gone");
    }
    close(pipe_end);
}

static void catch_signals(void)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    struct sigaction sa = { .sa_handler = on_signal };

    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        sigaction(signals[i], &sa, NULL);
    }
}

int nbd_serve(const NbdArgs *a)
{
    Serve s = { .a = a };
    BlockNode *node = NULL;
    GError *error = NULL;
    int running = a->fork ? fork_server() : -1, fd, status = 0;

    quit_bh = bh_new(event_loop_main(), quit, &s);
    catch_signals();
    if (!start(&s, &node, &error)) {
        error_report_free(error);
        status = 1;
    } else if (a->connect) {
        fd = nbd_kernel_connect(a->connect, a->name ? a->name : "", a->verbose,
                                &s.device_failed, quit, &s);
        if (fd < 0) {
            status = 1;
        } else {
            nbd_server_add_client(fd);
        }
    }
    if (status == 0) {
        if (running >= 0) {
            report_running(running, a->verbose);
        }
        EVENT_LOOP_WAIT_WHILE(event_loop_main(), !s.quit);
    }
    nbd_client_give_up();
    nbd_server_stop();
    node_unref(node);
    if (status == 0 && a->pid_file) {
        unlink(a->pid_file);
    }
    bh_free(quit_bh);
    return s.device_failed ? 1 : status;
}
