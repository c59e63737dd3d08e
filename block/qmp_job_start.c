/* SPDX-License-Identifier: MIT */
/* QMP: the commands that start jobs. */
#include "block/qmp_int.h"
#include "qapi/qapi_commands.h"

/* ---- nodes ---- */

BlockNode *qmp_find_node(const char *device, const char *node_name, GError **error)
{
    BlockBackend *blk = device ? blk_by_name(device) : NULL;
    BlockNode *node = NULL;

    if (blk && !blk_node(blk)) {
        error_set(error, "Device '%s' has no medium", device);
        return NULL;
    }
    if (blk) {
        return blk_node(blk);
    }
    node = device ? node_by_name(device) : node_by_name(node_name);
    if (!node && device && node_name == NULL) {
        node_name = device;
    }
    if (!node) {
        error_set(error, "Cannot find device='%s' nor node-name='%s'", device ? device : "",
                  node_name ? node_name : "");
    }
    return node;
}

BlockNode *qmp_find_root(const char *device, GError **error)
{
    BlockNode *node = qmp_find_node(device, NULL, error);

    for (unsigned i = 0; node && i < node->parents->len; i++) {
        const BlockChild *edge = node->parents->pdata[i];

        if (edge->parent) {
            error_set(error, "Need a root block node");
            return NULL;
        }
    }
    return node;
}

BlockNode *qmp_new_image(const char *filename, const char *format, const char *node_name,
                         bool existing, BlockNode *node, BlockNode *backing, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    if (!existing) {
        g_autoptr(NodeOpts) create = node_opts_new();
        g_autofree char *size = g_strdup_printf("%" PRIu64, node_length(node));

        node_opts_set(create, "size", size);
        if (backing) {
            backing = node_skip_filters(backing);
            node_opts_set(create, "backing_file", node_filename(backing));
            node_opts_set(create, "backing_fmt", node_format(backing));
        }
        if (!image_create(filename, format, create, error)) {
            return NULL;
        }
    }
    if (node_name) {
        node_opts_set(opts, "node-name", node_name);
    }
    if (format) {
        node_opts_set(opts, "driver", format);
    }
    node_opts_set(opts, "cache.direct", node->direct ? "on" : "off");
    node_opts_set(opts, "cache.no-flush", node->no_flush ? "on" : "off");
    node_opts_set(opts, "discard", "unmap");
    return node_open(filename, opts, NODE_OPEN_RDWR | NODE_OPEN_NO_BACKING, error);
}

static bool fill_common(JobCommon *c, const char *id, BlockNode *node, int64_t speed,
                        bool auto_finalize, bool auto_dismiss, GError **error)
{
    if (speed < 0) {
        return error_set(error, "Parameter 'speed' expects a non-negative value");
    }
    *c = (JobCommon){ .id = id, .node = node, .speed = (uint64_t)speed,
                      .manual_finalize = !auto_finalize, .manual_dismiss = !auto_dismiss };
    return true;
}

#define COMMON(c, args, node)                                                            \
    fill_common(c, (args)->job_id, node, (args)->has_speed ? (args)->speed : 0,          \
                !(args)->has_auto_finalize || (args)->auto_finalize,                     \
                !(args)->has_auto_dismiss || (args)->auto_dismiss, error)
#define POLICY(args, name) ((args)->has_##name ? (args)->name : QAPI_BLOCKDEV_ON_ERROR_REPORT)

/* The image of that file name in the chain below TOP, or at it. */
static BlockNode *find_in_chain(BlockNode *top, const char *filename)
{
    for (BlockNode *n = node_skip_filters(top); n; n = node_skip_filters(node_chain_next(n))) {
        BlockNode *above = node_chain_overlay(top, n);

        if (g_str_equal(node_filename(n), filename) ||
            (above && g_strcmp0(node_backing_filename(above), filename) == 0)) {
            return n;
        }
    }
    return NULL;
}

/* ---- stream and commit ---- */

