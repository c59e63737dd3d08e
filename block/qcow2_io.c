/* SPDX-License-Identifier: MIT */
/*
 * qcow2 data: mapping guest offsets, reads, writes with copy-on-write, block status.
 * Locking: q->lock for the tables, dropped around data I/O; Q3 and Q4 of qcow2.h hold it together.
 */
#include "block/qcow2.h"

typedef enum MapType {
    MAP_UNALLOCATED,           /* the backing file decides */
    MAP_RESERVED,              /* the same, but the cluster has a place (subclusters) */
    MAP_ZERO,
    MAP_ZERO_ALLOCATED,
    MAP_NORMAL,
    MAP_COMPRESSED,
    MAP_INVALID,
} MapType;

typedef struct Map {
    MapType type;
    uint64_t host, bytes, entry;
} Map;

/* ---- L2 tables ---- */

uint64_t l2_entry(const Qcow2 *q, const Slice *slice, unsigned index)
{
    return be64_load(slice->data + (size_t)index * q->l2_entry_size);
}

uint64_t l2_bitmap(const Qcow2 *q, const Slice *slice, unsigned index)
{
    return q->subclusters == 1 ? 0 : be64_load(slice->data + (size_t)index * 16 + 8);
}

void l2_store(Qcow2 *q, Slice *slice, unsigned index, uint64_t entry, uint64_t bitmap)
{
    be64_store(slice->data + (size_t)index * q->l2_entry_size, entry);
    if (q->subclusters > 1) {
        be64_store(slice->data + (size_t)index * 16 + 8, bitmap);
    }
    slice_set_dirty(&q->l2_cache, slice);
    q->decompressed_for = 0;
    q->l2_changes++;
}

/* A fresh table for L1 entry I: zeroes, or a copy of the shared one at OLD. */
static int l2_new_table(Qcow2 *q, uint64_t i, uint64_t old)
{
    uint64_t host, got;
    int ret = co_alloc(q, 1, true, &host, &got);

    if (ret < 0) {
        return ret;
    }
    slice_cache_drop(q, &q->l2_cache, host, q->cluster_size);
    if (old) {
        g_autofree uint8_t *table = g_malloc(q->cluster_size);

        ret = q->l2_cache.dirty->len ? co_qcow2_writeback(q) : 0;
        if (ret == 0) {
            node_event(q->file, QAPI_BLKDEBUG_EVENT_L2_ALLOC_COW_READ);
            ret = co_node_pread(q->file, old, table, q->cluster_size);
        }
        if (ret == 0) {
            node_event(q->file, QAPI_BLKDEBUG_EVENT_L2_ALLOC_WRITE);
            ret = co_node_pwrite(q->file, host, table, q->cluster_size, 0);
        }
    } else {
        node_event(q->file, QAPI_BLKDEBUG_EVENT_L2_ALLOC_WRITE);
        ret = co_node_write_zeroes(q->file, host, q->cluster_size, 0);
    }
    if (ret < 0) {
        free_later(q, host, q->cluster_size, FREE_OTHER);
        return ret;
    }
    q->l1[i] = host | ENTRY_COPIED;
    qcow2_overlap_note_l2(q, host);
    q->l1_dirty = true;
    if (old) {
        free_later(q, old, q->cluster_size, FREE_OTHER);
    }
    return 0;
}

int co_l2_get(Qcow2 *q, uint64_t guest, bool write, Slice **slice, unsigned *index,
              unsigned *left)
{
    uint64_t i = guest >> (q->cluster_bits + q->l2_bits), table, in_table;
    unsigned slice_bits = (unsigned)(__builtin_ctz(q->slice_size) - __builtin_ctz(q->l2_entry_size));
    uint64_t per_slice = BIT64(slice_bits);
    int ret;

    in_table = guest >> q->cluster_bits & (BIT64(q->l2_bits) - 1);
    *index = (unsigned)(in_table & (per_slice - 1));
    *left = (unsigned)(per_slice - *index);
    *slice = NULL;
    if (i >= q->l1_entries) {
        *left = (unsigned)(BIT64(q->l2_bits) - in_table);
        return write ? -EIO : 0;
    }
    table = q->l1[i] & ENTRY_OFFSET_MASK;
    if (table & (q->cluster_size - 1)) {
        return co_qcow2_corrupt(q, 0, 0, "L2 table offset 0x%" PRIx64 " unaligned (L1 index: "
                                "0x%" PRIx64 ")", table, i);
    }
    if (write && !(table && (q->l1[i] & ENTRY_COPIED))) {
        ret = l2_new_table(q, i, table);
        if (ret < 0) {
            return ret;
        }
        table = q->l1[i] & ENTRY_OFFSET_MASK;
    }
    if (!table) {
        *left = (unsigned)(BIT64(q->l2_bits) - in_table);
        return 0;
    }
    return co_slice_get(q, &q->l2_cache, table + (in_table >> slice_bits) * q->slice_size, slice);
}

