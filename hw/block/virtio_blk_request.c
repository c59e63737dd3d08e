/* SPDX-License-Identifier: MIT */
/*
 * The requests of virtio disks.  [VIRTIO1.2 5.2.6]
 *
 *     readable   type le32, reserved le32, sector le64, data of writes
 *     writable   data of reads, status u8
 *
 * Data goes between guest memory and the block layer without a copy.
 * Missing: VIRTIO_BLK_T_SCSI_CMD, zoned, secure erase and lifetime requests (UNSUPP).
 */
#include "hw/block/virtio_blk.h"

#include "base/log.h"

enum {
    T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13,
};
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { HEADER_LEN = 16, RANGE_LEN = 16, ID_LEN = 20, RANGE_UNMAP = 1 };

static VirtioBlk *owner(const VirtioBlkReq *req)
{
    return DEVICE_CAST(VirtioBlk, &virtqueue_device(req->elem.vq)->dev);
}

static void complete(VirtioBlkReq *req, uint8_t status)
{
    VirtQueue *vq = req->elem.vq;

    *req->status = status;
    virtqueue_push(&req->elem, req->elem.in_len);
    virtqueue_notify(vq);
}

/* ---- errors ---- */

static void keep_for_retry(VirtioBlk *s, VirtioBlkReq *req)
{
    VirtioBlkReq **end = &s->retry;

    while (*end) {
        end = &(*end)->next;
    }
    req->next = NULL;
    *end = req;
}

static void request_done(void *opaque, int ret)
{
    VirtioBlkReq *req = opaque;
    VirtioBlk *s = owner(req);

    if (ret < 0) {
        switch (blk_handle_error(s->conf.blk, req->type == T_IN, -ret)) {
        case BLK_ERROR_STOP:
            keep_for_retry(s, req);
            return;
        case BLK_ERROR_REPORT:
            complete(req, S_IOERR);
            return;
        case BLK_ERROR_IGNORE:
            break;
        }
    }
    complete(req, S_OK);
}

/* ---- reading and writing ---- */

static bool range_ok(const VirtioBlk *s, uint64_t sector, uint64_t bytes)
{
    uint64_t length = blk_length(s->conf.blk) & ~(uint64_t)(VIRTIO_BLK_SECTOR - 1);
    uint64_t mask = s->conf.logical_block_size - 1;

    return sector <= length >> VIRTIO_BLK_SECTOR_BITS &&
           bytes <= length - (sector << VIRTIO_BLK_SECTOR_BITS) && !(bytes & mask) &&
           !((sector << VIRTIO_BLK_SECTOR_BITS) & mask);
}

static void submit(VirtioBlk *s, VirtioBlkReq *req)
{
    if (req->type == T_IN) {
        blk_aio_preadv(s->conf.blk, req->offset, req->iov, (int)req->niov, request_done, req);
    } else {
        blk_aio_pwritev(s->conf.blk, req->offset, req->iov, (int)req->niov, 0, request_done, req);
    }
}

static void read_or_write(VirtioBlk *s, VirtioBlkReq *req)
{
    uint64_t sector = req->offset;    /* as in the header */

    if (!range_ok(s, sector, req->bytes)) {
        log_guest_error("virtio-blk: %s of 0x%" PRIx64 " bytes at sector 0x%" PRIx64
                        " is misaligned or outside the disk\n",
                        req->type == T_IN ? "read" : "write", req->bytes, sector);
        blk_acct_invalid(s->conf.blk, req->type == T_IN ? BLK_ACCT_READ : BLK_ACCT_WRITE);
        complete(req, S_IOERR);
        return;
    }
    req->offset = sector << VIRTIO_BLK_SECTOR_BITS;
    submit(s, req);
}

static void start_in(VirtioBlk *s, VirtioBlkReq *req)
{
    req->iov = req->elem.in;
    req->niov = req->elem.in_num;
    req->bytes = req->elem.in_len - 1u;
    read_or_write(s, req);
}

static void start_out(VirtioBlk *s, VirtioBlkReq *req)
{
    req->iov = req->elem.out;
    req->niov = req->elem.out_num;
    req->bytes = req->elem.out_len - (uint32_t)HEADER_LEN;
    if (blk_is_read_only(s->conf.blk)) {
        complete(req, S_IOERR);
        return;
    }
    read_or_write(s, req);
}

/* ---- the other types ---- */

static void start_flush(VirtioBlk *s, VirtioBlkReq *req)
{
    blk_aio_flush(s->conf.blk, request_done, req);
}

/* The serial number; shorter than 20 bytes it ends with a zero.  [VIRTIO1.2 5.2.6.1] */
static void start_get_id(VirtioBlk *s, VirtioBlkReq *req)
{
    char id[ID_LEN] = { 0 };

    if (s->conf.serial) {
        memcpy(id, s->conf.serial, MIN(strlen(s->conf.serial), sizeof(id)));
    }
    virtio_elem_write(&req->elem, 0, id, MIN(sizeof(id), req->elem.in_len - 1u));
    complete(req, S_OK);
}

