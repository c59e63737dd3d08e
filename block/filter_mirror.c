/* SPDX-License-Identifier: MIT */
/*
 * mirror_top: sits above the source of a mirror and sees every write.  In the background mode it
 * marks what was written; in the write-blocking mode the target is written too before the guest
 * hears that its request is done.
 * Locking: main loop.
 */
#include "block/filter.h"
#include "block/filter_job.h"

typedef enum MirrorOp { OP_WRITE, OP_ZERO, OP_DISCARD } MirrorOp;

static bool mirror_top_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    filter_init(node);
    return true;
}

static int co_do(BlockNode *to, MirrorOp op, uint64_t offset, uint64_t bytes, IoSpan span,
                 int flags)
{
    flags &= ~BLK_REQ_FUA;
    switch (op) {
    case OP_WRITE:
        return co_node_pwritev(to, offset, span, flags);
    case OP_ZERO:
        return co_node_write_zeroes(to, offset, bytes, flags);
    default:
        return co_node_discard(to, offset, bytes);
    }
}

/* Both nodes, as one operation: nothing is copied in this range meanwhile. */
static int co_both(BlockNode *node, MirrorTop *m, MirrorOp kind, uint64_t offset,
                   uint64_t bytes, IoSpan span, int flags)
{
    Copier *c = m->copier;
    uint64_t g = c->todo->granularity;
    Job *job = m->job;
    CopyOp op;
    int ret, ret2 = 0;

    job_op_begin(job);
    copier_op_begin(c, &op, align_down(offset, g), align_up(offset + bytes, g));
    ret = co_do(node->file->node, kind, offset, bytes, span, flags);
    if (ret == 0 && m->whole_granules) {
        ret2 = co_copier_copy(c, op.start, MIN(op.end, node->length) - op.start);
    } else if (ret == 0) {
        ret2 = co_do(c->target, kind, offset, bytes, span,
                     flags & ~(BLK_REQ_NO_FALLBACK | BLK_REQ_COMPRESSED));
    }
    if (ret == 0 && ret2 == 0 && kind != OP_DISCARD) {
        dirty_bitmap_reset(c->todo, offset, bytes);
    } else if (ret < 0 || ret2 < 0 || kind == OP_DISCARD) {
        /* A discard may read differently in the two: copied again. */
        dirty_bitmap_set(c->todo, offset, bytes);
    }
    if (ret2 < 0 && job_on_error(job, c->on_target_error, false, -ret2) ==
                        QAPI_BLOCK_ERROR_ACTION_REPORT && c->ret == 0) {
        c->ret = ret2;
    }
    copier_op_end(c, &op);
    job_op_end(job);
    return ret;
}

static int co_write(BlockNode *node, MirrorOp op, uint64_t offset, uint64_t bytes, IoSpan span,
                    int flags)
{
    MirrorTop *m = node->state;
    int ret;

    if (m->copier && m->write_blocking) {
        return co_both(node, m, op, offset, bytes, span, flags);
    }
    ret = co_do(node->file->node, op, offset, bytes, span, flags);
    if (m->copier) {
        /* Also after a failure, for part of it may have been written. */
        dirty_bitmap_set(m->copier->todo, offset, bytes);
        job_kick(m->job);
    }
    return ret;
}

static int mirror_top_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    return co_write(node, OP_WRITE, offset, span.len, span, flags);
}

static int mirror_top_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    return co_write(node, OP_ZERO, offset, bytes, (IoSpan){ 0 }, flags);
}

static int mirror_top_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    return co_write(node, OP_DISCARD, offset, bytes, (IoSpan){ 0 }, 0);
}

static int mirror_top_write_compressed(BlockNode *node, uint64_t offset, IoSpan span)
{
    return co_write(node, OP_WRITE, offset, span.len, span, BLK_REQ_COMPRESSED);
}

static void mirror_top_perm(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                            uint32_t shared, uint32_t *child_perm, uint32_t *child_shared)
{
    const MirrorTop *m = node->state;

    *child_perm = perm;
    *child_shared = shared;
    if (m && m->is_commit) {
        /* What is read from the base through the source is what was copied there. */
        *child_perm &= ~BLK_PERM_CONSISTENT_READ;
        *child_shared = BLK_PERM_ALL;
    }
}

const NodeType node_type_mirror_top = {
    .name = "mirror_top", .is_filter = true, .internal = true, .state_size = sizeof(MirrorTop),
    .open = mirror_top_open, .child_perm = mirror_top_perm, .co_preadv = filter_co_preadv,
    .co_pwritev = mirror_top_pwritev, .co_write_zeroes = mirror_top_write_zeroes,
    .co_discard = mirror_top_discard, .co_write_compressed = mirror_top_write_compressed,
};
