/* SPDX-License-Identifier: MIT */
/* The floppy controller and, behind it, the 8237: commands of the 82078 data sheet. */
#include "tests/qtest/libqtest.h"

enum { DISK_LEN = 1440 * 1024, BUFFER = 0x20000 };

/* clang-format off */
#define DOR                 0x3f2
#define MSR                 0x3f4
#define PUT(v)              INB_MASK(MSR, 0xc0, 0x80), OUTB(0x3f5, v)
#define GET(v)              WAIT_INB(MSR, 0xc0, 0xc0), INB(0x3f5, v)
#define GET_ANY             WAIT_INB(MSR, 0xc0, 0xc0), INB_ANY(0x3f5)
#define IDLE                INB(MSR, 0x80)
#define SENSE(st0, track)   PUT(0x08), GET(st0), GET(track)
/* Motor of drive 0 on, DMA and interrupts on; the reset's four interrupts are taken. */
#define START                                                                                \
    OUTB(DOR, 0x00), OUTB(DOR, 0x1c), SENSE(0xc0, 0), SENSE(0xc1, 0), SENSE(0xc2, 0),        \
    SENSE(0xc3, 0), OUTB(0x3f7, 0x00)
/* Channel 2: MODE and LEN bytes at BUFFER. */
#define DMA(mode, len)                                                                       \
    OUTB(0x0a, 0x06), OUTB(0x0c, 0), OUTB(0x0b, mode), OUTB(0x04, 0), OUTB(0x04, 0),         \
    OUTB(0x81, BUFFER >> 16), OUTB(0x05, ((len) - 1) & 0xff), OUTB(0x05, ((len) - 1) >> 8),  \
    OUTB(0x0a, 0x02)
#define TRANSFER(cmd, c, h, r, last)                                                         \
    PUT(cmd), PUT((h) << 2), PUT(c), PUT(h), PUT(r), PUT(2), PUT(last), PUT(0x1b), PUT(0xff)
#define RESULT(st0, st1, st2, c, h, r)                                                       \
    GET(st0), GET(st1), GET(st2), GET(c), GET(h), GET(r), GET(2), IDLE
/* clang-format on */

static const QtestStep identity[] = {
    START, PUT(0x10), GET(0x90), PUT(0x18), GET(0x41), PUT(0x1f), GET(0x80),
    PUT(0x13), PUT(0x00), PUT(0x57), PUT(0x00), PUT(0x0e), GET(0), GET(0), GET(0), GET(0), GET_ANY,
    GET_ANY, GET_ANY, GET_ANY, GET(0x57), GET(0x00), IDLE,
    PUT(0x94), GET(0x10), PUT(0x14), GET(0x00),
};

static const QtestStep seek[] = {
    START, PUT(0x0f), PUT(0x00), PUT(20), LINE(6, 1), SENSE(0x20, 20), LINE(6, 0),
    PUT(0x04), PUT(0x00), GET(0x28), PUT(0x07), PUT(0x00), SENSE(0x20, 0), PUT(0x04), PUT(0x00),
    GET(0x38),
};

/* A disk just put in shows at the change line until the head moves. */
static const QtestStep change_line[] = {
    START, INB_MASK(0x3f7, 0x80, 0x80), PUT(0x0f), PUT(0x00), PUT(1), INB_MASK(0x3f7, 0x80, 0),
    OUTB(DOR, 0x0c), INB_MASK(0x3f7, 0x80, 0),
};

static const QtestStep read_by_dma[] = {
    START, DMA(0x46, 1024), TRANSFER(0xe6, 0, 0, 2, 18), WAIT_INB(MSR, 0xd0, 0xd0),
    LINE(6, 1), RESULT(0x00, 0, 0, 0, 0, 4), LINE(6, 0),
    READB(BUFFER, 1), READB(BUFFER + 1, 1 ^ 1), READB(BUFFER + 512 + 7, 2 ^ 7),
    INB_MASK(0x08, 0x04, 0x04),                  /* terminal count of channel 2 */
};

/* From the last sector of side 0 to side 1: multi-track. */
static const QtestStep read_across_sides[] = {
    START, DMA(0x46, 1024), TRANSFER(0xe6, 0, 0, 18, 18), WAIT_INB(MSR, 0xd0, 0xd0),
    RESULT(0x04, 0, 0, 0, 1, 2), READB(BUFFER, 17), READB(BUFFER + 512, 18),
};

static const QtestStep write_by_dma[] = {
    WRITEQ(BUFFER, 0x1122334455667788ull), WRITEQ(BUFFER + 504, 0x99aabbccddeeff00ull), START,
    PUT(0x0f), PUT(0x00), PUT(2), SENSE(0x20, 2),
    DMA(0x4a, 512), TRANSFER(0xc5, 2, 0, 3, 18), WAIT_INB(MSR, 0xd0, 0xd0),
    RESULT(0x00, 0, 0, 2, 0, 4),
    WRITEQ(BUFFER, 0), WRITEQ(BUFFER + 504, 0),
    DMA(0x46, 512), TRANSFER(0xe6, 2, 0, 3, 18), WAIT_INB(MSR, 0xd0, 0xd0),
    RESULT(0x00, 0, 0, 2, 0, 4),
    READQ(BUFFER, 0x1122334455667788ull), READQ(BUFFER + 504, 0x99aabbccddeeff00ull),
};

