/* SPDX-License-Identifier: MIT */
/*
 * qcow2 internal snapshots: each is a copy of the L1 table; L2 tables and data are shared through
 * their refcounts.
 *
 * Changing many counts is not atomic, and neither are the COPIED flags that follow them, so the
 * header's dirty bit is set meanwhile (version 3): whoever opens the image after a cut repairs it.
 * Counts go up before, and down after, the table that needs them is on disk.
 *
 * Locking: q->lock, held over a whole operation.
 */
#include "block/qcow2.h"

void qcow2_snapshot_free(gpointer p)
{
    Qcow2Snapshot *s = p;

    g_free(s->info.id);
    g_free(s->info.name);
    g_free(s->extra);
    g_free(s);
}

/* ---- the snapshot table ---- */

bool qcow2_snapshots_read(Qcow2 *q, uint32_t count, uint64_t offset, GError **error)
{
    uint64_t at = offset;

    if (!count) {
        return true;
    }
    if (count > MAX_SNAPSHOTS || (offset & (q->cluster_size - 1))) {
        return error_set(error, "The qcow2 snapshot table is damaged (%u entries)", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint8_t h[40];
        uint32_t id_len, name_len, extra;
        g_autofree uint8_t *rest = NULL;
        Qcow2Snapshot *s;
        int ret;

        at = align_up(at, 8);
        ret = co_node_pread(q->file, at, h, sizeof(h));
        if (ret < 0) {
            return error_set_errno(error, -ret, "Failed to read snapshot table");
        }
        id_len = be16_load(h + 12);
        name_len = be16_load(h + 14);
        extra = be32_load(h + 36);
        if (extra > 1024 || be32_load(h + 8) > MAX_L1_BYTES / 8 ||
            at - offset > MAX_SNAPSHOT_TABLE) {
            return error_set(error, "Snapshot table entry %u is damaged", i);
        }
        rest = g_malloc0(extra + id_len + name_len + 1);
        ret = co_node_pread(q->file, at + 40, rest, extra + id_len + name_len);
        if (ret < 0) {
            return error_set_errno(error, -ret, "Failed to read snapshot table");
        }
        s = g_new0(Qcow2Snapshot, 1);
        s->l1_offset = be64_load(h);
        s->l1_entries = be32_load(h + 8);
        s->info.date_sec = be32_load(h + 16);
        s->info.date_nsec = be32_load(h + 20);
        s->info.vm_clock_ns = be64_load(h + 24);
        s->info.vm_state_size = extra >= 8 ? be64_load(rest) : be32_load(h + 32);
        s->info.disk_size = extra >= 16 ? be64_load(rest + 8) : q->node->length;
        if (extra >= 24 && be64_load(rest + 16) != UINT64_MAX) {
            s->info.icount = be64_load(rest + 16);
            s->info.has_icount = true;
        }
        if (extra > 24) {
            s->extra_len = extra - 24;
            s->extra = g_memdup2(rest + 24, s->extra_len);
        }
        s->info.id = g_strndup((char *)rest + extra, id_len);
        s->info.name = g_strndup((char *)rest + extra + id_len, name_len);
        g_ptr_array_add(q->snapshots, s);
        at += 40 + extra + id_len + name_len;
    }
    q->snapshots_offset = offset;
    q->snapshots_size = at - offset;
    return true;
}

static GByteArray *table_bytes(const Qcow2 *q)
{
    GByteArray *out = g_byte_array_new();
    static const uint8_t pad[8];

    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];
        uint8_t h[64] = { 0 };
        uint64_t state = s->info.vm_state_size;

        be64_store(h, s->l1_offset);
        be32_store(h + 8, s->l1_entries);
        be16_store(h + 12, (uint16_t)strlen(s->info.id));
        be16_store(h + 14, (uint16_t)strlen(s->info.name));
        be32_store(h + 16, (uint32_t)s->info.date_sec);
        be32_store(h + 20, s->info.date_nsec);
        be64_store(h + 24, s->info.vm_clock_ns);
        be32_store(h + 32, state > UINT32_MAX ? 0 : (uint32_t)state);
        be32_store(h + 36, 24 + s->extra_len);
        be64_store(h + 40, state);
        be64_store(h + 48, s->info.disk_size);
        be64_store(h + 56, s->info.has_icount ? s->info.icount : UINT64_MAX);
        g_byte_array_append(out, pad, (guint)(align_up(out->len, 8) - out->len));
        g_byte_array_append(out, h, sizeof(h));
        if (s->extra_len) {
            g_byte_array_append(out, s->extra, s->extra_len);
        }
        g_byte_array_append(out, (uint8_t *)s->info.id, (guint)strlen(s->info.id));
        g_byte_array_append(out, (uint8_t *)s->info.name, (guint)strlen(s->info.name));
    }
    return out;
}

