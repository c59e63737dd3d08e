/* SPDX-License-Identifier: MIT */
/* PIIX3 IDE on its board: a disk by PIO and bus master, a CD by packets, errors, resets. */
#include "tests/qtest/libqtest.h"

#include <string.h>

enum { IDE = 0x09, BM = 0xc000, PRDT = 0x10000, BUFFER = 0x20000, SECTORS = 2048 };

/* clang-format off */
/* Status without error or data: DRDY, DSC.  BSY means that the host is at it. */
#define READY               WAIT_INB(0x3f6, 0x80, 0), INB(0x1f7, 0x50)
#define DATA_READY          WAIT_INB(0x3f6, 0x88, 0x08), INB_MASK(0x1f7, 0xc9, 0x48)
#define FAILED(error)       WAIT_INB(0x3f6, 0x80, 0), INB_MASK(0x1f7, 0x49, 0x41), INB(0x1f1, error)
#define LBA28(cmd, lba, n)                                                                   \
    OUTB(0x1f6, 0xe0 | ((lba) >> 24 & 0xf)), OUTB(0x1f2, n), OUTB(0x1f3, (lba) & 0xff),      \
    OUTB(0x1f4, (lba) >> 8 & 0xff), OUTB(0x1f5, (lba) >> 16 & 0xff), OUTB(0x1f7, cmd)
#define LBA48(cmd, lba, n)                                                                   \
    OUTB(0x1f6, 0xe0), OUTB(0x1f2, (n) >> 8), OUTB(0x1f3, (lba) >> 24 & 0xff), OUTB(0x1f4, 0), \
    OUTB(0x1f5, 0), OUTB(0x1f2, (n) & 0xff), OUTB(0x1f3, (lba) & 0xff),                      \
    OUTB(0x1f4, (lba) >> 8 & 0xff), OUTB(0x1f5, (lba) >> 16 & 0xff), OUTB(0x1f7, cmd)
#define BUS_MASTER          PCI_WRITEL(IDE, 0x20, BM), PCI_WRITEW(IDE, 0x04, 0x0005)
#define PRD(i, addr, len)   WRITEL(PRDT + 8 * (i), addr), WRITEL(PRDT + 8 * (i) + 4, len)
#define LAST                0x80000000u
#define TO_MEMORY           OUTB(BM + 2, 0x06), OUTL(BM + 4, PRDT), OUTB(BM, 0x09)
#define FROM_MEMORY         OUTB(BM + 2, 0x06), OUTL(BM + 4, PRDT), OUTB(BM, 0x01)
#define DMA_DONE            WAIT_INB(BM + 2, 0x05, 0x04), OUTB(BM, 0x00)
/* clang-format on */

static const QtestStep registers[] = {
    OUTB(0x1f6, 0xa0), READY, OUTB(0x1f2, 0x55), INB(0x1f2, 0x55), OUTB(0x1f3, 0xaa), INB(0x1f3, 0xaa),
    INB(0x1f6, 0xa0), OUTB(0x1f6, 0xb0), INB(0x1f7, 0x00),   /* no slave */
    INB(0x177, 0x00), INB(0x376, 0x00),                      /* an empty channel */
};

static const QtestStep nothing[] = { INB(0x1f7, 0), INB(0x1f6, 0), OUTB(0x1f7, 0xec), INB(0x1f7, 0) };

static const QtestStep reset[] = {
    OUTB(0x3f6, 0x04), INB_MASK(0x3f6, 0x80, 0x80), OUTB(0x3f6, 0x00), WAIT_INB(0x3f6, 0x80, 0),
    INB(0x1f1, 0x01), INB(0x1f2, 0x01), INB(0x1f3, 0x01), INB(0x1f4, 0), INB(0x1f5, 0),
    INB(0x1f7, 0x50),
};

