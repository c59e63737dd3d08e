/* SPDX-License-Identifier: MIT */
/*
 * qcow2 amend: changing what create decided: compatibility level, refcount width, size, data file,
 * keys.
 * Not modelled: going back to version 2 with internal snapshots or bitmaps.
 * Locking: runs alone; q->lock for the tables.
 */
#include "block/qcow2.h"

typedef struct AmendArgs {
    char *compat, *data_file;
    bool backing;
    NodeOpts *encrypt;
    bool lazy, raw, force;
    uint64_t size, bits;
    int version;
} AmendArgs;

static void amend_clear(AmendArgs *a)
{
    g_free(a->compat);
    g_free(a->data_file);
    node_opts_free(a->encrypt);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AmendArgs, amend_clear)

static bool take_args(Qcow2 *q, NodeOpts *opts, AmendArgs *a, GError **error)
{
    a->compat = node_opts_take(opts, "compat");
    a->backing = node_opts_get(opts, "backing_file") || node_opts_get(opts, "backing_fmt");
    g_free(node_opts_take(opts, "backing_file"));
    g_free(node_opts_take(opts, "backing_fmt"));
    a->data_file = node_opts_take(opts, "data_file");
    a->encrypt = node_opts_take_prefix(opts, "encrypt");
    a->lazy = q->compat & COMPAT_LAZY_REFCOUNTS;
    a->raw = q->data_file_raw;
    a->size = q->node->length;
    a->bits = q->refcount_bits;
    a->version = q->version;
    if (!node_opts_take_bool(opts, "lazy_refcounts", &a->lazy, error) ||
        !node_opts_take_size(opts, "size", &a->size, error) ||
        !node_opts_take_uint(opts, "refcount_bits", &a->bits, error) ||
        !node_opts_take_bool(opts, "data_file_raw", &a->raw, error) ||
        !node_opts_take_bool(opts, "force", &a->force, error)) {
        return false;
    }
    if (!node_opts_empty(opts)) {
        return error_set(error, "Invalid parameter '%s'; these options are only supported for "
                         "image creation", node_opts_any_key(opts));
    }
    if (a->compat) {
        a->version = g_str_equal(a->compat, "0.10") || g_str_equal(a->compat, "v2") ? 2
                     : g_str_equal(a->compat, "1.1") || g_str_equal(a->compat, "v3") ? 3 : 0;
    }
    return a->version || error_set(error, "Unknown compatibility level '%s'", a->compat);
}

/* All questions before the first change. */
static bool args_ok(const Qcow2 *q, const AmendArgs *a, GError **error)
{
    bool down = a->version == 2 && q->version == 3;
    const struct { bool bad; const char *why; } rules[] = {
        { a->backing, "Cannot amend the backing file; use 'rhea-img rebase' instead" },
        { !is_pow2(a->bits) || a->bits > 64, "Refcount width must be a power of two and may not "
          "exceed 64 bits" },
        { a->version == 2 && a->bits != 16, "compat=0.10 requires refcount_bits=16" },
        { a->version == 2 && a->lazy, "Lazy refcounts only supported with compatibility level "
          "1.1 and above (use compat=1.1 or greater)" },
        { a->raw && !q->data_file_raw, "data-file-raw cannot be set on existing images" },
        { a->data_file && !q->has_data_file, "data-file can only be set for images that use an "
          "external data file" },
        { down && q->has_data_file, "Cannot downgrade an image with a data file" },
        { down && q->subclusters > 1, "Cannot downgrade an image with extended L2 tables" },
        { down && q->compression, "Cannot downgrade an image with zstd compression" },
        { down && q->snapshots->len, "Cannot downgrade an image with internal snapshots; delete "
          "them or convert the image" },
        { down && q->node->bitmaps->len, "Cannot downgrade an image with bitmaps; remove them "
          "first" },
        { !node_opts_empty(a->encrypt) && q->crypt.method != CRYPT_LUKS, "Only LUKS encryption "
          "options can be amended for qcow2 with 'encrypt.*'; the image has none" },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rules); i++) {
        if (rules[i].bad) {
            return error_set(error, "%s", rules[i].why);
        }
    }
    return true;
}