/* Does the header in the file name the table at OFFSET?  When nobody can tell, writing ends. */
static bool header_names(Qcow2 *q, uint64_t offset)
{
    uint8_t raw[8];

    if (co_node_pread(q->file, 64, raw, sizeof(raw)) < 0) {
        q->broken = true;
        return false;
    }
    return be64_load(raw) == offset;
}

/* Writes the table to a new place and switches the header over.  After an error *OLD_STAYS tells
 * whether the snapshots are those from before; if not, the new ones are in the file. */
static int table_write(Qcow2 *q, bool *old_stays)
{
    g_autoptr(GByteArray) bytes = table_bytes(q);
    uint64_t host = 0, got, old = q->snapshots_offset, old_size = q->snapshots_size;
    int ret = 0;

    if (bytes->len) {
        ret = co_alloc(q, div_round_up(bytes->len, q->cluster_size), true, &host, &got);
        if (ret == 0) {
            ret = co_node_pwrite(q->file, host, bytes->data, bytes->len, 0);
        }
    }
    if (ret == 0) {
        ret = co_qcow2_writeback(q);
    }
    if (ret == 0) {
        ret = co_node_flush(q->file);
    }
    *old_stays = ret < 0;
    if (ret < 0) {
        return ret;
    }
    q->snapshots_offset = host;
    q->snapshots_size = bytes->len;
    ret = co_header_write(q);
    if (ret == 0) {
        ret = co_node_flush(q->file);
    }
    if (ret < 0) {
        *old_stays = header_names(q, old);
        if (*old_stays) {
            q->snapshots_offset = old;
            q->snapshots_size = old_size;
        }
        return ret;
    }
    if (old_size) {
        free_later(q, old, old_size, FREE_SNAPSHOT);
    }
    return 0;
}

static int find(const Qcow2 *q, const char *id_or_name)
{
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];

        if (g_str_equal(s->info.id, id_or_name)) {
            return (int)i;
        }
    }
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];

        if (g_str_equal(s->info.name, id_or_name)) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- counts ---- */

static int entry_adjust(Qcow2 *q, uint64_t entry, int delta)
{
    uint64_t offset = entry & ENTRY_OFFSET_MASK, bytes = q->cluster_size;
    int ret = 0;

    if (entry & ENTRY_COMPRESSED) {
        compressed_extent(q, entry, &offset, &bytes);
    } else if (!offset) {
        return 0;
    }
    if (delta < 0) {
        free_later(q, offset, bytes, FREE_SNAPSHOT);
        return 0;
    }
    for (uint64_t c = offset >> q->cluster_bits;
         c <= (offset + bytes - 1) >> q->cluster_bits && ret == 0; c++) {
        ret = co_refcount_add(q, c, 1);
    }
    return ret;
}

/* Adds DELTA to all that an L1 table reaches, not to the table itself. */
static int l1_adjust(Qcow2 *q, const uint64_t *l1, uint32_t entries, int delta)
{
    g_autofree uint8_t *table = g_malloc(q->cluster_size);
    int ret = 0;

    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t l2 = l1[i] & ENTRY_OFFSET_MASK;

        if (!l2) {
            continue;
        }
        if (l2 & (q->cluster_size - 1)) {
            return -EIO;
        }
        ret = co_node_pread(q->file, l2, table, q->cluster_size);
        for (uint64_t k = 0; k < BIT64(q->l2_bits) && ret == 0; k++) {
            ret = entry_adjust(q, be64_load(table + k * q->l2_entry_size), delta);
        }
        if (ret == 0) {
            ret = entry_adjust(q, l2, delta);
        }
    }
    return ret;
}