static const QtestStep unknown_command[] = {
    OUTB(0x1f6, 0xa0), OUTB(0x1f7, 0xff), LINE(14, 1), FAILED(0x04), LINE(14, 0),
    OUTB(0x1f7, 0xa1), FAILED(0x04),             /* a packet command to a disk */
};

static const QtestStep beyond_the_end[] = {
    LBA28(0x20, SECTORS, 1), FAILED(0x10), LBA28(0x20, SECTORS - 1, 2), FAILED(0x10),
    LBA28(0x20, SECTORS - 1, 1), DATA_READY,
};

/* nIEN holds the line, not the request. */
static const QtestStep interrupt_enable[] = {
    OUTB(0x3f6, 0x02), OUTB(0x1f6, 0xa0), OUTB(0x1f7, 0xe5), LINE(14, 0), OUTB(0x3f6, 0x00),
    LINE(14, 1), READY, LINE(14, 0), INB(0x1f2, 0xff),
};

static uint16_t pattern(unsigned sector, unsigned word)
{
    return (uint8_t)(sector ^ 2 * word) | (uint8_t)(sector ^ (2 * word + 1)) << 8;
}

static void expect_words(Qtest *q, unsigned sector)
{
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmphex(qtest_inw(q, 0x1f0), ==, pattern(sector, i));
    }
}

static void identify(Qtest *q)
{
    static const QtestStep ask[] = { OUTB(0x1f6, 0xa0), OUTB(0x1f7, 0xec), DATA_READY };
    uint16_t id[256];
    char model[41] = "", serial[21] = "";

    qtest_run_steps(q, ask, G_N_ELEMENTS(ask));
    for (unsigned i = 0; i < 256; i++) {
        id[i] = qtest_inw(q, 0x1f0);
    }
    for (unsigned i = 0; i < 20; i++) {
        model[2 * i] = (char)(id[27 + i] >> 8);
        model[2 * i + 1] = (char)id[27 + i];
    }
    for (unsigned i = 0; i < 10; i++) {
        serial[2 * i] = (char)(id[10 + i] >> 8);
        serial[2 * i + 1] = (char)id[10 + i];
    }
    g_assert_cmpstr(g_strstrip(model), ==, "RHEA TEST");
    g_assert_cmpstr(g_strstrip(serial), ==, "42");
    g_assert_cmpuint(id[60] | (unsigned)id[61] << 16, ==, SECTORS);
    g_assert_cmpuint(id[100] | (unsigned)id[101] << 16, ==, SECTORS);
    g_assert_cmpuint(id[1] * id[3] * id[6], <=, SECTORS);
    g_assert_cmphex(qtest_inb(q, 0x1f7), ==, 0x50);
}

static void pio_read(Qtest *q)
{
    static const QtestStep three[] = { LBA28(0x20, 5, 3), DATA_READY };
    static const QtestStep next[] = { DATA_READY };
    static const QtestStep end[] = { READY, INB(0x1f3, 7), INB(0x1f2, 0) };
    static const QtestStep chs[] = { OUTB(0x1f6, 0xa1), OUTB(0x1f2, 1), OUTB(0x1f3, 2), OUTB(0x1f4, 0),
                                     OUTB(0x1f5, 0), OUTB(0x1f7, 0x20), DATA_READY };

    qtest_run_steps(q, three, G_N_ELEMENTS(three));
    expect_words(q, 5);
    qtest_run_steps(q, next, G_N_ELEMENTS(next));
    expect_words(q, 6);
    qtest_run_steps(q, next, G_N_ELEMENTS(next));
    expect_words(q, 7);
    qtest_run_steps(q, end, G_N_ELEMENTS(end));
    /* Head 1, sector 2 of 63 a track. */
    qtest_run_steps(q, chs, G_N_ELEMENTS(chs));
    expect_words(q, 64);
}

