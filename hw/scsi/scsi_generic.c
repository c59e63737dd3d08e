/* SPDX-License-Identifier: MIT */
/*
 * "scsi-generic": a SCSI device of the host, /dev/sgN, as a logical unit.
 * Spec: SPC-4 (T10/1731-D); sg_io_hdr of the Linux kernel's <scsi/sg.h>.
 *
 * Commands go to the device as they are, except those that the bus answers (scsi_target.c).  How many
 * bytes a command moves and which way is known from its descriptor block; one that is in no table
 * here is an INVALID COMMAND OPERATION CODE.
 * Not modelled: scsi-block; tapes, whose READ and WRITE are shaped differently; the host's limit of a transfer is not put into
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
    BlockConf conf;           /* drive, bootindex, share_rw */
    uint32_t io_timeout;      /* seconds */
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
    return scsi_cdb_parse_blocks(req);
}

/* ---- commands ---- */

static void finish(ScsiGenericReq *r)
{
    scsi_req_complete(&r->req, r->io.status, r->sense, r->io.status ? r->io.sb_len_wr : 0);
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

/* A loaded request starts anew. */
static void generic_retry(ScsiRequest *req)
{
    generic_req(req)->pos = 0;
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
        return error_set(error, "scsi-generic: the device of drive '%s' does not answer an INQUIRY",
                         s->conf.drive);
    }
    s->unit.peripheral_type = data[0] & 0x1f;
    if (s->unit.peripheral_type == SCSI_TYPE_TAPE) {
        return error_set(error, "scsi-generic: the device of drive '%s' is a tape, which is not supported",
                         s->conf.drive);
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

static bool generic_realize(Device *dev, GError **error)
{
    ScsiGeneric *s = DEVICE_CAST(ScsiGeneric, dev);

    if (!s->conf.drive) {
        return error_set(error, "scsi-generic needs a device: give it drive=ID of a -blockdev "
                         "driver=host_device,filename=/dev/sgN");
    }
    s->conf.wants_sg = true;
    s->conf.loop = scsi_bus_of(&s->unit)->loop;
    if (!block_conf_attach(&s->conf, dev, false, false, &generic_ops, s, error)) {
        return false;
    }
    /* Nobody tells commands that write from others. */
    if (!blk_is_writable(s->conf.blk)) {
        error_set(error, "scsi-generic: drive '%s' is read-only, but a guest's commands could write: give it "
                  "read-only=off", s->conf.drive);
        block_conf_detach(&s->conf);
        return false;
    }
    if (!learn(s, error)) {
        block_conf_detach(&s->conf);
        return false;
    }
    return true;
}

static void generic_unrealize(Device *dev)
{
    ScsiGeneric *s = DEVICE_CAST(ScsiGeneric, dev);

    scsi_unit_leave(&s->unit);
    block_conf_detach(&s->conf);
}

/* clang-format off */
static const PropDef generic_props[] = {
    PROP_STR("drive", ScsiGeneric, conf.drive, .help = "Node name or ID of a block device to use as a backend"),
    PROP_I32("bootindex", ScsiGeneric, conf.bootindex, -1),
    PROP_BOOL("share-rw", ScsiGeneric, conf.share_rw, false),
    PROP_U32("io_timeout", ScsiGeneric, io_timeout, 30, .min = 1, .max = 86400),
    PROP_END
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

    return len == 0 || error_set(error, "a saved request of scsi-generic has %u bytes on the way: only 0 can be "
                                 "taken up", len);
}

static const ScsiUnitInfo generic_info = {
    .fw_name = "generic",
    .req_size = sizeof(ScsiGenericReq),
    .parse = generic_parse,
    .run = generic_run,
    .piece_moved = generic_piece_moved,
    .drain = generic_drain,
    .retry = generic_retry,
    .release = generic_release,
    .save = generic_save,
    .load = generic_load,
};

DEVICE_TYPE(scsi_generic, .name = "scsi-generic", .parent = "scsi-device", .size = sizeof(ScsiGeneric),
            .desc = "pass through generic scsi device (/dev/sg*)", .bus = &bus_scsi,
            .bus_info = &generic_info, .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true,
            .hotpluggable = true, .props = generic_props, .realize = generic_realize,
            .unrealize = generic_unrealize, .vmstate = &vmstate_scsi_device);