static MapType sub_type(const Qcow2 *q, uint64_t entry, uint64_t bitmap, unsigned sub)
{
    bool placed = (entry & ENTRY_OFFSET_MASK) || (q->has_data_file && (entry & ENTRY_COPIED));

    if (entry & ENTRY_COMPRESSED) {
        return q->has_data_file ? MAP_INVALID : MAP_COMPRESSED;
    }
    if (entry & ENTRY_OFFSET_MASK & (q->cluster_size - 1)) {
        return MAP_INVALID;
    }
    if (q->subclusters == 1) {
        if (q->version >= 3 && (entry & ENTRY_ZERO)) {
            return placed ? MAP_ZERO_ALLOCATED : MAP_ZERO;
        }
        return placed ? MAP_NORMAL : MAP_UNALLOCATED;
    }
    if (bitmap & BIT64(sub) & (bitmap >> 32)) {
        return MAP_INVALID;
    }
    if (bitmap & BIT64(sub)) {
        return placed ? MAP_NORMAL : MAP_INVALID;
    }
    if (bitmap & BIT64(32 + sub)) {
        return placed ? MAP_ZERO_ALLOCATED : MAP_ZERO;
    }
    return placed ? MAP_RESERVED : MAP_UNALLOCATED;
}

static int co_invalid_entry(Qcow2 *q, uint64_t guest, uint64_t entry)
{
    guest = align_down(guest, q->cluster_size);
    if (!(entry & ENTRY_COMPRESSED) && (entry & ENTRY_OFFSET_MASK & (q->cluster_size - 1))) {
        return co_qcow2_corrupt(q, 0, 0, "Cluster allocation offset 0x%" PRIx64 " unaligned (guest "
                                "offset: 0x%" PRIx64 ")", (uint64_t)(entry & ENTRY_OFFSET_MASK),
                                guest);
    }
    return co_qcow2_corrupt(q, 0, 0, "Invalid cluster entry 0x%" PRIx64 " (guest offset: "
                            "0x%" PRIx64 ")", entry, guest);
}

/* What is at GUEST, and for how many of BYTES the same holds (with contiguous places). */
/* Data whose cluster begins behind the end of the file was cut off: an error, and no zeroes. */
static int check_cut_off(const Qcow2 *q, Map *map)
{
    uint64_t end = align_up(q->file->length, q->cluster_size);

    if (map->type != MAP_NORMAL || q->has_data_file || map->host + map->bytes <= end) {
        return 0;
    }
    map->bytes = map->host < end ? end - map->host : map->bytes;
    return map->host < end ? 0 : -EIO;
}

static int co_map(Qcow2 *q, uint64_t guest, uint64_t bytes, Map *map)
{
    Slice *slice;
    unsigned index, left;
    uint64_t end, at = guest;
    int ret = co_l2_get(q, guest, false, &slice, &index, &left);

    if (ret < 0) {
        return ret;
    }
    memset(map, 0, sizeof(*map));
    end = MIN(guest + bytes, align_down(guest, q->cluster_size) +
                             ((uint64_t)left << q->cluster_bits));
    if (!slice) {
        map->bytes = end - guest;
        return 0;
    }
    while (at < end) {
        uint64_t in = at & (q->cluster_size - 1), entry = l2_entry(q, slice, index);
        uint64_t host = (entry & ENTRY_OFFSET_MASK) + in, bitmap = l2_bitmap(q, slice, index);
        MapType type = sub_type(q, entry, bitmap, (unsigned)(in >> __builtin_ctz(q->subcluster_size)));

        if (at == guest) {
            map->type = type;
            map->host = host;
            map->entry = entry;
        } else if (type != map->type || type == MAP_COMPRESSED ||
                   ((type == MAP_NORMAL || type == MAP_ZERO_ALLOCATED || type == MAP_RESERVED) &&
                    host != map->host + (at - guest))) {
            break;
        }
        at = align_down(at, q->subcluster_size) + q->subcluster_size;
        if ((at & (q->cluster_size - 1)) == 0) {
            index++;
        }
        if (type == MAP_COMPRESSED) {
            at = align_down(guest, q->cluster_size) + q->cluster_size;
            break;
        }
        /* Long holes are most of most maps: words of zero are not worth a closer look. */
        while (type == MAP_UNALLOCATED && q->l2_entry_size == 8 && at < end &&
               (at & (q->cluster_size - 1)) == 0 &&
               ((const uint64_t *)(const void *)slice->data)[index] == 0) {
            at += q->cluster_size;
            index++;
        }
    }
    map->bytes = MIN(at, end) - guest;
    return map->type == MAP_INVALID ? co_invalid_entry(q, guest, map->entry)
                                    : check_cut_off(q, map);
}

