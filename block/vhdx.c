/* SPDX-License-Identifier: MIT */
/*
 * vhdx: Hyper-V disk images, dynamic and fixed: opening, requests, checking.
 * Spec: [MS-VHDX].  The log is in block/vhdx_log.c, creation in block/vhdx_create.c.
 * Not modelled: differencing disks (refused), UNMAP that gives blocks up, resizing.
 * Locking: the grain map's lock.
 */
#include "block/vhdx.h"

#include <sys/random.h>

#define MAX_REGIONS 2047u
#define MAX_ITEMS 2047u
#define MAX_BAT (512u << 20)

/* The first three fields are little-endian [MS-VHDX 2]. */
#define LE16(x) (x) & 0xff, (x) >> 8
#define GUID(a, b, c, ...)                                                               \
    { LE16((a) & 0xffff), LE16((a) >> 16), LE16(b), LE16(c), __VA_ARGS__ }

/* clang-format off */
const uint8_t vhdx_guid_bat[16] =
    GUID(0x2dc27766, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08);
const uint8_t vhdx_guid_metadata[16] =
    GUID(0x8b7ca206, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e);
const VhdxItemType vhdx_items[VHDX_ITEMS] = {
    [VHDX_FILE_PARAMETERS] =
        { GUID(0xcaa16737, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b), 8, 4 },
    [VHDX_DISK_SIZE] =
        { GUID(0x2fa54224, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8), 8, 6 },
    [VHDX_PAGE83] =
        { GUID(0xbeca12ab, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46), 16, 6 },
    [VHDX_LOGICAL_SECTOR] =
        { GUID(0x8141bf1d, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f), 4, 6 },
    [VHDX_PHYSICAL_SECTOR] =
        { GUID(0xcda348c7, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56), 4, 6 },
    [VHDX_PARENT] =
        { GUID(0xa8d35f2d, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c), 0, 4 },
};
/* clang-format on */

/* ---- the table ---- */

static bool overlaps(const VhdxArea *area, uint64_t offset, uint64_t bytes)
{
    return offset < area->offset + area->bytes && area->offset < offset + bytes;
}

static GrainPlace vhdx_decode(GrainMap *map, uint64_t grain, uint64_t entry)
{
    const Vhdx *v = map->format;
    uint64_t host = entry & VHDX_OFFSET_MASK;

    switch (entry & 7) {
    case VHDX_PRESENT:
        if (host > INT64_MAX - map->grain || overlaps(&v->log, host, map->grain) ||
            overlaps(&v->bat, host, map->grain) || overlaps(&v->metadata, host, map->grain)) {
            return (GrainPlace){ GRAIN_BAD, host };
        }
        return (GrainPlace){ GRAIN_DATA, host };
    case VHDX_NOT_PRESENT:
        return (GrainPlace){ GRAIN_HOLE, 0 };
    case VHDX_UNDEFINED:
    case VHDX_ZERO:
    case VHDX_UNMAPPED:
        return (GrainPlace){ GRAIN_ZERO, 0 };
    default:
        return (GrainPlace){ GRAIN_BAD, host };
    }
}

static uint64_t vhdx_encode(GrainMap *map, uint64_t grain, GrainPlace place)
{
    return place.kind == GRAIN_ZERO ? VHDX_ZERO : place.host | VHDX_PRESENT;
}

/* A sector bitmap's entry comes after each chunk of blocks [2.5.1]. */
static uint64_t vhdx_index(const GrainMap *map, uint64_t grain)
{
    const Vhdx *v = map->format;

    return grain + grain / v->chunk_ratio;
}

static int vhdx_alloc(GrainMap *map, uint64_t *host)
{
    *host = grain_file_end(map, MIB);
    return 0;
}

static const GrainOps vhdx_grain_ops = {
    .decode = vhdx_decode, .encode = vhdx_encode, .index = vhdx_index, .co_alloc = vhdx_alloc,
    .co_write_pages = co_vhdx_write_pages,
};

/* ---- open ---- */

static int vhdx_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && memcmp(head, "vhdxfile", 8) == 0 ? 100 : 0;
}

