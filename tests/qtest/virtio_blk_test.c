/* SPDX-License-Identifier: MIT */
/*
 * Virtio disks on their board: both forms of registers, both layouts of rings, every type of request,
 * interrupts, a new length, errors that stop the VM, and what a bad driver does.
 */
#include "tests/qtest/libqvirtio.h"

#include <string.h>

enum { FN = 0x20, SECTORS = 2048 };
enum { HEADER = 0x200000, DATA = 0x201000, STATUS = 0x208000 };   /* guest memory */
enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
enum { OK, IOERR, UNSUPP, NOTHING = 0x77 };
enum { ISR_QUEUE = 1, ISR_BOTH = 3 };

#define F_BLK ((1ull << 9) | (1ull << 11) | (1ull << 13) | (1ull << 14))   /* flush, wce, discard, zeroes */
#define MODERN (F_VERSION_1 | F_BLK)

static Qvirtio driver(Qtest *q, uint64_t wanted, bool legacy)
{
    return (Qvirtio){ .q = q, .devfn = FN, .wanted = wanted, .legacy = legacy };
}

static void put_header(Qvirtio *v, uint64_t at, uint32_t type, uint64_t sector)
{
    qtest_writel(v->q, at, type);
    qtest_writel(v->q, at + 4, 0);
    qtest_writeq(v->q, at + 8, sector);
}

static void begin(Qvirtio *v, unsigned n, uint32_t type, uint64_t sector, uint32_t len)
{
    const QvirtioBuf bufs[] = { { HEADER, 16 },
                                { DATA, len, type == T_IN || type == T_GET_ID },
                                { STATUS, 1, true } };
    const QvirtioBuf bare[] = { bufs[0], bufs[2] };

    put_header(v, HEADER, type, sector);
    qtest_writeb(v->q, STATUS, NOTHING);
    qvirtio_add(v, n, len ? bufs : bare, len ? 3 : 2);
    qvirtio_kick(v, n);
}

static uint8_t request(Qvirtio *v, uint32_t type, uint64_t sector, uint32_t len)
{
    begin(v, 0, type, sector, len);
    qvirtio_wait(v, 0);
    return qtest_readb(v->q, STATUS);
}

static void assert_sector(Qtest *q, uint64_t addr, unsigned sector)
{
    uint8_t data[512];

    qtest_memread(q, addr, data, sizeof(data));
    for (unsigned i = 0; i < sizeof(data); i++) {
        g_assert_cmphex(data[i], ==, (uint8_t)(sector ^ i));
    }
}

/* An iothread tells of a completion after it can be seen. */
static uint8_t wait_isr(Qvirtio *v)
{
    uint8_t isr = 0;

    for (unsigned i = 0; !isr; i++) {
        g_assert_cmpuint(i, <, 1000000);
        isr = qvirtio_isr(v);
    }
    return isr;
}

static void wait_message(Qtest *q, uint64_t addr, uint32_t data)
{
    for (unsigned i = 0; qtest_readl(q, addr) != data; i++) {
        g_assert_cmpuint(i, <, 1000000);
    }
}

/* ---- requests, in each combination ---- */

