/* SPDX-License-Identifier: MIT */
/* What counts on the board: 8254, port 61h, the RTC with its CMOS, HPET, the ACPI timer's PIIX4. */
#include "tests/qtest/libqtest.h"

#include <inttypes.h>

enum { HPET = 0xfed00000 };

/* clang-format off */
#define MS(n)                      STEP((n) * 1000000ull)
#define CMOS_WRITE(reg, v)         OUTB(0x70, reg), OUTB(0x71, v)
#define CMOS_READ(reg, v)          OUTB(0x70, reg), INB(0x71, v)
#define CMOS_READ_MASK(reg, m, v)  OUTB(0x70, reg), INB_MASK(0x71, m, v)
/* clang-format on */

/* ---- 8254: 1193182 Hz, so 1 ms is 1193 clocks ---- */

static const QtestStep pit_rate_generator[] = {
    OUTB(0x43, 0x34), OUTB(0x40, 0xa9), OUTB(0x40, 0x04),                /* 1193: 1 ms */
    MS(1), EDGES(0, 1), MS(9), EDGES(0, 9), MS(90), EDGES(0, 90),
};

static const QtestStep pit_square_wave[] = {
    OUTB(0x43, 0x36), OUTB(0x40, 0xa9), OUTB(0x40, 0x04), STEP(600000), LINE(0, 0),
    STEP(500000), LINE(0, 1),
};

static const QtestStep pit_one_shot[] = {
    OUTB(0x43, 0x30), OUTB(0x40, 0xa9), OUTB(0x40, 0x04), LINE(0, 0), EDGES(0, 0),
    MS(2), LINE(0, 1), EDGES(0, 1), MS(50), EDGES(0, 0),
};

static const QtestStep pit_latch[] = {
    OUTB(0x43, 0xb4), OUTB(0x42, 0x00), OUTB(0x42, 0x10), OUTB(0x61, 0x01),
    MS(1), OUTB(0x43, 0x80), MS(1),
    INB(0x42, (0x1000 - 1193) & 0xff), INB(0x42, (0x1000 - 1193) >> 8),
    INB(0x42, (0x1000 - 2386) & 0xff), INB(0x42, (0x1000 - 2386) >> 8),
};

static const QtestStep pit_read_back[] = {
    OUTB(0x43, 0x36), OUTB(0x40, 0x00), OUTB(0x40, 0x80), OUTB(0x43, 0xe2), INB(0x40, 0xb6),
    OUTB(0x43, 0xc2), INB(0x40, 0xb6), INB(0x40, 0x00), INB(0x40, 0x80),
};

static const QtestStep pit_bcd[] = {
    OUTB(0x43, 0xb5), OUTB(0x42, 0x00), OUTB(0x42, 0x30), OUTB(0x61, 1), MS(1), OUTB(0x43, 0x80),
    INB(0x42, 0x07), INB(0x42, 0x18),            /* 3000 - 1193 */
};

/* ---- port 61h: gate and output of counter 2 ---- */

static const QtestStep speaker[] = {
    OUTB(0x61, 0x00), OUTB(0x43, 0xb0), OUTB(0x42, 0xa9), OUTB(0x42, 0x04),
    MS(10), INB_MASK(0x61, 0x23, 0x00),          /* the gate holds it */
    OUTB(0x61, 0x03), MS(1), STEP(500000), INB_MASK(0x61, 0x23, 0x23),
};

/* ---- RTC ---- */

static const QtestStep rtc_time[] = {
    CMOS_READ(0x0a, 0x26), CMOS_READ(0x0b, 0x02), CMOS_READ(0x0d, 0x80),
    CMOS_READ(0x00, 0x07), CMOS_READ(0x02, 0x06), CMOS_READ(0x04, 0x17), CMOS_READ(0x06, 0x05),
    CMOS_READ(0x07, 0x04), CMOS_READ(0x08, 0x03), CMOS_READ(0x09, 0x21), CMOS_READ(0x32, 0x20),
    CMOS_READ(0x37, 0x20),
    MS(53000), CMOS_READ(0x00, 0x00), CMOS_READ(0x02, 0x07),
};

static const QtestStep rtc_binary_12_hours[] = {
    CMOS_WRITE(0x0b, 0x04), CMOS_READ(0x04, 0x85), CMOS_READ(0x09, 21),
    CMOS_WRITE(0x0b, 0x06), CMOS_READ(0x04, 17),
};

static const QtestStep rtc_set_stops_time[] = {
    CMOS_WRITE(0x0b, 0x82), CMOS_WRITE(0x00, 0x30), MS(5000), CMOS_READ(0x00, 0x30),
    CMOS_WRITE(0x0b, 0x02), MS(2000), CMOS_READ(0x00, 0x32),
};

