/* SPDX-License-Identifier: MIT */
/*
 * The LSI53C895A on its board: scripts that select a target, send a command and move its data, the
 * interrupts that end them, scripts that never end, and instructions that are none.
 */
#include "tests/qtest/libqtest.h"

#include <string.h>

enum { FN = 0x20, IO = 0xc000, BLOCKS = 2048 };
enum { SCRIPT = 0x100000, MESSAGE = 0x101000, COMMAND = 0x101010, STATUS = 0x101020, ANSWER = 0x101030,
       DATA = 0x110000 };
/* Registers. */
enum { SCNTL1 = 0x01, SCID = 0x04, DSTAT = 0x0c, ISTAT0 = 0x14, DSP = 0x2c, DSPS = 0x30, SIEN0 = 0x40,
       SIST0 = 0x42, SIST1 = 0x43 };
enum { SIP = 2, DIP = 1, SRST = 0x40, ABRT = 0x80 };
enum { DSTAT_IID = 0x01, DSTAT_SIR = 0x04, DSTAT_ABRT = 0x10 };
enum { MA = 0x80, STO = 0x04 };
enum { DONE = 0x600d };

/* The windows and no more. */
static void enable(Qtest *q)
{
    qtest_pci_writel(q, FN, 0x10, IO);
    qtest_pci_writel(q, FN, 0x14, 0xfe000000);
    qtest_pci_writel(q, FN, 0x18, 0xfe002000);
    qtest_pci_writew(q, FN, 0x04, 7);
    qtest_outb(q, IO + SIEN0, 0xff);
    qtest_outb(q, IO + SIEN0 + 1, 0xff);
    qtest_outb(q, IO + 0x39, 0x7f);
}

static void put(Qtest *q, unsigned i, uint32_t first, uint32_t second)
{
    qtest_writel(q, SCRIPT + 8 * i, first);
    qtest_writel(q, SCRIPT + 8 * i + 4, second);
}

static uint8_t wait_interrupt(Qtest *q)
{
    uint8_t istat = 0;

    for (unsigned i = 0; !(istat & (SIP | DIP)); i++) {
        g_assert_cmpuint(i, <, 1000000);
        istat = qtest_inb(q, IO + ISTAT0);
    }
    return istat;
}

static void run(Qtest *q)
{
    qtest_outl(q, IO + DSP, SCRIPT);
}

/* All of a command in one connection: PHASE 0 moves LEN bytes out, 1 in. */
static void put_command(Qtest *q, unsigned id, const uint8_t *cdb, unsigned cdb_len, unsigned phase,
                        uint32_t len)
{
    unsigned n = 0;

    qtest_memwrite(q, COMMAND, cdb, cdb_len);
    qtest_writeb(q, MESSAGE, 0x80);                            /* IDENTIFY, stay connected */
    qtest_writeb(q, STATUS, 0xee);
    qtest_writeb(q, ANSWER, 0xee);
    put(q, n++, 0x41000000 | id << 16, SCRIPT + 0x100);        /* SELECT WITH ATN */
    put(q, n++, 0x0e000001, MESSAGE);
    put(q, n++, 0x0a000000 | cdb_len, COMMAND);
    if (len) {
        put(q, n++, 0x08000000 | phase << 24 | len, DATA);
    }
    put(q, n++, 0x0b000001, STATUS);
    put(q, n++, 0x0f000001, ANSWER);
    put(q, n++, 0x60000040, 0);                                /* CLEAR ACK */
    put(q, n++, 0x48000000, 0);                                /* WAIT DISCONNECT */
    put(q, n++, 0x98080000, DONE);                             /* INT */
}

static uint8_t command(Qtest *q, unsigned id, const uint8_t *cdb, unsigned cdb_len, unsigned phase,
                       uint32_t len)
{
    put_command(q, id, cdb, cdb_len, phase, len);
    run(q);
    g_assert_cmphex(wait_interrupt(q), ==, DIP);
    g_assert_cmphex(qtest_inl(q, IO + DSPS), ==, DONE);
    g_assert_cmphex(qtest_inb(q, IO + DSTAT) & 0x7f, ==, DSTAT_SIR);
    g_assert_cmphex(qtest_inb(q, IO + ISTAT0) & (SIP | DIP), ==, 0);
    g_assert_cmphex(qtest_readb(q, ANSWER), ==, 0);            /* COMMAND COMPLETE */
    return qtest_readb(q, STATUS);
}

static void settle(Qtest *q)
{
    g_assert_cmphex(command(q, 2, (const uint8_t[6]){ 0 }, 6, 0, 0), ==, 2);
    g_assert_cmphex(command(q, 2, (const uint8_t[6]){ 0 }, 6, 0, 0), ==, 0);
}

static void assert_sector(Qtest *q, uint64_t addr, unsigned sector)
{
    uint8_t data[512];

    qtest_memread(q, addr, data, sizeof(data));
    for (unsigned i = 0; i < sizeof(data); i++) {
        g_assert_cmphex(data[i], ==, (uint8_t)(sector ^ i));
    }
}

