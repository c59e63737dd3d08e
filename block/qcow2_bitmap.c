/* SPDX-License-Identifier: MIT */
/*
 * qcow2 persistent dirty bitmaps: loading, the in-use flag, storing.
 * Spec: the qcow2 interoperability document, "Bitmaps".
 *
 * Life of a bitmap: whoever opens the image for writing loads all bitmaps and sets their in-use
 * flags on disk, so that after a crash they are known to be stale ("inconsistent": they can only
 * be removed).  Closing writes them to new clusters, switches the header over to a new directory
 * in which the flags are clear, and only then gives the old clusters up.
 *
 * Not modelled: bitmap types other than dirty tracking, extra data (such images are refused for
 * writing, as the specification asks).
 * Locking: q->lock; loading and storing run alone, at open and close.
 */
#include "block/qcow2.h"

#include "base/log.h"

enum { FLAG_IN_USE = 1, FLAG_AUTO = 2, FLAG_EXTRA_OK = 4, KNOWN_FLAGS = 7 };
enum { D_TABLE = 0, D_TABLE_SIZE = 8, D_FLAGS = 12, D_TYPE = 16, D_GRANULARITY = 17,
       D_NAME_LEN = 18, D_EXTRA_LEN = 20, D_LEN = 24 };
#define TYPE_DIRTY 1u
#define MAX_BITMAPS 65535u
#define MAX_DIRECTORY (16u << 20)
#define MAX_TOTAL_BYTES (512u << 20)   /* of all bitmaps in memory */
#define ALL_ONES 1ull

static void entry_free(gpointer p)
{
    Qcow2BitmapEntry *e = p;

    g_free(e->name);
    g_free(e);
}

/* ---- the directory ---- */

static uint64_t bitmap_bytes(uint64_t length, uint32_t granularity)
{
    return div_round_up(div_round_up(length, granularity), 8);
}

static bool damaged(unsigned i, const char *what, GError **error)
{
    return error_set(error, "Bitmap %u of the qcow2 image is damaged: %s", i, what);
}

static bool parse_entry(Qcow2 *q, const uint8_t *d, uint64_t left, unsigned i, uint64_t *len,
                        Qcow2BitmapEntry *e, GError **error)
{
    uint32_t name_len = left >= D_LEN ? be16_load(d + D_NAME_LEN) : 0;
    uint32_t extra = left >= D_LEN ? be32_load(d + D_EXTRA_LEN) : 0;

    if (left < D_LEN || name_len == 0 || name_len > 1023 ||
        (uint64_t)name_len + extra > left - D_LEN) {
        return damaged(i, "its directory entry", error);
    }
    *len = align_up(D_LEN + (uint64_t)name_len + extra, 8);
    e->table = be64_load(d + D_TABLE);
    e->table_entries = be32_load(d + D_TABLE_SIZE);
    e->flags = be32_load(d + D_FLAGS);
    if (d[D_TYPE] != TYPE_DIRTY || extra || (e->flags & ~(uint32_t)KNOWN_FLAGS)) {
        return error_set(error, "Bitmap %u of the qcow2 image is of an unknown kind", i);
    }
    if (d[D_GRANULARITY] < 9 || d[D_GRANULARITY] > 31) {
        return damaged(i, "its granularity", error);
    }
    if (!e->table || (e->table & (q->cluster_size - 1)) ||
        e->table_entries > MAX_TOTAL_BYTES / 8) {
        return damaged(i, "its table", error);
    }
    e->granularity = BIT(d[D_GRANULARITY]);
    e->name = g_strndup((const char *)d + D_LEN + extra, name_len);
    return true;
}

