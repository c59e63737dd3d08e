/* SPDX-License-Identifier: MIT */
/* The AHCI controller on its board: PIO, DMA and queued commands, packets, errors, resets. */
#include "tests/qtest/libqtest.h"

#include <string.h>

enum { FN = 0x20, SECTORS = 2048, BAR = 0x40000000, P0 = BAR + 0x100, P2 = BAR + 0x200 };
/* Guest memory: command list, received FISes, 32 tables, data. */
enum { LIST = 0x100000, RX = 0x101000, TABLE = 0x110000, TABLE_LEN = 0x400, DATA = 0x200000, MSI = 0x320000 };
enum { IS = 0x10, IE = 0x14, CMD = 0x18, TFD = 0x20, SIG = 0x24, SSTS = 0x28, SCTL = 0x2c, SERR = 0x30,
       SACT = 0x34, CI = 0x38 };
enum { WRITES = 0x40, PACKET = 0x20 };

typedef struct Cmd {
    uint8_t op;
    uint64_t lba;
    unsigned count, features, flags;
    const char *packet;                     /* 12 bytes */
} Cmd;

typedef struct Prd {
    uint64_t addr;
    uint32_t len;
} Prd;

static void wait_reg(Qtest *q, uint64_t reg, uint32_t mask, uint32_t value)
{
    for (unsigned i = 0; (qtest_readl(q, reg) & mask) != value; i++) {
        if (i > 1000000) {
            g_error("register 0x%x stays 0x%x", (unsigned)reg, qtest_readl(q, reg));
        }
    }
}

static void start_port(Qtest *q, uint64_t port)
{
    qtest_writel(q, port + 0x00, LIST);
    qtest_writel(q, port + 0x08, RX);
    qtest_writel(q, port + CMD, 0x16);
    wait_reg(q, port + TFD, 0x88, 0);
    qtest_writel(q, port + IS, ~0u);
    qtest_writel(q, port + CMD, 0x17);
}

/* As a driver recovers from an error. */
static void restart_port(Qtest *q, uint64_t port)
{
    qtest_writel(q, port + CMD, 0x16);
    wait_reg(q, port + CMD, 0x8000, 0);
    g_assert_cmphex(qtest_readl(q, port + CI) | qtest_readl(q, port + SACT), ==, 0);
    qtest_writel(q, port + SERR, ~0u);
    qtest_writel(q, port + IS, ~0u);
    qtest_writel(q, port + CMD, 0x17);
}

static void start(Qtest *q)
{
    qtest_pci_writel(q, FN, 0x24, BAR);
    qtest_pci_writew(q, FN, 0x04, 6);
    qtest_writel(q, BAR + 4, 0x80000002);
    start_port(q, P0);
}

static void prepare(Qtest *q, unsigned slot, Cmd c, const Prd *prds, unsigned count)
{
    uint64_t table = TABLE + slot * TABLE_LEN;
    bool queued = (c.op & 0xfc) == 0x60;
    uint16_t features = queued ? (uint16_t)c.count : (uint16_t)c.features;
    uint16_t sectors = queued ? (uint16_t)(slot << 3) : (uint16_t)c.count;
    uint8_t fis[20] = { 0x27, 0x80, c.op, (uint8_t)features, (uint8_t)c.lba, (uint8_t)(c.lba >> 8),
                        (uint8_t)(c.lba >> 16), 0x40, (uint8_t)(c.lba >> 24), (uint8_t)(c.lba >> 32),
                        (uint8_t)(c.lba >> 40), (uint8_t)(features >> 8), (uint8_t)sectors,
                        (uint8_t)(sectors >> 8) };
    uint32_t header[8] = { 5 | c.flags | count << 16, 0, (uint32_t)table };

    qtest_memwrite(q, table, fis, sizeof(fis));
    if (c.packet) {
        qtest_memwrite(q, table + 0x40, c.packet, 12);
    }
    for (unsigned i = 0; i < count; i++) {
        uint32_t prd[4] = { (uint32_t)prds[i].addr, (uint32_t)(prds[i].addr >> 32), 0, prds[i].len - 1 };

        qtest_memwrite(q, table + 0x80 + 16 * i, prd, sizeof(prd));
    }
    qtest_memwrite(q, LIST + 32 * slot, header, sizeof(header));
}

