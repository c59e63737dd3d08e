/* SPDX-License-Identifier: MIT */
/*
 * Host files and devices: the protocols file, host_device, host_cdrom.
 *
 * cache.direct=on opens with O_DIRECT and discovers the alignment.  Requests are host_file_io.c's, locks
 * host_file_lock.c's.
 *
 * Locking: the node's event loop.
 */
#include "block/host_file_int.h"

#include <fcntl.h>
#include <linux/cdrom.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fdset.h"
#include "block/io_uring.h"

/* Does the kernel itself keep this file, so that a write to the page cache asks nobody?  Other file systems
 * hang when a server or a program of a user does. */
static bool is_kept_here(int fd)
{
    static const unsigned kinds[] = { BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC,
                                      RAMFS_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC };
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i] == (unsigned)fs.f_type) {
            return true;
        }
    }
    return false;
}

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

static bool refuse_directory(const char *path, GError **error)
{
    return error_set(error, "Could not open '%s': it is a directory; give the file of a disk image", path);
}

/* Opens PATH and finds out what it is. */
static bool take_file(BlockNode *node, const char *path, GError **error)
{
    bool wants_file = node->type == &node_type_file;
    HostFile *f = node->state;
    int sg_version = 0;
    struct stat st;

    f->fd = open_host(path, node);
    if (f->fd < 0) {
        int err = errno;

        if (err == EISDIR) {
            return refuse_directory(path, error);
        }
        if (err == EINVAL && node->direct) {
            return error_set(error, "Could not open '%s': the filesystem does not support "
                             "O_DIRECT; use cache=writeback", path);
        }
        return error_set_errno(error, err, "Could not open '%s'", path);
    }
    if (fstat(f->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        return refuse_directory(path, error);
    }
    if (fstat(f->fd, &st) < 0 || (wants_file && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) ||
        (!wants_file && !S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))) {
        return error_set(error, "A %s was expected by the '%s' driver, but '%s' is something "
                         "else", wants_file ? "regular file" : "host device", node->type->name,
                         path);
    }
    f->is_device = S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode);
    if (f->is_device && ioctl(f->fd, SG_GET_VERSION_NUM, &sg_version) == 0 && sg_version >= 30000) {
        f->scsi = S_ISCHR(st.st_mode) ? NODE_SCSI_ONLY : NODE_SCSI_BESIDE;
    }
    if (!file_get_length(f, &node->length)) {
        if (node->type != &node_type_host_cdrom) {
            return error_set_errno(error, errno, "Could not get the size of '%s'", path);
        }
        node->length = 0;              /* no disc in the drive */
    }
    return true;
}

static void file_close(BlockNode *node)
{
    HostFile *f = node->state;

    if (f->fd >= 0) {
        close(f->fd);
        f->fd = -1;
    }
}

static bool file_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    HostFile *f = node->state;
    g_autofree char *path = node_opts_take(opts, "filename");
    g_autofree char *locking = node_opts_take(opts, "locking");
    g_autofree char *aio = node_opts_take(opts, "aio");

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
    if (!take_file(node, path, error)) {
        file_close(node);
        return false;
    }
    f->inline_io = (node->flags & NODE_OPEN_INLINE_IO) && !f->use_uring;
    f->short_inline = (node->flags & NODE_OPEN_SHORT_INLINE) && is_kept_here(f->fd);
    f->locking = !locking || !g_str_equal(locking, "off");
    if (node->direct) {
        node->limits.align = node->limits.mem_align = probe_direct_align(f->fd);
    }
    return true;
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
    host_file_lock_apply(&fresh, f->locked_perm, f->locked_unshared, false);
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

static const char *path_of(const char *filename)
{
    return g_str_has_prefix(filename, "file:") ? filename + 5 : filename;
}

static bool file_claim(const char *filename)
{
    int fd = open(path_of(filename), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static void file_unclaim(const char *filename)
{
    unlink(path_of(filename));
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

    filename = path_of(filename);
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
    .co_preadv = host_file_co_preadv, .co_pwritev = host_file_co_pwritev,                \
    .co_flush = host_file_co_flush, .co_write_zeroes = host_file_co_write_zeroes,        \
    .co_copy_range = host_file_co_copy_range, .co_discard = host_file_co_discard,        \
    .co_status = host_file_co_status, .co_truncate = file_co_truncate,                   \
    .changeable = file_changeable, .change_options = file_change_options,                \
    .set_perm = host_file_set_perm, .reopen = file_reopen,                               \
    .allocated_size = file_allocated_size, .stats = host_file_stats

const NodeType node_type_file = {
    .name = "file", .prefixes = "file", HOST_IO,
    .zero_init = true,
    .claim = file_claim, .unclaim = file_unclaim, .create = file_create,
    .create_help = "  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)\n"
                   "  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, "
                   "full)\n"
                   "  size=<size>            - Virtual disk size\n",
};

const NodeType node_type_host_device = {
    .name = "host_device", .prefixes = "host_device", HOST_IO, .has_variable_length = true,
    .create = create_in_place,
    .create_help = "  size=<size>            - Virtual disk size\n",
    .co_scsi = host_file_co_scsi, .scsi = host_file_scsi,
};

const NodeType node_type_host_cdrom = {
    .name = "host_cdrom", .prefixes = "host_cdrom", HOST_IO, .has_variable_length = true,
};
