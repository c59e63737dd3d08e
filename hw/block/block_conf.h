/* SPDX-License-Identifier: MIT */
/*
 * The properties that every disk-like device has (drive=, serial=, bootindex=, block sizes,
 * error policy, geometry), and how they become an attached BlockBackend.
 * Thread rule: main loop, machine lock.
 */
#ifndef HW_BLOCK_BLOCK_CONF_H
#define HW_BLOCK_BLOCK_CONF_H

#include "block/backend.h"
#include "vm/device.h"

typedef struct BlockConf {
    char *drive;              /* drive=: name of a backend or node */
    EventLoop *loop;          /* where its requests are to run; NULL: the main loop */
    bool early_done;          /* BlkAttachConf.early_done */
    bool wants_sg;            /* a device that takes SCSI commands (blk_is_sg()); else none such */
    BlockBackend *blk;        /* from block_conf_attach() to _detach() */
    uint64_t logical_block_size, physical_block_size, min_io_size, opt_io_size;
    uint64_t discard_granularity;
    int32_t bootindex;        /* -1: not in the boot order */
    char *serial;             /* at most 20 characters where the bus says so */
    int rerror, werror;       /* BlkErrorPolicy */
    OnOffAuto write_cache;
    bool share_rw;
    uint32_t cyls, heads, secs;      /* 0: guessed */
    int translation;          /* BlkTranslation */
} BlockConf;

extern const char *const block_error_policies[];
extern const char *const block_translations[];

/* clang-format off */
#define BLOCK_CONF_PROPS(T, c) \
    PROP_STR("drive", T, c.drive, .help = "Node name or ID of a block device to use as a backend"), \
    PROP_SIZE("logical_block_size", T, c.logical_block_size, 0, .help = "A power of two between 512 B and 2 MiB"), \
    PROP_SIZE("physical_block_size", T, c.physical_block_size, 0, .help = "A power of two between 512 B and 2 MiB"), \
    PROP_SIZE("min_io_size", T, c.min_io_size, 0), \
    PROP_SIZE("opt_io_size", T, c.opt_io_size, 0), \
    PROP_SIZE("discard_granularity", T, c.discard_granularity, UINT32_MAX), \
    PROP_I32("bootindex", T, c.bootindex, -1), \
    PROP_STR("serial", T, c.serial), \
    PROP_ENUM("rerror", T, c.rerror, block_error_policies, BLK_ON_ERROR_AUTO, .help = "Error handling policy, report/ignore/enospc/stop/auto"), \
    PROP_ENUM("werror", T, c.werror, block_error_policies, BLK_ON_ERROR_AUTO, .help = "Error handling policy, report/ignore/enospc/stop/auto"), \
    PROP_ON_OFF_AUTO("write-cache", T, c.write_cache, ON_OFF_AUTO_AUTO, .help = "on/off/auto"), \
    PROP_BOOL("share-rw", T, c.share_rw, false)
#define BLOCK_GEOMETRY_PROPS(T, c) \
    PROP_U32("cyls", T, c.cyls, 0), PROP_U32("heads", T, c.heads, 0), PROP_U32("secs", T, c.secs, 0), \
    PROP_ENUM("bios-chs-trans", T, c.translation, block_translations, BLK_TRANS_AUTO, \
              .help = "Logical CHS translation algorithm, auto/none/lba/large/rechs")
/* clang-format on */

/*
 * Checks the properties and attaches the backend.  A device that needs a medium and has none, a
 * second device on the same drive, a bad block size: an error that names DEV.
 */
bool block_conf_attach(BlockConf *conf, Device *dev, bool removable, bool read_only,
                       const BlkDeviceOps *ops, void *opaque, GError **error);
void block_conf_detach(BlockConf *conf);
/* Fills cyls/heads/secs where 0, and checks them against the limits. */
bool block_conf_geometry(BlockConf *conf, Device *dev, uint32_t max_cyls, uint32_t max_heads,
                         uint32_t max_secs, GError **error);

#endif
