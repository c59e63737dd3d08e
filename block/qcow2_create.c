/* SPDX-License-Identifier: MIT */
/*
 * qcow2: making an image, and what one will take.
 * Spec: the qcow2 interoperability document (versions 2 and 3).
 * Locking: none; the image is nobody else's yet.
 */
#include "block/qcow2.h"

typedef struct CreateOpts {
    uint64_t size, cluster_size, refcount_bits;
    int version;
    bool lazy, ext_l2, data_file_raw;
    uint8_t compression;
    char *backing, *backing_format, *prealloc, *data_file;
    char *data_node;           /* blockdev-create: the open node of the data file */
    Qcow2CryptCreate crypt;
} CreateOpts;

static void create_opts_clear(CreateOpts *c)
{
    g_free(c->backing);
    g_free(c->backing_format);
    g_free(c->prealloc);
    g_free(c->data_file);
    g_free(c->data_node);
    qcow2_crypt_clear(&c->crypt);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CreateOpts, create_opts_clear)

static bool take_create_opts(NodeOpts *opts, CreateOpts *c, GError **error)
{
    g_autofree char *compat = node_opts_take(opts, "compat");
    g_autofree char *compression = node_opts_take(opts, "compression_type");

    c->cluster_size = 65536;
    c->refcount_bits = 16;
    c->version = 3;
    if (!create_take_size(opts, INT64_MAX - TIB, &c->size, error) ||
        !node_opts_take_bool(opts, "extended_l2", &c->ext_l2, error)) {
        return false;
    }
    if (!node_opts_take_size(opts, "cluster_size", &c->cluster_size, error) ||
        !node_opts_take_uint(opts, "refcount_bits", &c->refcount_bits, error) ||
        !node_opts_take_bool(opts, "lazy_refcounts", &c->lazy, error) ||
        !node_opts_take_bool(opts, "data_file_raw", &c->data_file_raw, error)) {
        return false;
    }
    c->backing = node_opts_take(opts, "backing_file");
    c->backing_format = node_opts_take(opts, "backing_fmt");
    c->prealloc = node_opts_take(opts, "preallocation");
    c->data_file = node_opts_take(opts, "data_file");
    c->data_node = node_opts_take(opts, "x-data-node");
    if (!qcow2_crypt_take(&c->crypt, opts, error)) {
        return false;
    }
    if (compat && (g_str_equal(compat, "0.10") || g_str_equal(compat, "v2"))) {
        c->version = 2;
    } else if (compat && !g_str_equal(compat, "1.1") && !g_str_equal(compat, "v3")) {
        return error_set(error, "Invalid compatibility level '%s': use '0.10' or '1.1'", compat);
    }
    if (compression && g_str_equal(compression, "zstd")) {
        c->compression = 1;
    } else if (compression && !g_str_equal(compression, "zlib")) {
        return error_set(error, "Invalid compression_type '%s': use 'zlib' or 'zstd'",
                         compression);
    }
    return true;
}

static bool check_create_opts(const CreateOpts *c, GError **error)
{
    static const char *const modes[] = { "off", "metadata", "falloc", "full" };
    bool known = !c->prealloc;

    for (unsigned i = 0; c->prealloc && i < ARRAY_LEN(modes); i++) {
        known = known || g_str_equal(c->prealloc, modes[i]);
    }
    if (!known) {
        return error_set(error, "Invalid preallocation mode '%s': use off, metadata, falloc or "
                         "full", c->prealloc);
    }
    if (!is_pow2(c->cluster_size) || c->cluster_size < 512 || c->cluster_size > 2 * MIB) {
        return error_set(error, "Cluster size must be a power of two between 512 and 2048k");
    }
    if (!is_pow2(c->refcount_bits) || c->refcount_bits > 64) {
        return error_set(error, "Refcount width must be a power of two and may not exceed 64 "
                         "bits");
    }
    if (c->version < 3 && (c->refcount_bits != 16 || c->lazy || c->compression || c->ext_l2 ||
                           c->data_file)) {
        return error_set(error, "%s compatibility level 1.1 %s above (use version=v3 or greater)",
                         c->refcount_bits != 16 ? "Different refcount widths than 16 bits require"
                         : c->lazy ? "Lazy refcounts are only supported with" : c->compression
                         ? "Compression types other than zlib are only supported with" : c->ext_l2
                         ? "Extended L2 entries are only supported with"
                         : "External data files are only supported with",
                         c->refcount_bits != 16 ? "or" : "and");
    }
    if (c->ext_l2 && c->cluster_size < 16384) {
        return error_set(error, "Extended L2 entries are only supported with cluster sizes of at "
                         "least 16384 bytes");
    }
    if (c->data_file_raw && !c->data_file) {
        return error_set(error, "data-file-raw requires data-file");
    }
    if (c->data_file && c->data_file_raw && c->backing) {
        return error_set(error, "Backing file and data-file-raw cannot be used at the same time");
    }
    if (c->backing && c->prealloc && !g_str_equal(c->prealloc, "off") && !c->ext_l2) {
        return error_set(error, "Backing file and preallocation can only be used at the same "
                         "time if extended_l2 is enabled");
    }
    if (c->crypt.method && c->prealloc && !g_str_equal(c->prealloc, "off")) {
        return error_set(error, "Encrypted images cannot be preallocated: what is in clusters that "
                         "were never written would not read as zeroes");
    }
    if (c->backing_format && !c->backing) {
        return error_set(error, "Backing format cannot be used without backing file");
    }
    if (c->backing && strlen(c->backing) > 1023) {
        return error_set(error, "Backing file name is longer than 1023 bytes");
    }
    return true;
}

