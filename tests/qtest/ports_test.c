/* SPDX-License-Identifier: MIT */
/* Serial and parallel ports, and the small devices that speak to the host through a port. */
#include "tests/qtest/libqtest.h"

#include <string.h>

#define RING(id) " -chardev ringbuf,id=" id

/* What the guest wrote into the ring buffer, as JSON text. */
static char *ring(Qtest *q, const char *id)
{
    g_autofree char *json = g_strdup_printf(
        "{'execute': 'ringbuf-read', 'arguments': {'device': '%s', 'size': 64}}", id);

    return qtest_qmp(q, json);
}

static void expect_ring(Qtest *q, const char *id, const char *text)
{
    g_autofree char *answer = ring(q, id);
    g_autofree char *wanted = g_strdup_printf("{\"return\": \"%s\"}", text);

    g_assert_cmpstr(answer, ==, wanted);
}

/* ---- 16550A ---- */

static const QtestStep uart_registers[] = {
    INB(0x3fd, 0x60), INB(0x3fa, 0x01), INB_MASK(0x3fe, 0xb0, 0xb0), OUTB(0x3ff, 0x5c),
    INB(0x3ff, 0x5c), OUTB(0x3f9, 0xff), INB(0x3f9, 0x0f), OUTB(0x3f9, 0),
    OUTB(0x3fc, 0xff), INB(0x3fc, 0x1f), OUTB(0x3fc, 0),
    OUTB(0x3fb, 0x83), OUTB(0x3f8, 0x0c), OUTB(0x3f9, 0x34), INB(0x3f8, 0x0c), INB(0x3f9, 0x34),
    OUTB(0x3fb, 0x03), INB(0x3f9, 0x00), INB(0x3fb, 0x03),
    OUTB(0x3fa, 0x01), INB(0x3fa, 0xc1), OUTB(0x3fa, 0x00), INB(0x3fa, 0x01),
};

static const QtestStep uart_loopback[] = {
    OUTB(0x3fc, 0x10), INB_MASK(0x3fe, 0xf0, 0x00), OUTB(0x3fc, 0x1f), INB_MASK(0x3fe, 0xf0, 0xf0),
    OUTB(0x3f8, 0x5a), INB_MASK(0x3fd, 0x01, 0x01), INB(0x3f8, 0x5a), INB_MASK(0x3fd, 0x01, 0x00),
};

static const QtestStep uart_thre_interrupt[] = {
    OUTB(0x3fc, 0x08), LINE(4, 0), OUTB(0x3f9, 0x02), LINE(4, 1), INB(0x3fa, 0x02), LINE(4, 0),
    OUTB(0x3f8, 'x'), LINE(4, 1), OUTB(0x3f9, 0), LINE(4, 0),
};

/* In loopback one can fill the FIFO: trigger level, time-out, overrun. */
static const QtestStep uart_fifo[] = {
    OUTB(0x3fa, 0x47), OUTB(0x3fc, 0x18), OUTB(0x3f9, 0x01),
    OUTB(0x3f8, 1), OUTB(0x3f8, 2), OUTB(0x3f8, 3), INB(0x3fa, 0xc1),
    OUTB(0x3f8, 4), INB(0x3fa, 0xc4), INB(0x3f8, 1), INB(0x3fa, 0xc1),
    STEP(1000000000), INB(0x3fa, 0xcc), INB(0x3f8, 2), INB(0x3f8, 3), INB(0x3f8, 4),
    INB(0x3fa, 0xc1), OUTB(0x3fa, 0x07), INB_MASK(0x3fd, 0x01, 0x00),
};

static const QtestStep uart_overrun[] = {
    OUTB(0x3fc, 0x18), OUTB(0x3f8, 1), OUTB(0x3f8, 2), INB_MASK(0x3fd, 0x03, 0x03),
    INB_MASK(0x3fd, 0x03, 0x01),
};

/* Four ports, at the addresses and interrupts of a PC. */
static const QtestStep uart_four[] = {
    INB(0x3fd, 0x60), INB(0x2fd, 0x60), INB(0x3ed, 0x60), INB(0x2ed, 0x60),
    OUTB(0x2fc, 8), OUTB(0x2f9, 2), LINE(3, 1), OUTB(0x2f9, 0), LINE(3, 0),
    OUTB(0x3ec, 8), OUTB(0x3e9, 2), LINE(4, 1), OUTB(0x3e9, 0), LINE(4, 0),
    OUTB(0x2ec, 8), OUTB(0x2e9, 2), LINE(3, 1),
};