static void requests(Qvirtio *v)
{
    static const uint8_t zeroes[1024];
    uint8_t data[1024];

    g_assert_cmphex(request(v, T_IN, 5, 1024), ==, OK);
    assert_sector(v->q, DATA, 5);
    assert_sector(v->q, DATA + 512, 6);
    g_assert_cmphex(wait_isr(v), ==, ISR_QUEUE);
    g_assert_cmphex(qvirtio_isr(v), ==, 0);

    qtest_memset(v->q, DATA, 0xa5, 1024);
    g_assert_cmphex(request(v, T_OUT, 7, 1024), ==, OK);
    g_assert_cmphex(request(v, T_FLUSH, 0, 0), ==, OK);
    g_assert_cmphex(request(v, T_IN, 6, 512), ==, OK);
    assert_sector(v->q, DATA, 6);
    g_assert_cmphex(request(v, T_IN, 7, 1024), ==, OK);
    qtest_memread(v->q, DATA, data, sizeof(data));
    g_assert_cmphex(data[0], ==, 0xa5);
    g_assert_cmphex(data[1023], ==, 0xa5);

    g_assert_cmphex(request(v, T_GET_ID, 0, 20), ==, OK);
    qtest_memread(v->q, DATA, data, 20);
    g_assert_cmpmem(data, 20, "serial-number-of-20b", 20);

    qtest_writeq(v->q, DATA, 8);
    qtest_writeq(v->q, DATA + 8, 2);
    g_assert_cmphex(request(v, T_ZEROES, 0, 16), ==, OK);
    g_assert_cmphex(request(v, T_DISCARD, 0, 16), ==, OK);
    qtest_writeq(v->q, DATA + 8, 2 | 1ull << 32);              /* UNMAP */
    g_assert_cmphex(request(v, T_ZEROES, 0, 16), ==, OK);
    g_assert_cmphex(request(v, T_DISCARD, 0, 16), ==, UNSUPP);
    g_assert_cmphex(request(v, T_IN, 8, 1024), ==, OK);
    qtest_memread(v->q, DATA, data, sizeof(data));
    g_assert_cmpmem(data, sizeof(data), zeroes, sizeof(zeroes));

    g_assert_cmphex(request(v, 99, 0, 512), ==, UNSUPP);
    g_assert_cmphex(request(v, T_IN, SECTORS, 512), ==, IOERR);
    g_assert_cmphex(request(v, T_OUT, SECTORS - 1, 1024), ==, IOERR);
    g_assert_cmphex(request(v, T_IN, UINT64_MAX, 512), ==, IOERR);
    g_assert_cmphex(request(v, T_IN, 0, 100), ==, IOERR);
    qtest_writeq(v->q, DATA, SECTORS);
    qtest_writeq(v->q, DATA + 8, 1);
    g_assert_cmphex(request(v, T_ZEROES, 0, 16), ==, IOERR);
    g_assert_cmphex(request(v, T_DISCARD, 0, 8), ==, UNSUPP);
    g_assert_cmphex(request(v, T_IN, SECTORS - 1, 512), ==, OK);
    assert_sector(v->q, DATA, SECTORS - 1);
    /* Several laps of the ring. */
    for (unsigned i = 0; i < 40; i++) {
        g_assert_cmphex(request(v, T_IN, i % 5, 512), ==, OK);
        assert_sector(v->q, DATA, i % 5);
    }
    g_assert_cmphex(qvirtio_status(v) & 0x40, ==, 0);
}

#define COMBINATION(id, wanted_, is_legacy)                                                  \
    static void id(Qtest *q)                                                               \
    {                                                                                      \
        Qvirtio v = driver(q, (wanted_), (is_legacy));                                    \
        qvirtio_start(&v, 1, 16);                                                          \
        g_assert_cmphex(v.features, ==, v.wanted);                                         \
        requests(&v);                                                                      \
    }

COMBINATION(modern_split, MODERN, false)
COMBINATION(modern_indirect, MODERN | F_INDIRECT, false)
COMBINATION(modern_packed, MODERN | F_PACKED, false)
COMBINATION(modern_packed_indirect, MODERN | F_PACKED | F_INDIRECT, false)
COMBINATION(legacy_split, F_BLK, true)
COMBINATION(legacy_indirect, F_BLK | F_INDIRECT, true)

/* ---- configuration ---- */

static void configuration(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);

    qvirtio_start(&v, 2, 16);
    g_assert_cmphex(qvirtio_offered(&v), ==, 0x10130007e54ull);
    g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x12), ==, 2);
    g_assert_cmpuint(qvirtio_config(&v, 0, 8), ==, SECTORS);
    g_assert_cmpuint(qvirtio_config(&v, 12, 4), ==, 254);
    g_assert_cmpuint(qvirtio_config(&v, 20, 4), ==, 512);
    g_assert_cmpuint(qvirtio_config(&v, 34, 2), ==, 2);
    g_assert_cmpuint(qvirtio_config(&v, 36, 4), ==, 0x3fffff);
    g_assert_cmpuint(qvirtio_config(&v, 57, 4), ==, 0xffffffff);
    qvirtio_set_config(&v, 0, 1);                              /* only writeback is the driver's */
    qvirtio_set_config(&v, 4000 - 1000, 1);
    g_assert_cmpuint(qvirtio_config(&v, 0, 8), ==, SECTORS);
    g_assert_cmpuint(qvirtio_config(&v, 32, 1), ==, 1);
    qvirtio_set_config(&v, 32, 0);
    g_assert_cmpuint(qvirtio_config(&v, 32, 1), ==, 0);
    qvirtio_set_status(&v, 0);
    g_assert_cmpuint(qvirtio_config(&v, 32, 1), ==, 1);
}

