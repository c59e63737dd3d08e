/* SPDX-License-Identifier: MIT */
/*
 * The NVM command set: what moves data.
 * Spec: [NVMe1.4 6], and TP4065 for COPY; COMPARE, VERIFY and COPY read in pieces of CHUNK, so that no
 * command allocates more.
 * Missing: WRITE UNCORRECTABLE, reservations, fused commands; they are not announced, and a guest
 * that sends them gets "invalid opcode" or "invalid field".
 * Locking: machine lock.
 */
#include <errno.h>

#include "hw/nvme/nvme_int.h"

enum { CHUNK = 64 * KIB, ZERO_PIECE = 256 * MIB, DSM_RANGE = 16, COPY_RANGE = 32 };

/* ---- ends of requests ---- */

/* After a request to the block layer; true: the command is over, or waits until the VM runs again. */
static bool request_failed(NvmeReq *req, int ret, bool is_read, uint16_t status)
{
    req->aio = NULL;
    if (!req->sq) {
        nvme_complete(req, SC_ABORTED);           /* thrown away by a reset */
        return true;
    }
    if (req->sq->delete_req) {
        nvme_complete(req, SC_SQ_DELETED);
        return true;
    }
    if (ret == -ECANCELED && req->abort) {
        nvme_complete(req, SC_ABORTED);
        return true;
    }
    if (ret >= 0) {
        return false;
    }
    switch (blk_handle_error(req->ns->conf.blk, is_read, -ret)) {
    case BLK_ERROR_IGNORE:
        return false;
    case BLK_ERROR_STOP:
        req->waits = true;
        g_queue_push_tail(&req->n->retries, req);
        return true;
    case BLK_ERROR_REPORT:
        break;
    }
    nvme_complete(req, ret == -ENOSPC ? SC_CAPACITY : status);
    return true;
}

/* For the SMART log, which counts what the host moves: not zeroes, copies and formats. */
static void count(NvmeReq *req, uint64_t bytes)
{
    NvmeTraffic *t = &req->ns->traffic[req->cmd.opcode == NVM_WRITE];

    t->bytes += bytes;
    t->commands++;
}

static void write_done(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    if (!request_failed(req, ret, false, SC_WRITE_FAULT)) {
        if (req->cmd.opcode == NVM_WRITE) {
            count(req, req->left);
        }
        nvme_complete(req, SC_SUCCESS);
    }
}

static void read_done(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    if (!request_failed(req, ret, true, SC_READ_ERROR)) {
        count(req, req->left);
        nvme_complete(req, SC_SUCCESS);
    }
}

/* ---- addresses ---- */

/* Blocks of read-like commands into req->offset and ->left; MAX_SHIFT: of pages, 0 none. */
static uint16_t take_range(NvmeReq *req, uint8_t max_shift)
{
    const NvmeCmd *cmd = &req->cmd;
    NvmeNs *ns = req->ns;
    uint64_t slba = cmd->cdw10 | (uint64_t)cmd->cdw11 << 32;
    uint64_t nlb = (cmd->cdw12 & 0xffff) + 1, blocks = nvme_ns_blocks(ns);

    if (max_shift && nlb << ns->lba_shift > (uint64_t)req->n->page_size << max_shift) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    if (slba >= blocks || nlb > blocks - slba) {
        blk_acct_invalid(ns->conf.blk, cmd->opcode == NVM_WRITE ? BLK_ACCT_WRITE : BLK_ACCT_READ);
        return SC_LBA_RANGE | SC_DNR;
    }
    req->offset = slba << ns->lba_shift;
    req->left = nlb << ns->lba_shift;
    return SC_SUCCESS;
}

static bool may_write(NvmeReq *req)
{
    if (!blk_is_writable(req->ns->conf.blk)) {
        nvme_complete(req, SC_WRITE_PROTECTED | SC_DNR);
        return false;
    }
    return true;
}

/* ---- READ, WRITE ---- */

static void rw_step(NvmeReq *req)
{
    const struct iovec *iov = (const struct iovec *)(void *)req->sg.iov->data;
    int count = (int)req->sg.iov->len, flags = req->cmd.cdw12 & RW_FUA ? BLK_REQ_FUA : 0;
    BlockBackend *blk = req->ns->conf.blk;

    req->aio = req->cmd.opcode == NVM_WRITE
                   ? blk_aio_pwritev(blk, req->offset, iov, count, flags, write_done, req)
                   : blk_aio_preadv(blk, req->offset, iov, count, read_done, req);
}