/* Header, refcount table and one block: an image of length 0. */
static bool write_skeleton(const CreateOpts *c, BlockNode *file, GError **error)
{
    BlockNode dummy = { 0 };
    Qcow2 q = { .node = &dummy, .file = file, .version = c->version };
    g_autofree uint8_t *block = g_malloc0(c->cluster_size);
    uint64_t table = GUINT64_TO_BE(2 * c->cluster_size), first_free;
    int ret;

    q.cluster_bits = (uint32_t)__builtin_ctzll(c->cluster_size);
    q.refcount_order = (uint32_t)__builtin_ctzll(c->refcount_bits);
    q.incompat = (c->compression ? INCOMPAT_COMPRESSION : 0) |
                 (c->ext_l2 ? INCOMPAT_EXT_L2 : 0) | (c->data_file ? INCOMPAT_DATA_FILE : 0);
    q.compat = c->lazy ? COMPAT_LAZY_REFCOUNTS : 0;
    q.autoclear = c->data_file_raw ? AUTOCLEAR_DATA_FILE_RAW : 0;
    q.compression = c->compression;
    q.data_file_name = c->data_file;
    qcow2_note_sizes(&q);
    q.reftable_offset = c->cluster_size;
    q.reftable_entries = (uint32_t)(c->cluster_size / 8);
    q.snapshots = g_ptr_array_new();
    q.extensions = g_ptr_array_new();
    dummy.backing_file = c->backing;
    dummy.backing_format = c->backing_format;
    for (first_free = 0; first_free < 3; first_free++) {
        refcount_store(&q, block, first_free, 1);
    }
    ret = co_node_pwrite(file, 2 * c->cluster_size, block, c->cluster_size, 0);
    memset(block, 0, c->cluster_size);
    memcpy(block, &table, 8);
    if (ret == 0) {
        ret = co_node_pwrite(file, c->cluster_size, block, c->cluster_size, 0);
    }
    if (ret == 0) {
        ret = co_header_write(&q);
    }
    g_ptr_array_unref(q.snapshots);
    g_ptr_array_unref(q.extensions);
    if (ret == -ENOSPC && c->cluster_size < 4096) {
        return error_set(error, "The backing file name is too long for clusters of %" PRIu64
                         " bytes", c->cluster_size);
    }
    return ret == 0 || error_set_errno(error, -ret, "Could not write qcow2 header");
}

/* The image in FILENAME; c->data_file is there. */
static bool create_image(CreateOpts *c, const char *filename, GError **error)
{
    g_autoptr(BlockNode) file = image_create_file(filename, 0, error);
    g_autoptr(BlockNode) node = NULL;
    g_autoptr(NodeOpts) open_opts = node_opts_new();
    BlockChild *edge;
    bool ok;

    if (!file) {
        return false;
    }
    edge = node_attach_root(file, "create", BLK_PERM_WRITE | BLK_PERM_RESIZE, BLK_PERM_ALL, NULL,
                            NULL, error);
    ok = edge && write_skeleton(c, file, error);
    node_detach_root(edge);
    if (!ok) {
        return false;
    }
    if (c->data_node) {
        node_opts_set(open_opts, "data-file", c->data_node);
    }
    node_opts_set(open_opts, "driver", "qcow2");
    node_opts_set(open_opts, "file", file->name);
    node_opts_set(open_opts, "cache.no-flush", "on");
    node = node_open(NULL, open_opts, NODE_OPEN_RDWR | NODE_OPEN_NO_BACKING | NODE_OPEN_INLINE_IO,
                     error);
    return node && co_qcow2_crypt_create(node->state, &c->crypt, error) &&
           co_node_truncate(node, c->size, true, c->prealloc, error);
}

