/* SPDX-License-Identifier: MIT */
/* QMP: block devices, trays and nodes. */
#include "base/error.h"
#include "block/backend.h"
#include "block/graph.h"
#include "qapi/qapi_commands.h"

bool qmp_query_block(QmpCall *call, Json **ret, GError **error)
{
    GRAPH_HOLD();
    *ret = json_new_list();
    for (BlockBackend *blk = blk_next(NULL); blk; blk = blk_next(blk)) {
        if (*blk_name(blk) || blk_device_name(blk)) {
            json_append(*ret, blk_query(blk));
        }
    }
    return true;
}

bool qmp_query_blockstats(QmpCall *call, const QmpQueryBlockstatsArgs *args, Json **ret,
                          GError **error)
{
    GRAPH_HOLD();

    *ret = json_new_list();
    if (args->has_query_nodes && args->query_nodes) {
        for (BlockNode *node = node_next(NULL); node; node = node_next(node)) {
            json_append(*ret, node_query_stats(node));
        }
        return true;
    }
    for (BlockBackend *blk = blk_next(NULL); blk; blk = blk_next(blk)) {
        if (*blk_name(blk) || blk_device_name(blk)) {
            json_append(*ret, blk_query_stats(blk));
        }
    }
    return true;
}

static BlockBackend *removable(const char *device, const char *id, GError **error)
{
    BlockBackend *blk = blk_find(device, id, error);

    if (blk && !blk_is_removable(blk)) {
        error_set(error, "Device '%s' is not removable", id ? id : device);
        return NULL;
    }
    return blk;
}

bool qmp_eject(QmpCall *call, const QmpEjectArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = removable(args->device, args->id, error);

    return blk && blk_eject(blk, args->has_force && args->force, error);
}

bool qmp_blockdev_open_tray(QmpCall *call, const QmpBlockdevOpenTrayArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = removable(args->device, args->id, error);

    return blk && blk_open_tray(blk, args->has_force && args->force, error);
}

bool qmp_blockdev_close_tray(QmpCall *call, const QmpBlockdevCloseTrayArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = removable(args->device, args->id, error);

    return blk && blk_close_tray(blk, error);
}

bool qmp_blockdev_remove_medium(QmpCall *call, const QmpBlockdevRemoveMediumArgs *args,
                                GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = removable(NULL, args->id, error);

    if (!blk) {
        return false;
    }
    if (blk_has_medium(blk) && blk_is_available(blk)) {
        return error_set(error, "Tray of device '%s' is not open", args->id);
    }
    blk_remove_node(blk);
    return true;
}

bool qmp_blockdev_insert_medium(QmpCall *call, const QmpBlockdevInsertMediumArgs *args,
                                GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = removable(NULL, args->id, error);
    BlockNode *node = blk ? node_by_name(args->node_name) : NULL;

    if (!blk) {
        return false;
    }
    if (!node) {
        return error_set(error, "Node '%s' not found", args->node_name);
    }
    if (blk_has_medium(blk)) {
        return error_set(error, "There already is a medium in device '%s'", args->id);
    }
    return blk_insert_node(blk, node, !node_is_read_only(node), error);
}

bool qmp_blockdev_change_medium(QmpCall *call, const QmpBlockdevChangeMediumArgs *args,
                                GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = removable(args->device, args->id, error);

    return blk && blk_change_medium(blk, args->filename, args->format,
                                    args->has_force && args->force,
                                    args->has_read_only_mode
                                        ? qapi_words_QapiBlockdevChangeReadOnlyMode[args->read_only_mode]
                                        : NULL,
                                    error);
}

bool qmp_blockdev_add(QmpCall *call, const Json *args, GError **error)
{
    GRAPH_HOLD();
    g_autoptr(NodeOpts) opts = node_opts_new();

    return node_opts_add_json(opts, args, error) &&
           node_add(opts, error);
}

bool qmp_blockdev_del(QmpCall *call, const QmpBlockdevDelArgs *args, GError **error)
{
    GRAPH_HOLD();
    return node_del(args->node_name, error);
}
