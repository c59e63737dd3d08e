/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes of block nodes: bounds, alignment, detect-zeroes, FUA emulation, zeroes, discard, copies.
 *
 * Locking: everything of a node happens on its event loop, so plain fields suffice; requests that
 * need a read-modify-write cycle exclude overlapping writes through the node's tracked list.
 */
#include "block/io_int.h"

#include <stdlib.h>

#include "block/bitmap.h"
#include "qapi/qapi_commands.h"

#define ZERO_CHUNK (1u << 20)
#define MAX_REQUEST (1ull << 62)

struct TrackedWrite {
    uint64_t start, end;
    TrackedWrite *next;
    CoQueue waiters;
};

/* ---- tracking ---- */

static void track_begin(BlockNode *node, TrackedWrite *w, uint64_t start, uint64_t end)
{
    TrackedWrite *other;

again:
    for (other = node->tracked; other; other = other->next) {
        if (other->start < end && start < other->end) {
            co_queue_wait(&other->waiters, NULL);
            goto again;
        }
    }
    w->start = start;
    w->end = end;
    co_queue_init(&w->waiters);
    w->next = node->tracked;
    node->tracked = w;
}

static void track_end(BlockNode *node, TrackedWrite *w)
{
    TrackedWrite **p = &node->tracked;

    while (*p != w) {
        p = &(*p)->next;
    }
    *p = w->next;
    co_queue_wake_all(&w->waiters);
}

static bool range_ok(uint64_t offset, uint64_t bytes)
{
    return offset <= MAX_REQUEST && bytes <= MAX_REQUEST - offset;
}

/* ---- reading ---- */

static void *bounce_alloc(const BlockNode *node, size_t size)
{
    size_t align = MAX(node->limits.mem_align, 4096);
    void *p = NULL;

    return posix_memalign(&p, align, MAX(size, 1)) == 0 ? p : NULL;
}

static bool span_aligned(const BlockNode *node, IoSpan span)
{
    return node->limits.mem_align <= 1 || io_span_is_aligned(span, node->limits.mem_align);
}

static int read_aligned(BlockNode *node, uint64_t offset, IoSpan span)
{
    uint32_t max = node->limits.max_transfer;
    int ret = 0;

    while (span.len && ret == 0) {
        size_t piece = max && span.len > max ? max : span.len;

        ret = node->type->co_preadv(node, offset, io_span_sub(span, 0, piece));
        offset += piece;
        span = io_span_sub(span, piece, span.len - piece);
    }
    return ret;
}

static int read_bounced(BlockNode *node, uint64_t offset, IoSpan span)
{
    uint32_t align = node->limits.align;
    uint64_t start = align_down(offset, align), end = align_up(offset + span.len, align);
    void *buf = bounce_alloc(node, end - start);
    int ret;

    if (!buf) {
        return -ENOMEM;
    }
    IO_BUF(whole, buf, end - start);
    ret = read_aligned(node, start, whole);
    if (ret == 0) {
        io_span_from_buf(span, (char *)buf + (offset - start));
    }
    free(buf);
    return ret;
}

int co_node_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    uint32_t align = node->limits.align;
    int ret;

    if (!node->type->co_preadv) {
        return -ENOTSUP;
    }
    if (!range_ok(offset, span.len)) {
        return -EIO;
    }
    if (offset + span.len > node->length) {
        uint64_t in = offset < node->length ? node->length - offset : 0;

        io_span_zero(io_span_sub(span, in, span.len - in));
        span.len = in;
    }
    if (!span.len) {
        return 0;
    }
    io_request_begin(node);
    if (((offset | span.len) & (align - 1)) == 0 && span_aligned(node, span)) {
        ret = read_aligned(node, offset, span);
    } else if (((offset | span.len) & (align - 1)) && offset + span.len == node->length &&
               align == 1) {
        ret = read_aligned(node, offset, span);
    } else {
        ret = read_bounced(node, offset, span);
    }
    io_request_end(node);
    return ret;
}

/* ---- writing ---- */

typedef struct ThresholdNews {
    char *name;
    uint64_t exceeded, threshold;
} ThresholdNews;