/* ---- requests that exclude each other (Q4) ---- */

void qcow2_request_begin(Qcow2 *q, Qcow2Request *r, uint64_t start, uint64_t end,
                         bool exclusive)
{
    r->start = start;
    r->end = end;
    r->exclusive = exclusive;
    co_queue_init(&r->waiters);
    r->next = q->requests;
    r->link = &q->requests;
    if (r->next) {
        r->next->link = &r->next;
    }
    q->requests = r;
    q->exclusive += exclusive;
}

void qcow2_request_end(Qcow2 *q, Qcow2Request *r)
{
    *r->link = r->next;
    if (r->next) {
        r->next->link = r->link;
    }
    q->exclusive -= r->exclusive;
    co_queue_wake_all(&r->waiters);
}

static Qcow2Request *find_conflict(const Qcow2 *q, uint64_t start, uint64_t end, bool exclusive)
{
    Qcow2Request *r = exclusive || q->exclusive ? q->requests : NULL;

    while (r && !(r->start < end && start < r->end && (exclusive || r->exclusive))) {
        r = r->next;
    }
    return r;
}

/* Waits, with the lock dropped meanwhile, for what stands in the way. */
void co_qcow2_wait_conflicts(Qcow2 *q, uint64_t start, uint64_t end, bool exclusive)
{
    Qcow2Request *r;

    while ((r = find_conflict(q, start, end, exclusive)) != NULL) {
        co_queue_wait(&r->waiters, &q->lock);
    }
}

/* ---- reading ---- */

/* What co_map() or co_plan() would find in nearly all requests to an allocated image, without their walk: all is
 * in one plain cluster, whose table is at hand.  Nobody may hold the lock, and we do not wait.  To be written,
 * the cluster must be nobody else's, and nobody may be about to change what is mapped. */
static inline __attribute__((always_inline)) bool map_plain(Qcow2 *q, uint64_t guest, uint64_t bytes, bool write,
                                                           uint64_t *host)
{
    uint64_t i = guest >> (q->cluster_bits + q->l2_bits), in = guest & (q->cluster_size - 1), table, at, entry;
    Slice *slice;

    if (q->lock.locked || q->subclusters > 1 || in + bytes > q->cluster_size || i >= q->l1_entries) {
        return false;
    }
    table = q->l1[i] & ENTRY_OFFSET_MASK;
    at = (guest >> q->cluster_bits & (BIT64(q->l2_bits) - 1)) * 8;      /* no subclusters, so 8 bytes each */
    slice = table && !(table & (q->cluster_size - 1))
                ? slice_at_hand(&q->l2_cache, table + align_down(at, q->slice_size)) : NULL;
    if (!slice) {
        return false;
    }
    entry = be64_load(slice->data + (at & (q->slice_size - 1)));
    *host = (entry & ENTRY_OFFSET_MASK) + in;
    if (write && (q->broken || q->exclusive || !(q->l1[i] & entry & ENTRY_COPIED) ||
                  !(q->has_data_file || qcow2_overlap_certainly_none(q, *host - in)))) {
        return false;
    }
    /* Data that was cut off is for co_map() to tell of. */
    return (entry & ENTRY_OFFSET_MASK) && (q->has_data_file || *host - in < q->file->length) &&
           !(entry & (ENTRY_COMPRESSED | ENTRY_ZERO | (ENTRY_OFFSET_MASK & (q->cluster_size - 1))));
}

