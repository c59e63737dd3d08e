/* SPDX-License-Identifier: MIT */
/*
 * Nodes that need no host file: null-co, and x-memory for tests.
 * Locking: main loop.
 */
#include "block/memory.h"

#include "block/types.h"

#define MEMORY_MAX (1ull << 30)

/* ---- null-co ---- */

typedef struct Null {
    bool read_zeroes;
    uint64_t latency_ns;
} Null;

static bool null_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Null *null = node->state;

    node->length = GIB;
    if (!node_opts_take_size(opts, "size", &node->length, error) ||
        !node_opts_take_uint(opts, "latency-ns", &null->latency_ns, error) ||
        !node_opts_take_bool(opts, "read-zeroes", &null->read_zeroes, error)) {
        return false;
    }
    g_free(node_opts_take(opts, "filename"));
    if (!*node->filename) {
        g_free(node->filename);
        node->filename = g_strconcat(node->type->name, "://", NULL);
    }
    if (node->length > INT64_MAX) {
        return error_set(error, "size is too large for null-co");
    }
    return true;
}

static int null_wait(BlockNode *node)
{
    Null *null = node->state;

    if (null->latency_ns) {
        co_sleep_ms((int64_t)div_round_up(null->latency_ns, 1000000));
    }
    return 0;
}

static int null_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    Null *null = node->state;

    if (null->read_zeroes) {
        io_span_zero(span);
    }
    return null_wait(node);
}

static int null_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    return null_wait(node);
}

static int null_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    return null_wait(node);
}

static int null_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    Null *null = node->state;

    status->flags = BLK_STATUS_OFFSET_VALID | BLK_STATUS_ALLOCATED |
                    (null->read_zeroes ? BLK_STATUS_ZERO : BLK_STATUS_DATA);
    status->map = offset;
    status->file = node;
    return 0;
}

static const char *const null_telling[] = { "size", "read-zeroes", NULL };

const NodeType node_type_null_co = {
    .name = "null-co", .prefixes = "null-co", .is_protocol = true, .state_size = sizeof(Null),
    .telling_options = null_telling, .open = null_open, .co_preadv = null_co_preadv, .co_pwritev = null_co_pwritev,
    .co_write_zeroes = null_co_write_zeroes, .co_flush = null_wait, .co_status = null_co_status,
};

/* The same: what differs in QEMU is how the answer comes. */
const NodeType node_type_null_aio = {
    .name = "null-aio", .prefixes = "null-aio", .is_protocol = true, .state_size = sizeof(Null),
    .telling_options = null_telling, .open = null_open, .co_preadv = null_co_preadv, .co_pwritev = null_co_pwritev,
    .co_write_zeroes = null_co_write_zeroes, .co_flush = null_wait, .co_status = null_co_status,
};

/* ---- x-memory ---- */

static GHashTable *memory_disks;
static uint64_t last_seq;

uint64_t memory_seq(void)
{
    return last_seq;
}

MemoryDisk *memory_disk_find(const char *name)
{
    return memory_disks ? g_hash_table_lookup(memory_disks, name) : NULL;
}

static void op_free(gpointer p)
{
    MemoryOp *op = p;

    g_free(op->data);
    g_free(op);
}

MemoryDisk *memory_disk_new(const char *name)
{
    MemoryDisk *disk = g_new0(MemoryDisk, 1);

    if (!memory_disks) {
        memory_disks = g_hash_table_new(g_str_hash, g_str_equal);
    }
    disk->name = g_strdup(name);
    disk->data = g_byte_array_new();
    disk->log = g_ptr_array_new_with_free_func(op_free);
    disk->fail_countdown = -1;
    disk->max_length = MEMORY_MAX;
    g_hash_table_replace(memory_disks, disk->name, disk);
    return disk;
}

void memory_disk_free(MemoryDisk *disk)
{
    g_hash_table_remove(memory_disks, disk->name);
    g_byte_array_unref(disk->data);
    g_ptr_array_unref(disk->log);
    g_free(disk->name);
    g_free(disk);
}

void memory_disk_clear_log(MemoryDisk *disk)
{
    g_ptr_array_set_size(disk->log, 0);
}

static void data_resize(GByteArray *data, uint64_t length)
{
    guint old = data->len;

    g_byte_array_set_size(data, (guint)length);
    if (length > old) {
        memset(data->data + old, 0, length - old);
    }
}

void memory_op_apply(const MemoryOp *op, GByteArray *data)
{
    switch (op->kind) {
    case MEMORY_WRITE:
    case MEMORY_ZERO:
        if (op->offset + op->bytes > data->len) {
            data_resize(data, op->offset + op->bytes);
        }
        if (op->data) {
            memcpy(data->data + op->offset, op->data, op->bytes);
        } else {
            memset(data->data + op->offset, 0, op->bytes);
        }
        break;
    case MEMORY_TRUNCATE:
        data_resize(data, op->bytes);
        break;
    case MEMORY_FLUSH:
        break;
    }
}

