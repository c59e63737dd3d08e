/* SPDX-License-Identifier: MIT */
/*
 * SCSI devices of the host as logical units: "scsi-generic" is any, by /dev/sgN; "scsi-block" a disk, by
 * its block device, with the block layer's answer to errors (rerror=, werror=) and limits of its own.
 * Spec: SPC-4 (T10/1731-D); sg_io_hdr of the Linux kernel's <scsi/sg.h>.
 *
 * Commands go to the device as they are, except those that the bus answers (scsi_target.c).  How many
 * bytes a command moves and which way is known from its descriptor block; one that is in no table
 * here is an INVALID COMMAND OPERATION CODE.
 * Not modelled: tapes, whose READ and WRITE are shaped differently; the host's limit of a transfer is not put into
 * page B0h; what a device says by itself, unit attentions excepted.
 * Locking: scsi.h; completions come where the bus runs.
 */
#include "hw/scsi/scsi.h"

#include <errno.h>
#include <scsi/sg.h>

#include "base/error.h"
#include "hw/block/block_conf.h"

/* TRANSFER_MAX: of a command whose data are kept here, since the adapter moves pieces. */
enum { TRANSFER_MAX = 1024 * 1024, SYNC_TIMEOUT_MS = 6000, INQUIRY_LEN = 36, CAPACITY_LEN = 8 };
/* sg_io_hdr.host_status and .driver_status. */
enum { DID_OK = 0, DID_NO_CONNECT = 1, DID_BUS_BUSY = 2, DID_TIME_OUT = 3, DRIVER_TIMEOUT = 6 };

typedef struct ScsiGeneric {
    ScsiDevice unit;
    BlockConf conf;           /* drive, bootindex, share_rw; of scsi-block also rerror and werror */
    uint32_t io_timeout;      /* seconds */
    bool is_block;
    uint16_t rotation_rate;   /* of scsi-block; 0: as the device says */
    uint64_t max_unmap_size, max_io_size;
    bool wire_only[5];        /* the medium and tray of QEMU's, which belong to the device here */
} ScsiGeneric;

typedef struct ScsiGenericReq {
    ScsiRequest req;          /* first */
    sg_io_hdr_t io;
    uint8_t sense[64];
    uint8_t *data;            /* when the adapter moves pieces: all of them */
    uint32_t pos;             /* of the next piece */
} ScsiGenericReq;

static ScsiGeneric *generic_of(const ScsiRequest *req)
{
    return (ScsiGeneric *)(void *)req->dev;
}

static ScsiGenericReq *generic_req(ScsiRequest *req)
{
    return (ScsiGenericReq *)(void *)req;
}

/* ---- descriptor blocks ---- */

/* Lengths that neither the bus nor disks know.  [SPC-4 6, MMC-6 6, SSC-3 7, SMC-3 6] */
/* clang-format off */
static const struct { uint8_t opcode, dir, at, size; } lengths[] = {
    { 0x3b, SCSI_DIR_OUT,  6, 3 },   /* WRITE BUFFER */
    { 0x3c, SCSI_DIR_IN,   6, 3 },   /* READ BUFFER */
    { 0x4c, SCSI_DIR_OUT,  7, 2 },   /* LOG SELECT */
    { 0x4d, SCSI_DIR_IN,   7, 2 },   /* LOG SENSE */
    { 0x5e, SCSI_DIR_IN,   7, 2 },   /* PERSISTENT RESERVE IN */
    { 0x5f, SCSI_DIR_OUT,  7, 2 },   /* PERSISTENT RESERVE OUT */
    { 0xa3, SCSI_DIR_IN,   6, 4 },   /* MAINTENANCE IN */
    { 0xa4, SCSI_DIR_OUT,  6, 4 },   /* MAINTENANCE OUT */
    { 0xac, SCSI_DIR_NONE, 0, 0 },   /* ERASE, GET PERFORMANCE */
    { 0xb8, SCSI_DIR_IN,   6, 4 },   /* READ ELEMENT STATUS */
};
/* clang-format on */

static uint32_t number(const uint8_t *p, unsigned size)
{
    uint32_t value = 0;

    while (size--) {
        value = value << 8 | *p++;
    }
    return value;
}

static bool generic_parse(ScsiRequest *req)
{
    for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
        if (lengths[i].opcode == req->cdb[0]) {
            req->dir = (ScsiDir)lengths[i].dir;
            req->xfer = number(req->cdb + lengths[i].at, lengths[i].size);
            return true;
        }
    }
    req->moves_blocks = scsi_cdb_parse_blocks(req);
    return req->moves_blocks;
}