static void run_at(Qtest *q, uint64_t port, Cmd c, const Prd *prds, unsigned count)
{
    prepare(q, 0, c, prds, count);
    qtest_writel(q, port + IS, ~0u);
    qtest_writel(q, port + CI, 1);
    for (unsigned i = 0; (qtest_readl(q, port + CI) & 1) && !(qtest_readl(q, port + IS) & 0x7c000000); i++) {
        g_assert_cmpuint(i, <, 1000000);
    }
}

#define RUN(c, ...) \
    do { \
        const Prd prds_[] = { __VA_ARGS__ }; \
        run_at(q, P0, c, prds_, G_N_ELEMENTS(prds_)); \
    } while (0)
#define CMD_(...) ((Cmd){ __VA_ARGS__ })
#define EXPECT_OK(port) \
    do { \
        g_assert_cmphex(qtest_readl(q, (port) + TFD), ==, 0x50); \
        g_assert_cmphex(qtest_readl(q, (port) + IS) & 0x7d000001, ==, 1); \
    } while (0)

static void expect_disk(Qtest *q, uint64_t addr, uint64_t from, unsigned len)
{
    g_autofree uint8_t *got = g_malloc(len);

    qtest_memread(q, addr, got, len);
    for (uint64_t i = from; i < from + len; i++) {
        g_assert_cmphex(got[i - from], ==, (uint8_t)(i / 512 ^ i % 512));
    }
}

/* ---- registers ---- */

static void registers(Qtest *q)
{
    qtest_pci_writel(q, FN, 0x24, BAR);
    qtest_pci_writel(q, FN, 0x20, 0xc000);
    qtest_pci_writew(q, FN, 0x04, 7);
    g_assert_cmphex(qtest_pci_readl(q, FN, 0), ==, 0x29228086);
    g_assert_cmphex(qtest_pci_readl(q, FN, 8), ==, 0x01060102);
    g_assert_cmphex(qtest_readl(q, BAR), ==, 0xc0141f05);
    g_assert_cmphex(qtest_readl(q, BAR + 0x0c), ==, 0x3f);
    g_assert_cmphex(qtest_readl(q, BAR + 0x10), ==, 0x10000);
    g_assert_cmphex(qtest_readl(q, P0 + SSTS), ==, 0x113);
    g_assert_cmphex(qtest_readl(q, P0 + 0x80 + SSTS), ==, 0);       /* no drive at port 1 */
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x7f);
    start_port(q, P0);
    g_assert_cmphex(qtest_readl(q, P0 + SIG), ==, 0x101);
    start_port(q, P2);
    g_assert_cmphex(qtest_readl(q, P2 + SIG), ==, 0xeb140101);
    qtest_outl(q, 0xc010, 0x100 + SIG);                              /* index and data ports */
    g_assert_cmphex(qtest_inl(q, 0xc014), ==, 0x101);
    qtest_writel(q, BAR + 4, 0x80000001);                            /* HBA reset */
    wait_reg(q, BAR + 4, 1, 0);
    g_assert_cmphex(qtest_readl(q, P0 + CMD), ==, 6);
    g_assert_cmphex(qtest_readl(q, BAR + 0x1000 - 4), ==, 0);
    qtest_writel(q, BAR + 0xffc, 1);
}

static void identify(Qtest *q)
{
    uint16_t id[256];

    start(q);
    RUN(CMD_(0xec), { DATA, 512 });
    EXPECT_OK(P0);
    g_assert_cmphex(qtest_readb(q, RX + 0x20), ==, 0x5f);            /* PIO setup, then D2H */
    g_assert_cmphex(qtest_readb(q, RX + 0x40), ==, 0x34);
    g_assert_cmpuint(qtest_readl(q, LIST + 4), ==, 512);
    qtest_memread(q, DATA, id, sizeof(id));
    g_assert_cmpuint(id[75], ==, 31);
    g_assert_cmphex(id[76] & 0x100, ==, 0x100);
    g_assert_cmpuint(id[100] | (unsigned)id[101] << 16, ==, SECTORS);
    g_assert_cmphex(qtest_readl(q, BAR + 8), ==, 0);
    qtest_writel(q, P0 + IE, 1);
    g_assert_cmphex(qtest_readl(q, BAR + 8), ==, 1);
    g_assert_cmphex(qtest_pci_readw(q, FN, 6) & 8, ==, 8);
    qtest_writel(q, P0 + IS, ~0u);
    qtest_writel(q, BAR + 8, 1);
    g_assert_cmphex(qtest_pci_readw(q, FN, 6) & 8, ==, 0);
}