/* ---- refcount width ---- */

typedef struct Widths {
    uint64_t *counts, clusters;
} Widths;

static uint64_t old_count(void *opaque, uint64_t cluster)
{
    const Widths *w = opaque;

    return cluster < w->clusters ? w->counts[cluster] : 0;
}

/* The counts as they are, but for those of the structure that is given up. */
static int co_read_counts(Qcow2 *q, Widths *w)
{
    uint64_t first = q->reftable_offset >> q->cluster_bits;
    uint64_t table = div_round_up((uint64_t)q->reftable_entries * 8, q->cluster_size);
    int ret = 0;

    for (uint64_t i = 0; i < w->clusters && ret == 0; i++) {
        ret = co_refcount_get(q, i, &w->counts[i]);
    }
    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        uint64_t block = (q->reftable[i] & REFTABLE_OFFSET_MASK) >> q->cluster_bits;

        if (block && block < w->clusters) {
            w->counts[block] = 0;
        }
    }
    for (uint64_t i = first; i < first + table && i < w->clusters; i++) {
        w->counts[i] = 0;
    }
    return ret;
}

static bool co_change_width(Qcow2 *q, unsigned order, GError **error)
{
    uint64_t max = order == 6 ? INT64_MAX : BIT64(1u << order) - 1;
    Widths w = { 0 };
    int ret = 0;

    co_mutex_lock(&q->lock);
    for (unsigned i = 0; i < 2 && ret == 0; i++) {
        ret = co_qcow2_writeback(q);       /* and the counts of what the first one freed */
    }
    /* Blocks may count clusters behind the end of the file: places given, but not yet written. */
    w.clusters = div_round_up(q->file->length, q->cluster_size);
    for (uint32_t i = 0; i < q->reftable_entries; i++) {
        if (q->reftable[i] & REFTABLE_OFFSET_MASK) {
            w.clusters = MAX(w.clusters, (i + 1ull) << q->rb_bits);
        }
    }
    w.counts = g_try_new0(uint64_t, w.clusters + 1);
    ret = ret < 0 ? ret : w.counts ? co_read_counts(q, &w) : -ENOMEM;
    for (uint64_t i = 0; i < w.clusters && ret == 0; i++) {
        if (w.counts[i] > max) {
            error_set(error, "Cannot decrease refcount entry width to %u bits: Cluster at offset "
                      "0x%" PRIx64 " has a refcount of %" PRIu64, 1u << order,
                      i << q->cluster_bits, w.counts[i]);
            ret = -ERANGE;
        }
    }
    while (w.clusters && w.counts && !w.counts[w.clusters - 1]) {
        w.clusters--;
    }
    ret = ret < 0 ? ret : co_refcounts_replace(q, order,
                                               MAX(w.clusters, div_round_up(q->file->length,
                                                                            q->cluster_size)),
                                               old_count, &w);
    co_mutex_unlock(&q->lock);
    g_free(w.counts);
    return ret == 0 || ret == -ERANGE
               ? ret == 0 : error_set_errno(error, -ret, "Could not change the refcount width");
}

/* ---- version 2 ---- */

