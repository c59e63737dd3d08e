/* SPDX-License-Identifier: MIT */
/*
 * qcow2: clusters as a whole: zeroes, discard, preallocation.
 * Locking: q->lock.
 */
#include "block/qcow2.h"

/* One whole cluster: ZERO keeps the place when KEEP, else the cluster is given up. */
static int co_clear_cluster(Qcow2 *q, uint64_t guest, bool zero, bool keep, FreeKind kind)
{
    Slice *slice;
    unsigned index, left;
    uint64_t entry, bitmap, fresh = 0, fresh_bitmap = 0;
    int ret;

    co_qcow2_wait_conflicts(q, guest, guest + q->cluster_size, true);
    ret = co_l2_get(q, guest, false, &slice, &index, &left);
    if (ret < 0 || (!slice && !zero)) {
        return ret;
    }
    if (!slice && !q->node->backing) {
        return 0;                      /* reads as zeroes already */
    }
    ret = co_l2_get(q, guest, true, &slice, &index, &left);
    if (ret < 0) {
        return ret;
    }
    entry = l2_entry(q, slice, index);
    bitmap = l2_bitmap(q, slice, index);
    keep = keep && qcow2_may_overwrite(q, entry);
    if (keep) {
        fresh = entry & ~ENTRY_ZERO;
    }
    if (zero) {
        fresh |= q->subclusters == 1 ? ENTRY_ZERO : 0;
        fresh_bitmap = q->subclusters == 1 ? 0 : (uint64_t)UINT32_MAX << 32;
    }
    if (fresh == entry && fresh_bitmap == bitmap) {
        return 0;
    }
    if (!keep) {
        free_entry_later(q, entry, kind);
    }
    l2_store(q, slice, index, fresh, fresh_bitmap);
    return 0;
}

int co_qcow2_discard_clusters(Qcow2 *q, uint64_t start, uint64_t end, bool full)
{
    bool zero = !full && q->version >= 3 && (q->node->backing || q->node->backing_file);
    int ret = 0;

    co_mutex_lock(&q->lock);
    for (uint64_t at = start; at < end && ret == 0; at += q->cluster_size) {
        Slice *slice;
        unsigned index, left;

        /* Step over tables that do not exist. */
        ret = co_l2_get(q, at, false, &slice, &index, &left);
        if (ret == 0 && !slice && !zero) {
            at += (uint64_t)(left - 1) << q->cluster_bits;
            continue;
        }
        if (ret == 0) {
            ret = co_clear_cluster(q, at, zero, false, FREE_REQUEST);
        }
    }
    co_mutex_unlock(&q->lock);
    return ret;
}

int co_qcow2_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    Qcow2 *q = node->state;
    uint64_t start = align_up(offset, q->cluster_size);
    uint64_t end = offset + bytes == node->length ? align_up(node->length, q->cluster_size)
                                                  : align_down(offset + bytes, q->cluster_size);

    if (start >= end) {
        return 0;
    }
    if (q->has_data_file) {
        return co_node_discard(q->data, offset, bytes);
    }
    return co_qcow2_discard_clusters(q, start, end, false);
}

int co_qcow2_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    Qcow2 *q = node->state;
    uint64_t cs = q->cluster_size, end = offset + bytes, start = align_up(offset, cs), stop;
    g_autofree void *zeroes = NULL;
    bool unmap = flags & BLK_REQ_MAY_UNMAP, zero = q->version >= 3;
    int ret = 0;

    if (q->data_file_raw || (!zero && (node->backing || !unmap))) {
        return -ENOTSUP;
    }
    stop = end == node->length ? align_up(end, cs) : align_down(end, cs);
    if (start >= stop) {
        return -ENOTSUP;               /* less than a cluster: written as data */
    }
    zeroes = g_malloc0(cs);
    if (offset < start) {
        IO_BUF(head, zeroes, start - offset);
        ret = co_qcow2_pwritev(node, offset, head, 0);
    }
    if (ret == 0 && stop < end) {
        IO_BUF(tail, zeroes, end - stop);
        ret = co_qcow2_pwritev(node, stop, tail, 0);
    }
    co_mutex_lock(&q->lock);
    for (uint64_t at = start; at < stop && ret == 0; at += cs) {
        Slice *slice;
        unsigned index, left;

        ret = co_l2_get(q, at, false, &slice, &index, &left);
        if (ret == 0 && !slice && !node->backing) {
            at += (uint64_t)(left - 1) << q->cluster_bits;
            continue;
        }
        if (ret == 0) {
            ret = co_clear_cluster(q, at, zero, !unmap, unmap ? FREE_REQUEST : FREE_OTHER);
        }
    }
    co_mutex_unlock(&q->lock);
    return ret;
}

/* Gives every cluster of the range a place, reading as zeroes. */
int co_qcow2_preallocate(Qcow2 *q, uint64_t start, uint64_t end)
{
    uint64_t cs = q->cluster_size, at = align_down(start, cs);
    int ret = 0;

    co_mutex_lock(&q->lock);
    while (at < end && ret == 0) {
        Slice *slice;
        unsigned index, left;
        uint64_t host = at, n, want;

        ret = co_l2_get(q, at, true, &slice, &index, &left);
        if (ret < 0) {
            break;
        }
        want = n = MIN(left, div_round_up(end - at, cs));
        if (!q->has_data_file) {
            ret = co_alloc(q, want, false, &host, &n);
            if (ret == 0) {
                ret = co_l2_get(q, at, true, &slice, &index, &left);
            }
        }
        for (uint64_t i = 0; i < n && ret == 0; i++) {
            uint64_t entry = l2_entry(q, slice, index + i);

            if (entry & ~ENTRY_ZERO) {
                if (!q->has_data_file) {
                    free_later(q, host + i * cs, cs, FREE_OTHER);
                }
                continue;
            }
            l2_store(q, slice, index + i, (host + i * cs) | ENTRY_COPIED,
                     q->subclusters > 1 ? UINT32_MAX : 0);
        }
        at += n * cs;
        if (ret == 0 && host + n * cs > q->data->length) {
            ret = co_node_write_zeroes(q->data, q->data->length,
                                       host + n * cs - q->data->length, 0);
        }
    }
    co_mutex_unlock(&q->lock);
    return ret;
}
