/* SPDX-License-Identifier: MIT */
/*
 * vmdk: sparse extents, plain and compressed ("stream optimized").
 * Spec: VMware "Virtual Disk Format 5.0", chapters "Hosted Sparse Extents" and "Stream-Optimized".
 * Not modelled: writing where the grain directory lies at the end of the file.
 * Locking: the grain map's lock.
 */
#include "block/vmdk.h"

#include <zlib.h>

#include "base/worker_pool.h"

#define MAX_GD_BYTES (32u << 20)
#define GRAIN_SECTORS 128u
#define GTES 512u
#define DESC_SECTORS 20u

/* ---- the table ---- */

static GrainPlace sparse_decode(GrainMap *map, uint64_t grain, uint64_t entry)
{
    const VmdkExtent *e = map->format;

    if (entry == 0) {
        return (GrainPlace){ GRAIN_HOLE, 0 };
    }
    if (entry == 1 && map->zero_entries) {
        return (GrainPlace){ GRAIN_ZERO, 0 };
    }
    return (GrainPlace){ e->compressed ? GRAIN_PACKED : GRAIN_DATA, entry * 512 };
}

static uint64_t sparse_encode(GrainMap *map, uint64_t grain, GrainPlace place)
{
    return place.kind == GRAIN_ZERO ? 1 : place.host / 512;
}

static int sparse_alloc(GrainMap *map, uint64_t *host)
{
    *host = grain_file_end(map, map->grain);
    return *host / 512 > UINT32_MAX ? -ENOSPC : 0;
}

static int new_table(GrainMap *map, uint32_t *directory, uint64_t directory_offset, uint64_t page)
{
    uint64_t at = grain_file_end(map, 512);
    uint8_t raw[4];
    int ret;

    if (at / 512 > UINT32_MAX) {
        return -ENOSPC;
    }
    ret = co_node_write_zeroes(map->file, at, align_up(map->page_bytes, 512), 0);
    ret = ret < 0 ? ret : co_node_flush(map->file);
    if (ret == 0) {
        le32_store(raw, (uint32_t)(at / 512));
        ret = co_node_pwrite(map->file, directory_offset + page * 4, raw, 4, 0);
    }
    if (ret == 0) {
        directory[page] = (uint32_t)(at / 512);
    }
    return ret;
}

static int sparse_page(GrainMap *map, uint64_t page, bool create, uint64_t *offset)
{
    VmdkExtent *e = map->format;
    int ret = 0;

    *offset = 0;
    if (page >= e->gd_entries) {
        return -EIO;
    }
    if (!e->gd[page] && create) {
        ret = new_table(map, e->gd, e->gd_offset, page);
        if (ret == 0 && e->rgd && !e->rgd[page]) {
            ret = new_table(map, e->rgd, e->rgd_offset, page);
        }
    }
    *offset = (uint64_t)e->gd[page] * 512;
    return ret;
}

/* Each table and its redundant copy. */
static int sparse_write_pages(GrainMap *map, GPtrArray *pages)
{
    VmdkExtent *e = map->format;
    int ret = 0;

    for (unsigned i = 0; i < pages->len && ret == 0; i++) {
        GrainPage *page = pages->pdata[i];

        ret = co_node_pwrite(map->file, page->offset, page->data, map->page_bytes, 0);
        if (ret == 0 && e->rgd && e->rgd[page->index]) {
            ret = co_node_pwrite(map->file, (uint64_t)e->rgd[page->index] * 512, page->data,
                                 map->page_bytes, 0);
        }
    }
    return ret;
}

/* ---- compressed grains ---- */

static int sparse_unpack(GrainMap *map, uint64_t grain, uint64_t host, uint8_t *buf)
{
    const VmdkExtent *e = map->format;
    uint32_t size = 2 * map->grain, skip = 0;
    g_autofree uint8_t *in = NULL;
    uint8_t marker[12];
    uLongf got = map->grain;
    int ret = 0;

    if (e->markers) {
        ret = co_node_pread(map->file, host, marker, sizeof(marker));
        size = le32_load(marker + 8);
        skip = sizeof(marker);
        if (ret == 0 && (size == 0 || size > 2 * map->grain)) {
            return -EINVAL;
        }
    }
    in = g_malloc(size);
    ret = ret < 0 ? ret : co_node_pread(map->file, host + skip, in, size);
    if (ret < 0) {
        return ret;
    }
    memset(buf, 0, map->grain);            /* the last grain may be short */
    ret = uncompress(buf, &got, in, size);
    return ret == Z_OK || (ret == Z_BUF_ERROR && got == map->grain) ? 0 : -EINVAL;
}

typedef struct Pack {
    const uint8_t *in;
    uint8_t *out;
    uint32_t in_len;
    uLongf out_len;
} Pack;

