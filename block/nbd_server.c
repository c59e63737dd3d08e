/* SPDX-License-Identifier: MIT */
/*
 * The NBD server: listeners, exports, the life of clients.
 * Locking: main loop; a client's transmission runs on the loop of its node, where it touches only
 * its NbdClient.
 */
#include "block/nbd_server_int.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "block/driver.h"

#define BACKLOG 16
#define HANDSHAKE_MS 10000

typedef struct NbdServer {
    NbdServerConf conf;
    char *unlink_path;                /* of a socket file that we made */
    GArray *listeners;                /* of int */
    GPtrArray *watches;               /* of FdWatch, parallel; NULL while not watched */
    GPtrArray *clients;               /* of NbdClient */
    bool stopping;
} NbdServer;

static NbdServer *server;             /* QMP knows one per process */

/* ---- clients ---- */

static void watch_listeners(void);

static void client_gone(void *opaque)
{
    NbdClient *c = opaque;
    bool negotiated = c->exp != NULL;

    g_ptr_array_remove(server->clients, c);
    co_stream_free(c->stream);
    nbd_info_clear(&c->info);
    tls_creds_unref(c->creds);
    g_free(c->authz);
    if (c->exp) {
        block_export_unref(&c->exp->base);
    }
    g_free(c);
    watch_listeners();
    if (server->conf.clients_changed) {
        server->conf.clients_changed(server->clients->len, negotiated, server->conf.opaque);
    }
}

static void co_client_transmit(void *opaque)
{
    NbdClient *c = opaque;

    co_nbd_transmit(c);
    event_loop_post(event_loop_main(), client_gone, c);
}

static void start_transmission(void *opaque)
{
    coroutine_start(co_client_transmit, opaque);
}

static void co_client(void *opaque)
{
    NbdClient *c = opaque;
    bool ok = co_nbd_negotiate(c);

    g_clear_pointer(&c->handshake, loop_delay_free);
    if (ok) {
        event_loop_post(blk_loop(c->exp->base.blk), start_transmission, c);
    } else {
        event_loop_post(event_loop_main(), client_gone, c);
    }
}

static void handshake_too_slow(void *opaque)
{
    co_stream_shutdown(((NbdClient *)opaque)->stream);
}

void nbd_server_add_client(int fd)
{
    NbdClient *c;

    if (server->conf.max_clients && server->clients->len >= server->conf.max_clients) {
        close(fd);
        return;
    }
    socket_tune(fd, true);
    c = g_new0(NbdClient, 1);
    c->stream = co_stream_new(fd);
    c->creds = server->conf.creds ? tls_creds_ref(server->conf.creds) : NULL;
    c->authz = g_strdup(server->conf.authz);
    c->multi_conn = server->conf.max_clients != 1;
    c->handshake = loop_delay_new(event_loop_main(), HANDSHAKE_MS, handshake_too_slow, c);
    co_mutex_init(&c->send_lock);
    co_queue_init(&c->room);
    g_ptr_array_add(server->clients, c);
    if (server->conf.clients_changed) {
        server->conf.clients_changed(server->clients->len, false, server->conf.opaque);
    }
    coroutine_start(co_client, c);
}

unsigned nbd_server_clients(void)
{
    return server ? server->clients->len : 0;
}

/* ---- listeners ---- */

static void accept_client(void *opaque)
{
    int fd = socket_accept(GPOINTER_TO_INT(opaque));

    if (fd >= 0) {
        nbd_server_add_client(fd);
        watch_listeners();
    }
}

/* Clients over the limit wait in the kernel's queue. */
static void watch_listeners(void)
{
    bool room = !server->conf.max_clients || server->clients->len < server->conf.max_clients;

    for (unsigned i = 0; i < server->listeners->len; i++) {
        int fd = g_array_index(server->listeners, int, i);

        if (room && !server->watches->pdata[i]) {
            server->watches->pdata[i] = fd_watch_new(event_loop_main(), fd, accept_client, NULL,
                                                     GINT_TO_POINTER(fd));
        } else if (!room && server->watches->pdata[i]) {
            fd_watch_free(server->watches->pdata[i]);
            server->watches->pdata[i] = NULL;
        }
    }
}

