/* SPDX-License-Identifier: MIT */
/*
 * qcow2: resize, both ways, and preallocation of what it adds.
 * Locking: runs alone; q->lock for the tables.
 */
#include "block/qcow2.h"

static bool shrink(Qcow2 *q, uint64_t length, GError **error)
{
    BlockNode *node = q->node;
    uint64_t start = align_up(length, q->cluster_size);
    int ret;

    if (q->has_data_file) {
        return error_set(error, "Shrinking an image with an external data file is not supported");
    }
    ret = co_qcow2_discard_clusters(q, start, align_up(node->length, q->cluster_size), true);
    if (ret == 0 && (length & (q->cluster_size - 1))) {
        /* A later growth must not bring old bytes back. */
        g_autofree void *zeroes = g_malloc0(q->cluster_size);

        for (uint64_t at = length; ret == 0 && at < MIN(start, node->length);) {
            BlockStatus status;

            ret = co_node_status(node, at, start - at, &status);
            if (ret == 0 && (status.flags & BLK_STATUS_DATA)) {
                IO_BUF(tail, zeroes, status.bytes);
                ret = co_qcow2_pwritev(node, at, tail, 0);
            }
            at += MAX(status.bytes, 1);
        }
    }
    return ret == 0 || error_set_errno(error, -ret, "Could not discard the end of the image");
}

bool co_qcow2_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                           GError **error)
{
    Qcow2 *q = node->state;
    uint64_t old = node->length, l1;
    int ret;

    if (length & 511) {
        return error_set(error, "The new size must be a multiple of 512");
    }
    if (!qcow2_bitmaps_can_resize(q, error)) {
        return false;
    }
    for (unsigned i = 0; q->version < 3 && i < q->snapshots->len; i++) {
        return error_set(error, "Can't resize a v2 image which has snapshots");
    }
    if (!g_str_equal(prealloc, "off") && !g_str_equal(prealloc, "metadata") &&
        !g_str_equal(prealloc, "falloc") && !g_str_equal(prealloc, "full")) {
        return error_set(error, "Unsupported preallocation mode '%s': use 'off', 'metadata', 'falloc' or 'full'",
                         prealloc);
    }
    if (length < old && !g_str_equal(prealloc, "off")) {
        return error_set(error, "Preallocation can't be used for shrinking an image");
    }
    if (length < old && !shrink(q, length, error)) {
        return false;
    }
    co_mutex_lock(&q->lock);
    l1 = div_round_up(length, BIT64(q->cluster_bits + q->l2_bits));
    ret = co_l1_grow(q, l1);
    if (ret == 0) {
        ret = co_qcow2_writeback(q);
    }
    if (ret == 0) {
        ret = co_node_flush(q->file);
    }
    node->length = length;
    if (ret == 0) {
        ret = co_header_write(q);
    }
    if (ret < 0) {
        node->length = old;
    }
    co_mutex_unlock(&q->lock);
    if (ret == -EFBIG) {
        return error_set(error, "The image size is too large for clusters of %u bytes; use a "
                         "larger cluster_size", q->cluster_size);
    }
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not resize the image");
    }
    if (q->data_file_raw || q->has_data_file) {
        if (!co_node_truncate(q->data, length, false, "off", error)) {
            return false;
        }
    }
    if (length > old && !g_str_equal(prealloc, "off")) {
        ret = co_qcow2_preallocate(q, old, length);
        if (ret == 0) {
            ret = co_qcow2_flush(node);
        }
        if (ret < 0) {
            return error_set_errno(error, -ret, "Could not preallocate clusters");
        }
        if (!g_str_equal(prealloc, "metadata")) {
            g_autofree void *zeroes = g_malloc0(MIB);

            for (uint64_t at = old; at < length && ret == 0;) {
                BlockStatus s;

                ret = co_node_status(node, at, length - at, &s);
                for (uint64_t d = 0; ret == 0 && (s.flags & BLK_STATUS_OFFSET_VALID) &&
                                     d < s.bytes; d += MIB) {
                    IO_BUF(span, zeroes, MIN(MIB, s.bytes - d));
                    ret = g_str_equal(prealloc, "falloc")
                              ? co_node_write_zeroes(q->data, s.map + d, span.len, 0)
                              : co_node_pwritev(q->data, s.map + d, span, 0);
                }
                at += s.bytes ? s.bytes : 1;
            }
            if (ret < 0) {
                return error_set_errno(error, -ret, "Could not preallocate data");
            }
        }
    }
    return true;
}
