/* SPDX-License-Identifier: MIT */
/*
 * Block backends: names, media, trays, error policy, queries.  Requests: backend_io.c.
 * Locking: main loop, except where backend.h says otherwise.
 */
#include "block/backend_int.h"

#include "base/log.h"

static GPtrArray *all_backends;
static BlkHooks hooks;

void blk_set_hooks(const BlkHooks *h)
{
    hooks = *h;
}

/* ---- edges to the medium ---- */

static void root_resized(void *opaque)
{
    BlockBackend *blk = opaque;

    if (blk->ops && blk->ops->resized) {
        blk->ops->resized(blk->device);
    }
}

static void root_drained_begin(void *opaque)
{
    blk_quiesce_begin(opaque);
}

static void root_drained_end(void *opaque)
{
    blk_quiesce_end(opaque);
}

static bool root_drained_busy(void *opaque)
{
    return ((BlockBackend *)opaque)->in_flight > 0;
}

static bool root_may_move(void *opaque, EventLoop *loop)
{
    BlockBackend *blk = opaque;

    return !blk->device || loop == blk->wanted ||
           (blk->ops && blk->ops->may_move && blk->ops->may_move(blk->device));
}

static void root_moved(void *opaque, EventLoop *loop)
{
    ((BlockBackend *)opaque)->loop = loop;
}

static EventLoop *root_wants_loop(void *opaque)
{
    return ((BlockBackend *)opaque)->wanted;
}

static const ChildHooks root_hooks = {
    .may_move = root_may_move,
    .moved = root_moved,
    .wants_loop = root_wants_loop,
    .drained_busy = root_drained_busy,
    .resized = root_resized,
    .drained_begin = root_drained_begin,
    .drained_end = root_drained_end,
};

/* ---- life and lookup ---- */

BlockBackend *blk_new(const char *name)
{
    BlockBackend *blk = g_new0(BlockBackend, 1);

    blk->refs = 1;
    blk->name = g_strdup(name ? name : "");
    blk->loop = event_loop_current();
    blk->write_cache = true;
    blk->iostatus = 0;
    co_queue_init(&blk->held);
    if (!all_backends) {
        all_backends = g_ptr_array_new();
    }
    g_ptr_array_add(all_backends, blk);
    return blk;
}

BlockBackend *blk_ref(BlockBackend *blk)
{
    blk->refs++;
    return blk;
}

void blk_unref(BlockBackend *blk)
{
    if (!blk || --blk->refs) {
        return;
    }
    blk->refs = 1;
    blk_remove_node(blk);
    throttle_group_unref(blk->throttle);
    blk_acct_clear(&blk->stats);
    g_ptr_array_remove(all_backends, blk);
    g_free(blk->name);
    g_free(blk->device_name);
    g_free(blk);
}

BlockBackend *blk_by_name(const char *name)
{
    for (unsigned i = 0; *name && all_backends && i < all_backends->len; i++) {
        BlockBackend *blk = all_backends->pdata[i];

        if (g_str_equal(blk->name, name)) {
            return blk;
        }
    }
    return NULL;
}

BlockBackend *blk_by_device(const char *qdev_id)
{
    for (unsigned i = 0; all_backends && i < all_backends->len; i++) {
        BlockBackend *blk = all_backends->pdata[i];

        if (blk->device_name && g_str_equal(blk->device_name, qdev_id)) {
            return blk;
        }
    }
    return NULL;
}

BlockBackend *blk_find(const char *device, const char *qdev_id, GError **error)
{
    BlockBackend *blk;

    if (!device == !qdev_id) {
        error_set(error, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    blk = qdev_id ? blk_by_device(qdev_id) : blk_by_name(device);
    if (!blk) {
        error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found",
                       qdev_id ? qdev_id : device);
    }
    return blk;
}

BlockBackend *blk_next(BlockBackend *blk)
{
    unsigned i = 0;

    if (!all_backends) {
        return NULL;
    }
    if (blk && g_ptr_array_find(all_backends, blk, &i)) {
        i++;
    }
    return i < all_backends->len ? all_backends->pdata[i] : NULL;
}

const char *blk_name(const BlockBackend *blk)
{
    return blk->name;
}

const char *blk_name_above(const BlockNode *node)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *edge = node->parents->pdata[i];

        if (edge->hooks == &root_hooks) {
            return blk_name(edge->opaque);
        }
    }
    return "";
}

