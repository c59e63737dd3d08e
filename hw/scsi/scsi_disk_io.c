/* SPDX-License-Identifier: MIT */
/*
 * Commands that move blocks: READ, WRITE, VERIFY, WRITE SAME, UNMAP, SYNCHRONIZE CACHE.
 * Spec: SBC-3 (BSR INCITS 514) 5.
 * Not modelled: protection information; ANCHOR; FUA of reads (the cache holds what the medium will).
 *
 * A command is a chain of rounds: with the guest's list at hand, one; else one for each piece of
 * SCSI_PIECE_MAX that the adapter moves.  submit() starts the round's request on the backend and
 * may be called again for the same round, after a stop by an I/O error; done() follows its success.
 * Locking: scsi.h; completions come where the bus runs.
 */
#include "hw/scsi/scsi_disk.h"

#include <errno.h>

static ScsiDiskReq *disk_req(ScsiRequest *req)
{
    return (ScsiDiskReq *)(void *)req;
}

/* ---- requests on the backend ---- */

static ScsiSense sense_of_errno(const ScsiDiskReq *r, int err, bool is_read)
{
    switch (err) {
    case ENOMEDIUM:
        return SENSE_NO_MEDIUM;
    case ENOMEM:
        return SENSE_TARGET_FAILURE;
    case ENOSPC:
        return SENSE_SPACE_ALLOC_FAILED;
    case EPERM:
    case EROFS:
        return SENSE_WRITE_PROTECTED;
    case EINVAL:
        return SENSE_INVALID_FIELD;
    default:
        return is_read ? SENSE_READ_ERROR : SENSE_WRITE_ERROR;
    }
}

/* true: the command is over, or waits for the VM to run again. */
static bool handle_error(ScsiDiskReq *r, int err, bool is_read)
{
    BlkErrorAction action = BLK_ERROR_REPORT;

    if (err != ENOMEDIUM && err != ECANCELED) {
        action = blk_handle_error(scsi_disk_of(&r->req)->blk, is_read, err);
    }
    switch (action) {
    case BLK_ERROR_IGNORE:
        return false;
    case BLK_ERROR_STOP:
        scsi_req_wait_for_resume(&r->req);
        break;
    case BLK_ERROR_REPORT:
        scsi_req_check(&r->req, sense_of_errno(r, err, is_read));
        break;
    }
    return true;
}

static void aio_done(ScsiDiskReq *r, int ret, bool is_read)
{
    r->aio = NULL;
    if (!scsi_req_was_cancelled(&r->req) && !(ret < 0 && handle_error(r, -ret, is_read))) {
        r->done(r);
    }
    scsi_req_unref(&r->req);
}

static void read_came(void *opaque, int ret)
{
    aio_done(opaque, ret, true);
}

static void write_came(void *opaque, int ret)
{
    aio_done(opaque, ret, false);
}

static void submit_round(ScsiDiskReq *r, void (*submit)(ScsiDiskReq *r),
                         void (*done)(ScsiDiskReq *r))
{
    r->submit = submit;
    r->done = done;
    submit(r);
}

/* Each holds a reference while the backend works. */
static BlockBackend *hold(ScsiDiskReq *r)
{
    scsi_req_ref(&r->req);
    return scsi_disk_of(&r->req)->blk;
}

void scsi_disk_cancel(ScsiRequest *req)
{
    if (disk_req(req)->aio) {
        blk_aio_cancel(disk_req(req)->aio);
    }
}

void scsi_disk_retry(ScsiRequest *req)
{
    ScsiDiskReq *r = disk_req(req);

    if (r->submit) {
        r->submit(r);
    } else {                          /* it was loaded */
        scsi_unit_info(req->dev)->run(req);
    }
}

void scsi_disk_release(ScsiRequest *req)
{
    ScsiDiskReq *r = disk_req(req);

    g_free(r->data);
    g_free(r->compare);
    g_free(r->iov);
}

/* ---- what blocks ---- */

/* The first LEN bytes of the guest's list. */
static const struct iovec *whole_list(ScsiDiskReq *r, uint64_t len, int *niov)
{
    unsigned n = 0;
    uint64_t sum = 0;

    while (n < r->req.niov && sum < len) {
        sum += r->req.iov[n++].iov_len;
    }
    *niov = (int)n;
    if (sum <= len) {
        return r->req.iov;
    }
    if (!r->iov) {
        r->iov = g_memdup2(r->req.iov, n * sizeof(struct iovec));
        r->iov[n - 1].iov_len -= sum - len;
    }
    return r->iov;
}