static void tell_threshold(void *opaque)
{
    ThresholdNews *t = opaque;

    qapi_event_block_write_threshold(t->name, t->exceeded, t->threshold);
    g_free(t->name);
    g_free(t);
}

/* Once: who wants to hear of the next one sets another threshold. */
static void check_threshold(BlockNode *node, uint64_t end)
{
    uint64_t threshold = node->write_threshold;
    ThresholdNews *t;

    if (G_LIKELY(!threshold || end <= threshold)) {
        return;
    }
    node->write_threshold = 0;
    t = g_new0(ThresholdNews, 1);
    t->name = g_strdup(node->name);
    t->exceeded = end - threshold;
    t->threshold = threshold;
    event_loop_post(event_loop_main(), tell_threshold, t);
}

static int write_done(BlockNode *node, uint64_t offset, uint64_t bytes, int flags, int ret)
{
    check_threshold(node, offset + bytes);
    if (ret == 0) {
        node->write_gen++;
        node->dirty_since_flush = true;
        node->wr_highest = MAX(node->wr_highest, offset + bytes);
        if (node->grows && offset + bytes > node->length) {
            node->length = offset + bytes;
        }
    }
    /* Also after a failure: part of it may have been written. */
    dirty_bitmaps_set(node, offset, bytes);
    if (ret == 0 && (flags & BLK_REQ_FUA)) {
        ret = co_node_flush(node);
    }
    return ret;
}

static int write_zero_buffers(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    void *buf = bounce_alloc(node, MIN(bytes, ZERO_CHUNK));
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, MIN(bytes, ZERO_CHUNK));
    while (bytes && ret == 0) {
        size_t piece = MIN(bytes, ZERO_CHUNK);
        IO_BUF(span, buf, piece);

        ret = node->type->co_pwritev(node, offset, span, 0);
        offset += piece;
        bytes -= piece;
    }
    free(buf);
    return ret;
}

static int zeroes_piece(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    int ret = -ENOTSUP;

    if (node->type->co_write_zeroes) {
        ret = node->type->co_write_zeroes(node, offset, bytes, flags);
    }
    if (ret == -ENOTSUP && !(flags & BLK_REQ_NO_FALLBACK) && node->type->co_pwritev) {
        ret = write_zero_buffers(node, offset, bytes);
    }
    return ret;
}

/* The first of what is left that ends where a multiple of MAX does, unless there is no MAX. */
static uint64_t piece_of(uint64_t offset, uint64_t bytes, uint32_t max)
{
    return max ? MIN(bytes, max - offset % max) : bytes;
}

static int zeroes_aligned(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    int ret = 0;

    if (!node->discard_unmap) {
        flags &= ~BLK_REQ_MAY_UNMAP;
    }
    while (bytes && ret == 0) {
        uint64_t piece = piece_of(offset, bytes, node->limits.max_zero);

        ret = zeroes_piece(node, offset, piece, flags);
        offset += piece;
        bytes -= piece;
    }
    return ret;
}

static int write_aligned(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    uint32_t max = node->limits.max_transfer;
    int ret = 0;

    if (flags & BLK_REQ_COMPRESSED) {
        return node->type->co_write_compressed
                   ? node->type->co_write_compressed(node, offset, span) : -ENOTSUP;
    }
    if (node->detect_zeroes != DETECT_OFF && io_span_is_zero(span)) {
        int zflags = node->detect_zeroes == DETECT_UNMAP ? BLK_REQ_MAY_UNMAP : 0;

        return zeroes_aligned(node, offset, span.len, zflags);
    }
    while (span.len && ret == 0) {
        size_t piece = max && span.len > max ? max : span.len;

        ret = node->type->co_pwritev(node, offset, io_span_sub(span, 0, piece), flags);
        offset += piece;
        span = io_span_sub(span, piece, span.len - piece);
    }
    return ret;
}

/* A node has the alignment of what is below, so it may be the first to merge. */
static void rmw_event(BlockNode *node, QapiBlkdebugEvent event)
{
    while (node && !node->type->event) {
        node = node->file ? node->file->node : NULL;
    }
    if (node) {
        node_event(node, event);
    }
}

