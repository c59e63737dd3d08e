/* SPDX-License-Identifier: MIT */
/* Requests and events of virtio-scsi, by rings of libqvirtio.  [VIRTIO1.1 5.6] */
#include "tests/qtest/libqscsi.h"

#include <string.h>

/* A request has a header and 32 bytes for the CDB; its answer one and 96 for sense data. */
enum { HEADER = QSCSI_MEMORY, ANSWER = QSCSI_MEMORY + 0x1000, EVENT = QSCSI_MEMORY + 0x2000 };
enum { HEADER_LEN = 51, ANSWER_LEN = 108, TMF_LEN = 24, EVENT_LEN = 16 };

void qscsi_start(Qscsi *s, Qtest *q, unsigned devfn)
{
    memset(s, 0, sizeof(*s));
    s->v = (Qvirtio){ .q = q, .devfn = devfn, .wanted = F_VERSION_1 | 1 << 1 | 1 << 2 };
    qvirtio_start(&s->v, QSCSI_QUEUES, 16);
    qscsi_give_event_buffer(s);
}

static void put_lun(uint8_t *p, unsigned id, unsigned lun)
{
    p[0] = 1;
    p[1] = (uint8_t)id;
    p[2] = lun >= 256 ? (uint8_t)(lun >> 8 | 0x40) : 0;
    p[3] = (uint8_t)lun;
}

void qscsi_begin(Qscsi *s, unsigned id, unsigned lun, const uint8_t *cdb, uint32_t len,
                 const uint8_t *out)
{
    uint8_t head[HEADER_LEN] = { 0 };
    QvirtioBuf bufs[3] = { { HEADER, HEADER_LEN } };
    unsigned n = 1;

    put_lun(head, id, lun);
    head[8] = 7;                     /* the tag */
    memcpy(head + 19, cdb, 32);
    qtest_memwrite(s->v.q, HEADER, head, sizeof(head));
    qtest_memset(s->v.q, ANSWER, 0xee, ANSWER_LEN);
    if (out) {
        qtest_memwrite(s->v.q, QSCSI_DATA, out, len);
        bufs[n++] = (QvirtioBuf){ QSCSI_DATA, len };
    } else if (len) {
        qtest_memset(s->v.q, QSCSI_DATA, 0, len);
    }
    bufs[n++] = (QvirtioBuf){ ANSWER, ANSWER_LEN, true };
    if (len && !out) {
        bufs[n++] = (QvirtioBuf){ QSCSI_DATA, len, true };
    }
    qvirtio_add(&s->v, QSCSI_COMMANDS, bufs, n);
    qvirtio_kick(&s->v, QSCSI_COMMANDS);
}

unsigned qscsi_end(Qscsi *s, uint32_t len, bool in)
{
    uint8_t answer[ANSWER_LEN];

    qvirtio_wait(&s->v, QSCSI_COMMANDS);
    qtest_memread(s->v.q, ANSWER, answer, sizeof(answer));
    memcpy(&s->sense_len, answer, 4);
    memcpy(&s->resid, answer + 4, 4);
    s->status = answer[10];
    s->response = answer[11];
    s->key = s->sense_len ? answer[12 + 2] : 0;
    s->asc = s->sense_len ? answer[12 + 12] : 0;
    s->ascq = s->sense_len ? answer[12 + 13] : 0;
    if (in && len) {
        qtest_memread(s->v.q, QSCSI_DATA, s->data, len);
    }
    return s->response ? 0x100u + s->response : s->status;
}

unsigned qscsi_run(Qscsi *s, unsigned id, unsigned lun, const uint8_t *cdb, uint32_t len,
                   const uint8_t *out)
{
    qscsi_begin(s, id, lun, cdb, len, out);
    return qscsi_end(s, len, !out);
}

void qscsi_settle(Qscsi *s, unsigned id, unsigned lun)
{
    qscsi_run(s, id, lun, CDB(0), 0, NULL);
}

uint8_t qscsi_tmf(Qscsi *s, unsigned type, unsigned id, unsigned lun, uint64_t tag)
{
    uint8_t head[TMF_LEN] = { [4] = (uint8_t)type };
    QvirtioBuf bufs[] = { { HEADER, TMF_LEN }, { ANSWER, 1, true } };

    put_lun(head + 8, id, lun);
    memcpy(head + 16, &tag, 8);
    qtest_memwrite(s->v.q, HEADER, head, sizeof(head));
    qvirtio_add(&s->v, QSCSI_CONTROL, bufs, 2);
    qvirtio_kick(&s->v, QSCSI_CONTROL);
    qvirtio_wait(&s->v, QSCSI_CONTROL);
    return qtest_readb(s->v.q, ANSWER);
}

void qscsi_give_event_buffer(Qscsi *s)
{
    QvirtioBuf buf = { EVENT + EVENT_LEN * (s->events++ % 16), EVENT_LEN, true };

    qvirtio_add(&s->v, QSCSI_EVENTS, &buf, 1);
    qvirtio_kick(&s->v, QSCSI_EVENTS);
}

uint32_t qscsi_wait_event(Qscsi *s, uint32_t *reason, unsigned *id)
{
    uint64_t at = EVENT + EVENT_LEN * ((s->events - 1) % 16);
    uint32_t event;

    g_assert_cmpuint(qvirtio_wait(&s->v, QSCSI_EVENTS), ==, EVENT_LEN);
    event = qtest_readl(s->v.q, at);
    *id = qtest_readb(s->v.q, at + 5);
    *reason = qtest_readl(s->v.q, at + 12);
    qscsi_give_event_buffer(s);
    return event;
}