/* What both forms of a round start with: how many bytes it moves and where they are. */
static const struct iovec *prepare_round(ScsiDiskReq *r, int *niov)
{
    if (r->req.iov) {
        return whole_list(r, r->step, niov);
    }
    r->one = (struct iovec){ r->data, r->step };
    *niov = 1;
    return &r->one;
}

static void next_round(ScsiDiskReq *r)
{
    r->step = r->req.iov ? MIN(r->left, UINT32_MAX) : MIN(r->left, SCSI_PIECE_MAX);
    if (!r->req.iov && !r->data) {
        r->data = g_malloc0(SCSI_PIECE_MAX);
    }
}

static void advance(ScsiDiskReq *r)
{
    r->offset += r->step;
    r->left -= r->step;
    if (r->req.iov) {
        r->req.moved += r->step;
    }
}

/* Checks that commands with an address share; false: the command is over. */
static bool begin(ScsiRequest *req, uint64_t lba, uint64_t count, bool is_write)
{
    ScsiDisk *d = scsi_disk_of(req);
    ScsiDiskReq *r = disk_req(req);

    if (is_write && !blk_is_writable(d->blk)) {
        scsi_req_check(req, SENSE_WRITE_PROTECTED);
        return false;
    }
    /* RDPROTECT, WRPROTECT, VRPROTECT: the medium has no protection information. */
    if (scsi_cdb_len(req->cdb[0]) != 6 && (req->cdb[1] & 0xe0) && !d->is_cd) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return false;
    }
    if (!scsi_disk_in_range(lba, count, scsi_disk_blocks(d))) {
        blk_acct_invalid(d->blk, is_write ? BLK_ACCT_WRITE : BLK_ACCT_READ);
        scsi_req_check(req, SENSE_LBA_OUT_OF_RANGE);
        return false;
    }
    r->start = r->offset = lba * d->unit.block_size;
    r->left = count * d->unit.block_size;
    r->fua = is_write && scsi_cdb_len(req->cdb[0]) != 6 && (req->cdb[1] & 0x08);
    return true;
}

/* ---- READ ---- */

static void read_next(ScsiDiskReq *r);

static void submit_read(ScsiDiskReq *r)
{
    int niov;
    const struct iovec *iov = prepare_round(r, &niov);

    r->aio = blk_aio_preadv(hold(r), r->offset, iov, niov, read_came, r);
}

static void read_done(ScsiDiskReq *r)
{
    if (r->req.iov) {
        advance(r);
        scsi_req_good(&r->req);
    } else {
        scsi_req_offer(&r->req, r->data, r->step);
    }
}

static void read_next(ScsiDiskReq *r)
{
    if (r->left) {
        next_round(r);
        submit_round(r, submit_read, read_done);
    } else {
        scsi_req_good(&r->req);
    }
}

void scsi_disk_read(ScsiRequest *req)
{
    if (begin(req, scsi_cdb_lba(req->cdb), scsi_cdb_blocks(req->cdb), false)) {
        read_next(disk_req(req));
    }
}

/* ---- WRITE ---- */

static void write_next(ScsiDiskReq *r);

static void submit_write(ScsiDiskReq *r)
{
    int niov;
    const struct iovec *iov = prepare_round(r, &niov);

    r->aio = blk_aio_pwritev(hold(r), r->offset, iov, niov, r->fua ? BLK_REQ_FUA : 0,
                             write_came, r);
}

static void write_done(ScsiDiskReq *r)
{
    advance(r);
    write_next(r);
}

static void write_next(ScsiDiskReq *r)
{
    if (!r->left) {
        scsi_req_good(&r->req);
        return;
    }
    next_round(r);
    if (r->req.iov) {
        submit_round(r, submit_write, write_done);
    } else {
        scsi_req_offer(&r->req, r->data, r->step);
    }
}

/* WRITE AND VERIFY, too: what the backend took, it can give back. */
void scsi_disk_write(ScsiRequest *req)
{
    if (begin(req, scsi_cdb_lba(req->cdb), scsi_cdb_blocks(req->cdb), true)) {
        write_next(disk_req(req));
    }
}

/* ---- VERIFY ---- */