/* Clusters that read as zeroes by a flag, which version 2 does not know. */
static int co_expand_zeroes(Qcow2 *q)
{
    BlockNode *node = q->node;
    g_autofree void *zeroes = g_malloc0(q->cluster_size);
    uint64_t cs = q->cluster_size, end = align_up(node->length, cs);
    int ret = 0;

    for (uint64_t at = 0; at < end && ret == 0; at += cs) {
        Slice *slice;
        unsigned index, left;
        uint64_t entry = 0;

        co_mutex_lock(&q->lock);
        ret = co_l2_get(q, at, false, &slice, &index, &left);
        if (ret == 0 && slice) {
            entry = l2_entry(q, slice, index);
        } else if (ret == 0) {
            at += (uint64_t)(left - 1) << q->cluster_bits;
        }
        co_mutex_unlock(&q->lock);
        if (ret < 0 || (entry & ENTRY_COMPRESSED) || !(entry & ENTRY_ZERO)) {
            continue;
        }
        if (node->backing_file) {
            IO_BUF(span, zeroes, MIN(cs, node->length - at));

            ret = co_qcow2_pwritev(node, at, span, 0);
        } else {
            ret = co_qcow2_discard_clusters(q, at, at + cs, true);
        }
    }
    return ret;
}

/* From now on each count is on disk when it is needed there. */
static bool co_be_exact(Qcow2 *q, GError **error)
{
    int ret;

    co_mutex_lock(&q->lock);
    ret = co_qcow2_counts_settle(q);
    q->lazy = q->lazy && ret < 0;
    co_mutex_unlock(&q->lock);
    return ret == 0 || error_set_errno(error, -ret, "Could not write the refcounts");
}

static bool co_set_header(Qcow2 *q, const AmendArgs *a, GError **error)
{
    int ret = a->version < q->version ? co_expand_zeroes(q) : 0;

    co_mutex_lock(&q->lock);
    for (unsigned i = 0; i < 2 && ret == 0 && a->version < q->version; i++) {
        ret = co_qcow2_writeback(q);
        ret = ret < 0 ? ret : co_node_flush(q->file);
    }
    if (ret == 0) {
        q->version = a->version;
        q->header_length = a->version >= 3 ? MAX(q->header_length, 104) : 72;
        q->compat = a->lazy ? q->compat | COMPAT_LAZY_REFCOUNTS
                            : q->compat & ~(uint64_t)COMPAT_LAZY_REFCOUNTS;
        if (a->version < 3) {
            q->incompat = q->compat = q->autoclear = 0;
        }
        if (!a->raw) {
            q->data_file_raw = false;
            q->autoclear &= ~(uint64_t)AUTOCLEAR_DATA_FILE_RAW;
        }
        if (a->data_file) {
            g_free(q->data_file_name);
            q->data_file_name = *a->data_file ? g_strdup(a->data_file) : NULL;
        }
        ret = co_header_write(q);
    }
    co_mutex_unlock(&q->lock);
    return ret == 0 || error_set_errno(error, -ret, "Could not update the qcow2 header");
}

bool qcow2_amend(BlockNode *node, NodeOpts *opts, GError **error)
{
    Qcow2 *q = node->state;
    g_auto(AmendArgs) a = { 0 };

    if (!take_args(q, opts, &a, error) || !args_ok(q, &a, error) || !co_be_exact(q, error)) {
        return false;
    }
    if (!node_opts_empty(a.encrypt)) {
        if (!co_luks_amend(q->crypt.luks, a.encrypt, a.force, error)) {
            return false;
        }
        if (!node_opts_empty(a.encrypt)) {
            return error_set(error, "Invalid parameter 'encrypt.%s'",
                             node_opts_any_key(a.encrypt));
        }
    }
    /* Version 3 comes before a width that only it has, version 2 after the one it needs. */
    if (a.version > q->version && !co_set_header(q, &a, error)) {
        return false;
    }
    if (a.bits != q->refcount_bits &&
        !co_change_width(q, (unsigned)__builtin_ctzll(a.bits), error)) {
        return false;
    }
    if (!co_set_header(q, &a, error)) {
        return false;
    }
    return a.size == node->length || co_node_truncate(node, a.size, true, "off", error);
}

const char qcow2_amend_help[] =
    "  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])\n"
    "  data_file=<str>        - File name of an external data file\n"
    "  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image\n"
    LUKS_AMEND_HELP("encrypt.")
    "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates\n"
    "  refcount_bits=<num>    - Width of a reference count entry in bits\n"
    "  size=<size>            - Virtual disk size\n";