void nbd_server_stop_listening(void)
{
    for (unsigned i = 0; i < server->listeners->len; i++) {
        fd_watch_free(server->watches->pdata[i]);
        close(g_array_index(server->listeners, int, i));
    }
    g_array_set_size(server->listeners, 0);
    g_ptr_array_set_size(server->watches, 0);
    if (server->unlink_path) {
        socket_remove_path(server->unlink_path);
        g_clear_pointer(&server->unlink_path, g_free);
    }
}

bool nbd_server_is_running(void)
{
    return server != NULL;
}

bool nbd_server_start(const NbdServerConf *conf, const SocketAddress *address, GError **error)
{
    GArray *listeners;

    if (server) {
        return error_set(error, "NBD server already running");
    }
    if (conf->authz && (!conf->creds || !tls_creds_verify_peer(conf->creds))) {
        return error_set(error, "TLS authorization needs tls-creds-x509 with verify-peer=on: nobody else "
                         "shows a name");
    }
    listeners = address ? socket_listen(address, BACKLOG, error)
                        : g_array_new(FALSE, FALSE, sizeof(int));
    if (!listeners) {
        return false;
    }
    server = g_new0(NbdServer, 1);
    server->conf = *conf;
    if (conf->creds) {
        tls_creds_ref(conf->creds);
    }
    server->conf.authz = g_strdup(conf->authz);
    if (address && address->kind == SOCKET_UNIX && !address->abstract) {
        server->unlink_path = g_strdup(address->path);
    }
    server->listeners = listeners;
    server->watches = g_ptr_array_new();
    g_ptr_array_set_size(server->watches, (int)listeners->len);
    server->clients = g_ptr_array_new();
    watch_listeners();
    return true;
}

void nbd_server_stop(void)
{
    if (!server || server->stopping) {
        return;                        /* the loop below may run the command again */
    }
    server->stopping = true;
    nbd_server_stop_listening();
    for (unsigned i = 0; i < server->clients->len; i++) {
        co_stream_shutdown(((NbdClient *)server->clients->pdata[i])->stream);
    }
    block_export_close_all("nbd");
    GRAPH_WAIT_WHILE(server->clients->len > 0);
    tls_creds_unref(server->conf.creds);
    g_free((char *)server->conf.authz);
    g_array_unref(server->listeners);
    g_ptr_array_unref(server->watches);
    g_ptr_array_unref(server->clients);
    g_clear_pointer(&server, g_free);
}

/* ---- exports ---- */

NbdExport *nbd_export_next(NbdExport *exp)
{
    BlockExport *e = block_export_next(exp ? &exp->base : NULL);

    while (e && (e->type != &nbd_export_type || e->shutting_down)) {
        e = block_export_next(e);
    }
    return (NbdExport *)e;
}

NbdExport *nbd_export_by_name(const char *name)
{
    NbdExport *e = nbd_export_next(NULL);

    while (e && !g_str_equal(e->name, name)) {
        e = nbd_export_next(e);
    }
    return e;
}

BlockExport *nbd_export_find(const char *name)
{
    NbdExport *e = nbd_export_by_name(name);

    return e ? &e->base : NULL;
}

/* In the node, or in what is below it; with NODE_NAME there only. */
static DirtyBitmap *find_bitmap(BlockNode *node, const char *node_name, const char *name,
                                GError **error)
{
    DirtyBitmap *bitmap = NULL;

    if (node_name) {
        node = node_by_name(node_name);
        if (!node) {
            error_set(error, "Cannot find device='' nor node-name='%s'", node_name);
            return NULL;
        }
        bitmap = dirty_bitmap_find(node, name);
    } else {
        for (; node && !bitmap; node = node->backing ? node->backing->node : NULL) {
            bitmap = dirty_bitmap_find(node, name);
        }
    }
    if (!bitmap) {
        error_set(error, "Bitmap '%s' is not found", name);
    }
    return bitmap;
}