static const QtestStep rtc_end_of_year[] = {
    CMOS_WRITE(0x0b, 0x82), CMOS_WRITE(0x00, 0x59), CMOS_WRITE(0x02, 0x59), CMOS_WRITE(0x04, 0x23),
    CMOS_WRITE(0x07, 0x31), CMOS_WRITE(0x08, 0x12), CMOS_WRITE(0x09, 0x99), CMOS_WRITE(0x32, 0x19),
    CMOS_WRITE(0x0b, 0x02), MS(1000), CMOS_READ(0x09, 0x00), CMOS_READ(0x32, 0x20),
    CMOS_READ(0x08, 0x01), CMOS_READ(0x07, 0x01), CMOS_READ(0x06, 0x07),
};

static const QtestStep rtc_alarm[] = {
    CMOS_WRITE(0x05, 0x17), CMOS_WRITE(0x03, 0x06), CMOS_WRITE(0x01, 0x20),
    CMOS_READ_MASK(0x0c, 0x20, 0), CMOS_WRITE(0x0b, 0x22), MS(12000), LINE(8, 0), MS(2000),
    LINE(8, 1), CMOS_READ_MASK(0x0c, 0xa0, 0xa0), LINE(8, 0), CMOS_READ_MASK(0x0c, 0xa0, 0),
};

static const QtestStep rtc_alarm_wildcards[] = {
    CMOS_WRITE(0x05, 0xc0), CMOS_WRITE(0x03, 0xc0), CMOS_WRITE(0x01, 0xff), CMOS_READ_MASK(0x0c, 0, 0),
    CMOS_WRITE(0x0b, 0x22), MS(1000), LINE(8, 1), CMOS_READ_MASK(0x0c, 0x20, 0x20), MS(1000),
    LINE(8, 1),
};

static const QtestStep rtc_periodic[] = {
    CMOS_WRITE(0x0a, 0x26), CMOS_WRITE(0x0b, 0x42),      /* 1024 Hz */
    MS(1), LINE(8, 1), CMOS_READ_MASK(0x0c, 0xc0, 0xc0), LINE(8, 0), MS(1), LINE(8, 1),
    CMOS_READ_MASK(0x0c, 0xc0, 0xc0), CMOS_WRITE(0x0b, 0x02), MS(5), LINE(8, 0),
};

static const QtestStep rtc_update[] = {
    CMOS_READ_MASK(0x0c, 0, 0), CMOS_WRITE(0x0b, 0x12), MS(1000), LINE(8, 1),
    CMOS_READ_MASK(0x0c, 0x90, 0x90), LINE(8, 0), MS(1000), LINE(8, 1),
};

static const QtestStep rtc_uip[] = {
    CMOS_READ_MASK(0x0a, 0x80, 0), STEP(999900000), CMOS_READ_MASK(0x0a, 0x80, 0x80),
    STEP(100000), CMOS_READ_MASK(0x0a, 0x80, 0),
};

/* Every byte beyond the registers is memory, and C and D are read-only. */
static void nvram(Qtest *q)
{
    for (unsigned i = 14; i < 128; i++) {
        if (i != 0x32 && i != 0x37) {
            qtest_outb(q, 0x70, (uint8_t)i);
            qtest_outb(q, 0x71, (uint8_t)(i ^ 0xa5));
        }
    }
    for (unsigned i = 14; i < 128; i++) {
        if (i != 0x32 && i != 0x37) {
            qtest_outb(q, 0x70, (uint8_t)i);
            g_assert_cmphex(qtest_inb(q, 0x71), ==, i ^ 0xa5);
        }
    }
    qtest_outb(q, 0x70, 0x0d);
    qtest_outb(q, 0x71, 0x00);
    g_assert_cmphex(qtest_inb(q, 0x71), ==, 0x80);
}

/* What SeaBIOS reads: memory sizes, floppies, equipment, boot order, CPUs. */
static const QtestStep cmos_small[] = {
    CMOS_READ(0x15, 0x80), CMOS_READ(0x16, 0x02),            /* 640 KiB */
    CMOS_READ(0x17, 0x00), CMOS_READ(0x18, 0x7c),            /* 31 MiB */
    CMOS_READ(0x30, 0x00), CMOS_READ(0x31, 0x7c),
    CMOS_READ(0x34, 0x00), CMOS_READ(0x35, 0x01),            /* 16 MiB above 16 MiB */
    CMOS_READ(0x5b, 0x00), CMOS_READ(0x5f, 0x00), CMOS_READ(0x10, 0x00), CMOS_READ(0x14, 0x06),
    CMOS_READ(0x3d, 0x12), CMOS_READ(0x38, 0x30),            /* "cad" */
};

static const QtestStep cmos_big[] = {
    CMOS_READ(0x17, 0xff), CMOS_READ(0x18, 0xff), CMOS_READ(0x34, 0x00), CMOS_READ(0x35, 0xbf),
    CMOS_READ(0x5b, 0x00), CMOS_READ(0x5c, 0x20), CMOS_READ(0x5d, 0x00),     /* 512 MiB above */
    CMOS_READ(0x5f, 0x03), CMOS_READ(0x3d, 0x42), CMOS_READ(0x38, 0x01),
};

