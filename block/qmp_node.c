/* SPDX-License-Identifier: MIT */
/* QMP: nodes and their bitmaps. */
#include "block/backend_int.h"
#include "block/qmp_int.h"
#include "qapi/qapi_commands.h"

bool qmp_change_backing_file(QmpCall *call, const QmpChangeBackingFileArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockNode *top = qmp_find_root(args->device, error);
    BlockNode *image = top ? qmp_find_node(NULL, args->image_node_name, error) : NULL;
    bool read_only, ok;

    if (!image) {
        return false;
    }
    if (!node_chain_next(image)) {
        return error_set(error, "not allowing backing file change on an image without a "
                         "backing file");
    }
    if (!node_chain_contains(top, image)) {
        return error_set(error, "'%s' and image file are not in the same chain", args->device);
    }
    if (!job_check_free(image, error)) {
        return false;
    }
    read_only = image->read_only;
    if (read_only && !node_set_read_only(image, false, error)) {
        return false;
    }
    node_drained_begin(image);
    ok = node_change_backing_file(image, args->backing_file,
                                  node_format(node_skip_filters(node_chain_next(image))), error);
    node_drained_end(image);
    if (read_only) {
        node_set_read_only(image, true, NULL);
    }
    return ok;
}

bool qmp_block_resize(QmpCall *call, const QmpBlockResizeArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockNode *node;
    BlockChild *edge;
    bool ok;

    node = qmp_find_node(args->device, args->node_name ? args->node_name : "", error);
    if (!node) {
        return false;
    }
    if (args->size < 0) {
        return error_set(error, "Parameter 'size' expects a >0 size");
    }
    if (!job_check_free(node_skip_filters(node), NULL) || !job_check_free(node, NULL)) {
        return error_set(error, "Device '%s' is in use",
                         args->device ? args->device : args->node_name);
    }
    /* The guest, who is told, does not mind: no edge, only a drain. */
    edge = node_attach_root(node, "block_resize", BLK_PERM_CONSISTENT_READ | BLK_PERM_RESIZE,
                            BLK_PERM_ALL, NULL, NULL, NULL);
    node_drained_begin(node);
    ok = node_truncate(node, (uint64_t)args->size, NULL, error);
    node_drained_end(node);
    node_detach_root(edge);
    return ok;
}

bool qmp_query_named_block_nodes(QmpCall *call, const QmpQueryNamedBlockNodesArgs *args,
                                 Json **ret, GError **error)
{
    GRAPH_HOLD();
    bool flat = args->has_flat && args->flat;

    *ret = json_new_list();
    for (BlockNode *node = node_next(NULL); node; node = node_next(node)) {
        json_append(*ret, node_query(node, flat));
    }
    return true;
}

bool qmp_block_set_io_throttle(QmpCall *call, const Json *args, GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = blk_find(json_get_string(json_lookup(args, "device")),
                                 json_get_string(json_lookup(args, "id")), error);
    g_autoptr(NodeOpts) opts = node_opts_new();
    Throttle limits;

    if (!blk) {
        return false;
    }
    if (!blk_has_medium(blk)) {
        return error_set(error, "Device has no medium");
    }
    throttle_init(&limits);
    return node_opts_add_json(opts, args, error) && throttle_rename_old(opts, "", error) &&
           throttle_parse(&limits, opts, "", error) &&
           blk_set_limits(blk, node_opts_get(opts, "group"), &limits, error);
}

/* ---- telling of writes, and of how long they took ---- */

bool qmp_block_set_write_threshold(QmpCall *call, const QmpBlockSetWriteThresholdArgs *args,
                                   GError **error)
{
    GRAPH_HOLD();
    BlockNode *node = node_by_name(args->node_name);

    if (!node) {
        return error_set(error, "Device '%s' not found", args->node_name);
    }
    node->write_threshold = args->write_threshold;
    return true;
}

