/* SPDX-License-Identifier: MIT */
/* The real-time clock, driven by the VM's fake clock. */
#include "hw/isa/isa_bench.h"
#include "hw/timer/mc146818.h"

#define SECOND NANOSECONDS_PER_SECOND

static Device *rtc_new(IsaBench *b, bool slew)
{
    RtcOptions options = { .clock = b->vm->clock, .slew = slew };
    g_autoptr(GError) error = NULL;
    Device *rtc;

    g_assert_true(rtc_parse_base("2006-12-31T23:59:58", &options, &error));
    rtc = mc146818_new(&b->bus, &options, b->bus.irqs[8], &error);
    g_assert_no_error(error);
    device_reset(rtc);
    return rtc;
}

static uint8_t cmos(IsaBench *b, uint8_t index)
{
    isa_out8(b, 0x70, index);
    return isa_in8(b, 0x71);
}

static void set_cmos(IsaBench *b, uint8_t index, uint8_t value)
{
    isa_out8(b, 0x70, index);
    isa_out8(b, 0x71, value);
}

static void test_time_rolls_over_the_year(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    rtc_new(b, false);
    g_assert_cmphex(cmos(b, 0), ==, 0x58);
    g_assert_cmphex(cmos(b, 4), ==, 0x23);
    isa_bench_advance_ns(b, 3 * SECOND);
    g_assert_cmphex(cmos(b, 0), ==, 0x01);
    g_assert_cmphex(cmos(b, 4), ==, 0x00);
    g_assert_cmphex(cmos(b, 7), ==, 0x01);
    g_assert_cmphex(cmos(b, 8), ==, 0x01);
    g_assert_cmphex(cmos(b, 9), ==, 0x07);
    g_assert_cmphex(cmos(b, 0x32), ==, 0x20);
    g_assert_cmphex(cmos(b, 6), ==, 2);           /* a Monday */
}

static void test_binary_12_hour_mode(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    rtc_new(b, false);
    set_cmos(b, 0x0b, 0x04);
    g_assert_cmphex(cmos(b, 4), ==, 0x80 | 11);
    g_assert_cmpuint(cmos(b, 0), ==, 58);
}

static void test_set_holds_the_registers(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    rtc_new(b, false);
    set_cmos(b, 0x0b, 0x82);
    isa_bench_advance_ns(b, 5 * SECOND);
    g_assert_cmphex(cmos(b, 0), ==, 0x58);
    set_cmos(b, 4, 0x12);
    set_cmos(b, 2, 0x34);
    set_cmos(b, 0, 0x56);
    set_cmos(b, 0x0b, 0x02);
    isa_bench_advance_ns(b, 2 * SECOND);
    g_assert_cmphex(cmos(b, 4), ==, 0x12);
    g_assert_cmphex(cmos(b, 2), ==, 0x34);
    g_assert_cmphex(cmos(b, 0), ==, 0x58);
}

static void test_uip_precedes_the_update(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    rtc_new(b, false);
    g_assert_cmphex(cmos(b, 0x0a) & 0x80, ==, 0);
    isa_bench_advance_ns(b, SECOND - 100000);
    g_assert_cmphex(cmos(b, 0x0a) & 0x80, ==, 0x80);
    isa_bench_advance_ns(b, 200000);
    g_assert_cmphex(cmos(b, 0x0a) & 0x80, ==, 0);
}

static void test_periodic_interrupt(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    unsigned taken = 0;

    rtc_new(b, false);
    set_cmos(b, 0x0b, 0x42);
    for (unsigned i = 0; i < 2000; i++) {
        isa_bench_advance_ns(b, SECOND / 2000);
        if (isa_bench_irq(b, 8)) {
            taken++;
            g_assert_cmphex(cmos(b, 0x0c) & 0xc0, ==, 0xc0);
        }
    }
    g_assert_cmpuint(taken, ==, 1024);
}

static void test_slew_gives_lost_ticks_later(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    unsigned taken = 0;

    rtc_new(b, true);
    set_cmos(b, 0x0b, 0x42);
    isa_bench_advance_ns(b, SECOND / 100);        /* ten ticks, nobody took one */
    while (isa_bench_irq(b, 8)) {
        taken++;
        cmos(b, 0x0c);
    }
    g_assert_cmpuint(taken, ==, 10);
}

