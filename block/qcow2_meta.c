/* SPDX-License-Identifier: MIT */
/*
 * qcow2 metadata: slice caches with ordered write-back, refcounts, cluster allocation.
 * Locking: q->lock, held by the caller of everything here.
 */
#include "block/qcow2.h"

#define DEFERRED_MAX 65536u

/* ---- slices ---- */

static void slice_free(gpointer p)
{
    Slice *slice = p;

    g_free(slice->data);
    g_free(slice);
}

void slice_cache_init(SliceCache *cache, unsigned max)
{
    cache->map = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, slice_free);
    cache->dirty = g_ptr_array_new();
    g_queue_init(&cache->lru);
    cache->max = MAX(max, 64);
}

void slice_cache_clear(SliceCache *cache)
{
    if (cache->map) {
        g_hash_table_unref(cache->map);
        g_ptr_array_unref(cache->dirty);
        memset(cache, 0, sizeof(*cache));
    }
}

void slice_set_dirty(SliceCache *cache, Slice *slice)
{
    if (!slice->dirty) {
        slice->dirty = true;
        g_ptr_array_add(cache->dirty, slice);
    }
}

static void slice_drop(SliceCache *cache, Slice *slice)
{
    Slice **at_hand = &cache->at_hand[slice_hash(slice->offset)];

    if (*at_hand == slice) {
        *at_hand = NULL;
    }
    g_queue_unlink(&cache->lru, &slice->link);
    if (slice->dirty) {
        g_ptr_array_remove_fast(cache->dirty, slice);
    }
    g_hash_table_remove(cache->map, &slice->offset);
}

void slice_cache_drop(Qcow2 *q, SliceCache *cache, uint64_t offset, uint64_t bytes)
{
    for (uint64_t at = offset; at < offset + bytes; at += q->slice_size) {
        Slice *slice = g_hash_table_lookup(cache->map, &at);

        if (slice) {
            slice_drop(cache, slice);
        }
    }
}

/* Room for one more.  The few slices that the caller may hold are the most recent ones. */
static int slice_make_room(Qcow2 *q, SliceCache *cache)
{
    GList *link = cache->lru.tail;
    int ret;

    if (cache->lru.length < cache->max) {
        return 0;
    }
    for (unsigned i = 0; link && i < cache->lru.length / 2; i++, link = link->prev) {
        Slice *slice = link->data;

        if (!slice->dirty) {
            slice_drop(cache, slice);
            return 0;
        }
    }
    ret = co_qcow2_writeback(q);
    if (ret == 0 && cache == &q->ref_cache) {
        ret = co_refcounts_write(q);   /* late ones; the dirty bit is there */
    }
    return ret;                        /* all is clean now; the next call drops one */
}

void slice_cache_clean(SliceCache *cache, int64_t now_us)
{
    GList *link = cache->lru.tail;

    if (now_us - cache->clean_us < cache->keep_us) {
        return;
    }
    cache->clean_us = now_us;
    while (link && now_us - ((Slice *)link->data)->used_us >= cache->keep_us) {
        Slice *slice = link->data;

        link = link->prev;
        if (!slice->dirty) {
            slice_drop(cache, slice);
        }
    }
}

void slice_move_to_head(SliceCache *cache, Slice *slice)
{
    g_queue_unlink(&cache->lru, &slice->link);
    g_queue_push_head_link(&cache->lru, &slice->link);
    slice->moved = ++cache->moves;
    slice->used_us = cache->keep_us ? g_get_monotonic_time() : 0;
}

int co_slice_get(Qcow2 *q, SliceCache *cache, uint64_t offset, Slice **out)
{
    Slice *slice = slice_at_hand(cache, offset);
    int ret;

    if (!slice) {
        slice = g_hash_table_lookup(cache->map, &offset);
        if (slice) {
            slice_use(cache, slice);
            cache->at_hand[slice_hash(offset)] = slice;
        }
    }
    if (slice) {
        *out = slice;
        return 0;
    }
    ret = slice_make_room(q, cache);
    if (ret < 0) {
        return ret;
    }
    if (cache->keep_us) {
        slice_cache_clean(cache, g_get_monotonic_time());
    }
    slice = g_new0(Slice, 1);
    slice->data = g_malloc(q->slice_size);
    slice->offset = offset;
    slice->link.data = slice;
    slice->used_us = cache->keep_us ? g_get_monotonic_time() : 0;
    slice->moved = ++cache->moves;
    node_event(q->file, cache == &q->l2_cache ? QAPI_BLKDEBUG_EVENT_L2_LOAD
                                              : QAPI_BLKDEBUG_EVENT_REFBLOCK_LOAD);
    ret = co_node_pread(q->file, offset, slice->data, q->slice_size);
    if (ret < 0) {
        slice_free(slice);
        return ret;
    }
    g_hash_table_insert(cache->map, &slice->offset, slice);
    g_queue_push_head_link(&cache->lru, &slice->link);
    *out = slice;
    return 0;
}