const char *blk_device_name(const BlockBackend *blk)
{
    return blk->device_name;
}

void *blk_device(const BlockBackend *blk)
{
    return blk->device;
}

EventLoop *blk_loop(const BlockBackend *blk)
{
    return blk->loop;
}

bool blk_set_loop(BlockBackend *blk, EventLoop *loop, GError **error)
{
    GRAPH_HOLD();
    if (blk->root && !graph_move(blk->root->node, loop, blk->root, error)) {
        return false;
    }
    blk->loop = blk->wanted = loop;
    return true;
}

/* ---- medium ---- */

bool blk_has_medium(const BlockBackend *blk)
{
    return blk->root != NULL;
}

BlockNode *blk_node(const BlockBackend *blk)
{
    return blk->root ? blk->root->node : NULL;
}

static uint32_t shared_for(const BlockBackend *blk)
{
    return BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED |
           (blk->share_rw ? BLK_PERM_WRITE | BLK_PERM_RESIZE : 0);
}

static uint32_t perm_for(bool writable)
{
    return BLK_PERM_CONSISTENT_READ | (writable ? BLK_PERM_WRITE : 0);
}

bool blk_insert_node(BlockBackend *blk, BlockNode *node, bool writable, GError **error)
{
    g_autofree char *what = g_strdup(*blk->name ? blk->name
                                     : blk->device_name ? blk->device_name : "root");
    uint32_t shared = shared_for(blk);
    BlockChild *root;

    GRAPH_HOLD();
    if (node->force_share) {
        shared = BLK_PERM_ALL;
    }
    if (blk->wanted && !graph_move(node, blk->wanted, NULL, error)) {
        return false;
    }
    root = node_attach_root(node, what, perm_for(writable), shared, &root_hooks, blk, error);
    if (!root) {
        return false;
    }
    blk_remove_node(blk);
    blk->root = root;
    blk->writable = writable;
    blk->loop = node->loop;
    return true;
}

void blk_remove_node(BlockBackend *blk)
{
    if (blk->root) {
        GRAPH_HOLD();
        blk_drain(blk);
        node_detach_root(g_steal_pointer(&blk->root));
        blk->writable = false;
    }
}

uint64_t blk_length(BlockBackend *blk)
{
    return blk->root ? blk->root->node->length : 0;
}

bool blk_is_read_only(const BlockBackend *blk)
{
    return blk->root ? blk->root->node->read_only : blk->medium_read_only;
}

bool blk_is_writable(const BlockBackend *blk)
{
    return blk->root && !blk->root->node->read_only;
}

static bool tray_open(const BlockBackend *blk)
{
    return blk->ops && blk->ops->tray_is_open ? blk->ops->tray_is_open(blk->device) : false;
}

bool blk_is_available(const BlockBackend *blk)
{
    return blk->root && !tray_open(blk);
}

bool blk_is_removable(const BlockBackend *blk)
{
    return blk->device ? blk->removable : true;
}

bool blk_is_sg(const BlockBackend *blk)
{
    return blk->root && node_scsi(blk->root->node) == NODE_SCSI_ONLY;
}

bool blk_takes_scsi(const BlockBackend *blk)
{
    return blk->root && node_scsi(blk->root->node) != NODE_SCSI_NO;
}

uint32_t blk_request_align(BlockBackend *blk)
{
    return blk->root ? blk->root->node->limits.align : 1;
}

bool blk_write_cache(const BlockBackend *blk)
{
    return blk->write_cache;
}

void blk_set_write_cache(BlockBackend *blk, bool on)
{
    blk->write_cache = on;
}

/* ---- devices ---- */