static int pack_work(void *opaque)
{
    Pack *p = opaque;

    return compress(p->out, &p->out_len, p->in, p->in_len) == Z_OK ? 0 : -EINVAL;
}

int co_vmdk_write_compressed(VmdkExtent *e, uint64_t offset, IoSpan span)
{
    GrainMap *map = &e->map;
    uint64_t grain = offset / map->grain, host, entry = 0;
    g_autofree uint8_t *in = g_malloc0(map->grain);
    g_autofree uint8_t *out = g_malloc0(2 * map->grain + 1024);
    Pack pack = { in, out + 12, map->grain, 2 * map->grain };
    int ret;

    if (e->footer) {
        return -ENOTSUP;
    }
    io_span_to_buf(span, in + offset % map->grain);
    ret = co_worker_run(worker_pool_shared(), pack_work, &pack);
    if (ret < 0) {
        return ret;
    }
    co_mutex_lock(&map->lock);
    ret = co_grain_entry(map, grain, &entry);
    if (ret == 0 && entry > 1) {
        ret = -EIO;                        /* grains are written once */
    }
    host = grain_file_end(map, 512);
    if (ret == 0 && host / 512 > UINT32_MAX) {
        ret = -ENOSPC;
    }
    if (ret == 0) {
        le64_store(out, grain * (map->grain / 512));
        le32_store(out + 8, (uint32_t)pack.out_len);
        ret = co_node_pwrite(map->file, host, out, align_up(12 + pack.out_len, 512), 0);
    }
    if (ret == 0) {
        ret = co_grain_set(map, grain, host / 512);
    }
    co_mutex_unlock(&map->lock);
    return ret;
}

static const GrainOps sparse_ops = {
    .decode = sparse_decode, .encode = sparse_encode, .co_page = sparse_page,
    .co_alloc = sparse_alloc, .co_write_pages = sparse_write_pages, .co_unpack = sparse_unpack,
};

/* ---- open ---- */

static bool read_directory(VmdkExtent *e, uint64_t sector, uint32_t **out, GError **error)
{
    uint64_t offset = sector * 512, bytes = (uint64_t)e->gd_entries * 4;
    g_autofree uint32_t *gd = NULL;
    int ret;

    if (sector > INT64_MAX / 1024 || offset + bytes > align_up(e->file->length, 512)) {
        return error_set(error, "The grain directory is outside of the file");
    }
    gd = g_try_new0(uint32_t, e->gd_entries + 1);
    if (!gd) {
        return error_set(error, "Not enough memory for the grain directory");
    }
    ret = co_node_pread(e->file, offset, gd, bytes);
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the grain directory");
    }
    for (uint32_t i = 0; i < e->gd_entries; i++) {
        gd[i] = GUINT32_FROM_LE(gd[i]);
    }
    *out = g_steal_pointer(&gd);
    return true;
}

/* The header, or its copy in front of the end of the file, which knows the directory. */
static bool read_header(VmdkExtent *e, uint8_t *h, GError **error)
{
    int ret = co_node_pread(e->file, 0, h, S_LEN);

    if (ret == 0 && le32_load(h) == VMDK_MAGIC && le64_load(h + S_GD) == VMDK_GD_AT_END) {
        if (e->file->length < 3 * 512) {
            return error_set(error, "The stream optimized extent is truncated");
        }
        e->footer = true;
        ret = co_node_pread(e->file, align_down(e->file->length, 512) - 1024, h, S_LEN);
    }
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the extent's header");
    }
    if (le32_load(h) == VMDK_MAGIC_COWD) {
        return error_set(error, "ESX server sparse extents (COWD) are not supported");
    }
    if (le32_load(h) != VMDK_MAGIC || le64_load(h + S_GD) == VMDK_GD_AT_END) {
        return error_set(error, "It is no sparse extent, or its footer is damaged");
    }
    if (le32_load(h + S_VERSION) == 0 || le32_load(h + S_VERSION) > 3) {
        return error_set(error, "Unsupported VMDK version %u", le32_load(h + S_VERSION));
    }
    return true;
}

