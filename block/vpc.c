/* SPDX-License-Identifier: MIT */
/*
 * vpc: Virtual PC disk images (VHD), dynamic and fixed.  Layout: docs/formats/vpc.md.
 * Spec: Virtual Hard Disk Image Format Specification 1.0.
 * Not modelled: differencing disks (refused); the sector bitmaps in front of blocks are written
 * (all ones) but not looked at, since only differencing disks need them.
 * Locking: the grain map's lock.
 */
#include "block/grain.h"
#include "block/types.h"

#include <sys/random.h>
#include <time.h>


enum { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };
enum {                             /* offsets in the footer, all big endian */
    F_COOKIE = 0, F_FEATURES = 8, F_VERSION = 12, F_DATA = 16, F_TIME = 24, F_APP = 28,
    F_APP_VERSION = 32, F_OS = 36, F_ORIGINAL = 40, F_CURRENT = 48, F_CYLINDERS = 56,
    F_HEADS = 58, F_SECTORS = 59, F_TYPE = 60, F_CHECKSUM = 64, F_UUID = 68, F_LEN = 512,
};
enum {                             /* in the dynamic header */
    D_COOKIE = 0, D_DATA = 8, D_TABLE = 16, D_VERSION = 24, D_ENTRIES = 28, D_BLOCK = 32,
    D_CHECKSUM = 36, D_LEN = 1024,
};
#define VHD_EPOCH 946684800        /* 2000-01-01 */
#define VHD_HOLE 0xffffffffu
#define VHD_BLOCK (2u << 20)
#define VHD_MAX_SECTORS 0xff000000ull             /* 2040 GiB */
#define VHD_MAX_GEOMETRY (65535ull * 16 * 255)
#define VHD_MAX_TABLE (64u << 20)

typedef struct Vpc {
    GrainMap map;
    uint8_t footer[F_LEN];
    bool dynamic, footer_dirty;
    uint32_t bitmap_bytes;
    uint64_t free_at;              /* where the next block, and until then the footer, goes */
} Vpc;

/* ---- the table ---- */

static GrainPlace vpc_decode(GrainMap *map, uint64_t grain, uint64_t entry)
{
    const Vpc *vpc = map->format;

    if (entry == VHD_HOLE) {
        return (GrainPlace){ GRAIN_HOLE, 0 };
    }
    return (GrainPlace){ GRAIN_DATA, entry * 512 + vpc->bitmap_bytes };
}

static uint64_t vpc_encode(GrainMap *map, uint64_t grain, GrainPlace place)
{
    const Vpc *vpc = map->format;

    return (place.host - vpc->bitmap_bytes) / 512;
}

/*
 * A block takes the place of the footer, which moves behind it at the next flush; its copy at the
 * start of the file serves meanwhile.
 */
static int vpc_alloc(GrainMap *map, uint64_t *host)
{
    Vpc *vpc = map->format;
    g_autofree uint8_t *bitmap = NULL;
    int ret;

    if (vpc->free_at / 512 >= VHD_HOLE) {
        return -ENOSPC;
    }
    bitmap = g_malloc(vpc->bitmap_bytes);
    memset(bitmap, 0xff, vpc->bitmap_bytes);
    ret = co_node_pwrite(map->file, vpc->free_at, bitmap, vpc->bitmap_bytes, 0);
    if (ret < 0) {
        return ret;
    }
    *host = vpc->free_at + vpc->bitmap_bytes;
    vpc->free_at = align_up(*host + map->grain, 512);
    vpc->footer_dirty = true;
    return 0;
}

static const GrainOps vpc_grain_ops = {
    .decode = vpc_decode, .encode = vpc_encode, .co_alloc = vpc_alloc,
};

/* ---- open ---- */

static int vpc_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && memcmp(head, "conectix", 8) == 0 ? 100 : 0;
}

static uint32_t checksum(const uint8_t *p, size_t len, size_t skip)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i >= skip && i < skip + 4 ? 0 : p[i];
    }
    return ~sum;
}

/* Whether the size is the geometry's product depends on who made the image. */
static bool size_from_geometry(const uint8_t *footer)
{
    static const char exact[][5] = { "win ", "qem2", "d2v ", "tap\0", "vs  ", "wa\0\0" };

    for (unsigned i = 0; i < ARRAY_LEN(exact); i++) {
        if (memcmp(footer + F_APP, exact[i], 4) == 0) {
            return false;
        }
    }
    return true;
}