static MemoryDisk *disk_of(BlockNode *node)
{
    return *(MemoryDisk **)node->state;
}

static int memory_op(BlockNode *node, MemoryOp op, const IoSpan *span)
{
    MemoryDisk *disk = disk_of(node);
    IoSpan half;
    MemoryOp *done;
    int failure = 0;

    if (disk->lazy) {
        co_pause();
    }
    if (disk->fail_countdown >= 0 && disk->fail_countdown-- == 0) {
        failure = -disk->fail_errno;
        op.bytes = align_down(op.bytes / 2, 512);
        if (!disk->fail_short || !span || !op.bytes) {
            return failure;
        }
        half = io_span_sub(*span, 0, op.bytes);
        span = &half;
    }
    if (op.kind != MEMORY_FLUSH && op.offset + op.bytes > disk->max_length) {
        return -ENOSPC;
    }
    done = g_memdup2(&op, sizeof(op));
    if (span) {
        done->data = g_malloc(op.bytes);
        io_span_to_buf(*span, done->data);
    }
    memory_op_apply(done, disk->data);
    if (disk->logging) {
        done->seq = ++last_seq;
        g_ptr_array_add(disk->log, done);
    } else {
        op_free(done);
    }
    return failure;
}

static bool memory_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    g_autofree char *name = node_opts_take(opts, "filename");
    MemoryDisk *disk = name ? memory_disk_find(name) : NULL;

    if (!disk) {
        return error_set(error, "Could not open 'x-memory:%s': No such disk", name ? name : "");
    }
    *(MemoryDisk **)node->state = disk;
    node->length = disk->data->len;
    return true;
}

static bool memory_parse_filename(const char *filename, NodeOpts *opts, GError **error)
{
    node_opts_set(opts, "filename", strchr(filename, ':') + 1);
    return true;
}

static int memory_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    MemoryDisk *disk = disk_of(node);
    size_t have;

    if (disk->lazy) {
        co_pause();
    }
    have = offset < disk->data->len ? MIN(span.len, disk->data->len - offset) : 0;

    if (disk->fail_countdown >= 0 && disk->fail_countdown-- == 0) {
        if (disk->fail_short) {
            g_autofree uint8_t *rubbish = g_malloc(span.len);

            memset(rubbish, 0xa7, span.len);
            io_span_from_buf(span, rubbish);
        }
        return -disk->fail_errno;
    }
    if (have) {
        io_span_from_buf(io_span_sub(span, 0, have), disk->data->data + offset);
    }
    io_span_zero(io_span_sub(span, have, span.len - have));
    return 0;
}

static int memory_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    return memory_op(node, (MemoryOp){ MEMORY_WRITE, offset, span.len }, &span);
}

static int memory_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    return memory_op(node, (MemoryOp){ MEMORY_ZERO, offset, bytes }, NULL);
}

static int memory_co_flush(BlockNode *node)
{
    return memory_op(node, (MemoryOp){ MEMORY_FLUSH }, NULL);
}

static bool memory_co_truncate(BlockNode *node, uint64_t length, bool exact,
                               const char *prealloc, GError **error)
{
    int ret = memory_op(node, (MemoryOp){ MEMORY_TRUNCATE, 0, length }, NULL);

    return ret == 0 || error_set_errno(error, -ret, "Could not resize '%s'", node->filename);
}

static bool memory_create(const char *filename, NodeOpts *opts, GError **error)
{
    MemoryDisk *disk = memory_disk_find(strchr(filename, ':') + 1);
    uint64_t size;

    g_free(node_opts_take(opts, "preallocation"));
    if (!disk) {
        return error_set(error, "Could not create '%s': No such disk", filename);
    }
    if (!create_take_size(opts, MEMORY_MAX, &size, error)) {
        return false;
    }
    data_resize(disk->data, 0);
    data_resize(disk->data, size);
    return true;
}

static NodeScsi memory_scsi(const BlockNode *node)
{
    const MemoryDisk *disk = *(MemoryDisk *const *)node->state;

    return !disk->scsi ? NODE_SCSI_NO : disk->scsi_beside ? NODE_SCSI_BESIDE : NODE_SCSI_ONLY;
}

static int memory_co_scsi(BlockNode *node, struct sg_io_hdr *io)
{
    MemoryDisk *disk = *(MemoryDisk **)node->state;
    int ret = memory_op(node, (MemoryOp){ MEMORY_FLUSH }, NULL);

    return ret < 0 ? ret : disk->scsi(disk, io);
}

const NodeType node_type_memory = {
    .name = "x-memory", .prefixes = "x-memory", .is_protocol = true, .zero_init = true,
    .state_size = sizeof(MemoryDisk *),
    .parse_filename = memory_parse_filename, .open = memory_open,
    .co_preadv = memory_co_preadv, .co_pwritev = memory_co_pwritev,
    .co_write_zeroes = memory_co_write_zeroes, .co_flush = memory_co_flush,
    .co_truncate = memory_co_truncate, .create = memory_create,
    .co_scsi = memory_co_scsi, .scsi = memory_scsi,
};