static bool area_ok(const VhdxArea *area, uint64_t file_length)
{
    return area->offset >= MIB && area->offset % MIB == 0 && area->bytes % MIB == 0 &&
           area->bytes && area->offset <= file_length && area->bytes <= file_length - area->offset;
}

static bool read_headers(Vhdx *v, BlockNode *file, GError **error)
{
    uint8_t h[VHDX_HEADER_LEN];
    bool found = false;

    for (unsigned i = 0; i < 2; i++) {
        int ret = co_node_pread(file, (i + 1) * 64 * KIB, h, sizeof(h));

        if (ret < 0) {
            return error_set_errno(error, -ret, "Could not read the VHDX header");
        }
        if (memcmp(h, "head", 4) == 0 && le16_load(h + H_VERSION) == 1 &&
            vhdx_crc32c(h, sizeof(h), H_CHECKSUM) == le32_load(h + H_CHECKSUM) &&
            (!found || le64_load(h + H_SEQUENCE) > le64_load(v->header + H_SEQUENCE))) {
            memcpy(v->header, h, sizeof(h));
            v->current = i;
            found = true;
        }
    }
    if (!found) {
        return error_set(error, "No valid VHDX header found");
    }
    if (le16_load(v->header + H_LOG_VERSION) != 0) {
        return error_set(error, "Unsupported VHDX log version %u",
                         le16_load(v->header + H_LOG_VERSION));
    }
    v->log = (VhdxArea){ le64_load(v->header + H_LOG_OFFSET), le32_load(v->header + H_LOG_LEN) };
    return area_ok(&v->log, file->length) || error_set(error, "The VHDX log is outside of the file");
}

/* The region table, or its copy when it is damaged. */
static bool read_regions(Vhdx *v, BlockNode *file, GError **error)
{
    g_autofree uint8_t *t = g_malloc(64 * KIB);
    uint32_t count = 0;
    bool ok = false;

    for (unsigned i = 0; i < 2 && !ok; i++) {
        int ret = co_node_pread(file, (i + 3) * 64 * KIB, t, 64 * KIB);

        if (ret < 0) {
            return error_set_errno(error, -ret, "Could not read the VHDX region table");
        }
        count = le32_load(t + 8);
        ok = memcmp(t, "regi", 4) == 0 && count <= MAX_REGIONS &&
             vhdx_crc32c(t, 64 * KIB, 4) == le32_load(t + 4);
    }
    if (!ok) {
        return error_set(error, "No valid VHDX region table found");
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *e = t + 16 + i * 32;
        VhdxArea area = { le64_load(e + 16), le32_load(e + 24) };
        VhdxArea *known = memcmp(e, vhdx_guid_bat, 16) == 0 ? &v->bat
                          : memcmp(e, vhdx_guid_metadata, 16) == 0 ? &v->metadata : NULL;

        if (!known && (le32_load(e + 28) & 1)) {
            return error_set(error, "The VHDX image needs a region of an unknown kind");
        }
        if (known && (known->bytes || !area_ok(&area, file->length))) {
            return error_set(error, "The VHDX region table is damaged");
        }
        if (known) {
            *known = area;
        }
    }
    if (!v->bat.bytes || !v->metadata.bytes || overlaps(&v->bat, v->metadata.offset, 1) ||
        overlaps(&v->metadata, v->bat.offset, 1) || overlaps(&v->log, v->bat.offset, 1) ||
        overlaps(&v->bat, v->log.offset, 1)) {
        return error_set(error, "The VHDX image has no block table or metadata, or they overlap");
    }
    return true;
}

