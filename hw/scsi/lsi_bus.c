/* SPDX-License-Identifier: MIT */
/*
 * LSI53C895A: the parallel SCSI bus between its scripts and the logical units.
 * Spec: SPI-3 (T10/1302-D), SCSI-2 (X3.131) 6 for phases and messages.
 * Not modelled: transfer agreements: SDTR, WDTR and PPR are rejected, so that all is narrow and
 * asynchronous; arbitration is always won.
 * Locking: machine lock.
 */
#include "hw/scsi/lsi.h"

#include "base/log.h"

/* Messages.  [SPI-3 16] */
enum { MSG_COMMAND_COMPLETE = 0x00, MSG_EXTENDED = 0x01, MSG_SAVE_POINTERS = 0x02,
       MSG_RESTORE_POINTERS = 0x03, MSG_DISCONNECT = 0x04, MSG_INITIATOR_ERROR = 0x05,
       MSG_ABORT = 0x06, MSG_REJECT = 0x07, MSG_NOOP = 0x08, MSG_PARITY_ERROR = 0x09,
       MSG_TARGET_RESET = 0x0c, MSG_ABORT_TAG = 0x0d, MSG_CLEAR_QUEUE = 0x0e,
       MSG_UNIT_RESET = 0x17, MSG_SIMPLE_TAG = 0x20, MSG_HEAD_TAG = 0x21, MSG_ORDERED_TAG = 0x22,
       MSG_IDENTIFY = 0x80, IDENTIFY_DISCONNECT = 0x40, IDENTIFY_LUN = 0x3f };

void lsi_set_phase(Lsi *s, LsiPhase phase)
{
    s->sstat1 = (s->sstat1 & ~7) | phase;
    s->sbcl = phase | SBCL_BSY | SBCL_REQ | (s->socl & SOCL_ATN ? SBCL_ATN : 0);
}

static void connect(Lsi *s)
{
    s->scntl1 |= SCNTL1_CON;
    s->istat0 |= ISTAT0_CON;
    s->msg_len = 0;
}

static void request_free(LsiRequest *p)
{
    Lsi *s = p->lsi;

    if (s->current == p) {
        s->current = NULL;
    }
    g_queue_remove(&s->queue, p);
    scsi_req_unref(p->req);
    g_free(p);
}

/* Nobody waits for it any more; it goes away when the host lets it. */
static void drop(LsiRequest *p)
{
    Lsi *s = p->lsi;

    if (p->dropped) {
        return;
    }
    p->dropped = true;
    if (s->current == p) {
        s->current = NULL;
        g_queue_push_tail(&s->queue, p);
    }
    if (p->done) {
        request_free(p);
    } else {
        scsi_req_cancel(p->req);
    }
}

void lsi_bus_free(Lsi *s)
{
    s->scntl1 &= ~SCNTL1_CON;
    s->istat0 &= ~ISTAT0_CON;
    s->sstat1 &= ~7;
    s->sbcl = 0;
    s->socl &= ~SOCL_ATN;
    s->msg_len = 0;
    s->moving = false;
    if (s->current) {                 /* over, or torn off in its middle */
        drop(s->current);
    }
}

/* ---- selection ---- */

bool lsi_select(Lsi *s, unsigned target, bool atn)
{
    ScsiDevice *any;

    scsi_bus_find(&s->bus, 0, target, 0, &any);
    if (!any) {
        return false;
    }
    connect(s);
    s->sstat0 |= SSTAT0_WOA;
    s->current = NULL;
    s->identify = 0;
    s->sel_target = target;
    s->sel_tagged = false;
    s->msg_action = LSI_MSG_COMMAND;
    if (atn) {
        s->socl |= SOCL_ATN;
    }
    lsi_set_phase(s, atn ? PHASE_MO : PHASE_CMD);
    return true;
}

/* ---- messages in ---- */

static void message_in(Lsi *s, LsiAfterMsg after, const uint8_t *msg, unsigned len)
{
    g_assert(len <= LSI_MSG_MAX);
    memcpy(s->msg, msg, len);
    s->msg_len = (int32_t)len;
    s->msg_action = after;
    lsi_set_phase(s, PHASE_MI);
}

/* The phase that the connected request wants. */
static LsiAfterMsg next_of(const LsiRequest *p)
{
    return p->done ? LSI_MSG_STATUS : p->req->dir == SCSI_DIR_OUT ? LSI_MSG_DATA_OUT
                                                                  : LSI_MSG_DATA_IN;
}