int co_qcow2_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    Qcow2 *q = node->state;
    uint64_t host;
    int ret = 0;

    if (map_plain(q, offset, span.len, false, &host)) {
        node_event(q->file, QAPI_BLKDEBUG_EVENT_READ_AIO);
        return q->crypt.method ? co_qcow2_data_read(q, offset, host, span) : co_node_preadv(q->data, host, span);
    }
    while (span.len && ret == 0) {
        IoSpan piece;
        Map map;

        co_mutex_lock(&q->lock);
        ret = co_map(q, offset, span.len, &map);
        co_mutex_unlock(&q->lock);
        if (ret < 0) {
            break;
        }
        piece = io_span_sub(span, 0, map.bytes);
        switch (map.type) {
        case MAP_NORMAL:
            node_event(q->file, QAPI_BLKDEBUG_EVENT_READ_AIO);
            ret = co_qcow2_data_read(q, offset, map.host, piece);
            break;
        case MAP_COMPRESSED:
            ret = co_qcow2_read_compressed(node, map.entry, offset & (q->cluster_size - 1), piece);
            break;
        case MAP_UNALLOCATED:
        case MAP_RESERVED:
            if (node->backing) {
                node_event(q->file, QAPI_BLKDEBUG_EVENT_READ_BACKING_AIO);
                ret = co_node_preadv(node->backing->node, offset, piece);
                break;
            }
            /* fall through */
        default:
            io_span_zero(piece);
        }
        offset += map.bytes;
        span = io_span_sub(span, map.bytes, span.len - map.bytes);
    }
    return ret;
}

/* ---- writing ---- */

typedef struct WritePlan {
    bool in_place, reuse, whole_cow;
    uint64_t guest;            /* of the first cluster */
    uint64_t host, clusters, bytes;
} WritePlan;

bool qcow2_may_overwrite(const Qcow2 *q, uint64_t entry)
{
    if (entry & ENTRY_COMPRESSED) {
        return false;
    }
    return q->has_data_file ? (entry & ENTRY_COPIED) != 0
                            : (entry & ENTRY_OFFSET_MASK) && (entry & ENTRY_COPIED);
}

static bool subs_normal(const Qcow2 *q, uint64_t entry, uint64_t bitmap, uint64_t from,
                        uint64_t to)
{
    for (uint64_t s = from / q->subcluster_size; s * q->subcluster_size < to; s++) {
        if (sub_type(q, entry, bitmap, (unsigned)s) != MAP_NORMAL) {
            return false;
        }
    }
    return true;
}

/* How to write at OFFSET: a run of clusters that are all treated alike. */
static int co_plan(Qcow2 *q, uint64_t offset, uint64_t bytes, WritePlan *plan)
{
    Slice *slice;
    unsigned index, left;
    uint64_t cs = q->cluster_size, in = offset & (cs - 1), n = 0, covered = 0;
    const char *hit;
    int ret = co_l2_get(q, offset, true, &slice, &index, &left);

    if (ret < 0) {
        return ret;
    }
    memset(plan, 0, sizeof(*plan));
    plan->guest = offset - in;
    while (n < left && covered < bytes) {
        uint64_t entry = l2_entry(q, slice, index + n), host = entry & ENTRY_OFFSET_MASK;
        uint64_t bitmap = l2_bitmap(q, slice, index + n), from = n ? 0 : in;
        uint64_t to = MIN(cs, from + bytes - covered);
        bool over = qcow2_may_overwrite(q, entry);
        bool direct = over && subs_normal(q, entry, bitmap, from, to);

        if (sub_type(q, entry, bitmap, 0) == MAP_INVALID || (over && (host & (cs - 1)))) {
            return co_invalid_entry(q, offset + covered, entry);
        }
        if (over && !q->has_data_file && (hit = co_qcow2_overlaps(q, 0, host, cs)) != NULL) {
            return co_qcow2_corrupt(q, host, cs, "Preventing invalid write on metadata (overlaps "
                                    "with %s)", hit);
        }
        if (n == 0) {
            plan->in_place = direct;
            plan->reuse = over && !direct;
            plan->host = host;
            plan->whole_cow = !over && ((entry & ENTRY_COMPRESSED) || host);
        } else if (direct != plan->in_place || over || plan->reuse ||
                   plan->whole_cow != ((entry & ENTRY_COMPRESSED) || host)) {
            if (!(direct && plan->in_place && host == plan->host + n * cs)) {
                break;
            }
        }
        covered += to - from;
        n++;
    }
    plan->clusters = n;
    plan->bytes = covered;
    return 0;
}