/* ---- commands ---- */

static void finish(ScsiGenericReq *r)
{
    scsi_req_complete(&r->req, r->io.status, r->sense, r->io.status ? r->io.sb_len_wr : 0);
}

/* ---- what scsi-block says otherwise than the device ---- */

static uint8_t *reply_at(ScsiGenericReq *r, size_t offset, size_t len)
{
    if (r->data) {
        return r->data + offset;
    }
    for (unsigned i = 0; i < r->req.niov; i++) {
        const struct iovec *iov = &r->req.iov[i];

        if (offset < iov->iov_len) {
            return len <= iov->iov_len - offset ? (uint8_t *)iov->iov_base + offset : NULL;
        }
        offset -= iov->iov_len;
    }
    return NULL;
}

/* In a reply of COUNT bytes.  A field that a guest has torn in two pieces stays as it is. */
static void lower32(ScsiGenericReq *r, size_t count, size_t offset, uint64_t max)
{
    uint8_t *p = offset + 4 <= count ? reply_at(r, offset, 4) : NULL;
    uint32_t value = p ? be32_load(p) : 0;

    if (p && (!value || value > max)) {
        be32_store(p, (uint32_t)MIN(max, UINT32_MAX));
    }
}

static void change_inquiry(ScsiGenericReq *r)
{
    ScsiGeneric *s = generic_of(&r->req);
    const uint8_t *cdb = r->req.cdb;
    size_t count = r->io.dxfer_len - (size_t)r->io.resid;
    bool vital = cdb[1] & 1;
    uint8_t *p;

    if (!vital && s->unit.scsi_version >= 0 && count > 2 && (p = reply_at(r, 2, 1))) {
        *p = (uint8_t)s->unit.scsi_version;
    } else if (vital && cdb[2] == 0xb0) {        /* block limits  [SBC-3 6.6.4] */
        lower32(r, count, 8, MAX(s->max_io_size / s->unit.block_size, 1));
        lower32(r, count, 20, MAX(s->max_unmap_size / s->unit.block_size, 1));
    } else if (vital && cdb[2] == 0xb1 && s->rotation_rate && count >= 6 && (p = reply_at(r, 4, 2))) {
        be16_store(p, s->rotation_rate);
    }
}

/* An error of the medium or of the host, as the block layer knows them; 0: none of these. */
static int error_of(const ScsiGenericReq *r, int ret)
{
    if (ret < 0) {
        return -ret;
    }
    if (r->io.host_status != DID_OK) {
        return r->io.host_status == DID_BUS_BUSY ? 0 : EIO;
    }
    if (r->io.status != SCSI_CHECK_CONDITION || r->io.sb_len_wr < 14 || (r->sense[0] & 0x7e) != 0x70) {
        return 0;
    }
    switch (r->sense[2] & 0xf) {
    case 3:                           /* medium error */
    case 4:                           /* hardware error */
        return EIO;
    case 7:                           /* data protect: space allocation failed */
        return r->sense[12] == 0x27 && r->sense[13] == 0x07 ? ENOSPC : 0;
    default:
        return 0;
    }
}

/* Of reads and writes; true: it waits for the VM to run again, or is over as if nothing had been. */
static bool policy_decides(ScsiGenericReq *r, int ret)
{
    ScsiGeneric *s = generic_of(&r->req);
    int err = s->is_block && r->req.moves_blocks ? error_of(r, ret) : 0;

    if (!err) {
        return false;
    }
    switch (blk_handle_error(s->conf.blk, r->req.dir == SCSI_DIR_IN, err)) {
    case BLK_ERROR_STOP:
        scsi_req_wait_for_resume(&r->req);
        return true;
    case BLK_ERROR_IGNORE:
        r->req.moved = r->req.xfer;
        scsi_req_good(&r->req);
        return true;
    case BLK_ERROR_REPORT:
        break;
    }
    return false;
}

/* The rest of the data in, or the end. */
static void offer_next(ScsiGenericReq *r)
{
    uint32_t len = r->io.dxfer_len - (uint32_t)MAX(r->io.resid, 0);

    if (r->pos < len) {
        scsi_req_offer(&r->req, r->data + r->pos, MIN(len - r->pos, SCSI_PIECE_MAX));
    } else {
        finish(r);
    }
}

