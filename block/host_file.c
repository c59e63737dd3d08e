/* SPDX-License-Identifier: MIT */
/*
 * Host files and devices: the protocols file, host_device, host_cdrom.
 *
 * I/O goes to worker threads, or with aio=io_uring to the kernel's rings (block/io_uring.h); reads that the page cache can answer are tried without waiting
 * first (preadv2 RWF_NOWAIT).  With NODE_OPEN_INLINE_IO (tools, which have nothing else to do)
 * every call is made directly; with NODE_OPEN_SHORT_INLINE (tools whose requests overlap) short writes
 * to the page cache are, as long as they are quick: to have a thread do one takes longer than it does.  cache.direct=on opens with O_DIRECT and discovers the alignment.
 *
 * Locks are QEMU's, so that the programs exclude each other: OFD read locks on byte 100 + n for
 * each permission n in use, on byte 200 + n for each that is not shared.  They sit on the open
 * file description and vanish with it.
 *
 * Locking: the node's event loop; workers see only their own request.
 */
#include "block/types.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/cdrom.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdset.h"
#include "base/worker_pool.h"
#include "block/io_uring.h"

#define LOCK_PERM_BASE 100
#define LOCK_SHARED_BASE 200
#define IOV_BATCH 256
/* To copy more than that from the page cache takes longer than to have another thread do it. */
#define NOWAIT_MAX (256u << 10)
/* Writes that a tool makes itself, unless one of the last PATIENCE writes took longer than they should. */
#define SHORT_WRITE (32u << 10)
#define SHORT_WRITE_US 500
#define PATIENCE 1000

typedef struct HostFile {
    int fd;
    bool use_uring;           /* else worker threads */
    bool inline_io, locking, is_device, no_zero_range, no_punch, no_nowait;
    NodeScsi scsi;
    uint32_t locked_perm, locked_unshared;
    WorkLane writes;
    bool short_inline;
    unsigned in_lane, patience;
    uint64_t discards, discards_failed, discarded_bytes;
} HostFile;

/* ---- requests ---- */

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

static NodeScsi file_scsi(const BlockNode *node)
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

static int file_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
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

static int file_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    HostFile *f = node->state;
    FileOp op = { OP_WRITE, f, offset, span.len, span };
    Uring *ring = ring_of(node);

    return ring ? co_uring_rw(ring, true, f->fd, span, offset) : co_op_write(node, &op);
}

static int file_co_flush(BlockNode *node)
{
    HostFile *f = node->state;
    FileOp op = { OP_SYNC, f };
    Uring *ring = ring_of(node);

    return ring ? co_uring_sync(ring, f->fd) : co_op(&op);
}

static int file_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
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

static int file_co_copy_range(BlockNode *from, uint64_t from_offset, BlockNode *to,
                              uint64_t to_offset, uint64_t bytes)
{
    HostFile *f = from->state, *t = to->state;
    CopyOp op = { f->fd, t->fd, from_offset, to_offset, bytes };

    return t->inline_io ? copy_work(&op) : co_worker_run(worker_pool_shared(), copy_work, &op);
}

static int file_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
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

static Json *file_stats(BlockNode *node)
{
    const HostFile *f = node->state;
    Json *dict = json_new_dict();

    json_set(dict, "driver", json_new_string(node->type->name));
    json_set(dict, "discard-nb-ok", json_new_uint(f->discards));
    json_set(dict, "discard-nb-failed", json_new_uint(f->discards_failed));
    json_set(dict, "discard-bytes-ok", json_new_uint(f->discarded_bytes));
    return dict;
}

static int file_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
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

/* ---- locks ---- */

