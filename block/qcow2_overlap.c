/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what a write must not lie over, as overlap-check= chooses it.
 *
 * Tables at one place are compared one by one.  Of active L2 tables and refcount blocks there are
 * many: a filter of bits by cluster number answers "no" for nearly every write; what it does not
 * rule out is looked for in the tables themselves.  A filter only gains bits, whenever a table gets
 * a place, and is made anew when it is full; so it may say "perhaps" too often and never "no" to
 * what is there.  Inactive L2 tables are known to the L1 tables of snapshots, on disk: their places
 * are read at the first write that has to know them and after each change of the snapshots.
 * Locking: q->lock.
 */
#include "block/qcow2.h"

#include "base/error.h"
#include "base/parse.h"

enum { BITS_PER_TABLE = 32, FEWEST_BITS = 1024, MOST_BITS = 1 << 26 };

#define CONSTANT (OVERLAP_MAIN_HEADER | OVERLAP_ACTIVE_L1 | OVERLAP_REFCOUNT_TABLE | \
                  OVERLAP_SNAPSHOT_TABLE | OVERLAP_BITMAP_DIRECTORY)
#define CACHED (CONSTANT | OVERLAP_ACTIVE_L2 | OVERLAP_REFCOUNT_BLOCK | OVERLAP_INACTIVE_L1)

/* ---- options ---- */

static const struct { const char *name; unsigned kinds; } modes[] = {
    { "none", 0 }, { "constant", CONSTANT }, { "cached", CACHED },
    { "all", CACHED | OVERLAP_INACTIVE_L2 },
};

static const struct { const char *option, *name; unsigned kind; } kinds[] = {
    { "overlap-check.main-header", "qcow2_header", OVERLAP_MAIN_HEADER },
    { "overlap-check.active-l1", "active L1 table", OVERLAP_ACTIVE_L1 },
    { "overlap-check.active-l2", "active L2 table", OVERLAP_ACTIVE_L2 },
    { "overlap-check.refcount-table", "refcount table", OVERLAP_REFCOUNT_TABLE },
    { "overlap-check.refcount-block", "refcount block", OVERLAP_REFCOUNT_BLOCK },
    { "overlap-check.snapshot-table", "snapshot table", OVERLAP_SNAPSHOT_TABLE },
    { "overlap-check.inactive-l1", "inactive L1 table", OVERLAP_INACTIVE_L1 },
    { "overlap-check.inactive-l2", "inactive L2 table", OVERLAP_INACTIVE_L2 },
    { "overlap-check.bitmap-directory", "bitmap directory", OVERLAP_BITMAP_DIRECTORY },
};

static const char *name_of(unsigned kind)
{
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].kind == kind) {
            return kinds[i].name;
        }
    }
    return "encryption header";
}

static bool find_mode(const char *name, unsigned *mask, GError **error)
{
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        if (g_str_equal(modes[i].name, name)) {
            *mask = modes[i].kinds;
            return true;
        }
    }
    return error_set(error, "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of "
                     "the following: none, constant, cached, all", name);
}

bool qcow2_overlap_take(Qcow2 *q, NodeOpts *opts, GError **error)
{
    g_autofree char *mode = node_opts_take(opts, "overlap-check");
    g_autofree char *template = node_opts_take(opts, "overlap-check.template");
    unsigned mask = CACHED;

    if (mode && template && !g_str_equal(mode, template)) {
        return error_set(error, "Conflicting values for qcow2 options 'overlap-check' ('%s') and "
                         "'overlap-check.template' ('%s')", mode, template);
    }
    if ((mode || template) && !find_mode(mode ?: template, &mask, error)) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        bool on = mask & kinds[i].kind;

        if (!node_opts_take_bool(opts, kinds[i].option, &on, error)) {
            return false;
        }
        mask = on ? mask | kinds[i].kind : mask & ~kinds[i].kind;
    }
    q->overlap.kinds = mask;
    return true;
}

/* ---- filters ---- */

static uint64_t filter_bit(const TableFilter *f, uint64_t cluster)
{
    return cluster * 0x9e3779b97f4a7c15ull >> f->shift;
}

static void filter_add(TableFilter *f, uint64_t cluster)
{
    uint64_t bit = filter_bit(f, cluster);

    f->words[bit / 64] |= BIT64(bit % 64);
    f->room = f->room ? f->room - 1 : 0;
}

static bool filter_has(const TableFilter *f, uint64_t cluster)
{
    uint64_t bit = filter_bit(f, cluster);

    return f->words[bit / 64] & BIT64(bit % 64);
}