/* ---- disk ---- */

static void pio(Qtest *q)
{
    start(q);
    RUN(CMD_(0x24, 7, 5), { DATA, 1000 }, { DATA + 0x2000, 1560 });
    EXPECT_OK(P0);
    expect_disk(q, DATA, 7 * 512, 1000);
    expect_disk(q, DATA + 0x2000, 7 * 512 + 1000, 1560);
    g_assert_cmpuint(qtest_readl(q, LIST + 4), ==, 2560);
    qtest_memset(q, DATA, 0x42, 1024);
    RUN(CMD_(0x34, 20, 2, .flags = WRITES), { DATA, 1024 });
    EXPECT_OK(P0);
    RUN(CMD_(0x29, 19, 4), { DATA, 2048 });                          /* READ MULTIPLE EXT */
    EXPECT_OK(P0);
    expect_disk(q, DATA, 19 * 512, 512);
    g_assert_cmphex(qtest_readl(q, DATA + 512), ==, 0x42424242);
    g_assert_cmphex(qtest_readl(q, DATA + 1532), ==, 0x42424242);
    expect_disk(q, DATA + 1536, 22 * 512, 512);
}

static void dma(Qtest *q)
{
    start(q);
    RUN(CMD_(0x25, 3, 64), { DATA, 2 }, { DATA + 0x1002, 0x7ffe });
    EXPECT_OK(P0);
    expect_disk(q, DATA + 0x1002, 3 * 512 + 2, 0x7ffe);
    qtest_memset(q, DATA, 0x99, 512);
    RUN(CMD_(0x35, 5, 1, .flags = WRITES), { DATA, 512 });
    EXPECT_OK(P0);
    RUN(CMD_(0xea));
    EXPECT_OK(P0);
    RUN(CMD_(0xc8, 5, 1), { DATA + 0x1000, 512 });
    g_assert_cmphex(qtest_readl(q, DATA + 0x1000), ==, 0x99999999);
    qtest_writeq(q, DATA, 5 | 2ull << 48);                           /* TRIM sectors 5 and 6 */
    qtest_memset(q, DATA + 8, 0, 504);
    RUN(CMD_(0x06, 0, 1, 1, .flags = WRITES), { DATA, 512 });
    EXPECT_OK(P0);
}

/* Aligned to 64 KiB, which is a page of every file system. */
enum { HOLE = 256, HOLE_LEN = 512, HOLED_DISKS = 2 };

static const char *holed[HOLED_DISKS];       /* discard=unmap, and ignore */

/* TRIM makes a hole in the file where discard=unmap allows that, and changes nothing elsewhere. */
static void trim(Qtest *q)
{
    const Prd prd = { DATA, 512 };

    start(q);
    start_port(q, P2);
    for (unsigned i = 0; i < HOLED_DISKS; i++) {
        uint64_t port = i ? P2 : P0;

        qtest_memset(q, DATA, 0, 512);
        qtest_writeq(q, DATA + 8, HOLE | (uint64_t)(HOLE_LEN / 2) << 48);     /* two ranges, one hole */
        qtest_writeq(q, DATA + 16, (HOLE + HOLE_LEN / 2) | (uint64_t)(HOLE_LEN / 2) << 48);
        run_at(q, port, CMD_(0x06, 0, 1, 1, .flags = WRITES), &prd, 1);
        EXPECT_OK(port);
        run_at(q, port, CMD_(0xea), NULL, 0);
        EXPECT_OK(port);
        run_at(q, port, CMD_(0x25, HOLE + HOLE_LEN - 1, 1), &prd, 1);
        EXPECT_OK(port);
        if (i) {
            expect_disk(q, DATA, (HOLE + HOLE_LEN - 1) * 512, 512);
        } else {
            g_assert_cmphex(qtest_readq(q, DATA + 8), ==, 0);
        }
        run_at(q, port, CMD_(0x25, HOLE + HOLE_LEN, 1), &prd, 1);
        expect_disk(q, DATA, (HOLE + HOLE_LEN) * 512, 512);
    }
    qtest_writeq(q, DATA, (SECTORS - 1) | 2ull << 48);                /* beyond the end */
    run_at(q, P0, CMD_(0x06, 0, 1, 1, .flags = WRITES), &prd, 1);
    g_assert_cmphex(qtest_readl(q, P0 + TFD) & 0x1001, ==, 0x1001);
    qtest_expect_hole(holed[0], HOLE * 512, (HOLE + HOLE_LEN) * 512);
    qtest_expect_hole(holed[1], 0, 0);
}

