/* SPDX-License-Identifier: MIT */
/*
 * Emulated SCSI logical units on a block backend: disks ("scsi-hd") and CD/DVD-ROM drives ("scsi-cd").
 * Spec: SPC-4 (T10/1731-D), SBC-3 (BSR INCITS 514), MMC-6 (T10/1836-D).
 * Not modelled: persistent reservations and log pages (INVALID COMMAND OPERATION CODE); RESERVE
 * and RELEASE always succeed, there is one initiator.
 * Locking: scsi.h; hooks of the backend: main loop, with the bus held.
 */
#include "hw/scsi/scsi_disk.h"

#include "base/error.h"

enum { CD_BLOCK = 2048 };

uint64_t scsi_disk_blocks(const ScsiDisk *d)
{
    return blk_length(d->blk) / d->unit.block_size;
}

bool scsi_disk_has_medium(const ScsiDisk *d)
{
    return blk_has_medium(d->blk) && !d->tray_open;
}

/* ---- commands ---- */

static void good(ScsiRequest *req)
{
    scsi_req_good(req);
}

/* No change of format is possible, and without one there is nothing to do.  [SBC-3 5.3] */
static void format_unit(ScsiRequest *req)
{
    if (req->cdb[1] & 0x1f) {         /* a parameter list */
        scsi_req_check(req, SENSE_INVALID_FIELD);
    } else if (!blk_is_writable(scsi_disk_of(req)->blk)) {
        scsi_req_check(req, SENSE_WRITE_PROTECTED);
    } else {
        scsi_req_good(req);
    }
}

static void seek(ScsiRequest *req)
{
    if (scsi_cdb_lba(req->cdb) >= scsi_disk_blocks(scsi_disk_of(req))) {
        scsi_req_check(req, SENSE_LBA_OUT_OF_RANGE);
    } else {
        scsi_req_good(req);
    }
}

/* Only the self-test, which finds nothing wrong.  [SPC-4 6.42] */
static void send_diagnostic(ScsiRequest *req)
{
    if (!(req->cdb[1] & 0x04) || req->xfer) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
    } else {
        scsi_req_good(req);
    }
}

typedef struct TrayNews {
    ScsiDisk *disk;           /* a reference */
    bool open;
} TrayNews;

static void tray_moved(void *opaque)
{
    TrayNews *news = opaque;

    if (news->disk->unit.dev.realized) {
        blk_tray_moved(news->disk->blk, news->open);
    }
    object_unref(OBJECT(news->disk));
    g_free(news);
}

/* Events are the main loop's. */
static void tell_tray(ScsiDisk *d)
{
    if (scsi_bus_of(&d->unit)->loop) {
        TrayNews *news = g_new(TrayNews, 1);

        object_ref(OBJECT(d));
        *news = (TrayNews){ d, d->tray_open };
        event_loop_post(event_loop_main(), tray_moved, news);
    } else {
        blk_tray_moved(d->blk, d->tray_open);
    }
}

/* [SBC-3 5.19, MMC-6 6.42] */
static void start_stop(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    bool start = req->cdb[4] & 1, loej = req->cdb[4] & 2;

    if (d->removable && loej && !(req->cdb[4] >> 4)) {
        if (!start && !d->tray_open && d->tray_locked) {
            scsi_req_check(req, blk_has_medium(d->blk) ? SENSE_REMOVAL_PREVENTED
                                                       : SENSE_LOCKED_NO_MEDIUM);
            return;
        }
        if (d->tray_open == start) {
            d->tray_open = !start;
            tell_tray(d);
        }
    }
    scsi_req_good(req);
}

static void prevent_removal(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);

    if (d->removable) {
        d->tray_locked = req->cdb[4] & 1;
        blk_lock_medium(d->blk, d->tray_locked);
    }
    scsi_req_good(req);
}

enum { DISK = 1, CD = 2, MEDIUM = 4, UNATTENDED = 8 };

