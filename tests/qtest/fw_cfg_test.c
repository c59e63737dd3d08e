/* SPDX-License-Identifier: MIT */
/* fw_cfg as firmware reads it: selector and data port, DMA, the items SeaBIOS needs. */
#include "tests/qtest/libqtest.h"

#include <string.h>

enum { DATA = 0x20000 };

/* clang-format off */
#define SELECT(key)         OUTW(0x510, key)
#define NEXT(v)             INB(0x511, v)
/* clang-format on */

static const QtestStep signature[] = {
    SELECT(0x0000), NEXT('Q'), NEXT('E'), NEXT('M'), NEXT('U'), NEXT(0), NEXT(0),
    SELECT(0x0001), NEXT(3), NEXT(0), NEXT(0), NEXT(0),      /* traditional and DMA */
    SELECT(0x1234), NEXT(0),                                 /* no such item */
    OUTB(0x511, 0xff), SELECT(0x0000), NEXT('Q'),            /* not writable */
};

static const QtestStep numbers[] = {
    SELECT(0x0003), NEXT(0), NEXT(0), NEXT(0), NEXT(2), NEXT(0),             /* 32 MiB */
    SELECT(0x0005), NEXT(2), NEXT(0), SELECT(0x000f), NEXT(4), NEXT(0),      /* CPUs, most */
    SELECT(0x000e), NEXT(1), NEXT(0),                                        /* boot menu */
};

static const QtestStep dma_signature[] = { INL(0x514, 0x554d4551), INL(0x518, 0x47464320) };

static void dma_reads(Qtest *q)
{
    qtest_memset(q, DATA, 0xee, 8);
    g_assert_cmphex(qtest_fw_cfg_dma(q, 0x0000000a, 6, DATA), ==, 0);                 /* select 0 and read */
    g_assert_cmphex(qtest_readq(q, DATA), ==, 0xeeee0000554d4551);
    qtest_fw_cfg_dma(q, 0x0001000a, 2, DATA);
    qtest_fw_cfg_dma(q, 0x00000004, 1, 0);                    /* skip */
    qtest_fw_cfg_dma(q, 0x00000002, 1, DATA);
    g_assert_cmphex(qtest_readl(q, DATA), ==, 0x554d0000);
    g_assert_cmphex(qtest_fw_cfg_dma(q, 0x0000001a, 4, DATA), ==, 0);                 /* read wins over write */
    g_assert_cmphex(qtest_fw_cfg_dma(q, 0x00000018, 4, DATA), ==, 1);                 /* a read-only item is written */
}

/* 4 GiB of zeroes behind four bytes: no memory there, an error and no long wait. */
static void dma_insane_length(Qtest *q)
{
    g_assert_cmphex(qtest_fw_cfg_dma(q, 0x0000000a, 0xffffffff, DATA), ==, 1);
    g_assert_cmphex(qtest_readl(q, DATA), ==, 0x554d4551);
    g_assert_cmphex(qtest_fw_cfg_dma(q, 0x0000000a, 4, 0xfffffffffffffffeull), ==, 1);
}

/* Longer than one turn: the first part is there at once, the rest after some turns, zeroes last. */
static void dma_long(Qtest *q)
{
    qtest_memset(q, 0x100000, 0xee, 0x1000);
    qtest_memset(q, 0x100000 + 0x800000, 0xee, 0x1000);
    g_assert_cmphex(qtest_fw_cfg_dma(q, 0x0000000a, 0x800001, 0x100000), ==, 0);
    g_assert_cmphex(qtest_readq(q, 0x100000), ==, 0x554d4551);
    g_assert_cmphex(qtest_readl(q, 0x900000), ==, 0xeeeeee00);
}

static void files(Qtest *q)
{
    static const struct {
        const char *name;
        uint32_t least;
    } rows[] = {
        { "etc/e820", 20 }, { "etc/acpi/rsdp", 20 }, { "etc/acpi/tables", 1000 },
        { "etc/table-loader", 128 }, { "etc/smbios/smbios-tables", 200 },
        { "etc/smbios/smbios-anchor", 24 }, { "etc/system-states", 6 }, { "etc/boot-fail-wait", 4 },
        { "bootorder", 1 }, { "opt/com.example/text", 5 },
    };
    uint32_t size = 0;
    unsigned key;
    char text[6] = "";

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        key = qtest_fw_cfg_find(q, rows[i].name, &size);
        if (!key || size < rows[i].least) {
            g_error("fw_cfg file '%s' has key 0x%x and %u bytes", rows[i].name, key, size);
        }
    }
    g_assert_cmpuint(size, ==, 5);
    qtest_fw_cfg_dma(q, (uint32_t)key << 16 | 0xa, size, DATA);
    qtest_memread(q, DATA, text, size);
    g_assert_cmpstr(text, ==, "hello");
}

/* 128 MiB below the hole, then 512 MiB from 4 GiB. */
static void memory_map(Qtest *q)
{
    uint32_t size = 0;
    unsigned key = qtest_fw_cfg_find(q, "etc/e820", &size);

    g_assert_cmpuint(size, >=, 40);
    qtest_fw_cfg_dma(q, (uint32_t)key << 16 | 0xa, size, DATA);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t base = qtest_readq(q, DATA + 20 * i), len = qtest_readq(q, DATA + 20 * i + 8);

        g_assert_cmphex(base, ==, i ? 0x100000000ull : 0);
        g_assert_cmphex(len, ==, i ? 0x20000000ull : 0xc0000000ull);
        g_assert_cmphex(qtest_readl(q, DATA + 20 * i + 16), ==, 1);
    }
}

static const QtestCase cases[] = {
    { "signature", .steps = QTEST_STEPS(signature) },
    { "numbers", "-smp 2,maxcpus=4 -boot menu=on", .steps = QTEST_STEPS(numbers) },
    { "dma/signature", .steps = QTEST_STEPS(dma_signature) },
    { "dma/reads", .run = dma_reads },
    { "dma/insane-length", .run = dma_insane_length },
    { "dma/long", .run = dma_long },
    { "files", "-boot strict=on -fw_cfg name=opt/com.example/text,string=hello", .run = files },
    { "e820", "-m 3584", .run = memory_map },
};

int main(int argc, char **argv)
{
    return qtest_main(argc, argv, "/fw_cfg", QTEST_CASES(cases));
}