static void commands(Qtest *q)
{
    uint8_t data[16];

    enable(q);
    settle(q);
    g_assert_cmphex(command(q, 2, (const uint8_t[6]){ 0x12, [4] = 36 }, 6, 1, 36), ==, 0);
    qtest_memread(q, DATA + 8, data, 8);
    g_assert_cmpmem(data, 8, "QEMU    ", 8);
    g_assert_cmphex(command(q, 2, (const uint8_t[10]){ 0x28, [5] = 5, [8] = 3 }, 10, 1, 1536), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_sector(q, DATA + 512 * i, 5 + i);
    }
    qtest_memset(q, DATA, 0x5a, 512);
    g_assert_cmphex(command(q, 2, (const uint8_t[10]){ 0x2a, [5] = 9, [8] = 1 }, 10, 0, 512), ==, 0);
    g_assert_cmphex(command(q, 2, (const uint8_t[10]){ 0x28, [5] = 9, [8] = 2 }, 10, 1, 1024), ==, 0);
    g_assert_cmphex(qtest_readb(q, DATA + 511), ==, 0x5a);
    assert_sector(q, DATA + 512, 10);
    /* A CHECK CONDITION, and what it was. */
    g_assert_cmphex(command(q, 2, (const uint8_t[10]){ 0xc1 }, 6, 0, 0), ==, 2);
    g_assert_cmphex(command(q, 2, (const uint8_t[6]){ 0x03, [4] = 18 }, 6, 1, 18), ==, 0);
    g_assert_cmphex(qtest_readb(q, DATA + 12), ==, 0x20);
}

/* Nobody is there: a timeout of the selection. */
static void no_target(Qtest *q)
{
    enable(q);
    put_command(q, 5, (const uint8_t[6]){ 0 }, 6, 0, 0);
    run(q);
    g_assert_cmphex(wait_interrupt(q), ==, SIP);
    g_assert_cmphex(qtest_inb(q, IO + SIST0), ==, 0);
    g_assert_cmphex(qtest_inb(q, IO + SIST1), ==, STO);
}

/* The script wants more data than there are. */
static void phase_mismatch(Qtest *q)
{
    enable(q);
    settle(q);
    put_command(q, 2, (const uint8_t[10]){ 0x28, [5] = 5, [8] = 1 }, 10, 1, 1024);
    run(q);
    g_assert_cmphex(wait_interrupt(q) & SIP, ==, SIP);
    g_assert_cmphex(qtest_inb(q, IO + SIST0), ==, MA);
    g_assert_cmphex(qtest_inl(q, IO + 0x24) & 0xffffff, ==, 512);   /* DBC: what is left */
    assert_sector(q, DATA, 5);
    qtest_outb(q, IO + SCNTL1, 8);                             /* the bus is reset ... */
    qtest_outb(q, IO + SCNTL1, 0);
    qtest_inb(q, IO + SIST0);
    qtest_inb(q, IO + DSTAT);
    g_assert_cmphex(command(q, 2, (const uint8_t[6]){ 0 }, 6, 0, 0), ==, 2);   /* ... and it tells */
    g_assert_cmphex(command(q, 2, (const uint8_t[6]){ 0 }, 6, 0, 0), ==, 0);
}

/* A jump to itself: the processor, and whoever else waits for it, go on; ABRT ends it. */
static void endless(Qtest *q)
{
    enable(q);
    put(q, 0, 0x80080000, SCRIPT);
    run(q);
    for (unsigned i = 0; i < 5; i++) {
        qtest_clock_step(q, 1000000);
        g_assert_cmphex(qtest_inb(q, IO + ISTAT0) & (SIP | DIP), ==, 0);
    }
    qtest_outb(q, IO + ISTAT0, ABRT);
    g_assert_cmphex(qtest_inb(q, IO + ISTAT0) & DIP, ==, DIP);
    qtest_outb(q, IO + ISTAT0, 0);
    g_assert_cmphex(qtest_inb(q, IO + DSTAT) & DSTAT_ABRT, ==, DSTAT_ABRT);
    settle(q);
}

static void copies(Qtest *q)
{
    enable(q);
    qtest_memset(q, DATA, 0x77, 64);
    put(q, 0, 0xc0000040, DATA);                               /* MEMORY MOVE takes three words */
    qtest_writel(q, SCRIPT + 8, DATA + 0x1000);
    qtest_writel(q, SCRIPT + 12, 0x98080000);
    qtest_writel(q, SCRIPT + 16, DONE);
    run(q);
    g_assert_cmphex(wait_interrupt(q), ==, DIP);
    g_assert_cmphex(qtest_inl(q, IO + DSPS), ==, DONE);
    g_assert_cmphex(qtest_readb(q, DATA + 0x1000 + 63), ==, 0x77);
    g_assert_cmphex(qtest_readb(q, DATA + 0x1000 + 64), ==, 0);
}

static void illegal(Qtest *q)
{
    enable(q);
    put(q, 0, 0xb8080000, 0);                                  /* a transfer control that is reserved */
    run(q);
    g_assert_cmphex(wait_interrupt(q), ==, DIP);
    g_assert_cmphex(qtest_inb(q, IO + DSTAT) & DSTAT_IID, ==, DSTAT_IID);
    qtest_outb(q, IO + ISTAT0, SRST);                          /* a chip reset cures everything */
    qtest_outb(q, IO + ISTAT0, 0);
    enable(q);
    settle(q);
}

int main(int argc, char **argv)
{
    g_autofree char *args = NULL;

    g_test_init(&argc, &argv, NULL);
    args = g_strdup_printf("-device lsi53c895a,id=s,addr=4 -drive if=none,id=d,format=raw,file=%s,snapshot=on "
                           "-device scsi-hd,id=hd,drive=d,bus=s.0,scsi-id=2", qtest_temp_disk(BLOCKS * 512));
    const QtestCase cases[] = {
        { "commands", .args = args, .run = commands },
        { "no-target", .args = args, .run = no_target },
        { "phase-mismatch", .args = args, .run = phase_mismatch },
        { "endless", .args = args, .run = endless },
        { "copies", .args = args, .run = copies },
        { "illegal", .args = args, .run = illegal },
    };
    return qtest_run("/lsi53c895a", QTEST_CASES(cases));
}