/* Who has the command; MEDIUM: which must be in; UNATTENDED: runs before a unit attention. */
/* clang-format off */
static const struct { void (*run)(ScsiRequest *req); uint8_t flags; } commands[256] = {
    [TEST_UNIT_READY]        = { good,                      DISK | CD | MEDIUM },
    [REZERO_UNIT]            = { good,                      DISK | MEDIUM },
    [FORMAT_UNIT]            = { format_unit,               DISK | MEDIUM },
    [READ_6]                 = { scsi_disk_read,            DISK | CD | MEDIUM },
    [WRITE_6]                = { scsi_disk_write,           DISK | MEDIUM },
    [SEEK_6]                 = { seek,                      DISK | MEDIUM },
    [INQUIRY]                = { scsi_disk_inquiry,         DISK | CD | UNATTENDED },
    [MODE_SELECT_6]          = { scsi_disk_mode_select,     DISK | CD | MEDIUM },
    [RESERVE_6]              = { good,                      DISK | CD },
    [RELEASE_6]              = { good,                      DISK | CD },
    [MODE_SENSE_6]           = { scsi_disk_mode_sense,      DISK | CD },
    [START_STOP_UNIT]        = { start_stop,                DISK | CD },
    [SEND_DIAGNOSTIC]        = { send_diagnostic,           DISK | CD },
    [PREVENT_ALLOW_REMOVAL]  = { prevent_removal,           DISK | CD },
    [READ_CAPACITY_10]       = { scsi_disk_read_capacity,   DISK | CD | MEDIUM },
    [READ_10]                = { scsi_disk_read,            DISK | CD | MEDIUM },
    [WRITE_10]               = { scsi_disk_write,           DISK | MEDIUM },
    [SEEK_10]                = { seek,                      DISK | CD | MEDIUM },
    [WRITE_VERIFY_10]        = { scsi_disk_write,           DISK | MEDIUM },
    [VERIFY_10]              = { scsi_disk_verify,          DISK | CD | MEDIUM },
    [SYNCHRONIZE_CACHE_10]   = { scsi_disk_sync,            DISK | CD | MEDIUM },
    [WRITE_SAME_10]          = { scsi_disk_write_same,      DISK | MEDIUM },
    [UNMAP]                  = { scsi_disk_unmap,           DISK | MEDIUM },
    [READ_TOC]               = { scsi_cd_read_toc,          CD | MEDIUM },
    [GET_CONFIGURATION]      = { scsi_cd_get_configuration, CD | UNATTENDED },
    [GET_EVENT_STATUS]       = { scsi_cd_event_status,      CD | UNATTENDED },
    [READ_DISC_INFORMATION]  = { scsi_cd_disc_information,  CD | MEDIUM },
    [READ_TRACK_INFORMATION] = { scsi_cd_track_information, CD | MEDIUM },
    [MODE_SELECT_10]         = { scsi_disk_mode_select,     DISK | CD | MEDIUM },
    [RESERVE_10]             = { good,                      DISK | CD },
    [RELEASE_10]             = { good,                      DISK | CD },
    [MODE_SENSE_10]          = { scsi_disk_mode_sense,      DISK | CD },
    [READ_16]                = { scsi_disk_read,            DISK | CD | MEDIUM },
    [WRITE_16]               = { scsi_disk_write,           DISK | MEDIUM },
    [WRITE_VERIFY_16]        = { scsi_disk_write,           DISK | MEDIUM },
    [VERIFY_16]              = { scsi_disk_verify,          DISK | MEDIUM },
    [SYNCHRONIZE_CACHE_16]   = { scsi_disk_sync,            DISK | MEDIUM },
    [WRITE_SAME_16]          = { scsi_disk_write_same,      DISK | MEDIUM },
    [SERVICE_ACTION_IN_16]   = { scsi_disk_service_action_in, DISK | CD | MEDIUM },
    [READ_12]                = { scsi_disk_read,            DISK | CD | MEDIUM },
    [WRITE_12]               = { scsi_disk_write,           DISK | MEDIUM },
    [READ_DVD_STRUCTURE]     = { scsi_cd_dvd_structure,     CD | MEDIUM },
    [WRITE_VERIFY_12]        = { scsi_disk_write,           DISK | MEDIUM },
    [VERIFY_12]              = { scsi_disk_verify,          DISK | MEDIUM },
    [SET_CD_SPEED]           = { good,                      CD },
    [MECHANISM_STATUS]       = { scsi_cd_mechanism_status,  CD },
};
/* clang-format on */

static bool has_command(const ScsiDisk *d, uint8_t opcode)
{
    return commands[opcode].run && (commands[opcode].flags & (d->is_cd ? CD : DISK));
}

static void disk_run(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint8_t opcode = req->cdb[0];

    if (!has_command(d, opcode)) {
        scsi_req_check(req, SENSE_INVALID_OPCODE);
    } else if ((commands[opcode].flags & MEDIUM) && !scsi_disk_has_medium(d)) {
        scsi_req_check(req, SENSE_NO_MEDIUM);
    } else {
        commands[opcode].run(req);
    }
}

