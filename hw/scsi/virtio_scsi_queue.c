/* SPDX-License-Identifier: MIT */
/*
 * Virtio SCSI adapter: commands and task management.
 * Spec: VIRTIO1.2 5.6.6.
 *
 *     command    readable   lun[8], tag le64, task_attr, prio, crn, cdb[cdb_size], data out
 *                writable   sense_len le32, resid le32, status_qualifier le16, status, response,
 *                           sense[sense_size], data in
 *     control    readable   type le32, ...; writable   ..., response
 *
 * Data goes between guest memory and the block layer without a copy.
 * Not modelled: commands with data both ways (FAILURE), protection information.
 * Locking: machine lock.
 */
#include "hw/scsi/virtio_scsi.h"

#include "base/error.h"

enum { REQ_LEN = 19, RESP_LEN = 12, RESP_RESID = 4, RESP_STATUS = 10, RESP_RESPONSE = 11 };
enum { TYPE_TMF = 0, TYPE_AN_QUERY = 1, TYPE_AN_SUBSCRIBE = 2 };
enum { TMF_ABORT_TASK, TMF_ABORT_TASK_SET, TMF_CLEAR_ACA, TMF_CLEAR_TASK_SET,
       TMF_I_T_NEXUS_RESET, TMF_LOGICAL_UNIT_RESET, TMF_QUERY_TASK, TMF_QUERY_TASK_SET };
enum { TMF_LEN = 24, AN_LEN = 16, AN_RESP_LEN = 5, CDB_ROOM = 32 };

static VirtioScsi *owner(const VirtioElem *elem)
{
    return virtio_scsi_of(virtqueue_device(elem->vq));
}

/* ---- addresses: 5.6.6.1 ---- */

static uint32_t lun_of(const uint8_t *lun)
{
    return be16_load(lun + 2) & 0x3fff;
}

/* The unit, or with *SIBLING one of its target; both NULL: there is no such target. */
static ScsiDevice *find(VirtioScsi *s, const uint8_t *lun, ScsiDevice **sibling)
{
    *sibling = NULL;
    return lun[0] == 1 ? scsi_bus_find(&s->bus, 0, lun[1], lun_of(lun), sibling) : NULL;
}

/* ---- commands ---- */

static void respond(VirtioScsiReq *r, uint8_t response)
{
    VirtioScsi *s = owner(&r->elem);
    VirtQueue *vq = r->elem.vq;
    uint8_t head[RESP_LEN] = { 0 }, sense[SCSI_SENSE_LEN];
    uint32_t written = r->resp_len, n = 0;

    head[RESP_RESPONSE] = response;
    if (response == VIRTIO_SCSI_S_OK && r->req) {
        n = scsi_req_take_sense(r->req, sense, MIN(sizeof(sense), r->resp_len - RESP_LEN));
        head[RESP_STATUS] = r->req->status;
        le32_store(head + RESP_RESID, r->data_len - (uint32_t)MIN(r->req->moved, r->data_len));
        written += r->req->dir == SCSI_DIR_IN ? (uint32_t)r->req->moved : 0;
    }
    le32_store(head, n);
    virtio_elem_write(&r->elem, 0, head, sizeof(head));
    virtio_elem_write(&r->elem, sizeof(head), sense, n);
    g_clear_pointer(&r->req, scsi_req_unref);
    g_clear_pointer(&r->list, g_free);
    if (s->dropping) {
        virtqueue_drop(&r->elem);
    } else {
        virtqueue_push(&r->elem, written);
        virtqueue_notify(vq);
    }
}

static void host_complete(ScsiRequest *req)
{
    respond(req->host_data, VIRTIO_SCSI_S_OK);
}

static void tmf_done(VirtioScsiTmf *t)
{
    VirtQueue *vq = t->elem.vq;

    virtio_elem_write(&t->elem, 0, &t->response, 1);
    if (owner(&t->elem)->dropping) {
        virtqueue_drop(&t->elem);
    } else {
        virtqueue_push(&t->elem, 1);
        virtqueue_notify(vq);
    }
}

static void host_cancelled(ScsiRequest *req)
{
    VirtioScsiReq *r = req->host_data;
    VirtioScsiTmf *t = r->tmf;

    respond(r, r->reset ? VIRTIO_SCSI_S_RESET : VIRTIO_SCSI_S_ABORTED);
    if (t && --t->waiting == 0) {
        tmf_done(t);
    }
}

/* The buffers behind header and response must fit what the CDB says. */
static bool take_data(VirtioScsiReq *r, uint8_t *response)
{
    ScsiRequest *req = r->req;
    uint32_t out = r->elem.out_len - REQ_LEN - owner(&r->elem)->cdb_size;
    uint32_t in = r->elem.in_len - r->resp_len;

    if (out && in) {
        *response = VIRTIO_SCSI_S_FAILURE;
        return false;
    }
    r->data_len = out + in;
    if (req->dir == SCSI_DIR_NONE) {
        return true;
    }
    if (req->xfer > (req->dir == SCSI_DIR_IN ? in : out)) {
        *response = VIRTIO_SCSI_S_OVERRUN;
        return false;
    }
    return true;
}

