/* SPDX-License-Identifier: MIT */
/*
 * QMP: transaction, and the commands that are transactions of one action.
 *
 * prepare() of each action makes its change, drained, and may fail; then commit() of all, which
 * cannot, or abort() in reverse order, which takes the changes back; last, clean().
 * Locking: main loop.
 */
#include "block/qmp_int.h"
#include "qapi/qapi_commands.h"

typedef struct Action Action;

typedef struct ActionType {
    bool (*prepare)(Action *a, GError **error);
    void (*commit)(Action *a);
    void (*abort)(Action *a);
    void (*clean)(Action *a);
} ActionType;

struct Action {
    const ActionType *type;
    const void *args;          /* of the command of the same name */
    JobTxn *txn;
    bool done;                 /* prepare() succeeded */
    BlockNode *node, *overlay;
    DirtyBitmap *bitmap, *old;
    char *snapshot_id;
    bool was_enabled;
    Job *job;
};

/* ---- running ---- */

static bool run_actions(Action *actions, unsigned count, GError **error)
{
    unsigned done = 0;
    bool ok = true;

    node_drain_all_begin();
    while (ok && done < count) {
        ok = actions[done].type->prepare(&actions[done], error);
        actions[done].done = ok;
        done++;
    }
    for (unsigned i = 0; ok && i < count; i++) {
        if (actions[i].type->commit) {
            actions[i].type->commit(&actions[i]);
        }
    }
    while (!ok && done-- > 0) {
        if (actions[done].type->abort) {
            actions[done].type->abort(&actions[done]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (actions[i].type->clean) {
            actions[i].type->clean(&actions[i]);
        }
    }
    node_drain_all_end();
    return ok;
}

static bool run_one(const ActionType *type, const void *args, GError **error)
{
    Action action = { .type = type, .args = args };

    return run_actions(&action, 1, error);
}

/* ---- overlays ---- */

static bool put_overlay(Action *a, GError **error)
{
    BlockNode *node = a->node;

    if (!job_check_free(node, error) || !job_check_free(node_skip_filters(node), error)) {
        return false;
    }
    if (!a->overlay->type->has_backing) {
        return error_set(error, "The overlay does not support backing images");
    }
    if (a->overlay->backing) {
        return error_set(error, "The overlay already has a backing image");
    }
    for (unsigned i = 0; i < a->overlay->parents->len; i++) {
        if (((BlockChild *)a->overlay->parents->pdata[i])->perm) {
            return error_set(error, "The overlay is already in use");
        }
    }
    if (!node_check_no_parent(node, error)) {
        return false;
    }
    /* Before it holds the only way to the data, it has to be there. */
    if (node_flush(a->overlay) < 0) {
        return error_set(error, "Could not flush the overlay '%s'", a->overlay->name);
    }
    if (!node_set_backing(a->overlay, node, error)) {
        return false;
    }
    if (!node_replace(node, a->overlay, error)) {
        node_set_backing(a->overlay, NULL, NULL);
        return false;
    }
    return true;
}

static void commit_overlay(Action *a)
{
    BlockNode *base = node_skip_filters(a->node);

    if (!base->perm || !(base->perm & (BLK_PERM_WRITE | BLK_PERM_RESIZE))) {
        node_set_read_only(base, true, NULL);
    }
}

static void abort_overlay(Action *a)
{
    if (a->done) {
        node_replace(a->overlay, a->node, NULL);
        node_set_backing(a->overlay, NULL, NULL);
    }
}

static void clean_overlay(Action *a)
{
    node_unref(a->overlay);
    node_unref(a->node);
}

static bool prepare_snapshot(Action *a, GError **error)
{
    const QapiBlockdevSnapshot *args = a->args;
    BlockNode *node = qmp_find_node(args->node, NULL, error);
    BlockNode *overlay = node ? qmp_find_node(args->overlay, NULL, error) : NULL;

    if (!overlay) {
        return false;
    }
    a->node = node_ref(node);
    a->overlay = node_ref(overlay);
    return put_overlay(a, error);
}

static bool prepare_snapshot_sync(Action *a, GError **error)
{
    const QapiBlockdevSnapshotSync *args = a->args;
    const char *format = args->format ? args->format : "qcow2";
    bool existing = args->has_mode && args->mode == QAPI_NEW_IMAGE_MODE_EXISTING;
    BlockNode *node = qmp_find_node(args->device, args->node_name ? args->node_name : "", error);

    if (!node) {
        return false;
    }
    if (args->node_name && !args->snapshot_node_name) {
        return error_set(error, "New overlay node-name missing");
    }
    if (args->snapshot_node_name && node_by_name(args->snapshot_node_name)) {
        return error_set(error, "New overlay node-name already in use");
    }
    a->node = node_ref(node);
    a->overlay = qmp_new_image(args->snapshot_file, format, args->snapshot_node_name, existing,
                               node, node, error);
    return a->overlay && put_overlay(a, error);
}

static const ActionType snapshot_action = {
    prepare_snapshot, commit_overlay, abort_overlay, clean_overlay,
};
static const ActionType snapshot_sync_action = {
    prepare_snapshot_sync, commit_overlay, abort_overlay, clean_overlay,
};

/* ---- internal snapshots ---- */

static SnapshotInfo *find_snapshot(GPtrArray *list, const char *id, const char *name)
{
    for (unsigned i = 0; i < list->len; i++) {
        SnapshotInfo *s = list->pdata[i];

        if ((!id || g_str_equal(s->id, id)) && (!name || g_str_equal(s->name, name))) {
            return s;
        }
    }
    return NULL;
}

static bool prepare_internal(Action *a, GError **error)
{
    const QapiBlockdevSnapshotInternal *args = a->args;
    BlockNode *node = qmp_find_root(args->device, error);
    g_autoptr(GPtrArray) list = NULL;
    gint64 now = g_get_real_time();
    SnapshotInfo vm = { .date_sec = (uint64_t)now / 1000000,
                        .date_nsec = (uint32_t)(now % 1000000) * 1000 };

    if (!node) {
        return false;
    }
    node = node_skip_filters(node);
    if (!*args->name) {
        return error_set(error, "Name is empty");
    }
    if (node->read_only) {
        return error_set(error, "Device '%s' is read only", args->device);
    }
    if (!job_check_free(node, error)) {
        return false;
    }
    list = node_snapshot_list(node, error);
    if (!list) {
        return false;
    }
    if (find_snapshot(list, NULL, args->name)) {
        return error_set(error, "Snapshot with name '%s' already exists on device '%s'",
                         args->name, args->device);
    }
    a->node = node_ref(node);
    return node_snapshot_create(node, args->name, &vm, error);
}

static void abort_internal(Action *a)
{
    if (a->done) {
        node_snapshot_delete(a->node, ((const QapiBlockdevSnapshotInternal *)a->args)->name,
                             NULL);
    }
}

static void clean_node(Action *a)
{
    node_unref(a->node);
}

static const ActionType internal_action = {
    prepare_internal, NULL, abort_internal, clean_node,
};

/* ---- bitmaps ---- */

static bool prepare_bitmap_add(Action *a, GError **error)
{
    const QapiBlockDirtyBitmapAdd *args = a->args;
    BlockNode *node = qmp_find_node(args->node, NULL, error);
    uint32_t granularity = args->has_granularity ? args->granularity : 0;

    if (!node) {
        return false;
    }
    if (!*args->name) {
        return error_set(error, "Bitmap name cannot be empty");
    }
    if (args->has_granularity && (granularity < 512 || !is_pow2(granularity))) {
        return error_set(error, "Granularity must be power of 2 and at least 512");
    }
    a->bitmap = dirty_bitmap_add(node, args->name, granularity, error);
    if (!a->bitmap) {
        return false;
    }
    if (args->has_persistent && args->persistent &&
        !dirty_bitmap_make_persistent(node, a->bitmap, error)) {
        dirty_bitmap_remove(node, a->bitmap);
        return false;
    }
    a->node = node_ref(node);
    a->bitmap->enabled = !(args->has_disabled && args->disabled);
    return true;
}

static void abort_bitmap_add(Action *a)
{
    if (a->done) {
        dirty_bitmap_remove(a->node, a->bitmap);
    }
}

static const ActionType bitmap_add_action = {
    prepare_bitmap_add, NULL, abort_bitmap_add, clean_node,
};

static bool take_bitmap(Action *a, GError **error)
{
    const QapiBlockDirtyBitmap *args = a->args;
    BlockNode *node = NULL;

    a->bitmap = qmp_find_bitmap(args->node, args->name, &node, error);
    a->node = node ? node_ref(node) : NULL;
    return a->bitmap != NULL;
}

/* Hidden at once, gone at the commit. */
static bool prepare_bitmap_remove(Action *a, GError **error)
{
    if (!take_bitmap(a, error)) {
        return false;
    }
    if (a->bitmap->busy) {
        return bitmap_check_usable(a->bitmap, error);
    }
    g_ptr_array_remove(a->node->bitmaps, a->bitmap);
    return true;
}

static void commit_bitmap_remove(Action *a)
{
    dirty_bitmap_free(a->bitmap);
}

static void abort_bitmap_remove(Action *a)
{
    if (a->done) {
        g_ptr_array_add(a->node->bitmaps, a->bitmap);
    }
}

static const ActionType bitmap_remove_action = {
    prepare_bitmap_remove, commit_bitmap_remove, abort_bitmap_remove, clean_node,
};

/* What is dirty now, to be put back. */
static bool keep_old(Action *a, GError **error)
{
    a->old = dirty_bitmap_new(a->bitmap->length, a->bitmap->granularity);
    return a->old ? dirty_bitmap_merge(a->old, a->bitmap, error)
                  : error_set(error, "Not enough memory to keep bitmap '%s'", a->bitmap->name);
}

static bool prepare_bitmap_clear(Action *a, GError **error)
{
    if (!take_bitmap(a, error) || !bitmap_check_usable(a->bitmap, error) ||
        !keep_old(a, error)) {
        return false;
    }
    dirty_bitmap_clear(a->bitmap);
    return true;
}

static void abort_bitmap_content(Action *a)
{
    if (a->done) {
        dirty_bitmap_clear(a->bitmap);
        dirty_bitmap_merge(a->bitmap, a->old, NULL);
    }
}

static void clean_bitmap(Action *a)
{
    dirty_bitmap_free(a->old);
    node_unref(a->node);
}

static const ActionType bitmap_clear_action = {
    prepare_bitmap_clear, NULL, abort_bitmap_content, clean_bitmap,
};

static bool prepare_bitmap_merge(Action *a, GError **error)
{
    const QapiBlockDirtyBitmapMerge *args = a->args;
    BlockNode *node = NULL;

    a->bitmap = qmp_find_bitmap(args->node, args->target, &node, error);
    a->node = node ? node_ref(node) : NULL;
    return a->bitmap && bitmap_check_usable(a->bitmap, error) && keep_old(a, error) &&
           qmp_merge_bitmaps(a->bitmap, args->node, args->bitmaps, error);
}

static const ActionType bitmap_merge_action = {
    prepare_bitmap_merge, NULL, abort_bitmap_content, clean_bitmap,
};

static bool switch_bitmap(Action *a, bool on, GError **error)
{
    if (!take_bitmap(a, error) || !bitmap_check_usable(a->bitmap, error)) {
        return false;
    }
    a->was_enabled = a->bitmap->enabled;
    a->bitmap->enabled = on;
    return true;
}

static bool prepare_bitmap_enable(Action *a, GError **error)
{
    return switch_bitmap(a, true, error);
}

static bool prepare_bitmap_disable(Action *a, GError **error)
{
    return switch_bitmap(a, false, error);
}

static void abort_bitmap_switch(Action *a)
{
    if (a->done) {
        a->bitmap->enabled = a->was_enabled;
    }
}

static const ActionType bitmap_enable_action = {
    prepare_bitmap_enable, NULL, abort_bitmap_switch, clean_node,
};
static const ActionType bitmap_disable_action = {
    prepare_bitmap_disable, NULL, abort_bitmap_switch, clean_node,
};

/* ---- jobs, abort ---- */

static bool prepare_backup(Action *a, GError **error)
{
    a->job = qmp_backup_new(a->args, a->txn, error);
    return a->job != NULL;
}

static bool prepare_drive_backup(Action *a, GError **error)
{
    a->job = qmp_drive_backup_new(a->args, a->txn, error);
    return a->job != NULL;
}

static void commit_job(Action *a)
{
    job_start(a->job);
}

static void abort_job(Action *a)
{
    if (a->done) {
        job_discard(a->job);
    }
}

static const ActionType backup_action = { prepare_backup, commit_job, abort_job, NULL };
static const ActionType drive_backup_action = {
    prepare_drive_backup, commit_job, abort_job, NULL,
};

static bool prepare_abort(Action *a, GError **error)
{
    return error_set(error, "Transaction aborted using Abort action");
}

static const ActionType abort_action = { prepare_abort, NULL, NULL, NULL };

/* ---- commands ---- */

static const ActionType *const action_types[QAPI_TRANSACTION_ACTION_KIND__COUNT] = {
    [QAPI_TRANSACTION_ACTION_KIND_ABORT] = &abort_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD] = &bitmap_add_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE] = &bitmap_remove_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR] = &bitmap_clear_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE] = &bitmap_enable_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE] = &bitmap_disable_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE] = &bitmap_merge_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCKDEV_BACKUP] = &backup_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT] = &snapshot_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC] = &internal_action,
    [QAPI_TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC] = &snapshot_sync_action,
    [QAPI_TRANSACTION_ACTION_KIND_DRIVE_BACKUP] = &drive_backup_action,
};