/* The same registers through the capability in the configuration space. */
static void config_window(Qtest *q)
{
    qtest_pci_writeb(q, FN, 0x84 + 4, 4);
    qtest_pci_writel(q, FN, 0x84 + 8, 0x12);
    qtest_pci_writel(q, FN, 0x84 + 12, 2);
    g_assert_cmpuint(qtest_pci_readw(q, FN, 0x84 + 16), ==, 2);
    qtest_pci_writel(q, FN, 0x84 + 8, 0x14);
    qtest_pci_writel(q, FN, 0x84 + 12, 1);
    qtest_pci_writeb(q, FN, 0x84 + 16, 3);
    g_assert_cmphex(qtest_pci_readb(q, FN, 0x84 + 16), ==, 3);
    /* Nonsense does nothing. */
    qtest_pci_writel(q, FN, 0x84 + 8, 0xfffffffc);
    qtest_pci_writel(q, FN, 0x84 + 12, 4);
    qtest_pci_readl(q, FN, 0x84 + 16);
    qtest_pci_writel(q, FN, 0x84 + 16, 1);
    qtest_pci_writel(q, FN, 0x84 + 12, 0x80000000);
    qtest_pci_readl(q, FN, 0x84 + 16);
    qtest_pci_writeb(q, FN, 0x84 + 4, 99);
    qtest_pci_writel(q, FN, 0x84 + 12, 4);
    qtest_pci_writel(q, FN, 0x84 + 16, 1);
}

static void read_only(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);

    qvirtio_start(&v, 1, 16);
    g_assert_cmphex(qvirtio_offered(&v) & 1 << 5, ==, 1 << 5);
    g_assert_cmphex(request(&v, T_OUT, 7, 512), ==, IOERR);
    g_assert_cmphex(request(&v, T_IN, 7, 512), ==, OK);
}

/* ---- interrupts ---- */

static void messages(Qtest *q, bool legacy)
{
    Qvirtio v = driver(q, legacy ? F_BLK : MODERN, legacy);

    v.msix = true;
    qvirtio_start(&v, 2, 16);
    begin(&v, 1, T_IN, 1, 512);
    qvirtio_wait(&v, 1);
    wait_message(q, 0x8008, 0x1002);
    g_assert_cmphex(qtest_readl(q, 0x8004), ==, 0);
    /* Masked, it is pending until it is not. */
    qtest_writel(q, 0x8008, 0);
    qtest_writel(q, QVIRTIO_MSIX + 32 + 12, 1);
    begin(&v, 1, T_IN, 1, 512);
    qvirtio_wait(&v, 1);
    g_assert_cmphex(qtest_readl(q, 0x8008), ==, 0);
    qtest_writel(q, QVIRTIO_MSIX + 32 + 12, 0);
    wait_message(q, 0x8008, 0x1002);
    /* No such vector. */
    if (!legacy) {
        qtest_writew(q, QVIRTIO_BAR + 0x1a, 77);
        g_assert_cmphex(qtest_readw(q, QVIRTIO_BAR + 0x1a), ==, 0xffff);
    }
}

static void messages_modern(Qtest *q)
{
    messages(q, false);
}

static void messages_legacy(Qtest *q)
{
    messages(q, true);
}

static void split_suppression(Qtest *q)
{
    Qvirtio v = driver(q, MODERN | F_EVENT_IDX, false);
    QvirtioQueue *vq = &v.queues[0];

    qvirtio_start(&v, 1, 16);
    qtest_writew(q, vq->driver + 4 + 2 * 16, 2);               /* used_event: the third one */
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, ISR_QUEUE);           /* the first always */
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, 0);
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, ISR_QUEUE);
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, 0);
    g_assert_cmpuint(qtest_readw(q, vq->device + 4 + 8 * 16), ==, 4);   /* avail_event */
}

static void split_no_interrupt(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);

    qvirtio_start(&v, 1, 16);
    qtest_writew(q, v.queues[0].driver, 1);
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, 0);
}