static bool disk_ignores_attention(const ScsiRequest *req)
{
    return has_command(scsi_disk_of(req), req->cdb[0]) &&
           (commands[req->cdb[0]].flags & UNATTENDED);
}

static bool disk_parse(ScsiRequest *req)
{
    return scsi_cdb_parse_blocks(req) || has_command(scsi_disk_of(req), req->cdb[0]);
}

/* ---- the medium ---- */

static void medium_changed(void *opaque, bool loaded)
{
    ScsiDisk *d = opaque;

    d->tray_open = !loaded;           /* the user takes and puts media with the tray */
    d->media_event = true;
    d->eject_request = false;
    d->media_changed = loaded;
    d->seen_blocks = scsi_disk_blocks(d);
    if (loaded) {
        scsi_unit_changed(&d->unit, SENSE_MEDIUM_CHANGED);
    }
}

static void eject_request(void *opaque, bool force)
{
    ScsiDisk *d = opaque;

    d->eject_request = true;
    if (force) {
        d->tray_locked = false;
    }
}

static bool tray_is_open(void *opaque)
{
    return ((ScsiDisk *)opaque)->tray_open;
}

static bool medium_is_locked(void *opaque)
{
    return ((ScsiDisk *)opaque)->tray_locked;
}

static void resized(void *opaque)
{
    ScsiDisk *d = opaque;
    uint64_t blocks = scsi_disk_blocks(d);

    if (blocks == d->seen_blocks) {
        return;
    }
    d->seen_blocks = blocks;
    scsi_unit_changed(&d->unit, d->is_cd ? SENSE_MEDIUM_CHANGED : SENSE_CAPACITY_CHANGED);
}

static const BlkDeviceOps removable_ops = {
    .medium_changed = medium_changed,
    .eject_request = eject_request,
    .tray_is_open = tray_is_open,
    .medium_is_locked = medium_is_locked,
    .resized = resized,
};
static const BlkDeviceOps fixed_ops = { .resized = resized };

/* ---- life ---- */

static void disk_drain(ScsiDevice *unit)
{
    blk_drain(((ScsiDisk *)(void *)unit)->blk);
}

static void disk_reset(ScsiDevice *unit)
{
    ScsiDisk *d = (ScsiDisk *)(void *)unit;

    d->tray_locked = false;
    blk_lock_medium(d->blk, false);
    d->eject_request = false;
}

static char *string_or(char *given, const char *otherwise)
{
    return given ? given : g_strdup(otherwise);
}

static bool disk_realize(ScsiDisk *d, bool cd, GError **error)
{
    Device *dev = &d->unit.dev;

    d->is_cd = cd;
    d->removable |= cd;
    d->conf.loop = scsi_bus_of(&d->unit)->loop;
    if (!cd && !d->conf.drive) {
        return error_set(error, "%s needs a disk: give it drive=ID of a -drive or -blockdev",
                         dev->obj.type->name);
    }
    if (!block_conf_attach(&d->conf, dev, d->removable, cd,
                           d->removable ? &removable_ops : &fixed_ops, d, error)) {
        return false;
    }
    if (!cd && !block_conf_geometry(&d->conf, dev, 65535, 255, 255, error)) {
        block_conf_detach(&d->conf);
        return false;
    }
    d->blk = d->conf.blk;
    if (d->conf.discard_granularity == UINT32_MAX) {
        d->conf.discard_granularity = MAX(d->conf.logical_block_size, 4096);
    }
    d->unit.peripheral_type = cd ? SCSI_TYPE_CD : SCSI_TYPE_DISK;
    d->unit.block_size = cd ? CD_BLOCK : d->conf.logical_block_size;
    d->vendor = string_or(d->vendor, "QEMU");
    d->product = string_or(d->product, cd ? "QEMU CD-ROM" : "QEMU HARDDISK");
    d->version = string_or(d->version, "2.5+");
    if (!d->device_id) {
        d->device_id = g_strdup(d->conf.serial ?: blk_name(d->blk));
    }
    d->seen_blocks = scsi_disk_blocks(d);
    d->wce_default = blk_write_cache(d->blk);
    return true;
}

static bool hd_realize(Device *dev, GError **error)
{
    return disk_realize(DEVICE_CAST(ScsiDisk, dev), false, error);
}

