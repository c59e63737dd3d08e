/* SPDX-License-Identifier: MIT */
/*
 * copy-before-write: what is about to be overwritten is copied to "target" first, so that the
 * target, with the source as its backing file or with a job that copies the rest, is the disk as
 * it was when the filter came in.
 *
 * "bitmap" limits that to what is dirty in a bitmap.  on-cbw-error says who suffers from a
 * failure: the guest's write (break-guest-write), or the snapshot (break-snapshot), which is no
 * longer completed then.
 * Missing: cbw-timeout; reading the snapshot through snapshot-access.
 * Locking: main loop.
 */
#include "block/filter.h"
#include "block/filter_job.h"
#include "block/types.h"

static int co_keep(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    CopyBeforeWrite *s = node->state;
    int ret;

    if (s->broken) {
        return 0;
    }
    ret = co_copier_before_write(&s->copier, offset, bytes);
    if (ret < 0 && s->break_snapshot) {
        s->broken = true;
        s->copier.ret = ret;
        return 0;
    }
    return ret;
}

static int cbw_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    int ret = co_keep(node, offset, span.len);

    return ret < 0 ? ret : filter_co_pwritev(node, offset, span, flags);
}

static int cbw_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    int ret = co_keep(node, offset, bytes);

    return ret < 0 ? ret : filter_co_write_zeroes(node, offset, bytes, flags);
}

static int cbw_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    int ret = co_keep(node, offset, bytes);

    return ret < 0 ? ret : filter_co_discard(node, offset, bytes);
}

static int cbw_co_write_compressed(BlockNode *node, uint64_t offset, IoSpan span)
{
    int ret = co_keep(node, offset, span.len);

    return ret < 0 ? ret : filter_co_write_compressed(node, offset, span);
}

static bool take_bitmap(CopyBeforeWrite *s, NodeOpts *opts, uint32_t granularity, GError **error)
{
    g_autofree char *node_name = node_opts_take(opts, "bitmap.node");
    g_autofree char *name = node_opts_take(opts, "bitmap.name");
    BlockNode *node = node_name ? node_by_name(node_name) : NULL;
    DirtyBitmap *bitmap;
    uint64_t at = 0, start, n;

    if (!node_name && !name) {
        dirty_bitmap_set(s->copier.todo, 0, s->copier.todo->length);
        return true;
    }
    if (!node || !name) {
        return error_set(error, "Cannot find node '%s' of the bitmap",
                         node_name ? node_name : "");
    }
    bitmap = dirty_bitmap_find(node, name);
    if (!bitmap) {
        return error_set(error, "Bitmap '%s' could not be found", name);
    }
    while (dirty_bitmap_next(bitmap, at, &start, &n)) {
        dirty_bitmap_set(s->copier.todo, start, n);
        at = start + n;
    }
    return true;
}

static bool cbw_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    CopyBeforeWrite *s = node->state;
    g_autofree char *on_error = node_opts_take(opts, "on-cbw-error");
    BlockNode *target;
    uint32_t granularity;

    filter_init(node);
    s->target = node_open_child(node, "target", NULL, opts, NODE_OPEN_RDWR | NODE_OPEN_PROTOCOL,
                                error);
    if (!s->target) {
        return false;
    }
    target = s->target->node;
    if (on_error && !g_str_equal(on_error, "break-guest-write") &&
        !g_str_equal(on_error, "break-snapshot")) {
        return error_set(error, "Invalid parameter 'on-cbw-error=%s': use 'break-guest-write' or "
                         "'break-snapshot'", on_error);
    }
    s->break_snapshot = on_error && g_str_equal(on_error, "break-snapshot");
    if (target->length != node->length) {
        return error_set(error, "Source and target image have different sizes");
    }
    granularity = (uint32_t)MAX(node_cluster_size(node_skip_filters(target)), 64 * KIB);
    if (!copier_init(&s->copier, node->file->node, target, granularity, error)) {
        return false;
    }
    if (!take_bitmap(s, opts, granularity, error)) {
        copier_clear(&s->copier);
        return false;
    }
    return true;
}

static void cbw_close(BlockNode *node)
{
    copier_clear(&((CopyBeforeWrite *)node->state)->copier);
}

static void cbw_child_moved(BlockNode *node, const BlockChild *edge)
{
    CopyBeforeWrite *s = node->state;

    s->copier.source = node->file->node;
    s->copier.target = s->target->node;
}

static void cbw_child_perm(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                           uint32_t shared, uint32_t *child_perm, uint32_t *child_shared)
{
    if (g_str_equal(edge->name, "target")) {
        *child_perm = BLK_PERM_WRITE;
        /* The source, which the guest writes, may be its backing file. */
        *child_shared = BLK_PERM_ALL & ~(uint32_t)BLK_PERM_RESIZE;
        return;
    }
    *child_perm = perm;
    *child_shared = shared;
    if (perm & BLK_PERM_WRITE) {
        /* Every write has to come through here. */
        *child_perm |= BLK_PERM_CONSISTENT_READ;
        *child_shared &= ~(uint32_t)(BLK_PERM_WRITE | BLK_PERM_RESIZE);
    }
}

const NodeType node_type_copy_before_write = {
    .name = "copy-before-write", .is_filter = true, .state_size = sizeof(CopyBeforeWrite),
    .open = cbw_open, .close = cbw_close, .child_moved = cbw_child_moved,
    .child_perm = cbw_child_perm, .co_preadv = filter_co_preadv, .co_pwritev = cbw_co_pwritev,
    .co_write_zeroes = cbw_co_write_zeroes, .co_discard = cbw_co_discard,
    .co_write_compressed = cbw_co_write_compressed,
};
