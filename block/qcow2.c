/* SPDX-License-Identifier: MIT */
/*
 * qcow2: header, open and close, information.
 * Spec: the qcow2 interoperability document (versions 2 and 3).
 * Locking: q->lock for tables; open runs alone.
 */
#include "block/qcow2.h"

#include "base/log.h"

#define EXT_END 0u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURES 0x6803f857u
#define EXT_BITMAPS 0x23852875u
#define EXT_CRYPT 0x0537be77u
#define EXT_DATA_FILE 0x44415441u
#define KNOWN_INCOMPAT 31u
#define KNOWN_AUTOCLEAR (AUTOCLEAR_BITMAPS | AUTOCLEAR_DATA_FILE_RAW)
#define MAX_EXTENSIONS 64u

/* ---- header ---- */

/* clang-format off */
static const struct { uint8_t type, bit; const char *name; } features[] = {
    { 0, 0, "dirty bit" }, { 0, 1, "corrupt bit" }, { 0, 2, "external data file" },
    { 0, 3, "compression type" }, { 0, 4, "extended L2 entries" },
    { 1, 0, "lazy refcounts" }, { 2, 0, "bitmaps" }, { 2, 1, "raw external data" },
};
/* clang-format on */

static size_t put_ext(uint8_t *buf, size_t at, size_t room, uint32_t type, const void *data,
                      size_t len)
{
    if (at + 8 + align_up(len, 8) > room) {
        return SIZE_MAX;
    }
    be32_store(buf + at, type);
    be32_store(buf + at + 4, (uint32_t)len);
    if (len) {
        memcpy(buf + at + 8, data, len);
    }
    return at + 8 + align_up(len, 8);
}

static size_t put_extensions(Qcow2 *q, uint8_t *buf, size_t at, size_t room, bool with_features)
{
    const char *format = q->node->backing_format;
    uint8_t table[ARRAY_LEN(features) * 48] = { 0 };

    if (format) {
        at = put_ext(buf, at, room, EXT_BACKING_FORMAT, format, strlen(format));
    }
    if (at != SIZE_MAX && q->data_file_name) {
        at = put_ext(buf, at, room, EXT_DATA_FILE, q->data_file_name, strlen(q->data_file_name));
    }
    if (at != SIZE_MAX && with_features && q->version >= 3) {
        for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
            table[i * 48] = features[i].type;
            table[i * 48 + 1] = features[i].bit;
            memcpy(table + i * 48 + 2, features[i].name, strlen(features[i].name));
        }
        at = put_ext(buf, at, room, EXT_FEATURES, table, sizeof(table));
    }
    if (at != SIZE_MAX && q->bitmaps_count) {
        uint8_t ext[24] = { 0 };

        be32_store(ext, q->bitmaps_count);
        be64_store(ext + 8, q->bitmaps_size);
        be64_store(ext + 16, q->bitmaps_offset);
        at = put_ext(buf, at, room, EXT_BITMAPS, ext, sizeof(ext));
    }
    if (at != SIZE_MAX && q->crypt.method == CRYPT_LUKS) {
        uint8_t ext[16];

        be64_store(ext, q->crypt.offset);
        be64_store(ext + 8, q->crypt.bytes);
        at = put_ext(buf, at, room, EXT_CRYPT, ext, sizeof(ext));
    }
    for (unsigned i = 0; at != SIZE_MAX && i < q->extensions->len; i++) {
        gsize len;
        const uint8_t *raw = g_bytes_get_data(q->extensions->pdata[i], &len);

        at = put_ext(buf, at, room, be32_load(raw), raw + 4, len - 4);
    }
    return at == SIZE_MAX ? at : put_ext(buf, at, room, EXT_END, NULL, 0);
}