static bool cd_realize(Device *dev, GError **error)
{
    return disk_realize(DEVICE_CAST(ScsiDisk, dev), true, error);
}

static void disk_unrealize(Device *dev)
{
    ScsiDisk *d = DEVICE_CAST(ScsiDisk, dev);

    scsi_unit_leave(&d->unit);
    block_conf_detach(&d->conf);
}

/* clang-format off */
#define SCSI_DISK_PROPS \
    BLOCK_CONF_PROPS(ScsiDisk, conf), \
    PROP_STR("ver", ScsiDisk, version), \
    PROP_STR("vendor", ScsiDisk, vendor), \
    PROP_STR("product", ScsiDisk, product), \
    PROP_STR("device_id", ScsiDisk, device_id), \
    PROP_U64("wwn", ScsiDisk, wwn, 0), \
    PROP_U64("port_wwn", ScsiDisk, port_wwn, 0), \
    PROP_U16("port_index", ScsiDisk, port_index, 0), \
    PROP_U64("max_io_size", ScsiDisk, max_io_size, INT32_MAX, .min = 512, .max = INT32_MAX), \
    PROP_I32("scsi_version", ScsiDisk, unit.scsi_version, 5)

static const PropDef hd_props[] = {
    SCSI_DISK_PROPS,
    PROP_BOOL("removable", ScsiDisk, removable, false, .help = "on/off"),
    PROP_BOOL("dpofua", ScsiDisk, dpofua, false, .help = "on/off"),
    PROP_U64("max_unmap_size", ScsiDisk, max_unmap_size, GIB),
    PROP_U16("rotation_rate", ScsiDisk, rotation_rate, 0),
    PROP_U32("cyls", ScsiDisk, conf.cyls, 0),
    PROP_U32("heads", ScsiDisk, conf.heads, 0),
    PROP_U32("secs", ScsiDisk, conf.secs, 0),
    PROP_END
};
static const PropDef cd_props[] = { SCSI_DISK_PROPS, PROP_END };

static const VmField disk_fields[] = {
    VMS_PART(ScsiDisk, unit, "qdev", &vmstate_scsi_device),
    VMS_BOOL(ScsiDisk, media_changed),
    VMS_BOOL(ScsiDisk, media_event),
    VMS_BOOL(ScsiDisk, eject_request),
    VMS_BOOL(ScsiDisk, tray_open),
    VMS_BOOL(ScsiDisk, tray_locked),
    VMS_END
};
/* clang-format on */

static bool disk_post_load(void *obj, int version, GError **error)
{
    ScsiDisk *d = obj;

    if (!d->removable && (d->tray_open || d->tray_locked)) {
        return error_set(error, "%s has no tray, but its saved state has one",
                         d->unit.dev.obj.type->name);
    }
    blk_lock_medium(d->blk, d->tray_locked);
    return true;
}

static const ScsiUnitInfo disk_info = {
    .fw_name = "disk",
    .req_size = sizeof(ScsiDiskReq),
    .parse = disk_parse,
    .run = disk_run,
    .piece_moved = scsi_disk_piece_moved,
    .cancel = scsi_disk_cancel,
    .drain = disk_drain,
    .reset = disk_reset,
    .retry = scsi_disk_retry,
    .release = scsi_disk_release,
    .ignores_attention = disk_ignores_attention,
    .save = scsi_disk_save,
    .load = scsi_disk_load,
};

DEVICE_TYPE(scsi_hd, .name = "scsi-hd", .parent = "scsi-device", .size = sizeof(ScsiDisk),
            .desc = "virtual SCSI disk", .bus = &bus_scsi, .bus_info = &disk_info,
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true, .hotpluggable = true,
            .props = hd_props, .realize = hd_realize, .unrealize = disk_unrealize,
            .vmstate = VMSTATE("scsi-disk", 1, 1, disk_fields, .post_load = disk_post_load));
DEVICE_TYPE(scsi_cd, .name = "scsi-cd", .parent = "scsi-device", .size = sizeof(ScsiDisk),
            .desc = "virtual SCSI CD-ROM", .bus = &bus_scsi, .bus_info = &disk_info,
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true, .hotpluggable = true,
            .props = cd_props, .realize = cd_realize, .unrealize = disk_unrealize,
            .vmstate = VMSTATE("scsi-disk", 1, 1, disk_fields, .post_load = disk_post_load));