/* Reads the items that there are; SEEN says which. */
static bool read_items(Vhdx *v, BlockNode *file, uint8_t values[VHDX_ITEMS][16], unsigned *seen,
                       GError **error)
{
    g_autofree uint8_t *t = g_malloc(64 * KIB);
    int ret = co_node_pread(file, v->metadata.offset, t, 64 * KIB);
    unsigned count = le16_load(t + 10);

    *seen = 0;
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the VHDX metadata");
    }
    if (memcmp(t, "metadata", 8) != 0 || count > MAX_ITEMS) {
        return error_set(error, "The VHDX metadata table is damaged");
    }
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *e = t + 32 + i * 32;
        uint64_t offset = le32_load(e + 16), bytes = le32_load(e + 20);
        unsigned k = 0;

        while (k < VHDX_ITEMS && memcmp(e, vhdx_items[k].guid, 16) != 0) {
            k++;
        }
        if (k == VHDX_ITEMS) {
            if (le32_load(e + 24) & 4) {
                return error_set(error, "The VHDX image needs metadata of an unknown kind");
            }
            continue;
        }
        if (offset < 64 * KIB || offset + bytes > v->metadata.bytes ||
            bytes < vhdx_items[k].bytes) {
            return error_set(error, "The VHDX metadata table is damaged");
        }
        *seen |= BIT(k);
        ret = co_node_pread(file, v->metadata.offset + offset, values[k], vhdx_items[k].bytes);
        if (ret < 0) {
            return error_set_errno(error, -ret, "Could not read the VHDX metadata");
        }
    }
    return true;
}

static bool read_metadata(Vhdx *v, BlockNode *node, GError **error)
{
    const unsigned needed = BIT(VHDX_FILE_PARAMETERS) | BIT(VHDX_DISK_SIZE) |
                            BIT(VHDX_LOGICAL_SECTOR);
    uint8_t values[VHDX_ITEMS][16] = { 0 };
    uint64_t size, block, sector, blocks, entries;
    unsigned seen;

    if (!read_items(v, node->file->node, values, &seen, error)) {
        return false;
    }
    if ((seen & needed) != needed) {
        return error_set(error, "The VHDX image lacks required metadata");
    }
    if ((le32_load(values[VHDX_FILE_PARAMETERS] + 4) & 2) || (seen & BIT(VHDX_PARENT))) {
        return error_set(error, "VHDX differencing images are not supported");
    }
    size = le64_load(values[VHDX_DISK_SIZE]);
    block = le32_load(values[VHDX_FILE_PARAMETERS]);
    sector = le32_load(values[VHDX_LOGICAL_SECTOR]);
    if (sector != 512 && sector != 4096) {
        return error_set(error, "Invalid VHDX sector size %" PRIu64, sector);
    }
    if (!is_pow2(block) || block < MIB || block > 256 * MIB) {
        return error_set(error, "Invalid VHDX block size %" PRIu64, block);
    }
    if (size > 64 * TIB || size % sector) {
        return error_set(error, "Invalid VHDX disk size %" PRIu64, size);
    }
    v->chunk_ratio = (sector << 23) / block;
    blocks = div_round_up(size, block);
    entries = blocks ? blocks + (blocks - 1) / v->chunk_ratio : 0;
    if (entries * 8 > v->bat.bytes || v->bat.bytes > MAX_BAT) {
        return error_set(error, "The VHDX block table is too small for the disk, or too large");
    }
    node->length = size;
    v->map.grain = (uint32_t)block;
    return true;
}

static bool vhdx_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Vhdx *v = node->state;
    BlockNode *file = node->file->node;
    GrainMap *map = &v->map;
    uint8_t signature[8];
    bool needed;

    map->file = file;
    if (co_node_pread(file, 0, signature, 8) < 0 || memcmp(signature, "vhdxfile", 8) != 0) {
        return error_set(error, "It is not a VHDX image (no 'vhdxfile' signature)");
    }
    if (!read_headers(v, file, error) ||
        !co_vhdx_log_replay(v, file, !node->read_only, &needed, error)) {
        return false;
    }
    if (needed && node->read_only) {
        return error_set(error, "VHDX image file '%s' opened read-only, but contains a log that "
                         "needs to be replayed; to replay it, run: rhea-img check -r all '%s'",
                         node->filename, node->filename);
    }
    if (!read_regions(v, file, error) || !read_metadata(v, node, error)) {
        return false;
    }
    map->ops = &vhdx_grain_ops;
    map->format = v;
    map->length = node->length;
    map->data_start = MIB;
    map->table_offset = v->bat.offset;
    map->page_bytes = VHDX_LOG_SECTOR;
    map->entry_bytes = 8;
    map->zero_entries = true;
    grain_map_init(map, node, file);
    return true;
}

