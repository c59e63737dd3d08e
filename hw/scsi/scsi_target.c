/* SPDX-License-Identifier: MIT */
/*
 * What a SCSI target does for all its logical units: the shape of command descriptor blocks, unit
 * attentions, REPORT LUNS, REQUEST SENSE, and answers for logical units that are not there.
 * Spec: SPC-4 (T10/1731-D), SAM-5 (T10/2104-D).
 * Not modelled: well known logical units, access control, descriptor format sense data.
 * Locking: scsi.h.
 */
#include "hw/scsi/scsi_int.h"

/* ---- descriptor blocks ---- */

/* Where a command has its allocation or parameter list length.  [SPC-4 6, MMC-6 6] */
/* clang-format off */
static const struct { uint8_t opcode, dir, at, size; } lengths[] = {
    { TEST_UNIT_READY,        SCSI_DIR_NONE, 0, 0 },
    { REZERO_UNIT,            SCSI_DIR_NONE, 0, 0 },
    { REQUEST_SENSE,          SCSI_DIR_IN,   4, 1 },
    { SEEK_6,                 SCSI_DIR_NONE, 0, 0 },
    { INQUIRY,                SCSI_DIR_IN,   3, 2 },
    { MODE_SELECT_6,          SCSI_DIR_OUT,  4, 1 },
    { RESERVE_6,              SCSI_DIR_NONE, 0, 0 },
    { RELEASE_6,              SCSI_DIR_NONE, 0, 0 },
    { MODE_SENSE_6,           SCSI_DIR_IN,   4, 1 },
    { START_STOP_UNIT,        SCSI_DIR_NONE, 0, 0 },
    { SEND_DIAGNOSTIC,        SCSI_DIR_OUT,  3, 2 },
    { PREVENT_ALLOW_REMOVAL,  SCSI_DIR_NONE, 0, 0 },
    { SEEK_10,                SCSI_DIR_NONE, 0, 0 },
    { SYNCHRONIZE_CACHE_10,   SCSI_DIR_NONE, 0, 0 },
    { SYNCHRONIZE_CACHE_16,   SCSI_DIR_NONE, 0, 0 },
    { UNMAP,                  SCSI_DIR_OUT,  7, 2 },
    { READ_TOC,               SCSI_DIR_IN,   7, 2 },
    { GET_CONFIGURATION,      SCSI_DIR_IN,   7, 2 },
    { GET_EVENT_STATUS,       SCSI_DIR_IN,   7, 2 },
    { READ_DISC_INFORMATION,  SCSI_DIR_IN,   7, 2 },
    { READ_TRACK_INFORMATION, SCSI_DIR_IN,   7, 2 },
    { MODE_SELECT_10,         SCSI_DIR_OUT,  7, 2 },
    { RESERVE_10,             SCSI_DIR_NONE, 0, 0 },
    { RELEASE_10,             SCSI_DIR_NONE, 0, 0 },
    { MODE_SENSE_10,          SCSI_DIR_IN,   7, 2 },
    { SERVICE_ACTION_IN_16,   SCSI_DIR_IN,  10, 4 },
    { REPORT_LUNS,            SCSI_DIR_IN,   6, 4 },
    { READ_DVD_STRUCTURE,     SCSI_DIR_IN,   8, 2 },
    { SET_CD_SPEED,           SCSI_DIR_NONE, 0, 0 },
    { MECHANISM_STATUS,       SCSI_DIR_IN,   8, 2 },
};
/* clang-format on */

bool scsi_cdb_parse(ScsiRequest *req)
{
    const uint8_t *cdb = req->cdb;

    for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
        if (lengths[i].opcode == cdb[0]) {
            const uint8_t *p = cdb + lengths[i].at;

            req->dir = (ScsiDir)lengths[i].dir;
            req->xfer = lengths[i].size == 1 ? *p : lengths[i].size == 2 ? be16_load(p)
                        : lengths[i].size == 4 ? be32_load(p) : 0;
            return true;
        }
    }
    if (cdb[0] == READ_CAPACITY_10) {
        req->dir = SCSI_DIR_IN;
        req->xfer = 8;
        return true;
    }
    return false;
}

unsigned scsi_cdb_len(uint8_t opcode)
{
    static const uint8_t by_group[8] = { 6, 10, 10, 0, 16, 12, 0, 0 };

    return by_group[opcode >> 5];
}

uint64_t scsi_cdb_lba(const uint8_t *cdb)
{
    switch (scsi_cdb_len(cdb[0])) {
    case 6:
        return be32_load(cdb) & 0x1fffff;
    case 16:
        return be64_load(cdb + 2);
    default:
        return be32_load(cdb + 2);
    }
}

uint32_t scsi_cdb_blocks(const uint8_t *cdb)
{
    switch (scsi_cdb_len(cdb[0])) {
    case 6:
        return cdb[4] ?: 256;
    case 10:
        return be16_load(cdb + 7);
    case 16:
        return be32_load(cdb + 10);
    default:
        return be32_load(cdb + 6);
    }
}

