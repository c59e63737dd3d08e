/* SPDX-License-Identifier: MIT */
/*
 * qcow2 check and repair: counts every reference anew, compares with the stored counts and with
 * the COPIED flags.  Missing counts are corruptions, surplus ones are leaks.
 *
 * Repair sets the counts; where the refcount structure itself is unusable it is built anew behind
 * the end of the image and the header switched over.
 *
 * Memory: four bytes per cluster of the file.  Locking: q->lock.
 */
#include "block/qcow2.h"

#include <stdarg.h>

typedef struct Check {
    Qcow2 *q;
    CheckResult *r;
    int fix;
    uint32_t *refs;
    uint64_t clusters;         /* of the file, rounded up; the size of REFS */
    uint64_t highest;          /* behind the last cluster in use */
    bool rebuild;
    uint64_t last_host;
} Check;

static void G_GNUC_PRINTF(2, 3) say(Check *c, const char *format, ...)
{
    va_list ap;

    if (c->r->print) {
        g_autofree char *line = NULL;

        va_start(ap, format);
        line = g_strdup_vprintf(format, ap);
        va_end(ap);
        c->r->print(line, c->r->opaque);
    }
}

static void count(Check *c, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> c->q->cluster_bits, last;

    if (!bytes) {
        return;
    }
    last = (offset + bytes - 1) >> c->q->cluster_bits;
    if (last >= c->clusters) {
        say(c, "ERROR: counting reference for region exceeding the end of the file by one cluster "
            "or more: offset 0x%" PRIx64 " size 0x%" PRIx64, offset, bytes);
        c->r->corruptions++;
        return;
    }
    for (uint64_t i = first; i <= last; i++) {
        if (c->refs[i] < UINT32_MAX) {
            c->refs[i]++;
        }
    }
    c->highest = MAX(c->highest, last + 1);
}

static bool aligned(Check *c, uint64_t offset, const char *what)
{
    if (offset & (c->q->cluster_size - 1)) {
        say(c, "ERROR offset=%" PRIx64 ": %s is not properly aligned; L2 entry corrupted.", offset,
            what);
        c->r->corruptions++;
        return false;
    }
    return true;
}

static void count_entry(Check *c, uint64_t entry, uint64_t bitmap, bool active)
{
    Qcow2 *q = c->q;
    uint64_t offset = entry & ENTRY_OFFSET_MASK, bytes = q->cluster_size;
    CheckResult *r = c->r;

    if (entry & ENTRY_COMPRESSED) {
        compressed_extent(q, entry, &offset, &bytes);
        if (entry & ENTRY_COPIED) {
            say(c, "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for compressed "
                "clusters", offset);
            r->corruptions++;
        }
        /* The last sectors may be claimed but not be there. */
        bytes = MIN(bytes, (c->clusters << q->cluster_bits) -
                           MIN(offset, c->clusters << q->cluster_bits));
        if (active) {
            r->allocated_clusters++;
            r->compressed_clusters++;
            r->fragmented_clusters++;
        }
        if (!bytes) {
            say(c, "ERROR: compressed cluster behind the end of the file: 0x%" PRIx64, offset);
            r->corruptions++;
            return;
        }
    } else if (!offset) {
        return;
    } else {
        if (!aligned(c, offset, "Cluster")) {
            return;
        }
        if (q->subclusters > 1 && (bitmap & (bitmap >> 32) & UINT32_MAX)) {
            say(c, "ERROR offset=%" PRIx64 ": Invalid subcluster bitmap", offset);
            r->corruptions++;
        }
        if (active) {
            bool plain = q->subclusters > 1 ? (bitmap & UINT32_MAX) : !(entry & ENTRY_ZERO);

            if (plain) {
                r->allocated_clusters++;
            }
            if (c->last_host && offset != c->last_host) {
                r->fragmented_clusters++;
            }
            c->last_host = offset + q->cluster_size;
        }
        if (q->has_data_file) {
            return;
        }
    }
    count(c, offset, bytes);
}

static int count_l1(Check *c, const uint64_t *l1, uint32_t entries, uint64_t l1_offset,
                    bool active)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *table = g_malloc(q->cluster_size);

    count(c, l1_offset, (uint64_t)entries * 8);
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t l2 = l1[i] & ENTRY_OFFSET_MASK;
        int ret;

        if (!l2) {
            continue;
        }
        c->last_host = 0;
        count(c, l2, q->cluster_size);
        if (l2 & (q->cluster_size - 1)) {
            say(c, "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry corrupted",
                l2);
            c->r->corruptions++;
            continue;
        }
        ret = co_node_pread(q->file, l2, table, q->cluster_size);
        if (ret < 0) {
            c->r->check_errors++;
            return ret;
        }
        for (uint64_t k = 0; k < BIT64(q->l2_bits); k++) {
            const uint8_t *p = table + k * q->l2_entry_size;

            count_entry(c, be64_load(p), q->subclusters > 1 ? be64_load(p + 8) : 0, active);
        }
    }
    return 0;
}

