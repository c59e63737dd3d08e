/* SPDX-License-Identifier: MIT */
/*
 * Submission and completion queues, and the asynchronous events that complete through them.
 * Spec: [NVMe1.4 4.1 queues, 4.6 completions, 5.2 events, 7.13 shadow doorbells].
 * Locking: machine lock.
 */
#include "hw/nvme/nvme_int.h"

enum { SQ_DOORBELL = 0, CQ_DOORBELL = 1 };

NvmeNs *nvme_ns_get(Nvme *n, uint32_t nsid)
{
    NvmeNs *ns = nsid >= 1 && nsid <= NVME_MAX_NS ? n->ns[nsid] : NULL;

    return ns && !ns->detached ? ns : NULL;
}

/* ---- doorbells ---- */

static gpa_t shadow_addr(const Nvme *n, gpa_t base, unsigned qid, unsigned which)
{
    return base + 8ull * qid + 4 * which;
}

static uint32_t doorbell_value(Nvme *n, unsigned qid, unsigned which)
{
    bool shadowed = n->dbbuf && (qid || n->admin_shadow);

    if (shadowed) {
        return (uint32_t)dma_load(&n->pci.dev, shadow_addr(n, n->dbs_addr, qid, which), 4);
    }
    return __atomic_load_n(&n->doorbells[2 * qid + which], __ATOMIC_SEQ_CST);
}

/* From now on, moving the doorbell past VALUE is written to the register. */
static void set_event_index(Nvme *n, unsigned qid, unsigned which, uint32_t value)
{
    if (n->dbbuf) {
        dma_store(&n->pci.dev, shadow_addr(n, n->eis_addr, qid, which), value, 4);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

/* A driver need not keep shadows for the admin queue: does this one? */
static void look_at_admin_shadow(Nvme *n)
{
    if (n->dbbuf && !n->admin_shadow) {
        n->admin_shadow = dma_load(&n->pci.dev, n->dbs_addr, 4) != n->admin_value;
    }
}

/* A value out of the queue is logged and not taken: it cannot be waited for, either. */
static bool take_doorbell(Nvme *n, unsigned qid, unsigned which, uint32_t size, uint32_t *field)
{
    uint32_t value = doorbell_value(n, qid, which);

    if (value >= size) {
        log_guest_error("nvme: %s doorbell %u in shadow memory has value %u, the queue %u entries\n",
                        which ? "completion" : "submission", qid, value, size);
        nvme_event(n, EVENT_ERROR, ERROR_BAD_VALUE, LOG_ERROR);
        return false;
    }
    *field = value;
    return true;
}

/* ---- requests ---- */

static void req_free(NvmeReq *req)
{
    if (req->mapped) {
        dma_sg_unmap(&req->sg);
    }
    g_free(req->buf);
    g_free(req);
}

static void req_leave_sq(NvmeReq *req)
{
    g_queue_unlink(&req->sq->reqs, &req->link);
    req->sq->outstanding--;
    req->sq = NULL;
}

void nvme_complete(NvmeReq *req, uint16_t status)
{
    Nvme *n = req->n;
    NvmeSq *sq = req->sq;

    if (!sq) {
        req_free(req);
        if (--n->orphans == 0) {
            nvme_orphans_gone(n);
        }
        return;
    }
    if (req->mapped) {
        dma_sg_unmap(&req->sg);
        req->mapped = false;
    }
    g_clear_pointer(&req->buf, g_free);
    req->status = status;
    if (status != SC_SUCCESS) {
        nvme_log_error(req, status);
    }
    n->running--;
    sq->running--;
    req->done = true;
    g_queue_push_tail_link(&n->cqs[sq->cqid]->done, &req->done_link);
    nvme_kick(n);
    if (req->abort) {
        NvmeReq *abort = g_steal_pointer(&req->abort);

        n->aborts--;
        abort->result = status != SC_ABORTED;
        nvme_complete(abort, SC_SUCCESS);
    }
    if (sq->delete_req && !sq->running) {
        nvme_sq_delete(n, sq->id, sq->delete_req);
    }
}

/* ---- completion queues ---- */

static bool cq_full(const NvmeCq *cq)
{
    return (cq->tail + 1) % cq->size == cq->head;
}

static bool post_one(Nvme *n, NvmeCq *cq, const NvmeReq *req)
{
    gpa_t addr = cq->base + (uint64_t)cq->tail * NVME_CQE;
    uint8_t cqe[NVME_CQE - 4] = { 0 };

    le32_store(cqe, req->result);
    le16_store(cqe + 8, (uint16_t)req->sq->head);
    le16_store(cqe + 10, req->sq->id);
    if (!dma_write(&n->pci.dev, addr, cqe, sizeof(cqe))) {
        return false;
    }
    /* The phase bit last, since a driver polls it. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    dma_store(&n->pci.dev, addr + 12, req->cmd.cid | (uint32_t)(req->status << 1 | cq->phase) << 16, 4);
    cq->tail++;
    if (cq->tail == cq->size) {
        cq->tail = 0;
        cq->phase = !cq->phase;
    }
    return true;
}

static void cq_post(Nvme *n, NvmeCq *cq)
{
    bool posted = false, waiting = false;
    NvmeReq *req;

    while ((req = g_queue_peek_head(&cq->done)) && !(n->csts & CSTS_CFS)) {
        if (cq_full(cq)) {
            take_doorbell(n, cq->id, CQ_DOORBELL, cq->size, &cq->head);
        }
        if (cq_full(cq)) {
            if (waiting) {
                break;
            }
            /* Ask to be told, then look again: the guest may just have moved it. */
            waiting = true;
            __atomic_store_n(&n->cq_waits, true, __ATOMIC_SEQ_CST);
            set_event_index(n, cq->id, CQ_DOORBELL, cq->head);
            continue;
        }
        if (!post_one(n, cq, req)) {
            nvme_fatal(n, "a completion queue is not in memory");
            return;
        }
        g_queue_unlink(&cq->done, &req->done_link);
        req_leave_sq(req);
        req_free(req);
        posted = true;
    }
    if (posted && cq->irq_enabled) {
        if (msix_enabled(&n->pci)) {
            msix_notify(&n->pci, cq->vector);
        } else {
            set_event_index(n, cq->id, CQ_DOORBELL, cq->head);
        }
    }
}

