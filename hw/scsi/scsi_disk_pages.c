/* SPDX-License-Identifier: MIT */
/*
 * What a logical unit says of itself: INQUIRY with vital product data, mode pages, capacity.
 * Spec: SPC-4 (T10/1731-D) 6.4, 6.11, 7.8; SBC-3 (BSR INCITS 514) 5.15, 6.4, 6.5; SCSI-2 9.3.3 for the
 * two pages of geometry.
 * Not modelled: saved pages; parameters other than WCE can't be changed.
 * Locking: machine lock.
 */
#include "hw/scsi/scsi_disk.h"

enum { INQUIRY_LEN = 96, VPD_LEN_MAX = 64 + 255, UNMAP_DESCRIPTORS_MAX = 255 };

static void put_padded(uint8_t *p, const char *text, unsigned len)
{
    memset(p, ' ', len);
    memcpy(p, text, MIN(strlen(text), len));
}

static uint32_t saturate32(uint64_t v)
{
    return MIN(v, UINT32_MAX);
}

/* ---- vital product data ---- */

/* [SPC-4 7.8.15] */
static unsigned vpd_serial(const ScsiDisk *d, uint8_t *p)
{
    unsigned len = MIN(strlen(d->conf.serial), 36);

    memcpy(p, d->conf.serial, len);
    return len;
}

static uint8_t *put_designator(uint8_t *p, uint8_t code_set, uint8_t type, const void *id,
                               uint8_t len)
{
    p[0] = code_set;
    p[1] = type;
    p[2] = 0;
    p[3] = len;
    memcpy(p + 4, id, len);
    return p + 4 + len;
}

/* Names of the unit and of its port.  [SPC-4 7.8.6] */
static unsigned vpd_identification(const ScsiDisk *d, uint8_t *p)
{
    uint8_t *start = p, id[8];

    if (d->device_id && *d->device_id) {         /* vendor specific, ASCII */
        p = put_designator(p, 2, 0, d->device_id, MIN(strlen(d->device_id), 200));
    }
    if (d->wwn) {                     /* NAA of the unit */
        be64_store(id, d->wwn);
        p = put_designator(p, 1, 3, id, 8);
    }
    if (d->port_wwn) {                /* NAA of the SAS target port */
        be64_store(id, d->port_wwn);
        p = put_designator(p, 0x61, 0x93, id, 8);
    }
    if (d->port_index) {              /* relative target port */
        be32_store(id, d->port_index);
        p = put_designator(p, 0x61, 0x94, id, 4);
    }
    return p - start;
}

/* [SBC-3 6.5.3]; offsets are the page's less 4 */
static unsigned vpd_block_limits(const ScsiDisk *d, uint8_t *p)
{
    uint32_t bs = d->unit.block_size;

    p[0] = 1;                         /* WSNZ */
    be16_store(p + 2, MIN(d->conf.min_io_size / bs, UINT16_MAX));
    be32_store(p + 4, saturate32(d->max_io_size / bs));
    be32_store(p + 8, saturate32(d->conf.opt_io_size / bs));
    be32_store(p + 16, saturate32(d->max_unmap_size / bs));
    be32_store(p + 20, UNMAP_DESCRIPTORS_MAX);
    be32_store(p + 24, saturate32(d->conf.discard_granularity / bs));
    be64_store(p + 32, d->max_io_size / bs);
    return 60;
}

/* [SBC-3 6.5.2] */
static unsigned vpd_characteristics(const ScsiDisk *d, uint8_t *p)
{
    be16_store(p, d->rotation_rate);
    return 60;
}

/* UNMAP, WRITE SAME(16) and (10) with UNMAP; thin.  [SBC-3 6.5.4] */
static unsigned vpd_provisioning(const ScsiDisk *d, uint8_t *p)
{
    p[1] = d->conf.discard_granularity ? 0xe0 : 0;
    p[2] = d->conf.discard_granularity ? 2 : 1;
    return 4;
}

static bool has_serial(const ScsiDisk *d)
{
    return d->conf.serial && *d->conf.serial;
}

static bool is_disk(const ScsiDisk *d)
{
    return !d->is_cd;
}

