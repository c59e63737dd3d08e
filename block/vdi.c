/* SPDX-License-Identifier: MIT */
/*
 * vdi: VirtualBox disk images, dynamic and static.  Layout: docs/formats/vdi.md.
 * Not modelled: differencing images and undo images (refused), block sizes other than 1 MiB.
 * Locking: the grain map's lock.
 */
#include "block/grain.h"
#include "block/types.h"

#include <sys/random.h>

#define VDI_TEXT "<<< QEMU VM Virtual Disk Image >>>\n"
#define VDI_SIGNATURE 0xbeda107fu
#define VDI_VERSION 0x00010001u
#define VDI_BLOCK MIB
#define VDI_HOLE 0xffffffffu       /* never written */
#define VDI_DISCARDED 0xfffffffeu  /* written, then given up: reads as zeroes */
#define VDI_MAX_BLOCKS (0x20000000u / 4)

enum {                             /* offsets in the header */
    H_SIGNATURE = 0x40, H_VERSION = 0x44, H_SIZE = 0x48, H_TYPE = 0x4c, H_BMAP = 0x154,
    H_DATA = 0x158, H_SECTOR = 0x168, H_LENGTH = 0x170, H_BLOCK = 0x178, H_EXTRA = 0x17c,
    H_BLOCKS = 0x180, H_ALLOCATED = 0x184, H_UUID = 0x188, H_LAST_SNAP = 0x198,
    H_LINK = 0x1a8, H_PARENT = 0x1b8, H_LEN = 512,
};
enum { VDI_DYNAMIC = 1, VDI_STATIC = 2 };

typedef struct Vdi {
    GrainMap map;
    uint8_t header[H_LEN];
    uint32_t allocated;            /* blocks handed out; the header's count follows at a flush */
    bool header_dirty;
} Vdi;

/* ---- the table ---- */

static GrainPlace vdi_decode(GrainMap *map, uint64_t grain, uint64_t entry)
{
    if (entry == VDI_HOLE) {
        return (GrainPlace){ GRAIN_HOLE, 0 };
    }
    if (entry == VDI_DISCARDED) {
        return (GrainPlace){ GRAIN_ZERO, 0 };
    }
    return (GrainPlace){ entry < VDI_MAX_BLOCKS ? GRAIN_DATA : GRAIN_BAD,
                         map->data_start + entry * VDI_BLOCK };
}

static uint64_t vdi_encode(GrainMap *map, uint64_t grain, GrainPlace place)
{
    return (place.host - map->data_start) / VDI_BLOCK;
}

/* Blocks are numbered from data_start; what is behind the count may still hold old bytes. */
static int vdi_alloc(GrainMap *map, uint64_t *host)
{
    Vdi *vdi = map->format;

    if (vdi->allocated >= VDI_MAX_BLOCKS) {
        return -ENOSPC;
    }
    *host = map->data_start + (uint64_t)vdi->allocated++ * VDI_BLOCK;
    vdi->header_dirty = true;
    return 0;
}

static const GrainOps vdi_grain_ops = {
    .decode = vdi_decode, .encode = vdi_encode, .co_alloc = vdi_alloc,
};

/* ---- open ---- */

static int vdi_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= H_SIGNATURE + 4 && le32_load(head + H_SIGNATURE) == VDI_SIGNATURE ? 100 : 0;
}

static bool uuid_is_null(const uint8_t *uuid)
{
    return buffer_is_zero(uuid, 16);
}