/* Q->bitmaps, in the order of the directory. */
static bool read_directory(Qcow2 *q, GError **error)
{
    g_autofree uint8_t *dir = NULL;
    uint64_t at = 0;
    int ret;

    if (q->bitmaps_count > MAX_BITMAPS || q->bitmaps_size > MAX_DIRECTORY) {
        return error_set(error, "The qcow2 bitmap directory is too large");
    }
    dir = g_malloc0(q->bitmaps_size + 1);
    ret = co_node_pread(q->file, q->bitmaps_offset, dir, q->bitmaps_size);
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the qcow2 bitmap directory");
    }
    for (uint32_t i = 0; i < q->bitmaps_count; i++) {
        Qcow2BitmapEntry *e = g_new0(Qcow2BitmapEntry, 1);
        uint64_t len = 0;

        g_ptr_array_add(q->bitmaps, e);
        if (!parse_entry(q, dir + at, q->bitmaps_size - at, i, &len, e, error)) {
            return false;
        }
        at = MIN(at + len, q->bitmaps_size);
    }
    return true;
}

/* ---- data ---- */

static int read_table(Qcow2 *q, const Qcow2BitmapEntry *e, uint64_t **out)
{
    g_autofree uint64_t *table = g_try_new0(uint64_t, e->table_entries + 1u);
    int ret = table ? co_node_pread(q->file, e->table, table, e->table_entries * 8ull) : -ENOMEM;

    for (uint32_t i = 0; ret == 0 && i < e->table_entries; i++) {
        table[i] = GUINT64_FROM_BE(table[i]);
    }
    *out = ret == 0 ? g_steal_pointer(&table) : NULL;
    return ret;
}

static int read_bits(Qcow2 *q, const Qcow2BitmapEntry *e, uint8_t *bits, uint64_t bytes)
{
    g_autofree uint64_t *table = NULL;
    int ret = 0;

    if (e->table_entries != div_round_up(bytes, q->cluster_size)) {
        return -EINVAL;
    }
    ret = read_table(q, e, &table);
    for (uint32_t i = 0; i < e->table_entries && ret == 0; i++) {
        uint64_t host = table[i] & ENTRY_OFFSET_MASK, n = MIN(q->cluster_size, bytes);

        if (host) {
            ret = host & (q->cluster_size - 1) ? -EINVAL : co_node_pread(q->file, host, bits, n);
        } else {
            memset(bits, table[i] & ALL_ONES ? 0xff : 0, n);
        }
        bits += n;
        bytes -= n;
    }
    return ret;
}

static bool load_one(Qcow2 *q, Qcow2BitmapEntry *e, uint64_t *total, GError **error)
{
    uint64_t bytes = bitmap_bytes(q->node->length, e->granularity);
    DirtyBitmap *b;
    int ret;

    *total += bytes;
    if (*total > MAX_TOTAL_BYTES) {
        return error_set(error, "The bitmaps of the qcow2 image need more than %u bytes of "
                         "memory", MAX_TOTAL_BYTES);
    }
    b = dirty_bitmap_add(q->node, e->name, e->granularity, error);
    if (!b) {
        return false;
    }
    b->persistent = true;
    b->enabled = e->flags & FLAG_AUTO;
    b->inconsistent = e->flags & FLAG_IN_USE;
    if (b->inconsistent) {
        b->enabled = false;
        return true;
    }
    ret = read_bits(q, e, (uint8_t *)b->bits, bytes);
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read bitmap '%s'", e->name);
    }
    dirty_bitmap_loaded(b);
    return true;
}

/* Rewrites the flags in place; everything else stays where it is. */
static int write_flags(Qcow2 *q)
{
    g_autofree uint8_t *dir = g_malloc0(q->bitmaps_size + 1);
    uint64_t at = 0;
    int ret = co_node_pread(q->file, q->bitmaps_offset, dir, q->bitmaps_size);

    for (unsigned i = 0; ret == 0 && i < q->bitmaps->len; i++) {
        const Qcow2BitmapEntry *e = q->bitmaps->pdata[i];

        be32_store(dir + at + D_FLAGS, e->flags);
        at += align_up(D_LEN + strlen(e->name), 8);
    }
    ret = ret < 0 ? ret : co_node_pwrite(q->file, q->bitmaps_offset, dir, q->bitmaps_size, 0);
    return ret < 0 ? ret : co_node_flush(q->file);
}