bool vmdk_sparse_open(BlockNode *node, VmdkExtent *e, uint64_t length, GError **error)
{
    GrainMap *map = &e->map;
    uint8_t h[S_LEN];
    uint64_t capacity, sectors, entries;
    uint32_t flags, gtes;

    if (!read_header(e, h, error)) {
        return false;
    }
    flags = le32_load(h + S_FLAGS);
    capacity = le64_load(h + S_CAPACITY);
    sectors = le64_load(h + S_GRAIN);
    gtes = le32_load(h + S_GTES);
    if (!is_pow2(sectors) || sectors > 4096 || gtes == 0 || gtes > GTES) {
        return error_set(error, "Invalid granularity (%" PRIu64 " sectors, %u entries per table)",
                         sectors, gtes);
    }
    if (capacity > INT64_MAX / 1024 || (length && capacity * 512 < length)) {
        return error_set(error, "The extent has %" PRIu64 " sectors; the descriptor expects %"
                         PRIu64, capacity, length / 512);
    }
    e->compressed = flags & FLAG_COMPRESSED;
    e->markers = flags & FLAG_MARKERS;
    if (e->compressed && le16_load(h + S_COMPRESSION) != 1) {
        return error_set(error, "Unknown compression algorithm %u", le16_load(h + S_COMPRESSION));
    }
    entries = div_round_up(capacity, sectors * gtes);
    if (entries * 4 > MAX_GD_BYTES) {
        return error_set(error, "The grain directory is too large");
    }
    e->gd_entries = (uint32_t)entries;
    e->gd_offset = le64_load(h + S_GD) * 512;
    e->rgd_offset = le64_load(h + S_RGD) * 512;
    if (!read_directory(e, le64_load(h + S_GD), &e->gd, error) ||
        ((flags & FLAG_RGD) && !e->footer &&
         !read_directory(e, le64_load(h + S_RGD), &e->rgd, error))) {
        return false;
    }
    e->length = length ? length : capacity * 512;
    map->ops = &sparse_ops;
    map->format = e;
    map->base = e->start;
    map->length = e->length;
    map->grain = (uint32_t)(sectors * 512);
    map->data_start = MAX(MIN(le64_load(h + S_OVERHEAD), UINT32_MAX) * 512, 512);
    map->page_bytes = gtes * 4;
    map->entry_bytes = 4;
    map->zero_entries = flags & FLAG_ZERO_GRAIN;
    grain_map_init(map, node, e->file);
    return true;
}

void vmdk_sparse_close(VmdkExtent *e)
{
    grain_map_clear(&e->map);
    g_free(e->gd);
    g_free(e->rgd);
}

/* ---- create ---- */

static void make_directory(uint8_t *out, uint64_t first_table, uint64_t tables)
{
    for (uint64_t i = 0; i < tables; i++) {
        le32_store(out + i * 4, (uint32_t)(first_table + i * (GTES * 4 / 512)));
    }
}

/* Header, descriptor, redundant directory and tables, directory and tables, grains. */
bool vmdk_sparse_create(BlockNode *file, const void *args, GError **error)
{
    const VmdkSparseNew *c = args;
    uint64_t sectors = c->size / 512;
    uint64_t tables = div_round_up(sectors, GRAIN_SECTORS * GTES);
    uint64_t gd_sectors = div_round_up(tables * 4, 512);
    uint64_t copy = gd_sectors + tables * (GTES * 4 / 512), rgd = 1 + DESC_SECTORS;
    uint64_t gd = rgd + copy, overhead = align_up(gd + copy, GRAIN_SECTORS);
    g_autofree uint8_t *directory = g_malloc0(gd_sectors * 512 + 1);
    uint8_t h[S_LEN] = { 0 };
    uint32_t version = c->compressed ? 3 : c->zeroed_grain ? 2 : 1;
    int ret;

    le32_store(h, VMDK_MAGIC);
    le32_store(h + S_VERSION, version);
    le32_store(h + S_FLAGS, FLAG_LINE_ENDS | FLAG_RGD |
               (c->zeroed_grain ? FLAG_ZERO_GRAIN : 0) |
               (c->compressed ? FLAG_COMPRESSED | FLAG_MARKERS : 0));
    le64_store(h + S_CAPACITY, sectors);
    le64_store(h + S_GRAIN, GRAIN_SECTORS);
    le64_store(h + S_DESC_OFFSET, 1);
    le64_store(h + S_DESC_SIZE, DESC_SECTORS);
    le32_store(h + S_GTES, GTES);
    le64_store(h + S_RGD, rgd);
    le64_store(h + S_GD, gd);
    le64_store(h + S_OVERHEAD, overhead);
    memcpy(h + S_LINE_ENDS, "\n \r\n", 4);
    le16_store(h + S_COMPRESSION, c->compressed);
    ret = co_node_pwrite(file, 0, h, S_LEN, 0);
    if (ret == 0 && c->descriptor) {
        size_t len = strlen(c->descriptor);

        if (len > DESC_SECTORS * 512) {
            return error_set(error, "The descriptor is too long for %u sectors", DESC_SECTORS);
        }
        ret = co_node_pwrite(file, 512, c->descriptor, len, 0);
    }
    if (ret == 0 && tables) {
        make_directory(directory, rgd + gd_sectors, tables);
        ret = co_node_pwrite(file, rgd * 512, directory, gd_sectors * 512, 0);
        make_directory(directory, gd + gd_sectors, tables);
        ret = ret < 0 ? ret : co_node_pwrite(file, gd * 512, directory, gd_sectors * 512, 0);
    }
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not write the extent's header");
    }
    return co_node_truncate(file, overhead * 512, true, "off", error);
}
