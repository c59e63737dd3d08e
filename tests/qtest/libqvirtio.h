/* SPDX-License-Identifier: MIT */
/*
 * A virtio PCI driver for tests: legacy and modern registers, split and packed rings.
 *
 *     Qvirtio v = { .q = q, .devfn = 0x20, .wanted = features, .legacy = false };
 *     qvirtio_start(&v, 1, 16);                         // queues, size; ends with DRIVER_OK
 *     QvirtioBuf bufs[] = { { HEADER, 16 }, { DATA, 512, .in = true } };
 *     qvirtio_add(&v, 0, bufs, 2); qvirtio_kick(&v, 0);
 *     len = qvirtio_wait(&v, 0);                        // one completion
 *
 * Guest memory from QVIRTIO_RINGS on is used: 64 KiB a queue, and as much for indirect tables.
 */
#ifndef TESTS_QTEST_LIBQVIRTIO_H
#define TESTS_QTEST_LIBQVIRTIO_H

#include "tests/qtest/libqtest.h"

enum { QVIRTIO_QUEUES = 4, QVIRTIO_RINGS = 0x100000, QVIRTIO_RING_STEP = 0x10000 };
enum { QVIRTIO_IO = 0xc000, QVIRTIO_BAR = 0x40000000, QVIRTIO_MSIX = 0x40010000 };
enum { QVIRTIO_ISR = 0x1000, QVIRTIO_CONFIG = 0x2000, QVIRTIO_NOTIFY = 0x3000 };

#define F_INDIRECT (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_PACKED (1ull << 34)
#define F_RING_RESET (1ull << 40)

typedef struct QvirtioQueue {
    unsigned num, next, last_used;   /* packed: next and last_used are slots */
    unsigned left;                   /* packed: slots of the chain added last */
    uint16_t avail;
    bool wrap, used_wrap;
    uint64_t desc, driver, device, table;
} QvirtioQueue;

typedef struct Qvirtio {
    Qtest *q;
    unsigned devfn;
    bool legacy;
    bool msix;                       /* vectors 0 (configuration), 1... (queues) */
    uint64_t wanted, features;       /* what is not offered is not taken */
    QvirtioQueue queues[QVIRTIO_QUEUES];
} Qvirtio;

typedef struct QvirtioBuf {
    uint64_t addr;
    uint32_t len;
    bool in;
} QvirtioBuf;

/* BARs and bus mastering. */
void qvirtio_enable(Qvirtio *v);
void qvirtio_start(Qvirtio *v, unsigned queues, unsigned size);
uint64_t qvirtio_offered(Qvirtio *v);
uint8_t qvirtio_status(Qvirtio *v);
/* 0: also waits until the reset is done. */
void qvirtio_set_status(Qvirtio *v, uint8_t status);
uint8_t qvirtio_isr(Qvirtio *v);
uint64_t qvirtio_config(Qvirtio *v, unsigned offset, unsigned size);
void qvirtio_set_config(Qvirtio *v, unsigned offset, uint8_t value);
void qvirtio_queue_start(Qvirtio *v, unsigned n, unsigned size);
/* Makes a request available; indirect where that was negotiated. */
void qvirtio_add(Qvirtio *v, unsigned n, const QvirtioBuf *bufs, unsigned count);
/* One raw descriptor of a split ring, and making entry HEAD available. */
void qvirtio_desc(Qvirtio *v, unsigned n, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
                  uint16_t next);
void qvirtio_avail(Qvirtio *v, unsigned n, uint16_t head);
void qvirtio_kick(Qvirtio *v, unsigned n);
bool qvirtio_poll(Qvirtio *v, unsigned n, uint32_t *len);
uint32_t qvirtio_wait(Qvirtio *v, unsigned n);

#endif