/* Read what is around, merge, write; no other write may come between. */
static int write_rmw(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    uint32_t align = node->limits.align;
    uint64_t start = align_down(offset, align), end = align_up(offset + span.len, align);
    TrackedWrite w;
    void *buf = bounce_alloc(node, end - start);
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    track_begin(node, &w, start, end);
    if (start != offset) {
        rmw_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV_RMW_HEAD);
        ret = co_node_pread(node, start, buf, align);
        rmw_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV_RMW_AFTER_HEAD);
    }
    if (ret == 0 && end != offset + span.len && (start == offset || end - start > align)) {
        rmw_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV_RMW_TAIL);
        ret = co_node_pread(node, end - align, (char *)buf + (end - start - align), align);
        rmw_event(node, QAPI_BLKDEBUG_EVENT_PWRITEV_RMW_AFTER_TAIL);
    }
    if (ret == 0) {
        io_span_to_buf(span, (char *)buf + (offset - start));
        IO_BUF(whole, buf, end - start);
        ret = write_aligned(node, start, whole, flags);
    }
    track_end(node, &w);
    free(buf);
    return ret;
}

static int write_check(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    if (node->read_only) {
        return -EPERM;
    }
    if (!range_ok(offset, bytes) || (!node->grows && offset + bytes > node->length)) {
        return -EIO;
    }
    return 0;
}

int co_node_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    uint32_t align = node->limits.align;
    uint64_t bytes = span.len;
    int ret = write_check(node, offset, bytes);

    if (ret < 0 || !bytes) {
        return ret;
    }
    if (!node->type->co_pwritev) {
        return -ENOTSUP;
    }
    io_request_begin(node);
    if (align == 1 && !node->serialising && span_aligned(node, span)) {
        ret = write_aligned(node, offset, span, flags);
    } else if (((offset | bytes) & (align - 1)) == 0 && span_aligned(node, span)) {
        TrackedWrite w;

        track_begin(node, &w, offset, offset + bytes);
        ret = write_aligned(node, offset, span, flags);
        track_end(node, &w);
    } else {
        ret = write_rmw(node, offset, span, flags);
    }
    ret = write_done(node, offset, bytes, flags, ret);
    io_request_end(node);
    return ret;
}

/* One edge that is not aligned: as a plain write, which merges. */
static int zero_edge(BlockNode *node, uint64_t offset, size_t bytes)
{
    g_autofree void *buf = g_malloc0(bytes);
    IO_BUF(span, buf, bytes);

    return write_rmw(node, offset, span, 0);
}

int co_node_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    uint64_t start = offset, len = bytes, align = node->limits.align;
    int ret = write_check(node, offset, bytes);

    if (ret < 0 || !bytes) {
        return ret;
    }
    io_request_begin(node);
    if (start & (align - 1)) {
        size_t piece = MIN(align_up(start, align) - start, len);

        ret = zero_edge(node, start, piece);
        start += piece;
        len -= piece;
    }
    if (ret == 0 && (len & (align - 1))) {
        size_t piece = len & (align - 1);

        ret = zero_edge(node, start + len - piece, piece);
        len -= piece;
    }
    if (ret == 0 && len) {
        TrackedWrite w;

        track_begin(node, &w, start, start + len);
        ret = zeroes_aligned(node, start, len, flags);
        track_end(node, &w);
    }
    ret = write_done(node, offset, bytes, flags, ret);
    io_request_end(node);
    return ret;
}

int co_node_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    uint64_t align = MAX(node->limits.align, node->limits.discard_align);
    uint64_t start, end;
    TrackedWrite w;
    int ret = write_check(node, offset, bytes);

    if (ret < 0 || !node->discard_unmap || !node->type->co_discard) {
        return ret;
    }
    start = align_up(offset, align);
    end = offset + bytes == node->length ? offset + bytes : align_down(offset + bytes, align);
    if (start >= end) {
        return 0;
    }
    io_request_begin(node);
    track_begin(node, &w, start, end);
    for (uint64_t at = start; ret == 0 && at < end;) {
        uint64_t piece = piece_of(at, end - at, node->limits.max_discard);

        ret = node->type->co_discard(node, at, piece);
        if (ret == -ENOTSUP) {
            ret = 0;                   /* advice that the host cannot follow */
        }
        at += piece;
    }
    track_end(node, &w);
    ret = write_done(node, start, end - start, 0, ret);
    io_request_end(node);
    return ret;
}