BlockBackend *blk_attach(const char *drive, const BlkAttachConf *conf, const BlkDeviceOps *ops,
                         void *opaque, GError **error)
{
    g_autoptr(BlockBackend) blk = NULL;
    EventLoop *loop = conf->loop ? conf->loop : conf->any_loop ? NULL : event_loop_main();
    BlockNode *node;
    bool writable;

    GRAPH_HOLD();
    if (drive && (blk = blk_by_name(drive)) != NULL) {
        blk_ref(blk);
        if (blk->device) {
            error_set(error, "Drive '%s' is already in use by device '%s'", drive,
                      blk->device_name ? blk->device_name : "?");
            return NULL;
        }
    } else {
        node = drive ? node_by_name(drive) : NULL;
        if (drive && !node) {
            error_set(error, "Can't find drive or node '%s'; define it with -drive id=%s or "
                      "-blockdev node-name=%s", drive, drive, drive);
            return NULL;
        }
        blk = blk_new(NULL);
        blk->share_rw = conf->share_rw;
        blk->wanted = loop;
        blk->loop = loop ? loop : event_loop_main();
        if (node && !blk_insert_node(blk, node, false, error)) {
            return NULL;
        }
    }
    if (!blk->root && !conf->removable) {
        error_set(error, "Device needs media, but drive is empty");
        return NULL;
    }
    if (loop && !blk_set_loop(blk, loop, error)) {
        return NULL;
    }
    writable = blk->root && !conf->read_only && !blk->root->node->read_only;
    if (conf->writable_required && blk->root && !writable) {
        error_set(error, "Block node is read-only");
        return NULL;
    }
    blk->share_rw = conf->share_rw;
    blk->early_done = conf->early_done;
    if (blk->root && !node_root_set_perm(blk->root, perm_for(writable), shared_for(blk), error)) {
        return NULL;
    }
    blk->writable = writable;
    blk->device = opaque ? opaque : blk;
    blk->ops = ops;
    blk->removable = conf->removable;
    blk->device_reads_only = conf->read_only;
    g_free(blk->device_name);
    blk->device_name = g_strdup(conf->device_name);
    return g_steal_pointer(&blk);
}

void blk_detach(BlockBackend *blk)
{
    if (!blk) {
        return;
    }
    GRAPH_HOLD();
    blk_drain(blk);
    blk->device = NULL;
    blk->ops = NULL;
    blk->wanted = NULL;
    if (blk->root) {
        graph_settle(blk->root->node);
    } else {
        blk->loop = event_loop_main();
    }
    g_clear_pointer(&blk->device_name, g_free);
    blk_unref(blk);
}

/* ---- tray and medium change ---- */

void blk_tray_moved(BlockBackend *blk, bool open)
{
    if (hooks.tray_moved) {
        hooks.tray_moved(blk, open, hooks.opaque);
    }
}

void blk_lock_medium(BlockBackend *blk, bool locked)
{
    blk->medium_locked = locked;
}

const char *blk_label(const BlockBackend *blk)
{
    return *blk->name ? blk->name : blk->device_name ? blk->device_name : "";
}

static bool check_removable(const BlockBackend *blk, GError **error)
{
    return (blk->device && blk->removable) || !blk->device ||
           error_set(error, "Device '%s' is not removable", blk_label(blk));
}

/* The user moves the tray; the device has it open or shut afterwards. */
static void move_tray(BlockBackend *blk, bool loaded)
{
    bool was_open = tray_open(blk);

    if (blk->ops && blk->ops->medium_changed) {
        blk->ops->medium_changed(blk->device, loaded);
    }
    if (tray_open(blk) != was_open) {
        blk_tray_moved(blk, !was_open);
    }
}

bool blk_open_tray(BlockBackend *blk, bool force, GError **error)
{
    bool locked = blk->ops && blk->ops->medium_is_locked &&
                  blk->ops->medium_is_locked(blk->device);

    if (!check_removable(blk, error)) {
        return false;
    }
    if (tray_open(blk)) {
        return true;
    }
    if (locked && blk->ops->eject_request) {
        blk->ops->eject_request(blk->device, force);
    }
    if (locked && !force) {
        return error_set(error, "Device '%s' is locked and force was not specified, wait for "
                         "tray to open and try again", blk_label(blk));
    }
    move_tray(blk, false);
    return true;
}

bool blk_close_tray(BlockBackend *blk, GError **error)
{
    if (!check_removable(blk, error)) {
        return false;
    }
    move_tray(blk, true);
    return true;
}