/* Every wrapper has one member, "data", a pointer. */
static const void *action_data(const QapiTransactionAction *action)
{
    return *(void *const *)action->u.any;
}

bool qmp_transaction(QmpCall *call, const QmpTransactionArgs *args, GError **error)
{
    GRAPH_HOLD();
    bool grouped = args->properties && args->properties->has_completion_mode &&
                   args->properties->completion_mode == QAPI_ACTION_COMPLETION_MODE_GROUPED;
    g_autofree Action *actions = g_new0(Action, args->actions->len);
    JobTxn *txn = grouped ? job_txn_new() : NULL;
    bool ok = true;

    for (unsigned i = 0; ok && i < args->actions->len; i++) {
        const QapiTransactionAction *action = args->actions->pdata[i];

        actions[i].type = action_types[action->type];
        actions[i].args = action_data(action);
        actions[i].txn = txn;
        if (grouped && action_types[action->type]->commit != commit_job &&
            action->type != QAPI_TRANSACTION_ACTION_KIND_ABORT) {
            ok = error_set(error, "Action '%s' does not support Transaction property "
                           "completion-mode = grouped",
                           qapi_words_QapiTransactionActionKind[action->type]);
        }
    }
    ok = ok && run_actions(actions, args->actions->len, error);
    job_txn_unref(txn);
    return ok;
}