/* ---- copying up ---- */

void node_serialise(BlockNode *node, bool on)
{
    g_assert(on || node->serialising);
    node->serialising += on ? 1 : -1;
}

/* What NODE does not hold itself within the range, which no write can change meanwhile. */
static int copy_up_tracked(BlockNode *node, BlockNode *base, uint64_t offset, uint64_t end,
                           void *buf, size_t size)
{
    while (offset < end) {
        BlockStatus st;
        int depth, ret = co_node_status_above(node, base, offset, MIN(end - offset, size), &st,
                                              &depth);

        if (ret < 0) {
            return ret;
        }
        if (!st.bytes) {
            break;
        }
        if (depth && (st.flags & BLK_STATUS_ALLOCATED)) {
            node_event(node, QAPI_BLKDEBUG_EVENT_COR_WRITE);
            if (st.flags & BLK_STATUS_ZERO) {
                ret = zeroes_aligned(node, offset, st.bytes, 0);
            } else {
                ret = co_node_pread(node, offset, buf, st.bytes);
                if (ret == 0) {
                    IO_BUF(span, buf, st.bytes);
                    ret = node->type->co_pwritev(node, offset, span, 0);
                }
            }
            node->dirty_since_flush = true;
            if (ret < 0) {
                return ret;
            }
        }
        offset += st.bytes;
    }
    return 0;
}

int co_node_copy_up(BlockNode *node, BlockNode *base, uint64_t offset, uint64_t bytes)
{
    uint64_t unit = MAX(node->limits.align, MAX(node_cluster_size(node), 1));
    uint64_t end = MIN(align_up(MIN(offset + bytes, node->length), unit), node->length);
    uint64_t start = align_down(offset, unit);
    size_t size = MIN(end - start, ZERO_CHUNK);
    TrackedWrite w;
    void *buf;
    int ret;

    g_assert(node->serialising);
    if (node->read_only || !node->type->co_pwritev) {
        return -EPERM;
    }
    if (start >= end) {
        return 0;
    }
    buf = bounce_alloc(node, size);
    if (!buf) {
        return -ENOMEM;
    }
    io_request_begin(node);
    track_begin(node, &w, start, end);
    ret = copy_up_tracked(node, base, start, end, buf, size);
    track_end(node, &w);
    io_request_end(node);
    free(buf);
    return ret;
}

/* ---- copying from another node ---- */

/* Down to the protocol, as long as offsets can be told. */
static BlockNode *copy_end(BlockNode *node, uint64_t *offset, uint64_t bytes, bool write)
{
    while (!node->type->is_protocol) {
        BlockStatus s;

        if (node->detect_zeroes != DETECT_OFF ||
            (write && (node->probed || !g_str_equal(node->type->name, "raw"))) ||
            co_node_status(node, *offset, bytes, &s) < 0 || s.bytes < bytes ||
            !(s.flags & BLK_STATUS_OFFSET_VALID) || !s.file || s.file == node) {
            return NULL;
        }
        *offset = s.map;
        node = s.file;
    }
    return node;
}

int co_node_copy_range(BlockNode *from, uint64_t from_offset, BlockNode *to, uint64_t to_offset,
                       uint64_t bytes)
{
    uint64_t source_at = from_offset, target_at = to_offset;
    BlockNode *source, *target;
    int ret = write_check(to, to_offset, bytes);

    if (ret < 0 || !range_ok(from_offset, bytes) || from_offset + bytes > from->length) {
        return ret < 0 ? ret : -EIO;
    }
    source = copy_end(from, &source_at, bytes, false);
    target = copy_end(to, &target_at, bytes, true);
    if (!source || !target || source->type != target->type || !source->type->co_copy_range) {
        return -ENOTSUP;
    }
    io_request_begin(to);
    ret = source->type->co_copy_range(source, source_at, target, target_at, bytes);
    if (ret != -ENOTSUP) {
        write_done(target, target_at, bytes, 0, ret);
        if (target != to) {
            write_done(to, to_offset, bytes, 0, ret);
        }
    }
    io_request_end(to);
    return ret;
}
