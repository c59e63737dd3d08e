/* SPDX-License-Identifier: MIT */
/*
 * The life of a SCSI command: queueing, data, status, cancellation.
 * Spec: SAM-5 (T10/2104-D) 5, SPC-4 (T10/1731-D) 4.
 *
 *   made -> scsi_req_start() -> queued -+-> host: I/O of the unit      \
 *                                       +-> waits_host: piece           > any number of times
 *                                       +-> retry: the VM is stopped   /
 *                                       `-> complete() or cancelled(), out of the queue
 *
 * Invariants: a queued request is in dev->requests, which holds a reference; cancelling requests
 * never reach complete().
 * Locking: scsi.h.
 */
#include "hw/scsi/scsi_int.h"

ScsiRequest *scsi_req_new(ScsiDevice *dev, uint32_t lun, uint32_t tag, const uint8_t *cdb,
                          size_t cdb_len, void *host_data)
{
    const ScsiUnitInfo *info = scsi_unit_info(dev);
    ScsiRequest *req = g_malloc0(info->req_size ?: sizeof(ScsiRequest));

    object_ref(OBJECT(dev));
    req->dev = dev;
    req->bus = scsi_bus_of(dev);
    req->refs = 1;
    req->lun = lun;
    req->tag = tag;
    memcpy(req->cdb, cdb, MIN(cdb_len, SCSI_CDB_MAX));
    req->host_data = host_data;
    req->bad_cdb = !scsi_cdb_parse(req) && (lun != dev->lun || !info->parse || !info->parse(req));
    if (req->bad_cdb || !req->xfer) {
        req->dir = SCSI_DIR_NONE;
        req->xfer = 0;
    }
    return req;
}

ScsiRequest *scsi_req_ref(ScsiRequest *req)
{
    req->refs++;
    return req;
}

void scsi_req_unref(ScsiRequest *req)
{
    if (--req->refs) {
        return;
    }
    if (scsi_unit_info(req->dev)->release) {
        scsi_unit_info(req->dev)->release(req);
    }
    g_free(req->buf);
    object_unref(OBJECT(req->dev));
    g_free(req);
}

/* ---- start ---- */

void scsi_req_enqueue(ScsiRequest *req)
{
    req->queued = true;
    g_queue_push_tail(&req->dev->requests, scsi_req_ref(req));
}

static void dequeue(ScsiRequest *req)
{
    req->queued = req->waits_host = req->retry = false;
    g_queue_remove(&req->dev->requests, req);
}

void scsi_req_start(ScsiRequest *req)
{
    ScsiDevice *dev = req->dev;

    scsi_req_ref(req);
    scsi_req_enqueue(req);
    if (!scsi_target_run(req)) {
        dev->sense_len = 0;
        dev->sense_is_ua = false;
        if (req->bad_cdb) {
            scsi_req_check(req, SENSE_INVALID_OPCODE);
        } else {
            scsi_unit_info(dev)->run(req);
        }
    }
    scsi_req_unref(req);
}

/* ---- ends ---- */

bool scsi_req_was_cancelled(ScsiRequest *req)
{
    if (!req->cancelling) {
        return false;
    }
    dequeue(req);
    req->bus->host->cancelled(req);
    scsi_req_unref(req);
    return true;
}

void scsi_req_complete(ScsiRequest *req, uint8_t status, const uint8_t *sense, size_t len)
{
    g_assert(req->queued);
    if (scsi_req_was_cancelled(req)) {
        return;
    }
    req->status = status;
    req->sense_len = MIN(len, sizeof(req->sense));
    if (req->sense_len) {
        memcpy(req->sense, sense, req->sense_len);
    }
    if (req->lun == req->dev->lun && req->sense_len) {
        memset(req->dev->sense, 0, sizeof(req->dev->sense));
        memcpy(req->dev->sense, req->sense, req->sense_len);
        req->dev->sense_len = req->sense_len;
    }
    dequeue(req);
    req->bus->host->complete(req);
    scsi_req_unref(req);
}

void scsi_req_good(ScsiRequest *req)
{
    scsi_req_complete(req, SCSI_GOOD, NULL, 0);
}

void scsi_sense_put(uint8_t *buf, ScsiSense sense)
{
    memset(buf, 0, SCSI_SENSE_LEN);
    buf[0] = 0x70;
    buf[2] = sense.key;
    buf[7] = SCSI_SENSE_LEN - 8;
    buf[12] = sense.asc;
    buf[13] = sense.ascq;
}

void scsi_req_check(ScsiRequest *req, ScsiSense sense)
{
    uint8_t buf[SCSI_SENSE_LEN];

    scsi_sense_put(buf, sense);
    scsi_req_complete(req, SCSI_CHECK_CONDITION, buf, sizeof(buf));
}