static void packed_suppression(Qtest *q)
{
    Qvirtio v = driver(q, MODERN | F_EVENT_IDX | F_PACKED | F_INDIRECT, false);
    QvirtioQueue *vq = &v.queues[0];

    qvirtio_start(&v, 1, 16);
    qtest_writew(q, vq->driver + 2, 1);
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, 0);
    qtest_writew(q, vq->driver, 2 | 0x8000);                   /* slot 2 of this lap */
    qtest_writew(q, vq->driver + 2, 2);
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, 0);
    g_assert_cmphex(request(&v, T_IN, 1, 512), ==, OK);
    g_assert_cmphex(qvirtio_isr(&v), ==, ISR_QUEUE);
    g_assert_cmphex(qtest_readl(q, vq->device), ==, 0x28003);  /* kick at slot 3 */
}

/* ---- a new length ---- */

static void resize(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);
    uint8_t generation;

    qvirtio_start(&v, 1, 16);
    generation = qtest_readb(q, QVIRTIO_BAR + 0x15);
    g_free(qtest_qmp(q, "{'execute':'block_resize','arguments':{'device':'d','size':524288}}"));
    g_assert_cmphex(qvirtio_isr(&v), ==, ISR_BOTH);
    g_assert_cmphex(qtest_readb(q, QVIRTIO_BAR + 0x15), !=, generation);
    g_assert_cmpuint(qvirtio_config(&v, 0, 8), ==, 1024);
    g_assert_cmphex(request(&v, T_IN, 1024, 512), ==, IOERR);
}

/* ---- errors that stop the VM ---- */

static void stop_and_go_on(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);
    uint32_t len;

    qvirtio_start(&v, 1, 16);
    qtest_memset(q, DATA, 0x5a, 512);
    begin(&v, 0, T_OUT, 9, 512);
    g_free(qtest_wait_event(q, "BLOCK_IO_ERROR"));
    g_free(qtest_wait_event(q, "STOP"));
    g_assert_false(qvirtio_poll(&v, 0, &len));
    g_assert_cmphex(qtest_readb(q, STATUS), ==, NOTHING);
    g_free(qtest_qmp(q, "{'execute':'cont'}"));
    qvirtio_wait(&v, 0);
    g_assert_cmphex(qtest_readb(q, STATUS), ==, OK);
    g_assert_cmphex(request(&v, T_IN, 9, 512), ==, OK);
    g_assert_cmphex(qtest_readb(q, DATA + 511), ==, 0x5a);
}

/* A reset forgets what was to be repeated. */
static void stop_and_reset(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);
    uint32_t len;

    qvirtio_start(&v, 1, 16);
    begin(&v, 0, T_OUT, 20, 512);
    g_free(qtest_wait_event(q, "STOP"));
    qvirtio_set_status(&v, 0);
    g_free(qtest_qmp(q, "{'execute':'cont'}"));
    g_assert_false(qvirtio_poll(&v, 0, &len));
    qvirtio_start(&v, 1, 16);
    g_assert_cmphex(request(&v, T_IN, 20, 512), ==, OK);
    assert_sector(q, DATA, 20);
}

/* ---- resets ---- */

static void reset_in_flight(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);

    for (unsigned i = 0; i < 20; i++) {
        qvirtio_start(&v, 1, 16);
        begin(&v, 0, T_IN, i, 512);
        qvirtio_set_status(&v, 0);
    }
    qvirtio_start(&v, 1, 16);
    g_assert_cmphex(request(&v, T_IN, 3, 512), ==, OK);
    begin(&v, 0, T_IN, 3, 512);
    g_free(qtest_qmp(q, "{'execute':'system_reset'}"));
    g_free(qtest_wait_event(q, "RESET"));
    qvirtio_start(&v, 1, 16);
    g_assert_cmphex(request(&v, T_IN, 3, 512), ==, OK);
}

static void queue_reset(Qtest *q)
{
    Qvirtio v = driver(q, MODERN | F_RING_RESET, false);

    qvirtio_start(&v, 2, 16);
    g_assert_cmphex(request(&v, T_IN, 3, 512), ==, OK);
    qtest_writew(q, QVIRTIO_BAR + 0x16, 0);
    g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x1c), ==, 1);
    begin(&v, 0, T_IN, 4, 512);
    qtest_writew(q, QVIRTIO_BAR + 0x3a, 1);
    for (unsigned i = 0; qtest_readw(q, QVIRTIO_BAR + 0x3a); i++) {
        g_assert_cmpuint(i, <, 1000000);
    }
    g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x1c), ==, 0);
    g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x18), ==, 256);
    begin(&v, 1, T_IN, 5, 512);                                /* the other one goes on */
    qvirtio_wait(&v, 1);
    assert_sector(q, DATA, 5);
    qvirtio_queue_start(&v, 0, 8);
    g_assert_cmphex(request(&v, T_IN, 6, 512), ==, OK);
    assert_sector(q, DATA, 6);
}