/* clang-format off */
static const struct {
    uint8_t page;
    unsigned (*fill)(const ScsiDisk *d, uint8_t *p);
    bool (*exists)(const ScsiDisk *d);
} vpd_pages[] = {
    { 0x80, vpd_serial,          has_serial },
    { 0x83, vpd_identification,  NULL },
    { 0xb0, vpd_block_limits,    is_disk },
    { 0xb1, vpd_characteristics, is_disk },
    { 0xb2, vpd_provisioning,    is_disk },
};
/* clang-format on */

static void vital_product_data(ScsiRequest *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    uint8_t buf[VPD_LEN_MAX] = { d->unit.peripheral_type, req->cdb[2] };
    unsigned len = 0;
    bool known = req->cdb[2] == 0;

    for (unsigned i = 0; i < ARRAY_LEN(vpd_pages); i++) {
        if (vpd_pages[i].exists && !vpd_pages[i].exists(d)) {
            continue;
        }
        if (req->cdb[2] == vpd_pages[i].page) {
            len = vpd_pages[i].fill(d, buf + 4);
            known = true;
        } else if (req->cdb[2] == 0) {           /* the list of pages, itself first */
            len = MAX(len, 1);
            buf[4 + len++] = vpd_pages[i].page;
        }
    }
    if (!known) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    be16_store(buf + 2, len);
    scsi_req_reply(req, buf, 4 + len);
}

