/* SPDX-License-Identifier: MIT */
/* Devices of the pc machine as a test without a CPU sees them. */
#include "tests/qtest/libqtest.h"

#include <string.h>

static void test_memory_round_trip(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc -m 32");
    char out[] = "0123456789abcdef", in[sizeof(out)] = "";

    qtest_writeq(q, 0x1000, 0x1122334455667788ull);
    g_assert_cmphex(qtest_readb(q, 0x1000), ==, 0x88);
    g_assert_cmphex(qtest_readw(q, 0x1002), ==, 0x5566);
    g_assert_cmphex(qtest_readl(q, 0x1004), ==, 0x11223344);
    qtest_memwrite(q, 0x2ffa, out, sizeof(out));
    qtest_memread(q, 0x2ffa, in, sizeof(in));
    g_assert_cmpstr(in, ==, out);
    qtest_memset(q, 0x4000, 0xa5, 4097);
    g_assert_cmphex(qtest_readb(q, 0x5000), ==, 0xa5);
    g_assert_cmphex(qtest_readb(q, 0x5001), ==, 0);
}

static void test_unclaimed_reads_all_ones(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc -m 32");

    g_assert_cmphex(qtest_inb(q, 0x1234), ==, 0xff);
    g_assert_cmphex(qtest_inl(q, 0x1234), ==, 0xffffffff);
}

static void test_pci_ids(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc");

    g_assert_cmphex(qtest_pci_readl(q, 0x00, 0), ==, 0x12378086);    /* i440FX */
    g_assert_cmphex(qtest_pci_readl(q, 0x08, 0), ==, 0x70008086);    /* PIIX3 ISA */
    g_assert_cmphex(qtest_pci_readl(q, 0x09, 0), ==, 0x70108086);    /* PIIX3 IDE */
    g_assert_cmphex(qtest_pci_readl(q, 0x0b, 0), ==, 0x71138086);    /* PIIX4 PM */
}

static void test_rtc_registers(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc -rtc base=2021-03-04T05:06:07");

    qtest_outb(q, 0x70, 0x0a);
    g_assert_cmphex(qtest_inb(q, 0x71) & 0x7f, ==, 0x26);
    qtest_outb(q, 0x70, 0x09);
    g_assert_cmphex(qtest_inb(q, 0x71), ==, 0x21);
    qtest_outb(q, 0x70, 0x04);
    g_assert_cmphex(qtest_inb(q, 0x71), ==, 0x05);
}

static void test_pic_masks(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc");

    qtest_outb(q, 0x21, 0x5a);
    g_assert_cmphex(qtest_inb(q, 0x21), ==, 0x5a);
    qtest_outb(q, 0xa1, 0xa5);
    g_assert_cmphex(qtest_inb(q, 0xa1), ==, 0xa5);
}

static void test_pit_counts_with_the_clock(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc");
    unsigned first, second;

    qtest_outb(q, 0x43, 0x34);       /* channel 0, low then high, rate generator */
    qtest_outb(q, 0x40, 0x00);
    qtest_outb(q, 0x40, 0x80);
    qtest_clock_step(q, 1000000);
    qtest_outb(q, 0x43, 0x00);       /* latch */
    first = qtest_inb(q, 0x40);
    first |= (unsigned)qtest_inb(q, 0x40) << 8;
    qtest_clock_step(q, 1000000);
    qtest_outb(q, 0x43, 0x00);
    second = qtest_inb(q, 0x40);
    second |= (unsigned)qtest_inb(q, 0x40) << 8;
    g_assert_cmpuint(first - second, >=, 1190);
    g_assert_cmpuint(first - second, <=, 1196);
}

static void test_serial_scratch(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc -serial null");

    qtest_outb(q, 0x3ff, 0x5c);
    g_assert_cmphex(qtest_inb(q, 0x3ff), ==, 0x5c);
    g_assert_cmphex(qtest_inb(q, 0x3fd) & 0x60, ==, 0x60);
}

static void test_reset_event(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc");
    g_autofree char *answer = qtest_qmp(q, "{'execute': 'system_reset'}");
    g_autofree char *event = qtest_wait_event(q, "RESET");

    g_assert_cmpstr(answer, ==, "{\"return\": {}}");
    g_assert_nonnull(strstr(event, "\"reason\": \"host-qmp-system-reset\""));
}

/* Garbage on every port must not end the process. */
static void test_ports_survive_garbage(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc -m 32");
    uint32_t seed = 42;

    for (unsigned i = 0; i < 20000; i++) {
        uint16_t port;

        seed = seed * 1664525 + 1013904223;
        port = (uint16_t)(seed >> 16);
        if (port == 0x501 || port == 0x64 || port == 0x92 || port == 0xcf9 ||
            (port >= 0x600 && port < 0x640) || (port >= 0xb000 && port < 0xb040)) {
            continue;                /* these may rightly reset or end the machine */
        }
        if (seed & 0x100) {
            qtest_outb(q, port & 0x7ff, (uint8_t)seed);
        } else if (seed & 0x200) {
            qtest_outl(q, port, seed);
        } else {
            qtest_inw(q, port);
        }
    }
    g_assert_cmphex(qtest_inb(q, 0x1234), ==, 0xff);
}

static void test_protocol_errors(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine none");

    g_assert_true(qtest_fails(q, "nonsense"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pc/memory", test_memory_round_trip);
    g_test_add_func("/pc/unclaimed", test_unclaimed_reads_all_ones);
    g_test_add_func("/pc/pci-ids", test_pci_ids);
    g_test_add_func("/pc/rtc", test_rtc_registers);
    g_test_add_func("/pc/pic", test_pic_masks);
    g_test_add_func("/pc/pit", test_pit_counts_with_the_clock);
    g_test_add_func("/pc/serial", test_serial_scratch);
    g_test_add_func("/pc/reset-event", test_reset_event);
    g_test_add_func("/pc/garbage", test_ports_survive_garbage);
    g_test_add_func("/qtest/errors", test_protocol_errors);
    return g_test_run();
}