static void queued(Qtest *q)
{
    const Prd prds[] = { { DATA, 4096 }, { DATA + 0x10000, 4096 } };

    start(q);
    /* All slots at once: reads and writes of different sectors. */
    for (unsigned slot = 0; slot < 32; slot++) {
        const Prd prd = { DATA + slot * 0x1000, 1024 };
        bool writes = slot & 1;

        if (writes) {
            qtest_memset(q, prd.addr, (uint8_t)slot, 1024);
        }
        prepare(q, slot, CMD_(writes ? 0x61 : 0x60, 2 * slot, 2, .flags = writes ? WRITES : 0), &prd, 1);
    }
    qtest_writel(q, P0 + SACT, ~0u);
    qtest_writel(q, P0 + CI, ~0u);
    wait_reg(q, P0 + SACT, ~0u, 0);
    g_assert_cmphex(qtest_readl(q, P0 + CI), ==, 0);
    g_assert_cmphex(qtest_readl(q, P0 + IS), ==, 8);
    g_assert_cmphex(qtest_readw(q, RX + 0x58), ==, 0x40a1);
    for (unsigned slot = 0; slot < 32; slot += 2) {
        expect_disk(q, DATA + slot * 0x1000, 2 * slot * 512, 1024);
    }
    prepare(q, 9, CMD_(0x60, 2, 16), prds, 2);
    qtest_writel(q, P0 + SACT, 1 << 9);
    qtest_writel(q, P0 + CI, 1 << 9);
    wait_reg(q, P0 + SACT, ~0u, 0);
    g_assert_cmphex(qtest_readl(q, DATA), ==, 0x01010101);
    g_assert_cmphex(qtest_readl(q, DATA + 0x10000 + 4 * 512), ==, 0x07070707);
}

/* An error halts the port; log 10h tells which command it was. */
static void queued_error(Qtest *q)
{
    const Prd prd = { DATA, 1024 };

    start(q);
    prepare(q, 4, CMD_(0x60, SECTORS - 1, 2), &prd, 1);
    prepare(q, 5, CMD_(0x60, 0, 2), &prd, 1);
    qtest_writel(q, P0 + SACT, 0x10);
    qtest_writel(q, P0 + CI, 0x10);
    wait_reg(q, P0 + IS, 0x40000008, 0x40000008);
    g_assert_cmphex(qtest_readl(q, P0 + SACT), ==, 0x10);
    g_assert_cmphex(qtest_readl(q, P0 + TFD) & 0x1001, ==, 0x1001);
    qtest_writel(q, P0 + SACT, 0x20);
    qtest_writel(q, P0 + CI, 0x20);
    g_assert_cmphex(qtest_readl(q, P0 + CI), ==, 0x20);              /* halted: nothing starts */
    restart_port(q, P0);
    RUN(CMD_(0x2f, 0x10, 1), { DATA, 512 });
    EXPECT_OK(P0);
    g_assert_cmphex(qtest_readl(q, DATA), ==, 0x10410004);
    g_assert_cmphex(qtest_readl(q, DATA + 4) & 0xffffff, ==, SECTORS - 1);
    RUN(CMD_(0x47, 0x10, 1), { DATA, 512 });
    g_assert_cmphex(qtest_readb(q, DATA), ==, 0x80);                 /* read once */
    RUN(CMD_(0x2f, 0, 1), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, DATA + 0x20), ==, 1);
    RUN(CMD_(0x2f, 0x77, 1), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x441);
}