static void go_on(Lsi *s, LsiAfterMsg action)
{
    static const LsiPhase phases[] = { [LSI_MSG_COMMAND] = PHASE_CMD,
                                       [LSI_MSG_DATA_OUT] = PHASE_DO,
                                       [LSI_MSG_DATA_IN] = PHASE_DI,
                                       [LSI_MSG_STATUS] = PHASE_ST };

    if (action == LSI_MSG_BUS_FREE) {
        lsi_bus_free(s);
    } else {
        lsi_set_phase(s, phases[action]);
    }
}

/* State first: what is written may be a register of the chip itself. */
void lsi_move_message_in(Lsi *s)
{
    uint8_t msg[LSI_MSG_MAX];
    uint32_t n = MIN(s->dbc, (uint32_t)s->msg_len), left = s->dbc - n;
    uint64_t addr = s->dnad | (uint64_t)s->dnad64 << 32;

    if (!n) {
        lsi_phase_mismatch(s, false);
        return;
    }
    memcpy(msg, s->msg, n);
    s->msg_len -= (int32_t)n;
    memmove(s->msg, s->msg + n, s->msg_len);
    s->sfbr = s->sidl = msg[n - 1];
    s->dbc = left;
    s->dnad += n;
    if (!s->msg_len) {
        go_on(s, s->msg_action);
    }
    if (!lsi_memory_write(s, addr, msg, n)) {
        lsi_dma_interrupt(s, DSTAT_BF);
    } else if (left) {                /* fewer than the initiator had room for */
        lsi_phase_mismatch(s, false);
    }
}

void lsi_acknowledge(Lsi *s)
{
    if ((s->socl & SOCL_ATN) && lsi_connected(s) && lsi_phase(s) != PHASE_MO && !s->moving) {
        lsi_set_phase(s, PHASE_MO);
    }
}

/* ---- messages out ---- */

typedef struct Match {
    unsigned target, lun, tag;
    bool all_luns, all_tags;
} Match;

static bool matches(const LsiRequest *p, const Match *m)
{
    return p->target == m->target && (m->all_luns || p->lun == m->lun) &&
           (m->all_tags || (p->tagged && p->tag == m->tag));
}

static void drop_matching(Lsi *s, const Match *m)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    if (s->current) {
        g_ptr_array_add(all, s->current);
    }
    for (GList *l = s->queue.head; l; l = l->next) {
        g_ptr_array_add(all, l->data);
    }
    for (unsigned i = 0; i < all->len; i++) {
        if (!m || matches(all->pdata[i], m)) {
            drop(all->pdata[i]);
        }
    }
}

void lsi_drop_requests(Lsi *s)
{
    drop_matching(s, NULL);
}

static void reset_units(Lsi *s, bool all_luns)
{
    Match m = { .target = s->sel_target, .lun = s->identify & IDENTIFY_LUN, .all_luns = all_luns,
                .all_tags = true };
    ScsiDevice *any, *d = scsi_bus_find(&s->bus, 0, m.target, m.lun, &any);

    drop_matching(s, &m);
    if (all_luns) {
        scsi_target_reset(&s->bus, 0, m.target, SENSE_RESET);
    } else if (d) {
        scsi_unit_reset(d, SENSE_UNIT_RESET);
    }
}

/* One message of MSG[0..LEN); how many bytes it has, 0: bus free follows. */
static unsigned take_message(Lsi *s, const uint8_t *msg, unsigned len)
{
    Match m = { .target = s->sel_target, .lun = s->identify & IDENTIFY_LUN, .tag = s->sel_tag,
                .all_tags = true };
    static const uint8_t reject = MSG_REJECT;

    if (msg[0] & MSG_IDENTIFY) {
        s->identify = msg[0];
        return 1;
    }
    switch (msg[0]) {
    case MSG_EXTENDED: {
        unsigned n = len > 1 ? 2 + (msg[1] ?: 256) : 2;

        message_in(s, s->msg_action, &reject, 1);
        return MIN(n, len);
    }
    case MSG_SIMPLE_TAG:
    case MSG_HEAD_TAG:
    case MSG_ORDERED_TAG:
        s->sel_tagged = len > 1;
        s->sel_tag = len > 1 ? msg[1] : 0;
        return MIN(2, len);
    case MSG_ABORT_TAG:
        m.all_tags = !s->sel_tagged;
        drop_matching(s, &m);
        return 0;
    case MSG_ABORT:
    case MSG_CLEAR_QUEUE:
        drop_matching(s, &m);
        return 0;
    case MSG_TARGET_RESET:
    case MSG_UNIT_RESET:
        reset_units(s, msg[0] == MSG_TARGET_RESET);
        return 0;
    case MSG_NOOP:
    case MSG_REJECT:
    case MSG_INITIATOR_ERROR:
    case MSG_PARITY_ERROR:
    case MSG_DISCONNECT:
    case MSG_SAVE_POINTERS:
    case MSG_RESTORE_POINTERS:
        return 1;
    default:
        log_guest_error("lsi53c895a: unknown message 0x%02x\n", msg[0]);
        message_in(s, s->msg_action, &reject, 1);
        return 1;
    }
}