static bool filter_has_any(const TableFilter *f, uint64_t first, uint64_t last)
{
    for (uint64_t c = first; c <= last; c++) {
        if (c - first > 64 || filter_has(f, c)) {
            return true;
        }
    }
    return false;
}

/* With room for as many tables again as there are. */
static void filter_fill(TableFilter *f, const Qcow2 *q, const uint64_t *table, uint32_t entries,
                        uint64_t mask)
{
    uint64_t used = 0, bits = FEWEST_BITS;

    for (uint32_t i = 0; i < entries; i++) {
        used += (table[i] & mask) != 0;
    }
    while (bits < MOST_BITS && bits < used * BITS_PER_TABLE * 2) {
        bits *= 2;
    }
    g_free(f->words);
    f->words = g_new0(uint64_t, bits / 64);
    f->shift = 64 - (unsigned)__builtin_ctzll(bits);
    f->room = UINT64_MAX;
    for (uint32_t i = 0; i < entries; i++) {
        if (table[i] & mask) {
            filter_add(f, (table[i] & mask) >> q->cluster_bits);
        }
    }
    f->room = bits < MOST_BITS ? MAX(used, FEWEST_BITS / BITS_PER_TABLE) : UINT64_MAX;
}

static void filter_clear(TableFilter *f)
{
    g_clear_pointer(&f->words, g_free);
}

static void filter_note(TableFilter *f, uint64_t cluster)
{
    if (f->words && f->room) {
        filter_add(f, cluster);
    } else {
        filter_clear(f);
    }
}

void qcow2_overlap_note_l2(Qcow2 *q, uint64_t table)
{
    filter_note(&q->overlap.l2_tables, table >> q->cluster_bits);
}

void qcow2_overlap_note_refblock(Qcow2 *q, uint64_t block)
{
    filter_note(&q->overlap.refblocks, block >> q->cluster_bits);
}

void qcow2_overlap_forget(Qcow2 *q)
{
    filter_clear(&q->overlap.l2_tables);
    filter_clear(&q->overlap.refblocks);
    g_clear_pointer(&q->overlap.inactive, g_array_unref);
}

/* ---- looking ---- */

static bool meets(uint64_t start, uint64_t len, uint64_t host, uint64_t bytes)
{
    return len && host < start + len && start < host + bytes;
}

static bool in_table(const Qcow2 *q, const uint64_t *table, uint64_t entries, uint64_t mask,
                     uint64_t host, uint64_t bytes)
{
    for (uint64_t i = 0; i < entries; i++) {
        if ((table[i] & mask) && meets(table[i] & mask, q->cluster_size, host, bytes)) {
            return true;
        }
    }
    return false;
}

static bool over_l2_table(Qcow2 *q, uint64_t host, uint64_t bytes)
{
    TableFilter *f = &q->overlap.l2_tables;

    if (!f->words) {
        filter_fill(f, q, q->l1, q->l1_entries, ENTRY_OFFSET_MASK);
    }
    return filter_has_any(f, host >> q->cluster_bits, (host + bytes - 1) >> q->cluster_bits) &&
           in_table(q, q->l1, q->l1_entries, ENTRY_OFFSET_MASK, host, bytes);
}

static bool over_refblock(Qcow2 *q, uint64_t host, uint64_t bytes)
{
    /* The table has room for a larger file than this one. */
    uint64_t blocks = (q->file->length >> (q->cluster_bits + q->rb_bits)) + 2;
    uint32_t entries = (uint32_t)MIN(q->reftable_entries, blocks);
    TableFilter *f = &q->overlap.refblocks;

    if (!f->words) {
        filter_fill(f, q, q->reftable, q->reftable_entries, REFTABLE_OFFSET_MASK);
    }
    return filter_has_any(f, host >> q->cluster_bits, (host + bytes - 1) >> q->cluster_bits) &&
           in_table(q, q->reftable, entries, REFTABLE_OFFSET_MASK, host, bytes);
}

static bool over_inactive_l1(const Qcow2 *q, uint64_t host, uint64_t bytes)
{
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];

        if (meets(s->l1_offset, (uint64_t)s->l1_entries * 8, host, bytes)) {
            return true;
        }
    }
    return false;
}