/* The COPIED flags of the active tables, from the counts. */
static int refresh_copied(Qcow2 *q)
{
    int ret = 0;

    for (uint32_t i = 0; i < q->l1_entries && ret == 0; i++) {
        uint64_t l2 = q->l1[i] & ENTRY_OFFSET_MASK, refs;
        uint64_t per_slice = q->slice_size / q->l2_entry_size;

        if (!l2) {
            continue;
        }
        ret = co_refcount_get(q, l2 >> q->cluster_bits, &refs);
        if (ret < 0) {
            break;
        }
        if ((refs == 1) != ((q->l1[i] & ENTRY_COPIED) != 0)) {
            q->l1[i] ^= ENTRY_COPIED;
            q->l1_dirty = true;
        }
        for (uint64_t k = 0; k < BIT64(q->l2_bits) && ret == 0; k++) {
            Slice *slice;
            uint64_t entry, fresh;

            ret = co_slice_get(q, &q->l2_cache, l2 + k / per_slice * q->slice_size, &slice);
            if (ret < 0) {
                break;
            }
            entry = l2_entry(q, slice, (unsigned)(k % per_slice));
            if ((entry & ENTRY_COMPRESSED) || !(entry & ENTRY_OFFSET_MASK)) {
                continue;
            }
            ret = co_refcount_get(q, (entry & ENTRY_OFFSET_MASK) >> q->cluster_bits, &refs);
            fresh = (entry & ~ENTRY_COPIED) | (refs == 1 ? ENTRY_COPIED : 0);
            if (ret == 0 && fresh != entry) {
                ret = co_slice_get(q, &q->l2_cache, l2 + k / per_slice * q->slice_size, &slice);
                if (ret == 0) {
                    l2_store(q, slice, (unsigned)(k % per_slice), fresh,
                             l2_bitmap(q, slice, (unsigned)(k % per_slice)));
                }
            }
        }
    }
    return ret;
}

static int settle(Qcow2 *q)
{
    int ret = co_qcow2_writeback(q);

    if (ret == 0) {
        ret = co_qcow2_writeback(q);
    }
    return ret == 0 ? co_node_flush(q->file) : ret;
}

static int begin(Qcow2 *q)
{
    int ret = settle(q);

    qcow2_overlap_forget(q);
    return ret == 0 ? co_set_incompat(q, INCOMPAT_DIRTY, true) : ret;
}

static int end(Qcow2 *q, int ret)
{
    int clean;

    qcow2_overlap_forget(q);
    if (ret == 0) {
        ret = settle(q);
    }
    if (ret == 0) {
        ret = refresh_copied(q);
    }
    if (ret == 0) {
        ret = settle(q);
    }
    if (ret < 0) {
        q->keep_dirty = true;
        return ret;                    /* stays dirty: the next opener repairs */
    }
    clean = co_set_incompat(q, INCOMPAT_DIRTY, false);
    return clean;
}

static int l1_write_at(Qcow2 *q, uint64_t host, const uint64_t *l1, uint32_t entries)
{
    g_autofree uint64_t *raw = g_new(uint64_t, entries + 1);

    for (uint32_t i = 0; i < entries; i++) {
        raw[i] = GUINT64_TO_BE(l1[i]);
    }
    return entries ? co_node_pwrite(q->file, host, raw, (size_t)entries * 8, 0) : 0;
}

/* ---- operations ---- */

static void new_id(const Qcow2 *q, char **id)
{
    unsigned long max = 0;

    for (unsigned i = 0; i < q->snapshots->len; i++) {
        max = MAX(max, strtoul(((Qcow2Snapshot *)q->snapshots->pdata[i])->info.id, NULL, 10));
    }
    *id = g_strdup_printf("%lu", max + 1);
}

/* What an operation left half done is repaired, with the snapshots that there are: counts that were
 * raised for one that is not there are leaks, and flags follow the counts. */
static void after_failure(BlockNode *node, int ret)
{
    CheckResult undo = { 0 };

    if (ret < 0 && !((Qcow2 *)node->state)->broken) {
        qcow2_check(node, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, &undo, NULL);
    }
}