void nvme_cq_heads(Nvme *n)
{
    for (uint32_t i = 0; i <= n->top_qid; i++) {
        NvmeCq *cq = n->cqs[i];

        if (cq && take_doorbell(n, i, CQ_DOORBELL, cq->size, &cq->head) && cq->irq_enabled &&
            !msix_enabled(&n->pci)) {
            set_event_index(n, i, CQ_DOORBELL, cq->head);
        }
    }
}

static void post_all(Nvme *n)
{
    __atomic_store_n(&n->cq_waits, false, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i <= n->top_qid; i++) {
        if (n->cqs[i] && n->cqs[i]->done.length) {
            cq_post(n, n->cqs[i]);
        }
    }
}

/* ---- submission queues ---- */

static void parse(NvmeCmd *cmd, const uint8_t *sqe)
{
    *cmd = (NvmeCmd){
        .opcode = sqe[0], .flags = sqe[1], .cid = le16_load(sqe + 2), .nsid = le32_load(sqe + 4),
        .prp1 = le64_load(sqe + 24), .prp2 = le64_load(sqe + 32), .cdw10 = le32_load(sqe + 40),
        .cdw11 = le32_load(sqe + 44), .cdw12 = le32_load(sqe + 48), .cdw13 = le32_load(sqe + 52),
        .cdw14 = le32_load(sqe + 56), .cdw15 = le32_load(sqe + 60),
    };
    memcpy(cmd->dptr, sqe + 24, 16);
}

static bool fetch_one(Nvme *n, NvmeSq *sq)
{
    uint8_t sqe[NVME_SQE];
    NvmeReq *req;

    if (!dma_read(&n->pci.dev, sq->base + (uint64_t)sq->head * NVME_SQE, sqe, sizeof(sqe))) {
        nvme_fatal(n, "a submission queue is not in memory");
        return false;
    }
    sq->head = (sq->head + 1) % sq->size;
    req = g_new0(NvmeReq, 1);
    req->n = n;
    req->sq = sq;
    parse(&req->cmd, sqe);
    req->link.data = req->done_link.data = req;
    g_queue_push_tail_link(&sq->reqs, &req->link);
    sq->outstanding++;
    sq->running++;
    n->running++;
    if (sq->id) {
        nvme_io_run(req);
    } else {
        nvme_admin_run(req);
    }
    return true;
}

