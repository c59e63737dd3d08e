/* SPDX-License-Identifier: MIT */
/*
 * Admin commands.  Spec: [NVMe1.4 5].
 * Missing: firmware download, self-test, namespace management beyond attachment, security, sanitize;
 * "invalid opcode" to the guest.
 * Locking: machine lock.
 */
#include "hw/nvme/nvme_int.h"

/* A command that ends with its function returns its status; LATER: it completes by itself. */
enum { LATER = 0xffff };

static uint16_t check_queue(const Nvme *n, const NvmeCmd *cmd, bool exists, bool sizes_set)
{
    uint32_t id = cmd->cdw10 & 0xffff, size = cmd->cdw10 >> 16;

    if (!id || id > n->max_ioqpairs || exists) {
        return SC_INVALID_QID | SC_DNR;
    }
    if (!size || size > NVME_MQES || !sizes_set) {
        return SC_QUEUE_SIZE | SC_DNR;
    }
    if (cmd->prp1 & (n->page_size - 1)) {
        return SC_PRP_OFFSET | SC_DNR;
    }
    if (!(cmd->cdw11 & 1)) {
        return SC_INVALID_FIELD | SC_DNR;     /* CAP.CQR: contiguous ones only */
    }
    return SC_SUCCESS;
}

static uint16_t create_sq(NvmeReq *req)
{
    Nvme *n = req->n;
    const NvmeCmd *cmd = &req->cmd;
    uint16_t id = cmd->cdw10, cqid = cmd->cdw11 >> 16, status;

    if (!cqid || !nvme_has_cq(n, cqid)) {
        return SC_INVALID_CQ | SC_DNR;
    }
    status = check_queue(n, cmd, nvme_has_sq(n, id), CC_IOSQES(n->cc) == 6);
    if (status == SC_SUCCESS) {
        nvme_sq_new(n, id, cqid, (cmd->cdw10 >> 16) + 1, cmd->prp1);
    }
    return status;
}

static uint16_t create_cq(NvmeReq *req)
{
    Nvme *n = req->n;
    const NvmeCmd *cmd = &req->cmd;
    uint16_t id = cmd->cdw10, vector = cmd->cdw11 >> 16;
    uint16_t status = check_queue(n, cmd, nvme_has_cq(n, id), CC_IOCQES(n->cc) == 4);

    if (status != SC_SUCCESS) {
        return status;
    }
    if (vector >= n->msix_qsize || (vector && !msix_enabled(&n->pci))) {
        return SC_INVALID_VECTOR | SC_DNR;
    }
    nvme_cq_new(n, id, (cmd->cdw10 >> 16) + 1, cmd->prp1, vector, cmd->cdw11 & 2);
    return SC_SUCCESS;
}

static uint16_t delete_sq(NvmeReq *req)
{
    uint16_t id = req->cmd.cdw10;

    if (!id || !nvme_has_sq(req->n, id) || req->n->sqs[id]->delete_req) {
        return SC_INVALID_QID | SC_DNR;
    }
    nvme_sq_delete(req->n, id, req);
    return LATER;
}

static uint16_t delete_cq(NvmeReq *req)
{
    Nvme *n = req->n;
    uint16_t id = req->cmd.cdw10;

    if (!id || !nvme_has_cq(n, id)) {
        return SC_INVALID_QID | SC_DNR;
    }
    if (n->cqs[id]->sqs) {
        return SC_QUEUE_DELETION;
    }
    nvme_cq_delete(n, id);
    return SC_SUCCESS;
}

static NvmeReq *find_command(const Nvme *n, uint16_t sqid, uint16_t cid, const NvmeReq *not_this)
{
    for (GList *l = n->sqs[sqid]->reqs.head; l; l = l->next) {
        NvmeReq *req = l->data;

        if (req->cmd.cid == cid && !req->done && req != not_this) {
            return req;
        }
    }
    return NULL;
}

/* Ends after the command, which may also end as if nothing had been asked: bit 0 says "not aborted".  What
 * waits for the VM to run or for an event is aborted at once.  [5.1] */
static uint16_t abort_command(NvmeReq *req)
{
    Nvme *n = req->n;
    uint16_t sqid = req->cmd.cdw10;
    NvmeReq *target;

    req->result = 1;
    if (!nvme_has_sq(n, sqid)) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    target = find_command(n, sqid, req->cmd.cdw10 >> 16, req);
    if (!target || target->abort) {
        return SC_SUCCESS;
    }
    if (target->waits ? g_queue_remove(&n->retries, target) : g_queue_remove(&n->aers, target)) {
        target->waits = false;
        req->result = 0;
        nvme_complete(target, SC_ABORTED);
        return SC_SUCCESS;
    }
    if (!target->aio) {
        return SC_SUCCESS;
    }
    if (n->aborts > NVME_ABORT_LIMIT) {
        return SC_ABORT_LIMIT;
    }
    n->aborts++;
    target->abort = req;
    blk_aio_cancel(target->aio);
    return LATER;
}