int co_header_write(Qcow2 *q)
{
    BlockNode *node = q->node;
    g_autofree uint8_t *buf = g_malloc0(q->cluster_size);
    size_t backing = node->backing_file ? strlen(node->backing_file) : 0;
    size_t header = q->version >= 3 ? MAX(q->header_length, 112) : 72, at;

    be32_store(buf, QCOW2_MAGIC);
    be32_store(buf + 4, (uint32_t)q->version);
    be32_store(buf + 20, q->cluster_bits);
    be64_store(buf + 24, node->length);
    be32_store(buf + 32, q->crypt.method);
    be32_store(buf + 36, q->l1_entries);
    be64_store(buf + 40, q->l1_offset);
    be64_store(buf + 48, q->reftable_offset);
    be32_store(buf + 56, (uint32_t)div_round_up((uint64_t)q->reftable_entries * 8,
                                                q->cluster_size));
    be32_store(buf + 60, q->snapshots->len);
    be64_store(buf + 64, q->snapshots_offset);
    if (q->version >= 3) {
        be64_store(buf + 72, q->incompat);
        be64_store(buf + 80, q->compat);
        be64_store(buf + 88, q->autoclear);
        be32_store(buf + 96, q->refcount_order);
        be32_store(buf + 100, (uint32_t)header);
        buf[104] = q->compression;
    }
    at = put_extensions(q, buf, header, q->cluster_size - backing, true);
    if (at == SIZE_MAX) {
        memset(buf + header, 0, q->cluster_size - header);
        at = put_extensions(q, buf, header, q->cluster_size - backing, false);
    }
    if (at == SIZE_MAX) {
        return -ENOSPC;
    }
    if (backing) {
        be64_store(buf + 8, at);
        be32_store(buf + 16, (uint32_t)backing);
        memcpy(buf + at, node->backing_file, backing);
    }
    return co_node_pwrite(q->file, 0, buf, q->cluster_size, 0);
}

int co_set_incompat(Qcow2 *q, uint64_t bit, bool on)
{
    uint64_t old = q->incompat;
    int ret;

    if (q->version < 3) {
        return 0;
    }
    q->incompat = on ? old | bit : old & ~bit;
    if (q->incompat == old) {
        return 0;
    }
    ret = on ? 0 : co_refcounts_write(q);
    ret = ret < 0 ? ret : co_node_flush(q->file);
    if (ret == 0) {
        ret = co_header_write(q);
    }
    if (ret == 0) {
        ret = co_node_flush(q->file);
    }
    if (ret < 0) {
        q->incompat = old;
    } else if (!on && (bit & INCOMPAT_DIRTY)) {
        q->late = false;
    }
    return ret;
}

static int qcow2_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && be32_load(head) == QCOW2_MAGIC && be32_load(head + 4) >= 2 ? 100 : 0;
}

static bool corrupt(GError **error, const char *what)
{
    return error_set(error, "The qcow2 header is damaged: %s", what);
}

static bool parse_features(Qcow2 *q, const uint8_t *h, GError **error)
{
    uint64_t unknown;

    q->incompat = be64_load(h + 72);
    q->compat = be64_load(h + 80);
    q->autoclear = be64_load(h + 88);
    q->refcount_order = be32_load(h + 96);
    q->header_length = be32_load(h + 100);
    if (q->header_length < 104 || q->header_length > q->cluster_size) {
        return corrupt(error, "header length");
    }
    unknown = q->incompat & ~(uint64_t)KNOWN_INCOMPAT;
    if (unknown) {
        return error_set(error, "Unsupported qcow2 feature(s): incompatible bits 0x%" PRIx64,
                         unknown);
    }
    q->compression = q->header_length > 104 ? h[104] : 0;
    if (q->compression > 1) {
        return error_set(error, "qcow2: unknown compression type: %u", q->compression);
    }
    if (!(q->incompat & INCOMPAT_COMPRESSION) != !q->compression) {
        return corrupt(error, "compression type and its feature bit disagree");
    }
    if (q->refcount_order > 6) {
        return error_set(error, "Reference count entry width too large; may not exceed 64 bits");
    }
    return true;
}

void qcow2_note_sizes(Qcow2 *q)
{
    q->cluster_size = 1u << q->cluster_bits;
    q->l2_entry_size = q->incompat & INCOMPAT_EXT_L2 ? 16 : 8;
    q->subclusters = q->incompat & INCOMPAT_EXT_L2 ? 32 : 1;
    q->subcluster_size = q->cluster_size / q->subclusters;
    q->l2_bits = q->cluster_bits - (q->l2_entry_size == 16 ? 4 : 3);
    q->refcount_bits = 1u << q->refcount_order;
    q->rb_bits = q->cluster_bits + 3 - q->refcount_order;
    q->slice_size = MIN(q->cluster_size, 4096);
}