static void errors(Qtest *q)
{
    start(q);
    RUN(CMD_(0xff));
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x441);
    g_assert_cmphex(qtest_readl(q, P0 + IS), ==, 0x40000001);
    g_assert_cmphex(qtest_readl(q, P0 + CI), ==, 1);
    restart_port(q, P0);
    RUN(CMD_(0x25, SECTORS, 1), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x1041);
    restart_port(q, P0);
    RUN(CMD_(0x25, 0, 2), { DATA, 512 });                            /* the table is too short */
    g_assert_cmphex(qtest_readl(q, P0 + IS) & 0x41000000, ==, 0x41000000);
    restart_port(q, P0);
    RUN(CMD_(0x25, 0, 1), { 0x7000000000, 512 });                    /* data in a hole is lost */
    restart_port(q, P0);
    qtest_writel(q, LIST + 8, 0xa0000000);                           /* a table in a hole */
    qtest_writel(q, P0 + CI, 1);
    wait_reg(q, P0 + IS, 0x20000000, 0x20000000);
    restart_port(q, P0);
    qtest_writel(q, P0 + CMD, 0x16);
    wait_reg(q, P0 + CMD, 0x8000, 0);
    qtest_writel(q, P0, 0xa0000000);                                 /* the list in a hole */
    qtest_writel(q, P0 + IS, ~0u);
    qtest_writel(q, P0 + CMD, 0x17);
    qtest_writel(q, P0 + CI, 1);
    wait_reg(q, P0 + IS, 0x20000000, 0x20000000);
    qtest_writel(q, P0, LIST);
    restart_port(q, P0);
    prepare(q, 0, CMD_(0x60, 0, 2), &(Prd){ 0x7000000000, 1024 }, 1);   /* queued, to a hole */
    qtest_writel(q, P0 + SACT, 1);
    qtest_writel(q, P0 + CI, 1);
    wait_reg(q, P0 + IS, 0x40000000, 0x40000000);
    restart_port(q, P0);
    RUN(CMD_(0x25, 1, 1), { DATA, 512 });
    EXPECT_OK(P0);
}

static void smart(Qtest *q)
{
    start(q);
    RUN(CMD_(0xb0, 0xc24f00, 1, 0xd0), { DATA, 512 });
    EXPECT_OK(P0);
    g_assert_cmphex(qtest_readw(q, DATA), ==, 1);
    RUN(CMD_(0xb0, 0xc24f00, 1, 0xda));
    EXPECT_OK(P0);
    g_assert_cmphex(qtest_readw(q, RX + 0x45), ==, 0xc24f);
    RUN(CMD_(0xb0, 0, 1, 0xd0), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x441);
    restart_port(q, P0);
    RUN(CMD_(0xb0, 0xc24f00, 1, 0xd9));                              /* off: all but ENABLE is refused */
    EXPECT_OK(P0);
    RUN(CMD_(0xb0, 0xc24f00, 1, 0xda));
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x441);
    restart_port(q, P0);
    RUN(CMD_(0xb0, 0xc24f00, 1, 0xd8));
    EXPECT_OK(P0);
    RUN(CMD_(0xb0, 0xc24f81, 1, 0xd4));                              /* captive tests are not there */
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x441);
    restart_port(q, P0);
}

enum { SMART_KEY = 0xc24f00, SELF_TEST_LOG = 6 };

/* Starts a self-test, and waits until byte 363 says that none runs. */
static unsigned self_test(Qtest *q, unsigned kind)
{
    RUN(CMD_(0xb0, SMART_KEY + kind, 1, 0xd4));
    EXPECT_OK(P0);
    do {
        RUN(CMD_(0xb0, SMART_KEY, 1, 0xd0), { DATA, 512 });
        EXPECT_OK(P0);
    } while (qtest_readb(q, DATA + 363) >> 4 == 0xf);
    return qtest_readb(q, DATA + 363);
}

