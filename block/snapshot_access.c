/* SPDX-License-Identifier: MIT */
/*
 * snapshot-access: reads the disk as it was when the copy-before-write filter that is its "file"
 * came in: from that filter's target what has been copied, else from its source.
 *
 * What a filter with a bitmap does not keep, and what was discarded here, is refused (EACCES); the
 * filter need not copy the latter any more.  A snapshot that broke gives the error that broke it.
 * Reads hold their granules, so writes to the source wait for them.
 * Locking: the node's event loop, which is also the filter's.
 */
#include "block/filter_job.h"
#include "block/io.h"
#include "block/types.h"

static CopyBeforeWrite *cbw_of(const BlockNode *node)
{
    return node->file->node->state;
}

static bool all_accessible(const CopyBeforeWrite *s, uint64_t start, uint64_t end)
{
    for (uint64_t at = start; at < end; at += s->access->granularity) {
        if (!dirty_bitmap_get(s->access, at)) {
            return false;
        }
    }
    return true;
}

/* Where AT is, and for how many of BYTES; the granules are held. */
static BlockNode *place_of(const CopyBeforeWrite *s, uint64_t at, uint64_t *bytes)
{
    uint32_t g = s->copier.todo->granularity;
    bool todo = dirty_bitmap_get(s->copier.todo, at);
    uint64_t end = align_down(at, g) + g;

    while (end < at + *bytes && dirty_bitmap_get(s->copier.todo, end) == todo) {
        end += g;
    }
    *bytes = MIN(*bytes, end - at);
    return todo ? s->copier.source : s->copier.target;
}

static void hold(CopyBeforeWrite *s, CopyOp *op, uint64_t offset, uint64_t bytes)
{
    uint32_t g = s->copier.todo->granularity;

    copier_op_begin(&s->copier, op, align_down(offset, g), align_up(offset + bytes, g));
}

static int access_error(const CopyBeforeWrite *s, const CopyOp *op)
{
    return s->broken ? s->copier.ret : all_accessible(s, op->start, MIN(op->end, s->access->length))
                                           ? 0 : -EACCES;
}

static int sa_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    CopyBeforeWrite *s = cbw_of(node);
    CopyOp op;
    int ret;

    hold(s, &op, offset, span.len);
    ret = access_error(s, &op);
    while (span.len && ret == 0) {
        uint64_t n = span.len;
        BlockNode *from = place_of(s, offset, &n);

        ret = co_node_preadv(from, offset, io_span_sub(span, 0, n));
        offset += n;
        span = io_span_sub(span, n, span.len - n);
    }
    /* It may have broken meanwhile, and what was read be too new. */
    ret = ret == 0 && s->broken ? s->copier.ret : ret;
    copier_op_end(&s->copier, &op);
    return ret;
}

static int sa_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    CopyBeforeWrite *s = cbw_of(node);
    uint64_t n = MIN(bytes, 64 * MIB);
    BlockNode *from;
    CopyOp op;
    int ret, depth;

    hold(s, &op, offset, n);
    ret = access_error(s, &op);
    if (ret == 0) {
        from = place_of(s, offset, &n);
        ret = co_node_status_above(from, NULL, offset, n, status, &depth);
    }
    copier_op_end(&s->copier, &op);
    if (ret == 0) {
        status->flags &= BLK_STATUS_DATA | BLK_STATUS_ZERO;
        status->flags |= BLK_STATUS_ALLOCATED;
        status->file = NULL;
    }
    return ret;
}

static int sa_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    CopyBeforeWrite *s = cbw_of(node);
    CopyOp op;
    int ret;

    if (s->job_owns) {
        return -ENOTSUP;               /* its job wants all of it */
    }
    hold(s, &op, offset, bytes);
    ret = access_error(s, &op);
    if (ret == 0) {
        dirty_bitmap_reset(s->copier.todo, offset, bytes);
        dirty_bitmap_reset(s->access, offset, bytes);
    }
    copier_op_end(&s->copier, &op);
    return ret;
}

static bool sa_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    const BlockNode *below = node->file->node;

    if (below->type != &node_type_copy_before_write) {
        return error_set(error, "snapshot-access needs a copy-before-write node as its file; '%s' is "
                         "of driver '%s'", below->name, below->type->name);
    }
    node->length = below->length;
    node->fixed_length = true;
    return true;
}

/* The filter's own edges see to what is read. */
static void sa_perm(const BlockNode *node, const BlockChild *edge, uint32_t perm, uint32_t shared,
                    uint32_t *child_perm, uint32_t *child_shared)
{
    *child_perm = 0;
    *child_shared = BLK_PERM_ALL;
}

const NodeType node_type_snapshot_access = {
    .name = "snapshot-access", .open = sa_open, .child_perm = sa_perm,
    .co_preadv = sa_co_preadv, .co_status = sa_co_status, .co_discard = sa_co_discard,
};