static bool parse_header(Qcow2 *q, const uint8_t *h, GError **error)
{
    if (be32_load(h) != QCOW2_MAGIC) {
        return error_set(error, "Image is not in qcow2 format");
    }
    q->version = (int)be32_load(h + 4);
    if (q->version < 2 || q->version > 3) {
        return error_set(error, "Unsupported qcow2 version %u", (unsigned)q->version);
    }
    q->cluster_bits = be32_load(h + 20);
    if (q->cluster_bits < 9 || q->cluster_bits > 21) {
        return error_set(error, "Unsupported cluster size: 2^%u", q->cluster_bits);
    }
    q->cluster_size = 1u << q->cluster_bits;
    q->refcount_order = 4;
    q->header_length = 72;
    if (q->version >= 3 && !parse_features(q, h, error)) {
        return false;
    }
    if ((q->incompat & INCOMPAT_EXT_L2) && q->cluster_bits < 14) {
        return error_set(error, "Extended L2 entries need clusters of at least 16384 bytes");
    }
    qcow2_note_sizes(q);
    if (be32_load(h + 32) > CRYPT_LUKS) {
        return error_set(error, "Unsupported encryption method %u", be32_load(h + 32));
    }
    q->crypt.method = be32_load(h + 32);
    q->node->encrypted = q->crypt.method != CRYPT_NONE;
    q->node->length = be64_load(h + 24);
    if (q->node->length > INT64_MAX - TIB) {
        return error_set(error, "Image size is too large");
    }
    return true;
}

/* TABLE at OFFSET, aligned, within what a file can be. */
static bool table_ok(const Qcow2 *q, uint64_t offset, uint64_t bytes, uint64_t max,
                     const char *what, GError **error)
{
    if (bytes > max) {
        return error_set(error, "%s too large: %" PRIu64 " bytes, at most %" PRIu64
                         " are allowed", what, bytes, max);
    }
    if ((offset & (q->cluster_size - 1)) || offset > INT64_MAX - bytes) {
        return error_set(error, "%s offset invalid: 0x%" PRIx64, what, offset);
    }
    return true;
}

static bool read_be64(BlockNode *file, uint64_t offset, uint64_t count, uint64_t **out,
                      const char *what, GError **error)
{
    int ret;

    *out = g_try_new0(uint64_t, count + 1);
    if (!*out) {
        return error_set(error, "Not enough memory for the %s", what);
    }
    ret = co_node_pread(file, offset, *out, count * 8);
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the %s", what);
    }
    for (uint64_t i = 0; i < count; i++) {
        (*out)[i] = GUINT64_FROM_BE((*out)[i]);
    }
    return true;
}

static bool read_extensions(Qcow2 *q, const uint8_t *h, size_t end, GError **error)
{
    size_t at = q->version >= 3 ? q->header_length : 72;
    unsigned count = 0;

    while (at + 8 <= end) {
        uint32_t type = be32_load(h + at), len = be32_load(h + at + 4);
        const uint8_t *data = h + at + 8;

        if (type == EXT_END) {
            break;
        }
        if (len > end - at - 8 || ++count > MAX_EXTENSIONS) {
            return corrupt(error, "a header extension is too long");
        }
        switch (type) {
        case EXT_BACKING_FORMAT:
            g_free(q->node->backing_format);
            q->node->backing_format = g_strndup((const char *)data, len);
            break;
        case EXT_DATA_FILE:
            g_free(q->data_file_name);
            q->data_file_name = g_strndup((const char *)data, len);
            break;
        case EXT_FEATURES:
            break;
        case EXT_BITMAPS:
            if (len != 24) {
                return corrupt(error, "bitmaps extension");
            }
            if (q->autoclear & AUTOCLEAR_BITMAPS) {
                q->bitmaps_count = be32_load(data);
                q->bitmaps_size = be64_load(data + 8);
                q->bitmaps_offset = be64_load(data + 16);
                if (q->bitmaps_size > 16 * MIB ||
                    (q->bitmaps_offset & (q->cluster_size - 1))) {
                    return corrupt(error, "bitmaps directory");
                }
            }
            break;
        case EXT_CRYPT:
            if (len != 16) {
                return corrupt(error, "encryption header extension");
            }
            q->crypt.offset = be64_load(data);
            q->crypt.bytes = be64_load(data + 8);
            break;
        default: {
            g_autofree uint8_t *raw = g_malloc(len + 4);

            be32_store(raw, type);
            memcpy(raw + 4, data, len);
            g_ptr_array_add(q->extensions, g_bytes_new(raw, len + 4));
        }
        }
        at += 8 + align_up(len, 8);
    }
    return true;
}