bool qcow2_bitmaps_load(Qcow2 *q, GError **error)
{
    uint64_t total = 0;

    if (!q->bitmaps_count || (q->node->flags & NODE_OPEN_CHECK)) {
        return true;
    }
    if (!read_directory(q, error)) {
        return false;
    }
    for (unsigned i = 0; i < q->bitmaps->len; i++) {
        if (!load_one(q, q->bitmaps->pdata[i], &total, error)) {
            return false;
        }
    }
    q->bitmaps_loaded = true;
    return true;
}

bool qcow2_bitmaps_mark(Qcow2 *q, GError **error)
{
    int ret;

    if (q->node->read_only || !q->bitmaps_loaded || !q->bitmaps->len) {
        return true;
    }
    for (unsigned i = 0; i < q->bitmaps->len; i++) {
        ((Qcow2BitmapEntry *)q->bitmaps->pdata[i])->flags |= FLAG_IN_USE;
    }
    ret = write_flags(q);
    return ret == 0 || error_set_errno(error, -ret, "Could not mark the bitmaps as in use");
}

/* ---- storing ---- */

static Qcow2BitmapEntry *entry_find(Qcow2 *q, const char *name)
{
    for (unsigned i = 0; i < q->bitmaps->len; i++) {
        Qcow2BitmapEntry *e = q->bitmaps->pdata[i];

        if (g_str_equal(e->name, name)) {
            return e;
        }
    }
    return NULL;
}

static bool all_ones(const uint8_t *p, uint64_t len)
{
    return p[0] == 0xff && (len == 1 || memcmp(p, p + 1, len - 1) == 0);
}

/* Data and table to new clusters; what an error leaves behind is a leak. */
static int store_one(Qcow2 *q, const DirtyBitmap *b, Qcow2BitmapEntry *e)
{
    uint64_t bytes = bitmap_bytes(b->length, b->granularity), cs = q->cluster_size, host, got;
    uint64_t entries = div_round_up(bytes, cs);
    g_autofree uint64_t *table = g_new0(uint64_t, entries + 1);
    g_autofree uint8_t *padded = g_malloc(cs);
    int ret = 0;

    e->name = g_strdup(b->name);
    e->granularity = b->granularity;
    e->flags = b->enabled ? FLAG_AUTO : 0;
    e->table_entries = (uint32_t)entries;
    for (uint64_t i = 0; i < entries && ret == 0; i++) {
        const uint8_t *p = (const uint8_t *)b->bits + i * cs;
        uint64_t n = MIN(cs, bytes - i * cs);

        if (buffer_is_zero(p, n) || (n == cs && all_ones(p, n))) {
            table[i] = p[0] ? GUINT64_TO_BE(ALL_ONES) : 0;
            continue;
        }
        memset(padded, 0, cs);
        memcpy(padded, p, n);
        ret = co_alloc(q, 1, true, &host, &got);
        ret = ret < 0 ? ret : co_node_pwrite(q->file, host, padded, cs, 0);
        table[i] = GUINT64_TO_BE(host);
    }
    if (ret == 0) {
        ret = co_alloc(q, MAX(1, div_round_up(entries * 8, cs)), true, &e->table, &got);
    }
    return ret < 0 || !entries ? ret : co_node_pwrite(q->file, e->table, table, entries * 8, 0);
}

static GByteArray *directory_bytes(const GPtrArray *entries)
{
    GByteArray *out = g_byte_array_new();
    static const uint8_t pad[8];

    for (unsigned i = 0; i < entries->len; i++) {
        const Qcow2BitmapEntry *e = entries->pdata[i];
        uint8_t d[D_LEN] = { 0 };

        be64_store(d + D_TABLE, e->table);
        be32_store(d + D_TABLE_SIZE, e->table_entries);
        be32_store(d + D_FLAGS, e->flags);
        d[D_TYPE] = TYPE_DIRTY;
        d[D_GRANULARITY] = (uint8_t)__builtin_ctz(e->granularity);
        be16_store(d + D_NAME_LEN, (uint16_t)strlen(e->name));
        g_byte_array_append(out, d, sizeof(d));
        g_byte_array_append(out, (const uint8_t *)e->name, (guint)strlen(e->name));
        g_byte_array_append(out, pad, (guint)(align_up(out->len, 8) - out->len));
    }
    return out;
}