/* ---- HPET ---- */

static const QtestStep hpet_counts[] = {
    READL(HPET, 0x8086a201), READL(HPET + 4, 10000000),      /* 10 ns in fs */
    READQ(HPET + 0xf0, 0), MS(1), READQ(HPET + 0xf0, 0), WRITEL(HPET + 0x10, 1), MS(1),
    READQ(HPET + 0xf0, 100000), WRITEL(HPET + 0x10, 0), MS(1), READQ(HPET + 0xf0, 100000),
    WRITEQ(HPET + 0xf0, 0x123456789ull), READQ(HPET + 0xf0, 0x123456789ull),
};

static const QtestStep hpet_one_shot[] = {
    WRITEL(HPET + 0x100, 0x0404), WRITEQ(HPET + 0x108, 200000), WRITEL(HPET + 0x10, 1),
    MS(1), EDGES(2, 0), MS(2), EDGES(2, 1), MS(10), EDGES(2, 0),
};

static const QtestStep hpet_periodic_level[] = {
    WRITEL(HPET + 0x100, 0x044e), WRITEQ(HPET + 0x108, 100000), WRITEQ(HPET + 0x108, 100000),
    WRITEL(HPET + 0x10, 1), MS(1), LINE(2, 1), READL(HPET + 0x20, 1), WRITEL(HPET + 0x20, 1),
    LINE(2, 0), MS(1), LINE(2, 1),
};

/* Legacy replacement: timer 0 is IRQ 0 and the PIT is off; timer 1 is IRQ 8. */
static const QtestStep hpet_legacy[] = {
    OUTB(0x43, 0x34), OUTB(0x40, 0xa9), OUTB(0x40, 0x04), MS(1), EDGES(0, 1), WRITEL(HPET + 0x10, 3),
    MS(10), EDGES(0, 0), WRITEL(HPET + 0x100, 0x000c), WRITEQ(HPET + 0x108, 1100000),
    MS(2), EDGES(0, 1), WRITEL(HPET + 0x120, 0x0004), WRITEQ(HPET + 0x128, 1300000), MS(2),
    EDGES(8, 1), WRITEL(HPET + 0x10, 0), MS(10),
};

static const QtestStep no_hpet[] = { READL(HPET, 0xffffffff) };

#define DATE "-rtc base=2021-03-04T17:06:07,clock=vm"

static const QtestCase cases[] = {
    { "pit/rate-generator", NULL, "ioapic", QTEST_STEPS(pit_rate_generator) },
    { "pit/square-wave", NULL, "ioapic", QTEST_STEPS(pit_square_wave) },
    { "pit/one-shot", NULL, "isa-pit>0", QTEST_STEPS(pit_one_shot) },
    { "pit/latch", .steps = QTEST_STEPS(pit_latch) },
    { "pit/read-back", .steps = QTEST_STEPS(pit_read_back) },
    { "pit/bcd", .steps = QTEST_STEPS(pit_bcd) },
    { "speaker", .steps = QTEST_STEPS(speaker) },
    { "rtc/time", DATE, .steps = QTEST_STEPS(rtc_time) },
    { "rtc/binary-12-hours", DATE, .steps = QTEST_STEPS(rtc_binary_12_hours) },
    { "rtc/set-stops-time", DATE, .steps = QTEST_STEPS(rtc_set_stops_time) },
    { "rtc/end-of-year", DATE, .steps = QTEST_STEPS(rtc_end_of_year) },
    { "rtc/alarm", DATE, "ioapic", QTEST_STEPS(rtc_alarm) },
    { "rtc/alarm-wildcards", DATE, "ioapic", QTEST_STEPS(rtc_alarm_wildcards) },
    { "rtc/periodic", DATE, "ioapic", QTEST_STEPS(rtc_periodic) },
    { "rtc/update", DATE, "ioapic", QTEST_STEPS(rtc_update) },
    { "rtc/uip", DATE, .steps = QTEST_STEPS(rtc_uip) },
    { "rtc/nvram", DATE, .run = nvram },
    { "cmos/small", .steps = QTEST_STEPS(cmos_small) },
    { "cmos/big", "-m 3584 -smp 4 -boot order=cn -machine fd-bootchk=off",
      .steps = QTEST_STEPS(cmos_big) },
    { "hpet/counts", .steps = QTEST_STEPS(hpet_counts) },
    { "hpet/one-shot", NULL, "ioapic", QTEST_STEPS(hpet_one_shot) },
    { "hpet/periodic-level", NULL, "ioapic", QTEST_STEPS(hpet_periodic_level) },
    { "hpet/legacy", NULL, "ioapic", QTEST_STEPS(hpet_legacy) },
    { "hpet/off", "-machine hpet=off", .steps = QTEST_STEPS(no_hpet) },
};

int main(int argc, char **argv)
{
    return qtest_main(argc, argv, "/timers", QTEST_CASES(cases));
}