static bool read_backing(Qcow2 *q, const uint8_t *h, size_t *ext_end, GError **error)
{
    uint64_t offset = be64_load(h + 8);
    uint32_t len = be32_load(h + 16);

    *ext_end = q->cluster_size;
    if (!offset) {
        return true;
    }
    if (len > 1023 || offset > q->cluster_size || len > q->cluster_size - offset) {
        return corrupt(error, "backing file name too long or outside of the first cluster");
    }
    *ext_end = offset;
    if (len) {
        q->node->backing_file = g_strndup((const char *)h + offset, len);
    }
    return true;
}

static bool open_data_file(Qcow2 *q, NodeOpts *opts, GError **error)
{
    BlockNode *node = q->node;
    g_autofree char *full = NULL;
    int flags = (node->flags & NODE_OPEN_HOST_IO) | NODE_OPEN_PROTOCOL |
                (node->read_only ? 0 : NODE_OPEN_RDWR);

    q->data = q->file;
    if (!(q->incompat & INCOMPAT_DATA_FILE)) {
        return true;
    }
    q->has_data_file = true;
    q->data_file_raw = q->autoclear & AUTOCLEAR_DATA_FILE_RAW;
    if (!node_opts_get(opts, "data-file") && !node_opts_get(opts, "data-file.filename")) {
        if (!q->data_file_name) {
            return error_set(error, "'data-file' is required for this image");
        }
        full = path_combine(node->filename, q->data_file_name);
    }
    node->data_file = node_open_child(node, "data-file", full, opts, flags, error);
    if (!node->data_file) {
        return false;
    }
    q->data = node->data_file->node;
    return true;
}

static bool repair_dirty(Qcow2 *q, GError **error)
{
    CheckResult result = { 0 };

    if (!(q->incompat & INCOMPAT_DIRTY) || q->node->read_only ||
        (q->node->flags & NODE_OPEN_CHECK)) {
        return true;
    }
    if (!qcow2_check(q->node, CHECK_FIX_ERRORS | CHECK_FIX_LEAKS, &result, error)) {
        g_prefix_error(error, "Could not repair dirty image: ");
        return false;
    }
    if (result.check_errors || result.corruptions) {
        return error_set(error, "Could not repair dirty image: %" PRIu64 " errors remain; see "
                         "what 'rhea-img check' says", result.corruptions + result.check_errors);
    }
    return true;
}

/* What the first writable moment of an image asks for. */
static bool prepare_writing(Qcow2 *q, GError **error)
{
    BlockNode *node = q->node;
    int ret;

    if ((q->incompat & INCOMPAT_CORRUPT) && !node->read_only &&
        !(node->flags & NODE_OPEN_CHECK)) {
        return error_set(error, "Image is corrupt; cannot be opened read/write");
    }
    if (!node->read_only && (q->autoclear & ~(uint64_t)KNOWN_AUTOCLEAR) &&
        !(node->flags & NODE_OPEN_CHECK)) {
        /* Written by software that does not maintain them: the format's own way to say so. */
        q->autoclear &= KNOWN_AUTOCLEAR;
        ret = co_header_write(q);
        if (ret < 0) {
            return error_set_errno(error, -ret, "Could not update the qcow2 header");
        }
    }
    return repair_dirty(q, error);
}

static bool take_slice_size(Qcow2 *q, NodeOpts *opts, GError **error)
{
    uint64_t entry = q->slice_size;

    if (!node_opts_take_size(opts, "l2-cache-entry-size", &entry, error)) {
        return false;
    }
    if (!is_pow2(entry) || entry < 512 || entry > q->cluster_size) {
        return error_set(error, "L2 cache entry size must be a power of two between 512 and the "
                         "cluster size (%u)", q->cluster_size);
    }
    q->slice_size = (uint32_t)entry;
    return true;
}