static void fail(ScsiGenericReq *r, int ret)
{
    switch (ret) {
    case -ENOMEM:
    case -EBUSY:
    case -EAGAIN:
        scsi_req_complete(&r->req, SCSI_BUSY, NULL, 0);
        break;
    case -EINVAL:
    case -EPERM:
    case -EACCES:
        scsi_req_check(&r->req, SENSE_INVALID_FIELD);
        break;
    default:
        scsi_req_check(&r->req, SENSE_TARGET_FAILURE);
    }
}

static void command_came(void *opaque, int ret)
{
    ScsiGenericReq *r = opaque;
    ScsiRequest *req = &r->req;

    if (scsi_req_was_cancelled(req)) {
        scsi_req_unref(req);
        return;
    }
    r->io.resid = CLAMP(r->io.resid, 0, (int)r->io.dxfer_len);
    r->io.sb_len_wr = MIN(r->io.sb_len_wr, sizeof(r->sense));
    if (!ret && !r->io.status && generic_of(req)->is_block && req->cdb[0] == INQUIRY) {
        change_inquiry(r);
    }
    if (policy_decides(r, ret)) {
        scsi_req_unref(req);
        return;
    }
    if (ret < 0) {
        fail(r, ret);
    } else if (r->io.host_status == DID_NO_CONNECT) {
        scsi_req_check(req, SENSE_LUN_NOT_SUPPORTED);
    } else if (r->io.host_status == DID_BUS_BUSY || r->io.host_status == DID_TIME_OUT ||
               (r->io.driver_status & 0x0f) == DRIVER_TIMEOUT) {
        scsi_req_complete(req, SCSI_BUSY, NULL, 0);
    } else if (r->io.host_status != DID_OK) {
        scsi_req_check(req, SENSE_COMMAND_ABORTED);
    } else if (r->data && req->dir == SCSI_DIR_IN && !r->io.status) {
        offer_next(r);
    } else {
        if (req->iov && req->dir != SCSI_DIR_NONE) {
            req->moved = req->xfer - (uint64_t)r->io.resid;
        }
        finish(r);
    }
    scsi_req_unref(req);
}

static void submit(ScsiGenericReq *r)
{
    ScsiGeneric *s = generic_of(&r->req);
    unsigned cdb_len = scsi_cdb_len(r->req.cdb[0]);

    r->io = (sg_io_hdr_t){
        .interface_id = 'S',
        .dxfer_direction = r->req.dir == SCSI_DIR_IN    ? SG_DXFER_FROM_DEV
                           : r->req.dir == SCSI_DIR_OUT ? SG_DXFER_TO_DEV
                                                        : SG_DXFER_NONE,
        .cmdp = r->req.cdb,
        .cmd_len = cdb_len ? (unsigned char)cdb_len : SCSI_CDB_MAX,
        .sbp = r->sense,
        .mx_sb_len = sizeof(r->sense),
        .dxfer_len = (unsigned)r->req.xfer,
        .timeout = s->io_timeout * 1000,
    };
    if (r->req.dir != SCSI_DIR_NONE && r->req.iov) {
        /* The shorter of list and dxfer_len counts. */
        r->io.dxferp = (void *)(uintptr_t)r->req.iov;
        r->io.iovec_count = (unsigned short)r->req.niov;
    } else {
        r->io.dxferp = r->data;
    }
    scsi_req_ref(&r->req);
    blk_aio_scsi(s->conf.blk, &r->io, command_came, r);
}

static void generic_run(ScsiRequest *req)
{
    ScsiGenericReq *r = generic_req(req);

    if (req->xfer > (req->iov ? INT32_MAX : TRANSFER_MAX) || req->niov > UINT16_MAX) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    if (req->dir != SCSI_DIR_NONE && !req->iov) {
        r->data = r->data ?: g_try_malloc0(req->xfer);
        if (!r->data) {
            fail(r, -ENOMEM);
            return;
        }
        if (req->dir == SCSI_DIR_OUT) {
            scsi_req_offer(req, r->data, (uint32_t)MIN(req->xfer, SCSI_PIECE_MAX));
            return;
        }
    }
    submit(r);
}

static void generic_piece_moved(ScsiRequest *req)
{
    ScsiGenericReq *r = generic_req(req);

    r->pos += req->piece_len;
    if (req->dir == SCSI_DIR_IN) {
        offer_next(r);
    } else if (r->pos < req->xfer) {
        scsi_req_offer(req, r->data + r->pos, (uint32_t)MIN(req->xfer - r->pos, SCSI_PIECE_MAX));
    } else {
        submit(r);
    }
}

