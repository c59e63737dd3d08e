/* SPDX-License-Identifier: MIT */
/*
 * The common part of filters: requests that go down as they are.
 * Locking: the node's event loop.
 */
#include "block/filter.h"

int filter_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    return co_node_preadv(node->file->node, offset, span);
}

int filter_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    /* The core flushes for FUA when the whole request is done. */
    return co_node_pwritev(node->file->node, offset, span, flags & ~BLK_REQ_FUA);
}

int filter_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    return co_node_write_zeroes(node->file->node, offset, bytes, flags & ~BLK_REQ_FUA);
}

int filter_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    return co_node_discard(node->file->node, offset, bytes);
}

int filter_co_write_compressed(BlockNode *node, uint64_t offset, IoSpan span)
{
    return co_node_pwritev(node->file->node, offset, span, BLK_REQ_COMPRESSED);
}

void filter_init(BlockNode *node)
{
    node->length = node->file->node->length;
    node->limits = node->file->node->limits;
}