static void verify_next(ScsiDiskReq *r);

static bool compares(const ScsiDiskReq *r)
{
    return r->req.xfer != 0;          /* BYTCHK=1 */
}

static void submit_verify(ScsiDiskReq *r)
{
    r->one = (struct iovec){ r->compare, r->step };
    r->aio = blk_aio_preadv(hold(r), r->offset, &r->one, 1, read_came, r);
}

/* Bytes from OFFSET of the guest's list. */
static void fetch(const ScsiRequest *req, uint64_t offset, uint8_t *buf, size_t len)
{
    for (unsigned i = 0; i < req->niov && len; i++) {
        size_t n = req->iov[i].iov_len;

        if (offset >= n) {
            offset -= n;
            continue;
        }
        n = MIN(n - offset, len);
        memcpy(buf, (uint8_t *)req->iov[i].iov_base + offset, n);
        offset = 0;
        buf += n;
        len -= n;
    }
}

static void verify_done(ScsiDiskReq *r)
{
    if (compares(r)) {
        if (r->req.iov) {
            fetch(&r->req, r->offset - r->start, r->data, r->step);
        }
        if (memcmp(r->data, r->compare, r->step) != 0) {
            scsi_req_check(&r->req, SENSE_MISCOMPARE);
            return;
        }
        advance(r);
    } else {
        r->offset += r->step;
        r->left -= r->step;
    }
    verify_next(r);
}

static void verify_next(ScsiDiskReq *r)
{
    if (!r->left) {
        scsi_req_good(&r->req);
        return;
    }
    r->step = MIN(r->left, SCSI_PIECE_MAX);
    r->data = r->data ?: g_malloc0(SCSI_PIECE_MAX);
    r->compare = r->compare ?: g_malloc0(SCSI_PIECE_MAX);
    if (compares(r) && !r->req.iov) {
        scsi_req_offer(&r->req, r->data, r->step);
    } else {
        submit_round(r, submit_verify, verify_done);
    }
}

/* [SBC-3 5.25] */
void scsi_disk_verify(ScsiRequest *req)
{
    unsigned bytchk = req->cdb[1] >> 1 & 3;

    if (bytchk > 1) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
    } else if (begin(req, scsi_cdb_lba(req->cdb), scsi_cdb_blocks(req->cdb), false)) {
        verify_next(disk_req(req));
    }
}

/* The adapter has moved what was offered. */
void scsi_disk_piece_moved(ScsiRequest *req)
{
    ScsiDiskReq *r = disk_req(req);

    if (req->dir == SCSI_DIR_IN) {
        advance(r);
        read_next(r);
    } else if (r->compare) {
        submit_round(r, submit_verify, verify_done);
    } else {
        submit_round(r, submit_write, write_done);
    }
}

/* ---- WRITE SAME ---- */

enum { WS_NDOB = 0x01, WS_UNMAP = 0x08, WS_ANCHOR = 0x10 };

static bool is_zero(const uint8_t *p, size_t len)
{
    return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static void same_done(ScsiDiskReq *r)
{
    scsi_req_good(&r->req);
}

static void submit_zeroes(ScsiDiskReq *r)
{
    int flags = (r->req.cdb[1] & WS_UNMAP) ? BLK_REQ_MAY_UNMAP : 0;

    r->aio = blk_aio_write_zeroes(hold(r), r->offset, r->left, flags, write_came, r);
}

static void submit_pattern(ScsiDiskReq *r)
{
    r->one = (struct iovec){ r->data, r->step };
    r->aio = blk_aio_pwritev(hold(r), r->offset, &r->one, 1, 0, write_came, r);
}

static void pattern_done(ScsiDiskReq *r)
{
    r->offset += r->step;
    r->left -= r->step;
    if (r->left) {
        r->step = MIN(r->left, r->step);
        submit_pattern(r);
    } else {
        scsi_req_good(&r->req);
    }
}

static void same_received(ScsiRequest *req)
{
    ScsiDiskReq *r = disk_req(req);
    uint32_t bs = req->dev->block_size, n = SCSI_PIECE_MAX / bs;

    if (!req->buf_len || is_zero(req->buf, bs)) {
        submit_round(r, submit_zeroes, same_done);
        return;
    }
    r->data = g_malloc(SCSI_PIECE_MAX);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(r->data + (size_t)i * bs, req->buf, bs);
    }
    r->step = MIN(r->left, (uint64_t)n * bs);
    submit_round(r, submit_pattern, pattern_done);
}

