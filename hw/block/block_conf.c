/* SPDX-License-Identifier: MIT */
/* Checks of a disk's properties, and the back end they lead to. */
#include "hw/block/block_conf.h"

#include "base/error.h"

/* Words in the order of BlkErrorPolicy and BlkTranslation. */
const char *const block_error_policies[] = { "auto", "report", "ignore", "enospc", "stop", NULL };
const char *const block_translations[] = { "auto", "none", "lba", "large", "rechs", NULL };

static bool check_block_size(Device *dev, const char *prop, uint64_t size, GError **error)
{
    if (size >= 512 && size <= 2 * MIB && is_pow2(size)) {
        return true;
    }
    error_set(error, "%s.%s=%" PRIu64 " must be a power of two between 512 and 2 MiB",
              dev->obj.type->name, prop, size);
    return false;
}

bool block_conf_attach(BlockConf *conf, Device *dev, bool removable, bool read_only,
                       const BlkDeviceOps *ops, void *opaque, GError **error)
{
    /* As QMP knows it. */
    g_autofree char *name = dev->id ? g_strdup(dev->id) : object_path(OBJECT(dev));
    BlkAttachConf attach = {
        .device_name = name,
        .removable = removable,
        .read_only = read_only,
        .writable_required = false,
        .share_rw = conf->share_rw,
        .loop = conf->loop,
        .early_done = conf->early_done,
    };

    conf->logical_block_size = conf->logical_block_size ?: 512;
    conf->physical_block_size = conf->physical_block_size ?: conf->logical_block_size;
    if (!check_block_size(dev, "logical_block_size", conf->logical_block_size, error) ||
        !check_block_size(dev, "physical_block_size", conf->physical_block_size, error)) {
        return false;
    }
    if (conf->logical_block_size > conf->physical_block_size) {
        error_set(error,
                  "%s: logical_block_size (%" PRIu64 ") must not be above physical_block_size "
                  "(%" PRIu64 ")",
                  dev->obj.type->name, conf->logical_block_size, conf->physical_block_size);
        return false;
    }
    if (!conf->drive && !removable) {
        error_set(error, "%s needs a disk: give it drive=ID of a -drive or -blockdev",
                  dev->obj.type->name);
        return false;
    }
    conf->blk = blk_attach(conf->drive, &attach, ops, opaque, error);
    if (!conf->blk) {
        return false;
    }
    if (!removable && !blk_has_medium(conf->blk)) {
        error_set(error, "%s: drive '%s' is empty: a disk needs a medium (file=)",
                  dev->obj.type->name, conf->drive);
        block_conf_detach(conf);
        return false;
    }
    if (conf->wants_sg && !blk_is_sg(conf->blk)) {
        error_set(error, "%s: drive '%s' is not a SCSI device of the host: it takes /dev/sgN by "
                  "driver=host_device; scsi-hd takes files and other disks", dev->obj.type->name, conf->drive);
        block_conf_detach(conf);
        return false;
    }
    if (!conf->wants_sg && blk_is_sg(conf->blk)) {
        error_set(error, "%s: drive '%s' is a SCSI device without blocks (/dev/sgN): give that to scsi-generic",
                  dev->obj.type->name, conf->drive);
        block_conf_detach(conf);
        return false;
    }
    if (conf->rerror != BLK_ON_ERROR_AUTO || conf->werror != BLK_ON_ERROR_AUTO) {
        blk_set_on_error(conf->blk, conf->rerror, conf->werror);
    }
    if (conf->write_cache != ON_OFF_AUTO_AUTO) {
        blk_set_write_cache(conf->blk, conf->write_cache == ON_OFF_AUTO_ON);
    }
    return true;
}

void block_conf_detach(BlockConf *conf)
{
    g_clear_pointer(&conf->blk, blk_detach);
}

bool block_conf_geometry(BlockConf *conf, Device *dev, uint32_t max_cyls, uint32_t max_heads,
                         uint32_t max_secs, GError **error)
{
    BlkGeometry geometry;
    BlkTranslation translation;

    if (!conf->cyls && !conf->heads && !conf->secs) {
        blk_guess_geometry(conf->blk, &geometry, &translation);
        conf->cyls = MIN(geometry.cylinders, max_cyls);
        conf->heads = geometry.heads;
        conf->secs = geometry.sectors;
        if (conf->translation == BLK_TRANS_AUTO) {
            conf->translation = translation;
        }
    }
    if (conf->translation == BLK_TRANS_AUTO) {
        geometry = (BlkGeometry){ conf->cyls, conf->heads, conf->secs };
        conf->translation = blk_pick_translation(&geometry);
    }
    if (conf->cyls < 1 || conf->cyls > max_cyls || conf->heads < 1 || conf->heads > max_heads ||
        conf->secs < 1 || conf->secs > max_secs) {
        error_set(error, "%s: geometry cyls=%u,heads=%u,secs=%u is outside 1..%u, 1..%u, 1..%u",
                  dev->obj.type->name, conf->cyls, conf->heads, conf->secs, max_cyls, max_heads,
                  max_secs);
        return false;
    }
    return true;
}