static bool stream_base(const QmpBlockStreamArgs *args, BlockNode *top, BlockNode **base,
                        GError **error)
{
    BlockNode *bottom;

    *base = NULL;
    if (!!args->base + !!args->base_node + !!args->bottom > 1) {
        return error_set(error, "'base', 'base-node' and 'bottom' are mutually exclusive: give "
                         "one of them");
    }
    if (args->base) {
        *base = find_in_chain(node_chain_next(top), args->base);
        return *base || error_set(error, "Can't find '%s' in the backing chain", args->base);
    }
    if (args->base_node) {
        *base = qmp_find_node(NULL, args->base_node, error);
        return *base && ((*base != top && node_chain_contains(top, *base)) ||
                         error_set(error, "Node '%s' is not a backing image of '%s'",
                                   args->base_node, args->device));
    }
    if (args->bottom) {
        bottom = qmp_find_node(NULL, args->bottom, error);
        if (!bottom) {
            return false;
        }
        if (!node_chain_contains(top, bottom)) {
            return error_set(error, "Node '%s' is not in a chain starting from '%s'",
                             args->bottom, args->device);
        }
        if (bottom->type->is_filter) {
            return error_set(error, "Node '%s' is a filter, use a non-filter node as 'bottom'",
                             args->bottom);
        }
        *base = node_chain_next(bottom);
    }
    return true;
}

bool qmp_block_stream(QmpCall *call, const QmpBlockStreamArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockNode *top = qmp_find_node(args->device, NULL, error), *base;
    JobCommon common;

    if (!top || !stream_base(args, top, &base, error)) {
        return false;
    }
    if (!base && args->backing_file) {
        return error_set(error, "backing file specified, but streaming the entire chain");
    }
    return COMMON(&common, args, top) &&
           job_stream_start(&common, top, base, args->backing_file, POLICY(args, on_error),
                            args->filter_node_name, error);
}

static bool commit_nodes(const QmpBlockCommitArgs *args, BlockNode *active, BlockNode **top,
                         BlockNode **base, GError **error)
{
    *top = active;
    if ((args->top && args->top_node) || (args->base && args->base_node)) {
        return error_set(error, "'%s' and its file name are mutually exclusive",
                         args->top ? "top-node" : "base-node");
    }
    if (args->top_node) {
        *top = qmp_find_node(NULL, args->top_node, error);
        if (*top && !node_chain_contains(active, *top)) {
            return error_set(error, "'%s' is not in this backing file chain", args->top_node);
        }
    } else if (args->top && !g_str_equal(args->top, node_filename(active))) {
        *top = find_in_chain(active, args->top);
        if (!*top) {
            return error_set(error, "Top image file %s not found", args->top);
        }
    }
    if (!*top) {
        return false;
    }
    if (args->base_node) {
        *base = qmp_find_node(NULL, args->base_node, error);
        if (!*base) {
            return false;
        }
        if (!node_chain_contains(*top, *base)) {
            return error_set(error, "'%s' is not in this backing file chain", args->base_node);
        }
    } else if (args->base) {
        *base = find_in_chain(*top, args->base);
        if (!*base) {
            return error_set(error, "Can't find '%s' in the backing chain", args->base);
        }
    } else {
        *base = node_skip_filters(*top);
        while (node_chain_next(*base)) {
            *base = node_skip_filters(node_chain_next(*base));
        }
    }
    *top = node_skip_filters(*top);
    *base = node_skip_filters(*base);
    return *top != *base || error_set(error, "cannot commit an image into itself");
}

bool qmp_block_commit(QmpCall *call, const QmpBlockCommitArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockNode *active = qmp_find_root(args->device, error), *top = NULL, *base = NULL;
    JobCommon common;

    if (!active || !commit_nodes(args, active, &top, &base, error) ||
        !COMMON(&common, args, active)) {
        return false;
    }
    if (top == node_skip_filters(active)) {
        MirrorArgs mirror = {
            .source = active, .target = base, .commit_base = base,
            .filter_name = args->filter_node_name, .sync = QAPI_MIRROR_SYNC_MODE_TOP,
            .on_source_error = POLICY(args, on_error), .on_target_error = POLICY(args, on_error),
        };

        if (args->backing_file) {
            return error_set(error, "'backing-file' specified, but 'top' is the active layer");
        }
        return job_mirror_start(&common, &mirror, error);
    }
    return job_commit_start(&common, active, top, base, args->backing_file,
                            POLICY(args, on_error), args->filter_node_name, error);
}

/* ---- mirror ---- */

