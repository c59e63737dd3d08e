/* SPDX-License-Identifier: MIT */
/*
 * vhdx: creating images [MS-VHDX 2.2 to 2.6].  Headers, log, block table and metadata lie one
 * behind the other, each on a multiple of 1 MiB; fixed images have all blocks behind them.
 * Locking: a coroutine on the main loop.
 */
#include "block/vhdx.h"

#include <sys/random.h>

typedef struct VhdxCreate {
    uint64_t size, block, log, bat_offset, bat_bytes, metadata_offset;
    bool fixed, zero_state;
} VhdxCreate;

static bool write_at(BlockNode *file, uint64_t offset, const void *buf, size_t len,
                     GError **error)
{
    int ret = co_node_pwrite(file, offset, buf, len, 0);

    return ret == 0 || error_set_errno(error, -ret, "Could not write the VHDX image");
}

static bool write_headers(BlockNode *file, const VhdxCreate *c, GError **error)
{
    static const char id[] = "vhdxfile", creator[] = "Rhea";
    uint8_t h[VHDX_HEADER_LEN] = { 0 };
    g_autofree uint8_t *first = g_malloc0(64 * KIB);

    memcpy(first, id, 8);
    for (unsigned i = 0; creator[i]; i++) {
        le16_store(first + 8 + i * 2, (uint16_t)creator[i]);
    }
    if (getrandom(h + H_FILE_GUID, 32, 0) != 32) {
        return error_set_errno(error, errno, "Could not make a GUID");
    }
    memcpy(h, "head", 4);
    le16_store(h + H_VERSION, 1);
    le32_store(h + H_LOG_LEN, (uint32_t)c->log);
    le64_store(h + H_LOG_OFFSET, MIB);
    if (!write_at(file, 0, first, 64 * KIB, error)) {
        return false;
    }
    for (unsigned i = 0; i < 2; i++) {
        le64_store(h + H_SEQUENCE, i + 1);
        le32_store(h + H_CHECKSUM, vhdx_crc32c(h, sizeof(h), H_CHECKSUM));
        if (!write_at(file, (i + 1) * 64 * KIB, h, sizeof(h), error)) {
            return false;
        }
    }
    return true;
}

static bool write_regions(BlockNode *file, const VhdxCreate *c, GError **error)
{
    g_autofree uint8_t *t = g_malloc0(64 * KIB);
    const struct { const uint8_t *guid; uint64_t offset, bytes; } regions[] = {
        { vhdx_guid_bat, c->bat_offset, c->bat_bytes },
        { vhdx_guid_metadata, c->metadata_offset, MIB },
    };

    memcpy(t, "regi", 4);
    le32_store(t + 8, ARRAY_LEN(regions));
    for (unsigned i = 0; i < ARRAY_LEN(regions); i++) {
        uint8_t *e = t + 16 + i * 32;

        memcpy(e, regions[i].guid, 16);
        le64_store(e + 16, regions[i].offset);
        le32_store(e + 24, (uint32_t)regions[i].bytes);
        le32_store(e + 28, 1);
    }
    le32_store(t + 4, vhdx_crc32c(t, 64 * KIB, 4));
    return write_at(file, 192 * KIB, t, 64 * KIB, error) &&
           write_at(file, 256 * KIB, t, 64 * KIB, error);
}

static bool write_metadata(BlockNode *file, const VhdxCreate *c, GError **error)
{
    g_autofree uint8_t *t = g_malloc0(128 * KIB);
    uint32_t at = 64 * KIB;

    memcpy(t, "metadata", 8);
    le16_store(t + 10, VHDX_PARENT);           /* all but the parent */
    for (unsigned i = 0; i < VHDX_PARENT; i++) {
        uint8_t *e = t + 32 + i * 32;

        memcpy(e, vhdx_items[i].guid, 16);
        le32_store(e + 16, at);
        le32_store(e + 20, vhdx_items[i].bytes);
        le32_store(e + 24, vhdx_items[i].flags);
        switch (i) {
        case VHDX_FILE_PARAMETERS:
            le32_store(t + at, (uint32_t)c->block);
            le32_store(t + at + 4, c->fixed);  /* leave blocks allocated */
            break;
        case VHDX_DISK_SIZE:
            le64_store(t + at, c->size);
            break;
        case VHDX_PAGE83:
            if (getrandom(t + at, 16, 0) != 16) {
                return error_set_errno(error, errno, "Could not make a GUID");
            }
            break;
        default:
            le32_store(t + at, 512);
        }
        at += vhdx_items[i].bytes;
    }
    return write_at(file, c->metadata_offset, t, 128 * KIB, error);
}

static bool write_bat(BlockNode *file, const VhdxCreate *c, GError **error)
{
    uint64_t blocks = div_round_up(c->size, c->block), ratio = (512ull << 23) / c->block;
    uint64_t data = c->metadata_offset + MIB;
    g_autofree uint8_t *bat = g_try_malloc0(c->bat_bytes);

    if (!bat) {
        return error_set(error, "Not enough memory for the VHDX block table");
    }
    for (uint64_t i = 0; i < blocks; i++) {
        le64_store(bat + (i + i / ratio) * 8,
                   c->fixed ? (data + i * c->block) | VHDX_PRESENT
                   : c->zero_state ? VHDX_ZERO : VHDX_NOT_PRESENT);
    }
    return write_at(file, c->bat_offset, bat, c->bat_bytes, error) &&
           co_node_truncate(file, data + (c->fixed ? blocks * c->block : 0), true, "off", error);
}

static bool write_image(BlockNode *file, const void *args, GError **error)
{
    const VhdxCreate *c = args;

    return write_headers(file, c, error) && write_regions(file, c, error) &&
           write_bat(file, c, error) && write_metadata(file, c, error);
}

static uint64_t block_for(uint64_t size)
{
    return size > 32 * TIB ? 64 * MIB : size > 100 * GIB ? 32 * MIB : size > GIB ? 16 * MIB
           : 8 * MIB;
}

bool vhdx_create(const char *filename, NodeOpts *opts, GError **error)
{
    static const char *const subformats[] = { "dynamic", "fixed", NULL };
    VhdxCreate c = { .log = MIB, .zero_state = true };
    unsigned subformat = 0;
    uint64_t blocks;

    if (!create_take_size(opts, 64 * TIB, &c.size, error) ||
        !node_opts_take_size(opts, "block_size", &c.block, error) ||
        !node_opts_take_size(opts, "log_size", &c.log, error) ||
        !node_opts_take_bool(opts, "block_state_zero", &c.zero_state, error) ||
        !create_take_choice(opts, "subformat", subformats, &subformat, error) ||
        !create_opts_finish("vhdx", opts, error)) {
        return false;
    }
    c.fixed = subformat == 1;
    c.log = MAX(c.log, MIB);
    if (c.log % MIB || c.log > 64 * MIB) {
        return error_set(error, "Log size must be a multiple of 1 MB, at most 64 MB");
    }
    c.block = c.block ? c.block : block_for(c.size);
    if (!is_pow2(c.block) || c.block < MIB || c.block > 256 * MIB) {
        return error_set(error, "Block size must be a power of two from 1 MB to 256 MB");
    }
    blocks = div_round_up(c.size, c.block);
    c.bat_offset = MIB + c.log;
    c.bat_bytes = align_up(MAX(1, blocks + (blocks ? (blocks - 1) / ((512ull << 23) / c.block)
                                                   : 0)) * 8, MIB);
    c.metadata_offset = c.bat_offset + c.bat_bytes;
    return image_write_new(filename, write_image, &c, error);
}