bool scsi_cdb_parse_blocks(ScsiRequest *req)
{
    const uint8_t *cdb = req->cdb;
    uint64_t bytes = (uint64_t)scsi_cdb_blocks(cdb) * req->dev->block_size;

    switch (cdb[0]) {
    case READ_6:
    case READ_10:
    case READ_12:
    case READ_16:
        req->dir = SCSI_DIR_IN;
        req->xfer = bytes;
        return true;
    case WRITE_6:
    case WRITE_10:
    case WRITE_12:
    case WRITE_16:
    case WRITE_VERIFY_10:
    case WRITE_VERIFY_12:
    case WRITE_VERIFY_16:
        req->dir = SCSI_DIR_OUT;
        req->xfer = bytes;
        return true;
    case VERIFY_10:
    case VERIFY_12:
    case VERIFY_16:
        req->dir = SCSI_DIR_OUT;
        req->xfer = (cdb[1] >> 1 & 3) == 1 ? bytes : 0;
        return true;
    case WRITE_SAME_10:
    case WRITE_SAME_16:
        req->dir = SCSI_DIR_OUT;
        req->xfer = cdb[0] == WRITE_SAME_16 && (cdb[1] & 1) ? 0 : req->dev->block_size;
        return true;
    default:
        return false;
    }
}

/* ---- commands ---- */

static int by_lun(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* LUNs of one byte in peripheral, others in flat addressing.  [SPC-4 6.33, SAM-5 4.7] */
static void put_lun(uint8_t *p, uint32_t lun)
{
    memset(p, 0, 8);
    be16_store(p, lun < 256 ? lun : 0x4000 | lun);
}

static void report_luns(ScsiRequest *req)
{
    const GPtrArray *units = req->bus->units;
    g_autoptr(GArray) luns = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    g_autofree uint8_t *data = NULL;
    bool has_zero = false;

    if (req->xfer < 16) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    if (req->cdb[2] > 2) {            /* SELECT REPORT; 1: well known ones only */
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    for (unsigned i = 0; req->cdb[2] != 1 && i < units->len; i++) {
        const ScsiDevice *d = g_ptr_array_index(units, i);

        if (d->channel == req->dev->channel && d->id == req->dev->id) {
            g_array_append_val(luns, d->lun);
            has_zero |= d->lun == 0;
        }
    }
    if (!has_zero && req->cdb[2] != 1) {         /* LUN 0 always answers this command */
        uint32_t zero = 0;

        g_array_append_val(luns, zero);
    }
    g_array_sort(luns, by_lun);
    g_array_set_size(luns, MIN(luns->len, SCSI_PIECE_MAX / 8 - 1));
    data = g_malloc0(8 + 8 * (gsize)luns->len);
    be32_store(data, 8 * luns->len);
    for (unsigned i = 0; i < luns->len; i++) {
        put_lun(data + 8 + 8 * i, g_array_index(luns, uint32_t, i));
    }
    if (req->dev->unit_attention.asc == SENSE_LUNS_CHANGED.asc) {
        req->dev->unit_attention = SENSE_NO_SENSE;
    }
    scsi_req_reply(req, data, 8 + 8 * luns->len);
}

/* What the last command left, else a pending unit attention.  [SPC-4 6.39] */
static void request_sense(ScsiRequest *req, ScsiSense sense)
{
    ScsiDevice *dev = req->dev;
    uint8_t buf[sizeof(dev->sense)];
    size_t len = SCSI_SENSE_LEN;

    if (req->cdb[1] & 1) {            /* descriptor format */
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    if (sense.key) {
        scsi_sense_put(buf, sense);
    } else if (dev->sense_len) {
        len = MIN(dev->sense_len, sizeof(dev->sense));
        memcpy(buf, dev->sense, len);
    } else {
        scsi_sense_put(buf, dev->unit_attention);
        dev->unit_attention = SENSE_NO_SENSE;
    }
    if (req->lun == dev->lun) {
        dev->sense_len = 0;
        dev->sense_is_ua = false;
    }
    scsi_req_reply(req, buf, len);
}

/* Of a unit that is not there.  [SPC-4 6.4.2] */
static void inquiry_absent(ScsiRequest *req)
{
    uint8_t buf[36] = { SCSI_QUALIFIER_NO_UNIT | SCSI_TYPE_NONE };

    if (req->cdb[1] & 1) {            /* vital product data: the list of pages alone */
        if (req->cdb[2]) {
            scsi_req_check(req, SENSE_INVALID_FIELD);
            return;
        }
        be16_store(buf + 2, 1);
        scsi_req_reply(req, buf, 5);
        return;
    }
    if (req->cdb[2]) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    buf[2] = 5;
    buf[3] = 0x12;                    /* hierarchical addressing, response format 2 */
    buf[4] = sizeof(buf) - 5;
    scsi_req_reply(req, buf, sizeof(buf));
}

static void run_absent(ScsiRequest *req)
{
    switch (req->cdb[0]) {
    case INQUIRY:
        inquiry_absent(req);
        break;
    case REQUEST_SENSE:
        request_sense(req, SENSE_LUN_NOT_SUPPORTED);
        break;
    default:
        scsi_req_check(req, SENSE_LUN_NOT_SUPPORTED);
    }
}

static bool ignores_attention(const ScsiRequest *req)
{
    const ScsiUnitInfo *info = scsi_unit_info(req->dev);

    return req->cdb[0] == INQUIRY || req->cdb[0] == REPORT_LUNS ||
           (info->ignores_attention && info->ignores_attention(req));
}

bool scsi_target_run(ScsiRequest *req)
{
    ScsiDevice *dev = req->dev;
    ScsiSense attention = dev->unit_attention;

    if (req->cdb[0] == REPORT_LUNS) {
        report_luns(req);
    } else if (req->lun != dev->lun) {
        run_absent(req);
    } else if (req->cdb[0] == REQUEST_SENSE) {
        request_sense(req, SENSE_NO_SENSE);
    } else if (attention.key && !ignores_attention(req)) {
        dev->unit_attention = SENSE_NO_SENSE;
        scsi_req_check(req, attention);
        dev->sense_is_ua = true;
    } else {
        return false;
    }
    return true;
}
