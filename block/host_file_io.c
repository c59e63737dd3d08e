/* SPDX-License-Identifier: MIT */
/*
 * Requests on host files and devices.
 *
 * I/O goes to worker threads, or with aio=io_uring to the kernel's rings (block/io_uring.h); reads that the page cache
 * can answer are tried without waiting first (preadv2 RWF_NOWAIT).  With NODE_OPEN_INLINE_IO (tools, which have nothing
 * else to do) every call is made directly; with NODE_OPEN_SHORT_INLINE (tools whose requests overlap) short writes to
 * the page cache are, as long as they are quick: to have a thread do one takes longer than it does.
 *
 * Locking: the node's event loop; workers see only their own request.
 */
#include "block/host_file_int.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "block/io_uring.h"

#define IOV_BATCH 256
/* To copy more than that from the page cache takes longer than to have another thread do it. */
#define NOWAIT_MAX (256u << 10)
/* Writes that a tool makes itself, unless one of the last PATIENCE writes took longer than they should. */
#define SHORT_WRITE (32u << 10)
#define SHORT_WRITE_US 500
#define PATIENCE 1000

typedef struct FileOp {
    enum { OP_READ, OP_WRITE, OP_SYNC, OP_ZERO, OP_DISCARD, OP_SCSI } kind;
    HostFile *file;
    uint64_t offset, bytes;
    IoSpan span;
    int flags;
    uint64_t length;          /* of the node, to know what extends it */
    struct sg_io_hdr *scsi;
} FileOp;