/* Only within one call, and not more than the queue holds: other queues and the rest of the machine want
 * their turn.  true: not done yet. */
static bool sq_fetch(Nvme *n, NvmeSq *sq)
{
    uint32_t id = sq->id, budget = sq->size;

    if (id == 0) {
        look_at_admin_shadow(n);
    }
    if (sq->delete_req || !take_doorbell(n, id, SQ_DOORBELL, sq->size, &sq->tail)) {
        return false;
    }
    for (; budget; budget--) {
        if (sq->head == sq->tail) {
            set_event_index(n, id, SQ_DOORBELL, sq->tail);
            if (!n->dbbuf || !take_doorbell(n, id, SQ_DOORBELL, sq->size, &sq->tail) ||
                sq->head == sq->tail) {
                return false;
            }
        }
        if (sq->outstanding >= sq->size || n->running >= NVME_RUNNING_MAX) {
            return false;                 /* a completion goes on */
        }
        if (!fetch_one(n, sq) || n->sqs[id] != sq) {
            return false;
        }
    }
    return true;
}

bool nvme_queues_run(Nvme *n)
{
    bool more = false;

    post_all(n);
    for (uint32_t i = 0; i <= n->top_qid && !(n->csts & CSTS_CFS); i++) {
        if (n->sqs[i]) {
            more |= sq_fetch(n, n->sqs[i]);
        }
    }
    post_all(n);
    return more && !(n->csts & CSTS_CFS);
}

/* ---- making and unmaking ---- */

bool nvme_has_sq(const Nvme *n, uint16_t id)
{
    return id <= n->max_ioqpairs && n->sqs[id];
}

bool nvme_has_cq(const Nvme *n, uint16_t id)
{
    return id <= n->max_ioqpairs && n->cqs[id];
}

static void open_doorbell(Nvme *n, unsigned qid, unsigned which, uint32_t size)
{
    __atomic_store_n(&n->doorbells[2 * qid + which], 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&n->limits[2 * qid + which], size, __ATOMIC_SEQ_CST);
    if (n->dbbuf && qid) {
        dma_store(&n->pci.dev, shadow_addr(n, n->dbs_addr, qid, which), 0, 4);
        set_event_index(n, qid, which, 0);
    }
    n->top_qid = MAX(n->top_qid, qid);
}

void nvme_sq_new(Nvme *n, uint16_t id, uint16_t cqid, uint32_t size, gpa_t base)
{
    NvmeSq *sq = g_new0(NvmeSq, 1);

    sq->id = id;
    sq->cqid = cqid;
    sq->size = size;
    sq->base = base;
    g_queue_init(&sq->reqs);
    n->sqs[id] = sq;
    n->cqs[cqid]->sqs++;
    open_doorbell(n, id, SQ_DOORBELL, size);
}

void nvme_cq_new(Nvme *n, uint16_t id, uint32_t size, gpa_t base, uint16_t vector, bool irq)
{
    NvmeCq *cq = g_new0(NvmeCq, 1);

    cq->id = id;
    cq->size = size;
    cq->base = base;
    cq->vector = vector;
    cq->irq_enabled = irq;
    cq->phase = true;
    g_queue_init(&cq->done);
    n->cqs[id] = cq;
    open_doorbell(n, id, CQ_DOORBELL, size);
}

static void sq_free(Nvme *n, NvmeSq *sq)
{
    __atomic_store_n(&n->limits[2 * sq->id], 0, __ATOMIC_SEQ_CST);
    n->cqs[sq->cqid]->sqs--;
    n->sqs[sq->id] = NULL;
    g_free(sq);
}

void nvme_cq_delete(Nvme *n, uint16_t id)
{
    NvmeCq *cq = n->cqs[id];

    __atomic_store_n(&n->limits[2 * id + 1], 0, __ATOMIC_SEQ_CST);
    n->cqs[id] = NULL;
    g_free(cq);
    nvme_update_pin(n);
}