static const QtestStep read_only[] = {
    START, PUT(0x04), PUT(0x00), GET(0x78), DMA(0x4a, 512), TRANSFER(0xc5, 0, 0, 1, 18),
    RESULT(0x40, 0x02, 0, 0, 0, 1),
};

/* The head is elsewhere; a sector that no track has; the wrong data rate. */
static const QtestStep not_found[] = {
    START, DMA(0x46, 512), TRANSFER(0xe6, 5, 0, 1, 18), RESULT(0x40, 0x04, 0, 0, 0, 1),
    TRANSFER(0xe6, 0, 0, 19, 19), RESULT(0x40, 0x04, 0, 0, 0, 19),
    OUTB(0x3f7, 0x02), TRANSFER(0xe6, 0, 0, 1, 18), RESULT(0x40, 0x01, 0, 0, 0, 1),
};

static const QtestStep no_disk[] = {
    START, INB_MASK(0x3f7, 0x80, 0x80), DMA(0x46, 512), TRANSFER(0xe6, 0, 0, 1, 18),
    RESULT(0x40, 0x01, 0, 0, 0, 1),
};

/* READ ID takes a turn of the disk. */
static const QtestStep read_id[] = {
    START, PUT(0x4a), PUT(0x00), INB_MASK(MSR, 0x80, 0), STEP(20000000), GET(0x00), GET(0), GET(0),
    GET(0), GET(0), GET(2), GET(2), IDLE,
};

/* Without DMA the host moves each byte, with an interrupt a sector. */
static void programmed_transfer(Qtest *q)
{
    static const QtestStep begin[] = { START, OUTB(DOR, 0x14), TRANSFER(0x46, 0, 0, 1, 1),
                                       WAIT_INB(MSR, 0xf0, 0xf0) };
    static const QtestStep end[] = { WAIT_INB(MSR, 0xf0, 0xd0), GET_ANY, GET_ANY };

    qtest_run_steps(q, begin, G_N_ELEMENTS(begin));
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(qtest_inb(q, 0x3f5), ==, i & 0xff);
    }
    qtest_run_steps(q, end, G_N_ELEMENTS(end));
}

static const QtestStep dma_registers[] = {
    OUTB(0x0d, 0), OUTB(0x0c, 0), OUTB(0x02, 0x34), OUTB(0x02, 0x12), OUTB(0x03, 0x78),
    OUTB(0x03, 0x56), OUTB(0x0c, 0), INB(0x02, 0x34), INB(0x02, 0x12), INB(0x03, 0x78),
    INB(0x03, 0x56),
    OUTB(0xd8, 0), OUTB(0xc4, 0xcd), OUTB(0xc4, 0xab), OUTB(0xd8, 0), INB(0xc4, 0xcd),
    INB(0xc4, 0xab),
    OUTB(0x83, 0x12), INB(0x83, 0x12), OUTB(0x87, 0x9a), INB(0x87, 0x9a), OUTB(0x8b, 0x55),
    INB(0x8b, 0x55),
    INB(0x08, 0x00), OUTB(0x09, 0x05), INB_MASK(0x08, 0x20, 0x20), OUTB(0x09, 0x01),
    INB_MASK(0x08, 0x20, 0x00),
};

int main(int argc, char **argv)
{
    const char *disk;
    g_autofree char *rw = NULL;
    g_autofree char *ro = NULL;

    g_test_init(&argc, &argv, NULL);
    disk = qtest_temp_disk(DISK_LEN);
    rw = g_strdup_printf("-drive if=floppy,format=raw,snapshot=on,file=%s", disk);
    ro = g_strdup_printf("-drive if=floppy,format=raw,readonly=on,file=%s", disk);

    const QtestCase cases[] = {
        { "dma-registers", .steps = QTEST_STEPS(dma_registers) },
        { "identity", .steps = QTEST_STEPS(identity) },
        { "seek", rw, "ioapic", QTEST_STEPS(seek) },
        { "change-line", rw, .steps = QTEST_STEPS(change_line) },
        { "read", rw, "ioapic", QTEST_STEPS(read_by_dma) },
        { "read-across-sides", rw, .steps = QTEST_STEPS(read_across_sides) },
        { "write", rw, .steps = QTEST_STEPS(write_by_dma) },
        { "read-only", ro, .steps = QTEST_STEPS(read_only) },
        { "not-found", rw, .steps = QTEST_STEPS(not_found) },
        { "no-disk", "-drive if=floppy", .steps = QTEST_STEPS(no_disk) },
        { "read-id", rw, .steps = QTEST_STEPS(read_id) },
        { "programmed-transfer", rw, .run = programmed_transfer },
    };
    return qtest_run("/fdc", QTEST_CASES(cases));
}