/* [SBC-3 5.40, 5.41]; blocks above SCSI_PARAM_MAX bytes don't fit in a parameter list here. */
void scsi_disk_write_same(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint64_t lba = scsi_cdb_lba(req->cdb);
    uint32_t count = scsi_cdb_blocks(req->cdb);

    if ((req->cdb[1] & WS_ANCHOR) || !count || count > d->max_io_size / d->unit.block_size ||
        d->unit.block_size > SCSI_PARAM_MAX) {
        scsi_req_check(req, SENSE_INVALID_FIELD);    /* WSNZ: a count of 0 is none */
    } else if (begin(req, lba, count, true)) {
        disk_req(req)->fua = false;
        scsi_req_receive(req, same_received);
    }
}

/* ---- UNMAP ---- */

enum { UNMAP_HEADER = 8, UNMAP_DESCRIPTOR = 16, UNMAP_MAX = 255 };

static void unmap_next(ScsiDiskReq *r);

static unsigned unmap_count(const ScsiRequest *req)
{
    return (req->buf_len - UNMAP_HEADER) / UNMAP_DESCRIPTOR;
}

static void submit_discard(ScsiDiskReq *r)
{
    r->aio = blk_aio_discard(hold(r), r->offset, r->left, write_came, r);
}

static void discard_done(ScsiDiskReq *r)
{
    r->descriptor++;
    unmap_next(r);
}

static void unmap_next(ScsiDiskReq *r)
{
    uint32_t bs = r->req.dev->block_size;

    for (; r->descriptor < unmap_count(&r->req); r->descriptor++) {
        const uint8_t *p = r->req.buf + UNMAP_HEADER + r->descriptor * UNMAP_DESCRIPTOR;

        r->offset = be64_load(p) * bs;
        r->left = (uint64_t)be32_load(p + 8) * bs;
        if (r->left) {
            submit_round(r, submit_discard, discard_done);
            return;
        }
    }
    scsi_req_good(&r->req);
}

/* The list is checked as a whole before anything happens. */
static void unmap_received(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    uint64_t blocks = scsi_disk_blocks(d);
    const uint8_t *p = req->buf;
    unsigned n;

    if (req->buf_len < UNMAP_HEADER || be16_load(p) + 2u > req->buf_len ||
        be16_load(p + 2) + UNMAP_HEADER > req->buf_len ||
        be16_load(p + 2) % UNMAP_DESCRIPTOR) {
        scsi_req_check(req, SENSE_PARAMETER_LENGTH);
        return;
    }
    req->buf_len = UNMAP_HEADER + be16_load(p + 2);
    n = unmap_count(req);
    if (n > UNMAP_MAX) {
        scsi_req_check(req, SENSE_INVALID_PARAMETER);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *desc = p + UNMAP_HEADER + i * UNMAP_DESCRIPTOR;
        uint64_t count = be32_load(desc + 8);

        if (!scsi_disk_in_range(be64_load(desc), count, blocks)) {
            blk_acct_invalid(d->blk, BLK_ACCT_UNMAP);
            scsi_req_check(req, SENSE_LBA_OUT_OF_RANGE);
            return;
        }
        if (count > d->max_unmap_size / d->unit.block_size) {
            scsi_req_check(req, SENSE_INVALID_PARAMETER);
            return;
        }
    }
    unmap_next(disk_req(req));
}

/* [SBC-3 5.21] */
void scsi_disk_unmap(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);

    if (req->cdb[1] & 1) {            /* ANCHOR */
        scsi_req_check(req, SENSE_INVALID_FIELD);
    } else if (!blk_is_writable(d->blk)) {
        scsi_req_check(req, SENSE_WRITE_PROTECTED);
    } else if (!req->xfer) {
        scsi_req_good(req);
    } else {
        scsi_req_receive(req, unmap_received);
    }
}

/* ---- SYNCHRONIZE CACHE ---- */

static void submit_flush(ScsiDiskReq *r)
{
    r->aio = blk_aio_flush(hold(r), write_came, r);
}

/* Always the whole cache; IMMED need not be honoured.  [SBC-3 5.20] */
void scsi_disk_sync(ScsiRequest *req)
{
    submit_round(disk_req(req), submit_flush, same_done);
}
