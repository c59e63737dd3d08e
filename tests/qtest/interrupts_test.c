/* SPDX-License-Identifier: MIT */
/* The interrupt controllers on their board: the 8259 pair, the I/O APIC and what leads there. */
#include "tests/qtest/libqtest.h"

#include <string.h>

enum { IOAPIC_SEL = 0xfec00000, IOAPIC_WIN = 0xfec00010, IOAPIC_EOI = 0xfec00040 };

/* clang-format off */
/* ICW1-4 as every PC gives them: vectors 20h and 28h, cascade on IR2, 8086 mode. */
#define INIT_PICS                                                                            \
    OUTB(0x20, 0x11), OUTB(0x21, 0x20), OUTB(0x21, 0x04), OUTB(0x21, 0x01),                  \
    OUTB(0xa0, 0x11), OUTB(0xa1, 0x28), OUTB(0xa1, 0x02), OUTB(0xa1, 0x01)
/* COM1 asks for IRQ 4 when its transmitter is empty, as long as OUT2 is on. */
#define RAISE_IRQ4                 OUTB(0x3fc, 0x08), OUTB(0x3f9, 0x02)
#define LOWER_IRQ4                 OUTB(0x3f9, 0x00)
/* The RTC asks for IRQ 8: update-ended interrupts, one second later. */
#define RAISE_IRQ8                 OUTB(0x70, 0x0b), OUTB(0x71, 0x12), STEP(1000000000)
#define IOAPIC_WRITE(reg, v)       WRITEL(IOAPIC_SEL, reg), WRITEL(IOAPIC_WIN, v)
#define IOAPIC_READ(reg, v)        WRITEL(IOAPIC_SEL, reg), READL(IOAPIC_WIN, v)
/* clang-format on */

static const QtestStep masks[] = {
    OUTB(0x21, 0x5a), INB(0x21, 0x5a), OUTB(0xa1, 0xa5), INB(0xa1, 0xa5), INB(0x21, 0x5a),
};

static const QtestStep init_clears_masks[] = {
    OUTB(0x21, 0xff), OUTB(0xa1, 0xff), INIT_PICS, INB(0x21, 0), INB(0xa1, 0),
};

static const QtestStep request_is_latched[] = {
    INIT_PICS, OUTB(0x21, 0xff), RAISE_IRQ4, OUTB(0x20, 0x0a), INB(0x20, 0x10),
    LOWER_IRQ4, INB(0x20, 0x10),                 /* an edge stays */
    OUTB(0x20, 0x0b), INB(0x20, 0),              /* nothing is in service */
};

static const QtestStep poll_accepts[] = {
    INIT_PICS, RAISE_IRQ4, OUTB(0x20, 0x0c), INB(0x20, 0x84),
    OUTB(0x20, 0x0b), INB(0x20, 0x10),           /* in service */
    OUTB(0x20, 0x20), INB(0x20, 0),              /* non-specific EOI */
    OUTB(0x20, 0x0c), INB(0x20, 0),              /* polled again: nothing */
};

static const QtestStep level_follows_the_line[] = {
    INIT_PICS, OUTB(0x4d0, 0x10), INB(0x4d0, 0x10), RAISE_IRQ4, OUTB(0x20, 0x0a),
    INB(0x20, 0x10), LOWER_IRQ4, INB(0x20, 0),
};

/* Timer, keyboard, cascade, RTC and FPU cannot be level triggered. */
static const QtestStep elcr_masks[] = {
    OUTB(0x4d0, 0xff), INB(0x4d0, 0xf8), OUTB(0x4d1, 0xff), INB(0x4d1, 0xde),
};

static const QtestStep slave_shows_at_the_master[] = {
    INIT_PICS, RAISE_IRQ8, OUTB(0xa0, 0x0a), INB(0xa0, 0x01), OUTB(0x20, 0x0a),
    INB_MASK(0x20, 0x04, 0x04), OUTB(0xa1, 0x01), INB_MASK(0x20, 0x04, 0x04),
};

static const QtestStep intr_follows_mask[] = {
    INIT_PICS, OUTB(0x21, 0xff), LINE(0, 0), RAISE_IRQ4, LINE(0, 0), OUTB(0x21, 0xef),
    LINE(0, 1), OUTB(0x21, 0xff), LINE(0, 0),
};

static const QtestStep special_mask_lets_lower_through[] = {
    INIT_PICS, OUTB(0x21, 0xed), OUTB(0x60, 0xee),          /* the keyboard's echo: IRQ 1 */
    OUTB(0x20, 0x0c), INB(0x20, 0x81), RAISE_IRQ4, LINE(0, 0),
    OUTB(0x21, 0xef), OUTB(0x20, 0x68), LINE(0, 1),
};