/* Of cache-size the refcounts get four slices at least, and what the L2 tables do not need. */
static bool take_cache_sizes(Qcow2 *q, NodeOpts *opts, GError **error)
{
    uint64_t l2 = 32 * MIB, ref = 4 * MIB, total = 0, interval = 0;
    uint64_t need = div_round_up(q->node->length, q->cluster_size) * q->l2_entry_size;
    bool has_total = node_opts_get(opts, "cache-size") != NULL;
    bool has_l2 = node_opts_get(opts, "l2-cache-size") != NULL;
    bool has_ref = node_opts_get(opts, "refcount-cache-size") != NULL;

    if (!take_slice_size(q, opts, error) ||
        !node_opts_take_size(opts, "cache-size", &total, error) ||
        !node_opts_take_size(opts, "l2-cache-size", &l2, error) ||
        !node_opts_take_size(opts, "refcount-cache-size", &ref, error) ||
        !node_opts_take_uint(opts, "cache-clean-interval", &interval, error)) {
        return false;
    }
    if (has_total && has_l2 && has_ref) {
        return error_set(error, "cache-size, l2-cache-size and refcount-cache-size may not be set "
                         "at the same time");
    }
    if (has_total && ((has_l2 && l2 > total) || (has_ref && ref > total))) {
        return error_set(error, "%s may not exceed cache-size",
                         has_l2 ? "l2-cache-size" : "refcount-cache-size");
    }
    if (interval > UINT32_MAX) {
        return error_set(error, "Cache clean interval too big: at most %u seconds", UINT32_MAX);
    }
    if (has_total) {
        l2 = has_l2 ? l2 : has_ref ? total - ref : MIN(total, MAX(need, 64 * KIB));
        ref = has_ref ? ref : total - l2;
    }
    l2 = MIN(l2, MAX(need, 64 * KIB));
    slice_cache_init(&q->l2_cache, (unsigned)(MIN(l2, GIB) / q->slice_size));
    slice_cache_init(&q->ref_cache, (unsigned)(MIN(ref, GIB) / q->slice_size));
    q->l2_cache.keep_us = q->ref_cache.keep_us = (int64_t)interval * G_USEC_PER_SEC;
    return true;
}

/* What a request frees goes to the host with discard=unmap, a snapshot's clusters always, others
 * stay for the next allocation; unless the user says otherwise. */
static bool take_discards(Qcow2 *q, NodeOpts *opts, GError **error)
{
    static const char *const keys[] = {
        [FREE_REQUEST] = "pass-discard-request", [FREE_SNAPSHOT] = "pass-discard-snapshot",
        [FREE_OTHER] = "pass-discard-other",
    };

    q->pass_discard[FREE_REQUEST] = -1;
    q->pass_discard[FREE_SNAPSHOT] = 1;
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
        bool given = node_opts_get(opts, keys[i]) != NULL, on = false;

        if (!node_opts_take_bool(opts, keys[i], &on, error)) {
            return false;
        }
        if (given) {
            q->pass_discard[i] = on;
        }
    }
    return true;
}

/* What the image says, unless the user says otherwise. */
static bool take_lazy(Qcow2 *q, NodeOpts *opts, GError **error)
{
    bool lazy = q->compat & COMPAT_LAZY_REFCOUNTS;

    if (!node_opts_take_bool(opts, "lazy-refcounts", &lazy, error)) {
        return false;
    }
    if (lazy && q->version < 3) {
        return error_set(error, "Lazy refcounts require a qcow2 image with at least qemu 1.1 "
                         "compatibility level");
    }
    q->lazy = lazy;
    return true;
}

/* What a user may choose for an image that is open: caches, discards, when counts are written,
 * what is checked. */
static bool take_options(Qcow2 *q, NodeOpts *opts, GError **error)
{
    return take_cache_sizes(q, opts, error) && take_discards(q, opts, error) &&
           take_lazy(q, opts, error) && qcow2_overlap_take(q, opts, error);
}

static const char *const qcow2_changeable[] = {
    "lazy-refcounts", "cache-size", "l2-cache-size", "refcount-cache-size", "l2-cache-entry-size",
    "cache-clean-interval", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other",
    "overlap-check", "overlap-check.template", "overlap-check.main-header", "overlap-check.active-l1",
    "overlap-check.active-l2", "overlap-check.refcount-table", "overlap-check.refcount-block",
    "overlap-check.snapshot-table", "overlap-check.inactive-l1", "overlap-check.inactive-l2",
    "overlap-check.bitmap-directory", NULL,
};