bool qmp_blockdev_mirror(QmpCall *call, const QmpBlockdevMirrorArgs *args, GError **error)
{
    GRAPH_HOLD();
    BlockNode *source = qmp_find_root(args->device, error);
    BlockNode *target = source ? qmp_find_node(NULL, args->target, error) : NULL;
    JobCommon common;
    MirrorArgs mirror;

    if (!target || !COMMON(&common, args, source)) {
        return false;
    }
    if (args->has_buf_size && args->buf_size < 0) {
        return error_set(error, "Invalid parameter 'buf-size'");
    }
    mirror = (MirrorArgs){
        .source = source, .target = target, .replaces = args->replaces,
        .filter_name = args->filter_node_name, .sync = args->sync,
        .copy_mode = args->has_copy_mode ? args->copy_mode : QAPI_MIRROR_COPY_MODE_BACKGROUND,
        .granularity = args->has_granularity ? args->granularity : 0,
        .buf_size = args->has_buf_size ? (uint64_t)args->buf_size : 0, .unmap = true,
        .on_source_error = POLICY(args, on_source_error),
        .on_target_error = POLICY(args, on_target_error),
    };
    return job_mirror_start(&common, &mirror, error);
}

bool qmp_drive_mirror(QmpCall *call, const QapiDriveMirror *args, GError **error)
{
    GRAPH_HOLD();
    BlockNode *source = qmp_find_root(args->device, error);
    bool existing = args->has_mode && args->mode == QAPI_NEW_IMAGE_MODE_EXISTING;
    g_autoptr(BlockNode) target = NULL;
    BlockNode *backing = NULL;
    const char *format = args->format;
    QapiMirrorSyncMode sync = args->sync;
    JobCommon common;
    MirrorArgs mirror;

    if (!source || !COMMON(&common, args, source)) {
        return false;
    }
    if (!format && !existing) {
        format = node_format(node_skip_filters(source));
    }
    if (sync == QAPI_MIRROR_SYNC_MODE_TOP) {
        backing = node_chain_next(source);
        sync = backing ? sync : QAPI_MIRROR_SYNC_MODE_FULL;
    } else if (sync == QAPI_MIRROR_SYNC_MODE_NONE) {
        backing = source;
    }
    target = qmp_new_image(args->target, format, args->node_name, existing, source, backing,
                           error);
    if (!target) {
        return false;
    }
    mirror = (MirrorArgs){
        .source = source, .target = target, .replaces = args->replaces, .sync = sync,
        .copy_mode = args->has_copy_mode ? args->copy_mode : QAPI_MIRROR_COPY_MODE_BACKGROUND,
        .backing = existing ? MIRROR_OPEN_BACKING : MIRROR_SOURCE_BACKING,
        .granularity = args->has_granularity ? args->granularity : 0,
        .buf_size = args->has_buf_size ? (uint64_t)MAX(args->buf_size, 0) : 0,
        .unmap = !args->has_unmap || args->unmap,
        .on_source_error = POLICY(args, on_source_error),
        .on_target_error = POLICY(args, on_target_error),
    };
    return job_mirror_start(&common, &mirror, error);
}

/* ---- backup ---- */

static bool find_job_bitmap(BlockNode *node, const char *name, DirtyBitmap **bitmap,
                            GError **error)
{
    *bitmap = name ? dirty_bitmap_find(node_skip_filters(node), name) : NULL;
    return !name || *bitmap || error_set(error, "Bitmap '%s' could not be found", name);
}

#define BACKUP_ARGS(src, tgt, bmp)                                                       \
    { .source = src, .target = tgt, .sync = args->sync, .bitmap = bmp,                   \
      .bitmap_mode = args->has_bitmap_mode ? args->bitmap_mode                           \
                                           : QAPI_BITMAP_SYNC_MODE_ON_SUCCESS,           \
      .filter_name = args->filter_node_name,                                             \
      .compress = args->has_compress && args->compress,                                  \
      .on_source_error = POLICY(args, on_source_error),                                  \
      .on_target_error = POLICY(args, on_target_error) }

#define CHECK_BITMAP_MODE                                                                \
    check_bitmap_mode(args->bitmap, args->sync, args->has_bitmap_mode, args->bitmap_mode, error)

