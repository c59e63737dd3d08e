/* SPDX-License-Identifier: MIT */
/* The standard VGA card on its board: registers, memory modes of the legacy window, dispi, EDID. */
#include "tests/qtest/libqtest.h"

enum { VGA = 0x10, LFB = 0xe0000000, MMIO = 0xfebf0000, A000 = 0xa0000, B800 = 0xb8000 };

/* clang-format off */
#define WINDOWS             PCI_WRITEL(VGA, 0x10, LFB), PCI_WRITEL(VGA, 0x18, MMIO),                 \
                            PCI_WRITEW(VGA, 0x04, 0x0003)
#define COLOR               OUTB(0x3c2, 0x67)
#define SEQ(i, v)           OUTW(0x3c4, (i) | (v) << 8)
#define GFX(i, v)           OUTW(0x3ce, (i) | (v) << 8)
#define CRTC(i, v)          OUTW(0x3d4, (i) | (v) << 8)
#define DISPI(i, v)         OUTW(0x1ce, i), OUTW(0x1cf, v)
#define DISPI_READ(i, v)    OUTW(0x1ce, i), INW(0x1cf, v)
/* Planar 64 KiB at a0000, all planes written, plane P read. */
#define PLANAR              COLOR, SEQ(4, 0x06), SEQ(2, 0x0f), GFX(6, 0x05), GFX(5, 0x00), GFX(8, 0xff), \
                            GFX(1, 0), GFX(3, 0)
#define READ_PLANE(p)       GFX(4, p)
/* clang-format on */

static const QtestStep indexed[] = {
    WINDOWS, COLOR, INB(0x3cc, 0x67), SEQ(2, 0xff), OUTB(0x3c4, 2), INB(0x3c5, 0x0f), GFX(5, 0xff),
    OUTB(0x3ce, 5), INB(0x3cf, 0x7b), CRTC(0x0e, 0x12), OUTB(0x3d4, 0x0e), INB(0x3d5, 0x12),
    INB(0x3b4, 0xff), OUTB(0x3c2, 0x66), INB(0x3d4, 0xff), INB(0x3b4, 0x0e), INB(0x3b5, 0x12),
};

/* CR11 bit 7 locks CR0-7, but for bit 4 of CR7. */
static const QtestStep crtc_lock[] = {
    WINDOWS, COLOR, CRTC(0x11, 0x00), CRTC(0x01, 0x4f), CRTC(0x07, 0x1f), CRTC(0x11, 0x80),
    CRTC(0x01, 0x00), CRTC(0x07, 0x00), OUTB(0x3d4, 1), INB(0x3d5, 0x4f), OUTB(0x3d4, 7),
    INB(0x3d5, 0x0f), CRTC(0x13, 0x28), OUTB(0x3d4, 0x13), INB(0x3d5, 0x28),
};

static const QtestStep attributes[] = {
    WINDOWS, COLOR, INB_ANY(0x3da), OUTB(0x3c0, 0x10), OUTB(0x3c0, 0x0c), INB_ANY(0x3da),
    OUTB(0x3c0, 0x30), INB(0x3c1, 0x0c), INB_ANY(0x3da), INB(0x3c0, 0x30),
};

static const QtestStep palette[] = {
    WINDOWS, COLOR, OUTB(0x3c8, 5), OUTB(0x3c9, 1), OUTB(0x3c9, 2), OUTB(0x3c9, 3), OUTB(0x3c9, 4),
    OUTB(0x3c9, 5), OUTB(0x3c9, 6), OUTB(0x3c7, 5), INB(0x3c7, 3), INB(0x3c9, 1), INB(0x3c9, 2),
    INB(0x3c9, 3), INB(0x3c9, 4), INB(0x3c8, 7),
};

static const QtestStep planes[] = {
    WINDOWS, PLANAR, WRITEB(A000, 0xa5), READ_PLANE(0), READB(A000, 0xa5), READ_PLANE(3),
    READB(A000, 0xa5), SEQ(2, 0x02), WRITEB(A000, 0x3c), READ_PLANE(1), READB(A000, 0x3c),
    READ_PLANE(0), READB(A000, 0xa5), READL(LFB, 0xa5a53ca5),
};