static bool qcow2_change_options(BlockNode *node, NodeOpts *opts, GError **error)
{
    Qcow2 *q = node->state, wanted = *q;
    bool ok;
    int ret;

    memset(&wanted.l2_cache, 0, sizeof(wanted.l2_cache));
    memset(&wanted.ref_cache, 0, sizeof(wanted.ref_cache));
    qcow2_note_sizes(&wanted);
    ok = take_options(&wanted, opts, error);
    if (ok) {
        co_mutex_lock(&q->lock);
        ret = q->broken ? -EIO : co_qcow2_counts_settle(q);
        ret = ret < 0 || node->read_only ? ret : co_refcounts_write(q);
        ok = ret == 0 || error_set_errno(error, -ret, "Could not write the tables of '%s'",
                                         node->filename);
        if (ok) {
            slice_cache_clear(&q->l2_cache);
            q->l2_cache = wanted.l2_cache;
            memset(&wanted.l2_cache, 0, sizeof(wanted.l2_cache));
            slice_cache_clear(&q->ref_cache);
            q->ref_cache = wanted.ref_cache;
            memset(&wanted.ref_cache, 0, sizeof(wanted.ref_cache));
            q->slice_size = wanted.slice_size;
            q->lazy = wanted.lazy;
            q->overlap.kinds = wanted.overlap.kinds;
            memcpy(q->pass_discard, wanted.pass_discard, sizeof(q->pass_discard));
        }
        co_mutex_unlock(&q->lock);
    }
    slice_cache_clear(&wanted.l2_cache);
    slice_cache_clear(&wanted.ref_cache);
    return ok;
}

static void qcow2_free(Qcow2 *q)
{
    qcow2_crypt_close(q);
    slice_cache_clear(&q->l2_cache);
    slice_cache_clear(&q->ref_cache);
    qcow2_overlap_forget(q);
    g_clear_pointer(&q->deferred, g_array_unref);
    g_clear_pointer(&q->snapshots, g_ptr_array_unref);
    g_clear_pointer(&q->bitmaps, g_ptr_array_unref);
    g_clear_pointer(&q->extensions, g_ptr_array_unref);
    g_clear_pointer(&q->l1, g_free);
    g_clear_pointer(&q->reftable, g_free);
    g_clear_pointer(&q->data_file_name, g_free);
    g_clear_pointer(&q->decompressed, g_free);
}

static bool open_tables(Qcow2 *q, const uint8_t *h, GError **error)
{
    uint64_t l1 = be32_load(h + 36), ref_clusters = be32_load(h + 56);
    uint64_t per_l1 = BIT64(q->cluster_bits + q->l2_bits);

    q->l1_offset = be64_load(h + 40);
    q->reftable_offset = be64_load(h + 48);
    if (!table_ok(q, q->reftable_offset, ref_clusters * q->cluster_size, MAX_REFTABLE_BYTES,
                  "Image reference count table", error) ||
        !table_ok(q, q->l1_offset, l1 * 8, MAX_L1_BYTES, "Active L1 table", error)) {
        return false;
    }
    if (ref_clusters == 0 && !(q->node->flags & NODE_OPEN_CHECK)) {
        return corrupt(error, "no reference count table");
    }
    if (l1 < div_round_up(q->node->length, per_l1)) {
        return error_set(error, "L1 table is too small");
    }
    q->l1_entries = (uint32_t)l1;
    q->reftable_entries = (uint32_t)(ref_clusters * q->cluster_size / 8);
    node_event(q->file, QAPI_BLKDEBUG_EVENT_REFTABLE_LOAD);
    return read_be64(q->file, q->l1_offset, l1, &q->l1, "L1 table", error) &&
           read_be64(q->file, q->reftable_offset, q->reftable_entries, &q->reftable,
                     "reference count table", error) &&
           qcow2_snapshots_read(q, be32_load(h + 60), be64_load(h + 64), error);
}