/* A command that is a transaction of one action. */
#define SINGLE(name, Type, action)                                                       \
    bool qmp_##name(QmpCall *call, const Type *args, GError **error)                     \
    {                                                                                    \
        return run_one(&action, args, error);                                            \
    }

/* clang-format off */
SINGLE(blockdev_snapshot,               QapiBlockdevSnapshot,         snapshot_action)
SINGLE(blockdev_snapshot_sync,          QapiBlockdevSnapshotSync,     snapshot_sync_action)
SINGLE(blockdev_snapshot_internal_sync, QapiBlockdevSnapshotInternal, internal_action)
SINGLE(block_dirty_bitmap_add,          QapiBlockDirtyBitmapAdd,      bitmap_add_action)
SINGLE(block_dirty_bitmap_remove,       QapiBlockDirtyBitmap,         bitmap_remove_action)
SINGLE(block_dirty_bitmap_clear,        QapiBlockDirtyBitmap,         bitmap_clear_action)
SINGLE(block_dirty_bitmap_enable,       QapiBlockDirtyBitmap,         bitmap_enable_action)
SINGLE(block_dirty_bitmap_disable,      QapiBlockDirtyBitmap,         bitmap_disable_action)
SINGLE(block_dirty_bitmap_merge,        QapiBlockDirtyBitmapMerge,    bitmap_merge_action)
/* clang-format on */