static uint16_t async_event(NvmeReq *req)
{
    Nvme *n = req->n;

    if (n->aers.length > n->aerl) {
        return SC_AER_LIMIT;
    }
    g_queue_push_tail(&n->aers, req);
    nvme_events_send(n);
    return LATER;
}

/* Attach to or detach from this controller, the only one.  [5.19] */
static uint16_t ns_attachment(NvmeReq *req)
{
    Nvme *n = req->n;
    uint32_t nsid = req->cmd.nsid;
    bool detach = (req->cmd.cdw10 & 0xf) == 1;
    uint8_t list[NVME_ID_LEN];
    uint16_t status;
    NvmeNs *ns;

    if (nsid == 0 || nsid > NVME_MAX_NS) {
        return SC_INVALID_NS | SC_DNR;
    }
    ns = n->ns[nsid];
    if (!ns || (req->cmd.cdw10 & 0xf) > 1) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    status = nvme_from_guest(req, list, sizeof(list));
    if (status != SC_SUCCESS) {
        return status;
    }
    if (le16_load(list) != 1 || le16_load(list + 2) != 0) {
        return SC_CONTROLLER_LIST | SC_DNR;   /* the one controller has identifier 0 */
    }
    if (ns->detached == detach) {
        return (detach ? SC_NOT_ATTACHED : SC_ALREADY_ATTACHED) | SC_DNR;
    }
    ns->detached = detach;
    nvme_ns_changed(n, nsid);
    return SC_SUCCESS;
}

/* Shadow doorbells and event indices, a page each.  [5.7] */
static uint16_t doorbell_buffers(NvmeReq *req)
{
    Nvme *n = req->n;

    if ((req->cmd.prp1 | req->cmd.prp2) & (n->page_size - 1)) {
        return SC_INVALID_FIELD | SC_DNR;
    }
    if (8ull * (n->max_ioqpairs + 1) > n->page_size) {
        return SC_INVALID_FIELD | SC_DNR;     /* they would run out of the page */
    }
    n->dbs_addr = req->cmd.prp1;
    n->eis_addr = req->cmd.prp2;
    n->dbbuf = true;
    n->admin_shadow = false;
    n->admin_value = __atomic_load_n(&n->doorbells[0], __ATOMIC_RELAXED);
    /* The present values, so that the guest's first comparison is right. */
    for (uint32_t i = 0; i < 2 * (n->max_ioqpairs + 1); i++) {
        uint32_t value = __atomic_load_n(&n->doorbells[i], __ATOMIC_RELAXED);

        dma_store(&n->pci.dev, n->dbs_addr + 4 * i, value, 4);
        dma_store(&n->pci.dev, n->eis_addr + 4 * i, value, 4);
    }
    return SC_SUCCESS;
}

static uint16_t format_nvm(NvmeReq *req)
{
    nvme_format(req);
    return LATER;
}

/* clang-format off */
static uint16_t (*const commands[256])(NvmeReq *req) = {
    [ADM_DELETE_SQ]     = delete_sq,
    [ADM_CREATE_SQ]     = create_sq,
    [ADM_GET_LOG_PAGE]  = nvme_get_log,
    [ADM_DELETE_CQ]     = delete_cq,
    [ADM_CREATE_CQ]     = create_cq,
    [ADM_IDENTIFY]      = nvme_identify,
    [ADM_ABORT]         = abort_command,
    [ADM_SET_FEATURES]  = nvme_set_feature,
    [ADM_GET_FEATURES]  = nvme_get_feature,
    [ADM_ASYNC_EVENT]   = async_event,
    [ADM_NS_ATTACHMENT] = ns_attachment,
    [ADM_DBBUF]         = doorbell_buffers,
    [ADM_FORMAT]        = format_nvm,
};
/* clang-format on */

bool nvme_admin_has(uint8_t opcode)
{
    return commands[opcode];
}

void nvme_admin_run(NvmeReq *req)
{
    const NvmeCmd *cmd = &req->cmd;
    uint16_t status;

    if (!commands[cmd->opcode]) {
        status = SC_INVALID_OPCODE | SC_DNR;
    } else if (cmd->flags) {
        status = SC_INVALID_FIELD | SC_DNR;   /* fused, or an SGL: not for admin commands */
    } else {
        status = commands[cmd->opcode](req);
    }
    if (status == LATER) {
        return;
    }
    if (status != SC_SUCCESS) {
        log_guest_error("nvme: admin command 0x%02x refused, status 0x%x\n", cmd->opcode, status);
    }
    nvme_complete(req, status);
}