static int free_table(Qcow2 *q, const Qcow2BitmapEntry *e)
{
    g_autofree uint64_t *table = NULL;
    int ret = read_table(q, e, &table);

    for (uint32_t i = 0; ret == 0 && i < e->table_entries; i++) {
        if (table[i] & ENTRY_OFFSET_MASK) {
            free_later(q, table[i] & ENTRY_OFFSET_MASK, q->cluster_size, FREE_OTHER);
        }
    }
    free_later(q, e->table, MAX(e->table_entries, 1) * 8ull, FREE_OTHER);
    return ret;
}

/* New tables of what is in memory; inconsistent ones stay as they are. */
static int make_entries(Qcow2 *q, GPtrArray *fresh)
{
    int ret = 0;

    for (unsigned i = 0; i < q->node->bitmaps->len && ret == 0; i++) {
        const DirtyBitmap *b = q->node->bitmaps->pdata[i];
        const Qcow2BitmapEntry *old = entry_find(q, b->name);
        Qcow2BitmapEntry *e;

        if (!b->persistent || (b->inconsistent && !old)) {
            continue;
        }
        e = g_new0(Qcow2BitmapEntry, 1);
        g_ptr_array_add(fresh, e);
        if (b->inconsistent) {
            *e = *old;
            e->name = g_strdup(old->name);
            e->flags |= FLAG_IN_USE;
        } else {
            ret = store_one(q, b, e);
        }
    }
    return ret;
}

/* The step that makes the new directory the one that counts. */
static int switch_over(Qcow2 *q, const GPtrArray *fresh)
{
    g_autoptr(GByteArray) dir = directory_bytes(fresh);
    uint64_t host = 0, got;
    int ret = 0;

    if (dir->len) {
        ret = co_alloc(q, div_round_up(dir->len, q->cluster_size), true, &host, &got);
        ret = ret < 0 ? ret : co_node_pwrite(q->file, host, dir->data, dir->len, 0);
    }
    ret = ret < 0 ? ret : co_qcow2_writeback(q);
    ret = ret < 0 ? ret : co_node_flush(q->file);
    if (ret < 0) {
        return ret;
    }
    q->bitmaps_offset = host;
    q->bitmaps_size = dir->len;
    q->bitmaps_count = fresh->len;
    q->autoclear &= ~(uint64_t)AUTOCLEAR_BITMAPS;
    q->autoclear |= fresh->len ? AUTOCLEAR_BITMAPS : 0;
    ret = co_header_write(q);
    ret = ret < 0 ? ret : co_node_flush(q->file);
    q->broken = q->broken || ret < 0;
    return ret;
}

static bool any_persistent(const Qcow2 *q)
{
    for (unsigned i = 0; i < q->node->bitmaps->len; i++) {
        if (((DirtyBitmap *)q->node->bitmaps->pdata[i])->persistent) {
            return true;
        }
    }
    return false;
}