static bool add_bitmap(NbdExport *e, const char *node_name, const char *name, GError **error)
{
    BlockNode *node = blk_node(e->base.blk);
    DirtyBitmap *bitmap = find_bitmap(node, node_name, name, error);

    if (!bitmap) {
        return false;
    }
    if (e->bitmap_count == NBD_BITMAPS_MAX) {
        return error_set(error, "An export has at most %d bitmaps", NBD_BITMAPS_MAX);
    }
    if (bitmap->busy || bitmap->inconsistent) {
        return error_set(error, bitmap->busy
                             ? "Bitmap '%s' is currently in use by another operation and cannot be "
                               "used"
                             : "Bitmap '%s' is inconsistent and cannot be used", name);
    }
    if (!e->base.writable && !node->read_only && bitmap->enabled) {
        return error_set(error, "Enabled bitmap '%s' incompatible with readonly export", name);
    }
    bitmap->busy = true;
    e->bitmaps[e->bitmap_count++] = bitmap;
    return true;
}

/* "bitmaps.N", or "bitmaps.N.node" and ".name". */
static bool take_bitmaps(NbdExport *e, NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) list = node_opts_take_prefix(opts, "bitmaps");

    for (unsigned i = 0; !node_opts_empty(list); i++) {
        g_autofree char *index = g_strdup_printf("%u", i);
        g_autofree char *name = node_opts_take(list, index);
        g_autoptr(NodeOpts) sub = node_opts_take_prefix(list, index);
        g_autofree char *node_name = node_opts_take(sub, "node");

        if (!name) {
            name = node_opts_take(sub, "name");
        }
        if (!name || !node_opts_empty(sub)) {
            return error_set(error, "Parameter 'bitmaps' expects names, or pairs of node and "
                             "name");
        }
        if (!add_bitmap(e, node_name, name, error)) {
            return false;
        }
    }
    return true;
}

static void nbd_export_stopped(BlockExport *exp)
{
    NbdExport *e = (NbdExport *)exp;

    while (e->bitmap_count) {
        e->bitmaps[--e->bitmap_count]->busy = false;
    }
    g_clear_pointer(&e->name, g_free);
    g_clear_pointer(&e->description, g_free);
}

static bool nbd_export_start(BlockExport *exp, NodeOpts *opts, GError **error)
{
    NbdExport *e = (NbdExport *)exp;

    if (!server || server->stopping) {
        return error_set(error, "NBD server not running");
    }
    e->name = node_opts_take(opts, "name");
    e->description = node_opts_take(opts, "description");
    if (!e->name) {
        e->name = g_strdup(node_name(blk_node(exp->blk)));
    }
    if (strlen(e->name) > NBD_NAME_MAX) {
        error_set(error, "export name '%s' too long", e->name);
    } else if (e->description && strlen(e->description) > NBD_NAME_MAX) {
        error_set(error, "description '%s' too long", e->description);
    } else if (!g_utf8_validate(e->name, -1, NULL) ||
               (e->description && !g_utf8_validate(e->description, -1, NULL))) {
        error_set(error, "An export's name and description must be UTF-8");
    } else if (nbd_export_by_name(e->name)) {
        error_set(error, "NBD server already has export named '%s'", e->name);
    } else if (node_opts_take_bool(opts, "allocation-depth", &e->depth, error) &&
               take_bitmaps(e, opts, error)) {
        return true;
    }
    nbd_export_stopped(exp);
    return false;
}

static void nbd_export_request_shutdown(BlockExport *exp)
{
    for (unsigned i = 0; i < server->clients->len; i++) {
        NbdClient *c = server->clients->pdata[i];

        if (c->exp == (NbdExport *)exp) {
            co_stream_shutdown(c->stream);
        }
    }
}

const ExportType nbd_export_type = {
    .name = "nbd",
    .size = sizeof(NbdExport),
    .start = nbd_export_start,
    .request_shutdown = nbd_export_request_shutdown,
    .stopped = nbd_export_stopped,
};