/* What waits for the VM to run again ends at once; what the block layer has is asked to. */
void nvme_sq_delete(Nvme *n, uint16_t id, NvmeReq *req)
{
    NvmeSq *sq = n->sqs[id];

    if (!sq->delete_req && sq->running) {
        g_autoptr(GList) all = g_list_copy(sq->reqs.head);

        sq->delete_req = req;
        for (GList *l = all; l; l = l->next) {
            NvmeReq *each = l->data;

            if (each->waits && g_queue_remove(&n->retries, each)) {
                each->waits = false;
                /* The last one may end the queue: nothing of it is touched afterwards. */
                if (sq->running == 1) {
                    nvme_complete(each, SC_SQ_DELETED);
                    return;
                }
                nvme_complete(each, SC_SQ_DELETED);
            } else if (each->aio) {
                blk_aio_cancel(each->aio);
            }
        }
        return;
    }
    /* Nothing runs: drop what is complete and not posted, then the queue. */
    while (sq->reqs.head) {
        NvmeReq *each = sq->reqs.head->data;

        g_queue_unlink(&n->cqs[sq->cqid]->done, &each->done_link);
        req_leave_sq(each);
        req_free(each);
    }
    sq_free(n, sq);
    nvme_complete(req, SC_SUCCESS);
}

static void abandon(Nvme *n, NvmeReq *req)
{
    bool running = req->aio;

    if (req->done) {
        g_queue_unlink(&n->cqs[req->sq->cqid]->done, &req->done_link);
    }
    req_leave_sq(req);
    req->abort = NULL;                    /* goes the same way */
    if (running) {
        n->orphans++;
        blk_aio_cancel(req->aio);
    } else {
        req_free(req);
    }
}

void nvme_queues_clear(Nvme *n)
{
    g_queue_clear(&n->retries);
    g_queue_clear(&n->aers);
    for (uint32_t i = 0; i <= n->top_qid; i++) {
        while (n->sqs[i] && n->sqs[i]->reqs.head) {
            abandon(n, n->sqs[i]->reqs.head->data);
        }
        if (n->sqs[i]) {
            sq_free(n, n->sqs[i]);
        }
    }
    n->running = n->aborts = 0;
    for (uint32_t i = 0; i <= n->top_qid; i++) {
        if (n->cqs[i]) {
            nvme_cq_delete(n, (uint16_t)i);
        }
    }
    n->top_qid = 0;
    n->dbbuf = n->admin_shadow = false;
    n->event_count = 0;
    n->event_mask = 0;
}

/* ---- asynchronous events ---- */

void nvme_events_send(Nvme *n)
{
    for (uint32_t i = 0; i < n->event_count && n->aers.length;) {
        NvmeEvent *e = &n->events[(n->event_first + i) % n->aer_max_queued];
        NvmeReq *req;

        if (n->event_mask & BIT(e->type)) {
            i++;                          /* its log has not been read since the last one */
            continue;
        }
        n->event_mask |= BIT(e->type);
        req = g_queue_pop_head(&n->aers);
        req->result = e->type | (uint32_t)e->info << 8 | (uint32_t)e->log_page << 16;
        /* Those before it move up. */
        for (; i > 0; i--) {
            n->events[(n->event_first + i) % n->aer_max_queued] =
                n->events[(n->event_first + i - 1) % n->aer_max_queued];
        }
        n->event_first = (n->event_first + 1) % n->aer_max_queued;
        n->event_count--;
        nvme_complete(req, SC_SUCCESS);
    }
}

void nvme_event(Nvme *n, uint8_t type, uint8_t info, uint8_t log_page)
{
    if (!(n->csts & CSTS_RDY)) {
        return;
    }
    if (n->event_count >= n->aer_max_queued) {
        log_guest_error("nvme: an asynchronous event is lost, %u wait already\n", n->event_count);
        return;
    }
    n->events[(n->event_first + n->event_count++) % n->aer_max_queued] =
        (NvmeEvent){ type, info, log_page };
    nvme_events_send(n);
}

void nvme_ns_changed(Nvme *n, uint32_t nsid)
{
    uint32_t *word = &n->changed_ns[(nsid - 1) / 32];

    if (*word & BIT((nsid - 1) % 32)) {
        return;                           /* reported, and not read yet */
    }
    *word |= BIT((nsid - 1) % 32);
    if (n->async_config & EVENTS_NS_CHANGED) {
        nvme_event(n, EVENT_NOTICE, NOTICE_NS_CHANGED, LOG_CHANGED_NS);
    }
}