/* Whatever was out of turn, the target goes on where it was. */
void lsi_move_message_out(Lsi *s)
{
    uint8_t msg[512];
    unsigned len = MIN(s->dbc, sizeof(msg)), at = 0, n = 1;

    if (!len || !lsi_memory_read(s, s->dnad | (uint64_t)s->dnad64 << 32, msg, len)) {
        lsi_dma_interrupt(s, DSTAT_BF);
        return;
    }
    if (s->current) {
        s->msg_action = next_of(s->current);
    } else if (s->msg_action == LSI_MSG_BUS_FREE) {
        s->msg_action = LSI_MSG_COMMAND;
    }
    s->sfbr = msg[0];
    s->socl &= ~SOCL_ATN;
    go_on(s, s->msg_action);          /* unless a message says otherwise */
    for (; at < len && n; at += n) {
        n = take_message(s, msg + at, len - at);
    }
    s->dnad += s->dbc;
    s->dbc = 0;
    if (!n) {
        lsi_bus_free(s);
    }
}

/* ---- commands ---- */

static bool may_disconnect(const Lsi *s)
{
    return s->identify & IDENTIFY_DISCONNECT;
}

void lsi_move_command(Lsi *s)
{
    uint8_t cdb[SCSI_CDB_MAX];
    unsigned len = MIN(s->dbc, sizeof(cdb)), lun = s->identify & IDENTIFY_LUN;
    ScsiDevice *any, *d = scsi_bus_find(&s->bus, 0, s->sel_target, lun, &any);
    LsiRequest *p;

    if (!len || !lsi_memory_read(s, s->dnad | (uint64_t)s->dnad64 << 32, cdb, len)) {
        lsi_dma_interrupt(s, DSTAT_BF);
        return;
    }
    s->sfbr = cdb[0];
    s->dnad += s->dbc;
    s->dbc = 0;
    if (!any || s->current) {         /* it went away; or a second command in one connection */
        lsi_bus_free(s);
        lsi_scsi_interrupt(s, SIST0_UDC, 0);
        return;
    }
    p = g_new0(LsiRequest, 1);
    p->lsi = s;
    p->target = s->sel_target;
    p->lun = lun;
    p->tag = s->sel_tag;
    p->tagged = s->sel_tagged;
    p->req = scsi_req_new(d ?: any, lun, p->tag, cdb, len, p);
    s->current = p;
    s->csbc = 0;
    scsi_req_start(p->req);
    if (s->current != p || p->has_piece || p->done) {
        return;
    }
    if (may_disconnect(s)) {
        static const uint8_t disconnect = MSG_DISCONNECT;

        s->current = NULL;
        g_queue_push_tail(&s->queue, p);
        message_in(s, LSI_MSG_BUS_FREE, &disconnect, 1);
    } else {
        s->waiting = LSI_WAIT_DATA;
    }
}

void lsi_move_status(Lsi *s)
{
    static const uint8_t complete = MSG_COMMAND_COMPLETE;
    uint64_t addr = s->dnad | (uint64_t)s->dnad64 << 32;
    uint8_t status;

    if (!s->current || !s->current->done) {
        lsi_phase_mismatch(s, false);
        return;
    }
    s->sfbr = s->status = status = s->current->status;
    s->dnad++;
    s->dbc--;
    message_in(s, LSI_MSG_BUS_FREE, &complete, 1);
    if (!lsi_memory_write(s, addr, &status, 1)) {
        lsi_dma_interrupt(s, DSTAT_BF);
    } else if (s->dbc) {
        lsi_phase_mismatch(s, false);
    }
}

/* ---- data ---- */