void scsi_disk_inquiry(ScsiRequest *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    uint8_t buf[INQUIRY_LEN] = { d->unit.peripheral_type };

    if (req->cdb[1] & 1) {
        vital_product_data(req);
        return;
    }
    if (req->cdb[2]) {                /* PAGE CODE without EVPD */
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    buf[1] = d->removable ? 0x80 : 0;
    buf[2] = d->unit.scsi_version;
    buf[3] = 0x12;                    /* hierarchical addressing, response format 2 */
    buf[4] = sizeof(buf) - 5;
    buf[7] = 0x10 | (req->bus->host->tagged ? 0x02 : 0);   /* synchronous transfers, CmdQue */
    put_padded(buf + 8, d->vendor, 8);
    put_padded(buf + 16, d->product, 16);
    put_padded(buf + 32, d->version, 4);
    scsi_req_reply(req, buf, sizeof(buf));
}

/* ---- mode pages ---- */

enum { PC_CURRENT, PC_CHANGEABLE, PC_DEFAULT, PC_SAVED };

/* What follows page code and length. */
static void fill_error_recovery(const ScsiDisk *d, uint8_t *p)
{
    p[0] = 0x80;                      /* AWRE */
    p[1] = d->is_cd ? 0x20 : 0;       /* read retries */
}

/* SCSI-2 9.3.3.7 */
static void fill_rigid_geometry(const ScsiDisk *d, uint8_t *p)
{
    be32_store(p, d->conf.cyls << 8);
    p[3] = d->conf.heads;
    be32_store(p + 4, d->conf.cyls << 8);        /* no write precompensation */
    be32_store(p + 7, d->conf.cyls << 8);        /* no reduced write current */
    be16_store(p + 10, 200);          /* step rate, 100 ns */
    memset(p + 12, 0xff, 3);          /* landing zone */
    be16_store(p + 18, 5400);         /* revolutions per minute */
}

/* SCSI-2 9.3.3.6 */
static void fill_flexible_geometry(const ScsiDisk *d, uint8_t *p)
{
    uint16_t cyls = MIN(d->conf.cyls, UINT16_MAX);

    be16_store(p, 5000);              /* kbit/s */
    p[2] = d->conf.heads;
    p[3] = d->conf.secs;
    be16_store(p + 4, d->unit.block_size);
    for (unsigned i = 0; i < 3; i++) {           /* as above */
        be16_store(p + 6 + 2 * i, cyls);
    }
    be16_store(p + 12, 1);            /* step rate, 100 us */
    p[14] = 1;                        /* step pulse width */
    be16_store(p + 15, 1);            /* head settle delay */
    p[17] = p[18] = 1;                /* motor on, off delay */
    be16_store(p + 26, 5400);
}

/* SBC-3 6.4.5 */
static void fill_caching(const ScsiDisk *d, uint8_t *p)
{
    p[0] = blk_write_cache(d->blk) ? 0x04 : 0;   /* WCE */
}

enum { FOR_DISK = 1, FOR_CD = 2 };

/* clang-format off */
static const struct {
    uint8_t page, len, kinds;
    void (*fill)(const ScsiDisk *d, uint8_t *p);
    uint8_t changeable;              /* of the first byte */
} mode_pages[] = {
    { 0x01, 10, FOR_DISK | FOR_CD, fill_error_recovery,    0 },
    { 0x04, 22, FOR_DISK,          fill_rigid_geometry,    0 },
    { 0x05, 30, FOR_DISK,          fill_flexible_geometry, 0 },
    { 0x08, 18, FOR_DISK | FOR_CD, fill_caching,           0x04 },
    { 0x0e, 14, FOR_CD,            NULL,                   0 },
    { 0x2a, 18, FOR_CD,            NULL,                   0 },
};
/* clang-format on */

static unsigned put_mode_page(const ScsiDisk *d, unsigned row, unsigned control, uint8_t *p)
{
    unsigned len = 2 + mode_pages[row].len;

    memset(p, 0, len);
    if (control != PC_CHANGEABLE) {
        if (mode_pages[row].fill) {
            mode_pages[row].fill(d, p + 2);
        } else {
            scsi_cd_mode_page(d, mode_pages[row].page, p);
        }
    }
    if (control == PC_CHANGEABLE) {
        p[2] = mode_pages[row].changeable;
    } else if (control == PC_DEFAULT && mode_pages[row].page == 0x08) {
        p[2] = d->wce_default ? 0x04 : 0;
    }
    p[0] = mode_pages[row].page;
    p[1] = mode_pages[row].len;
    return len;
}

static bool has_mode_page(const ScsiDisk *d, unsigned row)
{
    return mode_pages[row].kinds & (d->is_cd ? FOR_CD : FOR_DISK);
}

/* [SPC-4 6.11, 7.5.6] */
void scsi_disk_mode_sense(ScsiRequest *req)
{
    const ScsiDisk *d = scsi_disk_of(req);
    bool ten = req->cdb[0] == MODE_SENSE_10, dbd = req->cdb[1] & 8;
    unsigned page = req->cdb[2] & 0x3f, control = req->cdb[2] >> 6, header = ten ? 8 : 4;
    uint8_t buf[256] = { 0 }, *p = buf + header, *device = buf + (ten ? 3 : 2);
    uint64_t blocks = scsi_disk_blocks(d);
    bool known = page == 0x3f;

    if (control == PC_SAVED) {
        scsi_req_check(req, SENSE_SAVING_UNSUPPORTED);
        return;
    }
    if (req->cdb[3] && req->cdb[3] != 0xff) {    /* no subpages */
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    if (!d->is_cd) {
        *device = (d->dpofua ? 0x10 : 0) | (blk_is_writable(d->blk) ? 0 : 0x80);
        if (!dbd && blocks) {
            buf[ten ? 7 : 3] = 8;
            be32_store(p, blocks > 0xffffff ? 0 : (uint32_t)blocks);
            be32_store(p + 4, d->unit.block_size);
            p += 8;
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(mode_pages); i++) {
        if (has_mode_page(d, i) && (page == 0x3f || page == mode_pages[i].page)) {
            p += put_mode_page(d, i, control, p);
            known = true;
        }
    }
    if (!known) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    if (ten) {
        be16_store(buf, p - buf - 2);
    } else {
        buf[0] = p - buf - 1;
    }
    scsi_req_reply(req, buf, p - buf);
}

/* Walks the pages of a MODE SELECT; with APPLY they take effect.  SENSE_NO_SENSE: all is well. */
static ScsiSense select_pages(ScsiDisk *d, const uint8_t *p, unsigned len, bool apply)
{
    while (len) {
        uint8_t now[2 + 64];
        unsigned row = 0;

        if (len < 2 || len - 2 < p[1]) {
            return SENSE_PARAMETER_LENGTH;
        }
        while (row < ARRAY_LEN(mode_pages) &&
               !(has_mode_page(d, row) && mode_pages[row].page == p[0])) {
            row++;
        }
        if (row == ARRAY_LEN(mode_pages) || p[1] != mode_pages[row].len) {
            return SENSE_INVALID_PARAMETER;
        }
        put_mode_page(d, row, PC_CURRENT, now);
        for (unsigned i = 2; i < 2u + p[1]; i++) {
            if ((p[i] ^ now[i]) & ~(i == 2 ? mode_pages[row].changeable : 0)) {
                return SENSE_INVALID_PARAMETER;
            }
        }
        if (apply && p[0] == 0x08) {
            blk_set_write_cache(d->blk, p[2] & 0x04);
        }
        len -= 2 + p[1];
        p += 2 + p[1];
    }
    return SENSE_NO_SENSE;
}

/* The cache is off from now on: what is in it goes out first. */
static void select_received(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    bool ten = req->cdb[0] == MODE_SELECT_10, was = blk_write_cache(d->blk);
    unsigned header = ten ? 8 : 4, descriptors, len = req->buf_len;
    const uint8_t *p = req->buf;
    ScsiSense sense;

    if (len < header) {
        scsi_req_check(req, SENSE_PARAMETER_LENGTH);
        return;
    }
    descriptors = ten ? be16_load(p + 6) : p[3];
    if (descriptors > len - header) {
        scsi_req_check(req, SENSE_PARAMETER_LENGTH);
        return;
    }
    /* One descriptor may say again what the block size is. */
    if (descriptors && (descriptors != 8 ||
                        (be32_load(p + header + 4) & 0xffffff) != d->unit.block_size)) {
        scsi_req_check(req, SENSE_INVALID_PARAMETER);
        return;
    }
    p += header + descriptors;
    len -= header + descriptors;
    sense = select_pages(d, p, len, false);
    if (sense.key) {
        scsi_req_check(req, sense);
        return;
    }
    select_pages(d, p, len, true);
    if (was && !blk_write_cache(d->blk)) {
        scsi_disk_sync(req);
    } else {
        scsi_req_good(req);
    }
}

/* [SPC-4 6.9] */
void scsi_disk_mode_select(ScsiRequest *req)
{
    if ((req->cdb[1] & 0x11) != 0x10) {          /* page format, nothing saved */
        scsi_req_check(req, SENSE_INVALID_FIELD);
    } else if (!req->xfer) {
        scsi_req_good(req);
    } else {
        scsi_req_receive(req, select_received);
    }
}

/* ---- capacity ---- */

/* [SBC-3 5.15] */
void scsi_disk_read_capacity(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint64_t blocks = scsi_disk_blocks(d);
    uint8_t buf[8];

    if (!(req->cdb[8] & 1) && be32_load(req->cdb + 2)) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    if (!blocks) {
        scsi_req_check(req, SENSE_NOT_READY);
        return;
    }
    be32_store(buf, saturate32(blocks - 1));
    be32_store(buf + 4, d->unit.block_size);
    scsi_req_reply(req, buf, sizeof(buf));
}

/* READ CAPACITY(16).  [SBC-3 5.16] */
void scsi_disk_service_action_in(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint64_t blocks = scsi_disk_blocks(d);
    uint8_t buf[32] = { 0 };
    unsigned exponent = 0;

    if ((req->cdb[1] & 0x1f) != SAI_READ_CAPACITY_16) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    if (!blocks) {
        scsi_req_check(req, SENSE_NOT_READY);
        return;
    }
    while (exponent < 15 && (uint64_t)d->unit.block_size << exponent <
                                d->conf.physical_block_size) {
        exponent++;
    }
    be64_store(buf, blocks - 1);
    be32_store(buf + 8, d->unit.block_size);
    buf[13] = d->is_cd ? 0 : exponent;
    buf[14] = d->conf.discard_granularity && !d->is_cd ? 0x80 : 0;     /* LBPME */
    scsi_req_reply(req, buf, sizeof(buf));
}
