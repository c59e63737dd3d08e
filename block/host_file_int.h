/* SPDX-License-Identifier: MIT */
/*
 * What the files of host files share: host_file.c has the node types, host_file_io.c their requests, host_file_lock.c
 * the locks.
 * Locking: the node's event loop; workers see only their own request.
 */
#ifndef BLOCK_HOST_FILE_INT_H
#define BLOCK_HOST_FILE_INT_H

#include "base/worker_pool.h"
#include "block/types.h"

typedef struct HostFile {
    int fd;
    bool use_uring;           /* else worker threads */
    bool inline_io, locking, is_device, no_zero_range, no_punch, no_nowait;
    NodeScsi scsi;
    uint32_t locked_perm, locked_unshared;
    WorkLane writes;
    bool short_inline;
    unsigned in_lane, patience;     /* patience: writes to come that a tool leaves to a worker */
    uint64_t discards, discards_failed, discarded_bytes;
} HostFile;

/* Hooks of NodeType: host_file_io.c. */
NodeScsi host_file_scsi(const BlockNode *node);
int host_file_co_preadv(BlockNode *node, uint64_t offset, IoSpan span);
int host_file_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags);
int host_file_co_flush(BlockNode *node);
int host_file_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags);
int host_file_co_copy_range(BlockNode *from, uint64_t from_offset, BlockNode *to,
                            uint64_t to_offset, uint64_t bytes);
int host_file_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes);
Json *host_file_stats(BlockNode *node);
int host_file_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status);
int host_file_co_scsi(BlockNode *node, struct sg_io_hdr *io);

/* The hook of NodeType that takes the locks: host_file_lock.c. */
bool host_file_set_perm(BlockNode *node, uint32_t perm, uint32_t shared, GError **error);
/* Takes the locks for PERM and UNSHARED that F has not yet; with DROP, gives up those it has and that are not in them. */
void host_file_lock_apply(HostFile *f, uint32_t perm, uint32_t unshared, bool drop);

#endif