static int count_snapshots(Check *c)
{
    Qcow2 *q = c->q;
    int ret = 0;

    count(c, q->snapshots_offset, q->snapshots_size);
    for (unsigned i = 0; i < q->snapshots->len && ret == 0; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];
        g_autofree uint64_t *l1 = g_new0(uint64_t, s->l1_entries + 1);

        if (s->l1_offset & (q->cluster_size - 1)) {
            say(c, "ERROR snapshot %s l1_offset=0x%" PRIx64 ": L1 table is not cluster aligned; "
                "snapshot table entry corrupted", s->info.id, s->l1_offset);
            c->r->corruptions++;
            continue;
        }
        ret = co_node_pread(q->file, s->l1_offset, l1, (size_t)s->l1_entries * 8);
        for (uint32_t k = 0; k < s->l1_entries; k++) {
            l1[k] = GUINT64_FROM_BE(l1[k]);
        }
        if (ret == 0) {
            ret = count_l1(c, l1, s->l1_entries, s->l1_offset, false);
        }
    }
    return ret;
}

static int count_bitmaps(Check *c)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *dir = NULL;
    uint64_t at = 0;
    int ret;

    if (!q->bitmaps_count) {
        return 0;
    }
    count(c, q->bitmaps_offset, q->bitmaps_size);
    dir = g_malloc0(q->bitmaps_size + 24);
    ret = co_node_pread(q->file, q->bitmaps_offset, dir, q->bitmaps_size);
    for (uint32_t i = 0; ret == 0 && i < q->bitmaps_count && at + 24 <= q->bitmaps_size; i++) {
        uint64_t table = be64_load(dir + at), entries = be32_load(dir + at + 8);
        g_autofree uint64_t *raw = NULL;

        if (entries > MAX_L1_BYTES / 8 || (table & (q->cluster_size - 1))) {
            say(c, "ERROR bitmap %u: table is damaged", i);
            c->r->corruptions++;
        } else {
            raw = g_new0(uint64_t, entries + 1);
            count(c, table, entries * 8);
            ret = co_node_pread(q->file, table, raw, entries * 8);
            for (uint64_t k = 0; k < entries; k++) {
                uint64_t offset = GUINT64_FROM_BE(raw[k]) & ENTRY_OFFSET_MASK;

                if (offset && aligned(c, offset, "Bitmap data")) {
                    count(c, offset, q->cluster_size);
                }
            }
        }
        at += align_up(24 + (uint64_t)be32_load(dir + at + 20) + be16_load(dir + at + 18), 8);
    }
    return ret;
}

static void count_refcount_structure(Check *c)
{
    Qcow2 *q = c->q;

    count(c, q->reftable_offset, (uint64_t)q->reftable_entries * 8);
    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        uint64_t block = q->reftable[i] & REFTABLE_OFFSET_MASK, at = block >> q->cluster_bits;

        if (!block) {
            continue;
        }
        if (block & (q->cluster_size - 1)) {
            say(c, "ERROR refcount block %u is not cluster aligned; refcount table entry corrupted",
                i);
        } else if (at >= c->clusters) {
            say(c, "ERROR refcount block %u is outside image", i);
        } else {
            count(c, block, q->cluster_size);
            if (c->refs[at] != 1) {
                say(c, "ERROR refcount block %u refcount=%u", i, c->refs[at]);
            } else {
                continue;
            }
        }
        c->r->corruptions++;
        c->rebuild = true;
    }
}

/* ---- comparing ---- */

static int compare(Check *c)
{
    Qcow2 *q = c->q;
    CheckResult *r = c->r;

    for (uint64_t i = 0; i < c->clusters; i++) {
        uint64_t have = 0, want = c->refs[i];
        uint64_t block = i >> q->rb_bits;
        bool missing = block >= q->reftable_entries ||
                       !(q->reftable[block] & REFTABLE_OFFSET_MASK);
        int ret = missing ? 0 : co_refcount_get(q, i, &have);
        bool leak;

        if (ret < 0) {
            say(c, "Can't get refcount for cluster %" PRIu64 ": %s", i, strerror(-ret));
            r->check_errors++;
            continue;
        }
        if (have == want) {
            continue;
        }
        leak = have > want;
        if (c->fix & (leak ? CHECK_FIX_LEAKS : CHECK_FIX_ERRORS)) {
            say(c, "Repairing cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, i, have,
                want);
            if (missing || want > refcount_max(q)) {
                c->rebuild = true;
                r->corruptions++;
                continue;
            }
            while (ret == 0 && have != want) {
                int64_t delta = (int64_t)(want - have);

                delta = MAX(MIN(delta, INT32_MAX), -INT32_MAX);
                ret = co_refcount_add(q, i, (int)delta);
                have += (uint64_t)delta;
            }
            if (ret == 0) {
                *(leak ? &r->leaks_fixed : &r->corruptions_fixed) += 1;
                continue;
            }
        } else {
            say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
                leak ? "Leaked" : "ERROR", i, have, want);
        }
        *(leak ? &r->leaks : &r->corruptions) += 1;
    }
    return 0;
}