static void generic_release(ScsiRequest *req)
{
    g_free(generic_req(req)->data);
}

/* A loaded request starts anew; one that stopped the VM, where it was. */
static void generic_retry(ScsiRequest *req)
{
    ScsiGenericReq *r = generic_req(req);

    if (req->dir == SCSI_DIR_OUT && r->data && r->pos == req->xfer) {
        submit(r);                    /* the data is here */
        return;
    }
    r->pos = 0;
    generic_run(req);
}

static void generic_drain(ScsiDevice *unit)
{
    blk_drain(((ScsiGeneric *)(void *)unit)->conf.blk);
}

/* ---- life ---- */

/* A command before the guest is there; false: it failed. */
static bool ask(ScsiGeneric *s, uint8_t *cdb, unsigned cdb_len, uint8_t *data, unsigned len)
{
    uint8_t sense[64];
    sg_io_hdr_t io = { .interface_id = 'S', .dxfer_direction = SG_DXFER_FROM_DEV, .cmdp = cdb,
                       .cmd_len = (unsigned char)cdb_len, .sbp = sense, .mx_sb_len = sizeof(sense),
                       .dxferp = data, .dxfer_len = len, .timeout = SYNC_TIMEOUT_MS };

    memset(data, 0, len);
    return blk_scsi(s->conf.blk, &io) == 0 && !io.status && !io.host_status;
}

/* What lengths of commands depend on. */
static bool learn(ScsiGeneric *s, GError **error)
{
    uint8_t inquiry[6] = { INQUIRY, [4] = INQUIRY_LEN }, capacity[10] = { READ_CAPACITY_10 };
    uint8_t data[INQUIRY_LEN];
    uint32_t block;

    if (!ask(s, inquiry, sizeof(inquiry), data, INQUIRY_LEN)) {
        return error_set(error, "%s: the device of drive '%s' does not answer an INQUIRY",
                         s->unit.dev.obj.type->name, s->conf.drive);
    }
    s->unit.peripheral_type = data[0] & 0x1f;
    if (s->unit.peripheral_type == SCSI_TYPE_TAPE) {
        return error_set(error, "%s: the device of drive '%s' is a tape, which is not supported",
                         s->unit.dev.obj.type->name, s->conf.drive);
    }
    s->unit.block_size = s->unit.peripheral_type == SCSI_TYPE_CD ? 2048 : 512;
    if ((s->unit.peripheral_type == SCSI_TYPE_DISK || s->unit.peripheral_type == SCSI_TYPE_CD) &&
        ask(s, capacity, sizeof(capacity), data, CAPACITY_LEN)) {
        block = be32_load(data + 4);
        s->unit.block_size = block && block <= SCSI_PARAM_MAX ? block : s->unit.block_size;
    }
    return true;
}

static const BlkDeviceOps generic_ops = { 0 };

/* Checks of what is attached. */
static bool can_pass_through(ScsiGeneric *s, GError **error)
{
    const char *type = s->unit.dev.obj.type->name;

    if (!blk_takes_scsi(s->conf.blk)) {
        return error_set(error, "%s: drive '%s' is not a SCSI disk of the host: it takes /dev/sdX by "
                         "driver=host_device; scsi-hd takes files and other disks", type, s->conf.drive);
    }
    /* Nobody tells commands that write from others. */
    if (!blk_is_writable(s->conf.blk)) {
        return error_set(error, "%s: drive '%s' is read-only, but a guest's commands could write: give it "
                         "read-only=off", type, s->conf.drive);
    }
    return learn(s, error);
}

static bool realize(ScsiGeneric *s, GError **error)
{
    s->conf.loop = scsi_bus_of(&s->unit)->loop;
    if (!block_conf_attach(&s->conf, &s->unit.dev, false, false, &generic_ops, s, error)) {
        return false;
    }
    if (!can_pass_through(s, error)) {
        block_conf_detach(&s->conf);
        return false;
    }
    return true;
}

static bool generic_realize(Device *dev, GError **error)
{
    ScsiGeneric *s = DEVICE_CAST(ScsiGeneric, dev);

    if (!s->conf.drive) {
        return error_set(error, "scsi-generic needs a device: give it drive=ID of a -blockdev "
                         "driver=host_device,filename=/dev/sgN");
    }
    s->conf.wants_sg = true;
    return realize(s, error);
}

static bool block_realize(Device *dev, GError **error)
{
    ScsiGeneric *s = DEVICE_CAST(ScsiGeneric, dev);

    if (!s->conf.drive) {
        return error_set(error, "scsi-block needs a disk: give it drive=ID of a -blockdev "
                         "driver=host_device,filename=/dev/sdX");
    }
    s->is_block = true;
    return realize(s, error);
}