static const QtestStep rotation_on_eoi[] = {
    INIT_PICS, RAISE_IRQ4, OUTB(0x20, 0x0c), INB(0x20, 0x84), OUTB(0x20, 0xa0), LOWER_IRQ4,
    OUTB(0x60, 0xee), RAISE_IRQ4, OUTB(0x20, 0x0c), INB(0x20, 0x81),   /* 4 is now the lowest */
};

/* ---- I/O APIC ---- */

static const QtestStep ioapic_identity[] = {
    IOAPIC_READ(1, 0x00170020), IOAPIC_READ(0, 0), IOAPIC_WRITE(0, 0xff000000),
    IOAPIC_READ(0, 0x0f000000), IOAPIC_READ(2, 0x0f000000),
    IOAPIC_WRITE(1, 0), IOAPIC_READ(1, 0x00170020),
};

static const QtestStep ioapic_entries[] = {
    IOAPIC_READ(0x10, 0x00010000), IOAPIC_READ(0x3e, 0x00010000), IOAPIC_READ(0x3f, 0),
    IOAPIC_WRITE(0x3f, 0xff000000), IOAPIC_READ(0x3f, 0xff000000),
    IOAPIC_WRITE(0x3e, 0x0001afff), IOAPIC_READ(0x3e, 0x0001afff & ~0x5000),
};

/* A level-triggered entry holds remote IRR from delivery to EOI, and asks again if still high. */
static const QtestStep ioapic_remote_irr[] = {
    IOAPIC_WRITE(0x18, 0x00008044), IOAPIC_READ(0x18, 0x00008044), RAISE_IRQ4, LINE(4, 1),
    IOAPIC_READ(0x18, 0x0000c044), WRITEL(IOAPIC_EOI, 0x44), IOAPIC_READ(0x18, 0x0000c044),
    LOWER_IRQ4, LINE(4, 0), WRITEL(IOAPIC_EOI, 0x44), IOAPIC_READ(0x18, 0x00008044),
};

static const QtestStep ioapic_edge_has_no_remote_irr[] = {
    IOAPIC_WRITE(0x18, 0x00000044), RAISE_IRQ4, IOAPIC_READ(0x18, 0x00000044),
};

/* GSI 0 has its own number on the way and INTIN2's entry: the PIT in mode 2. */
static const QtestStep ioapic_timer_is_pin_2[] = {
    OUTB(0x43, 0x34), OUTB(0x40, 0xa9), OUTB(0x40, 0x04), IOAPIC_WRITE(0x14, 0x00008030),
    STEP(2000000), EDGES(0, 2), EDGES(2, 0), IOAPIC_READ(0x14, 0x0000c030),
};

/* ---- local APIC: processor 0's, 1 GHz timer ---- */

/* clang-format off */
#define APIC(reg)                  (0xfee00000 + (reg))
#define APIC_ON                    WRITEL(APIC(0xf0), 0x1ff)
/* clang-format on */

static const QtestStep apic_registers[] = {
    READL(APIC(0x20), 0), READL_MASK(APIC(0x30), 0x00ff00ff, 0x00050014), READL(APIC(0xf0), 0xff),
    READL(APIC(0xe0), 0xffffffff), READL(APIC(0x320), 0x00010000), READL(APIC(0x370), 0x00010000),
    WRITEL(APIC(0x320), 0x00020040), READL(APIC(0x320), 0x00030040),     /* off: stays masked */
    APIC_ON, WRITEL(APIC(0x320), 0x00020040), READL(APIC(0x320), 0x00020040),
    WRITEL(APIC(0x80), 0x55), READL(APIC(0x80), 0x55), READL(APIC(0xa0), 0x55),
    WRITEL(APIC(0xd0), 0xff000000), READL(APIC(0xd0), 0xff000000),
    WRITEL(APIC(0xf0), 0xff), READL(APIC(0x320), 0x00030040),
};

static const QtestStep apic_timer[] = {
    APIC_ON, WRITEL(APIC(0x3e0), 0x3), WRITEL(APIC(0x320), 0x41), WRITEL(APIC(0x380), 1000),
    READL(APIC(0x390), 1000), STEP(8000), READL(APIC(0x390), 500), READL(APIC(0x220), 0),
    STEP(8000), READL(APIC(0x390), 0), READL(APIC(0x220), 2), STEP(100000), READL(APIC(0x390), 0),
};