static uint64_t refs_of(const Check *c, uint64_t offset)
{
    uint64_t at = offset >> c->q->cluster_bits;

    return at < c->clusters ? c->refs[at] : 0;
}

/* By our own count, which is the right one whether or not it has been written back. */
static int check_copied(Check *c)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *table = g_malloc(q->cluster_size);
    bool l1_dirty = false;
    int ret = 0;

    for (uint32_t i = 0; i < q->l1_entries && ret == 0; i++) {
        uint64_t l2 = q->l1[i] & ENTRY_OFFSET_MASK;
        bool dirty = false;

        if (!l2 || (l2 & (q->cluster_size - 1))) {
            continue;
        }
        if ((refs_of(c, l2) == 1) != ((q->l1[i] & ENTRY_COPIED) != 0)) {
            say(c, "%s OFLAG_COPIED L2 cluster: l1_index=%u l1_entry=%" PRIx64 " refcount=%" PRIu64,
                c->fix & CHECK_FIX_ERRORS ? "Repairing" : "ERROR", i, q->l1[i], refs_of(c, l2));
            if (c->fix & CHECK_FIX_ERRORS) {
                q->l1[i] ^= ENTRY_COPIED;
                l1_dirty = true;
                c->r->corruptions_fixed++;
            } else {
                c->r->corruptions++;
            }
        }
        ret = co_node_pread(q->file, l2, table, q->cluster_size);
        for (uint64_t k = 0; k < BIT64(q->l2_bits) && ret == 0; k++) {
            uint8_t *p = table + k * q->l2_entry_size;
            uint64_t entry = be64_load(p), host = entry & ENTRY_OFFSET_MASK;
            bool copied = entry & ENTRY_COPIED;

            if ((entry & ENTRY_COMPRESSED) || !host || q->has_data_file) {
                continue;
            }
            if ((refs_of(c, host) == 1) == copied) {
                continue;
            }
            say(c, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64,
                c->fix & CHECK_FIX_ERRORS ? "Repairing" : "ERROR", entry, refs_of(c, host));
            if (c->fix & CHECK_FIX_ERRORS) {
                be64_store(p, entry ^ ENTRY_COPIED);
                dirty = true;
                c->r->corruptions_fixed++;
            } else {
                c->r->corruptions++;
            }
        }
        if (dirty && ret == 0) {
            slice_cache_drop(q, &q->l2_cache, l2, q->cluster_size);
            ret = co_node_pwrite(q->file, l2, table, q->cluster_size, 0);
        }
    }
    if (ret == 0 && l1_dirty) {
        ret = co_l1_write(q);
    }
    return ret;
}

/* ---- a new structure ---- */

