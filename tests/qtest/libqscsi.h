/* SPDX-License-Identifier: MIT */
/*
 * A virtio-scsi driver for tests, on top of libqvirtio: one command at a time, and the events.
 *
 *     Qscsi s;
 *     qscsi_start(&s, q, 0x20);
 *     qscsi_run(&s, 0, 0, CDB(INQUIRY, 0, 0, 0, 36), 36, NULL);   // into s.data
 *
 * Guest memory from QSCSI_MEMORY on is used.
 */
#ifndef TESTS_QTEST_LIBQSCSI_H
#define TESTS_QTEST_LIBQSCSI_H

#include "tests/qtest/libqvirtio.h"

enum { QSCSI_MEMORY = 0x200000, QSCSI_DATA = QSCSI_MEMORY + 0x10000, QSCSI_DATA_MAX = 65536 };
enum { QSCSI_CONTROL, QSCSI_EVENTS, QSCSI_COMMANDS, QSCSI_QUEUES };
enum { QSCSI_OK, QSCSI_OVERRUN, QSCSI_ABORTED, QSCSI_BAD_TARGET, QSCSI_RESET, QSCSI_FAILURE = 9,
       QSCSI_SUCCEEDED, QSCSI_REJECTED, QSCSI_INCORRECT_LUN };

typedef struct Qscsi {
    Qvirtio v;
    unsigned events;                 /* buffers that were given to the device */
    uint8_t response, status, key, asc, ascq;
    uint32_t resid, sense_len;
    uint8_t data[QSCSI_DATA_MAX];
} Qscsi;

#define CDB(...) ((const uint8_t[32]){ __VA_ARGS__ })

/* Modern, split rings; events have one buffer. */
void qscsi_start(Qscsi *s, Qtest *q, unsigned devfn);
/* A command with LEN bytes of room for its reply, or of data OUT, not NULL.  Makes the fields above. */
void qscsi_begin(Qscsi *s, unsigned id, unsigned lun, const uint8_t *cdb, uint32_t len,
                 const uint8_t *out);
/* Its end; the status, 0x100 + response when that is not OK. */
unsigned qscsi_end(Qscsi *s, uint32_t len, bool in);
unsigned qscsi_run(Qscsi *s, unsigned id, unsigned lun, const uint8_t *cdb, uint32_t len,
                   const uint8_t *out);
/* Past the unit attention that a reset leaves. */
void qscsi_settle(Qscsi *s, unsigned id, unsigned lun);
/* Task management; its response. */
uint8_t qscsi_tmf(Qscsi *s, unsigned type, unsigned id, unsigned lun, uint64_t tag);
/* The next event, its reason and where; gives its buffer back. */
uint32_t qscsi_wait_event(Qscsi *s, uint32_t *reason, unsigned *id);
void qscsi_give_event_buffer(Qscsi *s);

#endif