unsigned scsi_req_take_sense(ScsiRequest *req, uint8_t *buf, unsigned max)
{
    unsigned n = MIN(max, req->sense_len);

    memset(buf, 0, max);
    memcpy(buf, req->sense, n);
    if (n && req->lun == req->dev->lun) {
        req->dev->sense_len = 0;
        req->dev->sense_is_ua = false;
    }
    return n;
}

void scsi_req_cancel(ScsiRequest *req)
{
    const ScsiUnitInfo *info = scsi_unit_info(req->dev);

    if (!req->queued || req->cancelling) {
        return;
    }
    req->cancelling = true;
    if (req->waits_host || req->retry) {
        scsi_req_was_cancelled(req);
    } else if (info->cancel) {
        info->cancel(req);
    }
}

void scsi_unit_cancel(ScsiDevice *dev, bool (*filter)(ScsiRequest *req, void *opaque),
                      void *opaque)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)scsi_req_unref);

    for (GList *l = dev->requests.head; l; l = l->next) {
        g_ptr_array_add(all, scsi_req_ref(l->data));
    }
    for (unsigned i = 0; i < all->len; i++) {
        if (!filter || filter(all->pdata[i], opaque)) {
            scsi_req_cancel(all->pdata[i]);
        }
    }
}

/* ---- stop and go ---- */

void scsi_req_wait_for_resume(ScsiRequest *req)
{
    if (!scsi_req_was_cancelled(req)) {
        req->retry = true;
    }
}

void scsi_unit_retry(ScsiDevice *dev)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)scsi_req_unref);

    for (GList *l = dev->requests.head; l; l = l->next) {
        g_ptr_array_add(all, scsi_req_ref(l->data));
    }
    for (unsigned i = 0; i < all->len; i++) {
        ScsiRequest *req = all->pdata[i];

        if (req->retry) {
            req->retry = false;
            scsi_unit_info(dev)->retry(req);
        }
    }
}

/* ---- data ---- */

/* Between BUF and the first LEN bytes of the guest's list. */
static void iov_copy(const ScsiRequest *req, uint8_t *buf, size_t len, bool to_guest)
{
    for (unsigned i = 0; i < req->niov && len; i++) {
        const struct iovec *iov = &req->iov[i];
        size_t n = MIN(iov->iov_len, len);

        memcpy(to_guest ? iov->iov_base : buf, to_guest ? buf : iov->iov_base, n);
        buf += n;
        len -= n;
    }
}

void scsi_req_offer(ScsiRequest *req, uint8_t *piece, uint32_t len)
{
    g_assert(req->queued && !req->iov && len > 0 && len <= SCSI_PIECE_MAX);
    if (scsi_req_was_cancelled(req)) {
        return;
    }
    req->piece = piece;
    req->piece_len = len;
    req->waits_host = true;
    req->bus->host->data(req);
}

void scsi_req_continue(ScsiRequest *req)
{
    if (!req->waits_host) {
        return;                       /* cancelled meanwhile */
    }
    scsi_req_ref(req);
    req->waits_host = false;
    req->moved += req->piece_len;
    if (req->received) {
        req->received(req);
    } else if (req->buf) {
        scsi_req_good(req);
    } else {
        scsi_unit_info(req->dev)->piece_moved(req);
    }
    scsi_req_unref(req);
}

void scsi_req_reply(ScsiRequest *req, const void *data, size_t len)
{
    size_t n = MIN(len, req->xfer);

    g_assert(len <= SCSI_PIECE_MAX);
    if (!n) {
        scsi_req_good(req);
        return;
    }
    if (req->iov) {
        iov_copy(req, (uint8_t *)(uintptr_t)data, n, true);
        req->moved = n;
        scsi_req_good(req);
        return;
    }
    req->buf = g_memdup2(data, n);
    req->buf_len = n;
    scsi_req_offer(req, req->buf, n);
}

void scsi_req_receive(ScsiRequest *req, void (*received)(ScsiRequest *req))
{
    if (req->xfer > SCSI_PARAM_MAX) {
        scsi_req_check(req, SENSE_INVALID_FIELD);
        return;
    }
    req->buf = g_malloc0(req->xfer + 1);
    req->buf_len = req->xfer;
    req->received = received;
    if (!req->xfer) {
        received(req);
    } else if (req->iov) {
        iov_copy(req, req->buf, req->buf_len, false);
        req->moved = req->buf_len;
        received(req);
    } else {
        scsi_req_offer(req, req->buf, req->buf_len);
    }
}