int co_refcounts_replace(Qcow2 *q, unsigned order, uint64_t at,
                         uint64_t (*value)(void *opaque, uint64_t cluster), void *opaque)
{
    Qcow2 shape = *q;                  /* for its widths only */
    uint64_t blocks = 1, entries, table, total, per;
    g_autofree uint8_t *block = g_malloc(q->cluster_size);
    g_autofree uint64_t *raw = NULL;
    unsigned max = q->ref_cache.max;
    int ret = 0;

    shape.refcount_order = order;
    qcow2_note_sizes(&shape);
    per = BIT64(shape.rb_bits);
    for (;;) {
        table = div_round_up((div_round_up(at + blocks, per) + 1) * 8, q->cluster_size);
        total = at + blocks + table;
        if (blocks >= div_round_up(total, per)) {
            break;
        }
        blocks = div_round_up(total, per);
    }
    entries = table * q->cluster_size / 8;
    if (entries * 8 > MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    raw = g_new0(uint64_t, entries);
    for (uint64_t b = 0; b < blocks && ret == 0; b++) {
        memset(block, 0, q->cluster_size);
        for (uint64_t i = 0; i < per && b * per + i < total; i++) {
            uint64_t cluster = b * per + i, count = cluster >= at ? 1 : value(opaque, cluster);

            refcount_store(&shape, block, i, MIN(count, refcount_max(&shape)));
        }
        raw[b] = GUINT64_TO_BE((at + b) << q->cluster_bits);
        ret = co_node_pwrite(q->file, (at + b) << q->cluster_bits, block, q->cluster_size, 0);
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_REFTABLE_UPDATE);
    ret = ret < 0 ? ret : co_node_pwrite(q->file, (at + blocks) << q->cluster_bits, raw,
                                         entries * 8, 0);
    ret = ret < 0 ? ret : co_node_flush(q->file);
    if (ret < 0) {
        return ret;
    }
    for (uint64_t i = 0; i < entries; i++) {
        raw[i] = GUINT64_FROM_BE(raw[i]);
    }
    g_free(q->reftable);
    q->reftable = g_steal_pointer(&raw);
    qcow2_overlap_forget(q);
    q->reftable_entries = (uint32_t)entries;
    q->reftable_offset = (at + blocks) << q->cluster_bits;
    q->refcount_order = order;
    qcow2_note_sizes(q);
    slice_cache_clear(&q->ref_cache);
    slice_cache_init(&q->ref_cache, max);
    q->free_index = 0;
    q->compressed_at = 0;
    ret = co_header_write(q);
    ret = ret < 0 ? ret : co_node_flush(q->file);
    q->broken = q->broken || ret < 0;      /* which of the two is on disk? */
    return ret;
}

static uint64_t counted(void *opaque, uint64_t cluster)
{
    const Check *c = opaque;

    return cluster < c->clusters ? c->refs[cluster] : 0;
}

/* Behind everything in use; the old structure is not referenced any more. */
static int rebuild(Check *c)
{
    Qcow2 *q = c->q;
    uint64_t first = q->reftable_offset >> q->cluster_bits;
    uint64_t table = div_round_up((uint64_t)q->reftable_entries * 8, q->cluster_size);

    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        uint64_t old = (q->reftable[i] & REFTABLE_OFFSET_MASK) >> q->cluster_bits;

        if (old && !(q->reftable[i] & (q->cluster_size - 1)) && old < c->clusters &&
            c->refs[old]) {
            c->refs[old]--;
        }
    }
    for (uint64_t i = first; i < first + table && i < c->clusters; i++) {
        c->refs[i] -= c->refs[i] > 0;
    }
    return co_refcounts_replace(q, q->refcount_order, MAX(c->highest, c->clusters), counted, c);
}

static int co_check(Check *c)
{
    Qcow2 *q = c->q;
    CheckResult *r = c->r;
    int ret;

    count(c, 0, q->cluster_size);
    count(c, q->crypt.offset, q->crypt.bytes);
    ret = count_l1(c, q->l1, q->l1_entries, q->l1_offset, true);
    if (ret == 0) {
        ret = count_snapshots(c);
    }
    if (ret == 0) {
        ret = count_bitmaps(c);
    }
    if (ret < 0) {
        return ret;
    }
    count_refcount_structure(c);
    ret = compare(c);
    if (ret == 0 && c->rebuild && (c->fix & CHECK_FIX_ERRORS)) {
        uint64_t had = r->corruptions;

        say(c, "Rebuilding refcount structure");
        ret = rebuild(c);
        if (ret == 0) {
            r->corruptions = 0;
            r->corruptions_fixed += had;
            r->leaks = 0;
        }
    }
    if (ret == 0) {
        ret = check_copied(c);
    }
    if (ret == 0 && c->fix) {
        ret = co_qcow2_writeback(q);
        if (ret == 0) {
            ret = co_node_flush(q->file);
        }
    }
    if (ret == 0 && (c->fix & CHECK_FIX_ERRORS) && !r->corruptions && !r->check_errors) {
        ret = co_set_incompat(q, INCOMPAT_DIRTY | INCOMPAT_CORRUPT, false);
    }
    return ret;
}

bool qcow2_check(BlockNode *node, int fix, CheckResult *result, GError **error)
{
    Qcow2 *q = node->state;
    Check c = { .q = q, .r = result, .fix = node->read_only ? 0 : fix };
    int ret;

    c.clusters = div_round_up(q->file->length, q->cluster_size);
    c.refs = g_try_new0(uint32_t, c.clusters + 1);
    if (!c.refs) {
        return error_set(error, "Not enough memory to check an image file of %" PRIu64 " clusters",
                         c.clusters);
    }
    co_mutex_lock(&q->lock);
    ret = co_qcow2_writeback(q);
    if (ret == 0) {
        ret = co_check(&c);
    }
    co_mutex_unlock(&q->lock);
    g_free(c.refs);
    result->has_clusters = true;
    result->total_clusters = div_round_up(node->length, q->cluster_size);
    result->image_end_offset = c.highest << q->cluster_bits;
    return ret == 0 || error_set_errno(error, -ret, "Check failed");
}