static bool vdi_parse(const uint8_t *h, GError **error)
{
    uint64_t length = le64_load(h + H_LENGTH), bmap = le32_load(h + H_BMAP);
    uint64_t blocks = le32_load(h + H_BLOCKS);
    /* clang-format off */
    const struct { bool bad; const char *what; } rules[] = {
        { le32_load(h + H_SIGNATURE) != VDI_SIGNATURE, "it is not a VDI image (bad signature)" },
        { le32_load(h + H_VERSION) != VDI_VERSION, "the version is not 1.1" },
        { le32_load(h + H_SECTOR) != 512, "the sector size is not 512" },
        { le32_load(h + H_BLOCK) != VDI_BLOCK, "the block size is not 1 MiB" },
        { le32_load(h + H_EXTRA) != 0, "blocks have extra data" },
        { le32_load(h + H_TYPE) != VDI_DYNAMIC && le32_load(h + H_TYPE) != VDI_STATIC,
          "the image type is neither dynamic nor static" },
        { bmap % 512 || bmap < 512, "the block map is not sector aligned" },
        { le32_load(h + H_DATA) % 512, "the data is not sector aligned" },
        { blocks > VDI_MAX_BLOCKS, "there are too many blocks" },
        { length > blocks * VDI_BLOCK, "the disk is larger than its block map" },
        { le32_load(h + H_DATA) < bmap + blocks * 4, "the data overlaps the block map" },
        { le32_load(h + H_ALLOCATED) > VDI_MAX_BLOCKS, "the count of blocks is too large" },
        { !uuid_is_null(h + H_LINK) || !uuid_is_null(h + H_PARENT),
          "it depends on another image" },
    };
    /* clang-format on */

    for (unsigned i = 0; i < ARRAY_LEN(rules); i++) {
        if (rules[i].bad) {
            return error_set(error, "Unsupported VDI image: %s", rules[i].what);
        }
    }
    return true;
}

static bool vdi_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Vdi *vdi = node->state;
    GrainMap *map = &vdi->map;
    uint64_t used;
    int ret = co_node_pread(node->file->node, 0, vdi->header, H_LEN);

    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the VDI header");
    }
    if (!vdi_parse(vdi->header, error)) {
        return false;
    }
    node->length = align_up(le64_load(vdi->header + H_LENGTH), 512);
    map->ops = &vdi_grain_ops;
    map->format = vdi;
    map->length = node->length;
    map->grain = VDI_BLOCK;
    map->data_start = le32_load(vdi->header + H_DATA);
    map->table_offset = le32_load(vdi->header + H_BMAP);
    map->page_bytes = 512;
    map->entry_bytes = 4;
    grain_map_init(map, node, node->file->node);
    /* After a power cut the table may be ahead of the header: believe the larger. */
    used = map->file->length > map->data_start ? map->file->length - map->data_start : 0;
    vdi->allocated = (uint32_t)MIN(MAX((uint64_t)le32_load(vdi->header + H_ALLOCATED),
                                       div_round_up(used, VDI_BLOCK)), VDI_MAX_BLOCKS);
    return true;
}

static int vdi_co_flush(BlockNode *node)
{
    Vdi *vdi = node->state;
    int ret = co_grain_flush(&vdi->map);

    if (ret == 0 && vdi->header_dirty) {
        vdi->header_dirty = false;
        le32_store(vdi->header + H_ALLOCATED, vdi->allocated);
        ret = co_node_pwrite(node->file->node, 0, vdi->header, H_LEN, 0);
        vdi->header_dirty = ret < 0;
    }
    return ret;
}

static void vdi_close(BlockNode *node)
{
    Vdi *vdi = node->state;

    if (!node->read_only) {
        vdi_co_flush(node);
    }
    grain_map_clear(&vdi->map);
}

static void vdi_child_moved(BlockNode *node, const BlockChild *edge)
{
    ((Vdi *)node->state)->map.file = node->file->node;
}

static bool vdi_reopen(BlockNode *node, bool read_only, GError **error)
{
    int ret = read_only ? vdi_co_flush(node) : 0;

    return ret == 0 || error_set_errno(error, -ret, "Could not write the tables of '%s'",
                                       node->filename);
}

/* ---- requests ---- */

static int vdi_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    return co_grain_preadv(&((Vdi *)node->state)->map, offset, span);
}

static int vdi_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    return co_grain_pwritev(&((Vdi *)node->state)->map, offset, span);
}

static int vdi_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    return co_grain_write_zeroes(&((Vdi *)node->state)->map, offset, bytes, flags);
}

static int vdi_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    Vdi *vdi = node->state;
    int ret = co_grain_status(&vdi->map, offset, bytes, status);

    if (ret == 0 && le32_load(vdi->header + H_TYPE) == VDI_STATIC) {
        status->flags |= BLK_STATUS_RECURSE;   /* its blocks may be holes of the file */
    }
    status->flags |= BLK_STATUS_ALLOCATED;     /* there is no layer below */
    status->flags |= status->flags & BLK_STATUS_DATA ? 0 : BLK_STATUS_ZERO;
    return ret;
}

static uint32_t vdi_cluster_size(const BlockNode *node)
{
    return VDI_BLOCK;
}