/* One range: { sector le64, sectors le32, flags le32 }.  Status, or -1 when it is on its way. */
static int begin_range(VirtioBlk *s, VirtioBlkReq *req)
{
    bool discard = req->type == T_DISCARD;
    uint32_t max = discard ? s->max_discard_sectors : s->max_write_zeroes_sectors, sectors, flags;
    uint8_t range[RANGE_LEN];
    uint64_t sector;

    if (!virtio_has(&s->vdev, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES)) {
        return S_UNSUPP;
    }
    if (req->elem.out_len != HEADER_LEN + RANGE_LEN ||
        virtio_elem_read(&req->elem, 0, range, sizeof(range)) != sizeof(range)) {
        return S_UNSUPP;              /* one range is what the configuration promises */
    }
    sector = le64_load(range);
    sectors = le32_load(range + 8);
    flags = le32_load(range + 12);
    if (flags & ~(discard ? 0u : RANGE_UNMAP)) {
        return S_UNSUPP;
    }
    if (blk_is_read_only(s->conf.blk) || sectors > max ||
        !range_ok(s, sector, (uint64_t)sectors << VIRTIO_BLK_SECTOR_BITS)) {
        blk_acct_invalid(s->conf.blk, discard ? BLK_ACCT_UNMAP : BLK_ACCT_WRITE);
        return S_IOERR;
    }
    req->offset = sector << VIRTIO_BLK_SECTOR_BITS;
    req->bytes = (uint64_t)sectors << VIRTIO_BLK_SECTOR_BITS;
    if (discard) {
        blk_aio_discard(s->conf.blk, req->offset, req->bytes, request_done, req);
    } else {
        blk_aio_write_zeroes(s->conf.blk, req->offset, req->bytes,
                             flags & RANGE_UNMAP ? BLK_REQ_MAY_UNMAP : 0, request_done, req);
    }
    return -1;
}

static void start_range(VirtioBlk *s, VirtioBlkReq *req)
{
    int status = begin_range(s, req);

    if (status >= 0) {
        complete(req, (uint8_t)status);
    }
}

/* ---- taking requests ---- */

typedef struct BlkTypeRow {
    uint32_t type;
    void (*start)(VirtioBlk *s, VirtioBlkReq *req);
} BlkTypeRow;

static const BlkTypeRow types[] = {
    { T_IN, start_in }, { T_OUT, start_out }, { T_FLUSH, start_flush },
    { T_GET_ID, start_get_id }, { T_DISCARD, start_range }, { T_WRITE_ZEROES, start_range },
};

/* Header and status byte off the element's buffers; false: there is no room for them. */
static bool parse(VirtioBlkReq *req)
{
    VirtioElem *e = &req->elem;
    uint8_t header[HEADER_LEN];
    struct iovec *last;

    if (virtio_elem_read(e, 0, header, sizeof(header)) != sizeof(header) || !e->in_num) {
        return false;
    }
    virtio_iov_skip(&e->out, &e->out_num, sizeof(header));
    last = &e->in[e->in_num - 1];
    req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
    virtio_iov_cut(e->in, &e->in_num, 1);
    req->type = le32_load(header);
    req->offset = le64_load(header + 8);
    return true;
}

static void start(VirtioBlk *s, VirtioBlkReq *req)
{
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        if (types[i].type == req->type) {
            types[i].start(s, req);
            return;
        }
    }
    complete(req, S_UNSUPP);
}

static void take(VirtioDevice *vdev, void *elem)
{
    VirtioBlkReq *req = elem;

    if (!parse(req)) {
        virtqueue_drop(&req->elem);
        virtio_error(vdev, "a request of %u + %u bytes has no room for header and status",
                     req->elem.out_len, req->elem.in_len);
        return;
    }
    start(DEVICE_CAST(VirtioBlk, &vdev->dev), req);
}

void virtio_blk_kick(VirtioDevice *vdev, VirtQueue *vq)
{
    virtqueue_run(vq, take);
}

/* ---- once more ---- */

void virtio_blk_retry(VirtioBlk *s)
{
    VirtioBlkReq *req = s->retry;

    s->retry = NULL;
    while (req) {
        VirtioBlkReq *next = req->next;

        if (req->type == T_IN || req->type == T_OUT) {
            submit(s, req);
        } else {
            start(s, req);
        }
        req = next;
    }
}

void virtio_blk_drop(VirtioBlk *s, VirtQueue *vq)
{
    VirtioBlkReq **at = &s->retry;

    while (*at) {
        VirtioBlkReq *req = *at;

        if (!vq || req->elem.vq == vq) {
            *at = req->next;
            virtqueue_drop(&req->elem);
        } else {
            at = &req->next;
        }
    }
}

bool virtio_blk_restore(VirtioBlk *s, VirtioBlkReq *req)
{
    VirtioElem *e = &req->elem;

    if (!parse(req)) {
        return false;
    }
    if (req->type == T_IN || req->type == T_OUT) {
        bool in = req->type == T_IN;

        req->iov = in ? e->in : e->out;
        req->niov = in ? e->in_num : e->out_num;
        req->bytes = in ? e->in_len - 1u : e->out_len - (uint32_t)HEADER_LEN;
        if (!range_ok(s, req->offset, req->bytes)) {
            return false;
        }
        req->offset <<= VIRTIO_BLK_SECTOR_BITS;
    }
    keep_for_retry(s, req);
    return true;
}