static int co_write_cow(BlockNode *node, const WritePlan *plan, uint64_t offset, IoSpan span)
{
    Qcow2 *q = node->state;
    uint64_t unit = plan->whole_cow ? q->cluster_size : q->subcluster_size;
    uint64_t start = align_down(offset, unit), end = align_up(offset + span.len, unit);
    size_t head = offset - start, tail = end - offset - span.len;
    g_autofree struct iovec *iov = NULL;
    g_autofree uint8_t *buf = NULL;
    unsigned count = 0;
    size_t covered;
    int n = 0, ret = 0;

    if (!head && !tail) {
        return co_qcow2_data_write(q, offset, plan->host + (offset - plan->guest), span);
    }
    buf = io_buffer_new(head + tail);
    node_event(q->file, QAPI_BLKDEBUG_EVENT_COW_READ);
    if (head) {
        IO_BUF(part, buf, head);
        ret = co_qcow2_preadv(node, start, part);
    }
    if (ret == 0 && tail) {
        IO_BUF(part, buf + head, tail);
        ret = co_qcow2_preadv(node, offset + span.len, part);
    }
    if (ret < 0) {
        return ret;
    }
    for (size_t len = 0; len < span.skip + span.len; count++) {
        len += span.iov[count].iov_len;
    }
    iov = g_new(struct iovec, count + 2);
    if (head) {
        iov[n++] = (struct iovec){ buf, head };
    }
    n += io_span_to_iov(span, iov + n, (int)count, &covered);
    if (tail) {
        iov[n++] = (struct iovec){ buf + head, tail };
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_COW_WRITE);
    return co_qcow2_data_write(q, start, plan->host + (start - plan->guest), io_span_of(iov, n));
}

/* After the data is written: the entries of the run (Q3). */
static int co_link(Qcow2 *q, const WritePlan *plan, uint64_t offset, uint64_t bytes)
{
    Slice *slice;
    unsigned index, left;
    int ret = co_l2_get(q, plan->guest, true, &slice, &index, &left);

    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = 0; i < plan->clusters; i++) {
        uint64_t old = l2_entry(q, slice, index + i), bitmap = l2_bitmap(q, slice, index + i);
        uint64_t base = plan->guest + (i << q->cluster_bits);
        uint64_t from = MAX(offset, base) - base;
        uint64_t to = MIN(offset + bytes, base + q->cluster_size) - base;

        if (q->subclusters > 1) {
            if (plan->whole_cow) {
                bitmap = UINT32_MAX;
            }
            for (uint64_t s = from / q->subcluster_size; s * q->subcluster_size < to; s++) {
                bitmap = (bitmap | BIT64(s)) & ~BIT64(32 + s);
            }
        }
        if (!plan->reuse) {
            free_entry_later(q, old, FREE_OTHER);
        }
        l2_store(q, slice, index + i, (plan->host + (i << q->cluster_bits)) | ENTRY_COPIED,
                 bitmap);
    }
    return 0;
}

static int co_write_piece(BlockNode *node, uint64_t offset, IoSpan span, uint64_t *done)
{
    Qcow2 *q = node->state;
    uint64_t cs = q->cluster_size, got;
    Qcow2Request req;
    WritePlan plan;
    int ret;

    co_mutex_lock(&q->lock);
    ret = q->broken ? -EIO : 0;
    /* The plan may change while we wait, so plan until nothing stands in the way. */
    while (ret == 0) {
        uint64_t end;

        ret = co_plan(q, offset, span.len, &plan);
        end = plan.guest + plan.clusters * cs;
        if (ret < 0 || !find_conflict(q, plan.guest, end, !plan.in_place)) {
            break;
        }
        co_qcow2_wait_conflicts(q, plan.guest, end, !plan.in_place);
    }
    if (ret < 0) {
        co_mutex_unlock(&q->lock);
        return ret;
    }
    qcow2_request_begin(q, &req, plan.guest, plan.guest + plan.clusters * cs, !plan.in_place);
    if (!plan.in_place && !plan.reuse) {
        if (q->has_data_file) {
            plan.host = plan.guest;
        } else {
            ret = co_alloc(q, plan.clusters, false, &plan.host, &got);
            if (ret == 0 && got < plan.clusters) {
                plan.clusters = got;
                plan.bytes = MIN(plan.bytes, plan.guest + got * cs - offset);
            }
        }
    }
    co_mutex_unlock(&q->lock);

    span.len = plan.bytes;
    if (ret == 0) {
        node_event(q->file, QAPI_BLKDEBUG_EVENT_WRITE_AIO);
        ret = plan.in_place
                  ? co_qcow2_data_write(q, offset, plan.host + (offset - plan.guest), span)
                  : co_write_cow(node, &plan, offset, span);
        co_mutex_lock(&q->lock);
        if (!plan.in_place) {
            if (ret == 0) {
                ret = co_link(q, &plan, offset, plan.bytes);
            }
            if (ret < 0 && !plan.reuse && !q->has_data_file) {
                free_later(q, plan.host, plan.clusters * cs, FREE_OTHER);
            }
        }
    } else {
        co_mutex_lock(&q->lock);
    }
    qcow2_request_end(q, &req);
    co_mutex_unlock(&q->lock);
    *done = plan.bytes;
    return ret;
}