static const QtestStep apic_periodic[] = {
    APIC_ON, WRITEL(APIC(0x3e0), 0xb), WRITEL(APIC(0x320), 0x20041), WRITEL(APIC(0x380), 100000),
    STEP(150000), READL(APIC(0x390), 50000), READL(APIC(0x220), 2), STEP(100000),
    READL(APIC(0x390), 50000), WRITEL(APIC(0x380), 0), READL(APIC(0x390), 0),
};

/* To itself by ICR, then by a device's message. */
static const QtestStep apic_messages[] = {
    APIC_ON, WRITEL(APIC(0x300), 0x00044042), READL(APIC(0x220), 4), WRITEL(APIC(0x00), 0x0045),
    READL(APIC(0x220), 0x24), WRITEL(APIC(0x310), 0x07000000), WRITEL(APIC(0x300), 0x4047),
    READL(APIC(0x220), 0x24),                    /* nobody has ID 7 */
};

static const QtestStep apic_errors[] = {
    APIC_ON, READL(APIC(0x280), 0), WRITEL(APIC(0x300), 0x00044005), WRITEL(APIC(0x280), 0),
    READL(APIC(0x280), 0x20), WRITEL(APIC(0x280), 0), READL(APIC(0x280), 0),
    READL(APIC(0x010), 0), WRITEL(APIC(0x280), 0), READL(APIC(0x280), 0x80),
};

/* An edge by way of the I/O APIC ends in the local one's IRR. */
static const QtestStep apic_from_ioapic[] = {
    APIC_ON, IOAPIC_WRITE(0x18, 0x00000050), RAISE_IRQ4, READL(APIC(0x220), 0x10000),
    READL(APIC(0x1a0), 0),                       /* TMR: edge */
};

/* Risen lines are counted, also while nobody takes them. */
static void info_irq(Qtest *q)
{
    static const QtestStep raise[] = { RAISE_IRQ4 };
    g_autofree char *text = NULL;

    qtest_run_steps(q, raise, G_N_ELEMENTS(raise));
    text = qtest_qmp(q, "{'execute': 'human-monitor-command', 'arguments': "
                        "{'command-line': 'info irq'}}");
    g_assert_nonnull(strstr(text, "4: 1\\r\\nIRQ statistics for isa-i8259:"));
    g_assert_nonnull(strstr(text, "4: 1\\r\\n\"}"));
}

static const QtestCase cases[] = {
    { "info-irq", "-serial null", .run = info_irq },
    { "pic/masks", .steps = QTEST_STEPS(masks) },
    { "pic/init-clears-masks", .steps = QTEST_STEPS(init_clears_masks) },
    { "pic/request-is-latched", "-serial null", .steps = QTEST_STEPS(request_is_latched) },
    { "pic/poll-accepts", "-serial null", .steps = QTEST_STEPS(poll_accepts) },
    { "pic/level", "-serial null", .steps = QTEST_STEPS(level_follows_the_line) },
    { "pic/elcr-masks", .steps = QTEST_STEPS(elcr_masks) },
    { "pic/cascade", "-rtc clock=vm", .steps = QTEST_STEPS(slave_shows_at_the_master) },
    { "pic/intr", "-serial null", "isa-i8259>0", QTEST_STEPS(intr_follows_mask) },
    { "pic/special-mask", "-serial null", "isa-i8259>0",
      QTEST_STEPS(special_mask_lets_lower_through) },
    { "pic/rotation", "-serial null", .steps = QTEST_STEPS(rotation_on_eoi) },
    { "ioapic/identity", .steps = QTEST_STEPS(ioapic_identity) },
    { "ioapic/entries", .steps = QTEST_STEPS(ioapic_entries) },
    { "ioapic/remote-irr", "-serial null", "ioapic", QTEST_STEPS(ioapic_remote_irr) },
    { "ioapic/edge", "-serial null", "ioapic", QTEST_STEPS(ioapic_edge_has_no_remote_irr) },
    { "ioapic/timer", NULL, "ioapic", QTEST_STEPS(ioapic_timer_is_pin_2) },
    { "apic/registers", .steps = QTEST_STEPS(apic_registers) },
    { "apic/timer", .steps = QTEST_STEPS(apic_timer) },
    { "apic/periodic", .steps = QTEST_STEPS(apic_periodic) },
    { "apic/messages", .steps = QTEST_STEPS(apic_messages) },
    { "apic/errors", .steps = QTEST_STEPS(apic_errors) },
    { "apic/from-ioapic", "-serial null", .steps = QTEST_STEPS(apic_from_ioapic) },
};

int main(int argc, char **argv)
{
    return qtest_main(argc, argv, "/interrupts", QTEST_CASES(cases));
}