static void pio_multiple_48(Qtest *q)
{
    static const QtestStep ask[] = { OUTB(0x1f6, 0xe0), OUTB(0x1f2, 4), OUTB(0x1f7, 0xc6), READY,
                                     LBA48(0x29, 1000, 6), DATA_READY };
    static const QtestStep rest[] = { DATA_READY };
    static const QtestStep end[] = { READY };

    qtest_run_steps(q, ask, G_N_ELEMENTS(ask));
    for (unsigned i = 0; i < 6; i++) {
        if (i == 4) {
            qtest_run_steps(q, rest, G_N_ELEMENTS(rest));
        }
        expect_words(q, 1000 + i);
    }
    qtest_run_steps(q, end, G_N_ELEMENTS(end));
}

static void pio_write(Qtest *q)
{
    static const QtestStep ask[] = { LBA28(0x30, 9, 1), INB_MASK(0x1f7, 0x88, 0x08) };
    static const QtestStep reread[] = { READY, OUTB(0x1f7, 0xe7), READY, LBA28(0x20, 9, 1), DATA_READY };

    qtest_run_steps(q, ask, G_N_ELEMENTS(ask));
    for (unsigned i = 0; i < 256; i++) {
        qtest_outw(q, 0x1f0, (uint16_t)(0xbeef ^ i));
    }
    qtest_run_steps(q, reread, G_N_ELEMENTS(reread));
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmphex(qtest_inw(q, 0x1f0), ==, 0xbeef ^ i);
    }
}

/* werror=stop: a full host disk stops the VM; what failed is repeated when it runs again. */
static void wait_for_stop(Qtest *q)
{
    g_autofree char *event = qtest_wait_event(q, "BLOCK_IO_ERROR");

    g_assert_nonnull(strstr(event, "\"nospace\": true"));
    g_free(qtest_wait_event(q, "STOP"));
    g_assert_cmphex(qtest_inb(q, 0x3f6) & 0x80, ==, 0x80);     /* the drive is busy with it */
    g_free(qtest_qmp(q, "{'execute': 'cont'}"));
}

static void pio_stop_and_go_on(Qtest *q)
{
    static const QtestStep ask[] = { LBA28(0x30, 9, 1), INB_MASK(0x1f7, 0x88, 0x08) };
    static const QtestStep reread[] = { READY, LBA28(0x20, 9, 1), DATA_READY };

    qtest_run_steps(q, ask, G_N_ELEMENTS(ask));
    for (unsigned i = 0; i < 256; i++) {
        qtest_outw(q, 0x1f0, (uint16_t)(0xbeef ^ i));
    }
    wait_for_stop(q);
    qtest_run_steps(q, reread, G_N_ELEMENTS(reread));
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmphex(qtest_inw(q, 0x1f0), ==, 0xbeef ^ i);
    }
}

/* ---- bus master ---- */

static const QtestStep dma_read[] = {
    BUS_MASTER, PRD(0, BUFFER, 512), PRD(1, BUFFER + 0x1000, 512 | LAST), LBA28(0xc8, 3, 2), TO_MEMORY,
    DMA_DONE, INB_MASK(BM + 2, 0x07, 0x04), READY, LINE(14, 0), READB(BUFFER, 3),
    READB(BUFFER + 511, 3 ^ 0xff), READB(BUFFER + 0x1000, 4), READB(BUFFER + 0x11ff, 4 ^ 0xff),
    READB(BUFFER + 512, 0),
};

static const QtestStep dma_write[] = {
    BUS_MASTER, PRD(0, BUFFER, 512 | LAST), WRITEQ(BUFFER, 0x1122334455667788ull),
    WRITEQ(BUFFER + 504, 0x99aabbccddeeff00ull), LBA28(0xca, 30, 1), FROM_MEMORY, DMA_DONE, READY,
    WRITEQ(BUFFER, 0), WRITEQ(BUFFER + 504, 0), LBA48(0x25, 30, 1), TO_MEMORY, DMA_DONE, READY,
    READQ(BUFFER, 0x1122334455667788ull), READQ(BUFFER + 504, 0x99aabbccddeeff00ull),
};