int co_qcow2_bitmaps_store(Qcow2 *q)
{
    g_autoptr(GPtrArray) fresh = g_ptr_array_new_with_free_func(entry_free);
    uint64_t old_offset = q->bitmaps_offset, old_size = q->bitmaps_size;
    int ret;

    if ((!q->bitmaps->len && !any_persistent(q)) || (q->bitmaps_count && !q->bitmaps_loaded)) {
        return 0;
    }
    ret = make_entries(q, fresh);
    ret = ret < 0 ? ret : switch_over(q, fresh);
    if (ret < 0) {
        return ret;                    /* the old ones are still there, marked as in use */
    }
    for (unsigned i = 0; i < q->bitmaps->len; i++) {
        const Qcow2BitmapEntry *e = q->bitmaps->pdata[i];
        bool kept = false;

        for (unsigned k = 0; k < fresh->len; k++) {
            kept = kept || ((Qcow2BitmapEntry *)fresh->pdata[k])->table == e->table;
        }
        if (!kept) {
            free_table(q, e);
        }
    }
    if (old_size) {
        free_later(q, old_offset, old_size, FREE_OTHER);
    }
    g_ptr_array_unref(q->bitmaps);
    q->bitmaps = g_steal_pointer(&fresh);
    q->bitmaps_loaded = true;
    return 0;
}

void qcow2_bitmaps_init(Qcow2 *q)
{
    q->bitmaps = g_ptr_array_new_with_free_func(entry_free);
}

/* ---- questions ---- */

bool qcow2_bitmap_can_store(BlockNode *node, const char *name, uint32_t granularity,
                            GError **error)
{
    Qcow2 *q = node->state;
    unsigned persistent = 0;

    if (q->version < 3) {
        return error_set(error, "Cannot store dirty bitmaps in qcow2 v2 files");
    }
    for (unsigned i = 0; i < node->bitmaps->len; i++) {
        persistent += ((DirtyBitmap *)node->bitmaps->pdata[i])->persistent;
    }
    if (persistent >= MAX_BITMAPS) {
        return error_set(error, "Maximum number of persistent bitmaps is already reached");
    }
    if (strlen(name) > 1023) {
        return error_set(error, "Name length exceeds maximum (1023 characters)");
    }
    if (bitmap_bytes(node->length, granularity) > MAX_TOTAL_BYTES) {
        return error_set(error, "Too much space will be occupied by the bitmap. Use larger "
                         "granularity");
    }
    return true;
}

bool qcow2_bitmaps_can_resize(Qcow2 *q, GError **error)
{
    for (unsigned i = 0; i < q->node->bitmaps->len; i++) {
        const DirtyBitmap *b = q->node->bitmaps->pdata[i];

        if (b->persistent && b->inconsistent) {
            return error_set(error, "Bitmap '%s' is inconsistent and cannot be used, so the image "
                             "cannot be resized; remove the bitmap first", b->name);
        }
    }
    return true;
}

void qcow2_bitmaps_info(Qcow2 *q, Json *data)
{
    Json *list;

    if (!q->bitmaps->len) {
        return;
    }
    list = json_new_list();
    for (unsigned i = 0; i < q->bitmaps->len; i++) {
        const Qcow2BitmapEntry *e = q->bitmaps->pdata[i];
        Json *d = json_new_dict(), *flags = json_new_list();

        if (e->flags & FLAG_IN_USE) {
            json_append(flags, json_new_string("in-use"));
        }
        if (e->flags & FLAG_AUTO) {
            json_append(flags, json_new_string("auto"));
        }
        json_set(d, "flags", flags);
        json_set(d, "name", json_new_string(e->name));
        json_set(d, "granularity", json_new_uint(e->granularity));
        json_append(list, d);
    }
    json_set(data, "bitmaps", list);
}

/* Clusters that the bitmaps of SOURCE would need in an image with clusters of CLUSTER bytes. */
uint64_t qcow2_bitmaps_measure(const BlockNode *source, uint64_t cluster)
{
    uint64_t sum = 0, dir = 0;

    for (unsigned i = 0; i < source->bitmaps->len; i++) {
        const DirtyBitmap *b = source->bitmaps->pdata[i];
        uint64_t n = div_round_up(bitmap_bytes(b->length, b->granularity), cluster);

        if (b->persistent && !b->inconsistent) {
            sum += n * cluster + align_up(n * 8, cluster);
            dir += align_up(D_LEN + strlen(b->name), 8);
        }
    }
    return sum + align_up(dir, cluster);
}