static void read_write(NvmeReq *req)
{
    bool is_read = req->cmd.opcode == NVM_READ;
    uint16_t status;

    if (!is_read && !may_write(req)) {
        return;
    }
    status = take_range(req, req->n->mdts);
    if (status == SC_SUCCESS) {
        status = nvme_map_data(req, req->left, is_read);
    }
    if (status != SC_SUCCESS) {
        nvme_complete(req, status);
        return;
    }
    req->step = rw_step;
    rw_step(req);
}

/* ---- COMPARE, VERIFY ---- */

static void chunk_step(NvmeReq *req);

static void chunk_done(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    if (request_failed(req, ret, true, SC_READ_ERROR)) {
        return;
    }
    if (req->cmd.opcode == NVM_COMPARE &&
        !nvme_sg_equal(&req->sg, req->moved, req->buf, req->piece)) {
        nvme_complete(req, SC_COMPARE);
        return;
    }
    req->moved += req->piece;
    req->left -= req->piece;
    if (req->left) {
        chunk_step(req);
    } else {
        count(req, req->moved);
        nvme_complete(req, SC_SUCCESS);
    }
}

static void chunk_step(NvmeReq *req)
{
    req->piece = (uint32_t)MIN(req->left, CHUNK);
    req->iov = (struct iovec){ req->buf, req->piece };
    req->aio = blk_aio_preadv(req->ns->conf.blk, req->offset + req->moved, &req->iov, 1, chunk_done,
                              req);
}

static void compare_verify(NvmeReq *req)
{
    bool compare = req->cmd.opcode == NVM_COMPARE;
    uint16_t status = take_range(req, compare ? req->n->mdts : req->n->vsl);

    if (status == SC_SUCCESS && compare) {
        status = nvme_map_data(req, req->left, false);
    }
    if (status != SC_SUCCESS) {
        nvme_complete(req, status);
        return;
    }
    req->buf = g_malloc(MIN(req->left, CHUNK));
    req->step = chunk_step;
    chunk_step(req);
}

/* ---- WRITE ZEROES ---- */

static void zeroes_step(NvmeReq *req)
{
    int flags = (req->cmd.cdw12 & RW_FUA ? BLK_REQ_FUA : 0) |
                (req->cmd.cdw12 & RW_DEAC ? BLK_REQ_MAY_UNMAP : 0);

    req->aio = blk_aio_write_zeroes(req->ns->conf.blk, req->offset, req->left, flags, write_done,
                                    req);
}

static void write_zeroes(NvmeReq *req)
{
    uint16_t status;

    if (!may_write(req)) {
        return;
    }
    status = take_range(req, 0);
    if (status != SC_SUCCESS) {
        nvme_complete(req, status);
        return;
    }
    req->step = zeroes_step;
    zeroes_step(req);
}

/* ---- DATASET MANAGEMENT ---- */

static void dsm_step(NvmeReq *req);

static void dsm_done(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    if (!request_failed(req, ret, false, SC_WRITE_FAULT)) {
        req->index++;
        dsm_step(req);
    }
}

static void dsm_step(NvmeReq *req)
{
    NvmeNs *ns = req->ns;

    for (; req->index < req->count; req->index++) {
        const uint8_t *range = req->buf + req->index * DSM_RANGE;
        uint64_t nlb = le32_load(range + 4), slba = le64_load(range + 8);
        uint64_t blocks = nvme_ns_blocks(ns);

        if (slba > blocks || nlb > blocks - slba) {
            nvme_complete(req, SC_LBA_RANGE | SC_DNR);
            return;
        }
        if (nlb) {
            req->aio = blk_aio_discard(ns->conf.blk, slba << ns->lba_shift, nlb << ns->lba_shift,
                                       dsm_done, req);
            return;
        }
    }
    nvme_complete(req, SC_SUCCESS);
}

static void dataset_management(NvmeReq *req)
{
    uint16_t status;

    req->count = (req->cmd.cdw10 & 0xff) + 1;
    req->buf = g_malloc0(req->count * DSM_RANGE);
    status = nvme_from_guest(req, req->buf, req->count * DSM_RANGE);
    if (status != SC_SUCCESS || !(req->cmd.cdw11 & DSM_AD)) {
        nvme_complete(req, status);       /* the other attributes are hints */
        return;
    }
    if (!may_write(req)) {
        return;
    }
    req->step = dsm_step;
    dsm_step(req);
}

/* ---- COPY: ranges one after another to one place  [TP4065] ---- */

/* buf holds the ranges, and behind them the piece that moves; ->index is the range, ->moved what is done
 * of it, ->offset the end of the copy so far. */
