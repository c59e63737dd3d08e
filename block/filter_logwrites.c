/* SPDX-License-Identifier: MIT */
/*
 * blklogwrites: what is written goes to a log as well, in the format of Linux's dm-log-writes
 * (Documentation/admin-guide/device-mapper/log-writes.rst), whose tools can replay it.
 *
 * A log is sectors: a super block (magic, version, entries, sector size), then for each entry a
 * header sector (sector, sectors, flags, length of data) and its data.  A flush is an entry of its
 * own.  The super block is updated at each flush, and after log-super-update-interval entries.
 * Locking: the node's event loop; the log is written under a mutex.
 */
#include "block/filter.h"
#include "block/types.h"

#define LOG_MAGIC 0x6a736677736872ull
#define LOG_VERSION 1

enum { LOG_FLUSH = 1, LOG_FUA = 2, LOG_DISCARD = 4 };

typedef struct LogWrites {
    BlockChild *log;
    uint32_t sector_size;
    uint64_t entries, next_sector, interval, unsaved;
    CoMutex lock;
} LogWrites;

static int co_write_super(LogWrites *s)
{
    g_autofree uint8_t *sector = g_malloc0(s->sector_size);
    int ret;

    le64_store(sector, LOG_MAGIC);
    le64_store(sector + 8, LOG_VERSION);
    le64_store(sector + 16, s->entries);
    le32_store(sector + 24, s->sector_size);
    ret = co_node_flush(s->log->node);           /* what it counts is there first */
    ret = ret < 0 ? ret : co_node_pwrite(s->log->node, 0, sector, s->sector_size, 0);
    ret = ret < 0 ? ret : co_node_flush(s->log->node);
    s->unsaved = ret < 0 ? s->unsaved : 0;
    return ret;
}

/* DATA NULL: none follows. */
static int co_log(BlockNode *node, uint64_t offset, uint64_t bytes, uint64_t flags,
                  const IoSpan *data)
{
    LogWrites *s = node->state;
    g_autofree uint8_t *head = g_malloc0(s->sector_size);
    uint64_t sectors = data ? div_round_up(bytes, s->sector_size) : 0, at;
    int ret;

    le64_store(head, offset / s->sector_size);
    le64_store(head + 8, bytes / s->sector_size);
    le64_store(head + 16, flags);
    le64_store(head + 24, data ? bytes : 0);
    co_mutex_lock(&s->lock);
    at = s->next_sector * s->sector_size;
    ret = co_node_pwrite(s->log->node, at, head, s->sector_size, 0);
    if (ret == 0 && data) {
        ret = co_node_pwritev(s->log->node, at + s->sector_size, *data, 0);
    }
    if (ret == 0) {
        s->next_sector += 1 + sectors;
        s->entries++;
        s->unsaved++;
        if ((flags & LOG_FLUSH) || s->unsaved >= s->interval) {
            ret = co_write_super(s);
        }
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

static int log_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    int ret = filter_co_pwritev(node, offset, span, flags);

    return ret < 0 ? ret : co_log(node, offset, span.len, flags & BLK_REQ_FUA ? LOG_FUA : 0,
                                  &span);
}

static int log_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    int ret = filter_co_discard(node, offset, bytes);

    return ret < 0 ? ret : co_log(node, offset, bytes, LOG_DISCARD, NULL);
}

static int log_co_flush(BlockNode *node)
{
    return co_log(node, 0, 0, LOG_FLUSH, NULL);
}

/* Goes on behind the entries of an older log. */
static bool append(LogWrites *s, GError **error)
{
    g_autofree uint8_t *sector = g_malloc0(s->sector_size);
    BlockNode *log = s->log->node;
    uint64_t entries;

    if (co_node_pread(log, 0, sector, s->sector_size) < 0) {
        return error_set(error, "Could not read log superblock");
    }
    if (le64_load(sector) != LOG_MAGIC || le64_load(sector + 8) != LOG_VERSION ||
        le32_load(sector + 24) != s->sector_size) {
        return error_set(error, "Invalid log superblock of '%s'", log->filename);
    }
    entries = le64_load(sector + 16);
    while (s->entries < entries) {
        uint64_t at = s->next_sector * s->sector_size, bytes;

        if (at >= log->length || co_node_pread(log, at, sector, s->sector_size) < 0) {
            return error_set(error, "Could not read the log '%s': it has fewer than %" PRIu64
                             " entries", log->filename, entries);
        }
        bytes = le64_load(sector + 16) & LOG_DISCARD ? 0 : le64_load(sector + 24);
        if (bytes > log->length) {
            return error_set(error, "Invalid entry in the log '%s'", log->filename);
        }
        s->next_sector += 1 + div_round_up(bytes, s->sector_size);
        s->entries++;
    }
    return true;
}

static bool log_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    LogWrites *s = node->state;
    uint64_t sector_size = 512;
    bool appending = false;
    int flags = NODE_OPEN_RDWR | NODE_OPEN_PROTOCOL | NODE_OPEN_RESIZE;

    filter_init(node);
    co_mutex_init(&s->lock);
    s->interval = 4096;
    if (!node_opts_take_size(opts, "log-sector-size", &sector_size, error) ||
        !node_opts_take_bool(opts, "log-append", &appending, error) ||
        !node_opts_take_uint(opts, "log-super-update-interval", &s->interval, error)) {
        return false;
    }
    if (sector_size < 512 || sector_size > 1 << 23 || !is_pow2(sector_size)) {
        return error_set(error, "Invalid log sector size %" PRIu64, sector_size);
    }
    if (!s->interval) {
        return error_set(error, "Invalid log superblock update interval 0");
    }
    s->log = node_open_child(node, "log", NULL, opts, flags, error);
    if (!s->log) {
        return false;
    }
    s->sector_size = (uint32_t)sector_size;
    s->next_sector = 1;
    node->limits.align = MAX(node->limits.align, s->sector_size);
    if (appending && s->log->node->length) {
        return append(s, error);
    }
    return true;
}

static void log_perm(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                     uint32_t shared, uint32_t *child_perm, uint32_t *child_shared)
{
    bool is_log = g_str_equal(edge->name, "log");

    *child_perm = is_log ? BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE : perm;
    *child_shared = is_log ? BLK_PERM_CONSISTENT_READ : shared;
}

const NodeType node_type_blklogwrites = {
    .name = "blklogwrites", .is_filter = true, .state_size = sizeof(LogWrites),
    .open = log_open, .child_perm = log_perm, .co_preadv = filter_co_preadv,
    .co_pwritev = log_co_pwritev,         /* zeroes are written as data, to be in the log */
    .co_discard = log_co_discard, .co_flush = log_co_flush,
};