static void dma_stop_and_go_on(Qtest *q)
{
    static const QtestStep ask[] = {
        BUS_MASTER, PRD(0, BUFFER, 512 | LAST), WRITEQ(BUFFER + 504, 0x99aabbccddeeff00ull),
        LBA28(0xca, 30, 1), FROM_MEMORY,
    };
    static const QtestStep reread[] = {
        DMA_DONE, READY, WRITEQ(BUFFER + 504, 0), LBA48(0x25, 30, 1), TO_MEMORY, DMA_DONE, READY,
        READQ(BUFFER + 504, 0x99aabbccddeeff00ull),
    };

    qtest_run_steps(q, ask, G_N_ELEMENTS(ask));
    wait_for_stop(q);
    qtest_run_steps(q, reread, G_N_ELEMENTS(reread));
}

/* The engine first, the drive later: both orders start the transfer. */
static const QtestStep engine_first[] = {
    BUS_MASTER, PRD(0, BUFFER, 512 | LAST), TO_MEMORY, LBA28(0xc8, 8, 1), DMA_DONE, READY,
    READB(BUFFER, 8),
};

static const QtestStep table_too_short[] = {
    BUS_MASTER, PRD(0, BUFFER, 512 | LAST), LBA28(0xc8, 0, 2), TO_MEMORY, WAIT_INB(0x3f6, 0x80, 0),
    INB_MASK(BM + 2, 0x01, 0), READB(BUFFER + 600, 0),
};

/* More memory than data: ACTIVE and INTERRUPT stay, and the table's rest is not touched. */
static const QtestStep table_too_long[] = {
    BUS_MASTER, PRD(0, BUFFER, 2048 | LAST), LBA28(0xc8, 1, 1), TO_MEMORY, WAIT_INB(BM + 2, 0x04, 0x04),
    INB_MASK(BM + 2, 0x03, 0x01), READB(BUFFER, 1), READB(BUFFER + 512, 0), READY,
};

/* The engine stops before the drive is done: nobody waits for ever. */
static const QtestStep stopped_engine[] = {
    BUS_MASTER, PRD(0, BUFFER, 512 | LAST), LBA28(0xc8, 1, 1), OUTB(BM + 2, 0x06), OUTL(BM + 4, PRDT),
    INB_MASK(0x3f6, 0x80, 0), OUTB(BM, 0x09), OUTB(BM, 0x00), INB_MASK(0x3f6, 0x80, 0),
    INB_MASK(BM + 2, 0x01, 0), OUTB(0x3f6, 0x04), OUTB(0x3f6, 0), READY,
    LBA28(0xc8, 2, 1), TO_MEMORY, DMA_DONE, READY, READB(BUFFER, 2),
};

static const QtestStep table_in_no_memory[] = {
    BUS_MASTER, LBA28(0xc8, 1, 1), OUTB(BM + 2, 0x06), OUTL(BM + 4, 0xf0000000), OUTB(BM, 0x09),
    WAIT_INB(0x3f6, 0x80, 0), INB_MASK(BM + 2, 0x01, 0),
};

/* 2500 pieces of 26 bytes and one of 536: more than an iovec list of the host takes. */
static void dma_many_pieces(Qtest *q)
{
    enum { PIECES = 2500, PIECE = 26, LEN = 128 * 512 };
    static const QtestStep run[] = { BUS_MASTER, LBA28(0xc8, 100, 128), TO_MEMORY, DMA_DONE, READY };
    g_autofree uint8_t *table = g_malloc0((PIECES + 1) * 8), *data = g_malloc(LEN);

    for (unsigned i = 0; i <= PIECES; i++) {
        uint32_t addr = GUINT32_TO_LE(0x100000 + PIECE * i);
        uint32_t len = GUINT32_TO_LE(i < PIECES ? PIECE : (LEN - PIECES * PIECE) | LAST);

        memcpy(table + 8 * i, &addr, 4);
        memcpy(table + 8 * i + 4, &len, 4);
    }
    qtest_memwrite(q, PRDT, table, (PIECES + 1) * 8);
    qtest_run_steps(q, run, G_N_ELEMENTS(run));
    qtest_memread(q, 0x100000, data, LEN);
    for (unsigned i = 0; i < LEN; i++) {
        g_assert_cmphex(data[i], ==, (uint8_t)((100 + i / 512) ^ i % 512));
    }
}