static void expect_checksum(Qtest *q)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < 512; i++) {
        sum += qtest_readb(q, DATA + i);
    }
    g_assert_cmphex(sum, ==, 0);
}

static void smart_logs(Qtest *q)
{
    start(q);
    RUN(CMD_(0xb0, SMART_KEY, 1, 0xd5), { DATA, 512 });
    EXPECT_OK(P0);
    g_assert_cmphex(qtest_readl(q, DATA), ==, 0x00010001);
    g_assert_cmphex(qtest_readb(q, DATA + 2 * SELF_TEST_LOG), ==, 1);
    RUN(CMD_(0xb0, SMART_KEY + 1, 1, 0xd5), { DATA, 512 });
    g_assert_cmphex(qtest_readw(q, DATA), ==, 0x0001);               /* no error yet */
    RUN(CMD_(0x25, SECTORS + 3, 1), { DATA, 512 });
    restart_port(q, P0);
    RUN(CMD_(0xb0, SMART_KEY + 1, 1, 0xd5), { DATA, 512 });
    expect_checksum(q);
    g_assert_cmphex(qtest_readw(q, DATA), ==, 0x0101);
    g_assert_cmphex(qtest_readw(q, DATA + 452), ==, 1);
    g_assert_cmphex(qtest_readb(q, DATA + 2 + 48 + 7), ==, 0x25);    /* the command that failed */
    g_assert_cmphex(qtest_readb(q, DATA + 2 + 60 + 1), ==, 0x10);    /* IDNF */
    g_assert_cmphex(qtest_readl(q, DATA + 2 + 60 + 3) & 0xffffff, ==, SECTORS + 3);
    for (unsigned kind = 1; kind <= 2; kind++) {
        g_assert_cmphex(self_test(q, kind), ==, 0);
    }
    RUN(CMD_(0xb0, SMART_KEY + SELF_TEST_LOG, 1, 0xd5), { DATA, 512 });
    expect_checksum(q);
    g_assert_cmphex(qtest_readb(q, DATA + 508), ==, 2);
    g_assert_cmphex(qtest_readw(q, DATA + 2), ==, 0x0001);
    g_assert_cmphex(qtest_readw(q, DATA + 2 + 24), ==, 0x0002);
    RUN(CMD_(0xb0, SMART_KEY + 9, 1, 0xd5), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x441);
}

/* ---- CD ---- */

static void packets(Qtest *q)
{
    static const char inquiry[12] = { 0x12, 0, 0, 0, 36 };
    static const char read[12] = { 0x28, 0, 0, 0, 0, 2, 0, 0, 3 };
    static const char beyond[12] = { 0x28, 0, 0, 1, 0, 2, 0, 0, 3 };
    static const char sense[12] = { 0x03, 0, 0, 0, 18 };
    const Prd prds[] = { { DATA, 3000 }, { DATA + 0x2000, 3144 } };

    start(q);
    start_port(q, P2);
    run_at(q, P2, CMD_(0xa1), prds, 1);
    EXPECT_OK(P2);
    g_assert_cmphex(qtest_readw(q, DATA), ==, 0x85c0);
    run_at(q, P2, CMD_(0xec), prds, 1);
    g_assert_cmphex(qtest_readl(q, P2 + TFD), ==, 0x441);
    restart_port(q, P2);
    for (unsigned dma_bit = 0; dma_bit < 2; dma_bit++) {
        uint64_t limit = 0xfffe00;

        run_at(q, P2, CMD_(0xa0, limit, 0, dma_bit, PACKET, inquiry), prds, 1);
        EXPECT_OK(P2);
        g_assert_cmphex(qtest_readl(q, DATA), ==, 0x21008005);
        qtest_memset(q, DATA, 0, 0x4000);
        run_at(q, P2, CMD_(0xa0, limit, 0, dma_bit, PACKET, read), prds, 2);
        EXPECT_OK(P2);
        expect_disk(q, DATA, 4096, 3000);
        expect_disk(q, DATA + 0x2000, 4096 + 3000, 3144);
        g_assert_cmpuint(qtest_readl(q, LIST + 4), ==, 6144);
    }
    run_at(q, P2, CMD_(0xa0, 0, 0, 1, PACKET, beyond), prds, 2);
    g_assert_cmphex(qtest_readl(q, P2 + TFD), ==, 0x5441);
    restart_port(q, P2);
    run_at(q, P2, CMD_(0xa0, 0xfffe00, 0, 0, PACKET, sense), prds, 1);
    EXPECT_OK(P2);
    g_assert_cmphex(qtest_readb(q, DATA + 2), ==, 5);
    g_assert_cmphex(qtest_readb(q, DATA + 12), ==, 0x21);
    /* A queue is a disk's. */
    run_at(q, P2, CMD_(0x60, 0, 1), prds, 1);
    g_assert_cmphex(qtest_readl(q, P2 + TFD), ==, 0x441);
}