static bool check_bitmap_mode(const char *bitmap, QapiMirrorSyncMode sync, bool has_mode,
                              QapiBitmapSyncMode mode, GError **error)
{
    if (!bitmap && has_mode) {
        return error_set(error, "Cannot specify bitmap sync mode without a bitmap");
    }
    if (sync == QAPI_MIRROR_SYNC_MODE_INCREMENTAL) {
        return !has_mode || mode == QAPI_BITMAP_SYNC_MODE_ON_SUCCESS ||
               error_set(error, "Bitmap sync mode must be 'on-success' when using sync mode "
                         "'incremental'");
    }
    return !bitmap || has_mode ||
           error_set(error, "Bitmap sync mode must be given when providing a bitmap");
}

Job *qmp_backup_new(const QapiBlockdevBackup *args, JobTxn *txn, GError **error)
{
    BlockNode *source = qmp_find_node(args->device, NULL, error);
    BlockNode *target = source ? qmp_find_node(NULL, args->target, error) : NULL;
    DirtyBitmap *bitmap;
    JobCommon common;

    if (!target || !COMMON(&common, args, source) || !CHECK_BITMAP_MODE ||
        !find_job_bitmap(source, args->bitmap, &bitmap, error)) {
        return NULL;
    }
    common.txn = txn;
    return job_backup_new(&common, &(BackupArgs)BACKUP_ARGS(source, target, bitmap), error);
}

Job *qmp_drive_backup_new(const QapiDriveBackup *args, JobTxn *txn, GError **error)
{
    BlockNode *source = qmp_find_node(args->device, NULL, error), *backing = NULL;
    bool existing = args->has_mode && args->mode == QAPI_NEW_IMAGE_MODE_EXISTING;
    const char *format = args->format;
    g_autoptr(BlockNode) target = NULL;
    DirtyBitmap *bitmap;
    JobCommon common;

    if (!source || !COMMON(&common, args, source) || !CHECK_BITMAP_MODE ||
        !find_job_bitmap(source, args->bitmap, &bitmap, error) ||
        !job_check_free(node_skip_filters(source), error)) {
        return NULL;
    }
    if (!format && !existing) {
        format = node_format(node_skip_filters(source));
    }
    if (args->sync == QAPI_MIRROR_SYNC_MODE_TOP) {
        backing = node_chain_next(source);
    } else if (args->sync == QAPI_MIRROR_SYNC_MODE_NONE) {
        backing = source;
    }
    target = qmp_new_image(args->target, format, NULL, existing, source, backing, error);
    if (!target || (args->sync == QAPI_MIRROR_SYNC_MODE_NONE &&
                    target->type->has_backing && !node_set_backing(target, source, error))) {
        return NULL;
    }
    common.txn = txn;
    return job_backup_new(&common, &(BackupArgs)BACKUP_ARGS(source, target, bitmap), error);
}

bool qmp_blockdev_backup(QmpCall *call, const QapiBlockdevBackup *args, GError **error)
{
    GRAPH_HOLD();
    Job *job = qmp_backup_new(args, NULL, error);

    if (job) {
        job_start(job);
    }
    return job != NULL;
}

bool qmp_drive_backup(QmpCall *call, const QapiDriveBackup *args, GError **error)
{
    GRAPH_HOLD();
    Job *job = qmp_drive_backup_new(args, NULL, error);

    if (job) {
        job_start(job);
    }
    return job != NULL;
}

/* ---- create ---- */

bool qmp_x_blockdev_amend(QmpCall *call, const Json *args, GError **error)
{
    GRAPH_HOLD();
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *driver = NULL;
    const char *name = json_get_string(json_lookup(args, "node-name"));
    bool force = false;
    JobCommon common = { .id = json_get_string(json_lookup(args, "job-id")) };
    BlockNode *node = node_by_name(name);

    if (!node) {
        return error_set(error, "Cannot find device='' nor node-name='%s'", name);
    }
    if (!node_opts_add_json(opts, json_lookup(args, "options"), error)) {
        return false;
    }
    driver = node_opts_take(opts, "driver");
    if (json_lookup(args, "force")) {
        json_get_bool(json_lookup(args, "force"), &force);
    }
    return job_amend_start(&common, node, driver, opts, force, error);
}

bool qmp_blockdev_create(QmpCall *call, const Json *args, GError **error)
{
    GRAPH_HOLD();
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *driver = NULL;
    JobCommon common = { .id = json_get_string(json_lookup(args, "job-id")) };

    if (!node_opts_add_json(opts, json_lookup(args, "options"), error)) {
        return false;
    }
    driver = node_opts_take(opts, "driver");
    return job_create_start(&common, driver, opts, error);
}