static int co_create(Qcow2 *q, Qcow2Snapshot *s)
{
    uint64_t host, got;
    int ret = begin(q);

    if (ret == 0) {
        ret = co_alloc(q, MAX(1, div_round_up((uint64_t)q->l1_entries * 8, q->cluster_size)), true,
                       &host, &got);
    }
    if (ret < 0) {
        return ret;
    }
    s->l1_offset = host;
    s->l1_entries = q->l1_entries;
    for (uint32_t i = 0; i < q->l1_entries; i++) {
        q->l1[i] &= ~ENTRY_COPIED;
    }
    q->l1_dirty = true;
    ret = l1_write_at(q, host, q->l1, q->l1_entries);
    if (ret == 0) {
        ret = l1_adjust(q, q->l1, q->l1_entries, 1);
    }
    return ret;
}

bool qcow2_snapshot_create(BlockNode *node, const char *name, const SnapshotInfo *vm,
                           GError **error)
{
    Qcow2 *q = node->state;
    Qcow2Snapshot *s;
    bool old_stays = false;
    int ret;

    if (q->has_data_file) {
        return error_set(error, "Images with an external data file cannot hold snapshots");
    }
    if (q->snapshots->len >= MAX_SNAPSHOTS) {
        return error_set(error, "The image has %u snapshots, which is the most there can be",
                         q->snapshots->len);
    }
    if (strlen(name) > UINT16_MAX) {
        return error_set(error, "The snapshot name is too long");
    }
    s = g_new0(Qcow2Snapshot, 1);
    s->info.name = g_strdup(name);
    s->info.disk_size = node->length;
    if (vm) {
        s->info.vm_state_size = vm->vm_state_size;
        s->info.vm_clock_ns = vm->vm_clock_ns;
        s->info.date_sec = vm->date_sec;
        s->info.date_nsec = vm->date_nsec;
        s->info.has_icount = vm->has_icount;
        s->info.icount = vm->icount;
    }
    co_mutex_lock(&q->lock);
    new_id(q, &s->info.id);
    ret = co_create(q, s);
    if (ret == 0) {
        g_ptr_array_add(q->snapshots, s);
        ret = table_write(q, &old_stays);
        if (old_stays) {
            g_ptr_array_set_size(q->snapshots, (gint)q->snapshots->len - 1);
        }
        ret = end(q, ret);
    } else {
        qcow2_snapshot_free(s);
    }
    co_mutex_unlock(&q->lock);
    after_failure(node, ret);
    if (ret == -ERANGE) {
        return error_set(error, "Refcounts of %u bits cannot count one more snapshot; convert the "
                         "image to one with more refcount_bits", q->refcount_bits);
    }
    return ret == 0 || error_set_errno(error, -ret, "Could not write to the image");
}

static int read_l1(Qcow2 *q, const Qcow2Snapshot *s, uint64_t **l1)
{
    int ret;

    *l1 = g_new0(uint64_t, s->l1_entries + 1);
    if (s->l1_offset & (q->cluster_size - 1)) {
        return -EIO;
    }
    ret = co_node_pread(q->file, s->l1_offset, *l1, (size_t)s->l1_entries * 8);
    for (uint32_t i = 0; i < s->l1_entries; i++) {
        (*l1)[i] = GUINT64_FROM_BE((*l1)[i]) & ~ENTRY_COPIED;
    }
    return ret;
}

static int co_apply(Qcow2 *q, const Qcow2Snapshot *s)
{
    g_autofree uint64_t *fresh = NULL;
    g_autofree uint64_t *old = NULL;
    int ret = begin(q);

    if (ret == 0) {
        ret = read_l1(q, s, &fresh);
    }
    if (ret == 0) {
        ret = co_l1_grow(q, MAX(s->l1_entries, 1));
    }
    if (ret == 0) {
        ret = l1_adjust(q, fresh, s->l1_entries, 1);
    }
    if (ret == 0) {
        ret = settle(q);
    }
    if (ret < 0) {
        return ret;
    }
    old = g_memdup2(q->l1, (size_t)q->l1_entries * 8);
    memset(q->l1, 0, (size_t)q->l1_entries * 8);
    memcpy(q->l1, fresh, (size_t)s->l1_entries * 8);
    qcow2_overlap_forget(q);
    q->l1_dirty = true;
    q->decompressed_for = 0;
    q->l2_changes++;
    q->node->length = s->info.disk_size;
    ret = settle(q);
    if (ret == 0) {
        ret = co_header_write(q);
    }
    return ret == 0 ? l1_adjust(q, old, q->l1_entries, -1) : ret;
}