/* Host memory of the data: the element's lists from where they begin. */
static void give_data(VirtioScsiReq *r)
{
    bool in = r->req->dir == SCSI_DIR_IN;
    const struct iovec *list = in ? r->elem.in : r->elem.out;
    unsigned n = in ? r->elem.in_num : r->elem.out_num, first = 0;
    size_t skip = in ? r->resp_len : REQ_LEN + owner(&r->elem)->cdb_size;

    if (r->req->dir == SCSI_DIR_NONE) {
        return;
    }
    while (first < n && skip >= list[first].iov_len) {
        skip -= list[first++].iov_len;
    }
    r->list = g_memdup2(list + first, (n - first) * sizeof(struct iovec));
    r->list[0].iov_base = (uint8_t *)r->list[0].iov_base + skip;
    r->list[0].iov_len -= skip;
    r->req->iov = r->list;
    r->req->niov = n - first;
}

/* Reads the header and makes the request; false: it ends with *RESPONSE. */
static bool parse(VirtioScsiReq *r, uint8_t *response)
{
    VirtioScsi *s = owner(&r->elem);
    uint8_t head[REQ_LEN + CDB_ROOM] = { 0 };
    ScsiDevice *d, *sibling;

    virtio_elem_read(&r->elem, 0, head, REQ_LEN + MIN(s->cdb_size, CDB_ROOM));
    r->tag = le64_load(head + 8);
    d = find(s, head, &sibling);
    if (!sibling) {
        *response = VIRTIO_SCSI_S_BAD_TARGET;
        return false;
    }
    r->req = scsi_req_new(d ?: sibling, lun_of(head), (uint32_t)r->tag, head + REQ_LEN,
                          MIN(s->cdb_size, SCSI_CDB_MAX), r);
    return take_data(r, response);
}

static void begin(VirtioScsiReq *r)
{
    r->req = NULL;
    r->list = NULL;
    r->tmf = NULL;
    r->reset = false;
    r->data_len = 0;
    r->resp_len = RESP_LEN + owner(&r->elem)->sense_size;
}

static bool lengths_ok(const VirtioScsiReq *r)
{
    return r->elem.out_len >= REQ_LEN + owner(&r->elem)->cdb_size && r->elem.in_len >= r->resp_len;
}

static void handle_command(VirtioDevice *vdev, void *elem)
{
    VirtioScsiReq *r = elem;
    uint8_t response;

    begin(r);
    if (!lengths_ok(r)) {
        virtio_error(vdev, "virtio-scsi: command of %u and %u bytes is too short", r->elem.out_len,
                     r->elem.in_len);
        virtqueue_drop(&r->elem);
        return;
    }
    if (!parse(r, &response)) {
        respond(r, response);
        return;
    }
    give_data(r);
    scsi_req_start(r->req);
}

void virtio_scsi_command(VirtioDevice *vdev, VirtQueue *vq)
{
    virtqueue_run(vq, handle_command);
}

/* ---- task management: 5.6.6.2 ---- */

typedef struct TmfMatch {
    VirtioScsiTmf *tmf;
    uint64_t tag;
    bool any_tag, reset;
    unsigned found;
} TmfMatch;

/* Asked for each request of a unit: those that match now belong to the function. */
static bool tmf_filter(ScsiRequest *req, void *opaque)
{
    TmfMatch *m = opaque;
    VirtioScsiReq *r = req->host_data;

    if (!m->any_tag && r->tag != m->tag) {
        return false;
    }
    m->found++;
    if (!r->tmf && !req->cancelling) {
        r->tmf = m->tmf;
        r->reset = m->reset;
        m->tmf->waiting++;
    }
    return true;
}

static bool query_filter(ScsiRequest *req, void *opaque)
{
    TmfMatch *m = opaque;

    m->found += m->any_tag || ((VirtioScsiReq *)req->host_data)->tag == m->tag;
    return false;
}

static void reset_unit(ScsiDevice *d, TmfMatch *m)
{
    scsi_unit_cancel(d, tmf_filter, m);
    scsi_unit_reset(d, SENSE_UNIT_RESET);
}