static bool qcow2_open_inner(BlockNode *node, NodeOpts *opts, GError **error)
{
    Qcow2 *q = node->state;
    uint8_t first[112] = { 0 };
    g_autofree uint8_t *h = NULL;
    size_t ext_end;
    int ret;

    ret = co_node_pread(q->file, 0, first, sizeof(first));
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the qcow2 header");
    }
    if (!parse_header(q, first, error)) {
        return false;
    }
    h = g_malloc0(q->cluster_size);
    ret = co_node_pread(q->file, 0, h, q->cluster_size);
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the qcow2 header");
    }
    if (!take_options(q, opts, error) || !read_backing(q, h, &ext_end, error) ||
        !read_extensions(q, h, ext_end, error) || !open_tables(q, h, error) ||
        !open_data_file(q, opts, error) || !co_qcow2_crypt_open(q, opts, error)) {
        return false;
    }
    node->limits.zero_align = q->subcluster_size;
    node->limits.discard_align = 1;
    return prepare_writing(q, error) && qcow2_bitmaps_load(q, error) &&
           qcow2_bitmaps_mark(q, error);
}

static bool qcow2_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Qcow2 *q = node->state;

    q->node = node;
    q->file = node->file->node;
    q->deferred = g_array_new(false, false, sizeof(DeferredFree));
    q->snapshots = g_ptr_array_new_with_free_func(qcow2_snapshot_free);
    qcow2_bitmaps_init(q);
    q->extensions = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    co_mutex_init(&q->lock);
    if (!qcow2_open_inner(node, opts, error)) {
        qcow2_free(q);
        return false;
    }
    return true;
}

int co_qcow2_flush(BlockNode *node)
{
    Qcow2 *q = node->state;
    int ret;

    co_mutex_lock(&q->lock);
    ret = co_qcow2_writeback(q);
    co_mutex_unlock(&q->lock);
    return ret;
}

static void qcow2_close(BlockNode *node)
{
    Qcow2 *q = node->state;
    int ret;

    if (!node->read_only && !q->broken) {
        ret = co_qcow2_bitmaps_store(q);
        if (ret < 0) {
            warn_report("Could not store the bitmaps of '%s': %s", node->filename,
                        strerror(-ret));
        }
        co_qcow2_counts_settle(q);
    }
    qcow2_free(q);
}

static void qcow2_child_moved(BlockNode *node, const BlockChild *edge)
{
    Qcow2 *q = node->state;

    q->file = node->file->node;
    if (q->crypt.luks) {
        luks_set_file(q->crypt.luks, q->file);
    }
    q->data = node->data_file ? node->data_file->node : q->file;
}

static bool qcow2_reopen(BlockNode *node, bool read_only, GError **error)
{
    Qcow2 *q = node->state;
    int ret = 0;

    if (!read_only) {
        return prepare_writing(q, error) && qcow2_bitmaps_mark(q, error);
    }
    co_mutex_lock(&q->lock);
    ret = q->broken ? 0 : co_qcow2_bitmaps_store(q);
    if (ret == 0 && !q->broken) {
        ret = co_qcow2_counts_settle(q);
    }
    co_mutex_unlock(&q->lock);
    return ret == 0 || error_set_errno(error, -ret, "Could not write the tables of '%s'",
                                       node->filename);
}

/* ---- info, small hooks ---- */

static void qcow2_info(BlockNode *node, Json *info)
{
    Qcow2 *q = node->state;
    Json *data = json_new_dict(), *specific = json_new_dict();

    json_set(data, "compat", json_new_string(q->version >= 3 ? "1.1" : "0.10"));
    json_set(data, "compression-type", json_new_string(q->compression ? "zstd" : "zlib"));
    if (q->version >= 3) {
        json_set(data, "lazy-refcounts", json_new_bool(q->compat & COMPAT_LAZY_REFCOUNTS));
    }
    qcow2_bitmaps_info(q, data);
    qcow2_crypt_info(q, data);
    json_set(data, "refcount-bits", json_new_uint(q->refcount_bits));
    if (q->version >= 3) {
        json_set(data, "corrupt", json_new_bool(q->incompat & INCOMPAT_CORRUPT));
        if (q->has_data_file) {
            json_set(data, "data-file", json_new_string(q->data_file_name));
            json_set(data, "data-file-raw", json_new_bool(q->data_file_raw));
        }
        json_set(data, "extended-l2", json_new_bool(q->subclusters > 1));
    }
    json_set(specific, "type", json_new_string("qcow2"));
    json_set(specific, "data", data);
    json_set(info, "format-specific", specific);
    json_set(info, "dirty-flag", json_new_bool(q->incompat & INCOMPAT_DIRTY));
}