static int order(gconstpointer a, gconstpointer b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Sorted places of the L2 tables of all snapshots.  -EFBIG: their L1 tables have no room in the file. */
static int co_read_inactive(Qcow2 *q)
{
    g_autoptr(GArray) places = g_array_new(false, false, sizeof(uint64_t));
    uint64_t total = 0;

    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *s = q->snapshots->pdata[i];
        g_autofree uint64_t *l1 = g_new(uint64_t, s->l1_entries + 1);
        int ret;

        total += (uint64_t)s->l1_entries * 8;
        if (total > q->file->length) {
            return -EFBIG;
        }
        ret = s->l1_entries ? co_node_pread(q->file, s->l1_offset, l1, (size_t)s->l1_entries * 8) : 0;
        if (ret < 0) {
            return ret;
        }
        for (uint32_t k = 0; k < s->l1_entries; k++) {
            uint64_t place = GUINT64_FROM_BE(l1[k]) & ENTRY_OFFSET_MASK;

            if (place) {
                g_array_append_val(places, place);
            }
        }
    }
    g_array_sort(places, order);
    q->overlap.inactive = g_steal_pointer(&places);
    return 0;
}

/* What cannot be read cannot be spared: such a write is refused. */
static bool co_over_inactive_l2(Qcow2 *q, uint64_t host, uint64_t bytes)
{
    uint64_t low = 0, high;

    if (q->snapshots->len == 0) {
        return false;
    }
    if (!q->overlap.inactive && co_read_inactive(q) < 0) {
        return true;
    }
    high = q->overlap.inactive->len;
    while (low < high) {                   /* the first that ends behind HOST */
        uint64_t middle = low + (high - low) / 2;

        if (g_array_index(q->overlap.inactive, uint64_t, middle) + q->cluster_size <= host) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < q->overlap.inactive->len &&
           g_array_index(q->overlap.inactive, uint64_t, low) < host + bytes;
}

const char *co_qcow2_overlaps(Qcow2 *q, unsigned own, uint64_t host, uint64_t bytes)
{
    unsigned mask = q->overlap.kinds & ~own;
    const struct { unsigned kind; uint64_t start, len; } areas[] = {
        { OVERLAP_MAIN_HEADER, 0, q->cluster_size },
        { OVERLAP_ACTIVE_L1, q->l1_offset, (uint64_t)q->l1_entries * 8 },
        { OVERLAP_REFCOUNT_TABLE, q->reftable_offset, (uint64_t)q->reftable_entries * 8 },
        { OVERLAP_SNAPSHOT_TABLE, q->snapshots_offset, q->snapshots_size },
        { OVERLAP_BITMAP_DIRECTORY, q->bitmaps_offset, q->bitmaps_size },
        { OVERLAP_MAIN_HEADER, q->crypt.offset, q->crypt.bytes },
    };

    for (unsigned i = 0; i < ARRAY_LEN(areas) && mask; i++) {
        if ((mask & areas[i].kind) && meets(areas[i].start, areas[i].len, host, bytes)) {
            return name_of(i == ARRAY_LEN(areas) - 1 ? 0 : areas[i].kind);
        }
    }
    if ((mask & OVERLAP_ACTIVE_L2) && over_l2_table(q, host, bytes)) {
        return name_of(OVERLAP_ACTIVE_L2);
    }
    if ((mask & OVERLAP_REFCOUNT_BLOCK) && over_refblock(q, host, bytes)) {
        return name_of(OVERLAP_REFCOUNT_BLOCK);
    }
    if ((mask & OVERLAP_INACTIVE_L1) && over_inactive_l1(q, host, bytes)) {
        return name_of(OVERLAP_INACTIVE_L1);
    }
    if ((mask & OVERLAP_INACTIVE_L2) && co_over_inactive_l2(q, host, bytes)) {
        return name_of(OVERLAP_INACTIVE_L2);
    }
    return NULL;
}

bool qcow2_overlap_certainly_none(const Qcow2 *q, uint64_t host)
{
    const TableFilter *l2_tables = &q->overlap.l2_tables, *refblocks = &q->overlap.refblocks;
    uint64_t size = q->cluster_size, cluster = host >> q->cluster_bits;

    return host >= size && !q->snapshots->len && l2_tables->words && refblocks->words &&
           !meets(q->l1_offset, (uint64_t)q->l1_entries * 8, host, size) &&
           !meets(q->reftable_offset, (uint64_t)q->reftable_entries * 8, host, size) &&
           !meets(q->bitmaps_offset, q->bitmaps_size, host, size) &&
           !meets(q->crypt.offset, q->crypt.bytes, host, size) &&
           !meets(q->snapshots_offset, q->snapshots_size, host, size) &&
           !filter_has(l2_tables, cluster) && !filter_has(refblocks, cluster);
}
