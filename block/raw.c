/* SPDX-License-Identifier: MIT */
/*
 * raw: bytes as they are, or a window (offset, size) of the file below.
 *
 * Where raw was guessed by probing, a guest must not be able to turn the image into something
 * else that the next start would believe: a write that would make the first sectors probe as
 * another format fails with EPERM, as in QEMU.
 *
 * Locking: the node's event loop.
 */
#include "block/types.h"

#define PROBE_BYTES 2048

typedef struct Raw {
    uint64_t offset, size;
    bool has_size;
} Raw;

static NodeScsi raw_scsi(const BlockNode *node)
{
    const Raw *raw = node->state;

    return !raw->offset && !raw->has_size ? node_scsi(node->file->node) : NODE_SCSI_NO;
}

static int raw_co_scsi(BlockNode *node, struct sg_io_hdr *io)
{
    return co_node_scsi(node->file->node, io);
}

static bool take_window(const BlockNode *node, NodeOpts *opts, Raw *raw, GError **error)
{
    uint64_t below = node_length(node->file->node);

    raw->has_size = node_opts_get(opts, "size") != NULL;
    if (!node_opts_take_size(opts, "offset", &raw->offset, error) ||
        !node_opts_take_size(opts, "size", &raw->size, error)) {
        return false;
    }
    if (raw->offset > below) {
        return error_set(error, "Offset (%" PRIu64 ") cannot be greater than the size of the "
                         "containing file (%" PRIu64 ")", raw->offset, below);
    }
    if (raw->has_size && raw->size > below - raw->offset) {
        return error_set(error, "The sum of offset (%" PRIu64 ") and size (%" PRIu64 ") must not "
                         "exceed the size of the containing file (%" PRIu64 ")", raw->offset,
                         raw->size, below);
    }
    return true;
}

static void use_window(BlockNode *node, const Raw *window)
{
    Raw *raw = node->state;
    BlockNode *file = node->file->node;

    *raw = *window;
    node->fixed_length = raw->has_size;
    node->limits = file->limits;
    if (raw->offset & (file->limits.align - 1)) {
        node->limits.align = 1;
    }
}

static bool raw_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Raw window = { 0 };

    if (!take_window(node, opts, &window, error)) {
        return false;
    }
    use_window(node, &window);
    node->length = window.has_size ? window.size : node_length(node->file->node) - window.offset;
    return true;
}

static const char *const raw_changeable[] = { "offset", "size", NULL };

static bool raw_change_options(BlockNode *node, NodeOpts *opts, GError **error)
{
    const Raw *old = node->state;
    Raw window = { 0 };

    if (!take_window(node, opts, &window, error)) {
        return false;
    }
    if (window.offset != old->offset || window.has_size != old->has_size ||
        window.size != old->size) {
        use_window(node, &window);
        node_length_changed(node, window.has_size ? window.size
                                                  : node_length(node->file->node) - window.offset);
    }
    return true;
}

static int raw_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    Raw *raw = node->state;

    node_event(node->file->node, QAPI_BLKDEBUG_EVENT_READ_AIO);
    return co_node_preadv(node->file->node, offset + raw->offset, span);
}

/* Would the start of the image, with SPAN written at OFFSET, probe as a format? */
static bool disguises(BlockNode *node, uint64_t offset, IoSpan span)
{
    uint8_t head[PROBE_BYTES] = { 0 };
    size_t len = MIN(PROBE_BYTES, node->length), n = MIN(span.len, len - offset);
    const char *format;

    if (co_node_pread(node, 0, head, len) < 0) {
        return true;
    }
    io_span_to_buf(io_span_sub(span, 0, n), head + offset);
    format = image_probe(head, len, NULL);
    return !g_str_equal(format, "raw");
}

static int raw_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    Raw *raw = node->state;

    if (node->probed && offset < MIN(PROBE_BYTES, node->length) && disguises(node, offset, span)) {
        return -EPERM;
    }
    node_event(node->file->node, QAPI_BLKDEBUG_EVENT_WRITE_AIO);
    return co_node_pwritev(node->file->node, offset + raw->offset, span, flags & ~BLK_REQ_FUA);
}

static int raw_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    Raw *raw = node->state;

    return co_node_write_zeroes(node->file->node, offset + raw->offset, bytes, flags);
}

static int raw_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    Raw *raw = node->state;

    return co_node_discard(node->file->node, offset + raw->offset, bytes);
}

static int raw_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    Raw *raw = node->state;

    status->file = node->file->node;
    status->map = offset + raw->offset;
    status->flags = BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID | BLK_STATUS_RECURSE |
                    BLK_STATUS_ALLOCATED;
    /* The layer below knows best; its DATA or ZERO replaces ours. */
    BlockStatus inner;
    int ret = co_node_status(status->file, status->map, bytes, &inner);

    if (ret == 0 && inner.bytes) {
        *status = inner;
        status->flags = (inner.flags & ~BLK_STATUS_EOF) | BLK_STATUS_ALLOCATED;
    }
    return ret;
}

static bool raw_co_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                            GError **error)
{
    Raw *raw = node->state;

    if (raw->has_size) {
        return error_set(error, "Cannot resize fixed-size raw disks");
    }
    return co_node_truncate(node->file->node, raw->offset + length, exact, prealloc, error);
}

static bool raw_create(const char *filename, NodeOpts *opts, GError **error)
{
    const NodeType *protocol = node_type_for_filename(filename, error);

    if (!protocol) {
        return false;
    }
    if (!protocol->create) {
        return error_set(error, "Protocol driver '%s' does not support image creation",
                         protocol->name);
    }
    return protocol->create(filename, opts, error);
}

static bool raw_measure(NodeOpts *opts, BlockNode *source, uint64_t *required, uint64_t *full,
                        uint64_t *bitmaps, GError **error)
{
    uint64_t size = 0;

    if (source) {
        size = node_length(source);
        g_free(node_opts_take(opts, "size"));
    } else if (!create_take_size(opts, INT64_MAX, &size, error)) {
        return false;
    }
    *required = *full = size;
    *bitmaps = UINT64_MAX;
    g_free(node_opts_take(opts, "preallocation"));
    return create_opts_finish("raw", opts, error);
}

static const char *const raw_telling[] = { "offset", "size", NULL };

const NodeType node_type_raw = {
    .telling_options = raw_telling,
    .name = "raw",
    .state_size = sizeof(Raw),
    .zero_init = true,
    .grows_with_file = true,
    .changeable = raw_changeable, .change_options = raw_change_options,
    .open = raw_open,
    .co_preadv = raw_co_preadv,
    .co_pwritev = raw_co_pwritev,
    .co_write_zeroes = raw_co_write_zeroes,
    .co_discard = raw_co_discard,
    .co_status = raw_co_status,
    .co_scsi = raw_co_scsi,
    .scsi = raw_scsi,
    .co_truncate = raw_co_truncate,
    .create = raw_create,
    .create_help = "  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)\n"
                   "  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, "
                   "full)\n"
                   "  size=<size>            - Virtual disk size\n",
    .measure = raw_measure,
};