bool qcow2_snapshot_apply(BlockNode *node, const char *id, GError **error)
{
    Qcow2 *q = node->state;
    Qcow2Snapshot *s;
    int index, ret;

    index = find(q, id);
    if (index < 0) {
        return error_set(error, "Snapshot '%s' does not exist", id);
    }
    if (node->bitmaps->len) {
        return error_set(error, "Device has active dirty bitmaps");
    }
    s = q->snapshots->pdata[index];
    if (s->info.disk_size > INT64_MAX - TIB ||
        s->l1_entries < div_round_up(s->info.disk_size, BIT64(q->cluster_bits + q->l2_bits))) {
        return error_set(error, "Snapshot '%s' is damaged: its L1 table is too small", id);
    }
    co_mutex_lock(&q->lock);
    ret = end(q, co_apply(q, s));
    co_mutex_unlock(&q->lock);
    after_failure(node, ret);
    return ret == 0 || error_set_errno(error, -ret, "Could not write to the image");
}

static int co_delete(Qcow2 *q, int index)
{
    Qcow2Snapshot *s = q->snapshots->pdata[index];
    g_autofree uint64_t *l1 = NULL;
    uint64_t l1_offset = s->l1_offset;
    uint32_t entries = s->l1_entries;
    bool old_stays = false;
    int ret = begin(q);

    if (ret == 0) {
        ret = read_l1(q, s, &l1);
    }
    if (ret < 0) {
        return ret;
    }
    g_ptr_array_steal_index(q->snapshots, (guint)index);
    ret = table_write(q, &old_stays);
    if (old_stays) {
        g_ptr_array_insert(q->snapshots, index, s);
        return ret;
    }
    qcow2_snapshot_free(s);
    if (ret == 0) {
        ret = l1_adjust(q, l1, entries, -1);
    }
    if (ret == 0) {
        free_later(q, l1_offset, MAX((uint64_t)entries * 8, 1), FREE_SNAPSHOT);
    }
    return ret;
}

bool qcow2_snapshot_delete(BlockNode *node, const char *id, GError **error)
{
    Qcow2 *q = node->state;
    int index, ret;

    index = find(q, id);
    if (index < 0) {
        return error_set(error, "snapshot not found");
    }
    co_mutex_lock(&q->lock);
    ret = end(q, co_delete(q, index));
    co_mutex_unlock(&q->lock);
    after_failure(node, ret);
    return ret == 0 || error_set_errno(error, -ret, "Could not write to the image");
}

static void info_free(gpointer p)
{
    snapshot_info_free(p);
}

GPtrArray *qcow2_snapshot_list(BlockNode *node, GError **error)
{
    Qcow2 *q = node->state;
    GPtrArray *list = g_ptr_array_new_with_free_func(info_free);

    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];
        SnapshotInfo *copy = g_memdup2(&s->info, sizeof(s->info));

        copy->id = g_strdup(s->info.id);
        copy->name = g_strdup(s->info.name);
        g_ptr_array_add(list, copy);
    }
    return list;
}

bool qcow2_snapshot_load_tmp(BlockNode *node, const char *id, GError **error)
{
    Qcow2 *q = node->state;
    uint64_t *l1 = NULL;
    Qcow2Snapshot *s;
    int index = find(q, id), ret;

    if (index < 0) {
        return error_set(error, "Snapshot '%s' does not exist", id);
    }
    if (!node->read_only) {
        return error_set(error, "Cannot read from a snapshot of an image opened for writing");
    }
    s = q->snapshots->pdata[index];
    ret = read_l1(q, s, &l1);
    if (ret < 0) {
        g_free(l1);
        return error_set_errno(error, -ret, "Could not read the L1 table of snapshot '%s'", id);
    }
    g_free(q->l1);
    q->l1 = l1;
    q->l1_entries = s->l1_entries;
    q->l1_offset = s->l1_offset;
    node->length = MIN(s->info.disk_size, INT64_MAX - TIB);
    return true;
}