static uint8_t *copy_piece(const NvmeReq *req)
{
    return req->buf + req->count * COPY_RANGE;
}

static uint64_t copy_range(const NvmeReq *req, uint32_t index, uint64_t *offset)
{
    const uint8_t *range = req->buf + index * COPY_RANGE;

    *offset = le64_load(range + 8);
    return le16_load(range + 16) + 1u;
}

static void copy_step(NvmeReq *req);

static void copy_written(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    if (request_failed(req, ret, false, SC_WRITE_FAULT)) {
        return;
    }
    req->writes = false;
    req->offset += req->piece;
    req->moved += req->piece;
    copy_step(req);
}

static void copy_read(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    if (!request_failed(req, ret, true, SC_READ_ERROR)) {
        req->writes = true;
        copy_step(req);
    }
}

static void copy_step(NvmeReq *req)
{
    BlockBackend *blk = req->ns->conf.blk;
    uint8_t shift = req->lba_shift;
    uint64_t from, blocks = copy_range(req, req->index, &from);

    if (req->writes) {
        req->aio = blk_aio_pwritev(blk, req->offset, &req->iov, 1,
                                   req->cmd.cdw12 & RW_FUA ? BLK_REQ_FUA : 0, copy_written, req);
        return;
    }
    if (req->moved == blocks << shift) {
        if (++req->index == req->count) {
            nvme_complete(req, SC_SUCCESS);
            return;
        }
        blocks = copy_range(req, req->index, &from);
        req->moved = 0;
    }
    req->piece = (uint32_t)MIN((blocks << shift) - req->moved, CHUNK);
    req->iov = (struct iovec){ copy_piece(req), req->piece };
    req->aio = blk_aio_preadv(blk, (from << shift) + req->moved, &req->iov, 1, copy_read, req);
}

/* All is checked before anything moves. */
static uint16_t check_copy(NvmeReq *req)
{
    const NvmeNs *ns = req->ns;
    uint64_t to = req->cmd.cdw10 | (uint64_t)req->cmd.cdw11 << 32, size = nvme_ns_blocks(ns), total = 0;

    for (uint32_t i = 0; i < req->count; i++) {
        uint64_t from, blocks = copy_range(req, i, &from);

        total += blocks;
        if (blocks > ns->mssrl || total > ns->mcl) {
            return SC_COMMAND_SIZE | SC_DNR;
        }
        if (from >= size || blocks > size - from) {
            return SC_LBA_RANGE | SC_DNR;
        }
    }
    if (to >= size || total > size - to) {
        return SC_LBA_RANGE | SC_DNR;
    }
    req->lba_shift = ns->lba_shift;       /* a FORMAT may change the namespace's */
    req->offset = to << ns->lba_shift;
    return SC_SUCCESS;
}

static void copy(NvmeReq *req)
{
    uint16_t status;

    if (!may_write(req)) {
        return;
    }
    req->count = (req->cmd.cdw12 & 0xff) + 1;
    if (req->cmd.cdw12 & 0xf00) {         /* descriptors of another format */
        nvme_complete(req, SC_INVALID_FIELD | SC_DNR);
        return;
    }
    if (req->count > req->ns->msrc + 1u) {
        nvme_complete(req, SC_COMMAND_SIZE | SC_DNR);
        return;
    }
    req->buf = g_malloc(req->count * COPY_RANGE + CHUNK);
    status = nvme_from_guest(req, req->buf, req->count * COPY_RANGE);
    status = status == SC_SUCCESS ? check_copy(req) : status;
    if (status != SC_SUCCESS) {
        nvme_complete(req, status);
        return;
    }
    req->step = copy_step;
    copy_step(req);
}

/* ---- FLUSH: one namespace, or each in turn ---- */

static void flush_step(NvmeReq *req);

static void flush_done(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    if (!request_failed(req, ret, false, SC_WRITE_FAULT)) {
        req->index++;
        flush_step(req);
    }
}

static void flush_step(NvmeReq *req)
{
    while (req->index <= req->count) {
        req->ns = nvme_ns_get(req->n, req->index);
        if (req->ns) {
            req->aio = blk_aio_flush(req->ns->conf.blk, flush_done, req);
            return;
        }
        req->index++;
    }
    nvme_complete(req, SC_SUCCESS);
}

static void flush(NvmeReq *req)
{
    bool all = req->cmd.nsid == NVME_NSID_ALL;

    req->index = all ? 1 : req->cmd.nsid;
    req->count = all ? NVME_MAX_NS : req->cmd.nsid;
    req->step = flush_step;
    flush_step(req);
}

