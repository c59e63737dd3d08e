/* SPDX-License-Identifier: MIT */
/*
 * What a range of a node is: data, zeroes, or for another node to say.
 * Locking: the node's event loop.
 */
#include "block/io_int.h"

int co_node_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    int ret = 0;

    memset(status, 0, sizeof(*status));
    if (offset >= node->length) {
        status->flags = BLK_STATUS_EOF;
        return 0;
    }
    bytes = MIN(bytes, node->length - offset);
    status->bytes = bytes;
    io_request_begin(node);
    if (node->type->is_filter && node->file && !node->type->co_status) {
        ret = co_node_status(node->file->node, offset, bytes, status);
        io_request_end(node);
        return ret;
    }
    if (node->type->co_status) {
        ret = node->type->co_status(node, offset, bytes, status);
    } else {
        status->flags = BLK_STATUS_DATA | BLK_STATUS_ALLOCATED;
        if (node->type->is_protocol) {
            status->flags |= BLK_STATUS_OFFSET_VALID;
            status->map = offset;
            status->file = node;
        }
    }
    if (ret == 0) {
        status->bytes = MIN(MAX(status->bytes, 1), bytes);
        if (status->flags & (BLK_STATUS_DATA | BLK_STATUS_ZERO)) {
            status->flags |= BLK_STATUS_ALLOCATED;
        }
        if ((status->flags & BLK_STATUS_RECURSE) && (status->flags & BLK_STATUS_DATA) &&
            (status->flags & BLK_STATUS_OFFSET_VALID) && status->file && status->file != node) {
            BlockStatus inner;

            if (co_node_status(status->file, status->map, status->bytes, &inner) == 0) {
                if (inner.bytes == 0) {         /* behind its end */
                    status->flags |= BLK_STATUS_ZERO;
                } else {
                    status->bytes = MIN(status->bytes, inner.bytes);
                    status->flags |= inner.flags & BLK_STATUS_ZERO;
                }
            }
        }
        if (!(status->flags & BLK_STATUS_ALLOCATED) && !node->backing) {
            status->flags |= BLK_STATUS_ZERO;    /* nothing below: reads as zeroes */
        }
        if (offset + status->bytes == node->length) {
            status->flags |= BLK_STATUS_EOF;
        }
    }
    io_request_end(node);
    return ret;
}

int co_node_status_above(BlockNode *node, BlockNode *base, uint64_t offset, uint64_t bytes,
                         BlockStatus *status, int *depth)
{
    bool eof = false;
    int ret, level = 0;

    *depth = 0;
    ret = co_node_status(node, offset, bytes, status);
    if (ret < 0 || !status->bytes || (status->flags & BLK_STATUS_ALLOCATED)) {
        return ret;
    }
    eof = status->flags & BLK_STATUS_EOF;
    base = node_skip_filters(base);
    for (BlockNode *n = node_skip_filters(node_chain_next(node)); n && n != base;
         n = node_skip_filters(node_chain_next(n))) {
        BlockStatus here;

        level++;
        ret = co_node_status(n, offset, status->bytes, &here);
        if (ret < 0) {
            return ret;
        }
        if (!here.bytes) {
            /* Behind the end of a short backing file: zeroes, decided by that layer. */
            status->flags = BLK_STATUS_ZERO | BLK_STATUS_ALLOCATED |
                            (eof ? BLK_STATUS_EOF : 0);
            *depth = level;
            return 0;
        }
        eof = eof && here.bytes == status->bytes;
        *status = here;
        *depth = level;
        if (here.flags & BLK_STATUS_ALLOCATED) {
            break;
        }
    }
    status->flags = (status->flags & ~BLK_STATUS_EOF) | (eof ? BLK_STATUS_EOF : 0);
    return 0;
}