static void test_alarm_fires_at_its_time(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    rtc_new(b, false);
    set_cmos(b, 1, 0x03);
    set_cmos(b, 3, 0x00);
    set_cmos(b, 5, 0x00);
    set_cmos(b, 0x0b, 0x22);
    isa_bench_advance_ns(b, 4 * SECOND + SECOND / 2);
    g_assert_false(isa_bench_irq(b, 8));
    isa_bench_advance_ns(b, SECOND);
    g_assert_true(isa_bench_irq(b, 8));
    g_assert_cmphex(cmos(b, 0x0c) & 0xa0, ==, 0xa0);
    g_assert_false(isa_bench_irq(b, 8));
}

static void test_wildcard_alarm_fires_each_minute(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    unsigned fired = 0;

    rtc_new(b, false);
    set_cmos(b, 1, 0x00);
    set_cmos(b, 3, 0xff);
    set_cmos(b, 5, 0xff);
    set_cmos(b, 0x0b, 0x22);
    for (unsigned i = 0; i < 180; i++) {
        isa_bench_advance_ns(b, SECOND);
        fired += isa_bench_irq(b, 8);
        cmos(b, 0x0c);
    }
    g_assert_cmpuint(fired, ==, 3);
}

static void test_update_interrupt_each_second(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    unsigned fired = 0;

    rtc_new(b, false);
    set_cmos(b, 0x0b, 0x12);
    for (unsigned i = 0; i < 50; i++) {
        isa_bench_advance_ns(b, SECOND / 10);
        fired += isa_bench_irq(b, 8);
        cmos(b, 0x0c);
    }
    g_assert_cmpuint(fired, ==, 5);
}

static void test_reset_keeps_time_and_ram(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    Device *rtc = rtc_new(b, false);

    set_cmos(b, 0x40, 0xa5);
    set_cmos(b, 0x0b, 0x42);
    isa_bench_advance_ns(b, SECOND);
    device_reset(rtc);
    g_assert_cmphex(cmos(b, 0x40), ==, 0xa5);
    g_assert_cmphex(cmos(b, 0x0b), ==, 0x02);
    g_assert_cmphex(cmos(b, 0), ==, 0x59);
    g_assert_false(isa_bench_irq(b, 8));
}

static void test_state_survives_save_and_load(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    rtc_new(b, false);
    set_cmos(b, 0x40, 0x5a);
    set_cmos(b, 0x0b, 0x42);
    isa_bench_advance_ns(b, SECOND / 4);
    isa_bench_save_load(b);
    g_assert_cmphex(cmos(b, 0x40), ==, 0x5a);
    cmos(b, 0x0c);
    b->edges[8] = 0;
    isa_bench_advance_ns(b, SECOND / 1000);
    g_assert_cmpuint(b->edges[8], ==, 1);
}

static void test_bad_date_is_refused(void)
{
    RtcOptions options = { 0 };
    g_autoptr(GError) error = NULL;

    g_assert_false(rtc_parse_base("tomorrow", &options, &error));
    g_assert_nonnull(strstr(error->message, "tomorrow"));
}

static void test_survives_garbage(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    rtc_new(b, true);
    isa_bench_fuzz(b, 0x70, 0x71, 20000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtc/roll-over", test_time_rolls_over_the_year);
    g_test_add_func("/rtc/12-hours", test_binary_12_hour_mode);
    g_test_add_func("/rtc/set", test_set_holds_the_registers);
    g_test_add_func("/rtc/uip", test_uip_precedes_the_update);
    g_test_add_func("/rtc/periodic", test_periodic_interrupt);
    g_test_add_func("/rtc/slew", test_slew_gives_lost_ticks_later);
    g_test_add_func("/rtc/alarm", test_alarm_fires_at_its_time);
    g_test_add_func("/rtc/wildcard-alarm", test_wildcard_alarm_fires_each_minute);
    g_test_add_func("/rtc/update", test_update_interrupt_each_second);
    g_test_add_func("/rtc/reset", test_reset_keeps_time_and_ram);
    g_test_add_func("/rtc/save-load", test_state_survives_save_and_load);
    g_test_add_func("/rtc/bad-date", test_bad_date_is_refused);
    g_test_add_func("/rtc/garbage", test_survives_garbage);
    return g_test_run();
}