/* ---- FORMAT NVM, an admin command  [5.23] ---- */

static void format_step(NvmeReq *req);

static void format_done(void *opaque, int ret)
{
    NvmeReq *req = opaque;

    req->ns->formatting = false;
    if (!request_failed(req, ret, false, SC_WRITE_FAULT)) {
        req->offset += req->piece;
        req->left -= req->piece;
        format_step(req);
    }
}

static bool format_next(NvmeReq *req)
{
    for (; req->index <= req->count; req->index++) {
        NvmeNs *ns = nvme_ns_get(req->n, req->index);

        if (ns) {
            req->ns = ns;
            req->index++;
            ns->lba_shift = req->cmd.cdw10 & 0xf ? 12 : 9;
            req->offset = 0;
            req->left = blk_length(ns->conf.blk);
            return true;
        }
    }
    return false;
}

static void format_step(NvmeReq *req)
{
    if (!req->left && !format_next(req)) {
        nvme_complete(req, SC_SUCCESS);
        return;
    }
    req->ns->formatting = true;
    req->piece = (uint32_t)MIN(req->left, ZERO_PIECE);
    req->aio = blk_aio_write_zeroes(req->ns->conf.blk, req->offset, req->piece, BLK_REQ_MAY_UNMAP,
                                    format_done, req);
}

void nvme_format(NvmeReq *req)
{
    uint32_t dw = req->cmd.cdw10, nsid = req->cmd.nsid;
    bool all = nsid == NVME_NSID_ALL;

    if (!all && (nsid == 0 || nsid > NVME_MAX_NS)) {
        nvme_complete(req, SC_INVALID_NS | SC_DNR);
        return;
    }
    /* Two formats, no metadata, no protection; erasing is what formatting does anyway. */
    if ((dw & 0xf) > 1 || (dw & 0x1f0) || ((dw >> 9) & 7) > 1 || (dw & 0x3000)) {
        nvme_complete(req, SC_INVALID_FORMAT | SC_DNR);
        return;
    }
    req->index = all ? 1 : nsid;
    req->count = all ? NVME_MAX_NS : nsid;
    for (uint32_t i = req->index; i <= req->count; i++) {
        NvmeNs *ns = nvme_ns_get(req->n, i);
        uint16_t status = !ns                              ? SC_INVALID_FIELD
                          : ns->formatting                 ? SC_FORMAT_RUNNING
                          : !blk_is_writable(ns->conf.blk) ? SC_WRITE_PROTECTED
                                                           : SC_SUCCESS;

        if (status != SC_SUCCESS && (ns || !all)) {
            nvme_complete(req, status | SC_DNR);
            return;
        }
    }
    req->step = format_step;
    format_step(req);
}

/* ---- dispatch ---- */

/* clang-format off */
static void (*const commands[256])(NvmeReq *req) = {
    [NVM_FLUSH]        = flush,
    [NVM_WRITE]        = read_write,
    [NVM_READ]         = read_write,
    [NVM_COMPARE]      = compare_verify,
    [NVM_WRITE_ZEROES] = write_zeroes,
    [NVM_DSM]          = dataset_management,
    [NVM_VERIFY]       = compare_verify,
    [NVM_COPY]         = copy,
};
/* clang-format on */

bool nvme_io_has(uint8_t opcode)
{
    return commands[opcode];
}

void nvme_io_run(NvmeReq *req)
{
    const NvmeCmd *cmd = &req->cmd;
    uint16_t status = SC_SUCCESS;

    req->ns = nvme_ns_get(req->n, cmd->nsid);
    if (!commands[cmd->opcode]) {
        status = SC_INVALID_OPCODE;
    } else if (cmd->opcode == NVM_FLUSH && cmd->nsid == NVME_NSID_ALL) {
        status = SC_SUCCESS;
    } else if (cmd->nsid == 0 || cmd->nsid > NVME_MAX_NS) {
        status = SC_INVALID_NS;
    } else if (!req->ns || (cmd->flags & 3)) {
        status = SC_INVALID_FIELD;        /* not attached; or fused */
    } else if (req->ns->formatting) {
        status = SC_FORMAT_RUNNING;
    }
    if (status != SC_SUCCESS) {
        log_guest_error("nvme: I/O command 0x%02x for namespace %u refused, status 0x%x\n",
                        cmd->opcode, cmd->nsid, status);
        nvme_complete(req, status == SC_FORMAT_RUNNING ? status : status | SC_DNR);
        return;
    }
    commands[cmd->opcode](req);
}