/* Bits that were not offered are not accepted. */
static void bad_features(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);

    qvirtio_enable(&v);
    qvirtio_set_status(&v, 0);
    qvirtio_set_status(&v, 3);
    qtest_writel(q, QVIRTIO_BAR + 8, 1);
    qtest_writel(q, QVIRTIO_BAR + 0xc, 1 | 1u << 31);
    qvirtio_set_status(&v, 11);
    g_assert_cmphex(qvirtio_status(&v), ==, 3);
}

/* Taking the disk away while the other side works. */
static void commands_in_flight(Qtest *q)
{
    Qvirtio v = driver(q, MODERN | F_INDIRECT, false);

    qvirtio_start(&v, 2, 16);
    for (unsigned i = 0; i < 40; i++) {
        begin(&v, i & 1, T_IN, 100 + i, 512);
        g_free(qtest_qmp(q, i & 2 ? "{'execute':'stop'}" : "{'execute':'query-blockstats'}"));
        g_free(qtest_qmp(q, i & 2 ? "{'execute':'cont'}" : "{'execute':'query-block'}"));
        qvirtio_wait(&v, i & 1);
        g_assert_cmphex(qtest_readb(q, STATUS), ==, OK);
        assert_sector(q, DATA, 100 + i);
    }
}

/* ---- bad drivers ---- */

static void loop(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, HEADER, 16, 1, 1);
    qvirtio_desc(v, 0, 1, HEADER, 16, 1, 0);
    qvirtio_avail(v, 0, 0);
}

static void head_outside(Qvirtio *v)
{
    qvirtio_avail(v, 0, 16);
}

static void next_outside(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, HEADER, 16, 1, 0xffff);
    qvirtio_avail(v, 0, 0);
}

static void index_jumps(Qvirtio *v)
{
    qtest_writew(v->q, v->queues[0].driver + 2, 17);
}

static void no_length(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, HEADER, 0, 0, 0);
    qvirtio_avail(v, 0, 0);
}

static void wrong_order(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, HEADER, 16, 1, 1);
    qvirtio_desc(v, 0, 1, STATUS, 1, 3, 2);
    qvirtio_desc(v, 0, 2, DATA, 512, 0, 0);
    qvirtio_avail(v, 0, 0);
}

static void in_registers(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, QVIRTIO_BAR + QVIRTIO_NOTIFY, 16, 0, 0);
    qvirtio_avail(v, 0, 0);
}

static void nowhere(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, UINT64_MAX - 7, 16, 0, 0);
    qvirtio_avail(v, 0, 0);
}

static void too_long(Qvirtio *v)
{
    for (unsigned i = 0; i < 16; i++) {
        qvirtio_desc(v, 0, i, 0, 0x1f00000, 3, (uint16_t)(i + 1));
    }
    qvirtio_desc(v, 0, 15, 0, 0xffffffff, 2, 0);
    qvirtio_avail(v, 0, 0);
}

static void no_header(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, HEADER, 15, 1, 1);
    qvirtio_desc(v, 0, 1, STATUS, 1, 2, 0);
    qvirtio_avail(v, 0, 0);
}

static void no_status(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, HEADER, 16, 0, 0);
    qvirtio_avail(v, 0, 0);
}

static void indirect_odd(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, DATA, 17, 4, 0);
    qvirtio_avail(v, 0, 0);
}

static void indirect_nested(Qvirtio *v)
{
    qtest_writeq(v->q, DATA, DATA);
    qtest_writel(v->q, DATA + 8, 16);
    qtest_writel(v->q, DATA + 12, 4);
    qvirtio_desc(v, 0, 0, DATA, 16, 4, 0);
    qvirtio_avail(v, 0, 0);
}

static void indirect_next(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, DATA, 16, 5, 1);
    qvirtio_avail(v, 0, 0);
}

static void indirect_nowhere(Qvirtio *v)
{
    qvirtio_desc(v, 0, 0, QVIRTIO_BAR, 16, 4, 0);
    qvirtio_avail(v, 0, 0);
}