/* The connected request has something to say: data or the status. */
static void come_forward(Lsi *s, LsiRequest *p)
{
    if (p->dropped) {
        return;
    }
    if (p == s->current) {
        go_on(s, next_of(p));
        if (s->waiting == LSI_WAIT_DATA) {
            lsi_script_resume(s);
        }
    } else if (s->waiting == LSI_WAIT_RESELECT && lsi_try_reselect(s)) {
        lsi_script_resume(s);
    }
}

static void host_data(ScsiRequest *req)
{
    LsiRequest *p = req->host_data;

    p->has_piece = true;
    p->pos = 0;
    come_forward(p->lsi, p);
}

static void host_complete(ScsiRequest *req)
{
    LsiRequest *p = req->host_data;

    p->done = true;
    p->status = req->status;
    if (p->dropped) {
        request_free(p);
    } else {
        come_forward(p->lsi, p);
    }
}

static void host_cancelled(ScsiRequest *req)
{
    LsiRequest *p = req->host_data;
    Lsi *s = p->lsi;
    bool connected = s->current == p;

    request_free(p);
    if (connected) {                  /* its unit was reset or unplugged behind our back */
        lsi_bus_free(s);
        lsi_scsi_interrupt(s, SIST0_UDC, 0);
    }
}

const ScsiHostOps lsi_host_ops = {
    .max_target = LSI_TARGETS,
    .max_lun = 7,
    .tagged = true,
    .data = host_data,
    .complete = host_complete,
    .cancelled = host_cancelled,
};

/* Part of the piece; false: a bus fault, or the chip was reset by what it wrote to itself. */
static bool move_part(Lsi *s, LsiRequest *p, bool out)
{
    ScsiRequest *req = scsi_req_ref(p->req);
    uint32_t n = MIN(s->dbc, req->piece_len - p->pos);
    uint64_t addr = s->dnad | (uint64_t)s->dnad64 << 32;
    uint8_t *at = req->piece + p->pos;
    bool ok = out ? lsi_memory_read(s, addr, at, n) : lsi_memory_write(s, addr, at, n);

    if (s->current != p) {            /* P is gone */
        ok = false;
    } else if (!ok) {
        lsi_dma_interrupt(s, DSTAT_BF);
    } else {
        s->sfbr = at[n - 1];
        p->pos += n;
        s->dbc -= n;
        s->dnad += n;
        s->csbc += n;
        if (p->pos == req->piece_len) {
            p->has_piece = false;
            scsi_req_continue(req);   /* may bring the next one, or the status */
        }
    }
    scsi_req_unref(req);
    return ok;
}

/* Piece by piece; waits in the middle where the unit does, and takes up again from there. */
void lsi_move_data(Lsi *s, bool out)
{
    LsiRequest *p = s->current;

    s->moving = true;
    while (s->dbc && p && p == s->current && p->has_piece) {
        if (!move_part(s, p, out)) {
            s->moving = false;
            return;
        }
    }
    if (!p || s->current != p) {
        s->moving = false;            /* a bus free took care of the rest */
    } else if (!p->has_piece && !p->done) {
        s->waiting = LSI_WAIT_DATA;   /* also with all bytes moved: the next phase is unknown */
        s->moving = s->dbc != 0;
    } else {
        s->moving = false;
        if (s->dbc) {
            lsi_phase_mismatch(s, out);
        }
    }
}

/* ---- reselection ---- */

bool lsi_try_reselect(Lsi *s)
{
    if (lsi_connected(s) || !(s->scid & SCID_RRE)) {
        return false;
    }
    for (GList *l = s->queue.head; l; l = l->next) {
        LsiRequest *p = l->data;
        uint8_t msg[3] = { MSG_IDENTIFY | p->lun, MSG_SIMPLE_TAG, p->tag };

        if (p->dropped || !(p->has_piece || p->done)) {
            continue;
        }
        g_queue_remove(&s->queue, p);
        connect(s);
        s->current = p;
        s->identify = MSG_IDENTIFY | IDENTIFY_DISCONNECT | p->lun;
        s->sel_target = p->target;
        s->sel_tag = p->tag;
        s->sel_tagged = p->tagged;
        s->ssid = p->target | SSID_VAL;
        s->sfbr = 1u << (p->target & 7);
        s->csbc = 0;
        message_in(s, next_of(p), msg, p->tagged ? 3 : 1);
        return true;
    }
    return false;
}