static bool take_length(Vpc *vpc, NodeOpts *opts, uint64_t *length, GError **error)
{
    static const char *const modes[] = { "auto", "current_size", "chs", NULL };
    const uint8_t *f = vpc->footer;
    uint64_t sectors = (uint64_t)be16_load(f + F_CYLINDERS) * f[F_HEADS] * f[F_SECTORS];
    unsigned mode = 0;

    if (!create_take_choice(opts, "force_size_calc", modes, &mode, error)) {
        return false;
    }
    if (mode == 1 || (mode == 0 && (!size_from_geometry(f) || sectors == VHD_MAX_GEOMETRY))) {
        sectors = be64_load(f + F_CURRENT) / 512;
    }
    if (sectors > VHD_MAX_SECTORS) {
        return error_set(error, "The VHD image has %" PRIu64 " sectors; at most %llu are allowed",
                         sectors, VHD_MAX_SECTORS);
    }
    *length = sectors * 512;
    return true;
}

static bool read_footer(BlockNode *file, uint8_t *footer, GError **error)
{
    uint64_t end = file->length;
    int ret = co_node_pread(file, 0, footer, F_LEN);

    if (ret == 0 && memcmp(footer, "conectix", 8) != 0 && end >= F_LEN) {
        ret = co_node_pread(file, end - F_LEN, footer, F_LEN);
        if (ret == 0 && memcmp(footer, "conectix", 8) == 0 &&
            be32_load(footer + F_TYPE) != VHD_FIXED) {
            return error_set(error, "The VHD image has lost its header");
        }
    }
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the VHD footer");
    }
    if (memcmp(footer, "conectix", 8) != 0) {
        return error_set(error, "It is not a VHD image (no 'conectix' cookie)");
    }
    return true;
}

static bool open_dynamic(BlockNode *node, GError **error)
{
    Vpc *vpc = node->state;
    GrainMap *map = &vpc->map;
    BlockNode *file = node->file->node;
    uint8_t d[D_LEN], last[8] = { 0 };
    uint64_t at = be64_load(vpc->footer + F_DATA), table, entries, block;
    int ret = at > file->length ? -EINVAL : co_node_pread(file, at, d, D_LEN);

    if (ret == 0 && file->length >= F_LEN) {
        ret = co_node_pread(file, align_down(file->length, 512) - F_LEN, last, 8);
    }
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read the VHD dynamic header");
    }
    table = be64_load(d + D_TABLE);
    entries = be32_load(d + D_ENTRIES);
    block = be32_load(d + D_BLOCK);
    if (memcmp(d, "cxsparse", 8) != 0) {
        return error_set(error, "The VHD dynamic header is damaged (no 'cxsparse' cookie)");
    }
    if (!is_pow2(block) || block < 512 || block > 256 * MIB) {
        return error_set(error, "Invalid VHD block size %" PRIu64, block);
    }
    if (block * entries < node->length) {
        return error_set(error, "The VHD block table is too small for the disk");
    }
    if (table % 512 || table > INT64_MAX / 2 || entries * 4 > VHD_MAX_TABLE ||
        table + align_up(entries * 4, 512) > file->length) {
        return error_set(error, "The VHD block table is outside of the file, or too large");
    }
    vpc->bitmap_bytes = (uint32_t)align_up(div_round_up(block / 512, 8), 512);
    map->ops = &vpc_grain_ops;
    map->format = vpc;
    map->length = node->length;
    map->grain = (uint32_t)block;
    map->data_start = MAX(at + D_LEN, table + align_up(entries * 4, 512));
    map->table_offset = table;
    map->page_bytes = 512;
    map->entry_bytes = 4;
    map->big_endian = true;
    grain_map_init(map, node, file);
    vpc->free_at = memcmp(last, "conectix", 8) == 0 ? align_down(file->length, 512) - F_LEN
                                                    : align_up(file->length, 512);
    vpc->free_at = MAX(vpc->free_at, map->data_start);
    return true;
}

static bool vpc_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Vpc *vpc = node->state;
    uint32_t type;

    if (!read_footer(node->file->node, vpc->footer, error)) {
        return false;
    }
    type = be32_load(vpc->footer + F_TYPE);
    if (checksum(vpc->footer, F_LEN, F_CHECKSUM) != be32_load(vpc->footer + F_CHECKSUM)) {
        return error_set(error, "Incorrect checksum of the VHD footer");
    }
    if (type != VHD_FIXED && type != VHD_DYNAMIC) {
        return error_set(error, type == VHD_DIFFERENCING ? "VHD differencing images are not "
                         "supported" : "Unknown type of VHD image: %u", type);
    }
    if (!take_length(vpc, opts, &node->length, error)) {
        return false;
    }
    vpc->dynamic = type == VHD_DYNAMIC;
    if (!vpc->dynamic && node->length > node->file->node->length) {
        return error_set(error, "The VHD image is truncated: %" PRIu64 " bytes are missing",
                         node->length - node->file->node->length);
    }
    return !vpc->dynamic || open_dynamic(node, error);
}