static void generic_unrealize(Device *dev)
{
    ScsiGeneric *s = DEVICE_CAST(ScsiGeneric, dev);

    scsi_unit_leave(&s->unit);
    block_conf_detach(&s->conf);
}

/* clang-format off */
#define PASS_THROUGH_PROPS \
    PROP_STR("drive", ScsiGeneric, conf.drive, .help = "Node name or ID of a block device to use as a backend"), \
    PROP_I32("bootindex", ScsiGeneric, conf.bootindex, -1), \
    PROP_BOOL("share-rw", ScsiGeneric, conf.share_rw, false), \
    PROP_U32("io_timeout", ScsiGeneric, io_timeout, 30, .min = 1, .max = 86400)
static const PropDef generic_props[] = { PASS_THROUGH_PROPS, PROP_END };
static const PropDef block_props[] = {
    PASS_THROUGH_PROPS,
    PROP_ENUM("rerror", ScsiGeneric, conf.rerror, block_error_policies, BLK_ON_ERROR_AUTO, .help = "Error handling policy, report/ignore/enospc/stop/auto"),
    PROP_ENUM("werror", ScsiGeneric, conf.werror, block_error_policies, BLK_ON_ERROR_AUTO, .help = "Error handling policy, report/ignore/enospc/stop/auto"),
    PROP_U16("rotation_rate", ScsiGeneric, rotation_rate, 0),
    PROP_I32("scsi_version", ScsiGeneric, unit.scsi_version, -1),
    PROP_U64("max_unmap_size", ScsiGeneric, max_unmap_size, GIB),
    PROP_U64("max_io_size", ScsiGeneric, max_io_size, INT32_MAX, .min = 512, .max = INT32_MAX),
    PROP_END
};
static const VmField block_fields[] = {
    VMS_PART(ScsiGeneric, unit, "qdev", &vmstate_scsi_device),
    VMS_BOOL(ScsiGeneric, wire_only[0], .wire = "media_changed"),
    VMS_BOOL(ScsiGeneric, wire_only[1], .wire = "media_event"),
    VMS_BOOL(ScsiGeneric, wire_only[2], .wire = "eject_request"),
    VMS_BOOL(ScsiGeneric, wire_only[3], .wire = "tray_open"),
    VMS_BOOL(ScsiGeneric, wire_only[4], .wire = "tray_locked"),
    VMS_END
};
/* clang-format on */

/* No progress is kept: one 0 for QEMU's length of data on the way. */
static void generic_save(VmWriter *w, ScsiRequest *req)
{
    vm_put_be32(w, 0);
}

static bool generic_load(VmReader *r, ScsiRequest *req, GError **error)
{
    uint32_t len = vm_get_be32(r);

    return len == 0 || error_set(error, "a saved request of a passed-through device has %u bytes on the way: only 0 can be "
                                 "taken up", len);
}

#define PASS_THROUGH_INFO(name)                                                            \
    {                                                                                      \
        .fw_name = (name), .req_size = sizeof(ScsiGenericReq), .parse = generic_parse,     \
        .run = generic_run, .piece_moved = generic_piece_moved, .drain = generic_drain,    \
        .retry = generic_retry, .release = generic_release, .save = generic_save,          \
        .load = generic_load,                                                              \
    }
static const ScsiUnitInfo generic_info = PASS_THROUGH_INFO("generic");
static const ScsiUnitInfo block_info = PASS_THROUGH_INFO("disk");

DEVICE_TYPE(scsi_generic, .name = "scsi-generic", .parent = "scsi-device", .size = sizeof(ScsiGeneric),
            .desc = "pass through generic scsi device (/dev/sg*)", .bus = &bus_scsi,
            .bus_info = &generic_info, .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true,
            .hotpluggable = true, .props = generic_props, .realize = generic_realize,
            .unrealize = generic_unrealize, .vmstate = &vmstate_scsi_device);
DEVICE_TYPE(scsi_block, .name = "scsi-block", .parent = "scsi-device", .size = sizeof(ScsiGeneric),
            .desc = "SCSI block device passthrough", .bus = &bus_scsi, .bus_info = &block_info,
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true, .hotpluggable = true,
            .props = block_props, .realize = block_realize, .unrealize = generic_unrealize,
            .vmstate = VMSTATE("scsi-disk", 1, 1, block_fields));
