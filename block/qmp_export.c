/* SPDX-License-Identifier: MIT */
/* QMP: the NBD server and exports of block nodes. */
#include "base/error.h"
#include "block/nbd_server.h"
#include "block/nbd_uri.h"
#include "qapi/qapi_commands.h"

bool qmp_nbd_server_start(QmpCall *call, const Json *args, GError **error)
{
    GRAPH_HOLD();
    g_autoptr(SocketAddress) address = socket_address_from_json(json_lookup(args, "addr"), error);
    const char *tls = json_lookup_string(args, "tls-creds");
    NbdServerConf conf = { .authz = json_lookup_string(args, "tls-authz"),
                           .max_clients = NBD_CLIENTS_DEFAULT };
    uint64_t max;

    if (!address) {
        return false;
    }
    if (json_get_uint(json_lookup(args, "max-connections"), &max)) {
        conf.max_clients = (unsigned)max;
    }
    if (tls) {
        conf.creds = tls_creds_find(tls, TLS_SERVER, error);
        if (!conf.creds) {
            return false;
        }
    }
    return nbd_server_start(&conf, address, error);
}

bool qmp_nbd_server_stop(QmpCall *call, GError **error)
{
    GRAPH_HOLD();
    if (!nbd_server_is_running()) {
        return error_set(error, "NBD server not running");
    }
    nbd_server_stop();
    return true;
}

/* DEVICE is the name of a backend, or of a node. */
static BlockNode *find_node(const char *device, GError **error)
{
    BlockBackend *blk = blk_by_name(device);
    BlockNode *node = blk ? blk_node(blk) : node_by_name(device);

    if (!node) {
        error_set(error, blk ? "Device '%s' has no medium"
                             : "Cannot find device='' nor node-name='%s'", device);
    }
    return node;
}

bool qmp_nbd_server_add(QmpCall *call, const QmpNbdServerAddArgs *args, GError **error)
{
    GRAPH_HOLD();
    g_autoptr(NodeOpts) opts = node_opts_new();
    const char *name = args->name ? args->name : args->device;
    BlockNode *node = find_node(args->device, error);
    bool writable = args->has_writable && args->writable;

    if (!node) {
        return false;
    }
    if (!nbd_server_is_running()) {
        return error_set(error, "NBD server not running");
    }
    if (nbd_export_find(name)) {
        return error_set(error, "NBD server already has export named '%s'", name);
    }
    node_opts_set(opts, "type", "nbd");
    node_opts_set(opts, "id", name);
    node_opts_set(opts, "name", name);
    node_opts_set(opts, "node-name", node_name(node));
    /* Asked to write where that is impossible, this command exports for reading. */
    node_opts_set(opts, "writable", writable && !node_is_read_only(node) ? "on" : "off");
    if (args->description) {
        node_opts_set(opts, "description", args->description);
    }
    if (args->bitmap) {
        node_opts_set(opts, "bitmaps.0", args->bitmap);
    }
    return block_export_add(opts, error);
}

bool qmp_nbd_server_remove(QmpCall *call, const QmpNbdServerRemoveArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockExport *exp = nbd_export_find(args->name);

    if (!exp) {
        return error_set(error, "Export '%s' is not found", args->name);
    }
    return block_export_del(exp->id, args->has_mode &&
                                         args->mode == QAPI_BLOCK_EXPORT_REMOVE_MODE_HARD, error);
}

bool qmp_block_export_add(QmpCall *call, const Json *args, GError **error)
{
    GRAPH_HOLD();
    g_autoptr(NodeOpts) opts = node_opts_new();

    return node_opts_add_json(opts, args, error) && block_export_add(opts, error);
}

bool qmp_block_export_del(QmpCall *call, const QmpBlockExportDelArgs *args, GError **error)
{
    GRAPH_HOLD();
    return block_export_del(args->id, args->has_mode &&
                                          args->mode == QAPI_BLOCK_EXPORT_REMOVE_MODE_HARD, error);
}

bool qmp_query_block_exports(QmpCall *call, Json **ret, GError **error)
{
    GRAPH_HOLD();
    *ret = block_export_query();
    return true;
}