/* A list of numbers, or of none. */
static bool set_histogram(BlockBackend *blk, BlkAcctType type, const GArray *own,
                          const GArray *all, GError **error)
{
    static const char *const names[] = { "read", "write", "flush" };
    const GArray *list = own ? own : all;

    if (blk_set_histogram(blk, type, list ? (const uint64_t *)(const void *)list->data : NULL,
                          list ? list->len : 0)) {
        return true;
    }
    return error_set(error, "Device '%s' set %s boundaries fail: they must ascend from above 0",
                     blk_device_name(blk) ? blk_device_name(blk) : blk_name(blk), names[type]);
}

bool qmp_block_latency_histogram_set(QmpCall *call, const QmpBlockLatencyHistogramSetArgs *args,
                                     GError **error)
{
    GRAPH_HOLD();
    BlockBackend *blk = blk_find(NULL, args->id, error);

    return blk &&
           set_histogram(blk, BLK_ACCT_READ, args->boundaries_read, args->boundaries, error) &&
           set_histogram(blk, BLK_ACCT_WRITE, args->boundaries_write, args->boundaries, error) &&
           set_histogram(blk, BLK_ACCT_FLUSH, args->boundaries_flush, args->boundaries, error);
}

/* ---- bitmaps ---- */

DirtyBitmap *qmp_find_bitmap(const char *node_name, const char *name, BlockNode **node,
                             GError **error)
{
    BlockNode *found = qmp_find_node(node_name, NULL, error);
    DirtyBitmap *bitmap;

    if (!found) {
        return NULL;
    }
    bitmap = dirty_bitmap_find(found, name);
    if (!bitmap) {
        error_set(error, "Dirty bitmap '%s' not found", name);
        return NULL;
    }
    if (node) {
        *node = found;
    }
    return bitmap;
}

bool qmp_merge_bitmaps(DirtyBitmap *to, const char *node, GPtrArray *sources, GError **error)
{
    GRAPH_HOLD();
    DirtyBitmap *sum = dirty_bitmap_new(to->length, to->granularity);
    bool ok = sum || error_set(error, "Not enough memory to merge bitmaps");

    for (unsigned i = 0; ok && i < sources->len; i++) {
        const QapiBlockDirtyBitmapOrStr *s = sources->pdata[i];
        const char *where = s->kind == 0 ? node : s->u.external->node;
        const char *name = s->kind == 0 ? s->u.local : s->u.external->name;
        DirtyBitmap *from = qmp_find_bitmap(where, name, NULL, error);

        ok = from && bitmap_check_usable(from, error) && dirty_bitmap_merge(sum, from, error);
    }
    ok = ok && dirty_bitmap_merge(to, sum, error);
    dirty_bitmap_free(sum);
    return ok;
}

/* The bits as little-endian words, without the words of zeroes at the end. */
bool qmp_x_debug_block_dirty_bitmap_sha256(QmpCall *call, const QapiBlockDirtyBitmap *args,
                                           QapiBlockDirtyBitmapSha256 **ret, GError **error)
{
    GRAPH_HOLD();
    DirtyBitmap *bitmap = qmp_find_bitmap(args->node, args->name, NULL, error);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint64_t words;

    if (!bitmap) {
        return false;
    }
    words = div_round_up(div_round_up(bitmap->length, bitmap->granularity), 64);
    g_checksum_update(sum, (const guchar *)bitmap->bits, (gssize)(words * 8));
    *ret = g_new0(QapiBlockDirtyBitmapSha256, 1);
    (*ret)->sha256 = g_strdup(g_checksum_get_string(sum));
    return true;
}

/* ---- reopening ---- */

bool qmp_blockdev_reopen(QmpCall *call, const Json *args, GError **error)
{
    GRAPH_HOLD();
    const Json *list = json_lookup(args, "options");
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)node_opts_free);

    for (size_t i = 0; i < json_list_len(list); i++) {
        NodeOpts *opts = node_opts_new();
        const char *name;

        g_ptr_array_add(all, opts);
        if (!node_opts_add_json(opts, json_list_at(list, i), error)) {
            return false;
        }
        name = node_opts_get(opts, "node-name");
        if (!name) {
            return error_set(error, "node-name not specified");
        }
        if (!node_by_name(name)) {
            return error_set(error, "Failed to find node with node-name='%s'", name);
        }
    }
    return node_reopen((NodeOpts *const *)all->pdata, all->len, error);
}
