/* SPDX-License-Identifier: MIT */
/*
 * Requests that concern a node as a whole: flush, commands passed through, resizing; and the forms of all requests
 * for plain buffers and for callers outside coroutines.
 * Locking: the node's event loop.
 */
#include "block/io_int.h"

#include "block/bitmap.h"
#include "qapi/qapi_commands.h"

int co_node_flush(BlockNode *node)
{
    int ret = 0;

    if (node->read_only && !node->dirty_since_flush) {
        return 0;
    }
    io_request_begin(node);
    node->dirty_since_flush = false;
    if (node->file) {
        node_event(node->file->node, QAPI_BLKDEBUG_EVENT_FLUSH_TO_OS);
    }
    if (node->type->co_flush && !(node->no_flush && node->type->is_protocol)) {
        ret = node->type->co_flush(node);
    }
    if (ret == 0 && node->data_file && node->data_file != node->file) {
        ret = co_node_flush(node->data_file->node);
    }
    if (ret == 0 && node->file) {
        ret = co_node_flush(node->file->node);
    }
    if (ret < 0) {
        node->dirty_since_flush = true;
    }
    io_request_end(node);
    return ret;
}

NodeScsi node_scsi(const BlockNode *node)
{
    return node->type->scsi ? node->type->scsi(node) : NODE_SCSI_NO;
}

int co_node_scsi(BlockNode *node, struct sg_io_hdr *io)
{
    int ret;

    if (node_scsi(node) == NODE_SCSI_NO) {
        return -ENOTSUP;
    }
    io_request_begin(node);
    ret = node->type->co_scsi(node, io);
    io_request_end(node);
    return ret;
}

/* ---- length ---- */

uint64_t node_length(const BlockNode *node)
{
    return node->length;
}

uint32_t node_cluster_size(const BlockNode *node)
{
    return node->type->cluster_size ? node->type->cluster_size(node) : 0;
}

/* Filters are as long as what is below them. */
static void tell_parents(BlockNode *node)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        BlockChild *edge = node->parents->pdata[i];
        BlockNode *parent = edge->parent;

        if (parent && parent->type->is_filter && !parent->type->own_length &&
            parent->file == edge) {
            parent->length = node->length;
            dirty_bitmaps_resize(parent, node->length);
            tell_parents(parent);
        } else if (!parent && edge->hooks && edge->hooks->resized) {
            edge->hooks->resized(edge->opaque);
        }
    }
}

void node_length_changed(BlockNode *node, uint64_t length)
{
    if (node->length != length) {
        node->length = length;
        dirty_bitmaps_resize(node, length);
        tell_parents(node);
    }
}

bool co_node_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                      GError **error)
{
    uint64_t old = node->length;
    bool ok;

    if (node->read_only) {
        return error_set(error, "Image '%s' is read-only, so it cannot be resized",
                         node->filename);
    }
    if (length > INT64_MAX - MIB) {
        return error_set(error, "The new size must be less than 8 EiB");
    }
    io_request_begin(node);
    if (node->type->co_truncate) {
        ok = node->type->co_truncate(node, length, exact, prealloc ? prealloc : "off", error);
    } else if (node->type->is_filter && node->file) {
        ok = co_node_truncate(node->file->node, length, exact, prealloc, error);
    } else {
        ok = error_set(error, "Image format driver '%s' does not support resize",
                       node->type->name);
    }
    if (ok) {
        node->length = old;           /* a node that follows its file has changed already */
        node_length_changed(node, length);
        node->dirty_since_flush = true;
    }
    io_request_end(node);
    return ok;
}

/* ---- plain buffers and sync forms ---- */

int co_node_pread(BlockNode *node, uint64_t offset, void *buf, size_t bytes)
{
    IO_BUF(span, buf, bytes);

    return co_node_preadv(node, offset, span);
}

int co_node_pwrite(BlockNode *node, uint64_t offset, const void *buf, size_t bytes, int flags)
{
    IO_BUF(span, buf, bytes);

    return co_node_pwritev(node, offset, span, flags);
}

typedef struct SyncIo {
    BlockNode *node;
    uint64_t offset;
    void *buf;
    size_t bytes;
    enum { SYNC_READ, SYNC_WRITE, SYNC_FLUSH } kind;
    int ret;
} SyncIo;

static void co_sync_entry(void *opaque)
{
    SyncIo *io = opaque;

    switch (io->kind) {
    case SYNC_READ:
        io->ret = co_node_pread(io->node, io->offset, io->buf, io->bytes);
        break;
    case SYNC_WRITE:
        io->ret = co_node_pwrite(io->node, io->offset, io->buf, io->bytes, 0);
        break;
    case SYNC_FLUSH:
        io->ret = co_node_flush(io->node);
    }
}

static int sync_io(SyncIo io)
{
    graph_run(io.node, co_sync_entry, &io);
    return io.ret;
}

int node_pread(BlockNode *node, uint64_t offset, void *buf, size_t bytes)
{
    return sync_io((SyncIo){ node, offset, buf, bytes, SYNC_READ, 0 });
}

int node_pwrite(BlockNode *node, uint64_t offset, const void *buf, size_t bytes)
{
    return sync_io((SyncIo){ node, offset, (void *)(uintptr_t)buf, bytes, SYNC_WRITE, 0 });
}

int node_flush(BlockNode *node)
{
    return sync_io((SyncIo){ node, 0, NULL, 0, SYNC_FLUSH, 0 });
}