static int vpc_co_flush(BlockNode *node)
{
    Vpc *vpc = node->state;
    int ret;

    if (!vpc->dynamic) {
        return 0;
    }
    ret = co_grain_flush(&vpc->map);
    if (ret == 0 && vpc->footer_dirty) {
        vpc->footer_dirty = false;
        ret = co_node_pwrite(node->file->node, vpc->free_at, vpc->footer, F_LEN, 0);
        vpc->footer_dirty = ret < 0;
    }
    return ret;
}

static void vpc_close(BlockNode *node)
{
    Vpc *vpc = node->state;

    if (!node->read_only) {
        vpc_co_flush(node);
    }
    grain_map_clear(&vpc->map);
}

static void vpc_child_moved(BlockNode *node, const BlockChild *edge)
{
    ((Vpc *)node->state)->map.file = node->file->node;
}

static bool vpc_reopen(BlockNode *node, bool read_only, GError **error)
{
    int ret = read_only ? vpc_co_flush(node) : 0;

    return ret == 0 || error_set_errno(error, -ret, "Could not write the tables of '%s'",
                                       node->filename);
}

/* ---- requests ---- */

static int vpc_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    Vpc *vpc = node->state;

    return vpc->dynamic ? co_grain_preadv(&vpc->map, offset, span)
                        : co_node_preadv(node->file->node, offset, span);
}

static int vpc_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    Vpc *vpc = node->state;

    return vpc->dynamic ? co_grain_pwritev(&vpc->map, offset, span)
                        : co_node_pwritev(node->file->node, offset, span, 0);
}

static int vpc_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    Vpc *vpc = node->state;

    return vpc->dynamic ? co_grain_write_zeroes(&vpc->map, offset, bytes, flags)
                        : co_node_write_zeroes(node->file->node, offset, bytes, flags);
}

static int vpc_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    Vpc *vpc = node->state;
    int ret = 0;

    if (vpc->dynamic) {
        ret = co_grain_status(&vpc->map, offset, bytes, status);
        status->flags |= status->flags & BLK_STATUS_DATA ? 0 : BLK_STATUS_ZERO;
    } else {
        status->flags = BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID | BLK_STATUS_RECURSE;
        status->file = node->file->node;
        status->map = offset;
    }
    status->flags |= BLK_STATUS_ALLOCATED;     /* there is no layer below */
    return ret;
}

static uint32_t vpc_cluster_size(const BlockNode *node)
{
    const Vpc *vpc = node->state;

    return vpc->dynamic ? vpc->map.grain : 0;
}

/* ---- create ---- */

typedef struct VpcCreate {
    uint64_t size;
    bool fixed, force_size;
    uint16_t cylinders;
    uint8_t heads, sectors;
} VpcCreate;

/* The specification's own algorithm [VHD 1.0 appendix "CHS calculation"]. */
static void geometry(VpcCreate *c, uint64_t total)
{
    uint64_t cylinders_heads;
    uint32_t heads, sectors;

    total = MIN(total, VHD_MAX_GEOMETRY);
    if (total >= 65535ull * 16 * 63) {
        sectors = 255;
        heads = 16;
    } else {
        sectors = 17;
        heads = (uint32_t)MAX((total / sectors + 1023) / 1024, 4);
        if (total / sectors >= heads * 1024ull || heads > 16) {
            sectors = 31;
            heads = 16;
        }
        if (total / sectors >= heads * 1024ull) {
            sectors = 63;
            heads = 16;
        }
    }
    cylinders_heads = total / sectors;
    c->cylinders = (uint16_t)(cylinders_heads / heads);
    c->heads = (uint8_t)heads;
    c->sectors = (uint8_t)sectors;
}

/* The disk gets as large as the smallest geometry that holds SIZE, as QEMU has it. */
static void choose_size(VpcCreate *c)
{
    uint64_t sectors = MIN(c->size / 512, VHD_MAX_GEOMETRY), chs = 0;

    if (c->force_size) {
        geometry(c, VHD_MAX_GEOMETRY);
        return;
    }
    for (uint64_t extra = 0; chs < sectors || (chs == 0 && extra == 0); extra++) {
        geometry(c, sectors + extra);
        chs = (uint64_t)c->cylinders * c->heads * c->sectors;
    }
    if (chs != VHD_MAX_GEOMETRY) {
        c->size = chs * 512;
    }
}