/* Set/reset, rotate, logic with the latches, bit mask, then write modes 1, 2 and 3. */
static const QtestStep write_modes[] = {
    WINDOWS, PLANAR, WRITEB(A000, 0x00),
    GFX(0, 0x05), GFX(1, 0x0f), WRITEB(A000, 0x00), READL(LFB, 0x00ff00ff), GFX(1, 0),
    GFX(3, 0x04), WRITEB(A000, 0x0f), READL(LFB, 0xf0f0f0f0), GFX(3, 0),
    GFX(8, 0x0f), READB(A000, 0xf0), WRITEB(A000, 0x55), READL(LFB, 0xf5f5f5f5), GFX(8, 0xff),
    READB(A000, 0xf5), GFX(3, 0x18), WRITEB(A000, 0xff), READL(LFB, 0x0a0a0a0a), GFX(3, 0),
    READB(A000, 0x0a), GFX(5, 1), WRITEB(A000 + 8, 0x77), READL(LFB + 32, 0x0a0a0a0a),
    GFX(5, 2), WRITEB(A000, 0x09), READL(LFB, 0xff0000ff),
    GFX(5, 3), READB(A000, 0xff), GFX(0, 0x06), WRITEB(A000, 0xf0), READL(LFB, 0x0ff0f00f),
};

static const QtestStep read_mode_1[] = {
    WINDOWS, PLANAR, WRITEL(LFB, 0x00ff0f33), GFX(5, 0x08), GFX(2, 0x03), GFX(7, 0x0f),
    READB(A000, 0x00), GFX(7, 0x03), READB(A000, 0x03), GFX(7, 0x00), READB(A000, 0xff),
};

/* Text: even addresses are plane 0, odd ones plane 1. */
static const QtestStep odd_even[] = {
    WINDOWS, COLOR, SEQ(4, 0x02), SEQ(2, 0x03), GFX(5, 0x10), GFX(6, 0x0e), GFX(8, 0xff), GFX(1, 0),
    GFX(3, 0), GFX(4, 0), WRITEW(B800, 0x0741), READW(B800, 0x0741), READL_MASK(LFB, 0xffff, 0x0741),
    WRITEB(A000, 0x55), READB(A000, 0xff),       /* outside the window */
};

static const QtestStep chain_4[] = {
    WINDOWS, COLOR, SEQ(4, 0x0e), SEQ(2, 0x0f), GFX(5, 0x40), GFX(6, 0x05), GFX(8, 0xff), GFX(1, 0),
    GFX(3, 0), WRITEL(A000 + 0x1234, 0x11223344), READL(LFB + 0x1234, 0x11223344),
    WRITEQ(A000 + 0xfff8, 0x8877665544332211ull), READQ(LFB + 0xfff8, 0x8877665544332211ull),
    SEQ(2, 0x05), WRITEL(A000 + 0x1234, 0), READL(A000 + 0x1234, 0x11003300),
};

static const QtestStep dispi_identity[] = {
    WINDOWS, DISPI_READ(0, 0xb0c5), DISPI(0, 0xb0c0), DISPI_READ(0, 0xb0c0), DISPI(0, 0xffff),
    DISPI_READ(0, 0xb0c0), DISPI_READ(10, 0x100),            /* 16 MiB in 64 KiB */
    DISPI(4, 0x02), DISPI_READ(1, 16000), DISPI_READ(2, 12000), DISPI_READ(3, 32),
};

static const QtestStep dispi_mode[] = {
    WINDOWS, WRITEL(LFB, 0xffffffff), DISPI(1, 1024), DISPI(2, 768), DISPI(3, 32), DISPI(4, 0x41),
    READL(LFB, 0), DISPI_READ(1, 1024), DISPI_READ(6, 1024), DISPI_READ(7, 4096),
    DISPI(9, 100), DISPI_READ(9, 100), DISPI(9, 0xffff), DISPI_READ(9, 0),   /* outside memory */
    DISPI(4, 0), WRITEL(LFB, 0x12345678), DISPI(4, 0xc1), READL(LFB, 0x12345678),
    DISPI(5, 1), WRITEB(A000, 0x5a), READB(LFB + 0x10000, 0x5a),             /* bank */
};