static bool fdinfo_has_lock(const char *path, const struct stat *st, int byte)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    g_autofree char *inode = g_strdup_printf(":%lu ", (unsigned long)st->st_ino);

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    lines = g_strsplit(text, "\n", 200);
    for (char **l = lines; *l; l++) {
        const char *at = g_str_has_prefix(*l, "lock:") ? strstr(*l, inode) : NULL;
        int first, last;

        if (at && sscanf(at + strlen(inode), "%d %d", &first, &last) == 2 && first <= byte &&
            byte <= last) {
            return true;
        }
    }
    return false;
}

/* Who uses the image: this process, too, by another node, or "... process 4711 (qemu-system-x86)". */
static char *lock_holder(int fd, int byte)
{
    bool ours = false;
    struct stat st;
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *pid;

    if (!proc || fstat(fd, &st) < 0) {
        return g_strdup("another process is using the image");
    }
    while ((pid = g_dir_read_name(proc)) != NULL) {
        g_autofree char *folder = g_strdup_printf("/proc/%s/fdinfo", pid);
        g_autoptr(GDir) fds = g_ascii_isdigit(pid[0]) ? g_dir_open(folder, 0, NULL) : NULL;
        const char *name;

        while (fds && (name = g_dir_read_name(fds)) != NULL) {
            g_autofree char *link = g_strdup_printf("/proc/%s/fd/%s", pid, name);
            g_autofree char *info = g_strdup_printf("%s/%s", folder, name);
            g_autofree char *comm = g_strdup_printf("/proc/%s/comm", pid);
            g_autofree char *program = NULL;
            struct stat other;

            if (stat(link, &other) < 0 || other.st_ino != st.st_ino ||
                other.st_dev != st.st_dev || !fdinfo_has_lock(info, &st, byte)) {
                continue;
            }
            if (atoi(pid) == getpid()) {
                ours |= atoi(name) != fd;
                continue;
            }
            g_file_get_contents(comm, &program, NULL, NULL);
            return g_strdup_printf("another process is using the image; it is held by process %s "
                                   "(%s)", pid, program ? g_strchomp(program) : "unknown");
        }
    }
    return g_strdup(ours ? "the image is in use already, in this process" :
                           "another process is using the image");
}

static int lock_byte(int fd, int byte, short type, bool test)
{
    struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    if (fcntl(fd, test ? F_OFD_GETLK : F_OFD_SETLK, &fl) < 0) {
        return -errno;
    }
    return test && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

static const char *const perm_names[] = { "consistent read", "write", "write unchanged",
                                          "resize" };

static bool lock_clash(BlockNode *node, int byte, bool shared, unsigned perm, GError **error)
{
    HostFile *f = node->state;
    g_autofree char *holder = lock_holder(f->fd, byte);

    return error_set(error, "Failed to get %s\"%s\" lock on '%s': %s", shared ? "shared " : "", perm_names[perm], node->filename, holder);
}

static void lock_apply(HostFile *f, uint32_t perm, uint32_t unshared, bool drop)
{
    for (unsigned i = 0; i < ARRAY_LEN(perm_names); i++) {
        bool want[2] = { perm & BIT(i), unshared & BIT(i) };
        bool have[2] = { f->locked_perm & BIT(i), f->locked_unshared & BIT(i) };
        int byte[2] = { LOCK_PERM_BASE + (int)i, LOCK_SHARED_BASE + (int)i };

        for (int k = 0; k < 2; k++) {
            if (want[k] && !have[k] && !drop) {
                lock_byte(f->fd, byte[k], F_RDLCK, false);
            } else if (!want[k] && have[k] && drop) {
                lock_byte(f->fd, byte[k], F_UNLCK, false);
            }
        }
    }
}

static bool file_set_perm(BlockNode *node, uint32_t perm, uint32_t shared, GError **error)
{
    HostFile *f = node->state;
    uint32_t unshared = ~shared & BLK_PERM_ALL, all_perm, all_unshared;

    if (!f || !f->locking || node->force_share) {
        return true;
    }
    /* Take first what is new, look whether anybody objects, then give up what is old. */
    lock_apply(f, perm | f->locked_perm, unshared | f->locked_unshared, false);
    for (unsigned i = 0; i < ARRAY_LEN(perm_names); i++) {
        int byte = 0;

        if ((perm & BIT(i)) && lock_byte(f->fd, LOCK_SHARED_BASE + (int)i, F_WRLCK, true) < 0) {
            byte = LOCK_SHARED_BASE + (int)i;
        } else if ((unshared & BIT(i)) &&
                   lock_byte(f->fd, LOCK_PERM_BASE + (int)i, F_WRLCK, true) < 0) {
            byte = LOCK_PERM_BASE + (int)i;
        }
        if (byte) {
            bool ok = lock_clash(node, byte, byte < LOCK_SHARED_BASE, i, error);

            all_perm = f->locked_perm;
            all_unshared = f->locked_unshared;
            f->locked_perm = f->locked_unshared = BLK_PERM_ALL;
            lock_apply(f, all_perm, all_unshared, true);
            f->locked_perm = all_perm;
            f->locked_unshared = all_unshared;
            return ok;
        }
    }
    f->locked_perm |= perm;
    f->locked_unshared |= unshared;
    lock_apply(f, perm, unshared, true);
    f->locked_perm = perm;
    f->locked_unshared = unshared;
    return true;
}

/* ---- open and close ---- */

static bool path_is_cdrom(const char *path)
{
    bool yes = false;

    if (g_str_has_prefix(path, "/dev/cdrom") || g_str_has_prefix(path, "/dev/sr")) {
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        yes = fd >= 0 && ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) >= 0;
        if (fd >= 0) {
            close(fd);
        }
    }
    return yes;
}