static uint8_t run_tmf(VirtioScsi *s, VirtioScsiTmf *t, const uint8_t *tmf)
{
    ScsiDevice *sibling, *d = find(s, tmf + 8, &sibling);
    TmfMatch m = { .tmf = t, .tag = le64_load(tmf + 16), .any_tag = true };
    uint32_t subtype = le32_load(tmf + 4);

    if (!sibling) {
        return VIRTIO_SCSI_S_BAD_TARGET;
    }
    if (!d && subtype != TMF_I_T_NEXUS_RESET) {
        return VIRTIO_SCSI_S_INCORRECT_LUN;
    }
    switch (subtype) {
    case TMF_ABORT_TASK:
        m.any_tag = false;
        scsi_unit_cancel(d, tmf_filter, &m);
        return VIRTIO_SCSI_S_OK;
    case TMF_ABORT_TASK_SET:
    case TMF_CLEAR_TASK_SET:
        scsi_unit_cancel(d, tmf_filter, &m);
        return VIRTIO_SCSI_S_OK;
    case TMF_LOGICAL_UNIT_RESET:
        m.reset = true;
        reset_unit(d, &m);
        return VIRTIO_SCSI_S_OK;
    case TMF_I_T_NEXUS_RESET:
        m.reset = true;
        for (unsigned i = 0; i < s->bus.units->len; i++) {
            ScsiDevice *other = g_ptr_array_index(s->bus.units, i);

            if (other->id == sibling->id && other->channel == sibling->channel) {
                reset_unit(other, &m);
            }
        }
        return VIRTIO_SCSI_S_OK;
    case TMF_QUERY_TASK:
    case TMF_QUERY_TASK_SET:
        m.any_tag = subtype == TMF_QUERY_TASK_SET;
        scsi_unit_cancel(d, query_filter, &m);
        return m.found ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED : VIRTIO_SCSI_S_OK;
    default:                          /* CLEAR ACA: there is none */
        return VIRTIO_SCSI_S_FUNCTION_REJECTED;
    }
}

/* Asynchronous notification: no event of that kind can be had. */
static void answer_notification(VirtioElem *elem)
{
    VirtQueue *vq = elem->vq;
    uint8_t resp[AN_RESP_LEN] = { [4] = VIRTIO_SCSI_S_OK };

    virtio_elem_write(elem, 0, resp, sizeof(resp));
    virtqueue_push(elem, sizeof(resp));
    virtqueue_notify(vq);
}

static void handle_control(VirtioDevice *vdev, void *elem)
{
    VirtioScsiTmf *t = elem;
    uint8_t head[TMF_LEN];
    size_t len = virtio_elem_read(&t->elem, 0, head, sizeof(head));
    uint32_t type = len >= 4 ? le32_load(head) : UINT32_MAX;

    if (type == TYPE_TMF && len >= TMF_LEN && t->elem.in_len >= 1) {
        t->waiting = 1;               /* this function itself */
        t->response = run_tmf(virtio_scsi_of(vdev), t, head);
        if (--t->waiting == 0) {
            tmf_done(t);
        }
    } else if ((type == TYPE_AN_QUERY || type == TYPE_AN_SUBSCRIBE) && len >= AN_LEN &&
               t->elem.in_len >= AN_RESP_LEN) {
        answer_notification(&t->elem);
    } else {
        virtio_error(vdev, "virtio-scsi: control request of type %u, %u and %u bytes", type,
                     t->elem.out_len, t->elem.in_len);
        virtqueue_drop(&t->elem);
    }
}

void virtio_scsi_ctrl(VirtioDevice *vdev, VirtQueue *vq)
{
    virtqueue_run(vq, handle_control);
}

/* ---- requests on the wire: the command queue's number and the element ---- */

static void host_save(VmWriter *w, ScsiRequest *req)
{
    VirtioScsiReq *r = req->host_data;

    vm_put_be32(w, virtqueue_index(r->elem.vq) - 2);
    virtqueue_save_elem(w, &r->elem);
}

static bool host_load(VmReader *r, ScsiRequest *req, GError **error)
{
    VirtioScsi *s = DEVICE_CAST(VirtioScsi, req->bus->bus.owner);
    uint32_t n = vm_get_be32(r);
    VirtioScsiReq *v;
    uint8_t response;

    if (n >= s->num_queues) {
        return error_set(error, "a request of command queue %u; there are %u", n, s->num_queues);
    }
    v = virtqueue_load_elem(s->vdev.queues[2 + n], r, error);
    if (!v) {
        return false;
    }
    begin(v);
    v->req = req;
    if (!lengths_ok(v) || !take_data(v, &response)) {
        virtqueue_drop(&v->elem);
        return error_set(error, "a request of command queue %u is not one", n);
    }
    scsi_req_ref(req);
    req->host_data = v;
    give_data(v);
    return true;
}

const ScsiHostOps virtio_scsi_host_ops = {
    .max_target = VIRTIO_SCSI_MAX_TARGET, .max_lun = VIRTIO_SCSI_MAX_LUN, .tagged = true,
    .complete = host_complete, .cancelled = host_cancelled, .change = virtio_scsi_change,
    .plugged = virtio_scsi_plugged, .unplugged = virtio_scsi_unplugged,
    .save = host_save, .load = host_load, .pause = virtio_scsi_pause, .go_on = virtio_scsi_go_on,
};