bool blk_eject(BlockBackend *blk, bool force, GError **error)
{
    if (!blk_open_tray(blk, force, error)) {
        return false;
    }
    blk->medium_read_only = blk_is_read_only(blk);
    blk_remove_node(blk);
    return true;
}

bool blk_change_medium(BlockBackend *blk, const char *filename, const char *format, bool force,
                       const char *read_only_mode, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(BlockNode) node = NULL;
    bool read_only = blk_is_read_only(blk) || blk->device_reads_only;
    int flags;

    if (read_only_mode && g_str_equal(read_only_mode, "read-only")) {
        read_only = true;
    } else if (read_only_mode && g_str_equal(read_only_mode, "read-write")) {
        read_only = false;
    } else if (read_only_mode && !g_str_equal(read_only_mode, "retain")) {
        return error_set(error, "Invalid read-only-mode '%s': use 'retain', 'read-only' or "
                         "'read-write'", read_only_mode);
    }
    if (format) {
        node_opts_set(opts, "driver", format);
    }
    flags = read_only ? 0 : NODE_OPEN_RDWR;
    if (!read_only_mode || g_str_equal(read_only_mode, "retain")) {
        flags |= NODE_OPEN_AUTO_RO;
    }
    node = node_open(filename, opts, flags, error);
    if (!node || !blk_eject(blk, force, error)) {
        return false;
    }
    if (!blk_insert_node(blk, node, !node->read_only && !blk->device_reads_only, error)) {
        return false;
    }
    return blk_close_tray(blk, error);
}

/* ---- errors ---- */

static const char *const policy_names[] = { "auto", "report", "ignore", "enospc", "stop" };

bool blk_error_policy_parse(const char *text, bool is_read, BlkErrorPolicy *policy,
                            GError **error)
{
    for (unsigned i = 0; i < ARRAY_LEN(policy_names); i++) {
        if (g_str_equal(text, policy_names[i]) && !(is_read && i == BLK_ON_ERROR_ENOSPC)) {
            *policy = (BlkErrorPolicy)i;
            return true;
        }
    }
    return error_set(error, "'%s' invalid %s error action: use 'report', 'ignore', %s'stop'", text,
                     is_read ? "read" : "write", is_read ? "" : "'enospc', ");
}

void blk_set_on_error(BlockBackend *blk, BlkErrorPolicy on_read, BlkErrorPolicy on_write)
{
    blk->on_read_error = on_read;
    blk->on_write_error = on_write;
}

BlkErrorPolicy blk_on_error(const BlockBackend *blk, bool is_read)
{
    return is_read ? blk->on_read_error : blk->on_write_error;
}

static void tell_error(BlockBackend *blk, bool is_read, BlkErrorAction action, int error)
{
    if (action == BLK_ERROR_STOP && hooks.stop_vm) {
        hooks.stop_vm(hooks.opaque);
    }
    if (hooks.io_error) {
        hooks.io_error(blk, is_read, action, error, hooks.opaque);
    }
}

typedef struct ErrorNews {
    BlockBackend *blk;
    bool is_read;
    BlkErrorAction action;
    int error;
} ErrorNews;

static void tell_error_posted(void *opaque)
{
    ErrorNews *news = opaque;

    GRAPH_HOLD();
    tell_error(news->blk, news->is_read, news->action, news->error);
    blk_unref(news->blk);
    g_free(news);
}

BlkErrorAction blk_handle_error(BlockBackend *blk, bool is_read, int error)
{
    BlkErrorPolicy policy = blk_on_error(blk, is_read);
    BlkErrorAction action = BLK_ERROR_REPORT;

    if (policy == BLK_ON_ERROR_AUTO) {
        policy = is_read ? BLK_ON_ERROR_REPORT : BLK_ON_ERROR_ENOSPC;
    }
    if (blk->ops && blk->ops->reports_errors) {
        policy = BLK_ON_ERROR_REPORT;
    }
    if (policy == BLK_ON_ERROR_IGNORE) {
        action = BLK_ERROR_IGNORE;
    } else if (policy == BLK_ON_ERROR_STOP ||
               (policy == BLK_ON_ERROR_ENOSPC && error == ENOSPC)) {
        action = BLK_ERROR_STOP;
    }
    if (action == BLK_ERROR_STOP) {
        if (!blk->iostatus) {
            blk->iostatus = error == ENOSPC ? 2 : 1;
        }
    }
    if (event_loop_current() == event_loop_main()) {
        tell_error(blk, is_read, action, error);
    } else {
        ErrorNews news = { blk_ref(blk), is_read, action, error };

        /* The reference keeps the backend; a detach takes it away from its device only. */
        event_loop_post(event_loop_main(), tell_error_posted, g_memdup2(&news, sizeof(news)));
    }
    return action;
}