/* ---- the CD: second channel ---- */

/* clang-format off */
#define CD_READY            WAIT_INB(0x376, 0x80, 0)
#define PACKET(limit)                                                                        \
    OUTB(0x176, 0xa0), OUTB(0x171, 0), OUTB(0x174, (limit) & 0xff), OUTB(0x175, (limit) >> 8), \
    OUTB(0x177, 0xa0), CD_READY, INB_MASK(0x177, 0x08, 0x08), INB_MASK(0x172, 3, 1)
#define CDB(a, b, c, d, e, f)                                                                \
    OUTW(0x170, a), OUTW(0x170, b), OUTW(0x170, c), OUTW(0x170, d), OUTW(0x170, e), OUTW(0x170, f)
#define CD_DATA(len)                                                                         \
    WAIT_INB(0x376, 0x88, 0x08), INB_MASK(0x172, 3, 2), INB(0x174, (len) & 0xff), INB(0x175, (len) >> 8)
#define CD_OK               CD_READY, INB_MASK(0x177, 0x89, 0), INB_MASK(0x172, 3, 3)
#define CD_FAILED(key)      CD_READY, INB_MASK(0x177, 0x89, 0x01), INB_MASK(0x171, 0xf0, (key) << 4)
/* clang-format on */

static const QtestStep cd_signature[] = {
    OUTB(0x376, 4), OUTB(0x376, 0), CD_READY, INB(0x172, 1), INB(0x173, 1), INB(0x174, 0x14),
    INB(0x175, 0xeb), OUTB(0x177, 0xec), CD_READY, INB_MASK(0x177, 1, 1), INB(0x174, 0x14),
    INB(0x175, 0xeb),
};

/* 512 blocks of 2048. */
static const QtestStep cd_capacity[] = {
    PACKET(0x800), CDB(0x0000, 0, 0, 0, 0, 0), CD_OK, PACKET(0x800), CDB(0x0025, 0, 0, 0, 0, 0),
    CD_DATA(8), INW(0x170, 0x0000), INW(0x170, 0xff01), INW(0x170, 0x0000), INW(0x170, 0x0008), CD_OK,
};

static const QtestStep cd_bad[] = {
    PACKET(0x800), CDB(0x00ff, 0, 0, 0, 0, 0), CD_FAILED(5),             /* unknown */
    PACKET(0x800), CDB(0x0028, 0, 0x0002, 0, 0x0001, 0), CD_FAILED(5),   /* beyond the end */
};

static const QtestStep cd_no_medium[] = {
    PACKET(0x800), CDB(0x0000, 0, 0, 0, 0, 0), CD_FAILED(2),
    PACKET(0x800), CDB(0x0025, 0, 0, 0, 0, 0), CD_FAILED(2),
};

static void cd_read(Qtest *q)
{
    static const QtestStep ask[] = { PACKET(0x800), CDB(0x0028, 0x0000, 0x1000, 0x0000, 0x0001, 0),
                                     CD_DATA(0x800) };
    static const QtestStep end[] = { CD_OK, INB(0x177, 0x50) };

    qtest_run_steps(q, ask, G_N_ELEMENTS(ask));
    for (unsigned i = 0; i < 1024; i++) {
        g_assert_cmphex(qtest_inw(q, 0x170), ==, pattern(64 + i / 256, i % 256));
    }
    qtest_run_steps(q, end, G_N_ELEMENTS(end));
}