/* A write that changes no table. */
static int co_write_plain(Qcow2 *q, uint64_t offset, uint64_t host, IoSpan span)
{
    uint64_t start = align_down(offset, q->cluster_size);
    Qcow2Request req;
    int ret;

    qcow2_request_begin(q, &req, start, start + q->cluster_size, false);
    node_event(q->file, QAPI_BLKDEBUG_EVENT_WRITE_AIO);
    ret = q->crypt.method ? co_qcow2_data_write(q, offset, host, span) : co_node_pwritev(q->data, host, span, 0);
    qcow2_request_end(q, &req);
    return ret;
}

int co_qcow2_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    Qcow2 *q = node->state;
    uint64_t host;
    int ret = 0;

    if (map_plain(q, offset, span.len, true, &host)) {
        return co_write_plain(q, offset, host, span);
    }
    while (span.len && ret == 0) {
        uint64_t done = 0;

        ret = co_write_piece(node, offset, span, &done);
        if (ret == 0) {
            offset += done;
            span = io_span_sub(span, done, span.len - done);
        }
    }
    return ret;
}

/* ---- status ---- */

/* Clusters were given places without data (preallocation=metadata): ask the file for holes. */
static void detect_sparse_data(Qcow2 *q)
{
    uint64_t clusters = div_round_up(q->file->length, q->cluster_size), used = 0, value;
    uint64_t real, limit;

    q->sparse_checked = true;
    if (!q->file->type->allocated_size) {
        return;
    }
    real = q->file->type->allocated_size(q->file) / q->cluster_size;
    limit = MAX(real * 9 / 8, real + 2);
    for (uint64_t i = 0; i < clusters && used < limit; i++) {
        if (co_refcount_get(q, i, &value) < 0) {
            return;
        }
        used += value != 0;
    }
    q->sparse_data = used >= limit;
}

int co_qcow2_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    Qcow2 *q = node->state;
    uint64_t done = 0;
    Map first = { 0 };
    int ret = 0;

    co_mutex_lock(&q->lock);
    if (!q->sparse_checked) {
        detect_sparse_data(q);
    }
    while (done < bytes && ret == 0) {
        Map map;

        ret = co_map(q, offset + done, bytes - done, &map);
        if (ret < 0) {
            break;
        }
        if (done == 0) {
            first = map;
        } else if (map.type != first.type ||
                   ((map.type == MAP_NORMAL || map.type == MAP_ZERO_ALLOCATED ||
                     map.type == MAP_RESERVED) && map.host != first.host + done)) {
            break;
        }
        done += map.bytes;
    }
    co_mutex_unlock(&q->lock);
    if (ret < 0 && done == 0) {
        return ret;
    }
    status->bytes = done;
    switch (first.type) {
    case MAP_NORMAL:
        status->flags = BLK_STATUS_DATA |
                        (q->crypt.method ? 0 : BLK_STATUS_OFFSET_VALID) |
                        (q->sparse_data && !q->crypt.method ? BLK_STATUS_RECURSE : 0);
        break;
    case MAP_COMPRESSED:
        status->flags = BLK_STATUS_DATA | BLK_STATUS_COMPRESSED;
        break;
    case MAP_ZERO:
        status->flags = BLK_STATUS_ZERO;
        break;
    case MAP_ZERO_ALLOCATED:
        status->flags = BLK_STATUS_ZERO | BLK_STATUS_OFFSET_VALID;
        break;
    case MAP_RESERVED:
        status->flags = BLK_STATUS_OFFSET_VALID;
        break;
    default:
        break;
    }
    if (status->flags & BLK_STATUS_OFFSET_VALID) {
        status->map = first.host;
        status->file = q->data;
    }
    return 0;
}