static bool vdi_check(BlockNode *node, int fix, CheckResult *result, GError **error)
{
    Vdi *vdi = node->state;
    uint64_t used = 0;
    int ret;

    if (fix) {
        return error_set(error, "Repairing is not supported for vdi images");
    }
    ret = co_grain_check(&vdi->map, result, &used);
    if (ret == 0 && vdi->allocated < used) {
        if (result->print) {
            result->print("ERROR: the header counts fewer blocks than are in use",
                          result->opaque);
        }
        result->corruptions++;
    }
    return ret == 0 || error_set_errno(error, -ret, "Check failed");
}

/* ---- create ---- */

typedef struct VdiCreate {
    uint64_t size;
    bool is_static;
} VdiCreate;

static bool write_image(BlockNode *file, const void *args, GError **error)
{
    const VdiCreate *c = args;
    uint64_t size = c->size;
    bool is_static = c->is_static;
    uint64_t blocks = div_round_up(size, VDI_BLOCK), table = align_up(blocks * 4, 512);
    g_autofree uint8_t *bmap = g_malloc(MAX(table, 512));
    uint8_t h[H_LEN] = VDI_TEXT;
    int ret;

    memset(bmap, 0, table);
    for (uint64_t i = 0; i < blocks; i++) {
        le32_store(bmap + i * 4, is_static ? (uint32_t)i : VDI_HOLE);
    }
    le32_store(h + H_SIGNATURE, VDI_SIGNATURE);
    le32_store(h + H_VERSION, VDI_VERSION);
    le32_store(h + H_SIZE, 0x180);
    le32_store(h + H_TYPE, is_static ? VDI_STATIC : VDI_DYNAMIC);
    le32_store(h + H_BMAP, H_LEN);
    le32_store(h + H_DATA, (uint32_t)(H_LEN + table));
    le32_store(h + H_SECTOR, 512);
    le64_store(h + H_LENGTH, size);
    le32_store(h + H_BLOCK, VDI_BLOCK);
    le32_store(h + H_BLOCKS, (uint32_t)blocks);
    le32_store(h + H_ALLOCATED, is_static ? (uint32_t)blocks : 0);
    if (getrandom(h + H_UUID, 16, 0) != 16 || getrandom(h + H_LAST_SNAP, 16, 0) != 16) {
        return error_set_errno(error, errno, "Could not make a UUID");
    }
    ret = co_node_pwrite(file, 0, h, H_LEN, 0);
    if (ret == 0 && table) {
        ret = co_node_pwrite(file, H_LEN, bmap, table, 0);
    }
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not write the VDI header");
    }
    return !is_static || co_node_truncate(file, H_LEN + table + blocks * VDI_BLOCK, true, "off",
                                          error);
}

static bool vdi_create(const char *filename, NodeOpts *opts, GError **error)
{
    g_autofree char *prealloc = node_opts_take(opts, "preallocation");
    VdiCreate c = { 0 };

    if (!create_take_size(opts, (uint64_t)VDI_MAX_BLOCKS * VDI_BLOCK, &c.size, error) ||
        !node_opts_take_bool(opts, "static", &c.is_static, error) ||
        !create_opts_finish("vdi", opts, error)) {
        return false;
    }
    if (prealloc && !g_str_equal(prealloc, "off") && !g_str_equal(prealloc, "metadata")) {
        return error_set(error, "Preallocation mode '%s' is not supported for vdi: use off or "
                         "metadata", prealloc);
    }
    c.is_static = c.is_static || g_strcmp0(prealloc, "metadata") == 0;
    return image_write_new(filename, write_image, &c, error);
}

const NodeType node_type_vdi = {
    .name = "vdi", .state_size = sizeof(Vdi), .zero_init = true,
    .probe = vdi_probe, .open = vdi_open, .close = vdi_close,
    .child_moved = vdi_child_moved, .reopen = vdi_reopen,
    .co_preadv = vdi_co_preadv, .co_pwritev = vdi_co_pwritev,
    .co_write_zeroes = vdi_co_write_zeroes, .co_flush = vdi_co_flush,
    .co_status = vdi_co_status, .cluster_size = vdi_cluster_size, .check = vdi_check,
    .create = vdi_create,
    .create_help = "  size=<size>            - Virtual disk size\n"
                   "  static=<bool (on/off)> - VDI static (pre-allocated) image\n",
};