const char *blk_iostatus(const BlockBackend *blk)
{
    static const char *const names[] = { "ok", "failed", "nospace" };

    return names[blk->iostatus];
}

/* ---- limits ---- */

bool blk_set_limits(BlockBackend *blk, const char *name, const Throttle *limits, GError **error)
{
    ThrottleGroup *group = NULL;

    if (!throttle_check(limits, error)) {
        return false;
    }
    if (throttle_enabled(limits)) {
        name = name ? name : blk->throttle ? throttle_group_name(blk->throttle) : blk_label(blk);
        group = throttle_group_find(name);
        group = group ? throttle_group_ref(group) : throttle_group_new(name, limits);
        throttle_group_set(group, limits);
    }
    GRAPH_HOLD();
    blk_drained_begin(blk);
    throttle_group_unref(blk->throttle);
    blk->throttle = group;
    blk_drained_end(blk);
    return true;
}

/* ---- geometry ---- */

BlkTranslation blk_pick_translation(const BlkGeometry *g)
{
    if (g->cylinders <= 1024 && g->heads <= 16 && g->sectors <= 63) {
        return BLK_TRANS_NONE;
    }
    return (uint64_t)g->cylinders * g->heads <= 131072 ? BLK_TRANS_LARGE : BLK_TRANS_LBA;
}

/* The end of a used partition gives heads and sectors away when it ends on a cylinder. */
static bool guess_from_mbr(BlockBackend *blk, BlkGeometry *g)
{
    uint8_t mbr[512];
    uint64_t total = blk_length(blk) / 512;

    /* Not by the backend, which counts and limits what the guest does. */
    if (!blk_node(blk) || node_pread(blk_node(blk), 0, mbr, sizeof(mbr)) < 0 || mbr[510] != 0x55 || mbr[511] != 0xaa) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *p = mbr + 0x1be + i * 16;
        uint32_t sectors = le32_load(p + 12), heads = p[5] + 1u, spt = p[6] & 63u;
        uint64_t cylinders;

        if (!sectors || !p[5] || !spt) {
            continue;
        }
        cylinders = total / (heads * spt);
        if (cylinders >= 1 && cylinders <= 16383) {
            *g = (BlkGeometry){ (uint32_t)cylinders, heads, spt };
            return true;
        }
    }
    return false;
}

void blk_guess_geometry(BlockBackend *blk, BlkGeometry *geometry, BlkTranslation *translation)
{
    uint64_t total = blk_length(blk) / 512, cylinders = total / (16 * 63);

    if (guess_from_mbr(blk, geometry)) {
        if (geometry->heads > 16) {
            /* The BIOS already translates: physical geometry is the standard one. */
            *translation = (uint64_t)geometry->cylinders * geometry->heads <= 131072
                               ? BLK_TRANS_LARGE : BLK_TRANS_LBA;
        } else {
            *translation = BLK_TRANS_NONE;
            return;
        }
    } else {
        *translation = BLK_TRANS_AUTO;
    }
    *geometry = (BlkGeometry){ (uint32_t)MIN(MAX(cylinders, 2), 16383), 16, 63 };
    if (*translation == BLK_TRANS_AUTO) {
        *translation = blk_pick_translation(geometry);
    }
}

/* ---- draining all ---- */

void blk_drain_all(void)
{
    GRAPH_HOLD();
    for (unsigned i = 0; all_backends && i < all_backends->len; i++) {
        blk_drain(all_backends->pdata[i]);
    }
    node_drain_all();
}