bool qmp_blockdev_snapshot_delete_internal_sync(
    QmpCall *call, const QmpBlockdevSnapshotDeleteInternalSyncArgs *args, QapiSnapshotInfo **ret,
    GError **error)
{
    GRAPH_HOLD();
    BlockNode *node = qmp_find_root(args->device, error);
    g_autoptr(GPtrArray) list = NULL;
    SnapshotInfo *s;
    QapiSnapshotInfo *info;
    bool ok;

    if (!node) {
        return false;
    }
    node = node_skip_filters(node);
    if (!args->id && !args->name) {
        return error_set(error, "Name or id must be provided");
    }
    list = node_snapshot_list(node, error);
    if (!list) {
        return false;
    }
    s = find_snapshot(list, args->id, args->name);
    if (!s) {
        return error_set(error, "Snapshot with id '%s' and name '%s' does not exist on device "
                         "'%s'", args->id ? args->id : "null",
                         args->name ? args->name : "null", args->device);
    }
    info = g_new0(QapiSnapshotInfo, 1);
    info->id = g_strdup(s->id);
    info->name = g_strdup(s->name);
    info->vm_state_size = (int64_t)s->vm_state_size;
    info->date_sec = (int64_t)s->date_sec;
    info->date_nsec = s->date_nsec;
    info->vm_clock_sec = (int64_t)(s->vm_clock_ns / 1000000000);
    info->vm_clock_nsec = (int64_t)(s->vm_clock_ns % 1000000000);
    info->has_icount = s->has_icount;
    info->icount = (int64_t)s->icount;
    node_drained_begin(node);
    ok = node_snapshot_delete(node, info->id, error);
    node_drained_end(node);
    if (!ok) {
        qapi_free_QapiSnapshotInfo(info);
        return false;
    }
    *ret = info;
    return true;
}