static void uart_output(Qtest *q)
{
    for (const char *p = "Hello"; *p; p++) {
        qtest_outb(q, 0x3f8, (uint8_t)*p);
    }
    expect_ring(q, "ring", "Hello");
}

/* ---- parallel ---- */

static const QtestStep printer[] = {
    INB(0x378, 0xff), INB_MASK(0x379, 0xf8, 0xd8), INB(0x37a, 0xcc), OUTB(0x378, 'A'), INB(0x378, 'A'),
    OUTB(0x37a, 0x0d), INB_MASK(0x379, 0x80, 0), OUTB(0x37a, 0x0c), INB_MASK(0x379, 0x80, 0),
    INB_MASK(0x379, 0x80, 0), INB_MASK(0x379, 0x80, 0x80),
    OUTB(0x378, 'B'), OUTB(0x37a, 0x1d), OUTB(0x37a, 0x1c), LINE(7, 1), INB_ANY(0x379), LINE(7, 0),
};

static void printed(Qtest *q)
{
    expect_ring(q, "ring", "AB");
}

/* ---- one port each ---- */

static const QtestStep debugcon[] = { INB(0xe9, 0xe9), OUTB(0xe9, 'd'), OUTB(0xe9, 'c') };

static void debugged(Qtest *q)
{
    expect_ring(q, "ring", "dc");
}

static void expect_event(Qtest *q, const char *name, const char *part)
{
    g_autofree char *event = qtest_wait_event(q, name);

    g_assert_nonnull(strstr(event, part));
}

static const QtestStep panic[] = { INB(0x505, 0x03), OUTB(0x505, 0x01) };

static void panicked(Qtest *q)
{
    expect_event(q, "GUEST_PANICKED", "\"action\": \"pause\"");
    g_assert_cmphex(qtest_inb(q, 0x505), ==, 3);
}

static const QtestStep crash_loaded[] = { OUTB(0x606, 0x02), INB(0x606, 0x02) };

static void loaded(Qtest *q)
{
    expect_event(q, "GUEST_CRASHLOADED", "\"action\": \"run\"");
}

/* 30 s less 2 s a step; a stop in time keeps it quiet. */
static const QtestStep watchdog[] = {
    OUTB(0x443, 0x0f), OUTB(0x443, 0x0a), STEP(9000000000), OUTB(0x441, 0), STEP(60000000000),
    OUTB(0x443, 0x0e), STEP(3000000000),
};

static void barked(Qtest *q)
{
    expect_event(q, "WATCHDOG", "\"action\": \"none\"");
}

static const QtestStep diagnostics[] = { OUTB(0x80, 0x55), INB(0x80, 0xff), OUTB(0xf0, 0) };

static const QtestCase cases[] = {
    { "uart/registers", "-serial null", .steps = QTEST_STEPS(uart_registers) },
    { "uart/loopback", "-serial null", .steps = QTEST_STEPS(uart_loopback) },
    { "uart/thre-interrupt", "-serial null", "ioapic", QTEST_STEPS(uart_thre_interrupt) },
    { "uart/fifo", "-serial null", .steps = QTEST_STEPS(uart_fifo) },
    { "uart/overrun", "-serial null", .steps = QTEST_STEPS(uart_overrun) },
    { "uart/four", "-serial null -serial null -serial null -serial null", "ioapic",
      QTEST_STEPS(uart_four) },
    { "uart/output", RING("ring") " -serial chardev:ring", .run = uart_output },
    { "parallel", RING("ring") " -parallel chardev:ring", "ioapic", QTEST_STEPS(printer), printed },
    { "debugcon", RING("ring") " -device isa-debugcon,chardev=ring", .steps = QTEST_STEPS(debugcon),
      debugged },
    { "pvpanic", "-device pvpanic -action panic=pause", .steps = QTEST_STEPS(panic), panicked },
    { "pvpanic/crash-loaded", "-device pvpanic,ioport=0x606,events=2",
      .steps = QTEST_STEPS(crash_loaded), loaded },
    { "ib700", "-device ib700 -watchdog-action none", .steps = QTEST_STEPS(watchdog), barked },
    { "diagnostics", .steps = QTEST_STEPS(diagnostics) },
};

/* The write ends the process with status value * 2 + 1; writing to it then fails. */
static void test_debug_exit(void)
{
    Qtest *q = qtest_start("-machine pc -nodefaults -device isa-debug-exit,iobase=0xf4");

    g_assert_cmpint(qtest_outb_exit_status(q, 0xf4, 0x15), ==, 0x2b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ports/debug-exit", test_debug_exit);
    return qtest_run("/ports", QTEST_CASES(cases));
}