static int op_transfer(FileOp *op)
{
    struct iovec iov[IOV_BATCH];
    uint64_t offset = op->offset;
    IoSpan span = op->span;

    while (span.len) {
        size_t bytes;
        int n = io_span_to_iov(span, iov, IOV_BATCH, &bytes);
        ssize_t done = op->kind == OP_READ ? preadv(op->file->fd, iov, n, (off_t)offset)
                                           : pwritev(op->file->fd, iov, n, (off_t)offset);

        if (done < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        if (done == 0) {
            if (op->kind == OP_WRITE) {
                return -ENOSPC;
            }
            io_span_zero(span);        /* the file got shorter behind our back */
            return 0;
        }
        offset += (uint64_t)done;
        span = io_span_sub(span, (size_t)done, span.len - (size_t)done);
    }
    return 0;
}

static int op_fallocate(FileOp *op, int mode)
{
    int ret;

    do {
        ret = fallocate(op->file->fd, mode, (off_t)op->offset, (off_t)op->bytes);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

static bool not_possible(int ret)
{
    return ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -EINVAL || ret == -ENODEV ||
           ret == -ENOTTY || ret == -EPERM;
}

static int op_zero(FileOp *op)
{
    HostFile *f = op->file;
    int ret = -ENOTSUP;

    if (f->is_device) {
        uint64_t range[2] = { op->offset, op->bytes };

        ret = ioctl(f->fd, BLKZEROOUT, range) == 0 ? 0 : -errno;
        return not_possible(ret) ? -ENOTSUP : ret;
    }
    if (op->offset >= op->length) {
        /* Behind the end: growing makes the zeroes. */
        return ftruncate(f->fd, (off_t)(op->offset + op->bytes)) < 0 ? -errno : 0;
    }
    if ((op->flags & BLK_REQ_MAY_UNMAP) && !f->no_punch) {
        ret = op_fallocate(op, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
        if (ret == 0 && op->offset + op->bytes > op->length) {
            ret = ftruncate(f->fd, (off_t)(op->offset + op->bytes)) < 0 ? -errno : 0;
        }
        if (!not_possible(ret)) {
            return ret;
        }
        f->no_punch = true;
    }
    if (!f->no_zero_range) {
        ret = op_fallocate(op, FALLOC_FL_ZERO_RANGE);
        if (!not_possible(ret)) {
            return ret;
        }
        f->no_zero_range = true;
    }
    return -ENOTSUP;
}

static int op_discard(FileOp *op)
{
    int ret;

    if (op->file->is_device) {
        uint64_t range[2] = { op->offset, op->bytes };

        ret = ioctl(op->file->fd, BLKDISCARD, range) == 0 ? 0 : -errno;
    } else {
        ret = op_fallocate(op, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    }
    return not_possible(ret) ? -ENOTSUP : ret;
}

static int op_work(void *opaque)
{
    FileOp *op = opaque;

    switch (op->kind) {
    case OP_READ:
    case OP_WRITE:
        return op_transfer(op);
    case OP_SYNC:
        return fdatasync(op->file->fd) < 0 ? -errno : 0;
    case OP_ZERO:
        return op_zero(op);
    case OP_SCSI:
        return ioctl(op->file->fd, SG_IO, op->scsi) < 0 ? -errno : 0;
    default:
        return op_discard(op);
    }
}

NodeScsi host_file_scsi(const BlockNode *node)
{
    return ((const HostFile *)node->state)->scsi;
}

static int co_op(FileOp *op)
{
    return op->file->inline_io ? op_work(op) : co_worker_run(worker_pool_shared(), op_work, op);
}

/* Writes to the page cache of one file: file systems do one at a time, and more threads would only
 * spin for the inode's lock. */
static int co_op_write(BlockNode *node, FileOp *op)
{
    HostFile *f = op->file;
    int ret;

    if (f->inline_io || f->is_device || node->direct) {
        return co_op(op);
    }
    if (f->short_inline && !f->in_lane && op->bytes <= SHORT_WRITE && f->patience == 0) {
        int64_t start_us = g_get_monotonic_time();

        ret = op_work(op);
        f->patience = g_get_monotonic_time() - start_us > SHORT_WRITE_US ? PATIENCE : 0;
        return ret;
    }
    f->patience -= f->patience > 0;
    f->in_lane++;
    ret = co_worker_run_in_lane(worker_pool_shared(), &f->writes, op_work, op);
    f->in_lane--;
    return ret;
}

/* NULL: not wanted.  A ring that cannot be made for another loop leaves it to the threads. */
static Uring *ring_of(BlockNode *node)
{
    HostFile *f = node->state;
    Uring *ring = f->use_uring ? uring_of_loop(event_loop_current(), NULL) : NULL;

    f->use_uring = ring != NULL;
    return ring;
}

int host_file_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    HostFile *f = node->state;
    FileOp op = { OP_READ, f, offset, span.len, span };
    Uring *ring;

    if (!f->inline_io && !f->no_nowait && !node->direct && span.len <= NOWAIT_MAX) {
        struct iovec iov[16];
        size_t bytes;
        int n = io_span_to_iov(span, iov, 16, &bytes);
        ssize_t done = preadv2(f->fd, iov, n, (off_t)offset, RWF_NOWAIT);

        if (done == (ssize_t)span.len) {
            return 0;
        }
        f->no_nowait = done < 0 && (errno == EOPNOTSUPP || errno == ENOSYS);
    }
    ring = ring_of(node);
    return ring ? co_uring_rw(ring, false, f->fd, span, offset) : co_op(&op);
}

int host_file_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    HostFile *f = node->state;
    FileOp op = { OP_WRITE, f, offset, span.len, span };
    Uring *ring = ring_of(node);

    return ring ? co_uring_rw(ring, true, f->fd, span, offset) : co_op_write(node, &op);
}

int host_file_co_flush(BlockNode *node)
{
    HostFile *f = node->state;
    FileOp op = { OP_SYNC, f };
    Uring *ring = ring_of(node);

    return ring ? co_uring_sync(ring, f->fd) : co_op(&op);
}

int host_file_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    HostFile *f = node->state;
    FileOp op = { OP_ZERO, f, offset, bytes, .flags = flags, .length = node->length };

    if (!f->is_device && offset < node->length && f->no_zero_range &&
        (f->no_punch || !(flags & BLK_REQ_MAY_UNMAP))) {
        return -ENOTSUP;
    }
    return co_op(&op);
}

typedef struct CopyOp {
    int from, to;
    uint64_t from_offset, to_offset, bytes;
} CopyOp;

static int copy_work(void *opaque)
{
    CopyOp *op = opaque;
    off_t in = (off_t)op->from_offset, out = (off_t)op->to_offset;
    uint64_t left = op->bytes;

    while (left) {
        ssize_t n = copy_file_range(op->from, &in, op->to, &out, left, 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            bool never = left == op->bytes && (n == 0 || errno == EXDEV || errno == EINVAL ||
                                               errno == ENOSYS || not_possible(-errno));

            return never ? -ENOTSUP : n < 0 ? -errno : -EIO;
        }
        left -= (uint64_t)n;
    }
    return 0;
}

int host_file_co_copy_range(BlockNode *from, uint64_t from_offset, BlockNode *to,
                            uint64_t to_offset, uint64_t bytes)
{
    HostFile *f = from->state, *t = to->state;
    CopyOp op = { f->fd, t->fd, from_offset, to_offset, bytes };

    return t->inline_io ? copy_work(&op) : co_worker_run(worker_pool_shared(), copy_work, &op);
}

int host_file_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    HostFile *f = node->state;
    FileOp op = { OP_DISCARD, f, offset, bytes };
    int ret = co_op(&op);

    if (ret < 0) {
        f->discards_failed++;
    } else {
        f->discards++;
        f->discarded_bytes += bytes;
    }
    return ret;
}

Json *host_file_stats(BlockNode *node)
{
    const HostFile *f = node->state;
    Json *dict = json_new_dict();

    json_set(dict, "driver", json_new_string(node->type->name));
    json_set(dict, "discard-nb-ok", json_new_uint(f->discards));
    json_set(dict, "discard-nb-failed", json_new_uint(f->discards_failed));
    json_set(dict, "discard-bytes-ok", json_new_uint(f->discarded_bytes));
    return dict;
}

int host_file_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    HostFile *f = node->state;
    off_t data, hole;

    status->flags = BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID | BLK_STATUS_ALLOCATED;
    status->map = offset;
    status->file = node;
    status->bytes = bytes;
    if (f->is_device) {
        return 0;
    }
    data = lseek(f->fd, (off_t)offset, SEEK_DATA);
    if (data < 0) {
        if (errno == ENXIO) {          /* a hole up to the end */
            status->flags ^= BLK_STATUS_DATA | BLK_STATUS_ZERO;
        }
        return 0;
    }
    if ((uint64_t)data > offset) {
        status->flags ^= BLK_STATUS_DATA | BLK_STATUS_ZERO;
        status->bytes = MIN(bytes, (uint64_t)data - offset);
        return 0;
    }
    hole = lseek(f->fd, (off_t)offset, SEEK_HOLE);
    if (hole > 0 && (uint64_t)hole > offset) {
        status->bytes = MIN(bytes, (uint64_t)hole - offset);
    }
    return 0;
}

/* Always on a worker: a command can take its time. */
int host_file_co_scsi(BlockNode *node, struct sg_io_hdr *io)
{
    FileOp op = { .kind = OP_SCSI, .file = node->state, .scsi = io };

    return co_worker_run(worker_pool_shared(), op_work, &op);
}