static bool make_footer(const VpcCreate *c, uint8_t *f, GError **error)
{
    memset(f, 0, F_LEN);
    memcpy(f + F_COOKIE, "conectix", 8);
    be32_store(f + F_FEATURES, 2);
    be32_store(f + F_VERSION, 0x00010000);
    be64_store(f + F_DATA, c->fixed ? UINT64_MAX : F_LEN);
    be32_store(f + F_TIME, (uint32_t)(time(NULL) - VHD_EPOCH));
    memcpy(f + F_APP, c->force_size ? "qem2" : "qemu", 4);
    be32_store(f + F_APP_VERSION, 0x00050003);
    memcpy(f + F_OS, "Wi2k", 4);
    be64_store(f + F_ORIGINAL, c->size);
    be64_store(f + F_CURRENT, c->size);
    be16_store(f + F_CYLINDERS, c->cylinders);
    f[F_HEADS] = c->heads;
    f[F_SECTORS] = c->sectors;
    be32_store(f + F_TYPE, c->fixed ? VHD_FIXED : VHD_DYNAMIC);
    if (getrandom(f + F_UUID, 16, 0) != 16) {
        return error_set_errno(error, errno, "Could not make a UUID");
    }
    be32_store(f + F_CHECKSUM, checksum(f, F_LEN, F_CHECKSUM));
    return true;
}

static int write_dynamic(BlockNode *file, const VpcCreate *c, const uint8_t *footer)
{
    uint64_t entries = div_round_up(c->size, VHD_BLOCK), table = F_LEN + D_LEN;
    size_t table_len = align_up(entries * 4, 512);
    g_autofree uint8_t *bat = g_malloc(table_len + 1);
    uint8_t d[D_LEN] = { 0 };
    int ret;

    memset(bat, 0xff, table_len);
    memcpy(d + D_COOKIE, "cxsparse", 8);
    be64_store(d + D_DATA, UINT64_MAX);
    be64_store(d + D_TABLE, table);
    be32_store(d + D_VERSION, 0x00010000);
    be32_store(d + D_ENTRIES, (uint32_t)entries);
    be32_store(d + D_BLOCK, VHD_BLOCK);
    be32_store(d + D_CHECKSUM, checksum(d, D_LEN, D_CHECKSUM));
    ret = co_node_pwrite(file, 0, footer, F_LEN, 0);
    ret = ret < 0 ? ret : co_node_pwrite(file, F_LEN, d, D_LEN, 0);
    ret = ret < 0 ? ret : co_node_pwrite(file, table, bat, table_len, 0);
    return ret < 0 ? ret : co_node_pwrite(file, table + table_len, footer, F_LEN, 0);
}

static bool write_image(BlockNode *file, const void *args, GError **error)
{
    const VpcCreate *c = args;
    uint8_t footer[F_LEN];
    int ret;

    if (!make_footer(c, footer, error)) {
        return false;
    }
    ret = c->fixed ? co_node_pwrite(file, c->size, footer, F_LEN, 0)
                   : write_dynamic(file, c, footer);
    return ret == 0 || error_set_errno(error, -ret, "Could not write the VHD image");
}

static bool vpc_create(const char *filename, NodeOpts *opts, GError **error)
{
    static const char *const subformats[] = { "dynamic", "fixed", NULL };
    VpcCreate c = { 0 };
    unsigned subformat = 0;
    bool exact = false;                /* blockdev-create does not round */
    uint64_t asked;

    if (!create_take_size(opts, VHD_MAX_SECTORS * 512, &c.size, error) ||
        !node_opts_take_bool(opts, "x-exact", &exact, error) ||
        !node_opts_take_bool(opts, "force_size", &c.force_size, error) ||
        !create_take_choice(opts, "subformat", subformats, &subformat, error) ||
        !create_opts_finish("vpc", opts, error)) {
        return false;
    }
    c.fixed = subformat == 1;
    asked = c.size;
    choose_size(&c);
    if (exact && c.size != asked) {
        return error_set(error, "The requested image size cannot be represented in CHS geometry");
    }
    return image_write_new(filename, write_image, &c, error);
}

const NodeType node_type_vpc = {
    .name = "vpc", .state_size = sizeof(Vpc), .zero_init = true,
    .probe = vpc_probe, .open = vpc_open, .close = vpc_close,
    .child_moved = vpc_child_moved, .reopen = vpc_reopen,
    .co_preadv = vpc_co_preadv, .co_pwritev = vpc_co_pwritev,
    .co_write_zeroes = vpc_co_write_zeroes, .co_flush = vpc_co_flush,
    .co_status = vpc_co_status, .cluster_size = vpc_cluster_size, .create = vpc_create,
    .create_help =
        "  force_size=<bool (on/off)> - Force disk size calculation to use the actual size "
        "specified, rather than using the nearest CHS-based calculation\n"
        "  size=<size>            - Virtual disk size\n"
        "  subformat=<str>        - Type of virtual hard disk format. Supported formats are "
        "{dynamic (default) | fixed} \n",
};