/* Another ring for queue 1. */
static void put_ring(Qvirtio *v, uint64_t desc, uint64_t device)
{
    qtest_writew(v->q, QVIRTIO_BAR + 0x16, 1);
    qtest_writeq(v->q, QVIRTIO_BAR + 0x20, desc);
    qtest_writeq(v->q, QVIRTIO_BAR + 0x28, DATA);
    qtest_writeq(v->q, QVIRTIO_BAR + 0x30, device);
    qtest_writew(v->q, QVIRTIO_BAR + 0x1c, 1);
    qvirtio_kick(v, 1);
}

static void ring_in_registers(Qvirtio *v)
{
    put_ring(v, QVIRTIO_BAR, DATA);
}

static void ring_in_rom(Qvirtio *v)
{
    put_ring(v, DATA, 0xfffc0000);
}

static void ring_past_the_end(Qvirtio *v)
{
    put_ring(v, UINT64_MAX - 15, DATA);
}

static void ring_misaligned(Qvirtio *v)
{
    put_ring(v, DATA, DATA + 1);
}

static void (*const misdeeds[])(Qvirtio *v) = {
    loop, head_outside, next_outside, index_jumps, no_length, wrong_order, in_registers, nowhere,
    too_long, no_header, no_status, indirect_odd, indirect_nested, indirect_next, indirect_nowhere,
    ring_in_registers, ring_in_rom, ring_past_the_end, ring_misaligned,
};

/* At once, but for queues on an iothread. */
static void wait_needs_reset(Qvirtio *v)
{
    for (unsigned i = 0; qvirtio_status(v) != 0x4f; i++) {
        g_assert_cmpuint(i, <, 1000000);
    }
}

/* The device says that it needs a reset, does nothing more, and is well again after it. */
static void bad_driver(Qtest *q)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(misdeeds); i++) {
        Qvirtio v = driver(q, MODERN | F_INDIRECT, false);
        uint32_t len;

        qvirtio_start(&v, 1, 16);
        g_test_message("misdeed %u", i);
        misdeeds[i](&v);
        qvirtio_kick(&v, 0);
        wait_needs_reset(&v);
        wait_isr(&v);                                          /* a configuration change tells */
        g_assert_false(qvirtio_poll(&v, 0, &len));
        qvirtio_start(&v, 1, 16);
        g_assert_cmphex(request(&v, T_IN, 3, 512), ==, OK);
        assert_sector(q, DATA, 3);
    }
}

static void bad_legacy_driver(Qtest *q)
{
    Qvirtio v = driver(q, F_BLK, true);
    uint32_t len;

    qvirtio_start(&v, 1, 0);
    loop(&v);
    qvirtio_kick(&v, 0);
    g_assert_cmphex(qvirtio_status(&v), ==, 7);
    begin(&v, 0, T_IN, 3, 512);
    g_assert_false(qvirtio_poll(&v, 0, &len));
    qvirtio_start(&v, 1, 0);
    g_assert_cmphex(request(&v, T_IN, 3, 512), ==, OK);
}

static void bad_packed_driver(Qtest *q)
{
    Qvirtio v = driver(q, MODERN | F_PACKED, false);

    qvirtio_start(&v, 1, 7);                                   /* no power of two: allowed here */
    g_assert_cmphex(request(&v, T_IN, 3, 512), ==, OK);
    assert_sector(q, DATA, 3);
    qvirtio_start(&v, 1, 7);
    for (unsigned i = 0; i < 7; i++) {
        qvirtio_desc(&v, 0, i, HEADER, 16, 0, 0x81);           /* a chain without an end */
    }
    qvirtio_kick(&v, 0);
    wait_needs_reset(&v);
}

static void bad_registers(Qtest *q)
{
    Qvirtio v = driver(q, MODERN, false);

    qvirtio_start(&v, 1, 16);
    qtest_writew(q, QVIRTIO_BAR + 0x16, 1);
    for (unsigned size = 0; size < 0x10000; size = size * 3 + 3) {
        qtest_writew(q, QVIRTIO_BAR + 0x18, (uint16_t)size);
        g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x18), ==, 256);
    }
    qtest_writew(q, QVIRTIO_BAR + 0x16, 0);
    qtest_writew(q, QVIRTIO_BAR + 0x18, 8);                    /* enabled: too late */
    g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x18), ==, 16);
    qtest_writew(q, QVIRTIO_BAR + 0x16, 0xffff);
    g_assert_cmpuint(qtest_readw(q, QVIRTIO_BAR + 0x18), ==, 0);
    qtest_writew(q, QVIRTIO_BAR + 0x1c, 1);
    qtest_writew(q, QVIRTIO_BAR + 0x3a, 1);
    qtest_writew(q, QVIRTIO_BAR + 0x1a, 1);
    qtest_writel(q, QVIRTIO_BAR + 0x20, 1);
    qtest_writew(q, QVIRTIO_BAR + QVIRTIO_NOTIFY + 4 * 500, 500);
    qtest_writew(q, QVIRTIO_BAR + QVIRTIO_NOTIFY + 4, 1);      /* not enabled */
    g_assert_cmphex(request(&v, T_IN, 3, 512), ==, OK);
}

