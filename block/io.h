/* SPDX-License-Identifier: MIT */
/*
 * Block nodes: requests.  The graph side (open, children, permissions) is block/graph.h.
 *
 * Thread rule: in a coroutine on the node's event loop (co_), or as the sync form, which runs the
 * loop until done.  A node does not move or go while a request is in flight: callers that are
 * not below a drained parent hold a reference.
 *
 * Results are 0 or -errno.  Offsets and lengths are bytes; these functions bounce what is not
 * aligned to the node's needs, and check bounds: a format that is fed a hostile image cannot
 * reach outside the node below.  Reading behind the end of a node gives zeroes, for a format
 * whose file may be short asks for the tail of a cluster; writing there fails with -EIO unless the
 * parent took BLK_PERM_RESIZE, which makes protocols grow.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/coroutine.h"
#include "block/backend.h"

/* A window of LEN bytes that begins SKIP bytes into the vector; passed by value, never owns. */
typedef struct IoSpan {
    const struct iovec *iov;
    size_t skip, len;
} IoSpan;

/* Part of a span, by its own offset. */
static inline IoSpan io_span_sub(IoSpan span, size_t offset, size_t len)
{
    span.skip += offset;
    span.len = len;
    while (len && span.skip >= span.iov->iov_len) {
        span.skip -= span.iov->iov_len;
        span.iov++;
    }
    return span;
}

static inline IoSpan io_span_of(const struct iovec *iov, int niov)
{
    IoSpan span = { iov, 0, 0 };

    for (int i = 0; i < niov; i++) {
        span.len += iov[i].iov_len;
    }
    return span;
}

/* A span over a plain buffer: IO_BUF(name, buf, len) declares NAME and the iovec behind it. */
#define IO_BUF(name, buf, buflen)                                                        \
    struct iovec name##_iov = { (void *)(uintptr_t)(buf), (buflen) };                    \
    IoSpan name = { &name##_iov, 0, (buflen) }

void io_span_to_buf(IoSpan span, void *buf);
void io_span_from_buf(IoSpan span, const void *buf);
void io_span_zero(IoSpan span);
bool io_span_is_zero(IoSpan span);
/* Do all pieces begin and end at multiples of ALIGN, a power of two? */
bool io_span_is_aligned(IoSpan span, size_t align);
bool buffer_is_zero(const void *buf, size_t len);
/* The pointer, when the span is contiguous; else NULL. */
void *io_span_flat(IoSpan span);
/* Memory for data, from the beginning of a page on: the kernel copies to such places and from them a good deal
 * faster.  Freed by g_free(). */
void *io_buffer_new(size_t bytes);
/* Fills at most MAX entries and returns how many; *BYTES says how much they cover. */
int io_span_to_iov(IoSpan span, struct iovec *iov, int max, size_t *bytes);

int co_node_preadv(BlockNode *node, uint64_t offset, IoSpan span);
int co_node_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags);
int co_node_pread(BlockNode *node, uint64_t offset, void *buf, size_t bytes);
int co_node_pwrite(BlockNode *node, uint64_t offset, const void *buf, size_t bytes, int flags);
int co_node_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags);
int co_node_discard(BlockNode *node, uint64_t offset, uint64_t bytes);
int co_node_flush(BlockNode *node);
struct sg_io_hdr;                     /* <scsi/sg.h> */
/* Does NODE take SCSI commands?  A command; -ENOTSUP: it does not. */
NodeScsi node_scsi(const BlockNode *node);
int co_node_scsi(BlockNode *node, struct sg_io_hdr *io);
/* Lets the host copy; -ENOTSUP where it cannot, and nothing has been copied then. */
int co_node_copy_range(BlockNode *from, uint64_t from_offset, BlockNode *to, uint64_t to_offset,
                       uint64_t bytes);
bool co_node_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                      GError **error);

enum {
    BLK_STATUS_DATA = 1 << 0,         /* may hold something other than zeroes */
    BLK_STATUS_ZERO = 1 << 1,         /* reads as zeroes */
    BLK_STATUS_OFFSET_VALID = 1 << 2, /* the bytes are at MAP of FILE, as they are */
    BLK_STATUS_ALLOCATED = 1 << 3,    /* this node decides the content, not its backing file */
    BLK_STATUS_COMPRESSED = 1 << 4,
    BLK_STATUS_EOF = 1 << 5,
    BLK_STATUS_RECURSE = 1 << 6,      /* a type asks the core to refine DATA by asking FILE */
};

struct BlockStatus {
    uint32_t flags;
    uint64_t bytes;                   /* how far this holds; at least 1 within the node */
    uint64_t map;
    BlockNode *file;
};

/* One layer: not ALLOCATED means that the backing file decides. */
int co_node_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status);
/* Through the backing chain down to but not including BASE; *DEPTH is the layer that answered
 * (0: NODE itself).  FLAGS without ALLOCATED: no layer has it. */
int co_node_status_above(BlockNode *node, BlockNode *base, uint64_t offset, uint64_t bytes,
                         BlockStatus *status, int *depth);

uint64_t node_length(const BlockNode *node);
uint32_t node_cluster_size(const BlockNode *node); /* of the format; 0 when it has none */

/* Sync forms for the main loop. */
int node_pread(BlockNode *node, uint64_t offset, void *buf, size_t bytes);
int node_pwrite(BlockNode *node, uint64_t offset, const void *buf, size_t bytes);
int node_flush(BlockNode *node);

/* Copy-on-read and streaming: between two calls of node_serialise() writes to NODE exclude each
 * other and co_node_copy_up(), which gives NODE a copy of what it does not hold itself but some
 * image between it and BASE (NULL: the whole chain) does.  Called drained. */
void node_serialise(BlockNode *node, bool on);
int co_node_copy_up(BlockNode *node, BlockNode *base, uint64_t offset, uint64_t bytes);

#endif