static bool create_data_file(const CreateOpts *c, const char *path, GError **error)
{
    g_autoptr(BlockNode) data = image_create_file(path, c->data_file_raw ? c->size : 0, error);

    return data != NULL;
}

bool qcow2_create(const char *filename, NodeOpts *opts, GError **error)
{
    g_auto(CreateOpts) c = { 0 };
    g_autofree char *data_path = NULL;
    bool claimed;

    if (!take_create_opts(opts, &c, error) || !create_opts_finish("qcow2", opts, error) ||
        !check_create_opts(&c, error) ||
        (c.crypt.method == CRYPT_LUKS && !luks_create_check(&c.crypt.luks, error))) {
        return false;
    }
    if (c.data_node || !c.data_file) {
        return create_image(&c, filename, error);
    }
    data_path = path_combine(filename, c.data_file);
    claimed = image_claim(data_path);
    if (create_data_file(&c, data_path, error) && create_image(&c, filename, error)) {
        return true;
    }
    if (claimed) {
        image_unclaim(data_path);
    }
    return false;
}

/* ---- measure ---- */

static uint64_t metadata_bytes(const CreateOpts *c, uint64_t total)
{
    uint64_t cs = c->cluster_size, entry = c->ext_l2 ? 16 : 8, l2, l1, meta, blocks = 0, table = 0;
    uint64_t per_block = cs * 8 / c->refcount_bits, clusters, last;

    l2 = align_up(div_round_up(total, cs), cs / entry) * entry;
    l1 = align_up(l2 / cs, cs / 8) * 8;
    meta = cs + l2 + l1;
    clusters = (meta + align_up(total, cs)) / cs;
    do {
        last = blocks + table;
        blocks = div_round_up(clusters + blocks + table, per_block);
        table = div_round_up(blocks * 8, cs);
    } while (blocks + table != last);
    return meta + (blocks + table) * cs;
}

bool qcow2_measure(NodeOpts *opts, BlockNode *source, uint64_t *required, uint64_t *full,
                   uint64_t *bitmaps, GError **error)
{
    g_auto(CreateOpts) c = { 0 };
    uint64_t total, used = 0, at = 0, meta, cs;
    bool prealloc;

    if (!take_create_opts(opts, &c, error) || !create_opts_finish("qcow2", opts, error) ||
        !check_create_opts(&c, error)) {
        return false;
    }
    total = align_up(source ? source->length : c.size, 512);
    cs = c.cluster_size;
    prealloc = c.prealloc && !g_str_equal(c.prealloc, "off");
    if (prealloc) {
        used = align_up(total, cs);
    }
    while (source && !prealloc && at < total) {
        BlockStatus s;
        int depth, ret;
        BlockNode *base = c.backing ? node_backing(source) : NULL;

        ret = co_node_status_above(source, base, at, total - at, &s, &depth);
        if (ret < 0) {
            return error_set_errno(error, -ret, "Unable to get block status");
        }
        if (!s.bytes) {
            break;
        }
        if (!(s.flags & BLK_STATUS_ZERO) && (s.flags & BLK_STATUS_ALLOCATED)) {
            uint64_t end = align_up(at + s.bytes, cs);

            used += end - align_down(at, cs);
            at = end;
        } else {
            at += s.bytes;
        }
    }
    meta = metadata_bytes(&c, total);
    if (c.crypt.method == CRYPT_LUKS) {
        uint64_t header;

        if (!luks_header_bytes(&c.crypt.luks, &header, error)) {
            return false;
        }
        meta += align_up(header, cs);
    }
    *required = meta + MIN(used, align_up(total, cs));
    *full = meta + align_up(total, cs);
    *bitmaps = c.version >= 3 && source && source->type->bitmap_can_store
                   ? qcow2_bitmaps_measure(source, cs) : UINT64_MAX;
    return true;
}