const NodeType *host_file_type(const char *filename)
{
    struct stat st;

    if (stat(filename, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) {
        return path_is_cdrom(filename) ? &node_type_host_cdrom : &node_type_host_device;
    }
    return &node_type_file;
}

static bool file_parse_filename(const char *filename, NodeOpts *opts, GError **error)
{
    static const char *const schemes[] = { "file:", "host_device:", "host_cdrom:" };

    for (unsigned i = 0; i < ARRAY_LEN(schemes); i++) {
        if (g_str_has_prefix(filename, schemes[i])) {
            filename += strlen(schemes[i]);
            break;
        }
    }
    node_opts_set(opts, "filename", filename);
    return true;
}

/* Smallest read that O_DIRECT takes; buffers follow suit. */
static uint32_t probe_direct_align(int fd)
{
    void *buf = NULL;
    uint32_t align = 512;

    if (posix_memalign(&buf, 65536, 65536) != 0) {
        return 4096;
    }
    for (; align < 65536; align *= 2) {
        if (pread(fd, buf, align, 0) >= 0 || errno != EINVAL) {
            break;
        }
    }
    free(buf);
    return align;
}

static bool file_get_length(HostFile *f, uint64_t *length)
{
    struct stat st;

    if (f->scsi == NODE_SCSI_ONLY) {
        *length = 0;                   /* commands only */
        return true;
    }
    if (f->is_device) {
        return ioctl(f->fd, BLKGETSIZE64, length) == 0;
    }
    if (fstat(f->fd, &st) < 0) {
        return false;
    }
    *length = (uint64_t)st.st_size;
    return true;
}

static int open_host(const char *path, BlockNode *node)
{
    int flags = O_CLOEXEC | (node->direct ? O_DIRECT : 0) |
                (node->type == &node_type_host_cdrom ? O_NONBLOCK : 0);
    int fd = host_open(path, flags | (node->read_only ? O_RDONLY : O_RDWR), 0);

    if (fd < 0 && !node->read_only && (node->flags & NODE_OPEN_AUTO_RO) &&
        (errno == EACCES || errno == EROFS || errno == EPERM)) {
        fd = host_open(path, flags | O_RDONLY, 0);
        node->read_only = fd >= 0;
    }
    return fd;
}

/* "native" was Linux's older interface; io_uring does what it is asked for. */
static bool take_aio(BlockNode *node, const char *aio, GError **error)
{
    HostFile *f = node->state;

    if (!aio || g_str_equal(aio, "threads")) {
        return true;
    }
    if (!g_str_equal(aio, "io_uring") && !g_str_equal(aio, "native")) {
        return error_set(error, "Parameter 'aio' does not accept value '%s': use 'threads', "
                         "'native' or 'io_uring'", aio);
    }
    if (g_str_equal(aio, "native") && !node->direct) {
        return error_set(error, "aio=native was specified, but it requires cache.direct=on, "
                         "which was not specified");
    }
    f->use_uring = uring_of_loop(node->loop, error) != NULL;
    return f->use_uring;
}

static bool file_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    HostFile *f = node->state;
    g_autofree char *path = node_opts_take(opts, "filename");
    g_autofree char *locking = node_opts_take(opts, "locking");
    g_autofree char *aio = node_opts_take(opts, "aio");
    bool wants_file = node->type == &node_type_file;
    struct stat st;
    int sg_version = 0;

    f->fd = -1;
    if (!path || !*path) {
        return error_set(error, "The '%s' block driver requires a file name", node->type->name);
    }
    if (!take_aio(node, aio, error)) {
        return false;
    }
    if (locking && !g_str_equal(locking, "on") && !g_str_equal(locking, "off") &&
        !g_str_equal(locking, "auto")) {
        return error_set(error, "Parameter 'locking' does not accept value '%s': use 'on', "
                         "'off' or 'auto'", locking);
    }
    g_free(node->filename);
    node->filename = g_strdup(path);
    f->fd = open_host(path, node);
    if (f->fd < 0) {
        int err = errno;

        if (err == EISDIR) {
            return error_set(error, "Could not open '%s': it is a directory; give the file of a "
                             "disk image", path);
        }
        if (err == EINVAL && node->direct) {
            return error_set(error, "Could not open '%s': the filesystem does not support "
                             "O_DIRECT; use cache=writeback", path);
        }
        return error_set_errno(error, err, "Could not open '%s'", path);
    }
    if (fstat(f->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(f->fd);
        f->fd = -1;
        return error_set(error, "Could not open '%s': it is a directory; give the file of a disk "
                         "image", path);
    }
    if (fstat(f->fd, &st) < 0 || (wants_file && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) ||
        (!wants_file && !S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))) {
        close(f->fd);
        f->fd = -1;
        return error_set(error, "A %s was expected by the '%s' driver, but '%s' is something "
                         "else", wants_file ? "regular file" : "host device", node->type->name,
                         path);
    }
    f->is_device = S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode);
    if (f->is_device && ioctl(f->fd, SG_GET_VERSION_NUM, &sg_version) == 0 && sg_version >= 30000) {
        f->scsi = S_ISCHR(st.st_mode) ? NODE_SCSI_ONLY : NODE_SCSI_BESIDE;
    }
    f->inline_io = (node->flags & NODE_OPEN_INLINE_IO) && !f->use_uring;
    f->short_inline = node->flags & NODE_OPEN_SHORT_INLINE;
    f->locking = !locking || !g_str_equal(locking, "off");
    if (!file_get_length(f, &node->length)) {
        int err = errno;

        if (node->type != &node_type_host_cdrom) {
            close(f->fd);
            f->fd = -1;
            return error_set_errno(error, err, "Could not get the size of '%s'", path);
        }
        node->length = 0;              /* no disc in the drive */
    }
    if (node->direct) {
        node->limits.align = node->limits.mem_align = probe_direct_align(f->fd);
    }
    return true;
}