/* ---- resets, interrupts, the host's errors ---- */

static void soft_reset(Qtest *q)
{
    uint8_t control[20] = { 0x27, 0 };

    start(q);
    for (unsigned srst = 4; srst != 8; srst = srst ? 0 : 8) {
        prepare(q, 0, CMD_(0), NULL, 0);
        control[15] = (uint8_t)srst;
        qtest_memwrite(q, TABLE, control, sizeof(control));
        qtest_writel(q, P0 + CI, 1);
        wait_reg(q, P0 + CI, 1, 0);
    }
    g_assert_cmphex(qtest_readl(q, P0 + SIG), ==, 0x101);
    RUN(CMD_(0x25, 1, 1), { DATA, 512 });
    EXPECT_OK(P0);
}

static void hard_reset(Qtest *q)
{
    const Prd prd = { DATA, 0x40000 };

    start(q);
    for (unsigned round = 0; round < 10; round++) {
        /* In the middle of whatever is under way. */
        prepare(q, 0, CMD_(0x25, 0, 512), &prd, 1);
        prepare(q, 1, CMD_(0x60, 0, 512), &prd, 1);
        qtest_writel(q, P0 + SACT, round & 2 ? 2 : 0);
        qtest_writel(q, P0 + CI, round & 2 ? 2 : 1);
        if (round & 1) {
            qtest_writel(q, P0 + SCTL, 0x301);
            g_assert_cmphex(qtest_readl(q, P0 + SSTS) & 0xf, !=, 3);
            qtest_writel(q, P0 + SCTL, 0x300);
            wait_reg(q, P0 + SSTS, 0xf, 3);
            g_assert_cmphex(qtest_readl(q, P0 + SERR), ==, 1 << 26);
            g_assert_cmphex(qtest_readl(q, P0 + IS) & 0x40, ==, 0x40);
        }
        restart_port(q, P0);
        RUN(CMD_(0x25, round, 1), { DATA, 512 });
        EXPECT_OK(P0);
        expect_disk(q, DATA, round * 512, 512);
    }
    g_free(qtest_qmp(q, "{'execute': 'system_reset'}"));
    g_free(qtest_wait_event(q, "RESET"));
    start(q);
    RUN(CMD_(0x25, 1, 1), { DATA, 512 });
    EXPECT_OK(P0);
}

static void msi(Qtest *q)
{
    start(q);
    qtest_pci_writel(q, FN, 0x84, MSI);
    qtest_pci_writel(q, FN, 0x88, 0);
    qtest_pci_writew(q, FN, 0x8c, 0x1234);
    qtest_pci_writew(q, FN, 0x82, 1);
    qtest_writel(q, P0 + IE, ~0u);
    RUN(CMD_(0x25, 1, 1), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, MSI), ==, 0x1234);
    g_assert_cmphex(qtest_pci_readw(q, FN, 6) & 8, ==, 0);
    qtest_writel(q, MSI, 0);
    qtest_writel(q, P0 + IS, ~0u);
    qtest_writel(q, BAR + 8, 1);
    g_assert_cmphex(qtest_readl(q, MSI), ==, 0);
}

