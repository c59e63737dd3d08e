/* SPDX-License-Identifier: MIT */
/*
 * copy-before-write: what is about to be overwritten is copied to "target" first, so that the
 * target, with the source as its backing file or with a job that copies the rest, is the disk as
 * it was when the filter came in.
 *
 * "bitmap" limits that to what is dirty in a bitmap.  on-cbw-error says who suffers from a
 * failure: the guest's write (break-guest-write), or the snapshot (break-snapshot), which is no
 * longer completed then.  A copy that takes longer than cbw-timeout has failed as far as the write
 * goes; it still ends by itself.  The snapshot can be read through snapshot-access.
 * Locking: main loop.
 */
#include "block/filter.h"
#include "block/filter_job.h"
#include "block/types.h"

/* A copy with a time limit: it goes on after the limit, and ends then without anybody waiting. */
typedef struct Copying {
    BlockNode *node;
    uint64_t offset, bytes;
    Coroutine *waiter;         /* NULL: nobody (yet, or any more) */
    int ret;
    bool done, left;
} Copying;

static void co_copying(void *opaque)
{
    Copying *c = opaque;
    CopyBeforeWrite *s = c->node->state;
    Coroutine *waiter;

    c->ret = co_copier_before_write(&s->copier, c->offset, c->bytes);
    c->done = true;
    c->node->in_flight--;
    graph_wait_kick();
    waiter = g_steal_pointer(&c->waiter);
    if (waiter) {
        coroutine_wake(waiter);
    } else if (c->left) {
        g_free(c);
    }
}

static void copying_too_long(void *opaque)
{
    Copying *c = opaque;
    Coroutine *waiter = g_steal_pointer(&c->waiter);

    if (waiter) {
        coroutine_wake(waiter);
    }
}

static int co_copy_in_time(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    CopyBeforeWrite *s = node->state;
    Copying *c = g_new0(Copying, 1);
    int ret;

    c->node = node;
    c->offset = offset;
    c->bytes = bytes;
    node->in_flight++;
    coroutine_start(co_copying, c);
    if (!c->done) {
        g_autoptr(LoopDelay) limit = NULL;

        c->waiter = coroutine_self();
        limit = loop_delay_new(coroutine_home(c->waiter), (int64_t)s->timeout_ms,
                               copying_too_long, c);
        co_yield();
    }
    if (!c->done) {
        c->left = true;
        return -ETIMEDOUT;
    }
    ret = c->ret;
    g_free(c);
    return ret;
}

static int co_keep(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    CopyBeforeWrite *s = node->state;
    int ret;

    if (s->broken) {
        return 0;
    }
    ret = s->timeout_ms ? co_copy_in_time(node, offset, bytes)
                        : co_copier_before_write(&s->copier, offset, bytes);
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
    uint64_t timeout = 0;
    BlockNode *target;
    uint32_t granularity;

    filter_init(node);
    if (!node_opts_take_uint(opts, "cbw-timeout", &timeout, error)) {
        return false;
    }
    if (timeout > UINT32_MAX) {
        return error_set(error, "cbw-timeout is at most %u seconds", UINT32_MAX);
    }
    s->timeout_ms = timeout * 1000;
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
    s->access = dirty_bitmap_new(node->length, granularity);
    if (!s->access) {
        error_set(error, "Not enough memory for the bitmap of '%s'", node->name);
    } else if (take_bitmap(s, opts, granularity, error)) {
        return dirty_bitmap_merge(s->access, s->copier.todo, error);
    }
    g_clear_pointer(&s->access, dirty_bitmap_free);
    copier_clear(&s->copier);
    return false;
}

static void cbw_close(BlockNode *node)
{
    CopyBeforeWrite *s = node->state;

    dirty_bitmap_free(s->access);
    copier_clear(&s->copier);
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