static void file_close(BlockNode *node)
{
    HostFile *f = node->state;

    if (f->fd >= 0) {
        close(f->fd);
    }
}

/* The same file, whatever its name is by now, with locks like those of the old descriptor. */
static bool file_reopen(BlockNode *node, bool read_only, GError **error)
{
    HostFile *f = node->state;
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", f->fd);
    int fd = open(self, O_CLOEXEC | (node->direct ? O_DIRECT : 0) |
                  (read_only ? O_RDONLY : O_RDWR) |
                  (node->type == &node_type_host_cdrom ? O_NONBLOCK : 0));
    HostFile fresh = *f;

    if (fd < 0) {
        return error_set_errno(error, errno, "Could not reopen '%s' for %s", node->filename,
                               read_only ? "reading" : "writing");
    }
    fresh.fd = fd;
    fresh.locked_perm = fresh.locked_unshared = 0;
    lock_apply(&fresh, f->locked_perm, f->locked_unshared, false);
    close(f->fd);
    f->fd = fd;
    return true;
}

static const char *const file_changeable[] = { "cache.direct", NULL };

static bool file_change_options(BlockNode *node, NodeOpts *opts, GError **error)
{
    HostFile *f = node->state;
    bool direct = false;
    int flags;

    if (!node_opts_take_bool(opts, "cache.direct", &direct, error) || direct == node->direct) {
        return direct == node->direct;
    }
    if (!direct && g_strcmp0(node_opts_get(opts, "aio"), "native") == 0) {
        return error_set(error, "aio=native was specified, but it requires cache.direct=on");
    }
    flags = fcntl(f->fd, F_GETFL);
    if (flags < 0 || fcntl(f->fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) < 0) {
        return error_set_errno(error, errno, "Could not set cache.direct of '%s'", node->filename);
    }
    node->direct = direct;
    node->limits.align = node->limits.mem_align = direct ? probe_direct_align(f->fd) : 1;
    return true;
}