static const QtestStep mmio[] = {
    WINDOWS, READW(MMIO + 0x500, 0xb0c5), WRITEW(MMIO + 0x502, 640), READW(MMIO + 0x502, 640),
    DISPI_READ(1, 640), WRITEB(MMIO + 0x402, 0x67), INB(0x3cc, 0x67), READB(MMIO + 0x40c, 0x67),
    READL(MMIO + 0x600, 8), READL(MMIO + 0x604, 0x1e1e1e1e), WRITEL(MMIO + 0x604, 0xbebebebe),
    READL(MMIO + 0x604, 0xbebebebe), READL(MMIO + 0x200, 0xffffffff),
};

/* E-EDID: header, both checksums, the preferred mode. */
static void edid(Qtest *q)
{
    static const QtestStep windows[] = { WINDOWS, READQ(MMIO, 0x00ffffffffffff00ull) };
    uint8_t block[256];
    unsigned width, height;

    qtest_run_steps(q, windows, G_N_ELEMENTS(windows));
    for (unsigned i = 0; i < 256; i++) {
        block[i] = qtest_readb(q, MMIO + i);
    }
    for (unsigned b = 0; b < 1u + block[126]; b++) {
        uint8_t sum = 0;

        for (unsigned i = 0; i < 128; i++) {
            sum += block[128 * b + i];
        }
        g_assert_cmphex(sum, ==, 0);
    }
    width = block[54 + 2] | (block[54 + 4] >> 4) << 8;
    height = block[54 + 5] | (block[54 + 7] >> 4) << 8;
    g_assert_cmpuint(width, ==, 1600);
    g_assert_cmpuint(height, ==, 900);
}

static void reset(Qtest *q)
{
    static const QtestStep fill[] = { WINDOWS, READL(LFB, 0), WRITEL(LFB, 0x12345678), WRITEL(LFB + 0xfffffc, 0x9abcdef0),
                                      READL(LFB + 0xfffffc, 0x9abcdef0) };
    static const QtestStep expect[] = { WINDOWS, READL(LFB, 0), READL(LFB + 0xfffffc, 0) };

    for (unsigned round = 0; round < 2; round++) {
        qtest_run_steps(q, fill, G_N_ELEMENTS(fill));
        g_free(qtest_qmp(q, "{'execute': 'system_reset'}"));
        g_free(qtest_wait_event(q, "RESET"));
        qtest_run_steps(q, expect, G_N_ELEMENTS(expect));
    }
}

#define CARD "-device VGA,addr=02.0"

static const QtestCase cases[] = {
    { "indexed", CARD, .steps = QTEST_STEPS(indexed) },
    { "crtc-lock", CARD, .steps = QTEST_STEPS(crtc_lock) },
    { "attributes", CARD, .steps = QTEST_STEPS(attributes) },
    { "palette", CARD, .steps = QTEST_STEPS(palette) },
    { "planes", CARD, .steps = QTEST_STEPS(planes) },
    { "write-modes", CARD, .steps = QTEST_STEPS(write_modes) },
    { "read-mode-1", CARD, .steps = QTEST_STEPS(read_mode_1) },
    { "odd-even", CARD, .steps = QTEST_STEPS(odd_even) },
    { "chain-4", CARD, .steps = QTEST_STEPS(chain_4) },
    { "dispi/identity", CARD, .steps = QTEST_STEPS(dispi_identity) },
    { "dispi/mode", CARD, .steps = QTEST_STEPS(dispi_mode) },
    { "mmio", CARD, .steps = QTEST_STEPS(mmio) },
    { "reset", CARD, .run = reset },
    { "edid", CARD ",xres=1600,yres=900", .run = edid },
};

int main(int argc, char **argv)
{
    return qtest_main(argc, argv, "/vga", QTEST_CASES(cases));
}