static uint32_t qcow2_cluster_size(const BlockNode *node)
{
    return ((Qcow2 *)node->state)->cluster_size;
}

bool qcow2_change_backing(BlockNode *node, const char *file, const char *format,
                                 GError **error)
{
    Qcow2 *q = node->state;
    char *old_file = node->backing_file, *old_format = node->backing_format;
    int ret;

    if (file && strlen(file) > 1023) {
        return error_set(error, "Backing file name is longer than 1023 bytes");
    }
    if (file && q->data_file_raw) {
        return error_set(error, "Cannot set backing file for a raw external data file");
    }
    node->backing_file = file && *file ? g_strdup(file) : NULL;
    node->backing_format = node->backing_file && format ? g_strdup(format) : NULL;
    co_mutex_lock(&q->lock);
    ret = co_header_write(q);
    co_mutex_unlock(&q->lock);
    if (ret < 0) {
        g_free(node->backing_file);
        g_free(node->backing_format);
        node->backing_file = old_file;
        node->backing_format = old_format;
        return error_set_errno(error, -ret, "Could not update the backing file name");
    }
    g_free(old_file);
    g_free(old_format);
    return true;
}

static bool qcow2_make_empty(BlockNode *node, GError **error)
{
    Qcow2 *q = node->state;
    int ret;

    if (q->has_data_file) {
        return error_set(error, "Images with an external data file cannot be emptied");
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_EMPTY_IMAGE_PREPARE);
    ret = co_qcow2_discard_clusters(q, 0, align_up(node->length, q->cluster_size), true);
    if (ret == 0) {
        ret = co_qcow2_flush(node);
    }
    return ret == 0 || error_set_errno(error, -ret, "Could not empty the image");
}

static const char *const qcow2_telling[] = { "encrypt.", "data-file.", "data-file", NULL };

const NodeType node_type_qcow2 = {
    .telling_options = qcow2_telling,
    .changeable = qcow2_changeable, .change_options = qcow2_change_options,
    .name = "qcow2", .state_size = sizeof(Qcow2), .has_backing = true, .zero_init = true,
    .probe = qcow2_probe, .open = qcow2_open, .close = qcow2_close,
    .child_moved = qcow2_child_moved, .reopen = qcow2_reopen,
    .co_preadv = co_qcow2_preadv, .co_pwritev = co_qcow2_pwritev,
    .co_write_zeroes = co_qcow2_write_zeroes, .co_discard = co_qcow2_discard,
    .co_flush = co_qcow2_flush, .co_status = co_qcow2_status,
    .co_write_compressed = co_qcow2_write_compressed, .co_truncate = co_qcow2_truncate,
    .create = qcow2_create, .cluster_size = qcow2_cluster_size, .info = qcow2_info,
    .check = qcow2_check, .change_backing = qcow2_change_backing, .amend = qcow2_amend, .amend_help = qcow2_amend_help,
    .make_empty = qcow2_make_empty, .measure = qcow2_measure,
    .snapshot_create = qcow2_snapshot_create, .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete, .snapshot_list = qcow2_snapshot_list,
    .snapshot_load_tmp = qcow2_snapshot_load_tmp, .bitmap_can_store = qcow2_bitmap_can_store,
    .create_help =
        "  backing_file=<str>     - File name of a base image\n"
        "  backing_fmt=<str>      - Image format of the base image\n"
        "  cluster_size=<size>    - qcow2 cluster size\n"
        "  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])\n"
        "  compression_type=<str> - Compression method used for image cluster compression\n"
        "  data_file=<str>        - File name of an external data file\n"
        "  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw "
        "image\n"
        LUKS_CREATE_HELP("encrypt.")
        "  encrypt.format=<str>   - Encrypt the image, format choices: 'aes', 'luks'\n"
        "  extended_l2=<bool (on/off)> - Extended L2 tables\n"
        "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates\n"
        "  preallocation=<str>    - Preallocation mode (allowed values: off, metadata, falloc, "
        "full)\n"
        "  refcount_bits=<num>    - Width of a reference count entry in bits\n"
        "  size=<size>            - Virtual disk size\n",
};