static void host_errors(Qtest *q)
{
    const Prd prd = { DATA, 1024 };

    start(q);
    RUN(CMD_(0x25, 8, 1), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x4041);
    restart_port(q, P0);
    prepare(q, 2, CMD_(0x60, 8, 2), &prd, 1);
    qtest_writel(q, P0 + SACT, 4);
    qtest_writel(q, P0 + CI, 4);
    wait_reg(q, P0 + IS, 0x40000000, 0x40000000);
    g_assert_cmphex(qtest_readl(q, P0 + TFD) >> 8, ==, 0x40);
    restart_port(q, P0);
    g_assert_cmphex(self_test(q, 2) >> 4, ==, 7);                    /* read failure */
    RUN(CMD_(0xb0, SMART_KEY + SELF_TEST_LOG, 1, 0xd5), { DATA, 512 });
    g_assert_cmphex(qtest_readl(q, DATA + 2 + 5), ==, 8);
    RUN(CMD_(0x25, 10, 1), { DATA, 512 });
    EXPECT_OK(P0);
}

static void stop_and_go(Qtest *q)
{
    const Prd prd = { DATA, 512 };

    start(q);
    for (unsigned i = 0; i < 2; i++) {
        bool ncq = i;

        prepare(q, 3, CMD_(ncq ? 0x61 : 0x35, 8 + i, 1, .flags = WRITES), &prd, 1);
        qtest_writel(q, P0 + SACT, ncq ? 8 : 0);
        qtest_writel(q, P0 + CI, 8);
        g_free(qtest_wait_event(q, "STOP"));
        g_free(qtest_qmp(q, "{'execute': 'cont'}"));
        wait_reg(q, P0 + (ncq ? SACT : CI), 8, 0);
        g_assert_cmphex(qtest_readl(q, P0 + TFD), ==, 0x50);
    }
}

int main(int argc, char **argv)
{
    const char *disk;
    g_autofree char *both = NULL, *trimmed = NULL, *bad = NULL, *stop = NULL;

    g_test_init(&argc, &argv, NULL);
    disk = qtest_temp_disk(SECTORS * 512);
    both = g_strdup_printf("-drive if=none,id=d,format=raw,snapshot=on,file=%s "
                           "-drive if=none,id=c,format=raw,media=cdrom,file=%s "
                           "-device ahci,id=a,addr=4 -device ide-hd,drive=d,bus=a.0 "
                           "-device ide-cd,drive=c,bus=a.2", disk, disk);
    for (unsigned i = 0; i < HOLED_DISKS; i++) {
        holed[i] = qtest_temp_disk(SECTORS * 512);
    }
    trimmed = g_strdup_printf("-drive if=none,id=d,format=raw,discard=unmap,file=%s "
                              "-drive if=none,id=e,format=raw,discard=ignore,file=%s "
                              "-device ahci,id=a,addr=4 -device ide-hd,drive=d,bus=a.0 "
                              "-device ide-hd,drive=e,bus=a.2", holed[0], holed[1]);
    bad = g_strdup_printf("-blockdev driver=blkdebug,node-name=d,image.driver=file,image.filename=%s,"
                          "inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.sector=8 "
                          "-device ahci,id=a,addr=4 -device ide-hd,drive=d,bus=a.0", disk);
    stop = g_strdup_printf("-drive if=none,id=d,driver=blkdebug,image.driver=file,image.filename=%s,"
                           "inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.sector=8,"
                           "inject-error.0.once=on,inject-error.1.event=none,inject-error.1.iotype=write,"
                           "inject-error.1.sector=9,inject-error.1.once=on,werror=stop "
                           "-device ahci,id=a,addr=4 -device ide-hd,drive=d,bus=a.0", disk);

    const QtestCase cases[] = {
        { "registers", both, .run = registers },
        { "identify", both, .run = identify },
        { "pio", both, .run = pio },
        { "dma", both, .run = dma },
        { "trim", trimmed, .run = trim },
        { "queued", both, .run = queued },
        { "queued-error", both, .run = queued_error },
        { "errors", both, .run = errors },
        { "smart", both, .run = smart },
        { "smart-logs", both, .run = smart_logs },
        { "packets", both, .run = packets },
        { "soft-reset", both, .run = soft_reset },
        { "hard-reset", both, .run = hard_reset },
        { "msi", both, .run = msi },
        { "host-errors", bad, .run = host_errors },
        { "stop-and-go", stop, .run = stop_and_go },
    };
    return qtest_run("/ahci", cases, G_N_ELEMENTS(cases));
}