/* Before the first change: new GUIDs, of the log too, so that no old entry is taken for ours. */
static int co_mark(Vhdx *v)
{
    int ret = 0;

    co_mutex_lock(&v->map.lock);
    if (!v->marked) {
        if (getrandom(v->header + H_FILE_GUID, 48, 0) != 48) {
            ret = -EIO;
        }
        ret = ret < 0 ? ret : co_vhdx_header_update(v);
        v->marked = ret == 0;
    }
    co_mutex_unlock(&v->map.lock);
    return ret;
}

static int vhdx_co_flush(BlockNode *node)
{
    return co_grain_flush(&((Vhdx *)node->state)->map);
}

/* All is in place: the log means nothing any more. */
static int co_finish(Vhdx *v)
{
    int ret = co_grain_flush(&v->map);

    if (ret == 0 && v->marked) {
        memset(v->header + H_LOG_GUID, 0, 16);
        ret = co_vhdx_header_update(v);
        v->marked = ret < 0;
    }
    return ret;
}

static void vhdx_close(BlockNode *node)
{
    Vhdx *v = node->state;

    if (!node->read_only) {
        co_finish(v);
    }
    grain_map_clear(&v->map);
}

static void vhdx_child_moved(BlockNode *node, const BlockChild *edge)
{
    ((Vhdx *)node->state)->map.file = node->file->node;
}

static bool vhdx_reopen(BlockNode *node, bool read_only, GError **error)
{
    int ret = read_only ? co_finish(node->state) : 0;

    return ret == 0 || error_set_errno(error, -ret, "Could not write the tables of '%s'",
                                       node->filename);
}

/* ---- requests ---- */

static int vhdx_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    return co_grain_preadv(&((Vhdx *)node->state)->map, offset, span);
}

static int vhdx_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    Vhdx *v = node->state;
    int ret = v->marked ? 0 : co_mark(v);

    return ret < 0 ? ret : co_grain_pwritev(&v->map, offset, span);
}

static int vhdx_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    Vhdx *v = node->state;
    int ret = v->marked ? 0 : co_mark(v);

    return ret < 0 ? ret : co_grain_write_zeroes(&v->map, offset, bytes,
                                                 flags & ~BLK_REQ_MAY_UNMAP);
}

static int vhdx_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    int ret = co_grain_status(&((Vhdx *)node->state)->map, offset, bytes, status);

    status->flags |= BLK_STATUS_ALLOCATED;     /* there is no layer below */
    status->flags |= status->flags & BLK_STATUS_DATA ? BLK_STATUS_RECURSE : BLK_STATUS_ZERO;
    return ret;
}

static uint32_t vhdx_cluster_size(const BlockNode *node)
{
    return ((Vhdx *)node->state)->map.grain;
}

/* The log was replayed when the image was opened for repair. */
static bool vhdx_check(BlockNode *node, int fix, CheckResult *result, GError **error)
{
    Vhdx *v = node->state;
    uint64_t used = 0;
    int ret = co_grain_check(&v->map, result, &used);

    result->corruptions_fixed += v->replayed;
    return ret == 0 || error_set_errno(error, -ret, "Check failed");
}

const NodeType node_type_vhdx = {
    .name = "vhdx", .state_size = sizeof(Vhdx), .zero_init = true,
    .probe = vhdx_probe, .open = vhdx_open, .close = vhdx_close,
    .child_moved = vhdx_child_moved, .reopen = vhdx_reopen,
    .co_preadv = vhdx_co_preadv, .co_pwritev = vhdx_co_pwritev,
    .co_write_zeroes = vhdx_co_write_zeroes, .co_flush = vhdx_co_flush,
    .co_status = vhdx_co_status, .cluster_size = vhdx_cluster_size, .check = vhdx_check,
    .create = vhdx_create,
    .create_help =
        "  block_size=<size>      - Block Size; min 1MB, max 256MB. 0 means auto-calculate based "
        "on image size.\n"
        "  block_state_zero=<bool (on/off)> - Force use of payload blocks of type 'ZERO'. "
        "Non-standard, but default.  Do not set to 'off' when using 'qemu-img convert' with "
        "subformat=dynamic.\n"
        "  log_size=<size>        - Log size; min 1MB.\n"
        "  size=<size>            - Virtual disk size; max of 64TB.\n"
        "  subformat=<str>        - VHDX format type, can be either 'dynamic' or 'fixed'. Default "
        "is 'dynamic'.\n",
};