static const QtestStep cd_dma[] = {
    BUS_MASTER, PRD(0, BUFFER, 4096 | LAST),
    OUTB(0x176, 0xa0), OUTB(0x171, 1), OUTB(0x177, 0xa0), CD_READY,
    CDB(0x0028, 0x0000, 0x0300, 0x0000, 0x0002, 0), OUTB(BM + 10, 6), OUTL(BM + 12, PRDT),
    OUTB(BM + 8, 9), WAIT_INB(BM + 10, 0x05, 0x04), OUTB(BM + 8, 0), CD_OK, READB(BUFFER, 12),
    READB(BUFFER + 2048 + 3, 16 ^ 3),
};

int main(int argc, char **argv)
{
    const char *disk;
    g_autofree char *hd = NULL;
    g_autofree char *cd = NULL;
    g_autofree char *failing = NULL;

    g_test_init(&argc, &argv, NULL);
    disk = qtest_temp_disk(SECTORS * 512);
    hd = g_strdup_printf("-drive if=none,id=d,format=raw,snapshot=on,file=%s "
                         "-device ide-hd,drive=d,bus=ide.0,serial=42,model=RHEA\\ TEST", disk);
    cd = g_strdup_printf("-drive if=none,id=d,format=raw,media=cdrom,file=%s "
                         "-device ide-cd,drive=d,bus=ide.1", disk);
    failing = g_strdup_printf(
        "-blockdev driver=file,filename=%s,node-name=f "
        "-blockdev driver=blkdebug,image=f,node-name=b,inject-error.0.event=write_aio,"
        "inject-error.0.errno=28,inject-error.0.once=on "
        "-blockdev driver=raw,file=b,node-name=d -device ide-hd,drive=d,bus=ide.0,werror=stop",
        qtest_temp_disk(SECTORS * 512));

    const QtestCase cases[] = {
        { "registers", hd, .steps = QTEST_STEPS(registers) },
        { "no-drive", .steps = QTEST_STEPS(nothing) },
        { "reset", hd, .steps = QTEST_STEPS(reset) },
        { "unknown-command", hd, "ioapic", QTEST_STEPS(unknown_command) },
        { "beyond-the-end", hd, .steps = QTEST_STEPS(beyond_the_end) },
        { "interrupt-enable", hd, "ioapic", QTEST_STEPS(interrupt_enable) },
        { "identify", hd, .run = identify },
        { "pio/read", hd, .run = pio_read },
        { "pio/multiple-48", hd, .run = pio_multiple_48 },
        { "pio/write", hd, .run = pio_write },
        { "pio/stop-and-go-on", failing, .run = pio_stop_and_go_on },
        { "dma/read", hd, "ioapic", QTEST_STEPS(dma_read) },
        { "dma/write", hd, .steps = QTEST_STEPS(dma_write) },
        { "dma/stop-and-go-on", failing, .run = dma_stop_and_go_on },
        { "dma/engine-first", hd, .steps = QTEST_STEPS(engine_first) },
        { "dma/table-too-short", hd, .steps = QTEST_STEPS(table_too_short) },
        { "dma/table-too-long", hd, .steps = QTEST_STEPS(table_too_long) },
        { "dma/stopped-engine", hd, .steps = QTEST_STEPS(stopped_engine) },
        { "dma/table-in-no-memory", hd, .steps = QTEST_STEPS(table_in_no_memory) },
        { "dma/many-pieces", hd, .run = dma_many_pieces },
        { "cd/signature", cd, .steps = QTEST_STEPS(cd_signature) },
        { "cd/capacity", cd, .steps = QTEST_STEPS(cd_capacity) },
        { "cd/bad", cd, .steps = QTEST_STEPS(cd_bad) },
        { "cd/no-medium", "-device ide-cd,bus=ide.1", .steps = QTEST_STEPS(cd_no_medium) },
        { "cd/read", cd, .run = cd_read },
        { "cd/dma", cd, .steps = QTEST_STEPS(cd_dma) },
    };
    return qtest_run("/ide", QTEST_CASES(cases));
}