int main(int argc, char **argv)
{
    const char *disk;
    g_autofree char *drive = NULL, *one = NULL, *two = NULL, *ro = NULL, *failing = NULL, *legacy = NULL,
                    *thread = NULL, *thread_failing = NULL;

    g_test_init(&argc, &argv, NULL);
    disk = qtest_temp_disk(SECTORS * 512);
    drive = g_strdup_printf("-drive if=none,id=d,format=raw,snapshot=on,discard=unmap,file=%s "
                            "-device virtio-blk-pci,drive=d,addr=4", disk);
    one = g_strconcat(drive, ",packed=on,serial=serial-number-of-20b", NULL);
    two = g_strconcat(drive, ",num-queues=2", NULL);
    ro = g_strdup_printf("-drive if=none,id=d,format=raw,readonly=on,file=%s "
                         "-device virtio-blk-pci,drive=d,addr=4", disk);
    failing = g_strdup_printf(
        "-blockdev driver=file,filename=%s,node-name=f "
        "-blockdev driver=blkdebug,image=f,node-name=b,inject-error.0.event=write_aio,"
        "inject-error.0.errno=28,inject-error.0.once=on "
        "-blockdev driver=raw,file=b,node-name=d -device virtio-blk-pci,drive=d,addr=4,werror=stop",
        disk);

    legacy = g_strconcat(two, ",disable-modern=on", NULL);
    thread = g_strconcat("-object iothread,id=io ", two,
                         ",packed=on,iothread=io,serial=serial-number-of-20b", NULL);
    thread_failing = g_strconcat("-object iothread,id=io ", failing, ",iothread=io", NULL);

    const QtestCase cases[] = {
        { "modern/split", one, .run = modern_split },
        { "modern/indirect", one, .run = modern_indirect },
        { "modern/packed", one, .run = modern_packed },
        { "modern/packed-indirect", one, .run = modern_packed_indirect },
        { "legacy/split", one, .run = legacy_split },
        { "legacy/indirect", one, .run = legacy_indirect },
        { "configuration", two, .run = configuration },
        { "config-window", two, .run = config_window },
        { "read-only", ro, .run = read_only },
        { "messages/modern", two, .run = messages_modern },
        { "messages/legacy", legacy, .run = messages_legacy },
        { "suppression/split", drive, .run = split_suppression },
        { "suppression/flag", drive, .run = split_no_interrupt },
        { "suppression/packed", one, .run = packed_suppression },
        { "resize", drive, .run = resize },
        { "stop/go-on", failing, .run = stop_and_go_on },
        { "stop/reset", failing, .run = stop_and_reset },
        { "reset/in-flight", drive, .run = reset_in_flight },
        { "reset/queue", two, .run = queue_reset },
        { "reset/commands", two, .run = commands_in_flight },
        { "iothread/split", thread, .run = modern_indirect },
        { "iothread/packed", thread, .run = modern_packed },
        { "iothread/legacy", thread, .run = legacy_split },
        { "iothread/messages", thread, .run = messages_modern },
        { "iothread/resize", thread, .run = resize },
        { "iothread/go-on", thread_failing, .run = stop_and_go_on },
        { "iothread/stop-reset", thread_failing, .run = stop_and_reset },
        { "iothread/in-flight", thread, .run = reset_in_flight },
        { "iothread/queue-reset", thread, .run = queue_reset },
        { "iothread/commands", thread, .run = commands_in_flight },
        { "iothread/bad-driver", thread, .run = bad_driver },
        { "bad/features", drive, .run = bad_features },
        { "bad/driver", two, .run = bad_driver },
        { "bad/legacy-driver", drive, .run = bad_legacy_driver },
        { "bad/packed-driver", one, .run = bad_packed_driver },
        { "bad/registers", two, .run = bad_registers },
    };
    return qtest_run("/virtio-blk", QTEST_CASES(cases));
}