static bool preallocate(int fd, uint64_t from, uint64_t to, const char *mode, GError **error)
{
    if (g_str_equal(mode, "off") || from >= to) {
        return true;
    }
    if (g_str_equal(mode, "falloc")) {
        int err = posix_fallocate(fd, (off_t)from, (off_t)(to - from));

        return err == 0 || error_set_errno(error, err, "Could not preallocate data");
    }
    if (g_str_equal(mode, "full")) {
        g_autofree void *zeroes = g_malloc0(1u << 20);

        while (from < to) {
            ssize_t n = pwrite(fd, zeroes, MIN(to - from, 1u << 20), (off_t)from);

            if (n <= 0) {
                return error_set_errno(error, n < 0 ? errno : ENOSPC,
                                       "Could not write zeros for preallocation");
            }
            from += (uint64_t)n;
        }
        return fsync(fd) == 0 || error_set_errno(error, errno, "Could not flush file to disk");
    }
    return error_set(error, "Unsupported preallocation mode '%s': use 'off', 'falloc' or 'full'",
                     mode);
}

static bool file_co_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                             GError **error)
{
    HostFile *f = node->state;

    if (f->is_device) {
        uint64_t have = 0;

        if (!file_get_length(f, &have) || length > have || (exact && length != have)) {
            return error_set(error, "Cannot resize device file '%s'", node->filename);
        }
        return true;
    }
    if (!g_str_equal(prealloc, "off") && length < node->length) {
        return error_set(error, "Preallocation can't be used for shrinking");
    }
    if (ftruncate(f->fd, (off_t)length) < 0) {
        return error_set_errno(error, errno, "Failed to resize the file '%s'", node->filename);
    }
    if (!preallocate(f->fd, node->length, length, prealloc, error)) {
        if (ftruncate(f->fd, (off_t)node->length) < 0) {
            return false;              /* the first error says more */
        }
        return false;
    }
    return true;
}