static int slice_order(gconstpointer a, gconstpointer b)
{
    const Slice *x = *(Slice *const *)a, *y = *(Slice *const *)b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Neighbours go out in one write. */
static int cache_write(Qcow2 *q, SliceCache *cache)
{
    enum { BATCH = 64 };
    bool l2 = cache == &q->l2_cache;
    /* A snapshot that is being made or dropped changes marks in tables that it shares. */
    unsigned own = l2 ? OVERLAP_ACTIVE_L2 | OVERLAP_INACTIVE_L2 : OVERLAP_REFCOUNT_BLOCK;
    const char *hit;
    struct iovec iov[BATCH];
    unsigned i = 0;

    g_ptr_array_sort(cache->dirty, slice_order);
    while (i < cache->dirty->len) {
        Slice *first = cache->dirty->pdata[i];
        unsigned n = 0;
        IoSpan span = { iov, 0, 0 };
        int ret;

        while (n < BATCH && i + n < cache->dirty->len) {
            Slice *s = cache->dirty->pdata[i + n];

            if (s->offset != first->offset + (uint64_t)n * q->slice_size) {
                break;
            }
            iov[n++] = (struct iovec){ s->data, q->slice_size };
        }
        span.len = (size_t)n * q->slice_size;
        hit = co_qcow2_overlaps(q, own, first->offset, span.len);
        if (hit) {
            return co_qcow2_corrupt(q, first->offset, span.len, "Preventing invalid write on %s "
                                    "(overlaps with %s)", l2 ? "active L2 table" : "refcount block",
                                    hit);
        }
        node_event(q->file, l2 ? QAPI_BLKDEBUG_EVENT_L2_UPDATE : QAPI_BLKDEBUG_EVENT_REFBLOCK_UPDATE);
        ret = co_node_pwritev(q->file, first->offset, span, 0);
        if (ret < 0) {
            return ret;                /* all stay dirty: the next flush tries again */
        }
        i += n;
    }
    for (i = 0; i < cache->dirty->len; i++) {
        ((Slice *)cache->dirty->pdata[i])->dirty = false;
    }
    g_ptr_array_set_size(cache->dirty, 0);
    return 0;
}

static int flush_files(Qcow2 *q)
{
    int ret = 0;

    if (q->data != q->file && q->data->dirty_since_flush) {
        ret = co_node_flush(q->data);
    }
    if (ret == 0 && q->file->dirty_since_flush) {
        ret = co_node_flush(q->file);
    }
    return ret;
}

int co_l1_write(Qcow2 *q)
{
    g_autofree uint64_t *raw = g_new(uint64_t, q->l1_entries + 1);
    uint64_t bytes = (uint64_t)q->l1_entries * 8;
    const char *hit = co_qcow2_overlaps(q, OVERLAP_ACTIVE_L1, q->l1_offset, MAX(bytes, 1));
    int ret;

    if (hit) {
        return co_qcow2_corrupt(q, q->l1_offset, bytes, "Preventing invalid write on active L1 table "
                                "(overlaps with %s)", hit);
    }
    for (uint32_t i = 0; i < q->l1_entries; i++) {
        raw[i] = GUINT64_TO_BE(q->l1[i]);
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_L1_UPDATE);
    ret = co_node_pwrite(q->file, q->l1_offset, raw, bytes, 0);
    if (ret == 0) {
        q->l1_dirty = false;
    }
    return ret;
}

static void co_punch(Qcow2 *q, uint64_t host, uint64_t bytes)
{
    if (bytes) {
        co_node_discard(q->file, host, bytes);
    }
}

static int apply_frees(Qcow2 *q)
{
    g_autoptr(GArray) list = g_steal_pointer(&q->deferred);
    uint64_t hole = 0, hole_bytes = 0;
    int ret = 0;

    q->deferred = g_array_new(false, false, sizeof(DeferredFree));
    for (unsigned i = 0; i < list->len; i++) {
        DeferredFree f = g_array_index(list, DeferredFree, i);
        uint64_t left = 1;
        int one = co_refcount_add(q, f.cluster, -1);

        if (one == 0) {
            one = co_refcount_get(q, f.cluster, &left);
        }
        if (one < 0) {
            ret = one;                 /* a leak; go on with the others */
            continue;
        }
        if (left == 0) {
            uint64_t host = f.cluster << q->cluster_bits;

            q->free_index = MIN(q->free_index, f.cluster);
            slice_cache_drop(q, &q->l2_cache, host, q->cluster_size);
            if (q->compressed_at >> q->cluster_bits == f.cluster) {
                q->compressed_at = 0;
            }
            if (f.punch && hole_bytes && hole + hole_bytes == host) {
                hole_bytes += q->cluster_size;
            } else if (f.punch) {
                co_punch(q, hole, hole_bytes);
                hole = host;
                hole_bytes = q->cluster_size;
            }
        }
    }
    co_punch(q, hole, hole_bytes);
    return ret;
}

int co_refcounts_write(Qcow2 *q)
{
    return cache_write(q, &q->ref_cache);
}

/* Step 1, or with lazy refcounts what takes its place. */
static int co_write_counts(Qcow2 *q)
{
    int ret = 0;

    if (!q->lazy) {
        return cache_write(q, &q->ref_cache);
    }
    if (!q->late && q->ref_cache.dirty->len) {
        ret = co_set_incompat(q, INCOMPAT_DIRTY, true);
        q->late = ret == 0;
    }
    return ret;
}

int co_qcow2_counts_settle(Qcow2 *q)
{
    int ret = 0;

    for (unsigned i = 0; i < 2 && ret == 0; i++) {
        ret = co_qcow2_writeback(q);   /* and the counts of what the first one freed */
    }
    return ret < 0 || !q->late || q->keep_dirty ? ret
                                                : co_set_incompat(q, INCOMPAT_DIRTY, false);
}

int co_qcow2_writeback(Qcow2 *q)
{
    int ret;

    if (q->node->read_only) {
        return 0;
    }
    if (q->corrupt) {
        return -EIO;
    }
    ret = co_write_counts(q);
    if (ret == 0 && (q->l2_cache.dirty->len || q->l1_dirty)) {
        ret = flush_files(q);
        if (ret == 0) {
            ret = cache_write(q, &q->l2_cache);
        }
    }
    if (ret == 0 && q->l1_dirty) {
        ret = flush_files(q);
        if (ret == 0) {
            ret = co_l1_write(q);
        }
    }
    if (ret == 0 && q->deferred->len) {
        ret = flush_files(q);
        if (ret == 0) {
            ret = apply_frees(q);
        }
    }
    return ret;
}

/* ---- refcounts ---- */

uint64_t refcount_max(const Qcow2 *q)
{
    return q->refcount_bits == 64 ? INT64_MAX : BIT64(q->refcount_bits) - 1;
}

uint64_t refcount_load(const Qcow2 *q, const void *block, uint64_t index)
{
    const uint8_t *p = block;

    switch (q->refcount_order) {
    case 3:
        return p[index];
    case 4:
        return be16_load(p + index * 2);
    case 5:
        return be32_load(p + index * 4);
    case 6:
        return be64_load(p + index * 8);
    default: {
        unsigned bits = q->refcount_bits, per = 8 / bits;

        return p[index / per] >> (index % per * bits) & (BIT(bits) - 1);
    }
    }
}

void refcount_store(const Qcow2 *q, void *block, uint64_t index, uint64_t value)
{
    uint8_t *p = block;

    switch (q->refcount_order) {
    case 3:
        p[index] = (uint8_t)value;
        break;
    case 4:
        be16_store(p + index * 2, (uint16_t)value);
        break;
    case 5:
        be32_store(p + index * 4, (uint32_t)value);
        break;
    case 6:
        be64_store(p + index * 8, value);
        break;
    default: {
        unsigned bits = q->refcount_bits, per = 8 / bits, shift = index % per * bits;

        p[index / per] = (uint8_t)((p[index / per] & ~((BIT(bits) - 1) << shift)) |
                                   value << shift);
    }
    }
}

/* The slice that holds the count, or NULL in *SLICE when there is no block. */
static int refcount_slice(Qcow2 *q, uint64_t cluster, Slice **slice, uint64_t *index)
{
    uint64_t at = cluster >> q->rb_bits, block, in_block, per_slice;

    *slice = NULL;
    if (at >= q->reftable_entries) {
        return 0;
    }
    block = q->reftable[at] & REFTABLE_OFFSET_MASK;
    if (!block) {
        return 0;
    }
    if (block & (q->cluster_size - 1)) {
        return co_qcow2_corrupt(q, 0, 0, "Refblock offset 0x%" PRIx64 " unaligned (reftable index: "
                                "0x%" PRIx64 ")", block, at);
    }
    per_slice = (uint64_t)q->slice_size * 8 / q->refcount_bits;
    in_block = cluster & (BIT64(q->rb_bits) - 1);
    *index = in_block % per_slice;
    return co_slice_get(q, &q->ref_cache, block + in_block / per_slice * q->slice_size, slice);
}

int co_refcount_get(Qcow2 *q, uint64_t cluster, uint64_t *value)
{
    Slice *slice;
    uint64_t index = 0;
    int ret = refcount_slice(q, cluster, &slice, &index);

    *value = ret == 0 && slice ? refcount_load(q, slice->data, index) : 0;
    return ret;
}

int co_refcount_add(Qcow2 *q, uint64_t cluster, int delta)
{
    Slice *slice;
    uint64_t index = 0, value;
    int ret = refcount_slice(q, cluster, &slice, &index);

    if (ret == 0 && !slice) {
        bool created;

        if (delta < 0) {
            return -EINVAL;
        }
        ret = co_refblock_ensure(q, cluster, &created);
        if (ret == 0) {
            ret = refcount_slice(q, cluster, &slice, &index);
        }
    }
    if (ret < 0) {
        return ret;
    }
    value = refcount_load(q, slice->data, index);
    if (delta < 0 ? value < (uint64_t)-delta : value + (uint64_t)delta > refcount_max(q)) {
        return delta < 0 ? -EINVAL : -ERANGE;
    }
    refcount_store(q, slice->data, index, value + (uint64_t)(int64_t)delta);
    slice_set_dirty(&q->ref_cache, slice);
    return 0;
}

/*
 * The refcount table is full: BLOCKS new blocks and a larger table go to the first cluster that
 * the old one does not cover, and describe themselves.
 */
static int reftable_grow(Qcow2 *q, uint64_t index)
{
    uint64_t first = MAX((uint64_t)q->reftable_entries, index) << q->rb_bits, blocks = 1, entries;
    uint64_t table_clusters, used, base = first >> q->rb_bits, old_offset = q->reftable_offset;
    uint32_t old_entries = q->reftable_entries;
    g_autofree uint8_t *block = NULL;
    g_autofree uint64_t *table = NULL;
    g_autofree uint64_t *raw = NULL;
    uint64_t *old_table;
    const char *hit;
    int ret = 0;

    for (;;) {
        entries = MAX(base + blocks, (uint64_t)old_entries * 3 / 2);
        table_clusters = div_round_up(entries * 8, q->cluster_size);
        used = blocks + table_clusters;
        if (used <= blocks << q->rb_bits) {
            break;
        }
        blocks = div_round_up(used, BIT64(q->rb_bits));
    }
    entries = table_clusters * q->cluster_size / 8;
    if (entries * 8 > MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    hit = co_qcow2_overlaps(q, 0, first << q->cluster_bits, used << q->cluster_bits);
    if (hit) {
        return co_qcow2_corrupt(q, first << q->cluster_bits, used << q->cluster_bits,
                                "Preventing invalid allocation of refcount table (overlaps with "
                                "%s)", hit);
    }
    table = g_new0(uint64_t, entries);
    raw = g_new0(uint64_t, entries);
    memcpy(table, q->reftable, (size_t)old_entries * 8);
    node_event(q->file, QAPI_BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
    for (uint64_t i = 0; i < blocks && ret == 0; i++) {
        block = g_realloc(block, q->cluster_size);
        memset(block, 0, q->cluster_size);
        for (uint64_t c = 0; c < BIT64(q->rb_bits) && (i << q->rb_bits) + c < used; c++) {
            refcount_store(q, block, c, 1);
        }
        table[base + i] = (first + i) << q->cluster_bits;
        slice_cache_drop(q, &q->ref_cache, table[base + i], q->cluster_size);
        ret = co_node_pwrite(q->file, table[base + i], block, q->cluster_size, 0);
    }
    for (uint64_t i = 0; i < entries; i++) {
        raw[i] = GUINT64_TO_BE(table[i]);
    }
    if (ret == 0) {
        node_event(q->file, QAPI_BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE_TABLE);
        ret = co_node_pwrite(q->file, (first + blocks) << q->cluster_bits, raw, entries * 8, 0);
    }
    if (ret == 0) {
        ret = flush_files(q);
    }
    if (ret < 0) {
        return ret;
    }
    old_table = q->reftable;
    q->reftable = table;
    q->reftable_entries = (uint32_t)entries;
    q->reftable_offset = (first + blocks) << q->cluster_bits;
    qcow2_overlap_forget(q);
    node_event(q->file, QAPI_BLKDEBUG_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE);
    ret = co_header_write(q);
    if (ret == 0) {
        ret = co_node_flush(q->file);
    }
    if (ret < 0) {
        q->reftable = old_table;
        q->reftable_entries = old_entries;
        q->reftable_offset = old_offset;
        q->broken = true;              /* which of the two is on disk? */
        return ret;
    }
    g_steal_pointer(&table);
    g_free(old_table);
    free_later(q, old_offset, (uint64_t)old_entries * 8, FREE_OTHER);
    return 0;
}

int co_refblock_ensure(Qcow2 *q, uint64_t cluster, bool *created)
{
    uint64_t index = cluster >> q->rb_bits, at = index << q->rb_bits, raw;
    g_autofree uint8_t *block = NULL;
    const char *hit;
    int ret;

    *created = false;
    if (index >= q->reftable_entries) {
        *created = true;
        node_event(q->file, QAPI_BLKDEBUG_EVENT_REFTABLE_GROW);
        return reftable_grow(q, index);
    }
    if (q->reftable[index] & REFTABLE_OFFSET_MASK) {
        return 0;
    }
    /* Nothing in its range is in use: the block takes the first cluster and counts itself. */
    *created = true;
    at <<= q->cluster_bits;
    hit = co_qcow2_overlaps(q, 0, at, q->cluster_size);
    if (hit) {
        return co_qcow2_corrupt(q, at, q->cluster_size, "Preventing invalid allocation of refcount "
                                "block (overlaps with %s)", hit);
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_REFBLOCK_ALLOC);
    block = g_malloc0(q->cluster_size);
    refcount_store(q, block, 0, 1);
    slice_cache_drop(q, &q->ref_cache, at, q->cluster_size);
    node_event(q->file, QAPI_BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE);
    ret = co_node_pwrite(q->file, at, block, q->cluster_size, 0);
    if (ret == 0) {
        ret = flush_files(q);
    }
    if (ret == 0) {
        raw = GUINT64_TO_BE(at);
        node_event(q->file, QAPI_BLKDEBUG_EVENT_REFBLOCK_ALLOC_HOOKUP);
        ret = co_node_pwrite(q->file, q->reftable_offset + index * 8, &raw, 8, 0);
    }
    if (ret == 0) {
        q->reftable[index] = at;
        qcow2_overlap_note_refblock(q, at);
    }
    return ret;
}

/* ---- allocation ---- */

/* The first refcount block index from which on nothing is counted and nothing is in the file. */
static uint64_t first_bare_index(const Qcow2 *q)
{
    uint64_t file = div_round_up(q->file->length, q->cluster_size), index = q->reftable_entries;

    while (index > 0 && !(q->reftable[index - 1] & REFTABLE_OFFSET_MASK)) {
        index--;
    }
    return MAX(index, div_round_up(file, BIT64(q->rb_bits)));
}

/*
 * A run longer than a refcount block can cover would meet the next block, which lies in front of
 * what it counts: the blocks go in front of the whole run instead.
 */
static int co_alloc_long(Qcow2 *q, uint64_t want, uint64_t *cluster)
{
    uint64_t per = BIT64(q->rb_bits), blocks = div_round_up(want, per - 1), index, base;
    g_autofree uint8_t *block = g_malloc(q->cluster_size);
    g_autofree uint64_t *raw = g_new0(uint64_t, blocks);
    int ret = 0;

    for (index = first_bare_index(q); index + blocks > q->reftable_entries && ret == 0;
         index = first_bare_index(q)) {
        ret = reftable_grow(q, index + blocks);
    }
    base = index << q->rb_bits;
    for (uint64_t i = 0; i < blocks && ret == 0; i++) {
        memset(block, 0, q->cluster_size);
        for (uint64_t c = 0; c < per && i * per + c < blocks; c++) {
            refcount_store(q, block, c, 1);
        }
        raw[i] = GUINT64_TO_BE((base + i) << q->cluster_bits);
        slice_cache_drop(q, &q->ref_cache, (base + i) << q->cluster_bits, q->cluster_size);
        ret = co_node_pwrite(q->file, (base + i) << q->cluster_bits, block, q->cluster_size, 0);
    }
    ret = ret < 0 ? ret : flush_files(q);
    ret = ret < 0 ? ret : co_node_pwrite(q->file, q->reftable_offset + index * 8, raw, blocks * 8,
                                         0);
    for (uint64_t i = 0; i < blocks && ret == 0; i++) {
        q->reftable[index + i] = (base + i) << q->cluster_bits;
        qcow2_overlap_note_refblock(q, q->reftable[index + i]);
    }
    *cluster = base + blocks;
    return ret;
}

static int co_count_run(Qcow2 *q, uint64_t first, uint64_t run)
{
    /* Counts of a damaged image may call anything free. */
    const char *hit = first ? co_qcow2_overlaps(q, 0, first << q->cluster_bits, run << q->cluster_bits)
                            : "qcow2_header";

    if (hit) {
        return co_qcow2_corrupt(q, first << q->cluster_bits, run << q->cluster_bits,
                                "Preventing invalid allocation over metadata (overlaps with %s)",
                                hit);
    }
    for (uint64_t i = first; i < first + run; i++) {
        int ret = co_refcount_add(q, i, 1);

        if (ret < 0) {
            while (i-- > first) {
                co_refcount_add(q, i, -1);
            }
            return ret;
        }
    }
    return 0;
}

int co_alloc(Qcow2 *q, uint64_t want, bool exact, uint64_t *host, uint64_t *got)
{
    uint64_t cluster = q->free_index, run = 0, value;
    bool created, first_hole = true;
    int ret;

    if (q->broken) {
        return -EIO;
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_CLUSTER_ALLOC);
    if (q->deferred->len > DEFERRED_MAX) {
        ret = co_qcow2_writeback(q);
        if (ret < 0) {
            return ret;
        }
        cluster = q->free_index;
    }
    if (exact && want >= BIT64(q->rb_bits)) {
        ret = co_alloc_long(q, want, &cluster);
        ret = ret < 0 ? ret : co_count_run(q, cluster, want);
        *host = cluster << q->cluster_bits;
        *got = want;
        return ret;
    }
    for (;;) {
        if (cluster >= BIT64(56) >> q->cluster_bits) {
            return -EFBIG;
        }
        ret = co_refblock_ensure(q, cluster, &created);
        if (ret == 0) {
            ret = co_refcount_get(q, cluster, &value);
        }
        if (ret < 0) {
            return ret;
        }
        if (value == 0) {
            if (first_hole) {
                q->free_index = cluster;
                first_hole = false;
            }
            run++;
            cluster++;
            if (run == want) {
                break;
            }
        } else {
            if (run && !exact) {
                break;
            }
            run = 0;
            cluster++;
        }
    }
    ret = co_count_run(q, cluster - run, run);
    if (ret < 0) {
        return ret;
    }
    if (q->free_index == cluster - run) {
        q->free_index = cluster;
    }
    *host = (cluster - run) << q->cluster_bits;
    *got = run;
    return 0;
}

int co_alloc_bytes(Qcow2 *q, uint32_t size, uint64_t *host)
{
    uint64_t room, got, fresh, refs;
    int ret;

    node_event(q->file, QAPI_BLKDEBUG_EVENT_CLUSTER_ALLOC_BYTES);
    if (q->compressed_at) {
        /* Its last user may be on the way out, or its count at the limit. */
        ret = co_refcount_get(q, q->compressed_at >> q->cluster_bits, &refs);
        if (ret < 0) {
            return ret;
        }
        if (refs == 0 || refs >= refcount_max(q)) {
            q->compressed_at = 0;
        }
    }
    room = q->compressed_at ? q->cluster_size - (q->compressed_at & (q->cluster_size - 1)) : 0;
    if (room >= size) {
        *host = q->compressed_at;
        ret = co_refcount_add(q, *host >> q->cluster_bits, 1);
    } else {
        ret = co_alloc(q, 1, true, &fresh, &got);
        if (ret < 0) {
            return ret;
        }
        if (room && fresh == align_up(q->compressed_at, q->cluster_size)) {
            *host = q->compressed_at;  /* goes on into the new cluster */
            ret = co_refcount_add(q, *host >> q->cluster_bits, 1);
        } else {
            *host = fresh;
        }
    }
    if (ret < 0) {
        return ret;
    }
    q->compressed_at = *host + size;
    if ((q->compressed_at & (q->cluster_size - 1)) == 0) {
        q->compressed_at = 0;
    }
    return 0;
}

/* Is the host to have the clusters? */
static bool pass_discard(const Qcow2 *q, FreeKind kind)
{
    return q->pass_discard[kind] < 0 ? q->node->discard_unmap : q->pass_discard[kind] > 0;
}

void free_later(Qcow2 *q, uint64_t host, uint64_t bytes, FreeKind kind)
{
    bool punch = pass_discard(q, kind);
    uint64_t first = host >> q->cluster_bits;
    uint64_t last = (host + bytes + q->cluster_size - 1) >> q->cluster_bits;

    node_event(q->file, QAPI_BLKDEBUG_EVENT_CLUSTER_FREE);
    for (uint64_t c = first; c < last; c++) {
        DeferredFree f = { c, punch };

        g_array_append_val(q->deferred, f);
    }
}

void compressed_extent(const Qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *bytes)
{
    unsigned x = 62 - (q->cluster_bits - 8);
    uint64_t sectors = (entry >> x & (BIT64(q->cluster_bits - 8) - 1)) + 1;

    *offset = entry & (BIT64(x) - 1);
    *bytes = sectors * 512 - (*offset & 511);
}

void free_entry_later(Qcow2 *q, uint64_t entry, FreeKind kind)
{
    uint64_t offset, bytes;

    if (entry & ENTRY_COMPRESSED) {
        compressed_extent(q, entry, &offset, &bytes);
        free_later(q, offset, bytes, kind);
    } else if ((entry & ENTRY_OFFSET_MASK) && !q->has_data_file) {
        free_later(q, entry & ENTRY_OFFSET_MASK, q->cluster_size, kind);
    }
}

int co_l1_grow(Qcow2 *q, uint64_t entries)
{
    uint64_t host, got, old_offset = q->l1_offset, *old_l1 = q->l1;
    uint32_t old_entries = q->l1_entries;
    uint64_t bytes = entries * 8;
    int ret;

    if (entries <= q->l1_entries) {
        return 0;
    }
    if (bytes > MAX_L1_BYTES) {
        return -EFBIG;
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_L1_GROW_ALLOC_TABLE);
    /* What the tables say now must be on disk under the old L1 first. */
    ret = co_qcow2_writeback(q);
    if (ret == 0) {
        ret = co_alloc(q, div_round_up(bytes, q->cluster_size), true, &host, &got);
    }
    if (ret < 0) {
        return ret;
    }
    q->l1 = g_new0(uint64_t, entries);
    memcpy(q->l1, old_l1, (size_t)old_entries * 8);
    q->l1_entries = (uint32_t)entries;
    q->l1_offset = host;
    node_event(q->file, QAPI_BLKDEBUG_EVENT_L1_GROW_WRITE_TABLE);
    ret = co_node_write_zeroes(q->file, host, align_up(bytes, q->cluster_size), 0);
    if (ret == 0) {
        ret = co_l1_write(q);
    }
    if (ret == 0) {
        ret = co_qcow2_writeback(q);   /* the refcounts of the new place */
    }
    if (ret == 0) {
        ret = flush_files(q);
    }
    if (ret == 0) {
        node_event(q->file, QAPI_BLKDEBUG_EVENT_L1_GROW_ACTIVATE_TABLE);
        ret = co_header_write(q);
        q->broken = ret < 0;
    }
    if (ret < 0) {
        g_free(q->l1);
        q->l1 = old_l1;
        q->l1_entries = old_entries;
        q->l1_offset = old_offset;
        free_later(q, host, bytes, FREE_OTHER);
        return ret;
    }
    g_free(old_l1);
    free_later(q, old_offset, (uint64_t)old_entries * 8, FREE_OTHER);
    return 0;
}