static bool file_create(const char *filename, NodeOpts *opts, GError **error)
{
    g_autofree char *prealloc = node_opts_take(opts, "preallocation");
    g_autoptr(BlockNode) node = NULL;
    g_autoptr(NodeOpts) open_opts = node_opts_new();
    BlockChild *edge;
    uint64_t size = 0;
    bool nocow = false, ok;
    int fd;

    if (g_str_has_prefix(filename, "file:")) {
        filename += 5;
    }
    if (!create_take_size(opts, INT64_MAX, &size, error) ||
        !node_opts_take_bool(opts, "nocow", &nocow, error) ||
        !create_opts_finish("file", opts, error)) {
        return false;
    }
    if (prealloc && !g_str_equal(prealloc, "off") && !g_str_equal(prealloc, "falloc") &&
        !g_str_equal(prealloc, "full")) {
        return error_set(error, "Invalid parameter 'preallocation=%s': use 'off', 'falloc' or "
                         "'full'", prealloc);
    }
    fd = open(filename, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_set_errno(error, errno, "Could not create '%s'", filename);
    }
    if (nocow) {
        int attr = 0;

        /* btrfs only; elsewhere there is no copy-on-write to switch off. */
        if (ioctl(fd, FS_IOC_GETFLAGS, &attr) == 0) {
            attr |= FS_NOCOW_FL;
            ioctl(fd, FS_IOC_SETFLAGS, &attr);
        }
    }
    close(fd);
    /* Through a node, so that an image somebody uses is not cut to nothing. */
    node_opts_set(open_opts, "driver", "file");
    node = node_open(filename, open_opts, NODE_OPEN_PROTOCOL | NODE_OPEN_RDWR |
                     NODE_OPEN_INLINE_IO, error);
    if (!node) {
        return false;
    }
    edge = node_attach_root(node, "create", BLK_PERM_WRITE | BLK_PERM_RESIZE,
                            BLK_PERM_ALL & ~(BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE |
                                             BLK_PERM_RESIZE), NULL, NULL, error);
    if (!edge) {
        return false;
    }
    ok = co_node_truncate(node, 0, true, "off", error) &&
         co_node_truncate(node, size, true, prealloc, error);
    node_detach_root(edge);
    return ok;
}

static uint64_t file_allocated_size(BlockNode *node)
{
    HostFile *f = node->state;
    struct stat st;

    return fstat(f->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

#define HOST_IO                                                                          \
    .is_protocol = true, .state_size = sizeof(HostFile), .open = file_open,              \
    .close = file_close, .parse_filename = file_parse_filename,                          \
    .co_preadv = file_co_preadv, .co_pwritev = file_co_pwritev, .co_flush = file_co_flush, \
    .co_write_zeroes = file_co_write_zeroes, .co_copy_range = file_co_copy_range, .co_discard = file_co_discard,              \
    .co_status = file_co_status, .co_truncate = file_co_truncate,                        \
    .changeable = file_changeable, .change_options = file_change_options,                \
    .set_perm = file_set_perm, .reopen = file_reopen, .allocated_size = file_allocated_size, \
    .stats = file_stats

/* Always on a worker: a command can take its time. */
static int file_co_scsi(BlockNode *node, struct sg_io_hdr *io)
{
    FileOp op = { .kind = OP_SCSI, .file = node->state, .scsi = io };

    return co_worker_run(worker_pool_shared(), op_work, &op);
}

const NodeType node_type_file = {
    .name = "file", .prefixes = "file", HOST_IO,
    .zero_init = true,
    .create = file_create,
    .create_help = "  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)\n"
                   "  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, "
                   "full)\n"
                   "  size=<size>            - Virtual disk size\n",
};

const NodeType node_type_host_device = {
    .name = "host_device", .prefixes = "host_device", HOST_IO, .has_variable_length = true,
    .create = create_in_place,
    .create_help = "  size=<size>            - Virtual disk size\n",
    .co_scsi = file_co_scsi, .scsi = file_scsi,
};

const NodeType node_type_host_cdrom = {
    .name = "host_cdrom", .prefixes = "host_cdrom", HOST_IO, .has_variable_length = true,
};
